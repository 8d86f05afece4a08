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
DEADLINE = 40

# Words on its command line say what it does, one after the other. `leak` leaves three files open, from one line.
PROGRAM = r"""
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>
static void leak(int count) {
  for (int i = 0; i < count; ++i) open("/etc/passwd", O_RDONLY | O_CLOEXEC); /* LEAK */
}
static atomic_int opened;
static void* open_and_close(void* unused) {
  int fd;
  while ((fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC)) >= 0) {
    if (++opened == 1100) for (;;) pause();
    close(fd);
  }
  return unused;
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
      if (fork() == 0) { leak(1); close(1); close(2); sleep(60); exit(0); }
    }
    if (strcmp(word, "turn") == 0) {
      int set = epoll_create1(EPOLL_CLOEXEC), wake = eventfd(1, EFD_CLOEXEC);
      struct epoll_event event = {.events = EPOLLIN};
      epoll_ctl(set, EPOLL_CTL_ADD, wake, &event);
      for (int turn = 0; turn < 3; ++turn) epoll_wait(set, &event, 1, 0), usleep(20000);
      close(wake), close(set);
    }
    if (strcmp(word, "busy") == 0) {
      pthread_t thread;
      pthread_create(&thread, NULL, open_and_close, NULL);
      while (opened < 1100) usleep(1000);
    }
    if (strcmp(word, "echo") == 0) execlp("echo", "echo", "echoed", NULL);
    if (strcmp(word, "static") == 0) execl("./static", "static", NULL);
  }
  return 0;
}
"""
STATIC = "int main(void) { return 0; }\n"


def eventually(condition):
    """What it returns, as soon as that is true."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError("it does not happen")
        time.sleep(0.01)
    return value


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def children_of(pid, command="program"):
    """Those that run this command by now: not yet the forked child, not the witness of our process group."""
    found = []
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        children = [int(child) for child in file.read().split()]
    for child in children:
        try:
            with open(f"/proc/{child}/comm", encoding="utf-8") as file:
                if file.read().strip() == command:
                    found.append(child)
        except OSError:
            pass
    return found


class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="loopscope-check-")
        cls.write("program.c", PROGRAM)
        cls.write("static.c", STATIC)
        for flags in (["-g", "-O1", "-pthread", "-o", "program", "program.c"], ["-O1", "-s", "-pthread", "-o", "bare", "program.c"],
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

    def test_the_dashes_are_asked_for(self):
        done = subprocess.run([BIN, "check", "./program"], cwd=self.directory, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("loopscope check [OPTIONS] -- PROGRAM", done.stderr)

    def test_a_reader_that_is_gone_changes_no_status(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        for words, status in ((["leak"], FOUND), (["keep"], 0)):
            done = subprocess.run([BIN, "check", "-o", "text:-", "--", "./program", *words], cwd=self.directory,
                                  stdout=subprocess.DEVNULL, stderr=write_end, timeout=DEADLINE, check=False)
            self.assertEqual(done.returncode, status)
        os.close(write_end)

    def test_no_place_for_recordings(self):
        self.check("leak", options=["--dir", "/proc/no/such"], status=UNSEEN)

    def test_usage(self):
        for options in (["--format", "yaml"], ["-o", "report"], ["--max-stall", "5"], ["--max-stall", "5 parsecs"],
                        ["--min-count", "0"], ["--max-stall", "0ms"], ["--max-timer-lag", "-1ms"], ["--wait", "-1s"],
                        ["--suppressions", "/tmp"], ["-o", "json:twice", "-o", "text:twice"], ["--update-baseline"], ["--no-such-option"],
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
        took = time.monotonic() - began
        for process in report["processes"]:
            if process["ending"] == "running":
                os.kill(process["pid"], signal.SIGKILL)
        self.assertLess(took, DEADLINE)  # the child would have slept for a minute
        self.assertTrue(any("still ran" in note for note in report["notes"]), report["notes"])

    def test_exec_follows(self):
        report = self.report("echo", status=0)
        self.assertEqual([each["ending"] for each in report["processes"]], ["exec", "exited"])

    def test_recordings_are_removed(self):
        recordings = os.path.join(self.directory, "recordings")
        os.mkdir(recordings, 0o700)
        self.check("leak", "child", options=["--dir", recordings], status=FOUND)
        self.assertEqual(os.listdir(recordings), [])


    def test_a_check_in_a_check_is_the_inner_ones(self):
        done = self.check("check", "--", "./program", "leak", program=BIN, status=FOUND)
        self.assertEqual(done.stderr.count("error[fd-leak]"), 1, done.stderr)

    def test_a_thread_at_work_at_the_end_forgot_nothing(self):
        report = self.report("busy", status=0)
        [kept] = self.new(report, "info")
        self.assertEqual((kept["rule"], kept["count"]), ("fd-kept", 1))
        self.assertIn("at work", kept["title"])

    def test_what_a_namesake_left_is_not_ours(self):
        recordings = os.path.join(self.directory, "left")
        os.mkdir(recordings, 0o700)
        killed = subprocess.Popen([BIN, "check", "--dir", recordings, "--", "./program", "say", "leak", "sleep"],
                                  cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(killed.stdout.close)
        [program] = eventually(lambda: children_of(killed.pid))
        eventually(lambda: len(os.listdir(f"/proc/{program}/fd")) >= 6)  # it sleeps
        for pid in (killed.pid, program):
            os.kill(pid, signal.SIGKILL)
        killed.wait()
        [left] = os.listdir(recordings)
        # The shell is that run's namesake, and becomes the command.
        script = (f'cd {recordings} && mv {left} "$(echo {left} | sed "s/[0-9]*.loopscope/$$.loopscope/")" && cd .. && '
                  f'exec "{BIN}" check --dir {recordings} -- ./program')
        done = subprocess.run(["sh", "-c", script], cwd=self.directory, capture_output=True, text=True, timeout=DEADLINE,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("in 1 process", done.stderr)


class HostileNames(Check):
    def test_reach_no_terminal_and_break_no_report(self):
        name = b"./p\x1b[31m\n\xff%0A::error::<]]>&\""
        shutil.copy(os.path.join(self.directory, "program"), os.path.join(self.directory.encode(), name))
        files = {"json": json.loads, "sarif": json.loads, "junit": xml.etree.ElementTree.fromstring, "github": str, "text": str}
        outputs = [word for format in files for word in ("-o", f"{format}:hostile.{format}")]
        done = subprocess.run([BIN, "check", *outputs, "--gen-suppressions", "hostile.supp", "--", name, "leak"],
                              cwd=self.directory, capture_output=True, check=False)
        self.assertEqual(done.returncode, FOUND, done.stderr)
        written = {"stderr": done.stderr}
        for name in [f"hostile.{format}" for format in files] + ["hostile.supp"]:
            with open(os.path.join(self.directory, name), "rb") as file:
                written[name] = file.read()
        for name, data in written.items():
            with self.subTest(name):
                self.assertNotIn(b"\x1b", data)
                text = data.decode()  # it is UTF-8
                files.get(name.rpartition(".")[2], str)(text)
        self.assertEqual([line[:8] for line in written["hostile.github"].splitlines()], [b"::error "])


class Signals(Check):
    """As of `loopscope run`: PROGRAM gets what we get, and the report comes all the same."""

    def start(self, *words, options=()):
        process = subprocess.Popen([BIN, "check", *options, "-o", "signals.json", "--", "./program", *words],
                                   cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.stdout.close)
        return process

    def test_are_passed_on_and_nothing_is_left(self):
        recordings = os.path.join(self.directory, "interrupted")
        os.mkdir(recordings, 0o700)
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start("leak", "sleep", options=["--dir", recordings])
            [program] = eventually(lambda: children_of(process.pid))
            eventually(lambda: len(os.listdir(f"/proc/{program}/fd")) >= 6)
            process.send_signal(number)
            self.assertEqual(process.wait(DEADLINE), 128 + number)
            report = json.loads(self.text("signals.json"))
            self.assertEqual(report["program_signal"], number)
            self.assertEqual([each["count"] for each in report["findings"]], [3])
            self.assertEqual(os.listdir(recordings), [])

    def test_cut_the_waiting_for_children_short(self):
        process = self.start("abandon", options=["--wait", "1h"])
        process.stdout.read()  # ends with PROGRAM: its child has let go of it
        eventually(lambda: not children_of(process.pid, "program"))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE), 0)
        report = json.loads(self.text("signals.json"))
        self.assertTrue(any("still ran" in note for note in report["notes"]), report["notes"])

    def test_stopped_and_continued_together(self):
        process = self.start("sleep")
        [program] = eventually(lambda: children_of(process.pid))
        os.kill(program, signal.SIGSTOP)
        pid, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertEqual((pid, os.WIFSTOPPED(status)), (process.pid, True))
        process.send_signal(signal.SIGCONT)
        eventually(lambda: state_of(program) == "S" and state_of(process.pid) == "S")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(DEADLINE), 128 + signal.SIGTERM)

    def test_the_program_has_no_descriptor_of_ours(self):
        words = ["sh", "-c", "ls -l /proc/$$/fd | wc -l"]
        bare = subprocess.run(words, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=True).stdout
        done = self.check(*words[1:], program="sh", options=["-o", "a.json", "-o", "b.xml", "--max-stall", "1s"])
        self.assertEqual(done.stdout, bare, done.stderr)


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

    def test_min_count_is_not_about_budgets(self):
        self.check("turn", options=["--max-stall", "1ms"], status=FOUND)
        self.check("turn", options=["--max-stall", "1ms", "--min-count", "100"], status=FOUND)


if __name__ == "__main__":
    unittest.main()
