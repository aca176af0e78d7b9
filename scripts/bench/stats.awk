# Reads results (see `run` in contenders.sh) and prints medians, with -v what=
#   table   a row for each contender: columns (names between commas), base (whom ratios compare with)
#   value   the median of one column of the contender that `name` says
#   highest the highest median of one column over all contenders whose name begins with `name`
# A ratio compares two runs of one round; so what else the machine does weighs on both.

BEGIN {
  FS = "\t"
  title["speed"] = "times as fast as `" base "`"
  title["slow"] = "times the time of `" base "`"
  title["wall"] = "wall, s"
  title["cpu"] = "CPU of its own, s"
  title["machine"] = "CPU of the machine, s"
  title["per_gb"] = "CPU of its own, s per GB of SQL"
  title["cpus"] = "CPU beside `" base "`"
  title["size"] = "size, MB"
  title["sizes"] = "size beside `" base "`"
  title["memory"] = "peak RSS, MiB"
  title["rate"] = "GB/s"
  title["dump"] = "the dump, s"
  title["dumps"] = "the dump beside `" base "`"
  title["idle"] = "CPU, %"
  title["late"] = "end after size / speed, s"
  # How many figures behind the point.
  for (column in title) digits[column] = 2
  digits["size"] = digits["cpu"] = digits["machine"] = digits["memory"] = 1
  digits["sizes"] = 3
  digits["idle"] = 3
}

{
  if (!($2 in count)) order[++names] = $2
  round[$2, ++count[$2]] = $1
  wall[$2, $1] = $3; cpu[$2, $1] = $4; machine[$2, $1] = $5; bytes[$2, $1] = $6; memory[$2, $1] = $7; sql[$2, $1] = $8; dump[$2, $1] = $9
}

# Empty where there is nothing to divide by.
function over(a, b) { return b > 0 && a > 0 ? a / b : "" }

# Bytes per second of a link whose speed is the end of the name; 0 where none is said.
function speed_of(who) { return match(who, /[0-9]+ MB\/s$/) ? substr(who, RSTART) * 1e6 : 0 }

function figure(column, who, r) {
  if (column == "speed") return over(wall[base, r], wall[who, r])
  if (column == "slow") return over(wall[who, r], wall[base, r])
  if (column == "wall") return wall[who, r]
  if (column == "cpu") return cpu[who, r]
  if (column == "machine") return machine[who, r]
  if (column == "per_gb") return over(cpu[who, r], sql[who, r] / 1e9)
  if (column == "cpus") return over(cpu[who, r], cpu[base, r])
  if (column == "size") return over(bytes[who, r], 1e6)
  if (column == "sizes") return over(bytes[who, r], bytes[base, r])
  if (column == "memory") return memory[who, r] / 1024
  if (column == "idle") return wall[who, r] > 0 ? 100 * cpu[who, r] / wall[who, r] : ""
  if (column == "rate") return over(bytes[who, r] / 1e9, wall[who, r])
  if (column == "dump") return dump[who, r]
  if (column == "dumps") return over(dump[who, r], dump[base, r])
  if (column == "late") return speed_of(who) ? wall[who, r] - bytes[who, r] / speed_of(who) : ""
}

# The column's figures of all rounds, sorted, in list[1..n]; returns n.
function collect(column, who,   i, j, n, x) {
  n = 0
  for (i = 1; i <= count[who]; i++) {
    x = figure(column, who, round[who, i])
    if (x == "") continue
    for (j = ++n; j > 1 && list[j - 1] > x; j--) list[j] = list[j - 1]
    list[j] = x
  }
  return n
}

function median(n) { return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2 }

function cell(column, who,   n, f) {
  n = collect(column, who)
  if (!n) return ""
  f = "%." digits[column] "f"
  return sprintf(f " (" f " to " f ")", median(n), list[1], list[n])
}

function value(column, who,   n) {
  n = collect(column, who)
  return n ? sprintf("%.3f", median(n)) : ""
}

END {
  if (what == "table") {
    n = split(columns, wanted, ",")
    head = "| contender |"; line = "| --- |"
    for (c = 1; c <= n; c++) { head = head " " title[wanted[c]] " |"; line = line " --- |" }
    print head "\n" line
    for (i = 1; i <= names; i++) {
      # A pipe would be the end of the cell.
      shown = order[i]
      gsub(/[|]/, "\\\\|", shown)
      row = "| `" shown "` |"
      for (c = 1; c <= n; c++) row = row " " cell(wanted[c], order[i]) " |"
      print row
    }
  } else if (what == "value") {
    print value(columns, name)
  } else {
    for (i = 1; i <= names; i++)
      if (index(order[i], name) == 1 && (best == "" || value(columns, order[i]) + 0 > best + 0)) best = value(columns, order[i])
    print best
  }
}
