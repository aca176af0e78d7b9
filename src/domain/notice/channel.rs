//! Which kinds of channels there are, and what each wants to hear.

use std::fmt;

use super::{Level, Notice};

/// A way to tell people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the services")]
pub enum Kind {
    Mail,
    Slack,
    Discord,
    Teams,
    Telegram,
    Ntfy,
    Gotify,
    /// JSON of ours to any address.
    Webhook,
    /// A dead man's switch, as healthchecks.io has it: told that a backup starts, and how it ends.
    Ping,
}

impl Kind {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 9] = [
        Self::Mail,
        Self::Slack,
        Self::Discord,
        Self::Teams,
        Self::Telegram,
        Self::Ntfy,
        Self::Gotify,
        Self::Webhook,
        Self::Ping,
    ];

    /// The word for it in addresses, ids and options.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::Telegram => "telegram",
            Self::Ntfy => "ntfy",
            Self::Gotify => "gotify",
            Self::Webhook => "webhook",
            Self::Ping => "ping",
        }
    }

    /// Reads [`Kind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether a channel of this kind that has `threshold` is told of `notice`. A dead man's switch is told of nothing but
    /// the pings made for it, and nobody else hears of those.
    #[must_use]
    pub fn wants(self, threshold: Threshold, notice: &Notice) -> bool {
        if self == Self::Ping || is_ping(&notice.event) {
            return self == Self::Ping && is_ping(&notice.event);
        }
        match notice.level {
            Level::Digest => true,
            Level::Failure => threshold >= Threshold::Failure,
            Level::Warning => threshold >= Threshold::Warning,
            // That something is over is news for whoever heard of it.
            Level::Success => threshold >= Threshold::Success || (notice.recovered && threshold >= Threshold::Warning),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Events of a dead man's switch.
pub const PING_START: &str = "ping:start";
/// The run ended well.
pub const PING_SUCCESS: &str = "ping:success";
/// It did not.
pub const PING_FAIL: &str = "ping:fail";

fn is_ping(event: &str) -> bool {
    event.starts_with("ping:")
}

/// The least bad that a channel wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threshold {
    /// Nothing but the summary of a week.
    Digest,
    /// Failures, and that they are over.
    Failure,
    /// Warnings too.
    Warning,
    /// Each good night too.
    Success,
}

impl Threshold {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Digest, Self::Failure, Self::Warning, Self::Success];

    /// As people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Failure => "failure",
            Self::Warning => "warning",
            Self::Success => "success",
        }
    }

    /// Reads [`Threshold::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::place;
    use super::*;

    fn heard(level: Level, recovered: bool) -> Vec<&'static str> {
        let notice = Notice { recovered, ..Notice::new(level, "x", place(), "x") };
        Threshold::ALL.into_iter().filter(|t| Kind::Slack.wants(*t, &notice)).map(Threshold::as_str).collect()
    }

    #[test]
    fn each_threshold_hears_what_is_at_least_as_bad() {
        assert_eq!(heard(Level::Failure, false), ["failure", "warning", "success"]);
        assert_eq!(heard(Level::Failure, true), ["failure", "warning", "success"]);
        assert_eq!(heard(Level::Warning, false), ["warning", "success"]);
        assert_eq!(heard(Level::Warning, true), ["warning", "success"]);
        assert_eq!(heard(Level::Success, false), ["success"]);
        assert_eq!(heard(Level::Success, true), ["warning", "success"]);
        assert_eq!(heard(Level::Digest, false), ["digest", "failure", "warning", "success"]);
    }

    #[test]
    fn a_dead_mans_switch_hears_of_its_pings_only() {
        let ping = Notice::new(Level::Success, PING_START, place(), "x");
        let failed = Notice::new(Level::Failure, "backup_failed", place(), "x");
        assert!(Kind::Ping.wants(Threshold::Failure, &ping) && !Kind::Ping.wants(Threshold::Success, &failed));
        assert!(!Kind::Mail.wants(Threshold::Success, &ping) && Kind::Mail.wants(Threshold::Failure, &failed));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::parse(kind.as_str()) == Some(kind)));
        assert!(Threshold::ALL.into_iter().all(|level| Threshold::parse(level.as_str()) == Some(level)));
        assert_eq!((Kind::parse("fax"), Threshold::parse("Warning")), (None, Some(Threshold::Warning)));
    }
}
