//! SIGTERM, SIGINT and SIGHUP (of a supervisor: SIGTERM and SIGINT) become a token; a second one ends the process at once.
//! What is to be done at the end is for whoever holds the token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::process::status::Status;

/// The end of this run, as others ask for it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled at the first signal.
    pub token: CancellationToken,
    number: Arc<AtomicI32>,
}

impl Shutdown {
    /// Listens from now on. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Self::listen_with(hangup)
    }

    /// As [`Shutdown::listen`], for a supervisor: SIGHUP and SIGUSR1 are wishes, not its end.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen_with_wishes() -> std::io::Result<(Self, Arc<Wishes>)> {
        let wishes = Wishes::listen()?;
        Ok((Self::listen_with(None)?, wishes))
    }

    fn listen_with(mut hangup: Option<Signal>) -> std::io::Result<Self> {
        let shutdown = Self::manual();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let heard = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let number = next(&mut terminate, &mut interrupt, hangup.as_mut()).await;
                heard.hear(number);
            }
        });
        Ok(shutdown)
    }

    /// One that only [`Shutdown::token`] itself can trigger: for tests and for parts of a run.
    #[must_use]
    pub fn manual() -> Self {
        Self { token: CancellationToken::new(), number: Arc::new(AtomicI32::new(0)) }
    }

    /// The number of the signal that was heard.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        Some(self.number.load(Ordering::SeqCst)).filter(|number| *number != 0)
    }

    fn hear(&self, number: i32) {
        if self.number.swap(number, Ordering::SeqCst) != 0 {
            end_now(number);
        }
        self.token.cancel();
    }
}

/// What signals ask a supervisor for.
#[derive(Debug, Default)]
pub struct Wishes {
    backup: AtomicBool,
    reload: AtomicBool,
    any: Notify,
}

impl Wishes {
    /// Listens from now on: SIGUSR1 asks for a backup, SIGHUP for the settings to be read again.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> std::io::Result<Arc<Self>> {
        let wishes = Arc::new(Self::default());
        let (mut backup, mut reload) = (signal(SignalKind::user_defined1())?, signal(SignalKind::hangup())?);
        let heard = Arc::clone(&wishes);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = backup.recv() => heard.want_backup(),
                    _ = reload.recv() => heard.want_reload(),
                }
            }
        });
        Ok(wishes)
    }

    /// Asks for a backup.
    pub fn want_backup(&self) {
        self.backup.store(true, Ordering::SeqCst);
        self.any.notify_one();
    }

    /// Asks for the settings to be read again.
    pub fn want_reload(&self) {
        self.reload.store(true, Ordering::SeqCst);
        self.any.notify_one();
    }

    /// Whether a backup was asked for since the last time.
    #[must_use]
    pub fn take_backup(&self) -> bool {
        self.backup.swap(false, Ordering::SeqCst)
    }

    /// Whether the settings are to be read again.
    #[must_use]
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::SeqCst)
    }

    /// Waits for a wish.
    pub async fn any(&self) {
        self.any.notified().await;
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal, hangup: Option<&mut Signal>) -> i32 {
    let hung_up = async {
        match hangup {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = hung_up => SignalKind::hangup().as_raw_value(),
    }
}

/// `nohup` means that the run goes on without its terminal.
fn ignores_hangup() -> bool {
    Status::of_self().bits("SigIgn").is_some_and(|bits| bits & 1 == 1)
}

#[expect(
    clippy::disallowed_methods,
    reason = "asked twice: no tidy end is wanted, and a signal to itself would not end PID 1"
)]
fn end_now(number: i32) {
    std::process::exit(128 + number);
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[tokio::test]
    async fn fault_64_the_first_signal_cancels_the_token() {
        let shutdown = Shutdown::listen().expect("handlers");
        assert_eq!(shutdown.signal(), None);
        raise(Signal::SIGTERM).expect("raised");
        shutdown.token.cancelled().await;
        assert_eq!(shutdown.signal(), Some(15));
    }
}
