//! `amarre get`: brings a backup from a second place into `BACKUP_DIR`, and does no more.

use rust_i18n::t;

use crate::cli::Context;
use crate::cli::args::GetArgs;
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations::fetch;

/// Runs the command.
///
/// # Errors
/// What ended it; nothing of the backup lies there then.
pub async fn run(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    let app = context.app("get");
    let operations = app.context().await?;
    let found = fetch::find(&operations, &args.wanted).await?;
    let _lock = app.lock(&operations).await?;
    fetch::fetch(&operations, &found).await?;
    let directory = escape(&context.settings.backup_dir.display().to_string());
    context.output.message(&t!("fetch.done", file = escape(&found.file), directory = directory));
    context.tell_memory();
    Ok(Exit::Done)
}
