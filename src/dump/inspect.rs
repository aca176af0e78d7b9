//! The inspector: looks at a plain `pg_dump` as it goes by, and knows at the end what is in it, whether it is
//! whole, and whether psql may be given it. Changes nothing, keeps nothing but counts and names.
//!
//! It follows psql, not the server, and takes every COPY to succeed: when the server refuses one, psql reads its
//! rows as SQL and commands. So what is found here holds for a psql that stops at the first error
//! (`ON_ERROR_STOP`), and for no other.
//!
//! The result does not depend on how the bytes are cut into chunks. Memory: the head of one statement
//! ([`HEAD_LIMIT`](crate::dump::lexer::HEAD_LIMIT)), plus names of tables, sequences and schema entries.

use std::collections::BTreeMap;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memmem};
use xxhash_rust::xxh3::Xxh3Default;

use crate::dump::copy::Rows;
use crate::dump::lexer::{Event, Lexer, Rest};
use crate::dump::meta::{self, Meta};
use crate::dump::scan::{End, FOREIGN_LIMIT, Foreign, SKIP_LIMIT, Scan, Why};
use crate::dump::statement::{self, Meaning};
use crate::dump::toc::{self, Note};

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
                    let (used, ended) = rows.scan(rest);
                    self.pass(&rest[..used]);
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

    fn comment(&mut self) {
        match toc::read(self.lexer.note()) {
            Note::Begin => self.trailer.begins += 1,
            Note::Complete => {
                self.end_entry();
                self.trailer.ends += 1;
            }
            Note::Cluster => self.trailer.cluster = true,
            Note::Server(version) => self.scan.server_version = Some(version),
            Note::Client(version) => self.scan.client_version = Some(version),
            Note::Entry(key) => {
                self.end_entry();
                self.entry = key.map(|key| Entry { key, hasher: Box::default(), statements: 0 });
            }
            Note::Other => {}
        }
    }

    fn end_entry(&mut self) {
        if let Some(entry) = self.entry.take().filter(|e| e.statements > 0) {
            let sum = self.schema.entry(entry.key).or_default();
            *sum = sum.wrapping_add(entry.hasher.digest128());
        }
    }

    /// Notes whatever comes after the trailer.
    fn not_after_trailer(&mut self) {
        if self.trailer.ends > 0 && self.trailer.after.is_none() {
            self.trailer.after = Some(self.line());
        }
    }

    fn meta(&mut self, alone: bool) {
        let command = meta::read(self.lexer.note(), alone);
        // To the end of the line, with its line end: the cursor stands before it.
        let range = self.lexer.note_start()..self.scan.plain_bytes + 1;
        match command {
            Meta::Restrict(token) if self.trailer.open.is_none() => {
                self.not_after_trailer();
                self.trailer.open = Some(token);
                self.skip(range);
            }
            Meta::Unrestrict(token) if self.trailer.open.is_some() => {
                self.trailer.mismatch |= self.trailer.open.take().is_some_and(|open| open != token);
                self.skip(range);
            }
            Meta::Connect(database) => {
                self.not_after_trailer();
                let line = self.line();
                self.foreign(Foreign::Connect { line, database });
                self.skip(range);
            }
            Meta::Encoding => self.skip(range),
            Meta::Dot => self.not_after_trailer(),
            Meta::Restrict(_) | Meta::Unrestrict(_) | Meta::Other => {
                self.not_after_trailer();
                let line = self.line();
                let text = brief(self.lexer.note());
                self.foreign(Foreign::Meta { line, text });
            }
        }
    }

    fn statement(&mut self) {
        let head = self.lexer.head();
        if head.iter().all(|b| b.is_ascii_whitespace() || *b == b';') {
            return;
        }
        self.scan.statements += 1;
        let meaning = statement::read(head, self.quoting.standard, &mut self.scan.needs);
        self.watch_quoting(&meaning);
        self.not_after_trailer();
        if !matches!(meaning, Meaning::Default | Meaning::Database) {
            self.add_to_entry();
        }
        self.act(meaning);
    }

    /// Strings of the statement that just ended, or that the input cut off.
    fn watch_strings(&mut self) {
        let diverging = self.lexer.take_diverging();
        let first = self.statement_line();
        let quoting = &mut self.quoting;
        quoting.diverged |= diverging;
        quoting.unsettled |= diverging && (!quoting.pinned || quoting.changed_on == Some(first));
    }

    fn watch_quoting(&mut self, meaning: &Meaning) {
        self.watch_strings();
        let line = self.line();
        let quoting = &mut self.quoting;
        if let Meaning::StandardStrings(on) = meaning {
            quoting.pinned = true;
            quoting.standard = *on;
            quoting.changed_on = Some(line);
            self.lexer.set_standard_strings(*on);
        } else if memmem::find(self.lexer.head(), b"standard_conforming_strings").is_some() {
            quoting.mentioned = true;
        }
    }

    fn add_to_entry(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.statements += 1;
            entry.hasher.update(&self.lexer.digest().to_le_bytes());
        }
    }

    fn act(&mut self, meaning: Meaning) {
        let line = self.statement_line();
        match meaning {
            Meaning::Other | Meaning::Default | Meaning::StandardStrings(_) => {}
            Meaning::CopyIn { table, columns } => self.begin_data(table, columns),
            Meaning::CopyBinary => self.foreign(Foreign::Doubtful { line, why: Why::Binary }),
            Meaning::CopyProgram => self.foreign(Foreign::Program { line }),
            Meaning::CopyServerFile => self.foreign(Foreign::ServerFile { line }),
            Meaning::Sequence { name, value } => {
                self.scan.content.sequences.insert(name, value);
            }
            Meaning::LargeObjectCreate => self.scan.content.large_objects.count += 1,
            Meaning::LargeObjectOpen(id) => self.open_object(&id),
            Meaning::LargeObjectWrite(range) => self.write_object(range),
            Meaning::LargeObjectClose => self.close_object(),
            Meaning::Insert(table) => {
                *self.scan.content.inserts.entry(table).or_default() += self.lexer.insert_rows();
            }
            Meaning::Encoding(encoding) => {
                self.quoting.unsafe_encoding |= UNSAFE_ENCODINGS.iter().any(|e| encoding.eq_ignore_ascii_case(e));
                self.scan.client_encoding = Some(encoding);
            }
            Meaning::Database => {
                let text = brief(self.lexer.head());
                self.foreign(Foreign::DatabaseStatement { line, text });
                self.skip(self.lexer.start()..self.scan.plain_bytes);
            }
        }
    }

    /// The line on which the statement that just ended began (without counting comments inside it).
    fn statement_line(&self) -> u64 {
        self.line().saturating_sub(lines(self.lexer.head()))
    }

    fn begin_data(&mut self, table: String, columns: String) {
        if !self.lexer.head_is_whole() {
            let line = self.line();
            self.foreign(Foreign::Doubtful { line, why: Why::LongCopy });
        }
        let entry = self.scan.content.tables.entry(table.clone()).or_default();
        if entry.columns.is_empty() {
            entry.columns = columns;
        }
        self.table = Some(table);
        self.mode = Mode::CopyLine;
    }

    fn open_object(&mut self, id: &str) {
        let mut hasher: Box<Xxh3Default> = Box::default();
        hasher.update(id.as_bytes());
        hasher.update(&[0]);
        self.object = Some(hasher);
    }

    fn write_object(&mut self, digits: Range<usize>) {
        let Some(object) = &mut self.object else { return };
        if self.lexer.head_is_whole() {
            object.update(self.lexer.head().get(digits).unwrap_or_default());
        } else {
            // No pg_dump writes pages of this size: they are still told apart.
            object.update(&self.lexer.digest().to_le_bytes());
        }
    }

    fn close_object(&mut self) {
        if let Some(object) = self.object.take() {
            let objects = &mut self.scan.content.large_objects;
            objects.digest = objects.digest.wrapping_add(object.digest128());
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
