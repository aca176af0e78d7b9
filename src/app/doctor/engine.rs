//! The engine, the database's container in it, and the way bulk takes out of it.

use rust_i18n::t;

use super::super::ENGINE_PATIENCE;
use super::{App, Check, Unusable};
use crate::domain::text::escape;
use crate::process::privileges;
use crate::runner::docker::{Container, DockerRunner, Engine, NoFastLane};
use crate::settings::Runner;

/// Engine and container; both where they were found.
pub(super) async fn check(app: &App, unusable: &Unusable) -> (Vec<Check>, Option<(Engine, Container)>) {
    if app.settings.database.runner == Runner::Local {
        return (vec![Check::ok("runner", t!("doctor.runner_local"))], None);
    }
    if unusable.has("DOCKER_HOST") {
        return (Vec::new(), None);
    }
    let engine = match Engine::connect(app.settings.engine.docker_host.as_deref(), ENGINE_PATIENCE).await {
        Err(error) => return (vec![Check::error("engine", &error)], None),
        Ok(engine) => engine,
    };
    let facts = engine.facts();
    let reached = Check::ok(
        "engine",
        t!("doctor.engine", version = escape(&facts.engine), api = facts.api, address = escape(&facts.address)),
    );
    match engine.find(&app.target()).await {
        Err(error) => (vec![reached, Check::error("container", &error)], None),
        Ok(container) => (vec![reached, state(&container)], Some((engine, container))),
    }
}

fn state(container: &Container) -> Check {
    let name = escape(&container.name);
    let state = match &container.health {
        Some(health) => format!("{}, {}", container.state, health),
        None => container.state.clone(),
    };
    let image = escape(&container.image);
    let found = t!("doctor.container", name = name, id = container.short_id(), image = image, state = state);
    match container.state.as_str() {
        "paused" => {
            Check::failure("container", found, Some(t!("runner.engine.paused_hint", container = name).into_owned()))
        }
        _ if !container.is_running() => {
            Check::failure("container", found, Some(t!("doctor.container_fix", name = name).into_owned()))
        }
        _ if container.health.as_deref() == Some("unhealthy") => {
            Check::warning("container", found, t!("doctor.container_unhealthy", name = name))
        }
        _ => Check::ok("container", found),
    }
}

/// How bulk travels.
pub(super) async fn lane(app: &App, found: Option<&(Engine, Container)>) -> Option<Check> {
    let (engine, container) = found?.clone();
    let dir = escape(&app.settings.lane_dir.display().to_string());
    let name = escape(&container.name);
    let runner = DockerRunner::new(engine, container).with_lane(&app.settings.lane_dir);
    Some(match runner.try_lane().await {
        Err(error) => Check::error("lane", &error),
        Ok(None) => Check::ok("lane", t!("doctor.lane", dir = dir, name = name)),
        Ok(Some(why)) => {
            let seen = t!("doctor.no_lane", reason = why);
            let fix = match why {
                NoFastLane::NotOurs { .. } => t!("doctor.lane_not_ours", dir = dir, user = privileges::USER),
                NoFastLane::Refused { .. } => t!("doctor.lane_refused", name = name),
                NoFastLane::Unmet { .. } => t!("doctor.lane_unmet", name = name),
                NoFastLane::NoDirectory { .. } | NoFastLane::NotShared { .. } => t!("doctor.lane_fix", dir = dir),
            };
            Check::warning("lane", seen, fix)
        }
    })
}
