#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks on recordings and on the environment that says where they go. Whatever is tried, the observed program runs as it would,
and what is written is a file of mode 0600 in a directory of mode 0700 that belongs to the user; others' files stay as they were.

What takes two users is tried as root, as the user 65534. Not root: those are skipped, and say so."""
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

LOOPSCOPE = os.environ["LOOPSCOPE_BIN"]
PROBE = os.environ["LOOPSCOPE_PROBE_FILE"]
COUNTED_TURNS = os.environ["COUNTED_TURNS"]  # uses the library, not the probe
PROGRAM = ["sh", "-c", "echo ran; cat /dev/null; exit 7"]
VICTIM = b"the victim's own\n"
NOBODY = 65534
DEADLINE = 60
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
# Names itself in the recording's name before it becomes argv[2:]: "{}" in argv[1] is a directory, where what the attacker has put
# waits under that name.
PLANT = """
import os, sys
ticks = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
for image in range(int(sys.argv[4])):
    path = f"{sys.argv[1]}/{os.getpid()}-{ticks}-{image}.loopscope"
    {"symlink": os.symlink, "link": os.link, "file": lambda victim, at: open(at, "wb").write(b"planted")}[sys.argv[2]](sys.argv[3], path)
os.environ["LD_PRELOAD"] = os.environ.pop("PRELOAD")
os.execvp(sys.argv[5], sys.argv[5:])
"""


def needs_root(function):
    return unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "takes two users: only root has them")(function)


class Attack(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        os.chmod(self.root, 0o755)  # others come by; what is private is below
        self.mine = self.directory("mine", 0o700)
        self.victim = os.path.join(self.root, "victim")
        with open(self.victim, "wb") as file:
            file.write(VICTIM)
        self.environment = {key: value for key, value in os.environ.items()
                            if not key.startswith(("LOOPSCOPE", "XDG_RUNTIME", "LD_"))}

    def directory(self, name, mode, owner=None):
        path = os.path.join(self.root, name)
        os.mkdir(path)
        os.chmod(path, mode)
        if owner is not None:
            os.chown(path, owner, owner)
        return path

    def observed(self, before=(), cwd=None, preload=PROBE, **environment):
        """PROGRAM under the probe: it must run as it does without."""
        done = subprocess.run([*before, "env", *([f"LD_PRELOAD={preload}"] if preload else []), *PROGRAM], capture_output=True,
                              timeout=DEADLINE, check=False, cwd=cwd or self.root, env={**self.environment, **environment})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, b"ran\n", b""))

    def files_below(self, directory):
        return sorted(os.path.join(at, name) for at, _, names in os.walk(directory) for name in names)

    def assert_untouched(self):
        with open(self.victim, "rb") as file:
            self.assertEqual(file.read(), VICTIM)

    def assert_all_private(self, directory):
        """Every recording below is 0600, in a directory of ours of mode 0700."""
        found = [path for path in self.files_below(directory) if path.endswith(".loopscope")]
        for path in found:
            file, parent = os.lstat(path), os.lstat(os.path.dirname(path))
            self.assertTrue(stat.S_ISREG(file.st_mode), path)
            self.assertEqual((file.st_mode & 0o7777, file.st_uid), (0o600, os.geteuid()), path)
            self.assertEqual((parent.st_mode & 0o777, parent.st_uid), (0o700, os.geteuid()), path)
        return found


class Directory(Attack):
    """That recordings are to go to. `works` first: a refusal is one only if the same would else have recorded."""

    def test_works(self):
        self.observed(LOOPSCOPE_DIR=self.mine)
        self.assertGreater(len(self.assert_all_private(self.mine)), 0)

    def test_umask_does_not_open_it(self):
        place = os.path.join(self.root, "new")
        self.observed(before=["sh", "-c", 'umask 0; exec "$@"', "sh"], LOOPSCOPE_DIR=place)
        self.assertGreater(len(self.assert_all_private(place)), 0)

    def test_a_link(self):
        link = os.path.join(self.root, "link")
        os.symlink(self.mine, link)
        self.observed(LOOPSCOPE_DIR=link)
        self.observed(LOOPSCOPE_PROBE="dir=" + link)
        self.assertEqual(self.files_below(self.mine), [])

    def test_open_to_others(self):
        for mode in (0o750, 0o770, 0o701, 0o702, 0o777, 0o1777):
            with self.subTest(mode=oct(mode)):
                place = self.directory(f"open-{mode:o}", mode)
                self.observed(LOOPSCOPE_DIR=place)
                self.assertEqual(os.listdir(place), [])

    @needs_root
    def test_somebody_elses(self):
        place = self.directory("theirs", 0o700, NOBODY)
        self.observed(LOOPSCOPE_DIR=place)
        self.assertEqual(os.listdir(place), [])

    @needs_root
    def test_the_usual_place_taken_by_somebody_else(self):
        """/dev/shm/loopscope-UID is made by who comes first: another user may be first, with a directory or a link."""
        script = ('mount -t tmpfs -o mode=1777 none /dev/shm && $TAKE && chown -h $OWNER /dev/shm/loopscope-65534 && '
                  'setpriv --reuid=65534 --regid=65534 --clear-groups env LD_PRELOAD="$PRELOAD" "$@"; '
                  'status=$?; find "$TRAP" /dev/shm -name "*.loopscope" >&2; exit $status')
        trap = self.directory("trap", 0o700, NOBODY)
        place = "/dev/shm/loopscope-65534"
        for take, owner in ((f"ln -s {trap} {place}", 1), (f"mkdir -m 777 {place}", 1), (f"mkdir -m 700 {place}", 1),
                            (f"touch {place}", 1), (f"mkdir -m 700 {place}", NOBODY)):
            with self.subTest(take=take, owner=owner):
                done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *PROGRAM], capture_output=True, text=True, timeout=DEADLINE,
                                      check=False, env={**self.environment, "TAKE": take, "OWNER": str(owner), "TRAP": trap, "PRELOAD": PROBE})
                if done.stderr.startswith(("unshare", "mount")):
                    self.skipTest(f"no mount namespace to be had here: {done.stderr.strip()}")
                self.assertEqual((done.returncode, done.stdout), (7, "ran\n"), done.stderr)
                # Left by its owner it is taken: or a refusal would prove nothing.
                self.assertEqual(f"{place}/" in done.stderr, owner == NOBODY, done.stderr)
                self.assertNotIn(trap, done.stderr)


class Files(Attack):
    """Somebody who can write to the directory (the user's other programs) plants what the recording is going to be called."""

    def plant(self, how, images=1, victim=None):
        done = subprocess.run([sys.executable, "-c", PLANT, self.mine, how, victim or self.victim, str(images), *PROGRAM], capture_output=True,
                              timeout=DEADLINE, check=False,
                              env={**self.environment, "PRELOAD": PROBE, "LOOPSCOPE_DIR": self.mine})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, b"ran\n", b""))

    def test_a_link_to_a_file(self):
        self.plant("symlink")
        self.assert_untouched()

    def test_a_link_to_nothing(self):
        missing = os.path.join(self.root, "missing")
        self.plant("symlink", victim=missing)
        self.assertFalse(os.path.lexists(missing))

    def test_a_hard_link(self):
        self.plant("link")
        self.assert_untouched()
        self.assertEqual(os.stat(self.victim).st_mode & 0o777, 0o644 & ~self.umask())

    @staticmethod
    def umask():
        value = os.umask(0)
        os.umask(value)
        return value

    def test_a_file(self):
        self.plant("file")
        planted = [path for path in self.files_below(self.mine) if os.path.getsize(path) < 100]
        self.assertEqual(len(planted), 1)
        with open(planted[0], "rb") as file:
            self.assertEqual(file.read(), b"planted")

    def test_the_next_name_is_taken(self):
        self.plant("symlink", images=3)
        recordings = [path for path in self.files_below(self.mine) if not os.path.islink(path)]
        self.assertTrue(any(path.endswith("-3.loopscope") for path in recordings), recordings)

    def test_every_name_is_taken(self):
        self.plant("link", images=1000)
        self.assert_untouched()

    def test_pruning_removes_names_and_follows_none(self):
        """Old recordings are removed when there are more than 32: here links, of processes that never were."""
        inside = self.directory("inside", 0o700)
        kept = os.path.join(inside, "1-1-0.loopscope")
        shutil.copy(self.victim, kept)
        for number in range(20):
            os.symlink(self.victim, os.path.join(self.mine, f"{number + 1}-1-0.loopscope"))
            os.link(self.victim, os.path.join(self.mine, f"{number + 1}-2-0.loopscope"))
            os.symlink(inside, os.path.join(self.mine, f"{number + 1}-3-0.loopscope"))
        os.mkdir(os.path.join(self.mine, "1-4-0.loopscope"))
        before = len(os.listdir(self.mine))
        for _ in range(4):
            self.observed(LOOPSCOPE_DIR=self.mine)
        self.assertLess(len(os.listdir(self.mine)), before, "or nothing was pruned")
        self.assert_untouched()
        self.assertEqual(os.listdir(inside), ["1-1-0.loopscope"])


class Environment(Attack):
    """Values that somebody else chose."""

    def setUp(self):
        super().setUp()
        self.strays_before = self.recordings_of_the_system()

    def hostile(self):
        outside = self.directory("outside", 0o755)
        return outside, (
            "dir=" + "x/" * 60_000, "dir=" + "/" * 4096, "dir=" + self.root + "/" + "n" * 300, "x" * 120_000,
            "dir=/etc", "dir=/", "dir=/dev/null", "dir=/proc/self", "dir=/proc/self/fd", "dir=/dev/shm", "dir=/tmp", "dir=" + outside,
            "dir=relative", "dir=../outside", "dir=.", "dir=..", "dir=", "dir=a\nb", "dir=\n", "dir=%s%n%s%n", "dir=" + self.root + "/a\tb\x1b[2J",
            "dir=\udcff\udcfe", "run=-1,dir=" + self.mine, "run=99999999999999999999,stall=99999999999999999999,dir=" + self.mine,
            "boot=" + "z" * 36 + ",dir=" + self.mine, "clock=tsc,clock=x,stacks=,dir=" + self.mine,
            "scripts,closes,census,stall=1,dir=" + outside, "dir=" + self.victim, "dir=" + self.victim + "/below")

    def assert_nothing_strange(self, before, outside):
        """New files are recordings in private directories, wherever they are."""
        for path in set(self.files_below(self.root)) - before:
            self.assertTrue(path.endswith(".loopscope"), path)
        self.assert_all_private(self.root)
        self.assertEqual(os.listdir(outside), [])
        self.assert_untouched()
        strays = self.recordings_of_the_system() - self.strays_before
        for stray in strays:
            os.unlink(stray)
        self.assertEqual(strays, set())

    @staticmethod
    def recordings_of_the_system():
        return {os.path.join(place, name) for place in ("/etc", "/", "/dev/shm", "/tmp") for name in os.listdir(place)
                if name.endswith(".loopscope")}

    def test_of_the_probe(self):
        outside, values = self.hostile()
        cwd = self.directory("cwd", 0o755)
        before = set(self.files_below(self.root))
        for value in values:
            with self.subTest(value=value[:60]):
                self.observed(cwd=cwd, LOOPSCOPE_PROBE=value)
                self.assert_nothing_strange(before, outside)

    def test_of_the_directory(self):
        outside, values = self.hostile()
        cwd = self.directory("cwd", 0o755)
        before = set(self.files_below(self.root))
        for value in values:
            if not value.startswith("dir=") or value == "dir=":
                continue
            with self.subTest(value=value[:60]):
                self.observed(cwd=cwd, LOOPSCOPE_DIR=value[4:])
                self.assert_nothing_strange(before, outside)
                done = subprocess.run([COUNTED_TURNS, "loop", "epoll", "20"], capture_output=True, timeout=DEADLINE, check=False, cwd=cwd,
                                      env={**self.environment, "LOOPSCOPE_DIR": value[4:]})
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assert_nothing_strange(before, outside)

    @needs_root
    def test_of_a_setuid_program(self):
        """Root's program, started by a user: the user's variables say nothing, and no probe of the user's is loaded into it."""
        place = self.directory("users", 0o700, NOBODY)
        program = os.path.join(self.root, "setuid")
        shutil.copy(COUNTED_TURNS, program)
        os.chmod(program, 0o4755)
        if os.statvfs(self.root).f_flag & os.ST_NOSUID:
            self.skipTest(f"{self.root} is mounted nosuid")
        # Root's own place is on a /dev/shm that only this test sees.
        script = ('mount -t tmpfs -o mode=1777 none /dev/shm && setpriv --reuid=65534 --regid=65534 --clear-groups env '
                  'LOOPSCOPE_DIR="$PLACE" XDG_RUNTIME_DIR="$PLACE" LOOPSCOPE_ARGV=off LOOPSCOPE_PROBE="dir=$PLACE" LD_PRELOAD="$PRELOAD" '
                  '"$PROGRAM" loop epoll 20; status=$?; find /dev/shm -mindepth 1 -printf "%p %U %m\\n"; exit $status')
        done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=DEADLINE, check=False,
                              env={**self.environment, "PLACE": place, "PRELOAD": PROBE, "PROGRAM": program})
        if done.stderr.startswith(("unshare", "mount")):
            self.skipTest(f"no mount namespace to be had here: {done.stderr.strip()}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(place), [])
        # The program has removed its recording by then. setpriv and env, before it, are the user's.
        self.assertIn("/dev/shm/loopscope-0 0 700", done.stdout.splitlines(), done.stdout + done.stderr)

    @needs_root
    def test_of_a_setuid_program_with_the_probe(self):
        """The same where root's program has the probe in it: where it records, and what of its argv, is not for the user to say."""
        if not os.environ["PROBED"]:
            self.skipTest("no program is linked with the probe under a sanitizer")
        program = os.path.join(self.root, "setuid")
        shutil.copy(os.environ["PROBED"], program)
        if os.statvfs(self.root).f_flag & os.ST_NOSUID:
            self.skipTest(f"{self.root} is mounted nosuid")
        if not os.environ.get("SHM_IS_PRIVATE"):
            self.skipTest("no mount namespace to be had here")
        # Without the bit it is the user's own process, and every variable says what it says: one by one, as they stand in for each other.
        # With it they name a directory that root's process may well write to, and the user may not.
        for mode, obeyed, place in ((0o755, True, self.directory("users", 0o700, NOBODY)), (0o4755, False, self.directory("roots", 0o700))):
            os.chmod(program, mode)
            wishes = {"LOOPSCOPE_DIR": place, "XDG_RUNTIME_DIR": place, "LOOPSCOPE_ARGV": "off", "LOOPSCOPE_PROBE": "dir=" + place}
            for name in wishes:
                with self.subTest(variable=name, setuid=not obeyed):
                    at, pid = self.killed_recording(program, {name: wishes[name]}, place)
                    status = os.stat(at)
                    self.assertEqual((status.st_mode & 0o7777, status.st_uid), (0o600, NOBODY if obeyed else 0))
                    self.assertEqual(at.startswith(place + "/"), obeyed and name != "LOOPSCOPE_ARGV", at)
                    told = self.told_of(at, pid)
                    self.assertEqual(self.victim in told, not obeyed or name != "LOOPSCOPE_ARGV", told)
                    os.unlink(at)

    def killed_recording(self, program, variables, place):
        """Where the program, started by the user with these variables and killed, has left its one recording."""
        process = subprocess.Popen([*AS_NOBODY, program, self.victim], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env={**self.environment, **variables})
        self.assertEqual(process.stdout.readline(), b"opened\n")
        process.kill()
        process.communicate(timeout=DEADLINE)
        found = [path for where in (place, "/dev/shm") for path in self.files_below(where) if f"/{process.pid}-" in path]
        self.assertEqual(len(found), 1, found)
        return found[0], process.pid

    def told_of(self, recording, pid):
        done = subprocess.run([LOOPSCOPE, "report", "--format", "json", recording], capture_output=True, text=True, timeout=DEADLINE,
                              check=False, env=self.environment)
        process, = [process for process in json.loads(done.stdout)["processes"] if process["pid"] == pid]
        return process["argv"]

    @needs_root
    def test_the_page_of_a_setuid_program(self):
        """With LOOPSCOPE_WEBUI_DIR the page comes from a directory: in a setuid program a user's link there would read root's files."""
        program = os.path.join(self.root, "setuid")
        shutil.copy(os.environ["HELLO"], program)
        secret = os.path.join(self.root, "secret")
        with open(secret, "wb") as file:
            file.write(VICTIM)
        os.chmod(secret, 0o600)
        page = self.directory("page", 0o755, NOBODY)
        for name in ("index.html", "app.js", "app.css", "report.html"):
            os.symlink(secret, os.path.join(page, name))
        if os.statvfs(self.root).f_flag & os.ST_NOSUID:
            self.skipTest(f"{self.root} is mounted nosuid")
        # Without the bit root itself wants that page and gets it: what the attacker would see.
        for mode, before, shown in ((0o755, [], True), (0o4755, AS_NOBODY, False)):
            os.chmod(program, mode)
            server = subprocess.Popen([*before, program], stdout=subprocess.DEVNULL,
                                      env={**self.environment, "LOOPSCOPE_WEBUI_DIR": page, "LOOPSCOPE_DIR": self.mine})
            try:
                url = self.address_of(server)
                with urllib.request.urlopen(url + "/app.js", timeout=DEADLINE) as answer:
                    body = answer.read()
                self.assertEqual(body == VICTIM, shown)
            finally:
                server.kill()
                server.communicate(timeout=DEADLINE)

    def address_of(self, server):
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            self.assertIsNone(server.poll(), "it ended")
            try:
                inodes = {os.readlink(f"/proc/{server.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{server.pid}/fd")}
            except OSError:
                inodes = set()
            with open("/proc/net/tcp", encoding="ascii") as file:
                for row in file.readlines()[1:]:
                    fields = row.split()
                    if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                        return f"http://127.0.0.1:{int(fields[1].split(':')[1], 16)}"
            time.sleep(0.05)
        raise AssertionError("it listens nowhere")


class Readers(Attack):
    def command(self, *arguments, before=(), **environment):
        return subprocess.run([*before, LOOPSCOPE, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False,
                              cwd=self.root, env={**self.environment, **environment})

    @needs_root
    def test_another_users_process_is_refused(self):
        sleeper = subprocess.Popen(["sh", "-c", "echo there; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env={**self.environment, "LD_PRELOAD": PROBE, "LOOPSCOPE_DIR": self.mine})
        try:
            self.assertEqual(sleeper.stdout.readline(), b"there\n")
            recording, = [path for path in self.files_below(self.mine) if f"/{sleeper.pid}-" in path]
            self.assertEqual(self.command("report", recording).returncode, 0)
            for target in (recording, str(sleeper.pid)):
                done = self.command("report", target, before=AS_NOBODY, LOOPSCOPE_DIR=self.mine)
                self.assertEqual((done.returncode, done.stdout), (3, ""), target)
                self.assertIn("ermission denied", done.stderr)
        finally:
            sleeper.communicate(timeout=DEADLINE)

    @needs_root
    def test_root_follows_no_link_of_a_users(self):
        """What lies in a user's directory is that user's to choose: not a way to have root read something else."""
        recording = os.path.join(self.mine, "1-1-0.loopscope")
        self.observed(LOOPSCOPE_DIR=self.mine)
        os.rename(self.assert_all_private(self.mine)[0], recording)
        theirs = self.directory("theirs", 0o700, NOBODY)
        os.symlink(recording, os.path.join(theirs, "2-1-0.loopscope"))
        os.mkfifo(os.path.join(theirs, "3-1-0.loopscope"))
        os.mkdir(os.path.join(theirs, "4-1-0.loopscope"))
        done = self.command("report", "--format", "json", os.path.join(theirs, "3-1-0.loopscope"))
        self.assertEqual(done.returncode, 3, "a FIFO must not make us wait")
        # Without a FILE it lists what there is.
        self.assertIn("/1-1-0.loopscope", self.command("report", LOOPSCOPE_DIR=self.mine).stderr, "or this test proves nothing")
        self.assertNotIn("/2-1-0.loopscope", self.command("report", LOOPSCOPE_DIR=theirs).stderr)


def hide_dev_shm():
    """A probe that is refused a directory falls back to /dev/shm/loopscope-UID: not among the recordings of who runs the tests."""
    if os.geteuid() != 0 or os.environ.get("SHM_IS_PRIVATE"):
        return
    private = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o mode=1777 none /dev/shm && exec "$@"', "sh"]
    if shutil.which("unshare") and subprocess.run([*private, "true"], capture_output=True, check=False).returncode == 0:
        os.environ["SHM_IS_PRIVATE"] = "yes"
        os.execvp(private[0], [*private, sys.executable, *sys.argv])


if __name__ == "__main__":
    hide_dev_shm()
    unittest.main(verbosity=2)
