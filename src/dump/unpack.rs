//! The way back, in parallel: a thread reads the file and finds where members and frames of ours begin, workers unpack
//! them, and the SQL comes out in order. What others wrote (one long member) is unpacked by the reading thread itself.
//!
//! Errors come in their turn, so what is wrong first is said first.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::domain::manifest::Measure;
use crate::dump::decode::{Coding, Decoder};
use crate::dump::encode::BLOCK;
use crate::dump::error::Error;
use crate::dump::gunzip::{Gunzip, Source};
use crate::dump::gzip;
use crate::dump::progress::Progress;
use crate::dump::stage::{Clocks, Hand};
use crate::dump::threads::{MAX_WORKERS, spawn};
use crate::dump::unzstd::Unzstd;
use crate::dump::zstd::{self, Next};

/// The most that a member with a length of ours may unpack to, on the slow way.
const MOST: usize = 8 * BLOCK;

/// How a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// gzip, any number of members.
    Gzip,
    /// zstd, any number of frames.
    Zstd,
    /// SQL as it is.
    Plain,
}

impl Format {
    /// As manifests say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Plain => "none",
        }
    }
}

/// First bytes of what this version cannot read.
const UNSUPPORTED: [(&[u8], &str); 5] = [
    (b"PGDMP", "pg_dump custom"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (b"BZh", "bzip2"),
    (&[4, 0x22, 0x4d, 0x18], "lz4"),
    (b"toc.dat\0", "pg_dump tar"),
];

/// Tells a format by its first bytes: names say nothing.
fn format_of(first: &[u8]) -> Result<Format, Error> {
    if let Some((_, format)) = UNSUPPORTED.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Err(Error::Unsupported { format });
    }
    Ok(match first {
        [0x1f, 0x8b, ..] => Format::Gzip,
        first if zstd::is_zstd(first) => Format::Zstd,
        _ => Format::Plain,
    })
}

/// SQL out of a stored file.
pub struct Unpacker {
    outputs: Vec<Output>,
    turn: usize,
    /// Back to the reading thread.
    reader: Sender<Vec<u8>>,
    stored: Receiver<Measure>,
    format: Format,
}

/// Some SQL: the first so many bytes of a buffer.
pub struct Chunk {
    buffer: Vec<u8>,
    length: usize,
    /// The buffer is the reading thread's, not a worker's.
    read: bool,
}

impl Chunk {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    pub fn into_vec(mut self) -> Vec<u8> {
        self.buffer.truncate(self.length);
        self.buffer
    }
}

/// What a worker gets.
enum Job {
    Whole { coding: Coding, bytes: Vec<u8>, offset: u64 },
    Plain(Chunk),
    Failed(Error),
}

/// A worker's end at the consumer.
struct Output {
    chunks: Receiver<Result<Chunk, Error>>,
    recycle: Sender<Vec<u8>>,
}

impl Unpacker {
    /// Begins to read. The clocks get the stages `read` and `unpack`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for other formats, [`Error::Read`], [`Error::Threads`].
    pub fn start<R: Read + Send + 'static>(
        reader: R,
        workers: usize,
        progress: &Arc<Progress>,
        clocks: &mut Clocks,
    ) -> Result<Self, Error> {
        let mut source = Source::new(reader);
        let format = format_of(source.peek_at_least(8)?)?;
        let (read_clock, unpack_clock) = (clocks.stage("read"), clocks.stage("unpack"));
        let (spare, spares) = channel();
        let (mut jobs, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..workers.clamp(1, MAX_WORKERS) {
            let (job_sender, job_receiver) = sync_channel(1);
            let (chunk_sender, chunks) = sync_channel(1);
            let (recycle, recycled) = channel();
            let worker = Worker {
                decoder: Decoder::new()?,
                jobs: job_receiver,
                chunks: chunk_sender,
                recycled,
                spare: spare.clone(),
            };
            let clock = Arc::clone(&unpack_clock);
            spawn("dump-unpack", move || worker.run(clock.begin()))?;
            jobs.push(job_sender);
            outputs.push(Output { chunks, recycle });
        }
        let (stored_sender, stored) = channel();
        let (reader, back) = channel();
        let splitter = Splitter { source, jobs, turn: 0, spares, back, progress: Arc::clone(progress) };
        spawn("dump-read", move || {
            if let Some(measure) = splitter.run(format, read_clock.begin()) {
                let _ = stored_sender.send(measure);
            }
        })?;
        Ok(Self { outputs, turn: 0, reader, stored, format })
    }

    /// How the file is stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The next bytes of SQL; `None` at the end, with the whole file read and nothing wrong.
    ///
    /// # Errors
    /// What is wrong with the file, by name; there is nothing more to ask then.
    pub fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let output = &self.outputs[self.turn];
        self.turn = (self.turn + 1) % self.outputs.len();
        match output.chunks.recv() {
            Ok(chunk) => chunk.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Gives a chunk's buffer back to where buffers of its kind are taken from: nobody else ever would.
    pub fn recycle(&self, chunk: Chunk) {
        let back = if chunk.read { &self.reader } else { &self.outputs[self.turn].recycle };
        // At the end nobody needs it.
        let _ = back.send(chunk.buffer);
    }

    /// Length and hash of the stored bytes, after the end.
    ///
    /// # Errors
    /// [`Error::Stopped`] before it, or when a thread died.
    pub fn stored(&self) -> Result<Measure, Error> {
        self.stored.recv().map_err(|_| Error::Stopped)
    }
}

struct Worker {
    decoder: Decoder,
    jobs: Receiver<Job>,
    chunks: SyncSender<Result<Chunk, Error>>,
    recycled: Receiver<Vec<u8>>,
    spare: Sender<Vec<u8>>,
}

impl Worker {
    fn run(mut self, mut hand: Hand) {
        while let Ok(job) = hand.starved(|| self.jobs.recv()) {
            let chunk = self.work(job, &hand);
            let failed = chunk.is_err();
            if hand.blocked(|| self.chunks.send(chunk)).is_err() || failed {
                return;
            }
        }
    }

    fn work(&mut self, job: Job, hand: &Hand) -> Result<Chunk, Error> {
        match job {
            Job::Plain(chunk) => Ok(chunk),
            Job::Failed(error) => Err(error),
            Job::Whole { coding, bytes, offset } => {
                hand.passed(bytes.len());
                let mut buffer = self.recycled.try_recv().unwrap_or_default();
                let chunk = match (self.decoder.decode(coding, &bytes, true, &mut buffer), coding) {
                    (Some(length), _) => Chunk { buffer, length, read: false },
                    (None, Coding::Member) => slowly(&bytes, offset)?,
                    (None, Coding::Frame) => return Err(Error::Corrupt { offset }),
                };
                let _ = self.spare.send(bytes);
                Ok(chunk)
            }
        }
    }
}

/// Unpacks a member that is not quite what we write, to say by name what is wrong with it.
fn slowly(bytes: &[u8], offset: u64) -> Result<Chunk, Error> {
    let mut source = Source::new(bytes);
    let mut gunzip = Gunzip::default();
    let mut buffer = vec![0; MOST];
    let mut length = 0;
    loop {
        match gunzip.read(&mut source, &mut buffer[length..]) {
            Ok(0) if length < MOST => return Ok(Chunk { buffer, length, read: false }),
            Ok(0) => return Err(Error::Corrupt { offset }),
            Ok(count) => length += count,
            Err(error) => return Err(error.moved(offset)),
        }
    }
}

/// Reads the file and cuts it.
struct Splitter<R> {
    source: Source<R>,
    jobs: Vec<SyncSender<Job>>,
    turn: usize,
    spares: Receiver<Vec<u8>>,
    /// Buffers of chunks that this thread has filled.
    back: Receiver<Vec<u8>>,
    progress: Arc<Progress>,
}

impl<R: Read> Splitter<R> {
    /// The measure of the whole file; `None` where something was wrong, which was passed on, or nobody listens.
    fn run(mut self, format: Format, mut hand: Hand) -> Option<Measure> {
        let mut gunzip = Gunzip::default();
        let mut unzstd = Unzstd::default();
        let mut seen = 0;
        loop {
            let job = match format {
                Format::Gzip => self.gzip(&mut gunzip),
                Format::Zstd => self.zstd(&mut unzstd),
                Format::Plain => self.fill(|source, out| source.read(out)),
            };
            let bytes = self.source.bytes();
            hand.passed(usize::try_from(bytes - seen).unwrap_or(0));
            seen = bytes;
            let job = match job {
                Ok(None) => return Some(self.source.measure()),
                Ok(Some(job)) => job,
                Err(error) => Job::Failed(error),
            };
            self.progress.set_stored(bytes);
            let failed = matches!(job, Job::Failed(_));
            let turn = self.turn;
            self.turn = (turn + 1) % self.jobs.len();
            if hand.blocked(|| self.jobs[turn].send(job)).is_err() || failed {
                return None;
            }
        }
    }

    fn gzip(&mut self, gunzip: &mut Gunzip) -> Result<Option<Job>, Error> {
        if !gunzip.is_inside()
            && let Some(length) = gzip::length(self.source.peek_at_least(gzip::HEAD)?)
        {
            let offset = self.source.offset();
            let mut bytes = self.spare();
            self.source.take(length, &mut bytes)?;
            gunzip.count_member();
            return Ok(Some(Job::Whole { coding: Coding::Member, bytes, offset }));
        }
        self.fill(|source, out| gunzip.read(source, out))
    }

    fn zstd(&mut self, unzstd: &mut Unzstd) -> Result<Option<Job>, Error> {
        loop {
            if !unzstd.is_inside() {
                let offset = self.source.offset();
                let head = self.source.peek_at_least(zstd::HEADER)?;
                if head.is_empty() {
                    return Ok(None);
                }
                match zstd::next(head) {
                    Next::Foreign => return Err(Error::TrailingGarbage { offset }),
                    Next::Skippable(length) => {
                        self.source.skip(length)?;
                        continue;
                    }
                    Next::Large => {}
                    Next::Frame { header, checksum } => {
                        let mut bytes = self.spare();
                        self.frame(header, checksum, offset, &mut bytes)?;
                        return Ok(Some(Job::Whole { coding: Coding::Frame, bytes, offset }));
                    }
                }
            }
            // Nothing: an empty frame went by.
            if let Some(job) = self.fill(|source, out| unzstd.read(source, out))? {
                return Ok(Some(job));
            }
        }
    }

    /// Reads a frame: header, blocks to the last one, checksum.
    fn frame(&mut self, header: usize, checksum: bool, offset: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.source.take(header, bytes)?;
        let mut last = false;
        while !last {
            let at = bytes.len();
            self.source.take(3, bytes)?;
            let head = [bytes[at], bytes[at + 1], bytes[at + 2]];
            let (length, is_last) = zstd::block(head).ok_or(Error::Corrupt { offset })?;
            // A block of SQL and what its worst case adds: more is no frame of that size.
            if bytes.len() + length > 2 * BLOCK {
                return Err(Error::Corrupt { offset });
            }
            self.source.take(length, bytes)?;
            last = is_last;
        }
        self.source.take(if checksum { 4 } else { 0 }, bytes)
    }

    /// A buffer for stored bytes, empty.
    fn spare(&mut self) -> Vec<u8> {
        let mut bytes = self.spares.try_recv().unwrap_or_default();
        bytes.clear();
        bytes
    }

    /// A chunk of SQL, as large as it gets at once.
    fn fill(
        &mut self,
        mut read: impl FnMut(&mut Source<R>, &mut [u8]) -> Result<usize, Error>,
    ) -> Result<Option<Job>, Error> {
        let mut buffer = self.back.try_recv().unwrap_or_else(|_| vec![0; BLOCK / 4]);
        let length = read(&mut self.source, &mut buffer)?;
        Ok((length > 0).then_some(Job::Plain(Chunk { buffer, length, read: true })))
    }
}
