#!/bin/sh
# The stand-in's entry point: on an empty data directory it makes the cluster, the superuser and the database that the
# variables name, runs /docker-entrypoint-initdb.d, then starts the server. As in the official image the server of the
# first phase listens on its socket only, so whoever asks through TCP is not told "ready" too early.
set -eu

# X from the file that X_FILE names.
from_file() {
  eval "file=\${$1_FILE:-}"
  [ -z "$file" ] || { value=$(cat "$file") && export "$1=$value" && unset "$1_FILE"; }
}

run_script() {
  if [ -x "$1" ]; then
    "$1"
  else
    # shellcheck disable=SC1090 # whatever the user put there
    . "$1"
  fi
}

run_file() {
  case $1 in
    *.sh) run_script "$1" ;;
    *.sql) first_psql -f "$1" ;;
    *.sql.gz) gunzip -c "$1" | first_psql ;;
    *) echo "$0: ignoring $1" ;;
  esac
}

first_psql() { psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -U "$POSTGRES_USER" -d "${database:-$POSTGRES_DB}" "$@"; }

make_cluster() {
  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER
  from_file POSTGRES_DB
  from_file POSTGRES_INITDB_ARGS
  export POSTGRES_USER="${POSTGRES_USER:-postgres}"
  export POSTGRES_DB="${POSTGRES_DB:-$POSTGRES_USER}"
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
    echo 'Error: Database is uninitialized and superuser password is not specified. Set POSTGRES_PASSWORD.' >&2
    exit 1
  fi
  password_file=$(mktemp)
  printf '%s\n' "${POSTGRES_PASSWORD:-}" >"$password_file"
  # An empty password file is refused by initdb.
  set -- --username="$POSTGRES_USER"
  [ -z "${POSTGRES_PASSWORD:-}" ] || set -- "$@" --pwfile="$password_file"
  # The variable holds several words on purpose; eval, so that quotes within it work as in the official image.
  eval "initdb --auth-local=trust --auth-host=trust \"\$@\" ${POSTGRES_INITDB_ARGS:-}"
  rm -f "$password_file"
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  pg_ctl -D "$PGDATA" -w start -o "-c listen_addresses=''"
  if [ "$POSTGRES_DB" != postgres ]; then
    database=postgres first_psql -v db="$POSTGRES_DB" <<'SQL'
CREATE DATABASE :"db";
SQL
  fi
  for file in /docker-entrypoint-initdb.d/*; do
    [ ! -e "$file" ] || run_file "$file"
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
}

# Options alone are the server's.
case ${1:-postgres} in
  -*) set -- postgres "$@" ;;
esac

if [ "$1" = postgres ] && [ "$(id -u)" -eq 0 ]; then
  mkdir -p "$PGDATA"
  find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
  chmod 0700 "$PGDATA"
  chown postgres:postgres /var/run/postgresql
  export HOME=/var/lib/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  make_cluster
fi

exec "$@"
