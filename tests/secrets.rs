//! A password is found nowhere but where it was put: not in what is printed, logged, recorded or stored, and not in
//! the arguments that the engine publishes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Bed, Ran, Role, wait_for};

const CANARY: &str = "K4n4rienvogel-Zx9";

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes())
}

fn check(what: &str, ran: &Ran) {
    assert!(!holds(ran.out.as_bytes()) && !holds(ran.err.as_bytes()), "{what} prints the password: {ran:?}");
}

#[test]
fn fault_86_a_password_is_found_nowhere() {
    let mut bed = Bed::filled("canary");
    let role = Role::new(&bed.server, &format!("login superuser password '{CANARY}'"));
    bed.set("POSTGRES_USER", &role.name).set("POSTGRES_PASSWORD", CANARY);
    let since = now();
    bed.run(&["backup"]).expect(0);
    let replace = format!("--yes-replace={}", bed.database);
    let commands: [&[&str]; 8] = [
        &["list", "--json"],
        &["doctor"],
        &["config", "--json"],
        &["verify", "--all"],
        &["prune"],
        &["status", "--json"],
        &["restore", "--latest", &replace],
        &["backup", "--json"],
    ];
    for arguments in commands {
        check(arguments[0], &bed.run(arguments));
    }
    // What fails speaks most.
    bed.server.psql("postgres", &format!("alter role {} password 'another'", common::identifier(&role.name)));
    let address = address(&bed);
    bed.set("BACKUP_RUNNER", "local").set("BACKUP_DB_HOST", &address).set("BACKUP_READY_TIMEOUT", "5");
    for arguments in [&["backup"][..], &["doctor"], &["restore", "--latest", "--dry-run"]] {
        let ran = bed.run(arguments);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        check(arguments[0], &ran);
    }
    for file in files_below(bed.path()) {
        let bytes = fs::read(&file).unwrap();
        assert!(!holds(&bytes), "{} holds the password", file.display());
        if file.to_string_lossy().ends_with(common::end()) {
            assert!(!holds(&common::sql_of(&file)), "{}", file.display());
        }
    }
    let container = format!("container={}", bed.server.container);
    let events = Command::new("docker")
        .args(["events", "--since", &since, "--until", &now(), "--filter", &container, "--format", "{{json .}}"])
        .output()
        .unwrap();
    let events = String::from_utf8_lossy(&events.stdout);
    assert!(events.contains("exec_create") && events.contains("pg_dump"), "the events were not seen: {events}");
    assert!(!holds(events.as_bytes()), "the engine publishes the password");
}

/// Every command that prints for programs, and the log of text and of JSON, with a password that occurs in an error text.
#[test]
fn fault_86_a_password_is_in_no_log_and_no_json() {
    for format in ["text", "json"] {
        let mut bed = Bed::filled("canary-log");
        let role = Role::new(&bed.server, &format!("login superuser password '{CANARY}'"));
        // The password is also the name of what is asked for: it comes back in every error.
        bed.set("POSTGRES_USER", &role.name).set("POSTGRES_PASSWORD", CANARY).set("BACKUP_LOG", format);
        bed.run(&["backup", "--json"]).expect(0);
        let hint = format!("no-such-{CANARY}");
        let commands: [&[&str]; 9] = [
            &["verify", &hint, "--json"],
            &["restore", &hint, "--json"],
            &["delete", &hint, "--json"],
            &["verify", &hint],
            &["restore", &hint],
            &["status", "--json"],
            &["list", "--json"],
            &["doctor", "--json"],
            &["cost", "--json"],
        ];
        for arguments in commands {
            let ran = bed.run(arguments);
            check(arguments[0], &ran);
            if arguments[1] == hint {
                assert!(ran.err.contains("***"), "the text was not in the way of the mask: {ran:?}");
            }
        }
        let log = fs::read(bed.path().join("amarre.log")).unwrap();
        assert!(!holds(&log), "{}", String::from_utf8_lossy(&log));
        assert!(String::from_utf8_lossy(&log).contains("***"), "{}", String::from_utf8_lossy(&log));
        for file in files_below(bed.path()) {
            assert!(!holds(&fs::read(&file).unwrap()), "{} holds the password", file.display());
        }
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn fault_86_a_panic_tells_no_password() {
    let mut bed = Bed::filled("canary-panic");
    let role = Role::new(&bed.server, &format!("login superuser password '{CANARY}'"));
    bed.set("POSTGRES_USER", &role.name).set("POSTGRES_PASSWORD", CANARY).set("AMARRE_FAILPOINT", "backup.3:panic");
    // Whatever the environment asks of the library.
    bed.set("RUST_BACKTRACE", "1");
    let ran = bed.run(&["backup", "--json"]).expect(1).says("the program has a fault").says("***");
    check("a panic", &ran);
    let log = fs::read_to_string(bed.path().join("amarre.log")).unwrap();
    assert!(log.contains("the program has a fault") && log.contains(" run=") && !holds(log.as_bytes()), "{log}");
    // What it left is mended by the next run.
    bed.env.remove("AMARRE_FAILPOINT");
    bed.run(&["backup"]).expect(0);
}

/// A fault below us would write all memory to a file, where the machine keeps such.
#[test]
fn fault_86_no_picture_of_the_memory_is_written() {
    let bed = Bed::new("core");
    let mut supervisor = bed.command(&["supervise"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let limits = format!("/proc/{}/limits", supervisor.id());
    wait_for("no core file", || {
        let limits = fs::read_to_string(&limits).unwrap();
        limits.lines().any(|line| {
            line.split_whitespace().collect::<Vec<_>>().starts_with(&["Max", "core", "file", "size", "1", "1"])
        })
    });
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
}

#[test]
fn fault_86_hashes_are_only_in_the_roles_file_and_only_where_they_may_be() {
    let mut bed = Bed::filled("hashes");
    let _role = Role::new(&bed.server, &format!("login password '{CANARY}'"));
    let file = bed.backup_file();
    let roles = PathBuf::from(format!("{}.roles.sql", file.display()));
    assert_eq!(fs::metadata(&roles).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&roles).unwrap().contains("PASSWORD 'SCRAM-SHA-256$"));
    bed.set("BACKUP_ROLE_PASSWORDS", "no");
    let file = bed.backup_file();
    let roles = fs::read_to_string(format!("{}.roles.sql", file.display())).unwrap();
    assert!(roles.contains("CREATE ROLE") && !roles.contains("SCRAM-SHA-256"), "{roles}");
}

/// Where the server answers by TCP, with a password.
fn address(bed: &Bed) -> String {
    let output = Command::new("docker")
        .args(["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &bed.server.container])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Seconds since the epoch, as `docker events` takes them.
fn now() -> String {
    let output = Command::new("date").arg("+%s").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
