# shellcheck shell=bash
# Shared by the scripts beside it: where things are, how they speak, how they lock. Sourced, never run.

# A command that fails inside $(…) ends the script like any other.
shopt -s inherit_errexit

AMARRE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
AMARRE_CACHE=${AMARRE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/amarre}
export AMARRE_ROOT AMARRE_CACHE

# Exit code of "this machine lacks something, and here is what to install": callers have another way then.
readonly CANNOT=3

# Data goes to standard output, everything a person reads to standard error.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "$*"; exit 1; }
cannot() { say "$*"; exit "$CANNOT"; }

have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# with_lock NAME COMMAND…: one at a time on this machine, so that two runs never make the same thing twice.
with_lock() {
  local name=$1
  shift
  mkdir -p "$AMARRE_CACHE/locks"
  (flock 9 && "$@") 9>"$AMARRE_CACHE/locks/$name"
}

# quietly NAME COMMAND…: the output goes to a log in the cache, and is shown only when the command fails.
quietly() {
  local log=$AMARRE_CACHE/logs/$1.log code=0
  shift
  mkdir -p "$AMARRE_CACHE/logs"
  "$@" >"$log" 2>&1 </dev/null || code=$?
  if [ "$code" -ne 0 ]; then
    tail -n 40 "$log" >&2
    say "failed with exit code $code: $* (whole output: $log)"
  fi
  return "$code"
}

# wait_until SECONDS COMMAND…: asks again until the condition itself holds, or the deadline has passed.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# apt_install PACKAGE…: needs root; the lists are fetched only when a package is not known yet.
apt_install() {
  is_root || cannot "not root: install $* first"
  have apt-get || cannot "no apt-get here: install $* first"
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  with_lock apt apt_install_locked "$@"
}

apt_install_locked() {
  # Lists that are missing or old name packages which the mirror no longer has: fetch them and try once more.
  apt_try "$@" || { quietly apt-update apt-get update && apt_try "$@"; } ||
    { say "apt-get could not install $* (see $AMARRE_CACHE/logs/apt-install.log)"; return 1; }
}

apt_try() {
  mkdir -p "$AMARRE_CACHE/logs"
  apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" \
    >"$AMARRE_CACHE/logs/apt-install.log" 2>&1 </dev/null 9>&-
}

# The Debian mirror that this system itself uses, so that no host is named here. AMARRE_DEBIAN_MIRROR overrides it.
debian_mirror() {
  local uri=${AMARRE_DEBIAN_MIRROR:-}
  [ -n "$uri" ] || uri=$(sed 's/#.*//' /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
    /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -oE 'https?://[^][:space:]]+/debian(/[0-9TZ]+)?/?([[:space:]]|$)' | head -n 1 | tr -d '[:space:]') || true
  [ -n "$uri" ] || cannot "no Debian mirror in apt's sources: set AMARRE_DEBIAN_MIRROR to one"
  printf '%s\n' "${uri%/}"
}

image_exists() { docker image inspect "$1" >/dev/null 2>&1; }
