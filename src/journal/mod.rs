//! What was done and how it went: runs and verifications, in an embedded SQLite database beside the backups.
//!
//! It may be lost without losing a backup: what is a backup is decided by manifests alone. So whoever writes
//! here **only warns** when that fails, and a damaged journal is set aside and begun anew.
//!
//! # Contract of every [`Journal`]
//!
//! - Calls are short; they wait at most [`BUSY`] for another process. From async code that is tolerable, a
//!   thread for blocking work is better.
//! - *Last* means by order of being recorded, never by date: dates come from clocks that jump.
//! - What is recorded is durable when the call returns, except that a crash may lose the last calls.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_i18n::t;

use crate::domain::alert::{Change, Firing, Found};
use crate::domain::catalogue::Verification;
use crate::domain::notice::Notice;
use crate::domain::run::RunId;
use crate::error::Explain;

mod claim;
pub mod intent;
mod letters;
mod none;
pub mod outbox;
mod record;
mod sqlite;

pub use claim::Claim;
pub use none::NoJournal;
pub use outbox::{MemoryOutbox, Outbox};
pub use record::{Acceptance, Deletion, Recalled, StageTime};
pub use sqlite::{FILE, Opened, SqliteJournal};

/// How long a call waits for another process that writes.
pub const BUSY: Duration = Duration::from_secs(5);

/// Keeps runs and verifications. See the contract above.
pub trait Journal: Send + Sync {
    /// When this journal was begun: what was due before is nobody's business.
    ///
    /// # Errors
    /// [`Error`].
    fn begun_at(&self) -> Result<DateTime<Utc>, Error>;

    /// Records that a run starts, and who asked for it. Recording the same id again changes nothing.
    ///
    /// # Errors
    /// [`Error`].
    fn start(&self, id: &RunId, kind: RunKind, at: DateTime<Utc>, asked: &str) -> Result<(), Error>;

    /// Records how a run ended. May be repeated: the last word holds. A run whose start was not recorded
    /// (that only warns) is recorded whole, as of kind `kind`.
    ///
    /// # Errors
    /// [`Error`].
    fn finish(&self, id: &RunId, kind: RunKind, end: &End) -> Result<(), Error>;

    /// Marks runs without an end as [`Outcome::Interrupted`] and says which. Under the lock of the
    /// directory only: else they may be running. Kinds that do not hold it all the time are left out for two days.
    ///
    /// # Errors
    /// [`Error`].
    fn interrupt_unfinished(&self, at: DateTime<Utc>) -> Result<Vec<Run>, Error>;

    /// The last run of a kind that was done or tried, and has ended.
    ///
    /// # Errors
    /// [`Error`].
    fn last_ended(&self, kind: RunKind) -> Result<Option<Run>, Error>;

    /// The last run of a kind that ended so.
    ///
    /// # Errors
    /// [`Error`].
    fn last_with(&self, kind: RunKind, outcome: Outcome) -> Result<Option<Run>, Error>;

    /// The last runs, the latest first.
    ///
    /// # Errors
    /// [`Error`].
    fn runs(&self, limit: u32) -> Result<Vec<Run>, Error>;

    /// Records a whole reading of a stored backup.
    ///
    /// # Errors
    /// [`Error`].
    fn verified(&self, verification: &Verification) -> Result<(), Error>;

    /// All readings in the order they were recorded.
    ///
    /// # Errors
    /// [`Error`].
    fn verifications(&self) -> Result<Vec<Verification>, Error>;

    /// Runs that started at `since` or later, the latest first.
    ///
    /// # Errors
    /// [`Error`].
    fn runs_since(&self, since: DateTime<Utc>) -> Result<Vec<Run>, Error>;

    /// Runs whose id begins with `wanted`, or that were about the data file of this name, the latest first.
    ///
    /// # Errors
    /// [`Error`].
    fn runs_of(&self, wanted: &str) -> Result<Vec<Run>, Error>;

    /// Records how long the stages of a run took; the last word holds.
    ///
    /// # Errors
    /// [`Error`].
    fn put_stages(&self, run: &RunId, stages: &[StageTime]) -> Result<(), Error>;

    /// The stages of a run, in the order of its bytes.
    ///
    /// # Errors
    /// [`Error`].
    fn stages(&self, run: &str) -> Result<Vec<StageTime>, Error>;

    /// Records that a backup was removed.
    ///
    /// # Errors
    /// [`Error`].
    fn deleted(&self, deletion: &Deletion) -> Result<(), Error>;

    /// What was removed at `since` or later, the latest first.
    ///
    /// # Errors
    /// [`Error`].
    fn deletions(&self, since: DateTime<Utc>) -> Result<Vec<Deletion>, Error>;

    /// Records that a person has accepted a suspicious backup. The first one counts.
    ///
    /// # Errors
    /// [`Error`].
    fn accept(&self, acceptance: &Acceptance) -> Result<(), Error>;

    /// All of them, in the order they were recorded.
    ///
    /// # Errors
    /// [`Error`].
    fn acceptances(&self) -> Result<Vec<Acceptance>, Error>;

    /// Takes what was found now, and says what is to be told: to one caller only, whoever asks at once
    /// ([`crate::domain::alert::reconcile`]). Where [`Journal::keeps_letters`], the letters that tell of it are kept with it, or
    /// neither is.
    ///
    /// # Errors
    /// [`Error`].
    fn watch(&self, look: Look<'_>) -> Result<Vec<Change>, Error>;

    /// Whether this journal has an outbox, or whoever watches posts by himself.
    fn keeps_letters(&self) -> bool;

    /// Alerts that go on, the oldest first.
    ///
    /// # Errors
    /// [`Error`].
    fn firing(&self) -> Result<Vec<Firing>, Error>;

    /// Whether this journal knows of the backups that were made before it was begun.
    ///
    /// # Errors
    /// [`Error`].
    fn is_recalled(&self) -> Result<bool, Error>;

    /// Enters backups that manifests tell of and that no run here is about; says how many. [`Journal::is_recalled`] then.
    ///
    /// # Errors
    /// [`Error`].
    fn recall(&self, backups: &[Recalled], now: DateTime<Utc>) -> Result<usize, Error>;

    /// Forgets runs and readings from before `before`, with their stages, but for those of a file of `kept`, the last run of each kind and
    /// outcome, and the last [`REMEMBERED`] runs, whatever a clock says. So with deletions; acceptances stay. Says how many runs.
    ///
    /// # Errors
    /// [`Error`].
    fn forget(&self, before: DateTime<Utc>, kept: &BTreeSet<String>) -> Result<usize, Error>;
}

/// Tells of a change: what, and to which channels. Nobody: none is written.
pub type Letters<'a> = &'a dyn Fn(&Change) -> Option<(Notice, Vec<String>)>;

/// What is to be reconciled with what went on.
pub struct Look<'a> {
    /// What was found.
    pub found: Found,
    /// When.
    pub now: DateTime<Utc>,
    /// What went on by the memory of this process, where it is ahead of the journal.
    pub before: Option<Vec<Firing>>,
    /// How changes are told.
    pub letters: Letters<'a>,
}

impl Look<'_> {
    /// Of which nobody is told by letter.
    #[must_use]
    pub fn silent(found: Found, now: DateTime<Utc>) -> Self {
        Self { found, now, before: None, letters: &|_| None }
    }
}

/// So many of the last runs are never forgotten.
pub const REMEMBERED: i64 = 1000;

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the commands")]
pub enum RunKind {
    Backup,
    Restore,
    Undo,
    Verify,
    Prune,
    Sync,
    Delete,
    Drill,
    /// A backup was fetched from a second place.
    Get,
    /// An address was made by which a backup can be read.
    Share,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked for.
    Done,
    /// The local backup is good, a copy elsewhere is missing.
    Partial,
    /// Not done; what was before is as it was.
    Failed,
    /// Not begun: another run was at work.
    Skipped,
    /// It never said how it ended: killed, or the power went.
    Interrupted,
}

/// Names of an enum's values as they are stored.
macro_rules! stored_as {
    ($type:ident { $($value:ident => $text:literal),+ $(,)? }) => {
        impl $type {
            /// As it is stored and shown in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }

            /// Reads what [`Self::as_str`] wrote.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$value),)+ _ => None }
            }
        }
    };
}

stored_as!(RunKind {
    Backup => "backup",
    Restore => "restore",
    Undo => "undo",
    Verify => "verify",
    Prune => "prune",
    Sync => "sync",
    Delete => "delete",
    Drill => "drill",
    Get => "get",
    Share => "share",
});

stored_as!(Outcome {
    Done => "done",
    Partial => "partial",
    Failed => "failed",
    Skipped => "skipped",
    Interrupted => "interrupted",
});

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: DateTime<Utc>,
    /// How.
    pub outcome: Outcome,
    /// The exit code of the process.
    pub exit: u8,
    /// What went wrong, one line.
    pub error: Option<String>,
    /// Name of the data file of the backup that it was about.
    pub file: Option<String>,
    /// Stored bytes of that backup.
    pub bytes: Option<u64>,
}

/// A run as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: RunKind,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Who asked for it: `schedule`, `signal`, `manifest` (recalled from there), or a person's command.
    pub asked: Option<String>,
    /// How it ended; `None`: it runs, or was killed.
    pub end: Option<End>,
}

/// How a journal fails. Nobody fails a backup for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or the directory, cannot be read or written.
    #[error("{}", t!("journal.io", file = file, cause = cause))]
    Io {
        /// The file.
        file: String,
        /// What the system says.
        cause: String,
    },
    /// A symbolic link, or no regular file.
    #[error("{}", t!("journal.not_a_file", file = file))]
    NotAFile {
        /// The file.
        file: String,
    },
    /// A newer program wrote it.
    #[error("{}", t!("journal.newer", file = file, found = found, known = known))]
    Newer {
        /// The file.
        file: String,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// SQLite refuses.
    #[error("{}", t!("journal.sqlite", file = file, cause = source))]
    Sqlite {
        /// The file.
        file: String,
        /// Why.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Whether the disk takes nothing now: that may pass, and what can be read is good.
    #[must_use]
    pub fn takes_nothing(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
        match self {
            Self::Io { .. } => true,
            Self::Sqlite { source, .. } => {
                matches!(source.sqlite_error_code(), Some(DiskFull | SystemIoFailure | ReadOnly | CannotOpen))
            }
            Self::NotAFile { .. } | Self::Newer { .. } => false,
        }
    }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Newer { .. } => t!("journal.newer_hint"),
            Self::NotAFile { file } => t!("journal.not_a_file_hint", file = file),
            Self::Io { file, .. } | Self::Sqlite { file, .. } => t!("journal.hint", file = file),
        };
        Some(hint.into_owned())
    }
}
