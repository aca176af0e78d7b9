//! One program in one container: starting it, its streams, its end.
//!
//! The protocol with the shell around the program is told in `wrapper`. Choosing the container is not done here.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use rust_i18n::t;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::bulk::{self, End};
use super::connect::Engine;
use super::error::{self, EngineError};
use super::fifo::Fifo;
use super::find::Container;
use super::outlet::Outlet;
use super::sentinel::{Header, Heading, NoLane, Nonce, Pids, Sentinel};
use super::wrapper;
use crate::runner::{Driver, Error, Feed, Input, Item, Program};

/// How long the engine may take to end a stream, and to know an exit code, once all output has arrived.
const SETTLE: Duration = Duration::from_secs(10);

/// SIGTERM, 5 s, SIGKILL (see `wrapper`), and a little more.
const ENDING: Duration = Duration::from_secs(8);

/// The engine copies in pieces of 32 KiB.
const BUFFER: usize = 64 * 1024;

/// A block of output that is not full is handed on when nothing came for so long.
const PAUSE: Duration = Duration::from_millis(200);

/// On the fast lane: how long the sentinel may take once the output has ended, and with it most likely the program.
const SENTINEL: Duration = Duration::from_secs(30);

/// Standard input of an exec.
pub(super) type Words = Pin<Box<dyn AsyncWrite + Send>>;

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// A started exec and its connection. Dropping it closes the connection.
struct Attached {
    id: String,
    output: Output,
    input: Words,
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
    outlet: Outlet,
    /// On the fast lane.
    lane: Option<OnLane>,
}

/// What a run on the fast lane has besides.
struct OnLane {
    end: End,
    /// For messages.
    fifo: String,
}

impl Run {
    /// Starts `program`, returns when it runs, with what is still to be fed to it.
    pub(super) async fn start(
        engine: &Engine,
        container: &Container,
        program: &Program,
        input: Input,
        driver: &Driver,
    ) -> Result<(Self, Input), Error> {
        let nonce = new_nonce()?;
        let told = told(&input).map(str::to_owned);
        let (script, outlet) = match (&input, &told) {
            // It writes large pieces then: nothing to gather.
            (Input::None, _) if program.bulk && !program.zstd.is_empty() => (wrapper::PLAIN, Outlet::packed()),
            (Input::None, _) if program.bulk => (wrapper::BULK, Outlet::blocks()),
            (Input::None, _) => (wrapper::PLAIN, Outlet::AtOnce),
            (_, Some(_)) => (wrapper::TOLD, Outlet::AtOnce),
            (_, None) => (wrapper::FED, Outlet::AtOnce),
        };
        let (input, fed) = match told {
            Some(_) => (Input::None, false),
            None => (input, script == wrapper::FED),
        };
        let (mut cmd, mut env) = command(script, &nonce, &[], program);
        if outlet.unpacks() {
            cmd.extend(program.zstd.iter().cloned());
        }
        env.extend(told.map(|text| format!("{}={text}", wrapper::TOLD_INPUT.0)));

        let attach = async |cmd, env| attach(engine, container, cmd, env).await;
        let (mut main, mut guard) = if fed {
            let guard = ["sh", "-c", wrapper::GUARD, "amarre"].map(str::to_owned).into();
            let (main, guard) = tokio::try_join!(attach(cmd, env), attach(guard, Vec::new()))?;
            (main, Some(guard))
        } else {
            (attach(cmd, env).await?, None)
        };
        let (pids, early) = read_header(engine, container, &nonce, &mut main, driver).await?.map_err(|_| {
            Error::LostTail { program: program.argv.first().cloned().unwrap_or_default(), stderr: String::new() }
        })?;
        if let Some(guard) = &mut guard {
            let line = format!("{} {}\n", pids.program, pids.wrapper);
            say(guard, line.as_bytes()).await.map_err(|error| broken(container, &error))?;
        }
        let program = program.argv.first().cloned().unwrap_or_default();
        let (engine, container) = (engine.clone(), container.clone());
        let run = Self { engine, container, program, nonce, pids, main, guard, early, outlet, lane: None };
        Ok((run, input))
    }

    /// Starts `program` with its bulk through `fifo`, which the container may see in one of `places`.
    pub(super) async fn start_by(
        engine: &Engine,
        container: &Container,
        program: &Program,
        fed: bool,
        driver: &Driver,
        (fifo, places): (Fifo, &[String]),
    ) -> Result<Result<Self, NoLane>, Error> {
        let nonce = new_nonce()?;
        let path = fifo.shown();
        let end = End::open(&fifo, fed, &nonce).map_err(|error| lane_failed(&path, error.to_string()))?;
        let (script, outlet) =
            if fed { (wrapper::LANE_IN, Outlet::AtOnce) } else { (wrapper::LANE_OUT, Outlet::Nowhere) };
        let place: Vec<&str> =
            [fifo.name()].into_iter().chain(places.iter().map(String::as_str)).chain(["--"]).collect();
        let (cmd, env) = command(script, &nonce, &place, program);
        let mut main = attach(engine, container, cmd, env).await?;
        let header = read_header(engine, container, &nonce, &mut main, driver).await;
        let (pids, early) = match header {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => return Ok(Err(why)),
            Err(error) => return nobody_came(&fifo, error).map(Err),
        };
        let program = program.argv.first().cloned().unwrap_or_default();
        let (engine, container) = (engine.clone(), container.clone());
        // Both sides have it open, or never will: what keeps it open here would let a writer wait whom nobody reads.
        drop(fifo);
        let lane = Some(OnLane { end, fifo: path.clone() });
        let mut run = Self { engine, container, program, nonce, pids, main, guard: None, early, outlet, lane };
        let met = match &mut run.lane {
            Some(lane) => lane.end.is_met(&run.nonce),
            None => false,
        };
        if !met {
            run.end(true).await;
            return Err(foreign(&path));
        }
        Ok(Ok(run))
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
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
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
        // Nobody reads any more: a program that is stuck in writing ends by that alone. An input stays open, so that its
        // end is not seen by a program that still lives.
        if matches!(self.lane, Some(OnLane { end: End::Output(_), .. })) {
            self.lane = None;
        }
        let holder = self.guard.as_mut().unwrap_or(&mut self.main);
        let ended = speaks
            && say(holder, wrapper::STOP).await.is_ok()
            && holder.input.shutdown().await.is_ok()
            && timeout_at(deadline, drain(&mut self.main.output)).await.unwrap_or(false);
        let Self { engine, container, nonce, pids, main, guard, lane: _lane, .. } = self;
        drop((guard, main));
        if ended {
            return;
        }
        let ids = [pids.program, pids.wrapper].map(|id| id.to_string());
        let cmd = ["sh", "-c", wrapper::SEE_TO_IT, "amarre", &ids[0], &ids[1], nonce.as_str()];
        let cmd = cmd.map(str::to_owned).into();
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
                tracing::warn!(
                    "{}",
                    t!("runner.may_still_run", container = container.name, pid = pids.program, cause = error)
                );
            }
        }
    }
}

/// Input that fits into a variable of the environment.
fn told(input: &Input) -> Option<&str> {
    let Input::Bytes(bytes) = input else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= wrapper::TOLD_INPUT.1 && !text.contains('\0')).then_some(text)
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
    let Run { engine, container, program, nonce, main, early, outlet, lane, .. } = run;
    let sentinel = Sentinel::new(nonce.clone());
    let watch = Watch::new(engine, container, &main.id);
    let mut words = std::pin::pin!(read(&mut main.output, sentinel, early.clone(), outlet, driver, program, watch));
    match lane {
        None => tokio::select! {
            error = feed(&mut main.input, input) => Err(error),
            outcome = words => outcome,
        },
        Some(OnLane { end: End::Input(sender), .. }) => tokio::select! {
            error = bulk::feed(sender, &mut main.input, input) => Err(error),
            outcome = words => outcome,
        },
        Some(OnLane { end: End::Output(file), fifo }) => {
            let told = Arc::new(AtomicBool::new(false));
            let mut bytes = std::pin::pin!(bulk::read(file.take(), driver, &told, program, fifo));
            tokio::select! {
                code = &mut words => {
                    told.store(true, Ordering::Relaxed);
                    let code = code?;
                    bytes.await.map(|()| code)
                }
                read = &mut bytes => {
                    read?;
                    timeout(SENTINEL, words).await.unwrap_or_else(|_| Err(lost_tail(program, driver)))
                }
            }
        }
    }
}

/// Forwards `input` to the program's standard input. Ends only where the feeder failed: all else is for the exit code to tell.
async fn feed(stdin: &mut Words, mut input: Input) -> Error {
    if matches!(input, Input::None) {
        // The standard input is the dead man's switch.
        return std::future::pending().await;
    }
    match forward(stdin, &mut input).await {
        Err(error) => return error,
        // Where the program has closed its input already there is nothing to close.
        Ok(true) => drop(stdin.shutdown().await),
        Ok(false) => {}
    }
    // The receiver lives on in `input`: a feeder waits instead of failing before the program is judged.
    std::future::pending().await
}

/// Writes `input` to `sink`; whether its end was reached (else the program reads no more).
///
/// # Errors
/// [`Error::Aborted`]: the feeder went away without an end.
pub(super) async fn forward(sink: &mut (impl AsyncWrite + Unpin), input: &mut Input) -> Result<bool, Error> {
    let feeds = match input {
        Input::None => return Ok(true),
        Input::Bytes(bytes) => return Ok(sink.write_all(bytes).await.is_ok()),
        Input::Stream(feeds) => feeds,
    };
    loop {
        match feeds.recv().await {
            Some(Feed::Data(bytes)) => {
                if sink.write_all(&bytes).await.is_err() {
                    return Ok(false);
                }
            }
            Some(Feed::End) => return Ok(true),
            None => return Err(Error::Aborted),
        }
    }
}

/// Reads until the sentinel; returns the exit code in it.
async fn read(
    output: &mut Output,
    mut sentinel: Sentinel,
    early: Bytes,
    outlet: &mut Outlet,
    driver: &Driver,
    program: &str,
    mut watch: Watch<'_>,
) -> Result<i32, Error> {
    let (engine, container) = (watch.engine, watch.container);
    let mut piece = sentinel.push(early);
    loop {
        outlet.put(piece, driver, program).await?;
        if let Some(code) = sentinel.exit_code() {
            outlet.flush(driver).await?;
            // What a program that failed left is not looked at.
            return if code == 0 && outlet.is_cut() { Err(lost_tail(program, driver)) } else { Ok(code) };
        }
        let patience = if outlet.holds() { PAUSE } else { engine.timeout() };
        let Ok(frame) = timeout(patience, output.next()).await else {
            if outlet.holds() {
                outlet.flush(driver).await?;
            } else {
                watch.look(|| lost_tail(program, driver)).await?;
            }
            piece = Bytes::new();
            continue;
        };
        watch.worried = false;
        piece = match frame {
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

/// Looks after the container of a program that says nothing. A program may be silent for as long as it likes; a container
/// that is paused, an engine that is not there any more, or one that has lost the end of a stream, would be waited for until somebody
/// wonders.
struct Watch<'a> {
    engine: &'a Engine,
    container: &'a Container,
    /// The exec that the program is.
    exec: &'a str,
    /// The last look failed. One may: an engine can be busy, and backups of machines pause containers for a moment.
    worried: bool,
}

impl<'a> Watch<'a> {
    fn new(engine: &'a Engine, container: &'a Container, exec: &'a str) -> Self {
        Self { engine, container, exec, worried: false }
    }

    /// `ended`: what it is when the exec has ended and its stream has not.
    async fn look(&mut self, ended: impl Fn() -> Error) -> Result<(), Error> {
        let found = self.engine.inspect(&self.container.id).await;
        let container = self.container.name.clone();
        let trouble = match found {
            // An engine that cannot say is no reason to end a dump.
            Ok(now) if now.is_running() => exit_code_now(self.engine, self.exec).await.ok().flatten().map(|_| ended()),
            Ok(now) if now.state == "paused" => Some(EngineError::Paused { container }.into()),
            Ok(_) => Some(EngineError::NotRunning { container }.into()),
            Err(EngineError::Gone { .. }) => Some(EngineError::Gone { container }.into()),
            Err(error) => Some(error.into()),
        };
        match trouble {
            Some(trouble) if std::mem::replace(&mut self.worried, true) => Err(trouble),
            Some(_) => Ok(()),
            None => {
                self.worried = false;
                Ok(())
            }
        }
    }
}

/// Waits for the wrapper's first line.
async fn read_header(
    engine: &Engine,
    container: &Container,
    nonce: &Nonce,
    main: &mut Attached,
    driver: &Driver,
) -> Result<Result<(Pids, Bytes), NoLane>, Error> {
    const ENDPOINT: &str = "POST /exec/{id}/start";
    let deadline = Instant::now() + engine.timeout();
    let mut header = Header::default();
    let mut words = Vec::new();
    loop {
        let frame = timeout_at(deadline, main.output.next()).await;
        match frame.map_err(|_| error::silent(ENDPOINT, engine.timeout()))? {
            Some(Ok(LogOutput::StdOut { message })) => match header.push(nonce, &message) {
                Heading::Read(pids, early) => return Ok(Ok((pids, early))),
                Heading::NoLane(why) => return Ok(Err(why)),
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

/// Lets the container's `group` use `fifo`, as root; whether that worked.
pub(super) async fn give_group(
    engine: &Engine,
    container: &Container,
    group: u32,
    fifo: &Fifo,
    places: &[String],
) -> Result<bool, Error> {
    let group = group.to_string();
    let words = ["sh", "-c", wrapper::LANE_GROUP, "amarre", &group, fifo.name()];
    let cmd = words.into_iter().map(str::to_owned).chain(places.iter().cloned()).collect();
    let asked = async {
        let mut exec = attach_as(engine, container, cmd, Vec::new(), Some("0".to_owned())).await.ok()?;
        drain(&mut exec.output).await;
        let mut code = None;
        while code.is_none() {
            code = exit_code_now(engine, &exec.id).await.ok()?;
            if code.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        code
    };
    // Whatever is in its way, the exec lane needs none of it.
    Ok(timeout(SETTLE, asked).await.is_ok_and(|code| code == Some(0)))
}

/// An engine that started the wrapper is not silent: then the wrapper waits at the FIFO. Either somebody put another there, or
/// the container sees the directory with a kernel of its own, which shares files and no FIFOs.
fn nobody_came(fifo: &Fifo, error: Error) -> Result<NoLane, Error> {
    let Error::Engine(EngineError::Silent { seconds, .. }) = error else { return Err(error) };
    match fifo.reader() {
        Ok(_) => Ok(NoLane::Unmet(seconds)),
        Err(_) => Err(lane_failed(&fifo.shown(), t!("runner.lane.nobody_came", seconds = seconds).into_owned())),
    }
}

/// Somebody put another thing under the name of `fifo`.
pub(super) fn foreign(fifo: &str) -> Error {
    lane_failed(fifo, t!("runner.lane.foreign").into_owned())
}

fn lane_failed(fifo: &str, cause: String) -> Error {
    Error::Lane { fifo: fifo.to_owned(), cause }
}

fn new_nonce() -> Result<Nonce, EngineError> {
    Nonce::new().map_err(|error| EngineError::NoRandom { cause: error.to_string() })
}

/// Words and environment of the exec of `program` within `script`.
fn command(script: &str, nonce: &Nonce, words: &[&str], program: &Program) -> (Vec<String>, Vec<String>) {
    let script = [wrapper::NO_SIGPIPE, script].concat();
    let first = ["sh", "-c", &script, "amarre", nonce.as_str()];
    let words = first.iter().chain(words).map(|word| (*word).to_owned());
    let env = program.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (words.chain(program.argv.iter().cloned()).collect(), env)
}

async fn attach(
    engine: &Engine,
    container: &Container,
    cmd: Vec<String>,
    env: Vec<String>,
) -> Result<Attached, EngineError> {
    attach_as(engine, container, cmd, env, None).await
}

/// As `user`; `None`: the container's own.
async fn attach_as(
    engine: &Engine,
    container: &Container,
    cmd: Vec<String>,
    env: Vec<String>,
    user: Option<String>,
) -> Result<Attached, EngineError> {
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        cmd: Some(cmd),
        env: Some(env),
        user,
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
