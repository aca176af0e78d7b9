//! The supervisor's jobs, done by an installation whose settings may be read again while it lives.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use chrono_tz::Tz;
use rust_i18n::t;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{App, post, record, refused_supervisor};
use crate::domain::schedule::Schedule;
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations::{catalogue, verify};
use crate::process;
use crate::process::signals::Wishes;
use crate::settings::Settings;
use crate::supervisor::state::{Refused, StateFile};
use crate::supervisor::{Asked, BackedUp, Jobs, Outcome, Supervisor};

/// How long runs that people started may take to end: the engine kills the container 30 s after its SIGTERM.
const SIBLINGS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(25);

/// Variables that are used up at the start: the lock of a supervisor is on its directory, and its log is open.
const AT_START: [&str; 3] = ["BACKUP_DIR", "BACKUP_LOG", "BACKUP_LOG_FILE"];

/// Reads the settings again.
pub type Reload = Box<dyn Fn() -> Result<Settings, Failure> + Send + Sync>;

/// What the supervisor works with.
struct Sidecar {
    app: RwLock<App>,
    reload: Reload,
}

impl App {
    /// Runs the supervisor until the process is told to end; then ends the runs that people started in this container.
    ///
    /// # Errors
    /// Exit code 4 when another supervisor has this directory.
    pub async fn supervise(&self, wishes: Arc<Wishes>, reload: Reload) -> Result<(), Failure> {
        let dir = self.settings.backup_dir.clone();
        for doubt in &self.settings.doubts {
            self.warn(t!("settings.doubt", name = escape(&doubt.name)));
            self.note(t!("settings.doubt_hint", name = escape(&doubt.name), meant = doubt.meant));
        }
        let state = StateFile::take(&dir, self.clock.now()).map_err(|refused| refused_supervisor(&dir, &refused))?;
        let supervisor = Supervisor {
            clock: Arc::clone(&self.clock),
            pace: Arc::clone(&self.pace),
            jobs: Arc::new(Sidecar { app: RwLock::new(self.clone()), reload }),
            observer: Arc::clone(&self.observer),
            state,
            wishes,
        };
        // The container goes with this process, and takes the runs of `docker compose exec` with it without a word.
        // On a host the others are other people's.
        let (siblings, in_container) = (self.cancel.clone(), self.settings.in_container);
        let ending = tokio::spawn(async move {
            siblings.cancelled().await;
            if in_container {
                process::siblings::end_all(SIBLINGS_PATIENCE).await;
            }
        });
        let ran = supervisor.run(&self.cancel).await;
        if self.cancel.is_cancelled() {
            // Only a panic of that task could be lost here, and the process ends anyway.
            let _ = ending.await;
        }
        ran.map_err(|error| refused_supervisor(&dir, &Refused::Io(error)))
    }
}

impl Sidecar {
    /// With the settings that hold now, and to end when `cancel` says so.
    fn app(&self, cancel: &CancellationToken, asked: &str) -> App {
        let app = self.app.read().unwrap_or_else(PoisonError::into_inner).clone();
        App { cancel: cancel.clone(), asked: asked.into(), ..app }
    }

    fn scheduled(&self, cancel: &CancellationToken) -> App {
        self.app(cancel, "schedule")
    }

    fn now(&self) -> App {
        self.app.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How `result` ended, once it has been said.
fn outcome(app: &App, result: Result<(), Failure>) -> Outcome {
    match result {
        Ok(()) => Outcome::Ended,
        Err(failure) if failure.exit == Exit::Locked => Outcome::Busy,
        Err(failure) => app.tell(&failure),
    }
}

/// What differs, by the names of the variables.
fn changed(before: &Settings, after: &Settings) -> Vec<&'static str> {
    let old: BTreeMap<_, _> = before.entries.iter().map(|entry| (entry.name, entry)).collect();
    let differs = |name: &&'static str| {
        let new = after.entries.iter().find(|entry| entry.name == *name);
        old.get(name).copied() != new
    };
    let mut names: Vec<&'static str> = after.entries.iter().map(|entry| entry.name).filter(differs).collect();
    // They are shown as stars: that they are others is known from themselves alone.
    let exposed = |settings: &Settings| -> Vec<String> {
        settings.secrets().iter().map(|secret| secret.expose().to_owned()).collect()
    };
    if names.is_empty() && exposed(before) != exposed(after) {
        names.push("***");
    }
    names
}

#[async_trait]
impl Jobs for Sidecar {
    fn schedule(&self) -> (Schedule, Tz) {
        let app = self.app.read().unwrap_or_else(PoisonError::into_inner);
        (app.settings.schedule.clone(), app.settings.zone)
    }

    async fn reload(&self) {
        let app = self.now();
        let settings = match (self.reload)() {
            Ok(settings) => settings,
            Err(failure) => {
                app.warn(t!("supervisor.reload_refused", cause = failure.message));
                return;
            }
        };
        let names = changed(&app.settings, &settings);
        if let Some(name) = AT_START.into_iter().find(|name| names.contains(name)) {
            let cause = t!("supervisor.reload_restart", name = name);
            app.warn(t!("supervisor.reload_refused", cause = cause));
            return;
        }
        if names.is_empty() {
            app.note(t!("supervisor.reloaded_same"));
            return;
        }
        settings.language.use_everywhere();
        app.note(t!("supervisor.reloaded", changed = names.join(", ")));
        self.app.write().unwrap_or_else(PoisonError::into_inner).settings = Arc::new(settings);
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn backup(&self, asked: Asked, cancel: &CancellationToken) -> BackedUp {
        let app = self.app(cancel, if asked == Asked::Signal { "signal" } else { "schedule" });
        // Looked at first: a slot that waits for a long restore asks every few seconds, and each try would be a run in the journal.
        if app.holder().is_some() {
            return Outcome::Busy.into();
        }
        if asked == Asked::Signal {
            app.note(t!("supervisor.asked"));
        }
        match record::begin_backup(&app).await {
            Err(failure) if failure.exit == Exit::Locked => Outcome::Busy.into(),
            Err(failure) => app.tell(&failure).into(),
            Ok(begun) => {
                let rest = async move {
                    let made = begun.copy(&app).await;
                    record::tell(&app, &made);
                };
                BackedUp { outcome: Outcome::Ended, rest: Some(Box::pin(rest.in_current_span())) }
            }
        }
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn sync(&self, cancel: &CancellationToken) -> Outcome {
        let app = self.scheduled(cancel);
        if app.settings.s3.is_empty() {
            return Outcome::Ended;
        }
        match record::sync_beside(&app).await {
            Ok(synced) if synced.failed.is_empty() => Outcome::Ended,
            Ok(_) => Outcome::Failed,
            Err(failure) => outcome(&app, Err(failure)),
        }
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn prune(&self, cancel: &CancellationToken) -> Outcome {
        let app = self.scheduled(cancel);
        // As with a backup: each try would be a run in the journal.
        if app.holder().is_some() {
            return Outcome::Busy;
        }
        let pruned = record::prune(&app).await;
        // It gave way to a backup, or the process ends.
        if cancel.is_cancelled() { Outcome::Busy } else { outcome(&app, pruned.map(drop)) }
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn verify(&self, cancel: &CancellationToken) -> Outcome {
        let app = self.scheduled(cancel);
        match verify_sample(&app).await {
            // It gave way to a backup, and goes on after it.
            _ if cancel.is_cancelled() => Outcome::Busy,
            // Said already.
            Ok(false) => Outcome::Failed,
            result => outcome(&app, result.map(drop)),
        }
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn watch(&self, cancel: &CancellationToken) -> Outcome {
        let app = self.scheduled(cancel);
        let watched = app.watch().await;
        app.digest();
        outcome(&app, watched.map(drop))
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn deliver(&self, cancel: &CancellationToken) -> Outcome {
        let delivered = self.now().deliver(cancel, post::TICK_LIMIT).await;
        if delivered.failed == 0 { Outcome::Ended } else { Outcome::Failed }
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn mend(&self, _: &CancellationToken) -> Outcome {
        let app = self.now();
        let pending = app.intents().pending().map(|p| p.intents).unwrap_or_default();
        if pending.is_empty() || app.left.is_known(&pending, app.clock.now()) {
            return Outcome::Ended;
        }
        let mended = app.mend_now().await;
        if mended.is_ok() {
            app.left.keep(app.intents().pending().map(|p| p.intents).unwrap_or_default(), app.clock.now());
        }
        outcome(&app, mended)
    }

    #[tracing::instrument(name = "job", level = "error", skip_all, fields(run))]
    async fn expire(&self, cancel: &CancellationToken) -> Outcome {
        match self.scheduled(cancel).expire_now().await {
            Err(failure) if failure.exit == Exit::Locked => Outcome::Busy,
            // A server that is away for a while is the nightly backup's news, not this chore's: it is tried again less and less often.
            Err(failure) => {
                tracing::debug!(failure.message, "expire");
                Outcome::Failed
            }
            Ok(()) => Outcome::Ended,
        }
    }
}

/// Reads again what was not read for the longest time. What cannot be read at all says nothing, and is no reason to leave the others.
/// Says whether all were good.
async fn verify_sample(app: &App) -> Result<bool, Failure> {
    let most = app.settings.verify_sample as usize;
    if most == 0 {
        return Ok(true);
    }
    let context = app.context().await?;
    let catalogue = catalogue::load(&context).await?;
    let candidates = verify::oldest_readings(&catalogue);
    if candidates.is_empty() {
        return Ok(true);
    }
    let record = record::Record::new(app, record::RunKind::Verify);
    record.begin(app);
    let (mut read, mut about, mut bad) = (0, None, None);
    for entry in candidates {
        if read == most {
            break;
        }
        let of_entry = || Some((entry.file.clone(), entry.bytes));
        match verify::verify(&context, entry).await {
            Ok(verified) => {
                read += usize::from(verified.told);
                if let Err(error) = verified.result {
                    app.warn(error.to_string());
                    let exit = if verified.told { Exit::ProofFailed } else { Exit::Failed };
                    bad.get_or_insert((of_entry(), Failure { message: error.to_string(), hint: None, exit }));
                }
                about = of_entry();
            }
            // It is no failure that a backup was more important.
            Err(_) if app.cancel.is_cancelled() => {
                record.end(app, Exit::Locked, about, None);
                return Ok(true);
            }
            Err(error) => {
                let failure = Failure::from(error);
                record.end(app, failure.exit, of_entry(), Some(&failure));
                return Err(failure);
            }
        }
    }
    let Some((about, failure)) = bad else {
        record.end(app, Exit::Done, about, None);
        return Ok(true);
    };
    record.end(app, failure.exit, about, Some(&failure));
    Ok(false)
}
