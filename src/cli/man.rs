//! `amarre man`: the manual pages, from the same texts as `--help`, in English and French.

use std::fs;
use std::path::Path;

use clap_mangen::Man;
use rust_i18n::t;

use crate::cli::args::{ManArgs, command};
use crate::cli::output::Output;
use crate::domain::text::escape;
use crate::error::{Exit, Failure};
use crate::settings::Language;

/// Runs the command. It needs no settings.
///
/// # Errors
/// When it cannot be written.
pub fn run(output: &Output, args: &ManArgs) -> Result<Exit, Failure> {
    match &args.dir {
        None => output.data(page(&command(), "amarre").trim_end())?,
        Some(directory) => write_all(output, directory)?,
    }
    Ok(Exit::Done)
}

/// `DIR/man1` and `DIR/fr/man1`, where `man` looks for them.
fn write_all(output: &Output, directory: &Path) -> Result<(), Failure> {
    let before = Language::current();
    let mut count = 0;
    for (language, below) in [(Language::English, "man1"), (Language::French, "fr/man1")] {
        language.use_everywhere();
        let written = write_pages(&directory.join(below));
        before.use_everywhere();
        count += written.map_err(|(path, cause)| Failure {
            message: t!("cmd.man.unwritten", path = escape(&path), cause = cause).into_owned(),
            hint: None,
            exit: Exit::Failed,
        })?;
    }
    output.message(&t!("cmd.man.done", count = count, directory = escape(&directory.display().to_string())));
    Ok(())
}

fn write_pages(directory: &Path) -> Result<usize, (String, std::io::Error)> {
    let failed = |path: &Path, cause| (path.display().to_string(), cause);
    fs::create_dir_all(directory).map_err(|cause| failed(directory, cause))?;
    let pages = pages();
    for (name, text) in &pages {
        let path = directory.join(format!("{name}.1"));
        fs::write(&path, text).map_err(|cause| failed(&path, cause))?;
    }
    Ok(pages.len())
}

/// A page for the program, and one for each command.
fn pages() -> Vec<(String, String)> {
    let root = command();
    let each = root.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| {
        let name = format!("amarre-{}", sub.get_name());
        (name.clone(), page(sub, &name))
    });
    std::iter::once(("amarre".to_owned(), page(&root, "amarre"))).chain(each).collect()
}

fn page(command: &clap::Command, name: &str) -> String {
    let spoken = name.replacen('-', " ", 1);
    let command = command.clone().name(name.to_owned()).bin_name(spoken).display_name(name.to_owned());
    let mut rendered = Vec::new();
    // Into memory: it cannot fail.
    let _ = Man::new(command).render(&mut rendered);
    let text = String::from_utf8_lossy(&rendered);
    // Without a date, which would be that of the build.
    let title = format!(".TH \"{name}\" \"1\" \"\" \"Amarre {}\" \"Amarre\"", env!("CARGO_PKG_VERSION"));
    let line = |line: &str| if line.starts_with(".TH ") { title.clone() } else { heading(line) };
    text.lines().map(|text| format!("{}\n", line(text))).collect()
}

/// Those of the library are English, and its word for the examples is another.
fn heading(line: &str) -> String {
    let Some(words) = line.strip_prefix(".SH ") else { return line.to_owned() };
    let heading = match words.trim_matches('"') {
        "NAME" => t!("cmd.man.name").into_owned(),
        "EXTRA" => t!("cmd.man.examples").into_owned(),
        other => other.to_uppercase(),
    };
    format!(".SH \"{heading}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let pages = pages();
        assert_eq!(pages.len(), command().get_subcommands().count() + 1);
        let restore = &pages.iter().find(|(name, _)| name == "amarre-restore").expect("a page").1;
        for part in [".SH \"NAME\"", ".SH \"EXAMPLES\"", "amarre restore", "latest"] {
            assert!(restore.contains(part), "{part} is missing:\n{restore}");
        }
    }
}
