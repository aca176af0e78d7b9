//! `amarre completions`: what a shell needs to complete our commands, and the answers to what it asks then. The shell starts the
//! program again with `AMARRE_COMPLETE` set, so what it is told is true of this program and of the backups that there are.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::{CompleteEnv, Shells};
use tokio_util::sync::CancellationToken;

use crate::app::{self, App};
use crate::cli::args::{CompletionsArgs, command};
use crate::cli::output::Output;
use crate::domain::event::Silent;
use crate::domain::name::{self, Role};
use crate::error::{Exit, Failure};
use crate::settings::{Environment, Settings, Sources};

/// Set by the shell, to its own name.
const ASKED: &str = "AMARRE_COMPLETE";
/// How long somebody who has pressed a key waits for a bucket.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the command. It needs no settings.
///
/// # Errors
/// When standard output cannot take it.
pub fn run(output: &Output, args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&args.shell.to_string()) {
        let failed = |cause: std::io::Error| Failure { message: cause.to_string(), hint: None, exit: Exit::Failed };
        shell.write_registration(ASKED, "amarre", "amarre", "amarre", &mut script).map_err(failed)?;
    }
    output.data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}

/// Answers a shell; `None`: no shell asks.
#[must_use]
pub fn answer(arguments: &[OsString]) -> Option<Exit> {
    let directory = std::env::current_dir().ok();
    match CompleteEnv::with_factory(command).var(ASKED).try_complete(arguments.to_vec(), directory.as_deref()) {
        Ok(true) => Some(Exit::Done),
        Ok(false) => None,
        // Nobody reads what a shell is told on standard error while somebody types.
        Err(_) => Some(Exit::Failed),
    }
}

/// Lets arguments that are names of backups be completed by those that there are.
#[must_use]
pub(super) fn with_names(command: clap::Command) -> clap::Command {
    let asked = command.get_name().to_owned();
    command.mut_args(|argument| match (asked.as_str(), argument.get_id().as_str()) {
        ("restore", "file") => argument.add(ArgValueCompleter::new(here_or_file)),
        ("verify", "names") => argument.add(ArgValueCompleter::new(anywhere)),
        ("show", "shown") | ("accept", "names") => argument.add(ArgValueCompleter::new(anywhere)),
        ("delete", "wanted" | "yes_delete") => argument.add(ArgValueCompleter::new(anywhere)),
        ("get" | "share", "wanted") | ("restore", "from_s3") => argument.add(ArgValueCompleter::new(elsewhere)),
        _ => argument,
    })
}

fn here_or_file(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = settings().map(|settings| fitting(here(&settings.backup_dir), typed)).unwrap_or_default();
    if names.is_empty() { PathCompleter::file().complete(typed) } else { names }
}

fn anywhere(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(settings) = settings() else { return Vec::new() };
    let names = fitting(here(&settings.backup_dir), typed);
    if names.is_empty() { fitting(there(settings), typed) } else { names }
}

fn elsewhere(typed: &OsStr) -> Vec<CompletionCandidate> {
    settings().map(|settings| fitting(there(settings), typed)).unwrap_or_default()
}

fn settings() -> Option<Settings> {
    Settings::load(&Sources::of_process(Environment::of_process(), Default::default())).ok()
}

/// Newest first; `list` shows the same.
fn fitting(mut names: Vec<String>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names.retain(|name| name.starts_with(&*typed) && name::role(name) == Role::Data);
    names.sort_by(|a, b| date(b).cmp(date(a)).then_with(|| a.cmp(b)));
    names.dedup();
    let each = names.into_iter().enumerate();
    each.map(|(place, name)| CompletionCandidate::new(name).display_order(Some(place))).collect()
}

/// Names end in their date, whatever they begin with.
fn date(name: &str) -> &str {
    let stem = name::stem(name);
    stem.get(stem.len().saturating_sub("YYYYMMDD_HHMMSS".len())..).unwrap_or(stem)
}

fn here(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn there(settings: Settings) -> Vec<String> {
    if settings.s3.is_empty() {
        return Vec::new();
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let app = App {
        settings: Arc::new(settings),
        observer: Arc::new(Silent),
        cancel: CancellationToken::new(),
        clock: app::clock(),
        pace: app::pace(),
        work: "completions",
        asked: app::asked().into(),
        left: Arc::default(),
        spare: Arc::default(),
        post: Arc::default(),
        known: Arc::default(),
    };
    runtime.block_on(app.names_elsewhere(PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script() {
        for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
            assert!(Shells::builtins().completer(&shell.to_string()).is_some(), "{shell}");
        }
    }

    #[test]
    fn only_backups_are_offered_newest_first() {
        let names = [
            "hub_backup_20260101_030000.sql.gz",
            "hub_backup_20260102_030000.sql.zst",
            "hub_backup_20260102_030000.sql.zst.json",
            "pre_restore_safety_20260103_030000.sql.gz",
            "amarre.sqlite",
        ];
        let offered = |typed: &str| -> Vec<String> {
            let all = fitting(names.map(str::to_owned).to_vec(), OsStr::new(typed));
            all.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(offered(""), [names[3], names[1], names[0]]);
        assert_eq!(offered("hub"), [names[1], names[0]]);
        assert_eq!(offered("x"), [""; 0]);
    }
}
