#!/usr/bin/env bash
# Shows the main job from end to end: a database and the sidecar come up, a backup is made and listed, the data is
# spoilt, a restore (with a typed OUI) brings it back. Everything it starts is in a Compose project of its own and is
# removed at the end; images and tools stay in AMARRE_CACHE for the next time.
#
#   scripts/demo.sh              with containers; where no engine can run, with a local PostgreSQL
#   AMARRE_DEMO=local …          with a local PostgreSQL in any case
#
# Needs Docker and Rust, or as root only Rust. What is missing is said at the step that needs it.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$AMARRE_ROOT"

readonly TESTBED=scripts/testbed.sh
readonly PROJECT=amarre-demo-$$
readonly ROWS=200000
readonly STEPS=9
STEP=0
RUN=''       # docker or local
STARTED_ENGINE=''
STARTED_PROJECT=''
WORK=$(mktemp -d "${TMPDIR:-/tmp}/amarre-demo.XXXXXX")

step() {
  STEP=$((STEP + 1))
  printf '\n[%d/%d] %s\n' "$STEP" "$STEPS" "$*"
}

# --- with containers ----------------------------------------------------------------------------------------------

docker_prepare() {
  local answered=yes
  docker info >/dev/null 2>&1 || answered=''
  "$TESTBED" engine || return "$?"
  [ -n "$answered" ] || STARTED_ENGINE=yes
  "$TESTBED" compose
}

docker_images() {
  POSTGRES_IMAGE=$("$TESTBED" base-image postgres-image)
  AMARRE_IMAGE=amarre:demo-$$
  "$TESTBED" sidecar-image "$AMARRE_IMAGE"
  export POSTGRES_IMAGE AMARRE_IMAGE
}

docker_start() {
  export ENV_FILE=$WORK/env.production AMARRE_CONTAINER_NAME=$PROJECT-backup
  sed "s/^POSTGRES_PASSWORD=.*/POSTGRES_PASSWORD=$(random)/" .env.production.example >"$ENV_FILE"
  STARTED_PROJECT=yes
  compose --profile backup up -d --no-build
  # The sidecar is waited for like a monitor would: by its own health.
  wait_until 60 compose exec -T backup-cron amarre health || { compose logs --tail 40 >&2; fail 'the sidecar does not become healthy'; }
}

compose() { docker compose -p "$PROJECT" -f docker-compose.prod.yml "$@"; }

docker_sql() {
  # shellcheck disable=SC2016 # expanded in the container
  compose exec -T db sh -c 'exec psql -qX -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" "$@"' sh "$@"
}

docker_amarre() { compose exec -T backup-cron amarre "$@"; }

docker_restore_command() {
  printf 'docker compose -p %q -f docker-compose.prod.yml exec backup-cron restore --latest' "$PROJECT"
}

docker_stop() {
  [ -z "$STARTED_PROJECT" ] || compose --profile backup down -v 2>&1 | sed 's/^/  /'
  # Only the tag: the layers stay in the build cache.
  [ -z "${AMARRE_IMAGE:-}" ] || docker rmi "$AMARRE_IMAGE" >/dev/null 2>&1
  [ -z "$STARTED_ENGINE" ] || "$TESTBED" engine-stop
}

# --- with a local PostgreSQL --------------------------------------------------------------------------------------

local_prepare() {
  PG_BIN=$("$TESTBED" postgres-local)
  export PATH=$PG_BIN:$PATH
}

local_images() {
  AMARRE=$("$TESTBED" binary | tail -n 1)
}

local_start() {
  local password_file=$WORK/password
  export BACKUP_RUNNER=local BACKUP_DIR=$WORK/backups BACKUP_NAME=$PROJECT BACKUP_DB_HOST=$WORK/socket BACKUP_DB_PORT=54399
  export POSTGRES_USER=hub POSTGRES_DB=hub_chantier POSTGRES_PASSWORD
  POSTGRES_PASSWORD=$(random)
  printf '%s\n' "$POSTGRES_PASSWORD" >"$password_file"
  mkdir -p "$BACKUP_DIR" "$WORK/socket" "$WORK/cluster"
  # The server refuses to run as root.
  if is_root; then
    chmod 0711 "$WORK"
    chown nobody "$password_file" "$WORK/socket" "$WORK/cluster"
  fi
  as_server "$PG_BIN/initdb" -D "$WORK/cluster" -U hub --pwfile="$password_file" --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 >"$WORK/initdb.log" 2>&1 || { tail -n 20 "$WORK/initdb.log" >&2; fail 'initdb failed'; }
  as_server "$PG_BIN/pg_ctl" -D "$WORK/cluster" -w -l "$WORK/cluster/server.log" \
    -o "-p $BACKUP_DB_PORT -c listen_addresses='' -k $WORK/socket" start >/dev/null
  PGDATABASE=postgres local_sql -c 'create database hub_chantier'
}

as_server() {
  if is_root; then
    (cd / && setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$@")
  else
    "$@"
  fi
}

local_sql() {
  PGPASSWORD=$POSTGRES_PASSWORD "$PG_BIN/psql" -qX -v ON_ERROR_STOP=1 -h "$BACKUP_DB_HOST" -p "$BACKUP_DB_PORT" \
    -U hub -d "${PGDATABASE:-hub_chantier}" "$@"
}

local_amarre() { "$AMARRE" "$@"; }

local_restore_command() { printf '%q restore --latest' "$AMARRE"; }

local_stop() {
  [ ! -f "$WORK/cluster/postmaster.pid" ] || as_server "$PG_BIN/pg_ctl" -D "$WORK/cluster" -m fast -w stop >/dev/null
}

# --- the same for both --------------------------------------------------------------------------------------------

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

stop() {
  local code=$?
  trap - EXIT INT TERM
  set +e
  [ -z "$RUN" ] || "${RUN}_stop"
  rm -rf "$WORK"
  exit "$code"
}

fill() {
  "${RUN}_sql" -o /dev/null <tests/data/pagila.sql
  "${RUN}_sql" <<SQL
create table pointages (id bigint generated always as identity primary key, ouvrier text not null, debut timestamptz not null, heures numeric(4, 2));
insert into pointages (ouvrier, debut, heures)
  select 'ouvrier ' || i % 40, timestamptz '2025-01-01' + i * interval '7 minutes', (i % 32) / 4.0 from generate_series(1, $ROWS) i;
analyze;
SQL
}

# One line that changes whenever one row of the two tables does.
fingerprint() {
  "${RUN}_sql" -At -c "select md5(string_agg(md5(t::text), '' order by film_id)) from film t" \
    -c "select md5(string_agg(md5(t::text), '' order by id)) from pointages t" | tr '\n' ' '
}

show() {
  "${RUN}_sql" -c "select (select count(*) from film) films, (select count(*) from film where title = 'lost') films_lost,
    (select count(*) from pointages) pointages, (select count(*) from pointages where ouvrier = 'lost') pointages_lost"
}

# The question is asked of a person at a terminal, so this is one: `script` gives the command a terminal, and OUI is
# typed once the question stands there, on a line without an end.
restore_typing_oui() {
  local typed=$WORK/keyboard seen=$WORK/screen command code=0 child
  have script || fail 'no program "script" here: install bsdutils (util-linux)'
  command=$("${RUN}_restore_command")
  echo "\$ $command"
  mkfifo "$typed"
  script -qefc "$command" "$seen" <"$typed" &
  child=$!
  exec 8>"$typed"
  if wait_until 300 question_or_end "$seen" "$child"; then
    echo OUI >&8
  else
    say 'restore did not ask within 300 s'
    kill "$child"
  fi
  wait "$child" || code=$?
  exec 8>&-
  [ "$code" -eq 0 ] || fail "restore ended with exit code $code"
}

question_or_end() {
  ! kill -0 "$2" 2>/dev/null || tail -n 1 "$1" 2>/dev/null | grep -q OUI
}

main() {
  local before spoilt after code=0
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  step 'Engine and Compose'
  RUN=docker
  if [ "${AMARRE_DEMO:-docker}" = local ]; then
    code=$CANNOT
  else
    docker_prepare || code=$?
  fi
  case $code in
    0) ;;
    "$CANNOT")
      echo 'No engine: showing the same with BACKUP_RUNNER=local on a PostgreSQL of this machine.'
      RUN=local
      local_prepare
      ;;
    *) exit "$code" ;;
  esac

  step 'Images and binary'
  "${RUN}_images"

  step 'Start'
  "${RUN}_start"

  step "Fill the database: Pagila and $ROWS generated rows"
  fill
  before=$(fingerprint)
  show

  step 'Backup, and what there is now'
  "${RUN}_amarre" backup
  "${RUN}_amarre" list

  step 'Spoil every row of two tables'
  "${RUN}_sql" -c "update film set title = 'lost'" -c "update pointages set ouvrier = 'lost', heures = 0"
  spoilt=$(fingerprint)
  show
  [ "$spoilt" != "$before" ] || fail 'the rows were not spoilt'

  step 'Restore, with a typed OUI'
  restore_typing_oui

  step 'What is there now'
  show
  after=$(fingerprint)
  [ "$after" = "$before" ] || fail 'what came back is not what was there before'
  echo 'Every row of both tables is as it was before it was spoilt.'

  step 'Restore beside it: for a look at what was, nothing is replaced and nothing asked'
  "${RUN}_amarre" restore --latest --into demo_side
  "${RUN}_sql" -d demo_side -c 'select count(*) pointages_beside from pointages'
  printf '\nDemo done in %d s. Stopping what it started.\n' "$SECONDS"
}

main
