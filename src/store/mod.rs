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

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use rust_i18n::t;

use crate::domain::manifest::Measure;
use crate::domain::text::{bytes, escape, is_plain};
use crate::error::{Exit, Explain};

pub mod absent;
pub mod growing;
pub mod local;
pub mod s3;

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
    async fn source(&self, name: &str) -> Result<(std::sync::Arc<dyn ReadAt>, u64), Error>;
}

/// Bytes on their way into a store.
#[async_trait]
pub trait Upload: Send {
    /// Waits until all of the source is there, makes the object appear, and compares it with `stored` as far as the store tells.
    ///
    /// # Errors
    /// [`Error::Differs`] when other bytes lie there, which are removed; whatever else went wrong: nothing lies there.
    async fn finish(self: Box<Self>, stored: &Measure) -> Result<Object, Error>;

    /// Gives it up, and removes what has come so far as well as the store lets that be done.
    async fn abort(self: Box<Self>);
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
    fn read_at(&self) -> Result<std::sync::Arc<dyn ReadAt>, Error>;

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

/// Room in a store, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// For us.
    pub free: u64,
    /// Altogether.
    pub total: u64,
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

/// What was being done when a store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    List,
    Open,
    Read,
    Create,
    Write,
    Publish,
    Delete,
    Space,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = match self {
            Self::List => "store.action.list",
            Self::Open => "store.action.open",
            Self::Read => "store.action.read",
            Self::Create => "store.action.create",
            Self::Write => "store.action.write",
            Self::Publish => "store.action.publish",
            Self::Delete => "store.action.delete",
            Self::Space => "store.action.space",
        };
        f.write_str(&t!(key))
    }
}

/// How a store fails. Names and places are escaped for display already.
///
/// A [`Draft`] writes through `std::io::Write`, so its failures arrive as `std::io::Error`: [`Error::recover`] finds
/// the error of the store in them again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("{}", t!("store.missing", name = name, place = place))]
    Missing {
        /// Asked for.
        name: String,
        /// Where.
        place: String,
    },
    /// The name, or a draft of it, is there.
    #[error("{}", t!("store.exists", name = name, place = place))]
    Exists {
        /// The name.
        name: String,
        /// Where.
        place: String,
    },
    /// Not one plain path component.
    #[error("{}", t!("store.bad_name", name = name))]
    BadName {
        /// The name.
        name: String,
    },
    /// A symbolic link: never followed.
    #[error("{}", t!("store.link", name = name, place = place))]
    Link {
        /// The name.
        name: String,
        /// Where.
        place: String,
    },
    /// A folder, a device, a FIFO.
    #[error("{}", t!("store.not_a_file", name = name, place = place))]
    NotAFile {
        /// The name.
        name: String,
        /// Where.
        place: String,
    },
    /// More bytes than the caller wants to hold.
    #[error("{}", t!("store.too_large", name = name, place = place, limit = limit))]
    TooLarge {
        /// The name.
        name: String,
        /// Where.
        place: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// The disk, or a quota on it, is full.
    #[error("{}", t!("store.no_space", name = name, place = place, free = bytes(space.free)))]
    NoSpace {
        /// What was written.
        name: String,
        /// Where.
        place: String,
        /// What is left there.
        space: Space,
    },
    /// Mounted read-only, or made so by a failing disk.
    #[error("{}", t!("store.read_only", name = name, place = place))]
    ReadOnly {
        /// What was to be written.
        name: String,
        /// Where.
        place: String,
    },
    /// The rights of the directory or the file forbid it.
    #[error("{}", t!("store.denied", name = name, place = place))]
    Denied {
        /// The name.
        name: String,
        /// Where.
        place: String,
        /// The directory's owner, its mode, and our uid.
        rights: Rights,
    },
    /// The place itself is not there.
    #[error("{}", t!("store.no_directory", place = place))]
    NoDirectory {
        /// Where.
        place: String,
    },
    /// fsync failed: what was written may be lost even if a second one succeeds.
    #[error("{}", t!("store.sync", name = name, place = place, cause = cause))]
    Sync {
        /// The name.
        name: String,
        /// Where.
        place: String,
        /// What the system says.
        cause: String,
    },
    /// The bucket is not there.
    #[error("{}", t!("store.no_bucket", place = place))]
    NoBucket {
        /// Where.
        place: String,
    },
    /// The keys are unknown, or sign wrongly.
    #[error("{}", t!("store.credentials", place = place, code = code))]
    Credentials {
        /// Where.
        place: String,
        /// What the store calls it.
        code: String,
    },
    /// The keys were lent, and their time is over.
    #[error("{}", t!("store.expired", place = place, code = code))]
    Expired {
        /// Where.
        place: String,
        /// What the store calls it.
        code: String,
    },
    /// The keys lack a right.
    #[error("{}", t!("store.refused", action = action, name = name, place = place))]
    Refused {
        /// What was being done.
        action: Action,
        /// The object, or nothing.
        name: String,
        /// Where.
        place: String,
        /// The right, as AWS calls it.
        right: &'static str,
    },
    /// The bucket is in another region.
    #[error("{}", t!("store.region", place = place, region = region))]
    Region {
        /// Where.
        place: String,
        /// What the settings say.
        region: String,
        /// The right one, where the store tells.
        right: Option<String>,
    },
    /// The clocks differ by more than the store allows.
    #[error("{}", t!("store.skew", place = place))]
    Skew {
        /// Where.
        place: String,
    },
    /// It asks for patience, and went on asking.
    #[error("{}", t!("store.busy", place = place))]
    Busy {
        /// Where.
        place: String,
    },
    /// It took the connection and did not answer in time.
    #[error("{}", t!("store.silent", action = action, place = place))]
    Silent {
        /// What was being done.
        action: Action,
        /// Where.
        place: String,
    },
    /// Its name is unknown.
    #[error("{}", t!("store.dns", place = place, cause = cause))]
    Dns {
        /// Where.
        place: String,
        /// What the system says.
        cause: String,
    },
    /// It cannot be reached.
    #[error("{}", t!("store.unreached", place = place, cause = cause))]
    Unreached {
        /// Where.
        place: String,
        /// What the system says.
        cause: String,
    },
    /// Its certificate is not trusted, or it speaks no TLS.
    #[error("{}", t!("store.tls", place = place, cause = cause))]
    Tls {
        /// Where.
        place: String,
        /// What is wrong.
        cause: String,
    },
    /// The file of certificates.
    #[error("{}", t!("store.ca_file", path = path, cause = cause))]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// It must be thawed first.
    #[error("{}", t!("store.frozen", name = name, place = place, class = class))]
    Frozen {
        /// The name.
        name: String,
        /// Where.
        place: String,
        /// Its storage class.
        class: String,
    },
    /// What lies there is not what was sent.
    #[error("{}", t!("store.differs", name = name, place = place, what = what))]
    Differs {
        /// The name.
        name: String,
        /// Where.
        place: String,
        /// In what.
        what: String,
    },
    /// Anything else.
    #[error("{}", t!("store.io", action = action, name = name, place = place, cause = cause))]
    Io {
        /// What was being done.
        action: Action,
        /// The name.
        name: String,
        /// Where.
        place: String,
        /// What the system says.
        cause: String,
    },
}

/// Whose a directory is, for [`Error::Denied`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// Uid of its owner.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Uid of this process.
    pub uid: u32,
}

impl Error {
    /// The store's error inside of what a [`Draft`] or a [`Reader`] failed with; `Err` gives back what is none.
    ///
    /// # Errors
    /// `error` itself when no store made it.
    pub fn recover(error: std::io::Error) -> Result<Self, std::io::Error> {
        error.downcast::<Self>()
    }
}

impl Error {
    /// Whether the same question may be answered in a moment: nobody knows then what holds.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Silent { .. } | Self::Dns { .. } | Self::Unreached { .. })
    }

    /// Whether it is about the place, not about one object: the next object fails the same way.
    #[must_use]
    pub fn is_of_the_place(&self) -> bool {
        self.may_pass()
            || matches!(
                self,
                Self::NoBucket { .. }
                    | Self::Credentials { .. }
                    | Self::Expired { .. }
                    | Self::Region { .. }
                    | Self::Skew { .. }
                    | Self::Tls { .. }
                    | Self::CaFile { .. }
            )
    }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } | Self::NotAFile { .. } | Self::TooLarge { .. } | Self::Io { .. } => return None,
            Self::Exists { name, .. } => t!("store.exists_hint", name = name),
            Self::BadName { .. } => t!("store.bad_name_hint", limit = LONGEST_NAME),
            Self::Link { place, .. } => t!("store.link_hint", place = place),
            Self::NoSpace { place, space, .. } => {
                t!("store.no_space_hint", place = place, free = bytes(space.free), total = bytes(space.total))
            }
            Self::ReadOnly { place, .. } => t!("store.read_only_hint", place = place),
            Self::Denied { place, rights, .. } => t!(
                "store.denied_hint",
                place = place,
                owner = rights.owner,
                mode = format!("{:04o}", rights.mode),
                uid = rights.uid
            ),
            Self::NoDirectory { .. } => t!("store.no_directory_hint"),
            Self::Sync { .. } => t!("store.sync_hint"),
            Self::NoBucket { .. } => t!("store.no_bucket_hint"),
            Self::Credentials { .. } => t!("store.credentials_hint"),
            Self::Expired { .. } => t!("store.expired_hint"),
            Self::Refused { right, .. } => t!("store.refused_hint", right = right),
            Self::Region { right: Some(right), .. } => t!("store.region_hint", right = right),
            Self::Region { right: None, .. } => t!("store.region_unknown_hint"),
            Self::Skew { .. } => t!("store.skew_hint"),
            Self::Busy { .. } | Self::Silent { .. } => t!("store.busy_hint"),
            Self::Dns { .. } => t!("store.dns_hint"),
            Self::Unreached { .. } => t!("store.unreached_hint"),
            Self::Tls { .. } => t!("store.tls_hint"),
            Self::CaFile { .. } => t!("store.ca_file_hint"),
            Self::Frozen { .. } => t!("store.frozen_hint"),
            Self::Differs { .. } => t!("store.differs_hint"),
        };
        Some(hint.into_owned())
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NoDirectory { .. } | Self::BadName { .. } | Self::CaFile { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}
