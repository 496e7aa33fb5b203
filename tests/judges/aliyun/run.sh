#!/usr/bin/env bash
# The official SDKs of Alibaba Cloud, both generations, judge the lab; then the official signers sign their requests again, and
# every request of our own client in its tests against the lab.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lab.sh"
lab_up aliyun --config "$here/lab.yaml"

ours() {
  cd "$here/../../.." || return
  TIDEWAY_REQUESTS="$TIDEWAY_LAB_DIR/ours" cargo test --workspace --test lab
}
mkdir "$TIDEWAY_LAB_DIR/ours"
check "our client's tests against the lab" ours
fold "the official signers on our client" "$PYTHON" "$here/verify_requests.py" "$TIDEWAY_LAB_DIR/ours" --least 900 --action \
  AssignIpv6Addresses AssignPrivateIpAddresses AttachNetworkInterface CreateNetworkInterface DeleteNetworkInterface \
  DescribeInstanceTypes DescribeInstances DescribeNetworkInterfaces DescribeVSwitchAttributes DescribeVpcs DetachNetworkInterface \
  UnassignIpv6Addresses UnassignPrivateIpAddresses

# A lab in which changes take time, beside the one in which they do not.
slow=s${id:1}
slow_down() { "$lab" down --id "$slow" >/dev/null 2>&1; lab_down; }
trap slow_down EXIT
"$lab" up --id "$slow" --no-fabric --latency real || { echo "the slow lab did not start" >&2; exit 1; }
fold "changes at once" "$PYTHON" "$here/conflict.py" "$TIDEWAY_LAB_DIR/$slow/lab.json"

lab_judged "the SDKs" "the official signers" --least 300
