//! The error a user sees: a message, a hint, an exit code.
//!
//! Each room has an error enum of its own (`thiserror`, texts from `locales/`) and implements [`Explain`];
//! nothing here knows those enums.

/// What the process tells its caller. The numbers are part of the interface (`README.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// The run failed; what existed before is untouched.
    Failed = 1,
    /// Wrong use or configuration.
    Usage = 2,
    /// The local backup is good, a copy elsewhere is missing.
    Partial = 3,
    /// Another run holds the lock.
    Locked = 4,
    /// The operator did not confirm.
    NotConfirmed = 5,
    /// Counts, digests or hashes differ.
    ProofFailed = 6,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every error of every room can say for itself. `Display` is the message: a lower-case
/// fragment with its subject quoted, no full stop, in the language of the operator.
pub trait Explain: std::error::Error + Send + Sync + 'static {
    /// What to do about it, as a sentence; `None` where there is nothing to advise.
    fn hint(&self) -> Option<String> {
        None
    }
    /// The exit code of a command that ends with this error.
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// An error on its way to the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The message, one line, already in the operator's language.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// How the process ends.
    pub exit: Exit,
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit: error.exit() }
    }
}
