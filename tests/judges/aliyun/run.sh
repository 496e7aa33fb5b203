#!/usr/bin/env bash
# The official SDKs of Alibaba Cloud, both generations, judge the lab; then the official signers sign their requests again.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lab.sh"
lab_up aliyun --config "$here/lab.yaml"
lab_judged "the SDKs" "the official signers" --least 300
