//! Retention: a plan that can be read, and its execution. Each backup goes manifest first, then data, so that what is
//! half deleted is no backup any more; an intent tells the next start to finish it.

use std::collections::BTreeSet;

use rust_i18n::t;

use super::failpoint::hit;
use super::{Context, Error, catalogue};
use crate::domain::name;
use crate::domain::retention::{self, Plan};
use crate::domain::text::escape;
use crate::journal::intent::Work;

/// What would be deleted now, and why the rest stays.
///
/// # Errors
/// When the store cannot be listed.
pub async fn plan(context: &Context) -> Result<Plan, Error> {
    let catalogue = catalogue::load(context).await?;
    Ok(retention::plan(&context.rules.retention, &catalogue, &BTreeSet::new(), context.clock.now())?)
}

/// Deletes what the plan names.
///
/// # Errors
/// [`Error`]; what was not deleted is still whole or named in an intent.
pub async fn apply(context: &Context) -> Result<Plan, Error> {
    let plan = plan(context).await?;
    let files: Vec<String> = plan.deletions().map(str::to_owned).collect();
    delete(context, &files).await?;
    let days = context.rules.retention.days;
    context.note(t!("prune.done", days = days, removed = files.len(), kept = plan.decisions.len() - files.len()));
    Ok(plan)
}

async fn delete(context: &Context, files: &[String]) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    let run = context.new_run();
    let intent = context.intent(&run, Work::Delete { files: files.to_vec() });
    context.intents.put(&intent).map_err(|error| Error::Intent { cause: error.to_string() })?;
    hit("prune.1").await;
    let (mut told, mut half) = (Ok(()), false);
    for file in files {
        // Between two backups nothing is half deleted: what is still there stays, and the next rotation decides anew.
        if let Err(cancelled) = context.check_cancelled() {
            told = Err(cancelled);
            break;
        }
        // One that cannot go keeps none of the others.
        if let Err(error) = delete_one(context, file).await {
            context.warn(t!("prune.stays", file = escape(file), cause = error));
            half |= catalogue::names(context).await.map_or(true, |names| is_half_deleted(&names, file));
            told = Err(error);
        }
    }
    if !half {
        context.intents.end(&run).map_err(|error| Error::Intent { cause: error.to_string() })?;
    }
    told
}

/// The manifest is gone and the data or its companion is not.
fn is_half_deleted(names: &BTreeSet<String>, file: &str) -> bool {
    let left = names.contains(file) || names.contains(&name::roles_name(file));
    left && !names.contains(&name::manifest_name(file))
}

/// Finishes what an interrupted rotation left half deleted; says whether nothing of it is left. What it had not begun with stays: since
/// then it may have become the last good one, and the next rotation decides anew.
pub(super) async fn finish(context: &Context, files: &[String]) -> Result<bool, Error> {
    let names = catalogue::names(context).await?;
    let mut whole = true;
    for file in files.iter().filter(|file| is_half_deleted(&names, file)) {
        if let Err(error) = delete_one(context, file).await {
            context.warn(t!("prune.stays", file = escape(file), cause = error));
            whole = false;
        }
    }
    Ok(whole)
}

/// Manifest, companion, data. May be repeated.
pub(super) async fn delete_one(context: &Context, file: &str) -> Result<(), Error> {
    context.store.delete(&name::manifest_name(file)).await?;
    hit("prune.2").await;
    context.store.delete(&name::roles_name(file)).await?;
    context.store.delete(file).await?;
    hit("prune.3").await;
    Ok(())
}
