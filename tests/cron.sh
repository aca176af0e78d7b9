#!/usr/bin/env bash
# Debian's cron runs docker/backup-cron/crontab.example: at 03:00 of a clock that is set to just before it, and its other lines at their
# times. The crontab is the example but for its paths.
#
#   tests/cron.sh [PROGRAM]     with the program amarre and a database (AMARRE_TEST_PG17) the night's line makes a real backup; else
#                               all lines run a program that only tells what it was given
#
# cron runs in a mount namespace with a spool of its own: the crontabs of this machine are neither read nor touched. It and libfaketime
# come from Debian's packages and are not installed.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

program=${1:-}
is_root || cannot 'not root: cron cannot be tried'
unshare --mount true 2>/dev/null || cannot 'no mount namespace here: cron cannot be tried'
if ! have dpkg || ! have apt-get; then cannot 'no Debian here: cron cannot be tried'; fi

# fetch PACKAGE…: unpacked below the cache.
fetch() {
  local into=$AMARRE_CACHE/cron package
  [ -x "$into/usr/sbin/cron" ] && compgen -G "$into/usr/lib/*/faketime/libfaketime.so.1" >/dev/null && return
  rm -rf "$into"
  mkdir -p "$into/packages"
  for package; do
    (cd "$into/packages" && { apt-get download "$package" || { apt-get update && apt-get download "$package"; }; }) >&2 ||
      cannot "$package cannot be fetched"
  done
  for package in "$into"/packages/*.deb; do dpkg -x "$package" "$into"; done
}
with_lock cron fetch cron libfaketime
cron=$AMARRE_CACHE/cron/usr/sbin/cron
faketime=$(compgen -G "$AMARRE_CACHE/cron/usr/lib/*/faketime/libfaketime.so.1")
# shellcheck disable=SC2046 # one library a word
ldd "$cron" | { ! grep 'not found'; } || cannot 'cron lacks a library here'

work=$(mktemp -d "${TMPDIR:-/tmp}/amarre-cron.XXXXXX")
CRON='' PID_FILE=''
[ -e /var/run/crond.pid ] || PID_FILE=/var/run/crond.pid
stop() {
  [ -z "$CRON" ] || { kill "$CRON" 2>/dev/null && wait "$CRON" 2>/dev/null; } || true
  CRON=''
  # Only what cron was given to hide the real one with.
  [ -z "$PID_FILE" ] || rm -f "$PID_FILE"
}
trap 'stop; rm -rf "$work"' EXIT
# Jobs of cron begin in another session and with their own rights.
chmod 755 "$work"
repository=$work/repository
mkdir -p "$repository" "$work/backups" "$work/spool"
cp -r "$AMARRE_ROOT/scripts" "$repository/"

tells() {
  cat >"$repository/amarre" <<SCRIPT
#!/bin/sh
{ echo "amarre \$* in \$(pwd) TZ=\${TZ-} PATH=\$PATH"; } >>"$work/told"
SCRIPT
  chmod +x "$repository/amarre"
}

# at 'DATE TIME' NEEDLE FILE: cron runs from that moment on (Paris) until FILE holds NEEDLE.
at() {
  local crontab=$work/spool/root
  # shellcheck disable=SC2016 # for the inner shell
  sed -e "s|/opt/hub-chantier|$repository|" -e "s|/var/log/hub-chantier-cron.log|$work/cron.log|" \
    -e "s|echo \"Hub Chantier.*|& >>$work/told|" "$AMARRE_ROOT/docker/backup-cron/crontab.example" >"$crontab"
  chmod 600 "$crontab"
  : >"$work/told"
  # shellcheck disable=SC2016 # for the inner shell
  TZ=Europe/Paris unshare --mount --propagation private sh -c '
    mkdir -p /var/spool/cron/crontabs /etc/cron.d
    mount --bind "$1/spool" /var/spool/cron/crontabs && mount -t tmpfs tmpfs /etc/cron.d
    [ ! -e /etc/crontab ] || mount --bind /dev/null /etc/crontab
    touch "$1/pid" /var/run/crond.pid && mount --bind "$1/pid" /var/run/crond.pid
    LD_PRELOAD=$2 FAKETIME="@$3" exec "$4" -f -L 15' cron "$work" "$faketime" "$1" "$cron" >"$work/said" 2>&1 &
  CRON=$!
  wait_until 100 grep -q "$2" "$3" ||
    fail "at $1 cron did not run the line in time; it said: $(cat "$work/said"); told: $(cat "$work/told" "$work/cron.log" 2>&1)"
  stop
}

tells
at '2026-11-23 02:59:50' backup "$work/told"
line=$(cat "$work/told")
case $line in
  "amarre backup in $repository TZ=Europe/Paris PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"*) ;;
  *) fail "at 03:00 cron ran: $line" ;;
esac
at '2026-11-23 02:19:50' sync "$work/told"
at '2026-11-23 02:44:50' 'check --quiet' "$work/told"
at '2026-12-01 08:59:50' 'try a restore' "$work/told"

if [ -n "$program" ] && [ -n "${AMARRE_TEST_PG17:-}" ]; then
  cp "$(realpath "$program")" "$repository/amarre"
  database=amarre_cron_$$
  sql() { docker exec "$AMARRE_TEST_PG17" psql -qXU "$AMARRE_TEST_PG_USER" -d "$1" -c "$2" >/dev/null; }
  sql postgres "create database $database"
  trap 'stop; sql postgres "drop database $database" || true; rm -rf "$work"' EXIT
  sql "$database" 'create table t as select generate_series(1, 1000) i'
  cat >"$repository/.env.production" <<SETTINGS
POSTGRES_USER=$AMARRE_TEST_PG_USER
POSTGRES_PASSWORD=$AMARRE_TEST_PG_PASSWORD
POSTGRES_DB=$database
BACKUP_DB_CONTAINER=$AMARRE_TEST_PG17
BACKUP_DIR=$work/backups
BACKUP_LOG_FILE=$work/amarre.log
SETTINGS
  : >"$work/cron.log"
  at '2026-11-23 02:59:50' 'backup done' "$work/cron.log"
  gunzip -t "$work/backups/${database}"_backup_*.sql.gz
  grep -q 'run=' "$work/cron.log" || fail "the log of the job does not name its run: $(cat "$work/cron.log")"
  say 'cron: every line ran at its time, and the night made its backup'
else
  say 'cron: every line ran at its time; without a program and a database no backup was made'
fi
