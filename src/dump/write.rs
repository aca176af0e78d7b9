//! The way out: inspect and hash the SQL, compress it on several threads, hash and write what comes out.
//!
//! ```text
//! feed --(bounded)--> inspect, sha256 --(a queue a worker)--> compress × N --(a queue a worker)--> sha256, write
//! ```
//! Blocks go to the workers in turn and are fetched in the same turn, so they stay in order without sorting.
//! Each stage that ends drops its queues, which ends its neighbours: a write error travels up to
//! [`DumpWriter::feed`], an abandoned writer travels down to the file. Whether the dump is whole is in the
//! [`Scan`], and for the caller to ask; syncing and naming the file are not done here.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::domain::manifest::Measure;
use crate::dump::compress::{BLOCK, DEFAULT_LEVEL, Members, last_member};
use crate::dump::error::Error;
use crate::dump::inspect::Inspector;
use crate::dump::measure::Meter;
use crate::dump::progress::Progress;
use crate::dump::scan::Scan;

/// Chunks that wait for the inspector.
const QUEUE: usize = 8;
/// The most workers that are started: each holds up to 5 MiB.
const MAX_WORKERS: usize = 6;

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that compress, 1 to 6.
    pub workers: usize,
    /// Level of deflate, 1 to 12.
    pub level: u8,
}

impl Default for Options {
    /// A worker for each processor, at most four.
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(2, |n| n.get().min(4));
        Self { workers, level: DEFAULT_LEVEL }
    }
}

/// What was written.
#[derive(Debug)]
pub struct Written<W> {
    /// Where it was written; flushed, not synced.
    pub out: W,
    /// The compressed bytes.
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

impl<W: Write + Send + 'static> DumpWriter<W> {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Threads`] when the system gives none; those that were started end.
    pub fn start(out: W, options: Options, progress: Arc<Progress>) -> Result<Self, Error> {
        let (input, fed) = mpsc::channel(QUEUE);
        let (sender, result) = oneshot::channel();
        let (recycle, recycled) = channel();
        let (mut blocks, mut members) = (Vec::new(), Vec::new());
        for _ in 0..options.workers.clamp(1, MAX_WORKERS) {
            let (block_sender, block_receiver) = sync_channel(1);
            let (member_sender, member_receiver) = sync_channel(1);
            let recycle = recycle.clone();
            spawn("dump-compress", move || compress(options.level, &block_receiver, &member_sender, &recycle))?;
            blocks.push(block_sender);
            members.push(member_receiver);
        }
        let (inspected_sender, inspected) = channel();
        let outlet = Outlet { members, inspected, progress: Arc::clone(&progress) };
        spawn("dump-write", move || {
            // An abandoned dump: `out` is gone by now, and the closed channel says so.
            if let Some(written) = outlet.run(out).transpose() {
                let _ = sender.send(written);
            }
        })?;
        let inlet = Inlet::new(blocks, recycled, progress);
        spawn("dump-inspect", move || {
            if let Some(end) = inlet.run(fed) {
                let _ = inspected_sender.send(end);
            }
        })?;
        Ok(Self { input, result })
    }

    /// Takes the next bytes of the dump; waits while the stages are busy. Memory holds up to eight of what is
    /// given here, so chunks should stay below a few hundred kilobytes. When the future is dropped before it is done, its bytes are
    /// lost: abort the dump then.
    ///
    /// # Errors
    /// [`Error::Write`]: what was queued is thrown away, and there is nothing more to feed.
    pub async fn feed(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self.input.send(Feed::Data(bytes)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// The dump has ended: everything that was fed is compressed, written and flushed.
    ///
    /// # Errors
    /// [`Error::Write`]; the file is dropped.
    pub async fn finish(self) -> Result<Written<W>, Error> {
        // When the stages are gone, their result says why.
        let _ = self.input.send(Feed::End).await;
        drop(self.input);
        self.result.await.unwrap_or(Err(Error::Stopped))
    }

    /// Gives the dump up and waits until the threads have let go of the file. Dropping does the same without
    /// waiting.
    pub async fn abort(self) {
        drop(self.input);
        let _ = self.result.await;
    }

    async fn failure(&mut self) -> Error {
        match (&mut self.result).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => Error::Stopped,
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let handle = thread::Builder::new().name(name.to_owned()).spawn(work);
    handle.map(drop).map_err(|source| Error::Threads { source })
}

/// Inspects and hashes the SQL, and cuts it into blocks.
struct Inlet {
    inspector: Inspector,
    meter: Meter,
    block: Vec<u8>,
    blocks: u64,
    workers: Vec<SyncSender<Vec<u8>>>,
    recycled: Receiver<Vec<u8>>,
    progress: Arc<Progress>,
}

impl Inlet {
    fn new(workers: Vec<SyncSender<Vec<u8>>>, recycled: Receiver<Vec<u8>>, progress: Arc<Progress>) -> Self {
        Self {
            inspector: Inspector::new(),
            meter: Meter::default(),
            block: Vec::new(),
            blocks: 0,
            workers,
            recycled,
            progress,
        }
    }

    /// `None` when the writer was abandoned or a later stage is gone.
    fn run(mut self, mut fed: mpsc::Receiver<Feed>) -> Option<Inspected> {
        while let Feed::Data(bytes) = fed.blocking_recv()? {
            self.take(&bytes)?;
        }
        if !self.block.is_empty() {
            self.pass_on()?;
        }
        Some(Inspected { scan: self.inspector.finish(), plain: self.meter.finish(), blocks: self.blocks })
    }

    fn take(&mut self, bytes: &[u8]) -> Option<()> {
        self.inspector.feed(bytes);
        self.meter.update(bytes);
        self.progress.set_plain(self.meter.bytes());
        self.progress.set_table(self.inspector.current_table());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(rest.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(part);
            if self.block.len() == BLOCK {
                self.pass_on()?;
            }
            rest = later;
        }
        Some(())
    }

    fn pass_on(&mut self) -> Option<()> {
        let mut next = self.recycled.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        next.clear();
        let block = std::mem::replace(&mut self.block, next);
        let turn = usize::try_from(self.blocks % self.workers.len() as u64).ok()?;
        self.blocks += 1;
        self.workers[turn].send(block).ok()
    }
}

/// A worker: ends when either neighbour does.
fn compress(level: u8, blocks: &Receiver<Vec<u8>>, members: &SyncSender<Vec<u8>>, recycle: &Sender<Vec<u8>>) {
    let mut maker = Members::new(level);
    while let Ok(block) = blocks.recv() {
        let Some(member) = maker.make(&block) else { return };
        // Nobody needs the buffer after the last block.
        let _ = recycle.send(block);
        if members.send(member).is_err() {
            return;
        }
    }
}

/// Hashes and writes the members in order.
struct Outlet {
    members: Vec<Receiver<Vec<u8>>>,
    inspected: Receiver<Inspected>,
    progress: Arc<Progress>,
}

impl Outlet {
    /// `Ok(None)` when the writer was abandoned.
    fn run<W: Write>(self, mut out: W) -> Result<Option<Written<W>>, Error> {
        let mut meter = Meter::default();
        let mut blocks = 0;
        for turn in (0..self.members.len()).cycle() {
            let Ok(member) = self.members[turn].recv() else { break };
            self.write(&mut out, &mut meter, &member)?;
            blocks += 1;
        }
        let Ok(inspected) = self.inspected.recv() else { return Ok(None) };
        if inspected.blocks != blocks {
            return Err(Error::Stopped);
        }
        let padded = inspected.scan.complete().is_ok() && !inspected.scan.is_empty();
        if let Some(last) = last_member(meter.bytes(), padded) {
            self.write(&mut out, &mut meter, &last)?;
        }
        out.flush().map_err(|source| Error::Write { source })?;
        let Inspected { scan, plain, .. } = inspected;
        Ok(Some(Written { out, stored: meter.finish(), plain, scan }))
    }

    fn write<W: Write>(&self, out: &mut W, meter: &mut Meter, bytes: &[u8]) -> Result<(), Error> {
        out.write_all(bytes).map_err(|source| Error::Write { source })?;
        meter.update(bytes);
        self.progress.set_stored(meter.bytes());
        Ok(())
    }
}
