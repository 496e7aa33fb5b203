#!/usr/bin/env bash
# libcni against the built plugin and a real daemon on a lab node. With the fake node it runs among the plugin's own tests.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
BIN=${TIDEWAY_BIN:-$CARGO_TARGET_DIR/debug}
CNI=${TIDEWAY_CNI:-$CARGO_TARGET_DIR/static/tideway-cni}
. tests/judges/verdict.sh
needs_root judge-libcni || { verdict; exit; }
JUDGE=$CARGO_TARGET_DIR/libcni-judge
(cd tests/judges/libcni && CGO_ENABLED=0 go build -o "$JUDGE" .) || { echo "the judge could not be built" >&2; exit 1; }
# It runs in every image and beside every libc, and a node starts it for every pod.
is_static() {
  local said
  said=$(readelf --wide --program-headers --dynamic "$CNI") || return 1
  ! grep -E 'INTERP|NEEDED' <<<"$said"
}
is_small() {
  local size
  size=$(stat --format=%s "$CNI") || return 1
  [ "$size" -le 4000000 ] || { echo "$CNI has $size bytes"; return 1; }
}
check "what spoils a benchmark is found" go -C tests/judges/libcni test .
check "the plugin is linked statically" is_static
check "the plugin is no larger than 4 MB" is_small
# shellcheck source=bench/bed.sh
. bench/bed.sh
trap bed_stop EXIT
trap 'exit 1' INT TERM
# A GC frees after two looks that are this far apart.
BED_POOL="settleSeconds: 1"
bed_start "$BIN" ecs.g6.xlarge 2 6 || exit 1
fold libcni nsenter --net="$BED_NETNS" "$JUDGE" judge -real -bin "$(dirname "$CNI")" -socket "$BED_SOCKET" -tickets "$BED_TICKETS"
check "no address was given twice, none is lost" bed_verify
verdict
