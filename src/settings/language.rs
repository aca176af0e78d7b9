//! The language of the operator. Texts live in `locales/`.

use std::fmt;

use crate::settings::environment::Environment;
use crate::settings::origin::Origin;
use crate::settings::problem::Problem;
use crate::settings::reader::Reader;

const NAME: &str = "BACKUP_LANG";
const CHOICES: &[&str] = &["en", "fr"];
/// What POSIX asks, in its order.
const SYSTEM: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];

/// A language that every text exists in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// French.
    French,
}

impl Language {
    /// `en` or `fr`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// The one that texts of this process appear in.
    #[must_use]
    pub fn current() -> Self {
        parse(&rust_i18n::locale()).unwrap_or_default()
    }

    /// Makes every text of this process appear in it.
    pub fn use_everywhere(self) {
        rust_i18n::set_locale(self.code());
    }

    /// The language before the settings are known: for the help and for what is wrong with the settings. `option` is `--lang`.
    #[must_use]
    pub fn early(option: Option<&str>, environment: &Environment) -> Self {
        option
            .and_then(parse)
            .or_else(|| environment.get(NAME).and_then(parse))
            .unwrap_or_else(|| of_system(|name| environment.get(name).map(str::to_owned)).1)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

fn parse(text: &str) -> Option<Language> {
    match text.trim().to_ascii_lowercase().as_str() {
        "en" => Some(Language::English),
        "fr" => Some(Language::French),
        _ => None,
    }
}

/// The variable that decides, and what it says: `fr_FR.UTF-8` is French, all else English.
fn of_system(get: impl Fn(&str) -> Option<String>) -> (Option<&'static str>, Language) {
    let decides = SYSTEM.into_iter().find_map(|name| get(name).map(|value| (name, value)));
    match decides {
        Some((name, value)) if value.to_ascii_lowercase().starts_with("fr") => (Some(name), Language::French),
        Some((name, _)) => (Some(name), Language::English),
        None => (None, Language::English),
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Language {
    let Some(found) = reader.peek(NAME) else {
        let (name, language) = of_system(|name| reader.peek(name).map(|found| found.value));
        let origin = if name.is_some() { Origin::Environment } else { Origin::Default };
        reader.record(name.unwrap_or(NAME), Some(language.to_string()), origin);
        return language;
    };
    let Some(language) = parse(&found.value) else {
        reader.problem(Problem::Choice { name: NAME, value: found.value, choices: CHOICES });
        return Language::default();
    };
    reader.record(NAME, Some(language.to_string()), found.origin);
    language
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::{load, problems};

    #[test]
    fn ours_goes_before_the_system() {
        assert_eq!(load(&[]).language, Language::English);
        assert_eq!(load(&[("LANG", "fr_FR.UTF-8")]).language, Language::French);
        assert_eq!(load(&[("LANG", "fr_FR.UTF-8"), ("LC_ALL", "C")]).language, Language::English);
        assert_eq!(load(&[("LANG", "C"), ("BACKUP_LANG", "FR")]).language, Language::French);
        assert!(matches!(problems(&[("BACKUP_LANG", "de")]).as_slice(), [Problem::Choice { .. }]));
    }

    #[test]
    fn it_is_known_early() {
        let environment: Environment = [("BACKUP_LANG", "fr")].into_iter().collect();
        assert_eq!(Language::early(None, &environment), Language::French);
        assert_eq!(Language::early(Some("en"), &environment), Language::English);
        assert_eq!(Language::early(Some("xx"), &environment), Language::French);
    }
}
