//! What a bucket can do beside holding backups: lend one by an address, thaw it, forget it with all its versions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{EncodingType, GlacierJobParameters, RestoreRequest, Tier};
use rust_i18n::t;

use super::body::Piece;
use super::explain;
use super::upload::tag_of;
use super::{Encryption, Inner, OWNER, S3Store, SHA256, decoded, is_digest, is_plain, signed, unquoted};
use crate::domain::manifest::Measure;
use crate::domain::text::escape;
use crate::store::{Action, Elsewhere, Error, Finding, ReadAt, Thaw, check_name};

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
            parts.push(piece.md5().await.map_err(|error| inner.unread(name, &error))?);
        }
        Ok(tag_of(parts.into_iter()) == tag)
    }

    async fn try_out(&self) -> Vec<Finding> {
        self.inner.try_out().await
    }

    async fn probe(&self, token: u64) -> Vec<Finding> {
        self.inner.probe(token).await
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
    pub(super) async fn versions(&self, name: &str) -> Result<Vec<String>, Error> {
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
}
