//! Client programs of this machine, as child processes.
//!
//! The environment of this process is inherited (`PGHOST`, `PGPORT` and the like are part of the interface);
//! what is set for a program is added to it.
//!
//! Each program leads a process group of its own, so that ending it ends what it started. When this process is
//! killed with SIGKILL nobody signals the group (the kernel's parent-death signal needs `unsafe`): a program that
//! writes then ends by its broken pipe, one that reads sees the end of its input without the nonce that makes it
//! count, and sessions that stay in the database are swept by their `application_name` at the next start
//! (`database`).

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rust_i18n::t;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

use super::pipe::{self, Stop};
use super::{Driver, Error, Feed, Input, Item, Program, Runner, Running};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// One read, and how many of them wait for a reader that pauses.
const PIECE: usize = 64 * 1024;
const QUEUE: usize = 16;

/// Runs client programs of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalRunner;

impl LocalRunner {
    /// For programs on the PATH of this process.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Runner for LocalRunner {
    async fn start(&self, program: &Program, input: Input) -> Result<Running, Error> {
        let name = program.argv.first().cloned().unwrap_or_default();
        let stdin = if matches!(input, Input::None) { Stdio::null() } else { Stdio::piped() };
        let child = Command::new(&name)
            .args(program.argv.iter().skip(1))
            .envs(program.env.iter().map(|(key, value)| (key, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            // Only for a runtime that shuts down under us: everybody else is ended by `end`.
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| not_started(&name, &error))?;
        let (running, driver) = super::channel(QUEUE, "local");
        tokio::spawn(drive(child, name, program.bulk, driver, input).in_current_span());
        Ok(running)
    }
}

fn here() -> String {
    t!("runner.place_local").into_owned()
}

fn not_started(name: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            Error::ProgramMissing { program: name.to_owned(), place: here() }
        }
        _ => Error::Io { program: name.to_owned(), cause: error.to_string() },
    }
}

async fn drive(mut child: Child, name: String, bulk: bool, driver: Driver, input: Input) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let cancel = driver.cancel.clone();
    let mut stdin = child.stdin.take();
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Aborted),
        error = feed(&mut stdin, input) => Err(error),
        outcome = read(&mut child, bulk, &driver, &name) => outcome,
    };
    let verdict = match outcome {
        Ok(status) => judge(status, &name, &driver),
        Err(error) => Err(error),
    };
    if verdict.is_err() {
        end(&mut child, group).await;
    }
    // Only now: a program that is ended must not take the closing of its input for the end of it.
    drop(stdin);
    let item = verdict.map_or_else(Item::Failed, |()| Item::Success);
    tokio::select! {
        biased;
        // Nobody listens any more: then nobody needs the verdict.
        _ = driver.output.send(item) => {}
        () = cancel.cancelled() => {}
    }
}

/// Reads both outputs to their end, then asks for the exit code.
async fn read(child: &mut Child, bulk: bool, driver: &Driver, name: &str) -> Result<ExitStatus, Error> {
    let failed = |error: std::io::Error| Error::Io { program: name.to_owned(), cause: error.to_string() };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let told = Arc::new(AtomicBool::new(false));
    let stdout = async {
        match stdout {
            Some(stdout) if bulk => forward_blocks(stdout, driver, &told).await,
            Some(stdout) => forward(stdout, driver).await,
            None => Ok(()),
        }
    };
    let mut outputs = std::pin::pin!(async { tokio::join!(stdout, keep_tail(stderr, driver)).0 });
    tokio::select! {
        read = &mut outputs => {
            read.map_err(failed)?;
            child.wait().await.map_err(failed)
        }
        status = child.wait() => {
            let status = status.map_err(failed)?;
            told.store(true, Ordering::Relaxed);
            // What it wrote is still in the pipe; how long that takes is for the reader to say.
            outputs.await.map_err(failed)?;
            Ok(status)
        }
    }
}

async fn forward_blocks(stdout: ChildStdout, driver: &Driver, told: &Arc<AtomicBool>) -> std::io::Result<()> {
    let file = std::fs::File::from(stdout.into_owned_fd()?);
    // The owned end blocks again.
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    pipe::enlarge(&file);
    match pipe::read(file, driver, told).await {
        Ok(()) => Ok(()),
        // The reader is gone, and the cancellation is on its way.
        Err(Stop::Unwanted) => std::future::pending().await,
        Err(Stop::NoEnd) => Err(ErrorKind::TimedOut.into()),
        Err(Stop::Io(error)) => Err(error),
    }
}

async fn forward(mut stdout: ChildStdout, driver: &Driver) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        if stdout.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if driver.output.send(Item::Data(buffer.split().freeze())).await.is_err() {
            // The reader is gone, and the cancellation is on its way.
            return std::future::pending().await;
        }
    }
}

async fn keep_tail(stderr: Option<impl AsyncRead + Unpin>, driver: &Driver) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0_u8; 8 * 1024];
    // Standard error that cannot be read is no standard error.
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        driver.push_stderr(&buffer[..read]);
    }
}

/// Forwards `input`. Ends only where the feeder failed: all else is for the exit code to tell.
async fn feed(stdin: &mut Option<ChildStdin>, mut input: Input) -> Error {
    let Some(pipe) = stdin.as_mut() else { return std::future::pending().await };
    let fed = match &mut input {
        Input::None => Ok(()),
        Input::Bytes(bytes) => pipe.write_all(bytes).await,
        Input::Stream(feeds) => loop {
            match feeds.recv().await {
                Some(Feed::Data(bytes)) => {
                    if let Err(error) = pipe.write_all(&bytes).await {
                        break Err(error);
                    }
                }
                Some(Feed::End) => break Ok(()),
                None => return Error::Aborted,
            }
        },
    };
    // A program that closed its input early is judged by its exit code. The receiver lives on in `input`: a
    // feeder waits instead of failing before that.
    drop(fed);
    stdin.take();
    std::future::pending().await
}

fn judge(status: ExitStatus, name: &str, driver: &Driver) -> Result<(), Error> {
    let program = name.to_owned();
    match status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()) {
        0 => Ok(()),
        126 | 127 => Err(Error::ProgramMissing { program, place: here() }),
        code => Err(Error::ExitCode { program, code, stderr: driver.stderr_text() }),
    }
}

/// Ends the group: SIGTERM, [`GRACE`], SIGKILL; reaps the child.
async fn end(child: &mut Child, group: Option<Pid>) {
    let deadline = Instant::now() + GRACE;
    // Failing means that there is nobody left, in all three places.
    let Some(group) = group else { return };
    let _ = killpg(group, Signal::SIGTERM);
    let _ = timeout(GRACE, child.wait()).await;
    while Instant::now() < deadline && killpg(group, None).is_ok() {
        sleep(Duration::from_millis(20)).await;
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait().await;
}
