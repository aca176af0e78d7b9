//! The formats of stored files, for the way out: blocks of SQL become independent members (gzip) or frames (zstd), or
//! stay as they are. Order, threads and files are not known here.

use crate::domain::compression::Compression;
use crate::dump::error::Error;
use crate::dump::gzip::{self, Members};
use crate::dump::zstd::{self, Frames};

/// Input of one member or frame, bytes.
pub const BLOCK: usize = 1024 * 1024;
/// Stored bytes that a compressed backup must exceed (the scripts that this replaces refuse smaller files too). The
/// dump of a database without a single object has about 450; dumps of anything else are padded to more than this.
pub const MIN_STORED: u64 = 1024;

/// Compresses blocks. One for each worker.
pub enum Encoder {
    Gzip(Box<Members>),
    Zstd(Box<Frames>),
    Plain,
}

impl Encoder {
    /// # Errors
    /// [`Error::Compressor`] where a library refuses its level.
    pub fn new(compression: Compression) -> Result<Self, Error> {
        Ok(match compression {
            Compression::Gzip { level } => Self::Gzip(Box::new(Members::new(level))),
            Compression::Zstd { level } => Self::Zstd(Box::new(Frames::new(level)?)),
            Compression::None => Self::Plain,
        })
    }

    /// Writes what block `number` becomes to the beginning of `out`, which grows as it has to: how many bytes; `None`
    /// where the block is stored as it is. `input` has at most [`BLOCK`] bytes.
    ///
    /// # Errors
    /// [`Error::Compressor`], which does not happen with the room that is given.
    pub fn encode(&mut self, number: u64, input: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Error> {
        match self {
            Self::Gzip(members) => members.make(number, input, out).ok_or(Error::Compressor).map(Some),
            Self::Zstd(frames) => frames.make(input, out).map(Some),
            Self::Plain => Ok(None),
        }
    }
}

/// What ends a file: padding, a seek table. Told of every block.
pub enum Ending {
    Gzip,
    Zstd(zstd::SeekTable),
    Plain,
}

impl Ending {
    pub fn new(compression: Compression) -> Self {
        match compression {
            Compression::Gzip { .. } => Self::Gzip,
            Compression::Zstd { .. } => Self::Zstd(zstd::SeekTable::default()),
            Compression::None => Self::Plain,
        }
    }

    /// A block of `plain` bytes became `stored` bytes.
    pub fn add(&mut self, stored: usize, plain: usize) {
        if let Self::Zstd(table) = self {
            table.add(stored, plain);
        }
    }

    /// What follows `stored` bytes; longer than [`MIN_STORED`] with them where `padded` and the format can.
    pub fn finish(self, stored: u64, padded: bool) -> Option<Vec<u8>> {
        match self {
            Self::Gzip => gzip::last_member(stored, padded),
            Self::Zstd(table) => Some(table.finish(stored, padded)),
            Self::Plain => None,
        }
    }
}
