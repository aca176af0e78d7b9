//! Real ends of notifications, for tests: a server of HTTP or HTTPS that keeps what it is sent and answers by a script, a mail server
//! (aiosmtpd), and an authority that nobody knows.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What was sent.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// With a status, a header line or none, and a body.
    Status(u16, &'static str, &'static str),
    /// Not at all; the connection stays.
    Hang,
    /// The connection is closed.
    Close,
}

struct Shared {
    /// Requests that were answered with a 2xx.
    taken: Mutex<Vec<Got>>,
    /// All requests, by their path.
    asked: Mutex<Vec<String>>,
    script: Mutex<VecDeque<Answer>>,
    /// What holds when the script is empty.
    always: Mutex<Answer>,
    ended: AtomicBool,
    bell: Condvar,
    hall: Mutex<()>,
}

/// A server; it ends when it is dropped, with all its connections.
pub struct Sink {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), None)
    }

    /// At an address that another had.
    pub fn at(address: SocketAddr) -> Self {
        // The one before has ended, or is about to.
        for _ in 0..500 {
            if let Ok(listener) = TcpListener::bind(address) {
                return Self::on(listener, None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{address} is never free");
    }

    pub fn with_tls(config: Arc<ServerConfig>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Some(config))
    }

    fn on(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            taken: Mutex::default(),
            asked: Mutex::default(),
            script: Mutex::default(),
            always: Mutex::new(Answer::Status(200, "", "ok")),
            ended: AtomicBool::new(false),
            bell: Condvar::new(),
            hall: Mutex::new(()),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if own.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, tls) = (Arc::clone(&own), tls.clone());
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    // A client that is not trusting enough hangs up: that is its affair.
                    let _ = match tls {
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            serve(StreamOwned::new(connection, stream), &shared)
                        }
                        None => serve(stream, &shared),
                    };
                });
            }
        });
        Self { address, shared }
    }

    /// Answers the next requests so.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        held(&self.shared.script).extend(answers);
    }

    /// Answers all requests so from now on.
    pub fn always(&self, answer: Answer) {
        *held(&self.shared.always) = answer;
    }

    /// What was taken, in its order.
    pub fn taken(&self) -> Vec<Got> {
        held(&self.shared.taken).clone()
    }

    /// How often it was asked, whatever it answered.
    pub fn asked(&self) -> usize {
        held(&self.shared.asked).len()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _hall = held(&self.shared.hall);
        self.shared.bell.notify_all();
        // Wakes the listener up, so that its port is free for the next one.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let got = read(&mut stream)?;
    held(&shared.asked).push(got.path.clone());
    let next = held(&shared.script).pop_front();
    match next.unwrap_or_else(|| held(&shared.always).clone()) {
        Answer::Status(status, header, body) => {
            if (200..300).contains(&status) {
                held(&shared.taken).push(got);
            }
            let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{header}\r\n{body}"
            )?;
            stream.flush()
        }
        Answer::Close => Ok(()),
        Answer::Hang => {
            let mut hall = held(&shared.hall);
            while !shared.ended.load(Ordering::SeqCst) {
                hall = shared.bell.wait(hall).unwrap_or_else(PoisonError::into_inner);
            }
            Ok(())
        }
    }
}

fn read(stream: &mut impl Read) -> io::Result<Got> {
    const HELLO_OF_TLS: u8 = 0x16;
    let mut reader = BufReader::new(stream);
    if reader.fill_buf()?.first() == Some(&HELLO_OF_TLS) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).ok_or(io::ErrorKind::InvalidData)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Got { path, headers, body: String::from_utf8(body).map_err(io::Error::other)? })
}

/// An authority that nobody knows, as a file, and a certificate of it for 127.0.0.1.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, "an office");
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let own = Self { dir, issuer: Issuer::new(params, key) };
        let key = KeyPair::generate().unwrap();
        let certificate = own.certificate(&key);
        std::fs::write(own.dir.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(own.dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        own
    }

    fn certificate(&self, key: &KeyPair) -> rcgen::Certificate {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.signed_by(key, &self.issuer).unwrap()
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateDer::from(self.certificate(&key));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
    }
}

/// A mail server. `None` where there is no aiosmtpd.
pub struct MailSink {
    pub port: u16,
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

const WAY: &str = "AMARRE_TEST_AIOSMTPD is not set: eval \"$(scripts/testbed.sh up)\" installs aiosmtpd";

#[allow(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "the test runner tells where skipped tests are counted"
)]
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
    if let Some(log) = std::env::var_os("AMARRE_SKIPPED_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(log, "{test}: {why}").unwrap();
    }
}

impl MailSink {
    /// `tls`: `starttls`, `tls` or `none`. With a login it wants that; `port` 0: any.
    #[allow(clippy::disallowed_methods, reason = "the test bed tells where the program is")]
    pub fn start(test: &str, tls: &str, authority: &Authority, login: Option<(&str, &str)>, port: u16) -> Option<Self> {
        let Ok(python) = std::env::var("AMARRE_TEST_AIOSMTPD") else {
            skipped(test, WAY);
            return None;
        };
        let of = |name: &str| authority.dir.path().join(name).display().to_string();
        let config = json!({
            "tls": tls, "cert": of("cert.pem"), "key": of("key.pem"), "port": port,
            "user": login.map(|(user, _)| user), "password": login.map(|(_, password)| password),
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/smtp_sink.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("aiosmtpd started");
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("aiosmtpd said: {line}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                held(&own).push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { port, child, lines })
    }

    /// What was taken: written out before the server says so.
    pub fn taken(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            if held(&self.lines).len() >= count {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        held(&self.lines).clone()
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
