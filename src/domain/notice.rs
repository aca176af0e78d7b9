//! What people are told beside the log: a [`Notice`], already in their language, as data. How a mail or a chat shows it is for
//! `notify`, when it goes out for the outbox. It never holds a secret or a row of a table: callers put in names, sizes, times and
//! messages only, all of which are escaped here.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::text::escape;

pub mod channel;
pub mod template;

pub use channel::{Kind, Threshold};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something has to be done.
    Failure,
    /// Something has to be looked at.
    Warning,
    /// All is well.
    Success,
    /// The summary of a week.
    Digest,
}

impl Level {
    /// As it is stored, and shown to programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Warning => "warning",
            Self::Success => "success",
            Self::Digest => "digest",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fact with its name: `size`, `312.4 MB`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its name.
    pub label: String,
    /// What it is.
    pub value: String,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Two notices with one id are one: it is told once, however often it is handed over.
    pub id: String,
    /// How bad it is; of one that [`recovered`](Self::recovered) how bad it was.
    pub level: Level,
    /// What it is, a word for programs that stays the same: `backup_failed`, `backup_done`, `alert:no_backup`.
    pub event: String,
    /// Whose it is.
    pub installation: String,
    /// The database.
    pub database: String,
    /// The machine or container.
    pub host: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The same in the operator's zone: `2026-11-21 03:00 CET`.
    pub local_time: String,
    /// What happened, one line.
    pub title: String,
    /// Facts.
    pub lines: Vec<Line>,
    /// The last words of the log, or what else is not a fact with a name.
    pub text: Vec<String>,
    /// The run that it is about.
    pub run: Option<String>,
    /// Whether it says that something is over.
    pub recovered: bool,
}

/// The most characters of a title, of a value and of a line of text, and the most of those: a notice is a notice, not the log.
const TITLE: usize = 200;
const VALUE: usize = 1000;
const LINES: usize = 40;
const TEXT: usize = 60;

/// Whose a notice is, and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `BACKUP_NAME`, or what holds instead.
    pub installation: String,
    /// The database.
    pub database: String,
    /// The machine or container.
    pub host: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The same in the operator's zone.
    pub local_time: String,
}

impl Notice {
    /// What happened, in one line.
    #[must_use]
    pub fn new(level: Level, event: &str, place: Place, title: &str) -> Self {
        let at = place.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        Self {
            id: escape(&format!("{event}@{at}")),
            level,
            event: escape(event),
            installation: escape(&place.installation),
            database: escape(&place.database),
            host: escape(&place.host),
            at: place.at,
            local_time: escape(&place.local_time),
            title: escape(title),
            lines: Vec::new(),
            text: Vec::new(),
            run: None,
            recovered: false,
        }
    }

    /// The run that it is about: each event is told once for each run.
    #[must_use]
    pub fn of_run(mut self, run: &str) -> Self {
        self.id = escape(&format!("{}@{run}", self.event));
        self.run = Some(escape(run));
        self
    }

    /// A fact; its label begins like a line.
    #[must_use]
    pub fn line(mut self, label: &str, value: &str) -> Self {
        if self.lines.len() < LINES {
            let mut letters = label.chars();
            let label: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
            self.lines.push(Line { label: escape(&label), value: escape(value) });
        }
        self
    }

    /// Lines of text: the end of the log. Only the last of them are kept.
    #[must_use]
    pub fn text<'a>(mut self, text: impl IntoIterator<Item = &'a str>) -> Self {
        self.text.extend(text.into_iter().map(escape));
        let more = self.text.len().saturating_sub(TEXT);
        self.text.drain(..more);
        self
    }

    /// The run that it is about, beside what it is told for.
    #[must_use]
    pub fn about_run(mut self, run: &str) -> Self {
        self.run = Some(escape(run));
        self
    }

    /// What it was about is over.
    #[must_use]
    pub fn recovered(mut self) -> Self {
        self.recovered = true;
        self.id.push_str("+over");
        self
    }

    /// The same as it is told: every text changed by `hide`, and then cut, so that nothing is left of what straddles the end. A title that
    /// is cut begins the text as a whole.
    #[must_use]
    pub fn to_tell(self, hide: impl Fn(&str) -> String) -> Self {
        let change = |text: &str, most| short(&hide(text), most);
        let line = |line: Line| Line { label: change(&line.label, TITLE), value: change(&line.value, VALUE) };
        let whole = (self.title.chars().count() > TITLE).then(|| change(&self.title, VALUE));
        Self {
            title: change(&self.title, TITLE),
            installation: change(&self.installation, TITLE),
            database: change(&self.database, TITLE),
            host: change(&self.host, TITLE),
            lines: self.lines.into_iter().map(line).collect(),
            text: whole.into_iter().chain(self.text.iter().map(|line| change(line, VALUE))).collect(),
            ..self
        }
    }
}

/// One line of at most `most` characters.
fn short(text: &str, most: usize) -> String {
    let text = escape(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    //! A notice for tests.

    use super::*;

    pub fn place() -> Place {
        Place {
            installation: "hub/hub_chantier".into(),
            database: "hub_chantier".into(),
            host: "srv-1".into(),
            at: "2026-11-21T02:00:05Z".parse().expect("a date"),
            local_time: "2026-11-21 03:00 CET".into(),
        }
    }

    pub fn failed() -> Notice {
        Notice::new(Level::Failure, "backup_failed", place(), "backup of 'hub_chantier' failed: disk <full> & *more*")
            .of_run("20261121T020000Z-abcdef")
            .line("duration", "4 s")
            .line("free", "12.0 MB")
            .text(["[2026-11-21 03:00:04] dump begins", "[2026-11-21 03:00:05] ERROR no space left <b>on</b> device"])
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{failed, place};
    use super::*;

    #[test]
    fn fault_85_every_text_is_escaped_and_bounded() {
        let notice = Notice::new(Level::Warning, "x", place(), "evil\u{1b}[31m\nname")
            .line("a\r", &"x".repeat(5000))
            .text((0..100).map(|_| "t\u{202e}"))
            .to_tell(str::to_owned);
        assert_eq!(notice.title, "evil\\u{1b}[31m\\nname");
        assert_eq!((notice.lines[0].label.as_str(), notice.lines[0].value.chars().count()), ("A\\r", VALUE));
        assert_eq!((notice.text.len(), notice.text[0].as_str()), (TEXT, "t\\u{202e}"));
    }

    #[test]
    fn the_same_event_of_a_run_has_the_same_id() {
        assert_eq!(failed().id, "backup_failed@20261121T020000Z-abcdef");
        let over = Notice::new(Level::Failure, "alert:no_backup", place(), "x").recovered();
        assert_eq!(over.id, "alert:no_backup@2026-11-21T02:00:05.000Z+over");
    }

    #[test]
    fn it_comes_back_as_it_was_stored() {
        let stored = serde_json::to_string(&failed()).expect("JSON");
        assert_eq!(serde_json::from_str::<Notice>(&stored).expect("the same"), failed());
    }

    #[test]
    fn fault_86_a_mask_reaches_every_text() {
        let place =
            Place { installation: "canary".into(), database: "canary".into(), host: "canary".into(), ..place() };
        let notice = Notice::new(Level::Failure, "x", place, "canary").line("canary", "canary").text(["a canary"]);
        let masked = notice.to_tell(|text| text.replace("canary", "***"));
        assert!(!serde_json::to_string(&masked).expect("JSON").contains("canary"), "{masked:?}");
    }

    #[test]
    fn fault_86_what_is_cut_was_masked_before_and_a_long_title_is_whole_in_the_text() {
        let title = format!("{}canary end", "x".repeat(TITLE - 4));
        let told = Notice::new(Level::Failure, "x", place(), &title).to_tell(|text| text.replace("canary", "***"));
        assert!(!told.title.contains('c') && told.title.chars().count() == TITLE, "{}", told.title);
        assert!(told.text[0].ends_with("*** end"), "{:?}", told.text);
    }
}
