//! Which backups may go. A pure plan (policy, catalogue, pins, now in; decisions with reasons out), to be read,
//! printed and then applied elsewhere. Nothing is deleted here.
//!
//! The rules, first match wins:
//!
//! 1. Kept always: entries of other installations or with names that are not ours, pinned ones, set-aside ones
//!    (with those from the future), and with fewer than `keep_verified` verified backups everything that is a backup.
//! 2. Kept by number: the newest `keep_verified` (at least one) *verified* backups. Safety and final dumps are no
//!    backups in this sense: they never count.
//! 3. Held: while a *suspicious* backup is there that nobody has accepted, the first such one is kept as the mark, and so is
//!    every backup with a manifest from before it (fault 25): whoever notices late that a table was emptied still has it. A row of
//!    suspicious backups holds what was before them all.
//! 4. Kept by the calendar (`keep`, see [`Keep`]): named first where a backup is kept by several rules.
//! 5. Kept by age: backups for `days`, safety and final dumps for `safety_days`, counted in whole times of 24 hours. With
//!    a calendar and no `days` a backup has no age; a file without a manifest then has `safety_days`.
//! 6. Kept for a week: the newest `keep_verified` from before a gap that is longer than `days`. Backups made by a clock that jumped ahead
//!    would let all others go as soon as there are enough of them; so would the first ones after a long pause.
//! 7. The rest goes, oldest first; safety and final dumps only while a verified backup exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_i18n::t;

use crate::domain::catalogue::{Catalogue, Entry, State};
use crate::domain::keep::{Candidate, Keep, Periods};
use crate::domain::name::Kind;
use crate::error::Explain;

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Days that backups are kept; `None`: only the calendar counts.
    pub days: Option<u32>,
    /// Calendar rules, beside the days.
    pub keep: Keep,
    /// Zone of the calendar.
    pub zone: Tz,
    /// Never fewer verified backups than this; 0 counts as 1.
    pub keep_verified: u32,
    /// Days that safety and final dumps are kept.
    pub safety_days: u32,
}

impl Policy {
    /// The usual one: safety and final dumps stay 30 days, or as long as backups if that is longer.
    #[must_use]
    pub fn new(days: u32, keep_verified: u32) -> Self {
        Self { days: Some(days), keep: Keep::default(), zone: Tz::UTC, keep_verified, safety_days: days.max(30) }
    }

    fn least(&self) -> usize {
        usize::try_from(self.keep_verified.max(1)).unwrap_or(usize::MAX)
    }
}

/// What happens to one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes.
    Delete,
    /// It stays.
    Keep,
}

/// Why. `Display` is a fragment for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Older than so many days.
    Expired(u32),
    /// Younger than so many days.
    Recent(u32),
    /// The calendar keeps it.
    Calendar(Periods),
    /// No calendar rule keeps it.
    Outside,
    /// One of the last so many verified.
    LastVerified(u32),
    /// There are not enough verified backups to let anything go.
    TooFewVerified,
    /// Older than a suspicious one, which holds it.
    Held,
    /// The suspicious backup that holds others.
    HoldsOthers,
    /// One of the last before a long gap.
    BeforeGap,
    /// In use.
    Pinned,
    /// No second place has it yet.
    Unsent,
    /// Of another installation, or a name that is not ours.
    Foreign,
    /// Set aside: a person decides.
    SetAside,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Expired(days) => t!("domain.retention.expired", days = days),
            Self::Recent(days) => t!("domain.retention.recent", days = days),
            Self::Calendar(periods) => t!("domain.retention.calendar", periods = periods),
            Self::Outside => t!("domain.retention.outside"),
            Self::LastVerified(count) => t!("domain.retention.last_verified", count = count),
            Self::TooFewVerified => t!("domain.retention.too_few_verified"),
            Self::Held => t!("domain.retention.held"),
            Self::HoldsOthers => t!("domain.retention.holds_others"),
            Self::BeforeGap => t!("domain.retention.before_gap"),
            Self::Pinned => t!("domain.retention.pinned"),
            Self::Unsent => t!("domain.retention.unsent"),
            Self::Foreign => t!("domain.retention.foreign"),
            Self::SetAside => t!("domain.retention.set_aside"),
        };
        f.write_str(&text)
    }
}

/// The fate of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Name of its data file.
    pub file: String,
    /// What happens to it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// The fate of every entry of a catalogue, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each entry.
    pub decisions: Vec<Decision>,
}

impl Plan {
    /// Names of the data files that go, oldest first.
    pub fn deletions(&self) -> impl Iterator<Item = &str> {
        self.decisions.iter().rev().filter(|d| d.action == Action::Delete).map(|d| d.file.as_str())
    }

    /// Why that happens to `file`.
    #[must_use]
    pub fn why(&self, file: &str) -> String {
        self.decisions.iter().find(|d| d.file == file).map(|d| d.reason.to_string()).unwrap_or_default()
    }
}

/// What stays whatever the rules say, by the names of data files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// In use: by a restore, an upload, a safety dump that `--undo` may need.
    pub in_use: BTreeSet<String>,
    /// There is no other copy of it, and there shall be one.
    pub unsent: BTreeSet<String>,
}

/// Decides for every entry of `catalogue`.
///
/// # Errors
/// [`Error::DeletesEverything`]: a plan that leaves nothing of this installation is refused. The rules never make
/// one; this stands guard over the rules.
pub fn plan(policy: &Policy, catalogue: &Catalogue, pins: &Pins, now: DateTime<Utc>) -> Result<Plan, Error> {
    let rules = Rules::new(policy, catalogue, now);
    let decisions: Vec<Decision> = catalogue.entries().iter().map(|entry| decision(&rules, entry, pins)).collect();
    guard(catalogue, &decisions)?;
    Ok(Plan { decisions })
}

fn decision(rules: &Rules<'_>, entry: &Entry, pins: &Pins) -> Decision {
    let goes = |reason: Reason| matches!(reason, Reason::Expired(_) | Reason::Outside);
    let reason = match rules.judge(entry) {
        _ if pins.in_use.contains(&entry.file) => Reason::Pinned,
        reason if goes(reason) && pins.unsent.contains(&entry.file) => Reason::Unsent,
        reason => reason,
    };
    let action = if goes(reason) { Action::Delete } else { Action::Keep };
    Decision { file: entry.file.clone(), action, reason }
}

fn guard(catalogue: &Catalogue, decisions: &[Decision]) -> Result<(), Error> {
    let goes = |file: &str| decisions.iter().any(|d| d.file == file && d.action == Action::Delete);
    let usable = |e: &&Entry| e.own && !matches!(e.state, State::SetAside(_));
    let (mut own, mut deleted) = (0, 0);
    for entry in catalogue.entries().iter().filter(usable) {
        own += 1;
        deleted += usize::from(goes(&entry.file));
    }
    if own > 0 && own == deleted { Err(Error::DeletesEverything { count: deleted }) } else { Ok(()) }
}

/// The sets that the rules speak of, by file name.
struct Rules<'a> {
    policy: &'a Policy,
    now: DateTime<Utc>,
    /// How many verified backups there are.
    verified: usize,
    last: BTreeSet<&'a str>,
    held: BTreeSet<&'a str>,
    before_gap: BTreeSet<&'a str>,
    mark: Option<&'a str>,
    calendar: BTreeMap<&'a str, Periods>,
}

impl<'a> Rules<'a> {
    fn new(policy: &'a Policy, catalogue: &'a Catalogue, now: DateTime<Utc>) -> Self {
        // The catalogue is sorted: newest first.
        let backups = || catalogue.entries().iter().filter(|e| e.own && e.kind == Some(Kind::Backup));
        let verified = || backups().filter(|e| e.is_verified());
        let is_mark = |e: &&Entry| e.is_suspicious() && !matches!(e.state, State::SetAside(_));
        // The oldest of them.
        let mark = backups().rfind(is_mark);
        // What was never proven is nobody's only backup of a month; what was copied back is proven as soon as it is read.
        let proven = |e: &&Entry| matches!(e.state, State::Verified { .. } | State::Committed);
        let held =
            backups().filter(proven).filter(|e| !e.is_suspicious() && mark.is_some_and(|mark| e.date < mark.date));
        let candidates =
            backups().filter(proven).map(|e| Candidate { file: &e.file, date: e.date, verified: e.is_verified() });
        Self {
            policy,
            now,
            calendar: policy.keep.choose(candidates, policy.zone),
            verified: verified().count(),
            last: verified().take(policy.least()).map(|e| e.file.as_str()).collect(),
            held: held.map(|e| e.file.as_str()).collect(),
            before_gap: before_gap(policy, &verified().collect::<Vec<_>>(), now),
            mark: mark.map(|e| e.file.as_str()),
        }
    }

    fn judge(&self, entry: &Entry) -> Reason {
        let file = entry.file.as_str();
        let Some(kind) = entry.kind.filter(|_| entry.own) else { return Reason::Foreign };
        if matches!(entry.state, State::SetAside(_)) {
            return Reason::SetAside;
        }
        // The old scripts wrote `.sql.gz` alone: what else has no manifest was unpacked by a person.
        if entry.state == State::Unproven && !file.ends_with(".sql.gz") {
            return Reason::Foreign;
        }
        if let Some(periods) = self.calendar.get(file) {
            return Reason::Calendar(*periods);
        }
        if self.last.contains(file) {
            return Reason::LastVerified(self.policy.keep_verified.max(1));
        }
        if self.held.contains(file) {
            return Reason::Held;
        }
        let days = match (kind, &entry.state) {
            (Kind::Backup, State::Unproven) => Some(self.policy.days.unwrap_or(self.policy.safety_days)),
            (Kind::Backup, _) => self.policy.days,
            (Kind::Safety | Kind::Final, _) => Some(self.policy.safety_days),
        };
        if let Some(days) = days.filter(|days| is_within(entry.date, *days, self.now)) {
            return Reason::Recent(days);
        }
        if self.mark == Some(file) {
            return Reason::HoldsOthers;
        }
        if self.before_gap.contains(file) {
            return Reason::BeforeGap;
        }
        let needed = if kind == Kind::Backup { self.policy.least() } else { 1 };
        if self.verified < needed { Reason::TooFewVerified } else { days.map_or(Reason::Outside, Reason::Expired) }
    }
}

/// How long what lies before a gap waits for somebody to look.
const SETTLES: TimeDelta = TimeDelta::days(7);

/// Of `verified` (newest first) the last ones before a gap that would let all of them go.
fn before_gap<'a>(policy: &Policy, verified: &[&'a Entry], now: DateTime<Utc>) -> BTreeSet<&'a str> {
    // A calendar keeps older ones anyway.
    let Some(days) = policy.days.filter(|_| !policy.keep.is_set()) else { return BTreeSet::new() };
    let (recent, rest) = verified.split_at(verified.partition_point(|e| now - e.date <= SETTLES));
    // Backups of every week have no gap between them; a day more, since nights are not made by the second.
    let longest = TimeDelta::days(i64::from(days)).max(SETTLES) + TimeDelta::days(1);
    let (Some(first), Some(last)) = (recent.last(), rest.first()) else { return BTreeSet::new() };
    if first.date - last.date <= longest {
        return BTreeSet::new();
    }
    rest.iter().take(policy.least()).map(|e| e.file.as_str()).collect()
}

/// Whether `date` is at most `days` times 24 hours ago; one in the future is.
fn is_within(date: DateTime<Utc>, days: u32, now: DateTime<Utc>) -> bool {
    now - date <= TimeDelta::days(i64::from(days))
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It would leave nothing.
    #[error("{}", t!("domain.retention.deletes_everything", count = count))]
    DeletesEverything {
        /// How many it would delete.
        count: usize,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(t!("domain.retention.deletes_everything_hint").into_owned())
    }
}

#[cfg(test)]
mod tests;
