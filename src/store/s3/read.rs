//! An object as a reader for a thread of its own: several ranges ahead, in order.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Inner;
use crate::store::{Error, Object};

/// Bytes of one range.
const RANGE: u64 = 4 * 1024 * 1024;

/// Reads an object from its first byte. All ranges are of the same object: one that is replaced meanwhile fails.
pub struct Ranges {
    inner: Arc<Inner>,
    object: Object,
    runtime: Handle,
    /// Where the next range begins.
    next: u64,
    coming: VecDeque<JoinHandle<Result<Bytes, Error>>>,
    here: Bytes,
}

impl Ranges {
    /// Called on a thread of the runtime.
    pub fn new(inner: &Arc<Inner>, object: Object) -> Self {
        let runtime = Handle::current();
        Self { inner: Arc::clone(inner), object, runtime, next: 0, coming: VecDeque::new(), here: Bytes::new() }
    }

    fn ask(&mut self) {
        while self.coming.len() < self.inner.config.parallel && self.next < self.object.bytes {
            let (from, length) = (self.next, RANGE.min(self.object.bytes - self.next));
            self.next += length;
            let (inner, object) = (Arc::clone(&self.inner), self.object.clone());
            let range = async move { inner.range(&object.name, from, length, object.etag.as_deref()).await };
            self.coming.push_back(self.runtime.spawn(range));
        }
    }
}

impl Read for Ranges {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.here.is_empty() {
            self.ask();
            let Some(range) = self.coming.pop_front() else { return Ok(0) };
            self.here = self.runtime.block_on(range).map_err(io::Error::other)?.map_err(io::Error::other)?;
            self.ask();
        }
        let length = buffer.len().min(self.here.len());
        self.here.split_to(length).copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        for range in &self.coming {
            range.abort();
        }
    }
}
