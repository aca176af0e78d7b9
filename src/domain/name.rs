//! Names of backups, as the replaced scripts have them, so that both can read each other's files.
//! What a file of that name holds is not known here.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::compression::Compression;

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By schedule or by hand: `<database>_backup_…`.
    Backup,
    /// Before a restore: `pre_restore_safety_…`.
    Safety,
    /// Before a replaced database is dropped: `pre_drop_final_…`.
    Final,
}

const SAFETY: &str = "pre_restore_safety";
const FINAL: &str = "pre_drop_final";

/// The name of a backup's data file: `<prefix>_backup_YYYYMMDD_HHMMSS.sql.gz`,
/// `pre_restore_safety_…`, `pre_drop_final_…`, or the same with `.sql.zst` or `.sql`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupName {
    kind: Kind,
    /// Empty unless the kind is [`Kind::Backup`].
    prefix: String,
    /// Of the zone the name was made in, which the name does not tell.
    local: NaiveDateTime,
    /// One of [`ENDS`].
    end: &'static str,
}

/// How names of data files end: what is inside is told by its first bytes.
const ENDS: [&str; 3] = [".sql.gz", ".sql.zst", ".sql"];

impl BackupName {
    /// The name of a backup of `database` that starts at `now`.
    #[must_use]
    pub fn new(kind: Kind, database: &str, now: DateTime<Utc>, zone: Tz) -> Self {
        let prefix = if kind == Kind::Backup { prefix(database) } else { String::new() };
        let local = now.with_timezone(&zone).naive_local();
        Self { kind, prefix, local: whole_second(local), end: ENDS[0] }
    }

    /// The same for a file of another format: names are gzip's unless told.
    #[must_use]
    pub fn stored_as(self, compression: Compression) -> Self {
        Self { end: compression.extension(), ..self }
    }

    /// Reads a file name. `None` unless it is exactly such a name with a date that exists: no glob, no path.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let (stem, end) = ENDS.iter().find_map(|end| Some((file.strip_suffix(end)?, *end)))?;
        let cut = stem.len().checked_sub("_YYYYMMDD_HHMMSS".len())?;
        let (head, stamp) = (stem.get(..cut)?, stem.get(cut..)?);
        let local = parse_stamp(stamp.strip_prefix('_')?)?;
        let (kind, prefix) = match head {
            SAFETY => (Kind::Safety, ""),
            FINAL => (Kind::Final, ""),
            _ => (Kind::Backup, head.strip_suffix("_backup").filter(|p| is_prefix(p))?),
        };
        Some(Self { kind, prefix: prefix.to_owned(), local, end })
    }

    /// The file name.
    #[must_use]
    pub fn file(&self) -> String {
        let stamp = self.local.format("%Y%m%d_%H%M%S");
        let end = self.end;
        match self.kind {
            Kind::Backup => format!("{}_backup_{stamp}{end}", self.prefix),
            Kind::Safety => format!("{SAFETY}_{stamp}{end}"),
            Kind::Final => format!("{FINAL}_{stamp}{end}"),
        }
    }

    /// Why it was made.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether this is the name of a backup (of kind [`Kind::Backup`]) of `database`. Other kinds do not tell.
    #[must_use]
    pub fn is_of(&self, database: &str) -> bool {
        self.kind == Kind::Backup && self.prefix == prefix(database)
    }

    /// The date of the name, as UTC. An hour that `zone` has twice: the first; one that it lacks: an hour later.
    #[must_use]
    pub fn date(&self, zone: Tz) -> DateTime<Utc> {
        let later = self.local.checked_add_signed(TimeDelta::hours(1));
        zone.from_local_datetime(&self.local)
            .earliest()
            .or_else(|| zone.from_local_datetime(&later?).earliest())
            .map_or_else(|| self.local.and_utc(), |d| d.with_timezone(&Utc))
    }

    /// This name, or the next one by seconds that is not `taken`: a clock that went back, or the hour
    /// that autumn has twice, must not lead to a name that exists (fault 43). Nor to one that exists with another end: people
    /// name backups without it.
    #[must_use]
    pub fn next_free(mut self, taken: impl Fn(&str) -> bool) -> Self {
        while ENDS.into_iter().any(|end| taken(&Self { end, ..self.clone() }.file())) {
            let Some(next) = self.local.checked_add_signed(TimeDelta::seconds(1)) else { break };
            self.local = next;
        }
        self
    }
}

/// The manifest beside the data file `file`.
#[must_use]
pub fn manifest_name(file: &str) -> String {
    format!("{file}{MANIFEST_END}")
}

/// The roles beside the data file `file`.
#[must_use]
pub fn roles_name(file: &str) -> String {
    format!("{file}{ROLES_END}")
}

const MANIFEST_END: &str = ".json";
const ROLES_END: &str = ".roles.sql";

/// What a name in a store stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'a> {
    /// A backup's data: ends with `.sql.gz`, `.sql.zst` or `.sql`; ours if [`BackupName::parse`] knows it.
    Data,
    /// The manifest of this data file.
    Manifest(&'a str),
    /// The roles of this data file.
    Roles(&'a str),
    /// Nothing of ours: journal, lock, logs, other people's files.
    Other,
}

/// What the file name `file` stands for.
#[must_use]
pub fn role(file: &str) -> Role<'_> {
    if let Some(data) = file.strip_suffix(MANIFEST_END).filter(|d| is_data(d)) {
        Role::Manifest(data)
    } else if let Some(data) = file.strip_suffix(ROLES_END).filter(|d| is_data(d)) {
        Role::Roles(data)
    } else if is_data(file) {
        Role::Data
    } else {
        Role::Other
    }
}

fn is_data(file: &str) -> bool {
    ENDS.iter().any(|end| file.ends_with(end))
}

/// The name of a data file without its end, for people.
#[must_use]
pub fn stem(file: &str) -> &str {
    ENDS.iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file)
}

/// How names of backups of `database` begin: its name where that is only letters, digits, `_` and `-`;
/// else what is left of it, a dot, and 12 digits of its sha256. Plain names have no dot, so that
/// neither two hostile names nor a hostile and a plain one meet, and none makes a path or an option (fault 28).
#[must_use]
pub fn prefix(database: &str) -> String {
    if !database.is_empty()
        && database.len() <= 100
        && !database.starts_with('-')
        && database.bytes().all(is_plain_byte)
    {
        return database.to_owned();
    }
    let kept: String = database
        .chars()
        .take(40)
        .map(|c| if c.is_ascii() && is_plain_byte(c as u8) && c != '-' { c } else { '_' })
        .collect();
    let hash = Sha256::digest(database.as_bytes());
    let digits: String = hash.iter().take(6).map(|b| format!("{b:02x}")).collect();
    format!("{kept}{}.{digits}", if kept.is_empty() { "_" } else { "" })
}

fn is_plain_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

/// Whether [`prefix`] could have made it: letters, digits, `_`, `-`, at most one dot, with 12 digits after it.
fn is_prefix(text: &str) -> bool {
    let (kept, hash) = text.split_once('.').map_or((text, None), |(k, h)| (k, Some(h)));
    let hex = |h: &str| h.len() == 12 && h.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    !kept.is_empty() && !kept.starts_with('-') && kept.bytes().all(is_plain_byte) && hash.is_none_or(hex)
}

/// `YYYYMMDD_HHMMSS`, digits only: `chrono`'s own parser would take signs and spaces.
fn parse_stamp(stamp: &str) -> Option<NaiveDateTime> {
    let (date, time) = stamp.split_once('_')?;
    let all_digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(date, 8) || !all_digits(time, 6) {
        return None;
    }
    let number = |s: &str| s.parse::<u32>().ok();
    NaiveDate::from_ymd_opt(date[..4].parse().ok()?, number(&date[4..6])?, number(&date[6..])?)?.and_hms_opt(
        number(&time[..2])?,
        number(&time[2..4])?,
        number(&time[4..])?,
    )
}

fn whole_second(time: NaiveDateTime) -> NaiveDateTime {
    use chrono::Timelike;
    time.with_nanosecond(0).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono_tz::Europe::Paris;
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_those_of_the_scripts_in_local_time() {
        let now = utc("2025-07-01T01:00:05.9Z");
        let name = |kind| BackupName::new(kind, "hub_chantier", now, Paris).file();
        assert_eq!(name(Kind::Backup), "hub_chantier_backup_20250701_030005.sql.gz");
        assert_eq!(name(Kind::Safety), "pre_restore_safety_20250701_030005.sql.gz");
        assert_eq!(name(Kind::Final), "pre_drop_final_20250701_030005.sql.gz");
        let zstd = BackupName::new(Kind::Backup, "x", now, Paris).stored_as(Compression::Zstd { level: 3 });
        assert_eq!(zstd.file(), "x_backup_20250701_030005.sql.zst");
        assert_eq!(zstd.stored_as(Compression::None).file(), "x_backup_20250701_030005.sql");
        assert_eq!(manifest_name("a.sql.gz"), "a.sql.gz.json");
        assert_eq!(roles_name("a.sql.gz"), "a.sql.gz.roles.sql");
    }

    #[test]
    fn only_exact_names_with_real_dates_are_known() {
        for good in [
            "hub_chantier_backup_20250701_030005.sql.gz",
            "hub_chantier_backup_20250701_030005.sql",
            "hub_chantier_backup_20250701_030005.sql.zst",
            "pre_restore_safety_20240229_235959.sql.gz",
            "pre_drop_final_20250701_030005.sql.gz",
            "x_backup_20240101_000000_backup_20250701_030005.sql.gz",
        ] {
            assert_eq!(BackupName::parse(good).map(|n| n.file()).as_deref(), Some(good));
        }
        for bad in [
            "",
            ".sql.gz",
            "hub_chantier_backup_20250230_030005.sql.gz",
            "hub_chantier_backup_20230229_030005.sql.gz",
            "hub_chantier_backup_20250701_240000.sql.gz",
            "hub_chantier_backup_20250701_030060.sql.gz",
            "hub_chantier_backup_20250701_0300.sql.gz",
            "hub_chantier_backup_2025070１_030005.sql.gz",
            "hub_chantier_backup_+0250701_030005.sql.gz",
            "hub_chantier_backup_20250701_030005.sql.gz.partial",
            "hub_chantier_backup_20250701_030005.sql.gz.json",
            "hub_chantier_backup_20250701_030005.sql.gz.roles.sql",
            "hub_chantier_backup_20250701_030005.sql.bz2",
            " hub_chantier_backup_20250701_030005.sql.gz",
            "../hub_backup_20250701_030005.sql.gz",
            "a b_backup_20250701_030005.sql.gz",
            "_backup_.sql.gz",
            "-rf_backup_20250701_030005.sql.gz",
            "hub_chantier20250701_030005.sql.gz",
            "é_backup_20250701_030005.sql.gz",
            "pre_restore_safetyx_20250701_030005.sql.gz",
        ] {
            assert_eq!(BackupName::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn roles_of_files_are_told_apart() {
        assert_eq!(role("a.sql.gz"), Role::Data);
        assert_eq!(role("a.sql"), Role::Data);
        assert_eq!(role("a.sql.zst"), Role::Data);
        assert_eq!(role("a.sql.roles.sql"), Role::Roles("a.sql"));
        assert_eq!(role("a.sql.json"), Role::Manifest("a.sql"));
        assert_eq!(["a.sql.gz", "a.sql.zst", "a.sql", "a.tar"].map(stem), ["a", "a", "a", "a.tar"]);
        assert_eq!(role("a.sql.gz.json"), Role::Manifest("a.sql.gz"));
        assert_eq!(role("a.sql.gz.roles.sql"), Role::Roles("a.sql.gz"));
        assert_eq!(role("a.json"), Role::Other);
        assert_eq!(role("a.sql.gz.partial"), Role::Other);
        assert_eq!(role("amarre.sqlite"), Role::Other);
    }

    #[test]
    fn fault_28_hostile_database_names_never_make_a_path_and_never_meet() {
        let hostile = [
            "a/../../b; $(x)",
            "dbname=x host=evil",
            "a\nb",
            "a\0b",
            "a\"b'c",
            "..",
            ".",
            "",
            "-rf",
            "a b",
            "a_b",
            "é",
            "è",
            "*",
            "\u{1b}[31m",
        ];
        let mut seen = BTreeSet::new();
        for database in hostile {
            let prefix = prefix(database);
            let file = BackupName::new(Kind::Backup, database, utc("2025-07-01T01:00:05Z"), Paris).file();
            assert!(
                file.bytes().all(|b| is_plain_byte(b) || b == b'.') && !file.starts_with('.') && !file.starts_with('-'),
                "{file}"
            );
            assert!(!file.contains("..") && file.len() < 200, "{file}");
            assert!(BackupName::parse(&file).is_some_and(|n| n.is_of(database)), "{file}");
            assert!(seen.insert(prefix), "{database:?} meets another");
        }
        assert_eq!(prefix("hub-chantier_2"), "hub-chantier_2");
    }

    #[test]
    fn fault_43_a_clock_that_went_back_still_gives_a_new_name() {
        let now = utc("2025-12-31T22:59:58Z");
        let taken = ["x_backup_20251231_235958.sql.gz", "x_backup_20251231_235959.sql.gz"];
        let name = BackupName::new(Kind::Backup, "x", now, Paris).next_free(|n| taken.contains(&n));
        assert_eq!(name.file(), "x_backup_20260101_000000.sql.gz");
    }

    #[test]
    fn a_name_that_another_format_has_is_taken() {
        let now = utc("2025-12-31T22:59:58Z");
        for taken in
            ["x_backup_20251231_235958.sql.gz", "x_backup_20251231_235958.sql.zst", "x_backup_20251231_235958.sql"]
        {
            for (format, free) in [("gzip", "59.sql.gz"), ("zstd", "59.sql.zst"), ("none", "59.sql")] {
                let name = BackupName::new(Kind::Backup, "x", now, Paris).stored_as(format.parse().unwrap());
                assert_eq!(name.next_free(|n| n == taken).file(), format!("x_backup_20251231_2359{free}"));
            }
        }
    }

    #[test]
    fn the_date_of_a_name_is_read_in_its_zone_also_where_clocks_change() {
        let date = |stamp: &str| BackupName::parse(&format!("x_backup_{stamp}.sql.gz")).unwrap().date(Paris);
        assert_eq!(date("20250701_030005"), utc("2025-07-01T01:00:05Z"));
        assert_eq!(date("20251026_023000"), utc("2025-10-26T00:30:00Z"), "twice: the first");
        assert_eq!(date("20250330_023000"), utc("2025-03-30T01:30:00Z"), "missing: an hour later");
    }

    proptest! {
        #[test]
        fn any_database_name_gives_a_name_that_is_recognised(
            database in any::<String>(),
            other in any::<String>(),
            format in prop_oneof![Just("gzip"), Just("zstd"), Just("none")],
        ) {
            let name = BackupName::new(Kind::Backup, &database, utc("2025-07-01T01:00:05Z"), Paris)
                .stored_as(format.parse().unwrap());
            let file = name.file();
            prop_assert!(!file.contains('/') && !file.starts_with('.'));
            prop_assert_eq!(BackupName::parse(&file), Some(name.clone()));
            prop_assert_eq!(name.is_of(&other), database == other);
        }

        #[test]
        fn parsing_never_panics(file in any::<String>()) {
            let _ = BackupName::parse(&file);
            let _ = BackupName::parse(&format!("{file}_20250701_030005.sql.gz"));
        }
    }
}
