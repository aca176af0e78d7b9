//! Which database, and how its client programs are run. Nothing is connected to here.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::problem::Problem;
use crate::settings::reader::{Reader, number};
use crate::settings::secret::Secret;

/// PostgreSQL cuts longer names without a word (bytes).
const NAME_LIMIT: usize = 63;

/// The database to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// `POSTGRES_USER`; see [`Database::require_user`].
    pub user: Option<String>,
    /// `POSTGRES_PASSWORD`.
    pub password: Option<Secret>,
    /// `POSTGRES_DB`.
    pub name: String,
    /// `BACKUP_RUNNER`.
    pub runner: Runner,
    /// `BACKUP_DB_CONTAINER`: a name or an id; goes before the service.
    pub container: Option<String>,
    /// `BACKUP_DB_SERVICE`.
    pub service: String,
    /// `BACKUP_DB_HOST` or `PGHOST`: for the local runner; a name, an address or the directory of a socket.
    pub host: Option<String>,
    /// `BACKUP_DB_PORT` or `PGPORT`.
    pub port: Option<u16>,
    /// `BACKUP_READY_TIMEOUT`: how long to wait for a database that starts.
    pub ready_timeout: Duration,
    /// `BACKUP_LOCK_TIMEOUT`: how long to wait for a lock held in the database.
    pub lock_timeout: Duration,
    /// `BACKUP_ROLE_PASSWORDS`: whether the roles file may hold password hashes.
    pub role_passwords: bool,
}

impl Database {
    /// The role that dumps and restores.
    ///
    /// # Errors
    /// [`Problem::Missing`].
    pub fn require_user(&self) -> Result<&str, Problem> {
        self.user.as_deref().ok_or(Problem::Missing { name: "POSTGRES_USER" })
    }
}

/// Where client programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// In the database's container.
    Docker,
    /// On this machine.
    Local,
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Local => "local",
        })
    }
}

/// How the engine and the application are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// `DOCKER_HOST`; not set: `unix:///var/run/docker.sock`.
    pub docker_host: Option<String>,
    /// `COMPOSE_FILE` (on the host; several are separated by `:`), absolute; empty in the container.
    pub compose_files: Vec<PathBuf>,
    /// `COMPOSE_PROJECT_NAME`.
    pub compose_project: Option<String>,
}

/// Where the engine listens when nobody says otherwise.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";

impl Engine {
    /// The socket of the engine, where it is one.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        socket(self.docker_host.as_deref())
    }
}

/// The socket that a `DOCKER_HOST` means.
#[must_use]
pub fn socket(docker_host: Option<&str>) -> Option<PathBuf> {
    match docker_host {
        None => Some(PathBuf::from(DOCKER_SOCKET)),
        Some(host) => host.strip_prefix("unix://").map(PathBuf::from),
    }
}

pub(super) fn read_database(reader: &mut Reader<'_>) -> Database {
    Database {
        user: reader.text("POSTGRES_USER").and_then(|text| name_in_database(reader, "POSTGRES_USER", text)),
        password: reader.secret("POSTGRES_PASSWORD"),
        name: {
            let name = reader.text_or("POSTGRES_DB", "hub_chantier");
            name_in_database(reader, "POSTGRES_DB", name).unwrap_or_default()
        },
        runner: reader.choice("BACKUP_RUNNER", Runner::Docker, &["docker", "local"], &[Runner::Docker, Runner::Local]),
        container: reader.text("BACKUP_DB_CONTAINER"),
        service: reader.text_or("BACKUP_DB_SERVICE", "db"),
        host: either(reader, "BACKUP_DB_HOST", "PGHOST"),
        port: read_port(reader),
        ready_timeout: seconds(reader.number("BACKUP_READY_TIMEOUT", 120, 1, DAY)),
        lock_timeout: seconds(reader.number("BACKUP_LOCK_TIMEOUT", 60, 1, DAY)),
        role_passwords: super::yes_no(reader, "BACKUP_ROLE_PASSWORDS", true),
    }
}

/// Seconds of a day: no wait is longer.
const DAY: u32 = 86_400;

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

fn name_in_database(reader: &mut Reader<'_>, name: &'static str, text: String) -> Option<String> {
    if text.len() > NAME_LIMIT {
        reader.problem(Problem::TooLong { name, bytes: text.len(), max: NAME_LIMIT });
        return None;
    }
    Some(text)
}

/// Ours, else libpq's.
fn either(reader: &mut Reader<'_>, ours: &'static str, libpq: &'static str) -> Option<String> {
    if reader.peek(ours).is_none() && reader.peek(libpq).is_some() { reader.text(libpq) } else { reader.text(ours) }
}

fn read_port(reader: &mut Reader<'_>) -> Option<u16> {
    let libpq = reader.peek("BACKUP_DB_PORT").is_none() && reader.peek("PGPORT").is_some();
    let name = if libpq { "PGPORT" } else { "BACKUP_DB_PORT" };
    let text = reader.text(name)?;
    match number(name, &text, 1, u32::from(u16::MAX)) {
        Ok(port) => u16::try_from(port).ok(),
        Err(problem) => {
            reader.problem(problem);
            None
        }
    }
}

pub(super) fn read_engine(reader: &mut Reader<'_>, in_container: bool) -> Engine {
    let docker_host = reader.text("DOCKER_HOST");
    if let Some(host) = &docker_host
        && !["unix:///", "tcp://", "http://"].iter().any(|scheme| host.starts_with(scheme))
    {
        reader.problem(Problem::Engine { value: host.clone() });
    }
    let compose_files = if in_container { Vec::new() } else { read_compose_files(reader) };
    Engine { docker_host, compose_files, compose_project: reader.text("COMPOSE_PROJECT_NAME") }
}

fn read_compose_files(reader: &mut Reader<'_>) -> Vec<PathBuf> {
    let text = reader.text_or("COMPOSE_FILE", "docker-compose.prod.yml");
    text.split(':').filter(|part| !part.is_empty()).map(|part| reader.absolute(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::{load, problems};

    #[test]
    fn defaults_are_those_of_the_scripts() {
        let database = load(&[]).database;
        assert_eq!(database.name, "hub_chantier");
        assert_eq!(database.service, "db");
        assert_eq!(database.runner, Runner::Docker);
        assert_eq!((database.host, database.port), (None, None));
        assert!(database.role_passwords);
        assert_eq!(database.ready_timeout, Duration::from_secs(120));
        assert_eq!(database.lock_timeout, Duration::from_secs(60));
    }

    #[test]
    fn libpq_variables_stand_in_for_ours() {
        let database = load(&[("PGHOST", "/run/pg"), ("PGPORT", "5433")]).database;
        assert_eq!((database.host.as_deref(), database.port), (Some("/run/pg"), Some(5433)));
        let database = load(&[("PGHOST", "a"), ("BACKUP_DB_HOST", "b"), ("BACKUP_DB_PORT", "1")]).database;
        assert_eq!((database.host.as_deref(), database.port), (Some("b"), Some(1)));
    }

    #[test]
    fn a_bad_port_runner_or_wait_is_refused() {
        let set = [("BACKUP_DB_PORT", "65536"), ("BACKUP_RUNNER", "podman"), ("BACKUP_READY_TIMEOUT", "0")];
        assert!(matches!(
            problems(&set).as_slice(),
            [Problem::Choice { .. }, Problem::Number { .. }, Problem::Number { .. }]
        ));
    }

    #[test]
    fn fault_28_hostile_names_are_taken_as_they_are() {
        for name in ["a/../../b; $(x)", "dbname=x host=evil", "two\nlines", "quo\"te"] {
            assert_eq!(load(&[("POSTGRES_DB", name)]).database.name, name);
        }
        assert!(matches!(problems(&[("POSTGRES_DB", &"x".repeat(64))]).as_slice(), [Problem::TooLong { .. }]));
    }

    #[test]
    fn the_user_is_required_where_it_is_used() {
        assert_eq!(load(&[("POSTGRES_USER", "hub")]).database.require_user(), Ok("hub"));
        assert!(matches!(load(&[]).database.require_user(), Err(Problem::Missing { name: "POSTGRES_USER" })));
    }

    #[test]
    fn only_engines_that_can_be_reached_are_accepted() {
        assert_eq!(load(&[]).engine.socket(), Some(PathBuf::from(DOCKER_SOCKET)));
        let engine = load(&[("DOCKER_HOST", "unix:///run/user/1/docker.sock")]).engine;
        assert_eq!(engine.socket(), Some(PathBuf::from("/run/user/1/docker.sock")));
        assert_eq!(load(&[("DOCKER_HOST", "tcp://proxy:2375")]).engine.socket(), None);
        assert!(matches!(problems(&[("DOCKER_HOST", "ssh://host")]).as_slice(), [Problem::Engine { .. }]));
    }

    #[test]
    fn compose_files_are_absolute_and_for_the_host_only() {
        let files = load(&[("COMPOSE_FILE", "a.yml:/b/./c.yml")]).engine.compose_files;
        assert_eq!(files, [PathBuf::from("/nonexistent/a.yml"), PathBuf::from("/b/c.yml")]);
        assert_eq!(load(&[]).engine.compose_files, [PathBuf::from("/nonexistent/docker-compose.prod.yml")]);
    }
}
