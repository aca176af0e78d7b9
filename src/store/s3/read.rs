//! Reading: ranges whose bytes are asked for again where they were cut; and an object as a reader for a thread of its own.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use rust_i18n::t;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Inner, client, unquoted};
use crate::domain::text::escape;
use crate::store::{Action, Error, Object, check_name};

/// Bytes of one range.
const RANGE: u64 = 4 * 1024 * 1024;

/// Reads an object from its first byte, several ranges ahead and in order. All ranges are of the same object: one that is replaced meanwhile fails.
pub struct Ranges {
    inner: Arc<Inner>,
    object: Object,
    runtime: Handle,
    /// Where the next range begins.
    next: u64,
    coming: VecDeque<JoinHandle<Result<Bytes, Error>>>,
    here: Bytes,
}

impl Ranges {
    /// Called on a thread of the runtime.
    pub fn new(inner: &Arc<Inner>, object: Object) -> Self {
        let runtime = Handle::current();
        Self { inner: Arc::clone(inner), object, runtime, next: 0, coming: VecDeque::new(), here: Bytes::new() }
    }

    fn ask(&mut self) {
        while self.coming.len() < self.inner.config.parallel && self.next < self.object.bytes {
            let (from, length) = (self.next, RANGE.min(self.object.bytes - self.next));
            self.next += length;
            let (inner, object) = (Arc::clone(&self.inner), self.object.clone());
            let range = async move { inner.range(&object.name, from, length, object.etag.as_deref()).await };
            self.coming.push_back(self.runtime.spawn(range));
        }
    }
}

impl Read for Ranges {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.here.is_empty() {
            self.ask();
            let Some(range) = self.coming.pop_front() else { return Ok(0) };
            self.here = self.runtime.block_on(range).map_err(io::Error::other)?.map_err(io::Error::other)?;
            self.ask();
        }
        let length = buffer.len().min(self.here.len());
        self.here.split_to(length).copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        for range in &self.coming {
            range.abort();
        }
    }
}

impl Inner {
    /// Exactly these bytes; with `tag` only of the object that has it.
    pub(super) async fn range(&self, name: &str, from: u64, length: u64, tag: Option<&str>) -> Result<Bytes, Error> {
        check_name(name)?;
        let deadline = Instant::now() + self.config.deadline;
        let mut asked = Asked { name, from, length, tag: tag.map(str::to_owned), here: BytesMut::new() };
        let mut pauses = client::Pauses::default();
        while asked.missing() > 0 {
            let before = asked.here.len();
            let Err(cut) = self.range_once(&mut asked).await? else { continue };
            if Instant::now() >= deadline {
                return Err(cut);
            }
            // A connection that brings some of it each time is no store that asks for patience.
            if asked.here.len() > before {
                pauses = client::Pauses::default();
            }
            tokio::time::sleep(pauses.next()).await;
        }
        Ok(asked.here.freeze())
    }

    /// Asks for what is missing. `Ok(Err(_))`: the head of the answer was good, and not all of its bytes came.
    async fn range_once(&self, asked: &mut Asked<'_>) -> Result<Result<(), Error>, Error> {
        let (name, from, length) = (asked.name, asked.from + asked.here.len() as u64, asked.missing());
        let (customer, customer_md5) = self.config.making.customer();
        let request = self
            .client
            .get_object()
            .bucket(&self.config.bucket)
            .key(self.key(name))
            .range(format!("bytes={from}-{}", from + length - 1))
            .set_if_match(asked.tag.as_ref().map(|tag| format!("\"{tag}\"")))
            .set_sse_customer_algorithm(customer.as_ref().map(|_| "AES256".to_owned()))
            .set_sse_customer_key(customer)
            .set_sse_customer_key_md5(customer_md5);
        let question = self.asked(Action::Read, "s3:GetObject", name);
        let answer = request.customize().config_override(client::for_answer(&self.config)).send().await;
        let mut answer = answer.map_err(|error| super::explain::explain(question, &error))?;
        let cut = |cause: String| Error::Io { action: Action::Read, name: escape(name), place: self.place(), cause };
        let short = |found: u64| cut(t!("store.differs_length", expected = length, found = found).into_owned());
        // Fewer bytes than asked for are no cut connection: there are no more.
        if let Some(found) = answer.content_length().and_then(|found| u64::try_from(found).ok())
            && found != length
        {
            return Err(short(found));
        }
        // What is asked for after a cut must be of the same object.
        asked.tag = asked.tag.take().or(answer.e_tag().map(unquoted));
        let silence = client::silence(&self.config);
        let end = Instant::now() + client::once(length);
        loop {
            let next = timeout(silence.min(end - Instant::now()), answer.body.try_next());
            match next.await {
                Ok(Ok(Some(bytes))) => asked.here.extend_from_slice(&bytes),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Ok(Err(cut(escape(&error.to_string())))),
                Err(_) => return Ok(Err(Error::Silent { action: Action::Read, place: self.place() })),
            }
        }
        let came = asked.here.len() as u64 + asked.from - from;
        match came.cmp(&length) {
            std::cmp::Ordering::Equal => Ok(Ok(())),
            std::cmp::Ordering::Less => Ok(Err(short(came))),
            std::cmp::Ordering::Greater => Err(short(came)),
        }
    }
}

/// A range, and what of it has come.
struct Asked<'a> {
    name: &'a str,
    from: u64,
    length: u64,
    tag: Option<String>,
    here: BytesMut,
}

impl Asked<'_> {
    fn missing(&self) -> u64 {
        self.length.saturating_sub(self.here.len() as u64)
    }
}
