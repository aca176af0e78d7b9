//! The way back for whole members and frames that lie in memory: of ours, which hold at most a block of SQL each.

use libdeflater::{Decompressor as Inflater, crc32};
use zstd::bulk::Decompressor as Unzstd;

use crate::dump::encode::BLOCK;
use crate::dump::error::Error;
use crate::dump::gzip::{HEAD, TAIL};

/// Unpacks members and frames. One for each worker.
pub struct Decoder {
    inflater: Inflater,
    unzstd: Unzstd<'static>,
}

/// How a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// A gzip member of ours, with its length.
    Member,
    /// A zstd frame.
    Frame,
}

impl Decoder {
    /// # Errors
    /// [`Error::Compressor`] where there is no memory for it.
    pub fn new() -> Result<Self, Error> {
        let unzstd = Unzstd::new().map_err(|_| Error::Compressor)?;
        Ok(Self { inflater: Inflater::new(), unzstd })
    }

    /// Unpacks `bytes` to the beginning of `out`, which grows to a block: how many bytes. `None`: not exactly what we
    /// write (why is for the streaming reader to say). Its own checksum is compared where `check`.
    pub fn decode(&mut self, coding: Coding, bytes: &[u8], check: bool, out: &mut Vec<u8>) -> Option<usize> {
        if out.len() < BLOCK {
            out.resize(BLOCK, 0);
        }
        match coding {
            Coding::Member => self.member(bytes, check, out),
            Coding::Frame => self.unzstd.decompress_to_buffer(bytes, &mut out[..]).ok(),
        }
    }

    fn member(&mut self, bytes: &[u8], check: bool, out: &mut [u8]) -> Option<usize> {
        let body = bytes.get(HEAD..bytes.len().checked_sub(TAIL)?)?;
        let (crc, length) = bytes[HEAD + body.len()..].split_at(4);
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        let out = out.get_mut(..length)?;
        let made = self.inflater.deflate_decompress(body, out).ok()?;
        let equal = made == length && (!check || crc32(out).to_le_bytes() == crc);
        equal.then_some(length)
    }
}
