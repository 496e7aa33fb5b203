#!/usr/bin/env bash
# libcni against the built plugin and a real daemon on a lab node. With the fake node it runs among the plugin's own tests.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
BIN=${TIDEWAY_BIN:-$CARGO_TARGET_DIR/debug}
CNI=${TIDEWAY_CNI:-$BIN/tideway-cni}
. tests/judges/verdict.sh
needs_root judge-libcni || { verdict; exit; }
JUDGE=$CARGO_TARGET_DIR/libcni-judge
(cd tests/judges/libcni && CGO_ENABLED=0 go build -o "$JUDGE" .) || { echo "the judge could not be built" >&2; exit 1; }
# shellcheck source=bench/bed.sh
. bench/bed.sh
trap bed_stop EXIT
trap 'exit 1' INT TERM
bed_start "$BIN" ecs.g6.xlarge 2 6 || exit 1
fold libcni nsenter --net="$BED_NETNS" "$JUDGE" judge -real -bin "$(dirname "$CNI")" -socket "$BED_SOCKET" -tickets "$BED_TICKETS"
check "no address was given twice, none is lost" bed_verify
verdict
