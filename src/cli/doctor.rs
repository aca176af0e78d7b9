//! `amarre doctor`: checks that a backup and a restore would work, and says how to mend what would not.

use rust_i18n::t;
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use crate::app::doctor::{self, Check, Done, Repair, Verdict};
use crate::cli::Context;
use crate::cli::args::DoctorArgs;
use crate::cli::output::{Output, Paint, columns, wrapped};
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::operations;

/// Columns of the names of checks.
const NAME: usize = 13;
/// What stands before a fix.
const ARROW: &str = "-> ";

/// Runs the command.
///
/// # Errors
/// When its output cannot be written, or there is no second place to try.
pub async fn run(context: &Context, args: &DoctorArgs) -> Result<Exit, Failure> {
    let (app, problems) = (context.app("doctor"), &context.problems);
    if args.s3 && context.settings.s3.is_empty() && problems.0.is_empty() {
        return Err(operations::Error::NoRemote.into());
    }
    let repairs = args.fix.then(|| doctor::repair(&app, problems, args.dry_run));
    let checks = if args.s3 { doctor::examine_s3(&app, problems).await } else { doctor::examine(&app, problems).await };
    let count = |verdict: Verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    let (ok, warnings, failures) = (count(Verdict::Ok), count(Verdict::Warning), count(Verdict::Failure));
    if args.json {
        let counts = json!({ "ok": ok, "warnings": warnings, "failures": failures });
        let document = json!({ "format": 1, "repairs": repairs, "checks": checks, "counts": counts });
        context.output.json(&document)?;
    } else {
        show(&context.output, repairs.as_deref(), &checks)?;
        context.output.data(&t!("doctor.counts", ok = ok, warnings = warnings, failures = failures))?;
    }
    Ok(if failures > 0 { Exit::Failed } else { Exit::Done })
}

fn show(output: &Output, repairs: Option<&[Repair]>, checks: &[Check]) -> Result<(), Failure> {
    let width = columns();
    for repair in repairs.unwrap_or_default() {
        let word = match repair.outcome {
            Done::Done => t!("doctor.repair.done"),
            Done::Would => t!("doctor.repair.would"),
            Done::Failed => t!("doctor.repair.failed"),
            Done::ByHand => t!("doctor.repair.by_hand"),
        };
        let lines = wrapped(&format!("{word}: {}", escape(&repair.text)), width.saturating_sub(2));
        output.data(&lines.join("\n  "))?;
    }
    if repairs.is_some_and(<[Repair]>::is_empty) {
        output.data(&t!("doctor.repair.nothing"))?;
    }
    for check in checks {
        line(output, check, width)?;
    }
    Ok(())
}

fn line(output: &Output, check: &Check, width: usize) -> Result<(), Failure> {
    let (word, paint) = match check.verdict {
        Verdict::Ok => (t!("doctor.verdict.ok"), Paint::Green),
        Verdict::Warning => (t!("doctor.verdict.warning"), Paint::Yellow),
        Verdict::Failure => (t!("doctor.verdict.failure"), Paint::Red),
    };
    let words = [t!("doctor.verdict.ok"), t!("doctor.verdict.warning"), t!("doctor.verdict.failure")];
    let widest = words.iter().map(|word| word.width()).max().unwrap_or_default();
    let before = widest + 1 + NAME + 1;
    let gap = " ".repeat(widest.saturating_sub(word.width()));
    let lines = wrapped(&escape(&check.seen), width.saturating_sub(before));
    let text = lines.join(&format!("\n{}", " ".repeat(before)));
    output.data(&format!("{}{gap} {:<NAME$} {text}", output.paint(&word, paint), check.name))?;
    let Some(fix) = &check.fix else { return Ok(()) };
    // Lines that are there to be copied stay as they are.
    let (first, copied) = fix.split_once('\n').map_or((fix.as_str(), None), |(first, rest)| (first, Some(rest)));
    let lines = wrapped(first, width.saturating_sub(before + ARROW.len()));
    let (margin, hang) = (" ".repeat(before), " ".repeat(before + ARROW.len()));
    output.data(&format!("{margin}{ARROW}{}", lines.join(&format!("\n{hang}"))))?;
    copied.map_or(Ok(()), |copied| output.data(copied))
}
