//! One run at a time on a directory: `flock` on `.amarre.lock`. The kernel releases it when the process ends, however it
//! ends. What the file says is for messages only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Gid, Uid, fchown, geteuid};
use rust_i18n::t;
use serde::{Deserialize, Serialize};

use crate::domain::text::escape;
use crate::error::{Exit, Explain};

/// The name of the lock in its directory.
pub const LOCK_FILE: &str = ".amarre.lock";
/// What a holder says of itself is shorter (bytes).
const HOLDER_LIMIT: u64 = 4096;

/// How often, and after which time, a lock is tried again before it counts as held.
const LOOKS: u32 = 3;
const INSTANT: Duration = Duration::from_millis(5);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Who holds a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process, in its own PID namespace.
    pub pid: u32,
    /// Its run, or what else it does.
    pub run: String,
    /// Since when, RFC 3339 in UTC.
    pub since: String,
    /// The name of the machine or container.
    pub host: String,
}

impl Holder {
    /// This process, for `run`, at `since`.
    #[must_use]
    pub fn this(run: impl Into<String>, since: chrono::DateTime<chrono::Utc>) -> Self {
        let since = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        Self { pid: std::process::id(), run: run.into(), since, host: host_name() }
    }
}

/// The name of this machine, as the kernel has it.
#[must_use]
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another run holds it.
    #[error("{}", held_message(.0.as_ref()))]
    Held(Option<Holder>),
    /// The lock file is a link, a directory, or has a second name.
    #[error("{}", t!("process.lock_not_a_file", path = escape(&path.to_string_lossy())))]
    NotAFile {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory or the file cannot be used.
    #[error("{}", t!("process.lock_io", path = escape(&path.to_string_lossy()), cause = cause))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Held(_) => Some(t!("process.lock_held_hint").into_owned()),
            Self::NotAFile { path } => {
                Some(t!("process.lock_not_a_file_hint", path = escape(&path.to_string_lossy())).into_owned())
            }
            Self::Io { path, .. } => {
                let directory = path.parent().unwrap_or(path);
                Some(t!("process.lock_io_hint", path = escape(&directory.to_string_lossy())).into_owned())
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Held(_) => Exit::Locked,
            Self::NotAFile { .. } | Self::Io { .. } => Exit::Failed,
        }
    }
}

fn held_message(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => t!(
            "process.lock_held_by",
            run = escape(&holder.run),
            pid = holder.pid,
            host = escape(&holder.host),
            since = escape(&holder.since)
        ),
        None => t!("process.lock_held"),
    }
    .into_owned()
}

impl RunLock {
    /// Takes the lock of `directory` at once, or says who holds it.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Held`] ends a command with [`Exit::Locked`].
    pub fn acquire(directory: &Path, holder: &Holder) -> Result<Self, Error> {
        let path = directory.join(LOCK_FILE);
        let io = |cause| Error::Io { path: path.clone(), cause };
        let mut file = open(&path)?;
        let mut looks = LOOKS;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // Whoever only looks (`holder`) has it for an instant too: that refuses no run.
                Err(TryLockError::WouldBlock) if looks > 0 => {
                    looks -= 1;
                    std::thread::sleep(INSTANT);
                }
                Err(TryLockError::WouldBlock) => return Err(Error::Held(read_holder(&mut file))),
                Err(TryLockError::Error(cause)) => return Err(io(cause)),
            }
        }
        share_with_owner(directory, &file).map_err(io)?;
        write_holder(&mut file, holder);
        Ok(Self { _file: file })
    }

    /// Whether somebody holds the lock of `directory` now, and who. For `status` and for sweepers: by the time
    /// of the answer it may be over.
    ///
    /// # Errors
    /// [`Error::NotAFile`], [`Error::Io`]; a lock file that does not exist is not held.
    pub fn holder(directory: &Path) -> Result<Option<Option<Holder>>, Error> {
        if !directory.join(LOCK_FILE).exists() {
            return Ok(None);
        }
        let path = directory.join(LOCK_FILE);
        let mut file = open(&path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
            Err(TryLockError::Error(cause)) => Err(Error::Io { path, cause }),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::ELOOP | libc::EISDIR | libc::ENXIO)) => {
            return Err(Error::NotAFile { path: path.to_path_buf() });
        }
        Err(cause) => return Err(Error::Io { path: path.to_path_buf(), cause }),
    };
    let metadata = file.metadata().map_err(|cause| Error::Io { path: path.to_path_buf(), cause })?;
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(Error::NotAFile { path: path.to_path_buf() });
    }
    Ok(file)
}

/// Root of the host and the user of the sidecar share one directory: the lock belongs to whom the directory belongs.
fn share_with_owner(directory: &Path, file: &File) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (wanted, there) = (std::fs::metadata(directory)?, file.metadata()?);
    if (wanted.uid(), wanted.gid()) != (there.uid(), there.gid()) {
        match fchown(file, Some(Uid::from_raw(wanted.uid())), Some(Gid::from_raw(wanted.gid()))) {
            // Root without CAP_CHOWN may not, and need not.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::ENOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A disk that is full does not matter here: the lock is held, only its text is missing.
fn write_holder(file: &mut File, holder: &Holder) {
    let text = serde_json::to_string(holder).unwrap_or_default();
    let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(text.as_bytes()));
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(HOLDER_LIMIT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn holder(run: &str) -> Holder {
        Holder { pid: 7, run: run.into(), since: "2026-01-01T03:00:00Z".into(), host: "quay".into() }
    }

    #[test]
    fn fault_65_the_second_run_is_told_who_holds_the_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(RunLock::holder(directory.path()), Ok(None)));
        let lock = RunLock::acquire(directory.path(), &holder("first")).expect("free");
        let refused = RunLock::acquire(directory.path(), &holder("second")).expect_err("held");
        assert!(matches!(&refused, Error::Held(Some(by)) if *by == holder("first")));
        assert_eq!(refused.exit(), Exit::Locked);
        assert!(matches!(RunLock::holder(directory.path()), Ok(Some(Some(by))) if by == holder("first")));
        drop(lock);
        assert!(matches!(RunLock::holder(directory.path()), Ok(None)));
        RunLock::acquire(directory.path(), &holder("third")).expect("free again");
    }

    #[test]
    fn the_lock_is_private_and_old_text_does_not_matter() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(RunLock::acquire(directory.path(), &holder("a run with a long name")).expect("free"));
        let _lock = RunLock::acquire(directory.path(), &holder("x")).expect("free");
        let path = directory.path().join(LOCK_FILE);
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            serde_json::from_str::<Holder>(&std::fs::read_to_string(path).expect("text")).expect("whole"),
            holder("x")
        );
    }

    #[test]
    fn fault_39_a_link_in_place_of_the_lock_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("target");
        std::fs::write(&target, "precious").expect("written");
        std::os::unix::fs::symlink(&target, directory.path().join(LOCK_FILE)).expect("linked");
        let refused = RunLock::acquire(directory.path(), &holder("x"));
        assert!(matches!(refused, Err(Error::NotAFile { .. })), "{refused:?}");
        std::fs::remove_file(directory.path().join(LOCK_FILE)).expect("removed");
        std::fs::hard_link(&target, directory.path().join(LOCK_FILE)).expect("linked");
        assert!(matches!(RunLock::acquire(directory.path(), &holder("x")), Err(Error::NotAFile { .. })));
        assert_eq!(std::fs::read_to_string(target).expect("text"), "precious");
    }

    #[test]
    fn a_lock_made_by_root_belongs_to_the_owner_of_the_directory() {
        if !geteuid().is_root() {
            return eprintln!("SKIPPED: needs root");
        }
        let directory = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::chown(directory.path(), Some(10001), Some(10001)).expect("given");
        let _lock = RunLock::acquire(directory.path(), &holder("x")).expect("free");
        assert_eq!(directory.path().join(LOCK_FILE).metadata().expect("there").uid(), 10001);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_with_its_name() {
        let error = RunLock::acquire(Path::new("/nonexistent"), &holder("x")).expect_err("refused");
        assert!(error.to_string().contains("/nonexistent/.amarre.lock"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("/nonexistent")));
    }
}
