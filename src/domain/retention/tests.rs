use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::domain::catalogue::Verification;
use crate::domain::catalogue::tests::{Bed, utc};
use crate::domain::compression::Compression;
use crate::domain::name;

fn now() -> DateTime<Utc> {
    utc("2025-07-31T01:00:20Z")
}

fn day(days_ago: i64) -> DateTime<Utc> {
    utc("2025-07-31T01:00:00Z") - TimeDelta::days(days_ago)
}

/// One backup a day, from today back to `oldest` days ago.
fn daily(oldest: i64) -> Bed {
    (0..=oldest).fold(Bed::default(), |bed, ago| bed.backup(Kind::Backup, day(ago), |_| {}))
}

fn planned(bed: &Bed, policy: &Policy, pins: &[&str], now: DateTime<Utc>) -> Plan {
    let pins = Pins { in_use: pins.iter().map(|p| (*p).to_owned()).collect(), ..Pins::default() };
    plan(policy, &bed.build(now), &pins, now).unwrap()
}

fn shown(plan: &Plan) -> String {
    plan.decisions.iter().map(|d| format!("{:?} {}: {}\n", d.action, d.file, d.reason)).collect()
}

fn kept(plan: &Plan) -> usize {
    plan.decisions.iter().filter(|d| d.action == Action::Keep).count()
}

fn file(days_ago: i64) -> String {
    name::BackupName::new(Kind::Backup, "hub_chantier", day(days_ago), chrono_tz::Europe::Paris).file()
}

#[test]
fn backups_older_than_the_days_go_oldest_first() {
    let plan = planned(&daily(9), &Policy::new(7, 3), &[], now());
    assert_snapshot!(shown(&plan));
    assert_eq!(plan.deletions().collect::<Vec<_>>(), [file(9), file(8), file(7)]);
}

#[test]
fn an_empty_catalogue_has_an_empty_plan() {
    assert_eq!(planned(&Bed::default(), &Policy::new(7, 3), &[], now()), Plan::default());
}

#[test]
fn a_policy_of_zeros_still_keeps_the_only_good_one() {
    let zero = Policy { safety_days: 0, ..Policy::new(0, 0) };
    let plan = planned(&daily(5), &zero, &[], now());
    assert_eq!(kept(&plan), 1);
    assert_eq!(plan.decisions[0].action, Action::Keep);
    assert_eq!(kept(&planned(&daily(0), &zero, &[], now())), 1);
}

#[test]
fn fault_44_a_clock_that_jumped_ahead_never_empties_the_set() {
    let ahead = utc("2099-01-01T00:00:00Z");
    let plan = planned(&daily(20), &Policy::new(7, 3), &[], ahead);
    assert_eq!(plan.deletions().count(), 18);
    assert!(plan.decisions[..3].iter().all(|d| d.reason == Reason::LastVerified(3)));
}

#[test]
fn fault_44_backups_of_a_clock_that_jumped_ahead_leave_the_last_true_ones_for_a_week() {
    let mut bed = daily(20);
    let ahead = utc("2099-01-01T02:00:00Z");
    for hour in 0..5 {
        bed = bed.backup(Kind::Backup, ahead + TimeDelta::hours(hour), |_| {});
    }
    let kept = |now| {
        let plan = planned(&bed, &Policy::new(7, 3), &[], now);
        let kept = |d: &&Decision| d.reason == Reason::BeforeGap;
        (plan.decisions.iter().filter(kept).count(), plan.deletions().count())
    };
    assert_eq!(kept(ahead + TimeDelta::hours(5)), (3, 18));
    // Nobody has put it back: it was right, and the machine was off.
    assert_eq!(kept(ahead + TimeDelta::days(8)), (0, 23));
}

#[test]
fn nights_a_day_apart_are_no_gap() {
    let plan = planned(&daily(20), &Policy::new(1, 1), &[], now());
    assert!(plan.decisions.iter().all(|d| d.reason != Reason::BeforeGap));
}

#[test]
fn fault_43_a_clock_that_went_back_keeps_what_is_then_from_the_future() {
    let back = utc("2025-07-20T00:00:00Z");
    let plan = planned(&daily(20), &Policy::new(7, 3), &[], back);
    let from_the_future = plan.decisions.iter().filter(|d| d.reason == Reason::SetAside).count();
    assert_eq!(from_the_future, 12);
    assert_eq!(plan.deletions().count(), 2, "only what is old by that clock, too");
}

#[test]
fn only_verified_ones_count_and_without_enough_of_them_nothing_goes() {
    // The three newest were touched after their last reading; only two are verified.
    let mut bed = daily(20);
    for object in &mut bed.objects[..19] {
        object.modified = now();
    }
    let plan = planned(&bed, &Policy::new(7, 3), &[], now());
    assert_eq!(plan.deletions().count(), 0);
    assert!(plan.decisions.iter().any(|d| d.reason == Reason::TooFewVerified));
    // A third verified one: what is old and only committed may go.
    bed.objects[18].modified = day(18);
    let plan = planned(&bed, &Policy::new(7, 3), &[], now());
    assert_eq!(plan.deletions().count(), 11);
    assert!(plan.decisions[18..].iter().all(|d| d.reason == Reason::LastVerified(3)));
}

#[test]
fn fault_61_pinned_foreign_and_unknown_files_stay() {
    let bed = daily(9)
        .backup(Kind::Backup, day(50), |m| m.installation = "staging/hub".to_owned())
        .file("by_hand.sql.gz", "2020-01-01T00:00:00Z")
        .file("other_backup_20200101_030000.sql.gz", "2020-01-01T00:00:00Z")
        .file("hub_chantier_backup_20200231_030000.sql.gz", "2020-01-01T00:00:00Z")
        .file("pre_restore_safety_20200101_030000.sql.gz", "2020-01-01T00:00:00Z");
    let pinned = file(8);
    let plan = planned(&bed, &Policy::new(7, 3), &[&pinned], now());
    assert_eq!(plan.deletions().collect::<Vec<_>>(), [file(9), file(7)]);
    assert_eq!(plan.decisions.iter().filter(|d| d.reason == Reason::Foreign).count(), 5);
}

#[test]
fn unproven_files_expire_by_age_while_enough_verified_ones_exist() {
    let old = "hub_chantier_backup_20200101_030000.sql.gz";
    let young = "hub_chantier_backup_20250730_120000.sql.gz";
    let with = |days| daily(days).file(old, "2020-01-01T00:00:00Z").file(young, "2025-07-30T10:00:00Z");
    assert_eq!(planned(&with(2), &Policy::new(7, 3), &[], now()).deletions().collect::<Vec<_>>(), [old]);
    assert_eq!(planned(&with(1), &Policy::new(7, 3), &[], now()).deletions().count(), 0);
    let by_hand = daily(2).file("hub_chantier_backup_20200101_030000.sql", "2020-01-01T00:00:00Z");
    assert_eq!(planned(&by_hand, &Policy::new(7, 3), &[], now()).deletions().count(), 0);
}

#[test]
fn backups_of_all_formats_are_one_row_and_each_goes_by_its_own_date() {
    let formats = ["gzip", "zstd", "none"].map(|format| format.parse::<Compression>().unwrap());
    let of = |ago: i64| formats[usize::try_from(ago).unwrap() % 3];
    let bed = (0..=9).fold(Bed::default(), |bed, ago| bed.backup_as(of(ago), Kind::Backup, day(ago), |_| {}));
    let file = |ago: i64| file_as(ago, of(ago).extension());
    let plan = planned(&bed, &Policy::new(7, 3), &[], now());
    assert_eq!(plan.deletions().collect::<Vec<_>>(), [file(9), file(8), file(7)]);
    let plan = planned(&bed, &Policy::new(0, 3), &[], now());
    assert_eq!(plan.deletions().count(), 7, "the last three are three, whatever they are");
    assert!(plan.decisions[..3].iter().zip(0..).all(|(d, ago)| d.file == file(ago)));
    // Of two of the same second one alone may be pinned.
    let twins = daily(9).backup_as(formats[1], Kind::Backup, day(9), |_| {});
    let (pinned, twin) = (file_as(9, ".sql.zst"), file_as(9, ".sql.gz"));
    let plan = planned(&twins, &Policy::new(9, 3), &[&pinned], now());
    assert_eq!(plan.deletions().collect::<Vec<_>>(), [twin]);
}

fn file_as(days_ago: i64, end: &str) -> String {
    name::stem(&file(days_ago)).to_owned() + end
}

#[test]
fn safety_and_final_dumps_have_their_own_days_and_never_count() {
    let dumps = |bed: Bed| {
        bed.backup(Kind::Safety, day(1), |_| {}).backup(Kind::Safety, day(29), |_| {}).backup(
            Kind::Final,
            day(31),
            |_| {},
        )
    };
    let plan = planned(&dumps(daily(9)), &Policy::new(7, 3), &[], now());
    let gone: Vec<_> = plan.deletions().collect();
    assert_eq!(gone.len(), 4);
    assert!(gone[0].starts_with("pre_drop_final_"));
    assert_eq!(planned(&dumps(Bed::default()), &Policy::new(7, 3), &[], now()).deletions().count(), 0);
    let plan = planned(&dumps(daily(9)), &Policy::new(60, 3), &[], now());
    assert_eq!(plan.deletions().count(), 0, "never shorter than backups");
}

#[test]
fn fault_25_a_suspicious_backup_holds_the_good_ones_before_it() {
    let bed = |suspicious: std::ops::RangeInclusive<i64>| {
        (0..=25).fold(Bed::default(), |bed, ago| {
            bed.backup(Kind::Backup, day(ago), |m| {
                if suspicious.contains(&ago) {
                    m.suspicious.push("table emptied".to_owned());
                }
            })
        })
    };
    // Ten days ago a table was emptied; backups after that look normal again.
    let plan = planned(&bed(10..=10), &Policy::new(7, 3), &[], now());
    let reasons: Vec<_> = plan.decisions.iter().map(|d| d.reason).collect();
    assert_eq!(reasons[10], Reason::HoldsOthers);
    assert_eq!(reasons[11..=25], [Reason::Held; 15]);
    assert_eq!(plan.deletions().count(), 3, "days 7 to 9: all before are held");
    // Every backup since was suspicious: what was before them all is held.
    let plan = planned(&bed(0..=10), &Policy::new(7, 3), &[], now());
    assert_eq!(plan.decisions[11..=25].iter().map(|d| d.reason).collect::<Vec<_>>(), [Reason::Held; 15]);
    // None was: nothing is held.
    let plan = planned(&bed(30..=30), &Policy::new(7, 3), &[], now());
    assert!(plan.decisions.iter().all(|d| d.reason != Reason::Held));
    // However long it takes until somebody looks.
    let later = now() + TimeDelta::days(400);
    let plan = planned(&bed(10..=10), &Policy::new(7, 3), &[], later);
    assert_eq!(plan.decisions[11..=25].iter().map(|d| d.reason).collect::<Vec<_>>(), [Reason::Held; 15]);
    // Who accepts it lets them go.
    let mut accepted = bed(10..=10);
    accepted.accepted.extend(accepted.manifests.iter().filter_map(|(_, m)| Some(m.as_ref().ok()?.id.to_string())));
    let plan = planned(&accepted, &Policy::new(7, 3), &[], now());
    assert!(plan.decisions.iter().all(|d| !matches!(d.reason, Reason::Held | Reason::HoldsOthers)));
}

#[test]
fn calendar_rules_keep_what_they_name_and_say_so() {
    let calendar = Policy { days: None, keep: "daily:3,weekly:2".parse().unwrap(), ..Policy::new(7, 1) };
    // 31 July 2025 is a Thursday; four days before was a Sunday.
    let bed = daily(20).file("hub_chantier_backup_20250702_030000.sql.gz", "2025-07-02T01:00:00Z");
    assert_snapshot!(shown(&planned(&bed, &calendar, &[], now())).lines().take(7).collect::<Vec<_>>().join("\n"));
    let left = |policy: &Policy| kept(&planned(&bed, policy, &[], now()));
    assert_eq!(left(&calendar), 5, "three days, a Sunday, and the unproven file of the last thirty days");
    // The days count beside the calendar where both are set.
    assert_eq!(left(&Policy { days: Some(7), ..calendar }), 7);
    // Never beneath the last verified ones.
    assert_eq!(left(&Policy { keep_verified: 10, ..calendar }), 11);
}

#[test]
fn the_only_copy_of_what_shall_have_two_stays() {
    let bed = daily(9);
    let pins = Pins { unsent: [file(9), file(3)].into(), ..Pins::default() };
    let plan = plan(&Policy::new(7, 3), &bed.build(now()), &pins, now()).unwrap();
    assert_eq!(plan.deletions().collect::<Vec<_>>(), [file(8), file(7)]);
    assert_eq!(plan.decisions[9].reason, Reason::Unsent);
    assert_eq!(plan.decisions[3].reason, Reason::Recent(7), "a rule that keeps it says so");
}

#[test]
fn set_aside_ones_never_go() {
    let mut bed = daily(12);
    bed.objects[11].bytes = 1;
    bed.verifications.push(Verification {
        file: file(12),
        at: day(1),
        ok: false,
        stored_sha256: "ab".repeat(32),
        detail: "sha256 differs".to_owned(),
    });
    let plan = planned(&bed, &Policy::new(7, 3), &[], now());
    assert_eq!(plan.decisions[11].reason, Reason::SetAside);
    assert_eq!(plan.decisions[12].reason, Reason::SetAside);
    assert_eq!(plan.deletions().count(), 4);
}

#[test]
fn a_plan_that_deletes_everything_is_refused() {
    let catalogue = daily(1).build(now());
    let all: Vec<_> = catalogue
        .entries()
        .iter()
        .map(|e| Decision { file: e.file.clone(), action: Action::Delete, reason: Reason::Expired(7) })
        .collect();
    let error = guard(&catalogue, &all).unwrap_err();
    assert_snapshot!(format!("{error}\n{}", error.hint().unwrap()), @r#"
    rotation would delete all 2 backups
    nothing was deleted: check the clock and BACKUP_RETENTION_DAYS, and look at 'amarre list'
    "#);
    assert_eq!(guard(&catalogue, &all[..1]), Ok(()));
}

/// What a generated store holds.
#[derive(Debug, Clone)]
struct Made {
    kind: Kind,
    format: &'static str,
    hours_ago: i64,
    touched: bool,
    suspicious: bool,
    foreign: bool,
    manifest: bool,
    pinned: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let kind = prop_oneof![4 => Just(Kind::Backup), 1 => Just(Kind::Safety), 1 => Just(Kind::Final)];
    let flag = |p| proptest::bool::weighted(p);
    let format = prop_oneof![Just("gzip"), Just("zstd"), Just("none")];
    (kind, format, -100i64..2000, flag(0.2), flag(0.1), flag(0.1), flag(0.8), flag(0.1)).prop_map(
        |(kind, format, hours_ago, touched, suspicious, foreign, manifest, pinned)| Made {
            kind,
            format,
            hours_ago,
            touched,
            suspicious,
            foreign,
            manifest,
            pinned,
        },
    )
}

fn store(made: &[Made]) -> (Bed, BTreeSet<String>) {
    let mut bed = Bed::default();
    let mut pins = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for m in made.iter().filter(|m| seen.insert((m.kind, m.format, m.hours_ago))) {
        let date = now() - TimeDelta::hours(m.hours_ago);
        bed = bed.backup_as(m.format.parse().unwrap(), m.kind, date, |manifest| {
            if m.suspicious {
                manifest.suspicious.push("shrunk".to_owned());
            }
            if m.foreign {
                manifest.installation = "staging/x".to_owned();
            }
        });
        if let (true, Some(object)) = (m.touched, bed.objects.last_mut()) {
            object.modified = now();
        }
        if let (true, Some(object)) = (m.pinned, bed.objects.last()) {
            pins.insert(object.name.clone());
        }
        if !m.manifest {
            bed.manifests.pop();
        }
    }
    (bed, pins)
}

proptest! {
    #[test]
    fn no_plan_ever_breaks_the_promises(
        made in proptest::collection::vec(made(), 0..40),
        days in 0u32..40,
        keep in 0u32..6,
        calendar in proptest::option::of(prop_oneof![
            Just("hourly:5"), Just("daily:3,weekly:2"), Just("hourly:2,daily:7,weekly:4,monthly:12,yearly:3")
        ]),
        no_days in proptest::bool::ANY,
        ahead_hours in -1000i64..100_000,
    ) {
        let (bed, pins) = store(&made);
        let mut policy = Policy::new(days, keep);
        if let Some(rules) = calendar {
            policy.keep = rules.parse().unwrap();
            policy.days = policy.days.filter(|_| !no_days);
        }
        let at = now() + TimeDelta::hours(ahead_hours);
        let before = bed.build(at);
        let pins = Pins { in_use: pins, ..Pins::default() };
        let plan = plan(&policy, &before, &pins, at).unwrap();
        let gone: BTreeSet<&str> = plan.deletions().collect();
        prop_assert_eq!(plan.decisions.len(), before.entries().len());

        let verified = |e: &&Entry| e.own && e.kind == Some(Kind::Backup) && e.is_verified();
        let had = before.entries().iter().filter(verified).count();
        let has = before.entries().iter().filter(verified).filter(|e| !gone.contains(e.file.as_str())).count();
        prop_assert!(has >= had.min(policy.least()), "{has} of {had} verified are left");

        for entry in before.entries() {
            let protected = !entry.own || entry.kind.is_none() || pins.in_use.contains(&entry.file)
                || matches!(entry.state, State::SetAside(_)) || Some(entry) == before.latest_verified();
            prop_assert!(!(protected && gone.contains(entry.file.as_str())), "{} goes", entry.file);
        }

        let mut left = bed.clone();
        left.objects.retain(|o| !gone.contains(o.name.as_str()));
        left.manifests.retain(|(m, _)| !gone.contains(m.strip_suffix(".json").unwrap()));
        let again = super::plan(&policy, &left.build(at), &pins, at).unwrap();
        prop_assert_eq!(again.deletions().count(), 0, "planning again deletes more");
    }
}
