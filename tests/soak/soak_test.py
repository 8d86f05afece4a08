#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Full load for long, with browsers and a Prometheus: nothing grows, nothing is lost; and loopscope itself says so.

    MINUTES=30 LOOPSCOPE_BIN=... TOOLS=... PROGRAMS=... BROWSERS=... NODE=... RESULTS=... python3 soak_test.py

What runs, all of it on this machine and for the whole time:

    soak_library                                   libev with the library, its page in the process
    loopscope run W -- loopscope run -- soak_epoll     a program that knows nothing, its page in the command
    loopscope run W -- loopscope serve             both of them on one page
    soak_load, twice                               50 connections to each server, a message under way on each
    soak_browsers.mjs                              20 tabs of Chromium, in turn on the three pages (2 where MINUTES < 5,
    streams.py                                     and 18 readers of the stream instead), besides one reader for each page
    prometheus                                     scrapes the three, and the two W, every second

W are the watchers: the outer `loopscope run` has the probe in the inner command, whose memory, descriptors and findings it shows.

Without MINUTES it is a third of one, 5 with SLOW=1. Every second's samples are in $RESULTS/soak.csv, the
pages' heaps in soak-pages.csv, the verdicts in soak.txt. SOAK_MUTANT=descriptors, memory, count
(soak_epoll.c), library-memory (soak_library.cpp): it has to fail.

*Growth*: the median of the last fifth of the time, less that of the second fifth (the first is warming up: threads serve their first request,
tables fill, code is paged in), is to be less than 1 MiB, or 2 % of the latter if that is more. Medians, because a snapshot under
way is memory for some milliseconds; 1 MiB, because glibc gives memory back in lots of 128 KiB and more; 2 % is
what the same rule gives for a process of 50 MiB. In 30 minutes that is 1 KiB a second: a tenth of a byte a turn, 200 bytes for
each scrape and event. Warming up has an end, a leak has none: a shorter run may grow by as much more as it is shorter (5 minutes: 6 MiB), up to
24 MiB, which only says that no turn and no request leaves anything behind. In a host the library uses the host's malloc as the
host has set it, and each of its six threads may keep an arena with room for a snapshot: 4 MiB at least. A program under the probe
has nothing to warm up, and as the probe allocates nothing in it: 256 KiB, always.
Descriptors need no such rule: when load, browsers and Prometheus are gone, there are as many as before they came.
"""

import atexit
import csv
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
# pylint: disable=wrong-import-position
from demo_support import BIN, DIRECTORY, Program, eventually, http  # noqa: E402
from prometheus_test import Prometheus, tool  # noqa: E402

SLOW = os.environ.get("SLOW", "0") not in ("", "0")
MINUTES = float(os.environ.get("MINUTES") or (5 if SLOW else 0.35))
LONG = MINUTES >= 5
TABS = int(os.environ.get("TABS") or (20 if LONG else 2))
READERS = 1 if LONG else 6  # for each of three pages
PROGRAMS = os.environ["PROGRAMS"]
BROWSERS = os.environ["BROWSERS"]
NODE = os.environ.get("NODE", "node")
RESULTS = os.environ.get("RESULTS", ".")
CONNECTIONS = 50
MESSAGES = 5000  # of each connection: a few dozen new ones a second
PATIENCE = 180  # for what is done in milliseconds where nothing else runs

MIB = 1 << 20
ALLOWED_BYTES = MIB * min(24, max(1, 30 / MINUTES))
ALLOWED_SHARE = 0.02
ALLOWED_BYTES_OF = {
    ("library", "anonymous"): max(4 * MIB, ALLOWED_BYTES),
    ("library", "resident"): max(4 * MIB, ALLOWED_BYTES),
    ("epoll", "anonymous"): MIB / 4,
}
# A page's histories are full after 15 minutes (webui/page/src/series.ts); until then it grows.
PAGE_FULL_SECONDS = 16 * 60
PAGE_BYTES = 64 * MIB

# What Chromium says when a server hangs up on it: rightly, if the machine gave it no time for 10 s (a request that had only begun: 408).
CUT_OFF = re.compile(
    r"console: Failed to load resource: "
    r"(net::ERR_(INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET|EMPTY_RESPONSE)|the server responded with a status of 408)"
)

# Findings that say that something leaks, was misused or was lost. Full load brings stalls and late timers, honestly.
GUILTY = {
    "fd-growth",
    "fd-limit",
    "double-close",
    "use-after-close",
    "close-never-opened",
    "event-after-close",
    "records-dropped",
}
# With the test, however that ends; in the inner command, with the outer one. Kept through exec(3).
TIED = ["setpriv", "--pdeathsig", "KILL", "--"]
RUN = ["run", "--listen", "127.0.0.1:0", "--summary", "none"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def many(number):
    return f"{number:,}".replace(",", " ")


def program(name):
    return os.path.join(PROGRAMS, name)


class Sampler:
    """Asks the kernel about processes, and keeps all it said."""

    def __init__(self, processes, path):
        """`processes`: {name: (pid, its recording or None)}"""
        self.processes = processes
        self.samples = {name: [] for name in processes}
        self.file = open(path, "w", newline="", encoding="utf-8")  # pylint: disable=consider-using-with
        self.table = csv.writer(self.file)
        self.table.writerow(["seconds", "process", "resident", "anonymous", "descriptors", "threads", "recording"])
        self.begin = time.monotonic()

    @staticmethod
    def sample(pid, recording):
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            status = dict(re.findall(r"^(\w+):\s+(\d+)", file.read(), re.MULTILINE))
        return {
            "resident": int(status["VmRSS"]) * 1024,
            "anonymous": int(status["RssAnon"]) * 1024,
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": int(status["Threads"]),
            "recording": os.stat(recording).st_blocks * 512 if recording else 0,
        }

    def take(self):
        for name, (pid, recording) in self.processes.items():
            sample = self.sample(pid, recording)
            self.samples[name].append(sample)
            self.table.writerow([round(time.monotonic() - self.begin, 2), name, *sample.values()])
        self.file.flush()

    def close(self):
        self.file.close()


def growth(values):
    """(median of the second fifth, median of the last fifth)"""
    fifth = len(values) // 5
    return statistics.median(values[fifth : 2 * fifth]), statistics.median(values[-fifth:])


class Browsers:
    """soak_browsers.mjs, its lines as they come."""

    def __init__(self, count, urls, directory, at_end):
        # A socket of Chromium's is in its directory: a path of 107 bytes at most, whatever the build tree's is.
        temporary = tempfile.mkdtemp(prefix="soak-")
        at_end(shutil.rmtree, temporary, ignore_errors=True)
        environment = dict(os.environ, TMPDIR=temporary)
        self.errors = tempfile.TemporaryFile("w+", dir=directory)  # pylint: disable=consider-using-with
        self.popen = subprocess.Popen(  # pylint: disable=consider-using-with
            [*TIED, NODE, BROWSERS, str(count), *urls],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        at_end(self.end)
        self.ready = False
        self.heaps = []  # (seconds, [bytes])
        self.looked = None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        eventually("the browsers are there", lambda: self.running() and self.ready, PATIENCE)

    def read(self):
        for line in self.popen.stdout:
            said = json.loads(line)
            if "heaps" in said:
                self.heaps.append((said["seconds"], said["heaps"]))
            self.ready = self.ready or "ready" in said
            self.looked = said.get("look", self.looked)

    def running(self):
        if self.popen.poll() is not None:
            raise RuntimeError(f"the browsers ended with {self.popen.returncode}: {os.pread(self.errors.fileno(), 1 << 16, 0).decode()}")
        return True

    def look(self):
        """What every tab says of itself, once it was seen to be live."""
        self.popen.stdin.write("look\n")
        self.popen.stdin.flush()
        return eventually("every tab was looked at", lambda: self.running() and self.looked, 5 * PATIENCE)

    def end(self):
        if self.popen.poll() is None:
            try:
                self.popen.stdin.close()
                self.popen.wait(PATIENCE)
            except (subprocess.TimeoutExpired, OSError):
                self.popen.kill()
        self.popen.wait()


class LoudPrometheus(Prometheus):
    """Says why a scrape failed."""

    LOG_LEVEL = "debug"

    def scrape_errors(self):
        log = self.process.log.fileno()
        said = os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")
        return re.findall(r'msg="Scrape failed" err="(.*)"', said)


class SoakTest(unittest.TestCase):
    """One run, which setUpClass makes; the tests judge what it has brought."""

    longMessage = True

    @classmethod
    def addClassCleanup(cls, function, /, *args, **kwargs):
        """Done after Ctrl-C too, which leaves unittest without its cleanups."""
        super().addClassCleanup(function, *args, **kwargs)
        atexit.register(function, *args, **kwargs)

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="loopscope-soak-", dir=DIRECTORY)
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.seen, cls.watched = (os.path.join(cls.directory, name) for name in ("seen", "watched"))
        for directory in (cls.seen, cls.watched):
            os.mkdir(directory, 0o700)
        cls.environment = dict(os.environ, LOOPSCOPE_DIR=cls.seen, LC_ALL="C.UTF-8")
        cls.failures = []  # what was wrong while it ran, with when
        with open(os.path.join(RESULTS, "soak.txt"), "w", encoding="utf-8") as file:
            file.write(f"{time.ctime()}: {cls.length()}, {TABS} tabs\n")
        cls.start_servers()
        cls.warm_up()
        cls.before = cls.at_rest()
        cls.start_clients()
        cls.soak()
        cls.stop_load()
        cls.final = cls.snapshots()
        cls.looked = cls.browsers.look()
        cls.stop_clients()
        cls.stop_servers()

    @classmethod
    def begin(cls, *arguments, before=()):
        return Program([*TIED, *before, *arguments], cls.environment, cls.directory, cls.addClassCleanup)

    @classmethod
    def start_servers(cls):
        watch = [BIN, *RUN, "--dir", cls.watched, "--", *TIED]
        library = cls.begin(program("soak_library"))
        found = json.loads(library.wait_for(r"^\{.*\}$")[0])
        cls.library, cls.pages, cls.ports = library, {"library": found["url"]}, {"library": found["port"]}
        cls.run_program = cls.begin(*watch, BIN, *RUN, "--linger", "forever", "--dir", cls.seen, "--", program("soak_epoll"))
        cls.ports["epoll"] = json.loads(cls.run_program.wait_for(r"^\{.*\}$")[0])["port"]
        outer = cls.run_program.wait_for(r"(http://\S+) shows \S*setpriv \(pid (\d+)\)")
        inner = cls.run_program.wait_for(r"(http://\S+) shows \S*soak_epoll \(pid (\d+)\)")
        cls.serve_program = cls.begin(*watch, BIN, "serve", "--listen", "127.0.0.1:0", "--dir", cls.seen)
        watch_serve = cls.serve_program.wait_for(r"(http://\S+) shows \S*setpriv \(pid (\d+)\)")
        others = cls.serve_program.wait_for(r"serving (http://\S+/)")
        cls.pages.update({"run": inner[1], "serve": others[1]})
        cls.watchers = {"run": outer[1], "serve": watch_serve[1]}
        cls.pids = {"library": library.pid, "epoll": int(inner[2]), "run": int(outer[2]), "serve": int(watch_serve[2])}
        cls.processes = {
            name: (pid, cls.recording(pid)) for name, pid in cls.pids.items()
        } | {"run's watcher": (cls.run_program.pid, None), "serve's watcher": (cls.serve_program.pid, None)}
        cls.sampler = Sampler(cls.processes, os.path.join(RESULTS, "soak.csv"))
        cls.addClassCleanup(cls.sampler.close)

    @classmethod
    def recording(cls, pid):
        """The file that the process writes to now: the last one, if it has called exec."""
        def find():
            files = [os.path.join(d, f) for d in (cls.seen, cls.watched) for f in os.listdir(d) if f.startswith(f"{pid}-")]
            return max(files, key=lambda file: int(os.path.basename(file).split("-")[2].split(".")[0]))
        return eventually(f"a recording of {pid}", lambda: find() if os.listdir(cls.seen) else None)

    @classmethod
    def everything(cls):
        """Every server: {name: URL}"""
        return cls.pages | {f"watch-{name}": url for name, url in cls.watchers.items()}

    @classmethod
    def warm_up(cls):
        """What is opened once and kept (symbols of modules) is open before anything is counted."""
        for url in cls.everything().values():
            for route in ("", "metrics", "api/v1/snapshot?descriptors=1", "metrics", "api/v1/snapshot"):
                cls.ask(url + route)

    @classmethod
    def at_rest(cls):
        """A sample of each process with the fewest descriptors: connections of the last requests are closed by and by."""
        samples = {name: [] for name in cls.processes}
        for _ in range(10):
            for name, process in cls.processes.items():
                samples[name].append(cls.sampler.sample(*process))
            time.sleep(0.2)
        return {name: min(some, key=lambda sample: sample["descriptors"]) for name, some in samples.items()}

    @classmethod
    def ask(cls, url):
        """What a server answers; a machine so busy that it takes more than 10 s is asked again."""
        return eventually(url, lambda: http(url), PATIENCE)

    @classmethod
    def start_clients(cls):
        cls.prometheus = LoudPrometheus(cls, cls.environment, cls.everything())
        eventually("all are scraped", lambda: cls.prometheus.value("count(up == 1)") == len(cls.everything()), PATIENCE)
        cls.streams = cls.begin(sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "streams.py"), str(READERS), *cls.pages.values())
        cls.browsers = Browsers(TABS, list(cls.pages.values()), cls.directory, cls.addClassCleanup)
        # It takes what the others leave of the machine: all of it.
        load = [program("soak_load"), str(CONNECTIONS), str(MESSAGES)]
        cls.load = {name: cls.begin(*load, str(port), before=["nice", "-n", "10"]) for name, port in cls.ports.items()}
        cls.load_began = time.time()
        for name in cls.load:
            registered = cls.before[name]["descriptors"] + CONNECTIONS
            eventually(f"{name} has its load", lambda name=name, n=registered: cls.sampler.sample(*cls.processes[name])["descriptors"] >= n, PATIENCE)

    @classmethod
    def soak(cls):
        children = [cls.library, cls.run_program, cls.serve_program, cls.streams, cls.prometheus.process, cls.browsers, *cls.load.values()]
        begin = time.monotonic()
        end = begin + MINUTES * 60
        tick = 0
        while time.monotonic() < end:
            cls.sampler.take()
            for child in children:
                child.running()
            if tick % 5 == 0:
                cls.look_for_findings(f"after {time.monotonic() - begin:.0f} s")
            tick += 1
            time.sleep(max(0, min(begin + tick - time.monotonic(), end - time.monotonic())))
        cls.look_for_findings("at the end")

    @classmethod
    def look_for_findings(cls, when):
        for name, url in cls.everything().items():
            for process in json.loads(cls.ask(url + "api/v1/snapshot?recent=0"))["processes"]:
                where = f"{when}, {process['command']} on the page of {name}"
                cls.failures += [f"{where}: {f['rule']}: {f['title']}" for f in process["findings"] if f["rule"] in GUILTY]
                cls.failures += [f"{where}: {count} {kind} dropped" for kind, count in process["dropped"].items() if count]

    @classmethod
    def stop_load(cls):
        """Both say what they did; then the servers have it all."""
        cls.did = {}
        for child in cls.load.values():
            child.popen.send_signal(signal.SIGTERM)
        for name, child in cls.load.items():
            status = child.popen.wait(PATIENCE)
            assert status == 0, f"soak_load of {name} ended with {status}: {child.output()}"
            cls.did[name] = json.loads(child.output())
        # No client, no timer: no turn any more.
        eventually("the servers rest", lambda: cls.process("library", "library")["loops"][0]["watchers"] and cls.rests(), PATIENCE)

    @classmethod
    def rests(cls):
        def state():
            return [
                (loop["iterations"], loop["phase"], loop["registered_fds"])
                for name, page in (("library", "library"), ("epoll", "run"))
                for loop in cls.process(name, page)["loops"]
            ]

        first = state()
        time.sleep(0.5)
        return first == state() and all(phase == "polling" for _, phase, _ in first) and first[1][2] == 1

    @classmethod
    def process(cls, name, page):
        """The process of that name in a snapshot of that page now."""
        snapshot = json.loads(cls.ask(cls.everything()[page] + "api/v1/snapshot?recent=1"))
        return next(p for p in snapshot["processes"] if p["pid"] == cls.pids[name] and p["ended"] != "exec")

    @classmethod
    def snapshots(cls):
        """{(process, page): as it is there}"""
        where = [("library", "library"), ("library", "serve"), ("epoll", "run"), ("epoll", "serve")]
        return {(name, page): cls.process(name, page) for name, page in where}

    @classmethod
    def stored(cls, selector):
        """[{"metric": labels, "values": [[time, text]]}]"""
        return eventually(selector, lambda: cls.prometheus.get("query", query=f"{selector}[2h]")["result"], PATIENCE)

    @classmethod
    def stop_clients(cls):
        # Scrapes from now on have the last numbers.
        rested = time.time()
        count = f"count(timestamp(up == 1) > {rested})"
        eventually("all are scraped once more", lambda: cls.prometheus.value(count) == len(cls.everything()), PATIENCE)
        cls.streams.popen.send_signal(signal.SIGTERM)
        cls.streams.popen.wait(PATIENCE)
        cls.readers = json.loads(cls.streams.output().strip().splitlines()[-1])
        cls.series = cls.stored("loopscope_iterations_total")
        cls.ups = cls.stored("up")
        counters = re.compile(r"(loopscope|process)_.*_(total|count|bucket)")
        names = [name for name in eventually("names", lambda: cls.prometheus.get("label/__name__/values"), PATIENCE) if counters.fullmatch(name)]
        cls.resets = {name: eventually(name, lambda name=name: cls.prometheus.query(f"sum(resets({name}[2h]))"), PATIENCE) for name in names}
        cls.own = cls.stored('process_resident_memory_bytes{job=~"watch-.*"}')
        cls.scrape_errors = cls.prometheus.scrape_errors()
        cls.prometheus.process.end()
        cls.browsers.end()
        with open(os.path.join(RESULTS, "soak-pages.csv"), "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([round(at), *sizes] for at, sizes in cls.browsers.heaps)
        # Connections that were hung up on are noticed by and by.
        cls.after = {}
        for name, process in cls.processes.items():
            def settled(name=name, process=process):
                cls.after[name] = cls.sampler.sample(*process)
                return cls.after[name]["descriptors"] <= cls.before[name]["descriptors"]
            try:
                eventually(f"{name} has its descriptors back", settled, 60)
            except AssertionError:
                pass  # judged below, with what there is

    @classmethod
    def stop_servers(cls):
        """The servers say what they counted, and `serve` what it finds in their recordings then."""
        os.kill(cls.pids["library"], signal.SIGTERM)
        os.kill(cls.pids["epoll"], signal.SIGTERM)
        assert cls.library.popen.wait(PATIENCE) == 0, cls.library.output()
        eventually("the epoll server has ended", lambda: cls.process("epoll", "serve")["state"] == "exited", PATIENCE)
        cls.counted = {}
        for name, child in (("library", cls.library), ("epoll", cls.run_program)):
            said = eventually(f"the counts of {name}", lambda child=child: re.search(r'^\{"turns".*\}$', child.output(), re.MULTILINE))
            cls.counted[name] = json.loads(said[0])
        eventually("both have ended", lambda: cls.process("library", "serve")["state"] == "exited", PATIENCE)
        where = [("library", "serve"), ("epoll", "serve"), ("epoll", "run")]
        cls.ended = {(name, page): cls.process(name, page) for name, page in where}
        # The commands end as they are told to, and leave nothing.
        for child, pid in ((cls.serve_program, cls.pids["serve"]), (cls.run_program, cls.pids["run"])):
            os.kill(pid, signal.SIGTERM)
            eventually("the command ends", lambda child=child: child.popen.poll() is not None, PATIENCE)
            assert "loopscope: " in child.output(), child.output()

    # --- judged ------------------------------------------------------------------------------------------------------

    def assert_level(self, what, values, allowed_bytes=ALLOWED_BYTES):
        early, late = growth(values)
        allowed = max(allowed_bytes, ALLOWED_SHARE * early)
        with self.subTest(what):
            self.assertLess(late - early, allowed, f"{what}: {early / MIB:.2f} MiB, then {late / MIB:.2f} MiB")
        return late - early

    def test_memory(self):
        worst = (0, "nothing")
        for name, samples in self.sampler.samples.items():
            for what in ("anonymous", "resident", "recording"):
                allowed = ALLOWED_BYTES_OF.get((name, what), ALLOWED_BYTES)
                grown = self.assert_level(f"{what} memory of {name}", [sample[what] for sample in samples], allowed)
                worst = max(worst, (grown, f"{what} of {name}"))
        # The same as loopscope tells it of its own commands.
        memory = {s["metric"]["job"]: [float(value) for at, value in s["values"] if self.load_began < at] for s in self.own}
        self.assertEqual((set(memory), len(self.own)), ({"watch-run", "watch-serve"}, 2))
        for job, values in memory.items():
            self.assert_level(f"process_resident_memory_bytes of {job}", values)
        self.judge_pages()
        largest = max(tab["heap"] for tab in self.looked)
        figures = ", ".join(
            f"{name} {growth([sample['anonymous'] for sample in samples])[1] / MIB:.1f} MiB"
            for name, samples in self.sampler.samples.items()
        )
        more = f"at most {worst[0] / 1024:.0f} KiB more in the last fifth than in the second ({worst[1]})"
        self.report("soak-memory", f"{self.length()}: {more}; {figures}; {TABS} tabs, each at most {largest / MIB:.0f} MiB of script")

    def judge_pages(self):
        heaps = self.browsers.heaps
        for number, tab in enumerate(self.looked):
            with self.subTest(tab=number):
                self.assertLess(tab["heap"], PAGE_BYTES)
                full = [sizes[number] for at, sizes in heaps if at > PAGE_FULL_SECONDS]
                if len(full) >= 9:
                    third = len(full) // 3
                    early, late = statistics.median(full[:third]), statistics.median(full[-third:])
                    sizes = f"{early / MIB:.1f} MiB, then {late / MIB:.1f} MiB"
                    self.assertLess(late - early, max(MIB, 0.05 * early), f"tab {number}: {sizes}")

    def test_descriptors(self):
        for name, before in self.before.items():
            with self.subTest(name):
                self.assertLessEqual(self.after[name]["descriptors"], before["descriptors"], name)
                self.assertLessEqual(self.after[name]["threads"], before["threads"], f"threads of {name}")
        # Meanwhile, too: what browsers and load have open is bounded, and the same from begin to end.
        for name, samples in self.sampler.samples.items():
            early, late = growth([sample["descriptors"] for sample in samples])
            with self.subTest(name):
                self.assertLessEqual(late - early, 4, f"descriptors of {name}: {early}, then {late}")
        self.assertEqual(self.failures, [])
        for (name, page), process in self.final.items():
            if name == "epoll":
                fds = process["fds"]
                self.assertEqual(fds["inherited"] + fds["opened"] - fds["closed"], self.before[name]["descriptors"], page)
                self.assertEqual(fds["open"], self.before[name]["descriptors"], page)
        after = ", ".join(f"{name} {sample['descriptors']}" for name, sample in self.after.items())
        connections = sum(did["connections"] for did in self.did.values())
        self.report("soak-descriptors", f"{self.length()}: {many(connections)} connections; open before and after: {after}; no finding")

    def test_counts(self):
        epoll, library = self.did["epoll"], self.did["library"]
        # While they rested: every view the same, and what the load did.
        for page in ("run", "serve"):
            process = self.final["epoll", page]
            fds = process["fds"]
            self.assertEqual(fds["accepts"], epoll["connections"], page)
            self.assertEqual(fds["opened_by_kind"]["tcp"], epoll["connections"] + 1, page)
            self.assertEqual(fds["closed_by_kind"]["tcp"], epoll["connections"], page)
        for page in ("library", "serve"):
            calls = {w["name"]: w["invocations"] for w in self.final["library", page]["loops"][0]["watchers"]}
            self.assertEqual(calls["connection"], library["messages"] + library["connections"], page)
            self.assertEqual(calls["listener"], self.counted["library"]["listener_calls"], page)
        rested = {}
        for (name, page), process in self.final.items():
            rested.setdefault(name, process["loops"][0]["iterations"])
            self.assertEqual(process["loops"][0]["iterations"], rested[name], (name, page))
            self.assertEqual(process["loops"][0]["polls"]["events"], rested[name], (name, page))
            self.assertEqual({kind: n for kind, n in process["dropped"].items() if n}, {}, (name, page))
            self.assertEqual(process["loops"][0]["busy_turn_seconds"]["count"], rested[name], (name, page))
        # After their end: what the programs counted themselves.
        for name, did in self.did.items():
            counted = self.counted[name]
            self.assertEqual((counted["accepted"], counted["closed"]), (did["connections"], did["connections"]), name)
            self.assertEqual((counted["messages"], counted["bytes"]), (did["messages"], did["bytes"]), name)
        for (name, page), process in self.ended.items():
            self.assertEqual(process["loops"][0]["iterations"], self.counted[name]["turns"], (name, page))
            if name == "epoll":
                self.assertEqual(process["loops"][0]["ready_events"], self.counted[name]["ready"], page)
                self.assertEqual((process["fds"]["opened"], process["fds"]["closed"]), (epoll["connections"] + 2, epoll["connections"] + 2), page)
            else:
                calls = self.counted[name]["listener_calls"] + self.counted[name]["connection_calls"]
                self.assertEqual(process["loops"][0]["ready_events"], calls + 1, "and the signal that ended it")
        self.judge_streams(rested)
        scrapes = self.judge_prometheus(rested)
        self.assertEqual(len(self.looked), TABS)
        cut = 0  # streams of tabs; as those of the readers
        for tab in self.looked:
            cut += sum(bool(CUT_OFF.match(problem)) for problem in tab["problems"])
            problems = [problem for problem in tab["problems"] if not CUT_OFF.match(problem)]
            self.assertEqual(problems, [], tab)
        cut += sum(reader["streams"] - 1 for reader in self.readers)
        turns = sum(self.counted[name]["turns"] for name in self.counted)
        messages = sum(did["messages"] for did in self.did.values())
        connections = sum(did["connections"] for did in self.did.values())
        events = sum(reader["events"] for reader in self.readers)
        failed = sum(value == "0" for series in self.ups for _, value in series["values"])
        self.report(
            "soak-counts",
            f"{self.length()}: {many(turns)} turns, {many(messages)} requests, {many(connections)} connections: 0 lost; "
            f"{many(events)} events of {len(self.readers)} streams add up, {many(scrapes)} scrapes, {failed} of them too late, "
            f"{TABS} tabs live at the end, {cut} streams begun anew",
        )

    def judge_streams(self, rested):
        self.assertEqual(len(self.readers), READERS * len(self.pages))
        loops = {"library": 1, "run": 1, "serve": 2}
        pages = {url: name for name, url in self.pages.items()}
        for reader in self.readers:
            page = pages[reader["url"]]
            self.assertIsNone(reader["error"], page)
            self.assertEqual(len(reader["loops"]), loops[page], page)
            for key, loop in reader["loops"].items():
                name = "library" if key.endswith(" soak") else "epoll"
                self.assertEqual(loop["last"], rested[name], f"{key} on {page}")
                self.assertEqual(loop["first"] + loop["brought"], rested[name], f"{key} on {page}")

    def judge_prometheus(self, rested):
        """How many scrapes there were."""
        self.assertIn("loopscope_iterations_total", self.resets)
        self.assertEqual({name: times for name, times in self.resets.items() if any(times.values())}, {}, "counters went down")
        found = {}
        for series in self.series:
            metric = series["metric"]
            if metric["job"] not in self.pages:
                continue
            values = [float(value) for _, value in series["values"]]
            name = "library" if metric["loop"] == "soak" else "epoll"
            found[metric["job"], name] = values
            self.assertEqual(values, sorted(values), metric)
            self.assertEqual(values[0], 0, f"{metric}: scraped before the load began")
            self.assertEqual(values[-1], rested[name], metric)
        self.assertEqual(set(found), {("library", "library"), ("run", "epoll"), ("serve", "library"), ("serve", "epoll")})
        # A machine that is busy with everything else may take more than a second for one; nothing else is forgiven, and not often.
        for error in self.scrape_errors:
            self.assertIn("deadline exceeded", error)
        ups = [float(value) for series in self.ups for _, value in series["values"]]
        self.assertEqual(len(self.ups), len(self.everything()))
        if LONG:
            self.assertGreaterEqual(sum(ups) / len(ups), 0.99, "scrapes that were answered in time")
        return len(ups)

    @staticmethod
    def length():
        return f"{MINUTES:g} minutes" if MINUTES >= 1 else f"{60 * MINUTES:.0f} s"

    def report(self, row, figure):
        """For the table of docs/reliability.md, unless something was wrong in this test (in a subtest, too)."""
        outcome = self._outcome
        if outcome.success:
            print(f"\nreliability: {row}: {figure}", flush=True)  # unittest's dot stands before it
        with open(os.path.join(RESULTS, "soak.txt"), "a", encoding="utf-8") as file:
            file.write(f"{row}{'' if outcome.success else ' (FAILED)'}: {figure}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("soak_test: ended by a signal"))
    tool("prometheus")
    unittest.main()
