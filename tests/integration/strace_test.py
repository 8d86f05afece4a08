#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kernel's own account: what strace saw of a loop's waits and what its recording counted are equal, not about equal."""
import json
import os
import re
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["COUNTED_TURNS"]
CALL = {"epoll": "epoll_wait", "poll": "poll", "select": "select"}
# 4242 epoll_wait(3, [...], 64, 59743) = 1        select(...) = 0 (Timeout)        poll(...) = -1 EINTR (...)
# ? ERESTARTNOHAND and the like are what strace prints for a call that a signal interrupts: the program sees EINTR.
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+|\?)( E\w+)?")


def kernels_account(trace, backend):
    account = dict(iterations=0, ready=0, timeouts=0, interrupted=0, errors=0)
    nonblocking = saturated = 0
    with open(trace, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = LINE.match(line)
            if not match or match.group(1) not in (CALL[backend], "pselect6"):
                continue
            arguments, result, error = match.group(2), match.group(3), (match.group(4) or "").strip()
            account["iterations"] += 1
            if result == "?" or error in ("EINTR", "ERESTARTNOHAND", "ERESTARTSYS", "ERESTART_RESTARTBLOCK"):
                account["interrupted"] += 1
            elif result == "-1":
                account["errors"] += 1
            elif result == "0":
                account["timeouts"] += 1
            else:
                account["ready"] += int(result)
            if backend == "epoll":
                most, timeout = [int(text) for text in arguments.rsplit(", ", 2)[1:]]
                nonblocking += timeout == 0
                saturated += result == str(most)
            elif backend == "poll":
                nonblocking += arguments.rsplit(", ", 1)[1] == "0"
    if backend != "select":
        account["nonblocking"] = nonblocking
    if backend == "epoll":
        account["saturated"] = saturated
    return account


class EqualToTheKernelsAccount(unittest.TestCase):
    maxDiff = None

    def check(self, mode, backend, turns=3000):
        with tempfile.TemporaryDirectory() as directory:
            trace = os.path.join(directory, "trace")
            done = subprocess.run(
                ["strace", "-f", "-s", "0", "-e", "signal=none", "-e", "trace=epoll_wait,epoll_pwait,poll,select,pselect6",
                 "-o", trace, PROGRAM, mode, backend, str(turns)],
                capture_output=True, text=True, timeout=120, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            ours = json.loads(done.stdout)
            kernels = kernels_account(trace, backend)
        self.assertGreater(kernels["iterations"], turns // 2)
        self.assertEqual({name: ours[name] for name in kernels}, kernels)
        self.assertEqual(ours["wait_count"], ours["iterations"])
        # The run had some of everything, or the comparison would say little.
        for name in ("ready", "timeouts", "interrupted"):
            self.assertGreater(kernels[name], 0, name)
        return kernels

    def test_loop_epoll(self):
        kernels = self.check("loop", "epoll")
        self.assertGreater(kernels["nonblocking"], 0)
        self.assertGreater(kernels["saturated"], 0)

    def test_raw_epoll(self):
        self.check("raw", "epoll")

    def test_nested_epoll(self):
        self.check("nested", "epoll")

    def test_loop_poll(self):
        self.check("loop", "poll")

    def test_raw_select(self):
        self.check("raw", "select")


if __name__ == "__main__":
    unittest.main(verbosity=2)
