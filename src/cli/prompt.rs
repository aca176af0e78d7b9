//! The question before something is replaced. It holds no lock and expires.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::time::Duration;

use rust_i18n::t;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::cli::output::Output;
use crate::error::{Exit, Explain};

/// The word, in both languages: the scripts asked for it.
pub const WORD: &str = "OUI";
/// No answer is longer (bytes).
const LINE_LIMIT: u64 = 1024;

/// Why it was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotConfirmed {
    /// Standard input is not a terminal.
    #[error("{}", t!("cli.prompt.not_a_terminal"))]
    NotATerminal,
    /// The input ended without a line.
    #[error("{}", t!("cli.prompt.end_of_input"))]
    EndOfInput,
    /// Another answer.
    #[error("{}", t!("cli.prompt.other_word", word = WORD))]
    OtherWord,
    /// Nobody answered.
    #[error("{}", t!("cli.prompt.expired", minutes = minutes))]
    Expired {
        /// How long it stood.
        minutes: u64,
    },
    /// A signal came instead.
    #[error("{}", t!("cli.prompt.interrupted"))]
    Interrupted,
}

impl Explain for NotConfirmed {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotATerminal => Some(t!("cli.prompt.not_a_terminal_hint").into_owned()),
            Self::EndOfInput | Self::OtherWord | Self::Expired { .. } => {
                Some(t!("cli.prompt.hint", word = WORD).into_owned())
            }
            Self::Interrupted => None,
        }
    }

    fn exit(&self) -> Exit {
        Exit::NotConfirmed
    }
}

/// Asks for [`WORD`] on the terminal. The caller has shown what will happen.
///
/// # Errors
/// [`NotConfirmed`], with [`Exit::NotConfirmed`].
pub async fn confirm(output: &Output, timeout: Duration, cancel: &CancellationToken) -> Result<(), NotConfirmed> {
    if !io::stdin().is_terminal() {
        return Err(NotConfirmed::NotATerminal);
    }
    output.question(&t!("cli.prompt.question", word = WORD));
    let answer = tokio::select! {
        answer = read_line() => judge(&answer),
        () = tokio::time::sleep(timeout) => Err(NotConfirmed::Expired { minutes: minutes(timeout) }),
        () = cancel.cancelled() => Err(NotConfirmed::Interrupted),
    };
    if matches!(answer, Err(NotConfirmed::Expired { .. } | NotConfirmed::Interrupted)) {
        output.question("\n");
    }
    answer
}

/// Whole minutes, rounded up.
fn minutes(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).div_ceil(60)
}

/// One line, with its end where it has one. On a thread of its own, which the end of the process ends: reading from a
/// terminal cannot be interrupted.
async fn read_line() -> Vec<u8> {
    let (sender, receiver) = oneshot::channel();
    let reading = std::thread::Builder::new().name("prompt".into()).spawn(move || {
        let mut line = Vec::new();
        let read = BufReader::new(io::stdin().lock().take(LINE_LIMIT)).read_until(b'\n', &mut line);
        let _ = sender.send(read.map(|_| line).unwrap_or_default());
    });
    match reading {
        Ok(_) => receiver.await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

fn judge(line: &[u8]) -> Result<(), NotConfirmed> {
    match line.strip_suffix(b"\n") {
        None => Err(NotConfirmed::EndOfInput),
        Some(word) if word == WORD.as_bytes() => Ok(()),
        Some(_) => Err(NotConfirmed::OtherWord),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_72_only_the_exact_word_confirms() {
        assert_eq!(judge(b"OUI\n"), Ok(()));
        for line in ["oui\n", "OUI!\n", "OUI \n", " OUI\n", "OUI x\n", "Oui\n", "YES\n", "\n", "OUI\r\n", "OUI\0\n"] {
            assert_eq!(judge(line.as_bytes()), Err(NotConfirmed::OtherWord), "{line:?}");
        }
        for line in ["", "OUI"] {
            assert_eq!(judge(line.as_bytes()), Err(NotConfirmed::EndOfInput), "{line:?}");
        }
    }
}
