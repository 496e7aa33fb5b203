#!/usr/bin/env python3
"""Signs recorded requests again with the official signers and compares.

Usage: verify_requests.py FOLDER [--least N] [--action NAME...]

ACS3 requests are signed by alibabacloud_tea_openapi, RPC v1 requests by aliyunsdkcore; the rest as in signatures.py.
"""
from alibabacloud_tea_openapi.utils import Utils
from aliyunsdkcore.auth.composer import rpc_signature_composer
from darabonba.request import DaraRequest

import signatures


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


def complaints(request):
    sent, recomputed = v3(request) if header(request, "authorization") else v1(request)
    return [f"sent {sent}, the official signer {recomputed}"] if sent != recomputed else []


def main():
    signatures.verify("official signers", signatures.arguments().parse_args(), complaints)


if __name__ == "__main__":
    main()
