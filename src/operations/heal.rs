//! Damaged copies: what is bad here is taken from a second place, what is bad there is sent again from here (faults 41, 59).

use std::sync::Arc;

use rust_i18n::t;

use super::fetch::{self, Found};
use super::{Context, Error, Remote, catalogue, sync};
use crate::domain::catalogue::{Catalogue, Entry, Reason, State};
use crate::domain::manifest::Manifest;
use crate::domain::text::escape;
use crate::{dump, store};

/// What is damaged here and could be taken from elsewhere.
pub fn damaged(catalogue: &Catalogue) -> impl Iterator<Item = &Entry> {
    catalogue.entries().iter().filter(|entry| match &entry.state {
        State::SetAside(reason) => {
            entry.own && !matches!(reason, Reason::FromTheFuture(_) | Reason::ManifestOfAnother(_))
        }
        State::Verified { .. } | State::Committed | State::Unproven => false,
    })
}

/// Replaces a damaged copy here by a good one from the first second place that has it; says which, or that none has. Called with the lock held.
///
/// # Errors
/// [`Error`]; what lay here lies here then.
pub async fn heal(context: &Context, entry: &Entry) -> Result<Option<String>, Error> {
    let mut failed = None;
    for remote in &context.remotes {
        let there = match catalogue::load_remote(context, remote).await {
            Ok(there) => there,
            Err(error) => {
                context.warn(error.to_string());
                continue;
            }
        };
        let Some(manifest) = same(&there, entry) else { continue };
        let found = Found { store: remote.store.clone(), file: entry.file.clone(), manifest: Some(manifest) };
        match fetch::fetch(context, &found).await {
            Ok(()) => {
                let place = remote.store.place();
                context.note(t!("heal.done", file = escape(&entry.file), place = place));
                return Ok(Some(place));
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // Damaged there too, perhaps: another place may have a good one.
            Err(error) => {
                context.warn(t!("heal.failed", file = escape(&entry.file), cause = error));
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(None), Err)
}

/// The manifest of the same backup in `there`, where it may be used.
fn same(there: &Catalogue, entry: &Entry) -> Option<Arc<Manifest>> {
    let same = there.entries().iter().find(|other| other.file == entry.file && sync::is_usable(other))?;
    let manifest = same.manifest.clone()?;
    // A manifest that cannot be read any more names no run: the name has to do.
    let equal = entry.manifest.as_ref().is_none_or(|own| own.id == manifest.id);
    equal.then_some(manifest)
}

/// What a second place has.
///
/// # Errors
/// When it cannot be asked; [`Error::Cancelled`].
pub async fn load_there(context: &Context, remote: &Remote) -> Result<Catalogue, Error> {
    context.or_cancelled(catalogue::load_remote(context, remote)).await
}

/// Reads a copy in a second place whole, compares it with its manifest there, and remembers what it found.
///
/// # Errors
/// [`Error::Unequal`] and [`store::Error::Missing`]: it is damaged. Others say nothing about it.
pub async fn check_there(context: &Context, remote: &Remote, manifest: &Manifest) -> Result<(), Error> {
    let found = read_there(context, remote, manifest).await;
    match &found {
        Ok(()) => catalogue::note_there(context, remote, manifest, Ok(())),
        Err(error @ (Error::Unequal { .. } | Error::Store(store::Error::Missing { .. }))) => {
            catalogue::note_there(context, remote, manifest, Err(error));
        }
        Err(_) => {}
    }
    found
}

async fn read_there(context: &Context, remote: &Remote, manifest: &Manifest) -> Result<(), Error> {
    context.check_cancelled()?;
    context.note(t!("verify.started_in", file = escape(&manifest.file), place = remote.store.place()));
    let reader = context.or_cancelled(remote.store.open(&manifest.file)).await?;
    let measured = context.or_cancelled(async {
        tokio::task::spawn_blocking(move || dump::measure_reader(reader)).await.map_err(Error::from)
    });
    let measured = measured.await?.map_err(|error| match store::Error::recover(error) {
        Ok(error) => Error::from(error),
        Err(source) => dump::Error::Read { source }.into(),
    })?;
    fetch::same(&manifest.file, &measured, Some(&manifest.stored))?;
    if let Some(roles) = &manifest.roles_file {
        let bytes = context.or_cancelled(remote.store.read(&roles.file, roles.stored.bytes.max(1))).await?;
        fetch::same(&roles.file, &dump::measure(&bytes), Some(&roles.stored))?;
    }
    Ok(())
}

/// Sends a backup again whose copy in `remote` is damaged, from a good one here; says whether there is one.
///
/// # Errors
/// [`Error`]; the copy there may be gone then, which the next sync mends.
pub async fn heal_there(context: &Context, remote: &Remote, manifest: &Manifest) -> Result<bool, Error> {
    let here = catalogue::load(context).await?;
    let own = here.entries().iter().filter(|entry| sync::is_usable(entry)).filter_map(|entry| entry.manifest.as_ref());
    let Some(own) = own.into_iter().find(|own| own.id == manifest.id) else { return Ok(false) };
    let Ok(_claim) = context.claim(&own.file) else { return Err(Error::InUse { file: own.file.clone() }) };
    let there = sync::look(context, remote).await?;
    let _ = sync::copy(context, remote, own, &there).await?;
    context.note(t!("heal.done_there", file = escape(&own.file), place = remote.store.place()));
    Ok(true)
}
