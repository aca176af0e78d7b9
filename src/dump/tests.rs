//! Tests of the inspector on real dumps (tests/data/dumps/README.md) and on hostile ones.

use std::fmt::Write as _;

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::{End, Foreign, Inspector, Scan, Why};

const DUMPS: [&str; 7] = [
    "dumps/hostile-15.sql",
    "dumps/hostile-15-no-owner.sql",
    "dumps/hostile-15-backslash.sql",
    "dumps/hostile-17.sql",
    "dumps/hostile-17-create.sql",
    "dumps/hostile-17-inserts.sql",
    "dumps/empty-17.sql",
];

pub fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn scan(dump: impl AsRef<[u8]>) -> Scan {
    let mut inspector = Inspector::new();
    inspector.feed(dump.as_ref());
    inspector.finish()
}

fn scan_in(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Scan {
    let mut inspector = Inspector::new();
    for chunk in chunks {
        inspector.feed(chunk.as_ref());
    }
    inspector.finish()
}

/// A whole dump with this in it.
fn dump(inside: &str) -> String {
    format!(
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n\
         SET standard_conforming_strings = on;\n{inside}\n\
         --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n"
    )
}

/// Everything that could fool a reader, as short as possible.
fn torture() -> String {
    dump(concat!(
        "-- Name: t; Type: TABLE; Schema: public; Owner: a\n",
        "CREATE TABLE public.t (a text DEFAULT 'x;\\'::text); -- COPY t FROM stdin;\n",
        "/* ; /* nested */ \\! x */ SELECT E'it\\'s; \\\\' || U&'\\' || $a$ ; $b$ $ $a$ || $$\n\\! x\n$$, 1-2/3;\n",
        "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;\n",
        "-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: a\n",
        "COPY public.t (a) FROM stdin;\nCOPY x FROM stdin;\n\\\\.\n\\! x\n'\n\\.\n\n",
        "COPY public.t (a) FROM stdin;\n\n\\.x\n-- PostgreSQL database dump complete\n\\.\r\n",
        "SELECT pg_catalog.setval('public.\"s''q\"', 5, true);\n",
        "SELECT pg_catalog.lo_create('7');\nBEGIN;\nSELECT pg_catalog.lo_open('7', 131072);\n",
        "SELECT pg_catalog.lowrite(0, '\\x00ff');\nSELECT pg_catalog.lo_close(0);\nCOMMIT;\n",
        "INSERT INTO public.u (a, b) VALUES (1, '),('), ((2), 3) ON CONFLICT (a) DO NOTHING;\n",
        "ALTER DATABASE x OWNER TO y;\n\\connect x\nALTER TABLE t OWNER TO \"a b\";\n",
    ))
}

#[test]
fn the_torture_is_read_right() {
    let scan = scan(torture());
    assert_eq!(scan.end, End::Complete);
    let table = &scan.content.tables["public.t"];
    assert_eq!((table.rows, table.bytes, table.columns.as_str()), (7, 72, "(a)"));
    let lines = ["COPY x FROM stdin;", "\\\\.", "\\! x", "'", "", "\\.x", "-- PostgreSQL database dump complete"];
    let digest = lines.iter().fold(0_u128, |sum, line| sum.wrapping_add(xxh3_128(line.as_bytes())));
    assert_eq!(table.digest, digest);
    assert_eq!(scan.content.sequences["public.\"s'q\""], "5, true");
    assert_eq!(scan.content.large_objects.count, 1);
    assert_eq!(scan.content.large_objects.digest, xxh3_128(b"7\x0000ff"));
    assert_eq!(scan.content.inserts["public.u"], 2);
    assert_eq!(scan.needs.roles.iter().collect::<Vec<_>>(), ["a b"]);
    assert_eq!(scan.content.schema.keys().collect::<Vec<_>>(), ["TABLE public.t"]);
    let text = torture();
    let skipped: Vec<&str> =
        scan.skip.iter().map(|r| &text[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()]).collect();
    let expected = ["\\restrict abc\n", "ALTER DATABASE x OWNER TO y;", "\\connect x\n", "\\unrestrict abc\n"];
    assert_eq!(skipped, expected);
    assert_eq!(scan.foreign.len(), 2, "{:?}", scan.foreign);
    assert!(scan.forbidden().is_none());
}

#[test]
fn a_split_at_every_point_changes_nothing() {
    let text = torture();
    let whole = scan(&text);
    for at in 0..=text.len() {
        let (left, right) = text.as_bytes().split_at(at);
        assert_eq!(scan_in([left, right]), whole, "at {at}");
    }
    assert_eq!(scan_in(text.as_bytes().chunks(1)), whole);
}

#[test]
fn real_dumps_byte_by_byte_give_the_same() {
    for name in DUMPS {
        let dump = fixture(name);
        assert_eq!(scan_in(dump.chunks(1)), scan(&dump), "{name}");
        assert_eq!(scan_in(dump.chunks(7)), scan(&dump), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunks_of_a_real_dump_give_the_same(name in 0..DUMPS.len(), sizes in proptest::collection::vec(1_usize..9000, 1..60)) {
        let dump = fixture(DUMPS[name]);
        let mut rest = dump.as_slice();
        let mut chunks = Vec::new();
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, later) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = later;
        }
        prop_assert_eq!(scan_in(chunks), scan(&dump));
    }

    #[test]
    fn whatever_the_bytes_chunks_change_nothing(text in "[a-eA-E'\"$;()/*\\\\\n -]{0,80}|(COPY t FROM stdin;\n|\\\\\\.\n|'|E'|\\$a\\$|--|/\\*|\\*/|begin |end |;|\n|create function |\\\\! x\n){0,30}", at in 0_usize..80) {
        let bytes = text.as_bytes();
        let (left, right) = bytes.split_at(at.min(bytes.len()));
        prop_assert_eq!(scan_in([left, right]), scan(bytes));
        prop_assert_eq!(scan_in(bytes.chunks(1)), scan(bytes));
    }
}

#[test]
fn real_dumps_are_whole_and_free_of_foreign_things() {
    for name in DUMPS {
        let scan = scan(fixture(name));
        assert_eq!(scan.end, End::Complete, "{name}");
        assert!(scan.forbidden().is_none(), "{name}: {:?}", scan.foreign);
        assert!(!scan.ambiguous_quoting, "{name}");
        assert_eq!(scan.client_encoding.as_deref(), Some("UTF8"));
        assert!(scan.server_version.as_deref().unwrap().starts_with(if name.contains("15") { "15." } else { "17." }));
    }
}

#[test]
fn the_counts_of_a_real_dump_are_right() {
    let scan = scan(fixture("dumps/hostile-17.sql"));
    let rows: Vec<(&str, u64)> = scan.content.tables.iter().map(|(name, t)| (name.as_str(), t.rows)).collect();
    let expected = [
        ("\"s p\".\"t;1\"\"q\"", 20),
        ("public.\"new\nline\"", 1),
        ("public.gen", 2),
        ("public.ident", 1),
        ("public.nocols", 2),
        ("public.part_1", 1),
        ("public.part_2", 2),
        ("public.plain_", 10),
    ];
    assert_eq!(rows, expected);
    assert_eq!(scan.content.sequences["\"s p\".\"se'q\""], "77, false");
    assert_eq!(scan.content.large_objects.count, 4);
    assert_eq!(scan.needs.roles.iter().collect::<Vec<_>>(), ["Tricky, TO public", "fred o'x", "hub", "reader"]);
    assert_eq!(scan.needs.extensions.iter().collect::<Vec<_>>(), ["hstore", "pg_trgm"]);
    assert!(scan.content.schema.contains_key("TABLE s p.t;1\"q"));
    assert!(scan.content.schema.contains_key("FUNCTION public.begin_atomic_case(integer)"));
}

#[test]
fn the_same_database_gives_the_same_content_whatever_the_release_and_the_settings() {
    let content = |name: &str| scan(fixture(name)).content;
    let reference = content("dumps/hostile-17.sql");
    for name in ["dumps/hostile-15.sql", "dumps/hostile-15-no-owner.sql", "dumps/hostile-15-backslash.sql"] {
        let other = content(name);
        assert_eq!(other.tables, reference.tables, "{name}");
        assert_eq!(other.sequences, reference.sequences, "{name}");
        assert_eq!(other.large_objects, reference.large_objects, "{name}");
    }
    let inserts = content("dumps/hostile-17-inserts.sql").inserts;
    let rows: std::collections::BTreeMap<String, u64> =
        reference.tables.iter().map(|(name, table)| (name.clone(), table.rows)).collect();
    assert_eq!(inserts, rows);
}

#[test]
fn owners_are_not_part_of_keys_and_grants_are_schema() {
    let with = scan(fixture("dumps/hostile-15.sql"));
    let without = scan(fixture("dumps/hostile-15-no-owner.sql"));
    assert!(without.needs.roles.iter().all(|role| role == "reader"), "{:?}", without.needs.roles);
    let acl = |scan: &Scan| scan.content.schema.keys().filter(|k| k.contains("ACL ")).count();
    assert!(acl(&with) > 0);
    assert_eq!(acl(&without), 0);
    assert!(without.content.schema.keys().all(|key| with.content.schema.contains_key(key)));
}

#[test]
fn pagila_is_counted() {
    let scan = scan(fixture("pagila.sql"));
    assert_eq!(scan.end, End::Complete);
    assert_eq!((scan.content.rows(), scan.content.tables.len()), (46_273, 21));
    assert_eq!(scan.content.tables["public.film"].rows, 1000);
    assert_eq!(scan.foreign, []);
    assert!(!scan.ambiguous_quoting);
}

#[test]
fn a_dump_made_with_create_is_told_and_its_statements_are_left_out() {
    let text = fixture("dumps/hostile-17-create.sql");
    let scan = scan(&text);
    assert!(matches!(
        scan.foreign.as_slice(),
        [Foreign::DatabaseStatement { .. }, Foreign::DatabaseStatement { .. }, Foreign::Connect { line: 32, .. }]
    ));
    let mut kept = text;
    for range in scan.skip.iter().rev() {
        kept.drain(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
    }
    let kept = String::from_utf8(kept).unwrap();
    for gone in ["CREATE DATABASE", "ALTER DATABASE", "\\connect", "restrict "] {
        assert!(!kept.contains(gone), "{gone}");
    }
}

#[test]
fn digests_do_not_depend_on_the_order_of_rows_and_blocks_of_a_table_add_up() {
    let one = scan(dump("COPY t (a) FROM stdin;\na\nb\nc\n\\.\n")).content.tables;
    let two = scan(dump("COPY t (a) FROM stdin;\nc\n\\.\nCOPY t (a) FROM stdin;\nb\na\n\\.\n")).content.tables;
    let other = scan(dump("COPY t (a) FROM stdin;\na\nb\nd\n\\.\n")).content.tables;
    assert_eq!(one, two);
    assert_ne!(one, other);
}

#[test]
fn large_objects_are_compared_whatever_their_order_and_pages() {
    let object = |id: &str, pages: &[&str]| {
        let mut text = format!("SELECT pg_catalog.lo_open('{id}', 131072);\n");
        for page in pages {
            writeln!(text, "SELECT pg_catalog.lowrite(0, '\\x{page}');").unwrap();
        }
        text + "SELECT pg_catalog.lo_close(0);\n"
    };
    let digest = |text: String| scan(dump(&text)).content.large_objects.digest;
    let reference = digest(object("1", &["00ff", "11"]) + &object("2", &[]));
    assert_eq!(digest(object("2", &[]) + &object("1", &["00ff11"])), reference);
    assert_ne!(digest(object("1", &[]) + &object("2", &["00ff11"])), reference);
    assert_ne!(digest(object("1", &["00ff12"]) + &object("2", &[])), reference);
}

#[test]
fn a_row_of_many_megabytes_is_hashed_as_it_streams() {
    let piece = vec![b'x'; 64 * 1024];
    let mut inspector = Inspector::new();
    inspector.feed(b"COPY t (a) FROM stdin;\n");
    for _ in 0..128 {
        inspector.feed(&piece);
    }
    inspector.feed(b"\n\\.\n");
    let table = &inspector.finish().content.tables["t"];
    assert_eq!((table.rows, table.bytes), (1, 8 * 1024 * 1024 + 1));
    assert_eq!(table.digest, xxh3_128(&vec![b'x'; 8 * 1024 * 1024]));
}

#[test]
fn a_statement_of_many_megabytes_is_hashed_and_not_kept() {
    let mut inspector = Inspector::new();
    inspector.feed(b"-- Name: f(); Type: FUNCTION; Schema: s; Owner: o\nSELECT '");
    for _ in 0..128 {
        inspector.feed(&vec![b'x'; 64 * 1024]);
    }
    inspector.feed(b"';\n");
    let expected = {
        let text = [b"SELECT '".as_slice(), &vec![b'x'; 8 * 1024 * 1024], b"';"].concat();
        xxh3_128(&xxh3_128(&text).to_le_bytes())
    };
    assert_eq!(inspector.finish().content.schema["FUNCTION s.f()"], format!("{expected:032x}"));
}

#[test]
fn comments_and_blank_lines_are_not_schema_but_text_is() {
    let entry = |text: &str| {
        let head = "-- Name: v; Type: VIEW; Schema: s; Owner: ";
        scan(dump(&format!("{head}a\n{text}\n"))).content.schema["VIEW s.v"].clone()
    };
    let reference = entry("CREATE VIEW s.v AS SELECT 1;");
    assert_eq!(entry("\n\n-- TOC entry 5\nCREATE VIEW s.v AS SELECT 1;\n\n\nSET default_tablespace = '';"), reference);
    assert_ne!(entry("CREATE VIEW s.v AS SELECT 2;"), reference);
    assert_ne!(entry("CREATE VIEW s.v AS SELECT 1; ALTER VIEW s.v OWNER TO b;"), reference);
}

fn end_of(text: impl AsRef<[u8]>) -> End {
    scan(text).end
}

#[test]
fn fault_29_a_dump_without_its_trailer_is_refused() {
    let whole = dump("SELECT 1;");
    assert_eq!(end_of(&whole), End::Complete);
    assert_eq!(end_of(whole.replace("dump complete", "dump complet")), End::NoTrailer);
    assert_eq!(end_of(""), End::Empty);
    let hidden = "\n-- PostgreSQL database dump complete\n";
    assert_eq!(end_of(format!("SELECT '{hidden}';")), End::NoTrailer);
    assert_eq!(end_of(format!("SELECT $$ {hidden} $$;")), End::NoTrailer);
    assert_eq!(end_of(format!("/* {hidden} */")), End::NoTrailer);
    assert_eq!(end_of(format!("COPY t FROM stdin;{hidden}\\.\n")), End::NoTrailer);
    assert_eq!(end_of(format!("SELECT 1 {hidden}")), End::InStatement { line: 3 });
    assert_eq!(end_of(format!("SELECT 1; {}", hidden.trim())), End::NoTrailer);
}

#[test]
fn fault_29_what_follows_the_trailer_is_refused() {
    let whole = dump("SELECT 1;");
    assert_eq!(end_of(format!("{whole}-- a comment\n\n")), End::Complete);
    assert_eq!(end_of(format!("{whole}SELECT 2;\n")), End::AfterTrailer { line: 15 });
    assert_eq!(end_of(format!("{whole}SELECT 2")), End::InStatement { line: 15 });
    assert_eq!(end_of(format!("{whole}COPY t FROM stdin;\n\\.\n")), End::AfterTrailer { line: 15 });
    assert_eq!(end_of(format!("{whole}\\! x\n")), End::AfterTrailer { line: 15 });
    assert_eq!(end_of(format!("{whole}{whole}")), End::Several);
    assert_eq!(end_of("--\n-- PostgreSQL database cluster dump\n--\n"), End::Several);
}

#[test]
fn fault_29_restrict_and_unrestrict_must_be_a_pair() {
    let whole = dump("SELECT 1;");
    assert_eq!(end_of(whole.replace("\\unrestrict abc", "\\unrestrict abd")), End::Restricted);
    assert_eq!(end_of(whole.replace("\\unrestrict abc", "")), End::Restricted);
    assert_eq!(end_of(whole.replace("\\unrestrict abc", "").replace("\\restrict abc", "")), End::Complete);
    let twice = scan(whole.replace("SELECT 1;", "\\restrict def\n"));
    assert!(matches!(twice.forbidden(), Some(Foreign::Meta { .. })));
}

#[test]
fn fault_34_a_dump_cut_at_any_byte_is_refused() {
    let text = torture();
    // What is left out at the end of these two is only the last line's end.
    let whole = text.trim_end().len();
    for at in 0..whole {
        assert_ne!(end_of(&text.as_bytes()[..at]), End::Complete, "cut at {at}");
    }
    let real = fixture("dumps/hostile-17.sql");
    for at in (0..real.len() - 2).step_by(211) {
        assert_ne!(end_of(&real[..at]), End::Complete, "cut at {at}");
    }
    let old = fixture("pagila.sql");
    let row = old.windows(8).position(|w| w == b"\nCOPY pu").unwrap() + 200;
    assert!(matches!(end_of(&old[..row]), End::InData { table } if table == "public.actor"));
}

fn forbidden(inside: &str) -> Option<Foreign> {
    scan(dump(inside)).forbidden().cloned()
}

#[test]
fn fault_83_backslash_commands_are_found_wherever_psql_runs_them() {
    for inside in [
        "\\! touch canary",
        "select 1 \\! touch canary",
        "\\o |touch canary",
        "\\copy t from program 'x'",
        "\\set x `touch canary`",
        "\\i /etc/passwd",
        "  \\! x",
        "select 1\\; select 2;",
        "select 1 \\gexec",
        "-- comment\r\\! x",
        "/* a /* b */ */ \\! x",
        "select $a$ $b$ $a$ \\! x",
        "select 'it''s' \\! x",
        "select E'\\'' \\! x",
        "select \"a\"\"b\" \\! x",
        "select a$b$ \\! x",
        "select 'x\\' \\! x",
        "select U&'\\' \\! x",
        "create function f() begin atomic select case when a then 1 end; end; \\! x",
        "COPY t FROM stdin;\nrow\n\\.\n\\! x",
        "COPY t FROM stdout;\nrow\n\\.\n\\! x",
        "COPY t FROM stdin;\nrow\n\\.\n\\.\n\\! x",
        "COPY t TO stdout;\n\\! x",
        "COPY (SELECT a FROM stdin) TO stdout;\n\\! x",
        "\\connect x\\! y",
        "\\restrict x\\! y",
    ] {
        assert!(matches!(forbidden(inside), Some(Foreign::Meta { .. })), "{inside}: {:?}", forbidden(inside));
    }
    let found = scan("select 1;\nselect 2 \\! touch /tmp/canary\n");
    let expected = Foreign::Meta { line: 2, text: "\\! touch /tmp/canary".into() };
    assert_eq!(found.foreign, [expected]);
}

#[test]
fn fault_83_what_psql_does_not_run_is_not_refused() {
    for inside in [
        "select '\\! x';",
        "select '\n\\! x\n';",
        "select E'\\\\! \\' \\! x';",
        "select $$\n\\! x\n$$;",
        "select $a$ $$ \\! x $a$;",
        "select \"\\! x\";",
        "-- \\! x",
        "/* \\! x /* \n\\! x */ \\! x */",
        "COPY t FROM stdin;\n\\! x\n\\N\n\\.\n",
        "select 1 -- \\! x\n;",
    ] {
        assert_eq!(forbidden(inside), None, "{inside}");
        assert_eq!(scan(dump(inside)).end, End::Complete, "{inside}");
    }
}

#[test]
fn fault_83_what_can_be_read_in_two_ways_is_refused() {
    for (inside, why) in [
        ("select 'a\0b';", Why::Nul),
        ("COPY t FROM stdin;\na\0b\n\\.\n", Why::Nul),
        ("COPY t FROM stdin; \\! x\n\\.\n", Why::AfterCopy),
        ("COPY t FROM stdin (FORMAT binary);\n", Why::Binary),
        ("select E'a'\n'\\' \\! x';", Why::Quotes),
        ("select 1e'\\' \\! x '", Why::Quotes),
        ("select $E'\\' \\! x '", Why::Quotes),
        ("create function begin() returns int language sql as 'x';", Why::Begin),
    ] {
        let found = scan(dump(inside)).foreign;
        let seen = found.iter().any(|f| matches!(f, Foreign::Doubtful { why: w, .. } if *w == why));
        assert!(seen, "{inside}: {found:?}");
    }
    let tag = "x".repeat(2000);
    assert!(forbidden(&format!("select ${tag}$ ${tag}$;")).is_some());
}

#[test]
fn fault_83_standard_conforming_strings_changed_out_of_sight_is_told() {
    let diverging = "select '\\';\n";
    let ambiguous = |text: &str| scan(text).ambiguous_quoting;
    assert!(!ambiguous(&dump(diverging)));
    assert!(ambiguous(diverging), "never settled");
    assert!(ambiguous(&format!("{diverging}SET standard_conforming_strings = on;\n")), "settled too late");
    assert!(ambiguous(&format!("SET standard_conforming_strings = off; {diverging}")), "on the same line");
    for change in [
        "select set_config('standard_conforming_strings', 'off', false);",
        "DO $$ begin set standard_conforming_strings = off; end $$;",
        "SET LOCAL standard_conforming_strings = off;",
    ] {
        assert!(ambiguous(&dump(&format!("{change}\n{diverging}"))), "{change}");
        assert!(!ambiguous(&dump(change)), "{change}");
    }
    assert!(ambiguous(&dump("SET client_encoding = 'SJIS';")));
    // With the setting off, a backslash hides a quote.
    let off = "SET standard_conforming_strings = off;\nselect 'a\\' \\! x';\n";
    assert_eq!(scan(off).foreign, []);
    let on = "SET standard_conforming_strings = on;\nselect 'a\\' \\! x';\n";
    assert!(scan(on).forbidden().is_some());
}

#[test]
fn fault_84_copy_that_reaches_programs_or_files_of_the_server_is_found() {
    assert_eq!(forbidden("COPY t TO PROGRAM 'x';"), Some(Foreign::Program { line: 8 }));
    assert_eq!(forbidden("\nCOPY t\nFROM /* c */ PROGRAM $$x$$;"), Some(Foreign::Program { line: 9 }));
    assert_eq!(forbidden("COPY t FROM '/etc/passwd';"), Some(Foreign::ServerFile { line: 8 }));
    assert_eq!(forbidden("select 'COPY t TO PROGRAM';"), None);
}

#[test]
fn what_cannot_be_confirmed_is_not_lost_in_a_crowd() {
    let crowd = "\\connect x\n".repeat(500);
    let found = scan(dump(&format!("{crowd}\\! x")));
    assert!(found.foreign.len() <= super::FOREIGN_LIMIT);
    assert!(found.forbidden().is_some());
    let many = scan(dump(&"DROP DATABASE x;\n".repeat(super::SKIP_LIMIT + 1)));
    assert!(many.skip.len() <= super::SKIP_LIMIT);
    assert!(many.forbidden().is_some());
}

#[test]
fn rows_of_inserts_are_counted_by_their_tuples() {
    let rows = |text: &str| scan(dump(text)).content.inserts.get("t").copied();
    assert_eq!(rows("INSERT INTO t VALUES (1, '),(');"), Some(1));
    assert_eq!(rows("INSERT INTO t (a, b) VALUES (1, 2), (3, (4)),\n(5, 6);\nINSERT INTO t VALUES (7, 8);"), Some(4));
    assert_eq!(rows("INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1), (2) ON CONFLICT (a) DO NOTHING;"), Some(2));
    assert_eq!(rows("INSERT INTO t DEFAULT VALUES;"), Some(1));
    assert_eq!(rows("INSERT INTO t SELECT * FROM u;"), Some(1));
}

#[test]
fn the_current_table_can_be_asked_at_any_time() {
    let mut inspector = Inspector::new();
    assert_eq!(inspector.current_table(), None);
    inspector.feed(b"COPY public.a (x) FROM stdin;\n1");
    assert_eq!(inspector.current_table(), Some("public.a"));
    inspector.feed(b"\n\\.\nCOPY public.b FROM stdin;\n");
    assert_eq!(inspector.current_table(), Some("public.b"));
}
