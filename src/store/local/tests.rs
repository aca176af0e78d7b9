//! Faults that a healthy disk does not have. Everything else: `tests/store_conformance.rs`.

use insta::assert_snapshot;
use tempfile::TempDir;

use super::*;
use crate::error::Explain;

fn store(change: impl FnOnce(&mut System)) -> (TempDir, LocalStore) {
    let dir = TempDir::new().unwrap();
    let mut system = System::real();
    change(&mut system);
    let store = LocalStore::with_system(dir.path().to_owned(), system).unwrap();
    (dir, store)
}

fn names(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn shown(dir: &TempDir, error: &Error) -> String {
    format!("{error}\n{}", error.hint().unwrap_or_default()).replace(&dir.path().display().to_string(), "DIR")
}

#[tokio::test]
async fn fault_36_an_fsync_that_fails_fails_the_draft_and_is_not_tried_again() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let (dir, store) = store(|s| {
        s.sync_file = Box::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(Errno::EIO)
        });
    });
    let error = store.put("a.sql.gz", b"x").await.unwrap_err();
    assert_snapshot!(shown(&dir, &error));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(names(&dir).is_empty());
}

#[tokio::test]
async fn fault_40_a_directory_that_cannot_be_synced_is_tolerated() {
    for errno in [Errno::EINVAL, Errno::ENOTSUP] {
        let (dir, store) = store(|s| s.sync_dir = Box::new(move |_| Err(errno)));
        store.put("a.sql.gz", b"x").await.unwrap();
        assert_eq!(names(&dir), ["a.sql.gz"]);
        assert!(store.delete("a.sql.gz").await.unwrap());
    }
}

#[tokio::test]
async fn fault_40_a_directory_sync_that_fails_with_an_io_error_is_a_failure() {
    let (dir, store) = store(|s| s.sync_dir = Box::new(|_| Err(Errno::EIO)));
    let error = store.put("a.sql.gz", b"x").await.unwrap_err();
    assert!(matches!(error, Error::Sync { .. }), "{error:?}");
    assert!(names(&dir).is_empty(), "what may not last must not look committed");
    std::fs::write(dir.path().join("b.sql.gz"), b"y").unwrap();
    assert!(matches!(store.delete("b.sql.gz").await, Err(Error::Sync { .. })));
}

#[tokio::test]
async fn fault_38_where_the_file_system_cannot_rename_without_replacing_it_is_linked() {
    for errno in [Errno::EINVAL, Errno::ENOSYS] {
        let (dir, store) = store(|s| s.rename_new = Box::new(move |_, _, _| Err(errno)));
        store.put("a.sql.gz", b"x").await.unwrap();
        assert_eq!(names(&dir), ["a.sql.gz"]);
        let draft = store.draft("b.sql.gz").await.unwrap();
        std::fs::write(dir.path().join("b.sql.gz"), b"another").unwrap();
        assert!(matches!(draft.publish(), Err(Error::Exists { .. })));
        assert_eq!(std::fs::read(dir.path().join("b.sql.gz")).unwrap(), b"another");
        assert_eq!(names(&dir), ["a.sql.gz", "b.sql.gz"]);
    }
}

#[tokio::test]
async fn fault_38_where_nothing_can_name_a_new_file_safely_it_fails() {
    let (dir, store) = store(|s| {
        s.rename_new = Box::new(|_, _, _| Err(Errno::EINVAL));
        s.link = Box::new(|_, _, _| Err(Errno::EMLINK));
    });
    let error = store.put("a.sql.gz", b"x").await.unwrap_err();
    assert!(matches!(error, Error::Io { action: Action::Publish, .. }), "{error:?}");
    assert!(names(&dir).is_empty());
}

#[test]
fn every_error_has_its_sentence_and_its_hint() {
    let (name, place) = (String::from("a.sql.gz"), String::from("/var/backups/hub"));
    let space = Space { free: 12_345, total: 67_000_000_000 };
    let rights = Rights { owner: 0, mode: 0o755, uid: 10_001 };
    let cause = "Input/output error".to_owned();
    let all = [
        Error::Missing { name: name.clone(), place: place.clone() },
        Error::Exists { name: name.clone(), place: place.clone() },
        Error::BadName { name: "../x\\u{1b}".to_owned() },
        Error::Link { name: name.clone(), place: place.clone() },
        Error::NotAFile { name: name.clone(), place: place.clone() },
        Error::TooLarge { name: name.clone(), place: place.clone(), limit: 5 },
        Error::NoSpace { name: name.clone(), place: place.clone(), space },
        Error::ReadOnly { name: name.clone(), place: place.clone() },
        Error::Denied { name: name.clone(), place: place.clone(), rights },
        Error::NoDirectory { place: place.clone() },
        Error::Sync { name: name.clone(), place: place.clone(), cause: cause.clone() },
        Error::Io { action: Action::Read, name, place, cause },
    ];
    let text: String = all.iter().map(|e| format!("{e}\n    {}\n", e.hint().unwrap_or_default())).collect();
    assert_snapshot!(text);
}
