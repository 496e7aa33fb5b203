"""What is true of every EC2: played on the lab (judge.py) and on moto (moto_judge.py) with the same code.

moto is right about formats, filters and the plain way of things. What it gets wrong (limits, chosen addresses, prefixes,
tokens, pages, states, and most refusals) is for the lab alone.
"""
import datetime
import ipaddress

from side import refused
from verdict import check, equal, wait_for

UNKNOWN = "eni-0123456789abcdef0"
NO_INSTANCE = "i-0123456789abcdef0"


def inventory(side):
    ec2 = side.ec2
    seen = side.described(side.instance)
    equal("the instance runs", (seen["State"]["Code"], seen["State"]["Name"]), (16, "running"))
    equal("its type, subnet and VPC", (seen["InstanceType"], seen["SubnetId"], seen["VpcId"]),
          ("m7i.large", side.subnet, side.vpc))
    primary = seen["NetworkInterfaces"][0]
    equal("its primary ENI", (primary["PrivateIpAddress"], primary["Attachment"]["DeviceIndex"], primary["Status"]),
          (seen["PrivateIpAddress"], 0, "in-use"))
    check("its launch time is a time", isinstance(seen["LaunchTime"], datetime.datetime))
    equal("its name is a tag", {"Key": "Name", "Value": "n1"} in seen["Tags"], True)
    named = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["n1"]}])["Reservations"]
    equal("instances by tag", [r["Instances"][0]["InstanceId"] for r in named], [side.instance])
    refused("an unknown instance", "InvalidInstanceID.NotFound", lambda: side.described(NO_INSTANCE))

    known = ec2.describe_instance_types(InstanceTypes=["t3.medium", "p4d.24xlarge"])["InstanceTypes"]
    limits = {t["InstanceType"]: t["NetworkInfo"] for t in known}
    small, large = limits["t3.medium"], limits["p4d.24xlarge"]
    equal("limits of t3.medium", (small["MaximumNetworkInterfaces"], small["Ipv4AddressesPerInterface"],
                                  small["Ipv6AddressesPerInterface"], small["Ipv6Supported"]), (3, 6, 6, True))
    equal("cards of p4d.24xlarge", (large["MaximumNetworkCards"], len(large["NetworkCards"]),
                                    large["NetworkCards"][3]["MaximumNetworkInterfaces"]), (4, 4, 15))
    refused("an unknown type", "InvalidInstanceType", lambda: ec2.describe_instance_types(InstanceTypes=["z9.huge"]))

    vpc = ec2.describe_vpcs(VpcIds=[side.vpc])["Vpcs"][0]
    equal("the VPC", (vpc["VpcId"], vpc["CidrBlock"]), (side.vpc, "10.0.0.0/16"))
    found = ec2.describe_subnets(Filters=[
        {"Name": "vpc-id", "Values": [side.vpc]},
        {"Name": "availability-zone", "Values": ["us-east-1a"]},
        {"Name": "tag:Name", "Values": ["a"]}])["Subnets"]
    equal("subnets by filters", [s["SubnetId"] for s in found], [side.subnet])
    equal("five addresses are reserved, two are the instances'", found[0]["AvailableIpAddressCount"],
          ipaddress.ip_network(found[0]["CidrBlock"]).num_addresses - 5 - 2)
    check("the subnet's IPv6 block", found[0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].endswith("/64"))
    refused("an unknown subnet", "InvalidSubnetID.NotFound",
            lambda: ec2.describe_subnets(SubnetIds=["subnet-0123456789abcdef0"]))
    group = ec2.describe_security_groups(GroupIds=[side.group])["SecurityGroups"][0]
    equal("the group is in the VPC", (group["GroupId"], group["VpcId"]), (side.group, side.vpc))
    refused("an unknown group", "InvalidGroup.NotFound",
            lambda: ec2.describe_security_groups(GroupIds=["sg-0123456789abcdef0"]))


def life_of_an_eni(side):
    ec2, before = side.ec2, side.free()
    tags = [{"Key": "node", "Value": "a*~b+/= <&>"}, {"Key": "空", "Value": ""}]
    pairs = lambda tags: sorted((t["Key"], t["Value"]) for t in tags)
    made = side.create(
        Groups=[side.group], Description="judge <&>", SecondaryPrivateIpAddressCount=2,
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}])
    eni = made["NetworkInterfaceId"]
    equal("Create answers the addresses", [a["Primary"] for a in made["PrivateIpAddresses"]], [True, False, False])
    equal("and the tags", pairs(made["TagSet"]), pairs(tags))
    equal("the subnet has three fewer", side.free(), before - 3)
    seen = side.eni(eni)
    equal("it is available", (seen["Status"], seen["Description"], seen["SourceDestCheck"], pairs(seen["TagSet"])),
          ("available", "judge <&>", True, pairs(tags)))
    refused("DryRun", "DryRunOperation", lambda: side.create(DryRun=True), 412)

    at = lambda **what: ec2.attach_network_interface(
        **{"NetworkInterfaceId": eni, "InstanceId": side.instance, "DeviceIndex": 1, **what})
    refused("Attach of an unknown ENI", "InvalidNetworkInterfaceID.NotFound", lambda: at(NetworkInterfaceId=UNKNOWN))
    refused("Attach to an unknown instance", "InvalidInstanceID.NotFound", lambda: at(InstanceId=NO_INSTANCE))
    primary = side.described(side.instance)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    refused("the primary ENI stays", "OperationNotPermitted", lambda: ec2.detach_network_interface(
        AttachmentId=side.eni(primary)["Attachment"]["AttachmentId"]))
    attachment = side.attach(eni, 1)
    seen = side.eni(eni)
    equal("attached", (seen["Status"], seen["Attachment"]["AttachmentId"], seen["Attachment"]["InstanceId"],
                       seen["Attachment"]["DeviceIndex"], seen["Attachment"]["DeleteOnTermination"]),
          ("in-use", attachment, side.instance, 1, False))
    second = side.create()["NetworkInterfaceId"]

    modify = lambda **what: ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, **what)
    modify(SourceDestCheck={"Value": False})
    modify(Description={"Value": "new"})
    modify(Groups=[side.group])
    seen = side.eni(eni)
    equal("Modify", (seen["SourceDestCheck"], seen["Description"], [g["GroupId"] for g in seen["Groups"]]),
          (False, "new", [side.group]))
    read = lambda name: ec2.describe_network_interface_attribute(NetworkInterfaceId=eni, Attribute=name)
    equal("Attribute description", read("description")["Description"]["Value"], "new")
    equal("Attribute sourceDestCheck", read("sourceDestCheck")["SourceDestCheck"]["Value"], False)
    equal("Attribute groupSet", read("groupSet")["Groups"][0]["GroupId"], side.group)

    equal("by instance", side.by("attachment.instance-id", side.instance), {primary, eni})
    equal("by tag", side.by("tag:node", tags[0]["Value"]), {eni})
    equal("by tag key", side.by("tag-key", "空"), {eni})
    equal("by status", side.by("status", "available"), {second})
    check("by subnet", {eni, second} < side.by("subnet-id", side.subnet))
    check("by VPC", {eni, second} < side.by("vpc-id", side.vpc))
    ec2.create_tags(Resources=[eni, second], Tags=[{"Key": "k", "Value": "v"}])
    equal("CreateTags", side.by("tag:k", "v"), {eni, second})
    ec2.delete_tags(Resources=[eni, second], Tags=[{"Key": "k"}])
    equal("DeleteTags", side.by("tag-key", "k"), set())

    side.detach(eni, attachment)
    check("a detached ENI has no attachment", not side.eni(eni).get("Attachment"))
    refused("Detach again", "InvalidAttachmentID.NotFound",
            lambda: ec2.detach_network_interface(AttachmentId=attachment))
    side.delete(eni, second)
    refused("Delete again", "InvalidNetworkInterfaceID.NotFound", lambda: side.delete(eni))
    refused("Describe of a deleted ENI", "InvalidNetworkInterfaceID.NotFound", lambda: side.eni(eni))
    equal("all addresses are back", side.free(), before)


def addresses(side):
    """Given and taken away; who gets which is for the lab alone."""
    ec2 = side.ec2
    named = side.create(PrivateIpAddresses=[
        {"PrivateIpAddress": "10.0.0.101", "Primary": False}, {"PrivateIpAddress": "10.0.0.100", "Primary": True}])
    eni = named["NetworkInterfaceId"]
    equal("explicit addresses", (named["PrivateIpAddress"], sorted(side.addresses(eni))),
          ("10.0.0.100", ["10.0.0.100", "10.0.0.101"]))
    assign = lambda **what: ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, **what)
    assign(SecondaryPrivateIpAddressCount=3)
    equal("Assign by count", len(side.addresses(eni)), 5)
    assign(PrivateIpAddresses=["10.0.0.110", "10.0.0.111"])
    check("Assign of named ones", {"10.0.0.110", "10.0.0.111"} < set(side.addresses(eni)), side.addresses(eni))
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=["10.0.0.101", "10.0.0.110"])
    left = set(side.addresses(eni))
    check("Unassign", len(left) == 5 and not left & {"10.0.0.101", "10.0.0.110"}, left)
    refused("Assign to an unknown ENI", "InvalidNetworkInterfaceID.NotFound", lambda: ec2.assign_private_ip_addresses(
        NetworkInterfaceId=UNKNOWN, SecondaryPrivateIpAddressCount=1))

    block = ec2.describe_subnets(SubnetIds=[side.subnet])["Subnets"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6AddressCount=2)
    six = [a["Ipv6Address"] for a in side.eni(eni)["Ipv6Addresses"]]
    check("AssignIpv6 out of the subnet's block",
          len(six) == 2 and all(ipaddress.ip_address(a) in ipaddress.ip_network(block) for a in six), six)
    gone = ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=six[:1])
    equal("UnassignIpv6", (gone["UnassignedIpv6Addresses"], [a["Ipv6Address"] for a in side.eni(eni)["Ipv6Addresses"]]),
          (six[:1], six[1:]))
    side.delete(eni)


def termination(side):
    answer = side.ec2.terminate_instances(InstanceIds=[side.spare])["TerminatingInstances"][0]
    equal("TerminateInstances", (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]),
          ("running", "shutting-down"))
    state = lambda: side.described(side.spare)["State"]["Name"]
    wait_for("the instance is terminated", 20, lambda: state() == "terminated" or state())


PARTS = (inventory, life_of_an_eni, addresses)
