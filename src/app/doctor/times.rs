//! The clock and the zone, the schedule and who keeps it.

use chrono::{DateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use rust_i18n::t;

use super::{App, Check, Unusable, local};
use crate::domain::schedule;
use crate::process::lock::RunLock;
use crate::runner::docker::Engine;
use crate::settings::Origin;
use crate::supervisor::{health, state};

/// Clocks of two machines differ; more than this is wrong.
const FAR: TimeDelta = TimeDelta::seconds(60);

/// All of it.
pub(super) async fn check(app: &App, unusable: &Unusable, engine: Option<&Engine>) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(engine) = engine {
        checks.extend(clock(app, engine).await);
    }
    if !unusable.has("TZ") {
        checks.push(zone(app));
    }
    if !unusable.has("TZ") && !unusable.has("BACKUP_SCHEDULE") {
        checks.push(slots(app));
    }
    if !unusable.has("BACKUP_DIR") {
        checks.push(supervisor(app));
    }
    checks
}

/// This clock beside the engine's; the stores' have lines of their own.
async fn clock(app: &App, engine: &Engine) -> Option<Check> {
    let there = engine.date().await?;
    let ahead = there - app.clock.now();
    let seen = t!("doctor.clock", now = local(app, app.clock.now()), seconds = ahead.num_seconds());
    Some(if ahead.abs() > FAR {
        Check::warning("clock", seen, t!("doctor.clock_fix"))
    } else {
        Check::ok("clock", seen)
    })
}

/// The zone of the schedule and of file names, beside that of the machine where nobody chose one.
fn zone(app: &App) -> Check {
    let ours = app.settings.zone;
    let now = app.clock.now();
    let seen = t!("doctor.zone", zone = ours.name(), offset = offset(ours, now));
    let is_chosen = app.settings.entry("TZ").is_some_and(|entry| entry.origin != Origin::Default);
    match of_machine().filter(|_| !is_chosen && !app.settings.in_container) {
        // A server that keeps UTC says nothing about where its people are.
        Some(machine) if machine != Tz::UTC && machine != Tz::Etc__UTC && offset(machine, now) != offset(ours, now) => {
            Check::warning("zone", seen, t!("doctor.zone_fix", machine = machine.name()))
        }
        _ => Check::ok("zone", seen),
    }
}

fn offset(zone: Tz, now: DateTime<Utc>) -> String {
    zone.offset_from_utc_datetime(&now.naive_utc()).fix().to_string()
}

/// The zone that the machine is set to, where it says so.
fn of_machine() -> Option<Tz> {
    let link = std::fs::read_link("/etc/localtime").ok()?;
    let (_, name) = link.to_str()?.split_once("zoneinfo/")?;
    schedule::zone(name).ok()
}

fn slots(app: &App) -> Check {
    let schedule = &app.settings.schedule;
    let now = app.clock.now();
    let next = schedule.next_after(now, app.settings.zone).map(|next| local(app, next)).unwrap_or_default();
    let zone = app.settings.zone.name();
    let seen = t!("doctor.schedule", expression = schedule.as_str(), zone = zone, now = local(app, now), next = next);
    Check::ok("schedule", seen)
}

fn supervisor(app: &App) -> Check {
    let dir = &app.settings.backup_dir;
    match state::look(dir) {
        Ok((true, state)) => {
            let at_work = RunLock::holder(dir).is_ok_and(|holder| holder.is_some());
            let silent = state.map(|state| app.clock.now() - state.life.beat_at).filter(|since| *since > health::STUCK);
            match silent.filter(|_| !at_work) {
                Some(since) => {
                    let seen = t!("doctor.supervisor_stuck", minutes = since.num_minutes());
                    Check::failure("supervisor", seen, Some(t!("doctor.supervisor_stuck_fix").into_owned()))
                }
                None => Check::ok("supervisor", t!("doctor.supervisor")),
            }
        }
        Ok((false, _)) if app.settings.in_container => {
            Check::failure("supervisor", t!("doctor.no_supervisor"), Some(t!("doctor.no_supervisor_fix").into_owned()))
        }
        // One ran here, and was not taken away on purpose for all that is known.
        Ok((false, Some(_))) => {
            Check::warning("supervisor", t!("doctor.supervisor_gone"), t!("doctor.supervisor_gone_fix"))
        }
        Ok((false, None)) => Check::ok("supervisor", t!("doctor.supervisor_elsewhere")),
        Err(error) => Check::warning("supervisor", error.to_string(), t!("operations.intent_hint")),
    }
}
