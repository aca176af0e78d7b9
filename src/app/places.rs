//! The second places and how long backups stay anywhere, from the settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::App;
use crate::domain::retention;
use crate::operations::Remote;
use crate::operations::catalogue::Known;
use crate::settings;
use crate::store::Elsewhere;
use crate::store::absent::Absent;
use crate::store::s3::{self, S3Store};

/// Manifests that were read in second places: whoever looks every quarter of an hour reads each once.
#[derive(Default)]
pub struct KnownPlaces(Mutex<BTreeMap<String, Arc<Known>>>);

impl KnownPlaces {
    fn of(&self, place: &str) -> Arc<Known> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(place.to_owned()).or_default())
    }
}

impl App {
    /// The stores of copies elsewhere. One that cannot be used fails when it is: that keeps nobody from a local backup or restore.
    pub(super) fn remotes(&self, installation: &str) -> Vec<Remote> {
        let local = self.retention();
        let each = self.settings.s3.iter().map(|s3| {
            let config = s3_config(s3, installation);
            let place = s3::place_of(&config);
            let made = S3Store::new(config, s3.bandwidth.clone(), Arc::clone(&self.clock), self.settings.zone);
            let store: Arc<dyn Elsewhere> = match made {
                Ok(store) => Arc::new(store),
                Err(error) => Arc::new(Absent::new(place, error)),
            };
            let own = s3.days.is_some() || s3.keep.is_set();
            let retention = if own { retention::Policy { days: s3.days, keep: s3.keep, ..local } } else { local };
            let known = self.known.of(&store.place());
            Remote { store, retention, known }
        });
        each.collect()
    }

    /// Names of what lies elsewhere, for whoever waits at a keyboard: what a place says within `patience`, and the engine is not asked.
    pub async fn names_elsewhere(&self, patience: std::time::Duration) -> Vec<String> {
        let installation = self.known_installation().unwrap_or_default();
        let mut names = Vec::new();
        for remote in self.remotes(&installation) {
            if let Ok(Ok(listing)) = tokio::time::timeout(patience, remote.store.list()).await {
                names.extend(listing.objects.into_iter().map(|object| object.name));
            }
        }
        names
    }

    pub(super) fn retention(&self) -> retention::Policy {
        let s = &self.settings;
        retention::Policy {
            days: s.retention.days,
            keep: s.retention.keep,
            zone: s.zone,
            keep_verified: s.retention.keep_verified,
            safety_days: s.retention.safety_days,
        }
    }
}

/// The settings of a store, as the store has them.
fn s3_config(from: &settings::S3, installation: &str) -> s3::Config {
    let encryption = match &from.encryption {
        settings::s3::Encryption::Unsaid => s3::Encryption::Unsaid,
        settings::s3::Encryption::Store => s3::Encryption::Store,
        settings::s3::Encryption::Kms(key) => s3::Encryption::Kms(key.clone()),
        settings::s3::Encryption::Customer(key) => s3::Encryption::customer(key.expose()),
    };
    let tags = from.tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    s3::Config {
        bucket: from.bucket.clone(),
        endpoint: from.endpoint.clone(),
        region: from.region.clone(),
        access_key_id: from.access_key_id.expose().to_owned(),
        secret_access_key: from.secret_access_key.expose().to_owned(),
        session_token: from.session_token.as_ref().map(|token| token.expose().to_owned()),
        prefix: from.prefix.clone(),
        path_style: match from.path_style {
            settings::s3::PathStyle::Yes => s3::PathStyle::Path,
            settings::s3::PathStyle::No => s3::PathStyle::Host,
            settings::s3::PathStyle::Auto => s3::PathStyle::Auto,
        },
        ca_file: from.ca_file.clone(),
        parallel: from.parallel,
        deadline: from.deadline,
        making: s3::Making {
            storage_class: from.storage_class.clone(),
            encryption,
            tags: s3::tagging(tags),
            lock: from.lock.map(|lock| (lock.days, lock.compliance)),
        },
        owner: installation.to_owned(),
    }
}
