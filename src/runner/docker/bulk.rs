//! The bulk of a run's bytes on the fast lane: from the FIFO in blocks, or into it. What its end means is
//! for the sentinel to say.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rust_i18n::t;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Sender;

use super::exec;
use super::fifo::Fifo;
use super::sentinel::Nonce;
use super::wrapper;
use crate::runner::pipe::{self, Stop};
use crate::runner::{Driver, Error, Input};

/// Our end of the FIFO of a run.
pub(super) enum End {
    /// The program's output comes here.
    Output(Option<File>),
    /// Its input goes here; `None` once it has ended.
    Input(Option<Sender>),
}

impl End {
    /// Opens our end. Nobody is waited for.
    pub(super) fn open(fifo: &Fifo, fed: bool, nonce: &Nonce) -> std::io::Result<Self> {
        if !fed {
            return fifo.reader().map(|file| Self::Output(Some(file)));
        }
        // The other side reads it before the program is started.
        fifo.greet(format!("{}\n", nonce.as_str()).as_bytes())?;
        fifo.writer().map(|sender| Self::Input(Some(sender)))
    }

    /// Whether it is `nonce` that comes first: then the program's output is what comes next. The wrapper has sent it before its
    /// first line. (That of an input was read before the program was started.)
    pub(super) fn is_met(&mut self, nonce: &Nonce) -> bool {
        let Self::Output(Some(file)) = self else { return true };
        let mut line = vec![0; nonce.as_str().len() + 1];
        file.read_exact(&mut line).is_ok() && line.strip_suffix(b"\n") == Some(nonce.as_str().as_bytes())
    }
}

/// Hands all that comes to `driver`; see [`pipe::read`].
pub(super) async fn read(
    file: Option<File>,
    driver: &Driver,
    told: &Arc<AtomicBool>,
    program: &str,
    fifo: &str,
) -> Result<(), Error> {
    let Some(file) = file else { return Ok(()) };
    let failed = |cause: String| Error::Lane { fifo: fifo.to_owned(), cause };
    pipe::read(file, driver, told).await.map_err(|stop| match stop {
        Stop::Unwanted => Error::Aborted,
        Stop::Io(error) => failed(error.to_string()),
        Stop::NoEnd => failed(t!("runner.lane.no_end", program = program).into_owned()),
    })
}

/// Forwards `input`, then says over `words` that it has ended. Ends only where the feeder failed.
pub(super) async fn feed(sender: &mut Option<Sender>, words: &mut exec::Words, mut input: Input) -> Error {
    if let Some(pipe) = sender {
        match exec::forward(pipe, &mut input).await {
            Err(error) => return error,
            Ok(false) => return std::future::pending().await,
            Ok(true) => {}
        }
    }
    sender.take();
    // Where this fails the stream of the exec ends too, which is seen there.
    let _ = words.write_all(wrapper::INPUT_ENDED).await;
    let _ = words.flush().await;
    // The receiver lives on in `input`: a feeder waits instead of failing before the program is judged.
    std::future::pending().await
}
