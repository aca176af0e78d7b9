//! The manifest: the record beside each backup. A store holds a backup if, and only if, it holds its manifest.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::content::{Content, Needs};
use crate::domain::name::Kind;
use crate::domain::run::RunId;

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
    pub check: String,
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
