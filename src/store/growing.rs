//! Bytes that may still be coming: a file that is being written, or one that is whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::watch;

/// Bytes that can be read at any place, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] where there are not so many bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let from = usize::try_from(offset).map_err(|_| end())?;
        let until = from.checked_add(buffer.len()).ok_or_else(end)?;
        buffer.copy_from_slice(self.get(from..until).ok_or_else(end)?);
        Ok(())
    }
}

/// How much of it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grown {
    /// So many bytes from the first on, which do not change any more.
    pub bytes: u64,
    /// There are no more to come.
    pub ended: bool,
    /// With the end: xxh3-128 of all of it, where whoever made it knows that.
    pub digest: Option<u128>,
}

/// A source that grows. Whoever makes it grow holds the other end: if that goes before the end was said, there is no end.
#[derive(Clone)]
pub struct Growing {
    /// What can be read as far as it has grown.
    pub bytes: Arc<dyn ReadAt>,
    /// How far that is.
    pub grown: watch::Receiver<Grown>,
}

impl Growing {
    /// What is whole already.
    #[must_use]
    pub fn whole(bytes: Arc<dyn ReadAt>, length: u64) -> Self {
        let (_, grown) = watch::channel(Grown { bytes: length, ended: true, digest: None });
        Self { bytes, grown }
    }

    /// Waits until there are at least `bytes`, or no more to come; `None`: whoever wrote it has given up.
    pub async fn at_least(&mut self, bytes: u64) -> Option<Grown> {
        let enough = |grown: &Grown| grown.ended || grown.bytes >= bytes;
        // The value stays readable after the sender is gone: what was whole by then is whole.
        let seen = *self.grown.borrow();
        if enough(&seen) {
            return Some(seen);
        }
        self.grown.wait_for(enough).await.ok().map(|grown| *grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_whole_is_there_and_what_was_given_up_never_ends() {
        let mut whole = Growing::whole(Arc::new(b"hello".to_vec()), 5);
        assert_eq!(whole.at_least(100).await, Some(Grown { bytes: 5, ended: true, digest: None }));
        let mut buffer = [0; 3];
        whole.bytes.read_at(&mut buffer, 2).unwrap();
        assert_eq!(&buffer, b"llo");
        assert!(whole.bytes.read_at(&mut buffer, 3).is_err());

        let (sender, grown) = watch::channel(Grown::default());
        let mut growing = Growing { bytes: Arc::new(Vec::new()), grown };
        sender.send_replace(Grown { bytes: 10, ended: false, digest: None });
        assert_eq!(growing.at_least(7).await, Some(Grown { bytes: 10, ended: false, digest: None }));
        drop(sender);
        assert_eq!(growing.at_least(10).await, Some(Grown { bytes: 10, ended: false, digest: None }));
        assert_eq!(growing.at_least(11).await, None);
    }
}
