"""What the lab refuses each generation of the SDK: bad parameters, full subnets, limits, keys and dates, and by request."""
import json
from unittest import mock

from generations import token
from verdict import check, equal


def parameters(account):
    """Each with all else right."""
    eni = account.create()
    wish = account.wish
    twenty_one = [{"Key": f"k{n}", "Value": "v"} for n in range(21)]
    tag = lambda **more: {"ResourceType": "eni", "ResourceId": [eni], "Tag": twenty_one[:1], **more}
    create, tags = "CreateNetworkInterface", "TagResources"
    for what, code, action, params in [
        ("Create in an unknown vSwitch", "InvalidVSwitchId.NotFound", create, wish(VSwitchId="vsw-none")),
        ("Create with an unknown group", "InvalidSecurityGroupId.NotFound", create, wish(SecurityGroupIds=["sg-none"])),
        ("Create without a group", "MissingParameter", create, {"VSwitchId": account.vswitch}),
        ("Create with two ways to name a group", "InvalidParameter.Conflict", create, wish(SecurityGroupId=account.lab.group)),
        ("Create with a reserved address", "InvalidIp.Address", create, wish(PrimaryIpAddress=account.lab.vswitch["gatewayV4"])),
        ("Create with too many addresses", "InvalidParameter", create, wish(SecondaryPrivateIpAddressCount=50)),
        ("Create with IPv6 where there is none", "InvalidVSwitch.Ipv6NotTurnOn", create,
         wish(VSwitchId=account.lab.named("b"), Ipv6AddressCount=1)),
        ("Create with a bad name", "InvalidNetworkInterfaceName.Malformed", create, wish(NetworkInterfaceName="1 2")),
        ("Create with a bad description", "InvalidDescription.Malformed", create, wish(Description="http://x")),
        ("Create with a tag twice", "Duplicate.TagKey", create, wish(Tag=twenty_one[:1] * 2)),
        ("Create with an unusable tag value", "InvalidTagValue.Malformed", create, wish(Tag=[{"Key": "k", "Value": "http://x"}])),
        ("Create of a trunk", "InvalidInstanceType.ValueNotSupported", create, wish(InstanceType="Trunk")),
        ("Create in another region", "InvalidRegionId.NotFound", create, wish(RegionId="cn-nowhere")),
        ("DescribeVSwitchAttributes of an unknown vSwitch", "InvalidVSwitchId.NotFound",
         "DescribeVSwitchAttributes", {"VSwitchId": "vsw-none"}),
        ("Describe with a made-up page token", "InvalidParameter.NextToken", "DescribeNetworkInterfaces", {"NextToken": "guess"}),
        ("TagResources with a reserved key", "InvalidTagKey.Malformed", tags, tag(Tag=[{"Key": "acs:x", "Value": "y"}])),
        ("TagResources with 21 tags", "NumberExceed.Tags", tags, tag(Tag=twenty_one)),
        ("TagResources of an unknown ENI", "InvalidResourceId.NotFound", tags, tag(ResourceId=["eni-none"])),
        ("TagResources of 51 ENIs", "NumberExceed.ResourceIds", tags, tag(ResourceId=[eni] * 51)),
        ("TagResources of another kind", "InvalidResourceType.NotFound", tags, tag(ResourceType="disk")),
    ]:
        account.refused(what, code, action, **params)
    account.delete(eni)


def limits(account):
    """A /26 that is fragmented and then full, and what the account may have in a group and in the VPC."""
    small, other = account.lab.named("c"), account.lab.named("other", "securityGroups")
    refused = lambda what, code, **more: account.refused(what, code, "CreateNetworkInterface", **account.wish(**more))
    equal("a /26 has 60", account.free(small), 60)
    wide = account.create(VSwitchId=small, Ipv4PrefixCount=2)
    refused("no third block of sixteen", "InvalidVSwitchId.IpNotEnough", VSwitchId=small, Ipv4PrefixCount=1)
    account.delete(wide)
    made = [account.create(VSwitchId=small, PrimaryIpAddress=f"10.0.2.{n}") for n in (24, 40)]
    equal("58 are free", account.free(small), 58)
    refused("but no sixteen in a row", "InvalidVSwitchId.IpNotEnough", VSwitchId=small, Ipv4PrefixCount=1)
    made.append(account.create(VSwitchId=small, SecondaryPrivateIpAddressCount=49, SecurityGroupIds=[other]))
    made.append(account.create(VSwitchId=small, SecondaryPrivateIpAddressCount=7))
    equal("none is free", account.free(small), 0)
    refused("a full vSwitch", "InvalidVSwitchId.IpNotEnough", VSwitchId=small)
    account.refused("another address of it", "InvalidVSwitchId.IpNotEnough", "AssignPrivateIpAddresses",
                    NetworkInterfaceId=made[0], SecondaryPrivateIpAddressCount=1)
    # 50 are in the one group, 12 in the other: 80 may be in each and 100 in the VPC.
    refused("more addresses than a group holds", "SecurityGroupInstanceLimitExceed",
            SecondaryPrivateIpAddressCount=30, SecurityGroupIds=[other])
    refused("more addresses than the VPC holds", "QuotaExceeded.PrivateIpAddress", SecondaryPrivateIpAddressCount=38)
    account.delete(*made)
    equal("all are free again", account.free(small), 60)


def gate(account):
    """Keys, signatures and dates."""
    lab, sdk = account.lab, account.sdk
    seen = lambda **keys: type(sdk)(lab, **keys).call("DescribeNetworkInterfaces")["TotalCount"]
    wrong = lambda what, code, **keys: account.fails(what, code, lambda: seen(**keys))
    wrong("an unknown key", "InvalidAccessKeyId.NotFound", key="nobody")
    wrong("a wrong secret", "SignatureDoesNotMatch", secret="wrong")
    wrong("a token that the key has not", "InvalidSecurityToken.Malformed", token="x")
    with mock.patch.object(*sdk.clock, lambda: "2020-01-31T12:00:00Z"):
        wrong("a date of years ago", "InvalidTimeStamp.Expired")
    once = token()
    with mock.patch.object(*sdk.nonce, lambda: once):
        check("a nonce once", seen() >= 1)
        wrong("a nonce twice", "SignatureNonceUsed")
    check("HTTPS with the lab's authority works", seen(tls=True) >= 1)

    role = lab.metadata("/latest/meta-data/ram/security-credentials/")
    given = json.loads(lab.metadata("/latest/meta-data/ram/security-credentials/" + role))
    keys = {"key": given["AccessKeyId"], "secret": given["AccessKeySecret"]}
    check("the role's credentials are taken", seen(token=given["SecurityToken"], **keys) >= 1)
    wrong("the role's credentials with another token", "InvalidSecurityToken.MismatchWithAccessKey", token="wrong", **keys)
    wrong("the role's credentials without one", "MissingSecurityToken", **keys)

    check("GET is as good as POST", seen(method="GET") >= 1)
    equal("it was GET", lab.control("GET", "/requests")[-1]["method"], "GET")


def faults(account):
    """What the lab does wrong on request."""
    lab = account.lab
    look = lambda what, code: account.refused(what, code, "DescribeNetworkInterfaces")
    lab.fault(kind="throttle", action="DescribeNetworkInterfaces", count=1, retryAfter=7)
    look("throttling", "Throttling.User")
    lab.fault(kind="server-error", code="ServiceUnavailable", count=1)
    look("server error", "ServiceUnavailable")
    lab.fault(kind="deny", action="DescribeNetworkInterfaces", count=1)
    look("a denied action", "Forbidden.RAM")
    eni = account.create()
    lab.fault(kind="stale-reads", ms=30000, count=1)
    equal("a new ENI is unknown for a while", account.ids(NetworkInterfaceId=[eni]), [])
    equal("and then it is there", account.ids(NetworkInterfaceId=[eni]), [eni])

    lab.fault(kind="lost-answer", action="CreateNetworkInterface", count=1)
    wish = account.wish(ClientToken=token())
    count = lambda: account.call("DescribeNetworkInterfaces")["TotalCount"]
    before = count()
    try:
        account.call("CreateNetworkInterface", **wish)
        check("a lost answer is no success", False)
    except Exception:
        check("a lost answer is no success", True)
    equal("a lost answer has its effect", count(), before + 1)
    lost = account.call("CreateNetworkInterface", **wish)["NetworkInterfaceId"]
    equal("the token finds the lost ENI", count(), before + 1)
    account.delete(eni, lost)
