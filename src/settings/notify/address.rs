//! Addresses of channels: `slack://…`, `ntfy://host/topic`, `smtp://user:password@host/?to=…`. The scheme says the kind; `KIND://` means
//! TLS, `KIND+http://` says that there is none.

use percent_encoding::percent_decode_str;
use url::Url;

use super::mail::{self, Server};
use super::{Channel, Common, Hook, Target, id};
use crate::domain::notice::template::Wrong;
use crate::domain::notice::{Kind, Threshold};
use crate::settings::secret::Secret;

/// Where bots of Telegram are, unless told.
const TELEGRAM: &str = "https://api.telegram.org/";

/// What is wrong with an address. Nothing of it is in here but its scheme, where that is a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No scheme that is known.
    Scheme(Option<String>),
    /// Not an address of this kind.
    Address(Kind),
    /// `?level=` is none.
    Level(Kind),
    /// `?tls=` is none.
    Tls,
    /// Something has to be in it.
    Lacks(Kind, &'static str),
    /// Not an address of a mailbox.
    Mailbox,
    /// The body of a webhook.
    Template(Wrong),
}

/// The addresses of a list. A comma that is part of one (`?to=a@x,b@y`) has no scheme behind it.
pub(super) fn split(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, _) in list.match_indices(',') {
        if has_scheme(list[at + 1..].trim_start()) {
            parts.push(&list[begin..at]);
            begin = at + 1;
        }
    }
    parts.push(&list[begin..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn has_scheme(text: &str) -> bool {
    let (Some(colon), comma) = (text.find(':'), text.find(',').unwrap_or(text.len())) else { return false };
    let scheme = &text[..colon];
    colon < comma && (text[colon..].starts_with("://") || scheme == "mailto")
}

/// The channel that `text` names.
pub(super) fn parse(text: &str, common: &Common, server: &Server) -> Result<Channel, Fault> {
    let (scheme, rest) = text.split_once(':').ok_or(Fault::Scheme(None))?;
    let scheme = scheme.to_ascii_lowercase();
    let unknown = || {
        let is_word = scheme.len() <= 20 && scheme.bytes().all(|b| b.is_ascii_alphabetic() || b == b'+');
        Fault::Scheme(is_word.then(|| scheme.clone()))
    };
    match scheme.as_str() {
        "mailto" => return mail::of_mailto(rest, common.level, server),
        "smtp" | "smtps" => return mail::of_url(&scheme, text, common.level),
        "https" | "http" => return of_known_host(text, common).ok_or_else(unknown)?,
        _ => {}
    }
    let (word, tls) = match scheme.split_once('+') {
        Some((word, "https")) => (word, true),
        Some((word, "http")) => (word, false),
        Some(_) => return Err(unknown()),
        None if scheme == "ntfys" || scheme == "gotifys" => (scheme.trim_end_matches('s'), true),
        None => (scheme.as_str(), true),
    };
    let kind = Kind::parse(word).filter(|kind| *kind != Kind::Mail).ok_or_else(unknown)?;
    let rest = rest.strip_prefix("//").ok_or(Fault::Address(kind))?;
    let is_short = !scheme.contains('+');
    let rest = match kind {
        Kind::Telegram => return of_telegram(rest, is_short, tls, common.level),
        // `slack://T0/B0/x` and `discord://ID/TOKEN`: what follows the host of the service.
        Kind::Slack if is_short && !rest.starts_with("hooks.slack") => format!("hooks.slack.com/services/{rest}"),
        Kind::Discord if is_short && !rest.starts_with("discord") => format!("discord.com/api/webhooks/{rest}"),
        _ => rest.to_owned(),
    };
    of_kind(kind, &format!("{}://{rest}", if tls { "https" } else { "http" }), common)
}

/// An address as the service shows it, to be copied.
fn of_known_host(text: &str, common: &Common) -> Option<Result<Channel, Fault>> {
    let url = Url::parse(text).ok()?;
    let kind = match url.host_str()? {
        "hooks.slack.com" => Kind::Slack,
        "discord.com" | "discordapp.com" => Kind::Discord,
        "ntfy.sh" => Kind::Ntfy,
        "hc-ping.com" => Kind::Ping,
        host if host.ends_with(".logic.azure.com") || host.ends_with(".powerplatform.com") => Kind::Teams,
        _ => return None,
    };
    Some(of_kind(kind, text, common))
}

/// The channel of a kind at an `http(s)://` address.
pub(super) fn of_kind(kind: Kind, text: &str, common: &Common) -> Result<Channel, Fault> {
    if kind == Kind::Gotify {
        return gotify(text, None, common.level);
    }
    let (mut url, level) = http(kind, text, common.level)?;
    let login = take_login(&mut url);
    let mut hook = Hook::at(&url);
    let host = shown(&url);
    match kind {
        Kind::Ntfy => {
            let topic = take_last(&mut url).ok_or(Fault::Lacks(kind, "topic"))?;
            hook.url = Secret::new(url.as_str());
            // A user alone is a token of access.
            match login {
                Some((token, None)) => hook.token = Some(Secret::new(token)),
                Some((user, Some(password))) => hook.login = Some((user, password)),
                None => {}
            }
            let reaches = format!("{host}{}{topic}", url.path());
            hook.to = Some(topic);
            return Ok(Channel { kind, id: id(kind, &reaches), shown: host, level, target: Target::Hook(hook) });
        }
        Kind::Webhook => {
            hook.token.clone_from(&common.secret);
            hook.template.clone_from(&common.template);
        }
        _ => {}
    }
    hook.login = login.map(|(user, password)| (user, password.unwrap_or_else(|| Secret::new(""))));
    // The last part of these is a token that can be renewed.
    let path = url.path().trim_end_matches('/');
    let reaches = match kind {
        Kind::Slack | Kind::Discord => path.rsplit_once('/').map_or(path, |(before, _)| before),
        _ => path,
    };
    if matches!(kind, Kind::Slack | Kind::Discord | Kind::Teams | Kind::Ping) && path.is_empty() {
        return Err(Fault::Lacks(kind, "path"));
    }
    Ok(Channel { kind, id: id(kind, &format!("{host}{reaches}")), shown: host, level, target: Target::Hook(hook) })
}

/// `telegram://TOKEN@CHAT`, or `telegram+https://TOKEN@host/CHAT` for a server of one's own.
fn of_telegram(rest: &str, is_short: bool, tls: bool, level: Threshold) -> Result<Channel, Fault> {
    let kind = Kind::Telegram;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let level = match query.strip_prefix("level=") {
        Some(word) => Threshold::parse(word).ok_or(Fault::Level(kind))?,
        None if query.is_empty() => level,
        None => return Err(Fault::Address(kind)),
    };
    let (token, place) =
        rest.split_once('@').filter(|(token, _)| !token.is_empty()).ok_or(Fault::Lacks(kind, "token"))?;
    let (server, chat) = if is_short {
        (None, place)
    } else {
        let (server, chat) = place.rsplit_once('/').ok_or(Fault::Lacks(kind, "chat"))?;
        (Some(format!("{}://{server}/", if tls { "https" } else { "http" })), chat)
    };
    if chat.is_empty() {
        return Err(Fault::Lacks(kind, "chat"));
    }
    let server = server.map(|server| Url::parse(&server)).transpose().map_err(|_| Fault::Address(kind))?;
    Ok(telegram(server.as_ref(), &decoded(token), &decoded(chat), level))
}

/// A bot of Telegram, at its own server or another one.
pub(super) fn telegram(server: Option<&Url>, token: &str, chat: &str, level: Threshold) -> Channel {
    let url = server.map_or(TELEGRAM, Url::as_str);
    let hook = Hook {
        url: Secret::new(url),
        login: None,
        token: Some(Secret::new(token)),
        to: Some(chat.to_owned()),
        template: None,
    };
    // The number before the colon is the bot's; what follows can be renewed.
    let bot = token.split(':').next().unwrap_or_default();
    let id = id(Kind::Telegram, &format!("{url}{bot}/{chat}"));
    Channel { kind: Kind::Telegram, id, shown: format!("chat {chat}"), level, target: Target::Hook(hook) }
}

/// A server of Gotify: the token of the application is the last part of the path, where it is not given beside it.
pub(super) fn gotify(text: &str, token: Option<Secret>, level: Threshold) -> Result<Channel, Fault> {
    let kind = Kind::Gotify;
    let (mut url, level) = http(kind, text, level)?;
    let token = match token {
        Some(token) => token,
        None => take_last(&mut url).map(Secret::new).ok_or(Fault::Lacks(kind, "token"))?,
    };
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    let host = shown(&url);
    let hook = Hook { token: Some(token), ..Hook::at(&url) };
    let id = id(kind, &format!("{host}{}", url.path()));
    Ok(Channel { kind, id, shown: host, level, target: Target::Hook(hook) })
}

/// The address without `?level=`, and that.
fn http(kind: Kind, text: &str, level: Threshold) -> Result<(Url, Threshold), Fault> {
    let mut url = Url::parse(text).map_err(|_| Fault::Address(kind))?;
    let is_http = matches!(url.scheme(), "https" | "http");
    if !is_http || url.host_str().is_none_or(str::is_empty) || text.contains(char::is_whitespace) {
        return Err(Fault::Address(kind));
    }
    url.set_fragment(None);
    let level = take_level(kind, &mut url, level)?;
    Ok((url, level))
}

/// The query is taken as it is written: signatures in it must not change.
pub(super) fn take_level(kind: Kind, url: &mut Url, level: Threshold) -> Result<Threshold, Fault> {
    let Some(query) = url.query().map(str::to_owned) else { return Ok(level) };
    let mut level = level;
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("level=") {
            Some(word) => level = Threshold::parse(word).ok_or(Fault::Level(kind))?,
            None => kept.push(pair),
        }
    }
    let kept = kept.join("&");
    url.set_query((!kept.is_empty()).then_some(kept.as_str()));
    Ok(level)
}

fn take_login(url: &mut Url) -> Option<(String, Option<Secret>)> {
    let user = decoded(url.username());
    let password = url.password().map(|password| Secret::new(decoded(password)));
    // An address with a host has a place for both.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    (!user.is_empty() || password.is_some()).then_some((user, password))
}

/// The last part of the path, which goes from it.
fn take_last(url: &mut Url) -> Option<String> {
    let path = url.path().trim_end_matches('/').to_owned();
    let (before, last) = path.rsplit_once('/').filter(|(_, last)| !last.is_empty())?;
    let last = decoded(last);
    url.set_path(&format!("{before}/"));
    Some(last)
}

/// The host, with its port where that is not the usual one.
pub(super) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
