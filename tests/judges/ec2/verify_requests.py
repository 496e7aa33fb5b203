#!/usr/bin/env python3
"""Signs recorded EC2 requests again with botocore and compares, and looks up every parameter in AWS' model of the API.

Usage: verify_requests.py FOLDER --region REGION [--least N] [--action NAME...]

FOLDER is the output of `tideway-lab requests -o FOLDER`. At least N requests (default 1) must have been verified, and at
least one of every NAME. Requests that the lab refused before it knew the key (no secret recorded) are left out, and so are
those that it refused for their signature; their number is said. Prints `N passed, M failed`, where one action is one check.
"""
import argparse
import collections
import json
import pathlib
import re
import sys
import urllib.parse

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REFUSED = {"AuthFailure", "RequestExpired", "IncompleteSignature", "MissingAuthenticationToken"}


def signature(request, region):
    """(sent, recomputed)"""
    headers = {k.lower(): v for k, v in request["headers"]}
    sent = headers["authorization"]
    listed = re.search(r"SignedHeaders=([^,]+)", sent).group(1).split(";")
    again = AWSRequest(
        method=request["method"],
        url=f"http://{headers['host']}{request['target']}",
        # The signer signs every header that it is given: hand it the signed ones only.
        headers={name: headers[name] for name in listed},
        data=request["body"].encode(),
    )
    again.context["timestamp"] = headers["x-amz-date"]
    key = Credentials(
        request["access_key_id"], request["access_key_secret"], headers.get("x-amz-security-token"))
    signer = SigV4Auth(key, "ec2", region)
    text = signer.string_to_sign(again, signer.canonical_request(again))
    return re.search(r"Signature=([0-9a-f]+)", sent).group(1), signer.signature(text, again)


def names(shape, prefix=""):
    """Every name that a parameter of this shape can have; `N` stands for the index of a list."""
    if shape.type_name == "structure":
        for member, inner in shape.members.items():
            wire = inner.serialization.get("queryName")
            if not wire:
                wire = inner.serialization.get("name", member)
                wire = wire[0].upper() + wire[1:]
            yield from names(inner, f"{prefix}.{wire}" if prefix else wire)
    elif shape.type_name == "list":
        yield from names(shape.member, prefix + ".N")
    else:
        yield prefix


def unknown(request, model):
    """Parameters that the model does not have; the action itself when there is none."""
    action = request["name"]
    if action not in model.operation_names:
        return [f"action {action}"]
    shape = model.operation_model(action).input_shape
    known = {"Action", "Version", *(names(shape) if shape else [])}
    sent = urllib.parse.parse_qs(request["body"], keep_blank_values=True)
    return sorted(name for name in sent if re.sub(r"\.\d+", ".N", name) not in known)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("--region", required=True)
    options.add_argument("--least", type=int, default=1)
    options.add_argument("--action", nargs="*", default=[])
    options = options.parse_args()
    model = botocore.session.get_session().get_service_model("ec2", "2016-11-15")
    good, bad, failed = collections.Counter(), collections.Counter(), 0
    left_out = 0
    for file in sorted(options.folder.glob("*.json")):
        request = json.loads(file.read_text(encoding="utf-8"))
        if not request["access_key_secret"] or request["outcome"] in REFUSED:
            left_out += 1
            continue
        sent, again = signature(request, options.region)
        wrong = [f"sent {sent}, botocore {again}"] if sent != again else []
        wrong += [f"{name} is not in the model" for name in unknown(request, model)]
        if wrong:
            bad[request["name"]] += 1
            print(f"FAIL {file.name} {request['name']}: {'; '.join(wrong)}")
        else:
            good[request["name"]] += 1
    for action, number in sorted(good.items()):
        if not bad[action]:
            print(f"ok   requests of {action}: {number}")
    for action in options.action:
        if not good[action] and not bad[action]:
            failed += 1
            print(f"FAIL no {action} was seen")
    total = sum(good.values())
    print(f"botocore verified {total} requests, bad {sum(bad.values())}, left out {left_out}")
    if total < options.least:
        failed += 1
        print(f"FAIL at least {options.least} were expected")
    print(f"{len(set(good) - set(bad))} passed, {failed + len(bad)} failed")
    sys.exit(1 if failed or bad else 0)


if __name__ == "__main__":
    main()
