//! `amarre doctor` on broken set-ups: a table. Each row breaks one thing for real, names the line that must tell it and how, and mends it as
//! the line says; then that line must be good. S3 needs a server (`scripts/testbed.sh up`): without one those rows are skipped, which is said
//! and counted.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;
#[path = "common/engine.rs"]
mod engine;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3_bed.rs"]
mod s3_bed;
#[path = "common/sink.rs"]
mod sink;

#[path = "doctor/case.rs"]
mod case;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use case::Mend::{Hand, Printed, Repaired};
use case::{Case, Mend, between, mode};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use common::{Bed, Role, Server, unique};
use engine::{LIST, Says, VERSION, refusal};
use serde_json::json;

/// Breaks it, and where the row cannot be tried here says so.
pub type Break = fn(&mut Case);

/// One test for each row: what is broken; the line that tells it, its verdict, words in it or in its fix; how it is mended.
macro_rules! table {
    ($($name:ident: $broken:expr => $check:literal $verdict:literal $says:literal; $mend:expr,)*) => {
        /// How many there are.
        pub const ROWS: usize = [$(stringify!($name)),*].len();
        /// How many of them are mended by what their fix says, as it is printed.
        pub const PRINTED: usize = crate::case::printed(&[$($mend),*]);
        $(
            #[test]
            fn $name() {
                let mut case = Case::new(stringify!($name));
                let broken: Break = $broken;
                broken(&mut case);
                let mend: Mend = $mend;
                case.goes($check, $verdict, $says, mend);
            }
        )*
    };
}

#[path = "doctor/stores.rs"]
mod stores;

#[test]
fn the_table_is_long_enough() {
    const { assert!(ROWS + stores::ROWS >= 30) };
}

/// Without a store to try, too.
#[test]
fn enough_fixes_are_followed_as_they_are_printed() {
    const { assert!(PRINTED >= 30) };
    const { assert!(stores::PRINTED >= 10) };
}

table! {
    // Settings.
    fault_01_an_unknown_setting: |case| case.set("BACKUP_SCHEDUEL", "0 4 * * *") =>
        "settings" "failure" "BACKUP_SCHEDULE"; Printed,
    fault_02_a_secret_and_its_file: |case| { let file = case.file("secret", "x"); case.set("POSTGRES_PASSWORD_FILE", &file); } =>
        "settings" "failure" "POSTGRES_PASSWORD_FILE"; Printed,
    fault_03_an_empty_secret: |case| { let file = case.file("secret", ""); case.unset("POSTGRES_PASSWORD"); case.set("POSTGRES_PASSWORD_FILE", &file); } =>
        "settings" "failure" "is empty"; Printed,
    fault_03_a_secret_of_windows: |case| { let file = case.file("secret", "canary\r\n"); case.unset("POSTGRES_PASSWORD"); case.set("POSTGRES_PASSWORD_FILE", &file); } =>
        "settings" "failure" "printf"; Printed,
    fault_04_a_retention_of_nothing: |case| case.set("BACKUP_RETENTION_DAYS", "0") =>
        "settings" "failure" "BACKUP_RETENTION_DAYS"; Printed,
    fault_05_a_bad_schedule: |case| case.set("BACKUP_SCHEDULE", "0 0 3 * * *") =>
        "settings" "failure" "0 0 3 * * *"; Printed,
    fault_05_a_bad_zone: |case| case.set("TZ", "Europe/Pari") =>
        "settings" "failure" "Europe/Paris"; Printed,
    nobody_to_dump_as: |case| case.unset("POSTGRES_USER") =>
        "settings" "failure" "POSTGRES_USER"; Printed,
    no_password: |case| case.unset("POSTGRES_PASSWORD") =>
        "settings" "warning" "POSTGRES_PASSWORD"; Printed,
    a_settings_file_that_is_not_there: |case| { let path = case.path("absent"); case.set("ENV_FILE", &path); } =>
        "settings" "failure" "cannot be read"; Printed,
    a_settings_file_with_an_open_quote: |case| { let path = case.file("env", "BACKUP_NAME='x\n"); case.set("ENV_FILE", &path); } =>
        "settings" "failure" "never closed"; Hand(|case, _| { case.file("env", "BACKUP_NAME='x'\n"); }),
    a_settings_file_that_all_may_read: |case| { let path = case.file("env", "BACKUP_KEEP_VERIFIED=3\n"); mode(&path, 0o644); case.set("ENV_FILE", &path); } =>
        "settings-file" "warning" "passwords"; Printed,
    a_settings_file_that_all_may_read_mended_by_fix: |case| { let path = case.file("env", "BACKUP_KEEP_VERIFIED=3\n"); mode(&path, 0o664); case.set("ENV_FILE", &path); } =>
        "settings-file" "warning" "0664"; Repaired(&["chmod 660"]),

    // The engine and the container.
    fault_08_no_socket: |case| {
            let path = case.path("docker.sock");
            case.set("DOCKER_HOST", &format!("unix://{path}"));
        } => "engine" "failure" "docker.sock";
        // Docker runs, and the service is given its socket.
        Hand(|case, _| { let path = case.path("docker.sock"); case.engine_at(&path); }),
    fault_08_a_socket_for_others: |case| case.as_nobody() =>
        "engine" "failure" "group_add"; Printed,
    a_socket_that_nobody_listens_to: |case| { let path = case.path("dead.sock"); drop(UnixListener::bind(&path).unwrap()); case.set("DOCKER_HOST", &format!("unix://{path}")); } =>
        "engine" "failure" "no engine answers";
        Hand(|case, _| { let path = case.path("dead.sock"); case.engine_at(&path); }),
    fault_09_an_old_engine: |case| case.engine(&[(VERSION, Says(200, json!({"Version": "1.9", "ApiVersion": "1.21", "MinAPIVersion": "1.12"}).to_string()))]) =>
        "engine" "failure" "1.21"; Hand(|case, _| case.engine(&[])),
    fault_10_a_proxy_that_forbids: |case| case.engine(&[(LIST, refusal(403, "Forbidden"))]) =>
        "container" "failure" "CONTAINERS=1"; Hand(|case, _| case.engine(&[])),
    fault_12_no_such_container: |case| case.set("BACKUP_DB_CONTAINER", "nonexistent") =>
        "container" "failure" "BACKUP_DB_CONTAINER"; Printed,
    fault_12_two_containers: |case| { case.unset("BACKUP_DB_CONTAINER"); let project = unique("twins"); case.service(&project, "true"); case.service(&project, "true"); case.set("COMPOSE_PROJECT_NAME", &project); } =>
        "container" "failure" "several containers"; Printed,
    a_container_that_is_stopped: |case| { case.unset("BACKUP_DB_CONTAINER"); let project = unique("stopped"); case.service(&project, "true"); case.set("COMPOSE_PROJECT_NAME", &project); } =>
        "container" "failure" "docker start"; Printed,
    fault_14_a_container_that_is_paused: |case| { case.unset("BACKUP_DB_CONTAINER"); let project = unique("paused"); let name = case.service(&project, "true"); case.docker(&["start", &name]); case.until_health(&name, "healthy"); case.docker(&["pause", &name]); case.set("COMPOSE_PROJECT_NAME", &project); } =>
        "container" "failure" "docker unpause";
        Hand(|case, fix| {
            case.follow(fix);
            case.until_health(between(fix, "docker unpause ", "'").unwrap(), "healthy");
        }),
    a_container_that_is_unwell: |case| {
            case.unset("BACKUP_DB_CONTAINER");
            let project = unique("unwell");
            let name = case.service(&project, "test -e /tmp/well");
            case.docker(&["start", &name]);
            case.until_health(&name, "unhealthy");
            case.set("COMPOSE_PROJECT_NAME", &project);
        } => "container" "warning" "docker logs";
        Hand(|case, fix| {
            let name = between(fix, "docker logs ", "'").unwrap();
            case.docker(&["logs", name]);
            case.docker(&["exec", name, "touch", "/tmp/well"]);
            case.until_health(name, "healthy");
        }),
    no_compose_file: |case| {
            case.unset("BACKUP_DB_CONTAINER");
            let file = case.file("docker-compose.prod.yml", "");
            let name = case.service_of(&file);
            case.docker(&["start", &name]);
            case.knows("COMPOSE_FILE", &file);
            let absent = case.path("compose.yml");
            case.set("COMPOSE_FILE", &absent);
        } => "compose" "failure" "COMPOSE_FILE"; Printed,
    scripts_that_cannot_be_started: |case| case.scripts(0o644) =>
        "scripts" "failure" "backup.sh"; Printed,
    scripts_that_cannot_be_started_mended_by_fix: |case| case.scripts(0o640) =>
        "scripts" "failure" "restore.sh"; Repaired(&["chmod 750"]),
    scripts_without_the_one_they_start: |case| { case.scripts(0o755); fs::remove_file(case.path("scripts/amarre.sh")).unwrap(); } =>
        "scripts" "failure" "amarre.sh"; Hand(|case, _| case.scripts(0o755)),
    the_slow_lane: |case| { let dir = case.path("lane"); fs::create_dir(&dir).unwrap(); case.set("BACKUP_LANE_DIR", &dir); } =>
        "lane" "warning" "volumes:";
        Hand(|case, _| {
            let lane = std::env::var("AMARRE_TEST_LANE_DIR").unwrap();
            case.set("BACKUP_LANE_DIR", &lane);
        }),

    // The database.
    client_programs_that_are_older_than_the_server: |case| case.older_programs("client programs older than the server") =>
        "versions" "failure" "postgresql-client-17";
        // The container's own are as new as its server.
        Hand(|case, _| { case.unset("BACKUP_RUNNER"); case.unset("BACKUP_DB_HOST"); }),
    a_role_that_is_none: |case| case.set("POSTGRES_USER", "nonexistent") =>
        "server" "failure" "nonexistent"; Printed,
    a_database_that_is_none: |case| { let name = unique("absent"); case.set("POSTGRES_DB", &name); } =>
        "database" "failure" "POSTGRES_DB"; Printed,
    a_database_with_nothing_in_it: |case| { let empty = Bed::new("nothing"); case.set("POSTGRES_DB", &empty.database); case.keep(empty); } =>
        "database" "warning" "POSTGRES_DB"; Printed,
    a_role_that_may_not_restore: |case| { let role = Role::new(&Server::pg17(), "login"); case.set("POSTGRES_USER", &role.name); case.keep(role); } =>
        "database" "warning" "CREATEDB";
        Hand(|case, fix| {
            let (role, right) = (between(fix, "role '", "'").unwrap(), fix.rsplit(' ').next().unwrap());
            case.bed.server.psql("postgres", &format!("alter role {role} {right}"));
        }),

    // The directory.
    no_directory: |case| fs::remove_dir(case.bed.dir()).unwrap() =>
        "directory" "failure" "mkdir"; Printed,
    no_directory_mended_by_fix: |case| fs::remove_dir(case.bed.dir()).unwrap() =>
        "directory" "failure" "--fix"; Repaired(&["mkdir -m 700"]),
    fault_07_a_directory_that_all_may_read: |case| mode(case.bed.dir(), 0o755) =>
        "directory" "warning" "chmod 700"; Printed,
    fault_07_a_directory_that_all_may_read_mended_by_fix: |case| mode(case.bed.dir(), 0o757) =>
        "directory" "warning" "0757"; Repaired(&["chmod 750"]),
    a_directory_of_another: |case| { mode(case.bed.dir(), 0o755); case.as_nobody(); } =>
        "directory" "failure" "chown"; Hand(|case, fix| { case.follow(fix); mode(case.bed.dir(), 0o700); }),
    fault_06_a_directory_that_goes_with_the_container: |case| { case.as_nobody(); case.give(&case.bed.dir()); case.set("AMARRE_IN_CONTAINER", "1"); } =>
        "mount" "warning" "volumes:";
        Hand(|case, fix| {
            let dir = Path::new(between(fix, "'backup_data:", "'").unwrap());
            case.mount(dir, "size=8m,mode=700");
            case.give(dir);
        }),
    fault_35_a_disk_that_is_nearly_full: |case| { let dir = case.bed.dir(); case.mount(&dir, "size=8m,mode=700"); case.fill(7_600_000); } =>
        "space" "warning" "prune"; Hand(|case, _| fs::remove_file(case.bed.dir().join("filler")).unwrap()),
    fault_35_a_disk_too_small_for_the_next: |case| { let dir = case.bed.dir(); case.mount(&dir, "size=1m,mode=700"); case.fill(600_000); } =>
        "room" "failure" "make room";
        Hand(|case, _| { let dir = case.bed.dir(); case.mount(&dir, "size=64m,mode=700"); }),
    fault_37_a_disk_that_became_read_only: |case| { let dir = case.bed.dir(); case.mount(&dir, "size=8m,mode=700"); case.remount(&dir, "ro"); } =>
        "directory" "failure" ":ro";
        Hand(|case, fix| case.remount(Path::new(between(fix, ": mount ", " writable").unwrap()), "rw")),
    a_backup_that_all_may_read: |case| { let file = case.bed.backup_file(); mode(&file, 0o644); } =>
        "files" "warning" "--fix"; Repaired(&["chmod 600"]),
    a_backup_of_another: |case| { let file = case.bed.backup_file(); case.as_nobody(); case.give(&case.bed.dir()); mode(&file, 0o600); } =>
        "files" "failure" "chown"; Printed,
    a_log_without_its_directory: |case| { let path = case.path("logs/amarre.log"); case.set("BACKUP_LOG_FILE", &path); } =>
        "log" "warning" "BACKUP_LOG_FILE"; Repaired(&["mkdir"]),
    a_log_that_is_a_directory: |case| { let path = case.path("log"); fs::create_dir(&path).unwrap(); case.set("BACKUP_LOG_FILE", &path); } =>
        "log" "warning" "directory"; Printed,

    // What is in it.
    a_journal_that_is_damaged: |case| { case.bed.backup(); fs::write(case.bed.dir().join("amarre.sqlite"), "no journal at all, but long enough to be looked at").unwrap(); let _ = fs::remove_file(case.bed.dir().join("amarre.sqlite-wal")); } =>
        "journal" "warning" "damaged"; Printed,
    fault_42_a_backup_that_somebody_deleted: |case| fs::remove_file(case.bed.backup_file()).unwrap() =>
        "catalogue" "warning" "amarre delete";
        // Nothing lies elsewhere: the second of the two that it says.
        Hand(|case, fix| case.follow(fix.split_once("; ").unwrap().1)),
    fault_46_a_backup_that_is_overdue: |case| { case.bed.backup(); case.age(TimeDelta::days(3)); } =>
        "backups" "failure" "amarre backup"; Printed,
    fault_43_a_backup_from_the_future: |case| { case.bed.backup(); case.age(TimeDelta::days(-3)); } =>
        "catalogue" "warning" "timedatectl"; Printed,
    no_backup_yet: |_| {} =>
        "backups" "warning" "amarre backup"; Printed,
    a_project_that_was_renamed: |case| { case.set("BACKUP_NAME", "shop/before"); case.bed.backup(); case.unset("BACKUP_NAME"); fs::write(case.bed.dir().join(".amarre/installation"), "shop/before\n").unwrap(); } =>
        "installation" "warning" "BACKUP_NAME=shop/before"; Printed,
    something_half_done: |case| { case.bed.backup(); fs::write(case.bed.dir().join(".amarre/20260101T000000Z-abcdef.json"), "{").unwrap(); } =>
        "unfinished" "warning" ".amarre/";
        Hand(|case, _| fs::remove_file(case.bed.dir().join(".amarre/20260101T000000Z-abcdef.json")).unwrap()),

    // Who is told.
    a_channel_that_is_away: |case| { let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); case.set("BACKUP_NOTIFY", &format!("webhook+http://{nobody}/told")); } =>
        "notifications" "warning" "look at the address";
        Hand(|case, _| { let url = case.bed.env["BACKUP_NOTIFY"].clone(); listen(url.split('/').nth(2).unwrap()); }),
    a_mail_server_that_is_away: |case| { let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); case.set("BACKUP_NOTIFY_MAIL_TO", "ops@example.org"); case.set("BACKUP_NOTIFY_SMTP_HOST", "127.0.0.1"); case.set("BACKUP_NOTIFY_SMTP_PORT", &nobody.port().to_string()); case.set("BACKUP_NOTIFY_SMTP_TLS", "none"); case.set("BACKUP_NOTIFY_SMTP_FROM", "backup@example.org"); } =>
        "notifications" "warning" "look at the address";
        Hand(|case, _| take_mail(&format!("127.0.0.1:{}", case.bed.env["BACKUP_NOTIFY_SMTP_PORT"]))),

    // The clock and the supervisor.
    fault_44_a_clock_that_jumped: |case| case.engine_with_clock("Tue, 01 Jan 2041 00:00:00 GMT") =>
        "clock" "warning" "timedatectl";
        // The clock of the machine is not for a test to set: the other one comes to agree with it.
        Hand(|case, _| { let path = case.path("clock.sock"); case.engine_at(&path); }),
    a_machine_in_another_zone: |case| case.machine_in("America/New_York") =>
        "zone" "warning" "set TZ";
        Hand(|case, fix| case.set("TZ", between(fix, "this machine is in ", ":").unwrap())),
    a_supervisor_that_died: |case| { let process = case.supervise(); case.kill(process, nix::sys::signal::Signal::SIGKILL); } =>
        "supervisor" "warning" "amarre supervise"; Printed,
    a_supervisor_that_is_stopped: |case| { let process = case.supervise(); case.kill(process, nix::sys::signal::Signal::SIGSTOP); case.stop_the_heart(); } =>
        "supervisor" "failure" "restart backup-cron"; Printed,
    a_container_without_its_supervisor: |case| { case.as_nobody(); case.give(&case.bed.dir()); case.set("AMARRE_IN_CONTAINER", "1"); } =>
        "supervisor" "failure" "amarre supervise"; Printed,
}

/// Somebody listens there until the test ends.
fn listen(address: &str) {
    std::mem::forget(TcpListener::bind(address).unwrap());
}

/// A mail server that takes whatever it is told, there until the test ends.
fn take_mail(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Whoever hangs up has heard enough.
            std::thread::spawn(move || drop(talk(&client)));
        }
    });
}

fn talk(mut client: &TcpStream) -> std::io::Result<()> {
    client.write_all(b"220 mail.example.org\r\n")?;
    for line in BufReader::new(client).lines() {
        let is_farewell = line?.starts_with("QUIT");
        let answer = if is_farewell { "221 bye\r\n" } else { "250 mail.example.org\r\n" };
        client.write_all(answer.as_bytes())?;
        if is_farewell {
            break;
        }
    }
    Ok(())
}

#[test]
fn a_link_is_no_settings_file_to_mend() {
    let mut case = Case::new("link");
    let target = case.file("target", "BACKUP_KEEP_VERIFIED=3\n");
    mode(&target, 0o644);
    let link = case.path("env");
    symlink(&target, &link).unwrap();
    case.set("ENV_FILE", &link);
    let report = case.doctor(&["--fix"]);
    assert_eq!(report["repairs"], json!([]), "{report}");
    assert_eq!(case::line(&report, "settings-file").0, "warning");
}

#[test]
fn fix_only_shows_where_it_is_told_to_and_names_what_is_not_its_own() {
    let mut case = Case::new("shows");
    mode(case.bed.dir(), 0o755);
    let log = case.path("a/b/amarre.log");
    case.set("BACKUP_LOG_FILE", &log);
    let report = case.doctor(&["--fix", "--dry-run"]);
    let outcomes: Vec<_> =
        report["repairs"].as_array().unwrap().iter().map(|r| r["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["would", "by_hand"], "{report}");
    assert_eq!(fs::metadata(case.bed.dir()).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(case::line(&report, "directory").0, "warning");
    // As another user: the directory is root's.
    case.as_nobody();
    let report = case.doctor(&["--fix"]);
    assert!(report["repairs"].to_string().contains("belongs to user 0"), "{report}");
    case.bed.run(&["doctor", "--dry-run"]).expect(2);
}

#[test]
fn what_is_wrong_with_the_settings_keeps_nothing_else_from_being_looked_at() {
    let mut case = Case::new("all");
    for (name, value) in [
        ("BACKUP_SCHEDUEL", "x"),
        ("BACKUP_RETENTION_DAYS", "0"),
        ("BACKUP_SCHEDULE", "x"),
        ("S3_BACKUP_BUCKET", "hub"),
    ] {
        case.set(name, value);
    }
    let report = case.doctor(&[]);
    let failures: Vec<_> = report["checks"].as_array().unwrap().iter().filter(|c| c["verdict"] == "failure").collect();
    assert_eq!(failures.len(), 5, "{report}");
    assert!(failures.iter().all(|c| c["name"] == "settings" && c["fix"].is_string()), "{report}");
    for name in ["engine", "container", "server", "database", "directory", "space", "log", "zone", "supervisor"] {
        let found = report["checks"].as_array().unwrap().iter().any(|c| c["name"] == name);
        assert!(found || name == "server", "{name}: {report}");
    }
    assert_eq!(report["counts"]["failures"], 5);
    // A directory that is refused is not looked for elsewhere.
    case.unset("BACKUP_RETENTION_DAYS");
    case.set("BACKUP_DIR", "/");
    let report = case.doctor(&["--fix"]);
    assert_eq!(report["repairs"], json!([]));
    assert!(!report.to_string().contains("/var/backups"), "{report}");
    // All other commands refuse as ever.
    case.bed.run(&["status"]).expect(2);
}

#[test]
fn both_languages_fit_80_columns_and_count() {
    let mut case = Case::new("columns");
    case.set("BACKUP_SCHEDUEL", "x");
    for (language, words) in [("en", ["OK ", "Warning ", "Failure "]), ("fr", ["OK ", "Avertissement ", "Échec "])] {
        case.set("BACKUP_LANG", language);
        let out = case.bed.run(&["doctor"]).expect(1).out;
        let long: Vec<_> =
            out.lines().filter(|line| line.chars().count() > 80 && line.split_whitespace().count() > 2).collect();
        assert!(long.is_empty(), "{long:#?}");
        for word in words {
            assert!(out.lines().any(|line| line.starts_with(word)), "{word}: {out}");
        }
        assert!(!out.contains('\u{1b}'));
        let last = out.lines().last().unwrap();
        let counts: Vec<u32> = last.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let begin = |word: &str| u32::try_from(out.lines().filter(|line| line.starts_with(word)).count()).unwrap();
        // The last line begins like those that are good.
        let good = begin(words[0]);
        assert_eq!(counts, [good, begin(words[1]), begin(words[2])], "{out}");
        assert_eq!(language == "fr", last.starts_with("Réussis: "), "{last}");
    }
    assert!(case.bed.run(&["--color", "always", "doctor"]).out.contains("\u{1b}[1;31mÉchec\u{1b}[0m"));
}

#[test]
fn a_good_host_has_no_failure() {
    let bed = Bed::filled("good");
    bed.backup();
    let report = bed.run(&["doctor", "--json"]).expect(0).json();
    assert_eq!(report["format"], 1);
    assert_eq!(report["counts"]["failures"], 0);
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["verdict"] == "ok", check["fix"].is_null(), "{check}");
    }
}

#[test]
fn the_next_backup_is_told_by_its_date_in_the_zone() {
    let mut case = Case::new("schedule");
    case.set("BACKUP_SCHEDULE", "30 4 * * *");
    case.set("TZ", "America/New_York");
    let before = Utc::now();
    let report = case.doctor(&[]);
    let (verdict, seen) = case::line(&report, "schedule");
    assert_eq!(verdict, "ok", "{seen}");
    assert!(seen.starts_with("'30 4 * * *' in America/New_York; now "), "{seen}");
    // It may have become half past four meanwhile.
    let is_told = |now| seen.ends_with(&format!("; next backup {}", half_past_four(now)));
    assert!(is_told(before) || is_told(Utc::now()), "{seen}");
}

/// When it is next, in New York.
fn half_past_four(now: DateTime<Utc>) -> String {
    let zone = Tz::America__New_York;
    let here = now.with_timezone(&zone).naive_local();
    let time = NaiveTime::from_hms_opt(4, 30, 0).unwrap();
    let day = if here.time() < time { here.date() } else { here.date().succ_opt().unwrap() };
    day.and_time(time).and_local_timezone(zone).unwrap().format("%Y-%m-%d %H:%M:%S %Z").to_string()
}
