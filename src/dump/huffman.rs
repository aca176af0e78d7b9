//! Deflate without matches: one block of literals with a code of its own. For bytes in which nothing repeats but
//! their frequencies are uneven (hexadecimal `bytea`, random identifiers) this is smaller than what a search for
//! matches makes of them, and several times faster.
//!
//! Format: RFC 1951, 3.2.7.

/// The longest code, in bits: four codes and the bits of an unfinished byte fit into 64.
const LONGEST: usize = 14;
/// Literals, and the end of the block.
const SYMBOLS: usize = 257;
const END: usize = 256;
/// Lengths of the codes for code lengths, by length: complete (13 · 2⁻⁴ + 6 · 2⁻⁵ = 1), the same in every block.
/// Short of a kilobyte of input this costs nothing worth a better choice.
const fn bits_of_length(length: usize) -> usize {
    // 13 lengths that occur most, 0 and 2 to 13.
    match length {
        0 | 2..=13 => 4,
        _ => 5,
    }
}
/// The order in which their lengths are written.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// How often each byte occurs.
pub fn count(input: &[u8]) -> [u32; 256] {
    // Four tables: the same byte twice in a row would wait for its own counter.
    let mut tables = [[0_u32; 256]; 4];
    let mut quads = input.chunks_exact(4);
    for quad in quads.by_ref() {
        for (table, byte) in tables.iter_mut().zip(quad) {
            table[usize::from(*byte)] += 1;
        }
    }
    for byte in quads.remainder() {
        tables[0][usize::from(*byte)] += 1;
    }
    std::array::from_fn(|byte| tables.iter().map(|table| table[byte]).sum())
}

/// Bytes that [`encode`] makes of input with these counts, within a hundred or so.
pub fn estimate(counts: &[u32; 256]) -> usize {
    let lengths = lengths(counts);
    let bits: u64 = counts.iter().zip(lengths).map(|(count, bits)| u64::from(*count) * bits as u64).sum();
    usize::try_from(bits / 8).unwrap_or(usize::MAX) + 200
}

/// The most that [`encode`] needs for so much input: at most [`LONGEST`] bits for each byte, the header, and room for
/// a last whole word.
pub fn bound(input: usize) -> usize {
    input * LONGEST / 8 + 512
}

/// Writes `input` as one final block to `out`, which has at least [`bound`] bytes; returns how many it took.
pub fn encode(input: &[u8], out: &mut [u8]) -> usize {
    let lengths = lengths(&count(input));
    let codes = codes(&lengths);
    let mut bits = Bits { out, at: 0, held: 0, count: 0 };
    header(&mut bits, &lengths);
    let mut quads = input.chunks_exact(4);
    for quad in quads.by_ref() {
        for byte in quad {
            let (code, length) = codes[usize::from(*byte)];
            bits.push(code, length);
        }
        bits.flush();
    }
    for byte in quads.remainder() {
        let (code, length) = codes[usize::from(*byte)];
        bits.push(code, length);
    }
    let (code, length) = codes[END];
    bits.push(code, length);
    bits.end()
}

/// Bits go in from the lowest.
struct Bits<'a> {
    out: &'a mut [u8],
    at: usize,
    held: u64,
    count: usize,
}

impl Bits<'_> {
    /// At most 57 bits between two calls of [`Bits::flush`].
    #[inline]
    fn push(&mut self, code: u64, length: usize) {
        self.held |= code << self.count;
        self.count += length;
    }

    /// Writes the whole bytes.
    #[inline]
    fn flush(&mut self) {
        self.out[self.at..self.at + 8].copy_from_slice(&self.held.to_le_bytes());
        let whole = self.count & !7;
        self.at += whole / 8;
        self.held = if whole == 64 { 0 } else { self.held >> whole };
        self.count -= whole;
    }

    /// Where the output ends.
    fn end(mut self) -> usize {
        self.flush();
        self.at + usize::from(self.count > 0)
    }
}

fn header(bits: &mut Bits<'_>, lengths: &[usize; SYMBOLS]) {
    // Last block; codes of its own; 257 literals, two distances (never used, but a code with fewer is
    // incomplete, and not every reader takes that), 19 lengths of lengths.
    bits.push(1, 1);
    bits.push(2, 2);
    bits.push(0, 5);
    bits.push(1, 5);
    bits.push(15, 4);
    bits.flush();
    let of_lengths: [usize; 19] = std::array::from_fn(bits_of_length);
    for length in ORDER {
        bits.push(of_lengths[length] as u64, 3);
        bits.flush();
    }
    let codes = codes(&of_lengths);
    for length in lengths.iter().chain(&[1, 1]) {
        let (code, length) = codes[*length];
        bits.push(code, length);
        bits.flush();
    }
}

/// Canonical codes, their bits in the order in which they are written.
fn codes<const N: usize>(lengths: &[usize; N]) -> [(u64, usize); N] {
    let mut next = 0_u64;
    let mut codes = [(0, 0); N];
    for length in 1..=15 {
        next <<= 1;
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| **l == length) {
            codes[symbol] = (next.reverse_bits() >> (64 - length), length);
            next += 1;
        }
    }
    codes
}

/// Lengths of an optimal code, cut off at [`LONGEST`]; 0 for bytes that do not occur.
fn lengths(counts: &[u32; 256]) -> [usize; SYMBOLS] {
    let mut used: Vec<(u64, usize)> =
        counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(byte, n)| (u64::from(*n), byte)).collect();
    used.push((1, END));
    if used.len() == 1 {
        // A code of one word is incomplete.
        used.push((1, 0));
    }
    used.sort_unstable();
    let depths = depths(&used.iter().map(|(weight, _)| *weight).collect::<Vec<_>>());
    let mut lengths = [0; SYMBOLS];
    for ((_, symbol), depth) in used.iter().zip(depths) {
        lengths[*symbol] = depth;
    }
    lengths
}

/// Depths in the tree of Huffman for weights that rise, none deeper than [`LONGEST`].
fn depths(weights: &[u64]) -> Vec<usize> {
    let leaves = weights.len();
    // Nodes in the order of their weights come out of two queues: leaves, and nodes made so far.
    let mut nodes: Vec<u64> = weights.to_vec();
    let mut parents = vec![0; 2 * leaves - 1];
    let (mut leaf, mut made) = (0, leaves);
    while nodes.len() < 2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let take_leaf = leaf < leaves && (made == nodes.len() || nodes[leaf] <= nodes[made]);
            let taken = if take_leaf { &mut leaf } else { &mut made };
            weight += nodes[*taken];
            parents[*taken] = nodes.len();
            *taken += 1;
        }
        nodes.push(weight);
    }
    let mut depths = vec![0; 2 * leaves - 1];
    for node in (0..2 * leaves - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(leaves);
    shorten(&mut depths);
    depths
}

/// Makes the deepest leaves shallower and pays for it with the deepest of the others, until the code is one again
/// (Kraft's sum). Depths fall from the first (rarest) leaf to the last.
fn shorten(depths: &mut [usize]) {
    let one = 1_usize << LONGEST;
    for depth in depths.iter_mut() {
        *depth = (*depth).min(LONGEST);
    }
    let mut sum: usize = depths.iter().map(|depth| one >> depth).sum();
    while sum > one {
        // There is one that can be longer: 257 words of `LONGEST` bits are far less than a whole code.
        let Some(depth) = depths.iter_mut().find(|depth| **depth < LONGEST) else { return };
        *depth += 1;
        sum -= one >> *depth;
    }
    // What was paid too much goes to the most frequent ones.
    for depth in depths.iter_mut().rev() {
        while *depth > 1 && sum + (one >> *depth) <= one {
            sum += one >> *depth;
            *depth -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn unpack(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    fn encoded(input: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; bound(input.len())];
        let length = encode(input, &mut out);
        out.truncate(length);
        out
    }

    fn kraft(lengths: &[usize]) -> f64 {
        lengths.iter().filter(|l| **l > 0).map(|l| 0.5_f64.powi(i32::try_from(*l).unwrap())).sum()
    }

    #[test]
    fn hexadecimal_takes_half() {
        let input: Vec<u8> = (0..1_000_000_u64)
            .map(|i| b"0123456789abcdef"[usize::try_from((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) & 15).unwrap()])
            .collect();
        let out = encoded(&input);
        assert!(out.len() < 510_000, "{}", out.len());
        assert!(out.len().abs_diff(estimate(&count(&input))) < 1000);
        assert_eq!(unpack(&out), input);
        let mut same = vec![0; input.len()];
        assert_eq!(libdeflater::Decompressor::new().deflate_decompress(&out, &mut same).unwrap(), input.len());
        assert_eq!(same, input);
    }

    #[test]
    fn frequencies_that_make_a_deep_tree_stay_a_code() {
        // Fibonacci's numbers make the deepest tree there is.
        let mut counts = [0_u32; 256];
        let (mut a, mut b) = (1_u32, 1_u32);
        for count in counts.iter_mut().take(40) {
            *count = a;
            (a, b) = (b, a + b);
        }
        let lengths = lengths(&counts);
        assert!(lengths.iter().all(|l| *l <= LONGEST));
        assert!((kraft(&lengths) - 1.0).abs() < f64::EPSILON, "{}", kraft(&lengths));
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(
            input in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..3000),
                proptest::collection::vec(0_u8..3, 0..3000),
                (any::<u8>(), 0_usize..3000).prop_map(|(byte, n)| vec![byte; n]),
            ],
        ) {
            prop_assert_eq!(unpack(&encoded(&input)), input);
        }

        #[test]
        fn every_code_is_complete(counts in proptest::array::uniform32(0_u32..u32::MAX / 256)) {
            let mut all = [0; 256];
            all[..32].copy_from_slice(&counts);
            prop_assert!((kraft(&lengths(&all)) - 1.0).abs() < f64::EPSILON);
        }
    }
}
