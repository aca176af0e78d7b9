//! Looking whether somebody is needed, and telling them.

use chrono::TimeDelta;
use rust_i18n::t;

use super::{App, Place, SUPERVISE, refused_supervisor};
use crate::domain::alert::{Alert, Change, Found, Kind};
use crate::domain::notice::{Level, Notice};
use crate::error::Failure;
use crate::journal::{Journal, Look, RunKind};
use crate::operations::Context;
use crate::operations::watch::{self, Expected};
use crate::supervisor::health::STUCK;
use crate::supervisor::state::{self, Job, Refused};

/// A sync that takes longer is no reason to wait with an alert.
const LONGEST_SYNC: TimeDelta = TimeDelta::hours(6);

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
        let (alerts, changes) = self.look_around().await?;
        for change in &changes {
            self.say(change);
        }
        Ok(alerts)
    }

    /// As [`App::watch`], for who shows all that is wrong anyway: says only what is over.
    ///
    /// # Errors
    /// As [`App::watch`].
    pub async fn check(&self) -> Result<Vec<Alert>, Failure> {
        let (alerts, changes) = self.look_around().await?;
        for change in changes.iter().filter(|change| matches!(change, Change::Over(_))) {
            self.say(change);
        }
        Ok(alerts)
    }

    async fn look_around(&self) -> Result<(Vec<Alert>, Vec<Change>), Failure> {
        let context = self.context_to_look().await?;
        let dir = &self.settings.backup_dir;
        let (alive, state) = state::look(dir).map_err(|error| refused_supervisor(dir, &Refused::Io(error)))?;
        let working = |job| state.as_ref().filter(|_| alive).and_then(|state| state.life.jobs.get(&job)?.running_since);
        // First, since it may hold what is not known otherwise.
        if context.journal.keeps_letters() {
            self.spare.hand_over(&*context.journal);
        }
        let expected = Expected {
            backing_up: working(Job::Backup).is_some(),
            schedule: &self.settings.schedule,
            zone: self.settings.zone,
            since: state.as_ref().map(|state| state.lasting.installed_at),
            floor: self.settings.disk_floor,
            jump: state.as_ref().and_then(|state| state.lasting.jump),
            at_work: self.holder().is_some(),
            unwritten: self.spare.last_end(RunKind::Backup),
            syncing: working(Job::Sync).is_some_and(|since| (self.clock.now() - since).abs() < LONGEST_SYNC),
            // A container that is made anew is away for a moment.
            stopped: !alive && state.as_ref().is_some_and(|state| self.clock.now() - state.life.beat_at > STUCK),
        };
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
            Change::Begun(alert) => self.say_alert(alert, &t!("alert.begun", text = alert.text)),
            Change::Still(alert, since) => {
                let since = since.with_timezone(&self.settings.zone).format("%Y-%m-%d %H:%M");
                self.say_alert(alert, &t!("alert.still", text = alert.text, since = since));
            }
            Change::Over(firing) => self.note(t!("alert.over", text = firing.text)),
        }
    }

    fn say_alert(&self, alert: &Alert, said: &str) {
        self.warn(said);
        self.note(t!("common.hint", text = alert.hint));
    }

    fn notice_of_change(&self, change: &Change) -> Notice {
        let notice = |kind: Kind, title: &str| {
            let level = if kind.is_failure() { Level::Failure } else { Level::Warning };
            self.notice_of(level, &format!("alert:{}", kind.as_str()), title)
        };
        let with_hint =
            |alert: &Alert, title: &str| notice(alert.kind, title).line(&t!("alert.label.hint"), &alert.hint);
        match change {
            Change::Begun(alert) => with_hint(alert, &alert.text),
            Change::Still(alert, since) => {
                let since = since.with_timezone(&self.settings.zone).format("%Y-%m-%d %H:%M").to_string();
                with_hint(alert, &alert.text).line(&t!("alert.label.since"), &since)
            }
            Change::Over(firing) => notice(firing.kind, &t!("alert.over", text = firing.text)).recovered(),
        }
    }
}
