//! Questions to the server. Every script answers with one JSON value; the SQL lives in `sql/`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::load::knows_restrict;
use super::psql::{connect, literal};
use super::{Postgres, Ready, SETTLING_SECONDS};
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

/// What the client programs say of themselves. `psql` runs nothing but these words; `pg_dump` is the one beside it. Whether it
/// was built with zstd only shows when it is used: it refuses before it connects, which is to fail here in any case.
const CLIENTS: &str = "\\echo :VERSION_NAME\n\\! pg_dump --version\n\
                       \\! pg_dump --no-password --compress=zstd:1 --host=/nonexistent 2>&1 | grep -c 'connection to server'\n";

/// What `pg_dump --version` begins with: `pg_dump (PostgreSQL) 17.10 (Debian …)`.
const PG_DUMP: &str = "pg_dump (PostgreSQL) ";

impl Postgres {
    pub(super) async fn readiness(&self) -> Result<Ready<()>, Error> {
        // Not the database itself: one that a dead restore left closed is to be mended, not waited for.
        let database = Self::maintenance(&self.connection.database);
        let recovering: bool = self.ask(database, "select to_json(pg_catalog.pg_is_in_recovery());").await?;
        Ok(if recovering { Ready::Recovering } else { Ready::Yes(()) })
    }

    /// Everything that a run begins with, in one session.
    pub(super) async fn probe_all(&self, database: &str) -> Result<Ready<(Server, Option<Facts>)>, Error> {
        let script = format!("{CLIENTS}{}{}", include_str!("sql/server.sql"), facts_script(database));
        let text = self.run_script(Self::maintenance(database), &script).await?;
        let (clients, json) = split_clients(&text);
        let mut answers = Answers::new(json);
        let server: Server = answers.next()?;
        if server.in_recovery {
            return Ok(Ready::Recovering);
        }
        let facts = answers.facts()?;
        let settling = facts.is_none() && server.age_seconds < SETTLING_SECONDS;
        let found = (self.with_clients(server, clients).await?, facts);
        Ok(if settling { Ready::Settling(found) } else { Ready::Yes(found) })
    }

    pub(super) async fn probe_server(&self) -> Result<Server, Error> {
        let script = format!("{CLIENTS}{}", include_str!("sql/server.sql"));
        let text = self.run_script(Self::maintenance(&self.connection.database), &script).await?;
        let (clients, json) = split_clients(&text);
        let server = Answers::new(json).next()?;
        self.with_clients(server, clients).await
    }

    async fn with_clients(&self, mut server: Server, clients: &str) -> Result<Server, Error> {
        // Not by their places: a `psql` may print its own word after that of the program that it starts.
        let (dumps, others): (Vec<_>, Vec<_>) = clients.lines().partition(|line| line.starts_with(PG_DUMP));
        let (counts, versions): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|line| matches!(line.trim(), "0" | "1"));
        let (psql, dump) = (versions.first().copied().unwrap_or_default(), dumps.first().copied().unwrap_or_default());
        // Whatever else stands there is no yes.
        self.packs.get_or_init(|| counts == ["1"]);
        let asked;
        let dump = if dump.trim().is_empty() {
            // Why it said nothing is for the runner to tell.
            let program = self.program(&["pg_dump", "--version"], "amarre/ask", "postgres", "");
            let output = self.runner.start(&program, Input::None).await?.collect(4096).await?;
            asked = String::from_utf8_lossy(&output.stdout).into_owned();
            asked.trim()
        } else {
            dump.trim()
        };
        dump.strip_prefix(PG_DUMP).unwrap_or(dump).clone_into(&mut server.client_version);
        server.client_restricts = *self.restricts.get_or_init(|| knows_restrict(psql));
        Ok(server)
    }

    pub(super) async fn probe_facts(&self, database: &str) -> Result<Option<Facts>, Error> {
        let text = self.run_script(Self::maintenance(database), &facts_script(database)).await?;
        Answers::new(&text).facts()
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

/// Asks what `pg_database` knows of `database`, and where it takes sessions, goes on in it: a session in a closed database is
/// refused, and so is one in a database that is not there.
fn facts_script(database: &str) -> String {
    let name = literal(database);
    format!(
        "{}\nselect exists (select from pg_catalog.pg_database where datname = {name} and datallowconn) as is_open \\gset\n\
         \\if :is_open\n{}{}\n\\endif\n",
        include_str!("sql/outside.sql").replace("$NAME$", &name),
        connect(database),
        include_str!("sql/inside.sql"),
    )
}

/// What [`CLIENTS`] printed, and what came after it.
fn split_clients(text: &str) -> (&str, &str) {
    text.find("\n{").map_or(("", text), |at| text.split_at(at))
}

/// The JSON values that a script printed, one after the other.
struct Answers<'a>(serde_json::StreamDeserializer<'a, serde_json::de::StrRead<'a>, serde_json::Value>);

impl<'a> Answers<'a> {
    fn new(text: &'a str) -> Self {
        Self(serde_json::Deserializer::from_str(text).into_iter())
    }

    /// The next one; `null` where there is none.
    fn next<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let value = self.0.next().unwrap_or(Ok(serde_json::Value::Null));
        value.and_then(serde_json::from_value).map_err(|error| Error::Answer { cause: error.to_string() })
    }

    fn facts(&mut self) -> Result<Option<Facts>, Error> {
        let Some(Outside { oid, open, record }) = self.next()? else { return Ok(None) };
        let closed = Inside { tables: 0, rows_estimate: -1, owners: Owners::Kept };
        let inside = if open { self.next()? } else { closed };
        let Inside { tables, rows_estimate, owners } = inside;
        Ok(Some(Facts { record, oid, open, tables, rows_estimate, owners }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_clients_say_comes_before_the_first_answer() {
        let text = "17.11 (Debian 17.11-0+deb13u1)\npg_dump (PostgreSQL) 17.11 (Debian 17.11-0+deb13u1)\n1\n{\"a\" : 1}\nnull\n";
        let (clients, json) = split_clients(text);
        assert!(clients.starts_with("17.11") && clients.ends_with("\n1"), "{clients}");
        let mut answers = Answers::new(json);
        assert_eq!(answers.next::<serde_json::Value>().unwrap(), json!({ "a": 1 }));
        assert_eq!(answers.facts().unwrap(), None);
    }

    #[test]
    fn an_answer_that_is_cut_is_no_answer() {
        assert!(matches!(Answers::new("{\"oid\": 1,").facts(), Err(Error::Answer { .. })));
        assert!(matches!(Answers::new("[1]").facts(), Err(Error::Answer { .. })));
        assert_eq!(split_clients("null"), ("", "null"));
    }
}
