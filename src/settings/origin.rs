//! Where a value comes from, for `amarre config` and for messages.

use std::fmt;
use std::path::{Path, PathBuf};

use rust_i18n::t;
use serde::{Serialize, Serializer};

use crate::domain::text::escape;

/// The source of a value, strongest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// An option of the command.
    CommandLine,
    /// The environment of the process.
    Environment,
    /// `ENV_FILE`.
    EnvFile(PathBuf),
    /// Nobody said anything.
    Default,
}

impl Origin {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::EnvFile(path) => Some(path),
            Self::CommandLine | Self::Environment | Self::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::CommandLine => t!("settings.origin.command_line"),
            Self::Environment => t!("settings.origin.environment"),
            Self::EnvFile(path) => t!("settings.origin.env_file", path = escape(&path.to_string_lossy())),
            Self::Default => t!("settings.origin.default"),
        };
        f.write_str(&text)
    }
}

impl Serialize for Origin {
    /// A word that does not depend on the language; the path stands in [`Entry::path`].
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(match self {
            Self::CommandLine => "command-line",
            Self::Environment => "environment",
            Self::EnvFile(_) => "env-file",
            Self::Default => "default",
        })
    }
}

/// One line of `amarre config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The variable.
    pub name: &'static str,
    /// What holds; stars for a secret; `None`: not set.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The file it was read from: `ENV_FILE`, or the one that `NAME_FILE` names.
    pub path: Option<PathBuf>,
}

impl Entry {
    /// A line about `name`; `file` is what `NAME_FILE` named.
    #[must_use]
    pub fn new(name: &'static str, value: Option<String>, origin: Origin, file: Option<PathBuf>) -> Self {
        let path = file.or_else(|| origin.path().map(Path::to_path_buf));
        Self { name, value, origin, path }
    }
}
