//! Who is told: `BACKUP_NOTIFY`, a list of addresses, and one group of `BACKUP_NOTIFY_…` for each kind of channel. Nothing is reached here.
//!
//! An address may hold a token anywhere in it, so none is ever shown: what is wrong is told by its place in the list and its kind.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::domain::notice::template;
use crate::domain::notice::{Kind, Threshold};
use crate::settings::problem::Problem;
use crate::settings::reader::Reader;
use crate::settings::secret::Secret;

pub mod address;
mod mail;

pub use address::Fault;
pub use mail::{Mail, MailTls};

/// All channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// They, in the order they were named.
    pub channels: Vec<Channel>,
    /// `BACKUP_NOTIFY_DIGEST`: whether a summary goes out each week.
    pub weekly: bool,
    /// `BACKUP_NOTIFY_CA_FILE`: certificates that are trusted beside those that everybody trusts.
    pub ca_file: Option<PathBuf>,
}

/// A way to tell people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// What it is.
    pub kind: Kind,
    /// Its kind and a hash of whom it reaches, the same after a restart and with a new token: `slack:1f2e3d4c`.
    pub id: String,
    /// Whom it reaches, for people: without anything secret.
    pub shown: String,
    /// The least bad that it is told of.
    pub level: Threshold,
    /// Where it is.
    pub target: Target,
}

/// Where a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A mail server.
    Mail(Mail),
    /// An address of HTTP.
    Hook(Hook),
}

/// An address that takes requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Where requests go: without user and password.
    pub url: Secret,
    /// User and password, where it asks for them.
    pub login: Option<(String, Secret)>,
    /// The token of a bot or an application; of a webhook the key of its signatures.
    pub token: Option<Secret>,
    /// The chat or the topic.
    pub to: Option<String>,
    /// The body of a webhook.
    pub template: Option<String>,
}

impl Hook {
    fn at(url: &url::Url) -> Self {
        Self { url: Secret::new(url.as_str()), login: None, token: None, to: None, template: None }
    }
}

impl Notify {
    /// Whether `channel` gets the summary of a week: where all do, or it wants nothing else.
    #[must_use]
    pub fn has_digest(&self, channel: &Channel) -> bool {
        self.weekly || channel.level == Threshold::Digest
    }

    /// What must never be told: tokens, passwords, and addresses that are as good as one.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        self.channels.iter().flat_map(Channel::secrets).collect()
    }
}

impl Channel {
    fn secrets(&self) -> Vec<Secret> {
        let hook = match &self.target {
            Target::Mail(mail) => return mail.login.iter().map(|(_, password)| password.clone()).collect(),
            Target::Hook(hook) => hook,
        };
        let mut all: Vec<_> =
            hook.token.iter().chain(hook.login.iter().map(|(_, password)| password)).cloned().collect();
        all.push(hook.url.clone());
        // Of a bot what follows its number.
        all.extend(all.first().and_then(|token| token.expose().split_once(':')).map(|(_, secret)| Secret::new(secret)));
        if let Ok(url) = url::Url::parse(hook.url.expose()) {
            // Longer ones only: a path like `/hook` is a word.
            let parts = [Some(url.path()), url.query()].into_iter().flatten().filter(|part| part.len() >= 12);
            all.extend(parts.map(Secret::new));
            all.extend(url.query_pairs().filter(|(_, value)| value.len() >= 12).map(|(_, value)| Secret::new(&*value)));
            let random = matches!(self.kind, Kind::Slack | Kind::Discord | Kind::Ping);
            let last =
                url.path_segments().and_then(|mut parts| parts.next_back()).filter(|part| random && part.len() >= 8);
            all.extend(last.map(Secret::new));
        }
        all
    }
}

/// What holds for all channels, while they are read.
pub(super) struct Common {
    level: Threshold,
    secret: Option<Secret>,
    template: Option<String>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Notify {
    const LEVELS: [&str; 4] = ["digest", "failure", "warning", "success"];
    const DIGESTS: [&str; 3] = ["weekly", "no", "non"];
    let list = reader.secret("BACKUP_NOTIFY");
    let common = Common {
        level: reader.choice("BACKUP_NOTIFY_LEVEL", Threshold::Warning, &LEVELS, &Threshold::ALL),
        secret: reader.secret("BACKUP_NOTIFY_WEBHOOK_SECRET"),
        template: read_template(reader),
    };
    let weekly = reader.choice("BACKUP_NOTIFY_DIGEST", "no", &DIGESTS, &["weekly", "no", "no"]) == "weekly";
    let ca_file = reader.text("BACKUP_NOTIFY_CA_FILE").map(|path| reader.absolute(&path));
    let server = mail::read_server(reader);
    let mut channels = Vec::new();
    for (index, text) in address::split(list.as_ref().map_or("", Secret::expose)).into_iter().enumerate() {
        match address::parse(text, &common, &server) {
            Ok(channel) => channels.push(channel),
            Err(fault) => reader.problem(Problem::Channel { name: "BACKUP_NOTIFY", place: Some(index + 1), fault }),
        }
    }
    channels.extend(mail::read(reader, &common, &server, channels.iter().any(|channel| channel.kind == Kind::Mail)));
    read_hooks(reader, &common, &mut channels);
    tell_apart(&mut channels);
    Notify { channels, weekly, ca_file }
}

fn read_template(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "BACKUP_NOTIFY_WEBHOOK_TEMPLATE";
    let text = reader.text(NAME)?;
    if let Err(wrong) = template::check(&text) {
        reader.problem(Problem::Channel { name: NAME, place: None, fault: Fault::Template(wrong) });
    }
    Some(text)
}

/// The channels that have variables of their own.
fn read_hooks(reader: &mut Reader<'_>, common: &Common, channels: &mut Vec<Channel>) {
    for (kind, name) in [
        (Kind::Slack, "BACKUP_NOTIFY_SLACK_URL"),
        (Kind::Discord, "BACKUP_NOTIFY_DISCORD_URL"),
        (Kind::Teams, "BACKUP_NOTIFY_TEAMS_URL"),
        (Kind::Ntfy, "BACKUP_NOTIFY_NTFY_URL"),
        (Kind::Webhook, "BACKUP_NOTIFY_WEBHOOK_URL"),
        (Kind::Ping, "BACKUP_NOTIFY_PING_URL"),
    ] {
        let token = if kind == Kind::Ntfy { reader.secret("BACKUP_NOTIFY_NTFY_TOKEN") } else { None };
        let Some(url) = reader.secret(name) else { continue };
        match address::of_kind(kind, url.expose(), common) {
            Ok(mut channel) => {
                if let (Target::Hook(hook), Some(token)) = (&mut channel.target, token) {
                    hook.token = Some(token);
                }
                channels.push(channel);
            }
            Err(fault) => reader.problem(Problem::Channel { name, place: None, fault }),
        }
    }
    let telegram =
        [reader.secret("BACKUP_NOTIFY_TELEGRAM_TOKEN"), reader.text("BACKUP_NOTIFY_TELEGRAM_CHAT").map(Secret::new)];
    match telegram {
        [Some(token), Some(chat)] => {
            channels.push(address::telegram(None, token.expose(), chat.expose(), common.level))
        }
        [Some(_), None] => reader.problem(Problem::Missing { name: "BACKUP_NOTIFY_TELEGRAM_CHAT" }),
        [None, Some(_)] => reader.problem(Problem::Missing { name: "BACKUP_NOTIFY_TELEGRAM_TOKEN" }),
        [None, None] => {}
    }
    let gotify = [reader.secret("BACKUP_NOTIFY_GOTIFY_URL"), reader.secret("BACKUP_NOTIFY_GOTIFY_TOKEN")];
    match gotify {
        [Some(url), Some(token)] => match address::gotify(url.expose(), Some(token), common.level) {
            Ok(channel) => channels.push(channel),
            Err(fault) => {
                reader.problem(Problem::Channel { name: "BACKUP_NOTIFY_GOTIFY_URL", place: None, fault });
            }
        },
        [Some(_), None] => reader.problem(Problem::Missing { name: "BACKUP_NOTIFY_GOTIFY_TOKEN" }),
        [None, Some(_)] => reader.problem(Problem::Missing { name: "BACKUP_NOTIFY_GOTIFY_URL" }),
        [None, None] => {}
    }
}

/// `slack:1f2e3d4c`: a hash of whom it reaches, never of a token that may be renewed.
fn id(kind: Kind, reaches: &str) -> String {
    let hash: String = Sha256::digest(reaches).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}:{hash}")
}

/// Two channels that reach the same (two applications of one server) have two names.
fn tell_apart(channels: &mut [Channel]) {
    let mut known = BTreeSet::new();
    for channel in channels {
        let base = channel.id.clone();
        let mut number = 1;
        while !known.insert(channel.id.clone()) {
            number += 1;
            channel.id = format!("{base}-{number}");
        }
    }
}

#[cfg(test)]
mod tests;
