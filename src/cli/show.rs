//! `amarre show`: one backup or run, with all that is known of it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_i18n::t;
use serde_json::{Value, json};

use crate::app::record::Run;
use crate::cli::args::ShowArgs;
use crate::cli::{Context, history, list, output, status};
use crate::domain::catalogue::{self as rules, Catalogue, Entry};
use crate::domain::manifest::Manifest;
use crate::domain::name::Kind;
use crate::domain::text::{age, bytes, escape};
use crate::error::{Exit, Failure};
use crate::operations::history::{self as known, Known};
use crate::operations::{self, catalogue};

/// How long a second place may take, for what is not here.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Runs the command.
///
/// # Errors
/// When neither a backup nor a run has that name.
pub async fn run(context: &Context, args: &ShowArgs) -> Result<Exit, Failure> {
    let app = context.app("show");
    let operations = app.context().await?;
    app.recall(&operations).await;
    let mut catalogue = catalogue::load(&operations).await?;
    if catalogue.find(&args.shown).is_err() {
        for remote in &operations.remotes {
            if let Ok(Ok(there)) = tokio::time::timeout(PATIENCE, catalogue::load_remote(&operations, remote)).await {
                catalogue = catalogue.merged(&there);
            }
        }
    }
    let found = find(&catalogue, &operations, &args.shown)?;
    let Found { entry: found, file, run } = found;
    let id =
        found.and_then(|entry| entry.manifest.as_ref()).map_or(args.shown.as_str(), |manifest| manifest.id.as_str());
    let known = known::known(&*operations.journal, file.as_deref(), id, run.as_deref())?;
    let before = found.and_then(|entry| before(&catalogue, entry));
    if args.json {
        context.output.json(&as_json(found, &known, before.as_deref()))?;
    } else {
        show(context, found, &known, before.as_deref(), app.holder().is_some())?;
    }
    Ok(Exit::Done)
}

/// What is meant.
struct Found<'a> {
    /// The backup, if there is one and it is still there.
    entry: Option<&'a Entry>,
    /// The name of its data file, also of one that is gone.
    file: Option<String>,
    /// The run that was asked for, where it is not the backup that was.
    run: Option<String>,
}

/// The backup, or the one that the run was about.
fn find<'a>(catalogue: &'a Catalogue, operations: &operations::Context, wanted: &str) -> Result<Found<'a>, Failure> {
    let error = match catalogue.find(wanted) {
        Ok(entry) => return Ok(Found { entry: Some(entry), file: Some(entry.file.clone()), run: None }),
        Err(error) => error,
    };
    let file_of = |run: &Run| run.end.as_ref().and_then(|end| end.file.clone());
    let runs = operations.journal.runs_of(wanted)?;
    match runs.as_slice() {
        [] => Err(operations::Error::from(error).into()),
        [run] => {
            let file = file_of(run);
            let entry = catalogue.entries().iter().find(|entry| Some(&entry.file) == file.as_ref());
            Ok(Found { entry, file, run: Some(run.id.clone()) })
        }
        // Runs of one removed backup, by its name; or the beginning of several identities.
        several if several.iter().all(|run| file_of(run).as_deref() == Some(wanted)) => {
            Ok(Found { entry: None, file: Some(wanted.to_owned()), run: None })
        }
        several => {
            let files = several.iter().map(|run| run.id.clone()).collect();
            Err(operations::Error::from(rules::Error::Ambiguous { wanted: escape(wanted), files }).into())
        }
    }
}

/// The backup of the same database before it.
fn before(catalogue: &Catalogue, entry: &Entry) -> Option<Arc<Manifest>> {
    let manifest = entry.manifest.as_ref()?;
    let same = |other: &&Arc<Manifest>| {
        other.kind == Kind::Backup
            && other.database.name == manifest.database.name
            && other.installation == manifest.installation
            && other.started_at < manifest.started_at
    };
    // Newest first: the first that is older.
    catalogue.entries().iter().filter_map(|other| other.manifest.as_ref()).find(same).cloned()
}

/// A table: its name, rows, bytes of SQL, and rows more or less than in the backup before.
fn tables<'a>(manifest: &'a Manifest, before: Option<&'a Manifest>) -> Vec<(&'a str, u64, u64, Option<i128>)> {
    let mut tables: Vec<_> = manifest
        .content
        .tables
        .iter()
        .map(|(name, table)| {
            let change = before.map(|before| {
                let rows = before.content.tables.get(name).map_or(0, |table| table.rows);
                i128::from(table.rows) - i128::from(rows)
            });
            (name.as_str(), table.rows, table.bytes, change)
        })
        .collect();
    let gone = before.into_iter().flat_map(|before| &before.content.tables);
    let gone = gone.filter(|(name, _)| !manifest.content.tables.contains_key(*name));
    tables.extend(gone.map(|(name, table)| (name.as_str(), 0, 0, Some(-i128::from(table.rows)))));
    tables
}

fn show(
    context: &Context,
    entry: Option<&Entry>,
    known: &Known,
    before: Option<&Manifest>,
    at_work: bool,
) -> Result<(), Failure> {
    let local = |at: DateTime<Utc>| at.with_timezone(&context.settings.zone).format("%Y-%m-%d %H:%M:%S %Z").to_string();
    let say = |key: &str, value: String| context.output.data(&format!("{:<14} {value}", t!(format!("cmd.show.{key}"))));
    if let Some(entry) = entry {
        say("file", escape(&entry.file))?;
        say("state", list::state(entry))?;
    }
    if let Some(manifest) = entry.and_then(|entry| entry.manifest.as_ref()) {
        say("id", manifest.id.to_string())?;
        say("installation", escape(&manifest.installation))?;
        let took = manifest.finished_at - manifest.started_at;
        say("made", format!("{} ({})", local(manifest.started_at), age(took)))?;
        say("database", escape(&manifest.database.name))?;
        let versions = format!("{}, pg_dump {}", escape(&manifest.server_version), escape(&manifest.client_version));
        say("server", versions)?;
        let sizes =
            format!("{} ({}), SQL {}", bytes(manifest.stored.bytes), manifest.compression, bytes(manifest.plain.bytes));
        say("size", sizes)?;
        say("sha256", manifest.stored.sha256.clone())?;
        say("lane", escape(&manifest.lane))?;
        for warning in &manifest.warnings {
            say("degraded", escape(warning))?;
        }
        for suspicion in &manifest.suspicious {
            say("suspicious", escape(suspicion))?;
        }
    }
    if let Some(accepted) = &known.accepted {
        say("accepted", format!("{}, {}", local(accepted.at), escape(&accepted.by)))?;
    }
    for run in &known.runs {
        let end = run.end.as_ref();
        let took = end.map(|end| format!(", {}", age(end.at - run.started_at))).unwrap_or_default();
        let asked = run.asked.as_ref().map(|asked| format!(", {}", escape(asked))).unwrap_or_default();
        let outcome = status::of(run, at_work);
        say("run", format!("{} {} {}: {outcome}{took}{asked}", local(run.started_at), run.kind.as_str(), run.id))?;
        if let Some(error) = end.and_then(|end| end.error.as_ref()) {
            say("error", escape(error))?;
        }
    }
    for reading in &known.readings {
        let found = if reading.ok { t!("cmd.show.equal").into_owned() } else { escape(&reading.detail) };
        say("reading", format!("{} {}: {found}", local(reading.at), escape(&reading.file)))?;
    }
    for gone in &known.deletions {
        let place = gone.place.as_deref().map(escape).unwrap_or_else(|| t!("cmd.show.here").into_owned());
        say("deleted", format!("{} {place}: {}", local(gone.at), escape(&gone.why)))?;
    }
    show_stages(context, known)?;
    match entry.and_then(|entry| entry.manifest.as_ref()) {
        Some(manifest) => show_tables(context, manifest, before),
        None => Ok(()),
    }
}

fn show_stages(context: &Context, known: &Known) -> Result<(), Failure> {
    if known.stages.is_empty() {
        return Ok(());
    }
    let seconds = |time: std::time::Duration| format!("{:.1} s", time.as_secs_f64());
    let rows: Vec<Vec<String>> = known
        .stages
        .iter()
        .map(|stage| {
            let name = t!(format!("timings.{}", stage.name)).into_owned();
            vec![name, bytes(stage.bytes), seconds(stage.busy), seconds(stage.starved), seconds(stage.blocked)]
        })
        .collect();
    let headers = ["stage", "bytes", "busy", "starved", "blocked"].map(|key| t!(format!("cmd.show.{key}")));
    context.output.data("")?;
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows))
}

fn show_tables(context: &Context, manifest: &Manifest, before: Option<&Manifest>) -> Result<(), Failure> {
    let tables = tables(manifest, before);
    if tables.is_empty() {
        return Ok(());
    }
    let change = |change: Option<i128>| match change {
        None => String::new(),
        Some(0) => "=".to_owned(),
        Some(change) => format!("{change:+}"),
    };
    let rows: Vec<Vec<String>> = tables
        .into_iter()
        .map(|(name, rows, size, by)| vec![escape(name), rows.to_string(), bytes(size), change(by)])
        .collect();
    let headers = ["table", "rows", "sql", "change"].map(|key| t!(format!("cmd.show.{key}")));
    context.output.data("")?;
    context.output.data(&output::table_of_names(&headers.each_ref().map(AsRef::as_ref), &rows))
}

fn as_json(entry: Option<&Entry>, known: &Known, before: Option<&Manifest>) -> Value {
    let manifest = entry.and_then(|entry| entry.manifest.as_deref());
    let tables = manifest.map(|manifest| {
        let of = |(name, rows, bytes, change): (&str, u64, u64, Option<i128>)| {
            let change = change.and_then(|change| i64::try_from(change).ok());
            json!({ "table": name, "rows": rows, "bytes": bytes, "change": change })
        };
        tables(manifest, before).into_iter().map(of).collect::<Vec<_>>()
    });
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let stages: Vec<Value> = known
        .stages
        .iter()
        .map(|s| {
            json!({
                "stage": s.name,
                "bytes": s.bytes,
                "busy_ms": millis(s.busy),
                "starved_ms": millis(s.starved),
                "blocked_ms": millis(s.blocked),
            })
        })
        .collect();
    json!({
        "format": 1,
        "backup": entry.map(list::as_json),
        "manifest": manifest,
        "tables": tables,
        "compared_with": before.map(|before| &before.file),
        "stages": stages,
        "runs": known.runs.iter().map(history::run_as_json).collect::<Vec<_>>(),
        "readings": known.readings.iter().map(|r| json!({ "file": r.file, "at": r.at, "good": r.ok, "error": r.detail })).collect::<Vec<_>>(),
        "deletions": known.deletions.iter().map(|d| json!({ "at": d.at, "file": d.file, "place": d.place, "why": d.why })).collect::<Vec<_>>(),
        "accepted": known.accepted.as_ref().map(|a| json!({ "at": a.at, "by": a.by })),
    })
}
