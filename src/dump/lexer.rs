//! psql's lexical rules (its `psqlscan.l`), as a push parser: where a statement ends, what is a quoted
//! string, a comment, a backslash command. What a statement means is not known here.
//!
//! Whatever the chunks, the events are the same: all state between two bytes lives in [`Lexer`]. Memory
//! is bounded by [`HEAD_LIMIT`] and [`NOTE_LIMIT`].

mod steps;

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
}
