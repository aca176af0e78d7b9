use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use insta::assert_snapshot;
use tempfile::TempDir;

use super::*;
use crate::error::Explain;
use crate::journal::REMEMBERED;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    utc("2025-07-01T01:00:00Z")
}

fn open(dir: &TempDir) -> SqliteJournal {
    SqliteJournal::open(dir.path(), now()).unwrap().journal
}

fn id(n: u32) -> RunId {
    RunId::new(now(), n)
}

fn end(outcome: Outcome) -> End {
    End {
        at: now() + chrono::TimeDelta::milliseconds(1500),
        outcome,
        exit: 0,
        error: Some("a « b »".to_owned()),
        file: Some("x_backup_20250701_030000.sql.gz".to_owned()),
        bytes: Some(1 << 40),
    }
}

fn reading(file: &str, ok: bool) -> Verification {
    Verification { file: file.to_owned(), at: now(), ok, stored_sha256: "ab".to_owned(), detail: "x".to_owned() }
}

#[test]
fn what_was_recorded_is_there_after_opening_again() {
    let dir = TempDir::new().unwrap();
    let first = SqliteJournal::open(dir.path(), now()).unwrap();
    assert!(first.is_new && first.set_aside.is_none());
    let journal = first.journal;
    journal.start(&id(1), RunKind::Backup, now(), "test").unwrap();
    journal.start(&id(1), RunKind::Backup, now(), "test").unwrap();
    journal.finish(&id(1), RunKind::Backup, &end(Outcome::Failed)).unwrap();
    journal.finish(&id(1), RunKind::Backup, &end(Outcome::Done)).unwrap();
    journal.verified(&reading("a", true)).unwrap();
    journal.verified(&reading("a", false)).unwrap();
    drop(journal);

    let again = SqliteJournal::open(dir.path(), now() + chrono::TimeDelta::days(1)).unwrap();
    assert!(!again.is_new);
    let run = Run {
        id: id(1).to_string(),
        kind: RunKind::Backup,
        started_at: now(),
        asked: Some("test".to_owned()),
        end: Some(end(Outcome::Done)),
    };
    assert_eq!(again.journal.runs(10).unwrap(), [run]);
    assert_eq!(again.journal.verifications().unwrap(), [reading("a", true), reading("a", false)]);
    assert_eq!(again.journal.begun_at().unwrap(), now());
}

#[test]
fn fault_43_the_last_run_is_the_last_recorded_whatever_its_date() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.start(&id(1), RunKind::Backup, utc("2035-01-01T00:00:00Z"), "test").unwrap();
    journal.start(&id(2), RunKind::Backup, now(), "test").unwrap();
    journal.start(&id(3), RunKind::Verify, now(), "test").unwrap();
    let last = |kind| journal.last_ended(kind).unwrap().map(|r| r.id);
    assert_eq!(last(RunKind::Backup), None, "none has ended");
    journal.finish(&id(1), RunKind::Backup, &end(Outcome::Done)).unwrap();
    journal.finish(&id(2), RunKind::Backup, &end(Outcome::Failed)).unwrap();
    assert_eq!(last(RunKind::Backup), Some(id(2).to_string()));
    let done = journal.last_with(RunKind::Backup, Outcome::Done).unwrap();
    assert_eq!(done.map(|r| r.id), Some(id(1).to_string()));
    let runs: Vec<_> = journal.runs(2).unwrap().into_iter().map(|r| r.id).collect();
    assert_eq!(runs, [id(3).to_string(), id(2).to_string()]);
}

#[test]
fn fault_63_a_run_that_was_killed_is_marked_interrupted() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.start(&id(1), RunKind::Backup, now(), "test").unwrap();
    journal.start(&id(2), RunKind::Restore, now(), "test").unwrap();
    journal.finish(&id(2), RunKind::Restore, &end(Outcome::Done)).unwrap();
    let marked = journal.interrupt_unfinished(now()).unwrap();
    assert_eq!(marked.len(), 1);
    assert_eq!(
        (marked[0].id.as_str(), marked[0].end.as_ref().map(|e| e.outcome)),
        (id(1).as_str(), Some(Outcome::Interrupted))
    );
    assert!(journal.interrupt_unfinished(now()).unwrap().is_empty());
}

#[test]
fn an_end_without_a_start_is_recorded_whole() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.finish(&id(1), RunKind::Prune, &end(Outcome::Partial)).unwrap();
    assert_eq!(journal.last_ended(RunKind::Prune).unwrap().and_then(|r| r.end), Some(end(Outcome::Partial)));
}

#[test]
fn a_damaged_journal_is_set_aside_and_begun_anew() {
    for (n, damage) in
        [b"not a database, at all, and longer than a header".to_vec(), vec![0xa5; 8192]].iter().enumerate()
    {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join(FILE), damage).unwrap();
        let opened = SqliteJournal::open(dir.path(), now()).unwrap();
        let aside = opened.set_aside.unwrap();
        assert!(opened.is_new, "case {n}");
        assert_eq!(aside.file_name().unwrap(), "amarre.sqlite.damaged-20250701T010000Z");
        assert_eq!(&std::fs::read(&aside).unwrap(), damage, "kept for whoever wants to look");
        opened.journal.start(&id(1), RunKind::Backup, now(), "test").unwrap();
    }
}

#[test]
fn a_journal_with_a_page_overwritten_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    for n in 0..500 {
        journal.finish(&id(n), RunKind::Backup, &end(Outcome::Done)).unwrap();
    }
    drop(journal);
    let path = dir.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 3 * 4096);
    for byte in &mut bytes[4096..3 * 4096] {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    let opened = SqliteJournal::open(dir.path(), now()).unwrap();
    assert!(opened.set_aside.is_some() && opened.journal.runs(1).unwrap().is_empty());
}

#[test]
fn a_journal_of_a_newer_program_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.with(|c| c.pragma_update(None, "user_version", 99)).unwrap();
    drop(journal);
    let Err(error) = SqliteJournal::open(dir.path(), now()) else { panic!("it was opened") };
    let text = format!("{error}\n{}", error.hint().unwrap()).replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(text, @r#"
    the journal 'DIR/amarre.sqlite' has version 99, this Amarre knows version 4: a newer Amarre wrote it
    use the newer Amarre; backups are not affected, runs are not recorded meanwhile
    "#);
}

#[test]
fn fault_39_a_link_in_place_of_the_journal_is_refused() {
    let dir = TempDir::new().unwrap();
    std::os::unix::fs::symlink("/tmp/elsewhere", dir.path().join(FILE)).unwrap();
    let Err(error) = SqliteJournal::open(dir.path(), now()) else { panic!("it was opened") };
    let text = format!("{error}\n{}", error.hint().unwrap()).replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(text, @r#"
    the journal 'DIR/amarre.sqlite' is a link or no regular file
    links are never followed: remove 'DIR/amarre.sqlite', a new one is begun by itself
    "#);
}

#[test]
fn a_directory_that_is_gone_is_an_error_with_its_name() {
    let dir = TempDir::new().unwrap();
    let gone = dir.path().join("gone");
    let Err(error) = SqliteJournal::open(&gone, now()) else { panic!("it was opened") };
    let text = format!("{error}\n{}", error.hint().unwrap()).replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(text, @r#"
    the journal 'DIR/gone/amarre.sqlite' cannot be used: No such file or directory (os error 2)
    backups are not affected; if it stays so, move 'DIR/gone/amarre.sqlite' away, a new one is begun by itself
    "#);
}

#[test]
fn the_file_is_for_its_owner_only() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.start(&id(1), RunKind::Backup, now(), "test").unwrap();
    for file in [FILE, "amarre.sqlite-wal", "amarre.sqlite-shm"] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn two_processes_may_write() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (open(&dir), open(&dir));
    std::thread::scope(|scope| {
        for (journal, base) in [(&one, 0), (&two, 1000)] {
            scope.spawn(move || {
                (base..base + 50).for_each(|n| journal.start(&id(n), RunKind::Backup, now(), "test").unwrap())
            });
        }
    });
    assert_eq!(one.runs(1000).unwrap().len(), 100);
}

#[test]
fn a_journal_of_version_1_is_brought_up_to_date() {
    let dir = TempDir::new().unwrap();
    let old = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    old.execute_batch(FIRST).unwrap();
    old.execute_batch(
        "INSERT INTO meta VALUES ('2025-01-01T00:00:00Z');
         INSERT INTO run (id, kind, started_at, finished_at, outcome, exit, file)
         VALUES ('x', 'backup', '2025-01-02T00:00:00Z', '2025-01-02T00:00:01Z', 'done', 0, 'a.sql.gz');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let journal = open(&dir);
    assert_eq!(journal.begun_at().unwrap(), utc("2025-01-01T00:00:00Z"));
    let runs = journal.runs(10).unwrap();
    assert_eq!(runs.iter().map(|run| (run.id.as_str(), run.asked.as_deref())).collect::<Vec<_>>(), [("x", None)]);
    assert!(!journal.is_recalled().unwrap());
}

#[test]
fn what_is_old_is_forgotten_but_for_what_somebody_still_asks_for() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let (old, count) = (now() - TimeDelta::days(500), REMEMBERED + 5);
    let end = |at, outcome, file: &str| End { at, outcome, exit: 0, error: None, file: Some(file.into()), bytes: None };
    for n in 0..count {
        let (run, number) = (id(u32::try_from(n).unwrap()), n);
        journal.start(&run, RunKind::Backup, old, "test").unwrap();
        // The first is still there, the second failed: the last that did.
        let outcome = if number == 1 { Outcome::Failed } else { Outcome::Done };
        journal.finish(&run, RunKind::Backup, &end(old, outcome, &format!("{number}.sql.gz"))).unwrap();
        let no = Duration::ZERO;
        let stage = StageTime { name: "dump".into(), bytes: 0, busy: no, starved: no, blocked: no };
        journal.put_stages(&run, &[stage]).unwrap();
    }
    for (file, at) in [("0.sql.gz", old), ("0.sql.gz", old), ("gone.sql.gz", old), ("new.sql.gz", now())] {
        let reading =
            Verification { file: file.into(), at, ok: true, stored_sha256: String::new(), detail: String::new() };
        journal.verified(&reading).unwrap();
    }
    let kept = BTreeSet::from(["0.sql.gz".to_owned()]);
    assert_eq!(journal.forget(now() - TimeDelta::days(400), &kept).unwrap(), 3, "2, 3 and 4");
    assert!(journal.runs_of("0.sql.gz").unwrap().len() == 1 && journal.runs_of("1.sql.gz").unwrap().len() == 1);
    assert!(journal.stages(id(2).as_str()).unwrap().is_empty() && !journal.stages(id(0).as_str()).unwrap().is_empty());
    let readings: Vec<String> = journal.verifications().unwrap().into_iter().map(|reading| reading.file).collect();
    assert_eq!(readings, ["0.sql.gz", "new.sql.gz"]);
    // A clock that is centuries ahead takes no more than all but the last thousand.
    assert_eq!(journal.forget(now() + TimeDelta::days(100_000), &kept).unwrap(), 0);
}

fn recalled(n: u32) -> Recalled {
    let file = format!("{n}.sql.gz");
    Recalled { id: id(n).to_string(), file, started_at: now(), finished_at: now(), bytes: 7 }
}

#[test]
fn backups_that_manifests_tell_of_are_entered_once() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let known = End { file: Some("1.sql.gz".to_owned()), ..end(Outcome::Done) };
    journal.finish(&id(9), RunKind::Backup, &known).unwrap();
    assert_eq!(journal.recall(&[recalled(1), recalled(2)], now()).unwrap(), 1);
    assert!(journal.is_recalled().unwrap());
    assert_eq!(journal.recall(&[recalled(1), recalled(2)], now()).unwrap(), 0);
    let run = journal.runs_of(id(2).as_str()).unwrap().pop().unwrap();
    let end = run.end.unwrap();
    assert_eq!((run.asked.as_deref(), end.outcome, end.bytes), (Some("manifest"), Outcome::Done, Some(7)));
}

#[test]
fn what_was_recorded_beside_the_runs_is_there_too() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let stage = StageTime {
        name: "read".to_owned(),
        bytes: 5,
        busy: std::time::Duration::from_millis(1),
        starved: std::time::Duration::from_secs(2),
        blocked: std::time::Duration::ZERO,
    };
    journal.put_stages(&id(1), std::slice::from_ref(&stage)).unwrap();
    journal.put_stages(&id(1), std::slice::from_ref(&stage)).unwrap();
    assert_eq!(journal.stages(id(1).as_str()).unwrap(), [stage]);
    assert_eq!(journal.stages("other").unwrap(), []);

    let gone = |at| Deletion { at, file: "a.sql.gz".to_owned(), place: None, why: "older".to_owned() };
    let later = now() + chrono::TimeDelta::hours(1);
    journal.deleted(&gone(now())).unwrap();
    journal.deleted(&Deletion { place: Some("s3://b".to_owned()), ..gone(later) }).unwrap();
    assert_eq!(journal.deletions(later).unwrap().len(), 1);
    assert_eq!(journal.deletions(now()).unwrap()[1], gone(now()));

    let accepted = Acceptance { id: "x".to_owned(), at: now(), by: "somebody".to_owned() };
    journal.accept(&accepted).unwrap();
    journal.accept(&Acceptance { by: "another".to_owned(), ..accepted.clone() }).unwrap();
    assert_eq!(journal.acceptances().unwrap(), [accepted]);

    for n in 1..4 {
        journal.start(&id(n), RunKind::Backup, now() + chrono::TimeDelta::hours(i64::from(n)), "test").unwrap();
    }
    let since = journal.runs_since(now() + chrono::TimeDelta::hours(2)).unwrap();
    assert_eq!(since.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), [id(3).as_str(), id(2).as_str()]);
    assert_eq!(journal.runs_of("20250701T010000Z-").unwrap().len(), 3);
    assert_eq!(journal.runs_of("").unwrap(), []);
    // A name is no pattern.
    assert_eq!(journal.runs_of("%").unwrap(), []);
}

/// Of several that look at once one tells, in any journal.
#[test]
fn an_alert_is_told_by_one_of_those_who_look() {
    use crate::domain::alert::{Alert, Found, Kind};
    use crate::journal::NoJournal;

    let dir = TempDir::new().unwrap();
    let alert = || Alert {
        kind: Kind::DiskLow,
        text: "low".to_owned(),
        hint: String::new(),
        subjects: ["x".to_owned()].into(),
    };
    let (first, second, none) = (open(&dir), open(&dir), NoJournal::default());
    for journals in [[&first as &dyn Journal, &second as &dyn Journal], [&none, &none]] {
        let told: usize = std::thread::scope(|scope| {
            let looks = journals.map(|journal| {
                scope.spawn(move || journal.watch(Look::silent(vec![alert()].into(), now())).unwrap().len())
            });
            looks.map(|look| look.join().unwrap()).iter().sum()
        });
        assert_eq!(told, 1);
        assert_eq!(journals[1].firing().unwrap()[0].subjects, alert().subjects);
        assert_eq!(journals[0].watch(Look::silent(Found::default(), now())).unwrap().len(), 1);
        assert!(journals[1].firing().unwrap().is_empty());
    }
}
