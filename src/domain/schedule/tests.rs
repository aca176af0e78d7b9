use chrono::{NaiveDate, TimeZone};
use chrono_tz::Europe::Paris;
use insta::assert_snapshot;

use super::*;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn schedule(expression: &str) -> Schedule {
    Schedule::parse(expression).unwrap()
}

/// All slots in `from..to`, asked one by one, and the same read backwards.
fn slots(expression: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let schedule = schedule(expression);
    let before = from - TimeDelta::seconds(1);
    let forward: Vec<_> =
        std::iter::successors(schedule.next_after(before, Paris), |slot| schedule.next_after(*slot, Paris))
            .take_while(|slot| *slot < to)
            .collect();
    for slot in &forward {
        assert_eq!(schedule.previous_at_or_before(*slot, Paris), Some(*slot), "at {slot}");
        let soon = *slot + TimeDelta::milliseconds(700);
        assert_eq!(schedule.previous_at_or_before(soon, Paris), Some(*slot), "after {slot}");
        assert_eq!(schedule.next_after(*slot - TimeDelta::milliseconds(300), Paris), Some(*slot), "before {slot}");
    }
    for pair in forward.windows(2) {
        let just_before = pair[1] - TimeDelta::seconds(1);
        assert_eq!(schedule.previous_at_or_before(just_before, Paris), Some(pair[0]), "before {}", pair[1]);
    }
    forward
}

fn local(slot: DateTime<Utc>) -> String {
    slot.with_timezone(&Paris).format("%Y-%m-%d %H:%M %z").to_string()
}

fn errors(expressions: &[&str]) -> String {
    expressions
        .iter()
        .map(|e| {
            let error = Schedule::parse(e).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            format!("{error}\n    {}\n", error.hint().unwrap_or_default())
        })
        .collect()
}

#[test]
fn fault_5_bad_expressions_are_refused_and_explained() {
    assert_snapshot!(errors(&[
        "",
        "  ",
        "0 3 * *",
        "0 0 3 * * *",
        "0 0 3 * * * 2030",
        "61 3 * * *",
        "0 25 * * *",
        "0 3 * * FOO",
        "a\u{1b}[31m b c d e",
        "@reboot",
        "tomorrow",
    ]));
}

#[test]
fn fault_5_one_that_never_fires_is_refused() {
    assert_snapshot!(errors(&["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"]));
    for rare in ["0 0 29 2 *", "0 0 31 12 *", "0 3 31 * *", "0 3 * * 7", "@daily", "@WEEKLY", "0 3 * JAN MON-FRI"] {
        assert!(Schedule::parse(rare).is_ok(), "{rare}");
    }
}

#[test]
fn fault_5_a_bad_zone_names_the_nearest() {
    let shown: String = ["Europe/Pari", "europe/paris ", "Paris", "Berlin", "UTC+25", "", "\u{1b}]0;x"]
        .into_iter()
        .map(|name| match zone(name) {
            Ok(zone) => format!("{zone}\n"),
            Err(error) => format!("{error}\n    {}\n", error.hint().unwrap_or_default()),
        })
        .collect();
    assert_snapshot!(shown);
    assert_eq!(zone("Europe/Paris"), Ok(Paris));
}

#[test]
fn fault_45_three_o_clock_in_paris_fires_once_on_every_day_from_2024_to_2030() {
    let from = Paris.with_ymd_and_hms(2024, 1, 1, 0, 0, 0).unwrap().with_timezone(&Utc);
    let to = Paris.with_ymd_and_hms(2031, 1, 1, 0, 0, 0).unwrap().with_timezone(&Utc);
    let slots = slots("0 3 * * *", from, to);
    let days = (NaiveDate::from_ymd_opt(2031, 1, 1).unwrap() - NaiveDate::from_ymd_opt(2024, 1, 1).unwrap()).num_days();
    assert_eq!(slots.len(), usize::try_from(days).unwrap());
    for (n, slot) in slots.iter().enumerate() {
        let day = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap() + chrono::Days::new(n as u64);
        assert_eq!(slot.with_timezone(&Paris).naive_local(), day.and_hms_opt(3, 0, 0).unwrap());
    }
}

#[test]
fn fault_45_an_hour_that_does_not_exist_runs_once_after_the_gap() {
    for (year, day) in [(2024, 31), (2025, 30), (2026, 29), (2027, 28), (2028, 26), (2029, 25), (2030, 31)] {
        let from = Paris.with_ymd_and_hms(year, 3, day, 0, 0, 0).unwrap().with_timezone(&Utc);
        let slots = slots("30 2 * * *", from, from + TimeDelta::hours(23));
        let shown: Vec<_> = slots.into_iter().map(local).collect();
        assert_eq!(shown, [format!("{year}-03-{day} 03:00 +0200")]);
    }
}

#[test]
fn fault_45_an_hour_that_exists_twice_runs_once() {
    for (year, day) in [(2024, 27), (2025, 26), (2026, 25), (2027, 31), (2028, 29), (2029, 28), (2030, 27)] {
        let from = Paris.with_ymd_and_hms(year, 10, day, 0, 0, 0).unwrap().with_timezone(&Utc);
        let slots = slots("30 2 * * *", from, from + TimeDelta::hours(25));
        let shown: Vec<_> = slots.into_iter().map(local).collect();
        assert_eq!(shown, [format!("{year}-10-{day} 02:30 +0200")]);
    }
}

#[test]
fn fault_45_every_half_hour_goes_on_through_both_changes() {
    for from in ["2025-03-29T20:00:00Z", "2025-10-25T20:00:00Z"].map(utc) {
        let slots = slots("*/30 * * * *", from, from + TimeDelta::hours(12));
        assert_eq!(slots.len(), 24);
        assert!(slots.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::minutes(30)));
    }
}

#[test]
fn the_period_is_the_shortest_gap_around_now() {
    let period = |expression, now| schedule(expression).period(utc(now), Paris).unwrap();
    assert_eq!(period("0 3 * * *", "2025-07-01T12:00:00Z"), TimeDelta::hours(24));
    assert_eq!(period("0 3 * * *", "2025-03-30T12:00:00Z"), TimeDelta::hours(23));
    assert_eq!(period("*/30 * * * *", "2025-07-01T12:00:00Z"), TimeDelta::minutes(30));
    assert_eq!(period("0 3 * * 1-5", "2025-07-05T12:00:00Z"), TimeDelta::hours(24), "a Saturday");
    assert_eq!(period("0 3,4 * * *", "2025-07-01T12:00:00Z"), TimeDelta::hours(1));
}

#[test]
fn fault_46_what_was_missed_while_down_is_caught_up_once() {
    let s = schedule("0 3 * * *");
    let installed = utc("2025-06-01T00:00:00Z");
    let due = |last: Option<&str>, now| s.due(last.map(utc), installed, utc(now), Paris);
    // Slept from the 1st to the 5th: one catch-up, for the last slot.
    let caught_up = due(Some("2025-07-01T01:00:02Z"), "2025-07-05T09:00:00Z");
    assert_eq!(caught_up, Some(utc("2025-07-05T01:00:00Z")));
    assert_eq!(due(Some("2025-07-05T09:00:00Z"), "2025-07-05T09:00:01Z"), None, "and no second one");
    assert_eq!(due(Some("2025-07-05T01:00:00Z"), "2025-07-05T23:00:00Z"), None);
    // Never ran: only what came after the installation.
    assert_eq!(due(None, "2025-06-01T00:30:00Z"), None);
    assert_eq!(due(None, "2025-06-01T01:00:00Z"), Some(utc("2025-06-01T01:00:00Z")));
}

#[test]
fn fault_43_a_clock_that_went_back_does_not_fire_again() {
    let s = schedule("0 3 * * *");
    let installed = utc("2025-06-01T00:00:00Z");
    let last = Some(utc("2025-07-05T01:00:00Z"));
    for now in ["2025-07-05T00:10:00Z", "2025-07-05T01:00:00Z", "2025-07-04T02:00:00Z", "2025-07-05T01:30:00Z"] {
        assert_eq!(s.due(last, installed, utc(now), Paris), None, "{now}");
    }
}

#[test]
fn fault_44_a_start_dated_by_a_clock_that_was_far_ahead_does_not_stop_backups() {
    let s = schedule("0 3 * * *");
    let last = Some(utc("2035-01-01T02:00:00Z"));
    let due = s.due(last, utc("2025-06-01T00:00:00Z"), utc("2025-07-05T12:00:00Z"), Paris);
    assert_eq!(due, Some(utc("2025-07-05T01:00:00Z")));
}

#[test]
fn fault_47_slots_that_fall_into_a_run_are_skipped_and_counted() {
    let s = schedule("0 * * * *");
    let skipped = |from, to| s.skipped(utc(from), utc(to), Paris);
    assert_eq!(skipped("2025-07-01T01:00:00Z", "2025-07-01T01:59:59Z"), None);
    assert_eq!(
        skipped("2025-07-01T01:00:00Z", "2025-07-01T04:20:00Z"),
        Some(Skipped { slots: 3, first: utc("2025-07-01T02:00:00Z"), last: utc("2025-07-01T04:00:00Z") })
    );
    assert_eq!(
        skipped("2025-07-01T01:00:00Z", "2026-07-01T01:00:00Z").map(|s| (s.slots, s.last)),
        Some((Skipped::MOST, utc("2026-07-01T01:00:00Z")))
    );
    assert_eq!(skipped("2025-07-01T05:00:00Z", "2025-07-01T01:00:00Z"), None, "the clock went back meanwhile");
    let end = Some(utc("2025-07-01T04:20:00Z"));
    assert_eq!(s.due(end, utc("2025-06-01T00:00:00Z"), utc("2025-07-01T04:20:01Z"), Paris), None, "not caught up");
}

#[test]
fn a_backup_is_overdue_two_hours_after_its_slot() {
    let s = schedule("0 3 * * 1-5");
    let (installed, grace) = (utc("2025-06-01T00:00:00Z"), TimeDelta::hours(2));
    let overdue = |newest: Option<&str>, now| s.is_overdue(newest.map(utc), installed, utc(now), grace, Paris);
    let friday = Some("2025-07-04T01:00:03Z");
    assert!(!overdue(friday, "2025-07-06T20:00:00Z"), "no backup is due at the weekend");
    assert!(!overdue(friday, "2025-07-07T02:59:00Z"), "Monday's may still be running");
    assert!(overdue(friday, "2025-07-07T03:00:00Z"));
    assert!(!overdue(None, "2025-06-02T02:00:00Z"), "none was due yet");
    assert!(overdue(None, "2025-06-02T03:00:00Z"));
}

#[test]
fn what_another_clock_starts_is_judged_by_its_age() {
    let schedule = Schedule::parse("0 3 * * *").unwrap();
    let made: DateTime<Utc> = "2025-11-10T21:00:00Z".parse().unwrap();
    let late = |hours: i64| {
        schedule.is_too_old(made, made + TimeDelta::hours(hours), TimeDelta::hours(2), chrono_tz::Europe::Paris)
    };
    // At 04:00 of the night after, its slot of 03:00 has nothing of its own.
    assert!(!late(7) && !late(26) && late(27));
}
