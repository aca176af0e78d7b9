//! Starting `pg_dump` and `pg_dumpall`, and ending what a dead run left.

use super::psql::literal;
use super::{LOOPBACK, Loopback, Postgres};
use crate::database::Error;
use crate::domain::manifest::Owners;
use crate::domain::run::RunId;
use crate::runner::{Input, Program, Running};

impl Postgres {
    pub(super) async fn start_dump(&self, run: &RunId, database: &str, owners: Owners) -> Result<Running, Error> {
        let wait = self.lock_wait();
        let mut argv = vec!["pg_dump", "--format=plain", "--no-password", &wait];
        if owners == Owners::Omitted {
            argv.extend(["--no-owner", "--no-acl"]);
        }
        // The lowest level: it takes less from `pg_dump`, which has one core, than the bytes that it saves take from the lane.
        let zstd = if self.packs.get() == Some(&true) { vec!["--compress=zstd:1".to_owned()] } else { Vec::new() };
        let loopback = self.loopback().clone().filter(|found| found.database == database);
        let options = loopback.as_ref().map_or("", |found| found.options);
        let program = self.program(&argv, &run.application_name(), database, options);
        let mut program = Program { bulk: true, zstd, ..program };
        if let Some(Loopback { port, .. }) = loopback {
            let way = LOOPBACK.into_iter().chain([("PGPORT", &*port)]);
            program.env.retain(|(name, _)| !matches!(&**name, "PGPORT" | "PGPASSWORD"));
            program.env.extend(way.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        Ok(self.runner.start(&program, Input::None).await?)
    }

    pub(super) async fn start_roles(&self, run: &RunId, passwords: bool) -> Result<Running, Error> {
        let wait = self.lock_wait();
        let mut argv = vec!["pg_dumpall", "--roles-only", "--no-password", &wait];
        if !passwords {
            argv.push("--no-role-passwords");
        }
        let program = self.program(&argv, &run.application_name(), "postgres", "");
        Ok(self.runner.start(&program, Input::None).await?)
    }

    fn lock_wait(&self) -> String {
        format!("--lock-wait-timeout={}", self.connection.lock_timeout.saturating_mul(1000))
    }

    pub(super) async fn end_sessions(&self, runs: &[RunId]) -> Result<u64, Error> {
        if runs.is_empty() {
            return Ok(0);
        }
        let names: Vec<String> = runs.iter().map(|run| literal(&run.application_name())).collect();
        let script = format!(
            "select count(pg_catalog.pg_terminate_backend(pid)) from pg_catalog.pg_stat_activity
             where application_name in ({}) and pid <> pg_catalog.pg_backend_pid();",
            names.join(", ")
        );
        self.ask(Self::maintenance(&self.connection.database), &script).await
    }
}
