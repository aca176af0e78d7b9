//! Chores beside the main lane: sending, reading again, looking around. Each runs in a task of its own, one of a kind at a time;
//! the loop goes on meanwhile, since a database that was left closed does not wait for them.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::state::{Job, StateFile};
use super::{Jobs, Outcome};
use crate::domain::clock::Clock;

/// When a chore that met the lock of another run is tried again.
const BUSY_AGAIN: TimeDelta = TimeDelta::minutes(1);

/// What tasks and the loop both write to.
pub(super) type Shared = Arc<Mutex<StateFile>>;

/// A chore and when it is due.
pub(super) struct Side {
    job: Job,
    /// Between its end and its next begin; `None`: only when it is asked for.
    every: Option<TimeDelta>,
    next: Option<DateTime<Utc>>,
    running: Option<(JoinHandle<Outcome>, CancellationToken)>,
}

impl Side {
    pub(super) fn every(job: Job, every: TimeDelta, first: DateTime<Utc>) -> Self {
        Self { job, every: Some(every), next: Some(first), running: None }
    }

    pub(super) fn on_demand(job: Job) -> Self {
        Self { job, every: None, next: None, running: None }
    }

    /// It is due now, or as soon as it has ended.
    pub(super) fn ask(&mut self, now: DateTime<Utc>) {
        self.next = Some(self.next.map_or(now, |next| next.min(now)));
    }

    /// Whether it is not at work, nor has an end that [`Side::turn`] has not seen.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Begins it if it is due; whether it has ended.
    pub(super) fn turn(&mut self, now: DateTime<Utc>, with: &With, cancel: &CancellationToken) -> bool {
        let mut has_ended = false;
        if let Some((task, _)) = &mut self.running {
            let Some(ended) = task.now_or_never() else { return false };
            self.running = None;
            has_ended = true;
            // Another run held the lock: it is tried again, not left to the next night.
            let again = if matches!(ended, Ok(Outcome::Busy)) { Some(BUSY_AGAIN) } else { self.every };
            self.next = self.next.or_else(|| again.map(|again| now + again));
        }
        // A clock that went back must not hold it up until it has caught up (fault 43).
        if let Some(next) = &mut self.next {
            *next = (*next).min(now + self.every.unwrap_or(BUSY_AGAIN));
        }
        if cancel.is_cancelled() || self.next.is_none_or(|next| now < next) {
            return has_ended;
        }
        self.next = None;
        let (job, with, token) = (self.job, with.clone(), cancel.child_token());
        let own = token.clone();
        // Before anybody else looks around.
        with.begins(job);
        let task = tokio::spawn(async move {
            let outcome = match job {
                Job::Sync => with.jobs.sync(&own).await,
                Job::Prune => with.jobs.prune(&own).await,
                Job::Verify => with.jobs.verify(&own).await,
                Job::Watch => with.jobs.watch(&own).await,
                Job::Deliver => with.jobs.deliver(&own).await,
                // Those are the loop's own.
                Job::Backup | Job::Mend | Job::Expire => Outcome::Ended,
            };
            with.ended(job, outcome);
            outcome
        });
        self.running = Some((task, token));
        has_ended
    }

    /// Tells it to end and waits: something more important begins. It is due again afterwards.
    pub(super) async fn give_way(&mut self, now: DateTime<Utc>) {
        if let Some((task, token)) = self.running.take() {
            let ended_by_itself = task.is_finished();
            token.cancel();
            // That it panicked would be its own news.
            let _ = task.await;
            if !ended_by_itself {
                self.ask(now);
            }
        }
    }

    /// Waits for its end: it was told.
    pub(super) async fn end(self) {
        if let Some((task, _)) = self.running {
            // As above.
            let _ = task.await;
        }
    }
}

/// What every job works with.
#[derive(Clone)]
pub(super) struct With {
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Shared,
}

impl With {
    pub(super) fn begins(&self, job: Job) {
        let now = self.clock.now();
        self.write(|state| state.job_begins(job, now));
    }

    pub(super) fn ended(&self, job: Job, outcome: Outcome) {
        let now = self.clock.now();
        self.write(|state| state.job_ended(job, now, outcome));
    }

    /// A disk that is full must not stop the loop (fault 35).
    pub(super) fn write(&self, change: impl FnOnce(&mut StateFile) -> std::io::Result<()>) {
        if let Err(error) = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner)) {
            tracing::debug!(%error, "state");
        }
    }
}
