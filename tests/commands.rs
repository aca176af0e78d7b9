//! The command line as a person meets it: examples that work, tables that fit, manual pages, completion in real shells.
#![expect(clippy::expect_used, clippy::print_stderr, clippy::disallowed_methods, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use amarre::cli::args;

/// Programs that take the commands of an example apart.
const PROGRAMS: [&str; 3] = ["amarre", "backup", "restore"];

fn amarre(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amarre"));
    command.args(arguments).env_clear().env("ENV_FILE", "/dev/null").envs(environment.iter().copied());
    command.current_dir(directory).stdin(Stdio::null()).output().expect("started")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// `""`: of the program itself.
fn help(language: &str, command: &str) -> String {
    let mut arguments = vec!["--lang", language, command, "--help"];
    arguments.retain(|word| !word.is_empty());
    text(&amarre(Path::new("/"), &arguments, &[]))
}

fn commands() -> Vec<String> {
    let root = args::command();
    root.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| sub.get_name().to_owned()).collect()
}

/// The commands that a help text shows.
fn examples(help: &str) -> Vec<String> {
    let headings = ["Example: ", "Exemple : "];
    let line_of = |line: &str| {
        let first = headings.iter().find_map(|heading| line.strip_prefix(heading));
        first.or_else(|| line.strip_prefix("  ")).map(str::to_owned)
    };
    let after = help.lines().skip_while(|line| !line.starts_with("Example") && !line.starts_with("Exemple"));
    after.filter_map(line_of).collect()
}

/// The words of the first command of a line, as a shell would see them; without what is put before it.
fn words(line: &str) -> Vec<OsString> {
    let line = line.split("  #").next().unwrap_or(line);
    let line = [" | ", " > ", " && "].iter().fold(line, |line, end| line.split(end).next().unwrap_or(line));
    let mut words: Vec<String> = Vec::new();
    let mut quoted = None;
    for c in format!("{line} ").chars() {
        match (quoted, c) {
            (Some(end), c) if c == end => quoted = None,
            (None, '\'' | '"') => quoted = Some(c),
            (None, ' ') => words.push(String::new()),
            _ => match words.last_mut() {
                Some(word) => word.push(c),
                None => words.push(c.to_string()),
            },
        }
    }
    let words = words.into_iter().filter(|word| !word.is_empty());
    words.skip_while(|word| !PROGRAMS.contains(&word.as_str())).map(OsString::from).collect()
}

#[test]
fn every_help_has_an_example_that_is_understood() {
    let all = commands();
    assert!(all.len() > 14, "{all:?}");
    for command in all.iter().map(String::as_str).chain([""]) {
        let [english, french] = ["en", "fr"].map(|language| help(language, command));
        for help in [&english, &french] {
            let examples = examples(help);
            assert!(!examples.is_empty(), "amarre {command} --help has no example:\n{help}");
            for line in &examples {
                let words = words(line);
                let parsed = args::parse(args::by_name(words.clone()));
                assert!(parsed.is_ok(), "'{line}' of amarre {command} --help: {words:?}: {}", parsed.unwrap_err());
                assert!(
                    command.is_empty() || words.iter().any(|word| word == command),
                    "'{line}' is of another command"
                );
            }
            let wide: Vec<_> = help.lines().filter(|line| line.chars().count() > 100).collect();
            assert!(wide.is_empty(), "amarre {command} --help: {wide:?}");
        }
        assert_eq!(examples(&english).len(), examples(&french).len(), "amarre {command}");
    }
}

#[test]
fn the_readme_names_every_option_and_no_other() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("read");
    let root = args::command();
    // Those of every command are told once.
    let common = ["lang", "quiet", "color", "help", "version"];
    for command in root.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = command.get_name();
        let row = readme.lines().find(|line| line.starts_with(&format!("| `amarre {name}` |")));
        let row = row.unwrap_or_else(|| panic!("README.md: no row for 'amarre {name}'"));
        let known = command.get_arguments().filter_map(clap::Arg::get_long).filter(|long| !common.contains(long));
        let known: BTreeSet<String> = known.map(|long| format!("--{long}")).collect();
        // An option stands at the beginning of its words: `restore --undo` is another command's.
        let told = row.split('`').skip(1).step_by(2).filter(|words| words.starts_with("--"));
        let told = told.filter_map(|words| words.split(' ').next()).map(str::to_owned);
        assert_eq!(told.collect::<BTreeSet<_>>(), known, "README.md, options of 'amarre {name}'");
    }
}

#[test]
fn colours_only_where_they_are_asked_for() {
    let host = tempfile::tempdir().expect("a directory");
    let said = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = amarre(host.path(), arguments, environment);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("text").contains('\u{1b}')
    };
    assert!(!said(&["restore"], &[]), "a pipe has none");
    assert!(said(&["restore", "--color", "always"], &[]));
    assert!(said(&["restore", "--color=always"], &[("NO_COLOR", "1")]), "what is typed goes before");
    assert!(!said(&["restore", "--color", "never"], &[]));
    // On a terminal there are, unless NO_COLOR says otherwise.
    for (environment, coloured) in [(&[("TERM", "xterm")][..], true), (&[("TERM", "xterm"), ("NO_COLOR", "1")], false)]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amarre"));
        command.arg("restore").env_clear().env("ENV_FILE", "/dev/null").envs(environment.iter().copied());
        let mut session = expectrl::Session::spawn(command).expect("a terminal");
        let printed = expectrl::Expect::expect(&mut session, expectrl::Eof).expect("the end");
        let text = String::from_utf8_lossy(printed.as_bytes()).into_owned();
        assert!(text.contains("error:"), "{text:?}");
        assert_eq!(text.contains('\u{1b}'), coloured, "{environment:?}: {text:?}");
    }
}

#[test]
fn tables_fit_a_terminal_of_80_columns() {
    let host = bed("bash");
    let broken = "hub_chantier_backup_20260103_030000.sql.gz";
    for name in [broken.to_owned(), format!("{broken}.json")] {
        fs::write(host.path().join("backups").join(name), "no manifest").expect("written");
    }
    let environment = [
        ("BACKUP_DIR", host.path().join("backups").display().to_string()),
        ("BACKUP_NAME", "somewhere/hub_chantier".to_owned()),
        ("DOCKER_HOST", "unix:///nonexistent/docker.sock".to_owned()),
        ("ENV_FILE", "/dev/null".to_owned()),
        ("BACKUP_LOG_FILE", host.path().join("log").display().to_string()),
        ("TERM", "xterm".to_owned()),
    ];
    // A store that nobody reaches has its column too.
    let bucket = [
        ("S3_BACKUP_BUCKET", "bucket"),
        ("S3_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("BACKUP_S3_DEADLINE_MINUTES", "1"),
    ];
    let cases = [(&["list"][..], &[][..]), (&["list"], &bucket), (&["list", "--lang", "fr"], &bucket)];
    for (arguments, more) in cases.into_iter().chain([(&["config"][..], &[][..]), (&["cost"], &[])]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amarre"));
        command.args(arguments).env_clear().envs(environment.iter().cloned()).envs(more.iter().copied());
        let mut session = expectrl::Session::spawn(command).expect("a terminal");
        session.get_process_mut().set_window_size(80, 50).expect("a size");
        session.set_expect_timeout(Some(std::time::Duration::from_secs(60)));
        let printed = expectrl::Expect::expect(&mut session, expectrl::Eof).expect("the end");
        let text = String::from_utf8_lossy(printed.as_bytes()).into_owned();
        // Messages are sentences, which the terminal wraps.
        let is_row = |line: &&str| line.contains("  ") && !line.contains(": ");
        let rows: Vec<&str> = text.lines().map(|line| line.trim_end()).filter(is_row).collect();
        assert!(rows.len() > 1, "{arguments:?}: {text}");
        let wide: Vec<_> = rows.iter().filter(|row| row.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{arguments:?}: {wide:#?}");
        // Only its last column is more than one line high.
        let is_whole = |row: &&&str| row.contains("_2026010") || row.starts_with(&" ".repeat(40)) || **row == rows[0];
        let torn: Vec<_> = rows.iter().filter(|row| arguments[0] == "list" && !is_whole(row)).collect();
        assert!(torn.is_empty(), "{arguments:?} {more:?}: {torn:#?}\n{text}");
    }
}

// --- manual pages ---------------------------------------------------------------------------------------------------

#[test]
fn manual_pages_are_whole_and_lint_clean_in_both_languages() {
    let host = tempfile::tempdir().expect("a directory");
    let output = amarre(host.path(), &["man", "--dir", "man"], &[("LANG", "C.UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for below in ["man/man1", "man/fr/man1"] {
        let names: BTreeSet<String> = fs::read_dir(host.path().join(below))
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        let expected =
            commands().iter().map(|name| format!("amarre-{name}.1")).chain(["amarre.1".to_owned()]).collect();
        assert_eq!(names, expected, "{below}");
    }
    let restore = |below: &str| fs::read_to_string(host.path().join(below).join("amarre-restore.1")).expect("read");
    assert!(restore("man/man1").contains("\"EXAMPLES\"") && restore("man/man1").contains("Replace the database"));
    assert!(restore("man/fr/man1").contains("\"EXEMPLES\"") && restore("man/fr/man1").contains("Remplacer la base"));
    let alone = text(&amarre(host.path(), &["man"], &[]));
    assert_eq!(alone, fs::read_to_string(host.path().join("man/man1/amarre.1")).expect("read"));
    let Some(groff) = found("groff") else {
        return skipped("manual pages", "groff is not installed");
    };
    for page in pages(&host.path().join("man")) {
        let checked = Command::new(&groff)
            .args(["-man", "-Tutf8", "-Kutf8", "-ww", "-z"])
            .arg(&page)
            .output()
            .expect("groff ran");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success() && said.is_empty(), "{}: {said}", page.display());
    }
}

fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(pages(&path)) } else { found.push(path) }
    }
    found
}

// --- completion -----------------------------------------------------------------------------------------------------

const NAMES: [&str; 3] = [
    "hub_chantier_backup_20260101_030000.sql.gz",
    "hub_chantier_backup_20260102_030000.sql.gz",
    "pre_restore_safety_20260102_040000.sql.gz",
];

/// A directory of backups, the program on the PATH, and the script of a shell.
fn bed(shell: &str) -> tempfile::TempDir {
    let host = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(host.path().join("backups")).expect("made");
    fs::create_dir_all(host.path().join("bin")).expect("made");
    for name in NAMES.iter().chain(&["amarre.sqlite", "hub_chantier_backup_20260101_030000.sql.gz.json"]) {
        fs::write(host.path().join("backups").join(name), "x").expect("written");
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_amarre"), host.path().join("bin/amarre")).expect("linked");
    let script = text(&amarre(host.path(), &["completions", shell], &[]));
    fs::write(host.path().join("script"), script).expect("written");
    host
}

/// What a shell prints that runs `program` there.
fn in_shell(shell: &Path, arguments: &[&str], host: &Path, program: &str) -> String {
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", host.join("bin").display());
    let backups = host.join("backups").display().to_string();
    let mut command = Command::new(shell);
    command.args(arguments).env_clear().env("PATH", path).env("HOME", host).env("LANG", "C.UTF-8");
    command.env("ENV_FILE", "/dev/null").env("BACKUP_DIR", backups).env("BACKUP_LANG", "en").current_dir(host);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("piped").write_all(program.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", shell.display());
    String::from_utf8(output.stdout).expect("text")
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_commands_options_and_names() {
    let Some(bash) = found("bash") else { return skipped("completion", "bash is not installed") };
    let host = bed("bash");
    // As readline does it: the function that was registered, told what stands there.
    let ask = |words: &[&str]| {
        let program = format!(
            "source ./script; COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9
             f=$(complete -p amarre | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \"$f\" amarre \"${{COMP_WORDS[COMP_CWORD]}}\" ''
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1
        );
        let printed = in_shell(&bash, &["--norc", "--noprofile"], host.path(), &program);
        lines(&printed).into_iter().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ask(&["amarre", "res"]), ["restore"]);
    assert!(ask(&["amarre", "restore", "--"]).contains(&"--yes-replace".to_owned()));
    assert_eq!(ask(&["amarre", "completions", "ba"]), ["bash"]);
    assert_eq!(
        ask(&["amarre", "restore", ""])[..3],
        [NAMES[2], NAMES[1], NAMES[0]],
        "newest first, before the options"
    );
    for command in ["restore", "verify", "delete"] {
        assert_eq!(ask(&["amarre", command, "hub_chantier_backup_20260102"]), [NAMES[1]], "{command}");
    }
    assert_eq!(ask(&["amarre", "verify", NAMES[0], "pre"]), [NAMES[2]]);
    assert_eq!(ask(&["amarre", "restore", "./scr"]), ["./script"], "a file of another place");
}

#[test]
fn zsh_and_fish_complete_names() {
    match found("fish") {
        None => skipped("completion in fish", "fish is not installed"),
        Some(fish) => {
            let host = bed("fish");
            let program = "source ./script; complete -C 'amarre verify hub_chantier_backup_20260102'";
            let printed = in_shell(&fish, &["--no-config"], host.path(), program);
            assert_eq!(lines(&printed).first().and_then(|line| line.split('\t').next()), Some(NAMES[1]), "{printed}");
        }
    }
    match found("zsh") {
        None => skipped("completion in zsh", "zsh is not installed"),
        Some(zsh) => {
            let host = bed("zsh");
            // Its completion needs a terminal: the script loads, and what it asks the program is answered.
            let program =
                "autoload -Uz compinit; compinit -u; source ./script; whence -w _clap_dynamic_completer_amarre
                _CLAP_IFS=$'\\n' _CLAP_COMPLETE_INDEX=2 AMARRE_COMPLETE=zsh amarre -- amarre delete pre";
            let printed = in_shell(&zsh, &["-f"], host.path(), program);
            assert!(printed.contains("function") && printed.contains(NAMES[2]), "{printed}");
        }
    }
}

#[test]
fn a_shell_that_asks_never_hears_of_a_fault() {
    let host = tempfile::tempdir().expect("a directory");
    let environment = [
        ("AMARRE_COMPLETE", "bash"),
        ("_CLAP_COMPLETE_INDEX", "2"),
        ("_CLAP_IFS", "\n"),
        ("BACKUP_RETENTION_DAYS", "0"),
        ("BACKUP_DIR", "/nonexistent"),
    ];
    let output = amarre(host.path(), &["--", "amarre", "verify", "x"], &environment);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
    if let Some(log) = std::env::var_os("AMARRE_SKIPPED_LOG") {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(log).expect("opened");
        writeln!(log, "{test}: {why}").expect("written");
    }
}
