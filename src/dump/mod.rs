//! The stream of a dump: inspect, compress, hash and write on the way out; read, check and prove on the way
//! back. Knows plain SQL of `pg_dump` and gzip. Does not know where bytes come from or where they lie.

mod copy;
mod error;
mod inspect;
mod lexer;
mod meta;
mod scan;
mod statement;
mod toc;
mod token;

pub use error::Error;
pub use inspect::Inspector;
pub use scan::{End, FOREIGN_LIMIT, Foreign, SKIP_LIMIT, Scan, Why};

#[cfg(test)]
mod tests;
