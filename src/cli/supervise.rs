//! `amarre supervise`.

use crate::cli::Context;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(_context: &Context) -> Result<Exit, Failure> {
    Err(Failure { message: "'supervise' is still to come".to_owned(), hint: None, exit: Exit::Failed })
}
