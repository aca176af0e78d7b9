//! `amarre backup`.

use crate::cli::Context;
use crate::cli::args::BackupArgs;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(_context: &Context, _args: &BackupArgs) -> Result<Exit, Failure> {
    Err(Failure { message: "'backup' is still to come".to_owned(), hint: None, exit: Exit::Failed })
}
