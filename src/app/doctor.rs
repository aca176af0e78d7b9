//! The checks of `amarre doctor`: each looks for real at one thing a backup needs, and says how to mend it.
//!
//! One that fails does not keep the others from being made; neither do settings that cannot be used. Nothing is mended here but by
//! [`repair`], which is asked for.

use rust_i18n::t;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::OnceCell;

use super::{App, Place};
use crate::domain::event::Silent;
use crate::domain::text::escape;
use crate::error::{Explain, Failure};
use crate::runner::docker::{Container, Engine};
use crate::settings::{self, Problems};
use crate::store::local::LocalStore;

mod backups;
mod database;
mod directory;
mod engine;
mod host;
mod places;
mod repair;
mod settings_file;
mod times;

pub use repair::{Done, Repair, repair};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but somebody should look.
    Warning,
    /// A backup or restore will fail, or the backup that should be there is not.
    Failure,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name, for scripts.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do, where something is to be done.
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, seen: seen.into(), fix: None }
    }

    fn warning(name: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, seen: seen.into(), fix: Some(fix.into()) }
    }

    fn failure(name: &'static str, seen: impl Into<String>, fix: Option<String>) -> Self {
        Self { name, verdict: Verdict::Failure, seen: seen.into(), fix }
    }

    fn error(name: &'static str, error: &(impl Explain + ?Sized)) -> Self {
        Self::failure(name, error.to_string(), error.hint())
    }
}

/// Variables whose values cannot be used: what depends on them is not looked at, their line says it.
struct Unusable(BTreeSet<String>);

impl Unusable {
    fn of(problems: &Problems) -> Self {
        Self(problems.0.iter().filter_map(|problem| problem.variable()).map(str::to_owned).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn any(&self, such: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|name| such(name))
    }
}

/// Runs all checks. `problems` are those of the settings, for which defaults stand.
pub async fn examine(app: &App, problems: &Problems) -> Vec<Check> {
    let unusable = Unusable::of(problems);
    // What would be said beside the report has its line in it.
    let app = &App { observer: Arc::new(Silent), ..app.clone() };
    let mut checks = settings_file::check(app, problems);
    let (reached, found) = engine::check(app, &unusable).await;
    checks.extend(reached);
    checks.extend(host::compose(app, found.as_ref().map(|(_, container)| container)));
    checks.extend(host::scripts(app));
    let container = found.as_ref().filter(|(_, container)| container.is_running());
    checks.extend(engine::lane(app, container).await);
    let (installation, place) = installation(app, found.as_ref()).await;
    let is_local = app.settings.database.runner == settings::Runner::Local;
    let mut facts = None;
    if is_local || container.is_some() {
        let (seen, found) = database::check(app, &place).await;
        checks.extend(seen);
        facts = found;
    }
    if !unusable.has("BACKUP_DIR") {
        checks.extend(directory::check(app));
        checks.extend(backups::check(app, &installation, place, facts.as_ref()).await);
    }
    checks.extend(host::log(app, &unusable));
    checks.push(host::privileges());
    checks.extend(times::check(app, &unusable, found.as_ref().map(|(engine, _)| engine)).await);
    checks.extend(places::check(app, &installation, &unusable).await);
    checks.extend(notifications(app, &unusable).await);
    checks
}

/// Finds out what each second place can do, by trying it.
pub async fn examine_s3(app: &App, problems: &Problems) -> Vec<Check> {
    let app = &App { observer: Arc::new(Silent), ..app.clone() };
    let mut checks: Vec<_> = settings_file::of(problems).collect();
    checks.extend(places::probe(app, &Unusable::of(problems)).await);
    checks
}

/// Whether those who shall be told can be reached, and could be when there was something to tell. Nobody is told anything for this: that is
/// `amarre notify --test`.
async fn notifications(app: &App, unusable: &Unusable) -> Vec<Check> {
    const NAME: &str = "notifications";
    let channels = &app.settings.notify.channels;
    // Channels were asked for, and why there are none has its line.
    if channels.is_empty() && unusable.any(|name| name.starts_with("BACKUP_NOTIFY")) {
        return Vec::new();
    }
    if channels.is_empty() {
        return vec![Check::warning(NAME, t!("doctor.notifications_none"), t!("cmd.notify.none_hint"))];
    }
    let counts = app.post_counts().unwrap_or_default();
    let reached = app.reach_channels().await;
    let of = |(channel, reached): (&crate::settings::notify::Channel, Result<(), Failure>)| {
        let count = counts.iter().find(|count| count.channel == channel.id);
        // What was given up before the last that arrived is mended.
        let is_bad =
            |count: &&crate::journal::outbox::Count| count.waiting > 0 || count.last_given_up > count.last_sent;
        let trouble = count.filter(is_bad).and_then(|count| count.last_error.clone());
        let (kind, to) = (channel.kind, escape(&channel.shown));
        if let Err(failure) = reached {
            let seen = t!("doctor.notifications_away", kind = kind, to = to, cause = failure.message);
            let fix = failure.hint.unwrap_or_else(|| t!("doctor.notifications_fix").into_owned());
            return Check::warning(NAME, seen, fix);
        }
        match trouble {
            Some(cause) => {
                let seen = t!("doctor.notifications_trouble", kind = kind, to = to, cause = escape(&cause));
                Check::warning(NAME, seen, t!("doctor.notifications_fix"))
            }
            None => Check::ok(NAME, t!("doctor.notifications", kind = kind, to = to, level = channel.level.as_str())),
        }
    };
    channels.iter().zip(reached).map(of).collect()
}

/// The name of the installation, and where its database is. Without an engine what was found last time holds: it is not asked again.
async fn installation(app: &App, found: Option<&(Engine, Container)>) -> (String, Place) {
    let s = &app.settings;
    if s.database.runner == settings::Runner::Local || found.is_some() {
        let place = Arc::new(OnceCell::new_with(found.cloned()));
        return (app.installation(&place).await, place);
    }
    (app.known_installation().unwrap_or_else(|| format!("unknown/{}", s.database.name)), Place::default())
}

fn local(app: &App, time: DateTime<Utc>) -> String {
    time.with_timezone(&app.settings.zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}

fn failed(name: &'static str, failure: Failure) -> Check {
    Check::failure(name, failure.message, failure.hint)
}

/// Whether a directory is readable by everybody (fault 7), for a warning before a run.
#[must_use]
pub fn is_open_to_all(dir: &Path) -> bool {
    LocalStore::open(dir).and_then(|s| s.facts()).is_ok_and(|f| f.is_open_to_all())
}
