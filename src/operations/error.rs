//! How operations fail.

use rust_i18n::t;

use crate::domain::text::{bytes, escape};
use crate::domain::{catalogue, retention};
use crate::error::{Exit, Explain};
use crate::{database, dump, journal, runner, store};

/// Every way an operation ends without success.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// A program beside it.
    #[error(transparent)]
    Runner(#[from] runner::Error),
    /// The stages of a dump.
    #[error(transparent)]
    Dump(#[from] dump::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Retention refuses its own plan.
    #[error(transparent)]
    Retention(#[from] retention::Error),
    /// The name that was asked for.
    #[error(transparent)]
    Catalogue(#[from] catalogue::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// It looks as usual: there is nothing to accept.
    #[error("{}", t!("operations.not_suspicious", file = escape(file)))]
    NotSuspicious {
        /// Data file.
        file: String,
    },
    /// The journal did not keep it.
    #[error("{}", t!("operations.not_remembered", file = escape(file)))]
    NotRemembered {
        /// Data file.
        file: String,
    },
    /// The run was told to end.
    #[error("{}", t!("operations.cancelled"))]
    Cancelled,
    /// The intent of the run could not be made durable, so nothing was begun.
    #[error("{}", t!("operations.intent", cause = cause))]
    Intent {
        /// What the system says.
        cause: String,
    },
    /// A thread of ours ended early.
    #[error("{}", t!("operations.internal", cause = cause))]
    Internal {
        /// What is known.
        cause: String,
    },
    /// Too little room for another backup.
    #[error("{}", t!("operations.no_space", place = place, free = bytes(*free), needed = bytes(*needed)))]
    NoSpace {
        /// The store.
        place: String,
        /// Bytes.
        free: u64,
        /// Bytes.
        needed: u64,
    },
    /// What was read back differs from what was written or recorded.
    #[error("{}", t!("operations.unequal", file = escape(file), what = what))]
    Unequal {
        /// Data file.
        file: String,
        /// Which measure.
        what: String,
    },
    /// It is another installation's.
    #[error("{}", t!("operations.of_another", file = escape(file)))]
    OfAnother {
        /// Data file.
        file: String,
    },
    /// Another process works on it.
    #[error("{}", t!("operations.in_use", file = escape(file)))]
    InUse {
        /// Data file.
        file: String,
    },
    /// What was to be erased is still there.
    #[error("{}", t!("operations.stays", file = escape(file), place = place))]
    Stays {
        /// Objects.
        file: String,
        /// Where.
        place: String,
    },
    /// There is no second place.
    #[error("{}", t!("operations.no_remote"))]
    NoRemote,
    /// There is nothing to restore.
    #[error("{}", t!("operations.no_backups", place = place))]
    NoBackups {
        /// The store.
        place: String,
    },
    /// There are only files that were never proven.
    #[error("{}", t!("operations.only_unproven", files = files.iter().map(|f| escape(f)).collect::<Vec<_>>().join(", ")))]
    OnlyUnproven {
        /// Their names.
        files: Vec<String>,
    },
    /// The backup is set aside.
    #[error("{}", t!("operations.set_aside", file = escape(file), reason = reason))]
    SetAside {
        /// Data file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The file would make psql run commands.
    #[error("{}", t!("operations.foreign", file = escape(file), commands = commands))]
    Foreign {
        /// The file.
        file: String,
        /// Lines and commands.
        commands: String,
    },
    /// Something stands in the way.
    #[error("{}", t!("operations.obstacles", database = escape(database), obstacles = obstacles))]
    Obstacles {
        /// The live database.
        database: String,
        /// What.
        obstacles: String,
    },
    /// The server lacks roles, extensions or tablespaces.
    #[error("{}", t!("operations.missing", what = what))]
    Missing {
        /// Which.
        what: String,
        /// Whether a roles file lies beside the backup.
        roles_file: Option<String>,
    },
    /// The dump comes from a newer server.
    #[error("{}", t!("operations.newer", dumped = dumped, server = server))]
    Newer {
        /// Version of the dump.
        dumped: String,
        /// Version of the server.
        server: String,
    },
    /// The side database is there already.
    #[error("{}", t!("operations.exists", database = escape(database)))]
    Exists {
        /// Its name.
        database: String,
    },
    /// The restored content differs from the backup.
    #[error("{}", t!("operations.differs", database = escape(database), count = count, first = first))]
    Differs {
        /// The new database, kept.
        database: String,
        /// How many differences.
        count: usize,
        /// The first ones.
        first: String,
    },
    /// The safety dump failed.
    #[error("{}", t!("operations.safety", cause = cause))]
    Safety {
        /// Its error.
        cause: Box<Error>,
    },
    /// Nothing to undo.
    #[error("{}", t!("operations.no_undo", database = escape(database)))]
    NoUndo {
        /// The live database.
        database: String,
    },
    /// The plan is no longer true.
    #[error("{}", t!("operations.changed", what = what))]
    Changed {
        /// What changed since it was shown.
        what: String,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let key = match self {
            Self::Database(error) => return error.hint(),
            Self::Runner(error) => return error.hint(),
            Self::Dump(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Retention(error) => return error.hint(),
            Self::Catalogue(error) => return error.hint(),
            Self::Journal(error) => return error.hint(),
            Self::NotSuspicious { .. } => "operations.not_suspicious_hint",
            Self::NotRemembered { .. } => "operations.not_remembered_hint",
            Self::Safety { cause } => return cause.hint(),
            Self::Missing { roles_file: Some(file), .. } => {
                return Some(t!("operations.missing_roles_hint", file = escape(file)).into_owned());
            }
            Self::Missing { .. } => "operations.missing_hint",
            Self::Intent { .. } => "operations.intent_hint",
            Self::NoSpace { .. } => "operations.no_space_hint",
            Self::Unequal { .. } => "operations.unequal_hint",
            Self::NoRemote => "operations.no_remote_hint",
            Self::OfAnother { .. } => "operations.of_another_hint",
            Self::InUse { .. } => "operations.in_use_hint",
            Self::Stays { .. } => "operations.stays_hint",
            Self::NoBackups { .. } => "operations.no_backups_hint",
            Self::OnlyUnproven { .. } => "operations.only_unproven_hint",
            Self::SetAside { .. } => "operations.set_aside_hint",
            Self::Foreign { .. } => "operations.foreign_hint",
            Self::Obstacles { .. } => "operations.obstacles_hint",
            Self::Newer { .. } => "operations.newer_hint",
            Self::Exists { .. } => "operations.exists_hint",
            Self::Differs { .. } => "operations.differs_hint",
            Self::NoUndo { .. } => "operations.no_undo_hint",
            Self::Changed { .. } => "operations.changed_hint",
            Self::Cancelled | Self::Internal { .. } => return None,
        };
        Some(t!(key).into_owned())
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Database(error) => error.exit(),
            Self::Runner(error) => error.exit(),
            Self::Dump(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Retention(error) => error.exit(),
            Self::Catalogue(error) => error.exit(),
            Self::Journal(error) => error.exit(),
            Self::Unequal { .. } | Self::Differs { .. } => Exit::ProofFailed,
            Self::InUse { .. } => Exit::Locked,
            Self::OfAnother { .. }
            | Self::NoRemote
            | Self::OnlyUnproven { .. }
            | Self::Exists { .. }
            | Self::NotSuspicious { .. }
            | Self::Foreign { .. } => Exit::Usage,
            Self::Cancelled
            | Self::Stays { .. }
            | Self::Intent { .. }
            | Self::Internal { .. }
            | Self::NoSpace { .. }
            | Self::NoBackups { .. }
            | Self::SetAside { .. }
            | Self::Obstacles { .. }
            | Self::Missing { .. }
            | Self::Newer { .. }
            | Self::Safety { .. }
            | Self::NoUndo { .. }
            | Self::NotRemembered { .. }
            | Self::Changed { .. } => Exit::Failed,
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal { cause: error.to_string() }
    }
}
