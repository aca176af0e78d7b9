#!/bin/sh
# An S3 store on this machine, for who has no cloud: starts the service `garage` of the Compose file, makes its layout, a bucket and a
# key, and prints the lines for .env.production. It may be run again: what is there stays, and the lines are the same.
#
#   scripts/s3-local.sh [BUCKET]       default: hub-chantier-backups
#
# COMPOSE_FILE (docker-compose.prod.yml) and ENV_FILE (.env.production) say which application.
# GARAGE_DATA=/mnt/other-disk/garage   where all of it lies; not set: a volume. Put it into the file .env, so that Compose always knows it
# GARAGE_IMAGE                         another image; GARAGE_RPC_SECRET_FILE another file for the secret (.garage-rpc-secret)
#
# A store on the same machine is no second place against fire or theft: only against rm and, on another disk, the loss of this one.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
bucket=${1:-hub-chantier-backups}
key=$bucket

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "$*"; exit 1; }

case $bucket in
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '/^set /d'; exit 0 ;;
  -* | *[!a-z0-9.-]*) say "'$bucket' is no name for a bucket: small letters, digits, dots and dashes"; exit 2 ;;
esac

: "${COMPOSE_FILE:=$root/docker-compose.prod.yml}"
export COMPOSE_FILE
if [ -z "${ENV_FILE:-}" ] && [ -f "$root/.env.production" ]; then
  export ENV_FILE="$root/.env.production"
fi

# Beside the Compose file, where Compose looks for it.
first=${COMPOSE_FILE%%:*}
secret=${GARAGE_RPC_SECRET_FILE:-$(cd "$(dirname "$first")" && pwd)/.garage-rpc-secret}
export GARAGE_RPC_SECRET_FILE="$secret"
if [ ! -s "$secret" ]; then
  (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secret")
  say "made $secret"
fi

garage() { docker compose exec -T garage /garage "$@" </dev/null; }

docker compose up -d --wait garage >&2 || fail 'the service garage does not become healthy: docker compose logs garage'

# The layout: all of it on this one node. Its capacity weighs nodes against each other and limits nothing.
if garage status 2>/dev/null | grep -q 'NO ROLE ASSIGNED'; then
  node=$(garage node id -q 2>/dev/null)
  garage layout assign --zone local --capacity 1G "${node%%@*}" >/dev/null
fi
version=$(garage layout show 2>/dev/null | sed -n 's/.*layout apply --version \([0-9][0-9]*\).*/\1/p' | head -n 1)
[ -z "$version" ] || garage layout apply --version "$version" >/dev/null

garage bucket info "$bucket" >/dev/null 2>&1 || garage bucket create "$bucket" >/dev/null
garage key list 2>/dev/null | tr -s '[:blank:]' '\n' | grep -qxF -- "$key" || garage key create "$key" >/dev/null
garage bucket allow --read --write "$bucket" --key "$key" >/dev/null

known=$(garage key info --show-secret "$key" 2>/dev/null)
id=$(printf '%s\n' "$known" | sed -n 's/^Key ID:[[:space:]]*//p')
value=$(printf '%s\n' "$known" | sed -n 's/^Secret key:[[:space:]]*//p')
if [ -z "$id" ] || [ -z "$value" ]; then fail "garage does not say the key '$key': docker compose exec garage /garage key info $key"; fi

say 'these lines belong into .env.production; then start the sidecar anew:'
say "docker compose -f $COMPOSE_FILE --profile backup up -d"
cat <<LINES
S3_BACKUP_BUCKET=$bucket
S3_ENDPOINT_URL=http://garage:3900
AWS_DEFAULT_REGION=garage
AWS_ACCESS_KEY_ID=$id
AWS_SECRET_ACCESS_KEY=$value
LINES
