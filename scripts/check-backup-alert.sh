#!/bin/sh
# Exit code 0 only if the supervisor lives and the newest verified backup is young enough; for a host's monitoring.
# Thin wrapper: scripts/amarre.sh finds the sidecar or the program; arguments and exit code are handed over unchanged.
exec "$(dirname "$0")/amarre.sh" health "$@"
