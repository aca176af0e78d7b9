//! The way out: inspect and hash the SQL, compress it on several threads, write what comes out, and prove behind that
//! what was written.
//!
//! ```text
//! feed --(bounded)--> inspect, sha256 --(a queue a worker)--> compress × N --(a queue a worker)--> write --> prove
//! ```
//! Blocks go to the workers in turn and are fetched in the same turn, so they stay in order without sorting. A piece of
//! input that is a whole block travels without being copied; buffers go back to whom they came from.
//! Each stage that ends drops its queues, which ends its neighbours: a write error travels up to
//! [`DumpWriter::feed`], an abandoned writer travels down to the file. Whether the dump is whole is in the
//! [`Scan`], and for the caller to ask; naming the file is not done here.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::compression::Compression;
use crate::domain::manifest::Measure;
use crate::dump::decode::Coding;
use crate::dump::encode::{BLOCK, Encoder, Ending};
use crate::dump::error::Error;
use crate::dump::inspect::Inspector;
use crate::dump::measure::Meter;
use crate::dump::progress::Progress;
use crate::dump::prove::{self, Block, Echo, Expected};
use crate::dump::scan::Scan;
use crate::dump::stage::{Clocks, Hand, StageClock};
use crate::dump::threads::{MAX_WORKERS, spawn};

/// Pieces that wait for the inspector.
const QUEUE: usize = 4;

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that compress, 1 to 6.
    pub workers: usize,
    /// Format and level.
    pub compression: Compression,
}

impl Default for Options {
    /// A worker for each processor, at most four.
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(2, |n| n.get().min(4));
        Self { workers, compression: Compression::default() }
    }
}

/// What was written.
#[derive(Debug)]
pub struct Written<W> {
    /// Where it was written; flushed.
    pub out: W,
    /// The compressed bytes: as they were read back, where there was an [`Echo`].
    pub stored: Measure,
    /// The SQL.
    pub plain: Measure,
    /// What is in it. Ask [`Scan::complete`] before you keep the file.
    pub scan: Scan,
}

/// Writes a dump. See the module.
pub struct DumpWriter<W> {
    input: mpsc::Sender<Feed>,
    result: oneshot::Receiver<Result<Written<W>, Error>>,
    clocks: Clocks,
    read: Hand,
}

enum Feed {
    Data(Bytes),
    End,
}

/// What the first stage knows at the end.
struct Inspected {
    scan: Scan,
    plain: Measure,
    blocks: u64,
}

/// A block on its way to a worker.
struct Job {
    number: u64,
    plain: Piece,
}

/// Bytes of a block.
enum Piece {
    /// As they came.
    Shared(Bytes),
    /// Put together; goes back to the inspector.
    Own(Vec<u8>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

/// What a worker made of a block.
struct Member {
    bytes: Stored,
    digest: u128,
    block: Block,
}

enum Stored {
    /// So many bytes of a buffer, which goes back to its worker.
    Encoded(Vec<u8>, usize),
    Same(Piece),
}

impl Stored {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Encoded(buffer, length) => &buffer[..*length],
            Self::Same(piece) => piece.bytes(),
        }
    }
}

impl<W: Write + Send + 'static> DumpWriter<W> {
    /// Starts the threads. With an `echo` of the file everything is made durable and read back behind the writer.
    ///
    /// # Errors
    /// [`Error::Threads`] when the system gives none; those that were started end. [`Error::Compressor`].
    pub fn start(out: W, options: Options, progress: Arc<Progress>, echo: Option<Echo>) -> Result<Self, Error> {
        let mut clocks = Clocks::default();
        let read = clocks.stage("read").begin();
        let (inspect_clock, compress_clock) = (clocks.stage("inspect"), clocks.stage("compress"));
        let write_clock = clocks.stage("write");
        let (input, fed) = mpsc::channel(QUEUE);
        let (sender, result) = oneshot::channel();
        let (recycle, recycled) = channel();
        let (mut jobs, mut members) = (Vec::new(), Vec::new());
        for _ in 0..options.workers.clamp(1, MAX_WORKERS) {
            let (worker, jobs_end, members_end) = Worker::new(options.compression, recycle.clone())?;
            let clock = Arc::clone(&compress_clock);
            spawn("dump-compress", move || worker.run(clock.begin()))?;
            jobs.push(jobs_end);
            members.push(members_end);
        }
        let proof = echo.map(|echo| Prover::start(echo, &mut clocks)).transpose()?;
        let (inspected_sender, inspected) = channel();
        let ending = Ending::new(options.compression);
        let outlet = Outlet { members, inspected, progress: Arc::clone(&progress), ending, proof };
        spawn("dump-write", move || {
            // An abandoned dump: `out` is gone by now, and the closed channel says so.
            if let Some(written) = outlet.run(out, write_clock.begin()).transpose() {
                let _ = sender.send(written);
            }
        })?;
        let inlet = Inlet::new(jobs, recycled, progress, &inspect_clock);
        spawn("dump-inspect", move || {
            if let Some(end) = inlet.run(fed) {
                let _ = inspected_sender.send(end);
            }
        })?;
        Ok(Self { input, result, clocks, read })
    }

    /// Takes the next bytes of the dump; waits while the stages are busy. Memory holds up to four of what is
    /// given here, so pieces should have a megabyte at most; pieces of exactly [`BLOCK`] bytes are not copied. When the
    /// future is dropped before it is done, its bytes are lost: abort the dump then.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::ReadBack`]: what was queued is thrown away, and there is nothing more to feed.
    pub async fn feed(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.read.passed(bytes.len());
        let from = Instant::now();
        let sent = self.input.send(Feed::Data(bytes)).await;
        self.read.was_blocked(from);
        match sent {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// The dump has ended: everything that was fed is compressed, written and flushed, and read back where there is an
    /// [`Echo`].
    ///
    /// # Errors
    /// As [`DumpWriter::feed`]; the file is dropped.
    pub async fn finish(self) -> Result<Written<W>, Error> {
        let Self { input, result, read, .. } = self;
        drop(read);
        // When the stages are gone, their result says why.
        let _ = input.send(Feed::End).await;
        drop(input);
        result.await.unwrap_or(Err(Error::Stopped))
    }

    /// Gives the dump up and waits until the threads have let go of the file. Dropping does the same without
    /// waiting.
    pub async fn abort(self) {
        drop(self.input);
        let _ = self.result.await;
    }

    /// The clocks of the stages: their times so far, at any moment.
    #[must_use]
    pub fn clocks(&self) -> Clocks {
        self.clocks.clone()
    }

    async fn failure(&mut self) -> Error {
        match (&mut self.result).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => Error::Stopped,
        }
    }
}

/// Inspects and hashes the SQL, and cuts it into blocks.
struct Inlet {
    inspector: Inspector,
    meter: Meter,
    block: Vec<u8>,
    blocks: u64,
    workers: Vec<SyncSender<Job>>,
    recycled: Receiver<Vec<u8>>,
    progress: Arc<Progress>,
    hand: Hand,
}

impl Inlet {
    fn new(
        workers: Vec<SyncSender<Job>>,
        recycled: Receiver<Vec<u8>>,
        progress: Arc<Progress>,
        clock: &Arc<StageClock>,
    ) -> Self {
        Self {
            inspector: Inspector::new(),
            meter: Meter::default(),
            block: Vec::new(),
            blocks: 0,
            workers,
            recycled,
            progress,
            hand: clock.begin(),
        }
    }

    /// `None` when the writer was abandoned or a later stage is gone.
    fn run(mut self, mut fed: mpsc::Receiver<Feed>) -> Option<Inspected> {
        while let Feed::Data(bytes) = self.hand.starved(|| fed.blocking_recv())? {
            self.hand.passed(bytes.len());
            self.take(bytes)?;
        }
        if !self.block.is_empty() {
            self.pass_block_on()?;
        }
        Some(Inspected { scan: self.inspector.finish(), plain: self.meter.finish(), blocks: self.blocks })
    }

    fn take(&mut self, mut bytes: Bytes) -> Option<()> {
        self.inspector.feed(&bytes);
        self.meter.update(&bytes);
        self.progress.set_plain(self.meter.bytes());
        self.progress.set_table(self.inspector.current_table());
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= BLOCK {
                let whole = bytes.split_to(BLOCK);
                self.pass_on(Piece::Shared(whole))?;
                continue;
            }
            let part = bytes.split_to(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(&part);
            if self.block.len() == BLOCK {
                self.pass_block_on()?;
            }
        }
        Some(())
    }

    fn pass_block_on(&mut self) -> Option<()> {
        let mut next = self.recycled.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        next.clear();
        let block = std::mem::replace(&mut self.block, next);
        self.pass_on(Piece::Own(block))
    }

    fn pass_on(&mut self, plain: Piece) -> Option<()> {
        let turn = usize::try_from(self.blocks % self.workers.len() as u64).ok()?;
        let job = Job { number: self.blocks, plain };
        self.blocks += 1;
        self.hand.blocked(|| self.workers[turn].send(job)).ok()
    }
}

/// Compresses blocks: ends when either neighbour does.
struct Worker {
    encoder: Encoder,
    coding: Option<Coding>,
    jobs: Receiver<Job>,
    members: SyncSender<Result<Member, Error>>,
    /// Blocks go back to the inspector,
    recycle: Sender<Vec<u8>>,
    /// members come back from the writer.
    recycled: Receiver<Vec<u8>>,
}

/// The end of a worker at the writer.
struct Output {
    members: Receiver<Result<Member, Error>>,
    recycle: Sender<Vec<u8>>,
}

impl Worker {
    fn new(compression: Compression, recycle: Sender<Vec<u8>>) -> Result<(Self, SyncSender<Job>, Output), Error> {
        let (job_sender, jobs) = sync_channel(1);
        let (members, member_receiver) = sync_channel(1);
        let (recycle_member, recycled) = channel();
        let coding = match compression {
            Compression::Gzip { .. } => Some(Coding::Member),
            Compression::Zstd { .. } => Some(Coding::Frame),
            Compression::None => None,
        };
        let worker = Self { encoder: Encoder::new(compression)?, coding, jobs, members, recycle, recycled };
        Ok((worker, job_sender, Output { members: member_receiver, recycle: recycle_member }))
    }

    fn run(mut self, mut hand: Hand) {
        while let Ok(job) = hand.starved(|| self.jobs.recv()) {
            hand.passed(job.plain.bytes().len());
            let member = self.work(job);
            let failed = member.is_err();
            if hand.blocked(|| self.members.send(member)).is_err() || failed {
                return;
            }
        }
    }

    fn work(&mut self, job: Job) -> Result<Member, Error> {
        let mut buffer = self.recycled.try_recv().unwrap_or_default();
        let plain = job.plain.bytes();
        let length = self.encoder.encode(job.number, plain, &mut buffer)?;
        let block = Block { coding: self.coding, plain: plain.len(), digest: xxh3_128(plain) };
        let (bytes, digest) = match length {
            None => (Stored::Same(job.plain), block.digest),
            Some(length) => {
                if let Piece::Own(own) = job.plain {
                    // Nobody needs the buffer after the last block.
                    let _ = self.recycle.send(own);
                }
                let digest = xxh3_128(&buffer[..length]);
                (Stored::Encoded(buffer, length), digest)
            }
        };
        Ok(Member { bytes, digest, block })
    }
}

/// The thread behind the writer.
struct Prover {
    /// `None` once no more come.
    pieces: Option<Sender<Expected>>,
    proof: Receiver<Result<Measure, Error>>,
    abandoned: Arc<AtomicBool>,
}

impl Prover {
    fn start(echo: Echo, clocks: &mut Clocks) -> Result<Self, Error> {
        let (sync, hand) = (clocks.stage("sync").begin(), clocks.stage("prove").begin());
        let (pieces, received) = channel();
        let (sender, proof) = channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let left = Arc::clone(&abandoned);
        spawn("dump-prove", move || {
            let proof = prove::follow(echo, &received, &left, sync, hand);
            // Before the result, so that whoever has it knows that no more pieces are taken.
            drop(received);
            let _ = sender.send(proof);
        })?;
        Ok(Self { pieces: Some(pieces), proof, abandoned })
    }

    /// Whether there is still somebody to take it.
    fn pass(&self, piece: Expected) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| pieces.send(piece).is_ok())
    }

    fn finish(mut self) -> Result<Measure, Error> {
        self.pieces = None;
        self.proof.recv().unwrap_or(Err(Error::Stopped))
    }
}

impl Drop for Prover {
    /// A dump that is given up is not read to its end: it has lost its name, and would hold its room on the disk as long as that takes.
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.pieces = None;
        // Until it has let go of the file, and after a proof at once.
        let _ = self.proof.recv();
    }
}

/// Writes the members in order.
struct Outlet {
    members: Vec<Output>,
    inspected: Receiver<Inspected>,
    progress: Arc<Progress>,
    ending: Ending,
    proof: Option<Prover>,
}

impl Outlet {
    /// `Ok(None)` when the writer was abandoned.
    fn run<W: Write>(mut self, mut out: W, mut hand: Hand) -> Result<Option<Written<W>>, Error> {
        let mut meter = Meter::default();
        let mut stored = 0;
        let mut blocks = 0;
        for turn in (0..self.members.len()).cycle() {
            let Ok(member) = hand.starved(|| self.members[turn].members.recv()) else { break };
            let Member { bytes, digest, block } = member?;
            let length = bytes.bytes().len();
            hand.passed(length);
            self.ending.add(length, block.plain);
            let expected = Expected { stored: length, stored_digest: digest, block: Some(block) };
            stored += length as u64;
            if self.write(&mut out, &mut meter, bytes.bytes(), expected)? {
                // The prover has ended before the dump: it says why.
                return Err(self.proof.take().map_or(Error::Stopped, |p| p.finish().err().unwrap_or(Error::Stopped)));
            }
            self.progress.set_stored(stored);
            if let Stored::Encoded(buffer, _) = bytes {
                let _ = self.members[turn].recycle.send(buffer);
            }
            blocks += 1;
        }
        let Ok(inspected) = hand.starved(|| self.inspected.recv()) else { return Ok(None) };
        if inspected.blocks != blocks {
            return Err(Error::Stopped);
        }
        let padded = inspected.scan.complete().is_ok() && !inspected.scan.is_empty();
        let ending = std::mem::replace(&mut self.ending, Ending::Plain);
        if let Some(last) = ending.finish(stored, padded) {
            let expected = Expected { stored: last.len(), stored_digest: xxh3_128(&last), block: None };
            self.write(&mut out, &mut meter, &last, expected)?;
            self.progress.set_stored(stored + last.len() as u64);
        }
        out.flush().map_err(|source| Error::Write { source })?;
        let Inspected { scan, plain, .. } = inspected;
        let stored = match self.proof.take() {
            Some(prover) => hand.blocked(|| prover.finish())?,
            None => meter.finish(),
        };
        Ok(Some(Written { out, stored, plain, scan }))
    }

    /// Whether the prover is gone.
    fn write<W: Write>(&self, out: &mut W, meter: &mut Meter, bytes: &[u8], expected: Expected) -> Result<bool, Error> {
        out.write_all(bytes).map_err(|source| Error::Write { source })?;
        match &self.proof {
            // What is read back is hashed there.
            Some(prover) => Ok(!prover.pass(expected)),
            None => {
                meter.update(bytes);
                Ok(false)
            }
        }
    }
}
