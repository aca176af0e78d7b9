//! A bucket for tests: a real S3 server, a prefix of its own for each test, and a way around our store into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use amarre::domain::bandwidth::Bandwidth;
use amarre::domain::clock::Clock;
use amarre::store::s3::{Config, Making, PathStyle, S3Store};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;

/// How to get what these tests need.
pub const WAY: &str =
    "AMARRE_TEST_S3_ENDPOINT or AMARRE_TEST_MOTO_ENDPOINT is not set: eval \"$(scripts/testbed.sh up)\" starts servers";

/// A test that cannot run here says so, and is counted.
#[allow(
    dead_code,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "the test runner tells where skipped tests are counted"
)]
pub fn skipped(test: &str) {
    use std::io::Write as _;

    eprintln!("SKIPPED: {test}: {WAY}");
    if let Some(log) = std::env::var_os("AMARRE_SKIPPED_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(log, "{test}: {WAY}").unwrap();
    }
}

/// Where it is and which keys it takes.
#[derive(Clone)]
pub struct Place {
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub key: String,
    pub secret: String,
}

impl Place {
    /// From the environment that `scripts/testbed.sh up` prints.
    #[allow(clippy::disallowed_methods, reason = "the test bed tells where the server is")]
    pub fn found() -> Option<Self> {
        let of = |name: &str| std::env::var(format!("AMARRE_TEST_S3_{name}")).ok();
        Some(Self {
            endpoint: of("ENDPOINT")?,
            bucket: of("BUCKET")?,
            region: of("REGION")?,
            key: of("KEY")?,
            secret: of("SECRET")?,
        })
    }
}

impl Place {
    /// A simulation of AWS's own, in a bucket of its own that keeps versions and can lock them.
    #[allow(clippy::disallowed_methods, reason = "the test bed tells where the server is")]
    pub fn simulated() -> Option<Self> {
        let endpoint = std::env::var("AMARRE_TEST_MOTO_ENDPOINT").ok()?;
        let bucket = format!("amarre-test-{}-{}", std::process::id(), next());
        let words = ["us-east-1", "key", "secret"].map(str::to_owned);
        let [region, key, secret] = words;
        Some(Self { endpoint, bucket, region, key, secret })
    }
}

/// A place of its own in the bucket.
pub struct Bucket {
    pub place: Place,
    pub prefix: String,
}

fn next() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

struct Now;

impl Clock for Now {
    #[allow(clippy::disallowed_methods, reason = "a store signs with the time that it is")]
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::Utc::now()
    }
}

impl Bucket {
    pub fn new() -> Option<Self> {
        let prefix = format!("test/{}-{}", std::process::id(), next());
        Some(Self { place: Place::found()?, prefix })
    }

    /// In a simulation of AWS's S3; see [`Place::simulated`].
    pub fn simulated() -> Option<Self> {
        let bed = Self { place: Place::simulated()?, prefix: "test".to_owned() };
        let bucket = bed.place.bucket.clone();
        bed.ask(move |client| async move {
            client.create_bucket().bucket(bucket).object_lock_enabled_for_bucket(true).send().await.unwrap();
        });
        Some(bed)
    }

    pub fn config(&self) -> Config {
        let place = self.place.clone();
        Config {
            bucket: place.bucket,
            endpoint: Some(place.endpoint),
            region: place.region,
            access_key_id: place.key,
            secret_access_key: place.secret,
            session_token: None,
            prefix: self.prefix.clone(),
            path_style: PathStyle::Path,
            ca_file: None,
            parallel: 4,
            deadline: Duration::from_secs(60),
            making: Making::default(),
            owner: "test".to_owned(),
        }
    }

    pub fn open(&self) -> S3Store {
        self.open_with(|_| {}).unwrap()
    }

    /// With something else in its settings.
    pub fn open_with(&self, change: impl FnOnce(&mut Config)) -> Result<S3Store, amarre::store::Error> {
        let mut config = self.config();
        change(&mut config);
        S3Store::new(config, Bandwidth::default(), Arc::new(Now), chrono_tz::UTC)
    }

    /// Asks the server without our store; on a thread of its own, so that a runtime may be around.
    pub fn ask<T, F>(&self, question: impl FnOnce(Client) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let place = self.place.clone();
        let asking = std::thread::spawn(move || {
            let keys = aws_credential_types::Credentials::new(place.key, place.secret, None, None, "test");
            let config = aws_sdk_s3::Config::builder()
                .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
                .region(aws_sdk_s3::config::Region::new(place.region))
                .credentials_provider(keys)
                .force_path_style(true)
                .endpoint_url(place.endpoint)
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .build();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(question(Client::from_conf(config)))
        });
        asking.join().unwrap()
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let (bucket, key, bytes) = (self.place.bucket.clone(), format!("{}/{name}", self.prefix), bytes.to_vec());
        self.ask(move |client| async move {
            client.put_object().bucket(bucket).key(key).body(bytes.into()).send().await.unwrap();
        });
    }

    /// As an installation's own.
    pub fn put_as(&self, name: &str, bytes: &[u8], owner: &str) {
        let (bucket, key, bytes) = (self.place.bucket.clone(), format!("{}/{name}", self.prefix), bytes.to_vec());
        let owner = owner.to_owned();
        self.ask(move |client| async move {
            let put = client.put_object().bucket(bucket).key(key).metadata("amarre-installation", owner);
            put.body(bytes.into()).send().await.unwrap();
        });
    }

    /// As many small ones as there are names, thirty-two at once.
    pub fn put_many(&self, names: &[String]) {
        let (bucket, prefix, names) = (self.place.bucket.clone(), self.prefix.clone(), names.to_vec());
        self.ask(move |client| async move {
            let mut putting = tokio::task::JoinSet::new();
            for name in names {
                if putting.len() == 32 {
                    putting.join_next().await.unwrap().unwrap();
                }
                let put =
                    client.put_object().bucket(&bucket).key(format!("{prefix}/{name}")).body(b"theirs".to_vec().into());
                putting.spawn(async move { drop(put.send().await.unwrap()) });
            }
            putting.join_all().await;
        });
    }

    /// Takes an object away.
    pub fn remove(&self, name: &str) {
        let (bucket, key) = (self.place.bucket.clone(), format!("{}/{name}", self.prefix));
        self.ask(move |client| async move {
            client.delete_object().bucket(bucket).key(key).send().await.unwrap();
        });
    }

    /// The bytes of an object.
    pub fn get(&self, name: &str) -> Vec<u8> {
        let (bucket, key) = (self.place.bucket.clone(), format!("{}/{name}", self.prefix));
        self.ask(move |client| async move {
            let got = client.get_object().bucket(bucket).key(key).send().await.unwrap();
            got.body.collect().await.unwrap().to_vec()
        })
    }

    /// Names of everything beneath the prefix, and of uploads that have not ended (with a mark behind them).
    pub fn all(&self) -> Vec<String> {
        let (bucket, prefix) = (self.place.bucket.clone(), format!("{}/", self.prefix));
        self.ask(move |client| async move {
            let mut pages = client
                .list_objects_v2()
                .bucket(&bucket)
                .prefix(&prefix)
                .encoding_type(EncodingType::Url)
                .into_paginator()
                .send();
            let mut objects = Vec::new();
            while let Some(page) = pages.next().await {
                objects.extend(page.unwrap().contents.unwrap_or_default());
            }
            let uploads = client.list_multipart_uploads().bucket(&bucket).prefix(&prefix).send().await.unwrap();
            let name = |key: Option<&str>| key.unwrap().strip_prefix(&prefix).unwrap().to_owned();
            let decoded = |key: &str| percent_encoding::percent_decode_str(key).decode_utf8().unwrap().into_owned();
            let objects = objects.iter().map(|o| name(o.key().map(decoded).as_deref()));
            let uploads = uploads.uploads().iter().map(|u| name(u.key()) + " (unfinished)");
            let mut names: Vec<_> = objects.chain(uploads).collect();
            names.sort();
            names
        })
    }
}
