#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`loopscope check` from outside: exit statuses, reports, suppressions, baselines, limits, and what goes wrong.

    LOOPSCOPE_BIN=path/to/loopscope python3 check_test.py

What it finds in which program is the business of tests/victims; here one small program has the faults."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
FOUND, USAGE, UNSEEN = 1, 2, 3
DEADLINE = 30

# Words on its command line say what it does, one after the other. `leak` leaves three files open, from one line.
PROGRAM = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void leak(int count) {
  for (int i = 0; i < count; ++i) open("/etc/passwd", O_RDONLY | O_CLOEXEC); /* LEAK */
}
int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const char* word = argv[i];
    if (strcmp(word, "leak") == 0) leak(3);
    if (strcmp(word, "keep") == 0) dup2(open("/etc/passwd", O_RDONLY), 100), close(3), close(100);
    if (strcmp(word, "never") == 0) close(77);
    if (strcmp(word, "say") == 0) puts("out"), fputs("err\n", stderr);
    if (strcmp(word, "fail") == 0) return 7;
    if (strcmp(word, "abort") == 0) abort();
    if (strcmp(word, "sleep") == 0) pause();
    if (strcmp(word, "stubborn") == 0) { signal(SIGTERM, SIG_IGN); for (;;) pause(); }
    if (strcmp(word, "child") == 0) {
      if (fork() == 0) { leak(2); exit(0); }
      wait(NULL);
    }
    if (strcmp(word, "daemon") == 0) {
      if (fork() == 0) { setsid(); usleep(300000); leak(4); exit(0); }
    }
    if (strcmp(word, "abandon") == 0) {
      if (fork() == 0) { leak(1); close(1); close(2); sleep(4); exit(0); }
    }
    if (strcmp(word, "echo") == 0) execlp("echo", "echo", "echoed", NULL);
    if (strcmp(word, "static") == 0) execl("./static", "static", NULL);
  }
  return 0;
}
"""
STATIC = "int main(void) { return 0; }\n"


class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="loopscope-check-")
        cls.write("program.c", PROGRAM)
        cls.write("static.c", STATIC)
        for flags in (["-g", "-O1", "-o", "program", "program.c"], ["-O1", "-s", "-o", "bare", "program.c"],
                      ["-static", "-o", "static", "static.c"]):
            subprocess.run(["cc", "-w", *flags], cwd=cls.directory, check=True)
        cls.line = 1 + PROGRAM[: PROGRAM.index("LEAK")].count("\n")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)

    @classmethod
    def write(cls, name, text):
        with open(os.path.join(cls.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    @classmethod
    def text(cls, name):
        with open(os.path.join(cls.directory, name), encoding="utf-8") as file:
            return file.read()

    def check(self, *words, options=(), program="./program", status=None, **more):
        """Runs it; `status` is what it must exit with."""
        done = subprocess.run([BIN, "check", *options, "--", program, *words], cwd=self.directory, timeout=DEADLINE,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **more)
        if status is not None:
            self.assertEqual(done.returncode, status, done.stderr)
        return done

    def report(self, *words, options=(), **more):
        path = os.path.join(self.directory, "report.json")
        self.check(*words, options=[*options, "-o", path], **more)
        return json.loads(self.text("report.json"))

    @staticmethod
    def new(report, severity="error"):
        return [each for each in report["findings"] if each["status"] == "new" and each["severity"] == severity]


class ExitStatus(Check):
    def test_nothing_found(self):
        done = self.check("keep", status=0)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_a_leak(self):
        done = self.check("leak", status=FOUND)
        self.assertIn(f"program.c:{self.line}", done.stderr)

    def test_the_programs_own_wins_and_findings_are_told(self):
        done = self.check("leak", "fail", status=7)
        self.assertIn("3 files", done.stderr)

    def test_a_signal(self):
        done = self.check("leak", "abort", status=128 + signal.SIGABRT)
        self.assertIn("SIGABRT", done.stderr)

    def test_streams_pass_through(self):
        done = self.check("say", status=0)
        self.assertEqual(done.stdout, "out\n")
        self.assertTrue(done.stderr.startswith("err\n"), done.stderr)

    def test_warnings_only_with_strict(self):
        self.check("never", status=0)
        self.check("never", options=["--strict"], status=FOUND)

    def test_not_found_and_not_executable(self):
        self.check(program="./not-there", status=127)
        self.write("text", "no program")
        self.check(program="./text", status=126)

    def test_what_cannot_be_observed_is_no_pass(self):
        done = self.check(program="./static", status=UNSEEN)
        self.assertIn("static", done.stderr)
        report = self.report(program="./static", status=UNSEEN)
        self.assertIn("static", report["unseen"])

    def test_a_program_that_becomes_one_that_cannot(self):
        done = self.check("static", status=UNSEEN)
        self.assertIn("became another program", done.stderr)

    def test_no_place_for_recordings(self):
        self.check("leak", options=["--dir", "/proc/no/such"], status=UNSEEN)

    def test_usage(self):
        for options in (["--format", "yaml"], ["-o", "report"], ["--max-stall", "5"], ["--max-stall", "5 parsecs"],
                        ["--min-count", "0"], ["--update-baseline"], ["--no-such-option"],
                        ["-o", "/proc/no/such.json"], ["--suppressions", "not-there"], ["--baseline", "not-there"]):
            done = self.check("say", options=options, status=USAGE)
            self.assertEqual(done.stdout, "", f"{options}: the program was started")
        done = subprocess.run([BIN, "check"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, USAGE)

    def test_a_report_that_cannot_be_written(self):
        done = self.check("keep", options=["-o", "json:/dev/full"], status=USAGE)
        self.assertIn("No space left", done.stderr)
        self.check("leak", options=["-o", "json:/dev/full"], status=FOUND)


class Reports(Check):
    def test_all_of_them_at_once(self):
        self.check("leak", options=["-o", "r.json", "-o", "r.xml", "-o", "r.sarif", "-o", "r.txt", "-o", "github:r.annotations"],
                   status=FOUND)
        report = json.loads(self.text("r.json"))
        self.assertEqual(report["schema"], "loopscope.check/1")
        self.assertEqual(report["exit_status"], FOUND)
        [leak] = self.new(report)
        self.assertEqual((leak["rule"], leak["count"], leak["kind"]), ("fd-leak", 3, "file"))
        self.assertEqual((leak["location"]["file"], leak["location"]["line"]), ("program.c", self.line))
        suites = xml.etree.ElementTree.fromstring(self.text("r.xml"))
        self.assertEqual(len(list(suites.iter("failure"))), 1)
        [run] = json.loads(self.text("r.sarif"))["runs"]
        [result] = [each for each in run["results"] if each["level"] == "error"]
        self.assertEqual(result["locations"][0]["physicalLocation"]["region"]["startLine"], self.line)
        self.assertIn(f"program.c:{self.line}", self.text("r.txt"))
        self.assertIn(f"::error file=program.c,line={self.line}", self.text("r.annotations"))

    def test_an_older_and_longer_report_is_replaced(self):
        self.write("r.json", "x" * 100_000)
        self.check("keep", options=["-o", "r.json"], status=0)
        json.loads(self.text("r.json"))

    def test_to_standard_output_after_the_programs_own(self):
        done = self.check("say", options=["-o", "json:-"], status=0)
        self.assertTrue(done.stdout.startswith("out\n"), done.stdout)
        json.loads(done.stdout[len("out\n"):])

    def test_format_on_standard_error(self):
        done = self.check("leak", options=["--format", "github"], status=FOUND)
        self.assertIn("::error ", done.stderr)

    def test_without_debug_information(self):
        done = self.check("leak", program="./bare", status=FOUND)
        self.assertIn("bare+0x", done.stderr)
        self.assertIn("-g", done.stderr)

    def test_colour_only_where_it_is_seen(self):
        self.assertNotIn("\x1b[", self.check("leak").stderr)
        self.assertIn("\x1b[", self.check("leak", options=["--color", "always"]).stderr)


class Tree(Check):
    def test_a_child(self):
        report = self.report("child", status=FOUND)
        [leak] = self.new(report)
        self.assertEqual(leak["count"], 2)
        self.assertNotEqual(report["processes"][leak["process"]]["pid"], report["pid"])

    def test_no_follow_forks(self):
        report = self.report("child", options=["--no-follow-forks"], status=0)
        self.assertIn("a child: --no-follow-forks", [each["unjudged"] for each in report["processes"]])

    def test_ignored_processes(self):
        self.report("leak", options=["--ignore-process", "prog*"], status=0)
        self.report("leak", options=["--ignore-process", "other"], status=FOUND)

    def test_a_daemon_is_waited_for(self):
        report = self.report("daemon", status=FOUND)
        [leak] = self.new(report)
        self.assertEqual(leak["count"], 4)

    def test_but_not_for_ever(self):
        began = time.monotonic()
        report = self.report("abandon", options=["--wait", "200ms"], status=0)
        self.assertLess(time.monotonic() - began, 3.5)
        self.assertTrue(any("still ran" in note for note in report["notes"]), report["notes"])

    def test_exec_follows(self):
        report = self.report("echo", status=0)
        self.assertEqual([each["ending"] for each in report["processes"]], ["exec", "exited"])

    def test_recordings_are_removed(self):
        recordings = os.path.join(self.directory, "recordings")
        os.mkdir(recordings, 0o700)
        self.check("leak", "child", options=["--dir", recordings], status=FOUND)
        self.assertEqual(os.listdir(recordings), [])


class TimeOut(Check):
    def test_ends_it_and_says_what_was_open(self):
        done = self.check("leak", "sleep", options=["--timeout", "300ms", "-o", "r.json"], status=128 + signal.SIGTERM)
        self.assertIn("--timeout", done.stderr)
        report = json.loads(self.text("r.json"))
        self.assertTrue(report["timed_out"])
        [leak] = [each for each in report["findings"] if each["rule"] == "fd-leak"]
        self.assertEqual(leak["count"], 3)

    def test_one_that_does_not_want_to(self):
        self.check("stubborn", options=["--timeout", "100ms"], status=128 + signal.SIGKILL)


class LivingWithIt(Check):
    def test_suppressions(self):
        self.write("mine.supp", "suppress: passwd\n  reason: it is read again and again\n  rule: fd-leak\n"
                                "  function: leak\n  target: /etc/pass*\n")
        done = self.check("leak", options=["--suppressions", "mine.supp"], status=0)
        self.assertIn("passwd 3", done.stderr)
        self.write("other.supp", "suppress: other\n  reason: x\n  function: not_leak\n")
        done = self.check("leak", options=["--suppressions", "other.supp"], status=FOUND)

    def test_a_bad_line_says_file_line_and_what(self):
        self.write("bad.supp", "suppress: a\n  reason: b\n  fnction: c\n")
        done = self.check("say", options=["--suppressions", "bad.supp"], status=USAGE)
        self.assertIn("bad.supp:3", done.stderr)
        self.assertIn("function", done.stderr)
        self.assertEqual(done.stdout, "", "the program was started")

    def test_generated_entries_work(self):
        self.check("leak", options=["--gen-suppressions", "new.supp"], status=FOUND)
        self.check("leak", options=["--suppressions", "new.supp"], status=0)
        self.check("leak", "child", options=["--suppressions", "new.supp"], status=0)

    def test_a_baseline_holds_what_is_known(self):
        self.check("leak", options=["--baseline", "known.json", "--update-baseline"], status=0)
        self.check("leak", options=["--baseline", "known.json"], status=0)
        self.check("never", options=["--baseline", "known.json", "--strict"], status=FOUND)
        done = self.check("keep", options=["--baseline", "known.json"], status=0)
        self.assertIn("baseline", done.stderr)

    def test_a_baseline_that_is_none(self):
        self.write("broken.json", '{"schema":"something"}')
        done = self.check("say", options=["--baseline", "broken.json"], status=USAGE)
        self.assertIn("broken.json", done.stderr)

    def test_min_count(self):
        self.check("leak", options=["--min-count", "4"], status=0)
        self.check("leak", options=["--min-count", "3"], status=FOUND)


if __name__ == "__main__":
    unittest.main()
