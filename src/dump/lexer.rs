//! psql's lexical rules (its `psqlscan.l`), as a push parser: where a statement ends, what is a quoted
//! string, a comment, a backslash command. What a statement means is not known here.
//!
//! Whatever the chunks, the events are the same: all state between two bytes lives in [`Lexer`]. Memory
//! is bounded by [`HEAD_LIMIT`] and [`NOTE_LIMIT`].

use memchr::{memchr, memchr2};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// How much of a statement is kept as text. The rest is hashed and forgotten.
pub const HEAD_LIMIT: usize = 256 * 1024;
/// How much of a comment or of a backslash command is kept.
pub const NOTE_LIMIT: usize = 64 * 1024;
/// The longest dollar-quote tag that is followed.
const TAG_LIMIT: usize = 1024;

/// What the lexer found; it stands right behind it. Texts are asked from the [`Lexer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A statement ended with `;` where psql ends it: [`Lexer::head`], [`Lexer::digest`].
    Statement,
    /// A `--` comment that began in the first column, between statements: [`Lexer::note`].
    Comment,
    /// A backslash command, to the end of its line (which is not consumed): [`Lexer::note`].
    Meta {
        /// It began in the first column and between statements.
        alone: bool,
    },
    /// Something that psql and this program, or psql and the server, could read differently.
    Doubt(Doubt),
}

/// Constructs that no dump holds and that cannot be followed safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Two readings of quotes are possible.
    Quotes,
    /// psql waits for an `END` that the server does not.
    Begin,
    /// A dollar tag of more than a kilobyte.
    Tag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// `'…'`: what a backslash means depends on `standard_conforming_strings`.
    Plain,
    /// `E'…'`.
    Escape,
    /// `U&'…'`, `B'…'`, `X'…'`: backslashes mean nothing to the lexer.
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Normal,
    Word,
    Number,
    /// `u&` seen: a quote may follow.
    Unicode,
    Dash,
    Slash,
    /// `$` seen; the tag is being collected.
    Tag,
    /// In a dollar body; so many bytes of the closing tag are matched.
    Body(usize),
    /// In a string; whether the byte before was an unpaired backslash.
    String(Quote, bool),
    /// A quote inside a string: its end or half of a doubled one.
    StringQuote(Quote),
    Identifier,
    LineComment,
    /// In a block comment: depth, last byte.
    BlockComment(u32, u8),
    /// In a backslash command.
    Meta,
}

/// Where the input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Between two statements.
    Nothing,
    /// A statement without its `;`.
    Statement,
    /// Inside a quoted string, identifier or dollar body.
    Quote,
    /// Inside a block comment.
    Comment,
}

/// The lexer. See the module.
pub struct Lexer {
    state: State,
    standard_strings: bool,
    parens: u32,
    begins: u32,
    word: Word,
    words: Words,
    /// A `begin` was counted: `atomic` must follow.
    expect_atomic: bool,
    /// An `E''` or its like just ended: a string right after it would continue it for the server, not for psql.
    after_prefixed: bool,
    tag: Vec<u8>,
    statement: Text,
    started: bool,
    note: Vec<u8>,
    keep_note: bool,
    alone: bool,
    last: u8,
    groups: Groups,
    diverging: bool,
    doubt: Option<Doubt>,
    reset: bool,
    /// Offset of the byte under the cursor, and of the first byte of the statement and of the note.
    at: u64,
    start: u64,
    note_start: u64,
}

/// Parenthesised groups at the top level of a statement: how rows of an `INSERT` are counted.
#[derive(Debug, Default, Clone, Copy)]
struct Groups {
    total: u64,
    at_values: Option<u64>,
    end: Option<u64>,
}

/// The word under the cursor: its first bytes in lower case.
#[derive(Debug, Default, Clone, Copy)]
struct Word {
    bytes: [u8; 10],
    len: usize,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte.to_ascii_lowercase();
        }
        self.len += 1;
    }

    fn is(&self, text: &str) -> bool {
        self.len == text.len() && self.bytes.get(..self.len) == Some(text.as_bytes())
    }
}

/// The first four words of a statement, as psql remembers them to know a function's `BEGIN`.
#[derive(Debug, Default, Clone, Copy)]
struct Words {
    initials: [u8; 4],
    count: usize,
}

impl Words {
    fn push(&mut self, word: &Word) {
        if let Some(slot) = self.initials.get_mut(self.count) {
            let known = ["create", "function", "procedure", "or", "replace"];
            *slot = known.iter().find(|k| word.is(k)).map_or(0, |k| k.as_bytes()[0]);
        }
        self.count = self.count.saturating_add(1);
    }

    fn create_routine(&self) -> bool {
        matches!(self.initials, [b'c', b'f' | b'p', ..] | [b'c', b'o', b'r', b'f' | b'p'])
    }
}

/// The text of a statement: its head, and a digest of all of it.
struct Text {
    head: Vec<u8>,
    overflow: Option<Box<Xxh3Default>>,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        if self.overflow.is_none() && self.head.len() + bytes.len() <= HEAD_LIMIT {
            self.head.extend_from_slice(bytes);
            return;
        }
        let hasher = self.overflow.get_or_insert_with(|| {
            let mut hasher = Box::new(Xxh3Default::new());
            hasher.update(&self.head);
            hasher
        });
        hasher.update(bytes);
        let room = HEAD_LIMIT.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
    }

    fn clear(&mut self) {
        self.head.clear();
        self.overflow = None;
    }
}

impl Default for Lexer {
    fn default() -> Self {
        Self {
            state: State::Normal,
            standard_strings: true,
            parens: 0,
            begins: 0,
            word: Word::default(),
            words: Words::default(),
            expect_atomic: false,
            after_prefixed: false,
            tag: Vec::new(),
            statement: Text { head: Vec::new(), overflow: None },
            started: false,
            note: Vec::new(),
            keep_note: false,
            alone: false,
            last: b'\n',
            groups: Groups::default(),
            diverging: false,
            doubt: None,
            reset: false,
            at: 0,
            start: 0,
            note_start: 0,
        }
    }
}

impl Lexer {
    /// Reads `chunk`, which lies at `offset` of the stream, up to the next event: how many bytes were
    /// consumed, and the event right behind them.
    pub fn scan(&mut self, chunk: &[u8], offset: u64) -> (usize, Option<Event>) {
        if self.reset {
            self.begin_statement();
        }
        let mut at = 0;
        while at < chunk.len() {
            self.at = offset + at as u64;
            let (used, event) = self.step(&chunk[at..]);
            if used > 0 {
                self.last = chunk[at + used - 1];
            }
            at += used;
            if let Some(doubt) = self.doubt.take() {
                // The event behind it, if any, is found again: nothing that makes one consumes and doubts at once.
                debug_assert!(event.is_none());
                return (at, Some(Event::Doubt(doubt)));
            }
            if event.is_some() {
                return (at, event);
            }
        }
        (at, None)
    }

    /// Ends the input: a comment or a backslash command without a line end counts.
    pub fn finish(&mut self) -> Option<Event> {
        match self.state {
            State::LineComment => self.end_comment(),
            State::Meta => Some(self.end_meta()),
            _ => None,
        }
    }

    /// Where the input stands.
    pub fn rest(&self) -> Rest {
        match self.state {
            State::Body(_) | State::String(..) | State::Identifier => Rest::Quote,
            State::BlockComment(..) => Rest::Comment,
            _ if self.in_statement() => Rest::Statement,
            _ => Rest::Nothing,
        }
    }

    /// Whether a statement has begun (from its first byte that is neither space nor comment).
    pub fn in_statement(&self) -> bool {
        self.started && !self.reset
    }

    /// The statement that just ended, without comments, at most [`HEAD_LIMIT`] bytes.
    pub fn head(&self) -> &[u8] {
        &self.statement.head
    }

    /// Whether [`Lexer::head`] is all of it.
    pub fn head_is_whole(&self) -> bool {
        self.statement.overflow.is_none()
    }

    /// xxh3-128 of the statement that just ended, without comments.
    pub fn digest(&self) -> u128 {
        match &self.statement.overflow {
            Some(hasher) => hasher.digest128(),
            None => xxh3_128(&self.statement.head),
        }
    }

    /// Offset of the first byte of the statement.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset of the first byte of a backslash command.
    pub fn note_start(&self) -> u64 {
        self.note_start
    }

    /// Text of the comment or command that just ended, at most [`NOTE_LIMIT`] bytes.
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// Rows of the statement that just ended when it is an `INSERT`: its `VALUES` groups, else 1.
    pub fn insert_rows(&self) -> u64 {
        let end = self.groups.end.unwrap_or(self.groups.total);
        self.groups.at_values.map_or(1, |start| end.saturating_sub(start).max(1))
    }

    /// What a backslash in `'…'` means from here on.
    pub fn set_standard_strings(&mut self, on: bool) {
        self.standard_strings = on;
    }

    /// Whether a string went by that ends elsewhere under the other `standard_conforming_strings`.
    pub fn take_diverging(&mut self) -> bool {
        std::mem::take(&mut self.diverging)
    }

    /// Goes on at the start of a line, after what was read by somebody else.
    pub fn at_line_start(&mut self) {
        self.last = b'\n';
    }

    fn begin_statement(&mut self) {
        self.reset = false;
        self.started = false;
        self.statement.clear();
        self.words = Words::default();
        self.groups = Groups::default();
        self.parens = 0;
        self.begins = 0;
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.started {
            self.statement.push(bytes);
        }
    }

    /// One move: a byte, or a run of bytes that change nothing.
    fn step(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        match self.state {
            State::Normal => self.normal(input),
            State::Word => (self.in_word(input), None),
            State::Number => (self.in_number(input), None),
            State::Unicode => (self.in_unicode(input), None),
            State::Dash => (self.in_dash(input), None),
            State::Slash => (self.in_slash(input), None),
            State::Tag => (self.in_tag(input), None),
            State::Body(matched) => (self.in_body(input, matched), None),
            State::String(quote, escaped) => (self.in_string(input, quote, escaped), None),
            State::StringQuote(quote) => (self.in_string_quote(input, quote), None),
            State::Identifier => (self.in_identifier(input), None),
            State::LineComment => self.in_line_comment(input),
            State::BlockComment(depth, last) => (self.in_block_comment(input, depth, last), None),
            State::Meta => self.in_meta(input),
        }
    }

    fn normal(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        let byte = input[0];
        if is_space(byte) {
            let run = input.iter().position(|b| !is_space(*b)).unwrap_or(input.len());
            self.keep(&input[..run]);
            return (run, None);
        }
        match byte {
            // Not kept before it is known whether a comment begins.
            b'-' => {
                self.alone = self.last == b'\n' && !self.in_statement();
                self.state = State::Dash;
                return (1, None);
            }
            b'/' => {
                self.state = State::Slash;
                return (1, None);
            }
            b'\\' => {
                self.alone = self.last == b'\n' && !self.in_statement();
                self.note.clear();
                self.note_start = self.at;
                self.state = State::Meta;
                return (0, None);
            }
            _ => {}
        }
        self.token_begins(byte);
        if is_word_start(byte) {
            self.word = Word::default();
            self.state = State::Word;
            return (0, None);
        }
        self.keep(&input[..1]);
        (1, self.symbol(byte))
    }

    /// A byte that is neither space, comment nor the start of a word.
    fn symbol(&mut self, byte: u8) -> Option<Event> {
        match byte {
            b'\'' => self.state = State::String(Quote::Plain, false),
            b'"' => self.state = State::Identifier,
            b'$' => {
                self.tag.clear();
                self.tag.push(b'$');
                self.state = State::Tag;
            }
            b'0'..=b'9' => {
                self.word = Word::default();
                self.state = State::Number;
            }
            b'(' => {
                self.groups.total += u64::from(self.parens == 0);
                self.parens = self.parens.saturating_add(1);
            }
            b')' => self.parens = self.parens.saturating_sub(1),
            b';' if self.parens == 0 && self.begins == 0 => {
                self.reset = true;
                return Some(Event::Statement);
            }
            _ => {}
        }
        None
    }

    /// Every token but a space or a comment passes here first.
    fn token_begins(&mut self, byte: u8) {
        if !self.in_statement() && byte != b';' {
            self.started = true;
            self.start = self.at;
        }
        if std::mem::take(&mut self.after_prefixed) && byte == b'\'' {
            self.doubt = Some(Doubt::Quotes);
        }
        if self.expect_atomic && !is_word_start(byte) {
            self.expect_atomic = false;
            self.doubt = Some(Doubt::Begin);
        }
    }

    fn in_word(&mut self, input: &[u8]) -> usize {
        let run = input.iter().position(|b| !is_word(*b)).unwrap_or(input.len());
        for byte in input[..run].iter().take(self.word.bytes.len() + 1) {
            self.word.push(*byte);
        }
        self.word.len = self.word.len.saturating_add(run.saturating_sub(self.word.bytes.len() + 1));
        self.keep(&input[..run]);
        let Some(next) = input.get(run) else { return run };
        match next {
            b'\'' if self.word.is("e") => return run + self.open(&input[run..], Quote::Escape),
            b'\'' if self.word.is("b") || self.word.is("x") => return run + self.open(&input[run..], Quote::Raw),
            b'&' if self.word.is("u") => {
                self.keep(b"&");
                self.state = State::Unicode;
                return run + 1;
            }
            b'\'' if self.word.is("n") => {}
            _ => self.word_ends(),
        }
        self.state = State::Normal;
        run
    }

    fn open(&mut self, input: &[u8], quote: Quote) -> usize {
        if std::mem::take(&mut self.expect_atomic) {
            self.doubt = Some(Doubt::Begin);
        }
        self.keep(&input[..1]);
        self.state = State::String(quote, false);
        1
    }

    /// psql's count of `BEGIN`, `CASE` and `END` in the body of a routine.
    fn word_ends(&mut self) {
        let word = self.word;
        if std::mem::take(&mut self.expect_atomic) && !word.is("atomic") {
            self.doubt = Some(Doubt::Begin);
        }
        self.words.push(&word);
        if self.parens > 0 {
            return;
        }
        if word.is("values") && self.groups.at_values.is_none() {
            self.groups.at_values = Some(self.groups.total);
        } else if word.is("on") && self.groups.at_values.is_some() {
            self.groups.end.get_or_insert(self.groups.total);
        }
        if !self.words.create_routine() {
            return;
        }
        if word.is("begin") {
            self.expect_atomic = self.begins == 0;
            self.begins = self.begins.saturating_add(1);
        } else if word.is("case") && self.begins > 0 {
            self.begins = self.begins.saturating_add(1);
        } else if word.is("end") {
            self.begins = self.begins.saturating_sub(1);
        }
    }

    /// Digits, and the letters that may stand right behind them: releases of psql read `1e'` differently.
    fn in_number(&mut self, input: &[u8]) -> usize {
        let run = input.iter().position(|b| !is_number(*b)).unwrap_or(input.len());
        for byte in input[..run].iter().filter(|b| !b.is_ascii_digit()).take(1) {
            self.word.push(*byte);
        }
        self.keep(&input[..run]);
        if let Some(next) = input.get(run) {
            if self.word.len > 0 && matches!(next, b'\'' | b'$' | b'&') {
                self.doubt = Some(Doubt::Quotes);
            }
            self.state = State::Normal;
        }
        run
    }

    fn in_unicode(&mut self, input: &[u8]) -> usize {
        match input[0] {
            b'\'' => self.open(input, Quote::Raw),
            _ => {
                // Only an identifier `u` and an operator: its quote, if any, is an ordinary one.
                self.word_ends();
                self.state = State::Normal;
                0
            }
        }
    }

    fn in_dash(&mut self, input: &[u8]) -> usize {
        if input[0] == b'-' {
            self.note.clear();
            self.keep_note = self.alone;
            if self.keep_note {
                self.note.extend_from_slice(b"--");
            }
            self.state = State::LineComment;
            return 1;
        }
        self.token_begins(b'-');
        self.keep(b"-");
        self.state = State::Normal;
        0
    }

    fn in_slash(&mut self, input: &[u8]) -> usize {
        if input[0] == b'*' {
            self.keep(b" ");
            self.state = State::BlockComment(1, 0);
            return 1;
        }
        self.token_begins(b'/');
        self.keep(b"/");
        self.state = State::Normal;
        0
    }

    fn in_tag(&mut self, input: &[u8]) -> usize {
        let byte = input[0];
        if byte == b'$' {
            self.tag.push(b'$');
            self.keep(b"$");
            self.state = State::Body(0);
            return 1;
        }
        let first = self.tag.len() == 1;
        if !is_tag(byte, first) {
            // `$1`, or a lone dollar: what follows is read for itself.
            self.state = if byte.is_ascii_digit() && first { State::Number } else { State::Normal };
            self.word = Word::default();
            if !first {
                self.doubt = Some(Doubt::Quotes);
            }
            return 0;
        }
        if self.tag.len() > TAG_LIMIT {
            self.doubt = Some(Doubt::Tag);
        } else {
            self.tag.push(byte);
        }
        self.keep(&input[..1]);
        1
    }

    fn in_body(&mut self, input: &[u8], matched: usize) -> usize {
        if matched == 0 {
            let run = memchr(b'$', input).map_or(input.len(), |at| at + 1);
            self.keep(&input[..run]);
            if run > 0 && input[run - 1] == b'$' {
                self.state = State::Body(1);
            }
            return run;
        }
        self.keep(&input[..1]);
        // The tag holds a dollar at both ends only, so a mismatch can only begin again at a dollar.
        self.state = match input[0] {
            byte if byte == self.tag[matched] && matched + 1 == self.tag.len() => State::Normal,
            byte if byte == self.tag[matched] => State::Body(matched + 1),
            b'$' => State::Body(1),
            _ => State::Body(0),
        };
        1
    }

    fn in_string(&mut self, input: &[u8], quote: Quote, escaped: bool) -> usize {
        if escaped {
            return self.after_backslash(input, quote);
        }
        let Some(at) = memchr2(b'\'', b'\\', input) else {
            self.keep(input);
            return input.len();
        };
        self.keep(&input[..=at]);
        self.state = match (input[at], quote) {
            (b'\\', Quote::Raw) => State::String(quote, false),
            (b'\\', _) => State::String(quote, true),
            _ => State::StringQuote(quote),
        };
        at + 1
    }

    fn after_backslash(&mut self, input: &[u8], quote: Quote) -> usize {
        self.keep(&input[..1]);
        let plain = quote == Quote::Plain;
        self.diverging |= plain && input[0] == b'\'';
        self.state = match input[0] {
            b'\'' if plain && self.standard_strings => State::StringQuote(quote),
            _ => State::String(quote, false),
        };
        1
    }

    fn in_string_quote(&mut self, input: &[u8], quote: Quote) -> usize {
        if input[0] == b'\'' {
            self.keep(b"'");
            self.state = State::String(quote, false);
            return 1;
        }
        self.after_prefixed = quote != Quote::Plain;
        self.state = State::Normal;
        0
    }

    fn in_identifier(&mut self, input: &[u8]) -> usize {
        let run = memchr(b'"', input).map_or(input.len(), |at| at + 1);
        self.keep(&input[..run]);
        if input[run - 1] == b'"' {
            self.state = State::Normal;
        }
        run
    }

    fn in_line_comment(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        let end = memchr2(b'\n', b'\r', input);
        let run = end.unwrap_or(input.len());
        if self.keep_note {
            self.push_note(&input[..run]);
        }
        match end {
            Some(_) => (run, self.end_comment()),
            None => (run, None),
        }
    }

    fn end_comment(&mut self) -> Option<Event> {
        self.state = State::Normal;
        std::mem::take(&mut self.keep_note).then_some(Event::Comment)
    }

    fn in_block_comment(&mut self, input: &[u8], depth: u32, last: u8) -> usize {
        let byte = input[0];
        self.state = match (last, byte) {
            (b'/', b'*') => State::BlockComment(depth.saturating_add(1), 0),
            (b'*', b'/') if depth == 1 => State::Normal,
            (b'*', b'/') => State::BlockComment(depth - 1, 0),
            _ => State::BlockComment(depth, byte),
        };
        if last == b'*' || last == b'/' || matches!(byte, b'*' | b'/') {
            return 1;
        }
        let run = memchr2(b'*', b'/', input).unwrap_or(input.len()).max(1);
        self.state = State::BlockComment(depth, input[run - 1]);
        run
    }

    fn in_meta(&mut self, input: &[u8]) -> (usize, Option<Event>) {
        let end = memchr(b'\n', input);
        let run = end.unwrap_or(input.len());
        self.push_note(&input[..run]);
        match end {
            Some(_) => (run, Some(self.end_meta())),
            None => (run, None),
        }
    }

    fn end_meta(&mut self) -> Event {
        self.state = State::Normal;
        Event::Meta { alone: self.alone }
    }

    fn push_note(&mut self, bytes: &[u8]) {
        let room = NOTE_LIMIT.saturating_sub(self.note.len()).min(bytes.len());
        self.note.extend_from_slice(&bytes[..room]);
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_number(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'.'
}

fn is_tag(byte: u8, first: bool) -> bool {
    is_word_start(byte) || (!first && byte.is_ascii_digit())
}
