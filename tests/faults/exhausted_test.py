#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Descriptors, memory, processes and room for reports at an end. PROGRAM runs and ends as it does without loopscope, or is not started
and a message says why; `check` never calls clean what it did not see; a report is whole, or its file is empty and the status says so."""
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import faults_support as faults
from faults_support import LOOPSCOPE, OBSERVED

NOT_STARTED = {2, 3, 126, 127}
MIB = 1 << 20
LINES = []  # for docs/reliability.md, of what has passed
# Of its own: a limit on processes counts all of a user's.
USER = 50000 + os.getpid() % 10000


def limited(limits, user=None, closed=()):
    """What to do in the child before it becomes the command."""
    def prepare():
        for which, value in limits.items():
            resource.setrlimit(which, (value, value))
        for fd in closed:
            os.close(fd)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
    return prepare


class Exhausted(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name

    def place(self, user=None):
        path = tempfile.mkdtemp(dir=self.root)
        if user is not None:
            os.chmod(self.root, 0o755)
            os.chown(path, user, user)
        return path

    def run_in(self, argv, limits=None, user=None, closed=(), place=None, **options):
        place = place or self.place(user)
        return faults.run(argv, env=faults.environment(place), cwd=place, preexec_fn=limited(limits or {}, user, closed), **options)

    def assert_no_crash(self, done, what):
        self.assertIsNotNone(done.status, f"{what} hangs\n{done}")
        self.assertGreaterEqual(done.status, 0, f"{what}\n{done}")
        for text in ("terminate called", "bad_alloc", "Assertion", "stack smashing"):
            self.assertNotIn(text, done.err, f"{what}\n{done}")

    def judge(self, done, statuses, what):
        """1 if PROGRAM ran, 0 if it was not started and that was said."""
        self.assert_no_crash(done, what)
        if "out" not in done.out:
            self.assertIn(done.status, NOT_STARTED, f"{what}\n{done}")
            self.assertRegex(done.err, "loopscope: |error while loading shared libraries", f"{what}\n{done}")
            return 0
        self.assertEqual(done.out, "out\nend\n", f"{what}\n{done}")
        self.assertIn(done.status, statuses, f"{what}\n{done}")
        return 1

    def series(self, name, which, values, user=None):
        """`run` and `check` with each value of a limit; how often PROGRAM ran, of how many."""
        ran = tried = seen = 0
        for value in values:
            for argv, statuses, all_seen in (
                    ([LOOPSCOPE, "run", "--no-http", "--", OBSERVED, "clean", "7"], {7}, 7),
                    ([LOOPSCOPE, "run", "--listen", "127.0.0.1:0", "--", OBSERVED, "clean", "7"], {7}, 7),
                    ([LOOPSCOPE, "check", "--max-stall", "10s", "--", OBSERVED, "child-leak", "0"], {1, 3}, 1)):
                done = self.run_in(argv, {which: value}, user)
                ran += self.judge(done, statuses, f"{' '.join(argv[1:3])} with {name} {value}")
                seen += done.status == all_seen
                tried += 1
        return ran, seen, tried

    def test_descriptors(self):
        ran, seen, tried = self.series("nofile", resource.RLIMIT_NOFILE, range(4, 40) if faults.SLOW else (4, 6, 8, 12, 24))
        self.assertGreater(seen, 0)
        for argv in (["serve", "--listen", "127.0.0.1:0"], ["top", "-b", "-d", "0.1"], ["report", "1"]):
            for limit in range(4, 9):
                if argv[0] == "serve":
                    continue  # it may well manage: server_injection_test
                self.assert_no_crash(self.run_in([LOOPSCOPE, *argv], {resource.RLIMIT_NOFILE: limit}), f"{argv} with {limit} descriptors")
                tried += 1
        LINES.append(f"reliability: descriptors-exhausted: {tried} starts with 4 descriptors and more, PROGRAM ran in {ran}, no crash, no false clean")

    def test_memory(self):
        sizes = (*range(12, 128, 4), *range(128, 1024, 64)) if faults.SLOW else (16, 48, 96, 256, 1024)
        ran, seen, tried = self.series("address space", resource.RLIMIT_AS, [size * MIB for size in sizes])
        self.assertGreater(seen, 0)
        place = self.recording()
        for size in sizes:
            for argv in (["report", "--format", "html", self.recorded], ["top", "-b", "-d", "0.1"], ["serve", "--listen", "127.0.0.1:0"]):
                # Where it can serve it does, until it is told to end.
                until = ["timeout", "--preserve-status", "0.5"] if argv[0] == "serve" else []
                done = self.run_in([*until, LOOPSCOPE, *argv], {resource.RLIMIT_AS: size * MIB}, place=place)
                self.assert_no_crash(done, f"{argv[0]} with {size} MiB")
                if done.status not in (0, 128 + signal.SIGTERM):
                    self.assertIn(done.status, NOT_STARTED, f"{argv[0]} with {size} MiB\n{done}")
                    self.assertTrue(done.err, f"{argv[0]} with {size} MiB: no message")
                tried += 1
        LINES.append(f"reliability: memory-limited: {tried} starts with {sizes[0]} MiB to 1 GiB of address space, PROGRAM ran in {ran}, "
              "no crash, no false clean")

    @unittest.skipUnless(os.geteuid() == 0, "a limit on processes is none for root, and only root can become another user")
    def test_processes(self):
        self.series("nproc", resource.RLIMIT_NPROC, range(1, 40) if faults.SLOW else (2, 4, 6), USER)
        for limit in (1, 2, 4):
            done = self.run_in([LOOPSCOPE, "serve", "--listen", "127.0.0.1:0"], {resource.RLIMIT_NPROC: limit}, USER)
            self.assert_no_crash(done, f"serve with {limit} processes")
            self.assertEqual(done.status, 3, done)
            self.assertRegex(done.err, "loopscope: .*thread", done)

    # --- reports ---

    def recording(self):
        """A place with one recording, whose path is self.recorded."""
        place = self.place()
        done = self.run_in([LOOPSCOPE, "run", "--no-http", "--", OBSERVED, "leak", "0"], place=place)
        self.assertEqual(done.status, 0, done)
        found = [name for name in os.listdir(place) if name.endswith(".loopscope")]
        self.assertEqual(len(found), 1, found)
        self.recorded = os.path.join(place, found[0])
        return place

    def test_report_without_room(self):
        place = self.recording()
        tried = 0
        for form in ("text", "json", "html", "trace"):
            argv = [LOOPSCOPE, "report", "--format", form, self.recorded]
            done = self.run_in([*argv, "-o", "/dev/full"], place=place)
            self.assertEqual(done.status, 3, done)
            self.assertIn("cannot write /dev/full: No space left on device", done.err)
            with open("/dev/full", "wb") as full:
                done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, timeout=faults.DEADLINE, check=False,
                                      env=faults.environment(place), cwd=place)
            self.assertEqual((done.returncode, b"No space left" in done.stderr), (3, True), done)
            # A disk that is full after the first few hundred bytes: what was there is not half a report.
            target = os.path.join(place, "report")
            with open(target, "w", encoding="utf-8") as file:
                file.write("of yesterday")
            done = self.run_in([*argv, "-o", target], {resource.RLIMIT_FSIZE: 300}, place=place)
            self.assertEqual(done.status, 3, done)
            self.assertIn(f"cannot write {target}: File too large", done.err)
            self.assertEqual(os.path.getsize(target), 0)
            done = self.run_in([*argv, "-o", os.path.join(place, "no", "such", "directory")], place=place)
            self.assertEqual(done.status, 3, done)
            tried += 4
        for option in ("--help", "--version"):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([LOOPSCOPE, option], stdout=full, stderr=subprocess.PIPE, timeout=faults.DEADLINE, check=False)
            self.assertEqual((done.returncode, b"No space left" in done.stderr), (3, True), done)
            tried += 1
        tried += self.on_a_full_disk()
        LINES.append(f"reliability: report-no-space: {tried} reports without room for them, each a status and a message, none half written")

    def on_a_full_disk(self):
        """`check` and `run` on a file system of 64 KiB, where mounting is allowed."""
        script = """mount -t tmpfs -o size=64k none "$1" && cd "$1" || exit 77
head -c 1000000 /dev/zero > filler 2> /dev/null
shift
exec "$@"
"""
        tried = 0
        for argv, wanted in ((["check", "-o", "report.json", "--", OBSERVED, "clean", "0"], 2),
                             (["check", "-o", "report.json", "--", OBSERVED, "clean", "7"], 7),
                             (["run", "--no-http", "-o", "summary", "--", OBSERVED, "clean", "7"], 7)):
            mounted = self.place()
            done = self.run_in(["unshare", "--mount", "sh", "-c", script, "sh", mounted, LOOPSCOPE, *argv])
            if done.status == 77 or "unshare" in done.err:
                print(f"not tried on a full disk: {done.err.strip()}", file=sys.stderr)
                break
            self.assertEqual(done.status, wanted, done)
            self.assertRegex(done.err, r"cannot write (report.json|summary): No space left on device", done)
            self.assertEqual(done.out, "out\nend\n", done)
            tried += 1
        return tried

    def test_report_where_nothing_can_be_made(self):
        """A name below something that is no directory: also for root."""
        for argv, wanted in ((["check", "-o", "/dev/null/report.json"], 2), (["run", "--no-http", "-o", "/dev/null/summary"], 2)):
            done = self.run_in([LOOPSCOPE, *argv, "--", OBSERVED, "clean", "7"])
            self.assertEqual((done.status, done.out), (wanted, ""), done)
            self.assertIn("cannot write /dev/null/", done.err)

    def test_standard_output_that_is_a_file_keeps_what_is_in_it(self):
        place = self.place()
        path = os.path.join(place, "all")
        with open(path, "wb") as file:
            done = subprocess.run([LOOPSCOPE, "check", "-o", "json:-", "--", OBSERVED, "clean", "0"], stdout=file, stderr=subprocess.PIPE,
                                  timeout=faults.DEADLINE, check=False, env=faults.environment(place), cwd=place)
        self.assertEqual(done.returncode, 0, done)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertTrue(text.startswith("out\nend\n{"), text)
        json.loads(text[len("out\nend\n"):])

    def test_a_pipe_that_somebody_made_non_blocking(self):
        """Its reader is slow: nothing of the report is lost."""
        place = self.recording()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        process = subprocess.Popen([LOOPSCOPE, "report", "--format", "html", self.recorded], stdout=writer, env=faults.environment(place))
        os.close(writer)
        got = b""
        with open(reader, "rb") as file:
            while piece := file.read(50_000):
                got += piece
        self.assertEqual(process.wait(faults.DEADLINE), 0)
        self.assertGreater(len(got), 1 << 16, "fits into a pipe: it proves nothing")
        self.assertTrue(got.rstrip().endswith(b"</html>"), got[-100:])

    # --- descriptors that are closed at the start ---

    def test_closed_standard_descriptors(self):
        place = self.recording()
        with open(self.recorded, "rb") as file:
            before = file.read()
        for count in (1, 2, 3):
            for closed in itertools.combinations((0, 1, 2), count):
                for argv, statuses in (
                        (["run", "--no-http", "--", OBSERVED, "clean", "7"], {7}),
                        (["run", "--no-http", "-o", "-", "--", OBSERVED, "clean", "7"], {2} if 1 in closed else {7}),
                        # With more of them closed the leak has one of their numbers, and those are nobody's leak.
                        *([(["check", "--", OBSERVED, "child-leak", "0"], {1})] if count == 1 else []),
                        (["check", "-o", "report.json", "--", OBSERVED, "clean", "0"], {0}),
                        (["report", self.recorded], {3} if 1 in closed else {0}),
                        (["top", "-b", "-d", "0.1"], {3} if 1 in closed else {0}),
                        (["--version"], {3} if 1 in closed else {0})):
                    done = self.run_in([LOOPSCOPE, *argv], closed=closed, place=place)
                    what = f"{argv} with {closed} closed"
                    self.assert_no_crash(done, what)
                    self.assertIn(done.status, statuses, f"{what}\n{done}")
                    if 2 not in closed and statuses == {3}:
                        self.assertIn("Bad file descriptor", done.err, what)
        with open(self.recorded, "rb") as file:
            self.assertEqual(file.read(), before, "somebody wrote into the recording")

    # --- a recording that changes while it is read ---

    def test_recording_that_is_cut_while_it_is_read(self):
        place = self.recording()
        size = os.path.getsize(self.recorded)
        copy = os.path.join(place, "copy.loopscope")
        chosen = random.Random(faults.SEED)
        statuses = set()
        for _ in range(200 if faults.SLOW else 20):
            shutil.copyfile(self.recorded, copy)
            process = subprocess.Popen([LOOPSCOPE, "report", copy], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=faults.environment(place))
            # Anything from "not begun" to "done": which is not known, and does not matter.
            for _ in range(chosen.randrange(6)):
                os.truncate(copy, chosen.randrange(size))
            _, err = process.communicate(timeout=faults.DEADLINE)
            self.assertIn(process.returncode, (0, 3), err)
            self.assertEqual(process.returncode == 3, err.startswith(b"loopscope: "), err)
            statuses.add(process.returncode)
        self.assertIn(3, statuses)


if __name__ == "__main__":
    print(f"SEED={faults.SEED}")
    result = unittest.main(exit=False, verbosity=2).result
    left = faults.survivors()
    if left:
        print(f"still there: {left}", file=sys.stderr)
    print("\n".join(LINES), flush=True)
    sys.exit(0 if result.wasSuccessful() and not left else 1)
