//! How an event becomes a line: `[YYYY-MM-DD HH:MM:SS] …` in the configured zone, or a JSON object. The run that it belongs to is in each;
//! secrets are hidden, and what cannot be seen is made visible.

use std::fmt;
use std::sync::Arc;

use chrono_tz::Tz;
use rust_i18n::t;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::domain::clock::Clock;
use crate::domain::text::{escape, escape_json};
use crate::settings::LogFormat;
use crate::settings::mask::Mask;

/// The field of a span, and of JSON lines, that names the run.
pub(super) const RUN: &str = "run";

/// How an event becomes a line.
#[derive(Clone)]
pub struct Lines {
    /// Text or JSON.
    pub format: LogFormat,
    /// Of the times.
    pub zone: Tz,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is hidden.
    pub mask: Mask,
    /// Whether lines of text name their run: not where a person looks at this one run.
    pub names_run: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let run = context.event_scope().and_then(|scope| {
            scope.into_iter().find_map(|span| span.extensions().get::<Run>().map(|run| run.0.clone()))
        });
        writer.write_str(&self.line(*event.metadata().level(), fields, run))
    }
}

impl Lines {
    /// A line of its own, with its end.
    #[must_use]
    pub fn warning(&self, message: &str) -> String {
        self.line(Level::WARN, Fields { message: message.to_owned(), others: Map::new() }, None)
    }

    fn line(&self, level: Level, fields: Fields, run: Option<String>) -> String {
        let line = match self.format {
            LogFormat::Text => self.text(level, &fields, run.filter(|_| self.names_run)),
            LogFormat::Json => self.json(level, fields, run),
        };
        format!("{}\n", self.mask.apply(&line))
    }

    fn text(&self, level: Level, fields: &Fields, run: Option<String>) -> String {
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
        if let Some(run) = run {
            line.push_str(&format!(" {RUN}={}", escape(&run)));
        }
        line
    }

    fn json(&self, level: Level, fields: Fields, run: Option<String>) -> String {
        let time = self.clock.now().with_timezone(&self.zone);
        let mut object = Map::new();
        object.insert("time".into(), time.to_rfc3339_opts(chrono::SecondsFormat::Millis, false).into());
        object.insert("level".into(), level.as_str().to_lowercase().into());
        object.insert("message".into(), fields.message.into());
        object.extend(fields.others);
        if let Some(run) = run {
            object.insert(RUN.into(), run.into());
        }
        escape_json(&Value::Object(object).to_string())
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

/// The run of a span.
struct Run(String);

/// Remembers the run that a span is of, for the lines of everything that happens in it. A span of a job (`run` is a field of it,
/// empty at first) gets it once there is a run: `Span::current().record("run", …)`.
pub(super) struct Runs;

impl Runs {
    fn keep<S: Subscriber + for<'a> LookupSpan<'a>>(id: &Id, context: &Context<'_, S>, mut fields: Fields) {
        if let (Some(Value::String(run)), Some(span)) = (fields.others.remove(RUN), context.span(id)) {
            span.extensions_mut().replace(Run(run));
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Runs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        Self::keep(id, &context, fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        Self::keep(id, &context, fields);
    }
}
