//! Reading the catalogue: the store's listing, the manifests in it, and the journal's verifications.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Context, Error};
use crate::domain::catalogue::{Catalogue, Input, Object, manifests_of};
use crate::domain::manifest::{self, Manifest};
use crate::domain::name;
use crate::store::{self, Listing, Store};

/// Manifests of ten thousand tables are a few megabytes.
pub(super) const MANIFEST_LIMIT: u64 = 64 * 1024 * 1024;

/// Manifests of a second place that are read at once.
const AT_ONCE: usize = 8;

/// What there is.
///
/// # Errors
/// When the store cannot be listed. A manifest that cannot be read is an entry that is set aside, not an error; without the
/// journal nothing counts as verified later than its commit.
pub async fn load(context: &Context) -> Result<Catalogue, Error> {
    let listing = context.store.list().await?;
    let manifests = manifests(context, &listing).await;
    let verifications = context.journal.verifications().unwrap_or_else(|error| {
        context.warn(error.to_string());
        Vec::new()
    });
    Ok(Catalogue::build(Input {
        objects: listing.objects.iter().map(object).collect(),
        manifests,
        verifications: &verifications,
        installation: &context.rules.installation,
        database: context.database.name(),
        zone: context.rules.zone,
        now: context.clock.now(),
    }))
}

fn object(o: &store::Object) -> Object {
    Object { name: o.name.clone(), bytes: o.bytes, modified: o.modified }
}

/// What there is in a second place, by the manifests there. A copy is as proven as its last comparison: what was put there
/// before its manifest was compared then, and whether it was changed after that is told by its date.
///
/// # Errors
/// When the store cannot be listed.
pub async fn load_remote(context: &Context, store: &Arc<dyn Store>) -> Result<Catalogue, Error> {
    let listing = store.list().await?;
    let names = listing.objects.iter().map(|o| o.name.as_str());
    let mut wanted: Vec<String> = manifests_of(names).map(str::to_owned).collect();
    let (mut manifests, mut reading) = (Vec::new(), JoinSet::new());
    loop {
        while reading.len() < AT_ONCE
            && let Some(file) = wanted.pop()
        {
            let store = Arc::clone(store);
            reading.spawn(async move {
                let parsed = match store.read(&file, MANIFEST_LIMIT).await {
                    Ok(bytes) => Manifest::parse(&bytes),
                    Err(error) => Err(manifest::Error::Unread { cause: error.to_string() }),
                };
                (file, parsed)
            });
        }
        match reading.join_next().await {
            Some(read) => manifests.push(read?),
            None => break,
        }
    }
    let committed: BTreeMap<&str, &store::Object> = listing.objects.iter().map(|o| (o.name.as_str(), o)).collect();
    let objects = listing.objects.iter().map(|o| {
        let manifest = manifests.iter().find(|(file, _)| *file == name::manifest_name(&o.name));
        let verified_at = manifest.and_then(|(_, m)| m.as_ref().ok()).map(|m| m.verified_at);
        let at = committed.get(name::manifest_name(&o.name).as_str()).map(|m| m.modified);
        match (verified_at, at) {
            (Some(verified_at), Some(at)) if o.modified <= at => Object { modified: verified_at, ..object(o) },
            _ => object(o),
        }
    });
    let objects: Vec<_> = objects.collect();
    Ok(Catalogue::build(Input {
        objects,
        manifests,
        verifications: &[],
        installation: &context.rules.installation,
        database: context.database.name(),
        zone: context.rules.zone,
        now: context.clock.now(),
    }))
}

/// Every name in the store.
///
/// # Errors
/// When the store cannot be listed.
pub(super) async fn names(context: &Context) -> Result<BTreeSet<String>, Error> {
    Ok(context.store.list().await?.objects.into_iter().map(|o| o.name).collect())
}

async fn manifests(context: &Context, listing: &Listing) -> Vec<(String, Result<Manifest, manifest::Error>)> {
    let mut manifests = Vec::new();
    let files: Vec<&str> = manifests_of(listing.objects.iter().map(|o| o.name.as_str())).collect();
    for file in files {
        let parsed = match context.store.read(file, MANIFEST_LIMIT).await {
            Ok(bytes) => Manifest::parse(&bytes),
            Err(error) => Err(manifest::Error::Unread { cause: error.to_string() }),
        };
        manifests.push((file.to_owned(), parsed));
    }
    manifests
}
