//! The texts of domain, store and journal in French. The language is one for a process: one test, in a binary of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use amarre::domain::catalogue::{self, Reason};
use amarre::domain::compare::{Change, Difference, Notice};
use amarre::domain::schedule::{self, Schedule};
use amarre::domain::{manifest, retention, text};
use amarre::error::Explain;
use amarre::{journal, store};
use chrono::{DateTime, TimeDelta, Utc};

fn line(error: &impl Explain) -> String {
    format!("{error}\n    {}\n", error.hint().unwrap_or_default())
}

fn manifests() -> String {
    use manifest::Error;
    [
        Error::Cut { bytes: 17 },
        Error::Malformed { cause: "expected value at line 1 column 1".to_owned() },
        Error::Damaged,
        Error::UnknownFormat { found: 2 },
        Error::TooLarge { bytes: 99_000_000 },
        Error::Unread { cause: "erreur d'entrée/sortie".to_owned() },
    ]
    .iter()
    .map(line)
    .collect()
}

fn catalogues() -> String {
    let at: DateTime<Utc> = "2025-07-01T01:00:00Z".parse().unwrap();
    let reasons = [
        Reason::ManifestOfAnother("x.sql.gz".to_owned()),
        Reason::DataMissing,
        Reason::SizeDiffers { expected: 12_345_678, found: 999 },
        Reason::FromTheFuture(at),
        Reason::Damaged { at, detail: "sha256".to_owned() },
    ];
    let errors = [
        catalogue::Error::NotFound { wanted: "x".to_owned(), nearest: None },
        catalogue::Error::NotFound { wanted: "x".to_owned(), nearest: Some("y".to_owned()) },
        catalogue::Error::Ambiguous { wanted: "x".to_owned(), files: vec!["xa".to_owned(), "xb".to_owned()] },
    ];
    reasons.iter().map(|r| format!("{r}\n")).chain(errors.iter().map(line)).collect()
}

fn schedules() -> String {
    ["", "0 3 * *", "0 0 3 * * *", "61 3 * * *", "0 0 31 2 *"]
        .into_iter()
        .map(|e| line(&Schedule::parse(e).unwrap_err()))
        .chain([line(&schedule::zone("Paris").unwrap_err())])
        .collect()
}

fn retentions() -> String {
    use retention::Reason;
    let reasons = [
        Reason::Expired(7),
        Reason::Recent(7),
        Reason::LastVerified(3),
        Reason::TooFewVerified,
        Reason::Held,
        Reason::HoldsOthers,
        Reason::Pinned,
        Reason::Foreign,
        Reason::SetAside,
    ];
    let error = line(&retention::Error::DeletesEverything { count: 4 });
    reasons.iter().map(|r| format!("{r}\n")).chain([error]).collect()
}

fn comparisons() -> String {
    let table = || "public.film".to_owned();
    let differences = [
        Difference::MissingTable(table()),
        Difference::ExtraTable(table()),
        Difference::Rows { table: table(), expected: 2, found: 1 },
        Difference::Digest(table()),
        Difference::Columns { table: table(), expected: "(id)".to_owned(), found: "(a)".to_owned() },
        Difference::Sequence { name: "s".to_owned(), expected: Some("1, true".to_owned()), found: None },
        Difference::LargeObjects { expected: 2, found: 1 },
        Difference::LargeObjects { expected: 2, found: 2 },
    ];
    let notices = [Change::Differs, Change::Missing, Change::Extra]
        .map(|change| Notice { entry: "VIEW public.v".to_owned(), change }.to_string());
    differences.iter().map(|d| format!("{d}\n")).chain(notices.iter().map(|n| format!("{n}\n"))).collect()
}

fn stores() -> String {
    use store::Error;
    let (name, place) = (|| "a.sql.gz".to_owned(), || "/var/backups/hub".to_owned());
    let cause = || "Input/output error".to_owned();
    [
        Error::Missing { name: name(), place: place() },
        Error::Exists { name: name(), place: place() },
        Error::BadName { name: "../x".to_owned() },
        Error::Link { name: name(), place: place() },
        Error::NotAFile { name: name(), place: place() },
        Error::TooLarge { name: name(), place: place(), limit: 5 },
        Error::NoSpace { name: name(), place: place(), space: store::Space { free: 12_345, total: 67_000_000_000 } },
        Error::ReadOnly { name: name(), place: place() },
        Error::Denied { name: name(), place: place(), rights: store::Rights { owner: 0, mode: 0o755, uid: 10_001 } },
        Error::NoDirectory { place: place() },
        Error::Sync { name: name(), place: place(), cause: cause() },
        Error::Io { action: store::Action::Read, name: name(), place: place(), cause: cause() },
    ]
    .iter()
    .map(line)
    .collect()
}

fn journals() -> String {
    use journal::Error;
    let file = || "/var/backups/hub/amarre.sqlite".to_owned();
    [
        Error::Io { file: file(), cause: "No space left on device".to_owned() },
        Error::NotAFile { file: file() },
        Error::Newer { file: file(), found: 9, known: 1 },
        Error::Sqlite { file: file(), source: rusqlite::Error::InvalidQuery },
    ]
    .iter()
    .map(line)
    .collect()
}

#[test]
fn the_texts_in_french() {
    rust_i18n::set_locale("fr");
    let sizes = [text::bytes(999), text::bytes(12_345_678), text::age(TimeDelta::days(3))].join(", ");
    let all = [sizes, manifests(), catalogues(), schedules(), retentions(), comparisons(), stores(), journals()];
    insta::assert_snapshot!(all.join("\n"));
}
