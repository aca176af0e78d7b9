//! The log's file: rotated by its size, shared by all processes that write there (the supervisor, runs by hand), and never
//! a reason to stop.
//!
//! Whoever writes a line holds a lock (`flock`) on the file that is at the path at that moment, so a rotation by another process
//! neither loses a line nor happens twice. Somebody else's program that holds that lock is waited for a moment; then lines are
//! appended without it, and not rotated.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE_MODE: u32 = 0o640;
/// How long another's lock is waited for.
const PATIENCE: u32 = 40;
const PAUSE: Duration = Duration::from_millis(5);
/// Files that others put at the path meanwhile.
const TRIES: usize = 16;

/// What is wrong with a line.
#[derive(Debug)]
pub enum Trouble {
    /// It could not be written.
    Write(io::Error),
    /// It was written, but the file is too large and cannot be rotated.
    Rotate(io::Error),
}

/// A log file that is rotated.
pub struct RotatingFile {
    path: PathBuf,
    limit: u64,
    keep: u32,
    file: File,
    /// The last line may have been written in part.
    torn: bool,
    /// Somebody held the lock for longer than anybody should.
    impatient: bool,
}

impl RotatingFile {
    /// Opens or makes the file at `path`, not its directory. A file never gets larger than `limit` bytes, unless by one line; `keep` older
    /// ones stay: `path.1` is the youngest.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, limit: u64, keep: u32) -> io::Result<Self> {
        let file = open(path)?;
        // What a link points to is rotated, beside itself.
        let path = path.canonicalize()?;
        Ok(Self { path, limit, keep, file, torn: false, impatient: false })
    }

    /// Appends a line, which ends with a line end.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn write_line(&mut self, line: &[u8]) -> Result<(), Trouble> {
        let mut locked = self.take().map_err(Trouble::Write)?;
        let mut unrotated = None;
        if locked && self.is_full(line.len()) {
            match self.rotate() {
                Ok(()) => locked = self.take().map_err(Trouble::Write)?,
                Err(error) => unrotated = Some(error),
            }
        }
        let written = self.append(line);
        if locked {
            // Closing it would do the same.
            let _ = self.file.unlock();
        }
        written.map_err(Trouble::Write)?;
        unrotated.map_or(Ok(()), |error| Err(Trouble::Rotate(error)))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let length = self.file.metadata().map(|meta| meta.len());
        self.file.write_all(line).inspect_err(|_| {
            let now = self.file.metadata().map(|meta| meta.len());
            self.torn = !matches!((length, now), (Ok(before), Ok(now)) if before == now);
        })
    }

    /// Takes the lock of the file that is at the path; `false`: somebody else has it, and the line goes there without.
    fn take(&mut self) -> io::Result<bool> {
        for _ in 0..TRIES {
            let locked = self.lock()?;
            if self.is_at_the_path() {
                return Ok(locked);
            }
            // Rotated by another process, or removed.
            self.file = open(&self.path)?;
        }
        Ok(false)
    }

    fn lock(&mut self) -> io::Result<bool> {
        let tries = if self.impatient { 1 } else { PATIENCE };
        for _ in 0..tries {
            match self.file.try_lock() {
                Ok(()) => {
                    self.impatient = false;
                    return Ok(true);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                // No locks in this file system: as good as before there were any.
                Err(TryLockError::Error(_)) => return Ok(false),
            }
        }
        self.impatient = true;
        Ok(false)
    }

    fn is_at_the_path(&self) -> bool {
        let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(ours), Ok(there)) => identity(ours) == identity(there),
            _ => false,
        }
    }

    /// Devices and pipes have no size.
    fn is_full(&self, more: usize) -> bool {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let meta = self.file.metadata();
        meta.is_ok_and(|meta| meta.is_file() && meta.len() > 0 && meta.len().saturating_add(more) > self.limit)
    }

    /// Under the lock of the file at the path: nobody else moves any of them until that one has gone, which is last.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

/// What the operator should know of the file.
#[derive(Debug)]
pub enum Notice {
    /// Lines are lost from now on.
    Fails(io::Error),
    /// It works again, after so many lost lines.
    Works(u64),
    /// It grows beyond its limit.
    Grows(io::Error),
}

/// Takes lines and never fails: trouble is told once, and its end.
pub struct Sink<F> {
    file: RotatingFile,
    tell: F,
    lost: u64,
    grows: bool,
}

impl<F: Fn(Notice)> Sink<F> {
    /// `tell` is called from the thread that writes.
    pub fn new(file: RotatingFile, tell: F) -> Self {
        Self { file, tell, lost: 0, grows: false }
    }

    fn line(&mut self, line: &[u8]) {
        match self.file.write_line(line) {
            Err(Trouble::Write(error)) => {
                if self.lost == 0 {
                    (self.tell)(Notice::Fails(error));
                }
                self.lost += 1;
                return;
            }
            Err(Trouble::Rotate(error)) if !self.grows => {
                self.grows = true;
                (self.tell)(Notice::Grows(error));
            }
            Err(Trouble::Rotate(_)) => {}
            Ok(()) => self.grows = false,
        }
        if self.lost > 0 {
            (self.tell)(Notice::Works(std::mem::take(&mut self.lost)));
        }
    }
}

impl<F: Fn(Notice)> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tempfile::TempDir;

    use super::*;

    fn directory() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.log");
        (directory, path)
    }

    /// All lines, from the oldest file on; and how many files there are.
    fn lines(path: &Path) -> (Vec<String>, usize) {
        let numbered = (1..=9).rev().map(|n| PathBuf::from(format!("{}.{n}", path.display())));
        let texts: Vec<_> = numbered.chain([path.to_owned()]).filter_map(|p| fs::read_to_string(p).ok()).collect();
        (texts.iter().flat_map(|text| text.lines().map(str::to_owned)).collect(), texts.len())
    }

    #[test]
    fn a_full_file_goes_aside_and_the_last_five_stay() {
        let (_directory, path) = directory();
        let mut file = RotatingFile::open(&path, 100, 5).expect("opened");
        for number in 0..200 {
            file.write_line(format!("line {number:04}\n").as_bytes()).expect("written");
        }
        let (lines, files) = lines(&path);
        assert_eq!(files, 6, "the file and five before it");
        // Ten bytes each, ten in a file.
        let expected: Vec<_> = (140..200).map(|number| format!("line {number:04}")).collect();
        assert_eq!(lines, expected);
        assert!(fs::metadata(&path).expect("there").len() <= 100);
    }

    #[test]
    fn two_that_write_at_once_lose_no_line_while_it_rotates() {
        const LINES: usize = 2_000;
        let (_directory, path) = directory();
        let writers: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let mut file = RotatingFile::open(&path, 20_000, 9).expect("opened");
                std::thread::spawn(move || {
                    for number in 0..LINES {
                        file.write_line(format!("{name} {number:06}\n").as_bytes()).expect("written");
                    }
                })
            })
            .into();
        for writer in writers {
            writer.join().expect("ended");
        }
        let (lines, files) = lines(&path);
        assert_eq!(files, 3, "54,000 bytes in files of 20,000");
        for name in ["a", "b", "c"] {
            let own: Vec<_> = lines.iter().filter(|line| line.starts_with(name)).cloned().collect();
            let expected: Vec<_> = (0..LINES).map(|number| format!("{name} {number:06}")).collect();
            assert_eq!(own, expected, "each line once, whole, in its order");
        }
    }

    #[test]
    fn a_line_longer_than_the_limit_is_written_whole() {
        let (_directory, path) = directory();
        let mut file = RotatingFile::open(&path, 10, 2).expect("opened");
        file.write_line(b"short\n").expect("written");
        file.write_line(b"much longer than ten\n").expect("written");
        assert_eq!(lines(&path).0, ["short", "much longer than ten"]);
    }

    #[test]
    fn a_file_that_another_program_took_away_is_made_anew() {
        let (_directory, path) = directory();
        let mut file = RotatingFile::open(&path, 1000, 2).expect("opened");
        file.write_line(b"one\n").expect("written");
        fs::rename(&path, path.with_extension("aside")).expect("moved");
        file.write_line(b"two\n").expect("written");
        assert_eq!(lines(&path).0, ["two"]);
    }

    #[test]
    fn whoever_holds_the_lock_for_ever_holds_nobody_up() {
        let (_directory, path) = directory();
        let mut file = RotatingFile::open(&path, 10, 2).expect("opened");
        let holder = File::open(&path).expect("opened");
        holder.lock_shared().expect("locked");
        for _ in 0..10 {
            file.write_line(b"a line\n").expect("written");
        }
        assert_eq!(lines(&path), (vec!["a line".to_owned(); 10], 1), "appended, not rotated");
        drop(holder);
        file.write_line(b"a line\n").expect("written");
        assert_eq!(lines(&path).1, 2);
    }

    #[test]
    fn a_device_is_not_rotated() {
        let mut file = RotatingFile::open(Path::new("/dev/null"), 1, 2).expect("opened");
        for _ in 0..3 {
            file.write_line(b"a line\n").expect("written");
        }
        assert!(!Path::new("/dev/null.1").exists());
    }

    #[test]
    fn fault_35_a_full_disk_is_said_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&told);
        let file = RotatingFile::open(Path::new("/dev/full"), 1000, 2).expect("opened");
        let mut sink = Sink::new(file, move |notice| seen.lock().expect("whole").push(format!("{notice:?}")));
        for _ in 0..100 {
            sink.write_all(b"a line\n").expect("taken");
        }
        let told = told.lock().expect("whole");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("Fails"), "{told:?}");
    }

    #[test]
    fn fault_35_that_it_works_again_is_said_with_what_is_lost() {
        let (_directory, path) = directory();
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&told);
        let file = RotatingFile::open(&path, 1000, 2).expect("opened");
        let mut sink = Sink::new(file, move |notice| seen.lock().expect("whole").push(format!("{notice:?}")));
        let aside = path.with_extension("aside");
        sink.line(b"one\n");
        fs::rename(&path, &aside).expect("moved");
        // A directory cannot be opened for writing.
        fs::create_dir(&path).expect("made");
        sink.line(b"two\n");
        sink.line(b"three\n");
        fs::remove_dir(&path).expect("removed");
        sink.line(b"four\n");
        let told = told.lock().expect("whole");
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], "Works(2)");
        assert_eq!(lines(&path).0, ["four"]);
    }
}
