//! The log: lines `[YYYY-MM-DD HH:MM:SS] …` in the configured zone, or JSON, to the console and to a file that is rotated.
//! What is logged is said by whoever works; a log that cannot be written never fails a run.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use chrono_tz::Tz;
use logroller::{LogRoller, LogRollerBuilder, Rotation, RotationSize};
use rust_i18n::t;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, layer};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::mask::Mask;
use crate::cli::output;
use crate::domain::clock::Clock;
use crate::domain::text::escape;
use crate::settings::{Log, LogFormat, Settings};

const ROTATE_AT_MB: u64 = 10;
const KEEP: u64 = 5;
const FILE_MODE: u32 = 0o640;
/// Only what this program says: libraries are not the operator's business.
const OURS: &str = "amarre";

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
    let lines =
        Lines { format: settings.log.format, zone: settings.zone, clock: Arc::clone(clock), mask: mask.clone() };
    let (file, worker, warning) = if to.file { open_or_warn(&settings.log) } else { (None, None, None) };
    let most = if to.quiet { Level::WARN } else { Level::INFO };
    let ours = |most: Level| filter_fn(move |meta| meta.target().starts_with(OURS) && *meta.level() <= most);
    let to_console = layer().event_format(lines.clone()).with_writer(to.console).with_filter(ours(most));
    let to_file = file.map(|file| layer().event_format(lines).with_writer(file).with_filter(ours(Level::INFO)));
    // Refused only when there is one already: then that one holds.
    let _ = tracing_subscriber::registry().with(to_console).with(to_file).try_init();
    Logging { _worker: worker, warning }
}

fn open_or_warn(log: &Log) -> (Option<NonBlocking>, Option<WorkerGuard>, Option<String>) {
    match open(&log.file) {
        Ok((file, worker)) => (Some(file), Some(worker), None),
        Err(cause) => {
            let path = log.file.to_string_lossy();
            let text = t!("cli.log_file", path = escape(&path), cause = cause).into_owned();
            (None, None, log.file_is_chosen.then_some(text))
        }
    }
}

fn open(path: &Path) -> io::Result<(NonBlocking, WorkerGuard)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // The roller would make directories: the log is for places that exist.
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
    let roller = roller(directory, Path::new(name)).map_err(io::Error::other)?;
    Ok(NonBlockingBuilder::default().lossy(false).thread_name("log").finish(roller))
}

fn roller(directory: &Path, name: &Path) -> Result<LogRoller, logroller::LogRollerError> {
    LogRollerBuilder::new(directory, name)
        .rotation(Rotation::SizeBased(RotationSize::MB(ROTATE_AT_MB)))
        .max_keep_files(KEEP)
        .file_mode(FILE_MODE)
        .build()
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

/// How an event becomes a line.
#[derive(Clone)]
struct Lines {
    format: LogFormat,
    zone: Tz,
    clock: Arc<dyn Clock>,
    mask: Mask,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = match self.format {
            LogFormat::Text => self.text(*event.metadata().level(), &fields),
            LogFormat::Json => self.json(*event.metadata().level(), fields),
        };
        writeln!(writer, "{}", self.mask.apply(&line))
    }
}

impl Lines {
    fn text(&self, level: Level, fields: &Fields) -> String {
        let time = self.clock.now().with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S");
        let label = match level {
            Level::ERROR => format!("{} ", t!("cli.log.error")),
            Level::WARN => format!("{} ", t!("cli.log.warning")),
            _ => String::new(),
        };
        let mut line = format!("[{time}] {label}{}", escape(&fields.message));
        for (name, value) in &fields.others {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line.push_str(&format!(" {name}={}", escape(&value)));
        }
        line
    }

    fn json(&self, level: Level, fields: Fields) -> String {
        let time = self.clock.now().with_timezone(&self.zone);
        let mut object = Map::new();
        object.insert("time".into(), time.to_rfc3339_opts(chrono::SecondsFormat::Millis, false).into());
        object.insert("level".into(), level.as_str().to_lowercase().into());
        object.insert("message".into(), fields.message.into());
        object.extend(fields.others);
        Value::Object(object).to_string()
    }
}

/// What an event carries.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chrono::{DateTime, Utc};

    use super::*;
    use crate::settings::Secret;

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
        let lines = Lines { format, zone: Tz::Europe__Paris, clock: Arc::new(At(now)), mask };
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber =
            tracing_subscriber::registry().with(layer().event_format(lines).with_writer(move || writer.clone()));
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
    fn fault_85_a_line_is_one_line_whatever_it_holds() {
        let text = logged(LogFormat::Text, || tracing::info!("name \u{1b}[31m\n[2026-01-01 00:00:00] forged"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'));
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
            let text = logged(format, || tracing::info!(argv = "PGPASSWORD=canary-42", "ran with canary-42"));
            assert!(!text.contains("canary"), "{text}");
            assert!(text.contains("***"));
        }
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_no_failure() {
        assert!(open(Path::new("/nonexistent/a.log")).is_err());
    }

    #[test]
    fn fault_35_a_full_log_disk_blocks_and_fails_nothing() {
        let (mut file, worker) = NonBlockingBuilder::default()
            .lossy(false)
            .buffered_lines_limit(2)
            .finish(OpenOptions::new().append(true).open("/dev/full").expect("there"));
        for _ in 0..100 {
            io::Write::write_all(&mut file, b"a line\n").expect("taken");
        }
        drop(worker);
    }

    #[test]
    fn the_file_is_rotated() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut roller = roller(directory.path(), Path::new("a.log")).expect("opened");
        let megabyte = vec![b'x'; 1024 * 1024];
        for _ in 0..12 {
            io::Write::write_all(&mut roller, &megabyte).expect("written");
        }
        drop(roller);
        let files = std::fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(files, 2, "the log and the one before");
    }
}
