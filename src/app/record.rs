//! Runs as the journal has them: begun, ended, how. A journal that fails is a warning, never a failed run.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rust_i18n::t;

use super::App;
use super::post::LastFailure;
use super::tail::Tail;
use crate::domain::name::Kind;
use crate::domain::retention::Plan;
use crate::domain::run::RunId;
use crate::domain::text::{bytes, escape};
use crate::domain::timings::{Stage, Timings};
use crate::error::{Exit, Failure};
use crate::journal::{End, Journal, StageTime};
use crate::operations::backup::{self, Made};
use crate::operations::sync::{self, Synced};
use crate::operations::{self, Context, Remote, catalogue, heal, prune, remote};
use crate::settings::mask::Mask;

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
    // What a command of the operator's prints is his business, and no service's.
    let hooked = app;
    let (app, tail) = Tail::of(app);
    let app = &app;
    let record = Record::new(app, RunKind::Backup);
    let result = async {
        let context = app.context().await?;
        let lock = app.lock(&context).await?;
        record.begin(app);
        app.ping_start(record.id.as_str());
        hooked.before_hook(&record.id).await?;
        let made = backup::backup(&context, record.id.clone(), Kind::Backup, context.database.name()).await?;
        record.stages(app, &made.timings);
        // Whoever looks while the copies are on their way, or after a power cut, finds what holds then.
        let exit = if made.is_leaving() { Exit::Partial } else { Exit::Done };
        record.end(app, exit, Some((made.manifest.file.clone(), made.manifest.stored.bytes)), None);
        // From here on it is a backup. What follows may take hours, and nobody who restores waits for it.
        drop(lock);
        Ok((context, made))
    };
    match result.await {
        Ok((context, made)) => Ok(Begun { record, context, made, tail }),
        Err(failure) => {
            let failure: Failure = failure;
            record.end(app, failure.exit, None, Some(&failure));
            // Whoever is at work has hooks of its own.
            if failure.exit != Exit::Locked {
                let mut log = tail.lines();
                log.push(failure.message.clone());
                app.ping_fail(record.id.as_str(), log.iter().map(String::as_str));
                let (run, message) = (record.id.to_string(), app.without_secrets(&failure.message));
                app.post.keep_failure(LastFailure { run, message, hint: failure.hint.clone(), log });
                hooked.failure_hook(&record.id, &failure).await;
            }
            Err(failure)
        }
    }
}

/// A backup that is committed here.
pub struct Begun {
    record: Record,
    context: Context,
    made: Made,
    tail: Arc<Tail>,
}

impl Begun {
    /// Completes its copies, and clears up in their places.
    pub async fn copy(self, app: &App) -> Made {
        let Self { record, context, mut made, tail } = self;
        if made.is_leaving() {
            Self::complete(app, &record, &context, &mut made).await;
        }
        app.after_hook(&record.id, partial(&made), &made.manifest).await;
        app.tell_done(record.id.as_str(), &made, tail.lines());
        made
    }

    async fn complete(app: &App, record: &Record, context: &Context, made: &mut Made) {
        made.copy(context).await;
        let (file, bytes) = (made.manifest.file.clone(), made.manifest.stored.bytes);
        record.end(app, partial(made), Some((file, bytes)), None);
        for (remote, copy) in context.remotes.iter().zip(&made.copies) {
            // One that is away is cleared up another time.
            if copy.failed.is_none()
                && let Err(error) = remote::apply(context, remote).await
            {
                app.warn(error.to_string());
            }
        }
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
        // Nothing was to be done, and nothing is new: a place that is away for days is asked every hour, and that was written down.
        Ok(synced) if synced.copied.is_empty() && synced.failed.is_empty() != record.follows_a_partial() => {}
        Ok(synced) => {
            let exit = if synced.failed.is_empty() { Exit::Done } else { Exit::Partial };
            record.begin(app);
            record.end(app, exit, None, None);
        }
        // Whoever is told to end has not failed: the next one goes on.
        Err(_) if app.cancel.is_cancelled() => {}
        Err(failure) => record.end(app, failure.exit, None, Some(failure)),
    }
    result
}

/// What went in a rotation, place by place.
pub struct Pruned {
    /// Here.
    pub here: Plan,
    /// In second places; `None`: that one could not be asked, or not be cleared up.
    pub there: Vec<(String, Option<Plan>)>,
}

impl Pruned {
    /// A place that fails keeps nobody from the others.
    pub fn add(&mut self, app: &App, remote: &Remote, plan: Result<Plan, operations::Error>) {
        let place = remote.store.place();
        let plan = plan.inspect_err(|error| {
            app.warn(error.to_string());
        });
        self.there.push((place, plan.ok()));
    }

    /// How it ended.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.there.iter().all(|(_, plan)| plan.is_some()) { Exit::Done } else { Exit::Partial }
    }
}

/// Rotation here, with the lock, and in second places, without it; writes it into the journal.
///
/// # Errors
/// [`Failure`].
pub async fn prune(app: &App) -> Result<Pruned, Failure> {
    let context = app.context().await?;
    let record = Record::new(app, RunKind::Prune);
    let result: Result<Pruned, Failure> = async {
        let lock = app.lock(&context).await?;
        record.begin(app);
        let mut pruned = Pruned { here: prune::apply(&context).await?, there: Vec::new() };
        forget(app, &context, &pruned.here);
        drop(lock);
        for remote in &context.remotes {
            pruned.add(app, remote, remote::apply(&context, remote).await);
        }
        Ok(pruned)
    }
    .await;
    let exit = match &result {
        Ok(pruned) => pruned.exit(),
        // It gave way to a backup, or the process ends: the next one goes on.
        Err(_) if app.cancel.is_cancelled() => Exit::Locked,
        Err(failure) => failure.exit,
    };
    record.end(app, exit, None, result.as_ref().err());
    result
}

/// How long the journal remembers what is not there any more.
const MEMORY: TimeDelta = TimeDelta::days(400);

/// The journal is read whole each time it is opened: what nobody asks for any more goes.
fn forget(app: &App, context: &Context, plan: &Plan) {
    // What went just now is asked for until tomorrow.
    let kept = plan.decisions.iter().map(|decision| decision.file.clone()).collect();
    if let Err(error) = context.journal.forget(app.clock.now() - MEMORY, &kept) {
        tracing::debug!(%error, "journal");
    }
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

impl App {
    /// `text` as others may have it.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let s = &self.settings;
        Mask::for_data(&s.secrets(), &s.names()).apply(text)
    }
}

/// A run in the journal.
pub struct Record {
    journal: Arc<dyn Journal>,
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
        // From here on the lines of this job name it, whatever task or thread they come from.
        tracing::Span::current().record("run", tracing::field::display(&id));
        Self { journal: app.journal(), id, kind, started }
    }

    /// The plan was read and confirmed under this name; what counts as the run starts now.
    #[must_use]
    pub fn from_now(self, app: &App) -> Self {
        Self { started: app.clock.now(), ..self }
    }

    /// The journal as it is now: what was opened hours ago may have been set aside meanwhile.
    fn journal(&self, app: &App) -> Arc<dyn Journal> {
        match app.books() {
            Ok(journal) => journal,
            Err(_) => Arc::clone(&self.journal),
        }
    }

    /// It begins: with the lock held, or what recovery finds unfinished would be this very run.
    pub fn begin(&self, app: &App) {
        // What ended before comes before.
        if self.journal.keeps_letters() {
            app.spare.hand_over(&*self.journal);
        }
        if let Err(error) = self.journal.start(&self.id, self.kind, self.started, &app.asked) {
            app.warn(error.to_string());
        }
    }

    /// Whether the last run of this kind left something.
    fn follows_a_partial(&self) -> bool {
        let last = self.journal.last_ended(self.kind).ok().flatten();
        last.and_then(|run| run.end).is_some_and(|end| end.outcome == Outcome::Partial)
    }

    /// How long its stages took.
    pub fn stages(&self, app: &App, timings: &Timings) {
        let of = |stage: &Stage| StageTime {
            name: stage.name.to_owned(),
            bytes: stage.bytes,
            busy: stage.busy,
            starved: stage.starved,
            blocked: stage.blocked,
        };
        let stages: Vec<StageTime> = timings.stages.iter().map(of).collect();
        if let Err(error) = self.journal(app).put_stages(&self.id, &stages) {
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
            // What a server says may hold what it was told. Whoever told it to end knows why it did; a backup is missed all the same.
            error: failure
                .filter(|_| self.kind == RunKind::Backup || !app.cancel.is_cancelled())
                .map(|f| app.without_secrets(&f.message)),
            file,
            bytes,
        };
        let journal = self.journal(app);
        // What never began (no lock, no engine) has somebody who asked for it all the same.
        let begun = journal.start(&self.id, self.kind, self.started, &app.asked);
        let is_kept = match begun.and_then(|()| journal.finish(&self.id, self.kind, &end)) {
            Ok(()) => journal.keeps_letters(),
            Err(error) => {
                app.warn(error.to_string());
                false
            }
        };
        if !is_kept {
            app.spare.keep_end(&self.id, self.kind, self.started, &app.asked, &end);
        }
    }
}

/// How many names from before are remembered.
const FORMER: usize = 3;

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
        self.names().into_iter().next()
    }

    /// The name before, if there was another.
    #[must_use]
    pub fn former(&self) -> Option<String> {
        self.names().into_iter().nth(1)
    }

    /// Remembers it, and the one before.
    ///
    /// # Errors
    /// When it cannot be written: no more is lost than the memory.
    pub fn set(&self, name: &str) -> io::Result<()> {
        let former = self.names().into_iter().filter(|known| known != name).take(FORMER);
        let lines: Vec<String> = std::iter::once(name.to_owned()).chain(former).collect();
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        writeln!(file, "{}", lines.join("\n"))
    }

    /// The newest first, a line each.
    fn names(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}
