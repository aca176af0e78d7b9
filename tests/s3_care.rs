//! What becomes of copies: healed from either place, erased, lent, pinned, sent to two places, and never in anybody's way. A real S3 server.
//! Without one (`scripts/testbed.sh up` starts it) these are skipped, which is said and counted.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3_bed.rs"]
mod s3_bed;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use amarre::store::{Error, Growing, Store as _};
use common::{Bed, wait_for};
use s3::Bucket;
use s3_bed::{LARGE, bed, names, of};
use serde_json::Value;

fn terminate(process: u32) {
    let process = nix::unistd::Pid::from_raw(i32::try_from(process).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
}

fn spoil(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// What a restore made first is sent by the next sync; nobody is called for that.
#[test]
fn a_safety_dump_that_is_not_sent_yet_is_no_alert() {
    let Some((_bucket, mut bed)) = bed("unsent") else { return };
    bed.set("BACKUP_DISK_FLOOR", "0");
    bed.backup();
    bed.run(&["restore", "--latest", "--yes-replace", &bed.database]).expect(0);
    let here_alone = |one: &&Value| one["remote"] == serde_json::json!([false]);
    assert_eq!(bed.list().iter().filter(here_alone).count(), 1);
    bed.run(&["check"]).expect(0);
}

/// What damage there is here, and what heals it.
#[test]
fn fault_41_what_rots_here_is_found_and_healed_from_there() {
    let Some((bucket, bed)) = bed("healhere") else { return };
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let path = bed.dir().join(file);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    spoil(&mut bad);

    fs::write(&path, &bad).unwrap();
    bed.run(&["verify", file]).expect(6);
    assert_eq!(of(&bed, file)["state"], "set_aside");
    bed.run(&["verify", file, "--heal"]).expect(0).says("replaced by the good copy");
    assert!(fs::read(&path).unwrap() == good);
    assert_eq!(of(&bed, file)["state"], "verified");

    // Without a look of ours before: the length tells.
    for name in names(&made) {
        let path = bed.dir().join(&name);
        let whole = fs::read(&path).unwrap();
        match name == file {
            true => fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
            false => fs::write(&path, b"?").unwrap(),
        }
        if name.ends_with(".roles.sql") {
            bed.run(&["verify", file]).expect(6);
        }
        bed.run(&["sync", "--heal"]).expect(0);
        assert_eq!(of(&bed, file)["state"], "verified", "{name}");
        if !name.ends_with(".json") {
            assert!(fs::read(&path).unwrap() == whole, "{name}");
        }
    }
    fs::remove_file(&path).unwrap();
    let healed = bed.run(&["sync", "--heal", "--json"]).expect(0).json();
    assert_eq!(healed["healed"][0]["file"], file, "{healed}");
    assert!(fs::read(&path).unwrap() == good);
    bed.run(&["verify", "--latest"]).expect(0);
    assert_eq!(bucket.all(), bed.files());
}

/// A damaged copy here keeps nobody from a restore: the other one is taken, and this one is whole again after it.
#[test]
fn fault_41_a_restore_takes_the_copy_that_is_good() {
    let Some((_, bed)) = bed("healrestore") else { return };
    let saved = bed.content();
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let path = bed.dir().join(file);
    let mut bytes = fs::read(&path).unwrap();
    spoil(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    bed.run(&["verify", file]).expect(6);
    bed.psql("drop table stock.item cascade");
    bed.restore("--latest").expect(0).says(file);
    assert_eq!(bed.content(), saved);
    assert_eq!(of(&bed, file)["state"], "verified");
}

#[test]
fn fault_59_what_rots_there_is_found_and_sent_again_from_here() {
    let Some((bucket, bed)) = bed("healthere") else { return };
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let good = bucket.get(file);
    let mut bad = good.clone();
    spoil(&mut bad);
    let owner = bed.env["BACKUP_NAME"].clone();
    bucket.put_as(file, &bad, &owner);
    bed.run(&["verify", "--remote"]).expect(6).prints("NOT good");
    bed.run(&["verify", "--remote", "--heal"]).expect(0).says("replaced by the good copy");
    assert!(bucket.get(file) == good);
    let read = bed.run(&["verify", "--remote", file, "--json"]).expect(0).json();
    assert_eq!(read["remotes"][0]["good"], true, "{read}");
    assert_eq!(bucket.all(), names(&made));
    // Nothing here to send: it is said, and the proof has failed.
    for name in bed.files() {
        fs::remove_file(bed.dir().join(name)).unwrap();
    }
    bucket.put_as(file, &bad, &owner);
    bed.run(&["verify", "--remote", "--heal"]).expect(6).says("no good copy");
    bed.run(&["get", file]).expect(6);
    assert!(bed.files().is_empty());
}

#[test]
fn one_backup_is_erased_everywhere_after_a_typed_word() {
    let Some((bucket, bed)) = bed("erase") else { return };
    let (first, second) = (bed.backup(), bed.backup());
    let file = first["file"].as_str().unwrap();
    let (code, text) = bed.typed(&["delete", file, "--everywhere"], "non\n");
    assert_eq!(code, 5, "{text}");
    bed.run(&["delete", file, "--everywhere"]).expect(5);
    bed.run(&["delete", file, "--everywhere", "--yes-delete", second["file"].as_str().unwrap()]).expect(5);
    bed.run(&["delete", "nothing_like_it", "--everywhere"]).expect(2);
    assert_eq!(bucket.all().len(), 6);
    let (code, text) = bed.typed(&["delete", file, "--everywhere"], "OUI\n");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("s3://"), "{text}");
    assert_eq!((bucket.all(), bed.files()), (names(&second), names(&second)));
    bed.run(&["status"]).expect(0).prints("delete");
    // Here only: there it stays, and is not taken for missing here.
    let file = second["file"].as_str().unwrap();
    bed.run(&["delete", file, "--yes-delete", file]).expect(0).says("stays in");
    assert!(bed.files().is_empty());
    assert_eq!(bucket.all(), names(&second));
    bed.run(&["delete", file, "--yes-delete", file]).expect(2).says("--everywhere");
}

/// What was begun on a person's word is ended by the next run, whatever happened in between.
#[cfg(feature = "failpoints")]
#[test]
fn fault_63_an_erasure_that_was_killed_is_finished() {
    for step in ["prune.1", "prune.2", "prune.3", "erase.1", "erase.2"] {
        let Some((bucket, bed)) = bed("erasekill") else { return };
        let (first, second) = (bed.backup(), bed.backup());
        let file = first["file"].as_str().unwrap();
        s3_bed::die_at(&bed, step, &["delete", file, "--everywhere", "--yes-delete", file]);
        bed.run(&["restore", "--latest", "--dry-run"]).expect(0);
        assert_eq!(bed.files(), names(&second), "{step}");
        if step.starts_with("erase") {
            assert_eq!(bucket.all(), names(&second), "{step}");
        }
        bed.run(&["delete", file, "--everywhere", "--yes-delete", file]);
        assert_eq!(bucket.all(), names(&second), "{step}");
    }
}

#[test]
fn a_copy_is_lent_by_an_address() {
    let Some((bucket, bed)) = bed("share") else { return };
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let shared = bed.run(&["share", file, "--for", "10m", "--json"]).expect(0).json();
    let address = shared["url"].as_str().unwrap();
    let (host, path) = address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut connection = TcpStream::connect(host).unwrap();
    write!(connection, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..200.min(answer.len())]));
    assert!(answer.ends_with(&bucket.get(file)));
    assert_eq!(shared["stored"]["sha256"], bed.manifest(file)["stored"]["sha256"]);
    for time in ["0s", "8d", "soon"] {
        bed.run(&["share", file, "--for", time]).expect(2);
    }
    let told = bed.run(&["share", file]).expect(0).prints("X-Amz-Signature");
    assert!(!told.err.contains("X-Amz-Signature"), "the address is a secret: {}", told.err);
}

#[test]
fn doctor_tries_a_store_and_leaves_nothing() {
    let Some((bucket, mut bed)) = bed("probe") else { return };
    let ran = bed.run(&["doctor", "--s3", "--json"]).expect(0).json();
    let found: Vec<&str> = ran["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    for name in [
        "s3-put",
        "s3-get",
        "s3-list",
        "s3-clock",
        "s3-condition",
        "s3-checksum",
        "s3-parts",
        "s3-unfinished",
        "s3-delete",
    ] {
        assert!(found.contains(&name), "{name}: {ran}");
    }
    assert!(bucket.all().is_empty());
    bed.run(&["doctor"]).prints("copies");
    bed.set("AWS_SECRET_ACCESS_KEY", "wrong");
    bed.run(&["doctor", "--s3", "--json"]).expect(1).prints("does not accept the keys");
}

/// The nightly rotation comes while the operator thinks about a restore: what it is about stays.
#[test]
fn fault_67_a_rotation_leaves_what_a_restore_is_about() {
    let Some((_, mut bed)) = bed("pinned") else { return };
    bed.set("BACKUP_KEEP_VERIFIED", "1").set("BACKUP_KEEP", "yearly:1").set("BACKUP_SAFETY_DAYS", "1");
    let saved = bed.content();
    let first = bed.backup();
    bed.psql("update customer set name = 'lost'");
    let file = first["file"].as_str().unwrap();
    let rotate = || {
        bed.backup();
        bed.run(&["prune"]).expect(0).prints("in use");
        assert!(bed.files().contains(&file.to_owned()));
    };
    let (code, text) = bed.typed_after(&["restore", file], rotate, "OUI\n");
    assert_eq!(code, 0, "{text}");
    assert_eq!(bed.content(), saved);
    // Nobody needs it any more.
    bed.backup();
    assert!(!bed.files().contains(&file.to_owned()), "{:?}", bed.files());
}

/// A first sync may take hours: nobody who restores or backs up waits for it, and nobody sends the same again.
#[test]
fn a_long_transfer_is_in_nobodys_way() {
    let Some((bucket, mut bed)) = bed("slow") else { return };
    bed.psql(LARGE);
    let (endpoint, nobody) =
        (bed.env["S3_ENDPOINT_URL"].clone(), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    bed.set("S3_ENDPOINT_URL", &format!("http://{nobody}")).set("BACKUP_S3_DEADLINE_MINUTES", "1");
    let made = bed.run(&["backup", "--json"]).expect(3).json();
    bed.set("S3_ENDPOINT_URL", &endpoint).set("BACKUP_S3_BANDWIDTH", "300K");
    let sync = bed.start(&["sync", "--json"]);
    wait_for("an upload that is under way", || bucket.all().iter().any(|name| name.ends_with("(unfinished)")));
    let other = bed.run(&["sync", "--json"]).expect(0).json();
    assert_eq!((&other["copied"], &other["swept"]), (&Value::Array(Vec::new()), &0.into()), "{other}");
    let beside = format!("{}_beside", bed.database);
    bed.run(&["restore", made["file"].as_str().unwrap(), "--into", &beside]).expect(0);
    assert!(
        bucket.all().iter().any(|name| name.ends_with("(unfinished)")),
        "it should still be under way: {:?}",
        bucket.all()
    );
    bed.server.psql("postgres", &format!("drop database \"{beside}\""));
    // Told to end, it takes back what it has begun; the next one goes on.
    terminate(sync.id());
    sync.end().expect(1);
    assert!(bucket.all().is_empty(), "{:?}", bucket.all());
    bed.env.remove("BACKUP_S3_BANDWIDTH");
    let sent = bed.run(&["sync", "--json"]).expect(0).json();
    assert_eq!(sent["copied"][0]["file"], made["file"], "{sent}");
    assert_eq!(bucket.all(), names(&made));
}

/// The lock is free as soon as the backup is committed here, and what `status` says in between is what holds then.
#[test]
fn a_restore_does_not_wait_for_an_upload() {
    let Some((bucket, mut bed)) = bed("leaving") else { return };
    bed.psql(LARGE);
    bed.set("BACKUP_S3_BANDWIDTH", "300K");
    let backup = bed.start(&["backup", "--json"]);
    wait_for("the local commit", || bed.files().len() == 3);
    let file = bed.files().remove(0);
    let beside = format!("{}_beside", bed.database);
    // The lock is let go right after the commit and the rotation.
    wait_for("a restore", || bed.run(&["restore", &file, "--into", &beside]).code == Some(0));
    bed.server.psql("postgres", &format!("drop database \"{beside}\""));
    assert!(
        bucket.all().iter().any(|name| name.ends_with("(unfinished)")),
        "it should still be under way: {:?}",
        bucket.all()
    );
    bed.run(&["status"]).expect(0).prints("partial");
    terminate(backup.id());
    assert_eq!(backup.end().expect(3).json()["outcome"], "partial");
    bed.env.remove("BACKUP_S3_BANDWIDTH");
    bed.run(&["sync"]).expect(0);
    assert_eq!(bucket.all(), bed.files());
}

fn second(bed: &mut Bed, bucket: &Bucket) {
    let place = bucket.place.clone();
    for (name, value) in [
        ("BUCKET", place.bucket),
        ("ENDPOINT_URL", place.endpoint),
        ("REGION", place.region),
        ("ACCESS_KEY_ID", place.key),
        ("SECRET_ACCESS_KEY", place.secret),
        ("PREFIX", bucket.prefix.clone()),
    ] {
        bed.set(&format!("BACKUP_S3_2_{name}"), &value);
    }
}

#[test]
fn a_second_store_has_everything_too_and_either_may_be_away() {
    let Some((bucket, mut bed)) = bed("two") else { return };
    let other = Bucket::new().unwrap();
    second(&mut bed, &other);
    let made = bed.backup();
    assert_eq!((bucket.all(), other.all()), (names(&made), names(&made)));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bed.set("S3_ENDPOINT_URL", &format!("http://{nobody}")).set("BACKUP_S3_DEADLINE_MINUTES", "1");
    let next = bed.run(&["backup", "--json"]).expect(3).json();
    assert!(!next["copies"][0]["error"].is_null() && next["copies"][1]["error"].is_null(), "{next}");
    assert_eq!(other.all().len(), 6);
    for name in bed.files() {
        fs::remove_file(bed.dir().join(name)).unwrap();
    }
    bed.run(&["restore", "--latest", "--dry-run"]).expect(0).says(next["file"].as_str().unwrap());
    let entry = of(&bed, next["file"].as_str().unwrap());
    assert_eq!((&entry["remote"][0], &entry["remote"][1]), (&Value::Null, &true.into()), "{entry}");
    let planned = bed.run(&["prune", "--dry-run", "--json"]).expect(3).json();
    assert!(planned["remotes"][0]["decisions"].is_null() && planned["remotes"][1]["decisions"].is_array(), "{planned}");
}

/// Killed at any step of sending, fetching or healing, the next run and its sync leave nothing half in either place.
#[cfg(feature = "failpoints")]
#[test]
fn fault_63_transfers_killed_at_any_step_leave_nothing_half() {
    let Some((bucket, mut bed)) = bed("transfers") else { return };
    bed.psql(LARGE);
    let endpoint = bed.env["S3_ENDPOINT_URL"].clone();
    for step in ["upload.1", "upload.2", "upload.3"] {
        s3_bed::die_at(&bed, step, &["backup"]);
        bed.run(&["sync"]).expect(0);
        assert_eq!(bucket.all(), bed.files(), "{step}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for step in ["sync.1", "sync.2", "upload.2", "upload.3"] {
        bed.set("S3_ENDPOINT_URL", &format!("http://{nobody}")).set("BACKUP_S3_DEADLINE_MINUTES", "1");
        bed.run(&["backup"]).expect(3);
        bed.set("S3_ENDPOINT_URL", &endpoint);
        s3_bed::die_at(&bed, step, &["sync"]);
        bed.run(&["sync"]).expect(0);
        assert_eq!(bucket.all(), bed.files(), "{step}");
    }
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    for step in ["fetch.1", "fetch.2", "fetch.3"] {
        // Anew, and over a damaged one.
        for name in names(&made) {
            fs::remove_file(bed.dir().join(name)).unwrap();
        }
        s3_bed::die_at(&bed, step, &["get", file]);
        bed.run(&["get", file]).expect(0);
        bed.run(&["verify", file]).expect(0);
        let path = bed.dir().join(file);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        bed.run(&["verify", file]).expect(6);
        s3_bed::die_at(&bed, step, &["sync", "--heal"]);
        bed.run(&["sync", "--heal"]).expect(0);
        bed.run(&["verify", file]).expect(0);
        assert_eq!(bucket.all(), bed.files(), "{step}");
    }
}

/// No store is trusted to refuse what is there: it is looked first, and after that compared.
#[tokio::test(flavor = "multi_thread")]
async fn fault_54_what_lies_there_is_never_replaced_whatever_the_store_thinks_of_conditions() {
    let Some(bucket) = Bucket::new() else { return s3::skipped("fault_54") };
    let name = "hub_backup_20261121_030000.sql.gz";
    bucket.put(name, b"theirs");
    let store = bucket.open();
    assert!(matches!(store.put(name, b"ours").await, Err(Error::Exists { .. })));
    let ours = vec![b'o'; 20_000_000];
    let stored = amarre::dump::measure(&ours);
    let upload = store.upload(name, Growing::whole(Arc::new(ours), stored.bytes), stored.bytes).await.unwrap();
    assert!(matches!(upload.finish(&stored).await, Err(Error::Exists { .. })));
    assert_eq!(bucket.get(name), b"theirs");
    assert_eq!(bucket.all(), [name]);
}

/// What has to be thawed is asked for by the restore itself, which says that nothing was restored yet.
#[test]
fn a_restore_asks_for_what_is_frozen() {
    let Some(bucket) = Bucket::simulated() else {
        s3::skipped("a restore of what is frozen");
        return;
    };
    let mut bed = Bed::filled("frozen");
    s3_bed::point(&mut bed, &bucket);
    bed.set("BACKUP_S3_STORAGE_CLASS", "GLACIER");
    let content = bed.content();
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    for name in names(&made) {
        fs::remove_file(bed.dir().join(name)).unwrap();
    }
    bed.psql("drop table stock.item cascade");
    let replace = format!("--yes-replace={}", bed.database);
    bed.run(&["restore", "--from-s3", file, &replace]).expect(1).says("is frozen (GLACIER)").says("--thaw");
    let asked = ["restore", "--from-s3", file, "--thaw", "5", &replace];
    bed.run(&asked).expect(1).says("nothing was restored").says("for 5 days");
    // The simulation thaws at once.
    bed.run(&asked).expect(0);
    assert_eq!(bed.content(), content);
    bed.run(&["restore", file, "--thaw"]).expect(2);
}
