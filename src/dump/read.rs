//! The way back: plain SQL out of a stored file, told by its first bytes; the proof that a file is whole; the
//! chunks that a restore feeds to psql. All blocking. Where files lie is not known here.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use bytes::Bytes;

use crate::domain::manifest::Measure;
use crate::dump::compress::MIN_STORED;
use crate::dump::error::Error;
use crate::dump::gunzip::{Gunzip, Source};
use crate::dump::inspect::Inspector;
use crate::dump::measure::Meter;
use crate::dump::progress::Progress;
use crate::dump::scan::Scan;

/// Plain bytes that are handed on at once.
const CHUNK: usize = 256 * 1024;
/// Chunks between unpacking and inspecting.
const QUEUE: usize = 4;

/// How a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// gzip, any number of members.
    Gzip,
    /// SQL as it is.
    Plain,
}

/// First bytes of what this version cannot read.
const UNSUPPORTED: [(&[u8], &str); 6] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (b"PGDMP", "pg_dump custom"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (b"BZh", "bzip2"),
    (&[4, 0x22, 0x4d, 0x18], "lz4"),
    (b"toc.dat\0", "pg_dump tar"),
];

/// Plain SQL out of a stored file.
pub struct PlainReader<R> {
    source: Source<R>,
    gunzip: Option<Gunzip>,
    plain: Meter,
}

/// Opens a stored file.
///
/// # Errors
/// [`Error::Unsupported`] for other formats, [`Error::Read`].
pub fn open_plain<R: Read>(reader: R) -> Result<PlainReader<R>, Error> {
    let mut source = Source::new(reader);
    let first = source.peek_at_least(8)?;
    if let Some((_, format)) = UNSUPPORTED.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Err(Error::Unsupported { format });
    }
    let gunzip = first.starts_with(&[0x1f, 0x8b]).then(Gunzip::default);
    Ok(PlainReader { source, gunzip, plain: Meter::default() })
}

impl<R: Read> PlainReader<R> {
    /// How the file is stored.
    pub fn format(&self) -> Format {
        if self.gunzip.is_some() { Format::Gzip } else { Format::Plain }
    }

    /// The next bytes of SQL into `out`: how many; 0 is the end, with the whole file read and nothing wrong.
    ///
    /// # Errors
    /// What is wrong with the file, by name.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let count = self.read_unmeasured(out)?;
        self.plain.update(&out[..count]);
        Ok(count)
    }

    /// Length and hash of the stored bytes and of the SQL so far; of the whole once [`PlainReader::read`] gave 0.
    pub fn measures(&self) -> (Measure, Measure) {
        (self.source.measure(), self.plain.clone().finish())
    }

    fn read_unmeasured(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        if out.is_empty() {
            return Ok(0);
        }
        if let Some(gunzip) = &mut self.gunzip {
            return gunzip.read(&mut self.source, out);
        }
        let bytes = self.source.peek()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.source.consume(count);
        Ok(count)
    }

    /// Fills `out` unless the end comes before.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < out.len() {
            match self.read_unmeasured(&mut out[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

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
/// `limit` bytes. Blocking; unpacks on this thread and inspects on another.
///
/// # Errors
/// What is wrong with the file, by name: also [`Error::TooLong`] and [`Error::Incomplete`].
pub fn prove<R: Read>(reader: R, limit: Option<u64>, progress: &Progress) -> Result<Proof, Error> {
    let mut plain = open_plain(reader)?;
    let (chunks, received) = sync_channel::<Vec<u8>>(QUEUE);
    let (recycle, recycled) = channel();
    let (scan, measure) = thread::scope(|scope| {
        let inspector = thread::Builder::new()
            .name("dump-prove".to_owned())
            .spawn_scoped(scope, move || inspect(&received, &recycle, progress))
            .map_err(|source| Error::Threads { source })?;
        let read = unpack(&mut plain, limit, |chunk| chunks.send(chunk).is_ok(), &recycled, progress);
        drop(chunks);
        let inspected = inspector.join().map_err(|_| Error::Stopped);
        read?;
        inspected
    })?;
    scan.complete()?;
    Ok(Proof { stored: plain.source.measure(), plain: measure, scan, format: plain.format() })
}

fn unpack<R: Read>(
    plain: &mut PlainReader<R>,
    limit: Option<u64>,
    pass_on: impl Fn(Vec<u8>) -> bool,
    recycled: &Receiver<Vec<u8>>,
    progress: &Progress,
) -> Result<(), Error> {
    let mut total = 0_u64;
    loop {
        let mut chunk = recycled.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let count = plain.fill(&mut chunk)?;
        progress.set_stored(plain.source.bytes());
        if progress.is_stopped() {
            return Err(Error::Stopped);
        }
        if count == 0 {
            return Ok(());
        }
        total += count as u64;
        if let Some(limit) = limit.filter(|limit| total > *limit) {
            return Err(Error::TooLong { limit });
        }
        chunk.truncate(count);
        if !pass_on(chunk) {
            return Err(Error::Stopped);
        }
    }
}

fn inspect(chunks: &Receiver<Vec<u8>>, recycle: &Sender<Vec<u8>>, progress: &Progress) -> (Scan, Measure) {
    let mut inspector = Inspector::new();
    let mut meter = Meter::default();
    while let Ok(chunk) = chunks.recv() {
        inspector.feed(&chunk);
        meter.update(&chunk);
        progress.set_plain(meter.bytes());
        progress.set_table(inspector.current_table());
        // Nobody needs the buffer after the last chunk.
        let _ = recycle.send(chunk);
    }
    (inspector.finish(), meter.finish())
}

/// The SQL of a stored file for psql: without the ranges of [`Scan::skip`].
///
/// # Errors
/// As [`open_plain`].
pub fn chunks<R: Read>(reader: R, skip: Vec<Range<u64>>) -> Result<Chunks<R>, Error> {
    Ok(Chunks { plain: open_plain(reader)?, skip: skip.into(), offset: 0, ended: false })
}

/// Iterates over the SQL; see [`chunks`]. Ends after the first error.
pub struct Chunks<R> {
    plain: PlainReader<R>,
    skip: VecDeque<Range<u64>>,
    offset: u64,
    ended: bool,
}

impl<R: Read> Chunks<R> {
    /// Length and hash of the stored bytes and of the SQL (with what was left out), once the iteration ended
    /// without an error: what was loaded is what was proven only if these are equal to the proof's.
    pub fn measures(&self) -> (Measure, Measure) {
        self.plain.measures()
    }

    fn read(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let mut chunk = vec![0; CHUNK];
            let count = self.plain.fill(&mut chunk)?;
            if count == 0 {
                return Ok(None);
            }
            chunk.truncate(count);
            self.plain.plain.update(&chunk);
            let start = self.offset;
            self.offset += count as u64;
            cut(&mut chunk, start, &mut self.skip);
            if !chunk.is_empty() {
                return Ok(Some(chunk.into()));
            }
        }
    }
}

impl<R: Read> Iterator for Chunks<R> {
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

/// Whether a stored file is large enough to be kept: over [`MIN_STORED`] bytes. A whole dump of a database without
/// a single object is smaller and gets its own error: for a nightly backup that is most often the wrong database.
/// A safety dump before a restore onto an empty server is not asked this question.
///
/// # Errors
/// [`Error::Tiny`], [`Error::NothingInside`].
pub fn check_size(stored: u64, scan: &Scan) -> Result<(), Error> {
    if stored > MIN_STORED {
        return Ok(());
    }
    if scan.complete().is_ok() && scan.is_empty() {
        return Err(Error::NothingInside { bytes: stored });
    }
    Err(Error::Tiny { bytes: stored, least: MIN_STORED })
}
