//! Taking a restore back, and what becomes of the database that it replaced.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::{Bed, gunzip, literal, wait_for};

const SPOILED: &str = "update customer set name = 'lost'; drop table stock.item cascade;
    create table intruder (id int); insert into intruder values (1), (2)";

/// Makes the time of what was put aside be over, by its mark: as if a day had passed.
fn a_day_passes(bed: &Bed) {
    for name in bed.beside() {
        let sql = format!(
            "select regexp_replace(shobj_description(oid, 'pg_database'), '\"until\":\"[^\"]*\"', '\"until\":\"2020-01-01T00:00:00Z\"')
             from pg_database where datname = {}",
            literal(&name)
        );
        let mark = bed.server.psql("postgres", &sql);
        assert!(mark.contains("2020-01-01"), "{mark}");
        bed.server.psql("postgres", &format!("comment on database \"{name}\" is {}", literal(&mark)));
    }
}

#[test]
fn an_undo_gives_back_exactly_the_changed_state() {
    let bed = Bed::filled("undo");
    let saved = bed.content();
    bed.backup();
    bed.psql(SPOILED);
    let changed = bed.content();
    bed.restore("--latest").expect(0);
    assert_eq!(bed.content(), saved);
    let (code, text) = bed.typed(&["restore", "--undo"], "OUI\n");
    assert_eq!(code, 0, "{text}");
    assert_eq!(bed.content(), changed);
    // And the undo can be undone: what it put aside is the restored state.
    assert_eq!(bed.beside().len(), 1);
    bed.run(&["restore", "--undo", "--yes-replace", &bed.database]).expect(0);
    assert_eq!(bed.content(), saved);
}

#[test]
fn an_undo_asks_too() {
    let bed = Bed::filled("undoask");
    bed.backup();
    bed.psql(SPOILED);
    bed.restore("--latest").expect(0);
    let saved = bed.content();
    let (code, text) = bed.typed(&["restore", "--undo"], "oui\n");
    assert_eq!(code, 5, "{text}");
    bed.run(&["restore", "--undo"]).expect(5);
    bed.run(&["restore", "--undo", "--yes-replace", "another"]).expect(5);
    assert_eq!(bed.content(), saved);
}

#[test]
fn without_a_restore_there_is_nothing_to_undo() {
    let bed = Bed::filled("noundo");
    bed.backup();
    bed.run(&["restore", "--undo", "--yes-replace", &bed.database])
        .expect(1)
        .says("no former database")
        .says(&bed.database);
}

/// Restores while the application goes on writing: a row lands between the safety dump and the swap.
fn restore_under_writes(bed: &Bed) {
    // Its data is there again only after seconds: time for the row.
    bed.psql("create materialized view slow as select pg_sleep(4)::text as s");
    bed.backup();
    bed.psql("update customer set name = 'lost'");
    let started = bed.start(&["restore", "--latest", "--yes-replace", &bed.database]);
    wait_for("the safety dump", || {
        bed.files().iter().any(|f| f.starts_with("pre_restore_safety_") && f.ends_with(".sql.gz.json"))
    });
    bed.psql("insert into customer (name) values ('written meanwhile')");
    started.end().expect(0);
    assert_eq!(bed.psql("select count(*) from customer where name = 'written meanwhile'"), "0");
    let safety = bed.files().into_iter().find(|f| f.starts_with("pre_restore_safety_") && f.ends_with(".gz")).unwrap();
    let safety = gunzip(&bed.dir().join(safety));
    assert!(!String::from_utf8_lossy(&safety).contains("written meanwhile"), "the row came too early for this test");
}

#[test]
fn fault_88_what_was_written_after_the_safety_dump_comes_back_by_undo() {
    let bed = Bed::filled("between");
    restore_under_writes(&bed);
    bed.run(&["restore", "--undo", "--yes-replace", &bed.database]).expect(0);
    assert_eq!(bed.psql("select count(*) from customer where name = 'written meanwhile'"), "1");
    assert_eq!(bed.psql("select count(*) from customer where name = 'lost'"), "500");
}

#[test]
fn fault_88_what_was_written_after_the_safety_dump_is_in_the_final_dump() {
    let bed = Bed::filled("final");
    restore_under_writes(&bed);
    let restored = bed.content();
    bed.run(&["prune"]).expect(0);
    assert_eq!(bed.beside().len(), 1, "its time is not over");
    a_day_passes(&bed);
    bed.run(&["prune"]).expect(0);
    assert!(bed.beside().is_empty(), "{:?}", bed.beside());
    let list = bed.list();
    let last = list.iter().find(|e| e["kind"] == "final").expect("a final dump");
    assert_eq!((last["state"].as_str(), last["own"].as_bool()), (Some("verified"), Some(true)), "{last}");
    let file = bed.dir().join(last["file"].as_str().unwrap());
    assert!(String::from_utf8_lossy(&gunzip(&file)).contains("written meanwhile"));
    assert_eq!(bed.content(), restored);
    bed.run(&["restore", "--undo", "--yes-replace", &bed.database]).expect(1);
    // It restores like any other.
    bed.restore(last["file"].as_str().unwrap()).expect(0);
    assert_eq!(bed.psql("select count(*) from customer where name = 'written meanwhile'"), "1");
}

#[test]
fn fault_88_without_keeping_the_old_one_its_final_dump_comes_first() {
    let bed = Bed::filled("nokeep");
    bed.backup();
    bed.psql(SPOILED);
    bed.run(&["restore", "--latest", "--no-keep-old", "--yes-replace", &bed.database]).expect(0);
    assert!(bed.beside().is_empty());
    let list = bed.list();
    let last = list.iter().find(|e| e["kind"] == "final").expect("a final dump");
    let file = bed.dir().join(last["file"].as_str().unwrap());
    assert!(String::from_utf8_lossy(&gunzip(&file)).contains("intruder"));
}

#[test]
fn an_old_database_whose_final_dump_fails_stays() {
    let mut bed = Bed::filled("stays");
    bed.backup();
    bed.psql(SPOILED);
    bed.restore("--latest").expect(0);
    let old = bed.beside().remove(0);
    a_day_passes(&bed);
    bed.set("BACKUP_LOCK_TIMEOUT", "1");
    bed.server.psql("postgres", &format!("alter database \"{old}\" with allow_connections true"));
    let holder = bed.server.session(&old, "begin; lock table customer in access exclusive mode;");
    bed.run(&["prune"]).says("lock");
    assert_eq!(bed.beside(), [old]);
    drop(holder);
    bed.run(&["prune"]).expect(0);
    assert!(bed.beside().is_empty());
}
