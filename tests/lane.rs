//! The fast lane where it is not simply there: not shared, closed to the container's user, replaced, left by the dead. The
//! contract itself is held by `runner_conformance`, over this lane too.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

#[path = "common/running.rs"]
mod running;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amarre::runner::docker::{DockerRunner, Engine, NoFastLane, Target, sweep};
use amarre::runner::{Error, Feed, Input, Program, Runner as _};
use bytes::Bytes;
use running::until_it_fails;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// The sidecar's user.
const SIDECAR: u32 = 10001;
const MEGABYTE: usize = 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "the test bed speaks through the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn bed(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set: run ./scripts/test.sh"))
}

/// A line for the script that counts what was left out, and `true` where this test cannot run here.
fn lacks(what: &str, there: bool) -> bool {
    if !there && let Some(log) = variable("AMARRE_SKIPPED_LOG") {
        let mut text = fs::read_to_string(&log).unwrap_or_default();
        text.push_str(&format!("lane: {what}\n"));
        fs::write(log, text).unwrap();
    }
    !there
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A directory as a lane is: nobody else lists it, never sticky.
fn lane_dir(owner: u32, mode: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(owner), Some(owner)).unwrap();
    }
    dir
}

/// A container with a shell and nothing else to do.
struct Idle(String);

impl Idle {
    fn start(lane: &Path, options: &[&str]) -> Self {
        let image = docker(&["inspect", "--format", "{{.Image}}", &bed("AMARRE_TEST_PG17")]);
        let mount = format!("{}:/somewhere/else", lane.display());
        let mut words = vec!["run", "--rm", "-d", "--init", "--network", "none", "--stop-timeout", "1", "-v", &mount];
        words.extend(options);
        words.extend(["--entrypoint", "sleep", &image, "600"]);
        Self(docker(&words))
    }

    async fn runner(&self, lane: &Path, patience: Duration) -> DockerRunner {
        runner(&self.0, patience).await.with_lane(lane)
    }

    fn processes(&self) -> String {
        docker(&["top", &self.0, "-eo", "pid,args"])
    }

    async fn wait_until(&self, mark: &str, there: bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.processes().contains(mark) != there {
            assert!(Instant::now() < deadline, "{mark} there: {}\n{}", !there, self.processes());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["kill", &self.0]).output());
    }
}

async fn runner(container: &str, patience: Duration) -> DockerRunner {
    let engine = Engine::connect(None, patience).await.unwrap();
    let container = engine.find(&Target::Container(container.to_owned())).await.unwrap();
    DockerRunner::new(engine, container)
}

const PATIENCE: Duration = Duration::from_secs(60);

fn bulk(argv: &[&str]) -> Program {
    Program { argv: argv.iter().map(|word| (*word).to_owned()).collect(), bulk: true, ..Program::default() }
}

/// Some bytes out and the same number in; by which lanes they came.
async fn both_ways(runner: &DockerRunner) -> [&'static str; 2] {
    let out = runner.start(&bulk(&["head", "-c", "3000000", "/dev/zero"]), Input::None).await.unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let into = runner.start(&bulk(&["wc", "-c"]), Input::Stream(receiver)).await.unwrap();
    let lanes = [out.lane(), into.lane()];
    let got = out.collect(4 * MEGABYTE).await.unwrap();
    assert_eq!((got.stdout.len(), got.stderr.as_str()), (3_000_000, ""));
    sender.send(Feed::Data(Bytes::from(got.stdout))).await.unwrap();
    sender.send(Feed::End).await.unwrap();
    let got = into.collect(100).await.unwrap();
    assert_eq!((String::from_utf8(got.stdout).unwrap().trim(), got.stderr.as_str()), ("3000000", ""));
    lanes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_shared_is_seen_to_be_none() {
    let (shared, elsewhere) = (lane_dir(0, 0o711), lane_dir(0, 0o711));
    let idle = Idle::start(shared.path(), &[]);
    let runner = idle.runner(elsewhere.path(), PATIENCE).await;
    assert_eq!(both_ways(&runner).await, ["exec", "exec"]);
    assert!(matches!(runner.try_lane().await.unwrap(), Some(NoFastLane::NotShared { .. })));
    let runner = idle.runner(&elsewhere.path().join("nowhere"), PATIENCE).await;
    assert_eq!(both_ways(&runner).await, ["exec", "exec"]);
    assert!(matches!(runner.try_lane().await.unwrap(), Some(NoFastLane::NoDirectory { .. })));
    let runner = idle.runner(shared.path(), PATIENCE).await;
    assert_eq!(both_ways(&runner).await, ["fifo", "fifo"]);
    assert_eq!(runner.try_lane().await.unwrap(), None);
    for dir in [shared, elsewhere] {
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no name stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_within_a_mount_is_found() {
    let around = lane_dir(0, 0o711);
    let lane = around.path().join("the lane");
    fs::create_dir(&lane).unwrap();
    let idle = Idle::start(around.path(), &[]);
    assert_eq!(both_ways(&idle.runner(&lane, PATIENCE).await).await, ["fifo", "fifo"]);
}

/// What is small never goes by the lane: it would cost more than it brings.
#[tokio::test(flavor = "multi_thread")]
async fn questions_take_the_exec_lane() {
    let lane = lane_dir(0, 0o711);
    let idle = Idle::start(lane.path(), &[]);
    let question = Program { bulk: false, ..bulk(&["true"]) };
    let running = idle.runner(lane.path(), PATIENCE).await.start(&question, Input::None).await.unwrap();
    assert_eq!(running.lane(), "exec");
    running.collect(0).await.unwrap();
}

/// Sets a setting of the kernel's, and puts it back.
struct ProtectedFifos(String);

impl ProtectedFifos {
    const PATH: &str = "/proc/sys/fs/protected_fifos";

    fn take() -> Option<Self> {
        let before = fs::read_to_string(Self::PATH).ok()?;
        fs::write(Self::PATH, &before).ok()?;
        Some(Self(before))
    }

    fn set(&self, value: u8) {
        fs::write(Self::PATH, value.to_string()).unwrap();
    }
}

impl Drop for ProtectedFifos {
    fn drop(&mut self) {
        fs::write(Self::PATH, &self.0).unwrap();
    }
}

/// Not a test of its own: a client with the user of the sidecar, or root's.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the client of the_lane_works_with_the_rights_of_the_design"]
async fn client() {
    let runner = runner(&bed("AMARRE_LANE_CONTAINER"), PATIENCE).await.with_lane(Path::new(&bed("AMARRE_LANE_DIR")));
    let lanes = both_ways(&runner).await;
    assert_eq!(both_ways(&runner).await, lanes, "and again, with what was learned");
    println!("lanes: {}", lanes.join(" "));
}

/// The lanes that a client of this user takes.
fn lanes_of(user: u32, lane: &Path, idle: &Idle, program: &Path) -> String {
    let socket = fs::metadata("/var/run/docker.sock").unwrap().gid();
    let output = Command::new(program)
        .args(["--exact", "client", "--ignored", "--nocapture"])
        .env("AMARRE_LANE_CONTAINER", &idle.0)
        .env("AMARRE_LANE_DIR", lane)
        .current_dir("/")
        .uid(user)
        .gid(socket)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().find_map(|line| line.split_once("lanes: ")).unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lane_works_with_the_rights_of_the_design() {
    let Some(protected) = ProtectedFifos::take() else {
        lacks("root, to set fs.protected_fifos", false);
        return;
    };
    // Where a user without rights can reach it.
    let place = lane_dir(0, 0o755);
    let program = place.path().join("client");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();

    // As the sidecar makes it; as root owns it; open to all and sticky.
    let dirs = [lane_dir(SIDECAR, 0o711), lane_dir(0, 0o755), lane_dir(0, 0o1777)];
    let by_root = dirs.each_ref().map(|dir| Idle::start(dir.path(), &[]));
    let by_other = dirs.each_ref().map(|dir| Idle::start(dir.path(), &["--user", "postgres"]));
    let closed = Idle::start(dirs[0].path(), &["--user", "postgres", "--cap-drop", "ALL"]);
    let poor_root = Idle::start(dirs[0].path(), &["--cap-drop", "ALL", "--cap-add", "CHOWN"]);
    let lanes = |user, dir: usize, idle: &Idle| lanes_of(user, dirs[dir].path(), idle, &program);
    for value in 0..=2 {
        protected.set(value);
        for idle in [&by_root[0], &by_other[0], &poor_root] {
            assert_eq!(lanes(SIDECAR, 0, idle), "fifo fifo", "protected_fifos {value}");
        }
        // Root there may not give the FIFO a group, or the sidecar may not make one: never a failed backup.
        assert_eq!(lanes(SIDECAR, 0, &closed), "exec exec");
        assert_eq!(lanes(SIDECAR, 1, &by_root[1]), "exec exec");
        // A crontab of root's on the host.
        assert_eq!(lanes(0, 1, &by_root[1]), "fifo fifo");
        assert_eq!(lanes(0, 1, &by_other[1]), "fifo fifo");
        let sticky = if value == 0 { "fifo fifo" } else { "exec exec" };
        assert_eq!(lanes(SIDECAR, 2, &by_root[2]), sticky, "protected_fifos {value}");
        assert_eq!(lanes(SIDECAR, 2, &by_other[2]), sticky, "protected_fifos {value}");
    }
}

/// Puts something else under the name of each FIFO as soon as it is there.
struct Replacer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Replacer {
    fn start(dir: &Path, replace: impl Fn(&Path) + Send + 'static) -> Self {
        let (stop, dir) = (Arc::new(AtomicBool::new(false)), dir.to_owned());
        let before: Vec<PathBuf> = fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()).collect();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (there, mut seen) = (before.len(), before);
            while !stopped.load(Ordering::Relaxed) {
                for path in fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()) {
                    if path.extension().is_some_and(|e| e == "fifo") && !seen.contains(&path) {
                        // Not before its maker has opened its own ends.
                        std::thread::sleep(Duration::from_millis(5));
                        let _ = fs::remove_file(&path);
                        replace(&path);
                        seen.push(path);
                    }
                }
            }
            seen.len() - there
        });
        Self { stop, thread: Some(thread) }
    }

    /// How many it replaced.
    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn mkfifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_replaced_by_a_file_or_a_link_is_not_used() {
    let lane = lane_dir(0, 0o711);
    let idle = Idle::start(lane.path(), &[]);
    let behind = lane.path().join("behind");
    mkfifo(&behind);
    let link: fn(&Path) = |path| std::os::unix::fs::symlink("behind", path).unwrap();
    let file: fn(&Path) = |path| fs::write(path, "").unwrap();
    for replace in [file, link] {
        let mut lanes = ["fifo"; 2];
        // Whoever comes when both sides are in has replaced a name and no more: then it is tried again.
        for _ in 0..20 {
            let replacer = Replacer::start(lane.path(), replace);
            // A runner of its own for each: the first lane that is barred stays so.
            lanes = both_ways(&idle.runner(lane.path(), PATIENCE).await).await;
            let replaced = replacer.end();
            let left = fs::read_dir(lane.path()).unwrap().flatten().filter(|e| e.path() != behind);
            for left in left {
                let is_empty = left.metadata().unwrap().len() == 0;
                assert!(is_empty || left.file_type().unwrap().is_symlink(), "nothing was written");
                fs::remove_file(left.path()).unwrap();
            }
            if lanes[0] == "exec" {
                assert_eq!(replaced, 1);
                break;
            }
        }
        assert_eq!(lanes, ["exec", "exec"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_replaced_by_another_fails_in_time_and_leaves_no_process() {
    let lane = lane_dir(0, 0o711);
    let idle = Idle::start(lane.path(), &[]);
    // Its init may not have begun it yet.
    let deadline = Instant::now() + Duration::from_secs(15);
    while idle.processes().lines().count() < 3 {
        assert!(Instant::now() < deadline, "{}", idle.processes());
        sleep(Duration::from_millis(50)).await;
    }
    let before = idle.processes();
    for fed in [false, true] {
        let replacer = Replacer::start(lane.path(), mkfifo);
        let runner = idle.runner(lane.path(), Duration::from_secs(3)).await;
        let began = Instant::now();
        let input = if fed { Input::Bytes(Bytes::from_static(b"rows")) } else { Input::None };
        let failed = runner.start(&bulk(&["sort"]), input).await.err().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(replacer.end(), 1);
        assert!(matches!(&failed, Error::Lane { cause, .. } if cause.contains("3 s")), "{failed:?}");
        assert!(failed.to_string().contains(&lane.path().display().to_string()), "{failed}");
        idle.wait_until("sort", false).await;
    }
    assert_eq!(idle.processes().lines().count(), before.lines().count(), "{}", idle.processes());
}

/// The program's output goes to whoever waits at the other FIFO, and not to us.
#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_that_leads_elsewhere_is_never_a_success() {
    let lane = lane_dir(0, 0o711);
    let idle = Idle::start(lane.path(), &[]);
    let stolen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = Arc::clone(&stolen);
    let steal = move |path: &Path| {
        mkfifo(path);
        keep.lock().unwrap().push(fs::OpenOptions::new().read(true).write(true).open(path).unwrap());
    };
    let replacer = Replacer::start(lane.path(), steal);
    let runner = idle.runner(lane.path(), PATIENCE).await;
    let failed = runner.start(&bulk(&["echo", "rows"]), Input::None).await.err().unwrap();
    assert_eq!(replacer.end(), 1);
    assert!(matches!(&failed, Error::Lane { .. }), "{failed:?}");
    idle.wait_until("amarre", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_13_a_container_killed_mid_run_is_a_failure() {
    for fed in [false, true] {
        let lane = lane_dir(0, 0o711);
        let idle = Idle::start(lane.path(), &[]);
        let runner = idle.runner(lane.path(), PATIENCE).await;
        let (sender, receiver) = mpsc::channel(1);
        let (argv, input) = if fed { (["cat", "-"], Input::Stream(receiver)) } else { (["yes", "rows"], Input::None) };
        let mut running = runner.start(&bulk(&argv), input).await.unwrap();
        assert_eq!(running.lane(), "fifo");
        sender.send(Feed::Data(Bytes::from_static(b"rows"))).await.ok();
        assert!(running.next().await.unwrap().is_some());
        let killed = tokio::task::spawn_blocking(move || drop(idle));
        let failed = until_it_fails(&mut running).await;
        killed.await.unwrap();
        assert!(matches!(failed, Error::LostTail { .. } | Error::CorruptFrame { .. }), "{failed:?}");
    }
}

/// A program that leaves its output to a child: the sentinel comes, the end does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_without_the_end_of_the_output_is_no_success() {
    let lane = lane_dir(0, 0o711);
    let idle = Idle::start(lane.path(), &[]);
    let runner = idle.runner(lane.path(), PATIENCE).await;
    let mut running = runner.start(&bulk(&["sh", "-c", "sleep 86400 & echo rows"]), Input::None).await.unwrap();
    assert_eq!(running.next().await.unwrap().unwrap(), "rows\n");
    let failed = running.next().await.unwrap_err();
    assert!(matches!(&failed, Error::Lane { cause, .. } if cause.contains("'sh'")), "{failed:?}");
}

/// Blocks of exactly 1 MiB where there is enough, so that they are compressed as they are.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_full_and_their_number_is_bounded() {
    let lane = lane_dir(0, 0o711);
    let idle = Idle::start(lane.path(), &[]);
    let runner = idle.runner(lane.path(), PATIENCE).await;
    let mut running = runner.start(&bulk(&["head", "-c", "20000000", "/dev/zero"]), Input::None).await.unwrap();
    let (mut kept, mut sizes) = (Vec::new(), Vec::new());
    while let Ok(next) = tokio::time::timeout(Duration::from_secs(2), running.next()).await {
        let Some(block) = next.unwrap() else { break };
        sizes.push(block.len());
        kept.push(block);
    }
    assert_eq!(kept.len(), 6, "who keeps them all gets no more: {sizes:?}");
    drop(kept);
    while let Some(block) = running.next().await.unwrap() {
        sizes.push(block.len());
    }
    let last = sizes.pop().unwrap();
    assert!(sizes.iter().all(|size| *size == MEGABYTE), "{sizes:?}");
    assert_eq!(sizes.len() * MEGABYTE + last, 20_000_000);
}

/// Not a test of its own: the client that `fault_63_…` kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the victim of fault_63"]
async fn victim() {
    let runner = runner(&bed("AMARRE_LANE_CONTAINER"), PATIENCE).await.with_lane(Path::new(&bed("AMARRE_LANE_DIR")));
    let mark = bed("AMARRE_LANE_VICTIM");
    let (sender, receiver) = mpsc::channel(1);
    let file = format!("/tmp/{mark}");
    let fed = runner.start(&bulk(&["sort", "-o", &file]), Input::Stream(receiver)).await.unwrap();
    // Its reader has stopped, so that it is blocked in writing.
    let full = runner.start(&bulk(&["yes", &mark]), Input::None).await.unwrap();
    let quiet = runner.start(&bulk(&["sleep", &format!("86400.{mark}")]), Input::None).await.unwrap();
    assert_eq!([fed.lane(), full.lane(), quiet.lane()], ["fifo"; 3]);
    loop {
        sender.send(Feed::Data(Bytes::from(vec![b'\n'; 1000]))).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
}

/// `sort -o` writes its file at the end of its input and not before: the death of the client must not be that end.
#[tokio::test(flavor = "multi_thread")]
async fn fault_63_a_client_killed_with_sigkill_leaves_no_process() {
    let lane = lane_dir(0, 0o711);
    let idle = Idle::start(lane.path(), &[]);
    let mark = format!("7{:07}", std::process::id());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored"])
        .env("AMARRE_LANE_CONTAINER", &idle.0)
        .env("AMARRE_LANE_DIR", lane.path())
        .env("AMARRE_LANE_VICTIM", &mark)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for program in [format!("sort -o /tmp/{mark}"), format!("yes {mark}"), format!("sleep 86400.{mark}")] {
        idle.wait_until(&program, true).await;
    }
    // A program runs a moment before its client knows that it does.
    let deadline = Instant::now() + PATIENCE;
    while fs::read_dir(lane.path()).unwrap().count() > 0 {
        assert!(Instant::now() < deadline, "a FIFO keeps its name");
        sleep(Duration::from_millis(20)).await;
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    idle.wait_until(&mark, false).await;
    assert_eq!(docker(&["exec", &idle.0, "find", "/tmp", "-name", &mark, "-size", "+0"]), "");
    assert_eq!(sweep(lane.path()).unwrap(), 0, "their names were gone before");
}
