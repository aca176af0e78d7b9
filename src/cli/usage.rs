//! What is wrong with a command line, in the operator's language: clap finds it, and says it in English only.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use rust_i18n::t;

use crate::cli::args::{self, Color};
use crate::cli::output::Output;
use crate::domain::text::{escape, nearest};
use crate::error::{Exit, Failure};
use crate::settings::Environment;

/// Help and version go to standard output; what is wrong to standard error.
#[must_use]
pub fn tell(error: &clap::Error, arguments: &[OsString], environment: &Environment) -> Exit {
    match failure(error, arguments) {
        Some(failure) => Output::new(Color::Auto, false, environment).failure(&failure),
        // Help, the version, or a kind of error that there is no text for.
        None => drop(error.print()),
    }
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// What to say of it; `None`: what clap says.
fn failure(error: &clap::Error, arguments: &[OsString]) -> Option<Failure> {
    let get = |kind| texts(error, kind);
    let one = |kind| escape(&get(kind).join(", "));
    let (argument, value) = (one(ContextKind::InvalidArg), one(ContextKind::InvalidValue));
    let message = match error.kind() {
        ErrorKind::UnknownArgument => t!("cli.usage.unknown", what = argument),
        ErrorKind::InvalidSubcommand => t!("cli.usage.command", what = one(ContextKind::InvalidSubcommand)),
        ErrorKind::InvalidValue if value.is_empty() => t!("cli.usage.needs_value", argument = argument),
        ErrorKind::InvalidValue => t!("cli.usage.value", argument = argument, value = value),
        ErrorKind::ValueValidation => {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            t!("cli.usage.invalid", argument = argument, value = value, cause = escape(&cause))
        }
        ErrorKind::ArgumentConflict => {
            let other = one(ContextKind::PriorArg);
            if argument == other || other.is_empty() {
                t!("cli.usage.twice", argument = argument)
            } else {
                t!("cli.usage.conflict", argument = argument, other = other)
            }
        }
        ErrorKind::MissingRequiredArgument => t!("cli.usage.missing", what = argument),
        ErrorKind::TooManyValues => t!("cli.usage.unknown", what = value),
        _ => return None,
    };
    Some(Failure { message: message.into_owned(), hint: Some(hint(error, arguments)), exit: Exit::Usage })
}

fn hint(error: &clap::Error, arguments: &[OsString]) -> String {
    let meant = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let suggested = meant.into_iter().flat_map(|kind| texts(error, kind)).next().or_else(|| command_meant(error));
    if let Some(name) = suggested {
        return t!("cli.usage.nearest_hint", name = escape(&name)).into_owned();
    }
    let valid = texts(error, ContextKind::ValidValue);
    if !valid.is_empty() {
        return t!("cli.usage.choices_hint", choices = valid.join(", ")).into_owned();
    }
    let command = args::command();
    let is_one = |word: &&str| command.get_subcommands().any(|sub| sub.get_name() == *word);
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    match words.clone().find(is_one) {
        Some(name) => t!("cli.usage.help_of_hint", name = name).into_owned(),
        None => t!("cli.usage.help_hint").into_owned(),
    }
}

/// clap's own measure finds less.
fn command_meant(error: &clap::Error) -> Option<String> {
    let typed = texts(error, ContextKind::InvalidSubcommand).into_iter().next()?;
    let command = args::command();
    nearest(&typed, command.get_subcommands().map(clap::Command::get_name)).map(str::to_owned)
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        Some(ContextValue::StyledStrs(texts)) => texts.iter().map(ToString::to_string).collect(),
        Some(ContextValue::Number(number)) => vec![number.to_string()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> (String, String) {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let error = args::parse(arguments.clone()).expect_err("it is wrong");
        let failure = failure(&error, &arguments).unwrap_or_else(|| panic!("no text for {:?}", error.kind()));
        (failure.message, failure.hint.unwrap_or_default())
    }

    #[test]
    fn a_wrong_word_names_the_nearest() {
        for (line, wrong, meant) in [
            ("amarre retsore --latest", "retsore", "restore"),
            ("amarre bakcup", "bakcup", "backup"),
            ("amarre verfy", "verfy", "verify"),
            ("amarre list --jsno", "--jsno", "--json"),
            ("amarre restore --lastest", "--lastest", "--latest"),
            ("amarre backup --uplaod-s3", "--uplaod-s3", "--upload-s3"),
            ("amarre --color alwyas list", "alwyas", "always"),
            ("amarre completions bsah", "bsah", "bash"),
        ] {
            let (message, hint) = said(line);
            assert!(message.contains(&format!("'{wrong}'")), "{line}: {message}");
            assert!(hint.contains(&format!("'{meant}'")), "{line}: {hint}");
        }
    }

    #[test]
    fn whatever_else_is_wrong_is_named_and_help_is_told() {
        for (line, words) in [
            ("amarre zzzzz", &["'zzzzz'", "amarre --help"][..]),
            ("amarre list --qqqqq", &["'--qqqqq'", "amarre list --help"]),
            ("amarre list more", &["'more'"]),
            ("amarre restore a --latest", &["--latest"]),
            ("amarre restore --latest --latest", &["--latest"]),
            ("amarre get", &["<NAME>", "amarre get --help"]),
            ("amarre share x --for 8d", &["8d", "--for", "7 days"]),
            ("amarre restore --into", &["--into"]),
            ("amarre --lang de list", &["de", "en, fr"]),
        ] {
            let (message, hint) = said(line);
            for word in words {
                assert!(message.contains(word) || hint.contains(word), "{line}: {word} is not in: {message} / {hint}");
            }
        }
    }

    #[test]
    fn fault_85_what_was_typed_is_escaped() {
        let arguments = vec![OsString::from("amarre"), OsString::from("li\u{1b}[31m\nst")];
        let error = args::parse(arguments.clone()).expect_err("it is wrong");
        let text = failure(&error, &arguments).expect("a text").message;
        assert!(crate::domain::text::is_plain(&text), "{text:?}");
    }
}
