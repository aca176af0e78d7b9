//! Programs under a runner.

use amarre::runner::{Error, Running};

/// Reads until it fails, as it must.
pub async fn until_it_fails(running: &mut Running) -> Error {
    loop {
        match running.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a success"),
            Err(error) => break error,
        }
    }
}
