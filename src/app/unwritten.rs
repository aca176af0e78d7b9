//! What was sent, or refused for good, while nothing could be written down: this process remembers it, so that nobody here sends it
//! again, and writes it down as soon as that works.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::journal::Outbox;
use crate::journal::outbox::Letter;

/// How it stands with a letter of which nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// Somebody here is sending it.
    Leaving,
    /// It was sent.
    Sent,
    /// It never will be, and why.
    GivenUp(String),
}

/// Letters by channel and notice.
#[derive(Default)]
pub(super) struct Unwritten(Mutex<BTreeMap<(String, String), How>>);

impl Unwritten {
    /// How it stands with `letter`; `None`: what is written holds.
    pub(super) fn of(&self, letter: &Letter) -> Option<How> {
        self.lock().get(&key(letter)).cloned()
    }

    /// For whoever sends `letter`; `None`: somebody else here does, or has.
    pub(super) fn take(&self, letter: &Letter) -> Option<Held<'_>> {
        let mut letters = self.lock();
        let is_free = !letters.contains_key(&key(letter));
        is_free.then(|| {
            letters.insert(key(letter), How::Leaving);
            Held { letters: self, key: key(letter) }
        })
    }

    /// How it went.
    pub(super) fn keep(&self, letter: &Letter, how: How) {
        self.lock().insert(key(letter), how);
    }

    /// What is written holds again.
    pub(super) fn forget(&self, letter: &Letter) {
        self.lock().remove(&key(letter));
    }

    /// Writes down what can be.
    pub(super) fn write(&self, outbox: &dyn Outbox, now: DateTime<Utc>) {
        self.lock().retain(|(channel, notice), how| {
            let why = match how {
                How::Leaving => return true,
                How::Sent => None,
                How::GivenUp(why) => Some(why.as_str()),
            };
            outbox.ended(channel, notice, why, now).is_err()
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), How>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A letter in the hands of whoever sends it: what is written holds again when this goes, be it by a panic.
pub(super) struct Held<'a> {
    letters: &'a Unwritten,
    key: (String, String),
}

impl Held<'_> {
    /// How it went.
    pub(super) fn keep(self, how: How) {
        self.letters.lock().insert(self.key.clone(), how);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut letters = self.letters.lock();
        if letters.get(&self.key) == Some(&How::Leaving) {
            letters.remove(&self.key);
        }
    }
}

fn key(letter: &Letter) -> (String, String) {
    (letter.channel.clone(), letter.notice.id.clone())
}
