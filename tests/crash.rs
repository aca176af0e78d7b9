//! `kill -9` at every numbered step of both protocols, and signals at the worst moments: the next start finds the old
//! state or the new one, never something between, and the live database is open. Needs the feature `failpoints`.
#![cfg(feature = "failpoints")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use amarre::domain::manifest::Manifest;
use amarre::domain::run::RunId;
use amarre::journal::intent::{Intent, IntentFiles, Intents as _, RestoreStep, Work};
use chrono::{TimeDelta, Utc};
use chrono_tz::Europe::Paris;
use common::{Bed, OwnServer, Ran, literal, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SPOILED: &str = "update customer set name = 'lost'; drop table stock.item cascade;
    create table intruder (id int); insert into intruder values (1), (2)";

/// Runs until the step, where the process kills itself as `kill -9` would.
fn die_at(bed: &Bed, step: &str, arguments: &[&str]) {
    let mut command = bed.command(arguments);
    command.env("AMARRE_FAILPOINT", step).stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), None, "{step} was not reached:\n{}", String::from_utf8_lossy(&output.stderr));
}

fn replace(bed: &Bed) -> Vec<String> {
    vec!["restore".into(), "--latest".into(), format!("--yes-replace={}", bed.database)]
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// What must hold after the next start, whatever died before it.
fn assert_mended(bed: &Bed, step: &str) {
    let left: Vec<String> = fs::read_dir(bed.dir().join(".amarre"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| n.contains("T") && (n.ends_with(".json") || n.ends_with(".tmp")))
        .collect();
    assert!(left.is_empty(), "{step}: intents are left: {left:?}");
    let partial: Vec<_> = bed.files().into_iter().filter(|n| n.ends_with(".partial")).collect();
    assert!(partial.is_empty(), "{step}: {partial:?}");
    let files = bed.files();
    let alone = |roles: &&String| {
        let file = roles.strip_suffix(".roles.sql");
        file.is_some_and(|file| !files.contains(&format!("{file}.json")))
    };
    let roles: Vec<_> = files.iter().filter(alone).collect();
    assert!(roles.is_empty(), "{step}: roles with no backup: {roles:?}");
    for entry in bed.list() {
        assert_eq!(entry["state"], "verified", "{step}: {entry}");
    }
    let new: Vec<_> = bed.beside().into_iter().filter(|n| n.contains("_amarre_new_")).collect();
    assert!(new.is_empty(), "{step}: {new:?}");
    let open = format!("select datallowconn from pg_database where datname = {}", literal(&bed.database));
    assert_eq!(bed.server.psql("postgres", &open).trim(), "t", "{step}: the live database is closed");
    let sessions = format!(
        "select not exists (select from pg_stat_activity where application_name like 'amarre/2%' and datname like {})",
        literal(&format!("{}%", bed.database))
    );
    bed.server.until("postgres", &sessions);
    bed.run(&["verify", "--all"]).expect(0);
}

/// Each step with an installation of its own, all at once.
fn at_each(steps: &[&str], test: impl Fn(&str) + Sync) {
    thread::scope(|scope| {
        for chunk in steps.chunks(steps.len().div_ceil(3)) {
            let test = &test;
            scope.spawn(move || chunk.iter().for_each(|step| test(step)));
        }
    });
}

#[test]
fn fault_63_a_backup_killed_at_any_step_is_there_whole_or_not_at_all() {
    let steps: Vec<String> = (1..=9).map(|n| format!("backup.{n}")).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    at_each(&steps, |step| {
        let bed = Bed::filled("killbackup");
        let content = bed.content();
        let first = bed.backup()["file"].as_str().unwrap().to_owned();
        die_at(&bed, step, &["backup"]);
        assert_eq!(bed.content(), content, "{step}");
        assert_eq!(bed.run(&["verify", &first]).code, Some(0), "{step}: the earlier backup");
        bed.backup();
        assert_mended(&bed, step);
        let expected = if step == "backup.9" { 3 } else { 2 };
        assert_eq!(bed.list().len(), expected, "{step}: {:?}", bed.files());
    });
}

/// What a mending removes includes the roles file, which holds password hashes: nothing would ever find that alone.
#[test]
fn fault_63_a_mending_that_is_killed_too_leaves_no_roles_file() {
    let bed = Bed::filled("killmend");
    bed.backup();
    die_at(&bed, "backup.8", &["backup"]);
    let roles = || bed.files().iter().filter(|n| n.ends_with(".roles.sql")).count();
    assert_eq!(roles(), 2);
    die_at(&bed, "mend.1", &["backup"]);
    bed.backup();
    assert_mended(&bed, "mend.1");
    assert_eq!((roles(), bed.list().len()), (2, 2), "{:?}", bed.files());
}

#[test]
fn fault_63_an_intent_that_was_cut_off_is_swept_at_the_next_start() {
    let bed = Bed::filled("killintent");
    die_at(&bed, "backup.1", &["backup"]);
    let intents = bed.dir().join(".amarre");
    let written = fs::read_dir(&intents).unwrap().map(|e| e.unwrap().path());
    let written = written.into_iter().find(|p| p.to_string_lossy().ends_with(".json")).unwrap();
    // As if it had died a moment earlier, before the rename.
    fs::rename(&written, written.with_extension("tmp")).unwrap();
    bed.backup();
    let left: Vec<_> = fs::read_dir(&intents).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().ends_with(".tmp")), "{left:?}");
    assert_mended(&bed, "backup.1");
}

/// A backup like the newest one, as if it had been made in 2020.
fn add_old(bed: &Bed, number: u8) -> String {
    let newest = bed.files().into_iter().rfind(|n| n.ends_with(".json")).unwrap();
    let mut manifest = Manifest::parse(&fs::read(bed.dir().join(&newest)).unwrap()).unwrap();
    // Just over the seven days: further back a gap would lie before it, which keeps it for a week.
    let date = Utc::now() - TimeDelta::days(7) - TimeDelta::hours(3 - i64::from(number));
    let name = date.with_timezone(&Paris).format("%Y%m%d_%H%M%S");
    let old = format!("{}_backup_{name}{}", manifest.file.split("_backup_").next().unwrap(), common::end());
    fs::copy(bed.dir().join(&manifest.file), bed.dir().join(&old)).unwrap();
    let roles = manifest.roles_file.as_mut().unwrap();
    let old_roles = format!("{old}.roles.sql");
    fs::copy(bed.dir().join(&roles.file), bed.dir().join(&old_roles)).unwrap();
    roles.file = old_roles;
    manifest.file = old.clone();
    manifest.started_at = date;
    fs::write(bed.dir().join(format!("{old}.json")), manifest.to_bytes()).unwrap();
    old
}

#[test]
fn fault_63_a_rotation_killed_at_any_step_leaves_no_half_backup() {
    at_each(&["prune.1", "prune.2", "prune.3"], |step| {
        let mut bed = Bed::filled("killprune");
        bed.set("BACKUP_KEEP_VERIFIED", "1");
        bed.backup();
        let old = [add_old(&bed, 1), add_old(&bed, 2)];
        die_at(&bed, step, &["prune"]);
        bed.backup();
        assert_mended(&bed, step);
        let files = bed.files();
        assert!(old.iter().all(|o| !files.iter().any(|f| f.starts_with(o))), "{step}: {files:?}");
        assert_eq!(bed.list().len(), 2, "{step}: {files:?}");
    });
}

/// What the old scripts left has no manifest. A rotation that is killed among them leaves the others to the next one, and to its rules.
#[test]
fn fault_63_a_rotation_killed_among_files_without_manifests_leaves_those_it_had_not_begun_with() {
    let mut bed = Bed::filled("killscripts");
    bed.set("BACKUP_KEEP_VERIFIED", "1");
    bed.backup();
    let date = |hours| {
        (Utc::now() - TimeDelta::days(7) - TimeDelta::hours(hours)).with_timezone(&Paris).format("%Y%m%d_%H%M%S")
    };
    let old = [2, 3].map(|hours| format!("{}_backup_{}.sql.gz", bed.database, date(hours)));
    for name in &old {
        fs::write(bed.dir().join(name), "of the scripts").unwrap();
    }
    die_at(&bed, "prune.3", &["prune"]);
    let left: Vec<_> = old.iter().filter(|name| bed.dir().join(name).exists()).collect();
    assert_eq!(left.len(), 1, "{:?}", bed.files());
    bed.set("BACKUP_RETENTION_DAYS", "30");
    bed.backup();
    assert!(bed.dir().join(left[0]).exists(), "{:?}", bed.files());
}

/// A file that cannot be deleted (here a directory has its name) stops neither the rest of the rotation nor any later run.
#[test]
fn a_backup_that_cannot_be_deleted_stops_nothing_else() {
    let mut bed = Bed::filled("stuck");
    bed.set("BACKUP_KEEP_VERIFIED", "1");
    bed.backup();
    let (stuck, other) = (add_old(&bed, 1), add_old(&bed, 2));
    let roles = bed.dir().join(format!("{stuck}.roles.sql"));
    fs::remove_file(&roles).unwrap();
    fs::create_dir(&roles).unwrap();
    bed.run(&["prune"]).expect(1).says(&format!("'{stuck}' could not be deleted"));
    let left = |o: &str| bed.files().iter().filter(|f| f.starts_with(o)).count();
    assert_eq!((left(&stuck), left(&other)), (2, 0), "{:?}", bed.files());
    // Said each time, and the run goes on.
    bed.run(&["backup"]).expect(0).says(&format!("'{stuck}' could not be deleted"));
    fs::remove_dir(&roles).unwrap();
    bed.run(&["backup"]).expect(0);
    assert_eq!(left(&stuck), 0, "{:?}", bed.files());
    assert_eq!(pending(&bed), 0);
}

fn pending(bed: &Bed) -> usize {
    IntentFiles::new(&bed.dir()).pending().unwrap().intents.len()
}

#[test]
fn fault_63_a_restore_killed_at_any_step_leaves_the_old_database_or_the_new_one() {
    let steps: Vec<String> = (1..=10).map(|n| format!("restore.{n}")).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    at_each(&steps, |step| {
        let bed = Bed::filled("killrestore");
        let saved = bed.content();
        bed.backup();
        bed.psql(SPOILED);
        let changed = bed.content();
        die_at(&bed, step, &words(&replace(&bed)));
        let closed = step == "restore.8";
        let swapped = matches!(step, "restore.9" | "restore.10");
        let expected = if swapped { &saved } else { &changed };
        if !closed {
            assert_eq!(&bed.content(), expected, "{step}: before the next start");
        }
        bed.run(&["restore", "--latest", "--dry-run"]).expect(0);
        assert_eq!(&bed.content(), expected, "{step}: after the next start");
        assert_mended(&bed, step);
        if swapped {
            bed.run(&["restore", "--undo", "--yes-replace", &bed.database]).expect(0);
            assert_eq!(bed.content(), changed, "{step}: taken back");
        } else {
            bed.restore("--latest").expect(0);
            assert_eq!(bed.content(), saved, "{step}: tried again");
        }
    });
}

/// Without a live database the restore has nothing to tell its own by but the name and the mark of the half-made one.
#[test]
fn fault_63_a_killed_restore_leaves_a_database_that_others_made_meanwhile_alone() {
    let bed = Bed::filled("meanwhile");
    bed.backup();
    bed.server.psql("postgres", &format!("drop database {}", common::identifier(&bed.database)));
    die_at(&bed, "restore.4", &words(&replace(&bed)));
    assert_eq!(bed.beside().len(), 1);
    bed.server.psql("postgres", &format!("create database {}", common::identifier(&bed.database)));
    bed.psql("create table theirs (id int)");
    let theirs = bed.content();
    let ran = bed.run(&["restore", "--latest", "--dry-run"]).expect(0).says("which was not finished");
    assert!(!ran.err.contains("had already replaced"), "{}", ran.err);
    assert_eq!(bed.content(), theirs);
    assert_mended(&bed, "restore.4");
}

#[test]
fn fault_63_an_undo_killed_at_any_step_leaves_one_of_the_two() {
    at_each(&["undo.1", "undo.2", "undo.3"], |step| {
        let bed = Bed::filled("killundo");
        let saved = bed.content();
        bed.backup();
        bed.psql(SPOILED);
        let changed = bed.content();
        bed.restore("--latest").expect(0);
        let undo = ["restore", "--undo", "--yes-replace", &bed.database];
        die_at(&bed, step, &undo);
        bed.run(&["restore", "--latest", "--dry-run"]).expect(0);
        let expected = if step == "undo.3" { &changed } else { &saved };
        assert_eq!(&bed.content(), expected, "{step}");
        assert_mended(&bed, step);
    });
}

#[test]
fn fault_63_a_replaced_database_outlives_a_death_before_its_drop() {
    let bed = Bed::filled("killretire");
    let saved = bed.content();
    bed.backup();
    bed.psql(SPOILED);
    let mut arguments = replace(&bed);
    arguments.push("--no-keep-old".into());
    die_at(&bed, "retire.1", &words(&arguments));
    assert_eq!(bed.content(), saved);
    bed.run(&["restore", "--latest", "--dry-run"]).expect(0);
    assert_mended(&bed, "retire.1");
    assert_eq!((finals(&bed), bed.beside().len()), (1, 1));
}

/// A drop that is refused is tried again without another final dump: nobody has written there since.
#[test]
fn fault_88_a_replaced_database_that_cannot_be_dropped_is_dumped_once() {
    let own = OwnServer::start(&[], &["-c", "max_prepared_transactions=2"]);
    let bed = Bed::on(&own.server, "hub_refused");
    bed.psql(common::SHOP);
    bed.backup();
    bed.psql(SPOILED);
    bed.restore("--latest").expect(0);
    let old = bed.beside().remove(0);
    let allow = |yes: bool| {
        bed.server.psql("postgres", &format!("alter database \"{old}\" with allow_connections {yes}"));
    };
    allow(true);
    bed.server.psql(&old, "begin; create table held (i int); prepare transaction 'held'");
    allow(false);
    bed.age_what_is_kept();
    for _ in 0..2 {
        bed.run(&["prune"]).says("could not be dropped");
        assert_eq!((finals(&bed), bed.beside().len()), (1, 1));
    }
    // Somebody opened it meanwhile, so it may hold more than the dump does.
    allow(true);
    bed.server.psql(&old, "rollback prepared 'held'");
    bed.run(&["prune"]).expect(0);
    assert_eq!((finals(&bed), bed.beside().len()), (2, 0));
}

/// Whatever becomes of the intent of a copy that was handed over: people may have worked in it for days.
#[test]
fn fault_63_a_copy_that_was_handed_over_is_never_mended_away() {
    let bed = Bed::filled("handed");
    let file = bed.backup_file().file_name().unwrap().to_string_lossy().into_owned();
    let side = format!("{}_amarre_side", bed.database);
    let made = bed.run(&["restore", "--latest", "--into", &side, "--json"]).expect(0).json();
    let work = |step| Work::Restore { database: bed.database.clone(), live_oid: Some(1), new: side.clone(), step };
    let run: RunId = serde_json::from_value(made["run"].clone()).unwrap();
    let installation = bed.manifest(&file)["installation"].as_str().unwrap().to_owned();
    let intents = IntentFiles::new(&bed.dir());
    // As after a power cut that took its removal back.
    let mut intent = Intent { format: 1, run, installation, work: work(RestoreStep::Finish) };
    intents.put(&intent).unwrap();
    bed.backup();
    assert_eq!(bed.beside(), std::slice::from_ref(&side));
    // Half loaded it goes.
    intent.work = work(RestoreStep::Load);
    intents.put(&intent).unwrap();
    bed.backup();
    assert!(bed.beside().is_empty());
}

fn finals(bed: &Bed) -> usize {
    let is_final = |n: &String| n.starts_with("pre_drop_final_") && n.ends_with(common::end());
    bed.files().into_iter().filter(|n| is_final(n) && !n.ends_with(".roles.sql")).count()
}

#[test]
fn fault_77_a_running_supervisor_reopens_what_a_dead_restore_left_closed() {
    let mut bed = Bed::filled("reopen");
    bed.set("BACKUP_SCHEDULE", "0 0 1 1 *");
    bed.backup();
    bed.psql(SPOILED);
    let changed = bed.content();
    let supervisor = bed.start(&["supervise"]);
    die_at(&bed, "restore.8", &words(&replace(&bed)));
    let died = Instant::now();
    let open = format!("select datallowconn from pg_database where datname = {}", literal(&bed.database));
    wait_for("the database to be open", || bed.server.psql("postgres", &open).trim() == "t");
    assert!(died.elapsed() < Duration::from_secs(60), "{:?}", died.elapsed());
    assert_eq!(bed.content(), changed);
    terminate(supervisor.id());
    supervisor.end().expect(0);
    assert_mended(&bed, "restore.8");
}

#[test]
fn fault_68_a_restore_killed_from_outside_leaves_the_live_database_serving() {
    let bed = Bed::filled("killed");
    bed.psql("create materialized view slow as select pg_sleep(4)::text as s");
    bed.backup();
    let content = bed.content();
    let started = bed.start(&words(&replace(&bed)));
    wait_for("the new database", || bed.beside().iter().any(|n| n.contains("_amarre_new_")));
    kill(Pid::from_raw(i32::try_from(started.id()).unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(started.end().code, None);
    assert_eq!(bed.content(), content);
    bed.backup();
    assert_mended(&bed, "killed");
}

fn terminate(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
}

/// Tells it to end and says how long that took.
fn ended(started: common::Started) -> (Ran, Duration) {
    let told = Instant::now();
    terminate(started.id());
    let ran = started.end();
    (ran, told.elapsed())
}

const GRACE: Duration = Duration::from_secs(10);

/// A lock that `pg_dump` waits for: the dump is under way for as long as the session lives.
fn hold(bed: &Bed) -> common::Session {
    let session = bed.server.session(&bed.database, "begin; lock table customer in access exclusive mode;");
    bed.server.until(
        &bed.database,
        "select exists (select from pg_locks where mode = 'AccessExclusiveLock' and relation = 'customer'::regclass)",
    );
    session
}

fn until_dumping(bed: &Bed) {
    let sql = format!(
        "select exists (select from pg_stat_activity where application_name like 'amarre/2%' and datname = {})",
        literal(&bed.database)
    );
    bed.server.until("postgres", &sql);
}

#[test]
fn fault_64_a_backup_told_to_stop_ends_at_once_and_commits_nothing() {
    let bed = Bed::filled("term");
    bed.backup();
    let before = bed.files();
    let lock = hold(&bed);
    let started = bed.start(&["backup"]);
    until_dumping(&bed);
    let (ran, took) = ended(started);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(took < GRACE, "{took:?}");
    drop(lock);
    assert_eq!(bed.files(), before);
    assert_mended(&bed, "SIGTERM");
}

#[test]
fn fault_64_a_restore_told_to_stop_while_it_loads_cleans_up_by_itself() {
    let bed = Bed::filled("termload");
    bed.psql("create materialized view slow as select pg_sleep(8)::text as s");
    bed.backup();
    let content = bed.content();
    let started = bed.start(&words(&replace(&bed)));
    let loading = format!(
        "select exists (select from pg_stat_activity where datname like {} and query ilike '%refresh materialized%')",
        literal(&format!("{}_amarre_new_%", bed.database))
    );
    bed.server.until("postgres", &loading);
    let (ran, took) = ended(started);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(took < GRACE, "{took:?}");
    assert_eq!(bed.content(), content);
    assert_mended(&bed, "SIGTERM");
}

/// Runs, and gets a SIGTERM at the step.
fn told_at(bed: &Bed, step: &str, arguments: &[&str]) -> Ran {
    let mut command = bed.command(arguments);
    command.env("AMARRE_FAILPOINT", format!("{step}:term"));
    common::fed(command, b"")
}

#[test]
fn fault_64_an_undo_told_to_stop_is_done_or_not_begun() {
    at_each(&["undo.1", "undo.2", "undo.3"], |step| {
        let bed = Bed::filled("termundo");
        let saved = bed.content();
        bed.backup();
        bed.psql(SPOILED);
        let changed = bed.content();
        bed.restore("--latest").expect(0);
        let ran = told_at(&bed, step, &["restore", "--undo", "--yes-replace", &bed.database]);
        // Once the live database is closed, going on is the shortest way to an open one.
        let (code, expected) = if step == "undo.1" { (1, &saved) } else { (0, &changed) };
        assert_eq!(ran.code, Some(code), "{step}: {ran:?}");
        assert_eq!(&bed.content(), expected, "{step}");
        bed.run(&["restore", "--latest", "--dry-run"]).expect(0);
        assert_eq!(&bed.content(), expected, "{step}: after the next start");
        assert_mended(&bed, step);
        assert_eq!(bed.beside().len(), 1, "{step}");
    });
}

#[test]
fn fault_64_a_rotation_told_to_stop_leaves_whole_backups() {
    at_each(&["prune.1", "prune.2", "prune.3"], |step| {
        let mut bed = Bed::filled("termprune");
        bed.set("BACKUP_KEEP_VERIFIED", "1");
        bed.backup();
        let old = [add_old(&bed, 1), add_old(&bed, 2)];
        told_at(&bed, step, &["prune"]).expect(1);
        // The one that was begun is gone, the other is whole.
        let files = bed.files();
        let left = |o: &&String| files.iter().filter(|f| f.starts_with(o.as_str())).count();
        let expected = if step == "prune.1" { [3, 3] } else { [0, 3] };
        let found: Vec<_> = old.iter().map(|o| left(&o)).collect();
        assert_eq!(found, expected, "{step}: {files:?}");
        assert_mended(&bed, step);
        bed.run(&["prune"]).expect(0);
        assert_eq!(bed.list().len(), 1, "{step}: {:?}", bed.files());
    });
}

#[test]
fn fault_64_a_final_dump_told_to_stop_keeps_the_replaced_database() {
    let bed = Bed::filled("termretire");
    bed.backup();
    bed.psql(SPOILED);
    bed.restore("--latest").expect(0);
    let saved = bed.content();
    let old = bed.beside().remove(0);
    bed.age_what_is_kept();
    // Its dump waits for this lock.
    bed.server.psql("postgres", &format!("alter database \"{old}\" with allow_connections true"));
    let holder = bed.server.session(&old, "begin; lock table customer in access exclusive mode;");
    let started = bed.start(&["prune"]);
    let dumping = format!(
        "select exists (select from pg_stat_activity where application_name like 'amarre/2%' and datname = {})",
        literal(&old)
    );
    bed.server.until("postgres", &dumping);
    let (ran, took) = ended(started);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(took < GRACE, "{took:?}");
    drop(holder);
    assert_eq!(bed.beside(), std::slice::from_ref(&old));
    let open = format!("select datallowconn from pg_database where datname = {}", literal(&old));
    assert_eq!(bed.server.psql("postgres", &open), "f", "it is closed again");
    assert_mended(&bed, "SIGTERM");
    bed.run(&["prune"]).expect(0);
    assert!(bed.beside().is_empty());
    assert_eq!((bed.content(), finals(&bed)), (saved, 1));
}

#[test]
fn fault_64_told_to_stop_after_the_final_dump_the_drop_is_done() {
    let bed = Bed::filled("termdrop");
    bed.backup();
    bed.psql(SPOILED);
    bed.restore("--latest").expect(0);
    let saved = bed.content();
    bed.age_what_is_kept();
    told_at(&bed, "retire.1", &["prune"]).expect(0);
    assert_mended(&bed, "retire.1");
    assert_eq!((bed.content(), finals(&bed), bed.beside().len()), (saved, 1, 0));
}

#[test]
fn fault_65_one_directory_has_one_supervisor_and_one_run() {
    let mut bed = Bed::filled("two");
    bed.set("BACKUP_SCHEDULE", "0 0 1 1 *");
    bed.run(&["health"]).expect(1).prints("does not run");
    let supervisor = bed.start(&["supervise"]);
    wait_for("the supervisor", || bed.run(&["health"]).code == Some(0));
    bed.run(&["supervise"]).expect(4).says("another supervisor");
    let lock = hold(&bed);
    let first = bed.start(&["backup"]);
    until_dumping(&bed);
    bed.run(&["backup"]).expect(4);
    drop(lock);
    first.end().expect(0);
    let (ran, took) = ended(supervisor);
    ran.expect(0);
    assert!(took < GRACE, "{took:?}");
    bed.run(&["health"]).expect(1);
}

#[test]
fn fault_64_a_supervisor_told_to_stop_ends_its_backup_too() {
    let mut bed = Bed::filled("nightly");
    bed.set("BACKUP_SCHEDULE", "* * * * *");
    let lock = hold(&bed);
    let supervisor = bed.start(&["supervise"]);
    until_dumping(&bed);
    let (ran, took) = ended(supervisor);
    assert!(took < GRACE, "{took:?}");
    ran.expect(0);
    drop(lock);
    assert!(bed.files().is_empty(), "{:?}", bed.files());
}
