//! Retention in the second places: the same rules, over what lies there.

use std::collections::BTreeSet;
use std::time::Duration;

use rust_i18n::t;
use tokio::time::{Instant, sleep};

use super::failpoint::hit;
use super::{Context, Error, Remote, catalogue};
use crate::domain::name;
use crate::domain::retention::{self, Pins, Plan};
use crate::journal::Claim;
use crate::journal::intent::Work;
use crate::store;

/// How long deleting one backup may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether another rotation has ended.
const AGAIN: Duration = Duration::from_millis(100);

/// What would be deleted in `remote`, and why the rest stays. Only what has a manifest of this installation is spoken of.
///
/// # Errors
/// When it cannot be listed.
pub async fn plan(context: &Context, remote: &Remote) -> Result<Plan, Error> {
    let there = catalogue::load_remote(context, remote).await?;
    Ok(retention::plan(&remote.retention, &there.only_with_manifest(), &Pins::default(), context.clock.now())?)
}

/// Manifest, companion, data. May be repeated.
async fn delete_one(remote: &Remote, file: &str) -> Result<(), Error> {
    remote.store.delete(&name::manifest_name(file)).await?;
    hit("remote.2").await;
    remote.store.delete(&name::roles_name(file)).await?;
    remote.store.delete(file).await?;
    hit("remote.3").await;
    Ok(())
}

/// Finishes what an interrupted rotation there left half deleted; what it had not begun with stays.
pub(super) async fn finish(context: &Context, remote: &Remote, files: &[String]) -> Result<(), Error> {
    let there: BTreeSet<String> = remote.store.list().await?.objects.into_iter().map(|o| o.name).collect();
    for file in files.iter().filter(|file| !there.contains(&name::manifest_name(file))) {
        // Sent anew at this moment: then it is not the end of that rotation any more.
        let Ok(_claim) = context.claim(file) else { continue };
        if remote.store.head(&name::manifest_name(file)).await.is_ok() {
            continue;
        }
        if there.contains(file) || there.contains(&name::roles_name(file)) {
            delete_one(remote, file).await?;
        }
    }
    Ok(())
}

/// Waits for the turn to rotate in second places; whether it came, and what holds it. Where claims cannot be written down everybody has
/// it.
async fn turn(context: &Context) -> Result<(bool, Option<Claim>), Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match context.claim("rotation") {
            Ok(claim) => return Ok((true, claim)),
            Err(_) if Instant::now() < until => {
                context.check_cancelled()?;
                sleep(AGAIN).await;
            }
            Err(_) => return Ok((false, None)),
        }
    }
}

/// Deletes what the plan names, manifest first. Keys that may not delete (or a lock on the objects) leave that to others: said,
/// not an error.
///
/// # Errors
/// [`Error`].
pub async fn apply(context: &Context, remote: &Remote) -> Result<Plan, Error> {
    // One at a time: what another rotation removes at this moment would be removed, and told of, twice.
    let (is_ours, _turn) = turn(context).await?;
    let plan = context.or_cancelled(plan(context, remote)).await?;
    let place = remote.store.place();
    let mut removed = 0;
    let files: Vec<String> = plan.deletions().filter(|_| is_ours).map(str::to_owned).collect();
    let run = context.new_run();
    // It holds no lock: by this whoever mends knows that it lives.
    let _alive = context.claim(run.as_str()).ok().flatten();
    if !files.is_empty() {
        let work = Work::Delete { files: files.clone(), place: Some(place.clone()), asked: false };
        // It needs no room here: a disk that is full keeps nothing from going there.
        context.put_intent_if_room(&run, work)?;
    }
    hit("remote.1").await;
    let silent = || store::Error::Silent { action: store::Action::Delete, place: place.clone() }.into();
    for file in &files {
        if context.check_cancelled().is_err() {
            break;
        }
        // Somebody fetches it, or sends it anew, at this moment: the next rotation decides.
        let Ok(_claim) = context.claim(file) else { continue };
        // A place that hangs must not hold up whoever tells this to end.
        let deleting = context.or_cancelled(delete_one(remote, file));
        match tokio::time::timeout(PATIENCE, deleting).await.unwrap_or_else(|_| Err(silent())) {
            Ok(()) => {
                catalogue::note_deleted(context, file, Some(&place), plan.why(file));
                removed += 1;
            }
            Err(Error::Store(store::Error::Refused { .. })) => {
                context.note(t!("sync.external", place = place));
                break;
            }
            // Half deleted perhaps: the intent stays, and the next start goes on.
            Err(error) => return Err(error),
        }
    }
    context.end_intent(&run)?;
    context.check_cancelled()?;
    let kept = plan.decisions.len() - removed;
    context.note(t!("sync.rotated", place = place, removed = removed, kept = kept));
    Ok(plan)
}
