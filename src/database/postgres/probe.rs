//! Questions to the server. Every script answers with one JSON value; the SQL lives in `sql/`.

use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::load::knows_restrict;
use super::psql::{connect, literal};
use super::{LOOPBACK, Loopback, Postgres, Ready, SETTLING_SECONDS};
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

/// What the client programs say of themselves, each when it is ready: the shell's part of a line for `psql`, which runs nothing but
/// these words; `pg_dump` is the one beside it. Whether it was built with zstd only shows when it is used: it refuses before it
/// connects, which is to fail here in any case.
///
/// `psql` gives its children the default for SIGPIPE, and they may outlive it: then the server, who adopts them, must not see one
/// die by a signal (`runner::docker::wrapper`).
const CLIENTS: &str = "trap '' PIPE; pg_dump --version & \
                       pg_dump --no-password --compress=zstd:1 --host=/nonexistent 2>&1 | grep -c 'connection to server' & ";

/// Where the server answers on the loopback too, and when it was started; `LOOPBACK` is the way that a dump takes. Without any
/// password: nobody knows yet who listens there. At the database of the dump, since rules are for databases. Not where the
/// environment says how to connect: whoever wrote that means it, and Debian's `pg_wrapper`, which says so to its children, would
/// take another server or version for another host.
const ON_LOOPBACK: &str = "t=; command -v timeout >/dev/null 2>&1 && t='timeout 3'; [ -n \"$PGHOST\" ] || \
     LOOPBACK PGDATABASE=\"$AMARRE_DATABASE\" PGCONNECT_TIMEOUT=2 \
     $t psql --no-psqlrc --no-password -Atqc \"select 'loopback ' || pg_catalog.current_setting('port') \
     || ' ' || pg_catalog.pg_postmaster_start_time() where pg_catalog.host(pg_catalog.inet_client_addr()) = '127.0.0.1'\" \
     2>/dev/null & ";

/// What `pg_dump --version` begins with: `pg_dump (PostgreSQL) 17.10 (Debian …)`.
const PG_DUMP: &str = "pg_dump (PostgreSQL) ";

/// What the answer on the loopback begins with; then its port, and when that server was started.
const ANSWER: &str = "loopback ";

impl Postgres {
    pub(super) async fn readiness(&self) -> Result<Ready<()>, Error> {
        // Not the database itself: one that a dead restore left closed is to be mended, not waited for.
        let database = Self::maintenance(&self.connection.database);
        let recovering: bool = self.ask(database, "select to_json(pg_catalog.pg_is_in_recovery());").await?;
        Ok(if recovering { Ready::Recovering } else { Ready::Yes(()) })
    }

    /// Everything that a run begins with, in one session.
    pub(super) async fn probe_all(&self, database: &str) -> Result<Ready<(Server, Option<Facts>)>, Error> {
        // Somebody who names a host wants that one.
        let loopback = self.connection.may_loop && self.connection.host.is_none();
        let script =
            format!("{}{}{}", clients_script(loopback), include_str!("sql/server.sql"), facts_script(database));
        let known = ("AMARRE_DATABASE".to_owned(), database.to_owned());
        let text = self.run_script_with(Self::maintenance(database), &script, Some(known)).await?;
        let (clients, json) = split_clients(&text);
        let mut answers = Answers::new(json);
        let server: Server = answers.next()?;
        if server.in_recovery {
            return Ok(Ready::Recovering);
        }
        let facts = answers.facts()?;
        let clients = Clients::of(clients);
        self.learn_loopback(database, clients.loopback, &server);
        let settling = facts.is_none() && server.age_seconds < SETTLING_SECONDS;
        let found = (self.with_clients(server, clients).await?, facts);
        Ok(if settling { Ready::Settling(found) } else { Ready::Yes(found) })
    }

    pub(super) async fn probe_server(&self) -> Result<Server, Error> {
        let script = format!("{}{}", clients_script(false), include_str!("sql/server.sql"));
        let text = self.run_script(Self::maintenance(&self.connection.database), &script).await?;
        let (clients, json) = split_clients(&text);
        let server = Answers::new(json).next()?;
        self.with_clients(server, Clients::of(clients)).await
    }

    /// Remembers where a dump of `database` finds the server on the loopback, if it is the same one. Anew each time: a server is
    /// restarted with other settings.
    fn learn_loopback(&self, database: &str, said: Option<&str>, server: &Server) {
        let port = said.and_then(|said| said.split_once(' ')).filter(|(_, started)| *started == server.started);
        // A dump that is held back reads nothing for a while: TCP must not give it up for that, as a socket never does.
        let options = if server.version_num >= 120_000 { "-c tcp_user_timeout=0" } else { "" };
        let found = port.filter(|_| !self.shunned.load(Ordering::Relaxed));
        let found = found.map(|(port, _)| Loopback { database: database.to_owned(), port: port.to_owned(), options });
        *self.loopback() = found;
    }

    async fn with_clients(&self, mut server: Server, said: Clients<'_>) -> Result<Server, Error> {
        let Clients { psql, dump, packs, .. } = said;
        self.packs.get_or_init(|| packs);
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

/// The lines of a script that ask the client programs; with `loopback` also whether the server answers there, where it is
/// reached by its socket.
fn clients_script(loopback: bool) -> String {
    let ask = |more: &str| format!("\\! {CLIENTS}{more}wait\n");
    let version = "\\echo :VERSION_NAME\n";
    if !loopback {
        return format!("{version}{}", ask(""));
    }
    let by_socket = "select pg_catalog.inet_client_addr() is null as by_socket \\gset\n\\if :by_socket\n";
    let way = LOOPBACK.map(|(name, value)| format!("{name}={value}")).join(" ");
    format!("{version}{by_socket}{}\\else\n{}\\endif\n", ask(&ON_LOOPBACK.replace("LOOPBACK", &way)), ask(""))
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

/// What the programs of [`clients_script`] printed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Clients<'a> {
    psql: &'a str,
    dump: &'a str,
    /// `pg_dump` can compress with zstd.
    packs: bool,
    /// Port of the server on the loopback, and when that was started.
    loopback: Option<&'a str>,
}

impl<'a> Clients<'a> {
    /// Not by their places: they speak when they are ready.
    fn of(text: &'a str) -> Self {
        let mut said = Self::default();
        let mut counts = Vec::new();
        for line in text.lines() {
            match line.trim() {
                count @ ("0" | "1") => counts.push(count),
                _ if line.starts_with(PG_DUMP) => said.dump = line,
                _ if line.starts_with(ANSWER) => said.loopback = line.strip_prefix(ANSWER),
                _ if said.psql.is_empty() => said.psql = line,
                _ => {}
            }
        }
        // Whatever else stands there is no yes.
        Self { packs: counts == ["1"], ..said }
    }
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
    fn what_the_clients_say_is_known_in_any_order() {
        let said =
            Clients::of("1\n17.11 (Debian)\nloopback 5432 2026-01-02 03:04:05.6+00\npg_dump (PostgreSQL) 17.11\n");
        let loopback = Some("5432 2026-01-02 03:04:05.6+00");
        assert_eq!(said, Clients { psql: "17.11 (Debian)", dump: "pg_dump (PostgreSQL) 17.11", packs: true, loopback });
        assert_eq!(Clients::of("0\n17.11"), Clients { psql: "17.11", ..Clients::default() });
        assert!(!Clients::of("1\n1\n").packs);
        assert_eq!(Clients::of(""), Clients::default());
    }

    #[test]
    fn an_answer_that_is_cut_is_no_answer() {
        assert!(matches!(Answers::new("{\"oid\": 1,").facts(), Err(Error::Answer { .. })));
        assert!(matches!(Answers::new("[1]").facts(), Err(Error::Answer { .. })));
        assert_eq!(split_clients("null"), ("", "null"));
    }
}
