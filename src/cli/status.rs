//! `amarre status`: the last runs, and who is at work.

use rust_i18n::t;
use serde_json::json;

use crate::app::record::{Outcome, Run, RunKind};
use crate::cli::args::JsonArgs;
use crate::cli::{Context, output};
use crate::domain::text::{age, escape};
use crate::error::{Exit, Failure};

/// How many runs are shown.
const SHOWN: u32 = 20;

/// Runs the command.
///
/// # Errors
/// When the journal cannot be read.
pub async fn run(context: &Context, args: &JsonArgs) -> Result<Exit, Failure> {
    let app = context.app("status");
    let runs = app.journal().runs(SHOWN)?;
    let holder = app.holder();
    if args.json {
        let list: Vec<_> = runs.iter().map(as_json).collect();
        context.output.json(&json!({ "format": 1, "at_work": holder, "runs": list }))?;
        return Ok(Exit::Done);
    }
    let at_work = holder.is_some();
    if let Some(holder) = holder {
        context.output.data(&t!("cmd.status.at_work", holder = escape(&holder)))?;
    }
    if runs.is_empty() {
        context.output.message(&t!("cmd.status.none"));
        return Ok(Exit::Done);
    }
    let now = context.clock.now();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let end = run.end.as_ref();
            let about = end.and_then(|e| e.error.clone().or_else(|| e.file.clone())).unwrap_or_default();
            // Only the next run that takes the lock writes down that it was killed. A reading takes none.
            let unended = if at_work || run.kind == RunKind::Verify {
                t!("cmd.status.running")
            } else {
                outcome(Outcome::Interrupted)
            };
            let outcome = end.map_or(unended, |e| outcome(e.outcome));
            vec![age(now - run.started_at), run.kind.as_str().to_owned(), outcome.into_owned(), escape(&about)]
        })
        .collect();
    let headers = ["age", "run", "outcome", "about"].map(|key| t!(format!("cmd.status.{key}")));
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows))?;
    Ok(Exit::Done)
}

fn outcome(outcome: Outcome) -> std::borrow::Cow<'static, str> {
    t!(format!("cmd.status.{}", outcome.as_str()))
}

fn as_json(run: &Run) -> serde_json::Value {
    let end = run.end.as_ref();
    json!({
        "id": run.id,
        "kind": run.kind.as_str(),
        "started_at": run.started_at,
        "finished_at": end.map(|e| e.at),
        "outcome": end.map(|e| e.outcome.as_str()),
        "exit": end.map(|e| e.exit),
        "error": end.and_then(|e| e.error.as_deref()),
        "file": end.and_then(|e| e.file.as_deref()),
        "bytes": end.and_then(|e| e.bytes),
    })
}
