//! What people shall be told, until they are: one letter for each notice and channel.
//!
//! # Contract of every [`Outbox`]
//!
//! - A notice that is put in again (same id) changes nothing for the channels that have it: a letter is written once.
//! - Letters of a channel are handed out one after the other, oldest first: one that waits for its next try holds up those behind it, so
//!   that a channel that is away is asked once, and hears of things in their order.
//! - [`Outbox::due`] hands a letter out under a lease. Nobody else, in this process or another, gets it before the lease is over or
//!   the letter was given back; [`Outbox::sent`] and the like by somebody whose lease is over change nothing.
//! - A process that dies between sending and saying so leaves a letter that is sent again when the lease is over. Each message
//!   carries the id of its notice, by which whoever gets two can tell.
//! - Whoever puts in or sends **only warns** when that fails.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::Error;
use crate::domain::notice::Notice;

/// How long somebody has to send a letter: longer than any channel is waited for.
pub const LEASE: TimeDelta = TimeDelta::minutes(2);

/// How long after it was put in a letter is given up.
pub const PATIENCE: TimeDelta = TimeDelta::hours(24);

/// The longest that anybody puts a letter off; one that is due later than that was written by a clock that was wrong.
pub const LONGEST_PAUSE: TimeDelta = TimeDelta::hours(1);

/// How long it is known that a letter was sent, or given up.
pub const MEMORY: TimeDelta = TimeDelta::days(30);

/// Keeps letters. See the contract above.
pub trait Outbox: Send + Sync {
    /// Writes a letter to each of `channels`; says how many are new.
    ///
    /// # Errors
    /// [`Error`].
    fn put(&self, notice: &Notice, channels: &[&str], now: DateTime<Utc>) -> Result<usize, Error>;

    /// The next letter of `channel` that is due, for the bearer of `lease` alone until `now` + [`LEASE`].
    ///
    /// # Errors
    /// [`Error`].
    fn due(&self, channel: &str, lease: u64, now: DateTime<Utc>) -> Result<Option<Letter>, Error>;

    /// Letters of `channel` that are due and that nobody has, the oldest first, handed to nobody: for when nothing can be written down.
    /// None comes before one that is put off.
    ///
    /// # Errors
    /// [`Error`].
    fn waiting(&self, channel: &str, now: DateTime<Utc>) -> Result<Vec<Letter>, Error>;

    /// It was sent.
    ///
    /// # Errors
    /// [`Error`].
    fn sent(&self, letter: &Letter, now: DateTime<Utc>) -> Result<(), Error>;

    /// It was not; it is due again at `next`.
    ///
    /// # Errors
    /// [`Error`].
    fn failed(&self, letter: &Letter, why: &str, next: DateTime<Utc>) -> Result<(), Error>;

    /// It never will be.
    ///
    /// # Errors
    /// [`Error`].
    fn give_up(&self, letter: &Letter, why: &str, now: DateTime<Utc>) -> Result<(), Error>;

    /// The letter of this notice to `channel` was sent, or, with a reason, never will be; whoever has it, and whenever it is due: for
    /// what happened while nothing could be written down.
    ///
    /// # Errors
    /// [`Error`].
    fn ended(&self, channel: &str, notice: &str, why: Option<&str>, now: DateTime<Utc>) -> Result<(), Error>;

    /// Gives up letters to channels that are none of `channels` once their [`PATIENCE`] is over, forgets what is older than
    /// [`MEMORY`]; says how many were given up.
    ///
    /// # Errors
    /// [`Error`].
    fn clean(&self, channels: &[&str], now: DateTime<Utc>) -> Result<usize, Error>;

    /// What each channel has, in the order of their names.
    ///
    /// # Errors
    /// [`Error`].
    fn counts(&self) -> Result<Vec<Count>, Error>;
}

/// A notice on its way to a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number in this outbox.
    pub number: i64,
    /// To whom.
    pub channel: String,
    /// What.
    pub notice: Notice,
    /// When it was put in.
    pub put_at: DateTime<Utc>,
    /// How often it was tried.
    pub tries: u32,
    /// Who has it.
    pub lease: u64,
}

/// What a channel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Its id.
    pub channel: String,
    /// Letters that wait.
    pub waiting: u32,
    /// Since when the oldest of them does.
    pub oldest: Option<DateTime<Utc>>,
    /// Letters that were sent, of the last [`MEMORY`].
    pub sent: u32,
    /// When the last was sent.
    pub last_sent: Option<DateTime<Utc>>,
    /// Letters that were given up, of the last [`MEMORY`].
    pub given_up: u32,
    /// When the last was given up.
    pub last_given_up: Option<DateTime<Utc>>,
    /// Why the last that failed did.
    pub last_error: Option<String>,
}

/// How a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is to be sent.
    Waiting,
    /// It was.
    Sent,
    /// It never will be.
    GivenUp,
}

impl State {
    /// What a letter comes to: sent, or given up for a reason.
    pub(super) fn of(why: Option<&str>) -> Self {
        if why.is_some() { Self::GivenUp } else { Self::Sent }
    }

    /// As it is stored.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::GivenUp => "given_up",
        }
    }
}

/// An outbox where there can be no journal: letters live as long as the process.
#[derive(Default)]
pub struct MemoryOutbox(Mutex<Vec<Kept>>);

struct Kept {
    letter: Letter,
    state: State,
    due_at: DateTime<Utc>,
    leased_until: Option<DateTime<Utc>>,
    error: Option<String>,
    ended_at: Option<DateTime<Utc>>,
}

impl MemoryOutbox {
    /// Whether it has, or had, a letter of this notice.
    pub fn has(&self, notice: &Notice) -> bool {
        self.lock().iter().any(|kept| kept.letter.notice.id == notice.id)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        // What a panic left half done is one letter.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The letter, if whoever has `letter` still has it.
    fn change(&self, letter: &Letter, change: impl FnOnce(&mut Kept)) {
        let mut all = self.lock();
        let held = |kept: &&mut Kept| {
            kept.letter.number == letter.number && kept.letter.lease == letter.lease && kept.state == State::Waiting
        };
        if let Some(kept) = all.iter_mut().find(held) {
            change(kept);
            kept.leased_until = None;
        }
    }
}

impl Outbox for MemoryOutbox {
    fn put(&self, notice: &Notice, channels: &[&str], now: DateTime<Utc>) -> Result<usize, Error> {
        let mut all = self.lock();
        let before = all.len();
        for channel in channels {
            if all.iter().any(|kept| kept.letter.channel == *channel && kept.letter.notice.id == notice.id) {
                continue;
            }
            let number = i64::try_from(all.len()).unwrap_or(i64::MAX);
            let channel = (*channel).to_owned();
            let letter = Letter { number, channel, notice: notice.clone(), put_at: now, tries: 0, lease: 0 };
            let state = State::Waiting;
            all.push(Kept { letter, state, due_at: now, leased_until: None, error: None, ended_at: None });
        }
        Ok(all.len() - before)
    }

    fn due(&self, channel: &str, lease: u64, now: DateTime<Utc>) -> Result<Option<Letter>, Error> {
        let mut all = self.lock();
        let first = all.iter_mut().find(|kept| kept.letter.channel == channel && kept.state == State::Waiting);
        Ok(first.filter(|kept| is_due(kept.due_at, kept.leased_until, now)).map(|kept| {
            kept.leased_until = Some(now + LEASE);
            kept.letter.lease = lease;
            kept.letter.clone()
        }))
    }

    fn waiting(&self, channel: &str, now: DateTime<Utc>) -> Result<Vec<Letter>, Error> {
        let all = self.lock();
        let own = all.iter().filter(|kept| kept.letter.channel == channel && kept.state == State::Waiting);
        Ok(own.take_while(|kept| is_due(kept.due_at, kept.leased_until, now)).map(|kept| kept.letter.clone()).collect())
    }

    fn sent(&self, letter: &Letter, now: DateTime<Utc>) -> Result<(), Error> {
        self.change(letter, |kept| (kept.state, kept.ended_at) = (State::Sent, Some(now)));
        Ok(())
    }

    fn failed(&self, letter: &Letter, why: &str, next: DateTime<Utc>) -> Result<(), Error> {
        self.change(letter, |kept| {
            kept.letter.tries += 1;
            (kept.due_at, kept.error) = (next, Some(why.to_owned()));
        });
        Ok(())
    }

    fn give_up(&self, letter: &Letter, why: &str, now: DateTime<Utc>) -> Result<(), Error> {
        self.change(letter, |kept| {
            kept.letter.tries += 1;
            (kept.state, kept.error, kept.ended_at) = (State::GivenUp, Some(why.to_owned()), Some(now));
        });
        Ok(())
    }

    fn ended(&self, channel: &str, notice: &str, why: Option<&str>, now: DateTime<Utc>) -> Result<(), Error> {
        let mut all = self.lock();
        let waits = |kept: &&mut Kept| {
            kept.letter.channel == channel && kept.letter.notice.id == notice && kept.state == State::Waiting
        };
        if let Some(kept) = all.iter_mut().find(waits) {
            kept.letter.tries += 1;
            (kept.state, kept.ended_at, kept.leased_until) = (State::of(why), Some(now), None);
            kept.error = why.map(str::to_owned).or(kept.error.take());
        }
        Ok(())
    }

    fn clean(&self, channels: &[&str], now: DateTime<Utc>) -> Result<usize, Error> {
        let mut given_up = 0;
        let mut all = self.lock();
        all.retain(|kept| kept.state == State::Waiting || kept.ended_at.is_none_or(|at| now - at < MEMORY));
        for kept in all.iter_mut().filter(|kept| kept.state == State::Waiting) {
            if !channels.contains(&kept.letter.channel.as_str()) && now - kept.letter.put_at >= PATIENCE {
                (kept.state, kept.ended_at) = (State::GivenUp, Some(now));
                given_up += 1;
            }
        }
        Ok(given_up)
    }

    fn counts(&self) -> Result<Vec<Count>, Error> {
        let all = self.lock();
        let mut channels: Vec<_> = all.iter().map(|kept| kept.letter.channel.clone()).collect();
        channels.sort_unstable();
        channels.dedup();
        let count = |channel: String| {
            let own: Vec<&Kept> = all.iter().filter(|kept| kept.letter.channel == channel).collect();
            let of = |state| own.iter().filter(move |kept| kept.state == state);
            let number = |state| u32::try_from(of(state).count()).unwrap_or(u32::MAX);
            Count {
                waiting: number(State::Waiting),
                oldest: of(State::Waiting).map(|kept| kept.letter.put_at).min(),
                sent: number(State::Sent),
                last_sent: of(State::Sent).filter_map(|kept| kept.ended_at).max(),
                given_up: number(State::GivenUp),
                last_given_up: of(State::GivenUp).filter_map(|kept| kept.ended_at).max(),
                last_error: own.iter().rev().find_map(|kept| kept.error.clone()),
                channel: channel.clone(),
            }
        };
        Ok(channels.into_iter().map(count).collect())
    }
}

/// Whether a letter may be handed out. What lies further ahead than anybody ever puts it was written by a clock that was wrong.
fn is_due(due_at: DateTime<Utc>, leased_until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let is_over = |at: DateTime<Utc>, longest| at <= now || at > now + longest;
    is_over(due_at, LONGEST_PAUSE) && leased_until.is_none_or(|at| is_over(at, LEASE))
}
