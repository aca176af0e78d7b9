//! `amarre restore`.

use crate::cli::Context;
use crate::cli::args::RestoreArgs;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(_context: &Context, args: &RestoreArgs) -> Result<Exit, Failure> {
    let _source = args.source()?;
    Err(Failure { message: "'restore' is still to come".to_owned(), hint: None, exit: Exit::Failed })
}
