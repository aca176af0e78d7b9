//! The engine's clock: the date that its answers carry. The library keeps no headers, so this one request is made by hand.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::connect::Engine;

/// Where it would be of no use any more: it is compared with now.
const PATIENCE: Duration = Duration::from_secs(5);
/// The head of an answer is not longer.
const HEAD: usize = 16 * 1024;
/// What every proxy lets pass: nothing works without it.
const REQUEST: &[u8] = b"GET /version HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Engine {
    /// What time it is there; `None`: it does not say.
    pub async fn date(&self) -> Option<DateTime<Utc>> {
        let address = &self.facts().address;
        let asked = async {
            let wire: Box<dyn Wire> = if address.starts_with('/') {
                Box::new(UnixStream::connect(address).await.ok()?)
            } else {
                Box::new(TcpStream::connect(address).await.ok()?)
            };
            head(wire).await
        };
        date_in(&tokio::time::timeout(PATIENCE, asked).await.ok()??)
    }
}

/// The lines before the body.
async fn head(mut wire: Box<dyn Wire>) -> Option<String> {
    wire.write_all(REQUEST).await.ok()?;
    let mut bytes = Vec::new();
    while bytes.len() < HEAD && !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        if wire.read_buf(&mut bytes).await.ok()? == 0 {
            break;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn date_in(head: &str) -> Option<DateTime<Utc>> {
    let lines = head.lines().take_while(|line| !line.is_empty());
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let (_, date) = headers.find(|(name, _)| name.eq_ignore_ascii_case("date"))?;
    DateTime::parse_from_rfc2822(date.trim()).ok().map(|date| date.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_read_from_the_head_alone() {
        let head = "HTTP/1.1 200 OK\r\nserver: Docker\r\ndate: Sun, 22 Nov 2026 03:00:07 GMT\r\n\r\nDate: other";
        assert_eq!(date_in(head).map(|date| date.to_rfc3339()), Some("2026-11-22T03:00:07+00:00".to_owned()));
        assert_eq!(date_in("HTTP/1.1 200 OK\r\n\r\nDate: Sun, 22 Nov 2026 03:00:07 GMT"), None);
        assert_eq!(date_in("HTTP/1.1 200 OK\r\nDate: yesterday\r\n\r\n"), None);
    }
}
