#!/usr/bin/env bash
# Fuzzes every target, or those that are named, each for so many seconds: fuzz/run.sh SECONDS [TARGET...]
#
# Stable Rust: LLVM's own pass puts in the coverage that libFuzzer steers by, for the target alone, since build scripts and
# macros must stay as they are. Inputs that reach new code are kept beside the build and used again by the next run; what was
# mended goes into fuzz/corpus, which `cargo test -p tideway-fuzz` replays.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR
each=${1:?fuzz/run.sh SECONDS [TARGET...]}
shift
# A folder for each target: tests/corpus.rs sees to it.
[ $# -gt 0 ] || set -- $(ls fuzz/corpus)

command -v c++ >/dev/null || { echo "fuzz: libFuzzer needs a C++ compiler: apt-get install g++" >&2; exit 2; }
triple=x86_64-unknown-linux-gnu
sancov="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
sancov+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$sancov \
  cargo build -q --profile fuzz -p tideway-fuzz --features libfuzzer --target $triple
program=$CARGO_TARGET_DIR/$triple/fuzz/tideway-fuzz
kept=$CARGO_TARGET_DIR/fuzz-inputs
log=$(mktemp)
trap 'rm -f "$log"' EXIT

total=0 crashed=()
for name in "$@"; do
  [ -d "fuzz/corpus/$name" ] || { echo "fuzz: there is no target $name: look into fuzz/corpus" >&2; exit 2; }
  mkdir -p "$kept/$name" "$kept/crashes/$name"
  status=0
  FUZZ_TARGET=$name "$program" -max_total_time="$each" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
    -artifact_prefix="$kept/crashes/$name/" "$kept/$name" "fuzz/corpus/$name" >"$log" 2>&1 || status=$?
  count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  total=$((total + ${count:-0}))
  printf '%-16s %10d executions\n' "$name" "${count:-0}"
  [ "$status" != 0 ] || continue
  crashed+=("$name")
  grep -v '^#' "$log" | head -n 40
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
  echo "replay: FUZZ_TARGET=$name $program ${input:-fuzz/corpus/$name/*}"
done
if [ ${#crashed[@]} -gt 0 ]; then
  echo "fuzz: failed targets=${crashed[*]} executions=$total" >&2
  exit 1
fi
echo "fuzz: ok targets=$# executions=$total"
