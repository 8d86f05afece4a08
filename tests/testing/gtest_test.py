#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""FdLeakListener under a real GoogleTest: which tests fail, what is printed, and the exit status."""

import json
import os
import pathlib
import re
import tempfile
import unittest

from running import line_of, run

SUITE = os.environ["SUITE"]
MAIN_SUITE = os.environ["MAIN_SUITE"]


def outcomes(text):
    """Test -> what the printer said of it."""
    found = {}
    for verdict, name in re.findall(r"^\[ +(OK|FAILED|SKIPPED) +\] (\w+\.\w+)(?: \(|$)", text, re.M):
        found.setdefault(name, verdict)
    return found


def section(text, test):
    """What was printed while `test` ran."""
    return re.search(r"^\[ RUN +\] %s\n(.*?)^\[ +(?:OK|FAILED|SKIPPED)" % re.escape(test), text, re.M | re.S).group(1)


LEAKING = {"Leaks.One", "Leaks.Pair", "Leaks.HundredEventfds", "Leaks.Reuse", "Leaks.InAFailedTest", "Lazy.First"}
OTHERS = "--gtest_filter=-Exhausting.*"


class Listener(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.report = pathlib.Path(directory.name) / "report.json"
        cls.ran = run(SUITE, OTHERS, "--gtest_output=json:%s" % cls.report)
        cls.text = cls.ran.stdout
        cls.report_json = json.loads(cls.report.read_text())

    def test_the_tests_that_leak_fail_and_no_other(self):
        found = outcomes(self.text)
        self.assertEqual({name for name, verdict in found.items() if verdict == "FAILED"}, LEAKING, self.text)
        self.assertEqual({name for name, verdict in found.items() if verdict == "SKIPPED"}, {"Healthy.Skipped"})
        self.assertGreaterEqual(sum(verdict == "OK" for verdict in found.values()), 12)

    def test_the_program_fails(self):
        self.assertEqual(self.ran.returncode, 1)

    def test_the_report_file_agrees(self):
        failed = {"%s.%s" % (suite["name"], test["name"]) for suite in self.report_json["testsuites"]
                  for test in suite["testsuite"] if test.get("failures")}
        # A suite's own failure is a test without a name there.
        self.assertEqual({name for name in failed if not name.endswith(".")}, LEAKING)

    def test_a_leak_is_told_by_number_kind_and_target(self):
        self.assertRegex(section(self.text, "Leaks.One"),
                         r"1 descriptor that was opened in this test is still open\n +fd \d+  device  /dev/null\n")
        self.assertEqual(len(re.findall(r"fd \d+  unix", section(self.text, "Leaks.Pair"))), 2)

    def test_a_leak_of_many_is_counted_and_cut(self):
        found = section(self.text, "Leaks.HundredEventfds")
        self.assertIn("100 descriptors that were opened in this test are still open", found)
        self.assertEqual(len(re.findall(r"fd \d+  eventfd", found)), 8)
        self.assertIn("and 92 more", found)

    def test_without_the_probe_it_says_how_to_see_the_line(self):
        self.assertIn("loopscope check -- COMMAND", section(self.text, "Leaks.One"))

    def test_the_line_of_the_test_is_given(self):
        self.assertRegex(section(self.text, "Leaks.One"), r"gtest_suite\.cpp:\d+: Failure")

    def test_a_suite_that_leaks_outside_its_tests_fails(self):
        found = outcomes(self.text)
        self.assertEqual((found["Forgetful.First"], found["Forgetful.Second"]), ("OK", "OK"))
        self.assertIn("1 descriptor that was opened by the test suite, outside its tests, is still open", self.text)
        self.assertEqual(self.text.count("outside its tests,"), 1)
        alone = run(SUITE, "--gtest_filter=Forgetful.*")
        self.assertEqual(alone.returncode, 1, alone.stdout)

    def test_healthy_tests_alone_succeed(self):
        for arguments in (["--gtest_filter=Healthy*:Shared.*"],
                          ["--gtest_filter=Healthy*:Shared.*", "--gtest_repeat=3", "--gtest_shuffle"],
                          ["--gtest_filter=HealthyDeathTest*", "--gtest_death_test_style=threadsafe"]):
            ran = run(SUITE, *arguments)
            self.assertEqual(ran.returncode, 0, ran.stdout)
            self.assertNotIn("still open", ran.stdout)

    def test_judged_with_the_suite_what_the_suite_closes_is_fine(self):
        ran = run(SUITE, "--judge=suite", "--gtest_filter=Lazy.*")
        self.assertEqual(ran.returncode, 0, ran.stdout)
        ran = run(SUITE, "--judge=suite", "--gtest_filter=Leaks.One:Leaks.Pair")
        self.assertEqual(ran.returncode, 1, ran.stdout)
        self.assertIn("opened in test One is still open", ran.stdout)
        self.assertIn("opened in test Pair are still open", ran.stdout)
        self.assertNotIn("outside its tests", ran.stdout)

    def test_a_test_that_leaves_no_descriptor_is_judged(self):
        for probe in (False, True):
            ran = run("bash", "-c", 'ulimit -n 256; exec "$0" "$@"', SUITE, "--gtest_filter=Exhausting.*", probe=probe)
            found = section(ran.stdout, "Exhausting.UntilNoneIsLeft")
            self.assertRegex(found, r"25\d descriptors that were opened in this test are still open")
            self.assertIn("device  /dev/null", found)
            self.assertEqual(ran.returncode, 1)

    def test_with_the_main_of_googletest(self):
        ran = run(MAIN_SUITE)
        self.assertEqual(outcomes(ran.stdout), {"OwnMain.Leaks": "FAILED", "OwnMain.Healthy": "OK"}, ran.stdout)
        self.assertEqual(ran.returncode, 1)


class WithTheProbe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ran = run(SUITE, OTHERS, probe=True)
        cls.text = cls.ran.stdout

    def test_the_same_tests_fail(self):
        found = outcomes(self.text)
        self.assertEqual({name for name, verdict in found.items() if verdict == "FAILED"}, LEAKING, self.text)
        self.assertEqual(self.ran.returncode, 1)

    def test_the_line_that_opened_is_named(self):
        for test, function, mark in (("Leaks.One", "suites::open_null", "open_null"),
                                     ("Leaks.Pair", "suites::open_pair", "pair"),
                                     ("Leaks.HundredEventfds", "suites::open_eventfd", "open_eventfd")):
            found = section(self.text, test)
            self.assertIn("opened at %s (openers.h:%d)" % (function, line_of(mark)), found)
            # GoogleTest's own "FILE:LINE: Failure" too, for editors.
            self.assertRegex(found, r"openers\.h:%d: Failure" % line_of(mark))
            self.assertIn("called by (anonymous namespace)::%s_Test::TestBody (gtest_suite.cpp:"
                          % test.replace(".", "_"), found)
            self.assertNotIn("loopscope check", found)

    def test_the_ledger_tells_descriptors_of_one_inode_apart(self):
        self.assertIn("found 1\n", section(self.text, "LedgerOnly.ReuseOfAnEventfd"))
        bare = run(SUITE, "--gtest_filter=LedgerOnly.*").stdout
        self.assertIn("found 0\n", section(bare, "LedgerOnly.ReuseOfAnEventfd"))

    def test_one_place_is_told_once(self):
        self.assertEqual(section(self.text, "Leaks.HundredEventfds").count("opened at"), 1)


if __name__ == "__main__":
    unittest.main()
