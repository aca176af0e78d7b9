//! Where backups lie. What they are is not known here.
//!
//! # Contract of every [`Store`] (one conformance suite: `tests/store_conformance.rs`)
//!
//! - A name is one plain path component ([`check_name`]). Names with `/`, NUL, control characters, that begin with a
//!   dot, or end with [`PARTIAL`] are refused by every operation and reported as [`Ignored`] by [`Store::list`]; so are
//!   links and folders. Drafts and what is left of them are neither objects nor ignored.
//! - [`Store::upload`] takes bytes that may still be coming, and shows nobody anything before [`Upload::finish`], which
//!   makes the object appear whole and durable, compares what lies there with what it was told, and **never replaces**: a
//!   name that exists is [`Error::Exists`]. One that is aborted or dropped leaves nothing once the store can be reached.
//! - [`Store::put`] is the same for something small.
//! - [`Store::delete`] may be repeated: `false` says that there was nothing. It returns once the deletion is durable.
//! - [`Store::open`] reads from the first byte; what is opened stays readable if the name is deleted meanwhile (a file), or
//!   fails ([`Error::Missing`]): it never gives other bytes or fewer of them.
//! - [`Store::get`] gives exactly the bytes that were asked for, or fails.
//! - Everything but finish, publish and put may be retried.
//!
//! A [`Workshop`] is a store where dumps are made: [`Workshop::draft`] makes a file nobody else sees under its final name, and
//! [`Draft::publish`] makes it appear there, by the same rules.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::domain::manifest::Measure;
pub use crate::domain::space::Space;
use crate::domain::text::{escape, is_plain};

pub mod absent;
mod error;
pub mod growing;
pub mod local;
pub mod s3;

pub use error::{Action, Error, Rights};
pub use growing::{Growing, Grown, ReadAt};

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

    /// What is known of an object without reading it.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::BadName`], [`Error::Io`].
    async fn head(&self, name: &str) -> Result<Object, Error>;

    /// `length` bytes from `from` on.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Error::Io`] also where there are not so many.
    async fn get(&self, name: &str, from: u64, length: u64) -> Result<Bytes, Error>;

    /// Begins to take the bytes of `source` as they come; about `likely` of them in all.
    ///
    /// # Errors
    /// [`Error::BadName`]. A place that is far away answers later: then that the name is there ([`Error::Exists`]), and whatever else goes wrong,
    /// is told by [`Upload::finish`].
    async fn upload(&self, name: &str, source: Growing, likely: u64) -> Result<Box<dyn Upload>, Error>;

    /// Makes a small object at once.
    ///
    /// # Errors
    /// As [`Store::upload`] and [`Upload::finish`].
    async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Removes an object; `false`: there was none.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Io`].
    async fn delete(&self, name: &str) -> Result<bool, Error>;

    /// Removes drafts and unfinished uploads that no live run holds; returns their names. Called with the lock of the
    /// installation held. Where others have theirs too, only those of names that are `mine`.
    ///
    /// # Errors
    /// [`Error::Io`].
    async fn sweep_drafts(&self, mine: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync)) -> Result<Vec<String>, Error>;

    /// Room left, where the place knows it.
    ///
    /// # Errors
    /// [`Error::Io`].
    async fn space(&self) -> Result<Option<Space>, Error>;
}

/// A place where dumps are made.
#[async_trait]
pub trait Workshop: Store {
    /// Begins a new object.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name, or another draft of it, is there.
    async fn draft(&self, name: &str) -> Result<Box<dyn Draft>, Error>;

    /// An object whose bytes can be read at any place, as the source of an upload; and its length.
    ///
    /// # Errors
    /// As [`Store::open`].
    async fn source(&self, name: &str) -> Result<(Arc<dyn ReadAt>, u64), Error>;

    /// Begins a new object that takes the place of the one of this name, if there is one, in one step.
    ///
    /// # Errors
    /// [`Error::Exists`] when another draft of it is there.
    async fn draft_over(&self, name: &str) -> Result<Box<dyn Draft>, Error>;

    /// Says that an object is in use, to whoever asks [`Workshop::is_pinned`]; of this or another process, until the pin is dropped.
    ///
    /// # Errors
    /// As [`Store::open`].
    async fn pin(&self, name: &str) -> Result<Pin, Error>;

    /// Whether somebody uses it. One that is not there is used by nobody.
    ///
    /// # Errors
    /// [`Error::Io`].
    async fn is_pinned(&self, name: &str) -> Result<bool, Error>;
}

/// A place that is not on this machine.
#[async_trait]
pub trait Elsewhere: Store {
    /// An address by which anybody may read an object for so long.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Error::Io`] where the place cannot do that.
    async fn share(&self, name: &str, time: Duration) -> Result<String, Error>;

    /// Asks for an object that is frozen to be readable for so many days.
    ///
    /// # Errors
    /// As [`Store::open`].
    async fn thaw(&self, name: &str, days: u32) -> Result<Thaw, Error>;

    /// Removes an object with everything that the place keeps of it: versions, marks. How many those were.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Refused`] also where something of it would stay.
    async fn erase(&self, name: &str) -> Result<u64, Error>;

    /// Whether an object of this name lies there that is ours and surely these bytes of `source`: by digests that the place keeps, nothing is
    /// downloaded.
    ///
    /// # Errors
    /// As [`Store::head`]; [`Error::Io`] also when `source` cannot be read.
    async fn holds(&self, name: &str, source: Arc<dyn ReadAt>, stored: &Measure) -> Result<bool, Error>;

    /// Puts a small object, reads it back and removes it: whether backups will get there at all. Where it may not be removed the same one is
    /// put each time.
    async fn try_out(&self) -> Vec<Finding>;

    /// Finds out what the place can do, and what of the settings it keeps, by trying it on objects of its own that carry `token`, and are
    /// gone afterwards.
    async fn probe(&self, token: u64) -> Vec<Finding>;
}

/// How far a thaw has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thaw {
    /// It can be read.
    Readable,
    /// It was asked for before, and is not there yet.
    Coming,
    /// It was asked for now.
    Asked,
}

/// What [`Elsewhere::probe`] finds: a stable name, and what was seen, in the operator's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It can.
    Can(&'static str, String),
    /// It cannot, and nothing depends on it.
    Without(&'static str, String),
    /// It cannot, or does it badly: somebody should look.
    Lacks(&'static str, String),
    /// Backups will fail there.
    Failed(&'static str, Error),
}

/// An object in use; see [`Workshop::pin`].
pub struct Pin {
    _held: Box<dyn std::any::Any + Send + Sync>,
}

impl Pin {
    /// In use for as long as `held` lives.
    #[must_use]
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

/// Bytes on their way into a store.
#[async_trait]
pub trait Upload: Send {
    /// Waits until all of the source is there, makes the object appear, and compares it with `stored` as far as the store tells.
    ///
    /// # Errors
    /// [`Error::Differs`] when other bytes lie there, which stay, and are no backup without a manifest; whatever else went wrong: nothing lies there.
    async fn finish(self: Box<Self>, stored: &Measure) -> Result<Object, Error>;

    /// Gives it up, and removes what has come so far as well as the store lets that be done; says whether nothing is left.
    async fn abort(self: Box<Self>) -> bool;
}

/// An object in the making. Written by one thread.
pub trait Draft: Write + Send {
    /// Makes all that was written durable.
    ///
    /// # Errors
    /// [`Error::Io`]: the bytes may be lost even if a second call succeeds, so the draft must be given up.
    fn sync(&mut self) -> Result<(), Error>;

    /// Follows the writer, from another thread: makes durable what was written so far, and reads it from the first byte,
    /// through the file and, as far as the place can bring that about, from its medium.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn trail(&self) -> Result<Trail, Error>;

    /// What was written, to be read at any place while more is written: the source of an upload.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn read_at(&self) -> Result<Arc<dyn ReadAt>, Error>;

    /// Gives the object its name.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`]; the draft is gone then.
    fn publish(self: Box<Self>) -> Result<(), Error>;
}

/// What follows the writer of a draft; see [`Draft::trail`].
pub struct Trail {
    /// Reads from the first byte; at the end of what was written it says so, and goes on when there is more.
    pub reader: Reader,
    /// Makes durable what was written before the call. An error is final, as with [`Draft::sync`].
    pub sync: Box<dyn FnMut() -> std::io::Result<()> + Send>,
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
    /// What the store says of its bytes, where it says anything: an entity tag, without quotes.
    pub etag: Option<String>,
    /// Has to be thawed before it can be read: the name of its storage class.
    pub frozen: Option<String>,
    /// The installation that made it, where the store was told and says so.
    pub owner: Option<String>,
}

/// Something in the place that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its name, escaped for display.
    pub name: String,
    /// Why, in the operator's language.
    pub reason: String,
}

/// How the names of drafts end, where they are files.
pub const PARTIAL: &str = ".partial";

/// The longest name, in bytes: with what is added to it (`.roles.sql`, [`PARTIAL`]) file systems still take it.
pub const LONGEST_NAME: usize = 200;

/// Refuses what cannot be the name of an object.
///
/// # Errors
/// [`Error::BadName`].
pub fn check_name(name: &str) -> Result<(), Error> {
    let bad = name.is_empty()
        || name.len() > LONGEST_NAME
        || name.starts_with('.')
        || name.ends_with(PARTIAL)
        || name.contains('/')
        || !is_plain(name);
    if bad { Err(Error::BadName { name: escape(name) }) } else { Ok(()) }
}
