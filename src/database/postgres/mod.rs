//! PostgreSQL through its own client programs: `pg_dump`, `pg_dumpall` and `psql` beside the server, so that
//! versions always match. No SQL travels in arguments (the engine publishes those): scripts go through standard input.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rust_i18n::t;
use tokio::sync::mpsc;

use crate::database::{Database, Error, Facts, Loading, Mark, Marked, Obstacle, Server, Swap};
use crate::domain::content::Needs;
use crate::domain::manifest::{DatabaseRecord, Owners};
use crate::domain::run::RunId;
use crate::runner::{self, Feed, Program, Runner, Running};

mod dump;
mod explain;
mod load;
mod probe;
mod psql;
mod swap;

/// How the server is reached.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Role.
    pub user: Option<String>,
    /// Its password; travels in the environment of the client program only.
    pub password: Option<String>,
    /// The database that is backed up.
    pub database: String,
    /// Host for the client programs; `None`: the socket beside the server, or libpq's own `PGHOST`.
    pub host: Option<String>,
    /// Port, likewise.
    pub port: Option<u16>,
    /// Whether a dump may take 127.0.0.1 where that is the same server: the client programs run beside it, in its container.
    pub may_loop: bool,
    /// How long a dump waits for a lock, in seconds.
    pub lock_timeout: u64,
}

/// A PostgreSQL server behind a [`Runner`].
pub struct Postgres {
    runner: Arc<dyn Runner>,
    connection: Connection,
    /// Whether its `psql` knows `\\restrict`, once that was seen.
    restricts: OnceLock<bool>,
    /// Whether its `pg_dump` can compress with zstd, once that was asked.
    packs: OnceLock<bool>,
    /// Where the server that was asked last, through its socket, also answers without a password.
    loopback: Mutex<Option<Loopback>>,
    /// A dump failed there: it is not taken again.
    shunned: AtomicBool,
}

/// A way to a server that was found to be the same.
#[derive(Debug, Clone)]
struct Loopback {
    /// For this database.
    database: String,
    port: String,
    /// Settings that the server knows, in the form of `PGOPTIONS`.
    options: &'static str,
}

/// What a server that answers may say.
enum Ready<T> {
    Yes(T),
    Recovering,
    /// It was started a moment ago and has no such database.
    Settling(T),
}

/// A server as young as this may be making its databases still: the first start of an official image answers before they are there.
const SETTLING_SECONDS: f64 = 10.0;

/// A Unix socket holds 208 KiB (`net.core.wmem_default`), less than a millisecond of a dump: whenever `pg_dump` waits for a processor, so
/// does its server. TCP holds megabytes. Measured on two cores, where it was a tenth of a backup's time (`docs/BENCHMARKS.md`).
///
/// No password goes there, as in the question: nobody but the server shall ever see it.
const LOOPBACK: [(&str, &str); 5] = [
    ("PGHOST", "127.0.0.1"),
    ("PGPASSWORD", ""),
    ("PGPASSFILE", "/nonexistent"),
    ("PGSSLMODE", "disable"),
    ("PGGSSENCMODE", "disable"),
];

/// Settings that make the same rows print the same, whatever ALTER DATABASE or ALTER ROLE say (tried: design, "way of a restore"),
/// and that keep a session of ours from being stopped by the application's limits.
const PINNED: &str = "-c timezone=UTC -c bytea_output=hex -c standard_conforming_strings=on \
                      -c statement_timeout=0 -c idle_in_transaction_session_timeout=0";

impl Postgres {
    /// A server whose client programs `runner` runs.
    #[must_use]
    pub fn new(runner: Arc<dyn Runner>, connection: Connection) -> Self {
        let (restricts, packs, loopback) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        Self { runner, connection, restricts, packs, loopback, shunned: AtomicBool::new(false) }
    }

    /// A client program with everything it needs to connect to `database`, and nothing secret in its arguments.
    fn program<S: AsRef<str>>(&self, argv: &[S], application: &str, database: &str, options: &str) -> Program {
        let c = &self.connection;
        let mut env = vec![
            // PGDATABASE is a plain name; an argument would be read as a connection string (`dbname=x host=evil`).
            ("PGDATABASE".to_owned(), database.to_owned()),
            ("PGAPPNAME".to_owned(), application.to_owned()),
            ("PGOPTIONS".to_owned(), format!("{PINNED} {options}").trim_end().to_owned()),
            ("PGCONNECT_TIMEOUT".to_owned(), "10".to_owned()),
            // Messages of the programs are read by `explain`.
            ("LC_ALL".to_owned(), "C".to_owned()),
        ];
        let optional = [
            ("PGUSER", c.user.clone()),
            ("PGPASSWORD", c.password.clone()),
            ("PGHOST", c.host.clone()),
            ("PGPORT", c.port.map(|p| p.to_string())),
        ];
        env.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Program { argv: argv.iter().map(|a| a.as_ref().to_owned()).collect(), env, ..Program::default() }
    }

    /// The way that a dump may take beside the socket. What it holds is whole, whoever panicked with it.
    fn loopback(&self) -> MutexGuard<'_, Option<Loopback>> {
        self.loopback.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn user(&self) -> String {
        self.connection.user.clone().unwrap_or_default()
    }

    /// Where a session can be while `database` is renamed or dropped.
    fn maintenance(database: &str) -> &'static str {
        if database == "postgres" { "template1" } else { "postgres" }
    }
}

/// The answer of a server that is ready; `None`, a second later, where it may be worth asking again.
async fn answer_or_wait<T>(
    answer: Result<Ready<T>, Error>,
    begun: Instant,
    patience: Duration,
) -> Result<Option<T>, Error> {
    let cause = match answer {
        Ok(Ready::Yes(answer)) => return Ok(Some(answer)),
        Ok(Ready::Settling(answer)) if begun.elapsed() >= patience => return Ok(Some(answer)),
        Ok(Ready::Settling(_)) => String::new(),
        Ok(Ready::Recovering) => t!("database.recovering").into_owned(),
        Err(error) if explain::waiting_helps(&error) => explain::cause(&error),
        Err(error) => return Err(error),
    };
    if begun.elapsed() >= patience {
        return Err(Error::NotReady { seconds: patience.as_secs(), cause });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(None)
}

#[async_trait]
impl Database for Postgres {
    fn name(&self) -> &str {
        &self.connection.database
    }

    fn has_another_way(&self, error: &Error) -> bool {
        let lost = match error {
            Error::Refused { .. } => true,
            Error::Statement { .. } => explain::waiting_helps(error),
            _ => false,
        };
        let had_one = lost && self.loopback().take().is_some();
        self.shunned.fetch_or(had_one, Ordering::Relaxed);
        had_one
    }

    async fn wait_ready(&self, patience: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let answer = self.readiness().await;
            if let Some(()) = answer_or_wait(answer, begun, patience).await? {
                return Ok(());
            }
        }
    }

    async fn survey(&self, database: &str, patience: Duration) -> Result<(Server, Option<Facts>), Error> {
        let begun = Instant::now();
        loop {
            let answer = self.probe_all(database).await;
            if let Some(found) = answer_or_wait(answer, begun, patience).await? {
                return Ok(found);
            }
        }
    }

    async fn server(&self) -> Result<Server, Error> {
        self.probe_server().await
    }

    async fn facts(&self, database: &str) -> Result<Option<Facts>, Error> {
        self.probe_facts(database).await
    }

    async fn dump(&self, run: &RunId, database: &str, owners: Owners) -> Result<Running, Error> {
        self.start_dump(run, database, owners).await
    }

    async fn roles(&self, run: &RunId, passwords: bool) -> Result<Running, Error> {
        self.start_roles(run, passwords).await
    }

    async fn explain(&self, database: &str, error: runner::Error) -> Error {
        self.explain_error(database, error).await
    }

    async fn sweep(&self, runs: &[RunId]) -> Result<u64, Error> {
        self.end_sessions(runs).await
    }

    async fn obstacles(&self, database: &str) -> Result<Vec<Obstacle>, Error> {
        self.probe_obstacles(database).await
    }

    async fn missing(&self, needs: &Needs) -> Result<Needs, Error> {
        self.probe_missing(needs).await
    }

    async fn create(&self, name: &str, like: &DatabaseRecord, mark: &Mark) -> Result<(), Error> {
        self.create_database(name, like, mark).await
    }

    async fn load(&self, run: &RunId, database: &str, input: mpsc::Receiver<Feed>) -> Result<Loading, Error> {
        self.start_load(run, database, input).await
    }

    async fn adopt_owners(&self, database: &str, live: Option<&str>, owner: &str) -> Result<(), Error> {
        self.adopt(database, live, owner).await
    }

    async fn copy_properties(&self, database: &str, record: &DatabaseRecord) -> Result<(), Error> {
        self.apply_properties(database, record).await
    }

    async fn analyze(&self, database: &str) -> Result<(), Error> {
        self.execute(database, "analyze;").await
    }

    async fn close(&self, database: &str) -> Result<(), Error> {
        self.close_database(database).await
    }

    async fn open(&self, database: &str) -> Result<(), Error> {
        self.open_database(database).await
    }

    async fn swap(&self, swap: &Swap) -> Result<(), Error> {
        self.rename_both(swap).await
    }

    async fn marked(&self) -> Result<Vec<Marked>, Error> {
        self.probe_marked().await
    }

    async fn mark(&self, database: &str, mark: &Mark) -> Result<(), Error> {
        self.write_mark(database, mark).await
    }

    async fn drop_marked(&self, database: &str) -> Result<(), Error> {
        self.drop_database(database).await
    }
}
