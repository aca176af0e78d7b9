//! What pg_dump says in comments: the heads of its entries, versions, its first and last line. No SQL.

/// A comment line that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// `PostgreSQL database dump`.
    Begin,
    /// `PostgreSQL database dump complete`.
    Complete,
    /// A line of `pg_dumpall`.
    Cluster,
    /// `Dumped from database version`.
    Server(String),
    /// `Dumped by pg_dump version`.
    Client(String),
    /// The head of an entry; the key of its schema, `None` when it is data.
    Entry(Option<String>),
    /// Anything else.
    Other,
}

/// Types of entries that hold data or values, not schema.
const DATA: [&str; 4] = ["TABLE DATA", "SEQUENCE SET", "BLOBS", "BLOB DATA"];

/// Reads a `--` comment that began in the first column, without its line end.
pub fn read(comment: &[u8]) -> Note {
    let text = String::from_utf8_lossy(comment);
    match text.trim_end() {
        "-- PostgreSQL database dump" => return Note::Begin,
        "-- PostgreSQL database dump complete" => return Note::Complete,
        "-- PostgreSQL database cluster dump" | "-- PostgreSQL database cluster dump complete" => return Note::Cluster,
        _ => {}
    }
    let after = |prefix| text.strip_prefix(prefix).map(|rest: &str| rest.trim().to_owned());
    if let Some(version) = after("-- Dumped from database version ") {
        Note::Server(version)
    } else if let Some(version) = after("-- Dumped by pg_dump version ") {
        Note::Client(version)
    } else if text.starts_with("-- Data for Name: ") {
        Note::Entry(None)
    } else if let Some(rest) = text.strip_prefix("-- Name: ") {
        entry(rest)
    } else {
        Note::Other
    }
}

/// `x; Type: T; Schema: s; Owner: o`. Names may hold any of that, so it is read from the right.
fn entry(rest: &str) -> Note {
    let parts = rest.rsplit_once("; Owner: ").and_then(|(head, _)| head.rsplit_once("; Schema: "));
    let Some((head, schema)) = parts else { return Note::Other };
    let Some((name, kind)) = head.rsplit_once("; Type: ") else { return Note::Other };
    if DATA.contains(&kind) {
        return Note::Entry(None);
    }
    Note::Entry(Some(match schema {
        "-" => format!("{kind} {name}"),
        _ => format!("{kind} {schema}.{name}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(comment: &str) -> Option<String> {
        match read(comment.as_bytes()) {
            Note::Entry(key) => key,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_is_known_by_type_schema_and_name() {
        assert_eq!(key("-- Name: actor; Type: TABLE; Schema: public; Owner: -").as_deref(), Some("TABLE public.actor"));
        assert_eq!(
            key("-- Name: EXTENSION x; Type: COMMENT; Schema: -; Owner: ").as_deref(),
            Some("COMMENT EXTENSION x")
        );
        assert_eq!(key("-- Name: s p; Type: SCHEMA; Schema: -; Owner: hub").as_deref(), Some("SCHEMA s p"));
        let hostile = "-- Name: a; Type: x; Schema: y; Owner: z; Type: TABLE; Schema: s; Owner: o; Tablespace: t";
        assert_eq!(key(hostile).as_deref(), Some("TABLE s.a; Type: x; Schema: y; Owner: z"));
    }

    #[test]
    fn data_is_not_schema() {
        assert_eq!(key("-- Data for Name: gen; Type: TABLE DATA; Schema: public; Owner: x"), None);
        assert_eq!(key("-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: x"), None);
    }

    #[test]
    fn versions_and_the_first_and_last_line_are_known() {
        assert_eq!(read(b"-- Dumped from database version 17.1 (Debian)"), Note::Server("17.1 (Debian)".into()));
        assert_eq!(read(b"-- Dumped by pg_dump version 15.2"), Note::Client("15.2".into()));
        assert_eq!(read(b"-- PostgreSQL database dump complete\r"), Note::Complete);
        assert_eq!(read(b"-- PostgreSQL database dump complete!"), Note::Other);
        assert_eq!(read(b"--"), Note::Other);
    }
}
