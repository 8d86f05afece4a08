#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs that name everything as badly as they can (arguments, their own file, their directory, files, threads, loops, watchers):
every view of them is well formed, shows the name where it shows names, and lets no control character out to a terminal."""
import html.parser
import json
import os
import pathlib
import shutil
import subprocess
import unittest
import urllib.parse
import xml.etree.ElementTree

import storm_support as support
from storm_support import LIBRARY_CROWD, SLOW, Case, Command, row

# No '/' and no NUL: they are names of files too. Each is a label of Prometheus, a string of JSON, text of HTML and XML.
NAMES = [
    b"plain",
    b"new\nline\r\nand\ttab",
    b"quotes \" ' ` \\ \\n \\u0000 \\",
    b"<script>alert(1)<" + b"\\" + b"script><img src=x onerror=alert(1)>&amp;&#0;]]>-->",
    b"\x1b[31mred\x1b]0;title\x07\x1b[2J\x9b31m",
    b"not utf-8 \xff\xfe\xc3\x28\xed\xa0\x80\xf8\x88\x80\x80\x80",
    "café 日本 \u202egnirts \u2028\u2029\ufeff\U0001f4a9".encode(),
    b"::error file=x,line=1::owned%0A::warning::",
    b'# HELP x y\nloopscope_iterations_total{loop="forged"} 1e9\n# EOF',
    b"{\"a\":1}, \"${HOME}\" $(id) `id` ; rm -rf ~ | %s%n%d {{7*7}}",
    b"--help",
    b" ",
    b"\x01\x02\x03\x08\x0b\x0c\x0e\x1f\x7f",
    b"x" * 200,
    "é".encode() * 100,  # cut in the middle of a character
]
# In SLOW form each name in turn is the program's own file too; else some.
PROGRAMS = range(len(NAMES)) if SLOW else (1, 2, 3, 5, 8)

# Opens files with each name, makes a thread of each name, with a loop in it; leaves the files open.
SCRIPT = r"""
import ctypes, os, select, sys, threading
names = open(sys.argv[1], "rb").read().split(b"\0")[:-1]
libc = ctypes.CDLL(None)
kept = [os.open(os.path.join(os.getcwdb(), b"f" + name), os.O_CREAT | os.O_RDWR, 0o600) for name in names]
def turn(name):
    libc.prctl(15, ctypes.c_char_p(name), 0, 0, 0)
    r, w = os.pipe()
    os.write(w, b"x")
    epoll = select.epoll()
    epoll.register(r, select.EPOLLIN)
    for _ in range(5):
        epoll.poll(5)
    here.wait()
    here.wait()
here = threading.Barrier(len(names) + 1)
for name in names:
    threading.Thread(target=turn, args=(name,), daemon=True).start()
here.wait()
print('{"names": %d}' % len(names), flush=True)
sys.stdin.read()
os._exit(0)
"""


class Page(html.parser.HTMLParser):
    """Which elements there are."""

    def __init__(self):
        super().__init__()
        self.tags = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, _ in attrs:
            assert not name.startswith("on"), name


class Names(Case):
    views = 0

    def setUp(self):
        super().setUp()
        self.names = os.path.join(self.place, "names")
        with open(self.names, "wb") as file:
            file.write(b"".join(name + b"\0" for name in NAMES))
        self.script = os.path.join(self.place, "script.py")
        with open(self.script, "w", encoding="utf-8") as file:
            file.write(SCRIPT)

    def seen(self, count=1):
        Names.views += count

    def is_json(self, data):
        self.seen()
        return json.loads(data.decode())

    def is_printable(self, data):
        """Text for a terminal: UTF-8, nothing that moves its cursor."""
        self.seen()
        for character in data.decode():
            self.assertFalse(character != "\n" and (ord(character) < 32 or 0x7F <= ord(character) < 0xA0), repr(character))

    def is_metrics(self, text):
        self.seen()
        support.parse_metrics(text)
        promtool = support.tool("promtool")
        if promtool:
            done = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, (done.stdout, done.stderr))
        _, values = support.parse_metrics(text)
        self.assertNotIn((("loop", "forged"),), [labels for _, labels in values])

    def is_html(self, data):
        self.seen()
        page = Page()
        page.feed(data.decode())
        self.assertNotIn("img", page.tags)

    def views_of(self, command, pid):
        """All views while the program runs."""
        for path in ("/api/v1/snapshot?served=1&descriptors=1", "/sd"):
            self.is_json(command.get(path).encode())
        host = json.loads(command.get("/api/v1/snapshot?descriptors=1"))
        process = next(process for process in host["processes"] if process["pid"] == pid)
        self.is_metrics(command.get("/metrics"))
        identity = process["id"]
        for query in ("", "&q=" + urllib.parse.quote(NAMES[1]), "&sort=target&order=desc"):
            self.is_json(command.get(f"/api/v1/descriptors?process={identity}{query}").encode())
        self.is_printable(self.loopscope("report", str(pid), "--descriptors").stdout)
        self.is_json(self.loopscope("report", str(pid), "--format", "json", "--descriptors").stdout)
        self.is_json(self.loopscope("report", str(pid), "--format", "trace").stdout)
        self.is_html(self.loopscope("report", str(pid), "--format", "html").stdout)
        self.is_printable(self.loopscope("top", "--batch", "-n", "1", "--dir", self.directory).stdout)
        # Without an argument: the list of all.
        listed = self.loopscope("report", statuses=(2,))
        self.is_printable(listed.stdout + listed.stderr)
        return process

    def test_of_a_program_of_the_library(self):
        command = Command(self, LIBRARY_CROWD, "names", self.names, *NAMES)
        self.assertEqual(command.line()["names"], len(NAMES))
        process = self.views_of(command, json.loads(command.get("/api/v1/snapshot"))["processes"][0]["pid"])
        loops = [loop for loop in process["loops"] if loop["watchers"]]
        self.assertEqual(len(loops), 1)
        watchers = loops[0]["watchers"]
        # Each by its name as far as it is kept, and each ran once.
        self.assertEqual(len(watchers), len(NAMES))
        self.assertEqual([watcher["invocations"] for watcher in watchers], [1] * len(NAMES))
        self.assertEqual(watchers[1]["name"], NAMES[1].decode())
        self.assertEqual(watchers[3]["name"], NAMES[3][:63].decode())
        self.assertEqual(watchers[14]["name"], "é" * 31)
        command.finish()

    def run_hostile(self, index):
        """A program whose file, directory, arguments, files and threads have hostile names."""
        name = NAMES[index]
        place = os.path.join(os.fsencode(self.place), b"d" + name)
        os.mkdir(place)
        program = os.path.join(place, b"p" + name)
        shutil.copy2(os.path.realpath("/usr/bin/python3"), program)
        return place, program

    def test_of_a_program_under_the_probe(self):
        for index in PROGRAMS:
            with self.subTest(name=NAMES[index]):
                place, program = self.run_hostile(index)
                arguments = [program, self.script, self.names, *NAMES]
                command = Command(self, *arguments, preexec=lambda to=place: os.chdir(to))
                self.assertEqual(command.line()["names"], len(NAMES))
                host = json.loads(command.get("/api/v1/snapshot"))
                process = self.views_of(command, host["processes"][0]["pid"])
                self.assertEqual(len(process["loops"]), len(NAMES))
                self.assertEqual([loop["iterations"] for loop in process["loops"]], [5] * len(NAMES))
                targets = {entry["target"] for entry in process["fds"]["list"] if entry["target"]}
                self.assertIn("\n", "".join(targets))
                command.finish()
                self.is_printable(command.said().encode())
                self.check(place, arguments)

    def check(self, place, arguments):
        """All reports of check about it."""
        paths = {kind: os.path.join(self.place, "check." + kind) for kind in ("json", "xml", "sarif", "txt", "github")}
        outputs = [part for kind, path in paths.items() for part in ("-o", ("github:" if kind == "github" else "") + path)]
        done = subprocess.run([support.BIN, "check", "--strict", *outputs, "--", *arguments], env=self.environment, cwd=place,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=support.DEADLINE, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.is_printable(done.stderr)
        report = {kind: pathlib.Path(path).read_bytes() for kind, path in paths.items()}
        self.is_json(report["json"])
        self.is_json(report["sarif"])
        xml.etree.ElementTree.fromstring(report["xml"])
        self.is_printable(report["txt"])
        for line in report["github"].decode().split("\n"):
            self.assertTrue(line == "" or line.startswith("::"), line)
            # What stands after the second "::" is text: only in front of it could a name be a command.
            self.assertNotIn("file=x", line.split("::")[1] if line else "", line)
        self.seen(2)

    @classmethod
    def tearDownClass(cls):
        row("hostile-names", f"{len(NAMES)} names for watchers, loops, threads, files, arguments, directories and programs: "
            f"{cls.views} views read back, all well formed")


if __name__ == "__main__":
    unittest.main()
