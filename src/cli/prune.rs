//! `amarre prune`: retention now. Replaced databases whose time is over go with it.

use rust_i18n::t;
use serde_json::json;

use crate::app::App;
use crate::app::record::{self, Pruned};
use crate::cli::args::PruneArgs;
use crate::cli::{Context, output};
use crate::domain::retention::{Action, Decision, Plan};
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations::{prune, remote};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &PruneArgs) -> Result<Exit, Failure> {
    let app = context.app("prune");
    let operations = app.context().await?;
    if args.dry_run {
        let plan = prune::plan(&operations).await?;
        let mut plans = Pruned { here: plan, there: Vec::new() };
        for remote in &operations.remotes {
            plans.add(&app, remote, remote::plan(&operations, remote).await);
        }
        show(context, args, &plans)?;
        if !args.json {
            context.output.message(&t!("cmd.prune.dry"));
        }
        return Ok(plans.exit());
    }
    let plans = record::prune(&app).await?;
    let exit = plans.exit();
    // A server that is away keeps its databases; what lies in the store was pruned all the same.
    if let Err(failure) = app.expire_now().await {
        if context.cancel.is_cancelled() {
            return Err(failure);
        }
        context.output.warning(&failure.message, failure.hint.as_deref());
    }
    show(context, args, &plans)?;
    if !args.json {
        context.tell_memory();
    }
    Ok(exit)
}

fn decisions(plan: &Plan) -> Vec<serde_json::Value> {
    let one =
        |d: &Decision| json!({ "file": d.file, "delete": d.action == Action::Delete, "reason": d.reason.to_string() });
    plan.decisions.iter().map(one).collect()
}

fn show(context: &Context, args: &PruneArgs, plans: &Pruned) -> Result<(), Failure> {
    if args.json {
        let there = plans.there.iter();
        let there: Vec<_> =
            there.map(|(place, plan)| json!({ "place": place, "decisions": plan.as_ref().map(decisions) })).collect();
        return context.output.json(&json!({
            "format": 1,
            "dry_run": args.dry_run,
            "decisions": decisions(&plans.here),
            "remotes": there,
            "peak_rss_bytes": App::peak_memory(),
        }));
    }
    if plans.here.decisions.is_empty() {
        context.output.message(&t!("cmd.prune.nothing"));
    } else {
        table(context, &plans.here)?;
    }
    let there = plans.there.iter().filter_map(|(place, plan)| Some((place, plan.as_ref()?)));
    for (place, plan) in there.filter(|(_, plan)| !plan.decisions.is_empty()) {
        context.output.data(&format!("{place}:"))?;
        table(context, plan)?;
    }
    Ok(())
}

fn table(context: &Context, plan: &Plan) -> Result<(), Failure> {
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
