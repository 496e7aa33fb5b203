#!/usr/bin/env python3
"""Drives a running lab with the official SDKs of Alibaba Cloud, both generations.

Usage: judge.py LAB_JSON        (LAB_JSON: the lab's description, /run/tideway-lab/ID/lab.json)

The lab should run with `--latency none`; other latencies work and take longer. Works on its own ENIs and deletes them;
needs one instance with a free ENI slot (`n1`). Prints each check and at the end `N passed, M failed`.
"""
import base64
import json
import logging
import sys
import tempfile
import time
import urllib.error
import uuid

from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.provider import OIDCRoleArnCredentialsProvider
from alibabacloud_ecs20140526 import models as em
from alibabacloud_ecs20140526.client import Client as Ecs
from alibabacloud_tea_openapi import models as om
from alibabacloud_vpc20160428 import models as vm
from alibabacloud_vpc20160428.client import Client as Vpc
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkecs.request.v20140526 import (
    AssignIpv6AddressesRequest,
    AssignPrivateIpAddressesRequest,
    AttachNetworkInterfaceRequest,
    CreateNetworkInterfaceRequest,
    DeleteNetworkInterfaceRequest,
    DescribeInstancesRequest,
    DescribeInstanceTypesRequest,
    DescribeNetworkInterfaceAttributeRequest,
    DescribeNetworkInterfacesRequest,
    DescribeSecurityGroupsRequest,
    DetachNetworkInterfaceRequest,
    ModifyNetworkInterfaceAttributeRequest,
    TagResourcesRequest,
    UnassignIpv6AddressesRequest,
    UnassignPrivateIpAddressesRequest,
    UntagResourcesRequest,
)
from aliyunsdkvpc.request.v20160428 import (
    DescribeVpcsRequest,
    DescribeVSwitchAttributesRequest,
    DescribeVSwitchesRequest,
)

from lab import Lab
from verdict import check, end, equal, wait_for


def refused(what, code, call):
    """`call` must fail with this code, in whichever generation."""
    try:
        call()
    except ServerException as error:
        equal(f"{what} -> {code}", error.get_error_code(), code)
    except Exception as error:  # the new SDK has several classes with `code`
        equal(f"{what} -> {code}", getattr(error, "code", repr(error)), code)
    else:
        check(f"{what} -> {code}", False, "success")


class AliyunLab(Lab):
    """The lab under judgement and clients for it."""

    def __init__(self, path):
        super().__init__(path)
        self.host = self.about["endpoints"]["ecs"].removeprefix("http://")
        self.key = self.about["credentials"]["accessKeyId"]
        self.secret = self.about["credentials"]["accessKeySecret"]
        self.vswitch = self.about["vswitches"][0]

    def config(self, **changes):
        fields = {
            "access_key_id": self.key,
            "access_key_secret": self.secret,
            "endpoint": self.host,
            "protocol": "HTTP",
            "region_id": self.region,
        }
        fields.update(changes)
        return om.Config(**fields)

    def old(self, module, **fields):
        """One call with the old SDK; the answer as JSON."""
        request = getattr(module, module.__name__.rsplit(".", 1)[1])()
        request.set_endpoint(self.host)
        request.set_protocol_type("http")
        request.set_accept_format("JSON")
        for name, value in fields.items():
            getattr(request, "set_" + name)(value)
        client = AcsClient(self.key, self.secret, self.region, auto_retry=False, verify=False)
        return json.loads(client.do_action_with_exception(request))


def new_generation(lab, ecs, vpc):
    region = lab.region
    node = lab.node["id"]
    vswitch = lab.vswitch["id"]
    eni_in = lambda **f: em.DescribeNetworkInterfacesRequest(region_id=region, **f)
    enis = lambda **f: ecs.describe_network_interfaces(
        eni_in(**f)
    ).body.network_interface_sets.network_interface_set

    seen = vpc.describe_vpcs(vm.DescribeVpcsRequest(region_id=region)).body
    equal("DescribeVpcs finds the VPC", [v.vpc_id for v in seen.vpcs.vpc], [lab.about["vpc"]["id"]])
    equal("DescribeVpcs names the block", seen.vpcs.vpc[0].cidr_block, lab.about["vpc"]["ipv4"])
    seen = vpc.describe_vswitches(
        vm.DescribeVSwitchesRequest(region_id=region, page_number=1, page_size=50)
    ).body
    equal("DescribeVSwitches counts", seen.total_count, len(lab.about["vswitches"]))
    attributes = lambda: vpc.describe_vswitch_attributes(
        vm.DescribeVSwitchAttributesRequest(region_id=region, v_switch_id=vswitch)
    ).body
    before = attributes().available_ip_address_count
    equal("DescribeVSwitchAttributes names the zone", attributes().zone_id, lab.vswitch["zone"])
    check("DescribeVSwitchAttributes has IPv6", attributes().enabled_ipv_6, attributes().enabled_ipv_6)
    refused(
        "DescribeVSwitchAttributes of an unknown vSwitch",
        "InvalidVSwitchId.NotFound",
        lambda: vpc.describe_vswitch_attributes(
            vm.DescribeVSwitchAttributesRequest(region_id=region, v_switch_id="vsw-none")
        ),
    )

    seen = ecs.describe_instance_types(
        em.DescribeInstanceTypesRequest(instance_types=["ecs.g6.xlarge"], max_results=100)
    ).body.instance_types.instance_type
    equal("DescribeInstanceTypes: ENIs and addresses of ecs.g6.xlarge",
          [(t.eni_quantity, t.eni_private_ip_address_quantity) for t in seen], [(3, 10)])
    seen = ecs.describe_instance_types(em.DescribeInstanceTypesRequest()).body
    check("DescribeInstanceTypes knows 20 types", len(seen.instance_types.instance_type) >= 20)
    page = ecs.describe_instance_types(em.DescribeInstanceTypesRequest(max_results=7)).body
    check("DescribeInstanceTypes pages by token", bool(page.next_token), page.next_token)

    seen = ecs.describe_instances(
        em.DescribeInstancesRequest(region_id=region, instance_ids=json.dumps([node]))
    ).body.instances.instance
    equal("DescribeInstances finds by id", [i.instance_id for i in seen], [node])
    equal("DescribeInstances names the address",
          seen[0].vpc_attributes.private_ip_address.ip_address, [lab.node["ipv4"]])
    equal("DescribeInstances lists the primary ENI",
          [n.network_interface_id for n in seen[0].network_interfaces.network_interface if n.type == "Primary"],
          [lab.node["primaryEni"]])
    seen = ecs.describe_security_groups(
        em.DescribeSecurityGroupsRequest(region_id=region, security_group_ids=json.dumps([lab.group]))
    ).body.security_groups.security_group
    equal("DescribeSecurityGroups finds by id", [g.security_group_id for g in seen], [lab.group])

    tags = [em.CreateNetworkInterfaceRequestTag(key="judge", value="c 1*~+/=&%"),
            em.CreateNetworkInterfaceRequestTag(key="kind", value="new")]
    create = lambda **f: ecs.create_network_interface(em.CreateNetworkInterfaceRequest(
        **{"region_id": region, "v_switch_id": vswitch, "security_group_ids": [lab.group], **f})).body
    token = str(uuid.uuid4())
    fields = dict(secondary_private_ip_address_count=2, ipv_6address_count=1, network_interface_name="judge-1",
                  description="made by the judge 中文", delete_on_release=True, tag=tags, client_token=token)
    made = create(**fields)
    eni = made.network_interface_id
    equal("CreateNetworkInterface is Available at once", made.status, "Available")
    equal("CreateNetworkInterface gives 3 IPv4 addresses", len(made.private_ip_sets.private_ip_set), 3)
    equal("CreateNetworkInterface gives 1 IPv6 address", len(made.ipv_6sets.ipv_6set), 1)
    equal("the vSwitch has 3 addresses less", before - attributes().available_ip_address_count, 3)
    equal("the same token answers the same ENI", create(**fields).network_interface_id, eni)
    refused("the same token with other parameters", "IdempotentParameterMismatch",
            lambda: create(**{**fields, "description": "another"}))
    refused("Create in an unknown vSwitch", "InvalidVSwitchId.NotFound", lambda: create(v_switch_id="vsw-none"))
    refused("Create with an unknown group", "InvalidSecurityGroupId.NotFound",
            lambda: create(security_group_ids=["sg-none"]))
    refused("Create with a taken address", "InvalidIp.IpAssigned",
            lambda: create(primary_ip_address=made.private_ip_address))
    refused("Create with a reserved address", "InvalidIp.Address",
            lambda: create(primary_ip_address=lab.vswitch["gatewayV4"]))
    refused("Create in another region", "InvalidRegionId.NotFound", lambda: create(region_id="cn-nowhere"))

    equal("Describe by id and tags", [e.network_interface_id for e in enis(
        network_interface_id=[eni],
        tag=[em.DescribeNetworkInterfacesRequestTag(key="judge", value="c 1*~+/=&%")])], [eni])
    equal("Describe by address", [e.network_interface_id for e in enis(
        private_ip_address=[made.private_ip_address])], [eni])
    equal("Describe by another tag value finds nothing", enis(
        network_interface_id=[eni], tag=[em.DescribeNetworkInterfacesRequestTag(key="kind", value="old")]), [])
    seen = enis(network_interface_id=[eni])[0]
    equal("Describe shows the tags", {t.tag_key: t.tag_value for t in seen.tags.tag},
          {"judge": "c 1*~+/=&%", "kind": "new"})
    equal("Describe shows the description", seen.description, "made by the judge 中文")
    extra = [create().network_interface_id for _ in range(10)]
    first = ecs.describe_network_interfaces(eni_in(type="Secondary", max_results=10)).body
    rest = ecs.describe_network_interfaces(
        eni_in(type="Secondary", max_results=500, next_token=first.next_token)).body
    both = [e.network_interface_id for page in (first, rest)
            for e in page.network_interface_sets.network_interface_set]
    check("token pages show every ENI once", sorted(both) == sorted(set(both)) and set(extra) < set(both), both)
    equal("the last page has no token", rest.next_token or "", "")
    paged = ecs.describe_network_interfaces(eni_in(type="Secondary", page_number=2, page_size=4)).body
    equal("page numbers work too", (paged.page_number, paged.page_size, paged.total_count), (2, 4, len(both)))
    for other in extra:
        ecs.delete_network_interface(
            em.DeleteNetworkInterfaceRequest(region_id=region, network_interface_id=other))

    attach = lambda e, i=node: ecs.attach_network_interface(
        em.AttachNetworkInterfaceRequest(region_id=region, network_interface_id=e, instance_id=i))
    detach = lambda e, i=node: ecs.detach_network_interface(
        em.DetachNetworkInterfaceRequest(region_id=region, network_interface_id=e, instance_id=i))
    delete = lambda e: ecs.delete_network_interface(
        em.DeleteNetworkInterfaceRequest(region_id=region, network_interface_id=e))
    state = lambda e, s: [x.status for x in enis(network_interface_id=[e])] == s or "another state"
    refused("Attach to an unknown instance", "InvalidEcsId.NotFound", lambda: attach(eni, "i-none"))
    refused("Attach of an unknown ENI", "InvalidEniId.NotFound", lambda: attach("eni-none"))
    attach(eni)
    wait_for("Attach ends InUse", 20, lambda: state(eni, ["InUse"]))
    seen = enis(instance_id=node, type="Secondary")
    equal("Describe by instance shows the attachment",
          [(e.network_interface_id, e.attachment.instance_id) for e in seen], [(eni, node)])
    refused("Attach twice", "InvalidOperation.InvalidEniState", lambda: attach(eni))
    refused("Delete while InUse", "InvalidOperation.InvalidEniState", lambda: delete(eni))
    refused("Detach of the primary ENI", "InvalidOperation.InvalidEniType",
            lambda: detach(lab.node["primaryEni"]))
    second, third = create().network_interface_id, create().network_interface_id
    attach(second)
    refused("Attach over the type's limit", "EniPerInstanceLimitExceeded", lambda: attach(third))

    settle()
    assign = lambda **f: ecs.assign_private_ip_addresses(em.AssignPrivateIpAddressesRequest(
        region_id=region, network_interface_id=eni, **f)).body.assigned_private_ip_addresses_set
    got = assign(secondary_private_ip_address_count=3).private_ip_set.private_ip_address
    equal("Assign by count answers what was added", len(got), 3)
    settle()
    refused("Assign over the type's limit", "InvalidOperation.Ipv4CountExceeded",
            lambda: assign(secondary_private_ip_address_count=5))
    refused("Assign of a taken address", "InvalidIp.IpAssigned", lambda: assign(private_ip_address=[got[0]]))
    refused("Assign of one address twice", "InvalidIp.IpRepeated",
            lambda: assign(private_ip_address=["10.0.0.200", "10.0.0.200"]))
    refused("Assign with list and count", "InvalidParameter.Conflict",
            lambda: assign(private_ip_address=["10.0.0.200"], secondary_private_ip_address_count=1))
    settle()
    equal("Assign of a named address",
          assign(private_ip_address=["10.0.0.201"]).private_ip_set.private_ip_address, ["10.0.0.201"])
    settle()
    unassign = lambda addresses: ecs.unassign_private_ip_addresses(em.UnassignPrivateIpAddressesRequest(
        region_id=region, network_interface_id=eni, private_ip_address=addresses))
    unassign(got)
    settle()
    refused("Unassign again", "InvalidIp.IpUnassigned", lambda: unassign(got[:1]))
    prefix = assign(ipv_4prefix_count=1).ipv_4prefix_set.ipv_4prefixes
    check("Assign of a prefix", len(prefix) == 1 and prefix[0].endswith("/28"), prefix)
    settle()
    ecs.unassign_private_ip_addresses(em.UnassignPrivateIpAddressesRequest(
        region_id=region, network_interface_id=eni, ipv_4prefix=prefix))
    settle()
    six = ecs.assign_ipv_6addresses(em.AssignIpv6AddressesRequest(
        region_id=region, network_interface_id=eni, ipv_6address_count=2)).body
    equal("AssignIpv6Addresses answers what was added", len(six.ipv_6sets.ipv_6address), 2)
    settle()
    ecs.unassign_ipv_6addresses(em.UnassignIpv6AddressesRequest(
        region_id=region, network_interface_id=eni, ipv_6address=six.ipv_6sets.ipv_6address))
    settle()
    equal("UnassignIpv6Addresses leaves one", len(enis(network_interface_id=[eni])[0].ipv_6sets.ipv_6set), 1)

    ecs.modify_network_interface_attribute(em.ModifyNetworkInterfaceAttributeRequest(
        region_id=region, network_interface_id=eni, description="changed", security_group_id=[lab.group]))
    about = ecs.describe_network_interface_attribute(em.DescribeNetworkInterfaceAttributeRequest(
        region_id=region, network_interface_id=eni)).body
    equal("Modify shows in Attribute", (about.description, about.status), ("changed", "InUse"))
    equal("Attribute shows connection tracking",
          about.connection_tracking_configuration.tcp_established_timeout, 910)
    ecs.tag_resources(em.TagResourcesRequest(region_id=region, resource_type="eni", resource_id=[eni, second],
                                             tag=[em.TagResourcesRequestTag(key="late", value="")]))
    tagged = enis(tag=[em.DescribeNetworkInterfacesRequestTag(key="late")])
    equal("TagResources reaches both", sorted(e.network_interface_id for e in tagged), sorted([eni, second]))
    ecs.untag_resources(em.UntagResourcesRequest(
        region_id=region, resource_type="eni", resource_id=[eni], tag_key=["late"]))
    equal("UntagResources takes it from one", [e.network_interface_id for e in enis(
        tag=[em.DescribeNetworkInterfacesRequestTag(key="late")])], [second])
    refused("TagResources with a reserved key", "InvalidTagKey.Malformed", lambda: ecs.tag_resources(
        em.TagResourcesRequest(region_id=region, resource_type="eni", resource_id=[eni],
                               tag=[em.TagResourcesRequestTag(key="acs:x", value="y")])))
    refused("TagResources of an unknown ENI", "InvalidResourceId.NotFound", lambda: ecs.tag_resources(
        em.TagResourcesRequest(region_id=region, resource_type="eni", resource_id=["eni-none"],
                               tag=[em.TagResourcesRequestTag(key="x", value="y")])))

    for one in (eni, second):
        detach(one)
        wait_for("Detach ends Available", 20, lambda: state(one, ["Available"]))
    refused("Detach of a detached ENI", "InvalidOperation.InvalidEniState", lambda: detach(eni))
    for one in (eni, second, third):
        delete(one)
        wait_for("Delete ends it", 20, lambda: state(one, []))
    refused("Delete again", "InvalidEniId.NotFound", lambda: delete(eni))
    equal("all addresses are back", attributes().available_ip_address_count, before)


def settle():
    """Address changes of one ENI conflict while one is in work; it takes a second at real latency."""
    time.sleep(SETTLE)


def gate(lab, ecs):
    look = em.DescribeNetworkInterfacesRequest(region_id=lab.region)
    refused("unknown key", "InvalidAccessKeyId.NotFound",
            lambda: Ecs(lab.config(access_key_id="nobody")).describe_network_interfaces(look))
    refused("wrong secret, ACS3", "SignatureDoesNotMatch",
            lambda: Ecs(lab.config(access_key_secret="wrong")).describe_network_interfaces(look))
    refused("wrong secret, HMAC-SHA1", "SignatureDoesNotMatch", lambda: Ecs(
        lab.config(access_key_secret="wrong", signature_algorithm="v2")).describe_network_interfaces(look))
    seen = Ecs(lab.config(signature_algorithm="v2")).describe_network_interfaces(look).body
    check("the new SDK with the old signature works", seen.total_count >= 1, seen.total_count)
    tls = lab.config(endpoint=lab.about["endpoints"]["ecsTls"].removeprefix("https://"), protocol="HTTPS",
                     ca=lab.about["caFile"])
    try:
        seen = Ecs(tls).describe_network_interfaces(look).body
        check("HTTPS with the lab's authority works", seen.total_count >= 1)
    except Exception as error:
        check("HTTPS with the lab's authority works", False, repr(error)[:300])

    lab.fault(kind="throttle", action="DescribeNetworkInterfaces", count=1, retryAfter=7)
    try:
        ecs.describe_network_interfaces(look)
        check("throttling reaches the SDK", False, "success")
    except Exception as error:
        equal("throttling reaches the SDK", getattr(error, "code", None), "Throttling.User")
        equal("the SDK reads x-acs-retry-after", getattr(error, "retry_after", None), 7000)
    lab.fault(kind="server-error", code="ServiceUnavailable", count=1)
    refused("server error", "ServiceUnavailable", lambda: ecs.describe_network_interfaces(look))
    lab.fault(kind="lost-answer", action="CreateNetworkInterface", count=1)
    token = str(uuid.uuid4())
    request = em.CreateNetworkInterfaceRequest(
        region_id=lab.region, v_switch_id=lab.vswitch["id"], security_group_id=lab.group, client_token=token)
    count = lambda: ecs.describe_network_interfaces(look).body.total_count
    before = count()
    try:
        ecs.create_network_interface(request)
        check("a lost answer is no success", False)
    except Exception:
        check("a lost answer is no success", True)
    equal("a lost answer has its effect", count(), before + 1)
    made = ecs.create_network_interface(request).body.network_interface_id
    equal("the token finds the lost ENI", count(), before + 1)
    ecs.delete_network_interface(
        em.DeleteNetworkInterfaceRequest(region_id=lab.region, network_interface_id=made))


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
    role = get(meta + "ram/security-credentials/")
    key = json.loads(get(meta + "ram/security-credentials/" + role))
    equal("the role's credentials are good", key["Code"], "Success")
    config = lab.config(access_key_id=key["AccessKeyId"], access_key_secret=key["AccessKeySecret"],
                        security_token=key["SecurityToken"])
    look = em.DescribeNetworkInterfacesRequest(region_id=lab.region)
    check("the API takes the role's credentials (ACS3)",
          Ecs(config).describe_network_interfaces(look).body.total_count >= 1)
    config.signature_algorithm = "v2"
    check("the API takes the role's credentials (HMAC-SHA1)",
          Ecs(config).describe_network_interfaces(look).body.total_count >= 1)
    config.security_token = "wrong"
    refused("a wrong security token", "InvalidSecurityToken.MismatchWithAccessKey",
            lambda: Ecs(config).describe_network_interfaces(look))


def old_generation(lab):
    node = lab.node["id"]
    vswitch = lab.vswitch["id"]
    equal("old: DescribeVpcs", lab.old(DescribeVpcsRequest)["Vpcs"]["Vpc"][0]["VpcId"], lab.about["vpc"]["id"])
    equal("old: DescribeVSwitches", lab.old(DescribeVSwitchesRequest, VSwitchId=vswitch)["TotalCount"], 1)
    equal("old: DescribeVSwitchAttributes",
          lab.old(DescribeVSwitchAttributesRequest, VSwitchId=vswitch)["VSwitchId"], vswitch)
    seen = lab.old(DescribeInstanceTypesRequest, InstanceTypess=["ecs.g7.xlarge"])
    equal("old: DescribeInstanceTypes", seen["InstanceTypes"]["InstanceType"][0]["EniTotalQuantity"], 20)
    seen = lab.old(DescribeInstancesRequest, InstanceIds=json.dumps([node]))
    equal("old: DescribeInstances", seen["Instances"]["Instance"][0]["Status"], "Running")
    seen = lab.old(DescribeSecurityGroupsRequest, SecurityGroupId=lab.group)
    equal("old: DescribeSecurityGroups", seen["TotalCount"], 1)

    made = lab.old(CreateNetworkInterfaceRequest, VSwitchId=vswitch, SecurityGroupIdss=[lab.group],
                   SecondaryPrivateIpAddressCount=1, Description="中文 d", ClientToken=str(uuid.uuid4()),
                   Tags=[{"Key": "judge", "Value": "a*~b+/="}])
    eni = made["NetworkInterfaceId"]
    equal("old: Create", len(made["PrivateIpSets"]["PrivateIpSet"]), 2)
    look = lambda: lab.old(DescribeNetworkInterfacesRequest, NetworkInterfaceIds=[eni], PageSize=100,
                           Tags=[{"Key": "judge", "Value": "a*~b+/="}])[
        "NetworkInterfaceSets"]["NetworkInterfaceSet"]
    state = lambda wanted: [e["Status"] for e in look()] == wanted or "another state"
    equal("old: Describe", [e["NetworkInterfaceId"] for e in look()], [eni])
    lab.old(AttachNetworkInterfaceRequest, NetworkInterfaceId=eni, InstanceId=node)
    wait_for("old: Attach ends InUse", 20, lambda: state(["InUse"]))
    got = lab.old(AssignPrivateIpAddressesRequest, NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2)
    got = got["AssignedPrivateIpAddressesSet"]["PrivateIpSet"]["PrivateIpAddress"]
    equal("old: Assign", len(got), 2)
    settle()
    lab.old(UnassignPrivateIpAddressesRequest, NetworkInterfaceId=eni, PrivateIpAddresss=got)
    settle()
    six = lab.old(AssignIpv6AddressesRequest, NetworkInterfaceId=eni, Ipv6AddressCount=1)
    equal("old: AssignIpv6", len(six["Ipv6Sets"]["Ipv6Address"]), 1)
    settle()
    lab.old(UnassignIpv6AddressesRequest, NetworkInterfaceId=eni, Ipv6Addresss=six["Ipv6Sets"]["Ipv6Address"])
    settle()
    lab.old(ModifyNetworkInterfaceAttributeRequest, NetworkInterfaceId=eni, Description="old way")
    seen = lab.old(DescribeNetworkInterfaceAttributeRequest, NetworkInterfaceId=eni)
    equal("old: Modify and Attribute", seen["Description"], "old way")
    lab.old(TagResourcesRequest, ResourceType="eni", ResourceIds=[eni], Tags=[{"Key": "t", "Value": "v"}])
    lab.old(UntagResourcesRequest, ResourceType="eni", ResourceIds=[eni], TagKeys=["t"])
    equal("old: Tag and Untag", [t["TagKey"] for t in look()[0]["Tags"]["Tag"]], ["judge"])
    lab.old(DetachNetworkInterfaceRequest, NetworkInterfaceId=eni, InstanceId=node)
    wait_for("old: Detach ends Available", 20, lambda: state(["Available"]))
    lab.old(DeleteNetworkInterfaceRequest, NetworkInterfaceId=eni)
    wait_for("old: Delete ends it", 20, lambda: state([]))
    refused("old: Delete again", "InvalidEniId.NotFound",
            lambda: lab.old(DeleteNetworkInterfaceRequest, NetworkInterfaceId=eni))


def service_account(lab):
    """The official provider of keys for a service account's token (RRSA) at the lab's token service."""
    owner = "1234567890123456"
    role = lab.metadata("/latest/meta-data/ram/security-credentials/").strip()

    def keys(token, role=role):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(token)
            file.flush()
            provider = OIDCRoleArnCredentialsProvider(
                role_arn=f"acs:ram::{owner}:role/{role}",
                oidc_provider_arn=f"acs:ram::{owner}:oidc-provider/judge",
                oidc_token_file_path=file.name,
                role_session_name="judge",
                sts_endpoint=lab.about["endpoints"]["apiTls"].removeprefix("https://"),
            )
            provider._runtime_options["ca"] = lab.about["caFile"]  # it has no option for it
            return provider.get_credentials()

    def token(seconds):
        claims = json.dumps({"sub": "system:serviceaccount:judge", "exp": int(time.time()) + seconds})
        return "e30." + base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=") + ".x"

    got = keys(token(600))
    config = lab.config(access_key_id=got.get_access_key_id(), access_key_secret=got.get_access_key_secret(),
                        security_token=got.get_security_token())
    look = em.DescribeNetworkInterfacesRequest(region_id=lab.region)
    check("the API takes the keys of a service account",
          Ecs(config).describe_network_interfaces(look).body.total_count >= 1)
    logging.disable(logging.CRITICAL)  # it writes down each failure that it then raises
    for what, code, wrong in [
        ("an expired token", "AuthenticationFail.OIDCToken.Expired", lambda: keys(token(-60))),
        ("a token that is none", "AuthenticationFail.OIDCToken.Invalid", lambda: keys("x")),
        ("another role", "EntityNotExist.Role", lambda: keys(token(600), "nobody")),
    ]:
        try:
            wrong()
            check(f"{what} -> {code}", False, "success")
        except CredentialException as error:
            check(f"{what} -> {code}", code in str(error), str(error))
    logging.disable(logging.NOTSET)


SETTLE = 0.0


def main():
    global SETTLE
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lab = AliyunLab(sys.argv[1])
    ecs, vpc = Ecs(lab.config()), Vpc(lab.config())
    # Whether the lab plays real latencies shows in how long a Describe takes.
    start = time.monotonic()
    for _ in range(3):
        ecs.describe_network_interfaces(em.DescribeNetworkInterfacesRequest(region_id=lab.region))
    SETTLE = 1.1 if time.monotonic() - start > 0.06 else 0.0
    new_generation(lab, ecs, vpc)
    gate(lab, ecs)
    metadata(lab)
    service_account(lab)
    old_generation(lab)
    equal("the ledger finds nothing wrong", lab.control("GET", "/verify")["violations"], [])
    end()


if __name__ == "__main__":
    main()
