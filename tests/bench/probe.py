# SPDX-License-Identifier: Apache-2.0
"""The probe's sections of the table: programs that know nothing of loopscope, bare and under the probe.

What is measured how, and why so: docs/benchmarks.md. probe_servers.py has the servers and their load, probe_tools.py the
other tools. A run under the probe that left no recording is a failure, never a good figure.
"""

import glob
import json
import os
import shutil
import statistics
import subprocess
import tempfile

from probe_descriptors import Descriptors
from probe_servers import Echo, Nginx, Redis
from probe_tools import CHEAP_PAIRS, Tools
from support import Failed, free_port, spread_of_median

BARE, PROBE, RUN, SERVED, CHECK, EMPTY = "bare", "probe", "run", "served", "check", "empty"
WORDS = {
    PROBE: "the probe alone (LD_PRELOAD)",
    RUN: "`loopscope run --no-http`",
    SERVED: "`loopscope run`, scraped once a second",
    CHECK: "`loopscope check`",
}


class Launch:
    """How a program is started in one variant, with a directory of its own for recordings. Everything starts on the load's
    CPU, the command's own threads stay there; what is measured binds itself to the loop's."""

    def __init__(self, bench, variant, stacks=None):
        self.bench, self.variant = bench, variant
        self.directory = tempfile.mkdtemp(prefix=variant + "-", dir=bench.directory)
        self.environment = {name: value for name, value in os.environ.items()
                            if name != "LD_PRELOAD" and not name.startswith("LOOPSCOPE_")}
        self.environment["LOOPSCOPE_DIR"] = self.directory
        self.prefix, self.url = [], None
        options = bench.options
        if variant == PROBE:
            self.environment["LD_PRELOAD"] = os.path.abspath(options.probe)
            if stacks:
                self.environment["LOOPSCOPE_PROBE"] = f"stacks={stacks}"
        elif variant == EMPTY:
            self.environment["LD_PRELOAD"] = os.path.abspath(bench.path("libempty-preload.so"))
        elif variant in (RUN, SERVED):
            if not options.loopscope:
                raise Failed("the loopscope command is not built")
            self.prefix = [options.loopscope, "run", "--probe", os.path.abspath(options.probe), "--summary", "none"]
            if variant == RUN:
                self.prefix += ["--no-http", "--"]
            else:
                port = free_port()
                self.url = f"http://127.0.0.1:{port}"
                self.prefix += ["--listen", f"127.0.0.1:{port}", "--"]
        elif variant == CHECK:
            if not options.loopscope:
                raise Failed("the loopscope command is not built")
            self.prefix = [options.loopscope, "check", "--probe", os.path.abspath(options.probe), "-o",
                           "json:" + self.report(), "--"]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.variant in (PROBE, RUN, SERVED) and not self.recordings():
                raise Failed(f"{self.variant}: the program left no recording")
            if kind is None and self.variant == CHECK:
                with open(self.report(), encoding="utf-8") as file:
                    if not json.load(file)["processes"]:
                        raise Failed("check: saw no process")
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def report(self):
        return os.path.join(self.directory, "check.json")

    def recordings(self):
        return glob.glob(os.path.join(self.directory, "*.loopscope"))

    def iterations(self):
        """Turns of all loops in all recordings, as the command reads them."""
        total = 0
        for recording in self.recordings():
            done = subprocess.run([self.bench.options.loopscope, "report", recording, "--format", "json"],
                                  capture_output=True, text=True, timeout=60, check=False, env=self.environment_without_probe())
            if done.returncode != 0:
                raise Failed(f"loopscope report {os.path.basename(recording)}: {done.stderr.strip()[-300:]}")
            for process in json.loads(done.stdout)["processes"]:
                total += sum(loop["iterations"] for loop in process["loops"])
        return total

    def environment_without_probe(self):
        return {name: value for name, value in self.environment.items() if name != "LD_PRELOAD"}

    def popen(self, command, **more):
        return subprocess.Popen([*self.prefix, *command], env=self.environment, stdin=subprocess.DEVNULL,
                                preexec_fn=lambda: os.sched_setaffinity(0, {self.bench.machine.load_cpu}), **more)

    def json(self, command, timeout=120):
        """Runs a program to its end; its one line of JSON."""
        process = self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if process.returncode != 0 or not lines:
            raise Failed(f"{' '.join([*self.prefix, *command])}: status {process.returncode}: {errors.strip()[-300:]}")
        return json.loads(lines[-1])


class ProbeBench:
    def __init__(self, bench):
        self.bench = bench
        options = bench.options
        self.rounds = options.pairs or (2 if bench.quick else 10)
        self.seconds = options.seconds or (0.4 if bench.quick else 1.0)

    def run(self):
        if not self.bench.options.probe or not os.path.exists(self.bench.options.probe):
            self.bench.section("The probe", self.missing)
            return
        self.bench.section("The probe: a turn, an I/O call, open and close", self.nanoseconds)
        self.bench.section("The probe: throughput of unchanged servers", self.throughput)
        descriptors = Descriptors(self.bench, self.launched, [BARE, EMPTY, PROBE, *([RUN, CHECK] if self.bench.options.loopscope else [])],
                                  {EMPTY: "an empty library preloaded", **WORDS})
        self.bench.section("The probe: starting processes", descriptors.starts)
        self.bench.section("The probe: a program that opens and closes", descriptors.pairs)
        self.bench.section("The probe and other tools: the same turns of a pipe loop", self.tools)

    def missing(self, title):
        raise Failed("libloopscope-probe.so is not given (--probe) or not built")

    def method(self):
        return ["The probe's nanoseconds: likewise in slices of one process, against libc's own definitions of the same functions.",
                f"Servers under the probe: {self.rounds} rounds with one bare run and one of each kind, {self.seconds:g} s of load "
                "each, every second round in reverse; each is compared with the bare run of its round, and the range is an interval "
                "for the median of the ratios. Recordings in /dev/shm."]

    def launched(self, variant, command):
        """One run of a benchmark program in that variant; what it printed."""
        with Launch(self.bench, variant) as launch:
            return launch.json(command)

    def slices(self, variant, stacks=None):
        results = []
        for _ in range(2 if self.bench.quick else 5):
            with Launch(self.bench, variant, stacks) as launch:
                result = launch.json([self.bench.path("probe_slices"), "--seconds", "0.6" if self.bench.quick else "1.6", "--cpu",
                                      str(self.bench.machine.loop_cpu)])
            if result["hooked"] != (variant == PROBE):
                raise Failed(f"probe_slices: {'not ' if variant == PROBE else ''}under the probe")
            results.append(result)
        self.bench.raw[f"probe_slices {variant} {stacks}"] = results
        return results

    def nanoseconds(self, title):
        add = self.bench.add
        off = self.slices(PROBE, "off")
        caller = self.slices(PROBE, "caller")
        full = self.slices(PROBE)
        bare = self.slices(BARE)
        turn = statistics.median(r["bare_turn_ns"] for r in full)
        pair = statistics.median(r["bare_pair_ns"] for r in full)
        # Stacks have no part in a turn: all processes count.
        every = off + caller + full
        add(title, "epoll_wait: a turn", [r["turn_ns"] for r in every], "ns", ("<=", 35), f"bare, with a write and a read: {turn:.0f} ns")
        add(title, "read, write: an I/O call", [r["io_call_ns"] for r in every], "ns", ("<=", 10))
        add(title, "a turn with its write and its read", [r["turn_with_io_ns"] for r in every], "ns")
        add(title, "open and close, stacks=off: a pair", [r["pair_ns"] for r in off], "ns", ("<=", 60), f"bare {pair:.0f} ns")
        add(title, "open and close, stacks=caller: a pair", [r["pair_ns"] for r in caller], "ns")
        add(title, "open and close, 16 frames (the default): a pair", [r["pair_ns"] for r in full], "ns", ("<=", 250))
        add(title, "the method's noise: a turn without the preload", [r["turn_ns"] for r in bare], "ns")
        add(title, "the method's noise: a pair without the preload", [r["pair_ns"] for r in bare], "ns")

    # --- servers ---

    def throughput(self, title):
        variants = [BARE, PROBE, RUN, SERVED] if self.bench.options.loopscope else [BARE, PROBE]
        for workload in (Nginx, Redis, Echo):
            try:
                server = workload(self.bench, self.seconds)
            except Failed as error:
                self.bench.add(title, workload.__name__.lower(), [], "", note=f"not measured: {error}")
                continue
            results = {variant: [] for variant in variants}
            for turn in range(self.rounds):
                for variant in variants if turn % 2 == 0 else reversed(variants):
                    with Launch(self.bench, variant) as launch:
                        results[variant].append(server.measure(launch))
                        first = turn == 0 and variant != BARE and self.bench.options.loopscope
                        if first and not launch.iterations():
                            raise Failed(f"{workload.__name__}, {variant}: no turn of a loop was recorded")
            self.bench.raw[f"servers {workload.__name__}"] = results
            for load in results[BARE][0]:
                self.rows_of(title, load, {variant: [r[load] for r in got] for variant, got in results.items()})

    def rows_of(self, title, load, results):
        """`results`: per variant, per round, (requests a second, nanoseconds of the server's CPU a request)."""
        bare = results.pop(BARE)
        cost = statistics.median(cpu for _, cpu in bare)
        busy = statistics.median(rate * cpu / 1e9 for rate, cpu in bare)
        self.bench.add(title, f"{load}: bare", [rate for rate, _ in bare], "/s", None,
                       f"server busy {100 * busy:.0f} %, {cost / 1000:.1f} µs CPU each")
        again = [100 * b[0] / a[0] for a, b in zip(bare, bare[1:])]
        self.bench.add(title, f"{load}: bare against the bare run before", spread_of_median(again), "%")
        for variant, got in results.items():
            pairs = list(zip(got, bare))
            dearer = statistics.median(100 * (a[1] / b[1] - 1) for a, b in pairs)
            self.bench.add(title, f"{load}: {WORDS[variant]}", spread_of_median([100 * a[0] / b[0] for a, b in pairs]), "%",
                           (">=", 98), f"server's CPU each {dearer:+.1f} %")

    # --- peers ---

    def tools(self, title):
        def under(variant):
            def turn_ns(command, **environment):
                with Launch(self.bench, variant) as launch:
                    launch.environment.update(environment)
                    return launch.json(command)["turn_ns"]
            return turn_ns

        tools = Tools(self.bench, under(BARE))
        try:
            tools.row(title, "loopscope: " + WORDS[PROBE], under(PROBE), pairs=CHEAP_PAIRS, required=True)
            if self.bench.options.loopscope:
                tools.row(title, "loopscope: " + WORDS[RUN], under(RUN), pairs=CHEAP_PAIRS, required=True)
            tools.rows(title)
        finally:
            tools.close()
