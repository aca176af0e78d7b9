//! `amarre accept`: a suspicious backup is as it should be. What it held back goes its usual way from then on.

use rust_i18n::t;
use serde_json::json;

use crate::cli::Context;
use crate::cli::args::AcceptArgs;
use crate::domain::catalogue::Entry;
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations::{self, accept, catalogue};

/// Runs the command.
///
/// # Errors
/// What ended it: a name that is none, a backup that looks as usual, a journal that cannot be written.
pub async fn run(context: &Context, args: &AcceptArgs) -> Result<Exit, Failure> {
    let app = context.app("accept");
    let operations = app.context().await?;
    let catalogue = catalogue::load(&operations).await?;
    let entries: Vec<&Entry> = if args.every {
        catalogue.entries().iter().filter(|entry| entry.own && entry.is_suspicious()).collect()
    } else {
        let found: Result<Vec<_>, _> = args.names.iter().map(|name| catalogue.find(name)).collect();
        found.map_err(operations::Error::from)?
    };
    let accepted = accept::accept(&operations, &entries, &app.asked)?;
    if args.json {
        let list: Vec<_> = accepted.iter().map(|(file, id)| json!({ "file": file, "id": id })).collect();
        context.output.json(&json!({ "format": 1, "accepted": list }))?;
        return Ok(Exit::Done);
    }
    for (file, _) in &accepted {
        context.output.data(&t!("cmd.accept.done", file = escape(file)))?;
    }
    if accepted.is_empty() {
        context.output.message(&t!("cmd.accept.none"));
    }
    Ok(Exit::Done)
}
