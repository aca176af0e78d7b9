//! Looks variables up in all sources, keeps where each came from, collects what is wrong. The elements ask it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::settings::Sources;
use crate::settings::env_file::{self, Variables};
use crate::settings::keys::{self, Form};
use crate::settings::origin::{Entry, Origin};
use crate::settings::problem::{FileFault, Problem};
use crate::settings::secret::{STARS, Secret};

/// Default of `ENV_FILE` on the host; it need not exist.
pub const ENV_FILE_DEFAULT: &str = ".env.production";

/// No secret is longer (bytes).
const SECRET_LIMIT: u64 = 64 * 1024;

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value, not empty.
    pub value: String,
    /// Its source.
    pub origin: Origin,
    /// The file that `NAME_FILE` named.
    file: Option<PathBuf>,
}

/// A variable that nobody here reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// Its name.
    pub name: String,
    /// What it was perhaps meant to be.
    pub meant: &'static str,
}

/// The sources of one start, while they are being read.
pub struct Reader<'a> {
    sources: &'a Sources,
    file: Option<(PathBuf, Variables)>,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Opens `ENV_FILE` (on the host) or `BACKUP_SETTINGS_FILE` (in the container) and looks for variables that nobody knows.
    #[must_use]
    pub fn new(sources: &'a Sources) -> Self {
        let mut reader = Self { sources, file: None, entries: Vec::new(), problems: Vec::new() };
        // On a host the file of the application; in the container Compose has read that, and another may be mounted.
        let (name, other, default) = match sources.in_container {
            false => ("ENV_FILE", "BACKUP_SETTINGS_FILE", Some(ENV_FILE_DEFAULT)),
            true => ("BACKUP_SETTINGS_FILE", "ENV_FILE", None),
        };
        reader.open_file(name, default);
        reader.record(other, None, Origin::Default);
        reader.refuse_unknown();
        reader.refuse_not_text();
        reader
    }

    /// What was read, in the order of [`keys::KEYS`], and what is wrong.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Entry>, Vec<Problem>) {
        let place = |name: &str| keys::KEYS.iter().position(|key| key.name == name);
        self.entries.sort_by_key(|entry| place(entry.name));
        (self.entries, self.problems)
    }

    /// Notes that something is wrong.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes what holds for `name`.
    pub fn record(&mut self, name: &'static str, value: Option<String>, origin: Origin) {
        self.entries.push(Entry::new(name, value, origin, None));
    }

    /// The directory that relative paths are relative to.
    #[must_use]
    pub fn absolute(&self, path: &str) -> PathBuf {
        self.sources.cwd.join(path).components().collect()
    }

    /// The value of `name` without recording it: strongest source first, empty values skipped.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<Found> {
        let found = |value: &str, origin| Found { value: value.to_owned(), origin, file: None };
        let not_empty = |value: &&String| !value.is_empty();
        if let Some(value) = self.sources.overrides.get(name).filter(not_empty) {
            return Some(found(value, Origin::CommandLine));
        }
        if let Some(value) = self.sources.environment.get(name) {
            return Some(found(value, Origin::Environment));
        }
        let (path, variables) = self.file.as_ref()?;
        variables.get(name).filter(not_empty).map(|value| found(value, Origin::EnvFile(path.clone())))
    }

    /// The text of `name`, recorded; `None`: not set, or refused.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let found = self.fetch(name);
        let (value, origin, file) = match &found {
            Some(found) => (Some(found.value.clone()), found.origin.clone(), found.file.clone()),
            None => (None, Origin::Default, None),
        };
        self.entries.push(Entry::new(name, value, origin, file));
        found.map(|found| found.value)
    }

    /// The secret `name`, from its value or its file; recorded as stars.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        let found = self.fetch(name);
        let (origin, file) = match &found {
            Some(found) => (found.origin.clone(), found.file.clone()),
            None => (Origin::Default, None),
        };
        self.entries.push(Entry::new(name, found.is_some().then(|| STARS.to_owned()), origin, file));
        found.map(|found| Secret::new(found.value))
    }

    /// The text of `name`, or `default`.
    pub fn text_or(&mut self, name: &'static str, default: &str) -> String {
        self.parsed(name, default.to_owned(), |text| Ok(text.to_owned()))
    }

    /// The value of `name` as `parse` reads it, or `default`.
    pub fn parsed<T: Display>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> T {
        let Some(found) = self.fetch(name) else {
            self.record(name, Some(default.to_string()), Origin::Default);
            return default;
        };
        match parse(&found.value) {
            Ok(value) => {
                self.entries.push(Entry::new(name, Some(value.to_string()), found.origin, found.file));
                value
            }
            Err(problem) => {
                self.problem(problem);
                default
            }
        }
    }

    /// A whole number between `min` and `max`.
    pub fn number(&mut self, name: &'static str, default: u32, min: u32, max: u32) -> u32 {
        self.parsed(name, default, |text| number(name, text, min, max))
    }

    /// One of `choices`, in any case.
    pub fn choice<T: Display + Copy>(
        &mut self,
        name: &'static str,
        default: T,
        words: &'static [&'static str],
        values: &[T],
    ) -> T {
        self.parsed(name, default, |text| {
            let position = words.iter().position(|word| word.eq_ignore_ascii_case(text.trim()));
            position.and_then(|position| values.get(position).copied()).ok_or_else(|| Problem::Choice {
                name,
                value: text.to_owned(),
                choices: words,
            })
        })
    }

    /// A directory: absolute or relative to where the command was started, not the root.
    pub fn directory(&mut self, name: &'static str, default: &str) -> PathBuf {
        let cwd = &self.sources.cwd;
        let resolve = |text: &str| -> PathBuf { cwd.join(text).components().collect() };
        let text = self.parsed(name, default.to_owned(), |text| {
            let path = resolve(text);
            let refused = path.parent().is_none() || path.components().any(|c| c == std::path::Component::ParentDir);
            if refused {
                return Err(Problem::Directory { name, value: text.to_owned() });
            }
            Ok(path.to_string_lossy().into_owned())
        });
        PathBuf::from(text)
    }

    /// The value of `name` or what its file holds, checked.
    fn fetch(&mut self, name: &'static str) -> Option<Found> {
        let form = keys::find(name).map_or(Form::Plain, |key| key.form);
        let found = match form {
            Form::Plain => self.peek(name),
            Form::OrFile | Form::Secret => self.value_or_file(name),
        }?;
        // A name in the database may hold anything but the trace of a file saved on Windows.
        let lines = form != Form::OrFile && found.value.contains(['\n', '\r', '\0']);
        if lines || found.value.ends_with('\r') {
            self.problem(Problem::Control { name, origin: found.origin });
            return None;
        }
        Some(found)
    }

    fn value_or_file(&mut self, name: &'static str) -> Option<Found> {
        let value = self.peek(name);
        let Some(file) = self.peek(&format!("{name}_FILE")) else { return value };
        if let Some(value) = value {
            self.problem(Problem::Both { name, origin: value.origin, file_origin: file.origin });
            return None;
        }
        let path = self.absolute(&file.value);
        match read_secret(&path) {
            Ok(value) => Some(Found { value, origin: file.origin, file: Some(path) }),
            Err(fault) => {
                self.problem(Problem::SecretFile { name, path, fault });
                None
            }
        }
    }

    fn open_file(&mut self, name: &'static str, default: Option<&str>) {
        let named = self.peek(name);
        let Some(path) = named.as_ref().map(|found| found.value.as_str()).or(default) else {
            return self.record(name, None, Origin::Default);
        };
        let path = self.absolute(path);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return self.record(name, None, Origin::Default);
            }
            Err(error) => return self.problem(Problem::EnvFile { path, cause: error.to_string() }),
        };
        self.record(
            name,
            Some(path.to_string_lossy().into_owned()),
            named.map_or(Origin::Default, |found| found.origin),
        );
        let environment = &self.sources.environment;
        match env_file::parse(&text, &|name| environment.get_raw(name).map(str::to_owned)) {
            Ok(variables) => self.file = Some((path, variables)),
            Err(error) => self.problem(Problem::EnvFileSyntax { path, line: error.line, kind: error.kind }),
        }
    }

    fn refuse_unknown(&mut self) {
        let environment = &self.sources.environment;
        let in_hook = keys::OF_HOOKS[..2].iter().all(|name| environment.get_raw(name).is_some());
        let in_environment = environment
            .iter()
            .filter(|(name, _)| !(in_hook && keys::OF_HOOKS.contains(name)))
            .map(|(name, _)| (name, Origin::Environment));
        let in_file = self
            .file
            .iter()
            .flat_map(|(path, variables)| variables.keys().map(|name| (name.as_str(), Origin::EnvFile(path.clone()))));
        let unknown: Vec<_> = in_environment
            .chain(in_file)
            .filter(|(name, _)| name.starts_with(keys::PREFIX) && !keys::is_known(name))
            .map(|(name, origin)| Problem::Unknown { name: name.to_owned(), nearest: keys::nearest(name), origin })
            .collect();
        self.problems.extend(unknown);
    }

    /// Names that are not ours, and which of ours they were perhaps meant to be: where that one is not set.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        let in_file = self.file.iter().flat_map(|(_, variables)| variables.keys().map(String::as_str));
        let names = self.sources.environment.iter().map(|(name, _)| name).chain(in_file);
        let is_set = |name: &str| self.peek(name).or_else(|| self.peek(&format!("{name}_FILE"))).is_some();
        // The application may have a bucket of its own: names of another program are doubted where ours are in use.
        let has_bucket = ["S3_BACKUP_BUCKET", "S3_ENDPOINT_URL"].into_iter().any(is_set);
        let doubt = |name: &str| Some(Doubt { name: name.to_owned(), meant: keys::doubted(name, has_bucket)? });
        let doubts: BTreeSet<Doubt> = names.filter_map(doubt).filter(|doubt| !is_set(doubt.meant)).collect();
        doubts.into_iter().collect()
    }

    fn refuse_not_text(&mut self) {
        let names = self.sources.environment.not_text().filter(|name| keys::is_known(name));
        self.problems.extend(names.map(|name| Problem::NotText { name: name.to_owned() }));
    }
}

/// `text` as a whole number between `min` and `max`.
///
/// # Errors
/// [`Problem::Number`] about `name`.
pub fn number(name: &'static str, text: &str, min: u32, max: u32) -> Result<u32, Problem> {
    let parsed = text.trim().parse().ok().filter(|number| (min..=max).contains(number));
    parsed.ok_or_else(|| Problem::Number { name, value: text.to_owned(), min, max })
}

/// One line of text; a line end after it is no part of it, a carriage return is refused.
fn read_secret(path: &Path) -> Result<String, FileFault> {
    let unreadable = |error: std::io::Error| FileFault::Unreadable(error.to_string());
    // Asked before opening: a named pipe without a writer would block.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileFault::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(SECRET_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > SECRET_LIMIT {
        return Err(FileFault::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| FileFault::NotText)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    match text {
        _ if text.contains('\r') => Err(FileFault::CarriageReturn),
        _ if text.contains('\n') => Err(FileFault::Lines),
        _ if text.trim().is_empty() => Err(FileFault::Empty),
        _ if text.chars().any(|c| c.is_control() && c != '\t') => Err(FileFault::NotText),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::sources;
    use crate::settings::{Settings, Sources};

    fn secret_in(bytes: &[u8]) -> Result<String, FileFault> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        std::fs::write(&path, bytes).expect("written");
        read_secret(&path)
    }

    #[test]
    fn one_line_with_or_without_its_end_is_a_secret() {
        assert_eq!(secret_in(b"s3cr3t"), Ok("s3cr3t".into()));
        assert_eq!(secret_in(b"s3cr3t\n"), Ok("s3cr3t".into()));
        assert_eq!(secret_in(b" with spaces "), Ok(" with spaces ".into()));
    }

    #[test]
    fn fault_3_bad_secret_files_are_refused() {
        assert_eq!(secret_in(b""), Err(FileFault::Empty));
        assert_eq!(secret_in(b"\n"), Err(FileFault::Empty));
        assert_eq!(secret_in(b"  \n"), Err(FileFault::Empty));
        assert_eq!(secret_in(b"secret\r\n"), Err(FileFault::CarriageReturn));
        assert_eq!(secret_in(b"secret\r"), Err(FileFault::CarriageReturn));
        assert_eq!(secret_in(b"one\ntwo\n"), Err(FileFault::Lines));
        assert_eq!(secret_in(b"secret\n\n"), Err(FileFault::Lines));
        assert_eq!(secret_in(b"\xff"), Err(FileFault::NotText));
        assert_eq!(secret_in(b"a\0b"), Err(FileFault::NotText));
        assert_eq!(secret_in(&vec![b'a'; 70_000]), Err(FileFault::TooLarge));
        assert_eq!(read_secret(Path::new("/")), Err(FileFault::NotAFile));
        assert!(matches!(read_secret(Path::new("/nonexistent/secret")), Err(FileFault::Unreadable(_))));
    }

    #[test]
    fn in_the_container_a_mounted_file_says_what_the_environment_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("settings").display().to_string();
        let given = [
            ("BACKUP_SETTINGS_FILE", path.as_str()),
            ("BACKUP_KEEP_VERIFIED", "4"),
            ("ENV_FILE", "/nonexistent"),
            ("S3_BUCKET", "x"),
        ];
        let sources = Sources { in_container: true, ..sources(&given) };
        let keeps = |text: &str| {
            std::fs::write(&path, text).expect("written");
            Settings::load(&sources).map(|s| (s.retention.days, s.retention.keep_verified))
        };
        assert_eq!(keeps("BACKUP_RETENTION_DAYS=9\nBACKUP_KEEP_VERIFIED=8\n").expect("good"), (Some(9), 4));
        assert_eq!(keeps("BACKUP_RETENTION_DAYS=12\n").expect("read again"), (Some(12), 4));
        assert!(keeps("BACKUP_RETENTION_DAYS='12\n").is_err() && keeps("BACKUP_RETENTON_DAYS=12\n").is_err());
        std::fs::remove_file(&path).expect("removed");
        assert!(Settings::load(&sources).is_err(), "one that is named must be there");
        // On a host the file of the application holds.
        assert!(Settings::load(&Sources { in_container: false, ..sources }).is_err());
    }

    #[test]
    fn fault_1_a_name_of_another_program_is_doubted_unless_ours_is_set() {
        let doubts = |given: &[(&str, &str)]| {
            let settings = Settings::look(&sources(given)).0.expect("settings");
            settings.doubts.into_iter().map(|doubt| (doubt.name, doubt.meant)).collect::<Vec<_>>()
        };
        let with_endpoint = [("S3_BUCKET", "x"), ("S3_ENDPOINT_URL", "https://s3.example.org")];
        assert_eq!(doubts(&with_endpoint), [("S3_BUCKET".to_owned(), "S3_BACKUP_BUCKET")]);
        assert_eq!(doubts(&[("S3_BUCKET", "x"), ("S3_BACKUP_BUCKET", "y")]), []);
        assert_eq!(doubts(&[("S3_BUCKET", "x"), ("AWS_REGION", "y")]), [], "they are the application's");
        assert_eq!(doubts(&[("S3_BACKUP_BUKET", "x")]).len(), 1, "nobody else calls one so");
        assert_eq!(doubts(&[("POSTGRES_PASS", "x"), ("POSTGRES_PASSWORD_FILE", "/x")]), []);
    }
}
