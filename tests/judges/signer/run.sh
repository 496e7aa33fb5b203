#!/usr/bin/env bash
# Our own client and our own figures before judges: a daemon on a lab node warms its pool, serves pods, and gives everything
# back; the official signer signs every request that it sent again. While it runs, /metrics is read by the official parser
# of OpenMetrics and by Prometheus itself (promtool), when Debian's package can be had.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1
BIN=${TIDEWAY_BIN:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}/debug}
CNI=${TIDEWAY_CNI:-$BIN/tideway-cni}
. tests/judges/verdict.sh
. tests/judges/venv.sh
needs_root judge-signer || { verdict; exit; }
python_or_skip judge-signer tests/judges/requirements.txt || { verdict; exit; }
. tests/judges/signer/promtool.sh
# shellcheck source=bench/bed.sh
. bench/bed.sh
pods=()
end() {
  local pod
  for pod in "${pods[@]}"; do ip netns del "$pod" 2>/dev/null; done
  bed_stop
}
trap end EXIT
trap 'exit 1' INT TERM
# Both families, and a pool that soon gives back what is above its watermark: the client shall send all that it can send.
BED_FAMILIES=DualStack BED_POOL="cooldownSeconds: 2, settleSeconds: 2"
bed_start "$BIN" ecs.g7h.xlarge 2 6 || exit 1

free() { "$BIN/tideway" status -o json --socket "$BED_SOCKET" | jq .pool.free; }
# warm N: within 30 s the pool has N addresses to hand out
warm() {
  for _ in $(seq 150); do
    [ "$(free)" -ge "$1" ] && return 0
    sleep 0.2
  done
  echo "only $(free) of $1 addresses are free after 30 s"
  tail -n 20 "$BED_DIR/tidewayd.log"
  return 1
}
plugin() { # plugin VERB POD
  jq '.plugins[0] + {cniVersion, name}' "$BED_CONFLIST" |
    CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$2 CNI_IFNAME=eth0 CNI_PATH=$(dirname "$CNI") \
      CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=judge;K8S_POD_NAME=$2;K8S_POD_UID=$2" nsenter --net="$BED_NETNS" "$CNI"
}

check "the pool warms up" warm 12
# More pods than the first addresses: the pool must ask for more while it serves.
for n in $(seq 8); do
  pod=$BED_LAB-pod$n
  ip netns add "$pod" || exit 1
  pods+=("$pod")
  check "ADD $n" plugin ADD "$pod"
done
check "the pool grows behind them" warm 4
check "DEL" plugin DEL "${pods[0]}"

# Sampled each 5 s: what is read must be the books of now.
figures=$BED_DIR/metrics.txt
read_figures() {
  for _ in $(seq 75); do
    nsenter --net="$BED_NETNS" curl -sf -H 'Accept: application/openmetrics-text; version=1.0.0' \
      -D "$figures.head" -o "$figures" http://127.0.0.1:9841/metrics &&
      grep -q '^tideway_pool_addresses{.*state="assigned".*} 14$' "$figures" && return 0
    sleep 0.2
  done
  echo "/metrics did not show the 14 assigned addresses of 7 pods within 15 s"
  grep '^tideway_pool_addresses' "$figures"
  return 1
}
check "/metrics shows the books" read_figures
fold "the parser of OpenMetrics" "$PYTHON" tests/judges/signer/figures.py "$figures" "$figures.head"
promtool_check "$figures"

for pod in "${pods[@]}"; do check "DEL $pod" plugin DEL "$pod"; done
for pod in "${pods[@]}"; do ip netns del "$pod"; done
pods=()
# Ten of each family are more than six.
surplus_is_back() {
  local pool
  for _ in $(seq 150); do
    pool=$("$BIN/tideway" status -o json --socket "$BED_SOCKET" | jq -c '[.pool.total, .pool.free]')
    [ "$pool" = "[12,12]" ] && return 0
    sleep 0.2
  done
  echo "total and free addresses are $pool after 30 s, not 12"
  return 1
}
check "the surplus goes back" surplus_is_back
kill "$BED_DAEMON"
wait "$BED_DAEMON"
BED_DAEMON=''
check "uninstall" nsenter --net="$BED_NETNS" "$BIN/tidewayd" --config "$BED_DIR/tidewayd.yaml" uninstall

export TIDEWAY_LAB_DIR=$BED_DIR/lab
check "the lab hands out the requests" "$BIN/tideway-lab" requests --id "$BED_LAB" -o "$BED_DIR/requests"
fold "the official signer" "$PYTHON" tests/judges/aliyun/verify_requests.py "$BED_DIR/requests" --least 14 --action \
  CreateNetworkInterface AttachNetworkInterface DetachNetworkInterface DeleteNetworkInterface DescribeNetworkInterfaces \
  AssignPrivateIpAddresses UnassignPrivateIpAddresses AssignIpv6Addresses UnassignIpv6Addresses DescribeInstances DescribeInstanceTypes DescribeVpcs
policy_allows() {
  local beyond
  beyond=$(jq -r .name "$BED_DIR"/requests/*.json | sort -u |
    grep -vxF -f <(jq -r '.Statement[].Action[]' manifests/policies/ram.json | cut -d: -f2))
  [ -z "$beyond" ] || { echo "not in manifests/policies/ram.json: $beyond"; return 1; }
}
check "the RAM policy of the manifests allows every action" policy_allows
check "no address was given twice, none is lost" bed_verify
verdict
