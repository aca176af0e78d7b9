//! Questions to the server. Every script answers with one JSON value; the SQL lives in `sql/`.

use serde::Deserialize;
use serde_json::json;

use super::Postgres;
use super::psql::literal;
use crate::database::{Error, Facts, Mark, Marked, Obstacle, Server};
use crate::domain::content::Needs;
use crate::domain::manifest::{DatabaseRecord, Owners};
use crate::runner::Input;

/// The part of [`Facts`] that `pg_database` knows, also of a closed database.
#[derive(Deserialize)]
struct Outside {
    oid: u32,
    open: bool,
    record: DatabaseRecord,
}

/// The part that only a session inside can see.
#[derive(Deserialize)]
struct Inside {
    tables: u64,
    rows_estimate: i64,
    owners: Owners,
}

impl Postgres {
    /// `None`: ready; else what it waits for.
    pub(super) async fn readiness(&self) -> Result<Option<String>, Error> {
        let recovering: bool =
            self.ask(&self.connection.database, "select to_json(pg_catalog.pg_is_in_recovery());").await?;
        Ok(recovering.then(|| rust_i18n::t!("database.recovering").into_owned()))
    }

    pub(super) async fn probe_server(&self) -> Result<Server, Error> {
        let mut server: Server =
            self.ask(Self::maintenance(&self.connection.database), include_str!("sql/server.sql")).await?;
        let program = self.program(&["pg_dump", "--version"], "amarre/ask", "postgres", "");
        let output = self.runner.start(&program, Input::None).await?.collect(4096).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        // `pg_dump (PostgreSQL) 17.10 (Debian …)`
        text.trim().rsplit_once("(PostgreSQL) ").map_or(text.trim(), |(_, v)| v).clone_into(&mut server.client_version);
        Ok(server)
    }

    pub(super) async fn probe_facts(&self, database: &str) -> Result<Option<Facts>, Error> {
        let script = include_str!("sql/outside.sql").replace("$NAME$", &literal(database));
        let Some(outside) = self.ask::<Option<Outside>>(Self::maintenance(database), &script).await? else {
            return Ok(None);
        };
        let inside = if outside.open {
            self.ask(database, include_str!("sql/inside.sql")).await?
        } else {
            Inside { tables: 0, rows_estimate: -1, owners: Owners::Kept }
        };
        Ok(Some(Facts {
            record: outside.record,
            oid: outside.oid,
            open: outside.open,
            tables: inside.tables,
            rows_estimate: inside.rows_estimate,
            owners: inside.owners,
        }))
    }

    pub(super) async fn probe_obstacles(&self, database: &str) -> Result<Vec<Obstacle>, Error> {
        let script = include_str!("sql/obstacles.sql").replace("$NAME$", &literal(database));
        self.ask(Self::maintenance(database), &script).await
    }

    pub(super) async fn probe_missing(&self, needs: &Needs) -> Result<Needs, Error> {
        let script = include_str!("sql/missing.sql").replace("$NEEDS$", &literal(&json!(needs).to_string()));
        self.ask(Self::maintenance(&self.connection.database), &script).await
    }

    pub(super) async fn probe_marked(&self) -> Result<Vec<Marked>, Error> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
            oid: u32,
            open: bool,
            comment: String,
        }
        let rows: Vec<Row> =
            self.ask(Self::maintenance(&self.connection.database), include_str!("sql/marked.sql")).await?;
        // A comment that only looks like a mark is somebody's comment.
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let mark: Mark = serde_json::from_str(&row.comment).ok()?;
                Some(Marked { name: row.name, oid: row.oid, open: row.open, mark })
            })
            .collect())
    }
}
