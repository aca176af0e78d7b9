# shellcheck shell=bash
# The report: a section for each command that was run, and the table of the bars above them. A command replaces its own
# section and its own bars and leaves the rest of the file as it is. Sourced.
# shellcheck disable=SC2016 # Markdown in single quotes, for the whole file

readonly BARS=$AMARRE_ROOT/scripts/bench/bars.txt

# The sections in their order; others come behind, as they were. `notes` is written by hand.
readonly SECTIONS='backup
restore
verify
s3
compress
memory
memory --scale 10
idle
shapes --shape many-tables
shapes --shape small-rows
micro'

# stats WHAT COLUMNS NAME BASE
stats() { awk -v what="$1" -v columns="$2" -v name="$3" -v base="$4" -f "$AMARRE_ROOT/scripts/bench/stats.awk" "$RESULTS"; }

# section TITLE COLUMNS BASE [NOTE…]: of what RESULTS holds, with how each contender was run.
section() {
  local title=$1 columns=$2 base=$3 name
  shift 3
  {
    printf '<!-- section %s -->\n\n## %s\n\n' "$KEY" "$title"
    printf '`scripts/bench.sh %s`: %s.' "$KEY" "$(measured)"
    [ $# -eq 0 ] || printf ' %s' "$@"
    printf '\n\n'
    while read -r name; do printf '**Failed: `%s`.** Its times do not count.\n\n' "$name"; done <"$WORK/failed"
    while read -r name; do printf 'Left out: %s.\n\n' "$name"; done <"$WORK/left-out"
    stats table "$columns" '' "$base"
    [ ! -s "$WORK/commands" ] || { printf '\nAs run:\n\n' && cat "$WORK/commands"; }
    echo
  } >"$WORK/section"
  bars >"$WORK/bars"
  write_report
}

# So that it can be told what a section of another day or machine is worth.
measured() {
  printf '%s UTC, amarre %s, %s cores, %s, %s s in all, load %s at the start' "$(date -u '+%Y-%m-%d %H:%M')" "$(version)" "$(nproc)" \
    "$ROUNDS" "$((SECONDS - STARTED))" "$LOAD"
}

version() {
  local commit
  commit=$(git -C "$AMARRE_ROOT" rev-parse --short HEAD 2>/dev/null) || commit='unknown commit'
  echo "$("$BINARY" --version | cut -d ' ' -f 2) ($commit)"
}

# The rows of the bars that this command measures.
bars() {
  local key figure relation bar kind name base value verdict
  while IFS=';' read -r key figure relation bar kind name base; do
    [ "$key" = "$KEY" ] || continue
    value=$(stats "${kind% *}" "${kind#* }" "$name" "$base")
    verdict=$(awk -v value="$value" -v relation="$relation" -v bar="$bar" 'BEGIN {
      met = relation == "at least" ? value + 0 >= bar + 0 : value + 0 <= bar + 0
      print value == "" ? "not measured" : met ? "met" : "not met" }')
    ! awk -v name="$name" 'index($0, name) == 1 { found = 1 } END { exit !found }' "$WORK/failed" || verdict='failed'
    bar_row "$figure" "$relation $bar" "$value" "$verdict" "$key" "$(date -u +%Y-%m-%d)"
  done < <(grep -v "^#" "$BARS")
}

bar_row() { printf '| %s | %s | %s | %s | `%s` | %s |\n' "$@"; }

# Sections apart, so that each can be replaced: a file for each in WORK/old.
take_apart() {
  rm -rf "$WORK/old"
  mkdir "$WORK/old"
  : >"$WORK/old/keys"
  [ ! -e "$REPORT" ] || awk -v directory="$WORK/old" '
    /^<!-- section .* -->$/ { key = $0; sub(/^<!-- section /, "", key); sub(/ -->$/, "", key); file = directory "/" key; keys = keys key "\n" }
    file != "" { print > file }
    END { printf "%s", keys > (directory "/keys") }' "$REPORT"
}

write_report() {
  local key
  sed '1,2d' "$WORK/section"
  cat "$WORK/bars"
  [ -n "$REPORT" ] || return 0
  take_apart
  # The new bars first: of two rows for one figure the first counts.
  { cat "$WORK/bars"; [ ! -e "$REPORT" ] || grep -E '^\| .* \| [0-9-]+ \|$' "$REPORT" || true; } >"$WORK/all-bars"
  cp "$WORK/section" "$WORK/old/$KEY"
  {
    head_of_report
    while read -r key; do
      [ ! -e "$WORK/old/$key" ] || cat "$WORK/old/$key"
    done < <(echo "$SECTIONS"; { cat "$WORK/old/keys"; echo "$KEY"; } | awk '!seen[$0]++' | grep -vxF "$SECTIONS")
  } >"$WORK/report"
  cp "$WORK/report" "$REPORT"
}

head_of_report() {
  local key figure relation bar row
  cat <<TEXT
# Benchmarks

\`scripts/bench.sh all\` writes this page, \`scripts/bench.sh COMMAND\` only that command's section and its bars; anyone can run it.
Ratios count: seconds are those of one machine on one day.

- Machine: $(machine)
- Versions: $(versions)
- Method: in each round every contender runs once, one after the other (A B C, A B C); a ratio compares two runs of one round, so what else the
  machine does weighs on both. A first round to warm up does not count. What a run made is unpacked by the usual programs and compared, byte for
  byte, with \`pg_dump\` of the same database (but for its random \`\\restrict\` lines) before its time counts; \`pg_dump > /dev/null\` makes
  nothing to compare. Cells are medians (least to most).
- "CPU of its own": user and system seconds of the processes on this side of the engine; of the machine: all that it did meanwhile, server, engine
  and others included. "Peak RSS": of Amarre the kernel's high-water mark, of the others the largest process on this side.

## The bars

Computed from the medians below.

| figure | bar | measured | verdict | command | date |
| --- | --- | --- | --- | --- | --- |
TEXT
  while IFS=';' read -r key figure relation bar _; do
    row=$(grep -F -m 1 "| $figure | $relation $bar |" "$WORK/all-bars") ||
      row=$(bar_row "$figure" "$relation $bar" '' 'not measured' "$key" '-')
    echo "$row"
  done < <(grep -v "^#" "$BARS")
  echo
}

machine() {
  local mount
  mount=$(findmnt -no SOURCE,FSTYPE,SIZE -T "$WORK" | head -n 1 | tr -s ' ')
  printf '%s cores (%s), %s GiB of memory, disk %s (writes and makes durable %s), Linux %s' "$(nproc)" \
    "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$mount" "$(disk_speed)" "$(uname -r | cut -d - -f 1)"
}

disk_speed() {
  dd if=/dev/zero of="$WORK/disk" bs=1M count=256 conv=fsync 2>&1 | awk -F ', ' 'END { print $NF }'
  rm -f "$WORK/disk"
}

versions() {
  printf 'PostgreSQL %s, Docker Engine %s, Rust %s, %s, %s, zstd %s, amarre %s' \
    "$(sql postgres -c 'show server_version' | cut -d ' ' -f 1)" "$(docker version --format '{{.Server.Version}}')" \
    "$(cd "$AMARRE_ROOT" && rustc --version 2>/dev/null | cut -d ' ' -f 2)" "$(gzip --version | head -n 1)" \
    "$(if have pigz; then pigz --version 2>&1 | head -n 1; else echo 'no pigz'; fi)" "$(zstd --version 2>/dev/null | grep -oE '[0-9]+\.[0-9.]+' | head -n 1)" "$(version)"
}
