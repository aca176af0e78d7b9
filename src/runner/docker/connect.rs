//! Reaching the engine: its socket, our rights to it, the version of its API.
//!
//! Does not know containers.

use std::future::Future;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::error::{self, EngineError};

/// Where the engine listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The oldest API with everything that is used: the environment of an exec.
const OLDEST_API: Api = Api { major: 1, minor: 25 };

/// A connection to an engine (each call makes its own socket connection; cloning is cheap).
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    address: String,
    timeout: Duration,
    facts: Facts,
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Version of the engine, as `20.10.24`.
    pub engine: String,
    /// Version of the API in use.
    pub api: String,
    /// Newest API of the engine.
    pub newest_api: String,
    /// Oldest API of the engine.
    pub oldest_api: String,
    /// Socket path or host and port.
    pub address: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Api {
    major: usize,
    minor: usize,
}

impl Api {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Engine {
    /// Connects to `host` (`unix://PATH`, `tcp://HOST:PORT`, `http://HOST:PORT` or a plain path, as in
    /// `DOCKER_HOST`; `None`: [`DEFAULT_SOCKET`]) and agrees on a version of the API.
    /// `timeout` is for each question asked, not for the streams of programs.
    ///
    /// # Errors
    /// [`EngineError`]: the socket is absent or closed to us, nobody answers, the answer is no engine's, a
    /// proxy forbids it, or the versions do not meet.
    pub async fn connect(host: Option<&str>, timeout: Duration) -> Result<Self, EngineError> {
        let host = host.filter(|host| !host.is_empty()).unwrap_or(DEFAULT_SOCKET);
        let (docker, address) = open(host, timeout).await?;
        let version = bounded("GET /version", timeout, &address, docker.version()).await?;
        let (api, facts) = agree(&version, &address)?;
        Ok(Self { docker: pin_api(docker, api), address, timeout, facts })
    }

    /// What the engine says of itself, for `doctor`.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// One question, bounded in time from first byte to last (the library's own limit covers the headers only).
    pub(super) async fn ask<T>(
        &self,
        endpoint: &'static str,
        question: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        bounded(endpoint, self.timeout, &self.address, question).await
    }
}

async fn bounded<T>(
    endpoint: &'static str,
    timeout: Duration,
    address: &str,
    question: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, EngineError> {
    let answer = tokio::time::timeout(timeout, question).await.map_err(|_| error::silent(endpoint, timeout))?;
    answer.map_err(|failure| error::translate(failure, endpoint, address))
}

async fn open(host: &str, timeout: Duration) -> Result<(Docker, String), EngineError> {
    // The library's own limit would win over ours by rounding down: ours is the one that names the endpoint.
    let seconds = timeout.as_secs() + 60;
    let unix = host.strip_prefix("unix://").or_else(|| host.starts_with('/').then_some(host));
    if let Some(path) = unix {
        probe_socket(path).await?;
        let docker = Docker::connect_with_unix(path, seconds, API_DEFAULT_VERSION)
            .map_err(|_| EngineError::SocketAbsent { path: path.to_owned() })?;
        return Ok((docker, path.to_owned()));
    }
    let bad = || EngineError::BadAddress { address: host.to_owned() };
    let address = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")).ok_or_else(bad)?;
    let address = address.trim_end_matches('/');
    let docker = Docker::connect_with_http(address, seconds, API_DEFAULT_VERSION).map_err(|_| bad())?;
    Ok((docker, address.to_owned()))
}

/// The system says precisely what is wrong with a socket; the library's client no longer does.
async fn probe_socket(path: &str) -> Result<(), EngineError> {
    use std::io::ErrorKind;
    let unreachable = |error: &std::io::Error| EngineError::Unreachable {
        address: path.to_owned(), //
        cause: error.to_string(),
    };
    let absent = || EngineError::SocketAbsent { path: path.to_owned() };
    let about = match std::fs::metadata(Path::new(path)) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent()),
        Err(error) => return Err(unreachable(&error)),
    };
    // Mounting a socket that does not exist makes the engine create a directory of that name.
    if !about.file_type().is_socket() {
        return Err(absent());
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(EngineError::SocketDenied {
            path: path.to_owned(),
            gid: about.gid(),
            uid: nix::unistd::geteuid().as_raw(),
        }),
        Err(error) => Err(unreachable(&error)),
    }
}

/// The newest version that both sides know.
fn agree(version: &bollard::models::SystemVersion, address: &str) -> Result<(Api, Facts), EngineError> {
    let not_an_engine = || EngineError::NotAnEngine { address: address.to_owned(), cause: "ApiVersion".to_owned() };
    let newest = version.api_version.as_deref().and_then(Api::parse).ok_or_else(not_an_engine)?;
    let oldest = version.min_api_version.as_deref().and_then(Api::parse).unwrap_or(OLDEST_API);
    let ours = Api { major: API_DEFAULT_VERSION.major_version, minor: API_DEFAULT_VERSION.minor_version };
    let api = newest.min(ours);
    if api < OLDEST_API || oldest > ours {
        return Err(EngineError::ApiVersion {
            server: format!("{oldest}–{newest}"),
            ours: format!("{OLDEST_API}–{ours}"),
        });
    }
    let facts = Facts {
        engine: version.version.clone().unwrap_or_default(),
        api: api.to_string(),
        newest_api: newest.to_string(),
        oldest_api: oldest.to_string(),
        address: address.to_owned(),
    };
    Ok((api, facts))
}

/// The library (0.21) drops the version from every path that it builds, and asking without one is deprecated.
fn pin_api(docker: Docker, api: Api) -> Docker {
    docker.with_request_modifier(move |mut request| {
        let mut parts = request.uri().clone().into_parts();
        let path = parts.path_and_query.as_ref().map_or("/", |path| path.as_str());
        parts.path_and_query = format!("/v{api}{path}").parse().ok();
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
        request
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(newest: &str, oldest: &str) -> bollard::models::SystemVersion {
        bollard::models::SystemVersion {
            api_version: Some(newest.to_owned()),
            min_api_version: Some(oldest.to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn fault_09_the_newest_common_version_is_taken() {
        let (api, facts) = agree(&version("1.41", "1.12"), "x").unwrap();
        assert_eq!((api.to_string(), facts.newest_api.as_str()), ("1.41".to_owned(), "1.41"));
        let (api, _) = agree(&version("1.99", "1.44"), "x").unwrap();
        assert_eq!(api, Api { major: 1, minor: API_DEFAULT_VERSION.minor_version });
    }

    #[test]
    fn fault_09_an_engine_without_a_common_version_is_refused() {
        assert!(matches!(agree(&version("1.24", "1.12"), "x"), Err(EngineError::ApiVersion { .. })));
        assert!(matches!(agree(&version("1.99", "1.98"), "x"), Err(EngineError::ApiVersion { .. })));
        assert!(matches!(agree(&version("nonsense", "1.12"), "x"), Err(EngineError::NotAnEngine { .. })));
    }
}
