//! What travels: a piece of a file, read while it is sent, as fast as it may be.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex as StdMutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use chrono_tz::Tz;
use http_body::{Body, Frame, SizeHint};
use md5::{Digest as _, Md5};
use sha2::Sha256;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::domain::bandwidth::Bandwidth;
use crate::domain::clock::Clock;
use crate::store::ReadAt;

/// Bytes that are read and sent at once.
pub const CHUNK: usize = 256 * 1024;
/// Chunks of a body that wait for the connection.
const QUEUE: usize = 2;

/// A piece of a file.
#[derive(Clone)]
pub struct Piece {
    /// The file.
    pub file: Arc<dyn ReadAt>,
    /// Its first byte.
    pub from: u64,
    /// So many bytes.
    pub length: u64,
}

/// What all pieces of a source come to, in their order.
#[derive(Clone, Default)]
pub enum Running {
    /// Nobody asks.
    #[default]
    Nothing,
    /// The digest that manifests have.
    Sha256(Sha256),
    /// The digest that whoever makes a source grow knows at its end: a tenth of the work.
    Xxh3(Box<Xxh3>),
}

impl Running {
    /// What it came to.
    pub fn hex(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Sha256(running) => super::hex(&running.clone().finalize()),
            Self::Xxh3(running) => super::hex(&running.digest128().to_be_bytes()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::Sha256(running) => running.update(bytes),
            Self::Xxh3(running) => running.update(bytes),
        }
    }
}

impl Piece {
    /// Its MD5, which the store is told (fault 52).
    pub async fn md5(&self) -> io::Result<[u8; 16]> {
        Ok(self.digests(Running::Nothing).await?.0)
    }

    /// The same, and `running` goes on with it.
    pub async fn digests(&self, mut running: Running) -> io::Result<([u8; 16], Running)> {
        let piece = self.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let mut md5 = Md5::new();
            let mut buffer = vec![0; CHUNK];
            let mut at = 0;
            while at < piece.length {
                let chunk = piece.chunk(at, &mut buffer)?;
                md5.update(&buffer[..chunk]);
                running.update(&buffer[..chunk]);
                at += chunk as u64;
            }
            Ok((md5.finalize().into(), running))
        });
        hashed.await.map_err(io::Error::other)?
    }

    /// Reads what follows `at` into `buffer`; how much that was.
    fn chunk(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.length - at).unwrap_or(usize::MAX);
        let chunk = rest.min(buffer.len());
        self.file.read_at(&mut buffer[..chunk], self.from + at)?;
        Ok(chunk)
    }

    /// As the body of a request; it is read anew for each try. `moved` is told of each step.
    pub fn body(self, pace: Arc<Pace>, moved: Arc<Moved>) -> ByteStream {
        ByteStream::new(SdkBody::retryable(move || {
            moved.on();
            let (sender, coming) = mpsc::channel(QUEUE);
            let body = Measured { coming, left: self.length };
            let (piece, pace, moved) = (self.clone(), Arc::clone(&pace), Arc::clone(&moved));
            tokio::spawn(async move {
                let mut at = 0;
                while at < piece.length {
                    let reading = piece.clone();
                    let read = tokio::task::spawn_blocking(move || {
                        let mut buffer = vec![0; CHUNK];
                        reading.chunk(at, &mut buffer).map(|read| {
                            buffer.truncate(read);
                            Bytes::from(buffer)
                        })
                    });
                    let bytes = match read.await.map_err(io::Error::other).and_then(|read| read) {
                        Ok(bytes) => bytes,
                        // Whoever is gone needs no reason.
                        Err(error) => return drop(sender.send(Err(error)).await),
                    };
                    at += bytes.len() as u64;
                    pace.wait(bytes.len() as u64).await;
                    // Nobody listens any more: this try has ended.
                    if sender.send(Ok(bytes)).await.is_err() {
                        return;
                    }
                    moved.on();
                }
            });
            SdkBody::from_body_1_x(body)
        }))
    }
}

/// A body that says how much of it is still to come, so that it travels by its length, and one that breaks off is never whole.
struct Measured {
    coming: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Body for Measured {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let came = ready!(self.coming.poll_recv(context));
        if let Some(Ok(bytes)) = &came {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(came.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// When a body last moved.
pub struct Moved(std::sync::Mutex<Instant>);

impl Default for Moved {
    fn default() -> Self {
        Self(std::sync::Mutex::new(Instant::now()))
    }
}

impl Moved {
    fn last(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// It moves.
    fn on(&self) {
        *self.last() = Instant::now();
    }

    /// Waits until it has not moved for so long: also not to its end, or from there to an answer.
    pub async fn stopped(&self, silence: Duration) {
        loop {
            let until = *self.last() + silence;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// How fast all that goes to one store may be together.
pub struct Pace {
    limits: Bandwidth,
    clock: Arc<dyn Clock>,
    zone: Tz,
    /// When the next byte may leave.
    next: Mutex<Instant>,
}

/// Those in use, by place and limits.
static PACES: LazyLock<StdMutex<BTreeMap<String, Weak<Pace>>>> = LazyLock::new(StdMutex::default);

impl Pace {
    /// The one of all that this process sends to `place` by `limits`: a sync and a backup at the same time share the line.
    pub fn of(place: &str, limits: Bandwidth, clock: Arc<dyn Clock>, zone: Tz) -> Arc<Self> {
        let mut paces = PACES.lock().unwrap_or_else(PoisonError::into_inner);
        paces.retain(|_, pace| pace.strong_count() > 0);
        let key = format!("{place} {limits:?} {zone}");
        if let Some(pace) = paces.get(&key).and_then(Weak::upgrade) {
            return pace;
        }
        let pace = Arc::new(Self::new(limits, clock, zone));
        paces.insert(key, Arc::downgrade(&pace));
        pace
    }

    /// By `limits`, in `zone`.
    pub fn new(limits: Bandwidth, clock: Arc<dyn Clock>, zone: Tz) -> Self {
        Self { limits, clock, zone, next: Mutex::new(Instant::now()) }
    }

    /// The lowest rate that may hold, bytes per second.
    pub fn slowest(&self) -> Option<u64> {
        self.limits.slowest()
    }

    /// Waits until `bytes` more may leave.
    async fn wait(&self, bytes: u64) {
        if !self.limits.is_set() {
            return;
        }
        let time = self.clock.now().with_timezone(&self.zone).time();
        let Some(rate) = self.limits.at(time) else { return };
        let start = {
            let mut next = self.next.lock().await;
            let start = (*next).max(Instant::now());
            #[expect(clippy::cast_precision_loss, reason = "a chunk is small, and a rate need not be exact")]
            let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
            *next = start + takes;
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// Nobody asks for the time where nothing is limited.
    struct Never;

    impl Clock for Never {
        fn now(&self) -> chrono::DateTime<chrono::Utc> {
            unreachable!()
        }
    }

    #[tokio::test]
    async fn a_body_says_how_long_it_is_and_how_much_is_left() {
        let length = 3 * CHUNK as u64 / 2;
        let pace = Pace::new(Bandwidth::default(), Arc::new(Never), Tz::UTC);
        let piece = Piece { file: Arc::new(vec![7; 2 * CHUNK]), from: 1, length };
        let mut body = piece.body(Arc::new(pace), Arc::default()).into_inner();
        for left in [length, length - CHUNK as u64] {
            assert_eq!(Body::size_hint(&body).exact(), Some(left));
            assert!(!Body::is_end_stream(&body));
            body.frame().await.unwrap().unwrap();
        }
        assert!(Body::is_end_stream(&body));
    }
}
