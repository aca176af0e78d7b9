//! What can be wrong with the configuration. All of it is collected and shown together. No value of a secret is in here.

use std::fmt;
use std::path::PathBuf;

use rust_i18n::t;

use crate::domain::notice::template::{WORDS, Wrong};
use crate::domain::schedule;
use crate::domain::text::escape;
use crate::error::{Exit, Explain};
use crate::settings::env_file::Syntax;
use crate::settings::notify;
use crate::settings::origin::Origin;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A `BACKUP_…` that nobody knows.
    #[error("{}", t!("settings.unknown", name = escape(name), origin = origin))]
    Unknown {
        /// Its name.
        name: String,
        /// What was perhaps meant.
        nearest: Option<&'static str>,
        /// Where it stands.
        origin: Origin,
    },
    /// `NAME` and `NAME_FILE`.
    #[error("{}", t!("settings.both", name = name, origin = origin, file_origin = file_origin))]
    Both {
        /// `NAME`.
        name: &'static str,
        /// Where `NAME` stands.
        origin: Origin,
        /// Where `NAME_FILE` stands.
        file_origin: Origin,
    },
    /// Two names of one thing that differ.
    #[error("{}", t!("settings.disagree", name = name, value = escape(value), other = other, other_value = escape(other_value)))]
    Disagree {
        /// The name of ours.
        name: &'static str,
        /// Its value.
        value: String,
        /// The name of the scripts.
        other: &'static str,
        /// Its value.
        other_value: String,
    },
    /// The file of a secret.
    #[error("{}", fault.message(name, path))]
    SecretFile {
        /// `NAME`, without `_FILE`.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: FileFault,
    },
    /// `ENV_FILE` cannot be read.
    #[error("{}", t!("settings.env_file_unreadable", path = escape(&path.to_string_lossy()), cause = cause))]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// A line of `ENV_FILE`.
    #[error("{}", syntax_message(path, *line, kind))]
    EnvFileSyntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        kind: Syntax,
    },
    /// A value that is not UTF-8.
    #[error("{}", t!("settings.not_text", name = escape(name)))]
    NotText {
        /// The variable.
        name: String,
    },
    /// A line end or another control character in a value.
    #[error("{}", t!("settings.control", name = name, origin = origin))]
    Control {
        /// The variable.
        name: &'static str,
        /// Where it stands.
        origin: Origin,
    },
    /// Not a whole number, or out of bounds.
    #[error("{}", t!("settings.number", name = name, value = escape(value), min = min, max = max))]
    Number {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Not one of the words that are possible.
    #[error("{}", t!("settings.choice", name = name, value = escape(value), choices = choices.join(", ")))]
    Choice {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is possible.
        choices: &'static [&'static str],
    },
    /// Not a format with a level that it has.
    #[error("{}", t!("settings.compression", name = name, value = escape(value)))]
    Compression {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Not calendar rules.
    #[error("{}", t!("settings.keep", name = name, value = escape(value), part = escape(part)))]
    Keep {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong in it.
        part: String,
    },
    /// Not a command.
    #[error("{}", t!("settings.hook", name = name, value = escape(value)))]
    Hook {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// `BACKUP_SCHEDULE` or `TZ`.
    #[error(transparent)]
    Time(#[from] schedule::Error),
    /// Not a path that may be used.
    #[error("{}", t!("settings.directory", name = name, value = escape(value)))]
    Directory {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A name that is too long.
    #[error("{}", t!("settings.too_long", name = name, bytes = bytes, max = max))]
    TooLong {
        /// The variable.
        name: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// Not an address of an engine.
    #[error("{}", t!("settings.engine", value = escape(value)))]
    Engine {
        /// `DOCKER_HOST`.
        value: String,
    },
    /// Not an address of a store. Its value may hold a password, so it is not shown.
    #[error("{}", t!("settings.endpoint", name = name))]
    Endpoint {
        /// The variable.
        name: &'static str,
    },
    /// Not the name of a bucket.
    #[error("{}", t!("settings.bucket", name = name, value = escape(value)))]
    Bucket {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Not what keys may begin with.
    #[error("{}", t!("settings.prefix", name = name, value = escape(value)))]
    Prefix {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Not a limit of bytes per second.
    #[error("{}", t!("settings.bandwidth", name = name, value = escape(value), part = escape(part)))]
    Bandwidth {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong in it.
        part: String,
    },
    /// Not `name=value,…`, or more than ten.
    #[error("{}", t!("settings.tags", name = name, value = escape(value)))]
    Tags {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Not 32 bytes in base64. Never shown.
    #[error("{}", t!("settings.customer_key", name = name))]
    CustomerKey {
        /// The variable.
        name: &'static str,
    },
    /// A channel of notifications. Its value may hold a token, so it is not shown.
    #[error("{}", channel_message(name, *place, fault))]
    Channel {
        /// The variable.
        name: &'static str,
        /// Which address of a list, from 1.
        place: Option<usize>,
        /// What is wrong with it.
        fault: notify::Fault,
    },
    /// A command needs it and it is not set.
    #[error("{}", t!("settings.missing", name = name))]
    Missing {
        /// The variable.
        name: &'static str,
    },
}

impl Problem {
    /// The variable whose value cannot be used; `None`: all others can.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Unknown { .. } | Self::EnvFile { .. } | Self::EnvFileSyntax { .. } => None,
            Self::NotText { name } => Some(name),
            Self::Both { name, .. }
            | Self::Disagree { name, .. }
            | Self::SecretFile { name, .. }
            | Self::Control { name, .. }
            | Self::Number { name, .. }
            | Self::Choice { name, .. }
            | Self::Compression { name, .. }
            | Self::Keep { name, .. }
            | Self::Directory { name, .. }
            | Self::TooLong { name, .. }
            | Self::Endpoint { name }
            | Self::Bucket { name, .. }
            | Self::Prefix { name, .. }
            | Self::Bandwidth { name, .. }
            | Self::Tags { name, .. }
            | Self::CustomerKey { name }
            | Self::Hook { name, .. }
            | Self::Channel { name, .. }
            | Self::Missing { name } => Some(name),
            Self::Time(schedule::Error::Zone { .. }) => Some("TZ"),
            Self::Time(_) => Some("BACKUP_SCHEDULE"),
            Self::Engine { .. } => Some("DOCKER_HOST"),
        }
    }
}

impl Explain for Problem {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unknown { name, nearest: Some(nearest), .. } => {
                t!("settings.unknown_hint", name = escape(name), nearest = nearest)
            }
            Self::Unknown { name, nearest: None, .. } => t!("settings.unknown_hint_none", name = escape(name)),
            Self::Both { name, .. } => t!("settings.both_hint", name = name),
            Self::Disagree { name, other, .. } => t!("settings.disagree_hint", name = name, other = other),
            Self::SecretFile { name, path, fault } => return Some(fault.hint(name, path)),
            Self::EnvFile { .. } => t!("settings.env_file_unreadable_hint"),
            Self::EnvFileSyntax { kind, .. } => return Some(syntax_hint(kind)),
            Self::NotText { name } => t!("settings.not_text_hint", name = escape(name)),
            Self::Control { name, .. } => t!("settings.control_hint", name = name),
            Self::Number { name, .. } => t!("settings.number_hint", name = name),
            Self::Choice { name, .. } | Self::Compression { name, .. } => t!("settings.choice_hint", name = name),
            Self::Keep { .. } => t!("settings.keep_hint"),
            Self::Hook { .. } => t!("settings.hook_hint"),
            Self::Time(error) => return error.hint(),
            Self::Directory { name, .. } => t!("settings.directory_hint", name = name),
            Self::TooLong { name, .. } => t!("settings.too_long_hint", name = name),
            Self::Engine { .. } => t!("settings.engine_hint"),
            Self::Endpoint { .. } => t!("settings.endpoint_hint"),
            Self::Bucket { .. } => t!("settings.bucket_hint"),
            Self::Prefix { .. } => t!("settings.prefix_hint"),
            Self::Bandwidth { .. } => t!("settings.bandwidth_hint"),
            Self::Tags { .. } => t!("settings.tags_hint"),
            Self::CustomerKey { .. } => t!("settings.customer_key_hint"),
            Self::Channel { fault, .. } => return Some(channel_hint(fault)),
            Self::Missing { name } => t!("settings.missing_hint", name = name),
        };
        Some(hint.into_owned())
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// What can be wrong with the file of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFault {
    /// It is not there, or may not be read: what the system says.
    Unreadable(String),
    /// A directory or a device.
    NotAFile,
    /// Nothing in it.
    Empty,
    /// A carriage return: saved on Windows.
    CarriageReturn,
    /// More than one line.
    Lines,
    /// Not UTF-8, or control characters.
    NotText,
    /// Longer than a secret ever is.
    TooLarge,
}

impl FileFault {
    fn message(&self, name: &str, path: &std::path::Path) -> String {
        let path = path.to_string_lossy();
        let path = escape(&path);
        match self {
            Self::Unreadable(cause) => t!("settings.secret_unreadable", name = name, path = path, cause = cause),
            Self::NotAFile => t!("settings.secret_not_a_file", name = name, path = path),
            Self::Empty => t!("settings.secret_empty", name = name, path = path),
            Self::CarriageReturn => t!("settings.secret_crlf", name = name, path = path),
            Self::Lines => t!("settings.secret_lines", name = name, path = path),
            Self::NotText => t!("settings.secret_not_text", name = name, path = path),
            Self::TooLarge => t!("settings.secret_too_large", name = name, path = path),
        }
        .into_owned()
    }

    fn hint(&self, name: &str, path: &std::path::Path) -> String {
        let path = path.to_string_lossy();
        let path = escape(&path);
        match self {
            Self::Unreadable(_) | Self::NotAFile => t!("settings.secret_unreadable_hint", name = name, path = path),
            Self::CarriageReturn => t!("settings.secret_crlf_hint", path = path),
            Self::Empty | Self::Lines | Self::NotText | Self::TooLarge => {
                t!("settings.secret_lines_hint", path = path)
            }
        }
        .into_owned()
    }
}

fn syntax_message(path: &std::path::Path, line: usize, kind: &Syntax) -> String {
    let path = path.to_string_lossy();
    let path = escape(&path);
    match kind {
        Syntax::Name => t!("settings.syntax_name", path = path, line = line),
        Syntax::OpenQuote => t!("settings.syntax_open_quote", path = path, line = line),
        Syntax::AfterQuote => t!("settings.syntax_after_quote", path = path, line = line),
        Syntax::Dollar => t!("settings.syntax_dollar", path = path, line = line),
        Syntax::Required(name) => t!("settings.syntax_required", path = path, line = line, name = escape(name)),
    }
    .into_owned()
}

fn syntax_hint(kind: &Syntax) -> String {
    match kind {
        Syntax::Name => t!("settings.syntax_name_hint"),
        Syntax::OpenQuote | Syntax::AfterQuote => t!("settings.syntax_quote_hint"),
        Syntax::Dollar => t!("settings.syntax_dollar_hint"),
        Syntax::Required(name) => t!("settings.syntax_required_hint", name = escape(name)),
    }
    .into_owned()
}

fn channel_message(name: &str, place: Option<usize>, fault: &notify::Fault) -> String {
    let what = match fault {
        notify::Fault::Scheme(Some(word)) => t!("settings.notify.scheme", scheme = escape(word)),
        notify::Fault::Scheme(None) => t!("settings.notify.no_scheme"),
        notify::Fault::Address(kind) => t!("settings.notify.address", kind = kind),
        notify::Fault::Level(kind) => t!("settings.notify.level", kind = kind),
        notify::Fault::Tls => t!("settings.notify.tls"),
        notify::Fault::Lacks(kind, what) => t!("settings.notify.lacks", kind = kind, what = what),
        notify::Fault::Mailbox => t!("settings.notify.mailbox"),
        notify::Fault::Template(Wrong::Open) => t!("settings.notify.template_open"),
        notify::Fault::Template(Wrong::Word(word)) => t!("settings.notify.template_word", word = escape(word)),
        notify::Fault::Template(Wrong::NotJson) => t!("settings.notify.template_json"),
    };
    match place {
        Some(place) => t!("settings.notify.of_list", name = name, place = place, what = what).into_owned(),
        None => t!("settings.notify.of_variable", name = name, what = what).into_owned(),
    }
}

fn channel_hint(fault: &notify::Fault) -> String {
    match fault {
        notify::Fault::Scheme(_) => t!("settings.notify.scheme_hint"),
        notify::Fault::Address(kind) | notify::Fault::Lacks(kind, _) => t!(format!("settings.notify.form.{kind}")),
        notify::Fault::Level(_) => t!("settings.notify.level_hint"),
        notify::Fault::Tls => t!("settings.notify.tls_hint"),
        notify::Fault::Mailbox => t!("settings.notify.form.mail"),
        notify::Fault::Template(_) => t!("settings.notify.template_hint", words = WORDS.join(", ")),
    }
    .into_owned()
}

/// Everything that is wrong, in the order it was found. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Explain for Problems {
    fn hint(&self) -> Option<String> {
        let hints: Vec<_> = self.0.iter().filter_map(Explain::hint).collect();
        (!hints.is_empty()).then(|| hints.join("; "))
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}
