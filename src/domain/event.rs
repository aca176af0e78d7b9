//! What a run tells while it goes on. Logs, progress bars and the journal are all consumers of these.

use std::path::PathBuf;

/// A step of a run, in the order it happens. Sizes are bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something of note that is not a failure; already in the operator's language.
    Note(String),
    /// Something the operator should know about; already in the operator's language.
    Warning(String),
    /// A new stage began (`stage.*` key of the locales); `total` bytes are expected where that is known.
    Stage {
        /// Key below `stage.` in the locales: `dump`, `verify`, `load`, `compare`, `swap`…
        key: &'static str,
        /// Plain bytes expected, from the last backup.
        total: Option<u64>,
    },
    /// Bytes of plain SQL that went by since the stage began, and the table being dumped.
    Progress {
        /// Plain bytes so far.
        bytes: u64,
        /// The table whose rows go by.
        table: Option<String>,
    },
    /// A file of ours was made.
    Created(PathBuf),
}

/// Who hears of the events of a run. Called from any thread, must not block for long.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// Hears nothing.
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event) {}
}
