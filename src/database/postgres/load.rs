//! Loading plain SQL into a new database by `psql`, so that the end of the input is seen to have been reached.
//!
//! Fault 34: `psql` exits 0 on SQL that is cut inside COPY data, and commits the rows it saw. So a statement that prints a
//! nonce follows the input: inside COPY data or a quote it is never executed, and the load counts as failed.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Postgres;
use super::psql::PSQL;
use crate::database::{Error, Loading};
use crate::domain::run::RunId;
use crate::runner::{Feed, Input, Program};

/// Settings for a load only: the new database is made durable by the checkpoint of the rename's commit,
/// and the application's limits do not hold here.
const LOADING: &str = "-c synchronous_commit=off -c default_transaction_read_only=off -c lock_timeout=0 \
                       -c client_min_messages=warning -c row_security=off";

impl Postgres {
    pub(super) async fn start_load(
        &self,
        run: &RunId,
        database: &str,
        input: mpsc::Receiver<Feed>,
    ) -> Result<Loading, Error> {
        let nonce = nonce();
        let restrict = self.psql_restricts().await?;
        let program = Program { bulk: true, ..self.program(&PSQL, &run.application_name(), database, LOADING) };
        let (sender, framed) = mpsc::channel(4);
        tokio::spawn(frame(input, sender, nonce.clone(), restrict));
        let running = self.runner.start(&program, Input::Stream(framed)).await?;
        Ok(Loading { running, nonce })
    }

    /// Whether `psql` knows `\restrict` (August 2025 and later): then it refuses every meta-command of the
    /// input by itself, whatever our own reading of it found.
    pub(super) async fn psql_restricts(&self) -> Result<bool, Error> {
        if let Some(known) = self.restricts.get() {
            return Ok(*known);
        }
        let program = self.program(&["psql", "--version"], "amarre/ask", "postgres", "");
        let output = self.runner.start(&program, Input::None).await?.collect(4096).await?;
        Ok(*self.restricts.get_or_init(|| knows_restrict(&String::from_utf8_lossy(&output.stdout))))
    }
}

/// Puts `\restrict`, the input, and the nonce after one another.
async fn frame(mut input: mpsc::Receiver<Feed>, output: mpsc::Sender<Feed>, nonce: String, restrict: bool) {
    let (before, after) = if restrict {
        (format!("\\restrict {nonce}\n"), format!("\nSELECT '{nonce}';\n\\unrestrict {nonce}\n"))
    } else {
        (String::new(), format!("\nSELECT '{nonce}';\n"))
    };
    if !before.is_empty() && output.send(Feed::Data(Bytes::from(before))).await.is_err() {
        return;
    }
    while let Some(feed) = input.recv().await {
        let done = matches!(feed, Feed::End);
        if done && output.send(Feed::Data(Bytes::from(after.clone()))).await.is_err() {
            return;
        }
        if output.send(feed).await.is_err() || done {
            return;
        }
    }
    // The feeder went away without an end: dropping our sender says so to the runner, which aborts.
}

/// A word that no dump holds. Not a secret, so the standard library's per-process random keys do.
fn nonce() -> String {
    let state = RandomState::new();
    format!("amarreEnd{:016x}{:016x}", state.hash_one(1_u8), RandomState::new().hash_one(2_u8))
}

/// `psql (PostgreSQL) 16.10 (Debian …)` or `16.10 (Debian …)`: the first minors that know `\restrict` (CVE-2025-8714).
pub(super) fn knows_restrict(version: &str) -> bool {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let mut parts =
        number.unwrap_or_default().split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match major {
        13 => minor >= 22,
        14 => minor >= 19,
        15 => minor >= 14,
        16 => minor >= 10,
        17 => minor >= 6,
        newer => newer >= 18,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restrict_is_known_since_its_minors() {
        assert!(knows_restrict("psql (PostgreSQL) 17.10 (Debian 17.10-0+deb13u1)"));
        assert!(knows_restrict("psql (PostgreSQL) 18beta1"));
        assert!(!knows_restrict("psql (PostgreSQL) 16.9"));
        assert!(!knows_restrict("psql (PostgreSQL) 12.22"));
        assert!(!knows_restrict(""));
    }

    #[tokio::test]
    async fn a_feeder_that_goes_away_is_no_end() {
        let (feeder, input) = mpsc::channel(1);
        let (output, mut framed) = mpsc::channel(8);
        feeder.send(Feed::Data(Bytes::from_static(b"select 1;"))).await.unwrap();
        drop(feeder);
        frame(input, output, "n".into(), true).await;
        let mut seen = Vec::new();
        while let Some(feed) = framed.recv().await {
            seen.push(matches!(feed, Feed::End));
        }
        assert_eq!(seen, [false, false]);
    }
}
