#!/bin/sh
# Runs amarre where it is: in the running sidecar of COMPOSE_FILE, else the program of this machine.
# Arguments and exit code are handed over unchanged.
#
#   scripts/amarre.sh COMMAND [ARGUMENT…]
#
# COMPOSE_FILE (docker-compose.prod.yml) and ENV_FILE (.env.production) say which application.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)

# The defaults are the files above this script; what the caller names is the caller's.
: "${COMPOSE_FILE:=$root/docker-compose.prod.yml}"
export COMPOSE_FILE
if [ -z "${ENV_FILE:-}" ] && [ -f "$root/.env.production" ]; then
  export ENV_FILE="$root/.env.production"
fi

sidecar_runs() {
  [ -n "$(docker compose --profile backup ps -q --status running backup-cron 2>/dev/null)" ]
}

# A terminal is asked for only where there is one: docker refuses otherwise. `restore` has a question to ask, so for it
# the keyboard alone decides; for the others a pipe behind them must get the bare bytes.
wants_terminal() {
  case ${1:-} in
    restore) [ -t 0 ] ;;
    *) [ -t 0 ] && [ -t 1 ] ;;
  esac
}

if sidecar_runs; then
  if wants_terminal "$@"; then
    exec docker compose --profile backup exec backup-cron amarre "$@"
  fi
  exec docker compose --profile backup exec -T backup-cron amarre "$@"
fi

for binary in "$(command -v amarre)" "$root/amarre" "$root"/target/*/release/amarre "$root/target/release/amarre"; do
  [ -x "$binary" ] && exec "$binary" "$@"
done

echo "${0##*/}: neither a running sidecar (service backup-cron of $COMPOSE_FILE) nor the program amarre was found." >&2
echo "Start the sidecar: docker compose -f $COMPOSE_FILE --profile backup up -d" >&2
exit 1
