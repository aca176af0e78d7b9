//! `TZ`: the zone of the schedule, of the names of files and of the log.

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::settings::keys::closest;
use crate::settings::problem::Problem;
use crate::settings::reader::Reader;

pub(super) fn read(reader: &mut Reader<'_>) -> Tz {
    reader.parsed("TZ", Tz::Europe__Paris, parse)
}

fn parse(text: &str) -> Result<Tz, Problem> {
    // POSIX writes `:Europe/Paris` for "a name, not a rule".
    let name = text.trim().trim_start_matches(':');
    let nearest = || closest(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
    name.parse().map_err(|_| Problem::Zone { value: text.to_owned(), nearest: nearest() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_names_of_the_tz_database() {
        assert_eq!(parse("Europe/Paris"), Ok(Tz::Europe__Paris));
        assert_eq!(parse(":America/New_York"), Ok(Tz::America__New_York));
        assert_eq!(parse("UTC"), Ok(Tz::UTC));
    }

    #[test]
    fn fault_5_a_zone_that_does_not_exist_is_refused_with_the_nearest() {
        let refused = |text: &str| parse(text).expect_err("refused");
        assert_eq!(
            refused("Europe/Pariss"),
            Problem::Zone { value: "Europe/Pariss".into(), nearest: Some("Europe/Paris") }
        );
        assert_eq!(refused("CET-1CEST,M3.5.0"), Problem::Zone { value: "CET-1CEST,M3.5.0".into(), nearest: None });
    }
}
