#!/usr/bin/env bash
# libcni against the built plugin and a real daemon on a lab node. With the fake node it runs among the plugin's own tests.
set -euo pipefail
cd "$(dirname "$0")/../../.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
BIN=${TIDEWAY_BIN:-$CARGO_TARGET_DIR/debug}
CNI=${TIDEWAY_CNI:-$BIN/tideway-cni}
if [ "$(id -u)" != 0 ]; then
  line="SKIPPED: judge-libcni: needs root (network namespaces)"
  echo "$line" >&2
  [ -z "${TIDEWAY_SKIPS:-}" ] || echo "$line" >>"$TIDEWAY_SKIPS"
  echo "0 passed, 0 failed"
  exit 0
fi
JUDGE=$CARGO_TARGET_DIR/libcni-judge
(cd tests/judges/libcni && CGO_ENABLED=0 go build -o "$JUDGE" .)
# shellcheck source=bench/bed.sh
. bench/bed.sh
trap bed_stop EXIT
bed_start "$BIN" ecs.g6.xlarge 2 6
nsenter --net="$BED_NETNS" "$JUDGE" judge -real -bin "$(dirname "$CNI")" -socket "$BED_SOCKET" -tickets "$BED_TICKETS"
bed_verify || { echo "the lab's ledger shows an address given twice or lost"; exit 1; }
