//! Which backup: the newest verified one of this installation, one by name, or a file of another place.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_i18n::t;

use super::Source;
use crate::domain::catalogue::{Catalogue, Entry, State};
use crate::domain::manifest::Manifest;
use crate::domain::name::{self, BackupName};
use crate::domain::text::escape;
use crate::operations::{Context, Error, catalogue};
use crate::store::{self, Pin, Store};

/// The backup that was chosen.
pub(super) struct Chosen {
    pub store: Arc<dyn Store>,
    pub file: String,
    pub date: DateTime<Utc>,
    pub manifest: Option<Arc<Manifest>>,
    pub notices: Vec<String>,
    /// Keeps it from a rotation while the operator thinks (fault 67).
    pub pin: Option<Pin>,
}

pub(super) async fn choose(context: &Context, source: &Source) -> Result<Chosen, Error> {
    let mut chosen = find(context, source).await?;
    if !matches!(source, Source::Elsewhere(..)) {
        chosen.pin = Some(context.store.pin(&chosen.file).await?);
    }
    Ok(chosen)
}

async fn find(context: &Context, source: &Source) -> Result<Chosen, Error> {
    match source {
        Source::Latest => latest(context, &catalogue::load(context).await?),
        Source::Name(name) => by_name(context, &catalogue::load(context).await?, name),
        Source::Elsewhere(store, file) => elsewhere(context, store, file).await,
    }
}

fn latest(context: &Context, catalogue: &Catalogue) -> Result<Chosen, Error> {
    if let Some(entry) = catalogue.latest_verified() {
        return Ok(from_entry(context, entry));
    }
    let unproven: Vec<String> = catalogue.unproven().map(|e| e.file.clone()).collect();
    if !unproven.is_empty() {
        return Err(Error::OnlyUnproven { files: unproven });
    }
    // Something is there, but nothing that may be taken unasked: say what, not that there is nothing.
    match catalogue.entries().first() {
        Some(Entry { file, state: State::SetAside(reason), .. }) => {
            Err(Error::SetAside { file: file.clone(), reason: reason.to_string() })
        }
        Some(entry) => Err(Error::OnlyUnproven { files: vec![entry.file.clone()] }),
        None => Err(Error::NoBackups { place: context.store.place() }),
    }
}

fn by_name(context: &Context, catalogue: &Catalogue, name: &str) -> Result<Chosen, Error> {
    let entry = catalogue.find(name)?;
    match &entry.state {
        State::SetAside(reason) => Err(Error::SetAside { file: entry.file.clone(), reason: reason.to_string() }),
        State::Verified { .. } | State::Committed | State::Unproven => Ok(from_entry(context, entry)),
    }
}

fn from_entry(context: &Context, entry: &Entry) -> Chosen {
    let mut notices = Vec::new();
    match &entry.manifest {
        Some(manifest) if !entry.own => {
            notices.push(t!("restore.other_installation", name = escape(&manifest.installation)).into_owned());
        }
        Some(manifest) => {
            notices.extend(manifest.suspicious.iter().map(|s| t!("backup.suspicious", suspicion = s).into_owned()))
        }
        None => notices.push(t!("restore.unproven").into_owned()),
    }
    Chosen {
        store: context.store.clone(),
        file: entry.file.clone(),
        date: entry.date,
        manifest: entry.manifest.clone(),
        notices,
        pin: None,
    }
}

/// A file outside the store: with its manifest beside it, or none.
async fn elsewhere(context: &Context, store: &Arc<dyn Store>, file: &str) -> Result<Chosen, Error> {
    let mut notices = Vec::new();
    let manifest = match store.read(&name::manifest_name(file), 64 * 1024 * 1024).await {
        Ok(bytes) => match Manifest::parse(&bytes) {
            Ok(manifest) if manifest.file == file => Some(Arc::new(manifest)),
            Ok(manifest) => {
                notices.push(t!("restore.manifest_of_another", file = escape(&manifest.file)).into_owned());
                None
            }
            Err(error) => return Err(Error::SetAside { file: file.to_owned(), reason: error.to_string() }),
        },
        Err(store::Error::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match &manifest {
        None => notices.push(t!("restore.unproven").into_owned()),
        Some(m) if m.installation != context.rules.installation => {
            notices.push(t!("restore.other_installation", name = escape(&m.installation)).into_owned());
        }
        Some(_) => {}
    }
    let named = BackupName::parse(file).map(|n| n.date(context.rules.zone));
    let listed = store.list().await?.objects.into_iter().find(|o| o.name == file).map(|o| o.modified);
    let date = manifest.as_ref().map(|m| m.started_at).or(named).or(listed).unwrap_or_else(|| context.clock.now());
    Ok(Chosen { store: Arc::clone(store), file: file.to_owned(), date, manifest, notices, pin: None })
}
