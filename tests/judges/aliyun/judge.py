#!/usr/bin/env python3
"""Drives a running lab with the official SDKs of Alibaba Cloud, both generations.

Usage: judge.py LAB_JSON        (LAB_JSON: the lab's description, /run/tideway-lab/ID/lab.json)

The lab runs with `--latency none` and lab.yaml. Each generation plays scenario.py and refusals.py; what only one of them can
do is here. Works on its own ENIs and deletes them. Prints each check and at the end `N passed, M failed`.
"""
import base64
import json
import logging
import sys
import tempfile
import time
import urllib.error

from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.provider import OIDCRoleArnCredentialsProvider
from alibabacloud_tea_openapi import models as openapi
from darabonba.runtime import RuntimeOptions

import refusals
import scenario
from generations import GENERATIONS, AliyunLab, New
from scenario import Account
from verdict import check, end, equal, on, wait_for

LOOK = "DescribeNetworkInterfaces"
OWNER = "1234567890123456"


def new_alone(lab):
    """The old signature, and what the old generation does not read of an error."""
    account = Account(New(lab), lab)
    old_way = lambda **keys: New(lab, algorithm="v2", **keys).call(LOOK)["TotalCount"]
    account.fails("a wrong secret, HMAC-SHA1", "SignatureDoesNotMatch", lambda: old_way(secret="wrong"))
    check("the old signature works", old_way() >= 1)
    check("the old signature works by GET", old_way(method="GET") >= 1)

    lab.fault(kind="throttle", action=LOOK, count=1, retryAfter=7)
    error = account.refused("throttling", "Throttling.User", LOOK)
    equal("x-acs-retry-after is read", getattr(error, "retry_after", None), 7000)
    lab.fault(kind="deny", action=LOOK, count=1)
    error = account.refused("a denied action", "Forbidden.RAM", LOOK)
    detail = getattr(error, "access_denied_detail", None) or {}
    equal("the denied action is named", detail.get("AuthAction"), "ecs:" + LOOK)


def metadata(lab):
    get = lab.metadata
    meta = "/latest/meta-data/"
    equal("metadata names the instance", get(meta + "instance-id"), lab.node["id"])
    equal("metadata names the type", get(meta + "instance/instance-type"), lab.node["type"])
    equal("metadata lists the MAC", get(meta + "network/interfaces/macs/"), lab.node["mac"] + "/")
    at = meta + "network/interfaces/macs/" + lab.node["mac"]
    equal("metadata names the ENI", get(at + "/network-interface-id"), lab.node["primaryEni"])
    equal("metadata lists the addresses", json.loads(get(at + "/private-ipv4s")), [lab.node["ipv4"]])
    equal("metadata names the gateway", get(at + "/gateway"), lab.vswitch["gatewayV4"])
    token = get("/latest/api/token", {"X-aliyun-ecs-metadata-token-ttl-seconds": "60"}, "PUT")
    equal("metadata works with a token",
          get(meta + "region-id", {"X-aliyun-ecs-metadata-token": token}), lab.region)
    try:
        get(meta + "region-id", {"X-aliyun-ecs-metadata-token": "wrong"})
        check("a wrong token is refused", False)
    except urllib.error.HTTPError as error:
        equal("a wrong token is refused", error.code, 401)


def identity(seconds):
    """A token of a service account that is good for so long."""
    claims = json.dumps({"sub": "system:serviceaccount:judge", "exp": int(time.time()) + seconds})
    return "e30." + base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=") + ".x"


def service_account(lab, role):
    """The official provider of keys for a service account's token (RRSA) at the lab's token service."""

    def keys(token, role=role):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(token)
            file.flush()
            provider = OIDCRoleArnCredentialsProvider(
                role_arn=f"acs:ram::{OWNER}:role/{role}",
                oidc_provider_arn=f"acs:ram::{OWNER}:oidc-provider/judge",
                oidc_token_file_path=file.name,
                role_session_name="judge",
                sts_endpoint=lab.about["endpoints"]["apiTls"].removeprefix("https://"),
            )
            provider._runtime_options["ca"] = lab.about["caFile"]  # it has no option for it
            return provider.get_credentials()

    got = keys(identity(600))
    own = New(lab, key=got.get_access_key_id(), secret=got.get_access_key_secret(), token=got.get_security_token())
    check("the API takes the keys of a service account", own.call(LOOK)["TotalCount"] >= 1)
    logging.disable(logging.CRITICAL)  # it writes down each failure that it then raises
    for what, code, wrong in [
        ("an expired token", "AuthenticationFail.OIDCToken.Expired", lambda: keys(identity(-60))),
        ("a token that is none", "AuthenticationFail.OIDCToken.Invalid", lambda: keys("x")),
        ("another role", "EntityNotExist.Role", lambda: keys(identity(600), "nobody")),
    ]:
        try:
            wrong()
            check(f"{what} -> {code}", False, "success")
        except CredentialException as error:
            check(f"{what} -> {code}", code in str(error), str(error))
    logging.disable(logging.NOTSET)


def keys_that_expire(lab, role):
    """A second is less than the provider asks for and than the real service gives, and it is soon over."""
    client = New(lab).clients[0][0]
    action = openapi.Params(
        action="AssumeRoleWithOIDC", version="2015-04-01", protocol="HTTP", pathname="/", method="POST",
        auth_type="Anonymous", style="RPC", req_body_type="formData", body_type="json")
    request = openapi.OpenApiRequest(query={
        "RoleArn": f"acs:ram::{OWNER}:role/{role}", "OIDCProviderArn": f"acs:ram::{OWNER}:oidc-provider/judge",
        "OIDCToken": identity(600), "RoleSessionName": "judge", "DurationSeconds": "1"})
    given = client.call_api(action, request, RuntimeOptions())["body"]["Credentials"]
    for generation in GENERATIONS:
        sdk = generation(lab, given["AccessKeyId"], given["AccessKeySecret"], given["SecurityToken"])

        def look():
            try:
                return sdk.call(LOOK)["TotalCount"]
            except Exception as error:
                return sdk.code(error) == "InvalidSecurityToken.Expired" or sdk.code(error)

        with on(sdk.name):
            wait_for("keys that are over -> InvalidSecurityToken.Expired", 20, look)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lab = AliyunLab(sys.argv[1])
    for generation in GENERATIONS:
        account = Account(generation(lab), lab)
        with on(generation.name):
            for part in (scenario.inventory, scenario.life, refusals.parameters, refusals.limits, refusals.gate, refusals.faults):
                part(account)
    with on(New.name):
        new_alone(lab)
    metadata(lab)
    role = lab.metadata("/latest/meta-data/ram/security-credentials/").strip()
    service_account(lab, role)
    keys_that_expire(lab, role)
    equal("the ledger finds nothing wrong", lab.control("GET", "/verify")["violations"], [])
    end()


if __name__ == "__main__":
    main()
