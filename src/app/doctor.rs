//! The checks of `amarre doctor`: each looks for real at one thing a backup needs, and says how to mend it.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_i18n::t;
use serde::Serialize;

use super::App;
use crate::database::postgres::Postgres;
use crate::database::{Database as _, Server};
use crate::domain::text::{bytes, escape};
use crate::error::{Explain, Failure};
use crate::operations;
use crate::process::privileges;
use crate::runner::docker::{DockerRunner, NoFastLane};
use crate::settings;
use crate::store::Finding;
use crate::store::local::LocalStore;
use crate::supervisor::state;

/// How long a second place may take to say what it has.
const STORE_PATIENCE: Duration = Duration::from_secs(30);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but somebody should look.
    Warning,
    /// A backup or restore will fail.
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

/// Runs all checks; one that fails does not keep the others from being made.
pub async fn examine(app: &App) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(engine(app).await);
    checks.extend(lane(app).await);
    checks.extend(database(app).await);
    checks.extend(directory(app));
    checks.extend(backups(app).await);
    checks.extend(privileges_left());
    checks.extend(times(app));
    checks.extend(copies(app).await);
    checks
}

/// Finds out what each second place can do, by trying it.
///
/// # Errors
/// When the settings cannot be put to use at all.
pub async fn examine_s3(app: &App) -> Result<Vec<Check>, Failure> {
    let context = app.context().await?;
    let mut checks = Vec::new();
    for remote in &context.remotes {
        checks.push(Check::ok("s3-place", remote.store.place()));
        for finding in remote.store.probe((context.machine.random)()).await {
            checks.push(match finding {
                Finding::Can(name, seen) => Check::ok(name, of(name, seen)),
                Finding::Without(name, seen) => Check::ok(name, seen),
                Finding::Lacks(name, seen) => Check::warning(name, seen, t!(format!("doctor.{name}_fix"))),
                Finding::Failed(name, error) => Check::error(name, &error),
            });
        }
    }
    Ok(checks)
}

/// What was tried, and what else was seen.
fn of(name: &str, seen: String) -> String {
    let tried = t!(format!("doctor.{name}"));
    if seen.is_empty() { tried.into_owned() } else { format!("{tried}: {seen}") }
}

async fn engine(app: &App) -> Vec<Check> {
    if app.settings.database.runner == settings::Runner::Local {
        return vec![Check::ok("runner", t!("doctor.runner_local"))];
    }
    match app.container().await {
        Err(error) => vec![Check::error("engine", &error)],
        Ok((engine, container)) => {
            let facts = engine.facts();
            let seen =
                t!("doctor.engine", version = escape(&facts.engine), api = facts.api, address = escape(&facts.address));
            let name = escape(&container.name);
            let state = match &container.health {
                Some(health) => format!("{}, {}", container.state, health),
                None => container.state.clone(),
            };
            let found = t!(
                "doctor.container",
                name = name,
                id = container.short_id(),
                image = escape(&container.image),
                state = state
            );
            let container = if !container.is_running() {
                Check::failure("container", found, Some(t!("doctor.container_fix", name = name).into_owned()))
            } else if container.health.as_deref() == Some("unhealthy") {
                Check::warning("container", found, t!("doctor.container_unhealthy", name = name))
            } else {
                Check::ok("container", found)
            };
            vec![Check::ok("engine", seen), container]
        }
    }
}

/// How bulk travels. A container that cannot be asked is told of by the line before.
async fn lane(app: &App) -> Option<Check> {
    if app.settings.database.runner == settings::Runner::Local {
        return None;
    }
    let (engine, container) = app.container().await.ok()?;
    let dir = escape(&app.settings.lane_dir.display().to_string());
    let name = escape(&container.name);
    let runner = DockerRunner::new(engine, container).with_lane(&app.settings.lane_dir);
    Some(match runner.try_lane().await {
        Err(error) => Check::error("lane", &error),
        Ok(None) => Check::ok("lane", t!("doctor.lane", dir = dir, name = name)),
        Ok(Some(why)) => {
            let seen = t!("doctor.no_lane", reason = why);
            let fix = match why {
                NoFastLane::NotOurs { .. } => t!("doctor.lane_not_ours", dir = dir, user = privileges::USER),
                NoFastLane::Refused { .. } => t!("doctor.lane_refused", name = name),
                NoFastLane::Unmet { .. } => t!("doctor.lane_unmet", name = name),
                NoFastLane::NoDirectory { .. } | NoFastLane::NotShared { .. } => t!("doctor.lane_fix", dir = dir),
            };
            Check::warning("lane", seen, fix)
        }
    })
}

async fn database(app: &App) -> Vec<Check> {
    let database = Postgres::new(app.runner(), app.connection());
    let server = match database.server().await {
        Err(error) => return vec![Check::error("server", &error)],
        Ok(server) => server,
    };
    let mut checks = vec![versions(&server)];
    checks.push(match database.facts(database.name()).await {
        Err(error) => Check::error("database", &error),
        Ok(None) => Check::failure(
            "database",
            t!("database.no_database", database = escape(database.name())),
            Some(t!("database.no_database_hint").into_owned()),
        ),
        Ok(Some(facts)) => {
            let (tables, size) = (facts.tables, bytes(facts.record.size_bytes));
            let seen = t!(
                "doctor.database",
                name = escape(&facts.record.name),
                tables = tables,
                size = size,
                role = escape(&server.role)
            );
            if server.may_create {
                Check::ok("database", seen)
            } else {
                Check::warning("database", seen, t!("doctor.may_not_create", role = escape(&server.role)))
            }
        }
    });
    checks
}

/// The programs of the database's container are of its own version; those of a host may not be.
fn versions(server: &Server) -> Check {
    let client = server.client_version.split(|c: char| !c.is_ascii_digit()).next().and_then(|m| m.parse::<u32>().ok());
    let seen = t!("doctor.versions", server = escape(&server.version), client = escape(&server.client_version));
    match client {
        Some(client) if client < server.major() => {
            Check::failure("versions", seen, Some(t!("doctor.client_older", major = server.major()).into_owned()))
        }
        _ if !server.client_restricts => Check::warning("versions", seen, t!("doctor.client_unrestricted")),
        _ => Check::ok("versions", seen),
    }
}

fn directory(app: &App) -> Vec<Check> {
    let dir = &app.settings.backup_dir;
    let shown = dir.display();
    let store = match LocalStore::open(dir) {
        Err(error) => return vec![Check::error("directory", &error)],
        Ok(store) => store,
    };
    let facts = match store.facts() {
        Err(error) => return vec![Check::error("directory", &error)],
        Ok(facts) => facts,
    };
    let mut checks = Vec::new();
    let mode = format!("{:04o}", facts.mode & 0o7777);
    let seen = t!("doctor.directory", dir = shown, owner = facts.uid, mode = mode);
    checks.push(
        if !privileges::missing(&super::workplace(&app.settings))
            .iter()
            .all(|m| matches!(m, privileges::Missing::Socket { .. }))
        {
            Check::failure("directory", seen, Some(t!("doctor.directory_fix", dir = shown).into_owned()))
        } else if facts.is_open_to_all() {
            Check::warning("directory", seen, t!("doctor.directory_open", dir = shown))
        } else {
            Check::ok("directory", seen)
        },
    );
    checks.push(if app.settings.in_container && !facts.is_on_mount() {
        Check::warning("mount", t!("doctor.no_mount", dir = shown), t!("doctor.no_mount_fix", dir = shown))
    } else {
        Check::ok("mount", t!("doctor.mount", dir = shown))
    });
    let (free, total) = (facts.space.free, facts.space.total);
    let seen = t!("doctor.space", free = bytes(free), total = bytes(total));
    checks.push(if total > 0 && free < total / 10 {
        Check::warning("space", seen, t!("operations.no_space_hint"))
    } else {
        Check::ok("space", seen)
    });
    checks
}

async fn backups(app: &App) -> Vec<Check> {
    let context = match app.context().await {
        Err(failure) => return vec![Check::failure("backups", failure.message, failure.hint)],
        Ok(context) => context,
    };
    let catalogue = match operations::catalogue::load(&context).await {
        Err(error) => return vec![Check::error("backups", &error)],
        Ok(catalogue) => catalogue,
    };
    vec![match catalogue.latest_verified() {
        Some(entry) => Check::ok(
            "backups",
            t!(
                "doctor.newest",
                file = escape(&entry.file),
                date = local(app, entry.date),
                name = escape(&context.rules.installation)
            ),
        ),
        None => Check::warning(
            "backups",
            t!("doctor.none", name = escape(&context.rules.installation)),
            t!("operations.no_backups_hint"),
        ),
    }]
}

fn privileges_left() -> Vec<Check> {
    let facts = privileges::Facts::of_self();
    let groups = facts.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let seen = t!(
        "doctor.privileges",
        uid = facts.uid,
        gid = facts.gid,
        groups = groups,
        effective = format!("{:x}", facts.cap_eff),
        permitted = format!("{:x}", facts.cap_prm),
        no_new = facts.no_new_privs
    );
    vec![if facts.uid == 0 || facts.cap_eff != 0 {
        Check::warning("privileges", seen, t!("doctor.privileges_fix"))
    } else {
        Check::ok("privileges", seen)
    }]
}

fn times(app: &App) -> Vec<Check> {
    let schedule = match app.schedule() {
        Err(Failure { message, hint, .. }) => return vec![Check::failure("schedule", message, hint)],
        Ok(schedule) => schedule,
    };
    let now = app.clock.now();
    let next = schedule.next_after(now, app.settings.zone).map(|n| local(app, n)).unwrap_or_default();
    let mut checks = vec![Check::ok(
        "schedule",
        t!(
            "doctor.schedule",
            expression = schedule.as_str(),
            zone = app.settings.zone.name(),
            now = local(app, now),
            next = next
        ),
    )];
    checks.push(match state::look(&app.settings.backup_dir) {
        Ok((true, _)) => Check::ok("supervisor", t!("doctor.supervisor")),
        Ok((false, _)) if app.settings.in_container => {
            Check::failure("supervisor", t!("doctor.no_supervisor"), Some(t!("doctor.no_supervisor_fix").into_owned()))
        }
        Ok((false, _)) => Check::ok("supervisor", t!("doctor.supervisor_elsewhere")),
        Err(error) => Check::warning("supervisor", error.to_string(), t!("operations.intent_hint")),
    });
    checks
}

/// A backup on the same disk as the database is half a backup.
async fn copies(app: &App) -> Vec<Check> {
    if app.settings.s3.is_empty() {
        return vec![Check::warning("copies", t!("doctor.copies"), t!("operations.no_remote_hint"))];
    }
    let context = match app.context().await {
        Ok(context) => context,
        Err(failure) => return vec![Check::failure("copies", failure.message, failure.hint)],
    };
    let mut checks = Vec::new();
    for remote in &context.remotes {
        let place = remote.store.place();
        let asked = operations::catalogue::load_remote(&context, remote);
        checks.push(match tokio::time::timeout(STORE_PATIENCE, asked).await {
            Ok(Ok(there)) => {
                let count = there.entries().iter().filter(|entry| entry.own).count();
                Check::ok("copies", t!("doctor.copies_in", place = place, count = count))
            }
            Ok(Err(error)) => Check::error("copies", &error),
            Err(_) => Check::failure("copies", t!("doctor.copies_silent", place = place), None),
        });
    }
    checks
}

fn local(app: &App, time: DateTime<Utc>) -> String {
    time.with_timezone(&app.settings.zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Whether a directory is readable by everybody (fault 7), for a warning before a run.
#[must_use]
pub fn is_open_to_all(dir: &Path) -> bool {
    LocalStore::open(dir).and_then(|s| s.facts()).is_ok_and(|f| f.is_open_to_all())
}
