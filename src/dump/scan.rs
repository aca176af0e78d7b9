//! What the inspector knows of a dump once it went by: counts, needs, and whether psql may read it.

use std::ops::Range;

use rust_i18n::t;

use crate::domain::content::{Content, Needs};
use crate::domain::text::escape;
use crate::dump::error::Error;
use crate::dump::lexer::Doubt;

/// How many finds of [`Scan::foreign`] are kept.
pub const FOREIGN_LIMIT: usize = 100;
/// How many ranges of [`Scan::skip`] are kept; a file with more of them is [`Foreign::Doubtful`].
pub const SKIP_LIMIT: usize = 10_000;

/// What was seen in a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Rows, digests, sequences, large objects, schema.
    pub content: Content,
    /// Roles, extensions and tablespaces that it names.
    pub needs: Needs,
    /// `Dumped from database version …`.
    pub server_version: Option<String>,
    /// `Dumped by pg_dump version …`.
    pub client_version: Option<String>,
    /// `SET client_encoding`.
    pub client_encoding: Option<String>,
    /// Length of the plain SQL in bytes.
    pub plain_bytes: u64,
    /// Statements, `COPY` included.
    pub statements: u64,
    /// What must be refused, or confirmed, before psql sees a byte: the first [`FOREIGN_LIMIT`].
    pub foreign: Vec<Foreign>,
    /// Byte ranges of the plain SQL that a loader leaves out, in order: `\restrict`, `\connect`,
    /// statements about databases.
    pub skip: Vec<Range<u64>>,
    /// A string ends elsewhere depending on `standard_conforming_strings`, and the file does not settle that
    /// setting in the plain way: psql could read something else than this program did.
    pub ambiguous_quoting: bool,
    /// Whether the dump is whole.
    pub end: End,
}

impl Scan {
    /// Whether this is one dump, whole.
    ///
    /// # Errors
    /// [`Error::Incomplete`] with what is wrong.
    pub fn complete(&self) -> Result<(), Error> {
        match &self.end {
            End::Complete => Ok(()),
            end => Err(Error::Incomplete { end: end.clone() }),
        }
    }

    /// What no confirmation lets through: the first of its kind.
    #[must_use]
    pub fn forbidden(&self) -> Option<&Foreign> {
        self.foreign.iter().find(|f| !f.can_be_confirmed())
    }

    /// Whether there is nothing at all in it: the dump of an empty database.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let c = &self.content;
        c.tables.is_empty() && c.schema.is_empty() && c.inserts.is_empty() && c.large_objects.count == 0
    }
}

/// How a dump ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum End {
    /// With its trailer, and nothing after it.
    Complete,
    /// There was no byte.
    #[default]
    Empty,
    /// In the rows of a table.
    InData {
        /// The table.
        table: String,
    },
    /// Inside a quoted string, a comment or a statement.
    InStatement {
        /// The last line.
        line: u64,
    },
    /// Between two statements, without the trailer.
    NoTrailer,
    /// Something other than comments follows the trailer.
    AfterTrailer {
        /// Where.
        line: u64,
    },
    /// `\restrict` without its `\unrestrict`, or with another token.
    Restricted,
    /// More than one dump, as `pg_dumpall` or `cat` make it.
    Several,
}

/// Something in a dump that psql must not be given unseen. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// A backslash command.
    Meta {
        /// Where.
        line: u64,
        /// The command, at most 200 characters.
        text: String,
    },
    /// `\connect`: the loader leaves it out.
    Connect {
        /// Where.
        line: u64,
        /// The database.
        database: String,
    },
    /// `COPY … PROGRAM`: runs a program on the server.
    Program {
        /// Where.
        line: u64,
    },
    /// `COPY` from or to a file of the server.
    ServerFile {
        /// Where.
        line: u64,
    },
    /// A statement about a database (dumps made with `--create`): the loader leaves it out.
    DatabaseStatement {
        /// Where.
        line: u64,
        /// The statement, at most 200 characters.
        text: String,
    },
    /// Something that no dump holds, and that psql and this program could read differently.
    Doubtful {
        /// Where.
        line: u64,
        /// What.
        why: Why,
    },
}

/// Why something is [`Foreign::Doubtful`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A NUL byte: psql forgets the rest of its line.
    Nul,
    /// `COPY … BINARY` in a text.
    Binary,
    /// Text on the line of a `COPY … FROM stdin;`.
    AfterCopy,
    /// Quotes that can be read in two ways.
    Quotes,
    /// `BEGIN` in the head of a function, without `ATOMIC`.
    Begin,
    /// A dollar quote with a tag of over a kilobyte.
    Tag,
    /// A `COPY` whose column list is longer than any table's.
    LongCopy,
    /// More statements to leave out than any dump has.
    ManySkips,
}

impl From<Doubt> for Why {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Quotes => Self::Quotes,
            Doubt::Begin => Self::Begin,
            Doubt::Tag => Self::Tag,
        }
    }
}

impl Foreign {
    /// Where it is.
    #[must_use]
    pub fn line(&self) -> u64 {
        match self {
            Self::Meta { line, .. }
            | Self::Connect { line, .. }
            | Self::Program { line }
            | Self::ServerFile { line }
            | Self::DatabaseStatement { line, .. }
            | Self::Doubtful { line, .. } => *line,
        }
    }

    /// Whether an operator may let it through: the loader leaves it out then.
    #[must_use]
    pub fn can_be_confirmed(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::DatabaseStatement { .. })
    }

    /// For people, one line, escaped.
    #[must_use]
    pub fn describe(&self) -> String {
        let text = match self {
            Self::Meta { text, .. } => t!("dump.foreign_meta", text = escape(text)),
            Self::Connect { database, .. } => t!("dump.foreign_connect", database = escape(database)),
            Self::Program { .. } => t!("dump.foreign_program"),
            Self::ServerFile { .. } => t!("dump.foreign_server_file"),
            Self::DatabaseStatement { text, .. } => t!("dump.foreign_database", text = escape(text)),
            Self::Doubtful { why, .. } => why.describe(),
        };
        t!("dump.foreign_line", line = self.line(), text = text).into_owned()
    }
}

impl Why {
    fn describe(self) -> std::borrow::Cow<'static, str> {
        match self {
            Self::Nul => t!("dump.why_nul"),
            Self::Binary => t!("dump.why_binary"),
            Self::AfterCopy => t!("dump.why_after_copy"),
            Self::Quotes => t!("dump.why_quotes"),
            Self::Begin => t!("dump.why_begin"),
            Self::Tag => t!("dump.why_tag"),
            Self::LongCopy => t!("dump.why_long_copy"),
            Self::ManySkips => t!("dump.why_many_skips"),
        }
    }
}
