//! Deletes one backup for good because a person says so: here, or in every place with all its versions (the right to erasure).

use rust_i18n::t;

use super::failpoint::hit;
use super::{Context, Error, Remote, catalogue, prune};
use crate::domain::catalogue::Entry;
use crate::domain::name;
use crate::domain::run::RunId;
use crate::domain::text::escape;
use crate::journal::intent::Work;
use crate::store;

/// Where a backup lies.
#[derive(Debug, Clone)]
pub struct Lies {
    /// Data file.
    pub file: String,
    /// Whether it lies here.
    pub here: bool,
    /// The second places that have something of it.
    pub places: Vec<String>,
}

/// Finds what `wanted` names, here or in a second place.
///
/// # Errors
/// When no place has it, it is not one of this installation's, or a place cannot be asked: nobody may believe then that all of it would go.
pub async fn find(context: &Context, wanted: &str, everywhere: bool) -> Result<Lies, Error> {
    let here = catalogue::load(context).await?;
    let mut there = Vec::new();
    for remote in &context.remotes {
        match catalogue::look(context, remote).await {
            Ok(looked) => there.push((remote, looked)),
            Err(error) if everywhere => return Err(error),
            Err(error) => context.warn(error.to_string()),
        }
    }
    let found = here.find(wanted);
    let entry: &Entry = match found {
        Ok(entry) => entry,
        Err(error) => there.iter().find_map(|(_, (_, catalogue))| catalogue.find(wanted).ok()).ok_or(error)?,
    };
    if !entry.own {
        return Err(Error::OfAnother { file: entry.file.clone() });
    }
    let id = entry.manifest.as_ref().map(|manifest| &manifest.id);
    let mut places = Vec::new();
    for (remote, (names_there, catalogue)) in &there {
        let same = catalogue.entries().iter().find(|other| other.file == entry.file);
        let other = same.and_then(|same| same.manifest.as_ref()).map(|manifest| &manifest.id);
        // Another installation gave the same name to one of its own: that is not meant.
        if other.is_some() && id.is_some() && other != id || same.is_some_and(|same| other.is_some() && !same.own) {
            context.warn(t!("operations.of_another_in", file = escape(&entry.file), place = remote.store.place()));
        } else if names(&entry.file).iter().any(|name| names_there.contains(name)) {
            places.push(remote.store.place());
        }
    }
    Ok(Lies { file: entry.file.clone(), here: here.entries().iter().any(|e| e.file == entry.file), places })
}

/// Deletes it. Called with the lock held, after the operator's word. What dies in the middle is finished by the next start.
///
/// # Errors
/// [`Error`]: what was not deleted is named in an intent, or the place refuses.
pub async fn erase(context: &Context, lies: &Lies, everywhere: bool) -> Result<(), Error> {
    let files = std::slice::from_ref(&lies.file);
    // Nobody sends it meanwhile.
    let Ok(_claim) = context.claim(&lies.file) else { return Err(Error::InUse { file: lies.file.clone() }) };
    context.check_cancelled()?;
    // All that is meant is written down before the first byte goes.
    let mut places = Vec::new();
    for remote in context.remotes.iter().filter(|r| everywhere && lies.places.contains(&r.store.place())) {
        let run = context.new_run();
        let work = Work::Delete { files: files.to_vec(), place: Some(remote.store.place()), asked: true };
        if let Err(error) = context.put_intent_if_room(&run, work) {
            end_all(context, &places);
            return Err(error);
        }
        places.push((remote, run));
    }
    // Here first: nothing could send it anew then. What cannot go here goes nowhere.
    let why = |_: &str| t!("operations.asked_for").into_owned();
    if let Err(error) = prune::delete(context, files, true, why).await {
        end_all(context, &places);
        return Err(error);
    }
    let mut told = Ok(());
    for (remote, run) in &places {
        hit("erase.1").await;
        match finish(context, remote, files).await {
            Ok(()) => catalogue::note_deleted(context, &lies.file, Some(&remote.store.place()), why(&lies.file)),
            // The operator knows, and a lock does not go by asking again.
            Err(error @ Error::Stays { .. }) => told = Err(error),
            Err(error) => {
                told = Err(error);
                continue;
            }
        }
        context.end_intent(run)?;
    }
    told
}

/// Nothing of that is to happen.
fn end_all(context: &Context, places: &[(&Remote, RunId)]) {
    for (_, run) in places {
        if let Err(error) = context.intents.end(run) {
            context.warn(error.to_string());
        }
    }
}

/// Manifest, companion, data, with all that is kept of them, and what of it was never finished. May be repeated.
///
/// # Errors
/// [`Error::Stays`]: the place refuses, for good as far as we know.
pub(super) async fn finish(context: &Context, remote: &Remote, files: &[String]) -> Result<(), Error> {
    let store = &remote.store;
    let mut refused = Vec::new();
    for file in files {
        match store.sweep_drafts(&|name| name == file).await {
            Ok(_) | Err(store::Error::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        for name in names(file) {
            // What says that it is another's was put there since.
            match store.head(&name).await {
                Ok(there) if there.owner.as_ref().is_some_and(|owner| *owner != context.rules.installation) => continue,
                Ok(_) | Err(store::Error::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match store.erase(&name).await {
                Ok(_) => {}
                Err(store::Error::Refused { .. }) => refused.push(name),
                Err(error) => return Err(error.into()),
            }
            hit("erase.2").await;
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Error::Stays { file: refused.join(", "), place: store.place() }) }
}

/// The manifest first: without it the rest is no backup.
fn names(file: &str) -> [String; 3] {
    [name::manifest_name(file), name::roles_name(file), file.to_owned()]
}
