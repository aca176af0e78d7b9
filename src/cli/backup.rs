//! `amarre backup`: one backup now.

use serde_json::json;

use crate::app::{App, record};
use crate::cli::args::BackupArgs;
use crate::cli::{Context, timings};
use crate::error::{Exit, Failure};
use crate::operations;
use crate::operations::backup::Made;

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &BackupArgs) -> Result<Exit, Failure> {
    if args.upload_s3 && context.settings.s3.is_empty() {
        return Err(operations::Error::NoRemote.into());
    }
    let app = context.app("backup");
    app.before_backup();
    let made = record::backup(&app).await;
    app.last_words().await;
    let made = made?;
    record::tell(&app, &made);
    let exit = record::partial(&made);
    if args.json {
        context.output.json(&report(&made, exit))?;
    } else if args.timings {
        context.show_timings(&made.timings)?;
    }
    Ok(exit)
}

fn report(made: &Made, exit: Exit) -> serde_json::Value {
    let m = &made.manifest;
    let removed: Vec<&str> = made.pruned.iter().flat_map(|plan| plan.deletions()).collect();
    json!({
        "format": 1,
        "exit": exit as u8,
        "outcome": if exit == Exit::Done { "done" } else { "partial" },
        "id": m.id,
        "file": m.file,
        "database": m.database.name,
        "started_at": m.started_at,
        "finished_at": m.finished_at,
        "lane": m.lane,
        "stored": m.stored,
        "plain": m.plain,
        "tables": m.content.tables.len(),
        "rows": m.content.rows(),
        "degraded": m.warnings,
        "suspicious": m.suspicious,
        "peak_rss_bytes": App::peak_memory(),
        "timings": timings::json(&made.timings),
        "removed": removed,
        "copies": made.copies.iter().map(|c| json!({ "place": c.place, "error": c.failed })).collect::<Vec<_>>(),
    })
}
