#!/bin/sh
# Runs amarre where it is: in the running sidecar of COMPOSE_FILE, else the program of this machine.
# Arguments and exit code are handed over unchanged.
#
#   scripts/amarre.sh COMMAND [ARGUMENT…]
#
# COMPOSE_FILE (docker-compose.prod.yml) and ENV_FILE (.env.production) say which application: from where this is called, else above
# this script. RETENTION_DAYS holds for this run, also in the sidecar.
set -u

root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)

# cron's PATH is short, and docker or amarre may lie elsewhere.
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
export PATH

# A job of cron starts in its user's home: a file that is not there is the one above this script.
: "${COMPOSE_FILE:=$root/docker-compose.prod.yml}"
if [ ! -e "$COMPOSE_FILE" ] && [ -e "$root/$COMPOSE_FILE" ]; then
  COMPOSE_FILE=$root/$COMPOSE_FILE
fi
export COMPOSE_FILE
: "${ENV_FILE:=}"
if [ -z "$ENV_FILE" ] && [ -f "$root/.env.production" ]; then
  ENV_FILE=$root/.env.production
elif [ -n "$ENV_FILE" ] && [ ! -e "$ENV_FILE" ] && [ -e "$root/$ENV_FILE" ]; then
  ENV_FILE=$root/$ENV_FILE
fi
if [ -n "$ENV_FILE" ]; then
  export ENV_FILE
else
  unset ENV_FILE
fi

sidecar_runs() {
  [ -n "$(docker compose --profile backup ps -q --status running backup-cron 2>/dev/null)" ]
}

# A terminal is asked for only where there is one: docker refuses otherwise. `restore` and `delete` have a question to ask, so for
# them the keyboard alone decides; for the others a pipe behind them must get the bare bytes.
wants_terminal() {
  case ${1:-} in
    restore | delete) [ -t 0 ] ;;
    *) [ -t 0 ] && [ -t 1 ] ;;
  esac
}

# A line of the crontab goes before what the file of settings says, by either name.
if [ -n "${RETENTION_DAYS:-}" ]; then
  export BACKUP_RETENTION_DAYS="${BACKUP_RETENTION_DAYS:-$RETENTION_DAYS}"
fi

if sidecar_runs; then
  set -- backup-cron amarre "$@"
  # The sidecar has settings of its own.
  if [ -n "${RETENTION_DAYS:-}" ]; then
    set -- -e "RETENTION_DAYS=$RETENTION_DAYS" -e "BACKUP_RETENTION_DAYS=$BACKUP_RETENTION_DAYS" "$@"
    command=${7:-}
  else
    command=${3:-}
  fi
  if wants_terminal "$command"; then
    exec docker compose --profile backup exec "$@"
  fi
  exec docker compose --profile backup exec -T "$@"
fi

for binary in "$(command -v amarre)" "$root/amarre" "$root"/target/*/release/amarre "$root/target/release/amarre"; do
  [ -x "$binary" ] && exec "$binary" "$@"
done

echo "${0##*/}: neither a running sidecar (service backup-cron of $COMPOSE_FILE) nor the program amarre was found." >&2
echo "Start the sidecar: docker compose -f $COMPOSE_FILE --profile backup up -d" >&2
exit 1
