//! Calendar rules: of each of the last so many hours, days, weeks, months and years with backups, one is kept. What people
//! write in `BACKUP_KEEP`: `hourly:24,daily:7,weekly:4,monthly:12,yearly:3`.
//!
//! Periods are those of the local calendar (weeks begin on Monday, as in ISO 8601; an hour that the clocks repeat is two).
//! Only periods that have a backup count, so a month without any costs no older one its place. Of a period the newest
//! backup stays that was read back whole; where none was, the newest.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Offset, Timelike, Utc};
use chrono_tz::Tz;
use rust_i18n::t;

/// How many of each period, at most [`MOST`]; none of those that are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep([u32; Period::ALL.len()]);

/// A length of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// An hour of the local clock.
    Hourly,
    /// A day of the local calendar.
    Daily,
    /// Monday to Sunday.
    Weekly,
    /// A month.
    Monthly,
    /// A year.
    Yearly,
}

/// The most that a rule may keep: a century of days.
pub const MOST: u32 = 36_500;

impl Period {
    /// From the shortest.
    pub const ALL: [Self; 5] = [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// As people write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// What two dates of one period have in common, and no other date has.
    fn of(self, date: DateTime<Tz>) -> [i32; 4] {
        let part = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        match self {
            Self::Hourly => [
                date.year(),
                part(date.ordinal()),
                part(date.hour()),
                // The hour that exists twice.
                date.offset().fix().local_minus_utc(),
            ],
            Self::Daily => [date.year(), part(date.ordinal()), 0, 0],
            Self::Weekly => [date.iso_week().year(), part(date.iso_week().week()), 0, 0],
            Self::Monthly => [date.year(), part(date.month()), 0, 0],
            Self::Yearly => [date.year(), 0, 0, 0],
        }
    }
}

/// The rules that keep a backup. `Display` names them, in the operator's language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Periods(u8);

impl Periods {
    /// Whether `period` is among them.
    #[must_use]
    pub fn has(self, period: Period) -> bool {
        self.0 & (1 << period as u8) != 0
    }

    fn add(&mut self, period: Period) {
        self.0 |= 1 << period as u8;
    }
}

impl fmt::Display for Periods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = Period::ALL
            .into_iter()
            .filter(|period| self.has(*period))
            .map(|period| t!(format!("domain.keep.{}", period.word())).into_owned())
            .collect();
        f.write_str(&words.join(", "))
    }
}

/// A backup that may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Name of its data file.
    pub file: &'a str,
    /// When it was made.
    pub date: DateTime<Utc>,
    /// Read back whole: goes before one that was not.
    pub verified: bool,
}

impl Keep {
    /// Whether there is any rule.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.iter().any(|count| *count > 0)
    }

    /// How many of `period`.
    #[must_use]
    pub fn count(&self, period: Period) -> u32 {
        self.0[period as usize]
    }

    /// Which of `candidates` (in any order) stay, and by which rules.
    #[must_use]
    pub fn choose<'a>(
        &self,
        candidates: impl IntoIterator<Item = Candidate<'a>>,
        zone: Tz,
    ) -> BTreeMap<&'a str, Periods> {
        let mut candidates: Vec<_> = candidates.into_iter().collect();
        candidates.sort_by(|a, b| b.date.cmp(&a.date).then_with(|| b.file.cmp(a.file)));
        let mut kept: BTreeMap<&str, Periods> = BTreeMap::new();
        for period in Period::ALL {
            // By the end of the period, newest first: dates go back and local periods with them.
            let mut chosen: Vec<([i32; 4], Candidate<'_>)> = Vec::new();
            for candidate in &candidates {
                let of = period.of(candidate.date.with_timezone(&zone));
                let full = chosen.len() >= self.count(period) as usize;
                match chosen.iter_mut().find(|(other, _)| *other == of) {
                    Some((_, better)) if candidate.verified && !better.verified => *better = *candidate,
                    Some(_) => {}
                    None if full => {}
                    None => chosen.push((of, *candidate)),
                }
            }
            for (_, candidate) in chosen {
                kept.entry(candidate.file).or_default().add(period);
            }
        }
        kept
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Period::ALL.into_iter().filter(|period| self.count(*period) > 0);
        let rules: Vec<_> = set.map(|period| format!("{}:{}", period.word(), self.count(period))).collect();
        f.write_str(&rules.join(","))
    }
}

/// Why a text is no set of rules: the part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

impl FromStr for Keep {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let mut keep = Self::default();
        for rule in text.split(',') {
            let rule = rule.trim();
            let wrong = || Wrong(rule.to_owned());
            let (word, count) = rule.split_once(':').ok_or_else(wrong)?;
            let period = Period::ALL.into_iter().find(|period| period.word() == word.trim()).ok_or_else(wrong)?;
            let count = count.trim();
            let digits = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
            let count = count.parse().ok().filter(|count| digits && (1..=MOST).contains(count)).ok_or_else(wrong)?;
            if keep.count(period) > 0 {
                return Err(wrong());
            }
            keep.0[period as usize] = count;
        }
        Ok(keep)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone};
    use chrono_tz::Europe::Paris;
    use proptest::prelude::*;

    use super::*;

    fn paris(text: &str) -> DateTime<Utc> {
        let naive = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        Paris.from_local_datetime(&naive).earliest().unwrap().with_timezone(&Utc)
    }

    fn candidates<'a>(names: &'a [String], dates: &[DateTime<Utc>]) -> Vec<Candidate<'a>> {
        names.iter().zip(dates).map(|(file, date)| Candidate { file, date: *date, verified: true }).collect()
    }

    fn kept(rules: &str, dates: &[DateTime<Utc>]) -> Vec<usize> {
        let names: Vec<String> = (0..dates.len()).map(|n| format!("{n:04}")).collect();
        let keep: Keep = rules.parse().unwrap();
        keep.choose(candidates(&names, dates), Paris).into_keys().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn rules_are_read_and_shown() {
        let all = "hourly:24,daily:7,weekly:4,monthly:12,yearly:3";
        let keep: Keep = all.parse().unwrap();
        assert_eq!(keep.to_string(), all);
        assert_eq!(" monthly : 6 , daily:1".parse::<Keep>().unwrap().to_string(), "daily:1,monthly:6");
        assert!(!Keep::default().is_set() && keep.is_set());
        for (text, part) in [
            ("", ""),
            ("daily", "daily"),
            ("daily:0", "daily:0"),
            ("daily:-1", "daily:-1"),
            ("daily:+1", "daily:+1"),
            ("daily:7,", ""),
            ("daily:7,daily:8", "daily:8"),
            ("fortnightly:2", "fortnightly:2"),
            ("daily:36501", "daily:36501"),
        ] {
            assert_eq!(text.parse::<Keep>(), Err(Wrong(part.to_owned())), "{text}");
        }
    }

    #[test]
    fn of_each_period_the_newest_stays() {
        let nightly: Vec<_> = (0..800).map(|ago| paris("2026-11-21 03:00") - TimeDelta::days(ago)).collect();
        assert_eq!(kept("daily:3", &nightly), [0, 1, 2]);
        // 21 November 2026 is a Saturday: its own week, then Sundays.
        assert_eq!(kept("weekly:3", &nightly), [0, 6, 13]);
        // 21 November, 31 October, 30 September.
        assert_eq!(kept("monthly:3", &nightly), [0, 21, 52]);
        // 31 December of the years before.
        assert_eq!(kept("yearly:3", &nightly), [0, 325, 690]);
        assert_eq!(kept("daily:2,weekly:2,yearly:9", &nightly), [0, 1, 6, 325, 690]);
    }

    #[test]
    fn periods_are_local_and_the_hour_that_exists_twice_is_two() {
        let before_midnight = paris("2026-07-01 23:30");
        let after_midnight = paris("2026-07-02 00:30");
        // One day in UTC, two in Paris.
        assert_eq!(kept("daily:5", &[after_midnight, before_midnight]), [0, 1]);
        let twice = paris("2026-10-25 02:30");
        assert_eq!(kept("hourly:5", &[twice + TimeDelta::hours(1), twice, twice - TimeDelta::minutes(20)]), [0, 1]);
        // 29 December 2025 is in week 1 of 2026, as 1 January is.
        assert_eq!(kept("weekly:5", &[paris("2026-01-01 03:00"), paris("2025-12-29 03:00")]), [0]);
        assert_eq!(kept("yearly:5", &[paris("2026-01-01 03:00"), paris("2025-12-29 03:00")]), [0, 1]);
    }

    #[test]
    fn a_gap_costs_no_older_one_its_place() {
        let dates = [paris("2026-11-21 03:00"), paris("2026-05-02 03:00"), paris("2024-02-03 03:00")];
        assert_eq!(kept("daily:3", &dates), [0, 1, 2]);
    }

    #[test]
    fn one_that_was_read_goes_before_one_that_was_not() {
        let (early, late) = (paris("2026-11-21 03:00"), paris("2026-11-21 15:00"));
        let of = |early_verified, late_verified| {
            let keep: Keep = "daily:1".parse().unwrap();
            let candidates = [
                Candidate { file: "late", date: late, verified: late_verified },
                Candidate { file: "early", date: early, verified: early_verified },
            ];
            keep.choose(candidates, Paris).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(of(true, true), ["late"]);
        assert_eq!(of(true, false), ["early"]);
        assert_eq!(of(false, false), ["late"]);
    }

    proptest! {
        #[test]
        fn what_is_kept_stays_kept_and_never_more_than_asked(
            hours in proptest::collection::btree_set(0i64..30_000, 0..60),
            counts in proptest::array::uniform5(0u32..6),
        ) {
            let start = paris("2026-11-21 03:00");
            let dates: Vec<_> = hours.into_iter().map(|ago| start - TimeDelta::hours(ago)).collect();
            let names: Vec<String> = dates.iter().map(|d| d.format("%Y%m%d%H").to_string()).collect();
            let all = candidates(&names, &dates);
            let keep = Keep(counts);
            let chosen = keep.choose(all.clone(), Paris);
            for (period, count) in Period::ALL.into_iter().zip(counts) {
                let of: Vec<_> = all.iter().filter(|c| chosen.get(c.file).is_some_and(|p| p.has(period))).collect();
                prop_assert!(of.len() <= count as usize);
                // Each has a period of its own, and the newest backup is one of them.
                let mut periods: Vec<_> = of.iter().map(|c| period.of(c.date.with_timezone(&Paris))).collect();
                periods.dedup();
                prop_assert_eq!(periods.len(), of.len());
                if count > 0 && !all.is_empty() {
                    prop_assert_eq!(of[0].file, all[0].file);
                    let exist: std::collections::BTreeSet<_> =
                        all.iter().map(|c| period.of(c.date.with_timezone(&Paris))).collect();
                    prop_assert_eq!(of.len(), exist.len().min(count as usize), "a period is left out");
                }
            }
            // Once the others are gone, the same are kept.
            let left = all.iter().copied().filter(|c| chosen.contains_key(c.file));
            prop_assert_eq!(keep.choose(left, Paris), chosen);
        }
    }
}
