//! The body of a webhook as somebody else wants it: their JSON with `{{name}}` where our words go.
//!
//! Each word stands inside a JSON string of the template and is written as JSON has it, so no word can break out of it.

use super::Notice;

/// What may stand between the braces.
pub const WORDS: [&str; 11] =
    ["id", "level", "event", "title", "installation", "database", "host", "time", "run", "recovered", "text"];

/// Why a template is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// `{{` without `}}`.
    Open,
    /// A word that is not among [`WORDS`].
    Word(String),
    /// With words in their places it is no JSON.
    NotJson,
}

/// Looks whether `template` will do.
///
/// # Errors
/// What is wrong with it.
pub fn check(template: &str) -> Result<(), Wrong> {
    let sample = fill(template, |word| WORDS.contains(&word).then(|| "a \"b\"".to_owned()))?;
    serde_json::from_str::<serde_json::Value>(&sample).map_err(|_| Wrong::NotJson)?;
    Ok(())
}

/// The template with the words of `notice`; `text` is the whole of it as plain text.
///
/// # Errors
/// As [`check`].
pub fn render(template: &str, notice: &Notice, text: &str) -> Result<String, Wrong> {
    fill(template, |word| {
        Some(match word {
            "id" => notice.id.clone(),
            "level" => notice.level.as_str().to_owned(),
            "event" => notice.event.clone(),
            "title" => notice.title.clone(),
            "installation" => notice.installation.clone(),
            "database" => notice.database.clone(),
            "host" => notice.host.clone(),
            "time" => notice.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "run" => notice.run.clone().unwrap_or_default(),
            "recovered" => notice.recovered.to_string(),
            "text" => text.to_owned(),
            _ => return None,
        })
    })
}

fn fill(template: &str, word: impl Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or(Wrong::Open)?;
        let value = word(name.trim()).ok_or_else(|| Wrong::Word(name.trim().to_owned()))?;
        let value = serde_json::Value::from(value).to_string();
        out.push_str(before);
        out.push_str(value.get(1..value.len() - 1).unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::*;

    #[test]
    fn words_go_into_strings_and_stay_there() {
        let mut notice = failed();
        notice.title = "a \"quote\" and \\".to_owned();
        let body = render(r#"{"t": "{{ title }}", "x": {"l": "{{level}}: {{text}}"}}"#, &notice, "one\ntwo").unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["t"], notice.title);
        assert_eq!(body["x"]["l"], "failure: one\ntwo");
    }

    #[test]
    fn what_is_wrong_is_found_before_anything_happens() {
        assert_eq!(check(r#"{"a": "{{title}} {{run}}"}"#), Ok(()));
        assert_eq!(check(r#"{"a": "{{titel}}"}"#), Err(Wrong::Word("titel".into())));
        assert_eq!(check(r#"{"a": "{{title}"}"#), Err(Wrong::Open));
        assert_eq!(check(r#"{"a": {{title}}}"#), Err(Wrong::NotJson));
        assert!(WORDS.iter().all(|word| render(&format!("{{{{{word}}}}}"), &failed(), "").is_ok()));
    }
}
