//! Where backups lie. What they are is not known here.
//!
//! # Contract of every [`Store`] (one conformance suite: `tests/store_conformance.rs`)
//!
//! - A name is one plain path component. Names with `/`, NUL, control characters, or that begin with a dot
//!   are refused by every operation and reported as [`Ignored`] by [`Store::list`]; so are links and folders.
//! - [`Store::draft`] makes a file nobody else sees under its final name. [`Draft::publish`] makes it appear there
//!   whole, durable (file and directory are synced), and **never replaces**: a name that exists is [`Error::Exists`].
//!   A draft that is dropped or discarded leaves nothing.
//! - [`Store::put`] is draft, write, publish for something small.
//! - [`Store::delete`] may be repeated: `false` says that there was nothing. It returns once the deletion is durable.
//! - [`Store::open`] reads from the first byte; what is opened stays readable if the name is deleted meanwhile.
//! - Everything but publish and put may be retried.

use std::io::{Read, Write};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// A reader of stored bytes, for a thread of its own.
pub type Reader = Box<dyn Read + Send>;

/// A place that holds backups. See the contract above.
#[async_trait]
pub trait Store: Send + Sync {
    /// `local`, later `s3`, and where: for people.
    fn place(&self) -> String;

    /// Everything that lies here, sorted by name.
    ///
    /// # Errors
    /// [`Error`] when the place cannot be read; one bad entry is not an error but an [`Ignored`].
    async fn list(&self) -> Result<Listing, Error>;

    /// Reads a whole object.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::BadName`], [`Error::Io`].
    async fn open(&self, name: &str) -> Result<Reader, Error>;

    /// All bytes of an object of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Store::open`], and [`Error::TooLarge`].
    async fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error>;

    /// Begins a new object.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name, or another draft of it, is there.
    async fn draft(&self, name: &str) -> Result<Box<dyn Draft>, Error>;

    /// Makes a small object at once.
    ///
    /// # Errors
    /// As [`Store::draft`] and [`Draft::publish`].
    async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Removes an object; `false`: there was none.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Io`].
    async fn delete(&self, name: &str) -> Result<bool, Error>;

    /// Room left, where the place knows it.
    ///
    /// # Errors
    /// [`Error::Io`].
    async fn space(&self) -> Result<Option<Space>, Error>;
}

/// An object in the making. Written by one thread.
pub trait Draft: Write + Send {
    /// Makes all that was written durable.
    ///
    /// # Errors
    /// [`Error::Io`]: the bytes may be lost even if a second call succeeds, so the draft must be given up.
    fn sync(&mut self) -> Result<(), Error>;

    /// Reads what was written, from the first byte, through the file (not from memory).
    ///
    /// # Errors
    /// [`Error::Io`].
    fn reopen(&self) -> Result<Reader, Error>;

    /// Gives the object its name.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`]; the draft is gone then.
    fn publish(self: Box<Self>) -> Result<(), Error>;
}

/// What [`Store::list`] finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects by name.
    pub objects: Vec<Object>,
    /// What is there and cannot be an object.
    pub ignored: Vec<Ignored>,
}

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When its bytes were last changed.
    pub modified: DateTime<Utc>,
}

/// Something in the place that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its name, escaped for display.
    pub name: String,
    /// Why, in the operator's language.
    pub reason: String,
}

/// Room in a store, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// For us.
    pub free: u64,
    /// Altogether.
    pub total: u64,
}

/// How a store fails. (`store/local.rs` gives `Io` its causes; texts in `locales/store.yml`.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("{}", rust_i18n::t!("store.missing", name = name, place = place))]
    Missing {
        /// Asked for.
        name: String,
        /// Where.
        place: String,
    },
}

impl crate::error::Explain for Error {}
