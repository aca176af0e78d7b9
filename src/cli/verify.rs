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
use crate::operations::{self, catalogue, heal};

/// Runs the command.
///
/// # Errors
/// What ended it; a backup that differs is not an error but exit code 6.
pub async fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    let app = context.app("verify");
    let operations = app.context().await?;
    if args.remote {
        return there(context, args, &app, &operations).await;
    }
    let catalogue = catalogue::load(&operations).await?;
    let entries = chosen(&catalogue, args, &operations)?;
    let record = Record::new(&app, RunKind::Verify);
    record.begin(&app);
    let mut results = Vec::new();
    for entry in entries {
        let verified = match verify::verify(&operations, entry).await {
            Ok(verified) if args.heal && verified.result.is_err() => healed(&app, &operations, entry, verified).await,
            other => other.map_err(Failure::from),
        };
        match verified {
            Ok(verified) => results.push(verified),
            Err(failure) => {
                record.end(&app, failure.exit, None, Some(&failure));
                return Err(failure);
            }
        }
    }
    let exit = results.iter().filter_map(|v| v.result.as_ref().err()).map(of_error);
    // Several may be bad in different ways: a failed proof counts most, as the exit code says it.
    let exit = exit.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Done);
    if let [one] = results.as_slice() {
        record.stages(&app, &one.timings);
    }
    let bad = results.iter().find_map(|v| Some((v.file.clone(), v.result.as_ref().err()?)));
    let failure = bad.as_ref().map(|(_, error)| Failure { message: error.to_string(), hint: None, exit });
    record.end(&app, exit, bad.map(|(file, _)| (file, 0)), failure.as_ref());
    show(context, args, &results, exit)?;
    Ok(exit)
}

/// Takes the good copy of a second place, and reads it again.
async fn healed(
    app: &App,
    operations: &operations::Context,
    entry: &Entry,
    bad: Verified,
) -> Result<Verified, Failure> {
    let healed = async {
        let _lock = app.lock(operations).await?;
        // As it is known by now: set aside.
        let here = catalogue::load(operations).await?;
        match here.entries().iter().find(|now| now.file == entry.file) {
            Some(now) => Ok::<_, Failure>(heal::heal(operations, now).await?),
            None => Ok(None),
        }
    };
    match healed.await {
        Ok(Some(_)) => Ok(verify::verify(operations, entry).await?),
        Ok(None) => {
            app.warn(t!("heal.none", file = escape(&entry.file)));
            Ok(bad)
        }
        Err(failure) if operations.cancel.is_cancelled() => Err(failure),
        Err(failure) => {
            app.warn(failure.message);
            Ok(bad)
        }
    }
}

/// What was found in a second place.
struct There {
    place: String,
    file: String,
    bad: Option<operations::Error>,
    healed: bool,
}

/// Reads the copies elsewhere.
async fn there(
    context: &Context,
    args: &VerifyArgs,
    app: &App,
    operations: &operations::Context,
) -> Result<Exit, Failure> {
    if operations.remotes.is_empty() {
        return Err(operations::Error::NoRemote.into());
    }
    let record = Record::new(app, RunKind::Verify);
    record.begin(app);
    let read = read_there(args, app, operations).await;
    let bad = read.iter().flatten().filter(|one| !one.healed).filter_map(|one| Some((one, one.bad.as_ref()?)));
    let bad: Vec<_> = bad.collect();
    let exit = match &read {
        Ok(_) => bad.iter().map(|(_, error)| of_error(error)).max_by_key(|exit| *exit as u8).unwrap_or(Exit::Done),
        Err(failure) => failure.exit,
    };
    let found = bad.first().map(|(one, error)| {
        let message = format!("{} ({}): {error}", escape(&one.file), escape(&one.place));
        Failure { message, hint: None, exit }
    });
    record.end(app, exit, bad.first().map(|(one, _)| (one.file.clone(), 0)), read.as_ref().err().or(found.as_ref()));
    show_there(context, args, &read?, exit)?;
    Ok(exit)
}

async fn read_there(args: &VerifyArgs, app: &App, operations: &operations::Context) -> Result<Vec<There>, Failure> {
    let (mut read, mut unfound) = (Vec::new(), None);
    for remote in &operations.remotes {
        let catalogue = match heal::load_there(operations, remote).await {
            Ok(catalogue) => catalogue.only_with_manifest(),
            Err(operations::Error::Cancelled) => return Err(operations::Error::Cancelled.into()),
            // The other places are read all the same.
            Err(error) => {
                app.warn(error.to_string());
                unfound = Some(error.into());
                continue;
            }
        };
        let entries = match chosen(&catalogue, args, operations) {
            Ok(entries) => entries,
            // Another place may have it.
            Err(failure) => {
                unfound = unfound.or(Some(failure));
                continue;
            }
        };
        for entry in entries.into_iter().filter(|entry| entry.own) {
            let Some(manifest) = &entry.manifest else { continue };
            let (place, file) = (remote.store.place(), entry.file.clone());
            let bad = match heal::check_there(operations, remote, manifest).await {
                Ok(()) => None,
                Err(operations::Error::Cancelled) => return Err(operations::Error::Cancelled.into()),
                Err(error) => Some(error),
            };
            let mut healed = false;
            // A store that did not answer says nothing about the copy.
            let damaged = matches!(
                bad,
                Some(
                    operations::Error::Unequal { .. }
                        | operations::Error::Store(operations::StoreError::Missing { .. })
                )
            );
            if args.heal && damaged {
                match heal::heal_there(operations, remote, manifest).await {
                    Ok(true) => healed = true,
                    Ok(false) => app.warn(t!("heal.none_here", file = escape(&file))),
                    Err(operations::Error::Cancelled) => return Err(operations::Error::Cancelled.into()),
                    Err(error) => app.warn(t!("heal.failed", file = escape(&file), cause = error)),
                }
            }
            read.push(There { place, file, bad, healed });
        }
    }
    match unfound {
        Some(failure) if read.is_empty() || failure.exit != Exit::Usage => Err(failure),
        _ => Ok(read),
    }
}

fn show_there(context: &Context, args: &VerifyArgs, read: &[There], exit: Exit) -> Result<(), Failure> {
    if args.json {
        let list: Vec<_> = read
            .iter()
            .map(|one| {
                let error = one.bad.as_ref().map(ToString::to_string);
                json!({ "file": one.file, "place": one.place, "good": one.bad.is_none(), "error": error, "healed": one.healed })
            })
            .collect();
        return context.output.json(&json!({
            "format": 1,
            "exit": exit as u8,
            "remotes": list,
            "peak_rss_bytes": App::peak_memory(),
        }));
    }
    for one in read {
        let file = escape(&one.file);
        match &one.bad {
            None => context.output.data(&t!("cmd.verify.equal_there", file = file, place = one.place))?,
            Some(error) => {
                context.output.data(&t!("cmd.verify.bad_there", file = file, place = one.place, error = error))?;
                if let (false, Some(hint)) = (one.healed, error.hint()) {
                    context.output.message(&t!("common.hint", text = hint));
                }
            }
        }
    }
    let bad = read.iter().filter(|one| one.bad.is_some() && !one.healed).count();
    context.output.message(&t!("cmd.verify.counts", good = read.len() - bad, bad = bad));
    context.tell_memory();
    Ok(())
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
