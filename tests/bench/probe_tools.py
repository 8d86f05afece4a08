# SPDX-License-Identifier: Apache-2.0
"""Other tools on the same turns: what somebody would reach for who has no loopscope.

pipe_turns makes a fixed number of turns and times them itself, so a tool's start is left out. Each run under a tool is
compared with a bare one just before or just after. A tool that cannot be used here has a row that says why; one that ran
and reported nothing of the turns has failed: it may not look cheap.
"""

import glob
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from support import UNPACKED, Failed, tool

TURNS, FEW_TURNS = 200_000, 10_000  # the latter for what takes 100 us a turn and more
# Two processes differ by some percent by themselves: what costs less than a turn needs more of them.
CHEAP_PAIRS = 9

BPFTRACE = """
tracepoint:syscalls:sys_enter_epoll_wait /pid == cpid/ { @at[tid] = nsecs; }
tracepoint:syscalls:sys_exit_epoll_wait /pid == cpid/ { @wait_ns = hist(nsecs - @at[tid]); delete(@at[tid]); }
"""


class Lttng:
    """A session daemon and a session with the provider of pipe_turns.c, traces in a directory in memory. LTTng-UST as it is
    by default: every event is written to a trace. As root the daemon's sockets are in /run/lttng, as LTTng has it."""

    def __init__(self, directory, cpu):
        self.client, daemon = tool("lttng"), tool("lttng-sessiond")
        self.directory, self.daemon = directory, None
        self.environment = {**os.environ, "LTTNG_HOME": directory}
        if self.client is None or daemon is None:
            raise Failed("lttng-tools is not installed")
        if self.call("list", check=False).returncode == 0:
            raise Failed("another lttng-sessiond is running")
        command = [daemon, "--no-kernel"]
        consumers = glob.glob(os.path.join(UNPACKED, "lib", "*", "lttng", "libexec", "lttng-consumerd"))
        if daemon.startswith(UNPACKED) and consumers:
            command += [f"--consumerd64-path={consumers[0]}"]
        with open(os.path.join(directory, "sessiond.log"), "w", encoding="utf-8") as log:
            self.daemon = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        try:
            end = time.monotonic() + 10
            while self.call("list", check=False).returncode != 0:
                if self.daemon.poll() is not None or time.monotonic() > end:
                    raise Failed(f"lttng-sessiond does not answer: {self._log()}")
                time.sleep(0.1)
        except BaseException:
            self.close()
            raise

    def _log(self):
        with open(os.path.join(self.directory, "sessiond.log"), encoding="utf-8") as file:
            return file.read().strip()[-200:]

    def call(self, *arguments, check=True):
        # Never a daemon that the client starts by itself: it would stay.
        done = subprocess.run([self.client, "--no-sessiond", *arguments], env=self.environment, capture_output=True, text=True,
                              timeout=30, check=False)
        if check and done.returncode != 0:
            raise Failed(f"lttng {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[-200:]}")
        return done

    def turn_ns(self, bare, command):
        """One traced run. bare(command, NAME=value...): runs a program, answers its nanoseconds a turn."""
        trace = tempfile.mkdtemp(prefix="trace-", dir=self.directory)
        self.call("create", "loopscope-bench", f"--output={trace}")
        try:
            self.call("enable-event", "--userspace", "loopscope_bench:*")
            self.call("start")
            # The program waits in its constructor until the daemon knows it.
            took = bare(command, LTTNG_HOME=self.directory, LTTNG_UST_REGISTER_TIMEOUT="5000")
            self.call("stop")
        finally:
            self.call("destroy", "loopscope-bench", check=False)
        size = sum(os.path.getsize(path) for path in glob.glob(f"{trace}/**", recursive=True) if os.path.isfile(path))
        shutil.rmtree(trace, ignore_errors=True)
        # Two events a turn, 8 bytes at the least: an event that was discarded cost next to nothing.
        if size < 2 * 8 * int(command[1]):
            raise Failed(f"LTTng wrote {size} bytes: most events were discarded")
        return took

    def close(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            try:
                self.daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()


class Tools:
    def __init__(self, bench, bare):
        self.bench, self.bare = bench, bare
        self.directory = tempfile.mkdtemp(prefix="tools-", dir=bench.directory)
        self.lttng = None

    def close(self):
        if self.lttng:
            self.lttng.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def program(self, turns, name="pipe_turns"):
        return [self.bench.path(name), str(turns), str(self.bench.machine.loop_cpu)]

    def row(self, title, words, turn_ns, turns=TURNS, program="pipe_turns", pairs=3, required=False):
        """turn_ns(command): one run with the tool. `required`: that it fails is a failure of the benchmark."""
        ratios, added = [], []
        try:
            for again in range(1 if self.bench.quick else pairs):
                with_tool, bare = None, None
                for which in ("bare", "tool") if again % 2 == 0 else ("tool", "bare"):
                    if which == "bare":
                        bare = self.bare(self.program(turns))
                    else:
                        with_tool = turn_ns(self.program(turns, program))
                ratios.append(with_tool / bare)
                added.append(with_tool - bare)
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            if required:
                raise
            self.bench.add(title, words, [], "", note="not usable here: " + str(error).splitlines()[0][-200:])
            return
        self.bench.raw[f"tool {words}"] = {"ratios": ratios, "added_ns": added}
        self.bench.add(title, words, ratios, "times bare", None, f"{statistics.median(added):+.0f} ns a turn")

    def wrapped(self, name, package, arguments, report, expected):
        """A tool that starts the program itself and says at its end what it saw, in the file `report` or, if None, on
        standard error; `expected` is a word of it."""
        command = tool(name)

        def turn_ns(program):
            if command is None:
                raise Failed(f"{name} (Debian's {package}) is not installed")
            if report and os.path.exists(report):
                os.unlink(report)
            done = subprocess.run([command, *arguments, *program], capture_output=True, text=True, timeout=120, check=False)
            said = done.stderr
            if report and os.path.exists(report):
                with open(report, encoding="utf-8", errors="replace") as file:
                    said += file.read()
            lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
            if done.returncode != 0 or not lines:
                raise Failed(f"status {done.returncode}: " + " ".join(said.split())[-200:])
            if expected not in said:
                raise Failed(f"{name} reported nothing of the turns")
            return json.loads(lines[-1])["turn_ns"]

        return turn_ns

    def rows(self, title):
        report = os.path.join(self.directory, "report")
        self.lttng_row(title)
        self.row(title, "bpftrace, a histogram of the time in epoll_wait", self.bpftrace(report), pairs=CHEAP_PAIRS)
        for words, arguments in (("valgrind --track-fds=yes", []), ("valgrind --tool=none --track-fds=yes", ["--tool=none"])):
            self.row(title, words, self.wrapped("valgrind", "valgrind", [*arguments, "--track-fds=yes"], None, "FILE DESCRIPTORS"))
        self.row(title, "perf trace -s", self.wrapped("perf", "linux-perf", ["trace", "-s", "-o", report, "--"], report, "epoll_wait"),
                 FEW_TURNS)
        self.row(title, "strace -c", self.wrapped("strace", "strace", ["-f", "-c", "-o", report], report, "epoll_wait"), FEW_TURNS)

    def bpftrace(self, report):
        def turn_ns(program):
            return self.wrapped("bpftrace", "bpftrace", ["-o", report, "-e", BPFTRACE, "-c", " ".join(program)], report,
                                "@wait_ns")([])
        return turn_ns

    def lttng_row(self, title):
        words = "LTTng-UST, tracepoints before and after the wait by hand"
        try:
            if not os.path.exists(self.bench.path("pipe_turns_lttng")):
                raise Failed("built without liblttng-ust-dev")
            self.lttng = Lttng(self.directory, self.bench.machine.load_cpu)
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            self.bench.add(title, words, [], "", note=f"not usable here: {error}")
            return
        self.row(title, words, lambda command: self.lttng.turn_ns(self.bare, command), program="pipe_turns_lttng",
                 pairs=CHEAP_PAIRS)
        self.lttng.close()
