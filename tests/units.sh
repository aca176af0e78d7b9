#!/usr/bin/env bash
# The systemd units: systemd itself finds nothing wrong with them, the nightly timer means what it says, and the services have no more
# rights than they need.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

have systemd-analyze || { is_root && apt_install systemd; } || cannot 'systemd-analyze is not installed'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# systemd wants to see the program.
for unit in amarre-backup.service amarre-backup.timer amarre-{check,sync}.{service,timer}; do
  sed "s|/opt/hub-chantier|$AMARRE_ROOT|" "$AMARRE_ROOT/docker/backup-cron/$unit" >"$work/$unit"
done
said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no "$work"/amarre-* 2>&1) || fail "$said"
[ -z "$said" ] || fail "systemd-analyze verify: $said"

# From summer to winter: 03:00 in Paris stays 03:00 there.
calendar=$(sed -n 's/^OnCalendar=//p' "$work/amarre-backup.timer")
next=$(systemd-analyze calendar --base-time='2026-10-23 12:00:00 UTC' --iterations=3 "$calendar" |
  sed -n 's/^ *\((in UTC)\|Next elapse\|Iter[^:]*\): *//p' | grep -o '[0-9-]* 0[12]:00:00 UTC' | xargs)
expected='2026-10-24 01:00:00 UTC 2026-10-25 02:00:00 UTC 2026-10-26 02:00:00 UTC'
[ "$next" = "$expected" ] || fail "the timer would start at $next, not at $expected"

# Of 0 (nothing allowed) to 100.
for service in amarre-backup amarre-check amarre-sync; do
  systemd-analyze security --offline=true --threshold=30 "$work/$service.service" >"$work/security" 2>&1 ||
    fail "$service may do too much: $(tail -n 1 "$work/security")"
done
say "units: as expected; $(tail -n 1 "$work/security" | tr -dc '[:print:]')"
