# shellcheck shell=bash
# The S3 server of the benchmark, in a network of its own that can be made slow, and awscli. Sourced.

readonly S3_BUCKET=amarre-bench S3_MEGABYTES=20
# What is said of both in the report; not set: no server runs.
S3_VERSIONS=''
S3_NETWORK=amarre-bench-s3${AMARRE_TEST_SUFFIX:-}
# Names of interfaces are short; two runs with suffixes of their own do not meet.
S3_NUMBER=$(($(cksum <<<"$S3_NETWORK" | cut -d ' ' -f 1) % 60))
S3_LINK=ambs3-$S3_NUMBER S3_ADDRESS=198.18.0.$((S3_NUMBER * 4 + 2)) S3_HOST=198.18.0.$((S3_NUMBER * 4 + 1))

# Garage as it comes, in a network namespace behind a link of its own: what slows that down slows nothing else. Packets are as
# large as on the loopback.
s3_up() {
  local program
  is_root || fail 's3 needs root: its server is in a network namespace of its own'
  for program in ip tc; do have "$program" || apt_install iproute2; done
  program=$("$AMARRE_ROOT/scripts/testbed.sh" garage | tail -n 1)
  AWS=$("$AMARRE_ROOT/scripts/testbed.sh" awscli | tail -n 1)
  s3_down
  trap s3_down EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  ip netns add "$S3_NETWORK"
  ip link add "$S3_LINK" mtu 65000 type veth peer name "$S3_LINK-in" mtu 65000
  ip link set "$S3_LINK-in" netns "$S3_NETWORK"
  ip address add "$S3_HOST/30" dev "$S3_LINK"
  ip link set "$S3_LINK" up
  ip -n "$S3_NETWORK" address add "$S3_ADDRESS/30" dev "$S3_LINK-in"
  ip -n "$S3_NETWORK" link set "$S3_LINK-in" up
  ip -n "$S3_NETWORK" link set lo up
  s3_settings
  s3_start "$program"
}

# No bucket: that is set where it is wanted.
s3_settings() {
  unset S3_BACKUP_BUCKET BACKUP_S3_2_BUCKET AWS_SESSION_TOKEN AWS_PROFILE
  AWS_ACCESS_KEY_ID=GK$(random_bytes 12) AWS_SECRET_ACCESS_KEY=$(random_bytes 32)
  AWS_DEFAULT_REGION=garage S3_ENDPOINT_URL=http://$S3_ADDRESS:3900 AWS_CONFIG_FILE=$WORK/aws.config AWS_EC2_METADATA_DISABLED=true
  no_proxy=$S3_ADDRESS${no_proxy:+,$no_proxy} NO_PROXY=$S3_ADDRESS${NO_PROXY:+,$NO_PROXY}
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION S3_ENDPOINT_URL AWS_CONFIG_FILE AWS_EC2_METADATA_DISABLED no_proxy NO_PROXY
  export AWS S3_BUCKET
  # Of the bytes of each part both send an MD5, and no second checksum.
  cat >"$AWS_CONFIG_FILE" <<'CONFIG'
[default]
request_checksum_calculation = when_required
response_checksum_validation = when_required
s3 =
    addressing_style = path
CONFIG
}

random_bytes() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

s3_start() {
  local program=$1 directory=$WORK/garage
  rm -rf "$directory"
  mkdir -m 0700 "$directory"
  cat >"$directory/garage.toml" <<TOML
metadata_dir = "$directory/meta"
data_dir = "$directory/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:3901"
rpc_secret = "$(random_bytes 32)"
[s3_api]
s3_region = "garage"
api_bind_addr = "$S3_ADDRESS:3900"
TOML
  GARAGE_DEFAULT_ACCESS_KEY=$AWS_ACCESS_KEY_ID GARAGE_DEFAULT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY GARAGE_DEFAULT_BUCKET=$S3_BUCKET \
    RUST_LOG=garage=warn setsid ip netns exec "$S3_NETWORK" "$program" -c "$directory/garage.toml" server --single-node --default-bucket \
    >"$directory/log" 2>&1 </dev/null &
  wait_until 60 aws_s3 ls "s3://$S3_BUCKET" || { tail -n 20 "$directory/log" >&2; fail 's3: the server does not become ready'; }
  S3_VERSIONS="Garage $("$program" --version | grep -oE '[0-9]+\.[0-9.]+' | head -n 1), $("$AWS" --version | cut -d ' ' -f 1)"
}

# The link goes with its namespace; every process in that is ours.
s3_down() {
  local pids
  pids=$(ip netns pids "$S3_NETWORK" 2>/dev/null) || return 0
  # shellcheck disable=SC2086 # numbers
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  wait_until 20 s3_empty_network || say 's3: the server does not end'
  ip netns delete "$S3_NETWORK"
}

s3_empty_network() { [ -z "$(ip netns pids "$S3_NETWORK")" ]; }

# speed CONTENDER: the way to the server is slow only for who says so. The way back never is.
s3_speed() {
  [ -n "$S3_VERSIONS" ] || return 0
  case $1 in
    *' MB/s') tc qdisc replace dev "$S3_LINK" root tbf rate "$((S3_MEGABYTES * 8))mbit" burst 256kb latency 500ms ;;
    *) tc qdisc delete dev "$S3_LINK" root 2>/dev/null || true ;;
  esac
}

# What hangs is a failure, not a wait.
aws_s3() { timeout 300 "$AWS" --endpoint-url "$S3_ENDPOINT_URL" s3 "$@"; }

# What lies there is what the manifest beside the local file says, read by a program that is not ours.
check_object() {
  local file expected found
  file=$(backup_file)
  expected=$(sed -n '/"stored": {/,/}/s/.*"sha256": "\([0-9a-f]*\)".*/\1/p' "$file.json" | head -n 1)
  # Not to standard output: there awscli's threads have been seen to wait for each other for ever.
  aws_s3 cp --no-progress "s3://$S3_BUCKET/backups/${file##*/}" "$WORK/object" >/dev/null || return 1
  found=$(sha256sum <"$WORK/object" | cut -d ' ' -f 1)
  rm "$WORK/object"
  if [ -z "$expected" ] || [ "$found" != "$expected" ]; then
    say "the object's sha256 is $found, not $expected"
    return 1
  fi
}
