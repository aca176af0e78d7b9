//! A set-up of a row: an installation, and all that was broken around it; what was mounted, started and made goes with it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use amarre::domain::manifest::Manifest;
use amarre::supervisor::state;
use chrono::{TimeDelta, Utc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{Bed, unique, wait_for};
use crate::engine::{self, Scripted};
use crate::s3::Bucket;
use crate::sink;

/// The user of the sidecar.
const NOBODY: u32 = 10001;
const SCRIPTS: [&str; 5] = ["amarre.sh", "backup.sh", "restore.sh", "test-backup-setup.sh", "check-backup-alert.sh"];
const ENGINE: &str = "/var/run/docker.sock";
/// Commands of a fix that can be run here; not `timedatectl`, nor `docker compose` without its file.
const COMMANDS: [&str; 7] = ["amarre ", "chmod ", "chown ", "docker start ", "docker unpause ", "mkdir ", "printf "];

/// How a row is mended.
pub enum Mend {
    /// By what the fix says, word for word: [`Case::follow`].
    Printed,
    /// By `doctor --fix`, which must have done these.
    Repaired(&'static [&'static str]),
    /// By somebody who reads the fix: it is advice, or a word of it is for a person.
    Hand(fn(&mut Case, &str)),
}

/// How many of them are done as printed.
pub const fn printed(mends: &[Mend]) -> usize {
    let (mut count, mut at) = (0, 0);
    while at < mends.len() {
        if matches!(mends[at], Mend::Printed) {
            count += 1;
        }
        at += 1;
    }
    count
}

pub struct Case {
    pub bed: Bed,
    pub bucket: Option<Bucket>,
    /// Words after `doctor`.
    pub arguments: Vec<&'static str>,
    /// The group of a user that is not root.
    pub group: Option<u32>,
    /// What stands in `/etc/hosts`, for the program alone.
    pub hosts: Option<PathBuf>,
    /// The whole of `/etc`, likewise.
    etc: Option<PathBuf>,
    /// What settings should be, as whoever set this up knows it: a fix names them without it.
    known: BTreeMap<String, String>,
    is_nobody: bool,
    is_skipped: bool,
    kept: Vec<Box<dyn Any>>,
    mounts: Vec<PathBuf>,
    containers: Vec<String>,
    processes: Vec<Child>,
}

impl Case {
    pub fn new(label: &str) -> Self {
        // The server's names are not longer than 63 bytes.
        let label: String = label.chars().take(20).collect();
        let bed = Bed::filled(&label);
        Self {
            known: bed.env.clone(),
            bed,
            bucket: None,
            arguments: Vec::new(),
            group: None,
            hosts: None,
            etc: None,
            is_nobody: false,
            is_skipped: false,
            kept: Vec::new(),
            mounts: Vec::new(),
            containers: Vec::new(),
            processes: Vec::new(),
        }
    }

    /// The whole of a row.
    #[track_caller]
    pub fn goes(mut self, check: &str, verdict: &str, says: &str, mend: Mend) {
        if self.is_skipped {
            return;
        }
        let report = self.doctor(&[]);
        let text = |line: &Value| format!("{} {}", line["seen"].as_str().unwrap(), line["fix"].as_str().unwrap_or(""));
        let bad =
            lines(&report, check).into_iter().find(|line| line["verdict"] == verdict && text(line).contains(says));
        let bad = bad.unwrap_or_else(|| panic!("no {verdict} of {check} with '{says}': {report:#}"));
        let fix = bad["fix"].as_str().unwrap_or_else(|| panic!("no fix: {bad}")).to_owned();
        match mend {
            Mend::Printed => self.follow(&fix),
            Mend::Repaired(done) => self.fix(done),
            Mend::Hand(mend) => mend(&mut self, &fix),
        }
        let report = self.doctor(&[]);
        let still: Vec<_> = lines(&report, check).into_iter().filter(|line| line["verdict"] != "ok").collect();
        assert!(still.is_empty(), "still there after '{fix}': {still:#?}");
    }

    /// What `doctor --json` says.
    #[track_caller]
    pub fn doctor(&mut self, more: &[&str]) -> Value {
        let words: Vec<_> = ["doctor", "--json"].iter().chain(&self.arguments).chain(more).copied().collect();
        let output = self.command(&words).stdin(Stdio::null()).output().expect("started");
        let err = String::from_utf8_lossy(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {err}"));
        let failures = report["counts"]["failures"].as_u64().unwrap_or_else(|| panic!("{report}"));
        assert_eq!(output.status.code(), Some(i32::from(failures > 0)), "{report:#}\n{err}");
        report
    }

    /// Runs `doctor --fix`, which must have done these.
    #[track_caller]
    pub fn fix(&mut self, done: &[&str]) {
        let report = self.doctor(&["--fix"]);
        let repairs = report["repairs"].as_array().unwrap();
        for wanted in done {
            let is_it = |r: &Value| r["outcome"] == "done" && r["text"].as_str().unwrap().contains(wanted);
            assert!(repairs.iter().any(is_it), "{wanted}: {repairs:#?}");
        }
    }

    /// Does what a fix says: the first part of it that says something to do. One without any is refused.
    #[track_caller]
    pub fn follow(&mut self, fix: &str) {
        // What comes after a semicolon is another way, or more to know.
        let mut done = false;
        for part in fix.split("; ") {
            done = done || self.follow_part(part);
        }
        assert!(done, "nothing to do in '{fix}'");
    }

    /// Whether there was something to do in it.
    #[track_caller]
    fn follow_part(&mut self, part: &str) -> bool {
        if let Some(command) = command_in(part) {
            self.order(command);
        } else if let Some((name, value)) = assignment_in(part) {
            // A path to be thought of is an example.
            let value = if value.starts_with("/path/") { self.known[name].clone() } else { value.to_owned() };
            self.set(name, &value);
        } else if let Some(meant) = between(part, "did you mean '", "'") {
            let value = self.bed.env.remove(between(part, "remove '", "'").unwrap()).unwrap();
            self.set(meant, &value);
        } else if let Some(kept) = between(part, "keep one of them: '", "'") {
            let other = kept.strip_suffix("_FILE").map_or_else(|| format!("{kept}_FILE"), str::to_owned);
            self.unset(&other);
        } else if let Some(like) = between(part, "written like '", "'") {
            self.set(between(part, "set ", " to such a name").unwrap(), like);
        } else if let Some(schedule) = between(part, "every day at 03:00 is '", "'") {
            self.set("BACKUP_SCHEDULE", schedule);
        } else if let Some(path) = between(part, "'", "' must hold the secret on one line and nothing else") {
            fs::write(path, &self.bed.server.password).unwrap();
        } else if let Some(group) = between(part, "add 'group_add: [\"", "\"]'") {
            self.group = Some(group.parse().unwrap());
        } else if ["unset ", "remove it", "leave out"].iter().any(|words| part.contains(words)) {
            return names_in(part).filter(|name| self.bed.env.remove(*name).is_some()).count() > 0;
        } else if !part.starts_with("nothing more") {
            return names_in(part).filter(|name| self.put_right(name)).count() > 0;
        }
        true
    }

    /// Gives a setting the value that it should have, where that is known.
    fn put_right(&mut self, name: &str) -> bool {
        let Some(value) = self.known.get(name).cloned() else { return false };
        self.set(name, &value);
        true
    }

    /// What whoever set this up knows besides.
    pub fn knows(&mut self, name: &str, value: &str) {
        self.known.insert(name.to_owned(), value.to_owned());
    }

    /// Runs a command as it is printed.
    #[track_caller]
    fn order(&mut self, command: &str) {
        let Some(words) = command.strip_prefix("amarre ") else {
            ran(Command::new("sh").args(["-c", command]));
            return;
        };
        let words: Vec<_> = words.split(' ').collect();
        match words[..] {
            // It does not end by itself; one that still has the directory makes room for it.
            ["supervise"] if self.processes.is_empty() => {
                self.supervise();
            }
            ["supervise"] => self.restart(),
            // Its question wants an answer.
            ["delete", "NAME"] => self.forget(),
            _ => {
                self.amarre(&words, 0);
            }
        }
    }

    /// Any other command; what it prints.
    #[track_caller]
    pub fn amarre(&self, words: &[&str], code: i32) -> Value {
        let output = self.command(words).stdin(Stdio::null()).output().expect("started");
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bed.command(words);
        if self.is_nobody {
            command.uid(NOBODY).gid(self.group.unwrap_or(NOBODY));
        }
        let (over, place) = match (&self.hosts, &self.etc) {
            (Some(hosts), _) => (hosts, "/etc/hosts"),
            (None, Some(etc)) => (etc, "/etc"),
            (None, None) => return command,
        };
        let mut around = Command::new("unshare");
        around.args(["-m", "sh", "-c", "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"", "sh"]);
        around.arg(over).arg(place).arg(command.get_program()).args(words);
        around.env_clear().envs(&self.bed.env).current_dir(self.bed.path());
        around
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.bed.set(name, value);
    }

    pub fn unset(&mut self, name: &str) {
        self.bed.env.remove(name);
    }

    pub fn path(&self, name: &str) -> String {
        self.bed.path().join(name).display().to_string()
    }

    /// A file beside BACKUP_DIR that its owner alone reads.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.bed.write(name, text.as_bytes());
        mode(&path, 0o600);
        path.display().to_string()
    }

    pub fn keep(&mut self, it: impl Any) {
        self.kept.push(Box::new(it));
    }

    /// What was kept of this kind.
    pub fn kept<T: Any>(&self) -> &T {
        self.kept.iter().find_map(|it| it.downcast_ref()).expect("kept")
    }

    /// From now on not as root.
    pub fn as_nobody(&mut self) {
        self.is_nobody = true;
        mode(self.bed.path(), 0o755);
    }

    /// The machine is set to this zone, for the program alone: `/etc/localtime` is a link, over which nothing can be mounted.
    pub fn machine_in(&mut self, zone: &str) {
        let etc = self.bed.path().join("etc");
        fs::create_dir(&etc).unwrap();
        symlink(format!("/usr/share/zoneinfo/{zone}"), etc.join("localtime")).unwrap();
        self.etc = Some(etc);
    }

    pub fn give(&self, path: &Path) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }

    pub fn scripts(&mut self, bits: u32) {
        let dir = self.bed.path().join("scripts");
        fs::create_dir_all(&dir).unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        for name in SCRIPTS {
            fs::copy(from.join(name), dir.join(name)).unwrap();
            mode(dir.join(name), bits);
        }
        let file = self.path("compose.yml");
        self.set("COMPOSE_FILE", &file);
    }

    pub fn mount(&mut self, dir: &Path, options: &str) {
        let path = dir.to_str().unwrap();
        ran(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", path]));
        self.mounts.push(dir.to_owned());
    }

    pub fn remount(&self, dir: &Path, how: &str) {
        ran(Command::new("mount").args(["-o", &format!("remount,{how}"), dir.to_str().unwrap()]));
    }

    /// A file of so many bytes in BACKUP_DIR.
    pub fn fill(&self, bytes: usize) {
        fs::write(self.bed.dir().join("filler"), vec![1; bytes]).unwrap();
    }

    /// Makes all backups look so much older, and their data as if it had been written then.
    pub fn age(&self, by: TimeDelta) {
        for entry in fs::read_dir(self.bed.dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            let mut manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
            for date in [&mut manifest.started_at, &mut manifest.finished_at, &mut manifest.verified_at] {
                *date -= by;
            }
            fs::write(&path, manifest.to_bytes()).unwrap();
            let data = fs::File::options().write(true).open(path.with_extension("")).unwrap();
            data.set_modified(manifest.finished_at.into()).unwrap();
        }
    }

    /// `amarre delete` of all that is listed.
    pub fn forget(&mut self) {
        for entry in self.bed.list() {
            let file = entry["file"].as_str().unwrap();
            self.bed.run(&["delete", file, "--yes-delete", file]).expect(0);
        }
    }

    /// An engine that answers as it is told to.
    pub fn engine(&mut self, changes: &[(&'static str, engine::Answer)]) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let scripted = runtime.block_on(async { Scripted::new(changes) });
        let address = format!("unix://{}", scripted.path().display());
        self.set("DOCKER_HOST", &address);
        self.set("BACKUP_DB_CONTAINER", "db");
        self.keep((scripted, runtime));
    }

    /// The client programs of this machine, where they are older than the server.
    pub fn older_programs(&mut self, label: &str) {
        let Ok(programs) = std::env::var("AMARRE_TEST_PG_BIN") else {
            return self.skip(label, "AMARRE_TEST_PG_BIN is not set: scripts/testbed.sh postgres-local prints it");
        };
        // pg_dump (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)
        let said = ran(Command::new(Path::new(&programs).join("pg_dump")).arg("--version"));
        let client: u32 = said.split(|c: char| !c.is_ascii_digit()).find_map(|number| number.parse().ok()).unwrap();
        let server = self.bed.psql("show server_version_num").parse::<u32>().unwrap() / 10_000;
        if client >= server {
            return self.skip(label, &format!("programs of {client} are not older than a server of {server}"));
        }
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let addresses = self.docker(&["inspect", "-f", format, &self.bed.server.container]);
        self.set("BACKUP_DB_HOST", addresses.split_whitespace().next().expect("an address"));
        let path = format!("{programs}:{}", self.bed.env["PATH"]);
        self.set("PATH", &path);
        self.set("BACKUP_RUNNER", "local");
    }

    /// This machine lacks what the row is about, which is said.
    fn skip(&mut self, label: &str, why: &str) {
        sink::skipped(label, why);
        self.is_skipped = true;
    }

    /// The real engine, whose clock says that.
    pub fn engine_with_clock(&mut self, date: &'static str) {
        let path = self.path("clock.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || drop(relay(client, date)));
            }
        });
        self.set("DOCKER_HOST", &format!("unix://{path}"));
    }

    /// The real engine is found at that path, whatever was there.
    pub fn engine_at(&self, path: &str) {
        let _ = fs::remove_file(path);
        symlink(ENGINE, path).unwrap();
    }

    #[track_caller]
    pub fn docker(&self, words: &[&str]) -> String {
        ran(Command::new("docker").args(words))
    }

    /// A container of a Compose service `db` that was made and not started; `health`: what its health check runs.
    pub fn service(&mut self, project: &str, health: &str) -> String {
        self.create(&[&format!("com.docker.compose.project={project}")], health)
    }

    /// The same of the project of this file.
    pub fn service_of(&mut self, file: &str) -> String {
        let project = format!("com.docker.compose.project={}", unique("file"));
        self.create(&[&project, &format!("com.docker.compose.project.config_files={file}")], "true")
    }

    fn create(&mut self, labels: &[&str], health: &str) -> String {
        let image = std::env::var("AMARRE_TEST_PG_IMAGE_17").unwrap_or_else(|_| "amarre-testbed/postgres:17".into());
        let name = unique("service").replace('_', "-");
        let mut command = Command::new("docker");
        command.args(["create", "--name", &name, "--label", "com.docker.compose.service=db"]);
        for label in labels {
            command.args(["--label", label]);
        }
        command.args(["--health-cmd", health, "--health-interval", "1s", "--health-retries", "1"]);
        ran(command.args(["--entrypoint", "sleep", &image, "600"]));
        self.containers.push(name.clone());
        name
    }

    pub fn until_health(&self, name: &str, state: &str) {
        wait_for(state, || self.docker(&["inspect", "-f", "{{.State.Health.Status}}", name]).trim() == state);
    }

    /// A supervisor on this directory, once it is at work.
    pub fn supervise(&mut self) -> Pid {
        let mut command = self.command(&["supervise"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        self.processes.push(child);
        let dir = self.bed.dir();
        wait_for("a supervisor", || matches!(state::look(&dir), Ok((true, Some(_)))));
        pid
    }

    pub fn kill(&mut self, process: Pid, signal: Signal) {
        kill(process, signal).unwrap();
        if signal == Signal::SIGKILL {
            let mut child = self.processes.pop().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends the supervisor that was started last, also one that is stopped, and starts another.
    pub fn restart(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.processes.last().unwrap().id()).unwrap());
        self.kill(pid, Signal::SIGKILL);
        self.supervise();
        let dir = self.bed.dir();
        let beats = || Utc::now() - state::look(&dir).unwrap().1.unwrap().life.beat_at < TimeDelta::minutes(1);
        wait_for("a heartbeat", beats);
    }

    /// Its last sign of life was an hour ago.
    pub fn stop_the_heart(&self) {
        let path = self.bed.dir().join(".amarre/supervisor.life");
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        state["beat_at"] = serde_json::to_value(Utc::now() - TimeDelta::hours(1)).unwrap();
        fs::write(&path, state.to_string()).unwrap();
    }

    /// Copies go to the real store; `false`: there is none here, which is said.
    pub fn store(&mut self, label: &str) -> bool {
        self.store_in(label, Bucket::new())
    }

    /// Copies go to the simulation of AWS.
    pub fn simulation(&mut self, label: &str) -> bool {
        self.store_in(label, Bucket::simulated())
    }

    fn store_in(&mut self, label: &str, bucket: Option<Bucket>) -> bool {
        self.is_skipped = bucket.is_none();
        match &bucket {
            Some(bucket) => {
                crate::s3_bed::point(&mut self.bed, bucket);
                self.known.extend(self.bed.env.clone());
            }
            None => crate::s3::skipped(label),
        }
        self.bucket = bucket;
        !self.is_skipped
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            let _ = kill(pid, Signal::SIGCONT);
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in &self.containers {
            let _ = Command::new("docker").args(["rm", "-f", "-v", name]).output();
        }
        for dir in self.mounts.iter().rev() {
            let _ = Command::new("umount").args(["-l".as_ref(), dir.as_os_str()]).output();
        }
    }
}

/// The lines of this name.
pub fn lines<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    report["checks"].as_array().unwrap().iter().filter(|line| line["name"] == name).collect()
}

/// Verdict and text of the one line of this name.
#[track_caller]
pub fn line(report: &Value, name: &str) -> (String, String) {
    let lines = lines(report, name);
    assert_eq!(lines.len(), 1, "{name}: {report:#}");
    (lines[0]["verdict"].as_str().unwrap().to_owned(), lines[0]["seen"].as_str().unwrap().to_owned())
}

pub fn mode(path: impl AsRef<Path>, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

/// What stands in a text between two others.
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// The first command in it that can be run here: in quotes, or to where the sentence goes on.
fn command_in(part: &str) -> Option<&str> {
    let is_begin = |at: &usize| {
        let before = &part[..*at];
        before.is_empty() || before.ends_with('\'') || before.ends_with(": ")
    };
    let found = COMMANDS.iter().flat_map(|word| part.match_indices(*word)).map(|(at, _)| at);
    let (before, rest) = part.split_at(found.filter(is_begin).min()?);
    let end = if before.ends_with('\'') { rest.find('\'') } else { rest.find(", ") };
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// `NAME=value` in it.
fn assignment_in(part: &str) -> Option<(&str, &str)> {
    part.split_whitespace().find_map(|word| {
        let (name, value) = word.trim_end_matches([',', ')']).split_once('=')?;
        names_in(name).eq([name]).then_some((name, value))
    })
}

/// The names of settings in it.
fn names_in(part: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    part.split(move |c: char| !is_of_name(c)).filter(|word| word.contains('_'))
}

#[track_caller]
fn ran(command: &mut Command) -> String {
    let output = command.output().expect("started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Passes all on to the real engine, and another date back.
fn relay(mut client: UnixStream, date: &str) -> std::io::Result<()> {
    let mut server = UnixStream::connect(ENGINE)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && server.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let changed: Vec<_> = head
        .split("\r\n")
        .map(|line| if line.starts_with("Date: ") { format!("Date: {date}") } else { line.to_owned() })
        .collect();
    client.write_all(changed.join("\r\n").as_bytes())?;
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}
