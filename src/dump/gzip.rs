//! gzip members, each of its own: [`BLOCK`] bytes of input, and in an extra field the length of the member, so
//! that a reader can find the next one without unpacking. Every gzip program reads them. Order, threads and
//! files are not known here.

use libdeflater::{CompressionLvl, Compressor, crc32};

use crate::dump::encode::{BLOCK, MIN_STORED};
use crate::dump::huffman;

/// Fixed part of the header: magic, deflate, an extra field, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// The subfield with the member's length (u32, header to trailer).
const LENGTH_FIELD: [u8; 2] = *b"AM";
/// The subfield with nothing but zeros.
const PADDING_FIELD: [u8; 2] = *b"AP";
/// Header with the length field.
pub const HEAD: usize = HEADER.len() + 2 + 8;
/// CRC and length.
pub const TAIL: usize = 8;
/// The most that a member of ours can have: input that does not compress, and what is around it.
const LONGEST: usize = BLOCK + BLOCK / 8;
/// An empty deflate stream.
const NOTHING: [u8; 2] = [3, 0];

/// Bytes of a block that tell whether a search for matches is worth its time: four pieces.
const PROBE: usize = 16 * 1024;

/// Makes members. One for each worker.
pub struct Members {
    /// Compressors that blocks take in turn.
    turns: Vec<Compressor>,
    probe: Compressor,
    scratch: Vec<u8>,
}

impl Members {
    /// With this level, 1 to 12; others are taken as the nearest.
    ///
    /// Level 2 is not the library's own, which is both slower and larger than two blocks of its level 1 and one of its
    /// level 3 in turn (`docs/BENCHMARKS.md`).
    #[must_use]
    pub fn new(level: u8) -> Self {
        let compressor = |level: u8| Compressor::new(CompressionLvl::new(i32::from(level)).unwrap_or_default());
        let turns = match level {
            2 => vec![compressor(1), compressor(1), compressor(3)],
            level => vec![compressor(level.clamp(1, 12))],
        };
        Self { turns, probe: compressor(1), scratch: Vec::new() }
    }

    /// Writes the member of block `number` to the beginning of `out`, which grows as it has to: how many bytes. `input`
    /// has at most [`BLOCK`]. `None` if the compressor fails, which it does not with the room it is given.
    #[must_use]
    pub fn make(&mut self, number: u64, input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let matches = self.repeats(input);
        // The remainder is below the number of turns.
        let turn = usize::try_from(number % self.turns.len() as u64).ok()?;
        let compressor = self.turns.get_mut(turn)?;
        let room = compressor.deflate_compress_bound(input.len()).max(huffman::bound(input.len()));
        if out.len() < HEAD + room + TAIL {
            // Grown once, not cut to size again: filling with zeros takes time, too.
            out.resize(HEAD + room + TAIL, 0);
        }
        let body = match matches {
            true => compressor.deflate_compress(input, &mut out[HEAD..]).ok()?,
            false => huffman::encode(input, &mut out[HEAD..]),
        };
        let total = HEAD + body + TAIL;
        let mut head = HEADER.to_vec();
        field(&mut head, LENGTH_FIELD, &u32::try_from(total).ok()?.to_le_bytes())?;
        out[..HEAD].copy_from_slice(&head);
        out[HEAD + body..total - 4].copy_from_slice(&crc32(input).to_le_bytes());
        out[total - 4..total].copy_from_slice(&u32::try_from(input.len()).ok()?.to_le_bytes());
        Some(total)
    }

    /// Whether matches make a sample of `input` smaller than its frequencies alone would.
    fn repeats(&mut self, input: &[u8]) -> bool {
        if input.len() < 4 * PROBE {
            return true;
        }
        let mut sample = Vec::with_capacity(PROBE);
        for piece in 0..4 {
            let at = piece * (input.len() / 4);
            sample.extend_from_slice(&input[at..at + PROBE / 4]);
        }
        let room = self.probe.deflate_compress_bound(sample.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let matched = self.probe.deflate_compress(&sample, &mut self.scratch).unwrap_or(0);
        matched < huffman::estimate(&huffman::count(&sample))
    }
}

/// The member that ends a file of `stored` bytes, if it needs one: an empty file has to be gzip too, and one
/// that is `padded` comes out longer than [`MIN_STORED`].
#[must_use]
pub fn last_member(stored: u64, padded: bool) -> Option<Vec<u8>> {
    let frame = HEADER.len() + 2 + 4 + NOTHING.len() + TAIL;
    let missing = usize::try_from((MIN_STORED + 1).saturating_sub(stored)).ok()?;
    let padding = if padded { missing.saturating_sub(frame) } else { 0 };
    if stored > 0 && !(padded && missing > 0) {
        return None;
    }
    let mut member = HEADER.to_vec();
    field(&mut member, PADDING_FIELD, &vec![0; padding])?;
    member.extend_from_slice(&NOTHING);
    member.extend_from_slice(&[0; TAIL]);
    Some(member)
}

/// Reads from the first bytes of a member ([`HEAD`] of them) how long it is, if it is one of ours.
#[must_use]
pub fn length(head: &[u8]) -> Option<usize> {
    let rest = head.strip_prefix(&HEADER)?.strip_prefix(&[8, 0])?.strip_prefix(&LENGTH_FIELD)?.strip_prefix(&[4, 0])?;
    let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
    usize::try_from(length).ok().filter(|length| (HEAD + TAIL..=LONGEST).contains(length))
}

/// The extra field with one subfield.
fn field(member: &mut Vec<u8>, id: [u8; 2], data: &[u8]) -> Option<()> {
    let length = u16::try_from(data.len()).ok()?;
    member.extend_from_slice(&length.checked_add(4)?.to_le_bytes());
    member.extend_from_slice(&id);
    member.extend_from_slice(&length.to_le_bytes());
    member.extend_from_slice(data);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    fn unpack(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    fn member(members: &mut Members, number: u64, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let length = members.make(number, input, &mut out).unwrap();
        out.truncate(length);
        out
    }

    #[test]
    fn a_member_holds_its_input_and_says_its_length() {
        let repeating: Vec<u8> = (0..BLOCK).map(|i| u8::try_from(i * i % 251).unwrap()).collect();
        let mut state = 1_u64;
        let random = (0..BLOCK).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(state >> 56).unwrap()
        });
        for input in [repeating, random.collect()] {
            for level in [0, 1, 2, 6, 12, 99] {
                let member = member(&mut Members::new(level), 2, &input);
                assert_eq!(unpack(&member), input);
                assert_eq!(&member[12..14], b"AM");
                assert_eq!(length(&member[..HEAD]), Some(member.len()));
            }
        }
    }

    #[test]
    fn a_file_is_padded_past_the_least_size_and_not_otherwise() {
        for stored in [0, 1, 900, 1000, 1010, 1023, 1024] {
            let last = last_member(stored, true).unwrap();
            assert!(stored + last.len() as u64 > MIN_STORED, "{stored}");
            assert_eq!(unpack(&last), b"");
        }
        assert_eq!(last_member(1025, true), None);
        assert_eq!(last_member(500, false), None);
        assert_eq!(unpack(&last_member(0, false).unwrap()), b"");
    }

    #[test]
    fn other_programs_read_it() {
        let mut members = Members::new(2);
        let first = vec![b'a'; BLOCK];
        let mut file = member(&mut members, 0, &first);
        file.extend(member(&mut members, 1, b"end\n"));
        file.extend(last_member(1, true).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gz");
        std::fs::write(&path, &file).unwrap();
        let mut expected = first;
        expected.extend_from_slice(b"end\n");
        let python = "import gzip,sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())";
        for argv in [vec!["gunzip", "-c"], vec!["zcat"], vec!["python3", "-c", python]] {
            let output = Command::new(argv[0]).args(&argv[1..]).arg(&path).stderr(Stdio::inherit()).output();
            let Ok(output) = output else { continue };
            assert!(output.status.success(), "{argv:?}");
            assert!(output.stdout == expected, "{argv:?}");
        }
        if let Ok(status) = Command::new("gunzip").arg("-t").arg(&path).status() {
            assert!(status.success());
        }
    }
}
