//! The composition root: settings become adapters, adapters become a [`Context`] for the operations.
//! The only place that names concrete adapters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use rust_i18n::t;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::database::postgres::{Connection, Postgres};
use crate::domain::catalogue::Catalogue;
use crate::domain::clock::Clock;
use crate::domain::event::{Event, Observer};
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::journal::Journal;
pub use crate::journal::NoJournal;
use crate::journal::intent::{Intent, IntentFiles, Intents, Work};
use crate::operations::{self, Context, Machine, Rules};
use crate::process::privileges::{self, Workplace};
use crate::process::signals::Shutdown;
pub use crate::process::signals::Wishes;
use crate::process::{self, SystemClock};
use crate::runner::docker::{Container, DockerRunner, Engine, Target};
use crate::runner::late::Late;
use crate::runner::local::LocalRunner;
use crate::runner::{self, Runner};
use crate::settings::{self, Environment, Settings};
use crate::store::local::LocalStore;
use crate::store::{Store, Workshop};
use crate::supervisor::Outcome;
use crate::supervisor::health::{self, Seen};
use crate::supervisor::pace::{self, Pace};
use crate::supervisor::state::{self, Refused};

pub use crate::app::places::KnownPlaces;
pub use crate::supervisor::health::Health;
pub use crate::supervisor::state::{Job, JobState};

pub mod doctor;
mod hooks;
mod places;
pub mod post;
pub mod record;
pub mod sidecar;
mod tail;
pub mod tell;
mod told;
mod unwritten;
mod watch;

/// An installation, put together.
#[derive(Clone)]
pub struct App {
    /// What holds.
    pub settings: Arc<Settings>,
    /// Who hears of what goes on.
    pub observer: Arc<dyn Observer>,
    /// Cancelled when the process shall end.
    pub cancel: CancellationToken,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How it passes for the supervisor.
    pub pace: Arc<dyn Pace>,
    /// What this process does, for whoever meets its lock: `backup`, `restore`.
    pub work: &'static str,
    /// Who asked for it, for the journal: `schedule`, `signal`, or whose command it is.
    pub asked: Arc<str>,
    /// What the last mending could not end.
    pub left: Arc<Left>,
    /// What remembers alerts where there can be no journal.
    pub spare: Arc<NoJournal>,
    /// What was read in second places.
    pub known: Arc<KnownPlaces>,
    /// What people are still to be told.
    pub post: Arc<post::Post>,
}

/// Intents that a mending left, since a second place was away: they are not tried again and again, and hold up nothing new.
#[derive(Debug, Default)]
pub struct Left {
    known: Mutex<(BTreeSet<String>, Option<DateTime<Utc>>)>,
}

/// How long they are left alone.
const LEFT_ALONE: TimeDelta = TimeDelta::minutes(10);

impl Left {
    fn keep(&self, intents: Vec<Intent>, now: DateTime<Utc>) {
        let runs = intents.into_iter().map(|intent| intent.run.to_string()).collect();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (runs, Some(now));
    }

    /// Whether nothing new is among `pending`, and the last try was a moment ago. A database that may be closed is never left alone.
    fn is_known(&self, pending: &[Intent], now: DateTime<Utc>) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = known.1.is_some_and(|at| (now - at).abs() < LEFT_ALONE);
        let is_left = |i: &Intent| known.0.contains(i.run.as_str()) && !matches!(i.work, Work::Restore { .. });
        recent && pending.iter().all(is_left)
    }
}

/// What the supervisor does, for whoever meets its lock.
pub const SUPERVISE: &str = "supervise";

/// How long the engine may take to answer a question.
const ENGINE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// The database's container, once it was found: a run looks for it once.
type Place = Arc<OnceCell<(Engine, Container)>>;

impl App {
    /// Everything that an operation needs. Reaches the engine only to learn the installation's name.
    ///
    /// # Errors
    /// [`Failure`]: the directory cannot be used, the journal cannot be opened at all.
    pub async fn context(&self) -> Result<Context, Failure> {
        let place = Place::default();
        let installation = self.installation(&place).await;
        self.context_of(installation, place)
    }

    fn context_of(&self, installation: String, place: Place) -> Result<Context, Failure> {
        let database: Arc<dyn Database> = Arc::new(Postgres::new(self.runner_at(place), self.connection()));
        Ok(Context {
            database,
            store: self.store()?,
            remotes: self.remotes(&installation),
            journal: self.journal(),
            intents: self.intents(),
            clock: Arc::clone(&self.clock),
            observer: Arc::clone(&self.observer),
            cancel: self.cancel.clone(),
            machine: Machine { random: process::random, peak_rss: process::peak_rss_bytes },
            rules: self.rules(installation),
        })
    }

    /// Takes the lock of the directory and mends what dead runs left. What destroys or commits needs it.
    ///
    /// # Errors
    /// Exit code 4 when another run holds it.
    pub async fn lock(&self, context: &Context) -> Result<process::lock::RunLock, Failure> {
        let lock = self.try_lock()?;
        // Nobody else is at work, so whoever did not say how it ended was killed.
        match self.journal().interrupt_unfinished(self.clock.now()) {
            Ok(runs) => {
                for run in runs {
                    self.warn(t!("app.interrupted", kind = run.kind.as_str(), id = run.id));
                }
            }
            Err(error) => self.warn(error.to_string()),
        }
        // What cannot be listed is no lane, which whoever wants to use it says.
        if let Ok(swept @ 1..) = runner::docker::sweep(&self.settings.lane_dir) {
            tracing::info!("{}", t!("app.lane_swept", count = swept));
        }
        operations::recover::recover(context).await?;
        operations::recall::recall(context).await?;
        Ok(lock)
    }

    fn try_lock(&self) -> Result<process::lock::RunLock, Failure> {
        let holder = process::lock::Holder::this(self.work, self.clock.now());
        Ok(process::lock::RunLock::acquire(&self.settings.backup_dir, &holder)?)
    }

    /// The store of local copies.
    ///
    /// # Errors
    /// When the directory is not there.
    pub fn store(&self) -> Result<Arc<dyn Workshop>, Failure> {
        Ok(Arc::new(LocalStore::open(&self.settings.backup_dir)?))
    }

    /// A store for a file of another place.
    ///
    /// # Errors
    /// When its directory is not there.
    pub fn store_at(&self, directory: &Path) -> Result<Arc<dyn Store>, Failure> {
        Ok(Arc::new(LocalStore::open(directory)?))
    }

    /// The journal. One that cannot be opened is set aside, and the run goes on without: it never fails a backup.
    #[must_use]
    pub fn journal(&self) -> Arc<dyn Journal> {
        match self.books() {
            Ok(journal) => journal,
            Err(error) => {
                self.warn(error.to_string());
                Arc::clone(&self.spare) as Arc<dyn Journal>
            }
        }
    }

    /// The journal, for who tells what is in it: one that was lost has what manifests tell.
    pub async fn recalled_journal(&self) -> Arc<dyn Journal> {
        let journal = self.journal();
        if !journal.is_recalled().unwrap_or(true)
            && let Ok(context) = self.context_to_look().await
        {
            self.recall(&context).await;
        }
        journal
    }

    /// Enters what manifests tell, once for each journal. Until somebody has said whose they are that is left to the next run.
    pub async fn recall(&self, context: &Context) {
        if self.known_installation().is_some()
            && let Err(error) = operations::recall::recall(context).await
        {
            self.warn(error.to_string());
        }
    }

    /// What is half done.
    #[must_use]
    pub fn intents(&self) -> Arc<dyn Intents> {
        Arc::new(IntentFiles::new(&self.settings.backup_dir))
    }

    fn rules(&self, installation: String) -> Rules {
        let s = &self.settings;
        Rules {
            installation,
            zone: s.zone,
            retention: self.retention(),
            workers: s.workers,
            compression: s.compression,
            role_passwords: s.database.role_passwords,
            ready_patience: s.database.ready_timeout,
            floor: s.disk_floor,
            undo: chrono::TimeDelta::from_std(s.retention.undo).unwrap_or(chrono::TimeDelta::days(1)),
        }
    }

    fn connection(&self) -> Connection {
        let d = &self.settings.database;
        Connection {
            user: d.user.clone(),
            password: d.password.as_ref().map(|p| p.expose().to_owned()),
            database: d.name.clone(),
            host: d.host.clone(),
            port: d.port,
            may_loop: d.runner != settings::Runner::Local,
            lock_timeout: d.lock_timeout.as_secs(),
        }
    }

    /// The runner of the settings; it looks for its container when it is first used.
    #[must_use]
    pub fn runner(&self) -> Arc<dyn Runner> {
        self.runner_at(Place::default())
    }

    fn runner_at(&self, place: Place) -> Arc<dyn Runner> {
        match self.settings.database.runner {
            settings::Runner::Local => Arc::new(LocalRunner::new()),
            settings::Runner::Docker => {
                let app = self.clone();
                Arc::new(Late::new(move || {
                    let (app, place) = (app.clone(), Arc::clone(&place));
                    async move {
                        let (engine, container) = place.get_or_try_init(|| app.container()).await?.clone();
                        let runner = DockerRunner::new(engine, container).with_lane(&app.settings.lane_dir);
                        Ok(Arc::new(runner) as Arc<dyn Runner>)
                    }
                }))
            }
        }
    }

    /// The engine and the database's container in it.
    ///
    /// # Errors
    /// [`runner::Error::Engine`].
    pub async fn container(&self) -> Result<(Engine, Container), runner::Error> {
        let engine = Engine::connect(self.settings.engine.docker_host.as_deref(), ENGINE_PATIENCE).await?;
        let container = engine.find(&self.target()).await?;
        Ok((engine, container))
    }

    /// Which container is the database's, by the settings.
    #[must_use]
    pub fn target(&self) -> Target {
        let s = &self.settings;
        if let Some(name) = &s.database.container {
            return Target::Container(name.clone());
        }
        let by_name = s.engine.compose_project.clone().map(runner::docker::Project::Name);
        let by_file = s.engine.compose_files.first().cloned().map(runner::docker::Project::File);
        let project = if s.in_container { None } else { by_name.or(by_file) };
        Target::Service { service: s.database.service.clone(), project }
    }

    /// The name that tells this installation from others: `BACKUP_NAME`, else Compose project and database. Without an
    /// engine to ask, what was found last time holds.
    async fn installation(&self, place: &Place) -> String {
        let s = &self.settings;
        if let Some(name) = &s.installation {
            return name.clone();
        }
        let remembered = record::Installation::new(&s.backup_dir);
        let project = match s.database.runner {
            settings::Runner::Local => Some("local".to_owned()),
            settings::Runner::Docker => {
                let found = place.get_or_try_init(|| self.container()).await.ok();
                found.map(|(_, c)| c.project.clone().unwrap_or_else(|| c.name.clone()))
            }
        };
        match (project, remembered.get()) {
            (Some(project), before) => {
                let name = format!("{project}/{}", s.database.name);
                if let Some(before) = before.as_ref().filter(|before| **before != name) {
                    self.warn(t!("app.installation_changed", before = escape(before), now = escape(&name)));
                }
                if before.as_ref() != Some(&name) {
                    // Not remembering costs a name while the engine is away, no more.
                    let _ = remembered.set(&name);
                }
                name
            }
            (None, Some(before)) => before,
            (None, None) => format!("unknown/{}", s.database.name),
        }
    }

    /// The name of this installation as far as it is known without the engine.
    pub(crate) fn known_installation(&self) -> Option<String> {
        let s = &self.settings;
        s.installation.clone().or_else(|| record::Installation::new(&s.backup_dir).get())
    }

    /// What the supervisor's jobs do; nothing where none ever ran.
    #[must_use]
    pub fn jobs(&self) -> BTreeMap<Job, JobState> {
        let (alive, state) = state::look(&self.settings.backup_dir).unwrap_or_default();
        let mut jobs = state.map(|state| state.life.jobs).unwrap_or_default();
        // What a dead one was at nobody is.
        for job in jobs.values_mut().filter(|_| !alive) {
            job.running_since = None;
        }
        jobs
    }

    /// What the health check sees.
    ///
    /// # Errors
    /// [`Failure`] when the directory cannot be read.
    pub async fn health(&self) -> Result<(Health, Catalogue), Failure> {
        let context = self.context_to_look().await?;
        let catalogue = operations::catalogue::load(&context).await?;
        let dir = &self.settings.backup_dir;
        let (alive, state) = state::look(dir).map_err(|error| refused_supervisor(dir, &Refused::Io(error)))?;
        let seen = Seen {
            alive,
            state,
            at_work: process::lock::RunLock::holder(dir).is_ok_and(|holder| holder.is_some()),
            newest: catalogue.latest_verified().map(|e| e.date),
            now: self.clock.now(),
        };
        Ok((health::judge(&self.settings.schedule, self.settings.zone, &seen), catalogue))
    }
}

fn refused_supervisor(dir: &Path, refused: &Refused) -> Failure {
    let dir = dir.display();
    let (message, hint, exit) = match refused {
        Refused::Held => (t!("app.second_supervisor", dir = dir), t!("app.second_supervisor_hint"), Exit::Locked),
        Refused::Io(error) => (t!("app.state", dir = dir, cause = error), t!("operations.intent_hint"), Exit::Failed),
    };
    Failure { message: message.into_owned(), hint: Some(hint.into_owned()), exit }
}

impl App {
    async fn mend_now(&self) -> Result<(), Failure> {
        // A run at work has an intent too: that is not ours to mend, and asking costs no engine.
        drop(self.try_lock()?);
        let context = self.context().await?;
        let pending = self.intents().pending().map(|p| p.intents).unwrap_or_default();
        if !pending.iter().any(|intent| operations::recover::is_ours(&context, intent)) {
            return Ok(());
        }
        self.lock(&context).await.map(drop)
    }

    /// Drops replaced databases whose time is over.
    ///
    /// # Errors
    /// [`Failure`]; exit code 4 when another run is at work.
    pub async fn expire_now(&self) -> Result<(), Failure> {
        let context = self.context().await?;
        if !operations::restore::is_anything_over(&context).await? {
            return Ok(());
        }
        let _lock = self.lock(&context).await?;
        Ok(operations::restore::expire(&context).await?)
    }

    /// Who is at work on this directory, for people.
    #[must_use]
    pub fn holder(&self) -> Option<String> {
        let holder = process::lock::RunLock::holder(&self.settings.backup_dir).ok()??;
        Some(holder.map_or_else(String::new, |h| format!("{} (pid {}, {}, {})", h.run, h.pid, h.host, h.since)))
    }

    /// Highest resident memory of this process so far, bytes.
    #[must_use]
    pub fn peak_memory() -> u64 {
        process::peak_rss_bytes()
    }

    /// Says loudly what makes backups less than they seem: a directory that goes with the container (fault 6), or that
    /// everybody can look into (fault 7).
    pub fn before_backup(&self) {
        let dir = &self.settings.backup_dir;
        let Ok(facts) = LocalStore::open(dir).and_then(|store| store.facts()) else { return };
        let shown = escape(&dir.display().to_string());
        if self.settings.in_container && !facts.is_on_mount() {
            self.warn(t!("doctor.no_mount", dir = shown));
            self.note(t!("common.hint", text = t!("doctor.no_mount_fix", dir = shown)));
        }
        if facts.is_open_to_all() {
            self.warn(t!("doctor.directory_open", dir = shown));
        }
    }

    fn note(&self, text: impl Into<String>) {
        self.observer.event(Event::Note(text.into()));
    }

    /// Says loudly.
    pub fn warn(&self, text: impl Into<String>) {
        self.observer.event(Event::Warning(text.into()));
    }

    fn tell(&self, failure: &Failure) -> Outcome {
        self.observer.event(Event::Warning(failure.message.clone()));
        if let Some(hint) = &failure.hint {
            self.observer.event(Event::Note(t!("common.hint", text = hint).into_owned()));
        }
        Outcome::Failed
    }

    /// Where a file that was named lies: in the store, or its directory as a store of its own.
    ///
    /// # Errors
    /// When its directory is not there.
    pub fn source(&self, wanted: &str) -> Result<operations::restore::Source, Failure> {
        let path = PathBuf::from(wanted);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(operations::restore::Source::Name(wanted.to_owned()));
        };
        // A bare name, or `backups/<name>` as the bucket has it, is looked for in the catalogue first.
        let bare = parent.as_os_str().is_empty() || parent == Path::new("backups");
        let here = parent.canonicalize().ok();
        let same = here.is_some() && here == self.settings.backup_dir.canonicalize().ok();
        if same || (bare && !path.exists()) {
            return Ok(operations::restore::Source::Name(name.to_string_lossy().into_owned()));
        }
        if !path.exists() {
            return Err(Failure {
                message: t!("app.no_file", path = escape(wanted)).into_owned(),
                hint: Some(t!("app.no_file_hint").into_owned()),
                exit: Exit::Usage,
            });
        }
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let store = self.store_at(parent)?;
        Ok(operations::restore::Source::Elsewhere(store, name.to_string_lossy().into_owned()))
    }
}

/// Whose command this is, for the journal.
#[must_use]
pub fn asked() -> String {
    process::asked()
}

/// How time passes on this machine.
#[must_use]
pub fn pace() -> Arc<dyn Pace> {
    Arc::new(pace::Machine)
}

/// The time of the machine.
#[must_use]
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Gives up the rights of root where this is the sidecar; see [`privileges::drop_root`]. Before the settings are known.
///
/// # Errors
/// When it would stay root.
pub fn leave_root(environment: &Environment, warn: &mut dyn FnMut(Failure)) -> Result<(), Failure> {
    process::no_core();
    let path = |name, default| environment.get(name).unwrap_or(default).into();
    let place = Workplace {
        backup_dir: path("BACKUP_DIR", settings::BACKUP_DIR_DEFAULT),
        lane_dir: path("BACKUP_LANE_DIR", settings::LANE_DIR_DEFAULT),
        socket: settings::database::socket(environment.get("DOCKER_HOST")),
    };
    let mut explained = |error: &privileges::Error| warn(privileges::explain(error));
    Ok(privileges::drop_root(environment.in_container(), &place, &mut explained)?)
}

/// What this process works with.
#[must_use]
pub fn workplace(settings: &Settings) -> Workplace {
    Workplace {
        backup_dir: settings.backup_dir.clone(),
        lane_dir: settings.lane_dir.clone(),
        socket: settings.engine.socket(),
    }
}

/// A token that SIGTERM, SIGINT and SIGHUP cancel.
///
/// # Errors
/// When the system refuses a handler.
pub fn shutdown() -> Result<CancellationToken, Failure> {
    let token = Shutdown::listen().map_err(no_signals)?.token;
    operations::failpoint::watch(&token);
    Ok(token)
}

/// The same for a supervisor, of whom SIGHUP and SIGUSR1 ask for something else.
///
/// # Errors
/// When the system refuses a handler.
pub fn shutdown_and_wishes() -> Result<(CancellationToken, Arc<Wishes>), Failure> {
    let (shutdown, wishes) = Shutdown::listen_with_wishes().map_err(no_signals)?;
    operations::failpoint::watch(&shutdown.token);
    Ok((shutdown.token, wishes))
}

#[expect(clippy::needless_pass_by_value, reason = "given to `map_err`")]
fn no_signals(cause: std::io::Error) -> Failure {
    Failure { message: t!("process.signals", cause = cause).into_owned(), hint: None, exit: Exit::Failed }
}
