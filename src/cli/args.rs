//! What a person types. Only the shape of it: what it means is for the commands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rust_i18n::t;

use crate::cli::completions;
use crate::domain::notice::Kind;
use crate::error::{Exit, Failure};

/// The command line. Help texts are in `locales/cli.yml`; see [`command`].
#[derive(Debug, Clone, Parser)]
#[command(name = "amarre", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "each is described in locales/cli.yml, as cli.arg.<name>")]
pub struct Global {
    #[arg(long, global = true, display_order = 900, value_parser = ["en", "fr"])]
    pub lang: Option<String>,
    #[arg(long, short, global = true, display_order = 901)]
    pub quiet: bool,
    #[arg(long, global = true, display_order = 902, value_enum, default_value_t)]
    pub color: Color,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// What is to be done.
#[derive(Debug, Clone, Subcommand)]
#[expect(missing_docs, reason = "each is described in locales/cli.yml, as cli.about.<name>")]
pub enum Command {
    Backup(BackupArgs),
    Restore(RestoreArgs),
    List(ListArgs),
    Verify(VerifyArgs),
    Prune(PruneArgs),
    Sync(SyncArgs),
    Get(GetArgs),
    Share(ShareArgs),
    Delete(DeleteArgs),
    Status(JsonArgs),
    History(HistoryArgs),
    Show(ShowArgs),
    Check(CheckArgs),
    Accept(AcceptArgs),
    Doctor(DoctorArgs),
    Notify(NotifyArgs),
    Config(JsonArgs),
    Supervise,
    Health(JsonArgs),
    Cost(CostArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

impl Command {
    /// Whether standard output is for programs.
    #[must_use]
    pub fn json(&self) -> bool {
        match self {
            Self::Backup(args) => args.json,
            Self::Restore(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Prune(args) => args.json,
            Self::List(args) => args.json,
            Self::Sync(args) => args.json,
            Self::Doctor(args) => args.json,
            Self::Notify(args) => args.json,
            Self::Share(args) => args.json,
            Self::Delete(args) => args.json,
            Self::History(args) => args.json,
            Self::Show(args) => args.json,
            Self::Accept(args) => args.json,
            Self::Check(args) => args.json,
            Self::Status(args) | Self::Config(args) | Self::Health(args) => args.json,
            Self::Cost(args) => args.json,
            Self::Get(args) => args.json,
            Self::Supervise | Self::Completions(_) | Self::Man(_) => false,
        }
    }

    /// Options that stand for a setting.
    #[must_use]
    pub fn settings(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Cost(CostArgs { prices: Some(path), .. }) => Some(("BACKUP_PRICES", path.clone())),
            _ => None,
        }
    }
}

/// Of a command that only tells.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct JsonArgs {
    #[arg(long)]
    pub json: bool,
}

/// Of `check`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct CheckArgs {
    #[arg(long, conflicts_with = "json")]
    pub changes: bool,
    #[arg(long)]
    pub json: bool,
}

/// Of `list`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct ListArgs {
    #[arg(long)]
    pub remote: bool,
    #[arg(long)]
    pub json: bool,
}

/// Of `backup`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct BackupArgs {
    #[arg(long)]
    pub upload_s3: bool,
    #[arg(long)]
    pub json: bool,
    #[arg(long)]
    pub timings: bool,
}

/// Of `restore`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct RestoreArgs {
    #[arg(value_name = "FILE", conflicts_with_all = ["latest", "from_s3", "undo"])]
    pub file: Option<String>,
    #[arg(long, conflicts_with_all = ["from_s3", "undo"])]
    pub latest: bool,
    #[arg(long, value_name = "NAME", conflicts_with = "undo")]
    pub from_s3: Option<String>,
    #[arg(long, value_name = "DAYS", num_args = 0..=1, default_missing_value = "3", value_parser = clap::value_parser!(u32).range(1..=365), conflicts_with_all = ["file", "undo"])]
    pub thaw: Option<u32>,
    #[arg(long, conflicts_with_all = ["into", "no_keep_old"])]
    pub undo: bool,
    #[arg(long, value_name = "DATABASE")]
    pub yes_replace: Option<String>,
    #[arg(long)]
    pub no_keep_old: bool,
    #[arg(long, value_name = "DATABASE", conflicts_with_all = ["yes_replace", "no_keep_old"])]
    pub into: Option<String>,
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long)]
    pub json: bool,
    #[arg(long, conflicts_with = "undo")]
    pub timings: bool,
}

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, or a name or id of the list.
    File(String),
    /// The newest verified backup of this installation.
    Latest,
    /// A name in the bucket.
    Bucket(String),
    /// The database that the last restore replaced.
    Undo,
}

impl RestoreArgs {
    /// What is restored.
    ///
    /// # Errors
    /// When nothing was said: a restore never guesses.
    pub fn source(&self) -> Result<Source, Failure> {
        match self {
            Self { file: Some(file), .. } => Ok(Source::File(file.clone())),
            Self { latest: true, .. } => Ok(Source::Latest),
            Self { from_s3: Some(name), .. } => Ok(Source::Bucket(name.clone())),
            Self { undo: true, .. } => Ok(Source::Undo),
            _ => Err(Failure {
                message: t!("cli.restore_what").into_owned(),
                hint: Some(t!("cli.restore_what_hint").into_owned()),
                exit: Exit::Usage,
            }),
        }
    }
}

/// Of `verify`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct VerifyArgs {
    #[arg(value_name = "NAME", conflicts_with_all = ["latest", "all"])]
    pub names: Vec<String>,
    #[arg(long, conflicts_with = "all")]
    pub latest: bool,
    #[arg(long)]
    pub all: bool,
    #[arg(long, conflicts_with = "timings")]
    pub remote: bool,
    #[arg(long)]
    pub heal: bool,
    #[arg(long)]
    pub json: bool,
    #[arg(long)]
    pub timings: bool,
}

/// Of `sync`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct SyncArgs {
    #[arg(long)]
    pub heal: bool,
    #[arg(long)]
    pub json: bool,
}

/// Of `doctor`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct DoctorArgs {
    #[arg(long)]
    pub s3: bool,
    #[arg(long, conflicts_with = "s3")]
    pub fix: bool,
    #[arg(long, requires = "fix")]
    pub dry_run: bool,
    #[arg(long)]
    pub json: bool,
}

/// Of `notify`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct NotifyArgs {
    #[arg(long)]
    pub test: bool,
    #[arg(long = "channel", value_name = "KIND", requires = "test", value_parser = Kind::ALL.map(Kind::as_str))]
    pub kind: Option<String>,
    #[arg(long)]
    pub json: bool,
}

/// Of `share`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct ShareArgs {
    #[arg(value_name = "NAME")]
    pub wanted: String,
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = share_time)]
    pub time: Duration,
    #[arg(long)]
    pub json: bool,
}

/// Signatures of addresses hold for a week at most.
const LONGEST_SHARE: Duration = Duration::from_secs(7 * 24 * 3600);

fn share_time(text: &str) -> Result<Duration, String> {
    let time: Duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time {
        Duration::ZERO => Err(t!("cli.share_never").into_owned()),
        time if time > LONGEST_SHARE => Err(t!("cli.share_too_long").into_owned()),
        time => Ok(time),
    }
}

/// Of `delete`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct DeleteArgs {
    #[arg(value_name = "NAME")]
    pub wanted: String,
    #[arg(long)]
    pub everywhere: bool,
    #[arg(long, value_name = "NAME")]
    pub yes_delete: Option<String>,
    #[arg(long)]
    pub json: bool,
}

/// Of `prune`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct PruneArgs {
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long)]
    pub json: bool,
}

/// Of `history`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct HistoryArgs {
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: String,
    #[arg(long)]
    pub json: bool,
}

/// Of `show`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct ShowArgs {
    #[arg(value_name = "NAME")]
    pub shown: String,
    #[arg(long)]
    pub json: bool,
}

/// Of `accept`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct AcceptArgs {
    #[arg(value_name = "NAME", required_unless_present = "every", conflicts_with = "every")]
    pub names: Vec<String>,
    #[arg(long = "all")]
    pub every: bool,
    #[arg(long)]
    pub json: bool,
}

/// Of `get`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct GetArgs {
    #[arg(value_name = "NAME")]
    pub wanted: String,
    #[arg(long, value_name = "DAYS", num_args = 0..=1, default_missing_value = "3", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub thaw: Option<u32>,
    #[arg(long)]
    pub json: bool,
}

/// Of `cost`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct CostArgs {
    #[arg(long, value_name = "FILE")]
    pub prices: Option<String>,
    #[arg(long)]
    pub json: bool,
}

/// Of `man`.
#[derive(Debug, Clone, Default, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct ManArgs {
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
}

/// Of `completions`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "see locales/cli.yml")]
pub struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Commands that have a name of their own on the PATH.
const NAMES: [&str; 2] = ["backup", "restore"];

/// `restore --latest` is `amarre restore --latest`: one binary, told apart by its name.
#[must_use]
pub fn by_name(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let name = arguments.first().and_then(|first| Path::new(first).file_name()).and_then(|name| name.to_str());
    if let Some(name) = NAMES.into_iter().find(|known| name == Some(*known)) {
        // The help speaks of `amarre restore` then.
        arguments.splice(..1, ["amarre".into(), name.into()]);
    }
    arguments
}

/// The value of `--lang`, before anything can be parsed: errors of parsing and the help are in that language too.
#[must_use]
pub fn language(arguments: &[OsString]) -> Option<&str> {
    let mut words = arguments.iter().skip(1).map_while(|word| word.to_str()).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        match word.strip_prefix("--lang") {
            Some("") => return words.next(),
            Some(value) if value.starts_with('=') => return value.strip_prefix('='),
            _ => {}
        }
    }
    None
}

/// Reads the command line.
///
/// # Errors
/// Those of clap, which print themselves; also for `--help` and `--version`.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The whole command with its texts in the current language: `cli.about.<command>`, `cli.example.<command>`, `cli.arg.<argument>`.
#[must_use]
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    // The arguments that clap adds itself get their texts too.
    command.build();
    command = with_texts(command, "amarre");
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |sub| completions::with_names(with_texts(sub, &name)));
    }
    command
}

fn with_texts(command: clap::Command, name: &str) -> clap::Command {
    let usage = t!("cli.help.usage");
    let template = format!("{{about-with-newline}}\n{usage} {{usage}}\n\n{{all-args}}{{after-help}}");
    command
        .about(t!(format!("cli.about.{name}")).into_owned())
        .after_help(t!(format!("cli.example.{name}")).into_owned())
        .help_template(template)
        .subcommand_help_heading(t!("cli.help.commands").into_owned())
        .mut_args(|argument| {
            let positional = argument.is_positional();
            let heading = if positional { t!("cli.help.arguments") } else { t!("cli.help.options") };
            let help = t!(format!("cli.arg.{}", argument.get_id()));
            // What clap adds of its own is English: the texts say it.
            let argument = argument.hide_possible_values(true).hide_default_value(true);
            argument.help(help.into_owned()).help_heading(heading.into_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn parsed(text: &str) -> Result<Command, clap::error::ErrorKind> {
        parse(by_name(words(text))).map(|cli| cli.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_declaration_is_consistent() {
        Cli::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn the_name_of_the_binary_is_the_command() {
        for text in ["restore --latest", "/usr/local/bin/restore --latest", "amarre restore --latest"] {
            assert!(matches!(parsed(text), Ok(Command::Restore(RestoreArgs { latest: true, .. }))), "{text}");
        }
        assert!(matches!(parsed("backup --upload-s3"), Ok(Command::Backup(BackupArgs { upload_s3: true, .. }))));
    }

    #[test]
    fn a_restore_takes_exactly_one_source() {
        let source = |text: &str| match parsed(text) {
            Ok(Command::Restore(args)) => args.source().map_err(|failure| failure.exit),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(source("restore a.sql.gz"), Ok(Source::File("a.sql.gz".into())));
        assert_eq!(source("restore --from-s3 b"), Ok(Source::Bucket("b".into())));
        assert_eq!(source("restore --undo"), Ok(Source::Undo));
        assert_eq!(source("restore"), Err(Exit::Usage));
        for text in ["restore a --latest", "restore --latest --from-s3 b", "restore --latest --undo", "restore a b"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_restore_beside_replaces_nothing() {
        assert!(parsed("restore --latest --into copy").is_ok());
        assert!(parsed("restore --latest --into copy --yes-replace db").is_err());
    }

    #[test]
    fn the_language_is_known_before_parsing() {
        assert_eq!(language(&words("amarre --lang fr list")), Some("fr"));
        assert_eq!(language(&words("amarre list --lang=fr")), Some("fr"));
        assert_eq!(language(&words("amarre verify -- --lang fr")), None);
        assert_eq!(language(&words("amarre --language")), None);
    }
}
