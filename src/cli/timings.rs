//! Where a run's time went: a table for people (`--timings`), a list for programs.

use std::time::Duration;

use rust_i18n::t;
use serde_json::{Value, json};

use crate::cli::output;
use crate::domain::text::bytes;
use crate::domain::timings::{Stage, Timings};

/// A line for each stage, the one that holds up the others marked; nothing where no stage was timed.
#[must_use]
pub fn table(timings: &Timings) -> Option<String> {
    let slowest = timings.slowest()?;
    let rows: Vec<Vec<String>> = timings.stages.iter().map(|stage| row(stage, stage == slowest)).collect();
    let headers = ["stage", "bytes", "busy", "starved", "blocked", "share"].map(|key| t!(format!("cmd.timings.{key}")));
    let headers: Vec<&str> = headers.iter().map(AsRef::as_ref).chain([""]).collect();
    Some(output::table(&headers, &rows))
}

fn row(stage: &Stage, is_slowest: bool) -> Vec<String> {
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    vec![
        t!(format!("timings.{}", stage.name)).into_owned(),
        bytes(stage.bytes),
        seconds(stage.busy),
        seconds(stage.starved),
        seconds(stage.blocked),
        format!("{:.0} %", stage.share() * 100.0),
        if is_slowest { t!("cmd.timings.slowest").into_owned() } else { String::new() },
    ]
}

/// The same for programs: seconds, in the order of the bytes.
#[must_use]
pub fn json(timings: &Timings) -> Value {
    let stage = |stage: &Stage| {
        json!({
            "stage": stage.name,
            "bytes": stage.bytes,
            "busy_seconds": stage.busy.as_secs_f64(),
            "starved_seconds": stage.starved.as_secs_f64(),
            "blocked_seconds": stage.blocked.as_secs_f64(),
        })
    };
    timings.stages.iter().map(stage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &'static str, busy: u64, starved: u64) -> Stage {
        let (busy, starved) = (Duration::from_millis(busy), Duration::from_millis(starved));
        Stage { name, bytes: 2_000_000, busy, starved, blocked: Duration::from_millis(500) }
    }

    #[test]
    fn the_slowest_stage_and_no_other_is_marked() {
        let timings = Timings { stages: vec![stage("read", 500, 1000), stage("compress", 3500, 0)] };
        let table = table(&timings).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(lines[1]), "read 2.0 MB 0.50 s 1.00 s 0.50 s 25 %");
        assert_eq!(words(lines[2]), "compress 2.0 MB 3.50 s 0.00 s 0.50 s 88 % slowest");
    }

    #[test]
    fn without_stages_there_is_nothing_to_show() {
        assert_eq!(table(&Timings::default()), None);
        assert_eq!(json(&Timings::default()), json!([]));
    }
}
