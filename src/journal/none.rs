//! The journal where there can be none: remembers nothing, so that a run goes on all the same.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::{Acceptance, Deletion, End, Error, Journal, Look, Outcome, Recalled, Run, RunKind, StageTime};
use crate::domain::alert::{Change, Firing, reconcile};
use crate::domain::catalogue::Verification;
use crate::domain::run::RunId;

/// Remembers nothing but how runs ended and the alerts that go on: a process that lives for months would tell of them every time it looks. A journal that
/// fails for a while is followed before, and told of what changed afterwards.
#[derive(Default)]
pub struct NoJournal {
    known: Mutex<Known>,
    ends: Mutex<Vec<Ended>>,
}

/// A run as the journal shall have it.
struct Ended {
    run: RunId,
    kind: RunKind,
    started_at: DateTime<Utc>,
    asked: String,
    end: End,
}

#[derive(Default)]
struct Known {
    firing: Vec<Firing>,
    /// Whether the journal does not know it.
    ahead: bool,
}

impl NoJournal {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a run ended, which the journal does not take now.
    pub fn keep_end(&self, run: &RunId, kind: RunKind, started_at: DateTime<Utc>, asked: &str, end: &End) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|ended| ended.run != *run);
        ends.push(Ended { run: run.clone(), kind, started_at, asked: asked.to_owned(), end: end.clone() });
    }

    /// Writes into `journal` what was kept from it.
    pub fn hand_over(&self, journal: &dyn Journal) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        // One that does not take the first takes none: each would wait for as long.
        let mut fails = false;
        ends.retain(|Ended { run, kind, started_at, asked, end }| {
            let put = || journal.start(run, *kind, *started_at, asked).and_then(|()| journal.finish(run, *kind, end));
            fails = fails || put().is_err();
            fails
        });
    }

    /// The last of those ends, of this kind; what was not begun has none.
    #[must_use]
    pub fn last_end(&self, kind: RunKind) -> Option<End> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = |one: &&Ended| one.kind == kind && one.end.outcome != Outcome::Skipped;
        ends.iter().rev().find(ended).map(|one| one.end.clone())
    }

    /// The journal has this now.
    pub fn follow(&self, firing: Vec<Firing>) {
        *self.lock() = Known { firing, ahead: false };
    }

    /// What the journal does not know yet.
    #[must_use]
    pub fn ahead(&self) -> Option<Vec<Firing>> {
        let known = self.lock();
        known.ahead.then(|| known.firing.clone())
    }
}

impl Journal for NoJournal {
    fn begun_at(&self) -> Result<DateTime<Utc>, Error> {
        Ok(DateTime::UNIX_EPOCH)
    }

    fn start(&self, _: &RunId, _: RunKind, _: DateTime<Utc>, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _: &RunId, _: RunKind, _: &End) -> Result<(), Error> {
        Ok(())
    }

    fn interrupt_unfinished(&self, _: DateTime<Utc>) -> Result<Vec<Run>, Error> {
        Ok(Vec::new())
    }

    fn last_ended(&self, _: RunKind) -> Result<Option<Run>, Error> {
        Ok(None)
    }

    fn last_with(&self, _: RunKind, _: Outcome) -> Result<Option<Run>, Error> {
        Ok(None)
    }

    fn runs(&self, _: u32) -> Result<Vec<Run>, Error> {
        Ok(Vec::new())
    }

    fn verified(&self, _: &Verification) -> Result<(), Error> {
        Ok(())
    }

    fn verifications(&self) -> Result<Vec<Verification>, Error> {
        Ok(Vec::new())
    }

    fn runs_since(&self, _: DateTime<Utc>) -> Result<Vec<Run>, Error> {
        Ok(Vec::new())
    }

    fn runs_of(&self, _: &str) -> Result<Vec<Run>, Error> {
        Ok(Vec::new())
    }

    fn put_stages(&self, _: &RunId, _: &[StageTime]) -> Result<(), Error> {
        Ok(())
    }

    fn stages(&self, _: &str) -> Result<Vec<StageTime>, Error> {
        Ok(Vec::new())
    }

    fn deleted(&self, _: &Deletion) -> Result<(), Error> {
        Ok(())
    }

    fn deletions(&self, _: DateTime<Utc>) -> Result<Vec<Deletion>, Error> {
        Ok(Vec::new())
    }

    fn accept(&self, _: &Acceptance) -> Result<(), Error> {
        Ok(())
    }

    fn acceptances(&self) -> Result<Vec<Acceptance>, Error> {
        Ok(Vec::new())
    }

    fn watch(&self, look: Look<'_>) -> Result<Vec<Change>, Error> {
        let mut known = self.lock();
        let (firing, changes) = reconcile(look.found, &known.firing, look.now);
        *known = Known { firing, ahead: true };
        Ok(changes)
    }

    fn keeps_letters(&self) -> bool {
        false
    }

    fn firing(&self) -> Result<Vec<Firing>, Error> {
        Ok(self.lock().firing.clone())
    }

    fn is_recalled(&self) -> Result<bool, Error> {
        Ok(true)
    }

    fn recall(&self, _: &[Recalled], _: DateTime<Utc>) -> Result<usize, Error> {
        Ok(0)
    }

    fn forget(&self, _: DateTime<Utc>, _: &BTreeSet<String>) -> Result<usize, Error> {
        Ok(0)
    }
}
