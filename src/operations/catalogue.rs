//! Reading the catalogue: the store's listing, the manifests in it, and the journal's verifications.

use std::collections::BTreeSet;

use super::{Context, Error};
use crate::domain::catalogue::{Catalogue, Input, Object, manifests_of};
use crate::domain::manifest::{self, Manifest};
use crate::store::{self, Listing};

/// Manifests of ten thousand tables are a few megabytes.
const MANIFEST_LIMIT: u64 = 64 * 1024 * 1024;

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
