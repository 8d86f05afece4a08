# SPDX-License-Identifier: Apache-2.0
"""Tornado's own test suite, run as `python3 -m tornado.test.runtests` runs it, with each test's outcome in a JSON file besides.

    python3 tornado_suite.py OUTCOMES.json [the arguments of runtests]
"""
import json
import runpy
import sys
import unittest

path = sys.argv.pop(1)
outcomes = {}


class Result(unittest.TextTestResult):
    """The worst that was said of a test is its outcome."""

    def addSuccess(self, test):
        outcomes.setdefault(test.id(), "passed")
        super().addSuccess(test)

    def addSkip(self, test, reason):
        outcomes.setdefault(test.id(), "skipped")
        super().addSkip(test, reason)

    def addFailure(self, test, err):
        outcomes[test.id()] = "failed"
        super().addFailure(test, err)

    def addError(self, test, err):
        outcomes[test.id()] = "failed"
        super().addError(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            outcomes[test.id()] = "failed"
        super().addSubTest(test, subtest, err)

    def addExpectedFailure(self, test, err):
        outcomes.setdefault(test.id(), "passed")
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test):
        outcomes[test.id()] = "failed"
        super().addUnexpectedSuccess(test)


unittest.TextTestRunner.resultclass = Result
try:
    runpy.run_module("tornado.test.runtests", run_name="__main__", alter_sys=True)
finally:
    with open(path, "w", encoding="utf-8") as out:
        json.dump(outcomes, out)
