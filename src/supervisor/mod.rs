//! The clock loop of the sidecar: fires the nightly backup (or one that a signal asks for), mends what dead runs left, drops replaced
//! databases whose time is over, and sets chores going: sending, rotation, reading again, looking around. What a job does is behind
//! [`Jobs`]. Jobs that change what is here never overlap; a reading gives way to a backup; sending may take hours, which no backup waits for.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use futures_util::future::BoxFuture;
use rust_i18n::t;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::alert::{JUMP, Jump};
use crate::domain::clock::Clock;
use crate::domain::event::{Event, Observer};
use crate::domain::schedule::Schedule;

pub mod health;
pub mod pace;
mod side;
pub mod state;

use crate::process::signals::Wishes;
use pace::Pace;
use side::{Side, With};
use state::{Job, StateFile};

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

/// The longest that a dropping which keeps failing is put off.
const EXPIRE_AT_LEAST_EVERY: TimeDelta = TimeDelta::hours(12);

/// How often what no second place has yet is sent.
const SYNC_EVERY: TimeDelta = TimeDelta::hours(1);

/// How often it is looked whether somebody is needed.
const WATCH_EVERY: TimeDelta = TimeDelta::minutes(15);

/// How often messages that could not be sent are tried again.
const DELIVER_EVERY: TimeDelta = TimeDelta::seconds(30);

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ended,
    /// It failed and has said so.
    Failed,
    /// Another run held the lock; nothing was done.
    Busy,
}

impl Outcome {
    /// As it is stored and shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Busy => "busy",
        }
    }
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

/// Who asked for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Its slot came.
    Schedule,
    /// SIGUSR1.
    Signal,
}

/// What the supervisor sets going. Each call takes the lock itself where it needs it, and says what it does.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// When backups are due, and in which zone: by the settings that hold now.
    fn schedule(&self) -> (Schedule, Tz);
    /// Reads the settings again; bad ones are said, and the old ones go on.
    async fn reload(&self);
    /// The backup and what belongs to it.
    async fn backup(&self, asked: Asked, cancel: &CancellationToken) -> BackedUp;
    /// Sends what no second place has yet; beside whatever else is at work.
    async fn sync(&self, cancel: &CancellationToken) -> Outcome;
    /// Rotation, here and in second places.
    async fn prune(&self, cancel: &CancellationToken) -> Outcome;
    /// Reads some old backups again.
    async fn verify(&self, cancel: &CancellationToken) -> Outcome;
    /// Looks whether somebody is needed, and tells them.
    async fn watch(&self, cancel: &CancellationToken) -> Outcome;
    /// Sends messages that wait.
    async fn deliver(&self, cancel: &CancellationToken) -> Outcome;
    /// Mends what dead runs left, if there is anything and no run is at work.
    async fn mend(&self, cancel: &CancellationToken) -> Outcome;
    /// Drops replaced databases whose time is over, if no run is at work.
    async fn expire(&self, cancel: &CancellationToken) -> Outcome;
}

/// The loop.
pub struct Supervisor {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How time passes.
    pub pace: Arc<dyn Pace>,
    /// What to do.
    pub jobs: Arc<dyn Jobs>,
    /// Who hears of it.
    pub observer: Arc<dyn Observer>,
    /// What outlives a restart, and what `health` reads.
    pub state: StateFile,
    /// What signals ask for.
    pub wishes: Arc<Wishes>,
}

/// What the loop keeps between its turns.
struct Turn {
    with: With,
    observer: Arc<dyn Observer>,
    next_mend: DateTime<Utc>,
    mend_every: TimeDelta,
    next_expire: DateTime<Utc>,
    expire_every: TimeDelta,
    /// Wall clock and steady clock when they were last compared.
    clocks: (DateTime<Utc>, Duration),
    pace: Arc<dyn Pace>,
    /// The slot that waits for another run to end.
    waiting: Option<DateTime<Utc>>,
    /// A signal asked for a backup.
    wished: bool,
    /// Copies of backups that are on their way.
    leaving: JoinSet<()>,
    sync: Side,
    prune: Side,
    verify: Side,
    watch: Side,
    deliver: Side,
}

impl Supervisor {
    /// Runs until `cancel`. A job that goes on then is told to end and waited for.
    ///
    /// # Errors
    /// When the state cannot be written at the start.
    pub async fn run(mut self, cancel: &CancellationToken) -> std::io::Result<()> {
        let now = self.clock.now();
        // A disk that is full must not keep it from starting: that is when people must hear of it (fault 35).
        if let Err(error) = self.state.begin(now, half_a_period(&*self.jobs, now)) {
            self.observer.event(Event::Warning(t!("supervisor.state", cause = error).into_owned()));
        }
        let state = Arc::new(std::sync::Mutex::new(self.state));
        let with = With { jobs: self.jobs, clock: self.clock, state };
        let mut turn = Turn {
            with,
            observer: self.observer,
            next_mend: now,
            mend_every: MEND_EVERY,
            next_expire: now,
            expire_every: EXPIRE_EVERY,
            clocks: (now, self.pace.steady()),
            pace: self.pace,
            waiting: None,
            wished: false,
            leaving: JoinSet::new(),
            sync: Side::every(Job::Sync, SYNC_EVERY, now),
            prune: Side::on_demand(Job::Prune),
            verify: Side::on_demand(Job::Verify),
            watch: Side::every(Job::Watch, WATCH_EVERY, now),
            deliver: Side::every(Job::Deliver, DELIVER_EVERY, now),
        };
        turn.say_next(now);
        while !cancel.is_cancelled() {
            if self.wishes.take_reload() {
                turn.with.jobs.reload().await;
                turn.say_next(turn.with.clock.now());
            }
            turn.wished |= self.wishes.take_backup();
            turn.once(cancel).await;
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.wishes.any() => {}
                () = turn.pace.pause(TICK, turn.is_idle()) => {}
            }
        }
        turn.end().await;
        Ok(())
    }
}

impl Turn {
    async fn once(&mut self, cancel: &CancellationToken) {
        let now = self.with.clock.now();
        self.compare_clocks(now);
        // A clock that went back must not hold the chores up until it has caught up (fault 43).
        self.next_mend = self.next_mend.min(now + self.mend_every);
        self.next_expire = self.next_expire.min(now + self.expire_every);
        if now >= self.next_mend {
            self.mend(cancel).await;
        }
        while self.leaving.try_join_next().is_some() {
            // The end of its copies is news.
            self.watch.ask(now);
        }
        let due = self.due(self.with.clock.now());
        // What is missing is sent with each backup too: beside it, since its moment is now.
        if due.is_some() && self.waiting.is_none() {
            self.sync.ask(now);
        }
        if self.sync.turn(now, &self.with, cancel) {
            // What is missing now stays so for a while.
            self.watch.ask(now);
        }
        if let Some(slot) = due.filter(|_| !cancel.is_cancelled()) {
            self.slot(slot, cancel).await;
        } else if self.wished && !cancel.is_cancelled() {
            self.wish(cancel).await;
        }
        if now >= self.next_expire && !cancel.is_cancelled() {
            self.with.begins(Job::Expire);
            let jobs = Arc::clone(&self.with.jobs);
            let outcome = self.beside_chores(jobs.expire(cancel), cancel).await;
            self.with.ended(Job::Expire, outcome);
            // The final dump of a database that cannot be dumped takes as long as one that can.
            self.expire_every = match outcome {
                Outcome::Failed => (self.expire_every * 2).min(EXPIRE_AT_LEAST_EVERY),
                Outcome::Ended | Outcome::Busy => EXPIRE_EVERY,
            };
            self.next_expire = self.with.clock.now() + self.expire_every;
        }
        let now = self.with.clock.now();
        if self.prune.turn(now, &self.with, cancel) {
            // What could not be told while it held the lock can be now.
            self.watch.ask(now);
        }
        // It would give way at the next turn.
        if self.waiting.is_none() && !self.wished {
            self.verify.turn(now, &self.with, cancel);
        }
        self.chores(cancel);
    }

    /// `work` of the loop's own, which may take hours: who is needed hears of it all the same.
    async fn beside_chores<T>(&mut self, work: impl Future<Output = T>, cancel: &CancellationToken) -> T {
        let mut work = std::pin::pin!(work);
        let pace = Arc::clone(&self.pace);
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                () = pace.pause(TICK, false) => self.chores(cancel),
            }
        }
    }

    /// Whether nothing is at work beside the loop.
    fn is_idle(&self) -> bool {
        let sides = [&self.sync, &self.prune, &self.verify, &self.watch, &self.deliver];
        self.leaving.is_empty() && sides.into_iter().all(Side::is_idle)
    }

    /// What goes on beside everything else.
    fn chores(&mut self, cancel: &CancellationToken) {
        let now = self.with.clock.now();
        for side in [&mut self.watch, &mut self.deliver] {
            side.turn(now, &self.with, cancel);
        }
        self.beat(now);
    }

    /// They were told to end too, and say how they did.
    async fn end(mut self) {
        while self.leaving.join_next().await.is_some() {}
        for side in [self.sync, self.prune, self.verify, self.watch, self.deliver] {
            side.end().await;
        }
    }

    async fn mend(&mut self, cancel: &CancellationToken) {
        // A server that stays away would be waited for again and again: less and less often.
        let jobs = Arc::clone(&self.with.jobs);
        self.mend_every = match self.beside_chores(jobs.mend(cancel), cancel).await {
            Outcome::Failed => (self.mend_every * 2).min(MEND_AT_LEAST_EVERY),
            Outcome::Ended | Outcome::Busy => MEND_EVERY,
        };
        self.next_mend = self.with.clock.now() + self.mend_every;
    }

    /// Both go on at the same speed, or somebody has set the one of the wall.
    fn compare_clocks(&mut self, now: DateTime<Utc>) {
        let steady = self.pace.steady();
        let (wall_before, steady_before) = std::mem::replace(&mut self.clocks, (now, steady));
        let passed = TimeDelta::from_std(steady.saturating_sub(steady_before)).unwrap_or(TimeDelta::MAX);
        let jump = (now - wall_before) - passed;
        if jump.abs() < JUMP {
            return;
        }
        let seconds = jump.num_seconds();
        self.warn(t!("supervisor.jumped", seconds = seconds));
        let half = half_a_period(&*self.with.jobs, now);
        self.with.write(|state| state.jumped(Jump { at: now, seconds }, half));
        self.watch.ask(now);
    }

    fn due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let state = self.with.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, installed) = (state.slots_done(), state.get().lasting.installed_at);
        let (schedule, zone) = self.with.jobs.schedule();
        schedule.due(last, installed, now, zone)
    }

    async fn slot(&mut self, slot: DateTime<Utc>, cancel: &CancellationToken) {
        let started = self.with.clock.now();
        if self.waiting != Some(slot) && started - slot > TimeDelta::minutes(5) {
            self.note(t!("supervisor.catching_up", slot = self.local(slot)));
        }
        // A run of a person's holds the lock: the slot is tried again at the next tick, not lost.
        let outcome = self.back_up(Asked::Schedule, cancel).await;
        if outcome == Outcome::Busy {
            if self.waiting != Some(slot) {
                self.warn(t!("supervisor.waiting", slot = self.local(slot)));
            }
            self.waiting = Some(slot);
            return;
        }
        self.waiting = None;
        // What was committed before it was told to end is this slot's backup all the same.
        if cancel.is_cancelled() && outcome != Outcome::Ended {
            return;
        }
        let ended = self.with.clock.now();
        let (schedule, zone) = self.with.jobs.schedule();
        let skipped = schedule.skipped(started, ended, zone);
        if let Some(skipped) = skipped {
            let (count, first) = (skipped.slots, self.local(skipped.first));
            self.warn(t!("supervisor.skipped", count = count, first = first));
        }
        let until = if skipped.is_some() { ended } else { started };
        let written = self.with.state.lock().unwrap_or_else(PoisonError::into_inner).ran(until);
        if let Err(error) = written {
            self.warn(t!("supervisor.state", cause = error));
        }
        // Where there is no new backup no old one goes.
        if outcome == Outcome::Ended {
            self.prune.ask(ended);
            // The server is there.
            self.expire_every = EXPIRE_EVERY;
        }
        self.verify.ask(ended);
        self.say_next(ended);
    }

    async fn wish(&mut self, cancel: &CancellationToken) {
        // As with a slot: it is done as soon as the other run has ended.
        self.wished = self.back_up(Asked::Signal, cancel).await == Outcome::Busy;
    }

    async fn back_up(&mut self, asked: Asked, cancel: &CancellationToken) -> Outcome {
        self.verify.give_way(self.with.clock.now()).await;
        self.prune.give_way(self.with.clock.now()).await;
        self.with.begins(Job::Backup);
        let jobs = Arc::clone(&self.with.jobs);
        let BackedUp { outcome, rest } = self.beside_chores(jobs.backup(asked, cancel), cancel).await;
        self.with.ended(Job::Backup, outcome);
        if outcome != Outcome::Busy {
            self.watch.ask(self.with.clock.now());
        }
        if let Some(rest) = rest {
            self.leaving.spawn(rest);
        }
        outcome
    }

    /// Says that the loop lives.
    fn beat(&self, now: DateTime<Utc>) {
        self.with
            .write(|state| if (now - state.get().life.beat_at).abs() < BEAT_EVERY { Ok(()) } else { state.beat(now) });
    }

    fn say_next(&self, now: DateTime<Utc>) {
        let (schedule, zone) = self.with.jobs.schedule();
        if let Some(next) = schedule.next_after(now, zone) {
            self.note(t!("supervisor.next", next = self.local(next)));
        }
    }

    fn local(&self, time: DateTime<Utc>) -> String {
        time.with_timezone(&self.with.jobs.schedule().1).format("%Y-%m-%d %H:%M %Z").to_string()
    }

    fn note(&self, text: impl Into<String>) {
        self.observer.event(Event::Note(text.into()));
    }

    fn warn(&self, text: impl Into<String>) {
        self.observer.event(Event::Warning(text.into()));
    }
}

/// Half of the time from one slot to the next.
fn half_a_period(jobs: &dyn Jobs, now: DateTime<Utc>) -> TimeDelta {
    let (schedule, zone) = jobs.schedule();
    schedule.period(now, zone).map_or(TimeDelta::hours(12), |period| period / 2)
}

#[cfg(test)]
mod tests;
