//! How a notice reads: as plain text, as the HTML of a mail, and the parts that other forms are put together of. In the language of the
//! process; the notice's own texts are in the language of when it was made.

use rust_i18n::t;

use crate::domain::notice::{Level, Notice};

/// `✖ hub/hub_chantier: backup failed`
#[must_use]
pub fn headline(notice: &Notice) -> String {
    format!("{} {}", icon(notice), subject(notice))
}

/// The same without its sign: for subjects, which are sorted and filtered by their beginning.
#[must_use]
pub fn subject(notice: &Notice) -> String {
    let word = word(notice);
    t!("notify.subject", installation = notice.installation, word = word, title = notice.title).into_owned()
}

/// How bad it is, in a word.
#[must_use]
pub fn word(notice: &Notice) -> String {
    if notice.recovered {
        return t!("notify.level.over").into_owned();
    }
    match notice.level {
        Level::Failure => t!("notify.level.failure"),
        Level::Warning => t!("notify.level.warning"),
        Level::Success => t!("notify.level.success"),
        Level::Digest => t!("notify.level.digest"),
    }
    .into_owned()
}

fn icon(notice: &Notice) -> char {
    match (notice.recovered, notice.level) {
        (true, _) | (_, Level::Success) => '✅',
        (_, Level::Failure) => '❌',
        (_, Level::Warning) => '⚠',
        (_, Level::Digest) => '📊',
    }
}

/// The colour of its head: red, amber, green or blue, each dark enough for white letters.
#[must_use]
pub fn colour(notice: &Notice) -> u32 {
    match (notice.recovered, notice.level) {
        (true, _) | (_, Level::Success) => 0x1e_7b_4a,
        (_, Level::Failure) => 0xb4_23_18,
        (_, Level::Warning) => 0x9a_5b_00,
        (_, Level::Digest) => 0x1f_4f_8f,
    }
}

/// Names and values, those that every notice has at the end.
#[must_use]
pub fn facts(notice: &Notice) -> Vec<(String, String)> {
    let own = notice.lines.iter().map(|line| (line.label.clone(), line.value.clone()));
    let mut all: Vec<_> = own.collect();
    all.push((t!("notify.database").into_owned(), notice.database.clone()));
    all.push((t!("notify.time").into_owned(), notice.local_time.clone()));
    all.extend(notice.run.iter().map(|run| (t!("notify.run").into_owned(), run.clone())));
    all
}

/// Where it comes from.
#[must_use]
pub fn footer(notice: &Notice) -> String {
    t!("notify.footer", host = notice.host).into_owned()
}

/// Plain text, whole.
#[must_use]
pub fn text(notice: &Notice) -> String {
    let mut out = format!("{}\n\n", headline(notice));
    let facts = facts(notice);
    let width = facts.iter().map(|(label, _)| unicode_width::UnicodeWidthStr::width(label.as_str())).max().unwrap_or(0);
    for (label, value) in facts {
        let pad = " ".repeat(width - unicode_width::UnicodeWidthStr::width(label.as_str()));
        out.push_str(&format!("{label}{pad}  {value}\n"));
    }
    if !notice.text.is_empty() {
        out.push_str(&format!("\n{}\n", notice.text.join("\n")));
    }
    out.push_str(&format!("\n-- \n{}\n", footer(notice)));
    out
}

/// Plain text without its head, of at most `most` characters: for services that have a title of their own.
#[must_use]
pub fn short_text(notice: &Notice, most: usize) -> String {
    let facts: Vec<_> = facts(notice).into_iter().map(|(label, value)| format!("{label}: {value}")).collect();
    let facts: String = facts.join("\n").chars().take(most).collect();
    let left = most.saturating_sub(facts.chars().count() + 2);
    let tail = tail(notice, left.min(1500));
    if tail.is_empty() { facts } else { format!("{facts}\n\n{tail}") }
}

/// The last lines of its text, whole ones, of at most `most` characters.
#[must_use]
pub fn tail(notice: &Notice, most: usize) -> String {
    let mut left = most;
    let mut lines = Vec::new();
    for line in notice.text.iter().rev() {
        let length = line.chars().count() + 1;
        if length > left {
            break;
        }
        left -= length;
        lines.push(line.as_str());
    }
    lines.reverse();
    lines.join("\n")
}

/// A mail's HTML: one table, styles in place, nothing from elsewhere, so that it looks the same in every reader.
#[must_use]
pub fn html(notice: &Notice) -> String {
    let e = html_escape;
    let colour = format!("#{:06x}", colour(notice));
    let row = |(label, value): (String, String)| {
        format!(
            "<tr><td style=\"padding:6px 16px 6px 0;color:#5f6b7a;vertical-align:top;white-space:nowrap\">{}</td>\
             <td style=\"padding:6px 0;color:#1b2430;vertical-align:top;word-break:break-word\">{}</td></tr>\n",
            e(&label),
            e(&value)
        )
    };
    let rows: String = facts(notice).into_iter().map(row).collect();
    let log = if notice.text.is_empty() {
        String::new()
    } else {
        format!(
            "<pre style=\"margin:20px 0 0;padding:12px;background:#f4f6f8;border:1px solid #e1e6eb;border-radius:4px;\
             font:12px/1.5 Consolas,Menlo,monospace;color:#1b2430;white-space:pre-wrap;word-break:break-word\">{}</pre>\n",
            e(&notice.text.join("\n"))
        )
    };
    format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{subject}</title></head>\n\
         <body style=\"margin:0;padding:24px 12px;background:#eef1f4;font:14px/1.5 -apple-system,'Segoe UI',Roboto,Arial,sans-serif\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" \
         style=\"width:100%;border-collapse:collapse\"><tr><td align=\"center\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" \
         style=\"width:100%;max-width:640px;margin:0 auto;border-collapse:collapse;background:#ffffff;border:1px solid #dde3e9;\
         text-align:left\">\n\
         <tr><td style=\"background:{colour};padding:18px 24px;color:#ffffff\">\
         <div style=\"font-size:12px;color:#ffffff\"><span style=\"letter-spacing:.06em;text-transform:uppercase\">{word}</span> \
         &middot; {installation}</div>\
         <div style=\"margin-top:4px;font-size:18px;line-height:1.35;font-weight:600;color:#ffffff;word-break:break-word\">{title}</div>\
         </td></tr>\n\
         <tr><td style=\"padding:20px 24px 24px\">\n\
         <table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" \
         style=\"border-collapse:collapse;font-size:14px;line-height:1.4\">\n\
         {rows}</table>\n{log}</td></tr>\n\
         <tr><td style=\"padding:12px 24px;border-top:1px solid #e1e6eb;color:#5f6b7a;font-size:12px\">{footer}</td></tr>\n\
         </table>\n</td></tr></table>\n</body>\n</html>\n",
        lang = &*rust_i18n::locale(),
        subject = e(&subject(notice)),
        word = e(&word(notice)),
        installation = e(&notice.installation),
        title = e(&notice.title),
        footer = e(&footer(notice)),
    )
}

/// Text inside HTML.
#[must_use]
pub fn html_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
