#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The directory of recordings and a symbolic link of that name to another one change places, as fast as a process can, while programs
begin to record there and while somebody reads: nothing is written to, read from or removed in the other directory."""
import ctypes
import os
import subprocess
import sys
import tempfile
import time
import unittest

LOOPSCOPE = os.environ["LOOPSCOPE_BIN"]
PROBE = os.environ["LOOPSCOPE_PROBE_FILE"]
SLOW = os.environ.get("SLOW") == "1"
STARTS = 4000 if SLOW else 300
READS = 1000 if SLOW else 40
DEADLINE = 60
SUFFIX = ".loopscope"
RENAMEAT2, AT_FDCWD, RENAME_EXCHANGE = 316, -100, 2
SWAPPER = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
a, b = (path.encode() for path in sys.argv[1:])
print("swaps", flush=True)
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1000):
        if libc.syscall({RENAMEAT2}, {AT_FDCWD}, a, {AT_FDCWD}, b, {RENAME_EXCHANGE}) != 0:
            sys.exit("renameat2: " + os.strerror(ctypes.get_errno()))
"""
LAUNCHER = """
import os, subprocess, sys
for _ in range(int(sys.argv[1])):
    subprocess.run(sys.argv[2:], check=True)
"""


class Swapped(unittest.TestCase):
    def setUp(self):
        if os.uname().machine != "x86_64":
            self.skipTest("renameat2's number is not known here")
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        self.place, self.link, self.trap = (os.path.join(self.root, name) for name in ("place", "link", "trap"))
        for path in (self.place, self.trap):
            os.mkdir(path, 0o700)  # both good: refused is only what is reached by the link
        os.symlink(self.trap, self.link)
        libc = ctypes.CDLL(None, use_errno=True)
        for _ in range(2):
            if libc.syscall(RENAMEAT2, AT_FDCWD, self.place.encode(), AT_FDCWD, self.link.encode(), RENAME_EXCHANGE) != 0:
                self.skipTest(f"names cannot be exchanged here: {os.strerror(ctypes.get_errno())}")
        self.environment = {key: value for key, value in os.environ.items()
                            if not key.startswith(("LOOPSCOPE", "XDG_RUNTIME", "LD_"))}

    def swap(self):
        swapper = subprocess.Popen([sys.executable, "-c", SWAPPER, self.place, self.link], stdout=subprocess.PIPE)

        def end():
            ended = swapper.poll()
            swapper.kill()
            swapper.communicate(timeout=DEADLINE)
            self.assertIsNone(ended, "it swapped to the end")

        self.addCleanup(end)
        self.assertEqual(swapper.stdout.readline(), b"swaps\n")

    def real(self):
        """The directory, whatever its name is now."""
        while True:
            for path in (self.place, self.link):
                try:
                    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                except OSError:
                    continue
                try:
                    return os.listdir(fd)
                finally:
                    os.close(fd)

    def test_writers(self):
        self.swap()
        recorded = 0
        # Many in one process: it is the probe in `true` that is wanted, in rounds, because it keeps no more than 32 recordings.
        for _ in range(STARTS // 20):
            before = set(self.real())
            subprocess.run([sys.executable, "-S", "-c", LAUNCHER, "20", "env", f"LD_PRELOAD={PROBE}", f"LOOPSCOPE_DIR={self.place}", "true"],
                           check=True, env=self.environment, timeout=DEADLINE)
            recorded += len(set(self.real()) - before)
            self.assertEqual(os.listdir(self.trap), [])
        self.assertGreater(recorded, STARTS // 50, "or nothing was tried")
        print(f"reliability: directory-swapped: {STARTS} programs started while a link and the directory changed places: {recorded} recordings where "
              "they belong, 0 where the link led")

    def record(self, directory):
        subprocess.run(["env", f"LD_PRELOAD={PROBE}", f"LOOPSCOPE_DIR={directory}", "true"], check=True, env=self.environment, timeout=DEADLINE)
        name, = [name for name in os.listdir(directory) if name.endswith("-0" + SUFFIX) or name.endswith("-1" + SUFFIX)][:1]
        return name

    def test_readers(self):
        for directory, name in ((self.place, "11-1-0"), (self.trap, "22-1-0")):
            made = self.record(directory)
            os.rename(os.path.join(directory, made), os.path.join(directory, name + SUFFIX))
        command = [LOOPSCOPE, "report"]  # lists what there is
        environment = {**self.environment, "LOOPSCOPE_DIR": self.place}

        def said():
            return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=environment).stderr

        self.assertIn("11-1-0", said())
        self.swap()
        shown = refused = 0
        for _ in range(READS):
            text = said()
            self.assertNotIn("22-1-0", text)
            shown += "11-1-0" in text
            refused += "symbolic link" in text or "cannot read" in text or "cannot open" in text
        self.assertTrue(shown and refused, f"{shown} times shown, {refused} refused of {READS}: or nothing was tried")


if __name__ == "__main__":
    time.tzset()
    unittest.main(verbosity=2)
