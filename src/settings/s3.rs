//! The stores elsewhere: `S3_BACKUP_BUCKET` with `BACKUP_S3_…`, and a second one with `BACKUP_S3_2_…`.
//!
//! A store without a bucket is not there: its other settings are read and kept for `amarre config`, and not checked further.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::bandwidth::{self, Bandwidth};
use crate::domain::keep::Keep;
use crate::settings::problem::Problem;
use crate::settings::reader::{Reader, number};
use crate::settings::retention::{self, MOST_DAYS};
use crate::settings::secret::Secret;

/// An S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// `S3_BACKUP_BUCKET`, `BACKUP_S3_2_BUCKET`.
    pub bucket: String,
    /// `S3_ENDPOINT_URL`, `BACKUP_S3_2_ENDPOINT_URL`; not set: AWS's own.
    pub endpoint: Option<String>,
    /// `AWS_DEFAULT_REGION`, `BACKUP_S3_2_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`, `BACKUP_S3_2_ACCESS_KEY_ID`.
    pub access_key_id: Secret,
    /// `AWS_SECRET_ACCESS_KEY`, `BACKUP_S3_2_SECRET_ACCESS_KEY`.
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN`, `BACKUP_S3_2_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
    /// `BACKUP_S3_PREFIX`: what keys begin with, without the slash behind it.
    pub prefix: String,
    /// `BACKUP_S3_PARALLEL`: parts that travel at once.
    pub parallel: usize,
    /// `BACKUP_S3_BANDWIDTH`.
    pub bandwidth: Bandwidth,
    /// `BACKUP_S3_STORAGE_CLASS`.
    pub storage_class: Option<String>,
    /// `BACKUP_S3_ENCRYPTION`, `BACKUP_S3_KMS_KEY`, `BACKUP_S3_CUSTOMER_KEY`.
    pub encryption: Encryption,
    /// `BACKUP_S3_TAGS`: `name=value,…`.
    pub tags: BTreeMap<String, String>,
    /// `BACKUP_S3_LOCK_DAYS`, `BACKUP_S3_LOCK_MODE`.
    pub lock: Option<Lock>,
    /// `BACKUP_S3_PATH_STYLE`.
    pub path_style: PathStyle,
    /// `BACKUP_S3_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `BACKUP_S3_RETENTION_DAYS`; not set: as locally.
    pub days: Option<u32>,
    /// `BACKUP_S3_KEEP`; not set: as locally.
    pub keep: Keep,
    /// `BACKUP_S3_DEADLINE_MINUTES`: how long one part, or the last request, is tried again.
    pub deadline: Duration,
}

/// Who encrypts what lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// The store, if it does so by itself.
    Unsaid,
    /// The store, with its own key.
    Store,
    /// The store, with a key of its key service; `None`: the one that is usual there.
    Kms(Option<String>),
    /// The store, with a key that is sent with each request: 32 bytes in base64.
    Customer(Secret),
}

/// Object Lock of what is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Days from the upload on.
    pub days: u32,
    /// Nobody can shorten it; else whoever has the right to.
    pub compliance: bool,
}

/// How a bucket is named in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStyle {
    /// In the host's name at AWS; with an endpoint of one's own in the path, or in the host's name where that does not work.
    Auto,
    /// In the path.
    Yes,
    /// In the host's name.
    No,
}

/// What the variables of a store are called.
struct Names {
    bucket: &'static str,
    endpoint: &'static str,
    region: &'static str,
    access_key_id: &'static str,
    secret_access_key: &'static str,
    session_token: &'static str,
    prefix: &'static str,
    parallel: &'static str,
    bandwidth: &'static str,
    storage_class: &'static str,
    encryption: &'static str,
    kms_key: &'static str,
    customer_key: &'static str,
    tags: &'static str,
    lock_days: &'static str,
    lock_mode: &'static str,
    path_style: &'static str,
    ca_file: &'static str,
    days: &'static str,
    keep: &'static str,
    deadline: &'static str,
}

const FIRST: Names = Names {
    bucket: "S3_BACKUP_BUCKET",
    endpoint: "S3_ENDPOINT_URL",
    region: "AWS_DEFAULT_REGION",
    access_key_id: "AWS_ACCESS_KEY_ID",
    secret_access_key: "AWS_SECRET_ACCESS_KEY",
    session_token: "AWS_SESSION_TOKEN",
    prefix: "BACKUP_S3_PREFIX",
    parallel: "BACKUP_S3_PARALLEL",
    bandwidth: "BACKUP_S3_BANDWIDTH",
    storage_class: "BACKUP_S3_STORAGE_CLASS",
    encryption: "BACKUP_S3_ENCRYPTION",
    kms_key: "BACKUP_S3_KMS_KEY",
    customer_key: "BACKUP_S3_CUSTOMER_KEY",
    tags: "BACKUP_S3_TAGS",
    lock_days: "BACKUP_S3_LOCK_DAYS",
    lock_mode: "BACKUP_S3_LOCK_MODE",
    path_style: "BACKUP_S3_PATH_STYLE",
    ca_file: "BACKUP_S3_CA_FILE",
    days: "BACKUP_S3_RETENTION_DAYS",
    keep: "BACKUP_S3_KEEP",
    deadline: "BACKUP_S3_DEADLINE_MINUTES",
};

const SECOND: Names = Names {
    bucket: "BACKUP_S3_2_BUCKET",
    endpoint: "BACKUP_S3_2_ENDPOINT_URL",
    region: "BACKUP_S3_2_REGION",
    access_key_id: "BACKUP_S3_2_ACCESS_KEY_ID",
    secret_access_key: "BACKUP_S3_2_SECRET_ACCESS_KEY",
    session_token: "BACKUP_S3_2_SESSION_TOKEN",
    prefix: "BACKUP_S3_2_PREFIX",
    parallel: "BACKUP_S3_2_PARALLEL",
    bandwidth: "BACKUP_S3_2_BANDWIDTH",
    storage_class: "BACKUP_S3_2_STORAGE_CLASS",
    encryption: "BACKUP_S3_2_ENCRYPTION",
    kms_key: "BACKUP_S3_2_KMS_KEY",
    customer_key: "BACKUP_S3_2_CUSTOMER_KEY",
    tags: "BACKUP_S3_2_TAGS",
    lock_days: "BACKUP_S3_2_LOCK_DAYS",
    lock_mode: "BACKUP_S3_2_LOCK_MODE",
    path_style: "BACKUP_S3_2_PATH_STYLE",
    ca_file: "BACKUP_S3_2_CA_FILE",
    days: "BACKUP_S3_2_RETENTION_DAYS",
    keep: "BACKUP_S3_2_KEEP",
    deadline: "BACKUP_S3_2_DEADLINE_MINUTES",
};

const PREFIX_DEFAULT: &str = "backups";
const REGION_DEFAULT: &str = "fr-par";

/// The stores that have a bucket, in their order.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<S3> {
    [FIRST, SECOND].iter().filter_map(|names| read_one(reader, names)).collect()
}

fn read_one(reader: &mut Reader<'_>, names: &Names) -> Option<S3> {
    let bucket = reader.text(names.bucket);
    let there = bucket.is_some();
    if bucket.as_deref().is_some_and(|bucket| !is_bucket(bucket)) {
        reader.problem(Problem::Bucket { name: names.bucket, value: bucket.clone().unwrap_or_default() });
    }
    let endpoint = reader.text(names.endpoint);
    if endpoint.as_deref().is_some_and(|url| !is_address(url)) {
        reader.problem(Problem::Endpoint { name: names.endpoint });
    }
    let s3 = S3 {
        bucket: bucket.unwrap_or_default(),
        endpoint: endpoint.map(|url| url.trim_end_matches('/').to_owned()),
        region: reader.text_or(names.region, REGION_DEFAULT),
        access_key_id: needed(reader, names.access_key_id, there),
        secret_access_key: needed(reader, names.secret_access_key, there),
        session_token: reader.secret(names.session_token),
        prefix: read_prefix(reader, names.prefix),
        parallel: reader.number(names.parallel, 4, 1, 32) as usize,
        bandwidth: read_bandwidth(reader, names.bandwidth),
        storage_class: reader.text(names.storage_class),
        encryption: read_encryption(reader, names),
        tags: read_tags(reader, names.tags),
        lock: read_lock(reader, names),
        path_style: reader.choice(names.path_style, "auto", &WORDS, &["auto", "yes", "no", "yes", "no"]).into(),
        ca_file: reader.text(names.ca_file).map(|path| reader.absolute(&path)),
        days: read_days(reader, names.days),
        keep: retention::read_keep(reader, names.keep),
        deadline: Duration::from_secs(60 * u64::from(reader.number(names.deadline, 10, 1, 24 * 60))),
    };
    there.then_some(s3)
}

const WORDS: [&str; 5] = ["auto", "yes", "no", "true", "false"];

impl From<&str> for PathStyle {
    fn from(word: &str) -> Self {
        match word {
            "yes" => Self::Yes,
            "no" => Self::No,
            _ => Self::Auto,
        }
    }
}

/// Keys that are looked for in the machine's own service are no keys of a backup: they must be said.
fn needed(reader: &mut Reader<'_>, name: &'static str, there: bool) -> Secret {
    let found = reader.secret(name);
    if there && found.is_none() {
        reader.problem(Problem::Missing { name });
    }
    found.unwrap_or_else(|| Secret::new(""))
}

/// `http(s)://host…` without a password in it.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.trim_matches('/').is_empty() && !rest.contains(['@', ' ', '?', '#']))
}

/// As AWS has it, and the names with capitals and underscores that other stores allow.
fn is_bucket(bucket: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (3..=255).contains(&bucket.len()) && bucket.bytes().all(legal) && !bucket.contains("..")
}

fn read_prefix(reader: &mut Reader<'_>, name: &'static str) -> String {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/');
    reader.parsed(name, PREFIX_DEFAULT.to_owned(), |text| {
        let prefix = text.trim_end_matches('/');
        let plain = prefix.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        let good = plain && prefix.len() <= 200 && prefix.bytes().all(legal);
        if good { Ok(prefix.to_owned()) } else { Err(Problem::Prefix { name, value: text.to_owned() }) }
    })
}

fn read_bandwidth(reader: &mut Reader<'_>, name: &'static str) -> Bandwidth {
    let Some(text) = reader.text(name) else { return Bandwidth::default() };
    text.parse().unwrap_or_else(|wrong: bandwidth::Wrong| {
        reader.problem(Problem::Bandwidth { name, value: text, part: wrong.0 });
        Bandwidth::default()
    })
}

fn read_encryption(reader: &mut Reader<'_>, names: &Names) -> Encryption {
    const KINDS: [&str; 4] = ["default", "store", "kms", "customer"];
    let kind = reader.choice(names.encryption, "default", &KINDS, &KINDS);
    let key = reader.text(names.kms_key);
    let customer = reader.secret(names.customer_key);
    match (kind, customer) {
        ("store", _) => Encryption::Store,
        ("kms", _) => Encryption::Kms(key),
        ("customer", Some(key)) if key.expose().len() == 44 && key.expose().ends_with('=') => Encryption::Customer(key),
        ("customer", _) => {
            reader.problem(Problem::CustomerKey { name: names.customer_key });
            Encryption::Unsaid
        }
        _ => Encryption::Unsaid,
    }
}

fn read_tags(reader: &mut Reader<'_>, name: &'static str) -> BTreeMap<String, String> {
    let Some(text) = reader.text(name) else { return BTreeMap::new() };
    let pairs = text.split(',').map(|pair| pair.split_once('=').map(|(k, v)| (k.trim(), v.trim())));
    let pairs: Option<BTreeMap<String, String>> =
        pairs.map(|pair| pair.filter(|(key, _)| !key.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    // Ten for an object, as AWS has it.
    match pairs.filter(|pairs| pairs.len() <= 10) {
        Some(pairs) => pairs,
        None => {
            reader.problem(Problem::Tags { name, value: text });
            BTreeMap::new()
        }
    }
}

fn read_lock(reader: &mut Reader<'_>, names: &Names) -> Option<Lock> {
    const MODES: [&str; 2] = ["governance", "compliance"];
    let mode = reader.choice(names.lock_mode, "governance", &MODES, &MODES);
    let days = read_days(reader, names.lock_days)?;
    Some(Lock { days, compliance: mode == "compliance" })
}

fn read_days(reader: &mut Reader<'_>, name: &'static str) -> Option<u32> {
    let text = reader.text(name)?;
    match number(name, &text, 1, MOST_DAYS) {
        Ok(days) => Some(days),
        Err(problem) => {
            reader.problem(problem);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::{load, problems};

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [&[("S3_BACKUP_BUCKET", "hub-backups")][..], &KEYS, more].concat()
    }

    #[test]
    fn what_is_set_is_kept_and_the_rest_is_usual() {
        let s3 = load(&with(&[("S3_ENDPOINT_URL", "https://s3.fr-par.scw.cloud/")])).s3;
        let [s3] = s3.as_slice() else { panic!("{s3:?}") };
        assert_eq!((s3.bucket.as_str(), s3.region.as_str(), s3.prefix.as_str()), ("hub-backups", "fr-par", "backups"));
        assert_eq!(s3.endpoint.as_deref(), Some("https://s3.fr-par.scw.cloud"));
        assert_eq!(s3.secret_access_key, Secret::new("s"));
        assert_eq!((s3.parallel, s3.deadline, s3.path_style), (4, Duration::from_secs(600), PathStyle::Auto));
        assert_eq!((&s3.encryption, s3.lock, s3.days), (&Encryption::Unsaid, None, None));
    }

    #[test]
    fn without_a_bucket_there_is_no_store() {
        assert_eq!(load(&KEYS).s3, []);
        assert_eq!(load(&[("BACKUP_S3_STORAGE_CLASS", "GLACIER")]).s3, []);
    }

    #[test]
    fn a_bucket_needs_keys() {
        let missing = problems(&[("S3_BACKUP_BUCKET", "hub-backups")]);
        let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(missing.len(), 2, "{names:?}");
        assert!(names[0].contains("AWS_ACCESS_KEY_ID") && names[1].contains("AWS_SECRET_ACCESS_KEY"), "{names:?}");
    }

    #[test]
    fn a_second_store_has_names_of_its_own() {
        let second = [
            ("BACKUP_S3_2_BUCKET", "elsewhere"),
            ("BACKUP_S3_2_ACCESS_KEY_ID", "k2"),
            ("BACKUP_S3_2_SECRET_ACCESS_KEY", "s2"),
            ("BACKUP_S3_2_REGION", "nl-ams"),
            ("BACKUP_S3_2_RETENTION_DAYS", "90"),
            ("BACKUP_S3_2_KEEP", "monthly:12"),
        ];
        let s3 = load(&with(&second)).s3;
        assert_eq!(s3.iter().map(|s3| s3.bucket.as_str()).collect::<Vec<_>>(), ["hub-backups", "elsewhere"]);
        assert_eq!(
            (s3[1].region.as_str(), s3[1].days, s3[1].keep.to_string().as_str()),
            ("nl-ams", Some(90), "monthly:12")
        );
        assert_eq!(load(&second).s3.len(), 1, "the second may be the only one");
    }

    #[test]
    fn everything_else_is_read() {
        let s3 = load(&with(&[
            ("BACKUP_S3_PREFIX", "hub/production/"),
            ("BACKUP_S3_BANDWIDTH", "02:00-06:00=20M,5M"),
            ("BACKUP_S3_STORAGE_CLASS", "ONEZONE_IA"),
            ("BACKUP_S3_ENCRYPTION", "kms"),
            ("BACKUP_S3_KMS_KEY", "alias/backups"),
            ("BACKUP_S3_TAGS", "team=chantier, kind="),
            ("BACKUP_S3_LOCK_DAYS", "30"),
            ("BACKUP_S3_LOCK_MODE", "Compliance"),
            ("BACKUP_S3_PATH_STYLE", "yes"),
            ("BACKUP_S3_CA_FILE", "/etc/ca.pem"),
        ]))
        .s3
        .remove(0);
        assert_eq!(s3.prefix, "hub/production");
        assert_eq!(s3.bandwidth.to_string(), "02:00-06:00=20M,5M");
        assert_eq!(s3.encryption, Encryption::Kms(Some("alias/backups".to_owned())));
        assert_eq!(s3.tags, BTreeMap::from([("kind".into(), String::new()), ("team".into(), "chantier".into())]));
        assert_eq!(s3.lock, Some(Lock { days: 30, compliance: true }));
        assert_eq!((s3.path_style, s3.ca_file), (PathStyle::Yes, Some("/etc/ca.pem".into())));
    }

    #[test]
    fn what_is_wrong_is_refused_without_printing_a_secret() {
        for (name, value) in [
            ("S3_ENDPOINT_URL", "s3.example.org"),
            ("S3_ENDPOINT_URL", "https://"),
            ("S3_ENDPOINT_URL", "https://user:canary@host"),
            ("BACKUP_S3_2_BUCKET", "a/b"),
            ("BACKUP_S3_PREFIX", "../other"),
            ("BACKUP_S3_PREFIX", "/"),
            ("BACKUP_S3_PREFIX", "a//b"),
            ("BACKUP_S3_BANDWIDTH", "fast"),
            ("BACKUP_S3_ENCRYPTION", "rot13"),
            ("BACKUP_S3_ENCRYPTION", "customer"),
            ("BACKUP_S3_TAGS", "=x"),
            ("BACKUP_S3_TAGS", "x"),
            ("BACKUP_S3_LOCK_DAYS", "0"),
            ("BACKUP_S3_LOCK_MODE", "forever"),
            ("BACKUP_S3_RETENTION_DAYS", "-1"),
            ("BACKUP_S3_KEEP", "daily"),
            ("BACKUP_S3_PARALLEL", "0"),
        ] {
            let more = [("BACKUP_S3_2_ACCESS_KEY_ID", "k"), ("BACKUP_S3_2_SECRET_ACCESS_KEY", "s"), (name, value)];
            let problems = problems(&with(&more));
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert!(!problems[0].to_string().contains("canary"));
        }
        let short = [("BACKUP_S3_ENCRYPTION", "customer"), ("BACKUP_S3_CUSTOMER_KEY", "canary")];
        assert!(!problems(&with(&short))[0].to_string().contains("canary"));
    }
}
