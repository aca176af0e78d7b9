//! The contract of `amarre::store`, checked against every adapter: the suite knows only the trait. Below it: the
//! faults of a directory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amarre::dump::measure;
use amarre::error::Explain;
use amarre::store::local::LocalStore;
use amarre::store::{Error, Growing, Grown, Store, Workshop};
use tempfile::TempDir;
use tokio::sync::watch;

#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;

/// A place for one test, and the way around the store into it.
trait Bed: Send + Sync {
    /// The store under test; each call another handle to the same place.
    fn store(&self) -> Box<dyn Store>;
    /// Puts an object there, whatever the store thinks of it.
    fn plant(&self, name: &str, bytes: &[u8]);
    /// Names of all that lies there, also of drafts and unfinished uploads.
    fn names(&self) -> Vec<String>;
}

/// A place where dumps are made.
trait Bench: Bed {
    fn workshop(&self) -> Box<dyn Workshop>;
}

struct Local(TempDir);

impl Local {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn open(&self) -> LocalStore {
        LocalStore::open(self.0.path()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Bed for Local {
    fn store(&self) -> Box<dyn Store> {
        Box::new(self.open())
    }

    fn plant(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

impl Bench for Local {
    fn workshop(&self) -> Box<dyn Workshop> {
        Box::new(self.open())
    }
}

impl Bed for s3::Bucket {
    fn store(&self) -> Box<dyn Store> {
        Box::new(self.open())
    }

    fn plant(&self, name: &str, bytes: &[u8]) {
        self.put(name, bytes);
    }

    fn names(&self) -> Vec<String> {
        self.all()
    }
}

/// A bucket behind a network where every fourth request fails: whoever uses the store must not notice.
struct Unsteady {
    bucket: s3::Bucket,
    proxy: fault_proxy::FaultProxy,
}

impl Unsteady {
    fn new() -> Option<Self> {
        use fault_proxy::{Answer, Fault};

        let bucket = s3::Bucket::new()?;
        let proxy = fault_proxy::FaultProxy::before(&bucket.place.endpoint);
        let mut asked = 0;
        proxy.script(move |request| {
            asked += 1;
            // An upload that began without our hearing of it stays until the next start sweeps it: no part of the contract.
            let begins = request.method == "POST" && request.query.starts_with("uploads");
            match asked % 20 {
                0 => Some(Fault::Reset),
                4 => Some(Fault::Instead(Answer::error(503, "SlowDown"))),
                8 => Some(Fault::Instead(Answer::error(500, "InternalError"))),
                12 if !begins => Some(Fault::Lost),
                16 if !begins => Some(Fault::Afterwards(Answer::error(500, "InternalError"))),
                _ => None,
            }
        });
        Some(Self { bucket, proxy })
    }
}

impl Bed for Unsteady {
    fn store(&self) -> Box<dyn Store> {
        let endpoint = Some(self.proxy.endpoint());
        Box::new(self.bucket.open_with(|config| config.endpoint = endpoint).unwrap())
    }

    fn plant(&self, name: &str, bytes: &[u8]) {
        self.bucket.put(name, bytes);
    }

    fn names(&self) -> Vec<String> {
        self.bucket.all()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The suite for one adapter: `conformance!(name, how to make its bed)`.
macro_rules! conformance {
    ($adapter:ident, $bed:expr, [$($case:ident),+ $(,)?]) => {
        mod $adapter {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::suite::$case(&$bed).await;
            })+
        }
    };
}

/// The suite for a bucket. Without the way to one (`scripts/testbed.sh up` gives it) these are skipped, which is said and counted.
macro_rules! conformance_of_a_bucket {
    ($adapter:ident, $bed:expr, $what:literal) => {
        conformance!(
            $adapter,
            match $bed {
                Some(bed) => bed,
                None => return super::s3::skipped($what),
            },
            [
                an_empty_place_lists_nothing,
                nothing_is_ever_replaced,
                what_grows_arrives_whole_and_is_seen_by_nobody_before,
                what_is_given_up_leaves_nothing,
                other_bytes_than_told_are_no_object,
                ranges_are_exact,
                heads_tell_what_lists_tell,
                small_objects_are_put_and_read_within_their_limit,
                a_large_object_comes_back_byte_for_byte,
                deleting_may_be_repeated,
                what_is_missing_is_named,
                what_was_opened_is_read_whole_or_fails,
                bad_names_are_refused_by_every_operation,
                the_list_is_sorted_and_tells_sizes,
                room_is_told_where_it_is_known,
            ]
        );
    };
}

conformance_of_a_bucket!(bucket, super::s3::Bucket::new(), "a bucket as a store");
conformance_of_a_bucket!(simulated, super::s3::Bucket::simulated(), "a bucket of a simulated AWS");
conformance_of_a_bucket!(unsteady, super::Unsteady::new(), "a bucket behind an unsteady network");

conformance!(
    local,
    super::Local::new(),
    [
        an_empty_place_lists_nothing,
        a_draft_is_seen_by_nobody_until_it_is_published_whole,
        a_draft_can_be_read_before_it_is_published,
        a_draft_that_is_dropped_leaves_nothing,
        a_draft_never_replaces,
        nothing_is_ever_replaced,
        what_grows_arrives_whole_and_is_seen_by_nobody_before,
        what_is_given_up_leaves_nothing,
        other_bytes_than_told_are_no_object,
        ranges_are_exact,
        heads_tell_what_lists_tell,
        one_of_many_at_once_gets_the_name,
        small_objects_are_put_and_read_within_their_limit,
        a_large_object_comes_back_byte_for_byte,
        deleting_may_be_repeated,
        what_is_missing_is_named,
        what_was_opened_stays_readable,
        what_was_opened_is_read_whole_or_fails,
        bad_names_are_refused_by_every_operation,
        the_list_is_sorted_and_tells_sizes,
        room_is_told_where_it_is_known,
    ]
);

mod suite {
    use super::*;

    /// Bytes that look like nothing.
    fn noise(length: usize) -> Vec<u8> {
        (0..u32::try_from(length).unwrap()).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    pub(super) async fn an_empty_place_lists_nothing(bed: &dyn Bed) {
        let listing = bed.store().list().await.unwrap();
        assert!(listing.objects.is_empty() && listing.ignored.is_empty());
    }

    pub(super) async fn a_draft_is_seen_by_nobody_until_it_is_published_whole(bed: &dyn Bench) {
        let store = bed.workshop();
        let mut draft = store.draft("a.sql.gz").await.unwrap();
        draft.write_all(b"hello ").unwrap();
        draft.write_all(b"world").unwrap();
        draft.sync().unwrap();
        let listing = bed.store().list().await.unwrap();
        assert!(listing.objects.is_empty() && listing.ignored.is_empty(), "{listing:?}");
        assert!(matches!(bed.store().open("a.sql.gz").await, Err(Error::Missing { .. })));
        draft.publish().unwrap();
        assert_eq!(bed.names(), ["a.sql.gz"]);
        assert_eq!(store.read("a.sql.gz", 100).await.unwrap(), b"hello world");
    }

    pub(super) async fn a_draft_can_be_read_before_it_is_published(bed: &dyn Bench) {
        let mut draft = bed.workshop().draft("a.sql.gz").await.unwrap();
        draft.write_all(b"hello").unwrap();
        draft.sync().unwrap();
        for _ in 0..2 {
            let mut text = String::new();
            draft.trail().unwrap().reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        }
        draft.publish().unwrap();
        assert_eq!(bed.store().read("a.sql.gz", 5).await.unwrap(), b"hello");
    }

    pub(super) async fn a_draft_that_is_dropped_leaves_nothing(bed: &dyn Bench) {
        let mut draft = bed.workshop().draft("a.sql.gz").await.unwrap();
        draft.write_all(b"hello").unwrap();
        drop(draft);
        assert!(bed.names().is_empty());
        bed.store().put("a.sql.gz", b"again").await.unwrap();
    }

    pub(super) async fn nothing_is_ever_replaced(bed: &dyn Bed) {
        let store = bed.store();
        bed.plant("a.sql.gz", b"old");
        assert!(matches!(store.put("a.sql.gz", b"new").await, Err(Error::Exists { .. })));
        let source = Growing::whole(Arc::new(b"new".to_vec()), 3);
        let refused = match store.upload("a.sql.gz", source, 3).await {
            Ok(upload) => upload.finish(&measure(b"new")).await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
        assert_eq!(store.read("a.sql.gz", 100).await.unwrap(), b"old");
        assert_eq!(bed.names(), ["a.sql.gz"]);
    }

    /// In two pieces, also of more than one part.
    pub(super) async fn what_grows_arrives_whole_and_is_seen_by_nobody_before(bed: &dyn Bed) {
        for length in [0, 1, 8 << 20, (8 << 20) + 1, 21_000_001] {
            let bytes = Arc::new(noise(length));
            let (sender, grown) = watch::channel(Grown::default());
            let source = Growing { bytes: bytes.clone(), grown };
            let store = bed.store();
            let upload = store.upload("a.sql.gz", source, 1000).await.unwrap();
            sender.send_replace(Grown { bytes: length as u64 / 2, ended: false, digest: None });
            let listing = store.list().await.unwrap();
            assert!(listing.objects.is_empty(), "{listing:?}");
            // Whoever made it may say what it came to, or not.
            let digest = (length % 2 == 1).then(|| xxhash_rust::xxh3::xxh3_128(&bytes));
            sender.send_replace(Grown { bytes: length as u64, ended: true, digest });
            let object = upload.finish(&measure(&bytes)).await.unwrap();
            assert_eq!((object.name.as_str(), object.bytes), ("a.sql.gz", length as u64));
            assert!(whole(store.as_ref()).await.unwrap() == *bytes, "{length} bytes");
            assert_eq!(bed.names(), ["a.sql.gz"]);
            assert!(store.delete("a.sql.gz").await.unwrap());
        }
    }

    /// Readers are for threads of their own.
    async fn whole(store: &dyn Store) -> std::io::Result<Vec<u8>> {
        let mut reader = store.open("a.sql.gz").await.unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            reader.read_to_end(&mut found).map(|_| found)
        });
        read.await.unwrap()
    }

    pub(super) async fn what_is_given_up_leaves_nothing(bed: &dyn Bed) {
        let bytes = noise(20_000_000);
        for how in ["abort", "drop", "source"] {
            let (sender, grown) = watch::channel(Grown { bytes: bytes.len() as u64, ended: false, digest: None });
            let source = Growing { bytes: Arc::new(bytes.clone()), grown };
            let store = bed.store();
            let upload = store.upload("a.sql.gz", source, 1000).await.unwrap();
            match how {
                "abort" => assert!(upload.abort().await),
                "drop" => drop(upload),
                _ => {
                    drop(sender);
                    assert!(upload.finish(&measure(&bytes)).await.is_err());
                }
            }
            let deadline = Instant::now() + Duration::from_secs(30);
            while !bed.names().is_empty() {
                assert!(Instant::now() < deadline, "{how}: {:?}", bed.names());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    pub(super) async fn other_bytes_than_told_are_no_object(bed: &dyn Bed) {
        let bytes = noise(9_000_000);
        let store = bed.store();
        let source = Growing::whole(Arc::new(bytes.clone()), bytes.len() as u64);
        let upload = store.upload("a.sql.gz", source, 1000).await.unwrap();
        let refused = upload.finish(&measure(&bytes[1..])).await;
        assert!(matches!(refused, Err(Error::Differs { .. })), "{refused:?}");
        assert!(bed.names().is_empty(), "{:?}", bed.names());
    }

    pub(super) async fn ranges_are_exact(bed: &dyn Bed) {
        let store = bed.store();
        store.put("a.json", b"0123456789").await.unwrap();
        assert_eq!(store.get("a.json", 0, 10).await.unwrap(), &b"0123456789"[..]);
        assert_eq!(store.get("a.json", 3, 4).await.unwrap(), &b"3456"[..]);
        assert_eq!(store.get("a.json", 10, 0).await.unwrap(), &b""[..]);
        for (from, length) in [(0, 11), (9, 2), (11, 1)] {
            let short = store.get("a.json", from, length).await;
            assert!(matches!(short, Err(Error::Io { .. })), "{from} {length}: {short:?}");
        }
        assert!(matches!(store.get("b.json", 0, 1).await, Err(Error::Missing { .. })));
    }

    pub(super) async fn heads_tell_what_lists_tell(bed: &dyn Bed) {
        let store = bed.store();
        store.put("a.json", b"12345").await.unwrap();
        let listed = store.list().await.unwrap().objects.remove(0);
        let head = store.head("a.json").await.unwrap();
        assert_eq!((&head.name, head.bytes, &head.etag), (&listed.name, listed.bytes, &listed.etag));
        assert!((head.modified - listed.modified).abs() <= chrono::TimeDelta::seconds(1));
        assert!(matches!(store.head("b.json").await, Err(Error::Missing { .. })));
    }

    pub(super) async fn what_was_opened_is_read_whole_or_fails(bed: &dyn Bed) {
        let store = bed.store();
        store.put("a.sql.gz", &[7; 300_000]).await.unwrap();
        let mut reader = store.open("a.sql.gz").await.unwrap();
        assert!(store.delete("a.sql.gz").await.unwrap());
        let read = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            reader.read_to_end(&mut found).map(|_| found)
        });
        match read.await.unwrap() {
            Ok(found) => assert_eq!(found, [7; 300_000]),
            Err(error) => assert!(matches!(Error::recover(error).unwrap(), Error::Missing { .. })),
        }
    }

    pub(super) async fn a_draft_never_replaces(bed: &dyn Bench) {
        let store = bed.workshop();
        bed.plant("a.sql.gz", b"old");
        assert!(matches!(store.draft("a.sql.gz").await, Err(Error::Exists { .. })));
        // Made by somebody else while the draft was written.
        let mut draft = store.draft("b.sql.gz").await.unwrap();
        assert!(matches!(store.draft("b.sql.gz").await, Err(Error::Exists { .. })), "one draft for a name");
        draft.write_all(b"new").unwrap();
        bed.plant("b.sql.gz", b"old");
        assert!(matches!(draft.publish(), Err(Error::Exists { .. })));
        for name in ["a.sql.gz", "b.sql.gz"] {
            assert_eq!(store.read(name, 100).await.unwrap(), b"old");
        }
        assert_eq!(bed.names(), ["a.sql.gz", "b.sql.gz"]);
    }

    pub(super) async fn one_of_many_at_once_gets_the_name(bed: &dyn Bed) {
        let put = |n: u8| {
            let store = bed.store();
            async move { (n, store.put("a.sql.gz", &[n; 1000]).await) }
        };
        let results = futures_util::future::join_all((0..16).map(put)).await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|(_, result)| matches!(result, Err(Error::Exists { .. }))), "{lost:?}");
        assert_eq!(bed.store().read("a.sql.gz", 1000).await.unwrap(), [won[0].0; 1000]);
        assert_eq!(bed.names(), ["a.sql.gz"]);
    }

    pub(super) async fn small_objects_are_put_and_read_within_their_limit(bed: &dyn Bed) {
        let store = bed.store();
        store.put("a.json", b"12345").await.unwrap();
        assert_eq!(store.read("a.json", 5).await.unwrap(), b"12345");
        assert!(matches!(store.read("a.json", 4).await, Err(Error::TooLarge { limit: 4, .. })));
        store.put("empty.json", b"").await.unwrap();
        assert_eq!(store.read("empty.json", 0).await.unwrap(), b"");
    }

    pub(super) async fn a_large_object_comes_back_byte_for_byte(bed: &dyn Bed) {
        let bytes = noise(25_000_001);
        let source = Growing::whole(Arc::new(bytes.clone()), bytes.len() as u64);
        let upload = bed.store().upload("a.sql.gz", source, bytes.len() as u64).await.unwrap();
        upload.finish(&measure(&bytes)).await.unwrap();
        assert!(whole(bed.store().as_ref()).await.unwrap() == bytes);
    }

    pub(super) async fn deleting_may_be_repeated(bed: &dyn Bed) {
        let store = bed.store();
        store.put("a.json", b"x").await.unwrap();
        assert!(store.delete("a.json").await.unwrap());
        assert!(!store.delete("a.json").await.unwrap());
        assert!(bed.names().is_empty());
    }

    pub(super) async fn what_is_missing_is_named(bed: &dyn Bed) {
        let store = bed.store();
        for error in [store.open("a.json").await.err().unwrap(), store.read("a.json", 1).await.unwrap_err()] {
            assert_eq!(error, Error::Missing { name: "a.json".to_owned(), place: store.place() });
        }
    }

    pub(super) async fn what_was_opened_stays_readable(bed: &dyn Bed) {
        let store = bed.store();
        bed.plant("a.sql.gz", &[7; 300_000]);
        let mut reader = store.open("a.sql.gz").await.unwrap();
        assert!(store.delete("a.sql.gz").await.unwrap());
        let mut found = Vec::new();
        reader.read_to_end(&mut found).unwrap();
        assert_eq!(found, [7; 300_000]);
    }

    pub(super) async fn bad_names_are_refused_by_every_operation(bed: &dyn Bed) {
        let store = bed.store();
        let long = "x".repeat(201);
        for name in
            ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "../x", "a\0b", "a\nb", "\u{1b}[31m", "a.partial", &long]
        {
            let errors = [
                store.open(name).await.err(),
                store.read(name, 1).await.err(),
                store.head(name).await.err(),
                store.get(name, 0, 1).await.err(),
                store.upload(name, Growing::whole(Arc::new(Vec::new()), 0), 0).await.err(),
                store.put(name, b"x").await.err(),
                store.delete(name).await.err(),
            ];
            assert!(errors.iter().all(|e| matches!(e, Some(Error::BadName { .. }))), "{name:?}: {errors:?}");
        }
        assert!(bed.names().is_empty());
    }

    pub(super) async fn the_list_is_sorted_and_tells_sizes(bed: &dyn Bed) {
        let store = bed.store();
        for (name, size) in [("b.sql.gz", 2), ("a.sql.gz.json", 1), ("a.sql.gz", 70_000)] {
            store.put(name, &vec![0; size]).await.unwrap();
        }
        let listing = store.list().await.unwrap();
        let found: Vec<_> = listing.objects.iter().map(|o| (o.name.as_str(), o.bytes)).collect();
        assert_eq!(found, [("a.sql.gz", 70_000), ("a.sql.gz.json", 1), ("b.sql.gz", 2)]);
        let newest = listing.objects.iter().map(|o| o.modified).max().unwrap();
        assert!(newest.timestamp() > 1_700_000_000, "{newest}");
    }

    pub(super) async fn room_is_told_where_it_is_known(bed: &dyn Bed) {
        if let Some(space) = bed.store().space().await.unwrap() {
            assert!(space.free > 0 && space.free <= space.total);
        }
    }
}

// The faults of a directory.

/// A test that this machine cannot run says so, and is counted.
fn skipped(test: &str, why: &str) {
    #[expect(clippy::print_stderr, reason = "seen by whoever runs the tests")]
    let () = eprintln!("SKIPPED: {test}: {why}");
    #[expect(clippy::disallowed_methods, reason = "the test runner tells where skipped tests are counted")]
    let log = std::env::var_os("AMARRE_SKIPPED_LOG");
    if let Some(log) = log {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(log, "{test}: {why}").unwrap();
    }
}

/// A file system of its own in memory; gone when dropped.
struct Mounted(TempDir);

impl Mounted {
    fn new(bytes: u64) -> Result<Self, String> {
        let dir = TempDir::new().unwrap();
        mount(dir.path(), &format!("size={bytes}"), &["-t", "tmpfs", "tmpfs"])?;
        Ok(Self(dir))
    }

    fn read_only(&self) {
        mount(self.0.path(), "remount,ro", &[]).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn mount(dir: &Path, options: &str, what: &[&str]) -> Result<(), String> {
    let output = Command::new("mount").args(["-o", options]).args(what).arg(dir).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The error of the store in what a draft's write failed with.
fn recovered(error: std::io::Error) -> Error {
    Error::recover(error).unwrap()
}

#[tokio::test]
async fn fault_35_a_full_disk_fails_the_draft_at_any_byte_and_leaves_what_was() {
    const SIZE: usize = 64 * 1024;
    const NEW: usize = 20_000;
    let bed = match Mounted::new(SIZE as u64) {
        Ok(bed) => bed,
        Err(why) => return skipped("fault_35 (full disk)", &format!("no tmpfs: {why}")),
    };
    let store = LocalStore::open(bed.0.path()).unwrap();
    let (mut failures, mut successes) = (0, 0);
    for old in (0..=SIZE).step_by(4096) {
        store.put("old.sql.gz", &vec![1; old]).await.unwrap();
        match store.put("new.sql.gz", &vec![2; NEW]).await {
            Ok(()) => {
                successes += 1;
                assert_eq!(store.read("new.sql.gz", NEW as u64).await.unwrap().len(), NEW);
                assert!(store.delete("new.sql.gz").await.unwrap());
            }
            Err(error) => {
                failures += 1;
                assert!(matches!(&error, Error::NoSpace { space, .. } if space.total == SIZE as u64), "{error:?}");
                let hint = error.hint().unwrap();
                assert!(hint.contains("65.5 kB") && hint.contains("BACKUP_RETENTION_DAYS"), "{hint}");
            }
        }
        assert_eq!(names(bed.0.path()), ["old.sql.gz"], "with {old} bytes there");
        assert_eq!(store.read("old.sql.gz", SIZE as u64).await.unwrap(), vec![1; old]);
        assert!(store.delete("old.sql.gz").await.unwrap());
    }
    assert!(failures > 3 && successes > 3, "{failures} failures, {successes} successes");
}

#[tokio::test]
async fn fault_35_a_stream_that_fills_the_disk_carries_the_error_of_the_store() {
    let bed = match Mounted::new(64 * 1024) {
        Ok(bed) => bed,
        Err(why) => return skipped("fault_35 (full disk, stream)", &format!("no tmpfs: {why}")),
    };
    let store = LocalStore::open(bed.0.path()).unwrap();
    let mut draft = store.draft("a.sql.gz").await.unwrap();
    let error = std::io::copy(&mut std::io::repeat(3).take(1 << 20), &mut draft).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(matches!(recovered(error), Error::NoSpace { space, .. } if space.free == 0));
    drop(draft);
    assert!(names(bed.0.path()).is_empty());
}

#[test]
fn fault_35_a_full_disk_fails_the_journal_with_its_name_and_loses_nothing_recorded() {
    use amarre::domain::run::RunId;
    use amarre::journal::{Journal, RunKind, SqliteJournal};

    let bed = match Mounted::new(512 * 1024) {
        Ok(bed) => bed,
        Err(why) => return skipped("fault_35 (full disk, journal)", &format!("no tmpfs: {why}")),
    };
    let now = "2025-07-01T01:00:00Z".parse().unwrap();
    let journal = SqliteJournal::open(bed.0.path(), now).unwrap().journal;
    let start = |n| journal.start(&RunId::new(now, n), RunKind::Backup, now, "test");
    start(0).unwrap();
    let ballast = bed.0.path().join("ballast");
    std::io::copy(&mut std::io::repeat(1), &mut std::fs::File::create(&ballast).unwrap()).unwrap_err();
    // Pages that the file has already may still take a few.
    let (recorded, error) = (1..10_000).find_map(|n| start(n).err().map(|e| (n, e))).unwrap();
    assert!(error.to_string().contains("amarre.sqlite") && error.hint().is_some(), "{error}");
    std::fs::remove_file(&ballast).unwrap();
    drop(journal);
    let again = SqliteJournal::open(bed.0.path(), now).unwrap();
    assert!(again.set_aside.is_none(), "a full disk is no damage");
    assert_eq!(again.journal.runs(u32::MAX).unwrap().len(), recorded as usize);
}

#[tokio::test]
async fn fault_37_a_read_only_remount_is_named() {
    let bed = match Mounted::new(1 << 20) {
        Ok(bed) => bed,
        Err(why) => return skipped("fault_37 (read-only remount)", &format!("no tmpfs: {why}")),
    };
    let store = LocalStore::open(bed.0.path()).unwrap();
    store.put("old.sql.gz", b"old").await.unwrap();
    bed.read_only();
    let errors = [
        store.draft("new.sql.gz").await.err().unwrap(),
        store.put("new.sql.gz", b"x").await.unwrap_err(),
        store.delete("old.sql.gz").await.unwrap_err(),
    ];
    for error in &errors {
        assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains(&bed.0.path().display().to_string()));
    }
    assert_eq!(store.read("old.sql.gz", 3).await.unwrap(), b"old", "still to be read");
}

#[tokio::test]
async fn fault_38_a_name_that_exists_is_never_overwritten_whatever_it_is() {
    let bed = Local::new();
    let store = bed.open();
    bed.plant("target", b"precious");
    std::os::unix::fs::symlink("target", bed.path("link.sql.gz")).unwrap();
    std::os::unix::fs::symlink("nowhere", bed.path("dangling.sql.gz")).unwrap();
    std::fs::create_dir(bed.path("dir.sql.gz")).unwrap();
    for name in ["link.sql.gz", "dangling.sql.gz", "dir.sql.gz"] {
        assert!(matches!(store.put(name, b"x").await, Err(Error::Exists { .. })), "{name}");
    }
    assert_eq!(std::fs::read(bed.path("target")).unwrap(), b"precious");
    assert_eq!(bed.names(), ["dangling.sql.gz", "dir.sql.gz", "link.sql.gz", "target"]);
}

#[tokio::test]
async fn fault_39_links_are_refused_and_reported() {
    let bed = Local::new();
    let store = bed.open();
    let outside = TempDir::new().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, b"precious").unwrap();
    std::os::unix::fs::symlink(&secret, bed.path("link.sql.gz")).unwrap();
    std::os::unix::fs::symlink(&secret, bed.path("new.sql.gz.partial")).unwrap();

    let Err(error) = store.open("link.sql.gz").await else { panic!("it was opened") };
    assert!(matches!(&error, Error::Link { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|h| h.contains("never followed")));
    assert!(matches!(store.read("link.sql.gz", 100).await, Err(Error::Link { .. })));
    // A link where the draft would be written.
    assert!(matches!(store.put("new.sql.gz", b"x").await, Err(Error::Exists { .. })));
    assert_eq!(std::fs::read(&secret).unwrap(), b"precious");

    // Deleting removes the link, not what it points to.
    assert!(store.delete("link.sql.gz").await.unwrap());
    assert_eq!(std::fs::read(&secret).unwrap(), b"precious");
}

#[tokio::test]
async fn fault_39_what_is_no_object_is_ignored_with_its_reason() {
    let bed = Local::new();
    let store = bed.open();
    bed.plant("a.sql.gz", b"x");
    bed.plant(".hidden", b"x");
    bed.plant("bad\u{1b}[31m.sql.gz", b"x");
    bed.plant("left.sql.gz.partial", b"x");
    std::os::unix::fs::symlink("a.sql.gz", bed.path("link.sql.gz")).unwrap();
    std::fs::create_dir(bed.path("dir")).unwrap();
    nix::unistd::mkfifo(&bed.path("fifo.sql.gz"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let listing = store.list().await.unwrap();
    assert_eq!(listing.objects.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["a.sql.gz"]);
    let ignored: String = listing.ignored.iter().map(|i| format!("{}: {}\n", i.name, i.reason)).collect();
    insta::assert_snapshot!(ignored);
    // Opening a FIFO must not wait for its writer.
    assert!(matches!(store.open("fifo.sql.gz").await, Err(Error::NotAFile { .. })));
    assert!(matches!(store.open("dir").await, Err(Error::NotAFile { .. })));
    assert!(matches!(store.delete("dir").await, Err(Error::NotAFile { .. })));
}

#[tokio::test]
async fn fault_63_what_a_killed_run_left_is_listed_and_swept() {
    let bed = Local::new();
    let store = bed.open();
    bed.plant("a.sql.gz", b"x");
    bed.plant("b.sql.gz.partial", b"half");
    bed.plant(".c.partial", b"not ours");
    bed.plant("e.sql.gz.1a2b3c4d.partial", b"another program's");
    std::fs::create_dir(bed.path("d.sql.gz.partial")).unwrap();
    let left = store.leftovers().await.unwrap();
    assert_eq!(left.iter().map(|o| (o.name.as_str(), o.bytes)).collect::<Vec<_>>(), [("b.sql.gz.partial", 4)]);
    assert_eq!(store.remove_leftovers().await.unwrap(), left);
    assert_eq!(bed.names(), [".c.partial", "a.sql.gz", "d.sql.gz.partial", "e.sql.gz.1a2b3c4d.partial"]);
    assert!(store.leftovers().await.unwrap().is_empty());
}

#[tokio::test]
async fn fault_7_files_are_for_their_owner_only() {
    let bed = Local::new();
    let store = bed.open();
    let draft = store.draft("a.sql.gz").await.unwrap();
    let mode = |name| std::fs::metadata(bed.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("a.sql.gz.partial"), 0o600);
    draft.publish().unwrap();
    assert_eq!(mode("a.sql.gz"), 0o600);
    let give = |mode| std::fs::set_permissions(bed.0.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    give(0o700);
    let facts = store.facts().unwrap();
    assert_eq!((facts.mode, facts.is_open_to_all()), (0o700, false));
    give(0o755);
    assert!(store.facts().unwrap().is_open_to_all());
}

#[tokio::test]
async fn fault_6_a_mount_of_its_own_is_recognised() {
    let bed = match Mounted::new(1 << 20) {
        Ok(bed) => bed,
        Err(why) => return skipped("fault_6 (mount)", &format!("no tmpfs: {why}")),
    };
    let facts = LocalStore::open(bed.0.path()).unwrap().facts().unwrap();
    assert_eq!(facts.mount.as_deref(), Some(bed.0.path().canonicalize().unwrap().as_path()));
    assert!(facts.is_on_mount());
    assert_eq!(facts.space.total, 1 << 20);
}

#[tokio::test]
async fn what_root_makes_belongs_to_the_owner_of_the_directory() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("owner of files made by root", "not root");
    }
    let bed = Local::new();
    std::os::unix::fs::chown(bed.0.path(), Some(10_001), Some(10_002)).unwrap();
    bed.open().put("a.sql.gz", b"x").await.unwrap();
    let meta = std::fs::metadata(bed.path("a.sql.gz")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (10_001, 10_002, 0o600));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let bed = Local::new();
    bed.plant("file", b"x");
    for name in ["gone", "file"] {
        let Err(error) = LocalStore::open(bed.path(name)) else { panic!("{name} was opened") };
        assert_eq!(error, Error::NoDirectory { place: bed.path(name).display().to_string() });
    }
}
