#!/usr/bin/env bash
# Benchmarks: Amarre beside what people use instead, in one run, as ratios.
#
#   scripts/bench.sh COMMAND [OPTION…]
#
#   backup      backups, in turn: Amarre (fast lane, exec lane, local; gzip and zstd), the pipeline of the replaced scripts,
#               pg_dump -Fc, -Fd -j2, | pigz -p2, | zstd -T2, and pg_dump > /dev/null
#   restore     restores: Amarre (fast lane, exec lane) into a side database, and gunzip | psql
#   verify      amarre verify beside gunzip -t, of the same file
#   compress    CPU seconds per GB of SQL: gzip -6, pigz, zstd, and the whole of the sidecar
#   memory      the sidecar's highest memory: this database, ten times as large (with --large), a row of 200 MB
#   shapes      a backup beside bare pg_dump, of the database that --shape names
#   all         all of these; writes docs/BENCHMARKS.md
#   make-db     only makes the database; prints the container's name and the database's
#   roundtrip   backup, spoil, restore: pg_dump before and after must be equal; fails above 64 MiB of memory
#   remove-db   removes the container
#
#   --pairs N        rounds after a warm-up (5); --no-warm-up leaves that out
#   --scale N        the database N times as large (1 is 0.9 GB)
#   --shape S        another database: wide, small-rows, blobs, many-tables
#   --only WORDS     only contenders whose name has one of these words: 'script fast'
#   --container C    a running PostgreSQL of yours (make-db, roundtrip): then no fast lane
#   --binary PATH    this binary; else the release binary is built
#   --quick          a small database, one round: whether the benchmark itself works
#   --large          memory: also the database that is ten times as large
#   --report FILE    writes the report there (all: docs/BENCHMARKS.md)
#
# In each round every contender runs once, one after the other; a ratio compares two runs of one round, so what else the
# machine does weighs on both. What a run made is compared with the same dump before its time counts.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly CONTAINER_OF_OURS=amarre-bench-db
PAIRS=5 SCALE=1 SHAPE='' BINARY='' CONTAINER='' ONLY='' QUICK='' LARGE='' REPORT='' WARM_UP=1
LANE=$AMARRE_CACHE/bench-lane
# Set once the database is there.
DATABASE='' RESULTS='' WORK=''

# --- the database -------------------------------------------------------------------------------------------------

# sql DATABASE [ARGUMENT…]: as the superuser that the container's own variables name.
sql() {
  local database=$1
  shift
  # shellcheck disable=SC2016 # expanded in the container
  docker exec -i "$CONTAINER" sh -c 'exec psql -qAtX -v ON_ERROR_STOP=1 -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}" -d "$@"' \
    sh "$database" "$@"
}

# client PROGRAM…: a client program in the container, as that superuser.
client() {
  # shellcheck disable=SC2016 # expanded in the container
  docker exec "$CONTAINER" sh -c 'PGHOST=127.0.0.1 PGUSER=${POSTGRES_USER:-postgres} exec "$@"' sh "$@"
}

own_container() {
  local image
  CONTAINER=$CONTAINER_OF_OURS
  make_lane
  if [ "$(docker inspect -f '{{.State.Running}} {{range .Mounts}}{{.Source}} {{end}}' "$CONTAINER" 2>/dev/null |
    grep -c "^true .*$LANE ")" != 1 ]; then
    docker rm -fv "$CONTAINER" >/dev/null 2>&1 || true
    image=$("$AMARRE_ROOT/scripts/testbed.sh" engine compose postgres-image)
    docker run -d --name "$CONTAINER" --label amarre.bench=1 --shm-size 1g -v "$LANE:/lane" -e POSTGRES_USER=hub \
      -e POSTGRES_PASSWORD="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" -e POSTGRES_DB=hub_chantier "$image" >/dev/null
  fi
  wait_until 120 sql postgres -c 'select 1' || fail "$CONTAINER does not become ready"
}

# As the sidecar prepares it.
make_lane() {
  mkdir -p "$LANE"
  chmod 0711 "$LANE"
  ! is_root || chown 10001:10001 "$LANE"
}

# The statements that fill a database of this shape.
filling() {
  case $SHAPE in
    '')
      awk -v scale="$SCALE" 'function times(n) { return sprintf("%d", n * scale) }
        /^vacuum/ { next }
        { gsub(/4000000/, times(4000000)); gsub(/100000/, times(100000)); gsub(/1,5000\)/, "1," times(5000) ")"); print }' \
        "$AMARRE_ROOT/tests/data/bench-db.sql" ;;
    wide)
      awk 'BEGIN { for (t = 1; t <= 5; t++) { columns = ""; values = ""
        for (c = 1; c <= 200; c++) { type = c % 3 ? "int" : "text"; columns = columns (c > 1 ? ", " : "") "c" c " " type
          values = values (c > 1 ? ", " : "") (c % 3 ? "i * " c " % 100003" : "md5((i * " c ")::text)") }
        print "create table wide_" t " (" columns "); insert into wide_" t " select " values " from generate_series(1, 40000) i;" } }' ;;
    small-rows)
      echo 'create table narrow (id int, n smallint);'
      echo 'insert into narrow select i, i % 1000 from generate_series(1, 20000000) i;' ;;
    blobs)
      echo "create table big (id int, body bytea); insert into big select 1, decode(repeat('5a', 209715200), 'hex');"
      echo "select lo_from_bytea(0, decode(repeat(md5(i::text), 20000), 'hex')) from generate_series(1, 500) i;" ;;
    many-tables)
      # In pieces: one transaction would need a lock for each table.
      awk 'BEGIN { for (t = 1; t <= 10000; t++)
        print "create table t_" t " (id int primary key, name text); insert into t_" t " select i, md5(i::text) from generate_series(1, 10) i;" }' ;;
    *) fail "unknown shape $SHAPE: wide, small-rows, blobs or many-tables" ;;
  esac
}

make_db() {
  [ -n "$CONTAINER" ] || own_container
  DATABASE=bench
  [ "$SCALE" = 1 ] || DATABASE=bench_x${SCALE//./_}
  [ -z "$SHAPE" ] || DATABASE=bench_${SHAPE//-/_}
  # The comment comes last: where it is, the database is whole.
  if [ "$(sql postgres -c "select shobj_description(oid, 'pg_database') from pg_database where datname = '$DATABASE'")" != "$(made)" ]; then
    say "make-db: filling $DATABASE in $CONTAINER"
    sql postgres -c "drop database if exists \"$DATABASE\"" -c "create database \"$DATABASE\""
    filling | sql "$DATABASE" -f - >/dev/null
    sql "$DATABASE" -c 'vacuum analyze' -c "comment on database \"$DATABASE\" is '$(made)'"
  fi
  say "make-db: $DATABASE, $(sql "$DATABASE" -c 'select pg_size_pretty(pg_database_size(current_database()))')"
}

made() { printf 'benchmark %s' "${SHAPE:-$SCALE}"; }

# --- one run ------------------------------------------------------------------------------------------------------

prepare() {
  [ -n "$BINARY" ] || BINARY=$("$AMARRE_ROOT/scripts/testbed.sh" binary | tail -n 1)
  have /usr/bin/time || apt_install time
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/amarre-bench.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  RESULTS=$WORK/results
  : >"$RESULTS"
  export BACKUP_DIR=$WORK/backups BACKUP_LOG_FILE=$WORK/log BACKUP_NAME=bench ENV_FILE=/dev/null BACKUP_LANG=en
  mkdir -m 0700 "$BACKUP_DIR"
}

# amarre LANE COMPRESSION COMMAND…: with the settings for that lane.
amarre() {
  local lane=$1 compression=$2 user password address
  shift 2
  # shellcheck disable=SC2016 # expanded in the container
  user=$(docker exec "$CONTAINER" sh -c 'printf %s "${POSTGRES_USER:-postgres}"')
  set -- env POSTGRES_USER="$user" POSTGRES_DB="$DATABASE" BACKUP_COMPRESSION="$compression" "$BINARY" "$@"
  case $lane in
    fast) BACKUP_DB_CONTAINER=$CONTAINER BACKUP_LANE_DIR=$LANE "$@" ;;
    exec) BACKUP_DB_CONTAINER=$CONTAINER BACKUP_LANE_DIR=$WORK "$@" ;;
    local)
      address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$CONTAINER")
      # shellcheck disable=SC2016 # expanded in the container
      password=$(docker exec "$CONTAINER" sh -c 'printf %s "$POSTGRES_PASSWORD"')
      BACKUP_RUNNER=local BACKUP_DB_HOST=$address POSTGRES_PASSWORD=$password "$@" ;;
  esac
}

# Each writes what it makes to $OUT. In a subshell of its own, with -e and pipefail.
out_of() { # CONTENDER
  case $1 in
    'script pipeline') client pg_dump "$DATABASE" | gzip >"$OUT" ;;
    'amarre '*)
      # shellcheck disable=SC2086 # two words
      amarre ${1#amarre } backup --json >"$OUT.json" ;;
    'pg_dump -Fc') client pg_dump -Fc "$DATABASE" >"$OUT" ;;
    'pg_dump -Fd -j2') client pg_dump -Fd -j2 -f /tmp/amarre-bench.dir "$DATABASE" ;;
    'pg_dump | pigz -p2') client pg_dump "$DATABASE" | pigz -p2 >"$OUT" ;;
    'pg_dump | zstd -T2') client pg_dump "$DATABASE" | zstd -q -T2 -o "$OUT" ;;
    'pg_dump >/dev/null') client pg_dump -f /dev/null "$DATABASE" ;;
    'script restore') gunzip -c "$SOURCE" | docker exec -i "$CONTAINER" psql -qX -o /dev/null -U hub -d amarre_bench_side ;;
    'restore fast' | 'restore exec')
      amarre "${1#restore }" gzip restore "$SOURCE" --into amarre_bench_side --json >"$OUT.json" ;;
    'gunzip -t') gunzip -t "$SOURCE" ;;
    'amarre-verify') amarre fast gzip verify "$SOURCE" --json >"$OUT.json" ;;
    'gzip -6') gzip -6 <"$PLAIN" >"$OUT" ;;
    'pigz -6 -p2') pigz -6 -p2 <"$PLAIN" >"$OUT" ;;
    'zstd -3 -T2') zstd -q -T2 -o "$OUT" <"$PLAIN" ;;
    'zstd -1') zstd -q -1 -o "$OUT" <"$PLAIN" ;;
    *) fail "no contender $1" ;;
  esac
}

machine_cpu() { awk '/^cpu / { print ($2 + $3 + $4 + $7 + $8) / 100; exit }' /proc/stat; }

# run ROUND CONTENDER: round 0 is the warm-up. Writes a line: round, name, wall, own CPU, machine's CPU, bytes, memory (KiB).
run() {
  local round=$1 name=$2 before after wall cpu memory
  OUT=$WORK/out
  forget
  export -f out_of amarre client fail say
  export OUT SOURCE PLAIN DATABASE CONTAINER LANE BINARY WORK
  before=$(machine_cpu)
  # shellcheck disable=SC2016 # expanded in the shell of the run
  /usr/bin/time -o "$WORK/time" -f '%e %U %S %M' bash -eo pipefail -c 'out_of "$1"' bench "$name" 2>"$WORK/stderr" ||
    { cat "$WORK/stderr" >&2; fail "$name failed"; }
  after=$(machine_cpu)
  read -r wall cpu memory < <(tail -n 1 "$WORK/time" | awk '{ print $1, $2 + $3, $4 }')
  local bytes
  bytes=$(size "$name")
  check_output "$name"
  say "round $round: $name: $wall s, $((bytes / 1000000)) MB"
  [ "$round" = 0 ] ||
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$round" "$name" "$wall" "$cpu" "$(awk -v a="$before" -v b="$after" 'BEGIN { print b - a }')" \
      "$bytes" "$(memory_of "$name" "$memory")" >>"$RESULTS"
}

forget() {
  rm -rf "$WORK"/out* "${BACKUP_DIR:?}"
  mkdir -m 0700 "$BACKUP_DIR"
  docker exec -u root "$CONTAINER" rm -rf /tmp/amarre-bench.dir
  sql postgres -c 'set client_min_messages = warning' -c 'drop database if exists amarre_bench_side'
  sync
}

size() {
  case $1 in
    'pg_dump -Fd -j2') docker exec "$CONTAINER" du -sb /tmp/amarre-bench.dir | cut -f 1 ;;
    'amarre '*) sed -n '/"stored"/,/}/s/.*"bytes": \([0-9]*\).*/\1/p' "$OUT.json" ;;
    'pg_dump >/dev/null' | *restore* | 'gunzip -t' | amarre-verify) echo 0 ;;
    *) stat -c %s "$OUT" ;;
  esac
}

# Ours says it itself, as the kernel counted it; of the others it is the largest process on this side.
memory_of() {
  case $1 in
    amarre*) sed -n 's/.*"peak_rss_bytes": \([0-9]*\).*/\1/p' "$OUT.json" | head -n 1 | awk '{ print int($1 / 1024) }' ;;
    *) echo "$2" ;;
  esac
}

# The dump without what pg_dump writes anew each time.
hash_of() { grep -avE '^\\(un)?restrict ' | sha256sum | cut -d ' ' -f 1; }

# What was made must be the dump of this database.
check_output() {
  local hash
  case $1 in
    'script pipeline' | 'pg_dump | pigz -p2' | 'gzip -6' | 'pigz -6 -p2') hash=$(gzip -dc "$OUT" | hash_of) ;;
    'pg_dump | zstd -T2' | 'zstd -3 -T2' | 'zstd -1') hash=$(zstd -dcq "$OUT" | hash_of) ;;
    'amarre '*' zstd') hash=$(zstd -dcq "$BACKUP_DIR"/*_backup_*.sql.zst | hash_of) ;;
    'amarre '*' gzip') hash=$(gzip -dc "$BACKUP_DIR"/*_backup_*.sql.gz | hash_of) ;;
    'pg_dump -Fc') hash=$(docker exec -i "$CONTAINER" pg_restore -f - <"$OUT" | hash_of) ;;
    'pg_dump -Fd -j2') hash=$(docker exec "$CONTAINER" pg_restore -f - /tmp/amarre-bench.dir | hash_of) ;;
    *restore*) hash=$(plain amarre_bench_side | hash_of) ;;
    *) return 0 ;;
  esac
  case $1 in
    # Their comments differ: an archive is compared by its length only where the text does.
    'pg_dump -F'*) hash_is_known "$1" "$hash" ;;
    # Without owners where all belongs to one role: the same rows, fewer statements.
    'amarre '*) [ "$hash" = "$EXPECTED" ] || [ "$hash" = "$BARE" ] || fail "$1 made another dump: $hash" ;;
    *) [ "$hash" = "$EXPECTED" ] || fail "$1 made another dump: $hash instead of $EXPECTED" ;;
  esac
}

# The first archive is compared by loading nothing: its data must be that of the dump, line for line.
hash_is_known() {
  [ "$2" = "$EXPECTED" ] || [ "$2" = "$(archive_hash)" ] || fail "$1 made another dump: $2"
}

# What pg_restore prints of an archive of the same data (it sets some things elsewhere than pg_dump does).
archive_hash() {
  if [ ! -e "$WORK/archive-hash" ]; then
    # shellcheck disable=SC2016 # expanded in the container
    client sh -c 'pg_dump -Fc -Z0 "$1" | pg_restore -f -' sh "$DATABASE" | hash_of >"$WORK/archive-hash"
  fi
  cat "$WORK/archive-hash"
}

# plain DATABASE [OPTION…]: the dump, with the time zone that Amarre pins.
plain() {
  # shellcheck disable=SC2016 # expanded in the container
  docker exec "$CONTAINER" sh -c 'PGTZ=UTC exec pg_dump -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}" "$@"' sh "$@"
}

expect() {
  EXPECTED=$(plain "$DATABASE" | hash_of)
  BARE=$(plain --no-owner --no-acl "$DATABASE" | hash_of)
  PLAIN_BYTES=$(plain "$DATABASE" | wc -c)
}

# rounds CONTENDER…
rounds() {
  local round name
  for ((round = 1 - WARM_UP; round <= PAIRS; round++)); do
    for name in "$@"; do
      wanted "$name" || continue
      run "$round" "$name"
    done
  done
}

wanted() {
  local word
  [ -n "$ONLY" ] || return 0
  for word in $ONLY; do
    case $1 in *"$word"*) return 0 ;; esac
  done
  return 1
}

# needs PROGRAM: installs it, or leaves out whoever needs it.
needs() {
  have "$1" || (apt_install "$1") || { say "skipped: $1 is not installed"; return 1; }
}

# --- what is compared ---------------------------------------------------------------------------------------------

# Median, least and most of ratios within rounds. table BASE: how many times faster than BASE, and sizes beside it.
table() {
  awk -F '\t' -v base="$1" '
    function sorted(list, n,   i, j, t) { for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t } }
    function median(list, n) { sorted(list, n); return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2 }
    { if (!($2 in seen)) { seen[$2] = ++names; order[names] = $2 }
      n = ++count[$2]; round[$2, n] = $1; wall[$2, n] = $3; at[$1, $2] = $3; cpu[$2, n] = $4; machine[$2, n] = $5; bytes[$2] = $6
      if ($7 > memory[$2]) memory[$2] = $7 }
    END {
      print "| contender | wall, s (median; least to most) | times as fast as `" base "` (median; least to most) | CPU of its own, s | CPU of the machine, s | size, MB | size ratio | memory, MiB |"
      print "| --- | --- | --- | --- | --- | --- | --- | --- |"
      for (i = 1; i <= names; i++) {
        name = order[i]; n = count[name]; m = 0
        delete w; delete r; delete c; delete all
        for (j = 1; j <= n; j++) { w[j] = wall[name, j]; c[j] = cpu[name, j]; all[j] = machine[name, j]
          if ((round[name, j], base) in at) r[++m] = at[round[name, j], base] / wall[name, j] }
        middle = median(w, n); own = median(c, n); whole = median(all, n)
        ratio = m ? sprintf("%.2f; %.2f to %.2f", median(r, m), r[1], r[m]) : ""
        printf "| %s | %.2f; %.2f to %.2f | %s | %.1f | %.1f | %s | %s | %.1f |\n", "`" name "`", middle, w[1], w[n], ratio, own, whole,
          bytes[name] ? sprintf("%.1f", bytes[name] / 1e6) : "", bytes[name] && bytes[base] ? sprintf("%.3f", bytes[name] / bytes[base]) : "", memory[name] / 1024
      }
    }' "$RESULTS"
}

report() { if [ -n "$REPORT" ]; then tee -a "$REPORT"; else cat; fi; }

heading() { printf '\n## %s\n\n' "$1" | report; }

backups() {
  make_db
  expect
  : >"$RESULTS"
  local contenders=('script pipeline' 'amarre fast gzip' 'amarre fast zstd' 'amarre exec gzip' 'amarre exec zstd' 'pg_dump >/dev/null')
  if [ "$CONTAINER" = "$CONTAINER_OF_OURS" ] && local_programs; then contenders+=('amarre local gzip' 'amarre local zstd'); fi
  contenders+=('pg_dump -Fc' 'pg_dump -Fd -j2')
  if needs pigz; then contenders+=('pg_dump | pigz -p2'); fi
  if needs zstd; then contenders+=('pg_dump | zstd -T2'); fi
  rounds "${contenders[@]}"
  heading "Backup of \`$DATABASE\`: $((PLAIN_BYTES / 1000000)) MB of SQL, $PAIRS rounds"
  echo "Amarre's times include the proof (everything read back, unpacked and compared) and files that are durable; the others' do not." | report
  echo | report
  table 'script pipeline' | report
}

# Client programs of the server's own version, for BACKUP_RUNNER=local.
local_programs() {
  local directory ours theirs
  directory=$("$AMARRE_ROOT/scripts/testbed.sh" postgres-local 2>/dev/null | tail -n 1) || return 1
  ours=$("$directory/pg_dump" --version | grep -oE '[0-9]+' | head -n 1)
  theirs=$(client pg_dump --version | grep -oE '[0-9]+' | head -n 1)
  [ "$ours" -ge "$theirs" ] || { say "skipped: local (pg_dump $ours here, PostgreSQL $theirs there)"; return 1; }
  PATH=$directory:$PATH
}

restores() {
  make_db
  : >"$RESULTS"
  SOURCE=$WORK/source.sql.gz
  plain "$DATABASE" | gzip -1 >"$SOURCE"
  EXPECTED=$(gzip -dc "$SOURCE" | hash_of)
  local round name
  for ((round = 1 - WARM_UP; round <= PAIRS; round++)); do
    for name in 'script restore' 'restore fast' 'restore exec'; do
      wanted "$name" || continue
      if [ "$name" = 'script restore' ]; then
        sql postgres -c 'drop database if exists amarre_bench_side' -c 'create database amarre_bench_side'
        run_kept "$round" "$name"
      else
        run "$round" "$name"
      fi
    done
  done
  heading "Restore of \`$DATABASE\` into a database beside it, $PAIRS rounds"
  echo 'Amarre reads the file whole first, and dumps what it loaded to compare it with the backup; the scripts do neither.' | report
  echo | report
  table 'script restore' | report
}

# As `run`, but the side database that was just made stays.
run_kept() {
  forget() { :; }
  run "$@"
  unset -f forget
  eval "$FORGET"
}

verifies() {
  make_db
  : >"$RESULTS"
  forget
  amarre fast gzip backup >/dev/null 2>&1
  SOURCE=$(echo "$BACKUP_DIR"/*_backup_*.sql.gz)
  forget() { sync; }
  rounds 'gunzip -t' amarre-verify
  eval "$FORGET"
  heading "Verify of a gzip backup (counts and digests included) beside \`gunzip -t\`, $PAIRS rounds"
  table 'gunzip -t' | report
}

compresses() {
  make_db
  expect
  : >"$RESULTS"
  PLAIN=$WORK/plain.sql
  plain "$DATABASE" >"$PLAIN"
  local contenders=('gzip -6' 'amarre fast gzip' 'amarre fast zstd')
  if needs pigz; then contenders+=('pigz -6 -p2'); fi
  if needs zstd; then contenders+=('zstd -1' 'zstd -3 -T2'); fi
  rounds "${contenders[@]}"
  heading "CPU seconds per GB of SQL, $PAIRS rounds"
  echo "Amarre's are those of the whole sidecar: reading, inspecting, hashing, compressing, writing, reading back, unpacking, comparing." | report
  echo | report
  awk -F '\t' -v gb="$(awk -v b="$PLAIN_BYTES" 'BEGIN { print b / 1e9 }')" '
    { if (!($2 in n)) order[++names] = $2; n[$2]++; cpu[$2] += $4; bytes[$2] = $6 }
    END { print "| contender | CPU, s per GB | beside `gzip -6` | size, MB |"; print "| --- | --- | --- | --- |"
      for (i = 1; i <= names; i++) { name = order[i]; printf "| `%s` | %.2f | %.2f | %.1f |\n", name, cpu[name] / n[name] / gb,
        (cpu[name] / n[name]) / (cpu["gzip -6"] / n["gzip -6"]), bytes[name] / 1e6 } }' "$RESULTS" | report
  rm -f "$PLAIN"
}

memory_line() { # LABEL LANE COMPRESSION
  local peak
  forget
  amarre "$2" "$3" backup --json 2>/dev/null >"$WORK/out.json" || fail "memory: the backup failed"
  peak=$(sed -n 's/.*"peak_rss_bytes": \([0-9]*\).*/\1/p' "$WORK/out.json")
  printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$(awk -v b="$peak" 'BEGIN { printf "%.1f", b / 1048576 }')" | report
}

memories() {
  local shape=$SHAPE scale=$SCALE lane compression
  heading 'Highest memory of the sidecar (VmHWM)'
  printf '| database | lane | format | MiB |\n| --- | --- | --- | --- |\n' | report
  make_db
  for lane in fast exec; do
    for compression in gzip zstd; do memory_line "$DATABASE" "$lane" "$compression"; done
  done
  if [ -z "$QUICK" ]; then
    SHAPE=blobs
    make_db
    for compression in gzip zstd; do memory_line 'a row of 200 MB (bytea), 500 large objects' fast "$compression"; done
    SHAPE=$shape
  fi
  if [ -n "$LARGE" ]; then
    SCALE=10
    make_db
    for compression in gzip zstd; do memory_line "$DATABASE (9 GB)" fast "$compression"; done
    SCALE=$scale
  fi
}

# --- the report -----------------------------------------------------------------------------------------------------

machine() {
  echo '# Benchmarks'
  echo
  echo "Written by \`scripts/bench.sh\`, which anyone can run. Ratios count: seconds are those of one machine on one day."
  echo
  echo "- $(date -u +%Y-%m-%d), $(nproc) cores ($(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)), $(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB of memory, Linux $(uname -r | cut -d - -f 1), load $(cut -d ' ' -f 1 /proc/loadavg) at the start"
  echo "- Docker Engine $(docker version --format '{{.Server.Version}}'), PostgreSQL $(sql postgres -c 'show server_version' | cut -d ' ' -f 1), amarre $("$BINARY" --version | cut -d ' ' -f 2)"
  echo "- $(gzip --version | head -n 1), $(pigz --version 2>&1 | head -n 1), $(zstd --version 2>/dev/null | grep -oE 'v[0-9.]+' | head -n 1 | sed 's/^/zstd /')"
}

all() {
  [ -n "$REPORT" ] || REPORT=$AMARRE_ROOT/docs/BENCHMARKS.md
  make_db
  machine >"$REPORT"
  backups
  verifies
  compresses
  restores
  memories
  local shape
  if [ -z "$QUICK" ]; then
    for shape in many-tables small-rows; do
      SHAPE=$shape
      shapes
    done
  fi
  say "written: ${REPORT#"$AMARRE_ROOT/"}"
}

# Per-table and per-row cost, beside pg_dump's own time.
shapes() {
  make_db
  expect
  : >"$RESULTS"
  rounds 'pg_dump >/dev/null' 'amarre fast zstd' 'amarre fast gzip'
  heading "Backup of \`$DATABASE\`: $((PLAIN_BYTES / 1000000)) MB of SQL, $PAIRS rounds"
  table 'pg_dump >/dev/null' | report
}

# --- from end to end -----------------------------------------------------------------------------------------------

roundtrip() {
  local before after memory lane=exec
  make_db
  [ "$CONTAINER" != "$CONTAINER_OF_OURS" ] || lane=fast
  before=$(plain "$DATABASE" | hash_of)
  amarre "$lane" gzip backup --json >"$WORK/backup.json"
  gzip -t "$BACKUP_DIR/$DATABASE"_backup_*.sql.gz
  sql "$DATABASE" -c 'truncate docs' -c "update sites set nom = 'lost'"
  [ "$(plain "$DATABASE" | hash_of)" != "$before" ] || fail 'roundtrip: the database was not spoilt'
  amarre "$lane" gzip restore --latest --no-keep-old --yes-replace "$DATABASE" --json >"$WORK/restore.json"
  after=$(plain "$DATABASE" | hash_of)
  [ "$after" = "$before" ] || fail "roundtrip: pg_dump of the restored database differs: $after instead of $before"
  say "roundtrip: pg_dump before and after are equal ($before)"
  for memory in "$WORK/backup.json" "$WORK/restore.json"; do
    memory=$(sed -n 's/.*"peak_rss_bytes": \([0-9]*\).*/\1/p' "$memory" | head -n 1)
    say "roundtrip: peak memory $((memory / 1024)) KiB"
    [ "$memory" -le $((64 * 1024 * 1024)) ] || fail 'roundtrip: that is over 64 MiB'
  done
}

remove_db() {
  [ "$(docker inspect -f '{{index .Config.Labels "amarre.bench"}}' "$CONTAINER_OF_OURS" 2>/dev/null)" = 1 ] || return 0
  docker rm -fv "$CONTAINER_OF_OURS" >/dev/null
  rm -rf "$LANE"
  say "remove-db: $CONTAINER_OF_OURS removed"
}

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

EXPECTED='' BARE='' PLAIN_BYTES=0 SOURCE='' PLAIN='' OUT=''
FORGET=$(declare -f forget)
command=${1:-}
[ $# -eq 0 ] || shift
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) PAIRS=$2; shift 2 ;;
    --scale) SCALE=$2; shift 2 ;;
    --shape) SHAPE=$2; shift 2 ;;
    --only) ONLY=$2; shift 2 ;;
    --container) CONTAINER=$2; shift 2 ;;
    --binary) BINARY=$2; shift 2 ;;
    --report) REPORT=$2; shift 2 ;;
    --large) LARGE=1; shift ;;
    --no-warm-up) WARM_UP=0; shift ;;
    --quick) QUICK=1 SCALE=0.02 PAIRS=1 WARM_UP=0; shift ;;
    *) fail "unknown argument $1 (see --help)" ;;
  esac
done
case $command in
  make-db) make_db; echo "$CONTAINER $DATABASE" ;;
  backup) prepare; backups ;;
  restore) prepare; restores ;;
  verify) prepare; verifies ;;
  compress) prepare; compresses ;;
  memory) prepare; memories ;;
  all) prepare; all ;;
  shapes) prepare; shapes ;;
  roundtrip) prepare; roundtrip ;;
  remove-db) remove_db ;;
  --help | -h | help) usage ;;
  *) usage >&2; exit 2 ;;
esac
