//! Bytes that come from elsewhere into the directory: a draft that is written as they come.

use std::io::Write as _;

use async_trait::async_trait;
use rust_i18n::t;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::LocalStore;
use crate::domain::manifest::Measure;
use crate::domain::text::escape;
use crate::store::growing::Growing;
use crate::store::{Action, Draft, Error, Object, Store as _, Upload};

/// Bytes that are copied at once.
const CHUNK: u64 = 1024 * 1024;

/// What was written so far, and its sha256.
type Copied = (Box<dyn Draft>, Measure);

/// A draft on its way.
pub struct Copying {
    store: LocalStore,
    name: String,
    work: Option<JoinHandle<Result<Copied, Error>>>,
}

impl Copying {
    /// Begins.
    pub fn start(store: &LocalStore, name: &str, draft: Box<dyn Draft>, source: Growing) -> Self {
        let work = tokio::spawn(copy(store.clone(), name.to_owned(), draft, source));
        Self { store: store.clone(), name: name.to_owned(), work: Some(work) }
    }
}

async fn copy(
    store: LocalStore,
    name: String,
    mut draft: Box<dyn Draft>,
    mut source: Growing,
) -> Result<Copied, Error> {
    let failed = |cause: String| Error::Io { action: Action::Write, name: escape(&name), place: store.place(), cause };
    let mut sha256 = Sha256::new();
    let mut at = 0;
    loop {
        let grown = source.at_least(at + 1).await.ok_or_else(|| failed(t!("store.given_up").into_owned()))?;
        while at < grown.bytes {
            let length = CHUNK.min(grown.bytes - at);
            let bytes = std::sync::Arc::clone(&source.bytes);
            let written = tokio::task::spawn_blocking(move || {
                // At most a chunk, which fits.
                let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
                bytes.read_at(&mut buffer, at)?;
                sha256.update(&buffer);
                draft.write_all(&buffer).map(|()| (draft, sha256))
            });
            let written = written.await.map_err(|e| failed(e.to_string()))?;
            (draft, sha256) = written.map_err(|e| Error::recover(e).unwrap_or_else(|e| failed(e.to_string())))?;
            at += length;
        }
        if grown.ended {
            let sha256 = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((draft, Measure { bytes: at, sha256 }));
        }
    }
}

#[async_trait]
impl Upload for Copying {
    async fn finish(mut self: Box<Self>, stored: &Measure) -> Result<Object, Error> {
        let (name, place) = (escape(&self.name), self.store.place());
        let given_up = || Error::Io {
            action: Action::Write,
            name: name.clone(),
            place: place.clone(),
            cause: t!("store.given_up").into_owned(),
        };
        let work = self.work.take().ok_or_else(given_up)?;
        let (draft, copied) = work.await.map_err(|_| given_up())??;
        if copied != *stored {
            let what = if copied.bytes == stored.bytes {
                t!("store.differs_tag", expected = stored.sha256, found = copied.sha256)
            } else {
                t!("store.differs_length", expected = stored.bytes, found = copied.bytes)
            };
            return Err(Error::Differs { name, place, what: what.into_owned() });
        }
        tokio::task::spawn_blocking(move || draft.publish()).await.map_err(|_| given_up())??;
        self.store.head(&self.name).await
    }

    async fn abort(mut self: Box<Self>) -> bool {
        if let Some(work) = self.work.take() {
            work.abort();
            // Dropped with its draft, which leaves nothing.
            let _ = work.await;
        }
        true
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            work.abort();
        }
    }
}
