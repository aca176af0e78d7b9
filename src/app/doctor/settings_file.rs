//! The settings, and the file that most of them stand in.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rust_i18n::t;

use super::{App, Check, Verdict};
use crate::domain::text::escape;
use crate::error::Explain;
use crate::settings::{Origin, Problem, Problems, Runner};

/// Rights that let everybody read or write.
pub(super) const ALL: u32 = 0o007;

/// All that is wrong with the settings, or that nothing is; and who may read their file.
pub(super) fn check(app: &App, problems: &Problems) -> Vec<Check> {
    let mut checks: Vec<_> = of(problems).collect();
    checks.extend(missing(app, problems));
    if !checks.iter().any(|check| check.verdict == Verdict::Failure) {
        let set = app.settings.entries.iter().filter(|entry| entry.origin != Origin::Default).count();
        checks.insert(0, Check::ok("settings", t!("doctor.settings", count = set)));
    }
    checks.extend(rights(app));
    checks.extend(app.settings.doubts.iter().map(|doubt| {
        let seen = t!("settings.doubt", name = escape(&doubt.name));
        Check::warning("settings", seen, t!("settings.doubt_hint", name = escape(&doubt.name), meant = doubt.meant))
    }));
    checks
}

/// A line for each problem.
pub(super) fn of(problems: &Problems) -> impl Iterator<Item = Check> + '_ {
    problems.0.iter().map(|problem| Check::error("settings", problem))
}

/// What no default stands for.
fn missing(app: &App, problems: &Problems) -> Vec<Check> {
    let database = &app.settings.database;
    let told = |name: &str| problems.0.iter().any(|problem| problem.variable() == Some(name));
    let mut checks = Vec::new();
    if let Err(problem) = database.require_user()
        && !told("POSTGRES_USER")
    {
        checks.push(Check::error("settings", &problem));
    }
    // The programs of this machine have ways of their own (`.pgpass`).
    if database.password.is_none() && database.runner == Runner::Docker && !told("POSTGRES_PASSWORD") {
        let problem = Problem::Missing { name: "POSTGRES_PASSWORD" };
        checks.push(Check::warning("settings", problem.to_string(), problem.hint().unwrap_or_default()));
    }
    checks
}

/// The file of the settings, where there is one: on a host. One that is mounted into the container belongs to somebody else there.
pub(super) fn file(app: &App) -> Option<PathBuf> {
    let path = app.settings.entry("ENV_FILE")?.value.as_ref().map(PathBuf::from)?;
    path.metadata().is_ok_and(|about| about.is_file()).then_some(path)
}

/// It holds passwords.
fn rights(app: &App) -> Option<Check> {
    let path = file(app)?;
    let about = path.metadata().ok()?;
    let mode = about.mode() & 0o7777;
    let shown = escape(&path.display().to_string());
    let seen = t!("doctor.settings_file", path = shown, mode = format!("{mode:04o}"));
    Some(if mode & ALL != 0 {
        Check::warning("settings-file", seen, t!("doctor.settings_file_fix", path = shown))
    } else {
        Check::ok("settings-file", seen)
    })
}
