#!/usr/bin/env bash
# boto3, the SDK that AWS publishes for Python, judges the EC2 side of the lab; then botocore signs the requests again, which
# shows that the records which our own client is to be judged by are whole.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lab.sh"
# Nothing of the machine's own account or proxies takes part.
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true NO_PROXY=127.0.0.1
lab_up ec2 --config "$here/lab.yaml"
lab_judged boto3 "botocore's signer" --region us-east-1 --least 150
