//! What one statement of a dump means: whether data follows it, what it needs, what it sets.
//! Pure: a text in, a value out. Statements of hands other than pg_dump's are read as far as psql's safety asks.

use std::collections::BTreeSet;

use crate::domain::content::Needs;
use crate::dump::token::{Kind, Token, Tokens};

/// The meaning of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing that is counted.
    Other,
    /// `COPY … FROM stdin`: data follows.
    CopyIn {
        /// The table as written.
        table: String,
        /// `(a, b)` as written, or nothing.
        columns: String,
    },
    /// `COPY … BINARY … FROM stdin`.
    CopyBinary,
    /// `COPY` from or to a program.
    CopyProgram,
    /// `COPY` from or to a file of the server.
    CopyServerFile,
    /// `setval`.
    Sequence {
        /// The sequence as written.
        name: String,
        /// `123, true`.
        value: String,
    },
    /// `lo_create`.
    LargeObjectCreate,
    /// `lo_open` with the object's id.
    LargeObjectOpen(String),
    /// `lowrite` of what lies at this range of the statement.
    LargeObjectWrite(std::ops::Range<usize>),
    /// `lo_close`.
    LargeObjectClose,
    /// `INSERT INTO` this table.
    Insert(String),
    /// `SET client_encoding`.
    Encoding(String),
    /// `SET standard_conforming_strings` in the plain way.
    StandardStrings(bool),
    /// `SET default_…`: holds for the entries after it, is part of none.
    Default,
    /// A statement about a database.
    Database,
}

/// Reads a statement (without comments), and adds what it needs to `needs`.
pub fn read(text: &[u8], standard_strings: bool, needs: &mut Needs) -> Meaning {
    let mut tokens = Tokens::new(text, standard_strings);
    let Some(first) = tokens.next() else { return Meaning::Other };
    if first.kind != Kind::Word {
        return Meaning::Other;
    }
    match first.text.to_ascii_lowercase().as_slice() {
        b"copy" => copy(tokens, text),
        b"insert" => insert(tokens),
        b"select" => select(tokens, text),
        b"set" => set(tokens, needs),
        b"create" => create(tokens, needs),
        b"alter" => alter(tokens, needs),
        b"drop" if tokens.eat("database") => Meaning::Database,
        b"comment" if tokens.eat("on") && tokens.eat("database") => Meaning::Database,
        b"security" if about_database(tokens.clone()) => Meaning::Database,
        b"grant" => grant(tokens, "to", needs),
        b"revoke" => grant(tokens, "from", needs),
        _ => Meaning::Other,
    }
}

/// `COPY [BINARY] name [(columns)] [WITH OIDS] {FROM | TO} {stdin | stdout | PROGRAM '…' | '…'} …`.
fn copy(mut tokens: Tokens<'_>, text: &[u8]) -> Meaning {
    let (target, binary) = copy_target(&mut tokens);
    let Some(direction) = tokens.find(|t| t.depth == 0 && (t.is("from") || t.is("to"))) else {
        return Meaning::Other;
    };
    let Some(place) = tokens.next() else { return Meaning::Other };
    if place.is("program") {
        return Meaning::CopyProgram;
    }
    if place.kind == Kind::String {
        return Meaning::CopyServerFile;
    }
    // The server takes both words for both directions.
    if direction.is("to") || !(place.is("stdin") || place.is("stdout")) {
        return Meaning::Other;
    }
    if binary || tokens.any(|t| is_binary(&t)) {
        return Meaning::CopyBinary;
    }
    let head = String::from_utf8_lossy(&text[target.end..direction.start]);
    let columns = head.trim().rsplit_once(')').map_or(String::new(), |(inner, _)| format!("{inner})"));
    Meaning::CopyIn { table: target.name, columns }
}

struct CopyTarget {
    name: String,
    end: usize,
}

/// The table, and whether the old `BINARY` stands before it (which is also a possible name).
fn copy_target(tokens: &mut Tokens<'_>) -> (CopyTarget, bool) {
    let mut ahead = tokens.clone();
    let binary = ahead.eat("binary") && ahead.clone().next().is_some_and(|t| t.is_name() && !is_direction(&t));
    if binary {
        *tokens = ahead;
    }
    let name = tokens.qualified().map(|n| String::from_utf8_lossy(n).into_owned()).unwrap_or_default();
    (CopyTarget { name, end: tokens.offset() }, binary)
}

fn is_direction(token: &Token<'_>) -> bool {
    token.is("from") || token.is("to") || token.is("with")
}

fn is_binary(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::String => token.value().eq_ignore_ascii_case("binary"),
        _ => token.is_name() && token.name() == "binary",
    }
}

fn insert(mut tokens: Tokens<'_>) -> Meaning {
    if !tokens.eat("into") {
        return Meaning::Other;
    }
    tokens.qualified().map_or(Meaning::Other, |name| Meaning::Insert(String::from_utf8_lossy(name).into_owned()))
}

/// The functions that pg_dump calls: `setval` and those of large objects.
fn select(mut tokens: Tokens<'_>, text: &[u8]) -> Meaning {
    let Some(function) = tokens.qualified() else { return Meaning::Other };
    let function = function.strip_prefix(b"pg_catalog.").unwrap_or(function);
    if !tokens.symbol(b'(') {
        return Meaning::Other;
    }
    match function {
        b"setval" => setval(tokens, text).unwrap_or(Meaning::Other),
        b"lo_create" => Meaning::LargeObjectCreate,
        b"lo_open" => tokens.next().map_or(Meaning::Other, |id| Meaning::LargeObjectOpen(id.value_or_text())),
        b"lowrite" => lowrite(tokens).unwrap_or(Meaning::Other),
        b"lo_close" => Meaning::LargeObjectClose,
        _ => Meaning::Other,
    }
}

fn setval(mut tokens: Tokens<'_>, text: &[u8]) -> Option<Meaning> {
    let name = tokens.string()?;
    tokens.symbol(b',').then_some(())?;
    let start = tokens.offset();
    let end = tokens.find(|t| t.kind == Kind::Symbol(b')') && t.depth == 0)?.start;
    let value = String::from_utf8_lossy(text.get(start..end)?).trim().to_owned();
    Some(Meaning::Sequence { name, value })
}

/// The hexadecimal digits of a page, without what stands before them.
fn lowrite(mut tokens: Tokens<'_>) -> Option<Meaning> {
    tokens.next()?;
    tokens.symbol(b',').then_some(())?;
    let page = tokens.next().filter(|t| t.kind == Kind::String)?;
    let quote = page.text.iter().position(|b| *b == b'\'')? + 1;
    let slashes = page.text[quote..].iter().take_while(|b| **b == b'\\').count();
    let x = usize::from(page.text.get(quote + slashes) == Some(&b'x'));
    let start = page.start + quote + slashes * x + x;
    Some(Meaning::LargeObjectWrite(start..page.end().saturating_sub(1).max(start)))
}

fn set(mut tokens: Tokens<'_>, needs: &mut Needs) -> Meaning {
    if tokens.eat("session") && tokens.eat("authorization") {
        if let Some(role) = tokens.next().filter(|t| !t.is("default") && t.kind != Kind::Symbol(b';')) {
            needs.roles.insert(role.value_or_name());
        }
        return Meaning::Other;
    }
    let Some(name) = tokens.name() else { return Meaning::Other };
    if !tokens.symbol(b'=') && !tokens.eat("to") {
        return Meaning::Other;
    }
    let Some(value) = tokens.next().map(|t| t.value_or_name()) else { return Meaning::Other };
    match name.as_str() {
        "client_encoding" => Meaning::Encoding(value),
        "standard_conforming_strings" => boolean(&value).map_or(Meaning::Other, Meaning::StandardStrings),
        "default_tablespace" => {
            if !value.is_empty() {
                needs.tablespaces.insert(value);
            }
            Meaning::Default
        }
        _ if name.starts_with("default_") => Meaning::Default,
        _ => Meaning::Other,
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn create(mut tokens: Tokens<'_>, needs: &mut Needs) -> Meaning {
    if tokens.eat("database") {
        return Meaning::Database;
    }
    if tokens.eat("extension") {
        if tokens.eat("if") {
            tokens.eat("not");
            tokens.eat("exists");
        }
        needs.extensions.extend(tokens.name());
    } else if tokens.eat("policy") {
        tokens.find(|t| t.depth == 0 && t.is("to"));
        roles(tokens, needs);
    } else if tokens.eat("schema") {
        if tokens.find(|t| t.depth == 0 && t.is("authorization")).is_some() {
            roles(tokens, needs);
        }
    } else if tokens.eat("user") {
        if tokens.eat("mapping") && tokens.find(|t| t.is("for")).is_some() {
            roles(tokens, needs);
        }
    } else if tokens.clone().take(3).any(|t| t.is("table") || t.is("index") || t.is("materialized")) {
        tablespaces(tokens, needs);
    }
    Meaning::Other
}

/// `TABLESPACE x` outside of parentheses.
fn tablespaces(mut tokens: Tokens<'_>, needs: &mut Needs) {
    while tokens.find(|t| t.depth == 0 && t.is("tablespace")).is_some() {
        needs.tablespaces.extend(tokens.name());
    }
}

fn alter(mut tokens: Tokens<'_>, needs: &mut Needs) -> Meaning {
    if tokens.eat("database") {
        return Meaning::Database;
    }
    if tokens.eat("default") {
        return default_privileges(tokens, needs);
    }
    if tokens.eat("role") || tokens.eat("user") {
        let about_database = tokens.by_ref().skip(1).take(2).collect::<Vec<_>>();
        let about_database =
            about_database.len() == 2 && about_database[0].is("in") && about_database[1].is("database");
        return if about_database { Meaning::Database } else { Meaning::Other };
    }
    while tokens.find(|t| t.depth == 0 && t.is("owner")).is_some() {
        if tokens.eat("to") {
            roles(tokens.clone(), needs);
        }
    }
    Meaning::Other
}

/// `ALTER DEFAULT PRIVILEGES [FOR ROLE a, b] [IN SCHEMA s] GRANT … TO c` or `REVOKE … FROM c`.
fn default_privileges(mut tokens: Tokens<'_>, needs: &mut Needs) -> Meaning {
    tokens.eat("privileges");
    if tokens.eat("for") && (tokens.eat("role") || tokens.eat("user")) {
        roles(tokens.clone(), needs);
    }
    match tokens.find(|t| t.depth == 0 && (t.is("grant") || t.is("revoke"))) {
        Some(verb) => grant(tokens, if verb.is("grant") { "to" } else { "from" }, needs),
        None => Meaning::Other,
    }
}

/// What follows `GRANT` or `REVOKE`.
fn grant(mut tokens: Tokens<'_>, preposition: &str, needs: &mut Needs) -> Meaning {
    if about_database(tokens.clone()) {
        return Meaning::Database;
    }
    if tokens.find(|t| t.depth == 0 && t.is(preposition)).is_some() {
        roles(tokens.clone(), needs);
    }
    while tokens.find(|t| t.is("granted")).is_some() {
        if tokens.eat("by") {
            roles(tokens.clone(), needs);
        }
    }
    Meaning::Other
}

/// Whether `ON DATABASE` stands outside of parentheses.
fn about_database(mut tokens: Tokens<'_>) -> bool {
    tokens.find(|t| t.depth == 0 && t.is("on")).is_some() && tokens.eat("database")
}

/// A list of roles; words that stand for a role without naming it are left out.
fn roles(mut tokens: Tokens<'_>, needs: &mut Needs) {
    loop {
        tokens.eat("group");
        let Some(token) = tokens.next().filter(Token::is_name) else { return };
        let named = !["public", "current_user", "current_role", "session_user", "none"].iter().any(|w| token.is(w));
        insert_role(&mut needs.roles, named, &token);
        if !tokens.symbol(b',') {
            return;
        }
    }
}

fn insert_role(roles: &mut BTreeSet<String>, named: bool, token: &Token<'_>) {
    if named {
        roles.insert(token.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Meaning {
        read(text.as_bytes(), true, &mut Needs::default())
    }

    fn needs(text: &str) -> Needs {
        let mut needs = Needs::default();
        read(text.as_bytes(), true, &mut needs);
        needs
    }

    fn copy_in(table: &str, columns: &str) -> Meaning {
        Meaning::CopyIn { table: table.into(), columns: columns.into() }
    }

    #[test]
    fn copy_from_stdin_in_every_writing_is_known() {
        assert_eq!(meaning("COPY public.actor (id, \"a)b\") FROM stdin;"), copy_in("public.actor", "(id, \"a)b\")"));
        assert_eq!(meaning("COPY public.nocols  FROM stdin;"), copy_in("public.nocols", ""));
        assert_eq!(meaning("copy\n\"from\".\"to (\" fRoM STDOUT with (format csv);"), copy_in("\"from\".\"to (\"", ""));
        assert_eq!(meaning("COPY t (a) WITH OIDS FROM stdin;"), copy_in("t", "(a)"));
        assert_eq!(meaning("COPY binary FROM stdin;"), copy_in("binary", ""));
        assert_eq!(meaning("COPY BINARY t FROM stdin;"), Meaning::CopyBinary);
        assert_eq!(meaning("COPY t FROM stdin WITH (FORMAT 'Binary');"), Meaning::CopyBinary);
        assert_eq!(meaning("COPY t FROM stdin (FORMAT \"binary\");"), Meaning::CopyBinary);
        assert_eq!(meaning("COPY (SELECT a FROM stdin) TO stdout;"), Meaning::Other);
    }

    #[test]
    fn fault_84_copy_with_a_program_or_a_file_of_the_server_is_known() {
        assert_eq!(meaning("COPY t TO PROGRAM 'x';"), Meaning::CopyProgram);
        assert_eq!(meaning("copy t (a) from program $$x$$;"), Meaning::CopyProgram);
        assert_eq!(meaning("COPY (select 1) TO PROGRAM 'x';"), Meaning::CopyProgram);
        assert_eq!(meaning("COPY t TO '/tmp/x';"), Meaning::CopyServerFile);
    }

    #[test]
    fn statements_about_databases_are_known() {
        for text in [
            "CREATE DATABASE x;",
            "drop database x;",
            "ALTER DATABASE x OWNER TO y;",
            "COMMENT ON DATABASE x IS 'y';",
            "SECURITY LABEL FOR p ON DATABASE x IS 'y';",
            "GRANT CONNECT ON DATABASE x TO y;",
            "REVOKE ALL ON DATABASE x FROM y;",
            "ALTER ROLE r IN DATABASE x SET a TO 'b';",
        ] {
            assert_eq!(meaning(text), Meaning::Database, "{text}");
            assert_eq!(needs(text), Needs::default(), "{text}");
        }
        assert_eq!(meaning("ALTER TABLE database OWNER TO y;"), Meaning::Other);
    }

    #[test]
    fn roles_are_found_wherever_a_dump_names_them() {
        for (text, roles) in [
            ("ALTER TABLE public.a OWNER TO Hub;", vec!["hub"]),
            ("ALTER FUNCTION f(\"owner to\" text) OWNER TO \"fred o'x\";", vec!["fred o'x"]),
            ("GRANT ALL ON SCHEMA s TO \"Tricky, TO public\" WITH GRANT OPTION;", vec!["Tricky, TO public"]),
            ("GRANT SELECT(a), UPDATE(b) ON TABLE t TO a, PUBLIC, GROUP b, \"public\";", vec!["a", "b", "public"]),
            ("REVOKE ALL ON FUNCTION f(a text) FROM CURRENT_USER;", vec![]),
            ("GRANT a TO b GRANTED BY c;", vec!["b", "c"]),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b;", vec!["a", "b"]),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON FUNCTIONS FROM PUBLIC;", vec!["a"]),
            ("CREATE POLICY p ON t TO a, b USING (true);", vec!["a", "b"]),
            ("CREATE POLICY p ON t USING (true);", vec![]),
            ("CREATE SCHEMA s AUTHORIZATION a;", vec!["a"]),
            ("SET SESSION AUTHORIZATION 'a';", vec!["a"]),
            ("SET SESSION AUTHORIZATION DEFAULT;", vec![]),
            ("CREATE USER MAPPING FOR a SERVER s;", vec!["a"]),
            ("COMMENT ON TABLE t IS 'OWNER TO x';", vec![]),
        ] {
            assert_eq!(needs(text).roles.into_iter().collect::<Vec<_>>(), roles, "{text}");
        }
    }

    #[test]
    fn extensions_and_tablespaces_are_found() {
        assert!(
            needs("CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;").extensions.contains("uuid-ossp")
        );
        assert!(needs("SET default_tablespace = fast;").tablespaces.contains("fast"));
        assert!(needs("SET default_tablespace = '';").tablespaces.is_empty());
        assert!(needs("CREATE INDEX i ON t USING btree (a) TABLESPACE \"Fast\";").tablespaces.contains("Fast"));
        assert!(needs("CREATE TABLE t (tablespace integer);").tablespaces.is_empty());
    }

    #[test]
    fn values_of_sequences_are_read_as_written() {
        let name = "\"s p\".\"se'q\"".to_owned();
        let expected = Meaning::Sequence { name, value: "77, false".into() };
        assert_eq!(meaning("SELECT pg_catalog.setval('\"s p\".\"se''q\"', 77, false);"), expected);
    }

    #[test]
    fn pages_of_large_objects_lose_what_stands_before_their_digits() {
        for text in ["SELECT pg_catalog.lowrite(0, '\\x00ff');", "SELECT lowrite(0, E'\\\\x00ff');"] {
            let Meaning::LargeObjectWrite(range) = meaning(text) else { panic!("{text}") };
            assert_eq!(&text[range], "00ff");
        }
        assert_eq!(meaning("SELECT pg_catalog.lo_open('4242', 131072);"), Meaning::LargeObjectOpen("4242".into()));
    }

    #[test]
    fn settings_are_read_in_the_plain_way_only() {
        assert_eq!(meaning("SET standard_conforming_strings = off;"), Meaning::StandardStrings(false));
        assert_eq!(meaning("set standard_conforming_strings to 'on';"), Meaning::StandardStrings(true));
        assert_eq!(meaning("SET LOCAL standard_conforming_strings = on;"), Meaning::Other);
        assert_eq!(meaning("SET client_encoding = 'UTF8';"), Meaning::Encoding("UTF8".into()));
        assert_eq!(meaning("SET default_table_access_method = heap;"), Meaning::Default);
    }
}
