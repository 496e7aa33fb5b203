#!/usr/bin/env python3
"""Drives the EC2 side of a running lab with boto3, the SDK that AWS publishes for Python.

Usage: judge.py LAB_JSON        (LAB_JSON: the lab's description, /run/tideway-lab/ID/lab.json)

The lab runs with `--cloud aws`, and subnet `c` of it is a /26 (see lab.yaml). Works on its own ENIs and deletes them; needs
one instance with two free ENI slots (`n1`). Prints each check and at the end `N passed, M failed`.
"""
import datetime
import ipaddress
import json
import sys
import urllib.error
import uuid

import boto3
import botocore.auth
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.parsers import ResponseParserError

from lab import Lab
from verdict import check, end, equal, wait_for

UNKNOWN = "eni-0123456789abcdef0"


def refused(what, code, call, status=None):
    """`call` must fail with this code."""
    try:
        answer = call()
    except ClientError as error:
        equal(f"{what} -> {code}", error.response["Error"]["Code"], code)
        if status:
            equal(f"{what} has status {status}", error.response["ResponseMetadata"]["HTTPStatusCode"], status)
        return error.response
    except Exception as error:
        check(f"{what} -> {code}", False, error)
    else:
        check(f"{what} -> {code}", False, answer)
    return None


class Ec2Lab(Lab):
    """The lab under judgement and clients for it."""

    def __init__(self, path):
        super().__init__(path)
        self.subnet = self.named("a")
        self.small = self.named("c")
        self.ec2 = self.client()

    def named(self, name):
        return next(v for v in self.about["vswitches"] if v["name"] == name)["id"]

    def client(self, **changes):
        fields = {
            "endpoint_url": self.about["endpoints"]["api"],
            "region_name": self.region,
            "aws_access_key_id": self.about["credentials"]["accessKeyId"],
            "aws_secret_access_key": self.about["credentials"]["accessKeySecret"],
            # One try: a refusal must be seen, not repeated.
            "config": Config(retries={"total_max_attempts": 1}, proxies={}),
        }
        fields.update(changes)
        return boto3.client("ec2", **fields)

    def create(self, subnet=None, **more):
        made = self.ec2.create_network_interface(SubnetId=subnet or self.subnet, **more)
        return made["NetworkInterface"]

    def eni(self, eni):
        return self.ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]

    def addresses(self, eni):
        return [a["PrivateIpAddress"] for a in self.eni(eni)["PrivateIpAddresses"]]

    def free(self, subnet=None):
        about = self.ec2.describe_subnets(SubnetIds=[subnet or self.subnet])["Subnets"][0]
        return about["AvailableIpAddressCount"]

    def attach(self, eni, device):
        made = self.ec2.attach_network_interface(
            NetworkInterfaceId=eni, InstanceId=self.node["id"], DeviceIndex=device)
        wait_for(f"device {device} is attached", 20, lambda: self.attachment(eni) == "attached")
        return made["AttachmentId"]

    def attachment(self, eni):
        return self.eni(eni).get("Attachment", {}).get("Status")

    def detach(self, eni, attachment):
        self.ec2.detach_network_interface(AttachmentId=attachment)
        wait_for("detached", 20, lambda: self.eni(eni)["Status"] == "available" or self.eni(eni)["Status"])


def inventory(lab):
    ec2 = lab.ec2
    seen = ec2.describe_instances(InstanceIds=[lab.node["id"]])["Reservations"][0]["Instances"][0]
    equal("the instance runs", (seen["State"]["Code"], seen["State"]["Name"]), (16, "running"))
    equal("its type, subnet and address", (seen["InstanceType"], seen["SubnetId"], seen["PrivateIpAddress"]),
          (lab.node["type"], lab.subnet, lab.node["ipv4"]))
    primary = seen["NetworkInterfaces"][0]
    equal("its primary ENI", (primary["NetworkInterfaceId"], primary["Attachment"]["DeviceIndex"],
                              primary["Attachment"]["DeleteOnTermination"]), (lab.node["primaryEni"], 0, True))
    check("its launch time is a time", isinstance(seen["LaunchTime"], datetime.datetime))
    equal("its name is a tag", {"Key": "Name", "Value": "n1"} in seen["Tags"], True)
    named = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["n*"]}])["Reservations"]
    equal("instances by a wildcard", sorted(r["Instances"][0]["Tags"][0]["Value"] for r in named), ["n1", "n2"])
    refused("an unknown instance", "InvalidInstanceID.NotFound",
            lambda: ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"]))
    refused("a malformed instance", "InvalidInstanceID.Malformed",
            lambda: ec2.describe_instances(InstanceIds=["instance"]))

    known = ec2.describe_instance_types(InstanceTypes=["t3.medium", "p4d.24xlarge"])["InstanceTypes"]
    limits = {t["InstanceType"]: t["NetworkInfo"] for t in known}
    small, large = limits["t3.medium"], limits["p4d.24xlarge"]
    equal("limits of t3.medium", (small["MaximumNetworkInterfaces"], small["Ipv4AddressesPerInterface"],
                                  small["Ipv6AddressesPerInterface"], small["Ipv6Supported"]), (3, 6, 6, True))
    equal("cards of p4d.24xlarge", (large["MaximumNetworkCards"], len(large["NetworkCards"]),
                                    large["NetworkCards"][3]["MaximumNetworkInterfaces"]), (4, 4, 15))
    pages = list(ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 10}))
    types = [t["InstanceType"] for page in pages for t in page["InstanceTypes"]]
    check("types in pages, each once", len(pages) > 2 and len(types) == len(set(types)) >= 20, len(types))
    nitro = ec2.describe_instance_types(Filters=[{"Name": "hypervisor", "Values": ["xen"]}])["InstanceTypes"]
    check("types by a filter", {t["Hypervisor"] for t in nitro} == {"xen"})
    refused("an unknown type", "InvalidInstanceType", lambda: ec2.describe_instance_types(InstanceTypes=["z9.huge"]))

    vpc = ec2.describe_vpcs()["Vpcs"][0]
    equal("the VPC", (vpc["VpcId"], vpc["CidrBlock"]), (lab.about["vpc"]["id"], lab.about["vpc"]["ipv4"]))
    found = ec2.describe_subnets(Filters=[
        {"Name": "vpc-id", "Values": [vpc["VpcId"]]},
        {"Name": "availability-zone", "Values": [lab.node["zone"]]},
        {"Name": "tag:Name", "Values": ["a", "c"]}])["Subnets"]
    equal("subnets by filters", {s["SubnetId"] for s in found}, {lab.subnet, lab.small})
    about = next(s for s in found if s["SubnetId"] == lab.subnet)
    equal("five addresses are reserved", about["AvailableIpAddressCount"],
          ipaddress.ip_network(about["CidrBlock"]).num_addresses - 5 - len(lab.about["instances"]))
    check("the subnet's IPv6 block", about["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].endswith("/64"))
    refused("an unknown subnet", "InvalidSubnetID.NotFound",
            lambda: ec2.describe_subnets(SubnetIds=["subnet-0123456789abcdef0"]))
    group = ec2.describe_security_groups(GroupIds=[lab.group])["SecurityGroups"][0]
    equal("the group and its rule", (group["GroupName"], group["IpPermissions"][0]["IpProtocol"]), ("default", "-1"))
    refused("an unknown group", "InvalidGroup.NotFound",
            lambda: ec2.describe_security_groups(GroupIds=["sg-0123456789abcdef0"]))


def life_of_an_eni(lab):
    ec2 = lab.ec2
    before = lab.free()
    tags = [{"Key": "node", "Value": "a*~b+/= <&>"}, {"Key": "空", "Value": ""}]
    token = str(uuid.uuid4())
    wish = {"Groups": [lab.group], "Description": "judge <&>", "SecondaryPrivateIpAddressCount": 2, "ClientToken": token,
            "TagSpecifications": [{"ResourceType": "network-interface", "Tags": tags}]}
    made = lab.create(**wish)
    eni = made["NetworkInterfaceId"]
    equal("Create answers pending", made["Status"], "pending")
    equal("and the addresses", [a["Primary"] for a in made["PrivateIpAddresses"]], [True, False, False])
    equal("and the tags", sorted((t["Key"], t["Value"]) for t in made["TagSet"]),
          sorted((t["Key"], t["Value"]) for t in tags))
    equal("the subnet has three fewer", lab.free(), before - 3)
    equal("the same token finds the same ENI", lab.create(**wish)["NetworkInterfaceId"], eni)
    refused("the token with other parameters", "IdempotentParameterMismatch",
            lambda: lab.create(**{**wish, "Description": "other"}))
    seen = lab.eni(eni)
    equal("it is available", (seen["Status"], seen["Description"], seen["SourceDestCheck"]),
          ("available", "judge <&>", True))
    refused("DryRun", "DryRunOperation", lambda: lab.create(DryRun=True), 412)

    attachment = lab.attach(eni, 1)
    seen = lab.eni(eni)
    equal("attached", (seen["Status"], seen["Attachment"]["InstanceId"], seen["Attachment"]["DeviceIndex"],
                       seen["Attachment"]["NetworkCardIndex"], seen["Attachment"]["DeleteOnTermination"]),
          ("in-use", lab.node["id"], 1, 0, False))
    second = lab.create()["NetworkInterfaceId"]
    at = lambda eni, device: ec2.attach_network_interface(
        NetworkInterfaceId=eni, InstanceId=lab.node["id"], DeviceIndex=device)
    refused("attached once more", "InvalidNetworkInterface.InUse", lambda: at(eni, 2))
    refused("a taken device index", "InvalidParameterValue", lambda: at(second, 1))
    refused("an unknown ENI", "InvalidNetworkInterfaceID.NotFound", lambda: at(UNKNOWN, 2))
    refused("an unknown instance", "InvalidInstanceID.NotFound", lambda: ec2.attach_network_interface(
        NetworkInterfaceId=second, InstanceId="i-0123456789abcdef0", DeviceIndex=2))
    refused("a card that is not there", "InvalidParameterValue", lambda: ec2.attach_network_interface(
        NetworkInterfaceId=second, InstanceId=lab.node["id"], DeviceIndex=1, NetworkCardIndex=1))
    other = lab.attach(second, 2)
    third = lab.create()["NetworkInterfaceId"]
    refused("more ENIs than the type has", "AttachmentLimitExceeded", lambda: at(third, 3))
    refused("Delete of an attached ENI", "InvalidParameterValue",
            lambda: ec2.delete_network_interface(NetworkInterfaceId=eni))

    modify = lambda **what: ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, **what)
    modify(Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    modify(SourceDestCheck={"Value": False})
    modify(Description={"Value": "new"})
    modify(Groups=[lab.group])
    seen = lab.eni(eni)
    equal("Modify", (seen["Attachment"]["DeleteOnTermination"], seen["SourceDestCheck"], seen["Description"],
                     [g["GroupId"] for g in seen["Groups"]]), (True, False, "new", [lab.group]))
    read = lambda name: ec2.describe_network_interface_attribute(NetworkInterfaceId=eni, Attribute=name)
    equal("Attribute description", read("description")["Description"]["Value"], "new")
    equal("Attribute sourceDestCheck", read("sourceDestCheck")["SourceDestCheck"]["Value"], False)
    equal("Attribute groupSet", read("groupSet")["Groups"][0]["GroupId"], lab.group)
    equal("Attribute attachment", read("attachment")["Attachment"]["AttachmentId"], attachment)
    refused("two attributes at once", "InvalidParameterCombination",
            lambda: modify(SourceDestCheck={"Value": True}, Description={"Value": "x"}))
    refused("another attachment", "InvalidAttachmentID.NotFound", lambda: modify(
        Attachment={"AttachmentId": "eni-attach-0123456789abcdef0", "DeleteOnTermination": True}))
    refused("an unknown group", "InvalidGroup.NotFound", lambda: modify(Groups=["sg-0123456789abcdef0"]))

    by = lambda name, *values: {
        e["NetworkInterfaceId"] for e in
        ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": list(values)}])["NetworkInterfaces"]}
    equal("by instance", by("attachment.instance-id", lab.node["id"]), {lab.node["primaryEni"], eni, second})
    equal("by tag", by("tag:node", "a[*]~b+/= <&>", "a*b+/= <?>"), {eni})
    equal("by tag key", by("tag-key", "空"), {eni})
    equal("by status", by("status", "available"), {third})
    equal("by MAC", by("mac-address", seen["MacAddress"]), {eni})
    equal("by secondary address", by("addresses.private-ip-address", lab.addresses(eni)[2]), {eni})
    equal("by subnet and nothing else", by("subnet-id", lab.small), set())
    refused("an unknown filter", "InvalidParameterValue", lambda: by("no-such-filter", "x"))

    ec2.create_tags(Resources=[eni, second], Tags=[{"Key": "k", "Value": "v"}])
    equal("CreateTags", by("tag:k", "v"), {eni, second})
    refused("CreateTags on an unknown ENI", "InvalidNetworkInterfaceID.NotFound",
            lambda: ec2.create_tags(Resources=[UNKNOWN], Tags=[{"Key": "k", "Value": "v"}]))
    ec2.delete_tags(Resources=[eni, second], Tags=[{"Key": "k"}])
    equal("DeleteTags", by("tag-key", "k"), set())

    refused("the primary ENI stays", "OperationNotPermitted", lambda: ec2.detach_network_interface(
        AttachmentId=lab.eni(lab.node["primaryEni"])["Attachment"]["AttachmentId"]))
    lab.detach(eni, attachment)
    lab.detach(second, other)
    check("a detached ENI has no attachment", "Attachment" not in lab.eni(eni))
    refused("Detach again", "InvalidAttachmentID.NotFound",
            lambda: ec2.detach_network_interface(AttachmentId=attachment))
    for one in (eni, second, third):
        ec2.delete_network_interface(NetworkInterfaceId=one)
    refused("Delete again", "InvalidNetworkInterfaceID.NotFound",
            lambda: ec2.delete_network_interface(NetworkInterfaceId=eni))
    refused("Describe of a deleted ENI", "InvalidNetworkInterfaceID.NotFound", lambda: lab.eni(eni))
    equal("all addresses are back", lab.free(), before)


def addresses(lab):
    ec2 = lab.ec2
    before = lab.free()
    refused("a reserved address", "InvalidParameterValue", lambda: lab.create(PrivateIpAddress="10.0.0.3"))
    refused("an address outside", "InvalidParameterValue", lambda: lab.create(PrivateIpAddress="192.168.7.7"))
    refused("an address in use", "InvalidIPAddress.InUse", lambda: lab.create(PrivateIpAddress=lab.node["ipv4"]))
    one = lab.create(PrivateIpAddresses=[{"PrivateIpAddress": "10.0.0.101", "Primary": False},
                                         {"PrivateIpAddress": "10.0.0.100", "Primary": True}])["NetworkInterfaceId"]
    equal("explicit addresses, the primary one first", lab.addresses(one), ["10.0.0.100", "10.0.0.101"])
    two = lab.create()["NetworkInterfaceId"]
    attachment = lab.attach(two, 1)

    assign = lambda **what: ec2.assign_private_ip_addresses(NetworkInterfaceId=two, **what)
    got = [a["PrivateIpAddress"] for a in assign(SecondaryPrivateIpAddressCount=3)["AssignedPrivateIpAddresses"]]
    equal("Assign answers only the new ones", (len(got), lab.addresses(two)[1:]), (3, got))
    refused("of another ENI", "InvalidIPAddress.InUse", lambda: assign(PrivateIpAddresses=["10.0.0.101"]))
    assign(PrivateIpAddresses=["10.0.0.101"], AllowReassignment=True)
    equal("reassigned", (lab.addresses(one), lab.addresses(two)[-1]), (["10.0.0.100"], "10.0.0.101"))
    refused("more than the type has", "PrivateIpAddressLimitExceeded", lambda: assign(SecondaryPrivateIpAddressCount=6))
    refused("two ways at once", "InvalidParameterCombination",
            lambda: assign(SecondaryPrivateIpAddressCount=1, Ipv4PrefixCount=1))
    refused("nothing", "MissingParameter", lambda: assign())
    unassign = lambda **what: ec2.unassign_private_ip_addresses(NetworkInterfaceId=two, **what)
    unassign(PrivateIpAddresses=got)
    refused("Unassign again", "InvalidParameterValue", lambda: unassign(PrivateIpAddresses=got))
    refused("Unassign of the primary", "InvalidParameterValue",
            lambda: unassign(PrivateIpAddresses=[lab.addresses(two)[0]]))

    free = lab.free()
    prefixes = [p["Ipv4Prefix"] for p in assign(Ipv4PrefixCount=2)["AssignedIpv4Prefixes"]]
    equal("prefixes are /28 and cost sixteen", (len(prefixes), {p[-3:] for p in prefixes}, lab.free()),
          (2, {"/28"}, free - 32))
    refused("a prefix that is taken", "InvalidIPAddress.InUse", lambda: assign(Ipv4Prefixes=[prefixes[0]]))
    refused("a prefix of another length", "InvalidParameterValue", lambda: assign(Ipv4Prefixes=["10.0.0.64/27"]))
    assign(Ipv4Prefixes=["10.0.0.64/28"])
    equal("the ENI shows them", {p["Ipv4Prefix"] for p in lab.eni(two)["Ipv4Prefixes"]}, {*prefixes, "10.0.0.64/28"})
    unassign(Ipv4Prefixes=[*prefixes, "10.0.0.64/28"])
    equal("they cost nothing any more", lab.free(), free)

    six = ec2.assign_ipv6_addresses(NetworkInterfaceId=two, Ipv6AddressCount=2)["AssignedIpv6Addresses"]
    wide = ec2.assign_ipv6_addresses(NetworkInterfaceId=two, Ipv6PrefixCount=1)["AssignedIpv6Prefixes"]
    equal("IPv6 addresses and a /80", (len(six), [p[-3:] for p in wide]), (2, ["/80"]))
    seen = lab.eni(two)
    equal("the ENI shows them", ([a["Ipv6Address"] for a in seen["Ipv6Addresses"]],
                                 [p["Ipv6Prefix"] for p in seen["Ipv6Prefixes"]]), (six, wide))
    gone = ec2.unassign_ipv6_addresses(NetworkInterfaceId=two, Ipv6Addresses=six[:1], Ipv6Prefixes=wide)
    equal("UnassignIpv6", (gone["UnassignedIpv6Addresses"], gone["UnassignedIpv6Prefixes"]), (six[:1], wide))
    refused("UnassignIpv6 again", "InvalidParameterValue",
            lambda: ec2.unassign_ipv6_addresses(NetworkInterfaceId=two, Ipv6Addresses=six[:1]))
    lab.detach(two, attachment)
    for eni in (one, two):
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    equal("all addresses are back", lab.free(), before)


def small_subnet(lab):
    """A /26: four blocks of sixteen, the first and the last with reserved addresses."""
    ec2, small = lab.ec2, lab.small
    equal("a /26 has 59", lab.free(small), 59)
    wide = lab.create(small, Ipv4PrefixCount=2)["NetworkInterfaceId"]
    refused("no third block", "InsufficientCidrBlocks", lambda: lab.create(small, Ipv4PrefixCount=1))
    ec2.delete_network_interface(NetworkInterfaceId=wide)
    block = int(ipaddress.ip_network(ec2.describe_subnets(SubnetIds=[small])["Subnets"][0]["CidrBlock"]).network_address)
    in_the_way = [lab.create(small, PrivateIpAddress=str(ipaddress.ip_address(block + n)))["NetworkInterfaceId"]
                  for n in (24, 40)]
    equal("57 are free", lab.free(small), 57)
    refused("but no sixteen in a row", "InsufficientCidrBlocks", lambda: lab.create(small, Ipv4PrefixCount=1))
    full = lab.create(small, SecondaryPrivateIpAddressCount=56)["NetworkInterfaceId"]
    equal("none is free", lab.free(small), 0)
    refused("a full subnet", "InsufficientFreeAddressesInSubnet", lambda: lab.create(small))
    for eni in (*in_the_way, full):
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    equal("all are free again", lab.free(small), 59)


def pages(lab):
    ec2 = lab.ec2
    made = {lab.create()["NetworkInterfaceId"] for _ in range(12)}
    seen = list(ec2.get_paginator("describe_network_interfaces").paginate(PaginationConfig={"PageSize": 5}))
    ids = [e["NetworkInterfaceId"] for page in seen for e in page["NetworkInterfaces"]]
    equal("pages of five hold each once", (len(seen), len(ids), len(set(ids)), made <= set(ids)),
          (3, 14, 14, True))
    look = lambda **what: ec2.describe_network_interfaces(**what)
    blunt = lab.client(config=Config(retries={"total_max_attempts": 1}, parameter_validation=False))
    refused("a page of four", "InvalidParameterValue", lambda: blunt.describe_network_interfaces(MaxResults=4))
    refused("ids and pages", "InvalidParameterCombination",
            lambda: look(MaxResults=5, NetworkInterfaceIds=[next(iter(made))]))
    refused("a made-up token", "InvalidNextToken", lambda: look(NextToken="guess"))
    for eni in made:
        ec2.delete_network_interface(NetworkInterfaceId=eni)


def gate(lab):
    look = lambda client: client.describe_vpcs()
    refused("unknown key", "AuthFailure", lambda: look(lab.client(aws_access_key_id="AKIAUNKNOWN")), 401)
    refused("wrong secret", "AuthFailure", lambda: look(lab.client(aws_secret_access_key="wrong")), 401)
    refused("a token that the key has not", "AuthFailure", lambda: look(lab.client(aws_session_token="x")), 401)
    refused("another region", "AuthFailure", lambda: look(lab.client(region_name="eu-central-1")), 401)
    tls = lab.client(endpoint_url=lab.about["endpoints"]["apiTls"], verify=lab.about["caFile"])
    check("HTTPS with the lab's authority works", len(look(tls)["Vpcs"]) == 1)

    right = botocore.auth.get_current_datetime if hasattr(botocore.auth, "get_current_datetime") else None
    if right:
        botocore.auth.get_current_datetime = lambda *a, **k: right(*a, **k) - datetime.timedelta(minutes=16)
        answer = refused("a date of 16 minutes ago", "RequestExpired", lambda: look(lab.client()), 400)
        botocore.auth.get_current_datetime = right
    else:
        true = datetime.datetime

        class Late(true):
            @classmethod
            def utcnow(cls):
                return true.utcnow() - datetime.timedelta(minutes=16)

        botocore.auth.datetime.datetime = Late
        answer = refused("a date of 16 minutes ago", "RequestExpired", lambda: look(lab.client()), 400)
        botocore.auth.datetime.datetime = true
    date = ((answer or {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})).get("date", "")
    check("the answer's Date tells the time", date.endswith("GMT"), date)


def faults(lab):
    ec2 = lab.ec2
    look = lambda: ec2.describe_network_interfaces()
    lab.fault(kind="throttle", action="DescribeNetworkInterfaces", bucket=3)
    check("a burst of three passes", all(look() for _ in range(3)))
    answer = refused("the fourth is throttled", "RequestLimitExceeded", look, 503)
    check("a refusal has a request id", bool((answer or {}).get("ResponseMetadata", {}).get("RequestId")))
    check("others pass", len(ec2.describe_vpcs()["Vpcs"]) == 1)
    lab.control("DELETE", "/faults")
    lab.fault(kind="throttle", action="DescribeNetworkInterfaces", count=2)
    patient = lab.client(config=Config(retries={"mode": "standard", "total_max_attempts": 4}))
    check("the SDK's own retry takes it for throttling", len(patient.describe_network_interfaces()["NetworkInterfaces"]) > 0)
    lab.fault(kind="server-error", code="Unavailable", count=1)
    refused("server error", "Unavailable", look, 503)
    lab.fault(kind="error", action="CreateNetworkInterface", code="UnauthorizedOperation", status=403, count=1)
    refused("a denied action", "UnauthorizedOperation", lab.create, 403)

    made = lab.create()["NetworkInterfaceId"]
    lab.fault(kind="stale-reads", ms=30000, count=1)
    refused("a new ENI is unknown for a while", "InvalidNetworkInterfaceID.NotFound", lambda: lab.eni(made))
    equal("and then it is there", lab.eni(made)["Status"], "available")

    lab.fault(kind="lost-answer", action="CreateNetworkInterface", count=1)
    count = lambda: len(look()["NetworkInterfaces"])
    before, token = count(), str(uuid.uuid4())
    try:
        lab.create(ClientToken=token)
        check("a lost answer is no success", False)
    except (ConnectionClosedError, ResponseParserError):
        check("a lost answer is no success", True)
    equal("a lost answer has its effect", count(), before + 1)
    found = lab.create(ClientToken=token)["NetworkInterfaceId"]
    equal("the token finds the lost ENI", count(), before + 1)
    for eni in (made, found):
        ec2.delete_network_interface(NetworkInterfaceId=eni)


def metadata(lab):
    get = lab.metadata

    def status(what, wanted, *args, **more):
        try:
            get(*args, **more)
            check(what, False, "success")
        except urllib.error.HTTPError as error:
            equal(what, error.code, wanted)

    meta = "/latest/meta-data/"
    life = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    equal("IMDSv1 names the instance", get(meta + "instance-id"), lab.node["id"])
    token = {"X-aws-ec2-metadata-token": get("/latest/api/token", life, "PUT")}
    equal("IMDSv2 names the type", get(meta + "instance-type", token), lab.node["type"])
    status("a wrong token", 401, meta + "instance-id", {"X-aws-ec2-metadata-token": "wrong"})
    status("a token for ever", 400, "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21601"}, "PUT")
    status("an instance that wants tokens", 401, meta + "instance-id", node="n2")
    status("a path that is not there", 404, meta + "nothing")
    equal("the list of MACs", get(meta + "network/interfaces/macs/"), lab.node["mac"] + "/")
    at = meta + "network/interfaces/macs/" + lab.node["mac"] + "/"
    equal("an ENI's fields", [get(at + name) for name in ("device-number", "interface-id", "local-ipv4s", "subnet-id")],
          ["0", lab.node["primaryEni"], lab.node["ipv4"], lab.subnet])
    status("no prefix, no path", 404, at + "ipv4-prefix")
    document = json.loads(get("/latest/dynamic/instance-identity/document", token))
    equal("the document", (document["region"], document["instanceId"]), (lab.region, lab.node["id"]))
    role = get(meta + "iam/security-credentials/")
    key = json.loads(get(meta + "iam/security-credentials/" + role))
    equal("the role's credentials are good", (key["Code"], key["Type"]), ("Success", "AWS-HMAC"))
    own = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    seen = lab.client(aws_session_token=key["Token"], **own).describe_vpcs()
    check("the API takes them", len(seen["Vpcs"]) == 1)
    refused("not with another token", "AuthFailure",
            lambda: lab.client(aws_session_token="wrong", **own).describe_vpcs(), 401)
    refused("nor without", "AuthFailure", lambda: lab.client(**own).describe_vpcs(), 401)
    refused("RunInstances is not there", "InvalidAction", lambda: lab.ec2.run_instances(
        MinCount=1, MaxCount=1, ImageId="ami-00000000000000001"))


def termination(lab):
    """The last part: n2 is gone after it."""
    ec2 = lab.ec2
    node = next(i for i in lab.about["instances"] if i["name"] == "n2")
    stays, goes = (lab.create()["NetworkInterfaceId"] for _ in range(2))
    attachments = {}
    for device, eni in enumerate((stays, goes), 1):
        attachments[eni] = ec2.attach_network_interface(
            NetworkInterfaceId=eni, InstanceId=node["id"], DeviceIndex=device)["AttachmentId"]
        wait_for(f"device {device} of the other instance", 20, lambda: lab.attachment(eni) == "attached")
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=goes, Attachment={"AttachmentId": attachments[goes], "DeleteOnTermination": True})
    answer = ec2.terminate_instances(InstanceIds=[node["id"]])["TerminatingInstances"][0]
    equal("TerminateInstances", (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]),
          ("running", "shutting-down"))
    wait_for("DeleteOnTermination false: it stays", 20, lambda: lab.eni(stays)["Status"] == "available")
    refused("DeleteOnTermination true: it goes", "InvalidNetworkInterfaceID.NotFound", lambda: lab.eni(goes))
    refused("the primary ENI goes", "InvalidNetworkInterfaceID.NotFound", lambda: lab.eni(node["primaryEni"]))
    seen = ec2.describe_instances(InstanceIds=[node["id"]])["Reservations"][0]["Instances"][0]
    equal("the instance is terminated", seen["State"]["Name"], "terminated")
    refused("and takes no ENI", "IncorrectInstanceState", lambda: ec2.attach_network_interface(
        NetworkInterfaceId=stays, InstanceId=node["id"], DeviceIndex=1))
    ec2.delete_network_interface(NetworkInterfaceId=stays)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lab = Ec2Lab(sys.argv[1])
    for part in (inventory, life_of_an_eni, addresses, small_subnet, pages, gate, faults, metadata, termination):
        part(lab)
    equal("the ledger finds nothing wrong", lab.control("GET", "/verify")["violations"], [])
    end()


if __name__ == "__main__":
    main()
