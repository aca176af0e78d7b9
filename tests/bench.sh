#!/usr/bin/env bash
# The benchmark itself, on small databases (what it measures means nothing here): that it runs to its end, that its report has
# every section, contender and bar, that a part alone changes only what is its own, and that a wrong dump is never counted.
#
#   tests/bench.sh BINARY
# shellcheck disable=SC2016 # Markdown in single quotes, for the whole file

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

readonly BENCH=$AMARRE_ROOT/scripts/bench.sh
BINARY=$(realpath "$1")
export AMARRE_TEST_SUFFIX=${AMARRE_TEST_SUFFIX:--$$}
work=$(mktemp -d)
trap '"$BENCH" remove-db; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

quick() { "$BENCH" "$@" --quick --binary "$BINARY" >"$work/output"; }

# The part s3 needs root.
SECTIONS=12 NEXT=s3 BARS=$(grep -v '^#' "$AMARRE_ROOT/scripts/bench/bars.txt")
is_root || { SECTIONS=11 NEXT=compress BARS=$(grep -Ev '^s3;|after a backup, its copy' <<<"$BARS"); }

# Every contender has its times, every bar a verdict.
check_report() {
  local row
  while read -r row; do
    case $row in *s3*) is_root || continue ;; esac
    grep -qF "| \`$row\` | " "$1" || fail "the report has no row for $row"
  done <<'ROWS'
script pipeline
amarre fast gzip
amarre fast zstd
amarre exec gzip
amarre exec zstd
amarre local gzip
amarre local zstd
pg_dump >/dev/null
pg_dump -Fc
pg_dump -Fd -j2
pg_dump \| pigz -p2
pg_dump \| zstd -T2
script restore
amarre restore fast
amarre restore exec
gunzip -t
amarre verify
amarre gzip, aws s3 cp
amarre s3 gzip
amarre s3 gzip 20 MB/s
gzip -6
pigz -6 -p2
zstd -1
zstd -3 -T2
row of 200 MB, fast gzip
row of 200 MB, fast zstd
inspector/dump
digest/sha256
ROWS
  [ "$(grep -cE '^\| .* \| (met|not met) \| `.*` \| [0-9-]+ \|$' "$1")" = "$(wc -l <<<"$BARS")" ] ||
    fail 'a bar has no verdict'
}

# What a run of `verify` may not touch: all but its own section and bars, and the machine's state.
others() { sed -e '/^<!-- section verify -->$/,/^<!-- section '"$NEXT"' -->$/d' -e '/| `verify` |/d' -e '/^- Machine:/d' "$1"; }

report=$work/report.md
printf '<!-- section notes -->\n\nBy hand.\n' >"$report"
quick all --large --report "$report"
check_report "$report"
[ "$(grep -c '^<!-- section ' "$report")" = "$SECTIONS" ] || fail 'not every section is in the report'
grep -qx 'By hand\.' "$report" || fail 'what was written by hand is gone'

cp "$report" "$work/before.md"
quick verify --report "$report"
check_report "$report"
diff <(others "$work/before.md") <(others "$report") || fail 'verify changed more than its own section'
! cmp -s "$work/before.md" "$report" || fail 'verify changed nothing'

# A program that makes another dump.
mkdir "$work/wrong"
printf '#!/bin/sh\nsed s/chantier/Chantier/ | gzip\n' >"$work/wrong/pigz"
chmod +x "$work/wrong/pigz"
! PATH=$work/wrong:$PATH quick backup --only 'pigz script' || fail 'a wrong dump was accepted'
grep -qF '**Failed: `pg_dump | pigz -p2`.**' "$work/output" || fail 'the report hides that a dump was wrong'
! grep -qF '| `pg_dump \| pigz -p2` |' "$work/output" || fail 'the times of a wrong dump count'
grep -qF '| `script pipeline` | ' "$work/output" || fail 'a wrong dump stopped the others'
