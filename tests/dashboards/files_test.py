#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The files of dashboards/ by themselves: rules and alerts with promtool, examples, what each must say, what must be up to date.

    TOOLS=directory/of/promtool python3 files_test.py
"""

import filecmp
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
from prometheus_support import ALERTS, DASHBOARDS, HERE, RULES, dashboards, load_yaml, rules_of, tool  # noqa: E402  pylint: disable=wrong-import-position

DOCS = os.path.join(os.path.dirname(DASHBOARDS), "docs")
EXAMPLES = os.path.join(DASHBOARDS, "examples")
RULE_TESTS = os.path.join(HERE, "rules", "alerts.test.yml")
LEVELS = ("loop", "process", "job_process_loop", "job_process")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def anchors(path):
    """Of the headings of a document, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", read(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


class FilesTest(unittest.TestCase):
    def run_tool(self, *arguments, cwd=None):
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def directory(self):
        made = tempfile.mkdtemp(prefix="loopscope-files-")
        self.addCleanup(shutil.rmtree, made, ignore_errors=True)
        return made

    def test_dashboards_are_up_to_date(self):
        made = self.directory()
        self.run_tool(sys.executable, os.path.join(DASHBOARDS, "build.py"), made)
        kept = os.path.join(DASHBOARDS, "grafana", "dashboards")
        self.assertEqual(sorted(os.listdir(made)), sorted(os.listdir(kept)))
        _, different, failed = filecmp.cmpfiles(made, kept, os.listdir(kept), shallow=False)
        self.assertEqual((different, failed), ([], []), "run: python3 dashboards/build.py")

    def test_promtool_checks_rules(self):
        for path in (RULES, ALERTS):
            self.assertIn(f"SUCCESS: {len(rules_of(path))} rules found", self.run_tool(tool("promtool"), "check", "rules", path))

    def test_promtool_tests_rules(self):
        self.assertIn("SUCCESS", self.run_tool(tool("promtool"), "test", "rules", RULE_TESTS, cwd=os.path.dirname(RULE_TESTS)))

    def test_a_broken_rule_is_noticed(self):
        made = self.directory()
        for path in (RULES, ALERTS):
            shutil.copy(path, made)
        broken = os.path.join(made, os.path.basename(ALERTS))
        text = read(broken)
        self.assertIn("loopscope_stalled_seconds > 5", text)
        with open(broken, "w", encoding="utf-8") as file:
            file.write(text.replace("loopscope_stalled_seconds > 5", "loopscope_stalled_seconds > 4"))
        with open(os.path.join(made, "test.yml"), "w", encoding="utf-8") as file:
            file.write(read(RULE_TESTS).replace("../../../dashboards/prometheus/", ""))
        done = subprocess.run([tool("promtool"), "test", "rules", "test.yml"], capture_output=True, timeout=60, cwd=made, check=False)
        self.assertNotEqual(done.returncode, 0)

    def test_every_alert_is_tested(self):
        fires, silent = set(), set()
        for group in load_yaml(RULE_TESTS)["tests"]:
            for case in group.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
        names = {rule["alert"] for rule in rules_of(ALERTS)}
        self.assertEqual((fires, silent), (names, names))

    def test_every_alert_says_what_to_do(self):
        sections = anchors(os.path.join(DOCS, "runbook.md"))
        for rule in rules_of(ALERTS):
            name = rule["alert"]
            self.assertRegex(name, "^Loopscope[A-Z]")
            self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
            self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook_url"}, name)
            path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
            self.assertEqual((path, anchor), ("docs/runbook.md", name.lower()))
            self.assertIn(anchor, sections)
            self.assertIn(name, read(os.path.join(DOCS, "dashboards.md")))
        runbook = read(os.path.join(DOCS, "runbook.md"))
        for section in re.split(r"^## ", runbook, flags=re.MULTILINE)[1:]:
            if section.startswith("Loopscope"):
                for part in ("**Means**", "**See**", "**Do**"):
                    self.assertIn(part, section)

    def test_names_of_recorded(self):
        names = [rule["record"] for rule in rules_of(RULES)]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            level, metric, operations = name.split(":")
            self.assertIn(level, LEVELS)
            self.assertTrue(metric.startswith("loopscope_"))
            self.assertTrue(operations)

    def test_what_is_used_is_recorded(self):
        recorded = {rule["record"] for rule in rules_of(RULES)}
        used = {name for path in (RULES, ALERTS) for rule in rules_of(path) for name in re.findall(r"\w+:loopscope_\w+:\w+", rule["expr"])}
        for dashboard in dashboards().values():
            for panel in dashboard["panels"]:
                for target in panel.get("targets", []):
                    used |= set(re.findall(r"\w+:loopscope_\w+:\w+", target["expr"]))
        self.assertLessEqual(used, recorded)

    def test_configuration_of_prometheus(self):
        made = self.directory()
        os.mkdir(os.path.join(made, "rules"))
        for path in (RULES, ALERTS):
            shutil.copy(path, os.path.join(made, "rules"))
        token = os.path.join(made, "token")
        with open(token, "w", encoding="utf-8") as file:
            file.write("token\n")
        text = read(os.path.join(EXAMPLES, "prometheus.yml"))
        self.assertIn("/etc/prometheus/loopscope.token", text)
        with open(os.path.join(made, "prometheus.yml"), "w", encoding="utf-8") as file:
            file.write(text.replace("/etc/prometheus/loopscope.token", token))
        self.assertIn("SUCCESS", self.run_tool(tool("promtool"), "check", "config", os.path.join(made, "prometheus.yml")))

    def test_yaml(self):
        files = [path for path in glob.glob(os.path.join(DASHBOARDS, "**", "*.y*ml"), recursive=True)]
        self.assertGreaterEqual(len(files), 7)
        for path in files:
            self.assertTrue(list(yaml.safe_load_all(read(path))), path)
            self.assertNotIn("\t", read(path), path)
            for number, line in enumerate(read(path).splitlines(), 1):
                self.assertLessEqual(len(line), 160, f"{path}:{number}")
                self.assertEqual(line, line.rstrip(), f"{path}:{number}")

    def test_provisioning(self):
        directory = os.path.join(DASHBOARDS, "grafana", "provisioning")
        source = load_yaml(os.path.join(directory, "datasources", "prometheus.yml"))
        self.assertEqual([(source["apiVersion"], s["type"], s["access"]) for s in source["datasources"]], [(1, "prometheus", "proxy")])
        provider = load_yaml(os.path.join(directory, "dashboards", "loopscope.yml"))
        self.assertEqual([(p["type"], bool(p["options"]["path"])) for p in provider["providers"]], [("file", True)])

    def test_systemd(self):
        """By systemd-analyze where there is one; the plain check needs none."""
        unit = os.path.join(EXAMPLES, "systemd", "loopscope-serve.service")
        drop_in = os.path.join(EXAMPLES, "systemd", "orders.service.d", "loopscope.conf")
        environment = set()
        for path in (unit, drop_in):
            section = None
            for line in read(path).splitlines():
                if not line or line.startswith("#"):
                    continue
                header = re.fullmatch(r"\[(Unit|Service|Install)\]", line)
                section = header[1] if header else section
                self.assertTrue(header or (section and re.fullmatch(r"[A-Z]\w+=.+", line)), f"{path}: {line}")
                environment.add(line)
        # Both must mean the same directory.
        self.assertIn("Environment=LOOPSCOPE_DIR=/run/loopscope-orders", environment)
        self.assertIn("--dir /run/loopscope-orders ", read(unit))
        if not shutil.which("systemd-analyze"):
            return
        made = self.directory()
        there = shutil.which("true")
        os.mkdir(os.path.join(made, "orders.service.d"))
        with open(os.path.join(made, "loopscope-serve.service"), "w", encoding="utf-8") as file:
            file.write(read(unit).replace("/usr/local/bin/loopscope", there))
        with open(os.path.join(made, "orders.service"), "w", encoding="utf-8") as file:
            file.write(f"[Service]\nExecStart={there}\nUser=orders\n")
        shutil.copy(drop_in, os.path.join(made, "orders.service.d"))
        for name in ("loopscope-serve.service", "orders.service"):
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", os.path.join(made, name)], capture_output=True, text=True,
                                  timeout=60, check=False)  # fmt: skip
            ours = [line for line in done.stderr.splitlines() if "loopscope" in line or "orders" in line]
            self.assertEqual(ours, [], done.stderr)


if __name__ == "__main__":
    unittest.main()
