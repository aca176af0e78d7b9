//! Whether a restored database holds what the backup holds. Rows, digests, columns, sequences and large
//! objects must be equal; parts of the schema that differ are notices, because PostgreSQL itself writes
//! some of them differently after a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rust_i18n::t;

use crate::domain::content::{Content, Table};
use crate::domain::text::escape;

/// What [`compare`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// A line for every table of either side, sorted by name.
    pub tables: Vec<TableLine>,
    /// What must not be: not empty means that the proof failed.
    pub differences: Vec<Difference>,
    /// What the operator should look at.
    pub notices: Vec<Notice>,
}

impl Comparison {
    /// Whether the found content is the expected one.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// One table of both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLine {
    /// As the dump writes it.
    pub name: String,
    /// Rows in the backup; `None`: not in it.
    pub expected_rows: Option<u64>,
    /// Rows in the database; `None`: not in it.
    pub found_rows: Option<u64>,
    /// Whether all that can be compared is equal.
    pub equal: bool,
}

/// Something that is not as it must be. `Display` is a fragment for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A table of the backup is not there.
    MissingTable(String),
    /// A table is there that the backup does not have.
    ExtraTable(String),
    /// Another number of rows.
    Rows {
        /// The table.
        table: String,
        /// In the backup.
        expected: u64,
        /// In the database.
        found: u64,
    },
    /// As many rows, with other values.
    Digest(String),
    /// Other columns, or in another order.
    Columns {
        /// The table.
        table: String,
        /// In the backup.
        expected: String,
        /// In the database.
        found: String,
    },
    /// A sequence that is missing, extra, or elsewhere.
    Sequence {
        /// The sequence.
        name: String,
        /// Arguments of `setval` in the backup.
        expected: Option<String>,
        /// In the database.
        found: Option<String>,
    },
    /// Large objects: another number, or other bytes.
    LargeObjects {
        /// How many the backup has.
        expected: u64,
        /// How many are there.
        found: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = || t!("domain.compare.nothing").into_owned();
        let shown = |value: &Option<String>| value.as_deref().map_or_else(nothing, escape);
        let text = match self {
            Self::MissingTable(table) => t!("domain.compare.missing_table", table = escape(table)),
            Self::ExtraTable(table) => t!("domain.compare.extra_table", table = escape(table)),
            Self::Rows { table, expected, found } => {
                t!("domain.compare.rows", table = escape(table), expected = expected, found = found)
            }
            Self::Digest(table) => t!("domain.compare.digest", table = escape(table)),
            Self::Columns { table, expected, found } => {
                t!("domain.compare.columns", table = escape(table), expected = escape(expected), found = escape(found))
            }
            Self::Sequence { name, expected, found } => {
                t!("domain.compare.sequence", name = escape(name), expected = shown(expected), found = shown(found))
            }
            Self::LargeObjects { expected, found } if expected == found => {
                t!("domain.compare.large_objects_digest", count = found)
            }
            Self::LargeObjects { expected, found } => {
                t!("domain.compare.large_objects", expected = expected, found = found)
            }
        };
        f.write_str(&text)
    }
}

/// A part of the schema that is not written as in the backup. `Display` is a fragment for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The entry of the dump: `VIEW public.v`.
    pub entry: String,
    /// What about it.
    pub change: Change,
}

/// How an entry of the schema differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Both have it, with another text.
    Differs,
    /// Only the backup has it.
    Missing,
    /// Only the database has it.
    Extra,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.change {
            Change::Differs => "domain.compare.schema_differs",
            Change::Missing => "domain.compare.schema_missing",
            Change::Extra => "domain.compare.schema_extra",
        };
        f.write_str(&t!(key, entry = escape(&self.entry)))
    }
}

/// Compares what a backup holds with what a dump of the restored database holds.
///
/// Rows that the backup has as INSERT statements (dumps of others) can only be counted. Such dumps do not
/// mention tables without rows, so an extra table without rows is none there.
#[must_use]
pub fn compare(expected: &Content, found: &Content) -> Comparison {
    let mut result = Comparison::default();
    let names: BTreeSet<&String> =
        keys(&expected.tables, &expected.inserts).chain(keys(&found.tables, &found.inserts)).collect();
    for name in names {
        let differences = compare_table(name, expected, found);
        result.tables.push(TableLine {
            name: name.clone(),
            expected_rows: rows(expected, name),
            found_rows: rows(found, name),
            equal: differences.is_empty(),
        });
        result.differences.extend(differences);
    }
    result.differences.extend(compare_sequences(expected, found));
    if expected.large_objects != found.large_objects {
        result.differences.push(Difference::LargeObjects {
            expected: expected.large_objects.count,
            found: found.large_objects.count,
        });
    }
    result.notices = compare_schema(expected, found);
    result
}

fn keys<'a>(
    tables: &'a BTreeMap<String, Table>,
    inserts: &'a BTreeMap<String, u64>,
) -> impl Iterator<Item = &'a String> {
    tables.keys().chain(inserts.keys())
}

/// Rows of `table`, however they are written; `None`: there is no such table.
fn rows(content: &Content, table: &str) -> Option<u64> {
    match (content.tables.get(table), content.inserts.get(table)) {
        (None, None) => None,
        (copied, inserted) => Some(copied.map_or(0, |t| t.rows) + inserted.copied().unwrap_or(0)),
    }
}

fn compare_table(name: &str, expected: &Content, found: &Content) -> Vec<Difference> {
    let table = || name.to_owned();
    let (expected_rows, found_rows) = match (rows(expected, name), rows(found, name)) {
        (None, Some(0)) if !expected.inserts.is_empty() => return Vec::new(),
        (None, _) => return vec![Difference::ExtraTable(table())],
        (Some(_), None) => return vec![Difference::MissingTable(table())],
        (Some(expected), Some(found)) => (expected, found),
    };
    let mut differences = Vec::new();
    let counted_only = expected.inserts.contains_key(name) || found.inserts.contains_key(name);
    let both = expected.tables.get(name).zip(found.tables.get(name)).filter(|_| !counted_only);
    if let Some((e, f)) = both
        && e.columns != f.columns
    {
        differences.push(Difference::Columns { table: table(), expected: e.columns.clone(), found: f.columns.clone() });
    }
    if expected_rows != found_rows {
        differences.push(Difference::Rows { table: table(), expected: expected_rows, found: found_rows });
    } else if both.is_some_and(|(e, f)| e.digest != f.digest || e.bytes != f.bytes) {
        differences.push(Difference::Digest(table()));
    }
    differences
}

fn compare_sequences(expected: &Content, found: &Content) -> Vec<Difference> {
    let names: BTreeSet<&String> = expected.sequences.keys().chain(found.sequences.keys()).collect();
    names
        .into_iter()
        .map(|name| (name, expected.sequences.get(name), found.sequences.get(name)))
        .filter(|(_, expected, found)| expected != found)
        .map(|(name, expected, found)| Difference::Sequence {
            name: name.clone(),
            expected: expected.cloned(),
            found: found.cloned(),
        })
        .collect()
}

fn compare_schema(expected: &Content, found: &Content) -> Vec<Notice> {
    let entries: BTreeSet<&String> = expected.schema.keys().chain(found.schema.keys()).collect();
    entries
        .into_iter()
        .filter_map(|entry| {
            let change = match (expected.schema.get(entry), found.schema.get(entry)) {
                (Some(e), Some(f)) if e == f => return None,
                (Some(_), Some(_)) => Change::Differs,
                (Some(_), None) => Change::Missing,
                (None, _) => Change::Extra,
            };
            Some(Notice { entry: entry.clone(), change })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::domain::content::LargeObjects;

    fn table(rows: u64, digest: u128) -> Table {
        Table { columns: "(id, title)".to_owned(), rows, bytes: rows * 10, digest }
    }

    fn content() -> Content {
        Content {
            tables: [("public.film".to_owned(), table(8807, 7)), ("public.none".to_owned(), table(0, 0))].into(),
            sequences: [("public.film_id_seq".to_owned(), "8807, true".to_owned())].into(),
            large_objects: LargeObjects { count: 2, digest: 5 },
            schema: [("TABLE public.film".to_owned(), "aa".to_owned()), ("VIEW public.v".to_owned(), "bb".to_owned())]
                .into(),
            inserts: BTreeMap::new(),
        }
    }

    fn differences(change: impl FnOnce(&mut Content)) -> String {
        let mut found = content();
        change(&mut found);
        let result = compare(&content(), &found);
        assert!(!result.is_equal());
        result.differences.iter().map(|d| format!("{d}\n")).collect()
    }

    #[test]
    fn equal_contents_are_equal_and_every_table_has_its_line() {
        let result = compare(&content(), &content());
        assert!(result.is_equal() && result.notices.is_empty());
        assert_eq!(result.tables.len(), 2);
        assert_eq!(
            result.tables[0],
            TableLine { name: "public.film".into(), expected_rows: Some(8807), found_rows: Some(8807), equal: true }
        );
        assert!(compare(&Content::default(), &Content::default()).is_equal());
    }

    #[test]
    fn fault_78_every_kind_of_difference_is_found_and_named() {
        let mut found = content();
        found.tables.remove("public.none");
        found.tables.insert("public.\u{1b}[31mextra".to_owned(), table(0, 0));
        found.tables.insert("public.film".to_owned(), Table { columns: "(title, id)".to_owned(), ..table(8807, 8) });
        found.sequences = [("public.other".to_owned(), "1, false".to_owned())].into();
        found.large_objects.digest = 6;
        let result = compare(&content(), &found);
        assert!(!result.is_equal());
        assert_eq!(result.tables.iter().filter(|t| t.equal).count(), 0);
        assert_eq!(result.differences.len(), 7);
        let text: String = result.differences.iter().map(|d| format!("{d}\n")).collect();
        assert_snapshot!(text);
    }

    #[test]
    fn fault_78_each_single_difference_is_enough() {
        assert_snapshot!(differences(|c| c.tables.get_mut("public.film").unwrap().digest = 8), @"table 'public.film' has as many rows as the backup, with other values");
        assert_snapshot!(differences(|c| c.tables.get_mut("public.film").unwrap().rows = 8806), @"rows of table 'public.film': 8806, in the backup 8807");
        assert_snapshot!(differences(|c| { c.sequences.insert("public.film_id_seq".into(), "8807, false".into()); }), @"sequence 'public.film_id_seq' is at (8807, false), in the backup at (8807, true)");
        assert_snapshot!(differences(|c| { c.sequences.clear(); }), @"sequence 'public.film_id_seq' is at (missing), in the backup at (8807, true)");
        assert_snapshot!(differences(|c| c.large_objects.count = 3), @"large objects: 3, in the backup 2");
        assert_snapshot!(differences(|c| { c.tables.insert("public.x".into(), table(0, 0)); }), @"table 'public.x' is not in the backup");
        assert_snapshot!(differences(|c| { c.tables.clear(); }), @r#"
        table 'public.film' of the backup is missing
        table 'public.none' of the backup is missing
        "#);
    }

    #[test]
    fn schema_differences_are_notices_only() {
        let mut found = content();
        found.schema.insert("VIEW public.v".to_owned(), "cc".to_owned());
        found.schema.remove("TABLE public.film");
        found.schema.insert("INDEX public.i".to_owned(), "dd".to_owned());
        let result = compare(&content(), &found);
        assert!(result.is_equal());
        let text: String = result.notices.iter().map(|n| format!("{n}\n")).collect();
        assert_snapshot!(text, @r#"
        'INDEX public.i' is not in the backup
        'TABLE public.film' of the backup is missing
        'VIEW public.v' is written differently than in the backup
        "#);
    }

    #[test]
    fn rows_of_insert_statements_are_counted_only() {
        let expected =
            Content { tables: BTreeMap::new(), inserts: [("public.film".to_owned(), 8807)].into(), ..content() };
        assert!(compare(&expected, &content()).is_equal(), "the empty table was not mentioned");
        let mut found = content();
        found.tables.insert("public.film".to_owned(), table(8806, 7));
        assert_eq!(
            compare(&expected, &found).differences,
            [Difference::Rows { table: "public.film".into(), expected: 8807, found: 8806 }]
        );
        found = content();
        found.tables.insert("public.none".to_owned(), table(1, 1));
        assert_eq!(compare(&expected, &found).differences, [Difference::ExtraTable("public.none".into())]);
    }
}
