//! What a person types and sees. The frame: parse, give up root, language, settings, log, command.
//! What a command does is decided in `operations`; what it needs is put together in `app`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use rust_i18n::t;
use tokio_util::sync::CancellationToken;

use crate::app::{self, App};
use crate::domain::clock::Clock;
use crate::domain::text::bytes;
use crate::domain::timings::Timings;
use crate::error::{Exit, Explain, Failure};
use crate::settings::{Environment, Language, Problems, Settings, Sources};

pub mod args;
pub mod backup;
pub mod completions;
pub mod config;
pub mod delete;
pub mod doctor;
pub mod get;
pub mod health;
pub mod list;
pub mod logging;
pub mod mask;
pub mod observer;
pub mod output;
pub mod prompt;
pub mod prune;
pub mod restore;
pub mod share;
pub mod status;
pub mod supervise;
pub mod sync;
pub mod timings;
pub mod verify;

use args::{Cli, Command};
use logging::Console;
use mask::Mask;
use output::Output;

/// Threads of the runtime: work that computes has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// What every command is given.
pub struct Context {
    /// What holds for this run.
    pub settings: Settings,
    /// Where to print.
    pub output: Output,
    /// Cancelled when the process is asked to end.
    pub cancel: CancellationToken,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Context {
    /// The installation of the settings; `work` is what its lock says.
    #[must_use]
    pub fn app(&self, work: &'static str) -> App {
        App {
            settings: Arc::new(self.settings.clone()),
            observer: Arc::new(observer::Progress::new(self.output.is_quiet())),
            cancel: self.cancel.clone(),
            clock: Arc::clone(&self.clock),
            work,
            left: Arc::default(),
        }
    }
}

impl Context {
    /// The table of `--timings`.
    fn show_timings(&self, timings: &Timings) -> Result<(), Failure> {
        timings::table(timings).map_or(Ok(()), |table| self.output.data(&table))
    }

    /// The last word of a run: the most memory it had. Programs find it in the JSON.
    fn tell_memory(&self) {
        self.output.message(&t!("cmd.backup.memory", size = bytes(App::peak_memory())));
    }
}

/// The whole program: what `main` returns.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = args::by_name(arguments);
    let environment = Environment::of_process();
    Language::early(args::language(&arguments), &environment).use_everywhere();
    let cli = match args::parse(arguments) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error).into(),
    };
    let mut output = Output::new(cli.global.color, cli.global.quiet, &environment);
    let exit = match start(&cli, environment, &mut output) {
        Ok(exit) => exit,
        Err(failures) => tell(&failures, &cli, &output),
    };
    exit.into()
}

fn start(cli: &Cli, environment: Environment, output: &mut Output) -> Result<Exit, Vec<Failure>> {
    if let Command::Completions(args) = &cli.command {
        return completions::run(output, args).map_err(|failure| vec![failure]);
    }
    app::leave_root(&environment, &mut |failure| output.warning(&failure.message, failure.hint.as_deref()))
        .map_err(|failure| vec![failure])?;
    let overrides: BTreeMap<_, _> = cli.global.lang.iter().map(|lang| ("BACKUP_LANG", lang.clone())).collect();
    let settings = Settings::load(&Sources::of_process(environment, overrides)).map_err(|problems| each(&problems))?;
    settings.language.use_everywhere();
    let mask = Mask::new(&settings.secrets());
    *output = std::mem::take(output).with_mask(mask.clone());
    let console = if matches!(cli.command, Command::Supervise) { Console::Stdout } else { Console::Stderr };
    let clock = app::clock();
    let to = logging::To { console, file: keeps_a_log(&cli.command), quiet: cli.global.quiet };
    let logging = logging::start(&settings, &clock, &mask, to);
    if let Some(warning) = &logging.warning {
        output.warning(warning, None);
    }
    let result = block_on(&cli.command, settings, output.clone(), clock);
    drop(logging);
    result.map_err(|failure| vec![failure])
}

/// Commands that only tell leave no trace.
fn keeps_a_log(command: &Command) -> bool {
    matches!(
        command,
        Command::Backup(_)
            | Command::Restore(_)
            | Command::Verify(_)
            | Command::Prune(_)
            | Command::Sync(_)
            | Command::Get(_)
            | Command::Delete(_)
            | Command::Supervise
    )
}

fn block_on(command: &Command, settings: Settings, output: Output, clock: Arc<dyn Clock>) -> Result<Exit, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build().map_err(
            |cause| Failure { message: t!("cli.runtime", cause = cause).into_owned(), hint: None, exit: Exit::Failed },
        )?;
    let result = runtime.block_on(async {
        let context = Context { settings, output, cancel: app::shutdown()?, clock };
        dispatch(command, &context).await
    });
    // A thread that waits for something that never comes must not keep the process.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: &Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Backup(args) => backup::run(context, args).await,
        Command::Restore(args) => restore::run(context, args).await,
        Command::List(args) => list::run(context, args).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Prune(args) => prune::run(context, args).await,
        Command::Sync(args) => sync::run(context, args).await,
        Command::Get(args) => get::run(context, args).await,
        Command::Share(args) => share::run(context, args).await,
        Command::Delete(args) => delete::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Config(args) => config::run(context, args),
        Command::Supervise => supervise::run(context).await,
        Command::Health(args) => health::run(context, args).await,
        Command::Completions(args) => completions::run(&context.output, args),
    }
}

fn each(problems: &Problems) -> Vec<Failure> {
    let failure = |problem: &crate::settings::Problem| Failure {
        message: problem.to_string(),
        hint: problem.hint(),
        exit: problem.exit(),
    };
    problems.0.iter().map(failure).collect()
}

/// Prints why it ended; for programs also as JSON.
fn tell(failures: &[Failure], cli: &Cli, output: &Output) -> Exit {
    for failure in failures {
        output.failure(failure);
    }
    let exit = failures.first().map_or(Exit::Failed, |failure| failure.exit);
    if cli.command.json() {
        let errors: Vec<_> = failures
            .iter()
            .map(|failure| serde_json::json!({ "message": failure.message, "hint": failure.hint }))
            .collect();
        // Standard output may be what failed.
        let peak = App::peak_memory();
        let _ = output.json(&serde_json::json!({ "exit": exit as u8, "errors": errors, "peak_rss_bytes": peak }));
    } else if keeps_a_log(&cli.command) && exit != Exit::Usage {
        output.message(&t!("cmd.backup.memory", size = bytes(App::peak_memory())));
    }
    exit
}
