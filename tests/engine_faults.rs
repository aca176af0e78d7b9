//! How the engine fails a run, by an engine that fails on command (`lane_faults` has the same over the fast lane).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

#[path = "common/engine.rs"]
mod engine;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use amarre::error::Explain as _;
use amarre::runner::docker::{Candidate, DockerRunner, Engine, EngineError, Project, Target, Wanted, choose};
use amarre::runner::{Error, Input, Program, Runner as _};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};

use engine::{
    CREATE, EXEC, ID, INSPECT, InTurn, LIST, Paced, SILENT, START, Says, Scripted, Sleeps, Slowly, Streams, VERSION,
    endpoint, ends_late, frame, good, header, listed, refusal, state,
};

#[tokio::test]
async fn the_scripted_engine_is_good_when_nothing_is_changed() {
    let scripted = Scripted::new(&[]);
    assert_eq!(scripted.run().await.unwrap(), b"rows\n");
    let runner = scripted.find().await.unwrap();
    assert_eq!(runner.container().health.as_deref(), Some("healthy"));
    assert_eq!((runner.container().id.as_str(), runner.container().image.as_str()), (ID, "postgres:16-alpine"));
}

#[tokio::test]
async fn an_engine_behind_a_tcp_address_works_the_same() {
    let scripted = Scripted::new(&[]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let socket = scripted.path();
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let mut inside = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut outside, &mut inside).await });
        }
    });
    let engine = Engine::connect(Some(&address), Duration::from_secs(2)).await.unwrap();
    let container = engine.find(&Target::Container("db".to_owned())).await.unwrap();
    let program = Program { argv: vec!["pg_dump".to_owned()], ..Program::default() };
    let running = DockerRunner::new(engine, container).start(&program, Input::None).await.unwrap();
    assert_eq!(running.collect(1000).await.unwrap().stdout, b"rows\n");
    assert!(scripted.asked.lock().unwrap().last().unwrap().contains(" /v1.41/"));
    let failed = Engine::connect(Some("tcp://127.0.0.1:1"), Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(failed, EngineError::Unreachable { .. }), "{failed:?}");
}

#[tokio::test]
async fn fault_08_an_absent_socket_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["nothing.sock", ""] {
        // The second is a directory: what the engine makes of a mount whose source does not exist.
        let path = directory.path().join(name).display().to_string();
        let failed = Engine::connect(Some(&path), Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(&failed, EngineError::SocketAbsent { path: named } if *named == path), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_08_a_socket_that_nobody_listens_on_is_named() {
    let scripted = Scripted::new(&[]);
    let path = scripted.directory.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let failed = Engine::connect(path.to_str(), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(failed, EngineError::Unreachable { .. }), "{failed:?}");
}

#[tokio::test]
async fn fault_08_without_rights_the_group_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let socket = directory.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
    if !nix::unistd::geteuid().is_root() {
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).unwrap();
        return expect_denied(&socket).await;
    }
    // Root may use every socket: ask as somebody else, in another process.
    std::os::unix::fs::chown(&socket, Some(0), Some(998)).unwrap();
    let copy = directory.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut asked = std::process::Command::new(copy);
    asked.args(["--exact", "somebody_else", "--ignored"]).env("AMARRE_SOCKET", &socket);
    let output = asked.uid(65534).gid(65534).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
#[ignore = "asked by fault_08_without_rights_the_group_is_named"]
async fn somebody_else() {
    #[expect(clippy::disallowed_methods, reason = "handed over by the test that starts this process")]
    let socket = std::env::var("AMARRE_SOCKET").unwrap();
    expect_denied(Path::new(&socket)).await;
}

async fn expect_denied(socket: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let failed = Engine::connect(socket.to_str(), Duration::from_secs(1)).await.unwrap_err();
    let group = std::fs::metadata(socket).unwrap().gid();
    assert!(matches!(failed, EngineError::SocketDenied { gid, .. } if gid == group), "{failed:?}");
    assert!(failed.hint().unwrap().contains(&format!("group_add: [\"{group}\"]")));
}

#[tokio::test]
async fn fault_08_an_address_of_another_kind_is_refused() {
    for address in ["ssh://root@host", "npipe:////./pipe/docker_engine", "docker.sock"] {
        let failed = Engine::connect(Some(address), Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(failed, EngineError::BadAddress { .. }), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_09_questions_are_asked_in_the_common_version() {
    let scripted = Scripted::new(&[]);
    scripted.run().await.unwrap();
    let asked = scripted.asked.lock().unwrap().clone();
    let (first, rest) = asked.split_first().unwrap();
    assert_eq!(first, "GET /version");
    assert!(rest.len() > 4 && rest.iter().all(|line| line.contains(" /v1.41/")), "{rest:?}");
}

#[tokio::test]
async fn fault_09_an_engine_too_old_or_too_new_is_refused() {
    for (newest, oldest) in [("1.24", "1.12"), ("1.120", "1.110")] {
        let version = Says(200, json!({"ApiVersion": newest, "MinAPIVersion": oldest}).to_string());
        let failed = Scripted::new(&[(VERSION, version)]).connect().await.unwrap_err();
        assert!(matches!(failed, EngineError::ApiVersion { .. }), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_09_what_is_no_engine_is_called_so() {
    for body in ["<html>It works!</html>", "{}", "[1"] {
        let failed = Scripted::new(&[(VERSION, Says(200, body.to_owned()))]).connect().await.unwrap_err();
        assert!(matches!(failed, EngineError::NotAnEngine { .. }), "{body}: {failed:?}");
    }
}

#[tokio::test]
async fn fault_10_a_proxy_that_forbids_is_told_what_to_allow() {
    let settings = [
        (VERSION, "VERSION=1"),
        (LIST, "CONTAINERS=1"),
        (INSPECT, "CONTAINERS=1"),
        (CREATE, "CONTAINERS=1, EXEC=1, POST=1, ALLOW_EXEC=1"),
        (START, "EXEC=1, POST=1"),
        (EXEC, "EXEC=1"),
    ];
    for (forbidden, setting) in settings {
        let page = "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>\n";
        let failed = Scripted::new(&[(forbidden, Says(403, page.to_owned()))]).run().await.unwrap_err();
        let Error::Engine(EngineError::Forbidden { endpoint }) = &failed else { panic!("{failed:?}") };
        assert_eq!(*endpoint, forbidden);
        let hint = failed.hint().unwrap();
        assert!(hint.contains(forbidden) && hint.ends_with(setting), "{hint}");
    }
}

#[tokio::test]
async fn fault_11_a_connection_that_ends_mid_stream_is_a_failure() {
    let cut: fn(&str) -> Vec<u8> = |nonce| [header(nonce), frame(1, b"half of the rows")].concat();
    let failed = Scripted::new(&[(START, Streams(cut, false))]).run().await.unwrap_err();
    assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
}

fn candidate(name: &str, project: &str, service: &str, more: &[(&str, &str)]) -> Candidate {
    let labels = [("com.docker.compose.project", project), ("com.docker.compose.service", service)];
    let labels = labels.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Candidate { id: format!("{:0<64}", name.len()), name: name.to_owned(), state: "running".to_owned(), labels }
}

fn chosen(wanted: &Wanted, list: &[Candidate]) -> Result<String, EngineError> {
    choose(wanted, list, &Path::to_path_buf).map(|candidate| candidate.name.clone())
}

const FILES: &str = "com.docker.compose.project.config_files";
const DIRECTORY: &str = "com.docker.compose.project.working_dir";

#[test]
fn fault_12_one_of_several_projects_is_chosen_by_name_or_by_file() {
    let list = [
        candidate("a-db-1", "a", "db", &[(FILES, "/srv/a/prod.yml,/srv/a/more.yml")]),
        candidate("b-db", "b", "db", &[(FILES, "prod.yml"), (DIRECTORY, "/srv/b")]),
        candidate("a-db-run-77", "a", "db", &[("com.docker.compose.oneoff", "True"), (FILES, "/srv/a/prod.yml")]),
        candidate("a-web-1", "a", "web", &[(FILES, "/srv/a/prod.yml")]),
    ];
    let service = || "db".to_owned();
    let of_file = |file: &str| Wanted::OfFile { service: service(), file: file.into() };
    assert_eq!(chosen(&Wanted::InProject { service: service(), project: "a".to_owned() }, &list).unwrap(), "a-db-1");
    assert_eq!(chosen(&of_file("/srv/a/prod.yml"), &list).unwrap(), "a-db-1");
    assert_eq!(chosen(&of_file("/srv/a/more.yml"), &list).unwrap(), "a-db-1");
    assert_eq!(chosen(&of_file("/srv/b/prod.yml"), &list).unwrap(), "b-db");
    assert_eq!(chosen(&Wanted::Container("/b-db".to_owned()), &list).unwrap(), "b-db");
    assert_eq!(chosen(&Wanted::Container(list[1].id[..12].to_owned()), &list).unwrap(), "b-db");
    assert!(matches!(chosen(&of_file("/srv/c/prod.yml"), &list), Err(EngineError::NoContainer { .. })));
    // Too short for an id: not a guess.
    assert!(matches!(chosen(&Wanted::Container("4".to_owned()), &list), Err(EngineError::NoContainer { .. })));
}

#[test]
fn fault_12_zero_or_several_are_refused_with_the_list() {
    let list =
        [candidate("two", "shop", "db", &[]), candidate("three", "shop", "db", &[]), candidate("x", "y", "z", &[])];
    let wanted = |project: &str| Wanted::InProject { service: "db".to_owned(), project: project.to_owned() };
    let several = chosen(&wanted("shop"), &list).unwrap_err();
    insta::assert_snapshot!(several, @"several containers for service 'db' of Compose project 'shop': three (project shop, service db, running), two (project shop, service db, running)");
    let none = chosen(&wanted("hop"), &list[1..]).unwrap_err();
    insta::assert_snapshot!(none, @"no container for service 'db' of Compose project 'hop'; there are: three (project shop, service db, running), x (project y, service z, running)");
    let empty = chosen(&wanted("hop"), &[]).unwrap_err();
    insta::assert_snapshot!(empty, @"no container for service 'db' of Compose project 'hop'; there are: none");
}

#[tokio::test]
async fn fault_12_the_list_of_the_engine_is_what_is_chosen_from() {
    let two = json!([listed("db", "shop", "db"), listed("db2", "shop", "db"), listed("db3", "other", "db")]);
    let engine = Scripted::new(&[(LIST, Says(200, two.to_string()))]).connect_and_keep().await;
    let service = |project: Option<&str>| Target::Service {
        service: "db".to_owned(),
        project: project.map(|name| Project::Name(name.to_owned())),
    };
    let several = engine.1.find(&service(Some("shop"))).await.unwrap_err();
    assert!(matches!(several, EngineError::SeveralContainers { there, .. } if there.len() == 2));
    assert!(engine.1.find(&service(Some("other"))).await.is_ok());
}

impl Scripted {
    async fn connect_and_keep(self) -> (Self, Engine) {
        let engine = self.connect().await.unwrap();
        (self, engine)
    }
}

#[tokio::test]
async fn fault_13_a_container_that_is_gone_or_stopped_is_named() {
    let gone = Scripted::new(&[(CREATE, refusal(404, "No such container: c0ffee"))]).run().await.unwrap_err();
    assert!(matches!(&gone, Error::Engine(EngineError::Gone { container }) if container == "db"), "{gone:?}");
    let words = "Container c0ffee is not running";
    let stopped = Scripted::new(&[(CREATE, refusal(409, words))]).run().await.unwrap_err();
    assert!(matches!(&stopped, Error::Engine(EngineError::NotRunning { container }) if container == "db"));
    let vanished = Scripted::new(&[(EXEC, refusal(404, "No such exec instance"))]).run().await.unwrap_err();
    assert!(matches!(vanished, Error::Engine(EngineError::Gone { .. })), "{vanished:?}");
}

#[tokio::test]
async fn fault_14_a_paused_container_is_called_paused() {
    let words = "Container c0ffee is paused, unpause the container before exec";
    let failed = Scripted::new(&[(CREATE, refusal(409, words))]).run().await.unwrap_err();
    assert!(matches!(&failed, Error::Engine(EngineError::Paused { container }) if container == "db"), "{failed:?}");
}

#[tokio::test]
async fn fault_14_an_engine_that_never_answers_is_not_waited_for() {
    for endpoint in [VERSION, LIST, CREATE, START] {
        let failed = Scripted::new(&[(endpoint, Sleeps)]).run().await.unwrap_err();
        let silent =
            matches!(&failed, Error::Engine(EngineError::Silent { endpoint: named, seconds: 2 }) if *named == endpoint);
        assert!(silent, "{failed:?}");
    }
    // The stream opens and nothing comes.
    let failed = Scripted::new(&[(START, Streams(|_| Vec::new(), true))]).run().await.unwrap_err();
    assert!(matches!(failed, Error::Engine(EngineError::Silent { .. })), "{failed:?}");
}

#[tokio::test]
async fn fault_15_a_frame_cut_short_is_corruption() {
    let cut: fn(&str) -> Vec<u8> = |nonce| {
        let mut bytes = [header(nonce), frame(1, b"rows and rows and rows")].concat();
        bytes.truncate(bytes.len() - 5);
        bytes
    };
    let failed = Scripted::new(&[(START, Streams(cut, false))]).run().await.unwrap_err();
    assert!(matches!(&failed, Error::CorruptFrame { program } if program == "pg_dump"), "{failed:?}");
}

#[tokio::test]
async fn fault_15_bytes_that_are_no_frame_are_corruption() {
    let raw: fn(&str) -> Vec<u8> = |nonce| [header(nonce), b"COPY public.t FROM stdin;\n".to_vec()].concat();
    let after: fn(&str) -> Vec<u8> = |nonce| [good(nonce, b"rows", 0), b"more".to_vec()].concat();
    for bytes in [raw, after] {
        let failed = Scripted::new(&[(START, Streams(bytes, false))]).run().await.unwrap_err();
        assert!(matches!(failed, Error::CorruptFrame { .. }), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_16_an_exit_code_that_comes_late_is_waited_for() {
    let null = Says(200, json!({"Running": false, "ExitCode": null}).to_string());
    let running = Says(200, json!({"Running": true, "ExitCode": null}).to_string());
    let zero = Says(200, json!({"Running": false, "ExitCode": 0}).to_string());
    let script = InTurn(vec![running, null.clone(), null, zero]);
    let scripted = Scripted::new(&[(EXEC, script)]);
    assert_eq!(scripted.run().await.unwrap(), b"rows\n");
    let asked = scripted.asked.lock().unwrap().iter().filter(|line| endpoint(line) == EXEC).count();
    assert_eq!(asked, 4);
}

#[tokio::test]
async fn fault_16_an_exit_code_that_never_comes_is_not_0() {
    let null = Says(200, json!({"Running": false, "ExitCode": null}).to_string());
    let failed = Scripted::new(&[(EXEC, null)]).run().await.unwrap_err();
    assert!(matches!(failed, Error::ExitCodeUnknown { .. }), "{failed:?}");
}

#[tokio::test]
async fn fault_16_the_engines_exit_code_counts_too() {
    let killed = Says(200, json!({"Running": false, "ExitCode": 137}).to_string());
    let failed = Scripted::new(&[(EXEC, killed)]).run().await.unwrap_err();
    assert!(matches!(failed, Error::ExitCode { code: 137, .. }), "{failed:?}");
}

#[tokio::test]
async fn fault_17_the_codes_126_and_127_mean_that_the_program_is_missing() {
    let streams: [fn(&str) -> Vec<u8>; 2] = [|nonce| good(nonce, b"", 126), |nonce| good(nonce, b"", 127)];
    for bytes in streams {
        let failed = Scripted::new(&[(START, Streams(bytes, true))]).run().await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(failed, @"'pg_dump' is not in container db (c0ffee00c0ff), or cannot be run there");
        }
    }
}

#[tokio::test]
async fn fault_17_a_container_without_a_shell_is_named() {
    const WORDS: &str = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": \
                         executable file not found in $PATH: unknown";
    let as_output: fn(&str) -> Vec<u8> = |_| frame(1, format!("{WORDS}\r\n").as_bytes());
    let as_raw: fn(&str) -> Vec<u8> = |_| format!("{WORDS}\r\n").into_bytes();
    let code = Says(200, json!({"Running": false, "ExitCode": 127}).to_string());
    for start in [Streams(as_output, false), Streams(as_raw, false), refusal(400, WORDS)] {
        let failed = Scripted::new(&[(START, start), (EXEC, code.clone())]).run().await.unwrap_err();
        assert!(matches!(failed, Error::Engine(EngineError::NoShell { .. })), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_19_no_sentinel_no_success() {
    let without: fn(&str) -> Vec<u8> = |nonce| [header(nonce), frame(1, b"all rows\n")].concat();
    let half: fn(&str) -> Vec<u8> = |nonce| [header(nonce), frame(1, format!("rows{nonce} 00").as_bytes())].concat();
    let other: fn(&str) -> Vec<u8> = |nonce| {
        let sentinel = format!("rows{} 000\n", "0".repeat(nonce.len()));
        [header(nonce), frame(1, sentinel.as_bytes())].concat()
    };
    for bytes in [without, half, other] {
        let failed = Scripted::new(&[(START, Streams(bytes, false))]).run().await.unwrap_err();
        assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_19_output_after_the_sentinel_is_no_success() {
    let more: fn(&str) -> Vec<u8> = |nonce| [good(nonce, b"rows", 0), frame(1, b"more")].concat();
    let failed = Scripted::new(&[(START, Streams(more, true))]).run().await.unwrap_err();
    assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
}

#[tokio::test]
async fn fault_19_the_sentinels_exit_code_counts() {
    let bytes: fn(&str) -> Vec<u8> = |nonce| [frame(2, b"pg_dump: error: x\n"), good(nonce, b"half", 1)].concat();
    let failed = Scripted::new(&[(START, Streams(bytes, true))]).run().await.unwrap_err();
    assert_eq!(failed.stderr(), Some("pg_dump: error: x\n"));
    assert!(matches!(failed, Error::ExitCode { code: 1, .. }), "{failed:?}");
}

const SECONDS_3: Duration = Duration::from_secs(3);

#[tokio::test]
async fn fault_14_a_container_paused_in_a_run_ends_it() {
    let scripted = Scripted::new(&[(START, SILENT), (INSPECT, InTurn(vec![state("running"), state("paused")]))]);
    let failed = scripted.run_bulk().await.unwrap_err();
    assert!(matches!(&failed, Error::Engine(EngineError::Paused { container }) if container == "db"), "{failed:?}");
}

#[tokio::test]
async fn fault_14_a_pause_that_is_over_ends_nothing() {
    let slow: Paced = |nonce| {
        let end = frame(1, format!("rows{nonce} 000\n").as_bytes());
        vec![(Duration::ZERO, header(nonce)), (2 * SECONDS_3, end)]
    };
    let states = ["running", "paused", "running"].map(state).into();
    let scripted = Scripted::new(&[(START, Slowly(slow, true)), (INSPECT, InTurn(states)), (EXEC, ends_late())]);
    assert_eq!(scripted.run().await.unwrap(), b"rows");
    assert!(scripted.count(INSPECT) >= 3, "the silence was looked into");
}

#[tokio::test]
async fn fault_11_an_engine_that_goes_silent_in_a_run_ends_it() {
    let gone = InTurn(vec![state("running"), Sleeps]);
    let failed = Scripted::new(&[(START, SILENT), (INSPECT, gone)]).run().await.unwrap_err();
    assert!(matches!(failed, Error::Engine(EngineError::Silent { endpoint: INSPECT, .. })), "{failed:?}");
}

/// Engines have lost the end of a stream: what says nothing any more has ended all the same.
#[tokio::test]
async fn fault_11_a_program_that_ended_without_the_end_of_its_stream_is_not_waited_for() {
    let ended = Says(200, json!({"Running": false, "ExitCode": 0}).to_string());
    let failed = Scripted::new(&[(START, SILENT), (EXEC, ended)]).run().await.unwrap_err();
    assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
}

#[tokio::test]
async fn fault_13_a_container_that_stops_or_goes_under_a_silent_run_ends_it() {
    let of = |states| Scripted::new(&[(START, SILENT), (INSPECT, InTurn(states)), (EXEC, ends_late())]);
    let stopped = of(vec![state("running"), state("exited")]);
    let failed = stopped.run().await.unwrap_err();
    assert!(matches!(failed, Error::Engine(EngineError::NotRunning { .. })), "{failed:?}");
    let gone = of(vec![state("running"), refusal(404, "No such container: c0ffee")]);
    let failed = gone.run().await.unwrap_err();
    assert!(matches!(&failed, Error::Engine(EngineError::Gone { container }) if container == "db"), "{failed:?}");
}

/// Two blocks and a bit, with words on standard error between.
fn much(nonce: &str) -> Vec<u8> {
    let rows: Vec<u8> = MUCH.iter().copied().cycle().take(2_500_000).collect();
    let mut frames = header(nonce);
    for (number, part) in rows.chunks(16_000).enumerate() {
        frames.extend(frame(1, part));
        if number == 40 {
            frames.extend(frame(2, b"a warning\n"));
        }
    }
    frames
}

const MUCH: &[u8] = b"1\tone row of a table\n";

fn much_and_code(nonce: &str) -> Vec<u8> {
    [much(nonce), frame(1, format!("{nonce} 000\n").as_bytes())].concat()
}

#[tokio::test]
async fn much_output_is_put_together_again() {
    let got = Scripted::new(&[(START, Streams(much_and_code, true))]).run_bulk().await.unwrap();
    let rows: Vec<u8> = MUCH.iter().copied().cycle().take(2_500_000).collect();
    assert!(got == rows, "{} bytes", got.len());
}

#[tokio::test]
async fn fault_11_and_15_and_19_hold_for_much_output_too() {
    let lost: fn(&str) -> Vec<u8> = much;
    let cut: fn(&str) -> Vec<u8> = |nonce| {
        let mut bytes = much(nonce);
        bytes.truncate(bytes.len() - 7);
        bytes
    };
    let wild: fn(&str) -> Vec<u8> = |nonce| [much(nonce), frame(9, b"rows")].concat();
    let half: fn(&str) -> Vec<u8> = |nonce| [much(nonce), frame(1, format!("{nonce} 00").as_bytes())].concat();
    for (bytes, corrupt) in [(lost, false), (cut, true), (wild, true), (half, false)] {
        let failed = Scripted::new(&[(START, Streams(bytes, false))]).run_bulk().await.unwrap_err();
        let fits = if corrupt {
            matches!(failed, Error::CorruptFrame { .. })
        } else {
            matches!(failed, Error::LostTail { .. })
        };
        assert!(fits, "{failed:?}");
    }
}

#[tokio::test]
async fn fault_19_a_sentinel_that_comes_late_and_in_pieces_is_waited_for() {
    let slow: Paced = |nonce| {
        let end = frame(1, format!("{nonce} 000\n").as_bytes());
        let mut pieces = vec![(Duration::ZERO, much(nonce))];
        pieces.extend(end.chunks(5).map(|part| (Duration::from_millis(250), part.to_vec())));
        pieces
    };
    let scripted = Scripted::new(&[(START, Slowly(slow, true))]);
    assert_eq!(scripted.run_bulk().await.unwrap().len(), 2_500_000);
}

#[tokio::test]
async fn fault_18_a_proxy_that_keeps_the_stream_open_is_not_waited_for() {
    let open: Paced = |nonce| vec![(Duration::ZERO, good(nonce, b"rows", 0)), (Duration::from_secs(3600), Vec::new())];
    let begun = std::time::Instant::now();
    let failed = Scripted::new(&[(START, Slowly(open, true))]).run().await.unwrap_err();
    assert!(matches!(failed, Error::ExitCodeUnknown { .. }), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(failed.hint().is_some());
}

#[tokio::test]
async fn fault_20_a_reader_that_goes_closes_the_connection() {
    let endless: fn(&str) -> Vec<u8> = |nonce| [header(nonce), frame(1, &vec![b'x'; 30_000_000])].concat();
    let scripted = Scripted::new(&[(START, InTurn(vec![Streams(endless, false), Streams(|_| Vec::new(), false)]))]);
    let program = Program { argv: vec!["pg_dump".to_owned()], bulk: true, ..Program::default() };
    let running = scripted.find().await.unwrap().start(&program, Input::None).await.unwrap();
    drop(running);
    // The program is seen to afterwards by an exec of its own: only once the first connection is closed.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while scripted.count(START) < 2 {
        assert!(std::time::Instant::now() < deadline, "{:?}", scripted.asked.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_question_is_one_exec_and_its_words_are_no_arguments() {
    let scripted = Scripted::new(&[]);
    let question = Input::Bytes(bytes::Bytes::from_static(b"select 'nobody reads this in the events';"));
    assert_eq!(scripted.run_with(false, question).await.unwrap(), b"rows\n");
    assert_eq!((scripted.count(CREATE), scripted.count(START)), (1, 1));
    let body = scripted.bodies.lock().unwrap().concat();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(!body["Cmd"].to_string().contains("nobody"));
    assert!(body["Env"].to_string().contains("nobody"));
}
