//! When the sidecar needs somebody: a pure judgement of what was looked up elsewhere, and what to say of it. Each alert is
//! told once when it begins, once a day while it goes on, and once when it is over; what is new in one that goes on is told at once.
//! See [`reconcile`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_i18n::t;
use serde::{Deserialize, Serialize};

use crate::domain::catalogue::{Catalogue, Entry, Reason, State};
use crate::domain::schedule::Schedule;
use crate::domain::space::Space;
use crate::domain::text::{bytes, escape, few};

/// How long after its slot a backup may still be on its way (interface: the period plus 2 h).
pub const GRACE: TimeDelta = TimeDelta::hours(2);

/// A restore that takes longer is worth a look (interface).
pub const SLOW_RESTORE: TimeDelta = TimeDelta::minutes(10);

/// How long something that happened once is told of.
const NEWS: TimeDelta = TimeDelta::hours(24);

/// How often an alert that goes on is told again.
pub const REPEAT: TimeDelta = TimeDelta::hours(24);

/// A clock that is off by less is mended by the usual means.
pub const JUMP: TimeDelta = TimeDelta::minutes(2);

/// By so many percent of the disk its alert outlives the floor.
const SWING: u32 = 1;

/// How many of the last backups tell the usual way.
const BEFORE: usize = 7;

/// What it is about: one alert of a kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no verified backup that is new enough.
    NoBackup,
    /// The last backup failed.
    RunFailed,
    /// A second place lacks backups, or cannot be asked.
    UploadMissing,
    /// The disk is nearly full.
    DiskLow,
    /// The next backup will not fit.
    WillNotFit,
    /// A backup was found damaged, cut or without its data.
    Damaged,
    /// A backup looks wrong beside those before it.
    Suspicious,
    /// A restore took long.
    SlowRestore,
    /// The clock of the machine jumped.
    ClockJumped,
    /// Dumps take the slow way.
    SlowLane,
    /// The supervisor that ran here does not run.
    NotRunning,
    /// A rotation, a reading or a restore failed.
    JobFailed,
    /// The directory of the backups cannot be looked at.
    Unreadable,
}

impl Kind {
    /// Stable name, for scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoBackup => "no_backup",
            Self::RunFailed => "run_failed",
            Self::UploadMissing => "upload_missing",
            Self::DiskLow => "disk_low",
            Self::WillNotFit => "will_not_fit",
            Self::Damaged => "damaged",
            Self::Suspicious => "suspicious",
            Self::SlowRestore => "slow_restore",
            Self::ClockJumped => "clock_jumped",
            Self::SlowLane => "slow_lane",
            Self::NotRunning => "not_running",
            Self::JobFailed => "job_failed",
            Self::Unreadable => "unreadable",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether backups are at stake now; else somebody should look one of these days.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::NoBackup
                | Self::RunFailed
                | Self::DiskLow
                | Self::WillNotFit
                | Self::Damaged
                | Self::NotRunning
                | Self::Unreadable
        )
    }
}

/// All kinds.
pub const ALL: [Kind; 13] = [
    Kind::NoBackup,
    Kind::RunFailed,
    Kind::UploadMissing,
    Kind::DiskLow,
    Kind::WillNotFit,
    Kind::Damaged,
    Kind::Suspicious,
    Kind::SlowRestore,
    Kind::ClockJumped,
    Kind::SlowLane,
    Kind::NotRunning,
    Kind::JobFailed,
    Kind::Unreadable,
];

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What it is about.
    pub kind: Kind,
    /// One line, already in the operator's language.
    pub text: String,
    /// What to do.
    pub hint: String,
    /// What it is about, where that can be several things one after the other: files, places, an error. One that was not among them
    /// is news.
    #[serde(skip)]
    pub subjects: BTreeSet<String>,
}

impl Alert {
    /// As it was last seen.
    #[must_use]
    pub fn again(firing: Firing) -> Self {
        alert(firing.kind, firing.text).about(firing.subjects)
    }

    fn about(self, subjects: impl IntoIterator<Item = String>) -> Self {
        Self { subjects: subjects.into_iter().collect(), ..self }
    }
}

/// The last backup that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// When.
    pub at: DateTime<Utc>,
    /// What went wrong; `None`: nothing.
    pub error: Option<String>,
}

/// Another run that ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What it did: the name of its command.
    pub job: &'static str,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// What went wrong.
    pub error: String,
    /// Whether a schedule does it again; else it is news for a day.
    pub scheduled: bool,
}

/// A restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took.
    pub took: TimeDelta,
}

/// The wall clock against one that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jump {
    /// When it was seen.
    pub at: DateTime<Utc>,
    /// By how many seconds; less than 0: backwards.
    pub seconds: i64,
}

/// What a second place lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The place.
    pub place: String,
    /// Names of the data files; or why nobody knows.
    pub files: Result<Vec<String>, String>,
}

/// What is known.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// Now.
    pub now: DateTime<Utc>,
    /// When backups are due.
    pub schedule: &'a Schedule,
    /// In which zone.
    pub zone: Tz,
    /// Since when backups are expected here.
    pub since: DateTime<Utc>,
    /// What there is.
    pub catalogue: &'a Catalogue,
    /// The last backup that ended.
    pub last_backup: Option<LastRun>,
    /// Other jobs whose last run failed.
    pub broken: &'a [Broken],
    /// The last restore that was done.
    pub last_restore: Option<Restored>,
    /// What second places lack.
    pub lacks: &'a [Lack],
    /// The disk, where that can be told.
    pub disk: Option<Space>,
    /// The least share of it that shall be free, percent.
    pub floor: u32,
    /// The last jump of the clock.
    pub jump: Option<Jump>,
    /// A supervisor ran here and does not now.
    pub stopped: bool,
    /// Whether a supervisor ever ran here: the schedule is its own.
    pub supervised: bool,
    /// What was told and is not over.
    pub firing: BTreeSet<Kind>,
}

/// Everything that somebody should know now, the worst first.
#[must_use]
pub fn judge(seen: &Seen<'_>) -> Vec<Alert> {
    let alerts = [
        no_backup(seen),
        run_failed(seen),
        disk_low(seen),
        will_not_fit(seen),
        damaged(seen),
        not_running(seen),
        upload_missing(seen),
        job_failed(seen),
        suspicious(seen),
        slow_restore(seen),
        clock_jumped(seen),
        slow_lane(seen),
    ];
    alerts.into_iter().flatten().collect()
}

fn alert(kind: Kind, text: impl Into<String>) -> Alert {
    let hint = t!(format!("alert.{}.hint", kind.as_str())).into_owned();
    Alert { kind, text: text.into(), hint, subjects: BTreeSet::new() }
}

fn local(seen: &Seen<'_>, at: DateTime<Utc>) -> String {
    at.with_timezone(&seen.zone).format("%Y-%m-%d %H:%M").to_string()
}

fn no_backup(seen: &Seen<'_>) -> Option<Alert> {
    let newest = seen.catalogue.latest_verified().map(|entry| entry.date);
    let is_late = match seen.supervised {
        true => seen.schedule.is_overdue(newest, seen.since, seen.now, GRACE, seen.zone),
        // The crontab of the host has hours of its own.
        false => seen.schedule.is_too_old(newest.unwrap_or(seen.since), seen.now, GRACE, seen.zone),
    };
    if !is_late {
        return None;
    }
    let text = match newest {
        Some(at) => t!("alert.no_backup.since", date = local(seen, at)),
        None => t!("alert.no_backup.never"),
    };
    Some(alert(Kind::NoBackup, text))
}

fn run_failed(seen: &Seen<'_>) -> Option<Alert> {
    let last = seen.last_backup.as_ref()?;
    let error = last.error.as_ref()?;
    let text = t!("alert.run_failed.text", date = local(seen, last.at), error = escape(error));
    Some(alert(Kind::RunFailed, text).about([sort_of(error)]))
}

fn job_failed(seen: &Seen<'_>) -> Option<Alert> {
    let told = |one: &&Broken| one.scheduled || (seen.now - one.at).abs() < NEWS;
    let broken: Vec<&Broken> = seen.broken.iter().filter(told).collect();
    let says = |one: &&Broken| {
        let (date, error) = (local(seen, one.at), escape(&one.error));
        t!("alert.job_failed.text", job = one.job, date = date, error = error).into_owned()
    };
    let text = broken.iter().map(says).collect::<Vec<_>>().join("; ");
    let sorts = broken.iter().map(|one| format!("{} {}", one.job, sort_of(&one.error)));
    (!broken.is_empty()).then(|| alert(Kind::JobFailed, text).about(sorts))
}

/// Without its numbers (sizes, times, process ids) an error is the same tomorrow.
fn sort_of(error: &str) -> String {
    error.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn upload_missing(seen: &Seen<'_>) -> Option<Alert> {
    let says = |lack: &Lack| match &lack.files {
        Ok(files) if files.is_empty() => None,
        Ok(files) => {
            Some(t!("alert.upload_missing.files", place = lack.place, count = files.len(), files = named(files)))
        }
        Err(cause) => Some(t!("alert.upload_missing.unknown", place = lack.place, cause = escape(cause))),
    };
    let said: Vec<_> = seen.lacks.iter().filter_map(|lack| Some((lack.place.clone(), says(lack)?))).collect();
    let (places, texts): (Vec<String>, Vec<_>) = said.into_iter().unzip();
    (!texts.is_empty()).then(|| alert(Kind::UploadMissing, texts.join("; ")).about(places))
}

/// The first of them, and how many more there are.
fn named(files: &[String]) -> String {
    few(&files.iter().map(|file| escape(file)).collect::<Vec<_>>(), ", ")
}

fn disk_low(seen: &Seen<'_>) -> Option<Alert> {
    let disk = seen.disk?;
    // It is over some way above: what swings around it is not told at each swing.
    let swings = seen.floor > 0 && seen.firing.contains(&Kind::DiskLow);
    let over = if swings { (seen.floor + SWING).min(100) } else { seen.floor };
    if !disk.is_under(over) {
        return None;
    }
    let percent = disk.free.saturating_mul(100).checked_div(disk.total).unwrap_or(0);
    let (free, floor) = (bytes(disk.free), seen.floor);
    Some(alert(Kind::DiskLow, t!("alert.disk_low.text", free = free, percent = percent, floor = floor)))
}

fn will_not_fit(seen: &Seen<'_>) -> Option<Alert> {
    let disk = seen.disk?;
    let needed = next_size(seen.catalogue)?;
    (disk.free < needed).then(|| {
        alert(Kind::WillNotFit, t!("alert.will_not_fit.text", free = bytes(disk.free), needed = bytes(needed)))
    })
}

/// Own backups that are proven, newest first.
fn proven(catalogue: &Catalogue) -> impl Iterator<Item = &Entry> {
    use crate::domain::name::Kind as Made;
    catalogue.entries().iter().filter(|e| e.own && e.kind == Some(Made::Backup) && e.is_verified())
}

/// What the next backup will need by the trend of the last ones: the newest, what they grew by from one to the next, and a tenth.
#[must_use]
pub fn next_size(catalogue: &Catalogue) -> Option<u64> {
    let sizes: Vec<u64> = proven(catalogue).take(BEFORE).map(|entry| entry.bytes).collect();
    let (newest, oldest) = (*sizes.first()?, *sizes.last()?);
    let steps = u64::try_from(sizes.len() - 1).unwrap_or(u64::MAX).max(1);
    let grown = newest.saturating_add(newest.saturating_sub(oldest) / steps);
    Some(grown.saturating_add(grown / 10))
}

fn damaged(seen: &Seen<'_>) -> Option<Alert> {
    let bad = |entry: &&Entry| {
        let reason = match &entry.state {
            State::SetAside(reason) => reason,
            _ => return false,
        };
        use crate::domain::manifest::Error::{Cut, Damaged, Malformed};
        let is_bad = match reason {
            Reason::Damaged { .. } | Reason::DataMissing | Reason::SizeDiffers { .. } => true,
            Reason::ManifestUnreadable(error) => matches!(error, Cut { .. } | Malformed { .. } | Damaged),
            _ => false,
        };
        entry.own && is_bad
    };
    let files: Vec<String> = seen.catalogue.entries().iter().filter(bad).map(|e| e.file.clone()).collect();
    if files.is_empty() {
        return None;
    }
    Some(alert(Kind::Damaged, t!("alert.damaged.text", count = files.len(), files = named(&files))).about(files))
}

fn suspicious(seen: &Seen<'_>) -> Option<Alert> {
    let of = |entry: &&Entry| entry.own && entry.is_suspicious() && !matches!(entry.state, State::SetAside(_));
    let entries: Vec<&Entry> = seen.catalogue.entries().iter().filter(of).collect();
    // The first of a row is where it began; it names what fell.
    let first = entries.last()?;
    let manifest = first.manifest.as_ref()?;
    let text = t!(
        "alert.suspicious.text",
        count = entries.len(),
        file = escape(&first.file),
        id = manifest.id,
        why = manifest.suspicious.join("; ")
    );
    Some(alert(Kind::Suspicious, text).about([manifest.id.to_string()]))
}

fn slow_restore(seen: &Seen<'_>) -> Option<Alert> {
    let last = seen.last_restore.filter(|last| last.took > SLOW_RESTORE && (seen.now - last.at).abs() < NEWS)?;
    let text = t!("alert.slow_restore.text", date = local(seen, last.at), minutes = last.took.num_minutes());
    Some(alert(Kind::SlowRestore, text).about([last.at.to_rfc3339()]))
}

fn clock_jumped(seen: &Seen<'_>) -> Option<Alert> {
    let jump = seen.jump.filter(|jump| (seen.now - jump.at).abs() < NEWS)?;
    let seconds = jump.seconds.unsigned_abs();
    let key = if jump.seconds < 0 { "alert.clock_jumped.back" } else { "alert.clock_jumped.ahead" };
    let text = t!(key, date = local(seen, jump.at), seconds = seconds);
    Some(alert(Kind::ClockJumped, text).about([jump.at.to_rfc3339()]))
}

/// The exec lane is a way like another where nothing else was set up. Where one of the last backups came the fast way it is broken, and
/// stays so when those are too old to be among them.
fn slow_lane(seen: &Seen<'_>) -> Option<Alert> {
    let mut lanes =
        proven(seen.catalogue).take(BEFORE).filter_map(|entry| Some(entry.manifest.as_ref()?.lane.as_str()));
    let newest = lanes.next()?;
    let was_fast = lanes.any(|lane| lane == "fifo");
    (newest == "exec" && (was_fast || seen.firing.contains(&Kind::SlowLane)))
        .then(|| alert(Kind::SlowLane, t!("alert.slow_lane.text")))
}

fn not_running(seen: &Seen<'_>) -> Option<Alert> {
    seen.stopped.then(|| alert(Kind::NotRunning, t!("alert.not_running.text")))
}

/// An alert that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// What it is about.
    pub kind: Kind,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When it was last told.
    pub told_at: DateTime<Utc>,
    /// As it was last seen.
    pub text: String,
    /// What was told of it since the last time that it was told as a whole.
    pub subjects: BTreeSet<String>,
}

/// What there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It begins, or there is something new in it.
    Begun(Alert),
    /// It goes on: told again, with since when.
    Still(Alert, DateTime<Utc>),
    /// It is over; as it was last seen.
    Over(Firing),
}

impl Change {
    /// Whether something is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What is wrong, the worst first.
    pub alerts: Vec<Alert>,
    /// What cannot be told now: what was said of it before holds until it can.
    pub unknown: Vec<Kind>,
}

impl Found {
    /// Where nothing can be looked at: that, and why.
    #[must_use]
    pub fn unreadable(cause: &str) -> Self {
        let alerts = vec![alert(Kind::Unreadable, t!("alert.unreadable.text", cause = cause))];
        Self { alerts, unknown: ALL.into_iter().filter(|kind| *kind != Kind::Unreadable).collect() }
    }
}

impl From<Vec<Alert>> for Found {
    fn from(alerts: Vec<Alert>) -> Self {
        Self { alerts, unknown: Vec::new() }
    }
}

/// What goes on from now on, and what is to be told: what was found now against what went on. A clock that went back tells
/// nothing twice, nor does something that comes and goes more often than [`REPEAT`].
#[must_use]
pub fn reconcile(found: Found, firing: &[Firing], now: DateTime<Utc>) -> (Vec<Firing>, Vec<Change>) {
    let mut before: BTreeMap<Kind, &Firing> = firing.iter().map(|one| (one.kind, one)).collect();
    let (mut after, mut changes) = (Vec::new(), Vec::new());
    let Found { mut alerts, unknown } = found;
    alerts.retain(|alert| !unknown.contains(&alert.kind));
    after.extend(unknown.iter().filter_map(|kind| before.remove(kind)).cloned());
    for alert in alerts {
        let mut subjects = alert.subjects.clone();
        let (since, told_at) = match before.remove(&alert.kind) {
            None => {
                changes.push(Change::Begun(alert.clone()));
                (now, now)
            }
            Some(known) if now - known.told_at >= REPEAT => {
                changes.push(Change::Still(alert.clone(), known.since));
                (known.since, now)
            }
            Some(known) => {
                if !subjects.is_subset(&known.subjects) {
                    changes.push(Change::Begun(alert.clone()));
                }
                subjects.extend(known.subjects.iter().cloned());
                // Told by a clock that was ahead: else it would be silent until that time has come.
                (known.since.min(now), known.told_at.min(now))
            }
        };
        after.push(Firing { kind: alert.kind, since, told_at, text: alert.text, subjects });
    }
    changes.extend(before.into_values().cloned().map(Change::Over));
    (after, changes)
}

#[cfg(test)]
mod tests;
