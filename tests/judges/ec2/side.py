"""An EC2 as the scenario sees it: a client, and the ids of what it stands on. The lab is one side, moto the other."""
import contextlib
import logging
import os
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lab import Lab
from verdict import check, equal, wait_for

# One try: a refusal must be seen, not repeated. And no proxy between us.
ONE_TRY = {"retries": {"total_max_attempts": 1}, "proxies": {}}


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


class Side:
    """Has, beside the client: `vpc`, `subnet` and `group`, `instance` with room for two more ENIs, and `spare`, an instance
    that may be terminated."""

    ec2: object
    vpc: str
    subnet: str
    group: str
    instance: str
    spare: str

    def create(self, subnet=None, **more):
        made = self.ec2.create_network_interface(SubnetId=subnet or self.subnet, **more)
        return made["NetworkInterface"]

    def described(self, instance):
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def eni(self, eni):
        return self.ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]

    def by(self, name, *values):
        """The ENIs that a filter finds."""
        seen = self.ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": list(values)}])
        return {e["NetworkInterfaceId"] for e in seen["NetworkInterfaces"]}

    def addresses(self, eni):
        return [a["PrivateIpAddress"] for a in self.eni(eni)["PrivateIpAddresses"]]

    def free(self, subnet=None):
        about = self.ec2.describe_subnets(SubnetIds=[subnet or self.subnet])["Subnets"][0]
        return about["AvailableIpAddressCount"]

    def attach(self, eni, device, instance=None):
        made = self.ec2.attach_network_interface(
            NetworkInterfaceId=eni, InstanceId=instance or self.instance, DeviceIndex=device)
        wait_for(f"device {device} is attached", 20, lambda: self.attachment(eni) == "attached")
        return made["AttachmentId"]

    def attachment(self, eni):
        return self.eni(eni).get("Attachment", {}).get("Status")

    def detach(self, eni, attachment):
        self.ec2.detach_network_interface(AttachmentId=attachment)
        wait_for("detached", 20, lambda: self.eni(eni)["Status"] == "available" or self.eni(eni)["Status"])

    def delete(self, *enis):
        for eni in enis:
            self.ec2.delete_network_interface(NetworkInterfaceId=eni)


class Ec2Lab(Lab, Side):
    """The lab under judgement and clients for it."""

    def __init__(self, path):
        super().__init__(path)
        self.vpc = self.about["vpc"]["id"]
        self.subnet, self.small = self.named("a"), self.named("c")
        self.instance, self.spare = self.named("n1", "instances"), self.named("n2", "instances")
        self.ec2 = self.client()

    def client(self, **changes):
        fields = {
            "endpoint_url": self.about["endpoints"]["api"],
            "region_name": self.region,
            "aws_access_key_id": self.about["credentials"]["accessKeyId"],
            "aws_secret_access_key": self.about["credentials"]["accessKeySecret"],
            "config": Config(**ONE_TRY),
        }
        fields.update(changes)
        return boto3.client("ec2", **fields)


@contextlib.contextmanager
def moto():
    """The address of moto, an EC2 that neither we nor AWS wrote: in this process, on loopback."""
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # thousands, and none is needed
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of each request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        # Its addresses are drawn without a look at those that are taken: always the same ones then.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(urllib.request.Request(url + "/moto-api/seed?a=1", method="POST")).close()
        yield url
    finally:
        server.stop()


class Moto(Side):
    """A VPC in moto that is like the lab's."""

    def __init__(self, url, region):
        self.ec2 = ec2 = boto3.client(
            "ec2", endpoint_url=url, region_name=region, aws_access_key_id="testid",
            aws_secret_access_key="testsecret", config=Config(**ONE_TRY))
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
        blocks = ec2.describe_vpcs(VpcIds=[self.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"]
        made = ec2.create_subnet(
            VpcId=self.vpc, CidrBlock="10.0.0.0/20", AvailabilityZone=region + "a",
            Ipv6CidrBlock=blocks[0]["Ipv6CidrBlock"].replace("/56", "/64"))
        self.subnet = made["Subnet"]["SubnetId"]
        ec2.create_tags(Resources=[self.subnet], Tags=[{"Key": "Name", "Value": "a"}])
        self.group = ec2.create_security_group(GroupName="pods", Description="pods", VpcId=self.vpc)["GroupId"]
        made = ec2.run_instances(
            ImageId="ami-00000000000000001", MinCount=2, MaxCount=2, InstanceType="m7i.large", SubnetId=self.subnet)
        self.instance, self.spare = (i["InstanceId"] for i in made["Instances"])
        ec2.create_tags(Resources=[self.instance], Tags=[{"Key": "Name", "Value": "n1"}])
