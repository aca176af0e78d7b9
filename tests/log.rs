//! The log of real runs: where it goes, which run its lines name, and what happens where it cannot be written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Bed, wait_for};
use serde_json::Value;

fn log(bed: &Bed) -> String {
    fs::read_to_string(bed.path().join("amarre.log")).unwrap_or_default()
}

/// `[2026-11-22 03:00:00] `
fn is_dated(line: &str) -> bool {
    const FORM: &str = "[0000-00-00 00:00:00] ";
    let fits = |(c, form): (char, char)| if form == '0' { c.is_ascii_digit() } else { c == form };
    line.len() > FORM.len() && line.chars().zip(FORM.chars()).all(fits)
}

/// The ids of all runs, as `status` has them.
fn runs(bed: &Bed) -> Vec<String> {
    let status = bed.run(&["status", "--json"]).expect(0).json();
    let ids = status["runs"].as_array().unwrap().iter();
    ids.map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_line_of_a_run_is_dated_and_names_it() {
    let bed = Bed::filled("log");
    let replace = format!("--yes-replace={}", bed.database);
    for arguments in [&["backup"][..], &["verify"], &["prune"], &["restore", "--latest", &replace]] {
        let before = log(&bed).len();
        let known: BTreeSet<String> = runs(&bed).into_iter().collect();
        let ran = bed.run(arguments).expect(0);
        let new: Vec<String> = runs(&bed).into_iter().filter(|id| !known.contains(id)).collect();
        let [id] = new.as_slice() else { panic!("{arguments:?}: {new:?}") };
        let text = log(&bed).split_off(before);
        let end = format!(" run={id}");
        for line in text.lines() {
            assert!(is_dated(line) && line.ends_with(&end), "{arguments:?}: {line}");
        }
        assert!(arguments[0] == "prune" || text.lines().count() > 1, "{arguments:?} says nothing: {text}");
        // What cron appends to a file is told apart as well.
        let said = ran.err.lines().filter(|line| is_dated(line));
        assert!(said.clone().all(|line| line.ends_with(&end)), "{}", ran.err);
    }
}

#[test]
fn json_lines_are_objects_that_name_the_run() {
    let mut bed = Bed::filled("log-json");
    bed.set("BACKUP_LOG", "json");
    bed.run(&["backup"]).expect(0);
    let text = log(&bed);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert!(lines.len() > 3, "{text}");
    let id = &runs(&bed)[0];
    for line in &lines {
        assert_eq!(line["run"], **id, "{line}");
        assert!(line["time"].is_string() && line["message"].is_string() && line["level"] == "info", "{line}");
    }
}

#[test]
fn a_failed_run_is_in_the_file_with_its_run() {
    let mut bed = Bed::filled("log-failed");
    bed.set("POSTGRES_DB", "nothing_like_that");
    let ran = bed.run(&["backup"]);
    assert_ne!(ran.code, Some(0));
    let id = &runs(&bed)[0];
    let text = log(&bed);
    let line = text.lines().find(|line| line.contains("error:")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("nothing_like_that") && line.ends_with(&format!(" run={id}")), "{line}");
    // Its own words are said once on the console.
    assert_eq!(ran.err.matches("error:").count(), 1, "{}", ran.err);
}

#[test]
fn a_person_at_a_terminal_is_spared_the_run() {
    let bed = Bed::filled("log-terminal");
    bed.backup();
    let replace = format!("--yes-replace={}", bed.database);
    let mut session = expectrl::Session::spawn(bed.command(&["restore", "--latest", &replace])).unwrap();
    session.set_expect_timeout(Some(common::PATIENCE));
    let printed = expectrl::Expect::expect(&mut session, expectrl::Eof).unwrap();
    let text = String::from_utf8_lossy(printed.as_bytes()).into_owned();
    assert!(text.contains("restored") && !text.contains(" run="), "{text}");
    assert!(log(&bed).contains(" run="));
}

#[test]
fn the_supervisor_names_the_run_of_each_job_on_standard_output() {
    let mut bed = Bed::filled("log-supervisor");
    bed.set("BACKUP_SCHEDULE", "* * * * *");
    let out = bed.path().join("out");
    let mut command = bed.command(&["supervise"]);
    command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let read = || fs::read_to_string(&out).unwrap();
    wait_for("a backup of the supervisor", || read().contains("backup done"));
    let text = read();
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(child.wait().unwrap().success());
    let ids = runs(&bed);
    let of_run: Vec<&str> = text.lines().filter(|line| line.contains(" run=")).collect();
    assert!(of_run.iter().any(|line| line.contains("backup done")), "{text}");
    assert!(of_run.iter().all(|line| ids.iter().any(|id| line.ends_with(&format!(" run={id}")))), "{text}\n{ids:?}");
    // What is of no run names none.
    assert!(text.lines().any(|line| line.contains("next backup") && !line.contains(" run=")), "{text}");
    assert!(text.lines().all(is_dated), "{text}");
}

/// A file system of 64 kB that is full; `None` (and a word to the counter) where this machine does not let us.
struct Full(PathBuf);

impl Full {
    fn mount(bed: &Bed) -> Option<Self> {
        let place = bed.path().join("full");
        fs::create_dir(&place).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&place).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            // The log is there already: whoever opens it finds nothing wrong.
            fs::write(place.join("amarre.log"), "").unwrap();
            let _ = fs::write(place.join("ballast"), vec![0; 1_000_000]);
            return Some(Self(place));
        }
        if let Ok(log) = std::env::var("AMARRE_SKIPPED_LOG") {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
            std::io::Write::write_all(&mut file, b"log on a full disk: no right to mount\n").unwrap();
        }
        None
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn fault_35_a_full_log_disk_stops_no_backup_and_is_said_once() {
    let mut bed = Bed::filled("log-full");
    let Some(full) = Full::mount(&bed) else { return };
    let path = full.0.join("amarre.log");
    bed.set("BACKUP_LOG_FILE", &path.display().to_string());
    let ran = bed.run(&["backup", "--json"]).expect(0);
    assert_eq!(ran.json()["outcome"], "done");
    let told: Vec<&str> = ran.err.lines().filter(|line| line.contains("cannot be written")).collect();
    assert_eq!(told.len(), 1, "{}", ran.err);
    assert!(told[0].contains("amarre.log") && told[0].contains("No space left"), "{}", told[0]);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    // With room again it is written.
    fs::remove_file(full.0.join("ballast")).unwrap();
    bed.run(&["backup"]).expect(0);
    assert!(fs::read_to_string(&path).unwrap().contains("backup done"));
}

#[test]
fn two_processes_write_one_file() {
    let bed = Bed::filled("log-two");
    bed.backup();
    let before = log(&bed).lines().count();
    let started: Vec<_> = (0..4).map(|_| bed.start(&["verify"])).collect();
    let said: usize =
        started.into_iter().map(|run| run.end().expect(0).err.lines().filter(|l| is_dated(l)).count()).sum();
    let text = log(&bed);
    assert_eq!(text.lines().count() - before, said, "each line that was said is in the file: {text}");
    assert!(text.lines().all(is_dated), "no line is torn: {text}");
}
