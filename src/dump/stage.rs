//! Clocks of the stages of a stream: how long each worked, and how long it waited for a neighbour. Whoever waits is not
//! what holds the stream up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::domain::timings::{Stage, Timings};

/// The clock of one stage; shared by its threads, read from anywhere.
#[derive(Debug)]
pub struct StageClock {
    name: &'static str,
    bytes: AtomicU64,
    busy: AtomicU64,
    starved: AtomicU64,
    blocked: AtomicU64,
}

impl StageClock {
    /// A clock that shows nothing yet; `name` is below `timings.` in the locales.
    #[must_use]
    pub fn new(name: &'static str) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new(Self { name, bytes: zero(), busy: zero(), starved: zero(), blocked: zero() })
    }

    /// What it shows.
    #[must_use]
    pub fn read(&self) -> Stage {
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        Stage {
            name: self.name,
            bytes: self.bytes.load(Ordering::Relaxed),
            busy: time(&self.busy),
            starved: time(&self.starved),
            blocked: time(&self.blocked),
        }
    }

    /// A thread of the stage begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Hand {
        Hand { clock: Arc::clone(self), since: Instant::now() }
    }
}

/// The hand of one thread on its clock: all time counts as work but what is told to be waiting.
pub struct Hand {
    clock: Arc<StageClock>,
    since: Instant,
}

impl Hand {
    /// Waits for input.
    pub fn starved<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        self.wait(wait, |clock| &clock.starved)
    }

    /// Waits for room behind.
    pub fn blocked<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        self.wait(wait, |clock| &clock.blocked)
    }

    /// As [`Hand::starved`], for a wait that is over.
    pub fn was_starved(&mut self, from: Instant) {
        self.was(from, |clock| &clock.starved);
    }

    /// As [`Hand::blocked`], for a wait that is over.
    pub fn was_blocked(&mut self, from: Instant) {
        self.was(from, |clock| &clock.blocked);
    }

    /// So many bytes went through.
    pub fn passed(&self, bytes: usize) {
        self.clock.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn wait<T>(&mut self, wait: impl FnOnce() -> T, counter: impl Fn(&StageClock) -> &AtomicU64) -> T {
        let from = Instant::now();
        let result = wait();
        self.was(from, counter);
        result
    }

    fn was(&mut self, from: Instant, counter: impl Fn(&StageClock) -> &AtomicU64) {
        let now = Instant::now();
        add(&self.clock.busy, from.saturating_duration_since(self.since));
        add(counter(&self.clock), now.saturating_duration_since(from));
        self.since = now;
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        add(&self.clock.busy, self.since.elapsed());
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    // 584 years fit.
    counter.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The clocks of a stream, in the order of its bytes.
#[derive(Debug, Clone, Default)]
pub struct Clocks(Vec<Arc<StageClock>>);

impl Clocks {
    /// Adds a stage.
    pub fn stage(&mut self, name: &'static str) -> Arc<StageClock> {
        let clock = StageClock::new(name);
        self.0.push(Arc::clone(&clock));
        clock
    }

    /// What they show.
    #[must_use]
    pub fn read(&self) -> Timings {
        Timings { stages: self.0.iter().map(|clock| clock.read()).collect() }
    }
}
