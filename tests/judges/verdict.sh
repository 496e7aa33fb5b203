# What every judge's run.sh shares: checks that are counted, skips that are said aloud, and the last line. Sourced.
#
#   check WHAT COMMAND...   one check: right when the command succeeds; its output is shown when it does not
#   fold WHAT COMMAND...    a program with its own count: shows what it says and adds "N passed, M failed"; a program that
#                           dies without a count is one failure
#   skip WHAT REASON        says that something does not run here, also in the file that TIDEWAY_SKIPS names
#   verdict                 prints "N passed, M failed" and fails when anything did
# shellcheck shell=bash

passed=0 failed=0

right() { passed=$((passed + 1)); echo "ok   $1"; }
wrong() { failed=$((failed + 1)); echo "FAIL $1"; }

check() {
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then
    right "$what"
  else
    wrong "$what"
    printf '%s\n' "$said" | tail -n 40 | sed 's/^/     /'
  fi
}

fold() {
  local what=$1 out count status=0
  shift
  out=$(mktemp)
  "$@" >"$out" 2>&1 || status=$?
  count=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out" | tail -n 1)
  grep -vE '^[0-9]+ passed, [0-9]+ failed$' "$out"
  rm -f "$out"
  if [ -z "$count" ]; then
    wrong "$what died without a count (status $status)"
    return 0
  fi
  # shellcheck disable=SC2086 # "N passed, M failed" as words
  set -- $count
  passed=$((passed + $1)) failed=$((failed + $3))
  [ "$status" = 0 ] || [ "$3" != 0 ] || wrong "$what ended with status $status"
}

skip() {
  local line="SKIPPED: $1: $2"
  echo "$line" >&2
  [ -z "${TIDEWAY_SKIPS:-}" ] || echo "$line" >>"$TIDEWAY_SKIPS"
}

# needs_root WHAT: true as root; otherwise says the skip, and the caller ends with `verdict`.
needs_root() {
  [ "$(id -u)" = 0 ] || { skip "$1" "needs root (network namespaces and mounts)"; return 1; }
}

verdict() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
