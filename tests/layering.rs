//! The arrows between the rooms of `src/`, as docs/ARCHITECTURE.md draws them: an arrow that the plan does not have fails here.
//! Code under `#[cfg(test)]` may look anywhere.
#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Macro, UseTree};

/// Which rooms a room may use. Everybody may use `error`, and nobody `main`.
const PLAN: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("domain", &[]),
    ("runner", &["domain"]),
    ("database", &["domain", "runner"]),
    ("dump", &["domain"]),
    ("store", &["domain"]),
    ("journal", &["domain"]),
    ("notify", &["domain"]),
    ("settings", &["domain"]),
    ("process", &["domain"]),
    ("operations", &["database", "domain", "dump", "journal", "runner", "store"]),
    ("supervisor", &["domain", "operations", "process"]),
    (
        "app",
        &[
            "database",
            "domain",
            "dump",
            "journal",
            "notify",
            "operations",
            "process",
            "runner",
            "settings",
            "store",
            "supervisor",
        ],
    ),
    ("cli", &["app", "domain", "operations", "settings"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Concrete adapters: `app` alone names them (and their own room).
const ADAPTERS: &[(&str, &str)] =
    &[("database", "postgres"), ("store", "local"), ("store", "s3"), ("runner", "docker"), ("runner", "local")];

const MAIN_LINES: usize = 20;
const FILE_LINES: usize = 800;

#[test]
fn every_arrow_is_in_the_plan() {
    let mut wrong = Vec::new();
    for file in sources() {
        let room = room(&file);
        let allowed = PLAN.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            wrong.push(format!("{}: '{room}' is not a room of the plan", file.display()));
            continue;
        };
        for used in arrows(&file) {
            let target = used[0].as_str();
            if target != room && target != "error" && !allowed.contains(&target) {
                wrong.push(format!("{}: {room} -> {target}", file.display()));
            }
            let inner = used.get(1).map_or("", String::as_str);
            if target != room && room != "app" && ADAPTERS.contains(&(target, inner)) {
                wrong.push(format!("{}: {room} names the adapter {target}::{inner}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the plan does not have:\n{}", wrong.join("\n"));
}

#[test]
fn an_arrow_is_seen_wherever_it_stands() {
    let code = "use crate::{store::local, error::Exit}; use crate::domain::text as x;\n\
        fn f(a: crate::runner::Place) { println!(\"{}\", crate::journal::x()); }\n\
        #[error(\"{}\", crate::dump::text())] struct E;\n\
        #[cfg(test)] mod tests { use crate::cli::run; }";
    let found: BTreeSet<String> = arrows_of(code).into_iter().map(|path| path.join("::")).collect();
    for expected in ["store::local", "error::Exit", "domain::text", "runner::Place", "journal::x", "dump::text"] {
        assert!(found.contains(expected), "{expected} is missing in {found:?}");
    }
    assert!(!found.iter().any(|path| path.starts_with("cli")), "{found:?}");
}

#[test]
fn files_are_short() {
    for file in sources() {
        let lines = fs::read_to_string(&file).expect("readable").lines().count();
        let most = if file.ends_with("src/main.rs") { MAIN_LINES } else { FILE_LINES };
        assert!(lines <= most, "{}: {lines} lines, more than {most}", file.display());
    }
}

/// Rows of the document: ``| `room` | what for | `a`, `b` |``.
#[test]
fn the_document_draws_the_same_plan() {
    let path = root().join("docs/ARCHITECTURE.md");
    let Ok(text) = fs::read_to_string(&path) else { return };
    let lines = text.lines().count();
    assert!(lines < 200, "{}: {lines} lines, not under 200", path.display());
    let drawn: BTreeMap<String, BTreeSet<String>> = text.lines().filter_map(row).collect();
    for (room, allowed) in PLAN.iter().filter(|(room, _)| !["error", "main", "lib"].contains(room)) {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(drawn.get(*room), Some(&allowed), "{}: the row of '{room}'", path.display());
    }
}

fn row(line: &str) -> Option<(String, BTreeSet<String>)> {
    let cells: Vec<_> = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
    let [room, .., allowed] = cells.as_slice() else { return None };
    let name = quoted(room).into_iter().next()?;
    PLAN.iter().any(|(known, _)| *known == name).then(|| (name, quoted(allowed)))
}

/// What stands between backquotes, without a slash or `.rs` at its end.
fn quoted(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(|word| word.trim_end_matches('/').trim_end_matches(".rs").to_owned()).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root().join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 20, "the sources were not found");
    files.sort();
    files
}

/// `src/store/local.rs` is of the room `store`, `src/app.rs` of `app`.
fn room(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).expect("below src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn arrows(file: &Path) -> Vec<Vec<String>> {
    // Beside the code that it tests, declared there with `#[cfg(test)] mod tests;`.
    if file.file_stem().is_some_and(|stem| stem == "tests") {
        return Vec::new();
    }
    arrows_of(&fs::read_to_string(file).expect("readable"))
}

fn arrows_of(code: &str) -> Vec<Vec<String>> {
    let mut finder = Finder::default();
    finder.visit_file(&syn::parse_file(code).expect("Rust"));
    finder.found
}

#[derive(Default)]
struct Finder {
    found: Vec<Vec<String>>,
}

impl Finder {
    fn tree(&mut self, tree: &UseTree, above: &[String]) {
        let with = |name: String| above.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, above)),
            UseTree::Name(name) => self.path(&with(name.ident.to_string())),
            UseTree::Rename(name) => self.path(&with(name.ident.to_string())),
            UseTree::Glob(_) => self.path(above),
        }
    }

    /// `crate::room…` inside the library, `amarre::room…` in `main.rs`.
    fn path(&mut self, path: &[String]) {
        if let [first, rest @ ..] = path
            && (first == "crate" || first == "amarre")
            && !rest.is_empty()
        {
            self.found.push(rest.to_vec());
        }
    }

    /// Inside a macro or an attribute there is no tree, only words.
    fn tokens(&mut self, tokens: &str) {
        let words: Vec<_> =
            tokens.split_whitespace().flat_map(|word| word.split("::")).filter(|w| !w.is_empty()).collect();
        for (index, _) in words.iter().enumerate().filter(|(_, word)| word.trim_start_matches('(') == "crate") {
            let name =
                |word: &&str| word.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
            let rest: Vec<_> = words[index + 1..].iter().take(2).map(name).collect();
            self.found.push(rest);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.tokens(&item.tokens.to_string());
        visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Ok(list) = attribute.meta.require_list() {
            self.tokens(&list.tokens.to_string());
        }
    }
}
