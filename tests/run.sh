#!/usr/bin/env bash
# Every test: the workspace's own, then the judges (software that we did not write). Says how many were skipped and why.
#
#   tests/run.sh                    everything
#   tests/run.sh workspace libcni   only these: `workspace`, `node`, `cluster`, `scheduler`, or names of folders in tests/judges
#
# Four rows run side by side, since most of them wait: the workspace's quick tests and then the judges, the tests of whole
# nodes, the scenarios of the cluster, the scenarios of the scheduler.
#
# A cargo test counts by cargo's own result lines. A judge counts by the last "N passed, M failed" line it prints; one that
# prints none has died, and fails the run. (The plugin's cargo tests also run the libcni judge, against a fake node: that is
# one test of cargo's.) Just before the last line stands, for every failure, its name and what it said: enough to know from the
# end of a log alone what failed and why.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What `timeout` runs is in a process group of its own, which Ctrl-C does not reach.
stop() {
  local pid
  for pid in $(jobs -p) $(cat "$work"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null; done
  wait
  exit 1
}
trap stop INT TERM
export TIDEWAY_SKIPS=$work/skips TIDEWAY_BIN=$CARGO_TARGET_DIR/debug
export TIDEWAY_CNI=$CARGO_TARGET_DIR/static/tideway-cni
: >"$TIDEWAY_SKIPS"
# The same random cases in every run, so that a change is not judged by luck. `PROPTEST_CASES=20000 cargo test NAME` searches.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
JUDGES=${TIDEWAY_JUDGES:-tests/judges}

# start NAME LIMIT COMMAND...: runs it for at most LIMIT seconds, keeps what it says in $out, its status in $status, and in
# $late that it took too long
start() {
  local name=$1 limit=$2 since=$SECONDS
  shift 2
  out=$work/$name.log late=
  echo "== $name"
  timeout --kill-after=30 "$limit" "$@" >"$out" 2>&1 &
  echo $! >"$work/$name.pid"
  wait $!
  status=$?
  rm "$work/$name.pid"
  took=$((SECONDS - since))
  if [ "$status" = 124 ] || { [ "$status" = 137 ] && [ "$took" -ge "$limit" ]; }; then
    late="no end within $limit s"
    echo "   $name: $late" | tee -a "$out"
  fi
}

# why NAME: what the log in $out says about failures, at most 40 lines for each
why() {
  local said=
  case "$1" in judge-*) ;; *) said=$(failures "$out") ;; esac
  [ -z "$said" ] || printf '%s\n' "$said"
  if [ -z "$said" ] || [ -n "$late" ]; then # a judge, a part that did not end, or no test was run at all
    tail -n 40 "$out"
  fi
}

# failures FILE: cargo's `---- NAME stdout ----` blocks without stack traces, the failed scenarios of tests with a main of
# their own, and the last lines of programs that died without either
failures() {
  awk '
    function put(line) { if (bin != "") print bin; bin = ""; print line; found = 1 }
    /^ +(Running|Doc-tests) / { bin = $0; found = on = n = 0; split("", last); next }
    /^---- .* ----$/ { on = 1; lines = 0 }
    /^test .* \.\.\. FAILED/ { on = 1; lines = 0 }
    /^(failures:|stack backtrace:|test result: .*)$/ || /^test .* \.\.\. (ok|ignored)/ { on = 0 }
    /^error: test failed/ { on = 0; if (!found) for (i = (n > 15 ? n - 15 : 0); i < n; i++) put(last[i]) }
    /^(Caused by:|error: [0-9]+ targets? failed)/ { on = 1; lines = 0 }
    on && NF && ++lines <= 40 { put($0); next }
    { last[n++] = $0 }
  ' "$1"
}

# ended NAME PASSED FAILED
ended() {
  echo "$2 $3" >"$work/$1.count"
  if [ "$status" != 0 ] || [ "$3" != 0 ]; then
    { echo "== $1 failed${late:+: $late}"; why "$1"; } >"$work/$1.why"
    tail -n 150 "$out"
  fi
  echo "   $1: $2 passed, $3 failed, $took s"
}

# sum FILE WORD: adds up "N WORD" of cargo's result lines, those of doc tests too
sum() { grep -E '^test result: ' "$1" | grep -oE "[0-9]+ $2" | awk '{n += $1} END {print n + 0}'; }

# tests NAME LIMIT FLAGS...: `cargo test` of the whole workspace, so that all parts share one build
tests() {
  local name=$1 limit=$2
  shift 2
  start "$name" "$limit" cargo test --workspace --no-fail-fast "$@"
  # What cargo leaves out is skipped like the rest: `test NAME ... ignored, REASON`.
  sed -nE 's/^test (.*) \.\.\. ignored(, (.*))?$/SKIPPED: \1: ignored in the source \3/p' "$out" >>"$TIDEWAY_SKIPS"
  ended "$name" "$(sum "$out" passed)" "$(sum "$out" failed)"
}

judge() {
  local name=judge-$1 count
  start "$name" 900 bash "$JUDGES/$1/run.sh"
  count=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out" | tail -n 1)
  if [ -z "$count" ]; then
    echo "   $name died without a count (status $status)" | tee -a "$out" >&2
    status=1 count="0 passed, 1 failed"
  fi
  # shellcheck disable=SC2086 # "N passed, M failed" as words
  set -- $count
  ended "$name" "$1" "$3"
}

# row PART...: one after another
row() {
  local part
  for part in "$@"; do
    case "$part" in
      workspace) tests workspace "${WORKSPACE_LIMIT:-3600}" ;;
      # More than cores: a node mostly waits.
      node) tests node "${WORKSPACE_LIMIT:-3600}" --test node -- --test-threads=4 ;;
      cluster | scheduler) tests "$part" "${WORKSPACE_LIMIT:-3600}" --test "$part" ;;
      *) judge "$part" ;;
    esac
  done
}

if [ $# = 0 ]; then
  set -- workspace node cluster scheduler
  for run in "$JUDGES"/*/run.sh; do
    [ -e "$run" ] && set -- "$@" "$(basename "$(dirname "$run")")"
  done
fi
quick=() alone=()
for part in "$@"; do
  case "$part" in
    node | cluster | scheduler) alone+=("$part") ;;
    *)
      if [ "$part" != workspace ] && [ ! -e "$JUDGES/$part/run.sh" ]; then
        echo "tests/run.sh: there is no judge $part: look into $JUDGES" >&2
        exit 2
      fi
      quick+=("$part")
      ;;
  esac
done
# Built before any of them runs: what is compiled beside scenarios takes their cores.
if [[ " $* " =~ \ (workspace|node|cluster|scheduler)\  ]]; then
  echo "== build"
  since=$SECONDS
  cargo test --workspace --no-run -q && cargo test --workspace --no-run -q --test node --test cluster --test scheduler || exit 1
  echo "   build: $((SECONDS - since)) s"
fi
row ${quick[@]+"${quick[@]}"} &
for part in ${alone[@]+"${alone[@]}"}; do row "$part" & done
wait

skipped=$(sort -u "$TIDEWAY_SKIPS" | grep -c . || true)
if [ "$skipped" -gt 0 ]; then
  echo "== skipped here, and why"
  sort -u "$TIDEWAY_SKIPS"
fi
broken=()
for why in "$work"/*.why; do
  [ -e "$why" ] || continue
  cat "$why"
  broken+=("$(basename "$why" .why)")
done
ended=$(find "$work" -name '*.count' | wc -l)
echo "$(cat "$work"/*.count | awk -v skipped="$skipped" '{p += $1; f += $2} END {print p + 0 " passed, " f + 0 " failed, " skipped " skipped"}')"
if [ ${#broken[@]} -gt 0 ] || [ "$ended" != $# ]; then
  echo "failed: ${broken[*]-}${broken[*]+ }($ended of $# parts ended)" >&2
  exit 1
fi
