//! Hides secrets in whatever is about to be written or sent.

use std::sync::{Arc, PoisonError, RwLock};

use crate::settings::Secret;
use crate::settings::secret::STARS;

/// Shorter values are words that occur by chance: hiding them would hide everything (characters).
const SHORTEST: usize = 4;

/// The same for data: what is shorter may be a word of them.
const SHORTEST_IN_DATA: usize = 8;

/// The secrets to hide, in every form that a line may hold them. All clones hide the same.
#[derive(Clone, Default)]
pub struct Mask(Arc<RwLock<Vec<String>>>);

impl Mask {
    /// Hides `secrets`, also as they look once escaped, in JSON and in an address.
    #[must_use]
    pub fn new(secrets: &[Secret]) -> Self {
        let mask = Self::default();
        mask.add(secrets);
        mask
    }

    /// Hides these too.
    pub fn add(&self, secrets: &[Secret]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(secrets.iter().flat_map(|secret| forms(secret.expose())));
        known.retain(|form| form.chars().count() >= SHORTEST);
        // A secret that holds another is hidden whole.
        known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
    }

    /// For data, whose words must stay what they are: hides `secrets`, but for short ones and for those that are a part of one of
    /// `names`. A password that is the database's name would hide every backup, and is none.
    #[must_use]
    pub fn for_data(secrets: &[Secret], names: &[&str]) -> Self {
        let is_word = |secret: &Secret| {
            let secret = secret.expose();
            secret.chars().count() < SHORTEST_IN_DATA || names.iter().any(|name| name.contains(secret))
        };
        let secrets: Vec<Secret> = secrets.iter().filter(|secret| !is_word(secret)).cloned().collect();
        Self::new(&secrets)
    }

    /// `text` with stars for secrets.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), STARS))
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.0.read().unwrap_or_else(PoisonError::into_inner).len())
    }
}

fn forms(secret: &str) -> [String; 4] {
    let json = serde_json::Value::from(secret).to_string();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    [secret.to_owned(), crate::domain::text::escape(secret), json, in_address(secret)]
}

fn in_address(secret: &str) -> String {
    let mut out = String::new();
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_86_secrets_are_hidden_in_every_form() {
        let mask = Mask::new(&[Secret::new("canary/\"x"), Secret::new("canary/\"x-longer"), Secret::new("abc")]);
        assert_eq!(mask.apply("a canary/\"x b"), "a *** b");
        assert_eq!(mask.apply("canary/\"x-longer"), "***");
        assert_eq!(mask.apply(r#"{"v":"canary/\"x"}"#), r#"{"v":"***"}"#);
        assert_eq!(mask.apply("postgres://u:canary%2F%22x@h"), "postgres://u:***@h");
        assert_eq!(mask.apply("abc is too short to hide"), "abc is too short to hide");
        assert_eq!(Mask::default().apply("x"), "x");
    }

    #[test]
    fn fault_86_a_secret_that_is_a_name_stays_in_data() {
        let secrets = [Secret::new("hub_chantier"), Secret::new("backup"), Secret::new("canary-42")];
        let mask = Mask::for_data(&secrets, &["hub_chantier", "db"]);
        let line = "hub_chantier_backup_20260101_030000.sql.gz";
        assert_eq!(mask.apply(&format!("{line}: canary-42")), format!("{line}: ***"));
    }
}
