//! How the engine fails us, in words that name the thing and the fix.
//!
//! Turning the client library's errors into ours happens here and nowhere else.

use std::time::Duration;

use rust_i18n::t;

use super::find::Candidate;
use crate::error::{Exit, Explain};
use crate::runner::quote;

/// What the engine says or does not say.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// `DOCKER_HOST` is of a kind this program does not speak.
    #[error("{}", t!("runner.engine.bad_address", address = quote(address)))]
    BadAddress {
        /// As it was set.
        address: String,
    },
    /// Nothing at the path of the socket.
    #[error("{}", t!("runner.engine.socket_absent", path = quote(path)))]
    SocketAbsent {
        /// The path.
        path: String,
    },
    /// The socket's group or mode keeps this user out.
    #[error("{}", t!("runner.engine.socket_denied", path = quote(path), uid = uid))]
    SocketDenied {
        /// The path.
        path: String,
        /// Group of the socket.
        gid: u32,
        /// Effective user of this process.
        uid: u32,
    },
    /// Nobody answers at the address.
    #[error("{}", t!("runner.engine.unreachable", address = quote(address), cause = quote(cause)))]
    Unreachable {
        /// Socket path or host and port.
        address: String,
        /// What the system says.
        cause: String,
    },
    /// Somebody answers who is no engine.
    #[error("{}", t!("runner.engine.not_an_engine", address = quote(address), cause = quote(cause)))]
    NotAnEngine {
        /// Socket path or host and port.
        address: String,
        /// What was wrong with the answer.
        cause: String,
    },
    /// The engine's API and ours have no version in common.
    #[error("{}", t!("runner.engine.api_version", server = quote(server), ours = ours))]
    ApiVersion {
        /// What the engine speaks, as `1.12 to 1.24`.
        server: String,
        /// What is needed.
        ours: String,
    },
    /// A socket proxy (or an authorisation plug-in) refuses an endpoint.
    #[error("{}", t!("runner.engine.forbidden", endpoint = endpoint))]
    Forbidden {
        /// As `POST /containers/{id}/exec`.
        endpoint: &'static str,
    },
    /// The engine does not answer in time.
    #[error("{}", t!("runner.engine.silent", endpoint = endpoint, seconds = seconds))]
    Silent {
        /// As `GET /version`.
        endpoint: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Any other refusal.
    #[error("{}", t!("runner.engine.refused", endpoint = endpoint, status = status, cause = quote(cause)))]
    Refused {
        /// As `POST /exec/{id}/start`.
        endpoint: &'static str,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        cause: String,
    },
    /// No container fits.
    #[error("{}", t!("runner.engine.no_container", wanted = wanted, there = list(there)))]
    NoContainer {
        /// What was looked for, ready for a sentence.
        wanted: String,
        /// What there is.
        there: Vec<Candidate>,
    },
    /// Several containers fit.
    #[error("{}", t!("runner.engine.several_containers", wanted = wanted, there = list(there)))]
    SeveralContainers {
        /// What was looked for, ready for a sentence.
        wanted: String,
        /// Those that fit.
        there: Vec<Candidate>,
    },
    /// A service was asked for in the own Compose project, and there is none.
    #[error("{}", t!("runner.engine.no_project", service = quote(service)))]
    NoProject {
        /// The service.
        service: String,
    },
    /// The container is not there any more.
    #[error("{}", t!("runner.engine.gone", container = quote(container)))]
    Gone {
        /// Its name.
        container: String,
    },
    /// The container is stopped.
    #[error("{}", t!("runner.engine.not_running", container = quote(container)))]
    NotRunning {
        /// Its name.
        container: String,
    },
    /// The container is paused.
    #[error("{}", t!("runner.engine.paused", container = quote(container)))]
    Paused {
        /// Its name.
        container: String,
    },
    /// There is no `sh` in the container, or no program at all can be started there.
    #[error("{}", t!("runner.engine.no_shell", container = quote(container), cause = quote(cause)))]
    NoShell {
        /// Its name.
        container: String,
        /// The engine's words.
        cause: String,
    },
    /// The connection broke while a program ran.
    #[error("{}", t!("runner.engine.broken", container = quote(container), cause = quote(cause)))]
    Broken {
        /// Its name.
        container: String,
        /// What the system says.
        cause: String,
    },
    /// The system gives no random numbers.
    #[error("{}", t!("runner.engine.no_random", cause = quote(cause)))]
    NoRandom {
        /// What the system says.
        cause: String,
    },
}

impl Explain for EngineError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::BadAddress { .. } => t!("runner.engine.bad_address_hint"),
            Self::SocketAbsent { path } => t!("runner.engine.socket_absent_hint", path = quote(path)),
            Self::SocketDenied { gid: 0, .. } => t!("runner.engine.socket_denied_root_hint"),
            Self::SocketDenied { gid, .. } => t!("runner.engine.socket_denied_hint", gid = gid),
            Self::Unreachable { .. } => t!("runner.engine.unreachable_hint"),
            Self::NotAnEngine { .. } => t!("runner.engine.not_an_engine_hint"),
            Self::ApiVersion { .. } => t!("runner.engine.api_version_hint"),
            Self::Forbidden { endpoint } => {
                t!("runner.engine.forbidden_hint", endpoint = endpoint, settings = proxy_settings(endpoint))
            }
            Self::Silent { .. } => t!("runner.engine.silent_hint"),
            Self::NoContainer { .. } | Self::SeveralContainers { .. } => t!("runner.engine.choose_hint"),
            Self::NoProject { .. } => t!("runner.engine.no_project_hint"),
            Self::Gone { container } | Self::NotRunning { container } => {
                t!("runner.engine.not_running_hint", container = quote(container))
            }
            Self::Paused { container } => t!("runner.engine.paused_hint", container = quote(container)),
            Self::NoShell { .. } => t!("runner.engine.no_shell_hint"),
            Self::Broken { .. } => t!("runner.engine_cut_hint"),
            Self::Refused { .. } | Self::NoRandom { .. } => return None,
        };
        Some(text.into_owned())
    }

    fn exit(&self) -> Exit {
        match self {
            Self::BadAddress { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// What tecnativa/docker-socket-proxy (and its kin) must be told to let an endpoint through.
fn proxy_settings(endpoint: &str) -> &'static str {
    match endpoint {
        "GET /version" => "VERSION=1",
        "POST /containers/{id}/exec" => "CONTAINERS=1, EXEC=1, POST=1, ALLOW_EXEC=1",
        "POST /exec/{id}/start" => "EXEC=1, POST=1",
        "GET /exec/{id}/json" => "EXEC=1",
        _ => "CONTAINERS=1",
    }
}

fn list(candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        return t!("runner.engine.nothing").into_owned();
    }
    candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The library's error for a call to `endpoint`, in our terms.
pub(super) fn translate(error: bollard::errors::Error, endpoint: &'static str, address: &str) -> EngineError {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { status_code: 403, .. } => EngineError::Forbidden { endpoint },
        Error::DockerResponseServerError { status_code, message } => {
            EngineError::Refused { endpoint, status: status_code, cause: message.trim().to_owned() }
        }
        Error::RequestTimeoutError => EngineError::Silent { endpoint, seconds: 0 },
        Error::JsonDataError { message, .. } => {
            EngineError::NotAnEngine { address: address.to_owned(), cause: message }
        }
        Error::JsonSerdeError { err } => {
            EngineError::NotAnEngine { address: address.to_owned(), cause: err.to_string() }
        }
        Error::APIVersionParseError {} => {
            EngineError::NotAnEngine { address: address.to_owned(), cause: "ApiVersion".to_owned() }
        }
        other => EngineError::Unreachable { address: address.to_owned(), cause: root_cause(&other) },
    }
}

pub(super) fn silent(endpoint: &'static str, waited: Duration) -> EngineError {
    EngineError::Silent { endpoint, seconds: waited.as_secs() }
}

/// The innermost error says what the system said; the outer ones say "client error".
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

impl EngineError {
    /// What a refusal says about the container asked for.
    pub(super) fn about(self, container: &str) -> Self {
        let container = container.to_owned();
        match self {
            Self::Refused { status: 404, .. } => Self::Gone { container },
            Self::Refused { status: 409, cause, .. } if cause.contains("is paused") => Self::Paused { container },
            Self::Refused { status: 409, .. } => Self::NotRunning { container },
            Self::Refused { cause, .. } if is_runtime_refusal(&cause) => Self::NoShell { container, cause },
            other => other,
        }
    }
}

/// Whether the container runtime, not the engine, could not start the program.
pub(super) fn is_runtime_refusal(words: &str) -> bool {
    words.contains("OCI runtime") || words.contains("executable file not found")
}
