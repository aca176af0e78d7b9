//! What looks wrong in a backup beside those before it (fault 25): a table that is gone or was emptied, a dump that fell by half.
//! Such a backup is taken all the same and marked; it counts as usual once a person has said so.

use rust_i18n::t;

use crate::domain::content::Content;
use crate::domain::manifest::Manifest;
use crate::domain::text::{bytes, escape};

/// A table with at least this many rows that is empty the next day is worth a look; so is a database that loses half of as many.
const WORTH_A_LOOK: u64 = 100;

/// Dumps below this vary by half for nothing (bytes of SQL).
const LEAST_BYTES: u64 = 100_000;

/// How many of the last backups tell the usual size.
pub const USUAL: usize = 7;

/// What looks wrong in `content` of `plain_bytes`; `before` are the backups that count as usual, newest first.
#[must_use]
pub fn suspicions(before: &[&Manifest], content: &Content, plain_bytes: u64) -> Vec<String> {
    let Some(last) = before.first() else { return Vec::new() };
    let mut found = tables(last, content);
    let usual = &before[..before.len().min(USUAL)];
    if let Some(rows) = median(usual.iter().map(|m| m.content.rows()))
        && rows >= WORTH_A_LOOK
        && content.rows() < rows.div_ceil(2)
    {
        found.push(t!("backup.fewer_rows", rows = content.rows(), usual = rows).into_owned());
    }
    if let Some(size) = median(usual.iter().map(|m| m.plain.bytes))
        && size >= LEAST_BYTES
        && plain_bytes < size.div_ceil(2)
    {
        found.push(t!("backup.smaller", size = bytes(plain_bytes), usual = bytes(size)).into_owned());
    }
    found
}

/// Tables that were there and are gone, or had rows and have none.
fn tables(last: &Manifest, content: &Content) -> Vec<String> {
    let mut found = Vec::new();
    for (table, before) in &last.content.tables {
        match content.tables.get(table) {
            // One that held nothing takes nothing with it: partitions of past days are dropped every night.
            None if before.rows == 0 => {}
            None => found.push(t!("backup.table_gone", table = escape(table), rows = before.rows).into_owned()),
            Some(now) if now.rows == 0 && before.rows >= WORTH_A_LOOK => {
                found.push(t!("backup.table_empty", table = escape(table), rows = before.rows).into_owned());
            }
            Some(_) => {}
        }
    }
    found
}

/// The middle one; the lower of two.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    values.get(last / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::content::Table;
    use crate::domain::manifest::sample;

    fn holding(tables: &[(&str, u64)]) -> Content {
        let tables = tables.iter().map(|(name, rows)| ((*name).to_owned(), Table { rows: *rows, ..Table::default() }));
        Content { tables: tables.collect(), ..Content::default() }
    }

    fn backup(rows: u64, plain: u64) -> Manifest {
        let at = "2025-11-01T02:00:00Z".parse().unwrap();
        let mut manifest = sample("x.sql.gz", at);
        manifest.content = holding(&[("public.a", rows)]);
        manifest.plain.bytes = plain;
        manifest
    }

    #[test]
    fn fault_25_tables_that_are_gone_or_emptied_are_named() {
        let tables = [("a", 5000), ("b", 100), ("c", 99), ("d", 1), ("e", 0)];
        let before = Manifest { content: holding(&tables), ..backup(0, 0) };
        let found = suspicions(&[&before], &holding(&[("a", 5000), ("b", 0), ("c", 0)]), 0);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains('b') && found[0].contains("100"), "{found:?}");
        assert!(found[1].contains('d'), "{found:?}");
    }

    #[test]
    fn fault_25_half_of_the_usual_is_enough_and_less_is_not() {
        let before: Vec<Manifest> =
            [1000, 1000, 10, 1200, 990, 1001, 1002, 9].map(|rows| backup(rows, rows * 1000)).into();
        let before: Vec<&Manifest> = before.iter().collect();
        // The median of the last seven is 1000; the eighth does not count.
        assert_eq!(suspicions(&before, &holding(&[("public.a", 500)]), 500_000), Vec::<String>::new());
        assert_eq!(suspicions(&before, &holding(&[("public.a", 499)]), 500_000).len(), 1);
        assert_eq!(suspicions(&before, &holding(&[("public.a", 500)]), 499_999).len(), 1);
    }

    #[test]
    fn the_first_backup_and_small_ones_are_as_usual() {
        assert!(suspicions(&[], &Content::default(), 0).is_empty());
        let small = backup(99, 99_999);
        assert!(suspicions(&[&small], &holding(&[("public.a", 1)]), 10).is_empty());
    }

    proptest! {
        #[test]
        fn a_median_is_one_of_them_and_in_the_middle(values in proptest::collection::vec(0u64..100, 1..20)) {
            let median = median(values.iter().copied()).unwrap();
            prop_assert!(values.contains(&median));
            prop_assert!(values.iter().filter(|v| **v <= median).count() * 2 >= values.len());
            prop_assert!(values.iter().filter(|v| **v >= median).count() * 2 >= values.len());
        }
    }
}
