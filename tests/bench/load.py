# SPDX-License-Identifier: Apache-2.0
"""What the observed loop loses while many clients are at the server: 50 streams, 100 scrapes a second, slow ones and idle ones.

The clients of any server would take CPU time, and on two CPUs they would take it from the loop. So the loop and the clients of *its own* (the echo load)
share one CPU, and the crowd (tests/load/clients.py) has the other: what the loop loses is then loopscope's doing. The threads of the server are put beside the
crowd, as a scheduler with a third CPU would have it, and, in rows of their own, left to the scheduler.

One process of each kind runs throughout; slices with the crowd and without alternate, each with is compared to the mean of the two without beside it. The
loop counts its echoes itself: ready events of the recording, asked for at the edges of a slice.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

from support import Failed, spread_of_median

CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "load", "clients.py")
STREAMS, SCRAPES, SLOW, IDLE, HALF = 50, 100, 4, 1000, 20
WAIT = 60  # seconds, for what takes one as a rule


def answer(url, path):
    with urllib.request.urlopen(url.rstrip("/") + path, timeout=WAIT) as reply:
        return reply.read()


def read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def cpu_seconds(pid):
    """Of all its threads."""
    return sum(int(read(f"/proc/{pid}/task/{tid}/schedstat").split()[0]) for tid in os.listdir(f"/proc/{pid}/task")) / 1e9


def memory_mb(pid):
    return int(re.search(r"^VmHWM:\s+(\d+)", read(f"/proc/{pid}/status"), re.MULTILINE).group(1)) / 1024


class Observed:
    """An echo server with its load, and who serves what is recorded of it. `way`: "inspector" or "run"."""

    def __init__(self, bench, way, seconds, free):
        self.loop_cpu, self.other_cpu = bench.machine.loop_cpu, bench.machine.load_cpu
        echo = [bench.path("echo_recorded" if way == "inspector" else "echo_bare"), "--mode", "inspector" if way == "inspector" else "bare",
                "--connections", "50", "--seconds", str(seconds), "--cpu", str(self.loop_cpu), "--client-cpu", str(self.loop_cpu),
                "--announce", "1"]
        before = [] if way == "inspector" else [bench.options.loopscope, "run", "--listen", "127.0.0.1:0", "--summary", "none", "--"]
        self.process = subprocess.Popen(before + echo, env=bench.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said = json.loads(self.process.stdout.readline() or "{}")
            self.pid = int(said["pid"])
            self.url = said["url"] or self._url_of_run()
            self.server = self.process.pid
            if not free:
                self._put_servers_threads_aside(way)
            deadline = time.monotonic() + WAIT
            while not self.echoes():
                if time.monotonic() > deadline:
                    raise Failed(f"{way}: no echo is seen")
                time.sleep(0.1)
        except BaseException:
            self.end()
            raise

    def _url_of_run(self):
        for line in self.process.stderr:
            if match := re.search(r"http://[0-9.:]+/", line):
                return match.group(0)
        raise Failed("loopscope run says no address")

    def _put_servers_threads_aside(self, way):
        for tid in os.listdir(f"/proc/{self.server}/task"):
            if way == "run" or read(f"/proc/{self.server}/task/{tid}/comm").startswith("loopscope-"):
                os.sched_setaffinity(int(tid), {self.other_cpu})

    def echoes(self):
        for process in json.loads(answer(self.url, "/api/v1/snapshot?recent=0"))["processes"]:
            if process["pid"] == self.pid and process["loops"]:
                return max(loop["ready_events"] for loop in process["loops"])
        return 0

    def slice(self, seconds):
        """(echoes a second, CPU ns of the loop's thread for each, CPU share of the server)"""
        edges = []
        for _ in range(2):
            if edges:
                time.sleep(seconds)
            loop = int(read(f"/proc/{self.pid}/task/{self.pid}/schedstat").split()[0])
            # The loop's thread is the main one; in process, the rest of the threads is the server.
            server = cpu_seconds(self.server) * 1e9 - (loop if self.server == self.pid else 0)
            edges.append((time.monotonic(), self.echoes(), loop, server))
        (t0, e0, c0, s0), (t1, e1, c1, s1) = edges
        return (e1 - e0) / (t1 - t0), (c1 - c0) / max(e1 - e0, 1), (s1 - s0) / 1e9 / (t1 - t0)

    def end(self):
        self.process.terminate()
        try:
            self.process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


class CrowdProcess:
    """clients.py in a process of its own, on one CPU; it is there when every stream has had an event."""

    def __init__(self, url, cpu):
        command = [sys.executable, CLIENTS, url, "--streams", str(STREAMS), "--scrapes", str(SCRAPES), "--slow", str(SLOW), "--idle",
                   str(IDLE), "--half", str(HALF), "--report", "0.5"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        self.newest = None
        deadline = time.monotonic() + WAIT
        while self.newest is None or min(each["events"] for each in self.newest["stream"]) == 0:
            line = self.process.stdout.readline()
            if not line or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise Failed("not every stream of the crowd got an event")
            self.newest = json.loads(line)


    def end(self):
        """(events a second of the slowest stream, scrapes a second), since it was there."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=WAIT)
        first, last = self.newest, json.loads(out.splitlines()[-1])
        seconds = last["at"] - first["at"]
        if last["errors"]:
            raise Failed("; ".join(last["errors"][:3]))
        events = min(b["events"] - a["events"] for a, b in zip(first["stream"], last["stream"]))
        scrapes = last["scrapes"][0]["answered"] - first["scrapes"][0]["answered"]
        return events / seconds, scrapes / seconds


class LoadBench:
    def __init__(self, bench):
        self.bench = bench

    def _pairs(self, way, free):
        seconds, pairs = (1.0, 2) if self.bench.quick else (1.5, 7)
        observed = Observed(self.bench, way, 600, free)
        results = {"rate": [], "cpu": [], "server": [], "server_alone": [], "events": [], "scrapes": []}
        try:
            without = [observed.slice(seconds)]
            before = memory_mb(observed.server)
            for _ in range(pairs):
                crowd = CrowdProcess(observed.url, observed.other_cpu)
                try:
                    with_crowd = observed.slice(seconds)
                    events, scrapes = crowd.end()
                finally:
                    crowd.process.kill()
                    crowd.process.wait()
                time.sleep(0.5)  # what is left of it is cleared away
                without.append(observed.slice(seconds))
                beside = [statistics.mean(pair) for pair in zip(without[-2], without[-1])]
                results["rate"].append(100 * with_crowd[0] / beside[0])
                results["cpu"].append(100 * with_crowd[1] / beside[1])
                results["server"].append(100 * with_crowd[2])
                results["server_alone"].append(100 * beside[2])
                results["events"].append(events)
                results["scrapes"].append(scrapes)
            # Two neighbours without anybody: what the method makes of no difference.
            results["nothing"] = [100 * b[0] / a[0] for a, b in zip(without, without[1:])]
            results["echoes"] = [each[0] for each in without]
            results["megabytes"] = [memory_mb(observed.server) - before]
        finally:
            observed.end()
        self.bench.raw[f"load {way} {'free' if free else 'aside'}"] = results
        return results

    def run(self, title):
        bench = self.bench
        crowd = f"{STREAMS} streams, {SCRAPES} scrapes a second, {SLOW} readers of a byte a second, {IDLE + HALF} idle connections"
        kinds = [("Inspector", "inspector"), ("`loopscope run`", "run")]
        for words, way in kinds:
            if way == "run" and not (bench.options.loopscope and os.path.exists(bench.options.loopscope)):
                bench.add(title, words, [], "", note="the loopscope command is not built")
                continue
            for free in (False, True):
                got = self._pairs(way, free)
                where = "its threads wherever there is room" if free else "its threads on the crowd's CPU"
                rate = statistics.median(got["echoes"])
                bench.add(title, f"{words}, {where}: throughput with the crowd", spread_of_median(got["rate"]), "%", None if free else (">=", 97),
                          f"CPU of the loop's thread an echo {statistics.median(got['cpu']) - 100:+.1f} %; {rate:,.0f} echoes/s without".replace(",", " "))
                if free:
                    continue
                bench.add(title, f"{words}: the same between two slices without anybody", spread_of_median(got["nothing"]), "%")
                bench.add(title, f"{words}: CPU that the server takes", got["server"], "%", None,
                          f"{statistics.median(got['server_alone']):.1f} % without the crowd")
                bench.add(title, f"{words}: events a second, of the stream with the fewest", got["events"], "")
                bench.add(title, f"{words}: scrapes answered a second", got["scrapes"], "")
                bench.add(title, f"{words}: memory more", got["megabytes"], "MB")
                if way == "inspector":
                    low, high = min(spread_of_median(got["rate"])), max(spread_of_median(got["rate"]))
                    print(f"reliability: load-throughput: {crowd}: {statistics.median(got['rate']):.1f} % ({low:.1f} – {high:.1f}) of the echoes of "
                          "the loop with nobody there, Inspector in its process")
