//! Texts for people: names made safe to print, sizes, ages, the nearest known word.
//! Nothing here knows what the texts are about.

use chrono::TimeDelta;
use rust_i18n::t;

/// Makes what cannot be seen visible: control characters (with ANSI escapes and line ends), the
/// characters that change the direction of text, and those without width. What comes out is one line.
///
/// Backslashes stay as they are, so escaping twice changes nothing; this is for eyes, not for reading back.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Serialized JSON, the same for whoever reads it, in which what cannot be seen is written as `\uXXXX`. (JSON itself asks for that
/// only below U+0020.)
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Line ends between the members are JSON's own; in its texts they are escaped already.
        if is_hidden(c) && c != '\n' {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether `text` can be printed as it is.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A size in decimal units (1 kB = 1000 bytes, as `ls --si` and disk makers count): `12.3 MB`, in French `12,3 Mo`.
#[must_use]
pub fn bytes(count: u64) -> String {
    let unit = t!("domain.byte");
    if count < 1000 {
        return format!("{count} {unit}");
    }
    // Tenths of the unit, rounded half up; 128 bits: nothing can overflow.
    let mut divisor: u128 = 100;
    for prefix in ["k", "M", "G", "T", "P", "E"] {
        let tenths = (u128::from(count) + divisor / 2) / divisor;
        if tenths < 10_000 || prefix == "E" {
            return format!("{}{}{} {prefix}{unit}", tenths / 10, t!("domain.decimal"), tenths % 10);
        }
        divisor *= 1000;
    }
    format!("{count} {unit}")
}

/// An age in one unit, rounded down: `42 s`, `5 min`, `26 h`, `3 d` (`3 j` in French; days from 48 hours on).
/// A negative one (the clock went back) has a minus sign.
#[must_use]
pub fn age(age: TimeDelta) -> String {
    let seconds = age.num_seconds().unsigned_abs();
    let sign = if age.num_seconds() < 0 { "-" } else { "" };
    match seconds {
        0..60 => format!("{sign}{seconds} s"),
        60..3600 => format!("{sign}{} min", seconds / 60),
        3600..172_800 => format!("{sign}{} h", seconds / 3600),
        _ => format!("{sign}{} {}", seconds / 86_400, t!("domain.day")),
    }
}

/// What stands before the parts of a server's message that quote rows (`DETAIL:  Key (email)=(…) already exists`, `CONTEXT:  COPY t,
/// line 3: "…"`, `LINE 1: INSERT …`), in the languages that this program speaks, and without the values that an error of data quotes
/// (`22P02: invalid input syntax for type integer: "…"`): what leaves the machine holds no row.
#[must_use]
pub fn without_rows(text: &str) -> String {
    let parts =
        ["DETAIL:", "CONTEXT:", "DÉTAIL :", "DÉTAIL\u{a0}:", "CONTEXTE :", "CONTEXTE\u{a0}:", "LINE ", "LIGNE "];
    let is_part = |(at, part): &(usize, &str)| {
        // "LINE 3:", and not a word of a sentence.
        !part.ends_with(' ') || text[at + part.len()..].starts_with(|c: char| c.is_ascii_digit())
    };
    let found = parts.iter().flat_map(|part| text.match_indices(*part).filter(is_part).map(|(at, _)| at).min());
    let end = found.min().unwrap_or(text.len());
    let is_cut = end < text.len() || text.ends_with('…');
    let text = text[..end].trim_end();
    let Some(data) = data_error(text) else { return text.to_owned() };
    let (said, quoted) = text.split_at(data);
    let quotes = ['"', '«', '»'];
    match (quoted.find(quotes), quoted.rfind(quotes)) {
        // All between the first and the last: a value may hold quotes of its own. Of one that was cut, or goes on behind, the end is not known.
        (Some(first), Some(last)) if first < last && !is_cut => {
            let end = last + quoted[last..].chars().next().map_or(0, char::len_utf8);
            format!("{said}{}\"…\"{}", &quoted[..first], &quoted[end..])
        }
        (Some(first), _) => format!("{said}{}…", &quoted[..first]),
        (None, _) => text.to_owned(),
    }
}

/// Where the code of an error of data (class 22 of the standard) ends: `22P02:`.
fn data_error(text: &str) -> Option<usize> {
    let is_code = |at: &usize| {
        let code = text.as_bytes().get(*at..at + 6).unwrap_or_default();
        code.len() == 6
            && code.ends_with(b":")
            && code[2..5].iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            && (*at == 0 || text.as_bytes()[at - 1] == b' ')
    };
    text.match_indices("22").map(|(at, _)| at).find(is_code).map(|at| at + 6)
}

/// The first few of `items`, and whether there are more.
#[must_use]
pub fn few(items: &[String], separator: &str) -> String {
    const FEW: usize = 3;
    let more = (items.len() > FEW).then_some("…");
    items.iter().map(String::as_str).take(FEW).chain(more).collect::<Vec<_>>().join(separator)
}

/// The candidate that was probably meant; `None` when none resembles `word`.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::normalized_damerau_levenshtein(&word, &c.to_lowercase()), c))
        .filter(|(score, _)| *score >= 0.6)
        // Equal scores: the first candidate, whatever their order of magnitude.
        .fold(None, |best: Option<(f64, &str)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_a_few_are_named() {
        let items: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        assert_eq!((few(&items[..3], ", "), few(&items, "; ")), ("a, b, c".to_owned(), "a; b; c; …".to_owned()));
        assert_eq!(few(&[], ", "), "");
    }

    #[test]
    fn fault_85_ansi_newlines_and_bidi_overrides_are_made_visible() {
        assert_eq!(escape("a\u{1b}[31mred\u{1b}[0m"), "a\\u{1b}[31mred\\u{1b}[0m");
        assert_eq!(escape("line\nnext\r\tend\0"), "line\\nnext\\r\\tend\\u{0}");
        assert_eq!(escape("gpj\u{202e}exe\u{2066}\u{200b}\u{9b}"), "gpj\\u{202e}exe\\u{2066}\\u{200b}\\u{9b}");
        assert_eq!(escape("été « chantier » 建設 \\n"), "été « chantier » 建設 \\n");
        assert!(!is_plain("a\u{202e}") && is_plain("é"));
    }

    #[test]
    fn fault_85_json_reads_the_same_once_it_is_made_visible() {
        let hostile = "a\u{1b}[31m\u{9b}2J\u{7f}\u{202e}\u{e0041}\n\"été\"";
        let json = serde_json::json!({ "v": hostile });
        let shown = escape_json(&serde_json::to_string_pretty(&json).unwrap());
        assert!(shown.lines().all(is_plain), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json);
    }

    #[test]
    fn escaping_twice_changes_nothing() {
        let once = escape("a/../../b; $(x)\n\u{1b}]0;title\u{7}");
        assert_eq!(escape(&once), once);
    }

    #[test]
    fn sizes_are_decimal_and_never_show_a_thousand_of_a_unit() {
        let shown: Vec<_> = [0, 999, 1000, 1049, 1050, 999_949, 999_950, 12_345_678, 267_000_000, u64::MAX]
            .into_iter()
            .map(bytes)
            .collect();
        assert_eq!(
            shown,
            ["0 B", "999 B", "1.0 kB", "1.0 kB", "1.1 kB", "999.9 kB", "1.0 MB", "12.3 MB", "267.0 MB", "18.4 EB"]
        );
    }

    #[test]
    fn ages_have_one_unit() {
        let shown: Vec<_> =
            [0, 59, 60, 3599, 3600, 172_799, 172_800, 864_000, -7200].map(|s| age(TimeDelta::seconds(s))).to_vec();
        assert_eq!(shown, ["0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d", "10 d", "-2 h"]);
    }

    #[test]
    fn the_nearest_word_is_found_and_a_stranger_is_not() {
        let keys = ["BACKUP_DIR", "BACKUP_SCHEDULE", "BACKUP_RETENTION_DAYS"];
        assert_eq!(nearest("BACKUP_SHEDULE", keys), Some("BACKUP_SCHEDULE"));
        assert_eq!(nearest("backup_retention", keys), Some("BACKUP_RETENTION_DAYS"));
        assert_eq!(nearest("zzz", keys), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn rows_that_a_server_quotes_stay_here() {
        let text = "ERROR: duplicate key value DETAIL:  Key (email)=(a@b.c) already exists. CONTEXT: COPY t, line 1";
        assert_eq!(without_rows(text), "ERROR: duplicate key value");
        assert_eq!(
            without_rows("ERREUR : clé dupliquée DÉTAIL : La clé « (email)=(a@b.c) »"),
            "ERREUR : clé dupliquée"
        );
        assert_eq!(without_rows("no server"), "no server");
        assert_eq!(without_rows("syntax error LINE 1: INSERT INTO t VALUES ('x')"), "syntax error");
        assert_eq!(without_rows("THE LINE is long"), "THE LINE is long");
        let data = "psql:<stdin>:5: ERROR:  22P02: invalid input syntax for type integer: \"an \"odd\" value\"; more";
        assert_eq!(
            without_rows(data),
            "psql:<stdin>:5: ERROR:  22P02: invalid input syntax for type integer: \"…\"; more"
        );
        assert_eq!(without_rows("ERROR: 22003: value \"99 (cut"), "ERROR: 22003: value …");
        assert_eq!(without_rows("ERROR: 22P02: json: \"{\"name\": \"Dupont, FR76…"), "ERROR: 22P02: json: …");
        assert_eq!(without_rows("ERROR: 22P02: json: \"a \"b DETAIL: c"), "ERROR: 22P02: json: …");
        // The names of tables and constraints say what is wrong.
        assert_eq!(
            without_rows("ERROR: 23505: unique constraint \"t_pkey\""),
            "ERROR: 23505: unique constraint \"t_pkey\""
        );
    }
}
