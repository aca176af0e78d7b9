#!/bin/sh
# Restores a backup after a typed OUI: restore.sh FILE | --latest | --from-s3 NAME
# Thin wrapper: scripts/amarre.sh finds the sidecar or the program; arguments and exit code are handed over unchanged.
exec "$(dirname "$(readlink -f "$0")")/amarre.sh" restore "$@"
