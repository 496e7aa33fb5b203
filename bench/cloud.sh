#!/usr/bin/env bash
# make bench-cloud: what a cold node costs until 30 and until 100 addresses can be handed out, on both clouds at their real
# latencies, address by address and in prefixes: time since the daemon's start, calls, and the daemon's CPU time and memory. Beside it the bound of the API:
# the fewest changes that give so many addresses, and how long one ENI takes that is made and attached (the lab draws both
# from these ranges; ENIs that come side by side take no longer). Prints a table and writes target/bench/cloud.json.
#
# On Alibaba Cloud also with a daemon that was built without AWS' SDK. RUNS (3) changes the run; PROFILE=debug uses debug
# programs, to try it out; BUILD=only ends after the builds, which take minutes, and BUILD=no measures what they made, so
# that the run itself can wait for a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR
RUNS=${RUNS:-3} PROFILE=${PROFILE:-release}
case $PROFILE in
  release) flags=(--release) ;;
  debug) flags=() ;;
  *) echo "PROFILE is release or debug, not $PROFILE" >&2; exit 2 ;;
esac
BINS=$CARGO_TARGET_DIR/$PROFILE/bench-cloud
# The programs with a daemon for these clouds, in a folder of their own.
if [ "${BUILD:-}" != no ]; then
  mkdir -p "$BINS/aliyun" "$BINS/both"
  # The same build as that of `make bench-cni`.
  cargo build ${flags[@]+"${flags[@]}"} -p tidewayd -p tideway-lab -p tideway-cli --bins --no-default-features --features tidewayd/aliyun
  cp "$BINS/../tidewayd" "$BINS/aliyun/"
  cargo build ${flags[@]+"${flags[@]}"} --workspace --bin tidewayd --bin tideway-lab --bin tideway
  cp "$BINS/../tidewayd" "$BINS/both/"
  for build in aliyun both; do cp "$BINS/../tideway-lab" "$BINS/../tideway" "$BINS/$build/"; done
fi
[ "${BUILD:-}" != only ] || exit 0
# shellcheck source=bench/bed.sh
. bench/bed.sh
trap bed_stop EXIT

# Types with eight ENIs of thirty addresses.
type_of() { case $1 in aliyun) echo ecs.g7.4xlarge ;; aws) echo m5.4xlarge ;; esac; }
# Addresses of an ENI that pods can have: of its 30 places the primary address has one, which on AWS is no pod's.
each_of() {
  case $1/$2 in
    aliyun/off) echo 30 ;;
    aws/off) echo 29 ;;
    */preferred) echo $((29 * 16)) ;;
  esac
}
# Changes for one ENI: create and attach; on AWS another call lets it go with its instance.
changes_of() { case $1 in aliyun) echo 2 ;; aws) echo 3 ;; esac; }
# Create and attach, in milliseconds.
bound_of() { case $1 in aliyun) echo '2500–5000' ;; aws) echo '1400–3900' ;; esac; }

ready() {
  "$BIN/tideway" status --socket "$BED_SOCKET" -o json 2>/dev/null |
    jq '[.enis[] | select(.state == "Ready") | .addresses[] | select(.state == "free")] | length' 2>/dev/null || echo 0
}

# One cold start; prints it as one line of JSON.
measure() {
  local cloud=$1 build=$2 mode=$3 wanted=$4 run=$5 free=0 took calls ticks
  BIN=$BINS/$build
  BED_CLOUD=$cloud BED_LATENCY=real BED_POOL="prefixMode: \"$mode\"" bed_start "$BIN" "$(type_of "$cloud")" "$wanted" "$wanted"
  while free=$(ready); [ "${free:-0}" -lt "$wanted" ]; do
    kill -0 "$BED_DAEMON" 2>/dev/null || { bed_fail 'the daemon ended'; return 1; }
    [ $(($(date +%s%N) - BED_STARTED)) -lt 120000000000 ] || { bed_fail "$free of $wanted after two minutes"; return 1; }
    sleep 0.05
  done
  took=$((($(date +%s%N) - BED_STARTED) / 1000000))
  calls=$(TIDEWAY_LAB_DIR=$BED_DIR/lab "$BIN/tideway-lab" ledger --id "$BED_LAB" -o json |
    jq -c '[.counts[] | {(.action): .calls}] | add')
  ticks=$(awk '{print $14 + $15}' "/proc/$BED_DAEMON/stat")
  jq -nc --arg cloud "$cloud" --arg build "$build" --arg mode "$mode" --argjson wanted "$wanted" --argjson run "$run" --argjson ms "$took" --argjson calls "$calls" \
    --argjson cpu $((ticks * 1000 / $(getconf CLK_TCK))) --argjson rss "$(awk '/VmHWM/ {print $2}' "/proc/$BED_DAEMON/status")" \
    '{cloud: $cloud, build: $build, prefixMode: $mode, addresses: $wanted, run: $run, ms: $ms, cpuMs: $cpu, peakRssKib: $rss, calls: $calls}'
  bed_verify || { echo 'bench: the ledger shows an address given twice or lost' >&2; return 1; }
  bed_stop
}

# Cloud and build of the daemon.
CASES=(aliyun/both aliyun/aliyun aws/both)
mkdir -p target/bench
# No pipe: what a run made is taken down by the trap of this shell.
: >target/bench/cloud.runs
for run in $(seq "$RUNS"); do
  for case in "${CASES[@]}"; do
    for mode in off preferred; do
      for wanted in 30 100; do
        measure "${case%/*}" "${case#*/}" "$mode" "$wanted" "$run" >>target/bench/cloud.runs
        tail -n 1 target/bench/cloud.runs >&2
      done
    done
  done
done
jq -s . target/bench/cloud.runs >target/bench/cloud.json
rm target/bench/cloud.runs

echo '| cloud | clouds in the build | prefixMode | addresses | ms, median (spread) | bound ms | changes | fewest | reads | CPU ms | peak MiB |'
echo '|---|---|---|---|---|---|---|---|---|---|---|'
for pair in "${CASES[@]}"; do
  cloud=${pair%/*} build=${pair#*/}
  for case in off/30 off/100 preferred/30 preferred/100; do
    mode=${case%/*} wanted=${case#*/}
    each=$(each_of "$cloud" "$mode")
    enis=$(((wanted + each - 1) / each))
    jq -r --arg cloud "$cloud" --arg build "$build" --arg mode "$mode" --argjson wanted "$wanted" --arg bound "$(bound_of "$cloud")" --arg least $((enis * $(changes_of "$cloud"))) '
      def median: sort | .[length / 2 | floor];
      def reads: [.calls | to_entries[] | select(.key | startswith("Describe")) | .value] | add // 0;
      def all: [.calls[]] | add;
      map(select(.cloud == $cloud and .build == $build and .prefixMode == $mode and .addresses == $wanted)) |
      "| \($cloud) | \($build) | \($mode) | \($wanted) | \(map(.ms) | median) (\(map(.ms) | min)–\(map(.ms) | max)) | \($bound) | \(map(all - reads) | median) | \($least) | \(map(reads) | median) | \(map(.cpuMs) | median) | \(map(.peakRssKib) | median / 1024 * 10 | round / 10) |"
    ' target/bench/cloud.json
  done
done
echo 'bench: written to target/bench/cloud.json' >&2
