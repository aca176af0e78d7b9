//! Reads gzip, one member after the other, and says by name what is wrong with it. (flate2's own reader takes
//! several members too, but tells a cut file, a bad checksum and trailing garbage apart only by its texts.)

use std::io::Read;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::domain::manifest::Measure;
use crate::dump::error::Error;
use crate::dump::measure::Meter;

/// How much is read at once.
const INPUT: usize = 256 * 1024;

/// Stored bytes, counted and hashed as they are read from the file.
pub struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    meter: Meter,
}

impl<R: Read> Source<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; INPUT], at: 0, filled: 0, meter: Meter::default() }
    }

    /// The bytes at hand, read anew when there are none; empty at the end of the file.
    pub fn peek(&mut self) -> Result<&[u8], Error> {
        if self.at == self.filled {
            (self.at, self.filled) = (0, 0);
            self.fill()?;
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    /// As [`Source::peek`], with at least `count` bytes unless the file ends before. For small counts.
    pub fn peek_at_least(&mut self, count: usize) -> Result<&[u8], Error> {
        self.peek()?;
        self.buffer.copy_within(self.at..self.filled, 0);
        (self.at, self.filled) = (0, self.filled - self.at);
        while self.filled < count && self.fill()? > 0 {}
        Ok(&self.buffer[..self.filled])
    }

    pub fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.filled);
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.meter.bytes() - (self.filled - self.at) as u64
    }

    /// Bytes read from the file so far.
    pub fn bytes(&self) -> u64 {
        self.meter.bytes()
    }

    /// Reads into `out`: how many bytes; 0 at the end of the file.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let bytes = self.peek()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }

    /// Appends exactly `count` bytes to `out`; [`Error::Truncated`] where the file ends before.
    pub fn take(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            let bytes = self.peek()?;
            if bytes.is_empty() {
                return Err(Error::Truncated { offset: self.offset() });
            }
            let part = bytes.len().min(left);
            out.extend_from_slice(&bytes[..part]);
            self.consume(part);
            left -= part;
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: u64) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            let bytes = self.peek()?.len();
            if bytes == 0 {
                return Err(Error::Truncated { offset: self.offset() });
            }
            let part = bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.consume(part);
            left -= part as u64;
        }
        Ok(())
    }

    /// What was read so far.
    pub fn measure(&self) -> Measure {
        self.meter.clone().finish()
    }

    fn fill(&mut self) -> Result<usize, Error> {
        loop {
            match self.reader.read(&mut self.buffer[self.filled..]) {
                Ok(count) => {
                    self.meter.update(&self.buffer[self.filled..self.filled + count]);
                    self.filled += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { source }),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let Some(byte) = self.peek()?.first().copied() else {
            return Err(Error::Truncated { offset: self.offset() });
        };
        self.consume(1);
        Ok(byte)
    }

    fn bytes_of<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }
}

/// The gzip reader.
pub struct Gunzip {
    inflate: Decompress,
    crc: Crc,
    inside: bool,
    members: u64,
    /// Offset of the member.
    start: u64,
}

impl Default for Gunzip {
    fn default() -> Self {
        Self { inflate: Decompress::new(false), crc: Crc::new(), inside: false, members: 0, start: 0 }
    }
}

impl Gunzip {
    /// Whether a member has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// A member was read by somebody else.
    pub fn count_member(&mut self) {
        self.members += 1;
    }

    /// Unpacks into `out`: how many bytes; 0 is the end of the file, with nothing wrong.
    pub fn read<R: Read>(&mut self, source: &mut Source<R>, out: &mut [u8]) -> Result<usize, Error> {
        loop {
            if !self.inside && !self.begin(source)? {
                return Ok(0);
            }
            let produced = self.inflate(source, out)?;
            if produced > 0 {
                return Ok(produced);
            }
        }
    }

    /// The header of the next member; `false` at the end of the file.
    fn begin<R: Read>(&mut self, source: &mut Source<R>) -> Result<bool, Error> {
        self.start = source.offset();
        let garbage = match source.peek_at_least(2)? {
            [] => return Ok(false),
            [0x1f] | [0x1f, 0x8b, ..] => false,
            _ => true,
        };
        if garbage && self.members > 0 {
            return Err(Error::TrailingGarbage { offset: self.start });
        }
        self.header(source)?;
        self.inflate.reset(false);
        self.crc.reset();
        self.inside = true;
        Ok(true)
    }

    fn header<R: Read>(&self, source: &mut Source<R>) -> Result<(), Error> {
        let [one, two, method, flags, ..] = source.bytes_of::<10>()?;
        if [one, two, method] != [0x1f, 0x8b, 8] || flags & 0xe0 != 0 {
            return Err(Error::Corrupt { offset: self.start });
        }
        if flags & 4 != 0 {
            for _ in 0..u16::from_le_bytes(source.bytes_of()?) {
                source.byte()?;
            }
        }
        for text in [8, 16] {
            if flags & text != 0 {
                while source.byte()? != 0 {}
            }
        }
        if flags & 2 != 0 {
            source.bytes_of::<2>()?;
        }
        Ok(())
    }

    fn inflate<R: Read>(&mut self, source: &mut Source<R>, out: &mut [u8]) -> Result<usize, Error> {
        let input = source.peek()?;
        let ended = input.is_empty();
        let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, out, FlushDecompress::None);
        let status = status.map_err(|_| Error::Corrupt { offset: self.start })?;
        // Both differences fit: they are bounded by the slices above.
        let consumed = usize::try_from(self.inflate.total_in() - taken).unwrap_or(usize::MAX);
        let produced = usize::try_from(self.inflate.total_out() - made).unwrap_or(usize::MAX);
        source.consume(consumed);
        self.crc.update(&out[..produced]);
        match status {
            Status::StreamEnd => self.end(source)?,
            _ if ended && produced == 0 => return Err(Error::Truncated { offset: source.offset() }),
            _ => {}
        }
        Ok(produced)
    }

    /// Checksum and length behind a member.
    fn end<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), Error> {
        let crc = u32::from_le_bytes(source.bytes_of()?);
        let length = u32::from_le_bytes(source.bytes_of()?);
        if crc != self.crc.sum() {
            return Err(Error::BadCrc { offset: self.start });
        }
        if length != self.crc.amount() {
            return Err(Error::BadLength { offset: self.start });
        }
        self.members += 1;
        self.inside = false;
        Ok(())
    }
}
