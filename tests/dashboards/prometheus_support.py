# SPDX-License-Identifier: Apache-2.0
"""What the tests of rules and dashboards share: where they are, and a real Prometheus with a configuration of the test's."""

import contextlib
import glob
import json
import math
import os
import shutil
import socket
import sys
import urllib.parse

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
DASHBOARDS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "dashboards")
RULES = os.path.join(DASHBOARDS, "prometheus", "loopscope.rules.yml")
ALERTS = os.path.join(DASHBOARDS, "prometheus", "loopscope.alerts.yml")

sys.path.append(os.path.join(os.path.dirname(HERE), "integration"))
from demo_support import Program, eventually, http  # noqa: E402  pylint: disable=wrong-import-position

TOOLS = os.environ.get("TOOLS", "")
PATIENCE = 90  # seconds, for what takes two on a machine of its own


def tool(name):
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), TOOLS]))
    if not found:
        raise AssertionError(f"{name} is neither in PATH nor in $TOOLS ({TOOLS or 'not set'}): install Debian's prometheus")
    return found


def load_yaml(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def rules_of(path):
    return [rule for group in load_yaml(path)["groups"] for rule in group["rules"]]


def dashboards():
    """{name: dashboard}"""
    found = {}
    for path in sorted(glob.glob(os.path.join(DASHBOARDS, "grafana", "dashboards", "*.json"))):
        with open(path, encoding="utf-8") as file:
            found[os.path.basename(path)] = json.load(file)
    assert len(found) == 3, found.keys()
    return found


class Prometheus:
    """Scrapes and evaluates every second what `config` says; keeps its data in `directory`, for an hour at most."""

    def __init__(self, directory, at_end, scrape_configs, rule_files=(), interval="1s", timeout="1s"):
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": timeout, "evaluation_interval": interval},
            "scrape_configs": scrape_configs,
            "rule_files": list(rule_files),
        }
        path = os.path.join(directory, "prometheus.yml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)  # JSON is YAML
        for attempt in range(3):  # the port is free now, but may be another's a moment later
            with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
                address = f"127.0.0.1:{probe.getsockname()[1]}"
            arguments = [
                tool("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={directory}/tsdb{attempt}",
                "--storage.tsdb.retention.time=1h", "--storage.tsdb.retention.size=512MB", f"--web.listen-address={address}",
                "--log.level=warn",
            ]  # fmt: skip
            self.process = Program(arguments, dict(os.environ), directory, at_end)
            self.url = f"http://{address}"
            try:
                eventually("prometheus is ready", lambda: self.process.running() and http(self.url + "/-/ready"), PATIENCE)
                return
            except RuntimeError:
                if attempt == 2:
                    raise

    def get(self, route, **parameters):
        answer = json.loads(http(f"{self.url}/api/v1/{route}?{urllib.parse.urlencode(parameters, doseq=True)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        """[(labels, value)...]; raises, with what Prometheus says, if the expression is wrong."""
        try:
            data = self.get("query", query=expression)
        except OSError as error:
            raise AssertionError(f"{expression}: {error.read().decode() if hasattr(error, 'read') else error}") from error
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def numbers(self, expression):
        """The values that are one: of nothing, a quantile is NaN."""
        return [value for _, value in self.query(expression) if not math.isnan(value)]

    def value(self, expression):
        values = self.numbers(expression)
        assert len(values) == 1, f"{expression} has {len(values)} values"
        return values[0]
