//! Runs as the journal has them: begun, ended, how. A journal that fails is a warning, never a failed run.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_i18n::t;

use super::App;
use crate::domain::name::Kind;
use crate::domain::run::RunId;
use crate::domain::text::{bytes, escape};
use crate::error::{Exit, Failure};
use crate::journal::{End, Journal};
use crate::operations::backup::{self, Made};
use crate::operations::sync::{self, Synced};
use crate::operations::{self, Context, catalogue, heal, remote};

pub use crate::journal::{Outcome, Run, RunKind};

/// Makes a backup of the settings' database, with the lock, and its copies without it; writes it into the journal.
///
/// # Errors
/// [`Failure`].
pub async fn backup(app: &App) -> Result<Made, Failure> {
    let all_sent = send_earlier(app).await;
    let begun = begin_backup(app).await?;
    let context = begun.context.clone();
    let made = begun.copy(app).await;
    // Where this one could not be sent the store is away, and asked again within the hour.
    if !all_sent
        && partial(&made) == Exit::Done
        && let Err(error) = sync::sync(&context, SYNC_PATIENCE).await
    {
        app.warn(error.to_string());
    }
    Ok(made)
}

/// Makes a backup, with the lock, and writes it into the journal; its copies are on their way.
///
/// # Errors
/// [`Failure`].
pub async fn begin_backup(app: &App) -> Result<Begun, Failure> {
    let record = Record::new(app, RunKind::Backup);
    let result = async {
        let context = app.context().await?;
        let lock = app.lock(&context).await?;
        record.begin(app);
        let made = backup::backup(&context, Kind::Backup, context.database.name()).await?;
        // Whoever looks while the copies are on their way, or after a power cut, finds what holds then.
        let exit = if made.is_leaving() { Exit::Partial } else { Exit::Done };
        record.end(app, exit, Some((made.manifest.file.clone(), made.manifest.stored.bytes)), None);
        // From here on it is a backup. What follows may take hours, and nobody who restores waits for it.
        drop(lock);
        Ok((context, made))
    };
    match result.await {
        Ok((context, made)) => Ok(Begun { record, context, made }),
        Err(failure) => {
            let failure: Failure = failure;
            record.end(app, failure.exit, None, Some(&failure));
            Err(failure)
        }
    }
}

/// A backup that is committed here.
pub struct Begun {
    record: Record,
    context: Context,
    made: Made,
}

impl Begun {
    /// Completes its copies, and clears up in their places.
    pub async fn copy(self, app: &App) -> Made {
        let Self { record, context, mut made } = self;
        if !made.is_leaving() {
            return made;
        }
        made.copy(&context).await;
        let (file, bytes) = (made.manifest.file.clone(), made.manifest.stored.bytes);
        record.end(app, partial(&made), Some((file, bytes)), None);
        for (remote, copy) in context.remotes.iter().zip(&made.copies) {
            // One that is away is cleared up another time.
            if copy.failed.is_none()
                && let Err(error) = remote::apply(&context, remote).await
            {
                app.warn(error.to_string());
            }
        }
        made
    }
}

/// What a run tells at its end: what was made, and the three lines where it lies and what is kept.
pub fn tell(app: &App, made: &Made) {
    let m = &made.manifest;
    let seconds = (m.finished_at - m.started_at).num_milliseconds() as f64 / 1000.0;
    let path = app.settings.backup_dir.join(&m.file);
    let mut lines = vec![
        t!(
            "cmd.backup.done",
            file = m.file,
            size = bytes(m.stored.bytes),
            seconds = format!("{seconds:.1}"),
            lane = m.lane,
            rows = m.content.rows(),
            tables = m.content.tables.len()
        )
        .into_owned(),
        t!("cmd.backup.memory", size = bytes(App::peak_memory())).into_owned(),
        t!("cmd.backup.local", path = escape(&path.display().to_string())).into_owned(),
    ];
    if made.copies.is_empty() {
        lines.push(t!("cmd.backup.remote_none").into_owned());
    }
    for copy in &made.copies {
        lines.push(match &copy.failed {
            None => t!("cmd.backup.remote", place = copy.place).into_owned(),
            Some(cause) => t!("cmd.backup.remote_missing", place = copy.place, cause = cause).into_owned(),
        });
    }
    if let Some(plan) = &made.pruned {
        let removed = plan.deletions().count();
        let kept = plan.decisions.len() - removed;
        lines.push(t!("cmd.backup.kept", kept = kept, removed = removed).into_owned());
    }
    for line in lines {
        app.note(line);
    }
}

/// Where a copy elsewhere is wanted, a backup on this machine alone is half of what was asked for.
#[must_use]
pub fn partial(made: &Made) -> Exit {
    if made.copies.iter().any(|copy| copy.failed.is_some()) { Exit::Partial } else { Exit::Done }
}

/// How long a place may take to say what it has, where nobody waits.
const SYNC_PATIENCE: Duration = Duration::from_secs(600);
/// And where a backup waits.
const BACKUP_PATIENCE: Duration = Duration::from_secs(20);
/// How long a backup waits for what earlier ones left to be sent: its own moment counts more.
const BEFORE: Duration = Duration::from_secs(300);

/// Sends what no second place has yet, and writes it into the journal if there was anything.
///
/// # Errors
/// [`Failure`].
pub async fn sync(app: &App) -> Result<Synced, Failure> {
    let context = app.context().await?;
    // What a dead run left is mended first, where nobody is at work. Whoever is has nothing that this would touch.
    match app.lock(&context).await {
        // A database that is away is no reason to keep its backups from their second place: rather the contrary.
        Err(failure) if failure.exit != Exit::Locked => app.warn(failure.message),
        _ => {}
    }
    sync_of(app, &context).await
}

/// As [`sync`], for whoever mends in another way: it never takes the lock.
///
/// # Errors
/// [`Failure`].
pub async fn sync_beside(app: &App) -> Result<Synced, Failure> {
    let context = app.context().await?;
    sync_of(app, &context).await
}

async fn sync_of(app: &App, context: &Context) -> Result<Synced, Failure> {
    let record = Record::new(app, RunKind::Sync);
    let result = sync::sync(context, SYNC_PATIENCE).await.map_err(Failure::from);
    match &result {
        Ok(synced) if synced.copied.is_empty() && synced.failed.is_empty() => {}
        Ok(synced) => {
            let exit = if synced.failed.is_empty() { Exit::Done } else { Exit::Partial };
            record.begin(app);
            record.end(app, exit, None, None);
        }
        Err(failure) => record.end(app, failure.exit, None, Some(failure)),
    }
    result
}

/// Replaces what is damaged here by what a second place has: each file, and where its good copy was found.
///
/// # Errors
/// [`Failure`]; exit code 4 when another run is at work.
pub async fn heal(app: &App) -> Result<Vec<(String, Option<String>)>, Failure> {
    let context = app.context().await?;
    let _lock = app.lock(&context).await?;
    let here = catalogue::load(&context).await?;
    let mut healed = Vec::new();
    for entry in heal::damaged(&here) {
        let from = match heal::heal(&context, entry).await {
            Ok(from) => from,
            Err(operations::Error::Cancelled) => return Err(operations::Error::Cancelled.into()),
            // Said already; the others may be mended.
            Err(_) => None,
        };
        if from.is_none() {
            app.warn(t!("heal.none", file = escape(&entry.file)));
        }
        healed.push((entry.file.clone(), from));
    }
    Ok(healed)
}

/// Sends what earlier runs could not, for as long as a backup may wait; says whether all of it is sent.
async fn send_earlier(app: &App) -> bool {
    if app.settings.s3.is_empty() {
        return true;
    }
    let context = match app.context().await {
        Ok(context) => context,
        // The backup itself says what is wrong.
        Err(_) => return true,
    };
    // What is dropped in the middle takes back what it has begun.
    match tokio::time::timeout(BEFORE, sync::sync(&context, BACKUP_PATIENCE)).await {
        Ok(Ok(synced)) => synced.failed.is_empty(),
        Ok(Err(error)) => {
            app.warn(error.to_string());
            false
        }
        Err(_) => false,
    }
}

/// A run in the journal.
pub struct Record {
    journal: std::sync::Arc<dyn Journal>,
    id: RunId,
    kind: RunKind,
    started: DateTime<Utc>,
}

impl Record {
    /// A run that is about to begin.
    #[must_use]
    pub fn new(app: &App, kind: RunKind) -> Self {
        let started = app.clock.now();
        let id = RunId::new(started, crate::process::random() as u32);
        Self { journal: app.journal(), id, kind, started }
    }

    /// It begins: with the lock held, or what recovery finds unfinished would be this very run.
    pub fn begin(&self, app: &App) {
        if let Err(error) = self.journal.start(&self.id, self.kind, self.started) {
            app.warn(error.to_string());
        }
    }

    /// It ended.
    pub fn end(&self, app: &App, exit: Exit, backup: Option<(String, u64)>, failure: Option<&Failure>) {
        let outcome = match exit {
            Exit::Done => Outcome::Done,
            Exit::Partial => Outcome::Partial,
            Exit::Locked => Outcome::Skipped,
            Exit::Failed | Exit::Usage | Exit::NotConfirmed | Exit::ProofFailed => Outcome::Failed,
        };
        let (file, bytes) = backup.unzip();
        let end = End {
            at: app.clock.now(),
            outcome,
            exit: exit as u8,
            error: failure.map(|f| f.message.clone()),
            file,
            bytes,
        };
        if let Err(error) = self.journal.finish(&self.id, self.kind, &end) {
            app.warn(error.to_string());
        }
    }
}

/// The name that this directory's backups had last time, for when there is no engine to ask.
pub struct Installation {
    path: PathBuf,
}

impl Installation {
    /// Of the backups in `backup_dir`.
    #[must_use]
    pub fn new(backup_dir: &Path) -> Self {
        Self { path: backup_dir.join(".amarre").join("installation") }
    }

    /// The name.
    #[must_use]
    pub fn get(&self) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok()?;
        Some(text.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// Remembers it.
    ///
    /// # Errors
    /// When it cannot be written: no more is lost than the memory.
    pub fn set(&self, name: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        writeln!(file, "{name}")
    }
}
