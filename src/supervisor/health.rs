//! Whether the sidecar does its work: a pure judgement of what was looked up elsewhere.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::state::{Job, State};
use crate::domain::alert::GRACE;
use crate::domain::schedule::Schedule;

/// A loop that has not come round for this long is stuck, unless a run is at work: a restore of a large database takes hours.
pub const STUCK: TimeDelta = TimeDelta::minutes(5);

/// A backup that takes longer is itself what somebody should know.
pub const LONGEST_BACKUP: TimeDelta = TimeDelta::hours(12);

/// What is known.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whether a supervisor holds its lock.
    pub alive: bool,
    /// Its state.
    pub state: Option<State>,
    /// Whether a run holds the lock of the directory.
    pub at_work: bool,
    /// Start of the newest verified backup.
    pub newest: Option<DateTime<Utc>>,
    /// Now.
    pub now: DateTime<Utc>,
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All is as it should be.
    Good,
    /// No supervisor runs.
    NotRunning,
    /// Its loop does not come round.
    Stuck,
    /// The newest verified backup is too old, or missing though one was due.
    Overdue,
}

/// Judges.
#[must_use]
pub fn judge(schedule: &Schedule, zone: Tz, seen: &Seen) -> Health {
    let Some(state) = seen.state.as_ref().filter(|_| seen.alive) else { return Health::NotRunning };
    if !seen.at_work && seen.now - state.life.beat_at > STUCK {
        return Health::Stuck;
    }
    // One that is being made is not ended by whoever starts what is not well anew.
    let running = state.life.jobs.get(&Job::Backup).and_then(|job| job.running_since);
    let is_on_its_way = running.is_some_and(|since| (seen.now - since).abs() < LONGEST_BACKUP);
    if !is_on_its_way && schedule.is_overdue(seen.newest, state.lasting.installed_at, seen.now, GRACE, zone) {
        return Health::Overdue;
    }
    Health::Good
}
