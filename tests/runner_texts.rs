//! Every error of the room `runner` as a person reads it, in both languages. One test: the language is the process's.

use amarre::error::Explain;
use amarre::runner::Error;
use amarre::runner::docker::{Candidate, EngineError};

fn errors() -> Vec<Error> {
    let program = || "pg_dump".to_owned();
    let container = || "hub-db-1".to_owned();
    let cause = || "no luck".to_owned();
    let address = || "10.0.0.7:2375".to_owned();
    let path = || "/var/run/docker.sock".to_owned();
    let stderr = || "pg_dump: error: x\n".to_owned();
    let there = |name: &str| Candidate {
        id: String::new(),
        name: name.to_owned(),
        state: "exited".to_owned(),
        labels: [("com.docker.compose.service".to_owned(), "db".to_owned())].into(),
    };
    let wanted = || "service 'db'".to_owned();
    let ours = vec![
        Error::ExitCode { program: program(), code: 1, stderr: stderr() },
        Error::ExitCode { program: program(), code: 137, stderr: String::new() },
        Error::ProgramMissing { program: program(), place: "container hub-db-1 (c0ffee00c0ff)".to_owned() },
        Error::LostTail { program: program(), stderr: stderr() },
        Error::CorruptFrame { program: program() },
        Error::ExitCodeUnknown { program: program() },
        Error::TooMuchOutput { limit: 1000 },
        Error::Aborted,
        Error::Io { program: "evil\n\u{1b}[31m\u{202e}".to_owned(), cause: cause() },
    ];
    let engine = vec![
        EngineError::BadAddress { address: "ssh://root@host".to_owned() },
        EngineError::SocketAbsent { path: path() },
        EngineError::SocketDenied { path: path(), gid: 998, uid: 10001 },
        EngineError::SocketDenied { path: path(), gid: 0, uid: 10001 },
        EngineError::Unreachable { address: address(), cause: cause() },
        EngineError::NotAnEngine { address: address(), cause: cause() },
        EngineError::ApiVersion { server: "1.12–1.24".to_owned(), ours: "1.25–1.53".to_owned() },
        EngineError::Forbidden { endpoint: "POST /containers/{id}/exec" },
        EngineError::Silent { endpoint: "GET /version", seconds: 30 },
        EngineError::Refused { endpoint: "GET /containers/json", status: 500, cause: cause() },
        EngineError::NoContainer { wanted: wanted(), there: vec![there("a"), there("b\u{1b}[2J")] },
        EngineError::SeveralContainers { wanted: wanted(), there: vec![there("a"), there("b")] },
        EngineError::NoProject { service: "db".to_owned() },
        EngineError::Gone { container: container() },
        EngineError::NotRunning { container: container() },
        EngineError::Paused { container: container() },
        EngineError::NoShell { container: container(), cause: "exec: \"sh\": not found".to_owned() },
        EngineError::Broken { container: container(), cause: cause() },
        EngineError::NoRandom { cause: cause() },
    ];
    ours.into_iter().chain(engine.into_iter().map(Error::from)).collect()
}

fn texts() -> String {
    let text = |error: Error| match error.hint() {
        Some(hint) => format!("{error}\n    {hint}\n"),
        None => format!("{error}\n"),
    };
    errors().into_iter().map(text).collect()
}

#[test]
fn every_error_in_both_languages() {
    insta::assert_snapshot!("en", texts());
    rust_i18n::set_locale("fr");
    insta::assert_snapshot!("fr", texts());
    assert!(texts().bytes().all(|byte| byte == b'\n' || byte >= b' '));
}
