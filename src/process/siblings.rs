//! Other processes of this program in this PID namespace: runs started by `docker compose exec` beside PID 1.
//! The engine would kill them without a word when the sidecar stops, so PID 1 tells them and waits.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

const NAMES: [&str; 3] = ["amarre", "backup", "restore"];
const POLL: Duration = Duration::from_millis(50);

/// Another process of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// Its number.
    pub pid: i32,
    /// Its arguments, separated by spaces; not escaped.
    pub command: String,
}

/// All that run now, without this process.
#[must_use]
pub fn list() -> Vec<Sibling> {
    let me = std::process::id();
    let own = fs::metadata("/proc/self/exe").ok().map(|exe| (exe.dev(), exe.ino()));
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| u32::try_from(*pid) != Ok(me)).filter_map(|pid| sibling(pid, own)).collect()
}

/// Ends all of them with SIGTERM and waits until they are gone, also those that start meanwhile.
/// Returns who is still there when `deadline` has passed.
pub async fn end_all(deadline: Duration) -> Vec<Sibling> {
    end_those(list, deadline).await
}

async fn end_those(list: impl Fn() -> Vec<Sibling>, deadline: Duration) -> Vec<Sibling> {
    let end = Instant::now() + deadline;
    let mut told = Vec::new();
    loop {
        let left = list();
        for sibling in left.iter().filter(|sibling| !told.contains(&sibling.pid)) {
            // Gone meanwhile, or not ours to end: the list tells in the next turn.
            let _ = kill(Pid::from_raw(sibling.pid), Signal::SIGTERM);
        }
        told = left.iter().map(|sibling| sibling.pid).collect();
        if left.is_empty() || Instant::now() >= end {
            return left;
        }
        sleep(POLL).await;
    }
}

fn sibling(pid: i32, own: Option<(u64, u64)>) -> Option<Sibling> {
    let directory = format!("/proc/{pid}");
    let command = fs::read(format!("{directory}/cmdline")).ok()?;
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    // A zombie has no command line.
    let first = words.first()?;
    let is_one = match fs::metadata(format!("{directory}/exe")) {
        Ok(exe) => {
            own == Some((exe.dev(), exe.ino()))
                || base_name(&fs::read_link(format!("{directory}/exe")).ok()?)? == "amarre"
        }
        // Another user's: its own word is all there is.
        Err(_) => NAMES.contains(&base_name(Path::new(first))?.as_str()),
    };
    is_one.then(|| Sibling { pid, command: words.join(" ") })
}

fn base_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    // The kernel marks a binary that was replaced on disk.
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use tokio::task::JoinHandle;

    use super::*;

    /// A process with our name that runs `script` as its shell would; its end is awaited, so that no zombie stays.
    fn sibling_that(script: &str) -> (i32, JoinHandle<ExitStatus>, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("amarre");
        fs::copy("/bin/bash", &program).expect("copied");
        let mut command = tokio::process::Command::new(&program);
        command.args(["-c", script]).current_dir(directory.path()).kill_on_drop(true);
        let mut child = command.spawn().expect("started");
        let pid = i32::try_from(child.id().expect("runs")).expect("a pid");
        (pid, tokio::spawn(async move { child.wait().await.expect("waited") }), directory)
    }

    /// Other tests run at the same time, and are siblings too.
    fn only(pid: i32) -> impl Fn() -> Vec<Sibling> {
        move || list().into_iter().filter(|sibling| sibling.pid == pid).collect()
    }

    #[tokio::test]
    async fn fault_89_siblings_are_told_and_awaited() {
        let (pid, ended, _directory) = sibling_that("while :; do read -t 60 <> <(:); done");
        while only(pid)().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(only(pid)()[0].command.contains("amarre -c while"));
        assert_eq!(end_those(only(pid), Duration::from_secs(20)).await, []);
        assert_eq!(ended.await.expect("joined").signal(), Some(15));
    }

    #[tokio::test]
    async fn fault_89_a_sibling_that_does_not_end_is_named() {
        let (pid, ended, directory) = sibling_that("trap '' TERM; > ready; while :; do read -t 60 <> <(:); done");
        while !directory.path().join("ready").exists() {
            tokio::task::yield_now().await;
        }
        let left = end_those(only(pid), Duration::from_millis(200)).await;
        assert_eq!(left.iter().map(|sibling| sibling.pid).collect::<Vec<_>>(), [pid]);
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("killed");
        ended.await.expect("joined");
    }

    #[test]
    fn this_process_is_not_its_own_sibling() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        assert!(!list().iter().any(|sibling| sibling.pid == me));
    }
}
