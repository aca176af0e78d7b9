//! `amarre supervise`: the sidecar's main process.

use crate::app::SUPERVISE;
use crate::cli::{Context, each};
use crate::error::{Exit, Failure};
use crate::settings::Settings;

/// Runs the command until the process is told to end.
///
/// # Errors
/// What kept it from starting.
pub async fn run(context: &Context) -> Result<Exit, Failure> {
    let app = context.app(SUPERVISE);
    app.before_backup();
    let (sources, mask) = (context.sources.clone(), context.output.mask());
    let reload = move || {
        let settings = Settings::load(&sources).map_err(|problems| joined(&each(&problems)))?;
        // Before the first line that could hold one of them.
        mask.add(&settings.secrets());
        Ok(settings)
    };
    app.supervise(context.wishes.clone().unwrap_or_default(), Box::new(reload)).await?;
    Ok(Exit::Done)
}

/// All that is wrong, as one.
fn joined(failures: &[Failure]) -> Failure {
    let message = failures.iter().map(|failure| failure.message.as_str()).collect::<Vec<_>>().join("; ");
    Failure { message, hint: failures.first().and_then(|failure| failure.hint.clone()), exit: Exit::Usage }
}
