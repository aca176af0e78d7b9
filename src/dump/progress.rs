//! How far a dump has come, readable at any time from another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far a dump has come.
#[derive(Debug, Default)]
pub struct Progress {
    plain: AtomicU64,
    stored: AtomicU64,
    table: Mutex<String>,
}

impl Progress {
    /// Bytes of SQL so far.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.plain.load(Ordering::Relaxed)
    }

    /// Bytes of the stored file so far.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// The table whose rows go by, or went by last, as the dump writes it; empty before the first.
    #[must_use]
    pub fn table(&self) -> String {
        self.lock().clone()
    }

    pub(super) fn set_plain(&self, bytes: u64) {
        self.plain.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_stored(&self, bytes: u64) {
        self.stored.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_table(&self, table: Option<&str>) {
        let table = table.unwrap_or_default();
        let mut current = self.lock();
        if *current != table {
            table.clone_into(&mut current);
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        // A poisoned name is still only text for people.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
