//! What commands print for programs is what `docs/JSON.md` says: the same fields, no more and no fewer. A command that is new
//! needs a section there and a line in a test here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed"
)]

mod common;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3_bed.rs"]
mod s3_bed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use amarre::cli::args;
use common::{Bed, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Paths of a document: `backups[].file`. Those whose value says that nothing is known below them are in the second set.
fn paths(value: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<String>, unknown: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if fields.is_empty() {
                    unknown.insert(at.to_owned());
                }
                for (name, value) in fields {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    walk(value, &at, found, unknown);
                }
            }
            Value::Array(items) => {
                let at = format!("{at}[]");
                if items.is_empty() {
                    unknown.insert(at.clone());
                }
                for item in items {
                    walk(item, &at, found, unknown);
                }
            }
            Value::Null => {
                found.insert(at.to_owned());
                unknown.insert(at.to_owned());
            }
            _ => {
                found.insert(at.to_owned());
            }
        }
    }
    let (mut found, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    walk(value, "", &mut found, &mut unknown);
    (found, unknown)
}

/// The fields of each section of the document, by its heading without code marks.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/JSON.md")).unwrap();
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("## ") {
            heading = words.replace('`', "");
        }
        let Some(cell) = line.strip_prefix("| `").and_then(|row| row.split(" | ").next()) else { continue };
        let fields = cell.split('`').map(str::trim).filter(|word| !word.is_empty() && *word != ",");
        sections.entry(heading.clone()).or_default().extend(fields.map(str::to_owned));
    }
    sections
}

/// As it is told, where that is of members of any name: `jobs.watch.outcome` as `jobs.*.outcome`.
fn starred(path: String, told: &BTreeSet<String>) -> String {
    let mut maps = told.iter().filter_map(|field| field.split_once(".*.")).map(|(map, _)| map);
    let found = maps.find_map(|map| {
        let (_, field) = path.strip_prefix(map)?.strip_prefix('.')?.split_once('.')?;
        Some(format!("{map}.*.{field}"))
    });
    found.unwrap_or(path)
}

/// The document of `section` is one of these outputs together: each field of them is told, each that is told is there, or
/// its parent says that there is none.
fn check(section: &str, outputs: &[&Value]) {
    let documented = documented();
    let told = documented.get(section).unwrap_or_else(|| panic!("docs/JSON.md has no section '{section}'"));
    let (mut found, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for output in outputs {
        assert_eq!(output["format"], 1, "{section}: {output}");
        let (f, u) = paths(output);
        found.extend(f.into_iter().map(|path| starred(path, told)));
        unknown.extend(u.into_iter().map(|path| starred(path, told)));
    }
    let of_list = |path: &String| told.contains(&format!("{path}[]"));
    let parent = |path: &String| {
        told.iter().any(|field| field.starts_with(&format!("{path}.")) || field.starts_with(&format!("{path}[]")))
    };
    let more: Vec<_> = found
        .iter()
        .filter(|path| !told.contains(*path))
        .filter(|path| !(unknown.contains(*path) && (of_list(path) || parent(path))))
        .collect();
    assert!(more.is_empty(), "{section}: docs/JSON.md does not tell of {more:?}\n{outputs:?}");
    let below_unknown = |field: &&String| {
        unknown.iter().any(|path| {
            **field == *path || field.starts_with(&format!("{path}.")) || field.starts_with(&format!("{path}[]"))
        })
    };
    let fewer: Vec<_> =
        told.iter().filter(|field| !found.contains(*field)).filter(|field| !below_unknown(field)).collect();
    assert!(fewer.is_empty(), "{section}: docs/JSON.md tells of {fewer:?}\n{outputs:?}");
}

#[test]
fn every_command_that_prints_json_has_a_section() {
    let documented = documented();
    let root = args::command();
    let with_json = root.get_subcommands().filter(|sub| sub.get_arguments().any(|arg| arg.get_long() == Some("json")));
    for command in with_json {
        let section = format!("amarre {}", command.get_name());
        assert!(documented.contains_key(&section), "docs/JSON.md has no section '{section}'");
    }
    let sections = documented.keys().filter_map(|heading| heading.strip_prefix("amarre ")?.split(' ').next());
    for command in sections {
        assert!(root.get_subcommands().any(|sub| sub.get_name() == command), "docs/JSON.md: no command '{command}'");
    }
}

#[test]
fn what_is_printed_is_what_is_documented() {
    let bed = Bed::filled("json");
    let json = |arguments: &[&str]| bed.run(&[arguments, &["--json"]].concat()).json();
    check("amarre backup", &[&json(&["backup"])]);
    let safe = format!("--yes-replace={}", bed.database);
    check("amarre restore --dry-run", &[&json(&["restore", "--latest", "--dry-run"])]);
    check("amarre restore", &[&json(&["restore", "--latest", &safe])]);
    check("amarre list", &[&json(&["list"])]);
    check("amarre restore --undo --dry-run", &[&json(&["restore", "--undo", "--dry-run"])]);
    check("amarre restore --undo", &[&json(&["restore", "--undo", &safe])]);
    check("amarre verify", &[&json(&["verify"])]);
    check("amarre prune", &[&json(&["prune", "--dry-run"]), &json(&["prune"])]);
    check("amarre status", &[&json(&["status"])]);
    check("amarre doctor", &[&json(&["doctor"])]);
    fs::set_permissions(bed.dir(), Permissions::from_mode(0o755)).unwrap();
    for arguments in [&["doctor", "--fix", "--dry-run"][..], &["doctor", "--fix"]] {
        let mended = json(arguments);
        assert!(mended["repairs"][0]["outcome"].is_string(), "{mended}");
        check("amarre doctor", &[&mended]);
    }
    check("amarre config", &[&json(&["config"])]);
    check("amarre health", &[&json(&["health"])]);
    check("amarre cost", &[&json(&["cost"])]);
    let file = bed.files().into_iter().find(|name| name.ends_with(common::end())).unwrap();
    check("amarre delete", &[&json(&["delete", &file, &format!("--yes-delete={file}")])]);
    check("A command that fails", &[&json(&["restore", "nothing-like-that"]), &json(&["verify", "nor-that"])]);
}

#[test]
fn what_is_printed_of_the_past_is_what_is_documented() {
    let mut bed = Bed::filled("json-past");
    // No disk is as empty as that: there is an alert.
    bed.set("BACKUP_DISK_FLOOR", "90").set("BACKUP_NOTIFY", "ntfy+http://127.0.0.1:9/topic");
    let json = |bed: &Bed, arguments: &[&str]| bed.run(&[arguments, &["--json"]].concat()).json();
    let first = json(&bed, &["backup"])["file"].as_str().unwrap().to_owned();
    bed.psql("truncate customer cascade");
    let second = json(&bed, &["backup"])["id"].as_str().unwrap().to_owned();
    json(&bed, &["verify"]);
    check("amarre check", &[&json(&bed, &["check"])]);
    let mut shown = json(&bed, &["show", &second]);
    // The manifest's own members are in docs/BACKUP_IMPLEMENTATION.md.
    assert!(shown["manifest"]["stored"].is_object(), "{shown}");
    shown["manifest"] = Value::Bool(true);
    check("amarre accept", &[&json(&bed, &["accept", &second])]);
    json(&bed, &["delete", &first, &format!("--yes-delete={first}")]);
    let mut accepted = json(&bed, &["show", &second]);
    accepted["manifest"] = Value::Bool(true);
    check("amarre show", &[&shown, &accepted, &json(&bed, &["show", &first])]);
    check("amarre history", &[&json(&bed, &["history"])]);
    check("amarre notify", &[&json(&bed, &["notify"])]);
    check("amarre notify --test", &[&json(&bed, &["notify", "--test"])]);
}

#[test]
fn what_is_printed_of_a_second_place_is_what_is_documented() {
    let Some((_bucket, bed)) = s3_bed::bed("json-s3") else { return };
    let json = |arguments: &[&str]| bed.run(&[arguments, &["--json"]].concat()).json();
    let made = json(&["backup"]);
    check("amarre backup", &[&made]);
    let file = made["file"].as_str().unwrap();
    check("amarre list", &[&json(&["list"]), &json(&["list", "--remote"])]);
    check("amarre verify --remote", &[&json(&["verify", "--remote"])]);
    check("amarre prune", &[&json(&["prune", "--dry-run"])]);
    check("amarre sync", &[&json(&["sync"])]);
    check("amarre share", &[&json(&["share", file])]);
    for name in bed.files() {
        fs::remove_file(bed.dir().join(name)).unwrap();
    }
    check("amarre get", &[&json(&["get", file])]);
    let cost = json(&["cost"]);
    check("amarre cost", &[&cost]);
    assert_eq!(cost["places"].as_array().unwrap().len(), 2, "{cost}");
    assert_eq!(cost["places"][1]["now"]["bytes"], made["stored"]["bytes"], "real sizes: {cost}");
    assert_eq!(cost["places"][1]["price"], Value::Null, "nobody has a price for this store");
    let prices = r#"{"format":1,"date":"2026-01-01","currency":"EUR","prices":[
        {"name":"disk","place":"local","gb_month":0},
        {"name":"mine","place":"127.0.0.1","gb_month":1000000,"transfer_gb":1000000,"retrieval_gb":1000000}]}"#;
    let list = bed.write("prices.json", prices.as_bytes()).display().to_string();
    let cost = json(&["cost", "--prices", &list]);
    let bytes = made["stored"]["bytes"].as_f64().unwrap();
    let month = cost["places"][1]["now"]["month"].as_f64().unwrap();
    assert!((month - bytes / 1000.0).abs() < 0.001, "{cost}");
    let restore = cost["places"][1]["now"]["restore"].as_f64().unwrap();
    assert!((restore - 2.0 * month).abs() < 0.001, "{cost}");
    bed.run(&["cost", "--prices", &list]).expect(0).prints("EUR").prints("together");
    check("amarre delete", &[&json(&["delete", file, "--everywhere", &format!("--yes-delete={file}")])]);
}

#[test]
fn what_a_sync_copies_heals_and_cannot_send_is_what_is_documented() {
    let Some((bucket, mut bed)) = s3_bed::bed("json-sync") else { return };
    let made = bed.backup();
    // Each list in an output of its own: an empty one says nothing of what would be in it.
    let filled = |bed: &Bed, arguments: &[&str], list: &str| {
        let printed = bed.run(&[arguments, &["--json"]].concat()).json();
        assert_eq!(printed[list].as_array().unwrap().len(), 1, "{list}: {printed}");
        check("amarre sync", &[&printed]);
    };
    for name in s3_bed::names(&made) {
        bucket.remove(&name);
    }
    filled(&bed, &["sync"], "copied");
    fs::remove_file(bed.dir().join(made["file"].as_str().unwrap())).unwrap();
    filled(&bed, &["sync", "--heal"], "healed");
    bed.set("AWS_SECRET_ACCESS_KEY", "wrong");
    filled(&bed, &["sync"], "failed");
}

/// A supervisor; it ends with the test.
struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_printed_beside_a_supervisor_is_what_is_documented() {
    let mut bed = Bed::filled("json-jobs");
    // No slot comes meanwhile.
    bed.set("BACKUP_SCHEDULE", "0 3 1 1 *");
    let holder = bed.server.session(&bed.database, "begin; lock table customer in access exclusive mode;");
    let mut command = bed.command(&["supervise"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let _supervisor = Supervisor(child);
    let status_when = |what: &str, holds: fn(&Value) -> bool| {
        let mut status = Value::Null;
        wait_for(what, || {
            status = bed.run(&["status", "--json"]).json();
            holds(&status)
        });
        check("amarre status", &[&status]);
    };
    // Then it also hears signals.
    status_when("a job that has ended", |status| status["jobs"]["watch"]["ended_at"].is_string());
    kill(pid, Signal::SIGUSR1).unwrap();
    // It waits for the table.
    status_when("a backup at work", |status| {
        status["at_work"].is_string() && status["jobs"]["backup"]["running_since"].is_string()
    });
    drop(holder);
    status_when("a backup that was made", |status| status["jobs"]["backup"]["outcome"] == "ended");
}

#[test]
fn fault_85_names_that_are_hostile_are_one_line_of_json() {
    let bed = Bed::filled("json-hostile");
    let hostile = "evil\u{1b}[31m\u{202e}.sql.gz";
    fs::write(bed.dir().join(hostile), "x").unwrap();
    let ran = bed.run(&["list", "--json"]).expect(0);
    assert!(ran.out.lines().all(amarre::domain::text::is_plain), "{:?}", ran.out);
    ran.json();
}
