//! Length and sha256 of a run of bytes, taken as it goes by.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::domain::manifest::Measure;

/// Counts and hashes.
#[derive(Default, Clone)]
pub struct Meter {
    hasher: Sha256,
    bytes: u64,
}

impl Meter {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was measured.
    pub fn finish(self) -> Measure {
        let sha256 = self.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Measure { bytes: self.bytes, sha256 }
    }
}

/// Length and hash of `bytes`.
#[must_use]
pub fn measure(bytes: &[u8]) -> Measure {
    let mut meter = Meter::default();
    meter.update(bytes);
    meter.finish()
}

/// Length and hash of all that `reader` gives. Blocking.
///
/// # Errors
/// Those of the reader.
pub fn measure_reader(mut reader: impl Read) -> io::Result<Measure> {
    let mut meter = Meter::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(meter.finish()),
            Ok(count) => meter.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
