//! What Amarre does, each operation as a table of contents: backup, prune, verify, restore, recover.
//! They know traits only; `app` puts the adapters in. They hold no lock: whoever calls them does.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use tokio_util::sync::CancellationToken;

use crate::database::{Database, Facts, Server};
use crate::domain::clock::Clock;
use crate::domain::compression::Compression;
use crate::domain::event::{Event, Observer};
use crate::domain::retention;
use crate::domain::run::RunId;
use crate::journal::intent::{self, Intent, Intents, Work};
use crate::journal::{Claim, Journal};
use crate::store::{Elsewhere, Workshop};

pub mod accept;
pub mod backup;
pub mod catalogue;
pub mod cost;
pub mod erase;
mod error;
pub mod failpoint;
pub mod fetch;
mod flow;
pub mod heal;
pub mod history;
pub mod prune;
pub mod recall;
pub mod recover;
pub mod remote;
pub mod restore;
pub mod sync;
mod upload;
pub mod verify;
pub mod watch;

pub use crate::store::Error as StoreError;
pub use error::Error;

/// Everything an operation works with.
#[derive(Clone)]
pub struct Context {
    /// The server.
    pub database: Arc<dyn Database>,
    /// Where backups are made, and lie.
    pub store: Arc<dyn Workshop>,
    /// Where each of them shall lie too, in the order they are served.
    pub remotes: Vec<Remote>,
    /// The record of runs.
    pub journal: Arc<dyn Journal>,
    /// What is half done.
    pub intents: Arc<dyn Intents>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who hears of it.
    pub observer: Arc<dyn Observer>,
    /// Cancelled when the run shall end.
    pub cancel: CancellationToken,
    /// What the machine tells.
    pub machine: Machine,
    /// The installation's rules.
    pub rules: Rules,
}

/// A second place.
#[derive(Clone)]
pub struct Remote {
    /// The place.
    pub store: Arc<dyn Elsewhere>,
    /// How long backups are kept there.
    pub retention: retention::Policy,
    /// Manifests that were read there in this run.
    pub known: Arc<catalogue::Known>,
}

/// Another process works on it.
struct Taken;

/// Facts of this process.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// A number that another run of the same second does not have.
    pub random: fn() -> u64,
    /// Highest resident memory so far, bytes.
    pub peak_rss: fn() -> u64,
}

/// What the settings say.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `BACKUP_NAME`.
    pub installation: String,
    /// Zone of the file names.
    pub zone: Tz,
    /// How long backups are kept.
    pub retention: retention::Policy,
    /// Threads that compress and unpack.
    pub workers: usize,
    /// How backups are compressed.
    pub compression: Compression,
    /// Whether the roles file may hold password hashes.
    pub role_passwords: bool,
    /// How long to wait for a database that starts.
    pub ready_patience: Duration,
    /// The least share of the disk that shall be free, percent.
    pub floor: u32,
    /// How long a replaced database stays.
    pub undo: chrono::TimeDelta,
}

impl Context {
    fn new_run(&self) -> RunId {
        RunId::new(self.clock.now(), (self.machine.random)() as u32)
    }

    fn intent(&self, run: &RunId, work: Work) -> Intent {
        Intent { format: intent::FORMAT, run: run.clone(), installation: self.rules.installation.clone(), work }
    }

    /// Makes the transfers of `file` this run's until the claim is dropped. Where that cannot be written down (a full disk) it is
    /// worked on all the same: a second copy is then worth more than ever.
    fn claim(&self, file: &str) -> Result<Option<Claim>, Taken> {
        match self.intents.claim(file) {
            Ok(Some(claim)) => Ok(Some(claim)),
            Ok(None) => Err(Taken),
            Err(error) => {
                tracing::debug!(file, %error, "claim");
                Ok(None)
            }
        }
    }

    /// Writes down what `run` is about to do: durable when this returns.
    fn put_intent(&self, run: &RunId, work: Work) -> Result<(), Error> {
        let put = self.intents.put(&self.intent(run, work));
        put.map_err(|error| Error::Intent { cause: error.to_string() })
    }

    /// As [`Self::put_intent`], for what makes room: on a full disk it goes on without, and says `false`. Each backup goes manifest first, so
    /// what dies in the middle leaves data that is no backup any more.
    fn put_intent_if_room(&self, run: &RunId, work: Work) -> Result<bool, Error> {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self.intents.put(&self.intent(run, work)) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => {
                tracing::debug!(%error, "intent");
                Ok(false)
            }
            Err(error) => Err(Error::Intent { cause: error.to_string() }),
        }
    }

    /// `run` has left nothing half done.
    fn end_intent(&self, run: &RunId) -> Result<(), Error> {
        self.intents.end(run).map_err(|error| Error::Intent { cause: error.to_string() })
    }

    fn stage(&self, key: &'static str, total: Option<u64>) {
        self.observer.event(Event::Stage { key, total });
    }

    fn note(&self, text: impl Into<String>) {
        self.observer.event(Event::Note(text.into()));
    }

    fn warn(&self, text: impl Into<String>) {
        self.observer.event(Event::Warning(text.into()));
    }

    /// `work`, unless the run shall end first: then `work` is dropped, which ends the program it waits for.
    async fn or_cancelled<T, E: Into<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
        tokio::select! {
            done = work => done.map_err(Into::into),
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
    }

    async fn wait_ready(&self) -> Result<(), Error> {
        self.or_cancelled(self.database.wait_ready(self.rules.ready_patience)).await
    }

    /// What a run begins with: a server that is ready, and `database` on it.
    async fn survey(&self, database: &str) -> Result<(Server, Option<Facts>), Error> {
        self.or_cancelled(self.database.survey(database, self.rules.ready_patience)).await
    }

    /// Between steps: whether the run shall end.
    fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
