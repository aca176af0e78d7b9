//! What is sent: the last request and its lost answer, damaged parts, a store that stops, giving up.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use amarre::dump::measure;
use amarre::error::Explain;
use amarre::store::s3::S3Store;
use amarre::store::{Error, Growing, Grown, Store, Upload};
use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::answers::begun;
use super::fault_proxy::{Answer, Fault, Harm, Request, Rule};
use super::{Bed, NAME, noise, upload};

/// Two parts.
const LARGE: usize = 9 << 20;

fn internal() -> Answer {
    Answer::error(200, "InternalError")
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_50_an_error_behind_a_200_is_no_object_until_there_is_one() {
    let Some(bed) = Bed::new("fault_50") else { return };
    let bytes = noise(LARGE);
    // Not done: it must be asked again.
    bed.proxy.rules([Rule::on("POST", Fault::Instead(internal())).query("uploadId=").times(1)]);
    upload(&bed.patient(Duration::from_secs(20)), "again.sql.gz", &bytes).await.unwrap();
    assert_eq!(bed.proxy.count(Request::completes), 2);
    // Done all the same: it must be seen, not asked again.
    bed.proxy.rules([Rule::on("POST", Fault::Afterwards(internal())).query("uploadId=")]);
    upload(&bed.store(), "seen.sql.gz", &bytes).await.unwrap();
    assert_eq!(bed.proxy.count(Request::completes), 1);
    assert_eq!(bed.bucket.all(), ["again.sql.gz", "seen.sql.gz"]);
    for name in ["again.sql.gz", "seen.sql.gz"] {
        assert!(bed.bucket.get(name) == *bytes, "{name}");
    }
    // Never done: told, and nothing is left.
    bed.proxy.rules([Rule::on("POST", Fault::Instead(internal())).query("uploadId=")]);
    let error = upload(&bed.store(), "never.sql.gz", &bytes).await.unwrap_err();
    assert!(error.to_string().contains("InternalError"), "{error}");
    assert_eq!(bed.bucket.all(), ["again.sql.gz", "seen.sql.gz"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_a_lost_answer_to_the_last_request_is_looked_up() {
    let Some(bed) = Bed::new("fault_51") else { return };
    let bytes = noise(LARGE);
    let store = bed.patient(Duration::from_secs(20));
    for (name, fault, asked) in [("done.sql.gz", Fault::Lost, 1), ("undone.sql.gz", Fault::Reset, 2)] {
        bed.proxy.rules([Rule::on("POST", fault).query("uploadId=").times(1)]);
        let object = upload(&store, name, &bytes).await.unwrap();
        assert_eq!((object.bytes, bed.proxy.count(Request::completes)), (bytes.len() as u64, asked), "{name}");
        assert!(bed.bucket.get(name) == *bytes, "{name}");
    }
    // Of a small one, which is one request.
    bed.proxy.rules([Rule::on("PUT", Fault::Lost).times(1)]);
    store.put("a.json", b"{}").await.unwrap();
    assert_eq!(bed.bucket.get("a.json"), b"{}");
    assert_eq!(bed.bucket.all(), ["a.json", "done.sql.gz", "undone.sql.gz"]);
}

/// The answer is lost, and what lies there is somebody else's: that is no success.
#[tokio::test(flavor = "multi_thread")]
async fn fault_51_what_lies_there_is_compared_before_it_is_taken_for_ours() {
    let Some(bed) = Bed::new("fault_51 (compare)") else { return };
    for theirs in [noise(LARGE + 1), noise(LARGE).iter().map(|byte| byte ^ 1).collect::<Vec<_>>().into()] {
        let (place, prefix, planted) = (bed.bucket.place.clone(), bed.bucket.prefix.clone(), theirs.clone());
        bed.proxy.script(move |request| {
            request.completes().then(|| {
                super::s3::Bucket { place: place.clone(), prefix: prefix.clone() }.put(NAME, &planted);
                Fault::Reset
            })
        });
        let error = upload(&bed.store(), NAME, &noise(LARGE)).await.unwrap_err();
        assert!(matches!(error, Error::Differs { .. }), "{error:?}");
        assert!(bed.bucket.get(NAME) == *theirs, "nobody's is touched");
        assert_eq!(bed.bucket.all(), [NAME]);
        bed.bucket.remove(NAME);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_52_a_part_that_is_damaged_on_the_way_is_sent_again() {
    let Some(bed) = Bed::new("fault_52") else { return };
    let (small, large) = (noise(1000), noise(LARGE));
    let store = bed.patient(Duration::from_secs(20));
    for (name, bytes, query) in [("small.sql.gz", &small, ""), ("large.sql.gz", &large, "partNumber=1")] {
        bed.proxy.rules([Rule::on("PUT", Fault::Upload(700, Harm::Flip)).query(query).times(2)]);
        upload(&store, name, bytes).await.unwrap();
        assert!(bed.bucket.get(name) == **bytes, "{name}");
        let sent = bed.proxy.count(|r| r.method == "PUT" && r.query.contains(query));
        assert_eq!(sent, 3, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_52_what_is_always_damaged_on_the_way_never_becomes_an_object() {
    let Some(bed) = Bed::new("fault_52 (always)") else { return };
    let store = bed.patient(Duration::from_secs(20));
    for (length, query) in [(1000, ""), (LARGE, "partNumber=2")] {
        bed.proxy.rules([Rule::on("PUT", Fault::Upload(10, Harm::Flip)).query(query)]);
        let error = upload(&store, NAME, &noise(length)).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("Digest"), "{error:?}");
        let tried = bed.proxy.count(|r| r.method == "PUT" && r.query.contains(query));
        assert_eq!(tried, 5, "neither given up at once nor sent for ever");
        assert!(bed.bucket.all().is_empty(), "{:?}", bed.bucket.all());
    }
    assert!(store.put("a.json", b"some more than ten bytes").await.is_ok(), "the second rule is for parts");
}

/// A store that takes a part and says nothing, takes half of it, or does not even that: asked again after the idle time.
#[tokio::test(flavor = "multi_thread")]
async fn fault_55_a_store_that_stops_in_the_middle_of_a_part_is_asked_again() {
    let Some(bed) = Bed::new("fault_55 (part)") else { return };
    let bytes = noise(LARGE);
    let faults = [
        ("silent.sql.gz", Fault::Silence),
        ("half.sql.gz", Fault::Upload(1 << 20, Harm::Stall)),
        ("none.sql.gz", Fault::Upload(0, Harm::Stall)),
    ];
    for (name, fault) in faults {
        bed.proxy.rules([Rule::on("PUT", fault).query("partNumber=1").times(1)]);
        let began = Instant::now();
        upload(&bed.store(), name, &bytes).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "{name}: {:?}", began.elapsed());
        assert!(bed.bucket.get(name) == *bytes, "{name}");
        assert_eq!(bed.proxy.count(|r| r.query.contains("partNumber=1")), 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_55_a_store_that_never_says_anything_is_told_and_not_waited_for() {
    let Some(bed) = Bed::new("fault_55 (all)") else { return };
    bed.proxy.rules([Rule::on("", Fault::Silence)]);
    let began = Instant::now();
    let errors = [
        bed.store().list().await.err().unwrap(),
        bed.store().get(NAME, 0, 10).await.err().unwrap(),
        upload(&bed.store(), NAME, &noise(1000)).await.err().unwrap(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Silent { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("amarre sync"));
    }
    assert!(began.elapsed() < 5 * super::DEADLINE, "{:?}", began.elapsed());
    // Only what carries data is silent: that has the store's deadline, and no more of it than that.
    bed.proxy.rules([Rule::on("PUT", Fault::Silence)]);
    let began = Instant::now();
    let error = upload(&bed.store(), NAME, &noise(1000)).await.unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
    assert!(began.elapsed() < 4 * super::DEADLINE, "{:?}", began.elapsed());
    bed.proxy.heal();
    assert!(bed.bucket.all().is_empty());
}

/// An upload whose end has not come, of which the store has the beginning.
async fn half(bed: &Bed, store: &S3Store, name: &str) -> (Box<dyn Upload>, watch::Sender<Grown>) {
    let bytes = noise(LARGE);
    let (sender, grown) = watch::channel(Grown { bytes: LARGE as u64, ended: false, digest: None });
    let upload = store.upload(name, Growing { bytes, grown }, 1000).await.unwrap();
    begun(bed, name).await;
    (upload, sender)
}

/// What is read for sending must be what the proof has read.
#[tokio::test(flavor = "multi_thread")]
async fn fault_52_what_was_read_otherwise_than_proven_never_becomes_an_object() {
    let Some(bed) = Bed::new("fault_52 (read otherwise)") else { return };
    let store = bed.store();
    for length in [1000, LARGE] {
        let bytes = noise(length);
        let stored = measure(&bytes);
        let (sender, grown) = watch::channel(Grown { bytes: length as u64, ended: false, digest: None });
        let upload = store.upload(NAME, Growing { bytes: bytes.clone(), grown }, 1000).await.unwrap();
        let digest = Some(xxhash_rust::xxh3::xxh3_128(&bytes) ^ 1);
        sender.send_replace(Grown { bytes: length as u64, ended: true, digest });
        let error = upload.finish(&stored).await.unwrap_err();
        assert!(matches!(error, Error::Differs { .. }), "{error:?}");
        assert_eq!(bed.bucket.all(), Vec::<String>::new());
    }
}

/// Whoever is told to end has ten seconds: a store that says nothing must not take more of them.
#[tokio::test(flavor = "multi_thread")]
async fn fault_64_an_abort_does_not_wait_for_a_store_that_says_nothing() {
    let Some(bed) = Bed::new("fault_64 (abort)") else { return };
    let store = bed.patient(Duration::from_secs(60));
    let (upload, _sender) = half(&bed, &store, NAME).await;
    bed.proxy.rules([Rule::on("", Fault::Silence)]);
    let began = Instant::now();
    upload.abort().await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    bed.proxy.heal();
    assert_eq!(store.sweep_drafts(&|_| true).await.unwrap(), [NAME]);
    assert!(bed.bucket.all().is_empty());
}

/// Many uploads that died: swept together, only those that are ours, and not for longer than a start can wait.
#[tokio::test(flavor = "multi_thread")]
async fn fault_56_what_was_begun_and_died_is_swept_side_by_side() {
    let Some(bed) = Bed::new("fault_56") else { return };
    let (bucket, prefix) = (bed.bucket.place.bucket.clone(), bed.bucket.prefix.clone());
    bed.bucket.ask(move |client| async move {
        for n in 0..30 {
            let key = format!("{prefix}/{n:02}.sql.gz");
            client.create_multipart_upload().bucket(&bucket).key(key).send().await.unwrap();
        }
    });
    let store = bed.patient(Duration::from_secs(60));
    let ours = |name: &str| name != "07.sql.gz";
    bed.proxy.rules([Rule::on("DELETE", Fault::Silence)]);
    let began = Instant::now();
    let error = store.sweep_drafts(&ours).await.unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // One that cannot be removed keeps none of the others, and is told.
    bed.proxy.rules([Rule::on("DELETE", Fault::Instead(Answer::error(403, "AccessDenied"))).key("/11.sql.gz")]);
    assert!(matches!(store.sweep_drafts(&ours).await, Err(Error::Refused { .. })));
    assert_eq!(bed.bucket.all(), ["07.sql.gz (unfinished)", "11.sql.gz (unfinished)"]);
    bed.proxy.heal();
    assert_eq!(store.sweep_drafts(&ours).await.unwrap(), ["11.sql.gz"]);
    assert_eq!(bed.bucket.all(), ["07.sql.gz (unfinished)"]);
    assert_eq!(store.sweep_drafts(&|_| true).await.unwrap(), ["07.sql.gz"]);
}

/// Years of a bucket without rules of its own: more than one answer holds.
#[tokio::test(flavor = "multi_thread")]
async fn fault_56_more_than_a_page_of_what_was_begun_is_swept() {
    const MANY: usize = 1003;
    let Some(bed) = Bed::new("fault_56 (many)") else { return };
    let (bucket, prefix) = (bed.bucket.place.bucket.clone(), bed.bucket.prefix.clone());
    bed.bucket.ask(move |client| async move {
        let begin = |n: usize| {
            let key = format!("{prefix}/é+{n:04}.sql.gz");
            client.create_multipart_upload().bucket(&bucket).key(key).send()
        };
        let mut begun = futures_util::stream::iter(0..MANY).map(begin).buffer_unordered(16);
        while let Some(one) = begun.next().await {
            one.unwrap();
        }
    });
    let store = bed.patient(Duration::from_secs(60));
    let seen = Mutex::new(BTreeSet::new());
    let ours = |name: &str| {
        seen.lock().unwrap().insert(name.to_owned());
        true
    };
    // Who has little time does a part of it; the next one does the rest.
    let mut swept = store.sweep_drafts(&ours).await;
    assert_eq!(seen.lock().unwrap().len(), MANY);
    for _ in 0..20 {
        match swept {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, Error::Silent { .. }), "{error:?}"),
        }
        swept = store.sweep_drafts(&ours).await;
    }
    assert!(bed.bucket.all().is_empty());
}

/// What is read for sending is not what was proven.
#[tokio::test(flavor = "multi_thread")]
async fn fault_52_bytes_that_changed_before_they_were_sent_are_no_object() {
    let Some(bed) = Bed::new("fault_52 (before)") else { return };
    for length in [1000, LARGE] {
        let bytes = noise(length);
        let mut proven = bytes.to_vec();
        proven[length / 2] ^= 1;
        let source = Growing::whole(bytes, length as u64);
        let sending = bed.store().upload(NAME, source, length as u64).await.unwrap();
        let error = sending.finish(&measure(&proven)).await.unwrap_err();
        assert!(matches!(error, Error::Differs { .. }), "{error:?}");
        assert!(bed.bucket.all().is_empty(), "{:?}", bed.bucket.all());
    }
}
