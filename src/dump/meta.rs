//! Backslash commands: the few that pg_dump writes, in exactly the form it writes them. All else is foreign.

/// A backslash command, from its backslash to the end of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    /// `\restrict TOKEN`.
    Restrict(String),
    /// `\unrestrict TOKEN`.
    Unrestrict(String),
    /// `\connect DATABASE`.
    Connect(String),
    /// `\encoding SQL_ASCII`: comes before the `\connect` to a database with an odd name.
    Encoding,
    /// A stray `\.`: psql refuses it, and it does nothing.
    Dot,
    /// Anything else.
    Other,
}

/// Reads a command; `alone` says that it began in the first column, between statements.
pub fn read(line: &[u8], alone: bool) -> Meta {
    let Ok(line) = std::str::from_utf8(line) else { return Meta::Other };
    let line = line.trim_end_matches([' ', '\t', '\r']);
    if !alone {
        return Meta::Other;
    }
    if line == "\\." {
        return Meta::Dot;
    }
    if line == "\\encoding SQL_ASCII" {
        return Meta::Encoding;
    }
    match line.split_once(' ') {
        Some(("\\restrict", token)) if is_token(token) => Meta::Restrict(token.to_owned()),
        Some(("\\unrestrict", token)) if is_token(token) => Meta::Unrestrict(token.to_owned()),
        Some(("\\connect", target)) => database(target).map_or(Meta::Other, Meta::Connect),
        _ => Meta::Other,
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The database of a `\connect`: a name, a quoted name, or pg_dump's connection string for odd names.
fn database(target: &str) -> Option<String> {
    if target.contains(['\\', '`', ':']) {
        return None;
    }
    if let Some(rest) = target.strip_prefix("-reuse-previous=on ") {
        let inner = rest.strip_prefix("\"dbname='")?.strip_suffix("'\"")?;
        return (!inner.contains(['\'', '"'])).then(|| inner.to_owned());
    }
    if let Some(inner) = target.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let odd = inner.replace("\"\"", "").contains('"');
        return (!odd && !inner.is_empty()).then(|| inner.replace("\"\"", "\""));
    }
    let plain = target.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80);
    (plain && !target.is_empty()).then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_forms_of_pg_dump_are_known() {
        assert_eq!(read(b"\\restrict abC1", true), Meta::Restrict("abC1".into()));
        assert_eq!(read(b"\\unrestrict abC1\r", true), Meta::Unrestrict("abC1".into()));
        assert_eq!(read(b"\\connect hub", true), Meta::Connect("hub".into()));
        assert_eq!(read(b"\\connect \"a b\"", true), Meta::Connect("a b".into()));
        assert_eq!(read(b"\\connect -reuse-previous=on \"dbname='a b'\"", true), Meta::Connect("a b".into()));
        assert_eq!(read(b"\\.", true), Meta::Dot);
    }

    #[test]
    fn fault_83_a_second_command_does_not_hide_behind_a_known_one() {
        for line in [
            "\\restrict a\\! x",
            "\\restrict a \\! x",
            "\\restrict `x`",
            "\\connect hub \\! x",
            "\\connect `x`",
            "\\connect :x",
            "\\connect hub other",
            "\\connect -reuse-previous=on \"dbname='a' host='evil'\"",
            "\\connect \"a\" \"b\"",
            "\\unrestrict",
            "\\.\\! x",
            "\\! x",
        ] {
            assert_eq!(read(line.as_bytes(), true), Meta::Other, "{line}");
        }
        assert_eq!(read(b"\\restrict abc", false), Meta::Other);
    }
}
