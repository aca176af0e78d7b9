//! The bulk of a run's bytes on the fast lane: from the FIFO in blocks of [`BLOCK`] bytes, or into it. What its end means is
//! for the sentinel to say.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rust_i18n::t;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::exec;
use super::fifo::Fifo;
use super::sentinel::Nonce;
use super::wrapper;
use crate::runner::pool::{BLOCK, BLOCKS, Buffer, Pool};
use crate::runner::{Driver, Error, Input, Item};

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

/// Our end of the FIFO of a run.
pub(super) enum End {
    /// The program's output comes here.
    Output(Option<File>),
    /// Its input goes here; `None` once it has ended.
    Input(Option<pipe::Sender>),
}

impl End {
    /// Opens our end. Nobody is waited for.
    pub(super) fn open(fifo: &Fifo, fed: bool, nonce: &Nonce) -> std::io::Result<Self> {
        if !fed {
            return fifo.reader().map(|file| Self::Output(Some(file)));
        }
        // The other side reads it before the program is started.
        fifo.greet(format!("{}\n", nonce.as_str()).as_bytes())?;
        fifo.writer().map(|sender| Self::Input(Some(sender)))
    }

    /// Whether it is `nonce` that comes first: then the program's output is what comes next. The wrapper has sent it before its
    /// first line. (That of an input was read before the program was started.)
    pub(super) fn is_met(&mut self, nonce: &Nonce) -> bool {
        let Self::Output(Some(file)) = self else { return true };
        let mut line = vec![0; nonce.as_str().len() + 1];
        file.read_exact(&mut line).is_ok() && line.strip_suffix(b"\n") == Some(nonce.as_str().as_bytes())
    }
}

/// Hands all that comes to `driver`, until every writer has closed its end. `told`: the program has ended. When the future
/// is dropped our end is closed a moment later.
///
/// A thread reads: the runtime would be woken for each write of the program, wanted or not, which costs three times the processor.
pub(super) async fn read(
    file: Option<File>,
    driver: &Driver,
    told: &Arc<AtomicBool>,
    program: &str,
    fifo: &str,
) -> Result<(), Error> {
    let Some(file) = file else { return Ok(()) };
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
    let failed = |cause: String| Error::Lane { fifo: fifo.to_owned(), cause };
    match tokio::task::spawn_blocking(move || reader.run()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Stop::Unwanted)) => Err(Error::Aborted),
        Ok(Err(Stop::Io(error))) => Err(failed(error.to_string())),
        Ok(Err(Stop::NoEnd)) => Err(failed(t!("runner.lane.no_end", program = program).into_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

enum Stop {
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

/// Forwards `input`, then says over `words` that it has ended. Ends only where the feeder failed.
pub(super) async fn feed(sender: &mut Option<pipe::Sender>, words: &mut exec::Words, mut input: Input) -> Error {
    if let Some(pipe) = sender {
        match exec::forward(pipe, &mut input).await {
            Err(error) => return error,
            Ok(false) => return std::future::pending().await,
            Ok(true) => {}
        }
    }
    sender.take();
    // Where this fails the stream of the exec ends too, which is seen there.
    let _ = words.write_all(wrapper::INPUT_ENDED).await;
    let _ = words.flush().await;
    // The receiver lives on in `input`: a feeder waits instead of failing before the program is judged.
    std::future::pending().await
}
