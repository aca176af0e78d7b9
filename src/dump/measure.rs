//! Length and sha256 of a run of bytes, taken as it goes by.

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
