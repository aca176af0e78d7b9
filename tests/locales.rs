//! The texts in `locales/`: each in both languages with the same placeholders, each used, none missing.
#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LANGUAGES: [&str; 2] = ["en", "fr"];

/// Keys that code puts together otherwise than by `t!(format!("prefix{…}"))`: none may be added without a reason.
const COMPUTED: &[&str] = &[];

/// Key to language to text.
type Texts = BTreeMap<String, BTreeMap<String, String>>;

/// Without it the library takes the name of the file for a language, and shows keys instead of texts.
#[test]
fn every_file_says_its_version() {
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("locales")).expect("listed") {
        let path = file.expect("an entry").path();
        assert!(fs::read_to_string(&path).expect("readable").starts_with("_version: 2\n"), "{}", path.display());
    }
}

#[test]
fn every_text_exists_in_both_languages() {
    for (key, languages) in texts() {
        let found: Vec<_> = languages.keys().map(String::as_str).collect();
        assert_eq!(found, LANGUAGES, "{key}");
        assert!(languages.values().all(|text| !text.trim().is_empty()), "{key} is empty");
    }
}

#[test]
fn placeholders_are_the_same_in_both_languages() {
    for (key, languages) in texts() {
        let sets: BTreeSet<_> = languages.values().map(|text| placeholders(text)).collect();
        assert_eq!(sets.len(), 1, "{key}: {sets:?}");
    }
}

#[test]
fn messages_follow_the_house_style() {
    let is_sentence = |text: &str| text.chars().count() > 1;
    for (key, languages) in texts().into_iter().filter(|(_, languages)| languages.values().all(|t| is_sentence(t))) {
        let (en, fr) = (&languages["en"], &languages["fr"]);
        assert!(!en.ends_with('.') || en.ends_with("..."), "{key}: a full stop: {en}");
        assert!(!fr.ends_with('.') || fr.ends_with("..."), "{key}: a full stop: {fr}");
        assert!(!en.contains('«'), "{key}: French quotes in English");
    }
}

#[test]
fn every_text_that_is_asked_for_exists_and_gets_what_it_needs() {
    let texts = texts();
    let mut wrong = Vec::new();
    for call in calls() {
        if call.computed {
            if !texts.keys().any(|key| key.starts_with(&call.key)) {
                wrong.push(format!("{}: no key begins with '{}'", call.place, call.key));
            }
            continue;
        }
        let Some(languages) = texts.get(&call.key) else {
            wrong.push(format!("{}: '{}' does not exist", call.place, call.key));
            continue;
        };
        for name in placeholders(&languages["en"]) {
            if !call.gives(&name) {
                wrong.push(format!("{}: '{}' needs %{{{name}}}", call.place, call.key));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The key of a stage is put together, so no call of `t!` names it.
#[test]
fn every_stage_that_begins_has_a_name() {
    let (texts, mut seen) = (texts(), 0);
    for (place, code) in code() {
        for stage in code.split("context.stage(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            seen += 1;
            assert!(texts.contains_key(&format!("stage.{stage}")), "{place}: stage.{stage}");
        }
    }
    assert!(seen > 5, "only {seen} stages were found");
}

#[test]
fn every_text_is_used() {
    let calls = calls();
    let prefixes: Vec<_> = calls.iter().filter(|call| call.computed).map(|call| call.key.as_str()).collect();
    let code = code();
    let unused: Vec<_> = texts()
        .into_keys()
        // Also where the key is chosen first and asked for later.
        .filter(|key| !code.iter().any(|(_, code)| code.contains(&format!("\"{key}\""))))
        .filter(|key| !prefixes.iter().chain(COMPUTED).any(|prefix| key.starts_with(prefix)))
        .collect();
    assert!(unused.is_empty(), "never used: {unused:#?}");
}

#[test]
fn calls_are_found_in_every_form() {
    let code = r#"
        format!("not.a.key"); t!("a.b", name = name); rust_i18n::t!(
            "c.d",
            x = f(")", 1)
        ); t!(format!("e.{key}")); #[error("{}", t!("g.h", other = a))]
    "#;
    let found: Vec<_> = calls_in(code, "x").into_iter().map(|call| (call.key.clone(), call.computed)).collect();
    let expected = [("a.b", false), ("c.d", false), ("e.", true), ("g.h", false)];
    assert_eq!(found, expected.map(|(key, computed)| (key.to_owned(), computed)));
    assert!(calls_in(code, "x")[1].gives("x") && !calls_in(code, "x")[1].gives("name"));
}

/// One use of a text.
struct Call {
    place: String,
    key: String,
    computed: bool,
    arguments: String,
}

impl Call {
    fn gives(&self, name: &str) -> bool {
        let words = self.arguments.replace(['(', ')', ','], " ");
        words.contains(&format!(" {name} = ")) || words.contains(&format!(" {name} => "))
    }
}

fn calls() -> Vec<Call> {
    let calls: Vec<_> = code().iter().flat_map(|(place, code)| calls_in(code, place)).collect();
    assert!(calls.len() > 20, "no calls were found");
    calls
}

/// All sources without their comments.
fn code() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for file in files(&root().join("src"), "rs") {
        let text = fs::read_to_string(&file).expect("readable");
        let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        all.push((file.display().to_string(), lines.join("\n")));
    }
    all
}

fn calls_in(code: &str, place: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    for (at, _) in code.match_indices("t!(") {
        let part_of_a_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if part_of_a_name {
            continue;
        }
        let inside = balanced(&code[at + 3..]);
        let first = inside.trim_start();
        let (text, computed) = match first.strip_prefix("format!(") {
            Some(rest) => (rest.trim_start().strip_prefix('"'), true),
            None => (first.strip_prefix('"'), false),
        };
        let Some(text) = text else { continue };
        let key = text.split(['"', '{']).next().unwrap_or_default().to_owned();
        let arguments = inside.split_whitespace().collect::<Vec<_>>().join(" ");
        calls.push(Call { place: place.to_owned(), key, computed, arguments });
    }
    calls
}

/// What stands before the parenthesis that closes; those in strings do not count.
fn balanced(code: &str) -> &str {
    let (mut depth, mut in_string, mut escaped) = (1, false, false);
    for (at, c) in code.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[..at];
        }
    }
    code
}

fn placeholders(text: &str) -> BTreeSet<String> {
    text.split("%{").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

fn texts() -> Texts {
    let mut texts = Texts::new();
    for file in files(&root().join("locales"), "yml") {
        let text = fs::read_to_string(&file).expect("readable");
        for (key, languages) in parse(&text, &file) {
            assert!(texts.insert(key.clone(), languages).is_none(), "{}: '{key}' is there twice", file.display());
        }
    }
    assert!(!texts.is_empty(), "no texts were found");
    texts
}

/// The form that all files of ours have: a key, below it one quoted line for each language.
fn parse(text: &str, file: &Path) -> Vec<(String, BTreeMap<String, String>)> {
    let mut entries: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.display(), number + 1);
        if line == "_version: 2" || line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match (line.strip_prefix("  "), entries.last_mut()) {
            (Some(inner), Some((_, languages))) => {
                let (language, value) = inner.split_once(": ").unwrap_or_else(|| panic!("{place}: {line}"));
                let value = value.trim().strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                let value = value.unwrap_or_else(|| panic!("{place}: not between double quotes"));
                let old = languages.insert(language.to_owned(), value.to_owned());
                assert!(old.is_none(), "{place}: '{language}' is there twice");
            }
            _ => {
                let key = line.strip_suffix(':').unwrap_or_else(|| panic!("{place}: {line}"));
                entries.push((key.to_owned(), BTreeMap::new()));
            }
        }
    }
    entries
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
