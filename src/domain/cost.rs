//! What it costs to keep backups: from their sizes, how they grow, how long they are kept, and a list of prices. Knows no store
//! and no clock. An estimate for people who choose a place or a class, not a bill: requests and taxes are left out.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_i18n::t;
use serde::Deserialize;

use crate::domain::keep::Candidate;
use crate::domain::retention::Policy;
use crate::domain::schedule::Schedule;
use crate::error::{Exit, Explain};

/// Version of the list of prices.
pub const FORMAT: u32 = 1;
/// Bytes of what is sold as a gigabyte.
const GIGABYTE: f64 = 1e9;
/// The class of what has none.
pub const STANDARD: &str = "STANDARD";
/// Backups from which a trend is read: the newest of so many.
const TREND_OF: usize = 120;
/// A trend needs so much time.
const TREND_OVER: TimeDelta = TimeDelta::days(2);
/// Runs that are looked ahead at most: a year of them, every five minutes.
const RUNS_AHEAD: usize = 106_000;

/// A list of prices.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// [`FORMAT`].
    pub format: u32,
    /// When they held.
    pub date: String,
    /// `EUR`.
    pub currency: String,
    /// For people.
    #[serde(default)]
    pub note: String,
    /// The first that fits holds.
    pub prices: Vec<Price>,
}

/// What one class of one provider costs, for a gigabyte of 10^9 bytes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For people.
    pub name: String,
    /// `local`, `aws` (a store without an address of its own), or how the address of the store ends.
    pub place: String,
    /// Only for this bucket.
    #[serde(default)]
    pub bucket: Option<String>,
    /// The storage class; [`STANDARD`] where none is set.
    #[serde(default = "standard")]
    pub class: String,
    /// To keep it for a month.
    pub gb_month: f64,
    /// Gigabytes that cost nothing.
    #[serde(default)]
    pub free_gb: f64,
    /// To read it in that class.
    #[serde(default)]
    pub retrieval_gb: f64,
    /// To fetch it from there.
    #[serde(default)]
    pub transfer_gb: f64,
    /// Gigabytes that may be fetched in a month for nothing.
    #[serde(default)]
    pub free_transfer_gb: f64,
    /// What is deleted earlier is paid for until then.
    #[serde(default)]
    pub minimum_days: u32,
    /// Where it was read.
    #[serde(default)]
    pub source: String,
}

fn standard() -> String {
    STANDARD.to_owned()
}

/// A place that has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At<'a> {
    /// The disk of this machine.
    Local,
    /// A bucket.
    Bucket {
        /// Its name.
        bucket: &'a str,
        /// Address of the store; `None`: AWS's own.
        endpoint: Option<&'a str>,
        /// The storage class of what is uploaded.
        class: Option<&'a str>,
    },
}

impl Prices {
    /// Reads a list.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let prices: Self = serde_json::from_str(text).map_err(|error| Error::NotPrices { cause: error.to_string() })?;
        if prices.format != FORMAT {
            return Err(Error::Format { found: prices.format });
        }
        let is_bad = |n: f64| !n.is_finite() || n < 0.0;
        let numbers = |p: &Price| [p.gb_month, p.free_gb, p.retrieval_gb, p.transfer_gb, p.free_transfer_gb];
        match prices.prices.iter().find(|price| numbers(price).into_iter().any(is_bad)) {
            Some(price) => Err(Error::Negative { name: price.name.clone() }),
            None => Ok(prices),
        }
    }

    /// The price of a place; `None`: the list does not know it.
    #[must_use]
    pub fn of(&self, at: At<'_>) -> Option<&Price> {
        self.prices.iter().find(|price| match at {
            At::Local => price.place == "local",
            At::Bucket { bucket, endpoint, class } => {
                let here = match endpoint.map(host) {
                    None => price.place == "aws",
                    Some(host) => is_below(host, &price.place),
                };
                let bucket = price.bucket.as_deref().is_none_or(|only| only == bucket);
                here && bucket && price.class.eq_ignore_ascii_case(class.unwrap_or(STANDARD))
            }
        })
    }
}

/// Without scheme, port and path.
fn host(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// `s3.fr-par.scw.cloud` is below `scw.cloud`; `myscw.cloud` is not.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A backup in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// When it was made.
    pub date: DateTime<Utc>,
    /// Stored bytes.
    pub bytes: u64,
    /// One of the nightly ones, which the rotation counts; the others (safety dumps, files of others) are taken to stay as many.
    pub nightly: bool,
}

/// How backups grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// The newest, bytes.
    pub latest: u64,
    /// When that was made.
    pub at: DateTime<Utc>,
    /// Bytes more each day; never fewer, since what shrinks once is no trend to save on. `None`: too few to tell.
    pub per_day: Option<f64>,
}

impl Growth {
    /// Of nightly backups of one format, in any order; `None` where there are none. The middle of all slopes between two of them: a backup
    /// that is out of line does not bend it.
    #[must_use]
    pub fn of(backups: &[Kept]) -> Option<Self> {
        let mut nightly: Vec<&Kept> = backups.iter().filter(|kept| kept.nightly).collect();
        nightly.sort_by_key(|kept| std::cmp::Reverse(kept.date));
        nightly.truncate(TREND_OF);
        let newest = **nightly.first()?;
        let over = nightly.last().map_or(TimeDelta::zero(), |oldest| newest.date - oldest.date);
        let per_day = (nightly.len() >= 3 && over >= TREND_OVER).then(|| middle_slope(&nightly).max(0.0));
        Some(Self { latest: newest.bytes, at: newest.date, per_day })
    }

    /// What a backup will have then, bytes.
    fn then(&self, date: DateTime<Utc>) -> f64 {
        let days = (date - self.at).num_seconds() as f64 / 86_400.0;
        (self.latest as f64 + self.per_day.unwrap_or(0.0) * days).max(0.0)
    }
}

fn middle_slope(newest_first: &[&Kept]) -> f64 {
    let mut slopes = Vec::new();
    for (index, later) in newest_first.iter().enumerate() {
        for earlier in &newest_first[index + 1..] {
            let days = (later.date - earlier.date).num_seconds() as f64 / 86_400.0;
            if days > 0.0 {
                slopes.push((later.bytes as f64 - earlier.bytes as f64) / days);
            }
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

/// What will be done, and in which calendar.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// When backups are made.
    pub schedule: &'a Schedule,
    /// In which zone.
    pub zone: Tz,
    /// Now.
    pub now: DateTime<Utc>,
    /// How they grow; `None`: there are none.
    pub growth: Option<Growth>,
}

/// What a place holds at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Held {
    /// How many.
    pub backups: usize,
    /// Their bytes.
    pub bytes: f64,
    /// Bytes that are paid for: also what was deleted before its time.
    pub billed: f64,
}

/// What a place costs; amounts are `None` where its price is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// What it holds.
    pub held: Held,
    /// To keep that for a month.
    pub month: Option<f64>,
    /// To fetch the newest backup once.
    pub restore: Option<f64>,
}

impl Plan<'_> {
    /// Now: what there is.
    #[must_use]
    pub fn now(&self, kept: &[Kept], policy: &Policy, price: Option<&Price>) -> Cost {
        let bytes = kept.iter().map(|k| k.bytes as f64).sum();
        let gone = price.map_or(0.0, |price| self.deleted_early(kept, policy, price));
        let held = Held { backups: kept.len(), bytes, billed: bytes + gone };
        self.cost(held, self.now, price)
    }

    /// At a later time, if it goes on as it does.
    #[must_use]
    pub fn later(&self, kept: &[Kept], policy: &Policy, price: Option<&Price>, then: DateTime<Utc>) -> Cost {
        let minimum = TimeDelta::days(price.map_or(0, |price| i64::from(price.minimum_days)));
        let mut runs: Vec<(DateTime<Utc>, f64)> =
            kept.iter().filter(|k| k.nightly).map(|k| (k.date, k.bytes as f64)).collect();
        if let Some(growth) = &self.growth {
            runs.extend(self.runs(self.now, then).map(|date| (date, growth.then(date))));
        }
        runs.sort_by_key(|(date, _)| std::cmp::Reverse(*date));
        let stays = stays(&runs, policy, self.zone, then);
        let mut held = Held::default();
        for ((date, bytes), stays) in runs.iter().zip(stays) {
            if stays {
                held.backups += 1;
                held.bytes += bytes;
            }
            if stays || then - *date < minimum {
                held.billed += bytes;
            }
        }
        for other in kept.iter().filter(|k| !k.nightly) {
            held.backups += 1;
            held.bytes += other.bytes as f64;
            held.billed += other.bytes as f64;
        }
        self.cost(held, then, price)
    }

    /// Bytes of what the rotation took before the time that is paid for anyway.
    fn deleted_early(&self, kept: &[Kept], policy: &Policy, price: &Price) -> f64 {
        let minimum = TimeDelta::days(i64::from(price.minimum_days));
        let nightly = || kept.iter().filter(|k| k.nightly);
        let (Some(growth), Some(first)) = (&self.growth, nightly().map(|k| k.date).min()) else { return 0.0 };
        let days = policy.days.unwrap_or(0);
        // How long it has been so cannot be told from what is there: as long as it keeps anything, and no longer than it is paid for.
        let is_steady = self.now - first >= TimeDelta::days(i64::from(days)) - TimeDelta::days(1);
        let since = if is_steady { self.now - minimum } else { first };
        let made = self.runs(since, self.now).count();
        let there = nightly().filter(|k| k.date > since).count();
        growth.latest as f64 * made.saturating_sub(there) as f64
    }

    fn runs(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let next = |date: DateTime<Utc>| self.schedule.next_after(date, self.zone);
        std::iter::successors(next(from), move |date| next(*date))
            .take_while(move |date| *date <= until)
            .take(RUNS_AHEAD)
    }

    fn cost(&self, held: Held, then: DateTime<Utc>, price: Option<&Price>) -> Cost {
        let gigabytes = |bytes: f64| bytes / GIGABYTE;
        let one = gigabytes(self.growth.map_or(0.0, |growth| growth.then(then.max(growth.at))));
        Cost {
            held,
            month: price.map(|p| (gigabytes(held.billed) - p.free_gb).max(0.0) * p.gb_month),
            restore: price.map(|p| one * p.retrieval_gb + (one - p.free_transfer_gb).max(0.0) * p.transfer_gb),
        }
    }
}

/// Which of `runs`, newest first, the rotation leaves at `then`.
fn stays(runs: &[(DateTime<Utc>, f64)], policy: &Policy, zone: Tz, then: DateTime<Utc>) -> Vec<bool> {
    let names: Vec<String> = (0..runs.len()).map(|n| format!("{n:08}")).collect();
    let candidates = names.iter().zip(runs).map(|(file, (date, _))| Candidate { file, date: *date, verified: true });
    let calendar = policy.keep.choose(candidates, zone);
    let least = policy.keep_verified.max(1) as usize;
    let is_recent =
        |date: DateTime<Utc>| policy.days.is_some_and(|days| then - date <= TimeDelta::days(i64::from(days)));
    let each = runs.iter().zip(&names).enumerate();
    each.map(|(n, ((date, _), name))| n < least || is_recent(*date) || calendar.contains_key(name.as_str())).collect()
}

/// Why a list of prices is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No JSON, or not of this shape.
    #[error("{}", t!("domain.cost.not_prices", cause = cause))]
    NotPrices {
        /// What the parser says.
        cause: String,
    },
    /// Of another version.
    #[error("{}", t!("domain.cost.format", found = found, known = FORMAT))]
    Format {
        /// That one.
        found: u32,
    },
    /// A number that is no price.
    #[error("{}", t!("domain.cost.negative", name = name))]
    Negative {
        /// Of this entry.
        name: String,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(t!("domain.cost.hint").into_owned())
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = include_str!("../../docs/prices.json");

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn now() -> DateTime<Utc> {
        utc("2026-11-22T12:00:00Z")
    }

    /// One each night, the newest of `latest` bytes, each `step` smaller than the next.
    fn nightly(count: u32, latest: u64, step: u64) -> Vec<Kept> {
        let newest = utc("2026-11-22T02:00:00Z");
        let one = |ago: u32| Kept {
            date: newest - TimeDelta::days(i64::from(ago)),
            bytes: latest - step * u64::from(ago),
            nightly: true,
        };
        (0..count).map(one).collect()
    }

    fn price(gb_month: f64) -> Price {
        let json = format!(r#"{{"name":"x","place":"aws","gb_month":{gb_month}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn schedule() -> Schedule {
        Schedule::parse("0 3 * * *").unwrap()
    }

    fn plan<'a>(schedule: &'a Schedule, kept: &[Kept]) -> Plan<'a> {
        Plan { schedule, zone: Tz::Europe__Paris, now: now(), growth: Growth::of(kept) }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn the_list_that_comes_with_the_program_is_one_and_knows_the_providers() {
        let prices = Prices::parse(DEFAULT).unwrap();
        assert!(prices.prices.iter().all(|price| !price.source.is_empty()));
        let name = |endpoint, class| prices.of(At::Bucket { bucket: "b", endpoint, class }).map(|p| p.name.as_str());
        assert_eq!(name(None, None), Some("AWS S3 Standard"));
        assert_eq!(name(None, Some("glacier_ir")), Some("AWS S3 Glacier Instant Retrieval"));
        assert_eq!(name(Some("https://s3.fr-par.scw.cloud"), Some("ONEZONE_IA")), Some("Scaleway One Zone-IA"));
        assert_eq!(name(Some("https://s3.gra.io.cloud.ovh.net:443/x"), None), Some("OVHcloud Standard (one zone)"));
        assert_eq!(name(Some("http://garage:3900"), None), None);
        assert_eq!(name(Some("https://myscw.cloud"), None), None, "another one's name");
        assert_eq!(prices.of(At::Local).map(|price| price.gb_month), Some(0.0));
    }

    #[test]
    fn a_bucket_of_ones_own_may_have_a_price_of_its_own() {
        let mut prices = Prices::parse(DEFAULT).unwrap();
        prices.prices.insert(0, Price { bucket: Some("mine".into()), ..price(1.0) });
        let of = |bucket| prices.of(At::Bucket { bucket, endpoint: None, class: None }).map(|price| price.gb_month);
        assert_eq!((of("mine"), of("other")), (Some(1.0), Some(0.024)));
    }

    #[test]
    fn what_is_no_list_of_prices_is_refused() {
        for (text, error) in [
            ("{", "NotPrices"),
            (r#"{"format":2,"date":"","currency":"EUR","prices":[]}"#, "Format"),
            (
                r#"{"format":1,"date":"","currency":"EUR","prices":[{"name":"x","place":"aws","gb_month":-1}]}"#,
                "Negative",
            ),
            (
                r#"{"format":1,"date":"","currency":"EUR","prices":[{"name":"x","place":"aws","gb_mnth":1}]}"#,
                "NotPrices",
            ),
        ] {
            let found = Prices::parse(text).unwrap_err();
            assert!(format!("{found:?}").starts_with(error), "{text}: {found:?}");
        }
    }

    #[test]
    fn growth_is_the_middle_of_the_slopes() {
        let growth = Growth::of(&nightly(30, 10_000_000_000, 10_000_000)).unwrap();
        near(growth.per_day.unwrap(), 10_000_000.0);
        // One that is out of line bends nothing.
        let mut odd = nightly(30, 10_000_000_000, 10_000_000);
        odd[3].bytes = 1;
        near(Growth::of(&odd).unwrap().per_day.unwrap(), 10_000_000.0);
        // One that shrinks is no trend; two are none either.
        let mut shrinking = nightly(10, 1_000_000_000, 0);
        for (ago, kept) in (0u64..).zip(&mut shrinking) {
            kept.bytes += ago * 1_000_000;
        }
        assert_eq!(Growth::of(&shrinking).unwrap().per_day, Some(0.0));
        assert_eq!(Growth::of(&nightly(2, 5, 1)).unwrap().per_day, None);
        assert_eq!(Growth::of(&[]), None);
    }

    #[test]
    fn now_is_what_there_is_and_later_what_the_rotation_leaves() {
        let kept = nightly(8, 1_000_000_000, 1_000_000);
        let (schedule, policy, price) = (schedule(), Policy::new(7, 3), price(0.01));
        let plan = plan(&schedule, &kept);
        let cost = plan.now(&kept, &policy, Some(&price));
        assert_eq!(cost.held.backups, 8);
        near(cost.held.bytes, 8.0 * 1e9 - 28.0 * 1e6);
        near(cost.month.unwrap(), 0.01 * (8.0 - 0.028));
        let later = plan.later(&kept, &policy, Some(&price), now() + TimeDelta::days(365));
        // At noon: seven days back there are seven nights.
        assert_eq!(later.held.backups, 7);
        let newest = 1e9 + 365.0 * 1e6;
        near(later.held.bytes, 7.0 * newest - 21.0 * 1e6);
        assert_eq!(plan.now(&kept, &policy, None).month, None);
    }

    #[test]
    fn the_calendar_fills_up_in_a_year() {
        let kept = nightly(1, 1_000_000_000, 0);
        let schedule = schedule();
        let policy = Policy { days: None, keep: "daily:7,monthly:12".parse().unwrap(), ..Policy::new(7, 3) };
        let later = plan(&schedule, &kept).later(&kept, &policy, None, now() + TimeDelta::days(365));
        // Seven nights, and of twelve months the newest each: this month's is one of the seven.
        assert_eq!(later.held.backups, 18);
    }

    #[test]
    fn what_is_deleted_early_is_paid_for() {
        let kept = nightly(7, 1_000_000_000, 0);
        let (schedule, policy) = (schedule(), Policy::new(7, 3));
        let price = Price { minimum_days: 30, ..price(0.01) };
        let plan = plan(&schedule, &kept);
        let cost = plan.now(&kept, &policy, Some(&price));
        near(cost.held.bytes, 7e9);
        near(cost.held.billed, 30e9);
        let later = plan.later(&kept, &policy, Some(&price), now() + TimeDelta::days(365));
        near(later.held.billed, 30e9);
        near(later.month.unwrap(), 0.3);
        // An installation of three days has deleted nothing yet.
        let young = nightly(3, 1_000_000_000, 0);
        near(super::Plan { growth: Growth::of(&young), ..plan }.now(&young, &policy, Some(&price)).held.billed, 3e9);
    }

    #[test]
    fn a_restore_costs_reading_and_the_way() {
        let kept = nightly(5, 200_000_000_000, 0);
        let schedule = schedule();
        let price =
            Price { retrieval_gb: 0.03, transfer_gb: 0.09, free_transfer_gb: 100.0, free_gb: 900.0, ..price(0.01) };
        let cost = plan(&schedule, &kept).now(&kept, &Policy::new(7, 3), Some(&price));
        near(cost.restore.unwrap(), 200.0 * 0.03 + 100.0 * 0.09);
        near(cost.month.unwrap(), 1.0);
    }

    #[test]
    fn safety_dumps_are_taken_to_stay_as_many() {
        let mut kept = nightly(7, 1_000_000_000, 0);
        kept.push(Kept { nightly: false, ..kept[0] });
        let schedule = schedule();
        let later = plan(&schedule, &kept).later(&kept, &Policy::new(7, 3), None, now() + TimeDelta::days(365));
        assert_eq!(later.held.backups, 8);
    }
}
