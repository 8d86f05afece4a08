# SPDX-License-Identifier: Apache-2.0
"""What the tests of this directory share: `loopscope run` beside a program, its page asked, its own memory and descriptors
watched, and Prometheus' text format read strictly."""
import http.client
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BIN = os.environ["LOOPSCOPE_BIN"]
PROBE = os.environ["LOOPSCOPE_PROBE_FILE"]
CROWD = os.environ["CROWD"]
LIBRARY_CROWD = os.environ["LIBRARY_CROWD"]
TOOLS = os.environ.get("TOOLS", "")
SLOW = bool(os.environ.get("SLOW"))
DEADLINE = 300
KEPT = 32  # recordings of ended processes, kKeptRecordings


def grouped(number):
    return f"{number:,}".replace(",", " ")


def row(name, figure):
    print(f"\nreliability: {name}: {figure}", flush=True)  # unittest's dots stand on the line before


def tool(name):
    beside = os.path.join(TOOLS, name)
    return beside if TOOLS and os.access(beside, os.X_OK) else shutil.which(name)


SERIES = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+]?(?:[0-9.eE+-]+|Inf|NaN))$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def parse_metrics(text):
    """(name, labels) -> value; labels as sorted pairs. Anything that is not the format is an error, a series given twice too."""
    types, values = {}, {}
    for line in text.split("\n"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if name in types:
                raise AssertionError(f"{name} has two types")
            types[name] = kind
        elif line and not line.startswith("# HELP "):
            match = SERIES.match(line)
            if not match:
                raise AssertionError(f"not a sample: {line!r}")
            name, labels, value = match.groups()
            pairs, at = [], 0
            while labels and at < len(labels):
                label = LABEL.match(labels, at)
                if not label:
                    raise AssertionError(f"not a label: {labels[at:]!r}")
                pairs.append(label.groups())
                at = label.end()
            key = (name, tuple(sorted(pairs)))
            if key in values:
                raise AssertionError(f"given twice: {key}")
            values[key] = float(value)
    return types, values


def counters(text):
    """The series that must never go backwards."""
    types, values = parse_metrics(text)
    found = {}
    for (name, labels), value in values.items():
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        if types.get(name) == "counter" or (types.get(base) == "histogram" and name != base):
            found[name, labels] = value
    return found


class Command:
    """A running `loopscope run`; `program` reads what is written to `stdin`."""

    def __init__(self, case, *program, options=(), preexec=None):
        self.case = case
        self.summary = os.path.join(case.place, f"summary-{time.monotonic_ns()}.json")
        self.errors = open(self.summary + ".err", "w+b")  # pylint: disable=consider-using-with
        case.addCleanup(self.errors.close)
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [BIN, "run", "--listen", "127.0.0.1:0", "--summary", "json", "-o", self.summary, *options, "--", *program],
            env=case.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, preexec_fn=preexec)
        case.addCleanup(self.end)
        self.most_memory_kib = self.most_descriptors = 0

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def said(self):
        with open(self.errors.name, "rb") as file:
            return file.read().decode(errors="replace")

    def port(self):
        return int(self.case.eventually("the address", lambda: re.search(r"http://127\.0\.0\.1:(\d+)", self.said())).group(1))

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=DEADLINE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        self.case.assertEqual(answer.status, 200, body[:500])
        return body.decode()  # UTF-8 or an error

    def line(self):
        """What the program says when it has done its work."""
        line = self.process.stdout.readline()
        self.case.assertTrue(line.startswith(b"{"), (line, self.said()))
        return json.loads(line)

    def look(self):
        """Notes what the command itself uses."""
        pid = self.process.pid
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                peak = re.search(r"VmHWM:\s+(\d+) kB", file.read())
            if peak:
                self.most_memory_kib = max(self.most_memory_kib, int(peak.group(1)))
            self.most_descriptors = max(self.most_descriptors, len(os.listdir(f"/proc/{pid}/fd")))
        except OSError:
            pass

    def finish(self, status=0):
        """Ends the program by its standard input; the summary."""
        if self.process.stdin:
            self.process.stdin.close()
            self.process.stdin = None
        while self.process.poll() is None:
            self.look()
            time.sleep(0.02)
        rest = self.process.stdout.read()
        self.case.assertEqual(self.process.returncode, status, self.said())
        with open(self.summary, encoding="utf-8") as file:
            return json.load(file), rest


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.place = tempfile.mkdtemp(prefix="storm-", dir=os.path.dirname(os.environ["LOOPSCOPE_DIR"].rstrip("/")))
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.directory = os.path.join(self.place, "recordings")
        os.mkdir(self.directory, 0o700)
        self.environment = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "LOOPSCOPE_PROBE")}
        self.environment.update(LOOPSCOPE_DIR=self.directory, LC_ALL="C.UTF-8")

    def eventually(self, what, attempt):
        end = time.monotonic() + DEADLINE
        while True:
            result = attempt()
            if result:
                return result
            self.assertLess(time.monotonic(), end, f"not within {DEADLINE} s: {what}")
            time.sleep(0.01)

    def files(self):
        return [name for name in os.listdir(self.directory) if name.endswith(".loopscope")]

    def loopscope(self, *arguments, statuses=(0,)):
        done = subprocess.run([BIN, *arguments], env=self.environment, capture_output=True, timeout=DEADLINE, check=False,
                              stdin=subprocess.DEVNULL, cwd=self.place)
        self.assertIn(done.returncode, statuses, done.stderr.decode(errors="replace")[-3000:])
        return done

    def kill_quietly(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def select_readable(file):
    """Whether something can be read now."""
    return bool(select.select([file], [], [], 0)[0])
