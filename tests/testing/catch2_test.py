#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Catch2 listener under the real framework: which test cases fail, and what is printed."""

import os
import re
import unittest
import xml.etree.ElementTree

from running import line_of, run

SUITE = os.environ["SUITE"]
LEAKING = {"leaks one", "leaks in one section", "leaks and throws"}
CASES = LEAKING | {"healthy", "healthy with sections", "elsewhere"}


def successes(report):
    """Test case -> whether it succeeded, by Catch2's XML."""
    root = xml.etree.ElementTree.fromstring(report)
    return {case.get("name"): case.find("OverallResult").get("success") == "true" for case in root.iter("TestCase")}


class Listener(unittest.TestCase):
    def assert_failed(self, ran, assertions):
        """The status of Catch2 2 is how many assertions failed, that of 3 is 42."""
        self.assertIn(ran.returncode, (assertions, 42), ran.stdout)

    def test_the_test_cases_that_leak_fail_and_no_other(self):
        ran = run(SUITE, "-r", "xml")
        found = successes(ran.stdout)
        self.assertEqual(set(found), CASES)
        self.assertEqual({name for name, success in found.items() if not success}, LEAKING)
        # Three leaks and one exception.
        self.assert_failed(ran, assertions=4)

    def test_each_leak_is_told_once_by_number_kind_and_target(self):
        ran = run(SUITE)
        self.assertEqual(len(re.findall(r"1 descriptor that was opened in this test case is still open", ran.stdout)),
                         3, ran.stdout)
        self.assertEqual(len(re.findall(r"fd \d+  device  /dev/null", ran.stdout)), 2)
        self.assertEqual(len(re.findall(r"fd \d+  eventfd  anon_inode:\[eventfd\]", ran.stdout)), 1)
        # Catch2 breaks long lines.
        self.assertIn("loopscope check -- COMMAND", " ".join(ran.stdout.split()))

    def test_healthy_test_cases_alone_succeed(self):
        ran = run(SUITE, "healthy*,elsewhere")
        self.assertEqual(ran.returncode, 0, ran.stdout)
        self.assertNotIn("still open", ran.stdout)

    def test_it_stops_at_the_first_failure_when_told(self):
        ran = run(SUITE, "--abort")
        self.assert_failed(ran, assertions=1)
        self.assertEqual(ran.stdout.count("still open"), 1, ran.stdout)

    def test_with_the_probe_the_line_is_named(self):
        ran = run(SUITE, probe=True)
        self.assert_failed(ran, assertions=4)
        place = "opened at suites::open_null (openers.h:%d)" % line_of("open_null")
        self.assertEqual(ran.stdout.count(place), 2, ran.stdout)
        self.assertIn("opened at suites::open_eventfd (openers.h:%d)" % line_of("open_eventfd"), ran.stdout)


if __name__ == "__main__":
    unittest.main()
