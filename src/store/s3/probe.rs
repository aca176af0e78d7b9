//! What a bucket is able to, and what of the settings it keeps: found out by trying, on objects that are gone afterwards.
//!
//! Stores take settings that they do not know, and say nothing: so what was put is looked at. A lock is tried for a few seconds only and in the
//! mode that may be lifted, never as the settings have it: what is locked for good cannot be cleaned up.

use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::DateTime as Date;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, ObjectLockEnabled, ObjectLockMode, ObjectLockRetentionMode,
    ServerSideEncryption,
};
use chrono::TimeDelta;
use md5::{Digest as _, Md5};
use percent_encoding::percent_decode_str;
use rust_i18n::t;
use sha2::Sha256;

use super::explain;
use super::{Encryption, Inner, OWNER};
use crate::domain::text::escape;
use crate::store::{Action, Error, Finding};

/// What the objects of a probe are called; no backup is.
const PROBE: &str = "amarre-probe-";
/// A part that a store with 1,000 of them refuses.
const LATE_PART: i32 = 1001;
/// Requests are refused beyond fifteen minutes; long before that something is wrong with a clock.
const FAR: i64 = 60;
/// How long the lock of a probe lasts: a store refuses one that is over when the request comes.
const LOCKED: TimeDelta = TimeDelta::seconds(8);

impl Inner {
    /// See [`crate::store::Elsewhere::try_out`].
    pub(super) async fn try_out(&self) -> Vec<Finding> {
        // One name for each installation: where nothing may be deleted they must not pile up.
        let digest = Sha256::digest(self.config.owner.as_bytes());
        let name = format!("{PROBE}{}", super::hex(digest.get(..8).unwrap_or_default()));
        let mut findings = Vec::new();
        let tagged = self.putting(&name).set_tagging(self.config.making.tags.clone());
        if let Err(error) = self.try_object(&name, tagged, &mut findings).await {
            findings.push(Finding::Failed("s3-object", error));
            return findings;
        }
        if self.style.is_corrected() {
            findings.push(Finding::Without("s3-style", t!("store.probe.corrected").into_owned()));
        }
        findings.push(match self.clean(&name).await {
            Ok(()) => Finding::Can("s3-delete", String::new()),
            // Keys that cannot delete are the better ones: whoever has them cannot either.
            Err(Error::Refused { .. }) => Finding::Without("s3-delete", t!("store.probe.no_delete").into_owned()),
            Err(error) => Finding::Lacks("s3-delete", error.to_string()),
        });
        findings
    }

    /// See [`crate::store::Elsewhere::probe`].
    pub(super) async fn probe(&self, token: u64) -> Vec<Finding> {
        let name = format!("{PROBE}{token:016x}");
        let mut findings = Vec::new();
        match self.try_object(&name, self.putting(&name), &mut findings).await {
            Ok(()) => {
                self.try_list(&name, &mut findings).await;
                self.try_condition(&name, &mut findings).await;
                self.try_checksum(&name, &mut findings).await;
            }
            Err(error) => {
                let hopeless = error.is_of_the_place();
                findings.push(Finding::Failed("s3-object", error));
                if hopeless {
                    return findings;
                }
            }
        }
        self.tell_style(&mut findings);
        self.try_making(&name, &mut findings).await;
        self.try_parts(&name, &mut findings).await;
        self.try_versions(&mut findings).await;
        findings.push(self.try_lock(&name).await);
        findings.push(match self.clean(&name).await {
            Ok(()) => Finding::Can("s3-delete", String::new()),
            Err(error) => Finding::Lacks("s3-delete", error.to_string()),
        });
        findings
    }

    /// A request that puts the object of a probe, encrypted as all are; it has no class, no tags and no lock yet.
    fn putting(&self, name: &str) -> PutObjectFluentBuilder {
        let making = &self.config.making;
        let (key, md5) = making.customer();
        self.client
            .put_object()
            .bucket(&self.config.bucket)
            .key(self.key(name))
            .content_md5(aws_smithy_types::base64::encode(Md5::digest(name.as_bytes())))
            .metadata(OWNER, &self.config.owner)
            .set_server_side_encryption(making.encryption())
            .set_ssekms_key_id(making.kms_key())
            .set_sse_customer_algorithm(key.as_ref().map(|_| "AES256".to_owned()))
            .set_sse_customer_key(key)
            .set_sse_customer_key_md5(md5)
            .body(name.as_bytes().to_vec().into())
    }

    async fn put_probe(&self, name: &str, request: PutObjectFluentBuilder) -> Result<(), Error> {
        let asked = self.asked(Action::Write, "s3:PutObject", name);
        request.send().await.map(drop).map_err(|error| explain::explain(asked, &error))
    }

    /// Puts one object, looks at it and reads it.
    async fn try_object(
        &self,
        name: &str,
        request: PutObjectFluentBuilder,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let bytes = name.as_bytes();
        let before = self.clock.now();
        self.put_probe(name, request).await?;
        findings.push(Finding::Can("s3-put", String::new()));
        let object = self.head(name).await?;
        let read = self.range(name, 0, bytes.len() as u64, None).await?;
        if read != bytes {
            let what = t!("store.probe.other_bytes").into_owned();
            return Err(Error::Differs { name: escape(name), place: self.place(), what });
        }
        findings.push(Finding::Can("s3-get", String::new()));
        let skew = (object.modified - before).num_seconds();
        let text = t!("store.probe.skew", seconds = skew).into_owned();
        let far = skew.abs() > FAR;
        findings.push(if far { Finding::Lacks("s3-clock", text) } else { Finding::Can("s3-clock", text) });
        Ok(())
    }

    async fn try_list(&self, name: &str, findings: &mut Vec<Finding>) {
        findings.push(match self.list().await {
            Ok(listing) if listing.objects.iter().any(|object| object.name == name) => {
                Finding::Can("s3-list", String::new())
            }
            Ok(_) => Finding::Lacks("s3-list", t!("store.probe.unlisted").into_owned()),
            Err(error) => Finding::Failed("s3-list", error),
        });
    }

    /// Where the bucket's name stands, for whoever left that open.
    fn tell_style(&self, findings: &mut Vec<Finding>) {
        let text = if self.style.is_path() { t!("store.probe.in_path") } else { t!("store.probe.in_host") };
        findings.push(Finding::Can("s3-style", text.into_owned()));
    }

    async fn try_condition(&self, name: &str, findings: &mut Vec<Finding>) {
        findings.push(match self.putting(name).if_none_match("*").send().await {
            Err(error) if error.code() == Some("PreconditionFailed") => Finding::Can("s3-condition", String::new()),
            _ => Finding::Without("s3-condition", t!("store.probe.condition").into_owned()),
        });
    }

    async fn try_checksum(&self, name: &str, findings: &mut Vec<Finding>) {
        findings.push(match self.putting(name).checksum_algorithm(ChecksumAlgorithm::Sha256).send().await {
            Ok(_) => Finding::Can("s3-checksum", String::new()),
            Err(_) => Finding::Without("s3-checksum", t!("store.probe.checksum").into_owned()),
        });
    }

    /// Puts an object as the settings want data to be put, but for a lock, and looks what the store has kept of that.
    async fn try_making(&self, name: &str, findings: &mut Vec<Finding>) {
        let making = &self.config.making;
        let request = self.putting(name).set_storage_class(making.storage_class()).set_tagging(making.tags.clone());
        if let Err(error) = self.put_probe(name, request).await {
            return findings.push(Finding::Failed("s3-settings", error));
        }
        let head = match self.answer(name, None).await {
            Ok(head) => head,
            Err(error) => return findings.push(Finding::Failed("s3-settings", error)),
        };
        if let Some(wanted) = &making.storage_class {
            // A store need not name the class that is everybody's.
            let kept = head.storage_class().map_or("STANDARD", |class| class.as_str());
            findings.push(told("s3-class", kept == wanted, wanted, escape(kept)));
        }
        let kept = head.server_side_encryption();
        let shown = kept.map_or_else(|| t!("store.probe.nothing").into_owned(), |kept| escape(kept.as_str()));
        match &making.encryption {
            Encryption::Unsaid => {}
            Encryption::Store => {
                findings.push(told("s3-encryption", kept == Some(&ServerSideEncryption::Aes256), "AES256", shown));
            }
            Encryption::Kms(_) => {
                let kms = matches!(kept, Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse));
                findings.push(told("s3-encryption", kms, "aws:kms", shown));
            }
            Encryption::Customer { .. } => {
                // Who encrypts with a key cannot give the object without it.
                let bare = self.client.head_object().bucket(&self.config.bucket).key(self.key(name)).send().await;
                let shown = t!("store.probe.given_without_key").into_owned();
                findings.push(told("s3-encryption", bare.is_err(), "SSE-C", shown));
            }
        }
        if let Some(wanted) = &making.tags {
            let found = self.tags(name).await;
            let counted = head.tag_count().and_then(|count| usize::try_from(count).ok());
            findings.push(judge_tags(wanted, found, counted));
        }
    }

    /// The tags of an object; `Err(true)`: these keys may not ask.
    async fn tags(&self, name: &str) -> Result<Vec<(String, String)>, bool> {
        let request = self.client.get_object_tagging().bucket(&self.config.bucket).key(self.key(name));
        match request.send().await {
            Ok(found) => Ok(found.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()),
            Err(error) => Err(error.raw_response().is_some_and(|response| response.status().as_u16() == 403)),
        }
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
            .content_md5(aws_smithy_types::base64::encode(Md5::digest(name.as_bytes())))
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

    /// Keys that may not ask, and stores that do not know the question, say nothing.
    async fn try_versions(&self, findings: &mut Vec<Finding>) {
        let versioning = self.client.get_bucket_versioning().bucket(&self.config.bucket).send().await;
        let on = versioning.ok().and_then(|answer| answer.status().cloned()) == Some(BucketVersioningStatus::Enabled);
        findings.push(if on {
            Finding::Can("s3-versioning", t!("store.probe.versions").into_owned())
        } else {
            Finding::Without("s3-versioning", t!("store.probe.no_versions").into_owned())
        });
    }

    /// Whether objects can be locked; where the settings want it, and the bucket does not say no, by locking one for a moment.
    async fn try_lock(&self, name: &str) -> Finding {
        let asked = self.client.get_object_lock_configuration().bucket(&self.config.bucket).send().await;
        let (enabled, denied) = match &asked {
            Ok(answer) => {
                let lock = answer.object_lock_configuration();
                (lock.and_then(|l| l.object_lock_enabled()) == Some(&ObjectLockEnabled::Enabled), false)
            }
            Err(error) => (false, error.raw_response().is_some_and(|response| response.status().as_u16() == 403)),
        };
        let wanted = self.config.making.lock.is_some();
        match (enabled, denied, wanted) {
            (_, true, true) | (true, _, true) => match self.lock_for_a_moment(name).await {
                Ok(true) => Finding::Can("s3-lock", t!("store.probe.locked").into_owned()),
                Ok(false) => Finding::Lacks("s3-lock", t!("store.probe.lock_ignored").into_owned()),
                Err(error) => Finding::Failed("s3-lock", error),
            },
            (false, false, true) => Finding::Lacks("s3-lock", t!("store.probe.lock_wanted").into_owned()),
            (true, _, false) => Finding::Can("s3-lock", String::new()),
            (false, _, false) => Finding::Without("s3-lock", t!("store.probe.no_lock").into_owned()),
        }
    }

    /// Locks an object in the mode that may be lifted, looks whether it is, and removes it, at the latest when the lock is over.
    async fn lock_for_a_moment(&self, name: &str) -> Result<bool, Error> {
        // By the store's clock, so far as it is known: the last object has its time.
        let there = self.head(name).await.map_or_else(|_| self.clock.now(), |object| object.modified);
        let until = there.max(self.clock.now()) + LOCKED;
        let request = self.putting(name).object_lock_mode(ObjectLockMode::Governance);
        let request = request.object_lock_retain_until_date(Date::from_secs(until.timestamp()));
        let asked = self.asked(Action::Write, "s3:PutObjectRetention", name);
        let put = request.send().await.map_err(|error| explain::explain(asked, &error))?;
        let head = self.answer(name, None).await?;
        let locked = head.object_lock_mode() == Some(&ObjectLockMode::Governance)
            || self.retained(name).await == Some(ObjectLockRetentionMode::Governance);
        let Some(version) = put.version_id().map(str::to_owned) else { return Ok(locked) };
        let request = self.client.delete_object().bucket(&self.config.bucket).key(self.key(name));
        let lifted = request.version_id(&version).bypass_governance_retention(true).send().await;
        if lifted.is_err() && locked {
            let left = until - self.clock.now() + TimeDelta::seconds(1);
            tokio::time::sleep(left.to_std().unwrap_or(Duration::ZERO)).await;
        }
        Ok(locked)
    }

    async fn retained(&self, name: &str) -> Option<ObjectLockRetentionMode> {
        let request = self.client.get_object_retention().bucket(&self.config.bucket).key(self.key(name));
        request.send().await.ok()?.retention?.mode
    }

    /// Removes the object of a probe, with all its versions where the bucket keeps them and lets them be seen.
    async fn clean(&self, name: &str) -> Result<(), Error> {
        self.delete(name).await?;
        for version in self.versions(name).await.unwrap_or_default() {
            let request = self.client.delete_object().bucket(&self.config.bucket).key(self.key(name));
            let asked = self.asked(Action::Delete, "s3:DeleteObjectVersion", name);
            request.version_id(version).send().await.map_err(|error| explain::explain(asked, &error))?;
        }
        Ok(())
    }
}

/// What of a setting was kept.
fn told(name: &'static str, kept: bool, wanted: &str, found: String) -> Finding {
    let wanted = escape(wanted);
    if kept {
        Finding::Can(name, wanted)
    } else {
        Finding::Lacks(name, t!("store.probe.ignored", wanted = wanted, found = found).into_owned())
    }
}

fn judge_tags(wanted: &str, found: Result<Vec<(String, String)>, bool>, counted: Option<usize>) -> Finding {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (decode(name), decode(value)));
    let mut asked_for: Vec<_> = wanted.split('&').filter_map(pair).collect();
    asked_for.sort();
    let shown = wanted.replace('&', ", ");
    match (found, counted) {
        (Ok(mut found), _) => {
            found.sort();
            let names: Vec<_> =
                found.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
            let names = if names.is_empty() { t!("store.probe.nothing").into_owned() } else { names.join(", ") };
            told("s3-tags", found == asked_for, &shown, names)
        }
        (Err(_), Some(count)) => told("s3-tags", count == asked_for.len(), &shown, count.to_string()),
        (Err(true), None) => Finding::Without("s3-tags", t!("store.probe.tags_unsaid").into_owned()),
        (Err(false), None) => told("s3-tags", false, &shown, t!("store.probe.nothing").into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_whatever_their_order() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wanted = "team=a%20b&kind=";
        let is_kept = |found, counted| matches!(judge_tags(wanted, found, counted), Finding::Can(..));
        assert!(is_kept(Ok(vec![pair("kind", ""), pair("team", "a b")]), None));
        assert!(!is_kept(Ok(vec![pair("kind", "")]), Some(2)));
        assert!(is_kept(Err(true), Some(2)) && !is_kept(Err(true), Some(0)));
        assert!(matches!(judge_tags(wanted, Err(true), None), Finding::Without(..)));
        assert!(matches!(judge_tags(wanted, Err(false), None), Finding::Lacks(..)));
    }
}
