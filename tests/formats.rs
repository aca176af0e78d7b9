//! Backups in every format, from the dump to the restored database; formats are told by bytes, never by names.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs;

use common::{Bed, gzip};

const SPOILED: &str = "update customer set name = 'lost'; drop table stock.item cascade";

/// Backs up, reads again, spoils, restores.
fn comes_back(compression: &str, format: &str, end: &str) {
    let mut bed = Bed::filled("format");
    bed.set("BACKUP_COMPRESSION", compression);
    let before = bed.content();
    let json = bed.backup();
    let file = json["file"].as_str().unwrap().to_owned();
    assert!(file.ends_with(end), "{file}");
    assert_eq!(bed.files(), [file.clone(), format!("{file}.json"), format!("{file}.roles.sql")]);
    assert_eq!(bed.manifest(&file)["compression"], format);
    assert_eq!(bed.list()[0]["file"], file.as_str());
    bed.run(&["verify", &file]).expect(0);
    bed.psql(SPOILED);
    bed.restore("--latest").expect(0);
    assert_eq!(bed.content(), before);
    let safety = bed.files().into_iter().find(|f| f.starts_with("pre_restore_safety_")).unwrap();
    assert!(bed.files().iter().any(|f| f.starts_with("pre_restore_safety_") && f.ends_with(end)), "{safety}");
}

#[test]
fn zstd_comes_back() {
    comes_back("zstd", "zstd", ".sql.zst");
}

#[test]
fn zstd_of_another_level_comes_back() {
    comes_back("zstd:12", "zstd", ".sql.zst");
}

#[test]
fn gzip_of_another_level_comes_back() {
    comes_back("gzip:9", "gzip", ".sql.gz");
}

/// Nothing of a file stays in memory, whoever wrote it: not what is stored as it is, nor one long member or frame of another program.
#[test]
fn what_others_packed_is_read_in_constant_memory() {
    let mut bed = Bed::new("constant");
    bed.psql("create table t as select i, repeat(md5(i::text), 10) from generate_series(1, 400000) i");
    bed.set("BACKUP_COMPRESSION", "none");
    let file = bed.backup_file();
    let sql = fs::read(&file).unwrap();
    assert!(sql.len() > 120_000_000, "{}", sql.len());
    let plain = file.file_name().unwrap().to_string_lossy().into_owned();
    let foreign = bed.write("foreign.sql.gz", &gzip(&sql)).display().to_string();
    let side = format!("{}_amarre_side", bed.database);
    let memory = |arguments: &[&str]| bed.run(arguments).expect(0).json()["peak_rss_bytes"].as_u64().unwrap();
    for arguments in [
        &["verify", &plain, "--json"][..],
        &["restore", &foreign, "--dry-run", "--json"],
        &["restore", &foreign, "--into", &side, "--json"],
    ] {
        let peak = memory(arguments);
        assert!(peak < 64 << 20, "{arguments:?}: {peak} bytes");
    }
}

#[test]
fn plain_sql_comes_back() {
    comes_back("none", "none", ".sql");
}

#[test]
fn formats_are_told_by_the_first_bytes() {
    let bed = Bed::filled("magic");
    let before = bed.content();
    let dump = bed.server.pg_dump(&bed.database, &[]);
    let packed = zstd::bulk::compress(&dump, 3).unwrap();
    for (name, bytes) in [("packed.sql.gz", packed), ("packed.sql", gzip(&dump)), ("plain.sql.zst", dump.clone())] {
        let file = bed.write(name, &bytes);
        bed.psql(SPOILED);
        bed.restore(file.to_str().unwrap()).expect(0);
        assert_eq!(bed.content(), before, "{name}");
    }
}

#[test]
fn the_format_may_change_from_one_backup_to_the_next() {
    let mut bed = Bed::filled("change");
    for compression in ["gzip", "zstd", "none", "gzip:1"] {
        bed.set("BACKUP_COMPRESSION", compression).backup();
    }
    assert_eq!(bed.list().len(), 4);
    bed.run(&["verify", "--all"]).expect(0);
}

#[test]
fn a_damaged_zstd_backup_is_found_and_not_chosen() {
    let mut bed = Bed::filled("zdamage");
    let good = bed.backup_file();
    let bad = bed.set("BACKUP_COMPRESSION", "zstd").backup_file();
    let mut bytes = fs::read(&bad).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bad, bytes).unwrap();
    bed.run(&["verify", bad.to_str().unwrap()]).expect(6);
    let ran = bed.restore("--latest").expect(0);
    assert!(ran.err.contains(good.file_name().unwrap().to_str().unwrap()), "{}", ran.err);
}

#[test]
fn fault_1_a_format_that_is_none_is_refused_with_what_is_possible() {
    let mut bed = Bed::new("badformat");
    for bad in ["lz4", "gzip:13", "zstd:0", "gzip:"] {
        let ran = bed.set("BACKUP_COMPRESSION", bad).run(&["backup"]).expect(2);
        ran.says("'BACKUP_COMPRESSION'").says(bad).says("zstd:19");
    }
    assert!(bed.files().is_empty());
}
