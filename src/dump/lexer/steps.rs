//! The moves of the lexer, one for each state. Each takes a byte, or a run of bytes that change nothing, and says
//! how many it consumed.

use memchr::{memchr, memchr2};

use super::{Doubt, Event, Lexer, NOTE_LIMIT, Quote, State, TAG_LIMIT, Word};

impl Lexer {
    /// One move: a byte, or a run of bytes that change nothing.
    pub(super) fn step(&mut self, input: &[u8]) -> (usize, Option<Event>) {
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

    pub(super) fn end_comment(&mut self) -> Option<Event> {
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

    pub(super) fn end_meta(&mut self) -> Event {
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
