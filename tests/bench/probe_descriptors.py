# SPDX-License-Identifier: Apache-2.0
"""What a test suite pays: many short processes, and a program that does nothing but open and close; under the probe, the two
commands, and what else finds descriptors that were not closed.

Each run is compared with the bare one of its round; every second round goes in reverse.
"""

import json
import os
import statistics
import subprocess
import tempfile

from support import Failed, tool

BARE, PROBE = "bare", "probe"
TARGETS = {"run": True, "check": True}
PAIRS = 200_000


class Descriptors:
    """`launched(variant, command)` runs a benchmark program; variants[0] is the bare one."""

    def __init__(self, bench, launched, variants, words):
        self.bench, self.launched, self.variants, self.words = bench, launched, variants, words

    def starts(self, title):
        processes, rounds = (100, 2) if self.bench.quick else (500, 7)
        bare = self.rounds(title, self.variants, rounds, "process_us", self.starting(processes),
                           f"one of {processes} processes with 20 descriptors", "µs", 1.25)
        self.peers(title, "process_us", self.starting(10), bare, valgrind=["--trace-children=yes"])

    def pairs(self, title):
        rounds = 2 if self.bench.quick else 9
        bare = self.rounds(title, self.variants, rounds, "pair_ns", self.pairing(PAIRS),
                           f"one of {PAIRS} pairs of open and close", "ns", 1.10)
        self.peers(title, "pair_ns", self.pairing(PAIRS // 10), bare)

    def starting(self, processes):
        return [self.bench.path("process_starts"), "--program", self.bench.path("tiny_process"), "--processes", str(processes),
                "--cpu", str(self.bench.machine.loop_cpu)]

    def pairing(self, pairs):
        return [self.bench.path("open_close_program"), str(pairs), str(self.bench.machine.loop_cpu)]

    def rounds(self, title, variants, rounds, figure, command, what, unit, target):
        """Adds a row for each variant; the median of the bare one."""
        results = {variant: [] for variant in variants}
        for turn in range(rounds):
            for variant in variants if turn % 2 == 0 else reversed(variants):
                results[variant].append(self.launched(variant, command)[figure])
        self.bench.raw[f"{title}"] = results
        self.bench.add(title, f"{what}, bare", results[BARE], unit)
        for variant in variants:
            if variant != BARE:
                ratios = [a / b for a, b in zip(results[variant], results[BARE])]
                wanted = ("<=", target) if variant in TARGETS else None
                self.bench.add(title, self.words[variant], ratios, "times bare", wanted)
        return statistics.median(results[BARE])

    def peers(self, title, figure, command, bare, valgrind=()):
        """Tens to hundreds of times as slow: a part of the work, compared with the bare median."""
        with tempfile.TemporaryDirectory(dir=self.bench.directory) as directory:
            log = os.path.join(directory, "log")
            for words, name, arguments, expected in (
                    ("valgrind --track-fds=yes", "valgrind", ["--track-fds=yes", *valgrind, "--log-file=" + log + ".%p"], "FILE DESCRIPTORS"),
                    ("strace -f -e trace=%desc", "strace", ["-f", "-e", "trace=%desc", "-o", log], "/dev/null")):
                path = tool(name)
                if path is None:
                    self.bench.add(title, words, [], "", note="not installed")
                    continue
                try:
                    ratios = [self.under([path, *arguments, *command], figure) / bare for _ in range(1 if self.bench.quick else 3)]
                    self.saw(directory, expected)
                    self.bench.add(title, words, ratios, "times bare")
                except (Failed, OSError, subprocess.TimeoutExpired) as error:
                    self.bench.add(title, words, [], "", note="not usable here: " + str(error).splitlines()[0][-200:])

    def under(self, command, figure):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0 or not lines:
            raise Failed(f"{command[0]}: status {done.returncode}: {done.stderr.strip()[-200:]}")
        return json.loads(lines[-1])[figure]

    @staticmethod
    def saw(directory, expected):
        """A tool that reported nothing may not look cheap."""
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
                if expected in file.read():
                    return
        raise Failed("it reported nothing of the descriptors")
