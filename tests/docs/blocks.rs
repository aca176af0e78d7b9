//! Command blocks of the documents: what is marked as runnable can be run, and what is called is there to be called.
//! They are run for real by `tests/docs_run.sh`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use amarre::cli::args;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::{documents, prose, read, root};

/// Documents whose set-up, restores and recoveries must run as written.
const RUN: [&str; 3] = ["README.md", "docs/BACKUP_QUICKSTART.md", "docs/RECOVERY.md"];

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line of its fence, from 1 on.
    pub line: usize,
    /// What stands behind the fence.
    pub info: String,
    /// What stands in it.
    pub text: String,
}

impl Block {
    /// The words after `sh runnable`; `None`: it is not marked.
    fn runnable(&self) -> Option<Vec<&str>> {
        let mut words = self.info.split_whitespace();
        (words.next() == Some("sh") && words.next() == Some("runnable")).then(|| words.collect())
    }

    fn is_shell(&self) -> bool {
        self.info.split_whitespace().next() == Some("sh")
    }

    /// Its lines without comments: those are translated.
    pub fn commands(&self) -> Vec<String> {
        let lines = self.text.lines().map(|line| match line.strip_prefix('#') {
            Some(_) => "",
            None => line.split_once(" #").map_or(line, |(command, _)| command).trim_end(),
        });
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// All blocks of `text`.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                found.push(Block { line: index + 1, info: info.to_owned(), text: String::new() });
            }
        } else if inside && let Some(block) = found.last_mut() {
            block.text += line;
            block.text.push('\n');
        }
    }
    found
}

fn runnable(document: &str) -> Vec<Block> {
    blocks(&read(&root().join(document))).into_iter().filter(|block| block.runnable().is_some()).collect()
}

#[test]
fn blocks_are_read_as_they_are_meant() {
    let text = "a\n```sh runnable needs=backup answer=OUI\nx   # why\n# only a comment\ny\n```\n```console\nz\n```\n";
    let found = blocks(text);
    assert_eq!(found.iter().map(|block| block.line).collect::<Vec<_>>(), [2, 7]);
    assert_eq!(found[0].runnable(), Some(vec!["needs=backup", "answer=OUI"]));
    assert_eq!(found[0].commands(), ["x", "y"]);
    assert_eq!(found[1].runnable(), None);
}

#[test]
fn runnable_blocks_ask_for_nothing_that_the_runner_does_not_know() {
    let runner = read(&root().join("tests/docs_run.sh"));
    let mut needed = BTreeSet::new();
    for document in documents() {
        for block in blocks(&read(&document)) {
            for word in block.runnable().unwrap_or_default() {
                let place = format!("{}:{}: {word}", document.display(), block.line);
                match word.split_once('=') {
                    Some(("needs", state)) => {
                        needed.insert(state.replace('-', "_"));
                    }
                    Some(("answer", answer)) => assert_eq!(answer, "OUI", "{place}"),
                    _ => panic!("{place}"),
                }
            }
        }
    }
    let made: BTreeSet<String> = runner
        .lines()
        .filter_map(|line| line.strip_prefix("need_")?.split_once("() {").map(|(state, _)| state.to_owned()))
        .collect();
    assert_eq!(needed, made, "tests/docs_run.sh: the functions need_…, and the states that blocks need");
}

#[test]
fn the_runner_finds_the_blocks_that_are_marked() {
    for document in RUN {
        assert!(!runnable(document).is_empty(), "{document}: nothing is marked as runnable");
    }
    let told = Command::new(root().join("tests/docs_run.sh")).arg("--list").output().expect("the runner starts");
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    let mut expected = String::new();
    for document in RUN {
        for block in runnable(document) {
            let words = block.runnable().unwrap_or_default().join(" ");
            expected += &format!("{document}:{} {words}\n", block.line);
        }
    }
    assert_eq!(told, expected);
}

/// A block that is run stands for itself: no word that a reader would have to replace.
#[test]
fn runnable_blocks_hold_no_placeholder() {
    for document in documents() {
        for block in blocks(&read(&document)).into_iter().filter(|block| block.runnable().is_some()) {
            for line in block.commands() {
                let place = format!("{}:{}: {line}", document.display(), block.line);
                let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '…'));
                for word in words {
                    assert!(!["NAME", "FILE", "NOM", "FICHIER", "…", "DATABASE"].contains(&word), "{place}");
                }
            }
        }
    }
}

#[test]
fn every_call_of_amarre_in_the_documents_is_one() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    // What was once said of calls that are no more, and names of contenders.
    let other = |document: &Path| document.ends_with("CHANGELOG.md") || document.ends_with("BENCHMARKS.md");
    for document in documents().into_iter().filter(|document| !other(document)) {
        let text = read(&document);
        let shell = blocks(&text).into_iter().filter(Block::is_shell);
        let lines: Vec<String> = shell.flat_map(|block| block.commands()).collect();
        let of_blocks = lines.iter().flat_map(|line| line.split("&&")).filter_map(call_of_line);
        let inline: Vec<&str> = prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
        let of_prose = inline.into_iter().filter_map(call_of_prose);
        for words in of_blocks.chain(of_prose) {
            seen += 1;
            if let Err(error) = parses(&words) {
                wrong.push(format!("{}: {}: {error}", document.display(), words.join(" ")));
            }
        }
    }
    assert!(seen > 100, "only {seen} calls were found");
    assert!(wrong.is_empty(), "calls that are none:\n{}", wrong.join("\n"));
}

#[test]
fn calls_are_told_from_other_text() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(call_of_line("docker compose exec backup-cron restore --latest"), Some(words("restore --latest")));
    assert_eq!(call_of_line("BACKUP_DIR=/srv amarre backup >/dev/null"), Some(words("amarre backup")));
    assert_eq!(call_of_line("docker compose exec -T backup-cron cat /x"), None);
    assert_eq!(call_of_prose("verify --remote"), Some(words("amarre verify --remote")));
    assert_eq!(call_of_prose("amarre list --json"), Some(words("amarre list --json")));
    assert_eq!(call_of_prose("restore"), None, "a name, not a call");
    assert!(parses(&words("amarre restore --undo")).is_ok());
    assert!(parses(&words("amarre restore --undone")).is_err());
    assert!(parses(&words("amarre reverify")).is_err());
}

/// The words of the call of this program in a line of a shell.
fn call_of_line(line: impl AsRef<str>) -> Option<Vec<String>> {
    let line = line.as_ref();
    let words: Vec<&str> = line.split_whitespace().take_while(|word| !matches!(*word, "|" | ";")).collect();
    let after = match words.iter().position(|word| *word == "backup-cron") {
        Some(at) if line.contains("exec") || line.contains("run ") => at + 1,
        Some(_) => return None,
        None => words.iter().position(|word| *word == "amarre")?,
    };
    let called = words.get(after..)?;
    let ours = called.first().is_some_and(|word| ["amarre", "backup", "restore"].contains(word));
    let called: Vec<_> =
        called.iter().take_while(|word| !word.starts_with('>')).map(|word| (*word).to_owned()).collect();
    (ours && called != ["amarre"]).then_some(called)
}

/// The words of a call that is quoted in a sentence; a command alone is only named.
fn call_of_prose(quoted: &str) -> Option<Vec<String>> {
    if let Some(call) = quoted.find("backup-cron ").filter(|_| quoted.contains("exec")) {
        return call_of_line(format!("exec {}", &quoted[call..]));
    }
    let words: Vec<&str> = quoted.split_whitespace().collect();
    let general = |word: &&str| ["COMMAND", "COMMANDE"].contains(word) || word.contains('…');
    let (first, rest) = words.split_first()?;
    if rest.is_empty() || rest.iter().any(general) {
        return None;
    }
    let known = args::Cli::command().get_subcommands().any(|command| command.get_name() == *first);
    let own = (*first == "amarre").then_some(&words[..1]);
    let call = own.or_else(|| known.then_some(&[]))?;
    let amarre = call.is_empty().then_some("amarre");
    Some(amarre.into_iter().chain(words).map(str::to_owned).collect())
}

/// Whether the command line takes it. A value that is left out in a sentence is no mistake.
fn parses(words: &[String]) -> Result<(), String> {
    let arguments = args::by_name(words.iter().map(|word| OsString::from(word.trim_matches(['\'', '"']))));
    match args::parse(arguments) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
            ErrorKind::InvalidValue if words.last().is_some_and(|last| last.starts_with("--")) => Ok(()),
            kind => Err(format!("{kind:?}")),
        },
    }
}

/// What `document` says in blocks of commands and settings.
pub fn same_in_every_language(document: &Path) -> Vec<(String, Vec<String>)> {
    let translated = ["console", "yaml"];
    blocks(&read(document))
        .into_iter()
        .map(|block| {
            let shown = translated.contains(&block.info.as_str());
            let commands = if shown { Vec::new() } else { block.commands() };
            (block.info, commands)
        })
        .collect()
}
