#!/usr/bin/env python3
"""Changes of one ENI's addresses exclude each other while one is in work, which is where calls take time.

Usage: conflict.py LAB_JSON        (a lab with `--latency real`)

Both generations of the SDK send two Assigns each at once: one is granted, the others are refused. Prints each check and at
the end `N passed, M failed`.
"""
import sys
from concurrent.futures import ThreadPoolExecutor

from generations import GENERATIONS, AliyunLab
from scenario import Account
from verdict import end, equal


def outcomes(lab, eni):
    """What each generation is told twice, all four at once."""

    def assign(sdk):
        try:
            sdk.call("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1)
            return sdk.name, "OK"
        except Exception as error:
            return sdk.name, sdk.code(error)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(assign, [generation(lab) for generation in GENERATIONS * 2]))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lab = AliyunLab(sys.argv[1])
    account = Account(GENERATIONS[0](lab), lab)
    eni = account.create()
    # One change takes half a second at least. On a machine that starts a thread later than that, two pass: once more then.
    for _ in range(8):
        told = outcomes(lab, eni)
        if [code for _, code in told].count("OK") == 1:
            break
    equal("one of four changes at once is granted", [code for _, code in told].count("OK"), 1)
    for generation in GENERATIONS:
        codes = {code for name, code in told if name == generation.name} - {"OK"}
        equal(f"{generation.name}: another change in work -> Operation.Conflict", codes, {"Operation.Conflict"})
    account.delete(eni)
    end()


if __name__ == "__main__":
    main()
