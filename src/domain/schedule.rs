//! When a backup is due. No clock and no waiting: times come in and go out as values.
//!
//! A slot is an instant at which the expression fires in its zone. Where clocks change: an hour that does
//! not exist fires once, right after it; an hour that exists twice fires once, the first time, unless the
//! expression is a repetition (`*/30`), which goes on through both (fault 45).

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use rust_i18n::t;

use crate::domain::text::{escape, nearest};
use crate::error::{Exit, Explain};

/// A cron expression of five fields.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// Reads an expression: minute, hour, day of month, month, day of week; or one of the nicknames
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`, which stand for such five fields.
    ///
    /// # Errors
    /// [`Error`]: not five fields (seconds are refused), a field out of range, or it never fires.
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let text = expression.trim();
        let shown = || escape(text);
        let found = text.split_whitespace().count();
        match found {
            0 => return Err(Error::Empty),
            1 if is_nickname(text) => {}
            5 => {}
            6 | 7 => return Err(Error::Seconds { expression: shown(), found }),
            _ => return Err(Error::Fields { expression: shown(), found }),
        }
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|e| Error::Invalid { expression: shown(), cause: escape(&e.to_string()) })?;
        let schedule = Self { text: text.to_owned(), cron };
        // Any start will do: what fires at all fires within the eight years between leap years around 2100.
        match schedule.next_after(DateTime::UNIX_EPOCH, Tz::UTC) {
            Some(_) => Ok(schedule),
            None => Err(Error::NeverFires { expression: shown() }),
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first slot after `time`.
    #[must_use]
    pub fn next_after(&self, time: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let next = self.cron.find_next_occurrence(&time.with_timezone(&zone), false).ok()?;
        Some(next.with_timezone(&Utc))
    }

    /// The last slot that is not after `time`.
    #[must_use]
    pub fn previous_at_or_before(&self, time: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let previous = self.cron.find_previous_occurrence(&time.with_timezone(&zone), true).ok()?;
        Some(previous.with_timezone(&Utc))
    }

    /// The shortest gap between slots around `now`: of the one that holds it and the two beside it.
    #[must_use]
    pub fn period(&self, now: DateTime<Utc>, zone: Tz) -> Option<TimeDelta> {
        let last = self.previous_at_or_before(now, zone)?;
        let before = self.previous_at_or_before(last - TimeDelta::seconds(1), zone)?;
        let next = self.next_after(now, zone)?;
        let after = self.next_after(next, zone)?;
        [last - before, next - last, after - next].into_iter().min()
    }

    /// The slot that nothing ran for, to be caught up now: at most one, however long the machine slept
    /// (fault 46), and none from before `installed_at`.
    ///
    /// `last` is when the last run of this schedule, **as the journal has them in order**, started; or when
    /// it ended, if slots fell into it ([`Schedule::skipped`]), which are not caught up.
    /// A clock that went back does not fire a slot again (fault 43); but a `last` further ahead of `now` than
    /// two periods was dated by a wrong clock and is not believed: one backup too many is better than none.
    #[must_use]
    pub fn due(
        &self,
        last: Option<DateTime<Utc>>,
        installed_at: DateTime<Utc>,
        now: DateTime<Utc>,
        zone: Tz,
    ) -> Option<DateTime<Utc>> {
        let slot = self.previous_at_or_before(now, zone)?;
        let horizon = now + self.period(now, zone)? * 2;
        let since = last.filter(|last| *last <= horizon).unwrap_or(installed_at);
        (slot > since).then_some(slot)
    }

    /// The slots that fell while a run went on from `started` to `finished`: skipped, to be reported (fault 47).
    /// What follows is [`Schedule::next_after`] `finished`.
    #[must_use]
    pub fn skipped(&self, started: DateTime<Utc>, finished: DateTime<Utc>, zone: Tz) -> Option<Skipped> {
        let first = self.next_after(started, zone).filter(|slot| *slot <= finished)?;
        let last = self.previous_at_or_before(finished, zone)?;
        let mut slots = 1;
        let mut slot = first;
        while slots < Skipped::MOST
            && let Some(next) = self.next_after(slot, zone).filter(|next| *next <= finished)
        {
            slot = next;
            slots += 1;
        }
        Some(Skipped { slots, first, last })
    }

    /// Whether the newest good backup (its start; `None`: there is none) is missing or too old at `now`: the
    /// last slot that is at least `grace` ago was due since `installed_at`, and nothing was made for it.
    #[must_use]
    pub fn is_overdue(
        &self,
        newest: Option<DateTime<Utc>>,
        installed_at: DateTime<Utc>,
        now: DateTime<Utc>,
        grace: TimeDelta,
        zone: Tz,
    ) -> bool {
        let Some(slot) = self.previous_at_or_before(now - grace, zone) else { return false };
        slot > installed_at && newest.is_none_or(|newest| newest < slot)
    }
}

impl Schedule {
    /// Whether the newest good backup of an installation that something else than this schedule starts, at an hour of its own, is too
    /// old at `now`: older than a period and `grace`.
    #[must_use]
    pub fn is_too_old(&self, newest: DateTime<Utc>, now: DateTime<Utc>, grace: TimeDelta, zone: Tz) -> bool {
        self.period(now, zone).is_some_and(|period| now - newest > period + grace)
    }
}

fn is_nickname(text: &str) -> bool {
    ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"].iter().any(|n| n.eq_ignore_ascii_case(text))
}

/// Slots that fell into a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// How many, counted up to [`Skipped::MOST`].
    pub slots: u32,
    /// The first of them.
    pub first: DateTime<Utc>,
    /// The last of them.
    pub last: DateTime<Utc>,
}

impl Skipped {
    /// Where counting ends.
    pub const MOST: u32 = 1000;
}

/// Reads the name of a time zone.
///
/// # Errors
/// [`Error::Zone`], with the nearest name there is.
pub fn zone(name: &str) -> Result<Tz, Error> {
    Tz::from_str(name.trim()).map_err(|_| Error::Zone { name: escape(name), nearest: nearest_zone(name.trim()) })
}

fn nearest_zone(name: &str) -> Option<&'static str> {
    let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
    let city = |zone: &'static str| zone.rsplit('/').next().unwrap_or(zone);
    nearest(name, names()).or_else(|| {
        // `Paris`, `Pariss`: the city without its continent.
        let nearest_city = nearest(name, names().map(city))?;
        names().find(|zone| city(zone) == nearest_city)
    })
}

/// What is wrong with a schedule or its zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was written.
    #[error("{}", t!("domain.schedule.empty"))]
    Empty,
    /// Six or seven fields: seconds or years.
    #[error("{}", t!("domain.schedule.seconds", expression = expression, found = found))]
    Seconds {
        /// The expression.
        expression: String,
        /// Its fields.
        found: usize,
    },
    /// Another number of fields.
    #[error("{}", t!("domain.schedule.fields", expression = expression, found = found))]
    Fields {
        /// The expression.
        expression: String,
        /// Its fields.
        found: usize,
    },
    /// A field is not understood.
    #[error("{}", t!("domain.schedule.invalid", expression = expression, cause = cause))]
    Invalid {
        /// The expression.
        expression: String,
        /// What the reader says.
        cause: String,
    },
    /// No date matches.
    #[error("{}", t!("domain.schedule.never", expression = expression))]
    NeverFires {
        /// The expression.
        expression: String,
    },
    /// No such time zone.
    #[error("{}", t!("domain.schedule.zone", name = name))]
    Zone {
        /// What was written.
        name: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Zone { nearest: Some(nearest), .. } => t!("domain.schedule.zone_hint", nearest = nearest),
            Self::Zone { nearest: None, .. } => t!("domain.schedule.zone_hint", nearest = "Europe/Paris"),
            Self::Seconds { .. } => t!("domain.schedule.seconds_hint"),
            Self::NeverFires { .. } => t!("domain.schedule.never_hint"),
            _ => t!("domain.schedule.fields_hint"),
        };
        Some(hint.into_owned())
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

#[cfg(test)]
mod tests;
