//! How a run on the fast lane fails: an engine that fails on command, whose other side cuts, delays and garbles what goes
//! through the FIFO. `engine_faults` has the same over the exec lane, `lane` has the real shell in a real container.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

#[path = "common/engine.rs"]
mod engine;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use amarre::error::Explain as _;
use amarre::runner::docker::EngineError;
use amarre::runner::{Error, Feed, Input, Program, Runner as _, Running};
use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use engine::Step::{
    self, Closes, Cuts, Floods, Hears, Looks, Notes, Opens, OpensInput, Pours, Sends, Stays, Swaps, Takes, TakesAll,
    UntilUnread, Waits,
};
use engine::{
    Acts, Answer, CREATE, EXEC, INSPECT, InTurn, START, Says, Scripted, Sleeps, Streams, ends_late, frame, good,
    header, refusal, state,
};

/// An engine and a lane directory.
struct Bench {
    engine: Scripted,
    lane: TempDir,
}

const MEGABYTE: usize = 1024 * 1024;

/// A long silence.
const HOUR: Duration = Duration::from_secs(3600);

impl Bench {
    /// The other side does this, and the engine is good but for `changes`.
    fn new(steps: &'static [Step], changes: &[(&'static str, Answer)]) -> Self {
        Self::with(&[&[(START, Acts(steps))], changes].concat())
    }

    fn with(changes: &[(&'static str, Answer)]) -> Self {
        Self { engine: Scripted::new(changes), lane: tempfile::tempdir().unwrap() }
    }

    async fn start(&self, input: Input) -> Result<Running, Error> {
        let program = Program { argv: vec!["pg_dump".to_owned()], bulk: true, ..Program::default() };
        self.engine.find().await?.with_lane(self.lane.path()).start(&program, input).await
    }

    /// Runs a program with much output to its end, by the fast lane.
    async fn run(&self) -> Result<Vec<u8>, Error> {
        self.end(Input::None).await
    }

    /// The same with an input.
    async fn end(&self, input: Input) -> Result<Vec<u8>, Error> {
        let running = self.start(input).await?;
        assert_eq!(running.lane(), "fifo");
        assert_eq!(self.names(), 0, "the FIFO has no name once it is met");
        running.collect(8 * MEGABYTE).await.map(|collected| collected.stdout)
    }

    /// How a run fails; no FIFO stays.
    async fn fails(&self) -> Error {
        let failed = self.run().await.unwrap_err();
        assert_eq!(self.names(), 0, "{failed:?}");
        failed
    }

    fn names(&self) -> usize {
        fs::read_dir(self.lane.path()).unwrap().count()
    }

    fn heard(&self) -> Vec<String> {
        self.engine.heard.lock().unwrap().clone()
    }
}

fn line(nonce: &str) -> Vec<u8> {
    format!("{nonce}\n").into_bytes()
}

fn sentinel(nonce: &str) -> Vec<u8> {
    frame(1, format!("{nonce} 000\n").as_bytes())
}

fn rows(_: &str) -> Vec<u8> {
    b"rows\n".to_vec()
}

/// Two blocks and a bit, more than a pipe holds.
fn much(_: &str) -> Vec<u8> {
    (0..=250_u8).cycle().take(2_500_000).collect()
}

const MEETS: Step = Pours(line);
const BEGINS: Step = Sends(header);
const ENDS: Step = Sends(sentinel);

/// Meets the client at its input, and begins.
const GETS: [Step; 3] = [OpensInput, Takes(33), BEGINS];

#[tokio::test]
async fn the_other_side_is_good_when_nothing_is_changed() {
    let bench = Bench::new(&[Opens, MEETS, BEGINS, Pours(much), Closes, ENDS, Stays], &[]);
    assert!(bench.run().await.unwrap() == much(""));
    assert_eq!(bench.heard(), ["end", "gone"]);
    let bench = Bench::new(&[GETS[0], GETS[1], GETS[2], TakesAll, ENDS, Stays], &[]);
    assert_eq!(bench.end(Input::Bytes(much("").into())).await.unwrap(), b"");
    assert_eq!(bench.heard(), ["2500000 bytes, then the end", "eof", "end", "gone"]);
}

#[tokio::test]
async fn fault_09_the_lane_too_is_asked_for_in_the_common_version() {
    let bench = Bench::new(&[Opens, MEETS, BEGINS, Closes, ENDS, Stays], &[]);
    bench.run().await.unwrap();
    let asked = bench.engine.asked.lock().unwrap().clone();
    assert!(asked.len() > 4 && asked[1..].iter().all(|line| line.contains(" /v1.41/")), "{asked:?}");
}

/// The bytes flow on by themselves, but nobody would say how the program ended.
#[tokio::test]
async fn fault_11_an_engine_that_restarts_while_bytes_flow_is_a_failure_and_closes_the_fifo() {
    let bench = Bench::new(&[Opens, MEETS, BEGINS, Pours(rows), Cuts, Floods], &[]);
    let mut running = bench.start(Input::None).await.unwrap();
    let failed = loop {
        match running.next().await {
            Ok(some) => assert!(some.is_some(), "a success"),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
    bench.engine.until_heard("broken pipe").await;
}

#[tokio::test]
async fn fault_11_and_15_an_engine_that_cuts_a_frame_or_sends_none_is_a_failure() {
    fn cut(_: &str) -> Vec<u8> {
        frame(2, b"a warning that is cut short")[..20].to_vec()
    }
    fn raw(_: &str) -> Vec<u8> {
        b"COPY public.t FROM stdin;\n".to_vec()
    }
    const CUT: &[Step] = &[Opens, MEETS, BEGINS, Pours(rows), Closes, Sends(cut), Cuts];
    const RAW: &[Step] = &[Opens, MEETS, BEGINS, Pours(rows), Closes, Sends(raw), Cuts];
    for steps in [CUT, RAW] {
        let failed = Bench::new(steps, &[]).fails().await;
        assert!(matches!(failed, Error::CorruptFrame { .. }), "{failed:?}");
    }
}

/// Says nothing more, for as long as the client stays.
const SILENT: &[Step] = &[Opens, MEETS, BEGINS, Pours(rows), Stays];

/// Takes a little and then no more: the pipe is full.
const STALLED: &[Step] = &[GETS[0], GETS[1], GETS[2], Takes(10), Stays];

/// How runs in both directions fail, when the container or the engine does so in the midst of them.
async fn fails_in_silence(looks: Vec<Answer>) -> [Error; 2] {
    let looks = InTurn([vec![state("running")], looks].concat());
    let out = Bench::new(SILENT, &[(INSPECT, looks.clone())]);
    let into = Bench::new(STALLED, &[(INSPECT, looks)]);
    let (out_failed, into_failed) = tokio::join!(out.fails(), into.end(Input::Bytes(much("").into())));
    assert!(!into.heard().contains(&"eof".to_owned()), "a cut is not the end of the input");
    [out_failed, into_failed.unwrap_err()]
}

#[tokio::test]
async fn fault_11_an_engine_that_goes_silent_in_a_run_ends_it() {
    for failed in fails_in_silence(vec![Sleeps]).await {
        assert!(matches!(failed, Error::Engine(EngineError::Silent { endpoint: INSPECT, .. })), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_13_a_container_that_stops_or_goes_under_a_silent_run_ends_it() {
    for failed in fails_in_silence(vec![state("exited")]).await {
        assert!(matches!(failed, Error::Engine(EngineError::NotRunning { .. })), "{failed:?}");
    }
    for failed in fails_in_silence(vec![refusal(404, "No such container: c0ffee")]).await {
        assert!(matches!(&failed, Error::Engine(EngineError::Gone { container }) if container == "db"), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_13_a_container_that_is_gone_or_stopped_is_named_and_no_fifo_stays() {
    let gone = Bench::with(&[(CREATE, refusal(404, "No such container: c0ffee"))]).fails().await;
    assert!(matches!(&gone, Error::Engine(EngineError::Gone { container }) if container == "db"), "{gone:?}");
    let stopped = Bench::with(&[(CREATE, refusal(409, "Container c0ffee is not running"))]).fails().await;
    assert!(matches!(&stopped, Error::Engine(EngineError::NotRunning { container }) if container == "db"));
    let exec = refusal(404, "No such exec instance");
    let vanished = Bench::new(&[Opens, MEETS, BEGINS, Closes, ENDS, Stays], &[(EXEC, exec)]).fails().await;
    assert!(matches!(vanished, Error::Engine(EngineError::Gone { .. })), "{vanished:?}");
}

/// All its processes die at once: the FIFO and the stream end together, and neither says why.
#[tokio::test]
async fn fault_13_a_container_that_is_killed_while_bytes_flow_is_a_failure() {
    let failed = Bench::new(&[Opens, MEETS, BEGINS, Pours(much), Closes, Cuts], &[]).fails().await;
    assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
    let into = Bench::new(&[GETS[0], GETS[1], GETS[2], Takes(10), Closes, Cuts], &[]);
    let failed = into.end(Input::Bytes(much("").into())).await.unwrap_err();
    assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
}

#[tokio::test]
async fn fault_14_a_paused_container_is_called_paused() {
    let words = "Container c0ffee is paused, unpause the container before exec";
    let failed = Bench::with(&[(CREATE, refusal(409, words))]).fails().await;
    assert!(matches!(&failed, Error::Engine(EngineError::Paused { container }) if container == "db"), "{failed:?}");
    for failed in fails_in_silence(vec![state("paused")]).await {
        assert!(matches!(&failed, Error::Engine(EngineError::Paused { container }) if container == "db"));
    }
}

#[tokio::test]
async fn fault_14_a_pause_that_is_over_ends_nothing() {
    const STEPS: &[Step] =
        &[Opens, MEETS, BEGINS, Pours(rows), Waits(Duration::from_secs(6)), Pours(rows), Closes, ENDS, Stays];
    let states = ["running", "paused", "running"].map(state).into();
    let bench = Bench::new(STEPS, &[(INSPECT, InTurn(states)), (EXEC, ends_late())]);
    assert_eq!(bench.run().await.unwrap(), b"rows\nrows\n");
    assert!(bench.engine.count(INSPECT) >= 3, "the silence was looked into");
}

#[tokio::test]
async fn fault_14_an_other_side_that_never_comes_is_not_waited_for() {
    // The engine itself, then a wrapper that does not get past the FIFO.
    for endpoint in [CREATE, START] {
        let failed = Bench::with(&[(endpoint, Sleeps)]).fails().await;
        let silent =
            matches!(&failed, Error::Engine(EngineError::Silent { endpoint: named, .. }) if *named == endpoint);
        assert!(silent, "{failed:?}");
    }
    // It is in the container, but a kernel of its own is between: that is told from a FIFO that somebody put there.
    fn row(_: &str) -> Vec<u8> {
        frame(1, b"rows\n")
    }
    fn another(path: &Path) {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    const ALONE: &[Step] = &[Stays];
    const REPLACED: &[Step] = &[Swaps(another), Stays];
    const EXEC_LANE: &[Step] = &[BEGINS, Sends(row), ENDS, Stays];
    for fed in [false, true] {
        let input = || if fed { Input::Bytes(rows("").into()) } else { Input::None };
        let bench = Bench::with(&[(START, InTurn(vec![Acts(ALONE), Acts(EXEC_LANE)]))]);
        let running = bench.start(input()).await.unwrap();
        assert_eq!((running.lane(), bench.names()), ("exec", 0));
        assert_eq!(running.collect(MEGABYTE).await.unwrap().stdout, rows(""));
        // So that the wrapper does not wait for ever either.
        bench.engine.until_heard("gone").await;

        let bench = Bench::with(&[(START, InTurn(vec![Acts(REPLACED), Acts(EXEC_LANE)]))]);
        let failed = bench.start(input()).await.err().unwrap();
        assert!(matches!(&failed, Error::Lane { cause, .. } if cause.contains("2 s")), "{failed:?}");
        assert!(failed.hint().is_some());
        bench.engine.until_heard("gone").await;
    }
}

#[tokio::test]
async fn fault_18_a_proxy_that_keeps_the_stream_open_is_not_waited_for() {
    let out = Bench::new(&[Opens, MEETS, BEGINS, Pours(rows), Closes, ENDS, Waits(HOUR)], &[]);
    let into = Bench::new(&[GETS[0], GETS[1], GETS[2], TakesAll, ENDS, Waits(HOUR)], &[]);
    let begun = Instant::now();
    let (out, into) = tokio::join!(out.fails(), into.end(Input::Bytes(rows("").into())));
    for failed in [out, into.unwrap_err()] {
        assert!(matches!(failed, Error::ExitCodeUnknown { .. }), "{failed:?}");
        assert!(failed.hint().is_some());
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn fault_19_the_end_of_the_fifo_is_no_success() {
    fn half(nonce: &str) -> Vec<u8> {
        frame(1, format!("{nonce} 00").as_bytes())
    }
    const NONE: &[Step] = &[Opens, MEETS, BEGINS, Pours(much), Closes, Cuts];
    const HALF: &[Step] = &[Opens, MEETS, BEGINS, Pours(much), Closes, Sends(half), Cuts];
    // All that the exec brings is the wrapper's: rows there, or another's sentinel, were never said by it.
    const MORE: &[Step] = &[Opens, MEETS, BEGINS, Pours(much), Closes, ENDS, Hears, Sends(half), Cuts];
    for steps in [NONE, HALF, MORE] {
        let failed = Bench::new(steps, &[]).fails().await;
        assert!(matches!(failed, Error::LostTail { .. }), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_19_words_of_nobody_on_the_exec_are_corruption() {
    fn other(nonce: &str) -> Vec<u8> {
        frame(1, format!("{} 000\n", "0".repeat(nonce.len())).as_bytes())
    }
    fn stray(_: &str) -> Vec<u8> {
        frame(1, b"rows\n")
    }
    const OTHER: &[Step] = &[Opens, MEETS, BEGINS, Pours(rows), Closes, Sends(other), Stays];
    const STRAY: &[Step] = &[Opens, MEETS, BEGINS, Pours(rows), Sends(stray), Closes, ENDS, Stays];
    for steps in [OTHER, STRAY] {
        let failed = Bench::new(steps, &[]).fails().await;
        assert!(matches!(failed, Error::CorruptFrame { .. }), "{failed:?}");
    }
}

#[tokio::test]
async fn fault_19_every_exit_code_counts() {
    fn one(nonce: &str) -> Vec<u8> {
        [frame(2, b"pg_dump: error: x\n"), frame(1, format!("{nonce} 001\n").as_bytes())].concat()
    }
    fn missing(nonce: &str) -> Vec<u8> {
        frame(1, format!("{nonce} 127\n").as_bytes())
    }
    let failed = Bench::new(&[Opens, MEETS, BEGINS, Pours(rows), Closes, Sends(one), Stays], &[]).fails().await;
    assert_eq!(failed.stderr(), Some("pg_dump: error: x\n"));
    assert!(matches!(failed, Error::ExitCode { code: 1, .. }), "{failed:?}");
    let failed = Bench::new(&[Opens, MEETS, BEGINS, Closes, Sends(missing), Stays], &[]).fails().await;
    assert!(matches!(failed, Error::ProgramMissing { .. }), "{failed:?}");
    let killed = Says(200, json!({"Running": false, "ExitCode": 137}).to_string());
    let good = Bench::new(&[Opens, MEETS, BEGINS, Pours(rows), Closes, ENDS, Stays], &[(EXEC, killed)]);
    let failed = good.fails().await;
    assert!(matches!(failed, Error::ExitCode { code: 137, .. }), "{failed:?}");
    // A program that closes its input early is judged by its code, not by the pipe.
    let into = Bench::new(&[GETS[0], GETS[1], GETS[2], Takes(10), Closes, Sends(one), Stays], &[]);
    let failed = into.end(Input::Bytes(much("").into())).await.unwrap_err();
    assert!(matches!(failed, Error::ExitCode { code: 1, .. }), "{failed:?}");
    assert_eq!(into.heard().first().map(String::as_str), Some("end"), "no end of the input was said");
}

/// The frame of the sentinel overtakes what is still in the pipe.
#[tokio::test]
async fn fault_19_a_sentinel_before_the_last_bytes_loses_none_of_them() {
    const STEPS: &[Step] = &[
        Opens,
        MEETS,
        BEGINS,
        ENDS,
        Waits(Duration::from_millis(300)),
        Pours(much),
        Waits(Duration::from_secs(2)),
        Pours(rows),
        Closes,
        Stays,
    ];
    let got = Bench::new(STEPS, &[]).run().await.unwrap();
    assert!(got == [much(""), rows("")].concat(), "{} bytes", got.len());
}

#[tokio::test]
async fn fault_19_a_sentinel_that_comes_late_and_in_pieces_is_waited_for() {
    fn first(nonce: &str) -> Vec<u8> {
        sentinel(nonce)[..25].to_vec()
    }
    fn second(nonce: &str) -> Vec<u8> {
        sentinel(nonce)[25..].to_vec()
    }
    const LATE: Step = Waits(Duration::from_millis(2500));
    const STEPS: &[Step] = &[Opens, MEETS, BEGINS, Pours(much), Closes, LATE, Sends(first), LATE, Sends(second), Stays];
    assert!(Bench::new(STEPS, &[(EXEC, ends_late())]).run().await.unwrap() == much(""));
}

#[tokio::test]
async fn fault_19_neither_end_is_waited_for_without_the_other() {
    // A sentinel, and a FIFO that stays open.
    let open = Bench::new(&[Opens, MEETS, BEGINS, Pours(rows), ENDS, Stays], &[]);
    // The end of the FIFO, and a program that never ends.
    let endless = Bench::new(&[Opens, MEETS, BEGINS, Pours(rows), Closes, Stays], &[]);
    let begun = Instant::now();
    let (open, endless) = tokio::join!(open.fails(), endless.fails());
    assert!(matches!(&open, Error::Lane { cause, .. } if cause.contains("'pg_dump'")), "{open:?}");
    assert!(matches!(endless, Error::LostTail { .. }), "{endless:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn fault_19_a_fifo_that_does_not_begin_with_the_nonce_is_foreign() {
    fn other(nonce: &str) -> Vec<u8> {
        line(&nonce.chars().rev().collect::<String>())
    }
    fn half(nonce: &str) -> Vec<u8> {
        nonce.as_bytes()[..20].to_vec()
    }
    fn none(_: &str) -> Vec<u8> {
        b"--\n-- PostgreSQL database dump\n--\n\n".to_vec()
    }
    /// Another FIFO takes the name, and somebody waits there.
    fn replace(path: &Path) {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::mem::forget(fs::OpenOptions::new().read(true).write(true).open(path).unwrap());
    }
    const OTHER: &[Step] = &[Opens, Pours(other), BEGINS, Floods, Hears, Cuts];
    const HALF: &[Step] = &[Opens, Pours(half), BEGINS, Floods, Hears, Cuts];
    const NONE: &[Step] = &[Opens, Pours(none), BEGINS, Floods, Hears, Cuts];
    const EMPTY: &[Step] = &[Opens, BEGINS, Floods, Hears, Cuts];
    for steps in [OTHER, HALF, NONE, EMPTY] {
        let bench = Bench::new(steps, &[]);
        let failed = bench.start(Input::None).await.err().unwrap();
        assert!(matches!(failed, Error::Lane { .. }), "{failed:?}");
        assert_eq!(bench.names(), 0);
        assert_eq!(bench.heard(), ["broken pipe", "stop"]);
    }
    let bench = Bench::new(&[Swaps(replace), Opens, MEETS, BEGINS, Pours(rows), Closes, ENDS, Hears, Cuts], &[]);
    let failed = bench.start(Input::None).await.err().unwrap();
    assert!(matches!(failed, Error::Lane { .. }), "{failed:?}");
    assert_eq!(bench.names(), 1, "who took the name keeps what is theirs");
}

/// The wrapper looks before it writes, and says what it finds.
#[tokio::test]
async fn fault_19_what_the_wrapper_finds_in_place_of_the_fifo_decides() {
    fn foreign(nonce: &str) -> Vec<u8> {
        frame(1, format!("{nonce} foreign\n").as_bytes())
    }
    fn absent(nonce: &str) -> Vec<u8> {
        frame(1, format!("{nonce} absent\n").as_bytes())
    }
    fn garbled(nonce: &str) -> Vec<u8> {
        frame(1, format!("{nonce} sometimes\n").as_bytes())
    }
    let failed = Bench::new(&[Sends(foreign), Stays], &[]).start(Input::Bytes(rows("").into())).await.err().unwrap();
    assert!(matches!(failed, Error::Lane { .. }), "{failed:?}");
    let failed = Bench::new(&[Sends(garbled), Cuts], &[]).fails().await;
    assert!(matches!(failed, Error::Engine(EngineError::Broken { .. })), "{failed:?}");
    let exec = InTurn(vec![Acts(&[Sends(absent), Stays]), Streams(|nonce| good(nonce, b"rows\n", 0), true)]);
    let bench = Bench::with(&[(START, exec)]);
    let running = bench.start(Input::None).await.unwrap();
    assert_eq!((running.lane(), bench.names()), ("exec", 0));
    assert_eq!(running.collect(100).await.unwrap().stdout, b"rows\n");
}

#[tokio::test]
async fn fault_20_a_reader_that_goes_closes_the_fifo_and_ends_the_program() {
    let bench = Bench::new(&[Opens, MEETS, BEGINS, Floods, Stays], &[]);
    let mut running = bench.start(Input::None).await.unwrap();
    assert!(running.next().await.unwrap().is_some());
    drop(running);
    bench.engine.until_heard("gone").await;
    assert_eq!(bench.heard(), ["broken pipe", "stop", "gone"]);
}

/// Nothing comes by which the reading thread could notice: it looks by itself.
#[tokio::test]
async fn fault_20_a_reader_that_goes_from_a_silent_program_closes_the_fifo_too() {
    let bench = Bench::new(&[Opens, MEETS, BEGINS, Pours(rows), Hears, Cuts, UntilUnread], &[]);
    let mut running = bench.start(Input::None).await.unwrap();
    assert!(running.next().await.unwrap().is_some());
    drop(running);
    bench.engine.until_heard("unread").await;
    assert_eq!(bench.heard(), ["stop", "unread"]);
}

/// Words on standard error never wait for a reader of the rows, nor the rows for them.
#[tokio::test]
async fn fault_20_a_reader_that_stops_loses_nothing_and_a_flood_of_words_goes_by() {
    fn flood(_: &str) -> Vec<u8> {
        let words: Vec<u8> = frame(2, &[b'w'; 32_000]).into_iter().cycle().take(600 * 32_008).collect();
        [words, frame(2, b"the last words\n")].concat()
    }
    const STEPS: &[Step] = &[
        Opens,
        MEETS,
        BEGINS,
        Pours(rows),
        Sends(flood),
        Notes("flooded"),
        Pours(much),
        Pours(much),
        Sends(flood),
        Closes,
        ENDS,
        Stays,
    ];
    let bench = Bench::new(STEPS, &[]);
    let running = bench.start(Input::None).await.unwrap();
    bench.engine.until_heard("flooded").await;
    let got = running.collect(8 * MEGABYTE).await.unwrap();
    assert!(got.stdout == [rows(""), much(""), much("")].concat(), "{} bytes", got.stdout.len());
    assert!(got.stderr.ends_with("wwwthe last words\n"));
    assert_eq!(got.stderr.len(), amarre::runner::STDERR_TAIL);
}

/// A stream that is fed these pieces, and then its sender is dropped: no end was meant.
async fn fed_without_end(pieces: Vec<Bytes>) -> Input {
    let (sender, receiver) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.send(Feed::Data(piece)).await.unwrap();
    }
    Input::Stream(receiver)
}

#[tokio::test]
async fn fault_20_a_feeder_that_goes_is_no_end_of_the_input() {
    const STEPS: &[Step] = &[GETS[0], GETS[1], GETS[2], Takes(10), Hears, Looks, Cuts, TakesAll];
    let bench = Bench::new(STEPS, &[]);
    let failed = bench.end(fed_without_end(vec![rows("").into(), rows("").into()]).await).await.unwrap_err();
    assert!(matches!(failed, Error::Aborted), "{failed:?}");
    bench.engine.until_heard("0 bytes, then the end").await;
    assert_eq!(bench.heard(), ["stop", "still open", "0 bytes, then the end"]);
}
