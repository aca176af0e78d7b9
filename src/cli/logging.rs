//! The log: to the console and to a file that is rotated. What is logged is said by whoever works; how a line looks is in [`lines`].
//! A log that cannot be written never fails a run.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use rust_i18n::t;
use tracing::Level;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::output;
use crate::domain::clock::Clock;
use crate::domain::text::escape;
use crate::settings::mask::Mask;
use crate::settings::{Log, Settings};

pub mod file;
pub mod lines;

use file::{Notice, RotatingFile, Sink};
use lines::{Lines, Runs};

/// Where a file ends and the next begins, bytes.
pub const ROTATE_AT: u64 = 10_000_000;
/// Older files that stay.
pub const KEEP: u32 = 5;
/// Lines that wait for the file. The usual 128,000 are 4 MB, laid out at the start.
const WAITING: usize = 8192;
/// Only what this program says: libraries are not the operator's business.
const OURS: &str = "amarre";
/// What a command has told the operator already, in its own words: for the file alone.
pub const FILE_ONLY: &str = "amarre::file";

/// Where lines go besides the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Standard output: the supervisor, whose output is its log.
    Stdout,
    /// Standard error: commands, whose output is data.
    Stderr,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct To {
    /// What a person or the engine reads.
    pub console: Console,
    /// Whether the file is written too.
    pub file: bool,
    /// Whether only warnings go to the console.
    pub quiet: bool,
}

/// The log, until it is dropped: then all lines are written.
pub struct Logging {
    _worker: Option<WorkerGuard>,
    /// Why there is no file, where the operator asked for one.
    pub warning: Option<String>,
}

/// Starts the log of this process.
#[must_use]
pub fn start(settings: &Settings, clock: &Arc<dyn Clock>, mask: &Mask, to: To) -> Logging {
    let lines = Lines {
        format: settings.log.format,
        zone: settings.zone,
        clock: Arc::clone(clock),
        mask: mask.clone(),
        names_run: true,
    };
    let on_console = Lines { names_run: !to.console.is_terminal(), ..lines.clone() };
    let (file, worker, warning) =
        if to.file { open_or_warn(&settings.log, &on_console, to.console) } else { (None, None, None) };
    let most = if to.quiet { Level::WARN } else { Level::INFO };
    let ours = |most: Level| filter_fn(move |meta| meta.target().starts_with(OURS) && *meta.level() <= most);
    let to_console = layer().event_format(on_console).with_writer(to.console);
    let to_console = to_console.with_filter(ours(most)).with_filter(filter_fn(|meta| meta.target() != FILE_ONLY));
    let to_file = file.map(|file| layer().event_format(lines).with_writer(file).with_filter(ours(Level::INFO)));
    let runs = Runs.with_filter(filter_fn(|meta| meta.is_span() && meta.target().starts_with(OURS)));
    // Refused only when there is one already: then that one holds.
    let _ = tracing_subscriber::registry().with(runs).with(to_console).with(to_file).try_init();
    Logging { _worker: worker, warning }
}

fn open_or_warn(
    log: &Log,
    lines: &Lines,
    console: Console,
) -> (Option<NonBlocking>, Option<WorkerGuard>, Option<String>) {
    let path = escape(&log.file.to_string_lossy()).to_string();
    match RotatingFile::open(&log.file, ROTATE_AT, KEEP) {
        Ok(file) => {
            let (lines, of) = (lines.clone(), path);
            let sink = Sink::new(file, move |notice| console.write_line(&lines.warning(&told(&of, &notice))));
            // A write that never ends (a network disk that is away) loses lines in the end, and holds nothing up.
            let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING);
            let (file, worker) = builder.thread_name("log").finish(sink);
            (Some(file), Some(worker), None)
        }
        Err(cause) => {
            let text = t!("cli.log_file", path = path, cause = cause).into_owned();
            (None, None, log.file_is_chosen.then_some(text))
        }
    }
}

fn told(path: &str, notice: &Notice) -> String {
    match notice {
        Notice::Fails(cause) => t!("cli.log_file", path = path, cause = cause),
        Notice::Works(lost) => t!("cli.log_works", path = path, lost = lost),
        Notice::Grows(cause) => t!("cli.log_grows", path = path, cause = cause),
    }
    .into_owned()
}

impl Console {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    fn write_line(self, line: &str) {
        match self {
            Self::Stdout => output::write_stdout(line.as_bytes()),
            Self::Stderr => output::write_stderr(line.as_bytes()),
        }
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        *self
    }
}

impl io::Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => output::write_stdout(bytes),
            Self::Stderr => output::write_stderr(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Mutex;

    use chrono::{DateTime, Utc};
    use chrono_tz::Tz;
    use serde_json::Value;

    use super::*;
    use crate::settings::{LogFormat, Secret};

    struct At(DateTime<Utc>);

    impl Clock for At {
        fn now(&self) -> DateTime<Utc> {
            self.0
        }
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, work: impl FnOnce()) -> String {
        let now = "2026-07-14T01:02:03Z".parse().expect("a time");
        let mask = Mask::new(&[Secret::new("canary-42")]);
        let lines = Lines { format, zone: Tz::Europe__Paris, clock: Arc::new(At(now)), mask, names_run: true };
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::registry()
            .with(Runs)
            .with(layer().event_format(lines).with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = buffer.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn lines_begin_with_the_time_of_the_zone() {
        let text = logged(LogFormat::Text, || {
            tracing::info!("backup begins");
            tracing::warn!(rows = 3_u64, "shrunk");
        });
        assert_eq!(text, "[2026-07-14 03:02:03] backup begins\n[2026-07-14 03:02:03] warning: shrunk rows=3\n");
    }

    #[test]
    fn every_line_of_a_run_names_it() {
        let run = || {
            let outer = tracing::error_span!("run", run = tracing::field::Empty);
            outer.in_scope(|| tracing::info!("before"));
            outer.in_scope(|| {
                tracing::Span::current().record("run", tracing::field::display("20260714T010203Z-abcdef"));
            });
            outer.in_scope(|| {
                let inner = tracing::info_span!("something inside", other = 1);
                inner.in_scope(|| tracing::info!(rows = 3_u64, "shrunk"));
            });
            tracing::info!("after");
        };
        let text = logged(LogFormat::Text, run);
        let expected = ["before", "shrunk rows=3 run=20260714T010203Z-abcdef", "after"];
        assert_eq!(text, expected.map(|line| format!("[2026-07-14 03:02:03] {line}\n")).concat());
        let json = logged(LogFormat::Json, run);
        let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let runs: Vec<_> = lines.iter().map(|line| line.get("run").and_then(Value::as_str)).collect();
        assert_eq!(runs, [None, Some("20260714T010203Z-abcdef"), None]);
    }

    #[test]
    fn fault_85_a_line_is_one_line_whatever_it_holds() {
        let hostile = "name \u{1b}[31m\n[2026-01-01 00:00:00] forged \u{9b}2J \u{202e}\r";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || tracing::info!(file = hostile, "{hostile}"));
            assert_eq!(text.lines().count(), 1, "{text}");
            let line = text.trim_end_matches('\n');
            assert!(crate::domain::text::is_plain(line), "{text:?}");
            if format == LogFormat::Json {
                let value: Value = serde_json::from_str(line).expect("one JSON object");
                assert_eq!((value["message"].as_str(), value["file"].as_str()), (Some(hostile), Some(hostile)));
            }
        }
    }

    #[test]
    fn json_lines_are_objects() {
        let text = logged(LogFormat::Json, || tracing::warn!(rows = 3_u64, "shrunk \"x\"\n"));
        let value: Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(value["time"], "2026-07-14T03:02:03.000+02:00");
        assert_eq!(value["level"], "warn");
        assert_eq!(value["message"], "shrunk \"x\"\n");
        assert_eq!(value["rows"], 3);
    }

    #[test]
    fn fault_86_secrets_are_hidden_in_lines_and_fields() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || {
                let run = tracing::error_span!("run", run = %"canary-42");
                run.in_scope(|| tracing::info!(argv = "PGPASSWORD=canary-42", "ran with canary-42"));
            });
            assert!(!text.contains("canary"), "{text}");
            assert!(text.contains("***"));
        }
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_no_failure() {
        assert!(RotatingFile::open(std::path::Path::new("/nonexistent/a.log"), ROTATE_AT, KEEP).is_err());
    }

    #[test]
    fn fault_35_a_full_log_disk_blocks_and_fails_nothing() {
        let full = RotatingFile::open(std::path::Path::new("/dev/full"), ROTATE_AT, KEEP).expect("there");
        let (mut file, worker) =
            NonBlockingBuilder::default().lossy(false).buffered_lines_limit(2).finish(Sink::new(full, |_| ()));
        for _ in 0..100 {
            file.write_all(b"a line\n").expect("taken");
        }
        drop(worker);
    }

    #[test]
    fn ten_megabytes_are_a_file_and_five_older_ones_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.log");
        let mut file = RotatingFile::open(&path, ROTATE_AT, KEEP).expect("opened");
        let megabyte = [vec![b'x'; 999_999], b"\n".to_vec()].concat();
        for _ in 0..75 {
            file.write_line(&megabyte).expect("written");
        }
        let mut sizes: Vec<_> = std::fs::read_dir(directory.path())
            .expect("listed")
            .map(|entry| entry.expect("an entry"))
            .map(|entry| (entry.file_name().into_string().expect("text"), entry.metadata().expect("there").len()))
            .collect();
        sizes.sort();
        let old = (1..=5).map(|n| (format!("a.log.{n}"), 10_000_000));
        let expected: Vec<_> = std::iter::once(("a.log".to_owned(), 5_000_000)).chain(old).collect();
        assert_eq!(sizes, expected);
    }
}
