//! Where the log goes and how it looks. Nothing is opened here.

use std::fmt;
use std::path::PathBuf;

use crate::settings::origin::Origin;
use crate::settings::reader::Reader;

/// The log of the scripts.
pub const DEFAULT_FILE: &str = "/var/log/hub-chantier-backup.log";

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `BACKUP_LOG`.
    pub format: LogFormat,
    /// `BACKUP_LOG_FILE`.
    pub file: PathBuf,
    /// Whether somebody named the file: then it is worth a warning when it cannot be written.
    pub file_is_chosen: bool,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `[YYYY-MM-DD HH:MM:SS] …`
    Text,
    /// One JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Log {
    let named = reader.peek("BACKUP_LOG_FILE").is_some_and(|found| found.origin != Origin::Default);
    Log {
        format: reader.choice("BACKUP_LOG", LogFormat::Text, &["text", "json"], &[LogFormat::Text, LogFormat::Json]),
        file: reader.directory("BACKUP_LOG_FILE", DEFAULT_FILE),
        file_is_chosen: named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::problem::Problem;
    use crate::settings::testing::{load, problems};

    #[test]
    fn the_log_is_text_in_the_scripts_file_unless_told() {
        let log = load(&[]).log;
        assert_eq!(log, Log { format: LogFormat::Text, file: DEFAULT_FILE.into(), file_is_chosen: false });
        let log = load(&[("BACKUP_LOG", "json"), ("BACKUP_LOG_FILE", "a.log")]).log;
        assert_eq!(log, Log { format: LogFormat::Json, file: "/nonexistent/a.log".into(), file_is_chosen: true });
        assert!(matches!(problems(&[("BACKUP_LOG", "xml")]).as_slice(), [Problem::Choice { .. }]));
    }
}
