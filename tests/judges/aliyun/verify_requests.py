#!/usr/bin/env python3
"""Signs recorded requests again with the official signers and compares.

Usage: verify_requests.py FOLDER [--least N] [--action NAME...]

FOLDER is the output of `tideway-lab requests -o FOLDER`. At least N requests (default 1) must have been verified, and at
least one of every NAME.

ACS3 requests are signed by alibabacloud_tea_openapi, RPC v1 requests by aliyunsdkcore. Requests that the lab refused
before it knew the key (no secret recorded) are left out, and their number is said. Prints `N passed, M failed`, where one
action is one check.
"""
import argparse
import collections
import json
import pathlib
import sys

from alibabacloud_tea_openapi.utils import Utils
from aliyunsdkcore.auth.composer import rpc_signature_composer
from darabonba.request import DaraRequest


def header(request, name):
    return next((v for k, v in request["headers"] if k.lower() == name), None)


def v3(request):
    """(sent, recomputed) of an ACS3 request."""
    auth = header(request, "authorization")
    signed = auth.split("SignedHeaders=")[1].split(",")[0].split(";")
    again = DaraRequest()
    again.method = request["method"]
    again.pathname = request["target"].split("?")[0]
    again.query = dict(map(tuple, request["query"]))
    # The signer signs every header that it is given: hand it the signed ones only.
    again.headers = {k.lower(): v for k, v in request["headers"] if k.lower() in signed}
    recomputed = Utils.get_authorization(
        again,
        "ACS3-HMAC-SHA256",
        again.headers["x-acs-content-sha256"],
        request["access_key_id"],
        request["access_key_secret"],
    )
    return auth, recomputed


def v1(request):
    """(sent, recomputed) of an RPC v1 request."""
    pairs = dict(map(tuple, request["query"]))
    sent = pairs.pop("Signature", None)
    text = getattr(rpc_signature_composer, "__compose_string_to_sign")(request["method"], pairs)
    recomputed = getattr(rpc_signature_composer, "__get_signature")(text, request["access_key_secret"])
    return sent, recomputed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("--least", type=int, default=1)
    options.add_argument("--action", nargs="*", default=[])
    options = options.parse_args()
    good, bad, failed = collections.Counter(), collections.Counter(), 0
    unsigned = 0
    for file in sorted(options.folder.glob("*.json")):
        request = json.loads(file.read_text(encoding="utf-8"))
        if not request["access_key_secret"]:
            unsigned += 1
            continue
        sent, recomputed = v3(request) if header(request, "authorization") else v1(request)
        if sent == recomputed:
            good[request["name"]] += 1
        else:
            bad[request["name"]] += 1
            print(f"FAIL {file.name} {request['name']}: sent {sent}, the official signer {recomputed}")
    for action, number in sorted(good.items()):
        if not bad[action]:
            print(f"ok   signature of {action}: {number}")
    for action in options.action:
        if not good[action] and not bad[action]:
            failed += 1
            print(f"FAIL no {action} was seen")
    total = sum(good.values())
    print(f"official signers verified {total} requests, bad {sum(bad.values())}, without a known key {unsigned}")
    if total < options.least:
        failed += 1
        print(f"FAIL at least {options.least} were expected")
    print(f"{len(set(good) - set(bad))} passed, {failed + len(bad)} failed")
    sys.exit(1 if failed or bad else 0)


if __name__ == "__main__":
    main()
