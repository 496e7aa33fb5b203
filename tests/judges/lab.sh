# A cloud's own SDK judges a lab, and its signers the requests that it sent. Sourced by a judge's run.sh, beside which its
# judge.py and verify_requests.py stand.
#
#   lab_up JUDGE OPTION...              a lab of this judge's own, which goes when it ends; skips it all without the SDK
#   lab_judged SDK SIGNERS OPTION...    the judgement, to the verdict; OPTIONs are those of verify_requests.py
# shellcheck shell=bash

judges=$(dirname "${BASH_SOURCE[0]}")
. "$judges/verdict.sh"
. "$judges/venv.sh"

lab_up() {
  lab=${TIDEWAY_BIN:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}/debug}/tideway-lab
  folder=$judges/$1
  python_or_skip "judge-$1" "$judges/requirements.txt" || { verdict; exit; }
  id=$(printf '%.1s%03x' "$1" $(($$ % 4096))) # four characters at most; runs stand side by side
  shift
  TIDEWAY_LAB_DIR=$(mktemp -d)
  export TIDEWAY_LAB_DIR
  trap lab_down EXIT
  trap 'exit 1' INT TERM
  "$lab" up --id "$id" "$@" --no-fabric --latency none || { echo "the lab did not start" >&2; exit 1; }
}

lab_down() {
  "$lab" down --id "$id" >/dev/null 2>&1
  rm -rf "$TIDEWAY_LAB_DIR"
}

lab_judged() {
  fold "$1" "$PYTHON" "$folder/judge.py" "$TIDEWAY_LAB_DIR/$id/lab.json"
  check "the lab hands out its requests" "$lab" requests --id "$id" -o "$TIDEWAY_LAB_DIR/requests"
  fold "$2" "$PYTHON" "$folder/verify_requests.py" "$TIDEWAY_LAB_DIR/requests" "${@:3}"
  check "the ledger finds nothing wrong" "$lab" ledger --id "$id" --verify
  verdict
}
