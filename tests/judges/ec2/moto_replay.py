#!/usr/bin/env python3
"""Sends recorded EC2 requests of our client to moto, an EC2 that neither we nor AWS wrote, and looks what it understood.

Usage: moto_replay.py FOLDER

moto is right about the format and wrong about much else (limits, addresses, tokens, prefixes), so only the format is judged:
every request that the lab granted must be granted by moto with an answer that botocore can read, and where the answer shows
what was asked for (ids, tags, counts), it must show that. Ids of the lab become ids of moto's world; what an id stands for
is made there when it is first seen. One action is one check. moto listens on loopback and ends with this program.
"""
import collections
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.parsers
import botocore.session
from botocore.config import Config

from verdict import check, end
from verify_requests import REFUSED

# Requests of one form (action and names of its parameters) that are sent; a thousand creates say no more than these.
OF_A_FORM = 25
ID = re.compile(r"(subnet|sg|vpc|i|eni|eni-attach)-[0-9a-f]{8,17}")


@contextlib.contextmanager
def moto():
    """The address of a moto that has started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # No logs of each request, and no proxy between us.
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "NO_PROXY": "*"}, **quiet)
    try:
        late = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > late:
                    raise SystemExit("moto did not start")
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class World:
    """A VPC in moto, and what the ids of the lab stand for in it."""

    def __init__(self, url, region):
        self.ec2 = boto3.client(
            "ec2", endpoint_url=url, region_name=region, aws_access_key_id="testid",
            aws_secret_access_key="testsecret", config=Config(retries={"total_max_attempts": 1}, proxies={}))
        ec2 = self.ec2
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
        blocks = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"]
        subnet = ec2.create_subnet(
            VpcId=vpc, CidrBlock="10.0.0.0/20", Ipv6CidrBlock=blocks[0]["Ipv6CidrBlock"].replace("/56", "/64"))
        group = ec2.create_security_group(GroupName="pods", Description="pods", VpcId=vpc)["GroupId"]
        subnet = subnet["Subnet"]["SubnetId"]
        image = ec2.describe_images()["Images"][0]["ImageId"]
        instance = ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, InstanceType="m5.large", SubnetId=subnet)
        instance = instance["Instances"][0]["InstanceId"]
        self.lab = None
        self.one = {"vpc": vpc, "subnet": subnet, "sg": group, "i": instance}
        self.made = {}
        self.device = 1

    def id(self, text):
        """What an id of the lab stands for."""
        kind = ID.fullmatch(text)[1]
        if kind in self.one:
            return self.one[kind]
        if text not in self.made:
            made = self.ec2.create_network_interface(SubnetId=self.one["subnet"])["NetworkInterface"]
            self.made[text] = made["NetworkInterfaceId"]
            if kind == "eni-attach":
                self.device += 1
                made = self.ec2.attach_network_interface(
                    NetworkInterfaceId=self.made[text], InstanceId=self.one["i"], DeviceIndex=self.device)
                self.made[text] = made["AttachmentId"]
        return self.made[text]

    def translated(self, body):
        pairs = urllib.parse.parse_qsl(body, keep_blank_values=True)
        return [(k, self.id(v) if ID.fullmatch(v) else v) for k, v in pairs]


def values(params, name):
    """Values of a parameter or of a list of them."""
    return [v for k, v in params if re.sub(r"\.\d+$", "", k) == name]


def tags(params, prefix):
    keys = {k: v for k, v in params if k.startswith(prefix)}
    return {v: keys[k.removesuffix("Key") + "Value"] for k, v in keys.items() if k.endswith(".Key")}


def created(params, answer):
    made = answer["NetworkInterface"]
    shown = {tag["Key"]: tag["Value"] for tag in made.get("TagSet", [])}
    count = lambda name: sum(map(int, values(params, name)))
    yield "tags", shown, tags(params, "TagSpecification.1.Tag.")
    yield "description", [made["Description"]], values(params, "Description")
    yield "subnet", [made["SubnetId"]], values(params, "SubnetId")
    yield "groups", [g["GroupId"] for g in made["Groups"]], values(params, "SecurityGroupId")
    yield "addresses", len(made["PrivateIpAddresses"]), 1 + count("SecondaryPrivateIpAddressCount")
    yield "IPv6 addresses", len(made.get("Ipv6Addresses", [])), count("Ipv6AddressCount")


def listed(params, answer):
    filters = {v: values(params, k.removesuffix(".Name") + ".Value") for k, v in params if k.endswith(".Name")}
    shown = answer["NetworkInterfaces"]
    if "network-interface-id" in filters:
        yield "ids", {e["NetworkInterfaceId"] for e in shown}, set(filters["network-interface-id"])
    if "attachment.instance-id" in filters:
        seen = {e["Attachment"]["InstanceId"] for e in shown}
        yield "instances", seen, set(filters["attachment.instance-id"])


def types(params, answer):
    wanted = values(params, "Filter.1.Value")
    yield "types", {t["InstanceType"] for t in answer["InstanceTypes"]} - set(wanted), set()


SHOWN = {
    "CreateNetworkInterface": created,
    "DescribeNetworkInterfaces": listed,
    "DescribeInstanceTypes": types,
    "DescribeSubnets": lambda params, answer: [
        ("subnets", {s["SubnetId"] for s in answer["Subnets"]}, set(values(params, "Filter.1.Value")))],
    "DescribeVpcs": lambda params, answer: [
        ("VPCs", {v["VpcId"] for v in answer["Vpcs"]}, set(values(params, "Filter.1.Value")))],
    "AttachNetworkInterface": lambda params, answer: [("attachment", bool(answer["AttachmentId"]), True)],
}


def in_order(file):
    """Requests of one lab after the other, each in the order in which they came: LAB-ACTION-NUMBER.json."""
    lab, _, number = file.stem.rsplit("-", 2)
    return lab, int(number)


class Replay:
    def __init__(self, url, region, model):
        self.url, self.model, self.world = url, model, World(url, region)
        self.parser = botocore.parsers.create_parser("ec2")

    def sent(self, request):
        """(parameters, status, answer)"""
        params = self.world.translated(request["body"])
        headers = {k: v for k, v in request["headers"] if k.lower() in ("authorization", "x-amz-date", "content-type")}
        again = urllib.request.Request(self.url + "/", urllib.parse.urlencode(params).encode(), headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(again, timeout=30) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        shape = self.model.operation_model(request["name"]).output_shape
        return params, status, self.parser.parse({"status_code": status, "headers": {}, "body": body}, shape)

    def complaints(self, request, lab):
        """What is wrong with how moto took a request."""
        if self.world.lab != lab:  # which has ids of its own
            self.world.lab, self.world.made = lab, {}
        try:
            params, status, answer = self.sent(request)
        except Exception as error:  # whatever moto or the parser stumbles over is what we look for
            return [f"{type(error).__name__}: {error}"]
        if status != 200:
            # What the lab refuses (a state, a limit), moto may refuse, too; but it must have understood it.
            fine = request["outcome"] != "OK" and "Code" in answer.get("Error", {}) and status < 500
            return [] if fine else [f"status {status}: {answer.get('Error')}"]
        if request["name"] in ("DeleteNetworkInterface", "DetachNetworkInterface"):
            self.world.made = {k: v for k, v in self.world.made.items() if v not in dict(params).values()}
        shown = SHOWN.get(request["name"], lambda *_: [])(params, answer)
        return [f"{what}: {seen} and not {wanted}" for what, seen, wanted in shown if seen != wanted]


def main():
    forms, good, bad = collections.Counter(), collections.Counter(), collections.Counter()
    model = botocore.session.get_session().get_service_model("ec2", "2016-11-15")
    with moto() as url:
        replay = Replay(url, "us-east-1", model)
        for file in sorted(pathlib.Path(sys.argv[1]).glob("*.json"), key=in_order):
            request = json.loads(file.read_text(encoding="utf-8"))
            # A scope of another region ends moto's answer, and it looks at no signature.
            if request["outcome"] in REFUSED:
                continue
            names = frozenset(re.sub(r"\.\d+", ".N", n) for n, _ in urllib.parse.parse_qsl(request["body"]))
            form = (request["name"], names, request["outcome"] == "OK")
            forms[form] += 1
            if forms[form] > OF_A_FORM or request["name"] not in model.operation_names:
                continue
            wrong = replay.complaints(request, in_order(file)[0])
            (bad if wrong else good)[request["name"]] += 1
            for complaint in wrong:
                print(f"     {file.name}: {complaint}")
    for action in sorted({*good, *bad}):
        check(f"moto understood {good[action]} requests of {action}, {bad[action]} not", not bad[action])
    end()


if __name__ == "__main__":
    main()
