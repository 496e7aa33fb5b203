#!/usr/bin/env bash
# The official SDKs of Alibaba Cloud, both generations, judge the lab; then the official signers sign their requests again.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lab.sh"
lab_up aliyun --config "$here/lab.yaml"

# A lab in which changes take time, beside the one in which they do not.
slow=s${id:1}
slow_down() { "$lab" down --id "$slow" >/dev/null 2>&1; lab_down; }
trap slow_down EXIT
"$lab" up --id "$slow" --no-fabric --latency real || { echo "the slow lab did not start" >&2; exit 1; }
fold "changes at once" "$PYTHON" "$here/conflict.py" "$TIDEWAY_LAB_DIR/$slow/lab.json"

lab_judged "the SDKs" "the official signers" --least 300
