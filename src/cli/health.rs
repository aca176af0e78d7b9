//! `amarre health`.

use crate::cli::Context;
use crate::cli::args::JsonArgs;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(_context: &Context, _args: &JsonArgs) -> Result<Exit, Failure> {
    Err(Failure { message: "'health' is still to come".to_owned(), hint: None, exit: Exit::Failed })
}
