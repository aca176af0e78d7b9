//! Retention: a plan that can be read, and its execution. Each backup goes manifest first, then data, so that what is
//! half deleted is no backup any more; an intent tells the next start to finish it.

use std::collections::BTreeSet;
use std::time::Duration;

use rust_i18n::t;

use super::failpoint::hit;
use super::{Context, Error, catalogue, sync};
use crate::domain::catalogue::{Catalogue, Entry};
use crate::domain::name;
use crate::domain::retention::{self, Pins, Plan};
use crate::domain::text::{bytes, escape};
use crate::journal::intent::Work;

/// What would be deleted now, and why the rest stays.
///
/// # Errors
/// When the store cannot be listed.
pub async fn plan(context: &Context) -> Result<Plan, Error> {
    let catalogue = catalogue::load(context).await?;
    let unsent = unsent(context, &catalogue).await?;
    let mut in_use = BTreeSet::new();
    for entry in catalogue.entries().iter().filter(|entry| entry.own) {
        if context.store.is_pinned(&entry.file).await.unwrap_or(false) {
            in_use.insert(entry.file.clone());
        }
    }
    let pins = Pins { unsent, in_use };
    Ok(retention::plan(&context.rules.retention, &catalogue, &pins, context.clock.now())?)
}

/// How long a place may take to say what it has: the lock is held meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Backups that no second place has: where there shall be one. A place that does not answer has none.
async fn unsent(context: &Context, catalogue: &Catalogue) -> Result<BTreeSet<String>, Error> {
    let (mut unsent, mut sent) = (BTreeSet::new(), BTreeSet::new());
    for remote in &context.remotes {
        let asked = tokio::time::timeout(PATIENCE, context.or_cancelled(catalogue::load_remote(context, remote)));
        let there = match asked.await {
            Ok(Ok(there)) => there.only_with_manifest(),
            Ok(Err(Error::Cancelled)) => return Err(Error::Cancelled),
            Ok(Err(error)) => {
                context.warn(error.to_string());
                Catalogue::default()
            }
            Err(_) => Catalogue::default(),
        };
        unsent.extend(sync::wanted(context, remote, catalogue, &there)?);
        let there = sync::usable(&there);
        let has = |entry: &&Entry| entry.manifest.as_ref().is_some_and(|manifest| there.contains(&manifest.id));
        sent.extend(catalogue.entries().iter().filter(has).map(|entry| entry.file.clone()));
    }
    let mut unsent: BTreeSet<String> = unsent.difference(&sent).cloned().collect();
    let own: BTreeSet<&str> = catalogue.entries().iter().filter(|e| e.own).map(|e| e.file.as_str()).collect();
    unsent.retain(|file| own.contains(file.as_str()));
    // The next backup needs as much as the newest one, and half of that.
    let next = catalogue.latest_verified().map_or(0, |entry| entry.bytes + entry.bytes / 2);
    // Less room than the floor, or than the next backup needs, and even what has no second copy may go.
    if let Some(space) = context.store.space().await?
        && !unsent.is_empty()
        && space.free < space.share(context.rules.floor).max(next)
    {
        context.warn(t!("prune.floor", free = bytes(space.free), count = unsent.len()));
        unsent.clear();
    }
    Ok(unsent)
}

/// Deletes what the plan names.
///
/// # Errors
/// [`Error`]; what was not deleted is still whole or named in an intent.
pub async fn apply(context: &Context) -> Result<Plan, Error> {
    let plan = plan(context).await?;
    let files: Vec<String> = plan.deletions().map(str::to_owned).collect();
    delete(context, &files, false, |file| plan.why(file)).await?;
    context.note(t!(
        "prune.done",
        rule = rule(context),
        removed = files.len(),
        kept = plan.decisions.len() - files.len()
    ));
    Ok(plan)
}

/// How long backups are kept, for people.
fn rule(context: &Context) -> String {
    let policy = &context.rules.retention;
    let days = policy.days.map(|days| t!("prune.days", days = days).into_owned());
    let keep = policy.keep.is_set().then(|| policy.keep.to_string());
    days.into_iter().chain(keep).collect::<Vec<_>>().join(" + ")
}

pub(super) async fn delete(
    context: &Context,
    files: &[String],
    asked: bool,
    why: impl Fn(&str) -> String,
) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    let run = context.new_run();
    let there = catalogue::names(context).await?;
    // What has no manifest goes at once or not at all. It would look half deleted to whoever finishes this, and might be kept by then.
    let may_be_half = |file: &&String| asked || there.contains(&name::manifest_name(file));
    let work = |files: &[String]| {
        let files: Vec<String> = files.iter().filter(may_be_half).cloned().collect();
        Work::Delete { files, place: None, asked }
    };
    let mut is_written =
        !files.iter().any(|file| may_be_half(&file)) || context.put_intent_if_room(&run, work(files))?;
    hit("prune.1").await;
    let (mut told, mut half) = (Ok(()), false);
    for (done, file) in files.iter().enumerate() {
        // The first one made room for it.
        if !is_written && done > 0 {
            is_written = context.put_intent_if_room(&run, work(&files[done..]))?;
        }
        // Between two backups nothing is half deleted: what is still there stays, and the next rotation decides anew.
        if let Err(cancelled) = context.check_cancelled() {
            told = Err(cancelled);
            break;
        }
        // One that cannot go keeps none of the others.
        let deleted = delete_one(context, file).await;
        if deleted.is_ok() {
            catalogue::note_deleted(context, file, None, why(file));
        }
        if let Err(error) = deleted {
            context.warn(t!("prune.stays", file = escape(file), cause = error));
            half |= catalogue::names(context).await.map_or(true, |names| is_half_deleted(&names, file));
            told = Err(error);
        }
    }
    if !half {
        context.end_intent(&run)?;
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
pub(super) async fn finish(context: &Context, files: &[String], asked: bool) -> Result<bool, Error> {
    let names = catalogue::names(context).await?;
    let mut whole = true;
    for file in files.iter().filter(|file| asked || is_half_deleted(&names, file)) {
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
