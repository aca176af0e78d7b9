//! `amarre get`: brings a backup from a second place into `BACKUP_DIR`, and does no more.

use std::path::Path;

use rust_i18n::t;
use serde_json::json;

use crate::app::App;
use crate::app::record::{Record, RunKind};
use crate::cli::Context;
use crate::cli::args::GetArgs;
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations;
use crate::operations::fetch::{self, Found, Thawing};

/// Runs the command.
///
/// # Errors
/// What ended it; nothing of the backup lies there then.
pub async fn run(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    let app = context.app("get");
    let operations = app.context().await?;
    let found = fetch::find(&operations, &args.wanted).await?;
    let record = Record::new(&app, RunKind::Get);
    let result = get(&app, &operations, &record, &found, args.thaw).await;
    let exit = result.as_ref().map_or_else(|failure| failure.exit, |_| Exit::Done);
    // All of them are copies of one backup.
    let about = found.first().map(|one| (one.file.clone(), one.manifest.as_ref().map_or(0, |m| m.stored.bytes)));
    // What is only asked for was not fetched.
    if !matches!(result, Ok(Got::Later(_))) {
        record.end(&app, exit, about, result.as_ref().err());
    }
    match result? {
        Got::Later(thawing) if args.json => {
            let state = if thawing.asked { "asked" } else { "coming" };
            context.output.json(&report(&thawing.file, Some(&thawing.place), state, None))?;
        }
        Got::Later(thawing) => context.output.message(&thawing.said()),
        Got::Here(file) if args.json => {
            context.output.json(&report(&file, None, "here", Some(&context.settings.backup_dir.join(&file))))?;
        }
        Got::Here(file) => {
            let directory = escape(&context.settings.backup_dir.display().to_string());
            context.output.message(&t!("fetch.done", file = escape(&file), directory = directory));
            context.tell_memory();
        }
    }
    Ok(Exit::Done)
}

/// What came of it.
enum Got {
    /// This file lies in `BACKUP_DIR`.
    Here(String),
    /// It cannot be read yet.
    Later(Thawing),
}

async fn get(
    app: &App,
    operations: &operations::Context,
    record: &Record,
    found: &[Found],
    thaw: Option<u32>,
) -> Result<Got, Failure> {
    if let Some(days) = thaw
        && let Some(thawing) = fetch::thaw(operations, found, days).await?
    {
        return Ok(Got::Later(thawing));
    }
    let _lock = app.lock(operations).await?;
    record.begin(app);
    Ok(Got::Here(fetch::first(operations, found).await?))
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
