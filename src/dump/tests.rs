//! Tests of the inspector on real dumps and on hostile ones.

use proptest::prelude::*;

use super::{End, Foreign, Inspector, Scan, Why};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn scan(dump: &[u8]) -> Scan {
    let mut inspector = Inspector::new();
    inspector.feed(dump);
    inspector.finish()
}

#[test]
fn show() {
    for f in [
        "hostile-15.sql",
        "hostile-17.sql",
        "hostile-17-create.sql",
        "hostile-15-no-owner.sql",
        "hostile-17-inserts.sql",
        "empty-17.sql",
        "hostile-15-backslash.sql",
    ] {
        println!("=== {f} {:#?}", scan(&fixture(&format!("dumps/{f}"))));
    }
    let s = scan(&fixture("pagila.sql"));
    println!("{} {} {:?} {:?} {}", s.content.rows(), s.content.tables.len(), s.foreign, s.end, s.statements);
    for f in ["all17", "all15", "h17-verbose", "h15-verbose"] {
        let s = scan(&std::fs::read(format!("/tmp/dumpfix/{f}.sql")).unwrap());
        println!("{f} {:?} {:?}", s.end, s.foreign);
    }
}
