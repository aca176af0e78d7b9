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

    /// Whether `text` has the form of an identity: the name of a file that only a run can have written.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        const FORM: &[u8] = b"00000000T000000Z-ffffff";
        let fits = |(c, form): (u8, &u8)| match form {
            b'0' => c.is_ascii_digit(),
            b'f' => matches!(c, b'0'..=b'9' | b'a'..=b'f'),
            other => c == *other,
        };
        text.len() == FORM.len() && text.bytes().zip(FORM).all(fits)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_one_form() {
        let run = RunId::new(DateTime::from_timestamp(1_763_690_400, 0).unwrap(), 0xab_cdef);
        assert!(RunId::is_one(run.as_str()));
        for other in
            ["supervisor", "", "20251121T020000Z-abcdeg", "20251121T020000Z-ABCDEF", "20251121T020000Z-abcdef0"]
        {
            assert!(!RunId::is_one(other), "{other}");
        }
    }
}
