#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where recordings go may be full, fill up later, be read-only or forbidden: the observed program runs all the same, counts the
same, and says what is wrong and what to do.

Each test has a mount namespace of its own, so nothing outside sees its file systems."""
import json
import os
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["COUNTED_TURNS"]
# As root a mount namespace is enough; others need a user namespace to be root in.
UNSHARE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]


def setUpModule():
    probe = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        # A container without CAP_SYS_ADMIN. Not a pass: the file systems that fill up are not tested there.
        raise unittest.SkipTest(f"no mount namespace to be had here: {probe.stderr.strip()}")


def run_on(mount_options, before="true", mode="loop"):
    """Runs PROGRAM with its recording on a tmpfs of these options; `before` prepares it as $D."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        script = f'mount -t tmpfs -o mode=700,{mount_options} none "$D" && {{ {before}; }} && exec "$P" {mode} epoll 500'
        return subprocess.run(
            [*UNSHARE, "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "D": directory, "P": PROGRAM, "LOOPSCOPE_DIR": directory})


class PlaceOfTheRecording(unittest.TestCase):
    def check_ran(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "", "a library does not write to the host's stderr")
        counted = json.loads(done.stdout)
        self.assertGreaterEqual(counted["iterations"], 450)
        self.assertEqual(counted["iterations"], counted["wait_count"])
        return counted

    def test_enough_space(self):
        counted = self.check_ran(run_on("size=16m"))
        self.assertEqual(counted["error"], "")
        self.assertEqual(counted["dropped_watchers"], 0)

    def test_full_from_the_start(self):
        counted = self.check_ran(run_on("size=64k", before='dd if=/dev/zero of="$D/ballast" bs=4k count=16 2>/dev/null; true'))
        self.assertIn("No space left on device", counted["error"])
        self.assertIn("LOOPSCOPE_DIR", counted["error"], "what to do")
        self.assertEqual(counted["dropped_watchers"], 0, "recording goes on in memory")

    def test_fills_up_later(self):
        # Room for the header and the loop, not for its watchers: those are dropped and counted, and nobody gets SIGBUS.
        counted = self.check_ran(run_on("size=220k"))
        self.assertGreater(counted["dropped_watchers"], 0)
        self.assertIn("could not grow: No space left on device", counted["error"])

    def test_fills_up_at_once(self):
        # Room for the header only: the loop itself is dropped, and runs.
        done = run_on("size=40k")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_read_only(self):
        counted = self.check_ran(run_on("size=16m", before='mount -o remount,ro "$D"'))
        self.assertIn("Read-only file system", counted["error"])
        self.assertIn("LOOPSCOPE_DIR", counted["error"])

    def test_open_to_others(self):
        counted = self.check_ran(run_on("size=16m", before='chmod 755 "$D"'))
        self.assertIn("chmod 700", counted["error"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
