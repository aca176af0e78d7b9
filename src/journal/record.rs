//! What is kept of a run beside its begin and its end.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// How long a stage of a run worked and waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageTime {
    /// Below `timings.` in the locales.
    pub name: String,
    /// Bytes that went through.
    pub bytes: u64,
    /// At work.
    pub busy: Duration,
    /// Waiting for its input.
    pub starved: Duration,
    /// Waiting for room behind it.
    pub blocked: Duration,
}

/// A backup that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// When.
    pub at: DateTime<Utc>,
    /// Name of its data file.
    pub file: String,
    /// The place; `None`: here.
    pub place: Option<String>,
    /// Why, in the language of that time.
    pub why: String,
}

/// A suspicious backup that a person has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// Identity of the backup.
    pub id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub by: String,
}

/// A backup as its manifest tells of it, for a journal that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// Identity of the backup.
    pub id: String,
    /// Name of its data file.
    pub file: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was committed.
    pub finished_at: DateTime<Utc>,
    /// Stored bytes.
    pub bytes: u64,
}
