//! One backup, by the commit protocol (design): dump, prove, name, manifest. The manifest's appearance is the commit;
//! whatever fails before leaves earlier backups as they were and nothing that could pass for a backup.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rust_i18n::t;
use tokio::sync::watch;

use super::failpoint::hit;
use super::flow::{self, Teller, write_dump};
use super::upload::Copies;
use super::{Context, Error, catalogue, prune};
use crate::database::{Facts, Server};
use crate::domain::catalogue::Catalogue;
use crate::domain::compression::Compression;
use crate::domain::manifest::{self, Manifest, Measure, Owners, RolesFile};
use crate::domain::name::{self, BackupName, Kind};
use crate::domain::retention::Plan;
use crate::domain::run::RunId;
use crate::domain::suspicion::{self, suspicions};
use crate::domain::text::escape;
use crate::domain::timings::Timings;
use crate::dump::{self, DumpWriter, Echo, Options, Progress, Proof, Scan, Written};
use crate::journal::intent::Work;
use crate::store::{Draft, Grown, Trail};

/// The highest size of a roles file: a server has thousands of roles at most.
pub(super) const ROLES_LIMIT: usize = 16 * 1024 * 1024;

/// How long they may take.
const ROLES_PATIENCE: Duration = Duration::from_secs(120);

pub use super::upload::Copied;

/// A committed backup.
pub struct Made {
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// What retention did after it.
    pub pruned: Option<Plan>,
    /// How long its stages took.
    pub timings: Timings,
    /// What became of its copies, in the order of the places: known once [`Made::copy`] has ended.
    pub copies: Vec<Copied>,
    leaving: Option<Copies>,
}

impl Made {
    /// Whether copies of it are on their way.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.as_ref().is_some_and(Copies::is_any)
    }

    /// Completes its copies. They may take hours, and need no lock: a restore that is urgent does not wait for them.
    pub async fn copy(&mut self, context: &Context) {
        if let Some(leaving) = self.leaving.take() {
            self.copies = leaving.finish(context, &self.manifest).await;
        }
    }
}

/// What a backup starts from: everything that is asked before the first byte.
struct Start {
    run: RunId,
    kind: Kind,
    server: Server,
    facts: Facts,
    name: BackupName,
    last: Option<Arc<Manifest>>,
    /// The last backups that count as usual, newest first.
    usual: Vec<Arc<Manifest>>,
    started_at: chrono::DateTime<chrono::Utc>,
    /// Whether the data got its name: only then may it be removed by that name.
    published: AtomicBool,
    /// Whether something of it may be left in a second place.
    unfinished: AtomicBool,
}

/// Makes a backup of `database` as `run` and, for [`Kind::Backup`], applies retention. Its copies elsewhere are on their way then: see [`Made::copy`].
///
/// # Errors
/// [`Error`]; no backup of this run exists then.
pub async fn backup(context: &Context, run: RunId, kind: Kind, database: &str) -> Result<Made, Error> {
    let mut start = prepare(context, run, kind, database).await?;
    let mut result = make(context, &start).await;
    if let Err(error) = &result {
        let why = worth_another_try(context, &start, error).await;
        abandon(context, &start).await;
        if let Some(why) = why {
            context.warn(why);
            // What the first try left, if anything, is known by its own name.
            start = prepare(context, context.new_run(), kind, database).await?;
            result = make(context, &start).await;
            if result.is_err() {
                abandon(context, &start).await;
            }
        }
    }
    let (manifest, timings, leaving) = result?;
    let manifest = Arc::new(manifest);
    let pruned = match kind {
        // The backup is committed: a rotation that fails is said, and tried again after the next one.
        Kind::Backup => match prune::apply(context).await {
            Ok(plan) => Some(plan),
            Err(error) => {
                context.warn(t!("backup.rotation_failed", cause = error));
                None
            }
        },
        Kind::Safety | Kind::Final => None,
    };
    Ok(Made { manifest, pruned, timings, copies: Vec::new(), leaving: Some(leaving) })
}

async fn prepare(context: &Context, run: RunId, kind: Kind, database: &str) -> Result<Start, Error> {
    let started_at = context.clock.now();
    let (server, facts) = context.survey(database).await?;
    let facts = facts.ok_or_else(|| crate::database::Error::NoDatabase { database: database.to_owned() })?;
    let catalogue = catalogue::load(context).await?;
    let (last, usual) = match Before::of(&catalogue, &facts.record.name) {
        Before { last: None, .. } => before_elsewhere(context, &facts.record.name).await,
        here => here,
    }
    .into_parts();
    check_space(context, &facts, last.as_deref()).await?;
    let taken = catalogue::names(context).await?;
    let name = BackupName::new(kind, database, started_at, context.rules.zone)
        .stored_as(context.rules.compression)
        .next_free(|n| taken.contains(n));
    let start = Start {
        run,
        kind,
        server,
        facts,
        name,
        last,
        usual,
        started_at,
        published: AtomicBool::new(false),
        unfinished: AtomicBool::new(false),
    };
    context.note(t!("backup.started", database = escape(database), file = start.name.file()));
    put_intent(context, &start, None)?;
    hit("backup.1").await;
    Ok(start)
}

/// Why the same backup is tried once more, if it is.
async fn worth_another_try(context: &Context, start: &Start, error: &Error) -> Option<String> {
    if was_restarted(context, start, error).await {
        return Some(t!("backup.server_restarted").into_owned());
    }
    let another_way = matches!(error, Error::Database(error) if context.database.has_another_way(error));
    another_way.then(|| t!("backup.another_way", cause = error).into_owned())
}

/// Whether the server that the run began with has made room for another: the first start of an official image does that, and
/// so does an upgrade at night. Then the same backup is worth one more try.
async fn was_restarted(context: &Context, start: &Start, error: &Error) -> bool {
    // What the server says of itself and of us has a name of its own; a connection that was cut has not.
    if !matches!(error, Error::Database(crate::database::Error::Statement { .. }))
        || context.wait_ready().await.is_err()
    {
        return false;
    }
    context.database.server().await.is_ok_and(|now| now.started != start.server.started)
}

/// The backups of a database before this one.
#[derive(Default)]
struct Before {
    last: Option<Arc<Manifest>>,
    usual: Vec<Arc<Manifest>>,
}

impl Before {
    fn of(catalogue: &Catalogue, database: &str) -> Self {
        let of = || {
            let own = catalogue.entries().iter().filter(|e| e.own);
            own.filter_map(|e| Some((e, e.manifest.clone()?))).filter(|(_, m)| m.database.name == database)
        };
        let mut usual = Vec::new();
        for (entry, manifest) in of().filter(|(e, m)| m.kind == Kind::Backup && !e.is_suspicious()) {
            usual.push(manifest);
            // Who accepted it has said that it is as it should be: what was usual before is not any more.
            if entry.accepted || usual.len() == suspicion::USUAL {
                break;
            }
        }
        Self { last: of().map(|(_, m)| m).find(|m| m.kind != Kind::Final), usual }
    }

    fn into_parts(self) -> (Option<Arc<Manifest>>, Vec<Arc<Manifest>>) {
        (self.last, self.usual)
    }
}

/// How long a second place may keep a first backup waiting.
const PATIENCE: Duration = Duration::from_secs(20);

/// On a machine that was made anew the last backup is elsewhere: without it an empty database would look like any other, and
/// push the good ones out of the rotation there.
async fn before_elsewhere(context: &Context, database: &str) -> Before {
    for remote in &context.remotes {
        let asked = catalogue::load_remote(context, remote);
        if let Ok(Ok(there)) = tokio::time::timeout(PATIENCE, asked).await {
            let before = Before::of(&there, database);
            if before.last.is_some() {
                return before;
            }
        }
    }
    Before::default()
}

/// Refuses to begin what will not fit.
async fn check_space(context: &Context, facts: &Facts, last: Option<&Manifest>) -> Result<(), Error> {
    let needed = likely_size(context.rules.compression, facts, last);
    match context.store.space().await? {
        Some(space) if space.free < needed => {
            Err(Error::NoSpace { place: context.store.place(), free: space.free, needed })
        }
        _ => Ok(()),
    }
}

/// The last backup's size and a quarter. Of one in another format its SQL tells: packed, it is half of that at most. For a first
/// one a tenth of the database, which is what the replaced scripts saw; its SQL is seldom larger than the database.
#[must_use]
pub fn likely_size(compression: Compression, facts: &Facts, last: Option<&Manifest>) -> u64 {
    let packed = compression != Compression::None;
    match last {
        Some(m) if m.compression == compression.format() => m.stored.bytes + m.stored.bytes / 4,
        Some(m) if packed => m.plain.bytes / 2,
        Some(m) => m.plain.bytes + m.plain.bytes / 4,
        None if packed => facts.record.size_bytes / 10,
        None => facts.record.size_bytes,
    }
}

fn put_intent(context: &Context, start: &Start, stored: Option<Measure>) -> Result<(), Error> {
    let work = Work::Backup { file: start.name.file(), stored };
    context.put_intent(&start.run, work)
}

/// Steps 2 to 9: from the first byte to the manifest.
async fn make(context: &Context, start: &Start) -> Result<(Manifest, Timings, Copies), Error> {
    let (draft, dumped, roles, copies) = dump(context, start).await?;
    let timings = dumped.timings.clone();
    match publish(context, start, draft, dumped, roles).await {
        Ok(manifest) => Ok((manifest, timings, copies)),
        Err(error) => {
            give_up(start, copies).await;
            Err(error)
        }
    }
}

/// What is not removed there now stays named in the intent.
async fn give_up(start: &Start, copies: Copies) {
    if !copies.abort().await {
        start.unfinished.store(true, Ordering::Relaxed);
    }
}

/// Steps 6 to 9: the data gets its name, and its manifest.
async fn publish(
    context: &Context,
    start: &Start,
    draft: Box<dyn Draft>,
    dumped: Dumped,
    roles: Roles,
) -> Result<Manifest, Error> {
    context.check_cancelled()?;
    put_intent(context, start, Some(dumped.stored.clone()))?;
    hit("backup.6").await;
    tokio::task::spawn_blocking(move || draft.publish()).await??;
    start.published.store(true, Ordering::Relaxed);
    hit("backup.7").await;
    commit(context, start, dumped, roles).await
}

/// What a dump came to.
struct Dumped {
    scan: Scan,
    stored: Measure,
    plain: Measure,
    warnings: Vec<String>,
    lane: &'static str,
    timings: Timings,
}

/// What the roles came to: their SQL and whether it has their password hashes, else why there are none.
type Roles = Result<(Vec<u8>, bool), String>;

/// The dump, in a draft that is durable and read back, but has no name yet; and the roles.
async fn dump(context: &Context, start: &Start) -> Result<(Box<dyn Draft>, Dumped, Roles, Copies), Error> {
    let draft = context.store.draft(&start.name.file()).await?;
    let (copies, grown) = match start.kind {
        Kind::Backup => {
            let likely = likely_size(context.rules.compression, &start.facts, start.last.as_deref());
            Copies::begin(context, &draft.read_at()?, &start.name.file(), likely).await
        }
        // Whoever restores waits for these: they are copied later.
        Kind::Safety | Kind::Final => Copies::none(),
    };
    match dump_into(context, start, draft, grown).await {
        Ok((draft, dumped, roles)) => Ok((draft, dumped, roles, copies)),
        Err(error) => {
            give_up(start, copies).await;
            Err(error)
        }
    }
}

async fn dump_into(
    context: &Context,
    start: &Start,
    draft: Box<dyn Draft>,
    grown: watch::Sender<Grown>,
) -> Result<(Box<dyn Draft>, Dumped, Roles), Error> {
    let database = &start.facts.record.name;
    let progress = Arc::new(Progress::default());
    context.stage("dump", start.last.as_ref().map(|m| m.plain.bytes));
    let teller = Teller::start(context, &progress);
    let running = context.database.dump(&start.run, database, start.facts.owners).await?;
    hit("backup.2").await;
    let options = Options { workers: context.rules.workers, compression: context.rules.compression };
    let Trail { reader, sync } = draft.trail()?;
    // Only what was read back leaves.
    let proven = Box::new(move |bytes, digest: Option<u128>| {
        grown.send_replace(Grown { bytes, ended: digest.is_some(), digest });
    });
    let writer = DumpWriter::start(draft, options, progress, Some(Echo { reader, sync, proven }))?;
    let moved = write_dump(context, running, writer, || dump_roles(context, start)).await;
    let (flow::Dumped { written, stderr, lane, timings }, roles) = match moved {
        Err(Error::Runner(error)) => return Err(context.database.explain(database, error).await.into()),
        other => other?,
    };
    drop(teller);
    hit("backup.3").await;
    let Written { out: mut draft, stored, plain, scan } = written;
    scan.complete()?;
    if start.kind == Kind::Backup {
        dump::check_size(stored.bytes, &scan)?;
    }
    hit("backup.4").await;
    let draft = tokio::task::spawn_blocking(move || draft.sync().map(|()| draft)).await??;
    hit("backup.5").await;
    let warnings = stderr.lines().map(str::trim).filter(|l| !l.is_empty()).map(escape).collect();
    Ok((draft, Dumped { scan, stored, plain, warnings, lane, timings }, roles))
}

/// What a reading must find.
pub(super) struct Expected<'a> {
    /// Name for the message.
    pub file: &'a str,
    /// The bytes as stored.
    pub stored: &'a Measure,
    /// The SQL.
    pub plain: &'a Measure,
    /// What it holds.
    pub content: &'a crate::domain::content::Content,
}

impl Expected<'_> {
    pub(super) fn check(&self, proof: &Proof) -> Result<(), Error> {
        let unequal = |what: String| Err(Error::Unequal { file: self.file.to_owned(), what });
        if proof.stored != *self.stored {
            let (found, expected) = (&proof.stored.sha256, &self.stored.sha256);
            return unequal(t!("operations.what.stored", found = found, expected = expected).into_owned());
        }
        if proof.plain != *self.plain {
            return unequal(t!("operations.what.plain").into_owned());
        }
        if proof.scan.content != *self.content {
            return unequal(t!("operations.what.content").into_owned());
        }
        Ok(())
    }
}

/// The roles, for a bare server. A backup without them is still a backup: a warning, not a failure.
async fn dump_roles(context: &Context, start: &Start) -> Roles {
    let mut last = String::new();
    // Hashes are readable by superusers only; without them the file still makes the roles.
    for passwords in [true, false] {
        if passwords && !context.rules.role_passwords {
            continue;
        }
        let collected = match context.database.roles(&start.run, passwords).await {
            Ok(running) => tokio::time::timeout(ROLES_PATIENCE, running.collect(ROLES_LIMIT)).await,
            Err(error) => return Err(error.to_string()),
        };
        // `pg_dumpall` waits for a lock on the roles for ever, and a proven dump is not to wait with it.
        let Ok(collected) = collected else {
            return Err(t!("backup.roles_silent", seconds = ROLES_PATIENCE.as_secs()).into_owned());
        };
        match collected {
            Ok(output) => return Ok((output.stdout, passwords)),
            Err(error) => {
                let error = context.database.explain(&start.facts.record.name, error).await;
                last = error.to_string();
                // Only what the role may not is a reason to go without them.
                if !matches!(error, crate::database::Error::Permission { .. }) {
                    break;
                }
            }
        }
    }
    Err(last)
}

/// Companion first, then the manifest: its appearance is the commit.
async fn commit(context: &Context, start: &Start, mut dumped: Dumped, roles: Roles) -> Result<Manifest, Error> {
    let roles_file = match roles {
        Ok((bytes, passwords)) => {
            let file = name::roles_name(&start.name.file());
            context.store.put(&file, &bytes).await?;
            Some(RolesFile { file, stored: dump::measure(&bytes), passwords })
        }
        Err(cause) => {
            dumped.warnings.push(t!("backup.roles_failed", cause = cause).into_owned());
            None
        }
    };
    hit("backup.8").await;
    let manifest = describe(context, start, roles_file, dumped);
    context.store.put(&name::manifest_name(&manifest.file), &manifest.to_bytes()).await?;
    hit("backup.9").await;
    tell(context, &manifest);
    if let Err(error) = context.intents.end(&start.run) {
        context.warn(error.to_string());
    }
    Ok(manifest)
}

fn describe(context: &Context, start: &Start, roles_file: Option<RolesFile>, dumped: Dumped) -> Manifest {
    let now = context.clock.now();
    let usual: Vec<&Manifest> = start.usual.iter().map(AsRef::as_ref).collect();
    let suspicious = match start.kind {
        Kind::Backup => suspicions(&usual, &dumped.scan.content, dumped.plain.bytes),
        // What a restore shall undo is often what is wrong, and no rotation asks these.
        Kind::Safety | Kind::Final => Vec::new(),
    };
    let Dumped { scan, stored, plain, warnings, lane, .. } = dumped;
    let mut needs = scan.needs;
    if start.facts.owners == Owners::Kept {
        needs.roles.insert(start.facts.record.owner.clone());
    }
    Manifest {
        format: manifest::FORMAT,
        id: start.run.clone(),
        kind: start.kind,
        installation: context.rules.installation.clone(),
        file: start.name.file(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: start.started_at,
        finished_at: now,
        verified_at: now,
        database: start.facts.record.clone(),
        server_version: start.server.version.clone(),
        client_version: start.server.client_version.clone(),
        client_encoding: scan.client_encoding.unwrap_or_default(),
        lane: lane.to_owned(),
        owners: start.facts.owners,
        compression: context.rules.compression.format().to_owned(),
        stored,
        plain,
        content: scan.content,
        needs,
        roles_file,
        warnings,
        suspicious,
        peak_rss_bytes: (context.machine.peak_rss)(),
        check: String::new(),
    }
}

fn tell(context: &Context, manifest: &Manifest) {
    for warning in &manifest.warnings {
        context.warn(t!("backup.degraded", warning = warning));
    }
    for suspicion in &manifest.suspicious {
        context.warn(t!("backup.suspicious", suspicion = suspicion));
    }
}

/// Removes what a failed run left. What cannot be removed now stays named in its intent for the next start.
async fn abandon(context: &Context, start: &Start) {
    let file = start.name.file();
    // Nobody's session but ours: a dump that was cut may run on and hold its snapshot.
    let swept = context.database.sweep(std::slice::from_ref(&start.run)).await;
    let removed = match start.published.load(Ordering::Relaxed) {
        true => remove_uncommitted(context, &file).await,
        false => Ok(()),
    };
    match (swept, removed) {
        (Ok(_), Ok(())) if start.unfinished.load(Ordering::Relaxed) => {}
        (Ok(_), Ok(())) => {
            if let Err(error) = context.intents.end(&start.run) {
                context.warn(error.to_string());
            }
        }
        (Err(error), _) => context.warn(error.to_string()),
        (_, Err(error)) => context.warn(error.to_string()),
    }
}

/// Removes data and companion that have no manifest. The data goes last: it is what the next start knows an interrupted
/// removal by, and a companion that stayed behind alone would keep its password hashes for ever.
pub(super) async fn remove_uncommitted(context: &Context, file: &str) -> Result<(), Error> {
    let names = catalogue::names(context).await?;
    if names.contains(&name::manifest_name(file)) {
        return Ok(());
    }
    context.store.delete(&name::roles_name(file)).await?;
    hit("mend.1").await;
    context.store.delete(file).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_fit_is_told_from_the_last_backup_whatever_its_format() {
        let text = std::fs::read_to_string("tests/data/manifests/format-1.json").unwrap();
        let mut last: Manifest = serde_json::from_str(&text).unwrap();
        (last.stored.bytes, last.plain.bytes) = (100, 1000);
        let record = crate::domain::manifest::DatabaseRecord { size_bytes: 5000, ..Default::default() };
        let facts = Facts { record, oid: 1, open: true, tables: 1, rows_estimate: 1, owners: Owners::Omitted };
        let gzip = Compression::default();
        let zstd = "zstd".parse().unwrap();
        assert_eq!(likely_size(gzip, &facts, Some(&last)), 125);
        assert_eq!(likely_size(zstd, &facts, Some(&last)), 500);
        assert_eq!(likely_size(Compression::None, &facts, Some(&last)), 1250);
        assert_eq!(likely_size(gzip, &facts, None), 500);
        assert_eq!(likely_size(Compression::None, &facts, None), 5000);
    }
}
