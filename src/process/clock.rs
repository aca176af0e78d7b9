//! The real time, and numbers that nobody can guess.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::time::{ClockId, clock_gettime};

use crate::domain::clock::Clock;

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the time")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A clock that nobody sets, and that goes on while the machine sleeps: since the system started.
#[must_use]
pub fn since_boot() -> Duration {
    // It is there on every Linux; without it no jump is ever seen.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// 64 random bits: the hash of nothing under a key that the system's random source gave.
#[must_use]
pub fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn random_numbers_differ() {
        let numbers: BTreeSet<u64> = (0..1000).map(|_| random()).collect();
        assert_eq!(numbers.len(), 1000);
    }

    #[test]
    fn the_clock_goes_forward_from_2024() {
        assert!(SystemClock.now().timestamp() > 1_704_067_200);
    }
}
