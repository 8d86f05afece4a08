#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a JUnit XML report as strictly as the strictest of its readers (Jenkins' xUnit plugin has a
schema; GitLab and Jenkins' JUnit plugin take what is there), and prints what it holds as JSON.

usage: junit_shape.py FILE
"""

import json
import re
import sys
import xml.etree.ElementTree

SUITES = {"name", "time", "tests", "failures", "errors"}
SUITE = SUITES | {"skipped", "timestamp"}
CASE = {"name", "time", "classname"}
OUTCOMES = {"failure": {"type", "message"}, "error": {"type", "message"}, "skipped": {"message"}}
TIME = re.compile(r"\d+\.\d{3}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def expect(condition, what):
    if not condition:
        sys.exit(f"not JUnit: {what}")


def read_case(element):
    expect(element.tag == "testcase", f"<{element.tag}> in a suite")
    expect(set(element.attrib) == CASE, f"attributes of a case: {sorted(element.attrib)}")
    expect(element.get("classname") and element.get("name"), "a case without a name")
    expect(TIME.fullmatch(element.get("time")), f"time {element.get('time')}")
    case = {"classname": element.get("classname"), "name": element.get("name"), "outcome": "passed",
            "type": None, "message": None, "body": None, "output": None}
    for child in element:
        expect(len(child) == 0, f"elements in <{child.tag}>")
        if child.tag == "system-out":
            expect(case["output"] is None, "two outputs")
            case["output"] = child.text
            continue
        expect(child.tag in OUTCOMES, f"<{child.tag}> in a case")
        expect(case["outcome"] == "passed", "two outcomes")
        expect(set(child.attrib) <= OUTCOMES[child.tag], f"attributes of <{child.tag}>")
        expect(child.get("message"), f"<{child.tag}> without a message")
        case.update(outcome=child.tag, type=child.get("type"), message=child.get("message"),
                    body=child.text)
    return case


def main():
    root = xml.etree.ElementTree.parse(sys.argv[1]).getroot()
    expect(root.tag == "testsuites" and set(root.attrib) <= SUITES, "the root")
    expect(len(root) == 1 and root[0].tag == "testsuite", "other than one suite")
    suite = root[0]
    expect(set(suite.attrib) <= SUITE, f"attributes of the suite: {sorted(suite.attrib)}")
    expect("timestamp" not in suite.attrib or TIMESTAMP.fullmatch(suite.get("timestamp")),
           f"timestamp {suite.get('timestamp')}")
    cases = [read_case(element) for element in suite]
    names = [(case["classname"], case["name"]) for case in cases]
    expect(len(set(names)) == len(names), "two cases of one name")
    for element in (root, suite):
        expect(TIME.fullmatch(element.get("time")), f"time {element.get('time')}")
        counts = {"tests": len(cases)}
        for attribute, outcome in (("failures", "failure"), ("errors", "error"),
                                   ("skipped", "skipped")):
            counts[attribute] = sum(case["outcome"] == outcome for case in cases)
        for attribute, count in counts.items():
            if attribute in element.attrib:
                expect(element.get(attribute) == str(count),
                       f"{attribute}={element.get(attribute)}, there are {count}")
    json.dump({"name": suite.get("name"), "timestamp": suite.get("timestamp"), "cases": cases},
              sys.stdout)


main()
