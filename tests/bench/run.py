#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks, checks the targets, prints one table.

What is measured how, and why so: docs/benchmarks.md. Nothing is installed and nothing outside the programs' directory
is written, except recordings in a directory of their own in /dev/shm, which is removed.

Exit status: 0, also when a target is not met (1 then with --check); 3 if a program failed.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
from load import LoadBench  # noqa: E402  pylint: disable=wrong-import-position
from probe import ProbeBench  # noqa: E402  pylint: disable=wrong-import-position
from support import NOT_MET, Failed, Row, Scraper, free_port, spread_of_median  # noqa: E402  pylint: disable=wrong-import-position


class Machine:
    def __init__(self):
        self.cpus = sorted(os.sched_getaffinity(0))
        # Interrupts often prefer the first CPU: the loop gets the last one.
        self.loop_cpu, self.load_cpu = self.cpus[-1], self.cpus[0]

    @staticmethod
    def _read(path):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            return "not visible"

    def facts(self):
        model = re.search(r"model name\s*:\s*(.*)", self._read("/proc/cpuinfo"))
        hypervisor = "hypervisor" in self._read("/proc/cpuinfo")
        return {
            "cpu": (model.group(1) if model else platform.machine()) + (", virtual machine" if hypervisor else ""),
            "cpus": len(self.cpus),
            "kernel": platform.release(),
            "clocksource": self._read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            "governor": self._read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "load_before": os.getloadavg()[0],
        }


class Bench:
    def __init__(self, options):
        self.options = options
        self.quick = options.quick
        self.machine = Machine()
        self.rows, self.failures, self.raw = [], [], {}
        self.directory = tempfile.mkdtemp(prefix="loopscope-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.probe = ProbeBench(self)

    # --- running programs ---

    def environment(self, **more):
        return {**os.environ, "LOOPSCOPE_DIR": self.directory, **more}

    def path(self, program):
        return os.path.join(self.options.programs, program)

    def json_lines(self, command, **environment):
        done = subprocess.run(command, env=self.environment(**environment), capture_output=True, text=True,
                              timeout=300, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def slices(self, *arguments, **environment):
        seconds = "0.6" if self.quick else "2"
        command = [self.path("slices"), "--cpu", str(self.machine.loop_cpu), "--seconds", seconds, *arguments]
        return self.json_lines(command, **environment)[0]

    def repeated(self, *arguments, **environment):
        results = [self.slices(*arguments, **environment) for _ in range(2 if self.quick else 5)]
        clock = environment.get("LOOPSCOPE_CLOCK", "")
        self.raw["slices " + " ".join(arguments) + (f" clock={clock}" if clock else "")] = results
        return results

    def add(self, *arguments, **keywords):
        self.rows.append(Row(*arguments, **keywords))

    def section(self, title, function):
        if self.options.only and not re.search(self.options.only, title):
            return
        began = time.monotonic()
        print(f"{title} …", end="", file=sys.stderr, flush=True)
        try:
            function(title)
        except (Failed, OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired) as error:
            self.failures.append(f"{title}: {error}")
            self.add(title, title, [], "", note=f"FAILED TO RUN: {error}")
        print(f" {time.monotonic() - began:.0f} s", file=sys.stderr)

    # --- nanoseconds ---

    def noise(self, title):
        """Every slice bare: what the method makes of no difference."""
        off = self.repeated("--watched", "1000", "--api", "loop", "--compare", "off-off")
        self.add(title, "off against off, one pipe active: a turn", [r["turn_ns"]["recorded"] for r in off], "ns")
        self.add(title, "off against off, with 'names'", [r["callback_ns"]["named"] for r in off], "ns")

    def turns(self, title):
        for clock, environment, bound in (("TSC", {}, 35), ("clock_gettime", {"LOOPSCOPE_CLOCK": "monotonic"}, 65)):
            for watched in (100, 1000, 10000) if clock == "TSC" else (1000,):
                for active in (1, 8, 64) if watched == 1000 and not self.quick else (1,):
                    got = self.repeated("--watched", str(watched), "--active", str(active), **environment)
                    self.add(title, f"{watched} pipes, {active} active, {clock}", [r["turn_ns"]["recorded"] for r in got],
                             "ns", ("<=", bound), f"bare turn {statistics.median(r['bare_turn_ns'] for r in got):.0f} ns")
        got = self.raw["slices --watched 1000 --active 1"]
        self.add(title, "instrumented, recording paused", [r["turn_ns"]["paused"] for r in got], "ns")

    def callbacks(self, title):
        for clock, environment, bound in (("TSC", {}, 15), ("clock_gettime", {"LOOPSCOPE_CLOCK": "monotonic"}, 35)):
            for active in (1, 8, 64) if clock == "TSC" and not self.quick else (8,):
                for api, words in (("loop", "loopscope::Io"), ("instrument", "named ev_io")):
                    got = self.repeated("--watched", "1000", "--active", str(active), "--api", api, **environment)
                    # name() needs a clock read at both ends of a callback: the target is for the chained kind.
                    self.add(title, f"{words}, {active} active, {clock}", [r["callback_ns"]["named"] for r in got], "ns",
                             ("<=", bound) if api == "loop" else None)

    def other_workloads(self, title):
        sizes = ("10000",) if self.quick else ("10000", "100000")
        for api, words in (("loop", "loopscope::Timer"), ("instrument", "named ev_timer")):
            for watched in sizes:
                got = self.repeated("--workload", "timers", "--watched", watched, "--active", "8", "--api", api)
                self.add(title, f"{watched} timers, 8 expire a turn: a turn", [r["turn_ns"]["recorded"] for r in got], "ns",
                         ("<=", 35), f"bare {statistics.median(r['bare_turn_ns'] for r in got):.0f} ns")
                self.add(title, f"{watched} timers: a timed callback with its lag, {words}",
                         [r["callback_ns"]["named"] for r in got], "ns")
        for api, words in (("loop", "loopscope::Io"), ("instrument", "named ev_io")):
            got = self.repeated("--kind", "tcp", "--watched", "10050", "--active", "50", "--api", api)
            bare = statistics.median(r["bare_turn_ns"] for r in got)
            self.add(title, f"10 000 idle and 50 active TCP connections, {words}: a turn, all in",
                     [100 * r["turn_ns"]["named"] / r["bare_turn_ns"] for r in got], "%", None, f"bare {bare:.0f} ns")
            got = self.repeated("--workload", "churn", "--api", api)
            bare = statistics.median(r["bare_turn_ns"] for r in got)
            self.add(title, f"accept, watch, close, {words}: a connection, all in",
                     [2 * r["turn_ns"]["named"] for r in got], "ns", None, f"bare {2 * bare:.0f} ns")

    # --- peers ---

    def peers(self, title):
        got = self.repeated("--watched", "1000", "--peers", "1")
        for state, words in (("floor-tsc", "floor: two TSC reads, a cache line of stores"),
                             ("floor-clock", "floor: two clock_gettime, a cache line of stores"),
                             ("recorded", "loopscope, in the same rounds"),
                             ("prometheus", "two prometheus::Histogram::Observe in prepare/check")):
            if state in got[0]["turn_ns"]:
                self.add(title, words, [r["turn_ns"][state] for r in got], "ns")

    # --- throughput ---

    def echo(self, program, mode, connections, idle, seconds, served=None):
        """One server process; `served` is None, "scraped" or "streamed" for a server in the process."""
        command = [self.path(program), "--mode", mode, "--connections", str(connections), "--idle", str(idle), "--seconds",
                   str(seconds), "--cpu", str(self.machine.loop_cpu), "--client-cpu", str(self.machine.load_cpu),
                   "--announce", "1"]
        process = subprocess.Popen(command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        scraper = None
        try:
            first = json.loads(process.stdout.readline() or "{}")
            if served:
                scraper = Scraper(first["url"], served == "streamed", self.machine.load_cpu)
                scraper.start()
            out, errors = process.communicate(timeout=seconds + 60)
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            process.kill()
            out, errors = process.communicate()
        finally:
            if scraper:
                scraper.stopped.set()
        if process.returncode != 0 or not out:
            raise Failed(f"{' '.join(command)}: status {process.returncode}: {errors.strip()[-300:]}")
        if served and (scraper.scrapes == 0 or (served == "streamed" and scraper.updates == 0)):
            raise Failed(f"{mode}: nothing was served while it was measured")
        return json.loads(out.splitlines()[-1])

    def start_outside_server(self):
        port = free_port()
        server = subprocess.Popen([self.options.loopscope, "serve", "--listen", f"127.0.0.1:{port}", "--dir", self.directory],
                                  env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  preexec_fn=lambda: os.sched_setaffinity(0, {self.machine.load_cpu}))
        base = f"http://127.0.0.1:{port}"
        for _ in range(50):
            try:
                with urllib.request.urlopen(base + "/healthz", timeout=1):
                    return server, base
            except OSError:
                if server.poll() is not None:
                    break
                time.sleep(0.1)
        server.kill()
        server.wait()
        raise Failed("`loopscope serve` does not answer")

    def outside(self, connections, idle, seconds, base):
        scraper = Scraper(base, True, self.machine.load_cpu)
        scraper.start()
        try:
            result = self.echo("echo_recorded", "loop", connections, idle, seconds)
        finally:
            scraper.stopped.set()
        if scraper.scrapes == 0:
            raise Failed("`loopscope serve` was not scraped while it was measured")
        return result

    def throughput(self, title):
        seconds, rounds = (0.7, 3) if self.quick else (1.5, 7)
        loads = ((50, 0),) if self.quick else ((50, 0), (1000, 0), (50, 10000))
        server = base = None
        outside_note = ""
        if not self.options.loopscope or not os.path.exists(self.options.loopscope):
            outside_note = "the loopscope command is not built"
        else:
            server, base = self.start_outside_server()
        variants = [("instrument() and named ev_io, recording alone", lambda c, i: self.echo("echo_recorded", "instrument", c, i, seconds)),
                    ("loopscope::Loop and Io, recording alone", lambda c, i: self.echo("echo_recorded", "loop", c, i, seconds)),
                    ("… scraped and streamed by `loopscope serve` outside", lambda c, i: self.outside(c, i, seconds, base) if base else None),
                    ("… with the in-process server, scraped", lambda c, i: self.echo("echo_recorded", "inspector", c, i, seconds, "scraped")),
                    ("… with the in-process server, scraped and streamed", lambda c, i: self.echo("echo_recorded", "inspector", c, i, seconds, "streamed"))]
        try:
            for connections, idle in loads:
                results = {"bare": [], "bare again": [], **{words: [] for words, _ in variants}}
                for turn in range(rounds):
                    # Each round in another order, so that drift hits all alike.
                    runs = [("bare", lambda c, i: self.echo("echo_bare", "bare", c, i, seconds)),
                            ("bare again", lambda c, i: self.echo("echo_bare", "bare", c, i, seconds)), *variants]
                    runs = runs[turn % len(runs):] + runs[:turn % len(runs)]
                    for words, measure in runs:
                        results[words].append(measure(connections, idle))
                self.raw[f"echo {connections} {idle}"] = results
                load = f"{connections} connections" + (f" and {idle} idle" if idle else "")
                bare = results.pop("bare")
                rate = statistics.median(r["echoes_per_second"] for r in bare)
                busy = statistics.median(r["cpu_share"] for r in bare)
                self.add(title, f"{load}: bare", [r["echoes_per_second"] for r in bare], "echoes/s", None,
                         f"server busy {100 * busy:.0f} %, {statistics.median(r['cpu_ns_per_echo'] for r in bare):.0f} ns CPU an echo")
                for words, got in results.items():
                    if None in got:
                        self.add(title, f"{load}: {words}", [], "", note=outside_note)
                        continue
                    pairs = list(zip(got, bare))
                    cost = statistics.median(100 * (a["cpu_ns_per_echo"] / b["cpu_ns_per_echo"] - 1) for a, b in pairs)
                    # Pairs differ by far more than the target's 2 %; the range shown is that of the median.
                    ratios = [100 * a["echoes_per_second"] / b["echoes_per_second"] for a, b in pairs]
                    target = (">=", 98) if "alone" in words else None
                    self.add(title, f"{load}: {words}", spread_of_median(ratios), "%", target,
                             f"CPU of the loop's thread an echo {cost:+.1f} %")
                del rate
        finally:
            if server:
                server.terminate()
                server.wait()

    # --- readers, memory, parts ---

    def readers(self, title):
        windows, times = ("8", 1) if self.quick else ("40", 3)
        for by, words in (("process", "from outside"), ("thread", "by a thread of the process")):
            got = [self.json_lines([self.path("impact"), "--by", by, "--windows", windows, "--cpu", str(self.machine.loop_cpu),
                                    "--other-cpu", str(self.machine.load_cpu)])[0] for _ in range(times)]
            self.raw[f"impact {by}"] = got
            self.add(title, f"snapshot of 10 000 descriptors as JSON, {words}", [r["snapshot_ms"] for r in got], "ms", ("<=", 50))
            p99 = statistics.median(r["turn_p99_us_without"] for r in got)
            # "Unchanged": within 5 %, about what two halves without snapshots differ by on a quiet machine.
            self.add(title, f"the loop's p99 turn meanwhile, {words}",
                     [100 * r["turn_p99_us_with"] / r["turn_p99_us_without"] for r in got], "%", ("<=", 105), f"{p99:.1f} µs without")
            self.add(title, f"the same between two halves without snapshots, {words}",
                     [100 * r["turn_p99_us_half"] / r["turn_p99_us_other_half"] for r in got], "%")

    def memory(self, title):
        got = self.json_lines([self.path("memory")])[0]
        self.raw["memory"] = got
        self.add(title, "recording of 1 loop, 20 watchers", [got["fixed_bytes"] / 2**20], "MiB", ("<=", 8))
        self.add(title, "a registered descriptor", [got["bytes_per_descriptor"]], "bytes", ("<=", 66),
                 "64, reserved 1024 at a time")

    def parts(self, title):
        results = {}
        groups = ("clock_read|time_bucket|^turn|callback|timer_lag|register", "read_recording|metrics_text|snapshot_json",
                  "snapshot_of_descriptors")
        for _ in range(2 if self.quick else 5):
            for group in groups:
                command = [self.path("parts"), "--benchmark_format=json", f"--benchmark_filter={group}",
                           f"--benchmark_min_time={0.05 if self.quick else 0.2}"]
                done = subprocess.run(["taskset", "-c", str(self.machine.loop_cpu), *command] if shutil.which("taskset") else command,
                                      env=self.environment(), capture_output=True, text=True, timeout=300, check=False)
                if done.returncode != 0:
                    raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
                for entry in json.loads(done.stdout)["benchmarks"]:
                    results.setdefault(entry["name"], []).append((entry["cpu_time"], entry["time_unit"]))
        self.raw["parts"] = results
        words = {"metrics_text": "/metrics of 10 loops with 200 watchers"}
        targets = {"metrics_text": ("<=", 10), "snapshot_of_descriptors/10000": ("<=", 50)}
        for name, got in results.items():
            self.add(title, words.get(name, name), [value for value, _ in got], got[0][1].replace("us", "µs"), targets.get(name))

    # --- the table ---

    def run(self):
        self.section("The method's own noise", self.noise)
        self.section("A turn", self.turns)
        self.section("A timed callback", self.callbacks)
        self.section("Timers, connections, churn", self.other_workloads)
        self.section("Floor and peers: a turn of the pipe loop", self.peers)
        self.section("TCP echo: throughput against bare libev", self.throughput)
        self.section("A crowd of clients", LoadBench(self).run)
        self.section("Readers", self.readers)
        self.section("Memory", self.memory)
        self.section("The parts, each alone", self.parts)
        self.probe.run()

    def method(self):
        facts = self.machine.facts()
        return [
            f"Machine: {facts['cpu']}, {facts['cpus']} CPUs, Linux {facts['kernel']}, clocksource {facts['clocksource']}, "
            f"governor {facts['governor']}, load average {facts['load_before']:.1f} at the end.",
            "Nanoseconds: difference to bare libev inside one process, recording switched on and off in slices of 200 µs, median "
            f"over {'hundreds' if self.quick else 'thousands'} of rounds; shown are the median over "
            f"{2 if self.quick else 5} processes and their range.",
            f"Throughput: {3 if self.quick else 7} interleaved runs of separate processes; the bare one does not link loopscope. "
            "The loop on one CPU, the load on another.",
            "Verdict: met or NOT met if the whole range is on one side of the target.",
        ] + self.probe.method() + (["This was the short form (--quick)."] if self.quick else [])

    def text(self):
        lines = []
        widths = [58, 18, 17, 14, 0]
        for section in dict.fromkeys(row.section for row in self.rows):
            lines.append("")
            lines.append(section)
            for row in self.rows:
                if row.section != section:
                    continue
                cells = row.cells()
                name = cells[0]
                if len(name) > widths[0]:
                    lines.append("  " + name)
                    name = ""
                lines.append("  " + " ".join([name.ljust(widths[0])] + [c.rjust(w) for c, w in zip(cells[1:4], widths[1:4])] +
                                             [cells[4]]).rstrip())
        return "\n".join(lines + [""] + self.method())

    def markdown(self):
        lines = []
        for section in dict.fromkeys(row.section for row in self.rows):
            lines += ["", f"### {section}", "", "| | measured | range | target | |", "| --- | ---: | ---: | ---: | --- |"]
            lines += ["| " + " | ".join(c.replace("|", "\\|") for c in row.cells()) + " |" for row in self.rows
                      if row.section == section]
        return "\n".join(lines[1:] + [""] + [f"- {line}" for line in self.method()]) + "\n"

    def as_json(self):
        rows = [{"section": r.section, "name": r.name, "unit": r.unit, "median": r.median(), "values": r.values,
                 "target": r.target, "verdict": r.verdict(), "note": r.note} for r in self.rows]
        return {"machine": self.machine.facts(), "method": self.method(), "rows": rows, "failures": self.failures, "raw": self.raw}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help="directory with the built benchmark programs")
    parser.add_argument("--loopscope", help="the loopscope command, for the rows that serve from outside")
    parser.add_argument("--probe", help="libloopscope-probe.so, for the sections of the probe")
    parser.add_argument("--quick", action="store_true", help="about two minutes: fewer sizes, fewer processes")
    parser.add_argument("--pairs", type=int, help="rounds of servers under the probe and bare (10; 2 with --quick)")
    parser.add_argument("--seconds", type=float, help="of load on a server in each of them (1; 0.4 with --quick)")
    parser.add_argument("--only", help="only sections whose title matches this regular expression")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is not met")
    parser.add_argument("--markdown", help="also write the table to this file")
    parser.add_argument("--json", help="where all values go (default: bench.json beside the programs)")
    bench = Bench(parser.parse_args())
    try:
        bench.run()
    finally:
        shutil.rmtree(bench.directory, ignore_errors=True)
    with open(bench.options.json or bench.path("bench.json"), "w", encoding="utf-8") as file:
        json.dump(bench.as_json(), file, indent=1)
    if bench.options.markdown:
        with open(bench.options.markdown, "w", encoding="utf-8") as file:
            file.write(bench.markdown())
    print(bench.text())
    if bench.failures:
        print("\nfailed to run:\n  " + "\n  ".join(bench.failures), file=sys.stderr)
        return 3
    if bench.options.check and any(row.verdict() == NOT_MET for row in bench.rows):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
