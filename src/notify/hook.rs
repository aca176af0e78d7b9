//! Everything that takes a request of HTTP: chats, push services, webhooks, dead man's switches.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use url::Url;

use super::tls::Trust;
use super::{Error, Notifier, http, payload};
use crate::domain::notice::{Kind, Notice};

/// Where it is. No `Debug`: it holds tokens.
#[derive(Clone)]
pub struct HookConfig {
    /// What it is.
    pub kind: Kind,
    /// The address that the settings have.
    pub url: String,
    /// User and password.
    pub login: Option<(String, String)>,
    /// The token, or the key of signatures.
    pub token: Option<String>,
    /// The chat or the topic.
    pub to: Option<String>,
    /// The body of a webhook.
    pub template: Option<String>,
}

/// Sends requests.
pub struct Hook {
    config: HookConfig,
    trust: Trust,
}

impl Hook {
    /// To the place that `config` says.
    #[must_use]
    pub fn new(config: HookConfig, trust: Trust) -> Self {
        Self { config, trust }
    }
}

#[async_trait]
impl Notifier for Hook {
    async fn send(&self, notice: &Notice, now: DateTime<Utc>) -> Result<(), Error> {
        http::send(payload::request(&self.config, notice, now)?, &self.trust).await
    }

    async fn reach(&self) -> Result<(), Error> {
        let url = Url::parse(&self.config.url).map_err(|error| Error::Message { cause: error.to_string() })?;
        http::reach(&url, &self.trust).await
    }
}
