//! Looks whether somebody is needed: what is there, here and elsewhere, against what should be. The rules are
//! [`crate::domain::alert`]'s; whom it is told is not known here.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_i18n::t;

use super::{Context, Error, Remote, catalogue, sync};
use crate::domain::alert::{self, Broken, Found, Jump, Kind, Lack, LastRun, Restored, Seen};
use crate::domain::catalogue::Catalogue;
use crate::domain::name;
use crate::domain::schedule::Schedule;
use crate::error::Exit;
use crate::journal::{self, End, Outcome, Run, RunKind};

/// Among so many runs the last two backups are.
const RECENT: u32 = 50;
/// How long a second place may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(30);

/// What should be.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// When backups are due.
    pub schedule: &'a Schedule,
    /// In which zone.
    pub zone: Tz,
    /// Since when backups are expected here; `None`: since the journal was begun.
    pub since: Option<DateTime<Utc>>,
    /// The least share of the disk that shall be free, percent.
    pub floor: u32,
    /// The last jump of the clock.
    pub jump: Option<Jump>,
    /// A supervisor ran here and does not now.
    pub stopped: bool,
    /// A run is at work: what it writes makes the disk look fuller than it will be.
    pub at_work: bool,
    /// The supervisor makes a backup at this moment: much of what can be said is another thing in a minute.
    pub backing_up: bool,
    /// How the last backup ended, where the journal takes nothing.
    pub unwritten: Option<End>,
    /// What is missing elsewhere is being sent.
    pub syncing: bool,
    /// There is a directory for the fast lane: without one the slow one may be meant.
    pub lane: bool,
}

/// What is wrong now, and what nobody can tell now.
///
/// # Errors
/// When the directory of the backups cannot be listed.
pub async fn look(context: &Context, expected: &Expected<'_>) -> Result<Found, Error> {
    let here = catalogue::load(context).await?;
    let mut lacks = Vec::new();
    for remote in context.remotes.iter().filter(|_| !expected.syncing) {
        lacks.push(lack(context, remote, &here).await?);
    }
    let now = context.clock.now();
    let since = expected.since.or_else(|| context.journal.begun_at().ok()).unwrap_or(now);
    let disk = match expected.at_work {
        false => context.store.space().await?,
        true => None,
    };
    let mut unknown = Vec::new();
    // Whoever is killed in each backup is always in the middle of one.
    let is_killed = is_killed_again_and_again(context);
    if expected.at_work {
        // Neither how it will end.
        unknown.extend([Kind::DiskLow, Kind::WillNotFit, Kind::JobFailed]);
    }
    if expected.backing_up {
        unknown.push(Kind::Suspicious);
    }
    if expected.backing_up && !is_killed {
        unknown.push(Kind::NoBackup);
    }
    if (expected.at_work || expected.backing_up) && !is_killed {
        unknown.push(Kind::RunFailed);
    }
    if !context.journal.keeps_letters() {
        // It remembers nothing: neither readings nor what was accepted, nor how runs ended.
        unknown.extend([Kind::Damaged, Kind::Suspicious, Kind::SlowRestore, Kind::JobFailed, Kind::SlowLane]);
        if expected.unwritten.is_none() {
            unknown.push(Kind::RunFailed);
        }
    }
    if expected.syncing {
        unknown.push(Kind::UploadMissing);
    }
    // What cannot be read is no reason to say that all is well, nor to say nothing.
    let last = last_runs(context).unwrap_or_else(|error| {
        context.warn(error.to_string());
        unknown.extend([Kind::RunFailed, Kind::SlowRestore, Kind::JobFailed]);
        Last::default()
    });
    let Last { backup: last_backup, restore: last_restore, broken } = last;
    let last_backup = expected.unwritten.as_ref().map_or(last_backup, |end| judged(end, end.at));
    let mut firing: BTreeSet<Kind> = context.journal.firing().unwrap_or_default().iter().map(|one| one.kind).collect();
    if !expected.lane {
        firing.remove(&Kind::SlowLane);
    }
    let alerts = alert::judge(&Seen {
        now,
        schedule: expected.schedule,
        zone: expected.zone,
        since,
        catalogue: &here,
        last_backup,
        broken: &broken,
        last_restore,
        lacks: &lacks,
        disk,
        floor: expected.floor,
        jump: expected.jump,
        stopped: expected.stopped,
        supervised: expected.since.is_some(),
        firing,
    });
    Ok(Found { alerts, unknown })
}

/// Whether the last two backups never said how they ended: nobody who is told of it need wait for the end of the next.
fn is_killed_again_and_again(context: &Context) -> bool {
    let runs = context.journal.runs(RECENT).unwrap_or_default();
    let ends = runs.iter().filter(|run| run.kind == RunKind::Backup).filter_map(|run| run.end.as_ref());
    let mut ends = ends.filter(|end| end.outcome != Outcome::Skipped);
    let mut is_interrupted = || ends.next().is_some_and(|end| end.outcome == Outcome::Interrupted);
    is_interrupted() && is_interrupted()
}

/// How the last runs ended.
#[derive(Default)]
struct Last {
    backup: Option<LastRun>,
    restore: Option<Restored>,
    broken: Vec<Broken>,
}

fn last_runs(context: &Context) -> Result<Last, journal::Error> {
    let backup = context.journal.last_ended(RunKind::Backup)?;
    let restore = context.journal.last_with(RunKind::Restore, Outcome::Done)?;
    let mut broken = Vec::new();
    // What a second place lacks is another alert; what a person deletes is seen by that person.
    for kind in [RunKind::Prune, RunKind::Verify, RunKind::Restore, RunKind::Undo] {
        let Some(run) = context.journal.last_ended(kind)? else { continue };
        broken.extend(broken_of(&run));
    }
    let (backup, restore) = (backup.as_ref().and_then(last_backup), restore.as_ref().and_then(last_restore));
    Ok(Last { backup, restore, broken })
}

/// A run that failed, and not by how it was asked for or since somebody ended it (it has no error then).
fn broken_of(run: &Run) -> Option<Broken> {
    let end = run.end.as_ref()?;
    // What a reading found in a backup is told of that backup.
    let is_finding = run.kind == RunKind::Verify && end.exit == Exit::ProofFailed as u8;
    let is_mistake = end.exit == Exit::Usage as u8 || end.exit == Exit::NotConfirmed as u8;
    let error = judged(end, end.at)?.error.filter(|error| !error.is_empty() && !is_finding && !is_mistake)?;
    let job = if run.kind == RunKind::Undo { "restore --undo" } else { run.kind.as_str() };
    Some(Broken { job, at: end.at, error, scheduled: run.asked.as_deref() == Some("schedule") })
}

fn last_backup(run: &Run) -> Option<LastRun> {
    judged(run.end.as_ref()?, run.started_at)
}

fn judged(end: &End, at: DateTime<Utc>) -> Option<LastRun> {
    let error = match end.outcome {
        Outcome::Skipped => return None,
        Outcome::Done | Outcome::Partial => None,
        Outcome::Interrupted => Some(t!("alert.run_failed.interrupted").into_owned()),
        Outcome::Failed => Some(end.error.clone().unwrap_or_default()),
    };
    Some(LastRun { at, error })
}

fn last_restore(run: &Run) -> Option<Restored> {
    run.end.as_ref().map(|end| Restored { at: end.at, took: end.at - run.started_at })
}

/// What `remote` should have and has not; what is on its way is not missing.
async fn lack(context: &Context, remote: &Remote, here: &Catalogue) -> Result<Lack, Error> {
    let place = remote.store.place();
    // Before it is asked what lies there: what ends meanwhile is found there.
    let own = here.entries().iter().filter(|entry| entry.own);
    let leaving: BTreeSet<&str> =
        own.map(|entry| entry.file.as_str()).filter(|file| context.claim(file).is_err()).collect();
    let asked = tokio::time::timeout(PATIENCE, context.or_cancelled(sync::lacking(context, remote, here))).await;
    // What a restore made beside its work is sent by the next sync.
    let (now, side) = (context.clock.now(), [Some(name::Kind::Safety), Some(name::Kind::Final)]);
    let is_young = |file: &String| {
        here.entries().iter().any(|e| e.file == *file && side.contains(&e.kind) && (now - e.date).abs() < alert::GRACE)
    };
    let files = match asked {
        Ok(Ok(files)) => {
            Ok(files.into_iter().filter(|file| !leaving.contains(file.as_str()) && !is_young(file)).collect())
        }
        Ok(Err(Error::Cancelled)) => return Err(Error::Cancelled),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(t!("alert.upload_missing.silent", seconds = PATIENCE.as_secs()).into_owned()),
    };
    Ok(Lack { place, files })
}
