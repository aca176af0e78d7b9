//! `amarre history`: what was done, by whom, and how it went.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rust_i18n::t;
use serde_json::json;

use crate::app::record::{Outcome, Run};
use crate::cli::args::HistoryArgs;
use crate::cli::{Context, output, status};
use crate::domain::text::{age, escape};
use crate::error::{Exit, Failure};
use crate::operations::history;
use crate::operations::history::{Deletion, Happened};

/// Runs the command.
///
/// # Errors
/// When the journal cannot be read, or `--since` is no time.
pub async fn run(context: &Context, args: &HistoryArgs) -> Result<Exit, Failure> {
    let app = context.app("history");
    let since = since(context, &args.since)?;
    let happened = history::since(&*app.recalled_journal().await, since)?;
    if args.json {
        let list: Vec<_> = happened.iter().map(as_json).collect();
        context.output.json(&json!({ "format": 1, "since": since, "history": list }))?;
        return Ok(Exit::Done);
    }
    if happened.is_empty() {
        context.output.message(&t!("cmd.history.none"));
        return Ok(Exit::Done);
    }
    let at_work = app.holder().is_some();
    let rows: Vec<Vec<String>> = happened.iter().flat_map(|one| rows(context, one, at_work)).collect();
    let headers = ["when", "what", "outcome", "took", "about"].map(|key| t!(format!("cmd.history.{key}")));
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows))?;
    Ok(Exit::Done)
}

/// `30d`, `12h`, or a date of the zone of the settings.
fn since(context: &Context, text: &str) -> Result<DateTime<Utc>, Failure> {
    if let Ok(back) = humantime::parse_duration(text)
        && let Ok(back) = TimeDelta::from_std(back)
        && let Some(since) = context.clock.now().checked_sub_signed(back)
    {
        return Ok(since);
    }
    let zone = context.settings.zone;
    let date = text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    let local = date.and_then(|at| at.and_local_timezone(zone).earliest()).map(|at| at.with_timezone(&Utc));
    local.or_else(|| text.parse().ok()).ok_or_else(|| Failure {
        message: t!("cmd.history.since", text = escape(text)).into_owned(),
        hint: Some(t!("cmd.history.since_hint").into_owned()),
        exit: Exit::Usage,
    })
}

/// What happened, and below it by whom and by which name `show` tells all of it.
fn rows(context: &Context, one: &Happened, at_work: bool) -> Vec<Vec<String>> {
    let by = match one {
        Happened::Run(run) => {
            let asked = run.asked.as_deref().map(|asked| format!("{asked}, ")).unwrap_or_default();
            format!("{asked}{}", run.id)
        }
        Happened::Accepted(accepted) => accepted.by.clone(),
        Happened::Deleted(_) => return vec![row(context, one, at_work)],
    };
    let below = vec![String::new(), String::new(), String::new(), String::new(), escape(&by)];
    vec![row(context, one, at_work), below]
}

fn row(context: &Context, one: &Happened, at_work: bool) -> Vec<String> {
    let local = |at: DateTime<Utc>| at.with_timezone(&context.settings.zone).format("%Y-%m-%d %H:%M:%S").to_string();
    match one {
        Happened::Run(run) => {
            let end = run.end.as_ref();
            let took = end.map_or_else(String::new, |end| age(end.at - run.started_at));
            let about = end.and_then(|e| e.error.clone().or_else(|| e.file.clone())).unwrap_or_default();
            let outcome = status::of(run, at_work).into_owned();
            vec![local(run.started_at), run.kind.as_str().to_owned(), outcome, took, escape(&about)]
        }
        Happened::Deleted(Deletion { at, file, place, why }) => {
            let place = place.as_ref().map(|place| format!(", {place}")).unwrap_or_default();
            let about = format!("{}{}: {}", escape(file), escape(&place), escape(why));
            vec![local(*at), t!("cmd.history.deleted").into_owned(), String::new(), String::new(), about]
        }
        Happened::Accepted(accepted) => {
            let what = t!("cmd.history.accepted").into_owned();
            vec![local(accepted.at), what, String::new(), String::new(), accepted.id.clone()]
        }
    }
}

/// A run, as every command has it.
pub(super) fn run_as_json(run: &Run) -> serde_json::Value {
    let end = run.end.as_ref();
    json!({
        "what": "run",
        "id": run.id,
        "kind": run.kind.as_str(),
        "asked": run.asked,
        "started_at": run.started_at,
        "finished_at": end.map(|e| e.at),
        "outcome": end.map(|e| Outcome::as_str(e.outcome)),
        "exit": end.map(|e| e.exit),
        "error": end.and_then(|e| e.error.as_deref()),
        "file": end.and_then(|e| e.file.as_deref()),
        "bytes": end.and_then(|e| e.bytes),
    })
}

fn as_json(one: &Happened) -> serde_json::Value {
    match one {
        Happened::Run(run) => run_as_json(run),
        Happened::Deleted(Deletion { at, file, place, why }) => {
            json!({ "what": "deleted", "at": at, "file": file, "place": place, "why": why })
        }
        Happened::Accepted(one) => json!({ "what": "accepted", "at": one.at, "id": one.id, "by": one.by }),
    }
}
