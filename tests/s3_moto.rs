//! What AWS has and Garage lacks: storage classes, encryption by a key service or with a key of ours, tags, Object Lock, versions.
//! A simulation of it from PyPI; without one (`scripts/testbed.sh up` starts it) these are skipped, which is said and counted.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;

use std::sync::Arc;

use amarre::dump::measure;
use amarre::store::s3::{Encryption, Making, S3Store, tagging};
use amarre::store::{Error, Growing, Object, Store};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ObjectLockMode, ServerSideEncryption, StorageClass};
use s3::Bucket;

/// One of two parts, one that is one request, and one that is put as manifests are.
const NAMES: [&str; 3] = ["large.sql.gz", "small.sql.gz", "small.sql.gz.json"];

fn bytes(name: &str) -> Arc<Vec<u8>> {
    let length = if name.starts_with("large") { 9 << 20 } else { 1000 };
    Arc::new((0..length).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect())
}

async fn upload(store: &S3Store, name: &str) -> Result<Object, Error> {
    let bytes = bytes(name);
    let length = bytes.len() as u64;
    let source = Growing::whole(bytes.clone(), length);
    store.upload(name, source, length).await?.finish(&measure(&bytes)).await
}

/// The bucket, and what lies in it after all three were made so; `None`: skipped.
async fn made(label: &str, making: Making) -> Option<(Bucket, S3Store)> {
    let Some(bucket) = Bucket::simulated() else {
        s3::skipped(label);
        return None;
    };
    let store = bucket.open_with(|config| config.making = making).unwrap();
    upload(&store, NAMES[0]).await.unwrap();
    upload(&store, NAMES[1]).await.unwrap();
    store.put(NAMES[2], &bytes(NAMES[2])).await.unwrap();
    Some((bucket, store))
}

fn head(bucket: &Bucket, name: &str) -> HeadObjectOutput {
    let (place, key) = (bucket.place.bucket.clone(), format!("{}/{name}", bucket.prefix));
    bucket.ask(move |client| async move { client.head_object().bucket(place).key(key).send().await.unwrap() })
}

/// All three come back, and nothing is left half.
async fn come_back(bucket: &Bucket, store: &S3Store) {
    for name in NAMES {
        let expected = bytes(name);
        let found = store.get(name, 0, expected.len() as u64).await.unwrap();
        assert!(found == **expected, "{name}");
    }
    assert_eq!(bucket.all(), NAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_has_its_storage_class_and_what_must_be_readable_has_none() {
    let making = Making { storage_class: Some("ONEZONE_IA".to_owned()), ..Making::default() };
    let Some((bucket, store)) = made("storage class", making).await else { return };
    for name in &NAMES[..2] {
        assert_eq!(head(&bucket, name).storage_class(), Some(&StorageClass::OnezoneIa), "{name}");
    }
    assert!(matches!(head(&bucket, NAMES[2]).storage_class(), None | Some(StorageClass::Standard)));
    come_back(&bucket, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_frozen_is_told_by_its_class() {
    let making = Making { storage_class: Some("GLACIER".to_owned()), ..Making::default() };
    let Some((_, store)) = made("frozen", making).await else { return };
    assert_eq!(store.head(NAMES[0]).await.unwrap().frozen.as_deref(), Some("GLACIER"));
    let listed = store.list().await.unwrap().objects;
    let frozen: Vec<_> = listed.iter().map(|object| object.frozen.as_deref()).collect();
    assert_eq!(frozen, [Some("GLACIER"), Some("GLACIER"), None]);
    let error = store.get(NAMES[0], 0, 10).await.unwrap_err();
    assert!(matches!(error, Error::Frozen { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_encrypts_with_its_own_key() {
    let making = Making { encryption: Encryption::Store, ..Making::default() };
    let Some((bucket, store)) = made("SSE-S3", making).await else { return };
    for name in NAMES {
        assert_eq!(head(&bucket, name).server_side_encryption(), Some(&ServerSideEncryption::Aes256), "{name}");
    }
    come_back(&bucket, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_encrypts_with_a_key_of_its_service() {
    let making = Making { encryption: Encryption::Kms(Some("alias/backups".to_owned())), ..Making::default() };
    let Some((bucket, store)) = made("SSE-KMS", making).await else { return };
    for name in NAMES {
        let head = head(&bucket, name);
        assert_eq!(head.server_side_encryption(), Some(&ServerSideEncryption::AwsKms), "{name}");
        assert_eq!(head.ssekms_key_id(), Some("alias/backups"), "{name}");
    }
    come_back(&bucket, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_object_has_its_tags() {
    let making = Making { tags: tagging([("team", "chantier: a+b @ c"), ("kind", "")]), ..Making::default() };
    let Some((bucket, store)) = made("tags", making).await else { return };
    for name in NAMES {
        let (place, key) = (bucket.place.bucket.clone(), format!("{}/{name}", bucket.prefix));
        let tags = bucket.ask(move |client| async move {
            let tags = client.get_object_tagging().bucket(place).key(key).send().await.unwrap();
            let mut tags: Vec<_> =
                tags.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
            tags.sort();
            tags
        });
        let expected =
            [("kind", ""), ("team", "chantier: a+b @ c")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(tags, expected, "{name}");
    }
    come_back(&bucket, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_cannot_be_deleted_before_its_time() {
    for (compliance, mode) in [(false, ObjectLockMode::Governance), (true, ObjectLockMode::Compliance)] {
        let making = Making { lock: Some((30, compliance)), ..Making::default() };
        let Some((bucket, store)) = made("Object Lock", making).await else { return };
        // The simulation does not lock what came in parts.
        for name in &NAMES[1..] {
            let head = head(&bucket, name);
            assert_eq!(head.object_lock_mode(), Some(&mode), "{name}");
            let until = head.object_lock_retain_until_date().unwrap().secs();
            let days = (until - head.last_modified().unwrap().secs() + 43_200) / 86_400;
            assert_eq!(days, 30, "{name}");
            let version = head.version_id().unwrap().to_owned();
            let (place, key) = (bucket.place.bucket.clone(), format!("{}/{name}", bucket.prefix));
            let gone = bucket.ask(move |client| async move {
                client.delete_object().bucket(place).key(key).version_id(version).send().await.is_ok()
            });
            assert!(!gone, "{name} {mode:?}");
        }
        come_back(&bucket, &store).await;
    }
}

/// What comes in parts is locked by the request that begins it; seen on the way, since the simulation does not do it. So is the key that
/// is sent with each request: the simulation keeps it, but does not ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_parts_is_told_to_be_locked_and_each_part_carries_its_key() {
    let Some(bucket) = Bucket::simulated() else { return s3::skipped("Object Lock and SSE-C of parts") };
    let proxy = fault_proxy::FaultProxy::before(&bucket.place.endpoint);
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let making = Making { lock: Some((30, true)), encryption: Encryption::customer(key), ..Making::default() };
    let opened = bucket.open_with(|config| {
        config.endpoint = Some(proxy.endpoint());
        config.making = making;
    });
    let store = opened.unwrap();
    upload(&store, NAMES[0]).await.unwrap();
    let begun = proxy.count(|request| {
        request.query.starts_with("uploads") && request.header("x-amz-object-lock-mode") == Some("COMPLIANCE")
    });
    assert_eq!(begun, 1);
    let secret = |request: &fault_proxy::Request| {
        request.header("x-amz-server-side-encryption-customer-key") == Some(key)
            && request.header("x-amz-server-side-encryption-customer-key-md5").is_some()
    };
    assert_eq!(proxy.count(|request| request.query.contains("partNumber=") && secret(request)), 2);
    let expected = bytes(NAMES[0]);
    assert!(store.get(NAMES[0], 0, expected.len() as u64).await.unwrap() == **expected);
    assert_eq!(proxy.count(|request| request.method == "GET" && secret(request)), 1);
}

/// A bucket that keeps versions: what is deleted is gone for us and a name can be given again, and what was there can be had back.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_keeps_versions_behaves_like_any_other() {
    let Some((bucket, store)) = made("versions", Making::default()).await else { return };
    assert!(store.delete(NAMES[2]).await.unwrap());
    assert!(!store.delete(NAMES[2]).await.unwrap());
    assert!(matches!(store.head(NAMES[2]).await, Err(Error::Missing { .. })));
    assert_eq!(store.list().await.unwrap().objects.len(), 2);
    store.put(NAMES[2], b"again").await.unwrap();
    assert_eq!(store.read(NAMES[2], 5).await.unwrap(), b"again");
    let (place, key) = (bucket.place.bucket.clone(), format!("{}/{}", bucket.prefix, NAMES[2]));
    let versions = bucket.ask(move |client| async move {
        let listed = client.list_object_versions().bucket(place).prefix(key).send().await.unwrap();
        (listed.versions().len(), listed.delete_markers().len())
    });
    assert_eq!(versions.0, 2, "the first one is still there");
    assert!(versions.1 >= 1);
}
