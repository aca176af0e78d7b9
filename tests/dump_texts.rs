//! Snapshots of every text of `dump`, in both languages.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::io;

use amarre::dump::{End, Error, Foreign, Why};
use amarre::error::Explain;

fn errors() -> Vec<Error> {
    let ends = [
        End::Empty,
        End::InData { table: "public.\"new\nline\"".into() },
        End::InStatement { line: 12 },
        End::NoTrailer,
        End::AfterTrailer { line: 99 },
        End::Restricted,
        End::Several,
    ];
    let mut errors: Vec<Error> = ends.into_iter().map(|end| Error::Incomplete { end }).collect();
    errors.extend([
        Error::Tiny { bytes: 20, least: 1024 },
        Error::NothingInside { bytes: 450 },
        Error::TooLong { limit: 1_000_000 },
        Error::Truncated { offset: 4096 },
        Error::TrailingGarbage { offset: 4096 },
        Error::Corrupt { offset: 4096 },
        Error::BadCrc { offset: 4096 },
        Error::BadLength { offset: 4096 },
        Error::Unsupported { format: "zstd" },
        Error::Read { source: io::Error::other("bad\nsector\x1b[31m") },
        Error::Write { source: io::Error::other("no space left on device") },
        Error::Write { source: io::ErrorKind::StorageFull.into() },
        Error::Threads { source: io::Error::other("resource temporarily unavailable") },
        Error::Stopped,
    ]);
    errors
}

fn finds() -> Vec<Foreign> {
    let whys =
        [Why::Nul, Why::Binary, Why::AfterCopy, Why::Quotes, Why::Begin, Why::Tag, Why::LongCopy, Why::ManySkips];
    let mut finds = vec![
        Foreign::Meta { line: 7, text: "\\! touch \x1b[31mcanary".into() },
        Foreign::Connect { line: 8, database: "hub\nchantier".into() },
        Foreign::Program { line: 9 },
        Foreign::ServerFile { line: 10 },
        Foreign::DatabaseStatement { line: 11, text: "DROP DATABASE\nhub;".into() },
    ];
    finds.extend(whys.map(|why| Foreign::Doubtful { line: 12, why }));
    finds
}

fn texts() -> String {
    let mut out = String::new();
    for error in errors() {
        writeln!(out, "{error}\n    {}", error.hint().unwrap()).unwrap();
    }
    for find in finds() {
        writeln!(out, "{}", find.describe()).unwrap();
    }
    out
}

/// One test for both languages: the locale belongs to the whole process.
#[test]
fn every_text_in_both_languages() {
    rust_i18n::set_locale("en");
    insta::assert_snapshot!("texts_en", texts());
    rust_i18n::set_locale("fr");
    insta::assert_snapshot!("texts_fr", texts());
}
