#!/usr/bin/env bash
# Benchmarks: Amarre beside what people use instead, in one run, as ratios.
#
#   scripts/bench.sh COMMAND [OPTION…]
#
#   backup      backups, in turn: Amarre (fast lane, exec lane, local; gzip and zstd), the pipeline of the replaced scripts,
#               pg_dump -Fc, -Fd -j2, | pigz -p2, | zstd -T2, and pg_dump > /dev/null
#   restore     restores: Amarre (fast lane, exec lane) into a database beside the live one, and gunzip | psql
#   verify      amarre verify beside gunzip -t, of the same file
#   s3          backups that are uploaded while they are made, beside a backup and `aws s3 cp` after it, and over a slow link; needs root
#   compress    CPU seconds per GB of SQL: gzip -6, pigz, zstd, and the whole of the sidecar
#   memory      the sidecar's highest memory: this database, a row of 200 MB
#   idle        what a supervisor that has nothing to do takes: memory, and CPU over 30 minutes
#   shapes      a backup beside bare pg_dump, of many small tables and of many narrow rows, or of what --shape names
#   micro       the parts of the stream alone (cargo bench)
#   all         all of these, one after the other; about an hour on two cores. What fails does not stop the others
#   make-db     only makes the database; prints the container's name and the database's
#   roundtrip   backup, spoil, restore: pg_dump before and after must be equal; fails above 64 MiB of memory
#   remove-db   removes the container
#
#   --pairs N        rounds after a warm-up (5); --no-warm-up leaves that out
#   --scale N        the database N times as large (1 is 0.9 GB)
#   --shape S        another database: wide, small-rows, blobs, many-tables
#   --large          all: also the memory for a database ten times as large (25 GB of disk, half an hour)
#   --only WORDS     only contenders whose name has one of these words: 'script fast'
#   --container C    a running PostgreSQL of yours (make-db, roundtrip): then no fast lane
#   --binary PATH    this binary; else the release binary is built
#   --quick          small databases, one round: whether the benchmark itself works
#   --report FILE    the report, in which a command replaces its own section and bars: docs/BENCHMARKS.md, or none with
#                    --only or --quick
#
# In each round every contender runs once, one after the other; a ratio compares two runs of one round, so what else the
# machine does weighs on both. What a run made is compared with the same dump before its time counts; a contender whose
# output differs, or that fails, is out, and the exit code is 1.
# AMARRE_TEST_SUFFIX is added to the name of the database's container, so that two runs do not share it.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/bench/database.sh
. "$AMARRE_ROOT/scripts/bench/database.sh"
# shellcheck source=scripts/bench/contenders.sh
. "$AMARRE_ROOT/scripts/bench/contenders.sh"
# shellcheck source=scripts/bench/s3.sh
. "$AMARRE_ROOT/scripts/bench/s3.sh"
# shellcheck source=scripts/bench/report.sh
. "$AMARRE_ROOT/scripts/bench/report.sh"

PAIRS=5 WARM_UP=1 SCALE=1 FACTOR=1 SHAPE='' BINARY='' CONTAINER='' ONLY='' QUICK='' LARGE='' REPORT=''
LANE=$AMARRE_CACHE/bench-lane${AMARRE_TEST_SUFFIX:-}
FAILURES=''
# Of the one part that runs: its command line, where its results go, when it started, what is said of its rounds.
KEY='' RESULTS='' STARTED=0 LOAD='' ROUNDS=''

prepare() {
  local program
  [ -n "$BINARY" ] || BINARY=$("$AMARRE_ROOT/scripts/testbed.sh" binary | tail -n 1)
  [ -x "$BINARY" ] || fail "no program $BINARY"
  BINARY=$(realpath "$BINARY")
  for program in time zstd; do [ -n "$(type -P "$program")" ] || apt_install "$program"; done
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/amarre-bench.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # A contender that takes longer hangs.
  LIMIT=$(awk -v scale="$SCALE" 'BEGIN { print 900 * (scale < 1 ? 1 : scale) }')
  connect
  take_programs
  OUT=$WORK/out SOURCE='' EXPECTED='' DATABASE=''
  export BINARY WORK OUT SOURCE EXPECTED CONTAINER LANE PROGRAMS DIRECTORY_DUMP SIDE
  export BACKUP_DIR=$WORK/backups BACKUP_LOG_FILE=$WORK/log BACKUP_NAME=bench ENV_FILE=/dev/null BACKUP_LANG=en
  mkdir -m 0700 "$BACKUP_DIR"
}

# part NAME: in a shell of its own, so that the others go on whatever happens in it.
part() {
  local code start=$SECONDS
  KEY="$1${SHAPE:+ --shape $SHAPE}"
  [ "$SCALE" = 1 ] || KEY+=" --scale $SCALE"
  say "== $KEY"
  # Not `|| code=$?`: that would take the -e from everything inside.
  set +e
  (set -e; begin; "part_$1"; [ ! -s "$WORK/failed" ])
  code=$?
  set -e
  say "== $KEY: exit code $code after $((SECONDS - start)) s"
  [ "$code" = 0 ] || FAILURES+="  $KEY"$'\n'
}

begin() {
  RESULTS=$WORK/results STARTED=$SECONDS LOAD=$(cut -d ' ' -f 1 /proc/loadavg)
  ROUNDS="$PAIRS round$([ "$PAIRS" = 1 ] || echo s)$([ "$WARM_UP" = 0 ] || echo ' after a warm-up')"
  local file
  for file in "$RESULTS" "$WORK"/{failed,left-out,commands}; do : >"$file"; done
}

# has PROGRAM CONTENDER: installs it, or says in the report that the contender is left out.
has() {
  have "$1" || (apt_install "$1") || { echo "\`$2\`, since $1 is not installed" >>"$WORK/left-out"; return 1; }
}

# --- the parts ----------------------------------------------------------------------------------------------------

part_backup() {
  make_db
  expect
  local contenders=('script pipeline' 'amarre fast gzip' 'amarre fast zstd' 'amarre exec gzip' 'amarre exec zstd' 'amarre local gzip'
    'amarre local zstd' 'pg_dump >/dev/null' 'pg_dump -Fc' 'pg_dump -Fd -j2' 'pg_dump | zstd -T2')
  if has pigz 'pg_dump | pigz -p2'; then contenders+=('pg_dump | pigz -p2'); fi
  rounds "${contenders[@]}"
  section "Backup, $(megabytes)" speed,wall,cpu,machine,size,sizes,memory 'script pipeline' \
    "Amarre's times include the proof (everything read back, unpacked, compared) and files that are durable; the others' do not."
}

megabytes() { echo "$((PLAIN_BYTES / 1000000)) MB of SQL"; }

part_restore() {
  make_db
  expect
  keep_backup
  rounds 'script restore' 'amarre restore fast' 'amarre restore exec'
  drop_db "$SIDE"
  section "Restore into a database beside the live one, $(megabytes)" speed,wall,cpu,machine,memory 'script restore' \
    'Of a gzip backup. Amarre reads the file whole first, and dumps what it loaded to compare it with the backup; the scripts do neither.'
}

part_verify() {
  make_db
  expect
  keep_backup
  rounds 'gunzip -t' 'amarre verify'
  section "Verify of a gzip backup, $(megabytes)" speed,wall,cpu,machine,memory 'gunzip -t' \
    "Amarre's includes the counts and digests of every table."
}

part_s3() {
  s3_up
  make_db
  expect
  rounds 'amarre gzip, aws s3 cp' 'amarre s3 gzip' 'amarre fast gzip' "amarre gzip, aws s3 cp $S3_MEGABYTES MB/s" "amarre s3 gzip $S3_MEGABYTES MB/s"
  section "Backup with a copy in S3, $(megabytes)" slow,wall,dump,late,cpu,machine,size,memory 'amarre gzip, aws s3 cp' \
    "$S3_VERSIONS, on the same cores. Each object was downloaded by awscli, and its sha256 is the manifest's." \
    "The dump is over when \`pg_dump\` has ended (the stage \`read\` of the timings); the end is counted from size / speed of the link on."
}

# A gzip backup that stays for this part, in SOURCE.
keep_backup() {
  if ! run 0 'amarre fast gzip' || ! check_output 'amarre fast gzip'; then fail 'there is no backup to read'; fi
  SOURCE=$(backup_file)
}

part_compress() {
  make_db
  expect
  # CPU seconds vary little: fewer rounds do, and none to warm up.
  PAIRS=$((PAIRS > 3 ? 3 : PAIRS)) WARM_UP=0 ROUNDS="at most 3 rounds, no warm-up"
  local contenders=('gzip -6' 'amarre fast gzip' 'amarre fast zstd' 'zstd -1' 'zstd -3 -T2')
  if has pigz 'pigz -6 -p2'; then contenders+=('pigz -6 -p2'); fi
  rounds "${contenders[@]}"
  section "CPU seconds, $(megabytes)" cpus,per_gb,wall,size,sizes 'gzip -6' \
    "Amarre's are those of the whole sidecar: reading, inspecting, hashing, compressing, writing, reading back, unpacking, comparing."
}

part_memory() {
  local lane format lanes='fast exec'
  # The lanes are told apart by the usual database.
  [ "$SCALE" = 1 ] || lanes=fast
  PAIRS=1 WARM_UP=0 ROUNDS='one run each'
  make_db
  expect
  for lane in $lanes; do
    for format in gzip zstd; do memory_run "amarre $lane $format"; done
  done
  if [ "$KEY" = memory ]; then
    SHAPE=blobs
    make_db
    expect
    for format in gzip zstd; do memory_run "amarre fast $format" "row of 200 MB, fast $format"; done
  fi
  section "Highest memory of the sidecar" memory,wall,size '' 'VmHWM of a whole backup; beside the row of 200 MB (bytea) that database has 500 large objects.'
}

memory_run() {
  local label=${2:-$1}
  if wanted "$label"; then run 1 "$1" "$label" || out "$label"; fi
}

# One look around is in it, every 15 minutes, and one at the server, every 30: as in real life.
part_idle() {
  local seconds=1800 settle=30 rest=300
  [ -z "$QUICK" ] || seconds=20 settle=3 rest=5
  PAIRS=1 WARM_UP=0 ROUNDS="$seconds s, from $settle s after its start on"
  make_db
  idle 'amarre supervise' "$seconds" "$settle"
  if is_root; then
    ROUNDS="$ROUNDS, and $rest s after a backup"
    s3_up
    idle "$AFTER_BACKUP" "$rest" "$settle"
  fi
  section 'A supervisor with nothing to do' idle,memory,wall '' \
    "Resident memory at the end; the first without a bucket or channels, the other when it has made a backup, copied it and told of it (without TLS)."
}

readonly AFTER_BACKUP='amarre supervise, after a backup'

# idle CONTENDER SECONDS SETTLE: with the environment of the image.
idle() {
  local name=$1 seconds=$2 settle=$3 more='' pid='' sink='' before after
  if [ "$name" = "$AFTER_BACKUP" ]; then
    have python3 || fail 'idle: no python3 here'
    python3 "$AMARRE_ROOT/tests/common/http_sink.py" 127.0.0.1 >"$WORK/sink" &
    sink=$!
    wait_until 20 test -s "$WORK/sink" || idle_failed 'no end for messages'
    more="S3_BACKUP_BUCKET='$S3_BUCKET' BACKUP_NOTIFY=webhook+http://127.0.0.1:$(head -n 1 "$WORK/sink")/told BACKUP_NOTIFY_LEVEL=success"
  fi
  rm -rf "${BACKUP_DIR:?}" && mkdir -m 0700 "$BACKUP_DIR"
  # What the one before has said is not this one's.
  rm -f "$WORK/supervise.log"
  bash -c "exec env $(lane fast) $(sed -n 's/^ENV \(MALLOC_.*\)/\1/p' "$AMARRE_ROOT/docker/backup-cron/Dockerfile") \
    BACKUP_LANG=en BACKUP_SCHEDULE='0 3 1 1 *' $more \"\$BINARY\" supervise" >"$WORK/supervise.log" 2>&1 &
  pid=$!
  if [ -n "$sink" ]; then
    wait_until 60 grep -q 'next backup' "$WORK/supervise.log" || idle_failed 'the supervisor does not start'
    kill -USR1 "$pid"
    wait_until 600 grep -q 'backups kept' "$WORK/supervise.log" || idle_failed 'no backup'
    wait_until 60 grep -q backup_done "$WORK/sink" || idle_failed 'nobody was told'
  fi
  sleep "$settle"
  before=$(own_ticks "$pid")
  sleep "$seconds"
  after=$(own_ticks "$pid")
  printf '1\t%s\t%s\t%s\t0\t0\t%s\t0\t0\n' "$name" "$seconds" \
    "$(awk -v ticks=$((after - before)) -v per="$(getconf CLK_TCK)" 'BEGIN { print ticks / per }')" \
    "$(awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status")" >>"$RESULTS"
  kill "$pid"
  wait "$pid" || { cat "$WORK/supervise.log" >&2; fail 'idle: the supervisor failed'; }
  if [ -n "$sink" ]; then
    kill "$sink"
    wait "$sink" || true
  fi
}

# Of what it started nothing stays.
idle_failed() {
  [ -z "$pid" ] || kill "$pid"
  [ -z "$sink" ] || kill "$sink"
  cat "$WORK/supervise.log" >&2
  fail "idle: $1"
}

# User and system time of a process so far, in ticks.
own_ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }

part_shapes() {
  make_db
  expect
  rounds 'pg_dump >/dev/null' 'amarre fast zstd' 'amarre fast gzip'
  section "Backup of the shape \`$SHAPE\`, $(megabytes)" slow,wall,cpu,machine,size,memory 'pg_dump >/dev/null'
}

part_micro() {
  local profile=() criterion=(--warm-up-time 1 --measurement-time 2)
  ROUNDS='ten samples each'
  # The profile of the tests: most of it is built already where they ran.
  [ -z "$QUICK" ] || profile=(--profile dev --all-features) criterion=(--quick '^(inspector|digest)/')
  (cd "$AMARRE_ROOT" && cargo bench --locked --bench dump ${profile[@]+"${profile[@]}"} -- "${criterion[@]}") | tee "$WORK/micro" >&2
  # As results: the time that 1 GB takes, at the least, middle and most of what criterion found. Percentages are comparisons
  # with an earlier run; a long name has a line of its own.
  awk '/%/ { next }
    NF == 1 { name = $1 }
    $2 == "time:" { name = $1 }
    $1 == "thrpt:" {
      gsub(/[][]/, "")
      for (r = 1; r <= 3; r++) {
        bytes = $(2 * r) * ($(2 * r + 1) == "GiB/s" ? 2 ^ 30 : $(2 * r + 1) == "MiB/s" ? 2 ^ 20 : 2 ^ 10)
        printf "%d\t%s\t%.6f\t0\t0\t1000000000\t0\t0\n", r, name, 1e9 / bytes
      } }' "$WORK/micro" >"$RESULTS"
  [ -s "$RESULTS" ] || fail 'cargo bench printed no figures'
  section 'The parts of the stream alone' rate '' "Over a generated dump with the proportions of the benchmark's, one core but for \`whole\`."
}

# --- from end to end ----------------------------------------------------------------------------------------------

roundtrip() {
  local lane=fast memory
  [ "$CONTAINER" = "$(own_name)" ] || lane='exec'
  make_db
  expect
  if ! run 0 "amarre $lane gzip" || ! check_output "amarre $lane gzip"; then fail 'roundtrip: the backup failed'; fi
  memory=$(said peak_rss_bytes)
  sql "$DATABASE" -c 'truncate docs' -c "update sites set nom = 'lost'"
  ! dump_of "$DATABASE" | normal | cmp -s - "$EXPECTED" || fail 'roundtrip: the database was not spoilt'
  bash -eo pipefail -c "$(lane "$lane") \"\$BINARY\" restore --latest --no-keep-old --yes-replace \"\$DATABASE\" --json >\"\$OUT.json\""
  dump_of "$DATABASE" | normal | cmp - "$EXPECTED" || fail 'roundtrip: pg_dump of the restored database differs'
  say 'roundtrip: pg_dump before and after are equal'
  for memory in "$memory" "$(said peak_rss_bytes)"; do
    say "roundtrip: peak memory $((memory / 1024)) KiB"
    [ "$memory" -le $((64 * 1024 * 1024)) ] || fail 'roundtrip: that is over 64 MiB'
  done
}

# --- command line ---------------------------------------------------------------------------------------------------

shapes() {
  local shape
  for shape in ${SHAPE:-many-tables small-rows}; do SHAPE=$shape part shapes; done
}

# What no bar is about, and what takes longest, comes last: each part writes its section when it ends.
all() {
  local name
  for name in backup verify compress memory; do part "$name"; done
  if is_root; then part s3; else say 's3 is left out: it needs root'; fi
  shapes
  for name in micro restore idle; do part "$name"; done
  if [ -n "$LARGE" ]; then
    SCALE=10
    part memory
  fi
}

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --pairs | --scale | --shape | --only | --container | --binary | --report) [ $# -gt 1 ] || fail "$1 needs a value (see --help)" ;;
    esac
    case $1 in
      --pairs) PAIRS=$2; shift ;;
      --scale) SCALE=$2; shift ;;
      --shape) SHAPE=$2; shift ;;
      --only) ONLY=$2; shift ;;
      --container) CONTAINER=$2; shift ;;
      --binary) BINARY=$2; shift ;;
      --report) REPORT=$2; shift ;;
      --large) LARGE=1 ;;
      --no-warm-up) WARM_UP=0 ;;
      --quick) QUICK=1 FACTOR=0.02 PAIRS=1 WARM_UP=0 ;;
      *) fail "unknown argument $1 (see --help)" ;;
    esac
    shift
  done
  # Neither is a measurement of what the report is about.
  if [ -z "$REPORT" ] && [ -z "$QUICK" ] && [ -z "$ONLY" ]; then REPORT=$AMARRE_ROOT/docs/BENCHMARKS.md; fi
}

main() {
  local command=${1:-} started=$SECONDS
  [ $# -eq 0 ] || shift
  options "$@"
  case $command in
    --help | -h | help) usage; return ;;
    remove-db) remove_db; return ;;
    make-db) connect; make_db; echo "$CONTAINER $DATABASE"; return ;;
    backup | restore | verify | s3 | compress | memory | idle | shapes | micro | all | roundtrip) ;;
    *) usage >&2; exit 2 ;;
  esac
  [ -z "$CONTAINER" ] || [ "$command" = roundtrip ] || fail "--container is for make-db and roundtrip: the others need a lane"
  prepare
  case $command in
    roundtrip | shapes | all) "$command" ;;
    *) part "$command" ;;
  esac
  say "took $((SECONDS - started)) s in all"
  [ -z "$REPORT" ] || [ "$command" = roundtrip ] || say "written: $REPORT"
  [ -z "$FAILURES" ] || { printf 'failed:\n%s' "$FAILURES" >&2; exit 1; }
  # The shell would read on: a file that was edited during the hour is another one by now.
  exit 0
}

main "$@"
