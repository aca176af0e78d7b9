//! The only place that prints: data to standard output, messages to standard error. What is said is decided elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use indicatif::ProgressBar;
use rust_i18n::t;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::args::Color;
use crate::domain::text::{escape, escape_json};
use crate::error::{Exit, Failure};
use crate::settings::Environment;
use crate::settings::mask::Mask;

/// Columns where nobody tells how many there are.
const WIDTH: u16 = 80;

/// The least width of the last column beside names, before the terminal wraps whole lines.
const LEAST: u16 = 20;

/// The bar on the terminal, if one is shown: lines must not run into it. There is one terminal in a process.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How to print.
#[derive(Debug, Clone, Default)]
pub struct Output {
    quiet: bool,
    colours: bool,
    /// The same of standard output.
    colours_of_data: bool,
    mask: Mask,
    data_mask: Mask,
}

/// What a word of the report is painted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it should be.
    Green,
    /// Somebody should look.
    Yellow,
    /// Wrong.
    Red,
}

impl Output {
    /// As the options and the environment say (`NO_COLOR`, `TERM=dumb`).
    #[must_use]
    pub fn new(color: Color, quiet: bool, environment: &Environment) -> Self {
        let plain = environment.get("NO_COLOR").is_some() || environment.get("TERM") == Some("dumb");
        let on = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !plain && is_terminal,
        };
        let (colours, colours_of_data) = (on(io::stderr().is_terminal()), on(io::stdout().is_terminal()));
        Self { quiet, colours, colours_of_data, ..Self::default() }
    }

    /// Hides what `mask` hides in all messages from now on, and what `data_mask` hides in data.
    #[must_use]
    pub fn with_mask(self, mask: Mask, data_mask: Mask) -> Self {
        Self { mask, data_mask, ..self }
    }

    /// A fault of the program, wherever it shows: what the library would print by itself knows no secrets.
    pub fn panic(&self, panic: &std::panic::PanicHookInfo<'_>) {
        let what = panic.payload_as_str().unwrap_or("?");
        let place = panic.location().map_or_else(|| "?".to_owned(), ToString::to_string);
        let message = t!("cli.panic", what = escape(what), place = place).into_owned();
        tracing::error!(target: crate::cli::logging::FILE_ONLY, "{message}");
        self.failure(&Failure { message, hint: None, exit: Exit::Failed });
    }

    /// What hides secrets.
    #[must_use]
    pub fn mask(&self) -> Mask {
        self.mask.clone()
    }

    /// Whether only what is wrong is said.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// `word` of data, painted where that is wanted there.
    #[must_use]
    pub fn paint(&self, word: &str, paint: Paint) -> String {
        let code = match paint {
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Red => "1;31",
        };
        if self.colours_of_data { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
    }

    /// Data, with a line end after it, to standard output. Secrets are hidden, but for those that are words of the data itself.
    ///
    /// # Errors
    /// When standard output cannot take it; a reader that has seen enough (`head`) is no error.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        self.as_it_is(&self.data_mask.apply(text))
    }

    /// As [`Output::data`], whatever is in it: an address that was asked for is signed with a key's name in it.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn as_it_is(&self, text: &str) -> Result<(), Failure> {
        hide_bar();
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
        match written.and_then(|()| stdout.flush()) {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure { message: t!("cli.stdout", cause = cause).into_owned(), hint: None, exit: Exit::Failed })
            }
            _ => Ok(()),
        }
    }

    /// Data for programs: one JSON document.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.data(&document(value)?)
    }

    /// As [`Output::json`], whatever is in it.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn json_as_it_is(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.as_it_is(&document(value)?)
    }

    /// A message to the operator; nothing when quiet.
    pub fn message(&self, text: &str) {
        if !self.quiet {
            self.to_stderr(text);
        }
    }

    /// What will be done, before somebody confirms it: shown also when quiet. What went before it is over.
    pub fn plan(&self, text: &str) {
        hide_bar();
        self.to_stderr(&one_line(text));
    }

    /// Something to look at, and what to do about it.
    pub fn warning(&self, text: &str, hint: Option<&str>) {
        const YELLOW: &str = "33";
        self.to_stderr(&format!("{} {}", self.painted(&t!("cli.warning"), YELLOW), one_line(text)));
        self.hint(hint);
    }

    /// Why a command ended, and what to do about it.
    pub fn failure(&self, failure: &Failure) {
        const RED: &str = "1;31";
        self.to_stderr(&format!("{} {}", self.painted(&t!("cli.error"), RED), one_line(&failure.message)));
        self.hint(failure.hint.as_deref());
    }

    /// `text` without a line end: a question.
    pub fn question(&self, text: &str) {
        hide_bar();
        write_stderr(self.mask.apply(text).as_bytes());
    }

    fn hint(&self, hint: Option<&str>) {
        if let Some(hint) = hint {
            self.to_stderr(&one_line(&t!("common.hint", text = hint)));
        }
    }

    fn to_stderr(&self, text: &str) {
        write_stderr(format!("{}\n", self.mask.apply(text)).as_bytes());
    }

    fn painted(&self, text: &str, colour: &str) -> String {
        if self.colours { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn document(value: &impl Serialize) -> Result<String, Failure> {
    let failed =
        |cause| Failure { message: t!("cli.stdout", cause = cause).into_owned(), hint: None, exit: Exit::Failed };
    Ok(escape_json(&serde_json::to_string_pretty(value).map_err(failed)?))
}

/// `text` in lines of at most `width` columns, broken between words; a word that is longer stays whole, to be copied. French signs stay
/// with what they belong to.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match words.last_mut() {
            Some(last) if last == "«" || matches!(word, "»" | ":" | ";" | "?" | "!" | "%") || word.starts_with('»') =>
            {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

/// Columns of the terminal, or 80.
#[must_use]
pub fn columns() -> usize {
    let table = Table::new();
    let columns = if is_terminal(&table) { table.width() } else { None };
    usize::from(columns.unwrap_or(WIDTH))
}

/// A table of at most the terminal's width, or 80 columns. Cells are escaped.
#[must_use]
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = filled(headers, rows);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !is_terminal(&table) {
        table.set_width(WIDTH);
    }
    printed(&mut table)
}

/// A table whose first column has names to be copied: never cut in two, nor are figures. On a terminal the last column gives way, down to a
/// few words; for programs each row is one line.
#[must_use]
pub fn table_of_names(headers: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = filled(headers, rows);
    if is_terminal(&table) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        let last = headers.len().saturating_sub(1);
        let least = u16::try_from(widest(last, headers, rows) + 2).map_or(LEAST, |natural| natural.min(LEAST));
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_constraint(match index == last {
                true => ColumnConstraint::LowerBoundary(Width::Fixed(least)),
                false => ColumnConstraint::ContentWidth,
            });
        }
    }
    printed(&mut table)
}

/// Whether such a table is as narrow as the terminal; for programs it always is.
#[must_use]
pub fn fits(headers: &[&str], rows: &[Vec<String>]) -> bool {
    let table = Table::new();
    let last = headers.len().saturating_sub(1);
    let of = |index| widest(index, headers, rows) + if index == 0 { 1 } else { 2 };
    let fixed: usize = (0..last).map(of).sum();
    !is_terminal(&table) || fixed + (widest(last, headers, rows) + 2).min(usize::from(LEAST)) <= columns()
}

fn widest(column: usize, headers: &[&str], rows: &[Vec<String>]) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| escape(cell).width());
    cells.chain(headers.get(column).map(|header| header.width())).max().unwrap_or(0)
}

/// The terminal of a `docker compose exec` has no columns until the client has told them.
fn is_terminal(table: &Table) -> bool {
    io::stdout().is_terminal() && table.width().is_some_and(|width| width > 0)
}

fn filled(headers: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headers.iter().map(|header| escape(header)));
    for row in rows {
        table.add_row(row.iter().map(|cell| escape(cell)));
    }
    table
}

fn printed(table: &mut Table) -> String {
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Whether a person looks at standard error.
#[must_use]
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Shows `bar` until it is replaced or [`hide_bar`] is called; all lines go above it.
pub fn show_bar(bar: ProgressBar) {
    let old = BAR.lock().unwrap_or_else(PoisonError::into_inner).replace(bar);
    if let Some(old) = old {
        old.finish_and_clear();
    }
}

/// Takes the bar off the terminal.
pub fn hide_bar() {
    let old = BAR.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(old) = old {
        old.finish_and_clear();
    }
}

/// Writes to standard error, above the bar. A terminal that is gone is nobody's failure.
pub fn write_stderr(bytes: &[u8]) {
    above_bar(|| {
        let _ = io::stderr().lock().write_all(bytes);
    });
}

/// Writes to standard output, above the bar: the log of the supervisor.
pub fn write_stdout(bytes: &[u8]) {
    above_bar(|| {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    });
}

fn above_bar(write: impl FnOnce()) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A message is one line, whatever came into it.
fn one_line(text: &str) -> String {
    escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_85_a_table_fits_80_columns_and_cells_are_escaped() {
        let rows = vec![
            vec!["evil\u{1b}[31m\nname".to_owned(), "x".repeat(120), "12".to_owned()],
            vec!["hub_chantier_backup_20260101_030000.sql.gz".to_owned(), "verified".to_owned(), "3".to_owned()],
        ];
        let text = table(&["NAME", "STATE", "AGE"], &rows);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("evil\\u{1b}[31m\\nname"), "{text}");
        let text = table_of_names(&["NAME", "STATE", "AGE"], &rows);
        assert_eq!(text.lines().count(), 3, "a line for each: {text}");
    }

    #[test]
    fn text_is_broken_between_words_and_words_stay_whole() {
        assert_eq!(wrapped("to be or not to be", 9), ["to be or", "not to be"]);
        assert_eq!(wrapped("chmod 600 /a/very/long/path x", 10), ["chmod 600", "/a/very/long/path", "x"]);
        assert_eq!(wrapped("é é é", 3), ["é é", "é"]);
        assert_eq!(wrapped("de « x » : y", 7), ["de", "« x » :", "y"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let environment = Environment::default();
        assert_eq!(Output::new(Color::Never, false, &environment).painted("x", "31"), "x");
        assert_eq!(Output::new(Color::Always, false, &environment).painted("x", "31"), "\u{1b}[31mx\u{1b}[0m");
        let no_color: Environment = [("NO_COLOR", "1")].into_iter().collect();
        assert_eq!(Output::new(Color::Auto, false, &no_color).painted("x", "31"), "x");
        assert_eq!(Output::new(Color::Never, false, &environment).paint("x", Paint::Red), "x");
        assert_eq!(Output::new(Color::Always, false, &environment).paint("x", Paint::Red), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(Output::new(Color::Auto, false, &no_color).paint("x", Paint::Red), "x");
    }
}
