//! How the stream of a dump fails.

use std::io;

use rust_i18n::t;

use crate::domain::text::escape;
use crate::dump::scan::End;
use crate::error::{Exit, Explain};

/// How the stream of a dump fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The SQL is not one whole dump.
    #[error("{}", describe_end(end))]
    Incomplete {
        /// How it ends.
        end: End,
    },
    /// The stored file is too small to hold anything.
    #[error("{}", t!("dump.tiny", bytes = bytes, least = least))]
    Tiny {
        /// Its length.
        bytes: u64,
        /// What it must exceed.
        least: u64,
    },
    /// A whole dump, of a database without a single object.
    #[error("{}", t!("dump.nothing_inside", bytes = bytes))]
    NothingInside {
        /// Length of the stored file.
        bytes: u64,
    },
    /// More bytes came out than the manifest (or the caller) allows.
    #[error("{}", t!("dump.too_long", limit = limit))]
    TooLong {
        /// Plain bytes that were allowed.
        limit: u64,
    },
    /// The compressed file ends in the middle.
    #[error("{}", t!("dump.truncated", offset = offset))]
    Truncated {
        /// Its length.
        offset: u64,
    },
    /// Something other than a gzip member follows the last one.
    #[error("{}", t!("dump.trailing_garbage", offset = offset))]
    TrailingGarbage {
        /// Where it begins.
        offset: u64,
    },
    /// The compressed bytes are damaged.
    #[error("{}", t!("dump.corrupt", offset = offset))]
    Corrupt {
        /// Where the damaged member begins.
        offset: u64,
    },
    /// The bytes of a member are not those that were compressed.
    #[error("{}", t!("dump.bad_crc", offset = offset))]
    BadCrc {
        /// Where the member begins.
        offset: u64,
    },
    /// A member is longer or shorter than it says.
    #[error("{}", t!("dump.bad_length", offset = offset))]
    BadLength {
        /// Where the member begins.
        offset: u64,
    },
    /// A format that this version cannot read.
    #[error("{}", t!("dump.unsupported", format = format))]
    Unsupported {
        /// Its name.
        format: &'static str,
    },
    /// The file could not be read.
    #[error("{}", t!("dump.read", cause = escape(&source.to_string())))]
    Read {
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("{}", t!("dump.write", cause = escape(&source.to_string())))]
    Write {
        /// Why.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("{}", t!("dump.threads", cause = escape(&source.to_string())))]
    Threads {
        /// Why.
        source: io::Error,
    },
    /// What was read back is not what was written.
    #[error("{}", t!("dump.read_back", offset = offset))]
    ReadBack {
        /// Where the block begins in the file.
        offset: u64,
    },
    /// A compression library refuses what it never should.
    #[error("{}", t!("dump.compressor"))]
    Compressor,
    /// A stage of the stream ended without a word.
    #[error("{}", t!("dump.stopped"))]
    Stopped,
}

impl Error {
    /// The same, found in a part of the file that begins at `base`.
    pub(super) fn moved(self, base: u64) -> Self {
        match self {
            Self::Truncated { offset } => Self::Truncated { offset: base + offset },
            Self::TrailingGarbage { offset } => Self::TrailingGarbage { offset: base + offset },
            Self::Corrupt { offset } => Self::Corrupt { offset: base + offset },
            Self::BadCrc { offset } => Self::BadCrc { offset: base + offset },
            Self::BadLength { offset } => Self::BadLength { offset: base + offset },
            other => other,
        }
    }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Incomplete { end: End::Several } => t!("dump.several_hint"),
            Self::Incomplete { end: End::AfterTrailer { .. } } => t!("dump.after_trailer_hint"),
            Self::Incomplete { .. } => t!("dump.incomplete_hint"),
            Self::Tiny { .. } => t!("dump.tiny_hint"),
            Self::NothingInside { .. } => t!("dump.nothing_inside_hint"),
            Self::TooLong { .. } => t!("dump.too_long_hint"),
            Self::TrailingGarbage { .. } => t!("dump.trailing_garbage_hint"),
            Self::Truncated { .. } | Self::Corrupt { .. } | Self::BadCrc { .. } | Self::BadLength { .. } => {
                t!("dump.damaged_hint")
            }
            Self::Unsupported { .. } => t!("dump.unsupported_hint"),
            Self::Write { source } if source.kind() == io::ErrorKind::StorageFull => t!("dump.full_hint"),
            Self::Read { .. } | Self::Write { .. } => t!("dump.io_hint"),
            Self::Threads { .. } => t!("dump.threads_hint"),
            Self::ReadBack { .. } => t!("dump.read_back_hint"),
            Self::Compressor | Self::Stopped => t!("dump.stopped_hint"),
        };
        Some(hint.into_owned())
    }

    fn exit(&self) -> Exit {
        match self {
            Self::ReadBack { .. } => Exit::ProofFailed,
            _ => Exit::Failed,
        }
    }
}

fn describe_end(end: &End) -> std::borrow::Cow<'static, str> {
    match end {
        End::Empty => t!("dump.end_empty"),
        End::InData { table } => t!("dump.end_in_data", table = escape(table)),
        End::InStatement { line } => t!("dump.end_in_statement", line = line),
        End::Complete | End::NoTrailer => t!("dump.end_no_trailer"),
        End::AfterTrailer { line } => t!("dump.end_after_trailer", line = line),
        End::Restricted => t!("dump.end_restricted"),
        End::Several => t!("dump.end_several"),
    }
}
