#!/bin/sh
# Makes one backup now: backup.sh [--upload-s3]
# Thin wrapper: scripts/amarre.sh finds the sidecar or the program; arguments and exit code are handed over unchanged.
exec "$(dirname "$(readlink -f "$0")")/amarre.sh" backup "$@"
