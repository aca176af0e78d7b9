//! The journal in SQLite: one file in the directory of the backups, 0600.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use nix::unistd::{Gid, Uid, fchown, geteuid};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use crate::domain::alert::{Change, Firing};
use crate::domain::catalogue::Verification;
use crate::domain::run::RunId;
use crate::domain::text::escape;
use crate::journal::{
    Acceptance, BUSY, Deletion, End, Error, Journal, Look, Outcome, Recalled, Run, RunKind, StageTime,
};

mod details;

/// Its name in the directory of the backups.
pub const FILE: &str = "amarre.sqlite";

/// One step for each version: step `n` makes version `n + 1` of version `n`. Never changed once released.
const MIGRATIONS: [&str; 4] = [FIRST, details::TABLES, super::letters::MIGRATION, details::SUBJECTS];

const FIRST: &str = "
    CREATE TABLE meta (begun_at TEXT NOT NULL) STRICT;
    CREATE TABLE run (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        started_at TEXT NOT NULL,
        finished_at TEXT,
        outcome TEXT,
        exit INTEGER,
        error TEXT,
        file TEXT,
        bytes INTEGER
    ) STRICT;
    CREATE INDEX run_by_kind ON run (kind, number);
    CREATE TABLE verification (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        file TEXT NOT NULL,
        at TEXT NOT NULL,
        ok INTEGER NOT NULL,
        stored_sha256 TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX verification_by_file ON verification (file, number);
";

/// A journal in an SQLite file.
pub struct SqliteJournal {
    file: PathBuf,
    connection: Mutex<Connection>,
}

/// What [`SqliteJournal::open`] found.
pub struct Opened {
    /// The journal.
    pub journal: SqliteJournal,
    /// Whether it was begun just now: with backups beside it, the one before was lost.
    pub is_new: bool,
    /// Where a damaged one was put. The operator is warned.
    pub set_aside: Option<PathBuf>,
}

impl SqliteJournal {
    /// Opens the journal in `dir`, or begins one. A damaged one is set aside first, as `amarre.sqlite.damaged-<time>`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(dir: &Path, now: DateTime<Utc>) -> Result<Opened, Error> {
        let file = dir.join(FILE);
        match Self::try_open(&file, now) {
            Ok((journal, is_new)) => return Ok(Opened { journal, is_new, set_aside: None }),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        // Whoever finds it damaged too waits, and looks again: what lies there then is the new one.
        let held = File::open(dir).and_then(|dir| dir.lock().map(|()| dir)).map_err(|e| io_error(&file, &e))?;
        let set_aside = match Self::try_open(&file, now) {
            Ok((journal, is_new)) => return Ok(Opened { journal, is_new, set_aside: None }),
            Err(error) if is_damage(&error) => put_aside(&file, now).map_err(|e| io_error(&file, &e))?,
            Err(error) => return Err(error),
        };
        let (journal, _) = Self::try_open(&file, now)?;
        drop(held);
        Ok(Opened { journal, is_new: true, set_aside: Some(set_aside) })
    }

    fn try_open(file: &Path, now: DateTime<Utc>) -> Result<(Self, bool), Error> {
        let is_new = make_file(file)?;
        let failed = |source| sqlite_error(file, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(file, flags).map_err(failed)?;
        prepare(&mut connection, file, now)?;
        Ok((Self { file: file.to_owned(), connection: Mutex::new(connection) }, is_new))
    }

    /// For work in a transaction.
    pub(super) fn with_mut<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        work(&mut self.lock()).map_err(|source| sqlite_error(&self.file, source))
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        work(&self.lock()).map_err(|source| sqlite_error(&self.file, source))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held left no half-done statement: SQLite's own transactions see to that.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settings, a look at the whole file, and the newest version of its tables.
fn prepare(connection: &mut Connection, file: &Path, now: DateTime<Utc>) -> Result<(), Error> {
    let failed = |source| sqlite_error(file, source);
    connection.busy_timeout(BUSY).map_err(failed)?;
    // File systems without shared memory keep the older way; the answer says which, both will do.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    // It is kept open: what waits beside it must not grow to the usual 4 MB.
    connection.pragma_update(None, "wal_autocheckpoint", 100).map_err(failed)?;
    // Nor shall all of it, which the check below reads, stay in memory for as long: the sidecar is idle most of its life. KiB.
    connection.pragma_update(None, "cache_size", -256).map_err(failed)?;
    let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if health != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(failed(rusqlite::Error::SqliteFailure(code, Some(escape(&health)))));
    }
    migrate(connection, file, now)
}

fn migrate(connection: &mut Connection, file: &Path, now: DateTime<Utc>) -> Result<(), Error> {
    let failed = |source| sqlite_error(file, source);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    // Nothing is written where nothing is to be done: a disk that is full lets it be read all the same.
    if connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).map_err(failed)? == known {
        return Ok(());
    }
    // Immediate: two processes that begin at once must not both see version 0.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let Some(steps) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        return Err(Error::Newer { file: shown(file), found, known });
    };
    for step in steps {
        transaction.execute_batch(step).map_err(failed)?;
    }
    if found == 0 {
        transaction.execute("INSERT INTO meta (begun_at) VALUES (?1)", [stamp(now)]).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Makes the file 0600, or refuses what is no file; `true`: it was not there.
fn make_file(file: &Path) -> Result<bool, Error> {
    match std::fs::symlink_metadata(file) {
        Ok(meta) if meta.is_file() => return Ok(false),
        Ok(_) => return Err(Error::NotAFile { file: shown(file) }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error(file, &e)),
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(made) => give_to_owner(file, &made).map(|()| true),
        // Another process was quicker.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(io_error(file, &e)),
    }
}

/// What root makes belongs to whom the directory belongs, as for backups (`store::local`). SQLite itself gives its
/// companions (`-wal`, `-shm`) the owner of the file.
fn give_to_owner(file: &Path, made: &File) -> Result<(), Error> {
    let owner = file.parent().and_then(|dir| dir.metadata().ok()).filter(|dir| dir.uid() != 0);
    if let Some(dir) = owner.filter(|_| geteuid().is_root()) {
        // Root without CAP_CHOWN may not, and need not.
        let _ = fchown(made, Some(Uid::from_raw(dir.uid())), Some(Gid::from_raw(dir.gid())));
    }
    Ok(())
}

fn is_damage(error: &Error) -> bool {
    let Error::Sqlite { source, .. } = error else { return false };
    matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames the file; its companions belong to the damaged one and go with it.
fn put_aside(file: &Path, now: DateTime<Utc>) -> io::Result<PathBuf> {
    let base = format!("{FILE}.damaged-{}", now.format("%Y%m%dT%H%M%SZ"));
    let mut target = file.with_file_name(&base);
    let mut number = 1;
    while target.symlink_metadata().is_ok() {
        number += 1;
        target = file.with_file_name(format!("{base}-{number}"));
    }
    for end in ["-wal", "-shm"] {
        let beside = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        match std::fs::rename(beside(file), beside(&target)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    std::fs::rename(file, &target)?;
    Ok(target)
}

impl Journal for SqliteJournal {
    fn begun_at(&self) -> Result<DateTime<Utc>, Error> {
        self.with(|c| c.query_row("SELECT begun_at FROM meta", [], |row| date(row, 0)))
    }

    fn start(&self, id: &RunId, kind: RunKind, at: DateTime<Utc>, asked: &str) -> Result<(), Error> {
        self.with(|c| {
            c.execute(
                "INSERT INTO run (id, kind, started_at, asked) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
                params![id.as_str(), kind.as_str(), stamp(at), asked],
            )
        })
        .map(drop)
    }

    fn finish(&self, id: &RunId, kind: RunKind, end: &End) -> Result<(), Error> {
        self.with(|c| {
            c.execute(
                "INSERT INTO run (id, kind, started_at, finished_at, outcome, exit, error, file, bytes)
                 VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (id) DO UPDATE SET finished_at = excluded.finished_at, outcome = excluded.outcome,
                    exit = excluded.exit, error = excluded.error, file = excluded.file, bytes = excluded.bytes",
                params![
                    id.as_str(),
                    kind.as_str(),
                    stamp(end.at),
                    end.outcome.as_str(),
                    end.exit,
                    end.error,
                    end.file,
                    end.bytes.map(|b| i64::try_from(b).unwrap_or(i64::MAX)),
                ],
            )
        })
        .map(drop)
    }

    fn interrupt_unfinished(&self, at: DateTime<Utc>) -> Result<Vec<Run>, Error> {
        self.with(|c| {
            c.prepare(&format!(
                "UPDATE run SET finished_at = ?1, outcome = ?2, exit = 1
                 WHERE outcome IS NULL AND (kind NOT IN ('verify', 'prune', 'sync') OR started_at < ?3)
                 RETURNING {COLUMNS}"
            ))?
            .query_map(params![stamp(at), Outcome::Interrupted.as_str(), stamp(at - LONGEST)], run)?
            .collect()
        })
    }

    fn last_ended(&self, kind: RunKind) -> Result<Option<Run>, Error> {
        self.with(|c| {
            c.query_row(
                &format!(
                    "SELECT {COLUMNS} FROM run WHERE kind = ?1 AND outcome IS NOT NULL AND outcome <> ?2
                     ORDER BY number DESC LIMIT 1"
                ),
                [kind.as_str(), Outcome::Skipped.as_str()],
                run,
            )
            .optional()
        })
    }

    fn last_with(&self, kind: RunKind, outcome: Outcome) -> Result<Option<Run>, Error> {
        self.with(|c| {
            c.query_row(
                &format!("SELECT {COLUMNS} FROM run WHERE kind = ?1 AND outcome = ?2 ORDER BY number DESC LIMIT 1"),
                [kind.as_str(), outcome.as_str()],
                run,
            )
            .optional()
        })
    }

    fn runs(&self, limit: u32) -> Result<Vec<Run>, Error> {
        self.with(|c| {
            c.prepare(&format!("SELECT {COLUMNS} FROM run ORDER BY number DESC LIMIT ?1"))?
                .query_map([limit], run)?
                .collect()
        })
    }

    fn verified(&self, v: &Verification) -> Result<(), Error> {
        self.with(|c| {
            c.execute(
                "INSERT INTO verification (file, at, ok, stored_sha256, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![v.file, stamp(v.at), v.ok, v.stored_sha256, v.detail],
            )
        })
        .map(drop)
    }

    fn verifications(&self) -> Result<Vec<Verification>, Error> {
        self.with(|c| {
            c.prepare("SELECT file, at, ok, stored_sha256, detail FROM verification ORDER BY number")?
                .query_map([], |row| {
                    Ok(Verification {
                        file: row.get(0)?,
                        at: date(row, 1)?,
                        ok: row.get(2)?,
                        stored_sha256: row.get(3)?,
                        detail: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    fn runs_since(&self, since: DateTime<Utc>) -> Result<Vec<Run>, Error> {
        self.with(|c| {
            c.prepare(&format!("SELECT {COLUMNS} FROM run WHERE started_at >= ?1 ORDER BY number DESC"))?
                .query_map([stamp(since)], run)?
                .collect()
        })
    }

    fn runs_of(&self, wanted: &str) -> Result<Vec<Run>, Error> {
        self.with(|c| {
            c.prepare(&format!(
                "SELECT {COLUMNS} FROM run WHERE file = ?1 OR (?1 <> '' AND substr(id, 1, length(?1)) = ?1)
                 ORDER BY number DESC"
            ))?
            .query_map([wanted], run)?
            .collect()
        })
    }

    fn put_stages(&self, run: &RunId, stages: &[StageTime]) -> Result<(), Error> {
        self.with_mut(|c| details::put_stages(c, run.as_str(), stages))
    }

    fn stages(&self, run: &str) -> Result<Vec<StageTime>, Error> {
        self.with(|c| details::stages(c, run))
    }

    fn deleted(&self, deletion: &Deletion) -> Result<(), Error> {
        self.with(|c| details::put_deletion(c, deletion))
    }

    fn deletions(&self, since: DateTime<Utc>) -> Result<Vec<Deletion>, Error> {
        self.with(|c| details::deletions(c, since))
    }

    fn accept(&self, acceptance: &Acceptance) -> Result<(), Error> {
        self.with(|c| details::put_acceptance(c, acceptance))
    }

    fn acceptances(&self) -> Result<Vec<Acceptance>, Error> {
        self.with(details::acceptances)
    }

    fn watch(&self, look: Look<'_>) -> Result<Vec<Change>, Error> {
        self.with_mut(|c| details::watch(c, look))
    }

    fn keeps_letters(&self) -> bool {
        true
    }

    fn firing(&self) -> Result<Vec<Firing>, Error> {
        self.with(details::firing)
    }

    fn is_recalled(&self) -> Result<bool, Error> {
        self.with(details::is_recalled)
    }

    fn recall(&self, backups: &[Recalled], now: DateTime<Utc>) -> Result<usize, Error> {
        self.with_mut(|c| details::recall(c, backups, now))
    }

    fn forget(&self, before: DateTime<Utc>, kept: &BTreeSet<String>) -> Result<usize, Error> {
        self.with_mut(|c| details::forget(c, before, kept))
    }
}

/// What needs no lock for all of its time may be at work beside whoever has it; not for as long as this.
const LONGEST: TimeDelta = TimeDelta::days(2);

const COLUMNS: &str = "id, kind, started_at, finished_at, outcome, exit, error, file, bytes, asked";

/// Reads [`COLUMNS`].
fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let outcome: Option<String> = row.get(4)?;
    let end = match outcome {
        None => None,
        Some(outcome) => Some(End {
            at: date(row, 3)?,
            outcome: Outcome::parse(&outcome).ok_or_else(|| unknown(4, &outcome))?,
            exit: row.get(5)?,
            error: row.get(6)?,
            file: row.get(7)?,
            bytes: row.get::<_, Option<i64>>(8)?.and_then(|b| u64::try_from(b).ok()),
        }),
    };
    let kind: String = row.get(1)?;
    Ok(Run {
        id: row.get(0)?,
        kind: RunKind::parse(&kind).ok_or_else(|| unknown(1, &kind))?,
        started_at: date(row, 2)?,
        asked: row.get(9)?,
        end,
    })
}

pub(super) fn date(row: &Row<'_>, column: usize) -> rusqlite::Result<DateTime<Utc>> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| unknown(column, &text))
}

pub(super) fn unknown(column: usize, text: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, escape(text).into())
}

pub(super) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn shown(file: &Path) -> String {
    escape(&file.display().to_string())
}

fn io_error(file: &Path, error: &io::Error) -> Error {
    Error::Io { file: shown(file), cause: escape(&error.to_string()) }
}

fn sqlite_error(file: &Path, source: rusqlite::Error) -> Error {
    Error::Sqlite { file: shown(file), source }
}

#[cfg(test)]
mod tests;
