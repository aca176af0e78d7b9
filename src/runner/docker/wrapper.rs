//! The shell around a program in a container, in POSIX `sh`. The program's words reach it as `"$@"`; nothing
//! is ever spliced into these scripts.
//!
//! # What it is for
//!
//! - **The end is never lost.** After the program the wrapper prints a sentinel with the exit code, and lives
//!   on until the client says that it has read it: the engine closes the pipes of a process 2 s after its end,
//!   read or not (`docs/ARCHITECTURE.md`).
//! - **A client that dies ends the program.** The engine closes the standard input of an exec when its
//!   connection ends (Engine 20.10: at once, also after `kill -9` of the client). That is the dead man's switch:
//!   the word `end` and then end of file is a farewell, end of file alone is a death.
//! - **The program is reaped by the wrapper, always.** In the official images PID 1 is the postmaster, and to
//!   postmasters up to 17 an adopted child that dies by a signal, or ends with any code but 0 and 1, is a crashed backend: they
//!   restart the whole database (tried on 17; `CleanupBackend`). So only the program itself is ever signalled, never its group, its
//!   parent outlives it, and who may outlive a parent ends with 0. What a program started by itself is left to end by its closed pipes: `pg_dumpall`
//!   begins with a shell of its own (`pg_dump -V`), which must get an error from its pipe then, not SIGPIPE. The same holds for the
//!   parts of these scripts, which outlive one another when the client dies: so all of it ignores SIGPIPE ([`NO_SIGPIPE`]).
//!
//! # The shapes
//!
//! Without input, or with little, the program's wrapper owns the standard input as its switch. With more input the standard
//! input is the program's, and a second exec, the guard, is the switch. On abort the guard ends the program *before* its
//! input is closed, so a half-fed program never takes the cut for the end.
//!
//! On the fast lane the bulk of the bytes goes through a FIFO in a directory that both containers mount, and the standard
//! input is the switch in both directions: no guard. The wrapper looks for the FIFO in the directories it is told, by its
//! random name; where it finds none, or may not open it, it says so in its first line and starts nothing. That what it
//! opened is the FIFO that was made is proven by the nonce, which goes through it before anything else. Of an input it keeps
//! a writing end of its own until it is told that the input has ended: a client that is killed is not an end of input.

/// Begins every script around a program; the parts of the script, the program and what that starts inherit it. A pipe that is
/// closed is an error to them, not a signal: each may outlive its parent, and must not die by one then.
pub const NO_SIGPIPE: &str = "trap '' PIPE\n";

/// Runs as the child that becomes the program, so `$$` is the program's and `$PPID` the wrapper's id.
macro_rules! launch {
    () => {
        r#"sh -c 'printf "%s %s %s\n" "$1" "$$" "$PPID"; shift; exec "$@"' amarre "$n" "$@""#
    };
}

/// Ends the program `$p`, and waits until its parent has reaped it: that may be ended next, and must not leave it behind.
/// (`sleep 0.1` is not POSIX: where it fails, 1 s does.)
macro_rules! end {
    () => {
        r#"kill -TERM "$p"; i=0
while kill -0 "$p" && [ "$i" -lt 50 ]; do sleep 0.1 || sleep 1; i=$((i+1)); done
[ "$i" -lt 50 ] || kill -KILL "$p"
while kill -0 "$p" && [ "$i" -lt 150 ]; do sleep 0.1 || sleep 1; i=$((i+1)); done
"#
    };
}

/// Ends the program `$p` when the client goes without a farewell; reaps it, and then nobody watches any more: its id may be
/// another's. Prints the sentinel.
macro_rules! watched {
    () => {
        concat!(
            "( trap 'exit 0' TERM; read -r a <&3; [ \"$a\" = end ] && exit 0\n",
            end!(),
            r#"exit 0 ) >/dev/null 2>&1 & w=$!
wait "$p" 2>/dev/null; r=$?
{ kill "$w"; wait "$w"; } 2>/dev/null
printf '%s %03d\n' "$n" "$r""#
        )
    };
}

/// `amarre NONCE PROGRAM…`, no input.
pub const PLAIN: &str =
    concat!("n=$1; shift; exec 3<&0 </dev/null\n", launch!(), " 3<&- & p=$!\n", watched!(), "\nread -r a <&3; exit 0");

/// The same with a little input, in `AMARRE_INPUT`, so that the standard input stays the switch and no guard is needed: each
/// exec costs a tenth of a second, and most programs are questions. The environment is not published, arguments are.
pub const TOLD: &str = concat!(
    r#"n=$1 i=$AMARRE_INPUT; unset AMARRE_INPUT; shift; exec 3<&0 </dev/null
printf '%s' "$i" | { exec 4<&0 </dev/null
"#,
    launch!(),
    r#" <&4 3<&- 4<&- & p=$!
exec 4<&-
"#,
    watched!(),
    r#"; }
read -r a <&3; exit 0"#
);

/// The variable that [`TOLD`] reads, and the most that it may hold: a pipe takes that much without a reader.
pub const TOLD_INPUT: (&str, usize) = ("AMARRE_INPUT", 32 * 1024);

/// The same for much output. `pg_dump` writes 4 KiB at a time into a pipe, and the engine's shim and daemon copy, frame and
/// pass on each piece that they find there: measured, that costs them more than twice what the dump itself costs. `dd`
/// puts pieces together before they see them. Nothing but what it was given is read from it: the first line goes around it, the
/// sentinel through it, behind the last byte. Where there is no `dd`, the pieces stay small.
pub const BULK: &str = concat!(
    r#"n=$1; shift; exec 3<&0 4>&1 </dev/null
gather() { exec dd ibs=65536 obs=262144 2>/dev/null; }
command -v dd >/dev/null 2>&1 || gather() { exec cat; }
{ sh -c 'printf "%s %s %s\n" "$1" "$$" "$2" >&4; shift 2; exec "$@" 4>&-' amarre "$n" "$$" "$@" 3<&- & p=$!
exec 4>&-
"#,
    watched!(),
    r#"
} | ( exec 3<&- 4>&-; gather )
read -r a <&3; exit 0"#
);

/// `amarre NONCE PROGRAM…`, standard input is the program's. Lives until the guard ends it, or for an hour where that
/// never heard of it; the last nap outlives it, but holds no pipe that the engine would wait for.
pub const FED: &str = concat!(
    "n=$1; shift; exec 3<&0 </dev/null\n",
    launch!(),
    r#" <&3 3<&- & p=$!
exec 3<&-
wait "$p" 2>/dev/null; r=$?
trap 'exit 0' TERM
printf '%s %03d\n' "$n" "$r"
i=0; while [ "$i" -lt 3600 ]; do sleep 1 >/dev/null 2>&1 & wait "$!"; i=$((i+1)); done"#
);

/// `amarre`: reads `PROGRAM-ID WRAPPER-ID`, then `end` or end of file.
pub const GUARD: &str = concat!(
    r#"read -r p w || exit 0
read -r a
if [ "$a" != end ]; then
"#,
    end!(),
    r#"fi
kill -TERM "$w"
exit 0"#
);

/// Finds the FIFO `$x` in the directories before `--`. While it is opened (which may wait for ever, where somebody replaced it)
/// `$o` ends this shell when the client goes. So it is opened by this shell itself: a child of it would wait on. (`true` is no special
/// built-in, so where it cannot open anything it only fails; POSIX, 2.8.1.)
macro_rules! look {
    () => {
        r#"n=$1 x=$2 f=; shift 2; exec 3<&0 </dev/null
while [ "$1" != -- ]; do [ -z "$f" ] && [ -p "$1/$x" ] && [ ! -L "$1/$x" ] && f=$1/$x; shift; done; shift
( trap 'exit 0' TERM; read -r a <&3; [ "$a" = end ] || kill -TERM "$$" ) >/dev/null 2>&1 & o=$!
met() { { kill "$o"; wait "$o"; } 2>/dev/null; }
no() { met; printf '%s %s\n' "$n" "$*"; read -r a <&3; exit 0; }
[ -n "$f" ] || no absent
g=$(id -g)
refused() { [ -n "$g" ] || no absent; no refused "$g"; }
"#
    };
}

/// `amarre NONCE NAME DIRECTORY… -- PROGRAM…`: the output leaves through the FIFO `NAME`.
///
/// Where there is `nice` the program makes way. `pg_dump` is woken for each 8 KiB of its server, and each time it takes the processor
/// from it: measured on two cores with zstd, all that came to an eighth of the time of a backup. The server's own work, and so
/// the application's, comes first.
pub const LANE_OUT: &str = concat!(
    look!(),
    r#"{ true 4>"$f"; } 2>/dev/null || { chgrp -h "$g" "$f" && true 4>"$f"; } 2>/dev/null || refused
exec 4>"$f"; printf '%s\n' "$n" >&4; met
command -v nice >/dev/null 2>&1 && set -- nice -n 10 "$@"
sh -c 'printf "%s %s %s\n" "$1" "$$" "$PPID"; shift; exec "$@" >&4 4>&-' amarre "$n" "$@" 3<&- & p=$!
exec 4>&-
"#,
    watched!(),
    r#"
read -r a <&3; exit 0"#
);

/// The same the other way: the input comes through the FIFO, and ends when the client says `eof` and closes its end.
pub const LANE_IN: &str = concat!(
    look!(),
    r#"{ true 4<>"$f"; } 2>/dev/null || { chgrp -h "$g" "$f" && true 4<>"$f"; } 2>/dev/null || refused
exec 4<>"$f" 5<"$f"
read -r a <&5; [ "$a" = "$n" ] || no foreign
met
sh -c 'printf "%s %s %s\n" "$1" "$$" "$PPID"; shift; exec "$@" <&5 5<&-' amarre "$n" "$@" 3<&- 4>&- & p=$!
exec 5<&-
( trap 'exit 0' TERM; read -r a <&3; [ "$a" = eof ] && exec 4>&- && read -r a <&3
[ "$a" = end ] && exit 0
"#,
    end!(),
    r#"exit 0 ) >/dev/null 2>&1 & w=$!
exec 4>&-
wait "$p" 2>/dev/null; r=$?
{ kill "$w"; wait "$w"; } 2>/dev/null
printf '%s %03d\n' "$n" "$r"
while read -r a <&3; do [ "$a" = end ] && break; done; exit 0"#
);

/// `amarre GROUP NAME DIRECTORY…`, as root: lets the group of the container's user use the FIFO.
pub const LANE_GROUP: &str = r#"g=$1 x=$2; shift 2
for d; do [ -p "$d/$x" ] && [ ! -L "$d/$x" ] && exec chgrp -h "$g" "$d/$x"; done; exit 1"#;

/// What the client of [`LANE_IN`] says after it has closed its end.
pub const INPUT_ENDED: &[u8] = b"eof\n";

/// `amarre PROGRAM-ID WRAPPER-ID NONCE`: waits for the dead man's switch to have worked, and where it did not (a proxy
/// that keeps connections open) does its work. While the wrapper lives the program's id is nobody else's; that it is the
/// wrapper who lives, and not somebody who got its id after the container was started again, is told by the nonce among its words.
pub const SEE_TO_IT: &str = r#"i=0
ours() { kill -0 "$1" && grep -qs -- "$2" "/proc/$1/cmdline"; }
while ours "$2" "$3" && [ "$i" -lt 60 ]; do sleep 0.1 || sleep 1; i=$((i+1)); done
ours "$2" "$3" || exit 0
kill -KILL "$1"; i=0
while kill -0 "$1" && [ "$i" -lt 100 ]; do sleep 0.1 || sleep 1; i=$((i+1)); done
ours "$2" "$3" && kill -TERM "$2"
exit 0"#;

/// What the client says when it has read everything.
pub const FAREWELL: &[u8] = b"end\n";

/// What it says when the program shall end now. (Any word but `end` would do, and so would silence.)
pub const STOP: &[u8] = b"stop\n";
