//! The database, as backups and restores need it. How it is reached is the [`Runner`](crate::runner::Runner)'s matter.
//!
//! # Contract of every [`Database`]
//!
//! - Nothing is ever asked on a terminal; a wrong password is an error at once.
//! - Every session carries the run's `application_name`; [`Database::sweep`] ends what a dead run left.
//! - Dumps and loads run with pinned settings, so that the same rows always print the same.
//! - Questions ([`facts`](Database::facts), [`server`](Database::server), …) may be repeated. What changes a database says what holds
//!   when it fails half-way.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rust_i18n::t;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::domain::content::Needs;
use crate::domain::manifest::{DatabaseRecord, Owners};
use crate::domain::run::RunId;
use crate::error::{Exit, Explain};
use crate::runner::{self, Feed, Running};

pub mod postgres;

/// A database server with the one database that is backed up. See the contract above.
#[async_trait]
pub trait Database: Send + Sync {
    /// Name of the database that is backed up.
    fn name(&self) -> &str;

    /// Waits until the server answers and is not recovering.
    ///
    /// # Errors
    /// [`Error::NotReady`] after `patience`; at once where waiting does not help (password, missing role).
    async fn wait_ready(&self, patience: Duration) -> Result<(), Error>;

    /// Waits like [`Database::wait_ready`], and answers [`Database::server`] and [`Database::facts`] with the same question:
    /// what a run begins with.
    ///
    /// # Errors
    /// As [`Database::wait_ready`].
    async fn survey(&self, database: &str, patience: Duration) -> Result<(Server, Option<Facts>), Error>;

    /// The server, its client programs, and the role in use.
    ///
    /// # Errors
    /// [`Error`].
    async fn server(&self) -> Result<Server, Error>;

    /// What is known of a database; `None`: there is none of that name.
    ///
    /// # Errors
    /// [`Error`].
    async fn facts(&self, database: &str) -> Result<Option<Facts>, Error>;

    /// Starts a dump of `database` as plain SQL.
    ///
    /// # Errors
    /// Those of starting; how it fails later comes out of [`Database::explain`] with the run's error.
    async fn dump(&self, run: &RunId, database: &str, owners: Owners) -> Result<Running, Error>;

    /// Whether a dump that failed with `error` may be tried once more by another way to the same server; it takes that one from then on.
    fn has_another_way(&self, error: &Error) -> bool {
        let _ = error;
        false
    }

    /// Starts a dump of the roles of the server, with their password hashes where `passwords`.
    ///
    /// # Errors
    /// As [`Database::dump`].
    async fn roles(&self, run: &RunId, passwords: bool) -> Result<Running, Error>;

    /// Says what a failed dump or load means, asking the server where that helps (who holds a lock).
    async fn explain(&self, database: &str, error: runner::Error) -> Error;

    /// Ends the sessions of these runs; returns how many there were.
    ///
    /// # Errors
    /// [`Error`].
    async fn sweep(&self, runs: &[RunId]) -> Result<u64, Error>;

    /// What stands in the way of replacing `database`: prepared transactions, slots, subscriptions, missing rights.
    ///
    /// # Errors
    /// [`Error`].
    async fn obstacles(&self, database: &str) -> Result<Vec<Obstacle>, Error>;

    /// Which of `needs` the server lacks.
    ///
    /// # Errors
    /// [`Error`].
    async fn missing(&self, needs: &Needs) -> Result<Needs, Error>;

    /// Makes an empty database with the encoding and locale of `like`, marked as `mark`.
    ///
    /// # Errors
    /// [`Error`]; no database is left then.
    async fn create(&self, name: &str, like: &DatabaseRecord, mark: &Mark) -> Result<(), Error>;

    /// Starts loading plain SQL into `database`; the end of the returned stream means that every statement was
    /// executed without error and the end of the input was reached as SQL (not inside COPY data or a quote).
    ///
    /// # Errors
    /// [`Error`].
    async fn load(&self, run: &RunId, database: &str, input: mpsc::Receiver<Feed>) -> Result<Loading, Error>;

    /// Gives what the loading role owns in `database` to the owners that the same objects have in `live`,
    /// else to `owner`; and the grants of `live` to the objects of the same names. For dumps without owners.
    ///
    /// # Errors
    /// [`Error`].
    async fn adopt_owners(&self, database: &str, live: Option<&str>, owner: &str) -> Result<(), Error>;

    /// Gives `database` the owner, grants, settings and connection limit of `record`.
    ///
    /// # Errors
    /// [`Error`].
    async fn copy_properties(&self, database: &str, record: &DatabaseRecord) -> Result<(), Error>;

    /// Gathers planner statistics: a restored database without them is slow.
    ///
    /// # Errors
    /// [`Error`].
    async fn analyze(&self, database: &str) -> Result<(), Error>;

    /// Closes `database` to new sessions and ends those that are there.
    ///
    /// # Errors
    /// [`Error`]; the database may be closed then: [`Database::open`] it.
    async fn close(&self, database: &str) -> Result<(), Error>;

    /// Opens `database` to sessions.
    ///
    /// # Errors
    /// [`Error`].
    async fn open(&self, database: &str) -> Result<(), Error>;

    /// Puts `new` in the place of `live` by renaming both in one transaction.
    ///
    /// # Errors
    /// [`Error`]; nothing is renamed then.
    async fn swap(&self, swap: &Swap) -> Result<(), Error>;

    /// The databases that a restore of `database` made or put aside, by their marks.
    ///
    /// # Errors
    /// [`Error`].
    async fn marked(&self) -> Result<Vec<Marked>, Error>;

    /// Writes a mark on a database.
    ///
    /// # Errors
    /// [`Error`].
    async fn mark(&self, database: &str, mark: &Mark) -> Result<(), Error>;

    /// Drops a database that carries a mark; refuses one that does not. Ends its sessions.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error`].
    async fn drop_marked(&self, database: &str) -> Result<(), Error>;
}

/// A load that goes on.
pub struct Loading {
    /// Its program.
    pub running: Running,
    /// What its output must end with.
    pub nonce: String,
}

/// The server and its client programs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Server {
    /// `17.10 (Debian …)`.
    pub version: String,
    /// `170010`.
    pub version_num: u32,
    /// `pg_dump`'s version.
    #[serde(default)]
    pub client_version: String,
    /// Whether `psql` knows `\\restrict`, and so refuses meta-commands by itself.
    #[serde(default)]
    pub client_restricts: bool,
    /// The role in use.
    pub role: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether it may create databases.
    pub may_create: bool,
    /// Whether the server is recovering or a standby.
    pub in_recovery: bool,
    /// When it was started: tells whether it is still the one that was asked before.
    pub started: String,
    /// How long ago that was.
    pub age_seconds: f64,
}

impl Server {
    /// `17`.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Facts {
    /// What no dump holds of it.
    pub record: DatabaseRecord,
    /// Its OID: tells one from the other after a rename.
    pub oid: u32,
    /// Whether it takes sessions.
    pub open: bool,
    /// Tables with rows of their own.
    pub tables: u64,
    /// Rows as the server estimates them; -1 where it never counted.
    pub rows_estimate: i64,
    /// Whether a dump may leave out owners and grants without loss.
    pub owners: Owners,
}

/// Something that blocks a restore.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Obstacle {
    /// `prepared`, `slot`, `subscription`, `rights`: key below `database.obstacle.` in the locales.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What a restore writes as the comment of a database that it made or put aside, so that its
/// state can be told from `pg_database` alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Version of this format.
    pub amarre: u32,
    /// What it is.
    pub role: MarkRole,
    /// The restore.
    pub run: RunId,
    /// Name of the live database it belongs to.
    pub of: String,
    /// The installation whose restore it was.
    pub installation: String,
    /// When it was made or put aside.
    pub at: DateTime<Utc>,
    /// When it may be dropped.
    pub until: Option<DateTime<Utc>>,
    /// The comment that this mark hides.
    pub comment: Option<String>,
    /// The final dump that was made of it, where the drop after that failed; it is closed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_dump: Option<String>,
}

/// What a marked database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkRole {
    /// Being loaded.
    New,
    /// Loaded and found different: kept for people to look at.
    Differs,
    /// Loaded on request beside the live one (`--into`).
    Side,
    /// The former live one.
    Old,
    /// What `--undo` put aside.
    Undone,
}

/// A database that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Marked {
    /// Its name.
    pub name: String,
    /// Its OID.
    pub oid: u32,
    /// Whether it takes sessions.
    pub open: bool,
    /// The mark.
    pub mark: Mark,
}

/// Both renames of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// Name of the live database.
    pub live: String,
    /// The one that takes its place.
    pub new: String,
    /// The comment that the new one shall have.
    pub comment: Option<String>,
    /// Name and mark of the one put aside; `None`: there is no live one.
    pub aside: Option<(String, Mark)>,
}

/// How the database fails.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The program could not be run, or its stream was cut.
    #[error(transparent)]
    Runner(#[from] runner::Error),
    /// No answer, starting, or recovering, for the whole of the patience.
    #[error("{}", t!("database.not_ready", seconds = seconds, cause = cause))]
    NotReady {
        /// How long it was tried.
        seconds: u64,
        /// What was said last.
        cause: String,
    },
    /// Password or `pg_hba.conf`.
    #[error("{}", t!("database.refused", user = user, cause = cause))]
    Refused {
        /// Role.
        user: String,
        /// The server's words.
        cause: String,
    },
    /// No such database.
    #[error("{}", t!("database.no_database", database = database))]
    NoDatabase {
        /// Its name.
        database: String,
    },
    /// The role may not do that.
    #[error("{}", t!("database.permission", user = user, cause = cause))]
    Permission {
        /// Role.
        user: String,
        /// The server's words.
        cause: String,
    },
    /// Row security would filter.
    #[error("{}", t!("database.row_security", table = table))]
    RowSecurity {
        /// The server's words.
        table: String,
    },
    /// A lock is held.
    #[error("{}", t!("database.locked", cause = cause, holders = holders))]
    Locked {
        /// The server's words.
        cause: String,
        /// Who holds it.
        holders: String,
    },
    /// The database's disk is full.
    #[error("{}", t!("database.disk_full", cause = cause))]
    DiskFull {
        /// The server's words.
        cause: String,
    },
    /// A statement failed.
    #[error("{}", t!("database.statement", program = program, cause = cause))]
    Statement {
        /// `psql`, `pg_dump`.
        program: String,
        /// The server's words.
        cause: String,
    },
    /// The answer is not what the question asked for.
    #[error("{}", t!("database.answer", cause = cause))]
    Answer {
        /// What is wrong with it.
        cause: String,
    },
    /// The input ended inside COPY data or a quote.
    #[error("{}", t!("database.input_cut"))]
    InputCut,
    /// A database that carries no mark of ours is not dropped.
    #[error("{}", t!("database.not_ours", database = database))]
    NotOurs {
        /// Its name.
        database: String,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let key = match self {
            Self::Runner(error) => return error.hint(),
            Self::NotReady { .. } => "database.not_ready_hint",
            Self::Refused { .. } => "database.refused_hint",
            Self::NoDatabase { .. } => "database.no_database_hint",
            Self::Permission { .. } => "database.permission_hint",
            Self::RowSecurity { .. } => "database.row_security_hint",
            Self::Locked { .. } => "database.locked_hint",
            Self::DiskFull { .. } => "database.disk_full_hint",
            Self::InputCut => "database.input_cut_hint",
            Self::Statement { .. } | Self::Answer { .. } | Self::NotOurs { .. } => return None,
        };
        Some(t!(key).into_owned())
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Runner(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}
