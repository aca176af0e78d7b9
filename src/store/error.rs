//! How stores fail, in words for people.

use rust_i18n::t;

use super::LONGEST_NAME;
use super::Space;
use crate::domain::text::bytes;
use crate::error::{Exit, Explain};

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
/// A [`super::Draft`] writes through `std::io::Write`, so its failures arrive as `std::io::Error`: [`Error::recover`] finds
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
    /// It knows nothing of a header that objects are made with: tags, a class, an encryption, a lock.
    #[error("{}", t!("store.unsupported", place = place, said = said))]
    Unsupported {
        /// Where.
        place: String,
        /// What the store says of it.
        said: String,
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
    /// The store's error inside of what a [`super::Draft`] or a [`super::Reader`] failed with; `Err` gives back what is none.
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
            Self::Unsupported { .. } => t!("store.unsupported_hint"),
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
