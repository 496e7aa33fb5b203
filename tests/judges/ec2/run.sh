#!/usr/bin/env bash
# boto3, the SDK that AWS publishes for Python, judges the EC2 side of the lab, and botocore signs its requests again. What
# moto, an EC2 of other people, gets right is played there, too. Then every request of our own client in its tests against the
# lab: botocore signs it again and knows every parameter, and moto must understand it.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lab.sh"
# Nothing of the machine's own account or proxies takes part.
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true NO_PROXY=127.0.0.1
lab_up ec2 --config "$here/lab.yaml"

# Built by `cargo test --workspace`, with these very features, because the SDK takes minutes to compile.
ours() {
  cd "$here/../../.." || return
  # It asks the metadata service of its lab for keys.
  env -u AWS_EC2_METADATA_DISABLED TIDEWAY_REQUESTS="$TIDEWAY_LAB_DIR/ours" cargo test --workspace --test ec2
}
mkdir "$TIDEWAY_LAB_DIR/ours"
check "our client's tests against the lab" ours
fold "botocore's signer on our client" "$PYTHON" "$here/verify_requests.py" "$TIDEWAY_LAB_DIR/ours" --region us-east-1 --least 500 --action \
  AssignIpv6Addresses AssignPrivateIpAddresses AttachNetworkInterface CreateNetworkInterface DeleteNetworkInterface \
  DescribeInstanceTypes DescribeInstances DescribeNetworkInterfaces DescribeSubnets DescribeVpcs DetachNetworkInterface \
  ModifyNetworkInterfaceAttribute UnassignIpv6Addresses UnassignPrivateIpAddresses
fold "moto" "$PYTHON" "$here/moto_judge.py" "$TIDEWAY_LAB_DIR/ours"

lab_judged boto3 "botocore's signer" --region us-east-1 --least 150
