//! Requests that carry data: one part, or a small object at once.
//!
//! The client tries again what it knows. Here is what it takes for final or for slow: bytes that came in damaged, which the store
//! tells by their MD5 (fault 52), and a store that takes no more bytes, or took all and says nothing (fault 55).

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use rust_i18n::t;
use tokio::time::Instant;

use super::body::{CHUNK, Moved, Piece};
use super::explain::{Asked, explain};
use super::upload::Part;
use super::{CONTENT_TYPE, Inner, OWNER, SHA256, client, hex, is_digest, is_plain, signed, unquoted};
use crate::domain::text::escape;
use crate::store::{Action, Error};

/// How often a body that came in damaged is sent in all.
const DAMAGED_TRIES: u32 = 5;

impl Inner {
    /// One request for `piece`, which the store takes only if it comes to `md5`; with its sha256 beside it, where that is known.
    pub(super) async fn put_piece(
        &self,
        name: &str,
        piece: Piece,
        md5: [u8; 16],
        sha256: Option<&str>,
    ) -> Result<(), Error> {
        // What is put at once and has no digest is a manifest or a roles file: that must be readable at any time.
        let class = sha256.and(self.config.making.storage_class());
        let making = &self.config.making;
        let (customer, customer_md5) = making.customer();
        let (lock_mode, lock_until) = self.lock();
        let length = piece.length;
        let put = |moved| {
            let request = self
                .client
                .put_object()
                .bucket(&self.config.bucket)
                .key(self.key(name))
                .content_type(CONTENT_TYPE)
                .content_md5(aws_smithy_types::base64::encode(md5))
                .content_length(signed(length))
                .set_storage_class(class.clone())
                .metadata(OWNER, &self.config.owner)
                .set_server_side_encryption(making.encryption())
                .set_ssekms_key_id(making.kms_key())
                .set_sse_customer_algorithm(customer.as_ref().map(|_| "AES256".to_owned()))
                .set_sse_customer_key(customer.clone())
                .set_sse_customer_key_md5(customer_md5.clone())
                .set_tagging(making.tags.clone())
                .set_object_lock_mode(lock_mode.clone())
                .set_object_lock_retain_until_date(lock_until)
                .body(piece.clone().body(Arc::clone(&self.pace), moved));
            let request = match sha256 {
                Some(sha256) => request.metadata(SHA256, sha256),
                None => request,
            };
            request.customize().config_override(self.for_data(length)).send()
        };
        let sent = self.sent(self.asked(Action::Write, "s3:PutObject", name), put).await?;
        let tag = hex(&md5);
        let plain = is_plain(sent.server_side_encryption());
        match sent.e_tag().map(unquoted) {
            Some(found) if plain && making.tags_are_digests() && is_digest(&found) && found != tag => {
                let what = t!("store.differs_tag", expected = tag, found = escape(&found)).into_owned();
                Err(Error::Differs { name: escape(name), place: self.place(), what })
            }
            _ => Ok(()),
        }
    }

    /// Sends one part.
    pub(super) async fn send_part(
        &self,
        name: &str,
        id: &str,
        number: i32,
        piece: Piece,
        md5: [u8; 16],
    ) -> Result<Part, Error> {
        let (customer, customer_md5) = self.config.making.customer();
        let length = piece.length;
        let put = |moved| {
            let request = self
                .client
                .upload_part()
                .bucket(&self.config.bucket)
                .key(self.key(name))
                .upload_id(id)
                .part_number(number)
                .content_md5(aws_smithy_types::base64::encode(md5))
                .content_length(signed(length))
                .set_sse_customer_algorithm(customer.as_ref().map(|_| "AES256".to_owned()))
                .set_sse_customer_key(customer.clone())
                .set_sse_customer_key_md5(customer_md5.clone())
                .body(piece.clone().body(Arc::clone(&self.pace), moved));
            request.customize().config_override(self.for_data(length)).send()
        };
        let sent = self.sent(self.asked(Action::Write, "s3:PutObject", name), put).await?;
        let etag = sent.e_tag.ok_or_else(|| self.ended(name))?;
        Ok(Part { number, etag, md5 })
    }

    fn for_data(&self, bytes: u64) -> aws_sdk_s3::config::Builder {
        client::for_data(&self.config, bytes, self.slow(bytes))
    }

    /// What may not be faster than it is asked to takes its time: so long for `bytes`.
    fn slow(&self, bytes: u64) -> Duration {
        // A sync may be at work beside a backup.
        let others = 2 * self.config.parallel as u64;
        self.pace.slowest().map_or(Duration::ZERO, |rate| Duration::from_secs(bytes * others / rate))
    }

    /// Makes an attempt, and further ones until the deadline. Each is told how to say that its body moves.
    async fn sent<T, E, F>(&self, asked: Asked<'_>, attempt: impl Fn(Arc<Moved>) -> F + Send) -> Result<T, Error>
    where
        T: Send,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let deadline = Instant::now() + self.config.deadline;
        let silence = client::silence(&self.config) + self.slow(2 * CHUNK as u64);
        let (mut pauses, mut damaged) = (client::Pauses::default(), 1);
        loop {
            let moved = Arc::new(Moved::default());
            let error = tokio::select! {
                sent = attempt(Arc::clone(&moved)) => match sent {
                    Ok(sent) => return Ok(sent),
                    Err(error) if is_damaged(&error) && damaged < DAMAGED_TRIES => {
                        damaged += 1;
                        explain(asked, &error)
                    }
                    Err(error) => return Err(explain(asked, &error)),
                },
                () = moved.stopped(silence) => Error::Silent { action: asked.action, place: self.shown.clone() },
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }
}

/// Whether other bytes came in than were sent.
fn is_damaged<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    matches!(code, Some("BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody"))
}
