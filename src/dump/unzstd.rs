//! Reads zstd frames that do not say their size, or are larger than ours, as a stream.

use std::io::Read;

use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

use crate::dump::error::Error;
use crate::dump::gunzip::Source;

/// The streaming reader.
#[derive(Default)]
pub struct Unzstd {
    decoder: Option<Decoder<'static>>,
    inside: bool,
    /// Offset of the frame.
    start: u64,
}

impl Unzstd {
    /// Whether a frame has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// Unpacks into `out` the frame that begins here or has begun before: how many bytes; 0 at the end of the file, or
    /// after an empty frame.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Corrupt`], [`Error::Read`].
    pub fn read<R: Read>(&mut self, source: &mut Source<R>, out: &mut [u8]) -> Result<usize, Error> {
        if !self.inside {
            self.start = source.offset();
        }
        let corrupt = |start| Error::Corrupt { offset: start };
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new().map_err(|_| Error::Compressor)?),
        };
        let mut output = OutBuffer::around(out);
        while output.pos() == 0 {
            let input = source.peek()?;
            if input.is_empty() {
                return match self.inside {
                    true => Err(Error::Truncated { offset: source.offset() }),
                    false => Ok(0),
                };
            }
            let mut input = InBuffer::around(input);
            self.inside = true;
            let left = decoder.run(&mut input, &mut output).map_err(|_| corrupt(self.start))?;
            let consumed = input.pos;
            source.consume(consumed);
            if left == 0 {
                self.inside = false;
                decoder.reinit().map_err(|_| corrupt(self.start))?;
                // Also of an empty frame: what follows is for the caller to tell apart.
                break;
            }
        }
        Ok(output.pos())
    }
}
