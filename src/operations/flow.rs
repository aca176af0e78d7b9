//! Moving bytes: from a program into the stages of a dump, through the inspector alone, and from a file into a program.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rust_i18n::t;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::{Context, Error};
use crate::domain::event::Event;
use crate::domain::timings::Timings;
use crate::dump::{self, Clocks, DumpWriter, Inspector, Progress, Proof, Scan, Written};
use crate::runner::Running;
use crate::store::{Draft, Reader};

/// How often a run tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Chunks between a program and the inspector: a few hundred kilobytes.
const QUEUE: usize = 16;

/// Tells how far a stage is until dropped.
pub(super) struct Teller(JoinHandle<()>);

impl Teller {
    pub(super) fn start(context: &Context, progress: &Arc<Progress>) -> Self {
        let (observer, progress) = (Arc::clone(&context.observer), Arc::clone(progress));
        let tell = async move {
            let mut tick = tokio::time::interval(TELL_EVERY);
            loop {
                tick.tick().await;
                observer.event(Event::Progress {
                    bytes: progress.plain_bytes(),
                    table: Some(progress.table()).filter(|t| !t.is_empty()),
                });
            }
        };
        Self(tokio::spawn(tell.in_current_span()))
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long a dump may be held back before that is said.
const HELD_BACK: Duration = Duration::from_secs(10);

/// What came out of a dump program and its stages.
pub(super) struct Dumped {
    pub written: Written<Box<dyn Draft>>,
    /// What the program said.
    pub stderr: String,
    /// How its bytes travelled.
    pub lane: &'static str,
    pub timings: Timings,
}

/// Moves the output of a dump program through all stages into a draft, and back from it. An error of the program drops
/// the stages with what they hold: nothing that comes after can take a failed dump for a whole one. `beside` is done while
/// the dump runs: not before its first bytes, because then the dump has its session, and a server that refuses one more is
/// asked again when it has ended. A failed dump does not wait for it.
pub(super) async fn write_dump<T, E, F: Future<Output = Result<T, E>>>(
    context: &Context,
    running: Running,
    writer: DumpWriter<Box<dyn Draft>>,
    beside: impl Fn() -> F,
) -> Result<(Dumped, Result<T, E>), Error> {
    let begun = Notify::new();
    let mut early = std::pin::pin!(async {
        begun.notified().await;
        beside().await
    });
    let mut all = std::pin::pin!(write_all(context, running, writer, &begun));
    let mut done = None;
    let dumped = loop {
        tokio::select! {
            dumped = &mut all => break dumped?,
            early = &mut early, if done.is_none() => done = Some(early),
        }
    };
    let early = match done {
        Some(done) => done,
        None => context.or_cancelled(async { Ok::<_, Error>(early.await) }).await?,
    };
    tell_held_back(context, &dumped.timings);
    let beside = match early {
        Ok(done) => Ok(done),
        Err(_) => context.or_cancelled(async { Ok::<_, Error>(beside().await) }).await?,
    };
    Ok((dumped, beside))
}

/// Until the file is proven; `begun` is told of the first bytes.
async fn write_all(
    context: &Context,
    mut running: Running,
    mut writer: DumpWriter<Box<dyn Draft>>,
    begun: &Notify,
) -> Result<Dumped, Error> {
    if let Err(error) = pump(context, &mut running, &mut writer, begun).await {
        running.abort().await;
        // Who tries again finds the room and the name free.
        writer.abort().await;
        return Err(error);
    }
    let (clocks, stderr, lane) = (writer.clocks(), running.stderr(), running.lane());
    drop(running);
    let written = context.or_cancelled(async { Ok::<_, Error>(writer.finish().await?) }).await?;
    Ok(Dumped { written, stderr, lane, timings: clocks.read() })
}

/// Until the program has ended with exit code 0.
async fn pump(
    context: &Context,
    running: &mut Running,
    writer: &mut DumpWriter<Box<dyn Draft>>,
    begun: &Notify,
) -> Result<(), Error> {
    context
        .or_cancelled(async {
            let mut next = running.next().await?;
            begun.notify_one();
            while let Some(bytes) = next {
                feed(context, writer, bytes).await?;
                next = running.next().await?;
            }
            Ok::<_, Error>(())
        })
        .await
}

/// Feeds, and says so where that holds the dump (and its snapshot in the database) for long.
async fn feed(context: &Context, writer: &mut DumpWriter<Box<dyn Draft>>, bytes: Bytes) -> Result<(), Error> {
    let clocks = writer.clocks();
    let mut fed = std::pin::pin!(writer.feed(bytes));
    if let Ok(fed) = tokio::time::timeout(HELD_BACK, &mut fed).await {
        return Ok(fed?);
    }
    let timings = clocks.read();
    context.warn(t!("backup.held_back_now", seconds = HELD_BACK.as_secs(), stage = stage_name(&timings)));
    Ok(fed.await?)
}

/// Says which stage it was, where the disk and not the compressor held the dump back.
fn tell_held_back(context: &Context, timings: &Timings) {
    let blocked = timings.stages.first().map_or(Duration::ZERO, |read| read.blocked);
    let disk = timings.slowest().is_some_and(|stage| matches!(stage.name, "write" | "sync" | "prove"));
    if disk && blocked >= HELD_BACK {
        context.warn(t!("backup.held_back", seconds = blocked.as_secs(), stage = stage_name(timings)));
    }
}

fn stage_name(timings: &Timings) -> String {
    timings.slowest().map(|stage| t!(format!("timings.{}", stage.name)).into_owned()).unwrap_or_default()
}

/// Moves the output of a dump program through the inspector alone: what a database holds, without storing it.
pub(super) async fn inspect(context: &Context, mut running: Running, progress: Arc<Progress>) -> Result<Scan, Error> {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(QUEUE);
    let inspector = tokio::task::spawn_blocking(move || {
        let mut inspector = Inspector::new();
        let mut bytes = 0;
        while let Some(chunk) = chunks.blocking_recv() {
            inspector.feed(&chunk);
            bytes += chunk.len() as u64;
            progress.set_plain(bytes);
            progress.set_table(inspector.current_table());
        }
        inspector.finish()
    });
    loop {
        let chunk = tokio::select! {
            chunk = running.next() => chunk,
            () = context.cancel.cancelled() => {
                running.abort().await;
                return Err(Error::Cancelled);
            }
        };
        match chunk? {
            Some(bytes) => {
                if sender.send(bytes).await.is_err() {
                    running.abort().await;
                    return Err(Error::Internal { cause: "inspector".to_owned() });
                }
            }
            None => break,
        }
    }
    drop(sender);
    let scan = inspector.await?;
    scan.complete()?;
    Ok(scan)
}

/// Reads a stored dump to its end through all checks; at most `limit` bytes of SQL.
pub(super) async fn prove(context: &Context, reader: Reader, limit: Option<u64>) -> Result<(Proof, Timings), Error> {
    let progress = Arc::new(Progress::default());
    let _teller = Teller::start(context, &progress);
    let (reading, workers) = (Arc::clone(&progress), context.rules.workers);
    let mut task = tokio::task::spawn_blocking(move || {
        let mut clocks = Clocks::default();
        dump::prove(reader, limit, workers, &reading, &mut clocks).map(|proof| (proof, clocks.read()))
    });
    tokio::select! {
        result = &mut task => Ok(result??),
        () = context.cancel.cancelled() => {
            progress.stop();
            Err(Error::Cancelled)
        }
    }
}
