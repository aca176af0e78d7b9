//! `amarre verify`.

use crate::cli::Context;
use crate::cli::args::VerifyArgs;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(_context: &Context, _args: &VerifyArgs) -> Result<Exit, Failure> {
    Err(Failure { message: "'verify' is still to come".to_owned(), hint: None, exit: Exit::Failed })
}
