//! The real time, and numbers that nobody can guess.

use std::hash::{BuildHasher, Hasher, RandomState};

use chrono::{DateTime, Utc};

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
