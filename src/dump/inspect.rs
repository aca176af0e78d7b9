//! The inspector: looks at a plain `pg_dump` as it goes by, and knows at the end what is in it, whether it is
//! whole, and whether psql may be given it. Changes nothing, keeps nothing but counts and names.
//!
//! It follows psql, not the server, and takes every COPY to succeed: when the server refuses one, psql reads its
//! rows as SQL and commands. So what is found here holds for a psql that stops at the first error
//! (`ON_ERROR_STOP`), and for no other.
//!
//! The result does not depend on how the bytes are cut into chunks. Memory: the head of one statement
//! ([`HEAD_LIMIT`](crate::dump::lexer::HEAD_LIMIT)), plus names of tables, sequences and schema entries.

mod act;

use std::collections::BTreeMap;
use std::ops::Range;

use memchr::{memchr, memchr_iter};
use xxhash_rust::xxh3::Xxh3Default;

use crate::dump::copy::Rows;
use crate::dump::lexer::{Event, Lexer, Rest};
use crate::dump::scan::{End, FOREIGN_LIMIT, Foreign, SKIP_LIMIT, Scan, Why};

/// Encodings of clients in which the second byte of a character can be a quote or a backslash.
const UNSAFE_ENCODINGS: [&str; 7] = ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"];

/// The inspector. See the module.
#[derive(Default)]
pub struct Inspector {
    lexer: Lexer,
    mode: Mode,
    scan: Scan,
    table: Option<String>,
    /// Line ends before the cursor.
    lines: u64,
    quoting: Quoting,
    entry: Option<Entry>,
    schema: BTreeMap<String, u128>,
    object: Option<Box<Xxh3Default>>,
    trailer: Trailer,
    /// The line of the first NUL byte.
    nul: Option<u64>,
}

#[derive(Default)]
enum Mode {
    #[default]
    Sql,
    /// Behind the `;` of a COPY, before the end of its line.
    CopyLine,
    Data(Rows),
}

/// What is known of `standard_conforming_strings`.
struct Quoting {
    standard: bool,
    /// Settled by a plain SET.
    pinned: bool,
    /// Named in another way.
    mentioned: bool,
    /// A string went by that the other setting ends elsewhere.
    diverged: bool,
    /// Such a string went by before the setting was settled, or on the line that settled it.
    unsettled: bool,
    /// Line of the last SET: psql reads the rest of that line under the old setting.
    changed_on: Option<u64>,
    unsafe_encoding: bool,
}

impl Default for Quoting {
    fn default() -> Self {
        Self {
            standard: true,
            pinned: false,
            mentioned: false,
            diverged: false,
            unsettled: false,
            changed_on: None,
            unsafe_encoding: false,
        }
    }
}

impl Quoting {
    fn ambiguous(&self) -> bool {
        self.unsafe_encoding || self.unsettled || (self.diverged && self.mentioned)
    }
}

/// An entry of the schema, as its statements go by.
struct Entry {
    key: String,
    hasher: Box<Xxh3Default>,
    statements: u64,
}

/// First and last lines, and the pair around the SQL.
#[derive(Default)]
struct Trailer {
    begins: u64,
    ends: u64,
    cluster: bool,
    after: Option<u64>,
    open: Option<String>,
    mismatch: bool,
}

impl Inspector {
    /// At the first byte of a dump.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table whose rows go by, or went by last.
    #[must_use]
    pub fn current_table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// Looks at the next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.nul.is_none() {
            self.nul = memchr(0, chunk).map(|at| self.line() + lines(&chunk[..at]));
        }
        let mut at = 0;
        while at < chunk.len() {
            let rest = &chunk[at..];
            let used = match &mut self.mode {
                Mode::Sql => self.sql(rest),
                Mode::CopyLine => self.copy_line(rest),
                Mode::Data(rows) => {
                    let before = rows.lines();
                    let (used, ended) = rows.scan(rest);
                    // Rows are lines: they need not be counted again.
                    self.lines += rows.lines() - before + u64::from(ended);
                    self.scan.plain_bytes += used as u64;
                    if ended {
                        self.end_data();
                    }
                    used
                }
            };
            at += used;
        }
    }

    /// Ends the dump.
    #[must_use]
    pub fn finish(mut self) -> Scan {
        if let Mode::Sql = self.mode
            && let Some(event) = self.lexer.finish()
        {
            self.event(event);
        }
        self.watch_strings();
        self.end_entry();
        self.add_nul();
        if let Some(last) = self.scan.skip.last_mut() {
            last.end = last.end.min(self.scan.plain_bytes);
        }
        self.scan.end = self.end();
        self.scan.ambiguous_quoting = self.quoting.ambiguous();
        self.scan.content.schema = self.schema.into_iter().map(|(key, sum)| (key, format!("{sum:032x}"))).collect();
        self.scan
    }

    /// Where it belongs by its line, whatever the chunks were.
    fn add_nul(&mut self) {
        if let Some(line) = self.nul {
            let at = self.scan.foreign.partition_point(|f| f.line() <= line);
            self.scan.foreign.insert(at, Foreign::Doubtful { line, why: Why::Nul });
        }
    }

    fn end(&self) -> End {
        let trailer = &self.trailer;
        if self.scan.plain_bytes == 0 {
            return End::Empty;
        }
        if trailer.cluster || trailer.begins > 1 || trailer.ends > 1 {
            return End::Several;
        }
        if !matches!(self.mode, Mode::Sql) {
            return End::InData { table: self.table.clone().unwrap_or_default() };
        }
        if self.lexer.rest() != Rest::Nothing {
            return End::InStatement { line: self.line() };
        }
        match trailer.after {
            _ if trailer.ends == 0 => End::NoTrailer,
            Some(line) => End::AfterTrailer { line },
            None if trailer.mismatch || trailer.open.is_some() => End::Restricted,
            None => End::Complete,
        }
    }

    /// The line under the cursor, from 1.
    fn line(&self) -> u64 {
        self.lines + 1
    }

    /// Moves the cursor over `bytes`.
    fn pass(&mut self, bytes: &[u8]) {
        self.lines += lines(bytes);
        self.scan.plain_bytes += bytes.len() as u64;
    }

    fn sql(&mut self, rest: &[u8]) -> usize {
        let (used, event) = self.lexer.scan(rest, self.scan.plain_bytes);
        self.pass(&rest[..used]);
        if let Some(event) = event {
            self.event(event);
        }
        used
    }

    /// psql reads the line of a COPY to its end before it reads data, and goes on there after it.
    fn copy_line(&mut self, rest: &[u8]) -> usize {
        let end = memchr(b'\n', rest);
        let used = end.map_or(rest.len(), |at| at + 1);
        if !rest[..used].iter().all(u8::is_ascii_whitespace) {
            let line = self.line();
            self.foreign(Foreign::Doubtful { line, why: Why::AfterCopy });
        }
        self.pass(&rest[..used]);
        if end.is_some() {
            self.mode = Mode::Data(Rows::default());
        }
        used
    }

    fn end_data(&mut self) {
        if let Mode::Data(rows) = std::mem::take(&mut self.mode)
            && let Some(table) = self.table.as_ref().and_then(|name| self.scan.content.tables.get_mut(name))
        {
            table.rows += rows.rows;
            table.bytes += rows.bytes;
            table.digest = table.digest.wrapping_add(rows.digest);
        }
        self.lexer.at_line_start();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Statement => self.statement(),
            Event::Comment => self.comment(),
            Event::Meta { alone } => self.meta(alone),
            Event::Doubt(doubt) => {
                let line = self.line();
                self.foreign(Foreign::Doubtful { line, why: doubt.into() });
            }
        }
    }

    fn foreign(&mut self, found: Foreign) {
        if self.scan.foreign.len() < FOREIGN_LIMIT {
            self.scan.foreign.push(found);
        } else if !found.can_be_confirmed()
            && let Some(slot) = self.scan.foreign.iter_mut().rfind(|f| f.can_be_confirmed())
        {
            // What cannot be confirmed is never lost behind a crowd of what can.
            *slot = found;
        }
    }

    fn skip(&mut self, range: Range<u64>) {
        if self.scan.skip.len() < SKIP_LIMIT {
            self.scan.skip.push(range);
        } else {
            let line = self.line();
            self.foreign(Foreign::Doubtful { line, why: Why::ManySkips });
        }
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// The beginning of a text, for messages.
fn brief(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(200).collect()
}
