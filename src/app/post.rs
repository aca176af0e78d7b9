//! The way of a letter: from the outbox of the journal, or from memory where the disk takes nothing, to its channel. Later and beside
//! everything else; nothing in here fails a run or holds one up: it warns.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rust_i18n::t;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::tell::masked;
use super::unwritten::{How, Unwritten};
use super::{App, SUPERVISE};
use crate::domain::notice::channel::PING_START;
use crate::domain::text::escape;
use crate::error::Failure;
use crate::journal::outbox::{Count, LONGEST_PAUSE, Letter, PATIENCE};
use crate::journal::{self, FILE, MemoryOutbox, Outbox, SqliteJournal};
use crate::notify::{Again, Error};
use crate::process;
use crate::settings::notify::Channel;

/// How long the supervisor begins to send at a time.
pub const TICK_LIMIT: Duration = Duration::from_secs(60);
/// And a command that a person waits for, at its end.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// What is being sent when the process is told to end has so long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The first pause after a message failed, and the longest.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(30);
const PAUSE: TimeDelta = TimeDelta::minutes(30);

/// So often a letter is tried at least, whatever its age, or its channel for so long.
const LEAST_TRIES: u32 = 5;
const LEAST: TimeDelta = TimeDelta::minutes(15);

/// A ping that says that a run begins is no news after that.
const START_IS_OLD: TimeDelta = TimeDelta::minutes(10);

/// How long a journal that was found sound is taken for so.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// How often letters that nobody needs any more are looked for.
const CLEAN_EVERY: TimeDelta = TimeDelta::hours(1);

/// What is still to be told: the outbox of the journal, opened once it is needed, and one in memory for when the disk takes nothing.
#[derive(Default)]
pub struct Post {
    pub(super) memory: Arc<MemoryOutbox>,
    open: Mutex<Option<Open>>,
    unwritten: Unwritten,
    failing: Mutex<BTreeMap<String, Failing>>,
    /// What is sent as a run begins.
    starting: Mutex<Option<JoinHandle<Delivered>>>,
    cleaned: Mutex<Option<DateTime<Utc>>>,
    failure: Mutex<Option<LastFailure>>,
}

/// A backup of this process that failed, for whoever tells of it.
#[derive(Debug, Clone)]
pub(super) struct LastFailure {
    /// The run.
    pub run: String,
    /// What went wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Its last lines.
    pub log: Vec<String>,
}

impl LastFailure {
    /// Whether `text` tells of it.
    pub(super) fn is_of(&self, text: &str) -> bool {
        text.ends_with(&escape(&self.message))
    }
}

/// A channel that takes nothing, as this process knows it.
struct Failing {
    since: DateTime<Utc>,
    tries: u32,
    /// When it is tried again, where that cannot be written down.
    next: DateTime<Utc>,
}

struct Open {
    /// Device and number of the file: another one may have taken its place.
    file: (u64, u64),
    journal: Arc<SqliteJournal>,
    since: Instant,
}

/// How sending went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Messages that were sent.
    pub sent: u32,
    /// Messages that were not; they are tried again, or were given up, which is said.
    pub failed: u32,
}

/// How long sending may last.
#[derive(Clone, Copy)]
struct Until {
    /// So long after that what was begun is cut off.
    limit: Duration,
    /// No other letter is begun after that.
    first: Instant,
}

/// A letter that did not arrive.
struct Refused {
    /// Without secrets.
    why: String,
    /// When it is tried again; `None`: never.
    next: Option<DateTime<Utc>>,
}

impl App {
    /// Sends what is due, all channels side by side; after `limit` no other is begun, and what is left stays in the outbox. For the supervisor in a task of
    /// its own, and for a command at its end.
    pub async fn deliver(&self, cancel: &CancellationToken, limit: Duration) -> Delivered {
        let channels = &self.settings.notify.channels;
        if channels.is_empty() {
            return Delivered::default();
        }
        let mut outboxes: Vec<Arc<dyn Outbox>> = vec![Arc::clone(&self.post.memory) as Arc<dyn Outbox>];
        outboxes.extend(self.outbox());
        // The one in memory remembers by itself.
        for outbox in outboxes.iter().skip(1) {
            self.post.unwritten.write(outbox.as_ref(), self.clock.now());
        }
        self.clean(&outboxes);
        let until = Until { limit, first: Instant::now() + limit };
        let each = channels.iter().map(|channel| self.deliver_to(channel, &outboxes, until, cancel));
        let all = futures_util::future::join_all(each).await;
        all.into_iter().fold(Delivered::default(), |sum, one| Delivered {
            sent: sum.sent + one.sent,
            failed: sum.failed + one.failed,
        })
    }

    /// As [`App::deliver`], beside whoever goes on; [`App::has_started`] waits for it.
    pub(super) fn deliver_beside(&self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let app = self.clone();
            let task = runtime.spawn(async move { app.deliver(&app.cancel, COMMAND_LIMIT).await });
            *self.post.starting.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        }
    }

    /// Waits until what was sent beside the run is: it has the letter, and nobody else gets it meanwhile.
    pub(super) async fn has_started(&self) {
        let task = self.post.starting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // That it panicked would be its own news.
            let _ = task.await;
        }
    }

    async fn deliver_to(
        &self,
        channel: &Channel,
        outboxes: &[Arc<dyn Outbox>],
        until: Until,
        cancel: &CancellationToken,
    ) -> Delivered {
        let mut done = Delivered::default();
        for outbox in outboxes {
            while !cancel.is_cancelled() && Instant::now() < until.first {
                let letter = match outbox.due(&channel.id, process::random(), self.clock.now()) {
                    Ok(Some(letter)) => letter,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "outbox");
                        // Where another process has it for a moment, that one may be sending.
                        if error.takes_nothing() {
                            self.deliver_unwritten(channel, outbox.as_ref(), until, cancel, &mut done).await;
                        }
                        break;
                    }
                };
                let sent = match self.post.unwritten.of(&letter) {
                    None => self.send(channel, &letter, until, cancel).await,
                    Some(How::Sent) => Ok(()),
                    // It is on its way, or was refused for good: the next turn writes that down.
                    Some(How::Leaving | How::GivenUp(_)) => break,
                };
                let is_sent = sent.is_ok();
                // Where nothing can be written down the next letter would be this one.
                if self.settle(outbox.as_ref(), &letter, sent) && is_sent {
                    done.sent += 1;
                } else {
                    done.failed += 1;
                    break;
                }
            }
        }
        done
    }

    /// Where not even can be written down who has a letter, the supervisor remembers what it sent; a command would forget.
    async fn deliver_unwritten(
        &self,
        channel: &Channel,
        outbox: &dyn Outbox,
        until: Until,
        cancel: &CancellationToken,
        done: &mut Delivered,
    ) {
        if self.work != SUPERVISE {
            return;
        }
        let now = self.clock.now();
        let waits = |failing: &Failing| now < failing.next && failing.next <= now + LONGEST_PAUSE;
        if self.post.failing().get(&channel.id).is_some_and(waits) {
            return;
        }
        for letter in outbox.waiting(&channel.id, now).unwrap_or_default() {
            if cancel.is_cancelled() || Instant::now() >= until.first {
                return;
            }
            let Some(held) = self.post.unwritten.take(&letter) else { continue };
            match self.send(channel, &letter, until, cancel).await {
                Ok(()) => {
                    held.keep(How::Sent);
                    done.sent += 1;
                }
                Err(Refused { why, next }) => {
                    done.failed += 1;
                    if next.is_some() {
                        return;
                    }
                    held.keep(How::GivenUp(why));
                }
            }
        }
    }

    async fn send(
        &self,
        channel: &Channel,
        letter: &Letter,
        until: Until,
        cancel: &CancellationToken,
    ) -> Result<(), Refused> {
        let now = self.clock.now();
        if letter.notice.event == PING_START && now - letter.put_at > START_IS_OLD {
            return Ok(());
        }
        let last_words = async {
            cancel.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        let notifier = self.notifier(channel);
        // What is cut off may have arrived, and comes twice: each has as long as is left, and once more as long as all have.
        let sent = tokio::select! {
            sent = notifier.send(&letter.notice, now) => sent,
            () = sleep_until(until.first + until.limit) => Err(Error::Silent { host: channel.shown.clone(), seconds: until.limit.as_secs() }),
            () = last_words => Err(Error::Silent { host: channel.shown.clone(), seconds: LAST_WORDS.as_secs() }),
        };
        match sent {
            Ok(()) => {
                self.post.failing().remove(&channel.id);
                Ok(())
            }
            Err(error) => Err(self.refused(channel, letter, &error)),
        }
    }

    /// What becomes of a letter that did not arrive. What fails for the first time, or for good, is said.
    fn refused(&self, channel: &Channel, letter: &Letter, error: &Error) -> Refused {
        let now = self.clock.now();
        let why = masked(&self.mask(), error);
        let (tries, next) = self.post.fails(channel, letter, error, now);
        if next.is_none() {
            let title = &letter.notice.title;
            self.warn(t!("tell.given_up", channel = channel.kind, title = title, cause = why));
        } else if tries == 0 {
            self.warn(t!("tell.failed", channel = channel.kind, cause = why));
        }
        Refused { why, next }
    }

    /// Writes down how it went; whether that could be.
    fn settle(&self, outbox: &dyn Outbox, letter: &Letter, sent: Result<(), Refused>) -> bool {
        let now = self.clock.now();
        let (written, how) = match sent {
            Ok(()) => (outbox.sent(letter, now), Some(How::Sent)),
            Err(Refused { why, next: Some(next) }) => (outbox.failed(letter, &why, next), None),
            Err(Refused { why, next: None }) => (outbox.give_up(letter, &why, now), Some(How::GivenUp(why))),
        };
        let is_written = written.is_ok();
        if let Err(error) = written {
            self.warn(error.to_string());
        }
        match how.filter(|_| !is_written) {
            Some(how) => self.post.unwritten.keep(letter, how),
            None => self.post.unwritten.forget(letter),
        }
        is_written
    }

    /// What each channel has in the outbox.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn post_counts(&self) -> Result<Vec<Count>, Failure> {
        Ok(self.outbox().map_or_else(|| self.post.memory.counts(), |outbox| outbox.counts())?)
    }

    pub(super) fn outbox(&self) -> Option<Arc<dyn Outbox>> {
        match self.books() {
            Ok(journal) => Some(journal),
            // Whoever writes runs into it says so.
            Err(error) => {
                tracing::debug!(%error, "outbox");
                None
            }
        }
    }

    /// The journal, kept open for a while: it is looked into every few seconds, and each opening reads all of it.
    pub(super) fn books(&self) -> Result<Arc<SqliteJournal>, journal::Error> {
        let mut open = self.post.open.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = &self.settings.backup_dir;
        let file = || std::fs::metadata(dir.join(FILE)).map(|meta| (meta.dev(), meta.ino())).ok();
        if open.as_ref().is_some_and(|known| file() != Some(known.file)) {
            *open = None;
        }
        if let Some(known) = open.as_ref().filter(|known| known.since.elapsed() < LOOK_AGAIN) {
            return Ok(Arc::clone(&known.journal));
        }
        let opened = match SqliteJournal::open(dir, self.clock.now()) {
            Ok(opened) => opened,
            Err(error) => {
                // A disk that is full has no room for what opening wants; whoever is in needs none, as long as that is still the journal.
                let known = open.as_mut().filter(|known| error.takes_nothing() && file() == Some(known.file));
                let Some(known) = known else { return Err(error) };
                tracing::debug!(%error, "journal");
                known.since = Instant::now();
                return Ok(Arc::clone(&known.journal));
            }
        };
        if let Some(path) = &opened.set_aside {
            self.warn(t!("app.journal_set_aside", path = escape(&path.display().to_string())));
        }
        let journal = Arc::new(opened.journal);
        *open = file().map(|file| Open { file, journal: Arc::clone(&journal), since: Instant::now() });
        Ok(journal)
    }

    fn clean(&self, outboxes: &[Arc<dyn Outbox>]) {
        let now = self.clock.now();
        let mut cleaned = self.post.cleaned.lock().unwrap_or_else(PoisonError::into_inner);
        if cleaned.is_some_and(|at| (now - at).abs() < CLEAN_EVERY) {
            return;
        }
        *cleaned = Some(now);
        let ids: Vec<&str> = self.settings.notify.channels.iter().map(|channel| channel.id.as_str()).collect();
        for outbox in outboxes {
            match outbox.clean(&ids, now) {
                Ok(0) => {}
                Ok(count) => self.warn(t!("tell.gone", count = count)),
                Err(error) => tracing::debug!(%error, "outbox"),
            }
        }
    }
}

impl Post {
    /// What is known of the last backup that failed.
    pub(super) fn last_failure(&self) -> Option<LastFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers it.
    pub(super) fn keep_failure(&self, failure: LastFailure) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `channel` took nothing once more: how often it did not before, and when `letter` is tried again; `None`: never.
    fn fails(
        &self,
        channel: &Channel,
        letter: &Letter,
        error: &Error,
        now: DateTime<Utc>,
    ) -> (u32, Option<DateTime<Utc>>) {
        let mut known = self.failing();
        let Again::Later(after) = error.again() else {
            // It answers: what comes next may be another matter.
            known.remove(&channel.id);
            return (letter.tries, None);
        };
        let failing = known.entry(channel.id.clone()).or_insert(Failing { since: now, tries: 0, next: now });
        // Where nothing can be written down the letter knows of no try.
        let tries = letter.tries.max(failing.tries);
        failing.tries += 1;
        // A machine that was off for a day has tried nothing yet.
        let was_tried = tries >= LEAST_TRIES || (now - failing.since).abs() >= LEAST;
        let is_over = was_tried && now - letter.put_at >= PATIENCE;
        let next = (!is_over).then(|| now + pause(tries, after));
        failing.next = next.unwrap_or(now);
        (tries, next)
    }
}

/// Twice as long each time, a fifth more or less by chance so that many do not come back at once; what the other side asks for holds.
fn pause(tries: u32, after: Option<Duration>) -> TimeDelta {
    let full = FIRST_PAUSE.checked_mul(1 << tries.min(10)).unwrap_or(PAUSE).min(PAUSE);
    let percent = i32::try_from(process::random() % 41).unwrap_or(0) + 80;
    let asked = after.and_then(|after| TimeDelta::from_std(after).ok()).unwrap_or_default();
    (full * percent / 100).max(asked).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_half_a_minute_to_half_an_hour() {
        for (tries, full) in [(0, 30), (1, 60), (3, 240), (6, 1800), (40, 1800)] {
            let seconds: Vec<_> = (0..100).map(|_| pause(tries, None).num_seconds()).collect();
            assert!(seconds.iter().all(|s| (full * 8 / 10..=full * 12 / 10).contains(s)), "{tries}: {seconds:?}");
            assert!(seconds.iter().any(|s| *s != seconds[0]), "{tries}: no chance in it");
        }
        assert_eq!(pause(0, Some(Duration::from_secs(300))), TimeDelta::seconds(300));
        assert_eq!(pause(0, Some(Duration::from_secs(90_000))), LONGEST_PAUSE);
    }
}
