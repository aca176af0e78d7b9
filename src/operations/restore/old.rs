//! Databases that a restore made or put aside: mended after a crash, dropped when their time is over.

use chrono::{DateTime, Utc};
use rust_i18n::t;

use super::new_mark;
use crate::database::{Mark, MarkRole, Marked};
use crate::domain::name::Kind;
use crate::domain::text::escape;
use crate::journal::intent::{Intent, RestoreStep, Work};
use crate::operations::failpoint::hit;
use crate::operations::{Context, Error, backup};

/// Brings a restore that stopped somewhere to one of its two ends, told from the server alone: either the database of the
/// old OID still has the name (then it is opened, and the half-made one goes), or the new one has it (then all is done).
/// A half-made one that is still there was not swapped, whoever has the name now: others may have made a database of it.
///
/// # Errors
/// [`Error`] when the server does not let it.
pub async fn resume(
    context: &Context,
    intent: &Intent,
    database: &str,
    live_oid: Option<u32>,
    new: &str,
) -> Result<(), Error> {
    let live = context.database.facts(database).await?;
    let swapped = match (&live, live_oid) {
        (Some(live), Some(oid)) => live.oid != oid,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if let Some(live) = &live
        && !live.open
    {
        context.database.open(database).await?;
        context.note(t!("restore.reopened", database = escape(database)));
    }
    if !drop_half_made(context, intent, database, new).await? && swapped {
        context.note(t!("restore.was_swapped", database = escape(database)));
    }
    Ok(())
}

/// Drops `new` where the run of `intent` made it for itself; says whether a database of that name was there.
async fn drop_half_made(context: &Context, intent: &Intent, database: &str, new: &str) -> Result<bool, Error> {
    let marked = context.database.marked().await?;
    let mine = marked.iter().find(|m| m.name == new);
    // A copy beside the live one that was compared and handed over: people may have worked in it since.
    let handed_over = matches!(intent.work, Work::Restore { step: RestoreStep::Finish, .. });
    let stays = |mark: &Mark| mark.run != intent.run || mark.role == MarkRole::Differs || handed_over;
    match mine {
        Some(Marked { mark, .. }) if stays(mark) => return Ok(true),
        Some(_) => {}
        None => {
            // Made, and the process ended before it was marked. Only a name that carries the run is surely ours.
            let ours = new.ends_with(&intent.run.as_str().to_lowercase());
            let there = context.database.facts(new).await?.is_some();
            if !ours || !there {
                return Ok(there);
            }
            let mark = new_mark(context, MarkRole::New, &intent.run, database, context.clock.now(), None);
            context.database.mark(new, &mark).await?;
        }
    }
    context.database.drop_marked(new).await?;
    context.note(t!("restore.dropped_half_made", database = escape(new)));
    Ok(true)
}

/// Whether [`expire`] has anything to do; needs no lock.
///
/// # Errors
/// [`Error`] when the server does not answer.
pub async fn is_anything_over(context: &Context) -> Result<bool, Error> {
    let now = context.clock.now();
    let marked = context.database.marked().await?;
    Ok(marked.iter().any(|m| m.mark.installation == context.rules.installation && is_over(m, now)))
}

/// Drops what this installation's restores put aside and whose time is over. Called with the lock held.
///
/// # Errors
/// [`Error`]; a database whose final dump failed stays.
pub async fn expire(context: &Context) -> Result<(), Error> {
    let now = context.clock.now();
    let mut failed = Ok(());
    for marked in context.database.marked().await? {
        if marked.mark.installation == context.rules.installation && is_over(&marked, now) {
            context.check_cancelled()?;
            // One that cannot go keeps none of the others.
            if let Err(error) = retire(context, &marked.name).await {
                context.warn(t!("restore.old_kept", database = escape(&marked.name), cause = error));
                failed = Err(error);
            }
        }
    }
    failed
}

fn is_over(marked: &Marked, now: DateTime<Utc>) -> bool {
    marked.mark.until.is_some_and(|until| until <= now)
}

/// Whether an earlier try made it and could not drop the database: it is there still, and the database was closed all the time.
async fn has_its_final_dump(context: &Context, marked: &Marked) -> Result<bool, Error> {
    let Some(file) = &marked.mark.final_dump else { return Ok(false) };
    let closed = context.database.facts(&marked.name).await?.is_some_and(|facts| !facts.open);
    let catalogue = crate::operations::catalogue::load(context).await?;
    Ok(closed && catalogue.entries().iter().any(|entry| entry.file == *file && entry.is_verified()))
}

/// Drops a database put aside, after a proven final dump of it: it may hold what the application wrote between the
/// safety dump and the swap, and nothing else does (fault 88). A copy that only a restore made needs none.
pub(super) async fn retire(context: &Context, name: &str) -> Result<(), Error> {
    let marked = context.database.marked().await?;
    let Some(marked) = marked.into_iter().find(|m| m.name == name) else { return Ok(()) };
    match marked.mark.role {
        // Closed since, so nobody has written there.
        MarkRole::Old | MarkRole::Undone if has_its_final_dump(context, &marked).await? => {}
        MarkRole::Old | MarkRole::Undone => {
            // Nobody knows this name but us; pg_dump needs it open.
            context.database.open(name).await?;
            let made = backup::backup(context, context.new_run(), Kind::Final, name).await;
            context.database.close(name).await?;
            let made = made?;
            context.note(t!("restore.final_dump", database = escape(name), file = made.manifest.file));
            let mark = Mark { final_dump: Some(made.manifest.file.clone()), ..marked.mark };
            context.database.mark(name, &mark).await?;
            hit("retire.1").await;
        }
        MarkRole::New | MarkRole::Differs | MarkRole::Side => {}
    }
    context.database.drop_marked(name).await?;
    context.note(t!("restore.old_dropped", database = escape(name)));
    Ok(())
}
