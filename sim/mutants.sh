#!/usr/bin/env bash
# Mutants of the allocator that cargo-mutants makes: sim/mutants.sh [SHARD k/n] [FILE...], files as rest.rs of crates/ipam/src,
# or sim/mutants.sh @NAMES: those that a file names, one a line, as the lists below do.
#
# First the allocator's own tests judge, which build in seconds; what they do not notice goes to the simulator's short tests.
# Lists in $CARGO_TARGET_DIR/mutants: caught, caught-by-simulator, timeout, missed, unviable (does not compile); each run adds.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/mutants
lists=$CARGO_TARGET_DIR
mkdir -p "$lists"
# One test that fails is enough: the harness starts no other one (an option that it calls unstable), and no input is made shorter.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env RUSTC_BOOTSTRAP=1" PROPTEST_MAX_SHRINK_ITERS=0
first=(-- -Z unstable-options --fail-fast)

# The options for the mutants that a file names.
named() { # FILE
  picked=()
  local name
  while read -r name; do
    picked+=(-f "${name%%:*}" --re "^$(sed 's/[][\\.*^$(){}?+|]/\\&/g' <<<"$name")\$")
  done <"$1"
}

choice=()
if [[ ${1:-} == @* ]]; then
  named "${1#@}"
  choice=("${picked[@]}")
  shift
elif [[ ${1:-} == */* ]]; then
  choice+=(--shard "$1" --sharding round-robin)
  shift
fi
for file in "$@"; do choice+=(-f "crates/ipam/src/$file"); done

# 2: some were missed; 3: some took too long.
mutants() { # OUT ARGUMENTS...
  local out=$1 status=0
  shift
  rm -rf "$out"
  mkdir -p "$out"
  cargo mutants -p tideway-ipam --no-shuffle --cap-lints true --baseline skip -o "$out" "$@" || status=$?
  case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac
}
add() { # LIST FILE
  [ ! -e "$2" ] || cat "$2" >>"$lists/$1"
}

own=$lists/own/mutants.out
mutants "${own%/*}" --profile mutants --timeout 300 "${choice[@]}" -- --lib "${first[@]}"
for list in caught timeout unviable; do add $list "$own/$list.txt"; done
named "$own/missed.txt"
if [ ${#picked[@]} -gt 0 ]; then
  whole=$lists/whole/mutants.out
  mutants "${whole%/*}" --timeout 600 --test-package tideway-sim "${picked[@]}" -- --test short --test small "${first[@]}"
  # cargo-mutants 27.1 takes those that delete a field whatever the expression says.
  for list in caught timeout missed; do
    grep -Fxf "$own/missed.txt" "$whole/$list.txt" >"$whole/own-$list.txt" || true
  done
  add caught-by-simulator "$whole/own-caught.txt"
  for list in timeout missed; do add $list "$whole/own-$list.txt"; done
fi
for list in caught caught-by-simulator timeout missed unviable; do
  printf '%-20s %6d\n' $list "$(sort -u "$lists/$list" 2>/dev/null | wc -l)"
done
