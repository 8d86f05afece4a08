#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every system call that `run`, `check`, `report` and `top` make fails, one after the other. PROGRAM runs and ends as it would, or
is not started and a message says why; `check` never calls clean what it did not see; nothing dies of a signal, hangs or stays
behind."""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

import faults_support as faults
from faults_support import LOOPSCOPE, OBSERVED

NOT_STARTED = {2, 3, 126, 127}
NO_CRASH = ("terminate called", "Assertion", "core dumped", "bad_alloc", "SIGSEGV", "SIGABRT")


class Command(unittest.TestCase):
    counted = {}

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name

    def place(self):
        return tempfile.mkdtemp(dir=self.root)

    def matrix(self, name, argv_of, judge, prepare=lambda place: None):
        """Runs argv_of(place) with each injection; judge(done, call) says what is wrong, or nothing."""
        bare = self.place()
        prepare(bare)
        inventory = faults.Inventory(argv_of(bare), bare, env=faults.environment(bare), cwd=bare)
        wrong = judge(inventory.done, "")
        self.assertFalse(wrong, f"without any failure: {wrong}\n{inventory.done}")
        self.assertGreater(len(inventory.own), 5, "strace saw nothing")

        def one(call, error, when):
            place = self.place()
            prepare(place)
            inject = f"{call}:error={error}:when={when}"
            done, _ = faults.traced(argv_of(place), place, inject, env=faults.environment(place), cwd=place)
            wrong = "hangs" if done.status is None else self.crash(done) or judge(done, call) or self.half_a_report(place)
            return f"{name} with {inject}: {wrong}\n{done}" if wrong else None

        cases = list(inventory.injections())
        failed = [text for text in faults.each(one, cases) if text]
        self.assertFalse(failed, f"{len(failed)} of {len(cases)}:\n" + "\n\n".join(failed))
        return len(inventory.own), len(cases)

    @staticmethod
    def half_a_report(place):
        """A report is whole, or its file is empty."""
        path = os.path.join(place, "report.json")
        if os.path.exists(path) and os.path.getsize(path) > 0:
            with open(path, encoding="utf-8") as file:
                try:
                    json.load(file)
                except ValueError as error:
                    return f"report.json: {error}"
        return None

    @staticmethod
    def crash(done):
        if done.status < 0:
            return f"signal {-done.status}"
        for text in NO_CRASH:
            if text in done.err:
                return text
        return None

    def of_program(self, statuses):
        """What is wrong with `run` or `check`, which gives one of `statuses` if PROGRAM ran."""
        def judge(done, call):
            message = any(line.startswith("loopscope") for line in done.err.splitlines())
            if not message and call not in ("write", "writev"):
                return "no message"
            if "out" not in done.out:
                return None if done.status in NOT_STARTED else "PROGRAM did not run, and the status does not say so"
            if done.out != "out\nend\n" or "err\n" not in done.err:
                return "PROGRAM's output"
            return None if done.status in statuses else "status"
        return judge


class RunAndCheck(Command):
    def try_it(self, name, options, program, statuses):
        Command.counted[name] = self.matrix(
            name, lambda place: [LOOPSCOPE, *options, "--", OBSERVED, *program], self.of_program(statuses))

    def test_run(self):
        self.try_it("run", ["run", "--no-http"], ["clean", "7"], {7})

    def test_run_serving(self):
        self.try_it("run --listen", ["run", "--listen", "127.0.0.1:0"], ["clean", "7"], {7})

    def test_check_of_a_leak_in_a_child(self):
        self.try_it("check", ["check", "-o", "report.json"], ["child-leak", "0"], {1, 2, 3})

    def test_check_of_a_clean_one(self):
        self.try_it("check, clean", ["check", "--max-stall", "1s", "-o", "report.xml"], ["clean", "0"], {0, 2, 3})

    def test_check_of_one_that_fails(self):
        self.try_it("check, failing", ["check", "--update-baseline", "--baseline", "base", "--gen-suppressions", "supp"],
                    ["clean", "7"], {7})


class StallWatch(Command):
    """The thread that looks, while PROGRAM runs, at what a loop that stalls is doing: whichever of its calls fails, for good or once. PROGRAM does
    what it did, the stall is found (the recording has it), and the report has the stack or says that it has none."""
    STALLS = 8
    # Of these each is at another point of reading a thread that is stopped meanwhile.
    EACH = {"ptrace"}

    def check(self, inject):
        """(how it ended, calls of the thread, how many failed, report)"""
        place = self.place()
        argv = [LOOPSCOPE, "check", "--max-stall", "20ms", "-o", "report.json", "--", OBSERVED, "stall", "0"]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                                   env=faults.environment(place), cwd=place)
        try:
            # It has begun, and stalls only when it is told to; the thread is there before PROGRAM is.
            self.assertEqual(process.stdout.readline(), b"out\n")
            threads = [task for task in os.listdir(f"/proc/{process.pid}/task") if int(task) != process.pid]
            self.assertEqual(len(threads), 1)
            with faults.Attached(threads, place, inject) as attached:
                process.stdin.write(b"x" * self.STALLS)
                process.stdin.close()
                process.stdin = None
                out, err = process.communicate(timeout=faults.DEADLINE)
            done = faults.Done(process.returncode, "out\n" + out.decode(), err.decode(errors="replace"))
        except subprocess.TimeoutExpired:
            done = faults.Done(None, "", "")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        report = {}
        if done.status is not None and not self.half_a_report(place):
            with open(os.path.join(place, "report.json"), encoding="utf-8") as file:
                report = json.load(file)
        return done, attached.calls, attached.injected, report

    def wrong(self, done, report):
        if done.status is None:
            return "hangs"
        if done.status != 1 or done.out != "out\nend\n":
            return "status or output"
        stalls = [finding for finding in report.get("findings", ()) if finding["rule"] == "stall-budget"]
        if len(stalls) != 1 or stalls[0]["count"] != self.STALLS:
            return f"stalls: {stalls}"
        where = (stalls[0]["location"] or {}).get("function")
        told = any(text in stalls[0]["detail"] for text in ("could not be read", "was not seen")) or any("stacks of stalls are missing" in note for note in report["notes"])
        return self.crash(done) or (None if where == "compute" or told else f"no stack, and not a word of it: {stalls[0]} {report['notes']}")

    def test_thread(self):
        done, calls, _, report = self.check("")
        self.assertIsNone(self.wrong(done, report), f"{done}\n{report}")
        self.assertGreater(len(set(calls)), 5, calls)

        cases = []
        for call in dict.fromkeys(calls):
            for error in faults.errors_of(call):
                whens = ["1+"] if error != "EINTR" else ["1+3"]  # each third: interrupted for ever is no failure that there is
                if faults.SLOW or call in self.EACH:
                    whens += [str(number) for number in range(1, min(calls.count(call), 12 if call in self.EACH else 3) + 1)]
                cases += [(f"{call}:error={error}:when={when}",) for when in whens]

        def one(inject):
            done, _, injected, report = self.check(inject)
            wrong = self.wrong(done, report)
            return injected, f"check's watch with {inject}: {wrong}\n{done}" if wrong else None

        results = faults.each(one, cases)
        failed = [text for _, text in results if text]
        self.assertFalse(failed, f"{len(failed)} of {len(cases)}:\n" + "\n\n".join(failed))
        self.assertGreater(sum(injected > 0 for injected, _ in results), len(cases) * 2 // 3, "hardly any call was made to fail")
        Command.counted["check, its watch"] = (len(set(calls)), len(cases))


class ReportAndTop(Command):
    """These start nothing: what they say is whole, or a status and a message."""

    def record(self, place):
        done = faults.run([LOOPSCOPE, "run", "--no-http", "--", OBSERVED, "leak", "0"], env=faults.environment(place), cwd=place)
        self.assertEqual(done.status, 0, done)
        for name in os.listdir(place):
            if name.endswith(".loopscope"):
                os.rename(os.path.join(place, name), os.path.join(place, "1-1-0.loopscope"))

    def judge(self, whole):
        def judge(done, call):
            if done.status == 0:
                return None if whole(done.out) else "status 0, and not all is there"
            if done.status != 3:
                return "status"
            return None if done.err.startswith("loopscope: ") or call == "write" else "no message"
        return judge

    def try_it(self, name, arguments, whole):
        Command.counted[name] = self.matrix(name, lambda place: [LOOPSCOPE, *arguments], self.judge(whole), self.record)

    def test_report(self):
        self.try_it("report", ["report", "1-1-0.loopscope"], lambda out: "observed" in out)

    def test_report_to_a_file(self):
        self.try_it("report -o", ["report", "--format", "json", "-o", "report.json", "1-1-0.loopscope"], lambda out: True)

    def test_top(self):
        # What it could not read it says in its output: it looks again a second later.
        self.try_it("top", ["top", "-b", "-d", "0.1"], lambda out: out.startswith("loopscope top"))


class TopOnATerminal(Command):
    """It ends, with a message if not by choice, and the terminal is as it was."""

    def on_terminal(self, argv, environment, cwd):
        master, terminal = pty.openpty()
        try:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
            before = termios.tcgetattr(terminal)
            process = subprocess.Popen(argv, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, start_new_session=True,
                                       env={**environment, "TERM": "xterm"}, cwd=cwd,
                                       preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
            until, out = time.monotonic() + faults.DEADLINE, b""
            while process.poll() is None and time.monotonic() < until:
                if select.select([master], [], [], 0.2)[0]:
                    out += os.read(master, 65536)
                # Not before it has drawn something: until then the terminal is not its own.
                if len(out) > 500:
                    os.write(master, b"q")
            hangs = process.poll() is None
            if hangs:
                os.killpg(process.pid, 9)
            _, err = process.communicate()
            done = faults.Done(None if hangs else process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
            done.restored = termios.tcgetattr(terminal) == before
            return done
        finally:
            os.close(master)
            os.close(terminal)

    def test_top(self):
        place = self.place()
        argv = [LOOPSCOPE, "top"]

        def traced(inject):
            with tempfile.NamedTemporaryFile(dir=place) as log:
                done = self.on_terminal(["strace", "-o", log.name, *(["-e", "inject=" + inject] if inject else []), "--", *argv],
                                        faults.environment(place), place)
                return done, faults.calls_in(log.name)

        done, calls = traced("")
        self.assertEqual((done.status, done.restored, done.err), (0, True, ""), done)
        _, version = faults.traced([LOOPSCOPE, "--version"], place, env=faults.environment(place), cwd=place)
        start = faults.common_beginning(calls, version)
        cases = []
        for call in dict.fromkeys(calls[start:]):
            for error in faults.errors_of(call):
                # A terminal that cannot be asked or set stays as somebody else left it.
                if call != "ioctl":
                    cases.append(f"{call}:error={error}:when={calls[:start].count(call) + 1}")
        failed = []
        for inject in cases:
            done, _ = traced(inject)
            wrong = ("hangs" if done.status is None else self.crash(done) or
                     ("status" if done.status not in (0, 3) else "terminal" if not done.restored else
                      "no message" if done.status == 3 and "loopscope: " not in done.err else None))
            if wrong:
                failed.append(f"top on a terminal with {inject}: {wrong}\n{done}")
        self.assertFalse(failed, f"{len(failed)} of {len(cases)}:\n" + "\n\n".join(failed))
        Command.counted["top, on a terminal"] = (len(set(calls[start:])), len(cases))

    def test_terminal_that_vanishes(self):
        place = self.place()
        master, terminal = pty.openpty()
        process = subprocess.Popen([LOOPSCOPE, "top"], stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, start_new_session=True,
                                   env={**faults.environment(place), "TERM": "xterm"}, cwd=place,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(terminal)
        self.assertTrue(os.read(master, 100))
        os.close(master)
        _, err = process.communicate(timeout=faults.DEADLINE)
        self.assertIn(process.returncode, (0, -signal.SIGHUP), err)
        self.assertEqual(err, b"")


if __name__ == "__main__":
    print(f"SEED={faults.SEED}")
    result = unittest.main(exit=False, verbosity=2).result
    left = faults.survivors()
    if left:
        print(f"still there: {left}", file=sys.stderr)
    good = result.wasSuccessful() and not left
    counted = Command.counted
    if good and len(counted) == 10:
        print(f"reliability: injected-command: {sum(calls for calls, _ in counted.values())} kinds of call in {len(counted)} command lines and threads, "
              f"{sum(cases for _, cases in counted.values())} failures injected, no crash, no hang, no false clean")
    sys.exit(0 if good else 1)
