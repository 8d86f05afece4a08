#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every system call that the probe, and the recorder in an instrumented program, make for themselves is made to fail in turn. The
program does and says the same as without them, what is recorded does not contradict itself, and the failure is counted in the recording.

    HOST=... LIBRARY_HOST=... INJECT=libinject.so RECORDINGS=... LOOPSCOPE_PROBE_FILE=... LOOPSCOPE_BIN=... \\
    PROBE_OBJECTS=a.o:b.o RECORDER_OBJECTS=a.o:b.o python3 injection_test.py probe|library

By default the first and the last call of each place with the four errnos of EVERY; with SLOW=1 many more calls of each with all of MORE too, and
places that fail for ever. inject.c is what fails them: it is preloaded after the probe, in the bare runs as well. It stands for the kernel at the
functions of libc, which for these calls are no more than the call."""
import difflib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
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

STATE = struct.Struct("512s IIII i I i I")
INTERVAL = struct.Struct("III")
PLACE = struct.Struct("III")
INTERVALS, PLACES = 2048, 1024
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


def name_of(function):
    return NUMBERS[function - SYSCALLS][0] if function >= SYSCALLS else NAMES[function][0]


def counted_as(function):
    return NUMBERS[function - SYSCALLS][1] if function >= SYSCALLS else NAMES[function][1]


class Injection(unittest.TestCase):
    maxDiff = None

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

    def run_once(self, command, target=(0, 0, 0, 0, 0), bare=False, options="stacks=full,closes,scripts,census", keep=False, more=None):
        """(what it said, places of own calls, calls that were failed, the process they were failed in)"""
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        function, offset, first, times, error = target
        with open(self.state, "wb") as file:
            file.write(STATE.pack(os.path.basename(self.object).encode() if self.object else b"", function, offset, first, times, error, 0, 0,
                                  len(self.intervals)))
            file.write(b"".join(INTERVAL.pack(*one) for one in self.intervals))
            file.truncate(STATE.size + INTERVALS * INTERVAL.size + PLACES * PLACE.size)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "INJECT_STATE": self.state, "LOOPSCOPE_DIR": self.directory,
                       "LOOPSCOPE_PROBE": options, "LD_PRELOAD": INJECT, **(more or {})}
        if KIND == "probe" and not bare:
            environment["LD_PRELOAD"] = f"{PROBE} {INJECT}"
        try:
            done = subprocess.run(command, env=environment, cwd=self.place, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False)
        except subprocess.TimeoutExpired:
            self.fail(f"hangs with {self.tell(target)}")
        with open(self.state, "rb") as file:
            content = file.read()
        fields = STATE.unpack_from(content)
        places = {}
        for i in range(PLACES):
            number, at, count = PLACE.unpack_from(content, STATE.size + INTERVALS * INTERVAL.size + i * PLACE.size)
            if number != 0:
                places[(number - 1, at)] = count
        return (done.returncode, done.stdout.decode(), done.stderr.decode()), places, fields[6], fields[7]

    def tell(self, target):
        function, offset, first, times, error = target
        if function == 0:
            return "nothing"
        where = next((name for name, begin, end in symbols(self.object or os.environ["LIBRARY_HOST"]) if begin < offset <= end), "?")
        return f"{name_of(function - 1)} in {where}, call {first} and {times - 1} more: {errorcode[error]}"

    def look_at_recordings(self, target, pid, must_count=True):
        """They are readable and do not contradict themselves; that of the process where a call failed counts it."""
        function, error = target[0] - 1, target[4]
        for recording in self.reader.of(self.directory):
            if "error" in recording:
                # One that was never finished: a call failed while it was made, and the next to remove it.
                self.assertIn("just being created", recording["error"], self.tell(target))
                continue
            self.assertEqual(recording["contradictions"], [], f"{recording['path']} with {self.tell(target)}")
            if recording["pid"] != pid or not must_count or counted_as(function) is None:
                continue
            ways = [one for one in recording["own_failures"] if one["call"] == CALLS.index(counted_as(function)) + 1 and one["error"] == error]
            self.counted += len(ways)
            if error in EXCUSED and not ways:
                continue
            self.images.setdefault(target, []).append(bool(ways))

    def plan(self, places):
        """Which calls fail, with what."""
        for (function, offset), count in sorted(places.items()):
            numbers = {1, count} | (set(range(1, min(count, 25) + 1)) if SLOW else set())
            for number in sorted(numbers):
                for error in EVERY + MORE if SLOW else EVERY if number == 1 else (ENOMEM,):
                    yield function + 1, offset, number, 1, error
            # For good; and a signal now and again. (When the kernel never takes the program's signal mask back, it cannot be given back: there
            # is no other way. It does so for nobody: the argument is one that it gave itself.)
            for error in () if function == SYSCALLS + 14 else (ENOMEM, ENOSPC, EMFILE, EPERM) if SLOW else (ENOMEM,):
                yield function + 1, offset, 1, 1 << 30, error
            yield function + 1, offset, 1, 3, EINTR

    def fail_all(self, command, **options):
        bare = self.run_once(command, bare=True, **options)[0]
        self.assertEqual((bare, "", 0), (self.run_once(command, bare=True, **options)[0], "", 0), "the program is not always the same")
        observed, places, _, _ = self.run_once(command, **options)
        self.assertEqual(bare, observed)
        unknown = {name_of(function) for function, _ in places} - set(INVENTORY[KIND])
        self.assertEqual(unknown, set(), "own calls that are not in the inventory")
        self.counted, self.images = 0, {}
        tried = missed = 0
        seen = set()
        for target in self.plan(places):
            said, _, hits, pid = self.run_once(command, target, **options)
            tried += 1
            missed += hits == 0
            if bare != said:
                self.fail(f"with {self.tell(target)}:\n" + "\n".join(difflib.unified_diff(*(
                    [f"status {status}", *out.splitlines(), "stderr:", *err.splitlines()] for status, out, err in (bare, said)), "bare",
                    "with a failure in the probe", lineterm="", n=2)))
            if hits:
                seen.add(name_of(target[0] - 1))
            self.look_at_recordings(target, pid, must_count=hits > 0)
        # Of a process that exec'd there are several recordings; one of them has it.
        uncounted = [self.tell(target) for target, ways in self.images.items() if not any(ways)]
        self.assertEqual(uncounted, [], "failed, and not counted")
        # What threads do may come in another order, and a call less often: a few.
        self.assertLess(missed, tried / 20 + 1)
        self.assertGreater(self.counted, tried / 4)
        return tried, len(places), seen


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


@unittest.skipUnless(KIND == "library", "the other kind")
class Library(Injection):
    def test_fails_in_turn(self):
        tried, places, seen = self.fail_all([os.environ["LIBRARY_HOST"]])
        self.assertGreaterEqual(seen, {"open", "close", "mmap", "madvise", "ftruncate", "posix_fallocate", "fstat", "mkdir"})
        print(f"reliability: injected-library: {tried} runs, in each a call of the recorder's own failed, at {places} places: the program said and "
              f"did the same, {self.counted} failures counted")


if __name__ == "__main__":
    unittest.main()
