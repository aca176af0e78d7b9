//! Taking a restore back, and what becomes of the database that it replaced.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::{Bed, sql_of, wait_for};

const SPOILED: &str = "update customer set name = 'lost'; drop table stock.item cascade;
    create table intruder (id int); insert into intruder values (1), (2)";

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
fn what_an_undo_would_bring_back_is_listed_and_shown_without_doing_it() {
    let mut bed = Bed::filled("undolist");
    bed.backup();
    let kept = |bed: &Bed| bed.run(&["list", "--json"]).expect(0).json()["kept_databases"].clone();
    assert_eq!(kept(&bed), serde_json::json!([]));
    bed.restore("--latest").expect(0);
    let saved = bed.content();
    let old = bed.beside().remove(0);
    bed.run(&["list"]).expect(0).says(&format!("is kept as '{old}' until ")).says("restore --undo");
    let listed = kept(&bed);
    let (database, role) = (listed[0]["database"].as_str(), listed[0]["role"].as_str());
    assert_eq!((database, role, listed.as_array().unwrap().len()), (Some(old.as_str()), Some("old"), 1), "{listed}");
    let plan = bed.run(&["restore", "--undo", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((plan["back"].as_str(), plan["dry_run"].as_bool()), (Some(old.as_str()), Some(true)), "{plan}");
    assert_eq!(plan["put_aside_at"], listed[0]["at"]);
    assert_eq!((bed.content(), bed.beside()), (saved, vec![old]), "nothing was touched");
    // A server that is away has no say in what lies in the directory.
    bed.set("BACKUP_NAME", "shop/db").set("BACKUP_DB_CONTAINER", "amarre-no-such-container");
    bed.run(&["list"]).expect(0).says("could not be asked");
    assert_eq!(kept(&bed), serde_json::Value::Null);
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
        bed.files()
            .iter()
            .any(|f| f.starts_with("pre_restore_safety_") && f.ends_with(&format!("{}.json", common::end())))
    });
    bed.psql("insert into customer (name) values ('written meanwhile')");
    started.end().expect(0);
    assert_eq!(bed.psql("select count(*) from customer where name = 'written meanwhile'"), "0");
    let safety =
        bed.files().into_iter().find(|f| f.starts_with("pre_restore_safety_") && f.ends_with(common::end())).unwrap();
    let safety = sql_of(&bed.dir().join(safety));
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
    bed.age_what_is_kept();
    bed.run(&["prune"]).expect(0);
    assert!(bed.beside().is_empty(), "{:?}", bed.beside());
    let list = bed.list();
    let last = list.iter().find(|e| e["kind"] == "final").expect("a final dump");
    assert_eq!((last["state"].as_str(), last["own"].as_bool()), (Some("verified"), Some(true)), "{last}");
    let file = bed.dir().join(last["file"].as_str().unwrap());
    assert!(String::from_utf8_lossy(&sql_of(&file)).contains("written meanwhile"));
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
    assert!(String::from_utf8_lossy(&sql_of(&file)).contains("intruder"));
}

#[test]
fn an_old_database_whose_final_dump_fails_stays() {
    let mut bed = Bed::filled("stays");
    bed.backup();
    bed.psql(SPOILED);
    bed.restore("--latest").expect(0);
    let old = bed.beside().remove(0);
    bed.age_what_is_kept();
    bed.set("BACKUP_LOCK_TIMEOUT", "1");
    bed.server.psql("postgres", &format!("alter database \"{old}\" with allow_connections true"));
    let holder = bed.server.session(&old, "begin; lock table customer in access exclusive mode;");
    bed.run(&["prune"]).says("lock");
    assert_eq!(bed.beside(), [old]);
    drop(holder);
    bed.run(&["prune"]).expect(0);
    assert!(bed.beside().is_empty());
}
