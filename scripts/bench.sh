#!/usr/bin/env bash
# Benchmarks.
#
#   scripts/bench.sh make-db [--container NAME] [--database NAME]
#       Makes the benchmark database (about 0.9 GB, a minute or two) in a running PostgreSQL container; without
#       --container in one of its own, amarre-bench-db, which stays until `scripts/bench.sh remove-db`.
#       Prints the container's name and the database's. Does nothing when it is there already.
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

remove_db() {
  [ "$(docker inspect -f '{{index .Config.Labels "amarre.bench"}}' "$OWN_CONTAINER" 2>/dev/null)" = 1 ] || return 0
  docker rm -fv "$OWN_CONTAINER" >/dev/null
  say "remove-db: $OWN_CONTAINER removed"
}

case ${1:-} in
  make-db) shift; make_db "$@" ;;
  remove-db) remove_db ;;
  *) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
