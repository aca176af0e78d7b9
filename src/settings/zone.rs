//! `TZ` and `BACKUP_SCHEDULE`: when a backup is due, and how times are written. The rules are `domain::schedule`'s.

use chrono_tz::Tz;

use crate::domain::schedule::{Schedule, zone};
use crate::settings::reader::Reader;

const EVERY_NIGHT: &str = "0 3 * * *";

pub(super) fn read_zone(reader: &mut Reader<'_>) -> Tz {
    // POSIX writes `:Europe/Paris` for "a name, not a rule".
    reader.parsed("TZ", Tz::Europe__Paris, |text| Ok(zone(text.trim().trim_start_matches(':'))?))
}

/// `None`: it is wrong, which is noted.
pub(super) fn read_schedule(reader: &mut Reader<'_>) -> Option<Schedule> {
    let check = |text: &str| Ok(Schedule::parse(text)?.as_str().to_owned());
    let text = reader.parsed("BACKUP_SCHEDULE", EVERY_NIGHT.to_owned(), check);
    Schedule::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use crate::domain::schedule::Error;
    use crate::settings::problem::Problem;
    use crate::settings::testing::{load, problems};

    #[test]
    fn every_night_at_three_in_paris_unless_told() {
        let settings = load(&[]);
        assert_eq!((settings.schedule.as_str(), settings.zone), ("0 3 * * *", Tz::Europe__Paris));
        let settings = load(&[("BACKUP_SCHEDULE", "*/15 2-4 * * 1-5"), ("TZ", ":America/New_York")]);
        assert_eq!((settings.schedule.as_str(), settings.zone), ("*/15 2-4 * * 1-5", Tz::America__New_York));
    }

    #[test]
    fn fault_5_bad_schedules_and_those_that_never_fire_are_refused() {
        for expression in ["0 0 3 * * *", "61 3 * * *", "a b c d e", "0 0 31 2 *", "daily"] {
            let problems = problems(&[("BACKUP_SCHEDULE", expression)]);
            assert!(matches!(problems.as_slice(), [Problem::Time(_)]), "{expression}: {problems:?}");
        }
        assert_eq!(
            problems(&[("BACKUP_SCHEDULE", "0 0 31 2 *")]),
            [Problem::Time(Error::NeverFires { expression: "0 0 31 2 *".into() })]
        );
    }

    #[test]
    fn fault_5_a_zone_that_does_not_exist_is_refused_with_the_nearest() {
        let wrong = Error::Zone { name: "Europe/Pariss".into(), nearest: Some("Europe/Paris") };
        assert_eq!(problems(&[("TZ", "Europe/Pariss")]), [Problem::Time(wrong)]);
        assert!(matches!(problems(&[("TZ", "CET-1CEST,M3.5.0")]).as_slice(), [Problem::Time(_)]));
    }
}
