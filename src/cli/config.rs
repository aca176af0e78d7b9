//! `amarre config`: what holds and where it comes from, secrets hidden.

use rust_i18n::t;
use serde_json::json;

use crate::cli::Context;
use crate::cli::args::JsonArgs;
use crate::cli::output::table;
use crate::error::{Exit, Failure};
use crate::settings::Entry;

/// Runs the command.
///
/// # Errors
/// When standard output cannot take it.
pub fn run(context: &Context, args: &JsonArgs) -> Result<Exit, Failure> {
    let entries = &context.settings.entries;
    if args.json {
        context.output.json(&json!({ "format": 1, "settings": entries }))?;
    } else {
        let rows: Vec<_> = entries.iter().map(row).collect();
        let headers = [t!("cli.config.name"), t!("cli.config.value"), t!("cli.config.origin")];
        context.output.data(&table(&headers.each_ref().map(AsRef::as_ref), &rows))?;
    }
    Ok(Exit::Done)
}

fn row(entry: &Entry) -> Vec<String> {
    let value = entry.value.clone().unwrap_or_else(|| "-".to_owned());
    vec![entry.name.to_owned(), value, entry.origin.to_string()]
}
