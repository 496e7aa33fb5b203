#!/bin/sh
# The official SDKs of Alibaba Cloud, both generations, judge the lab; then the official signers sign its requests again.
# Usage: run.sh TIDEWAY_LAB_BINARY [VENV_DIRECTORY]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
lab=$1
venv=${2:-$here/.venv}
id=ajdg
TIDEWAY_LAB_DIR=$(mktemp -d)
export TIDEWAY_LAB_DIR

if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

end() {
    "$lab" down --id "$id" >/dev/null || true
    rm -rf "$TIDEWAY_LAB_DIR"
}
trap end EXIT INT TERM

"$lab" up --id "$id" --no-fabric --latency none
"$venv/bin/python" "$here/judge.py" "$TIDEWAY_LAB_DIR/$id/lab.json"
"$lab" requests --id "$id" -o "$TIDEWAY_LAB_DIR/requests"
"$venv/bin/python" "$here/verify_requests.py" "$TIDEWAY_LAB_DIR/requests"
"$lab" ledger --id "$id" --verify | tail -n 2
