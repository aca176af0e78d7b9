//! The stream of a dump: inspect, compress, hash, write and prove on the way out; read, check and prove on the way
//! back. Knows plain SQL of `pg_dump`, gzip and zstd. Does not know where bytes come from or where they lie.

mod copy;
mod decode;
mod encode;
mod error;
mod gunzip;
mod gzip;
mod huffman;
mod inspect;
mod lexer;
mod measure;
mod meta;
mod progress;
mod prove;
mod read;
mod scan;
mod stage;
mod statement;
mod threads;
mod toc;
mod token;
mod unpack;
mod unzstd;
mod write;
mod zstd;

pub use encode::{BLOCK, MIN_STORED};
pub use error::Error;
pub use inspect::Inspector;
pub use measure::{Meter, measure, measure_reader};
pub use progress::Progress;
pub use prove::Echo;
pub use read::{Chunks, Proof, check_size, chunks, prove};
pub use scan::{End, FOREIGN_LIMIT, Foreign, SKIP_LIMIT, Scan, Why};
pub use stage::Clocks;
pub use unpack::Format;
pub use write::{DumpWriter, Options, Written};

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
