//! What people are told of a run that went well, and of a week.

use chrono::{DateTime, Datelike as _, TimeDelta};
use rust_i18n::t;

use super::post::COMMAND_LIMIT;
use super::{App, record};
use crate::domain::notice::Level;
use crate::domain::text::bytes;
use crate::error::Exit;
use crate::journal::{Outcome, RunKind};
use crate::operations::backup::Made;

/// When a week is told of, hour of its Monday.
const MORNING: u32 = 8;

impl App {
    /// A backup is there. One that is degraded is something to look at; what else is not as usual are alerts.
    /// `log`: the last lines of the run.
    pub(super) fn tell_done(&self, run: &str, made: &Made, mut log: Vec<String>) {
        let m = &made.manifest;
        let is_partial = record::partial(made) == Exit::Partial;
        let (level, event, title) = match (is_partial, m.warnings.is_empty()) {
            (true, _) => (Level::Warning, "backup_partial", t!("told.partial", file = m.file)),
            (false, true) => (Level::Success, "backup_done", t!("told.done", file = m.file)),
            (false, false) => (Level::Warning, "backup_degraded", t!("told.degraded", file = m.file)),
        };
        let seconds = (m.finished_at - m.started_at).num_seconds();
        let mut notice = self
            .notice_of(level, event, &title)
            .of_run(run)
            .line(&t!("told.size"), &bytes(m.stored.bytes))
            .line(&t!("told.rows"), &t!("told.rows_of", rows = m.content.rows(), tables = m.content.tables.len()))
            .line(&t!("told.took"), &format!("{seconds} s"));
        for copy in &made.copies {
            let how = copy.failed.as_deref().unwrap_or("OK");
            notice = notice.line(&copy.place, how);
        }
        log.extend(notice.lines.iter().map(|line| format!("{}: {}", line.label, line.value)));
        self.notice(notice.text(m.warnings.iter().chain(&m.suspicious).map(String::as_str)));
        // A dead man's switch may be all that somebody has: a copy that is missing is not what was asked for.
        let log = log.iter().map(String::as_str);
        if is_partial { self.ping_fail(run, log) } else { self.ping_success(run, log) }
    }

    /// At the end of a command by hand: whoever has channels hears of it, whether a supervisor lives or not.
    pub async fn last_words(&self) {
        if self.settings.notify.channels.is_empty() {
            return;
        }
        if let Err(failure) = self.watch().await {
            self.warn(failure.message);
        }
        self.has_started().await;
        self.deliver(&self.cancel, COMMAND_LIMIT).await;
    }

    /// What a week was like, once in each; the first time in the first whole week.
    pub(super) fn digest(&self) {
        let now = self.clock.now().with_timezone(&self.settings.zone);
        let monday = now.date_naive() - TimeDelta::days(i64::from(now.weekday().num_days_from_monday()));
        let begins = monday.and_hms_opt(MORNING, 0, 0).and_then(|at| at.and_local_timezone(now.timezone()).earliest());
        let Some(begins) = begins.filter(|begins| now >= *begins) else { return };
        let journal = self.journal();
        let known = journal.begun_at().is_ok_and(|at| at > DateTime::UNIX_EPOCH && at < begins - TimeDelta::days(7));
        let n = &self.settings.notify;
        if !known || !n.channels.iter().any(|channel| n.has_digest(channel)) {
            return;
        }
        let week = now.iso_week();
        let runs = journal.runs_since((begins - TimeDelta::days(7)).to_utc()).unwrap_or_default();
        let count = |outcome: Outcome| {
            let of = |run: &&record::Run| {
                run.kind == RunKind::Backup && run.end.as_ref().is_some_and(|end| end.outcome == outcome)
            };
            runs.iter().filter(of).count()
        };
        let backups = runs.iter().filter(|run| run.kind == RunKind::Backup);
        let newest = backups.filter_map(|run| run.end.as_ref()?.file.clone()).next();
        let newest = newest.unwrap_or_else(|| t!("told.week_none").into_owned());
        let firing = journal.firing().unwrap_or_default();
        let mut notice = self
            .notice_of(Level::Digest, "digest", &t!("told.week", week = format!("{}-W{:02}", week.year(), week.week())))
            .of_run(&format!("{}-W{:02}", week.year(), week.week()))
            .line(&t!("told.week_done"), &(count(Outcome::Done) + count(Outcome::Partial)).to_string())
            .line(&t!("told.week_partial"), &count(Outcome::Partial).to_string())
            .line(&t!("told.week_failed"), &(count(Outcome::Failed) + count(Outcome::Interrupted)).to_string())
            .line(&t!("told.week_newest"), &newest);
        if firing.is_empty() {
            notice = notice.line(&t!("told.week_alerts"), &t!("told.week_none"));
        }
        self.notice(notice.text(firing.iter().map(|alert| alert.text.as_str())));
    }
}
