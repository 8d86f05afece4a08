#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every system call that the probe, and the recorder in an instrumented program, make for themselves is made to fail in turn. The
program does and says the same as without them, errno after each of its calls included; what is recorded does not contradict itself; the
failure is counted in the recording; and nothing that a run without failures records is missing without being told.

    HOST=... LIBRARY_HOST=... INJECT=libinject.so RECORDINGS=... LOOPSCOPE_PROBE_FILE=... LOOPSCOPE_BIN=... \\
    PROBE_OBJECTS=a.o:b.o RECORDER_OBJECTS=a.o:b.o python3 injection_test.py probe|library

By default the first and the last call of each place with the four errnos of EVERY; with SLOW=1 many more calls of each with all of MORE too, and
places that fail for ever; and the forked child and what a child execs have theirs fail while all others' succeed. TABLE=1 prints what each
call's failures came to. inject.c is what fails them: it is preloaded after the probe, in the bare runs as well. It stands for the kernel at the
functions of libc, which for these calls are no more than the call."""
import contextlib
import difflib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from errno import (EACCES, EAGAIN, EIO, EINTR, EMFILE, ENFILE, ENOMEM, ENOSPC, ENOSYS, EPERM, EROFS, errorcode)

KIND = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in ("probe", "library") else "probe"
SLOW = os.environ.get("SLOW") == "1"
PROBE, INJECT, BIN = (os.environ[name] for name in ("LOOPSCOPE_PROBE_FILE", "INJECT", "LOOPSCOPE_BIN"))
DEADLINE = 120  # seconds; a run takes some 30 ms

EVERY = (EINTR, ENOMEM, ENOSPC, EAGAIN)
MORE = (EMFILE, ENFILE, EACCES, EPERM, EROFS, EIO, ENOSYS)

# The functions of libc that inject.c stands in front of, in its order, with the name that a failure of theirs is counted under.
NAMES = [("open", "open"), ("__open_2", "open"), ("read", "read"), ("__read_chk", "read"), ("close", "close"), ("stat", "stat"),
         ("lstat", "stat"), ("fstat", "stat"), ("fstatat", "stat"), ("mkdir", "mkdir"), ("ftruncate", "ftruncate"),
         ("posix_fallocate", "fallocate"), ("mmap", "mmap"), ("munmap", "munmap"), ("madvise", "madvise"), ("lseek", "lseek"),
         ("unlink", "unlink"), ("unlinkat", "unlink"), ("readlink", "readlink"), ("__readlink_chk", "readlink"),
         ("getrlimit", "getrlimit"), ("getsockopt", "getsockopt"), ("prctl", "prctl"), ("pthread_key_create", "pthread_key_create"),
         ("pthread_setspecific", "pthread_key_create"), ("nanosleep", None), ("access", None)]
SYSCALLS = 1000  # and then the number, of a call by syscall(2)
NUMBERS = {3: ("close", "close"), 14: ("rt_sigprocmask", "sigprocmask"), 72: ("fcntl", "fcntl"), 186: ("gettid", None),
           217: ("getdents64", "getdents"), 234: ("tgkill", "tgkill"), 257: ("openat", "open"), 271: ("ppoll", "poll")}

# As docs/recording-format.md numbers them, from 1.
CALLS = ("open read close stat mkdir ftruncate fallocate mmap munmap madvise getdents lseek unlink readlink getrlimit poll fcntl getsockopt prctl "
         "sigprocmask tgkill pthread_key_create").split()

# Own calls: when they are made, and what their failure means. One that is not here fails the test: think about it first.
INVENTORY = {
    "probe": {
        "access": "start: whether XDG_RUNTIME_DIR can be written to; else /dev/shm",
        "stat": "start: the program's file (else an exec is told by the next recording), argv[0], how many descriptors are open (else as many "
                "numbers are asked about as there may be); census: whether the ledger agrees (else they are compared)",
        "fstat": "start: the directory; else no recording",
        "fstatat": "start, without `run`: ages of old recordings; one that cannot be looked at is kept",
        "mkdir": "start: the directory; else no recording",
        "open": "start: the directory (else no recording), /proc/self/stat, the clock source (else clock_gettime), the boot id",
        "read": "start: as open",
        "close": "start: as open; the descriptor is gone whatever close says",
        "ftruncate": "start: the recording; else none",
        "posix_fallocate": "start: the recording's first part (else none), the first chunk of descriptors (else it is asked for again)",
        "mmap": "start: the recording (smaller, else none), the page that tells a fork (else no recording); a loop (else it is dropped), a table of "
                "registrations (else their events are dropped), a stack to make a recording on (else the next call tries again)",
        "munmap": "after a recording was made on a stack of our own: 64 KiB stay mapped",
        "madvise": "start: the page that tells a fork (else no recording); room for descriptors, sites, modules, loops, incidents: dropped",
        "lseek": "start, without `run`: old recordings; else none is removed",
        "getdents64": "likewise; census: what is open (else it is not done)",
        "unlinkat": "start, without `run`: an old recording stays; start: a recording that could not be mapped stays, unreadable",
        "readlink": "start: the program's name; its first site: the program's file; census: kinds",
        "getrlimit": "start: limits of address space, file size, descriptors; else as if there were none",
        "ppoll": "start, fork: what is open; else asked one by one",
        "fcntl": "EBADF of the program's: whether the number is open (else nothing is said of it); census likewise",
        "getsockopt": "census: kinds, and sockets whose peer has closed",
        "prctl": "a thread's loop: its name; else `main`",
        "gettid": "a thread is met; never fails",
        "tgkill": "census: whether a descriptor's thread has ended; else it has not",
        "openat": "start: the recording (else none); census: what is open (else it is not done)",
        "rt_sigprocmask": "before and after a recording or a loop is made, census: signals wait meanwhile (else they do not)",
        "pthread_key_create": "start; else loops of threads that end stay open in the recording",
        "pthread_setspecific": "a thread is met: likewise",
        "nanosleep": "census, with threads: other threads get 1 ms; else less",
    },
    "library": {},
}
INVENTORY["library"] = {name: INVENTORY["probe"][name] for name in (
    "access", "stat", "fstat", "mkdir", "open", "openat", "read", "close", "ftruncate", "posix_fallocate", "mmap", "munmap", "madvise", "readlink", "getrlimit", "lseek",
    "getdents64", "fstatat", "unlinkat", "gettid")} | {
    "__open_2": "as open", "__read_chk": "as read", "__readlink_chk": "as readlink"}
# What else the probe needs of libc: no system call, or none that can fail and matter.
NO_CALLS = set("""__environ environ __errno_location __isoc99_sscanf __libc_single_threaded __libc_stack_end __stack_chk_fail
    __x86_get_cpuid_feature_leaf _dl_find_object clock_gettime dirfd dlsym fileno getenv geteuid getpid getppid memchr memcmp memcpy
    memmem memmove memset on_exit pthread_setcancelstate pthread_setcanceltype sched_yield secure_getenv snprintf strchr strchrnul strcmp
    strerrordesc_np strlen strncmp strnlen strrchr strstr vsnprintf __tls_get_addr PyGILState_GetThisThreadState _Py_PrintReferences ruby_api_version
    __cxa_finalize __gmon_start__""".split())

PROCESSES = 8
STATE = struct.Struct(f"512s IIII i I i I II {PROCESSES}i")
INTERVAL = struct.Struct("III")
PLACE = struct.Struct(f"III {PROCESSES}I")
INTERVALS, PLACES = 2048, 1024
FOR_GOOD = 1 << 30
# By the order of their first own calls: children that go on with the program they were forked off, and what children exec (the shell that
# popen(3) starts is one as well).
FORKED, EXECED = ((2,), (3,)) if KIND == "probe" else ((2, 3), ())
# Own calls without which there is no recording. Of a child that execs there is then nothing at all (docs/reliability.md): its own memory is
# gone, that of who forked it is out of reach, and what it would write elsewhere is the program's. In PROGRAM itself `run` says it.
WITHOUT_THERE_IS_NONE = {"open", "openat", "fstat", "mkdir", "ftruncate", "posix_fallocate", "mmap", "madvise"}
EXCUSED = {EACCES}  # of files to ask: "not for us" is an answer, and no failure


def symbols(path):
    """(name, begin, end) of the functions in an ELF file."""
    said = subprocess.run(["nm", "-S", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "tTwWuV":
            yield fields[3], int(fields[0], 16), int(fields[0], 16) + int(fields[1], 16)


def names_in(objects):
    return {name for path in objects for name, _, _ in symbols(path)}


def intervals(path, own, hooks):
    """What of the file is own code and what hooks, as inject.c wants it. `own` None: all that is no hook."""
    found = sorted((begin, end, 1 if name in hooks else 0) for name, begin, end in symbols(path)
                   if end > begin and (name in hooks or own is None or name in own))
    result, last = [], 0
    for begin, end, hook in found:
        begin = max(begin, last)  # two names of one function
        if end > begin:
            result.append((begin, end, hook))
            last = end
    assert 0 < len(result) <= INTERVALS, len(result)
    return result


def objects(name):
    return [path for path in os.environ[name].split(":") if path.endswith(".o")]


class Recordings:
    """recordings.cpp, asked over and over."""

    def __init__(self):
        self.process = subprocess.Popen([os.environ["RECORDINGS"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def of(self, directory):
        self.process.stdin.write(directory + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(DEADLINE)


class Run:
    """`said`: status and output; `places`: (function, offset) of own calls, how often in all and by each process; `hits`: calls that were made to
    fail, `pid`: in which process the last; `pids`: the processes, in the order of their first own calls."""

    def __init__(self, said, content):
        self.said = said
        fields = STATE.unpack_from(content)
        self.hits, self.pid = fields[6], fields[7]
        self.pids = list(dict.fromkeys(pid for pid in fields[11:] if pid != 0))
        self.places = {}
        for i in range(PLACES):
            number, at, count, *by = PLACE.unpack_from(content, STATE.size + INTERVALS * INTERVAL.size + i * PLACE.size)
            if number != 0:
                self.places[(number - 1, at)] = (count, by)


def name_of(function):
    return NUMBERS[function - SYSCALLS][0] if function >= SYSCALLS else NAMES[function][0]


def counted_as(function):
    return NUMBERS[function - SYSCALLS][1] if function >= SYSCALLS else NAMES[function][1]


class Injection(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.table = {}

    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="injection-", dir="/dev/shm")
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.directory = os.path.join(cls.place, "recordings")
        cls.state = os.path.join(cls.place, "state")
        cls.reader = Recordings()
        cls.addClassCleanup(cls.reader.close)
        if KIND == "probe":
            hooks = names_in(path for path in objects("PROBE_OBJECTS") if re.search(r"/(hooks_\w+\.cpp|calls_\w+\.S)\.o$", path))
            cls.object, cls.intervals = PROBE, intervals(PROBE, None, hooks)
        else:
            cls.object = os.environ["LIBRARY_HOST"]
            cls.intervals = intervals(cls.object, names_in(objects("RECORDER_OBJECTS")), set())
            cls.object = ""  # the program itself
        cls.symbols = list(symbols(cls.object or os.environ["LIBRARY_HOST"]))

    def run_once(self, command, target=(0, 0, 0, 0, 0, 0), bare=False, options="stacks=full,closes,scripts,census", keep=False, more=None):
        """What came of it. Of a call of its own (`target`: function, offset, first and number of calls, error, process or 0) so many fail."""
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        function, offset, first, times, error, process = target
        with open(self.state, "wb") as file:
            file.write(STATE.pack(os.path.basename(self.object).encode() if self.object else b"", function, offset, first, times, error, 0, 0,
                                  len(self.intervals), process, 0, *[0] * PROCESSES))
            file.write(b"".join(INTERVAL.pack(*one) for one in self.intervals))
            file.truncate(STATE.size + INTERVALS * INTERVAL.size + PLACES * PLACE.size)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "INJECT_STATE": self.state, "LOOPSCOPE_DIR": self.directory,
                       "LOOPSCOPE_PROBE": options, "LD_PRELOAD": INJECT, **(more or {})}
        if KIND == "probe" and not bare:
            environment["LD_PRELOAD"] = f"{PROBE} {INJECT}"
        began = time.time() - 1
        try:
            done = subprocess.run(command, env=environment, cwd=self.place, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False)
        except subprocess.TimeoutExpired:
            self.fail(f"hangs with {self.tell(target)}")
        with open(self.state, "rb") as file:
            content = file.read()
        run = Run((done.returncode, done.stdout.decode(), done.stderr.decode()), content)
        self.fetch_from_users_directory(run.pids, began)
        return run

    def fetch_from_users_directory(self, pids, since):
        """Where the directory given cannot be had, the probe goes to the user's: that is one of those that `run` reads."""
        users = f"/dev/shm/loopscope-{os.geteuid()}"
        for name in os.listdir(users) if os.path.isdir(users) else ():
            path = os.path.join(users, name)
            with contextlib.suppress(FileNotFoundError):  # others remove recordings meanwhile
                if name.split("-")[0] in map(str, pids) and os.stat(path).st_mtime >= since:
                    os.makedirs(self.directory, mode=0o700, exist_ok=True)
                    os.rename(path, os.path.join(self.directory, name))

    def where(self, offset):
        return next((name for name, begin, end in self.symbols if begin < offset <= end), "?")

    def tell(self, target):
        function, offset, first, times, error, process = target
        if function == 0:
            return "nothing"
        return (f"{name_of(function - 1)} in {self.where(offset)}, call {first} and {times - 1} more" +
                (f" of process {process}" if process else "") + f": {errorcode[error]}")

    @staticmethod
    def told(recordings):
        """That something may be missing is said: failures that were given up, things dropped, an error."""
        return any(one["told"] or one["dropped"] or any(way["failed"] for way in one["own_failures"]) for one in recordings)

    def lacks_an_image(self, found, run):
        """Of the process where a call failed, which becomes another program by exec, one of the two has no recording (docs/reliability.md)."""
        number = run.pids.index(run.pid) + 1 if run.pid in run.pids else 0
        return number not in FORKED and sum(one["pid"] == run.pid for one in found) < len(self.reference.get(number, []))

    def look_at_recordings(self, target, run, must_count=True):
        """They are readable and do not contradict themselves; that of the process where a call failed counts it (of a forked child it may be its
        parent's); what is not as in a run without failures is told of. What the failure came to."""
        function, error = target[0] - 1, target[4]
        found = sorted(self.reader.of(self.directory), key=lambda one: one["path"])
        for recording in found:
            if "error" in recording:
                # One that was never finished: a call failed while it was made, and the next to remove it.
                self.assertIn("just being created", recording["error"], self.tell(target))
                continue
            self.assertEqual(recording["contradictions"], [], f"{recording['path']} with {self.tell(target)}")
            carries = recording["pid"] == run.pid or (run.pid in run.pids and run.pids.index(run.pid) + 1 in FORKED and recording["pid"] == run.pids[0])
            if not carries or not must_count or counted_as(function) is None:
                continue
            ways = [one for one in recording["own_failures"] if one["call"] == CALLS.index(counted_as(function)) + 1 and one["error"] == error]
            self.counted += len(ways)
            if error in EXCUSED and not ways:
                continue
            if not ways and self.lacks_an_image(found, run):
                continue  # the other image of that process has a recording, where it cannot be counted
            self.images.setdefault(target, []).append(bool(ways))
        found = [one for one in found if "error" not in one]
        came_to = set()
        for number, pid in enumerate(run.pids, 1):
            own = [one for one in found if one["pid"] == pid]
            what = [one["what"] for one in own]
            wanted = self.reference.get(number, [])
            if what == wanted:
                continue
            parents = [one for one in found if one["pid"] == run.pids[0]]
            if len(own) < len(wanted):
                if number in FORKED:
                    # Where its parent has none either, that is what is to be seen, and is said of the parent; unless it becomes another program
                    # that has one (docs/reliability.md).
                    if len(parents) >= len(self.reference.get(1, [])) and not self.told(parents) and error not in EXCUSED:
                        self.silent.append(f"{self.tell(target)}: no recording of the forked child, and nothing in its parent's")
                    came_to.add("a child unrecorded: its parent's counts it")
                elif number == 1:
                    came_to.add("unrecorded: `run` says so")
                else:
                    if name_of(function) not in WITHOUT_THERE_IS_NONE:
                        self.silent.append(f"{self.tell(target)}: no recording of process {number}, that was exec'd")
                    came_to.add("what was exec'd unrecorded")
            elif counted_as(function) is None:
                came_to.add("different, not counted")
            elif self.told(own):
                came_to.add("part missing, told")
            elif number in FORKED and run.pid == run.pids[0] and self.told(parents):
                came_to.add("a loop that the child goes on with unrecorded, its parent's tells")
            elif error not in EXCUSED:
                differs = "\n".join(difflib.unified_diff(*(json.dumps(one, indent=1).splitlines() for one in (wanted, what)), lineterm="", n=2))
                self.silent.append(f"{self.tell(target)}: process {number} has another recording, and nothing tells of it:\n{differs[:2000]}")
        if run.hits:
            for one in came_to or {"nothing missing"}:
                self.table.setdefault((name_of(function), self.where(target[1])), {}).setdefault(one, set()).add(errorcode[error])
        return came_to

    def plan(self, places):
        """Which calls fail, with what."""
        for (function, offset), (count, by) in sorted(places.items()):
            numbers = {1, count} | (set(range(1, min(count, 4) + 1)) if SLOW else set())
            for number in sorted(numbers):
                for error in EVERY + MORE if SLOW else EVERY if number == 1 else (ENOMEM,):
                    yield function + 1, offset, number, 1, error, 0
            # For good; and a signal now and again. (When the kernel never takes the program's signal mask back, it cannot be given back: there
            # is no other way. It does so for nobody: the argument is one that it gave itself.)
            for_good = () if function == SYSCALLS + 14 else (ENOMEM, ENOSPC, EMFILE, EPERM) if SLOW else (ENOMEM,)
            for error in for_good:
                yield function + 1, offset, 1, FOR_GOOD, error, 0
            yield function + 1, offset, 1, 3, EINTR, 0
            for process in FORKED + EXECED:
                if by[process - 1] == 0:
                    continue
                for error in for_good:
                    yield function + 1, offset, 1, FOR_GOOD, error, process
                for error in EVERY if SLOW else ():
                    for number in sorted({1, by[process - 1]}):
                        yield function + 1, offset, number, 1, error, process

    def fail_all(self, command, **options):
        bare = self.run_once(command, bare=True, **options).said
        self.assertEqual((bare, "", 0), (self.run_once(command, bare=True, **options).said, "", 0), "the program is not always the same")
        self.reference = {}
        for _ in range(3):
            run = self.run_once(command, **options)
            self.assertEqual(bare, run.said)
            found = sorted(self.reader.of(self.directory), key=lambda one: one["path"])
            whats = {number: [one["what"] for one in found if one["pid"] == pid] for number, pid in enumerate(run.pids, 1)}
            self.assertEqual(self.reference or whats, whats, "what is recorded is not always the same")
            self.reference = whats
            self.assertFalse(self.told(found), found)
        self.assertTrue(all(self.reference.get(number) for number in (1, *FORKED, *EXECED)), self.reference)
        places = run.places
        unknown = {name_of(function) for function, _ in places} - set(INVENTORY[KIND])
        self.assertEqual(unknown, set(), "own calls that are not in the inventory")
        self.counted, self.images, self.silent = 0, {}, []
        tried = missed = 0
        seen, in_children = set(), 0
        for target in self.plan(places):
            run = self.run_once(command, target, **options)
            tried += 1
            missed += run.hits == 0
            in_children += run.hits != 0 and target[5] != 0
            if bare != run.said:
                self.fail(f"with {self.tell(target)}:\n" + "\n".join(difflib.unified_diff(*(
                    [f"status {status}", *out.splitlines(), "stderr:", *err.splitlines()] for status, out, err in (bare, run.said)), "bare",
                    "with a failure in the probe", lineterm="", n=2)))
            if run.hits:
                seen.add(name_of(target[0] - 1))
            self.look_at_recordings(target, run, must_count=run.hits > 0)
        self.assertEqual(self.silent, [], "lost, and nothing tells of it")
        # Of a process that exec'd there are several recordings; one of them has it.
        uncounted = [self.tell(target) for target, ways in self.images.items() if not any(ways)]
        self.assertEqual(uncounted, [], "failed, and not counted")
        # What threads do may come in another order, and a call less often: a few.
        self.assertLess(missed, tried / 20 + 1)
        self.assertGreater(self.counted, tried / 4)
        self.assertGreater(in_children, 20)
        return tried, len(places), seen

    def tearDown(self):
        if os.environ.get("TABLE") == "1":
            for (call, where), ways in sorted(self.table.items()):
                print(f"{call:20} {where[:70]:70} " + "; ".join(f"{way} ({' '.join(sorted(errors))})" for way, errors in sorted(ways.items())))


@unittest.skipUnless(KIND == "probe", "the other kind")
class Probe(Injection):
    def test_needs_nothing_else_of_libc(self):
        """What the probe can call at all: a function of libc that is new to it is to be thought about, here and in inject.c."""
        said = subprocess.run(["nm", "-D", "--undefined-only", PROBE], capture_output=True, text=True, check=True).stdout
        wanted = {line.split()[-1].split("@")[0] for line in said.splitlines()}
        self.assertEqual(wanted - NO_CALLS - {name for name, _ in NAMES}, set())

    def test_makes_calls_past_libc_in_one_place(self):
        """ask_page() of unwind.cpp, which asks rt_sigprocmask whether a page can be read. inject.c does not see it, and fails it for nobody."""
        said = subprocess.run(["objdump", "-d", "--no-show-raw-insn", PROBE], capture_output=True, text=True, check=True).stdout
        functions, current = {}, None
        for line in said.splitlines():
            if match := re.match(r"[0-9a-f]+ <(.+)>:", line):
                current = match.group(1)
            elif re.search(r"\bsyscall\s*$", line):
                functions[current] = functions.get(current, 0) + 1
        own = {name for name in functions if "vfork" not in name}  # the program's vfork, handed on
        self.assertTrue(own)
        for name in own:
            self.assertRegex(name, "ask_page", functions)

    def test_fails_in_turn(self):
        host = os.environ["HOST"]
        tried, places, seen = self.fail_all([host, "return"])
        for end in ("_exit", "exec") if SLOW else ():
            more, _, also = self.fail_all([host, end])
            tried, seen = tried + more, seen | also
        if SLOW:  # what `run` asks of the probe
            more, _, also = self.fail_all([host, "return"], options=f"run={os.getpid()},stacks=caller")
            tried, seen = tried + more, seen | also
        self.assertGreaterEqual(seen, {"open", "read", "close", "mmap", "madvise", "ftruncate", "posix_fallocate", "fstat", "mkdir", "stat",
                                       "ppoll", "fcntl", "rt_sigprocmask", "getrlimit", "readlink", "getsockopt", "prctl", "tgkill", "openat",
                                       "getdents64", "munmap"})
        print(f"reliability: injected-probe: {tried} runs, in each a call of the probe's own failed, at {places} places: the program said and did "
              f"the same, {self.counted} failures counted")

    def test_run_says_it(self):
        """What fails in PROGRAM for good is in the summary of `run`, among its findings; where there is no recording then, the command says that
        nothing is seen, and why. PROGRAM's output and status are as they were. So for a child of PROGRAM's."""
        summary = os.path.join(self.place, "summary.json")
        command = [BIN, "run", "--no-http", "--summary", "json", "-o", summary, "--", os.environ["HOST"], "return"]

        def run_once(target):
            # The command puts the probe before what is preloaded; it has none itself, so that none of its own calls fail.
            run = self.run_once(command, target, bare=True, options="", more={"LOOPSCOPE_PROBE_FILE": PROBE})
            with open(summary, encoding="utf-8") as file:
                return run, json.load(file)

        def findings(processes):
            return [finding["rule"] for process in processes for finding in process["findings"]]

        bare, said = run_once((0, 0, 0, 0, 0, 0))
        self.assertEqual(bare.said[2], "")
        self.assertNotIn("own-failures", findings(said["processes"]))
        self.assertIn(bare.pids[0], [process["pid"] for process in said["processes"]])
        shown = unseen = 0
        for (function, offset), (_, by) in sorted(bare.places.items()):
            if counted_as(function) is None:
                continue
            times = 1 if function == SYSCALLS + 14 else FOR_GOOD  # see plan()
            for process in (1, *FORKED) if SLOW or name_of(function) in WITHOUT_THERE_IS_NONE else (1,):
                if by[process - 1] == 0:
                    continue
                for error in EVERY[1:] if SLOW else (ENOMEM,):
                    target = (function + 1, offset, 1, times, error, process)
                    run, said = run_once(target)
                    what = f"{self.tell(target)}: {run.said[2]}"
                    self.assertEqual(run.said[:2], bare.said[:2], what)
                    self.assertGreater(run.hits, 0, what)
                    if run.pids[0] in [one["pid"] for one in said["processes"]]:
                        # (That the program's mask is taken back is tried again at once: that loses nothing.)
                        if times == FOR_GOOD:
                            self.assertIn("own-failures", findings(said["processes"]), what)
                        self.assertEqual(run.said[2], "", what)
                        shown += 1
                    else:
                        self.assertEqual(process, 1, what)
                        self.assertRegex(run.said[2], r"^loopscope: nothing is seen of [^\n]+: [^\n]+\n$", what)
                        unseen += 1
        self.assertGreater(shown, 12)
        self.assertGreater(unseen, 4)


@unittest.skipUnless(KIND == "library", "the other kind")
class Library(Injection):
    def test_fails_in_turn(self):
        tried, places, seen = self.fail_all([os.environ["LIBRARY_HOST"]])
        self.assertGreaterEqual(seen, {"open", "close", "mmap", "madvise", "ftruncate", "posix_fallocate", "fstat", "mkdir"})
        print(f"reliability: injected-library: {tried} runs, in each a call of the recorder's own failed, at {places} places: the program said and "
              f"did the same, {self.counted} failures counted")


if __name__ == "__main__":
    unittest.main()
