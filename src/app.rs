//! The composition root: settings -> adapters -> operations. The only place that names concrete adapters.

use std::sync::Arc;

use rust_i18n::t;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::Clock;
use crate::error::{Exit, Failure};
use crate::process::SystemClock;
use crate::process::privileges::{self, Workplace};
use crate::process::signals::Shutdown;
use crate::settings::{self, Environment, Settings};

/// The time of the machine.
#[must_use]
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Gives up the rights of root where this is the sidecar; see [`privileges::drop_root`]. Before the settings are known.
///
/// # Errors
/// When it would stay root.
pub fn leave_root(environment: &Environment, warn: &mut dyn FnMut(Failure)) -> Result<(), Failure> {
    let path = |name, default| environment.get(name).unwrap_or(default).into();
    let place = Workplace {
        backup_dir: path("BACKUP_DIR", settings::BACKUP_DIR_DEFAULT),
        lane_dir: path("BACKUP_LANE_DIR", settings::LANE_DIR_DEFAULT),
        socket: settings::database::socket(environment.get("DOCKER_HOST")),
    };
    let mut explained = |error: &privileges::Error| warn(privileges::explain(error));
    Ok(privileges::drop_root(environment.in_container(), &place, &mut explained)?)
}

/// What this process works with.
#[must_use]
pub fn workplace(settings: &Settings) -> Workplace {
    Workplace {
        backup_dir: settings.backup_dir.clone(),
        lane_dir: settings.lane_dir.clone(),
        socket: settings.engine.socket(),
    }
}

/// A token that SIGTERM, SIGINT and SIGHUP cancel.
///
/// # Errors
/// When the system refuses a handler.
pub fn shutdown() -> Result<CancellationToken, Failure> {
    let failed = |cause: std::io::Error| Failure {
        message: t!("process.signals", cause = cause).into_owned(),
        hint: None,
        exit: Exit::Failed,
    };
    Ok(Shutdown::listen().map_err(failed)?.token)
}
