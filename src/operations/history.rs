//! What the journal tells, in the order it happened.

use chrono::{DateTime, Utc};

use crate::domain::catalogue::Verification;
pub use crate::journal::Deletion;
use crate::journal::{Acceptance, Error, Journal, Run, StageTime};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A run.
    Run(Run),
    /// A backup was removed.
    Deleted(Deletion),
    /// A suspicious backup was accepted.
    Accepted(Acceptance),
}

impl Happened {
    fn at(&self) -> DateTime<Utc> {
        match self {
            Self::Run(run) => run.started_at,
            Self::Deleted(deletion) => deletion.at,
            Self::Accepted(acceptance) => acceptance.at,
        }
    }
}

/// Everything since then, the latest first.
///
/// # Errors
/// When the journal cannot be read.
pub fn since(journal: &dyn Journal, since: DateTime<Utc>) -> Result<Vec<Happened>, Error> {
    let mut all: Vec<Happened> = journal.runs_since(since)?.into_iter().map(Happened::Run).collect();
    all.extend(journal.deletions(since)?.into_iter().map(Happened::Deleted));
    let accepted = journal.acceptances()?.into_iter().filter(|one| one.at >= since);
    all.extend(accepted.map(Happened::Accepted));
    // What has one time stays in the order of the journal.
    all.sort_by_key(|one| std::cmp::Reverse(one.at()));
    Ok(all)
}

/// All that is known of one backup or run.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Runs that were about it, the latest first.
    pub runs: Vec<Run>,
    /// The stages of the one that was asked for, else of the one that made it.
    pub stages: Vec<StageTime>,
    /// Readings, in the order they were made.
    pub readings: Vec<Verification>,
    /// Where it was removed.
    pub deletions: Vec<Deletion>,
    /// Who accepted it.
    pub accepted: Option<Acceptance>,
}

/// What the journal knows of a backup (`file`, `id`), or of the run `id`; with `run` the stages are those of that run about it.
///
/// # Errors
/// When the journal cannot be read.
pub fn known(journal: &dyn Journal, file: Option<&str>, id: &str, run: Option<&str>) -> Result<Known, Error> {
    let mut runs = journal.runs_of(id)?;
    if let Some(file) = file {
        runs.extend(
            journal
                .runs_of(file)?
                .into_iter()
                .filter(|run| !runs.iter().any(|known| known.id == run.id))
                .collect::<Vec<_>>(),
        );
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_at));
    }
    let about = |name: &str| file.is_some_and(|file| name == file || name.ends_with(&format!("/{file}")));
    let made = runs.iter().find(|known| known.id == run.unwrap_or(id)).or_else(|| runs.last());
    let stages = made.map(|run| journal.stages(&run.id)).transpose()?.unwrap_or_default();
    Ok(Known {
        stages,
        readings: journal.verifications()?.into_iter().filter(|reading| about(&reading.file)).collect(),
        deletions: journal.deletions(DateTime::UNIX_EPOCH)?.into_iter().filter(|gone| about(&gone.file)).collect(),
        accepted: journal.acceptances()?.into_iter().find(|one| one.id == id),
        runs,
    })
}
