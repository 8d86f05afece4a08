#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The lines of scripts that open descriptors (the probe's option `scripts`), in CPython, Ruby and node.

    LOOPSCOPE_PROBE_LIB=.../libloopscope-probe.so LOOPSCOPE_BIN=.../loopscope LOOPSCOPE_NODE_LINES=.../node-lines.cjs \
        python3 script_frames_test.py [Python.test_lines ...]

scripts/open_lines.* say at each line what it opens; the stack of every such site must lead to that line, and no other line of
these scripts may have opened more. scripts/open_often.* open 20 000 descriptors in threads while garbage is collected: they must
end as they do without the probe. LOOPSCOPE_TEST_PYTHONS=PATH:PATH... adds interpreters to Debian's.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
from observed import BIN, KEEP, PROBE, tool  # noqa: E402  pylint: disable=wrong-import-position
from scripted_support import PYTHON, SCRIPTS  # noqa: E402  pylint: disable=wrong-import-position

NODE_LINES = os.environ.get("LOOPSCOPE_NODE_LINES", "")
PYTHONS = [PYTHON] + [path for path in os.environ.get("LOOPSCOPE_TEST_PYTHONS", "").split(":") if path]


def marks(script):
    """{(line, kind, function): how many} that a script says it opens."""
    found = {}
    with open(script, encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            mark = re.search(r"(?:#|//) opens (\w+)(?: x(\d+))? in (.+)$", text)
            if mark:
                found[number, mark.group(1), mark.group(3)] = int(mark.group(2) or 1)
    return found


class ScriptLines(unittest.TestCase):
    def setUp(self):
        if not PROBE:
            raise AssertionError("LOOPSCOPE_PROBE_LIB does not say where libloopscope-probe.so is")
        self.directory = tempfile.mkdtemp(prefix="lss-")
        self.addCleanup(lambda: None if KEEP else shutil.rmtree(self.directory))
        self.recordings = os.path.join(self.directory, "recordings")

    def run_bare(self, command, status=0, environment=None):
        return self._run(command, status, environment or {})

    def run_observed(self, command, status=0, environment=None, options="stacks=full,scripts"):
        """Its output."""
        shutil.rmtree(self.recordings, ignore_errors=True)
        os.mkdir(self.recordings, 0o700)
        return self._run(command, status, dict(
            environment or {}, LD_PRELOAD=PROBE, LOOPSCOPE_PROBE=f"{options},dir={self.recordings}"))

    def _run(self, command, status, environment):
        done = subprocess.run(command, env=dict(os.environ, **environment), cwd=self.directory, timeout=120, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = done.stdout.decode(errors="replace")
        self.assertEqual(done.returncode, status, output)
        return output

    def processes(self):
        """What `loopscope report` says of each process, the first one first."""
        def number(name):
            return int(name.split("-")[1])
        found = []
        for name in sorted(os.listdir(self.recordings), key=number):
            done = subprocess.run([BIN, "report", os.path.join(self.recordings, name), "--format", "json"], capture_output=True,
                                  text=True, timeout=60, check=True)
            found += json.loads(done.stdout)["processes"]
        return found

    def sites(self):
        return self.processes()[0]["fds"]["sites"]

    def scripts_of(self, site):
        frames = site["stack"]
        scripts = [frame for frame in frames if frame["script"]]
        self.assertEqual(frames[:len(scripts)], scripts, "the lines are the innermost frames")
        self.assertLessEqual(len(scripts), 6)
        for frame in scripts:
            self.assertIsNone(frame["module"])
            self.assertGreater(frame["line"], 0)
        return scripts

    def assert_leads_to_marks(self, script, function=lambda name: name):
        expected = {(line, kind, function(name)): count for (line, kind, name), count in marks(script).items()}
        marked = {line for line, _, _ in expected}
        found = {}
        for site in self.sites():
            own = next((frame for frame in self.scripts_of(site) if os.path.realpath(frame["file"]) == script), None)
            if own and own["line"] in marked:
                key = own["line"], site["kind"], own["function"]
                found[key] = found.get(key, 0) + site["opened"]
        self.assertGreater(len(expected), 9)
        self.assertEqual(found, expected)

    def assert_unchanged(self, command, status=0, environment=None):
        bare = self.run_bare(command, status, environment)
        self.assertEqual(self.run_observed(command, status, environment), bare)
        return bare


class Python(ScriptLines):
    def lines_of(self, python, script):
        version = subprocess.run([python, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, text=True, timeout=30,
                                 check=True).stdout
        # Before 3.11 a function's code knows its bare name only; comprehensions are no functions since 3.12.
        def function(name):
            if int(version) >= 12:
                name = name.replace(".<locals>.<listcomp>", "")
            return name if int(version) >= 11 else name.rsplit(".", 1)[-1]
        self.run_observed([python, script])
        self.assert_leads_to_marks(script, function)

    def test_lines(self):
        for python in PYTHONS:
            with self.subTest(python=python):
                self.lines_of(python, os.path.join(SCRIPTS, "open_lines.py"))

    def test_a_path_that_is_not_ascii(self):
        script = os.path.join(self.directory, "vidéo-日本-🎈.py")
        shutil.copy(os.path.join(SCRIPTS, "open_lines.py"), script)
        for python in PYTHONS:
            with self.subTest(python=python):
                self.lines_of(python, script)

    def test_the_library_between(self):
        """A call of the library has its own line, its innermost callers' and the script's."""
        script = os.path.join(SCRIPTS, "open_lines.py")
        self.run_observed([PYTHON, script])
        stacks = [[(frame["function"], os.path.basename(frame["file"])) for frame in self.scripts_of(site)]
                  for site in self.sites() if site["kind"] == "pipe"]
        self.assertIn([("Popen._get_handles", "subprocess.py"), ("Popen.__init__", "subprocess.py"), ("main", "open_lines.py"),
                       ("<module>", "open_lines.py")], stacks)

    def test_imports_are_one_place(self):
        self.run_observed([PYTHON, "-c", "import json, http.client, xml.dom.minidom, asyncio, ctypes"])
        read = {}
        for site in self.sites():
            scripts = self.scripts_of(site)
            if scripts and scripts[0]["file"].startswith("<frozen importlib"):
                self.assertEqual(len(scripts), 1, scripts)
                read[scripts[0]["function"]] = read.get(scripts[0]["function"], 0) + site["opened"]
        self.assertGreater(read.get("FileLoader.get_data", 0), 50)

    def test_often(self):
        for python in PYTHONS:
            with self.subTest(python=python):
                output = self.assert_unchanged([python, "-W", "ignore", os.path.join(SCRIPTS, "open_often.py")])
                self.assertEqual(output, "child 7 opened 20000\n")
                parent, child = self.processes()
                for process, least in (parent, 20000), (child, 5000):
                    self.assertEqual(process["dropped"]["sites"], 0)
                    named = [site for site in process["fds"]["sites"] if self.scripts_of(site)]
                    self.assertGreaterEqual(sum(site["opened"] for site in named), least)

    def test_threads_that_outlive_the_interpreter(self):
        program = ("import os, threading\n"
                   "def for_ever():\n"
                   "    while True: os.close(os.open('/dev/null', 0))\n"
                   "for _ in range(4): threading.Thread(target=for_ever, daemon=True).start()\n")
        for _ in range(20):
            self.assertEqual(self.run_observed([PYTHON, "-c", program]), "")

    def test_not_asked_for(self):
        script = os.path.join(SCRIPTS, "open_lines.py")
        self.run_observed([PYTHON, script], options="stacks=full")
        for site in self.sites():
            self.assertEqual(self.scripts_of(site), [])


class Ruby(ScriptLines):
    def test_lines(self):
        script = os.path.join(SCRIPTS, "open_lines.rb")
        self.run_observed([tool("ruby"), script])
        self.assert_leads_to_marks(script)

    def test_an_eval_is_no_line_of_the_file_around_it(self):
        self.run_observed([tool("ruby"), os.path.join(SCRIPTS, "open_lines.rb")])
        stacks = [[(frame["function"], os.path.basename(frame["file"])) for frame in self.scripts_of(site)] for site in self.sites()]
        self.assertIn([("evaluated", "(eval)"), ("evaluated", "open_lines.rb"), ("<main>", "open_lines.rb")], stacks)

    def test_often(self):
        output = self.assert_unchanged([tool("ruby"), os.path.join(SCRIPTS, "open_often.rb")])
        self.assertEqual(output, "child 7 opened 20000\n")
        process = self.processes()[0]
        self.assertEqual(process["dropped"]["sites"], 0)
        named = [site for site in process["fds"]["sites"] if self.scripts_of(site)]
        self.assertGreaterEqual(sum(site["opened"] for site in named), 20000)


class Node(ScriptLines):
    def setUp(self):
        super().setUp()
        if not NODE_LINES:
            raise AssertionError("LOOPSCOPE_NODE_LINES does not say where node-lines.cjs is")
        self.environment = {"NODE_OPTIONS": f'--require "{NODE_LINES}"'}

    def test_lines(self):
        script = os.path.join(SCRIPTS, "open_lines.js")
        self.run_observed([tool("node"), script, os.path.join(self.directory, "socket")], environment=self.environment)
        self.assert_leads_to_marks(script)

    def test_a_module(self):
        """import instead of require: the same functions, file names that are URLs."""
        script = os.path.join(self.directory, "a module.mjs")
        with open(script, "w", encoding="utf-8") as file:
            file.write("import { openSync } from 'fs';\nimport * as fs from 'node:fs';\n"
                       "openSync('/dev/null');\nfs.openSync('/dev/zero');\n")
        self.run_observed([tool("node"), script], environment=self.environment)
        lines = [(frame["file"], frame["line"]) for site in self.sites() for frame in self.scripts_of(site)]
        self.assertIn((script, 3), lines)
        self.assertIn((script, 4), lines)

    def test_often(self):
        command = [tool("node"), "--expose-gc", os.path.join(SCRIPTS, "open_often.js")]
        bare = self.run_bare(command)
        self.assertEqual(bare, "opened 20000\n")
        self.assertEqual(self.run_observed(command, environment=self.environment), bare)
        process = self.processes()[0]
        self.assertEqual(process["dropped"]["sites"], 0)
        named = [site for site in process["fds"]["sites"] if self.scripts_of(site)]
        self.assertGreaterEqual(sum(site["opened"] for site in named), 20000)

    def test_unchanged(self):
        """What the wrapped functions look like and do, with the probe, without it, and without both."""
        def seen(output):
            return output.split("node:internal")[0]  # a rejection's own report has paths and lines of node's
        command = [tool("node"), os.path.join(SCRIPTS, "node_unchanged.js")]
        bare = self.run_bare(command, status=1)
        self.assertIn("exit 1", bare)
        self.assertEqual(seen(self.run_bare(command, 1, self.environment)), seen(bare))
        self.assertEqual(seen(self.run_observed(command, 1, self.environment)), seen(bare))


class Others(ScriptLines):
    def test_no_interpreter(self):
        self.run_observed(["/bin/cat", "/etc/passwd"])
        (site,) = [site for site in self.sites() if site["kind"] == "file"]
        self.assertEqual(self.scripts_of(site), [])

    def test_access_is_as_before(self):
        """access(2) is how node tells: of other names, and of pointers that cannot be read, nothing is made."""
        program = ("import ctypes, os\n"
                   "libc = ctypes.CDLL(None, use_errno=True)\n"
                   "for path in (b'/', b'/nowhere', b'', b'/\\1loopscope', ctypes.c_void_p(8), ctypes.c_void_p(None)):\n"
                   "    ctypes.set_errno(5)\n"
                   "    print(libc.access(path, os.R_OK), ctypes.get_errno())\n")
        self.assertIn("-1 14", self.assert_unchanged([PYTHON, "-c", program]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
