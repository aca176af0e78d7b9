//! Looking whether somebody is needed, and telling them.

use chrono::{DateTime, TimeDelta, Utc};
use rust_i18n::t;

use super::{App, Place, SUPERVISE, refused_supervisor};
use crate::domain::alert::{Alert, Change, Firing, Found, Kind, reconcile};
use crate::domain::notice::{Level, Notice};
use crate::error::Failure;
use crate::journal::{Journal, Look, RunKind};
use crate::operations::Context;
use crate::operations::watch::{self, Expected};
use crate::supervisor::health::{LONGEST_BACKUP, STUCK};
use crate::supervisor::state::{self, Job, Refused};

/// A sync that takes longer is no reason to wait with an alert.
const LONGEST_SYNC: TimeDelta = TimeDelta::hours(6);

/// What `check --changes` has shown, in `.amarre`.
const SHOWN: &str = "check.shown";

impl App {
    /// What an operation needs that only looks. That happens often, also while the engine is slow: the installation's name of last time will do.
    ///
    /// # Errors
    /// As [`App::context`].
    pub(super) async fn context_to_look(&self) -> Result<Context, Failure> {
        match self.known_installation() {
            Some(installation) => self.context_of(installation, Place::default()),
            None => self.context().await,
        }
    }

    /// Looks around; what has changed since the last time is said. Returns all that is wrong now.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn watch(&self) -> Result<Vec<Alert>, Failure> {
        let looked = self.look_around().await;
        if let Err(failure) = &looked
            && !self.cancel.is_cancelled()
        {
            self.tell_unreadable(failure);
        }
        let (alerts, changes) = looked?;
        for change in &changes {
            self.say(change);
        }
        Ok(alerts)
    }

    /// Nothing can be looked at, nor written down: the supervisor says so from memory. A command forgets what it told, and would tell it
    /// each time; it ends with an error.
    fn tell_unreadable(&self, failure: &Failure) {
        if self.work != SUPERVISE {
            return;
        }
        if self.spare.ahead().is_none()
            && let Ok(firing) = self.books().and_then(|journal| journal.firing())
        {
            self.spare.follow(firing);
        }
        let found = Look::silent(Found::unreadable(&self.without_secrets(&failure.message)), self.clock.now());
        for change in self.spare.watch(found).unwrap_or_default() {
            self.say(&change);
            self.notice(self.notice_of_change(&change));
        }
    }

    /// What of `alerts` was not shown by this yet, not for a day, or is over: for a crontab that mails, whoever else was told of it.
    #[must_use]
    pub fn unshown(&self, alerts: &[Alert]) -> Vec<Change> {
        let path = self.settings.backup_dir.join(".amarre").join(SHOWN);
        let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Vec<Firing>>(&bytes).ok());
        let (shown, changes) = reconcile(alerts.to_vec().into(), &known.unwrap_or_default(), self.clock.now());
        let draft = path.with_extension("new");
        let kept = serde_json::to_vec(&shown).map_err(std::io::Error::from).and_then(|bytes| {
            std::fs::write(&draft, bytes)?;
            std::fs::rename(&draft, &path)
        });
        // It is shown once more then.
        if let Err(error) = kept {
            tracing::debug!(%error, "shown");
        }
        changes
    }

    /// As [`App::watch`], for who shows what is wrong: all of it, and what has changed.
    ///
    /// # Errors
    /// As [`App::watch`].
    pub async fn check(&self) -> Result<(Vec<Alert>, Vec<Change>), Failure> {
        let looked = self.look_around().await?;
        // A host without a supervisor has weeks too.
        self.digest();
        Ok(looked)
    }

    async fn look_around(&self) -> Result<(Vec<Alert>, Vec<Change>), Failure> {
        let context = self.context_to_look().await?;
        let dir = &self.settings.backup_dir;
        let (alive, state) = state::look(dir).map_err(|error| refused_supervisor(dir, &Refused::Io(error)))?;
        let now = self.clock.now();
        let works = |job, longest| {
            let since = state.as_ref().filter(|_| alive).and_then(|state| state.life.jobs.get(&job)?.running_since);
            since.is_some_and(|since| (now - since).abs() < longest)
        };
        // First, since it may hold what is not known otherwise.
        if context.journal.keeps_letters() {
            self.spare.hand_over(&*context.journal);
        }
        let expected = Expected {
            backing_up: works(Job::Backup, LONGEST_BACKUP),
            schedule: &self.settings.schedule,
            zone: self.settings.zone,
            since: state.as_ref().map(|state| state.lasting.installed_at),
            floor: self.settings.disk_floor,
            jump: state.as_ref().and_then(|state| state.lasting.jump),
            at_work: self.holder().is_some(),
            unwritten: self.spare.last_end(RunKind::Backup),
            syncing: works(Job::Sync, LONGEST_SYNC),
            lane: self.settings.lane_dir.is_dir(),
            // A container that is made anew is away for a moment.
            stopped: !alive && state.as_ref().is_some_and(|state| now - state.life.beat_at > STUCK),
        };
        self.recall(&context).await;
        let found = watch::look(&context, &expected).await?;
        let (mut alerts, unknown) = (found.alerts.clone(), found.unknown.clone());
        let changes = self.take(&*context.journal, found, alive);
        // What was said before of what cannot be told now holds.
        alerts.retain(|alert| !unknown.contains(&alert.kind));
        let firing = self.spare.firing().unwrap_or_default();
        alerts.extend(firing.into_iter().filter(|one| unknown.contains(&one.kind)).map(Alert::again));
        Ok((alerts, changes))
    }

    /// What has changed, once whoever has a channel is sure to hear of it. A journal that takes nothing is gone without: this process
    /// remembers then what it told, and the journal is told when it takes something again.
    fn take(&self, journal: &dyn Journal, found: Found, supervised: bool) -> Vec<Change> {
        let now = self.clock.now();
        let letters = |change: &Change| self.letters(self.notice_of_change(change));
        let look = Look { found: found.clone(), now, before: self.spare.ahead(), letters: &letters };
        if journal.keeps_letters() {
            match journal.watch(look) {
                Ok(changes) => {
                    if let Ok(firing) = journal.firing() {
                        self.spare.follow(firing);
                    }
                    return changes;
                }
                Err(error) => self.warn(error.to_string()),
            }
            // What can be read was told, by whichever process.
            if self.spare.ahead().is_none()
                && let Ok(firing) = journal.firing()
            {
                self.spare.follow(firing);
            }
        }
        let changes = self.spare.watch(Look::silent(found, now)).unwrap_or_default();
        // A command forgets what it told: where a supervisor lives it does that.
        if self.work == SUPERVISE || !supervised {
            for change in &changes {
                self.notice(self.notice_of_change(change));
            }
        }
        changes
    }

    fn say(&self, change: &Change) {
        match change {
            Change::Begun(alert) | Change::Still(alert, _) => {
                self.warn(self.told(change));
                self.note(t!("common.hint", text = alert.hint));
            }
            Change::Over(_) => self.note(self.told(change)),
        }
    }

    /// A change in one line, in the operator's language.
    #[must_use]
    pub fn told(&self, change: &Change) -> String {
        match change {
            Change::Begun(alert) => t!("alert.begun", text = alert.text),
            Change::Still(alert, since) => t!("alert.still", text = alert.text, since = self.minute(*since)),
            Change::Over(firing) => t!("alert.over", text = firing.text),
        }
        .into_owned()
    }

    /// `at` in the operator's zone.
    fn minute(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.settings.zone).format("%Y-%m-%d %H:%M").to_string()
    }

    fn notice_of_change(&self, change: &Change) -> Notice {
        let notice = |kind: Kind, title: &str| {
            let level = if kind.is_failure() { Level::Failure } else { Level::Warning };
            self.notice_of(level, &format!("alert:{}", kind.as_str()), title)
        };
        let with_hint = |alert: &Alert| {
            // What fails knows best what to do, and what it said last.
            let failed =
                self.post.last_failure().filter(|last| alert.kind == Kind::RunFailed && last.is_of(&alert.text));
            let hint = failed.as_ref().and_then(|last| last.hint.as_deref()).unwrap_or(&alert.hint);
            let notice = notice(alert.kind, &alert.text).line(&t!("alert.label.hint"), hint);
            match &failed {
                Some(last) => notice.about_run(&last.run).text(last.log.iter().map(String::as_str)),
                None => notice,
            }
        };
        match change {
            Change::Begun(alert) => with_hint(alert),
            Change::Still(alert, since) => with_hint(alert).line(&t!("alert.label.since"), &self.minute(*since)),
            Change::Over(firing) => notice(firing.kind, &t!("alert.over", text = firing.text)).recovered(),
        }
    }
}
