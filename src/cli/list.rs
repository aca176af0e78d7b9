//! `amarre list`: what there is, and how far it is proven.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_i18n::t;
use serde_json::json;

use crate::cli::args::ListArgs;
use crate::cli::{Context, output};
use crate::domain::catalogue::{Catalogue, Entry, State};
use crate::domain::text::{age, bytes, escape};
use crate::error::{Exit, Failure};
use crate::operations::restore::{self, MarkRole, Marked};
use crate::operations::{self, catalogue};

/// How long a server may take to say what it keeps.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);
/// Where these columns are.
const ROWS: usize = 3;
const TABLES: usize = 4;
/// How long a store may take to say what it has.
const STORE_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &ListArgs) -> Result<Exit, Failure> {
    let app = context.app("list");
    let operations = app.context().await?;
    if args.remote && operations.remotes.is_empty() {
        return Err(operations::Error::NoRemote.into());
    }
    let here = catalogue::load(&operations).await?;
    let places = Places::look(context, &operations, here).await;
    let listed = places.listed(args.remote);
    let kept = if args.remote { Ok(Vec::new()) } else { kept(&operations).await };
    if args.json {
        let entries: Vec<_> = listed.iter().map(|one| places.as_json(one)).collect();
        let place = operations.store.place();
        let kept = kept.as_ref().ok().map(|kept| kept.iter().map(kept_as_json).collect::<Vec<_>>());
        let remotes: Vec<_> = places.there.iter().map(|(place, _)| place).collect();
        context.output.json(&json!({
            "format": 1,
            "place": place,
            "remotes": remotes,
            "backups": entries,
            "kept_databases": kept,
        }))?;
        return Ok(Exit::Done);
    }
    if listed.is_empty() {
        context.output.message(&t!("cmd.list.empty", place = escape(&operations.store.place())));
    } else {
        places.show(context, &listed)?;
    }
    tell_kept(context, kept);
    Ok(Exit::Done)
}

/// What lies where.
struct Places {
    here: Catalogue,
    /// By place; `None`: it did not answer.
    there: Vec<(String, Option<Catalogue>)>,
}

/// A backup, as the first place that has it knows it.
struct Listed<'a> {
    of: &'a Catalogue,
    entry: &'a Entry,
}

impl Places {
    async fn look(context: &Context, operations: &operations::Context, here: Catalogue) -> Self {
        let mut there = Vec::new();
        for remote in &operations.remotes {
            let place = remote.store.place();
            let asked = catalogue::load_remote(operations, remote);
            let answer = match tokio::time::timeout(STORE_PATIENCE, asked).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(t!("cmd.list.no_answer", seconds = STORE_PATIENCE.as_secs()).into_owned()),
            };
            let catalogue = answer.map(Catalogue::only_with_manifest).map_err(|cause| {
                context.output.warning(&t!("cmd.list.place_unknown", place = place, cause = cause), None);
            });
            there.push((place, catalogue.ok()));
        }
        Self { here, there }
    }

    /// Everything, newest first; with `remote` only what a second place has.
    fn listed(&self, remote: bool) -> Vec<Listed<'_>> {
        let catalogues =
            (!remote).then_some(&self.here).into_iter().chain(self.there.iter().filter_map(|(_, c)| c.as_ref()));
        let mut seen = std::collections::BTreeSet::new();
        let mut listed = Vec::new();
        for of in catalogues {
            listed.extend(of.entries().iter().filter(|e| seen.insert(identity(e))).map(|entry| Listed { of, entry }));
        }
        listed.sort_by(|a, b| b.entry.date.cmp(&a.entry.date).then_with(|| b.entry.file.cmp(&a.entry.file)));
        listed
    }

    /// Where it lies, place by place: `None` where nobody knows.
    fn lies(&self, entry: &Entry) -> Vec<Option<bool>> {
        let has = |catalogue: &Catalogue| catalogue.entries().iter().any(|e| identity(e) == identity(entry));
        let there = self.there.iter().map(|(_, catalogue)| catalogue.as_ref().map(has));
        std::iter::once(Some(has(&self.here))).chain(there).collect()
    }

    fn show(&self, context: &Context, listed: &[Listed<'_>]) -> Result<(), Failure> {
        let now = context.clock.now();
        let mut headers: Vec<_> = ["name", "age", "size", "rows", "tables"]
            .iter()
            .map(|key| t!(format!("cmd.list.{key}")).into_owned())
            .collect();
        if !self.there.is_empty() {
            headers.push(t!("cmd.list.local").into_owned());
            headers.extend((1..=self.there.len()).map(|n| if n == 1 { "S3".to_owned() } else { format!("S3 {n}") }));
        }
        headers.push(t!("cmd.list.state").into_owned());
        let mut rows: Vec<Vec<String>> = listed
            .iter()
            .map(|one| {
                let mut row = row(one.of, one.entry, now);
                if !self.there.is_empty() {
                    let word = |lies| match lies {
                        Some(true) => t!("cmd.list.yes").into_owned(),
                        Some(false) => "-".to_owned(),
                        None => "?".to_owned(),
                    };
                    row.extend(self.lies(one.entry).into_iter().map(word));
                }
                row.push(state(one.entry));
                row
            })
            .collect();
        let mut headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        // On a narrow terminal how much is in it gives way to whether it is there; `show` has it.
        for less in [TABLES, ROWS] {
            if !output::fits(&headers, &rows) {
                headers.remove(less);
                rows.iter_mut().for_each(|row| drop(row.remove(less)));
            }
        }
        context.output.data(&output::table_of_names(&headers, &rows))
    }

    fn as_json(&self, one: &Listed<'_>) -> serde_json::Value {
        let mut value = as_json(one.entry);
        let lies = self.lies(one.entry);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("local".to_owned(), json!(lies.first()));
            fields.insert("remote".to_owned(), json!(lies.get(1..)));
        }
        value
    }
}

/// What makes two copies one backup: the name, and its run where a manifest tells it. Two installations may have given one name.
fn identity(entry: &Entry) -> (&str, Option<&str>) {
    (&entry.file, entry.manifest.as_ref().map(|manifest| manifest.id.as_str()))
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
    ]
}

/// How far it is proven, in words.
pub(super) fn state(entry: &Entry) -> String {
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

/// What every command tells of a backup.
pub(super) fn as_json(entry: &Entry) -> serde_json::Value {
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
