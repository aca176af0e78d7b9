//! The documents say what the program does: links lead somewhere, and commands, settings and exit codes are all there.
#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/french.rs"]
mod french;

/// What hooks are told.
const OF_HOOKS: [&str; 9] = [
    "BACKUP_BYTES",
    "BACKUP_DATABASE",
    "BACKUP_ERROR",
    "BACKUP_EXIT",
    "BACKUP_FILE",
    "BACKUP_OUTCOME",
    "BACKUP_ROWS",
    "BACKUP_RUN",
    "BACKUP_SUSPICIOUS",
];

/// Settings of other images, which only the pages on coming from them name.
const OF_OTHERS: [&str; 8] = [
    "BACKUP_KEEP_DAYS",
    "BACKUP_KEEP_MINS",
    "BACKUP_KEEP_MONTHS",
    "BACKUP_KEEP_WEEKS",
    "BACKUP_MONTH_DAY",
    "BACKUP_ON_START",
    "BACKUP_SUFFIX",
    "BACKUP_WEEK_DAY",
];

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for link in links(&read(&document)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { document.clone() } else { document.with_file_name(path) };
            let missing = !target.exists() || (!anchor.is_empty() && !anchors(&read(&target)).contains(anchor));
            if missing {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(seen > 20, "only {seen} links were found");
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn every_command_is_in_the_readme_and_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_amarre"))
        .args(["--lang", "en", "--help"])
        .env("ENV_FILE", "/dev/null")
        .output()
        .expect("amarre runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A long description goes on in a line that is indented further.
    let names = commands.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let known: BTreeSet<String> = names.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(known.contains("restore"), "{help}");
    let table = section(&read(&root().join("README.md")), "## Commands");
    let told = table.lines().filter_map(|line| line.strip_prefix("| `amarre ")?.split('`').next().map(str::to_owned));
    assert_eq!(told.collect::<BTreeSet<_>>(), known, "README.md, the table of commands");
}

#[test]
fn every_setting_of_ours_is_documented_and_in_the_example() {
    let keys = keys();
    let quoted =
        keys.lines().filter_map(|line| line.trim().split_once("(\"")?.1.split_once("\"),").map(|(name, _)| name));
    let ours: BTreeSet<&str> = quoted.filter(|name| name.starts_with("BACKUP_")).collect();
    assert!(ours.len() > 15, "{ours:?}");
    let settings = section(&read(&root().join("docs/DEPLOYMENT.md")), "## Settings");
    let example = read(&root().join(".env.production.example"));
    for name in ours {
        assert!(settings.contains(&format!("`{name}`")), "docs/DEPLOYMENT.md, settings: {name} is missing");
        let line = format!("{name}=");
        let there = example.lines().any(|l| l.trim_start_matches('#').starts_with(&line));
        assert!(there, ".env.production.example: {name} is missing");
    }
}

#[test]
fn the_example_and_the_documents_name_no_setting_that_is_not_there() {
    let keys = keys();
    let mut wrong = Vec::new();
    for document in documents().into_iter().chain([root().join(".env.production.example")]) {
        let text = read(&document);
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        for word in words.filter(|word| word.starts_with("BACKUP_") && word.len() > "BACKUP_".len()) {
            let known = |name: &str| keys.contains(&format!("\"{name}\""));
            let is_document = word == "BACKUP_QUICKSTART" || word == "BACKUP_IMPLEMENTATION";
            let of_others = document.ends_with("MIGRATING.md") && OF_OTHERS.contains(&word)
                || document.ends_with("DEPLOYMENT.md") && OF_HOOKS.contains(&word);
            if !known(word) && !word.strip_suffix("_FILE").is_some_and(known) && !is_document && !of_others {
                wrong.push(format!("{}: {word}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "settings that there are not:\n{}", wrong.join("\n"));
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let code = read(&root().join("src/error.rs"));
    let of_code: BTreeMap<u8, String> = code
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .filter_map(|(name, number)| Some((number.parse().ok()?, words(name))))
        .collect();
    assert_eq!(of_code.len(), 7, "{of_code:?}");
    let told: BTreeMap<u8, String> = section(&read(&root().join("README.md")), "### Exit codes")
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            Some((cells.get(1)?.parse().ok()?, (*cells.get(2)?).to_owned()))
        })
        .collect();
    assert_eq!(told, of_code, "README.md, the table of exit codes");
}

#[test]
fn links_and_anchors_are_read_as_they_are_meant() {
    let text = "# Démarrage rapide\n[a](x.md#y-z) `b`\n```\n# no heading [c](no.md)\n```\n## A `socket` proxy: how?\n";
    assert_eq!(links(text), ["x.md#y-z"]);
    assert_eq!(anchors(text), BTreeSet::from(["démarrage-rapide".to_owned(), "a-socket-proxy-how".to_owned()]));
}

#[test]
fn the_fail_points_are_those_of_the_program_in_its_order() {
    let mut of_code = BTreeSet::new();
    for source in sources() {
        of_code.extend(read(&source).split("hit(\"").skip(1).filter_map(|rest| step(rest.split('"').next()?)));
    }
    assert!(of_code.len() > 20, "{of_code:?}");
    let architecture = read(&root().join("docs/ARCHITECTURE.md"));
    let told: Vec<Step> =
        architecture.split("[`").skip(1).filter_map(|rest| rest.split(']').next()).flat_map(steps).collect();
    assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), of_code, "docs/ARCHITECTURE.md, names in brackets");
    for name in told.iter().map(|(name, _)| name).collect::<BTreeSet<_>>() {
        let numbers: Vec<u32> = told.iter().filter(|(other, _)| other == name).map(|(_, number)| *number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>(), "docs/ARCHITECTURE.md: {name}");
    }
}

/// A numbered step: `backup.5`.
type Step = (String, u32);

fn step(text: &str) -> Option<Step> {
    let (name, number) = text.split_once('.')?;
    Some((name.to_owned(), number.parse().ok()?))
}

/// What stands in brackets: "a.1`", or "a.1` to `a.3`".
fn steps(bracket: &str) -> Vec<Step> {
    let named: Vec<Step> = bracket.split('`').filter_map(step).collect();
    match named.as_slice() {
        [(name, from), (_, to)] => (*from..=*to).map(|number| (name.clone(), number)).collect(),
        _ => named,
    }
}

/// Rust files of the program.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => directories.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

/// `NotConfirmed` is told as `not confirmed`.
fn words(name: &str) -> String {
    name.chars().enumerate().fold(String::new(), |mut out, (index, c)| {
        if c.is_uppercase() && index > 0 {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
        out
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The list of settings, without the tests beside it.
fn keys() -> String {
    let text = read(&root().join("src/settings/keys.rs"));
    text.split("#[cfg(test)]").next().expect("a first part").to_owned()
}

/// Markdown of the repository; what is built or fetched is none of it.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 6, "the documents were not found");
    found.sort();
    found
}

/// Lines outside of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

fn links(text: &str) -> Vec<String> {
    let after = prose(text).flat_map(|line| line.split("](").skip(1));
    after.filter_map(|rest| rest.split_once(')').map(|(link, _)| link.to_owned())).collect()
}

/// The anchors that GitHub makes of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>())
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

/// From a heading to the next one of its level or above.
fn section(text: &str, heading: &str) -> String {
    let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
    let own = level(heading);
    let after = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines: Vec<_> = after.take_while(|line| level(line) == 0 || level(line) > own).collect();
    assert!(!lines.is_empty(), "no section '{heading}'");
    lines.join("\n")
}
