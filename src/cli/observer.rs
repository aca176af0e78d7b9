//! What a person sees of a run while it goes on: a bar on a terminal, elsewhere a line every 30 seconds; notes and warnings
//! go to the log. Where events come from is not known here.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rust_i18n::t;

use crate::cli::output;
use crate::domain::event::{Event, Observer};
use crate::domain::text::{bytes, escape};

/// Between two lines where no bar can be shown.
const LINE_EVERY: Duration = Duration::from_secs(30);
const REDRAWS_PER_SECOND: u8 = 8;
const BAR: &str = "{prefix} {bar:20} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} {wide_msg}";
const SPINNER: &str = "{prefix} {spinner} {decimal_bytes} {decimal_bytes_per_sec} {wide_msg}";

/// Shows the events of one run; the bar is gone when it is dropped.
pub struct Progress {
    bar: bool,
    stage: Mutex<Stage>,
}

struct Stage {
    key: Option<&'static str>,
    total: Option<u64>,
    began: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar where `quiet` is not set and a person looks.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self::with_bar(!quiet && output::stderr_is_terminal())
    }

    fn with_bar(bar: bool) -> Self {
        let now = Instant::now();
        Self { bar, stage: Mutex::new(Stage { key: None, total: None, began: now, told: now, bar: None }) }
    }

    fn begin(&self, key: &'static str, total: Option<u64>) {
        let now = Instant::now();
        if self.bar {
            // The stage before is over: its bar must not stay on the screen half way.
            output::hide_bar();
        }
        let bar = self.bar.then(|| bar(key, total));
        match &bar {
            Some(bar) => output::show_bar(bar.clone()),
            None => tracing::info!("{}", t!("cli.progress.begin", stage = stage_name(key))),
        }
        *self.lock() = Stage { key: Some(key), total, began: now, told: now, bar };
    }

    fn advance(&self, done: u64, table: Option<&str>) {
        let mut stage = self.lock();
        if let Some(bar) = &stage.bar {
            bar.set_position(done);
            bar.set_message(table.map(escape).unwrap_or_default());
        } else if let Some(line) = stage.line(Instant::now(), done, table) {
            drop(stage);
            tracing::info!("{line}");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stage> {
        // What is shown may be odd after a panic elsewhere; the run goes on.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        match event {
            Event::Note(text) => tracing::info!("{text}"),
            Event::Warning(text) => tracing::warn!("{text}"),
            Event::Stage { key, total } => self.begin(key, total),
            Event::Progress { bytes, table } => self.advance(bytes, table.as_deref()),
            Event::Created(path) => {
                tracing::info!("{}", t!("cli.created", path = escape(&path.to_string_lossy())));
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.lock().bar.is_some() {
            output::hide_bar();
        }
    }
}

impl Stage {
    /// The line to tell at `now`, where one is due.
    fn line(&mut self, now: Instant, done: u64, table: Option<&str>) -> Option<String> {
        let key = self.key?;
        if now.duration_since(self.told) < LINE_EVERY {
            return None;
        }
        self.told = now;
        let seconds = now.duration_since(self.began).as_secs().max(1);
        let mut parts = vec![match self.total {
            Some(total) => t!("cli.progress.of", done = bytes(done), total = bytes(total.max(done))).into_owned(),
            None => bytes(done),
        }];
        parts.push(t!("cli.progress.rate", rate = bytes(done / seconds)).into_owned());
        parts.extend(table.map(|table| t!("cli.progress.table", table = escape(table)).into_owned()));
        Some(t!("cli.progress.line", stage = stage_name(key), text = parts.join(", ")).into_owned())
    }
}

/// The name of a stage in the operator's language.
fn stage_name(key: &str) -> String {
    t!(format!("stage.{key}")).into_owned()
}

fn bar(key: &str, total: Option<u64>) -> ProgressBar {
    let (template, bar) = match total {
        Some(total) => (BAR, ProgressBar::new(total)),
        None => (SPINNER, ProgressBar::new_spinner()),
    };
    // All else before it is drawn for the first time.
    bar.set_draw_target(ProgressDrawTarget::hidden());
    // A template that indicatif does not understand costs the looks, not the run.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(stage_name(key));
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_every_30_seconds() {
        let began = Instant::now();
        let mut stage = Stage { key: Some("dump"), total: Some(820_000_000), began, told: began, bar: None };
        assert_eq!(stage.line(began + Duration::from_secs(29), 1, None), None);
        let line = stage.line(began + Duration::from_secs(30), 300_000_000, Some("public.film\n"));
        assert_eq!(line.as_deref(), Some("dump: 300.0 MB of 820.0 MB, 10.0 MB/s, table 'public.film\\n'"));
        assert_eq!(stage.line(began + Duration::from_secs(59), 1, None), None);
        assert!(stage.line(began + Duration::from_secs(60), 1, None).is_some());
    }

    #[test]
    fn without_an_estimate_only_what_is_done_is_told() {
        let began = Instant::now();
        let mut stage = Stage { key: Some("dump"), total: None, began, told: began, bar: None };
        let line = stage.line(began + Duration::from_secs(60), 120_000, None);
        assert_eq!(line.as_deref(), Some("dump: 120.0 kB, 2.0 kB/s"));
    }

    #[test]
    fn every_template_is_understood() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
