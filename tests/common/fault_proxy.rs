//! A proxy in front of an S3 server, for tests: it passes on what it is given, and fails where its script says so.
//!
//! HTTP/1.1 by hand, since no library sends the broken answers that are wanted here. Each request goes to the server over a connection
//! of its own, byte for byte as it came: the `Host` that was signed stays, so the signatures hold. The proxy has a thread and a runtime
//! of its own, so that tests which block do not stop it.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection is reset, and the server hears nothing.
    Reset,
    /// The server does it; the connection is reset instead of its answer.
    Lost,
    /// The server hears nothing; this is the answer.
    Instead(Answer),
    /// The server does it; this is the answer.
    Afterwards(Answer),
    /// The request is taken, and nothing ever comes back.
    Silence,
    /// To the body of the request, at this byte of it.
    Upload(u64, Harm),
    /// To the body of the answer, at this byte of it.
    Download(u64, Harm),
}

/// What goes wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// One bit of the byte is turned.
    Flip,
    /// The connection ends there.
    Cut,
    /// Nothing comes any more, and the connection stays.
    Stall,
}

/// An answer of the proxy itself.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    code: &'static str,
    message: &'static str,
    header: Option<(&'static str, &'static str)>,
}

impl Answer {
    /// An error as S3 writes it. To a HEAD there is none of it but the status: those answers have no body.
    pub fn error(status: u16, code: &'static str) -> Self {
        Self { status, code, message: "by the proxy", header: None }
    }

    pub fn saying(self, message: &'static str) -> Self {
        Self { message, ..self }
    }

    pub fn with_header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    fn bytes(&self, to: &Request) -> Vec<u8> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>",
            self.code, self.message
        );
        let body = if to.method == "HEAD" { String::new() } else { body };
        let header = self.header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {} Fault\r\n{header}content-type: application/xml\r\n", self.status);
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// What the client asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// The bucket and the key, as in the address.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// Names are lower-case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Makes the upload of parts an object.
    pub fn completes(&self) -> bool {
        self.method == "POST" && self.query.contains("uploadId=")
    }

    fn length(&self) -> u64 {
        self.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some()
    }
}

/// Which requests a fault is for: all that match, or the n-th of them on.
pub struct Rule {
    method: &'static str,
    path: String,
    query: &'static str,
    after: usize,
    times: usize,
    fault: Fault,
    matched: usize,
}

impl Rule {
    /// For requests of that method; an empty one is any.
    pub fn on(method: &'static str, fault: Fault) -> Self {
        Self { method, path: String::new(), query: "", after: 0, times: usize::MAX, fault, matched: 0 }
    }

    /// Whose path has that in it.
    pub fn key(self, part: &str) -> Self {
        Self { path: part.to_owned(), ..self }
    }

    /// Whose query has that in it.
    pub fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    /// Not the first `n` of them.
    pub fn after(self, n: usize) -> Self {
        Self { after: n, ..self }
    }

    /// At most that often.
    pub fn times(self, n: usize) -> Self {
        Self { times: n, ..self }
    }

    fn decide(&mut self, request: &Request) -> Option<Fault> {
        let same = (self.method.is_empty() || request.method == self.method)
            && request.path.contains(&self.path)
            && request.query.contains(self.query);
        if !same {
            return None;
        }
        self.matched += 1;
        let hit = self.matched > self.after && self.matched <= self.after.saturating_add(self.times);
        hit.then(|| self.fault.clone())
    }
}

type Script = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

struct Shared {
    server: String,
    script: Mutex<Script>,
    seen: Mutex<Vec<Request>>,
    /// Connections that began with something else than was expected of them.
    strangers: AtomicU64,
    tls: Option<TlsAcceptor>,
}

/// The proxy; it ends when dropped.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl FaultProxy {
    /// Before the server at `endpoint` (`http://host:port`), without faults.
    pub fn before(endpoint: &str) -> Self {
        Self::start(endpoint, None)
    }

    /// The same, and speaks TLS to its clients.
    pub fn before_with_tls(endpoint: &str, tls: TlsAcceptor) -> Self {
        Self::start(endpoint, Some(tls))
    }

    fn start(endpoint: &str, tls: Option<TlsAcceptor>) -> Self {
        let server = endpoint.strip_prefix("http://").unwrap().to_owned();
        let shared = Arc::new(Shared {
            server,
            script: Mutex::new(Box::new(|_| None)),
            seen: Mutex::default(),
            strangers: AtomicU64::new(0),
            tls,
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(serving, listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { shared, address, stop: Some(stop), thread: Some(thread) }
    }

    /// Where clients find it.
    pub fn endpoint(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// From now on: the first of the rules that has a fault for a request decides.
    pub fn rules(&self, rules: impl Into<Vec<Rule>>) {
        let mut rules = rules.into();
        // Each rule counts what it matches, also where another one before it decides.
        self.script(move |request| {
            let decided: Vec<_> = rules.iter_mut().map(|rule| rule.decide(request)).collect();
            decided.into_iter().flatten().next()
        });
    }

    /// From now on by `script`.
    pub fn script(&self, script: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *locked(&self.shared.script) = Box::new(script);
        locked(&self.shared.seen).clear();
    }

    /// No faults from now on.
    pub fn heal(&self) {
        self.script(|_| None);
    }

    /// How many requests since the script was set are such.
    pub fn count(&self, such: impl Fn(&Request) -> bool) -> usize {
        locked(&self.shared.seen).iter().filter(|request| such(request)).count()
    }

    /// How many connections spoke plainly where TLS is spoken, or the other way round.
    pub fn strangers(&self) -> u64 {
        self.shared.strangers.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How TLS begins.
const TLS_HELLO: [u8; 1] = [0x16];

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}
type Client = BufReader<Box<dyn Wire>>;

async fn accept(shared: Arc<Shared>, listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Whoever is dropped is reset, not closed politely.
            let _ = stream.set_zero_linger();
            let mut first = [0];
            let speaks_tls = stream.peek(&mut first).await.is_ok_and(|read| read == 1) && first == TLS_HELLO;
            if speaks_tls != shared.tls.is_some() {
                shared.strangers.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let client: Box<dyn Wire> = match &shared.tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return,
                },
            };
            let _ = serve(&shared, BufReader::with_capacity(64 * 1024, client)).await;
        });
    }
}

/// Whether the connection can go on.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    End,
}

async fn serve(shared: &Shared, mut client: Client) -> io::Result<()> {
    while let Some(head) = read_head(&mut client).await? {
        let Some(request) = parse(&head) else { return Ok(()) };
        locked(&shared.seen).push(request.clone());
        let fault = locked(&shared.script)(&request);
        if answer(shared, &mut client, &head, &request, fault).await? == Next::End {
            return Ok(());
        }
    }
    Ok(())
}

async fn answer(
    shared: &Shared,
    client: &mut Client,
    head: &[u8],
    request: &Request,
    fault: Option<Fault>,
) -> io::Result<Next> {
    match &fault {
        Some(Fault::Reset) => return Ok(Next::End),
        Some(Fault::Silence) => return hold(client).await,
        Some(Fault::Instead(answer)) => {
            drain(client, request.length()).await?;
            client.write_all(&answer.bytes(request)).await?;
            return Ok(Next::Request);
        }
        _ => {}
    }
    if request.is_chunked() {
        // Some stores do not understand it, so nobody may send it.
        client.write_all(&Answer::error(501, "NotImplemented").bytes(request)).await?;
        return hold(client).await;
    }
    let mut server = BufReader::new(TcpStream::connect(&shared.server).await?);
    server.write_all(head).await?;
    let (heard, mut said) = tokio::io::split(server);
    let mut heard = BufReader::new(heard);
    let harm = if let Some(Fault::Upload(at, harm)) = fault { Some((at, harm)) } else { None };
    let (reply, whole) = {
        let mut answered = pin!(read_answer(&mut heard));
        let sending = pass(client, &mut said, Framing::Length(request.length()), harm);
        tokio::select! {
            biased;
            sent = sending => match sent {
                Ok(Passed::Whole) => (answered.await?, true),
                Ok(Passed::Cut) => return Ok(Next::End),
                Ok(Passed::Stalled) => return hold(client).await,
                // The server may have said why it takes no more.
                Err(_) => (answered.await?, false),
            },
            answer = &mut answered => (answer?, false),
        }
    };
    let framing = framing_of(&reply, request);
    match fault {
        Some(Fault::Lost) => {
            pass(&mut heard, &mut tokio::io::sink(), framing, None).await?;
            return Ok(Next::End);
        }
        Some(Fault::Afterwards(answer)) => {
            pass(&mut heard, &mut tokio::io::sink(), framing, None).await?;
            client.write_all(&answer.bytes(request)).await?;
        }
        fault => {
            let harm = if let Some(Fault::Download(at, harm)) = fault { Some((at, harm)) } else { None };
            client.write_all(&reply).await?;
            let passed = pass(&mut heard, client, framing, harm).await?;
            if passed == Passed::Cut || framing == Framing::UntilEnd {
                client.shutdown().await?;
            }
            if passed != Passed::Whole || framing == Framing::UntilEnd {
                return hold(client).await;
            }
        }
    }
    client.flush().await?;
    if whole {
        return Ok(Next::Request);
    }
    // Bytes of a request that nobody wanted to read are no next request: this connection takes none.
    client.shutdown().await?;
    hold(client).await
}

/// Says nothing until the client goes.
async fn hold(client: &mut Client) -> io::Result<Next> {
    tokio::io::copy(client, &mut tokio::io::sink()).await?;
    Ok(Next::End)
}

async fn drain(client: &mut Client, bytes: u64) -> io::Result<()> {
    tokio::io::copy(&mut client.take(bytes), &mut tokio::io::sink()).await.map(drop)
}

/// All lines up to the empty one; `None`: nobody says anything more.
async fn read_head<R: AsyncBufReadExt + Unpin>(from: &mut R) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if from.read_until(b'\n', &mut head).await? == 0 {
            return Ok(None);
        }
        if matches!(&head[before..], b"\r\n" | b"\n") {
            return Ok(Some(head));
        }
    }
}

/// The head of the server's answer, behind those that only say that it goes on.
async fn read_answer<R: AsyncBufReadExt + Unpin>(from: &mut R) -> io::Result<Vec<u8>> {
    loop {
        let head = read_head(from).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if status_of(&head) >= 200 {
            return Ok(head);
        }
    }
}

fn status_of(head: &[u8]) -> u16 {
    let status = head.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
    status.and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn headers_of(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let pairs = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

fn parse(head: &[u8]) -> Option<Request> {
    let text = String::from_utf8_lossy(head);
    let mut words = text.lines().next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (version == "HTTP/1.1").then(|| Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers_of(head),
    })
}

/// How it is known where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilEnd,
}

fn framing_of(answer: &[u8], to: &Request) -> Framing {
    if to.method == "HEAD" || matches!(status_of(answer), 204 | 304) {
        return Framing::Length(0);
    }
    let headers = headers_of(answer);
    let header = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    match (header("transfer-encoding"), header("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(length)) => Framing::Length(length.parse().unwrap_or(0)),
        (None, None) => Framing::UntilEnd,
    }
}

/// How a body ended.
#[derive(PartialEq, Eq)]
enum Passed {
    Whole,
    Cut,
    Stalled,
}

/// Passes a body on as it comes, with its harm.
async fn pass<R, W>(from: &mut R, to: &mut W, framing: Framing, harm: Option<(u64, Harm)>) -> io::Result<Passed>
where
    R: AsyncBufReadExt + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut at = 0;
    match framing {
        Framing::Length(length) => pass_piece(from, to, Some(length), &mut at, harm).await,
        Framing::UntilEnd => pass_piece(from, to, None, &mut at, harm).await,
        Framing::Chunked => loop {
            let mut line = Vec::new();
            from.read_until(b'\n', &mut line).await?;
            to.write_all(&line).await?;
            let size = String::from_utf8_lossy(&line);
            let size = u64::from_str_radix(size.trim().split(';').next().unwrap_or_default(), 16);
            let size = size.map_err(io::Error::other)?;
            let passed = pass_piece(from, to, Some(size), &mut at, harm).await?;
            if passed != Passed::Whole {
                return Ok(passed);
            }
            // The end of the chunk; trailers are not used by these servers.
            let mut end = Vec::new();
            from.read_until(b'\n', &mut end).await?;
            to.write_all(&end).await?;
            if size == 0 {
                to.flush().await?;
                return Ok(Passed::Whole);
            }
        },
    }
}

/// `at`: how much of the body has passed before.
async fn pass_piece<R, W>(
    from: &mut R,
    to: &mut W,
    length: Option<u64>,
    at: &mut u64,
    harm: Option<(u64, Harm)>,
) -> io::Result<Passed>
where
    R: AsyncBufReadExt + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut left = length;
    while left != Some(0) {
        let buffer = from.fill_buf().await?;
        if buffer.is_empty() {
            return if left.is_none() { Ok(Passed::Whole) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let most = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let mut piece = buffer[..buffer.len().min(most)].to_vec();
        let taken = piece.len();
        let here = harm.and_then(|(place, harm)| {
            let offset = usize::try_from(place.checked_sub(*at)?).ok()?;
            (offset < taken).then_some((offset, harm))
        });
        match here {
            Some((offset, Harm::Flip)) => piece[offset] ^= 1,
            Some((offset, _)) => piece.truncate(offset),
            None => {}
        }
        to.write_all(&piece).await?;
        from.consume(taken);
        match here {
            Some((_, Harm::Cut)) => return to.flush().await.map(|()| Passed::Cut),
            Some((_, Harm::Stall)) => return to.flush().await.map(|()| Passed::Stalled),
            _ => {}
        }
        *at += taken as u64;
        left = left.map(|left| left - taken as u64);
    }
    to.flush().await?;
    Ok(Passed::Whole)
}

/// Numbers that look like chance and come again with their seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}
