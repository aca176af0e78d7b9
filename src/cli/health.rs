//! `amarre health`: the image's health check.

use rust_i18n::t;
use serde_json::json;

use crate::app::Health;
use crate::cli::Context;
use crate::cli::args::JsonArgs;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// When the directory cannot be read.
pub async fn run(context: &Context, args: &JsonArgs) -> Result<Exit, Failure> {
    let (health, catalogue) = context.app("health").health().await?;
    let newest = catalogue.latest_verified().map(|entry| entry.date);
    let date = newest.map(|d| d.with_timezone(&context.settings.zone).format("%Y-%m-%d %H:%M:%S").to_string());
    let text = match (health, &date) {
        (Health::Good, Some(date)) => t!("cmd.health.good", date = date),
        (Health::Good, None) => t!("cmd.health.good_none"),
        (Health::NotRunning, _) => t!("cmd.health.not_running"),
        (Health::Stuck, _) => t!("cmd.health.stuck"),
        (Health::Overdue, Some(date)) => t!("cmd.health.overdue", date = date),
        (Health::Overdue, None) => t!("cmd.health.overdue_none"),
    };
    if args.json {
        context.output.json(&json!({ "format": 1, "health": health, "newest": newest, "text": text }))?;
    } else {
        context.output.data(&text)?;
    }
    Ok(if health == Health::Good { Exit::Done } else { Exit::Failed })
}
