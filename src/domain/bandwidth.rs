//! How fast an upload may be, by the time of day: what people write in `BACKUP_S3_BANDWIDTH`.
//!
//! `20M` holds always; `02:00-06:00=20M` from two until six, and no limit else; `02:00-06:00=50M,5M` has both. The first window that
//! fits holds; one whose end is not after its beginning goes over midnight. Bytes per second; K, M and G are 1000, 1000² and 1000³.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveTime, Timelike};

/// Limits by the time of day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bandwidth {
    windows: Vec<Window>,
    /// Outside of the windows; `None`: no limit.
    else_: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// Minutes of the day.
    from: u32,
    until: u32,
    /// Bytes per second.
    rate: u64,
}

impl Window {
    fn holds(&self, minute: u32) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

/// The least that may be asked for: slower, and a part takes longer than a store waits for it.
pub const LEAST: u64 = 10_000;

impl Bandwidth {
    /// Bytes per second at `time`; `None`: as fast as it goes.
    #[must_use]
    pub fn at(&self, time: NaiveTime) -> Option<u64> {
        let minute = time.hour() * 60 + time.minute();
        self.windows.iter().find(|window| window.holds(minute)).map(|window| window.rate).or(self.else_)
    }

    /// The lowest of all limits.
    #[must_use]
    pub fn slowest(&self) -> Option<u64> {
        self.windows.iter().map(|window| window.rate).chain(self.else_).min()
    }

    /// Whether there is any limit.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.else_.is_some() || !self.windows.is_empty()
    }
}

/// The text is no limit: the part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

impl FromStr for Bandwidth {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let mut bandwidth = Self::default();
        for part in text.split(',').map(str::trim) {
            let wrong = || Wrong(part.to_owned());
            match part.split_once('=') {
                None if bandwidth.else_.is_some() => return Err(wrong()),
                None => bandwidth.else_ = Some(rate(part).ok_or_else(wrong)?),
                Some((window, limit)) => {
                    let (from, until) = window.split_once('-').ok_or_else(wrong)?;
                    let (from, until) = (minute(from).ok_or_else(wrong)?, minute(until).ok_or_else(wrong)?);
                    if from == until {
                        return Err(wrong());
                    }
                    bandwidth.windows.push(Window { from, until, rate: rate(limit).ok_or_else(wrong)? });
                }
            }
        }
        Ok(bandwidth)
    }
}

/// `HH:MM`; `24:00` is midnight.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?;
    let (hour, minute): (u32, u32) = (two(hour)?, two(minute)?);
    let minutes = (hour <= 24 && minute < 60).then_some(hour * 60 + minute)?;
    (minutes <= 24 * 60).then_some(minutes % (24 * 60))
}

/// `20M`, `500K`, `1000000`.
fn rate(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1000),
        b'm' | b'M' => (&text[..text.len() - 1], 1_000_000),
        b'g' | b'G' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|rate| *rate >= LEAST)
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let windows = self.windows.iter();
        let windows = windows.map(|w| format!("{}-{}={}", clock(w.from), clock(w.until), shown(w.rate)));
        let parts: Vec<_> = windows.chain(self.else_.map(shown)).collect();
        f.write_str(&parts.join(","))
    }
}

fn shown(rate: u64) -> String {
    [(1_000_000_000, 'G'), (1_000_000, 'M'), (1000, 'K')]
        .into_iter()
        .find(|(factor, _)| rate.is_multiple_of(*factor))
        .map_or_else(|| rate.to_string(), |(factor, letter)| format!("{}{letter}", rate / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, time: &str) -> Option<u64> {
        text.parse::<Bandwidth>().unwrap().at(NaiveTime::parse_from_str(time, "%H:%M").unwrap())
    }

    #[test]
    fn a_rate_holds_always_or_in_its_window() {
        assert_eq!(at("20M", "12:00"), Some(20_000_000));
        assert_eq!(at("02:00-06:00=20M", "02:00"), Some(20_000_000));
        assert_eq!(at("02:00-06:00=20M", "06:00"), None);
        assert_eq!(at("02:00-06:00=20M, 500k", "06:00"), Some(500_000));
        assert_eq!(at("22:00-05:30=1G", "23:59"), Some(1_000_000_000));
        assert_eq!(at("22:00-05:30=1G", "05:29"), Some(1_000_000_000));
        assert_eq!(at("22:00-05:30=1G", "05:30"), None);
        assert_eq!(at("18:00-24:00=10000", "23:59"), Some(10_000));
        assert!(!Bandwidth::default().is_set());
        assert_eq!("02:00-06:00=20M,5M".parse::<Bandwidth>().unwrap().slowest(), Some(5_000_000));
        assert_eq!(Bandwidth::default().at(NaiveTime::MIN), None);
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        for text in ["20M", "02:00-06:00=20M", "02:00-06:00=50M,22:00-01:00=1500K,5M"] {
            assert_eq!(text.parse::<Bandwidth>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_limit_is_named() {
        for (text, part) in [
            ("", ""),
            ("fast", "fast"),
            ("20MB", "20MB"),
            ("-1", "-1"),
            ("9999", "9999"),
            ("20M,30M", "30M"),
            ("2:00-06:00=20M", "2:00-06:00=20M"),
            ("02:00-25:00=20M", "02:00-25:00=20M"),
            ("02:00-24:30=20M", "02:00-24:30=20M"),
            ("02:00-02:00=20M", "02:00-02:00=20M"),
            ("02:00=20M", "02:00=20M"),
            ("99999999999999999999G", "99999999999999999999G"),
        ] {
            assert_eq!(text.parse::<Bandwidth>(), Err(Wrong(part.to_owned())), "{text}");
        }
    }
}
