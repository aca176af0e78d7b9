//! What the inspector does about each event: comments, backslash commands, statements.

use std::ops::Range;

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3Default;

use super::{Entry, Inspector, Mode, UNSAFE_ENCODINGS, brief, lines};
use crate::dump::meta::{self, Meta};
use crate::dump::scan::{Foreign, Why};
use crate::dump::statement::{self, Meaning};
use crate::dump::toc::{self, Note};

impl Inspector {
    pub(super) fn comment(&mut self) {
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

    pub(super) fn end_entry(&mut self) {
        if let Some(entry) = self.entry.take().filter(|e| e.statements > 0) {
            let sum = self.schema.entry(entry.key).or_default();
            *sum = sum.wrapping_add(entry.hasher.digest128());
        }
    }

    /// Notes whatever comes after the trailer.
    pub(super) fn not_after_trailer(&mut self) {
        if self.trailer.ends > 0 && self.trailer.after.is_none() {
            self.trailer.after = Some(self.line());
        }
    }

    pub(super) fn meta(&mut self, alone: bool) {
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

    pub(super) fn statement(&mut self) {
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
    pub(super) fn watch_strings(&mut self) {
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
