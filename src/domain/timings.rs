//! How long the stages of a run worked, and how long they waited for each other.

use std::time::Duration;

/// One stage. With several threads their times are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Below `timings.` in the locales: `read`, `inspect`, `compress`, `write`, `sync`, `prove`, `unpack`, `load`.
    pub name: &'static str,
    /// Bytes that went through: what came in.
    pub bytes: u64,
    /// At work.
    pub busy: Duration,
    /// Waiting for its input.
    pub starved: Duration,
    /// Waiting for room behind it.
    pub blocked: Duration,
}

impl Stage {
    /// How much of its time it worked, 0 to 1: what waits least holds up the others.
    #[must_use]
    pub fn share(&self) -> f64 {
        let all = self.busy + self.starved + self.blocked;
        if all.is_zero() { 0.0 } else { self.busy.as_secs_f64() / all.as_secs_f64() }
    }
}

/// The stages of a run, in the order of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// Each.
    pub stages: Vec<Stage>,
}

impl Timings {
    /// The stage that holds up the others: the one that worked the largest share of its time.
    #[must_use]
    pub fn slowest(&self) -> Option<&Stage> {
        self.stages.iter().max_by(|a, b| a.share().total_cmp(&b.share()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_who_waits_least() {
        let stage = |name, busy, starved, blocked| Stage {
            name,
            bytes: 1,
            busy: Duration::from_secs(busy),
            starved: Duration::from_secs(starved),
            blocked: Duration::from_secs(blocked),
        };
        let timings =
            Timings { stages: vec![stage("read", 5, 0, 4), stage("write", 8, 1, 0), stage("prove", 1, 9, 0)] };
        assert_eq!(timings.slowest().map(|s| s.name), Some("write"));
        assert_eq!(Timings::default().slowest(), None);
    }
}
