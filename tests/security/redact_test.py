#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Secrets in command lines: --redact hides them from every view, LOOPSCOPE_ARGV=off keeps them out of recordings.

What is one, and what is not, is tests/unit/recording_redact_test.cpp's to say; this is about the places they could come out."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

LOOPSCOPE = os.environ["LOOPSCOPE_BIN"]
SECRET = "hunter2hunter2"
# argv[0] of the program and its arguments: sh does nothing with what follows the script.
PROGRAM = ["sh", "-c", "sleep 0.1; exit 0", "name", "--password", SECRET, f"--token={SECRET}", f"postgres://me:{SECRET}@db/x"]
HIDDEN = ["--password", "***", "--token=***", "postgres://me:***@db/x"]
DEADLINE = 60  # seconds; nothing here takes more than a few


class WithRecordings(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()  # 0700
        self.addCleanup(directory.cleanup)
        self.directory = os.path.join(directory.name, "recordings")
        os.mkdir(self.directory, 0o700)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOPSCOPE")}
        self.environment["LOOPSCOPE_DIR"] = self.directory

    def command(self, *arguments, expect=(0,), **more):
        done = subprocess.run([LOOPSCOPE, *arguments], capture_output=True, timeout=DEADLINE, check=False,
                              env={**self.environment, **more})
        self.assertIn(done.returncode, expect, done.stderr.decode(errors="replace"))
        return (done.stdout + done.stderr).decode(errors="replace")

    def output(self, *arguments, expect=(0,), program=PROGRAM):
        """Of a command that starts a program: all that it says, and its report."""
        path = os.path.join(self.directory, "..", "out")
        said = self.command(*arguments, "-o", path, "--", *program, expect=expect)
        with open(path, encoding="utf-8", errors="replace") as file:
            return said + file.read()

    def recordings(self):
        return [os.path.join(self.directory, name) for name in sorted(os.listdir(self.directory)) if name.endswith(".loopscope")]

    def recorded(self, **more):
        """Recordings that stay: the program loads the probe without `run`, which would remove its own."""
        probe = os.environ["LOOPSCOPE_PROBE_FILE"]
        done = subprocess.run(PROGRAM, timeout=DEADLINE, check=False, env={**self.environment, "LD_PRELOAD": probe, **more})
        self.assertEqual(done.returncode, 0)
        found = self.recordings()
        self.assertNotEqual(found, [])
        return found


class Redacted(WithRecordings):
    def test_run(self):
        for format_ in ("json", "text"):
            plain = self.output("run", "--no-http", "--summary", format_)
            hidden = self.output("run", "--no-http", "--summary", format_, "--redact")
            if format_ == "json":
                self.assertIn(SECRET, plain, "or this test proves nothing")
                self.assertIn("--token=***", hidden)
            self.assertNotIn(SECRET, hidden)

    def test_check(self):
        shown = 0
        for format_ in ("json", "text", "junit", "sarif", "github"):
            shown += SECRET in self.output("check", "--format", format_)
            self.assertNotIn(SECRET, self.output("check", "--format", format_, "--redact"))
        self.assertGreater(shown, 0, "or this test proves nothing")

    def test_check_with_a_finding(self):
        leaky = [sys.executable, "-c", "import os; os.open('/dev/null', 0); os.open('/dev/null', 0)", *PROGRAM[4:]]
        for format_ in ("json", "text", "junit", "sarif", "github"):
            self.assertNotIn(SECRET, self.output("check", "--format", format_, "--redact", expect=(0, 1), program=leaky))

    def test_report(self):
        recording = self.recorded()[0]
        for format_ in ("text", "json", "html"):
            plain = self.command("report", recording, "--format", format_)
            hidden = self.command("report", recording, "--format", format_, "--redact")
            self.assertIn(SECRET, plain, "or this test proves nothing")
            self.assertNotIn(SECRET, hidden)
        self.assertNotIn(SECRET, self.command("report", recording, "--format", "trace", "--redact", expect=(0, 3)))
        argv = json.loads(self.command("report", recording, "--format", "json", "--redact"))["processes"][0]["argv"]
        self.assertEqual(argv[4:], HIDDEN)

    def served(self, *arguments):
        """What `serve` says of a process: the bodies of all it serves, by path."""
        server = subprocess.Popen([LOOPSCOPE, "serve", "--listen", "127.0.0.1:0", *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, env=self.environment)
        try:
            line = ""
            while "http://" not in line:
                line = server.stdout.readline()
                self.assertNotEqual(line, "", "serve ended")
            url = re.search(r"http://[0-9.:]+", line).group(0)
            bodies = {}
            deadline = time.monotonic() + DEADLINE
            while True:
                with urllib.request.urlopen(url + "/api/v1/snapshot", timeout=DEADLINE) as answer:
                    bodies["snapshot"] = answer.read().decode()
                if json.loads(bodies["snapshot"])["processes"]:
                    break
                self.assertLess(time.monotonic(), deadline, "serve shows no process")
                time.sleep(0.1)
            for path in ("/metrics", "/sd", "/"):
                with urllib.request.urlopen(url + path, timeout=DEADLINE) as answer:
                    bodies[path] = answer.read().decode()
            with urllib.request.urlopen(url + "/api/v1/stream", timeout=DEADLINE) as answer:
                bodies["stream"] = ""
                while '"argv"' not in bodies["stream"]:  # the first event has everything
                    chunk = answer.readline().decode()
                    self.assertNotEqual(chunk, "", "the stream ended")
                    bodies["stream"] += chunk
            return bodies
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=DEADLINE)

    def test_serve(self):
        self.recorded()
        plain, hidden = self.served(), self.served("--redact")
        for path in ("snapshot", "stream"):
            self.assertIn(SECRET, plain[path], "or this test proves nothing")
        for path, body in hidden.items():
            self.assertNotIn(SECRET, body, path)

    def test_top(self):
        self.recorded()
        self.assertNotIn(SECRET, self.command("top", "--batch", "-n", "1", "-d", "0.1", "--redact", expect=(0, 3)))


class NotRecorded(WithRecordings):
    def bytes_of(self, recordings):
        contents = b""
        for path in recordings:
            with open(path, "rb") as file:
                contents += file.read()
        return contents

    def test_arguments_stay_out_of_recordings(self):
        self.assertIn(SECRET.encode(), self.bytes_of(self.recorded()), "or this test proves nothing")
        for path in self.recordings():
            os.unlink(path)
        recordings = self.recorded(LOOPSCOPE_ARGV="off")
        self.assertNotIn(SECRET.encode(), self.bytes_of(recordings))
        argv = json.loads(self.command("report", recordings[0], "--format", "json"))["processes"][0]["argv"]
        self.assertEqual(argv, ["sh"])

    def test_of_forked_children_too(self):
        """Theirs are read from /proc, when the environment may be gone."""
        script = ("import os; os.environ.clear(); pid = os.fork(); pid and os.waitpid(pid, 0); "
                  "os.close(os.open('/dev/null', 0)); os._exit(0)")
        subprocess.run([sys.executable, "-c", script, *PROGRAM[4:]], timeout=DEADLINE, check=True,
                       env={**self.environment, "LD_PRELOAD": os.environ["LOOPSCOPE_PROBE_FILE"], "LOOPSCOPE_ARGV": "off"})
        recordings = self.recordings()
        self.assertEqual(len(recordings), 2)
        self.assertNotIn(SECRET.encode(), self.bytes_of(recordings))


if __name__ == "__main__":
    unittest.main(verbosity=2)
