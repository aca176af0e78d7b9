//! The manifest: the record beside each backup. A store holds a backup if, and only if, it holds its manifest.
//!
//! What never changes from one version of the format to the next, so that every version can tell a damaged
//! manifest from a newer one: the file is JSON, its member `format` is a number, and it ends with
//! `"check": "<64 hexadecimal digits>"`, a line end, `}` and a line end. These digits are the sha256 of the
//! whole file with the 64 digits replaced by zeros (`sha2` is pure arithmetic, hence allowed in this room).
//!
//! Whether the backup that it describes exists is not known here.

use chrono::{DateTime, Utc};
use rust_i18n::t;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::content::{Content, Needs};
use crate::domain::name::Kind;
use crate::domain::run::RunId;
use crate::domain::text::escape;
use crate::error::Explain;

/// The longest manifest that is read, in bytes: some 200,000 tables and schema entries.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// The version of the format that this program writes.
pub const FORMAT: u32 = 1;

/// What is known of one backup. Written once, after the proof, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format: [`FORMAT`].
    pub format: u32,
    /// The run that made it.
    pub id: RunId,
    /// Why it was made.
    pub kind: Kind,
    /// The installation it belongs to (`BACKUP_NAME`).
    pub installation: String,
    /// Name of the data file beside it.
    pub file: String,
    /// Version of the program that wrote it.
    pub written_by: String,
    /// When the run began (the date of the name, in UTC).
    pub started_at: DateTime<Utc>,
    /// When the manifest was written.
    pub finished_at: DateTime<Utc>,
    /// When the stored file was last read back whole and found equal.
    pub verified_at: DateTime<Utc>,
    /// What no dump file holds of the database itself.
    pub database: DatabaseRecord,
    /// `server_version` of the server.
    pub server_version: String,
    /// Version of `pg_dump`.
    pub client_version: String,
    /// `SET client_encoding` of the dump.
    pub client_encoding: String,
    /// How the bytes left the database: `exec`, `local`, later `fifo`.
    pub lane: String,
    /// Whether owners and grants are in the dump.
    pub owners: Owners,
    /// `gzip`.
    pub compression: String,
    /// The file as it lies in the store.
    pub stored: Measure,
    /// The SQL inside.
    pub plain: Measure,
    /// What was counted.
    pub content: Content,
    /// What a server must have to load it.
    pub needs: Needs,
    /// `pg_dumpall --roles-only` beside it.
    pub roles_file: Option<RolesFile>,
    /// Warnings of the client program and ours: not empty means *degraded*.
    pub warnings: Vec<String>,
    /// What looks wrong compared with the backup before: not empty means *suspicious*.
    pub suspicious: Vec<String>,
    /// The highest resident memory of the run so far, in bytes (VmHWM).
    pub peak_rss_bytes: u64,
    /// sha256 of the file with this value's digits as zeros: finds a flipped bit in the manifest itself.
    /// [`Manifest::to_bytes`] fills it in, whatever it was.
    pub check: String,
}

/// What stands for the digits of the check while it is computed.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const BEFORE_CHECK: &str = "\"check\": \"";
const AFTER_CHECK: &str = "\"\n}\n";

impl Manifest {
    /// The file: indented JSON with its check filled in.
    #[must_use]
    #[expect(clippy::expect_used, reason = "maps with string keys and plain structs always become JSON")]
    pub fn to_bytes(&self) -> Vec<u8> {
        let unsigned = Self { check: ZEROS.to_owned(), ..self.clone() };
        let mut bytes = serde_json::to_vec_pretty(&unsigned).expect("a manifest is always JSON");
        bytes.push(b'\n');
        let digits = hex(&Sha256::digest(&bytes));
        let start = bytes.len() - AFTER_CHECK.len() - ZEROS.len();
        bytes[start..start + ZEROS.len()].copy_from_slice(digits.as_bytes());
        bytes
    }

    /// Reads a manifest file whole, or not at all.
    ///
    /// # Errors
    /// [`Error`]: too large, cut, damaged, of a newer version, or not a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::TooLarge { bytes: bytes.len() as u64 });
        }
        verify_check(bytes)?;
        let malformed = |e: serde_json::Error| Error::Malformed { cause: escape(&e.to_string()) };
        let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format != u64::from(FORMAT) {
            return Err(Error::UnknownFormat { found: format });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }
}

/// What every version of the format has.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

fn verify_check(bytes: &[u8]) -> Result<(), Error> {
    let Some((start, written)) = find_check(bytes) else { return Err(without_check(bytes)) };
    let mut hash = Sha256::new();
    hash.update(&bytes[..start]);
    hash.update(ZEROS);
    hash.update(&bytes[start + ZEROS.len()..]);
    // Upper-case digits are a flipped bit, too.
    if hex(&hash.finalize()).as_bytes() == written { Ok(()) } else { Err(Error::Damaged) }
}

/// Where the digits of the check begin, and they.
fn find_check(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let rest = bytes.strip_suffix(AFTER_CHECK.as_bytes())?;
    let start = rest.len().checked_sub(ZEROS.len())?;
    rest[..start].ends_with(BEFORE_CHECK.as_bytes()).then(|| (start, &rest[start..]))
}

/// Why a file does not end as every manifest does.
fn without_check(bytes: &[u8]) -> Error {
    match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        Ok(_) => Error::Damaged,
        Err(e) if e.is_eof() => Error::Cut { bytes: bytes.len() as u64 },
        Err(e) => Error::Malformed { cause: escape(&e.to_string()) },
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Why a manifest cannot be read. The catalogue names the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends too early.
    #[error("{}", t!("domain.manifest.cut", bytes = bytes))]
    Cut {
        /// What is there, bytes.
        bytes: u64,
    },
    /// It is not JSON, or a member is missing or of another type.
    #[error("{}", t!("domain.manifest.malformed", cause = cause))]
    Malformed {
        /// What the JSON reader says.
        cause: String,
    },
    /// Its check differs: at least one byte is not what was written.
    #[error("{}", t!("domain.manifest.damaged"))]
    Damaged,
    /// Another version of the format: a newer program wrote it.
    #[error("{}", t!("domain.manifest.unknown_format", found = found, known = FORMAT))]
    UnknownFormat {
        /// The version it names.
        found: u64,
    },
    /// Longer than [`MAX_BYTES`].
    #[error("{}", t!("domain.manifest.too_large", bytes = bytes, limit = MAX_BYTES))]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// The store could not give it: `cause` is its message.
    #[error("{}", t!("domain.manifest.unread", cause = cause))]
    Unread {
        /// What the store says.
        cause: String,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        let key = match self {
            Self::UnknownFormat { .. } => "domain.manifest.unknown_format_hint",
            Self::Unread { .. } => return None,
            _ => "domain.manifest.damaged_hint",
        };
        Some(t!(key).into_owned())
    }
}

/// Length and hash of a run of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Bytes.
    pub bytes: u64,
    /// Lower-case hexadecimal sha256.
    pub sha256: String,
}

/// The companion with the roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolesFile {
    /// Its name.
    pub file: String,
    /// Its measure.
    pub stored: Measure,
    /// Whether it holds password hashes.
    pub passwords: bool,
}

/// Whether a dump holds owners and grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owners {
    /// They are in it.
    Kept,
    /// `--no-owner --no-acl`: nothing is lost by it, all belongs to the role that dumps.
    Omitted,
}

/// The database as `pg_database` and `pg_db_role_setting` describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its ACL (`datacl`), as aclitem texts; `None` is the default.
    pub acl: Option<Vec<String>>,
    /// Statements that give a database this ACL; `$DATABASE$` stands for its quoted name.
    pub grants: Vec<String>,
    /// `ALTER DATABASE … SET`, also per role.
    pub settings: Vec<DatabaseSetting>,
    /// `datconnlimit`, -1 for none.
    pub connection_limit: i32,
    /// Its comment.
    pub comment: Option<String>,
    /// Server encoding.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// Locale of the provider where it is not libc.
    pub locale: Option<String>,
    /// `pg_database_size`, bytes.
    pub size_bytes: u64,
}

/// One setting of a database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DatabaseSetting {
    /// The role it holds for; `None`: all.
    pub role: Option<String>,
    /// Name of the parameter.
    pub name: String,
    /// Its value as stored in `setconfig`.
    pub value: String,
}

/// A manifest for tests of other rooms, too: small, whole, of kind [`Kind::Backup`].
#[cfg(test)]
pub(crate) fn sample(file: &str, started_at: DateTime<Utc>) -> Manifest {
    use chrono::TimeDelta;

    Manifest {
        format: FORMAT,
        id: RunId::new(started_at, 0x00a1_b2c3),
        kind: Kind::Backup,
        installation: "hub-chantier/hub_chantier".to_owned(),
        file: file.to_owned(),
        written_by: "0.1.0".to_owned(),
        started_at,
        finished_at: started_at + TimeDelta::seconds(9),
        verified_at: started_at + TimeDelta::seconds(8),
        database: DatabaseRecord { name: "hub_chantier".to_owned(), ..DatabaseRecord::default() },
        server_version: "16.4".to_owned(),
        client_version: "16.4".to_owned(),
        client_encoding: "UTF8".to_owned(),
        lane: "exec".to_owned(),
        owners: Owners::Kept,
        compression: "gzip".to_owned(),
        stored: Measure { bytes: 5000, sha256: "ab".repeat(32) },
        plain: Measure { bytes: 50_000, sha256: "cd".repeat(32) },
        content: Content::default(),
        needs: Needs::default(),
        roles_file: None,
        warnings: Vec::new(),
        suspicious: Vec::new(),
        peak_rss_bytes: 20_000_000,
        check: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    /// Written by the first version of the format: must be readable for ever.
    const FORMAT_1: &[u8] = include_bytes!("../../tests/data/manifests/format-1.json");

    fn manifest() -> Manifest {
        sample("hub_chantier_backup_20250701_030005.sql.gz", "2025-07-01T01:00:05Z".parse().unwrap())
    }

    /// Gives a changed text the check that it should have.
    fn signed(text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        let (start, _) = find_check(&bytes).unwrap();
        bytes[start..start + 64].copy_from_slice(ZEROS.as_bytes());
        let digits = hex(&Sha256::digest(&bytes));
        bytes[start..start + 64].copy_from_slice(digits.as_bytes());
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = manifest().to_bytes();
        let read = Manifest::parse(&bytes).unwrap();
        assert_eq!(Manifest { check: String::new(), ..read.clone() }, manifest());
        assert_eq!(read.to_bytes(), bytes, "writing again changes nothing");
    }

    #[test]
    fn format_1_stays_readable() {
        let read = Manifest::parse(FORMAT_1).unwrap();
        assert_eq!(read.file, "hub_chantier_backup_20250701_030005.sql.gz");
        assert_eq!(read.database.grants, ["GRANT CONNECT ON DATABASE $DATABASE$ TO chef"]);
        assert_eq!(read.content.tables["public.chantier"].digest, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(read.content.rows(), 8807);
        assert_eq!(read.roles_file.as_ref().map(|r| r.passwords), Some(true));
        assert_eq!(read.to_bytes(), FORMAT_1, "this version still writes what it wrote");
    }

    #[test]
    fn fault_69_a_manifest_cut_anywhere_is_refused() {
        let bytes = manifest().to_bytes();
        for end in 0..bytes.len() {
            let error = Manifest::parse(&bytes[..end]).unwrap_err();
            assert!(matches!(error, Error::Cut { .. } | Error::Damaged), "{end}: {error:?}");
        }
        assert_eq!(Manifest::parse(&bytes[..100]), Err(Error::Cut { bytes: 100 }));
    }

    #[test]
    fn fault_69_an_unknown_version_says_that_a_newer_program_wrote_it() {
        let text = String::from_utf8(manifest().to_bytes()).unwrap();
        let bytes = signed(&text.replace("\"format\": 1", "\"format\": 2").replace("\"lane\"", "\"way\""));
        assert_eq!(Manifest::parse(&bytes), Err(Error::UnknownFormat { found: 2 }));
    }

    #[test]
    fn fault_69_a_flipped_version_is_damage_not_a_newer_program() {
        let text = String::from_utf8(manifest().to_bytes()).unwrap();
        let bytes = text.replace("\"format\": 1", "\"format\": 3").into_bytes();
        assert_eq!(Manifest::parse(&bytes), Err(Error::Damaged));
    }

    #[test]
    fn a_member_that_is_missing_is_named() {
        let text = String::from_utf8(manifest().to_bytes()).unwrap();
        let bytes = signed(&text.replace("\"lane\"", "\"way\""));
        assert_snapshot!(Manifest::parse(&bytes).unwrap_err(), @"the manifest is not what Amarre writes: missing field `lane` at line 59 column 1");
    }

    #[test]
    fn too_large_a_file_is_refused_before_it_is_parsed() {
        let bytes = vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1];
        assert_eq!(Manifest::parse(&bytes), Err(Error::TooLarge { bytes: MAX_BYTES + 1 }));
    }

    proptest! {
        #[test]
        fn fault_69_any_flipped_byte_is_refused(at in any::<prop::sample::Index>(), mask in 1u8..=255) {
            let mut bytes = FORMAT_1.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            prop_assert!(Manifest::parse(&bytes).is_err());
        }

        #[test]
        fn anything_else_never_panics(bytes in any::<Vec<u8>>()) {
            prop_assert!(Manifest::parse(&bytes).is_err());
        }
    }
}
