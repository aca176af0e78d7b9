//! The data of one `COPY … FROM stdin`: from the line after the statement to the line `\.`. Counts and
//! digests rows; holds none of them.

use memchr::memchr;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// Bytes of a line that crosses chunks, kept to know `\.` from data.
const EDGE: usize = 4;

/// The rows that went by.
#[derive(Default)]
pub struct Rows {
    /// How many.
    pub rows: u64,
    /// Their bytes, line ends included.
    pub bytes: u64,
    /// Sum modulo 2^128 of the xxh3-128 of each.
    pub digest: u128,
    /// A line that began in an earlier chunk.
    carry: Option<Carry>,
}

struct Carry {
    hasher: Box<Xxh3Default>,
    length: u64,
    first: [u8; EDGE],
}

impl Carry {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(EDGE) {
            let at = usize::try_from(self.length).unwrap_or(usize::MAX);
            if let Some(slot) = self.first.get_mut(at) {
                *slot = *byte;
            }
            self.length += 1;
        }
        self.length += bytes.len().saturating_sub(EDGE) as u64;
        self.hasher.update(bytes);
    }

    fn is_end(&self) -> bool {
        self.length <= 3 && is_end(&self.first[..usize::try_from(self.length).unwrap_or(EDGE)])
    }
}

impl Rows {
    /// Line ends that went by, but that of `\.`.
    pub fn lines(&self) -> u64 {
        self.rows
    }

    /// Reads rows: how many bytes were consumed, and whether the line `\.` ended the data behind them.
    pub fn scan(&mut self, chunk: &[u8]) -> (usize, bool) {
        let mut at = 0;
        if self.carry.is_some() {
            let Some(end) = memchr(b'\n', chunk) else {
                self.carry(chunk);
                return (chunk.len(), false);
            };
            at = end + 1;
            if self.end_carry(&chunk[..end]) {
                return (at, true);
            }
        }
        self.whole_lines(chunk, at)
    }

    fn whole_lines(&mut self, chunk: &[u8], mut at: usize) -> (usize, bool) {
        while let Some(length) = memchr(b'\n', &chunk[at..]) {
            let line = &chunk[at..at + length];
            at += length + 1;
            if line.len() <= 3 && is_end(line) {
                return (at, true);
            }
            self.rows += 1;
            self.bytes += length as u64 + 1;
            self.digest = self.digest.wrapping_add(xxh3_128(line));
        }
        if at < chunk.len() {
            self.carry(&chunk[at..]);
        }
        (chunk.len(), false)
    }

    fn carry(&mut self, bytes: &[u8]) {
        let new = || Carry { hasher: Box::default(), length: 0, first: [0; EDGE] };
        self.carry.get_or_insert_with(new).push(bytes);
    }

    fn end_carry(&mut self, bytes: &[u8]) -> bool {
        self.carry(bytes);
        let Some(carry) = self.carry.take() else { return false };
        if carry.is_end() {
            return true;
        }
        self.rows += 1;
        self.bytes += carry.length + 1;
        self.digest = self.digest.wrapping_add(carry.hasher.digest128());
        false
    }
}

/// What ends the data for psql.
fn is_end(line: &[u8]) -> bool {
    line == b"\\." || line == b"\\.\r"
}
