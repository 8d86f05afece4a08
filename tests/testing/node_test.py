#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The hook under node's own test runner: which tests it fails, and which line it names."""

import re
import unittest

from running import HERE, SOURCE, line_of, run

FILE = HERE / "suites" / "leaks.test.cjs"
HOOK = SOURCE / "testing" / "node" / "loopscope-fds.cjs"
LEAKING = {"leaks openSync": ("openSync", "device  /dev/null"),
           "leaks open": ("open", "device  /dev/zero"),
           "leaks promisified": ("promisified", "device  /dev/null"),
           "leaks a file handle": ("promises", "device  /dev/null"),
           "leaks a server": ("server", "socket  127.0.0.1:"),
           "leaks both ends": ("client", " -> 127.0.0.1:"),
           "leaks under false timers": (None, "device  /dev/null"),
           "leaks in a subtest": (None, "device  /dev/null"),
           "leaks in a suite": (None, "device  /dev/null")}


def outcomes(tap):
    """Test -> (whether it succeeded, the lines below it)."""
    found = {}
    for verdict, name, details in re.findall(r"^ *(ok|not ok) \d+ - (.*?)(?: #.*)?$((?:\n *(?!#|ok|not ok|\d+\.\.)\S.*)*)",
                                             tap, re.M):
        found[name] = verdict == "ok", details
    return found


class Hook(unittest.TestCase):
    def node(self, *arguments):
        ran = run("node", "--require", HOOK, *arguments, environment={"LOOPSCOPE_FDS_ALLOW": "device:/dev/fu*"})
        return ran, outcomes(ran.stdout)

    def check(self, ran, found):
        failed = {name for name, (success, details) in found.items()
                  if not success and "subtestsFailed" not in details and str(FILE) not in name}
        self.assertEqual(failed, set(LEAKING), ran.stdout)
        healthy = [name for name, (success, _) in found.items() if name.startswith("healthy") and success]
        # The parent of a subtest that failed fails for that.
        self.assertEqual(len(healthy), 11, healthy)
        self.assertEqual(ran.returncode, 1)
        for test, (mark, text) in LEAKING.items():
            details = found[test][1]
            self.assertIn(text, details)
            if mark is not None:
                self.assertRegex(details, r"opened at .*leaks\.test\.cjs:%d:" % line_of(mark, "suites/leaks.test.cjs"))
            self.assertEqual(len(re.findall(r"fd \d+  ", details)), 2 if test == "leaks both ends" else 1, details)

    def test_under_the_runner(self):
        self.check(*self.node("--test", "--test-reporter=tap", FILE))

    def test_a_file_by_itself(self):
        self.check(*self.node("--test-reporter=tap", FILE))

    def test_healthy_tests_alone_succeed(self):
        ran, found = self.node("--test-reporter=tap", "--test-name-pattern=healthy (closed|conv|stream|allowed|watch)", FILE)
        self.assertEqual(ran.returncode, 0, ran.stdout)
        self.assertIn("healthy conversation", found)


if __name__ == "__main__":
    unittest.main()
