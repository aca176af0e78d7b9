//! The directory of the backups: its rights and owner, its mount, its room, and the files in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use rust_i18n::t;

use super::{App, Check};
use crate::domain::name::{self, Role};
use crate::domain::text::{bytes, escape, few};
use crate::error::Explain as _;
use crate::process::privileges;
use crate::store::Error;
use crate::store::local::LocalStore;

/// Rights of anybody but the owner.
pub(super) const OTHERS: u32 = 0o077;

/// All of it.
pub(super) fn check(app: &App) -> Vec<Check> {
    let dir = &app.settings.backup_dir;
    let shown = escape(&dir.display().to_string());
    let facts = match LocalStore::open(dir).and_then(|store| store.facts()) {
        Err(error @ Error::NoDirectory { .. }) => {
            let fix = t!("doctor.directory_missing_fix", dir = shown).into_owned();
            return vec![Check::failure("directory", error.to_string(), Some(fix))];
        }
        Err(error) => return vec![Check::error("directory", &error)],
        Ok(facts) => facts,
    };
    let mut checks = Vec::new();
    let mode = format!("{:04o}", facts.mode & 0o7777);
    let seen = t!("doctor.directory", dir = shown, owner = facts.uid, mode = mode);
    let missing = privileges::missing(&super::super::workplace(&app.settings));
    let missing = missing.iter().find(|missing| matches!(missing, privileges::Missing::Directory { .. }));
    checks.push(match missing {
        Some(missing @ privileges::Missing::Directory { cause, .. }) => {
            let read_only = cause.kind() == io::ErrorKind::ReadOnlyFilesystem;
            let mount = || t!("store.read_only_hint", place = shown).into_owned();
            let fix = if read_only { Some(mount()) } else { missing.hint() };
            Check::failure("directory", format!("{seen}: {missing}"), fix)
        }
        _ if facts.is_open_to_all() => Check::warning("directory", seen, t!("doctor.directory_open", dir = shown)),
        _ => Check::ok("directory", seen),
    });
    checks.push(if app.settings.in_container && !facts.is_on_mount() {
        Check::warning("mount", t!("doctor.no_mount", dir = shown), t!("doctor.no_mount_fix", dir = shown))
    } else {
        Check::ok("mount", t!("doctor.mount", dir = shown))
    });
    checks.extend(files(dir));
    let (space, floor) = (facts.space, app.settings.disk_floor);
    let seen = t!("doctor.space", free = bytes(space.free), total = bytes(space.total));
    checks.push(if space.is_under(floor) {
        Check::warning("space", seen, t!("doctor.space_fix", percent = floor))
    } else {
        Check::ok("space", seen)
    });
    checks
}

/// Files of ours in the directory that others may read; they hold all rows.
pub(super) fn open_files(dir: &Path) -> Vec<PathBuf> {
    let open = |about: &fs::Metadata| about.is_file() && about.mode() & OTHERS != 0;
    ours(dir).into_iter().filter(|(_, about)| open(about)).map(|(path, _)| path).collect()
}

/// Files of backups, and what belongs to them; links are nobody's.
fn ours(dir: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let is_ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name::role(&name) != Role::Other || name.starts_with("amarre.sqlite")
    };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| is_ours(path));
    let mut found: Vec<_> = paths.filter_map(|path| path.symlink_metadata().ok().map(|about| (path, about))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn files(dir: &Path) -> Option<Check> {
    let ours = ours(dir);
    let closed = |(path, about): &(PathBuf, fs::Metadata)| {
        (about.is_file() && access(path, AccessFlags::R_OK).is_err()).then(|| path.clone())
    };
    let closed: Vec<_> = ours.iter().filter_map(closed).collect();
    let uid = nix::unistd::geteuid();
    if !closed.is_empty() {
        let fix = t!("doctor.files_closed_fix", uid = uid, dir = escape(&dir.display().to_string())).into_owned();
        let seen = t!("doctor.files_closed", count = closed.len(), names = names(&closed), uid = uid);
        return Some(Check::failure("files", seen, Some(fix)));
    }
    let open = open_files(dir);
    if !open.is_empty() {
        let seen = t!("doctor.files_open", count = open.len(), names = names(&open));
        return Some(Check::warning("files", seen, t!("doctor.files_open_fix")));
    }
    (!ours.is_empty()).then(|| Check::ok("files", t!("doctor.files", count = ours.len())))
}

/// Some names, and how many more.
fn names(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| escape(&path.file_name().unwrap_or_default().to_string_lossy());
    few(&paths.iter().map(name).collect::<Vec<_>>(), ", ")
}
