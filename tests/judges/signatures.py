"""Recorded requests before a signer that we did not write: the files, the counting, and the command line.

FOLDER is the output of `tideway-lab requests -o FOLDER`. At least N requests (default 1) must have been verified, and at
least one of every NAME. Requests that cannot be judged are left out, and their number is said. Prints `N passed, M failed`,
where one action is one check.
"""
import argparse
import collections
import json
import pathlib

from verdict import check, end


def arguments():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("--least", type=int, default=1)
    options.add_argument("--action", nargs="*", default=[])
    return options


def verify(signer, options, complaints):
    """`complaints` lists what is wrong with a request; None: it cannot be judged."""
    good, bad, left_out = collections.Counter(), collections.Counter(), 0
    for file in sorted(options.folder.glob("*.json")):
        request = json.loads(file.read_text(encoding="utf-8"))
        # The lab refused it before it knew the key: there is no secret to sign with.
        wrong = complaints(request) if request["access_key_secret"] else None
        if wrong is None:
            left_out += 1
        elif wrong:
            bad[request["name"]] += 1
            print(f"     {file.name} {request['name']}: {'; '.join(wrong)}")
        else:
            good[request["name"]] += 1
    for action in sorted({*good, *bad}):
        check(f"requests of {action}: {good[action]} good, {bad[action]} bad", not bad[action])
    for action in options.action:
        if action not in good and action not in bad:
            check(f"{action} was seen", False)
    total = good.total()
    print(f"{signer} verified {total} requests, bad {bad.total()}, left out {left_out}")
    if total < options.least:
        check(f"at least {options.least} requests", False, total)
    end()
