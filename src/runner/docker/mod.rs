//! Programs in the database's container, through the engine's socket.
//!
//! `connect` reaches the engine, `find` chooses the container, `exec` runs a program in it with the shell of
//! `wrapper` around it, `sentinel` tells the program's bytes from the wrapper's, `error` names what fails.
//! What the programs are is not known here.

use async_trait::async_trait;
use rust_i18n::t;

use super::{Error, Input, Place, Program, Runner, Running, quote};

mod connect;
mod error;
mod exec;
mod find;
mod sentinel;
mod wrapper;

pub use connect::{DEFAULT_SOCKET, Engine, Facts};
pub use error::EngineError;
pub use find::{Candidate, Container, Project, Target, Wanted, choose};

/// Pieces of output (32 KiB at most) between the socket and a reader that pauses.
const QUEUE: usize = 32;

/// Runs programs in one container.
#[derive(Debug, Clone)]
pub struct DockerRunner {
    engine: Engine,
    container: Container,
}

impl DockerRunner {
    /// For programs in `container`, pinned by its id.
    #[must_use]
    pub fn new(engine: Engine, container: Container) -> Self {
        Self { engine, container }
    }

    /// The container.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

#[async_trait]
impl Runner for DockerRunner {
    async fn start(&self, program: &Program, input: Input) -> Result<Running, Error> {
        let (running, driver) = super::channel(QUEUE);
        let fed = !matches!(input, Input::None);
        let run = exec::Run::start(&self.engine, &self.container, program, fed, &driver).await?;
        tokio::spawn(run.drive(driver, input));
        Ok(running)
    }

    fn place(&self) -> Place {
        Place { lane: "exec", description: describe(&self.container) }
    }
}

fn describe(container: &Container) -> String {
    t!("runner.place_container", name = quote(&container.name), id = container.short_id()).into_owned()
}
