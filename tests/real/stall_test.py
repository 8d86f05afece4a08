#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`loopscope check --max-stall`: the line at which a loop's thread stalls, and that the program notices nothing of the look.

    LOOPSCOPE_BIN=.../loopscope STALLS=.../stalls STALLS_OPTIMISED=.../stalls_optimised python3 stall_test.py

The program is tests/programs/stalls.c; the lines are those that carry a mark (/* NAP */) in it.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
PROGRAMS = {"-O0": os.environ.get("STALLS", "stalls"), "-O2": os.environ.get("STALLS_OPTIMISED", "stalls_optimised")}
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SOURCE = os.path.join(ROOT, "tests", "programs", "stalls.c")
LIMIT = "150ms"  # the stalls take 800 ms, other turns some microseconds
ROLE = "the thread was"


def marks():
    with open(SOURCE, encoding="utf-8") as source:
        return {found[1]: number for number, line in enumerate(source, 1) for found in re.finditer(r"/\* ([A-Z]+) \*/", line)}


def may_trace():
    """Whether a thread that computes may be stopped: a process may always trace its children, unless Yama forbids it to all."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as scope:
            return int(scope.read()) < (3 if os.geteuid() == 0 else 2)
    except FileNotFoundError:
        return True


class StallTest(unittest.TestCase):
    maxDiff = None

    def check(self, *command, options=("--max-stall", LIMIT)):
        """The report, the exit status, and the program's own output."""
        with tempfile.TemporaryDirectory(prefix="lss-") as directory:
            path = os.path.join(directory, "report.json")
            done = subprocess.run([BIN, "check", "-o", f"json:{path}", *options, "--", *command], stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=60, check=False)
            self.assertTrue(os.path.exists(path), done.stderr)
            with open(path, encoding="utf-8") as file:
                return json.load(file), done.returncode, done.stdout.decode()

    def stall(self, report):
        """The one finding about a stall."""
        found = [finding for finding in report["findings"] if finding["rule"] == "stall-budget"]
        self.assertEqual(len(found), 1, report["findings"])
        return found[0]

    def assert_stalled_at(self, finding, mark, function, detail):
        place = finding["places"][0]
        self.assertEqual(place["role"], ROLE, finding)
        frame = place["stack"][place["frame"]]
        line = marks()[mark]
        self.assertEqual((os.path.realpath(os.path.join(ROOT, frame["file"])), frame["line"], frame["function"]),
                         (os.path.realpath(SOURCE), line, function), json.dumps(finding, indent=1))
        self.assertEqual((finding["location"]["line"], finding["location"]["function"]), (line, function))
        self.assertIn(detail, finding["detail"])
        self.assertTrue(finding["detail"].rstrip().count(f"{function} (stalls.c:{line})"), finding["detail"])
        self.assertRegex(finding["detail"], r"It was turn 3, .*\d+ ms into it the thread was ")
        self.assertEqual(finding["count"], 1)

    def assert_callers(self, finding, *functions):
        """The rest of the stack, up to main."""
        stack = finding["places"][0]["stack"][finding["places"][0]["frame"]:]
        own = [frame["function"] for frame in stack if os.path.basename(frame["file"] or "") == "stalls.c"]
        self.assertEqual(own, list(functions), json.dumps(finding["places"][0], indent=1))

    def assert_each(self, how, mark, function, detail, callers):
        for name, program in PROGRAMS.items():
            with self.subTest(optimisation=name):
                bare = subprocess.run([program, how, "800"], capture_output=True, timeout=60, check=True).stdout.decode()
                report, status, output = self.check(program, how, "800")
                self.assertEqual(status, 1, report)
                self.assertEqual(output, bare)  # what each call returned
                finding = self.stall(report)
                self.assert_stalled_at(finding, mark, function, detail)
                self.assert_callers(finding, *callers)

    def test_sleeps(self):
        self.assert_each("nap", "NAP", "nap", "in nanosleep (system call clock_nanosleep), called at nap", ("nap", "stall", "main"))

    def test_computes(self):
        if not may_trace():
            self.skipTest("tracing is forbidden here")
        self.assert_each("compute", "COMPUTE", "compute", "the thread was computing (", ("compute", "stall", "main"))

    def test_reads_from_a_pipe(self):
        self.assert_each("read", "READ", "read_late", "in read, called at read_late", ("read_late", "stall", "main"))

    def test_receives_with_a_timeout(self):
        """A stop would end the call with EINTR."""
        self.assert_each("recv", "RECV", "receive_late", "in recv (system call recvfrom), called at", ("receive_late", "stall", "main"))

    def test_writes_more_than_fits(self):
        """A stop would end the call with a part of it written."""
        self.assert_each("write", "WRITE", "write_much", "in write, called at write_much", ("write_much", "stall", "main"))

    def test_called_back_by_a_library(self):
        """A library called by the program calls it back: qsort() is on the stack in between."""
        self.assert_each("library", "LIBRARY", "slow_compare", "in usleep (system call clock_nanosleep), called at",
                         ("slow_compare", "sort_slowly", "stall", "main"))

    def test_longest_of_many(self):
        report, status, _ = self.check(PROGRAMS["-O0"], "many", "200")
        self.assertEqual(status, 1)
        finding = self.stall(report)
        self.assertEqual(finding["count"], 4)
        self.assertRegex(finding["detail"], r"It was turn 4, .* into it the thread was in nanosleep ")
        self.assertEqual(finding["places"][0]["role"], ROLE)

    def test_turn_that_never_ended(self):
        report, status, _ = self.check(PROGRAMS["-O0"], "forever", options=("--max-stall", LIMIT, "--timeout", "1s"))
        self.assertEqual(status, 128 + 15)
        self.assertTrue(report["timed_out"])
        finding = self.stall(report)
        self.assertEqual(finding["location"]["line"], marks()["FOREVER"])
        self.assertIn("stalled for more than", finding["title"])
        self.assertIn("It was turn 3, which had not ended when the process did.", finding["detail"])
        self.assertIn("the thread was in pause, called at stall", finding["detail"])

    def test_exit_after_the_loop(self):
        """What a program does once it has left its loop for good is no turn of it."""
        report, status, _ = self.check(PROGRAMS["-O0"], "exit", "800")
        self.assertEqual(status, 0)
        self.assertNotIn("stall-budget", [finding["rule"] for finding in report["findings"]])

    def test_in_a_child(self):
        report, status, _ = self.check("sh", "-c", f"{PROGRAMS['-O0']} nap 800; true")
        self.assertEqual(status, 1)
        finding = self.stall(report)
        self.assertEqual(finding["location"]["line"], marks()["NAP"])
        self.assertNotEqual(report["processes"][finding["process"]]["pid"], report["pid"])

    def test_while_another_traces_it(self):
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        report, status, _ = self.check("strace", "-f", "-qq", "-e", "trace=none", "-o", "/dev/null", PROGRAMS["-O0"], "compute", "800")
        self.assertEqual(status, 1)
        finding = self.stall(report)
        self.assertNotIn(ROLE, [place["role"] for place in finding["places"]])
        self.assertRegex(finding["detail"], r"the thread was computing .*; its stack could not be read: .*process \d+ traces it")

    def test_healthy(self):
        bare = subprocess.run([PROGRAMS["-O0"], "healthy"], capture_output=True, timeout=60, check=True).stdout.decode()
        report, status, output = self.check(PROGRAMS["-O0"], "healthy", options=("--max-stall", "5s"))
        self.assertEqual((status, output), (0, bare))
        self.assertEqual([finding["rule"] for finding in report["findings"] if finding["severity"] != "info"], [])
        self.assertEqual(report["processes"][0]["opened"], 2)

    def test_within_its_budget(self):
        """The same stall, which may be."""
        report, status, _ = self.check(PROGRAMS["-O0"], "nap", "800", options=("--max-stall", "20s"))
        self.assertEqual((status, report["findings"]), (0, []))


if __name__ == "__main__":
    unittest.main(verbosity=2)
