//! `amarre notify`: who is told of what, what is still on its way, and a test of each channel.

use rust_i18n::t;
use serde_json::json;

use crate::app::App;
use crate::app::tell::Tried;
use crate::cli::args::NotifyArgs;
use crate::cli::{Context, output};
use crate::domain::notice::Kind;
use crate::domain::text::age;
use crate::error::{Exit, Failure};

/// Runs the command.
///
/// # Errors
/// Exit code 2 where there is no channel.
pub async fn run(context: &Context, args: &NotifyArgs) -> Result<Exit, Failure> {
    let app = context.app("notify");
    let kind = args.kind.as_deref().and_then(Kind::parse);
    let channels = &context.settings.notify.channels;
    if !channels.iter().any(|channel| kind.is_none_or(|kind| kind == channel.kind)) {
        let message = match kind {
            Some(kind) => t!("cmd.notify.none_of", kind = kind),
            None => t!("cmd.notify.none"),
        };
        let hint = Some(t!("cmd.notify.none_hint").into_owned());
        return Err(Failure { message: message.into_owned(), hint, exit: Exit::Usage });
    }
    if args.test { test(context, &app.try_channels(kind).await, args.json) } else { list(context, &app, args.json) }
}

fn test(context: &Context, tried: &[Tried], as_json: bool) -> Result<Exit, Failure> {
    let failed = tried.iter().filter(|one| one.result.is_err()).count();
    let exit = if failed == 0 { Exit::Done } else { Exit::Failed };
    if as_json {
        let results = tried.iter().map(|one| {
            let failure = one.result.as_ref().err();
            json!({
                "id": one.channel.id,
                "kind": one.channel.kind.as_str(),
                "target": one.channel.shown,
                "ok": failure.is_none(),
                "error": failure.map(|failure| &failure.message),
                "hint": failure.and_then(|failure| failure.hint.as_ref()),
            })
        });
        let results: Vec<_> = results.collect();
        context.output.json(&json!({ "format": 1, "exit": exit as u8, "results": results }))?;
        return Ok(exit);
    }
    for one in tried {
        let verdict = if one.result.is_ok() { t!("doctor.verdict.ok") } else { t!("doctor.verdict.failure") };
        context.output.data(&format!("{verdict:<8} {:<9} {}", one.channel.kind.as_str(), one.channel.shown))?;
        if let Err(failure) = &one.result {
            context.output.data(&format!("{:<18} {}", "", failure.message))?;
            if let Some(hint) = &failure.hint {
                context.output.data(&format!("{:<18} -> {hint}", ""))?;
            }
        }
    }
    context.output.message(&t!("cmd.notify.counts", ok = tried.len() - failed, failed = failed));
    Ok(exit)
}

fn list(context: &Context, app: &App, as_json: bool) -> Result<Exit, Failure> {
    let n = &context.settings.notify;
    let counts = app.post_counts()?;
    let of = |id: &str| counts.iter().find(|count| count.channel == id);
    if as_json {
        let channels = n.channels.iter().map(|channel| {
            let count = of(&channel.id);
            json!({
                "id": channel.id,
                "kind": channel.kind.as_str(),
                "target": channel.shown,
                "level": channel.level.as_str(),
                "waiting": count.map_or(0, |count| count.waiting),
                "waiting_since": count.and_then(|count| count.oldest),
                "sent": count.map_or(0, |count| count.sent),
                "last_sent_at": count.and_then(|count| count.last_sent),
                "given_up": count.map_or(0, |count| count.given_up),
                "last_error": count.and_then(|count| count.last_error.as_ref()),
            })
        });
        let channels: Vec<_> = channels.collect();
        context.output.json(&json!({ "format": 1, "weekly_digest": n.weekly, "channels": channels }))?;
        return Ok(Exit::Done);
    }
    let now = context.clock.now();
    let rows = n.channels.iter().map(|channel| {
        let count = of(&channel.id);
        let last = count.and_then(|count| count.last_sent).map_or_else(|| "-".to_owned(), |at| age(now - at));
        let numbers = [count.map_or(0, |count| count.waiting), count.map_or(0, |count| count.given_up)];
        let [waiting, given_up] = numbers.map(|number| number.to_string());
        vec![
            channel.kind.as_str().to_owned(),
            channel.level.to_string(),
            last,
            waiting,
            given_up,
            channel.shown.clone(),
        ]
    });
    let headers = ["kind", "level", "last", "waiting", "given_up", "target"].map(|key| t!(format!("cmd.notify.{key}")));
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows.collect::<Vec<_>>()))?;
    // What was given up long ago, and what has come through since, is no news.
    let is_troubled =
        |channel: &&crate::settings::notify::Channel| of(&channel.id).is_some_and(|count| count.waiting > 0);
    for channel in n.channels.iter().filter(is_troubled) {
        if let Some(error) = of(&channel.id).and_then(|count| count.last_error.as_deref()) {
            context.output.message(&t!("cmd.notify.trouble", kind = channel.kind, cause = error));
        }
    }
    Ok(Exit::Done)
}
