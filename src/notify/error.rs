//! How a message fails, and whether it may be tried again.

use std::time::Duration;

use rust_i18n::t;

use crate::error::Explain;

/// Whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It would be refused again.
    Never,
    /// Later; after so long, where the other side said so.
    Later(Option<Duration>),
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke.
    #[error("{}", t!("notify.unreached", host = host, cause = cause))]
    Unreached {
        /// Where.
        host: String,
        /// What the system says.
        cause: String,
    },
    /// No answer in time.
    #[error("{}", t!("notify.silent", host = host, seconds = seconds))]
    Silent {
        /// Where.
        host: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A certificate that is not trusted, or no TLS where there should be.
    #[error("{}", t!("notify.tls", host = host, cause = cause))]
    Tls {
        /// Where.
        host: String,
        /// What is wrong.
        cause: String,
    },
    /// An answer that is a no for good.
    #[error("{}", t!("notify.refused", host = host, status = status, said = said))]
    Refused {
        /// Who.
        host: String,
        /// The code of the answer.
        status: u16,
        /// What it says, one line.
        said: String,
    },
    /// An answer that is a no for now.
    #[error("{}", t!("notify.busy", host = host, status = status, said = said))]
    Busy {
        /// Who.
        host: String,
        /// The code of the answer.
        status: u16,
        /// What it says, one line.
        said: String,
        /// How long it asks to be left alone.
        after: Option<Duration>,
    },
    /// It lies somewhere else now.
    #[error("{}", t!("notify.moved", host = host, status = status))]
    Moved {
        /// Who says so.
        host: String,
        /// The code of the answer.
        status: u16,
    },
    /// The message cannot be made: an address of the settings is none.
    #[error("{}", t!("notify.message", cause = cause))]
    Message {
        /// What is wrong.
        cause: String,
    },
    /// `BACKUP_NOTIFY_CA_FILE`.
    #[error("{}", t!("notify.ca_file", path = path, cause = cause))]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl Error {
    /// Whether another try may help. Certificates and hosts that are wrong today may have been put right by tomorrow, and a message that is
    /// given up is lost; only what the other side itself calls final is.
    #[must_use]
    pub fn again(&self) -> Again {
        match self {
            Self::Refused { .. } | Self::Moved { .. } | Self::Message { .. } => Again::Never,
            Self::Busy { after, .. } => Again::Later(*after),
            Self::Unreached { .. } | Self::Silent { .. } | Self::Tls { .. } | Self::CaFile { .. } => Again::Later(None),
        }
    }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreached { .. } | Self::Silent { .. } => t!("notify.unreached_hint"),
            Self::Tls { .. } => t!("notify.tls_hint"),
            Self::Refused { status: 401 | 403 | 404 | 410 | 530 | 534 | 535, .. } => t!("notify.rights_hint"),
            Self::Refused { .. } => t!("notify.refused_hint"),
            Self::Busy { .. } => t!("notify.busy_hint"),
            Self::Moved { .. } => t!("notify.moved_hint"),
            Self::Message { .. } => t!("notify.message_hint"),
            Self::CaFile { .. } => t!("notify.ca_file_hint"),
        };
        Some(hint.into_owned())
    }
}
