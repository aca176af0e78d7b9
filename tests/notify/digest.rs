//! The digest of a week, by supervisors in whose lives days pass in moments: what is in it, and that a week has one,
//! whichever process tells of it.

use std::collections::BTreeMap;

use amarre::domain::run::RunId;
use amarre::journal::{End, Journal as _, Outcome, RunKind, SqliteJournal};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::simulated::{Sidecar, paris};
use super::sink::{Answer, Sink};
use super::{House, deliver};

/// Enters a run that began at `at`, of Paris, and took a minute.
fn enter(journal: &SqliteJournal, at: &str, kind: RunKind, outcome: Outcome) {
    let is_good = matches!(outcome, Outcome::Done | Outcome::Partial);
    let (begun, run) = (paris(at), RunId::new(paris(at), 1));
    let end = End {
        at: begun + TimeDelta::minutes(1),
        outcome,
        exit: u8::from(!is_good),
        error: (outcome == Outcome::Failed).then(|| "no room".to_owned()),
        file: is_good.then(|| format!("hub_chantier_{}.sql.gz", &at[..10])),
        bytes: None,
    };
    journal.start(&run, kind, begun, "schedule").unwrap();
    journal.finish(&run, kind, &end).unwrap();
}

/// The digests that arrived, in their order; alerts come the same way.
fn digests(sink: &Sink) -> Vec<Value> {
    let all = sink.taken().into_iter().map(|got| got.json());
    all.filter(|notice| notice["event"] == "digest").collect()
}

fn lines(digest: &Value) -> Vec<(&str, &str)> {
    let lines = digest["lines"].as_array().unwrap().iter();
    lines.map(|line| (line["label"].as_str().unwrap(), line["value"].as_str().unwrap())).collect()
}

#[test]
fn a_week_is_told_of_once_with_what_was_in_it() {
    let sink = Sink::start();
    let house = House::new(&[
        ("BACKUP_NOTIFY", &format!("webhook+http://{}/told", sink.address)),
        ("BACKUP_NOTIFY_DIGEST", "weekly"),
        // No backup is due in these weeks, and no engine is there to be asked.
        ("BACKUP_SCHEDULE", "0 3 1 1 *"),
        ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
        // How full the disk of the tests is, is not what this is about.
        ("BACKUP_DISK_FLOOR", "0"),
    ]);
    let environment: BTreeMap<String, String> = house.environment.iter().cloned().collect();
    let supervisor = |at: &str| Sidecar::start(at, &environment);

    // Installed on a Tuesday: on the next Monday there is no whole week to tell of.
    let journal = SqliteJournal::open(house.dir.path(), paris("2026-11-10 12:00")).unwrap().journal;
    drop(supervisor("2026-11-16 09:00"));
    assert!(digests(&sink).is_empty(), "{:?}", sink.taken());

    for (at, outcome) in [
        // Of the digest before: weeks begin at the hour in which they are told of.
        ("2026-11-16 03:00", Outcome::Done),
        ("2026-11-17 03:00", Outcome::Done),
        ("2026-11-18 03:00", Outcome::Partial),
        ("2026-11-19 03:00", Outcome::Failed),
        ("2026-11-20 03:00", Outcome::Interrupted),
        ("2026-11-21 03:00", Outcome::Done),
        // Neither good nor bad: it was not begun.
        ("2026-11-21 12:00", Outcome::Skipped),
        ("2026-11-22 03:00", Outcome::Done),
        // That it has no file leaves the one of the night before the newest.
        ("2026-11-23 03:00", Outcome::Failed),
    ] {
        enter(&journal, at, RunKind::Backup, outcome);
    }
    // Has a file too, and is no backup.
    enter(&journal, "2026-11-23 05:00", RunKind::Verify, Outcome::Done);

    let first = supervisor("2026-11-23 06:00");
    first.until("2026-11-23 07:59");
    assert!(digests(&sink).is_empty(), "it is for the morning");
    // The channel is away when it is due, and the machine restarts before it comes back.
    sink.always(Answer::Status(503, "", "busy"));
    first.until("2026-11-23 10:00");
    drop(first);
    let command = house.app();
    assert_eq!(command.post_counts().unwrap()[0].waiting, 1, "{:?}", sink.taken());
    sink.always(Answer::Status(200, "", "ok"));
    // The next supervisor tells of the same week, and somebody's command sends at the same moment.
    *house.clock.0.lock().unwrap() = paris("2026-11-23 10:30");
    let second = std::thread::scope(|scope| {
        scope.spawn(|| Runtime::new().unwrap().block_on(deliver(&command)));
        supervisor("2026-11-23 10:30")
    });
    second.until("2026-11-24 12:00");
    let told = digests(&sink);
    assert_eq!(told.len(), 1, "{told:#?}");
    let digest = &told[0];
    assert_eq!((digest["level"].as_str(), digest["run"].as_str()), (Some("digest"), Some("2026-W48")), "{digest}");
    assert_eq!(digest["title"], "backups of the week before 2026-W48");
    let newest = ("The newest", "hub_chantier_2026-11-22.sql.gz");
    assert_eq!(
        lines(digest),
        [("Good backups", "4"), ("Without a copy elsewhere at first", "1"), ("Failed", "3"), newest]
    );
    assert_eq!(digest["text"], json!(["the backup of 2026-11-23 03:00 failed: no room"]), "what goes on");

    // The next one is of the next week alone, in which nothing goes on.
    enter(&journal, "2026-11-25 03:00", RunKind::Backup, Outcome::Done);
    drop(second);
    supervisor("2026-11-29 20:00").until("2026-11-30 10:00");
    let told = digests(&sink);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[1]["run"], "2026-W49");
    let newest = ("The newest", "hub_chantier_2026-11-25.sql.gz");
    let quiet = ("Needs somebody", "nothing");
    assert_eq!(
        lines(&told[1]),
        [("Good backups", "1"), ("Without a copy elsewhere at first", "0"), ("Failed", "0"), newest, quiet]
    );
    assert_eq!(told[1]["text"], json!([]));
}
