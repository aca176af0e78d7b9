//! `amarre doctor --fix`: mends what can be mended without a risk, and names what needs somebody with more rights or more knowledge.
//!
//! Rights are only taken away from others, and only of what belongs to this user; directories are made only in ones that are
//! there: a whole missing path is more likely a disk that is not mounted. Nothing is deleted, and no owner is changed.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rust_i18n::t;
use serde::Serialize;

use super::settings_file::{self, ALL};
use super::{App, Unusable, directory, host};
use crate::domain::text::escape;
use crate::settings::Problems;

/// How a repair ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It was made.
    Done,
    /// It would be made: only shown.
    Would,
    /// It was tried.
    Failed,
    /// It is not for this program: by hand, as the text says.
    ByHand,
}

/// Something that was mended, or should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// What it is about.
    pub path: PathBuf,
    /// How it ended.
    pub outcome: Done,
    /// What was done, or is to be done.
    pub text: String,
}

/// What could be done to one path.
enum Step {
    Make(u32),
    Mode(u32),
    Hand(String),
}

/// Mends; with `dry_run` only says what it would do.
#[must_use]
pub fn repair(app: &App, problems: &Problems, dry_run: bool) -> Vec<Repair> {
    let unusable = Unusable::of(problems);
    let mut repairs = Vec::new();
    let mut work = |steps: Vec<(PathBuf, Step)>| {
        repairs.extend(steps.into_iter().map(|(path, step)| carry_out(path, &step, dry_run)));
    };
    work(settings_file::file(app).and_then(|file| close(file, ALL)).into_iter().collect());
    if !unusable.has("BACKUP_DIR") {
        work(of_directory(&app.settings.backup_dir));
        let open = directory::open_files(&app.settings.backup_dir);
        work(open.into_iter().filter_map(|file| close(file, directory::OTHERS)).collect());
        // Intents and what is remembered; it is made by whoever needs it.
        work(close(app.settings.backup_dir.join(".amarre"), directory::OTHERS).into_iter().collect());
    }
    if app.settings.log.file_is_chosen && !unusable.has("BACKUP_LOG_FILE") {
        work(app.settings.log.file.parent().and_then(make).into_iter().collect());
    }
    if let Some(dir) = host::scripts_dir(app) {
        work(host::not_executable(&dir).into_iter().filter_map(open_to_readers).collect());
    }
    repairs
}

fn of_directory(dir: &Path) -> Vec<(PathBuf, Step)> {
    make(dir).or_else(|| close(dir.to_owned(), ALL)).into_iter().collect()
}

/// A directory that is missing.
fn make(dir: &Path) -> Option<(PathBuf, Step)> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return None,
    }
    let shown = escape(&dir.display().to_string());
    let step = match dir.parent() {
        Some(parent) if parent.is_dir() => Step::Make(0o700),
        _ => Step::Hand(t!("doctor.repair.make", path = shown).into_owned()),
    };
    Some((dir.to_owned(), step))
}

/// Takes these rights away, where somebody has them.
fn close(path: PathBuf, rights: u32) -> Option<(PathBuf, Step)> {
    let about = path.symlink_metadata().ok().filter(|about| !about.is_symlink())?;
    let mode = about.mode() & 0o7777;
    (mode & rights != 0).then(|| change(path, &about, mode & !rights))
}

/// Whoever may read it may start it.
fn open_to_readers(path: PathBuf) -> Option<(PathBuf, Step)> {
    let about = path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
    let mode = about.mode() & 0o7777;
    Some(change(path, &about, mode | ((mode & 0o444) >> 2)))
}

fn change(path: PathBuf, about: &fs::Metadata, mode: u32) -> (PathBuf, Step) {
    if about.uid() == nix::unistd::geteuid().as_raw() {
        return (path, Step::Mode(mode));
    }
    let shown = escape(&path.display().to_string());
    let text = t!("doctor.repair.not_ours", path = shown, owner = about.uid(), mode = format!("{mode:o}"));
    (path, Step::Hand(text.into_owned()))
}

fn carry_out(path: PathBuf, step: &Step, dry_run: bool) -> Repair {
    let shown = escape(&path.display().to_string());
    let (text, result) = match step {
        Step::Hand(text) => return Repair { path, outcome: Done::ByHand, text: text.clone() },
        Step::Make(mode) => {
            let make = || DirBuilder::new().mode(*mode).create(&path);
            (t!("doctor.repair.made", path = shown), (!dry_run).then(make))
        }
        Step::Mode(mode) => {
            let change = || fs::set_permissions(&path, Permissions::from_mode(*mode));
            (t!("doctor.repair.mode", path = shown, mode = format!("{mode:o}")), (!dry_run).then(change))
        }
    };
    match result {
        None => Repair { path, outcome: Done::Would, text: text.into_owned() },
        Some(Ok(())) => Repair { path, outcome: Done::Done, text: text.into_owned() },
        Some(Err(cause)) => Repair { path, outcome: Done::Failed, text: format!("{text}: {cause}") },
    }
}
