//! The second place: backups that are uploaded while they are made, sent later, fetched and restored. A real S3 server.
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
use std::net::TcpListener;

use common::Bed;
use s3_bed::{LARGE, bed, names, of, point};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const SPOILED: &str = "update customer set name = 'lost'; drop table stock.item cascade";

#[test]
fn a_backup_lies_in_both_places_and_both_are_equal() {
    let Some((bucket, bed)) = bed("both") else { return };
    bed.psql(LARGE);
    let made = bed.backup();
    assert_eq!(made["outcome"], "done", "{made}");
    assert_eq!(bucket.all(), names(&made));
    let file = made["file"].as_str().unwrap();
    for name in names(&made) {
        assert!(bucket.get(&name) == fs::read(bed.dir().join(&name)).unwrap(), "{name}");
    }
    let digest: String = Sha256::digest(bucket.get(file)).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(bed.manifest(file)["stored"]["sha256"], digest);
    let entry = of(&bed, file);
    assert_eq!((&entry["local"], &entry["remote"][0]), (&true.into(), &true.into()));
    bed.run(&["list"]).expect(0).prints("S3");
    bed.run(&["list", "--remote"]).expect(0).prints(file.split('.').next().unwrap());
    bed.run(&["sync"]).expect(0).says("everything is in every place");
}

#[test]
fn a_store_that_is_away_makes_a_backup_partial_and_sync_sends_it_later() {
    let Some((bucket, mut bed)) = bed("away") else { return };
    // Nobody listens there: the port was ours a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = bed.env["S3_ENDPOINT_URL"].clone();
    bed.set("S3_ENDPOINT_URL", &format!("http://{nobody}")).set("BACKUP_S3_DEADLINE_MINUTES", "1");
    bed.set("BACKUP_DISK_FLOOR", "0");
    let ran = bed.run(&["backup", "--json"]).expect(3);
    let made = ran.json();
    assert_eq!(made["outcome"], "partial");
    assert!(made["copies"][0]["error"].as_str().unwrap().contains("cannot be reached"), "{made}");
    assert_eq!(bed.files().len(), 3, "it is good here");
    bed.run(&["check"]).expect(1).prints("nobody knows what").prints("cannot be reached");
    bed.set("S3_ENDPOINT_URL", &endpoint);
    bed.run(&["check"]).expect(1).prints("lacks 1 backup(s)").prints(made["file"].as_str().unwrap());
    assert_eq!(of(&bed, made["file"].as_str().unwrap())["remote"][0], false);
    bed.run(&["sync"]).expect(0).says("copied");
    assert_eq!(bucket.all(), names(&made));
    bed.run(&["status"]).expect(0).prints("sync");
    bed.run(&["check"]).expect(0).says("over:");
}

#[test]
fn a_restore_from_the_bucket_needs_nothing_else() {
    let Some((_, bed)) = bed("alone") else { return };
    let database = bed.database.clone();
    bed.psql(LARGE);
    let saved = bed.content();
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    for what in ["latest", "name", "path", "id"] {
        for name in bed.files() {
            fs::remove_file(bed.dir().join(name)).unwrap();
        }
        match what {
            // A new server: not even the database is there.
            "latest" => drop(bed.server.psql("postgres", &format!("drop database \"{database}\" with (force)"))),
            _ => drop(bed.psql(SPOILED)),
        }
        let replace = format!("--yes-replace={}", bed.database);
        let wanted = match what {
            "path" => format!("backups/{file}"),
            "id" => made["id"].as_str().unwrap().to_owned(),
            _ => file.to_owned(),
        };
        let arguments = match what {
            "latest" => vec!["restore", "--latest", &replace],
            _ => vec!["restore", "--from-s3", &wanted, &replace],
        };
        bed.run(&arguments).expect(0).says(file);
        assert_eq!(bed.content(), saved, "{what}");
        let entry = of(&bed, file);
        assert_eq!((&entry["state"], &entry["local"]), (&"verified".into(), &true.into()), "{what}");
    }
}

/// A machine made anew starts with an empty database under the same name: that must not push the good backups out there.
#[test]
fn fault_25_what_an_emptied_server_sends_holds_the_good_ones() {
    let Some((bucket, mut bed)) = bed("anew") else { return };
    bed.set("BACKUP_KEEP_VERIFIED", "1").set("BACKUP_S3_KEEP", "yearly:1");
    let good = bed.backup();
    for name in bed.files() {
        fs::remove_file(bed.dir().join(name)).unwrap();
    }
    bed.psql("drop table customer cascade");
    // Names tell seconds: one that is new here must not be that of the copy.
    let second = good["started_at"].as_str().unwrap().get(..19).unwrap().to_owned();
    common::wait_for("another second", || chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S").to_string() > second);
    let empty = bed.backup();
    assert!(!empty["suspicious"].as_array().unwrap().is_empty(), "{empty}");
    bed.backup();
    let there = bucket.all();
    assert!(names(&good).iter().all(|name| there.contains(name)), "{there:?}");
}

/// Two installations that give one name: nobody's copy is touched, and whoever comes second is told.
#[test]
fn fault_87_another_installations_copy_of_the_same_name_stays() {
    let Some((bucket, bed)) = bed("twins") else { return };
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    // As if another had been at this second first: its data, under our name.
    let theirs = names(&made);
    let bytes: Vec<_> = theirs.iter().map(|name| bucket.get(name)).collect();
    let mut manifest: Value = serde_json::from_slice(&bytes[1]).unwrap();
    manifest["installation"] = "staging/other".into();
    let mut foreign: amarre::domain::manifest::Manifest = serde_json::from_value(manifest).unwrap();
    foreign.check = String::new();
    bucket.put(&theirs[1], &foreign.to_bytes());
    let before: Vec<_> = theirs.iter().map(|name| bucket.get(name)).collect();
    bed.run(&["sync"]).expect(3).says("is already in");
    let after: Vec<_> = theirs.iter().map(|name| bucket.get(name)).collect();
    assert!(before == after, "{file} was touched");
}

/// What somebody took away there is sent again, though its manifest stayed.
#[test]
fn fault_42_a_copy_without_its_data_is_sent_again() {
    let Some((bucket, bed)) = bed("taken") else { return };
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let bytes = bucket.get(file);
    bucket.remove(file);
    bed.run(&["sync"]).expect(0).says("copied");
    assert!(bucket.get(file) == bytes);
    assert_eq!(bucket.all(), names(&made));
}

#[test]
fn get_only_fetches_and_says_what_there_is_not() {
    let Some((_, mut bed)) = bed("get") else { return };
    let made = bed.backup();
    let changed = bed.content();
    let elsewhere = bed.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    bed.set("BACKUP_DIR", &elsewhere.display().to_string());
    bed.run(&["get", "nothing_like_it"]).expect(2).says("nothing_like_it");
    assert!(bed.files().is_empty());
    bed.run(&["get", made["file"].as_str().unwrap()]).expect(0).says("elsewhere");
    assert_eq!(bed.files(), names(&made));
    assert_eq!(bed.content(), changed);
    bed.run(&["verify", "--latest"]).expect(0);
}

/// Killed at any step, the next run and its sync leave nothing half in either place, and nothing is lost.
#[cfg(feature = "failpoints")]
#[test]
fn fault_63_a_run_killed_at_any_step_leaves_nothing_half_in_the_bucket() {
    let Some((bucket, mut bed)) = bed("s3kill") else { return };
    bed.psql(LARGE);
    bed.set("BACKUP_KEEP_VERIFIED", "1");
    let mut made: Vec<Value> = Vec::new();
    for step in ["backup.2", "backup.3", "backup.5", "backup.7", "backup.9"] {
        s3_bed::die_at(&bed, step, &["backup"]);
        made.push(bed.backup());
        bed.run(&["sync"]).expect(0);
        let (here, there) = (bed.files(), bucket.all());
        assert_eq!(here, there, "{step}");
        for one in &made {
            assert!(names(one).iter().all(|name| there.contains(name)), "{step}: {there:?}");
        }
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn fault_63_a_rotation_in_the_bucket_killed_at_any_step_leaves_nothing_half() {
    let Some((bucket, mut bed)) = bed("s3prune") else { return };
    bed.set("BACKUP_KEEP_VERIFIED", "1").set("BACKUP_S3_KEEP", "yearly:1").set("BACKUP_SAFETY_DAYS", "1");
    let mut last = bed.backup();
    for step in ["remote.1", "remote.2", "remote.3"] {
        // The rotation after it goes first for the one before: of a year one is kept, and the local ones have no reason to go.
        s3_bed::die_at(&bed, step, &["backup"]);
        bed.run(&["restore", "--latest", "--dry-run"]).expect(0);
        let there = bucket.all();
        let data = there.iter().filter(|name| name.ends_with(common::end()) && !name.ends_with(".roles.sql"));
        for data in data {
            assert!(there.contains(&format!("{data}.json")), "{step}: {there:?}");
        }
        let stray = there.iter().filter(|name| name.ends_with(".roles.sql"));
        for roles in stray {
            assert!(there.contains(&roles.replace(".roles.sql", "")), "{step}: {there:?}");
        }
        last = bed.backup();
        assert!(names(&last).iter().all(|name| bucket.all().contains(name)), "{step}");
    }
    assert!(bed.files().len() > 3, "{last}");
}

/// Bytes that changed there are no backup, whoever changed them.
#[test]
fn fault_59_a_copy_that_was_damaged_is_not_taken() {
    let Some((bucket, bed)) = bed("damaged") else { return };
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let mut bytes = bucket.get(file);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bucket.put(file, &bytes);
    for name in bed.files() {
        fs::remove_file(bed.dir().join(name)).unwrap();
    }
    bed.run(&["get", file]).expect(6);
    assert!(bed.files().is_empty(), "{:?}", bed.files());
}

#[test]
fn fault_60_and_61_what_is_not_ours_is_neither_listed_nor_deleted() {
    let Some((bucket, mut bed)) = bed("foreign") else { return };
    let hostile = ["../escape", "a\u{1b}[31m.sql.gz", "/absolute", "..", "deep/folder/x.sql.gz", "notes.txt"];
    // Five thousand of others, in the manner of all that a bucket is used for, ours too.
    let many = (0..5000).map(|n| match n % 5 {
        0 => format!("other_backup_20250101_{:06}.sql.gz", n),
        1 => format!("logs/{n}/app.log"),
        2 => format!("{}_backup_{n}.tar", bed.database),
        3 => format!("café {n} %2F+\u{7}.json"),
        _ => format!("{n}.sql.gz.json"),
    });
    let foreign: Vec<String> = hostile.iter().map(|name| (*name).to_owned()).chain(many).collect();
    bucket.put_many(&foreign);
    let other = Bed::filled("foreign2");
    let mut other = other;
    point(&mut other, &bucket);
    let theirs = other.backup();
    let ours = bed.backup();
    bed.set("BACKUP_RETENTION_DAYS", "1").set("BACKUP_KEEP_VERIFIED", "1");
    bed.backup();
    let left = bucket.all();
    let left: std::collections::BTreeSet<String> = left.into_iter().collect();
    for name in foreign.iter().cloned().chain(names(&theirs)).chain(names(&ours)) {
        assert!(left.contains(&name), "{name:?} is gone");
    }
    // By itself only our own; by its name the other's too.
    let latest = bed.run(&["restore", "--latest", "--dry-run", "--json"]).expect(0).json();
    assert_ne!(latest["file"], theirs["file"]);
    let listed = bed.list();
    let entry = listed.iter().find(|e| e["file"] == theirs["file"]).unwrap();
    assert_eq!(entry["own"], false);
}

#[test]
fn fault_48_each_refusal_is_its_own_sentence() {
    let Some((_, mut bed)) = bed("refused") else { return };
    bed.set("BACKUP_S3_DEADLINE_MINUTES", "1");
    let mut with = |name: &str, value: &str, says: &str| {
        let before = bed.env[name].clone();
        bed.set(name, value);
        bed.run(&["sync"]).expect(3).says(says);
        bed.set(name, &before);
    };
    with("S3_BACKUP_BUCKET", "no-such-bucket-here", "does not");
    with("AWS_SECRET_ACCESS_KEY", "wrong", "keys");
    with("AWS_DEFAULT_REGION", "elsewhere", "region");
    with("S3_ENDPOINT_URL", "http://no-such-host.invalid", "not known");
}
