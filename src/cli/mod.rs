//! What a person types and sees. The frame: parse, give up root, language, settings, log, command.
//! What a command does is decided in `operations`; what it needs is put together in `app`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use rust_i18n::t;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::app::{self, App, Wishes};
use crate::domain::clock::Clock;
use crate::domain::text::bytes;
use crate::domain::timings::Timings;
use crate::error::{Exit, Explain, Failure};
use crate::settings::mask::Mask;
use crate::settings::{Environment, Language, Problems, Settings, Sources};

pub mod accept;
pub mod args;
pub mod backup;
pub mod check;
pub mod completions;
pub mod config;
pub mod cost;
pub mod delete;
pub mod doctor;
pub mod get;
pub mod health;
pub mod history;
pub mod list;
pub mod logging;
pub mod man;
pub mod notify;
pub mod observer;
pub mod output;
pub mod prompt;
pub mod prune;
pub mod restore;
pub mod share;
pub mod show;
pub mod status;
pub mod supervise;
pub mod sync;
pub mod timings;
pub mod usage;
pub mod verify;

use args::{Cli, Command};
use logging::Console;

use output::Output;

/// Threads of the runtime: work that computes has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// What every command is given.
pub struct Context {
    /// What holds for this run.
    pub settings: Settings,
    /// What of them cannot be used; only who says so is given any.
    pub problems: Problems,
    /// Where to print.
    pub output: Output,
    /// Cancelled when the process is asked to end.
    pub cancel: CancellationToken,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the settings were made of, for who reads them again.
    pub sources: Sources,
    /// What signals ask a supervisor for.
    pub wishes: Option<Arc<Wishes>>,
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
            pace: app::pace(),
            work,
            asked: app::asked().into(),
            left: Arc::default(),
            spare: Arc::default(),
            post: Arc::default(),
            known: Arc::default(),
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
    if let Some(exit) = completions::answer(&arguments) {
        return exit.into();
    }
    let cli = match args::parse(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => return usage::tell(&error, &arguments, &environment).into(),
    };
    let mut output = Output::new(cli.global.color, cli.global.quiet, &environment);
    told_by(&output);
    // What it was about was said by the hook; what is half done is mended by the next run.
    let ran = catch_unwind(AssertUnwindSafe(|| match start(&cli, environment, &mut output) {
        Ok(exit) => exit,
        Err(failures) => tell(&failures, &cli, &output),
    }));
    ran.unwrap_or_else(|_| {
        let message = t!("cli.fault").into_owned();
        show_failures(&[Failure { message, hint: None, exit: Exit::Failed }], &cli, &output)
    })
    .into()
}

/// A fault of the program is told in its own way from now on, with secrets hidden.
fn told_by(output: &Output) {
    let output = output.clone();
    std::panic::set_hook(Box::new(move |panic| output.panic(panic)));
}

fn start(cli: &Cli, environment: Environment, output: &mut Output) -> Result<Exit, Vec<Failure>> {
    match &cli.command {
        Command::Completions(args) => return completions::run(output, args).map_err(|failure| vec![failure]),
        Command::Man(args) => return man::run(output, args).map_err(|failure| vec![failure]),
        _ => {}
    }
    app::leave_root(&environment, &mut |failure| output.warning(&failure.message, failure.hint.as_deref()))
        .map_err(|failure| vec![failure])?;
    let language = cli.global.lang.iter().map(|lang| ("BACKUP_LANG", lang.clone()));
    let overrides: BTreeMap<_, _> = language.chain(cli.command.settings()).collect();
    let sources = Sources::of_process(environment, overrides);
    let (settings, problems) = match (Settings::look(&sources), &cli.command) {
        // Who is asked what is wrong says that too, and goes on.
        ((Some(settings), problems), Command::Doctor(_)) => (settings, problems),
        ((Some(settings), problems), _) if problems.0.is_empty() => (settings, problems),
        ((_, problems), _) => return Err(each(&problems)),
    };
    settings.language.use_everywhere();
    let mask = Mask::new(&settings.secrets());
    let data_mask = Mask::for_data(&settings.secrets(), &settings.names());
    *output = std::mem::take(output).with_mask(mask.clone(), data_mask);
    told_by(output);
    let console = if matches!(cli.command, Command::Supervise) { Console::Stdout } else { Console::Stderr };
    let clock = app::clock();
    let to = logging::To { console, file: keeps_a_log(&cli.command), quiet: cli.global.quiet };
    let logging = logging::start(&settings, &clock, &mask, to);
    if let Some(warning) = &logging.warning {
        output.warning(warning, None);
    }
    let begin = || {
        let (cancel, wishes) = match &cli.command {
            Command::Supervise => app::shutdown_and_wishes().map(|(cancel, wishes)| (cancel, Some(wishes)))?,
            _ => (app::shutdown()?, None),
        };
        Ok(Context { settings, problems, output: output.clone(), cancel, clock, sources, wishes })
    };
    // Its lines name the run, once there is one; see `app::record`.
    let job = tracing::error_span!("job", run = tracing::field::Empty);
    let result = block_on(&cli.command, begin, &job);
    if let Err(failure) = &result {
        job.in_scope(|| tracing::error!(target: logging::FILE_ONLY, "{}", failure.message));
    }
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
            | Command::Accept(_)
            | Command::Supervise
    )
}

fn block_on(
    command: &Command,
    begin: impl FnOnce() -> Result<Context, Failure>,
    job: &tracing::Span,
) -> Result<Exit, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build().map_err(
            |cause| Failure { message: t!("cli.runtime", cause = cause).into_owned(), hint: None, exit: Exit::Failed },
        )?;
    // Signals are listened for inside the runtime.
    let work = async { dispatch(command, &begin()?).await };
    let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work.instrument(job.clone()))));
    // A thread that waits for something that never comes must not keep the process.
    runtime.shutdown_background();
    ran.unwrap_or_else(|panic| resume_unwind(panic))
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
        Command::History(args) => history::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::Check(args) => check::run(context, args).await,
        Command::Accept(args) => accept::run(context, args).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Notify(args) => notify::run(context, args).await,
        Command::Config(args) => config::run(context, args),
        Command::Supervise => supervise::run(context).await,
        Command::Health(args) => health::run(context, args).await,
        Command::Cost(args) => cost::run(context, args).await,
        Command::Completions(args) => completions::run(&context.output, args),
        Command::Man(args) => man::run(&context.output, args),
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
    show_failures(failures, cli, output)
}

/// What programs are told of it, and how the process ends.
fn show_failures(failures: &[Failure], cli: &Cli, output: &Output) -> Exit {
    let exit = failures.first().map_or(Exit::Failed, |failure| failure.exit);
    if cli.command.json() {
        let errors: Vec<_> = failures
            .iter()
            .map(|failure| serde_json::json!({ "message": failure.message, "hint": failure.hint }))
            .collect();
        // Standard output may be what failed.
        let peak = App::peak_memory();
        let _ = output
            .json(&serde_json::json!({ "format": 1, "exit": exit as u8, "errors": errors, "peak_rss_bytes": peak }));
    } else if keeps_a_log(&cli.command) && exit != Exit::Usage {
        output.message(&t!("cmd.backup.memory", size = bytes(App::peak_memory())));
    }
    exit
}
