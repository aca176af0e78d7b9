//! The outbox in SQLite: a table of the journal.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::Error;
use super::outbox::{Count, LEASE, LONGEST_PAUSE, Letter, MEMORY, Outbox, PATIENCE, State};
use super::sqlite::{SqliteJournal, date, stamp, unknown};
use crate::domain::notice::Notice;

/// Its table, as a step of the journal's migrations.
pub(super) const MIGRATION: &str = "
    CREATE TABLE letter (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        notice_id TEXT NOT NULL,
        channel TEXT NOT NULL,
        notice TEXT NOT NULL,
        put_at TEXT NOT NULL,
        state TEXT NOT NULL,
        tries INTEGER NOT NULL,
        due_at TEXT NOT NULL,
        leased_until TEXT,
        lease INTEGER,
        error TEXT,
        ended_at TEXT,
        UNIQUE (notice_id, channel)
    ) STRICT;
    CREATE INDEX letter_by_channel ON letter (channel, state, number);
";

/// A lease as SQLite has numbers.
fn stored(lease: u64) -> i64 {
    i64::from_ne_bytes(lease.to_ne_bytes())
}

impl Outbox for SqliteJournal {
    fn put(&self, notice: &Notice, channels: &[&str], now: DateTime<Utc>) -> Result<usize, Error> {
        self.with_transaction(|c| put(c, notice, channels.iter().copied(), now))
    }

    fn due(&self, channel: &str, lease: u64, now: DateTime<Utc>) -> Result<Option<Letter>, Error> {
        // Asked every few seconds: an empty outbox is not written to.
        let waits = "SELECT 1 FROM letter WHERE channel = ?1 AND state = 'waiting' LIMIT 1";
        if self.with(|c| c.query_row(waits, [channel], |_| Ok(())).optional())?.is_none() {
            return Ok(None);
        }
        while let Some((number, text, put_at, tries)) = self.lease(channel, lease, now)? {
            match serde_json::from_str(&text) {
                Ok(notice) => {
                    return Ok(Some(Letter { number, channel: channel.to_owned(), notice, put_at, tries, lease }));
                }
                // A newer version wrote it: it must not hold up all behind it.
                Err(error) => self.end(number, lease, State::GivenUp, Some(&error.to_string()), now)?,
            }
        }
        Ok(None)
    }

    fn waiting(&self, channel: &str, now: DateTime<Utc>) -> Result<Vec<Letter>, Error> {
        let stored: Vec<Leased> = self.with(|c| {
            c.prepare(
                "SELECT number, notice, put_at, tries FROM letter WHERE channel = ?1 AND state = 'waiting'
                   AND NOT EXISTS (SELECT 1 FROM letter first WHERE first.channel = ?1 AND first.state = 'waiting'
                       AND first.number <= letter.number
                       AND (first.due_at > ?2 AND first.due_at <= ?4 OR first.leased_until > ?2 AND first.leased_until <= ?3))
                 ORDER BY number",
            )?
            .query_map(params![channel, stamp(now), stamp(now + LEASE), stamp(now + LONGEST_PAUSE)], leased)?
            .collect()
        })?;
        // What a newer version wrote is left to it.
        let letter = |(number, text, put_at, tries): Leased| {
            let notice = serde_json::from_str(&text).ok()?;
            Some(Letter { number, channel: channel.to_owned(), notice, put_at, tries, lease: 0 })
        };
        Ok(stored.into_iter().filter_map(letter).collect())
    }

    fn sent(&self, letter: &Letter, now: DateTime<Utc>) -> Result<(), Error> {
        self.end(letter.number, letter.lease, State::Sent, None, now)
    }

    fn failed(&self, letter: &Letter, why: &str, next: DateTime<Utc>) -> Result<(), Error> {
        self.with(|c| {
            c.execute(
                "UPDATE letter SET tries = tries + 1, error = ?3, due_at = ?4, lease = NULL, leased_until = NULL
                 WHERE number = ?1 AND lease = ?2 AND state = 'waiting'",
                params![letter.number, stored(letter.lease), why, stamp(next)],
            )
        })
        .map(drop)
    }

    fn give_up(&self, letter: &Letter, why: &str, now: DateTime<Utc>) -> Result<(), Error> {
        self.end(letter.number, letter.lease, State::GivenUp, Some(why), now)
    }

    fn ended(&self, channel: &str, notice: &str, why: Option<&str>, now: DateTime<Utc>) -> Result<(), Error> {
        self.with(|c| {
            c.execute(
                "UPDATE letter SET tries = tries + 1, state = ?3, error = ifnull(?4, error), ended_at = ?5, lease = NULL,
                    leased_until = NULL
                 WHERE channel = ?1 AND notice_id = ?2 AND state = 'waiting'",
                params![channel, notice, State::of(why).as_str(), why, stamp(now)],
            )
        })
        .map(drop)
    }

    fn clean(&self, channels: &[&str], now: DateTime<Utc>) -> Result<usize, Error> {
        let known = serde_json::to_string(channels).unwrap_or_default();
        self.with_transaction(|c| {
            c.execute("DELETE FROM letter WHERE state <> 'waiting' AND ended_at < ?1", [stamp(now - MEMORY)])?;
            c.execute(
                "UPDATE letter SET state = ?1, ended_at = ?2 WHERE state = 'waiting' AND put_at <= ?3
                 AND channel NOT IN (SELECT value FROM json_each(?4))",
                params![State::GivenUp.as_str(), stamp(now), stamp(now - PATIENCE), known],
            )
        })
    }

    fn counts(&self) -> Result<Vec<Count>, Error> {
        self.with(|c| {
            c.prepare(
                "SELECT channel, count(*) FILTER (WHERE state = 'waiting'), min(put_at) FILTER (WHERE state = 'waiting'),
                    count(*) FILTER (WHERE state = 'sent'), max(ended_at) FILTER (WHERE state = 'sent'),
                    count(*) FILTER (WHERE state = 'given_up'),
                    (SELECT error FROM letter last WHERE last.channel = letter.channel AND error IS NOT NULL
                     ORDER BY number DESC LIMIT 1),
                    max(ended_at) FILTER (WHERE state = 'given_up')
                 FROM letter GROUP BY channel ORDER BY channel",
            )?
            .query_map([], count)?
            .collect()
        })
    }
}

impl SqliteJournal {
    /// The next that is due, as it is stored.
    fn lease(&self, channel: &str, lease: u64, now: DateTime<Utc>) -> Result<Option<Leased>, Error> {
        // In a transaction: a single row is read before the end of its statement, and a full disk would be heard of by nobody.
        self.with_transaction(|c| {
            c.query_row(
                "UPDATE letter SET lease = ?2, leased_until = ?4
                 WHERE number = (SELECT number FROM letter WHERE channel = ?1 AND state = 'waiting' ORDER BY number LIMIT 1)
                   AND (due_at <= ?3 OR due_at > ?5)
                   AND (leased_until IS NULL OR leased_until <= ?3 OR leased_until > ?4)
                 RETURNING number, notice, put_at, tries",
                params![channel, stored(lease), stamp(now), stamp(now + LEASE), stamp(now + LONGEST_PAUSE)],
                leased,
            )
            .optional()
        })
    }

    fn end(&self, number: i64, lease: u64, state: State, why: Option<&str>, now: DateTime<Utc>) -> Result<(), Error> {
        self.with(|c| {
            c.execute(
                "UPDATE letter SET tries = tries + 1, state = ?3, error = ifnull(?4, error), ended_at = ?5, lease = NULL,
                    leased_until = NULL
                 WHERE number = ?1 AND lease = ?2 AND state = 'waiting'",
                params![number, stored(lease), state.as_str(), why, stamp(now)],
            )
        })
        .map(drop)
    }

    /// Immediate: two processes that put in at once must not both find that nothing is there.
    fn with_transaction<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.with_mut(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }
}

/// Number, notice, when it was put in, tries.
type Leased = (i64, String, DateTime<Utc>, u32);

fn leased(row: &Row<'_>) -> rusqlite::Result<Leased> {
    Ok((row.get(0)?, row.get(1)?, date(row, 2)?, row.get(3)?))
}

/// Writes a letter to each of `channels`; how many are new.
pub(super) fn put<'a>(
    c: &Connection,
    notice: &Notice,
    channels: impl Iterator<Item = &'a str>,
    now: DateTime<Utc>,
) -> rusqlite::Result<usize> {
    let text = serde_json::to_string(notice).unwrap_or_default();
    let state = State::Waiting.as_str();
    let mut statement = c.prepare(
        "INSERT INTO letter (notice_id, channel, notice, put_at, state, tries, due_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?4) ON CONFLICT (notice_id, channel) DO NOTHING",
    )?;
    channels.map(|channel| statement.execute(params![notice.id, channel, text, stamp(now), state])).sum()
}

fn count(row: &Row<'_>) -> rusqlite::Result<Count> {
    let optional = |column| -> rusqlite::Result<Option<DateTime<Utc>>> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| text.parse().map_err(|_| unknown(column, &text))).transpose()
    };
    Ok(Count {
        channel: row.get(0)?,
        waiting: row.get(1)?,
        oldest: optional(2)?,
        sent: row.get(3)?,
        last_sent: optional(4)?,
        given_up: row.get(5)?,
        last_error: row.get(6)?,
        last_given_up: optional(7)?,
    })
}

#[cfg(test)]
mod tests;
