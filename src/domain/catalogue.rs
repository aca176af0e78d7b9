//! What backups there are and how far each is proven, from what a store lists, the manifests, and the journal.
//! Reads nothing itself; where the bytes lie is not known here.
//!
//! A data file whose run left an intent (a crash between data and manifest) is the business of the sweep that
//! runs before: here it looks like any file without a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_i18n::t;

use crate::domain::manifest::{self, Manifest};
use crate::domain::name::{self, BackupName, Kind, Role};
use crate::domain::text::{bytes, escape, nearest};
use crate::error::{Exit, Explain};

/// How far ahead of `now` a date may lie before it is one from the future: clocks of two machines differ.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(15);

/// File systems keep times of changes in steps of up to two seconds, and servers have their own clocks.
const MTIME_TOLERANCE: TimeDelta = TimeDelta::seconds(2);

/// What the catalogue is made from.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// Everything the store lists.
    pub objects: Vec<Object>,
    /// Every manifest of [`manifests_of`], by its own file name, read or not.
    pub manifests: Vec<(String, Result<Arc<Manifest>, manifest::Error>)>,
    /// Readings, in the order they were made: the order counts, not their dates.
    pub verifications: &'a [Verification],
    /// Identities of suspicious backups that a person has accepted.
    pub accepted: &'a BTreeSet<String>,
    /// Our `BACKUP_NAME`.
    pub installation: &'a str,
    /// Our database: files without a manifest are told by its prefix.
    pub database: &'a str,
    /// The zone of the dates in file names.
    pub zone: Tz,
    /// Now.
    pub now: DateTime<Utc>,
}

/// Something a store lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When its bytes were last changed.
    pub modified: DateTime<Utc>,
}

/// A whole reading of a stored backup, from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Name of the data file.
    pub file: String,
    /// When the reading ended.
    pub at: DateTime<Utc>,
    /// Whether all was as the manifest says.
    pub ok: bool,
    /// The manifest's sha256 of the stored bytes, that the reading was held against (without a manifest: what
    /// was read). Ties the reading to this backup, should its name be used again.
    pub stored_sha256: String,
    /// What was wrong, or nothing.
    pub detail: String,
}

/// Names of the manifests among `objects`, to be read for [`Input::manifests`].
pub fn manifests_of<'a>(objects: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    objects.into_iter().filter(|name| matches!(name::role(name), Role::Manifest(_)))
}

/// One backup, or what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the data file.
    pub file: String,
    /// Why it was made; `None`: the name does not tell.
    pub kind: Option<Kind>,
    /// When it was made: by its manifest, else by its name, else by its last change.
    pub date: DateTime<Utc>,
    /// Length of the data file (where that is gone: what the manifest says), bytes.
    pub bytes: u64,
    /// How far it is proven.
    pub state: State,
    /// Its manifest, where that can be read.
    pub manifest: Option<Arc<Manifest>>,
    /// Whether it belongs to this installation: by the manifest, else by the database's name in the file name.
    pub own: bool,
    /// Whether a person has said that it is as it should be, though it looked wrong.
    pub accepted: bool,
}

impl Entry {
    /// Read back whole and found equal to its manifest.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self.state, State::Verified { .. })
    }

    /// Whether something looked wrong when it was made (see [`Manifest::suspicious`]), and nobody has accepted it.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        !self.accepted && self.manifest.as_ref().is_some_and(|m| !m.suspicious.is_empty())
    }
}

/// How far a backup is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Read back whole, equal to its manifest, not changed since.
    Verified {
        /// When it was last read.
        at: DateTime<Utc>,
    },
    /// Its manifest is there, but the file was changed (copied back, touched) after it was last read.
    Committed,
    /// No manifest: a file of the old scripts, or of somebody else.
    Unproven,
    /// Not to be used.
    SetAside(Reason),
}

/// Why an entry is set aside. `Display` is a fragment for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The manifest cannot be read.
    ManifestUnreadable(manifest::Error),
    /// The manifest describes another file: it was renamed or copied.
    ManifestOfAnother(String),
    /// A manifest without its data.
    DataMissing,
    /// The data file does not have the length it was committed with.
    SizeDiffers {
        /// By the manifest, bytes.
        expected: u64,
        /// On the disk, bytes.
        found: u64,
    },
    /// Dated later than now.
    FromTheFuture(DateTime<Utc>),
    /// The last reading found that its bytes are not those of the manifest.
    Damaged {
        /// When that was.
        at: DateTime<Utc>,
        /// What was wrong.
        detail: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |at: &DateTime<Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
        let text = match self {
            Self::ManifestUnreadable(error) => return error.fmt(f),
            Self::ManifestOfAnother(file) => t!("domain.catalogue.manifest_of_another", file = escape(file)),
            Self::DataMissing => t!("domain.catalogue.data_missing"),
            Self::SizeDiffers { expected, found } => {
                t!("domain.catalogue.size_differs", expected = bytes(*expected), found = bytes(*found))
            }
            Self::FromTheFuture(date) => t!("domain.catalogue.future", date = day(date)),
            Self::Damaged { at, detail } => {
                t!("domain.catalogue.damaged", date = day(at), detail = escape(detail))
            }
        };
        f.write_str(&text)
    }
}

/// All backups of a store, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

impl Catalogue {
    /// Puts together what is known.
    #[must_use]
    pub fn build(input: Input<'_>) -> Self {
        let Input { objects, manifests, verifications, accepted, installation, database, zone, now } = input;
        let context = Context { verifications, accepted, installation, database, zone, now };
        let mut data: BTreeMap<String, Object> =
            objects.into_iter().filter(|o| name::role(&o.name) == Role::Data).map(|o| (o.name.clone(), o)).collect();
        let mut entries = Vec::new();
        for (manifest_file, manifest) in manifests {
            let Role::Manifest(file) = name::role(&manifest_file) else { continue };
            entries.push(context.with_manifest(file, data.remove(file), manifest));
        }
        entries.extend(data.into_values().map(|object| context.without_manifest(object)));
        entries.sort_by(|a, b| b.date.cmp(&a.date).then_with(|| b.file.cmp(&a.file)));
        Self { entries }
    }

    /// All of them, newest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// This one, and what only `other` has.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let here: BTreeSet<&str> = self.entries.iter().map(|entry| entry.file.as_str()).collect();
        let more = other.entries.iter().filter(|entry| !here.contains(entry.file.as_str()));
        let mut entries: Vec<Entry> = self.entries.iter().chain(more).cloned().collect();
        entries.sort_by(|a, b| b.date.cmp(&a.date).then_with(|| b.file.cmp(&a.file)));
        Self { entries }
    }

    /// What has a readable manifest, and nothing else.
    #[must_use]
    pub fn only_with_manifest(mut self) -> Self {
        self.entries.retain(|entry| entry.manifest.is_some());
        self
    }

    /// The newest verified backup (not safety or final dumps) of this installation: what `--latest` means.
    #[must_use]
    pub fn latest_verified(&self) -> Option<&Entry> {
        self.entries.iter().find(|e| e.own && e.kind == Some(Kind::Backup) && e.is_verified())
    }

    /// Files without a manifest, newest first.
    pub fn unproven(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.state == State::Unproven)
    }

    /// What to call `entry` where people read it: its file's name without the end, which [`Catalogue::find`] leads back to it;
    /// with the end where it does not.
    #[must_use]
    pub fn short_name<'a>(&self, entry: &'a Entry) -> &'a str {
        let stem = name::stem(&entry.file);
        if self.find(stem).is_ok_and(|found| found.file == entry.file) { stem } else { &entry.file }
    }

    /// The entry that a person means by `wanted`: its file name, that with a path or `backups/` before it, the id
    /// of its run, or a beginning of one of these that fits only one entry.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn find(&self, wanted: &str) -> Result<&Entry, Error> {
        let last = wanted.rsplit('/').next().unwrap_or(wanted);
        let id = |e: &Entry| e.manifest.as_ref().map(|m| m.id.as_str().to_owned());
        if let Some(entry) = self.entries.iter().find(|e| e.file == last) {
            return Ok(entry);
        }
        let exact: Vec<&Entry> = self.entries.iter().filter(|e| id(e).as_deref() == Some(wanted)).collect();
        let begins = |e: &&Entry| e.file.starts_with(last) || id(e).is_some_and(|id| id.starts_with(wanted));
        let candidates = match (exact.is_empty(), last.is_empty()) {
            (false, _) => exact,
            (true, true) => Vec::new(),
            (true, false) => self.entries.iter().filter(begins).collect(),
        };
        match candidates.as_slice() {
            [entry] => Ok(entry),
            [] => Err(Error::NotFound {
                wanted: escape(wanted),
                nearest: nearest(last, self.entries.iter().map(|e| e.file.as_str())).map(escape),
            }),
            several => Err(Error::Ambiguous {
                wanted: escape(wanted),
                files: several.iter().map(|e| escape(&e.file)).collect(),
            }),
        }
    }
}

/// What all entries are judged by.
struct Context<'a> {
    verifications: &'a [Verification],
    accepted: &'a BTreeSet<String>,
    installation: &'a str,
    database: &'a str,
    zone: Tz,
    now: DateTime<Utc>,
}

impl Context<'_> {
    fn with_manifest(
        &self,
        file: &str,
        data: Option<Object>,
        manifest: Result<Arc<Manifest>, manifest::Error>,
    ) -> Entry {
        let manifest = match manifest {
            Ok(manifest) if manifest.file == file => manifest,
            Ok(manifest) => return self.unreadable(file, data, Reason::ManifestOfAnother(manifest.file.clone())),
            Err(error) => return self.unreadable(file, data, Reason::ManifestUnreadable(error)),
        };
        Entry {
            file: file.to_owned(),
            kind: Some(manifest.kind),
            date: manifest.started_at,
            bytes: data.as_ref().map_or(manifest.stored.bytes, |d| d.bytes),
            state: self.state(&manifest, data.as_ref()),
            own: manifest.installation == self.installation,
            accepted: self.accepted.contains(manifest.id.as_str()),
            manifest: Some(manifest),
        }
    }

    fn state(&self, manifest: &Manifest, data: Option<&Object>) -> State {
        let Some(data) = data else { return State::SetAside(Reason::DataMissing) };
        if data.bytes != manifest.stored.bytes {
            let (expected, found) = (manifest.stored.bytes, data.bytes);
            return State::SetAside(Reason::SizeDiffers { expected, found });
        }
        if manifest.started_at > self.now + CLOCK_TOLERANCE {
            return State::SetAside(Reason::FromTheFuture(manifest.started_at));
        }
        let readings = || {
            self.verifications.iter().filter(|v| v.file == manifest.file && v.stored_sha256 == manifest.stored.sha256)
        };
        if let Some(failed) = readings().next_back().filter(|v| !v.ok) {
            return State::SetAside(Reason::Damaged { at: failed.at, detail: failed.detail.clone() });
        }
        // A reading dated by a clock that was ahead proves nothing about what came after it.
        let believable = |at: &DateTime<Utc>| *at <= self.now + CLOCK_TOLERANCE;
        let good = readings().filter(|v| v.ok).map(|v| v.at).chain([manifest.verified_at]).filter(believable).max();
        match good {
            Some(at) if data.modified <= at + MTIME_TOLERANCE => State::Verified { at },
            _ => State::Committed,
        }
    }

    fn unreadable(&self, file: &str, data: Option<Object>, reason: Reason) -> Entry {
        let modified = data.as_ref().map_or(self.now, |d| d.modified);
        let bytes = data.map_or(0, |d| d.bytes);
        Entry {
            state: State::SetAside(reason),
            ..self.without_manifest(Object { name: file.to_owned(), bytes, modified })
        }
    }

    fn without_manifest(&self, data: Object) -> Entry {
        let name = BackupName::parse(&data.name);
        Entry {
            kind: name.as_ref().map(BackupName::kind),
            date: name.as_ref().map_or(data.modified, |n| n.date(self.zone)),
            bytes: data.bytes,
            state: State::Unproven,
            manifest: None,
            own: name.is_some_and(|n| n.is_of(self.database)),
            accepted: false,
            file: data.name,
        }
    }
}

/// Why no entry is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// None fits.
    #[error("{}", t!("domain.catalogue.not_found", wanted = wanted))]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// Several fit.
    #[error("{}", t!("domain.catalogue.ambiguous", wanted = wanted, count = files.len()))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Those that fit.
        files: Vec<String>,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound { nearest: Some(nearest), .. } => {
                t!("domain.catalogue.not_found_nearest_hint", nearest = nearest)
            }
            Self::NotFound { nearest: None, .. } => t!("domain.catalogue.not_found_hint"),
            Self::Ambiguous { files, .. } => t!("domain.catalogue.ambiguous_hint", files = files.join(", ")),
        };
        Some(hint.into_owned())
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

#[cfg(test)]
pub(crate) mod tests;
