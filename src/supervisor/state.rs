//! What the supervisor keeps on disk, in `BACKUP_DIR/.amarre` (whatever ends in `.json` there is an intent of a run): in `supervisor.state`
//! when it was installed and when it last ran its slot, which no power cut may take back, and in `supervisor.life` a heartbeat and what its
//! jobs do, which are written every few seconds. Locked while a supervisor lives: a second one on the same directory is refused (fault 65),
//! and `health` can tell a dead one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::domain::alert::Jump;

const STATE: &str = "supervisor.state";
const LIFE: &str = "supervisor.life";

/// How often the lock is asked for again, and how soon.
const LOOKS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A job of the supervisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// The backup and what belongs to it.
    Backup,
    /// Sending what no second place has.
    Sync,
    /// Rotation, here and elsewhere.
    Prune,
    /// Reading old backups again.
    Verify,
    /// Looking whether somebody is needed.
    Watch,
    /// Mending what dead runs left.
    Mend,
    /// Dropping replaced databases.
    Expire,
    /// Sending messages.
    Deliver,
}

impl Job {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Sync => "sync",
            Self::Prune => "prune",
            Self::Verify => "verify",
            Self::Watch => "watch",
            Self::Mend => "mend",
            Self::Expire => "expire",
            Self::Deliver => "deliver",
        }
    }
}

/// What a job does, and how it last ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Since when it is at work; not set: it is idle.
    pub running_since: Option<DateTime<Utc>>,
    /// When it last ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// How.
    pub outcome: Option<Outcome>,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What must last.
    pub lasting: Lasting,
    /// What need not.
    pub life: Life,
}

/// What must outlive a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasting {
    /// Version of this format.
    pub format: u32,
    /// When a supervisor first ran here: nothing was due before.
    pub installed_at: DateTime<Utc>,
    /// Up to when slots are done with.
    pub last_slot_run: Option<DateTime<Utc>>,
    /// Where that lies ahead, by a clock that was wrong once: up to when they are instead.
    #[serde(default)]
    pub believed: Option<DateTime<Utc>>,
    /// The last jump of the clock.
    #[serde(default)]
    pub jump: Option<Jump>,
}

/// What it does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When the loop last came round.
    pub beat_at: DateTime<Utc>,
    /// What each job does.
    #[serde(default)]
    pub jobs: BTreeMap<Job, JobState>,
}

/// The state of this directory's supervisor, held by one at a time.
#[derive(Debug)]
pub struct StateFile {
    dir: PathBuf,
    state: State,
    _lock: File,
}

/// Why a supervisor cannot have its state.
#[derive(Debug)]
pub enum Refused {
    /// Another supervisor runs on this directory.
    Held,
    /// The directory cannot be used.
    Io(io::Error),
}

impl StateFile {
    /// Takes the state of `backup_dir`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn take(backup_dir: &Path, now: DateTime<Utc>) -> Result<Self, Refused> {
        let dir = backup_dir.join(".amarre");
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Refused::Io(error)),
            _ => {}
        }
        let lock = open_lock(&dir).map_err(Refused::Io)?;
        let mut looks = LOOKS;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Whoever only looks holds it for a moment.
                Err(TryLockError::WouldBlock) if looks > 0 => std::thread::sleep(LOOK_EVERY),
                Err(TryLockError::WouldBlock) => return Err(Refused::Held),
                Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
            }
            looks -= 1;
        }
        // A state that cannot be read is begun anew: the worst that follows is one catch-up too few.
        let state = read(&dir).unwrap_or(State {
            lasting: Lasting { format: 1, installed_at: now, last_slot_run: None, believed: None, jump: None },
            life: Life { beat_at: now, jobs: BTreeMap::new() },
        });
        Ok(Self { dir, state, _lock: lock })
    }

    /// What is kept.
    #[must_use]
    pub fn get(&self) -> &State {
        &self.state
    }

    /// A supervisor begins; `ahead` as for [`StateFile::believe`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&mut self, now: DateTime<Utc>, ahead: TimeDelta) -> io::Result<()> {
        // Whoever was at work is not any more.
        for job in self.state.life.jobs.values_mut() {
            job.running_since = None;
        }
        self.believe(now, ahead);
        let beaten = self.beat(now);
        self.write_for_good().and(beaten)
    }

    /// What a clock that was ahead has left is brought back: else nothing would be due, or missed, until that time has come (fault 43).
    /// A slot that lies further than `ahead` in what is to come must not stand for the next night: one too many is better than none.
    fn believe(&mut self, now: DateTime<Utc>, ahead: TimeDelta) {
        let lasting = &mut self.state.lasting;
        lasting.installed_at = lasting.installed_at.min(now);
        lasting.believed = match lasting.last_slot_run {
            Some(last) if last - now > ahead => Some(lasting.believed.map_or(now, |believed| believed.min(now))),
            // It came nearer since it was found to be wrong.
            Some(last) if last > now => lasting.believed,
            // Nor is a machine that boots in 1970 a reason to forget what was true.
            _ => None,
        };
    }

    /// Up to when slots are done with, as far as the clock can be believed.
    #[must_use]
    pub fn slots_done(&self) -> Option<DateTime<Utc>> {
        self.state.lasting.believed.or(self.state.lasting.last_slot_run)
    }

    /// `job` begins.
    ///
    /// # Errors
    /// When the file cannot be written; it holds in memory all the same.
    pub fn job_begins(&mut self, job: Job, now: DateTime<Utc>) -> io::Result<()> {
        self.state.life.jobs.entry(job).or_default().running_since = Some(now);
        self.write()
    }

    /// `job` has ended.
    ///
    /// # Errors
    /// When the file cannot be written; it holds in memory all the same.
    pub fn job_ended(&mut self, job: Job, now: DateTime<Utc>, outcome: Outcome) -> io::Result<()> {
        let (ended_at, outcome) = (Some(now), Some(outcome));
        self.state.life.jobs.insert(job, JobState { running_since: None, ended_at, outcome });
        self.write()
    }

    /// The clock jumped; `ahead`: half of the time from one slot to the next.
    ///
    /// # Errors
    /// When the file cannot be written; it holds in memory all the same.
    pub fn jumped(&mut self, jump: Jump, ahead: TimeDelta) -> io::Result<()> {
        self.believe(jump.at, ahead);
        self.state.lasting.jump = Some(jump);
        self.write_for_good()
    }

    /// Slots up to `until` are done with.
    ///
    /// # Errors
    /// When the file cannot be written; it holds in memory all the same.
    pub fn ran(&mut self, until: DateTime<Utc>) -> io::Result<()> {
        self.state.lasting.last_slot_run = Some(until);
        self.state.lasting.believed = None;
        self.write_for_good()
    }

    /// The loop came round.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn beat(&mut self, now: DateTime<Utc>) -> io::Result<()> {
        self.state.life.beat_at = now;
        self.write()
    }

    /// What a power cut must not take back: else a slot would run twice, or one that was missed be forgotten.
    fn write_for_good(&self) -> io::Result<()> {
        self.put(STATE, &serde_json::to_vec(&self.state.lasting)?, true)?;
        match File::open(&self.dir)?.sync_all() {
            // Some network disks cannot (fault 40): that is as durable as it gets.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    /// Not synced: losing it costs nothing but a heartbeat.
    fn write(&self) -> io::Result<()> {
        self.put(LIFE, &serde_json::to_vec(&self.state.life)?, false)
    }

    fn put(&self, name: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(format!("{name}.tmp"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(temporary, path)
    }
}

fn open_lock(dir: &Path) -> io::Result<File> {
    let path = dir.join("supervisor.lock");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The state as another process sees it, of `.amarre`; `None`: no supervisor ever ran here.
#[must_use]
pub fn read(dir: &Path) -> Option<State> {
    let lasting = fs::read(dir.join(STATE)).ok()?;
    let life = fs::read(dir.join(LIFE)).ok().and_then(|life| serde_json::from_slice(&life).ok());
    // Once both were in one file.
    let life = life.or_else(|| serde_json::from_slice(&lasting).ok());
    let lasting: Lasting = serde_json::from_slice(&lasting).ok()?;
    let life = life.unwrap_or(Life { beat_at: lasting.installed_at, jobs: BTreeMap::new() });
    Some(State { lasting, life })
}

/// What another process sees of a directory's supervisor.
///
/// # Errors
/// When the lock file exists and cannot be opened.
pub fn look(backup_dir: &Path) -> io::Result<(bool, Option<State>)> {
    let dir = backup_dir.join(".amarre");
    let state = read(&dir);
    let file = match File::open(dir.join("supervisor.lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((false, state)),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok((false, state)),
        Err(TryLockError::WouldBlock) => Ok((true, state)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
