//! One request over one connection, by HTTP/1.1: no pool, no redirects, no cookies, nothing kept. That is all a notice needs, and the parts
//! of it are in the program anyway.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::payload::Request;
use super::tls::{Trust, is_distrust};
use super::{CONNECT, Error, PATIENCE};
use crate::domain::text::escape;

/// The most of an answer that is read (bytes), and of it told (characters): more than is shown once secrets in it are hidden.
const ANSWER: usize = 16 * 1024;
const SAID: usize = 2000;

/// Sends `request`; any answer but a 2xx is an error.
pub(super) async fn send(request: Request, trust: &Trust) -> Result<(), Error> {
    let host = shown(&request.url);
    match timeout(PATIENCE, exchange(request, trust, &host)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Silent { host, seconds: PATIENCE.as_secs() }),
    }
}

/// Whether the other side of `url` can be reached and is who it should be; it is asked for nothing.
pub(super) async fn reach(url: &Url, trust: &Trust) -> Result<(), Error> {
    connect(url, trust, &shown(url)).await.map(drop)
}

async fn exchange(request: Request, trust: &Trust, host: &str) -> Result<(), Error> {
    let stream = connect(&request.url, trust, host).await?;
    over(stream, request, host).await
}

async fn connect(url: &Url, trust: &Trust, host: &str) -> Result<Box<dyn Stream>, Error> {
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let silent = |_| Error::Silent { host: host.to_owned(), seconds: CONNECT.as_secs() };
    let connecting = timeout(CONNECT, dial(&name, port));
    let stream = connecting.await.map_err(silent)?.map_err(|error| unreached(host, &error))?;
    if url.scheme() != "https" {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(name).map_err(|error| unreached(host, &io::Error::other(error)))?;
    let securing = timeout(CONNECT, TlsConnector::from(trust.client()?).connect(name, stream));
    let secured = securing.await.map_err(silent)?.map_err(|error| match is_distrust(&error) {
        true => Error::Tls { host: host.to_owned(), cause: escape(&error.to_string()) },
        false => unreached(host, &error),
    });
    Ok(Box::new(secured?))
}

/// A connection to the first address that answers: one that does not, as IPv6 where it leads nowhere, leaves time for the others.
async fn dial(name: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address");
    let addresses: Vec<_> = lookup_host((name, port)).await?.collect();
    let each = CONNECT / u32::try_from(addresses.len().clamp(1, 3)).unwrap_or(1);
    for address in addresses {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address}")),
        }
    }
    Err(failed)
}

/// What carries a request.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn over(stream: Box<dyn Stream>, request: Request, host: &str) -> Result<(), Error> {
    let broken = |error: hyper::Error| unreached(host, &io::Error::other(error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with the answer, or when this future is dropped.
    let connection = Guard(tokio::spawn(connection));
    let answer = sender.send_request(build(request)?).await.map_err(broken)?;
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    if answer.status().is_success() {
        return Ok(());
    }
    // What it says is for people; a body that breaks off does not undo a status.
    let body = Limited::new(answer.into_body(), ANSWER).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    drop(connection);
    judge(host, status, &headers, &body)
}

struct Guard<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn build(request: Request) -> Result<hyper::Request<Full<Bytes>>, Error> {
    let url = &request.url;
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = shown(url);
    let mut built = hyper::Request::post(target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("amarre/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, request.content_type);
    for (name, value) in request.headers {
        built = built.header(name, value);
    }
    built.body(Full::from(request.body)).map_err(|error| Error::Message { cause: error.to_string() })
}

fn judge(host: &str, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<(), Error> {
    let host = host.to_owned();
    let said = said(body);
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(Error::Moved { host, status }),
        // 425: too early; 408: too slow; 429: too often; 5xx: not our fault.
        408 | 425 | 429 | 500..=599 => Err(Error::Busy { host, status, said, after: after(headers, body) }),
        _ => Err(Error::Refused { host, status, said }),
    }
}

/// How long to wait, in the header or, as Discord and Telegram have it, in the body.
fn after(headers: &HeaderMap, body: &[u8]) -> Option<Duration> {
    let header =
        headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
    let body = || {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        body.get("retry_after").or_else(|| body.get("parameters")?.get("retry_after"))?.as_f64()
    };
    let seconds: f64 = header.or_else(body)?;
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

/// What an answer says, one short line: the sentence of its JSON, or its text.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let sentence = ["errorDescription", "description", "message", "error", "detail"]
        .iter()
        .find_map(|name| json.as_ref()?.get(name)?.as_str().map(str::to_owned));
    let text = sentence.unwrap_or_else(|| text.trim().to_owned());
    escape(&text.chars().take(SAID).collect::<String>())
}

fn unreached(host: &str, error: &io::Error) -> Error {
    // What is wrong is often said by the cause of the cause.
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let text = inner.to_string();
        if !cause.contains(&text) {
            cause = format!("{cause}: {text}");
        }
        source = inner.source();
    }
    Error::Unreached { host: host.to_owned(), cause: escape(&cause) }
}

/// The host, with its port where that is not the usual one.
pub(super) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_whether_another_try_may_help() {
        use crate::notify::Again;
        let again = |status: u16, body: &str| {
            judge("h", status, &HeaderMap::new(), body.as_bytes()).err().map(|error| error.again())
        };
        assert_eq!([again(200, ""), again(204, "")], [None, None]);
        for status in [301, 308, 400, 401, 404, 410, 413] {
            assert_eq!(again(status, ""), Some(Again::Never), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(again(status, ""), Some(Again::Later(None)), "{status}");
        }
        let later = |seconds| Some(Again::Later(Some(Duration::from_secs(seconds))));
        assert_eq!(again(429, r#"{"message":"slow","retry_after":1.2}"#), later(2));
        assert_eq!(again(429, r#"{"ok":false,"parameters":{"retry_after":35}}"#), later(35));
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "120".parse().expect("a header"))]);
        assert_eq!(judge("h", 503, &headers, b"").expect_err("busy").again(), later(120).expect("later"));
    }

    #[tokio::test]
    async fn a_message_that_was_taken_is_taken_whatever_becomes_of_the_rest_of_the_answer() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = Url::parse(&format!("http://{}/x", listener.local_addr().expect("its address"))).expect("a URL");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a request");
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nand").await.expect("sent");
            // The rest never comes.
            std::future::pending::<()>().await;
        });
        let request = Request { url, content_type: "text/plain", headers: Vec::new(), body: String::new() };
        send(request, &Trust { ca_file: None }).await.expect("it was taken");
        server.abort();
    }

    #[test]
    fn fault_85_what_an_answer_says_is_one_short_line() {
        assert_eq!(said(br#"{"ok":false,"description":"chat not found"}"#), "chat not found");
        assert_eq!(said(b"no\x1b[31m\nluck"), "no\\u{1b}[31m\\nluck");
        assert_eq!(said(&[b'x'; 5000]).len(), SAID);
        assert_eq!(said(b"\xff"), "\u{fffd}");
    }
}
