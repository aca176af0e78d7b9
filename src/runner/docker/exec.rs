//! One program in one container: starting it, its streams, its end.
//!
//! The protocol with the shell around the program is told in `wrapper`. Choosing the container is not done here.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::connect::Engine;
use super::error::{self, EngineError};
use super::find::Container;
use super::sentinel::{Header, Heading, Nonce, Pids, Sentinel};
use super::wrapper;
use crate::runner::{Driver, Error, Feed, Input, Item, Program};

/// How long the engine may take to end a stream, and to know an exit code, once all output has arrived.
const SETTLE: Duration = Duration::from_secs(10);

/// SIGTERM, 5 s, SIGKILL (see `wrapper`), and a little more.
const ENDING: Duration = Duration::from_secs(8);

/// The engine copies in pieces of 32 KiB.
const BUFFER: usize = 64 * 1024;

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// A started exec and its connection. Dropping it closes the connection.
struct Attached {
    id: String,
    output: Output,
    input: Pin<Box<dyn AsyncWrite + Send>>,
}

/// A program that runs.
pub(super) struct Run {
    engine: Engine,
    container: Container,
    /// First word of argv.
    program: String,
    nonce: Nonce,
    pids: Pids,
    main: Attached,
    /// Where the standard input is the program's.
    guard: Option<Attached>,
    /// Output that came with the first line.
    early: Bytes,
}

impl Run {
    /// Starts `program`, returns when it runs.
    pub(super) async fn start(
        engine: &Engine,
        container: &Container,
        program: &Program,
        fed: bool,
        driver: &Driver,
    ) -> Result<Self, Error> {
        let nonce = Nonce::new().map_err(|error| EngineError::NoRandom { cause: error.to_string() })?;
        let script = if fed { wrapper::FED } else { wrapper::PLAIN };
        let mut cmd: Vec<String> = ["sh", "-c", script, "amarre", nonce.as_str()].map(str::to_owned).into();
        cmd.extend(program.argv.iter().cloned());
        let env = program.env.iter().map(|(key, value)| format!("{key}={value}")).collect();

        let attach = async |cmd, env| attach(engine, container, cmd, env).await;
        let (mut main, mut guard) = if fed {
            let guard = ["sh", "-c", wrapper::GUARD, "amarre"].map(str::to_owned).into();
            let (main, guard) = tokio::try_join!(attach(cmd, env), attach(guard, Vec::new()))?;
            (main, Some(guard))
        } else {
            (attach(cmd, env).await?, None)
        };
        let (pids, early) = read_header(engine, container, &nonce, &mut main, driver).await?;
        if let Some(guard) = &mut guard {
            let line = format!("{} {}\n", pids.program, pids.wrapper);
            say(guard, line.as_bytes()).await.map_err(|error| broken(container, &error))?;
        }
        let program = program.argv.first().cloned().unwrap_or_default();
        Ok(Self { engine: engine.clone(), container: container.clone(), program, nonce, pids, main, guard, early })
    }

    /// Sees the program through to its end and tells `driver`.
    pub(super) async fn drive(mut self, driver: Driver, input: Input) {
        let cancel = driver.cancel.clone();
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Aborted),
            outcome = converse(&mut self, &driver, input) => outcome,
        };
        let verdict = match outcome {
            Ok(code) => self.part(&driver, code).await,
            Err(error) => {
                // Any other failure left a stream behind that says nothing more.
                let speaks = matches!(error, Error::Aborted);
                self.end(speaks).await;
                Err(error)
            }
        };
        let item = verdict.map_or_else(Item::Failed, |()| Item::Success);
        tokio::select! {
            biased;
            // Nobody listens any more: then nobody needs the verdict.
            _ = driver.output.send(item) => {}
            () = cancel.cancelled() => {}
        }
    }

    /// After the sentinel: lets the wrapper go, sees that nothing follows, asks the engine for its exit code too.
    async fn part(mut self, driver: &Driver, code: i32) -> Result<(), Error> {
        let deadline = Instant::now() + SETTLE;
        let program = self.program.clone();
        let holder = self.guard.as_mut().unwrap_or(&mut self.main);
        // Where this fails, the stream ends anyway: that is what is waited for.
        let _ = say(holder, wrapper::FAREWELL).await;
        let _ = holder.input.shutdown().await;
        loop {
            let frame = timeout_at(deadline, self.main.output.next()).await;
            match frame.map_err(|_| Error::ExitCodeUnknown { program: program.clone() })? {
                None => break,
                Some(Ok(LogOutput::StdErr { message })) => driver.push_stderr(&message),
                Some(Ok(LogOutput::StdIn { .. })) => {}
                Some(Ok(LogOutput::StdOut { message })) if message.is_empty() => {}
                Some(Ok(LogOutput::StdOut { .. })) => return Err(lost_tail(&program, driver)),
                Some(Ok(LogOutput::Console { .. })) => return Err(Error::CorruptFrame { program }),
                Some(Err(error)) => return Err(broken(&self.container, &error).into()),
            }
        }
        let wrapper = self.exit_code(deadline).await?;
        let stderr = driver.stderr_text();
        match (code, wrapper) {
            (0, 0) => Ok(()),
            (126 | 127, _) => Err(Error::ProgramMissing { program, place: super::describe(&self.container) }),
            (0, code) | (code, _) => Err(Error::ExitCode { program, code, stderr }),
        }
    }

    /// The exit code of the wrapper. The engine may not know it yet: no code is never 0.
    async fn exit_code(&mut self, deadline: Instant) -> Result<i32, Error> {
        loop {
            match exit_code_now(&self.engine, &self.main.id).await {
                Ok(Some(code)) => return Ok(code),
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(None) => return Err(Error::ExitCodeUnknown { program: self.program.clone() }),
                Err(error) => return Err(error.about(&self.container.name).into()),
            }
        }
    }

    /// Ends the program and waits for it, as far as the engine lets us.
    ///
    /// The connection stays open meanwhile: once it is closed the engine (20.10) calls an exec ended, with code
    /// 126, whose program still runs. And a program's input must not end before the program does.
    async fn end(mut self, speaks: bool) {
        let deadline = Instant::now() + ENDING;
        let holder = self.guard.as_mut().unwrap_or(&mut self.main);
        let ended = speaks
            && say(holder, wrapper::STOP).await.is_ok()
            && holder.input.shutdown().await.is_ok()
            && timeout_at(deadline, drain(&mut self.main.output)).await.unwrap_or(false);
        let Self { engine, container, pids, main, guard, .. } = self;
        drop((guard, main));
        if ended {
            return;
        }
        let ids = [pids.program, pids.wrapper].map(|id| id.to_string());
        let cmd = ["sh", "-c", wrapper::SEE_TO_IT, "amarre", &ids[0], &ids[1]].map(str::to_owned).into();
        match attach(&engine, &container, cmd, Vec::new()).await {
            Ok(mut watch) => {
                // Bounded by its script; an engine that hangs here has been waited for long enough.
                tokio::select! {
                    _ = drain(&mut watch.output) => {}
                    () = stopped(&engine, &container) => {}
                    () = tokio::time::sleep(SETTLE) => {}
                }
            }
            Err(EngineError::Gone { .. } | EngineError::NotRunning { .. }) => {}
            Err(error) => {
                tracing::warn!(container = container.name, pid = pids.program, %error, "a program may still run");
            }
        }
    }
}

/// Returns when the container does not run any more: then nothing runs in it.
async fn stopped(engine: &Engine, container: &Container) {
    while engine.inspect(&container.id).await.is_ok_and(|container| container.is_running()) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Reads a stream away; whether it ended as it should.
async fn drain(output: &mut Output) -> bool {
    loop {
        match output.next().await {
            None => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
}

/// Feeds and reads until the sentinel.
async fn converse(run: &mut Run, driver: &Driver, input: Input) -> Result<i32, Error> {
    let Run { container, program, nonce, main, early, .. } = run;
    let sentinel = Sentinel::new(nonce.clone());
    tokio::select! {
        error = feed(&mut main.input, input) => Err(error),
        outcome = read(&mut main.output, sentinel, early.clone(), driver, program, container) => outcome,
    }
}

/// Forwards `input`. Ends only where the feeder failed: all else is for the exit code to tell.
async fn feed(stdin: &mut Pin<Box<dyn AsyncWrite + Send>>, mut input: Input) -> Error {
    let fed = match &mut input {
        // The standard input is the dead man's switch.
        Input::None => return std::future::pending().await,
        Input::Bytes(bytes) => stdin.write_all(bytes).await,
        Input::Stream(feeds) => loop {
            match feeds.recv().await {
                Some(Feed::Data(bytes)) => {
                    if let Err(error) = stdin.write_all(&bytes).await {
                        break Err(error);
                    }
                }
                Some(Feed::End) => break Ok(()),
                None => return Error::Aborted,
            }
        },
    };
    if fed.is_ok() {
        // Where the program has closed its input already there is nothing to close.
        let _ = stdin.shutdown().await;
    }
    // The receiver lives on in `input`: a feeder waits instead of failing before the program is judged.
    std::future::pending().await
}

async fn read(
    output: &mut Output,
    mut sentinel: Sentinel,
    early: Bytes,
    driver: &Driver,
    program: &str,
    container: &Container,
) -> Result<i32, Error> {
    let mut piece = sentinel.push(early);
    loop {
        if !piece.is_empty() {
            driver.output.send(Item::Data(piece)).await.map_err(|_| Error::Aborted)?;
        }
        if let Some(code) = sentinel.exit_code() {
            return Ok(code);
        }
        piece = match output.next().await {
            Some(Ok(LogOutput::StdOut { message })) => sentinel.push(message),
            Some(Ok(LogOutput::StdErr { message })) => {
                driver.push_stderr(&message);
                Bytes::new()
            }
            Some(Ok(LogOutput::StdIn { .. })) => Bytes::new(),
            // Without a terminal this is what the library makes of a frame that was cut or is no frame.
            Some(Ok(LogOutput::Console { .. })) => return Err(Error::CorruptFrame { program: program.to_owned() }),
            Some(Err(error)) => return Err(broken(container, &error).into()),
            None => return Err(lost_tail(program, driver)),
        };
    }
}

/// Waits for the wrapper's first line.
async fn read_header(
    engine: &Engine,
    container: &Container,
    nonce: &Nonce,
    main: &mut Attached,
    driver: &Driver,
) -> Result<(Pids, Bytes), Error> {
    const ENDPOINT: &str = "POST /exec/{id}/start";
    let deadline = Instant::now() + engine.timeout();
    let mut header = Header::default();
    let mut words = Vec::new();
    loop {
        let frame = timeout_at(deadline, main.output.next()).await;
        match frame.map_err(|_| error::silent(ENDPOINT, engine.timeout()))? {
            Some(Ok(LogOutput::StdOut { message })) => match header.push(nonce, &message) {
                Heading::Read(pids, early) => return Ok((pids, early)),
                Heading::Unfinished => {}
                Heading::Foreign => break,
            },
            // The runtime's own complaints come here or, from some engines, as output or without a frame.
            Some(Ok(LogOutput::StdErr { message })) => {
                driver.push_stderr(&message);
                words.extend_from_slice(&message);
            }
            Some(Ok(LogOutput::Console { message })) => words.extend_from_slice(&message),
            Some(Ok(LogOutput::StdIn { .. })) => {}
            Some(Err(error)) => return Err(broken(container, &error).into()),
            None => break,
        }
    }
    let words = format!("{}{}", header.text(), String::from_utf8_lossy(&words));
    Err(why_no_header(engine, container, &main.id, words.trim()).await)
}

async fn why_no_header(engine: &Engine, container: &Container, id: &str, words: &str) -> Error {
    let name = container.name.clone();
    // A container that was being stopped when it was asked.
    if words.contains("stopped state") || words.contains("not running") {
        return EngineError::NotRunning { container: name }.into();
    }
    let deadline = Instant::now() + SETTLE;
    let mut code = None;
    while code.is_none() && Instant::now() < deadline && !error::is_runtime_refusal(words) {
        match exit_code_now(engine, id).await {
            Ok(None) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(known) => code = known,
            Err(error) => return error.about(&name).into(),
        }
    }
    if error::is_runtime_refusal(words) || matches!(code, Some(126 | 127)) {
        return EngineError::NoShell { container: name, cause: words.to_owned() }.into();
    }
    EngineError::Broken { container: name, cause: words.to_owned() }.into()
}

async fn attach(
    engine: &Engine,
    container: &Container,
    cmd: Vec<String>,
    env: Vec<String>,
) -> Result<Attached, EngineError> {
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        cmd: Some(cmd),
        env: Some(env),
        ..CreateExecOptions::default()
    };
    let create = engine.docker().create_exec(&container.id, options);
    let about = |error: EngineError| error.about(&container.name);
    let id = engine.ask("POST /containers/{id}/exec", create).await.map_err(about)?.id;
    let start = StartExecOptions { detach: false, tty: false, output_capacity: Some(BUFFER) };
    let start = engine.docker().start_exec(&id, Some(start));
    match engine.ask("POST /exec/{id}/start", start).await.map_err(about)? {
        StartExecResults::Attached { output, input } => Ok(Attached { id, output, input }),
        StartExecResults::Detached => {
            Err(EngineError::Broken { container: container.name.clone(), cause: "detached".to_owned() })
        }
    }
}

async fn say(exec: &mut Attached, line: &[u8]) -> std::io::Result<()> {
    exec.input.write_all(line).await?;
    exec.input.flush().await
}

async fn exit_code_now(engine: &Engine, id: &str) -> Result<Option<i32>, EngineError> {
    let about = engine.ask("GET /exec/{id}/json", engine.docker().inspect_exec(id)).await?;
    let code = about.exit_code.filter(|_| about.running != Some(true));
    Ok(code.map(|code| i32::try_from(code).unwrap_or(i32::MAX)))
}

fn lost_tail(program: &str, driver: &Driver) -> Error {
    Error::LostTail { program: program.to_owned(), stderr: driver.stderr_text() }
}

fn broken(container: &Container, error: &(dyn std::error::Error + 'static)) -> EngineError {
    EngineError::Broken { container: container.name.clone(), cause: error::root_cause(error) }
}
