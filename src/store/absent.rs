//! A place that cannot be used, and says why whenever it is asked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::manifest::Measure;
use crate::store::{Elsewhere, Error, Finding, Growing, Listing, Object, ReadAt, Reader, Space, Store, Thaw, Upload};

/// See the module.
pub struct Absent {
    place: String,
    why: Error,
}

impl Absent {
    /// `place`, which cannot be used because of `why`.
    #[must_use]
    pub fn new(place: String, why: Error) -> Self {
        Self { place, why }
    }

    fn refuse<T>(&self) -> Result<T, Error> {
        Err(self.why.clone())
    }
}

#[async_trait]
impl Store for Absent {
    fn place(&self) -> String {
        self.place.clone()
    }

    async fn list(&self) -> Result<Listing, Error> {
        self.refuse()
    }

    async fn open(&self, _: &str) -> Result<Reader, Error> {
        self.refuse()
    }

    async fn read(&self, _: &str, _: u64) -> Result<Vec<u8>, Error> {
        self.refuse()
    }

    async fn head(&self, _: &str) -> Result<Object, Error> {
        self.refuse()
    }

    async fn get(&self, _: &str, _: u64, _: u64) -> Result<Bytes, Error> {
        self.refuse()
    }

    async fn upload(&self, _: &str, _: Growing, _: u64) -> Result<Box<dyn Upload>, Error> {
        self.refuse()
    }

    async fn put(&self, _: &str, _: &[u8]) -> Result<(), Error> {
        self.refuse()
    }

    async fn delete(&self, _: &str) -> Result<bool, Error> {
        self.refuse()
    }

    async fn sweep_drafts(&self, _: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync)) -> Result<Vec<String>, Error> {
        self.refuse()
    }

    async fn space(&self) -> Result<Option<Space>, Error> {
        Ok(None)
    }
}

#[async_trait]
impl Elsewhere for Absent {
    async fn share(&self, _: &str, _: Duration) -> Result<String, Error> {
        self.refuse()
    }

    async fn thaw(&self, _: &str, _: u32) -> Result<Thaw, Error> {
        self.refuse()
    }

    async fn erase(&self, _: &str) -> Result<u64, Error> {
        self.refuse()
    }

    async fn holds(&self, _: &str, _: Arc<dyn ReadAt>, _: &Measure) -> Result<bool, Error> {
        self.refuse()
    }

    async fn try_out(&self) -> Vec<Finding> {
        self.probe(0).await
    }

    async fn probe(&self, _: u64) -> Vec<Finding> {
        vec![Finding::Failed("s3-settings", self.why.clone())]
    }
}
