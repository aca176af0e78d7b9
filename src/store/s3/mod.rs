//! A bucket as a store: everything beneath one prefix of it, and nothing else.
//!
//! What the contract means here: an object appears with the last request of its upload, whole. A store cannot be asked to
//! never replace (`If-None-Match` is ignored by some, fault 54), so it is looked first; names are never given twice by one
//! installation. Deleting is one request for one object, since some stores lack the request for many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{EncodingType, ObjectLockMode, ServerSideEncryption, StorageClass};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rust_i18n::t;

use crate::domain::bandwidth::Bandwidth;
use crate::domain::clock::Clock;
use crate::domain::manifest::Measure;
use crate::domain::text::escape;
use crate::store::{Action, Error, Growing, Ignored, Listing, Object, Reader, Space, Store, Upload, check_name};

mod body;
mod client;
mod elsewhere;
mod explain;
mod probe;
mod read;
mod send;
mod style;
mod upload;

pub use client::{Config, Encryption, Making, tagging};
pub use style::PathStyle;

use body::{Pace, Piece};
use explain::Asked;
use style::Style;

/// What objects are said to be.
const CONTENT_TYPE: &str = "application/octet-stream";
/// Between two looks at what became of a request.
const PAUSE: Duration = Duration::from_secs(2);
/// Where the sha256 of an object lies that came in one request.
const SHA256: &str = "sha256";
/// Where the installation stands that made an object.
const OWNER: &str = "amarre-installation";
/// What is not sent as it is in a header.
const OWNER_ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b' ');

/// Backups in a bucket.
#[derive(Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

/// What all that is going on in it shares.
pub(crate) struct Inner {
    client: Client,
    config: Config,
    /// The place, for people.
    shown: String,
    pace: Arc<Pace>,
    clock: Arc<dyn Clock>,
    /// The bucket has answered: it is there.
    known: AtomicBool,
    /// Where its name stands in requests.
    style: Style,
}

impl S3Store {
    /// The bucket of `config`; uploads stay within `limits`, by the time in `zone`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`Error::CaFile`].
    pub fn new(config: Config, limits: Bandwidth, clock: Arc<dyn Clock>, zone: Tz) -> Result<Self, Error> {
        // Headers are for ASCII, and what else is in them comes back in several ways.
        let config = Config { owner: utf8_percent_encode(&config.owner, OWNER_ENCODED).to_string(), ..config };
        let shown = place_of(&config);
        let style = Style::new(config.path_style, &config.bucket, config.endpoint.as_deref(), &shown);
        let client = client::connect(&config, &style, limits.is_set())?;
        let pace = Pace::of(&shown, limits, Arc::clone(&clock), zone);
        let known = AtomicBool::new(false);
        Ok(Self { inner: Arc::new(Inner { client, config, shown, pace, clock, known, style }) })
    }
}

#[async_trait]
impl Store for S3Store {
    fn place(&self) -> String {
        self.inner.place()
    }

    async fn list(&self) -> Result<Listing, Error> {
        self.inner.list().await
    }

    async fn open(&self, name: &str) -> Result<Reader, Error> {
        let object = self.inner.head(name).await?;
        Ok(Box::new(read::Ranges::new(&self.inner, object)))
    }

    async fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let object = self.inner.head(name).await?;
        if object.bytes > limit {
            return Err(Error::TooLarge { name: escape(name), place: self.place(), limit });
        }
        Ok(self.inner.range(name, 0, object.bytes, object.etag.as_deref()).await?.to_vec())
    }

    async fn head(&self, name: &str) -> Result<Object, Error> {
        self.inner.head(name).await
    }

    async fn get(&self, name: &str, from: u64, length: u64) -> Result<Bytes, Error> {
        self.inner.range(name, from, length, None).await
    }

    async fn upload(&self, name: &str, source: Growing, likely: u64) -> Result<Box<dyn Upload>, Error> {
        check_name(name)?;
        Ok(Box::new(upload::S3Upload::start(&self.inner, name, source, likely)))
    }

    async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.inner.must_be_new(name).await?;
        let piece = Piece { file: Arc::new(bytes.to_vec()), from: 0, length: bytes.len() as u64 };
        let md5 = piece.md5().await.map_err(|error| self.inner.unread(name, &error))?;
        self.inner.put_piece(name, piece, md5, None).await
    }

    async fn delete(&self, name: &str) -> Result<bool, Error> {
        match self.inner.head(name).await {
            Err(Error::Missing { .. }) => return Ok(false),
            other => other?,
        };
        self.inner.delete(name).await?;
        Ok(true)
    }

    async fn sweep_drafts(&self, mine: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync)) -> Result<Vec<String>, Error> {
        let mut uploads = self.inner.unfinished().await?;
        uploads.retain(|(name, _)| mine(name));
        self.inner.abort_all(uploads).await
    }

    async fn space(&self) -> Result<Option<Space>, Error> {
        Ok(None)
    }
}

impl Inner {
    fn place(&self) -> String {
        self.shown.clone()
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.config.prefix)
    }

    /// The name of `key`, if it is beneath our prefix.
    fn name<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.config.prefix.as_str())?.strip_prefix('/')
    }

    /// The work that should have given an answer has ended.
    fn ended(&self, name: &str) -> Error {
        Error::Io {
            action: Action::Write,
            name: escape(name),
            place: self.place(),
            cause: t!("store.given_up").into_owned(),
        }
    }

    /// The file that is to be sent cannot be read.
    fn unread(&self, name: &str, error: &std::io::Error) -> Error {
        Error::Io { action: Action::Read, name: escape(name), place: self.place(), cause: escape(&error.to_string()) }
    }

    /// How long an object of now is locked.
    fn lock(&self) -> (Option<ObjectLockMode>, Option<aws_sdk_s3::primitives::DateTime>) {
        let Some((days, compliance)) = self.config.making.lock else { return (None, None) };
        let mode = if compliance { ObjectLockMode::Compliance } else { ObjectLockMode::Governance };
        let until = self.clock.now() + TimeDelta::days(i64::from(days));
        (Some(mode), Some(aws_sdk_s3::primitives::DateTime::from_secs(until.timestamp())))
    }

    async fn must_be_new(&self, name: &str) -> Result<(), Error> {
        match self.head(name).await {
            Ok(_) => Err(Error::Exists { name: escape(name), place: self.place() }),
            Err(Error::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let request =
            self.client.list_objects_v2().bucket(&self.config.bucket).prefix(format!("{}/", self.config.prefix));
        // XML has no way to write some characters that keys may have (fault 60).
        let request = request.encoding_type(EncodingType::Url);
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| explain::explain(self.asked(Action::List, "s3:ListBucket", ""), &error))?;
            self.known.store(true, Ordering::Relaxed);
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            for object in page.contents() {
                let key = object.key().map(|key| if encoded { decoded(key) } else { key.to_owned() });
                let Some(name) = key.as_deref().and_then(|key| self.name(key)) else { continue };
                // What consoles make for a folder.
                if name.is_empty() && object.size() == Some(0) {
                    continue;
                }
                if check_name(name).is_err() {
                    let reason = t!("store.ignored.name").into_owned();
                    listing.ignored.push(Ignored { name: escape(name), reason });
                    continue;
                }
                let class = object.storage_class().map(|class| class.as_str().to_owned());
                listing.objects.push(Object {
                    name: name.to_owned(),
                    bytes: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                    modified: object.last_modified().map_or(DateTime::UNIX_EPOCH, date),
                    etag: object.e_tag().map(unquoted),
                    frozen: class.filter(|class| is_frozen(class)),
                    owner: None,
                });
            }
        }
        listing.objects.sort_by(|a, b| a.name.cmp(&b.name));
        listing.ignored.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    async fn head(&self, name: &str) -> Result<Object, Error> {
        self.look(name).await.map(|(object, _)| object)
    }

    /// What is known of an object, and whether its tag can be made of its bytes.
    async fn look(&self, name: &str) -> Result<(Object, bool), Error> {
        let head = self.answer(name, None).await?;
        let class = head.storage_class().map(|class| class.as_str().to_owned());
        let thawed = head.restore().is_some_and(|state| state.contains("ongoing-request=\"false\""));
        let plain = is_plain(head.server_side_encryption());
        let owner = head.metadata().and_then(|metadata| metadata.get(OWNER));
        let owner = owner.map(|owner| percent_decode_str(owner).decode_utf8_lossy().into_owned());
        let object = Object {
            name: name.to_owned(),
            bytes: head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
            modified: head.last_modified().map_or(DateTime::UNIX_EPOCH, date),
            etag: head.e_tag().map(unquoted),
            frozen: class.filter(|class| is_frozen(class) && !thawed),
            owner,
        };
        Ok((object, plain))
    }

    /// What a store says of an object, or of one part of it.
    async fn answer(&self, name: &str, part: Option<i32>) -> Result<HeadObjectOutput, Error> {
        check_name(name)?;
        let (customer, customer_md5) = self.config.making.customer();
        let request = self
            .client
            .head_object()
            .bucket(&self.config.bucket)
            .key(self.key(name))
            .set_part_number(part)
            .set_sse_customer_algorithm(customer.as_ref().map(|_| "AES256".to_owned()))
            .set_sse_customer_key(customer)
            .set_sse_customer_key_md5(customer_md5);
        let in_path = self.style.is_path();
        match request.send().await {
            Ok(head) => {
                self.known.store(true, Ordering::Relaxed);
                Ok(head)
            }
            Err(error) => {
                let asked = self.asked(Action::Open, "s3:GetObject", name);
                let unsaid = explain::is_unsaid(&error);
                let mut error = explain::explain(asked, &error);
                if unsaid {
                    error = self.ask_why(error).await;
                }
                // Now that it is known where the bucket's name belongs: that answer was about another one.
                if in_path != self.style.is_path() {
                    return Box::pin(self.answer(name, part)).await;
                }
                Err(error)
            }
        }
    }

    /// The answer to a HEAD has no body, so it does not say what is wrong: a request whose answer has one is asked in its place.
    async fn ask_why(&self, said: Error) -> Error {
        // That there is no such object is what it says nearly always; a bucket that is known does not go away.
        if matches!(said, Error::Missing { .. }) && self.known.load(Ordering::Relaxed) {
            return said;
        }
        let request = self.client.list_objects_v2().bucket(&self.config.bucket).max_keys(1);
        let request = request.prefix(format!("{}/", self.config.prefix));
        let why = match request.send().await {
            Ok(_) => {
                self.known.store(true, Ordering::Relaxed);
                return said;
            }
            Err(error) => explain::explain(self.asked(Action::List, "s3:ListBucket", ""), &error),
        };
        match why {
            Error::NoBucket { .. } | Error::Credentials { .. } | Error::Expired { .. } | Error::Skew { .. } => why,
            Error::Region { .. } => why,
            // Who may not list is refused to hear that there is no such object.
            Error::Refused { .. } if matches!(said, Error::Refused { .. }) => why,
            _ => said,
        }
    }

    /// What lies there is what was sent: its length, and its entity tag where that is made of the bytes.
    async fn compare(&self, name: &str, stored: &Measure, tag: Option<&str>) -> Result<Object, Error> {
        let (object, plain) = self.look(name).await?;
        let differs = |what: String| Err(Error::Differs { name: escape(name), place: self.place(), what });
        if object.bytes != stored.bytes {
            return differs(t!("store.differs_length", expected = stored.bytes, found = object.bytes).into_owned());
        }
        if let (Some(tag), Some(found)) = (tag, object.etag.as_deref())
            && plain
            && self.config.making.tags_are_digests()
            && is_digest(found)
            && found != tag
        {
            return differs(t!("store.differs_tag", expected = tag, found = escape(found)).into_owned());
        }
        Ok(object)
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let request = self.client.delete_object().bucket(&self.config.bucket).key(self.key(name));
        let asked = self.asked(Action::Delete, "s3:DeleteObject", name);
        request.send().await.map_err(|error| explain::explain(asked, &error))?;
        Ok(())
    }

    /// Uploads beneath our prefix that have begun and not ended: name and the store's name for it.
    async fn unfinished(&self) -> Result<Vec<(String, String)>, Error> {
        let mut found = Vec::new();
        let mut marker = (None, None);
        loop {
            let (key, id) = marker.clone();
            let request = self.client.list_multipart_uploads().bucket(&self.config.bucket);
            let request = request
                .prefix(format!("{}/", self.config.prefix))
                .encoding_type(EncodingType::Url)
                .set_key_marker(key)
                .set_upload_id_marker(id);
            let asked = self.asked(Action::List, "s3:ListBucketMultipartUploads", "");
            let page = request.send().await.map_err(|error| explain::explain(asked, &error))?;
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            for upload in page.uploads() {
                let key = upload.key().map(|key| if encoded { decoded(key) } else { key.to_owned() });
                let (Some(name), Some(id)) = (key.as_deref().and_then(|key| self.name(key)), upload.upload_id()) else {
                    continue;
                };
                found.push((name.to_owned(), id.to_owned()));
            }
            let next_key = page.next_key_marker.map(|key| if encoded { decoded(&key) } else { key });
            let next = (next_key, page.next_upload_id_marker);
            // One that does not go on would be asked for ever.
            if page.is_truncated != Some(true) || next.0.is_none() || next == marker {
                return Ok(found);
            }
            marker = next;
        }
    }

    fn asked<'a>(&'a self, action: Action, right: &'static str, name: &'a str) -> Asked<'a> {
        Asked { action, right, name, place: &self.shown, region: &self.config.region }
    }
}

impl Making {
    fn storage_class(&self) -> Option<StorageClass> {
        self.storage_class.as_deref().map(StorageClass::from)
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        match &self.encryption {
            Encryption::Store => Some(ServerSideEncryption::Aes256),
            Encryption::Kms(_) => Some(ServerSideEncryption::AwsKms),
            Encryption::Unsaid | Encryption::Customer { .. } => None,
        }
    }

    fn kms_key(&self) -> Option<String> {
        match &self.encryption {
            Encryption::Kms(key) => key.clone(),
            _ => None,
        }
    }

    /// The key that is sent with each request, and its MD5.
    fn customer(&self) -> (Option<String>, Option<String>) {
        match &self.encryption {
            Encryption::Customer { key, md5 } => (Some(key.clone()), Some(md5.clone())),
            _ => (None, None),
        }
    }

    /// Whether entity tags are made of the bytes that we send: not where they are encrypted with a key of a service or of ours.
    fn tags_are_digests(&self) -> bool {
        matches!(self.encryption, Encryption::Unsaid | Encryption::Store)
    }
}

/// A key of a list that was asked for encoded.
fn decoded(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Not encrypted with a key of a service: then tags are made of the bytes.
fn is_plain(encryption: Option<&ServerSideEncryption>) -> bool {
    matches!(encryption, None | Some(ServerSideEncryption::Aes256))
}

/// The store for people, and to tell it from others: two providers may have a bucket of one name.
#[must_use]
pub fn place_of(config: &Config) -> String {
    let place = format!("s3://{}/{}", escape(&config.bucket), escape(&config.prefix));
    let host = config.endpoint.as_deref().and_then(|url| url.split_once("://"));
    match host {
        Some((_, host)) => format!("{place} ({})", escape(host)),
        None => place,
    }
}

/// Has to be thawed before it can be read.
fn is_frozen(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

fn unquoted(tag: &str) -> String {
    tag.trim_matches('"').to_owned()
}

/// 32 hexadecimal digits, and perhaps how many parts.
fn is_digest(tag: &str) -> bool {
    let (digest, parts) = tag.split_once('-').unwrap_or((tag, "1"));
    digest.len() == 32
        && digest.bytes().all(|b| b.is_ascii_hexdigit())
        && !parts.is_empty()
        && parts.bytes().all(|b| b.is_ascii_digit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn date(date: &aws_sdk_s3::primitives::DateTime) -> DateTime<Utc> {
    DateTime::from_timestamp(date.secs(), date.subsec_nanos()).unwrap_or(DateTime::UNIX_EPOCH)
}

fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
