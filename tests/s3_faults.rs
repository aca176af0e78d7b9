//! The network and the store as they fail: a real S3 server behind a proxy of ours that breaks what it is told to.
//! Without a server (`scripts/testbed.sh up` starts one) these are skipped, which is said and counted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/s3.rs"]
mod s3;

#[path = "s3_faults/answers.rs"]
mod answers;
#[path = "s3_faults/bodies.rs"]
mod bodies;
#[path = "s3_faults/cuts.rs"]
mod cuts;
#[path = "s3_faults/tls.rs"]
mod tls;
#[path = "s3_faults/uploads.rs"]
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use amarre::dump::measure;
use amarre::store::s3::S3Store;
use amarre::store::{Error, Growing, Object, Store};
use fault_proxy::{Dice, FaultProxy};
use s3::Bucket;

/// As long as one thing is tried here: tests that fail shall not take minutes.
const DEADLINE: Duration = Duration::from_secs(4);
/// The name of what is sent.
const NAME: &str = "a.sql.gz";

/// A bucket, and the proxy before it.
struct Bed {
    bucket: Bucket,
    proxy: FaultProxy,
}

impl Bed {
    /// `None`: skipped.
    fn new(label: &str) -> Option<Self> {
        let Some(bucket) = Bucket::new() else {
            s3::skipped(label);
            return None;
        };
        let proxy = FaultProxy::before(&bucket.place.endpoint);
        Some(Self { bucket, proxy })
    }

    /// The store, through the proxy.
    fn store(&self) -> S3Store {
        self.patient(DEADLINE)
    }

    fn patient(&self, deadline: Duration) -> S3Store {
        let endpoint = self.proxy.endpoint();
        let opened = self.bucket.open_with(|config| {
            config.endpoint = Some(endpoint);
            config.deadline = deadline;
        });
        opened.unwrap()
    }
}

/// Bytes that are no pattern.
fn noise(length: usize) -> Arc<Vec<u8>> {
    Arc::new(Dice::new(length as u64).bytes(length))
}

async fn upload(store: &S3Store, name: &str, bytes: &Arc<Vec<u8>>) -> Result<Object, Error> {
    let length = bytes.len() as u64;
    let source = Growing::whole(bytes.clone(), length);
    store.upload(name, source, length).await?.finish(&measure(bytes)).await
}

/// All of an object, as a restore reads it.
async fn whole(store: &S3Store, name: &str) -> Result<Vec<u8>, Error> {
    let mut reader = store.open(name).await?;
    let read = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut found).map(|_| found)
    });
    read.await.unwrap().map_err(|error| Error::recover(error).unwrap())
}
