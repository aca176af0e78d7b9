//! What the loop waits by: time that nobody sets, and pauses. The machine's own is [`Machine`]; a simulation brings another, in which
//! months pass in minutes.

use std::time::Duration;

use async_trait::async_trait;

use crate::process;

/// How time passes for the loop.
#[async_trait]
pub trait Pace: Send + Sync {
    /// A clock that nobody sets, and that goes on while the machine sleeps: since some moment.
    fn steady(&self) -> Duration;

    /// Until `time` has passed. `idle`: nothing is at work beside the loop, so that a pace which is not the machine's may go ahead.
    async fn pause(&self, time: Duration, idle: bool);
}

/// The machine's pace.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

#[async_trait]
impl Pace for Machine {
    fn steady(&self) -> Duration {
        process::since_boot()
    }

    async fn pause(&self, time: Duration, _idle: bool) {
        tokio::time::sleep(time).await;
    }
}
