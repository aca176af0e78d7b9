//! Tables of the second version and later: stages, deletions, acceptances, alerts that go on, backups recalled from manifests.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde_json::json;

use super::{date, stamp};
use crate::domain::alert::{ALL, Change, Firing, Kind, reconcile};
use crate::journal::{Acceptance, Deletion, Look, REMEMBERED, Recalled, StageTime, letters};

/// Made of version 1.
pub(super) const TABLES: &str = "
    ALTER TABLE meta ADD COLUMN recalled_at TEXT;
    ALTER TABLE run ADD COLUMN asked TEXT;
    CREATE INDEX run_by_file ON run (file);
    CREATE TABLE stage (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        busy_ms INTEGER NOT NULL,
        starved_ms INTEGER NOT NULL,
        blocked_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX stage_by_run ON stage (run, number);
    CREATE TABLE deletion (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        file TEXT NOT NULL,
        place TEXT,
        why TEXT NOT NULL
    ) STRICT;
    CREATE INDEX deletion_by_file ON deletion (file, number);
    CREATE TABLE acceptance (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        at TEXT NOT NULL,
        who TEXT NOT NULL
    ) STRICT;
    CREATE TABLE alert (
        kind TEXT PRIMARY KEY,
        since TEXT NOT NULL,
        told_at TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Made of version 3: what an alert was told of, as JSON.
pub(super) const SUBJECTS: &str = "ALTER TABLE alert ADD COLUMN subjects TEXT NOT NULL DEFAULT '[]';";

type Done<T> = rusqlite::Result<T>;

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn put_stages(c: &mut Connection, run: &str, stages: &[StageTime]) -> Done<()> {
    let transaction = begin(c)?;
    transaction.execute("DELETE FROM stage WHERE run = ?1", [run])?;
    for stage in stages {
        transaction.execute(
            "INSERT INTO stage (run, name, bytes, busy_ms, starved_ms, blocked_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                run,
                stage.name,
                number(stage.bytes),
                millis(stage.busy),
                millis(stage.starved),
                millis(stage.blocked)
            ],
        )?;
    }
    transaction.commit()
}

pub(super) fn stages(c: &Connection, run: &str) -> Done<Vec<StageTime>> {
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    c.prepare("SELECT name, bytes, busy_ms, starved_ms, blocked_ms FROM stage WHERE run = ?1 ORDER BY number")?
        .query_map([run], |row| {
            let time = |column| row.get(column).map(|ms| Duration::from_millis(unsigned(ms)));
            Ok(StageTime {
                name: row.get(0)?,
                bytes: unsigned(row.get(1)?),
                busy: time(2)?,
                starved: time(3)?,
                blocked: time(4)?,
            })
        })?
        .collect()
}

pub(super) fn put_deletion(c: &Connection, one: &Deletion) -> Done<()> {
    c.execute(
        "INSERT INTO deletion (at, file, place, why) VALUES (?1, ?2, ?3, ?4)",
        params![stamp(one.at), one.file, one.place, one.why],
    )
    .map(drop)
}

pub(super) fn deletions(c: &Connection, since: DateTime<Utc>) -> Done<Vec<Deletion>> {
    c.prepare("SELECT at, file, place, why FROM deletion WHERE at >= ?1 ORDER BY number DESC")?
        .query_map([stamp(since)], |row| {
            Ok(Deletion { at: date(row, 0)?, file: row.get(1)?, place: row.get(2)?, why: row.get(3)? })
        })?
        .collect()
}

pub(super) fn put_acceptance(c: &Connection, one: &Acceptance) -> Done<()> {
    c.execute(
        "INSERT INTO acceptance (id, at, who) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
        params![one.id, stamp(one.at), one.by],
    )
    .map(drop)
}

pub(super) fn acceptances(c: &Connection) -> Done<Vec<Acceptance>> {
    c.prepare("SELECT id, at, who FROM acceptance ORDER BY number")?
        .query_map([], |row| Ok(Acceptance { id: row.get(0)?, at: date(row, 1)?, by: row.get(2)? }))?
        .collect()
}

/// Immediate: two processes that look at once must not both tell of it.
fn begin(c: &mut Connection) -> Done<Transaction<'_>> {
    c.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn watch(c: &mut Connection, look: Look<'_>) -> Done<Vec<Change>> {
    let transaction = begin(c)?;
    let before = look.before.map_or_else(|| firing(&transaction), Ok)?;
    let (after, changes) = reconcile(look.found, &before, look.now);
    for kind in ALL {
        transaction.execute("DELETE FROM alert WHERE kind = ?1", [kind.as_str()])?;
    }
    for (notice, channels) in changes.iter().filter_map(look.letters) {
        letters::put(&transaction, &notice, channels.iter().map(String::as_str), look.now)?;
    }
    for one in after {
        transaction.execute(
            "INSERT INTO alert (kind, since, told_at, text, subjects) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![one.kind.as_str(), stamp(one.since), stamp(one.told_at), one.text, json!(one.subjects).to_string()],
        )?;
    }
    transaction.commit()?;
    Ok(changes)
}

pub(super) fn firing(c: &Connection) -> Done<Vec<Firing>> {
    c.prepare("SELECT kind, since, told_at, text, subjects FROM alert ORDER BY since, kind")?
        .query_map([], |row| {
            // A newer version may know more of them: they are its own.
            let Some(kind) = Kind::parse(&row.get::<_, String>(0)?) else { return Ok(None) };
            // What cannot be read is told once more.
            let subjects = serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default();
            Ok(Some(Firing { kind, since: date(row, 1)?, told_at: date(row, 2)?, text: row.get(3)?, subjects }))
        })?
        .filter_map(Result::transpose)
        .collect()
}

pub(super) fn is_recalled(c: &Connection) -> Done<bool> {
    c.query_row("SELECT recalled_at IS NOT NULL FROM meta", [], |row| row.get(0))
}

pub(super) fn recall(c: &mut Connection, backups: &[Recalled], now: DateTime<Utc>) -> Done<usize> {
    let transaction = begin(c)?;
    let mut added = 0;
    // Before all that is known: they are older than whatever this journal has seen.
    let count = i64::try_from(backups.len()).unwrap_or(i64::MAX);
    let least: i64 = transaction.query_row("SELECT coalesce(min(number), 1) FROM run", [], |row| row.get(0))?;
    for (place, one) in (least.saturating_sub(count)..).zip(backups) {
        added += transaction.execute(
            "INSERT INTO run (number, id, kind, started_at, finished_at, outcome, exit, file, bytes, asked)
             SELECT ?6, ?1, 'backup', ?2, ?3, 'done', 0, ?4, ?5, 'manifest'
             WHERE NOT EXISTS (SELECT 1 FROM run WHERE id = ?1 OR file = ?4)",
            params![one.id, stamp(one.started_at), stamp(one.finished_at), one.file, number(one.bytes), place],
        )?;
    }
    transaction.execute("UPDATE meta SET recalled_at = ?1", [stamp(now)])?;
    transaction.commit()?;
    Ok(added)
}

pub(super) fn forget(c: &mut Connection, before: DateTime<Utc>, kept: &BTreeSet<String>) -> Done<usize> {
    let (transaction, before) = (begin(c)?, stamp(before));
    let kept = json!(kept).to_string();
    let gone = transaction.execute(
        "DELETE FROM run
         WHERE started_at < ?1 AND outcome IS NOT NULL
           AND (file IS NULL OR file NOT IN (SELECT value FROM json_each(?2)))
           AND number <= (SELECT number FROM run ORDER BY number DESC LIMIT 1 OFFSET ?3)
           AND number NOT IN (SELECT max(number) FROM run GROUP BY kind, outcome)",
        params![before, kept, REMEMBERED],
    )?;
    transaction.execute("DELETE FROM stage WHERE run NOT IN (SELECT id FROM run)", [])?;
    // Of a file that is there the last reading is what the catalogue goes by; so it is of copies elsewhere (`place/file`), and that a file
    // was found damaged is never forgotten.
    transaction.execute(
        "DELETE FROM verification
         WHERE at < ?1 AND ok = 1 AND file NOT LIKE '%/%' AND (file NOT IN (SELECT value FROM json_each(?2))
           OR number NOT IN (SELECT max(number) FROM verification GROUP BY file))",
        params![before, kept],
    )?;
    transaction.execute(
        "DELETE FROM deletion
         WHERE at < ?1 AND number <= (SELECT number FROM deletion ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        params![before, REMEMBERED],
    )?;
    transaction.commit()?;
    Ok(gone)
}
