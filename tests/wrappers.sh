#!/usr/bin/env bash
# The wrapper scripts, with a docker program and an amarre program that only tell what they were given: what is found
# first, that arguments and exit code arrive unchanged, and when a terminal is asked for.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/repository/scripts"
cp "$root"/scripts/{amarre,backup,restore,test-backup-setup,check-backup-alert}.sh "$work/repository/scripts/"
scripts=$work/repository/scripts
failures=0

# sidecar running|absent
sidecar() {
  cat >"$work/bin/docker" <<SCRIPT
#!/bin/sh
case " \$* " in
  *' ps '*) [ $1 = running ] && echo 0123456789ab; exit 0 ;;
esac
printf 'docker'; printf ' [%s]' "\$@"; printf ' %s\n' "\$(basename "\$COMPOSE_FILE")"
exit 6
SCRIPT
  chmod +x "$work/bin/docker"
}

program() {
  printf '#!/bin/sh\nprintf amarre; printf " [%%s]" "$@"; echo\nexit 3\n' >"$work/bin/amarre"
  chmod +x "$work/bin/amarre"
}

# expect CODE OUTPUT COMMAND…
expect() {
  local code=0 output expected_code=$1 expected=$2
  shift 2
  output=$(PATH=$work/bin:/usr/bin:/bin "$@" 2>&1 </dev/null) || code=$?
  if [ "$code" -ne "$expected_code" ] || [ "$output" != "$expected" ]; then
    printf '%s\n  expected %s: %s\n  got %s: %s\n' "$*" "$expected_code" "$expected" "$code" "$output" >&2
    failures=$((failures + 1))
  fi
}

in_sidecar='docker [compose] [--profile] [backup] [exec] [-T] [backup-cron] [amarre]'

sidecar running
program
# shellcheck disable=SC2016 # a name that no shell may touch
odd='a b"$(x)'
expect 6 "$in_sidecar [backup] [--upload-s3] docker-compose.prod.yml" "$scripts/backup.sh" --upload-s3
expect 6 "$in_sidecar [restore] [$odd] docker-compose.prod.yml" "$scripts/restore.sh" "$odd"
expect 6 "$in_sidecar [doctor] docker-compose.prod.yml" "$scripts/test-backup-setup.sh"
expect 6 "$in_sidecar [health] docker-compose.prod.yml" "$scripts/check-backup-alert.sh"
expect 6 "$in_sidecar [backup] other.yml" env COMPOSE_FILE=other.yml "$scripts/backup.sh"

# At a terminal `restore` gets one even where its output goes elsewhere; `backup` only where both ends are one.
if command -v script >/dev/null; then
  at_terminal() { PATH=$work/bin:$PATH script -qec "$1" /dev/null </dev/null | tr -d '\r'; }
  expect_at_terminal() {
    local output
    output=$(at_terminal "$2" || true)
    [ "$output" = "$1" ] || { printf 'at a terminal: %s\n  got %s\n' "$2" "$output" >&2; failures=$((failures + 1)); }
  }
  expect_at_terminal 'docker [compose] [--profile] [backup] [exec] [backup-cron] [amarre] [restore] docker-compose.prod.yml' \
    "$scripts/restore.sh | cat"
  expect_at_terminal "$in_sidecar [backup] docker-compose.prod.yml" "$scripts/backup.sh | cat"
  expect_at_terminal 'docker [compose] [--profile] [backup] [exec] [backup-cron] [amarre] [backup] docker-compose.prod.yml' \
    "$scripts/backup.sh"
fi

sidecar absent
expect 3 'amarre [restore] [--latest]' "$scripts/restore.sh" --latest

rm "$work/bin/amarre"
expect 1 "amarre.sh: neither a running sidecar (service backup-cron of $work/repository/docker-compose.prod.yml) nor the program amarre was found.
Start the sidecar: docker compose -f $work/repository/docker-compose.prod.yml --profile backup up -d" "$scripts/backup.sh"

[ "$failures" -eq 0 ] && echo 'wrappers: all as expected'
