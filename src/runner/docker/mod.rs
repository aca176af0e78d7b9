//! Programs in the database's container, through the engine's socket.
//!
//! `connect` reaches the engine, `date` asks for its clock, `find` chooses the container, `exec` runs a program in it with the shell of
//! `wrapper` around it, `lane` and `fifo` are the fast lane for bulk, `sentinel` tells the program's bytes from the wrapper's, `error` names what fails.
//! What the programs are is not known here.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rust_i18n::t;
use tracing::Instrument as _;

use lane::Lane;
use sentinel::NoLane;

use super::{Driver, Error, Input, Program, Runner, Running, quote};

mod bulk;
mod connect;
mod date;
mod error;
mod exec;
mod fifo;
mod find;
mod lane;
mod outlet;
mod sentinel;
mod wrapper;

pub use connect::{DEFAULT_SOCKET, Engine, Facts};
pub use error::EngineError;
pub use find::{Candidate, Container, Mount, Project, Target, Wanted, choose};
pub use lane::{NoFastLane, sweep};

/// Pieces of output (32 KiB at most) between the socket and a reader that pauses.
const QUEUE: usize = 32;

/// Runs programs in one container.
#[derive(Debug, Clone)]
pub struct DockerRunner {
    engine: Engine,
    container: Container,
    lane: Option<Arc<Lane>>,
}

impl DockerRunner {
    /// For programs in `container`, pinned by its id.
    #[must_use]
    pub fn new(engine: Engine, container: Container) -> Self {
        Self { engine, container, lane: None }
    }

    /// The same, with bulk through FIFOs in `dir` wherever the container sees that directory too.
    #[must_use]
    pub fn with_lane(self, dir: &Path) -> Self {
        Self { lane: Some(Arc::new(Lane::new(dir))), ..self }
    }

    /// Tries the fast lane; `Some`: why there is none.
    ///
    /// # Errors
    /// How a program in the container fails.
    pub async fn try_lane(&self) -> Result<Option<NoFastLane>, Error> {
        let nothing = Program { argv: vec!["true".to_owned()], bulk: true, ..Program::default() };
        self.start(&nothing, Input::None).await?.collect(0).await?;
        Ok(self.lane.as_ref().and_then(|lane| lane.barred()))
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
        let fed = !matches!(input, Input::None);
        if program.bulk
            && let Some(lane) = &self.lane
            && let Some((running, run, driver)) = self.start_by(lane, program, fed).await?
        {
            tokio::spawn(run.drive(driver, input).in_current_span());
            return Ok(running);
        }
        let (running, driver) = super::channel(QUEUE, "exec");
        let (run, input) = exec::Run::start(&self.engine, &self.container, program, input, &driver).await?;
        tokio::spawn(run.drive(driver, input).in_current_span());
        Ok(running)
    }
}

impl DockerRunner {
    /// Starts a program by the fast lane; `None`: the lane is no way, and it is known why.
    async fn start_by(
        &self,
        lane: &Lane,
        program: &Program,
        fed: bool,
    ) -> Result<Option<(Running, exec::Run, Driver)>, Error> {
        let (dir, container) = (lane.shown(), self.container.name.clone());
        let places = lane.places(&self.container.mounts);
        while let Some(fifo) = lane.fifo(fed) {
            let group = lane.group();
            if let Some(group) = group
                && !exec::give_group(&self.engine, &self.container, group, &fifo, &places).await?
            {
                lane.bar(NoFastLane::Refused { dir, container, group });
                break;
            }
            let path = fifo.shown();
            let (running, driver) = super::channel(QUEUE, "fifo");
            match exec::Run::start_by(&self.engine, &self.container, program, fed, &driver, (fifo, &places)).await? {
                Ok(run) => return Ok(Some((running, run, driver))),
                Err(NoLane::Refused(needed)) if group.is_none() => lane.set_group(needed),
                Err(NoLane::Refused(group)) => {
                    lane.bar(NoFastLane::Refused { dir: dir.clone(), container: container.clone(), group })
                }
                Err(NoLane::Absent) => {
                    lane.bar(NoFastLane::NotShared { dir: dir.clone(), container: container.clone() })
                }
                Err(NoLane::Unmet(seconds)) => {
                    lane.bar(NoFastLane::Unmet { dir: dir.clone(), container: container.clone(), seconds })
                }
                Err(NoLane::Foreign) => return Err(exec::foreign(&path)),
            }
        }
        Ok(None)
    }
}

fn describe(container: &Container) -> String {
    t!("runner.place_container", name = quote(&container.name), id = container.short_id()).into_owned()
}
