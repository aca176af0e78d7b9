//! A Compose project of a test's own, made of `docker-compose.prod.yml` as a user has it: started, spoken to, and
//! removed with its volumes at the end, also when the test panics. Does not know what is tested.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The password of every test's database.
pub const PASSWORD: &str = "pass'word $x #1";

/// A finished program.
#[derive(Debug)]
pub struct Done {
    /// Exit code; of a program that a signal ended: -1.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// The same, where it ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.text());
        self
    }
}

/// What `scripts/test.sh` puts into the environment of the tests.
#[expect(clippy::disallowed_methods, reason = "the test bed speaks through the environment")]
fn bed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./scripts/test.sh"))
}

/// The sidecar's image.
pub fn image() -> String {
    bed("AMARRE_TEST_IMAGE")
}

/// A program with its words.
pub fn run(program: &str, words: &[&str]) -> Done {
    Done::of(&Command::new(program).args(words).stdin(Stdio::null()).output().expect("started"))
}

/// `docker WORDS`.
pub fn docker(words: &[&str]) -> Done {
    run("docker", words)
}

/// Asks again until `holds`, or panics with `what` after `seconds`.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The project.
pub struct Project {
    name: String,
    work: tempfile::TempDir,
    overrides: Vec<PathBuf>,
}

impl Project {
    /// A project that has nothing running yet. `name` tells the tests' projects apart.
    #[expect(clippy::disallowed_methods, reason = "the test bed speaks through the environment")]
    pub fn new(name: &str) -> Self {
        let suffix = std::env::var("AMARRE_TEST_SUFFIX").unwrap_or_default();
        let work = tempfile::tempdir().expect("a directory");
        let project = Self { name: format!("amarre-{name}{suffix}"), work, overrides: Vec::new() };
        let lines =
            format!("POSTGRES_USER=hub\nPOSTGRES_PASSWORD='{}'\nPOSTGRES_DB=hub_chantier\n", r"pass\'word $x #1");
        std::fs::write(project.env_file(), lines).expect("written");
        // Left by a run that was killed.
        project.down();
        project
    }

    /// Another Compose file over the first, from now on.
    pub fn override_with(&mut self, yaml: &str) {
        let path = self.work.path().join(format!("override-{}.yml", self.overrides.len()));
        std::fs::write(&path, yaml).expect("written");
        self.overrides.push(path);
    }

    /// The Compose file alone again.
    pub fn drop_overrides(&mut self) {
        self.overrides.clear();
    }

    /// The env file.
    pub fn env_file(&self) -> PathBuf {
        self.work.path().join("env.production")
    }

    /// The sidecar's container.
    pub fn sidecar(&self) -> String {
        format!("{}-sidecar", self.name)
    }

    /// A volume by the name that the Compose file has for it.
    pub fn volume(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    /// The name of the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What Compose reads from its own environment, for programs that call it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("COMPOSE_PROJECT_NAME", self.name.clone()),
            ("POSTGRES_IMAGE", bed("AMARRE_TEST_PG_IMAGE_17")),
            ("AMARRE_IMAGE", image()),
            ("AMARRE_CONTAINER_NAME", self.sidecar()),
            ("ENV_FILE", self.env_file().to_string_lossy().into_owned()),
        ]
    }

    /// `docker compose WORDS`, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        self.plain_command(&[&["--profile", "backup"], words].concat())
    }

    fn plain_command(&self, words: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("docker");
        command.current_dir(root).args(["compose", "-f", "docker-compose.prod.yml"]);
        for file in &self.overrides {
            command.arg("-f").arg(file);
        }
        command.args(words).envs(self.environment()).stdin(Stdio::null());
        command
    }

    /// `docker compose WORDS`, as for an application that does not want the sidecar.
    pub fn without_profile(&self, words: &[&str]) -> Done {
        Done::of(&self.plain_command(words).output().expect("started"))
    }

    /// `docker compose WORDS`, with the profile `backup`.
    pub fn compose(&self, words: &[&str]) -> Done {
        Done::of(&self.command(words).output().expect("started"))
    }

    /// `docker compose exec -T backup-cron WORDS`.
    pub fn exec(&self, words: &[&str]) -> Done {
        self.compose(&[&["exec", "-T", "backup-cron"], words].concat())
    }

    /// The same, running beside the test.
    pub fn exec_beside(&self, words: &[&str]) -> Beside {
        let words = [&["exec", "-T", "backup-cron"], words].concat();
        let mut command = self.command(&words);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        Beside { child: Some(child) }
    }

    /// `docker compose run --rm --no-deps backup-cron WORDS`: the service as it is, with another command.
    pub fn run(&self, words: &[&str]) -> Done {
        self.compose(&[&["run", "--rm", "--no-deps", "-T", "backup-cron"], words].concat())
    }

    /// What the sidecar's container said since it was made.
    pub fn logs(&self) -> String {
        docker(&["logs", &self.sidecar()]).text()
    }

    /// Answer of the database `hub_chantier`, one row a line, fields between bars.
    #[track_caller]
    pub fn sql(&self, text: &str) -> String {
        self.sql_in("hub_chantier", text)
    }

    /// Answer of another database.
    #[track_caller]
    pub fn sql_in(&self, database: &str, text: &str) -> String {
        let psql =
            ["exec", "-T", "db", "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "hub", "-d", database, "-c", text];
        self.compose(&psql).expect(0).out.trim().to_owned()
    }

    /// A shell script of root with all rights, on the volume of the backups at `/b`: what a host's crontab is.
    #[track_caller]
    pub fn as_host_root(&self, script: &str) -> String {
        self.as_host_root_on("backup_data", script)
    }

    /// The same on another volume.
    #[track_caller]
    pub fn as_host_root_on(&self, volume: &str, script: &str) -> String {
        let volume = format!("{}:/b", self.volume(volume));
        let words = ["run", "--rm", "-v", &volume, "--entrypoint", "sh", &image(), "-c", script];
        docker(&words).expect(0).out
    }

    /// Removes all of it. May be called twice.
    pub fn down(&self) {
        let mut command = self.command(&["down", "-v", "--remove-orphans", "-t", "2"]);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the sidecar said:\n{}", self.logs());
        }
        self.overrides.clear();
        self.down();
    }
}

/// A program that runs beside the test, ended with it.
pub struct Beside {
    child: Option<std::process::Child>,
}

impl Beside {
    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        let child = self.child.take().expect("waited for once");
        Done::of(&child.wait_with_output().expect("waited"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
