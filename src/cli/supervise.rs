//! `amarre supervise`: the sidecar's main process.

use crate::cli::Context;
use crate::error::{Exit, Failure};

/// Runs the command until the process is told to end.
///
/// # Errors
/// What kept it from starting.
pub async fn run(context: &Context) -> Result<Exit, Failure> {
    let app = context.app("supervise");
    app.before_backup();
    app.supervise().await?;
    Ok(Exit::Done)
}
