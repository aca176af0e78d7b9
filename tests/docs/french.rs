//! The French documents say as much as the English ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{blocks, keys, prose, read, root, section};

/// Documents that are English only.
const ENGLISH_ONLY: [&str; 3] = ["ARCHITECTURE.md", "BENCHMARKS.md", "JSON.md"];

/// Each document with its French version.
fn pairs() -> Vec<(PathBuf, PathBuf)> {
    let docs = root().join("docs");
    let names = fs::read_dir(&docs).expect("docs/").map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.ends_with(".md"));
    let mut found: Vec<_> = names
        .filter(|name| !ENGLISH_ONLY.contains(&name.as_str()))
        .map(|name| (docs.join(&name), docs.join("fr").join(&name)))
        .collect();
    found.push((root().join("README.md"), root().join("README.fr.md")));
    found.sort();
    found
}

#[test]
fn each_document_begins_with_a_link_to_the_other_language() {
    assert!(pairs().len() > 6, "{:?}", pairs());
    for (english, french) in pairs() {
        let name = english.file_name().expect("a name").to_string_lossy().into_owned();
        let (there, back) = match name.as_str() {
            "README.md" => ("README.fr.md".to_owned(), "README.md".to_owned()),
            name => (format!("fr/{name}"), format!("../{name}")),
        };
        let third = |path: &Path| read(path).lines().nth(2).unwrap_or_default().to_owned();
        assert_eq!(third(&english), format!("English · [Français]({there})"), "{name}");
        assert_eq!(third(&french), format!("[English]({back}) · Français"), "{}", french.display());
    }
}

#[test]
fn no_french_document_is_without_its_original() {
    let originals: BTreeSet<_> = pairs().into_iter().map(|(_, french)| french).collect();
    for entry in fs::read_dir(root().join("docs/fr")).expect("docs/fr/") {
        let path = entry.expect("an entry").path();
        assert!(originals.contains(&path), "{}", path.display());
    }
}

#[test]
fn sections_tables_and_lists_are_as_long_in_both_languages() {
    let shape = |path: &Path| -> Vec<String> {
        let text = read(path);
        let kinds = prose(&text).filter_map(|line| {
            let level = line.chars().take_while(|c| *c == '#').count();
            match line.trim_start().chars().next() {
                Some('#') => Some(format!("heading {level}")),
                Some('|') => Some(format!("row of {}", line.matches(" |").count())),
                Some('-') => Some("item".to_owned()),
                Some(c) if c.is_ascii_digit() && line.trim_start().starts_with(&format!("{c}. ")) => {
                    Some(format!("step {c}"))
                }
                _ => None,
            }
        });
        kinds.collect()
    };
    for (english, french) in pairs() {
        let (left, right) = (shape(&english), shape(&french));
        let heading = |shape: &[String], at: usize| shape[..at].iter().filter(|kind| kind.starts_with('h')).count();
        let differs = left.iter().zip(&right).position(|(left, right)| left != right);
        if let Some(at) = differs {
            let number = heading(&left, at);
            panic!("{}: after heading {number}: '{}', in French '{}'", english.display(), left[at], right[at]);
        }
        assert_eq!(left.len(), right.len(), "{}: the end", english.display());
    }
}

#[test]
fn commands_and_settings_are_the_same_in_both_languages() {
    for (english, french) in pairs() {
        let (left, right) = (blocks::same_in_every_language(&english), blocks::same_in_every_language(&french));
        for (number, (left, right)) in left.iter().zip(&right).enumerate() {
            assert_eq!(left, right, "{}: block {}", english.display(), number + 1);
        }
        assert_eq!(left.len(), right.len(), "{}: blocks", english.display());
    }
}

#[test]
fn the_settings_are_the_same_in_both_languages() {
    let told = |document: &str, heading: &str| -> BTreeSet<String> {
        let table = section(&read(&root().join(document)), heading);
        let first = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let quoted = first.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        quoted.map(str::to_owned).collect()
    };
    let english = told("docs/DEPLOYMENT.md", "## Settings");
    let french = told("docs/fr/DEPLOYMENT.md", "## Réglages");
    assert!(english.len() > 40, "{english:?}");
    assert_eq!(english, french);
    let keys = keys();
    for name in &english {
        assert!(keys.contains(&format!("\"{name}\"")), "{name} is no setting");
    }
}

#[test]
fn commands_and_exit_codes_are_the_same_in_both_languages() {
    let first = |document: &str, heading: &str| -> Vec<String> {
        let table = section(&read(&root().join(document)), heading);
        let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next().map(str::to_owned));
        rows.skip(1).collect()
    };
    let commands = first("README.fr.md", "## Commandes");
    assert!(commands.len() > 10, "{commands:?}");
    assert_eq!(commands, first("README.md", "## Commands"));
    assert_eq!(first("README.fr.md", "### Codes de sortie"), first("README.md", "### Exit codes"));
}

/// What differs between a message and its template: values that the documents give as examples.
const EXAMPLES: [&str; 7] = ["pg_dump", "137", "(GLACIER)", "BACKUP_", "roles", "rôles", "supprimer"];

#[test]
fn the_messages_that_are_explained_are_those_of_the_program() {
    for (document, heading, language) in [
        ("docs/DEPLOYMENT.md", "### What the messages mean", "en"),
        ("docs/fr/DEPLOYMENT.md", "### Ce que veulent dire les messages", "fr"),
    ] {
        let texts = texts(language);
        assert!(texts.len() > 300, "{}", texts.len());
        let table = section(&read(&root().join(document)), heading);
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let messages: Vec<&str> = rows.flat_map(|cell| cell.split('`').step_by(2)).collect();
        let messages: Vec<&str> = messages.into_iter().filter(|message| message.len() > 4).collect();
        assert!(messages.len() > 25, "{messages:?}");
        for message in messages {
            let parts = parts(message);
            assert!(!parts.is_empty(), "{document}: {message}");
            let said = texts.iter().any(|text| parts.iter().all(|part| text.contains(part.as_str())));
            assert!(said, "{document}: nobody says '{message}'");
        }
    }
}

/// The words of a message between what stands for a value.
fn parts(message: &str) -> Vec<String> {
    let plain = EXAMPLES.iter().fold(message.to_owned(), |text, example| text.replace(example, "…"));
    let trimmed = plain.split('…').map(|part| part.trim_matches([' ', '\'', '«', '»', ':', ';', ',', '_']));
    trimmed.filter(|part| part.len() > 2).map(str::to_owned).collect()
}

/// Every text of the program in a language.
fn texts(language: &str) -> Vec<String> {
    let begin = format!("  {language}: \"");
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("locales")).expect("locales/") {
        let text = read(&entry.expect("an entry").path());
        found.extend(text.lines().filter_map(|line| Some(line.strip_prefix(&begin)?.strip_suffix('"')?.to_owned())));
    }
    found
}
