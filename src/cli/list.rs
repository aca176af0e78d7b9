//! `amarre list`: what there is, and how far it is proven.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_i18n::t;
use serde_json::json;

use crate::cli::args::JsonArgs;
use crate::cli::{Context, output};
use crate::domain::catalogue::{Catalogue, Entry, State};
use crate::domain::text::{age, bytes, escape};
use crate::error::{Exit, Failure};
use crate::operations::restore::{self, MarkRole, Marked};
use crate::operations::{self, catalogue};

/// How long a server may take to say what it keeps.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &JsonArgs) -> Result<Exit, Failure> {
    let app = context.app("list");
    let operations = app.context().await?;
    let catalogue = catalogue::load(&operations).await?;
    let kept = kept(&operations).await;
    if args.json {
        let entries: Vec<_> = catalogue.entries().iter().map(as_json).collect();
        let place = operations.store.place();
        let kept = kept.as_ref().ok().map(|kept| kept.iter().map(kept_as_json).collect::<Vec<_>>());
        context.output.json(&json!({ "format": 1, "place": place, "backups": entries, "kept_databases": kept }))?;
        return Ok(Exit::Done);
    }
    if catalogue.entries().is_empty() {
        context.output.message(&t!("cmd.list.empty", place = escape(&operations.store.place())));
    } else {
        show(context, &catalogue)?;
    }
    tell_kept(context, kept);
    Ok(Exit::Done)
}

fn show(context: &Context, catalogue: &Catalogue) -> Result<(), Failure> {
    let now = context.clock.now();
    let rows: Vec<Vec<String>> = catalogue.entries().iter().map(|entry| row(catalogue, entry, now)).collect();
    let headers = ["name", "age", "size", "rows", "tables", "state"].map(|key| t!(format!("cmd.list.{key}")));
    context.output.data(&output::table_of_names(&headers.each_ref().map(AsRef::as_ref), &rows))
}

/// Databases that `--undo` brings back. The list is also for when the server is away: then that is said, and no more.
async fn kept(operations: &operations::Context) -> Result<Vec<Marked>, String> {
    match tokio::time::timeout(SERVER_PATIENCE, restore::kept(operations)).await {
        Ok(kept) => kept.map_err(|error| error.to_string()),
        Err(_) => Err(t!("cmd.list.no_answer", seconds = SERVER_PATIENCE.as_secs()).into_owned()),
    }
}

fn tell_kept(context: &Context, kept: Result<Vec<Marked>, String>) {
    match kept {
        Ok(kept) => {
            for one in kept {
                let until = one.mark.until.map(|until| until.with_timezone(&context.settings.zone));
                let until = until.map_or_else(|| "?".to_owned(), |u| u.format("%Y-%m-%d %H:%M:%S").to_string());
                let (name, database) = (escape(&one.name), escape(&one.mark.of));
                let key = if one.mark.role == MarkRole::Undone { "cmd.list.kept.undone" } else { "cmd.list.kept.old" };
                context.output.message(&t!(key, name = name, database = database, until = until));
            }
        }
        Err(cause) => context.output.message(&t!("cmd.list.kept_unknown", cause = escape(&cause))),
    }
}

fn kept_as_json(kept: &Marked) -> serde_json::Value {
    let mark = &kept.mark;
    json!({ "database": kept.name, "of": mark.of, "role": mark.role, "at": mark.at, "until": mark.until })
}

fn row(catalogue: &Catalogue, entry: &Entry, now: DateTime<Utc>) -> Vec<String> {
    let manifest = entry.manifest.as_ref();
    let or_unknown = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
    vec![
        // The end says little, and the beginning is enough wherever a name is asked for.
        catalogue.short_name(entry).to_owned(),
        age(now - entry.date),
        bytes(entry.bytes),
        or_unknown(manifest.map(|m| m.content.rows())),
        or_unknown(manifest.map(|m| m.content.tables.len() as u64)),
        state(entry),
    ]
}

fn state(entry: &Entry) -> String {
    let mut words = vec![match &entry.state {
        State::Verified { .. } => t!("cmd.list.verified").into_owned(),
        State::Committed => t!("cmd.list.committed").into_owned(),
        State::Unproven => t!("cmd.list.unproven").into_owned(),
        State::SetAside(reason) => t!("cmd.list.set_aside", reason = reason).into_owned(),
    }];
    if let Some(manifest) = &entry.manifest {
        if !manifest.warnings.is_empty() {
            words.push(t!("cmd.list.degraded").into_owned());
        }
        if !manifest.suspicious.is_empty() {
            words.push(t!("cmd.list.suspicious").into_owned());
        }
        if !entry.own {
            words.push(t!("cmd.list.other", name = manifest.installation).into_owned());
        }
    }
    words.join(", ")
}

fn as_json(entry: &Entry) -> serde_json::Value {
    let manifest = entry.manifest.as_ref();
    let (state, reason, verified_at) = match &entry.state {
        State::Verified { at } => ("verified", None, Some(*at)),
        State::Committed => ("committed", None, None),
        State::Unproven => ("unproven", None, None),
        State::SetAside(reason) => ("set_aside", Some(reason.to_string()), None),
    };
    json!({
        "file": entry.file,
        "id": manifest.map(|m| &m.id),
        "kind": entry.kind,
        "date": entry.date,
        "bytes": entry.bytes,
        "plain_bytes": manifest.map(|m| m.plain.bytes),
        "rows": manifest.map(|m| m.content.rows()),
        "tables": manifest.map(|m| m.content.tables.len()),
        "state": state,
        "reason": reason,
        "verified_at": verified_at,
        "degraded": manifest.map(|m| &m.warnings),
        "suspicious": manifest.map(|m| &m.suspicious),
        "installation": manifest.map(|m| &m.installation),
        "own": entry.own,
    })
}
