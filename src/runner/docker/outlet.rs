//! What becomes of a program's output as the frames of its exec bring it.
//!
//! The stages of a dump take blocks of [`BLOCK`](crate::runner::pool::BLOCK) bytes as they are. Frames are a few kilobytes, so
//! bulk is put together here, once, in buffers that are used again. Little is handed on as it comes.

use bytes::{Buf as _, Bytes};
use zstd::stream::raw::{Decoder, Operation as _};

use crate::runner::pool::{BLOCKS, Buffer, Pool};
use crate::runner::{Driver, Error, Item};

/// Where output goes.
pub(super) enum Outlet {
    /// On, piece by piece.
    AtOnce,
    /// On, in blocks.
    Blocks {
        /// Bounds what is under way.
        pool: Pool,
        /// The one that is being filled.
        open: Option<Buffer>,
        /// What comes is packed.
        unpacker: Option<Unpacker>,
    },
    /// Nowhere: all output goes by the fast lane, and what comes here is nobody's.
    Nowhere,
}

impl Outlet {
    /// For bulk.
    pub(super) fn blocks() -> Self {
        Self::Blocks { pool: Pool::new(BLOCKS), open: None, unpacker: None }
    }

    /// For bulk that comes as zstd frames.
    pub(super) fn packed() -> Self {
        Self::Blocks { pool: Pool::new(BLOCKS), open: None, unpacker: Some(Unpacker::default()) }
    }

    pub(super) fn unpacks(&self) -> bool {
        matches!(self, Self::Blocks { unpacker: Some(_), .. })
    }

    /// Whether a frame has begun that has not ended.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Blocks { unpacker: Some(Unpacker { inside: true, .. }), .. })
    }

    /// Whether something waits for its block to be full.
    pub(super) fn holds(&self) -> bool {
        matches!(self, Self::Blocks { open: Some(_), .. })
    }

    /// Takes in output of `program`; waits while whoever reads `driver`'s run is behind.
    pub(super) async fn put(&mut self, mut piece: Bytes, driver: &Driver, program: &str) -> Result<(), Error> {
        match self {
            _ if piece.is_empty() => Ok(()),
            Self::AtOnce => send(piece, driver).await,
            Self::Nowhere => Err(Error::CorruptFrame { program: program.to_owned() }),
            Self::Blocks { pool, open, unpacker } => {
                let mut more = true;
                while more || !piece.is_empty() {
                    let mut block = match open.take() {
                        Some(block) => block,
                        None => pool.take().await,
                    };
                    let rest = block.rest();
                    let (taken, given) = match unpacker {
                        None => {
                            let length = piece.len().min(rest.len());
                            rest[..length].copy_from_slice(&piece[..length]);
                            (length, length)
                        }
                        Some(unpacker) => {
                            let unpacked = unpacker.unpack(&piece, rest);
                            unpacked.map_err(|_| Error::CorruptFrame { program: program.to_owned() })?
                        }
                    };
                    piece.advance(taken);
                    block.advance(given);
                    // An unpacker may have more of the same piece, where there was no room for it.
                    more = block.is_full() && unpacker.is_some();
                    if block.is_full() {
                        send(block.freeze(), driver).await?;
                    } else if !block.is_empty() {
                        *open = Some(block);
                    }
                }
                Ok(())
            }
        }
    }

    /// Hands on a block that is not full.
    pub(super) async fn flush(&mut self, driver: &Driver) -> Result<(), Error> {
        match self {
            Self::Blocks { open, .. } => match open.take() {
                Some(block) => send(block.freeze(), driver).await,
                None => Ok(()),
            },
            Self::AtOnce | Self::Nowhere => Ok(()),
        }
    }
}

/// Unpacks zstd frames as they come.
#[derive(Default)]
pub(super) struct Unpacker {
    decoder: Option<Decoder<'static>>,
    inside: bool,
}

impl Unpacker {
    /// How much of `packed` was taken in, how much of `out` was filled.
    fn unpack(&mut self, packed: &[u8], out: &mut [u8]) -> std::io::Result<(usize, usize)> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new()?),
        };
        let status = decoder.run_on_buffers(packed, out)?;
        if status.bytes_read > 0 {
            self.inside = status.remaining != 0;
        } else if status.remaining == 0 {
            self.inside = false;
        }
        Ok((status.bytes_read, status.bytes_written))
    }
}

async fn send(piece: Bytes, driver: &Driver) -> Result<(), Error> {
    driver.output.send(Item::Data(piece)).await.map_err(|_| Error::Aborted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::pool::BLOCK;

    #[tokio::test]
    async fn bulk_leaves_in_whole_blocks_however_it_came() {
        let (mut running, driver) = crate::runner::channel(8, "exec");
        let all: Bytes = (0..=250_u8).cycle().take(2 * BLOCK + 77).collect();
        let mut outlet = Outlet::blocks();
        let mut rest = all.clone();
        for size in [1, 0, 4096, BLOCK, 30_000, BLOCK] {
            outlet.put(rest.split_to(size.min(rest.len())), &driver, "x").await.unwrap();
        }
        assert!(outlet.holds());
        outlet.flush(&driver).await.unwrap();
        assert!(!outlet.holds());
        driver.output.send(Item::Success).await.unwrap();
        let mut sizes = Vec::new();
        let mut got = Vec::new();
        while let Some(piece) = running.next().await.unwrap() {
            sizes.push(piece.len());
            got.extend_from_slice(&piece);
        }
        assert_eq!(sizes, [BLOCK, BLOCK, 77]);
        assert!(got == all);
    }

    #[tokio::test]
    async fn what_was_packed_leaves_unpacked_in_whole_blocks() {
        let all: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let packed =
            Bytes::from([zstd::bulk::compress(&all, 1).unwrap(), zstd::bulk::compress(b"more", 1).unwrap()].concat());
        for size in [7, 4096, packed.len()] {
            let (mut running, driver) = crate::runner::channel(32, "exec");
            let mut outlet = Outlet::packed();
            let reader = tokio::spawn(async move {
                let mut sizes = Vec::new();
                let mut got = Vec::new();
                while let Some(piece) = running.next().await.unwrap() {
                    sizes.push(piece.len());
                    got.extend_from_slice(&piece);
                }
                (sizes, got)
            });
            for part in packed.chunks(size) {
                outlet.put(Bytes::copy_from_slice(part), &driver, "x").await.unwrap();
            }
            assert!(!outlet.is_cut());
            outlet.flush(&driver).await.unwrap();
            driver.output.send(Item::Success).await.unwrap();
            let (sizes, got) = reader.await.unwrap();
            assert!(got == [&all[..], b"more"].concat(), "{size}: {}", got.len());
            assert!(sizes.iter().rev().skip(1).all(|size| *size == BLOCK), "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_packed_stream_that_is_cut_or_garbled_is_seen() {
        let packed = zstd::bulk::compress(&[7; 100_000], 1).unwrap();
        let (_running, driver) = crate::runner::channel(32, "exec");
        for cut in [1, 5, packed.len() - 1] {
            let mut outlet = Outlet::packed();
            outlet.put(Bytes::copy_from_slice(&packed[..cut]), &driver, "x").await.unwrap();
            assert!(outlet.is_cut(), "{cut} of {} bytes", packed.len());
        }
        let failed = Outlet::packed().put(Bytes::from_static(b"not packed at all"), &driver, "x").await.unwrap_err();
        assert!(matches!(failed, Error::CorruptFrame { .. }), "{failed}");
    }

    #[tokio::test]
    async fn who_reads_nothing_holds_the_frames_back() {
        let (_running, driver) = crate::runner::channel(64, "exec");
        let mut outlet = Outlet::blocks();
        let much = Bytes::from(vec![0; (BLOCKS + 1) * BLOCK]);
        let put = futures_util::FutureExt::now_or_never(outlet.put(much, &driver, "x"));
        assert!(put.is_none(), "more blocks than the pool has");
    }

    #[tokio::test]
    async fn what_is_not_bulk_leaves_at_once_and_what_is_nobodys_is_corrupt() {
        let (mut running, driver) = crate::runner::channel(8, "exec");
        Outlet::AtOnce.put(Bytes::from_static(b"a line\n"), &driver, "x").await.unwrap();
        assert_eq!(running.next().await.unwrap().unwrap(), "a line\n");
        Outlet::Nowhere.put(Bytes::new(), &driver, "x").await.unwrap();
        let failed = Outlet::Nowhere.put(Bytes::from_static(b"x"), &driver, "pg_dump").await.unwrap_err();
        assert!(matches!(failed, Error::CorruptFrame { program } if program == "pg_dump"));
    }
}
