//! `BACKUP_SCHEDULE`: checked here, computed with in `domain::schedule`.

use chrono::{DateTime, Utc};
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

use crate::settings::problem::Problem;

const FIELDS: usize = 5;

/// Accepts an expression of five fields that fires at some time.
///
/// # Errors
/// What is wrong with it.
pub fn check(expression: &str) -> Result<String, Problem> {
    let fields = expression.split_whitespace().count();
    if fields != FIELDS {
        return Err(Problem::ScheduleFields { value: expression.to_owned(), fields });
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let bad = |error: CronError| Problem::Schedule { value: expression.to_owned(), detail: error.to_string() };
    let cron = parser.parse(expression).map_err(bad)?;
    let never = |_| Problem::ScheduleNever { value: expression.to_owned() };
    cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false).map_err(never)?;
    Ok(expression.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_are_accepted() {
        for expression in ["0 3 * * *", "*/15 2-4 * * 1-5", "0 0 29 2 *", "0 0 1 JAN SUN"] {
            assert!(check(expression).is_ok(), "{expression}");
        }
        assert_eq!(check(" 0  3 * * * ").expect("accepted"), "0 3 * * *");
    }

    #[test]
    fn fault_5_bad_expressions_are_refused() {
        assert!(matches!(check("0 0 3 * * *"), Err(Problem::ScheduleFields { fields: 6, .. })));
        assert!(matches!(check("@daily"), Err(Problem::ScheduleFields { fields: 1, .. })));
        assert!(matches!(check("61 3 * * *"), Err(Problem::Schedule { .. })));
        assert!(matches!(check("a b c d e"), Err(Problem::Schedule { .. })));
    }

    #[test]
    fn fault_5_an_expression_that_never_fires_is_refused() {
        assert!(matches!(check("0 0 31 2 *"), Err(Problem::ScheduleNever { .. })));
        assert!(matches!(check("0 0 30 2 *"), Err(Problem::ScheduleNever { .. })));
    }
}
