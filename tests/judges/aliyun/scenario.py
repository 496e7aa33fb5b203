"""What each generation of the SDK does on the lab, from looking around to the last ENI's deletion."""
import json

from generations import token
from verdict import check, equal, wait_for

TAGS = [{"Key": "judge", "Value": "c 1*~+/=&%"}, {"Key": "kind", "Value": "new"}]


class Account:
    """The calls of one generation, with what most of them have in common."""

    def __init__(self, sdk, lab):
        self.sdk, self.lab, self.call = sdk, lab, sdk.call
        self.node = lab.node["id"]
        self.vswitch = lab.vswitch["id"]

    def refused(self, what, code, action, **params):
        """The call must fail with this code; what failed it."""
        return self.fails(what, code, lambda: self.call(action, **params))

    def fails(self, what, code, call):
        try:
            call()
        except Exception as error:  # each generation has several classes
            equal(f"{what} -> {code}", self.sdk.code(error), code)
            return error
        check(f"{what} -> {code}", False, "success")
        return None

    def wish(self, **more):
        """Parameters of a Create in the first vSwitch."""
        return {"VSwitchId": self.vswitch, "SecurityGroupIds": [self.lab.group], **more}

    def create(self, **more):
        return self.call("CreateNetworkInterface", **self.wish(**more))["NetworkInterfaceId"]

    def delete(self, *enis):
        for eni in enis:
            self.call("DeleteNetworkInterface", NetworkInterfaceId=eni)

    def enis(self, **filters):
        seen = self.call("DescribeNetworkInterfaces", **filters)
        return seen["NetworkInterfaceSets"]["NetworkInterfaceSet"]

    def ids(self, **filters):
        return [e["NetworkInterfaceId"] for e in self.enis(**filters)]

    def eni(self, eni):
        return self.enis(NetworkInterfaceId=[eni])[0]

    def states(self, eni):
        return [e["Status"] for e in self.enis(NetworkInterfaceId=[eni])]

    def free(self, vswitch=None):
        about = self.call("DescribeVSwitchAttributes", VSwitchId=vswitch or self.vswitch)
        return about["AvailableIpAddressCount"]

    def attach(self, eni):
        self.call("AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId=self.node)
        wait_for("Attach ends InUse", 20, lambda: self.states(eni) == ["InUse"] or self.states(eni))

    def detach(self, eni):
        self.call("DetachNetworkInterface", NetworkInterfaceId=eni, InstanceId=self.node)
        wait_for("Detach ends Available", 20, lambda: self.states(eni) == ["Available"] or self.states(eni))


def inventory(account):
    call, lab, node = account.call, account.lab, account.lab.node
    seen = call("DescribeVpcs")["Vpcs"]["Vpc"]
    equal("DescribeVpcs finds the VPC", [(v["VpcId"], v["CidrBlock"]) for v in seen],
          [(lab.about["vpc"]["id"], lab.about["vpc"]["ipv4"])])
    seen = call("DescribeVSwitches", PageNumber=1, PageSize=50)
    equal("DescribeVSwitches counts", seen["TotalCount"], len(lab.about["vswitches"]))
    seen = call("DescribeVSwitches", VSwitchId=account.vswitch)["VSwitches"]["VSwitch"]
    equal("DescribeVSwitches finds by id", [v["VSwitchId"] for v in seen], [account.vswitch])
    seen = call("DescribeVSwitchAttributes", VSwitchId=account.vswitch)
    equal("DescribeVSwitchAttributes names the zone", seen["ZoneId"], lab.vswitch["zone"])
    equal("DescribeVSwitchAttributes has IPv6", seen["EnabledIpv6"], True)

    types = lambda **params: call("DescribeInstanceTypes", **params)
    listed = lambda seen: seen["InstanceTypes"]["InstanceType"]
    seen = listed(types(InstanceTypes=["ecs.g6.xlarge"], MaxResults=100))
    equal("DescribeInstanceTypes: ENIs and addresses of ecs.g6.xlarge",
          [(t["EniQuantity"], t["EniPrivateIpAddressQuantity"]) for t in seen], [(3, 10)])
    check("DescribeInstanceTypes knows 20 types", len(listed(types())) >= 20)
    first = types(MaxResults=7)
    second = types(MaxResults=7, NextToken=first["NextToken"])
    names = [t["InstanceTypeId"] for page in (first, second) for t in listed(page)]
    equal("DescribeInstanceTypes pages by token", (len(names), len(set(names))), (14, 14))

    seen = call("DescribeInstances", InstanceIds=json.dumps([node["id"]]))["Instances"]["Instance"]
    equal("DescribeInstances finds by id", [(i["InstanceId"], i["Status"]) for i in seen], [(node["id"], "Running")])
    equal("DescribeInstances names the address",
          seen[0]["VpcAttributes"]["PrivateIpAddress"]["IpAddress"], [node["ipv4"]])
    equal("DescribeInstances lists the primary ENI",
          [n["NetworkInterfaceId"] for n in seen[0]["NetworkInterfaces"]["NetworkInterface"] if n["Type"] == "Primary"],
          [node["primaryEni"]])
    seen = call("DescribeSecurityGroups", SecurityGroupIds=json.dumps([lab.group]))["SecurityGroups"]["SecurityGroup"]
    equal("DescribeSecurityGroups finds by id", [g["SecurityGroupId"] for g in seen], [lab.group])


def creation(account):
    """An ENI of its own token, found by everything that it has; answers it."""
    before = account.free()
    fields = account.wish(
        SecondaryPrivateIpAddressCount=2, Ipv6AddressCount=1, NetworkInterfaceName="judge-1", Tag=TAGS,
        Description="made by the judge 中文", DeleteOnRelease=True, ClientToken=token())
    made = account.call("CreateNetworkInterface", **fields)
    eni = made["NetworkInterfaceId"]
    equal("CreateNetworkInterface is Available at once", made["Status"], "Available")
    equal("CreateNetworkInterface gives 3 IPv4 addresses", len(made["PrivateIpSets"]["PrivateIpSet"]), 3)
    equal("CreateNetworkInterface gives 1 IPv6 address", len(made["Ipv6Sets"]["Ipv6Set"]), 1)
    equal("the vSwitch has 3 addresses less", before - account.free(), 3)
    equal("the same token answers the same ENI",
          account.call("CreateNetworkInterface", **fields)["NetworkInterfaceId"], eni)
    account.refused("the same token with other parameters", "IdempotentParameterMismatch",
                    "CreateNetworkInterface", **{**fields, "Description": "another"})
    account.refused("Create with a taken address", "InvalidIp.IpAssigned", "CreateNetworkInterface",
                    **account.wish(PrimaryIpAddress=made["PrivateIpAddress"]))

    equal("Describe by id and tags", account.ids(NetworkInterfaceId=[eni], Tag=TAGS[:1]), [eni])
    equal("Describe by address", account.ids(PrivateIpAddress=[made["PrivateIpAddress"]]), [eni])
    equal("Describe by another tag value finds nothing",
          account.ids(NetworkInterfaceId=[eni], Tag=[{"Key": "kind", "Value": "old"}]), [])
    seen = account.eni(eni)
    equal("Describe shows the tags", {t["TagKey"]: t["TagValue"] for t in seen["Tags"]["Tag"]},
          {t["Key"]: t["Value"] for t in TAGS})
    equal("Describe shows the description", seen["Description"], "made by the judge 中文")
    return eni


def pages(account):
    """Eleven ENIs beside the one that is there: as many as the account may have."""
    extra = [account.create() for _ in range(11)]
    account.refused("one more than the account may have", "MaxEniCountExceeded",
                    "CreateNetworkInterface", **account.wish())
    look = lambda **params: account.call("DescribeNetworkInterfaces", Type="Secondary", **params)
    first = look(MaxResults=10)
    rest = look(MaxResults=500, NextToken=first["NextToken"])
    both = [e["NetworkInterfaceId"] for page in (first, rest)
            for e in page["NetworkInterfaceSets"]["NetworkInterfaceSet"]]
    check("token pages show every ENI once", sorted(both) == sorted(set(both)) and set(extra) < set(both), both)
    equal("the last page has no token", rest.get("NextToken") or "", "")
    paged = look(PageNumber=2, PageSize=4)
    equal("page numbers work too", (paged["PageNumber"], paged["PageSize"], paged["TotalCount"]), (2, 4, len(both)))
    account.delete(*extra)


def attachments(account, eni):
    """Two ENIs on the node, which has room for no third one; answers the second."""
    attach = lambda what, code, **ids: account.refused(
        what, code, "AttachNetworkInterface", **{"NetworkInterfaceId": eni, "InstanceId": account.node, **ids})
    attach("Attach to an unknown instance", "InvalidEcsId.NotFound", InstanceId="i-none")
    attach("Attach of an unknown ENI", "InvalidEniId.NotFound", NetworkInterfaceId="eni-none")
    starting = account.lab.named("n2", "instances")
    account.lab.control("POST", "/instances/n2", json.dumps({"status": "Starting"}))
    attach("Attach to an instance that starts", "IncorrectInstanceStatus", InstanceId=starting)
    account.lab.control("POST", "/instances/n2", json.dumps({"status": "Running"}))
    far = account.create(VSwitchId=account.lab.named("b"))
    attach("Attach across zones", "InvalidOperation.AvailabilityZoneMismatch", NetworkInterfaceId=far)
    account.delete(far)

    account.attach(eni)
    seen = account.enis(InstanceId=account.node, Type="Secondary")
    equal("Describe by instance shows the attachment",
          [(e["NetworkInterfaceId"], e["Attachment"]["InstanceId"]) for e in seen], [(eni, account.node)])
    attach("Attach twice", "InvalidOperation.InvalidEniState")
    account.refused("Delete while InUse", "InvalidOperation.InvalidEniState",
                    "DeleteNetworkInterface", NetworkInterfaceId=eni)
    account.refused("Detach of the primary ENI", "InvalidOperation.InvalidEniType", "DetachNetworkInterface",
                    NetworkInterfaceId=account.lab.node["primaryEni"], InstanceId=account.node)
    account.refused("Detach from another instance", "InvalidOperation.InvalidEniState", "DetachNetworkInterface",
                    NetworkInterfaceId=eni, InstanceId=starting)
    second, third = account.create(), account.create()
    account.attach(second)
    attach("Attach over the type's limit", "EniPerInstanceLimitExceeded", NetworkInterfaceId=third)
    account.delete(third)
    return second


def addresses(account, eni):
    call, refused = account.call, account.refused
    assign = lambda **what: call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, **what)["AssignedPrivateIpAddressesSet"]
    wrong = lambda what, code, **params: refused(
        what, code, "AssignPrivateIpAddresses", NetworkInterfaceId=eni, **params)
    unassign = lambda **what: call("UnassignPrivateIpAddresses", NetworkInterfaceId=eni, **what)
    got = assign(SecondaryPrivateIpAddressCount=3)["PrivateIpSet"]["PrivateIpAddress"]
    equal("Assign by count answers what was added", len(got), 3)
    wrong("Assign over the type's limit", "InvalidOperation.Ipv4CountExceeded", SecondaryPrivateIpAddressCount=5)
    wrong("Assign of a taken address", "InvalidIp.IpAssigned", PrivateIpAddress=[got[0]])
    wrong("Assign of one address twice", "InvalidIp.IpRepeated", PrivateIpAddress=["10.0.0.200", "10.0.0.200"])
    wrong("Assign of no address", "InvalidIp.Address", PrivateIpAddress=["10.0.0"])
    wrong("Assign with list and count", "InvalidParameter.Conflict",
          PrivateIpAddress=["10.0.0.200"], SecondaryPrivateIpAddressCount=1)
    wrong("Assign of nothing", "MissingParameter")
    equal("Assign of a named address",
          assign(PrivateIpAddress=["10.0.0.201"])["PrivateIpSet"]["PrivateIpAddress"], ["10.0.0.201"])
    unassign(PrivateIpAddress=got)
    gone = lambda what, code, address: refused(
        what, code, "UnassignPrivateIpAddresses", NetworkInterfaceId=eni, PrivateIpAddress=[address])
    gone("Unassign again", "InvalidIp.IpUnassigned", got[0])
    gone("Unassign of the primary address", "InvalidOperation.PrimaryIpAddress", account.eni(eni)["PrivateIpAddress"])

    prefix = assign(Ipv4PrefixCount=1)["Ipv4PrefixSet"]["Ipv4Prefixes"]
    check("Assign of a /28", len(prefix) == 1 and prefix[0].endswith("/28"), prefix)
    equal("the ENI shows it", [p["Ipv4Prefix"] for p in account.eni(eni)["Ipv4PrefixSets"]["Ipv4PrefixSet"]], prefix)
    unassign(Ipv4Prefix=prefix)

    assign = lambda **what: call("AssignIpv6Addresses", NetworkInterfaceId=eni, **what)
    unassign = lambda **what: call("UnassignIpv6Addresses", NetworkInterfaceId=eni, **what)
    six = assign(Ipv6AddressCount=2)["Ipv6Sets"]["Ipv6Address"]
    equal("AssignIpv6Addresses answers what was added", len(six), 2)
    wide = assign(Ipv6PrefixCount=1)["Ipv6PrefixSets"]["Ipv6Prefix"]
    check("Assign of a /80", len(wide) == 1 and wide[0].endswith("/80"), wide)
    equal("the ENI shows it", [p["Ipv6Prefix"] for p in account.eni(eni)["Ipv6PrefixSets"]["Ipv6PrefixSet"]], wide)
    refused("IPv6 over the type's limit", "InvalidOperation.Ipv6CountExceeded",
            "AssignIpv6Addresses", NetworkInterfaceId=eni, Ipv6AddressCount=7)
    unassign(Ipv6Address=six)
    unassign(Ipv6Prefix=wide)
    refused("UnassignIpv6Addresses again", "InvalidIp.IpUnassigned",
            "UnassignIpv6Addresses", NetworkInterfaceId=eni, Ipv6Address=six[:1])
    seen = account.eni(eni)
    equal("UnassignIpv6Addresses leaves one and no prefix",
          (len(seen["Ipv6Sets"]["Ipv6Set"]), seen["Ipv6PrefixSets"]["Ipv6PrefixSet"]), (1, []))


def attributes_and_tags(account, eni, second):
    call = account.call
    call("ModifyNetworkInterfaceAttribute",
         NetworkInterfaceId=eni, Description="changed", SecurityGroupId=[account.lab.group])
    about = call("DescribeNetworkInterfaceAttribute", NetworkInterfaceId=eni)
    equal("Modify shows in Attribute", (about["Description"], about["Status"]), ("changed", "InUse"))
    equal("Attribute shows connection tracking",
          about["ConnectionTrackingConfiguration"]["TcpEstablishedTimeout"], 910)
    call("TagResources", ResourceType="eni", ResourceId=[eni, second], Tag=[{"Key": "late", "Value": ""}])
    late = lambda: sorted(account.ids(Tag=[{"Key": "late"}]))
    equal("TagResources reaches both", late(), sorted([eni, second]))
    call("UntagResources", ResourceType="eni", ResourceId=[eni], TagKey=["late"])
    equal("UntagResources takes it from one", late(), [second])


def life(account):
    """All of an ENI's life."""
    before = account.free()
    eni = creation(account)
    pages(account)
    second = attachments(account, eni)
    addresses(account, eni)
    attributes_and_tags(account, eni, second)
    for one in (eni, second):
        account.detach(one)
    account.refused("Detach of a detached ENI", "InvalidOperation.InvalidEniState", "DetachNetworkInterface",
                    NetworkInterfaceId=eni, InstanceId=account.node)
    for one in (eni, second):
        account.delete(one)
        wait_for("Delete ends it", 20, lambda: account.states(one) == [] or account.states(one))
    account.refused("Delete again", "InvalidEniId.NotFound", "DeleteNetworkInterface", NetworkInterfaceId=eni)
    equal("all addresses are back", account.free(), before)
