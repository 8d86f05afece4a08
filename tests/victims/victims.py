# SPDX-License-Identifier: Apache-2.0
"""The victims: small programs with one known fault each, and what `loopscope check` has to say of them.

    VICTIMS: [Victim]
    Victim.command(healthy) -> argv, without `check` and its options
    Victim.markers() -> {"LEAK": 12, "CLOSE1": 20, ...}: line numbers of its source, by the markers at their ends
    language(victim) -> "c", "cpp", "python", "node", "ruby": the folder of its source

Fields, where they are not obvious:
    arguments   of the program, both twins; the healthy one gets `healthy` as its last
    options     of `loopscope check`, both twins
    count       descriptors, or how often it happened
    kind        as in the report; None where the finding has none
    places      role -> marker of the line it must name; None instead of a marker: no line of the source can be known
    process     "main", or "child": any other process of the run
    status      how the victim ends by itself (128 + N: by signal N); the healthy twin ends with 0 in any case

Environment: VICTIMS_BIN, the directory with the compiled ones.
"""

import dataclasses
import functools
import os
import re
import shutil
from typing import Optional

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("VICTIMS_BIN", "")
PYTHON = "/usr/bin/python3"  # Debian's: another one, built by hand, may lack what names its lines

LEAKED = {"opened": "LEAK"}
COMMENT = re.compile(r"(?://|#) (LEAK|OPEN|CLOSE1|CLOSE2|USE)( [a-z_-]+)?$")


@dataclasses.dataclass(frozen=True)
class Victim:
    source: str
    rule: str = "fd-leak"
    kind: Optional[str] = "file"
    count: int = 3
    arguments: tuple = ()
    options: tuple = ()
    places: dict = dataclasses.field(default_factory=lambda: LEAKED)
    process: str = "main"
    status: int = 0

    @property
    def name(self):
        """file_sync for node/file_sync.js, kinds_epoll for kinds.c with the argument epoll."""
        stem = os.path.splitext(os.path.basename(self.source))[0]
        return re.sub(r"\W", "_", "_".join((stem,) + self.arguments))

    @property
    def path(self):
        return os.path.join(HERE, self.source)

    def command(self, healthy):
        runner = {"python": [PYTHON], "node": [shutil.which("node")], "ruby": [shutil.which("ruby")]}.get(language(self))
        if runner is None:
            program = [os.path.join(BIN, f"victim_{language(self)}_{os.path.splitext(os.path.basename(self.source))[0]}")]
        else:
            program = runner + [self.path]
        return program + list(self.arguments) + (["healthy"] if healthy else [])

    def markers(self):
        return _markers(self.path)


def language(victim):
    return os.path.dirname(victim.source)


@functools.lru_cache(maxsize=None)
def _markers(path):
    found = {}
    with open(path, encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            marker = COMMENT.search(line.rstrip())
            if marker:
                name = marker.group(1) + (marker.group(2) or "")
                if name in found:
                    raise AssertionError(f"{path}:{number}: the marker {name} is also in line {found[name]}")
                found[name] = number
    return found


def _kind(name, kind, count=3):
    """kinds.c opens three of one kind, or three pairs."""
    return Victim("c/kinds.c", kind=kind, count=count, arguments=(name,), places={"opened": f"LEAK {name}"})


VICTIMS = [
    # Every kind of descriptor.
    _kind("file", "file"),
    _kind("directory", "directory"),
    _kind("device", "device"),
    _kind("terminal", "tty"),
    _kind("terminal-pair", "tty", 6),
    _kind("tcp-listening", "tcp"),
    _kind("tcp-connected", "tcp"),
    _kind("tcp-accepted", "tcp"),
    _kind("udp", "udp"),
    _kind("unix", "unix"),
    _kind("socketpair", "unix", 6),
    _kind("netlink", "netlink"),
    _kind("pipe-end", "pipe"),
    _kind("pipe", "pipe", 6),
    _kind("eventfd", "eventfd"),
    _kind("timerfd", "timerfd"),
    _kind("signalfd", "signalfd"),
    _kind("epoll", "epoll"),
    _kind("inotify", "inotify"),
    _kind("fanotify", "fanotify"),
    _kind("memfd", "memfd"),
    _kind("pidfd", "pidfd"),
    _kind("io_uring", "io_uring"),

    # Ways to get one.
    Victim("c/dup.c", kind="device"),
    Victim("c/dup2_high.c", count=4),
    Victim("c/dupfd_cloexec.c", kind="udp", count=2),
    Victim("c/scm_rights.c"),
    Victim("c/fopen.c"),
    Victim("c/fdopen.c"),
    Victim("c/opendir.c", kind="directory", count=2),
    Victim("c/popen.c", kind="pipe", count=2),
    Victim("c/mkstemp.c"),
    Victim("c/tmpfile.c"),
    Victim("c/accept_error_path.c", kind="tcp", count=2),
    Victim("c/posix_spawn.c", kind="pipe", count=2),

    # Whose they are, and how that ends.
    Victim("c/thread.c", rule="fd-lost-by-thread"),
    Victim("c/fork_child.c", process="child"),
    Victim("c/exec_child.c", kind="unix", count=2, process="child"),
    Victim("c/daemon.c", kind="timerfd", process="child"),
    Victim("c/sigterm.c", process="child"),
    Victim("c/abort.c", kind="udp", status=128 + 6),
    Victim("c/segv.c", kind="memfd", status=128 + 11),
    Victim("c/underscore_exit.c", kind="eventfd"),
    Victim("c/quick_exit.c", kind="inotify", count=2),
    Victim("c/exec_lost.c"),
    Victim("c/inherited_by_exec.c", rule="fd-inherited-by-exec", kind="tcp", count=1, process="child"),

    # Beyond leaks.
    Victim("c/growth.c", rule="fd-growth", count=150, process="child"),
    Victim("c/close_wait.c", rule="close-wait", kind="tcp", count=2),
    Victim("c/double_close.c", rule="double-close", count=1,
           places={"closed again": "CLOSE2", "closed": "CLOSE1", "opened": "OPEN"}),
    Victim("c/fclose_close.c", rule="double-close", count=1,
           places={"closed again": "CLOSE2", "closed": "CLOSE1", "opened": "OPEN"}),
    Victim("c/close_never_opened.c", rule="close-never-opened", kind=None, count=1, options=("--strict",),
           places={"closed": "CLOSE1"}),
    Victim("c/use_after_close.c", rule="use-after-close", kind="device", count=1,
           places={"used": "USE", "closed": "CLOSE1", "opened": "OPEN"}),
    Victim("c/event_after_close.c", rule="event-after-close", kind="eventfd", count=5,
           places={"closed": "CLOSE1", "opened": "OPEN"}),

    # Budgets. The limits are far from what the twins take on a machine that is busy with other things.
    Victim("c/stall.c", rule="stall-budget", kind=None, count=1, options=("--max-stall", "250ms"),
           places={"the thread was": "USE", "the descriptor it served was opened": "OPEN"}),
    Victim("c/timer_lag.c", rule="timer-lag-budget", kind=None, count=1, options=("--max-timer-lag", "200ms"), places={}),
    Victim("c/busy_p99.c", rule="busy-p99-budget", kind=None, count=1, options=("--max-busy-p99", "10ms"), places={}),

    Victim("cpp/exception_path.cpp"),
    Victim("cpp/lost_from_container.cpp", kind="eventfd", count=1),
    Victim("cpp/ifstream_new.cpp"),
    Victim("cpp/directory_iterator.cpp", kind="directory", count=2),
    Victim("cpp/worker_threads.cpp", rule="fd-lost-by-thread", kind="eventfd"),
    Victim("cpp/shared_cycle.cpp", kind="unix", count=2),
    Victim("cpp/move_assign.cpp"),
    Victim("cpp/coroutine.cpp"),
    Victim("cpp/copied_owner.cpp", rule="double-close", kind="eventfd", count=1,
           places={"closed again": "CLOSE1", "closed": "CLOSE1", "opened": "OPEN"}),
    Victim("cpp/uncaught.cpp", kind="timerfd", status=128 + 6),

    Victim("python/os_open.py"),
    Victim("python/socket_detach.py", kind="udp"),
    Victim("python/global_list.py", kind="unix", process="child"),
    Victim("python/pipe_to_child.py", kind="pipe", count=2),
    Victim("python/mkstemp.py"),
    Victim("python/thread.py", rule="fd-lost-by-thread", kind="eventfd"),
    Victim("python/double_close.py", rule="double-close", count=1,
           places={"closed again": "CLOSE2", "closed": "CLOSE1", "opened": "OPEN"}),

    Victim("node/open_sync.js"),
    Victim("node/opendir_sync.js", kind="directory", count=2),
    Victim("node/servers.js", kind="unix"),
    Victim("node/open_async.js"),
    # Node tells lines of what opens only.
    Victim("node/double_close.js", rule="double-close", count=1,
           places={"closed again": None, "closed": None, "opened": "OPEN"}),
    Victim("node/use_after_close.js", rule="use-after-close", count=1,
           places={"used": None, "closed": None, "opened": "OPEN"}),

    Victim("ruby/sysopen.rb"),
    Victim("ruby/autoclose.rb", kind="unix"),
    Victim("ruby/exit_bang.rb", kind="udp", process="child"),
    Victim("ruby/accept_error.rb", kind="tcp", count=2),
    Victim("ruby/double_close.rb", rule="double-close", count=1,
           places={"closed again": "CLOSE2", "closed": "CLOSE1", "opened": "OPEN"}),
]
