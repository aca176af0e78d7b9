//! A FIFO in the lane directory: made, held while the other side comes, opened at our end, removed. Who is on the other
//! side is not known here.
//!
//! It has a name for the moment of the meeting only: once both ends are open the name is removed, so there is nothing to
//! replace and nothing to leave behind. Until then its maker holds a lock on it (`flock`), by which [`sweep`] tells what a
//! killed run left from what another run is about to use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;
use tokio::net::unix::pipe;

use super::sentinel::Nonce;

const PREFIX: &str = "amarre-";
const SUFFIX: &str = ".fifo";

/// So often one is made.
const TRIES: u32 = 3;

/// A FIFO with a name. Dropping it removes the name and closes the end that keeps it open; ends that were opened stay.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    name: String,
    /// Open for both directions: whoever opens the other end meanwhile does not wait.
    hold: Flock<File>,
}

impl Fifo {
    /// Makes one in `dir` with a random name, and `mode` for its owner and group.
    ///
    /// # Errors
    /// The directory is not there, is a link, or is not ours to write; the file system knows no FIFOs.
    pub(super) fn make(dir: &Path, mode: u32) -> io::Result<Self> {
        if !fs::symlink_metadata(dir)?.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        // Another run that sweeps takes one without a lock for a dead one's, and a new one has none for a moment.
        let swept = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::WouldBlock);
        for _ in 1..TRIES {
            match Self::make_one(dir, mode) {
                Err(error) if swept(error.kind()) => {}
                made => return made,
            }
        }
        Self::make_one(dir, mode)
    }

    fn make_one(dir: &Path, mode: u32) -> io::Result<Self> {
        let name = format!("{PREFIX}{}{SUFFIX}", Nonce::new().map_err(io::Error::other)?.as_str());
        let path = dir.join(&name);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let made = Self::hold(&path, name, mode).and_then(|fifo| fifo.reader().map(|_| fifo));
        made.inspect_err(|_| drop(fs::remove_file(&path)))
    }

    fn hold(path: &Path, name: String, mode: u32) -> io::Result<Self> {
        let file = open(path, OFlag::O_RDWR)?;
        if !is_ours(&file.metadata()?) {
            return Err(replaced());
        }
        let hold = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, cause)| io::Error::from(cause))?;
        // The umask has no say here: the group's rights are the whole point.
        hold.set_permissions(fs::Permissions::from_mode(mode))?;
        crate::runner::pipe::enlarge(&hold);
        Ok(Self { path: path.to_owned(), name, hold })
    }

    /// Its name in the directory.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its path at our side, for messages.
    pub(super) fn shown(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Puts `line` into the pipe, which must be empty.
    ///
    /// # Errors
    /// It does not fit, which no short line does.
    pub(super) fn greet(&self, line: &[u8]) -> io::Result<()> {
        (&*self.hold).write_all(line)
    }

    /// The end to read from, which does not block.
    ///
    /// # Errors
    /// There is another thing under its name now.
    pub(super) fn reader(&self) -> io::Result<File> {
        self.end(OFlag::O_RDONLY)
    }

    /// The end to write to.
    ///
    /// # Errors
    /// As [`Fifo::reader`].
    pub(super) fn writer(&self) -> io::Result<pipe::Sender> {
        pipe::Sender::from_file(self.end(OFlag::O_WRONLY)?)
    }

    fn end(&self, direction: OFlag) -> io::Result<File> {
        let file = open(&self.path, direction)?;
        let (theirs, ours) = (file.metadata()?, self.hold.metadata()?);
        if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
            return Err(replaced());
        }
        Ok(file)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // By name, so only while the name is still ours: who replaced it keeps what is theirs.
        if self.end(OFlag::O_RDONLY).is_ok() {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Removes the FIFOs of runs that are no more; how many there were. All else in the directory stays.
///
/// # Errors
/// The directory cannot be listed. One that is not there has nothing in it.
pub(super) fn sweep(dir: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let names = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_own_name));
    Ok(names.filter(|entry| sweep_one(&entry.path()).unwrap_or(false)).count())
}

fn sweep_one(path: &Path) -> io::Result<bool> {
    if !is_ours(&fs::symlink_metadata(path)?) {
        return Ok(false);
    }
    let file = open(path, OFlag::O_RDONLY)?;
    // Locked: its maker lives.
    let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(false) };
    let (now, then) = (fs::symlink_metadata(path)?, lock.metadata()?);
    if (now.dev(), now.ino()) != (then.dev(), then.ino()) {
        return Ok(false);
    }
    fs::remove_file(path)?;
    Ok(true)
}

fn is_own_name(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == 32 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_ours(about: &fs::Metadata) -> bool {
    about.file_type().is_fifo() && about.uid() == nix::unistd::geteuid().as_raw()
}

/// Never waits for the other side, never follows a link.
fn open(path: &Path, direction: OFlag) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let reads = direction != OFlag::O_WRONLY;
    let writes = direction != OFlag::O_RDONLY;
    OpenOptions::new().read(reads).write(writes).custom_flags(flags.bits()).open(path)
}

fn replaced() -> io::Error {
    io::Error::other("it is not the FIFO that was made")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[tokio::test]
    async fn bytes_pass_and_the_name_is_gone_before() {
        let dir = dir();
        let fifo = Fifo::make(dir.path(), 0o620).unwrap();
        assert_eq!(fs::metadata(&fifo.path).unwrap().mode() & 0o7777, 0o620);
        let (mut writer, mut reader) = (fifo.writer().unwrap(), fifo.reader().unwrap());
        drop(fifo);
        assert_eq!(names(dir.path()), 0);
        writer.write_all(b"through").await.unwrap();
        drop(writer);
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        assert_eq!(got, "through");
    }

    #[tokio::test]
    async fn what_took_its_name_is_refused_and_stays() {
        let dir = dir();
        let takes: [&dyn Fn(&Path); 3] = [
            &|path| fs::write(path, "a file").unwrap(),
            &|path| std::os::unix::fs::symlink("/dev/null", path).unwrap(),
            &|path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap(),
        ];
        for take in takes {
            let fifo = Fifo::make(dir.path(), 0o620).unwrap();
            let path = fifo.path.clone();
            fs::remove_file(&path).unwrap();
            take(&path);
            assert!(fifo.reader().is_err());
            assert!(fifo.writer().is_err());
            drop(fifo);
            assert!(fs::symlink_metadata(&path).is_ok(), "somebody else's");
            fs::remove_file(&path).unwrap();
        }
    }

    #[tokio::test]
    async fn a_sweep_takes_what_the_dead_left_and_nothing_else() {
        let dir = dir();
        let path = |name: &str| dir.path().join(name);
        let of_the_dead = path("amarre-0123456789abcdef0123456789abcdef.fifo");
        nix::unistd::mkfifo(&of_the_dead, Mode::S_IRWXU).unwrap();
        fs::write(path("amarre-00000000000000000000000000000000.fifo"), "a file").unwrap();
        nix::unistd::mkfifo(&path("amarre-short.fifo"), Mode::S_IRWXU).unwrap();
        nix::unistd::mkfifo(&path("theirs"), Mode::S_IRWXU).unwrap();
        let alive = Fifo::make(dir.path(), 0o620).unwrap();
        assert_eq!(sweep(dir.path()).unwrap(), 1);
        assert!(!of_the_dead.exists());
        assert_eq!(names(dir.path()), 4);
        drop(alive);
        assert_eq!((sweep(dir.path()).unwrap(), names(dir.path())), (0, 3));
        assert_eq!(sweep(&path("nowhere")).unwrap(), 0);
    }

    #[test]
    fn a_link_is_no_lane() {
        let dir = dir();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(Fifo::make(&link, 0o620).is_err());
        assert!(Fifo::make(&dir.path().join("nowhere"), 0o620).is_err());
    }
}
