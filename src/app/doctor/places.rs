//! The second places: whether what is put there can be had back, and what they have.

use std::time::Duration;

use rust_i18n::t;

use super::{App, Check, Unusable, failed};
use crate::operations::{self, Context, Remote};
use crate::process;
use crate::store::Finding;

/// How long a second place may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Each of them by a real put, get and delete. A backup on the same disk as the database is half a backup.
pub(super) async fn check(app: &App, installation: &str, unusable: &Unusable) -> Vec<Check> {
    let remotes = usable(app, installation, unusable);
    if app.settings.s3.is_empty() {
        return match unusable.any(is_first) || unusable.any(is_second) {
            true => Vec::new(),
            false => vec![Check::warning("copies", t!("doctor.copies"), t!("operations.no_remote_hint"))],
        };
    }
    // A directory that the settings refuse is not looked for elsewhere, not even for a journal.
    let has_directory = !unusable.has("BACKUP_DIR");
    let context =
        has_directory.then(|| app.context_of(installation.to_owned(), super::Place::default()).ok()).flatten();
    let mut checks = Vec::new();
    for remote in remotes {
        let place = remote.store.place();
        let Ok(findings) = tokio::time::timeout(PATIENCE, remote.store.try_out()).await else {
            checks.push(silent("s3", &place));
            continue;
        };
        let tried = short(&place, findings);
        let works = tried.iter().all(|check| check.verdict != super::Verdict::Failure);
        checks.extend(tried);
        // Whoever cannot be put anything is not asked for all that it has.
        if let (true, Some(context)) = (works, &context) {
            checks.push(copies(context, &remote).await);
        }
    }
    checks
}

/// What each of them can do, at length.
pub(super) async fn probe(app: &App, unusable: &Unusable) -> Vec<Check> {
    let context = if unusable.has("BACKUP_DIR") { None } else { app.context().await.ok() };
    let installation = match context {
        Some(context) => context.rules.installation,
        None => super::installation(app, None).await.0,
    };
    let mut checks = Vec::new();
    for remote in usable(app, &installation, unusable) {
        checks.push(Check::ok("s3-place", remote.store.place()));
        checks.extend(remote.store.probe(process::random()).await.into_iter().map(line));
    }
    checks
}

/// Those whose settings can be used.
fn usable(app: &App, installation: &str, unusable: &Unusable) -> Vec<Remote> {
    let has_first = app.settings.entry("S3_BACKUP_BUCKET").is_some_and(|entry| entry.value.is_some());
    let is_bad = |index: usize| match index + usize::from(!has_first) {
        0 => unusable.any(is_first),
        _ => unusable.any(is_second),
    };
    let remotes = app.remotes(installation).into_iter().enumerate();
    remotes.filter(|(index, _)| !is_bad(*index)).map(|(_, remote)| remote).collect()
}

fn is_second(name: &str) -> bool {
    name.starts_with("BACKUP_S3_2_")
}

fn is_first(name: &str) -> bool {
    !is_second(name) && ["S3_", "AWS_", "BACKUP_S3_"].iter().any(|start| name.starts_with(start))
}

/// One line where all went well; what did not, and what somebody should look at, has its own.
fn short(place: &str, findings: Vec<Finding>) -> Vec<Check> {
    let mut more = String::new();
    let mut others = Vec::new();
    for finding in findings {
        match finding {
            Finding::Without(_, seen) => more.push_str(&format!("; {seen}")),
            Finding::Can(..) => {}
            other => others.push(line(other)),
        }
    }
    if others.iter().all(|check| check.verdict != super::Verdict::Failure) {
        others.insert(0, Check::ok("s3", t!("doctor.s3", place = place, more = more)));
    }
    others
}

fn line(finding: Finding) -> Check {
    match finding {
        Finding::Can(name, seen) => Check::ok(name, of(name, seen)),
        Finding::Without(name, seen) => Check::ok(name, seen),
        Finding::Lacks(name, seen) => Check::warning(name, seen, t!(format!("doctor.{name}_fix"))),
        Finding::Failed(name, error) => Check::error(name, &error),
    }
}

/// What was tried, and what else was seen.
fn of(name: &str, seen: String) -> String {
    let tried = t!(format!("doctor.{name}"));
    if seen.is_empty() { tried.into_owned() } else { format!("{tried}: {seen}") }
}

fn silent(name: &'static str, place: &str) -> Check {
    Check::failure(name, t!("doctor.copies_silent", place = place), Some(t!("store.busy_hint").into_owned()))
}

async fn copies(context: &Context, remote: &Remote) -> Check {
    let place = remote.store.place();
    let asked = operations::catalogue::load_remote(context, remote);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(there)) => {
            let count = there.entries().iter().filter(|entry| entry.own).count();
            Check::ok("copies", t!("doctor.copies_in", place = place, count = count))
        }
        Ok(Err(error)) => failed("copies", error.into()),
        Err(_) => silent("copies", &place),
    }
}
