//! `amarre prune`: retention now. Replaced databases whose time is over go with it.

use rust_i18n::t;
use serde_json::json;

use crate::app::App;
use crate::app::record::{Record, RunKind};
use crate::cli::args::PruneArgs;
use crate::cli::{Context, output};
use crate::domain::retention::{Action, Plan};
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations::{self, prune};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &PruneArgs) -> Result<Exit, Failure> {
    let app = context.app("prune");
    let operations = app.context().await?;
    if args.dry_run {
        let plan = prune::plan(&operations).await?;
        show(context, args, &plan)?;
        if !args.json {
            context.output.message(&t!("cmd.prune.dry"));
        }
        return Ok(Exit::Done);
    }
    let record = Record::new(&app, RunKind::Prune);
    let result = apply(&app, &operations, &record).await;
    let exit = result.as_ref().map_or_else(|failure| failure.exit, |_| Exit::Done);
    record.end(&app, exit, None, result.as_ref().err());
    let plan = result?;
    // A server that is away keeps its databases; what lies in the store was pruned all the same.
    if let Err(failure) = app.expire_now().await {
        if context.cancel.is_cancelled() {
            return Err(failure);
        }
        context.output.warning(&failure.message, failure.hint.as_deref());
    }
    show(context, args, &plan)?;
    if !args.json {
        context.tell_memory();
    }
    Ok(Exit::Done)
}

async fn apply(app: &App, operations: &operations::Context, record: &Record) -> Result<Plan, Failure> {
    let _lock = app.lock(operations).await?;
    record.begin(app);
    Ok(prune::apply(operations).await?)
}

fn show(context: &Context, args: &PruneArgs, plan: &Plan) -> Result<(), Failure> {
    if args.json {
        let decisions: Vec<_> = plan
            .decisions
            .iter()
            .map(|d| json!({ "file": d.file, "delete": d.action == Action::Delete, "reason": d.reason.to_string() }))
            .collect();
        return context.output.json(&json!({
            "format": 1,
            "dry_run": args.dry_run,
            "decisions": decisions,
            "peak_rss_bytes": App::peak_memory(),
        }));
    }
    if plan.decisions.is_empty() {
        context.output.message(&t!("cmd.prune.nothing"));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = plan
        .decisions
        .iter()
        .map(|decision| {
            let what = match decision.action {
                Action::Delete => t!("cmd.prune.delete"),
                Action::Keep => t!("cmd.prune.keep"),
            };
            vec![escape(&decision.file), what.into_owned(), decision.reason.to_string()]
        })
        .collect();
    let headers = [t!("cmd.list.name"), t!("cmd.prune.what"), t!("cmd.prune.why")];
    context.output.data(&output::table_of_names(&headers.each_ref().map(AsRef::as_ref), &rows))
}
