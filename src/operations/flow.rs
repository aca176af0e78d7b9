//! Moving bytes: from a program into the stages of a dump, through the inspector alone, and from a file into a program.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Context, Error};
use crate::domain::event::Event;
use crate::dump::{self, DumpWriter, Inspector, Progress, Proof, Scan, Written};
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
        Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(TELL_EVERY);
            loop {
                tick.tick().await;
                observer.event(Event::Progress {
                    bytes: progress.plain_bytes(),
                    table: Some(progress.table()).filter(|t| !t.is_empty()),
                });
            }
        }))
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Moves the output of a dump program through all stages into a draft. An error of the program drops the stages with
/// what they hold: nothing that comes after can take a failed dump for a whole one.
pub(super) async fn write_dump(
    context: &Context,
    mut running: Running,
    mut writer: DumpWriter<Box<dyn Draft>>,
) -> Result<(Written<Box<dyn Draft>>, String), Error> {
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
                if let Err(error) = writer.feed(bytes).await {
                    running.abort().await;
                    return Err(error.into());
                }
            }
            None => return Ok((writer.finish().await?, running.stderr())),
        }
    }
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
pub(super) async fn prove(context: &Context, reader: Reader, limit: Option<u64>) -> Result<Proof, Error> {
    let progress = Arc::new(Progress::default());
    let _teller = Teller::start(context, &progress);
    let reading = Arc::clone(&progress);
    let mut task = tokio::task::spawn_blocking(move || dump::prove(reader, limit, &reading));
    tokio::select! {
        result = &mut task => Ok(result??),
        () = context.cancel.cancelled() => {
            progress.stop();
            Err(Error::Cancelled)
        }
    }
}
