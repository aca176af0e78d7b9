//! Brings a backup from a second place into the local store: several ranges at once, its hash compared before it gets its name.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rust_i18n::t;

use super::{Context, Error, catalogue};
use crate::domain::catalogue::{Entry, State};
use crate::domain::manifest::{Manifest, Measure};
use crate::domain::name::{self, Kind};
use crate::domain::text::escape;
use crate::dump::{self, Meter};
use crate::store::{self, Store};

/// How long a place may take to say what it has, where a restore waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a copy was found.
#[derive(Clone)]
pub struct Found {
    /// The place.
    pub store: Arc<dyn Store>,
    /// Data file.
    pub file: String,
    /// Its manifest, where it has one.
    pub manifest: Option<Arc<Manifest>>,
}

/// The backup that `wanted` names in the second places, the first that has it: a file name, with or without `backups/`, or what
/// [`crate::domain::catalogue::Catalogue::find`] understands.
///
/// # Errors
/// [`Error::NoRemote`]; what kept the last place from answering; that none has it.
pub async fn find(context: &Context, wanted: &str) -> Result<Found, Error> {
    let mut failed = None;
    for remote in &context.remotes {
        let there = match catalogue::load_remote(context, &remote.store).await {
            Ok(there) => there,
            Err(error) => {
                // That it is in none is not known then.
                failed = Some(error);
                continue;
            }
        };
        match there.find(wanted) {
            Ok(entry) => {
                let (store, file) = (Arc::clone(&remote.store), entry.file.clone());
                return Ok(Found { store, file, manifest: entry.manifest.clone() });
            }
            Err(error) if failed.is_none() => failed = Some(error.into()),
            Err(_) => {}
        }
    }
    Err(failed.unwrap_or(Error::NoRemote))
}

/// The newest verified backup of this installation, if a second place has one that is newer than all that lie here. A place that does
/// not answer is said: nobody waits for it when a restore is urgent.
///
/// # Errors
/// When the local store cannot be listed.
pub async fn newer(context: &Context) -> Result<Option<Found>, Error> {
    let here = catalogue::load(context).await?;
    let mut newest = here.latest_verified().map(|entry| entry.date);
    // What is here and damaged cannot be fetched under its name.
    let taken = |file: &str| here.entries().iter().any(|entry| entry.file == file);
    let mut found = None;
    for remote in &context.remotes {
        let there = match tokio::time::timeout(PATIENCE, catalogue::load_remote(context, &remote.store)).await {
            Ok(Ok(there)) => there,
            Err(_) => {
                let cause = t!("backup.roles_silent", seconds = PATIENCE.as_secs());
                context.warn(t!("fetch.unknown", place = remote.store.place(), cause = cause));
                continue;
            }
            Ok(Err(error)) => {
                context.warn(t!("fetch.unknown", place = remote.store.place(), cause = error));
                continue;
            }
        };
        // It is hashed when it comes: what is committed there will do.
        let usable = |e: &&Entry| {
            let state = matches!(e.state, State::Verified { .. } | State::Committed);
            e.own && e.kind == Some(Kind::Backup) && state && !taken(&e.file)
        };
        if let Some(entry) = there.entries().iter().find(usable)
            && newest.is_none_or(|newest| entry.date > newest)
        {
            newest = Some(entry.date);
            let (store, file) = (Arc::clone(&remote.store), entry.file.clone());
            found = Some(Found { store, file, manifest: entry.manifest.clone() });
        }
    }
    if let Some(found) = &found {
        context.note(t!("fetch.newer", file = escape(&found.file), place = found.store.place()));
    }
    Ok(found)
}

/// Fetches it, unless the local store has it already; what lies there then is equal to its manifest, where it has one.
///
/// # Errors
/// [`Error`]; nothing of it lies there then.
pub async fn fetch(context: &Context, found: &Found) -> Result<(), Error> {
    let names = catalogue::names(context).await?;
    let file = &found.file;
    let manifest_name = name::manifest_name(file);
    if names.contains(file) && (found.manifest.is_none() || names.contains(&manifest_name)) {
        context.note(t!("fetch.here", file = escape(file)));
        return Ok(());
    }
    let head = found.store.head(file).await?;
    if let Some(class) = head.frozen {
        return Err(store::Error::Frozen { name: escape(file), place: found.store.place(), class }.into());
    }
    if let Some(space) = context.store.space().await?
        && space.free < head.bytes
    {
        return Err(Error::NoSpace { place: context.store.place(), free: space.free, needed: head.bytes });
    }
    context.stage("fetch", Some(head.bytes));
    context.note(t!("fetch.begun", file = escape(file), place = found.store.place()));
    let reader = found.store.open(file).await?;
    let mut draft = context.store.draft(file).await?;
    let cancel = context.cancel.clone();
    let copied = tokio::task::spawn_blocking(move || {
        let mut reader = reader;
        let mut meter = Meter::default();
        let mut buffer = vec![0; 1024 * 1024];
        loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            match reader.read(&mut buffer)? {
                0 => break,
                length => {
                    meter.update(&buffer[..length]);
                    draft.write_all(&buffer[..length])?;
                }
            }
        }
        Ok::<_, std::io::Error>(Some((draft, meter.finish())))
    });
    let copied = copied.await?.map_err(|error| match store::Error::recover(error) {
        Ok(error) => Error::from(error),
        Err(source) => crate::dump::Error::Read { source }.into(),
    });
    let Some((draft, measured)) = copied? else { return Err(Error::Cancelled) };
    let expected = found.manifest.as_ref().map(|m| m.stored.clone());
    same(file, &measured, expected.as_ref())?;
    tokio::task::spawn_blocking(move || draft.publish()).await??;
    let Some(manifest) = &found.manifest else { return Ok(()) };
    if let Some(roles) = &manifest.roles_file
        && !names.contains(&roles.file)
    {
        let bytes = found.store.read(&roles.file, super::backup::ROLES_LIMIT as u64).await?;
        same(&roles.file, &dump::measure(&bytes), Some(&roles.stored))?;
        context.store.put(&roles.file, &bytes).await?;
    }
    if !names.contains(&manifest_name) {
        // It was read whole just now, and nobody shall take it for changed because it is newer than its manifest.
        let verified = Manifest { verified_at: context.clock.now(), ..Manifest::clone(manifest) };
        context.store.put(&manifest_name, &verified.to_bytes()).await?;
    }
    Ok(())
}

fn same(file: &str, found: &Measure, expected: Option<&Measure>) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => {
            let what = t!("operations.what.stored", found = found.sha256, expected = expected.sha256).into_owned();
            Err(Error::Unequal { file: file.to_owned(), what })
        }
        _ => Ok(()),
    }
}
