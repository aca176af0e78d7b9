//! A process that is killed by a fault of its own leaves no picture of its memory: secrets are in it (fault 86).

use nix::sys::resource::{Resource, setrlimit};

/// Too small for a file, and what keeps the kernel from handing the memory to a program (core(5): 0 does not).
const NONE: u64 = 1;

/// Holds for this process and all that it starts. Where it is refused what was set before it holds.
pub fn no_core() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, NONE, NONE) {
        tracing::debug!(%error, "core");
    }
}
