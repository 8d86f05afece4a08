#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many series a fleet makes, raw and recorded, counted by a real Prometheus that scrapes one.

The fleet is what `loopscope serve` says of one process under the probe, said by a small exporter of as many processes as asked for, on
ten hosts; after a while all of them have been restarted. Beside it one of twenty processes: what must not grow with the number has to
be the same for both.

    PROCESSES=200 LOOPSCOPE_BIN=path/to/loopscope TOOLS=directory/of/prometheus python3 cardinality_test.py

Prints the figures that docs/dashboards.md tells.
"""

import http.server
import os
import re
import shutil
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
from prometheus_support import HERE, RULES, Program, Prometheus, eventually, http as get, rules_of  # noqa: E402  pylint: disable=wrong-import-position
from demo_support import BIN, DIRECTORY  # noqa: E402  pylint: disable=wrong-import-position

PROCESSES = int(os.environ.get("PROCESSES", "200"))
FEW = 20
HOSTS = 10
PATIENCE = 240
# A program with one loop: 4 histograms of 26 buckets summed, 20 kinds of descriptors, 11 findings, some thirty single values.
MOST_PER_PROGRAM = 200
MOST_PER_LOOP = 10


class Fleet:
    """Serves /JOB/HOST; every scrape its counters are higher. `generation` is part of each pid: another one is a restart of all."""

    def __init__(self, text, sizes, at_end):
        self.generation = 1
        self.scrapes = 0
        # [(what comes before the pid, what comes after it, value, whether it counts)]; one comment each, where it belongs.
        self.lines = []
        self.once = ""
        counters = False
        for line in text.splitlines():
            if line.startswith("# TYPE"):
                counters = line.endswith((" counter", " histogram"))
            sample = re.fullmatch(r'([a-z_]+\{process="[^"]+",pid=")\d+(".*\}) (\S+)', line)
            if sample:
                self.lines.append((sample[1], sample[2], float(sample[3]), counters))
            elif not line.startswith("#"):
                self.once += line + "\n"
        fleet = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                _, job, host = self.path.split("/")
                body = fleet.text(sizes[job] // HOSTS, int(host)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        at_end(self.server.server_close)
        at_end(self.server.shutdown)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def text(self, processes, host):
        self.scrapes += 1
        pids = [self.generation * 1000000 + host * 10000 + i for i in range(processes)]
        parts = [self.once]
        for head, tail, value, counts in self.lines:
            rest = f"{tail} {value * self.scrapes if counts else value}\n"
            parts.append("".join(f"{head}{pid}{rest}" for pid in pids))
        return "".join(parts)


class CardinalityTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="loopscope-cardinality-", dir=DIRECTORY)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def one_process(self):
        """What `loopscope serve` says of a program under the probe."""
        recordings = os.path.join(self.directory, "recordings")
        os.mkdir(recordings, 0o700)
        environment = dict(os.environ, LOOPSCOPE_DIR=recordings)
        victim = [sys.executable, os.path.join(HERE, "victims.py"), "works"]
        ends = []
        Program([BIN, "run", "--no-http", "--summary", "none", "--", *victim], environment, self.directory, ends.append)
        serve = Program([BIN, "serve", "--listen", "127.0.0.1:0"], environment, self.directory, ends.append)
        url = serve.wait_for(r"(http://127\.0\.0\.1:\d+/)")[1]

        def text():
            found = get(url + "metrics")
            return found if re.search(r"loopscope_iterations_total\{.*\} [1-9]", found) else None

        found = eventually("a loop at work", text)
        for end in ends:
            end()
        return found

    def test_series(self):
        text = self.one_process()
        loops = len(re.findall(r"^loopscope_stalled_seconds\{", text, re.MULTILINE))
        self.assertEqual(loops, 1)
        sizes = {"few": FEW, "many": PROCESSES}
        fleet = Fleet(text, sizes, self.addCleanup)
        target = f"127.0.0.1:{fleet.server.server_port}"
        scrapes = [
            {"job_name": job, "static_configs": [{"targets": [target], "labels": {"__metrics_path__": f"/{job}/{host}", "instance": f"host{host}"}}
                                                 for host in range(HOSTS)]}
            for job in sizes
        ]  # fmt: skip
        prometheus = Prometheus(self.directory, self.addCleanup, scrapes, [RULES], interval="5s", timeout="5s")
        kinds = {"raw": "loopscope_.*|process_.*", "loop": "loop:.*", "process": "process:.*", "program": "job_process.*"}

        def count(kind, job, ever=False):
            selector = f'{{__name__=~"{kinds[kind]}",job="{job}"}}'
            found = prometheus.numbers(f"count(last_over_time({selector}[50m]))" if ever else f"count({selector})")
            return int(found[0]) if found else 0

        def complete():
            counted = {(kind, job): count(kind, job) for kind in kinds for job in sizes}
            for job, size in sizes.items():
                self.assertEqual(counted["process", job], size)
                self.assertEqual(counted["loop", job], size * sum(rule["record"].startswith("loop:") for rule in rules_of(RULES)))
                self.assertEqual({name for name in (r["record"] for r in rules_of(RULES)) if name.startswith("job_")},
                                 {labels["__name__"] for labels, _ in prometheus.query(f'{{__name__=~"job_.*",job="{job}"}}')})
            return counted

        counted = eventually("all of it is scraped and recorded", complete, PATIENCE, 1)
        # What is of an endpoint, not of a process.
        of_hosts = HOSTS * len(re.findall(r"^loopscope_(?:build_info|server_failures_total)\{", text, re.MULTILINE))
        self.assertGreaterEqual(of_hosts, 2 * HOSTS)
        per_process = (counted["raw", "many"] - of_hosts) / PROCESSES
        self.assertEqual(per_process, (counted["raw", "few"] - of_hosts) / FEW)
        print(f"{PROCESSES} processes of one loop: {counted['raw', 'many']} series as scraped ({per_process:.0f} a process), "
              f"{counted['loop', 'many']} recorded by loop, {counted['process', 'many']} by process, "
              f"{counted['program', 'many']} by program", flush=True)  # fmt: skip
        self.assertLessEqual(counted["loop", "many"] + counted["process", "many"], MOST_PER_LOOP * PROCESSES)
        # What is kept for long: not one series more than of twenty processes.
        self.assertEqual(counted["program", "many"], counted["program", "few"])
        self.assertLessEqual(counted["program", "many"], MOST_PER_PROGRAM)

        fleet.generation = 2
        again = f'count(last_over_time(process_open_fds{{job="many",pid=~"2......"}}[50m]))'
        eventually("all are restarted", lambda: prometheus.numbers(again) == [PROCESSES], PATIENCE, 1)
        eventually("and recorded", lambda: count("process", "many", True) == 2 * PROCESSES, PATIENCE, 1)
        self.assertEqual(count("program", "many", True), counted["program", "many"])


if __name__ == "__main__":
    unittest.main()
