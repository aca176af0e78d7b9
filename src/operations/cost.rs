//! What lies where, as the estimate of costs wants it.

use std::time::Duration;

use rust_i18n::t;

use super::{Context, Error, catalogue};
use crate::domain::catalogue::{Catalogue, Entry};
use crate::domain::cost::Kept;
use crate::domain::name::Kind;
use crate::domain::retention::Policy;

/// A place and what lies there.
pub struct Place {
    /// For people.
    pub name: String,
    /// `None`: it did not say.
    pub kept: Option<Vec<Kept>>,
    /// How long it stays there.
    pub policy: Policy,
}

/// All places, this one first.
pub struct Places {
    /// In the order of the settings.
    pub all: Vec<Place>,
    /// The nightly backups of the newest one's format, each once: from them the trend is read.
    pub trend: Vec<Kept>,
}

/// Asks every place what it has; each elsewhere at most for `patience`.
///
/// # Errors
/// When this place cannot be listed.
pub async fn look(context: &Context, patience: Duration) -> Result<Places, Error> {
    let here = catalogue::load(context).await?;
    let place = |name, catalogue: Option<&Catalogue>, policy| Place { name, kept: catalogue.map(kept), policy };
    let mut all = vec![place(context.store.place(), Some(&here), context.rules.retention)];
    let mut known = here;
    for remote in &context.remotes {
        let name = remote.store.place();
        let answer = match tokio::time::timeout(patience, catalogue::load_remote(context, remote)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(t!("cmd.list.no_answer", seconds = patience.as_secs()).into_owned()),
        };
        let there = answer.inspect_err(|cause| {
            context.warn(t!("cmd.list.place_unknown", place = name, cause = cause));
        });
        all.push(place(name, there.as_ref().ok(), remote.retention));
        if let Ok(there) = there {
            known = known.merged(&there);
        }
    }
    Ok(Places { all, trend: trend(&known) })
}

fn kept(catalogue: &Catalogue) -> Vec<Kept> {
    // What another installation keeps is on its bill.
    catalogue.entries().iter().filter(|entry| entry.own).map(one).collect()
}

fn one(entry: &Entry) -> Kept {
    Kept { date: entry.date, bytes: entry.bytes, nightly: entry.kind == Some(Kind::Backup) }
}

fn trend(catalogue: &Catalogue) -> Vec<Kept> {
    let nightly =
        || catalogue.entries().iter().filter(|e| e.own && e.kind == Some(Kind::Backup) && e.manifest.is_some());
    let format = |entry: &Entry| entry.manifest.as_ref().map(|m| m.compression.clone());
    let Some(newest) = nightly().next().map(format) else { return Vec::new() };
    nightly().filter(|entry| format(entry) == newest).map(one).collect()
}
