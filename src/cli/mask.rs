//! Hides secrets in whatever is about to be written.

use crate::settings::Secret;
use crate::settings::secret::STARS;

/// Shorter values are words that occur by chance: hiding them would hide everything (characters).
const SHORTEST: usize = 4;

/// The secrets to hide, in every form that a line may hold them.
#[derive(Clone, Default)]
pub struct Mask(Vec<String>);

impl Mask {
    /// Hides `secrets`, also as they look once escaped, in JSON and in an address.
    #[must_use]
    pub fn new(secrets: &[Secret]) -> Self {
        let mut forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret.expose())).collect();
        forms.retain(|form| form.chars().count() >= SHORTEST);
        // A secret that holds another is hidden whole.
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(forms)
    }

    /// `text` with stars for secrets.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), STARS))
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.0.len())
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
}
