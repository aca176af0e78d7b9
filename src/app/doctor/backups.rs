//! What there is in the directory: the journal, the installation that made it, the backups, what a dead run left, and whether the next one fits.

use rust_i18n::t;

use super::super::{Place, record};
use super::{App, Check, failed, local};
use crate::database::Facts;
use crate::domain::alert::GRACE;
use crate::domain::catalogue::{Catalogue, Entry, Reason, State};
use crate::domain::manifest::Manifest;
use crate::domain::text::{age, bytes, escape, few};
use crate::error::Explain as _;
use crate::journal::SqliteJournal;
use crate::operations;
use crate::operations::backup::likely_size;
use crate::process::lock::RunLock;
use crate::store::local::LocalStore;
use crate::supervisor::state;

/// All of it.
pub(super) async fn check(app: &App, installation: &str, place: Place, facts: Option<&Facts>) -> Vec<Check> {
    let dir = &app.settings.backup_dir;
    if LocalStore::open(dir).is_err() {
        // Its own line says so, and there is nothing in it.
        return Vec::new();
    }
    let mut checks = vec![journal(app)];
    let context = match app.context_of(installation.to_owned(), place) {
        Err(failure) => {
            checks.push(failed("backups", failure));
            return checks;
        }
        Ok(context) => context,
    };
    match operations::catalogue::load(&context).await {
        Err(error) => checks.push(Check::error("backups", &error)),
        Ok(catalogue) => {
            checks.extend(renamed(app, installation, &catalogue));
            checks.push(newest(app, installation, &catalogue));
            checks.extend(set_aside(&catalogue));
            let last = catalogue.latest_verified().and_then(|entry| entry.manifest.as_deref());
            checks.extend(room(app, facts, last));
        }
    }
    checks.extend(unfinished(app));
    checks
}

/// No backup depends on it, but nobody knows without it what ran.
fn journal(app: &App) -> Check {
    match SqliteJournal::open(&app.settings.backup_dir, app.clock.now()) {
        Err(error) => Check::warning("journal", error.to_string(), error.hint().unwrap_or_default()),
        Ok(opened) => match opened.set_aside {
            None => Check::ok("journal", t!("doctor.journal")),
            Some(path) => {
                let seen = t!("app.journal_set_aside", path = escape(&path.display().to_string()));
                Check::warning("journal", seen, t!("doctor.journal_fix"))
            }
        },
    }
}

/// A project or database that has another name now leaves its backups to the old one.
fn renamed(app: &App, installation: &str, catalogue: &Catalogue) -> Option<Check> {
    if app.settings.installation.is_some() {
        return None;
    }
    let before = record::Installation::new(&app.settings.backup_dir).former()?;
    let left = |entry: &Entry| entry.manifest.as_ref().is_some_and(|manifest| manifest.installation == before);
    if !catalogue.entries().iter().any(left) {
        return None;
    }
    let (before, now) = (escape(&before), escape(installation));
    let seen = t!("doctor.renamed", before = before, now = now);
    Some(Check::warning("installation", seen, t!("doctor.renamed_fix", before = before)))
}

fn newest(app: &App, installation: &str, catalogue: &Catalogue) -> Check {
    let name = escape(installation);
    let s = &app.settings;
    let now = app.clock.now();
    let begun = state::look(&s.backup_dir).ok().and_then(|(_, state)| state).map(|state| state.lasting.installed_at);
    let newest = catalogue.latest_verified();
    let overdue = |since| s.schedule.is_overdue(newest.map(|entry| entry.date), since, now, GRACE, s.zone);
    let Some(entry) = newest else {
        let seen = t!("doctor.none", name = name);
        let fix = t!("doctor.backup_fix").into_owned();
        return match begun {
            Some(begun) if overdue(begun) => Check::failure("backups", seen, Some(fix)),
            _ => Check::warning("backups", seen, fix),
        };
    };
    let file = escape(&entry.file);
    let old = age(now - entry.date);
    let seen = t!("doctor.newest", file = file, date = local(app, entry.date), name = name, age = old);
    let is_late = match begun {
        Some(begun) => overdue(begun),
        // The crontab of the host has hours of its own.
        None => s.schedule.is_too_old(entry.date, now, GRACE, s.zone),
    };
    if is_late {
        let fix = t!("doctor.backup_fix").into_owned();
        return Check::failure("backups", t!("doctor.overdue", seen = seen), Some(fix));
    }
    Check::ok("backups", seen)
}

/// Entries that no command would take, each with its reason.
fn set_aside(catalogue: &Catalogue) -> Option<Check> {
    let reason = |entry: &Entry| match &entry.state {
        State::SetAside(reason) => Some(format!("{}: {reason}", escape(&entry.file))),
        _ => None,
    };
    let bad: Vec<_> = catalogue.entries().iter().filter_map(reason).collect();
    let seen = t!("doctor.set_aside", count = bad.len(), names = few(&bad, "; "));
    let is_future = |entry: &Entry| matches!(&entry.state, State::SetAside(Reason::FromTheFuture(_)));
    let fix = match catalogue.entries().iter().any(is_future) {
        true => t!("doctor.future_fix"),
        false => t!("doctor.set_aside_fix"),
    };
    (!bad.is_empty()).then(|| Check::warning("catalogue", seen, fix))
}

/// Whether the next backup fits, by the last one or the database's size.
fn room(app: &App, facts: Option<&Facts>, last: Option<&Manifest>) -> Option<Check> {
    let needed = match (facts, last) {
        (Some(facts), last) => likely_size(app.settings.compression, facts, last),
        (None, Some(last)) => last.stored.bytes + last.stored.bytes / 4,
        (None, None) => return None,
    };
    let free = LocalStore::open(&app.settings.backup_dir).and_then(|store| store.facts()).ok()?.space.free;
    let seen = t!("doctor.room", needed = bytes(needed), free = bytes(free));
    Some(if free < needed {
        Check::failure("room", seen, Some(t!("operations.no_space_hint").into_owned()))
    } else {
        Check::ok("room", seen)
    })
}

/// What a dead run left.
fn unfinished(app: &App) -> Option<Check> {
    // Whoever is at work has an intent too.
    if RunLock::holder(&app.settings.backup_dir).is_ok_and(|holder| holder.is_some()) {
        return None;
    }
    let pending = app.intents().pending().ok()?;
    let runs = pending.intents.iter().map(|intent| intent.run.to_string());
    let left: Vec<_> = runs.chain(pending.unreadable.iter().map(|file| escape(file))).collect();
    let seen = t!("doctor.unfinished", names = left.join(", "));
    (!left.is_empty()).then(|| Check::warning("unfinished", seen, t!("doctor.unfinished_fix")))
}
