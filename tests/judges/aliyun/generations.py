"""Both generations of Alibaba Cloud's SDK behind one call, whose parameters and answers are named as on the wire.

Each sends its own typed requests: a parameter that the SDK does not know fails the call, and of an answer the new generation
shows only what its models know.
"""
import importlib
import json
import uuid

from alibabacloud_ecs20140526 import models as ecs_models
from alibabacloud_ecs20140526.client import Client as Ecs
from alibabacloud_tea_openapi import models as openapi
from alibabacloud_tea_openapi.utils import Utils
from alibabacloud_vpc20160428 import models as vpc_models
from alibabacloud_vpc20160428.client import Client as Vpc
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.utils import parameter_helper

from lab import Lab


class AliyunLab(Lab):
    """The lab under judgement."""

    def __init__(self, path):
        super().__init__(path)
        self.key = self.about["credentials"]["accessKeyId"]
        self.secret = self.about["credentials"]["accessKeySecret"]
        self.vswitch = self.about["vswitches"][0]

    def endpoint(self, tls):
        return self.about["endpoints"]["ecsTls" if tls else "ecs"].split("://")[1]


def of_vpc(action):
    """Whether this is an action of the product VPC and not of ECS, which has some of the same name that are no longer used."""
    return "Vpc" in action or "VSwitch" in action


class New:
    """`alibabacloud_*`: ACS3-HMAC-SHA256, HMAC-SHA1 when asked for; POST, GET when asked for."""

    name = "new"
    # What makes its dates and its nonces.
    clock, nonce = (Utils, "get_timestamp"), (Utils, "get_nonce")

    def __init__(self, lab, key=None, secret=None, token=None, tls=False, method=None, algorithm=None):
        config = openapi.Config(
            access_key_id=key or lab.key, access_key_secret=secret or lab.secret, security_token=token,
            endpoint=lab.endpoint(tls), protocol="HTTPS" if tls else "HTTP", ca=lab.about["caFile"] if tls else None,
            region_id=lab.region, signature_algorithm=algorithm)
        self.region = lab.region
        self.clients = [(Ecs(config), ecs_models), (Vpc(config), vpc_models)]
        for client, _ in self.clients if method else ():
            client.call_api = self.sent_by(method, client.call_api)

    @staticmethod
    def sent_by(method, call):
        """The typed calls fix the method: this changes it underneath them."""
        def sent(params, request, runtime):
            params.method = method
            return call(params, request, runtime)
        return sent

    def call(self, action, **params):
        client, models = self.clients[of_vpc(action)]
        request = getattr(models, action + "Request")()
        if hasattr(request, "region_id"):
            params = {"RegionId": self.region, **params}
        request.from_map(params)
        assert set(params) <= set(request.to_map()), f"{action} of the SDK has not all of {set(params)}"
        name = next(n for n in dir(client) if n.replace("_", "") == action.lower())
        return getattr(client, name)(request).body.to_map()

    @staticmethod
    def code(error):
        return getattr(error, "code", None) or repr(error)


class Old:
    """`aliyun-python-sdk-*`: HMAC-SHA1; POST, GET when asked for."""

    name = "old"
    clock, nonce = (parameter_helper, "get_iso_8061_date"), (parameter_helper, "get_uuid")

    def __init__(self, lab, key=None, secret=None, token=None, tls=False, method=None):
        self.host, self.tls, self.method = lab.endpoint(tls), tls, method
        pair = (key or lab.key, secret or lab.secret)
        keys = {"credential": StsTokenCredential(*pair, token)} if token else {"ak": pair[0], "secret": pair[1]}
        # One try: a refusal must be seen, not repeated.
        self.client = AcsClient(
            region_id=lab.region, auto_retry=False, verify=lab.about["caFile"] if tls else False, **keys)

    def call(self, action, **params):
        package = "aliyunsdkvpc.request.v20160428" if of_vpc(action) else "aliyunsdkecs.request.v20140526"
        request = getattr(importlib.import_module(f"{package}.{action}Request"), f"{action}Request")()
        request.set_endpoint(self.host)
        request.set_protocol_type("https" if self.tls else "http")
        request.set_accept_format("JSON")
        if self.method:
            request.set_method(self.method)
        if "RegionId" in params:  # which is the client's, as a rule
            request.add_query_param("RegionId", params.pop("RegionId"))
        for name, value in params.items():
            getattr(request, "set_" + name + "s" * isinstance(value, list))(value)
        return json.loads(self.client.do_action_with_exception(request))

    @staticmethod
    def code(error):
        return error.get_error_code() if isinstance(error, ServerException) else repr(error)


GENERATIONS = (New, Old)


def token():
    """A client token of its own."""
    return str(uuid.uuid4())
