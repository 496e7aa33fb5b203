#!/usr/bin/env python3
"""Drives the EC2 side of a running lab with boto3, the SDK that AWS publishes for Python.

Usage: judge.py LAB_JSON        (LAB_JSON: the lab's description, /run/tideway-lab/ID/lab.json)

The lab runs with lab.yaml. What is true of every EC2 is in scenario.py, which moto_judge.py plays on moto; what moto gets
wrong is here, for the lab alone. Works on its own ENIs and deletes them. Prints each check and at the end `N passed, M failed`.
"""
import datetime
import ipaddress
import json
import sys
import urllib.error
import uuid

import botocore.auth
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError
from botocore.parsers import ResponseParserError

import scenario
from side import ONE_TRY, Ec2Lab, refused
from verdict import check, end, equal, wait_for


def inventory(lab):
    ec2 = lab.ec2
    seen = lab.described(lab.instance)
    equal("the instance's address", seen["PrivateIpAddress"], lab.node["ipv4"])
    primary = seen["NetworkInterfaces"][0]
    equal("its primary ENI goes with it", (primary["NetworkInterfaceId"], primary["Attachment"]["DeleteOnTermination"]),
          (lab.node["primaryEni"], True))
    named = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["n*"]}])["Reservations"]
    equal("instances by a wildcard", sorted(r["Instances"][0]["Tags"][0]["Value"] for r in named), ["n1", "n2"])
    refused("a malformed instance", "InvalidInstanceID.Malformed", lambda: lab.described("instance"))
    pages = list(ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 10}))
    types = [t["InstanceType"] for page in pages for t in page["InstanceTypes"]]
    check("types in pages, each once", len(pages) > 2 and len(types) == len(set(types)) >= 20, len(types))
    nitro = ec2.describe_instance_types(Filters=[{"Name": "hypervisor", "Values": ["xen"]}])["InstanceTypes"]
    check("types by a filter", {t["Hypervisor"] for t in nitro} == {"xen"})
    group = ec2.describe_security_groups(GroupIds=[lab.group])["SecurityGroups"][0]
    equal("the group and its rule", (group["GroupName"], group["IpPermissions"][0]["IpProtocol"]), ("default", "-1"))


def life_of_an_eni(lab):
    ec2, before = lab.ec2, lab.free()
    token = str(uuid.uuid4())
    wish = {"Groups": [lab.group], "Description": "judge", "SecondaryPrivateIpAddressCount": 2, "ClientToken": token}
    made = lab.create(**wish)
    eni = made["NetworkInterfaceId"]
    equal("Create answers pending", made["Status"], "pending")
    equal("the same token finds the same ENI", lab.create(**wish)["NetworkInterfaceId"], eni)
    refused("the token with other parameters", "IdempotentParameterMismatch",
            lambda: lab.create(**{**wish, "Description": "other"}))

    at = lambda eni, device, **more: ec2.attach_network_interface(
        NetworkInterfaceId=eni, InstanceId=lab.instance, DeviceIndex=device, **more)
    lab.fault(kind="stuck-attach")
    attachment = at(eni, 1)["AttachmentId"]
    equal("an attach that takes its time", (lab.eni(eni)["Status"], lab.attachment(eni)), ("attaching", "attaching"))
    refused("Assign meanwhile", "IncorrectState", lambda: ec2.assign_private_ip_addresses(
        NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1))
    refused("Detach meanwhile", "IncorrectState", lambda: ec2.detach_network_interface(AttachmentId=attachment))
    lab.control("DELETE", "/faults")
    wait_for("it ends attached", 20, lambda: lab.attachment(eni) == "attached")
    equal("on the first card", lab.eni(eni)["Attachment"]["NetworkCardIndex"], 0)
    second = lab.create()["NetworkInterfaceId"]
    refused("attached once more", "InvalidNetworkInterface.InUse", lambda: at(eni, 2))
    refused("a taken device index", "InvalidParameterValue", lambda: at(second, 1))
    refused("a card that is not there", "InvalidParameterValue", lambda: at(second, 1, NetworkCardIndex=1))
    other = lab.attach(second, 2)
    third = lab.create()["NetworkInterfaceId"]
    refused("more ENIs than the type has", "AttachmentLimitExceeded", lambda: at(third, 3))
    refused("Delete of an attached ENI", "InvalidParameterValue", lambda: lab.delete(eni))

    modify = lambda **what: ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, **what)
    modify(Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    equal("Modify of the attachment", lab.eni(eni)["Attachment"]["DeleteOnTermination"], True)
    read = ec2.describe_network_interface_attribute(NetworkInterfaceId=eni, Attribute="attachment")
    equal("Attribute attachment", read["Attachment"]["AttachmentId"], attachment)
    refused("two attributes at once", "InvalidParameterCombination",
            lambda: modify(SourceDestCheck={"Value": True}, Description={"Value": "x"}))
    refused("another attachment", "InvalidAttachmentID.NotFound", lambda: modify(
        Attachment={"AttachmentId": "eni-attach-0123456789abcdef0", "DeleteOnTermination": True}))
    refused("an unknown group", "InvalidGroup.NotFound", lambda: modify(Groups=["sg-0123456789abcdef0"]))
    refused("six groups", "SecurityGroupsPerInterfaceLimitExceeded", lambda: modify(Groups=[lab.group] * 6))

    ec2.create_tags(Resources=[eni], Tags=[{"Key": "node", "Value": "a*~b+/= <&>"}])
    equal("by tag with wildcards", lab.by("tag:node", "a[*]~b+/= <&>", "a*b+/= <?>"), {eni})
    equal("by MAC", lab.by("mac-address", lab.eni(eni)["MacAddress"]), {eni})
    equal("by secondary address", lab.by("addresses.private-ip-address", lab.addresses(eni)[2]), {eni})
    equal("by subnet and nothing else", lab.by("subnet-id", lab.small), set())
    refused("an unknown filter", "InvalidParameterValue", lambda: lab.by("no-such-filter", "x"))
    tag = lambda eni, keys: ec2.create_tags(Resources=[eni], Tags=[{"Key": k, "Value": "v"} for k in keys])
    refused("CreateTags on an unknown ENI", "InvalidNetworkInterfaceID.NotFound", lambda: tag(scenario.UNKNOWN, "k"))
    refused("51 tags", "TagLimitExceeded", lambda: tag(eni, [f"k{n}" for n in range(51)]))

    lab.detach(eni, attachment)
    lab.detach(second, other)
    lab.delete(eni, second, third)
    equal("all addresses are back", lab.free(), before)


def malformed(lab):
    """Ids that cannot be, which is another refusal than ids that are not."""
    ec2 = lab.ec2
    for what, code, call in [
        ("a malformed subnet", "InvalidSubnetId.Malformed", lambda: lab.create("subnet")),
        ("a malformed group", "InvalidGroupId.Malformed", lambda: lab.create(Groups=["sg"])),
        ("a malformed ENI", "InvalidNetworkInterfaceId.Malformed", lambda: lab.eni("eni")),
        ("a malformed attachment", "InvalidNetworkInterfaceAttachmentId.Malformed",
         lambda: ec2.detach_network_interface(AttachmentId="eni-attach")),
        ("an unknown VPC", "InvalidVpcID.NotFound", lambda: ec2.describe_vpcs(VpcIds=["vpc-0123456789abcdef0"])),
    ]:
        refused(what, code, call)


def addresses(lab):
    ec2 = lab.ec2
    before = lab.free()
    refused("a reserved address", "InvalidParameterValue", lambda: lab.create(PrivateIpAddress="10.0.0.3"))
    refused("an address outside", "InvalidParameterValue", lambda: lab.create(PrivateIpAddress="192.168.7.7"))
    refused("an address in use", "InvalidIPAddress.InUse", lambda: lab.create(PrivateIpAddress=lab.node["ipv4"]))
    one = lab.create(PrivateIpAddresses=[{"PrivateIpAddress": "10.0.0.101", "Primary": False},
                                         {"PrivateIpAddress": "10.0.0.100", "Primary": True}])["NetworkInterfaceId"]
    equal("the primary address comes first", lab.addresses(one), ["10.0.0.100", "10.0.0.101"])
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
    lab.delete(one, two)
    equal("all addresses are back", lab.free(), before)


def small_subnet(lab):
    """A /26: four blocks of sixteen, the first and the last with reserved addresses."""
    ec2, small = lab.ec2, lab.small
    equal("a /26 has 59", lab.free(small), 59)
    wide = lab.create(small, Ipv4PrefixCount=2)["NetworkInterfaceId"]
    refused("no third block", "InsufficientCidrBlocks", lambda: lab.create(small, Ipv4PrefixCount=1))
    lab.delete(wide)
    block = int(ipaddress.ip_network(ec2.describe_subnets(SubnetIds=[small])["Subnets"][0]["CidrBlock"]).network_address)
    in_the_way = [lab.create(small, PrivateIpAddress=str(ipaddress.ip_address(block + n)))["NetworkInterfaceId"]
                  for n in (24, 40)]
    equal("57 are free", lab.free(small), 57)
    refused("but no sixteen in a row", "InsufficientCidrBlocks", lambda: lab.create(small, Ipv4PrefixCount=1))
    full = lab.create(small, SecondaryPrivateIpAddressCount=56)["NetworkInterfaceId"]
    equal("none is free", lab.free(small), 0)
    refused("a full subnet", "InsufficientFreeAddressesInSubnet", lambda: lab.create(small))
    lab.delete(*in_the_way, full)
    equal("all are free again", lab.free(small), 59)


def pages(lab):
    """With as many ENIs as the account may have."""
    ec2 = lab.ec2
    made = {lab.create()["NetworkInterfaceId"] for _ in range(12)}
    refused("more ENIs than the account has", "NetworkInterfaceLimitExceeded", lab.create)
    seen = list(ec2.get_paginator("describe_network_interfaces").paginate(PaginationConfig={"PageSize": 5}))
    ids = [e["NetworkInterfaceId"] for page in seen for e in page["NetworkInterfaces"]]
    equal("pages of five hold each once", (len(seen), len(ids), len(set(ids)), made <= set(ids)),
          (3, 14, 14, True))
    look = lambda **what: ec2.describe_network_interfaces(**what)
    blunt = lab.client(config=Config(**ONE_TRY, parameter_validation=False))
    refused("a page of four", "InvalidParameterValue", lambda: blunt.describe_network_interfaces(MaxResults=4))
    refused("ids and pages", "InvalidParameterCombination",
            lambda: look(MaxResults=5, NetworkInterfaceIds=[next(iter(made))]))
    refused("a made-up token", "InvalidNextToken", lambda: look(NextToken="guess"))
    lab.delete(*made)


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
    lab.fault(kind="deny", action="CreateNetworkInterface", count=1)
    answer = refused("a denied action", "UnauthorizedOperation", lab.create, 403)
    message = (answer or {}).get("Error", {}).get("Message", "")
    check("it is named", "is not authorized to perform: ec2:CreateNetworkInterface on resource: arn:aws:ec2:" in message, message)

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
    lab.delete(made, found)


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
    """The last part: n2, of a type that takes no prefixes, is gone after it."""
    ec2 = lab.ec2
    primary = lab.described(lab.spare)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    refused("a prefix on Xen", "UnsupportedOperation",
            lambda: ec2.assign_private_ip_addresses(NetworkInterfaceId=primary, Ipv4PrefixCount=1))
    stays, goes = (lab.create()["NetworkInterfaceId"] for _ in range(2))
    attachments = [lab.attach(eni, device, lab.spare) for device, eni in enumerate((stays, goes), 1)]
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=goes, Attachment={"AttachmentId": attachments[1], "DeleteOnTermination": True})
    scenario.termination(lab)
    wait_for("DeleteOnTermination false: it stays", 20, lambda: lab.eni(stays)["Status"] == "available")
    refused("DeleteOnTermination true: it goes", "InvalidNetworkInterfaceID.NotFound", lambda: lab.eni(goes))
    refused("the primary ENI goes", "InvalidNetworkInterfaceID.NotFound", lambda: lab.eni(primary))
    refused("a terminated instance takes no ENI", "IncorrectInstanceState", lambda: ec2.attach_network_interface(
        NetworkInterfaceId=stays, InstanceId=lab.spare, DeviceIndex=1))
    lab.delete(stays)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lab = Ec2Lab(sys.argv[1])
    for part in (*scenario.PARTS, inventory, life_of_an_eni, malformed, addresses, small_subnet, pages, gate, faults, metadata,
                 termination):
        part(lab)
    equal("the ledger finds nothing wrong", lab.control("GET", "/verify")["violations"], [])
    end()


if __name__ == "__main__":
    main()
