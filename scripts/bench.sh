#!/usr/bin/env bash
# Benchmarks.
#
#   scripts/bench.sh make-db [--container NAME] [--database NAME]
#       Makes the benchmark database (about 0.9 GB, a minute or two) in a running PostgreSQL container; without
#       --container in one of its own, amarre-bench-db, which stays until `scripts/bench.sh remove-db`.
#       Prints the container's name and the database's. Does nothing when it is there already.
#   scripts/bench.sh roundtrip [--container NAME] [--binary PATH]
#       Backs that database up, empties one table and changes another, restores, and compares pg_dump of before and
#       after byte by byte (but for \restrict tokens); prints times and the peak memory of both directions, and fails
#       where memory is over 64 MiB. Without --binary it builds the release binary.
#   scripts/bench.sh remove-db
#       Removes that container of its own.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly OWN_CONTAINER=amarre-bench-db

# sql CONTAINER DATABASE [ARGUMENT…]: as the superuser that the container's own variables name.
sql() {
  local container=$1 database=$2
  shift 2
  # shellcheck disable=SC2016 # expanded in the container
  docker exec -i "$container" sh -c 'exec psql -qAtX -v ON_ERROR_STOP=1 -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}" -d "$@"' \
    sh "$database" "$@"
}

own_container() {
  local image
  if [ "$(docker inspect -f '{{.State.Running}}' "$OWN_CONTAINER" 2>/dev/null)" != true ]; then
    docker rm -fv "$OWN_CONTAINER" >/dev/null 2>&1 || true
    image=$("$AMARRE_ROOT/scripts/testbed.sh" engine compose postgres-image)
    docker run -d --name "$OWN_CONTAINER" --label amarre.bench=1 --shm-size 1g -e POSTGRES_USER=hub \
      -e POSTGRES_PASSWORD="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" -e POSTGRES_DB=hub_chantier "$image" >/dev/null
  fi
  wait_until 120 sql "$OWN_CONTAINER" postgres -c 'select 1' || fail "$OWN_CONTAINER does not become ready"
}

make_db() {
  local container='' database=bench
  while [ $# -gt 0 ]; do
    case $1 in
      --container) container=$2; shift 2 ;;
      --database) database=$2; shift 2 ;;
      *) fail "make-db: unknown argument $1" ;;
    esac
  done
  [ -n "$container" ] || { container=$OWN_CONTAINER; own_container; }
  if [ "$(sql "$container" postgres -c "select 1 from pg_database where datname = '$database'")" != 1 ]; then
    say "make-db: creating $database in $container"
    docker exec "$container" sh -c 'exec createdb -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}" "$@"' sh "$database"
  fi
  # The script's last table: where it is filled, the script has run through.
  if [ "$(sql "$container" "$database" -c "select to_regclass('docs') is not null")" = f ]; then
    say "make-db: filling $database"
    sql "$container" "$database" --single-transaction -f - < <(grep -v '^vacuum' "$AMARRE_ROOT/tests/data/bench-db.sql")
    sql "$container" "$database" -c 'vacuum analyze'
  fi
  say "make-db: $(sql "$container" "$database" -c 'select pg_size_pretty(pg_database_size(current_database()))')"
  echo "$container $database"
}

# The dump itself is what is compared, so one hash of it tells.
dump_hash() {
  local container=$1 database=$2
  # shellcheck disable=SC2016 # expanded in the container
  docker exec "$container" sh -c 'exec pg_dump -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}" -d "$1"' sh "$database" |
    grep -vE '^\\(un)?restrict ' | sha256sum | cut -d ' ' -f 1
}

roundtrip() {
  local container='' binary='' database=bench before after memory
  while [ $# -gt 0 ]; do
    case $1 in
      --container) container=$2; shift 2 ;;
      --binary) binary=$2; shift 2 ;;
      *) fail "roundtrip: unknown argument $1" ;;
    esac
  done
  [ -n "$binary" ] || binary=$("$AMARRE_ROOT/scripts/testbed.sh" binary | tail -n 1)
  if [ -n "$container" ]; then make_db --container "$container"; else make_db; container=$OWN_CONTAINER; fi
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/amarre-bench.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  export BACKUP_DIR=$WORK/backups BACKUP_DB_CONTAINER=$container POSTGRES_DB=$database BACKUP_LOG_FILE=$WORK/log ENV_FILE=/dev/null
  # shellcheck disable=SC2016 # expanded in the container
  POSTGRES_USER=$(docker exec "$container" sh -c 'printf %s "${POSTGRES_USER:-postgres}"')
  export POSTGRES_USER
  mkdir -m 0700 "$BACKUP_DIR"
  before=$(dump_hash "$container" "$database")
  "$binary" backup --json >"$WORK/backup.json"
  gzip -t "$BACKUP_DIR/$database"_backup_*.sql.gz
  sql "$container" "$database" -c 'truncate docs' -c "update sites set nom = 'lost'"
  [ "$(dump_hash "$container" "$database")" != "$before" ] || fail 'roundtrip: the database was not spoilt'
  "$binary" restore --latest --no-keep-old --yes-replace "$database" --json >"$WORK/restore.json"
  after=$(dump_hash "$container" "$database")
  [ "$after" = "$before" ] || fail "roundtrip: pg_dump of the restored database differs: $after instead of $before"
  say "roundtrip: pg_dump before and after are equal ($before)"
  for memory in "$WORK/backup.json" "$WORK/restore.json"; do
    memory=$(sed -n 's/.*"peak_rss_bytes": \([0-9]*\).*/\1/p' "$memory")
    say "roundtrip: peak memory $((memory / 1024)) KiB"
    [ "$memory" -le $((64 * 1024 * 1024)) ] || fail 'roundtrip: that is over 64 MiB'
  done
}

remove_db() {
  [ "$(docker inspect -f '{{index .Config.Labels "amarre.bench"}}' "$OWN_CONTAINER" 2>/dev/null)" = 1 ] || return 0
  docker rm -fv "$OWN_CONTAINER" >/dev/null
  say "remove-db: $OWN_CONTAINER removed"
}

case ${1:-} in
  make-db) shift; make_db "$@" ;;
  roundtrip) shift; roundtrip "$@" ;;
  remove-db) remove_db ;;
  *) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
