# One node for benchmarks and judges: a lab VPC with one instance, and the daemon in that instance's namespace. Sourced.
#
#   bed_start BIN_DIR INSTANCE_TYPE LOW HIGH   starts both; sets the variables below. BED_FAMILIES (IPv4) may be DualStack, and
#                                              BED_POOL holds more keys of `pool`, such as "settleSeconds: 2";
#                                              BED_CLOUD is aliyun or aws, BED_LATENCY (none) how slow the lab's cloud is
#   bed_stop                                   ends both and removes everything (also meant for a trap)
#
# BED_DIR      files of the node          BED_NETNS    namespace of the instance
# BED_RUN      what a reboot forgets      BED_SOCKET   the daemon's socket, in BED_RUN
# BED_TICKETS  release tickets            BED_CONFLIST published configuration
# BED_DAEMON   process of the daemon      BED_STARTED  when it was started, in nanoseconds since 1970
# shellcheck shell=bash disable=SC2034

BED_DIR='' BED_RUN='' BED_BIN='' BED_LAB='' BED_DAEMON=''

bed_fail() {
  echo "bed: $*" >&2
  [ -z "$BED_DIR" ] || tail -n 20 "$BED_DIR"/*.log >&2
  return 1
}

bed_start() {
  local type=$2 low=$3 high=$4 description vpc vswitch zone endpoints
  BED_BIN=$1
  [ "$(id -u)" = 0 ] || { bed_fail "run as root: namespaces and links are made"; return 1; }
  BED_DIR=$(mktemp -d /tmp/tideway-bed.XXXXXX)
  # In memory, as /run is on a node: beside the socket is the number of the last commit, which is written with each of them.
  BED_RUN=$(mktemp -d /tmp/tideway-run.XXXXXX)
  mount -t tmpfs -o size=1m,mode=0700 tideway-bed "$BED_RUN" || { bed_fail "no tmpfs can be mounted"; return 1; }
  # Lab ids are four characters; beds stand side by side.
  BED_LAB=$(printf 'b%03x' $(($$ % 4096)))
  case ${BED_FAMILIES:=IPv4} in
    IPv4) vpc='' vswitch='' ;;
    *) vpc=', ipv6: "fd00:10::/56"' vswitch=', ipv6: "fd00:10::/64"' ;;
  esac
  case ${BED_CLOUD:=aliyun} in
    aliyun) zone=cn-hangzhou-h endpoints='{ecsEndpoint: .api, vpcEndpoint: .api}' ;;
    *) zone=us-east-1a endpoints='{ec2Endpoint: .api}' ;;
  esac
  cat >"$BED_DIR/lab.yaml" <<YAML
id: $BED_LAB
cloud: $BED_CLOUD
vpc: {ipv4: 10.0.0.0/8$vpc}
vswitches: [{name: a, zone: $zone, ipv4: 10.0.0.0/16$vswitch}]
instances: [{name: n1, type: $type, vswitch: a}]
YAML
  TIDEWAY_LAB_DIR=$BED_DIR/lab "$BED_BIN/tideway-lab" up --config "$BED_DIR/lab.yaml" --latency "${BED_LATENCY:-none}" \
    >"$BED_DIR/lab-up.log" 2>&1 || { bed_fail "the lab did not start"; return 1; }
  description=$BED_DIR/lab/$BED_LAB/lab.json
  BED_NETNS=/run/netns/$(jq -r '.instances[0].namespace' "$description")
  BED_SOCKET=$BED_RUN/tideway.sock BED_TICKETS=$BED_DIR/tickets BED_CONFLIST=$BED_DIR/net.d/10-tideway.conflist
  jq '.credentials' "$description" >"$BED_DIR/credentials.json"
  chmod 600 "$BED_DIR/credentials.json"
  cat >"$BED_DIR/tidewayd.yaml" <<YAML
cluster: bed
nodeName: n1
families: $BED_FAMILIES
cloud: $(jq -c --arg provider "$BED_CLOUD" --arg file "$BED_DIR/credentials.json" \
  "{provider: \$provider, region, credentialsFile: \$file} + (.endpoints.inside | $endpoints)" "$description")
pool: {low: $low, high: $high${BED_POOL:+, $BED_POOL}}
paths:
  socket: $BED_SOCKET
  journal: $BED_DIR/journal.redb
  tickets: $BED_TICKETS
  cniConfDir: $BED_DIR/net.d
  runtimeSocket: ""
kubernetes: {devicePluginDir: "", podResourcesSocket: ""}
YAML
  BED_STARTED=$(date +%s%N)
  # One heap, as in the unit and the DaemonSet of manifests/.
  MALLOC_ARENA_MAX=1 nsenter --net="$BED_NETNS" "$BED_BIN/tidewayd" --config "$BED_DIR/tidewayd.yaml" >"$BED_DIR/tidewayd.log" 2>&1 &
  BED_DAEMON=$!
  for _ in $(seq 300); do
    [ -e "$BED_CONFLIST" ] && return 0
    kill -0 "$BED_DAEMON" 2>/dev/null || { bed_fail "the daemon ended"; return 1; }
    sleep 0.1
  done
  bed_fail "the daemon was not ready within 30 s"
}

# Fails when an address was given twice or lost.
bed_verify() {
  TIDEWAY_LAB_DIR=$BED_DIR/lab "$BED_BIN/tideway-lab" ledger --id "$BED_LAB" --verify >/dev/null
}

bed_stop() {
  [ -n "$BED_DIR" ] || return 0
  if [ -n "$BED_DAEMON" ]; then
    kill "$BED_DAEMON" 2>/dev/null
    wait "$BED_DAEMON" 2>/dev/null
  fi
  TIDEWAY_LAB_DIR=$BED_DIR/lab "$BED_BIN/tideway-lab" down --id "$BED_LAB" >>"$BED_DIR/lab-up.log" 2>&1
  [ -n "${BED_KEEP:-}" ] || rm -rf "$BED_DIR"
  umount -l "$BED_RUN" 2>/dev/null # not mounted if no tmpfs could be
  rmdir "$BED_RUN"
  BED_DIR='' BED_RUN='' BED_DAEMON=''
  return 0
}
