# SPDX-License-Identifier: Apache-2.0
"""A program under the probe and under strace at once; what both say of it, and whether that is equal.

    class Redis(observed.RealProgramTest):
        def test_echo(self):
            run = self.observe([observed.tool("redis-server"), "--port", str(port)])      # strace, probe, fresh recordings
            run.wait_for(r"Ready to accept")                                             # in its output
            ...                                                                         # a bounded load
            run.signal(signal.SIGTERM)                                                  # to run.pid, the program's process
            both = run.finish()                                                         # all of its processes have ended
            self.assert_equal_to_the_kernels(both)

    Run: .pid .directory (its own, removed at the end) .recordings .trace (kernel_account.Trace) .output() .status
         .wait_for(pattern) .wait_for_port(port) .eventually(what, attempt) .settle() .signal(how, pid=None)
         .finish(deadline=40) -> Both
    Both: .account (kernel_account.Account), .processes {recording's name: process object of `loopscope report`'s JSON},
          .of(image) -> that process, .images(command) -> observed images whose program has this file name
    assert_equal_to_the_kernels(both, ...): every process that has a recording: all loops, waits, descriptors. Its parts:
          assert_equal_loops(image, process, turns=False), assert_equal_descriptors(image, process)
          turns=True: a ppoll on the epoll descriptor and the epoll_wait(0) after it are one wait (EventMachine).
    free_port() -> a TCP port of 127.0.0.1 that was free a moment ago; tool(name) -> path, from PATH or $TOOLS.

Environment: LOOPSCOPE_PROBE_LIB the probe, LOOPSCOPE_BIN the command, TOOLS a directory below which packages are unpacked
(build/tools/usr/bin: its sbin and lib are found from it). LOOPSCOPE_TEST_KEEP=1 keeps directories and prints their names.
LOOPSCOPE_TEST_STRACE_ALONE=1, to try out a load: no probe, and what would be compared with it is not.

The state that is compared is that of a program which has ended: nothing is in flight. A wait in which it ended did not return,
on either side.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import kernel_account  # noqa: E402  pylint: disable=wrong-import-position

ALONE = bool(os.environ.get("LOOPSCOPE_TEST_STRACE_ALONE"))
PROBE = "" if ALONE else os.environ.get("LOOPSCOPE_PROBE_LIB", "")
BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
TOOLS = os.environ.get("TOOLS", "")
KEEP = bool(os.environ.get("LOOPSCOPE_TEST_KEEP"))

LOOP_FIELDS = ("iterations", "ready_events", "events", "timeout", "interrupted", "error", "nonblocking", "blocking", "saturated")


def tool(name):
    """A program from PATH, or from a package that is unpacked below $TOOLS/../.."""
    tools = [TOOLS, os.path.join(os.path.dirname(TOOLS), "sbin")] if TOOLS else []
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"] + tools))
    if not found:
        raise AssertionError(f"{name} is neither in PATH nor in $TOOLS ({TOOLS or 'not set'}); "
                             "tests/real/README.md names its package")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(port):
    """Whether something listens on the port of 127.0.0.1."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        text = table.read()
    return any(f"{address}:{port:04X} 00000000:0000 0A" in text for address in ("0100007F", "00000000"))


def eventually(what, attempt, deadline=40, pause=0.02):
    """The first true result of attempt(); OSError and AssertionError in it mean: not yet."""
    end = time.monotonic() + deadline
    while True:
        try:
            result, reason = attempt(), ""
        except (AssertionError, OSError) as error:
            result, reason = None, f": {error}"
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}{reason}")
        time.sleep(pause)


def report(recording):
    """The process object of a recording."""
    done = subprocess.run([BIN, "report", recording, "--format", "json"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise AssertionError(f"loopscope report {recording} ended with {done.returncode}: {done.stderr}")
    (process,) = json.loads(done.stdout)["processes"]
    return process


def kernels_loop(waits):
    """Waits in the words of the JSON."""
    return {
        "iterations": waits.returns, "ready_events": waits.ready,
        "events": waits.returns - waits.timeouts - waits.interrupted - waits.errors, "timeout": waits.timeouts,
        "interrupted": waits.interrupted, "error": waits.errors, "nonblocking": waits.nonblocking, "blocking": waits.blocking,
        "saturated": waits.saturated,
    }


def our_loop(loop):
    return {name: loop[name] if name in loop else loop["polls"][name] for name in LOOP_FIELDS}


class Both:
    """The two accounts of one run."""

    def __init__(self, account, processes):
        self.account, self.processes = account, processes

    def of(self, image):
        if image.recording not in self.processes:
            raise AssertionError(f"no recording {image.recording} is left of\n{image!r}\nbut {sorted(self.processes)}")
        return self.processes[image.recording]

    def images(self, command):
        return [image for image in self.account.observed() if os.path.basename(image.path) == command]


class Run:
    def __init__(self, test, command, environment, cwd, options, stdin):
        if not PROBE and not ALONE:
            raise AssertionError("LOOPSCOPE_PROBE_LIB does not say where libloopscope-probe.so is")
        self.test = test
        self.directory = tempfile.mkdtemp(prefix="lsr-")
        test.addCleanup(self._clean)
        self.recordings = os.path.join(self.directory, "recordings")
        os.mkdir(self.recordings, 0o700)
        variables = dict(environment or {})
        if PROBE:
            variables["LD_PRELOAD"] = PROBE
            variables.setdefault("LOOPSCOPE_DIR", self.recordings)
            if options:
                variables["LOOPSCOPE_PROBE"] = options.replace("RECORDINGS", self.recordings)
        self._output = open(os.path.join(self.directory, "output"), "w+b")  # pylint: disable=consider-using-with
        self.trace = kernel_account.Trace(
            command, os.path.join(self.directory, "trace"), variables, cwd=cwd, stdin=stdin, stdout=self._output,
            stderr=subprocess.STDOUT)
        self.status = None
        self.pid = self.trace.first_pid()

    def _clean(self):
        self.trace.kill()
        self._output.close()
        if KEEP:
            print(f"kept: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory)

    def output(self):
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def eventually(self, what, attempt, deadline=40):
        def check():
            if self.trace.popen.poll() is not None:
                raise RuntimeError(f"{self.trace.popen.args} ended with {self.trace.popen.returncode}: {self.output()}")
            return attempt()
        return eventually(what, check, deadline)

    def wait_for(self, pattern, deadline=40):
        return self.eventually(pattern, lambda: re.search(pattern, self.output(), re.MULTILINE), deadline)

    def wait_for_port(self, port, deadline=40):
        """Until something listens on 127.0.0.1:port, found out without connecting (that would be an accept more)."""
        return self.eventually(f"a listener on port {port}", lambda: listening(port), deadline)

    def settle(self, deadline=40):
        """Until every thread of the run sleeps in the kernel, for a while: what the load led to has been done, down to the return
        of the last close. A load knows of its answers only. Needed before a signal that gives no time to finish."""
        states = []

        def all_asleep():
            now = []
            for pid in self.trace.living():
                for tid in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{tid}/stat", encoding="ascii", errors="replace") as stat:
                        now.append((tid, stat.read().rsplit(")", 1)[1].split()[0]))  # t: stopped by strace, in a call
            states.append(bool(now) and all(state == "S" for _, state in now))
            return len(states) >= 4 and all(states[-4:])
        self.eventually("all threads asleep", all_asleep, deadline)

    def signal(self, how=signal.SIGTERM, pid=None):
        os.kill(pid or self.pid, how)

    def finish(self, deadline=40):
        """Waits for the end of all processes."""
        self.status = self.trace.wait(deadline)
        account = kernel_account.read_log(self.trace.log, self.recordings if PROBE else None, self.test.inside,
                                          self.test.outside)
        processes = {}
        if PROBE:
            for name in sorted(os.listdir(self.recordings)):
                processes[name] = report(os.path.join(self.recordings, name))
        return Both(account, processes)


class RealProgramTest(unittest.TestCase):
    """Base of the tests: starts programs, compares."""

    maxDiff = None
    inside = ()  # more of kernel_account.INSIDE, for all runs of the class: (name, regular expression for the path)
    outside = ()  # of what that says, what the program opens by itself: regular expressions for paths

    def observe(self, command, environment=None, cwd=None, options="", stdin=subprocess.DEVNULL):
        """options: of LOOPSCOPE_PROBE; RECORDINGS in it stands for the run's directory of recordings."""
        return Run(self, command, environment, cwd, options, stdin)

    def assert_same(self, what, ours, kernels, image):
        """Two {name: number}; the message shows both in columns, and all that the kernel says of the process."""
        names = sorted(set(ours) | set(kernels), key=str)
        if all(ours.get(name) == kernels.get(name) for name in names):
            return
        lines = [f"{what}: {'loopscope':>12} {'kernel':>12}"]
        for name in names:
            mark = "" if ours.get(name) == kernels.get(name) else "   <--"
            lines.append(f"  {str(name):40} {str(ours.get(name, '-')):>12} {str(kernels.get(name, '-')):>12}{mark}")
        raise self.failureException("\n".join(lines) + f"\n{image!r}")

    def assert_equal_loops(self, image, process, turns=False):
        """Every epoll loop: one for each thread and epoll descriptor, in the order in which they came to be."""
        ours, kernels = {}, {}
        for loop in sorted(process["loops"], key=lambda one: one["id"]):
            if loop["backend"] == "epoll" and loop["iterations"]:
                nth = sum(1 for key in ours if key[:2] == (loop["thread_id"], loop["epoll_fd"]))
                ours[(loop["thread_id"], loop["epoll_fd"], nth)] = our_loop(loop)
        for (tid, fd, _), waits in (image.turns if turns else image.loops).items():
            if waits.returns:
                nth = sum(1 for key in kernels if key[:2] == (tid, fd))
                kernels[(tid, fd, nth)] = kernels_loop(waits)
        def flat(loops):
            return {f"thread {tid} epoll {fd}#{nth} {name}": value
                    for (tid, fd, nth), loop in loops.items() for name, value in loop.items()}
        self.assert_same("waits", flat(ours), flat(kernels), image)

    def assert_equal_descriptors(self, image, process):
        fds = process["fds"]
        ours = {"opened": fds["opened"], "closed": fds["closed"], "open": fds["open"], "accepts": fds["accepts"],
                "inherited": fds["inherited"], "bad closes": fds["bad_closes"]}
        kernels = {"opened": image.opened, "closed": image.closed, "open": len(image.open), "accepts": image.accepts,
                   "inherited": len(image.inherited), "bad closes": image.bad_closes}
        for what in ("opened_by_kind", "closed_by_kind"):
            ours.update({f"{what} {kind}": count for kind, count in fds[what].items() if count})
            kernels.update({f"{what} {kind}": count for kind, count in getattr(image, what).items() if count})
        self.assert_same("descriptors", ours, kernels, image)

    def assert_equal_to_the_kernels(self, both, turns=False, least_images=1):
        self.assertEqual(both.account.anomalies, [])
        if not PROBE:
            return
        observed = both.account.observed()
        self.assertGreaterEqual(len(observed), least_images, both.account.images)
        self.assertEqual(sorted(image.recording for image in observed), sorted(both.processes))
        for image in observed:
            with self.subTest(process=image.pid, program=image.path):
                self.assert_equal_loops(image, both.of(image), turns)
            with self.subTest(process=image.pid, program=image.path):
                self.assert_equal_descriptors(image, both.of(image))
