//! Reading a backup again, whole, and comparing it with its manifest. The result goes into the journal, where the
//! catalogue finds it: a damaged backup is never chosen and never counted.

use std::sync::Arc;

use rust_i18n::t;

use super::backup::Expected;
use super::flow;
use super::{Context, Error, catalogue};
use crate::domain::catalogue::{Catalogue, Entry, State};
use crate::domain::manifest::Manifest;
use crate::domain::name;
use crate::domain::timings::Timings;
use crate::dump::{self, Proof};
use crate::store;

/// What a verification found.
#[derive(Debug)]
pub struct Verified {
    /// Data file.
    pub file: String,
    /// `Ok`: equal to its manifest (or, without one, a whole dump); else what is wrong.
    pub result: Result<Proof, Error>,
    /// Whether there is a manifest that it was compared with.
    pub proven: bool,
    /// Whether that says something about the backup: a store that cannot be read does not.
    pub told: bool,
    /// How long the stages of reading took; empty where they did not come to an end.
    pub timings: Timings,
}

/// Reads `entry` and records what was found.
///
/// # Errors
/// When the run was told to end: nothing is recorded then.
pub async fn verify(context: &Context, entry: &Entry) -> Result<Verified, Error> {
    context.check_cancelled()?;
    context.note(t!("verify.started", file = crate::domain::text::escape(&entry.file)));
    let result = match &entry.manifest {
        Some(manifest) => compare(context, manifest).await,
        None => scan(context, &entry.file).await,
    };
    let (result, timings) = match result {
        Ok((proof, timings)) => (Ok(proof), timings),
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        Err(error) => (Err(error), Timings::default()),
    };
    // A missing or different one does.
    let told = matches!(
        &result,
        Ok(_) | Err(Error::Store(store::Error::Missing { .. }) | Error::Dump(_) | Error::Unequal { .. })
    );
    if let (true, Some(manifest)) = (told, &entry.manifest) {
        catalogue::note(context, manifest, result.as_ref().map(drop));
    }
    Ok(Verified { file: entry.file.clone(), result, proven: entry.manifest.is_some(), told, timings })
}

/// Own backups, that which was not read for the longest time first; those that were changed since count as never read.
#[must_use]
pub fn oldest_readings(catalogue: &Catalogue) -> Vec<&Entry> {
    let read = |entry: &Entry| match entry.state {
        State::Verified { at } => Some(Some(at)),
        State::Committed => Some(None),
        State::Unproven | State::SetAside(_) => None,
    };
    let own = catalogue.entries().iter().filter(|entry| entry.own);
    let mut found: Vec<_> = own.filter_map(|entry| Some((read(entry)?, entry))).collect();
    found.sort_by_key(|(at, entry)| (*at, entry.date));
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// Whether an entry can be read at all.
#[must_use]
pub fn readable(entry: &Entry) -> bool {
    match &entry.state {
        State::Verified { .. } | State::Committed | State::Unproven => true,
        State::SetAside(_) => entry.manifest.is_some(),
    }
}

async fn compare(context: &Context, manifest: &Arc<Manifest>) -> Result<(Proof, Timings), Error> {
    let (proof, timings) = read(context, &manifest.file, Some(manifest.plain.bytes)).await?;
    let expected =
        Expected { file: &manifest.file, stored: &manifest.stored, plain: &manifest.plain, content: &manifest.content };
    expected.check(&proof)?;
    compare_roles(context, manifest).await?;
    Ok((proof, timings))
}

async fn compare_roles(context: &Context, manifest: &Manifest) -> Result<(), Error> {
    let Some(roles) = &manifest.roles_file else { return Ok(()) };
    let bytes = context.store.read(&roles.file, roles.stored.bytes.max(1)).await?;
    if dump::measure(&bytes) == roles.stored {
        return Ok(());
    }
    let what = t!("verify.roles", file = name::roles_name(&manifest.file)).into_owned();
    Err(Error::Unequal { file: manifest.file.clone(), what })
}

async fn scan(context: &Context, file: &str) -> Result<(Proof, Timings), Error> {
    let (proof, timings) = read(context, file, None).await?;
    proof.scan.complete()?;
    Ok((proof, timings))
}

/// Reads a stored dump through all checks; at most `limit` bytes of SQL.
pub(super) async fn read(context: &Context, file: &str, limit: Option<u64>) -> Result<(Proof, Timings), Error> {
    read_from(context, &*context.store, file, limit).await
}

/// As [`read`], from any store.
pub(super) async fn read_from(
    context: &Context,
    store: &dyn store::Store,
    file: &str,
    limit: Option<u64>,
) -> Result<(Proof, Timings), Error> {
    context.stage("verify", limit);
    flow::prove(context, store.open(file).await?, limit).await
}
