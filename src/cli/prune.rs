//! `amarre prune`.

use crate::cli::Context;
use crate::cli::args::PruneArgs;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(_context: &Context, _args: &PruneArgs) -> Result<Exit, Failure> {
    Err(Failure { message: "'prune' is still to come".to_owned(), hint: None, exit: Exit::Failed })
}
