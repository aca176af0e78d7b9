//! The fast lane: a directory that this process and the database's container share. Whether they do is seen, not concluded:
//! a FIFO made here must be there under its random name, in one of the directories that the container mounts.
//!
//! Whatever is in its way is a reason to take the exec lane, said once, and never a failure.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rust_i18n::t;

use super::fifo::{self, Fifo};
use super::find::Mount;
use crate::runner::quote;

/// For an output: the other side writes.
const OUTPUT_MODE: u32 = 0o620;
/// For an input: the other side reads, and holds a writing end so that the death of this process is not the end of the input.
const INPUT_MODE: u32 = 0o660;

/// More directories than this are not looked through.
const DIRECTORIES: usize = 32;

/// The lane of one container, with what was learned of it.
#[derive(Debug)]
pub(super) struct Lane {
    dir: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    /// The group that a FIFO must be given as root first, where the container's user may not open it otherwise.
    group: Option<u32>,
    barred: Option<NoFastLane>,
}

/// Why bulk takes the exec lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoFastLane {
    /// There is no lane directory here.
    #[error("{}", t!("runner.lane.no_directory", dir = quote(dir)))]
    NoDirectory {
        /// `BACKUP_LANE_DIR`.
        dir: String,
    },
    /// No FIFO can be made in it.
    #[error("{}", t!("runner.lane.not_ours", dir = quote(dir), cause = quote(cause)))]
    NotOurs {
        /// `BACKUP_LANE_DIR`.
        dir: String,
        /// What the system says.
        cause: String,
    },
    /// The container does not see it.
    #[error("{}", t!("runner.lane.not_shared", dir = quote(dir), container = quote(container)))]
    NotShared {
        /// `BACKUP_LANE_DIR`.
        dir: String,
        /// The container.
        container: String,
    },
    /// The container's user may not open what lies in it, and root there may not change that.
    #[error("{}", t!("runner.lane.refused", dir = quote(dir), container = quote(container), group = group))]
    Refused {
        /// `BACKUP_LANE_DIR`.
        dir: String,
        /// The container.
        container: String,
        /// The group of the container's user.
        group: u32,
    },
    /// The container sees it, but nobody there met this side at it.
    #[error("{}", t!("runner.lane.unmet", dir = quote(dir), container = quote(container), seconds = seconds))]
    Unmet {
        /// `BACKUP_LANE_DIR`.
        dir: String,
        /// The container.
        container: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl NoFastLane {
    /// Whether the operator meant there to be one: then the reason is worth a warning.
    #[must_use]
    pub fn is_unexpected(&self) -> bool {
        matches!(self, Self::NotOurs { .. } | Self::Refused { .. } | Self::Unmet { .. })
    }
}

impl Lane {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), known: Mutex::default() }
    }

    /// A new FIFO for a run; `None`: the exec lane.
    pub(super) fn fifo(&self, input: bool) -> Option<Fifo> {
        if self.barred().is_some() {
            return None;
        }
        let mode = if input { INPUT_MODE } else { OUTPUT_MODE };
        Fifo::make(&self.dir, mode).map_err(|error| self.bar(self.cannot_make(&error))).ok()
    }

    fn cannot_make(&self, error: &std::io::Error) -> NoFastLane {
        match error.kind() {
            // The image has an empty directory there, on a root that is read-only: without the volume that is none either.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ReadOnlyFilesystem => {
                NoFastLane::NoDirectory { dir: self.shown() }
            }
            _ => NoFastLane::NotOurs { dir: self.shown(), cause: error.to_string() },
        }
    }

    /// The group that the next FIFO must be given before it is used.
    pub(super) fn group(&self) -> Option<u32> {
        self.known().group
    }

    pub(super) fn set_group(&self, group: u32) {
        self.known().group = Some(group);
    }

    /// From now on the exec lane.
    pub(super) fn bar(&self, why: NoFastLane) {
        if why.is_unexpected() {
            tracing::warn!("{}", t!("runner.lane.exec_instead", reason = why));
        } else {
            tracing::debug!("{}", t!("runner.lane.exec_instead", reason = why));
        }
        self.known().barred = Some(why);
    }

    pub(super) fn barred(&self) -> Option<NoFastLane> {
        self.known().barred.clone()
    }

    /// The lane directory, for messages.
    pub(super) fn shown(&self) -> String {
        self.dir.to_string_lossy().into_owned()
    }

    /// Where the container may see the directory, likely places first.
    pub(super) fn places(&self, mounts: &[Mount]) -> Vec<String> {
        let real = std::fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        places(&self.dir, &real, mounts)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // What was learned is whole after each change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a host's directory would be by its path; the same path; each mount, and a directory of the same name in it.
fn places(dir: &Path, real: &Path, mounts: &[Mount]) -> Vec<String> {
    let name = dir.file_name().unwrap_or_default();
    let by_path = mounts.iter().filter_map(|m| Some(m.destination.join(real.strip_prefix(&m.source).ok()?)));
    let by_name = mounts.iter().map(|m| m.destination.join(name));
    let every = by_path.chain([dir.to_owned()]).chain(mounts.iter().map(|m| m.destination.clone())).chain(by_name);
    let mut found: Vec<String> = Vec::new();
    for place in every.filter_map(|path| path.into_os_string().into_string().ok()) {
        let place = if place.len() > 1 { place.trim_end_matches('/').to_owned() } else { place };
        if place.starts_with('/') && found.len() < DIRECTORIES && !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

/// Removes what killed runs left in the lane directory; how much that was.
///
/// # Errors
/// It cannot be listed.
pub fn sweep(dir: &Path) -> std::io::Result<usize> {
    fifo::sweep(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &str, destination: &str) -> Mount {
        Mount { source: source.into(), destination: destination.into() }
    }

    #[test]
    fn a_directory_of_the_host_is_looked_for_where_its_path_says() {
        let mounts = [mount("/var/lib/docker/volumes/x/_data", "/var/lib/postgresql/data"), mount("/srv/app", "/app")];
        let found = places(Path::new("/srv/app/lane"), Path::new("/srv/app/lane"), &mounts);
        assert_eq!(found[..3], ["/app/lane", "/srv/app/lane", "/var/lib/postgresql/data"]);
        let found = places(Path::new("/l"), Path::new("/srv/app"), &mounts);
        assert_eq!(found[0], "/app", "a link here, the directory itself there");
    }

    #[test]
    fn a_volume_is_looked_for_at_the_same_place_and_then_everywhere() {
        let mounts = [mount("/var/lib/docker/volumes/lane/_data", "/fast"), mount("", "/tmp")];
        assert_eq!(places(Path::new("/lane"), Path::new("/lane"), &mounts)[..3], ["/lane", "/fast", "/tmp"]);
        assert_eq!(places(Path::new("/lane"), Path::new("/lane"), &[]), ["/lane"]);
    }

    #[test]
    fn where_no_fifo_can_be_made_the_reason_stays() {
        let lane = Lane::new(Path::new("/nonexistent/lane"));
        assert!(lane.fifo(true).is_none());
        assert_eq!(lane.barred(), Some(NoFastLane::NoDirectory { dir: "/nonexistent/lane".to_owned() }));
        let lane = Lane::new(Path::new("/dev/null"));
        assert!(lane.fifo(false).is_none());
        assert!(lane.barred().unwrap().is_unexpected());
    }
}
