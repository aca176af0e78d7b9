//! Who asked for this run.

use std::io::IsTerminal as _;

use nix::unistd::getuid;

/// `command, uid 1000`, with `, terminal` where somebody sits before it.
#[must_use]
pub fn asked() -> String {
    let terminal = if std::io::stdin().is_terminal() { ", terminal" } else { "" };
    format!("command, uid {}{terminal}", getuid())
}
