#!/usr/bin/env bash
# The official SDKs of Alibaba Cloud, both generations, judge the lab; then the official signers sign their requests again.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
BIN=${TIDEWAY_BIN:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}/debug}
. "$here/../verdict.sh"
. "$here/../venv.sh"
python_or_skip judge-aliyun "$here/../requirements.txt" || { verdict; exit; }

lab=$BIN/tideway-lab
id=$(printf 'a%03x' $(($$ % 4096))) # four characters at most; runs stand side by side
TIDEWAY_LAB_DIR=$(mktemp -d)
export TIDEWAY_LAB_DIR PYTHONDONTWRITEBYTECODE=1
end() {
  "$lab" down --id "$id" >/dev/null 2>&1
  rm -rf "$TIDEWAY_LAB_DIR"
}
trap end EXIT
trap 'exit 1' INT TERM

"$lab" up --id "$id" --no-fabric --latency none || { echo "the lab did not start" >&2; exit 1; }
fold "the SDKs" "$PYTHON" "$here/judge.py" "$TIDEWAY_LAB_DIR/$id/lab.json"
check "the lab hands out its requests" "$lab" requests --id "$id" -o "$TIDEWAY_LAB_DIR/requests"
fold "the official signers" "$PYTHON" "$here/verify_requests.py" "$TIDEWAY_LAB_DIR/requests" --least 100
check "the ledger finds nothing wrong" "$lab" ledger --id "$id" --verify
verdict
