//! What a dump holds, in a form that can be compared: rows and digest of each table, values of
//! sequences, large objects, digests of the parts of the schema.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Everything that was counted while a dump went by. Keys are names as the dump writes them
/// (`public.actor`, `"s p"."t;1"`), so two dumps by the same client use the same keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Rows, bytes and digest of each table that has a COPY block.
    pub tables: BTreeMap<String, Table>,
    /// Arguments of each `setval`: `"123, true"`.
    pub sequences: BTreeMap<String, String>,
    /// Large objects, all together.
    pub large_objects: LargeObjects,
    /// xxh3-128 (hex) of the text of each entry (`TABLE public.actor`), without comments.
    /// Differences here are notices: PostgreSQL deparses some of it differently after a reload.
    pub schema: BTreeMap<String, String>,
    /// Rows that came as INSERT statements, by table: dumps of others only; not digested.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inserts: BTreeMap<String, u64>,
}

impl Content {
    /// Rows of all tables together.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|t| t.rows).sum()
    }
}

/// One table's data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The column list of its COPY, `(id, title)`.
    pub columns: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of its COPY lines, line ends included.
    pub bytes: u64,
    /// Sum modulo 2^128 of the xxh3-128 of each line (without its end): independent of row order.
    #[serde(with = "hex128")]
    pub digest: u128,
}

/// Large objects of a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjects {
    /// How many.
    pub count: u64,
    /// Sum modulo 2^128 of the xxh3-128 of each object's id and pages.
    #[serde(with = "hex128")]
    pub digest: u128,
}

/// What must exist in a server before a dump can be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Roles that own something or hold a grant.
    pub roles: BTreeSet<String>,
    /// Extensions.
    pub extensions: BTreeSet<String>,
    /// Tablespaces.
    pub tablespaces: BTreeSet<String>,
}

/// A 128-bit digest as 32 hexadecimal digits: JSON numbers end at 53 bits.
pub mod hex128 {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes `value` as hex.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("{value:032x}"))
    }

    /// Reads hex.
    ///
    /// # Errors
    /// When the text is not a hexadecimal number of at most 128 bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        let text = String::deserialize(d)?;
        u128::from_str_radix(&text, 16).map_err(de::Error::custom)
    }
}
