//! `amarre delete`: one backup, for good. Asks before, and is written down.

use rust_i18n::t;
use serde_json::json;

use crate::app::record::{Record, RunKind};
use crate::cli::args::DeleteArgs;
use crate::cli::{Context, prompt};
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations::erase::{self, Lies};

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &DeleteArgs) -> Result<Exit, Failure> {
    let app = context.app("delete");
    let operations = app.context().await?;
    let lies = erase::find(&operations, &args.wanted, args.everywhere).await?;
    if !lies.here && !args.everywhere {
        return Err(Failure {
            message: t!("cmd.delete.not_here", file = escape(&lies.file), places = lies.places.join(", ")).into_owned(),
            hint: Some(t!("cmd.delete.not_here_hint").into_owned()),
            exit: Exit::Usage,
        });
    }
    show(context, args, &lies);
    confirm(context, args, &lies).await?;
    let record = Record::new(&app, RunKind::Delete);
    let result = async {
        let _lock = app.lock(&operations).await?;
        record.begin(&app);
        Ok::<_, Failure>(erase::erase(&operations, &lies, args.everywhere).await?)
    }
    .await;
    let exit = result.as_ref().map_or_else(|failure| failure.exit, |()| Exit::Done);
    record.end(&app, exit, Some((lies.file.clone(), 0)), result.as_ref().err());
    result?;
    if args.json {
        let places = if args.everywhere { lies.places.as_slice() } else { &[] };
        context.output.json(&json!({ "format": 1, "file": lies.file, "local": lies.here, "remotes": places }))?;
    } else {
        context.output.message(&t!("cmd.delete.done", file = escape(&lies.file)));
    }
    Ok(Exit::Done)
}

fn show(context: &Context, args: &DeleteArgs, lies: &Lies) {
    let say = |text: &str| context.output.plan(text);
    say(&t!("cmd.delete.title", file = escape(&lies.file)));
    if lies.here {
        say(&format!(
            "- {}",
            t!("cmd.delete.here", directory = escape(&context.settings.backup_dir.display().to_string()))
        ));
    }
    for place in &lies.places {
        let key = if args.everywhere { "cmd.delete.there" } else { "cmd.delete.stays" };
        say(&format!("- {}", t!(key, place = place)));
    }
}

/// `--yes-delete` must name the file: a script must not delete what it does not mean.
async fn confirm(context: &Context, args: &DeleteArgs, lies: &Lies) -> Result<(), Failure> {
    match &args.yes_delete {
        Some(named) if *named == lies.file => Ok(()),
        Some(named) => Err(Failure {
            message: t!("cmd.delete.wrong_name", named = escape(named), file = escape(&lies.file)).into_owned(),
            hint: Some(t!("cmd.delete.wrong_name_hint", file = escape(&lies.file)).into_owned()),
            exit: Exit::NotConfirmed,
        }),
        None => Ok(prompt::confirm(&context.output, context.settings.prompt_timeout, &context.cancel).await?),
    }
}
