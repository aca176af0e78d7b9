//! What lies around the database: the Compose project, the scripts beside its file, the log, the rights of this process.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use rust_i18n::t;

use super::{App, Check, Unusable};
use crate::domain::text::escape;
use crate::process::privileges;
use crate::runner::docker::Container;
use crate::settings::Runner;

/// The wrappers; the first is what all others start.
pub(super) const SCRIPTS: [&str; 5] =
    ["amarre.sh", "backup.sh", "restore.sh", "test-backup-setup.sh", "check-backup-alert.sh"];

/// Rights to start a program, of its owner.
const EXECUTABLE: u32 = 0o100;

/// The Compose project.
pub(super) fn compose(app: &App, container: Option<&Container>) -> Option<Check> {
    let s = &app.settings;
    if s.database.runner == Runner::Local {
        return None;
    }
    if let Some(container) = container {
        let seen = match &container.project {
            Some(project) => t!("doctor.compose", project = escape(project)),
            None => t!("doctor.no_compose", name = escape(&container.name)),
        };
        return Some(Check::ok("compose", seen));
    }
    // Only where the file is what the container is looked for by.
    let by_file = !s.in_container && s.database.container.is_none() && s.engine.compose_project.is_none();
    let absent = s.engine.compose_files.first().filter(|file| by_file && !file.is_file())?;
    let file = escape(&absent.display().to_string());
    let fix = t!("doctor.no_compose_file_fix").into_owned();
    Some(Check::failure("compose", t!("doctor.no_compose_file", file = file), Some(fix)))
}

/// The directory of the scripts, where this installation has them: beside the Compose file of a host.
pub(super) fn scripts_dir(app: &App) -> Option<PathBuf> {
    let dir = app.settings.engine.compose_files.first()?.parent()?.join("scripts");
    SCRIPTS.iter().any(|name| dir.join(name).is_file()).then_some(dir)
}

/// Scripts that cannot be started.
pub(super) fn not_executable(dir: &Path) -> Vec<PathBuf> {
    let cannot = |path: &PathBuf| path.metadata().is_ok_and(|about| about.is_file() && about.mode() & EXECUTABLE == 0);
    SCRIPTS.iter().map(|name| dir.join(name)).filter(cannot).collect()
}

/// The scripts that crontabs and people call.
pub(super) fn scripts(app: &App) -> Option<Check> {
    let dir = scripts_dir(app)?;
    let shown = escape(&dir.display().to_string());
    let first = dir.join(SCRIPTS[0]);
    if !first.is_file() {
        let seen = t!("doctor.script_missing", path = escape(&first.display().to_string()));
        return Some(Check::failure("scripts", seen, Some(t!("doctor.script_missing_fix").into_owned())));
    }
    let cannot = not_executable(&dir);
    if cannot.is_empty() {
        return Some(Check::ok("scripts", t!("doctor.scripts", dir = shown)));
    }
    let paths = cannot.iter().map(|path| escape(&path.display().to_string()));
    let paths = paths.collect::<Vec<_>>().join(" ");
    let fix = t!("doctor.scripts_fix", paths = paths).into_owned();
    Some(Check::failure("scripts", t!("doctor.scripts_not_executable", paths = paths), Some(fix)))
}

/// A log that cannot be written fails no backup; whoever named a file wants it.
pub(super) fn log(app: &App, unusable: &Unusable) -> Option<Check> {
    if unusable.has("BACKUP_LOG_FILE") {
        return None;
    }
    let log = &app.settings.log;
    let path = escape(&log.file.display().to_string());
    Some(match writable(&log.file) {
        Ok(()) => Check::ok("log", t!("doctor.log", path = path)),
        Err(cause) if log.file_is_chosen => {
            Check::warning("log", t!("doctor.no_log", path = path, cause = cause), t!("doctor.no_log_fix"))
        }
        Err(_) => Check::ok("log", t!("doctor.log_stdout", path = path)),
    })
}

/// Whether a file can be written, or made.
fn writable(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    // Lines are rotated beside it.
    access(parent, AccessFlags::W_OK | AccessFlags::X_OK)?;
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(about) if about.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, AccessFlags::W_OK)?),
    }
}

/// The rights of this process.
pub(super) fn privileges() -> Check {
    let facts = privileges::Facts::of_self();
    let groups = facts.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let seen = t!(
        "doctor.privileges",
        uid = facts.uid,
        gid = facts.gid,
        groups = groups,
        effective = format!("{:x}", facts.cap_eff),
        permitted = format!("{:x}", facts.cap_prm),
        no_new = facts.no_new_privs
    );
    if facts.uid == 0 || facts.cap_eff != 0 {
        Check::warning("privileges", seen, t!("doctor.privileges_fix"))
    } else {
        Check::ok("privileges", seen)
    }
}
