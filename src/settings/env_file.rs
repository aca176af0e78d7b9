//! `ENV_FILE`, read as Compose reads it. It knows the syntax, not which variables matter.
//!
//! Compose's rules: `NAME=value` or `NAME: value`, an `export` before it is ignored; `#` begins a comment at the
//! start of a line, after a space in an unquoted value, and after a closing quote; unquoted and double-quoted values
//! are interpolated (`$A`, `${A}`, `${A:-b}`, `${A-b}`, `${A:?text}`, `${A?text}`, `${A:+b}`, `${A+b}`, `$$`), single-quoted ones are not;
//! `\n`, `\r`, `\t`, `\\`, `\"`, `\$` are escapes between double quotes; quoted values may go over several lines; a name alone
//! takes its value from the environment; CRLF is a line end; a byte order mark is skipped.
//!
//! Stricter than Compose: text after a closing quote is refused instead of being taken for the next name.

use std::collections::BTreeMap;

/// What the file says, in the order of the names; the last of several lines holds.
pub type Variables = BTreeMap<String, String>;

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong. Never holds the value of anything.
    pub kind: Syntax,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Syntax {
    /// No `=`, or a name with characters that names do not have.
    Name,
    /// A quote that is never closed.
    OpenQuote,
    /// Text after a closing quote.
    AfterQuote,
    /// A `$` that begins nothing: `$1`, `${`, `${A!b}`.
    Dollar,
    /// `${NAME:?…}` and `NAME` is not set.
    Required(String),
}

/// Reads `text`; `lookup` is the environment, which goes before the file's own earlier lines.
///
/// # Errors
/// The first line that cannot be read.
pub fn parse(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Variables, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut parser = Parser { rest: &text, line: 1, variables: Variables::new(), lookup };
    while parser.statement()? {}
    Ok(parser.variables)
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    variables: Variables,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Parser<'a> {
    fn statement(&mut self) -> Result<bool, SyntaxError> {
        self.skip_blank_and_comments();
        if self.rest.is_empty() {
            return Ok(false);
        }
        let (name, has_value) = self.name()?;
        if !has_value {
            if let Some(value) = (self.lookup)(&name) {
                self.variables.insert(name, value);
            }
            return Ok(true);
        }
        let value = match self.rest.as_bytes().first() {
            Some(b'\'') => self.quoted('\'')?,
            Some(b'"') => {
                let line = self.line;
                let raw = self.quoted('"')?;
                self.expand(&raw, true).map_err(|kind| SyntaxError { line, kind })?
            }
            _ => self.unquoted()?,
        };
        self.variables.insert(name, value);
        Ok(true)
    }

    fn skip_blank_and_comments(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            self.line += newlines(&self.rest[..self.rest.len() - trimmed.len()]);
            self.rest = trimmed;
            if !trimmed.starts_with('#') {
                return;
            }
            self.rest = &trimmed[trimmed.find('\n').unwrap_or(trimmed.len())..];
        }
    }

    /// The name, and whether a value follows on the line.
    fn name(&mut self) -> Result<(String, bool), SyntaxError> {
        if let Some(after) = self.rest.strip_prefix("export").filter(|after| after.starts_with([' ', '\t'])) {
            self.rest = after.trim_start_matches([' ', '\t']);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim();
        let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        if name.is_empty() || !name.chars().all(legal) {
            return Err(self.error(Syntax::Name));
        }
        let has_value = self.rest[end..].starts_with(['=', ':']);
        let after = &self.rest[(end + usize::from(has_value))..];
        self.rest = after.trim_start_matches(is_blank);
        Ok((name.to_owned(), has_value))
    }

    fn unquoted(&mut self) -> Result<String, SyntaxError> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        // A value that is nothing but a comment (`A= # later`) has lost its space already.
        let value = if line.starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
        let value = self.expand(value.trim_end(), false).map_err(|kind| self.error(kind))?;
        self.rest = &self.rest[end..];
        Ok(value)
    }

    /// What stands between the quotes; `\` before the quote keeps it, all other escapes are left as they are.
    fn quoted(&mut self, quote: char) -> Result<String, SyntaxError> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                match chars.next() {
                    Some((_, next)) if next == quote => value.push(quote),
                    Some((_, next)) => value.extend(['\\', next]),
                    None => break,
                }
            } else if c == quote {
                let rest = &self.rest[at + quote.len_utf8()..];
                self.line += newlines(&self.rest[..at]);
                self.rest = rest;
                return self.end_of_quoted().map(|()| value);
            } else {
                value.push(c);
            }
        }
        Err(self.error(Syntax::OpenQuote))
    }

    fn end_of_quoted(&mut self) -> Result<(), SyntaxError> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let after = self.rest[..end].trim();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(self.error(Syntax::AfterQuote));
        }
        self.rest = &self.rest[end..];
        Ok(())
    }

    fn expand(&self, value: &str, escapes: bool) -> Result<String, Syntax> {
        let value = if escapes { unescape(value) } else { value.to_owned() };
        interpolate(&value, &|name| (self.lookup)(name).or_else(|| self.variables.get(name).cloned()))
    }

    fn error(&self, kind: Syntax) -> SyntaxError {
        SyntaxError { line: self.line, kind }
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\n'
}

/// `\$` becomes `$$`, which interpolation makes one `$`.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('"') => out.push('"'),
            Some('\\') => out.push('\\'),
            Some('$') => out.push_str("$$"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Syntax> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            after
        } else if let Some(braced) = after.strip_prefix('{') {
            let end = closing_brace(braced).ok_or(Syntax::Dollar)?;
            out.push_str(&substitute(&braced[..end], lookup)?);
            &braced[end + 1..]
        } else {
            let (name, after) = split_name(after);
            if name.is_empty() {
                return Err(Syntax::Dollar);
            }
            out.push_str(&lookup(name).unwrap_or_default());
            after
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace closes whose inside begins here; braces of inner `${…}` are skipped.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

fn split_name(text: &str) -> (&str, &str) {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_alphabetic() || *c == '_' || (*at > 0 && c.is_ascii_digit())))
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

/// The inside of `${…}`.
fn substitute(inside: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Syntax> {
    let (name, operator) = split_name(inside);
    if name.is_empty() {
        return Err(Syntax::Dollar);
    }
    let (or_empty, operator) = match operator.strip_prefix(':') {
        Some(operator) => (true, operator),
        None => (false, operator),
    };
    let value = lookup(name);
    let counts = value.as_ref().is_some_and(|value| !(or_empty && value.is_empty()));
    if let Some(default) = operator.strip_prefix('-') {
        return if counts { Ok(value.unwrap_or_default()) } else { interpolate(default, lookup) };
    }
    if let Some(replacement) = operator.strip_prefix('+') {
        return if counts { interpolate(replacement, lookup) } else { Ok(String::new()) };
    }
    if operator.starts_with('?') {
        return if counts { Ok(value.unwrap_or_default()) } else { Err(Syntax::Required(name.to_owned())) };
    }
    if operator.is_empty() && !or_empty { Ok(value.unwrap_or_default()) } else { Err(Syntax::Dollar) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Variables, SyntaxError> {
        let environment = |name: &str| match name {
            "HOME_TOWN" => Some("Brest".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        parse(text, &environment)
    }

    fn value(text: &str) -> String {
        read(text).expect("readable").remove("VAR").expect("VAR is set")
    }

    /// The examples of Compose's documentation of the syntax.
    #[test]
    fn values_are_read_as_compose_documents_them() {
        for (line, expected) in [
            ("VAR=VAL", "VAL"),
            ("VAR=\"VAL\"", "VAL"),
            ("VAR='VAL'", "VAL"),
            ("VAR: VAL", "VAL"),
            ("VAR = VAL  ", "VAL"),
            ("VAR=VAL # comment", "VAL"),
            ("VAR=VAL# not a comment", "VAL# not a comment"),
            ("VAR=\"VAL # not a comment\"", "VAL # not a comment"),
            ("VAR=\"VAL\" # comment", "VAL"),
            ("VAR='$OTHER'", "$OTHER"),
            ("VAR='${OTHER}'", "${OTHER}"),
            ("VAR='Let\\'s go!'", "Let's go!"),
            (r#"VAR="{\"hello\": \"json\"}""#, r#"{"hello": "json"}"#),
            (r#"VAR="some\tvalue""#, "some\tvalue"),
            (r"VAR='some\tvalue'", r"some\tvalue"),
            (r"VAR=some\tvalue", r"some\tvalue"),
            ("VAR='two\nlines'", "two\nlines"),
            ("export VAR=VAL", "VAL"),
            ("VAR=", ""),
            ("VAR= # nothing", ""),
            ("VAR=\"\"", ""),
            ("VAR=a=b:c", "a=b:c"),
            ("VAR=VAL\r\nNEXT=1\r\n", "VAL"),
            ("\u{feff}VAR=VAL", "VAL"),
            ("VAR=1\nVAR=2", "2"),
            ("VAR=éà 日本", "éà 日本"),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }

    #[test]
    fn dollars_are_interpolated() {
        for (line, expected) in [
            ("VAR=$HOME_TOWN", "Brest"),
            ("VAR=\"${HOME_TOWN}, Bretagne\"", "Brest, Bretagne"),
            ("A=1\nVAR=${A}2", "12"),
            ("HOME_TOWN=Paris\nVAR=$HOME_TOWN", "Brest"),
            ("VAR=a${NONE}b", "ab"),
            ("VAR=${NONE:-d}", "d"),
            ("VAR=${NONE-d}", "d"),
            ("VAR=${EMPTY:-d}", "d"),
            ("VAR=${EMPTY-d}", ""),
            ("VAR=${NONE:-${HOME_TOWN}}", "Brest"),
            ("VAR=${HOME_TOWN:+set}", "set"),
            ("VAR=${EMPTY:+set}", ""),
            ("VAR=${EMPTY+set}", "set"),
            ("VAR=${HOME_TOWN:?needed}", "Brest"),
            ("VAR=pa$$word", "pa$word"),
            (r#"VAR="pa\$word""#, "pa$word"),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }

    #[test]
    fn a_name_alone_takes_the_value_of_the_environment() {
        let variables = read("HOME_TOWN\nNONE\nVAR=1").expect("readable");
        assert_eq!(variables.get("HOME_TOWN").map(String::as_str), Some("Brest"));
        assert_eq!(variables.get("NONE"), None);
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let variables = read("# head\n\n   # indented\nA=1\n#B=2\n\n").expect("readable");
        assert_eq!(variables, Variables::from([("A".into(), "1".into())]));
        assert_eq!(read("").expect("empty"), Variables::new());
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        for (text, line, kind) in [
            ("A=1\nB C=2", 2, Syntax::Name),
            ("A=1\n=2", 2, Syntax::Name),
            ("A='x\ny", 1, Syntax::OpenQuote),
            ("\n\nA=\"x\" y", 3, Syntax::AfterQuote),
            ("A='1\n2'\nB='x' y", 3, Syntax::AfterQuote),
            ("A=pa$1", 1, Syntax::Dollar),
            ("A=${B", 1, Syntax::Dollar),
            ("A=${B!c}", 1, Syntax::Dollar),
            ("A=${B:?give B}", 1, Syntax::Required("B".into())),
        ] {
            assert_eq!(read(text), Err(SyntaxError { line, kind }), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-z=:'\"\\\\ #${}?+\\n\\r-]{0,60}") {
            let _ = read(&text);
        }

        #[test]
        fn single_quoted_values_come_back(value in "[^'\\\\\r]{0,40}") {
            let variables = read(&format!("VAR='{value}'\n")).expect("readable");
            proptest::prop_assert_eq!(variables.get("VAR"), Some(&value));
        }
    }
}
