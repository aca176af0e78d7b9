//! zstd frames, each of its own and with its size and checksum in it, and behind them a seek table: a skippable frame
//! that readers of the seekable format use and others pass over (`zstd -d` does).
//!
//! Formats: RFC 8878; the table as in `zstd_seekable_compression_format.md` of the zstd project, without checksums.

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, ParamSwitch};

use crate::dump::encode::{BLOCK, MIN_STORED};
use crate::dump::error::Error;

/// A frame's magic number.
pub const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames: the last four bits of the first byte are free.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// First bytes of the seek table and of padding.
const TABLE: [u8; 4] = [0x5e, 0x2a, 0x4d, 0x18];
const PADDING: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// What ends a seek table.
const TABLE_END: [u8; 4] = [0xb1, 0xea, 0x92, 0x8f];
/// The longest header of a frame.
pub const HEADER: usize = 18;

/// Makes frames. One for each worker.
pub struct Frames {
    compressor: Compressor<'static>,
}

impl Frames {
    /// With this level, 1 to 19.
    ///
    /// Level 1 is the library's with a table that fits the nearest cache and longer steps where nothing matches: a sixth
    /// faster, files larger by a sixtieth (`docs/BENCHMARKS.md`). The library itself takes such steps at its negative levels
    /// only, and leaves literals as they are there, which makes files nearly twice as large.
    ///
    /// # Errors
    /// [`Error::Compressor`].
    pub fn new(level: u8) -> Result<Self, Error> {
        let quick = [
            CParameter::HashLog(13),
            CParameter::TargetLength(3),
            CParameter::LiteralCompressionMode(ParamSwitch::Enable),
        ];
        let quick: &[CParameter] = if level <= 1 { &quick } else { &[] };
        let mut compressor = Compressor::new(i32::from(level)).map_err(|_| Error::Compressor)?;
        for parameter in [CParameter::ChecksumFlag(true)].iter().chain(quick) {
            compressor.set_parameter(*parameter).map_err(|_| Error::Compressor)?;
        }
        Ok(Self { compressor })
    }

    /// Writes a frame with `input` to the beginning of `out`, which grows as it has to: how many bytes.
    ///
    /// # Errors
    /// [`Error::Compressor`].
    pub fn make(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Error> {
        let room = zstd::zstd_safe::compress_bound(input.len());
        if out.len() < room {
            out.resize(room, 0);
        }
        self.compressor.compress_to_buffer(input, &mut out[..]).map_err(|_| Error::Compressor)
    }
}

/// Where frames lie: 8 bytes for each.
#[derive(Default)]
pub struct SeekTable {
    entries: Vec<u8>,
    frames: u32,
}

impl SeekTable {
    pub fn add(&mut self, stored: usize, plain: usize) {
        for length in [stored, plain] {
            // Both are bounded by a block and its worst case.
            self.entries.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        self.frames += 1;
    }

    /// The table, behind padding that makes the file longer than [`MIN_STORED`] where `padded`; an empty file gets an
    /// empty frame first, for programs that want one.
    pub fn finish(mut self, stored: u64, padded: bool) -> Vec<u8> {
        let mut end = Vec::new();
        if stored == 0 {
            // Magic, one segment of 0 bytes, one raw last block of none.
            end.extend_from_slice(&[MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 0x20, 0, 1, 0, 0]);
            self.add(end.len(), 0);
        }
        let table = 8 + self.entries.len() + 9;
        let missing = usize::try_from((MIN_STORED + 1).saturating_sub(stored)).unwrap_or(0);
        let missing = missing.saturating_sub(end.len() + table);
        if padded && missing > 0 {
            let padding = skippable(PADDING, &vec![0; missing]);
            self.add(padding.len(), 0);
            end.extend_from_slice(&padding);
        }
        let mut body = self.entries;
        body.extend_from_slice(&self.frames.to_le_bytes());
        // No checksums in the table: each frame has its own.
        body.push(0);
        body.extend_from_slice(&TABLE_END);
        end.extend_from_slice(&skippable(TABLE, &body));
        end
    }
}

fn skippable(magic: [u8; 4], body: &[u8]) -> Vec<u8> {
    // A table of 4 GB would be one of half a petabyte of SQL.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&magic, &length.to_le_bytes(), body].concat()
}

/// Whether a file that begins like this is zstd.
pub fn is_zstd(first: &[u8]) -> bool {
    first.starts_with(&MAGIC) || (first.len() >= 4 && first[0] & 0xf0 == 0x50 && first[1..4] == SKIPPABLE)
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame of at most a block of input; its blocks follow after this many bytes of header.
    Frame { header: usize, checksum: bool },
    /// A skippable frame: so many bytes in all.
    Skippable(u64),
    /// A frame that does not say its size, or a larger one than we make: for the streaming reader.
    Large,
    /// No frame.
    Foreign,
}

/// Reads the first [`HEADER`] bytes of a frame (fewer at the end of a file).
pub fn next(head: &[u8]) -> Next {
    if !is_zstd(head) {
        return Next::Foreign;
    }
    if !head.starts_with(&MAGIC) {
        let length = head.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        return length.map_or(Next::Large, |length| Next::Skippable(u64::from(length) + 8));
    }
    match (zstd::zstd_safe::get_frame_content_size(head), head.get(4)) {
        (Ok(Some(plain)), Some(descriptor)) if plain <= BLOCK as u64 => {
            let window = usize::from(descriptor & 0x20 == 0);
            let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
            let size = match (descriptor >> 6, window) {
                (0, 0) => 1,
                (0, _) => 0,
                (1, _) => 2,
                (2, _) => 4,
                _ => 8,
            };
            let header = MAGIC.len() + 1 + window + dictionary + size;
            Next::Frame { header, checksum: descriptor & 4 != 0 }
        }
        _ => Next::Large,
    }
}

/// Reads the header of a block: bytes of it that follow, and whether it is the last; `None` for one that cannot be.
pub fn block(head: [u8; 3]) -> Option<(usize, bool)> {
    let bits = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let size = usize::try_from(bits >> 3).ok()?;
    let stored = match (bits >> 1) & 3 {
        0 | 2 => size,
        1 => 1,
        _ => return None,
    };
    (stored <= 128 * 1024 + 1).then_some((stored, bits & 1 == 1))
}
