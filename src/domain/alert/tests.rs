use chrono_tz::Europe::Paris;

use super::*;
use crate::domain::catalogue::tests::{Bed, utc};
use crate::domain::name::Kind as Made;

const NOW: &str = "2025-11-10T09:00:00Z";

struct Case {
    bed: Bed,
    lacks: Vec<Lack>,
    change: fn(&mut Seen<'_>),
}

/// Nine good nights.
fn nights() -> Bed {
    (1..10).fold(Bed::default(), |bed, day| {
        bed.backup(Made::Backup, utc(&format!("2025-11-{:02}T02:00:00Z", day + 1)), |m| m.lane = "fifo".to_owned())
    })
}

fn case(change: fn(&mut Seen<'_>)) -> Case {
    Case { bed: nights(), lacks: Vec::new(), change }
}

fn judged(case: Case) -> Vec<Alert> {
    let schedule = Schedule::parse("0 3 * * *").unwrap();
    let catalogue = case.bed.build(utc(NOW));
    let mut seen = Seen {
        now: utc(NOW),
        schedule: &schedule,
        zone: Paris,
        since: utc("2025-11-01T00:00:00Z"),
        catalogue: &catalogue,
        last_backup: Some(LastRun { at: utc("2025-11-10T02:01:00Z"), error: None }),
        broken: &[],
        last_restore: None,
        lacks: &case.lacks,
        disk: Some(Space { free: 50_000_000_000, total: 100_000_000_000 }),
        floor: 10,
        jump: None,
        stopped: false,
        supervised: true,
        firing: BTreeSet::new(),
    };
    (case.change)(&mut seen);
    judge(&seen)
}

fn kinds(case: Case) -> Vec<Kind> {
    judged(case).into_iter().map(|alert| alert.kind).collect()
}

#[test]
fn a_good_week_is_quiet() {
    assert_eq!(judged(case(|_| {})), []);
}

#[test]
fn a_backup_that_did_not_come_is_missed_two_hours_after_its_slot() {
    let late = |supervised: bool, now: &str| {
        let now = utc(now);
        let schedule = Schedule::parse("0 3 * * *").unwrap();
        let catalogue = nights().build(now);
        let seen = Seen {
            now,
            schedule: &schedule,
            zone: Paris,
            since: utc("2025-11-01T00:00:00Z"),
            catalogue: &catalogue,
            last_backup: None,
            broken: &[],
            last_restore: None,
            lacks: &[],
            disk: None,
            floor: 10,
            jump: None,
            stopped: false,
            supervised,
            firing: BTreeSet::new(),
        };
        judge(&seen).into_iter().map(|alert| alert.kind).collect::<Vec<_>>()
    };
    assert_eq!(late(true, "2025-11-11T03:59:00Z"), []);
    assert_eq!(late(true, "2025-11-11T04:00:00Z"), [Kind::NoBackup]);
    // The crontab of a host may have another hour: there its age alone counts.
    assert_eq!(late(false, "2025-11-11T03:59:00Z"), []);
    assert_eq!(late(false, "2025-11-11T05:00:00Z"), [Kind::NoBackup]);
}

#[test]
fn nothing_is_missed_before_the_first_slot() {
    let none = |since: fn(&mut Seen<'_>)| kinds(Case { bed: Bed::default(), lacks: Vec::new(), change: since });
    assert_eq!(none(|seen| seen.since = utc("2025-11-10T08:00:00Z")), []);
    assert_eq!(none(|_| {}), [Kind::NoBackup]);
}

#[test]
fn each_thing_that_was_seen_is_told_with_what_to_do() {
    let found = |change| {
        let alerts = judged(case(change));
        for alert in &alerts {
            assert!(!alert.hint.contains("alert."), "{} has no hint", alert.kind.as_str());
            assert!(!alert.text.contains("alert."), "{} has no text", alert.kind.as_str());
        }
        alerts.into_iter().map(|alert| alert.kind).collect::<Vec<_>>()
    };
    assert_eq!(
        found(|seen| seen.last_backup = Some(LastRun { at: seen.now, error: Some("no \u{1b}[31mserver".to_owned()) })),
        [Kind::RunFailed]
    );
    assert_eq!(found(|seen| seen.disk = Some(Space { free: 9_999_999_999, total: 100_000_000_000 })), [Kind::DiskLow]);
    assert_eq!(found(|seen| seen.disk = Some(Space { free: 10_000_000_000, total: 100_000_000_000 })), []);
    assert_eq!(found(|seen| seen.disk = Some(Space { free: 1, total: 1 })), [Kind::WillNotFit]);
    assert_eq!(found(|seen| seen.stopped = true), [Kind::NotRunning]);
    assert_eq!(
        found(|seen| seen.last_restore = Some(Restored { at: seen.now, took: TimeDelta::seconds(601) })),
        [Kind::SlowRestore]
    );
    assert_eq!(found(|seen| seen.last_restore = Some(Restored { at: seen.now, took: TimeDelta::seconds(600) })), []);
    assert_eq!(
        found(|seen| {
            let at = seen.now - TimeDelta::hours(24);
            seen.last_restore = Some(Restored { at, took: TimeDelta::hours(3) });
        }),
        []
    );
    assert_eq!(found(|seen| seen.jump = Some(Jump { at: seen.now, seconds: -3600 })), [Kind::ClockJumped]);
}

#[test]
fn what_a_second_place_lacks_is_named_and_no_more_than_that() {
    let lack = |files| Lack { place: "s3://b".to_owned(), files };
    let names = |count: usize| Ok((0..count).map(|n| format!("{n}.sql.gz")).collect());
    let text = |files| judged(Case { lacks: vec![lack(files)], ..case(|_| {}) }).pop().map(|alert| alert.text);
    assert_eq!(text(names(0)), None);
    let several = text(names(5)).unwrap();
    assert!(several.contains("2.sql.gz, …") && !several.contains("3.sql.gz") && several.contains('5'), "{several}");
    assert!(text(Err("no answer".to_owned())).unwrap().contains("no answer"));
}

#[test]
fn fault_25_a_suspicious_backup_is_told_of_until_it_is_accepted() {
    let mut case = case(|_| {});
    case.bed = case.bed.backup(Made::Backup, utc("2025-11-10T02:30:00Z"), |m| {
        m.lane = "fifo".to_owned();
        m.suspicious = vec!["table public.t is empty".to_owned()];
    });
    let accepted = Case { bed: case.bed.clone().accepted("2025-11-10T02:30:00Z"), ..self::case(|_| {}) };
    let alerts = judged(case);
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].text.contains("public.t"), "{}", alerts[0].text);
    assert_eq!(judged(accepted), []);
}

#[test]
fn a_disk_that_swings_around_its_floor_is_told_of_once() {
    fn free(seen: &mut Seen<'_>, percent: u64) {
        seen.disk = Some(Space { free: percent * 1_000_000_000, total: 100_000_000_000 });
    }
    fn told(seen: &mut Seen<'_>) {
        seen.firing = BTreeSet::from([Kind::DiskLow]);
    }
    assert_eq!(kinds(case(|seen| free(seen, 10))), []);
    assert_eq!(kinds(case(|seen| free(seen, 9))), [Kind::DiskLow]);
    let again: fn(&mut Seen<'_>) = |seen| {
        told(seen);
        free(seen, 10);
    };
    assert_eq!(kinds(case(again)), [Kind::DiskLow]);
    let over: fn(&mut Seen<'_>) = |seen| {
        told(seen);
        free(seen, 11);
    };
    assert_eq!(kinds(case(over)), []);
}

#[test]
fn a_damaged_backup_is_told_of() {
    let mut bed = nights();
    bed.objects[3].bytes -= 1;
    assert_eq!(kinds(Case { bed, ..case(|_| {}) }), [Kind::Damaged]);
}

#[test]
fn the_slow_lane_is_news_only_where_there_was_a_fast_one() {
    let lane = |bed: Bed, lane: &str| {
        let lane = lane.to_owned();
        bed.backup(Made::Backup, utc("2025-11-10T02:30:00Z"), move |m| m.lane = lane)
    };
    assert_eq!(kinds(Case { bed: lane(nights(), "exec"), ..case(|_| {}) }), [Kind::SlowLane]);
    assert_eq!(kinds(Case { bed: lane(nights(), "fifo"), ..case(|_| {}) }), []);
    assert_eq!(kinds(Case { bed: lane(Bed::default(), "exec"), ..case(|_| {}) }), []);
    // A week later no fast one is left to compare with: it is as broken as before.
    let told = |seen: &mut Seen<'_>| seen.firing = BTreeSet::from([Kind::SlowLane]);
    assert_eq!(kinds(Case { bed: lane(Bed::default(), "exec"), ..case(told) }), [Kind::SlowLane]);
    assert_eq!(kinds(Case { bed: lane(nights(), "fifo"), ..case(told) }), []);
}

#[test]
fn the_next_size_follows_the_trend() {
    let sizes = |sizes: &[u64]| {
        let bed = sizes.iter().enumerate().fold(Bed::default(), |bed, (day, size)| {
            bed.backup(Made::Backup, utc(&format!("2025-11-{:02}T02:00:00Z", day + 1)), |m| m.stored.bytes = *size)
        });
        next_size(&bed.build(utc(NOW)))
    };
    assert_eq!(sizes(&[]), None);
    assert_eq!(sizes(&[1000]), Some(1100));
    assert_eq!(sizes(&[1000, 2000, 3000]), Some(4400));
    // What shrank does not go on shrinking.
    assert_eq!(sizes(&[3000, 1000]), Some(1100));
}

#[test]
fn an_alert_is_told_once_then_daily_and_when_it_is_over() {
    let one = || Alert { kind: Kind::DiskLow, text: "low".to_owned(), hint: String::new(), subjects: BTreeSet::new() };
    let start = utc(NOW);
    let (firing, told) = reconcile(vec![one()].into(), &[], start);
    assert_eq!(told, [Change::Begun(one())]);
    let (firing, told) = reconcile(vec![one()].into(), &firing, start + TimeDelta::hours(23));
    assert_eq!(told, []);
    let (firing, told) = reconcile(vec![one()].into(), &firing, start + TimeDelta::hours(24));
    assert_eq!(told, [Change::Still(one(), start)]);
    let (firing, told) = reconcile(vec![one()].into(), &firing, start + TimeDelta::hours(25));
    assert_eq!(told, []);
    let (after, told) = reconcile(Found::default(), &firing, start + TimeDelta::hours(26));
    assert_eq!(told, [Change::Over(firing[0].clone())]);
    assert_eq!(after, []);
}

#[test]
fn what_is_new_in_an_alert_is_told_at_once_and_what_comes_and_goes_once_a_day() {
    let of = |files: &[&str]| {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        Alert { kind: Kind::Damaged, text: files.join(", "), hint: String::new(), subjects: BTreeSet::new() }
            .about(files)
    };
    let start = utc(NOW);
    let mut firing = Vec::new();
    let mut told_of = |files: &[&str], hours: i64| {
        let (after, told) = reconcile(vec![of(files)].into(), &firing, start + TimeDelta::hours(hours));
        assert_eq!(after[0].since, start);
        firing = after;
        told
    };
    assert_eq!(told_of(&["a"], 0), [Change::Begun(of(&["a"]))]);
    assert_eq!(told_of(&["a", "b"], 1), [Change::Begun(of(&["a", "b"]))]);
    for (files, hours) in [(&["b"] as &[&str], 2), (&["a", "b"], 3), (&["a"], 23)] {
        assert_eq!(told_of(files, hours), [], "{files:?}");
    }
    // The daily turn is not put off by what was told between.
    assert_eq!(told_of(&["a"], 24), [Change::Still(of(&["a"]), start)]);
    assert_eq!(told_of(&["a", "b"], 25), [Change::Begun(of(&["a", "b"]))]);
}

#[test]
fn another_failure_within_a_day_is_news_and_the_same_with_other_numbers_is_not() {
    fn with(seen: &mut Seen<'_>, error: &str) {
        seen.last_backup = Some(LastRun { at: seen.now, error: Some(error.to_owned()) });
    }
    let start = utc(NOW);
    let (firing, _) = reconcile(judged(case(|seen| with(seen, "no room: 12 MB needed"))).into(), &[], start);
    let again = judged(case(|seen| with(seen, "no room: 13 MB needed")));
    let (firing, told) = reconcile(again.into(), &firing, start + TimeDelta::hours(1));
    assert_eq!(told, []);
    let other = judged(case(|seen| with(seen, "the engine does not answer")));
    let (_, told) = reconcile(other.clone().into(), &firing, start + TimeDelta::hours(2));
    assert_eq!(told, [Change::Begun(other[0].clone())]);
}

#[test]
fn fault_43_a_clock_that_went_back_neither_repeats_nor_silences() {
    let one = || Alert { kind: Kind::DiskLow, text: "low".to_owned(), hint: String::new(), subjects: BTreeSet::new() };
    let start = utc(NOW);
    let (firing, _) = reconcile(vec![one()].into(), &[], start + TimeDelta::days(400));
    let (firing, told) = reconcile(vec![one()].into(), &firing, start);
    assert_eq!(told, []);
    let (_, told) = reconcile(vec![one()].into(), &firing, start + TimeDelta::hours(24));
    assert_eq!(told, [Change::Still(one(), start)]);
}

#[test]
fn what_cannot_be_told_now_stays_as_it_was_said() {
    let one = |kind| Alert { kind, text: "low".to_owned(), hint: String::new(), subjects: BTreeSet::new() };
    let start = utc(NOW);
    let (firing, _) = reconcile(vec![one(Kind::DiskLow)].into(), &[], start);
    let unknown = Found { alerts: vec![one(Kind::WillNotFit)], unknown: vec![Kind::DiskLow, Kind::WillNotFit] };
    let (after, told) = reconcile(unknown, &firing, start + TimeDelta::hours(25));
    assert_eq!((after, told), (firing, vec![]));
}

#[test]
fn every_kind_has_one_name() {
    for kind in ALL {
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(Kind::parse("x"), None);
}
