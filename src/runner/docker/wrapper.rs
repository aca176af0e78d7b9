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
//!   postmasters up to 17 an adopted child that dies by a signal is a crashed backend: they restart the whole
//!   database (tried on 17). So only the program itself is ever signalled, never its group, and its parent
//!   outlives it. What a program started by itself is left to end by its closed pipes; `pg_dump` and `psql`
//!   start nothing.
//!
//! # The two shapes
//!
//! Without input the program's wrapper owns the standard input as its switch. With input the standard input is
//! the program's, and a second exec, the guard, is the switch. On abort the guard ends the program *before* its
//! input is closed, so a half-fed program never takes the cut for the end.

/// Runs as the child that becomes the program, so `$$` is the program's and `$PPID` the wrapper's id.
macro_rules! launch {
    () => {
        r#"sh -c 'printf "%s %s %s\n" "$1" "$$" "$PPID"; shift; exec "$@"' amarre "$n" "$@""#
    };
}

/// Ends the program `$p`; its parent reaps it. (`sleep 0.1` is not POSIX: where it fails, 1 s does.)
macro_rules! end {
    () => {
        r#"kill -TERM "$p"; i=0
while kill -0 "$p" && [ "$i" -lt 50 ]; do sleep 0.1 || sleep 1; i=$((i+1)); done
[ "$i" -lt 50 ] || kill -KILL "$p"
"#
    };
}

/// `amarre NONCE PROGRAM…`, no input. Once the program is reaped nobody watches any more: its id may be another's.
pub const PLAIN: &str = concat!(
    "n=$1; shift; exec 3<&0 </dev/null\n",
    launch!(),
    " 3<&- & p=$!
( read -r a <&3; [ \"$a\" = end ] && exit 0
",
    end!(),
    r#"exit 0 ) >/dev/null 2>&1 & w=$!
wait "$p" 2>/dev/null; r=$?
{ kill "$w"; wait "$w"; } 2>/dev/null
printf '%s %03d\n' "$n" "$r"
read -r a <&3; exit 0"#
);

/// `amarre NONCE PROGRAM…`, standard input is the program's. Lives until the guard ends it; the last nap outlives
/// it, but holds no pipe that the engine would wait for.
pub const FED: &str = concat!(
    "n=$1; shift; exec 3<&0 </dev/null\n",
    launch!(),
    r#" <&3 3<&- & p=$!
exec 3<&-
wait "$p" 2>/dev/null; r=$?
trap 'exit 0' TERM
printf '%s %03d\n' "$n" "$r"
while :; do sleep 1 >/dev/null 2>&1 & wait "$!"; done"#
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

/// `amarre PROGRAM-ID WRAPPER-ID`: waits for the dead man's switch to have worked, and where it did not (a proxy
/// that keeps connections open) does its work. While the wrapper lives the program's id is nobody else's.
pub const SEE_TO_IT: &str = r#"i=0
while kill -0 "$2" && [ "$i" -lt 60 ]; do sleep 0.1 || sleep 1; i=$((i+1)); done
kill -0 "$2" && kill -KILL "$1" && sleep 1 && kill -TERM "$2"
exit 0"#;

/// What the client says when it has read everything.
pub const FAREWELL: &[u8] = b"end\n";

/// What it says when the program shall end now. (Any word but `end` would do, and so would silence.)
pub const STOP: &[u8] = b"stop\n";
