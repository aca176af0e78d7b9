//! What becomes of a program's output as the frames of its exec bring it.
//!
//! The stages of a dump take blocks of [`BLOCK`](crate::runner::pool::BLOCK) bytes as they are. Frames are a few kilobytes, so
//! bulk is put together here, once, in buffers that are used again. Little is handed on as it comes.

use bytes::Bytes;

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
    },
    /// Nowhere: all output goes by the fast lane, and what comes here is nobody's.
    Nowhere,
}

impl Outlet {
    /// For bulk.
    pub(super) fn blocks() -> Self {
        Self::Blocks { pool: Pool::new(BLOCKS), open: None }
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
            Self::Blocks { pool, open } => {
                while !piece.is_empty() {
                    let mut block = match open.take() {
                        Some(block) => block,
                        None => pool.take().await,
                    };
                    let rest = block.rest();
                    let part = piece.split_to(piece.len().min(rest.len()));
                    rest[..part.len()].copy_from_slice(&part);
                    block.advance(part.len());
                    if block.is_full() {
                        send(block.freeze(), driver).await?;
                    } else {
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
