//! What the start of every run and the supervisor do first, once the lock is theirs: finish or remove what an
//! interrupted run left, and reopen a database that a dead restore left closed.

use std::collections::BTreeSet;
use std::time::Duration;

use rust_i18n::t;

use super::restore::resume;
use super::{Context, Error, Remote, backup, erase, prune, remote};
use crate::domain::text::escape;
use crate::dump;
use crate::journal::intent::{Intent, Work};
use crate::store;

/// How long a second place may take where a run waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Mends what dead runs left. Called with the lock held, so nobody else is at it.
///
/// # Errors
/// [`Error`] when something could not be mended: it stays named in its intent, and the caller must not begin
/// anything that destroys.
pub async fn recover(context: &Context) -> Result<(), Error> {
    // A draft that cannot be removed costs its room, no more: no backup shall fail for it.
    match context.store.sweep_drafts(&|_| true).await {
        Ok(leftovers) => {
            for leftover in leftovers {
                context.note(t!("recover.partial", file = escape(&leftover)));
            }
        }
        Err(error) => context.warn(error.to_string()),
    }
    for cut in context.intents.sweep().map_err(|error| Error::Intent { cause: error.to_string() })? {
        context.note(t!("recover.partial", file = escape(&cut)));
    }
    let pending = context.intents.pending().map_err(|error| Error::Intent { cause: error.to_string() })?;
    for file in &pending.unreadable {
        context.warn(t!("recover.unreadable", file = escape(file)));
    }
    // Places that did not answer in time: whoever waits for this waits once for each.
    let mut silent = BTreeSet::new();
    for intent in &pending.intents {
        if !is_ours(context, intent) {
            context.warn(t!("recover.of_another", run = intent.run, name = escape(&intent.installation)));
            continue;
        }
        // A rotation elsewhere needs no lock: one that is at work has its claim.
        let Ok(_claim) = context.claim(intent.run.as_str()) else { continue };
        context.note(t!("recover.found", run = intent.run));
        if !mend(context, intent, &mut silent).await? {
            continue;
        }
        context.end_intent(&intent.run)?;
    }
    Ok(())
}

/// Files can be told by their content, a database only by the server it is on.
#[must_use]
pub fn is_ours(context: &Context, intent: &Intent) -> bool {
    let restores = matches!(intent.work, Work::Restore { .. });
    !restores || intent.installation.is_empty() || intent.installation == context.rules.installation
}

/// Whether nothing is left to mend. `false`: files that cannot be deleted, which is said each time and stops nobody.
async fn mend(context: &Context, intent: &Intent, silent: &mut BTreeSet<String>) -> Result<bool, Error> {
    match &intent.work {
        Work::Backup { file, stored } => {
            sweep(context, intent).await;
            // Only what is byte for byte the interrupted run's is removed: the name may be somebody else's by now.
            if let Some(expected) = stored
                && measure(context, file).await?.as_ref() == Some(expected)
            {
                backup::remove_uncommitted(context, file).await?;
                context.note(t!("recover.backup", file = escape(file)));
            }
            let mut whole = true;
            for remote in &context.remotes {
                let ours = |name: &str| name == file;
                // Committed, and its copies are still on their way.
                let Ok(_claim) = context.claim(file) else { continue };
                let swept = async { Ok(remote.store.sweep_drafts(&ours).await.map(drop)?) };
                whole &= match in_time(context, remote, silent, swept).await? {
                    // Keys that may not ask leave that to the bucket's own rules.
                    Err(Error::Store(store::Error::Refused { .. })) => true,
                    swept => told(context, swept),
                };
            }
            Ok(whole)
        }
        Work::Delete { files, place: None, asked } => prune::finish(context, files, *asked).await,
        Work::Delete { files, place: Some(place), asked } => {
            match context.remotes.iter().find(|r| r.store.place() == *place) {
                Some(remote) => {
                    let finish = async {
                        match asked {
                            true => erase::finish(context, remote, files).await,
                            false => remote::finish(context, remote, files).await,
                        }
                    };
                    let finished = in_time(context, remote, silent, finish).await?;
                    // A lock does not go by asking again.
                    let stays = matches!(finished, Err(Error::Stays { .. }));
                    Ok(told(context, finished) || stays)
                }
                None if *asked => {
                    context.warn(t!("recover.asked", files = escape(&files.join(", ")), place = escape(place)));
                    Ok(true)
                }
                // Whoever took it out of the settings keeps what lies there.
                None => Ok(true),
            }
        }
        Work::Restore { database, live_oid, new, .. } => {
            context.wait_ready().await?;
            sweep(context, intent).await;
            resume(context, intent, database, *live_oid, new).await.map(|()| true)
        }
    }
}

/// What became of `work` in a second place. A run waits for it: a place that does not answer in time is asked again by the next.
///
/// # Errors
/// [`Error::Cancelled`].
async fn in_time(
    context: &Context,
    remote: &Remote,
    silent: &mut BTreeSet<String>,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<Result<(), Error>, Error> {
    let place = remote.store.place();
    let no_answer = || store::Error::Silent { action: store::Action::Delete, place: place.clone() };
    if silent.contains(&place) {
        return Ok(Err(no_answer().into()));
    }
    match tokio::time::timeout(PATIENCE, context.or_cancelled(work)).await {
        Ok(Err(Error::Cancelled)) => Err(Error::Cancelled),
        Ok(done) => Ok(done),
        Err(_) => {
            silent.insert(place.clone());
            Ok(Err(no_answer().into()))
        }
    }
}

/// Says what kept a second place from being mended; it is tried again at the next start, and keeps nobody from anything.
fn told(context: &Context, mended: Result<(), Error>) -> bool {
    mended.inspect_err(|error| context.warn(error.to_string())).is_ok()
}

/// Ends the dead run's sessions: a `pg_dump` whose client is gone runs on and holds its snapshot (fault 27).
/// A server that is away has no sessions of ours.
async fn sweep(context: &Context, intent: &Intent) {
    match context.database.sweep(std::slice::from_ref(&intent.run)).await {
        Ok(0) => {}
        Ok(count) => context.note(t!("recover.sessions", count = count)),
        Err(error) => context.warn(error.to_string()),
    }
}

async fn measure(context: &Context, file: &str) -> Result<Option<crate::domain::manifest::Measure>, Error> {
    match context.store.open(file).await {
        Ok(reader) => {
            let measured = tokio::task::spawn_blocking(move || dump::measure_reader(reader)).await?;
            Ok(measured.ok())
        }
        // What is there instead (a link, a directory) is nothing of ours.
        Err(store::Error::Missing { .. } | store::Error::Link { .. } | store::Error::NotAFile { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
