#!/bin/sh
# Prints a line for each alert and ends with 1 if there is one; for cron and a host's monitoring.
# Thin wrapper: scripts/amarre.sh finds the sidecar or the program; arguments and exit code are handed over unchanged.
exec "$(dirname "$(readlink -f "$0")")/amarre.sh" check "$@"
