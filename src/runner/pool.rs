//! Buffers of one size that are used again: what is read from a lane travels on as [`Bytes`] without being copied, and its
//! buffer comes back when the last of them is dropped. The number of buffers is the bound of memory and of back-pressure.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a block, as the stages of a dump take them.
pub const BLOCK: usize = 1024 * 1024;

/// How many blocks of a run may be under way between its lane and whoever reads it.
pub const BLOCKS: usize = 6;

/// Buffers of [`BLOCK`] bytes.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    free: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Those that came back. Buffers are made when they are first needed: a small answer costs one.
    idle: Mutex<Vec<Box<[u8]>>>,
}

impl Pool {
    /// At most `blocks` buffers at a time.
    #[must_use]
    pub fn new(blocks: usize) -> Self {
        Self { shared: Arc::default(), free: Arc::new(Semaphore::new(blocks)) }
    }

    /// An empty buffer; waits until one has come back where all are under way.
    pub async fn take(&self) -> Buffer {
        // The semaphore is never closed: an error is not possible, and no permit only means no bound.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let data = idle.unwrap_or_else(|| vec![0; BLOCK].into_boxed_slice());
        Buffer { data, filled: 0, shared: Arc::clone(&self.shared), _permit: permit }
    }
}

/// A buffer that is being filled.
#[derive(Debug)]
pub struct Buffer {
    data: Box<[u8]>,
    filled: usize,
    shared: Arc<Shared>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Buffer {
    /// What is not filled yet.
    pub fn rest(&mut self) -> &mut [u8] {
        &mut self.data[self.filled..]
    }

    /// Says that the first `bytes` of [`Buffer::rest`] are filled.
    pub fn advance(&mut self, bytes: usize) {
        self.filled = (self.filled + bytes).min(self.data.len());
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether nothing more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.data.len()
    }

    /// What was filled. The buffer comes back to its pool when the last clone or slice of it is dropped.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn filled(pool: &Pool, bytes: &[u8]) -> Bytes {
        let mut buffer = pool.take().await;
        buffer.rest()[..bytes.len()].copy_from_slice(bytes);
        buffer.advance(bytes.len());
        buffer.freeze()
    }

    #[tokio::test]
    async fn a_buffer_comes_back_when_its_last_slice_is_dropped() {
        let pool = Pool::new(1);
        let first = filled(&pool, b"one two").await;
        let (address, slice) = (first.as_ptr(), first.slice(4..));
        drop(first);
        assert!(futures_util::FutureExt::now_or_never(pool.take()).is_none(), "a slice of it is still there");
        assert_eq!(slice, "two");
        drop(slice);
        let again = filled(&pool, b"3").await;
        assert_eq!((again.as_ptr(), &again[..]), (address, &b"3"[..]), "the same memory, and nothing old in sight");
    }

    #[tokio::test]
    async fn who_waits_for_a_buffer_gets_the_next_that_comes_back() {
        let pool = Pool::new(2);
        let held = [filled(&pool, b"a").await, filled(&pool, b"b").await];
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.take().await.is_empty() }
        });
        drop(held);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_full_buffer_is_one_block() {
        let mut buffer = Pool::new(1).take().await;
        let all = buffer.rest().len();
        assert_eq!(all, BLOCK);
        buffer.advance(BLOCK - 1);
        assert!(!buffer.is_full());
        buffer.advance(1);
        assert!(buffer.is_full() && buffer.rest().is_empty());
        assert_eq!((buffer.len(), buffer.freeze().len()), (BLOCK, BLOCK));
    }
}
