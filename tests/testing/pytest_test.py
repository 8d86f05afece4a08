#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin under a real pytest: which tests it fails, and which line it names."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from running import HERE, SOURCE, line_of, run

FILE = HERE / "suites" / "test_leaks.py"
LEAKING = {"test_leaks_os_open": ("os.open", "open_null", "device  /dev/null"),
           "test_leaks_file": ("open", "test_leaks_file", "device  /dev/null"),
           "test_leaks_socket": ("socket", "test_leaks_socket", "socket  127.0.0.1:"),
           "test_leaks_accepted": ("accept", "test_leaks_accepted", "socket  127.0.0.1:"),
           "test_leaks_pipe": ("pipe", "test_leaks_pipe", "pipe  pipe:["),
           "test_leaks_temporary_file": ("temporary", "test_leaks_temporary_file", "file  "),
           "test_reuses_a_number": (None, None, "device  /dev/zero"),
           "test_leaks_epoll": (None, None, "eventpoll  "),
           "test_leaks_in_unittest": ("dup", "test_leaks_in_unittest", "device  /dev/null"),
           "test_last_user_of_forgetful": ("os.open", "open_null", "by fixture forgetful (scope module)")}


def interpreter_with_pytest():
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import pytest"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    raise RuntimeError("there is no pytest; on Debian: apt install python3-pytest")


class Plugin(unittest.TestCase):
    def pytest(self, *arguments):
        with tempfile.TemporaryDirectory() as directory:
            report = pathlib.Path(directory) / "report.xml"
            (pathlib.Path(directory) / "pytest.ini").write_text("[pytest]\nfd_leaks_allowed = device:/dev/fu*\n")
            ran = run(interpreter_with_pytest(), "-B", "-m", "pytest", "-p", "loopscope_pytest", "-p", "no:cacheprovider",
                      "-c", pathlib.Path(directory) / "pytest.ini", "--junit-xml=%s" % report, *arguments, FILE,
                      environment={"PYTHONPATH": str(SOURCE / "testing" / "python")}, cwd=directory)
            cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
        errors, failures = {}, set()
        for case in cases:
            if case.find("error") is not None:
                errors[case.get("name")] = case.find("error").text
            if case.find("failure") is not None:
                failures.add(case.get("name"))
        return ran, {case.get("name") for case in cases}, errors, failures

    def test_the_tests_that_leak_fail_and_name_the_line(self):
        ran, names, errors, failures = self.pytest()
        self.assertEqual(set(errors), set(LEAKING), ran.stdout)
        self.assertEqual(failures, {"test_fails_by_itself"}, ran.stdout)
        self.assertEqual(ran.returncode, 1)
        self.assertEqual(len([name for name in names if name.startswith("test_healthy")]), 11)
        for test, (mark, function, text) in LEAKING.items():
            self.assertIn(text, errors[test])
            if mark is not None:
                self.assertIn("opened at %s:%d in %s\n" % (FILE, line_of(mark, "suites/test_leaks.py"), function),
                              errors[test] + "\n")
            count = 2 if test == "test_leaks_pipe" else 1
            self.assertEqual(len(re.findall(r"^  fd \d+", errors[test], re.M)), count, errors[test])
            self.assertIn("%d descriptor%s opened and %s still open" % ((1, " was", "is") if count == 1
                                                                        else (2, "s were", "are")), errors[test])
        # Its number was an opened file's before.
        self.assertIn("loopscope check -- python3 -m pytest", errors["test_leaks_epoll"])
        self.assertNotIn("opened at", errors["test_leaks_epoll"])

    def test_in_any_order_each_answers_for_itself(self):
        ran, _, errors, _ = self.pytest("-k", "leaks_pipe or healthy")
        self.assertEqual(set(errors), {"test_leaks_pipe"}, ran.stdout)

    def test_healthy_tests_alone_succeed(self):
        ran, names, errors, failures = self.pytest("-k", "healthy")
        self.assertEqual((errors, failures, ran.returncode), ({}, set(), 0), ran.stdout)
        self.assertEqual(len(names), 11)


if __name__ == "__main__":
    unittest.main()
