//! Settings and the frame of the command line, through the real binary.
#![expect(clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use amarre::cli::args::Color;
use amarre::cli::prompt::confirm;
use amarre::process::privileges::{Facts, Workplace, drop_root};
use amarre::settings::Environment;
use expectrl::{Eof, Expect};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A directory of its own, with what each test puts there; nothing of this machine's environment.
struct Host {
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path().join(name), bytes).expect("written");
        self
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amarre"));
        command.args(arguments).env_clear().envs(environment.iter().copied()).current_dir(self.path());
        command
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.command(arguments, environment).output().expect("started")
    }

    /// Standard error of a start that is refused with exit code 2, paths of this host made equal.
    fn refused(&self, language: &str, environment: &[(&str, &str)]) -> String {
        let output = self.run(&["--lang", language, "config"], environment);
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(output.stdout.is_empty());
        stderr.replace(&*self.path().to_string_lossy(), "/host")
    }

    fn config(&self, environment: &[(&str, &str)]) -> Vec<Value> {
        let output = self.run(&["config", "--json"], environment);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json["settings"].as_array().expect("a list").clone()
    }
}

fn entry<'a>(config: &'a [Value], name: &str) -> &'a Value {
    config.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("{name} is missing"))
}

/// What is wrong, in both languages, as one text.
fn in_both(host: &Host, cases: &[&[(&str, &str)]]) -> String {
    let mut all = String::new();
    for case in cases {
        for language in ["en", "fr"] {
            all.push_str(&host.refused(language, case));
        }
        all.push('\n');
    }
    all
}

#[test]
fn fault_1_an_unknown_setting_is_refused_with_the_nearest_name() {
    let host = Host::new();
    insta::assert_snapshot!(in_both(&host, &[&[("BACKUP_SCHEDUEL", "x")], &[("BACKUP_XYZZY\u{1b}", "canary")]]));
    host.file(".env.production", "BACKUP_RETENTION=7\n");
    insta::assert_snapshot!("fault_1_in_the_file", in_both(&host, &[&[]]));
}

#[test]
fn fault_2_a_secret_and_its_file_together_are_refused() {
    let host = Host::new();
    host.file("secret", "canary");
    let both = [("POSTGRES_PASSWORD", "canary"), ("POSTGRES_PASSWORD_FILE", "secret")];
    let text = in_both(&host, &[&both]);
    assert!(!text.contains("canary"));
    insta::assert_snapshot!(text);
    host.file(".env.production", "AWS_SECRET_ACCESS_KEY_FILE=secret\n");
    insta::assert_snapshot!("fault_2_across_sources", in_both(&host, &[&[("AWS_SECRET_ACCESS_KEY", "canary")]]));
}

#[test]
fn fault_3_a_bad_secret_file_is_refused_and_never_printed() {
    let host = Host::new();
    host.file("empty", "").file("crlf", "canary\r\n").file("lines", "canary\ncanary\n").file("bytes", b"canary\xff");
    let cases: Vec<_> = ["absent", "empty", "crlf", "lines", "bytes", "."]
        .iter()
        .map(|name| [("POSTGRES_PASSWORD_FILE", *name)])
        .collect();
    let text = in_both(&host, &cases.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>());
    assert!(!text.contains("canary"));
    insta::assert_snapshot!(text);
}

#[test]
fn fault_3_a_password_with_a_carriage_return_is_refused_and_never_printed() {
    let text = in_both(&Host::new(), &[&[("POSTGRES_PASSWORD", "canary\r")]]);
    assert!(!text.contains("canary"));
    insta::assert_snapshot!(text);
}

#[test]
fn fault_4_a_bad_retention_is_refused() {
    let cases: [&[(&str, &str)]; 4] = [
        &[("BACKUP_RETENTION_DAYS", "0")],
        &[("RETENTION_DAYS", "-3")],
        &[("BACKUP_KEEP_VERIFIED", "many")],
        &[("BACKUP_RETENTION_DAYS", "7"), ("RETENTION_DAYS", "14")],
    ];
    insta::assert_snapshot!(in_both(&Host::new(), &cases));
}

#[test]
fn fault_5_a_bad_schedule_or_zone_is_refused() {
    let cases: [&[(&str, &str)]; 4] = [
        &[("BACKUP_SCHEDULE", "0 0 3 * * *")],
        &[("BACKUP_SCHEDULE", "0 0 31 2 *")],
        &[("BACKUP_SCHEDULE", "99 3 * * *")],
        &[("TZ", "Europe/Pari")],
    ];
    insta::assert_snapshot!(in_both(&Host::new(), &cases));
}

#[test]
fn other_bad_values_are_refused() {
    let host = Host::new();
    let long = "x".repeat(64);
    let cases: [&[(&str, &str)]; 7] = [
        &[("BACKUP_RUNNER", "podman")],
        &[("BACKUP_DIR", "/")],
        &[("DOCKER_HOST", "ssh://h")],
        &[("S3_ENDPOINT_URL", "https://u:canary@h")],
        &[("POSTGRES_DB", &long)],
        &[("ENV_FILE", "absent.env")],
        &[("BACKUP_NAME", "two\nlines")],
    ];
    let text = in_both(&host, &cases);
    assert!(!text.contains("canary"));
    insta::assert_snapshot!(text);
}

#[test]
fn a_file_that_compose_could_not_read_is_refused_with_the_line() {
    let mut all = String::new();
    for line in ["A B=1", "A='x", "A=\"x\" y", "A=pa$1", "A=${B:?canary}"] {
        let host = Host::new();
        host.file(".env.production", format!("# head\n{line}\n"));
        all.push_str(&in_both(&host, &[&[]]));
    }
    assert!(!all.contains("canary"));
    insta::assert_snapshot!(all);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let set = [("BACKUP_SCHEDUEL", "x"), ("BACKUP_RETENTION_DAYS", "0"), ("TZ", "Mars"), ("BACKUP_SCHEDULE", "x")];
    let text = Host::new().refused("en", &set);
    assert_eq!(text.matches("error: ").count(), 4, "{text}");
    assert_eq!(text.matches("hint: ").count(), 4, "{text}");
}

#[test]
fn what_is_wrong_is_told_to_programs_too() {
    let output = Host::new().run(&["config", "--json"], &[("BACKUP_RETENTION_DAYS", "0")]);
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["exit"], 2);
    assert!(value["errors"][0]["message"].as_str().is_some_and(|text| text.contains("BACKUP_RETENTION_DAYS")));
}

#[test]
fn a_value_comes_from_the_strongest_source() {
    let host = Host::new();
    host.file(
        ".env.production",
        "POSTGRES_USER='hub'\nBACKUP_RETENTION_DAYS=10\nBACKUP_LANG=fr\nBACKUP_KEEP_VERIFIED=\n",
    );
    let config = host.config(&[("BACKUP_RETENTION_DAYS", "12"), ("POSTGRES_USER", "")]);
    let of = |name| (entry(&config, name)["value"].as_str(), entry(&config, name)["origin"].as_str());
    assert_eq!(of("BACKUP_RETENTION_DAYS"), (Some("12"), Some("environment")));
    assert_eq!(of("POSTGRES_USER"), (Some("hub"), Some("env-file")), "an empty value counts as unset");
    assert_eq!(of("BACKUP_KEEP_VERIFIED"), (Some("3"), Some("default")));
    assert_eq!(of("BACKUP_LANG"), (Some("fr"), Some("env-file")));
    assert_eq!(entry(&config, "POSTGRES_USER")["path"], host.path().join(".env.production").to_string_lossy().as_ref());
    let output = host.run(&["--lang", "en", "config"], &[]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("command line"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn the_container_reads_no_file_of_the_host() {
    let host = Host::new();
    host.file(".env.production", "BACKUP_RETENTION_DAYS=10\n");
    // As another user nothing is mended and nothing is dropped; as root see below.
    let mut command = host.command(&["config", "--json"], &[("AMARRE_IN_CONTAINER", "1"), ("ENV_FILE", "absent")]);
    command.env("BACKUP_DIR", host.path().join("backups"));
    let output = command.output().expect("started");
    let config: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let config = config["settings"].as_array().expect("a list").clone();
    assert_eq!(entry(&config, "BACKUP_RETENTION_DAYS")["value"], "7");
    assert!(!config.iter().any(|entry| entry["name"] == "COMPOSE_FILE"));
}

#[test]
fn fault_86_config_never_shows_a_secret() {
    let host = Host::new();
    host.file("key", "canary-2\n").file(".env.production", "AWS_SESSION_TOKEN=canary-3\n");
    let set =
        [("POSTGRES_PASSWORD", "canary-1"), ("AWS_SECRET_ACCESS_KEY_FILE", "key"), ("AWS_ACCESS_KEY_ID", "canary-4")];
    for arguments in [["config", "--quiet"], ["config", "--json"]] {
        let output = host.run(&arguments, &set);
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(text.matches("***").count(), 4, "{text}");
    }
    let config = host.config(&set);
    assert_eq!(entry(&config, "AWS_SECRET_ACCESS_KEY")["path"], host.path().join("key").to_string_lossy().as_ref());
}

#[test]
fn every_page_of_the_help_has_its_texts_in_both_languages() {
    let host = Host::new();
    let commands = [
        "backup",
        "restore",
        "list",
        "verify",
        "prune",
        "status",
        "doctor",
        "config",
        "supervise",
        "health",
        "sync",
        "get",
        "share",
        "delete",
        "cost",
        "completions",
        "man",
    ];
    for language in ["en", "fr"] {
        for command in std::iter::once(None).chain(commands.map(Some)) {
            let arguments: Vec<_> = ["--lang", language].into_iter().chain(command).chain(["--help"]).collect();
            let output = host.run(&arguments, &[]);
            let page = String::from_utf8(output.stdout).expect("text");
            assert!(output.status.success());
            assert!(!page.contains("cli."), "a key without a text: {page}");
            assert!(language == "en" || !page.contains("Print"), "an English text: {page}");
            assert!(page.contains(if language == "en" { "Usage:" } else { "Utilisation :" }), "{page}");
            assert!(page.contains(if language == "en" { "Example" } else { "Exemple" }), "{page}");
        }
    }
}

#[test]
fn wrong_use_ends_with_2() {
    let host = Host::new();
    // A restore keeps a log: not in this machine's.
    let log = [("BACKUP_LOG_FILE", "test.log")];
    for arguments in [vec![], vec!["bakcup"], vec!["restore", "a", "--latest"], vec!["list", "--nope"], vec!["restore"]]
    {
        let output = host.run(&arguments, &log);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(host.run(&["--version"], &[]).status.code(), Some(0));
    insta::assert_snapshot!(String::from_utf8(host.run(&["restore"], &log).stderr).expect("text"));
}

#[test]
fn the_binary_goes_by_three_names() {
    let host = Host::new();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_amarre"), host.path().join("restore")).expect("linked");
    let output = Command::new(host.path().join("restore")).arg("--help").env_clear().output().expect("started");
    assert!(String::from_utf8(output.stdout).expect("text").contains("--from-s3"));
}

#[test]
fn completions_need_no_settings() {
    let output = Host::new().run(&["completions", "bash"], &[("BACKUP_RETENTION_DAYS", "0")]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).expect("text").contains("amarre"));
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
    let output = Host::new().command(&["config"], &[]).stdout(full).output().expect("started");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).expect("text").starts_with("error: cannot write to standard output"));
}

/// Runs one of the `child_` tests below in a process of its own.
fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

#[test]
#[ignore = "asks a person: started by the tests of fault 72"]
fn child_confirm() {
    let output = amarre::cli::output::Output::new(Color::Never, false, &Environment::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Under a millisecond there is no time to answer: the test of the deadline closes nothing and types nothing.
    let patience =
        if fs::exists("impatient").expect("known") { Duration::from_millis(1) } else { Duration::from_secs(60) };
    match runtime.block_on(confirm(&output, patience, &CancellationToken::new())) {
        Ok(()) => eprintln!("<confirmed>"),
        Err(why) => eprintln!("<refused: {why}>"),
    }
}

/// What comes of typing `keys` at the question.
fn typed(keys: &str) -> String {
    let mut session = expectrl::Session::spawn(child("child_confirm")).expect("a terminal");
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    session.expect("Type OUI to go on: ").expect("the question");
    session.send(keys).expect("typed");
    let captured = session.expect("<").and_then(|_| session.expect(">")).expect("the outcome");
    let text = String::from_utf8_lossy(captured.before()).into_owned();
    session.expect(Eof).expect("the end");
    text
}

#[test]
fn fault_72_the_word_typed_on_a_terminal_confirms() {
    assert_eq!(typed("OUI\n"), "confirmed");
}

#[test]
fn fault_72_anything_else_on_a_terminal_refuses() {
    for keys in ["oui\n", "OUI!\n", "OUI x\n", "OUI \n", "\n", "yes\n"] {
        assert_eq!(typed(keys), "refused: not confirmed: the answer was not 'OUI'", "{keys:?}");
    }
    assert_eq!(typed("\u{4}"), "refused: not confirmed: the input ended");
}

#[test]
fn fault_72_a_pipe_or_nothing_instead_of_a_terminal_refuses() {
    let mut process = child("child_confirm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    // It may have refused before anything could be written.
    let _ = process.stdin.take().expect("a pipe").write_all(b"OUI\n");
    let output = process.wait_with_output().expect("ended");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("<refused: not confirmed: standard input is not a terminal>"), "{stderr}");
    let output = child("child_confirm").stdin(Stdio::null()).output().expect("ended");
    assert!(String::from_utf8(output.stderr).expect("text").contains("is not a terminal"));
}

#[test]
fn fault_72_the_question_expires() {
    let host = Host::new();
    host.file("impatient", "");
    let mut command = child("child_confirm");
    command.current_dir(host.path());
    let mut session = expectrl::Session::spawn(command).expect("a terminal");
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    session.expect("<refused: not confirmed: no answer for 1 min>").expect("the outcome");
}

#[test]
#[ignore = "becomes another user: started by the tests of giving up root"]
fn child_drop_root() {
    let here = std::env::current_dir().expect("a directory");
    let place = Workplace {
        backup_dir: here.join("backups"),
        lane_dir: here.join("lane"),
        socket: Some(here.join("docker.sock")),
    };
    // The first time it starts anew as the user; the second time it returns.
    if let Err(error) = drop_root(true, &place, &mut |error| eprintln!("<mend: {error}>")) {
        return eprintln!("<refused: {error}>");
    }
    let facts = Facts::of_self();
    let read = fs::read_to_string(here.join("backups/old.sql.gz")).unwrap_or_else(|error| error.to_string());
    let wrote = fs::write(here.join("backups/new"), "x").is_ok() && fs::write(here.join("lane/fifo"), "x").is_ok();
    eprintln!(
        "<uid {} {} gid {} groups {:?} eff {:x} prm {:x} read {read} wrote {wrote}>",
        facts.uid, facts.euid, facts.gid, facts.groups, facts.cap_eff, facts.cap_prm
    );
}

/// A workplace as a container finds it, and what `setpriv` makes of root there.
fn container(backups: (u32, u32), capabilities: &str) -> Option<(Host, Command)> {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !nix::unistd::geteuid().is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs root and setpriv");
        return None;
    }
    let host = Host::new();
    for name in ["backups", "lane"] {
        fs::create_dir(host.path().join(name)).expect("made");
    }
    host.file("backups/old.sql.gz", "precious").file("docker.sock", "");
    let mode =
        |name: &str, mode| fs::set_permissions(host.path().join(name), fs::Permissions::from_mode(mode)).expect("set");
    mode("", 0o755);
    mode("backups/old.sql.gz", 0o600);
    mode("docker.sock", 0o660);
    mode("lane", 0o1777);
    mode("backups", backups.1);
    chown(host.path().join("docker.sock"), None, Some(4242)).expect("given");
    chown(host.path().join("backups"), Some(backups.0), Some(backups.0)).expect("given");
    let mut command = Command::new("setpriv");
    command.args([&format!("--bounding-set=-all{capabilities}"), "--inh-caps=-all", "--clear-groups"]);
    let inner = child("child_drop_root");
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(host.path());
    Some((host, command))
}

const THREE: &str = ",+chown,+setuid,+setgid";

#[test]
fn root_is_given_up_and_everything_can_be_used_afterwards() {
    // Made by root; given away at an earlier start and used by a host's crontab since; private to another user.
    for backups in [(0, 0o700), (10001, 0o750), (10001, 0o700), (1000, 0o700)] {
        let Some((_host, mut command)) = container(backups, THREE) else { return };
        let output = command.output().expect("started");
        let stderr = String::from_utf8(output.stderr).expect("text");
        let expected = "<uid 10001 10001 gid 10001 groups [4242] eff 0 prm 0 read precious wrote true>";
        assert!(stderr.contains(expected), "{backups:?}: {stderr}");
        assert!(!stderr.contains("<mend"), "{backups:?}: {stderr}");
    }
}

#[test]
fn without_the_capabilities_it_refuses_to_work_as_root() {
    let Some((_host, mut command)) = container((0, 0o700), ",+chown") else { return };
    let output = command.output().expect("started");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("<refused: cannot become user 10001"), "{stderr}");
}

#[test]
fn the_binary_gives_up_root_before_it_reads_the_settings() {
    use std::os::unix::fs::MetadataExt;
    let Some((host, _)) = container((0, 0o700), THREE) else { return };
    let output = host.run(
        &["config", "--json"],
        &[
            ("AMARRE_IN_CONTAINER", "1"),
            ("BACKUP_DIR", &host.path().join("backups").to_string_lossy()),
            ("BACKUP_LANE_DIR", &host.path().join("lane").to_string_lossy()),
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let owner = |name: &str| host.path().join(name).metadata().expect("there").uid();
    assert_eq!([owner("backups"), owner("backups/old.sql.gz"), owner("lane")], [10001; 3]);
    assert_eq!(host.path().join("lane").metadata().expect("there").mode() & 0o7777, 0o711);
}

/// Both services read one file; what it holds for the sidecar alone the database's container must not have.
#[test]
fn the_database_is_not_given_the_sidecars_secrets() {
    let compose = include_str!("../docker-compose.prod.yml");
    let database = compose.split_once("\n  db:\n").unwrap().1.split_once("\n  backup-cron:\n").unwrap().0;
    let secrets = amarre::settings::keys::KEYS.iter().filter(|key| key.form == amarre::settings::keys::Form::Secret);
    for key in secrets.filter(|key| key.name != "POSTGRES_PASSWORD") {
        assert!(
            database.contains(&format!("      {}: \"\"\n", key.name)),
            "{} is not blank in docker-compose.prod.yml",
            key.name
        );
    }
}
