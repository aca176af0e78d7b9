//! To come.

/// Placeholder.
pub fn escape(text: &str) -> String {
    text.to_owned()
}
