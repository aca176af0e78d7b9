//! What a bucket can do beside holding backups: lend one by an address, thaw it, forget it with all its versions, and say what it is able to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, EncodingType, GlacierJobParameters, ObjectLockEnabled, RestoreRequest,
    Tier,
};
use rust_i18n::t;
use sha2::{Digest as _, Sha256};

use super::body::Piece;
use super::explain;
use super::upload::tag_of;
use super::{Encryption, Inner, OWNER, S3Store, SHA256, decoded, is_digest, is_plain, signed, unquoted};
use crate::domain::manifest::Measure;
use crate::domain::text::escape;
use crate::store::{Action, Elsewhere, Error, Finding, ReadAt, Thaw, check_name};

/// What the objects of a probe are called; no backup is.
const PROBE: &str = "amarre-probe-";
/// A part that a store with 1,000 of them refuses.
const LATE_PART: i32 = 1001;

#[async_trait]
impl Elsewhere for S3Store {
    async fn share(&self, name: &str, time: Duration) -> Result<String, Error> {
        let inner = &self.inner;
        inner.head(name).await?;
        let failed =
            |cause: String| Error::Io { action: Action::Open, name: escape(name), place: inner.place(), cause };
        if matches!(inner.config.making.encryption, Encryption::Customer { .. }) {
            return Err(failed(t!("store.share_customer").into_owned()));
        }
        let config = PresigningConfig::expires_in(time).map_err(|error| failed(error.to_string()))?;
        let request = inner.client.get_object().bucket(&inner.config.bucket).key(inner.key(name));
        let asked = inner.asked(Action::Open, "s3:GetObject", name);
        let address = request.presigned(config).await.map_err(|error| explain::explain(asked, &error))?;
        Ok(address.uri().to_owned())
    }

    async fn thaw(&self, name: &str, days: u32) -> Result<Thaw, Error> {
        let inner = &self.inner;
        if inner.head(name).await?.frozen.is_none() {
            return Ok(Thaw::Readable);
        }
        let failed =
            |cause: String| Error::Io { action: Action::Open, name: escape(name), place: inner.place(), cause };
        let speed = GlacierJobParameters::builder().tier(Tier::Standard).build();
        let request = RestoreRequest::builder()
            .days(i32::try_from(days).unwrap_or(i32::MAX))
            .glacier_job_parameters(speed.map_err(|error| failed(error.to_string()))?)
            .build();
        let request =
            inner.client.restore_object().bucket(&inner.config.bucket).key(inner.key(name)).restore_request(request);
        let asked = inner.asked(Action::Open, "s3:RestoreObject", name);
        match request.send().await {
            Ok(_) => Ok(Thaw::Asked),
            Err(error) if error.code() == Some("RestoreAlreadyInProgress") => Ok(Thaw::Coming),
            Err(error) => Err(explain::explain(asked, &error)),
        }
    }

    async fn erase(&self, name: &str) -> Result<u64, Error> {
        check_name(name)?;
        let inner = &self.inner;
        let mut erased = 0;
        // Where nothing has versions there is one to delete, and no list of them.
        match inner.versions(name).await {
            Ok(versions) => {
                for version in versions {
                    inner.delete_version(name, Some(version)).await?;
                    erased += 1;
                }
            }
            Err(Error::Refused { .. } | Error::Io { .. }) => {
                if inner.is_versioned().await.unwrap_or(true) {
                    // A mark over what stays would only look like an erasure.
                    return Err(Error::Refused {
                        action: Action::Delete,
                        name: escape(name),
                        place: inner.place(),
                        right: "s3:ListBucketVersions",
                    });
                }
            }
            Err(error) => return Err(error),
        }
        match inner.head(name).await {
            Err(Error::Missing { .. }) => Ok(erased),
            Ok(_) => {
                inner.delete_version(name, None).await?;
                Ok(erased + 1)
            }
            Err(error) => Err(error),
        }
    }

    async fn holds(&self, name: &str, source: Arc<dyn ReadAt>, stored: &Measure) -> Result<bool, Error> {
        let inner = &self.inner;
        let head = match inner.answer(name, None).await {
            Err(Error::Missing { .. }) => return Ok(false),
            other => other?,
        };
        let said = |key: &str| head.metadata().and_then(|metadata| metadata.get(key));
        if head.content_length() != Some(signed(stored.bytes)) || said(OWNER) != Some(&inner.config.owner) {
            return Ok(false);
        }
        if let Some(sha256) = said(SHA256) {
            return Ok(*sha256 == stored.sha256);
        }
        let tag = head.e_tag().map(unquoted).filter(|tag| is_digest(tag));
        let digests = is_plain(head.server_side_encryption()) && inner.config.making.tags_are_digests();
        let Some(tag) = tag.filter(|_| digests) else { return Ok(false) };
        let first = inner.answer(name, Some(1)).await?.content_length();
        let Some(size) = first.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0) else {
            return Ok(false);
        };
        let mut parts = Vec::new();
        for from in (0..stored.bytes).step_by(usize::try_from(size).unwrap_or(usize::MAX)) {
            let piece = Piece { file: Arc::clone(&source), from, length: size.min(stored.bytes - from) };
            let digests = piece.digests(Sha256::new()).await;
            parts.push(digests.map_err(|error| inner.unread(name, &error))?.0);
        }
        Ok(tag_of(parts.into_iter()) == tag)
    }

    async fn probe(&self, token: u64) -> Vec<Finding> {
        let name = format!("{PROBE}{token:016x}");
        let mut findings = Vec::new();
        if let Err(error) = self.inner.try_object(&name, &mut findings).await {
            findings.push(Finding::Failed("s3-object", error));
        }
        self.inner.try_parts(&name, &mut findings).await;
        self.inner.try_bucket(&mut findings).await;
        match self.inner.delete(&name).await {
            Ok(()) => findings.push(Finding::Can("s3-delete", String::new())),
            Err(error) => findings.push(Finding::Lacks("s3-delete", error.to_string())),
        }
        findings
    }
}

impl Inner {
    async fn is_versioned(&self) -> Result<bool, Error> {
        let asked = self.asked(Action::List, "s3:GetBucketVersioning", "");
        let request = self.client.get_bucket_versioning().bucket(&self.config.bucket);
        let answer = request.send().await.map_err(|error| explain::explain(asked, &error))?;
        Ok(answer.status().is_some())
    }

    /// All versions of an object, marks of deletions among them.
    async fn versions(&self, name: &str) -> Result<Vec<String>, Error> {
        let wanted = self.key(name);
        let mut marker = (None, None);
        let mut found = Vec::new();
        loop {
            let (key, id) = marker.clone();
            let request = self.client.list_object_versions().bucket(&self.config.bucket).prefix(&wanted);
            let request = request.encoding_type(EncodingType::Url).set_key_marker(key).set_version_id_marker(id);
            let asked = self.asked(Action::List, "s3:ListBucketVersions", name);
            let page = request.send().await.map_err(|error| explain::explain(asked, &error))?;
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            // Its name is the beginning of those of its companions too.
            let same =
                |key: Option<&str>| key.is_some_and(|key| if encoded { decoded(key) == wanted } else { key == wanted });
            let versions = page.versions().iter().filter(|v| same(v.key())).filter_map(|v| v.version_id());
            let marks = page.delete_markers().iter().filter(|m| same(m.key())).filter_map(|m| m.version_id());
            found.extend(versions.chain(marks).map(str::to_owned));
            let next = (page.next_key_marker, page.next_version_id_marker);
            if page.is_truncated != Some(true) || next.0.is_none() || next == marker {
                return Ok(found);
            }
            marker = next;
        }
    }

    async fn delete_version(&self, name: &str, version: Option<String>) -> Result<(), Error> {
        let right = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
        let request = self.client.delete_object().bucket(&self.config.bucket).key(self.key(name));
        let asked = self.asked(Action::Delete, right, name);
        request.set_version_id(version).send().await.map_err(|error| explain::explain(asked, &error))?;
        Ok(())
    }

    /// Puts, looks, reads and finds one object, and tries on it what not every store can.
    async fn try_object(&self, name: &str, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let bytes = name.as_bytes().to_vec();
        let before = self.clock.now();
        let piece = Piece { file: Arc::new(bytes.clone()), from: 0, length: bytes.len() as u64 };
        self.put_piece(name, piece, None).await?;
        findings.push(Finding::Can("s3-put", String::new()));
        let object = self.head(name).await?;
        let read = self.range(name, 0, bytes.len() as u64, None).await?;
        if read != bytes {
            let what = t!("store.probe.other_bytes").into_owned();
            return Err(Error::Differs { name: escape(name), place: self.place(), what });
        }
        findings.push(Finding::Can("s3-get", String::new()));
        let skew = (object.modified - before).num_seconds();
        let skew_text = t!("store.probe.skew", seconds = skew).into_owned();
        // Requests are refused beyond fifteen minutes; long before that something is wrong with a clock.
        let far = skew.abs() > 60;
        findings.push(if far { Finding::Lacks("s3-clock", skew_text) } else { Finding::Can("s3-clock", skew_text) });
        let listed = self.list().await?.objects.iter().any(|object| object.name == name);
        findings.push(match listed {
            true => Finding::Can("s3-list", String::new()),
            false => Finding::Lacks("s3-list", t!("store.probe.unlisted").into_owned()),
        });
        self.try_condition(name, findings).await;
        self.try_checksum(name, findings).await;
        Ok(())
    }

    async fn try_condition(&self, name: &str, findings: &mut Vec<Finding>) {
        let request = self.client.put_object().bucket(&self.config.bucket).key(self.key(name)).if_none_match("*");
        let body = name.as_bytes().to_vec();
        let sent = self.with_key_for_put(request).body(body.into()).send().await;
        findings.push(match sent {
            Err(error) if error.code() == Some("PreconditionFailed") => Finding::Can("s3-condition", String::new()),
            _ => Finding::Without("s3-condition", t!("store.probe.condition").into_owned()),
        });
    }

    async fn try_checksum(&self, name: &str, findings: &mut Vec<Finding>) {
        let request = self.client.put_object().bucket(&self.config.bucket).key(self.key(name));
        let request = request.checksum_algorithm(ChecksumAlgorithm::Sha256).body(name.as_bytes().to_vec().into());
        findings.push(match self.with_key_for_put(request).send().await {
            Ok(_) => Finding::Can("s3-checksum", String::new()),
            Err(_) => Finding::Without("s3-checksum", t!("store.probe.checksum").into_owned()),
        });
    }

    /// Whether uploads in parts can be begun, be listed and be taken back, and how many parts there may be.
    async fn try_parts(&self, name: &str, findings: &mut Vec<Finding>) {
        let id = match self.begin(name).await {
            Ok(id) => id,
            Err(error) => return findings.push(Finding::Failed("s3-parts", error)),
        };
        let request = self.client.upload_part().bucket(&self.config.bucket).key(self.key(name)).upload_id(&id);
        let (key, md5) = self.config.making.customer();
        let request = request
            .part_number(LATE_PART)
            .set_sse_customer_algorithm(key.as_ref().map(|_| "AES256".to_owned()))
            .set_sse_customer_key(key)
            .set_sse_customer_key_md5(md5)
            .body(name.as_bytes().to_vec().into());
        findings.push(match request.send().await {
            Ok(_) => Finding::Can("s3-parts", t!("store.probe.many_parts", count = LATE_PART).into_owned()),
            Err(_) => Finding::Can("s3-parts", t!("store.probe.few_parts", count = LATE_PART - 1).into_owned()),
        });
        let aborted = self.abort(name, &id).await;
        findings.push(match (aborted, self.unfinished().await) {
            (Err(error), _) | (_, Err(error)) => Finding::Lacks("s3-unfinished", error.to_string()),
            (Ok(_), Ok(left)) if left.iter().any(|(_, left)| *left == id) => {
                Finding::Lacks("s3-unfinished", t!("store.probe.not_aborted").into_owned())
            }
            (Ok(_), Ok(left)) => {
                Finding::Can("s3-unfinished", t!("store.probe.unfinished", count = left.len()).into_owned())
            }
        });
    }

    /// What the whole bucket is set to. Keys that may not ask, and stores that do not know the question, say nothing.
    async fn try_bucket(&self, findings: &mut Vec<Finding>) {
        let versioning = self.client.get_bucket_versioning().bucket(&self.config.bucket).send().await;
        let on = versioning.ok().and_then(|answer| answer.status().cloned()) == Some(BucketVersioningStatus::Enabled);
        let versions = t!("store.probe.versions").into_owned();
        findings.push(if on {
            Finding::Can("s3-versioning", versions)
        } else {
            Finding::Without("s3-versioning", t!("store.probe.no_versions").into_owned())
        });
        let lock = self.client.get_object_lock_configuration().bucket(&self.config.bucket).send().await;
        let lock = lock.ok().and_then(|answer| answer.object_lock_configuration?.object_lock_enabled);
        let wanted = self.config.making.lock.is_some();
        findings.push(match (lock == Some(ObjectLockEnabled::Enabled), wanted) {
            (true, _) => Finding::Can("s3-lock", String::new()),
            (false, true) => Finding::Lacks("s3-lock", t!("store.probe.lock_wanted").into_owned()),
            (false, false) => Finding::Without("s3-lock", t!("store.probe.no_lock").into_owned()),
        });
    }

    fn with_key_for_put(
        &self,
        request: aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder,
    ) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
        let (key, md5) = self.config.making.customer();
        request
            .metadata(super::OWNER, &self.config.owner)
            .set_sse_customer_algorithm(key.as_ref().map(|_| "AES256".to_owned()))
            .set_sse_customer_key(key)
            .set_sse_customer_key_md5(md5)
    }
}
