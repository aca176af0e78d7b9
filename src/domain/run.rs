//! The identity of a run: one backup, restore, verification or prune, from start to end.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// `YYYYMMDDTHHMMSSZ-xxxxxx`: sorts by time, unique by its random tail, safe in file names,
/// in PostgreSQL's `application_name` (under 64 bytes) and in database names once shortened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A run that starts at `now`; `random` is any number no other run of this second has.
    #[must_use]
    pub fn new(now: DateTime<Utc>, random: u32) -> Self {
        Self(format!("{}-{:06x}", now.format("%Y%m%dT%H%M%SZ"), random & 0x00ff_ffff))
    }

    /// As written in manifests and logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `application_name` that every session of this run carries, so that an orphan can be found and ended.
    #[must_use]
    pub fn application_name(&self) -> String {
        format!("{APPLICATION_PREFIX}{}", self.0)
    }
}

/// How the `application_name` of every session of ours begins.
pub const APPLICATION_PREFIX: &str = "amarre/";

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
