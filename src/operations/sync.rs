//! Copies to the second places what is not there yet: oldest first, each file read and compared with its manifest before
//! it leaves. Downloads nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rust_i18n::t;

use super::failpoint::hit;
use super::upload::{self, Copied};
use super::{Context, Error, Remote, catalogue};
use crate::domain::catalogue::{Catalogue, Entry, Reason, State};
use crate::domain::manifest::{self, Manifest};
use crate::domain::name;
use crate::domain::retention::{self, Action, Pins};
use crate::domain::run::RunId;
use crate::domain::text::escape;
use crate::error::Explain as _;
use crate::store::{self, Growing, Store};

/// What a sync came to.
#[derive(Debug, Clone, Default)]
pub struct Synced {
    /// Backups that were copied, and where to.
    pub copied: Vec<(String, String)>,
    /// Backups that were not, where to, and why.
    pub failed: Vec<(String, Copied)>,
    /// Uploads of dead runs that were removed.
    pub swept: usize,
    /// Copies that another process sends at this moment.
    pub leaving: usize,
}

/// Copies what is missing. Needs no lock: what another process sends is left to it, and a restore never waits for this.
///
/// # Errors
/// When the local store cannot be listed. A place that fails is in the report.
pub async fn sync(context: &Context, patience: Duration) -> Result<Synced, Error> {
    let mut synced = Synced::default();
    let here = catalogue::load(context).await?;
    for remote in &context.remotes {
        let place = remote.store.place();
        let looked = tokio::time::timeout(patience, context.or_cancelled(look(context, remote))).await;
        let silent = || store::Error::Silent { action: store::Action::List, place: place.clone() };
        let there = match looked.unwrap_or_else(|_| Err(silent().into())) {
            Ok(there) => there,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                context.warn(error.to_string());
                if let Some(hint) = error.hint() {
                    context.note(t!("common.hint", text = hint));
                }
                let copied = Copied { place, failed: Some(error.to_string()) };
                synced.failed.push((String::new(), copied));
                continue;
            }
        };
        synced.swept += sweep(context, remote, &here).await;
        let wanted = wanted(context, remote, &here, &there.catalogue)?;
        for entry in here.entries().iter().rev().filter(|entry| wanted.contains(&entry.file)) {
            let Some(manifest) = missing(entry, &there.catalogue) else { continue };
            context.check_cancelled()?;
            // Another process sends it at this moment.
            let Ok(_claim) = context.claim(&entry.file) else {
                synced.leaving += 1;
                continue;
            };
            let pin = context.store.pin(&entry.file).await;
            if matches!(pin, Err(store::Error::Missing { .. })) {
                // A rotation was faster.
                continue;
            }
            match copy(context, remote, manifest, &there).await {
                Ok(Sent::Already) => {}
                Ok(Sent::Now) => {
                    context.note(t!("sync.copied", file = escape(&entry.file), place = place));
                    synced.copied.push((entry.file.clone(), place.clone()));
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    context.warn(t!("sync.not_copied", file = escape(&entry.file), cause = error));
                    if let Some(hint) = error.hint() {
                        context.note(t!("common.hint", text = hint));
                    }
                    let all = matches!(&error, Error::Store(error) if error.is_of_the_place());
                    let copied = Copied { place: place.clone(), failed: Some(error.to_string()) };
                    synced.failed.push((entry.file.clone(), copied));
                    if all {
                        // The others would fail the same way, each after as long.
                        break;
                    }
                }
            }
        }
    }
    Ok(synced)
}

/// Removes what uploads that died left. It is ours if the file is, and nobody sends it now: nobody else has that name.
async fn sweep(context: &Context, remote: &Remote, here: &Catalogue) -> usize {
    let own: BTreeSet<&str> = here.entries().iter().filter(|e| e.own).map(|e| e.file.as_str()).collect();
    let claims = Mutex::new(Vec::new());
    let mine = |name: &str| {
        // Only what is surely nobody's: where a claim cannot be written down it might be a live one's.
        let claim = if own.contains(name) { context.claim(name) } else { return false };
        let Ok(Some(claim)) = claim else { return false };
        claims.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
        true
    };
    match context.or_cancelled(remote.store.sweep_drafts(&mine)).await {
        Ok(swept) => swept.len(),
        // Keys that may not ask leave that to the bucket's own rules.
        Err(Error::Store(store::Error::Refused { .. }) | Error::Cancelled) => 0,
        Err(error) => {
            context.warn(error.to_string());
            0
        }
    }
}

/// What a second place has.
pub(super) struct There {
    /// With what has no manifest, or one that cannot be read.
    all: Catalogue,
    catalogue: Catalogue,
}

pub(super) async fn look(context: &Context, remote: &Remote) -> Result<There, Error> {
    let all = catalogue::load_remote(context, remote).await?;
    Ok(There { catalogue: all.clone().only_with_manifest(), all })
}

/// Which backups `remote` shall have, by its retention over all that is here and there: what would be deleted there at once is not sent.
///
/// # Errors
/// When retention refuses its own plan.
pub(super) fn wanted(
    context: &Context,
    remote: &Remote,
    here: &Catalogue,
    there: &Catalogue,
) -> Result<BTreeSet<String>, Error> {
    let all = here.merged(there).only_with_manifest();
    let plan = retention::plan(&remote.retention, &all, &Pins::default(), context.clock.now())?;
    let kept = plan.decisions.into_iter().filter(|decision| decision.action == Action::Keep);
    Ok(kept.map(|decision| decision.file).collect())
}

/// Backups that `remote` should have and has not, or not as they were; oldest first.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn lacking(context: &Context, remote: &Remote, here: &Catalogue) -> Result<Vec<String>, Error> {
    let there = look(context, remote).await?.catalogue;
    let wanted = wanted(context, remote, here, &there)?;
    let lacking = here.entries().iter().rev().filter(|e| wanted.contains(&e.file) && missing(e, &there).is_some());
    Ok(lacking.map(|entry| entry.file.clone()).collect())
}

/// Whether it may be restored as it is.
pub(super) fn is_usable(entry: &Entry) -> bool {
    entry.own && matches!(entry.state, State::Verified { .. } | State::Committed)
}

/// Backups of ours in `there` that may be restored from there: by their runs, since a name may be another's.
pub(super) fn usable(there: &Catalogue) -> BTreeSet<&RunId> {
    let usable = there.entries().iter().filter(|entry| is_usable(entry));
    usable.filter_map(|entry| entry.manifest.as_ref().map(|manifest| &manifest.id)).collect()
}

/// Its manifest, if it is one of ours that should be there and is not, or is not as it was.
fn missing<'a>(entry: &'a Entry, there: &Catalogue) -> Option<&'a Arc<Manifest>> {
    let manifest = entry.manifest.as_ref().filter(|_| is_usable(entry))?;
    (!usable(there).contains(&manifest.id)).then_some(manifest)
}

/// How a backup came to lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was sent, or what lay there of it completed.
    Now,
    /// Somebody did since we looked.
    Already,
}

/// Sends a backup that lies here and is whole; what there is of it there and is not as it was goes before. Whoever calls it has its claim.
pub(super) async fn copy(
    context: &Context,
    remote: &Remote,
    manifest: &Arc<Manifest>,
    there: &There,
) -> Result<Sent, Error> {
    let (file, store) = (&manifest.file, remote.store.as_ref());
    let manifest_name = name::manifest_name(file);
    let taken = there.all.entries().iter().find(|entry| entry.file == *file);
    let again = match stands(context, remote, manifest, taken)? {
        Stands::Damaged => true,
        // The listing is old by the time that its turn comes.
        Stands::Nothing if is_there(context, store, &manifest_name).await? => return Ok(Sent::Already),
        Stands::Nothing => false,
    };
    let measured = upload::measure(context, file).await?;
    if measured != manifest.stored {
        let (found, expected) = (&measured.sha256, &manifest.stored.sha256);
        let what = t!("operations.what.stored", found = found, expected = expected).into_owned();
        return Err(Error::Unequal { file: file.clone(), what });
    }
    if again {
        context.or_cancelled(upload::delete_own(context, store, &manifest_name)).await?;
    }
    let (bytes, length) = context.store.source(file).await?;
    if is_there(context, store, file).await? {
        // What a run that died left is whole perhaps, and hours old.
        let holds = remote.store.holds(file, Arc::clone(&bytes), &manifest.stored);
        if !again && context.or_cancelled(holds).await? {
            context.or_cancelled(upload::commit(context, store, manifest)).await?;
            return Ok(Sent::Now);
        }
        context.or_cancelled(upload::delete_own(context, store, file)).await?;
    }
    hit("sync.1").await;
    let upload = context.or_cancelled(remote.store.upload(file, Growing::whole(bytes, length), length)).await?;
    upload::complete(context, store, upload, manifest).await?;
    hit("sync.2").await;
    context.or_cancelled(upload::commit(context, store, manifest)).await?;
    if again {
        // What was said of the copy before does not hold for this one.
        catalogue::note_there(context, remote, manifest, Ok(()));
    }
    Ok(Sent::Now)
}

/// What stands there under the name of a backup.
enum Stands {
    /// Nothing that is committed.
    Nothing,
    /// The same backup, not as it was; or its manifest, beyond reading.
    Damaged,
}

/// Whose it is: what is another's, or cannot be told now, is never touched.
fn stands(context: &Context, remote: &Remote, manifest: &Manifest, taken: Option<&Entry>) -> Result<Stands, Error> {
    let file = &manifest.file;
    let theirs = || store::Error::Exists { name: escape(file), place: remote.store.place() }.into();
    let Some(taken) = taken else { return Ok(Stands::Nothing) };
    match (&taken.manifest, &taken.state) {
        (Some(there), _) if there.id == manifest.id && there.installation == context.rules.installation => {
            Ok(Stands::Damaged)
        }
        (Some(_), _) | (None, State::SetAside(Reason::ManifestOfAnother(_))) => Err(theirs()),
        (None, State::SetAside(Reason::ManifestUnreadable(error))) => match error {
            // Its owner is asked before it is deleted.
            manifest::Error::Cut { .. } | manifest::Error::Malformed { .. } | manifest::Error::Damaged => {
                Ok(Stands::Damaged)
            }
            error => Err(Error::SetAside { file: file.clone(), reason: error.to_string() }),
        },
        (None, _) => Ok(Stands::Nothing),
    }
}

async fn is_there<S: Store + ?Sized>(context: &Context, store: &S, name: &str) -> Result<bool, Error> {
    match context.or_cancelled(store.head(name)).await {
        Ok(_) => Ok(true),
        Err(Error::Store(store::Error::Missing { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}
