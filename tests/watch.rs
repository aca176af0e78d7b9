//! Whether somebody is told: alerts, the history, hooks, and a supervisor that is asked by signals; against a real server.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/sink.rs"]
mod sink;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use amarre::domain::manifest::Manifest;
use amarre::domain::run::RunId;
use amarre::journal::{End, Journal as _, Outcome, RunKind, SqliteJournal};
use amarre::process::lock::{Holder, RunLock};
use chrono::{DateTime, TimeDelta, Utc};
use common::{Bed, unique, wait_for};
use disk::Disk;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sink::{Answer, Sink};

fn bed(label: &str) -> Bed {
    let mut bed = Bed::filled(label);
    // How full the disk of the tests is, is not what they are about.
    bed.set("BACKUP_DISK_FLOOR", "0");
    bed
}

fn kinds(bed: &Bed, exit: i32) -> Vec<String> {
    let json = bed.run(&["check", "--json"]).expect(exit).json();
    let kind = |alert: &Value| alert["kind"].as_str().unwrap().to_owned();
    json["alerts"].as_array().unwrap().iter().map(kind).collect()
}

#[test]
fn a_failed_run_is_told_until_the_next_good_one() {
    let mut bed = bed("failed");
    bed.backup();
    bed.run(&["check"]).expect(0).says("nothing needs you");
    let database = bed.database.clone();
    bed.set("POSTGRES_DB", "no_such_database");
    bed.run(&["backup"]).expect(1);
    bed.set("POSTGRES_DB", &database);
    bed.run(&["check"]).expect(1).prints("Failure: the backup of").prints("no_such_database").says("amarre history");
    assert_eq!(kinds(&bed, 1), ["run_failed"], "it goes on");
    bed.backup();
    bed.run(&["check"]).expect(0).says("over: the backup of");
}

#[test]
fn fault_25_older_backups_are_held_until_somebody_accepts() {
    let mut bed = bed("accept");
    bed.set("BACKUP_KEEP_VERIFIED", "1");
    let first = bed.backup()["file"].as_str().unwrap().to_owned();
    bed.psql("truncate customer cascade");
    let second = bed.backup();
    let id = second["id"].as_str().unwrap();
    assert!(second["suspicious"].to_string().contains("public.customer had 500 rows"), "{second}");
    // As long as nobody has looked, the next one is too.
    let third = bed.backup();
    assert!(!third["suspicious"].as_array().unwrap().is_empty(), "{third}");
    bed.run(&["check"]).expect(1).prints("Warning: 2 suspicious").prints(id).says("amarre accept");
    bed.run(&["show", id]).expect(0).prints("public.customer").prints("-500");
    bed.run(&["accept", &first]).expect(2).says("is not suspicious");
    // Whoever else was told of it: a crontab that mails is told once.
    bed.run(&["check", "--changes"]).expect(1).prints("alert: 2 suspicious");
    assert_eq!(bed.run(&["check", "--changes"]).expect(1).out, "");
    bed.run(&["accept", id]).expect(0).prints("accepted");
    assert_eq!(kinds(&bed, 1), ["suspicious"], "the third is a backup of its own");
    bed.run(&["accept", "--all"]).expect(0);
    bed.run(&["check", "--changes"]).expect(0).prints("over:");
    bed.run(&["check"]).expect(0).says("nothing needs you");
    bed.run(&["accept", "--all"]).expect(0).says("no backup is suspicious");
    assert_eq!(bed.backup()["suspicious"].as_array().unwrap().len(), 0, "that is usual now");
    let shown = bed.run(&["show", id, "--json"]).expect(0).json();
    assert!(shown["accepted"]["by"].as_str().unwrap().starts_with("command, uid"), "{shown}");
    assert_eq!(shown["compared_with"], first);
}

#[test]
fn fault_42_a_backup_that_was_cut_is_told_of() {
    let bed = bed("cut");
    bed.backup();
    let file = bed.backup_file();
    let length = fs::metadata(&file).unwrap().len();
    fs::File::options().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
    let found = bed.run(&["check"]).expect(1);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    found.prints("damaged here").prints(&name);
}

/// Enters a restore into the journal that ended just now.
fn enter_restore(bed: &Bed, took: TimeDelta) {
    let at = Utc::now();
    let (begun, run) = (at - took, RunId::new(at - took, 1));
    let end = End { at, outcome: Outcome::Done, exit: 0, error: None, file: None, bytes: None };
    let journal = SqliteJournal::open(&bed.dir(), at).unwrap().journal;
    journal.start(&run, RunKind::Restore, begun, "command, uid 0").unwrap();
    journal.finish(&run, RunKind::Restore, &end).unwrap();
}

#[test]
fn a_restore_that_took_long_is_told_of_until_one_does_not() {
    let bed = bed("slow_restore");
    bed.backup();
    assert!(kinds(&bed, 0).is_empty());
    enter_restore(&bed, TimeDelta::minutes(11));
    assert_eq!(kinds(&bed, 1), ["slow_restore"]);
    bed.run(&["check"]).expect(1).prints("Warning: the restore that ended").prints("took 11 minutes").says("--timings");
    // No more than that is not long.
    enter_restore(&bed, TimeDelta::minutes(10));
    bed.run(&["check"]).expect(0).says("over: the restore that ended");
}

/// Whoever is killed in each backup has always begun another one when somebody looks.
#[test]
fn backups_that_are_killed_again_and_again_are_told_of_while_the_next_is_at_work() {
    let bed = bed("killed");
    bed.backup();
    let holder = Holder::this("backup", Utc::now());
    let lock = RunLock::acquire(&bed.dir(), &holder).unwrap();
    let killed = |number| {
        let (at, run) = (Utc::now(), RunId::new(Utc::now(), number));
        let end = End { at, outcome: Outcome::Interrupted, exit: 1, error: None, file: None, bytes: None };
        let journal = SqliteJournal::open(&bed.dir(), at).unwrap().journal;
        journal.start(&run, RunKind::Backup, at, "schedule").unwrap();
        journal.finish(&run, RunKind::Backup, &end).unwrap();
    };
    killed(1);
    assert!(kinds(&bed, 0).is_empty(), "a machine that was started anew in the middle of one makes up for it");
    killed(2);
    assert_eq!(kinds(&bed, 1), ["run_failed"]);
    drop(lock);
}

/// Says in its manifest that a backup came by this lane. Its data stays as it is, and verified.
fn came_by(bed: &Bed, file: &str, lane: &str) {
    let path = bed.dir().join(format!("{file}.json"));
    let mut manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
    manifest.lane = lane.to_owned();
    fs::write(&path, manifest.to_bytes()).unwrap();
}

#[test]
fn a_fast_lane_that_is_lost_is_told_of_until_it_is_back() {
    let bed = bed("slow_lane");
    let made = || bed.backup()["file"].as_str().unwrap().to_owned();
    let (older, newest) = (made(), made());
    for file in [&older, &newest] {
        came_by(&bed, file, "exec");
    }
    assert!(kinds(&bed, 0).is_empty(), "where there was no other it is a way like another");
    came_by(&bed, &older, "fifo");
    assert_eq!(kinds(&bed, 1), ["slow_lane"]);
    bed.run(&["check"]).expect(1).prints("Warning: the last backup took the slow lane").says("amarre doctor");
    came_by(&bed, &newest, "fifo");
    bed.run(&["check"]).expect(0).says("over: the last backup took the slow lane");
}

#[test]
fn a_table_that_is_gone_since_the_backup_before_is_shown() {
    const GONE: &str = "public.item_of_customer";
    let bed = bed("gone");
    let first = bed.backup()["file"].as_str().unwrap().to_owned();
    bed.psql("drop table item_of_customer");
    let second = bed.backup()["id"].as_str().unwrap().to_owned();
    let shown = bed.run(&["show", &second, "--json"]).expect(0).json();
    assert_eq!(shown["compared_with"], first);
    assert!(shown["manifest"]["content"]["tables"].get(GONE).is_none(), "{shown}");
    let row = shown["tables"].as_array().unwrap().iter().find(|table| table["table"] == GONE).expect("a row of it");
    assert_eq!(*row, json!({ "table": GONE, "rows": 0, "bytes": 0, "change": -200 }));
    // Above the table of them it is named too, as what looks suspicious.
    let text = bed.run(&["show", &second]).expect(0).out;
    let row = text.lines().find(|line| line.starts_with(GONE)).unwrap_or_else(|| panic!("no row of it: {text}"));
    assert!(row.ends_with("-200"), "{row}");
}

#[test]
fn the_history_says_what_was_done_by_whom_and_why() {
    let mut bed = bed("history");
    bed.set("BACKUP_RETENTION_DAYS", "1").set("BACKUP_KEEP_VERIFIED", "1");
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    bed.run(&["verify", "--latest"]).expect(0);
    bed.run(&["delete", file, "--yes-delete", file]).expect(0);
    let history = bed.run(&["history", "--json"]).expect(0).json();
    let history = history["history"].as_array().unwrap();
    let runs: Vec<_> =
        history.iter().filter(|one| one["what"] == "run").map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(runs, ["delete", "verify", "backup"]);
    let backup = history.last().unwrap();
    assert_eq!(backup["id"], made["id"], "the run and its backup have one name");
    assert!(backup["asked"].as_str().unwrap().starts_with("command, uid"), "{backup}");
    let gone = history.iter().find(|one| one["what"] == "deleted").expect("the deletion");
    assert_eq!((gone["file"].as_str(), gone["why"].as_str()), (Some(file), Some("a person asked for it")));
    // Also of what is gone something is known: by its run and by its name.
    for name in [made["id"].as_str().unwrap(), file] {
        bed.run(&["show", name]).expect(0).prints("a person asked for it").prints("backup");
    }
    let text = bed.run(&["history", "--since", "1d"]).expect(0).prints("deleted").prints("done").out;
    assert!(text.contains("command, uid") && text.contains(made["id"].as_str().unwrap()), "{text}");
    assert!(!text.contains("\\n") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    bed.run(&["history", "--since", "2020-01-01"]).expect(0).prints("backup");
    bed.run(&["history", "--since", "yesterday"]).expect(2).says("'yesterday' is no time").says("30d");
    bed.run(&["show", "nonsense"]).expect(2);
}

#[test]
fn fault_35_a_journal_that_was_lost_or_damaged_is_made_again_from_manifests() {
    let bed = bed("recalled");
    let made = bed.backup();
    let journal = bed.dir().join("amarre.sqlite");
    for end in ["-wal", "-shm"] {
        // Not there where the last process has ended in order.
        let _ = fs::remove_file(PathBuf::from(format!("{}{end}", journal.display())));
    }
    fs::write(&journal, [0xa5; 8192]).unwrap();
    bed.run(&["backup"]).expect(0).says("the journal was damaged").says("entered from their manifests");
    let history = bed.run(&["history", "--json"]).expect(0).json();
    let recalled = history["history"].as_array().unwrap().iter().find(|one| one["asked"] == "manifest").expect("one");
    assert_eq!((&recalled["id"], &recalled["file"]), (&made["id"], &made["file"]));
    let second = bed.run(&["backup"]).expect(0);
    assert!(!second.err.contains("entered from"), "{}", second.err);
}

#[test]
fn fault_35_a_journal_that_is_gone_is_made_again_for_who_asks_it() {
    for question in ["history", "status", "show"] {
        let bed = bed("asked");
        let made = bed.backup();
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(bed.dir().join(format!("amarre.sqlite{end}")));
        }
        let id = made["id"].as_str().unwrap();
        let words: &[&str] = if question == "show" { &["show", id] } else { &[question] };
        bed.run(words).expect(0).says("entered from their manifests").prints("backup");
    }
}

#[test]
fn what_is_known_of_a_restore_has_its_own_stages() {
    let bed = bed("stages");
    bed.backup();
    bed.run(&["restore", "--latest", "--into", &unique("side")]).expect(0);
    let history = bed.run(&["history", "--json"]).expect(0).json();
    let id = history["history"].as_array().unwrap().iter().find(|one| one["kind"] == "restore").unwrap()["id"].clone();
    let shown = bed.run(&["show", id.as_str().unwrap(), "--json"]).expect(0).json();
    let stages: Vec<_> = shown["stages"].as_array().unwrap().iter().map(|one| one["stage"].as_str().unwrap()).collect();
    assert!(stages.contains(&"load") && !stages.contains(&"compress"), "{stages:?}");
}

#[test]
fn hooks_run_before_and_after_and_know_how_it_went() {
    let mut bed = bed("hooks");
    let seen = bed.path().join("seen");
    let script = format!(
        "sh -c 'echo \"$BACKUP_OUTCOME $BACKUP_EXIT ${{BACKUP_FILE##*/}} $BACKUP_ROWS $BACKUP_ERROR\" >> {}'",
        seen.display()
    );
    bed.set("BACKUP_BEFORE", &script).set("BACKUP_AFTER", &script).set("BACKUP_ON_FAILURE", &script);
    let made = bed.backup();
    let file = made["file"].as_str().unwrap();
    let lines = fs::read_to_string(&seen).unwrap();
    assert_eq!(lines, format!("started    \ndone 0 {file} {} \n", made["rows"]));
    fs::remove_file(&seen).unwrap();
    // What fails before stops the run, and is no backup.
    let before = bed.files();
    bed.set("BACKUP_BEFORE", "sh -c 'echo broken >&2; exit 7'");
    bed.run(&["backup"]).expect(1).says("BACKUP_BEFORE failed").says("broken");
    assert_eq!(bed.files(), before);
    let lines = fs::read_to_string(&seen).unwrap();
    assert!(lines.starts_with("failed 1   BACKUP_BEFORE failed"), "{lines}");
    // What fails after is said, and the backup stays.
    bed.set("BACKUP_BEFORE", "").set("BACKUP_AFTER", "/no/such/program");
    bed.run(&["backup"]).expect(0).says("BACKUP_AFTER failed");
    assert!(bed.files().len() > before.len());
}

#[test]
fn a_dead_mans_switch_is_told_the_last_lines_of_a_run() {
    let sink = Sink::start();
    let mut bed = bed("switch");
    bed.set("BACKUP_NOTIFY", &format!("ping+http://{}/switch", sink.address));
    bed.backup();
    bed.set("BACKUP_BEFORE", "sh -c 'echo the depot is closed; exit 3'");
    bed.run(&["backup"]).expect(1);
    let taken = sink.taken();
    let of = |got: &sink::Got| got.path.split('?').next().unwrap().trim_start_matches("/switch").to_owned();
    assert_eq!(taken.iter().map(of).collect::<Vec<_>>(), ["/start", "", "/start", "/fail"]);
    assert!(taken[1].body.contains("rows"), "{}", taken[1].body);
    let body = &taken[3].body;
    assert!(body.contains("BACKUP_BEFORE failed"), "{body}");
    assert!(!body.contains("the depot is closed"), "what a hook prints stays here: {body}");
}

/// The command waits for it at its end, once there is a backup; hence a test of most of a minute.
#[test]
fn a_dead_notifier_neither_fails_nor_delays_a_backup() {
    let sink = Sink::start();
    sink.always(Answer::Hang);
    let mut bed = bed("dead");
    bed.set("BACKUP_NOTIFY", &format!("webhook+http://{0}/told,ping+http://{0}/switch", sink.address));
    bed.set("BACKUP_NOTIFY_LEVEL", "success");
    bed.backup();
    let history = bed.run(&["history", "--json"]).expect(0).json();
    let run = &history["history"][0];
    assert_eq!((&run["kind"], &run["outcome"]), (&"backup".into(), &"done".into()), "{history}");
    let at = |name: &str| run[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    // A bound against the notifier's patience, which is 30 s (20 s for what is sent beside the run), and generous: machines are slow at times.
    assert!(at("finished_at") - at("started_at") < TimeDelta::seconds(10), "{run}");
    assert_eq!(bed.list()[0]["state"], "verified");
    assert!(sink.asked() >= 2, "each was tried");
    let told = bed.run(&["notify", "--json"]).expect(0).json();
    let channels = told["channels"].as_array().unwrap().iter();
    let waiting: Vec<_> =
        channels.map(|one| (one["kind"].as_str().unwrap(), one["waiting"].as_u64().unwrap(), &one["sent"])).collect();
    // Of the switch the beginning and the end.
    assert_eq!(waiting, [("webhook", 1, &json!(0)), ("ping", 2, &json!(0))], "{told}");
}

#[test]
fn a_hook_may_call_amarre() {
    let mut bed = bed("hook_calls");
    bed.set("BACKUP_AFTER", concat!(env!("CARGO_BIN_EXE_amarre"), " verify --latest"));
    let ran = bed.run(&["backup"]).expect(0);
    assert!(!ran.err.contains("BACKUP_AFTER failed"), "{}", ran.err);
    let history = bed.run(&["history", "--json"]).expect(0).json();
    assert_eq!(history["history"][0]["kind"], "verify", "{history}");
    // Elsewhere they are mistakes as ever.
    bed.set("BACKUP_AFTER", "").set("BACKUP_FILE", "x");
    bed.run(&["list"]).expect(2).says("BACKUP_FILE");
}

#[test]
fn a_failed_run_is_told_with_its_own_advice_its_run_and_its_last_lines() {
    let sink = Sink::start();
    let mut bed = bed("told");
    bed.set("BACKUP_NOTIFY", &format!("webhook+http://{}/told", sink.address));
    bed.set("POSTGRES_DB", "no_such_database");
    let ran = bed.run(&["backup"]).expect(1);
    let taken: Vec<Value> = sink.taken().iter().map(|got| got.json()).collect();
    let told = taken.iter().find(|told| told["event"] == "alert:run_failed").expect("the failure");
    let history = bed.run(&["history", "--json"]).json();
    assert_eq!(told["run"], history["history"][0]["id"]);
    let advice = told["lines"][0]["value"].as_str().unwrap();
    assert!(ran.err.contains(advice) && advice.contains("POSTGRES_DB"), "{advice}: {}", ran.err);
    assert!(told["text"].to_string().contains("no_such_database"), "{told}");
}

#[test]
fn a_restore_that_was_refused_is_in_the_history() {
    let bed = bed("refused");
    bed.backup();
    let file = bed.backup_file();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let length = fs::metadata(&file).unwrap().len();
    fs::File::options().write(true).open(&file).unwrap().set_len(length / 2).unwrap();
    let replace = format!("--yes-replace={}", bed.database);
    let refused = bed.run(&["restore", &name, &replace]);
    assert_ne!(refused.code, Some(0));
    let history = bed.run(&["history", "--json"]).expect(0).json();
    let last = &history["history"][0];
    assert_eq!((&last["kind"], &last["outcome"]), (&"restore".into(), &"failed".into()), "{history}");
    assert!(last["asked"].as_str().unwrap().starts_with("command, uid"), "{last}");
    assert!(kinds(&bed, 1).contains(&"job_failed".to_owned()));
}

#[test]
fn fault_35_a_full_disk_lets_backups_be_deleted() {
    let bed = bed("room");
    let Some(disk) = Disk::mount(&bed.dir(), "8m") else {
        return sink::skipped("fault_35 (room)", "it mounts a disk to fill it: run it as root");
    };
    let first = bed.backup()["file"].as_str().unwrap().to_owned();
    bed.backup();
    disk.fill();
    bed.run(&["delete", &first, &format!("--yes-delete={first}")]).expect(0);
    assert!(!bed.files().iter().any(|file| file.starts_with(&first)), "{:?}", bed.files());
    disk.clear();
    bed.run(&["list"]).expect(0);
    bed.backup();
}

#[test]
fn a_hook_beside_the_database_and_one_that_hangs() {
    let mut bed = bed("hooks_db");
    bed.set("BACKUP_BEFORE", "db: psql -X -c 'create table made_by_hook as select 1 as a'");
    let made = bed.backup();
    assert!(bed.manifest(made["file"].as_str().unwrap())["content"]["tables"]["public.made_by_hook"]["rows"] == 1);
    bed.set("BACKUP_BEFORE", "sleep 600").set("BACKUP_HOOK_TIMEOUT", "1");
    bed.run(&["backup"]).expect(1).says("not over after 1 s");
    bed.set("BACKUP_BEFORE", "db:");
    bed.run(&["backup"]).expect(2).says("'BACKUP_BEFORE' is no command");
}

/// The supervisor's own words, as far as they have come.
fn log(bed: &Bed) -> String {
    fs::read_to_string(&bed.env["BACKUP_LOG_FILE"]).unwrap_or_default()
}

#[test]
fn a_supervisor_backs_up_at_a_signal_and_reads_its_secrets_again() {
    let mut bed = bed("signals");
    let secret = bed.path().join("user");
    fs::write(&secret, format!("{}\n", bed.server.user)).unwrap();
    let secret = secret.as_path();
    bed.set("POSTGRES_USER", "").set("POSTGRES_USER_FILE", secret.to_str().unwrap());
    let log_file = bed.path().join("log").display().to_string();
    bed.set("BACKUP_SCHEDULE", "0 3 1 1 *").set("BACKUP_LOG_FILE", &log_file);
    let supervisor = bed.start(&["supervise"]);
    let pid = Pid::from_raw(i32::try_from(supervisor.id()).unwrap());
    wait_for("the supervisor says when its next backup is", || log(&bed).contains("next backup"));
    kill(pid, Signal::SIGUSR1).unwrap();
    wait_for("the backup that was asked for", || {
        let history = bed.run(&["history", "--json"]).json();
        let runs = history["history"].as_array().unwrap();
        runs.iter().any(|run| run["asked"] == "signal" && run["outcome"] == "done")
    });
    // A bad file keeps the old settings; a good one is taken.
    fs::write(secret, b"").unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    wait_for("the refusal", || log(&bed).contains("the new settings are not used"));
    fs::write(secret, b"nobody_of_that_name\n").unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    wait_for("the new settings", || log(&bed).contains("settings read again: POSTGRES_USER"));
    kill(pid, Signal::SIGUSR1).unwrap();
    wait_for("a backup as somebody else, which fails", || {
        log(&bed).contains("nobody_of_that_name") && kinds(&bed, 1).contains(&"run_failed".to_owned())
    });
    let status = bed.run(&["status", "--json"]).expect(0).json();
    assert!(status["jobs"]["backup"]["ended_at"].is_string(), "{status}");
    kill(pid, Signal::SIGTERM).unwrap();
    supervisor.end().expect(0);
    // Somebody who makes the container anew is not told so; whoever forgets it is.
    assert!(!kinds(&bed, 1).contains(&"not_running".to_owned()));
    let state = bed.dir().join(".amarre/supervisor.life");
    let mut seen: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    seen["beat_at"] = "2025-01-01T00:00:00Z".into();
    fs::write(&state, seen.to_string()).unwrap();
    assert!(kinds(&bed, 1).contains(&"not_running".to_owned()));
}

/// A supervisor of a container, killed at the end also of a test that fails: told to end, it would end all others on this machine.
struct Contained(Pid);

impl Drop for Contained {
    fn drop(&mut self) {
        // Nobody has waited for it yet: the number is still its own.
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[test]
fn a_supervisor_in_a_container_reads_its_mounted_settings_again() {
    let mut bed = bed("mounted");
    let (settings, logs) = (bed.path().join("settings"), bed.path().join("logs"));
    let set = |days: u32| fs::write(&settings, format!("BACKUP_RETENTION_DAYS={days}\n")).unwrap();
    set(9);
    fs::create_dir(&logs).unwrap();
    // Where root runs this it becomes the user of the container, who comes as far as here, reads that, and writes its log there.
    for (path, bits) in [(bed.path(), 0o755), (settings.as_path(), 0o644), (logs.as_path(), 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
    }
    for (name, value) in [
        ("AMARRE_IN_CONTAINER", "1".to_owned()),
        ("BACKUP_SETTINGS_FILE", settings.display().to_string()),
        ("BACKUP_LOG_FILE", logs.join("log").display().to_string()),
        // It would take the rights of a lane that other tests share.
        ("BACKUP_LANE_DIR", bed.path().join("no-lane").display().to_string()),
        ("BACKUP_SCHEDULE", "0 3 1 1 *".to_owned()),
    ] {
        bed.set(name, &value);
    }
    let started = bed.start(&["supervise"]);
    let supervisor = Contained(Pid::from_raw(i32::try_from(started.id()).unwrap()));
    let hang_up = || kill(supervisor.0, Signal::SIGHUP).unwrap();
    wait_for("the supervisor says when its next backup is", || log(&bed).contains("next backup"));
    set(12);
    hang_up();
    wait_for("the new settings", || log(&bed).contains("settings read again: BACKUP_RETENTION_DAYS"));
    set(0);
    hang_up();
    wait_for("the refusal", || log(&bed).contains("the new settings are not used: 'BACKUP_RETENTION_DAYS' is '0'"));
    // Those before hold: beside them these are no news.
    set(12);
    hang_up();
    wait_for("the settings that hold", || log(&bed).contains("settings read again: nothing has changed"));
    drop(supervisor);
    assert_eq!(started.end().code, None, "it was killed");
}
