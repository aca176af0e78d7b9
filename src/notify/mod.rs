//! How people are told: a notice becomes a mail, a message of a chat, or a request of a webhook, and is sent once. When, how often
//! and to whom is not decided here, and nothing is kept: a notifier is made for a message and dropped after it, with its connection
//! and its certificates.
//!
//! # Contract of every [`Notifier`]
//!
//! - [`Notifier::send`] sends one message or fails; it never tries twice. [`Error::again`] says whether another try may help.
//! - It ends by itself within [`PATIENCE`], whatever the other side does.
//! - Redirects are not followed: where a message goes is what the settings say.
//! - Neither errors nor texts hold an address, a token or a password; they name the host.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::notice::Notice;

pub mod error;
mod hook;
mod http;
mod mail;
mod payload;
pub mod render;
mod tls;

pub use error::{Again, Error};
pub use hook::{Hook, HookConfig};
pub use mail::{Mail, MailConfig, MailTls};
pub use tls::Trust;

/// How long a message may take, all in all.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(10);

/// Sends notices to one place. See the contract above.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Sends `notice`; `now` is the date that it carries.
    ///
    /// # Errors
    /// [`Error`].
    async fn send(&self, notice: &Notice, now: DateTime<Utc>) -> Result<(), Error>;

    /// Whether the other side can be reached, is who it should be, and (mail) lets us in. Nobody is told anything.
    ///
    /// # Errors
    /// [`Error`].
    async fn reach(&self) -> Result<(), Error>;
}
