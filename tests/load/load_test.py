#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients of one server at once, good and bad ones: everybody who reads is served, and the server's own process keeps within its bounds.

50 streams, 100 scrapes a second, clients that read a byte a second, 1 000 silent connections and 100 that say half a request, all of which come back when
they are hung up on; against the Inspector in a program, `loopscope run` and `loopscope serve`. What counts is that each got enough by a deadline, not how
fast. SLOW=1: for longer."""
import json
import os
import re
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(HERE, "..", "integration")]
import clients  # noqa: E402  pylint: disable=wrong-import-position
from demo_support import BIN, DEMO, Program, eventually, http  # noqa: E402  pylint: disable=wrong-import-position

SLOW = os.environ.get("SLOW") == "1"
STREAMS = 50
SCRAPES = 100  # a second
IDLE = 1000
HALF = 100
BYTEWISE = 5
DEMOS_CLIENTS = 20
EVENTS = 150 if SLOW else 8  # for each stream
SCRAPED = 3000 if SLOW else 100
DEADLINE = 300
# What all of this may cost the server's process: docs/decisions/0021.
MOST_DESCRIPTORS = 98 + 56
MOST_THREADS = 6
MOST_MEGABYTES = 100

TOTALS = {"events": 0, "scrapes": 0, "megabytes": 0.0, "descriptors": 0}


def status(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(rf"^{name}:\s+(\d+)", file.read(), re.MULTILINE).group(1))


def serving(pid):
    """Of this process and its children, the one with the server's threads."""
    def threads(each):
        for task in os.listdir(f"/proc/{each}/task"):
            with open(f"/proc/{each}/task/{task}/comm", encoding="ascii", errors="replace") as file:
                yield file.read().strip()

    def look():
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            family = [pid, *map(int, file.read().split())]
        return next((each for each in family if "loopscope-http" in threads(each)), None)

    return eventually("a process that serves", look, DEADLINE)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Load(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.environment = {**os.environ, "LOOPSCOPE_DIR": os.path.join(self.directory, "recordings")}
        os.mkdir(self.environment["LOOPSCOPE_DIR"], 0o700)

    def program(self, *arguments):
        return Program(arguments, self.environment, self.directory, self.addCleanup)

    def demo(self, *arguments):
        return ["--admin-port", "0", "--connections", str(DEMOS_CLIENTS), "--rate", "500", *arguments]

    def state(self, demo):
        """Of the demo: what its server thinks of its own clients."""
        return json.loads(http(self.admin(demo) + "state"))

    def admin(self, demo):
        return demo.wait_for(r"^admin +(http://\S+)").group(1)

    def under_load(self, url, server, demo):
        """`server`: the pid of the process that serves; `demo`: the Program whose loop is watched."""
        eventually("loops are shown", lambda: any(each["loops"] for each in json.loads(clients.get(url)[1])["processes"]), DEADLINE)
        eventually("the demo has its clients", lambda: self.state(demo)["connections"] == DEMOS_CLIENTS, DEADLINE)
        before = self.state(demo)
        clients.get(url, "/metrics")
        rest = {"descriptors": descriptors(server), "megabytes": status(server, "VmHWM") / 1024, "threads": status(server, "Threads")}
        most = rest["descriptors"]

        with clients.Crowd(url) as crowd:
            idle = crowd.idle(IDLE)
            half = crowd.idle(HALF, said=clients.HALF_A_REQUEST)
            crowd.slow(BYTEWISE)
            eventually("the idle ones are there", lambda: idle.connected >= IDLE and half.connected >= HALF, DEADLINE)
            streams = crowd.streams(STREAMS)
            scrapes = crowd.scrapes(SCRAPES)

            def enough():
                nonlocal most
                most = max(most, descriptors(server))
                self.assertEqual(crowd.errors(), [])
                self.assertFalse([each.counts() for each in streams if each.ended], "a stream was ended")
                got = min(each.events for each in streams)
                self.assertGreaterEqual(got, EVENTS, "events of the stream with the fewest")
                self.assertGreaterEqual(scrapes.answered, SCRAPED, "scrapes")
                return True

            eventually("everybody is served", enough, DEADLINE)
            for path in ("/", "/app.js", "/api/v1/snapshot", "/metrics", "/healthz", "/sd"):
                self.assertEqual(clients.get(url, path, DEADLINE)[0], 200, path)
            self.assertEqual(status(server, "Threads"), rest["threads"], "threads, with clients and without")
            used = status(server, "VmHWM") / 1024 - rest["megabytes"]
            under = self.state(demo)
            TOTALS["events"] += sum(each.events for each in streams)
            TOTALS["scrapes"] += scrapes.answered
            self.assertEqual([scrapes.refused, scrapes.failed, scrapes.timed_out], [0, 0, 0], scrapes.counts())

        self.assertLessEqual(most, rest["descriptors"] + MOST_DESCRIPTORS)
        self.assertLessEqual(used, MOST_MEGABYTES)
        TOTALS["megabytes"] = max(TOTALS["megabytes"], used)
        TOTALS["descriptors"] = max(TOTALS["descriptors"], most - rest["descriptors"])
        # The observed program went on: nobody of its own clients was lost.
        self.assertEqual(under["connections"], before["connections"])
        self.assertEqual(under["reconnects"], before["reconnects"])
        self.assertGreater(under["messages"], before["messages"])
        eventually("descriptors are given back", lambda: descriptors(server) <= rest["descriptors"], DEADLINE)
        self.check_counts(url)

    def check_counts(self, url):
        """With nobody else there: page and metrics tell of the same turns."""
        first = json.loads(clients.get(url)[1])
        text = clients.get(url, "/metrics")[1].decode()
        last = json.loads(clients.get(url)[1])
        for process, later in zip(first["processes"], last["processes"]):
            self.assertEqual(process["id"], later["id"])
            for loop, after in zip(process["loops"], later["loops"]):
                sample = re.search(rf'^loopscope_iterations_total{{[^}}]*loop="{loop["name"]}"[^}}]*}} (\d+)$', text, re.MULTILINE)
                self.assertIsNotNone(sample, loop["name"])
                self.assertLessEqual(loop["iterations"], int(sample.group(1)), loop["name"])
                self.assertLessEqual(int(sample.group(1)), after["iterations"], loop["name"])

    def test_inspector(self):
        demo = self.program(DEMO, *self.demo("--listen", "127.0.0.1:0"))
        url = demo.wait_for(r"^page +(http://[0-9.:]+)/").group(1)
        threads = len(os.listdir(f"/proc/{demo.pid}/task"))
        self.under_load(url, demo.pid, demo)
        names = []
        for task in os.listdir(f"/proc/{demo.pid}/task"):
            with open(f"/proc/{demo.pid}/task/{task}/comm", encoding="ascii") as file:
                names.append(file.read().strip())
        self.assertEqual(len(names), threads)
        self.assertEqual(sum(name.startswith("loopscope-") for name in names), MOST_THREADS, names)

    def test_run(self):
        run = self.program(BIN, "run", "--listen", "127.0.0.1:0", "--summary", "none", "--", DEMO, *self.demo("--no-inspector"))
        url = run.wait_for(r"loopscope: (http://[0-9.:]+)/").group(1)
        self.under_load(url, serving(run.pid), run)

    def test_serve(self):
        demo = self.program(DEMO, *self.demo("--no-inspector"))
        self.admin(demo)
        serve = self.program(BIN, "serve", "--listen", "127.0.0.1:0")
        url = serve.wait_for(r"(http://[0-9.:]+)/").group(1)
        self.under_load(url, serve.pid, demo)


if __name__ == "__main__":
    program = unittest.main(verbosity=2, exit=False)
    if program.result.wasSuccessful():
        print(f"reliability: load-served: {STREAMS} streams, {SCRAPES} scrapes a second, {BYTEWISE} clients at a byte a second, {IDLE} silent connections and "
              f"{HALF} in the middle of a request at once, on the Inspector, run and serve: {TOTALS['events']} events and {TOTALS['scrapes']} scrapes, "
              f"none missing or wrong; at most {TOTALS['descriptors']} descriptors and {TOTALS['megabytes']:.0f} MB more")
    sys.exit(not program.result.wasSuccessful())
