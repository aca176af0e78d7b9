//! Taking a restore back: the database put aside takes its name again, the present one is put aside in its turn.

use chrono::{DateTime, Utc};
use rust_i18n::t;

use super::{derived_name, end_intent, new_mark, resume};
use crate::database::{Facts, Mark, MarkRole, Marked, Swap};
use crate::journal::intent::{RestoreStep, Work};
use crate::operations::failpoint::hit;
use crate::operations::{Context, Error};

/// What an undo will do.
#[derive(Debug, Clone)]
pub struct UndoPlan {
    /// Name of the live database.
    pub database: String,
    /// The live database as it is now.
    pub live: Facts,
    /// The one that comes back.
    pub back: Marked,
}

/// What an undo did.
#[derive(Debug, Clone)]
pub struct Undone {
    /// Name of the live database.
    pub database: String,
    /// Where the one that was live until now is, and until when.
    pub aside: (String, DateTime<Utc>),
}

/// What restores of this installation put aside and an undo can bring back, newest first.
///
/// # Errors
/// [`Error`] when the server does not answer.
pub async fn kept(context: &Context) -> Result<Vec<Marked>, Error> {
    let mut kept = context.database.marked().await?;
    kept.retain(|m| {
        matches!(m.mark.role, MarkRole::Old | MarkRole::Undone)
            && m.mark.of == context.database.name()
            && m.mark.installation == context.rules.installation
    });
    kept.sort_by_key(|m| std::cmp::Reverse(m.mark.at));
    Ok(kept)
}

/// Finds what the last restore put aside. Touches nothing.
///
/// # Errors
/// [`Error::NoUndo`], [`Error::Obstacles`], [`Error`].
pub async fn plan_undo(context: &Context) -> Result<UndoPlan, Error> {
    context.wait_ready().await?;
    let database = context.database.name().to_owned();
    let no_undo = || Error::NoUndo { database: database.clone() };
    let live = context.database.facts(&database).await?.ok_or_else(no_undo)?;
    let back = kept(context).await?.into_iter().next().ok_or_else(no_undo)?;
    super::check::room(context, &super::Request::undo(), Some(&live)).await?;
    Ok(UndoPlan { database, live, back })
}

/// Swaps back. Called with the lock held.
///
/// # Errors
/// [`Error`]; the live database is as it was, running.
pub async fn undo(context: &Context, plan: &UndoPlan) -> Result<Undone, Error> {
    let again = plan_undo(context).await?;
    if (again.live.oid, again.back.oid) != (plan.live.oid, plan.back.oid) {
        return Err(Error::Changed { what: t!("operations.what.database").into_owned() });
    }
    context.stage("swap", None);
    let run = context.new_run();
    let work = Work::Restore {
        database: plan.database.clone(),
        live_oid: Some(plan.live.oid),
        new: plan.back.name.clone(),
        step: RestoreStep::Swap,
    };
    let intent = context.intent(&run, work);
    context.intents.put(&intent).map_err(|error| Error::Intent { cause: error.to_string() })?;
    hit("undo.1").await;
    let now = context.clock.now();
    let until = now + context.rules.undo;
    let mark = new_mark(context, MarkRole::Undone, &run, &plan.database, now, Some(until));
    let mark = Mark { comment: plan.live.record.comment.clone(), ..mark };
    let aside = derived_name(&plan.database, "undone", &run);
    let swapped = swap(context, plan, &aside, mark).await;
    if let Err(error) = swapped {
        match resume(context, &intent, &plan.database, Some(plan.live.oid), &plan.back.name).await {
            Ok(()) => end_intent(context, &run),
            Err(error) => context.warn(t!("restore.left", cause = error)),
        }
        return Err(error);
    }
    end_intent(context, &run);
    Ok(Undone { database: plan.database.clone(), aside: (aside, until) })
}

async fn swap(context: &Context, plan: &UndoPlan, aside: &str, mark: Mark) -> Result<(), Error> {
    // From here on it takes a moment, and going on is the shortest way to an open database.
    context.check_cancelled()?;
    context.database.close(&plan.database).await?;
    hit("undo.2").await;
    let swap = Swap {
        live: plan.database.clone(),
        new: plan.back.name.clone(),
        comment: plan.back.mark.comment.clone(),
        aside: Some((aside.to_owned(), mark)),
    };
    context.database.swap(&swap).await?;
    hit("undo.3").await;
    Ok(())
}
