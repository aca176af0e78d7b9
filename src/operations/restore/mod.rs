//! A restore: choose, check, show, and only then act. [`plan`] touches nothing; [`execute`] follows the swap protocol
//! (design): safety dump, a new database beside the live one, comparison, both renames in one transaction.
//! Whatever fails before the renames leaves the live database as it was, running.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rust_i18n::t;

use super::failpoint::hit;
use super::{Context, Error, backup};
use crate::database::{Facts, Mark, Server, Swap};
use crate::domain::compare::Comparison;
use crate::domain::manifest::{DatabaseRecord, Manifest};
use crate::domain::name::Kind;
use crate::domain::run::RunId;
use crate::domain::timings::Timings;
use crate::dump::Proof;
use crate::journal::intent::{Intent, RestoreStep, Work};
use crate::store::{Pin, Store};

mod check;
mod choose;
mod fill;
mod old;
mod undo;

use fill::Loaded;

pub use crate::database::{MarkRole, Marked};
pub use old::{expire, is_anything_over, resume};
pub use undo::{UndoPlan, Undone, kept, plan_undo, undo};

/// What to restore.
#[derive(Clone)]
pub enum Source {
    /// The newest verified backup of this installation.
    Latest,
    /// A name from the list.
    Name(String),
    /// A file of another place: its directory as a store, and its name there.
    Elsewhere(Arc<dyn Store>, String),
}

/// What is asked for.
#[derive(Clone)]
pub struct Request {
    /// Which backup.
    pub source: Source,
    /// Load into a database of this name beside the live one, and leave that alone.
    pub into: Option<String>,
    /// Drop the replaced database at once, after its final dump.
    pub drop_old: bool,
}

impl Request {
    /// What an undo asks of the server: that the live database may be renamed.
    pub(super) fn undo() -> Self {
        Self { source: Source::Latest, into: None, drop_old: false }
    }
}

/// Everything that a restore will do, before it does it.
pub struct Plan {
    /// What is asked for.
    pub request: Request,
    /// Where the file lies.
    pub store: Arc<dyn Store>,
    /// Data file.
    pub file: String,
    /// Date of the backup.
    pub date: DateTime<Utc>,
    /// Its manifest, where it has one.
    pub manifest: Option<Arc<Manifest>>,
    /// What reading it whole found.
    pub proof: Proof,
    /// How long the stages of that reading took.
    pub timings: Timings,
    /// The server.
    pub server: Server,
    /// The live database; `None`: there is none yet.
    pub live: Option<Facts>,
    /// Name of the live database.
    pub database: String,
    /// Its objects go to this role (and keep the owners and grants that the live ones have), because the file says nothing of owners.
    pub adopt: Option<String>,
    /// Things the operator should know before confirming.
    pub notices: Vec<String>,
    /// Keeps the file from a rotation until the restore has ended.
    _pin: Option<Pin>,
}

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// The run.
    pub run: RunId,
    /// The database that now holds the backup.
    pub database: String,
    /// The proof: counts table by table, differences (none), notices.
    pub comparison: Comparison,
    /// The safety dump, where there was something to save.
    pub safety: Option<Arc<Manifest>>,
    /// The replaced database and until when it stays.
    pub old: Option<(String, DateTime<Utc>)>,
    /// How long it took.
    pub took: TimeDelta,
    /// How long the stages of loading took.
    pub timings: Timings,
    /// How the bytes travelled: `fifo`, `exec`, `local`.
    pub lane: &'static str,
}

/// Chooses, reads the whole file, asks the server. Touches nothing.
///
/// # Errors
/// [`Error`]: nothing to restore, a damaged or foreign file, a server that cannot take it.
pub async fn plan(context: &Context, request: Request) -> Result<Plan, Error> {
    let chosen = choose::choose(context, &request.source).await?;
    let (proof, timings) = check::file(context, &chosen).await?;
    let mut notices = chosen.notices.clone();
    let database = context.database.name().to_owned();
    let (server, live) = context.survey(&database).await?;
    check::commands(&chosen, &proof.scan, &server, &database, &mut notices)?;
    check::version(&chosen, &proof.scan, &server)?;
    let adopt = check::adoption(&chosen, &proof.scan, &server, live.as_ref());
    check::needs(context, &chosen, &proof.scan, live.as_ref()).await?;
    check::room(context, &request, live.as_ref()).await?;
    check::settings_notices(&chosen, live.as_ref(), &mut notices);
    Ok(Plan {
        store: chosen.store,
        file: chosen.file,
        date: chosen.date,
        manifest: chosen.manifest,
        request,
        proof,
        timings,
        server,
        live,
        database,
        adopt,
        notices,
        _pin: chosen.pin,
    })
}

/// Carries out a plan that the operator has confirmed. Called with the lock held.
///
/// # Errors
/// [`Error`]. The live database is as it was, running, unless the error comes after the swap and says so.
pub async fn execute(context: &Context, plan: &Plan) -> Result<Restored, Error> {
    let begun = context.clock.now();
    let run = context.new_run();
    still_true(context, plan).await?;
    let safety = safety(context, plan).await?;
    hit("restore.1").await;
    let new = match &plan.request.into {
        Some(name) => name.clone(),
        None => derived_name(&plan.database, "new", &run),
    };
    put_intent(context, plan, &run, &new, RestoreStep::Load)?;
    hit("restore.2").await;
    let result = load_and_swap(context, plan, &run, &new).await;
    if let Err(error) = &result {
        abandon(context, plan, &run, &new, error).await;
    }
    let Swapped { comparison, old, loaded: Loaded { timings, lane } } = result?;
    if plan.request.into.is_some() {
        // From here on people work in it: whatever becomes of the intent, no mending drops it.
        put_intent(context, plan, &run, &new, RestoreStep::Finish)?;
    }
    end_intent(context, &run);
    let took = context.clock.now() - begun;
    let database = plan.request.into.clone().unwrap_or_else(|| plan.database.clone());
    Ok(Restored { run, database, comparison, safety, old, took, timings, lane })
}

/// The database may have been replaced, or the role's rights changed, while the operator thought.
async fn still_true(context: &Context, plan: &Plan) -> Result<(), Error> {
    context.check_cancelled()?;
    let live = context.database.facts(&plan.database).await?;
    if live.as_ref().map(|f| f.oid) != plan.live.as_ref().map(|f| f.oid) {
        return Err(Error::Changed { what: t!("operations.what.database").into_owned() });
    }
    check::room(context, &plan.request, live.as_ref()).await
}

/// A whole backup of what will be replaced. If it fails nothing goes on.
async fn safety(context: &Context, plan: &Plan) -> Result<Option<Arc<Manifest>>, Error> {
    if plan.live.is_none() || plan.request.into.is_some() {
        return Ok(None);
    }
    context.note(t!("restore.safety_begins"));
    match backup::backup(context, context.new_run(), Kind::Safety, &plan.database).await {
        Ok(made) => Ok(Some(made.manifest)),
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(cause) => Err(Error::Safety { cause: Box::new(cause) }),
    }
}

/// What loading and swapping came to.
struct Swapped {
    comparison: Comparison,
    old: Option<(String, DateTime<Utc>)>,
    loaded: Loaded,
}

async fn load_and_swap(context: &Context, plan: &Plan, run: &RunId, new: &str) -> Result<Swapped, Error> {
    fill::create(context, plan, run, new).await?;
    hit("restore.3").await;
    let loaded = fill::load(context, plan, run, new).await?;
    hit("restore.4").await;
    fill::dress(context, plan, new).await?;
    hit("restore.5").await;
    let comparison = fill::compare(context, plan, run, new).await?;
    hit("restore.6").await;
    context.stage("analyze", None);
    context.or_cancelled(context.database.analyze(new)).await?;
    context.check_cancelled()?;
    if plan.request.into.is_some() {
        return Ok(Swapped { comparison, old: None, loaded });
    }
    let old = swap(context, plan, run, new).await?;
    smoke(context, plan).await?;
    let old = finish_old(context, plan, old).await;
    Ok(Swapped { comparison, old, loaded })
}

/// Closes the live database and renames both. On failure it is open again, under its own name.
async fn swap(context: &Context, plan: &Plan, run: &RunId, new: &str) -> Result<Option<(String, Mark)>, Error> {
    context.stage("swap", None);
    put_intent(context, plan, run, new, RestoreStep::Swap)?;
    hit("restore.7").await;
    let now = context.clock.now();
    let comment = match (&plan.live, &plan.manifest) {
        (Some(live), _) => live.record.comment.clone(),
        (None, manifest) => manifest.as_ref().and_then(|m| m.database.comment.clone()),
    };
    let aside = plan.live.as_ref().map(|live| {
        let mark = new_mark(context, MarkRole::Old, run, &plan.database, now, Some(now + context.rules.undo));
        (derived_name(&plan.database, "old", run), Mark { comment: live.record.comment.clone(), ..mark })
    });
    if aside.is_some() {
        context.database.close(&plan.database).await?;
    }
    hit("restore.8").await;
    let renames = Swap { live: plan.database.clone(), new: new.to_owned(), comment, aside: aside.clone() };
    context.database.swap(&renames).await?;
    hit("restore.9").await;
    Ok(aside)
}

/// One look at the database under its own name: it answers, and it is not the old one.
async fn smoke(context: &Context, plan: &Plan) -> Result<(), Error> {
    context.stage("smoke", None);
    let now = context.database.facts(&plan.database).await?;
    hit("restore.10").await;
    match now {
        Some(facts) if facts.open && Some(facts.oid) != plan.live.as_ref().map(|l| l.oid) => Ok(()),
        _ => Err(Error::Changed { what: t!("operations.what.database").into_owned() }),
    }
}

/// With `--no-keep-old` the replaced database goes at once, after its final dump; if that fails it stays.
async fn finish_old(context: &Context, plan: &Plan, aside: Option<(String, Mark)>) -> Option<(String, DateTime<Utc>)> {
    let (name, mark) = aside?;
    let until = mark.until.unwrap_or(mark.at);
    if plan.request.drop_old {
        match old::retire(context, &name).await {
            Ok(()) => return None,
            Err(error) => context.warn(t!("restore.old_stays", database = name, cause = error)),
        }
    }
    Some((name, until))
}

/// Undoes what a failed restore began. The live database comes first; what cannot be removed now stays named in the intent.
async fn abandon(context: &Context, plan: &Plan, run: &RunId, new: &str, error: &Error) {
    let intent = intent_of(context, plan, run, new, RestoreStep::Swap);
    if matches!(error, Error::Differs { .. } | Error::Exists { .. }) {
        end_intent(context, run);
        return;
    }
    if let Err(error) = context.database.sweep(std::slice::from_ref(run)).await {
        context.warn(error.to_string());
    }
    match resume(context, &intent, &plan.database, plan.live.as_ref().map(|l| l.oid), new).await {
        Ok(()) => end_intent(context, run),
        Err(error) => context.warn(t!("restore.left", cause = error)),
    }
}

fn intent_of(context: &Context, plan: &Plan, run: &RunId, new: &str, step: RestoreStep) -> Intent {
    let work = Work::Restore {
        database: plan.database.clone(),
        live_oid: plan.live.as_ref().map(|l| l.oid),
        new: new.to_owned(),
        step,
    };
    context.intent(run, work)
}

fn put_intent(context: &Context, plan: &Plan, run: &RunId, new: &str, step: RestoreStep) -> Result<(), Error> {
    let intent = intent_of(context, plan, run, new, step);
    context.intents.put(&intent).map_err(|error| Error::Intent { cause: error.to_string() })
}

fn end_intent(context: &Context, run: &RunId) {
    if let Err(error) = context.intents.end(run) {
        context.warn(error.to_string());
    }
}

fn new_mark(
    context: &Context,
    role: MarkRole,
    run: &RunId,
    of: &str,
    at: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Mark {
    let installation = context.rules.installation.clone();
    Mark {
        amarre: 1,
        role,
        run: run.clone(),
        of: of.to_owned(),
        installation,
        at,
        until,
        comment: None,
        final_dump: None,
    }
}

/// PostgreSQL cuts names at 63 bytes; the run at the end keeps them apart.
fn derived_name(database: &str, what: &str, run: &RunId) -> String {
    let tail = format!("_amarre_{what}_{}", run.as_str().to_lowercase());
    let mut end = database.len().min(63 - tail.len());
    while !database.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &database[..end])
}

/// The record that the new database takes after: the live one's as it is now, else the manifest's.
fn model(plan: &Plan) -> Option<&DatabaseRecord> {
    plan.live.as_ref().map(|l| &l.record).or_else(|| plan.manifest.as_ref().map(|m| &m.database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_fit_and_keep_characters_whole() {
        let run = RunId::new(DateTime::from_timestamp(1_763_690_400, 0).unwrap(), 0xab_cdef);
        let name = derived_name(&"é".repeat(40), "undone", &run);
        assert!(name.len() <= 63, "{}", name.len());
        assert!(name.ends_with("_amarre_undone_20251121t020000z-abcdef"), "{name}");
        assert_eq!(derived_name("hub", "old", &run), "hub_amarre_old_20251121t020000z-abcdef");
    }
}
