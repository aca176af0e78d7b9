//! `amarre sync`: sends what no second place has yet.

use rust_i18n::t;
use serde_json::json;

use crate::app::{App, record};
use crate::cli::Context;
use crate::cli::args::SyncArgs;
use crate::error::{Exit, Failure};
use crate::operations;

/// Runs the command.
///
/// # Errors
/// What ended it. A copy that failed is exit code 3.
pub async fn run(context: &Context, args: &SyncArgs) -> Result<Exit, Failure> {
    if context.settings.s3.is_empty() {
        return Err(operations::Error::NoRemote.into());
    }
    let app = context.app("sync");
    let healed = if args.heal { record::heal(&app).await? } else { Vec::new() };
    let synced = record::sync(&app).await?;
    let unhealed = healed.iter().any(|(_, place)| place.is_none());
    let exit = if synced.failed.is_empty() && !unhealed { Exit::Done } else { Exit::Partial };
    if args.json {
        let copied = synced.copied.iter().map(|(file, place)| json!({ "file": file, "place": place }));
        let failed = synced.failed.iter();
        let failed = failed.map(|(file, c)| json!({ "file": file, "place": c.place, "error": c.failed }));
        context.output.json(&json!({
            "format": 1,
            "exit": exit as u8,
            "copied": copied.collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>(),
            "swept": synced.swept,
            "leaving": synced.leaving,
            "healed": healed.iter().map(|(file, place)| json!({ "file": file, "from": place })).collect::<Vec<_>>(),
            "peak_rss_bytes": App::peak_memory(),
        }))?;
        return Ok(exit);
    }
    if synced.leaving > 0 {
        context.output.message(&t!("sync.leaving", count = synced.leaving));
    }
    if synced.copied.is_empty() && synced.failed.is_empty() {
        if synced.leaving > 0 {
            return Ok(exit);
        }
        context.output.message(&t!("sync.nothing"));
    } else {
        context.output.message(&t!("sync.counts", copied = synced.copied.len(), failed = synced.failed.len()));
    }
    context.tell_memory();
    Ok(exit)
}
