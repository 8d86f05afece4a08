#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The loopscope command from outside: exit statuses, messages, and that `serve` comes up and goes.

    LOOPSCOPE_BIN=path/to/loopscope python3 cli_test.py

With LOOPSCOPE_DEMO (a program that records, with a loop named "hello", until SIGTERM) live recordings are tested too.
"""

import base64
import contextlib
import hashlib
import html.parser
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
DEMO = os.environ.get("LOOPSCOPE_DEMO")

MAGIC = 0x00504353504F4F4C
OK, USAGE, COULD_NOT_READ = 0, 2, 3


def data_segments(file):
    """(start, end) of the parts of a sparse file that are not holes."""
    segments, end = [], 0
    while True:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return segments
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        segments.append((start, end))


def trace_problems(trace):
    """What a reader of the Trace Event Format would stumble over."""
    problems, before, tracks = [], 0, {}
    for event in trace["traceEvents"]:
        missing = {"ph", "ts", "pid", "tid", "name", "args"} - event.keys()
        if missing or event["ts"] < 0 or None in event["args"].values():
            problems.append((sorted(missing), event))
            continue
        if event["ph"] == "M":
            continue
        if event["ts"] < before:
            problems.append(("not in order", event))
        before = event["ts"]
        if event["ph"] == "C":
            if not event["args"] or not all(isinstance(value, (int, float)) for value in event["args"].values()):
                problems.append(("a counter of no number", event))
        elif event["ph"] == "i":
            if event.get("s") != "t":
                problems.append(("no scope", event))
        elif event["ph"] == "X":
            start, end = event["ts"], event["ts"] + event["dur"]  # as doubles, to the last bit
            if end < start:
                problems.append(("negative", event))
            open_until = tracks.setdefault((event["pid"], event["tid"]), [])
            while open_until and open_until[-1] <= start:
                open_until.pop()
            if open_until and end > open_until[-1]:
                problems.append(("neither inside nor after", event))
            open_until.append(end)
        else:
            problems.append(("phase", event))
    return problems


class Elements(html.parser.HTMLParser):
    """What a browser would make of a report: the text of its elements, and what it would load."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text, self.loads, self.policy, self.scripts, self.inside = {}, [], None, 0, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.scripts += tag == "script"
        self.inside = "data" if attributes.get("id") == "loopscope-data" else tag
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        for name in ("src", "href"):
            if not attributes.get(name, "data:").startswith("data:"):
                self.loads.append(attributes[name])

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        self.text[self.inside] = self.text.get(self.inside, "") + data


class CliTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="loopscope-cli-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.environment = dict(os.environ, LOOPSCOPE_DIR=self.directory, LC_ALL="C.UTF-8")

    def run_cli(self, *arguments, **options):
        return subprocess.run(
            [BIN, *arguments], env=self.environment, capture_output=True, text=True, timeout=30, check=False, **options
        )

    def expect_failure(self, result, status, *texts):
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")
        for text in texts:
            self.assertIn(text, result.stderr)

    def file(self, name, content):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as out:
            out.write(content)
        return path


class UsageTest(CliTest):
    def test_help_everywhere(self):
        for arguments in (["--help"], ["serve", "--help"], ["report", "--help"]):
            result = self.run_cli(*arguments)
            self.assertEqual(result.returncode, OK)
            self.assertIn("--help", result.stdout)
            self.assertEqual(result.stderr, "")
        self.assertIn("serve", self.run_cli("--help").stdout)
        self.assertIn("--listen", self.run_cli("serve", "--help").stdout)
        self.assertIn("--format", self.run_cli("report", "--help").stdout)

    def test_version(self):
        result = self.run_cli("--version")
        self.assertEqual(result.returncode, OK)
        self.assertRegex(result.stdout, r"^loopscope \d+\.\d+\.\d+\n$")

    def test_wrong_usage(self):
        for arguments in (
            [],
            ["frobnicate"],
            ["--no-such-option"],
            ["serve", "--no-such-option"],
            ["serve", "--listen"],
            ["serve", "--listen", "nonsense"],
            ["serve", "--listen", "127.0.0.1:"],
            ["serve", "--listen", "127.0.0.1:65536"],
            ["serve", "--listen", "127.0.0.1:-1"],
            ["serve", "--listen", "::1"],
            ["serve", "--listen", "not-an-address:0"],
            ["serve", "--listen", "0.0.0.0:0"],  # beyond this machine without token
            ["report", "--format", "xml", "x"],
            ["report", "one", "two"],
            ["report"],
        ):
            with self.subTest(arguments=arguments):
                result = self.run_cli(*arguments)
                self.expect_failure(result, USAGE)
                self.assertTrue(result.stderr.strip())

    def test_listening_to_everybody_says_what_to_do(self):
        self.expect_failure(self.run_cli("serve", "--listen", "0.0.0.0:0"), USAGE, "--token-file", "--insecure")


class ReportErrorTest(CliTest):
    def test_without_argument_lists_what_there_is(self):
        self.expect_failure(self.run_cli("report"), USAGE, "FILE or a PID", "no recordings", self.directory)

    def test_file_that_is_not_there(self):
        self.expect_failure(
            self.run_cli("report", self.directory + "/none"), COULD_NOT_READ, "No such file", "lists the recordings"
        )

    def test_process_without_recording(self):
        self.expect_failure(
            self.run_cli("report", str(os.getpid())), COULD_NOT_READ, f"process {os.getpid()}", "does not record"
        )
        gone = subprocess.Popen(["true"])  # pylint: disable=consider-using-with
        gone.wait()
        self.expect_failure(self.run_cli("report", str(gone.pid)), COULD_NOT_READ, "no such process")

    def test_random_bytes(self):
        path = self.file("random", os.urandom(100_000))
        self.expect_failure(self.run_cli("report", path), COULD_NOT_READ, path, "not a loopscope recording")

    def test_empty_file_and_directory(self):
        self.expect_failure(self.run_cli("report", self.file("empty", b"")), COULD_NOT_READ, "not a loopscope recording")
        self.expect_failure(self.run_cli("report", self.directory), COULD_NOT_READ, self.directory)

    def test_fifo_does_not_hang(self):
        path = os.path.join(self.directory, "fifo")
        os.mkfifo(path)
        self.expect_failure(self.run_cli("report", path), COULD_NOT_READ, "regular file")

    def test_another_version_names_both(self):
        path = self.file("future", struct.pack("<QII", MAGIC, 4711, 4096) + bytes(100_000))
        result = self.run_cli("report", path)
        self.expect_failure(result, COULD_NOT_READ, "4711")
        self.assertRegex(result.stderr, r"reads format \d+")

    def test_right_magic_and_nonsense_after_it(self):
        for version in range(1, 4):
            path = self.file("nonsense", struct.pack("<QI", MAGIC, version) + os.urandom(200_000))
            self.expect_failure(self.run_cli("report", path), COULD_NOT_READ, path)

    def test_no_permission(self):
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        path = self.file("secret", b"x")
        os.chmod(path, 0)
        self.expect_failure(self.run_cli("report", path), COULD_NOT_READ, "Permission denied", "as that user")

    def test_escape_sequences_in_a_name_do_not_reach_the_terminal(self):
        path = self.file("evil\x1b[31m", b"x" * 5000)
        self.assertNotIn("\x1b", self.run_cli("report", path).stderr)


class Served:
    """A running `loopscope serve`; `url` is what it says."""

    def __init__(self, environment, *arguments):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [BIN, "serve", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.line = self.process.stderr.readline()
        found = re.search(r"http://\S+/", self.line)
        self.url = found.group(0) if found else None

    def get(self, path, **headers):
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class ServeTest(CliTest):
    def test_says_its_address_once_and_ends_on_signals(self):
        for how in (signal.SIGINT, signal.SIGTERM):
            with Served(self.environment, "--listen", "127.0.0.1:0") as served:
                self.assertIsNotNone(served.url, served.line)
                self.assertEqual(served.get("healthz"), "ok\n")
                snapshot = json.loads(served.get("api/v1/snapshot"))
                self.assertEqual(snapshot["schema"], "loopscope.snapshot/1")
                self.assertEqual(snapshot["server"]["mode"], "serve")
                self.assertEqual(snapshot["processes"], [])
                self.assertIn("loopscope_build_info", served.get("metrics"))
                self.assertIn("<!doctype html", served.get("").lower())
                began = time.monotonic()
                status, out, err = served.end(how)
                self.assertEqual((status, out, err), (OK, "", ""))
                self.assertLess(time.monotonic() - began, 2)

    def test_ends_at_once_with_a_stream_open(self):
        with Served(self.environment, "--listen", "127.0.0.1:0") as served:
            with urllib.request.urlopen(served.url + "api/v1/stream", timeout=10) as stream:
                self.assertEqual(stream.readline(), b"event: snapshot\n")
                began = time.monotonic()
                self.assertEqual(served.end()[0], OK)
                self.assertLess(time.monotonic() - began, 2)

    def test_short_forms_of_listen(self):
        for listen in (":0", "0", "localhost:0"):
            with Served(self.environment, "--listen", listen) as served:
                self.assertRegex(served.url or "", r"^http://127\.0\.0\.1:\d+/$")

    def test_port_in_use(self):
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            self.expect_failure(
                self.run_cli("serve", "--listen", f"127.0.0.1:{port}"),
                COULD_NOT_READ,
                f"127.0.0.1:{port}",
                "in use",
                "--listen",
                "port 0",
            )

    def test_token(self):
        token = self.file("token", b"s3cret\n")
        with Served(self.environment, "--listen", "127.0.0.1:0", "--token-file", token) as served:
            with self.assertRaises(urllib.error.HTTPError) as refused:
                served.get("metrics")
            self.assertEqual(refused.exception.code, 401)
            refused.exception.close()
            self.assertIn("loopscope", served.get("metrics", Authorization="Bearer s3cret"))

    def test_token_file_problems(self):
        self.expect_failure(
            self.run_cli("serve", "--listen", ":0", "--token-file", self.directory + "/none"),
            COULD_NOT_READ,
            "token file",
            "No such file",
        )
        self.expect_failure(
            self.run_cli("serve", "--listen", ":0", "--token-file", self.file("empty", b"\n")), COULD_NOT_READ, "empty"
        )

    def test_directory_that_is_not_there(self):
        self.expect_failure(
            self.run_cli("serve", "--listen", ":0", "--dir", self.directory + "/none"), COULD_NOT_READ, "/none", "No such"
        )

    def test_damaged_recordings_do_not_stop_it(self):
        self.file("123-456-0.loopscope", os.urandom(50_000))
        self.file("124-456-0.loopscope", b"")
        self.file("not a recording", b"hello")
        with Served(self.environment, "--listen", ":0", "--dir", self.directory) as served:
            self.assertEqual(json.loads(served.get("api/v1/snapshot"))["processes"], [])


@unittest.skipUnless(DEMO, "LOOPSCOPE_DEMO is not set")
class RecordingTest(CliTest):
    """With a program that records."""

    def start_demo(self):
        demo = subprocess.Popen(  # pylint: disable=consider-using-with
            [DEMO], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def finish():
            demo.kill()
            demo.wait()

        self.addCleanup(finish)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            result = self.run_cli("report", str(demo.pid), "--format", "json")
            if result.returncode == OK:
                loops = json.loads(result.stdout)["processes"][0]["loops"]
                if loops and loops[0]["iterations"] >= 5:
                    return demo
            time.sleep(0.05)
        raise AssertionError("the demo records nothing")

    def recording(self):
        (name,) = [name for name in os.listdir(self.directory) if name.endswith(".loopscope")]
        return os.path.join(self.directory, name)

    def test_live_by_pid_and_by_file(self):
        demo = self.start_demo()
        for target in (str(demo.pid), self.recording()):
            result = self.run_cli("report", target)
            self.assertEqual((result.returncode, result.stderr), (OK, ""))
            for text in (f"pid {demo.pid}, running", 'loop "hello"', "poll wait", "timer lag", "watchers", "findings"):
                self.assertIn(text, result.stdout)

    def test_after_kill_9(self):
        demo = self.start_demo()
        demo.kill()
        demo.wait()
        result = self.run_cli("report", str(demo.pid))
        self.assertEqual(result.returncode, OK)
        self.assertIn("killed or crashed", result.stdout)
        self.assertIn("last turns", result.stdout)
        document = json.loads(self.run_cli("report", str(demo.pid), "--format", "json").stdout)
        self.assertEqual(document["processes"][0]["state"], "killed")

    def test_output_file(self):
        demo = self.start_demo()
        path = os.path.join(self.directory, "out.json")
        result = self.run_cli("report", str(demo.pid), "--format", "json", "-o", path)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (OK, "", ""))
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file)["schema"], "loopscope.snapshot/1")
        self.expect_failure(
            self.run_cli("report", str(demo.pid), "-o", self.directory + "/no/such/place"), COULD_NOT_READ, "cannot write"
        )

    def test_trace_has_every_turn_and_follows_the_format(self):
        demo = self.start_demo()
        demo.kill()  # both formats then tell of one instant
        demo.wait()
        (process,) = json.loads(self.run_cli("report", str(demo.pid), "--format", "json").stdout)["processes"]
        result = self.run_cli("report", str(demo.pid), "--format", "trace")
        self.assertEqual((result.returncode, result.stderr), (OK, ""))
        trace = json.loads(result.stdout)
        self.assertEqual(trace_problems(trace), [])
        self.assertEqual(trace["otherData"]["process"], process["id"])
        turns = [turn for loop in process["loops"] for turn in loop["recent"]]
        self.assertGreaterEqual(len(turns), 5)
        self.assertEqual(trace["otherData"]["turns"], len(turns))
        for part, member in (("wait", "poll_wait"), ("busy", "busy")):
            slices = [event for event in trace["traceEvents"] if event.get("cat") == part]
            found = sorted((event["args"]["turn"], round(event["dur"] * 1000)) for event in slices)
            wanted = sorted((turn["turn"], round(turn[member] * 1e9)) for turn in turns)
            self.assertEqual([number for number, _ in found], [number for number, _ in wanted])
            for (number, ns), (_, wanted_ns) in zip(found, wanted):
                self.assertIn(wanted_ns - ns, (0, 1), f"turn {number}")  # 1: so that doubles do not overlap
        names = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
        self.assertEqual(names, {"hello"})
        served = [event for event in trace["traceEvents"] if event.get("cat") == "served"]
        self.assertEqual(len(served), sum(len(turn.get("served", [])) for turn in turns))

    def test_trace_of_a_running_process(self):
        demo = self.start_demo()
        trace = json.loads(self.run_cli("report", str(demo.pid), "--format", "trace").stdout)
        self.assertEqual(trace_problems(trace), [])

    def test_html_holds_the_page_and_the_data_and_allows_nothing_else(self):
        demo = self.start_demo()
        path = os.path.join(self.directory, "report.html")
        result = self.run_cli("report", str(demo.pid), "--format", "html", "-o", path)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (OK, "", ""))
        with open(path, encoding="utf-8") as file:
            page = Elements(file.read())
        self.assertIn(f"pid {demo.pid}: loopscope report of", page.text["title"])
        data = json.loads(page.text["data"])
        self.assertEqual(data["snapshot"]["schema"], "loopscope.snapshot/1")
        self.assertEqual(data["snapshot"]["processes"][0]["pid"], demo.pid)
        self.assertNotIn("<", page.text["data"])
        self.assertEqual(page.loads, [])
        directives = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
        self.assertEqual(directives["default-src"], "'none'")
        for kind, element in (("script-src", "script"), ("style-src", "style")):
            digest = base64.b64encode(hashlib.sha256(page.text[element].encode()).digest()).decode()
            self.assertEqual(directives[kind], f"'sha256-{digest}'")

    def test_html_of_a_program_whose_name_is_markup(self):
        name = "<!--<script><b>&amp;{{script}}"
        shutil.copy(DEMO, os.path.join(self.directory, name))
        demo = subprocess.Popen(  # pylint: disable=consider-using-with
            [os.path.join(self.directory, name), "</script><script>alert(1)</script>"],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.addCleanup(lambda: (demo.kill(), demo.wait()))
        deadline = time.monotonic() + 10
        while (result := self.run_cli("report", str(demo.pid), "--format", "html")).returncode != OK:
            self.assertLess(time.monotonic(), deadline, result.stderr)
            time.sleep(0.05)
        page = Elements(result.stdout)
        self.assertEqual(page.scripts, 2)
        (process,) = json.loads(page.text["data"])["snapshot"]["processes"]
        self.assertIn("<script>alert(1)", " ".join(process["argv"]))
        self.assertIn(process["command"], page.text["title"])

    def test_html_without_a_page_to_put_it_into(self):
        demo = self.start_demo()
        self.environment["LOOPSCOPE_WEBUI_DIR"] = self.directory
        self.expect_failure(
            self.run_cli("report", str(demo.pid), "--format", "html"), COULD_NOT_READ, "LOOPSCOPE_WEBUI_DIR", self.directory
        )

    def test_full_disk_is_an_error(self):
        demo = self.start_demo()
        self.expect_failure(
            self.run_cli("report", str(demo.pid), "-o", "/dev/full"), COULD_NOT_READ, "cannot write /dev/full"
        )

    def test_list_names_it(self):
        demo = self.start_demo()
        self.expect_failure(self.run_cli("report"), USAGE, str(demo.pid), "running")

    def dead_recording(self):
        """A function that makes copies of it. A recording is sparse: plain copies would be a hundred times its size."""
        demo = self.start_demo()
        demo.kill()
        demo.wait()
        original = self.recording()

        def copy():
            path = os.path.join(self.directory, "copy")
            subprocess.run(["cp", "--sparse=always", original, path], check=True)
            return path

        return copy

    def test_truncated_at_any_length(self):
        copy = self.dead_recording()
        whole = os.path.getsize(copy())
        for length in (1, 16, 100, 4096, whole // 2, whole - 1):
            path = copy()
            os.truncate(path, length)
            self.expect_failure(self.run_cli("report", path), COULD_NOT_READ, path)
        self.assertIn("truncated", self.run_cli("report", path).stderr)

    def test_damaged_anywhere_never_crashes(self):
        copy = self.dead_recording()
        for seed in range(25):
            path = copy()
            with open(path, "r+b") as file:
                for start, end in data_segments(file):
                    file.seek(start)
                    segment = bytearray(file.read(end - start))
                    for at in range((16 if start == 0 else 0) + seed, len(segment), 37 + 50 * seed):
                        segment[at] ^= 0xFF
                    file.seek(start)
                    file.write(segment)
            for output in ("text", "json"):
                result = self.run_cli("report", path, "--format", output)
                self.assertIn(result.returncode, (OK, COULD_NOT_READ), result.stderr)

    def test_serve_shows_living_and_dead(self):
        demo = self.start_demo()
        with Served(self.environment, "--listen", ":0") as served:
            process = json.loads(served.get("api/v1/snapshot"))["processes"][0]
            self.assertEqual((process["pid"], process["state"]), (demo.pid, "running"))
            self.assertIn(f'pid="{demo.pid}"', served.get("metrics"))
            demo.kill()
            demo.wait()
            deadline = time.monotonic() + 5
            while process["state"] == "running" and time.monotonic() < deadline:
                time.sleep(0.1)
                process = json.loads(served.get("api/v1/snapshot"))["processes"][0]
            self.assertEqual(process["state"], "killed")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
