//! `amarre doctor`: checks that a backup and a restore would work, and says how to mend what would not.

use rust_i18n::t;
use serde_json::json;

use crate::app::doctor::{self, Verdict};
use crate::cli::Context;
use crate::cli::args::DoctorArgs;
use crate::error::{Exit, Failure};
use crate::operations;

/// Runs the command.
///
/// # Errors
/// When its output cannot be written.
pub async fn run(context: &Context, args: &DoctorArgs) -> Result<Exit, Failure> {
    let app = context.app("doctor");
    if args.s3 && context.settings.s3.is_empty() {
        return Err(operations::Error::NoRemote.into());
    }
    let checks = if args.s3 { doctor::examine_s3(&app).await? } else { doctor::examine(&app).await };
    let count = |verdict: Verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    let (ok, warnings, failures) = (count(Verdict::Ok), count(Verdict::Warning), count(Verdict::Failure));
    if args.json {
        let counts = json!({ "ok": ok, "warnings": warnings, "failures": failures });
        context.output.json(&json!({ "format": 1, "checks": checks, "counts": counts }))?;
    } else {
        for check in &checks {
            let verdict = match check.verdict {
                Verdict::Ok => t!("doctor.verdict.ok"),
                Verdict::Warning => t!("doctor.verdict.warning"),
                Verdict::Failure => t!("doctor.verdict.failure"),
            };
            context.output.data(&format!("{verdict:<13} {:<13} {}", check.name, check.seen))?;
            if let Some(fix) = &check.fix {
                context.output.data(&format!("{:<27} -> {fix}", ""))?;
            }
        }
        context.output.data(&t!("doctor.counts", ok = ok, warnings = warnings, failures = failures))?;
    }
    Ok(if failures > 0 { Exit::Failed } else { Exit::Done })
}
