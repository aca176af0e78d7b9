//! The proof that runs behind the writer: what was made durable is read back through the file, unpacked, and compared
//! block by block with what went in. Nothing here comes from the writer's memory but hashes.
//!
//! What it proves: the bytes that the file system gives back after an fsync are those that the compressor made (xxh3-128
//! of each block, taken before writing), and they unpack to the SQL that was inspected (xxh3-128 of each block, taken
//! before compressing). What comes back is from the disk as far as the store drops the page cache; see the store.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::domain::manifest::Measure;
use crate::dump::decode::{Coding, Decoder};
use crate::dump::error::Error;
use crate::dump::measure::Meter;
use crate::dump::stage::Hand;

/// Bytes that are made durable at once: large enough for a disk to write in one go, small enough that little is left to
/// do when the dump ends.
const SYNC: u64 = 8 * 1024 * 1024;

/// The file behind the writer.
pub struct Echo {
    /// Reads it from the first byte; only what was made durable is asked for.
    pub reader: Box<dyn Read + Send>,
    /// Makes durable what was written so far.
    pub sync: Box<dyn FnMut() -> io::Result<()> + Send>,
    /// Is told how many bytes from the first one on are proven, and at last, when there are no more, the xxh3-128 of all.
    pub proven: Box<dyn FnMut(u64, Option<u128>) + Send>,
}

/// What the writer knows of a piece of the file.
pub struct Expected {
    /// Its length in the file.
    pub stored: usize,
    /// xxh3-128 of it.
    pub stored_digest: u128,
    /// `None`: the file's ending.
    pub block: Option<Block>,
}

/// A block of SQL.
pub struct Block {
    /// How it is stored; `None`: as it is.
    pub coding: Option<Coding>,
    /// Its length.
    pub plain: usize,
    /// xxh3-128 of it.
    pub digest: u128,
}

/// Proves a file as it grows; ends when `pieces` does, and at once when it is `abandoned`. `sync` and `hand` are the clocks of
/// making durable and of the rest.
pub fn follow(
    echo: Echo,
    pieces: &Receiver<Expected>,
    abandoned: &AtomicBool,
    mut sync: Hand,
    mut hand: Hand,
) -> Result<Measure, Error> {
    let wanted = || if abandoned.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) };
    let Echo { mut reader, sync: mut make_durable, mut proven } = echo;
    let mut proof = Proof {
        decoder: Decoder::new()?,
        meter: Meter::default(),
        all: Xxh3::new(),
        stored: Vec::new(),
        plain: Vec::new(),
    };
    let mut waiting = Vec::new();
    let mut bytes = 0;
    let mut synced = Instant::now();
    loop {
        let piece = hand.starved(|| pieces.recv()).ok();
        let ended = piece.is_none();
        if let Some(piece) = piece {
            bytes += piece.stored as u64;
            waiting.push(piece);
        }
        wanted()?;
        if bytes >= SYNC || (ended && bytes > 0) {
            sync.was_starved(synced);
            hand.starved(&mut make_durable).map_err(|source| Error::Write { source })?;
            synced = Instant::now();
            sync.passed(usize::try_from(bytes).unwrap_or(0));
            for piece in waiting.drain(..) {
                wanted()?;
                proof.piece(&mut reader, &piece)?;
                hand.passed(piece.stored);
            }
            bytes = 0;
            proven(proof.meter.bytes(), None);
        }
        if ended {
            sync.was_starved(synced);
            break;
        }
    }
    match reader.read(&mut [0]) {
        Ok(0) => {
            proven(proof.meter.bytes(), Some(proof.all.digest128()));
            Ok(proof.meter.finish())
        }
        Ok(_) => Err(Error::ReadBack { offset: proof.meter.bytes() }),
        Err(source) => Err(Error::Read { source }),
    }
}

struct Proof {
    decoder: Decoder,
    meter: Meter,
    all: Xxh3,
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl Proof {
    fn piece(&mut self, reader: &mut dyn Read, expected: &Expected) -> Result<(), Error> {
        let offset = self.meter.bytes();
        let different = || Error::ReadBack { offset };
        if self.stored.len() < expected.stored {
            self.stored.resize(expected.stored, 0);
        }
        let stored = &mut self.stored[..expected.stored];
        reader.read_exact(stored).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => different(),
            _ => Error::Read { source },
        })?;
        self.meter.update(stored);
        self.all.update(stored);
        if xxh3_128(stored) != expected.stored_digest {
            return Err(different());
        }
        let Some(block) = &expected.block else { return Ok(()) };
        let plain: &[u8] = match block.coding {
            None => stored,
            Some(coding) => {
                let length = self.decoder.decode(coding, stored, true, &mut self.plain).ok_or_else(different)?;
                &self.plain[..length]
            }
        };
        if plain.len() != block.plain || xxh3_128(plain) != block.digest {
            return Err(different());
        }
        Ok(())
    }
}
