//! `amarre supervise`: the sidecar's main process.

use rust_i18n::t;

use crate::cli::Context;
use crate::domain::text::escape;
use crate::error::{Exit, Failure};

/// Runs the command until the process is told to end.
///
/// # Errors
/// What kept it from starting.
pub async fn run(context: &Context) -> Result<Exit, Failure> {
    let app = context.app("supervise");
    app.before_backup();
    if let Some(bucket) = &context.settings.s3.bucket {
        app.warn(t!("app.s3_later", bucket = escape(bucket)));
    }
    app.supervise().await?;
    Ok(Exit::Done)
}
