#!/usr/bin/env bash
# Every test: the workspace's own, then the judges (software that we did not write). Prints how many were skipped and why.
set -uo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TIDEWAY_SKIPS=$work/skips TIDEWAY_BIN=$CARGO_TARGET_DIR/debug
export TIDEWAY_CNI=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/cni/tideway-cni
: >"$TIDEWAY_SKIPS"
passed=0 failed=0
broken=()

# count FILE PATTERN...: add up "N passed ... N failed" lines
count() {
  local p f
  p=$(grep -oE '[0-9]+ passed' "$1" | awk '{n+=$1} END{print n+0}')
  f=$(grep -oE '[0-9]+ failed' "$1" | awk '{n+=$1} END{print n+0}')
  passed=$((passed + p)); failed=$((failed + f))
}
run() { # run NAME COMMAND...
  local name=$1 out=$work/$1.log; shift
  echo "== $name"
  if "$@" >"$out" 2>&1; then :; else broken+=("$name"); fi
  count "$out"
  if [[ " ${broken[*]-} " == *" $name "* ]]; then tail -n 150 "$out"; else grep -E '^test result|passed|SKIPPED' "$out" | tail -n 60; fi
}

run workspace cargo test --workspace --no-fail-fast
for judge in tests/judges/*/run.sh; do
  [ -e "$judge" ] && run "judge-$(basename "$(dirname "$judge")")" bash "$judge"
done

skipped=$(sort -u "$TIDEWAY_SKIPS" | grep -c . || true)
if [ "$skipped" -gt 0 ]; then
  echo "== skipped here, and why"
  sort -u "$TIDEWAY_SKIPS"
fi
echo "$passed passed, $failed failed, $skipped skipped"
if [ ${#broken[@]} -gt 0 ]; then
  echo "failed: ${broken[*]}" >&2
  exit 1
fi
