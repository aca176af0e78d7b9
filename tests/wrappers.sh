#!/usr/bin/env bash
# The wrapper scripts, with a docker program and an amarre program that only tell what they were given: what is found
# first, that arguments and exit code arrive unchanged, and when a terminal is asked for.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/repository/scripts"
cp "$root"/scripts/{amarre,backup,restore,test-backup-setup,check-backup-alert}.sh "$work/repository/scripts/"
scripts=$work/repository/scripts
failures=0

# sidecar running|absent
sidecar() {
  cat >"$work/bin/docker" <<SCRIPT
#!/bin/sh
case " \$* " in
  *' ps '*) [ $1 = running ] && echo 0123456789ab; exit 0 ;;
esac
printf 'docker'; printf ' [%s]' "\$@"; printf ' %s\n' "\$(basename "\$COMPOSE_FILE")"
exit 6
SCRIPT
  chmod +x "$work/bin/docker"
}

program() {
  printf '#!/bin/sh\nprintf amarre; printf " [%%s]" "$@"; echo\nexit 3\n' >"$work/bin/amarre"
  chmod +x "$work/bin/amarre"
}

# expect CODE OUTPUT COMMAND…
expect() {
  local code=0 output expected_code=$1 expected=$2
  shift 2
  output=$(PATH=$work/bin:/usr/bin:/bin "$@" 2>&1 </dev/null) || code=$?
  if [ "$code" -ne "$expected_code" ] || [ "$output" != "$expected" ]; then
    printf '%s\n  expected %s: %s\n  got %s: %s\n' "$*" "$expected_code" "$expected" "$code" "$output" >&2
    failures=$((failures + 1))
  fi
}

in_sidecar='docker [compose] [--profile] [backup] [exec] [-T] [backup-cron] [amarre]'

sidecar running
program
# shellcheck disable=SC2016 # a name that no shell may touch
odd='a b"$(x)'
expect 6 "$in_sidecar [backup] [--upload-s3] docker-compose.prod.yml" "$scripts/backup.sh" --upload-s3
expect 6 "$in_sidecar [restore] [$odd] docker-compose.prod.yml" "$scripts/restore.sh" "$odd"
expect 6 "$in_sidecar [doctor] docker-compose.prod.yml" "$scripts/test-backup-setup.sh"
expect 6 "$in_sidecar [check] docker-compose.prod.yml" "$scripts/check-backup-alert.sh"
# What the sidecar cannot see.
chmod -x "$scripts/restore.sh"
touch "$work/env"
chmod 644 "$work/env"
expect 6 "Échec  $scripts/restore.sh ne peut pas être lancé ; à faire : chmod +x $scripts/*.sh
Avertissement  $work/env contient des mots de passe et tous peuvent le lire ; à faire : chmod 600 $work/env
$in_sidecar [doctor] [--json] docker-compose.prod.yml" env BACKUP_LANG=fr ENV_FILE="$work/env" "$scripts/test-backup-setup.sh" --json
chmod +x "$scripts/restore.sh"
chmod 600 "$work/env"
expect 6 "$in_sidecar [doctor] docker-compose.prod.yml" env ENV_FILE="$work/env" "$scripts/test-backup-setup.sh"
expect 6 "$in_sidecar [backup] other.yml" env COMPOSE_FILE=other.yml "$scripts/backup.sh"

# At a terminal `restore` gets one even where its output goes elsewhere; `backup` only where both ends are one.
if command -v script >/dev/null; then
  at_terminal() { PATH=$work/bin:$PATH script -qec "$1" /dev/null </dev/null | tr -d '\r'; }
  expect_at_terminal() {
    local output
    output=$(at_terminal "$2" || true)
    [ "$output" = "$1" ] || { printf 'at a terminal: %s\n  got %s\n' "$2" "$output" >&2; failures=$((failures + 1)); }
  }
  expect_at_terminal 'docker [compose] [--profile] [backup] [exec] [backup-cron] [amarre] [restore] docker-compose.prod.yml' \
    "$scripts/restore.sh | cat"
  expect_at_terminal "$in_sidecar [backup] docker-compose.prod.yml" "$scripts/backup.sh | cat"
  expect_at_terminal 'docker [compose] [--profile] [backup] [exec] [backup-cron] [amarre] [backup] docker-compose.prod.yml' \
    "$scripts/backup.sh"
fi

# What the crontab sets for the old scripts holds in the sidecar too, whose own settings have the other name.
with_days='docker [compose] [--profile] [backup] [exec] [-T] [-e] [RETENTION_DAYS=14] [-e] [BACKUP_RETENTION_DAYS=14] [backup-cron] [amarre]'
expect 6 "$with_days [backup] [--upload-s3] docker-compose.prod.yml" env RETENTION_DAYS=14 "$scripts/backup.sh" --upload-s3

sidecar absent
expect 3 'amarre [restore] [--latest]' "$scripts/restore.sh" --latest
# Called by a link, as from /etc/cron.daily.
ln -s "$scripts/backup.sh" "$work/bin/nightly"
expect 3 'amarre [backup]' "$work/bin/nightly"
rm "$work/bin/nightly"

# The lines that are in crontabs since the old scripts, as cron runs them: hardly any environment, in another directory, the program
# beside the scripts. What the program is given is what the line said.
cat >"$work/repository/amarre" <<'SCRIPT'
#!/bin/sh
printf 'amarre'; printf ' [%s]' "$@"; echo
echo "days=${RETENTION_DAYS-}/${BACKUP_RETENTION_DAYS-} compose=${COMPOSE_FILE-} env=${ENV_FILE-} bucket=${S3_BACKUP_BUCKET-}"
command -v ls
exit 3
SCRIPT
chmod +x "$work/repository/amarre"
touch "$work/repository/docker-compose.prod.yml" "$work/repository/.env.production" "$work/repository/.env.staging"
r=$(cd "$work/repository" && pwd)
ls=$(command -v ls)

# old_line EXPECTED LINE: the output goes where the line says.
old_line() {
  local code=0 got
  : >"$work/cron.log"
  (cd / && env -i HOME=/ LOGNAME=root SHELL=/bin/sh PATH=/usr/bin:/bin /bin/sh -c "$2") || code=$?
  got=$(cat "$work/cron.log")
  if [ "$code" -ne 3 ] || [ "$got" != "$1" ]; then
    printf 'an old line: %s\n  expected 3: %s\n  got %s: %s\n' "$2" "$1" "$code" "$got" >&2
    failures=$((failures + 1))
  fi
}

old_line "amarre [backup] [--upload-s3]
days=/ compose=$r/docker-compose.prod.yml env=$r/.env.production bucket=
$ls" "$scripts/backup.sh --upload-s3 >> $work/cron.log 2>&1"
old_line "amarre [backup] [--upload-s3]
days=14/14 compose=$r/docker-compose.prod.yml env=$r/.env.staging bucket=b
$ls" "RETENTION_DAYS=14 COMPOSE_FILE=docker-compose.prod.yml ENV_FILE=.env.staging S3_BACKUP_BUCKET=b $scripts/backup.sh --upload-s3 >> $work/cron.log 2>&1"
old_line "amarre [check]
days=/ compose=/elsewhere/compose.yml env=/elsewhere/env bucket=
$ls" "COMPOSE_FILE=/elsewhere/compose.yml ENV_FILE=/elsewhere/env $scripts/check-backup-alert.sh > $work/cron.log"
old_line "amarre [backup]
days=30/30 compose=$r/docker-compose.prod.yml env=$r/.env.production bucket=
$ls" "cd $r && RETENTION_DAYS=30 ./scripts/backup.sh >> $work/cron.log 2>&1"
old_line "amarre [restore] [--latest]
days=/ compose=$r/docker-compose.prod.yml env=$r/.env.production bucket=
$ls" "cd $r/scripts && bash restore.sh --latest >> $work/cron.log 2>&1"
# In an environment that is empty altogether.
env -i /bin/sh -c "$scripts/backup.sh" >"$work/empty" 2>&1 || true
grep -qx 'amarre \[backup\]' "$work/empty" || { cat "$work/empty" >&2; failures=$((failures + 1)); }
rm "$work/repository/amarre"

rm "$work/bin/amarre"
expect 1 "amarre.sh: neither a running sidecar (service backup-cron of $work/repository/docker-compose.prod.yml) nor the program amarre was found.
Start the sidecar: docker compose -f $work/repository/docker-compose.prod.yml --profile backup up -d" "$scripts/backup.sh"

[ "$failures" -eq 0 ] && echo 'wrappers: all as expected'
