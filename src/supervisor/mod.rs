//! The clock loop of the sidecar: fires the nightly backup, mends what dead runs left, drops replaced databases whose
//! time is over, sends what no second place has, and ends cleanly. What a job does is behind [`Jobs`]; jobs run through one path and
//! never overlap, but for the sending: that may take hours, which no backup waits for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use futures_util::future::BoxFuture;
use rust_i18n::t;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::domain::clock::Clock;
use crate::domain::event::{Event, Observer};
use crate::domain::schedule::Schedule;

pub mod health;
pub mod state;

use state::StateFile;

/// How often the wall clock is looked at. A timer alone would not do: it stands still while the machine sleeps (fault 46).
const TICK: Duration = Duration::from_secs(5);

/// How often leftovers of dead runs are looked for: a database left closed is open again within a minute (fault 77).
const MEND_EVERY: TimeDelta = TimeDelta::seconds(20);

/// How often the loop says that it lives: `health` waits five times as long before it calls it stuck.
const BEAT_EVERY: TimeDelta = TimeDelta::minutes(1);

/// The longest that a mending which keeps failing is put off.
const MEND_AT_LEAST_EVERY: TimeDelta = TimeDelta::minutes(10);

/// How often databases whose time is over are looked for.
const EXPIRE_EVERY: TimeDelta = TimeDelta::minutes(30);

/// How often what no second place has yet is sent.
const SYNC_EVERY: TimeDelta = TimeDelta::hours(1);

/// How a scheduled job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ended,
    /// It failed and has said so.
    Failed,
    /// Another run held the lock; nothing was done.
    Busy,
}

/// How the nightly backup ended here.
pub struct BackedUp {
    /// How it ended.
    pub outcome: Outcome,
    /// Its copies elsewhere, which may take hours: the loop goes on meanwhile.
    pub rest: Option<BoxFuture<'static, ()>>,
}

impl From<Outcome> for BackedUp {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, rest: None }
    }
}

/// What the supervisor sets going. Each call takes the lock itself and says what it does.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// The nightly backup and what belongs to it.
    async fn backup(&self, cancel: &CancellationToken) -> BackedUp;
    /// Sends what no second place has yet; beside whatever else is at work.
    async fn sync(&self, cancel: &CancellationToken) -> Outcome;
    /// Mends what dead runs left, if there is anything and no run is at work.
    async fn mend(&self, cancel: &CancellationToken) -> Outcome;
    /// Drops replaced databases whose time is over, if no run is at work.
    async fn expire(&self, cancel: &CancellationToken) -> Outcome;
}

/// The loop.
pub struct Supervisor {
    /// When to back up.
    pub schedule: Schedule,
    /// In which zone.
    pub zone: Tz,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What to do.
    pub jobs: Arc<dyn Jobs>,
    /// Who hears of it.
    pub observer: Arc<dyn Observer>,
    /// What outlives a restart, and what `health` reads.
    pub state: StateFile,
    /// The slot that waits for another run to end.
    pub waiting: Option<DateTime<Utc>>,
    /// Copies of backups that are on their way.
    pub leaving: JoinSet<()>,
}

impl Supervisor {
    /// Runs until `cancel`. A job that goes on then is told to end and waited for.
    ///
    /// # Errors
    /// When the state cannot be written at the start.
    pub async fn run(mut self, cancel: &CancellationToken) -> std::io::Result<()> {
        let now = self.clock.now();
        self.state.begin(now)?;
        self.say_next(now);
        let mut next_mend = now;
        let mut mend_every = MEND_EVERY;
        let mut next_expire = now;
        let mut next_sync = now;
        let mut sync: Option<JoinHandle<()>> = None;
        while !cancel.is_cancelled() {
            let now = self.clock.now();
            // A clock that went back must not hold the chores up until it has caught up (fault 43).
            next_mend = next_mend.min(now + mend_every);
            next_expire = next_expire.min(now + EXPIRE_EVERY);
            next_sync = next_sync.min(now + SYNC_EVERY);
            if now >= next_mend {
                // A server that stays away would be waited for again and again: less and less often.
                mend_every = match self.jobs.mend(cancel).await {
                    Outcome::Failed => (mend_every * 2).min(MEND_AT_LEAST_EVERY),
                    Outcome::Ended | Outcome::Busy => MEND_EVERY,
                };
                next_mend = self.clock.now() + mend_every;
            }
            if sync.as_ref().is_some_and(JoinHandle::is_finished) {
                sync = None;
                next_sync = self.clock.now() + SYNC_EVERY;
            }
            let due = self.due(self.clock.now());
            // What is missing is sent with each backup too: beside it, since its moment is now.
            if (now >= next_sync || (due.is_some() && self.waiting.is_none()))
                && sync.is_none()
                && !cancel.is_cancelled()
            {
                let (jobs, cancel) = (Arc::clone(&self.jobs), cancel.clone());
                sync = Some(tokio::spawn(async move {
                    jobs.sync(&cancel).await;
                }));
            }
            while self.leaving.try_join_next().is_some() {}
            if let Some(slot) = due {
                self.back_up(slot, cancel).await;
            }
            if now >= next_expire && !cancel.is_cancelled() {
                self.jobs.expire(cancel).await;
                next_expire = self.clock.now() + EXPIRE_EVERY;
            }
            self.beat();
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        // They were told to end too, and say how they did.
        while self.leaving.join_next().await.is_some() {}
        if let Some(sync) = sync {
            // It was told to end. That it panicked would be its own news.
            let _ = sync.await;
        }
        Ok(())
    }

    fn due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let state = self.state.get();
        self.schedule.due(state.last_slot_run, state.installed_at, now, self.zone)
    }

    async fn back_up(&mut self, slot: DateTime<Utc>, cancel: &CancellationToken) {
        let started = self.clock.now();
        if self.waiting != Some(slot) && started - slot > TimeDelta::minutes(5) {
            self.note(t!("supervisor.catching_up", slot = self.local(slot)));
        }
        // A run of a person's holds the lock: the slot is tried again at the next tick, not lost.
        let BackedUp { outcome, rest } = self.jobs.backup(cancel).await;
        if let Some(rest) = rest {
            self.leaving.spawn(rest);
        }
        if outcome == Outcome::Busy {
            if self.waiting != Some(slot) {
                self.warn(t!("supervisor.waiting", slot = self.local(slot)));
            }
            self.waiting = Some(slot);
            return;
        }
        self.waiting = None;
        if cancel.is_cancelled() {
            return;
        }
        let ended = self.clock.now();
        let skipped = self.schedule.skipped(started, ended, self.zone);
        if let Some(skipped) = skipped {
            let (count, first) = (skipped.slots, self.local(skipped.first));
            self.warn(t!("supervisor.skipped", count = count, first = first));
        }
        if let Err(error) = self.state.ran(if skipped.is_some() { ended } else { started }) {
            self.warn(t!("supervisor.state", cause = error));
        }
        self.say_next(ended);
    }

    /// Says that the loop lives. A disk that is full must not stop it (fault 35).
    fn beat(&mut self) {
        let now = self.clock.now();
        if (now - self.state.get().beat_at).abs() < BEAT_EVERY {
            return;
        }
        if let Err(error) = self.state.beat(now) {
            tracing::debug!(%error, "heartbeat");
        }
    }

    fn say_next(&self, now: DateTime<Utc>) {
        if let Some(next) = self.schedule.next_after(now, self.zone) {
            self.note(t!("supervisor.next", next = self.local(next)));
        }
    }

    fn local(&self, time: DateTime<Utc>) -> String {
        time.with_timezone(&self.zone).format("%Y-%m-%d %H:%M %Z").to_string()
    }

    fn note(&self, text: impl Into<String>) {
        self.observer.event(Event::Note(text.into()));
    }

    fn warn(&self, text: impl Into<String>) {
        self.observer.event(Event::Warning(text.into()));
    }
}

#[cfg(test)]
mod tests;
