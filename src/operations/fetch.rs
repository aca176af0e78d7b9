//! Brings a backup from a second place into the local store: several ranges at once, its hash compared before it gets its name.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rust_i18n::t;

use super::failpoint::hit;
use super::{Context, Error, Remote, catalogue, upload};
use crate::domain;
use crate::domain::catalogue::{Entry, Reason, State};
use crate::domain::manifest::{Manifest, Measure};
use crate::domain::name::{self, Kind};
use crate::domain::text::escape;
use crate::dump::{self, Meter};
use crate::journal::intent::Work;
use crate::store::{self, Draft, Elsewhere, Thaw};

/// How long a place may take to say what it has, where a restore waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a copy was found.
#[derive(Clone)]
pub struct Found {
    /// The place.
    pub store: Arc<dyn Elsewhere>,
    /// Data file.
    pub file: String,
    /// Its manifest, where it has one.
    pub manifest: Option<Arc<Manifest>>,
}

/// The backup that `wanted` names in the second places: a file name, with or without `backups/`, or what
/// [`crate::domain::catalogue::Catalogue::find`] understands. Where several have it each is named, what may be used first: a copy may be damaged.
///
/// # Errors
/// [`Error::NoRemote`]; what kept a place from answering; that none has it.
pub async fn find(context: &Context, wanted: &str) -> Result<Vec<Found>, Error> {
    let (mut found, mut failed) = (Vec::new(), None);
    for remote in &context.remotes {
        let there = match context.or_cancelled(catalogue::load_remote(context, remote)).await {
            Ok(there) => there,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                // That it is in none is not known then.
                failed = Some(error);
                continue;
            }
        };
        match there.find(wanted) {
            // Without its manifest nobody could tell whether what comes is what was sent.
            Ok(Entry { file, state: State::SetAside(reason), manifest: None, .. }) => {
                failed = Some(Error::SetAside { file: file.clone(), reason: reason.to_string() });
            }
            Ok(entry) => found.push((matches!(entry.state, State::SetAside(_)), of(remote, entry))),
            Err(error) if failed.is_none() => failed = Some(error.into()),
            Err(_) => {}
        }
    }
    found.sort_by_key(|(set_aside, _)| *set_aside);
    let mut found: Vec<Found> = found.into_iter().map(|(_, found)| found).collect();
    let Some(first) = found.first() else { return Err(failed.unwrap_or(Error::NoRemote)) };
    let (file, id) = (first.file.clone(), first.manifest.as_ref().map(|manifest| manifest.id.clone()));
    if found.iter().any(|other| other.file != file) {
        let files: BTreeSet<String> = found.iter().map(|found| escape(&found.file)).collect();
        let files = files.into_iter().collect();
        return Err(domain::catalogue::Error::Ambiguous { wanted: escape(wanted), files }.into());
    }
    // What only has the same name is another's: it never takes the place of the one that is meant.
    found.retain(|other| other.manifest.as_ref().map(|manifest| &manifest.id) == id.as_ref());
    Ok(found)
}

fn of(remote: &Remote, entry: &Entry) -> Found {
    Found { store: remote.store.clone(), file: entry.file.clone(), manifest: entry.manifest.clone() }
}

/// The verified backups of this installation that second places have and that are newer than all that lie here, newest first. A place that
/// does not answer is said: nobody waits for it when a restore is urgent.
///
/// # Errors
/// When the local store cannot be listed.
pub async fn newer(context: &Context) -> Result<Vec<Found>, Error> {
    let here = catalogue::load(context).await?;
    let newest = here.latest_verified().map(|entry| entry.date);
    // A damaged copy of it is replaced; what else has its name stays.
    let taken = |wanted: &Entry| {
        let same = here.entries().iter().find(|entry| entry.file == wanted.file);
        let id = |entry: &Entry| entry.manifest.as_ref().map(|manifest| manifest.id.clone());
        same.is_some_and(|same| same.manifest.is_some() && id(same) != id(wanted))
    };
    let mut found = Vec::new();
    for remote in &context.remotes {
        let asked = tokio::time::timeout(PATIENCE, context.or_cancelled(catalogue::load_remote(context, remote)));
        let there = match asked.await {
            Ok(Ok(there)) => there,
            Ok(Err(Error::Cancelled)) => return Err(Error::Cancelled),
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
            e.own && e.kind == Some(Kind::Backup) && state && !taken(e)
        };
        let newer = there.entries().iter().filter(usable).filter(|e| newest.is_none_or(|newest| e.date > newest));
        found.extend(newer.map(|entry| (entry.date, of(remote, entry))));
    }
    // The places stand in the order of the settings where they have the same.
    found.sort_by_key(|(date, _)| std::cmp::Reverse(*date));
    let found: Vec<Found> = found.into_iter().map(|(_, found)| found).collect();
    if let Some(found) = found.first() {
        context.note(t!("fetch.newer", file = escape(&found.file), place = found.store.place()));
    }
    Ok(found)
}

/// A copy that cannot be read yet.
pub struct Thawing {
    /// Data file.
    pub file: String,
    /// Where it lies.
    pub place: String,
    /// It was asked for now; else earlier, and is on its way.
    pub asked: bool,
    /// For so many days it was asked for.
    pub days: u32,
}

impl Thawing {
    /// What was done, and when to come back, in the operator's language.
    #[must_use]
    pub fn said(&self) -> String {
        let (file, place) = (escape(&self.file), escape(&self.place));
        match self.asked {
            true => t!("fetch.thaw_asked", file = file, place = place, days = self.days),
            false => t!("fetch.thaw_coming", file = file, place = place),
        }
        .into_owned()
    }
}

/// Where none of `found` can be read, here neither, asks for one to be readable for `days` days: that costs money. `None`: one is.
///
/// # Errors
/// What keeps their places from being asked.
pub async fn thaw(context: &Context, found: &[Found], days: u32) -> Result<Option<Thawing>, Error> {
    for one in found {
        if matches!(look(context, one).await, Ok(Here::Whole)) {
            return Ok(None);
        }
        match context.or_cancelled(one.store.head(&one.file)).await {
            Ok(object) if object.frozen.is_none() => return Ok(None),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Ok(_) | Err(_) => {}
        }
    }
    let mut failed = Ok(None);
    for one in found {
        match context.or_cancelled(one.store.thaw(&one.file, days)).await {
            Ok(Thaw::Readable) => return Ok(None),
            Ok(state) => {
                let asked = state == Thaw::Asked;
                return Ok(Some(Thawing { file: one.file.clone(), place: one.store.place(), asked, days }));
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => failed = Err(error),
        }
    }
    failed
}

/// Fetches the first of `found` that can be had; says which. Called with the lock held.
///
/// # Errors
/// What kept the last one from coming; nothing of any lies here then.
pub async fn first(context: &Context, found: &[Found]) -> Result<String, Error> {
    let mut failed = Error::NoRemote;
    for one in found {
        match fetch(context, one).await {
            Ok(()) => return Ok(one.file.clone()),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // No other place makes room here.
            Err(error @ (Error::NoSpace { .. } | Error::Intent { .. })) => return Err(error),
            Err(error) => {
                if found.len() > 1 {
                    context.warn(t!("fetch.next", file = escape(&one.file), place = one.store.place(), cause = error));
                }
                failed = error;
            }
        }
    }
    Err(failed)
}

/// What lies here under the name of what is fetched.
enum Here {
    /// Nothing.
    Nothing,
    /// The same backup, and it may be used.
    Whole,
    /// The same backup's data, without its manifest.
    Data,
    /// The same backup, damaged or in part.
    Damaged,
}

/// Fetches it, unless the local store has it already; what lies there then is equal to its manifest, where it has one. A damaged copy of the same
/// backup is replaced in one step. Called with the lock held.
///
/// # Errors
/// [`Error`]; what lay there before lies there then.
pub async fn fetch(context: &Context, found: &Found) -> Result<(), Error> {
    let file = &found.file;
    let here = look(context, found).await?;
    if matches!(here, Here::Whole) {
        context.note(t!("fetch.here", file = escape(file)));
        return Ok(());
    }
    // No rotation there takes it away meanwhile.
    let _claim = context.claim(file).ok().flatten();
    let run = context.new_run();
    if !matches!(here, Here::Data) {
        let (draft, measured) = download(context, found, matches!(here, Here::Damaged)).await?;
        if !matches!(here, Here::Damaged) && found.manifest.is_some() {
            // Data that has no manifest would pass for a file of the old scripts.
            let work = Work::Backup { file: file.clone(), stored: Some(measured) };
            context.put_intent(&run, work)?;
        }
        hit("fetch.1").await;
        tokio::task::spawn_blocking(move || draft.publish()).await??;
    }
    hit("fetch.2").await;
    if let Some(manifest) = &found.manifest {
        commit(context, found, manifest).await?;
    }
    hit("fetch.3").await;
    context.end_intent(&run)
}

async fn look(context: &Context, found: &Found) -> Result<Here, Error> {
    let file = &found.file;
    let here = catalogue::load(context).await?;
    let Some(entry) = here.entries().iter().find(|entry| entry.file == *file) else { return Ok(Here::Nothing) };
    let taken = || Err(store::Error::Exists { name: escape(file), place: context.store.place() }.into());
    let Some(manifest) = &found.manifest else { return Ok(Here::Whole) };
    match (&entry.state, &entry.manifest) {
        (State::Unproven, _) => match upload::measure(context, file).await? == manifest.stored {
            true => Ok(Here::Data),
            false => taken(),
        },
        (_, Some(own)) if own.id != manifest.id => taken(),
        (State::Verified { .. } | State::Committed, _) => Ok(Here::Whole),
        (State::SetAside(Reason::FromTheFuture(_) | Reason::ManifestOfAnother(_)), _) => taken(),
        // Of one whose manifest cannot be read any more the name has to do: for one of ours.
        (State::SetAside(_), None) if manifest.installation != context.rules.installation => taken(),
        (State::SetAside(_), _) => Ok(Here::Damaged),
    }
}

/// Its bytes in a draft, equal to its manifest.
async fn download(context: &Context, found: &Found, over: bool) -> Result<(Box<dyn Draft>, Measure), Error> {
    let file = &found.file;
    let head = context.or_cancelled(found.store.head(file)).await?;
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
    let reader = context.or_cancelled(found.store.open(file)).await?;
    let mut draft = if over { context.store.draft_over(file).await? } else { context.store.draft(file).await? };
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
    // The thread ends with its next byte, or with the process; its draft goes with it, or at the next start.
    let copied = context.or_cancelled(async { copied.await.map_err(Error::from) }).await?;
    let copied = copied.map_err(|error| match store::Error::recover(error) {
        Ok(error) => Error::from(error),
        Err(source) => crate::dump::Error::Read { source }.into(),
    });
    let Some((draft, measured)) = copied? else { return Err(Error::Cancelled) };
    let expected = found.manifest.as_ref().map(|m| m.stored.clone());
    same(file, &measured, expected.as_ref())?;
    Ok((draft, measured))
}

/// Puts what belongs to data that lies here by now: the companion, and the manifest, unless they lie here as they should.
async fn commit(context: &Context, found: &Found, manifest: &Manifest) -> Result<(), Error> {
    if let Some(roles) = &manifest.roles_file {
        let here = context.store.read(&roles.file, super::backup::ROLES_LIMIT as u64).await;
        if !here.is_ok_and(|bytes| dump::measure(&bytes) == roles.stored) {
            let bytes = found.store.read(&roles.file, super::backup::ROLES_LIMIT as u64).await?;
            same(&roles.file, &dump::measure(&bytes), Some(&roles.stored))?;
            put_over(context, &roles.file, bytes).await?;
        }
    }
    let manifest_name = name::manifest_name(&manifest.file);
    let here = context.store.read(&manifest_name, catalogue::MANIFEST_LIMIT).await;
    if here.is_ok_and(|bytes| Manifest::parse(&bytes).is_ok()) {
        catalogue::note(context, manifest, Ok(()));
        return Ok(());
    }
    // It was read whole just now, and nobody shall take it for changed because it is newer than its manifest.
    let verified = Manifest { verified_at: context.clock.now(), ..Manifest::clone(manifest) };
    put_over(context, &manifest_name, verified.to_bytes()).await
}

async fn put_over(context: &Context, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
    let mut draft = context.store.draft_over(name).await?;
    let written = tokio::task::spawn_blocking(move || draft.write_all(&bytes).map(|()| draft)).await?;
    let draft = written.map_err(|error| match store::Error::recover(error) {
        Ok(error) => Error::from(error),
        Err(source) => crate::dump::Error::Read { source }.into(),
    })?;
    Ok(tokio::task::spawn_blocking(move || draft.publish()).await??)
}

pub(super) fn same(file: &str, found: &Measure, expected: Option<&Measure>) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => {
            let what = t!("operations.what.stored", found = found.sha256, expected = expected.sha256).into_owned();
            Err(Error::Unequal { file: file.to_owned(), what })
        }
        _ => Ok(()),
    }
}
