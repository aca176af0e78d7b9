//! Backups that are read again each night (`BACKUP_VERIFY_SAMPLE`): how many, and which. The time is simulated, in a year to come: what a
//! file's own date says must not lie ahead of it. The files, PostgreSQL and the engine are real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed"
)]

mod common;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/simulated.rs"]
mod simulated;

use amarre::domain::catalogue::Entry;
use amarre::operations::{catalogue, verify};
use common::Bed;
use simulated::Sidecar;

/// What was read again since the installation, in that order.
fn read(sidecar: &Sidecar) -> Vec<String> {
    let readings = sidecar.app.journal().verifications().unwrap();
    readings.into_iter().map(|reading| reading.file).collect()
}

fn names<const N: usize>(entries: [&Entry; N]) -> [&str; N] {
    entries.map(|entry| entry.file.as_str())
}

#[test]
fn as_many_are_read_again_as_is_said_and_those_first_that_were_not_for_the_longest_time() {
    let mut bed = Bed::filled("sample");
    // An hour stands for a night.
    bed.set("BACKUP_SCHEDULE", "0 * * * *").set("BACKUP_VERIFY_SAMPLE", "0");
    let none = Sidecar::start("2037-10-18 12:30", &bed.env);
    none.until("2037-10-18 16:30");
    let context = none.context();
    let made = none.by_hand(catalogue::load(&context)).unwrap();
    let [fourth, third, second, first] = made.entries() else { panic!("not four: {made:#?}") };
    assert!(read(&none).is_empty() && !none.history().contains("verify"), "{}", none.history());

    // Somebody reads the oldest by hand: it is not its turn then.
    let by_hand = none.by_hand(verify::verify(&context, first)).unwrap();
    assert!(by_hand.result.is_ok(), "{by_hand:?}");
    let known = none.by_hand(catalogue::load(&context)).unwrap();
    let turns: Vec<&str> = verify::oldest_readings(&known).into_iter().map(|entry| entry.file.as_str()).collect();
    assert_eq!(turns, names([second, third, fourth, first]));
    drop(none);

    bed.set("BACKUP_VERIFY_SAMPLE", "2");
    let two = Sidecar::start("2037-10-18 16:40", &bed.env);
    two.until("2037-10-18 17:30");
    assert_eq!(read(&two), names([first, second, third]));
    two.until("2037-10-18 18:30");
    assert_eq!(read(&two), names([first, second, third, fourth, first]));
    assert_eq!(two.history().matches("verify (schedule) done").count(), 2, "{}", two.history());
}
