//! Who is told what: notices go into the outbox of the journal, for each channel of the settings that wants to hear of them; how they
//! leave is the business of [`super::post`].

use rust_i18n::t;

use super::{App, SUPERVISE};
use crate::domain::notice::channel::{PING_FAIL, PING_START, PING_SUCCESS};
use crate::domain::notice::{Kind, Level, Notice, Place};
use crate::domain::text::without_rows;
use crate::error::{Exit, Explain, Failure};
use crate::journal::Outbox;
use crate::notify::{self, Error, Notifier, Trust};
use crate::process;
use crate::settings::mask::Mask;
use crate::settings::notify::{Channel, MailTls, Target};

/// The most that is told of an error of a channel (characters).
const SAID: usize = 400;

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
        // A command forgets it, and would tell of the week each time.
        if notice.level == Level::Digest && self.work != SUPERVISE {
            return;
        }
        if let Err(error) = self.post.memory.put(&notice, &channels, now) {
            self.warn(error.to_string());
        }
    }

    /// `notice` with its secrets hidden, and the channels that want to hear of it; `None`: nobody does.
    pub(super) fn letters(&self, notice: Notice) -> Option<(Notice, Vec<String>)> {
        let n = &self.settings.notify;
        let is_due = |channel: &Channel| notice.level != Level::Digest || n.has_digest(channel);
        let wants = |channel: &&Channel| channel.kind.wants(channel.level, &notice) && is_due(channel);
        let channels: Vec<String> = n.channels.iter().filter(wants).map(|channel| channel.id.clone()).collect();
        let mask = self.mask();
        (!channels.is_empty()).then(|| (notice.to_tell(|text| mask.apply(&without_rows(text))), channels))
    }

    /// Tells dead man's switches that a backup begins; it is sent at once, beside the run.
    pub fn ping_start(&self, run: &str) {
        if !self.settings.notify.channels.iter().any(|channel| channel.kind == Kind::Ping) {
            return;
        }
        self.notice(self.notice_of(Level::Success, PING_START, &t!("tell.ping.start")).of_run(run));
        self.deliver_beside();
    }

    /// Tells dead man's switches that the backup is good. `log` are its last lines.
    pub fn ping_success<'a>(&self, run: &str, log: impl IntoIterator<Item = &'a str>) {
        self.notice(self.notice_of(Level::Success, PING_SUCCESS, &t!("tell.ping.success")).of_run(run).text(log));
    }

    /// Tells dead man's switches that there is no backup. `log` are its last lines.
    pub fn ping_fail<'a>(&self, run: &str, log: impl IntoIterator<Item = &'a str>) {
        self.notice(self.notice_of(Level::Failure, PING_FAIL, &t!("tell.ping.fail")).of_run(run).text(log));
    }

    /// Sends a test notice to each channel, or to those of one kind, directly.
    pub async fn try_channels(&self, only: Option<Kind>) -> Vec<Tried> {
        let chosen = |channel: &&Channel| only.is_none_or(|kind| kind == channel.kind);
        let mask = self.mask();
        let each = self.settings.notify.channels.iter().filter(chosen).map(|channel| async {
            let event = if channel.kind == Kind::Ping { PING_SUCCESS } else { "test" };
            let notice = self.notice_of(Level::Success, event, &t!("tell.test.title"));
            let notice = notice.line(&t!("tell.test.level"), channel.level.as_str()).text([&*t!("tell.test.text")]);
            let notice = notice.to_tell(|text| mask.apply(text));
            let sent = self.notifier(channel).send(&notice, self.clock.now()).await;
            Tried { channel: channel.clone(), result: sent.map_err(|error| failure(&mask, &error)) }
        });
        futures_util::future::join_all(each).await
    }

    /// Whether each channel can be reached, in the order of the settings; nobody is told anything.
    pub async fn reach_channels(&self) -> Vec<Result<(), Failure>> {
        let mask = self.mask();
        let each = self.settings.notify.channels.iter().map(|channel| async {
            let reached = self.notifier(channel).reach().await;
            reached.map_err(|error| failure(&mask, &error))
        });
        futures_util::future::join_all(each).await
    }

    pub(super) fn mask(&self) -> Mask {
        Mask::new(&self.settings.secrets())
    }

    pub(super) fn notifier(&self, channel: &Channel) -> Box<dyn Notifier> {
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
}

/// Why a channel was not reached, for whoever asked.
fn failure(mask: &Mask, error: &Error) -> Failure {
    Failure { message: masked(mask, error), hint: error.hint(), exit: Exit::Failed }
}

/// What the other side says may be long, and may repeat what it was sent.
pub(super) fn masked(mask: &Mask, error: &Error) -> String {
    mask.apply(&error.to_string()).chars().take(SAID).collect()
}
