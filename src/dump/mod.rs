//! The stream of a dump: inspect, compress, hash and write on the way out; read, check and prove on the way
//! back. Knows plain SQL of `pg_dump` and gzip. Does not know where bytes come from or where they lie.

mod compress;
mod copy;
mod error;
mod gunzip;
mod inspect;
mod lexer;
mod measure;
mod meta;
mod progress;
mod read;
mod scan;
mod statement;
mod toc;
mod token;
mod write;

pub use compress::{BLOCK, DEFAULT_LEVEL, MIN_STORED};
pub use error::Error;
pub use inspect::Inspector;
pub use measure::{measure, measure_reader};
pub use progress::Progress;
pub use read::{Chunks, Format, PlainReader, Proof, check_size, chunks, open_plain, prove};
pub use scan::{End, FOREIGN_LIMIT, Foreign, SKIP_LIMIT, Scan, Why};
pub use write::{DumpWriter, Options, Written};

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
