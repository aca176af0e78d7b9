//! Making, closing, renaming and dropping databases. Each script is one step of the swap protocol (design), so that a
//! process that dies between two of them leaves a state that `pg_database` alone can tell.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Postgres;
use super::psql::{identifier, literal};
use crate::database::{Error, Mark, Swap};
use crate::domain::manifest::{DatabaseRecord, DatabaseSetting};

/// Settings whose stored value is a list with its own quotes: `SET x TO 'a, b'` would make one element of it
/// (`GUC_LIST_QUOTE` in PostgreSQL's guc.h; pg_dump's dumputils.c has the same list).
const QUOTED_LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

impl Postgres {
    pub(super) async fn create_database(&self, name: &str, like: &DatabaseRecord, mark: &Mark) -> Result<(), Error> {
        // Each statement is its own transaction, as `create database` wants it.
        let script = format!(
            "create database {} template template0{};\n{}",
            identifier(name),
            locale_clause(like),
            comment_statement(name, Some(&mark_text(mark)))
        );
        self.execute(Self::maintenance(name), &script).await
    }

    pub(super) async fn write_mark(&self, database: &str, mark: &Mark) -> Result<(), Error> {
        self.execute(Self::maintenance(database), &comment_statement(database, Some(&mark_text(mark)))).await
    }

    pub(super) async fn close_database(&self, database: &str) -> Result<(), Error> {
        self.execute(Self::maintenance(database), &close_script(database)).await
    }

    pub(super) async fn open_database(&self, database: &str) -> Result<(), Error> {
        let script = format!("alter database {} allow_connections true;", identifier(database));
        self.execute(Self::maintenance(database), &script).await
    }

    pub(super) async fn rename_both(&self, swap: &Swap) -> Result<(), Error> {
        let live = identifier(&swap.live);
        let mut script = String::from("begin;\n");
        if let Some((aside, mark)) = &swap.aside {
            script.push_str(&format!("alter database {live} rename to {};\n", identifier(aside)));
            script.push_str(&comment_statement(aside, Some(&mark_text(mark))));
        }
        script.push_str(&format!("alter database {} rename to {live};\n", identifier(&swap.new)));
        script.push_str(&format!("alter database {live} allow_connections true;\n"));
        script.push_str(&comment_statement(&swap.live, swap.comment.as_deref()));
        script.push_str("commit;\n");
        self.execute(Self::maintenance(&swap.live), &script).await
    }

    pub(super) async fn drop_database(&self, database: &str) -> Result<(), Error> {
        if !self.probe_marked().await?.iter().any(|m| m.name == database) {
            return Err(Error::NotOurs { database: database.to_owned() });
        }
        let script = format!("{}\ndrop database {};", close_script(database), identifier(database));
        self.execute(Self::maintenance(database), &script).await
    }

    pub(super) async fn apply_properties(&self, database: &str, record: &DatabaseRecord) -> Result<(), Error> {
        let name = identifier(database);
        let mut script = format!(
            "alter database {name} owner to {};\nalter database {name} connection limit {};\n",
            identifier(&record.owner),
            record.connection_limit
        );
        for grant in &record.grants {
            script.push_str(&format!("{};\n", grant.replace("$DATABASE$", &name)));
        }
        for setting in &record.settings {
            script.push_str(&setting_script(&name, setting));
        }
        self.execute(Self::maintenance(database), &script).await
    }

    pub(super) async fn adopt(&self, database: &str, live: Option<&str>, owner: &str) -> Result<(), Error> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Was(Value);
        let objects = include_str!("sql/objects.sql");
        let was = match live {
            Some(live) => self.ask::<Was>(live, &include_str!("sql/owners.sql").replace("$OBJECTS$", objects)).await?.0,
            None => json!({ "owners": [], "grants": [] }),
        };
        let script = include_str!("sql/adopt.sql")
            .replace("$OBJECTS$", objects)
            .replace("$OWNER$", &literal(owner))
            .replace("$WAS$", &literal(&was.to_string()));
        self.execute(database, &script).await
    }
}

fn mark_text(mark: &Mark) -> String {
    // The first key of the text is what `marked.sql` looks for; a struct of plain values always serialises.
    serde_json::to_string(mark).unwrap_or_default()
}

fn comment_statement(database: &str, comment: Option<&str>) -> String {
    let comment = comment.map_or_else(|| "null".to_owned(), literal);
    format!("comment on database {} is {comment};\n", identifier(database))
}

/// New sessions are refused first, then the present ones ended: a pool that reconnects at once (fault 76) stays out.
fn close_script(database: &str) -> String {
    let name = literal(database);
    format!(
        "alter database {} allow_connections false;
         do $do$
         declare tries int := 0;
         begin
             loop
                 perform pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
                 where datname = {name} and pid <> pg_catalog.pg_backend_pid();
                 perform pg_catalog.pg_stat_clear_snapshot();
                 exit when not exists (select from pg_catalog.pg_stat_activity
                                       where datname = {name} and pid <> pg_catalog.pg_backend_pid());
                 tries := tries + 1;
                 if tries > 500 then raise exception 'sessions of database % do not end', {name}; end if;
                 perform pg_catalog.pg_sleep(0.02);
                 perform pg_catalog.pg_stat_clear_snapshot();
             end loop;
         end $do$;",
        identifier(database)
    )
}

fn locale_clause(like: &DatabaseRecord) -> String {
    let mut clause = String::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            clause.push_str(&format!(" {key} {}", literal(value)));
        }
    };
    add("encoding", &like.encoding);
    add("lc_collate", &like.collate);
    add("lc_ctype", &like.ctype);
    let locale = like.locale.as_deref().unwrap_or_default();
    match like.locale_provider.as_str() {
        "icu" => {
            add("locale_provider", "icu");
            add("icu_locale", locale);
        }
        "builtin" => {
            add("locale_provider", "builtin");
            add("builtin_locale", locale);
        }
        // The option is not known before PostgreSQL 15, where libc is all there is.
        _ => {}
    }
    clause
}

fn setting_script(database: &str, setting: &DatabaseSetting) -> String {
    let whom = match &setting.role {
        Some(role) => format!("alter role {} in database {database}", identifier(role)),
        None => format!("alter database {database}"),
    };
    let (name, value) = (identifier(&setting.name), literal(&setting.value));
    if QUOTED_LISTS.contains(&setting.name.as_str()) {
        format!(
            "select pg_catalog.set_config({}, {value}, false);\n{whom} set {name} from current;\nreset {name};\n",
            literal(&setting.name)
        )
    } else {
        format!("{whom} set {name} to {value};\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_own_quotes() {
        let setting = DatabaseSetting { role: None, name: "search_path".into(), value: "\"$user\", public".into() };
        assert_eq!(
            setting_script("\"d\"", &setting),
            "select pg_catalog.set_config('search_path', '\"$user\", public', false);\n\
             alter database \"d\" set \"search_path\" from current;\nreset \"search_path\";\n"
        );
    }

    #[test]
    fn fault_28_hostile_names_stay_identifiers() {
        let script = close_script("a\"; drop database b; --'");
        assert!(script.contains("\"a\"\"; drop database b; --'\""));
        assert!(script.contains("'a\"; drop database b; --'''"));
    }
}
