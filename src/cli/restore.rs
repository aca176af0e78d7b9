//! `amarre restore`: shows what will happen, asks for `OUI`, does it, and shows what came of it.

use chrono::{DateTime, Utc};
use rust_i18n::t;
use serde_json::json;

use crate::app::App;
use crate::app::record::{Record, RunKind};
use crate::cli::args::{RestoreArgs, Source as Wanted};
use crate::cli::{Context, output, prompt, timings};
use crate::domain::text::{age, bytes, escape};
use crate::error::{Exit, Failure};
use crate::operations;
use crate::operations::fetch::{self, Found};
use crate::operations::restore::{self, Plan, Request, Restored, Source, UndoPlan};

/// The scripts' rule: a restore over ten minutes is looked into.
const SLOW_SECONDS: i64 = 600;

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &RestoreArgs) -> Result<Exit, Failure> {
    let app = context.app("restore");
    let source = match args.source()? {
        Wanted::Undo => return undo(context, &app, args).await,
        wanted => wanted,
    };
    named_right(context, args)?;
    let record = Record::new(&app, RunKind::Restore);
    let (operations, plan) = match prepare(context, &app, source, args).await {
        Ok(Prepared::Ready(operations, plan)) => (*operations, *plan),
        Ok(Prepared::Looked) => return Ok(Exit::Done),
        Ok(Prepared::Thawing(failure)) => return Err(failure),
        Err(failure) => {
            // A look, a wrong name and a "no" are no restore.
            if !args.dry_run && !matches!(failure.exit, Exit::Usage | Exit::NotConfirmed) {
                record.end(&app, failure.exit, None, Some(&failure));
            }
            return Err(failure);
        }
    };
    let record = record.from_now(&app);
    let result = execute(&app, &operations, &plan, &record).await;
    let exit = result.as_ref().map_or_else(|failure| failure.exit, |_| Exit::Done);
    let about = plan.manifest.as_ref().map(|m| (m.file.clone(), m.stored.bytes));
    if let Ok(restored) = &result {
        record.stages(&app, &restored.timings);
    }
    record.end(&app, exit, about, result.as_ref().err());
    show_result(context, args, &plan, &result?)?;
    Ok(Exit::Done)
}

/// What came of all that is done before the first change.
enum Prepared {
    /// What is restored is here and was read, and the operator wants it.
    Ready(Box<operations::Context>, Box<Plan>),
    /// It was only a look.
    Looked,
    /// No copy can be read yet: whoever waits for a restore must not take it for done.
    Thawing(Failure),
}

async fn prepare(context: &Context, app: &App, source: Wanted, args: &RestoreArgs) -> Result<Prepared, Failure> {
    let operations = app.context().await?;
    // What a dead run left is mended first, where nobody is at work: the plan is about what holds after that.
    let lock = app.lock(&operations).await?;
    let source = match source {
        Wanted::File(file) => app.source(&file)?,
        Wanted::Bucket(name) => {
            let found = fetch::find(&operations, &name).await?;
            if let Some(thawing) = thaw(&operations, &found, args).await? {
                return Ok(Prepared::Thawing(thawing));
            }
            Source::Name(fetch::first(&operations, &found).await?)
        }
        Wanted::Latest | Wanted::Undo => {
            let found = fetch::newer(&operations).await?;
            if let Some(thawing) = thaw(&operations, &found, args).await? {
                return Ok(Prepared::Thawing(thawing));
            }
            match found.first() {
                Some(newest) => match fetch::first(&operations, &found).await {
                    Ok(file) => Source::Name(file),
                    Err(operations::Error::Cancelled) => return Err(operations::Error::Cancelled.into()),
                    // What lies here is older, and there.
                    Err(error) => {
                        app.warn(t!("fetch.failed", file = escape(&newest.file), cause = error));
                        Source::Latest
                    }
                },
                None => Source::Latest,
            }
        }
    };
    drop(lock);
    let request = Request { source, into: args.into.clone(), drop_old: args.no_keep_old };
    let plan = restore::plan(&operations, request).await?;
    show_plan(context, &plan);
    if args.dry_run {
        if args.json {
            context.output.json(&plan_json(&plan))?;
        } else if args.timings {
            context.show_timings(&plan.timings)?;
        }
        context.output.message(&t!("cmd.restore.dry"));
        return Ok(Prepared::Looked);
    }
    // Beside the live database nothing is replaced, so nothing is asked.
    if plan.request.into.is_none() {
        confirm(context, args).await?;
    }
    Ok(Prepared::Ready(Box::new(operations), Box::new(plan)))
}

/// With `--thaw`, what is frozen is asked for; what is said then.
async fn thaw(
    operations: &operations::Context,
    found: &[Found],
    args: &RestoreArgs,
) -> Result<Option<Failure>, Failure> {
    // A look costs nothing.
    let Some(days) = args.thaw.filter(|_| !args.dry_run) else { return Ok(None) };
    let said = |thawing: fetch::Thawing| Failure {
        message: t!("fetch.not_yet", file = escape(&thawing.file), place = escape(&thawing.place)).into_owned(),
        hint: Some(thawing.said()),
        exit: Exit::Failed,
    };
    Ok(fetch::thaw(operations, found, days).await?.map(said))
}

async fn execute(
    app: &App,
    operations: &operations::Context,
    plan: &Plan,
    record: &Record,
) -> Result<Restored, Failure> {
    let _lock = app.lock(operations).await?;
    record.begin(app);
    Ok(restore::execute(operations, plan).await?)
}

/// `--yes-replace` must name the database: a script copied to another server must not replace what it does not mean.
fn named_right(context: &Context, args: &RestoreArgs) -> Result<(), Failure> {
    let database = &context.settings.database.name;
    match &args.yes_replace {
        Some(named) if named != database => Err(Failure {
            message: t!("cmd.restore.wrong_database", named = escape(named), database = escape(database)).into_owned(),
            hint: Some(t!("cmd.restore.wrong_database_hint", database = escape(database)).into_owned()),
            exit: Exit::NotConfirmed,
        }),
        _ => Ok(()),
    }
}

async fn confirm(context: &Context, args: &RestoreArgs) -> Result<(), Failure> {
    if args.yes_replace.is_some() {
        return Ok(());
    }
    Ok(prompt::confirm(&context.output, context.settings.prompt_timeout, &context.cancel).await?)
}

fn show_plan(context: &Context, plan: &Plan) {
    let database = escape(&plan.database);
    let say = |text: &str| context.output.plan(text);
    match &plan.request.into {
        Some(into) => say(&t!("cmd.restore.title_into", into = escape(into), database = database)),
        None => say(&t!("cmd.restore.title", database = database)),
    }
    let content = &plan.proof.scan.content;
    let (file, date) = (escape(&plan.file), local(context, plan.date));
    say(&t!("cmd.restore.backup", file = file, date = date, age = age(context.clock.now() - plan.date)));
    let version =
        plan.manifest.as_ref().map(|m| m.server_version.clone()).or_else(|| plan.proof.scan.server_version.clone());
    let rows = content.rows() + content.inserts.values().sum::<u64>();
    let tables = content.tables.len() + content.inserts.len();
    let (size, version) = (bytes(plan.proof.plain.bytes), escape(version.as_deref().unwrap_or("?")));
    say(&t!("cmd.restore.holds", rows = rows, tables = tables, size = size, version = version));
    say(&match plan.manifest {
        Some(_) => t!("cmd.restore.proof_equal"),
        None => t!("cmd.restore.proof_whole"),
    });
    if plan.request.into.is_none() {
        show_replacing(context, plan, &say);
    }
    if let Some(owner) = &plan.adopt {
        say(&format!("- {}", t!("cmd.restore.adopts", owner = escape(owner))));
    }
    for notice in &plan.notices {
        say(&format!("- {notice}"));
    }
}

fn show_replacing(context: &Context, plan: &Plan, say: &dyn Fn(&str)) {
    let database = escape(&plan.database);
    let Some(live) = &plan.live else {
        say(&t!("cmd.restore.replaces_none", database = database));
        return;
    };
    let (rows, tables, size) = (live.rows_estimate, live.tables, bytes(live.record.size_bytes));
    say(&t!("cmd.restore.replaces", database = database, rows = rows, tables = tables, size = size));
    say(&format!("- {}", t!("cmd.restore.steps")));
    let hours = context.settings.retention.undo.as_secs() / 3600;
    say(&format!(
        "- {}",
        match plan.request.drop_old {
            true => t!("cmd.restore.drops"),
            false => t!("cmd.restore.keeps", hours = hours),
        }
    ));
    say(&format!("- {}", t!("cmd.restore.writes")));
}

fn show_result(context: &Context, args: &RestoreArgs, plan: &Plan, restored: &Restored) -> Result<(), Failure> {
    if args.json {
        return context.output.json(&result_json(plan, restored));
    }
    let count = |rows: Option<u64>| rows.map_or_else(|| "-".to_owned(), |r| r.to_string());
    let rows: Vec<Vec<String>> = restored
        .comparison
        .tables
        .iter()
        .map(|line| {
            let verdict = if line.equal { t!("cmd.restore.equal") } else { t!("cmd.restore.different") };
            vec![line.name.clone(), count(line.expected_rows), count(line.found_rows), verdict.into_owned()]
        })
        .collect();
    let headers = ["table", "in_backup", "restored", "digest"].map(|key| t!(format!("cmd.restore.{key}")));
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows))?;
    for notice in &restored.comparison.notices {
        context.output.message(&t!("cmd.restore.notice", text = notice));
    }
    let content = &plan.proof.scan.content;
    let took = restored.took.num_milliseconds() as f64 / 1000.0;
    let mut lines = vec![
        t!(
            "cmd.restore.done",
            database = escape(&restored.database),
            file = escape(&plan.file),
            rows = content.rows(),
            tables = content.tables.len(),
            seconds = format!("{took:.1}")
        )
        .into_owned(),
    ];
    if let Some(safety) = &restored.safety {
        lines.push(t!("cmd.restore.safety", file = safety.file).into_owned());
    }
    if let Some((old, until)) = &restored.old {
        lines.push(t!("cmd.restore.old", old = escape(old), until = local(context, *until)).into_owned());
    }
    lines.push(t!("cmd.backup.memory", size = bytes(App::peak_memory())).into_owned());
    for line in lines {
        tracing::info!("{line}");
    }
    if args.timings {
        for (part, timings) in [("checked", &plan.timings), ("loaded", &restored.timings)] {
            context.output.data(&t!(format!("cmd.timings.{part}")))?;
            context.show_timings(timings)?;
        }
    }
    if restored.took.num_seconds() > SLOW_SECONDS {
        context.output.warning(&t!("cmd.restore.slow"), None);
    }
    Ok(())
}

async fn undo(context: &Context, app: &App, args: &RestoreArgs) -> Result<Exit, Failure> {
    named_right(context, args)?;
    let record = Record::new(app, RunKind::Undo);
    let operations = app.context().await?;
    drop(app.lock(&operations).await?);
    let plan = restore::plan_undo(&operations).await?;
    show_undo(context, &plan);
    if args.dry_run {
        if args.json {
            context.output.json(&undo_json(context, &plan))?;
        }
        context.output.message(&t!("cmd.restore.dry"));
        return Ok(Exit::Done);
    }
    confirm(context, args).await?;
    let record = record.from_now(app);
    let result = async {
        let _lock = app.lock(&operations).await?;
        record.begin(app);
        Ok::<_, Failure>(restore::undo(&operations, &plan).await?)
    }
    .await;
    let exit = result.as_ref().map_or_else(|failure: &Failure| failure.exit, |_| Exit::Done);
    record.end(app, exit, None, result.as_ref().err());
    let undone = result?;
    let (aside, until) = (&undone.aside.0, undone.aside.1);
    if args.json {
        context.output.json(&json!({
            "format": 1,
            "database": undone.database,
            "aside": aside,
            "until": until,
            "peak_rss_bytes": App::peak_memory(),
        }))?;
    }
    let (database, aside) = (escape(&undone.database), escape(aside));
    tracing::info!("{}", t!("cmd.restore.undone", database = database, aside = aside, until = local(context, until)));
    tracing::info!("{}", t!("cmd.backup.memory", size = bytes(App::peak_memory())));
    Ok(Exit::Done)
}

fn show_undo(context: &Context, plan: &UndoPlan) {
    context.output.plan(&t!(
        "cmd.restore.undo_plan",
        back = escape(&plan.back.name),
        date = local(context, plan.back.mark.at),
        database = escape(&plan.database),
        rows = plan.live.rows_estimate,
        hours = context.settings.retention.undo.as_secs() / 3600
    ));
}

fn undo_json(context: &Context, plan: &UndoPlan) -> serde_json::Value {
    json!({
        "format": 1,
        "dry_run": true,
        "database": plan.database,
        "back": plan.back.name,
        "put_aside_at": plan.back.mark.at,
        "rows_estimate": plan.live.rows_estimate,
        "undo_hours": context.settings.retention.undo.as_secs() / 3600,
    })
}

fn local(context: &Context, time: DateTime<Utc>) -> String {
    time.with_timezone(&context.settings.zone).format("%Y-%m-%d %H:%M:%S").to_string()
}

fn plan_json(plan: &Plan) -> serde_json::Value {
    json!({
        "format": 1,
        "dry_run": true,
        "database": plan.database,
        "into": plan.request.into,
        "file": plan.file,
        "date": plan.date,
        "proven": plan.manifest.is_some(),
        "rows": plan.proof.scan.content.rows(),
        "tables": plan.proof.scan.content.tables.len(),
        "notices": plan.notices,
        "peak_rss_bytes": App::peak_memory(),
        "timings": timings::json(&plan.timings),
    })
}

fn result_json(plan: &Plan, restored: &Restored) -> serde_json::Value {
    let tables: Vec<_> = restored
        .comparison
        .tables
        .iter()
        .map(|t| json!({ "table": t.name, "in_backup": t.expected_rows, "restored": t.found_rows, "equal": t.equal }))
        .collect();
    json!({
        "format": 1,
        "exit": 0,
        "run": restored.run,
        "database": restored.database,
        "file": plan.file,
        "lane": restored.lane,
        "tables": tables,
        "notices": restored.comparison.notices.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "safety": restored.safety.as_ref().map(|m| &m.file),
        "old": restored.old.as_ref().map(|(name, until)| json!({ "database": name, "until": until })),
        "seconds": restored.took.num_milliseconds() as f64 / 1000.0,
        "peak_rss_bytes": App::peak_memory(),
        "check_timings": timings::json(&plan.timings),
        "timings": timings::json(&restored.timings),
    })
}
