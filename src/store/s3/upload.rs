//! Bytes on their way into the bucket: parts while they come, or one request for what is small.
//!
//! The parts are read from the file when they are sent, never held; the store is told the MD5 of each. Nothing can be seen there
//! before the last request, whose answer may be lost: then it is looked at what lies there, never asked again blindly (fault 51).

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::StreamExt as _;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::body::{Piece, Running};
use super::{Inner, client};
use crate::domain::manifest::Measure;
use crate::domain::text::escape;
use crate::store::{Action, Error, Growing, Object, Upload};

/// The least size of a part that is not the last: 5 MiB is what S3 allows.
pub const LEAST_PART: u64 = 8 * 1024 * 1024;
/// The most parts: what Scaleway allows; AWS has 10,000.
const MOST_PARTS: u64 = 1000;
/// How much larger than guessed a dump may become before its parts are too many.
const SURPRISE: u64 = 4;

/// The size of the parts for about `likely` bytes: all the same, and few enough of them whatever comes.
pub fn part_size(likely: u64, surprise: u64) -> u64 {
    let mebibyte = 1024 * 1024;
    (likely.saturating_mul(surprise) / MOST_PARTS).div_ceil(mebibyte).saturating_mul(mebibyte).max(LEAST_PART)
}

/// Uploads that are given up at once.
const ABORTS: usize = 8;

/// What was sent.
struct Sent {
    /// The name that the store gave the upload; `None`: it is small, and nothing was sent yet.
    id: Option<String>,
    parts: Vec<Part>,
    bytes: u64,
    /// Of all that was begun to be sent, in order.
    running: Running,
    /// What is small, as it was read for `running`.
    whole: Option<[u8; 16]>,
}

/// A part that lies there.
pub struct Part {
    /// Its place, from 1 on.
    pub number: i32,
    /// What the store calls it.
    pub etag: String,
    /// What was sent.
    pub md5: [u8; 16],
}

/// An upload at work.
pub struct S3Upload {
    inner: Arc<Inner>,
    name: String,
    source: Growing,
    work: Option<JoinHandle<Result<Sent, Error>>>,
    /// Dropped to end the work.
    stop: Option<oneshot::Sender<()>>,
}

impl S3Upload {
    /// Begins.
    pub fn start(inner: &Arc<Inner>, name: &str, source: Growing, likely: u64) -> Self {
        let known = source.grown.borrow().ended;
        let size = part_size(likely, if known { 1 } else { SURPRISE });
        let (stop, stopped) = oneshot::channel();
        // What is whole already comes from elsewhere than the proof.
        let running = if known { Running::Sha256(Sha256::new()) } else { Running::Xxh3(Box::default()) };
        let sending =
            Sending { inner: Arc::clone(inner), name: name.to_owned(), source: source.clone(), size, beginning: None };
        let work = tokio::spawn(sending.run(running, stopped));
        Self { inner: Arc::clone(inner), name: name.to_owned(), source, work: Some(work), stop: Some(stop) }
    }

    /// Ends the work, and says what it has come to.
    async fn stopped(&mut self) -> Option<Result<Sent, Error>> {
        drop(self.stop.take());
        self.work.take()?.await.ok()
    }

    async fn complete(&self, id: &str, sent: &Sent, stored: &Measure) -> Result<Object, Error> {
        let parts = sent.parts.iter().map(|p| CompletedPart::builder().part_number(p.number).e_tag(&p.etag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        // Where tags are made of anything else than the bytes, the length is what can be compared.
        let digests = sent.parts.iter().all(|part| part.etag.trim_matches('"') == super::hex(&part.md5));
        let expected = digests.then(|| tag_of_parts(&sent.parts));
        let deadline = tokio::time::Instant::now() + self.inner.config.deadline;
        self.inner.must_be_new(&self.name).await?;
        loop {
            let request = self.inner.client.complete_multipart_upload().bucket(&self.inner.config.bucket);
            let request = request.key(self.inner.key(&self.name)).upload_id(id).multipart_upload(parts.clone());
            let once = aws_sdk_s3::config::Builder::new()
                .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
                .timeout_config(client::patience(self.inner.config.deadline, client::once(0) * 5));
            let failed = request.customize().config_override(once).send().await.err();
            let over = tokio::time::Instant::now() >= deadline;
            match self.inner.compare(&self.name, stored, expected.as_deref()).await {
                Ok(object) => return Ok(object),
                // It is not there: so it may be asked for again, if the store still knows the upload.
                Err(Error::Missing { .. }) => {}
                // Nobody knows: the next look will tell.
                Err(error) if error.may_pass() && !over => {
                    tokio::time::sleep(super::PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let asked = self.inner.asked(Action::Publish, "s3:PutObject", &self.name);
            let Some(error) = failed else {
                return Err(Error::Missing { name: escape(&self.name), place: self.inner.place() });
            };
            if over || is_final(&error) {
                return Err(super::explain::explain(asked, &error));
            }
            tokio::time::sleep(super::PAUSE).await;
        }
    }

    /// How what was read for sending is not what was proven; `None`: it is.
    async fn difference(&self, read: &Running, stored: &Measure) -> Result<Option<String>, Error> {
        let proven = self.source.grown.borrow().digest;
        let (expected, found) = match (read, proven) {
            (Running::Xxh3(_), None) => {
                // Whoever made it does not say what it came to.
                let all = Piece { file: Arc::clone(&self.source.bytes), from: 0, length: stored.bytes };
                let read = all.digests(Running::Sha256(Sha256::new())).await;
                let (_, read) = read.map_err(|error| self.inner.unread(&self.name, &error))?;
                (stored.sha256.clone(), read.hex())
            }
            (Running::Xxh3(_), Some(proven)) => (super::hex(&proven.to_be_bytes()), read.hex()),
            (Running::Sha256(_) | Running::Nothing, _) => (stored.sha256.clone(), read.hex()),
        };
        let differs = || rust_i18n::t!("store.differs_tag", expected = expected, found = found).into_owned();
        Ok((expected != found).then(differs))
    }

    /// One request for all of it. The store is told the MD5 of the very read that was compared with the proof.
    async fn put_whole(&self, md5: Option<[u8; 16]>, stored: &Measure) -> Result<Object, Error> {
        let piece = Piece { file: Arc::clone(&self.source.bytes), from: 0, length: stored.bytes };
        let md5 = md5.ok_or_else(|| self.inner.ended(&self.name))?;
        self.inner.put_piece(&self.name, piece, md5, Some(&stored.sha256)).await?;
        self.inner.compare(&self.name, stored, None).await
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn finish(mut self: Box<Self>, stored: &Measure) -> Result<Object, Error> {
        let Some(work) = self.work.take() else { return Err(self.inner.ended(&self.name)) };
        // Told to stop only by being dropped: until then it goes on.
        let sent = work.await.map_err(|_| self.inner.ended(&self.name))??;
        let id = sent.id.clone();
        let differs = |what| Err(Error::Differs { name: escape(&self.name), place: self.inner.place(), what });
        let done = if sent.bytes != stored.bytes {
            differs(t_length(stored.bytes, sent.bytes))
        } else if let Some(what) = self.difference(&sent.running, stored).await? {
            // What was read for sending is not what was proven: it never becomes an object.
            differs(what)
        } else {
            match &id {
                Some(id) => self.complete(id, &sent, stored).await,
                None => self.put_whole(sent.whole, stored).await,
            }
        };
        match done {
            Ok(object) => Ok(object),
            Err(error) => {
                if let Some(id) = &id {
                    self.inner.give_up(&self.name, id).await;
                }
                // What lies there then has no manifest, so it is no backup; the next sync replaces it, if it is ours.
                Err(error)
            }
        }
    }

    async fn abort(mut self: Box<Self>) -> bool {
        let giving_up = async {
            match self.stopped().await {
                Some(Ok(Sent { id: None, .. })) => Ok(()),
                Some(Ok(Sent { id: Some(id), .. })) => self.inner.abort(&self.name, &id).await,
                // It failed before, and gave itself up as well as it could.
                Some(Err(_)) | None => {
                    let mut left = self.inner.unfinished().await?;
                    left.retain(|(name, _)| *name == self.name);
                    self.inner.abort_all(left).await.map(drop)
                }
            }
        };
        // Whoever is told to end has little time, and a store that does not answer takes all of it: the work goes on by itself
        // as long as the process lives.
        match tokio::time::timeout(client::ABORT, giving_up).await {
            // Keys that may not ask leave that to the bucket's own rules.
            Ok(Ok(()) | Err(Error::Refused { .. })) => true,
            Ok(Err(error)) => {
                tracing::debug!(name = self.name, %error, "abort of an upload");
                false
            }
            Err(_) => {
                tracing::debug!(name = self.name, "abort of an upload: no answer");
                false
            }
        }
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        drop(self.stop.take());
        let (inner, name) = (Arc::clone(&self.inner), self.name.clone());
        // Where there is no runtime left the next start aborts it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(Ok(Sent { id: Some(id), .. })) = work.await {
                    inner.give_up(&name, &id).await;
                }
            });
        }
    }
}

/// An answer to the last request that no further try changes. An error may come with status 200 there (fault 50).
fn is_final<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let SdkError::ServiceError(service) = error else { return false };
    let passing = matches!(service.raw().status().as_u16(), 200 | 408 | 409 | 429 | 500..);
    service.err().code() == Some("NoSuchUpload") || !passing
}

fn t_length(expected: u64, found: u64) -> String {
    rust_i18n::t!("store.differs_length", expected = expected, found = found).into_owned()
}

/// What S3 calls an object of these parts: the MD5 of their MD5s, and how many they are.
fn tag_of_parts(parts: &[Part]) -> String {
    tag_of(parts.iter().map(|part| part.md5))
}

/// As [`tag_of_parts`], by the digests of the parts.
pub(super) fn tag_of(digests: impl ExactSizeIterator<Item = [u8; 16]>) -> String {
    let (mut md5, count) = (Md5::new(), digests.len());
    for digest in digests {
        md5.update(digest);
    }
    format!("{}-{count}", super::hex(&md5.finalize()))
}

/// The work: parts as they come.
struct Sending {
    inner: Arc<Inner>,
    name: String,
    source: Growing,
    size: u64,
    /// The question for an upload, on its own: its answer holds the only name by which that can be taken back.
    beginning: Option<JoinHandle<Result<String, Error>>>,
}

impl Sending {
    /// Sends all parts. What it has begun in the store is aborted where it fails, by itself.
    async fn run(mut self, running: Running, mut stopped: oneshot::Receiver<()>) -> Result<Sent, Error> {
        let mut sent = Sent { id: None, parts: Vec::new(), bytes: 0, running, whole: None };
        let mut at_work = JoinSet::new();
        let done = tokio::select! {
            done = self.send(&mut sent, &mut at_work) => done,
            _ = &mut stopped => Err(self.inner.ended(&self.name)),
        };
        if let Err(error) = done {
            at_work.shutdown().await;
            let id = match self.beginning.take() {
                Some(beginning) => beginning.await.ok().and_then(Result::ok),
                None => sent.id,
            };
            if let Some(id) = &id {
                self.inner.give_up(&self.name, id).await;
            }
            return Err(error);
        }
        sent.parts.sort_by_key(|part| part.number);
        Ok(sent)
    }

    async fn begin(&mut self) -> Result<String, Error> {
        let (inner, name) = (Arc::clone(&self.inner), self.name.clone());
        let beginning = self.beginning.insert(tokio::spawn(async move { inner.begin(&name).await }));
        let begun = beginning.await.map_err(|_| self.inner.ended(&self.name));
        self.beginning = None;
        begun?
    }

    async fn send(&mut self, sent: &mut Sent, at_work: &mut JoinSet<Result<Part, Error>>) -> Result<(), Error> {
        // Here, so that nobody who makes the bytes waits for a store that does not answer.
        self.inner.must_be_new(&self.name).await?;
        let mut number = 0;
        loop {
            let grown = tokio::select! {
                grown = self.source.at_least(sent.bytes + self.size) => grown.ok_or_else(|| self.inner.ended(&self.name))?,
                Some(part) = at_work.join_next() => {
                    sent.parts.push(part.map_err(|_| self.inner.ended(&self.name))??);
                    continue;
                }
            };
            let rest = grown.bytes - sent.bytes;
            if grown.ended && sent.id.is_none() && rest <= self.size {
                let piece = Piece { file: Arc::clone(&self.source.bytes), from: 0, length: grown.bytes };
                sent.bytes = grown.bytes;
                let hashed = piece.digests(std::mem::take(&mut sent.running)).await;
                let (md5, running) = hashed.map_err(|error| self.inner.unread(&self.name, &error))?;
                (sent.whole, sent.running) = (Some(md5), running);
                return Ok(());
            }
            if rest == 0 {
                break;
            }
            let id = match &sent.id {
                Some(id) => id.clone(),
                None => sent.id.insert(self.begin().await?).clone(),
            };
            while at_work.len() >= self.inner.config.parallel {
                if let Some(part) = at_work.join_next().await {
                    sent.parts.push(part.map_err(|_| self.inner.ended(&self.name))??);
                }
            }
            number += 1;
            let piece = Piece { file: Arc::clone(&self.source.bytes), from: sent.bytes, length: rest.min(self.size) };
            sent.bytes += piece.length;
            let hashed = piece.digests(std::mem::take(&mut sent.running)).await;
            let (md5, running) = hashed.map_err(|error| self.inner.unread(&self.name, &error))?;
            sent.running = running;
            let (inner, name) = (Arc::clone(&self.inner), self.name.clone());
            at_work.spawn(async move { inner.send_part(&name, &id, number, piece, md5).await });
        }
        while let Some(part) = at_work.join_next().await {
            sent.parts.push(part.map_err(|_| self.inner.ended(&self.name))??);
        }
        Ok(())
    }
}

impl Inner {
    pub(super) async fn begin(&self, name: &str) -> Result<String, Error> {
        let making = &self.config.making;
        let request = self.client.create_multipart_upload().bucket(&self.config.bucket).key(self.key(name));
        let (customer, customer_md5) = making.customer();
        let (lock_mode, lock_until) = self.lock();
        let request = request
            .content_type(super::CONTENT_TYPE)
            .metadata(super::OWNER, &self.config.owner)
            .set_storage_class(making.storage_class())
            .set_server_side_encryption(making.encryption())
            .set_ssekms_key_id(making.kms_key())
            .set_sse_customer_algorithm(customer.as_ref().map(|_| "AES256".to_owned()))
            .set_sse_customer_key(customer)
            .set_sse_customer_key_md5(customer_md5)
            .set_tagging(making.tags.clone())
            .set_object_lock_mode(lock_mode)
            .set_object_lock_retain_until_date(lock_until);
        let asked = self.asked(Action::Create, "s3:PutObject", name);
        let begun = request.send().await.map_err(|error| super::explain::explain(asked, &error))?;
        begun.upload_id.ok_or_else(|| self.ended(name))
    }

    /// Gives an upload up; what cannot be removed now is swept at the next start.
    async fn give_up(&self, name: &str, id: &str) {
        if let Err(error) = self.abort(name, id).await {
            tracing::debug!(name, error = %error, "abort of an upload");
        }
    }

    /// Removes an upload that has not ended, within [`client::ABORT`]; one that the store does not know is removed.
    pub(super) async fn abort(&self, name: &str, id: &str) -> Result<(), Error> {
        let request =
            self.client.abort_multipart_upload().bucket(&self.config.bucket).key(self.key(name)).upload_id(id);
        let asked = self.asked(Action::Delete, "s3:AbortMultipartUpload", name);
        match tokio::time::timeout(client::ABORT, request.send()).await {
            Err(_) => Err(Error::Silent { action: Action::Delete, place: self.place() }),
            Ok(Err(error)) if error.code() != Some("NoSuchUpload") => Err(super::explain::explain(asked, &error)),
            Ok(_) => Ok(()),
        }
    }

    /// Removes those uploads, several at once and within [`client::ABORT`] in all; the names of them. Those that stay are asked for
    /// again by whoever hears of the error.
    pub(super) async fn abort_all(&self, uploads: Vec<(String, String)>) -> Result<Vec<String>, Error> {
        let deadline = tokio::time::Instant::now() + client::ABORT;
        let aborting = uploads.into_iter().map(|(name, id)| async move { self.abort(&name, &id).await.map(|()| name) });
        let mut aborting = futures_util::stream::iter(aborting).buffer_unordered(ABORTS);
        let (mut gone, mut failed) = (Vec::new(), None);
        loop {
            match tokio::time::timeout_at(deadline, aborting.next()).await {
                Ok(Some(Ok(name))) => gone.push(name),
                Ok(Some(Err(error))) => failed = failed.or(Some(error)),
                Ok(None) => break,
                Err(_) => {
                    failed = Some(Error::Silent { action: Action::Delete, place: self.place() });
                    break;
                }
            }
        }
        gone.sort();
        failed.map_or(Ok(gone), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_enough_and_never_too_small() {
        assert_eq!(part_size(0, 1), LEAST_PART);
        assert_eq!(part_size(900_000_000, SURPRISE), LEAST_PART);
        let terabyte = 1_000_000_000_000;
        for surprise in [1, SURPRISE] {
            let size = part_size(terabyte, surprise);
            assert!(terabyte * surprise <= size * MOST_PARTS && size < 5 * 1024 * 1024 * 1024, "{size}");
        }
        assert_eq!(part_size(u64::MAX, SURPRISE) % (1024 * 1024), 0);
    }

    #[test]
    fn an_object_of_parts_is_called_after_their_digests() {
        // As `printf '%s%s' "$(md5 a)" "$(md5 b)" | xxd -r -p | md5sum` has it.
        let part = |number, byte: u8| Part { number, etag: String::new(), md5: Md5::digest([byte]).into() };
        assert_eq!(tag_of_parts(&[part(1, b'a'), part(2, b'b')]), "96e024ba2074fe77e8e965ba43a704be-2");
    }
}
