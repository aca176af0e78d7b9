#!/usr/bin/env bash
# Everything that must hold: format, lints, scripts, images, unit tests and end-to-end tests on real containers.
# The last line is `N passed, N failed, N skipped`; the exit code is not zero if anything failed.
#
#   scripts/test.sh [FILTER…]      FILTER: handed to the test runner; then only the tests run, not the other checks
#
# What the tests find in their environment, each only where the machine has it (a test that misses what it needs skips
# itself: it appends a line to the file AMARRE_SKIPPED_LOG names, and returns; that line is counted here as skipped):
#
#   AMARRE_TEST_PG17, AMARRE_TEST_PG15             running PostgreSQL containers of this run (max_connections 200,
#   AMARRE_TEST_PG_USER, AMARRE_TEST_PG_PASSWORD   max_prepared_transactions 5, wal_level logical), their superuser
#   AMARRE_TEST_PG_IMAGE_17, AMARRE_TEST_PG_IMAGE_15   images to start more of them from
#   AMARRE_TEST_LANE_DIR       directory that these containers mount too, at /lane and elsewhere: the fast lane
#   AMARRE_TEST_VARIANT        `fifo`, `zstd`, …, between commas: how the end-to-end tests make their backups (`zstd` wants that
#                              program, which is installed here)
#   AMARRE_TEST_BASE_IMAGE     the small image with a shell that the sidecar's image is built on
#   AMARRE_TEST_IMAGE          the sidecar's image with a release binary
#   AMARRE_TEST_COMPOSE=1      `docker compose` v2 works
#   AMARRE_TEST_PG_BIN         directory of a local server's programs (initdb, pg_ctl, psql, pg_dump)
#   AMARRE_TEST_SUFFIX         what the names of this run's containers and projects end in, so that runs can coexist
#
# Settings: AMARRE_TEST_NO_SOURCE_IMAGE=1 makes the image of a binary that cargo builds here, which a second run finds in target/,
# and not from source inside Docker.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$AMARRE_ROOT"

readonly TESTBED=scripts/testbed.sh
export AMARRE_TEST_SUFFIX=${AMARRE_TEST_SUFFIX:--$$}
PASSED=0 FAILED=0 SKIPPED=0
FAILURES=''
WORK=$(mktemp -d "${TMPDIR:-/tmp}/amarre-test.XXXXXX")
export AMARRE_SKIPPED_LOG=$WORK/skipped

# --- counting -----------------------------------------------------------------------------------------------------

# check NAME COMMAND…: one check, counted.
check() {
  local name=$1 code=0 start=$SECONDS
  shift
  say "== $name"
  # Not `|| code=$?`: that would take the -e from everything inside.
  set +e
  (set -e; "$@")
  code=$?
  set -e
  case $code in
    0) PASSED=$((PASSED + 1)) ;;
    "$CANNOT") skip "$name" ;;
    *) FAILED=$((FAILED + 1)) FAILURES+="  $name"$'\n' ;;
  esac
  say "== $name: exit code $code after $((SECONDS - start)) s"
}

skip() {
  SKIPPED=$((SKIPPED + 1))
  say "== $1: skipped"
}

# --- checks of the files ------------------------------------------------------------------------------------------

shell_files() { git ls-files -co --exclude-standard -- '*.sh' .ci/run; }

check_shell() {
  have shellcheck || { is_root && apt_install shellcheck; } || cannot 'shellcheck is not installed'
  shell_files | xargs shellcheck -x
}

check_deny() {
  cargo deny --version >/dev/null 2>&1 || cannot 'cargo-deny is not installed'
  cargo deny --all-features check bans licenses sources
  # The advisories are fetched; the rest holds without a network.
  if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --all-features check advisories
  else
    say 'the advisories cannot be fetched here: not checked'
  fi
}

# The image's toolchain and the repository's are written in two files.
check_toolchain_tag() {
  local channel tag
  channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
  tag=$(sed -n 's/^ARG RUST_IMAGE=rust://p' docker/backup-cron/Dockerfile)
  [ "${tag%%-*}" = "$channel" ] || fail "the Dockerfile builds with Rust $tag, rust-toolchain.toml says $channel"
}

# --- images and Compose -------------------------------------------------------------------------------------------

check_compose_file() {
  local services
  export ENV_FILE=$AMARRE_ROOT/.env.production.example
  services=$(docker compose -f docker-compose.prod.yml config --services | xargs)
  [ "$services" = db ] || fail "without the profile these start: $services"
  services=$(docker compose -f docker-compose.prod.yml --profile backup config --services | sort | xargs)
  [ "$services" = 'backup-cron db' ] || fail "with the profile these start: $services"
  services=$(docker compose -f docker-compose.prod.yml --profile s3-local config --services | sort | xargs)
  [ "$services" = 'db garage' ] || fail "with the profile s3-local these start: $services"
}

check_image_size() {
  local bytes
  bytes=$(docker image inspect -f '{{.Size}}' "$AMARRE_TEST_IMAGE")
  say "image size: $((bytes / 1000)) kB"
  [ "$bytes" -lt 30000000 ] || fail 'the image is over 30 MB'
}

# --- test bed -----------------------------------------------------------------------------------------------------

# What the tests find in their environment goes into a file as soon as it is there: the checks below run in subshells.
# What this machine cannot have stays unset.
give() { printf 'export %s=%q\n' "$1" "$2" >>"$WORK/environment"; }

bed_engine() {
  docker info >/dev/null 2>&1 || touch "$WORK/started-engine"
  "$TESTBED" engine || { rm -f "$WORK/started-engine"; cannot 'no engine: the tests that need containers skip themselves'; }
}

bed_compose() {
  "$TESTBED" compose
  give AMARRE_TEST_COMPOSE 1
}

bed_databases() {
  local major image
  "$TESTBED" base-image
  give AMARRE_TEST_BASE_IMAGE "$(sed -n 's/^FROM \(alpine:.*\)/\1/p' docker/backup-cron/Dockerfile)"
  for major in 17 15; do
    image=$("$TESTBED" postgres-image "$major")
    give "AMARRE_TEST_PG_IMAGE_$major" "$image"
  done
  "$TESTBED" up >"$WORK/up"
  cat "$WORK/up" >>"$WORK/environment"
}

# From source inside Docker, as its users build it; the binary in it is the one that the checks of scripts use.
bed_sidecar_image() {
  local how=source-image
  # Whoever wants a few tests has no time for it.
  [ -z "${AMARRE_TEST_NO_SOURCE_IMAGE:-}$FILTERED" ] || how=sidecar-image
  "$TESTBED" "$how" "amarre:test$AMARRE_TEST_SUFFIX"
  docker run --rm "amarre:test$AMARRE_TEST_SUFFIX" amarre --version
  give AMARRE_TEST_IMAGE "amarre:test$AMARRE_TEST_SUFFIX"
}

bed_local_server() {
  local directory
  directory=$("$TESTBED" postgres-local)
  give AMARRE_TEST_PG_BIN "$directory"
}

# What is packed with zstd is also tested by those whose format it is.
bed_zstd() { have zstd || apt_install zstd; }

# Shells that completion is tried in, and what lints manual pages.
bed_shells() {
  local missing=() program
  for program in zsh fish; do have "$program" || missing+=("$program"); done
  have groff || missing+=(groff-base)
  [ "${#missing[@]}" -eq 0 ] || apt_install "${missing[@]}"
}

prepare() {
  : >"$WORK/environment"
  check 'test bed: engine' bed_engine
  if docker info >/dev/null 2>&1; then
    check 'test bed: compose' bed_compose
    check 'test bed: databases' bed_databases
    check 'test bed: sidecar image' bed_sidecar_image
  fi
  check 'test bed: local server' bed_local_server
  check 'test bed: zstd' bed_zstd
  check 'test bed: shells' bed_shells
  # shellcheck source=/dev/null
  . "$WORK/environment"
}

# Removes what this run started; may be called twice.
clean_up() {
  if docker info >/dev/null 2>&1; then
    "$TESTBED" down
    docker rmi "amarre:test$AMARRE_TEST_SUFFIX" >/dev/null 2>&1 || true
    check_nothing_left
  fi
  [ ! -e "$WORK/started-engine" ] || { "$TESTBED" engine-stop && rm "$WORK/started-engine"; }
}

check_nothing_left() {
  local left
  left=$({ docker ps -a --format '{{.Names}}' && docker volume ls -q && docker network ls --format '{{.Name}}'; } |
    { grep -E -e "$AMARRE_TEST_SUFFIX([-_]|\$)" || true; } | xargs)
  [ -z "$left" ] || fail "containers, volumes or networks of this run are left: $left"
}

stop() {
  local code=$?
  trap - EXIT INT TERM
  set +e
  clean_up
  rm -rf "$WORK"
  exit "$code"
}

# --- tests --------------------------------------------------------------------------------------------------------

# run_tests NAME COMMAND…: a test runner, whose own closing lines are added up.
run_tests() {
  local name=$1 code=0 log=$WORK/tests.log passed failed skipped
  shift
  say "== $name"
  "$@" 2>&1 | tee "$log" || code=$?
  # Colours would be in the way of the numbers.
  sed -i 's/\x1b\[[0-9;]*m//g' "$log"
  passed=$(total "$log" passed)
  failed=$(($(total "$log" failed) + $(total "$log" 'timed out') + $(total "$log" 'exec failed')))
  skipped=$(($(total "$log" skipped) + $(total "$log" ignored)))
  # A runner that failed without a failed test did not get as far as its tests.
  if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then
    failed=1
  fi
  [ "$failed" -eq 0 ] || FAILURES+="  $name"$'\n'
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
}

# The sum of `N WORD` over the closing lines of nextest (Summary) and cargo test (test result).
total() {
  { grep -E '^( *Summary \[|test result:)' "$1" || true; } | { grep -oE "[0-9]+ $2" || true; } |
    awk '{ n += $1 } END { print n + 0 }'
}

# End to end once more, in the other compressions and through the fast lane (`formats` and `lane` have each by itself).
readonly VARIANTS=('fifo,zstd' none)
readonly VARIANT_SUITES=(backup catalogue crash formats restore restore_foreign restore_settings undo)

# variant_tests VARIANT [ARGUMENT…]
variant_tests() {
  local variant=$1 suites=() suite
  shift
  for suite in "${VARIANT_SUITES[@]}"; do suites+=(--test "$suite"); done
  export AMARRE_TEST_VARIANT=$variant
  if cargo nextest --version >/dev/null 2>&1; then
    run_tests "tests ($variant)" cargo nextest run --locked --all-features --no-fail-fast "${suites[@]}" "$@"
  else
    run_tests "tests ($variant)" cargo test --locked --all-features --no-fail-fast "${suites[@]}" "$@"
  fi
  unset AMARRE_TEST_VARIANT
}

all_tests() {
  : >"$AMARRE_SKIPPED_LOG"
  if cargo nextest --version >/dev/null 2>&1; then
    run_tests tests cargo nextest run --locked --all-features --no-fail-fast "$@"
    # nextest leaves the examples in the documentation out.
    [ $# -gt 0 ] || run_tests 'documentation examples' cargo test --locked --all-features --doc --no-fail-fast
  else
    run_tests tests cargo test --locked --all-features --no-fail-fast "$@"
  fi
  local skipped variant
  if [ -n "${AMARRE_TEST_LANE_DIR:-}" ]; then
    for variant in "${VARIANTS[@]}"; do variant_tests "$variant" "$@"; done
  fi
  skipped=$(wc -l <"$AMARRE_SKIPPED_LOG")
  [ "$skipped" -eq 0 ] || { say 'tests that skipped themselves:'; sort "$AMARRE_SKIPPED_LOG" >&2; }
  PASSED=$((PASSED - skipped)) SKIPPED=$((SKIPPED + skipped))
}

# Not empty: only some of the tests are wanted.
FILTERED=''

main() {
  FILTERED=$*
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  if [ $# -eq 0 ]; then
    check format cargo fmt --check
    check toolchain-tag check_toolchain_tag
    check shell check_shell
    check wrappers tests/wrappers.sh
    check units tests/units.sh
    check dependencies check_deny
    check clippy cargo clippy --locked --all-targets --all-features -- -D warnings
  fi
  prepare
  if [ $# -eq 0 ] && [ -n "${AMARRE_TEST_COMPOSE:-}" ] && [ -n "${AMARRE_TEST_IMAGE:-}" ]; then
    check compose-file check_compose_file
    check image-size check_image_size
    [ -z "${AMARRE_TEST_NO_SOURCE_IMAGE:-}" ] || skip source-image
  fi
  all_tests "$@"
  # After the tests, which have built most of what it needs.
  if [ $# -eq 0 ]; then
    if [ -n "${AMARRE_TEST_IMAGE:-}" ]; then check cron tests/cron.sh target/image/amarre; else check cron tests/cron.sh; fi
    if [ -n "${AMARRE_TEST_IMAGE:-}" ]; then check bench tests/bench.sh target/image/amarre; else skip bench; fi
    if [ -n "${AMARRE_TEST_COMPOSE:-}" ] && [ -n "${AMARRE_TEST_IMAGE:-}" ]; then
      check documents env AMARRE_DOCS_BINARY=target/image/amarre tests/docs_run.sh
    else
      skip documents
    fi
  fi

  # Now and not only at exit: it can fail too, and the line with the counts is to be the last one.
  check 'clean up' clean_up
  say "took $SECONDS s"
  [ -z "$FAILURES" ] || printf 'failed:\n%s' "$FAILURES" >&2
  printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
  [ "$FAILED" -eq 0 ]
}

main "$@"
