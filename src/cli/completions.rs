//! `amarre completions`: what a shell needs to complete our commands.

use crate::cli::args::{CompletionsArgs, command};
use crate::cli::output::Output;
use crate::error::{Exit, Failure};

/// Runs the command. It needs no settings.
///
/// # Errors
/// When standard output cannot take it.
pub fn run(output: &Output, args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "amarre", &mut script);
    output.data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
