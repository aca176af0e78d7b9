//! What the store answers: refusals, patience, pages.

use std::collections::BTreeSet;
use std::time::Instant;

use amarre::error::Explain;
use amarre::store::{Error, Store};

use super::fault_proxy::{Answer, Fault, Rule};
use super::{Bed, NAME, noise, upload};

/// An answer, what it must be told as, and what its hint must have in it.
type Case = (Answer, fn(&Error) -> bool, &'static str);

fn refusals() -> Vec<Case> {
    let keys: fn(&Error) -> bool = |error| matches!(error, Error::Credentials { .. });
    let region: fn(&Error) -> bool =
        |error| matches!(error, Error::Region { right: Some(right), .. } if right == "eu-west-3");
    vec![
        (Answer::error(403, "InvalidAccessKeyId"), keys, "AWS_ACCESS_KEY_ID"),
        (Answer::error(403, "SignatureDoesNotMatch"), keys, "AWS_SECRET_ACCESS_KEY"),
        (Answer::error(400, "ExpiredToken"), |e| matches!(e, Error::Expired { .. }), "AWS_SESSION_TOKEN"),
        (Answer::error(403, "RequestTimeTooSkewed"), |e| matches!(e, Error::Skew { .. }), "timedatectl"),
        (Answer::error(404, "NoSuchBucket"), |e| matches!(e, Error::NoBucket { .. }), "S3_BACKUP_BUCKET"),
        (
            Answer::error(301, "PermanentRedirect").with_header("x-amz-bucket-region", "eu-west-3"),
            region,
            "AWS_DEFAULT_REGION=eu-west-3",
        ),
        (
            Answer::error(400, "AuthorizationHeaderMalformed").saying("the region is wrong; expecting 'eu-west-3'"),
            region,
            "AWS_DEFAULT_REGION=eu-west-3",
        ),
        (
            Answer::error(307, "TemporaryRedirect"),
            |e| matches!(e, Error::Region { right: None, .. }),
            "S3_ENDPOINT_URL",
        ),
        (
            Answer::error(403, "AccessDenied"),
            |e| matches!(e, Error::Refused { right: "s3:ListBucket", .. }),
            "s3:ListBucket",
        ),
    ]
}

/// Also where the answer has no body, and so no word of why: that of a HEAD, with which every upload begins.
#[tokio::test(flavor = "multi_thread")]
async fn fault_48_each_refusal_is_told_as_what_it_is_whatever_was_asked() {
    let Some(bed) = Bed::new("fault_48 (refusals)") else { return };
    let mut said = BTreeSet::new();
    for (answer, is_right, hint) in refusals() {
        bed.proxy.rules([Rule::on("", Fault::Instead(answer.clone()))]);
        // Each with a store that has never been answered anything else.
        let errors = [
            ("list", bed.store().list().await.err().unwrap()),
            ("head", bed.store().head(NAME).await.err().unwrap()),
            ("put", bed.store().put(NAME, b"x").await.err().unwrap()),
            ("upload", upload(&bed.store(), NAME, &noise(1000)).await.err().unwrap()),
            ("delete", bed.store().delete(NAME).await.err().unwrap()),
            ("open", bed.store().open(NAME).await.err().unwrap()),
        ];
        for (what, error) in errors {
            assert!(is_right(&error), "{what} {answer:?}: {error:?}");
            let told = error.hint().unwrap();
            assert!(told.contains(hint), "{what} {answer:?}: {told}");
            said.insert(error.to_string());
        }
    }
    // Two kinds of wrong keys name their code, and nothing else is told twice: the two ways to say the region are one.
    assert_eq!(said.len(), 7, "{said:#?}");
    bed.proxy.heal();
    assert!(bed.bucket.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_48_what_is_set_wrong_is_told_by_a_real_server_too() {
    let Some(bed) = Bed::new("fault_48 (real)") else { return };
    let other = bed.bucket.open_with(|config| config.bucket = "no-such-bucket-here".to_owned()).unwrap();
    let error = other.head(NAME).await.unwrap_err();
    assert!(matches!(error, Error::NoBucket { .. }), "{error:?}");
    let error = upload(&other, NAME, &noise(10)).await.unwrap_err();
    assert!(matches!(error, Error::NoBucket { .. }), "{error:?}");
    let other = bed.bucket.open_with(|config| config.region = "elsewhere".to_owned()).unwrap();
    for error in [other.head(NAME).await.unwrap_err(), other.list().await.unwrap_err()] {
        let right = if let Error::Region { right, .. } = &error { right.as_ref() } else { None };
        assert_eq!(right, Some(&bed.bucket.place.region), "{error:?}");
    }
    let wrong: [fn(&mut amarre::store::s3::Config); 2] =
        [|config| config.secret_access_key = "wrong".to_owned(), |config| config.access_key_id = "GKnobody".to_owned()];
    for wrong in wrong {
        let other = bed.bucket.open_with(wrong).unwrap();
        for error in [other.head(NAME).await.unwrap_err(), other.put(NAME, b"x").await.unwrap_err()] {
            assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
        }
    }
}

/// That nothing is there is asked with every upload: that must not cost a second question each time.
#[tokio::test(flavor = "multi_thread")]
async fn fault_48_a_bucket_that_is_known_is_not_asked_for_with_each_object() {
    let Some(bed) = Bed::new("fault_48 (known)") else { return };
    let store = bed.store();
    for n in 0..5 {
        assert!(matches!(store.head(&format!("{n}.json")).await, Err(Error::Missing { .. })));
    }
    assert_eq!((bed.proxy.count(|r| r.method == "HEAD"), bed.proxy.count(|r| r.method == "GET")), (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_49_a_store_that_asks_for_patience_is_asked_again_a_few_times() {
    let Some(bed) = Bed::new("fault_49") else { return };
    let slow = || Fault::Instead(Answer::error(503, "SlowDown"));
    let bytes = noise(9 << 20);
    for method in ["HEAD", "POST", "PUT"] {
        bed.proxy.rules([Rule::on(method, slow()).times(2)]);
        upload(&bed.patient(super::DEADLINE * 5), &format!("{method}.sql.gz"), &bytes).await.unwrap();
    }
    assert_eq!(bed.bucket.all(), ["HEAD.sql.gz", "POST.sql.gz", "PUT.sql.gz"]);
    assert!(bed.bucket.get("PUT.sql.gz") == *bytes);

    bed.proxy.rules([Rule::on("", slow())]);
    let began = Instant::now();
    let error = bed.patient(super::DEADLINE * 10).list().await.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("amarre sync"));
    // Capped, and far from a hammer.
    assert_eq!(bed.proxy.count(|_| true), 5);
    assert!(began.elapsed() < super::DEADLINE * 10, "{:?}", began.elapsed());
}

/// What is sent with each request must be known to every store: no checksums but the old one, nothing in chunks.
#[tokio::test(flavor = "multi_thread")]
async fn fault_53_a_store_that_refuses_new_checksums_and_chunks_is_written_and_read() {
    let Some(bed) = Bed::new("fault_53") else { return };
    let new = |name: &str| {
        name.starts_with("x-amz-checksum") || matches!(name, "x-amz-sdk-checksum-algorithm" | "x-amz-trailer")
    };
    bed.proxy.script(move |request| {
        let chunked = request.header("content-encoding").is_some_and(|encoding| encoding.contains("aws-chunked"))
            || request.header("transfer-encoding").is_some()
            || request.header("x-amz-content-sha256").is_some_and(|hash| hash.starts_with("STREAMING"));
        let refused = chunked || request.headers.iter().any(|(name, _)| new(name));
        refused.then(|| Fault::Instead(Answer::error(400, "InvalidArgument")))
    });
    let store = bed.store();
    let (small, large) = (noise(1000), noise(17 << 20));
    upload(&store, "small.sql.gz", &small).await.unwrap();
    upload(&store, NAME, &large).await.unwrap();
    store.put("a.sql.gz.json", b"{}").await.unwrap();
    store.put("empty.json", b"").await.unwrap();
    assert!(super::whole(&store, NAME).await.unwrap() == *large);
    assert_eq!(store.read("a.sql.gz.json", 2).await.unwrap(), b"{}");
    assert_eq!(store.list().await.unwrap().objects.len(), 4);
    assert!(store.sweep_drafts(&|_| true).await.unwrap().is_empty());
    assert!(store.delete("small.sql.gz").await.unwrap());
    let parts = bed.proxy.count(|r| r.query.contains("partNumber="));
    let told = bed.proxy.count(|r| r.method == "PUT" && r.header("content-md5").is_some());
    assert_eq!((parts, told), (3, 6), "each body is told by its MD5");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_57_a_listing_of_more_than_a_thousand_keys_is_whole() {
    const KEYS: usize = 1100;
    let Some(bed) = Bed::new("fault_57") else { return };
    let (bucket, prefix) = (bed.bucket.place.bucket.clone(), bed.bucket.prefix.clone());
    bed.bucket.ask(move |client| async move {
        let names: Vec<_> = (0..KEYS).map(|n| format!("{prefix}/{n:05}.json")).collect();
        for some in names.chunks(50) {
            let put = |key: &String| client.put_object().bucket(&bucket).key(key).body(b"x".to_vec().into()).send();
            for put in futures_util::future::join_all(some.iter().map(put)).await {
                put.unwrap();
            }
        }
    });
    // The second page comes only when it is asked for again.
    bed.proxy.rules([Rule::on("GET", Fault::Reset).query("continuation-token").times(1)]);
    let found = bed.patient(super::DEADLINE * 5).list().await.unwrap();
    let expected: Vec<_> = (0..KEYS).map(|n| format!("{n:05}.json")).collect();
    assert!(found.objects.iter().map(|object| object.name.as_str()).eq(expected.iter().map(String::as_str)));
    assert!(found.ignored.is_empty());
    assert_eq!(bed.proxy.count(|r| r.query.contains("continuation-token")), 2);
}

/// Keys that may only add: backups are made, and what may not be removed is told by its right.
#[tokio::test(flavor = "multi_thread")]
async fn fault_62_keys_that_may_not_delete_can_do_all_the_rest() {
    let Some(bed) = Bed::new("fault_62") else { return };
    let (sender, grown) =
        tokio::sync::watch::channel(amarre::store::Grown { bytes: 9 << 20, ended: false, digest: None });
    let bytes = noise(9 << 20);
    let store = bed.store();
    bed.proxy.rules([Rule::on("DELETE", Fault::Instead(Answer::error(403, "AccessDenied")))]);
    upload(&store, NAME, &bytes).await.unwrap();
    store.put("a.sql.gz.json", b"{}").await.unwrap();
    let right = |error: &Error| match error {
        Error::Refused { right, .. } => *right,
        other => panic!("{other:?}"),
    };
    let error = store.delete(NAME).await.unwrap_err();
    assert_eq!(right(&error), "s3:DeleteObject");
    assert!(error.hint().unwrap().contains("s3:DeleteObject"));
    assert!(bed.bucket.get(NAME) == *bytes);

    let half = amarre::store::Growing { bytes: bytes.clone(), grown };
    let half = store.upload("half.sql.gz", half, 1000).await.unwrap();
    begun(&bed, "half.sql.gz").await;
    half.abort().await;
    drop(sender);
    assert_eq!(right(&store.sweep_drafts(&|name| name == "half.sql.gz").await.unwrap_err()), "s3:AbortMultipartUpload");
    bed.proxy.heal();
    assert_eq!(store.sweep_drafts(&|name| name == "half.sql.gz").await.unwrap(), ["half.sql.gz"]);
    assert_eq!(bed.bucket.all(), [NAME, "a.sql.gz.json"]);
}

/// Waits until the store has an upload of that name that has not ended.
pub async fn begun(bed: &Bed, name: &str) {
    let mark = format!("{name} (unfinished)");
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    while !bed.bucket.all().contains(&mark) {
        assert!(Instant::now() < deadline, "{:?}", bed.bucket.all());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
