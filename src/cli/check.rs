//! `amarre check`: whether somebody is needed, one line each; for cron and people.

use rust_i18n::t;
use serde_json::json;

use crate::app::post::COMMAND_LIMIT;
use crate::cli::Context;
use crate::cli::args::CheckArgs;
use crate::domain::alert::Alert;
use crate::error::{Exit, Failure};

/// Runs the command. Exit code 1 where there is something.
///
/// # Errors
/// When the directory cannot be read.
pub async fn run(context: &Context, args: &CheckArgs) -> Result<Exit, Failure> {
    let app = context.app("check");
    let (alerts, changes) = app.check().await?;
    app.deliver(&context.cancel, COMMAND_LIMIT).await;
    if args.json {
        let list: Vec<_> = alerts
            .iter()
            .map(|alert| {
                let level = if alert.kind.is_failure() { "failure" } else { "warning" };
                json!({ "kind": alert.kind, "level": level, "text": alert.text, "hint": alert.hint })
            })
            .collect();
        context.output.json(&json!({ "format": 1, "alerts": list }))?;
    } else if args.changes {
        for change in &app.unshown(&alerts) {
            context.output.data(&app.told(change))?;
        }
    } else {
        show(context, &alerts)?;
        for over in changes.iter().filter(|change| change.is_over()) {
            context.output.message(&app.told(over));
        }
    }
    Ok(if alerts.is_empty() { Exit::Done } else { Exit::Failed })
}

fn show(context: &Context, alerts: &[Alert]) -> Result<(), Failure> {
    if alerts.is_empty() {
        context.output.message(&t!("cmd.check.none"));
    }
    for alert in alerts {
        let level = if alert.kind.is_failure() { t!("alert.failure") } else { t!("alert.warning") };
        context.output.data(&format!("{level}: {}", alert.text))?;
        context.output.message(&t!("common.hint", text = alert.hint));
    }
    Ok(())
}
