//! The calls that a test cannot make fail on a healthy disk, behind values that it can replace.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, RenameFlags, renameat2};
use nix::unistd::{fsync, linkat};

type Sync = Box<dyn Fn(&File) -> Result<(), Errno> + Send + std::marker::Sync>;
type Name = Box<dyn Fn(&File, &str, &str) -> Result<(), Errno> + Send + std::marker::Sync>;

/// How files are synced and named.
pub(super) struct System {
    /// fsync of a file.
    pub(super) sync_file: Sync,
    /// fsync of a directory.
    pub(super) sync_dir: Sync,
    /// Renames from the first to the second name unless that exists.
    pub(super) rename_new: Name,
    /// Gives the first name's file the second name, too, unless that exists.
    pub(super) link: Name,
}

impl System {
    /// Those of the system.
    pub(super) fn real() -> Self {
        Self {
            sync_file: Box::new(|file| fsync(file)),
            sync_dir: Box::new(|dir| fsync(dir)),
            rename_new: Box::new(|dir, from, to| renameat2(dir, from, dir, to, RenameFlags::RENAME_NOREPLACE)),
            link: Box::new(|dir, from, to| linkat(dir, from, dir, to, AtFlags::empty())),
        }
    }
}
