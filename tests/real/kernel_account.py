# SPDX-License-Identifier: Apache-2.0
"""The kernel's own account of a run: a program under strace, its log read into numbers that loopscope's must equal.

    trace = Trace(["redis-server", "--port", "0"], log="/tmp/x/trace", environment={"LD_PRELOAD": ".../probe.so"})
    ...                              drive a load; trace.first_pid() is the program's process, trace.popen is strace's
    trace.wait(10)                   until every traced process has ended (stop them yourself, with a signal)
    account = read_log("/tmp/x/trace", recordings="/tmp/x/recordings")

    account.images                   [Image]: one for each program that a process was; a recording belongs to one of them
    account.anomalies                [str]: what the model of descriptor tables could not explain. Assert that it is empty

    image.pid .number .parent        number 0: as forked (or started); + 1 with each execve
    image.path .argv                 what was executed; those of the parent in a forked child
    image.recording                  name of the recording that the probe opened in it, None: not observed
    image.threads                    {tid} that ever ran in it
    image.end                        "exited with 0", "killed by SIGKILL", "execve", "" if the log ends before
    image.loops                      {(tid, epoll fd, instance): Waits}; instance 0, 1 ... counts the epoll descriptors that
                                     had this number in this image. epoll_wait, epoll_pwait and epoll_pwait2
    image.turns                      the same, where a poll/ppoll on nothing but that epoll descriptor and the
                                     epoll_wait(timeout 0) that the thread calls right after it are one wait (EventMachine)
    image.polls                      {(tid, "poll"|"ppoll"|"select"|"pselect6", descriptors): Waits}, descriptors: (fd, ...)
    image.opened .closed             descriptors born, descriptors that died, while the program proper ran (see below)
    image.opened_by_call .closed_by_call       {"accept4": 3, ...}, {"close": 3, "close_range": 1, "dup2": 1}
    image.opened_by_kind .closed_by_kind       {"tcp": 3, ...}; kinds as loopscope names them. A descriptor that was open when
                                     the program proper began is "other", and so are its duplicates: a preload sees no birth
                                     that tells, and asks the kernel nothing. It is known for an epoll one that is waited on
    image.closed_by_exec             close-on-exec descriptors that the execve which ended this image closed (not in closed)
    image.accepts                    accept/accept4 that succeeded
    image.bad_closes                 close of a number that was not open (EBADF)
    image.inherited                  {fd: Descriptor} open when the program proper began
    image.open                       {fd: Descriptor} open at the image's end, just before the kernel closed them
    image.inside                     {what: (opened, closed)}: born by libc itself or by ld.so, see INSIDE; not in opened/closed
    image.before                     (opened, closed) before the program proper
    image.own                        births of descriptors for the recording (opened and closed by the probe)
    image.paths                      {path: times} of the files that count as opened

    Waits: .returns .ready .timeouts .interrupted .errors .nonblocking .saturated .blocking, .as_dict(). A wait counts when it
    returned to its caller: not if the process ended in it, nor if a signal interrupted it and ended the process, by its default
    action or by a handler that exits. nonblocking: asked with timeout 0. saturated: as many as asked for.
    timeouts: returned 0, also when nonblocking (as the recording counts).

Where the program proper begins: in an image with a recording, where the probe has made the recording and asks, by a ppoll on
the numbers from 0 with nothing to wait for, which of them are open. In a program that was executed this comes before main; what
ld.so opened and closed earlier is invisible to a preload and is counted in `before`. In a forked child it comes with the child's
first wait or birth of a descriptor; what it closed and duplicated until then is in `before` as well. In an image without a
recording everything counts.

INSIDE lists what glibc opens by itself, past the PLT, where no preload sees it: shared objects of dlopen, nsswitch and the
passwd database, time zones, locales, resolver, syslog's socket. Such a birth is recognised by what it opens and by being
close-on-exec, as glibc's are (but for ANY_FLAGS), and its close goes with it. A program that opens one of these files by
itself, and close-on-exec, is misjudged unless read_log(outside=) names it;
read_log(inside=) adds what libc opens for this program: a directory by scandir, say.

Cost: strace with a seccomp filter stops the program at the traced calls only. Reading takes 1 s for 100 000 lines.
"""

import collections
import copy
import os
import re
import signal
import subprocess
import time

# How the program is watched: everything that makes a descriptor or ends one, and everything that waits.
CALLS = (
    "?open,openat,openat2,?creat,open_by_handle_at,socket,socketpair,accept,accept4,?pipe,pipe2,dup,?dup2,dup3,fcntl,ioctl,"
    "?eventfd,eventfd2,?epoll_create,epoll_create1,timerfd_create,?signalfd,signalfd4,?inotify_init,inotify_init1,"
    "fanotify_init,memfd_create,memfd_secret,pidfd_open,pidfd_getfd,userfaultfd,perf_event_open,io_uring_setup,bpf,"
    "open_tree,fsopen,fspick,fsmount,recvmsg,recvmmsg,close,close_range,connect,clone,clone3,?fork,?vfork,unshare,execve,"
    "execveat,?epoll_wait,epoll_pwait,epoll_pwait2,?poll,ppoll,?select,pselect6,restart_syscall,rt_sigaction,rt_sigreturn"
)

EPOLL_WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
POLL_WAITS = ("poll", "ppoll", "select", "pselect6")

INSIDE = (
    ("shared objects", r".*\.so(\.[0-9]+)*$|/etc/ld\.so\..*"),
    ("name service", r"/etc/(nsswitch\.conf|passwd|group|shadow|gshadow|services|protocols|networks|ethers|netgroup)$"),
    ("name service", r"(/var)?/run/nscd/.*|(/var)?/run/systemd/userdb/.*|/etc/machine-id$"),
    ("resolver", r"/etc/(hosts|resolv\.conf|host\.conf|gai\.conf)$"),
    ("time zone", r"/etc/localtime$|/usr/share/zoneinfo/.*"),
    ("locale", r"/usr/lib/locale/.*|/usr/share/locale/.*|.*/gconv/.*"),
    ("sysconf", r"/sys/devices/system/cpu(/online|/possible)?$|/proc/stat$|/proc/meminfo$|/proc/sys/kernel/ngroups_max$"),
    ("thread names", r"/proc/self/task/\d+/comm$"),  # pthread_setname_np
    ("interfaces", r"netlink:route$"),
    ("syslog", r"unix:/dev/log$"),
)

# All but these are opened close-on-exec: by that, a program's own reading of such a file is told from glibc's.
ANY_FLAGS = ("locale", "thread names")

_LINE = re.compile(r"^(\d+) +(.*)$")
_COMPLETE = re.compile(r"^(\w+)\((.*)\) += (-?\d+|\?|0x[0-9a-f]+)(?: (.*))?$", re.DOTALL)
_UNFINISHED = re.compile(r"^(\w+)\((.*?)(?: *<unfinished \.\.\.>)$", re.DOTALL)
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_SUPERSEDED = re.compile(r"^\+\+\+ superseded by execve in pid (\d+) \+\+\+$")
_ENDED = re.compile(r"^\+\+\+ (exited with -?\d+|killed by \w+)(?: \(core dumped\))? \+\+\+$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Trace:
    """A program under strace. Ends with the last of the processes that it traces."""

    def __init__(self, command, log, environment=None, without=(), cwd=None, stdin=subprocess.DEVNULL, stdout=None, stderr=None,
                 summary=False):
        """environment is added to the program's (strace itself does not get it), the names in `without` are taken away.
        summary: strace's own table of calls and errors at the end of the log (its -C); read_summary() reads it."""
        self.log = log
        options = ["-C"] if summary else []
        for name, value in (environment or {}).items():
            options += ["-E", f"{name}={value}"]
        for name in without:
            options += ["-E", name]
        self.popen = subprocess.Popen(  # pylint: disable=consider-using-with
            ["strace", "-f", "-q", "--seccomp-bpf", "-s", "256", "-e", "raw=epoll_wait,epoll_pwait",
             "-e", "trace=" + CALLS, "-o", log, *options, "--", *command],
            cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr)

    def first_pid(self, deadline=40):
        """The process that was started: its first line is that of execve."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            try:
                with open(self.log, encoding="utf-8", errors="replace") as lines:
                    match = _LINE.match(lines.readline())
                if match:
                    return int(match.group(1))
            except FileNotFoundError:
                pass
            if self.popen.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"strace did not start {self.popen.args}: status {self.popen.poll()}")

    def wait(self, deadline=40):
        """The first process' status as a shell has it, once no traced process is left."""
        try:
            return self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            left = ", ".join(str(pid) for pid in self.living())
            raise AssertionError(f"still running {deadline} s later, of {self.popen.args}: {left}") from None

    def living(self):
        """Traced processes that have not ended, according to the log."""
        alive, threads = [], set()
        try:
            with open(self.log, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    match = _LINE.match(line)
                    if match and _ENDED.match(match.group(2).rstrip("\n")):
                        threads.discard(int(match.group(1)))
                    elif match:
                        threads.add(int(match.group(1)))
        except FileNotFoundError:
            pass
        for thread in threads:  # that of a thread is no process' entry: only its leader has one of its own
            try:
                with open(f"/proc/{thread}/status", encoding="ascii", errors="replace") as status:
                    text = status.read()
            except OSError:
                continue
            tracer = re.search(r"^TracerPid:\t(\d+)$", text, re.MULTILINE)
            if f"\nTgid:\t{thread}\n" in text and tracer and int(tracer.group(1)) == self.popen.pid:
                alive.append(thread)
        return alive

    def kill(self):
        """Whatever is left of it, at a test's end. Only processes that this strace traces."""
        for _ in range(20):
            if self.popen.poll() is not None:
                return
            for pid in self.living():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                self.popen.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
        self.popen.kill()
        self.popen.wait()


class Waits:
    """What the waits of one kind in one place returned."""

    FIELDS = ("returns", "ready", "timeouts", "interrupted", "errors", "nonblocking", "saturated")

    def __init__(self):
        self.returns = self.ready = self.timeouts = self.interrupted = self.errors = self.nonblocking = self.saturated = 0

    @property
    def blocking(self):
        return self.returns - self.nonblocking

    def as_dict(self):
        return {name: getattr(self, name) for name in self.FIELDS}

    def count(self, result, error, nonblocking, most=None, times=1):
        self.returns += times
        self.nonblocking += times * nonblocking
        if error == "EINTR":
            self.interrupted += times
        elif result < 0:
            self.errors += times
        elif result == 0:
            self.timeouts += times
        else:
            self.ready += times * result
            self.saturated += times * (result == most)

    def take_back(self, result, error, nonblocking, most=None):
        self.count(result, error, nonblocking, most, -1)

    def __repr__(self):
        return " ".join(f"{name}={value}" for name, value in self.as_dict().items())


class Descriptor:
    """One open descriptor. origin: "program", "start" (inherited), "inside", "own", "before"."""

    def __init__(self, kind, cloexec, target, call, origin, instance):
        self.kind, self.cloexec, self.target, self.call, self.origin = kind, cloexec, target, call, origin
        self.counts_as = kind  # in the numbers by kind
        self.instance = instance  # which epoll descriptor of this number it is
        self.why = ""  # of INSIDE

    def __repr__(self):
        return f"{self.kind}{'!' if self.cloexec else ''} {self.target} by {self.call} ({self.origin})"


class Image:
    """A program that a process was, from execve or fork to execve or its end. See the top of the file."""

    def __init__(self, pid, number, parent, path, argv):
        self.pid, self.number, self.parent, self.path, self.argv = pid, number, parent, path, argv
        self.recording = None
        self.threads = set()
        self.end = ""
        self.loops = collections.defaultdict(Waits)
        self.turns = collections.defaultdict(Waits)
        self.polls = collections.defaultdict(Waits)
        self.opened_by_call = collections.Counter()
        self.closed_by_call = collections.Counter()
        self.opened_by_kind = collections.Counter()
        self.closed_by_kind = collections.Counter()
        self.paths = collections.Counter()
        self.closed_by_exec = 0
        self.bad_closes = 0
        self.inherited = {}
        self.open = {}
        self.inside = collections.defaultdict(lambda: [0, 0])
        self.before = [0, 0]
        self.own = 0
        self.started = False
        self.epolls = collections.Counter()  # fd: how many epoll descriptors had this number

    @property
    def opened(self):
        return sum(self.opened_by_call.values())

    @property
    def closed(self):
        return sum(self.closed_by_call.values())

    @property
    def accepts(self):
        return self.opened_by_call["accept"] + self.opened_by_call["accept4"]

    def __repr__(self):
        loops = "".join(f"\n    thread {tid} epoll {fd}#{instance}: {waits}" for (tid, fd, instance), waits in self.loops.items())
        polls = "".join(f"\n    thread {tid} {call} on {fds}: {waits}" for (tid, call, fds), waits in self.polls.items())
        return (f"process {self.pid}.{self.number} {self.path} ({self.end}), recording {self.recording}\n"
                f"    opened {self.opened} {dict(self.opened_by_call)}\n    closed {self.closed} {dict(self.closed_by_call)}, "
                f"by execve {self.closed_by_exec}\n    before {self.before}, own {self.own}, inside {dict(self.inside)}\n"
                f"    paths {dict(self.paths)}\n    open {self.open}{loops}{polls}")


class Account:
    def __init__(self):
        self.images = []
        self.anomalies = []

    def of_pid(self, pid):
        return [image for image in self.images if image.pid == pid]

    def observed(self):
        return [image for image in self.images if image.recording]


def _split(text):
    """Arguments: split at the commas that are outside of brackets and quotes."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        letter = text[position]
        if letter == '"':
            match = _QUOTED.match(text, position)
            position = match.end() if match else len(text)
            continue
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
        position += 1
    if text.strip():
        parts.append(text[start:].strip())
    return parts


def _number(text):
    return int(text, 0)


def _first_quoted(text):
    match = _QUOTED.search(text)
    return match.group(1) if match else ""


def _socket_kind(arguments):
    family, style = arguments[0], arguments[1]
    if family in ("AF_INET", "AF_INET6"):
        if "SOCK_STREAM" in style:
            return "tcp"
        return "udp" if "SOCK_DGRAM" in style else "socket"
    return {"AF_UNIX": "unix", "AF_NETLINK": "netlink"}.get(family, "socket")


def _path_kind(path, text):
    if path.startswith("/dev/pts/") or path.startswith("/dev/tty"):
        return "tty"
    if path.startswith("/dev/") and not path.startswith("/dev/shm/"):
        return "device"
    return "directory" if "O_DIRECTORY" in text else "file"


SIMPLE = {  # call: kind of the descriptor that it returns
    "eventfd": "eventfd", "eventfd2": "eventfd", "epoll_create": "epoll", "epoll_create1": "epoll", "timerfd_create": "timerfd",
    "inotify_init": "inotify", "inotify_init1": "inotify", "fanotify_init": "fanotify", "memfd_create": "memfd",
    "memfd_secret": "memfd", "pidfd_open": "pidfd", "pidfd_getfd": "other", "userfaultfd": "other", "perf_event_open": "other",
    "io_uring_setup": "io_uring", "open_tree": "other", "fsopen": "other", "fspick": "other", "fsmount": "other",
    "open_by_handle_at": "file",
}
ALWAYS_CLOEXEC = ("pidfd_open", "pidfd_getfd", "io_uring_setup")
BPF_DESCRIPTORS = ("BPF_MAP_CREATE", "BPF_PROG_LOAD", "BPF_OBJ_GET", "BPF_PROG_GET_FD_BY_ID", "BPF_MAP_GET_FD_BY_ID",
                   "BPF_RAW_TRACEPOINT_OPEN", "BPF_BTF_LOAD", "BPF_BTF_GET_FD_BY_ID", "BPF_LINK_CREATE", "BPF_ITER_CREATE")


class _Table:
    """A descriptor table: of one process, or of several tasks that share it (CLONE_FILES)."""

    def __init__(self, entries):
        self.entries = entries


class _Task:
    """A thread."""

    def __init__(self, tid, process, table):
        self.tid, self.process, self.table = tid, process, table
        self.unfinished = None  # (call, text of the arguments so far)
        self.closing = None  # number that a close under way in this thread has yet to take away
        self.interrupted = None  # (call, arguments) of a wait that a signal ended and that may be restarted
        self.last_wait = ()  # where this thread's last call is counted, if it was a wait: (Waits, arguments of count)
        self.in_handler = ()  # the same, if a signal came on its return and no sigreturn since
        self.poll_on_epoll = None  # (epoll fd, result, error, nonblocking) of the poll that came right before


class _Process:
    def __init__(self, pid, image):
        self.pid, self.image = pid, image
        self.tasks = set()
        self.signals = {}  # name: "handled", "ignored"; the rest have their default

    def disposition(self, name):
        return self.signals.get(name, "ignored" if name in ("SIGCHLD", "SIGURG", "SIGWINCH", "SIGCONT") else "default")


class _Reader:
    def __init__(self, recordings, inside, outside):
        self.outside = [re.compile(pattern) for pattern in outside]
        self.account = Account()
        self.recordings = os.path.normpath(recordings) + "/" if recordings else None
        self.inside = [(why, re.compile(pattern), True) for why, pattern in inside]
        self.inside += [(why, re.compile(pattern), why in ANY_FLAGS) for why, pattern in INSIDE]
        self.tasks = {}
        self.clones = collections.defaultdict(collections.deque)  # child: (parent tid, flags), in the order of the log
        self.last_tid = None

    # Lines

    def read(self, lines):
        lines = list(lines)
        self.find_clones(lines)
        for number, line in enumerate(lines, 1):
            match = _LINE.match(line.rstrip("\n"))
            if not match:
                self.anomaly(f"line {number} is not strace's: {line!r}")
                continue
            try:
                self.line(int(match.group(1)), match.group(2))
            except (ValueError, IndexError, KeyError) as error:
                raise AssertionError(f"line {number} of the log, {line!r}: {error!r}") from error
        for task in set(self.tasks.values()):
            self.keep_open(task)
        for image in self.account.images:
            if image.recording and not image.started:
                self.anomaly(f"{image.pid} has a recording, and nothing shows where the program proper began")
        return self.account

    def anomaly(self, text):
        self.account.anomalies.append(text)

    def find_clones(self, lines):
        """A child may have lines before its parent's clone has its result: who is whose child is found out first."""
        entered = {}
        for line in lines:
            match = _LINE.match(line.rstrip("\n"))
            if not match or ("clone" not in line and "fork" not in line):
                continue
            tid, text = int(match.group(1)), match.group(2)
            unfinished = _UNFINISHED.match(text)
            if unfinished:
                entered[tid] = unfinished.group(1) + "(" + unfinished.group(2)
                continue
            resumed = _RESUMED.match(text)
            if resumed:
                text = entered.pop(tid, resumed.group(1) + "(") + resumed.group(2)
            complete = _COMPLETE.match(text)
            if complete and complete.group(1) in ("clone", "clone3", "fork", "vfork") and complete.group(3).isdigit():
                self.clones[int(complete.group(3))].append((tid, complete.group(1) + " " + complete.group(2)))

    def line(self, tid, text):
        task = self.tasks.get(tid)
        if task is None:
            if text.startswith("+++"):
                return  # the end of a thread that made no traced call
            task = self.birth_of_task(tid)
        if text.startswith("---"):
            name = re.match(r"--- (SIG\w+)", text)
            if task.last_wait and name and task.process.disposition(name.group(1)) != "ignored":
                # Only where the wait ended because of the signal. One that returned events may have been handled for a while
                # before the signal came: the log does not tell, so a test settles before it ends a program by a handler.
                task.in_handler = tuple(where for where in task.last_wait if where[1][1] == "EINTR")
            return
        ended = _ENDED.match(text)
        if ended:
            if task.in_handler:
                # The wait's return met a signal, and the handler (or the signal itself) ended the process: for the kernel
                # the call is done, to its caller it never returned.
                for waits, counted in task.in_handler:
                    waits.take_back(*counted)
            self.end_of_task(task, ended.group(1))
            return
        superseded = _SUPERSEDED.match(text)
        if superseded:
            # The thread that calls execve becomes the process: it goes on under the leader's number.
            caller = self.tasks.pop(int(superseded.group(1)), None)
            if caller:
                task.process.tasks.discard(task)
                caller.tid = tid
                self.tasks[tid] = caller
            return
        unfinished = _UNFINISHED.match(text)
        if unfinished:
            task.unfinished = (unfinished.group(1), unfinished.group(2))
            self.entry(task, *task.unfinished)
            return
        resumed = _RESUMED.match(text)
        if resumed:
            begun, task.unfinished = task.unfinished, None
            if begun is None or begun[0] != resumed.group(1):
                self.anomaly(f"{tid} resumes {resumed.group(1)} that it did not begin: {text}")
                return
            if "<unfinished ...>" in resumed.group(2):
                return  # it ended in this call
            text = f"{begun[0]}({begun[1]}{resumed.group(2)}"
        else:
            task.closing = None
        complete = _COMPLETE.match(text)
        if not complete:
            self.anomaly(f"{tid}: not understood: {text}")
            return
        call, arguments, result, rest = complete.groups()
        if not resumed:
            self.entry(task, call, arguments)
        error = ""
        if rest and rest.startswith("E"):
            error = rest.split(" ", 1)[0]
        self.completed(task, call, arguments, result, error)
        task.closing = None

    # Tasks

    def birth_of_task(self, tid):
        records = self.clones.get(tid)
        if not records:
            if self.account.images:
                self.anomaly(f"{tid} is nobody's child")
            start = {fd: Descriptor("file", False, "", "inherited", "start", 0) for fd in (0, 1, 2)}
            return self.new_process(tid, None, _Table(start), "", "")
        parent_tid, flags = records.popleft()
        parent = self.tasks[parent_tid]
        shared = "CLONE_FILES" in flags
        table = parent.table if shared else _Table(copy.deepcopy(parent.table.entries))
        if "CLONE_THREAD" not in flags:
            image = parent.process.image
            return self.new_process(tid, image, table, image.path, image.argv, parent_tid)
        task = _Task(tid, parent.process, table)
        self.tasks[tid] = task
        parent.process.tasks.add(task)
        parent.process.image.threads.add(tid)
        return task

    def new_process(self, pid, parent, table, path, argv, parent_tid=None):
        image = Image(pid, 0, parent, path, argv)
        if self.recordings is None:
            image.started = True
        image.inherited = dict(table.entries)
        image.epolls = collections.Counter(fd for fd, entry in table.entries.items() if entry.kind == "epoll")
        for entry in table.entries.values():
            if entry.kind == "epoll":
                entry.instance = 0
        self.account.images.append(image)
        process = _Process(pid, image)
        if parent:
            process.signals = dict(self.tasks[parent_tid].process.signals)
        task = _Task(pid, process, table)
        process.tasks.add(task)
        image.threads.add(pid)
        self.tasks[pid] = task
        return task

    def keep_open(self, task):
        task.process.image.open = dict(task.table.entries)

    def end_of_task(self, task, how):
        self.keep_open(task)
        task.process.tasks.discard(task)
        if not task.process.tasks or task.tid == task.process.pid:
            task.process.image.end = how
        del self.tasks[task.tid]

    # Calls

    def entry(self, task, call, arguments):
        """What takes effect between entry and return, maybe before another thread's call that the log shows earlier."""
        task.closing, task.last_wait = None, ()
        if call == "close":
            number = _split(arguments.rstrip(") "))[0:1]
            if number and number[0].isdigit():
                task.closing = int(number[0])
        if call in EPOLL_WAITS or call in POLL_WAITS or call == "rt_sigreturn":
            task.in_handler = ()
        if task.interrupted and call != "rt_sigreturn":
            begun, task.interrupted = task.interrupted, None
            if call == "restart_syscall":
                task.interrupted = begun  # and its result is the wait's
            elif (call, arguments) != begun[:2]:
                self.wait_returned(task, begun[0], begun[1], -1, "EINTR")

    def completed(self, task, call, arguments, result, error):
        value = None if result == "?" else int(result, 0)
        if call in EPOLL_WAITS or call in POLL_WAITS:
            if error.startswith("ERESTART"):
                task.interrupted = (call, arguments)
            elif value is not None:
                self.wait_returned(task, call, arguments, value, error)
            return
        if call == "restart_syscall":
            begun, task.interrupted = task.interrupted, None
            if begun and error.startswith("ERESTART"):
                task.interrupted = begun
            elif begun and value is not None:
                self.wait_returned(task, *begun, value, error)
            return
        if call == "rt_sigreturn":
            # A handler ran, so the interrupted call does not start again unless SA_RESTART said so: then its result
            # is not EINTR here but a repeated call, which entry() recognises.
            if task.interrupted and error == "EINTR":
                begun, task.interrupted = task.interrupted, None
                self.wait_returned(task, *begun, -1, "EINTR")
            return
        task.poll_on_epoll = None if call != "recvmsg" else task.poll_on_epoll
        if call == "connect":
            self.connected(task, int(_split(arguments)[0]), arguments)  # also if nobody listens: it says what the socket is for
            return
        if call == "close" and error == "EBADF" and task.process.image.started:
            task.process.image.bad_closes += 1
        if value is None or value < 0:
            return
        if call in ("clone", "clone3", "fork", "vfork"):
            if value not in self.tasks and self.clones.get(value):
                self.birth_of_task(value)
            match = re.search(r"pidfd=\[(\d+)\]", arguments)
            if match is None and "CLONE_PIDFD" in arguments:
                match = re.search(r"parent_tid=\[(\d+)\]", arguments)
            if match:
                self.born(task, int(match.group(1)), "pidfd", True, "", call)
        elif call in ("execve", "execveat"):
            self.executed(task, arguments)
        elif call == "rt_sigaction":
            parts = _split(arguments)
            how = re.match(r"\{sa_handler=(\w+)", parts[1])
            if how:
                task.process.signals[parts[0]] = {"SIG_IGN": "ignored", "SIG_DFL": "default"}.get(how.group(1), "handled")
                if how.group(1) == "SIG_DFL":
                    del task.process.signals[parts[0]]
        elif call == "unshare":
            if "CLONE_FILES" in arguments:
                task.table = _Table(copy.deepcopy(task.table.entries))
        else:
            self.descriptors(task, call, _split(arguments), arguments, value)

    def executed(self, task, arguments):
        process, old = task.process, task.process.image
        self.keep_open(task)
        old.end = "execve"
        for other in list(process.tasks):
            if other is not task:
                process.tasks.discard(other)
                self.tasks.pop(other.tid, None)
        entries = {fd: copy.copy(entry) for fd, entry in task.table.entries.items()}
        for fd in [fd for fd, entry in entries.items() if entry.cloexec]:
            del entries[fd]
            old.closed_by_exec += 1
        task.table = _Table(entries)
        parts = _split(arguments)
        image = Image(process.pid, old.number + 1, old.parent, _first_quoted(parts[0]), parts[1] if len(parts) > 1 else "")
        if not old.path:  # strace's own child until it becomes the program
            self.account.images.remove(old)
            image.number = 0
        for entry in entries.values():
            entry.instance = 0
        image.epolls = collections.Counter(fd for fd, entry in entries.items() if entry.kind == "epoll")
        image.inherited = dict(entries)
        image.started = self.recordings is None
        image.threads.add(task.tid)
        self.account.images.append(image)
        process.image = image
        process.signals = {name: how for name, how in process.signals.items() if how == "ignored"}

    # Waits

    def wait_returned(self, task, call, arguments, result, error):
        image, parts = task.process.image, _split(arguments)
        before, task.poll_on_epoll = task.poll_on_epoll, None
        if call in EPOLL_WAITS:
            fd, most = _number(parts[0]), _number(parts[2])
            if call == "epoll_pwait2":
                nonblocking = bool(re.fullmatch(r"\{tv_sec=0, tv_nsec=0\}.*", parts[3]))
            else:
                nonblocking = _number(parts[3]) == 0
            entry = task.table.entries.get(fd)
            key = (task.tid, fd, entry.instance if entry else 0)
            if entry:
                entry.counts_as = "epoll"
            image.loops[key].count(result, error, nonblocking, most)
            turn = (result, error, nonblocking, most)
            if before and before[0] == fd and nonblocking:
                turn = (result, error, before[1], most)
            else:
                self.poll_was_a_turn(task, before)
            image.turns[key].count(*turn)
            task.last_wait = ((image.loops[key], (result, error, nonblocking, most)), (image.turns[key], turn))
            return
        self.poll_was_a_turn(task, before)
        if call == "ppoll" and image.recording and re.fullmatch(r"\[(\{fd=\d+, events=0\}(, )?)+(\.\.\.)?\]", parts[0]):
            self.begins(image, task.table.entries)
            return
        if call in ("poll", "ppoll"):
            fds = tuple(int(number) for number in re.findall(r"fd=(-?\d+)", parts[0]))
            timeout = parts[2]
        else:
            fds = tuple(int(number) for part in parts[1:4] for number in re.findall(r"-?\d+", part))
            timeout = parts[4]
        nonblocking = timeout == "0" or bool(re.match(r"\{tv_sec=0, tv_[nu]sec=0\}", timeout))
        image.polls[(task.tid, call, fds)].count(result, error, nonblocking)
        task.last_wait = ((image.polls[(task.tid, call, fds)], (result, error, nonblocking)),)
        if call in ("poll", "ppoll") and len(fds) == 1 and fds[0] in task.table.entries \
                and task.table.entries[fds[0]].kind == "epoll":
            task.poll_on_epoll = (fds[0], nonblocking, result, error)

    def poll_was_a_turn(self, task, before):
        """A poll on an epoll descriptor that no epoll_wait followed: a turn by itself, of which nothing was taken."""
        if before:
            fd, nonblocking, result, error = before
            entry = task.table.entries.get(fd)
            if result <= 0:
                key = (task.tid, fd, entry.instance if entry else 0)
                task.process.image.turns[key].count(result, error, nonblocking)

    # Descriptors

    def begins(self, image, entries):
        """The program proper: see the top of the file."""
        if not image.started:
            image.started = True
            image.inherited = dict(entries)
            for entry in entries.values():
                entry.counts_as = "other"

    def origin_of(self, image, target, cloexec):
        if self.recordings and (target.startswith(self.recordings) or target + "/" == self.recordings):
            return "own", ""
        if not image.started:
            return "before", ""
        why = self.is_inside(target, cloexec)
        return ("inside", why) if why else ("program", "")

    def is_inside(self, target, cloexec):
        if target and not any(pattern.match(target) for pattern in self.outside):
            for why, pattern, any_flags in self.inside:
                if pattern.match(target) and (cloexec or any_flags):
                    return why
        return None

    def born(self, task, number, kind, cloexec, target, call, counts_as=None):
        entries, image = task.table.entries, task.process.image
        if number in entries:
            # Its close has happened, and strace has yet to say so: it is another thread's.
            for other in self.tasks.values():
                if other.table is task.table and other.closing == number:
                    other.closing = None
                    self.died(task.process.image if other.process is task.process else other.process.image, entries, number, "close")
                    break
            else:
                self.anomaly(f"{task.tid}: {call} gives {number}, which is open: {entries[number]}")
                del entries[number]
        origin, why = self.origin_of(image, target, cloexec)
        instance = 0
        if kind == "epoll":
            instance = image.epolls[number]
            image.epolls[number] += 1
        entry = Descriptor(kind, cloexec, target, call, origin, instance)
        entry.why = why
        entry.counts_as = counts_as or kind
        entries[number] = entry
        if origin == "own":
            image.own += 1
            if target.endswith(".loopscope") and not image.started:
                image.recording = os.path.basename(target)
        elif origin == "before":
            image.before[0] += 1
        elif origin == "inside":
            image.inside[why][0] += 1
        else:
            image.opened_by_call[call] += 1
            image.opened_by_kind[entry.counts_as] += 1
            if target:
                image.paths[target] += 1
        return entry

    def died(self, image, entries, number, call):
        entry = entries.pop(number, None)
        if entry is None:
            self.anomaly(f"{image.pid}: {call} of {number}, which is not open")
            return
        if entry.origin == "own":
            pass
        elif entry.origin == "inside":
            image.inside[entry.why][1] += 1
        elif entry.origin == "before" or not image.started:
            image.before[1] += 1
        else:
            image.closed_by_call[call] += 1
            image.closed_by_kind[entry.counts_as] += 1

    def descriptors(self, task, call, parts, text, value):  # pylint: disable=too-many-branches,too-many-statements
        entries, image = task.table.entries, task.process.image
        cloexec = "CLOEXEC" in text
        if call in ("open", "creat", "openat", "openat2"):
            path = _first_quoted(text)
            if parts[0].isdigit() and int(parts[0]) in entries and not path.startswith("/"):
                path = os.path.join(entries[int(parts[0])].target, path)
            self.born(task, value, _path_kind(path, text), cloexec, path, call)
        elif call == "socket":
            # getaddrinfo, getifaddrs and if_nametoindex ask for the interfaces so.
            libcs = parts[:3] == ["AF_NETLINK", "SOCK_RAW|SOCK_CLOEXEC", "NETLINK_ROUTE"]
            self.born(task, value, _socket_kind(parts), cloexec, "netlink:route" if libcs else "", call)
        elif call in ("accept", "accept4"):
            listener = entries.get(int(parts[0]))
            self.born(task, value, listener.kind if listener else "socket", cloexec, "", call)
        elif call in ("pipe", "pipe2", "socketpair"):
            kind = _socket_kind(parts) if call == "socketpair" else "pipe"
            for number in re.search(r"\[(\d+), (\d+)\]", text).groups():
                self.born(task, int(number), kind, cloexec, "", call)
        elif call in SIMPLE:
            self.born(task, value, SIMPLE[call], cloexec or call in ALWAYS_CLOEXEC, _first_quoted(text), call)
        elif call in ("signalfd", "signalfd4"):
            if not parts[0].isdigit():  # -1: a new one; else the mask of an old one
                self.born(task, value, "signalfd", cloexec, "", call)
        elif call in ("dup", "dup2", "dup3"):
            self.duplicated(task, int(parts[0]), value, cloexec, call)
        elif call == "fcntl":
            if parts[1] in ("F_DUPFD", "F_DUPFD_CLOEXEC"):
                self.duplicated(task, int(parts[0]), value, cloexec, call)
            elif parts[1] == "F_SETFD" and int(parts[0]) in entries:
                entries[int(parts[0])].cloexec = "FD_CLOEXEC" in parts[2] or parts[2] in ("1", "0x1")
        elif call == "ioctl":
            if parts[1] == "TIOCGPTPEER":
                self.born(task, value, "tty", cloexec, "", call)
            elif parts[1] in ("FIOCLEX", "FIONCLEX") and int(parts[0]) in entries:
                entries[int(parts[0])].cloexec = parts[1] == "FIOCLEX"
        elif call == "bpf":
            if parts[0] in BPF_DESCRIPTORS:
                self.born(task, value, "other", True, "", call)
        elif call in ("recvmsg", "recvmmsg"):
            received = re.findall(r"cmsg_type=SCM_RIGHTS, cmsg_data=\[([\d, ]*)(\.\.\.)?\]", text)
            for numbers, more in received:
                if more:
                    self.anomaly(f"{task.tid}: more descriptors in a message than strace shows")
                for number in re.findall(r"\d+", numbers):
                    self.born(task, int(number), "other", "MSG_CMSG_CLOEXEC" in text, "", call)
        elif call == "close":
            number = int(parts[0])
            if task.closing == number:  # else it is taken away already: see born()
                self.died(image, entries, number, call)
        elif call == "close_range":
            first, last = _number(parts[0]), int(parts[1].replace("~0U", "0xffffffff"), 0)
            if "CLOSE_RANGE_UNSHARE" in text:
                task.table = _Table(copy.deepcopy(entries))
                entries = task.table.entries
            for number in [number for number in sorted(entries) if first <= number <= last]:
                if "CLOSE_RANGE_CLOEXEC" in text:
                    entries[number].cloexec = True
                else:
                    self.died(image, entries, number, call)

    def duplicated(self, task, old, new, cloexec, call):
        if old == new:
            return
        entries, image = task.table.entries, task.process.image
        if call in ("dup2", "dup3") and new in entries:
            self.died(image, entries, new, call)
        source = entries.get(old)
        self.born(task, new, source.kind if source else "other", cloexec, source.target if source and source.origin == "own" else "",
                  call, source.counts_as if source else "other")

    def connected(self, task, number, text):
        """What a socket is for shows when it connects: libc's own are told by that, and taken out of the program's numbers."""
        entry = task.table.entries.get(number)
        path = re.search(r'sun_path="([^"]*)"', text)
        if entry is None or path is None or entry.origin != "program":
            return
        image, target = task.process.image, path.group(1)
        why = self.is_inside(target, entry.cloexec) or self.is_inside("unix:" + target, entry.cloexec)
        if why:
            image.opened_by_call[entry.call] -= 1
            image.opened_by_kind[entry.counts_as] -= 1
            image.inside[why][0] += 1
            entry.origin, entry.why, entry.target = "inside", why, "unix:" + target


def read_summary(path):
    """{call: (calls, errors)} of the table that Trace(summary=True) leaves; the log without it is left in `path`."""
    with open(path, encoding="utf-8", errors="replace") as file:
        log, table = file.read().split("% time ", 1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(log)
    calls = {}
    for line in table.splitlines():
        match = re.match(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(\d+)? *(\w+)$", line)
        if match and match.group(3) != "total":
            calls[match.group(3)] = (int(match.group(1)), int(match.group(2) or 0))
    return calls


def read_log(path, recordings=None, inside=(), outside=()):
    """recordings: the directory where the probe makes them; None: there was no probe, everything counts. inside: (name, regular
    expression for the path) before those of INSIDE; outside: regular expressions for paths that are never inside."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        return _Reader(recordings, inside, outside).read(lines)
