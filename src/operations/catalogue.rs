//! Reading the catalogue: the store's listing, the manifests in it, and the journal's verifications.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::{Context, Error, Remote};
use crate::domain::catalogue::{Catalogue, Input, Object, Verification, manifests_of};
use crate::domain::manifest::{self, Manifest};
use crate::domain::name;
use crate::journal::Deletion;
use crate::store::{self, Listing};

/// Manifests of ten thousand tables are a few megabytes.
pub(super) const MANIFEST_LIMIT: u64 = 64 * 1024 * 1024;

/// Manifests of a second place that are read at once.
const AT_ONCE: usize = 8;

/// A manifest, if it is one.
type Read = Result<Arc<Manifest>, manifest::Error>;

/// Manifests that were read in a second place, by name and entity tag: a run asks for them more than once.
#[derive(Default)]
pub struct Known {
    read: Mutex<BTreeMap<(String, String), Read>>,
}

impl Known {
    fn get(&self, object: &store::Object) -> Option<Read> {
        let key = (object.name.clone(), object.etag.clone()?);
        self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Forgets what is not there any more: a supervisor lives for years.
    fn retain(&self, listing: &Listing) {
        let there: BTreeSet<&str> = listing.objects.iter().map(|o| o.name.as_str()).collect();
        self.read.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _), _| there.contains(name.as_str()));
    }

    fn keep(&self, object: &store::Object, manifest: &Read) {
        if let Some(tag) = &object.etag {
            let key = (object.name.clone(), tag.clone());
            self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(key, manifest.clone());
        }
    }
}

/// What there is.
///
/// # Errors
/// When the store cannot be listed. A manifest that cannot be read is an entry that is set aside, not an error; without the
/// journal nothing counts as verified later than its commit.
pub async fn load(context: &Context) -> Result<Catalogue, Error> {
    let listing = context.store.list().await?;
    let manifests = manifests(context, &listing).await;
    let objects = listing.objects.iter().map(object).collect();
    Ok(build(context, objects, manifests, &verifications(context)))
}

fn build(context: &Context, objects: Vec<Object>, manifests: Vec<Parsed>, verifications: &[Verification]) -> Catalogue {
    Catalogue::build(Input {
        objects,
        manifests,
        verifications,
        accepted: &accepted(context),
        installation: &context.rules.installation,
        database: context.database.name(),
        zone: context.rules.zone,
        now: context.clock.now(),
    })
}

/// Every reading that is remembered, here and elsewhere.
fn verifications(context: &Context) -> Vec<Verification> {
    context.journal.verifications().unwrap_or_else(|error| {
        context.warn(error.to_string());
        Vec::new()
    })
}

/// Suspicious backups that a person has accepted.
fn accepted(context: &Context) -> BTreeSet<String> {
    match context.journal.acceptances() {
        Ok(accepted) => accepted.into_iter().map(|one| one.id).collect(),
        // Then they hold older ones again: nothing is lost by that.
        Err(error) => {
            context.warn(error.to_string());
            BTreeSet::new()
        }
    }
}

fn object(o: &store::Object) -> Object {
    Object { name: o.name.clone(), bytes: o.bytes, modified: o.modified }
}

/// What there is in a second place, by the manifests there. A copy is as proven as its last comparison: what was put there
/// before its manifest was compared then, and whether it was changed after that is told by its date.
///
/// # Errors
/// When the store cannot be listed.
pub async fn load_remote(context: &Context, remote: &Remote) -> Result<Catalogue, Error> {
    Ok(look(context, remote).await?.1)
}

/// As [`load_remote`], and the names of all that lies there.
pub(super) async fn look(context: &Context, remote: &Remote) -> Result<(BTreeSet<String>, Catalogue), Error> {
    let listing = remote.store.list().await?;
    let catalogue = of_listing(context, remote, &listing).await?;
    Ok((listing.objects.into_iter().map(|object| object.name).collect(), catalogue))
}

/// What a reading of a copy found is remembered under the place and its name there.
fn lies_at(place: &str, file: &str) -> String {
    format!("{place}/{file}")
}

/// Remembers what a whole reading of a copy in a second place found.
pub(super) fn note_there(context: &Context, remote: &Remote, manifest: &Manifest, found: Result<(), &Error>) {
    note_at(context, lies_at(&remote.store.place(), &manifest.file), manifest, found);
}

/// Remembers what a whole reading of the file here found.
pub(super) fn note(context: &Context, manifest: &Manifest, found: Result<(), &Error>) {
    note_at(context, manifest.file.clone(), manifest, found);
}

fn note_at(context: &Context, file: String, manifest: &Manifest, found: Result<(), &Error>) {
    let verification = Verification {
        file,
        at: context.clock.now(),
        ok: found.is_ok(),
        stored_sha256: manifest.stored.sha256.clone(),
        detail: found.err().map(ToString::to_string).unwrap_or_default(),
    };
    if let Err(error) = context.journal.verified(&verification) {
        context.warn(error.to_string());
    }
}

/// Remembers that a backup was removed, here or at `place`.
pub(super) fn note_deleted(context: &Context, file: &str, place: Option<&str>, why: String) {
    let (at, file, place) = (context.clock.now(), file.to_owned(), place.map(str::to_owned));
    if let Err(error) = context.journal.deleted(&Deletion { at, file, place, why }) {
        context.warn(error.to_string());
    }
}

/// What was found when copies there were read whole.
fn verifications_there(context: &Context, remote: &Remote) -> Vec<Verification> {
    let prefix = lies_at(&remote.store.place(), "");
    let there =
        |v: Verification| v.file.strip_prefix(&prefix).map(str::to_owned).map(|file| Verification { file, ..v });
    verifications(context).into_iter().filter_map(there).collect()
}

async fn of_listing(context: &Context, remote: &Remote, listing: &Listing) -> Result<Catalogue, Error> {
    remote.known.retain(listing);
    let verifications = verifications_there(context, remote);
    let manifests = remote_manifests(remote, listing).await?;
    // By name: a bucket that is shared holds thousands of others' objects.
    let changed: BTreeMap<&str, _> = listing.objects.iter().map(|o| (o.name.as_str(), o.modified)).collect();
    let readable = manifests.iter().filter_map(|(file, parsed)| Some((file.as_str(), parsed.as_ref().ok()?)));
    let verified: BTreeMap<&str, _> = readable.map(|(file, manifest)| (file, manifest.verified_at)).collect();
    let objects = listing.objects.iter().map(|o| {
        let manifest = name::manifest_name(&o.name);
        match (verified.get(manifest.as_str()), changed.get(manifest.as_str())) {
            (Some(verified_at), Some(at)) if o.modified <= *at => Object { modified: *verified_at, ..object(o) },
            _ => object(o),
        }
    });
    let objects = objects.collect();
    Ok(build(context, objects, manifests, &verifications))
}

async fn remote_manifests(remote: &Remote, listing: &Listing) -> Result<Vec<Parsed>, Error> {
    let is_manifest = |object: &&store::Object| manifests_of([object.name.as_str()]).next().is_some();
    let mut wanted: Vec<store::Object> = listing.objects.iter().filter(is_manifest).cloned().collect();
    let (mut manifests, mut reading) = (Vec::new(), JoinSet::new());
    loop {
        while reading.len() < AT_ONCE
            && let Some(object) = wanted.pop()
        {
            if let Some(known) = remote.known.get(&object) {
                manifests.push((object.name, known));
                continue;
            }
            let (store, known) = (Arc::clone(&remote.store), Arc::clone(&remote.known));
            reading.spawn(async move {
                if object.bytes > MANIFEST_LIMIT {
                    let bytes = object.bytes;
                    return Ok((object.name, Err(manifest::Error::TooLarge { bytes })));
                }
                // Its length is known: one question less for each.
                let parsed = match store.get(&object.name, 0, object.bytes).await {
                    Ok(bytes) => Manifest::parse(&bytes).map(Arc::new),
                    // Nobody knows then what there is.
                    Err(error) if error.is_of_the_place() => return Err(error),
                    // It is there and cannot be read (frozen, another key): that is something to know of it alone.
                    Err(error) => Err(manifest::Error::Unread { cause: error.to_string() }),
                };
                if !matches!(parsed, Err(manifest::Error::Unread { .. })) {
                    known.keep(&object, &parsed);
                }
                Ok((object.name, parsed))
            });
        }
        match reading.join_next().await {
            Some(read) => manifests.push(read??),
            None => return Ok(manifests),
        }
    }
}

/// Every name in the store.
///
/// # Errors
/// When the store cannot be listed.
pub(super) async fn names(context: &Context) -> Result<BTreeSet<String>, Error> {
    Ok(context.store.list().await?.objects.into_iter().map(|o| o.name).collect())
}

/// The name of a manifest, and what is in it.
type Parsed = (String, Read);

async fn manifests(context: &Context, listing: &Listing) -> Vec<Parsed> {
    let mut manifests = Vec::new();
    let files: Vec<&str> = manifests_of(listing.objects.iter().map(|o| o.name.as_str())).collect();
    for file in files {
        let parsed = match context.store.read(file, MANIFEST_LIMIT).await {
            Ok(bytes) => Manifest::parse(&bytes).map(Arc::new),
            Err(error) => Err(manifest::Error::Unread { cause: error.to_string() }),
        };
        manifests.push((file.to_owned(), parsed));
    }
    manifests
}
