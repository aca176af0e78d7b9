//! Claims: what one process of an installation works on for longer than it holds the lock, so that no other does the same. A transfer may
//! take hours, and a restore must not wait for it. The kernel ends a claim with its process, however that ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the files of claims begin with.
pub(super) const PREFIX: &str = "claim-";

/// Held until it is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _file: File,
}

impl Claim {
    /// Claims `what`, a plain name, by a file in `dir`; `None`: another has it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub(super) fn take(dir: &Path, what: &str, made: impl Fn(&File) -> io::Result<()>) -> io::Result<Option<Self>> {
        let path = dir.join(format!("{PREFIX}{what}"));
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
            let file = options.open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                // A file system without locks: nobody else can be told, nor stopped.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever had it before removes the file at the end: then this is no longer the one that others look at.
            if is_same(&path, &file)? {
                // Whoever it belongs to it holds while this process lives.
                let _ = made(&file);
                return Ok(Some(Self { path, _file: file }));
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is locked; what stays is taken by the next, or swept.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_same(path: &Path, file: &File) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_one_processs_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let take = |what| Claim::take(dir.path(), what, |_| Ok(())).unwrap();
        let first = take("a").unwrap();
        assert!(take("a").is_none());
        assert!(take("b").is_some());
        drop(first);
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
        assert!(take("a").is_some());
    }
}
