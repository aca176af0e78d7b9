#!/bin/sh
# Checks the backup setup and ends with counts; exit code 1 if something failed.
# Thin wrapper: scripts/amarre.sh finds the sidecar or the program; arguments and exit code are handed over unchanged. What only this
# machine can see (the sidecar has neither the scripts nor the settings file) is looked at here first, and said on standard error.
set -u
scripts=$(dirname "$(readlink -f "$0")")
failed=0

case ${BACKUP_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}} in
  fr*) warning=Avertissement failure=Échec fix=' ; à faire :' not_started='ne peut pas être lancé' read_by_all='contient des mots de passe et tous peuvent le lire' ;;
  *) warning=Warning failure=Failure fix='; fix:' not_started='cannot be started' read_by_all='holds passwords, and everybody may read it' ;;
esac

for script in backup restore amarre check-backup-alert; do
  if [ ! -x "$scripts/$script.sh" ]; then
    echo "$failure  $scripts/$script.sh $not_started$fix chmod +x $scripts/*.sh" >&2
    failed=1
  fi
done
settings=${ENV_FILE:-$scripts/../.env.production}
if [ -f "$settings" ] && [ -n "$(find -L "$settings" -maxdepth 0 -perm -o+r 2>/dev/null)" ]; then
  echo "$warning  $settings $read_by_all$fix chmod 600 $settings" >&2
fi

sh "$scripts/amarre.sh" doctor "$@"
code=$?
[ "$code" -ne 0 ] || code=$failed
exit "$code"
