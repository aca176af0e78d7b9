//! `amarre verify`: reads backups again, whole, and says which are as they were.

use rust_i18n::t;
use serde_json::json;

use crate::app::App;
use crate::app::record::{Record, RunKind};
use crate::cli::args::VerifyArgs;
use crate::cli::{Context, timings};
use crate::domain::catalogue::{Catalogue, Entry};
use crate::domain::text::{bytes, escape};
use crate::error::{Exit, Explain, Failure};
use crate::operations::verify::{self, Verified};
use crate::operations::{self, catalogue};

/// Runs the command.
///
/// # Errors
/// What ended it; a backup that differs is not an error but exit code 6.
pub async fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    let app = context.app("verify");
    let operations = app.context().await?;
    let catalogue = catalogue::load(&operations).await?;
    let entries = chosen(&catalogue, args, &operations)?;
    let record = Record::new(&app, RunKind::Verify);
    record.begin(&app);
    let mut results = Vec::new();
    for entry in entries {
        match verify::verify(&operations, entry).await {
            Ok(verified) => results.push(verified),
            Err(error) => {
                let failure = Failure::from(error);
                record.end(&app, failure.exit, None, Some(&failure));
                return Err(failure);
            }
        }
    }
    let exit = results.iter().filter_map(|v| v.result.as_ref().err()).map(of_error);
    // Several may be bad in different ways: a failed proof counts most, as the exit code says it.
    let exit = exit.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Done);
    record.end(&app, exit, None, None);
    show(context, args, &results, exit)?;
    Ok(exit)
}

/// A file that is not what it was is a failed proof, however the damage shows.
fn of_error(error: &operations::Error) -> Exit {
    match error {
        operations::Error::Dump(_) | operations::Error::Unequal { .. } => Exit::ProofFailed,
        other => other.exit(),
    }
}

fn chosen<'a>(
    catalogue: &'a Catalogue,
    args: &VerifyArgs,
    context: &operations::Context,
) -> Result<Vec<&'a Entry>, Failure> {
    let nothing = || operations::Error::NoBackups { place: context.store.place() };
    if !args.names.is_empty() {
        let found: Result<Vec<_>, _> = args.names.iter().map(|name| catalogue.find(name)).collect();
        return Ok(found.map_err(operations::Error::from)?);
    }
    if args.latest {
        return Ok(vec![catalogue.latest_verified().ok_or_else(nothing)?]);
    }
    let all: Vec<&Entry> = catalogue.entries().iter().filter(|entry| verify::readable(entry)).collect();
    if all.is_empty() { Err(nothing().into()) } else { Ok(all) }
}

fn show(context: &Context, args: &VerifyArgs, results: &[Verified], exit: Exit) -> Result<(), Failure> {
    let bad = results.iter().filter(|v| v.result.is_err()).count();
    if args.json {
        let list: Vec<_> = results.iter().map(as_json).collect();
        return context.output.json(&json!({
            "format": 1,
            "exit": exit as u8,
            "backups": list,
            "peak_rss_bytes": App::peak_memory(),
        }));
    }
    for verified in results {
        let file = escape(&verified.file);
        match &verified.result {
            Ok(proof) => {
                let content = &proof.scan.content;
                let (rows, tables, size) = (content.rows(), content.tables.len(), bytes(proof.plain.bytes));
                let key = if verified.proven { "cmd.verify.equal" } else { "cmd.verify.whole" };
                context.output.data(&t!(key, file = file, rows = rows, tables = tables, size = size))?;
            }
            Err(error) => {
                context.output.data(&t!("cmd.verify.bad", file = file, error = error))?;
                if let Some(hint) = error.hint() {
                    context.output.message(&t!("common.hint", text = hint));
                }
            }
        }
        if args.timings {
            context.show_timings(&verified.timings)?;
        }
    }
    context.output.message(&t!("cmd.verify.counts", good = results.len() - bad, bad = bad));
    context.tell_memory();
    Ok(())
}

fn as_json(verified: &Verified) -> serde_json::Value {
    let proof = verified.result.as_ref().ok();
    json!({
        "file": verified.file,
        "good": verified.result.is_ok(),
        "compared_with_manifest": verified.proven,
        "error": verified.result.as_ref().err().map(ToString::to_string),
        "stored": proof.map(|p| &p.stored),
        "plain": proof.map(|p| &p.plain),
        "rows": proof.map(|p| p.scan.content.rows()),
        "tables": proof.map(|p| p.scan.content.tables.len()),
        "timings": timings::json(&verified.timings),
    })
}
