//! The way back: plain SQL out of a stored file, told by its first bytes; the proof that a file is whole; the
//! chunks that a restore feeds to psql. All blocking. Where files lie is not known here.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::manifest::Measure;
use crate::dump::encode::MIN_STORED;
use crate::dump::error::Error;
use crate::dump::inspect::Inspector;
use crate::dump::measure::Meter;
use crate::dump::progress::Progress;
use crate::dump::scan::Scan;
use crate::dump::stage::Clocks;
use crate::dump::unpack::{Format, Unpacker};

/// What was proven of a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The stored bytes.
    pub stored: Measure,
    /// The SQL.
    pub plain: Measure,
    /// What is in it; [`Scan::foreign`] is for the caller to judge.
    pub scan: Scan,
    /// How it is stored.
    pub format: Format,
}

/// Reads a stored file to its end: every member, every byte of SQL, which must be one whole dump of at most
/// `limit` bytes. Blocking; unpacks on `workers` threads (1 to 6) and inspects on this one.
///
/// # Errors
/// What is wrong with the file, by name: also [`Error::TooLong`] and [`Error::Incomplete`].
pub fn prove<R: Read + Send + 'static>(
    reader: R,
    limit: Option<u64>,
    workers: usize,
    progress: &Arc<Progress>,
    clocks: &mut Clocks,
) -> Result<Proof, Error> {
    let mut unpacker = Unpacker::start(reader, workers, progress, clocks)?;
    let mut hand = clocks.stage("inspect").begin();
    let mut inspector = Inspector::new();
    let mut meter = Meter::default();
    while let Some(chunk) = hand.starved(|| unpacker.next())? {
        let bytes = chunk.bytes();
        if let Some(limit) = limit.filter(|limit| meter.bytes() + bytes.len() as u64 > *limit) {
            return Err(Error::TooLong { limit });
        }
        hand.passed(bytes.len());
        inspector.feed(bytes);
        meter.update(bytes);
        if progress.is_stopped() {
            return Err(Error::Stopped);
        }
        progress.set_plain(meter.bytes());
        progress.set_table(inspector.current_table());
        unpacker.recycle(chunk);
    }
    let stored = unpacker.stored()?;
    let scan = inspector.finish();
    scan.complete()?;
    Ok(Proof { stored, plain: meter.finish(), scan, format: unpacker.format() })
}

/// The SQL of a stored file for psql: without the ranges of [`Scan::skip`].
///
/// # Errors
/// [`Error::Unsupported`] for formats that cannot be read, [`Error::Read`], [`Error::Threads`].
pub fn chunks<R: Read + Send + 'static>(
    reader: R,
    skip: Vec<Range<u64>>,
    workers: usize,
    clocks: &mut Clocks,
) -> Result<Chunks, Error> {
    let unpacker = Unpacker::start(reader, workers, &Arc::default(), clocks)?;
    Ok(Chunks { unpacker, plain: Meter::default(), skip: skip.into(), ended: false })
}

/// Iterates over the SQL; see [`chunks`]. Ends after the first error.
pub struct Chunks {
    unpacker: Unpacker,
    plain: Meter,
    skip: VecDeque<Range<u64>>,
    ended: bool,
}

impl Chunks {
    /// Length and hash of the stored bytes and of the SQL (with what was left out), once the iteration ended
    /// without an error: what was loaded is what was proven only if these are equal to the proof's.
    ///
    /// # Errors
    /// [`Error::Stopped`] before the end.
    pub fn measures(&self) -> Result<(Measure, Measure), Error> {
        Ok((self.unpacker.stored()?, self.plain.clone().finish()))
    }

    fn read(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(chunk) = self.unpacker.next()? {
            let mut chunk = chunk.into_vec();
            let start = self.plain.bytes();
            self.plain.update(&chunk);
            cut(&mut chunk, start, &mut self.skip);
            if !chunk.is_empty() {
                return Ok(Some(chunk.into()));
            }
        }
        Ok(None)
    }
}

impl Iterator for Chunks {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Takes the ranges out of the bytes that lie at `start`; ranges that end within them are done with.
fn cut(bytes: &mut Vec<u8>, start: u64, skip: &mut VecDeque<Range<u64>>) {
    let end = start + bytes.len() as u64;
    // Offsets within `bytes`, so they fit.
    let within = |at: u64| usize::try_from(at.clamp(start, end) - start).unwrap_or(usize::MAX);
    let (mut kept, mut from) = (Vec::new(), 0);
    while let Some(range) = skip.front().filter(|range| range.start < end) {
        kept.extend_from_slice(&bytes[from..within(range.start).max(from)]);
        from = within(range.end).max(from);
        if range.end > end {
            break;
        }
        skip.pop_front();
    }
    if from > 0 {
        kept.extend_from_slice(&bytes[from..]);
        *bytes = kept;
    }
}

/// Whether a stored file is worth keeping: over [`MIN_STORED`] bytes, or a whole dump with something in it, which is
/// smaller only where it is not compressed. A whole dump of a database without a single object gets its own error: for a
/// nightly backup that is most often the wrong database. A safety dump before a restore onto an empty server is not
/// asked this question.
///
/// # Errors
/// [`Error::Tiny`], [`Error::NothingInside`].
pub fn check_size(stored: u64, scan: &Scan) -> Result<(), Error> {
    if stored > MIN_STORED {
        return Ok(());
    }
    match scan.complete() {
        Ok(()) if scan.is_empty() => Err(Error::NothingInside { bytes: stored }),
        Ok(()) => Ok(()),
        Err(_) => Err(Error::Tiny { bytes: stored, least: MIN_STORED }),
    }
}
