use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use tempfile::TempDir;

use super::*;
use crate::error::Explain;

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
    journal.start(&id(1), RunKind::Backup, now()).unwrap();
    journal.start(&id(1), RunKind::Backup, now()).unwrap();
    journal.finish(&id(1), RunKind::Backup, &end(Outcome::Failed)).unwrap();
    journal.finish(&id(1), RunKind::Backup, &end(Outcome::Done)).unwrap();
    journal.verified(&reading("a", true)).unwrap();
    journal.verified(&reading("a", false)).unwrap();
    drop(journal);

    let again = SqliteJournal::open(dir.path(), now() + chrono::TimeDelta::days(1)).unwrap();
    assert!(!again.is_new);
    let run = Run { id: id(1).to_string(), kind: RunKind::Backup, started_at: now(), end: Some(end(Outcome::Done)) };
    assert_eq!(again.journal.runs(10).unwrap(), [run]);
    assert_eq!(again.journal.verifications().unwrap(), [reading("a", true), reading("a", false)]);
    assert_eq!(again.journal.begun_at().unwrap(), now());
}

#[test]
fn fault_43_the_last_run_is_the_last_recorded_whatever_its_date() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.start(&id(1), RunKind::Backup, utc("2035-01-01T00:00:00Z")).unwrap();
    journal.start(&id(2), RunKind::Backup, now()).unwrap();
    journal.start(&id(3), RunKind::Verify, now()).unwrap();
    let last = |kind| journal.last(kind).unwrap().map(|r| r.id);
    assert_eq!(last(Some(RunKind::Backup)), Some(id(2).to_string()));
    assert_eq!(last(None), Some(id(3).to_string()));
    assert_eq!(last(Some(RunKind::Restore)), None);
    journal.finish(&id(1), RunKind::Backup, &end(Outcome::Done)).unwrap();
    journal.finish(&id(2), RunKind::Backup, &end(Outcome::Failed)).unwrap();
    let done = journal.last_with(RunKind::Backup, Outcome::Done).unwrap();
    assert_eq!(done.map(|r| r.id), Some(id(1).to_string()));
    let runs: Vec<_> = journal.runs(2).unwrap().into_iter().map(|r| r.id).collect();
    assert_eq!(runs, [id(3).to_string(), id(2).to_string()]);
}

#[test]
fn fault_63_a_run_that_was_killed_is_marked_interrupted() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.start(&id(1), RunKind::Backup, now()).unwrap();
    journal.start(&id(2), RunKind::Restore, now()).unwrap();
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
    assert_eq!(journal.last(Some(RunKind::Prune)).unwrap().and_then(|r| r.end), Some(end(Outcome::Partial)));
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
        opened.journal.start(&id(1), RunKind::Backup, now()).unwrap();
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
    the journal 'DIR/amarre.sqlite' has version 99, this Amarre knows version 1: a newer Amarre wrote it
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
    journal.start(&id(1), RunKind::Backup, now()).unwrap();
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
            scope.spawn(move || (base..base + 50).for_each(|n| journal.start(&id(n), RunKind::Backup, now()).unwrap()));
        }
    });
    assert_eq!(one.runs(1000).unwrap().len(), 100);
}
