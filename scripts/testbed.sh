#!/usr/bin/env bash
# Makes the parts that the demo and the tests run on: an engine, Compose, images, databases, the binary.
#
#   scripts/testbed.sh COMMAND [ARGUMENT…] [COMMAND …]
#
#   engine                 find a running engine; as root install and start one
#   engine-stop            stop the engine that `engine` started (never another one)
#   compose                find or unpack `docker compose` v2 and `docker buildx`
#   base-image             the base of the sidecar's image
#   images [--all]         the base and PostgreSQL's image; --all: both majors that the tests use
#   postgres-image [MAJOR] print the reference of PostgreSQL's image, making it when missing
#   toolchain-image        the image that the Dockerfile builds from source in
#   binary [--features X]  the static release binary; prints its path
#   sidecar-image [TAG]    the sidecar's image (amarre:testbed) with that binary; [TAG --features X] hands features on
#   source-image [TAG]     the same as its Dockerfile builds it from source, and that binary as target/image/amarre
#   postgres-local         programs of a local PostgreSQL server; prints their directory
#   garage                 a real S3 server, built from source where it is missing; prints its path
#   moto                   a simulation of AWS's S3, from PyPI; prints its path
#   aiosmtpd               a mail server for tests, from PyPI; prints the path of the Python that has it
#   awscli                 the usual S3 client, from PyPI; prints its path
#   up [MAJOR…]            start the tests' databases (17 and 15) and the S3 servers; prints lines to eval
#   down                   stop them
#
# What can be pulled is pulled. Where no registry answers, stand-ins are made from Debian's packages, and that is said.
# Everything fetched or made is kept in AMARRE_CACHE (default ~/.cache/amarre) and made anew when missing.
# AMARRE_TEST_SUFFIX is added to the names of the tests' databases, so that two runs do not share them.
# Exit code 3: this machine lacks something that only its owner can install; the last line says what.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly COMMANDS=' engine engine-stop compose base-image images postgres-image toolchain-image binary sidecar-image source-image postgres-local garage moto aiosmtpd awscli up down '
readonly BASE_IMAGE=alpine:3.22
readonly STAND_IN=amarre-testbed
readonly TEST_MAJORS='17 15'
readonly GARAGE_VERSION=2.5.0
readonly MOTO_VERSION=5.2.5
readonly AIOSMTPD_VERSION=1.4.6
readonly AWSCLI_VERSION=1.45.11
readonly TEST_BUCKET=amarre-test

# --- engine -----------------------------------------------------------------------------------------------------

engine_answers() { docker info >/dev/null 2>&1; }

cmd_engine() {
  if engine_answers; then
    say "engine: $(docker version --format '{{.Server.Version}}') is running"
    return
  fi
  is_root || cannot 'engine: none answers and this is not root; install Docker Engine and join its group'
  have dockerd || apt_install docker.io
  with_lock engine engine_start
}

engine_start() {
  # The package may have started it, or another run that held the lock before this one.
  wait_until 5 engine_answers && { say 'engine: running'; return; }
  mkdir -p "$AMARRE_CACHE/logs"
  say 'engine: starting dockerd in the background'
  setsid dockerd >"$AMARRE_CACHE/logs/dockerd.log" 2>&1 </dev/null 9>&- &
  echo "$!" >"$AMARRE_CACHE/dockerd.pid"
  wait_until 60 engine_answers_or_ended "$!" && engine_answers && return
  tail -n 20 "$AMARRE_CACHE/logs/dockerd.log" >&2
  cmd_engine_stop
  cannot 'engine: dockerd does not start here (its last words are above); install or start Docker Engine'
}

engine_answers_or_ended() { engine_answers || process_gone "$1"; }

cmd_engine_stop() {
  local pid_file=$AMARRE_CACHE/dockerd.pid pid
  [ -f "$pid_file" ] || return 0
  pid=$(cat "$pid_file")
  rm -f "$pid_file"
  # A process id may have been given to somebody else since.
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0
  say "engine-stop: ending dockerd ($pid)"
  kill "$pid"
  wait_until 30 process_gone "$pid" || fail "dockerd ($pid) does not end"
}

process_gone() { ! kill -0 "$1" 2>/dev/null; }

# --- Debian's packages, beside the system's own lists ----------------------------------------------------------------

# apt_beside ARGUMENT…: apt-get over trixie with sources, lists and cache of its own; the system's stay as they are.
apt_beside() {
  local dir=$AMARRE_CACHE/apt
  apt-get -q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User="$(id -un)" \
    -o APT::Get::List-Cleanup=true "$@"
}

# fetch_package NAME: prints the path of a package of trixie, fetched into the cache once.
fetch_package() {
  local name=$1 dir=$AMARRE_CACHE/apt found mirror
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/packages" "$dir/partial"
  found=$(find "$dir/packages" -name "${name}_*.deb" | head -n 1)
  if [ -z "$found" ]; then
    have apt-get || cannot "no apt-get here: install $name first"
    mirror=$(debian_mirror)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$dir/sources.list"
    quietly apt-beside apt_beside update
    (cd "$dir/partial" && quietly "fetch-$name" apt_beside download "$name")
    mv "$dir/partial/$name"_*.deb "$dir/packages/"
    found=$(find "$dir/packages" -name "${name}_*.deb" | head -n 1)
  fi
  printf '%s\n' "$found"
}

cmd_compose() { with_lock packages compose_locked; }

compose_locked() {
  have docker || cannot 'compose: no docker program; run "testbed.sh engine" first'
  plugin compose docker-compose
  plugin buildx docker-buildx
}

# plugin NAME PACKAGE: a plugin of the docker program, unpacked for this user only.
plugin() {
  local name=$1 package=$2 directory=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins unpacked deb
  if docker "$name" version >/dev/null 2>&1; then
    say "compose: docker $name is there"
    return
  fi
  say "compose: unpacking Debian's $package for this user"
  deb=$(fetch_package "$package")
  unpacked=$(mktemp -d "$AMARRE_CACHE/unpack.XXXXXX")
  dpkg -x "$deb" "$unpacked"
  mkdir -p "$directory"
  install -m 0755 "$(find "$unpacked" -type f -path "*/cli-plugins/docker-$name" | head -n 1)" "$directory/docker-$name"
  rm -rf "$unpacked"
  docker "$name" version >/dev/null || fail "compose: docker $name does not run"
}

# --- images -----------------------------------------------------------------------------------------------------

# A registry that cannot be reached fails within seconds; one that answers slowly is given its time.
pull() {
  [ "${AMARRE_NO_PULL:-}" != 1 ] || return 1
  say "images: pulling $1"
  timeout 900 docker pull -q "$1" >/dev/null 2>&1
}

cmd_images() {
  local major
  cmd_base_image
  if [ "${1:-}" = --all ]; then
    for major in $TEST_MAJORS; do cmd_postgres_image "$major" >/dev/null; done
  else
    cmd_postgres_image >/dev/null
  fi
}

cmd_base_image() { with_lock images base_image_locked; }

base_image_locked() {
  if image_exists "$BASE_IMAGE"; then
    say "base-image: $BASE_IMAGE is there"
  elif pull "$BASE_IMAGE"; then
    say "base-image: $BASE_IMAGE pulled"
  else
    say "base-image: $BASE_IMAGE cannot be pulled; importing a stand-in made of busybox-static under its name"
    base_stand_in
  fi
}

base_stand_in() {
  local deb root applet applets
  deb=$(with_lock packages fetch_package busybox-static)
  root=$(mktemp -d "$AMARRE_CACHE/unpack.XXXXXX")
  dpkg -x "$deb" "$root/package"
  mkdir -p "$root/image"/{bin,dev,etc,home,lib,proc,root,run,sbin,sys,usr/bin,usr/sbin,usr/local/bin,var/log}
  mkdir -m 1777 "$root/image/tmp"
  install -m 0755 "$(find "$root/package" -type f -path '*/bin/busybox' | head -n 1)" "$root/image/bin/busybox"
  applets=$("$root/image/bin/busybox" --list)
  for applet in $applets; do
    [ "$applet" = busybox ] || ln -s busybox "$root/image/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/image/etc/passwd"
  echo 'root:x:0:' >"$root/image/etc/group"
  tar -C "$root/image" --owner=0 --group=0 -c . | docker import --change 'CMD ["/bin/sh"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change "LABEL $STAND_IN=stand-in" - "$BASE_IMAGE" >/dev/null
  rm -rf "$root"
}

# postgres-image [MAJOR]: without a major, what the Compose file asks for (16), or the newest stand-in.
cmd_postgres_image() { with_lock images postgres_image_locked "${1:-16}"; }

postgres_image_locked() {
  local official=postgres:$1-alpine major=$1
  case $1 in 16) major=17 ;; esac
  local stand_in=$STAND_IN/postgres:$major
  if image_exists "$official"; then
    say "postgres-image: $official is there"
    echo "$official"
  elif stand_in_is_current "$stand_in"; then
    say "postgres-image: $stand_in is there (a stand-in for $official)"
    echo "$stand_in"
  elif pull "$official"; then
    say "postgres-image: $official pulled"
    echo "$official"
  else
    say "postgres-image: $official cannot be pulled; making $stand_in from Debian's packages"
    postgres_stand_in "$major"
    echo "$stand_in"
  fi
}

# A stand-in made by an older recipe is made anew.
stand_in_is_current() {
  [ "$(docker image inspect -f '{{index .Config.Labels "amarre-testbed.recipe"}}' "$1" 2>/dev/null)" = "$(recipe)" ]
}

recipe() { cat "$AMARRE_ROOT"/scripts/testbed/postgres/* | sha256sum | cut -c 1-16; }

postgres_stand_in() {
  local major=$1 suite
  case $major in
    17) suite=trixie ;;
    15) suite=bookworm ;;
    *) fail "postgres-image: no Debian release for PostgreSQL $major; there are: $TEST_MAJORS" ;;
  esac
  import_root "postgres-$major" "$suite" postgresql,ca-certificates
  quietly "build-postgres-$major" docker build -t "$STAND_IN/postgres:$major" --build-arg "MAJOR=$major" \
    --label "amarre-testbed.recipe=$(recipe)" "$AMARRE_ROOT/scripts/testbed/postgres"
}

# import_root NAME SUITE PACKAGES: the image amarre-testbed/root:NAME, from a root that debootstrap made and the cache keeps.
import_root() {
  local name=$1 image=$STAND_IN/root:$1
  root_tar "$@"
  image_exists "$image" || docker import "$AMARRE_CACHE/roots/$name.tar" "$image" >/dev/null
}

root_tar() {
  local name=$1 suite=$2 packages=$3 tar=$AMARRE_CACHE/roots/$1.tar root
  [ ! -f "$tar" ] || return 0
  is_root || cannot "$name cannot be made: not root, and no registry to pull from"
  have debootstrap || apt_install debootstrap
  mkdir -p "$AMARRE_CACHE/roots" "$AMARRE_CACHE/debs"
  root=$(mktemp -d "$AMARRE_CACHE/root.XXXXXX")
  chmod 0755 "$root"
  say "$name: debootstrap of $suite with $packages"
  if ! quietly "debootstrap-$name" debootstrap --variant=minbase --cache-dir="$AMARRE_CACHE/debs" \
    --include="$packages" "$suite" "$root" "$(debian_mirror)"; then
    rm -rf --one-file-system "$root"
    return 1
  fi
  # What no container needs: the archives, the lists, the cluster that the package made for itself, manuals.
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/var/lib/postgresql/*/* \
    "$root"/etc/postgresql/*/* "$root"/usr/share/{doc,man}/* "$root"/var/log/postgresql/*
  tar -C "$root" --one-file-system -cf "$tar.partial" .
  mv "$tar.partial" "$tar"
  rm -rf --one-file-system "$root"
}

# --- toolchain and binary -----------------------------------------------------------------------------------------

# The tag that the Dockerfile's build stage asks for is written there, and only there.
toolchain_tag() { sed -n 's/^ARG RUST_IMAGE=//p' "$AMARRE_ROOT/docker/backup-cron/Dockerfile"; }

cmd_toolchain_image() { with_lock images toolchain_image_locked; }

toolchain_image_locked() {
  local tag
  tag=$(toolchain_tag)
  if image_exists "$tag"; then
    say "toolchain-image: $tag is there"
  elif pull "$tag"; then
    say "toolchain-image: $tag pulled"
  else
    say "toolchain-image: $tag cannot be pulled; making a stand-in of bookworm and this machine's own toolchain"
    toolchain_stand_in "$tag"
  fi
}

toolchain_stand_in() {
  local tag=$1 sysroot root
  have rustc || cannot 'toolchain-image: no rustc on this machine; install Rust'
  sysroot=$(cd "$AMARRE_ROOT" && rustc --print sysroot)
  root_tar toolchain bookworm gcc,libc6-dev,make,cmake,ca-certificates
  root=$(mktemp -d "$AMARRE_CACHE/root.XXXXXX")
  chmod 0755 "$root"
  tar -C "$root" -xf "$AMARRE_CACHE/roots/toolchain.tar"
  tar -C "$sysroot" --exclude=./lib/rustlib/src -c ./bin ./lib | tar -C "$root/usr/local" --no-same-owner -x
  # The machine's certificates too: behind a proxy of its own, cargo in the container would know none that answers.
  rm -rf "$root/etc/ssl/certs"
  cp -rL /etc/ssl/certs "$root/etc/ssl/certs"
  tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change "LABEL $STAND_IN=stand-in" - "$tag" >/dev/null
  rm -rf --one-file-system "$root"
}

host_triple() { rustc -vV | sed -n 's/^host: //p'; }

cmd_binary() {
  local triple
  have cargo || cannot 'binary: no cargo on this machine; install Rust'
  cd "$AMARRE_ROOT"
  triple=$(host_triple)
  say "binary: cargo build --release --target $triple, linked statically${*:+ ($*)}"
  # With --target the flag reaches only the program, not the build scripts, which need a dynamic libc.
  # As the Dockerfile builds it.
  RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs' cargo build --release --locked --target "$triple" --bin amarre "$@" >&2
  printf '%s\n' "$(target_directory)/$triple/release/amarre"
}

target_directory() {
  case ${CARGO_TARGET_DIR:-} in
    '') echo "$AMARRE_ROOT/target" ;;
    /*) echo "$CARGO_TARGET_DIR" ;;
    *) echo "$AMARRE_ROOT/$CARGO_TARGET_DIR" ;;
  esac
}

cmd_sidecar_image() {
  local tag=amarre:testbed binary
  case ${1:-} in
    '' | --*) ;;
    *) tag=$1; shift ;;
  esac
  cmd_base_image
  binary=$(cmd_binary "$@" | tail -n 1)
  with_lock sidecar-image sidecar_image_locked "$tag" "$binary"
}

sidecar_image_locked() {
  # The one place below target/ that .dockerignore lets into the context.
  install -D -m 0755 "$2" "$AMARRE_ROOT/target/image/amarre"
  say "sidecar-image: building $1"
  quietly sidecar-image docker build -t "$1" -f "$AMARRE_ROOT/docker/backup-cron/Dockerfile" \
    --build-arg BINARY=prebuilt --build-arg PREBUILT=target/image/amarre "$AMARRE_ROOT"
}

# As people build it who have no toolchain. What it leaves in target/image is what the image has.
cmd_source_image() {
  local tag=${1:-amarre:testbed}
  # For its BuildKit.
  cmd_compose
  cmd_base_image
  cmd_toolchain_image
  with_lock sidecar-image source_image_locked "$tag"
}

source_image_locked() {
  local made=amarre-copy${AMARRE_TEST_SUFFIX:-}
  say "source-image: building $1 inside Docker"
  quietly source-image docker build -t "$1" -f "$AMARRE_ROOT/docker/backup-cron/Dockerfile" "$AMARRE_ROOT"
  mkdir -p "$AMARRE_ROOT/target/image"
  docker rm -f "$made" >/dev/null 2>&1 || true
  docker create --name "$made" "$1" >/dev/null
  docker cp "$made:/usr/local/bin/amarre" "$AMARRE_ROOT/target/image/amarre" || { docker rm "$made" >/dev/null; return 1; }
  docker rm "$made" >/dev/null
}

# --- a local PostgreSQL -------------------------------------------------------------------------------------------

# The directory of initdb and pg_ctl: the newest of Debian's, else where they are on PATH.
local_programs() {
  local directory
  directory=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1) || true
  [ -n "$directory" ] || directory=$(command -v initdb) || return 1
  directory=$(dirname "$directory")
  [ -x "$directory/pg_ctl" ] && [ -x "$directory/pg_dump" ] && printf '%s\n' "$directory"
}

# Only the programs are wanted: no cluster, no service. The setting that says so goes again afterwards.
install_server() {
  local setting=/etc/postgresql-common/createcluster.d/amarre.conf
  apt_install postgresql-common
  mkdir -p "${setting%/*}"
  echo 'create_main_cluster = false' >"$setting"
  apt_install postgresql || { rm -f "$setting"; return 1; }
  rm -f "$setting"
}

cmd_postgres_local() {
  if ! local_programs >/dev/null; then
    if ! is_root || ! have apt-get; then
      cannot 'postgres-local: no initdb and pg_ctl here; install the PostgreSQL server'
    fi
    install_server
  fi
  say "postgres-local: $(local_programs)"
  local_programs
}

# --- S3 -----------------------------------------------------------------------------------------------------------------

cmd_garage() { with_lock garage garage_locked; }

garage_locked() {
  local root=$AMARRE_CACHE/garage-$GARAGE_VERSION
  if [ ! -x "$root/bin/garage" ]; then
    have cargo || cannot 'garage: no cargo here to build it with'
    say "garage: building $GARAGE_VERSION (some ten minutes on two cores; kept in $AMARRE_CACHE)"
    cargo install garage --version "$GARAGE_VERSION" --locked --quiet --root "$root" >&2
  fi
  echo "$root/bin/garage"
}

# What Garage lacks and AWS has: storage classes, tags, encryption by a key service, Object Lock. It checks no signatures.
cmd_moto() { with_lock moto moto_locked; }

moto_locked() {
  python_package moto "$MOTO_VERSION" "moto[server]"
  echo "$AMARRE_CACHE/moto-$MOTO_VERSION/bin/moto_server"
}

# The tests start it themselves, each with what it needs.
cmd_aiosmtpd() { with_lock aiosmtpd aiosmtpd_locked; }

aiosmtpd_locked() {
  python_package aiosmtpd "$AIOSMTPD_VERSION" aiosmtpd
  echo "$AMARRE_CACHE/aiosmtpd-$AIOSMTPD_VERSION/bin/python"
}

cmd_awscli() { with_lock awscli awscli_locked; }

awscli_locked() {
  python_package awscli "$AWSCLI_VERSION" awscli
  echo "$AMARRE_CACHE/awscli-$AWSCLI_VERSION/bin/aws"
}

# python_package NAME VERSION REQUIREMENT: an environment of its own in the cache.
python_package() {
  local name=$1 version=$2 root=$AMARRE_CACHE/$1-$2
  [ ! -f "$root/whole" ] || return 0
  have python3 || cannot "$name: no python3 here"
  say "$name: installing $version from PyPI (kept in $AMARRE_CACHE)"
  rm -rf "$root"
  quietly "$name" python3 -m venv "$root" || cannot "$name: python3 makes no environment here; install python3-venv"
  quietly "$name" "$root/bin/pip" install -q "$3==$version" || cannot "$name: PyPI gives no $name here"
  touch "$root/whole"
}

test_moto() { echo "$AMARRE_CACHE/moto${AMARRE_TEST_SUFFIX:-}"; }

# Prints the line to eval.
moto_up() {
  local dir program api
  dir=$(test_moto)
  program=$(cmd_moto | tail -n 1)
  [ -n "$program" ] || return 1
  if [ -f "$dir/env" ] && ours "$dir/pid" moto_server; then
    say 'up: moto is running'
    cat "$dir/env"
    return
  fi
  rm -rf "$dir"
  mkdir -m 0700 "$dir"
  api=$(free_port)
  setsid "$program" -H 127.0.0.1 -p "$api" >"$dir/log" 2>&1 </dev/null 9>&- &
  echo "$!" >"$dir/pid"
  wait_until 60 s3_answers "$api" || { tail -n 20 "$dir/log" >&2; fail 'up: moto does not start'; }
  say "up: moto on 127.0.0.1:$api ($MOTO_VERSION)"
  echo "export AMARRE_TEST_MOTO_ENDPOINT=http://127.0.0.1:$api" | tee "$dir/env"
}

moto_down() { server_down "$(test_moto)" moto_server moto; }

test_s3() { echo "$AMARRE_CACHE/s3${AMARRE_TEST_SUFFIX:-}"; }

s3_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port of loopback that nobody listens on.
free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); do s3_answers "$port" || { echo "$port"; return; }; done
}

# Prints the lines to eval. The server is on loopback, with keys of its own, and everything in it is for tests.
s3_up() {
  local dir program api
  dir=$(test_s3)
  program=$(cmd_garage | tail -n 1)
  # One that an older version of this script started does not say where its settings are.
  if grep -qs GARAGE_CONFIG "$dir/env" && ours "$dir/pid" garage; then
    say 'up: the S3 server is running'
    cat "$dir/env"
    return
  fi
  ! ours "$dir/pid" garage || s3_down
  rm -rf "$dir"
  mkdir -p "$AMARRE_CACHE"
  mkdir -m 0700 "$dir"
  api=$(free_port)
  cat >"$dir/garage.toml" <<TOML
metadata_dir = "$dir/meta"
data_dir = "$dir/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:$(free_port)"
rpc_secret = "$(random_hex 32)"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:$api"
TOML
  {
    echo "export AMARRE_TEST_S3_ENDPOINT=http://127.0.0.1:$api"
    echo "export AMARRE_TEST_S3_REGION=garage"
    echo "export AMARRE_TEST_S3_BUCKET=$TEST_BUCKET"
    echo "export AMARRE_TEST_S3_KEY=GK$(random_hex 12)"
    echo "export AMARRE_TEST_S3_SECRET=$(random_hex 32)"
    printf 'export AMARRE_TEST_GARAGE=%q\n' "$program"
    # To give keys and take them away.
    printf 'export AMARRE_TEST_GARAGE_CONFIG=%q\n' "$dir/garage.toml"
  } >"$dir/env"
  (
    # shellcheck source=/dev/null
    . "$dir/env"
    export GARAGE_DEFAULT_ACCESS_KEY=$AMARRE_TEST_S3_KEY GARAGE_DEFAULT_SECRET_KEY=$AMARRE_TEST_S3_SECRET
    export GARAGE_DEFAULT_BUCKET=$TEST_BUCKET RUST_LOG=garage=warn
    setsid "$program" -c "$dir/garage.toml" server --single-node --default-bucket >"$dir/log" 2>&1 </dev/null 9>&- &
    echo "$!" >"$dir/pid"
  )
  wait_until 60 s3_answers "$api" || { tail -n 20 "$dir/log" >&2; fail 'up: the S3 server does not start'; }
  wait_until 60 "$program" -c "$dir/garage.toml" bucket info "$TEST_BUCKET" ||
    { tail -n 20 "$dir/log" >&2; fail "up: the S3 server has no bucket $TEST_BUCKET"; }
  say "up: S3 on 127.0.0.1:$api (Garage $GARAGE_VERSION)"
  cat "$dir/env"
}

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# ours PID-FILE NAME: whether that process is still the one it was.
ours() { [ -f "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ]; }

s3_down() { server_down "$(test_s3)" garage 'the S3 server'; }

# server_down DIRECTORY PROGRAM NAME: ends the server of that directory, if it is still the one it was, and removes what it kept.
server_down() {
  local dir=$1 program=$2 name=$3
  if ours "$dir/pid" "$program"; then
    kill "$(cat "$dir/pid")"
    wait_until 30 process_gone "$(cat "$dir/pid")" || say "down: $name does not end"
    say "down: $name ended"
  fi
  rm -rf "$dir"
}

# --- the tests' databases -------------------------------------------------------------------------------------------

test_container() { echo "amarre-test-pg$1${AMARRE_TEST_SUFFIX:-}"; }

# A directory that the tests share with the databases' containers, for the fast lane: nobody else lists it, never sticky.
test_lane() { echo "$AMARRE_CACHE/lane${AMARRE_TEST_SUFFIX:-}"; }

# Where the containers see it: not at the same place in all of them, since that must not matter.
lane_in_container() { case $1 in 17) echo /lane ;; *) echo /srv/fast ;; esac; }

cmd_up() {
  local majors=${*:-$TEST_MAJORS}
  with_lock up up_locked "$majors"
}

up_locked() {
  local majors=$1 major name password='' lines='' with_s3 with_moto with_mail with_awscli
  mkdir -p "$(test_lane)"
  chmod 0711 "$(test_lane)"
  for major in $majors; do
    name=$(test_container "$major")
    password=${password:-$(container_password "$name")}
  done
  password=${password:-$(random_hex 16)}
  # Started side by side, then waited for.
  for major in $majors; do up_one "$major" "$password"; done
  for major in $majors; do
    name=$(test_container "$major")
    wait_until 120 docker exec "$name" psql -h 127.0.0.1 -U hub -d hub_chantier -c 'select 1' ||
      { docker logs --tail 30 "$name" >&2; fail "up: $name does not become ready"; }
    lines+="export AMARRE_TEST_PG$major=$name"$'\n'
  done
  say "up: PostgreSQL ready: $majors"
  printf '%sexport AMARRE_TEST_PG_USER=hub\nexport AMARRE_TEST_PG_PASSWORD=%s\n' "$lines" "$password"
  printf 'export AMARRE_TEST_LANE_DIR=%q\n' "$(test_lane)"
  # A machine on which it cannot be built has the other tests all the same.
  if with_s3=$(s3_up); then
    printf '%s\n' "$with_s3"
  else
    say 'up: no S3 server here: the tests that need one skip themselves'
  fi
  if with_moto=$(moto_up); then
    printf '%s\n' "$with_moto"
  else
    say 'up: no moto here: the tests that need it skip themselves'
  fi
  if with_mail=$(cmd_aiosmtpd); then
    printf 'export AMARRE_TEST_AIOSMTPD=%q\n' "$with_mail"
  else
    say 'up: no aiosmtpd here: the tests that need a mail server skip themselves'
  fi
  if with_awscli=$(cmd_awscli); then
    printf 'export AMARRE_TEST_AWSCLI=%q\n' "$with_awscli"
  else
    say 'up: no awscli here: the test that needs it skips itself'
  fi
}

# One password for all of them, so one that is running already sets it.
container_password() {
  [ "$(docker inspect -f '{{.State.Running}}' "$1" 2>/dev/null)" = true ] || return 0
  docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$1" | sed -n 's/^POSTGRES_PASSWORD=//p'
}

# One that an older version of this script started has none.
has_lane() {
  docker inspect -f '{{range .Mounts}}{{println .Source}}{{end}}' "$1" 2>/dev/null | grep -qxF "$(test_lane)"
}

up_one() {
  local major=$1 password=$2 name image
  name=$(test_container "$major")
  if [ "$(container_password "$name")" = "$password" ] && has_lane "$name"; then
    say "up: $name is running"
    return
  fi
  docker rm -fv "$name" >/dev/null 2>&1 || true
  image=$(cmd_postgres_image "$major")
  say "up: starting $name ($image)"
  # Nothing in it outlives the tests, so it need not survive a power cut. The rest is what some tests ask of a server.
  docker run -d --name "$name" --label amarre.testbed=1 --shm-size 256m \
    -v "$(test_lane):$(lane_in_container "$major")" \
    -e POSTGRES_USER=hub -e POSTGRES_PASSWORD="$password" -e POSTGRES_DB=hub_chantier "$image" \
    postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 \
    -c max_prepared_transactions=5 -c wal_level=logical >/dev/null
}

cmd_down() {
  local major name
  for major in $TEST_MAJORS; do
    name=$(test_container "$major")
    # By name and label both: a container of somebody else's with that name stays.
    [ "$(docker inspect -f '{{index .Config.Labels "amarre.testbed"}}' "$name" 2>/dev/null)" = 1 ] || continue
    docker rm -fv "$name" >/dev/null
    say "down: $name removed"
  done
  s3_down
  moto_down
  [ -z "${AMARRE_TEST_SUFFIX:-}" ] || rm -rf "$(test_lane)"
}

# --- command line ---------------------------------------------------------------------------------------------------

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

main() {
  local command arguments
  case ${1:-} in
    -h | --help | help) usage; return ;;
    '') usage >&2; exit 2 ;;
  esac
  while [ $# -gt 0 ]; do
    command=$1
    shift
    case $COMMANDS in
      *" $command "*) ;;
      *) say "unknown command: $command"; usage >&2; exit 2 ;;
    esac
    # Everything up to the next command's name is an argument of this one.
    arguments=()
    while [ $# -gt 0 ] && [[ $COMMANDS != *" $1 "* ]]; do
      arguments+=("$1")
      shift
    done
    "cmd_${command//-/_}" ${arguments[@]+"${arguments[@]}"}
  done
}

main "$@"
