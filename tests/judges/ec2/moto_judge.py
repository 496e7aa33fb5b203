#!/usr/bin/env python3
"""What moto says, an EC2 that neither we nor AWS wrote: plays scenario.py on it, as judge.py does on the lab, and sends it the
recorded EC2 requests of our client to look what it understood.

Usage: moto_judge.py FOLDER        (FOLDER: of `tideway-lab requests -o`, or what our client's tests wrote)

moto is right about the format and wrong about much else (limits, addresses, tokens, prefixes), so of a request only the
format is judged: every one that the lab granted must be granted by moto with an answer that botocore can read, and where the
answer shows what was asked for (ids, tags, counts), it must show that. Ids of the lab become ids of moto's world; what an id
stands for is made there when it is first seen. One action is one check.
"""
import collections
import json
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import botocore.parsers
import botocore.session

import scenario
from side import Moto, moto
from verdict import check, end, on
from verify_requests import REFUSED

# Requests of one form (action and names of its parameters) that are sent; a thousand creates say no more than these.
OF_A_FORM = 25
ID = re.compile(r"(subnet|sg|vpc|i|eni|eni-attach)-[0-9a-f]{8,17}")


class World(Moto):
    """What the ids of the lab stand for in moto."""

    def __init__(self, url, region):
        super().__init__(url, region)
        self.lab = None
        self.one = {"vpc": self.vpc, "subnet": self.subnet, "sg": self.group, "i": self.instance}
        self.made = {}
        self.device = 1

    def id(self, text):
        """What an id of the lab stands for."""
        kind = ID.fullmatch(text)[1]
        if kind in self.one:
            return self.one[kind]
        if text not in self.made:
            self.made[text] = self.create()["NetworkInterfaceId"]
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
        with on("moto"):
            other = Moto(url, "us-east-1")
            for part in (*scenario.PARTS, scenario.termination):
                part(other)
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
