//! What there is and how far it is proven: `list`, `verify`, `prune`, and who may be at work.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::Bed;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Changes one byte in the middle, and makes the file look untouched.
fn flip(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], middle).unwrap();
    file.set_modified(modified).unwrap();
}

fn entry<'a>(list: &'a [Value], file: &Path) -> &'a Value {
    let name = file.file_name().unwrap().to_str().unwrap();
    list.iter().find(|e| e["file"] == name).unwrap_or_else(|| panic!("{name} is not listed: {list:?}"))
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A backup that the old scripts made so many days ago.
fn of_the_scripts(bed: &Bed, days: u64) -> String {
    let then = SystemTime::now() - Duration::from_secs(days * 86_400);
    let date: chrono::DateTime<chrono::Utc> = then.into();
    let name = format!("{}_backup_{}.sql.gz", bed.database, date.format("%Y%m%d_%H%M%S"));
    let dump = bed.server.pg_dump(&bed.database, &["--no-owner", "--no-acl"]);
    fs::write(bed.dir().join(&name), common::gzip(&dump)).unwrap();
    File::options().write(true).open(bed.dir().join(&name)).unwrap().set_modified(then).unwrap();
    name
}

#[test]
fn an_empty_directory_says_what_to_do_next() {
    let bed = Bed::new("empty");
    bed.run(&["list"]).expect(0).says("amarre backup");
    bed.run(&["restore", "--latest", "--yes-replace", &bed.database]).expect(1).says("there is no backup in");
}

#[test]
fn the_list_tells_verified_from_committed_and_unproven() {
    let bed = Bed::filled("states");
    let file = bed.backup_file();
    let old = of_the_scripts(&bed, 1);
    let list = bed.list();
    let verified = entry(&list, &file);
    assert_eq!(verified["state"], "verified");
    assert_eq!(
        verified["rows"],
        bed.manifest(name(&file))["content"]["tables"]
            .as_object()
            .unwrap()
            .values()
            .map(|t| t["rows"].as_u64().unwrap())
            .sum::<u64>()
    );
    assert_eq!(entry(&list, Path::new(&old))["state"], "unproven");
    // Changed after it was last read, though perhaps only touched: no longer taken for verified, until it is read.
    let later = SystemTime::now() + Duration::from_secs(60);
    File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    assert_eq!(entry(&bed.list(), &file)["state"], "committed");
    bed.run(&["list"]).expect(0).prints("unproven").prints("committed");
    let now = SystemTime::now() - Duration::from_secs(5);
    File::options().write(true).open(&file).unwrap().set_modified(now).unwrap();
    bed.run(&["verify", name(&file)]).expect(0);
    assert_eq!(entry(&bed.list(), &file)["state"], "verified");
}

#[test]
fn fault_41_a_flipped_byte_is_found_and_the_older_backup_taken() {
    let bed = Bed::filled("flip");
    let before = bed.content();
    let older = bed.backup_file();
    bed.psql("update customer set name = 'newer'");
    let newer = bed.backup_file();
    flip(&newer);
    let ran = bed.run(&["verify", "--all"]).expect(6).prints(name(&newer));
    assert!(ran.out.contains(name(&older)), "{}", ran.out);
    let list = bed.list();
    let bad = entry(&list, &newer);
    assert_eq!(bad["state"], "set_aside");
    assert!(bad["reason"].as_str().unwrap().contains("found damaged"), "{bad}");
    assert_eq!(entry(&list, &older)["state"], "verified");
    bed.restore(name(&newer)).expect(1).says("is set aside");
    bed.restore("--latest").expect(0);
    assert_eq!(bed.content(), before);
}

#[test]
fn fault_41_a_flipped_byte_that_nobody_found_yet_does_not_restore() {
    let bed = Bed::filled("unfound");
    let file = bed.backup_file();
    let before = bed.content();
    flip(&file);
    let ran = bed.restore("--latest");
    assert!(matches!(ran.code, Some(1 | 6)), "{ran:?}");
    assert_eq!(bed.content(), before);
    assert!(bed.beside().is_empty());
}

/// Gives a manifest the check that its writer would have given it.
fn sealed(bytes: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(bytes).unwrap();
    let (body, _) = text.rsplit_once("\"check\": \"").unwrap();
    let with = |check: &str| format!("{body}\"check\": \"{check}\"\n}}\n");
    let digest = Sha256::digest(with(&"0".repeat(64)));
    let check: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    with(&check).into_bytes()
}

#[test]
fn fault_69_and_71_a_bad_manifest_sets_its_backup_aside_and_no_other() {
    let bed = Bed::filled("manifests");
    let files: Vec<_> = (0..5).map(|_| bed.backup_file()).collect();
    let edit = |file: &Path, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let path = format!("{}.json", file.display());
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1).into_bytes()
        }
    };
    edit(&files[0], &|bytes| bytes[..bytes.len() / 2].to_vec());
    edit(&files[1], &replace("\"rows\": 500", "\"rows\": 501"));
    edit(&files[2], &|bytes| sealed(replace("\"format\": 1", "\"format\": 99")(bytes)));
    fs::remove_file(&files[3]).unwrap();
    let list = bed.list();
    for (file, reason) in files.iter().zip(["ends too early", "is damaged", "format version 99", "is gone"]) {
        let entry = entry(&list, file);
        assert_eq!(entry["state"], "set_aside", "{entry}");
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{entry}");
        bed.run(&["restore", name(file), "--yes-replace", &bed.database]).expect(1).says("is set aside");
    }
    assert_eq!(entry(&list, &files[4])["state"], "verified");
    bed.run(&["list"]).expect(0).prints("ends too early").prints("format version 99");
    bed.restore("--latest").expect(0);
}

#[test]
fn fault_70_a_manifest_without_data_and_data_without_a_manifest() {
    let bed = Bed::filled("halves");
    let (lost, orphan) = (bed.backup_file(), bed.backup_file());
    fs::remove_file(&lost).unwrap();
    fs::remove_file(format!("{}.json", orphan.display())).unwrap();
    let list = bed.list();
    assert_eq!(entry(&list, &lost)["state"], "set_aside");
    assert_eq!(entry(&list, &orphan)["state"], "unproven");
    // Neither passes for the latest; both survive a rotation.
    let ran = bed.run(&["restore", "--latest", "--yes-replace", &bed.database]);
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    ran.says(name(&orphan));
    bed.run(&["prune"]).expect(0);
    assert!(orphan.exists() && Path::new(&format!("{}.json", lost.display())).exists());
}

#[test]
fn only_unproven_files_are_listed_and_a_name_is_asked_for() {
    let bed = Bed::filled("unproven");
    let (one, two) = (of_the_scripts(&bed, 1), of_the_scripts(&bed, 2));
    let before = bed.content();
    let ran = bed.run(&["restore", "--latest", "--yes-replace", &bed.database]).expect(2);
    ran.says(&one).says(&two).says("restore FILE");
    bed.psql("drop table journal");
    bed.restore(&one).expect(0);
    assert_eq!(bed.content(), before);
}

/// Of one that somebody unpacked beside itself, the name without its end means neither.
#[test]
fn every_name_in_the_list_chooses_one_backup() {
    let bed = Bed::filled("twins");
    let (packed, alone) = (of_the_scripts(&bed, 1), of_the_scripts(&bed, 2));
    let plain = packed.strip_suffix(".gz").unwrap();
    fs::write(bed.dir().join(plain), common::sql_of(&bed.dir().join(&packed))).unwrap();
    let listed = bed.run(&["list"]).expect(0).out;
    for (file, shown) in
        [(packed.as_str(), packed.as_str()), (plain, plain), (&alone, alone.strip_suffix(".sql.gz").unwrap())]
    {
        assert!(listed.lines().any(|line| line.split_whitespace().next() == Some(shown)), "{shown}:\n{listed}");
        let plan = bed.run(&["restore", shown, "--dry-run"]).expect(0);
        assert!(
            format!("{}{} ", plan.out, plan.err)
                .split_whitespace()
                .any(|word| word.trim_matches(['\'', ':', ',']) == file),
            "{file}: {plan:?}"
        );
    }
}

#[test]
fn rotation_keeps_the_days_and_never_fewer_than_the_last_verified() {
    let mut bed = Bed::filled("rotation");
    let old: Vec<String> = [9, 10, 11].map(|days| of_the_scripts(&bed, days)).into();
    // Nothing verified yet: nothing goes, however old.
    bed.run(&["prune", "--dry-run"]).expect(0);
    bed.run(&["prune"]).expect(0);
    assert_eq!(bed.files(), old.iter().rev().cloned().collect::<Vec<_>>());
    bed.set("BACKUP_KEEP_VERIFIED", "2");
    let first = bed.backup_file();
    assert_eq!(bed.list().len(), 4, "one verified is fewer than two");
    let stranger = bed.dir().join("my_own_notes_backup_20200101_000000.sql.gz");
    fs::write(&stranger, "mine").unwrap();
    bed.set("BACKUP_RETENTION_DAYS", "30");
    let second = bed.backup_file();
    bed.set("BACKUP_RETENTION_DAYS", "7");
    let dry = bed.run(&["prune", "--dry-run", "--json"]).expect(0).json();
    let doomed: Vec<&str> = dry["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| d["delete"] == true)
        .map(|d| d["file"].as_str().unwrap())
        .collect();
    for name in &old {
        assert!(doomed.contains(&name.as_str()), "{name} stays: {dry}");
        assert!(bed.dir().join(name).exists(), "a dry run deletes nothing");
    }
    bed.run(&["prune"]).expect(0);
    assert!(old.iter().all(|name| !bed.dir().join(name).exists()));
    assert!(first.exists() && second.exists() && stranger.exists());
}

#[test]
fn fault_65_and_66_one_run_at_a_time() {
    let bed = Bed::filled("lock");
    bed.psql("create materialized view slow as select pg_sleep(4)::text as s");
    let before = bed.content();
    bed.backup();
    let restore = bed.start(&["restore", "--latest", "--yes-replace", &bed.database]);
    let loading =
        format!("select count(*) > 0 from pg_database where datname like '{}\\_amarre\\_new\\_%'", bed.database);
    bed.server.until("postgres", &loading);
    // 66: a backup, another restore, a rotation meet it; each says who is at work.
    bed.run(&["backup"]).expect(4).says("restore").says(&restore.id().to_string());
    bed.restore("--latest").expect(4);
    bed.run(&["prune"]).expect(4);
    // What only reads is not kept from it.
    bed.run(&["list"]).expect(0);
    restore.end().expect(0);
    assert_eq!(bed.content(), before);
    bed.run(&["backup"]).expect(0);
}

#[test]
fn fault_87_the_latest_is_never_that_of_another_installation() {
    let mut bed = Bed::filled("names");
    bed.set("BACKUP_NAME", "staging");
    let own = bed.backup_file();
    let before = bed.content();
    bed.psql("update customer set name = 'production'");
    bed.set("BACKUP_NAME", "production");
    let other = bed.backup_file();
    bed.set("BACKUP_NAME", "staging");
    assert_eq!(entry(&bed.list(), &other)["own"], false);
    bed.restore("--latest").expect(0);
    assert_eq!(bed.content(), before);
    // Named, it is taken, with a word of warning.
    bed.restore(name(&other)).expect(0).says("another installation").says("production");
    assert_eq!(bed.psql("select count(*) from customer where name = 'production'"), "500");
    // Rotation leaves it alone even when it is alone with it.
    bed.set("BACKUP_NAME", "third");
    let plan = bed.run(&["prune", "--dry-run", "--json"]).expect(0).json();
    let doomed = plan["decisions"].as_array().unwrap().iter().any(|d| d["delete"] == true);
    assert!(!doomed && own.exists() && other.exists(), "{plan}");
}
