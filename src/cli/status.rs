//! `amarre status`: the last runs, and who is at work.

use std::collections::BTreeMap;

use rust_i18n::t;
use serde_json::json;

use crate::app::record::{Outcome, Run, RunKind};
use crate::app::{Job, JobState};
use crate::cli::args::JsonArgs;
use crate::cli::{Context, history, output};
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
    let runs = app.recalled_journal().await.runs(SHOWN)?;
    let holder = app.holder();
    let jobs = app.jobs();
    if args.json {
        let list: Vec<_> = runs.iter().map(history::run_as_json).collect();
        context.output.json(&json!({ "format": 1, "at_work": holder, "jobs": jobs, "runs": list }))?;
        return Ok(Exit::Done);
    }
    let at_work = holder.is_some();
    if let Some(holder) = holder {
        context.output.data(&t!("cmd.status.at_work", holder = escape(&holder)))?;
    }
    show_jobs(context, &jobs)?;
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
            vec![age(now - run.started_at), run.kind.as_str().to_owned(), of(run, at_work).into_owned(), escape(&about)]
        })
        .collect();
    let headers = ["age", "run", "outcome", "about"].map(|key| t!(format!("cmd.status.{key}")));
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows))?;
    Ok(Exit::Done)
}

/// What the supervisor's jobs do, and how they last ended.
fn show_jobs(context: &Context, jobs: &BTreeMap<Job, JobState>) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    let now = context.clock.now();
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|(job, state)| {
            let does = match state.running_since {
                Some(since) => t!("cmd.status.since", age = age(now - since)),
                None => t!("cmd.status.idle"),
            };
            let last = state.ended_at.map(|at| age(now - at)).unwrap_or_default();
            let outcome = state.outcome.map(|outcome| t!(format!("cmd.status.job.{}", outcome.as_str())).into_owned());
            vec![job.as_str().to_owned(), does.into_owned(), last, outcome.unwrap_or_default()]
        })
        .collect();
    let headers = ["job", "does", "last", "outcome"].map(|key| t!(format!("cmd.status.{key}")));
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows))?;
    context.output.data("")
}

/// How a run ended, in words.
pub(super) fn of(run: &Run, at_work: bool) -> std::borrow::Cow<'static, str> {
    match &run.end {
        Some(end) => outcome(end.outcome),
        // Only the next run that takes the lock writes down that it was killed. A reading takes none.
        None if at_work || run.kind == RunKind::Verify => t!("cmd.status.running"),
        None => outcome(Outcome::Interrupted),
    }
}

fn outcome(outcome: Outcome) -> std::borrow::Cow<'static, str> {
    t!(format!("cmd.status.{}", outcome.as_str()))
}
