#!/bin/sh
# Checks the backup setup and ends with counts; exit code 1 if something failed.
# Thin wrapper: scripts/amarre.sh finds the sidecar or the program; arguments and exit code are handed over unchanged.
exec "$(dirname "$(readlink -f "$0")")/amarre.sh" doctor "$@"
