#!/usr/bin/env bash
# Runs the command blocks of the documents that are marked as runnable, each as it is written, in a Compose project and a copy
# of the repository of their own.
#
#   tests/docs_run.sh [DOCUMENT…]         README.md, docs/BACKUP_QUICKSTART.md and docs/RECOVERY.md
#   tests/docs_run.sh --list [DOCUMENT…]  only tells the blocks: DOCUMENT:LINE WORDS
#
# A block is marked by its fence:  ```sh runnable [needs=STATE] [answer=OUI]
#   needs=STATE   what must be there before it; made here where it is not: the functions need_STATE below
#   answer=OUI    it asks, and the word is typed as often as it does
# Blocks of one document run in its order, as `bash -e` at a terminal, since they are written for one. README.md's lines for a
# Compose file of one's own are laid over one, and its steps followed.
#
# AMARRE_DOCS_BINARY names a static binary; else it is built. Needs Docker; exit code 3 where there is none.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
cd "$AMARRE_ROOT"

readonly TESTBED=$AMARRE_ROOT/scripts/testbed.sh
readonly DOCUMENTS=(README.md docs/BACKUP_QUICKSTART.md docs/RECOVERY.md)
readonly PATIENCE=900
readonly ROWS=20000
FILE='' # the document at work
COPY='' # its copy of the repository
OWN=''  # the directory of an application of its own
WORK=''
TESTS=0 # how many blocks with "notify --test" were run

# --- blocks -------------------------------------------------------------------------------------------------------

# list DOCUMENT: a line for each block: its line, then the words after `runnable`.
list() { awk '/^```sh runnable( |$)/ { sub(/^```sh runnable */, ""); print NR ":" $0 }' "$1"; }

# text DOCUMENT LINE: what stands in the block that begins there.
text() { awk -v line="$2" 'NR > line && /^```/ { exit } NR > line' "$1"; }

# --- what a block needs ---------------------------------------------------------------------------------------------

compose() { (cd "$COPY" && docker compose -f docker-compose.prod.yml --profile backup --profile s3-local "$@"); }

amarre() { compose exec -T backup-cron amarre "$@" </dev/null; }

# sql DATABASE ARGUMENT…
sql() {
  # shellcheck disable=SC2016 # expanded in the container
  compose exec -T db sh -c 'exec psql -qXAt -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$@"' sh "$@" </dev/null
}

exists() { [ "$(sql postgres -c "select count(*) from pg_database where datname = '$1'")" = 1 ]; }

rows() { sql hub_chantier -c 'select (select count(*) from chantiers) + (select count(*) from pointages)'; }

need_tables() {
  [ "$(sql hub_chantier -c "select to_regclass('pointages') is null")" = t ] || return 0
  sql hub_chantier -c "create table chantiers (id int primary key, nom text not null)" \
    -c "create table pointages (id bigint generated always as identity primary key, ouvrier text not null, heures numeric(4, 2))" \
    -c "insert into chantiers select i, 'chantier ' || i from generate_series(1, $ROWS) i" \
    -c "insert into pointages (ouvrier, heures) select 'ouvrier ' || i % 40, (i % 32) / 4.0 from generate_series(1, $ROWS) i"
}

need_backup() {
  need_tables
  amarre list --json | grep -q '"state": *"verified"' || amarre backup
}

need_restore() {
  need_backup
  amarre list --json | grep -q '"role": *"old"' || amarre restore --latest --yes-replace hub_chantier
}

# A copy beside it that has rows which the live table has lost.
need_probe() {
  need_backup
  exists probe || amarre restore --into probe --latest
  sql hub_chantier -c 'delete from pointages where id < 50'
}

need_lost_table() {
  need_backup
  ! exists probe || sql postgres -c 'drop database probe'
  sql hub_chantier -c 'drop table chantiers'
}

# A server with a bucket that was lost: only the store is left, and what a person has noted of the settings.
need_bucket() {
  [ ! -e "$WORK/settings" ] || return 0
  garage_image
  (cd "$COPY" && cp .env.production.example .env.production && chmod 600 .env.production)
  # Beside the defaults: they come last and hold.
  printf 'POSTGRES_PASSWORD=%s\n' "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" >"$WORK/settings"
  (cd "$COPY" && scripts/s3-local.sh) >>"$WORK/settings"
  cat "$WORK/settings" >>"$COPY/.env.production"
  compose up -d --build
  wait_until 60 amarre health || fail 'the sidecar does not become healthy'
  need_backup
  mkdir "$COPY/saved"
  compose cp -a backup-cron:/var/backups/hub-chantier/. "$COPY/saved"
  lose_server
  # shellcheck disable=SC2016 # expanded when it is run
  printf '#!/bin/sh\ncat %q >>"$1"\n' "$WORK/settings" >"$WORK/editor"
  chmod +x "$WORK/editor"
}

# The copy of its directory is left, and no bucket.
need_saved() {
  need_bucket
  [ ! -e "$WORK/lost-again" ] || return 0
  touch "$WORK/lost-again"
  lose_server
  (cd "$COPY" && cp .env.production.example .env.production && grep '^POSTGRES_' "$WORK/settings" >>.env.production)
}

# What people write into the file of settings: a bucket, here one of this machine, and who is told.
need_settings() {
  need_tables
  [ ! -e "$WORK/web" ] || return 0
  local host python
  garage_image
  host=$(docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' "${COMPOSE_PROJECT_NAME}_default")
  python=$("$TESTBED" aiosmtpd | tail -n 1)
  sink web "$python" tests/common/http_sink.py "$host"
  sink mail "$python" tests/common/smtp_sink.py \
    "{\"host\": \"$host\", \"port\": 0, \"tls\": \"none\", \"user\": \"backup@example.org\", \"password\": \"PASSWORD\"}"
  (cd "$COPY" && scripts/s3-local.sh) >>"$COPY/.env.production"
  {
    printf "BACKUP_NOTIFY='ntfy+http://%s:%s/a-topic-of-yours,smtp://backup%%40example.org:PASSWORD@%s:%s/?to=ops@example.org&tls=none'\n" \
      "$host" "$(head -n 1 "$WORK/web")" "$host" "$(head -n 1 "$WORK/mail")"
    printf 'BACKUP_NOTIFY_LEVEL=warning\nBACKUP_NOTIFY_DIGEST=weekly\n'
  } >>"$COPY/.env.production"
}

# The services know them.
need_channels() {
  need_settings
  compose up -d
}

# sink NAME COMMAND…: an end of messages, which says its port, then each message, in a file of that name.
sink() {
  local name=$1
  shift
  [ -p "$WORK/alive" ] || mkfifo "$WORK/alive"
  "$@" <>"$WORK/alive" >"$WORK/$name" 2>"$WORK/$name.log" &
  echo "$!" >>"$WORK/sinks"
  wait_until 60 test -s "$WORK/$name" || { cat "$WORK/$name.log" >&2; fail "no sink for messages: $name"; }
}

lose_server() {
  compose rm -sfv db backup-cron
  docker volume rm "${COMPOSE_PROJECT_NAME}_postgres_data" "${COMPOSE_PROJECT_NAME}_backup_data" >/dev/null
  rm -f "$COPY/.env.production"
}

# The image of the store; where no registry answers, the server that the tests use, on the base of the database's.
garage_image() {
  local official=dxflrs/garage:v2.5.0 program
  ! image_exists "$GARAGE_IMAGE" || return 0
  if image_exists "$official" || timeout 900 docker pull -q "$official"; then
    docker tag "$official" "$GARAGE_IMAGE"
    return
  fi
  program=$("$TESTBED" garage | tail -n 1)
  mkdir "$WORK/garage"
  cp "$program" "$WORK/garage/garage"
  printf 'FROM %s\nCOPY garage /garage\nUSER 0\nENTRYPOINT []\nCMD ["/garage", "server"]\n' "$POSTGRES_IMAGE" >"$WORK/garage/Dockerfile"
  docker build -t "$GARAGE_IMAGE" "$WORK/garage"
}

# --- what must be true after it -------------------------------------------------------------------------------------

after_lost_table() { [ "$(rows)" = $((2 * ROWS)) ] || fail "the table is not back: $(rows) rows"; }

after_probe() { [ "$(rows)" = $((2 * ROWS)) ] || fail "other rows than before: $(rows)"; }

after_bucket() { restored_whole; }

after_saved() { restored_whole; }

# Each channel has its one test message, where the block sends it, and all that a backup made here lies elsewhere too.
after_settings() {
  local name got
  if grep -q 'notify --test' "$WORK/block"; then
    TESTS=$((TESTS + 1))
    for name in web mail; do
      got=$(grep -c 'test of the notifications' "$WORK/$name") || true
      [ "$got" -eq "$TESTS" ] || { cat "$WORK/$name" >&2; fail "$name got $got test messages, not $TESTS"; }
    done
  fi
  ! grep -Eq ' (backup|sync)( |$)' "$WORK/block" || [ "$(amarre list | grep -Ec ' yes +yes ')" -gt 0 ] ||
    { amarre list >&2; fail 'no backup is here and in the bucket'; }
}

after_channels() { after_settings; }

# Blocks that restore are those that ask.
restored_whole() {
  [ -n "$ANSWER" ] || return 0
  [ "$(rows)" = $((2 * ROWS)) ] || fail "what was restored is not whole: $(rows) rows"
}

# --- running --------------------------------------------------------------------------------------------------------

# at_a_terminal FILE: runs it, and answers its questions.
at_a_terminal() {
  local typed=$WORK/keyboard screen=$WORK/screen child code=0 answered=0 asked
  rm -f "$typed"
  mkfifo "$typed"
  : >"$screen"
  (cd "$COPY" && exec script -qefc "bash -euo pipefail $(printf %q "$1")" "$screen" <"$typed") &
  child=$!
  exec 8>"$typed"
  local deadline=$((SECONDS + PATIENCE))
  while kill -0 "$child" 2>/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || { kill "$child"; fail "no end after $PATIENCE s"; }
    asked=$({ grep -oE '(to go on|pour continuer) ?: ' "$screen" || true; } | wc -l)
    if [ -n "$ANSWER" ] && [ "$asked" -gt "$answered" ]; then
      answered=$asked
      echo "$ANSWER" >&8
    fi
    sleep 0.2
  done
  wait "$child" || code=$?
  exec 8>&-
  [ -z "$ANSWER" ] || [ "$answered" -gt 0 ] || fail 'it asked nothing'
  return "$code"
}

# make STATE: a failure inside counts, so it is no part of a condition.
make() {
  local code
  set +e
  (set -e; "need_$1") >"$WORK/need.log" 2>&1
  code=$?
  set -e
  [ "$code" -eq 0 ] || tail -n 40 "$WORK/need.log" >&2
  return "$code"
}

# run LINE WORDS: one block of FILE.
run() {
  local line=$1 needs='' word code=0
  ANSWER=''
  for word in $2; do
    case $word in
      needs=*) needs=${word#needs=} ;;
      answer=*) ANSWER=${word#answer=} ;;
      *) fail "$FILE:$line: '$word' means nothing here" ;;
    esac
  done
  needs=${needs//-/_}
  [ -z "$needs" ] || make "$needs" || fail "$FILE:$line: what it needs could not be made: $needs"
  printf '\n== %s:%s %s\n' "$FILE" "$line" "$2"
  text "$FILE" "$line" | tee "$WORK/block"
  at_a_terminal "$WORK/block" || code=$?
  [ "$code" -eq 0 ] || fail "$FILE:$line: exit code $code"
  [ -z "$needs" ] || ! declare -F "after_$needs" >/dev/null || "after_$needs"
}

# --- a Compose file of one's own --------------------------------------------------------------------------------------

own() {
  (cd "$OWN" && COMPOSE_PROJECT_NAME=amarre-docs-own-$$ docker compose -f base.yml -f readme.yml --profile backup "$@") </dev/null
}

# step WORD…: `docker compose` as README.md tells it, with the two files together; `exec` without a terminal, since here is none.
step() {
  grep -qF "\`docker compose $*\`" "$WORK/section" || fail "README.md has no step 'docker compose $*' any more"
  printf '\n== README.md, in a Compose file of your own: docker compose %s\n' "$*"
  if [ "$1" = exec ]; then set -- exec -T "${@:2}"; fi
  own "$@"
}

# An application that has nothing but its database gets the sidecar by README.md's lines: only the names of container and image
# are others here, since the machine has one of each.
own_compose_file() {
  local container=amarre-docs-own-$$-backup changed list
  OWN=$WORK/own
  rm -rf "$OWN"
  mkdir "$OWN"
  awk '/^#+ / { here = $0 == "### In a Compose file of your own" } here' README.md >"$WORK/section"
  awk '/^```/ { inside = $0 == "```yaml"; next } inside' "$WORK/section" |
    sed -e "s|^\( *container_name: \)my-app-backup\$|\1$container|" -e "s|^\( *image: \)amarre:local\$|\1$AMARRE_IMAGE|" >"$OWN/readme.yml"
  changed=$(grep -cxE " *(container_name: $container|image: $AMARRE_IMAGE)" "$OWN/readme.yml") || true
  [ "$changed" -eq 2 ] || fail "README.md: its lines for a Compose file name container or image otherwise"
  cat >"$OWN/base.yml" <<YAML
services:
  db:
    image: $POSTGRES_IMAGE
    env_file: .env.production
    volumes:
      - application_data:/var/lib/postgresql/data
volumes:
  application_data:
YAML
  install -m 0600 "$COPY/.env.production.example" "$OWN/.env.production"
  sed -i "s/^POSTGRES_PASSWORD=.*/POSTGRES_PASSWORD=$(openssl rand -hex 24)/" "$OWN/.env.production"
  step --profile backup up -d
  wait_until 60 own exec -T backup-cron amarre health || fail 'the sidecar of a Compose file of its own does not become healthy'
  # shellcheck disable=SC2016 # expanded in the container
  own exec -T db sh -c 'exec psql -qX -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" \
    -c "create table chantiers as select generate_series(1, 1000) as id"'
  step exec backup-cron amarre doctor | tee "$WORK/doctor"
  grep -Eq '^OK +lane ' "$WORK/doctor" || fail 'dumps do not pass through the volume of README.md'
  step exec backup-cron backup
  list=$(own exec -T backup-cron amarre list)
  [[ $list == *verified* ]] || { printf '%s\n' "$list" >&2; fail 'no backup of it is verified'; }
  own down -v >/dev/null 2>&1
  OWN=''
}

document() {
  FILE=$1 COPY=$WORK/copy
  export COMPOSE_PROJECT_NAME=amarre-docs-$$ AMARRE_CONTAINER_NAME=amarre-docs-$$-backup EDITOR=$WORK/editor
  close_sinks
  rm -rf "$COPY" "$WORK/settings" "$WORK/lost-again" "$WORK/web" "$WORK/mail"
  TESTS=0
  mkdir -p "$COPY/target/image"
  git ls-files -coz --exclude-standard | tar --null -T - -cf - | tar -C "$COPY" -xf -
  install -m 0755 "$BINARY" "$COPY/target/image/amarre"
  local blocks entry
  mapfile -t blocks < <(list "$FILE")
  [ "${#blocks[@]}" -gt 0 ] || fail "$FILE: no block is marked"
  for entry in "${blocks[@]}"; do run "${entry%%:*}" "${entry#*:}"; done
  # The volumes too: the next document begins with nothing.
  compose down -v >/dev/null 2>&1
  if [ "$FILE" = README.md ]; then own_compose_file; fi
}

close_sinks() {
  [ ! -f "$WORK/sinks" ] || xargs kill <"$WORK/sinks" || true
  rm -f "$WORK/sinks"
}

stop() {
  local code=$?
  trap - EXIT INT TERM
  set +e
  close_sinks
  [ -z "$OWN" ] || { [ "$code" -eq 0 ] || own logs --tail 20 >&2; own down -v >/dev/null 2>&1; }
  [ -z "$COPY" ] || { [ "$code" -eq 0 ] || compose logs --tail 20 backup-cron >&2; compose down -v >/dev/null 2>&1; }
  docker rmi "amarre:docs-$$" "amarre-docs-garage:$$" >/dev/null 2>&1
  rm -rf "$WORK"
  exit "$code"
}

main() {
  local only='' document
  if [ "${1:-}" = --list ]; then only=list; shift; fi
  [ $# -gt 0 ] || set -- "${DOCUMENTS[@]}"
  if [ -n "$only" ]; then
    for document in "$@"; do list "$document" | sed "s|^\([0-9]*\):|$document:\1 |"; done
    return
  fi
  docker info >/dev/null 2>&1 || cannot 'no engine answers: "scripts/testbed.sh engine" starts one'
  docker compose version >/dev/null 2>&1 || cannot 'no "docker compose": "scripts/testbed.sh compose" unpacks it'
  have script || cannot 'no program "script": install bsdutils (util-linux)'
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/amarre-docs.XXXXXX")
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  POSTGRES_IMAGE=$("$TESTBED" postgres-image)
  "$TESTBED" base-image
  BINARY=${AMARRE_DOCS_BINARY:-$("$TESTBED" binary | tail -n 1)}
  # The blocks say `--build`: around the binary, which is the same program.
  export POSTGRES_IMAGE AMARRE_IMAGE=amarre:docs-$$ AMARRE_BINARY=prebuilt AMARRE_PREBUILT=target/image/amarre
  export GARAGE_IMAGE=amarre-docs-garage:$$
  # Lines, not pictures that move.
  export COMPOSE_PROGRESS=plain COMPOSE_ANSI=never BUILDKIT_PROGRESS=plain
  unset ENV_FILE COMPOSE_FILE COMPOSE_PROFILES BACKUP_LANG
  for document in "$@"; do document "$document"; done
  printf '\nevery block ran as it is written: %s\n' "$*"
}

main "$@"
