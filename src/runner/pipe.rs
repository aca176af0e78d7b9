//! Reading much from a pipe: in blocks of [`BLOCK`] bytes, by a thread of its own.
//!
//! The runtime would be woken for each write of the program, wanted or not, which costs three times the processor.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pool::{BLOCK, BLOCKS, Buffer, Pool};
use super::{Driver, Item};

/// What a pipe shall hold, bytes: what an unprivileged process may ask for on any Linux.
const CAPACITY: i32 = 1024 * 1024;

/// A block that is not full is handed on when nothing came for so long.
const PAUSE: Duration = Duration::from_millis(200);

/// How often a reader that waits looks whether it is still wanted, milliseconds.
const LOOK: u8 = 50;

/// How long a FIFO may stay open in silence after its program has ended.
const SETTLE: Duration = Duration::from_secs(10);

/// Programs write a few kilobytes at a time. Whoever reads each at once is woken for each, and takes the processor from
/// the program for it: after a reading of less than this, a moment for the pipe to fill.
const LITTLE: usize = BLOCK / 4;
const MOMENT: Duration = Duration::from_millis(1);

/// Why reading ended before the end.
pub(super) enum Stop {
    /// Nobody listens any more.
    Unwanted,
    /// The program has ended, its output has not.
    NoEnd,
    Io(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Asks for a large pipe. A small one is a slow one, nothing worse.
pub(super) fn enlarge(pipe: &File) {
    if let Err(error) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(CAPACITY)) {
        tracing::debug!(%error, "a pipe stays small");
    }
}

/// Hands all that comes from `file`, which does not block, to `driver`, until every writer has closed its end. `told`: the program
/// has ended. When the future is dropped our end is closed a moment later.
pub(super) async fn read(file: File, driver: &Driver, told: &Arc<AtomicBool>) -> Result<(), Stop> {
    let stop = driver.cancel.child_token();
    let _guard = stop.clone().drop_guard();
    let reader = Reader {
        file,
        told: Arc::clone(told),
        stop,
        output: driver.output.clone(),
        runtime: Handle::current(),
        pool: Pool::new(BLOCKS),
        heard: Instant::now(),
    };
    tokio::task::spawn_blocking(move || reader.run()).await.unwrap_or_else(|error| Err(Stop::Io(error.into())))
}

struct Reader {
    /// Does not block.
    file: File,
    told: Arc<AtomicBool>,
    stop: CancellationToken,
    output: mpsc::Sender<Item>,
    runtime: Handle,
    pool: Pool,
    /// When something was read last, or could have been.
    heard: Instant,
}

impl Reader {
    fn run(mut self) -> Result<(), Stop> {
        loop {
            let mut block = self.wanted(self.pool.clone().take())?;
            // Time that the others took is no silence.
            self.heard = Instant::now();
            let open = self.fill(&mut block)?;
            if !block.is_empty() {
                let output = self.output.clone();
                self.wanted(output.send(Item::Data(block.freeze())))?.map_err(|_| Stop::Unwanted)?;
            }
            if !open {
                return Ok(());
            }
        }
    }

    /// Until the block is full, or nothing came for a while; whether more may come.
    fn fill(&mut self, block: &mut Buffer) -> Result<bool, Stop> {
        while !block.is_full() {
            match (&self.file).read(block.rest()) {
                Ok(0) => return Ok(false),
                Ok(bytes) => {
                    block.advance(bytes);
                    self.heard = Instant::now();
                    if bytes < LITTLE && !block.is_full() {
                        std::thread::sleep(MOMENT);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                Err(_) if !block.is_empty() && self.heard.elapsed() >= PAUSE => return Ok(true),
                Err(_) => self.wait(block.is_empty())?,
            }
        }
        Ok(true)
    }

    fn wait(&mut self, idle: bool) -> Result<(), Stop> {
        if self.stop.is_cancelled() {
            return Err(Stop::Unwanted);
        }
        if idle && !self.told.load(Ordering::Relaxed) {
            // Silence of a program that lives is its own business; that of a dead one is counted from its end.
            self.heard = Instant::now();
        } else if self.heard.elapsed() >= SETTLE {
            return Err(Stop::NoEnd);
        }
        match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], PollTimeout::from(LOOK)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(Stop::Io(error.into())),
        }
    }

    /// Waits for `what`, while somebody wants it.
    fn wanted<T>(&self, what: impl Future<Output = T>) -> Result<T, Stop> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Stop::Unwanted),
                done = what => Ok(done),
            }
        })
    }
}
