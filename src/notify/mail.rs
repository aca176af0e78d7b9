//! Mail by SMTP: text and HTML in one message.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use rust_i18n::t;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use super::tls::Trust;
use super::{Again, CONNECT, Error, Notifier, PATIENCE, render};
use crate::domain::notice::Notice;
use crate::domain::text::escape;

/// How the server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// Plainly at first, then by TLS, which must be there.
    StartTls,
    /// By TLS from the first byte.
    Tls,
    /// Plainly.
    None,
}

/// Where mail goes. No `Debug`: it holds a password.
#[derive(Clone)]
pub struct MailConfig {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// User and password.
    pub login: Option<(String, String)>,
    /// Who writes.
    pub from: String,
    /// Who reads.
    pub to: Vec<String>,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends mail.
pub struct Mail {
    config: MailConfig,
    trust: Trust,
}

impl Mail {
    /// By the server that `config` says.
    #[must_use]
    pub fn new(config: MailConfig, trust: Trust) -> Self {
        Self { config, trust }
    }

    fn transport(&self) -> Result<Transport, Error> {
        let c = &self.config;
        let tls = match c.tls {
            MailTls::StartTls => Tls::Required(self.parameters()?),
            MailTls::Tls => Tls::Wrapper(self.parameters()?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&c.host)
            .port(c.port)
            .tls(tls)
            .timeout(Some(CONNECT));
        if let Some((user, password)) = &c.login {
            let known = vec![Mechanism::Plain, Mechanism::Login];
            builder = builder.credentials(Credentials::new(user.clone(), password.clone())).authentication(known);
        }
        Ok(builder.build())
    }

    fn parameters(&self) -> Result<TlsParameters, Error> {
        let failed = |error: smtp::Error| Error::Message { cause: escape(&error.to_string()) };
        let mut builder = TlsParameters::builder(self.config.host.clone()).certificate_store(CertificateStore::None);
        for der in self.trust.certificates()? {
            builder = builder.add_root_certificate(Certificate::from_der(der.to_vec()).map_err(failed)?);
        }
        builder.build_rustls().map_err(failed)
    }

    async fn post(&self, transport: &Transport, envelope: &Envelope, message: &[u8]) -> Result<(), Error> {
        match timeout(PATIENCE, transport.send_raw(envelope, message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(Error::Silent { host: self.shown(), seconds: PATIENCE.as_secs() }),
        }
    }

    fn shown(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    fn failed(&self, error: &smtp::Error) -> Error {
        let host = self.shown();
        let cause = escape(&causes(error));
        let status = error.status().map(u16::from);
        match status {
            Some(status) if error.is_permanent() => Error::Refused { host, status, said: cause },
            Some(status) => Error::Busy { host, status, said: cause, after: None },
            None if error.is_timeout() => Error::Silent { host, seconds: CONNECT.as_secs() },
            None if error.is_tls() || is_distrust(error) => Error::Tls { host, cause },
            // It offers no STARTTLS, or no way to log in.
            None if error.is_client() => Error::Tls { host, cause },
            None => Error::Unreached { host, cause },
        }
    }
}

#[async_trait]
impl Notifier for Mail {
    async fn send(&self, notice: &Notice, now: DateTime<Utc>) -> Result<(), Error> {
        let message = message(&self.config, notice, now)?;
        let (envelope, bytes) = (message.envelope(), message.formatted());
        let transport = self.transport()?;
        let refused = match self.post(&transport, envelope, &bytes).await {
            Err(error) if envelope.to().len() > 1 && may_be_of_a_mailbox(&error) => error,
            sent => return sent,
        };
        // A server that refuses one mailbox takes the message for nobody: the others are sent theirs.
        let (began, mut is_sent, mut failed) = (Instant::now(), false, Vec::new());
        for to in envelope.to() {
            // Whoever sends has a letter for two minutes.
            if began.elapsed() > PATIENCE {
                failed.push((to, Error::Silent { host: self.shown(), seconds: PATIENCE.as_secs() }));
                continue;
            }
            let envelope = Envelope::new(envelope.from().cloned(), vec![to.clone()]);
            let envelope = envelope.map_err(|error| Error::Message { cause: escape(&error.to_string()) })?;
            match self.post(&transport, &envelope, &bytes).await {
                Ok(()) => is_sent = true,
                Err(error) => failed.push((to, error)),
            }
        }
        if !is_sent {
            // One that may pass is worth another try.
            let passing = failed.into_iter().map(|(_, error)| error).find(|error| error.again() != Again::Never);
            return Err(passing.unwrap_or(refused));
        }
        for (to, error) in failed {
            tracing::warn!("{}", t!("notify.mailbox", to = escape(to.as_ref()), cause = error));
        }
        Ok(())
    }

    async fn reach(&self) -> Result<(), Error> {
        let transport = self.transport()?;
        match timeout(CONNECT, transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Error::Unreached { host: self.shown(), cause: "NOOP".to_owned() }),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(Error::Silent { host: self.shown(), seconds: CONNECT.as_secs() }),
        }
    }
}

/// Whether the others of a message may be taken: the answer is about a mailbox that is full, gone or not known there. RFC 5321, 4.2.3, and RFC
/// 4954, 6: a service that is not available, and a login that is wrong, are so for all.
fn may_be_of_a_mailbox(error: &Error) -> bool {
    match error {
        Error::Refused { status, .. } => !matches!(status, 530 | 534 | 535 | 538),
        Error::Busy { status, .. } => !matches!(status, 421 | 432 | 454),
        _ => false,
    }
}

fn message(config: &MailConfig, notice: &Notice, now: DateTime<Utc>) -> Result<Message, Error> {
    let failed = |cause: String| Error::Message { cause: escape(&cause) };
    let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|error| failed(error.to_string()));
    let from = mailbox(&config.from)?;
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    // The same at each try: whoever gets a message twice can tell.
    let id = format!("<{}@{}>", hash(&format!("{}/{}", notice.id, config.to.join(","))), from.email.domain());
    let mut builder = Message::builder()
        .from(from)
        .subject(render::subject(notice))
        .message_id(Some(id))
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    for to in &config.to {
        builder = builder.to(mailbox(to)?);
    }
    let body = MultiPart::alternative_plain_html(render::text(notice), render::html(notice));
    let mut message = builder.multipart(body).map_err(|error| failed(error.to_string()))?;
    // No holiday answers to a machine.
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
    Ok(message)
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn causes(error: &smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

fn is_distrust(error: &smtp::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.downcast_ref::<std::io::Error>().is_some_and(super::tls::is_distrust) {
            return true;
        }
        source = inner.source();
    }
    false
}
