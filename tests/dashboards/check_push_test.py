#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`loopscope check --push` to a real Pushgateway, and to things that are none.

    LOOPSCOPE_BIN=path/to/loopscope TOOLS=directory/of/prometheus-pushgateway python3 check_push_test.py
"""

import base64
import contextlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
from prometheus_support import PATIENCE, Program, eventually, http as get, tool  # noqa: E402  pylint: disable=wrong-import-position
from demo_support import BIN, DIRECTORY  # noqa: E402  pylint: disable=wrong-import-position

SECRET = "s3cret/p@ss"
LEAK = """
import os
def serve():
    return os.open("/etc/hostname", os.O_RDONLY)
kept = [serve() for _ in range(3)]
"""


class Answering:
    """A server that answers every request alike, after having read it. Keeps what it was asked."""

    def __init__(self, at_end, status, body=b"", headers=()):
        self.requests = []
        asked = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):  # pylint: disable=invalid-name
                length = int(self.headers.get("Content-Length", 0))
                asked.requests.append((self.path, dict(self.headers), self.rfile.read(length).decode()))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_HEAD(self):  # pylint: disable=invalid-name
                asked.requests.append((self.path, dict(self.headers), None))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        at_end(server.server_close)
        at_end(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{server.server_port}"


class CheckPushTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="loopscope-push-", dir=DIRECTORY)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.leaks = os.path.join(self.directory, "leaks.py")
        with open(self.leaks, "w", encoding="utf-8") as file:
            file.write(LEAK)

    def check(self, *arguments, program=("/bin/sh", "-c", "exit 0")):
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        done = subprocess.run([BIN, "check", *arguments, "--", *program], capture_output=True, text=True, timeout=PATIENCE,
                              env=environment, check=False)  # fmt: skip
        self.assertNotIn(SECRET, done.stderr)
        self.assertNotIn("s3cret", done.stderr)
        return done

    def gateway(self):
        for attempt in range(3):  # the port is free now, but may be another's a moment later
            with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
                address = f"127.0.0.1:{probe.getsockname()[1]}"
            program = Program([tool("prometheus-pushgateway"), f"--web.listen-address={address}", "--log.level=warn"], dict(os.environ),
                              self.directory, self.addCleanup)  # fmt: skip
            try:
                eventually("the gateway is ready", lambda: program.running() and get(f"http://{address}/-/ready"), PATIENCE)  # pylint: disable=cell-var-from-loop
                return f"http://{address}"
            except RuntimeError:
                if attempt == 2:
                    raise
        return None

    def pushed(self, gateway):
        """{(labels without job and instance, name): value} of our metrics."""
        found = {}
        for line in get(gateway + "/metrics").splitlines():
            match = re.fullmatch(r"(loopscope_\w+)\{(.*)\} (\S+)", line)
            if match:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2]))
                self.assertEqual(labels.pop("job"), "loopscope_check")
                labels.pop("instance")
                found[tuple(sorted(labels.items())), match[1]] = float(match[3])
        return found

    def test_figures_arrive(self):
        gateway = self.gateway()
        report = os.path.join(self.directory, "report.json")
        before = time.time()
        done = self.check("--push", gateway, "--push-label", "branch=feature/x", "--push-label", "suite=unit", "-o", report,
                          program=(sys.executable, self.leaks))  # fmt: skip
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertNotIn("cannot push", done.stderr)
        with open(report, encoding="utf-8") as file:
            said = json.load(file)
        group = (("branch", "feature/x"), ("suite", "unit"))
        pushed = self.pushed(gateway)

        def value(name, **labels):
            return pushed[tuple(sorted((*group, *labels.items()))), "loopscope_check_" + name]

        self.assertEqual(value("success"), 0)
        self.assertEqual(value("exit_status"), 1)
        self.assertEqual(value("observed"), 1)
        self.assertAlmostEqual(value("duration_seconds"), said["duration_seconds"], places=6)
        self.assertTrue(before - 1 <= value("timestamp_seconds") <= time.time() + 1)
        self.assertEqual(value("processes"), len(said["processes"]))
        self.assertEqual(value("descriptors_opened"), sum(p["opened"] for p in said["processes"]))
        self.assertEqual(value("descriptors_closed"), sum(p["closed"] for p in said["processes"]))
        self.assertEqual(value("descriptors_open_at_end"), sum(p["open_at_end"] for p in said["processes"]))
        self.assertGreaterEqual(value("descriptors_open_at_end"), 3)
        self.assertEqual(value("findings", rule="fd-leak", severity="error"), 1)
        self.assertEqual(value("findings", rule="double-close", severity="error"), 0)
        self.assertEqual(sum(n for (_, name), n in pushed.items() if name == "loopscope_check_findings"),
                         sum(finding["status"] == "new" for finding in said["findings"]))  # fmt: skip
        for status in ("suppressed", "baseline", "fewer"):
            self.assertEqual(value("known_findings", status=status), said["counts"][status])
        self.assertFalse([key for key in pushed if "budget" in str(key)])  # not judged, so not 0
        lint = subprocess.run([tool("promtool"), "check", "metrics"], input=get(gateway + "/metrics"), capture_output=True, text=True,
                              timeout=PATIENCE, check=False)  # fmt: skip
        self.assertNotIn("loopscope_check", lint.stdout + lint.stderr)

        # The next run of the same group takes the place of this one; another group stays.
        self.check("--push", gateway, "--push-label", "suite=other", program=(sys.executable, self.leaks))
        done = self.check("--push", gateway + "/", "--push-label", "branch=feature/x", "--push-label", "suite=unit", "--max-stall", "50s")
        self.assertEqual(done.returncode, 0, done.stderr)
        pushed = self.pushed(gateway)
        self.assertEqual(value("success"), 1)
        self.assertEqual(value("findings", rule="fd-leak", severity="error"), 0)
        self.assertEqual(value("findings", rule="stall-budget", severity="error"), 0)
        group = (("suite", "other"),)
        self.assertEqual(value("success"), 0)

    def assert_verdict_stands(self, url, *patterns, arguments=()):
        for program, status in ((("/bin/sh", "-c", "exit 0"), 0), ((sys.executable, self.leaks), 1), (("/bin/sh", "-c", "exit 7"), 7)):
            done = self.check("--push", url, *arguments, program=program)
            self.assertEqual(done.returncode, status, done.stderr)
            said = [line for line in done.stderr.splitlines() if line.startswith("loopscope: cannot push to http")]
            self.assertEqual(len(said), 1, done.stderr)
            for pattern in patterns:
                self.assertRegex(said[0], pattern)
            self.assertEqual(done.stdout, "")

    def test_unreachable(self):
        unused = socket.socket()  # bound and not listening: the port is nobody else's
        self.addCleanup(unused.close)
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        self.assert_verdict_stands(f"http://me:s3cret%2Fp%40ss@127.0.0.1:{port}", rf"127\.0\.0\.1:{port}: .*connect")

    def test_refused(self):
        gateway = self.gateway()
        self.assert_verdict_stands(gateway + "/nowhere", "status 404: 404 page not found")
        # A gateway that refuses what we send.
        picky = Answering(self.addCleanup, 400, b"text format parsing error\nin line 1")
        self.assert_verdict_stands(f"http://{picky.address}", "status 400: text format parsing error in line 1")

    def test_credentials(self):
        locked = Answering(self.addCleanup, 401, b"no", [("WWW-Authenticate", 'Basic realm="x"')])
        self.assert_verdict_stands(f"http://me:s3cret%2Fp%40ss@{locked.address}/below", f"http://{locked.address}/below: .*status 401")
        path, headers, _ = locked.requests[0]
        self.assertEqual(path, "/below/metrics/job/loopscope_check")
        self.assertEqual(headers["Authorization"], "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode())

    def test_redirection_is_no_success(self):
        elsewhere = Answering(self.addCleanup, 302, b"<a>Found</a>", [("Location", "https://elsewhere.invalid/")])
        self.assert_verdict_stands(f"http://{elsewhere.address}", "redirections are not followed")
        # Without a word, as HAProxy's are.
        silent = Answering(self.addCleanup, 301, b"", [("Location", "https://elsewhere.invalid/")])
        self.assert_verdict_stands(f"http://me:s3cret%2Fp%40ss@{silent.address}", "status 301.*redirections are not followed")
        (_, put, _), (path, head, _) = silent.requests[:2]
        self.assertEqual(path, "/metrics/job/loopscope_check")
        self.assertEqual(head["Authorization"], put["Authorization"])

    def test_time_out(self):
        silent = socket.create_server(("127.0.0.1", 0))  # takes connections, answers nothing
        self.addCleanup(silent.close)
        port = silent.getsockname()[1]
        self.assert_verdict_stands(f"http://127.0.0.1:{port}", "no answer within 200 ms", arguments=("--push-timeout", "200ms"))

    def test_wrong_usage_before_the_program_runs(self):
        ran = os.path.join(self.directory, "ran")
        program = ("/bin/sh", "-c", f"touch {ran}")
        for arguments in (
            ("--push", "gateway:9091"),
            ("--push", f"ftp://me:{SECRET}@gateway"),
            ("--push", "http://me:s3cret@gateway:port"),
            ("--push", "http://me:s3cret@"),
            ("--push", "http://gateway?a=b"),
            ("--push", "http://gateway", "--push-label", "novalue"),
            ("--push", "http://gateway", "--push-label", "job=x"),
            ("--push", "http://gateway", "--push-label", "1st=x"),
            ("--push", "http://gateway", "--push-label", "empty="),
            ("--push", "http://gateway", "--push-label", "a=1", "--push-label", "a=2"),
        ):
            done = self.check(*arguments, program=program)
            self.assertEqual((done.returncode, os.path.exists(ran)), (2, False), (arguments, done.stderr))
            self.assertRegex(done.stderr, "^loopscope: --push")
        self.assertNotEqual(self.check("--push-label", "a=b", program=program).returncode, 0)
        self.assertFalse(os.path.exists(ran))

    def test_output_is_untouched(self):
        talkative = Answering(self.addCleanup, 200, b"a gateway says nothing")
        done = self.check("--push", f"http://{talkative.address}", "-o", "json:-", program=("/bin/echo", "mine"))
        first, report = done.stdout.split("\n", 1)
        self.assertEqual(first, "mine")
        self.assertEqual(json.loads(report)["schema"], "loopscope.check/1")


if __name__ == "__main__":
    unittest.main()
