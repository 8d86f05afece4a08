#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every expression of the dashboards, the recording rules and the alerts, evaluated by a real Prometheus that scrapes the real demo
and, through `loopscope serve`, programs that run under the probe. Each must have data.

Where nothing is wrong a comparison with a threshold has none, so comparisons with numbers are left out, and `or vector(0)`, which
always has some. What is excused is named below, with the reason.

    LOOPSCOPE_BIN=path/to/loopscope LOOPSCOPE_DEMO=path/to/demo TOOLS=directory/of/prometheus python3 expressions_test.py
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import unittest
import urllib.parse

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
from prometheus_support import (  # noqa: E402  pylint: disable=wrong-import-position
    ALERTS, HERE, PATIENCE, RULES, Program, Prometheus, dashboards, eventually, http, rules_of,
)  # fmt: skip
from demo_support import BIN, DEMO, DIRECTORY  # noqa: E402  pylint: disable=wrong-import-position

COMPARISON = re.compile(r"\s*(?:==|!=|>=|<=|>|<)\s*-?[0-9][0-9.e+-]*")
GRAFANA = {"__rate_interval": "20s", "__range": "1m"}

# What a source does not know: metrics without a value there.
LIBRARY_HAS_NO = ("loopscope_fd_opens_total", "loopscope_fd_closes_total", "suspected_leaked_fds")
PROBE_HAS_NO = ("loopscope_callback_seconds",)


def without_thresholds(expression):
    return COMPARISON.sub("", expression.replace(" or vector(0)", ""))


class ExpressionsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="loopscope-dashboards-", dir=DIRECTORY)
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        recordings = os.path.join(cls.directory, "recordings")
        os.mkdir(recordings, 0o700)
        cls.environment = dict(os.environ, LOOPSCOPE_DIR=recordings, LC_ALL="C.UTF-8")
        demo = cls.start([DEMO, "--listen", "127.0.0.1:0", "--admin-port", "0"])
        demo_url = demo.wait_for(r"^page +(\S+)$")[1]
        cls.admin_url = demo.wait_for(r"^admin +(\S+)$")[1]
        gone = cls.start([DEMO, "--listen", "127.0.0.1:0", "--admin-port", "0"])
        gone_url = gone.wait_for(r"^page +(\S+)$")[1]
        for how in ("works", "leaks", "hangs"):
            cls.start([BIN, "run", "--no-http", "--summary", "none", "--", sys.executable, os.path.join(HERE, "victims.py"), how])
        serve_url = cls.start([BIN, "serve", "--listen", "127.0.0.1:0"]).wait_for(r"(http://127\.0\.0\.1:\d+/)")[1]
        cls.instances = {job: urllib.parse.urlsplit(url).netloc for job, url in
                         (("demo", demo_url), ("gone", gone_url), ("probe", serve_url))}  # fmt: skip
        # From the service only what the probe recorded: the demo, which serves itself, is in its directory too.
        scrapes = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in cls.instances.items()]
        not_the_demo = {"source_labels": ["process"], "regex": os.path.basename(DEMO) + ".*", "action": "drop"}
        scrapes[-1]["metric_relabel_configs"] = [not_the_demo]
        # The same processes once more, each a target of its own.
        scrapes.append({"job_name": "sd", "http_sd_configs": [{"url": serve_url + "sd", "refresh_interval": "1s"}],
                        "relabel_configs": [not_the_demo]})  # fmt: skip
        cls.prometheus = Prometheus(cls.directory, cls.addClassCleanup, scrapes, [cls.rules(RULES), cls.rules(ALERTS)])
        for job in cls.instances:
            eventually(f"{job} is scraped", lambda job=job: cls.prometheus.value(f'count_over_time(up{{job="{job}"}}[10m])') > 5,
                       PATIENCE)  # fmt: skip
        for job in ("probe", "sd"):
            three = f'count(count_over_time(process_open_fds{{job="{job}"}}[10m]) > 5)'
            eventually(f"three programs of {job}", lambda three=three: cls.prometheus.value(three) == 3, PATIENCE)
        http(cls.admin_url + "do/leak", "POST")
        gone.end(signal.SIGKILL)
        eventually("down", lambda: cls.prometheus.value('up{job="gone"}') == 0, PATIENCE)

    @classmethod
    def start(cls, arguments):
        return Program(arguments, cls.environment, cls.directory, cls.addClassCleanup)

    @classmethod
    def rules(cls, source):
        """A copy that looks back seconds where the rules look back half an hour to see that a series is old."""
        with open(source, encoding="utf-8") as file:
            text = file.read()
        path = os.path.join(cls.directory, os.path.basename(source))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("offset 30m", "offset 3s"))
        return path

    def has_data(self, expression):
        return eventually(expression, lambda: self.prometheus.numbers(expression), PATIENCE)

    def test_rules_evaluate(self):
        def healthy():
            rules = [rule for group in self.prometheus.get("rules")["groups"] for rule in group["rules"]]
            self.assertEqual(len(rules), len(rules_of(RULES)) + len(rules_of(ALERTS)))
            for rule in rules:
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule["name"])
            return True

        eventually("all rules are evaluated", healthy, PATIENCE)

    def test_recorded_have_data(self):
        for rule in rules_of(RULES):
            with self.subTest(rule["record"]):
                self.has_data(rule["record"])
                level = rule["record"].partition(":")[0]
                for labels, _ in self.prometheus.query(rule["record"]):
                    if level.startswith("job_"):
                        self.assertFalse({"pid", "instance"} & set(labels), labels)
                    else:
                        self.assertIn("instance", labels)

    def test_recorded_are_right(self):
        p = self.prometheus
        self.assertEqual(p.value('job_process_loop:loopscope_loops:count{job="demo",loop="server"}'), 1)
        for job in ("probe", "sd"):
            processes = f'job_process:loopscope_processes:count{{job="{job}"}}'
            eventually("three processes", lambda expression=processes: sum(p.numbers(expression)) == 3, PATIENCE)
            stalled = f'job_process_loop:loopscope_stalled_loops:count{{job="{job}"}}'
            eventually("the hanging one is seen", lambda expression=stalled: sum(p.numbers(expression)) == 1, PATIENCE)
        for value in p.numbers("loop:loopscope_utilization:ratio_rate5m") + p.numbers("loop:loopscope_stalls:ratio_rate5m"):
            self.assertTrue(0 <= value <= 1, value)

    def test_alerts_have_data(self):
        for rule in rules_of(ALERTS):
            name, expression = rule["alert"], rule["expr"]
            with self.subTest(name):
                if name == "LoopscopeAbsent":  # its data is that there is none
                    self.assertEqual(expression, "absent(loopscope_build_info)")
                    self.has_data("loopscope_build_info")
                    self.assertEqual(self.prometheus.query(expression), [])
                    continue
                bare = without_thresholds(expression).replace("offset 30m", "offset 3s")
                self.assertNotEqual(bare, expression)
                self.has_data(bare)

    def test_alerts_fire(self):
        """With their thresholds, for what is really wrong here."""
        alerts = {rule["alert"]: rule["expr"] for rule in rules_of(ALERTS)}
        self.has_data(alerts["LoopscopeLoopStalled"])
        self.assertIn(self.instances["probe"], {labels["instance"] for labels, _ in self.prometheus.query(alerts["LoopscopeLoopStalled"])})
        self.has_data(alerts["LoopscopeTargetDown"])
        eventually("stalled fires", lambda: self.prometheus.numbers('ALERTS{alertname="LoopscopeLoopStalled",alertstate="firing"}'),
                   PATIENCE)  # fmt: skip
        self.assertEqual(self.prometheus.query(alerts["LoopscopeDescriptorsNearLimit"]), [])

    def contexts(self):
        """What may be chosen in the variables: (source, values, metrics that it has not)."""
        yield "library", {"job": "demo", "instance": self.instances["demo"], "process": ".*", "pid": ".*", "loop": "load"}, LIBRARY_HAS_NO
        for job in ("probe", "sd"):
            working = self.prometheus.query(f'topk(1, loopscope_iterations_total{{job="{job}"}})')[0][0]
            yield job, {name: working[name] for name in ("job", "instance", "process", "pid", "loop")}, PROBE_HAS_NO
        yield "all", dict.fromkeys(("job", "instance", "process", "pid", "loop"), ".*"), ()

    def substituted(self, expression, values):
        def value(match):
            name = match[1] or match[2]
            if name in GRAFANA:
                return GRAFANA[name]
            # As Grafana does for =~ : regular expressions are escaped, but for what "All" stands for.
            return values[name] if values[name] == ".*" else re.escape(values[name]).replace("\\", "\\\\")

        done = re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, expression)
        self.assertNotIn("$", done)
        return done

    def test_dashboards_have_data(self):
        count = 0
        for source, values, has_not in self.contexts():
            for file, dashboard in dashboards().items():
                for panel in dashboard["panels"]:
                    for target in panel.get("targets", []):
                        if any(metric in target["expr"] for metric in has_not):
                            continue
                        with self.subTest(f"{file}: {panel['title']} {target['refId']} ({source})"):
                            self.has_data(self.substituted(without_thresholds(target["expr"]), values))
                            count += 1
        self.assertGreater(count, 250)

    def test_dashboards_show_what_is_wrong(self):
        """The panels that count trouble, as they are."""
        panels = {panel["title"]: panel for panel in dashboards()["loopscope-fleet.json"]["panels"] if panel["type"] == "stat"}
        everything = dict.fromkeys(("job", "instance", "process", "pid", "loop"), ".*")
        for title, expected in (("Stalled now", 1), ("Targets down", 1)):
            expression = self.substituted(panels[title]["targets"][0]["expr"], everything)
            eventually(title, lambda e=expression, x=expected: self.prometheus.value(e) >= x, PATIENCE)
        panels = {panel["title"]: panel for panel in dashboards()["loopscope-descriptors.json"]["panels"] if panel["type"] == "stat"}
        expression = self.substituted(panels["First at its limit in"]["targets"][0]["expr"], everything | {"job": "probe"})
        eventually("the leak has an end", lambda: self.prometheus.value(expression) > 0, PATIENCE)

    def test_variables_have_values(self):
        chosen = {"job": ".*", "instance": ".*", "process": ".*", "pid": ".*", "loop": ".*"}
        for file, dashboard in dashboards().items():
            for variable in dashboard["templating"]["list"]:
                if variable["type"] == "datasource":
                    continue
                match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                self.assertEqual(match[2], variable["name"], file)
                selector = self.substituted(match[1].replace("{}", ""), chosen)
                values = self.prometheus.get(f"label/{match[2]}/values", **{"match[]": selector})
                self.assertTrue(values, f"{file}: {variable['name']}")


if __name__ == "__main__":
    unittest.main()
