# shellcheck shell=bash
# The contenders: how each is run, what is measured of it, and how what it made is checked. Sourced.

# command_of CONTENDER: the command line that is timed. What it makes is $OUT, or lies in $BACKUP_DIR.
# shellcheck disable=SC2016 # expanded when it is run
command_of() {
  local options='--no-owner --no-acl -U "$POSTGRES_USER" "$DATABASE"'
  local dump="docker exec \"\$CONTAINER\" pg_dump"
  case $1 in
    'script pipeline') echo "$dump $options | gzip >\"\$OUT\"" ;;
    'pg_dump | pigz -p2') echo "$dump $options | pigz -p2 >\"\$OUT\"" ;;
    'pg_dump | zstd -T2') echo "$dump $options | zstd -q -T2 -o \"\$OUT\"" ;;
    'pg_dump -Fc') echo "$dump -Fc $options >\"\$OUT\"" ;;
    'pg_dump -Fd -j2') echo "$dump -Fd -j2 -f $DIRECTORY_DUMP $options" ;;
    'pg_dump >/dev/null') echo "docker exec \"\$CONTAINER\" sh -c 'exec pg_dump \"\$@\" >/dev/null' sh $options" ;;
    'amarre local '*)
      echo "PATH=\"\$PROGRAMS:\$PATH\" BACKUP_RUNNER=local BACKUP_DB_HOST=\"\$ADDRESS\" BACKUP_COMPRESSION=${1##* } \"\$BINARY\" backup --json >\"\$OUT.json\"" ;;
    'amarre fast '* | 'amarre exec '*)
      lane=${1#amarre }
      echo "$(lane "${lane% *}") BACKUP_COMPRESSION=${1##* } \"\$BINARY\" backup --json >\"\$OUT.json\"" ;;
    'amarre gzip, aws s3 cp'*)
      echo "$(backup_of gzip) && \"\$AWS\" --endpoint-url \"\$S3_ENDPOINT_URL\" s3 cp --no-progress \"\$BACKUP_DIR\"/*_backup_*.sql.gz \"s3://\$S3_BUCKET/backups/\" >/dev/null" ;;
    'amarre s3 gzip'*) echo "S3_BACKUP_BUCKET=\"\$S3_BUCKET\" BACKUP_S3_PARALLEL=4 $(backup_of gzip)" ;;
    'script restore')
      echo 'gunzip -c "$SOURCE" | docker exec -i "$CONTAINER" psql -U "$POSTGRES_USER" -d "$SIDE" >/dev/null' ;;
    'amarre restore '*) echo "$(lane "${1##* }") \"\$BINARY\" restore \"\$SOURCE\" --into \"\$SIDE\" --json >\"\$OUT.json\"" ;;
    'gunzip -t') echo 'gunzip -t "$SOURCE"' ;;
    'amarre verify') echo "$(lane fast) \"\$BINARY\" verify \"\$SOURCE\" --json >\"\$OUT.json\"" ;;
    'gzip -6' | 'pigz -6 -p2') echo "$1 <\"\$EXPECTED\" >\"\$OUT\"" ;;
    'zstd -1' | 'zstd -3 -T2') echo "$1 -q -o \"\$OUT\" <\"\$EXPECTED\"" ;;
    *) fail "no contender $1" ;;
  esac
}

backup_of() { echo "$(lane fast) BACKUP_COMPRESSION=$1 \"\$BINARY\" backup --json >\"\$OUT.json\""; }

readonly DIRECTORY_DUMP=/tmp/amarre-bench.dir SIDE=amarre_bench_side

# A lane directory that the database's container does not mount means the exec lane.
lane() {
  case $1 in
    fast) printf 'BACKUP_DB_CONTAINER="$CONTAINER" BACKUP_LANE_DIR="$LANE"' ;;
    exec) printf 'BACKUP_DB_CONTAINER="$CONTAINER" BACKUP_LANE_DIR="$WORK"' ;;
  esac
}

# rounds CONTENDER…: each in turn, so often. One that fails is out, and all its times with it; the others go on.
# shellcheck disable=SC2016 # Markdown
rounds() {
  local round name
  for name in "$@"; do
    ! wanted "$name" || printf -- '- `%s`: `%s`\n' "$name" "$(command_of "$name")" >>"$WORK/commands"
  done
  for ((round = 1 - WARM_UP; round <= PAIRS; round++)); do
    for name in "$@"; do
      if wanted "$name" && ! is_out "$name"; then run "$round" "$name" || out "$name"; fi
    done
  done
}

# Only contenders with one of the words of --only.
wanted() {
  local word
  [ -n "$ONLY" ] || return 0
  for word in $ONLY; do
    case $1 in *"$word"*) return 0 ;; esac
  done
  return 1
}

is_out() { grep -qxF -- "$1" "$WORK/failed"; }

out() {
  echo "$1" >>"$WORK/failed"
  awk -F '\t' -v name="$1" '$2 != name' "$RESULTS" >"$RESULTS.rest"
  mv "$RESULTS.rest" "$RESULTS"
}

# run ROUND CONTENDER [LABEL]: once. Round 0 is the warm-up, which does not count. A line of the results is: round, label,
# wall, CPU of its own, CPU of the machine, bytes made, memory in KiB, bytes of SQL, seconds until `pg_dump` had ended.
# Called where -e does not hold (||), so every step says itself what a failure means.
run() {
  local round=$1 name=$2 label=${3:-$2} before after wall cpu memory bytes=0
  make_ready "$name" || return 1
  before=$(machine_cpu)
  if ! /usr/bin/time -o "$WORK/time" -f '%e %U %S %M' timeout -k 10 "$LIMIT" bash -eo pipefail -c "$(command_of "$name")" \
    2>"$WORK/stderr" </dev/null; then
    tail -n 20 "$WORK/stderr" >&2
    say "FAILED: $label: $(head -n 1 "$WORK/time")"
    return 1
  fi
  after=$(machine_cpu)
  read -r wall cpu memory < <(awk '{ print $1, $2 + $3, $4 }' "$WORK/time")
  check_lane "$name" || return 1
  [ "$round" = 0 ] || check_output "$name" || { say "FAILED: $label: what it made is not the dump of $DATABASE"; return 1; }
  bytes=$(size "$name") || return 1
  say "round $round: $label: $wall s${bytes:+, $((bytes / 1000)) kB}"
  [ "$round" = 0 ] ||
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$round" "$label" "$wall" "$cpu" "$(awk -v a="$before" -v b="$after" 'BEGIN { print b - a }')" \
      "$bytes" "$(memory_of "$name" "$memory")" "${PLAIN_BYTES:-0}" "$(dump_of_run "$name")" >>"$RESULTS"
}

machine_cpu() { awk '/^cpu / { print ($2 + $3 + $4 + $7 + $8) / 100; exit }' /proc/stat; }

# Nothing of earlier runs is in the way, and nothing of theirs is still to be written.
make_ready() {
  rm -rf "$WORK"/out* && s3_speed "$1" &&
    case $1 in
      'amarre s3 '* | 'amarre gzip, '*) aws_s3 rm --recursive --quiet "s3://$S3_BUCKET/" ;;
    esac &&
    case $1 in
      'script restore') drop_db "$SIDE" && sql postgres -c "create database $SIDE" ;;
      'amarre restore '*) drop_db "$SIDE" ;;
      'amarre verify') ;;
      'amarre '*) rm -rf "${BACKUP_DIR:?}" && mkdir -m 0700 "$BACKUP_DIR" ;;
      'pg_dump -Fd '*) docker exec -u root "$CONTAINER" rm -rf "$DIRECTORY_DUMP" ;;
    esac && sync
}

# What the sidecar says of itself: of the kernel's high-water mark, and of the lane it really took.
said() { sed -n "s/.*\"$1\": \"\{0,1\}\([a-z0-9]*\).*/\1/p" "$OUT.json" | head -n 1; }

check_lane() {
  local wanted used
  case $1 in
    'amarre fast '* | 'amarre restore fast' | 'amarre s3 '* | 'amarre gzip, '*) wanted='fifo' ;;
    'amarre exec '* | 'amarre restore exec') wanted='exec' ;;
    'amarre local '*) wanted='local' ;;
    *) return 0 ;;
  esac
  used=$(said lane)
  [ "$used" = "$wanted" ] || { say "FAILED: $1 used the lane $used"; return 1; }
}

# The sidecar's own word; of the others the largest process on this side of the engine.
memory_of() {
  case $1 in
    amarre*) echo $(($(said peak_rss_bytes) / 1024)) ;;
    *) echo "$2" ;;
  esac
}

# The stage `read` lasts from the first byte of the dump until `pg_dump` has ended: at work, or waiting for room behind it.
dump_of_run() {
  case $1 in
    'amarre restore '* | 'amarre verify') ;;
    amarre*)
      awk -F '[:,]' '/"(busy|starved|blocked)_seconds"/ { sum += $2 }
        /"stage": "read"/ { found = 1 }
        /}/ { if (found) { printf "%.3f", sum; exit } sum = 0 }' "$OUT.json" ;;
  esac
}

backup_file() { find "$BACKUP_DIR" -maxdepth 1 -name '*_backup_*.sql*' ! -name '*.json' ! -name '*.roles.sql'; }

size() {
  case $1 in
    'pg_dump -Fd '*) docker exec "$CONTAINER" du -sb "$DIRECTORY_DUMP" | cut -f 1 ;;
    'amarre fast '* | 'amarre exec '* | 'amarre local '* | 'amarre s3 '* | 'amarre gzip, '*) stat -c %s "$(backup_file)" ;;
    'pg_dump >/dev/null' | *' restore'* | 'gunzip -t' | 'amarre verify') ;;
    *) stat -c %s "$OUT" ;;
  esac
}

# --- the same dump? -----------------------------------------------------------------------------------------------

# What pg_dump writes anew each time is left out.
normal() { LC_ALL=C grep -avE '^\\(un)?restrict '; }

# dump_of DATABASE: by client programs of the server's version, with the time zone that Amarre pins.
dump_of() {
  PGTZ=UTC PGPASSWORD=$POSTGRES_PASSWORD "$PROGRAMS/pg_dump" --no-owner --no-acl -h "$ADDRESS" -U "$POSTGRES_USER" "$1"
}

# Of the database as it is, for what follows to be compared with.
expect() {
  export EXPECTED=$WORK/expected.sql
  dump_of "$DATABASE" | normal >"$EXPECTED"
  PLAIN_BYTES=$(stat -c %s "$EXPECTED")
}

check_output() {
  case $1 in
    'pg_dump >/dev/null' | 'gunzip -t' | 'amarre verify') return 0 ;;
  esac
  unpacked "$1" | normal | cmp - "$EXPECTED" &&
    case $1 in
      'amarre s3 '* | 'amarre gzip, '*) check_object ;;
    esac
}

# What a contender made, as SQL. Each by the program that people have, none by Amarre.
unpacked() {
  case $1 in
    'script pipeline' | *pigz* | 'gzip -6') gzip -dc "$OUT" ;;
    'pg_dump | zstd'* | 'zstd '*) zstd -dcq "$OUT" ;;
    'pg_dump -Fc') "$PROGRAMS/pg_restore" --no-owner --no-acl -f - "$OUT" ;;
    'pg_dump -Fd -j2')
      docker cp "$CONTAINER:$DIRECTORY_DUMP" - | tar -C "$WORK" --transform 's,^[^/]*,out.dir,' -xf - &&
        "$PROGRAMS/pg_restore" --no-owner --no-acl -f - "$WORK/out.dir" ;;
    *' restore'*) dump_of "$SIDE" ;;
    *' zstd') zstd -dcq "$(backup_file)" ;;
    *' gzip' | 'amarre s3 gzip '* | 'amarre gzip, '*) gzip -dc "$(backup_file)" ;;
  esac
}
