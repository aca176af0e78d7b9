//! Running a client program beside the database: its streams, its exit code. What the program is or
//! means is not known here.
//!
//! # Contract of every [`Runner`] (one conformance suite: `tests/runner_conformance.rs`)
//!
//! - `argv` reaches the program word for word: quotes, newlines, `$()` and NUL-free bytes of UTF-8 are data,
//!   never spliced into a shell string. Secrets travel in `env` only.
//! - [`Running::next`] yields the standard output in order, complete, and then `None` **once the program has
//!   ended with exit code 0**. Everything else is an error: another exit code, a signal, a lost tail, a
//!   connection that ended early, an exit code the engine does not know. So whoever reads to the end may commit.
//! - A reader may pause as long as it likes: nothing is lost, memory stays bounded (the program is held back).
//! - Standard error never blocks the program; its last [`STDERR_TAIL`] bytes are kept.
//! - [`Input::Stream`] is forwarded with back-pressure. [`Feed::End`] closes the program's standard input; a
//!   sender dropped without it is a failure of the feeder, and the program is aborted.
//! - [`Running::abort`] ends the program (and what it started) and returns once that was brought about; dropping a
//!   [`Running`] does the same without waiting. When this process is killed the program ends too, as far as
//!   the way allows; sessions in the database are swept by name at the next start (`database`).
//! - Starting may be repeated; a run may not.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rust_i18n::t;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Exit, Explain};

pub mod docker;
pub mod late;
pub mod local;
mod pipe;
pub mod pool;

/// How many bytes of standard error are kept: the last ones.
pub const STDERR_TAIL: usize = 64 * 1024;

/// A client program to run.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Program name and arguments. The engine publishes these in its events: no secrets here.
    pub argv: Vec<String>,
    /// Environment added to what the place of the program has. May hold secrets: never logged.
    pub env: Vec<(String, String)>,
    /// Whether much goes in ([`Input::Stream`]) or else comes out: a runner that has a faster way for that takes it.
    pub bulk: bool,
    /// Words that, behind `argv`, make it write the same output as zstd frames; none where it cannot. For a runner whose way
    /// is dearer by the byte than packing and unpacking: it unpacks what it hands on.
    pub zstd: Vec<String>,
}

/// What a program reads.
#[derive(Debug, Default)]
pub enum Input {
    /// Nothing: `/dev/null`.
    #[default]
    None,
    /// These bytes, then end of input.
    Bytes(Bytes),
    /// A stream; see the contract above.
    Stream(mpsc::Receiver<Feed>),
}

/// A piece of an input stream.
#[derive(Debug)]
pub enum Feed {
    /// Bytes for the program.
    Data(Bytes),
    /// The end, meant: closes the program's standard input.
    End,
}

/// Runs client programs beside the database. See the contract above.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Starts `program`. Returns as soon as it runs; its failure to start may show here or in the first `next`.
    ///
    /// # Errors
    /// [`Error`]: the place is gone, the program is missing, the engine refuses.
    async fn start(&self, program: &Program, input: Input) -> Result<Running, Error>;
}

/// A started program. End of [`Running::next`] means exit code 0.
pub struct Running {
    output: mpsc::Receiver<Item>,
    stderr: Arc<Mutex<Tail>>,
    guard: AbortGuard,
    finished: bool,
    lane: &'static str,
}

/// What the driving task of an adapter sends to its [`Running`].
#[derive(Debug)]
pub enum Item {
    /// Bytes of standard output.
    Data(Bytes),
    /// Exit code 0 was seen, and all output came before this.
    Success,
    /// The end of it.
    Failed(Error),
}

/// Both halves of a new run: the [`Running`] for the caller, the [`Driver`] for the task of the adapter. `queue` pieces of
/// output wait between them; `lane` is how bulk travels: `exec`, `fifo`, `local`.
#[must_use]
pub fn channel(queue: usize, lane: &'static str) -> (Running, Driver) {
    let (sender, output) = mpsc::channel(queue);
    let stderr = Arc::new(Mutex::new(Tail::default()));
    let cancel = CancellationToken::new();
    let (ended_tx, ended) = watch::channel(false);
    let running = Running {
        output,
        stderr: Arc::clone(&stderr),
        guard: AbortGuard { cancel: cancel.clone(), ended },
        finished: false,
        lane,
    };
    (running, Driver { output: sender, stderr, cancel, ended: ended_tx })
}

/// The adapter's half of a run. Dropping it says that the program is gone.
pub struct Driver {
    /// Where output goes; bounded.
    pub output: mpsc::Sender<Item>,
    /// Where standard error goes.
    pub stderr: Arc<Mutex<Tail>>,
    /// Cancelled when the program shall be ended.
    pub cancel: CancellationToken,
    ended: watch::Sender<bool>,
}

impl Driver {
    /// Keeps the end of `bytes` of standard error.
    pub fn push_stderr(&self, bytes: &[u8]) {
        lock(&self.stderr).push(bytes);
    }

    /// What is kept of standard error so far.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        lock(&self.stderr).text()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ended.send_replace(true);
    }
}

struct AbortGuard {
    cancel: CancellationToken,
    ended: watch::Receiver<bool>,
}

impl Drop for AbortGuard {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Running {
    /// The next bytes of standard output; `None` once, after exit code 0 and all output.
    ///
    /// # Errors
    /// How the program failed; after an error there is nothing more to ask.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.finished {
            return Ok(None);
        }
        match self.output.recv().await {
            Some(Item::Data(bytes)) => Ok(Some(bytes)),
            Some(Item::Success) => {
                self.finished = true;
                Ok(None)
            }
            Some(Item::Failed(error)) => Err(error),
            None => Err(Error::Aborted),
        }
    }

    /// How its bytes travel: `exec`, `fifo`, `local` (for manifests).
    #[must_use]
    pub fn lane(&self) -> &'static str {
        self.lane
    }

    /// What is kept of standard error so far: the last [`STDERR_TAIL`] bytes, lossy UTF-8.
    #[must_use]
    pub fn stderr(&self) -> String {
        lock(&self.stderr).text()
    }

    /// All output (at most `limit` bytes) and standard error of a program that says little.
    ///
    /// # Errors
    /// How the program failed, or [`Error::TooMuchOutput`].
    pub async fn collect(mut self, limit: usize) -> Result<Collected, Error> {
        let mut stdout = Vec::new();
        while let Some(bytes) = self.next().await? {
            if stdout.len() + bytes.len() > limit {
                return Err(Error::TooMuchOutput { limit });
            }
            stdout.extend_from_slice(&bytes);
        }
        Ok(Collected { stdout, stderr: self.stderr() })
    }

    /// Ends the program and waits until that was brought about.
    pub async fn abort(mut self) {
        self.guard.cancel.cancel();
        self.output.close();
        while self.output.recv().await.is_some() {}
        // The sender lives in the driver: an error means that it is gone, which is what is waited for.
        let _ = self.guard.ended.wait_for(|ended| *ended).await;
    }
}

/// Output of [`Running::collect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// The tail of standard error.
    pub stderr: String,
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    /// Adds bytes, drops what is beyond [`STDERR_TAIL`] at the front.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(STDERR_TAIL)..];
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(STDERR_TAIL);
        self.bytes.drain(..excess);
        self.bytes.extend(bytes);
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

/// `text` from elsewhere, fit for a message: nothing that a terminal or a log would obey.
fn quote(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        let turns =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || turns {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

fn lock(tail: &Mutex<Tail>) -> std::sync::MutexGuard<'_, Tail> {
    // A poisoned tail is still only text for people.
    tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How running a program fails.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The program ended with another code than 0 (137: killed, often for want of memory).
    #[error("{}", t!("runner.exit_code", program = quote(program), code = code))]
    ExitCode {
        /// First word of argv.
        program: String,
        /// The code.
        code: i32,
        /// Tail of standard error.
        stderr: String,
    },
    /// There is no such program (127), or it cannot be run (126).
    #[error("{}", t!("runner.program_missing", program = quote(program), place = quote(place)))]
    ProgramMissing {
        /// First word of argv.
        program: String,
        /// Where it was looked for.
        place: String,
    },
    /// The stream ended without the sentinel: the end of the output is lost.
    #[error("{}", t!("runner.lost_tail", program = quote(program)))]
    LostTail {
        /// First word of argv.
        program: String,
        /// Tail of standard error.
        stderr: String,
    },
    /// A frame of the engine's stream was cut short or is of no known kind.
    #[error("{}", t!("runner.corrupt_frame", program = quote(program)))]
    CorruptFrame {
        /// First word of argv.
        program: String,
    },
    /// The engine never told the exit code.
    #[error("{}", t!("runner.exit_code_unknown", program = quote(program)))]
    ExitCodeUnknown {
        /// First word of argv.
        program: String,
    },
    /// More output than the caller wants to hold.
    #[error("{}", t!("runner.too_much_output", limit = limit))]
    TooMuchOutput {
        /// Bytes allowed.
        limit: usize,
    },
    /// The run was ended by this side.
    #[error("{}", t!("runner.aborted"))]
    Aborted,
    /// The FIFO of the fast lane does not do what it should.
    #[error("{}", t!("runner.lane.failed", fifo = quote(fifo), cause = quote(cause)))]
    Lane {
        /// Its path at our side.
        fifo: String,
        /// What is wrong with it, ready for a sentence.
        cause: String,
    },
    /// The local machine refuses to start a process, or its pipes fail.
    #[error("{}", t!("runner.io", program = quote(program), cause = quote(cause)))]
    Io {
        /// First word of argv.
        program: String,
        /// What the system says.
        cause: String,
    },
    /// The engine: socket, rights, API, container.
    #[error(transparent)]
    Engine(#[from] docker::EngineError),
}

impl Error {
    /// Whether the same may work a moment later: a container that is being restarted.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        use docker::EngineError;
        matches!(
            self,
            Self::LostTail { .. } | Self::Engine(EngineError::NotRunning { .. } | EngineError::Paused { .. })
        )
    }

    /// The program's own words, where it left any.
    #[must_use]
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::ExitCode { stderr, .. } | Self::LostTail { stderr, .. } if !stderr.is_empty() => Some(stderr),
            _ => None,
        }
    }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::ExitCode { code: 137, .. } => Some(t!("runner.exit_code_137_hint").into_owned()),
            Self::ProgramMissing { program, .. } => {
                Some(t!("runner.program_missing_hint", program = quote(program)).into_owned())
            }
            Self::LostTail { .. } | Self::CorruptFrame { .. } | Self::ExitCodeUnknown { .. } => {
                Some(t!("runner.engine_cut_hint").into_owned())
            }
            Self::Lane { .. } => Some(t!("runner.lane.failed_hint").into_owned()),
            Self::Engine(error) => error.hint(),
            Self::ExitCode { .. } | Self::TooMuchOutput { .. } | Self::Aborted | Self::Io { .. } => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Engine(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}
