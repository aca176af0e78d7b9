//! What an operator should know about a directory of backups. Judges nothing.

use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::Space;

/// Mount, owner, mode and room of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Without links in it.
    pub path: PathBuf,
    /// Where the file system that holds it is mounted; `None`: the system does not tell.
    pub mount: Option<PathBuf>,
    /// Uid of its owner.
    pub uid: u32,
    /// Gid of its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Room there.
    pub space: Space,
}

impl Facts {
    pub(super) fn new(dir: &Path, meta: &Metadata, space: Space) -> Self {
        let path = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let mounts = std::fs::read("/proc/self/mountinfo").ok();
        let mount = mounts.and_then(|table| mount_of(&path, &table));
        Self { path, mount, uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777, space }
    }

    /// Whether it lies on a mount other than the root's: in a container that means that it outlives it (fault 6).
    /// What is not known counts as yes, a warning needs a reason.
    #[must_use]
    pub fn is_on_mount(&self) -> bool {
        self.mount.as_deref() != Some(Path::new("/"))
    }

    /// Whether anybody may list or enter it (fault 7).
    #[must_use]
    pub fn is_open_to_all(&self) -> bool {
        self.mode & 0o007 != 0
    }
}

/// The mount point of `/proc/self/mountinfo` that holds `path`: the longest one that it begins with.
fn mount_of(path: &Path, table: &[u8]) -> Option<PathBuf> {
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4))
        .map(unescape)
        .filter(|mount| path.starts_with(mount))
        .max_by_key(|mount| mount.as_os_str().as_bytes().len())
}

/// `\040` and the like are bytes in octal.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/a rw\n\
        30 22 8:2 / /var/backups rw - ext4 /dev/b rw\n\
        31 22 8:3 / /var/back\\040ups rw - ext4 /dev/c rw\nshort line\n";

    #[test]
    fn fault_6_the_mount_that_holds_a_directory_is_found() {
        let mount = |path: &str| mount_of(Path::new(path), TABLE).map(|m| m.display().to_string());
        assert_eq!(mount("/var/backups/hub").as_deref(), Some("/var/backups"));
        assert_eq!(mount("/var/backups").as_deref(), Some("/var/backups"));
        assert_eq!(mount("/var/backups2").as_deref(), Some("/"));
        assert_eq!(mount("/var/back ups/x").as_deref(), Some("/var/back ups"));
        assert_eq!(mount_of(Path::new("/x"), b""), None);
    }

    #[test]
    fn fault_7_a_directory_that_all_may_read_is_told() {
        let facts = |mode| Facts {
            path: PathBuf::from("/x"),
            mount: Some(PathBuf::from("/")),
            uid: 0,
            gid: 0,
            mode,
            space: Space { free: 1, total: 2 },
        };
        assert!(facts(0o755).is_open_to_all() && facts(0o751).is_open_to_all());
        assert!(!facts(0o750).is_open_to_all() && !facts(0o700).is_open_to_all());
        assert!(!facts(0o700).is_on_mount());
    }
}
