//! Threads of a stream, on the way out and back.

use std::thread;

use crate::dump::error::Error;

/// The most workers that are started: each holds up to 6 MiB.
pub const MAX_WORKERS: usize = 6;

/// Starts a thread; how it ends is told over its queues.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let handle = thread::Builder::new().name(name.to_owned()).spawn(work);
    handle.map(drop).map_err(|source| Error::Threads { source })
}
