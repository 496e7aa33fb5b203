#!/usr/bin/env python3
"""Signs recorded EC2 requests again with botocore and compares, and looks up every parameter in AWS' model of the API.

Usage: verify_requests.py FOLDER --region REGION [--least N] [--action NAME...]

Requests that the lab refused for their signature are left out, too; the rest as in signatures.py.
"""
import re
import urllib.parse

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import signatures

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
    options = signatures.arguments()
    options.add_argument("--region", required=True)
    options = options.parse_args()
    model = botocore.session.get_session().get_service_model("ec2", "2016-11-15")

    def complaints(request):
        if request["outcome"] in REFUSED:
            return None
        sent, again = signature(request, options.region)
        wrong = [f"sent {sent}, botocore {again}"] if sent != again else []
        return wrong + [f"{name} is not in the model" for name in unknown(request, model)]

    signatures.verify("botocore", options, complaints)


if __name__ == "__main__":
    main()
