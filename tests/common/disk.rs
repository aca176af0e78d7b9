//! A small disk for a test that fills it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk of its own, mounted at a directory until this goes.
pub struct Disk(PathBuf);

impl Disk {
    /// `None`: whoever runs the test may not mount one.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=0700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Self(at.to_owned()))
    }

    /// Puts a file there that takes all the room that is left.
    pub fn fill(&self) {
        let filler = format!("of={}", self.filler().display());
        let filled = Command::new("dd").args(["if=/dev/zero", "bs=4096", &filler]).output().unwrap();
        assert!(!filled.status.success(), "it is full");
    }

    /// Takes that file away.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever has a file of it open still (a journal) ends after this.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
