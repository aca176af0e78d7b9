//! Environment and files -> raw -> resolved [`Settings`]. Every variable is read here and nowhere else.
//! Nothing is connected to, nothing is written; whether a directory can be used is for whoever uses it.
//!
//! A value comes from the command line, else the environment, else a file (on the host `ENV_FILE`, in the container
//! `BACKUP_SETTINGS_FILE`), else the default.
//! An empty value counts as unset. All that is wrong is collected and told together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

pub mod database;
pub mod env_file;
pub mod environment;
pub mod hooks;
pub mod keys;
pub mod language;
pub mod log;
pub mod mask;
pub mod notify;
pub mod origin;
pub mod problem;
pub mod reader;
pub mod retention;
pub mod s3;
pub mod secret;
pub mod zone;

pub use database::{Database, Engine, Runner};
pub use environment::Environment;
pub use hooks::Hooks;
pub use language::Language;
pub use log::{Log, LogFormat};
pub use notify::Notify;
pub use origin::{Entry, Origin};
pub use problem::{Problem, Problems};
pub use retention::Retention;
pub use s3::S3;
pub use secret::Secret;

use crate::domain::compression::Compression;
use crate::domain::schedule::Schedule;
pub use reader::Doubt;
use reader::Reader;

/// Where backups lie unless told.
pub const BACKUP_DIR_DEFAULT: &str = "/var/backups/hub-chantier";
/// Where the lane volume is mounted unless told.
pub const LANE_DIR_DEFAULT: &str = "/lane";

/// Everything that settings are made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Options of the command, by the variable they stand for.
    pub overrides: BTreeMap<&'static str, String>,
    /// The environment of the process.
    pub environment: Environment,
    /// Where the command was started.
    pub cwd: PathBuf,
    /// Whether this is the sidecar: `ENV_FILE` and `COMPOSE_FILE` are for the host only and not read there.
    pub in_container: bool,
    /// Cores of this machine.
    pub cores: u32,
}

impl Sources {
    /// Those of this process.
    #[must_use]
    pub fn of_process(environment: Environment, overrides: BTreeMap<&'static str, String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { overrides, in_container: environment.in_container(), environment, cwd, cores }
    }
}

/// What holds for this run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which database, and how its client programs are run.
    pub database: Database,
    /// How the engine and the application are found.
    pub engine: Engine,
    /// `BACKUP_DIR`, absolute.
    pub backup_dir: PathBuf,
    /// `BACKUP_LANE_DIR`, absolute.
    pub lane_dir: PathBuf,
    /// `BACKUP_NAME`; not set: Compose project and database, once the container is found.
    pub installation: Option<String>,
    /// `BACKUP_SCHEDULE`.
    pub schedule: Schedule,
    /// `TZ`.
    pub zone: Tz,
    /// How long backups are kept.
    pub retention: Retention,
    /// `BACKUP_WORKERS`: threads that compress and unpack.
    pub workers: usize,
    /// `BACKUP_COMPRESSION`.
    pub compression: Compression,
    /// `BACKUP_PROMPT_MINUTES`: how long the question for `OUI` stands.
    pub prompt_timeout: Duration,
    /// Where the log goes.
    pub log: Log,
    /// `BACKUP_PRICES`: the prices of `amarre cost`; not set: those that came with the program.
    pub prices: Option<PathBuf>,
    /// The language of the operator.
    pub language: Language,
    /// Commands before and after a backup.
    pub hooks: Hooks,
    /// `BACKUP_DISK_FLOOR`: the least share of the disk that shall be free, percent.
    pub disk_floor: u32,
    /// `BACKUP_VERIFY_SAMPLE`: how many backups are read again each night.
    pub verify_sample: u32,
    /// The stores elsewhere, in the order they are served.
    pub s3: Vec<S3>,
    /// Who is told.
    pub notify: Notify,
    /// Whether this is the sidecar.
    pub in_container: bool,
    /// Names that are perhaps misspelt, or another program's.
    pub doubts: Vec<Doubt>,
    /// Each variable, what holds and where it comes from: for `amarre config`.
    pub entries: Vec<Entry>,
}

impl Settings {
    /// Resolves `sources`. Reads the file of the settings and those of secrets, nothing else.
    ///
    /// # Errors
    /// All that is wrong, together.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        match Self::look(sources) {
            (Some(settings), problems) if problems.0.is_empty() => Ok(settings),
            (_, problems) => Err(problems),
        }
    }

    /// As [`Settings::load`], for whoever goes on all the same and says what is wrong: defaults stand for what is.
    #[must_use]
    pub fn look(sources: &Sources) -> (Option<Self>, Problems) {
        let mut reader = Reader::new(sources);
        let r = &mut reader;
        let Some(schedule) = zone::read_schedule(r) else { return (None, Problems(reader.finish().1)) };
        let mut settings = Self {
            database: database::read_database(r),
            engine: database::read_engine(r, sources.in_container),
            backup_dir: r.directory("BACKUP_DIR", BACKUP_DIR_DEFAULT),
            lane_dir: r.directory("BACKUP_LANE_DIR", LANE_DIR_DEFAULT),
            installation: read_installation(r),
            schedule,
            zone: zone::read_zone(r),
            retention: retention::read(r),
            workers: r.number("BACKUP_WORKERS", sources.cores.clamp(1, MOST_WORKERS), 1, MOST_WORKERS) as usize,
            compression: read_compression(r),
            prompt_timeout: Duration::from_secs(60 * u64::from(r.number("BACKUP_PROMPT_MINUTES", 10, 1, 1440))),
            log: log::read(r),
            prices: r.text("BACKUP_PRICES").map(|path| r.absolute(&path)),
            language: language::read(r),
            hooks: hooks::read(r),
            disk_floor: r.number("BACKUP_DISK_FLOOR", 10, 0, 90),
            verify_sample: r.number("BACKUP_VERIFY_SAMPLE", 1, 0, 1000),
            s3: s3::read(r),
            notify: notify::read(r),
            in_container: sources.in_container,
            doubts: r.doubts(),
            entries: Vec::new(),
        };
        let (entries, problems) = reader.finish();
        settings.entries = entries;
        (Some(settings), Problems(problems))
    }

    /// Where the value of `name` comes from, and the value (stars for a secret); `None`: it was not read.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All secrets, for filters that hide them.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let stores = self.s3.iter().flat_map(|s3| {
            let customer = match &s3.encryption {
                s3::Encryption::Customer(key) => Some(key),
                _ => None,
            };
            let keys = [Some(&s3.access_key_id), Some(&s3.secret_access_key), s3.session_token.as_ref(), customer];
            keys.into_iter().flatten()
        });
        self.database.password.iter().chain(stores).cloned().chain(self.notify.secrets()).collect()
    }

    /// What everybody may know: a secret that is a part of one of these is no secret.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let d = &self.database;
        let of_database = [Some(d.name.as_str()), d.user.as_deref(), d.container.as_deref(), Some(d.service.as_str())];
        let stores = self.s3.iter().flat_map(|s3| [s3.bucket.as_str(), s3.prefix.as_str(), s3.region.as_str()]);
        let rest = [self.installation.as_deref(), d.host.as_deref(), self.backup_dir.to_str()];
        of_database.into_iter().chain(rest).flatten().chain(stores).collect()
    }
}

fn read_compression(reader: &mut Reader<'_>) -> Compression {
    const NAME: &str = "BACKUP_COMPRESSION";
    reader.parsed(NAME, Compression::default(), |text| {
        text.parse().map_err(|_| Problem::Compression { name: NAME, value: text.to_owned() })
    })
}

const MOST_WORKERS: u32 = 256;
/// Bytes of a name of an installation.
const INSTALLATION_LIMIT: usize = 128;

fn read_installation(reader: &mut Reader<'_>) -> Option<String> {
    let name = reader.text("BACKUP_NAME")?;
    if name.len() > INSTALLATION_LIMIT {
        reader.problem(Problem::TooLong { name: "BACKUP_NAME", bytes: name.len(), max: INSTALLATION_LIMIT });
    }
    Some(name)
}

/// `yes` or `no`, and what people write for them.
fn yes_no(reader: &mut Reader<'_>, name: &'static str, default: bool) -> bool {
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let chosen = reader.choice(
        name,
        word(default),
        &["yes", "no", "true", "false", "1", "0", "on", "off", "oui", "non"],
        &["yes", "no", "yes", "no", "yes", "no", "yes", "no", "yes", "no"],
    );
    chosen == "yes"
}

#[cfg(test)]
pub(crate) mod testing {
    //! Settings for tests: an environment given as pairs, on a host, in a directory that does not exist.

    use super::*;

    pub fn sources(environment: &[(&str, &str)]) -> Sources {
        Sources {
            environment: environment.iter().copied().collect(),
            cwd: PathBuf::from("/nonexistent"),
            cores: 2,
            ..Sources::default()
        }
    }

    pub fn load(environment: &[(&str, &str)]) -> Settings {
        Settings::load(&sources(environment)).expect("the settings are good")
    }

    pub fn problems(environment: &[(&str, &str)]) -> Vec<Problem> {
        Settings::load(&sources(environment)).expect_err("the settings are bad").0
    }
}
