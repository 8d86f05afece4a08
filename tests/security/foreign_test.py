#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Root reads the recordings of other users, who may have written anything into them: a path, for root to open; a process number, for
root to ask the kernel about; an end, of somebody else's process. What root is brought to show is on a page for others to see.

Needs root. Each attack has its twin: the same from a recording of root's own must succeed, or the attack proves nothing."""
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

LOOPSCOPE = os.environ["LOOPSCOPE_BIN"]
PROBE = os.environ["LOOPSCOPE_PROBE_FILE"]
OPENER = os.environ["OPENER"]  # opens its arguments, says so, waits for the end of its input
NOBODY = 65534
DEADLINE = 120
SUFFIX = ".loopscope"
# The front of the header: see docs/recording-format.md.
PID_AT, TICKS_AT = 28, 40


def start_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[19])


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "takes two users: only root has them")
class Foreign(unittest.TestCase):
    tried = 0

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        os.chmod(self.root, 0o755)
        self.environment = {key: value for key, value in os.environ.items()
                            if not key.startswith(("LOOPSCOPE", "XDG_RUNTIME", "LD_"))}
        # Of one length: a path in a recording is replaced by another in its place.
        self.public, self.secret, self.theirs = (self.directory(*what) for what in (
            ("public", 0o755), ("secret", 0o700), ("theirs", 0o700, NOBODY)))
        for place in (self.public, self.secret):
            shutil.copy(OPENER, os.path.join(place, "opener"))
        self.hidden = os.path.join(self.secret, "roots-own-file")
        with open(self.hidden, "wb") as file:
            file.write(b"x")

    def directory(self, name, mode, owner=None):
        path = os.path.join(self.root, name)
        os.mkdir(path)
        os.chmod(path, mode)
        if owner is not None:
            os.chown(path, owner, owner)
        return path

    def start(self, program, *files, directory, user=0):
        before = [] if user == 0 else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        process = subprocess.Popen([*before, "env", f"LD_PRELOAD={PROBE}", program, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env={**self.environment, "LOOPSCOPE_DIR": directory})
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), b"opened\n")
        recording = max((os.path.join(directory, name) for name in os.listdir(directory) if name.startswith(f"{process.pid}-")),
                        key=lambda path: int(os.path.basename(path)[:-len(SUFFIX)].split("-")[2]))
        return process, recording

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.stdin.close()
            try:
                process.wait(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=DEADLINE)
        process.stdin.close()
        process.stdout.close()

    def report(self, path, *options):
        done = subprocess.run([LOOPSCOPE, "report", "--format", "json", *options, path], capture_output=True, text=True, timeout=DEADLINE,
                              check=False, env=self.environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def forged(self, recording, name, owner, *changes, pid=None):
        """A copy of it with (from, to) replaced, or of process `pid`, as a recording of `owner`. Recordings are sparse, and so is the copy."""
        path = os.path.join(self.theirs if owner == NOBODY else self.secret, name)
        found = set()
        with open(recording, "rb") as source, open(path, "wb") as copy:
            end = os.fstat(source.fileno()).st_size
            copy.truncate(end)
            at = 0
            while at < end:
                try:
                    at = os.lseek(source.fileno(), at, os.SEEK_DATA)
                except OSError:  # no more data
                    break
                stop = os.lseek(source.fileno(), at, os.SEEK_HOLE)
                content = os.pread(source.fileno(), stop - at, at)
                for old, new in changes:
                    self.assertEqual(len(old), len(new))
                    found.update({old} if old in content else ())
                    content = content.replace(old, new)
                if at == 0 and pid is not None:
                    content = bytearray(content)
                    struct.pack_into("<i", content, PID_AT, pid)
                    struct.pack_into("<Q", content, TICKS_AT, start_ticks(pid))
                os.pwrite(copy.fileno(), content, at)
                at = stop
        self.assertEqual(found, {old for old, _ in changes})
        os.chmod(path, 0o600)
        os.chown(path, owner, owner)
        type(self).tried += 1
        return path

    def test_names_of_a_file_that_the_author_could_not_read(self):
        process, recording = self.start(os.path.join(self.public, "opener"), "/dev/null", directory=self.theirs, user=NOBODY)
        self.end(process)
        self.assertIn("opens_a_file_for_all_to_see", self.report(recording), "what he could read himself is named")
        paths = (os.path.join(self.public, "opener").encode(), os.path.join(self.secret, "opener").encode())
        forged = self.report(self.forged(recording, "1-1-0" + SUFFIX, NOBODY, paths))
        self.assertIn("/secret/opener", forged, "the path is shown: he said it himself")
        self.assertNotIn("opens_a_file_for_all_to_see", forged)
        self.assertIn("opens_a_file_for_all_to_see", self.report(self.forged(recording, "1-2-0" + SUFFIX, 0, paths)))

    def test_links_that_lead_past_permissions(self):
        """By /proc/PID/exe, root and fd of a process of root's, in a path or behind a link of his own: magic links, and not even root's
        own recordings are read by them."""
        secret, _ = self.start(os.path.join(self.secret, "opener"), "/dev/null", directory=self.directory("roots", 0o700))
        process, recording = self.start(os.path.join(self.public, "opener"), "/dev/null", directory=self.theirs, user=NOBODY)
        self.end(process)
        public = os.path.join(self.public, "opener").encode()
        for number, target in enumerate((f"/proc/{secret.pid}/exe", f"/proc/{secret.pid}/root{self.secret}/opener")):
            link = os.path.join(self.root, "a" * (len(public) - len(self.root) - 1))
            os.symlink(target, link)
            for owner in (NOBODY, 0):
                with self.subTest(target=target, owner=owner):
                    forged = self.forged(recording, f"1-{number + 3}-{owner}" + SUFFIX, owner, (public, link.encode()))
                    self.assertNotIn("opens_a_file_for_all_to_see", self.report(forged))
            os.unlink(link)
        # Twin: the link itself is followed.
        os.symlink(public, link)
        self.assertIn("opens_a_file_for_all_to_see", self.report(self.forged(recording, "1-5-0" + SUFFIX, 0, (public, link.encode()))))

    def test_paths_of_what_is_no_file(self):
        """A FIFO would hang, a device do something, a file of the kernel's be used up by reading (/proc/kmsg). None is even opened."""
        process, recording = self.start(os.path.join(self.public, "opener"), "/dev/null", directory=self.theirs, user=NOBODY)
        self.end(process)
        public = os.path.join(self.public, "opener").encode()
        link = os.path.join(self.root, "b" * (len(public) - len(self.root) - 1))
        fifo = os.path.join(self.root, "fifo")
        os.mkfifo(fifo, 0o666)
        sparse = os.path.join(self.root, "sparse")
        with open(sparse, "wb") as file:
            file.truncate(1 << 40)
        os.chmod(sparse, 0o644)
        if not shutil.which("strace"):
            self.skipTest("strace tells what is opened")
        for owner in (NOBODY, 0):
            for number, target in enumerate((fifo, "/dev/tty", "/dev/zero", "/proc/kmsg", "/proc/self/status", "/sys/power/state", sparse,
                                             self.root)):
                with self.subTest(target=target, owner=owner):
                    os.symlink(target, link)
                    forged = self.forged(recording, f"2-{number + 1}-{owner}" + SUFFIX, owner, (public, link.encode()))
                    log = os.path.join(self.root, "log")
                    done = subprocess.run(["strace", "-f", "-y", "-qq", "-e", "trace=%file,read,pread64", "-o", log, LOOPSCOPE, "report", "--format", "json",
                                           forged], capture_output=True, text=True, timeout=DEADLINE, check=False, env=self.environment)
                    os.unlink(link)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    with open(log, encoding="utf-8", errors="replace") as file:
                        lines = file.read().splitlines()
                    # Held by O_PATH, which opens nothing; after that, only a regular file of a file system is opened through its number.
                    held = [line for line in lines if link in line and "O_PATH" in line]
                    self.assertTrue(held, "or nothing was tried")
                    opened = [line for line in lines if f"<{target}>" in line and ("read(" in line or "pread64(" in line or
                                                                                  ("open" in line and "O_PATH" not in line and "O_DIRECTORY" not in line))]
                    if target != sparse:
                        self.assertEqual(opened, [])
                    self.assertLess(len(opened), 1000)

    def test_what_the_kernel_says_of_somebody_elses_process(self):
        """His recording says that it is of a process of root's: open files of that are not his to see, nor is it his to say how it fares."""
        # One descriptor more than the forged recording knows of: that one is the kernel's to tell.
        victim, roots = self.start(os.path.join(self.public, "opener"), "/dev/null", self.hidden, directory=self.directory("roots", 0o700))
        process, recording = self.start(os.path.join(self.public, "opener"), "/dev/null", directory=self.theirs, user=NOBODY)
        with open(recording, "rb") as file:
            header = file.read(64)
        self.assertEqual(struct.unpack_from("<i", header, PID_AT)[0], process.pid)
        self.assertEqual(struct.unpack_from("<Q", header, TICKS_AT)[0], start_ticks(process.pid))
        for owner in (NOBODY, 0):
            with self.subTest(owner=owner):
                path = self.forged(recording, f"{victim.pid}-{start_ticks(victim.pid)}-0{SUFFIX}", owner, pid=victim.pid)
                said = self.report(path, "--descriptors")
                state = json.loads(said)["processes"][0]["state"]
                self.assertEqual(("roots-own-file" in said, state == "running"), (owner == 0, owner == 0))
                os.unlink(path)
        # Found by its number, the true one is shown.
        found = subprocess.run([LOOPSCOPE, "report", "--format", "json", str(process.pid)], capture_output=True, text=True, timeout=DEADLINE,
                               check=False, env={**self.environment, "LOOPSCOPE_DIR": self.theirs})
        self.assertEqual(json.loads(found.stdout)["processes"][0]["state"], "running", found.stderr)
        self.assertTrue(os.path.exists(roots))

    def test_a_hard_link_in_his_directory(self):
        """What root trusts because it is root's, in a directory of his."""
        process, recording = self.start(os.path.join(self.public, "opener"), self.hidden, directory=self.directory("roots", 0o700))
        os.link(recording, os.path.join(self.theirs, os.path.basename(recording)))
        type(self).tried += 1
        done = subprocess.run([LOOPSCOPE, "report"], capture_output=True, text=True, timeout=DEADLINE, check=False,
                              env={**self.environment, "LOOPSCOPE_DIR": self.theirs})
        self.assertIn("another user", done.stderr)
        done = subprocess.run([LOOPSCOPE, "report"], capture_output=True, text=True, timeout=DEADLINE, check=False,
                              env={**self.environment, "LOOPSCOPE_DIR": os.path.dirname(recording)})
        self.assertIn(str(process.pid), done.stderr)
        self.assertNotIn("another user", done.stderr)

    def test_a_flood_of_his(self):
        """Of a process that lives he makes as many recordings as he likes: root's are shown all the same, and what is left out is counted."""
        in_a_place_of_its_own = ["unshare", "-m", "--propagation", "private", "sh", "-ec",
                                 """mount -t tmpfs none /dev/shm
                                 mkdir -m 700 /dev/shm/loopscope-0 /dev/shm/loopscope-$3
                                 chown $3 /dev/shm/loopscope-$3
                                 mount --bind "$1" /dev/shm/loopscope-0
                                 mount --bind "$2" /dev/shm/loopscope-$3
                                 shift 3
                                 exec "$@\"""", "sh"]
        roots = self.directory("roots", 0o700)
        probe = subprocess.run([*in_a_place_of_its_own, roots, self.theirs, str(NOBODY), "true"], capture_output=True, check=False, timeout=DEADLINE)
        if probe.returncode != 0:
            self.skipTest(f"no mount namespaces here: {probe.stderr}")
        own, _ = self.start(os.path.join(self.public, "opener"), "/dev/null", directory=roots)
        process, recording = self.start(os.path.join(self.public, "opener"), "/dev/null", directory=self.theirs, user=NOBODY)
        for run in range(10000):
            os.link(recording, os.path.join(self.theirs, f"{process.pid}-{start_ticks(process.pid)}-0-{run + 1}{SUFFIX}"))
        type(self).tried += 1
        done = subprocess.run([*in_a_place_of_its_own, roots, self.theirs, str(NOBODY), LOOPSCOPE, "report"], capture_output=True, text=True,
                              timeout=DEADLINE, check=False, env=self.environment)
        lines = done.stderr.splitlines()
        shown = [line.split()[0] for line in lines if line.endswith(SUFFIX)]
        self.assertEqual((shown.count(str(own.pid)), shown.count(str(process.pid))), (1, 1024))
        (said,) = (line for line in lines if "left out" in line)
        self.assertRegex(said, rf"\d or more recordings in /dev/shm/loopscope-{NOBODY} are left out: of another user's, 1024 are shown at most")


if __name__ == "__main__":
    time.tzset()
    ended = unittest.main(verbosity=2, exit=False)
    if ended.result.wasSuccessful() and Foreign.tried:
        print(f"reliability: hostile-recordings: {Foreign.tried} forged recordings of another user read by root: no file opened that the user could not "
              "read, no other process asked about")
    sys.exit(0 if ended.result.wasSuccessful() else 1)
