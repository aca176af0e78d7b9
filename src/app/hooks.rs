//! The operator's commands before and after a backup: run as they are, for a limited time, with the outcome in their environment.

use std::time::Duration;

use rust_i18n::t;

use super::App;
use crate::domain::manifest::Manifest;
use crate::domain::run::RunId;
use crate::domain::text::escape;
use crate::error::{Exit, Explain as _, Failure};
use crate::runner::local::LocalRunner;
use crate::runner::{Input, Program, Runner};
use crate::settings::hooks::{Hook, Place};

/// What a hook may say (bytes); more is a failure.
const OUTPUT: usize = 1024 * 1024;

/// How long a hook after a backup has once the run was told to end.
const LAST: Duration = Duration::from_secs(10);

/// How many lines of it go to the log.
const LINES: usize = 50;

/// What a hook is told.
pub struct About<'a> {
    /// The run.
    pub run: &'a RunId,
    /// `started`, `done`, `partial`, `failed`.
    pub outcome: &'static str,
    /// The exit code, once it is known.
    pub exit: Option<Exit>,
    /// The backup, where there is one.
    pub manifest: Option<&'a Manifest>,
    /// What went wrong.
    pub error: Option<&'a str>,
}

impl App {
    /// `BACKUP_BEFORE`.
    ///
    /// # Errors
    /// When it fails: nothing is begun then.
    pub(super) async fn before_hook(&self, run: &RunId) -> Result<(), Failure> {
        let about = About { run, outcome: "started", exit: None, manifest: None, error: None };
        match &self.settings.hooks.before {
            Some(hook) => self.run_hook("BACKUP_BEFORE", hook, &about).await,
            None => Ok(()),
        }
    }

    /// `BACKUP_AFTER`. The backup is there: a failure is said, and no more.
    pub(super) async fn after_hook(&self, run: &RunId, exit: Exit, manifest: &Manifest) {
        let outcome = if exit == Exit::Done { "done" } else { "partial" };
        let about = About { run, outcome, exit: Some(exit), manifest: Some(manifest), error: None };
        self.run_and_say("BACKUP_AFTER", self.settings.hooks.after.as_ref(), &about).await;
    }

    /// `BACKUP_ON_FAILURE`.
    pub(super) async fn failure_hook(&self, run: &RunId, failure: &Failure) {
        let about =
            About { run, outcome: "failed", exit: Some(failure.exit), manifest: None, error: Some(&failure.message) };
        self.run_and_say("BACKUP_ON_FAILURE", self.settings.hooks.on_failure.as_ref(), &about).await;
    }

    async fn run_and_say(&self, name: &'static str, hook: Option<&Hook>, about: &About<'_>) {
        if let Some(hook) = hook
            && let Err(failure) = self.run_hook(name, hook, about).await
        {
            self.warn(failure.message);
        }
    }

    async fn run_hook(&self, name: &'static str, hook: &Hook, about: &About<'_>) -> Result<(), Failure> {
        self.note(t!("hooks.begins", name = name, hook = escape(&hook.to_string())));
        let program =
            Program { argv: hook.argv.clone(), env: self.hook_environment(hook, about), ..Program::default() };
        let limit = self.settings.hooks.limit;
        let ran = async {
            let running = match hook.place {
                Place::Here => LocalRunner::new().start(&program, Input::None).await?,
                Place::Database => self.runner().start(&program, Input::None).await?,
            };
            running.collect(OUTPUT).await
        };
        let failed = |cause: String, hint: Option<String>| Failure {
            message: t!("hooks.failed", name = name, cause = escape(&cause)).into_owned(),
            hint: hint.or_else(|| Some(t!("hooks.hint", name = name).into_owned())),
            exit: Exit::Failed,
        };
        // What is dropped is ended.
        let told = async {
            self.cancel.cancelled().await;
            // What comes after a backup may be what opens the application again: it has a moment.
            if about.outcome != "started" {
                tokio::time::sleep(LAST).await;
            }
        };
        let collected = tokio::select! {
            ran = tokio::time::timeout(limit, ran) => ran,
            () = told => return Err(failed(t!("hooks.cancelled").into_owned(), None)),
        };
        match collected {
            Ok(Ok(said)) => {
                self.repeat(name, &String::from_utf8_lossy(&said.stdout));
                self.repeat(name, &said.stderr);
                Ok(())
            }
            Ok(Err(error)) => {
                self.repeat(name, error.stderr().unwrap_or_default());
                Err(failed(error.to_string(), error.hint()))
            }
            Err(_) => Err(failed(t!("hooks.too_long", seconds = limit.as_secs()).into_owned(), None)),
        }
    }

    fn repeat(&self, name: &str, text: &str) {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        for line in lines.iter().take(LINES) {
            self.note(format!("{name}: {}", escape(line)));
        }
    }

    fn hook_environment(&self, hook: &Hook, about: &About<'_>) -> Vec<(String, String)> {
        let d = &self.settings.database;
        let mut env = vec![
            ("BACKUP_RUN".to_owned(), about.run.to_string()),
            ("BACKUP_OUTCOME".to_owned(), about.outcome.to_owned()),
            ("BACKUP_DATABASE".to_owned(), d.name.clone()),
        ];
        let mut add = |name: &str, value: String| env.push((name.to_owned(), cut(value)));
        if let Some(exit) = about.exit {
            add("BACKUP_EXIT", (exit as u8).to_string());
        }
        if let Some(manifest) = about.manifest {
            add("BACKUP_FILE", self.settings.backup_dir.join(&manifest.file).display().to_string());
            add("BACKUP_BYTES", manifest.stored.bytes.to_string());
            add("BACKUP_ROWS", manifest.content.rows().to_string());
            add("BACKUP_SUSPICIOUS", manifest.suspicious.join("; "));
        }
        if let Some(error) = about.error {
            add("BACKUP_ERROR", self.without_secrets(error));
        }
        if hook.place == Place::Database {
            if let Some(user) = &d.user {
                add("PGUSER", user.clone());
            }
            add("PGDATABASE", d.name.clone());
            if let Some(password) = &d.password {
                add("PGPASSWORD", password.expose().to_owned());
            }
        }
        env
    }
}

/// The most of a value that a hook is given, bytes: a program with a longer one than 128 KiB is not started at all.
const VALUE: usize = 16 * 1024;

fn cut(mut value: String) -> String {
    if value.len() > VALUE {
        value.truncate(value.floor_char_boundary(VALUE));
        value.push('…');
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_no_program_could_be_started_with_is_cut() {
        assert_eq!(cut("é".to_owned()), "é");
        let long = cut("é".repeat(100_000));
        assert!(long.len() <= VALUE + "…".len() && long.ends_with("é…"), "{}", long.len());
    }
}
