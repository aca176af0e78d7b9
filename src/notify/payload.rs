//! What each service wants to be sent, as its own documentation has it. Pure: a notice becomes a [`Request`].
//!
//! Texts may come from anywhere (the message of a server, the name of a table), so in each of these they are told to be plain text,
//! or what the service would read as markup is taken away: nobody is mentioned, nothing becomes a link.

use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::hook::HookConfig;
use super::{Error, render};
use crate::domain::notice::channel::{PING_FAIL, PING_START};
use crate::domain::notice::{Kind, Level, Notice, template};

/// The version of the JSON of webhooks. Fields may be added; none changes its meaning or goes without a new number.
pub const FORMAT: u32 = 1;

/// A POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub url: Url,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What a bot's token has stays as it is; anything else must not change the path.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b':').remove(b'_').remove(b'-');

/// The request that tells `notice`.
pub(super) fn request(config: &HookConfig, notice: &Notice, now: DateTime<Utc>) -> Result<Request, Error> {
    // The settings were checked; what is wrong here was never looked at, and is not shown.
    let mut url = Url::parse(&config.url).map_err(|error| Error::Message { cause: error.to_string() })?;
    let to = config.to.as_deref().unwrap_or_default();
    let token = config.token.as_deref().unwrap_or_default();
    let mut headers = Vec::new();
    let mut content_type = JSON;
    let body = match config.kind {
        Kind::Mail => return Err(Error::Message { cause: "mail is no request".to_owned() }),
        Kind::Slack => slack(notice).to_string(),
        Kind::Discord => discord(notice).to_string(),
        Kind::Teams => teams(notice).to_string(),
        Kind::Telegram => {
            let token = utf8_percent_encode(token, TOKEN);
            url.set_path(&format!("{}bot{token}/sendMessage", url.path()));
            telegram(notice, to).to_string()
        }
        Kind::Ntfy => {
            headers.extend(config.token.iter().map(|token| ("authorization", format!("Bearer {token}"))));
            ntfy(notice, to).to_string()
        }
        Kind::Gotify => {
            url.set_path(&format!("{}message", url.path()));
            headers.push(("x-gotify-key", token.to_owned()));
            gotify(notice).to_string()
        }
        Kind::Webhook => {
            let body = match &config.template {
                Some(template) => template::render(template, notice, &render::text(notice))
                    .map_err(|wrong| Error::Message { cause: format!("{wrong:?}") })?,
                None => webhook(notice).to_string(),
            };
            headers.push(("idempotency-key", header(&notice.id)));
            if let Some(key) = &config.token {
                let stamp = now.timestamp().to_string();
                headers.push(("x-amarre-signature", format!("sha256={}", sign(key, &stamp, &body))));
                headers.push(("x-amarre-timestamp", stamp));
            }
            body
        }
        Kind::Ping => {
            content_type = TEXT;
            ping(&mut url, notice);
            render::text(notice)
        }
    };
    headers.extend(config.login.iter().map(|(user, password)| ("authorization", basic(user, password))));
    Ok(Request { url, content_type, headers, body })
}

/// Hex of the HMAC-SHA256 over the time, a dot and the body: with the time in it, what was once signed cannot be sent again later.
fn sign(key: &str, stamp: &str, body: &str) -> String {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() };
    mac.update(format!("{stamp}.{body}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// A header holds ASCII only.
fn header(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

/// Our own JSON.
fn webhook(notice: &Notice) -> Value {
    json!({
        "format": FORMAT,
        "program": concat!("amarre ", env!("CARGO_PKG_VERSION")),
        "id": notice.id,
        "level": notice.level,
        "recovered": notice.recovered,
        "event": notice.event,
        "title": notice.title,
        "installation": notice.installation,
        "database": notice.database,
        "host": notice.host,
        "at": notice.at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "run": notice.run,
        "lines": notice.lines,
        "text": notice.text,
        "language": &*rust_i18n::locale(),
    })
}

/// The older form of messages, which Mattermost and Rocket.Chat understand too.
fn slack(notice: &Notice) -> Value {
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let field = |(label, value): (String, String)| json!({ "title": plain(&label), "value": plain(&value), "short": value.chars().count() < 30 });
    let fields: Vec<_> = render::facts(notice).into_iter().map(field).collect();
    let mut attachment = json!({
        "color": format!("#{:06x}", render::colour(notice)),
        "fallback": plain(&render::headline(notice)),
        "fields": fields,
        "footer": plain(&render::footer(notice)),
        "ts": notice.at.timestamp(),
    });
    if !notice.text.is_empty() {
        attachment["text"] = format!("```{}```", plain(&render::tail(notice, 2500)).replace('`', "'")).into();
        attachment["mrkdwn_in"] = json!(["text"]);
    }
    json!({ "text": plain(&render::headline(notice)), "mrkdwn": false, "attachments": [attachment] })
}

fn discord(notice: &Notice) -> Value {
    let plain = |text: &str, most: usize| {
        let cut: String = text.chars().take(most).collect();
        cut.chars().fold(String::new(), |mut out, c| {
            if "\\*_~`|>[]()#@<:".contains(c) {
                out.push('\\');
            }
            out.push(c);
            out
        })
    };
    let field = |(label, value): (String, String)| json!({ "name": plain(&label, 100), "value": plain(&value, 500), "inline": value.chars().count() < 30 });
    // An embed has 25 fields and 6,000 characters at most, all its texts together.
    let mut left: usize = 3500;
    let fits = |(label, value): &(String, String)| {
        let length = 2 * (label.chars().count().min(100) + value.chars().count().min(500));
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    };
    let fields: Vec<_> = render::facts(notice).into_iter().take(25).take_while(fits).map(field).collect();
    let mut embed = json!({
        "title": plain(&render::headline(notice), 120),
        "color": render::colour(notice),
        "fields": fields,
        "footer": { "text": render::footer(notice) },
        "timestamp": notice.at.to_rfc3339_opts(SecondsFormat::Secs, true),
    });
    if !notice.text.is_empty() {
        embed["description"] = format!("```\n{}\n```", render::tail(notice, 1200).replace('`', "'")).into();
    }
    json!({ "username": "Amarre", "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

/// An adaptive card, of runs of text: those are plain, where blocks and facts would be read as Markdown.
fn teams(notice: &Notice) -> Value {
    let colour = match (notice.recovered, notice.level) {
        (true, _) | (_, Level::Success) => "Good",
        (_, Level::Failure) => "Attention",
        (_, Level::Warning) => "Warning",
        (_, Level::Digest) => "Accent",
    };
    let run = |text: &str| json!({ "type": "TextRun", "text": text });
    let block = |runs: Value| json!({ "type": "RichTextBlock", "inlines": runs });
    let title = json!({
        "type": "TextRun", "text": render::headline(notice), "weight": "Bolder", "size": "Medium", "color": colour,
    });
    let mut body = vec![block(json!([title]))];
    // A card has 28 kB at most.
    for (label, value) in render::facts(notice).into_iter().take(20) {
        let value: String = value.chars().take(300).collect();
        let name = json!({ "type": "TextRun", "text": format!("{label}: "), "weight": "Bolder" });
        let mut fact = block(json!([name, run(&value)]));
        fact["spacing"] = "None".into();
        body.push(fact);
    }
    for line in render::tail(notice, 2500).lines() {
        let mono = json!({ "type": "TextRun", "text": line, "fontType": "Monospace", "size": "Small" });
        let mut line = block(json!([mono]));
        line["spacing"] = "None".into();
        body.push(line);
    }
    let footer = json!({ "type": "TextRun", "text": render::footer(notice), "isSubtle": true, "size": "Small" });
    body.push(block(json!([footer])));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "fallbackText": render::headline(notice),
                "body": body,
            },
        }],
    })
}

fn telegram(notice: &Notice, chat: &str) -> Value {
    let mut text = format!("<b>{}</b>\n", render::html_escape(&render::headline(notice)));
    // A message has 4,096 characters at most.
    for (label, value) in render::facts(notice).into_iter().take(15) {
        let (label, value): (String, String) = (label.chars().take(40).collect(), value.chars().take(80).collect());
        text.push_str(&format!("\n{}: {}", render::html_escape(&label), render::html_escape(&value)));
    }
    if !notice.text.is_empty() {
        text.push_str(&format!("\n<pre>{}</pre>", render::html_escape(&render::tail(notice, 1000))));
    }
    text.push_str(&format!("\n<i>{}</i>", render::html_escape(&render::footer(notice))));
    json!({ "chat_id": chat, "text": text, "parse_mode": "HTML", "link_preview_options": { "is_disabled": true } })
}

fn ntfy(notice: &Notice, topic: &str) -> Value {
    let (priority, tag) = match (notice.recovered, notice.level) {
        (true, _) | (_, Level::Success) => (2, "white_check_mark"),
        (_, Level::Failure) => (4, "rotating_light"),
        (_, Level::Warning) => (3, "warning"),
        (_, Level::Digest) => (2, "bar_chart"),
    };
    // What is longer than 4,096 bytes would become a file; the tag is shown as a picture before the title.
    let mut message = render::short_text(notice, 3500);
    message.truncate(message.floor_char_boundary(4000));
    json!({
        "topic": topic, "title": render::subject(notice), "message": message, "priority": priority, "tags": [tag],
    })
}

fn gotify(notice: &Notice) -> Value {
    let priority = match (notice.recovered, notice.level) {
        (true, _) | (_, Level::Success | Level::Digest) => 2,
        (_, Level::Failure) => 8,
        (_, Level::Warning) => 5,
    };
    json!({
        "title": render::subject(notice), "message": render::short_text(notice, 3500), "priority": priority,
        "extras": { "client::display": { "contentType": "text/plain" } },
    })
}

/// `…/start` and `…/fail`; the same `rid` in both tells the service which end belongs to which start.
fn ping(url: &mut Url, notice: &Notice) {
    let end = match notice.event.as_str() {
        PING_START => "/start",
        PING_FAIL => "/fail",
        _ => "",
    };
    let path = format!("{}{end}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    if let Some(run) = &notice.run {
        url.query_pairs_mut().append_pair("rid", &uuid_of(run));
    }
}

/// A UUID that is the same for a run each time: version 8, of a hash.
fn uuid_of(run: &str) -> String {
    let hash: String = Sha256::digest(run).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-8{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

#[cfg(test)]
mod tests;
