#!/usr/bin/env bash
# boto3, the SDK that AWS publishes for Python, judges the EC2 side of the lab; then botocore signs the requests again, which
# shows that the records which our own client is to be judged by are whole.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
BIN=${TIDEWAY_BIN:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}/debug}
. "$here/../verdict.sh"
. "$here/../venv.sh"
python_or_skip judge-ec2 "$here/../requirements.txt" || { verdict; exit; }

lab=$BIN/tideway-lab
id=$(printf 'e%03x' $(($$ % 4096))) # four characters at most; runs stand side by side
TIDEWAY_LAB_DIR=$(mktemp -d)
export TIDEWAY_LAB_DIR PYTHONDONTWRITEBYTECODE=1
# Nothing of the machine's own account or proxies takes part.
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true NO_PROXY=127.0.0.1
end() {
  "$lab" down --id "$id" >/dev/null 2>&1
  rm -rf "$TIDEWAY_LAB_DIR"
}
trap end EXIT
trap 'exit 1' INT TERM

"$lab" up --id "$id" --config "$here/lab.yaml" --no-fabric --latency none || { echo "the lab did not start" >&2; exit 1; }
fold "boto3" "$PYTHON" "$here/judge.py" "$TIDEWAY_LAB_DIR/$id/lab.json"
check "the lab hands out its requests" "$lab" requests --id "$id" -o "$TIDEWAY_LAB_DIR/requests"
fold "botocore's signer" "$PYTHON" "$here/verify_requests.py" "$TIDEWAY_LAB_DIR/requests" --region us-east-1 --least 150
check "the ledger finds nothing wrong" "$lab" ledger --id "$id" --verify
verdict
