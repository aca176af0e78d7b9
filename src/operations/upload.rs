//! The copies of a backup in the making: they grow with its file, and are completed only after its local commit.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rust_i18n::t;
use tokio::sync::watch;

use super::failpoint::hit;
use super::{Context, Error};
use crate::domain::manifest::{Manifest, Measure};
use crate::domain::name;
use crate::domain::text::escape;
use crate::dump;
use crate::journal::Claim;
use crate::store::{self, Growing, Grown, ReadAt, Store, Upload};

/// How long giving up may take: SIGTERM is followed by SIGKILL within half a minute.
const ABORT: Duration = Duration::from_secs(8);

/// What became of the copy of a backup in one second place.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The place.
    pub place: String,
    /// Why it is not there, in the operator's language.
    pub failed: Option<String>,
}

/// Copies that are on their way; whoever has them has the transfers of their file.
pub struct Copies {
    coming: Vec<Coming>,
    _claim: Option<Claim>,
}

struct Coming {
    store: Arc<dyn Store>,
    upload: Result<Box<dyn Upload>, String>,
}

impl Copies {
    /// Begins them; what comes back is to be told how much of `bytes` is proven. A place that does not take it costs
    /// that copy, never the backup.
    pub(super) async fn begin(
        context: &Context,
        bytes: &Arc<dyn ReadAt>,
        file: &str,
        likely: u64,
    ) -> (Self, watch::Sender<Grown>) {
        let (sender, grown) = watch::channel(Grown::default());
        // Before it can be seen that it is missing there. Nobody else has a name that is being given just now.
        let claim = if context.remotes.is_empty() { None } else { context.claim(file).ok().flatten() };
        let mut coming = Vec::new();
        for remote in &context.remotes {
            let source = Growing { bytes: Arc::clone(bytes), grown: grown.clone() };
            let upload = remote.store.upload(file, source, likely).await.map_err(|error| error.to_string());
            coming.push(Coming { store: remote.store.clone(), upload });
        }
        (Self { coming, _claim: claim }, sender)
    }

    /// None at all.
    pub(super) fn none() -> (Self, watch::Sender<Grown>) {
        (Self { coming: Vec::new(), _claim: None }, watch::channel(Grown::default()).0)
    }

    /// Whether there are any.
    pub(super) fn is_any(&self) -> bool {
        !self.coming.is_empty()
    }

    /// Completes them, after the local commit: data, companion, and then the manifest, whose appearance is the commit there.
    pub(super) async fn finish(self, context: &Context, manifest: &Manifest) -> Vec<Copied> {
        // One that is away keeps none of the others waiting for its commit.
        let copied = join_all(self.coming.into_iter().map(|coming| finish_one(context, manifest, coming))).await;
        for failed in copied.iter().filter_map(|copy| copy.failed.as_ref()) {
            context.warn(t!("sync.not_copied", file = manifest.file, cause = failed));
        }
        copied
    }

    /// Gives them up; says whether nothing of them is left.
    pub(super) async fn abort(self) -> bool {
        let aborting = self.coming.into_iter().map(|coming| async move {
            match coming.upload {
                Ok(upload) => tokio::time::timeout(ABORT, upload.abort()).await.unwrap_or(false),
                Err(_) => true,
            }
        });
        join_all(aborting).await.into_iter().all(|clean| clean)
    }
}

async fn finish_one(context: &Context, manifest: &Manifest, coming: Coming) -> Copied {
    let Coming { store, upload } = coming;
    let place = store.place();
    let done = async {
        complete(context, store.as_ref(), upload?, manifest).await.map_err(|error| error.to_string())?;
        hit("upload.1").await;
        let commit = commit(context, store.as_ref(), manifest);
        context.or_cancelled(commit).await.map_err(|error| error.to_string())
    };
    Copied { place, failed: done.await.err() }
}

/// Completes an upload. Where the run is told to end, what has come so far is taken back before it does.
pub(super) async fn complete<S: Store + ?Sized>(
    context: &Context,
    store: &S,
    upload: Box<dyn Upload>,
    manifest: &Manifest,
) -> Result<(), Error> {
    let done = context.or_cancelled(upload.finish(&manifest.stored)).await;
    if matches!(done, Err(Error::Cancelled)) {
        let ours = |name: &str| name == manifest.file;
        // What stays is swept at the next start.
        let _ = tokio::time::timeout(ABORT, store.sweep_drafts(&ours)).await;
    }
    done.map(drop)
}

/// Deletes what a run of this installation left; refuses what another's did.
pub(super) async fn delete_own(context: &Context, store: &dyn Store, name: &str) -> Result<(), Error> {
    match store.head(name).await {
        // What does not say whose it is is not ours to delete (fault 61).
        Ok(object) if object.owner.as_ref() == Some(&context.rules.installation) => {
            store.delete(name).await?;
            Ok(())
        }
        Ok(_) => Err(store::Error::Exists { name: escape(name), place: store.place() }.into()),
        Err(store::Error::Missing { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What lies here under a name, read whole.
pub(super) async fn measure(context: &Context, file: &str) -> Result<Measure, Error> {
    let reader = context.store.open(file).await?;
    let measured = context.or_cancelled(async {
        tokio::task::spawn_blocking(move || dump::measure_reader(reader)).await.map_err(Error::from)
    });
    Ok(measured.await?.map_err(|source| dump::Error::Read { source })?)
}

/// Puts what belongs to data that lies there already: companion first, then the manifest.
pub(super) async fn commit(context: &Context, store: &dyn Store, manifest: &Manifest) -> Result<(), Error> {
    if let Some(roles) = &manifest.roles_file {
        let bytes = context.store.read(&roles.file, super::backup::ROLES_LIMIT as u64).await?;
        // One of an earlier try may lie there.
        let lies = store.read(&roles.file, bytes.len() as u64).await.is_ok_and(|there| there == bytes);
        if !lies {
            delete_own(context, store, &roles.file).await?;
            store.put(&roles.file, &bytes).await?;
        }
    }
    hit("upload.2").await;
    store.put(&name::manifest_name(&manifest.file), &manifest.to_bytes()).await?;
    hit("upload.3").await;
    Ok(())
}
