//! Restores of our own backups, through the real binary: exactly the backup's state, or nothing touched.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::{Bed, OwnServer, Role, Server, gzip, sql_of, unique, wait_for};

/// Changes all rows of a table, drops another, adds a third.
const SPOILED: &str = "update customer set name = 'lost'; drop table stock.item cascade;
    create table intruder (id int); insert into intruder values (1), (2)";

#[test]
fn a_restore_gives_back_exactly_the_state_of_the_backup() {
    let bed = Bed::filled("exact");
    let before = bed.content();
    let made = bed.backup();
    bed.psql(SPOILED);
    assert_ne!(bed.content(), before);
    let (code, text) = bed.typed(&["restore", "--latest"], "OUI\n");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(made["file"].as_str().unwrap()), "{text}");
    assert!(text.contains("public.customer") && text.contains("500"), "{text}");
    assert_eq!(bed.content(), before);
    // What the restore replaced is there twice: as a proven safety dump, and as a database.
    let list = bed.list();
    let safety = list.iter().find(|e| e["kind"] == "safety").expect("a safety dump");
    assert_eq!(safety["state"], "verified");
    let name = safety["file"].as_str().unwrap();
    assert!(name.starts_with("pre_restore_safety_"), "{name}");
    assert!(String::from_utf8_lossy(&sql_of(&bed.dir().join(name))).contains("intruder"));
    assert_eq!(bed.beside().len(), 1);
}

#[test]
fn a_restore_says_in_json_what_it_did() {
    let bed = Bed::filled("json");
    let made = bed.backup();
    bed.psql(SPOILED);
    let ran = bed.run(&["restore", "--latest", "--yes-replace", &bed.database, "--json"]).expect(0);
    let json = ran.json();
    assert_eq!(json["exit"], 0);
    assert_eq!(json["file"], made["file"]);
    let tables = json["tables"].as_array().unwrap();
    let customer = tables.iter().find(|t| t["table"] == "public.customer").expect("the table");
    assert_eq!((customer["restored"].as_u64(), customer["equal"].as_bool()), (Some(500), Some(true)));
    assert!(json["old"]["database"].as_str().unwrap().contains("_amarre_old_"), "{json}");
}

#[test]
fn a_dry_run_touches_nothing() {
    let bed = Bed::filled("dry");
    bed.backup();
    bed.psql(SPOILED);
    let before = bed.content();
    bed.run(&["restore", "--latest", "--dry-run"]).expect(0);
    assert_eq!(bed.content(), before);
    assert!(bed.beside().is_empty());
    assert_eq!(bed.list().len(), 1, "no safety dump either");
}

#[test]
fn into_a_database_beside_the_live_one_nothing_is_replaced() {
    let bed = Bed::filled("into");
    let before = bed.content();
    bed.backup();
    bed.psql(SPOILED);
    let spoiled = bed.content();
    let beside = format!("{}_amarre_side", bed.database);
    bed.run(&["restore", "--latest", "--into", &beside]).expect(0);
    assert_eq!(bed.content(), spoiled);
    assert_eq!(bed.server.content(&beside), before);
    bed.run(&["restore", "--latest", "--into", &beside]).expect(2).says("already");
}

#[test]
fn what_belongs_to_the_database_follows_the_restore() {
    let bed = Bed::filled("dressed");
    let (owner, guest) = (Role::new(&bed.server, "nologin"), Role::new(&bed.server, "nologin"));
    let database = &bed.database;
    bed.psql(&format!(
        "alter database {database} owner to {o}; alter database {database} set work_mem = '7MB';
         alter database {database} set search_path = stock, public; alter database {database} set timezone = 'Asia/Tokyo';
         alter role {g} in database {database} set statement_timeout = '11s';
         revoke connect on database {database} from public; grant connect, temp on database {database} to {g};
         alter database {database} connection limit 17; comment on database {database} is 'the one; $(x) ''q''';",
        o = owner.name,
        g = guest.name
    ));
    let properties = format!(
        "select pg_get_userbyid(d.datdba), d.datconnlimit,
           (select string_agg(a::text, ' ' order by a::text) from unnest(d.datacl) a), shobj_description(d.oid, 'pg_database'),
           (select array_agg(coalesce(pg_get_userbyid(nullif(setrole, 0)), '-') || c order by c)
              from pg_db_role_setting s, unnest(s.setconfig) c where setdatabase = d.oid)
         from pg_database d where datname = '{database}'"
    );
    let before = (bed.server.psql("postgres", &properties), bed.content());
    bed.backup();
    bed.psql("drop table public.customer cascade");
    bed.restore("--latest").expect(0);
    let after = (bed.server.psql("postgres", &properties), bed.content());
    bed.server.psql("postgres", &format!("alter database {database} owner to current_user"));
    bed.server.psql("postgres", &format!("revoke all on database {database} from {}", guest.name));
    bed.server.psql("postgres", &format!("alter role {} in database {database} reset all", guest.name));
    assert!(before.0.contains("work_mem=7MB") && before.0.contains("statement_timeout=11s"), "{}", before.0);
    assert_eq!(after.0, before.0);
    assert_eq!(after.1, before.1);
    drop(bed);
}

#[test]
fn a_backup_of_postgresql_15_restores_into_17() {
    let name = unique("upgrade");
    let old = Bed::on(&Server::pg15(), &name);
    old.psql(common::SHOP);
    let file = old.backup_file();
    let new = Bed::on(&Server::pg17(), &name);
    new.restore(file.to_str().unwrap()).expect(0);
    let rows = "select (select count(*) from customer), (select sum(length(note)) from journal),
        (select md5(string_agg(i::text, '|' order by id)) from stock.item i), (select last_value from tickets)";
    assert_eq!(new.psql(rows), old.psql(rows));
}

#[test]
fn fault_81_a_backup_of_a_newer_server_is_refused_before_anything_is_touched() {
    let name = unique("newer");
    let new = Bed::on(&Server::pg17(), &name);
    new.psql(common::SHOP);
    let file = new.backup_file();
    let old = Bed::on(&Server::pg15(), &name);
    old.psql("create table mine (id int)");
    let before = old.content();
    old.restore(file.to_str().unwrap()).expect(1).says("the backup was made by PostgreSQL 17").says("the server is 15");
    assert_eq!(old.content(), before);
    assert!(old.beside().is_empty() && old.files().is_empty(), "not even a safety dump");
}

#[test]
fn fault_72_only_the_word_on_a_terminal_replaces_a_database() {
    let bed = Bed::filled("word");
    bed.backup();
    bed.psql(SPOILED);
    let before = bed.content();
    for keys in ["oui\n", "OUI!\n", "OUI \n", "\n", "\u{4}"] {
        let (code, text) = bed.typed(&["restore", "--latest"], keys);
        assert_eq!(code, 5, "{keys:?}: {text}");
    }
    let piped = common::fed(bed.command(&["restore", "--latest"]), b"OUI\n").expect(5);
    piped.says("--yes-replace");
    bed.run(&["restore", "--latest"]).expect(5);
    let other = bed.run(&["restore", "--latest", "--yes-replace", "another"]).expect(5);
    other.says("'another'").says(&bed.database);
    assert_eq!(bed.content(), before);
    assert!(bed.beside().is_empty());
    assert_eq!(bed.list().len(), 1, "no safety dump was made");
}

#[test]
fn fault_73_a_safety_dump_that_fails_stops_the_restore() {
    let mut bed = Bed::filled("safety");
    bed.backup();
    bed.set("BACKUP_LOCK_TIMEOUT", "1");
    let holder = bed.server.session(
        &bed.database,
        "set application_name = 'the holder'; begin; lock table customer in access exclusive mode;",
    );
    let ran = bed.restore("--latest").expect(1);
    ran.says("the safety dump failed, so nothing was restored").says("the holder");
    assert!(bed.beside().is_empty());
    drop(holder);
    assert_eq!(bed.list().len(), 1);
    assert_eq!(bed.psql("select count(*) from customer"), "500");
}

#[test]
fn fault_74_and_90_missing_roles_are_listed_before_anything_is_touched() {
    let bed = Bed::filled("roles");
    let role = Role::new(&bed.server, "nologin");
    bed.psql(&format!("grant select on customer to {}", role.name));
    let file = bed.backup_file();
    bed.psql(&format!("revoke all on customer from {}", role.name));
    let name = role.name.clone();
    drop(role);
    let before = bed.content();
    let ran = bed.restore("--latest").expect(1).says("the server lacks what the backup needs").says(&name);
    ran.says(&format!("{}.roles.sql", file.file_name().unwrap().to_str().unwrap()));
    assert_eq!(bed.content(), before);
    assert!(bed.beside().is_empty());
    assert_eq!(bed.list().len(), 1);
}

#[test]
fn fault_74_missing_extensions_and_tablespaces_are_listed() {
    let bed = Bed::filled("lacks");
    let dump = String::from_utf8(bed.server.pg_dump(&bed.database, &[])).unwrap();
    let sql = dump.replacen(
        "CREATE SCHEMA stock;",
        "CREATE EXTENSION nosuch_extension;\nSET default_tablespace = nosuch_space;\nCREATE SCHEMA stock;",
        1,
    );
    assert_ne!(sql, dump);
    let file = bed.write("lacks.sql", sql.as_bytes());
    let ran = bed.restore(file.to_str().unwrap()).expect(1);
    ran.says("nosuch_extension").says("nosuch_space");
    assert!(bed.beside().is_empty() && bed.files().is_empty());
}

#[test]
fn fault_75_a_prepared_transaction_and_a_slot_stop_it_first() {
    // A server of its own: making a slot waits for every transaction that is open on the whole server.
    let own = OwnServer::start(&[], &["-c", "wal_level=logical", "-c", "max_prepared_transactions=2"]);
    let bed = Bed::on(&own.server, "hub_blocked");
    bed.psql(common::SHOP);
    bed.backup();
    let name = bed.database.clone();
    bed.psql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')"));
    bed.psql(&format!("begin; insert into customer (name) values ('prepared'); prepare transaction '{name}'"));
    let ran = bed.restore("--latest");
    bed.psql(&format!("rollback prepared '{name}'"));
    bed.psql(&format!("select pg_drop_replication_slot('{name}')"));
    ran.expect(1).says(&format!("prepared transaction '{name}'")).says(&format!("replication slot '{name}'"));
    assert!(bed.beside().is_empty());
    assert_eq!(bed.list().len(), 1);
    bed.restore("--latest").expect(0);
}

#[test]
fn fault_76_a_pool_that_reconnects_at_once_does_not_stop_the_swap() {
    let bed = Bed::filled("pool");
    let before = bed.content();
    bed.backup();
    bed.psql(SPOILED);
    let (stop, sessions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let pool: Vec<_> = (0..3)
        .map(|_| {
            let (server, database) = (bed.server.clone(), bed.database.clone());
            let (stop, sessions) = (Arc::clone(&stop), Arc::clone(&sessions));
            std::thread::spawn(move || {
                // In the container, so that it comes back within milliseconds.
                let forever = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); psql -XAtqc 'select 1' || true; done";
                while !stop.load(Ordering::Relaxed) {
                    let output = server.client(&database, &["sh", "-c", forever]).stderr(Stdio::null()).output();
                    let answers = output.expect("ran").stdout.iter().filter(|b| **b == b'1').count();
                    sessions.fetch_add(u32::try_from(answers).unwrap(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    wait_for("the pool", || sessions.load(Ordering::Relaxed) > 10);
    let ran = bed.restore("--latest");
    stop.store(true, Ordering::Relaxed);
    pool.into_iter().for_each(|thread| thread.join().unwrap());
    ran.expect(0);
    assert_eq!(bed.content(), before);
}

#[test]
fn fault_79_a_full_disk_of_the_database_drops_the_new_one_and_leaves_the_live_one() {
    let own = OwnServer::start(&["--tmpfs", "/small:size=48m,mode=0777"], &[]);
    own.exec_as_root(&["sh", "-c", "mkdir /small/t && chown postgres /small/t"]);
    own.server.psql("postgres", "create tablespace small location '/small/t'");
    let bed = Bed::on(&own.server, "hub_small");
    bed.psql(
        "create table big (id int, filler text) tablespace small; alter table big alter filler set storage external;
         insert into big select i, repeat(md5(i::text), 60) from generate_series(1, 14000) i",
    );
    let before = bed.psql("select count(*), sum(length(filler)) from big");
    bed.backup();
    bed.restore("--latest").expect(1).says("the database's disk is full");
    assert!(bed.beside().is_empty(), "{:?}", bed.beside());
    assert_eq!(bed.psql("select count(*), sum(length(filler)) from big"), before);
}

#[test]
fn fault_80_a_killed_backend_leaves_the_live_database_as_it_was() {
    let bed = Bed::filled("killed");
    bed.psql("create materialized view slow as select pg_sleep(4)::text as s");
    bed.backup();
    bed.psql(SPOILED);
    let before = bed.content();
    let started = bed.start(&["restore", "--latest", "--yes-replace", &bed.database]);
    let backend = format!(
        "from pg_stat_activity where datname like '{}\\_amarre\\_new\\_%' and query ilike 'refresh materialized view%slow%'",
        bed.database
    );
    bed.server.until("postgres", &format!("select count(*) > 0 {backend}"));
    bed.server.psql("postgres", &format!("select pg_terminate_backend(pid) {backend}"));
    started.end().expect(1).says("terminating connection");
    assert_eq!(bed.content(), before);
    assert!(bed.beside().is_empty(), "{:?}", bed.beside());
}

#[test]
fn fault_34_a_dump_cut_inside_its_rows_is_refused_though_gzip_is_fine() {
    let bed = Bed::filled("cut");
    let plain = String::from_utf8(sql_of(&bed.backup_file())).unwrap();
    let cut = plain.find("customer 250").expect("a row");
    let file = bed.write("cut.sql.gz", &gzip(&plain.as_bytes()[..cut]));
    let before = bed.content();
    bed.restore(file.to_str().unwrap()).expect(1).says("in the middle of the rows");
    // Cut at the end of a line, too, and between two tables.
    let line = cut + plain[cut..].find('\n').unwrap() + 1;
    let file = bed.write("line.sql", &plain.as_bytes()[..line]);
    bed.restore(file.to_str().unwrap()).expect(1);
    let end = line + plain[line..].find("\\.\n").unwrap() + 3;
    let file = bed.write("end.sql", &plain.as_bytes()[..end]);
    bed.restore(file.to_str().unwrap()).expect(1).says("lacks its last line");
    assert_eq!(bed.content(), before);
    assert!(bed.beside().is_empty());
    assert_eq!(bed.list().len(), 1);
}

/// By either lane, psql must not take the end of a damaged file for the end of the input.
#[test]
fn fault_32_and_33_a_file_that_is_not_the_checked_one_any_more_is_not_loaded() {
    let cut: fn(Vec<u8>) -> Vec<u8> = |whole| whole[..whole.len() / 2].to_vec();
    let flipped: fn(Vec<u8>) -> Vec<u8> = |mut whole| {
        let middle = whole.len() / 2;
        whole[middle] ^= 0x10;
        whole
    };
    let bomb: fn(Vec<u8>) -> Vec<u8> = |whole| match common::end() {
        ".sql.zst" => [whole, zstd::bulk::compress(&vec![b'\n'; 200_000_000], 1).unwrap()].concat(),
        _ => [whole, gzip(&vec![b'\n'; 200_000_000])].concat(),
    };
    for damage in [cut, flipped, bomb] {
        let bed = Bed::filled("swapped");
        let file = bed.backup_file();
        bed.psql("update customer set name = 'live'");
        let live = bed.content();
        let damaged = || fs::write(&file, damage(fs::read(&file).unwrap())).unwrap();
        let (code, text) = bed.typed_after(&["restore", "--latest"], damaged, "OUI\n");
        assert!(matches!(code, 1 | 6), "{code}: {text}");
        assert_eq!(bed.content(), live, "{text}");
        assert!(bed.beside().is_empty(), "{:?}\n{text}", bed.beside());
    }
}

#[test]
fn fault_90_a_bare_server_takes_the_backup_after_its_roles_file() {
    let bed = Bed::filled("bare");
    let role = Role::new(&bed.server, "login");
    bed.psql(&format!(
        "alter table customer owner to {r}; grant select on stock.item to {r}; grant usage on schema stock to {r}",
        r = role.name
    ));
    let file = bed.backup_file();
    let own = OwnServer::start(&[], &[]);
    let bare = Bed::without_database(&own.server, &bed.database);
    bare.restore(file.to_str().unwrap()).expect(1).says(&role.name).says(".roles.sql");
    // Without Amarre: the roles file, then the dump, by plain psql.
    let roles = fs::read(format!("{}.roles.sql", file.display())).unwrap();
    // The role that made the cluster exists: pg_dumpall's CREATE ROLE of it fails, as psql's documentation says it may.
    let applied = common::fed(own.server.client("postgres", &["psql", "-Xq"]), &roles);
    assert!(applied.err.lines().all(|l| l.contains("already exists")), "{}", applied.err);
    own.server.psql("postgres", "create database by_hand");
    own.server.try_psql("by_hand", &sql_of(&file)).expect(0);
    assert_eq!(own.server.content("by_hand"), bed.content());
    // And with it.
    bare.restore(file.to_str().unwrap()).expect(0);
    assert_eq!(bare.content(), bed.content());
    bed.psql(&format!("reassign owned by {r} to current_user; drop owned by {r}", r = role.name));
}

#[test]
fn fault_68_and_63_a_restore_that_is_killed_leaves_the_live_database_serving_and_is_mended() {
    let bed = Bed::filled("dead");
    bed.psql("create materialized view slow as select pg_sleep(4)::text as s");
    bed.backup();
    bed.psql(SPOILED);
    let before = bed.content();
    let started = bed.start(&["restore", "--latest", &format!("--yes-replace={}", bed.database)]);
    let loading = format!(
        "select count(*) > 0 from pg_stat_activity where datname like '{}\\_amarre\\_new\\_%' and query ilike 'refresh%slow%'",
        bed.database
    );
    bed.server.until("postgres", &loading);
    assert!(Command::new("kill").args(["-9", &started.id().to_string()]).status().unwrap().success());
    started.end();
    assert_eq!(bed.content(), before);
    // Whatever runs next with the lock finishes it.
    bed.run(&["backup"]).expect(0);
    assert!(bed.beside().is_empty(), "{:?}", bed.beside());
    assert_eq!(bed.content(), before);
}

#[test]
fn fault_64_told_to_stop_a_restore_ends_soon_and_leaves_the_live_database() {
    let bed = Bed::filled("stopped");
    bed.psql("create materialized view slow as select pg_sleep(30)::text as s with no data");
    let dump = String::from_utf8(bed.server.pg_dump(&bed.database, &[])).unwrap();
    let end = dump.find("--\n-- PostgreSQL database dump complete").unwrap();
    let text = format!("{}SELECT pg_catalog.pg_sleep(60);\n{}", &dump[..end], &dump[end..]);
    let file = bed.write("slow.sql", text.as_bytes());
    let before = bed.content();
    let started = bed.start(&["restore", file.to_str().unwrap(), &format!("--yes-replace={}", bed.database)]);
    let loading = format!(
        "select count(*) > 0 from pg_stat_activity where datname like '{}\\_amarre\\_new\\_%' and query ilike '%pg_sleep(60)%'",
        bed.database
    );
    bed.server.until("postgres", &loading);
    let begun = std::time::Instant::now();
    assert!(Command::new("kill").args(["-TERM", &started.id().to_string()]).status().unwrap().success());
    started.end().expect(1).says("told to stop");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(bed.content(), before);
    assert!(bed.beside().is_empty(), "{:?}", bed.beside());
}
