//! Tokens of one statement whose text is at hand (comments already taken out by the lexer), and the
//! names and strings they stand for. No grammar.

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or an unquoted name.
    Word,
    /// A `"quoted"` name.
    Quoted,
    /// A string of any kind, with its quotes and prefix.
    String,
    /// A number.
    Number,
    /// Any other byte.
    Symbol(u8),
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a [u8],
    /// Where it begins in the statement.
    pub start: usize,
    /// How many parentheses are open before it.
    pub depth: u32,
}

impl Token<'_> {
    /// Whether it is this keyword (given in lower case).
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword.as_bytes())
    }

    /// Whether it can be a name.
    pub fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }

    /// Where it ends in the statement.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The name it stands for: unquoted names in lower case, quoted ones without their quotes.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Quoted => {
                let inner = trim_ends(self.text, 1);
                String::from_utf8_lossy(inner).replace("\"\"", "\"")
            }
            _ => String::from_utf8_lossy(self.text).to_ascii_lowercase(),
        }
    }

    /// The string or the name it stands for.
    pub fn value_or_name(&self) -> String {
        if self.kind == Kind::String { self.value() } else { self.name() }
    }

    /// The string it stands for, or its text.
    pub fn value_or_text(&self) -> String {
        if self.kind == Kind::String { self.value() } else { String::from_utf8_lossy(self.text).into_owned() }
    }

    /// The string it stands for.
    pub fn value(&self) -> String {
        let quote = self.text.iter().position(|b| *b == b'\'');
        let Some(quote) = quote.filter(|_| self.text[0] != b'$') else {
            return dollar_value(self.text);
        };
        let inner = String::from_utf8_lossy(trim_ends(&self.text[quote..], 1)).replace("''", "'");
        match self.text[0] {
            b'E' | b'e' => inner.replace("\\\\", "\\").replace("\\'", "'"),
            _ => inner,
        }
    }
}

fn trim_ends(text: &[u8], by: usize) -> &[u8] {
    text.get(by..text.len().saturating_sub(by)).unwrap_or_default()
}

fn dollar_value(text: &[u8]) -> String {
    let tag = text.iter().skip(1).position(|b| *b == b'$').map_or(0, |at| at + 2);
    String::from_utf8_lossy(trim_ends(text, tag)).into_owned()
}

/// Iterates over the tokens of a statement.
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    standard_strings: bool,
}

impl<'a> Tokens<'a> {
    /// Of this statement; `standard_strings` says what a backslash means in `'…'`.
    pub fn new(text: &'a [u8], standard_strings: bool) -> Self {
        Self { text, at: 0, depth: 0, standard_strings }
    }

    /// The next token if it is this keyword; else nothing is consumed.
    pub fn eat(&mut self, keyword: &str) -> bool {
        let mut ahead = self.clone();
        let hit = ahead.next().is_some_and(|t| t.is(keyword));
        if hit {
            *self = ahead;
        }
        hit
    }

    /// The next token if it is a name, as the name it stands for.
    pub fn name(&mut self) -> Option<String> {
        let mut ahead = self.clone();
        let name = ahead.next().filter(Token::is_name)?.name();
        *self = ahead;
        Some(name)
    }

    /// The next token if it is a string, as the string it stands for.
    pub fn string(&mut self) -> Option<String> {
        let mut ahead = self.clone();
        let value = ahead.next().filter(|t| t.kind == Kind::String)?.value();
        *self = ahead;
        Some(value)
    }

    /// The next token if it is this symbol.
    pub fn symbol(&mut self, symbol: u8) -> bool {
        let mut ahead = self.clone();
        let hit = ahead.next().is_some_and(|t| t.kind == Kind::Symbol(symbol));
        if hit {
            *self = ahead;
        }
        hit
    }

    /// A name as it is written, with its schema: `public."a b"`.
    pub fn qualified(&mut self) -> Option<&'a [u8]> {
        let mut ahead = self.clone();
        let first = ahead.next().filter(Token::is_name)?;
        let mut end = first.end();
        *self = ahead;
        while self.symbol(b'.') {
            let part = self.next().filter(Token::is_name)?;
            end = part.end();
        }
        self.text.get(first.start..end)
    }

    /// Where the cursor stands in the statement.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What follows the cursor.
    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn length(&self, rest: &[u8]) -> (Kind, usize) {
        let word = run(rest, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80);
        match rest[0] {
            b'\'' => (Kind::String, self.string_length(rest, self.standard_strings)),
            b'"' => (Kind::Quoted, quoted_length(rest)),
            b'$' => (Kind::String, dollar_length(rest)),
            b'0'..=b'9' => (Kind::Number, run(rest, |b| b.is_ascii_alphanumeric() || b == b'.')),
            _ if word == 0 => (Kind::Symbol(rest[0]), 1),
            _ => self.word_length(rest, word),
        }
    }

    fn word_length(&self, rest: &[u8], word: usize) -> (Kind, usize) {
        let prefix = rest[..word].to_ascii_lowercase();
        let quote = match (prefix.as_slice(), rest.get(word..)) {
            (b"u", Some([b'&', b'\'', ..])) => Some(word + 1),
            (b"e" | b"b" | b"x" | b"n", Some([b'\'', ..])) => Some(word),
            _ => None,
        };
        let Some(quote) = quote else { return (Kind::Word, word) };
        let raw = if prefix == b"n" { self.standard_strings } else { prefix != b"e" };
        (Kind::String, quote + self.string_length(&rest[quote..], raw))
    }

    fn string_length(&self, rest: &[u8], raw: bool) -> usize {
        let mut at = 1;
        while let Some(byte) = rest.get(at) {
            match byte {
                b'\\' if !raw => at += 2,
                b'\'' if rest.get(at + 1) == Some(&b'\'') => at += 2,
                b'\'' => return at + 1,
                _ => at += 1,
            }
        }
        rest.len()
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let text = self.text;
        self.at += run(self.rest(), |b| b.is_ascii_whitespace() || b == 0x0b);
        let rest = text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let (kind, length) = self.length(rest);
        if kind == Kind::Symbol(b')') {
            self.depth = self.depth.saturating_sub(1);
        }
        let token = Token { kind, text: &rest[..length], start: self.at, depth: self.depth };
        if kind == Kind::Symbol(b'(') {
            self.depth = self.depth.saturating_add(1);
        }
        self.at += length;
        Some(token)
    }
}

fn run(text: &[u8], keep: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|b| !keep(*b)).unwrap_or(text.len())
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' if rest.get(at + 1) == Some(&b'"') => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn dollar_length(rest: &[u8]) -> usize {
    let word = run(&rest[1..], |b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80);
    let digits = rest.get(1).is_some_and(u8::is_ascii_digit);
    if digits || rest.get(1 + word) != Some(&b'$') {
        return if digits { 1 + run(&rest[1..], |b| b.is_ascii_digit()) } else { 1 };
    }
    let tag = &rest[..word + 2];
    let body = &rest[tag.len()..];
    memchr::memmem::find(body, tag).map_or(rest.len(), |at| at + 2 * tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(statement: &str) -> Vec<String> {
        Tokens::new(statement.as_bytes(), true).map(|t| String::from_utf8_lossy(t.text).into_owned()).collect()
    }

    #[test]
    fn strings_of_every_kind_are_one_token() {
        let statement = r#"a 'it''s' E'\'' U&'\0041' $$b$c$$ $t$ $$ $t$ "x""y".z $1 12.5"#;
        let expected =
            ["a", "'it''s'", r"E'\''", r"U&'\0041'", "$$b$c$$", "$t$ $$ $t$", "\"x\"\"y\"", ".", "z", "$1", "12.5"];
        assert_eq!(texts(statement), expected);
    }

    #[test]
    fn names_and_values_lose_their_quotes() {
        let mut tokens = Tokens::new(br#"Foo "B""ar" 'it''s' E'a\\b'"#, true);
        assert_eq!(tokens.name().as_deref(), Some("foo"));
        assert_eq!(tokens.name().as_deref(), Some("B\"ar"));
        assert_eq!(tokens.string().as_deref(), Some("it's"));
        assert_eq!(tokens.string().as_deref(), Some("a\\b"));
        assert_eq!(tokens.next(), None);
    }

    #[test]
    fn a_qualified_name_stays_as_written() {
        let mut tokens = Tokens::new(br#""s p"."t;1""q" (id)"#, true);
        assert_eq!(tokens.qualified(), Some(br#""s p"."t;1""q""#.as_slice()));
        assert_eq!(tokens.rest(), b" (id)");
    }

    #[test]
    fn depth_is_that_outside_of_a_parenthesis() {
        let depths: Vec<u32> = Tokens::new(b"a (b (c)) d", true).map(|t| t.depth).collect();
        assert_eq!(depths, [0, 0, 1, 1, 2, 1, 0, 0]);
    }
}
