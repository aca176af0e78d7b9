//! How long backups are kept. What that means for a file is said by `domain::retention`.

use std::time::Duration;

use crate::domain::keep::{self, Keep};
use crate::settings::origin::Origin;
use crate::settings::problem::Problem;
use crate::settings::reader::{Found, Reader, number};

const OURS: &str = "BACKUP_RETENTION_DAYS";
const SCRIPTS: &str = "RETENTION_DAYS";
const DEFAULT_DAYS: u32 = 7;
/// A hundred years.
pub(super) const MOST_DAYS: u32 = 36_500;

/// How long backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `BACKUP_RETENTION_DAYS`: days, at least 1; `None`: not set, and the calendar rules stand instead.
    pub days: Option<u32>,
    /// `BACKUP_KEEP`: calendar rules.
    pub keep: Keep,
    /// `BACKUP_KEEP_VERIFIED`: never fewer verified backups than this, at least 1.
    pub keep_verified: u32,
    /// `BACKUP_UNDO_HOURS`: how long a replaced database is kept.
    pub undo: Duration,
    /// `BACKUP_SAFETY_DAYS`: days that safety and final dumps are kept.
    pub safety_days: u32,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Retention {
    let keep = read_keep(reader, "BACKUP_KEEP");
    Retention {
        days: read_days(reader, keep.is_set()),
        keep,
        keep_verified: reader.number("BACKUP_KEEP_VERIFIED", 3, 1, 10_000),
        undo: Duration::from_secs(3600 * u64::from(reader.number("BACKUP_UNDO_HOURS", 24, 0, 24 * 366))),
        safety_days: reader.number("BACKUP_SAFETY_DAYS", 30, 1, MOST_DAYS),
    }
}

pub(super) fn read_keep(reader: &mut Reader<'_>, name: &'static str) -> Keep {
    let Some(text) = reader.text(name) else { return Keep::default() };
    text.parse().unwrap_or_else(|wrong: keep::Wrong| {
        reader.problem(Problem::Keep { name, value: text, part: wrong.0 });
        Keep::default()
    })
}

/// With calendar rules there are no days unless they are set.
fn read_days(reader: &mut Reader<'_>, calendar: bool) -> Option<u32> {
    let ours = days(reader, OURS);
    let scripts = days(reader, SCRIPTS);
    if let (Some((ours_days, ours)), Some((scripts_days, scripts))) = (&ours, &scripts)
        && ours_days != scripts_days
    {
        reader.problem(Problem::Disagree {
            name: OURS,
            value: ours.value.clone(),
            other: SCRIPTS,
            other_value: scripts.value.clone(),
        });
    }
    let (name, found) = if ours.is_some() { (OURS, ours) } else { (SCRIPTS, scripts) };
    match found {
        Some((days, found)) => {
            reader.record(name, Some(days.to_string()), found.origin);
            Some(days)
        }
        None => {
            let days = (!calendar).then_some(DEFAULT_DAYS);
            reader.record(OURS, days.map(|days| days.to_string()), Origin::Default);
            days
        }
    }
}

fn days(reader: &mut Reader<'_>, name: &'static str) -> Option<(u32, Found)> {
    let found = reader.peek(name)?;
    match number(name, &found.value, 1, MOST_DAYS) {
        Ok(days) => Some((days, found)),
        Err(problem) => {
            reader.problem(problem);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::{load, problems};

    #[test]
    fn defaults_are_those_of_the_interface() {
        let (days, keep) = (Some(7), Keep::default());
        let expected = Retention { days, keep, keep_verified: 3, undo: Duration::from_secs(86_400), safety_days: 30 };
        assert_eq!(load(&[]).retention, expected);
    }

    #[test]
    fn either_name_sets_the_days_and_both_may_agree() {
        assert_eq!(load(&[(OURS, "10")]).retention.days, Some(10));
        assert_eq!(load(&[(SCRIPTS, "11")]).retention.days, Some(11));
        assert_eq!(load(&[(SCRIPTS, "12"), (OURS, "012")]).retention.days, Some(12));
        assert_eq!(load(&[(SCRIPTS, "12"), (OURS, "")]).retention.days, Some(12), "empty counts as unset");
    }

    #[test]
    fn calendar_rules_stand_instead_of_the_usual_days_and_beside_days_that_are_set() {
        let retention = load(&[("BACKUP_KEEP", "daily:7, monthly:12")]).retention;
        assert_eq!((retention.days, retention.keep.to_string().as_str()), (None, "daily:7,monthly:12"));
        assert_eq!(load(&[("BACKUP_KEEP", "daily:7"), (OURS, "10")]).retention.days, Some(10));
        let problems = problems(&[("BACKUP_KEEP", "daily:7,fortnightly:2")]);
        assert!(matches!(problems.as_slice(), [Problem::Keep { part, .. }] if part == "fortnightly:2"), "{problems:?}");
    }

    #[test]
    fn two_names_that_differ_are_refused() {
        assert!(matches!(problems(&[(OURS, "7"), (SCRIPTS, "14")]).as_slice(), [Problem::Disagree { .. }]));
    }

    #[test]
    fn fault_4_retention_must_be_a_positive_whole_number() {
        for name in [OURS, SCRIPTS, "BACKUP_KEEP_VERIFIED", "BACKUP_SAFETY_DAYS"] {
            for value in ["0", "-1", "seven", "7.5", "99999999999", " "] {
                let problems = problems(&[(name, value)]);
                assert!(matches!(problems.as_slice(), [Problem::Number { .. }]), "{name}={value}: {problems:?}");
            }
        }
    }
}
