//! The new database: made, loaded, dressed as the live one, and compared with the backup.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rust_i18n::t;
use tokio::sync::mpsc;

use super::{Plan, model, new_mark};
use crate::database::{self, Loading, MarkRole};
use crate::domain::compare::{Comparison, compare as compare_contents};
use crate::domain::manifest::{DatabaseRecord, Measure, Owners};
use crate::domain::run::RunId;
use crate::domain::timings::Timings;
use crate::dump::{self, Chunks, Clocks, Progress};
use crate::operations::flow::{self, Teller};
use crate::operations::{Context, Error};
use crate::runner::Feed;

/// Chunks of a megabyte between the file and psql.
const QUEUE: usize = 2;

/// How many differences an error names; the report has all.
const NAMED: usize = 3;

pub(super) async fn create(context: &Context, plan: &Plan, run: &RunId, new: &str) -> Result<(), Error> {
    if context.database.facts(new).await?.is_some() {
        return Err(Error::Exists { database: new.to_owned() });
    }
    let role = if plan.request.into.is_some() { MarkRole::Side } else { MarkRole::New };
    let mark = new_mark(context, role, run, &plan.database, context.clock.now(), None);
    let standard = DatabaseRecord { encoding: "UTF8".to_owned(), ..DatabaseRecord::default() };
    context.database.create(new, model(plan).unwrap_or(&standard), &mark).await?;
    Ok(())
}

/// How a database was loaded.
pub(super) struct Loaded {
    pub timings: Timings,
    /// How its bytes travelled.
    pub lane: &'static str,
}

/// Sends the file through psql. What is loaded is hashed again on its way: it must be what was checked before.
pub(super) async fn load(context: &Context, plan: &Plan, run: &RunId, new: &str) -> Result<Loaded, Error> {
    context.stage("load", Some(plan.proof.plain.bytes));
    let reader = plan.store.open(&plan.file).await?;
    let progress = Arc::new(Progress::default());
    let _teller = Teller::start(context, &progress);
    let (sender, input) = mpsc::channel(QUEUE);
    let (skip, expected, limit) = (plan.proof.scan.skip.clone(), plan.proof.stored.clone(), plan.proof.plain.bytes);
    let workers = context.rules.workers;
    let feeder = tokio::task::spawn_blocking(move || {
        let mut clocks = Clocks::default();
        let chunks = dump::chunks(reader, skip, workers, &mut clocks)?;
        feed(chunks, (&expected, limit), &sender, &progress, &mut clocks)?;
        Ok::<_, Error>(clocks.read())
    });
    let loading = match context.database.load(run, new, input).await {
        Ok(loading) => loading,
        Err(error) => return Err(error.into()),
    };
    let lane = loading.running.lane();
    let loaded = drain(context, new, loading).await;
    // psql's own words come first: a feeder that met a closed pipe only says that.
    match (loaded, feeder.await?) {
        (Err(Error::Runner(crate::runner::Error::Aborted)), Err(error)) => Err(error),
        (Err(error), _) | (Ok(()), Err(error)) => Err(error),
        (Ok(()), Ok(timings)) => Ok(Loaded { timings, lane }),
    }
}

fn feed(
    mut chunks: Chunks,
    (expected, limit): (&Measure, u64),
    sender: &mpsc::Sender<Feed>,
    progress: &Progress,
    clocks: &mut Clocks,
) -> Result<(), Error> {
    let mut hand = clocks.stage("load").begin();
    let mut sent = 0;
    while let Some(chunk) = hand.starved(|| chunks.next()) {
        let chunk: Bytes = chunk?;
        sent += chunk.len() as u64;
        // Another file than was checked, and maybe one without an end.
        if sent > limit {
            return Err(changed());
        }
        hand.passed(chunk.len());
        progress.set_plain(sent);
        // The time that psql takes is this stage's work.
        if sender.blocking_send(Feed::Data(chunk)).is_err() {
            return Ok(());
        }
    }
    if chunks.measures()?.0 != *expected {
        return Err(changed());
    }
    // A closed channel means that psql has ended, which `drain` explains.
    let _ = sender.blocking_send(Feed::End);
    Ok(())
}

fn changed() -> Error {
    Error::Changed { what: t!("operations.what.plain").into_owned() }
}

/// Reads what psql prints until it ends; the last word must be the nonce.
async fn drain(context: &Context, database: &str, loading: Loading) -> Result<(), Error> {
    let Loading { mut running, nonce } = loading;
    let mut tail: VecDeque<u8> = VecDeque::new();
    loop {
        let chunk = tokio::select! {
            chunk = running.next() => chunk,
            () = context.cancel.cancelled() => {
                running.abort().await;
                return Err(Error::Cancelled);
            }
        };
        match chunk {
            Ok(Some(bytes)) => {
                tail.extend(&bytes[bytes.len().saturating_sub(256)..]);
                let excess = tail.len().saturating_sub(256);
                tail.drain(..excess);
            }
            Ok(None) => break,
            Err(crate::runner::Error::Aborted) => return Err(crate::runner::Error::Aborted.into()),
            Err(error) => return Err(context.database.explain(database, error).await.into()),
        }
    }
    let text: Vec<u8> = tail.into_iter().collect();
    if String::from_utf8_lossy(&text).trim_end().ends_with(&nonce) {
        return Ok(());
    }
    Err(database::Error::InputCut.into())
}

/// Owner, grants, settings, connection limit; for a file without owners also those of its objects.
pub(super) async fn dress(context: &Context, plan: &Plan, new: &str) -> Result<(), Error> {
    context.check_cancelled()?;
    let live = plan.live.as_ref().map(|l| l.record.name.as_str());
    if let Some(owner) = &plan.adopt {
        context.or_cancelled(context.database.adopt_owners(new, live, owner)).await?;
    }
    if let Some(record) = model(plan) {
        context.database.copy_properties(new, record).await?;
    }
    Ok(())
}

/// Dumps the new database through the inspector alone and compares it with the backup.
pub(super) async fn compare(context: &Context, plan: &Plan, run: &RunId, new: &str) -> Result<Comparison, Error> {
    context.stage("compare", Some(plan.proof.plain.bytes));
    let owners = match &plan.manifest {
        Some(manifest) => manifest.owners,
        None if plan.adopt.is_some() => Owners::Omitted,
        None => Owners::Kept,
    };
    let progress = Arc::new(Progress::default());
    let _teller = Teller::start(context, &progress);
    let running = context.database.dump(run, new, owners).await?;
    let scan = match flow::inspect(context, running, progress).await {
        Err(Error::Runner(error)) => return Err(context.database.explain(new, error).await.into()),
        other => other?,
    };
    let comparison = compare_contents(&plan.proof.scan.content, &scan.content);
    if comparison.is_equal() {
        return Ok(comparison);
    }
    keep_different(context, plan, run, new).await;
    let first: Vec<String> = comparison.differences.iter().take(NAMED).map(ToString::to_string).collect();
    for difference in &comparison.differences {
        context.warn(difference.to_string());
    }
    Err(Error::Differs { database: new.to_owned(), count: comparison.differences.len(), first: first.join("; ") })
}

/// Both stay: the live database as it is, the different one for people to look at (fault 78).
async fn keep_different(context: &Context, plan: &Plan, run: &RunId, new: &str) {
    let now = context.clock.now();
    let mark = new_mark(context, MarkRole::Differs, run, &plan.database, now, Some(now + context.rules.undo));
    if let Err(error) = context.database.mark(new, &mark).await {
        context.warn(error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much was sent, and whether the end was said.
    fn sent(sql: &'static str, expected: &Measure, limit: u64) -> (usize, bool, Result<(), Error>) {
        let (sender, mut receiver) = mpsc::channel(64);
        let mut clocks = Clocks::default();
        let chunks = dump::chunks(sql.as_bytes(), Vec::new(), 1, &mut clocks).unwrap();
        let fed = feed(chunks, (expected, limit), &sender, &Progress::default(), &mut clocks);
        drop(sender);
        let (mut bytes, mut ended) = (0, false);
        while let Some(feed) = receiver.blocking_recv() {
            match feed {
                Feed::Data(chunk) => bytes += chunk.len(),
                Feed::End => ended = true,
            }
        }
        (bytes, ended, fed)
    }

    #[test]
    fn fault_33_a_file_that_grew_after_its_check_is_fed_no_further_than_it_was() {
        const SQL: &str = "--\n-- PostgreSQL database dump\n--\n\nselect 1;\n";
        let whole = dump::measure(SQL.as_bytes());
        let (bytes, ended, fed) = sent(SQL, &whole, whole.bytes);
        assert!(fed.is_ok() && ended && bytes == SQL.len());
        let (bytes, ended, fed) = sent(SQL, &whole, whole.bytes - 1);
        assert!(matches!(fed, Err(Error::Changed { .. })) && !ended && bytes == 0);
        // Of the same length, with other bytes: known at the end only, and then no end is said.
        let (_, ended, fed) = sent(SQL, &dump::measure(b"another"), whole.bytes);
        assert!(matches!(fed, Err(Error::Changed { .. })) && !ended);
    }
}
