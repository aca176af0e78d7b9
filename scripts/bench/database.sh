# shellcheck shell=bash
# The benchmark's database: its container, what fills it, and client programs of its own version for this machine. Sourced.

# sql DATABASE [ARGUMENT…]
sql() {
  local database=$1
  shift
  docker exec -i "$CONTAINER" psql -qAtX -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$database" "$@"
}

own_name() { echo "amarre-bench-db${AMARRE_TEST_SUFFIX:-}"; }

own_container() {
  local image
  CONTAINER=$(own_name)
  make_lane
  if [ "$(docker inspect -f '{{.State.Running}} {{range .Mounts}}{{.Source}} {{end}}' "$CONTAINER" 2>/dev/null |
    grep -c "^true .*$LANE ")" != 1 ]; then
    "$AMARRE_ROOT/scripts/testbed.sh" engine
    docker rm -fv "$CONTAINER" >/dev/null 2>&1 || true
    image=$("$AMARRE_ROOT/scripts/testbed.sh" postgres-image)
    docker run -d --name "$CONTAINER" --label amarre.bench=1 --shm-size 1g -v "$LANE:/lane" -e POSTGRES_USER=hub \
      -e POSTGRES_PASSWORD="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" -e POSTGRES_DB=hub_chantier "$image" >/dev/null
  fi
  # By TCP: while the image makes its cluster the server listens on its socket already, and then goes once more.
  wait_until 120 docker exec "$CONTAINER" pg_isready -q -h 127.0.0.1 || fail "$CONTAINER does not become ready"
}

# As the sidecar prepares it.
make_lane() {
  mkdir -p "$LANE"
  chmod 0711 "$LANE"
  ! is_root || chown 10001:10001 "$LANE"
}

connect() {
  [ -n "$CONTAINER" ] || own_container
  # shellcheck disable=SC2016 # expanded in the container
  POSTGRES_USER=$(docker exec "$CONTAINER" sh -c 'printf %s "${POSTGRES_USER:-postgres}"')
  # shellcheck disable=SC2016 # expanded in the container
  POSTGRES_PASSWORD=$(docker exec "$CONTAINER" sh -c 'printf %s "${POSTGRES_PASSWORD:-}"')
  ADDRESS=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$CONTAINER")
  export POSTGRES_USER POSTGRES_PASSWORD ADDRESS
}

# times N: that many in a database of full size. All shapes grow with --scale and shrink with --quick.
times() { awk -v n="$1" -v scale="$SCALE" -v factor="$FACTOR" 'BEGIN { n *= scale * factor; printf "%d", n < 1 ? 1 : n }'; }

# The statements that fill a database of this shape.
filling() {
  case $SHAPE in
    '')
      # By way of names, since one number scaled may be the other.
      sed -e '/^vacuum/d' -e 's/\<100000\>/SITES/g; s/\<4000000\>/TIMES/g; s/\<5000\>/DOCS/g' "$AMARRE_ROOT/tests/data/bench-db.sql" |
        sed "s/SITES/$(times 100000)/g; s/TIMES/$(times 4000000)/g; s/DOCS/$(times 5000)/g" ;;
    wide)
      awk -v rows="$(times 40000)" 'BEGIN { for (t = 1; t <= 5; t++) { columns = ""; values = ""
        for (c = 1; c <= 200; c++) { columns = columns (c > 1 ? ", " : "") "c" c " " (c % 3 ? "int" : "text")
          values = values (c > 1 ? ", " : "") (c % 3 ? "i * " c " % 100003" : "md5((i * " c ")::text)") }
        print "create table wide_" t " (" columns "); insert into wide_" t " select " values " from generate_series(1, " rows ") i;" } }' ;;
    small-rows)
      echo 'create table narrow (id int, n smallint);'
      echo "insert into narrow select i, i % 1000 from generate_series(1, $(times 20000000)) i;" ;;
    blobs)
      # Nothing repeats in it, so that neither the server nor a compressor makes it small.
      echo 'create table big (id int, body bytea);'
      echo "insert into big select 1, string_agg(decode(md5(i::text), 'hex'), ''::bytea) from generate_series(1, $(times 13107200)) i;"
      echo "select lo_from_bytea(0, decode(repeat(md5(i::text), $(times 20000)), 'hex')) from generate_series(1, 500) i;" ;;
    many-tables)
      # One by one (a single transaction would need a lock for each table), without waiting for the disk each time.
      echo 'set synchronous_commit = off;'
      awk -v tables="$(times 10000)" 'BEGIN { for (t = 1; t <= tables; t++)
        print "create table t_" t " (id int primary key, name text); insert into t_" t " select i, md5(i::text) from generate_series(1, 10) i;" }' ;;
  esac
}

# The database that --shape and --scale ask for, in DATABASE.
make_db() {
  local made
  DATABASE=bench${SHAPE:+_${SHAPE//-/_}}
  [ "$SCALE" = 1 ] || DATABASE+=_x${SCALE//./_}
  [ -z "$QUICK" ] || DATABASE+=_quick
  export DATABASE POSTGRES_DB=$DATABASE
  made="benchmark $DATABASE"
  # The comment comes last: where it is, the database is whole.
  if [ "$(sql postgres -c "select shobj_description(oid, 'pg_database') from pg_database where datname = '$DATABASE'")" != "$made" ]; then
    say "make-db: filling $DATABASE in $CONTAINER"
    drop_db "$DATABASE"
    sql postgres -c "create database \"$DATABASE\""
    filling | sql "$DATABASE" -f - >/dev/null
    sql "$DATABASE" -c 'vacuum analyze' -c "comment on database \"$DATABASE\" is '$made'"
  fi
  say "make-db: $DATABASE, $(sql "$DATABASE" -c 'select pg_size_pretty(pg_database_size(current_database()))')"
}

drop_db() { sql postgres -c 'set client_min_messages = warning' -c "drop database if exists \"$1\""; }

remove_db() {
  local container
  container=$(own_name)
  # By name and label both: a container of somebody else's with that name stays.
  if [ "$(docker inspect -f '{{index .Config.Labels "amarre.bench"}}' "$container" 2>/dev/null)" = 1 ]; then
    docker rm -fv "$container" >/dev/null
    say "remove-db: $container removed"
  fi
  rm -rf "$LANE"
}

# The container's own client programs, for this machine, in PROGRAMS: with their libraries and their loader, so that they run
# here whatever this system is, and have the server's version whatever is installed.
take_programs() {
  local directory=$WORK/programs loader name list
  PROGRAMS=$directory/bin
  mkdir -p "$directory/lib" "$PROGRAMS"
  # shellcheck disable=SC2016 # expanded in the container
  list=$(docker exec "$CONTAINER" sh -c 'for p in pg_dump pg_dumpall pg_restore psql; do p=$(command -v "$p") && echo "$p" && ldd "$p"; done')
  list=$(grep -oE '/[^ ]+' <<<"$list" | sort -u)
  # shellcheck disable=SC2086 # paths without spaces, one a line
  docker exec "$CONTAINER" tar -chf - $list 2>/dev/null | tar -C "$directory/lib" --transform 's,.*/,,' -xf -
  loader=$(grep -m 1 '/ld-' <<<"$list")
  for name in pg_dump pg_dumpall pg_restore psql; do
    # By the name of this file the programs find each other.
    # shellcheck disable=SC2016 # expanded when it is run
    printf '#!/bin/sh\nexec %q --argv0 "$0" --library-path %q %q "$@"\n' "$directory/lib/${loader##*/}" "$directory/lib" \
      "$directory/lib/$name" >"$PROGRAMS/$name"
    chmod +x "$PROGRAMS/$name"
  done
  "$PROGRAMS/pg_dump" --version >/dev/null || fail "the client programs of $CONTAINER do not run here"
}
