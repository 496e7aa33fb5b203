#!/usr/bin/env bash
# make bench-cni: ADD+DEL as whole processes through libcni, tideway-cni with a warm pool against ptp + host-local, in
# turns within one run; then how long links outlive their DEL, and the daemon's memory with many pods. Fails when the lab's
# ledger shows a cloud call in a timed part, or links wait for their deletion in growing numbers. Prints a table and writes
# target/bench/cni.json.
#
# PAIRS (200), CONCURRENCY (1,8), EXISTING (0,200) and MEMORY_PODS (250) change the run; PROFILE=debug uses debug programs,
# to try it out.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR
PAIRS=${PAIRS:-200} CONCURRENCY=${CONCURRENCY:-1,8} EXISTING=${EXISTING:-0,200} MEMORY_PODS=${MEMORY_PODS:-250}
PROFILE=${PROFILE:-release}

case $PROFILE in
  # Without the client of AWS, which has no part in it and takes minutes to compile.
  release) cargo build --release -p tidewayd -p tideway-lab -p tideway-cli --bins --no-default-features --features tidewayd/aliyun ;;
  debug) cargo build -p tidewayd -p tideway-lab -p tideway-cli --bins ;;
  *) echo "PROFILE is release or debug, not $PROFILE" >&2; exit 2 ;;
esac
bash cni/build.sh
BIN=$CARGO_TARGET_DIR/$PROFILE
JUDGE=$CARGO_TARGET_DIR/libcni-judge
(cd tests/judges/libcni && CGO_ENABLED=0 go build -o "$JUDGE" .)

# shellcheck source=bench/bed.sh
. bench/bed.sh
trap bed_stop EXIT
# 14 secondary ENIs of 30 addresses: 200 standing pods, 200 pairs and their cooling addresses fit without a cloud call.
# Low is out of reach on purpose: the daemon fills the instance once, and a full instance leaves nothing to ask for.
bed_start "$BIN" ecs.g7.32xlarge 410 420
echo "bench: $PROFILE daemon, $PAIRS pairs a side and run; the pool warms up" >&2
TIDEWAY_LAB_DIR=$BED_DIR/lab nsenter --net="$BED_NETNS" "$JUDGE" bench \
  -bin "$CARGO_TARGET_DIR/static" -conflist "$BED_CONFLIST" -daemon-pid "$BED_DAEMON" \
  -tideway "$BIN/tideway" -socket "$BED_SOCKET" -ledger "$BIN/tideway-lab ledger --id $BED_LAB -o json" \
  -pairs "$PAIRS" -concurrency "$CONCURRENCY" -existing "$EXISTING" -memory-pods "$MEMORY_PODS" -out target/bench/cni.json
bed_verify || { echo "bench: the lab's ledger shows an address given twice or lost" >&2; exit 1; }
echo "bench: written to target/bench/cni.json" >&2
