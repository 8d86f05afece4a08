# SPDX-License-Identifier: Apache-2.0
"""What the benchmark's scripts share: a row of the table, a failure, the scraper, an interval for a median."""

import os
import shutil
import socket
import statistics
import threading
import urllib.request

MET, NOT_MET, UNCLEAR = "met", "NOT met", "noise too large to tell"

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNPACKED = os.path.join(ROOT, "build", "tools", "usr")  # by scripts/need.sh --unpack


class Failed(Exception):
    pass


def tool(name):
    """A command of PATH or of what was unpacked below build/tools; None: not there."""
    folders = [os.environ.get("PATH", os.defpath), os.path.join(UNPACKED, "bin"), os.path.join(UNPACKED, "sbin"), "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(folders))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Row:
    """One line of the table. `values`: one per process (or pair). `target`: ("<=" or ">=", number)."""

    def __init__(self, section, name, values, unit, target=None, note=""):
        self.section, self.name, self.values, self.unit = section, name, values, unit
        self.target, self.note = target, note

    def median(self):
        return statistics.median(self.values) if self.values else None

    def verdict(self):
        if self.target is None or not self.values:
            return ""
        sign, bound = self.target
        good = [v <= bound if sign == "<=" else v >= bound for v in self.values]
        if all(good):
            return MET
        return UNCLEAR if any(good) else NOT_MET

    def cells(self):
        def number(value):
            if abs(value) >= 1000:
                return f"{value:,.0f}".replace(",", " ")
            return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"

        if not self.values:
            return [self.name, self.note, "", "", ""]
        measured = f"{number(self.median())} {self.unit}"
        spread = f"{number(min(self.values))} – {number(max(self.values))}" if len(self.values) > 1 else ""
        target = f"{'≤' if self.target[0] == '<=' else '≥'} {self.target[1]:g} {self.unit}" if self.target else ""
        name = f"{self.name} ({self.note})" if self.note else self.name
        return [name, measured, spread, target, self.verdict()]


class Scraper(threading.Thread):
    """A Prometheus that scrapes every `interval` seconds and, if wanted, a browser that follows the stream."""

    def __init__(self, base, stream, cpu, interval=0.5):
        super().__init__(daemon=True)
        self.base, self.stream, self.cpu, self.interval = base.rstrip("/"), stream, cpu, interval
        self.stopped = threading.Event()
        self.scrapes, self.updates = 0, 0

    def run(self):
        os.sched_setaffinity(0, {self.cpu})  # this thread
        if self.stream:
            threading.Thread(target=self._follow, daemon=True).start()
        pause = 0.5  # the first one soon: within the shortest of runs
        while not self.stopped.wait(pause):
            pause = self.interval
            try:
                with urllib.request.urlopen(self.base + "/metrics", timeout=5) as answer:
                    answer.read()
                self.scrapes += 1
            except OSError:
                pass  # the program ends; too few scrapes are noticed by who started us

    def _follow(self):
        os.sched_setaffinity(0, {self.cpu})
        try:
            with urllib.request.urlopen(self.base + "/api/v1/stream", timeout=5) as answer:
                while not self.stopped.is_set() and answer.readline():
                    self.updates += 1
        except OSError:
            pass


def spread_of_median(values):
    """The median and an interval for it: what is left when the extremes on both sides, which single runs make, are set
    aside. With 7 values the second to the sixth: it holds the true median with 88 % probability."""
    ordered = sorted(values)
    cut = len(ordered) // 6
    return ordered[cut:len(ordered) - cut]
