//! Who is told, and when: notices go into the outbox of the journal, and from there, later and beside everything else, to the channels of
//! the settings. Nothing in here fails a run or holds one up: it warns.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rust_i18n::t;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::unwritten::{How, Unwritten};
use super::{App, SUPERVISE};
use crate::domain::notice::channel::{PING_FAIL, PING_START, PING_SUCCESS};
use crate::domain::notice::{Kind, Level, Notice, Place};
use crate::domain::text::{escape, without_rows};
use crate::error::{Exit, Explain, Failure};
use crate::journal::outbox::{Count, LONGEST_PAUSE, Letter, PATIENCE};
use crate::journal::{self, FILE, MemoryOutbox, Outbox, SqliteJournal};
use crate::notify::{self, Again, Error, Notifier, Trust};
use crate::process;
use crate::settings::mask::Mask;
use crate::settings::notify::{Channel, MailTls, Target};

/// How long the supervisor may send at a time, and a command at its end.
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
    memory: Arc<MemoryOutbox>,
    open: Mutex<Option<Open>>,
    unwritten: Unwritten,
    /// Since when a channel takes nothing, how often it was tried where that cannot be written down, and when it is tried again then.
    failing: Mutex<BTreeMap<String, Failing>>,
    /// What is sent as a run begins.
    starting: Mutex<Option<JoinHandle<Delivered>>>,
    cleaned: Mutex<Option<DateTime<Utc>>>,
}

struct Failing {
    since: DateTime<Utc>,
    tries: u32,
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

/// A test of a channel.
pub struct Tried {
    /// Which.
    pub channel: Channel,
    /// How it went.
    pub result: Result<(), Failure>,
}

impl App {
    /// A notice of this installation, of now, to be filled with lines. `title` is in the operator's language.
    #[must_use]
    pub fn notice_of(&self, level: Level, event: &str, title: &str) -> Notice {
        let (s, now) = (&self.settings, self.clock.now());
        let place = Place {
            installation: self.known_installation().unwrap_or_else(|| s.database.name.clone()),
            database: s.database.name.clone(),
            host: process::lock::host_name(),
            at: now,
            local_time: now.with_timezone(&s.zone).format("%Y-%m-%d %H:%M %Z").to_string(),
        };
        Notice::new(level, event, place, title)
    }

    /// Puts `notice` into the outbox, for each channel that wants to hear of it. Secrets in it are hidden.
    pub fn notice(&self, notice: Notice) {
        let Some((notice, channels)) = self.letters(notice) else { return };
        // It was told while the disk took nothing.
        if self.post.memory.has(&notice) {
            return;
        }
        let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
        let now = self.clock.now();
        let put = self.outbox().map(|outbox| outbox.put(&notice, &channels, now));
        // A disk that is full is what people must hear of: this process remembers it then.
        match put {
            Some(Ok(_)) => return,
            Some(Err(error)) => self.warn(error.to_string()),
            None => {}
        }
        if let Err(error) = self.post.memory.put(&notice, &channels, now) {
            self.warn(error.to_string());
        }
    }

    /// `notice` with its secrets hidden, and the channels that want to hear of it; `None`: nobody does.
    pub(super) fn letters(&self, notice: Notice) -> Option<(Notice, Vec<String>)> {
        let n = &self.settings.notify;
        let wants = |channel: &&Channel| {
            channel.kind.wants(channel.level, &notice) && (notice.level != Level::Digest || n.weekly)
        };
        let channels: Vec<String> = n.channels.iter().filter(wants).map(|channel| channel.id.clone()).collect();
        let mask = self.mask();
        (!channels.is_empty()).then(|| (notice.map(|text| mask.apply(without_rows(text))), channels))
    }

    /// Tells dead man's switches that a backup begins; it is sent at once, beside the run.
    pub fn ping_start(&self, run: &str) {
        if !self.settings.notify.channels.iter().any(|channel| channel.kind == Kind::Ping) {
            return;
        }
        self.notice(self.notice_of(Level::Success, PING_START, &t!("tell.ping.start")).of_run(run));
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

    /// Tells dead man's switches that the backup is good. `log` are its last lines.
    pub fn ping_success<'a>(&self, run: &str, log: impl IntoIterator<Item = &'a str>) {
        self.notice(self.notice_of(Level::Success, PING_SUCCESS, &t!("tell.ping.success")).of_run(run).text(log));
    }

    /// Tells dead man's switches that there is no backup. `log` are its last lines.
    pub fn ping_fail<'a>(&self, run: &str, log: impl IntoIterator<Item = &'a str>) {
        self.notice(self.notice_of(Level::Failure, PING_FAIL, &t!("tell.ping.fail")).of_run(run).text(log));
    }

    /// Sends what is due, all channels side by side, for at most `limit`; what is left stays in the outbox. For the supervisor in a task of
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
        let until = Instant::now() + limit;
        let each = channels.iter().map(|channel| self.deliver_to(channel, &outboxes, until, cancel));
        let all = futures_util::future::join_all(each).await;
        all.into_iter().fold(Delivered::default(), |sum, one| Delivered {
            sent: sum.sent + one.sent,
            failed: sum.failed + one.failed,
        })
    }

    async fn deliver_to(
        &self,
        channel: &Channel,
        outboxes: &[Arc<dyn Outbox>],
        until: Instant,
        cancel: &CancellationToken,
    ) -> Delivered {
        let mut done = Delivered::default();
        for outbox in outboxes {
            while !cancel.is_cancelled() && Instant::now() < until {
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
                // Where nothing can be written down the next letter would be this one.
                let failed = sent.is_err() | !self.settle(outbox.as_ref(), channel, &letter, sent);
                match failed {
                    true => {
                        done.failed += 1;
                        break;
                    }
                    false => done.sent += 1,
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
        until: Instant,
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
            if cancel.is_cancelled() || Instant::now() >= until {
                return;
            }
            if !self.post.unwritten.take(&letter) {
                continue;
            }
            let error = match self.send(channel, &letter, until, cancel).await {
                Ok(()) => {
                    self.post.unwritten.keep(&letter, How::Sent);
                    self.post.failing().remove(&channel.id);
                    done.sent += 1;
                    continue;
                }
                Err(error) => error,
            };
            done.failed += 1;
            let why = self.mask().apply(&error.to_string());
            let Again::Later(after) = error.again() else {
                let title = &letter.notice.title;
                self.warn(t!("tell.given_up", channel = channel.kind, title = title, cause = why));
                self.post.unwritten.keep(&letter, How::GivenUp(why));
                continue;
            };
            self.post.unwritten.forget(&letter);
            let tries = self.post.fails(&channel.id, now);
            if tries == 0 {
                self.warn(t!("tell.failed", channel = channel.kind, cause = why));
            }
            if let Some(failing) = self.post.failing().get_mut(&channel.id) {
                failing.next = now + pause(tries, after);
            }
            return;
        }
    }

    async fn send(
        &self,
        channel: &Channel,
        letter: &Letter,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        if letter.notice.event == PING_START && now - letter.put_at > START_IS_OLD {
            return Ok(());
        }
        let began = Instant::now();
        let last_words = async {
            cancel.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        let notifier = self.notifier(channel);
        tokio::select! {
            sent = notifier.send(&letter.notice, now) => sent,
            () = sleep_until(until) => Err(silent(channel, began)),
            () = last_words => Err(silent(channel, began)),
        }
    }

    /// Writes down how it went; whether that could be. What fails for the first time, or for good, is said.
    fn settle(&self, outbox: &dyn Outbox, channel: &Channel, letter: &Letter, sent: Result<(), Error>) -> bool {
        let now = self.clock.now();
        let is_sent = sent.is_ok();
        let written = match sent {
            Ok(()) => {
                self.post.failing().remove(&channel.id);
                outbox.sent(letter, now)
            }
            Err(error) => {
                let why = self.mask().apply(&error.to_string());
                let failing_since = self.post.failing().get(&channel.id).map(|failing| failing.since);
                self.post.fails(&channel.id, now);
                // A machine that was off for a day has tried nothing yet.
                let was_tried = failing_since.is_some_and(|since| (now - since).abs() >= LEAST);
                let is_over = now - letter.put_at >= PATIENCE && (was_tried || letter.tries >= LEAST_TRIES);
                match error.again() {
                    Again::Later(after) if !is_over => {
                        let next = now + pause(letter.tries, after);
                        if letter.tries == 0 {
                            self.warn(t!("tell.failed", channel = channel.kind, cause = why));
                        }
                        outbox.failed(letter, &why, next)
                    }
                    _ => {
                        let title = &letter.notice.title;
                        self.warn(t!("tell.given_up", channel = channel.kind, title = title, cause = why));
                        outbox.give_up(letter, &why, now)
                    }
                }
            }
        };
        let is_written = written.is_ok();
        if let Err(error) = written {
            self.warn(error.to_string());
        }
        match is_sent && !is_written {
            true => self.post.unwritten.keep(letter, How::Sent),
            false => self.post.unwritten.forget(letter),
        }
        is_written
    }

    /// Sends a test notice to each channel, or to those of one kind, directly.
    pub async fn try_channels(&self, only: Option<Kind>) -> Vec<Tried> {
        let chosen = |channel: &&Channel| only.is_none_or(|kind| kind == channel.kind);
        let mask = self.mask();
        let each = self.settings.notify.channels.iter().filter(chosen).map(|channel| async {
            let event = if channel.kind == Kind::Ping { PING_SUCCESS } else { "test" };
            let notice = self.notice_of(Level::Success, event, &t!("tell.test.title"));
            let notice = notice.line(&t!("tell.test.level"), channel.level.as_str()).text([&*t!("tell.test.text")]);
            let notice = notice.map(|text| mask.apply(text));
            let sent = self.notifier(channel).send(&notice, self.clock.now()).await;
            let failure = |error: Error| Failure {
                message: mask.apply(&error.to_string()),
                hint: error.hint(),
                exit: Exit::Failed,
            };
            Tried { channel: channel.clone(), result: sent.map_err(failure) }
        });
        futures_util::future::join_all(each).await
    }

    /// Whether each channel can be reached, in the order of the settings; nobody is told anything.
    pub async fn reach_channels(&self) -> Vec<Result<(), Failure>> {
        let mask = self.mask();
        let each = self.settings.notify.channels.iter().map(|channel| async {
            let reached = self.notifier(channel).reach().await;
            reached.map_err(|error| Failure {
                message: mask.apply(&error.to_string()),
                hint: error.hint(),
                exit: Exit::Failed,
            })
        });
        futures_util::future::join_all(each).await
    }

    /// What each channel has in the outbox.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn post_counts(&self) -> Result<Vec<Count>, Failure> {
        Ok(self.outbox().map_or_else(|| self.post.memory.counts(), |outbox| outbox.counts())?)
    }

    fn mask(&self) -> Mask {
        Mask::new(&self.settings.secrets())
    }

    fn notifier(&self, channel: &Channel) -> Box<dyn Notifier> {
        let trust = Trust { ca_file: self.settings.notify.ca_file.clone() };
        match &channel.target {
            Target::Mail(mail) => {
                let tls = match mail.tls {
                    MailTls::StartTls => notify::MailTls::StartTls,
                    MailTls::Tls => notify::MailTls::Tls,
                    MailTls::None => notify::MailTls::None,
                };
                let login = mail.login.as_ref().map(|(user, password)| (user.clone(), password.expose().to_owned()));
                let (host, port, from, to) = (mail.host.clone(), mail.port, mail.from.clone(), mail.to.clone());
                Box::new(notify::Mail::new(notify::MailConfig { host, port, tls, login, from, to }, trust))
            }
            Target::Hook(hook) => {
                let config = notify::HookConfig {
                    kind: channel.kind,
                    url: hook.url.expose().to_owned(),
                    login: hook.login.as_ref().map(|(user, password)| (user.clone(), password.expose().to_owned())),
                    token: hook.token.as_ref().map(|token| token.expose().to_owned()),
                    to: hook.to.clone(),
                    template: hook.template.clone(),
                };
                Box::new(notify::Hook::new(config, trust))
            }
        }
    }

    fn outbox(&self) -> Option<Arc<dyn Outbox>> {
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
        let known = open.take().filter(|open| file() == Some(open.file));
        if let Some(known) = known.as_ref().filter(|known| known.since.elapsed() < LOOK_AGAIN) {
            let journal = Arc::clone(&known.journal);
            *open = Some(Open { journal: Arc::clone(&journal), ..*known });
            return Ok(journal);
        }
        let opened = match (SqliteJournal::open(dir, self.clock.now()), known) {
            (Ok(opened), _) => opened,
            // A disk that is full has no room for what opening wants; whoever is in needs none, as long as that is still the journal.
            (Err(error), Some(known)) if error.takes_nothing() && file() == Some(known.file) => {
                tracing::debug!(%error, "journal");
                let journal = Arc::clone(&known.journal);
                *open = Some(Open { since: Instant::now(), ..known });
                return Ok(journal);
            }
            (Err(error), _) => return Err(error),
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
    fn failing(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel took nothing once more; how often it did not before.
    fn fails(&self, channel: &str, now: DateTime<Utc>) -> u32 {
        let mut failing = self.failing();
        let failing = failing.entry(channel.to_owned()).or_insert(Failing { since: now, tries: 0, next: now });
        failing.tries += 1;
        failing.tries - 1
    }
}

fn silent(channel: &Channel, began: Instant) -> Error {
    Error::Silent { host: channel.shown.clone(), seconds: began.elapsed().as_secs() }
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
