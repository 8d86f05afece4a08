# SPDX-License-Identifier: Apache-2.0
"""System calls of a process made to fail, by strace: which there are, and one run with one of them failing.

Which calls a command makes is asked of a bare strace each time: a call that is new tomorrow is tried tomorrow. What the loader and
the libraries do before main() is not the command's (there the loader says what failed, and ends with 127): the calls up to where
all commands part are left out."""
import concurrent.futures
import glob
import os
import random
import re
import signal
import subprocess
import tempfile
import time

LOOPSCOPE = os.environ.get("LOOPSCOPE_BIN", "")
OBSERVED = os.environ.get("OBSERVED", "")
SLOW = os.environ.get("SLOW") == "1"
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
DEADLINE = int(os.environ.get("DEADLINE", 120))
MARK = f"LOOPSCOPE_FAULTS_TEST={os.getpid()}"
AT_ONCE = 3
# What strace does to its tracees when it is attached shows as these; they are not theirs.
NOT_OURS = {"restart_syscall"}

ERRORS = ("EINTR", "ENOMEM", "ENOSPC", "EAGAIN")
# The kernel has no way to say no, or only one: what cannot happen is not tried, as libc ends a process over it.
NEVER_FAIL = {"exit_group", "exit", "rt_sigreturn", "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "set_tid_address",
              "arch_prctl", "set_robust_list", "rseq", "restart_syscall", "execve", "rt_sigprocmask",
              # libc ends the process over these: they do not fail where it uses them
              "futex", "munmap",
              # Says no by what the break then is, not by an error: strace cannot do that. Memory that ends is in exhausted_test.py.
              "brk"}
ONLY = {"mprotect": ("ENOMEM",),
        # Of these there is nothing to be told: the descriptor is closed even so.
        "close": ("EINTR", "ENOSPC")}
MORE = {"EMFILE": {"openat", "open", "socket", "socketpair", "pipe2", "dup3", "fcntl", "signalfd4", "epoll_create1", "accept4", "accept",
                   "eventfd2", "timerfd_create", "inotify_init1"},
        "ENFILE": {"openat", "socket", "pipe2", "accept4", "accept"}}
# One for each call, where only one is tried: what is most likely of it.
LIKELY = {"write": "ENOSPC", "writev": "ENOSPC", "openat": "EMFILE", "socket": "EMFILE", "socketpair": "EMFILE", "pipe2": "EMFILE",
          "clone": "EAGAIN", "clone3": "EAGAIN", "read": "EINTR", "poll": "EINTR", "wait4": "EINTR", "waitid": "EINTR",
          "rt_sigtimedwait": "EINTR", "accept": "EMFILE", "accept4": "EMFILE", "ftruncate": "EINTR", "sendto": "EAGAIN",
          "recvfrom": "EINTR", "close": "EINTR"}


def errors_of(call, all_of_them=SLOW):
    """What this call is made to fail with."""
    if call in NEVER_FAIL:
        return ()
    possible = ONLY.get(call, ERRORS) + tuple(error for error, calls in MORE.items() if call in calls)
    if all_of_them or not possible:
        return possible
    likely = LIKELY.get(call, "ENOMEM")
    return (likely if likely in possible else possible[0],)


def environment(directory, **more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOOPSCOPE", "XDG_RUNTIME", "LD_"))}
    return {**kept, "LOOPSCOPE_DIR": directory, "LC_ALL": "C", **dict([MARK.split("=")]), **more}


def calls_in(log):
    """The names in a file that strace wrote, in order; a call that another thread interrupted is there once."""
    with open(log, encoding="utf-8", errors="replace") as file:
        return [found.group(1) for found in (re.match(r"(?:\d+ +)?([a-z_0-9]+)\(", line) for line in file) if found]


class Done:
    """How a run ended. `status` is negative for a signal, None if it did not end in time."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __str__(self):
        return f"status {self.status}\n--- stdout\n{self.out[-1500:]}\n--- stderr\n{self.err[-3000:]}"


def run(argv, stdin=b"", **options):
    """Runs it; who holds its output at the end is waited for: an orphan shows."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options)
    try:
        out, err = process.communicate(stdin, timeout=DEADLINE)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        status = None
    return Done(status, out.decode(errors="replace"), err.decode(errors="replace"))


def traced(argv, directory, inject=None, follow=False, **options):
    """Runs argv under strace: (how it ended, the calls it made). `inject`: what -e inject= wants."""
    with tempfile.NamedTemporaryFile(dir=directory) as log:
        command = ["strace", "-o", log.name, *(["-f"] if follow else []), *(["-e", "inject=" + inject] if inject else [])]
        done = run([*command, "--", *argv], **options)
        return done, calls_in(log.name)


def common_beginning(one, other):
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return same


class Inventory:
    """The calls of a command after those of its start: how often each, and which of them is its first."""

    def __init__(self, argv, directory, **options):
        self.done, calls = traced(argv, directory, **options)
        _, version = traced([LOOPSCOPE, "--version"], directory, **options)
        start = common_beginning(calls, version)
        self.before = {call: calls[:start].count(call) for call in calls}
        self.own = {call: calls[start:].count(call) for call in calls[start:]}

    def injections(self, everything=SLOW, seed=SEED):
        """(call, error, when) for strace: the first, and with `everything` the second, one at random, the last, all."""
        chosen = random.Random(seed)
        for call, count in self.own.items():
            for error in errors_of(call, everything):
                first = self.before[call] + 1
                whens = [str(first)]
                if everything:
                    whens += [str(first + 1), str(first + chosen.randrange(count)), str(first + count - 1)]
                    # A signal each time, for ever, is not a failure: what is interrupted is tried again.
                    if error != "EINTR":
                        whens.append(f"{first}+")
                for when in dict.fromkeys(whens):
                    yield call, error, when


class Attached:
    """strace on threads of a process, for as long as the block lasts; `calls` afterwards: what it saw."""

    def __init__(self, threads, directory, inject=None):
        self.threads = threads
        self.log = tempfile.NamedTemporaryFile(dir=directory)
        argv = ["strace", "-o", self.log.name, *(["-e", "inject=" + inject] if inject else [])]
        for thread in self.threads:
            argv += ["-p", thread]
        self.strace = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def __enter__(self):
        attached, said = 0, ""
        while attached < len(self.threads):
            line = self.strace.stderr.readline()
            said += line
            if not line:
                raise AssertionError(f"strace cannot attach: {said}")
            attached += "attached" in line
        return self

    def __exit__(self, *_):
        self.strace.terminate()
        self.strace.wait(DEADLINE)
        self.strace.stderr.close()
        self.calls = [call for call in calls_in(self.log.name) if call not in NOT_OURS]
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            self.injected = file.read().count("(INJECTED)")
        self.log.close()


def each(function, cases):
    """What function(*case) returned for each case, a few at a time."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda case: function(*case), cases))


def survivors(patience=20):
    """Processes of this test that are still there, and not zombies, after some patience."""
    until = time.monotonic() + patience
    while True:
        left = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as file:
                    if MARK.encode() in file.read().split(b"\0"):
                        left.append(path.split("/")[2])
            except OSError:
                pass
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)
