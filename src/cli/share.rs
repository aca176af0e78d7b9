//! `amarre share`: an address by which a backup can be read for a while, without keys.

use chrono::TimeDelta;
use rust_i18n::t;
use serde_json::json;

use crate::app::record::{Record, RunKind};
use crate::cli::Context;
use crate::cli::args::ShareArgs;
use crate::error::{Exit, Failure};
use crate::operations::{self, fetch};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &ShareArgs) -> Result<Exit, Failure> {
    let app = context.app("share");
    let operations = app.context().await?;
    let found = fetch::find(&operations, &args.wanted).await?;
    let Some(found) = found.into_iter().next() else { return Err(operations::Error::NoRemote.into()) };
    let record = Record::new(&app, RunKind::Share);
    let address = found.store.share(&found.file, args.time).await?;
    // Who gave the backup away, and when, can be asked for later; the address cannot.
    let bytes = found.manifest.as_ref().map_or(0, |manifest| manifest.stored.bytes);
    record.end(&app, Exit::Done, Some((found.file.clone(), bytes)), None);
    let time = TimeDelta::from_std(args.time).unwrap_or(TimeDelta::days(7));
    let until = (context.clock.now() + time).with_timezone(&context.settings.zone);
    let stored = found.manifest.as_ref().map(|manifest| &manifest.stored);
    if args.json {
        context.output.json_as_it_is(&json!({
            "format": 1,
            "file": found.file,
            "place": found.store.place(),
            "url": address,
            "until": until.to_rfc3339(),
            "stored": stored,
        }))?;
        return Ok(Exit::Done);
    }
    // It is a secret itself: whoever has it reads the backup. Only where it was asked for.
    context.output.as_it_is(&address)?;
    context.output.message(&t!("cmd.share.until", until = until.format("%Y-%m-%d %H:%M %Z")));
    if let Some(stored) = stored {
        context.output.message(&t!("cmd.share.sha256", sha256 = stored.sha256));
    }
    Ok(Exit::Done)
}
