use chrono_tz::Europe::Paris;
use insta::assert_snapshot;

use super::*;
use crate::domain::compression::Compression;
use crate::domain::manifest::sample;

pub(crate) const INSTALLATION: &str = "hub-chantier/hub_chantier";
pub(crate) const DATABASE: &str = "hub_chantier";

pub(crate) fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A store in the making, with the length and time of change that a good commit leaves.
#[derive(Default, Clone)]
pub(crate) struct Bed {
    pub(crate) objects: Vec<Object>,
    pub(crate) manifests: Vec<(String, Result<Manifest, manifest::Error>)>,
    pub(crate) verifications: Vec<Verification>,
    pub(crate) accepted: BTreeSet<String>,
}

impl Bed {
    /// A committed backup, changed by `change` before it is written down.
    pub(crate) fn backup(self, kind: Kind, date: DateTime<Utc>, change: impl FnOnce(&mut Manifest)) -> Self {
        self.backup_as(Compression::default(), kind, date, change)
    }

    /// The same in a format.
    pub(crate) fn backup_as(
        mut self,
        compression: Compression,
        kind: Kind,
        date: DateTime<Utc>,
        change: impl FnOnce(&mut Manifest),
    ) -> Self {
        let file = BackupName::new(kind, DATABASE, date, Paris).stored_as(compression).file();
        let mut manifest = Manifest { kind, compression: compression.format().to_owned(), ..sample(&file, date) };
        change(&mut manifest);
        self.objects.push(Object {
            name: file.clone(),
            bytes: manifest.stored.bytes,
            modified: date + TimeDelta::seconds(5),
        });
        self.manifests.push((name::manifest_name(&file), Ok(manifest)));
        self
    }

    pub(crate) fn file(mut self, name: &str, modified: &str) -> Self {
        self.objects.push(Object { name: name.to_owned(), bytes: 1234, modified: utc(modified) });
        self
    }

    /// A person has accepted the backup of this date.
    pub(crate) fn accepted(mut self, date: &str) -> Self {
        let of = self.manifests.iter().filter_map(|(_, m)| m.as_ref().ok()).find(|m| m.started_at == utc(date));
        self.accepted.insert(of.expect("a backup of that date").id.to_string());
        self
    }

    pub(crate) fn build(&self, now: DateTime<Utc>) -> Catalogue {
        Catalogue::build(Input {
            objects: self.objects.clone(),
            manifests: self.manifests.iter().cloned().map(|(name, read)| (name, read.map(Arc::new))).collect(),
            verifications: &self.verifications,
            accepted: &self.accepted,
            installation: INSTALLATION,
            database: DATABASE,
            zone: Paris,
            now,
        })
    }

    fn reading(mut self, at: &str, ok: bool) -> Self {
        self.verifications.push(Verification {
            file: FILE.to_owned(),
            at: utc(at),
            ok,
            stored_sha256: "ab".repeat(32),
            detail: if ok { "" } else { "sha256 differs" }.to_owned(),
        });
        self
    }
}

const FILE: &str = "hub_chantier_backup_20250701_030005.sql.gz";

fn at() -> DateTime<Utc> {
    utc("2025-07-01T01:00:05Z")
}

fn now() -> DateTime<Utc> {
    utc("2025-07-10T12:00:00Z")
}

fn one() -> Bed {
    Bed::default().backup(Kind::Backup, at(), |_| {})
}

fn state(bed: &Bed) -> State {
    let catalogue = bed.build(now());
    assert_eq!(catalogue.entries().len(), 1);
    catalogue.entries()[0].state.clone()
}

fn shown(bed: &Bed) -> String {
    match state(bed) {
        State::SetAside(reason) => reason.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_commit_is_verified_with_the_date_of_its_reading() {
    assert_eq!(state(&one()), State::Verified { at: at() + TimeDelta::seconds(8) });
    assert_eq!(Bed::default().build(now()), Catalogue::default());
}

#[test]
fn entries_come_newest_first_and_files_of_others_are_left_out() {
    let bed = one()
        .backup(Kind::Safety, utc("2025-07-03T10:00:00Z"), |_| {})
        .backup(Kind::Backup, utc("2025-07-02T01:00:00Z"), |m| m.installation = "staging/x".to_owned())
        .file("hub_chantier_backup_20250630_030000.sql.gz", "2025-06-30T01:00:20Z")
        .file("other_backup_20250629_030000.sql", "2025-06-30T01:00:20Z")
        .file("by_hand.sql.gz", "2025-07-09T09:00:00Z")
        .file("hub_chantier_backup_20250701_030005.sql.gz.roles.sql", "2025-07-01T01:00:20Z")
        .file("hub_chantier_backup_20250705_030000.sql.gz.partial", "2025-07-01T01:00:20Z")
        .file("amarre.sqlite", "2025-07-01T01:00:20Z");
    let catalogue = bed.build(now());
    let shown: String = catalogue
        .entries()
        .iter()
        .map(|e| format!("{} {:?} {} own={} {:?}\n", e.file, e.kind, e.date, e.own, e.state))
        .collect();
    assert_snapshot!(shown);
    assert_eq!(
        catalogue.latest_verified().map(|e| e.file.as_str()),
        Some(FILE),
        "neither the safety dump nor staging's"
    );
    assert_eq!(catalogue.unproven().count(), 3);
}

#[test]
fn a_file_that_was_touched_or_copied_back_must_be_read_again() {
    let mut bed = one();
    bed.objects[0].modified = utc("2025-07-05T00:00:00Z");
    assert_eq!(state(&bed), State::Committed);
    assert_eq!(bed.build(now()).latest_verified(), None);
    let read = bed.clone().reading("2025-07-05T00:10:00Z", true);
    assert_eq!(state(&read), State::Verified { at: utc("2025-07-05T00:10:00Z") });
    let read_before = bed.clone().reading("2025-07-04T00:10:00Z", true);
    assert_eq!(state(&read_before), State::Committed);
    let by_a_clock_ahead = bed.reading("2035-07-05T00:10:00Z", true);
    assert_eq!(state(&by_a_clock_ahead), State::Committed);
}

#[test]
fn fault_41_the_last_reading_decides_whatever_its_date() {
    let failed = one().reading("2025-07-05T00:10:00Z", false);
    assert_snapshot!(shown(&failed), @"found damaged on 2025-07-05 00:10 UTC: sha256 differs");
    let healed = failed.clone().reading("2025-07-04T00:10:00Z", true);
    assert!(matches!(state(&healed), State::Verified { .. }));
    let again = healed.reading("2025-07-03T00:10:00Z", false);
    assert!(matches!(state(&again), State::SetAside(Reason::Damaged { .. })));
    let mut another = failed;
    another.verifications[0].stored_sha256 = "ee".repeat(32);
    assert!(matches!(state(&another), State::Verified { .. }), "a reading of an earlier file of that name");
}

#[test]
fn fault_69_a_manifest_that_cannot_be_read_is_set_aside_and_the_others_are_listed() {
    let mut bed = one().backup(Kind::Backup, utc("2025-07-02T01:00:00Z"), |_| {});
    bed.manifests[1].1 = Err(manifest::Error::Cut { bytes: 17 });
    let catalogue = bed.build(now());
    let entry = &catalogue.entries()[0];
    assert_eq!(entry.file, "hub_chantier_backup_20250702_030000.sql.gz");
    assert_eq!((entry.kind, entry.own, entry.bytes), (Some(Kind::Backup), true, 5000));
    assert_eq!(entry.date, utc("2025-07-02T01:00:00Z"));
    assert!(matches!(&entry.state, State::SetAside(Reason::ManifestUnreadable(_))));
    assert_eq!(catalogue.latest_verified().map(|e| e.file.as_str()), Some(FILE));
}

#[test]
fn fault_69_every_reason_has_its_sentence() {
    let bad = |error| {
        let mut bed = one();
        bed.manifests[0].1 = Err(error);
        shown(&bed)
    };
    let another = one().backup(Kind::Backup, utc("2025-07-02T01:00:00Z"), |m| m.file = "../etc/\u{1b}x".to_owned());
    let another = match &another.build(now()).entries()[0].state {
        State::SetAside(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    assert_snapshot!(
        [
            bad(manifest::Error::Cut { bytes: 17 }),
            bad(manifest::Error::Damaged),
            bad(manifest::Error::Malformed { cause: "expected value at line 1 column 1".to_owned() }),
            bad(manifest::Error::UnknownFormat { found: 2 }),
            bad(manifest::Error::TooLarge { bytes: 99_000_000 }),
            bad(manifest::Error::Unread { cause: "input/output error".to_owned() }),
            another,
        ]
        .join("\n")
    );
}

#[test]
fn fault_70_a_manifest_without_data_and_data_without_a_manifest_are_both_listed() {
    let mut bed = one();
    bed.objects.clear();
    assert_snapshot!(shown(&bed), @"the manifest is there, its data file is gone");
    assert_eq!(bed.build(now()).entries()[0].bytes, 5000);
    let mut bed = one();
    bed.manifests.clear();
    assert_eq!(state(&bed), State::Unproven);
}

#[test]
fn fault_42_a_file_that_was_cut_by_someone_else_is_set_aside() {
    let mut bed = one();
    bed.objects[0].bytes = 4999;
    assert_snapshot!(shown(&bed), @"the file has 5.0 kB, its manifest says 5.0 kB");
}

#[test]
fn fault_71_a_manifest_from_the_future_is_set_aside() {
    let bed = Bed::default().backup(Kind::Backup, utc("2025-07-10T13:00:00Z"), |_| {});
    assert_snapshot!(shown(&bed), @"dated in the future: 2025-07-10 13:00 UTC");
    let soon = Bed::default().backup(Kind::Backup, utc("2025-07-10T12:05:00Z"), |_| {});
    assert!(matches!(state(&soon), State::Verified { .. }), "clocks of two machines differ a little");
}

#[test]
fn an_entry_is_found_by_any_name_people_use() {
    let bed =
        one().backup(Kind::Backup, utc("2025-07-02T01:00:00Z"), |_| {}).file("by_hand.sql.gz", "2025-07-09T09:00:00Z");
    let catalogue = bed.build(now());
    for wanted in [
        FILE,
        "/var/backups/hub-chantier/hub_chantier_backup_20250701_030005.sql.gz",
        "backups/hub_chantier_backup_20250701_030005.sql.gz",
        "hub_chantier_backup_20250701",
        "20250701T010005Z-a1b2c3",
        "20250701T0100",
    ] {
        assert_eq!(catalogue.find(wanted).map(|e| e.file.as_str()), Ok(FILE), "{wanted}");
    }
    let errors: String =
        ["hub_chantier_backup_2025", "hub_chantier_backup_20250799_030005.sql.gz", "", "dir/", "\u{1b}[0m"]
            .into_iter()
            .map(|wanted| catalogue.find(wanted).unwrap_err())
            .map(|e| format!("{e}\n    {}\n", e.hint().unwrap_or_default()))
            .collect();
    assert_snapshot!(errors);
}

#[test]
fn every_format_is_an_entry_with_a_manifest_of_its_own() {
    let formats = ["gzip", "zstd", "none"].map(|format| format.parse::<Compression>().unwrap());
    let bed = formats.into_iter().fold(Bed::default(), |bed, c| bed.backup_as(c, Kind::Backup, at(), |_| {}));
    let catalogue = bed.build(now());
    let found: Vec<_> = catalogue.entries().iter().map(|e| (e.file.as_str(), e.is_verified(), e.own)).collect();
    let stem = "hub_chantier_backup_20250701_030005";
    let expected = [".sql.zst", ".sql.gz", ".sql"].map(|end| format!("{stem}{end}"));
    assert_eq!(found, expected.each_ref().map(|file| (file.as_str(), true, true)));
    for lost in &expected {
        let mut bed = bed.clone();
        bed.objects.retain(|o| o.name != *lost);
        let aside: Vec<_> = bed.build(now()).entries().iter().filter(|e| !e.is_verified()).cloned().collect();
        assert_eq!(aside.len(), 1, "{lost}");
        assert_eq!((&aside[0].file, &aside[0].state), (lost, &State::SetAside(Reason::DataMissing)));
        bed.manifests.retain(|(name, _)| name != &format!("{lost}.json"));
        assert!(bed.build(now()).entries().iter().all(Entry::is_verified), "{lost}");
    }
}

#[test]
fn every_name_that_is_shown_chooses_one_entry() {
    let formats = ["zstd", "none"].map(|format| format.parse::<Compression>().unwrap());
    let two = formats.into_iter().fold(one(), |bed, c| bed.backup_as(c, Kind::Backup, at(), |_| {}));
    let bed = two
        .backup(Kind::Backup, utc("2025-07-02T01:00:00Z"), |_| {})
        .file("by_hand.sql.zst", "2025-07-09T09:00:00Z")
        .file("by_hand_2.sql", "2025-07-09T09:00:00Z")
        .file(".sql.gz", "2025-07-09T09:00:00Z");
    let catalogue = bed.build(now());
    let shown: Vec<_> = catalogue.entries().iter().map(|entry| catalogue.short_name(entry)).collect();
    let same = "hub_chantier_backup_20250701_030005";
    assert_eq!(
        shown,
        [
            "by_hand_2",
            "by_hand.sql.zst",
            ".sql.gz",
            "hub_chantier_backup_20250702_030000",
            &format!("{same}.sql.zst"),
            &format!("{same}.sql.gz"),
            &format!("{same}.sql"),
        ]
    );
    for (entry, name) in catalogue.entries().iter().zip(shown) {
        assert_eq!(catalogue.find(name), Ok(entry));
    }
}
