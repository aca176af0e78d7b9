//! An engine that fails on command: HTTP over a Unix socket, one scripted answer for each endpoint; and the other side of a
//! lane, played step by step where the shell in a container would be.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amarre::runner::docker::{DockerRunner, Engine, EngineError, Target};
use amarre::runner::{Error, Input, Program, Runner as _};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

pub const VERSION: &str = "GET /version";
pub const LIST: &str = "GET /containers/json";
pub const INSPECT: &str = "GET /containers/{id}/json";
pub const CREATE: &str = "POST /containers/{id}/exec";
pub const START: &str = "POST /exec/{id}/start";
pub const EXEC: &str = "GET /exec/{id}/json";
pub const ID: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// Pieces of a stream, each with the pause before it, made from the nonce.
pub type Paced = fn(&str) -> Vec<(Duration, Vec<u8>)>;

/// What the engine does when asked.
#[derive(Clone)]
pub enum Answer {
    /// Status and body.
    Says(u16, String),
    /// These bytes after the upgrade, made from the nonce; then, if so, waits for the client's farewell; then closes.
    Streams(fn(&str) -> Vec<u8>, bool),
    /// The same, each piece after a pause.
    Slowly(Paced, bool),
    /// Does this, on the other side of the lane. For the main exec of a run: its guard only listens, and the execs that see to
    /// the rest find nothing to do.
    Acts(&'static [Step]),
    /// One after the other, the last one for ever.
    InTurn(Vec<Answer>),
    /// Never answers.
    Sleeps,
}

pub use Answer::{Acts, InTurn, Says, Sleeps, Slowly, Streams};

/// What is said of an exec whose program goes on for a while: it runs, at a few looks, and then has ended well.
pub fn ends_late() -> Answer {
    let of = |running: bool, code: Option<i32>| Says(200, json!({"Running": running, "ExitCode": code}).to_string());
    let mut codes = vec![of(true, None); 6];
    codes.push(of(false, Some(0)));
    InTurn(codes)
}

/// Bytes, made from the nonce of the exec.
type Make = fn(&str) -> Vec<u8>;

/// What the wrapper of a run does, or something worse.
#[derive(Clone, Copy)]
pub enum Step {
    /// Nothing, for so long.
    Waits(Duration),
    /// Sends these bytes over the exec's stream.
    Sends(Make),
    /// Opens the FIFO to write.
    Opens,
    /// Opens it to read.
    OpensInput,
    /// Does that with what lies under the FIFO's name, before it opens it.
    Swaps(fn(&Path)),
    /// Writes these bytes into the FIFO. Heard: `broken pipe`, where nobody reads it any more.
    Pours(Make),
    /// Writes into the FIFO until nobody reads it any more.
    Floods,
    /// Writes nothing, and waits until nobody has the other end. Heard: `unread`.
    UntilUnread,
    /// Reads so many bytes from the FIFO.
    Takes(usize),
    /// Reads it to its end. Heard: `… bytes, then the end`.
    TakesAll,
    /// Looks whether the FIFO may bring more. Heard: `still open` or `ended`.
    Looks,
    /// Closes the FIFO.
    Closes,
    /// Ends the exec's stream.
    Cuts,
    /// Waits for a line of the client, which is heard, or for its end.
    Hears,
    /// Hears the client until it says no more. Heard at last: `gone`.
    Stays,
    /// Says how far it came: this is heard.
    Notes(&'static str),
}

pub struct Scripted {
    pub directory: TempDir,
    pub asked: Heard,
    /// Of execs that were made.
    pub bodies: Heard,
    /// What the other side heard of its client.
    pub heard: Heard,
}

/// What all connections to a scripted engine share.
#[derive(Clone)]
struct Memory {
    script: Arc<Mutex<HashMap<&'static str, Answer>>>,
    asked: Heard,
    bodies: Heard,
    heard: Heard,
}

impl Scripted {
    /// A good engine, but for `changes`.
    pub fn new(changes: &[(&'static str, Answer)]) -> Self {
        let mut script = HashMap::from([
            (
                VERSION,
                Says(200, json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}).to_string()),
            ),
            (LIST, Says(200, json!([listed("db", "shop", "db")]).to_string())),
            (INSPECT, Says(200, inspected().to_string())),
            (CREATE, Says(201, json!({"Id": "e0"}).to_string())),
            (START, Streams(|nonce| good(nonce, b"rows\n", 0), true)),
            (EXEC, Says(200, json!({"Running": false, "ExitCode": 0}).to_string())),
        ]);
        script.extend(changes.iter().cloned());
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        let [asked, bodies, heard] = [(); 3].map(|()| Heard::default());
        let memory = Memory {
            script: Arc::new(Mutex::new(script)),
            asked: Arc::clone(&asked),
            bodies: Arc::clone(&bodies),
            heard: Arc::clone(&heard),
        };
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection, memory.clone()));
            }
        });
        Self { directory, asked, bodies, heard }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    pub async fn connect(&self) -> Result<Engine, EngineError> {
        Engine::connect(Some(&format!("unix://{}", self.path().display())), Duration::from_secs(2)).await
    }

    pub async fn find(&self) -> Result<DockerRunner, EngineError> {
        let engine = self.connect().await?;
        let container = engine.find(&Target::Container("db".to_owned())).await?;
        Ok(DockerRunner::new(engine, container))
    }

    /// Runs a program to its end.
    pub async fn run(&self) -> Result<Vec<u8>, Error> {
        self.run_with(false, Input::None).await
    }

    /// The same with much output.
    pub async fn run_bulk(&self) -> Result<Vec<u8>, Error> {
        self.run_with(true, Input::None).await
    }

    pub async fn run_with(&self, bulk: bool, input: Input) -> Result<Vec<u8>, Error> {
        let program = Program { argv: vec!["pg_dump".to_owned()], bulk, ..Program::default() };
        let running = self.find().await?.start(&program, input).await?;
        running.collect(4 * 1024 * 1024).await.map(|collected| collected.stdout)
    }

    /// Waits until this was heard.
    pub async fn until_heard(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.heard.lock().unwrap().iter().any(|word| word == what) {
            assert!(Instant::now() < deadline, "{what} is not in {:?}", self.heard.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn count(&self, wanted: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| endpoint(line) == wanted).count()
    }
}

type Heard = Arc<Mutex<Vec<String>>>;

async fn answer(mut connection: UnixStream, memory: Memory) -> Option<()> {
    let (line, body) = read_request(&mut connection).await?;
    memory.asked.lock().unwrap().push(line.clone());
    let endpoint = endpoint(&line);
    let mut number = 0;
    if endpoint == CREATE {
        let mut bodies = memory.bodies.lock().unwrap();
        number = bodies.len();
        bodies.push(String::from_utf8_lossy(&body).into_owned());
    }
    match next_answer(&memory.script, endpoint) {
        Says(status, text) => {
            let text = text.replace("\"e0\"", &format!("\"e{number}\""));
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            );
            connection.write_all((head + &text).as_bytes()).await.ok()
        }
        Streams(bytes, wait) => {
            let nonce = words(&memory, &line).get(4).cloned().unwrap_or_default();
            stream(connection, vec![(Duration::ZERO, bytes(&nonce))], wait).await
        }
        Slowly(pieces, wait) => {
            let nonce = words(&memory, &line).get(4).cloned().unwrap_or_default();
            stream(connection, pieces(&nonce), wait).await
        }
        Acts(steps) => {
            connection.write_all(UPGRADED.as_bytes()).await.ok()?;
            act(connection, &words(&memory, &line), steps, &memory.heard).await;
            Some(())
        }
        Sleeps => std::future::pending().await,
        InTurn(_) => None,
    }
}

/// The words of the exec that a request is about.
fn words(memory: &Memory, line: &str) -> Vec<String> {
    let bodies = memory.bodies.lock().unwrap();
    let number: usize = line.split("/exec/e").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok()).unwrap();
    let body: serde_json::Value = serde_json::from_str(&bodies[number]).unwrap();
    serde_json::from_value(body["Cmd"].clone()).unwrap()
}

const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// The other side of a run: the exec's stream, and the FIFO where there is one.
struct Actor<'a> {
    nonce: &'a str,
    fifo: PathBuf,
    stream: Option<(BufReader<OwnedReadHalf>, OwnedWriteHalf)>,
    output: Option<pipe::Sender>,
    input: Option<pipe::Receiver>,
    heard: &'a Heard,
}

async fn act(connection: UnixStream, words: &[String], steps: &[Step], heard: &Heard) {
    // `sh -c SCRIPT amarre NONCE FIFO DIRECTORY… -- PROGRAM…`
    let nonce = words.get(4).map_or("", String::as_str);
    let is_run = nonce.len() == 32;
    let places = words.iter().skip(6).take_while(|word| *word != "--");
    let fifo = places.map(|place| Path::new(place).join(&words[5])).find(|path| path.exists()).unwrap_or_default();
    let (reader, writer) = connection.into_split();
    let stream = Some((BufReader::new(reader), writer));
    let mut actor = Actor { nonce, fifo, stream, output: None, input: None, heard };
    // Without a nonce: the guard of a run, whose words are heard; or an exec that sees to something.
    let steps = if is_run { steps } else { &[Step::Stays][..usize::from(nonce.is_empty())] };
    for step in steps {
        actor.does(*step).await;
    }
}

impl Actor<'_> {
    /// Failures are what is scripted: they are heard, and the next step is taken.
    async fn does(&mut self, step: Step) {
        match step {
            Step::Waits(time) => tokio::time::sleep(time).await,
            Step::Sends(make) => {
                if let Some((_, writer)) = &mut self.stream {
                    let _ = writer.write_all(&make(self.nonce)).await;
                }
            }
            Step::Opens => self.output = Some(pipe::OpenOptions::new().open_sender(&self.fifo).unwrap()),
            Step::OpensInput => self.input = Some(pipe::OpenOptions::new().open_receiver(&self.fifo).unwrap()),
            Step::Swaps(swap) => swap(&self.fifo),
            Step::Pours(make) => drop(self.pour(&make(self.nonce)).await),
            Step::Floods => while self.pour(&[b'x'; 65536]).await {},
            Step::UntilUnread => {
                while !is_unread(self.output.as_ref().unwrap()) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                self.hear("unread".to_owned());
            }
            Step::Takes(bytes) => drop(self.input.as_mut().unwrap().read_exact(&mut vec![0; bytes]).await),
            Step::TakesAll => {
                let mut bytes = Vec::new();
                let _ = self.input.as_mut().unwrap().read_to_end(&mut bytes).await;
                self.hear(format!("{} bytes, then the end", bytes.len()));
            }
            Step::Looks => {
                let read = self.input.as_ref().unwrap().try_read(&mut [0]);
                self.hear(if read.is_ok_and(|bytes| bytes == 0) { "ended" } else { "still open" }.to_owned());
            }
            Step::Closes => (self.output, self.input) = (None, None),
            Step::Cuts => self.stream = None,
            Step::Hears => drop(self.listen().await),
            Step::Stays => while self.listen().await {},
            Step::Notes(what) => self.hear(what.to_owned()),
        }
    }

    async fn pour(&mut self, bytes: &[u8]) -> bool {
        let poured = self.output.as_mut().unwrap().write_all(bytes).await;
        if poured.is_err() {
            self.hear("broken pipe".to_owned());
        }
        poured.is_ok()
    }

    async fn listen(&mut self) -> bool {
        let Some((reader, _)) = &mut self.stream else { return false };
        let mut line = String::new();
        let said = reader.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0);
        self.hear(if said { line.trim_end().to_owned() } else { "gone".to_owned() });
        said
    }

    fn hear(&self, what: String) {
        self.heard.lock().unwrap().push(what);
    }
}

fn is_unread(pipe: &pipe::Sender) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut asked = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).unwrap();
    asked[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

async fn stream(mut connection: UnixStream, pieces: Vec<(Duration, Vec<u8>)>, wait: bool) -> Option<()> {
    connection.write_all(UPGRADED.as_bytes()).await.ok()?;
    for (pause, bytes) in pieces {
        tokio::time::sleep(pause).await;
        connection.write_all(&bytes).await.ok()?;
    }
    if wait {
        let _ = connection.read(&mut [0; 64]).await;
    }
    connection.shutdown().await.ok()
}

fn next_answer(script: &Mutex<HashMap<&'static str, Answer>>, endpoint: &'static str) -> Answer {
    match script.lock().unwrap().get_mut(endpoint) {
        Some(InTurn(answers)) if answers.len() > 1 => answers.remove(0),
        Some(InTurn(answers)) => answers[0].clone(),
        Some(answer) => answer.clone(),
        None => Says(404, json!({"message": "page not found"}).to_string()),
    }
}

async fn read_request(connection: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        connection.read_buf(&mut bytes).await.ok()?;
    }
    let line = String::from_utf8_lossy(&bytes[..end]).lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some((line, bytes.split_off(end)))
}

pub fn endpoint(line: &str) -> &'static str {
    let (method, path) = line.split_once(' ').unwrap();
    let path = path.split('?').next().unwrap();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && !part.starts_with("v1.")).collect();
    match (method, parts.as_slice()) {
        ("GET", ["version"]) => VERSION,
        ("GET", ["containers", "json"]) => LIST,
        ("GET", ["containers", _, "json"]) => INSPECT,
        ("POST", ["containers", _, "exec"]) => CREATE,
        ("POST", ["exec", _, "start"]) => START,
        ("GET", ["exec", _, "json"]) => EXEC,
        other => panic!("{other:?}"),
    }
}

pub fn frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[kind, 0, 0, 0], &length[..], bytes].concat()
}

pub fn header(nonce: &str) -> Vec<u8> {
    frame(1, format!("{nonce} 12 7\n").as_bytes())
}

pub fn good(nonce: &str, output: &[u8], code: i32) -> Vec<u8> {
    let sentinel = format!("{nonce} {code:03}\n");
    [header(nonce), frame(1, output), frame(1, sentinel.as_bytes())].concat()
}

pub fn listed(name: &str, project: &str, service: &str) -> serde_json::Value {
    json!({"Id": ID, "Names": [format!("/{name}")], "State": "running", "Labels": {
        "com.docker.compose.project": project, "com.docker.compose.service": service}})
}

pub fn inspected() -> serde_json::Value {
    json!({"Id": ID, "Name": "/db", "State": {"Status": "running", "Health": {"Status": "healthy"}},
        "Config": {"Image": "postgres:16-alpine", "Labels": {"com.docker.compose.project": "shop"}}})
}

pub fn refusal(status: u16, message: &str) -> Answer {
    Says(status, json!({"message": message}).to_string())
}

pub fn state(status: &str) -> Answer {
    let mut about = inspected();
    about["State"]["Status"] = json!(status);
    Says(200, about.to_string())
}

/// The wrapper's first line and nothing more, for as long as the client stays.
pub const SILENT: Answer = Streams(header, true);
