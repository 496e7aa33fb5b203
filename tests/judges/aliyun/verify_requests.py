#!/usr/bin/env python3
"""Signs recorded requests again with the official signers and compares.

Usage: verify_requests.py FOLDER      (FOLDER: output of `tideway-lab requests -o FOLDER`)

ACS3 requests are signed by alibabacloud_tea_openapi, RPC v1 requests by aliyunsdkcore. Requests that the lab refused
before it knew the key (no secret recorded) are counted as skipped. Exit status 1 on a mismatch or when nothing was
verified.
"""
import collections
import glob
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
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    count = collections.Counter()
    by_action = collections.Counter()
    for file in sorted(glob.glob(str(pathlib.Path(sys.argv[1]) / "*.json"))):
        with open(file, encoding="utf-8") as handle:
            request = json.load(handle)
        if not request["access_key_secret"]:
            count["skipped"] += 1
            continue
        sent, recomputed = v3(request) if header(request, "authorization") else v1(request)
        if sent == recomputed:
            count["ok"] += 1
            by_action[request["name"]] += 1
        else:
            count["bad"] += 1
            print("MISMATCH", file, "sent", sent, "official signer", recomputed)
    for action, number in sorted(by_action.items()):
        print(f"  {action}: {number}")
    print(f"official signers re-verified {count['ok']}, bad {count['bad']}, skipped {count['skipped']}")
    sys.exit(1 if count["bad"] or not count["ok"] else 0)


if __name__ == "__main__":
    main()
