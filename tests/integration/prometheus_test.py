#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes the demo and `loopscope serve`; what it stores must agree with the JSON snapshots.

    LOOPSCOPE_BIN=path/to/loopscope LOOPSCOPE_DEMO=path/to/demo TOOLS=directory/of/prometheus python3 prometheus_test.py

prometheus and promtool come from PATH or from $TOOLS.
"""

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
from demo_support import BIN, DEMO, DIRECTORY, Program, eventually, http  # noqa: E402  pylint: disable=wrong-import-position

TOOLS = os.environ.get("TOOLS", "")

HISTOGRAMS = {  # metric: field of a loop in the snapshot
    "loopscope_poll_wait_seconds": "poll_wait_seconds",
    "loopscope_busy_seconds": "busy_turn_seconds",
    "loopscope_poll_delay_seconds": "poll_delay_seconds",
    "loopscope_timer_lag_seconds": "timer_lag_seconds",
    "loopscope_ready_events": "ready_events_per_poll",
}


def tool(name):
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), TOOLS]))
    if not found:
        raise AssertionError(f"{name} is neither in PATH nor in $TOOLS ({TOOLS or 'not set'}): install Debian's prometheus")
    return found


def start(test, arguments, environment):
    """For all tests of a class."""
    return Program(arguments, environment, test.directory, test.addClassCleanup)


def parse_labels(text):
    return tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text or "")))


def parse_exposition(text):
    """{(name, labels): value}, {name: type}, {name: help}; fails for what Prometheus would take silently."""
    samples, types, helps = {}, {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} has two types"
            types[name] = kind
        elif line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            helps[name] = words
        elif line:
            match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)", line)
            assert match, f"no sample: {line}"
            series = (match[1], parse_labels(match[2]))
            assert series not in samples, f"twice: {line}"
            samples[series] = float(match[3])
    return samples, types, helps


def family(name, types):
    return name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)


def seconds(instant):
    return datetime.datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


class Prometheus:
    LOG_LEVEL = "warn"

    def __init__(self, test, environment, targets, scrape_configs=()):
        """`targets`: {job: URL}; `scrape_configs`: others, as they are in prometheus.yml."""
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [urllib.parse.urlsplit(url).netloc]}]}
                for job, url in targets.items()
            ]
            + list(scrape_configs),
        }
        path = os.path.join(test.directory, "prometheus.yml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)  # JSON is YAML
        for attempt in range(3):  # the port is free now, but may be another's a moment later
            with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
                address = f"127.0.0.1:{probe.getsockname()[1]}"
            self.process = start(
                test,
                [
                    tool("prometheus"),
                    f"--config.file={path}",
                    f"--storage.tsdb.path={test.directory}/tsdb{attempt}",
                    f"--web.listen-address={address}",
                    f"--log.level={self.LOG_LEVEL}",
                ],
                environment,
            )
            self.url = f"http://{address}"
            try:
                eventually("prometheus is ready", lambda: self.process.running() and http(self.url + "/-/ready"))
                return
            except RuntimeError:
                if attempt == 2:
                    raise

    def get(self, route, **parameters):
        answer = json.loads(http(f"{self.url}/api/v1/{route}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        """{labels without instance and job, __name__ included: value}"""
        result = self.get("query", query=expression)["result"]
        return {self.key(series["metric"]): float(series["value"][1]) for series in result}

    @staticmethod
    def key(metric):
        return tuple(sorted((k, v) for k, v in metric.items() if k not in ("instance", "job")))

    def value(self, expression):
        values = list(self.query(expression).values())
        assert len(values) == 1, f"{expression} has {len(values)} values"
        return values[0]

    def scrape_between(self, job, begin, end):
        """{(name, labels): value} of the last scrape that began in that time."""
        scrapes = {}
        for series in self.get("query", query=f'{{job="{job}",__name__=~"loopscope_.*|process_.*"}}[20s]')["result"]:
            labels = tuple(sorted((k, v) for k, v in series["metric"].items() if k not in ("instance", "job", "__name__")))
            for at, value in series["values"]:
                if begin < at < end:
                    scrapes.setdefault(at, {})[series["metric"]["__name__"], labels] = float(value)
        assert scrapes, "no scrape yet"
        return scrapes[max(scrapes)]


class PrometheusTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        tool("promtool")
        cls.directory = tempfile.mkdtemp(prefix="loopscope-prometheus-", dir=DIRECTORY)
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        recordings = os.path.join(cls.directory, "recordings")
        os.mkdir(recordings, 0o700)
        environment = dict(os.environ, LOOPSCOPE_DIR=recordings, LC_ALL="C.UTF-8")
        cls.demo = start(cls, [DEMO, "--listen", "127.0.0.1:0", "--admin-port", "0"], environment)
        cls.demo_url = cls.demo.wait_for(r"^page +(\S+)$")[1]
        cls.admin_url = cls.demo.wait_for(r"^admin +(\S+)$")[1]
        # The same command and the same names of loops once more: only the pid tells them apart.
        cls.other = start(cls, [DEMO, "--no-inspector", "--admin-port", "0", "--connections", "2"], environment)
        cls.other.wait_for(r"^admin")
        cls.serve = start(cls, [BIN, "serve", "--listen", "127.0.0.1:0"], environment)
        cls.serve_url = cls.serve.wait_for(r"(http://127\.0\.0\.1:\d+/)")[1]
        cls.prometheus = Prometheus(cls, environment, {"demo": cls.demo_url, "serve": cls.serve_url})
        for job in ("demo", "serve"):
            eventually(f"{job} is up", lambda job=job: cls.prometheus.value(f'up{{job="{job}"}}') == 1)
        for job in ("demo", "serve"):
            scrapes = f'count_over_time(up{{job="{job}"}}[1m])'
            eventually(f"{job} is scraped", lambda scrapes=scrapes: cls.prometheus.value(scrapes) >= 3)

    def snapshot(self, url):
        return json.loads(http(url + "api/v1/snapshot?recent=0"))

    def test_promtool_has_nothing_to_say(self):
        for url in (self.demo_url, self.serve_url):
            text = http(url + "metrics")
            self.assertGreater(len(text.splitlines()), 100)
            result = subprocess.run(
                [tool("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
            )
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_targets_are_healthy(self):
        targets = self.prometheus.get("targets", state="active")["activeTargets"]
        self.assertEqual({target["scrapePool"] for target in targets}, {"demo", "serve"})
        for target in targets:
            self.assertEqual((target["health"], target["lastError"]), ("up", ""))
        self.assertEqual(self.prometheus.process.output(), "")  # at level "warn": no duplicates, nothing out of order

    def test_every_series_arrives(self):
        for job, url in (("demo", self.demo_url), ("serve", self.serve_url)):
            samples, types, helps = parse_exposition(http(url + "metrics"))
            stored = self.prometheus.query(f'{{job="{job}",__name__=~"loopscope_.*|process_.*"}}')
            self.assertEqual(set(stored), {tuple(sorted((*labels, ("__name__", name)))) for name, labels in samples})
            self.assertEqual(self.prometheus.value(f'scrape_samples_scraped{{job="{job}"}}'), len(samples))
            self.assertEqual(self.prometheus.value(f'scrape_samples_post_metric_relabeling{{job="{job}"}}'), len(samples))
            metadata = self.prometheus.get("metadata")
            for name, kind in types.items():
                self.assertEqual([(m["type"], m["help"]) for m in metadata[name]], [(kind, helps[name])], name)
            for name, labels in samples:
                self.assertIn(family(name, types), types)
                if types[family(name, types)] == "counter":
                    self.assertTrue(name.endswith("_total"), name)
                for label, text in labels:
                    self.assertTrue(text, f"an empty label is none: {name} {label}")

    def test_serve_says_which_process(self):
        samples, _, _ = parse_exposition(http(self.serve_url + "metrics"))
        pids = set()
        for name, labels in samples:
            if name in ("loopscope_build_info", "loopscope_server_failures_total"):
                continue  # of the server itself
            labels = dict(labels)
            self.assertEqual(labels.get("process"), os.path.basename(DEMO), name)
            pids.add(labels.get("pid"))
        self.assertEqual(pids, {str(self.demo.pid), str(self.other.pid)})
        for name, labels in parse_exposition(http(self.demo_url + "metrics"))[0]:
            self.assertFalse({"process", "pid"} & set(dict(labels)), name)

    def assert_scrape_agrees(self, samples, before, after, labels):
        """Every counter of the process lies between the snapshots before and after the scrape."""
        checked = 0

        def between(name, more, low, high):
            nonlocal checked
            checked += 1
            series = (name, tuple(sorted((labels | more).items())))
            self.assertIn(series, samples)
            slack = 1e-9 * abs(high)  # sums of seconds are rounded differently
            self.assertGreaterEqual(samples[series], low - slack, series)
            self.assertLessEqual(samples[series], high + slack, series)

        def histogram(name, more, low, high):
            between(name + "_count", more, low["count"], high["count"])
            between(name + "_sum", more, low["sum"], high["sum"])
            bounds = {dict(found)["le"] for metric, found in samples if metric == name + "_bucket"}
            for le in bounds:
                limit = float(le) * (1 + 1e-9)
                up_to = [sum(n for bound, n in h["buckets"] if bound <= limit) for h in (low, high)]
                between(name + "_bucket", more | {"le": le}, *up_to)

        for low, high in zip(before["loops"], after["loops"]):
            loop = {"loop": low["name"]}
            between("loopscope_iterations_total", loop, low["iterations"], high["iterations"])
            between("loopscope_stalls_total", loop, low["stalls"], high["stalls"])
            between("loopscope_ready_events_sum", loop, low["ready_events"], high["ready_events"])
            for result in ("events", "timeout", "interrupted", "error", "saturated"):
                # In the metric each poll has one result; in the JSON "saturated" ones are "events" too.
                counts = [p[result] - (p["saturated"] if result == "events" else 0) for p in (low["polls"], high["polls"])]
                between("loopscope_poll_returns_total", loop | {"result": result}, *counts)
            for name, field in HISTOGRAMS.items():
                histogram(name, loop, low[field], high[field])
            watchers = {(w["name"], w["kind"]): w for w in high["watchers"]}
            for watcher in low["watchers"]:
                more = loop | {"watcher": watcher["name"], "kind": watcher["kind"]}
                now = watchers[watcher["name"], watcher["kind"]]
                histogram("loopscope_callback_seconds", more, watcher["callback_seconds"], now["callback_seconds"])
        between("process_cpu_seconds_total", {}, before["cpu_seconds"], after["cpu_seconds"])
        between("process_max_fds", {}, before["fds"]["limit"], after["fds"]["limit"])
        started = seconds(before["started_at"])
        between("process_start_time_seconds", {}, started - 0.001, started + 0.001)
        # A request more or less is under way.
        between("process_open_fds", {}, before["fds"]["open"] - 3, after["fds"]["open"] + 3)
        return checked

    def compare(self, job, url, pid, labels):
        before = self.snapshot(url)
        begin = seconds(before["taken_at"])
        samples = eventually("a scrape after the snapshot", lambda: self.prometheus.scrape_between(job, begin, 1e12))
        after = self.snapshot(url)
        processes = [next(p for p in snapshot["processes"] if p["pid"] == pid) for snapshot in (before, after)]
        self.assertGreater(self.assert_scrape_agrees(samples, *processes, labels), 300)
        self.assertEqual(samples["loopscope_build_info", (("version", before["server"]["version"]),)], 1)
        by_kind = [
            value
            for (name, found), value in samples.items()
            if name == "loopscope_open_fds" and labels.items() <= dict(found).items()
        ]
        self.assertEqual(sum(by_kind), samples["process_open_fds", tuple(sorted(labels.items()))])
        return samples

    def test_counters_agree_with_the_snapshots(self):
        samples = self.compare("demo", self.demo_url, self.demo.pid, {})
        self.assertGreater(samples["loopscope_iterations_total", (("loop", "server"),)], 100)
        self.assertGreater(samples["loopscope_registered_fds", (("loop", "server"),)], 50)

    def test_counters_of_serve_agree_with_the_snapshots(self):
        for process in (self.demo, self.other):
            labels = {"process": os.path.basename(DEMO), "pid": str(process.pid)}
            self.compare("serve", self.serve_url, process.pid, labels)

    def test_questions_people_ask(self):
        def ask(expression):
            eventually(expression, lambda: self.prometheus.value(expression) > 0)

        ask('rate(loopscope_iterations_total{job="demo",loop="server"}[10s])')
        ask('histogram_quantile(0.99, rate(loopscope_busy_seconds_bucket{job="demo",loop="server"}[10s]))')
        ask('rate(loopscope_callback_seconds_sum{job="demo",loop="server",watcher="client"}[10s])')
        ask('rate(loopscope_busy_seconds_sum{job="demo",loop="server"}[10s]) < 1')

    def test_stall_shows(self):
        http(self.admin_url + "do/slow-callback", "POST")
        for job in ("demo", "serve"):
            of = f'job="{job}"' + (f',pid="{self.demo.pid}"' if job == "serve" else "")
            for expression in (
                f'loopscope_stalls_total{{{of},loop="server"}}',
                f'sum(loopscope_findings{{{of},rule="loop-stall"}})',
                f'loopscope_busy_seconds_count{{{of},loop="server"}} - ignoring(le)'
                f' loopscope_busy_seconds_bucket{{{of},loop="server",le="0.131072"}}',
            ):
                eventually(expression, lambda e=expression: self.prometheus.value(e) >= 1)


class EndOfProcessTest(unittest.TestCase):
    """A target that goes away is down, and its series end: no last values for ever."""

    def test_down(self):
        directory = tempfile.mkdtemp(prefix="loopscope-prometheus-", dir=DIRECTORY)
        type(self).directory = directory
        self.addClassCleanup(shutil.rmtree, directory, ignore_errors=True)
        os.mkdir(directory + "/recordings", 0o700)
        environment = dict(os.environ, LOOPSCOPE_DIR=directory + "/recordings")
        demo = start(type(self), [DEMO, "--listen", "127.0.0.1:0", "--admin-port", "0"], environment)
        serve = start(type(self), [BIN, "serve", "--listen", "127.0.0.1:0"], environment)
        urls = {
            "demo": demo.wait_for(r"^page +(\S+)$")[1],
            "serve": serve.wait_for(r"(http://127\.0\.0\.1:\d+/)")[1],
        }
        prometheus = Prometheus(type(self), environment, urls)
        iterations = 'loopscope_iterations_total{loop="server"}'
        eventually("both have it", lambda: len(prometheus.get("query", query=iterations)["result"]) == 2)
        demo.end(signal.SIGKILL)
        eventually("down", lambda: prometheus.value('up{job="demo"}') == 0)
        eventually("no more series", lambda: not prometheus.get("query", query=iterations)["result"])
        self.assertEqual(prometheus.value('up{job="serve"}'), 1)


class DiscoveryTest(unittest.TestCase):
    """Prometheus asks /sd which processes run: each is a target of its own, with its own `up`, and goes with its process."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="loopscope-prometheus-", dir=DIRECTORY)
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        os.mkdir(cls.directory + "/recordings", 0o700)
        environment = dict(os.environ, LOOPSCOPE_DIR=cls.directory + "/recordings", LC_ALL="C.UTF-8")
        token = cls.directory + "/token"
        with open(token, "w", encoding="utf-8") as file:
            file.write("s3cret")
        cls.first, cls.second = (
            start(cls, [DEMO, "--no-inspector", "--admin-port", "0", "--connections", "2"], environment) for _ in range(2)
        )
        for demo in (cls.first, cls.second):
            demo.wait_for(r"^admin")
        cls.serve = start(cls, [BIN, "serve", "--listen", "127.0.0.1:0", "--token-file", token], environment)
        cls.url = cls.serve.wait_for(r"(http://127\.0\.0\.1:\d+/)")[1]
        # The type is what it is without being said, but Prometheus 2.42 forgets it where it asks for the list.
        authorization = {"authorization": {"type": "Bearer", "credentials": "s3cret"}}
        cls.prometheus = Prometheus(
            cls,
            environment,
            {},
            [
                {
                    "job_name": "loopscope",
                    **authorization,
                    "http_sd_configs": [{"url": cls.url + "sd", "refresh_interval": "1s", **authorization}],
                    "relabel_configs": [
                        {"source_labels": ["__meta_loopscope_command", "__meta_loopscope_source"], "separator": "/",
                         "target_label": "service"}
                    ],
                }
            ],
        )

    def targets(self):
        return {target["labels"]["pid"]: target for target in self.prometheus.get("targets")["activeTargets"]}

    def test_each_process_is_a_target_until_it_ends(self):
        pids = {str(self.first.pid), str(self.second.pid)}

        def both_are_up():
            health = {pid: (target["health"], target["lastError"]) for pid, target in self.targets().items()}
            self.assertEqual(health, {pid: ("up", "") for pid in pids})
            return True

        eventually("both are up", both_are_up)
        command = os.path.basename(DEMO)
        for pid, target in self.targets().items():
            self.assertEqual(
                target["labels"],
                {"instance": urllib.parse.urlsplit(self.url).netloc, "job": "loopscope", "pid": pid, "process": command,
                 "service": command + "/library"},
            )
            self.assertIn(f"/metrics?process={pid}-", target["scrapeUrl"])
        for expression in ("up", "loopscope_build_info", "process_open_fds", 'loopscope_iterations_total{loop="server"}'):
            eventually(expression, lambda e=expression: len(self.prometheus.query(e)) == 2)
            found = self.prometheus.query(expression)
            self.assertEqual({dict(labels)["pid"] for labels in found}, pids, expression)
            self.assertEqual({dict(labels)["process"] for labels in found}, {command}, expression)
            self.assertFalse([labels for labels in found if "exported_pid" in dict(labels)], "labels do not collide")

        # The series are those that a scrape of the whole has.
        request = urllib.request.Request(self.url + "metrics", headers={"Authorization": "Bearer s3cret"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            samples, _, _ = parse_exposition(answer.read().decode())
        whole = {(name, tuple(label for label in labels if label[0] != "le")) for name, labels in samples
                 if name.startswith("process_")}
        stored = {(dict(labels)["__name__"], tuple(label for label in labels if label[0] not in ("__name__", "service")))
                  for labels in self.prometheus.query('{__name__=~"process_.*"}')}
        self.assertEqual(stored, whole)

        self.first.end(signal.SIGKILL)
        eventually("its target is gone", lambda: set(self.targets()) == {str(self.second.pid)})
        eventually("its series have ended", lambda: len(self.prometheus.query("up")) == 1)
        self.assertEqual(self.prometheus.value("up"), 1, "the other one's")
        self.assertEqual(self.prometheus.process.output().count("level=error"), 0, self.prometheus.process.output())


if __name__ == "__main__":
    unittest.main()
