//! The rows about second places, against real servers; and what a try leaves there: nothing.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;

use crate::Break;
use crate::case::Mend::{Hand, Printed};
use crate::case::{Case, Mend, line, lines};
use crate::fault_proxy::{Answer, Fault, FaultProxy, Rule};

/// Something that the store here does not have, tried at length.
fn wanting(case: &mut Case, name: &str, value: &str) {
    if case.store(name) {
        case.arguments.push("--s3");
        case.set(name, value);
    }
}

/// A proxy before the store that forbids what it is told to.
fn forbidding(case: &mut Case, tell: impl FnOnce(&FaultProxy)) {
    if case.store("forbidden") {
        let proxy = FaultProxy::before(&case.bed.env["S3_ENDPOINT_URL"]);
        tell(&proxy);
        case.set("S3_ENDPOINT_URL", &proxy.endpoint());
        case.keep(proxy);
    }
}

/// An authority of their own, as a PEM file.
fn authority() -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

table! {
    a_store_without_its_key: |case| if case.store("key") { case.unset("AWS_SECRET_ACCESS_KEY") } =>
        "settings" "failure" "AWS_SECRET_ACCESS_KEY"; Printed,
    fault_48_a_wrong_key: |case| if case.store("wrong key") { case.set("AWS_SECRET_ACCESS_KEY", "wrong") } =>
        "s3-object" "failure" "does not accept the keys"; Printed,
    fault_48_no_such_bucket: |case| if case.store("bucket") { case.set("S3_BACKUP_BUCKET", "amarre-nonexistent") } =>
        "s3-object" "failure" "bucket"; Printed,
    fault_48_the_wrong_region: |case| if case.store("region") { case.set("AWS_DEFAULT_REGION", "fr-par") } =>
        "s3-object" "failure" "AWS_DEFAULT_REGION=garage"; Printed,
    fault_48_a_right_that_is_missing: |case| forbidding(case, |proxy| {
            proxy.rules([Rule::on("PUT", Fault::Instead(Answer::error(403, "AccessDenied")))]);
        }) =>
        "s3-object" "failure" "s3:PutObject"; Hand(|case, _| case.kept::<FaultProxy>().heal()),
    a_header_that_the_store_refuses: |case| {
            let refused = Answer::error(501, "NotImplemented").saying("Header 'x-amz-tagging' is not implemented");
            forbidding(case, |proxy| proxy.script(move |request| {
                request.header("x-amz-tagging").is_some().then(|| Fault::Instead(refused.clone()))
            }));
            case.set("BACKUP_S3_TAGS", "team=chantier");
        } => "s3-object" "failure" "BACKUP_S3_TAGS"; Printed,
    a_store_that_is_not_there: |case| if case.store("away") { case.set("S3_ENDPOINT_URL", "http://127.0.0.1:9") } =>
        "s3-object" "failure" "S3_ENDPOINT_URL"; Printed,
    a_store_that_nobody_knows: |case| if case.store("unknown") { case.set("S3_ENDPOINT_URL", "http://store.invalid:3900") } =>
        "s3-object" "failure" "resolve names"; Printed,
    fault_58_a_store_without_tls: |case| if case.store("tls") {
            let endpoint = case.bed.env["S3_ENDPOINT_URL"].replace("http://", "https://");
            case.set("S3_ENDPOINT_URL", &endpoint);
        } => "s3-object" "failure" "http://"; Printed,
    an_authority_that_is_not_there: |case| if case.store("authority") {
            let file = case.file("ca.pem", &authority());
            case.knows("BACKUP_S3_CA_FILE", &file);
            case.set("BACKUP_S3_CA_FILE", "/nonexistent/ca.pem");
        } =>
        "s3-settings" "failure" "/nonexistent/ca.pem"; Printed,
    no_copies: |case| { case.store("copies"); case.unset("S3_BACKUP_BUCKET"); } =>
        "copies" "warning" "S3_BACKUP_BUCKET"; Printed,
    a_class_that_the_store_ignores: |case| wanting(case, "BACKUP_S3_STORAGE_CLASS", "ONEZONE_IA") =>
        "s3-class" "warning" "BACKUP_S3_STORAGE_CLASS"; Printed,
    an_encryption_that_the_store_ignores: |case| wanting(case, "BACKUP_S3_ENCRYPTION", "store") =>
        "s3-encryption" "warning" "BACKUP_S3_ENCRYPTION=customer";
        // The key that goes with it is asked for next.
        Hand(|case, fix| {
            case.follow(fix);
            case.set("BACKUP_S3_CUSTOMER_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        }),
    tags_that_the_store_ignores: |case| wanting(case, "BACKUP_S3_TAGS", "team=chantier") =>
        "s3-tags" "warning" "BACKUP_S3_TAGS"; Printed,
    a_lock_that_the_store_ignores: |case| wanting(case, "BACKUP_S3_LOCK_DAYS", "30") =>
        "s3-lock" "warning" "BACKUP_S3_LOCK_DAYS"; Printed,
    a_bucket_in_the_wrong_place: |case| by_name(case, "yes") =>
        "s3-object" "failure" "bucket"; Hand(|case, _| case.unset("BACKUP_S3_PATH_STYLE")),
}

/// Copies go to a store that knows buckets by the name of the host alone.
fn by_name(case: &mut Case, style: &str) {
    if !case.simulation("virtual hosts") {
        return;
    }
    let bucket = case.bucket.as_ref().unwrap().place.bucket.clone();
    let port = case.bed.env["S3_ENDPOINT_URL"].rsplit(':').next().unwrap().to_owned();
    let hosts = case.file("hosts", &format!("127.0.0.1 localhost store.test {bucket}.store.test\n"));
    case.set("S3_ENDPOINT_URL", &format!("http://store.test:{port}"));
    case.set("BACKUP_S3_PATH_STYLE", style);
    case.hosts = Some(PathBuf::from(hosts));
}

/// What is in the bucket: objects, versions, marks and uploads.
fn all(case: &Case) -> usize {
    let bucket = case.bucket.as_ref().unwrap();
    let (place, prefix) = (bucket.place.bucket.clone(), format!("{}/", bucket.prefix));
    let versions = bucket.ask(move |client| async move {
        match client.list_object_versions().bucket(place).prefix(prefix).send().await {
            Ok(listed) => listed.versions().len() + listed.delete_markers().len(),
            // The real one keeps none.
            Err(_) => 0,
        }
    });
    bucket.all().len() + versions
}

#[test]
fn no_try_leaves_anything() {
    for simulated in [false, true] {
        let mut case = Case::new("leaves");
        let there = if simulated { case.simulation("leaves") } else { case.store("leaves") };
        if !there {
            continue;
        }
        case.set("BACKUP_S3_TAGS", "team=chantier");
        case.set("BACKUP_S3_STORAGE_CLASS", "ONEZONE_IA");
        case.set("BACKUP_S3_LOCK_DAYS", "30");
        case.set("BACKUP_S3_LOCK_MODE", "compliance");
        let report = case.doctor(&[]);
        assert_eq!(line(&report, "s3").0, "ok", "{report:#}");
        assert_eq!(line(&report, "copies").0, "ok");
        assert_eq!(all(&case), 0);
        case.doctor(&["--s3"]);
        assert_eq!(all(&case), 0);
    }
}

#[test]
fn what_a_store_keeps_is_told() {
    let mut case = Case::new("keeps");
    if !case.simulation("keeps") {
        return;
    }
    case.arguments.push("--s3");
    for (name, value) in [
        ("BACKUP_S3_STORAGE_CLASS", "ONEZONE_IA"),
        ("BACKUP_S3_ENCRYPTION", "kms"),
        ("BACKUP_S3_KMS_KEY", "alias/backups"),
        ("BACKUP_S3_TAGS", "team=chantier: a+b,kind="),
        ("BACKUP_S3_LOCK_DAYS", "30"),
    ] {
        case.set(name, value);
    }
    let report = case.doctor(&[]);
    for name in ["s3-object", "s3-settings"] {
        assert!(lines(&report, name).is_empty(), "{report:#}");
    }
    for (name, says) in
        [("s3-class", "ONEZONE_IA"), ("s3-encryption", "aws:kms"), ("s3-tags", "team"), ("s3-lock", "for some seconds")]
    {
        let (verdict, seen) = line(&report, name);
        assert!(verdict == "ok" && seen.contains(says), "{name}: {seen}");
    }
    assert_eq!(all(&case), 0);
    case.unset("BACKUP_S3_KMS_KEY");
    case.set("BACKUP_S3_ENCRYPTION", "store");
    assert_eq!(line(&case.doctor(&[]), "s3-encryption").0, "ok");
}

/// Each version that was put is told by name to be deleted, and a lock that may not be lifted is waited for.
#[test]
fn a_lock_that_cannot_be_lifted_is_outlived() {
    let mut case = Case::new("outlived");
    if !case.simulation("outlived") {
        return;
    }
    let proxy = FaultProxy::before(&case.bed.env["S3_ENDPOINT_URL"]);
    let forbidden = Answer::error(403, "AccessDenied");
    proxy.script(move |request| {
        let lifts = request.header("x-amz-bypass-governance-retention").is_some();
        lifts.then(|| Fault::Instead(forbidden.clone()))
    });
    case.set("S3_ENDPOINT_URL", &proxy.endpoint());
    case.set("BACKUP_S3_LOCK_DAYS", "30");
    let report = case.doctor(&["--s3"]);
    assert_eq!(line(&report, "s3-lock").0, "ok", "{report:#}");
    assert_eq!(line(&report, "s3-delete").0, "ok", "{report:#}");
    assert!(proxy.count(|request| request.header("x-amz-bypass-governance-retention").is_some()) > 0);
    assert_eq!(all(&case), 0);
}

/// Keys that cannot delete are the better ones: that is said, and is no reason to look.
#[test]
fn fault_62_keys_that_cannot_delete_are_no_failure_and_nothing_piles_up() {
    let mut case = Case::new("cannot");
    forbidding(&mut case, |proxy| {
        proxy.rules([Rule::on("DELETE", Fault::Instead(Answer::error(403, "AccessDenied")))]);
    });
    if case.bucket.is_none() {
        return;
    }
    for _ in 0..2 {
        let report = case.doctor(&[]);
        let (verdict, seen) = line(&report, "s3");
        assert!(verdict == "ok" && seen.contains("may not delete"), "{report:#}");
    }
    assert_eq!(case.bucket.as_ref().unwrap().all().len(), 1);
}

/// The first guess (in the path) is wrong: the request goes out again the other way, and a backup gets there.
#[test]
fn where_the_bucket_belongs_is_found_out() {
    let mut case = Case::new("style");
    by_name(&mut case, "auto");
    if case.bucket.is_none() {
        return;
    }
    let report = case.doctor(&[]);
    let (verdict, seen) = line(&report, "s3");
    assert!(verdict == "ok" && seen.contains("BACKUP_S3_PATH_STYLE=no"), "{report:#}");
    let report = case.doctor(&["--s3"]);
    assert!(line(&report, "s3-style").1.contains("in the host's name"), "{report:#}");
    assert_eq!(all(&case), 0);
    let made = case.amarre(&["backup", "--json"], 0);
    let copies = made["copies"].as_array().unwrap();
    assert!(copies.len() == 1 && copies[0]["error"] == Value::Null, "{made:#}");
    assert_eq!(case.bucket.as_ref().unwrap().all().len(), 3);
    let file = made["file"].as_str().unwrap();
    std::fs::remove_file(case.bed.dir().join(file)).unwrap();
    case.amarre(&["get", file], 0);
}

/// Neither way works: what is told is what the first one was answered, not that nobody has the other name.
#[test]
fn a_bucket_that_is_nowhere_is_told_as_such() {
    let mut case = Case::new("nowhere");
    if !case.simulation("nowhere") {
        return;
    }
    let port = case.bed.env["S3_ENDPOINT_URL"].rsplit(':').next().unwrap().to_owned();
    case.set("S3_ENDPOINT_URL", &format!("http://localhost:{port}"));
    case.set("S3_BACKUP_BUCKET", "amarre-nowhere");
    case.set("BACKUP_S3_PATH_STYLE", "auto");
    let report = case.doctor(&[]);
    let (verdict, seen) = line(&report, "s3-object");
    assert!(verdict == "failure" && seen.contains("bucket"), "{report:#}");
    assert!(!seen.contains("unknown"), "{seen}");
}
