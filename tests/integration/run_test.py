#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`loopscope run` from outside: to the program it is not there, to its caller it is the program.

    LOOPSCOPE_BIN=path/to/loopscope HELLO=path/to/hello_c python3 run_test.py

Most tests are twins: the same thing without and with the command must give the same. HELLO records a loop "hello" until SIGTERM.
What the probe sees is not looked at here: without LOOPSCOPE_PROBE_FILE another library takes its place."""
import contextlib
import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time
import unittest
import urllib.request

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
HELLO = os.environ["HELLO"]
USAGE, COULD_NOT = 2, 3
DEADLINE = 40

# Says which signals it gets, one a line, until SIGTERM comes for the second time.
LISTENER = r"""
import os, signal, sys
wanted = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
          signal.SIGCONT, signal.SIGALRM, signal.SIGRTMIN + 3}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
os.write(1, b"ready\n")
while True:
    os.write(1, b"got %d\n" % signal.sigwait(wanted))
"""

# The descriptors it was given (but the one it reads the list with), and what they are.
DESCRIPTORS = r"""
import os
for fd in sorted(int(name) for name in os.listdir("/proc/self/fd")):
    try:
        os.write(FD, b"%d %s\n" % (fd, os.fsencode(os.readlink("/proc/self/fd/%d" % fd))))
    except OSError:
        pass
"""


def compile_c(directory, name, source, *flags):
    path = os.path.join(directory, name)
    with open(path + ".c", "w", encoding="utf-8") as file:
        file.write(source)
    subprocess.run(["cc", *flags, "-o", path, path + ".c"], check=True)
    return path


def executable(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return path


def eventually(what, attempt, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while True:
        result = attempt()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(0.01)


# Takes the probe's place: gives the recording that HELLO makes by itself the name it has under `loopscope run`.
STAND_IN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = va_arg(arguments, mode_t);
  va_end(arguments);
  const char *options = getenv("LOOPSCOPE_PROBE"), *end = strstr(path, ".loopscope");
  char named[4096];
  if (options != NULL && end != NULL && (flags & O_CREAT) != 0) {
    snprintf(named, sizeof named, "%.*s-%d.loopscope", (int)(end - path), path, atoi(options + 4));
    path = named;
  }
  return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, flags, mode);
}
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
"""


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # In the build tree, where no mount says nosuid; world-readable for the test that is somebody else.
        cls.place = tempfile.mkdtemp(prefix="run-", dir=os.environ.get("LOOPSCOPE_DIR") and os.path.dirname(
            os.environ["LOOPSCOPE_DIR"].rstrip("/")))
        os.chmod(cls.place, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.probe = os.environ.get("LOOPSCOPE_PROBE_FILE") or compile_c(
            cls.place, "stand-in.so", STAND_IN, "-shared", "-fPIC", "-ldl")
        cls.static = compile_c(cls.place, "static", "int main(void) { return 7; }\n", "-static")

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="recordings-", dir=self.place)
        self.environment = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "LOOPSCOPE_PROBE")}
        self.environment.update(LOOPSCOPE_DIR=self.directory, LC_ALL="C.UTF-8")

    def command(self, *program, options=("--no-http",)):
        probe = () if "--probe" in options else ("--probe", self.probe)
        return [BIN, "run", *probe, *options, "--", *program]

    def run_it(self, *program, options=("--no-http",), **more):
        more = {"env": self.environment, "capture_output": True, "timeout": DEADLINE, "check": False, **more}
        return subprocess.run(self.command(*program, options=options), **more)

    def bare(self, *program, **more):
        more = {"env": self.environment, "capture_output": True, "timeout": DEADLINE, "check": False, **more}
        return subprocess.run(program, **more)

    def twins(self, *program, options=("--no-http",), **more):
        """Runs it without and with the command; the same status and standard output. Gives both."""
        bare, with_run = self.bare(*program, **more), self.run_it(*program, options=options, **more)
        self.assertEqual(with_run.stdout, bare.stdout)
        self.assertEqual(with_run.returncode, bare.returncode if bare.returncode >= 0 else 128 - bare.returncode)
        return bare, with_run

    def start(self, *program, options=("--no-http",), **more):
        more = {"env": self.environment, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                "start_new_session": True, **more}
        process = subprocess.Popen(self.command(*program, options=options), **more)  # pylint: disable=consider-using-with

        def finish():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

        self.addCleanup(finish)
        return process

    def child_of(self, process):
        """The program's pid: the youngest child that is not one of loopscope's own."""
        def find():
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as file:
                pids = file.read().split()
            for pid in pids:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                    if not file.read().startswith("loopscope"):
                        return int(pid)
            return None
        return eventually("a child", find)

    def wait_for_loop(self, count=1):
        """Until so many programs record a loop."""
        def recorded():
            names = [name for name in os.listdir(self.directory) if name.endswith(".loopscope")]
            found = 0
            for name in names:
                done = subprocess.run([BIN, "report", os.path.join(self.directory, name), "--format", "json"],
                                      capture_output=True, check=False, timeout=DEADLINE)
                if done.returncode == 0:
                    loops = json.loads(done.stdout)["processes"][0]["loops"]
                    found += 1 if loops and loops[0]["iterations"] else 0
            return found >= count
        eventually("a recorded loop", recorded)


class StatusTest(Case):
    def test_exit_status(self):
        for status in (0, 1, 77, 255):
            self.assertEqual(self.run_it("sh", "-c", f"exit {status}").returncode, status)

    def test_killed_by_a_signal(self):
        for name, number in (("TERM", 15), ("KILL", 9), ("SEGV", 11), ("INT", 2), ("RTMIN", 34)):
            with self.subTest(signal=name):
                self.assertEqual(self.run_it("bash", "-c", f"ulimit -c 0; kill -{name} $$").returncode, 128 + number)

    def test_not_found_and_not_executable(self):
        plain = os.path.join(self.directory, "plain")
        with open(plain, "wb"):
            pass
        for program, status, message in (
            ("/no/such/program", 127, "No such file or directory"),
            ("no-such-program-anywhere", 127, "No such file or directory"),
            ("", 127, "No such file or directory"),
            (plain, 126, "Permission denied"),
            (self.directory, 126, "Permission denied"),
            (plain + "/below", 126, "Not a directory"),
        ):
            with self.subTest(program=program):
                done = self.run_it(program, options=())
                self.assertEqual((done.returncode, done.stdout), (status, b""))
                self.assertEqual(done.stderr.decode(), f"loopscope: cannot run {program}: {message}\n")
                env = self.bare("env", "--", program) if program else None
                self.assertTrue(env is None or env.returncode == status, "as env(1)")

    def test_interpreter_that_is_not_there(self):
        script = executable(os.path.join(self.directory, "script"), "#!/no/such/interpreter\n")
        done = self.run_it(script)
        self.assertEqual(done.returncode, 127)
        self.assertIn(b"cannot run", done.stderr)

    def test_usage(self):
        marker = os.path.join(self.directory, "started")
        for options in (["--summary", "xml"], ["--stacks", "deep"], ["--listen", "nonsense"], ["--no-http", "--listen", ":0"],
                        ["-o", "/no/such/place"], ["--listen", "0.0.0.0:0"], ["--frobnicate"], ["stray"]):
            with self.subTest(options=options):
                done = self.run_it("touch", marker, options=options)
                self.assertEqual(done.returncode, USAGE, done.stderr)
                self.assertTrue(done.stderr)
        for arguments in (["run"], ["run", "--"], ["run", "true"]):
            done = self.bare(BIN, *arguments)
            self.assertEqual(done.returncode, USAGE)
            self.assertIn(b"loopscope: ", done.stderr)
        self.assertFalse(os.path.exists(marker))


class TransparencyTest(Case):
    def test_arguments_as_they_are(self):
        arguments = ["[a,b]", "--", "", "--help", "-o", "{}", "%%", b"\xff\xfe", "a b", "'\"", "--summary=none"]
        bare, _ = self.twins("printf", "%s|", *arguments)
        self.assertIn(b"[a,b]|--||--help|", bare.stdout)

    def test_output_bytes(self):
        data = os.urandom(1 << 20)
        _, with_run = self.twins("cat", input=data)
        self.assertEqual(with_run.stdout, data)
        done = self.run_it("sh", "-c", "printf 'a\\0b' >&2", options=("--no-http", "--summary", "none"))
        self.assertTrue(done.stderr.startswith(b"a\0b"))

    def test_environment(self):
        bare, with_run = self.bare("env", "-0"), self.run_it("env", "-0")
        added = set(with_run.stdout.split(b"\0")) - set(bare.stdout.split(b"\0"))
        self.assertEqual(set(bare.stdout.split(b"\0")) - set(with_run.stdout.split(b"\0")), set())
        self.assertEqual(sorted(entry.partition(b"=")[0] for entry in added), [b"LD_PRELOAD", b"LOOPSCOPE_PROBE"])
        self.assertIn(b"LD_PRELOAD=" + self.probe.encode(), added)

    def test_environment_of_the_probe(self):
        process = self.start("sh", "-c", "echo $LOOPSCOPE_PROBE", options=("--no-http", "--stacks", "full", "--dir", self.directory))
        self.assertRegex(process.stdout.read().decode(), rf"\Arun={process.pid},stacks=full,clock=(tsc|monotonic),boot=[0-9a-f-]{{36}},dir={re.escape(self.directory)}\n\Z")

    def test_preload_of_others_stays_first(self):
        other = compile_c(self.directory, "other.so", "int other;\n", "-shared", "-fPIC")
        self.environment["LD_PRELOAD"] = other
        self.assertEqual(self.run_it("sh", "-c", "echo $LD_PRELOAD").stdout.decode(), f"{other}:{self.probe}\n")
        self.environment["LD_PRELOAD"] = f"{self.probe}:{other}"
        self.assertEqual(self.run_it("sh", "-c", "echo $LD_PRELOAD").stdout.decode(), f"{self.probe}:{other}\n")

    def test_no_descriptor_leaks(self):
        out = os.path.join(self.directory, "summary")
        with open(os.devnull, "rb") as other:
            passed = os.dup2(other.fileno(), 77)
            self.addCleanup(os.close, passed)
            program = [sys.executable, "-c", DESCRIPTORS.replace("FD", "1")]
            for options in (("--no-http",), ("-o", out), ("--listen", ":0", "--summary", "json", "-o", out)):
                bare, with_run = (re.sub(rb"pipe:\[\d+\]|/proc/\d+/fd", b"", done.stdout) for done in (
                    self.bare(*program, pass_fds=[77], stdin=subprocess.DEVNULL),
                    self.run_it(*program, pass_fds=[77], options=options, stdin=subprocess.DEVNULL)))
                self.assertIn(b"\n77 /dev/null\n", bare)
                self.assertEqual(with_run, bare)

    def test_closed_standard_descriptors_stay_closed(self):
        out = os.path.join(self.directory, "listed")
        summary = os.path.join(self.directory, "summary")
        listing = f"import os; FD = os.open({out!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n" + DESCRIPTORS
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            seen = []
            for start in ([], self.command(options=("--listen", ":0", "-o", summary))):
                self.bare("sh", "-c", f'exec "$@" {closed}', "sh", *start, sys.executable, "-c", listing,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, capture_output=False)
                with open(out, encoding="utf-8") as file:
                    seen.append(re.sub(r"/proc/\d+/fd", "", file.read()))
            self.assertEqual(seen[1], seen[0], closed)

    def test_pipes_end_when_the_program_closes_them(self):
        for options in (("--no-http",), ("--listen", ":0")):
            process = self.start("sh", "-c", "echo here; exec >&-; exec sleep 30", options=options)
            began = time.monotonic()
            self.assertEqual(process.stdout.read(), b"here\n")
            self.assertLess(time.monotonic() - began, 10)
            self.assertIsNone(process.poll())

    def test_signals_limits_and_the_rest_are_inherited(self):
        def odd():
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGTSTP, signal.SIGRTMIN})
            os.umask(0o027)
            os.nice(3)
        # One process, no shell: a shell may set them itself.
        for file in ("status", "limits", "cgroup", "oom_score_adj", "timerslack_ns"):
            for prepare in (None, odd):
                results = []
                for run in (self.bare, self.run_it):
                    # restore_signals: Python would set SIGPIPE back.
                    done = run("cat", f"/proc/self/{file}", preexec_fn=prepare, restore_signals=False)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    lines = done.stdout.decode().splitlines()
                    if file == "status":
                        lines = [line for line in lines if re.match(
                            "Sig(Blk|Ign|Cgt|Pnd)|ShdPnd|Umask|Uid|Gid|Groups|Threads|NoNewPrivs|Seccomp:|Cap|Cpus_allowed:", line)]
                        self.assertGreater(len(lines), 15)
                    results.append(lines)
                self.assertEqual(results[1], results[0])
        done = self.run_it("cat", "/proc/self/status", preexec_fn=odd, restore_signals=False)
        self.assertNotIn("SigIgn:\t0000000000000000", done.stdout.decode(), "the control: something was ignored")

    def test_process_group_and_session(self):
        process = self.start("cat", "/proc/self/stat")
        fields = process.stdout.read().decode().rpartition(")")[2].split()
        self.assertEqual([int(field) for field in fields[1:4]], [process.pid] * 3, "parent, group, session")

    def test_looked_up_as_execvp_does(self):
        places = [os.path.join(self.directory, name) for name in ("a", "b", "c")]
        for place in places:
            os.mkdir(place)
        with open(os.path.join(places[0], "which-one"), "wb"):
            pass  # not executable: the search goes on
        executable(os.path.join(places[1], "which-one"), "#!/bin/sh\necho b $0\n")
        executable(os.path.join(places[2], "which-one"), "#!/bin/sh\necho c $0\n")
        for path in (":".join(places), f"{places[2]}:{places[1]}", f":{places[1]}", f"/no/such:{places[0]}:{places[1]}"):
            self.environment["PATH"] = f"{path}:/usr/bin:/bin"
            self.twins("env", "which-one")
            got = self.run_it("which-one", cwd=places[2])
            self.assertEqual(got.stdout, self.bare("env", "which-one", cwd=places[2]).stdout)
        self.twins("./which-one", cwd=places[1])
        # Neither ELF nor "#!": execvp(3) gives it to the shell.
        bare = executable(os.path.join(self.directory, "no-first-line"), "echo from the shell; exit 5\n")
        done = self.run_it(bare)
        self.assertEqual((done.returncode, done.stdout), (5, b"from the shell\n"))

    def test_argv0(self):
        self.twins("sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline; :")

    def test_no_child_of_ours_in_the_program(self):
        self.twins(sys.executable, "-c", "import os\ntry: print(os.waitpid(-1, 0))\nexcept ChildProcessError: print('none')")


class FirstProcessTest(Case):
    """The first process of a container gets the orphans of all others."""

    def test_orphans_are_buried(self):
        unshare = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-p", "-f", "--mount-proc"]
        leave = "for i in 1 2 3; do sh -c 'sleep 0.1 & exit 0'; done; sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status; exit 5"
        done = self.bare(*unshare, *self.command("sh", "-c", leave))
        self.assertEqual((done.stdout, done.returncode), (b"", 5), done.stderr)


class SignalTest(Case):
    def listener(self, **more):
        process = self.start(sys.executable, "-c", LISTENER, options=("--no-http", "--summary", "none"), **more)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def heard(self, process, at_least, settle=0.15):
        """The signals it got: at least so many, and those that come in a moment after."""
        text, end = b"", time.monotonic() + DEADLINE
        while text.count(b"\n") < at_least and time.monotonic() < end:
            select.select([process.stdout], [], [], 0.05)
            text += process.stdout.read() or b""
        time.sleep(settle)
        text += process.stdout.read() or b""
        return [int(number) for number in re.findall(rb"got (\d+)", text)]

    def test_sent_to_the_command(self):
        process = self.listener()
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH,
                       signal.SIGCONT, signal.SIGALRM, signal.SIGRTMIN + 3, signal.SIGTERM):
            process.send_signal(number)
            self.assertEqual(self.heard(process, 1, 0.03), [number], "once")

    def test_sent_to_the_group(self):
        process = self.listener()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH):
            os.killpg(process.pid, number)
            self.assertEqual(self.heard(process, 1), [number], "once: who takes a second SIGTERM for 'at once' must not get it")
        # And to it alone, after one that was for all.
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.heard(process, 1), [signal.SIGTERM])

    def test_sent_to_each_process_in_turn(self):
        process = self.listener()
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as file:
            children = [int(pid) for pid in file.read().split()]
        for pid in [process.pid, *children]:  # as systemd does it
            os.kill(pid, signal.SIGTERM)
        self.assertEqual(self.heard(process, 1), [signal.SIGTERM])

    def test_alarm_set_before_exec(self):
        # alarm(2) outlives exec: a poor man's timeout.
        process = self.listener(preexec_fn=lambda: signal.setitimer(signal.ITIMER_REAL, 0.5))
        self.assertEqual(self.heard(process, 1), [signal.SIGALRM])

    def test_ends_as_the_program_does(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            process = self.start("sleep", "30")
            self.child_of(process)
            process.send_signal(number)
            self.assertEqual(process.wait(DEADLINE), 128 + number)

    def test_killed_command_leaves_the_program_alone(self):
        process = self.start("sleep", "30")
        child = self.child_of(process)
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as file:
            others = [int(pid) for pid in file.read().split() if int(pid) != child]
        process.kill()
        process.wait(DEADLINE)
        for pid in others:
            eventually("ours are gone", lambda pid=pid: not os.path.exists(f"/proc/{pid}"))
        with open(f"/proc/{child}/stat", encoding="utf-8") as file:
            self.assertIn(file.read().rpartition(")")[2].split()[0], "SR")
        os.kill(child, signal.SIGKILL)

    def test_stopped_and_continued_together(self):
        def state(pid):
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0]
        # SIGTSTP does not stop an orphaned process group: one whose leader is its session's.
        for stop in (signal.SIGSTOP,):
            process = self.start("sleep", "30", options=("--listen", ":0", "--summary", "none"))
            child = self.child_of(process)
            os.kill(child, stop)
            pid, status = os.waitpid(process.pid, os.WUNTRACED)
            self.assertEqual((pid, os.WIFSTOPPED(status) and os.WSTOPSIG(status)), (process.pid, stop))
            process.send_signal(signal.SIGCONT)
            eventually("both run on", lambda: state(child) == "S" and state(process.pid) == "S")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(DEADLINE), 128 + signal.SIGTERM)


class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self, environment, cwd):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"],
                      {**environment, "PS1": "", "TERM": "dumb", "HISTFILE": ""})
        attributes = termios.tcgetattr(self.fd)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        self.text = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern):
        """Reads until the pattern comes; forgets what was up to its end."""
        end = time.monotonic() + DEADLINE
        while True:
            match = re.search(pattern, self.text, re.MULTILINE)
            if match:
                self.text = self.text[match.end():]
                return match
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} does not come in {self.text!r}")
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 4096).decode(errors="replace").replace("\r", "")

    def close(self):
        """Ends everything of this terminal: jobs may be stopped, or deaf to the hang-up."""
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                if os.getsid(int(name)) == self.pid:
                    os.kill(int(name), signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


class TerminalTest(Case):
    def terminal(self):
        terminal = Terminal(self.environment, self.directory)
        self.addCleanup(terminal.close)
        terminal.type("stty -echo; alias R='" + " ".join(self.command(options=("--listen", ":0"))) + "'; echo re''ady\n")
        terminal.expect(r"^ready")
        return terminal

    def programs(self):
        """The same without and with the command."""
        return ("", "R ")

    def test_reads_what_is_typed(self):
        for prefix in self.programs():
            with self.subTest(prefix=prefix):
                terminal = self.terminal()
                terminal.type(prefix + "sh -c 'test -t 0 && test -t 1 && echo tty; read x; echo \"<$x>\"'; echo status $?\n")
                terminal.expect(r"^tty")
                terminal.type("hello\n")
                terminal.expect(r"^<hello>")
                terminal.expect(r"^status 0")

    def test_control_c(self):
        for prefix in self.programs():
            with self.subTest(prefix=prefix):
                terminal = self.terminal()
                terminal.type(prefix + "sh -c 'echo up; exec sleep 30'; echo status $?\n")
                terminal.expect(r"^up")
                terminal.type("\x03")
                # The shell gives up the rest of the line when a job is killed by SIGINT; one that ends with 130 is no such.
                terminal.type("\necho then $?\n")
                terminal.expect(r"^(status|then) 130")

    def test_control_c_comes_once(self):
        for prefix in self.programs():
            with self.subTest(prefix=prefix):
                terminal = self.terminal()
                script = executable(os.path.join(self.directory, "listen.py"), f"#!{sys.executable}\n{LISTENER}")
                terminal.type(f"{prefix}{script}\n")
                terminal.expect(r"^ready")
                terminal.type("\x03")
                terminal.expect(r"^got 2$")
                terminal.type("\x1c")
                terminal.expect(r"^got (\d+)$")
                time.sleep(0.1)
                with contextlib.suppress(AssertionError):
                    self.assertNotIn("got 2\n", terminal.text)
                self.assertNotRegex(terminal.text, r"got [23]\n")
                terminal.type("\x1a")

    def test_control_z_and_fg(self):
        for prefix in self.programs():
            with self.subTest(prefix=prefix):
                terminal = self.terminal()
                terminal.type(prefix + "sh -c 'echo up; read x; echo \"<$x>\"; exit 3'\n")
                terminal.expect(r"^up")
                for _ in range(2):
                    terminal.type("\x1a")
                    terminal.expect(r"Stopped")
                    terminal.type("jobs\n")
                    terminal.expect(r"^\[1\].*Stopped")
                    terminal.type("fg\n")
                    terminal.expect(r"sh -c")
                    # The shell says so before it has given the terminal away and continued the job.
                    eventually("in front", lambda: os.tcgetpgrp(terminal.fd) != terminal.pid)
                    time.sleep(0.2)
                terminal.type("typed\n")
                terminal.expect(r"^<typed>")
                terminal.type("echo status $?\n")
                terminal.expect(r"^status 3")

    def test_background_that_reads_is_stopped(self):
        for prefix in self.programs():
            with self.subTest(prefix=prefix):
                terminal = self.terminal()
                terminal.type(prefix + "cat &\n")
                terminal.type("sleep 0.5; jobs\n")
                terminal.expect(r"^\[1\].*Stopped")
                terminal.type("fg\n")
                terminal.expect(r"cat")
                terminal.type("line\n")
                terminal.expect(r"^line")
                terminal.type("\x04")
                terminal.type("echo status $?\n")
                terminal.expect(r"^status 0")

    def test_kill_job_comes_once(self):
        for prefix in self.programs():
            with self.subTest(prefix=prefix):
                terminal = self.terminal()
                script = executable(os.path.join(self.directory, "listen.py"), f"#!{sys.executable}\n{LISTENER}")
                terminal.type(f"{prefix}{script} &\n")
                terminal.expect(r"^ready")
                terminal.type("kill %1; sleep 0.3; kill -KILL %1; sleep 0.1; echo do''ne\n")
                terminal.expect(r"^got 15$")
                self.assertNotIn("got 15", terminal.expect(r"(?s).*^done").group())


class ServeTest(Case):
    def address(self, process):
        line = process.stderr.readline().decode()
        match = re.fullmatch(r"loopscope: (http://127\.0\.0\.1:(\d+)/) shows (\S+) \(pid (\d+)\)\n", line)
        self.assertTrue(match, line)
        self.assertEqual(int(match[4]), self.child_of(process))
        return match[1], int(match[2])

    def get(self, url):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
            return response.read().decode()

    def test_shows_this_run_only(self):
        other = subprocess.Popen([HELLO], env=self.environment, stdout=subprocess.DEVNULL)  # pylint: disable=consider-using-with
        self.addCleanup(lambda: (other.kill(), other.wait()))
        process = self.start(HELLO, options=("--listen", ":0"))
        url, _ = self.address(process)
        self.wait_for_loop(2)
        processes = eventually("it is shown", lambda: json.loads(self.get(url + "api/v1/snapshot"))["processes"])
        self.assertEqual([shown["pid"] for shown in processes], [self.child_of(process)])
        self.assertIn("loopscope_iterations_total", self.get(url + "metrics"))
        self.assertIn("<html", self.get(url))
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
        with self.assertRaises(OSError):
            self.get(url)

    def test_the_usual_port_may_be_taken(self):
        first = self.start("sleep", "30", options=())
        _, port = self.address(first)  # 9464, unless somebody on this machine has it
        second = self.start("sleep", "30", options=())
        _, another = self.address(second)
        self.assertNotEqual(another, port)
        self.assertNotEqual(another, 9464)

    def test_an_address_that_was_asked_for_must_be_had(self):
        marker = os.path.join(self.directory, "started")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = self.run_it("touch", marker, options=("--listen", f"127.0.0.1:{taken.getsockname()[1]}"))
        self.assertEqual(done.returncode, COULD_NOT)
        self.assertIn(b"listens there already", done.stderr)
        self.assertFalse(os.path.exists(marker))

    def test_ends_at_once_with_streams_open(self):
        process = self.start(HELLO, options=("--listen", ":0", "--summary", "none"))
        _, port = self.address(process)
        self.wait_for_loop()
        streams = []
        for _ in range(5):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            self.addCleanup(connection.close)
            connection.request("GET", "/api/v1/stream")
            streams.append(connection.getresponse())
        for stream in streams:
            self.assertTrue(stream.readline().startswith(b"event: snapshot"))
        child = self.child_of(process)
        os.kill(child, signal.SIGKILL)
        began = time.monotonic()
        process.wait(DEADLINE)
        took = time.monotonic() - began
        print(f"ended {took * 1000:.0f} ms after the program, with 5 streams open", file=sys.stderr)
        # Open streams do not hold it up. 100 ms is the aim, on a machine that does nothing else.
        self.assertLess(took, 1)
        self.assertEqual(process.returncode, 128 + signal.SIGKILL)


    def stream(self, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", "/api/v1/stream")
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        return response

    def events(self, response):
        """Each event until the server closes; a stream that breaks off in the middle of one is an error."""
        for line in response:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def until_it_turns(self, events, pid):
        """Reads on until the process has made a turn."""
        for event in events:
            if any(found["pid"] == pid and found["loops"] and found["loops"][0]["iterations"] for found in event["processes"]):
                return
        self.fail("the stream ended")

    def test_the_last_event_is_of_after_the_end(self):
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
            with self.subTest(signal=number):
                process = self.start(HELLO, options=("--listen", ":0", "--summary", "none"))
                _, port = self.address(process)
                child = self.child_of(process)
                streams = [self.events(self.stream(port)) for _ in range(3)]
                for events in streams:
                    self.until_it_turns(events, child)
                os.kill(child, number)
                lasts = [list(events)[-1] for events in streams]
                status = process.wait(DEADLINE)
                self.assertIn(status, (0, 128 + number) if number == signal.SIGTERM else (128 + number,))
                for last in lasts:
                    found = next(found for found in last["processes"] if found["pid"] == child)
                    self.assertEqual((found["state"], found["exit_status"], found["signal"]),
                                     ("killed", None, number) if status else ("exited", 0, None))
                    self.assertIsNotNone(found["uptime_seconds"], "who waited for it knows when it ended")
                    self.assertGreaterEqual(found["loops"][0]["iterations"], 1)

    def test_lingers_until_it_is_told_to_end(self):
        for how, end in (("forever", signal.SIGINT), ("1h", signal.SIGTERM)):
            with self.subTest(linger=how):
                process = self.start(HELLO, options=("--listen", ":0", "--linger", how))
                url, port = self.address(process)
                child = self.child_of(process)
                events = self.events(self.stream(port))
                self.until_it_turns(events, child)
                os.kill(child, signal.SIGKILL)
                text = eventually("it says so", lambda: (line := process.stderr.readline().decode()) and "goes on" in line and line)
                time_text = "" if how == "forever" else " for 3600 s"
                self.assertEqual(text, f"loopscope: {HELLO} (pid {child}) was killed by SIGKILL; {url} goes on showing it"
                                 f"{time_text} (Ctrl-C ends that)\n")
                # Asked again, and on the stream that was open.
                found = next(found for found in json.loads(self.get(url + "api/v1/snapshot"))["processes"] if found["pid"] == child)
                self.assertEqual((found["state"], found["signal"]), ("killed", signal.SIGKILL))
                self.assertTrue(found["loops"][0]["recent"])
                self.assertIn("<html", self.get(url))
                eventually("the stream has it", lambda: next(events)["processes"][0]["state"] == "killed")
                self.assertIsNone(process.poll())
                process.send_signal(end)
                self.assertEqual(list(events)[-1]["processes"][0]["signal"], signal.SIGKILL)
                self.assertEqual(process.wait(DEADLINE), 128 + signal.SIGKILL, "the status stays the program's")

    def test_does_not_linger_when_the_program_was_told_to_end(self):
        for how in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(how=how):
                process = self.start(HELLO, options=("--listen", ":0", "--linger", "forever", "--summary", "none"))
                url, port = self.address(process)
                self.until_it_turns(self.events(self.stream(port)), self.child_of(process))
                process.send_signal(how)
                self.assertEqual(process.wait(DEADLINE), 128 + how)
                self.assertNotIn(b"goes on", process.stderr.read())

    def test_lingers_for_a_time(self):
        process = self.start("sh", "-c", "exit 5", options=("--listen", ":0", "--linger", "1", "--summary", "none"))
        began = time.monotonic()
        self.assertIn(b" shows sh ", process.stderr.readline())
        self.assertEqual(process.wait(DEADLINE), 5)
        self.assertGreaterEqual(time.monotonic() - began, 1)
        self.assertIn(b"exited with status 5; http://127.0.0.1:", process.stderr.read())

    def test_does_not_linger_for_what_never_ran_or_is_not_served(self):
        done = self.run_it("/no/such/program", options=("--listen", ":0", "--linger", "forever"))
        self.assertEqual(done.returncode, 127)
        for linger in ("", "soon", "-1", "1d", "5 m", "nan", "inf", "1e3"):
            done = self.run_it("true", options=("--listen", ":0", f"--linger={linger}"))
            self.assertEqual(done.returncode, USAGE, linger)
            self.assertTrue(done.stderr)
        self.assertEqual(self.run_it("true", options=("--no-http", "--linger", "5")).returncode, USAGE)


class ObservableTest(Case):
    def one_line(self, done):
        lines = done.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def test_static(self):
        done = self.run_it(self.static)
        self.assertEqual(done.returncode, 7)
        self.assertEqual(self.one_line(done), f"loopscope: cannot see inside {self.static}: it is statically linked, so no "
                         "library can be preloaded; it runs unobserved")

    def test_script_of_a_static_interpreter(self):
        for first in (f"#!{self.static}", f"#! {self.static} -x", "#!/usr/bin/env static", "#!/usr/bin/env -S A=b static -x"):
            script = executable(os.path.join(self.directory, "script"), first + "\n")
            self.environment["PATH"] = f"{self.place}:{os.environ['PATH']}"
            done = self.run_it(script)
            self.assertEqual(done.returncode, 7)
            self.assertIn(f"its interpreter {self.static} is statically linked", self.one_line(done))

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be somebody else")
    def test_setuid(self):
        with tempfile.TemporaryDirectory(prefix="run-nobody-", dir="/tmp") as place:
            os.chmod(place, 0o755)
            recordings = os.path.join(place, "recordings")
            os.mkdir(recordings, 0o700)
            nobody = 65534
            os.chown(recordings, nobody, nobody)
            self.environment["LOOPSCOPE_DIR"] = recordings
            command = shutil.copy(BIN, os.path.join(place, "loopscope"))
            probe = shutil.copy(self.probe, place)
            if os.statvfs(self.place).f_flag & os.ST_NOSUID:
                self.skipTest(f"{self.place} is on a file system mounted nosuid")
            # Its owner is root: to root it is a program like any other.
            program = shutil.copy(shutil.which("id"), os.path.join(place, "id"))
            os.chmod(program, 0o755 | stat.S_ISUID)
            for user, group, seen in ((0, 0, True), (nobody, nobody, False)):
                os.chown(recordings, user, group)
                done = subprocess.run([command, "run", "--no-http", "--probe", probe, "--", program, "-u"], env=self.environment,
                                      user=user, group=group, extra_groups=[], capture_output=True, timeout=DEADLINE, check=False)
                self.assertEqual((done.returncode, done.stdout), (0, b"0\n"), done.stderr)
                self.assertEqual("is setuid, and the loader ignores LD_PRELOAD" in done.stderr.decode(), not seen, done.stderr)

    def test_address_sanitizer_of_gcc(self):
        try:
            program = compile_c(self.directory, "asan", '#include <stdlib.h>\n#include <stdio.h>\n'
                                'int main(void) { puts(getenv("LD_PRELOAD")); return 4; }\n', "-fsanitize=address")
        except subprocess.CalledProcessError:
            self.skipTest("no libasan here")
        if b"libasan" not in subprocess.run(["ldd", program], capture_output=True, check=True).stdout:
            self.skipTest("cc is not gcc: its AddressSanitizer is inside the program")
        control = self.bare(program, env={**self.environment, "LD_PRELOAD": self.probe})
        self.assertIn(b"ASan runtime does not come first", control.stderr)
        done = self.run_it(program)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertRegex(done.stdout.decode(), rf"^libasan\.so\.\d+:{re.escape(self.probe)}\n$")

    def test_without_the_probe(self):
        done = self.run_it("sh", "-c", "echo ${LD_PRELOAD-none} ${LOOPSCOPE_PROBE-none}; exit 6",
                           options=("--no-http", "--probe", "/no/such/probe.so"))
        self.assertEqual((done.returncode, done.stdout), (6, b"none none\n"))
        self.assertIn("the probe /no/such/probe.so cannot be read: No such file", self.one_line(done))

    def test_probe_that_cannot_be_named(self):
        probe = shutil.copy(self.probe, os.path.join(self.directory, "a b.so"))
        done = self.run_it("true", options=("--no-http", "--probe", probe))
        self.assertEqual(done.returncode, 0)
        self.assertIn("LD_PRELOAD cannot name", self.one_line(done))

    def test_directory_that_cannot_be_used(self):
        os.chmod(self.directory, 0o755)
        done = self.run_it(self.static)
        self.assertIn("statically linked", self.one_line(done))
        marker = os.path.join(self.place, "started")
        done = self.run_it("touch", marker, options=("--no-http", "--dir", self.directory))
        self.assertEqual(done.returncode, COULD_NOT)
        self.assertIn("closed to others (chmod 700)", self.one_line(done))
        self.assertFalse(os.path.exists(marker))
        self.assertIn("closed to others (chmod 700)", self.one_line(self.run_it("true")))

    @unittest.skipIf(os.environ.get("LOOPSCOPE_PROBE_FILE"), "with the probe there is a recording")
    def test_no_recording_is_said_after_a_second(self):
        process = self.start("sleep", "30")
        began = time.monotonic()
        self.assertIn(b"nothing is seen of sleep: ", process.stderr.readline())
        self.assertGreater(time.monotonic() - began, 0.8)
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
        self.assertEqual(process.stderr.read(), b"", "once")


class SummaryTest(Case):
    def hello(self, *options):
        """The standard error of a run of HELLO that ended with SIGTERM, and the run's pid."""
        process = self.start(HELLO, options=("--no-http", *options))
        child = self.child_of(process)
        self.wait_for_loop()
        process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE)
        self.assertIn(status, (0, 128 + signal.SIGTERM))
        return process.stderr.read().decode(), child, status

    def test_text(self):
        text, child, status = self.hello()
        lines = text.splitlines()
        how = "was killed by SIGTERM" if status else "exited with status 0"
        self.assertRegex(lines[0], rf"^loopscope: {re.escape(HELLO)} \(pid {child}\) {how} after \d")
        self.assertRegex(lines[1], "^ +turns +utilization +busy p99 +max +poll delay p99 +max +timer lag p99 +max +ready a turn$")
        row = re.match(r'^  loop "hello" \(epoll \d+\) +(\d+) +[\d.]+ %', lines[2])
        self.assertTrue(row, lines)
        self.assertGreaterEqual(int(row[1]), 1)
        self.assertNotIn("\x1b", text)

    def test_json(self):
        text, child, status = self.hello("--summary", "json")
        document = json.loads(text)
        self.assertEqual((document["schema"], document["pid"], document["argv"]), ("loopscope.run/1", child, [HELLO]))
        self.assertEqual((document["state"], document["exit_status"], document["signal"]),
                         ("killed", None, "SIGTERM") if status else ("exited", 0, None))
        (process,) = document["processes"]
        self.assertEqual(process["pid"], child)
        loop = process["loops"][0]
        self.assertEqual(loop["name"], "hello")
        report = subprocess.run([BIN, "report", process["recording"], "--format", "json"], capture_output=True, check=True)
        recorded = json.loads(report.stdout)["processes"][0]["loops"][0]
        for key in ("iterations", "ready_events", "epoll_fd", "busy_seconds"):
            self.assertEqual(loop[key], recorded[key], key)
        for key in ("busy_turn_seconds", "poll_delay_seconds", "timer_lag_seconds"):
            for part in ("count", "max"):
                self.assertEqual(loop[key][part], recorded[key][part], key)

    def test_none_and_file(self):
        self.assertEqual(self.hello("--summary", "none")[0], "")
        path = os.path.join(self.directory, "summary")
        with open(path, "w", encoding="utf-8") as file:
            file.write("old" * 10000)
        self.assertEqual(self.hello("-o", path)[0], "")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn('loop "hello"', text)
        self.assertNotIn("old", text)
        self.run_it("true", options=("--no-http", "--summary", "json", "-o", path))
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file)["exit_status"], 0)

    def test_standard_output_if_asked_for(self):
        done = self.run_it("echo", "first", options=("--no-http", "--summary", "json", "-o", "-"))
        first, second = done.stdout.splitlines()
        self.assertEqual(first, b"first")
        self.assertEqual(json.loads(second)["exit_status"], 0)

    def test_full_disk_changes_no_status(self):
        done = self.run_it("sh", "-c", "exit 9", options=("--no-http", "-o", "/dev/full"))
        self.assertEqual(done.returncode, 9)
        self.assertIn(b"cannot write /dev/full: No space left on device", done.stderr)

    def test_whoever_lives_on(self):
        process = self.start("sh", "-c", f"{HELLO} >/dev/null 2>&1 </dev/null & sleep 1", options=("--no-http",))
        self.assertEqual(process.wait(DEADLINE), 0)
        text = process.stderr.read().decode()
        self.assertRegex(text, r"hello_c \(pid \d+\) still runs\n")
        self.assertIn("1 descendant runs on; `loopscope serve` goes on showing it\n", text)


@unittest.skipUnless("LOOPSCOPE_PROBE_FILE" in os.environ, "the stand-in records HELLO only")
class LeavingsTest(Case):
    """What runs leave in the directory of the recordings."""
    KEPT = 32
    BURST = "for i in $(seq 60); do /bin/true; done"

    def recordings(self):
        return {name for name in os.listdir(self.directory) if name.endswith(".loopscope")}

    def report(self, name):
        done = self.bare(BIN, "report", os.path.join(self.directory, name), "--format", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["processes"][0]

    def test_of_two_bursts_the_newest_are_left(self):
        for _ in range(2):
            process = self.start("sh", "-c", "echo $$; " + self.BURST)
            program = int(process.stdout.readline())
            self.assertEqual(process.wait(DEADLINE), 0, process.stderr.read())
            left = self.recordings()
            self.assertEqual(len(left), self.KEPT)
            self.assertEqual({name for name in left if not name.endswith(f"-{process.pid}.loopscope")}, set(), "this run's are the newest")
            # PROGRAM began first, and its recording with it; it has ended last.
            (own,) = (name for name in left if name.startswith(f"{program}-"))
            self.assertEqual(self.report(own)["state"], "exited")

    def test_of_a_run_that_outlived_others(self):
        """Its recording is older than those of the others, and it has ended last."""
        process = self.start("sh", "-c", "echo $$; read line", stdin=subprocess.PIPE)
        self.addCleanup(process.stdin.close)
        program = int(process.stdout.readline())
        self.run_it("sh", "-c", self.BURST)
        (own,) = (name for name in self.recordings() if name.startswith(f"{program}-"))
        process.stdin.write(b"go\n")
        process.stdin.flush()
        process.wait(DEADLINE)
        self.assertEqual(len(self.recordings()), self.KEPT)
        self.assertEqual(self.report(own)["state"], "exited")
        self.run_it("true")
        self.assertEqual(len(self.recordings()), self.KEPT)
        self.assertIn(own, self.recordings(), "the last but one")

    def test_of_a_run_that_was_killed(self):
        process = self.start("sh", "-c", "echo ready; read line; " + self.BURST, stdin=subprocess.PIPE)
        self.addCleanup(process.stdin.close)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.kill()
        process.wait()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.read(), b"")  # until all of them have ended
        eventually("they are left", lambda: len(self.recordings()) > 60)
        done = self.run_it("sh", "-c", "echo $$")
        left = self.recordings()
        self.assertEqual(len(left), self.KEPT)
        (own,) = (name for name in left if name.startswith(f"{int(done.stdout)}-"))
        self.assertEqual(self.report(own)["state"], "exited")


if __name__ == "__main__":
    unittest.main()
