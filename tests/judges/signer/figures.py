#!/usr/bin/env python3
"""Judges what a live daemon served at /metrics with the official parser of OpenMetrics.

Usage: figures.py BODY HEADERS      (as `curl -D HEADERS -o BODY` keeps them)

The daemon has served eight ADDs and one DEL, with an address of each family. Prints each check and at the end `N passed, M failed`.
"""
import pathlib
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from verdict import check, end


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    headers = pathlib.Path(sys.argv[2]).read_text(encoding="utf-8").lower()
    check("the content type is OpenMetrics 1.0", "content-type: application/openmetrics-text; version=1.0.0" in headers, headers)
    try:
        families = {family.name: family for family in text_string_to_metric_families(text)}
    except ValueError as error:
        check("the text is OpenMetrics", False, str(error))
        families = {}
    else:
        check("the text is OpenMetrics", True)
    check("every name has our prefix", all(name.startswith("tideway_") for name in families), list(families))
    check("every figure says what it is", all(f.documentation for f in families.values()))
    check("no figure lacks its type", all(f.type != "unknown" for f in families.values()))

    def value(name, **labels):
        family = name.removesuffix("_total").removesuffix("_count")
        found = [s.value for s in families[family].samples
                 if s.name == name and labels.items() <= s.labels.items()] if family in families else []
        return sum(found)

    for what, seen, wanted in [
        ("assigned addresses", value("tideway_pool_addresses", state="assigned"), 14),
        ("ENIs ready", value("tideway_enis", state="ready"), 1),
        ("ADD requests", value("tideway_cni_request_duration_seconds_count", verb="ADD"), 8),
        ("DEL requests", value("tideway_cni_request_duration_seconds_count", verb="DEL"), 1),
        ("CreateNetworkInterface calls", value("tideway_cloud_calls_total", action="CreateNetworkInterface"), 1),
    ]:
        check(f"{what}: {wanted}", seen == wanted, seen)
    check("no call of the cloud failed",
          value("tideway_cloud_calls_total") == value("tideway_cloud_calls_total", outcome="ok"))
    check("journal commits are counted", value("tideway_journal_commits_total", outcome="ok") > 0)
    end()


if __name__ == "__main__":
    main()
