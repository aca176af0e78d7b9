//! `amarre get`: brings a backup from a second place into `BACKUP_DIR`, and does no more.

use std::path::Path;

use rust_i18n::t;
use serde_json::json;

use crate::app::App;
use crate::cli::Context;
use crate::cli::args::GetArgs;
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations::fetch::{self, Thaw};

/// Runs the command.
///
/// # Errors
/// What ended it; nothing of the backup lies there then.
pub async fn run(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    let app = context.app("get");
    let operations = app.context().await?;
    let found = fetch::find(&operations, &args.wanted).await?;
    if let Some(days) = args.thaw
        && let Some(thawing) = fetch::thaw(&operations, &found, days).await?
    {
        if args.json {
            let state = if thawing.state == Thaw::Asked { "asked" } else { "coming" };
            context.output.json(&report(&thawing.file, Some(&thawing.place), state, None))?;
        } else {
            context.output.message(&thawing.said());
        }
        return Ok(Exit::Done);
    }
    let _lock = app.lock(&operations).await?;
    let file = fetch::first(&operations, &found).await?;
    if args.json {
        context.output.json(&report(&file, None, "here", Some(&context.settings.backup_dir.join(&file))))?;
        return Ok(Exit::Done);
    }
    let directory = escape(&context.settings.backup_dir.display().to_string());
    context.output.message(&t!("fetch.done", file = escape(&file), directory = directory));
    context.tell_memory();
    Ok(Exit::Done)
}

/// `state`: `here`, or of a thaw `asked` or `coming`, in `place`.
fn report(file: &str, place: Option<&str>, state: &str, path: Option<&Path>) -> serde_json::Value {
    json!({
        "format": 1,
        "file": file,
        "state": state,
        "place": place,
        "path": path,
        "peak_rss_bytes": App::peak_memory(),
    })
}
