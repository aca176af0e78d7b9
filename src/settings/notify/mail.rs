//! A mail server, and to whom mail goes: `BACKUP_NOTIFY_SMTP_…` with `BACKUP_NOTIFY_MAIL_TO`, or `smtp://` with all of it.

use std::fmt;

use lettre::message::Mailbox;
use url::Url;

use super::address::{Fault, decoded, take_level};
use super::{Channel, Common, Target, id};
use crate::domain::notice::{Kind, Threshold};
use crate::settings::problem::Problem;
use crate::settings::reader::Reader;
use crate::settings::secret::Secret;

/// Mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// Who writes.
    pub from: String,
    /// Who reads.
    pub to: Vec<String>,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// Plainly at first, then by TLS, which must be there.
    StartTls,
    /// By TLS from the first byte.
    Tls,
    /// Plainly: a relay on this machine or its network.
    None,
}

impl fmt::Display for MailTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        })
    }
}

const TLS_WORDS: [&str; 3] = ["starttls", "tls", "none"];
const TLS: [MailTls; 3] = [MailTls::StartTls, MailTls::Tls, MailTls::None];
const IMPLICIT: u16 = 465;

fn port(tls: MailTls) -> u16 {
    match tls {
        MailTls::StartTls => 587,
        MailTls::Tls => IMPLICIT,
        MailTls::None => 25,
    }
}

/// The server of the variables, before anybody asks for it.
pub(super) struct Server {
    host: Option<String>,
    port: u16,
    tls: MailTls,
    login: Option<(String, Secret)>,
    from: Option<String>,
}

pub(super) fn read_server(reader: &mut Reader<'_>) -> Server {
    let host = reader.text("BACKUP_NOTIFY_SMTP_HOST");
    let asked = reader.peek("BACKUP_NOTIFY_SMTP_PORT").and_then(|found| found.value.trim().parse::<u16>().ok());
    let usual = if asked == Some(IMPLICIT) { MailTls::Tls } else { MailTls::StartTls };
    let tls = reader.choice("BACKUP_NOTIFY_SMTP_TLS", usual, &TLS_WORDS, &TLS);
    let port = reader.number("BACKUP_NOTIFY_SMTP_PORT", u32::from(port(tls)), 1, u32::from(u16::MAX));
    let user = reader.text("BACKUP_NOTIFY_SMTP_USER");
    let password = reader.secret("BACKUP_NOTIFY_SMTP_PASSWORD");
    let from = reader.text("BACKUP_NOTIFY_SMTP_FROM");
    let login = match (user, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, Some(_)) => {
            reader.problem(Problem::Missing { name: "BACKUP_NOTIFY_SMTP_USER" });
            None
        }
        (Some(_), None) => {
            reader.problem(Problem::Missing { name: "BACKUP_NOTIFY_SMTP_PASSWORD" });
            None
        }
        (None, None) => None,
    };
    Server { host, port: u16::try_from(port).unwrap_or(IMPLICIT), tls, login, from }
}

/// The channel of `BACKUP_NOTIFY_MAIL_TO`; `others`: some `mailto:` uses the server.
pub(super) fn read(reader: &mut Reader<'_>, common: &Common, server: &Server, others: bool) -> Option<Channel> {
    const NAME: &str = "BACKUP_NOTIFY_MAIL_TO";
    let Some(to) = reader.text(NAME) else {
        if server.host.is_some() && !others {
            reader.problem(Problem::Missing { name: NAME });
        }
        return None;
    };
    if server.host.is_none() {
        reader.problem(Problem::Missing { name: "BACKUP_NOTIFY_SMTP_HOST" });
        return None;
    }
    let name = if mailboxes(&to).is_err() { NAME } else { "BACKUP_NOTIFY_SMTP_FROM" };
    match of_mailto(&to, common.level, server) {
        Ok(channel) => Some(channel),
        Err(Fault::Lacks(..)) => {
            reader.problem(Problem::Missing { name });
            None
        }
        Err(fault) => {
            reader.problem(Problem::Channel { name, place: None, fault });
            None
        }
    }
}

/// `mailto:ops@example.org?level=failure`, by the server of the variables.
pub(super) fn of_mailto(rest: &str, level: Threshold, server: &Server) -> Result<Channel, Fault> {
    let (to, query) = rest.split_once('?').unwrap_or((rest, ""));
    let level = match query.strip_prefix("level=") {
        Some(word) => Threshold::parse(word).ok_or(Fault::Level(Kind::Mail))?,
        None if query.is_empty() => level,
        None => return Err(Fault::Address(Kind::Mail)),
    };
    let host = server.host.clone().ok_or(Fault::Lacks(Kind::Mail, "BACKUP_NOTIFY_SMTP_HOST"))?;
    let to = mailboxes(&decoded(to))?;
    let from = from(server.from.as_deref(), server.login.as_ref())?;
    Ok(channel(Mail { host, port: server.port, tls: server.tls, login: server.login.clone(), from, to }, level))
}

/// `smtp://user:password@host:587/?from=…&to=…`
pub(super) fn of_url(scheme: &str, text: &str, level: Threshold) -> Result<Channel, Fault> {
    let kind = Kind::Mail;
    let mut url = Url::parse(text).map_err(|_| Fault::Address(kind))?;
    let level = take_level(kind, &mut url, level)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Fault::Address(kind))?.to_owned();
    let (mut sender, mut to, mut tls) = (None, None, None);
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "from" => sender = Some(value.into_owned()),
            "to" => to = Some(value.into_owned()),
            "tls" => {
                let place = TLS_WORDS.iter().position(|word| *word == value.as_ref());
                tls = Some(place.map(|place| TLS[place]).ok_or(Fault::Tls)?);
            }
            _ => return Err(Fault::Address(kind)),
        }
    }
    let implied = if scheme == "smtps" || url.port() == Some(IMPLICIT) { MailTls::Tls } else { MailTls::StartTls };
    let tls = tls.unwrap_or(implied);
    let login = url.password().map(|password| (decoded(url.username()), Secret::new(decoded(password))));
    if login.is_none() && !url.username().is_empty() {
        return Err(Fault::Lacks(kind, "password"));
    }
    let to = mailboxes(&to.ok_or(Fault::Lacks(kind, "to"))?)?;
    let from = from(sender.as_deref(), login.as_ref())?;
    Ok(channel(Mail { host, port: url.port().unwrap_or_else(|| port(tls)), tls, login, from, to }, level))
}

fn channel(mail: Mail, level: Threshold) -> Channel {
    let to = mail.to.join(", ");
    let id = id(Kind::Mail, &format!("{}/{to}", mail.host));
    Channel {
        kind: Kind::Mail,
        id,
        shown: format!("{to} ({}:{})", mail.host, mail.port),
        level,
        target: Target::Mail(mail),
    }
}

/// Who writes: as it was said, else who logs in, where that is an address.
fn from(said: Option<&str>, login: Option<&(String, Secret)>) -> Result<String, Fault> {
    let from = said.or_else(|| login.map(|(user, _)| user.as_str()).filter(|user| user.contains('@')));
    let from = from.ok_or(Fault::Lacks(Kind::Mail, "from"))?;
    from.parse::<Mailbox>().map(|mailbox| mailbox.to_string()).map_err(|_| Fault::Mailbox)
}

fn mailboxes(text: &str) -> Result<Vec<String>, Fault> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let all: Result<Vec<_>, _> = parts.map(|part| part.parse::<Mailbox>().map(|mailbox| mailbox.to_string())).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or(Fault::Mailbox)
}
