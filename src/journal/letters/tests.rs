//! One suite for both outboxes, and what only the one on disk can promise.

use std::sync::Arc;

use chrono::TimeDelta;
use tempfile::TempDir;

use super::*;
use crate::domain::notice::testing::{failed, place};
use crate::domain::notice::{Level, Notice};
use crate::journal::outbox::MemoryOutbox;

const CHANNELS: [&str; 2] = ["mail:1", "slack:2"];

fn now() -> DateTime<Utc> {
    place().at
}

fn after(minutes: i64) -> DateTime<Utc> {
    now() + TimeDelta::minutes(minutes)
}

fn notice(event: &str) -> Notice {
    Notice::new(Level::Warning, event, place(), event)
}

fn on_disk() -> (TempDir, SqliteJournal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path(), now()).unwrap().journal;
    (dir, journal)
}

fn each(test: impl Fn(&dyn Outbox)) {
    let (_dir, journal) = on_disk();
    test(&journal);
    test(&MemoryOutbox::default());
}

fn due(outbox: &dyn Outbox, at: DateTime<Utc>) -> Option<Letter> {
    outbox.due(CHANNELS[0], 7, at).unwrap()
}

#[test]
fn a_notice_is_one_letter_for_each_channel_however_often_it_is_put_in() {
    each(|outbox| {
        assert_eq!(outbox.put(&failed(), &CHANNELS, now()).unwrap(), 2);
        assert_eq!(outbox.put(&failed(), &CHANNELS, after(1)).unwrap(), 0);
        for channel in CHANNELS {
            let letter = outbox.due(channel, 7, now()).unwrap().unwrap();
            assert_eq!((&letter.notice, letter.tries, letter.put_at), (&failed(), 0, now()));
            outbox.sent(&letter, now()).unwrap();
            assert_eq!(outbox.due(channel, 7, after(60)).unwrap(), None);
        }
        assert_eq!(outbox.put(&failed(), &CHANNELS, after(60)).unwrap(), 0, "it was sent, and that is known");
    });
}

#[test]
fn a_letter_that_is_out_is_nobody_elses_until_its_lease_is_over() {
    each(|outbox| {
        outbox.put(&failed(), &CHANNELS[..1], now()).unwrap();
        let first = outbox.due(CHANNELS[0], 1, now()).unwrap().unwrap();
        assert_eq!(outbox.due(CHANNELS[0], 2, now() + LEASE - TimeDelta::seconds(1)).unwrap(), None);
        // Whoever had it is taken for dead; what it says when it comes back all the same is too late.
        let second = outbox.due(CHANNELS[0], 2, now() + LEASE).unwrap().unwrap();
        outbox.failed(&first, "late", after(600)).unwrap();
        outbox.give_up(&first, "late", after(3)).unwrap();
        assert_eq!(outbox.counts().unwrap()[0].waiting, 1);
        outbox.sent(&second, after(3)).unwrap();
        assert_eq!(outbox.counts().unwrap()[0].sent, 1);
    });
}

#[test]
fn letters_of_a_channel_come_in_their_order_and_wait_for_the_first() {
    each(|outbox| {
        outbox.put(&notice("one"), &CHANNELS, now()).unwrap();
        outbox.put(&notice("two"), &CHANNELS, now()).unwrap();
        let first = due(outbox, now()).unwrap();
        assert_eq!((first.notice.event.as_str(), due(outbox, now())), ("one", None));
        outbox.failed(&first, "down", after(30)).unwrap();
        assert_eq!(due(outbox, after(29)), None, "the second waits behind it");
        assert!(outbox.due(CHANNELS[1], 7, now()).unwrap().is_some(), "another channel does not");
        let again = due(outbox, after(30)).unwrap();
        assert_eq!((again.notice.event.as_str(), again.tries), ("one", 1));
        outbox.give_up(&again, "refused", after(30)).unwrap();
        assert_eq!(due(outbox, after(30)).unwrap().notice.event, "two");
        let count = &outbox.counts().unwrap()[0];
        assert_eq!((count.waiting, count.given_up, count.last_error.as_deref()), (1, 1, Some("refused")));
        assert_eq!(count.oldest, Some(now()));
    });
}

#[test]
fn what_waits_can_be_looked_at_and_ended_by_its_notice() {
    each(|outbox| {
        let (one, two) = (notice("one"), notice("two"));
        for notice in [&one, &two] {
            outbox.put(notice, &CHANNELS, now()).unwrap();
        }
        let events = |at| -> Vec<String> {
            outbox.waiting(CHANNELS[0], at).unwrap().into_iter().map(|letter| letter.notice.event).collect()
        };
        assert_eq!(events(now()), ["one", "two"]);
        let first = due(outbox, now()).expect("a look takes nothing");
        assert!(events(now()).is_empty(), "somebody has the first, and the second waits behind it");
        outbox.failed(&first, "down", after(30)).unwrap();
        assert!(events(after(29)).is_empty());
        // It left while that could not be written down; the other was refused.
        outbox.ended(CHANNELS[0], &one.id, None, after(1)).unwrap();
        assert_eq!(events(after(1)), ["two"]);
        outbox.ended(CHANNELS[0], &two.id, Some("refused"), after(1)).unwrap();
        outbox.ended(CHANNELS[0], &two.id, None, after(2)).unwrap();
        assert_eq!(due(outbox, after(60)), None);
        let count = &outbox.counts().unwrap()[0];
        assert_eq!((count.waiting, count.sent, count.given_up), (0, 1, 1));
        assert_eq!((count.last_sent, count.last_given_up), (Some(after(1)), Some(after(1))));
        assert!(outbox.due(CHANNELS[1], 7, now()).unwrap().is_some(), "another channel's are its own");
    });
}

#[test]
fn fault_43_a_clock_that_was_ahead_holds_nothing_up() {
    each(|outbox| {
        outbox.put(&failed(), &CHANNELS[..1], now()).unwrap();
        let tomorrow = after(24 * 60);
        let letter = due(outbox, tomorrow).unwrap();
        assert!(due(outbox, now()).is_some(), "a lease of tomorrow is none");
        let letter = Letter { lease: 7, ..letter };
        outbox.failed(&letter, "down", tomorrow).unwrap();
        assert!(due(outbox, now()).is_some(), "nobody puts a letter off for a day");
    });
}

#[test]
fn letters_to_channels_that_are_gone_are_given_up() {
    each(|outbox| {
        outbox.put(&failed(), &CHANNELS, now()).unwrap();
        assert_eq!(outbox.clean(&CHANNELS[1..], after(23 * 60)).unwrap(), 0);
        assert_eq!(outbox.clean(&CHANNELS[1..], after(24 * 60)).unwrap(), 1);
        let counts = outbox.counts().unwrap();
        assert_eq!(counts.iter().map(|count| (count.waiting, count.given_up)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    });
}

#[test]
fn letters_survive_a_restart_and_are_forgotten_after_a_month() {
    let (dir, journal) = on_disk();
    journal.put(&failed(), &CHANNELS, now()).unwrap();
    let letter = journal.due(CHANNELS[0], 7, now()).unwrap().unwrap();
    drop(journal);
    let journal = SqliteJournal::open(dir.path(), now()).unwrap().journal;
    assert_eq!(journal.due(CHANNELS[0], 8, after(1)).unwrap(), None, "the lease of the process that died");
    assert_eq!(journal.due(CHANNELS[0], 8, after(2)).unwrap().unwrap().notice, letter.notice);
    let letter = journal.due(CHANNELS[1], 8, after(2)).unwrap().unwrap();
    journal.sent(&letter, after(2)).unwrap();
    journal.clean(&CHANNELS, now() + MEMORY).unwrap();
    assert_eq!(journal.counts().unwrap().len(), 2);
    journal.clean(&CHANNELS, after(3) + MEMORY).unwrap();
    assert_eq!(journal.counts().unwrap().len(), 1, "what was sent is forgotten, what waits never");
}

#[test]
fn two_processes_never_get_one_letter_both() {
    let (dir, journal) = on_disk();
    let events: Vec<String> = (0..40).map(|number| format!("event {number}")).collect();
    for event in &events {
        journal.put(&notice(event), &CHANNELS[..1], now()).unwrap();
    }
    let work = |lease: u64| {
        let path = dir.path().to_owned();
        std::thread::spawn(move || {
            let own = SqliteJournal::open(&path, now()).unwrap().journal;
            let mut got = Vec::new();
            while own.counts().unwrap()[0].waiting > 0 {
                if let Some(letter) = own.due(CHANNELS[0], lease, now()).unwrap() {
                    own.sent(&letter, now()).unwrap();
                    got.push(letter.notice.event);
                }
            }
            got
        })
    };
    let both = [work(1), work(2)].map(|thread| thread.join().unwrap());
    let mut got = both.concat();
    got.sort_by_key(|event| event.split(' ').next_back().and_then(|n| n.parse::<u32>().ok()));
    assert_eq!(got, events, "each once");
}

#[test]
fn a_journal_of_the_version_before_gets_its_outbox() {
    let (dir, journal) = on_disk();
    journal
        .with(|c| c.execute_batch("DROP TABLE letter; ALTER TABLE alert DROP COLUMN subjects; PRAGMA user_version = 2"))
        .unwrap();
    drop(journal);
    let journal: Arc<dyn Outbox> = Arc::new(SqliteJournal::open(dir.path(), now()).unwrap().journal);
    assert_eq!(journal.put(&failed(), &CHANNELS, now()).unwrap(), 2);
}
