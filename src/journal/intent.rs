//! Intents: what a run is about to do, on disk before it does it, so that the next start can tell what an interrupted
//! run left and finish or remove it. One small JSON file per run in `BACKUP_DIR/.amarre/`; it goes when the run ends.
//! Not the journal: a journal may be lost without harm, an intent only exists while something is half done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, fchown};
use serde::{Deserialize, Serialize};

use super::claim::{self, Claim};
use crate::domain::manifest::Measure;
use crate::domain::run::RunId;

/// A run's intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Version of this format.
    pub format: u32,
    /// The run.
    pub run: RunId,
    /// The installation it belongs to: a database of this name on another server is not the one meant.
    #[serde(default)]
    pub installation: String,
    /// What it does.
    pub work: Work,
}

/// What a run is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Makes a backup of this name. Without its manifest the data is nothing.
    Backup {
        /// Data file.
        file: String,
        /// The data, once it is about to get its name: what is there and differs is not ours.
        stored: Option<Measure>,
    },
    /// Deletes these backups, each manifest first.
    Delete {
        /// Data files.
        files: Vec<String>,
        /// The second place in which; `None`: here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<String>,
        /// Whether a person asked for it: then it is finished, also what had not begun.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked: bool,
    },
    /// Replaces a database.
    Restore {
        /// Name of the live database.
        database: String,
        /// Its OID; `None`: there was none.
        live_oid: Option<u32>,
        /// Name of the one being loaded.
        new: String,
        /// The step that comes next.
        step: RestoreStep,
    },
}

/// How far a restore has come: the step that was about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreStep {
    /// The new database is made and loaded; the live one serves.
    Load,
    /// The live one is closed and both are renamed.
    Swap,
    /// All is done but the last look.
    Finish,
}

/// Where intents are kept. Every change is durable when it returns.
pub trait Intents: Send + Sync {
    /// Writes or replaces the intent of a run.
    ///
    /// # Errors
    /// When it cannot be made durable: the run must not go on.
    fn put(&self, intent: &Intent) -> io::Result<()>;

    /// The run ended and left nothing.
    ///
    /// # Errors
    /// When the file cannot be removed.
    fn end(&self, run: &RunId) -> io::Result<()>;

    /// What earlier runs left, oldest first; files that cannot be read come as their names.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn pending(&self) -> io::Result<Pending>;

    /// Removes what was cut off before it was an intent: what it would have named was never begun. Called with the lock
    /// held, so nobody is writing one. Returns their names.
    ///
    /// # Errors
    /// When the directory cannot be read or a file not be removed.
    fn sweep(&self) -> io::Result<Vec<String>>;

    /// Makes `what`, a plain name, this process's until the claim is dropped; `None`: another has it. Needs no lock.
    ///
    /// # Errors
    /// When it cannot be written down.
    fn claim(&self, what: &str) -> io::Result<Option<Claim>>;
}

/// What [`Intents::pending`] finds.
#[derive(Debug, Default)]
pub struct Pending {
    /// Intents of runs that did not end.
    pub intents: Vec<Intent>,
    /// Files that are not readable as intents; they are left where they are.
    pub unreadable: Vec<String>,
}

/// The highest format that this program reads.
pub const FORMAT: u32 = 1;

/// Intents as files.
pub struct IntentFiles {
    dir: PathBuf,
}

impl IntentFiles {
    /// Intents of the backups in `backup_dir`.
    #[must_use]
    pub fn new(backup_dir: &Path) -> Self {
        Self { dir: backup_dir.join(".amarre") }
    }

    fn path(&self, run: &RunId) -> PathBuf {
        self.dir.join(format!("{run}.json"))
    }

    fn make_dir(&self) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Ok(()) => {
                let parent = self.dir.parent().unwrap_or(Path::new("."));
                give_to_owner_of(parent, &File::open(&self.dir)?)?;
                sync_dir(parent)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Intents for IntentFiles {
    fn put(&self, intent: &Intent) -> io::Result<()> {
        self.make_dir()?;
        let path = self.path(&intent.run);
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        give_to_owner_of(&self.dir, &file)?;
        file.write_all(&serde_json::to_vec_pretty(intent)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_dir(&self.dir)
    }

    fn end(&self, run: &RunId) -> io::Result<()> {
        match fs::remove_file(self.path(run)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            // What has ended must not begin again after a power cut.
            Ok(()) => sync_dir(&self.dir),
        }
    }

    fn pending(&self) -> io::Result<Pending> {
        let mut pending = Pending::default();
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pending),
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            match fs::read(&path).map(|bytes| serde_json::from_slice::<Intent>(&bytes)) {
                Ok(Ok(intent)) if intent.format <= FORMAT => pending.intents.push(intent),
                _ => pending.unreadable.push(path.display().to_string()),
            }
        }
        pending.intents.sort_by(|a, b| a.run.cmp(&b.run));
        Ok(pending)
    }

    fn sweep(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut swept = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // The supervisor writes its state here too, and holds another lock.
            if name.strip_suffix(".tmp").is_some_and(RunId::is_one) {
                fs::remove_file(self.dir.join(&name))?;
                swept.push(name);
            } else if let Some(what) = name.strip_prefix(claim::PREFIX) {
                // One that a dead process left goes when it is dropped; a live one's stays.
                // One that cannot be opened keeps nobody from anything but that file.
                drop(self.claim(what));
            }
        }
        Ok(swept)
    }

    fn claim(&self, what: &str) -> io::Result<Option<Claim>> {
        self.make_dir()?;
        Claim::take(&self.dir, what, |file| give_to_owner_of(&self.dir, file))
    }
}

/// A directory that cannot be synced (EINVAL on some network disks: fault 40) is as durable as it gets.
fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// What root makes on a host belongs to whom the directory belongs to: the sidecar must be able to remove it. Root without CAP_CHOWN may
/// not, and need not.
fn give_to_owner_of(dir: &Path, file: &File) -> io::Result<()> {
    let (owner, own) = (fs::metadata(dir)?, file.metadata()?);
    if own.uid() == 0 && owner.uid() != 0 {
        match fchown(file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid()))) {
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::ENOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn intent(second: i64) -> Intent {
        let run = RunId::new(DateTime::from_timestamp(second, 0).unwrap(), 7);
        Intent {
            format: FORMAT,
            run,
            installation: "hub/hub".into(),
            work: Work::Backup { file: "a_backup_20261121_030000.sql.gz".into(), stored: None },
        }
    }

    #[test]
    fn an_intent_lives_until_its_run_ends() {
        let dir = tempfile::tempdir().unwrap();
        let intents = IntentFiles::new(dir.path());
        assert!(intents.pending().unwrap().intents.is_empty());
        intents.put(&intent(200)).unwrap();
        intents.put(&intent(100)).unwrap();
        intents.put(&intent(100)).unwrap();
        assert_eq!(intents.pending().unwrap().intents, [intent(100), intent(200)]);
        intents.end(&intent(100).run).unwrap();
        intents.end(&intent(100).run).unwrap();
        assert_eq!(intents.pending().unwrap().intents, [intent(200)]);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let intents = IntentFiles::new(dir.path());
        intents.put(&intent(1)).unwrap();
        let bad = dir.path().join(".amarre/x.json");
        fs::write(&bad, "{").unwrap();
        let pending = intents.pending().unwrap();
        assert_eq!((pending.intents.len(), pending.unreadable), (1, vec![bad.display().to_string()]));
        assert!(bad.exists());
    }

    #[test]
    fn what_was_cut_off_while_it_was_written_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let intents = IntentFiles::new(dir.path());
        assert!(intents.sweep().unwrap().is_empty());
        intents.put(&intent(1)).unwrap();
        let cut = format!("{}.tmp", intent(2).run);
        fs::write(dir.path().join(".amarre").join(&cut), "{").unwrap();
        let others = dir.path().join(".amarre/supervisor.tmp");
        fs::write(&others, "").unwrap();
        assert_eq!(intents.sweep().unwrap(), [cut]);
        assert!(others.exists());
        assert_eq!(intents.pending().unwrap().intents, [intent(1)]);
        assert!(intents.sweep().unwrap().is_empty());
    }
}
