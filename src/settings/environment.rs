//! The environment of the process, read once. Nothing else in the program reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// Names and values. A value that is not text is kept as a name only: it matters for known variables alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    values: BTreeMap<String, String>,
    not_text: BTreeSet<String>,
}

/// Set to `1` by the image, and nowhere else: this process is the sidecar, its files are the container's.
pub const IN_CONTAINER: &str = "AMARRE_IN_CONTAINER";

impl Environment {
    /// The environment of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    fn from_os(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    environment.values.insert(name, value);
                }
                Err(_) => {
                    environment.not_text.insert(name);
                }
            }
        }
        environment
    }

    /// The value of `name`; an empty one counts as unset, since Compose passes unset variables as empty ones.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// As [`Environment::get`], but an empty value is a value: for `${NAME-default}`.
    #[must_use]
    pub fn get_raw(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether the image says that this is its container.
    #[must_use]
    pub fn in_container(&self) -> bool {
        self.get(IN_CONTAINER) == Some("1")
    }

    /// All names and values, also empty ones.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names whose values are not UTF-8.
    pub fn not_text(&self) -> impl Iterator<Item = &str> {
        self.not_text.iter().map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, not_text: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn an_empty_value_counts_as_unset() {
        let environment: Environment = [("A", ""), ("B", "b")].into_iter().collect();
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.get_raw("A"), Some(""));
        assert_eq!(environment.get("B"), Some("b"));
    }

    #[test]
    fn values_that_are_not_text_are_known_by_name() {
        let pairs = [("BACKUP_DIR".into(), OsString::from_vec(vec![0xff]))];
        let environment = Environment::from_os(pairs.into_iter());
        assert_eq!(environment.not_text().collect::<Vec<_>>(), ["BACKUP_DIR"]);
        assert_eq!(environment.get("BACKUP_DIR"), None);
    }
}
