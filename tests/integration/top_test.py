#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`loopscope top` in a real terminal (tmux's), and as plain text.

    LOOPSCOPE_BIN=path/to/loopscope HELLO=path/to/hello_c TEXTBOOK=path/to/textbook_epoll python3 top_test.py

HELLO records a loop "hello" until SIGTERM. TEXTBOOK knows nothing of loopscope and runs under the probe."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
HELLO = os.environ["HELLO"]
TEXTBOOK = os.environ.get("TEXTBOOK")
DEADLINE = 60
# What a terminal must not be sent by a name, and what takes two columns a character.
HOSTILE = b"\x1b[2J\x1b[31m\xff\n\xe6\xbc\xa2\xe5\xad\x97"


class TopTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="loopscope-top-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.recordings = os.path.join(self.directory, "recordings")
        os.mkdir(self.recordings, 0o700)
        self.environment = dict(os.environ, LOOPSCOPE_DIR=self.recordings, LC_ALL="C.UTF-8")
        for name in ("NO_COLOR", "TMUX", "TMUX_PANE", "COLUMNS", "LINES"):
            self.environment.pop(name, None)

    def start(self, *arguments, end=signal.SIGKILL):
        program = subprocess.Popen(  # pylint: disable=consider-using-with
            arguments, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(program.wait)
        self.addCleanup(program.send_signal, end)
        return program

    def cli(self, *arguments, **options):
        return subprocess.run(
            [BIN, "top", *arguments], env=self.environment, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=DEADLINE, check=False, **options
        )

    def recorded(self, count=1):
        """Waits until so many recordings are there with a loop that has turned."""
        end = time.monotonic() + DEADLINE
        while True:
            text = self.cli("-d", "0.1").stdout.decode()
            rows = [line for line in text.splitlines() if re.match(r" *\d+ +[~>.] ", line)]
            if len(rows) >= count:
                return rows
            if time.monotonic() > end:
                raise AssertionError(f"no {count} loops within {DEADLINE} s: {text}")
            time.sleep(0.05)


class PlainTest(TopTest):
    def test_columns(self):
        hello = self.start(HELLO)
        self.recorded()
        text = self.cli("-d", "0.3").stdout.decode()
        lines = text.splitlines()
        self.assertRegex(lines[0], r"^loopscope top  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  1 process, 1 loop, \d+ descriptors?, over the last ")
        heads = [line for line in lines if line.lstrip().startswith("PID")]
        self.assertEqual(len(heads), 1)
        self.assertEqual(
            heads[0].split(),
            ["PID", "STATE", "UTIL", "10s", "100s", "TURN/S", "READY", "P50", "P99", "LAG99", "FDS", "FIND", "LOOP"],
        )
        rows = [line for line in lines if line.split()[:1] == [str(hello.pid)]]
        self.assertEqual(len(rows), 1)
        self.assertTrue(rows[0].endswith(": hello"), rows[0])

    def test_blocks(self):
        self.start(HELLO)
        self.recorded()
        result = self.cli("--batch", "-n", "3", "-d", "0.1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(re.findall(r"^loopscope top ", result.stdout.decode(), re.MULTILINE)), 3)

    def test_one_process_has_its_watchers(self):
        hello = self.start(HELLO)
        self.start(HELLO)
        self.recorded(2)
        text = self.cli("-d", "0.1", str(hello.pid)).stdout.decode()
        self.assertIn("1 process, 1 loop", text)
        self.assertRegex(text, r"KIND +FD +CALL/S +SHARE +P50 +P99 +MAX +LAG99 +WATCHER")

    def test_nothing_recorded(self):
        result = self.cli("-d", "0.1")
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"nothing is being recorded", result.stdout)

    def test_process_without_recording(self):
        result = self.cli(str(os.getpid()))
        self.assertEqual(result.returncode, 3)
        self.assertEqual(result.stdout, b"")
        self.assertIn(b"does not record", result.stderr)
        self.assertIn(b"loopscope run -- PROGRAM", result.stderr)

    def test_wrong_usage(self):
        for arguments in (["-d", "0"], ["-n", "0"], ["--dir", "/nowhere"], ["-7"], ["x"], ["1", "2"]):
            with self.subTest(arguments=arguments):
                self.assertEqual(self.cli(*arguments).returncode, 2)
        self.assertIn(b"--batch", self.cli("--help").stdout)

    def test_hostile_names(self):
        name = os.path.join(os.fsencode(self.directory), HOSTILE)
        shutil.copy(HELLO, name)
        self.start(name)
        self.recorded()
        text = self.cli("-d", "0.1").stdout
        self.assertNotIn(b"\x1b", text)
        self.assertEqual(len([line for line in text.split(b"\n") if re.match(rb" *\d+ ", line)]), 1)
        text.decode()  # it is UTF-8

    def test_a_full_disk_is_said(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [BIN, "top", "-d", "0.1"], env=self.environment, stdin=subprocess.DEVNULL, stdout=full,
                stderr=subprocess.PIPE, timeout=DEADLINE, check=False,
            )
        self.assertEqual(result.returncode, 3)
        self.assertIn(b"cannot write", result.stderr)


class Terminal:
    """A shell in a tmux of its own, whose screen can be read and typed into."""

    def __init__(self, test, width=100, height=30, environment=None):
        self.test = test
        self.socket = os.path.join(test.directory, f"tmux{len(os.listdir(test.directory))}")
        self.environment = dict(environment or test.environment, HISTFILE="/dev/null")
        self.environment.pop("ENV", None)
        test.addCleanup(self.close)
        with open(self.socket + ".conf", "w", encoding="utf-8") as file:
            file.write("set -g status off\nset -g default-terminal screen-256color\nset -s escape-time 0\n")
        self.tmux("-f", self.socket + ".conf", "-u", "new-session", "-d", "-x", str(width), "-y", str(height),
                  "exec env PS1='$ ' bash --norc --noprofile -i")
        self.until(r"^\$")

    def tmux(self, *arguments):
        result = subprocess.run(["tmux", "-S", self.socket, *arguments], env=self.environment, capture_output=True,
                                timeout=DEADLINE, check=False)
        if result.returncode != 0:
            raise AssertionError(f"tmux {arguments}: {result.stderr.decode()}")
        return result.stdout.decode(errors="replace")

    def close(self):
        with contextlib.suppress(AssertionError):
            self.tmux("kill-server")

    def screen(self, *how):
        return self.tmux("capture-pane", "-p", *how)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def keys(self, *names):
        self.tmux("send-keys", *names)

    def command(self, text):
        self.type(text)
        self.keys("Enter")

    def until(self, wanted, but_not=None):
        """The screen, once it shows `wanted` and not `but_not`: patterns, of lines."""
        end = time.monotonic() + DEADLINE
        while True:
            screen = self.screen()
            if re.search(wanted, screen, re.MULTILINE) and not (but_not and re.search(but_not, screen, re.MULTILINE)):
                return screen
            if time.monotonic() > end:
                raise AssertionError(f"not on the screen within {DEADLINE} s: {wanted} (and not {but_not})\n{screen}")
            time.sleep(0.05)

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def flag(self, name):
        return self.tmux("display-message", "-p", "#{" + name + "}").strip()


@unittest.skipUnless(shutil.which("tmux"), "tmux is not here")
class ScreenTest(TopTest):
    def top(self, terminal, *arguments):
        terminal.command(" ".join(["stty -g > before;", "exec 3>&1;", BIN, "top", "-d", "0.5", *arguments,
                                   "; echo left with $?; stty -g > after; cmp before after && echo same"]))

    def terminal(self, *size, **options):
        terminal = Terminal(self, *size, **options)
        terminal.command(f"cd {self.directory} && clear")
        terminal.until(r"\A\$ *$")
        return terminal

    @staticmethod
    def kill_if_there(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def restored(self, terminal, status):
        screen = terminal.until(r"^same$")
        self.assertRegex(screen, rf"(?m)^left with {status}$")
        self.assertEqual(terminal.flag("alternate_on"), "0")
        self.assertEqual(terminal.flag("cursor_flag"), "1")

    def test_the_loop_and_its_panes(self):
        hello = self.start(HELLO)
        self.recorded()
        terminal = self.terminal()
        self.top(terminal)
        terminal.until(rf"^ *{hello.pid} .*: hello *$")
        self.assertEqual(terminal.flag("alternate_on"), "1")
        terminal.keys("Enter")
        terminal.until(r"\[Watchers \d+\]")
        terminal.until(r"poll wait +\d")
        terminal.keys("Tab")
        terminal.until(r"\[Descriptors \d+\]")
        terminal.until(r"^ +\d+ (pipe|file|tcp|unix|eventfd|epoll|device|tty|timerfd)")
        terminal.keys("Tab")
        terminal.until(r"\[Slow turns\]")
        terminal.until(r"^the slowest \d+ of the last \d+ turn")
        terminal.keys("Tab")
        terminal.until(r"\[Findings \d+\]")
        terminal.keys("Escape")
        terminal.until(r"UTIL")
        terminal.keys("F1")
        terminal.until(r"^Keys")
        terminal.keys("Escape")
        terminal.until(r"UTIL", r"^Keys")
        terminal.keys("F5")
        terminal.until(r"^ .* hello *$", rf": hello *$")
        terminal.keys("q")
        self.restored(terminal, 0)

    def test_filter_and_search(self):
        first, second = self.start(HELLO), self.start(HELLO)
        self.recorded(2)
        terminal = self.terminal()
        self.top(terminal)
        terminal.until(rf"^ *{first.pid} ")
        terminal.keys("F4")
        terminal.until(r"^Filter:")
        terminal.type(str(second.pid))
        terminal.until(rf"^ *{second.pid} ", rf"^ *{first.pid} ")
        terminal.keys("Enter")
        terminal.until(r"filter: ")
        terminal.keys("Escape")
        terminal.until(rf"^ *{first.pid} ")
        terminal.type("/")
        terminal.type("no such loop")
        terminal.until("not found")
        terminal.keys("Enter", "F10")
        self.restored(terminal, 0)

    def test_sizes(self):
        hello = self.start(HELLO)
        self.recorded()
        terminal = self.terminal(80, 24)
        self.top(terminal)
        for width, height in ((80, 24), (40, 10), (20, 4), (140, 40), (40, 10)):
            terminal.resize(width, height)
            if width >= 40:
                screen = terminal.until(r"hello(: hello|: h|:)?.*$")
                self.assertLessEqual(len(screen.rstrip("\n").split("\n")), height)
        terminal.until(r"polling|dispat")
        terminal.keys("Enter")
        terminal.until(r"\[Watc|\[Dura")
        terminal.resize(100, 30)
        terminal.until(r"\[Watchers \d+\]")
        terminal.until(rf"\({hello.pid}\)")
        terminal.keys("F10")
        self.restored(terminal, 0)

    def test_stop_and_continue(self):
        hello = self.start(HELLO)
        self.recorded()
        terminal = self.terminal()
        terminal.command(f"stty -g > before; {BIN} top -d 0.5")
        terminal.until(rf"^ *{hello.pid} ")
        terminal.keys("C-z")
        terminal.until(r"Stopped")
        self.assertEqual(terminal.flag("alternate_on"), "0")
        terminal.command("stty -g > stopped; fg")
        terminal.until(rf"^ *{hello.pid} .*: hello", r"Stopped")
        self.assertEqual(terminal.flag("alternate_on"), "1")
        terminal.keys("q")
        terminal.until(r"\n\$\s*\Z")  # what is typed before is top's, or lost when it leaves
        terminal.command("echo left with $?; stty -g > after; cmp before after && echo same")
        self.restored(terminal, 0)

    def test_signals_restore_the_terminal(self):
        self.start(HELLO)
        self.recorded()
        for name, status in (("C-c", 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            with self.subTest(signal=name):
                terminal = self.terminal()
                self.top(terminal)
                terminal.until(r"UTIL")
                if isinstance(name, str):
                    terminal.keys(name)
                else:
                    shell = int(terminal.flag("pane_pid"))
                    with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as children:
                        for child in children.read().split():
                            os.kill(int(child), name)
                self.restored(terminal, status)
                terminal.close()

    def test_no_colours(self):
        self.start(HELLO)
        self.recorded()
        terminal = self.terminal(environment=dict(self.environment, NO_COLOR="1"))
        self.top(terminal)
        terminal.until(r"UTIL")
        self.assertNotRegex(terminal.screen("-e"), r"\x1b\[[0-9;]*\b(3[0-7]|4[0-7])\b[0-9;]*m")
        terminal.keys("q")
        self.restored(terminal, 0)

    def test_ascii_where_the_locale_is(self):
        self.start(HELLO)
        self.recorded()
        terminal = self.terminal(environment=dict(self.environment, LC_ALL="C"))
        self.top(terminal)
        screen = terminal.until(r"UTILv")
        self.assertTrue(screen.isascii(), screen)
        terminal.keys("q")
        self.restored(terminal, 0)

    def test_a_terminal_that_cannot_be_told_where_to_write(self):
        self.start(HELLO)
        self.recorded()
        terminal = self.terminal()
        terminal.command(f"TERM=dumb {BIN} top -d 0.1")
        terminal.until(r"TERM=dumb.* plain output")
        terminal.until(r"over the last")

    def test_nothing_recorded_waits(self):
        terminal = self.terminal()
        self.top(terminal)
        terminal.until(r"loopscope run -- PROGRAM")
        hello = self.start(HELLO)
        terminal.until(rf"^ *{hello.pid} .*hello")
        terminal.keys("q")
        self.restored(terminal, 0)

    def test_hostile_names(self):
        name = os.path.join(os.fsencode(self.directory), HOSTILE)
        shutil.copy(HELLO, name)
        hello = self.start(name)
        self.recorded()
        terminal = self.terminal(80, 12)
        self.top(terminal)
        screen = terminal.until(rf"^ *{hello.pid} ")
        # Title, table and keys are where they belong: nothing was erased, nothing went to the next line.
        lines = screen.split("\n")
        self.assertTrue(lines[0].startswith("loopscope"), screen)
        self.assertIn("F1Help", lines[11])
        self.assertEqual(len(re.findall(rf"(?m)^ *{hello.pid} ", screen)), 1)
        terminal.keys("q")
        self.restored(terminal, 0)

    @unittest.skipUnless(TEXTBOOK, "TEXTBOOK is not given")
    def test_a_kill_is_told(self):
        # A shell that is recorded waits for it, so that the signal is known.
        self.start(BIN, "run", "--no-http", "--summary", "none", "--dir", self.recordings, "--", sys.executable, "-c",
                   f"import subprocess, time; p = subprocess.Popen([{TEXTBOOK!r}]); p.wait(); time.sleep({DEADLINE * 4})",
                   end=signal.SIGTERM)  # which it passes on
        rows = self.recorded()
        pid = int([row for row in rows if "textbook" in row][0].split()[0])
        self.addCleanup(self.kill_if_there, pid)
        terminal = self.terminal(120, 30)
        self.top(terminal)
        terminal.until(rf"^ *{pid} [~>]")
        os.kill(pid, signal.SIGKILL)
        terminal.until(rf"^ *{pid} X killed SIGKILL")
        terminal.type("/textbook")
        terminal.keys("Enter")
        terminal.keys("Enter")
        terminal.until(r"killed by SIGKILL")
        # And it lives on.
        hello = self.start(HELLO)
        terminal.keys("Escape")
        terminal.until(rf"^ *{hello.pid} ")
        terminal.keys("q")
        self.restored(terminal, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
