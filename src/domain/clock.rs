//! Where time comes from. The rules of this room take `now` as a value; whoever needs it asks a [`Clock`].

use chrono::{DateTime, Utc};

/// A source of the current time. The only real one lives in `process`; tests set their own.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> DateTime<Utc>;
}
