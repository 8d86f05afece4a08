#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The observed program does not notice: each victim runs bare and under the probe, and its exit status, the signal that ended it,
its standard output and error are the same, byte for byte. The victims say there whatever they can notice: cases.h.

    VICTIMS=dir/of/the/victims LOOPSCOPE_PROBE_FILE=path/to/libloopscope-probe.so LOOPSCOPE_BIN=path/to/loopscope \\
        python3 transparency_test.py

EXTRA_OPTIONS: options of the probe (LOOPSCOPE_PROBE) that all runs have beside those that a test asks for itself; `run` alone gets
the number of this process. With what `loopscope check` asks for, the probe does most: it notes closes, reads the stacks of scripts
and takes a census at each end.

Where the same run should also have been recorded as it was, the recording is looked at (`loopscope report`)."""
import ctypes.util
import difflib
import glob
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request

VICTIMS = os.environ["VICTIMS"]
PROBE = os.environ["LOOPSCOPE_PROBE_FILE"]
BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
EXTRA_OPTIONS = os.environ.get("EXTRA_OPTIONS", "").replace("run,", f"run={os.getpid()},")
DEADLINE = 40  # seconds; a victim takes some milliseconds
ROOT = os.geteuid() == 0
# As root a mount namespace is enough; others need a user namespace to be root in.
UNSHARE = ["unshare", "-m"] if ROOT else ["unshare", "-r", "-m"]
MiB = 1 << 20


def with_extra(options):
    """In front: the option dir= takes all the rest."""
    return f"{EXTRA_OPTIONS},{options}" if EXTRA_OPTIONS else options


class Outcome:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def lines(self):
        return [f"status {self.status}", *self.out.decode(errors="replace").splitlines(), "stderr:",
                *self.err.decode(errors="replace").splitlines()]


class Case(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.mkdtemp(prefix="transparency-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.recordings = os.path.join(self.place, "recordings")
        os.mkdir(self.recordings, 0o700)

    def run_once(self, *command, preload=(), probe_options="stacks=full", **options):
        """In a directory of its own that is called `work`, with nothing but descriptors 0 to 2."""
        work = os.path.join(self.place, "work")
        shutil.rmtree(work, ignore_errors=True)
        os.mkdir(work)
        os.chmod(work, 0o777)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": work, "LOOPSCOPE_DIR": self.recordings,
                       "LOOPSCOPE_PROBE": with_extra(probe_options), **options.pop("env", {})}
        if preload:
            environment["LD_PRELOAD"] = ":".join(preload)
        done = subprocess.run(command, cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE,
                              check=False, **options)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def twins(self, *command, before=(), after=(), status=None, **options):
        """Both runs, found to be the same; the other preloads `before` and `after` ours are in both. Returns the bare one."""
        bare = self.run_once(*command, preload=(*before, *after), **options)
        observed = self.run_once(*command, preload=(*before, PROBE, *after), **options)
        self.assertEqual(bare.lines(), observed.lines(), "\n".join(difflib.unified_diff(bare.lines(), observed.lines(), "bare",
                                                                                        "under the probe", lineterm="", n=2)))
        if status is not None:
            self.assertEqual(bare.status, status, bare.lines())
        self.assertNotIn(b"cannot go on", bare.out)
        return bare

    def victim(self, name, *arguments, **options):
        return self.twins(os.path.join(VICTIMS, name), *arguments, **options)

    def reports(self):
        """What the recordings made so far say, in the order of their processes' starts."""
        found = []
        for file in glob.glob(os.path.join(self.recordings, "*.loopscope")):
            if "run=" in EXTRA_OPTIONS:  # they have arrived
                self.assertRegex(file, f"-{os.getpid()}\\.loopscope$")
            done = subprocess.run([BIN, "report", file, "--format", "json"], capture_output=True, timeout=DEADLINE, check=True)
            found += json.loads(done.stdout)["processes"]
        return sorted(found, key=lambda process: process["started_at"])

    def report(self):
        (process,) = self.reports()
        return process


class Ends(Case):
    def test_statuses(self):
        for how in ("return", "exit", "_exit", "_Exit", "quick_exit", "thread", "handlers", "changed"):
            for status in (0, 1, 42, 255, 300):
                with self.subTest(how=how, status=status):
                    self.victim("ends", how, str(status), status=44 if how == "changed" else status & 255)

    def test_statuses_are_recorded(self):
        for how in ("return", "exit", "_exit", "_Exit", "thread"):
            with self.subTest(how=how):
                shutil.rmtree(self.recordings)
                os.mkdir(self.recordings, 0o700)
                self.victim("ends", how, "42", status=42)
                process = self.report()
                self.assertEqual((process["state"], process.get("exit_status")), ("exited", 42))

    def test_signals(self):
        for number in sorted({*range(1, 65)} - {32, 33, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}):
            with self.subTest(signal=number):
                ended = self.victim("ends", "signal", str(number))
                survivable = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}
                # Python's own ignored ones are not handed on (restore_signals), so what the kernel does by default holds.
                self.assertEqual(ended.status, 3 if number in survivable else -number)

    def test_aborts_and_faults(self):
        self.victim("ends", "abort", status=-signal.SIGABRT)
        self.victim("ends", "null", status=-signal.SIGSEGV)
        self.victim("ends", "trap", status=-signal.SIGILL)

    def test_main_thread_ends_first(self):
        ended = self.victim("ends", "pthread_exit", status=0)
        self.assertIn(b"close 0", ended.out)
        self.assertEqual(self.report()["exit_status"], 0)

    def test_order_of_exit_handlers(self):
        ended = self.victim("ends", "handlers", "9", status=9)
        said = ended.out.decode()
        self.assertLess(said.index("on_exit 3"), said.index("atexit 1"))
        self.assertLess(said.index("atexit 1"), said.index("destructor 200"))


class Results(Case):
    def test_errno_of_calls_that_fail(self):
        said = self.victim("errnos", "failing", status=0).out
        for name in (b"EBADF 9", b"EINVAL 22", b"ENOENT 2", b"ENOSYS 38"):
            self.assertIn(b"errno " + name.split()[1] + b"\n", said)

    def test_errno_is_left_alone_by_calls_that_succeed(self):
        said = self.victim("errnos", "succeeding", status=0).out.decode()
        self.assertEqual(re.findall(r"= -1, .*", said), [])

    def test_pointers_that_the_kernel_refuses(self):
        self.assertGreater(self.victim("errnos", "pointers", status=0).out.count(b"errno 14"), 60)

    def test_no_more_descriptors(self):
        self.assertGreater(self.victim("errnos", "exhausted", status=0).out.count(b"errno 24"), 20)

    def test_arguments(self):
        self.victim("arguments", "all", status=0)


class Signals(Case):
    def test_interrupted(self):
        said = self.victim("interrupted", "interrupted", status=0).out
        self.assertGreater(said.count(b"errno 4, signals 1"), 15)
        polls = [loop["polls"] for loop in self.report()["loops"] if loop["backend"] == "epoll"]
        self.assertGreaterEqual(sum(poll["interrupted"] for poll in polls), 5)

    def test_restarted(self):
        said = self.victim("interrupted", "restarted", status=0).out
        self.assertIn(b"read(pipes[0], &byte, 1) = 1, errno 0, signals 1", said)

    def test_jumps_out_of_handlers(self):
        self.victim("interrupted", "jumps", status=0)
        (loop,) = self.report()["loops"]
        self.assertEqual(loop["polls"]["events"], 20)

    def test_jumps_out_of_anything(self):
        self.victim("interrupted", "wild_jumps", status=0)

    def test_storm(self):
        self.run_once(os.path.join(VICTIMS, "interrupted"), "storm", "0.1")
        counts = os.path.join(self.place, "counts")
        self.victim("interrupted", "storm", "1", counts, status=0)
        with open(counts, encoding="ascii") as file:
            opened, closed = map(int, file.read().split())
        fds = self.report()["fds"]
        # The file that it wrote this to is one more that stays open; 0, 1 and 2 were there before.
        self.assertEqual((fds["opened"], fds["closed"]), (opened, closed))
        self.assertEqual(fds["open"], opened - closed + 3)


class Cancellation(Case):
    WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "ppoll_epoll", "select", "pselect", "accept", "accept4",
             "read", "recv", "open_fifo", "close", "open", "write")

    def test_in_every_wait(self):
        for what in self.WAITS:
            for kind in ("deferred", "asynchronous"):
                with self.subTest(what=what, kind=kind):
                    said = self.victim("cancelled", "one", what, kind, status=0).out.decode()
                    self.assertRegex(said, "^cleanup: opened 1, close 0 0\ndestructor: close 0\nthread_local destructor: 1\n")

    def test_the_loop_is_shown_ended(self):
        self.victim("cancelled", "one", "epoll_wait", "deferred", status=0)
        states = [loop["state"] for loop in self.report()["loops"] if loop["name"] != "main"]
        self.assertEqual(states, ["ended"])

    def test_at_any_time(self):
        for kind in ("deferred", "asynchronous"):
            with self.subTest(kind=kind):
                self.victim("cancelled", "any_time", kind, status=0)


class Families(Case):
    def test_forks(self):
        self.victim("families", "fork", status=10)
        reports = self.reports()
        self.assertEqual([process["exit_status"] for process in reports], [10, 11, 12, 42])
        for generation, process in enumerate(reports):
            waits = sum(loop["iterations"] for loop in process["loops"])
            # Each process waits once after it was forked and once after its child ended; the first also before.
            self.assertEqual(waits, {0: 2, 3: 1}.get(generation, 2))

    def test_threads_that_fork(self):
        self.victim("families", "threads_fork", status=0)

    def test_a_child_that_ends_its_thread(self):
        self.victim("families", "child_ends_thread", status=-signal.SIGKILL)
        parent = min(self.reports(), key=lambda process: process["pid"])
        self.assertEqual([loop["state"] for loop in parent["loops"]], ["live"])

    def test_fork_in_a_handler(self):
        self.assertEqual(self.victim("families", "handler_forks", status=0).out, b"bad children 0\n")

    def test_vfork(self):
        self.victim("families", "vfork", status=0)
        # What the children closed, opened and overwrote is theirs: 0, 1, 2 and the last open are left.
        fds = self.reports()[0]["fds"]
        self.assertEqual((fds["opened"], fds["closed"], fds["open"]), (5, 4, 4))

    def test_posix_spawn_and_popen(self):
        self.victim("families", "spawn", status=0)

    def test_clone(self):
        self.victim("families", "clone", status=0)

    def test_syscall(self):
        self.victim("families", "syscall", status=0)

    def test_closes_all(self):
        for how in range(5):
            with self.subTest(how=how):
                self.victim("families", "closes_all", str(how), status=0)

    def test_daemons(self):
        for how in ("hand", "libc"):
            with self.subTest(how=how):
                self.assertIn(b"1 ready", self.victim("families", "daemonises", how, status=0).out)

    def test_exec(self):
        for how in range(16):
            with self.subTest(how=how):
                said = self.victim("families", "exec", str(how)).out.decode()
                if how == 1:
                    self.assertEqual(said, "shows|" + "".join(f"{i}|" for i in range(1, 41)) + " MARK=none, an environment\n")


class Loops(Case):
    """What becomes of loops that end, fork, or share their numbers with others."""

    def victims_report(self, case, *arguments, status=0):
        self.victim("loops", case, *arguments, status=status)
        return self.reports()

    def test_what_follows_a_close_is_no_turn(self):
        (process,) = self.victims_report("closed")
        self.assertEqual([loop["iterations"] for loop in process["loops"]], [1, 1, 1])
        self.assertLess(max(loop["busy_turn_seconds"]["max"] or 0 for loop in process["loops"]), 0.1)

    def test_poll_after_epoll(self):
        (process,) = self.victims_report("then_poll")
        self.assertEqual({loop["backend"]: loop["iterations"] for loop in process["loops"]}, {"epoll": 1, "poll": 10})

    def test_a_timeout_of_centuries_promises_nothing(self):
        (process,) = self.victims_report("centuries")
        (loop,) = process["loops"]
        self.assertEqual((loop["iterations"], loop["timer_lag_seconds"]["count"]), (2, 0))

    def test_a_wait_on_a_socket_is_no_loop(self):
        (process,) = self.victims_report("no_epoll")
        self.assertEqual(process["loops"], [])
        self.assertNotIn("epoll", process["fds"]["opened_by_kind"])
        self.assertEqual(process["fds"]["by_kind"].get("tcp"), 1)

    def test_the_ends_of_loops_are_seen(self):
        for case in ("out_of_sight", "destructors"):
            with self.subTest(case=case):
                self.victims_report(case, status=-signal.SIGKILL)
        for process in self.reports():
            self.assertNotEqual(process["loops"], [])
            self.assertEqual([loop["state"] for loop in process["loops"]], ["ended"] * len(process["loops"]))

    def live(self, case):
        """Of a process that has done its part and waits: its descriptors by number, and its loops."""
        self.victim("loops", case, status=0)
        environment = {"PATH": os.environ["PATH"], "LOOPSCOPE_DIR": self.recordings, "LD_PRELOAD": PROBE, "LOOPSCOPE_PROBE": with_extra("")}
        with subprocess.Popen([os.path.join(VICTIMS, "loops"), case, "stay"], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE) as victim, \
             subprocess.Popen([BIN, "serve", "--listen", "127.0.0.1:0", "--dir", self.recordings], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as server:
            try:
                for line in victim.stdout:
                    if line == b"looked at\n":
                        break
                url = re.search(rb"http://[0-9.]+:[0-9]+", server.stdout.readline()).group().decode()
                with urllib.request.urlopen(f"{url}/api/v1/snapshot?descriptors=1", timeout=DEADLINE) as answer:
                    processes = json.load(answer)["processes"]
            finally:
                victim.kill()
                server.kill()
        (process,) = [process for process in processes if process["pid"] == victim.pid]
        return {fd["fd"]: fd for fd in process["fds"]["list"]}, process["loops"]

    def test_data_that_is_the_number_of_another_descriptor(self):
        descriptors, _ = self.live("indices")
        self.assertEqual((descriptors[30]["events"], descriptors[31]["events"]), (5, 0))

    def test_a_set_that_was_closed_is_empty(self):
        descriptors, loops = self.live("closed_set")
        self.assertEqual([loop["registered_fds"] for loop in loops if loop["state"] != "ended"], [0])
        self.assertIsNone(descriptors[30]["epoll_fd"])

    def test_data_that_changes_all_the_time(self):
        (process,) = self.victims_report("changing")
        self.assertEqual((process["loops"][0]["ready_events"], process["dropped"]["events"]), (1, 0))

    def test_threads_of_a_forked_child(self):
        for _ in range(5):
            shutil.rmtree(self.recordings)
            os.mkdir(self.recordings, 0o700)
            fds = self.victims_report("threads_of_a_child")[-1]["fds"]
            self.assertEqual((fds["inherited"], fds["opened"], fds["closed"]), (3, 8, 0))

    def test_threads_of_a_forked_child_while_its_recording_is_made(self):
        self.victim("loops", "late_threads_of_a_child", before=(os.path.join(VICTIMS, "libslow_stat.so"),), status=0)
        fds = self.reports()[-1]["fds"]
        self.assertEqual((fds["inherited"], fds["opened"], fds["closed"]), (3, 6, 0))

    def test_a_child_that_records_nothing_and_ends_its_thread(self):
        (process,) = self.victims_report("forking_thread")
        self.assertEqual([loop["iterations"] for loop in process["loops"]], [1])

    def test_a_child_that_returns_from_its_parents_wait(self):
        (process,) = self.victims_report("forking_handler", status=-signal.SIGKILL)
        (loop,) = process["loops"]
        self.assertEqual((loop["iterations"], loop["polls"]["interrupted"]), (1, 1))

    def test_a_crowd(self):
        (process,) = self.victims_report("crowd")
        (site,) = process["fds"]["sites"]
        self.assertEqual((site["opened"], site["closed"]), (600000, 600000))
        self.assertLess(site["peak"], 100)

    def test_sealed(self):
        (process,) = self.victims_report("sealed")
        self.assertEqual([loop["iterations"] for loop in process["loops"]], [1] * 4)
        self.assertEqual(process["dropped"]["loops"], 0)

    def test_status(self):
        (process,) = self.victims_report("status", "-1", status=255)
        self.assertEqual(process["exit_status"], 255)


class Confined(Case):
    @unittest.skipUnless(ROOT, "needs root, to be somebody else")
    def test_another_user(self):
        self.assertIn(b"uid 65534 65534", self.victim("confined", "user", status=0).out)

    @unittest.skipUnless(ROOT, "needs root, for chroot")
    def test_another_root(self):
        self.assertIn(b"directories: -1 -1 -1", self.victim("confined", "root", status=0).out)

    @unittest.skipUnless(ROOT, "needs root, for unshare")
    def test_another_descriptor_table(self):
        self.victim("confined", "files", status=0)

    def test_seccomp_filters(self):
        self.victim("confined", "filtered_away", status=-signal.SIGSYS)  # the filter does kill
        for how in range(4):
            for stacks in ("off", "caller", "full"):
                with self.subTest(how=how, stacks=stacks):
                    self.victim("confined", "filtered", str(how), probe_options=f"stacks={stacks}", status=19)

    def test_seccomp_strict(self):
        self.victim("confined", "strict", status=23)

    def test_few_descriptors(self):
        for limit in (5, 12, 300):
            with self.subTest(limit=limit):
                self.victim("confined", "few_descriptors", str(limit), status=0)

    def test_descriptors_beyond_the_limit(self):
        self.victim("confined", "high_descriptors", status=0)

    def test_little_memory(self):
        # Address space, as ulimit -v: what the recording takes of it is little.
        for wanted, limit in ((50, 150), (150, 250), (300, 1000)):
            with self.subTest(wanted=wanted, limit=limit):
                self.assertIn(b"all of it", self.victim("confined", "little_memory", str(wanted), str(limit), status=0).out)

    def test_no_memory(self):
        self.assertIn(b"mmap 0, errno 12", self.victim("confined", "no_memory", status=0).out)

    # The mapping of the recording counts as address space of the program, whatever of it is used: docs/probe.md.
    @unittest.expectedFailure
    def test_locked_memory(self):
        self.victim("confined", "memory_lock", "8", status=0)

    def test_no_file_size(self):
        self.victim("confined", "no_file_size", status=-signal.SIGXFSZ)


class Places(Case):
    """Where the recording goes is of no use: the program runs all the same."""

    def in_namespace(self, options, before="true"):
        probe = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)
        if probe.returncode != 0:
            self.skipTest(f"no mount namespace to be had here: {probe.stderr.decode().strip()}")
        script = (f'mount -t tmpfs -o mode=700,{options} none "$LOOPSCOPE_DIR" && {{ {before}; }} && '
                  f'LD_PRELOAD=$PRELOAD exec "$VICTIM" used')
        results = []
        for preload in ("", PROBE):
            results.append(self.run_once(*UNSHARE, "sh", "-c", script, env={
                "PRELOAD": preload, "VICTIM": os.path.join(VICTIMS, "confined")}))
        self.assertEqual(results[0].lines(), results[1].lines())
        self.assertEqual(results[0].status, 29)

    def test_full(self):
        self.in_namespace("size=64k", 'dd if=/dev/zero of="$LOOPSCOPE_DIR/ballast" bs=4k count=16 2>/dev/null; true')

    def test_full_later(self):
        for size in (80, 130, 180, 260):
            with self.subTest(size=size):
                self.in_namespace(f"size={size}k")

    def test_read_only(self):
        self.in_namespace("size=16m", 'mount -o remount,ro "$LOOPSCOPE_DIR"')

    def test_of_somebody_else(self):
        self.in_namespace("size=16m", 'chmod 755 "$LOOPSCOPE_DIR"')

    def test_no_directory(self):
        for place in ("/no/such/place", "/dev/null", "x" * 5000):
            with self.subTest(place=place[:20]):
                self.victim("confined", "used", env={"LOOPSCOPE_DIR": place, "LOOPSCOPE_PROBE": with_extra("")}, status=29)
                self.victim("confined", "used", probe_options="dir=" + place, status=29)

    def test_options_that_mean_nothing(self):
        for options in ("", ",", "stacks", "stacks=", "run=x,stacks=purple", "x" * 100_000, "dir="):
            with self.subTest(options=options[:20]):
                self.victim("confined", "used", probe_options=options, status=29)


class Loading(Case):
    def library(self, name):
        return os.path.join(VICTIMS, f"lib{name}.so")

    def test_libraries_that_come_and_go(self):
        said = self.victim("loading", "all", self.library("opening"), status=0).out
        self.assertIn(b"dlmopen: opens 4, loops 3", said)
        self.assertIn(b"RTLD_DEEPBIND: opens 4, loops 3", said)

    def test_another_preload_that_hooks_the_same(self):
        hooking = self.library("hooking")
        for order in ("before", "after"):
            with self.subTest(order=order):
                said = self.victim("hooked", hooking, status=0, **{order: (hooking,)})
                self.assertIn(b"its entry is there: 1", said.out)
                self.assertEqual(said.err, b"hooking: 25 opens, 25 closes, 25 waits, 25 mallocs\n")
        for process in self.reports():
            self.assertEqual([loop["iterations"] for loop in process["loops"]], [25])
            self.assertGreaterEqual(process["fds"]["opened"], 26)

    def test_preloads_that_cannot_be_loaded(self):
        broken = os.path.join(self.place, "broken.so")
        with open(broken, "wb") as file:
            file.write(b"\x7fELF\x01\x01\x01" + bytes(200))  # 32 bit, and nothing in it
        for order in ("before", "after"):
            with self.subTest(order=order):
                said = self.victim("hooked", status=0, **{order: (broken, "/no/such/library.so")})
                self.assertEqual(said.err.count(b"cannot be preloaded"), 2)

    def allocator(self, preload):
        for name, arguments, status in (("hooked", (), 0), ("families", ("fork",), 10), ("families", ("threads_fork",), 0),
                                        ("visible", ("threads", "200"), 0), ("loading", ("all", self.library("opening")), 0)):
            for order in ("before", "after"):
                with self.subTest(preload=preload, order=order, victim=name, arguments=arguments):
                    self.victim(name, *arguments, status=status, **{order: (preload,)})

    def test_other_allocators(self):
        found = [name for name in map(ctypes.util.find_library, ("jemalloc", "tcmalloc_minimal")) if name]
        for preload in found:
            self.allocator(preload)
        if not found:
            self.skipTest("neither libjemalloc2 nor libtcmalloc-minimal4 is installed")

    def test_an_allocator_that_opens_files(self):
        preload = self.library("opening_malloc")
        for order in ("before", "after"):
            for name, arguments, status in (("hooked", (), 0), ("families", ("fork",), 10), ("visible", ("threads", "200"), 0)):
                with self.subTest(order=order, victim=name):
                    self.victim(name, *arguments, status=status, **{order: (preload,)})

    def sanitized(self, compiler, *before):
        program = os.path.join(self.place, "sanitized")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "families.c")
        flags = ("-fsanitize=address", "-D_GNU_SOURCE", "-pthread", "-w", "-O1", "-o", program)
        possible = subprocess.run([compiler, *flags, "-x", "c", "-"], input=b"int main(void) { return 0; }", capture_output=True,
                                  check=False)
        if possible.returncode != 0:
            self.skipTest(f"{compiler} -fsanitize=address does not work here")
        subprocess.run([compiler, *flags, source], check=True)
        for case, status in (("fork", 10), ("threads_fork", 0), ("vfork", 0), ("spawn", 0)):
            with self.subTest(case=case):
                self.twins(program, case, before=before, status=status, env={"ASAN_OPTIONS": "detect_leaks=0"})

    def test_address_sanitizer_of_gcc(self):
        if shutil.which("gcc") is None:
            self.skipTest("no gcc")
        runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
        self.sanitized("gcc", os.path.realpath(runtime))

    def test_address_sanitizer_of_clang(self):
        if shutil.which("clang") is None:
            self.skipTest("no clang")
        self.sanitized("clang")


class StacksOfPrograms(Case):
    def test_small_stacks(self):
        for arguments in (("threads",), ("fibers", "8192"), ("fibers", "16384"), ("signal_stack", "8192"),
                          ("signal_stack", "8192", "fork"), ("deep",)):
            for stacks in ("off", "full"):
                with self.subTest(arguments=arguments, stacks=stacks):
                    said = self.victim("stacks", *arguments, probe_options=f"stacks={stacks}", status=0).out
                    self.assertIn(b"good 1", said)

    def test_stacks_that_are_used_up(self):
        for case in ("overflow", "overflow_in_thread"):
            with self.subTest(case=case):
                self.assertEqual(self.victim("stacks", case, status=41).out, b"signal 11, good 1\n")

    def test_how_much_the_hooks_need(self):
        def measured(run):
            return {name: int(size) for name, size in re.findall(r"(.*): (\d+)\n", run.err.decode())}
        bare = measured(self.run_once(os.path.join(VICTIMS, "stacks"), "paint"))
        observed = measured(self.run_once(os.path.join(VICTIMS, "stacks"), "paint", preload=(PROBE,)))
        self.assertEqual(set(bare), set(observed))
        self.assertGreater(len(bare), 10)
        for name, size in observed.items():
            print(f"stack of {name}: {bare[name]} bytes bare, {size} under the probe", file=sys.stderr)
        for name, size in observed.items():
            # A site that was not seen before is the dearest; a forked child's recording is made on a stack of the probe's.
            self.assertLess(size - bare[name], 2048, name)


class Visible(Case):
    def test_descriptors_threads_environment_and_settings(self):
        said = self.victim("visible", "self", status=0).out.decode()
        self.assertIn("before main: 3 4, errno 77; 5 6 0\n", said)
        self.assertIn("/proc/self/fd: 8 0 1 2 3 4 5 6 7\n", said)
        self.assertIn("/proc/self/task: 1\n", said)

    def test_the_recording_of_hooks_before_main_is_where_it_was_asked_for(self):
        self.victim("visible", "self", status=0)
        process = self.report()
        # Two by the preinit function, two by constructors, at least.
        self.assertEqual(process["fds"]["open"], 3 + 4)

    def test_keys(self):
        self.victim("visible", "keys", status=0)

    def test_thousands_of_threads(self):
        self.victim("visible", "threads", "2000", status=0)
        process = self.report()
        self.assertEqual(process["fds"]["open"], 3 + 4)
        # Each opens two descriptors, and one more in each of the three rounds of its destructor.
        self.assertEqual(process["fds"]["closed"], 2000 * 5 + 1)

    def test_thread_local_storage(self):
        self.victim("visible", "tls", status=0)


PYTHON = r"""
import os, select, signal, socket, subprocess, sys, threading, asyncio
print(subprocess.run(["sh", "-c", "echo sh; exit 3"], capture_output=True))
print(subprocess.run(["sort", "-r"], input=b"a\nb\n", stdout=subprocess.PIPE).stdout)
print(subprocess.run([sys.executable, "-S", "-E", "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))"], capture_output=True).stdout)
r, w = os.pipe()
poller = select.epoll()
poller.register(r, select.EPOLLIN)
os.write(w, b"x")
print(poller.poll(1), sorted(os.listdir("/proc/self/fd")))
pid = os.fork()
if pid == 0:
    print("child", poller.poll(0), flush=True)
    os._exit(5)
print(os.waitpid(pid, 0)[1])
async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(await reader.read())
    process = await asyncio.create_subprocess_exec("echo", "async", stdout=subprocess.PIPE)
    print(await process.communicate())
    writer.close()
    server.close()
asyncio.run(main())
thread = threading.Thread(target=lambda: print("thread"))
thread.start(); thread.join()
sys.exit(7)
"""
PERL = r"""
use strict; $| = 1;
print `echo from a shell`, $? >> 8, "\n";
open(my $pipe, "-|", "sort", "/dev/stdin") or die; close $pipe;
my $pid = fork(); if (!$pid) { print "child\n"; exit 4 } waitpid($pid, 0); print $? >> 8, "\n";
opendir(my $dir, "/proc/self/fd"); print join(" ", sort grep { !/^\./ } readdir $dir), "\n";
open(my $no, "<", "/no/such/file") or print "$!\n";
my $was = alarm 0; local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select(undef, undef, undef, 5) ; print "woken $!\n";
exit 9;
"""
RUBY = r"""
$stdout.sync = true
puts `echo from a shell`, $?.exitstatus
r, w = IO.pipe
pid = fork { puts "child"; exit! 4 }
Process.wait pid; puts $?.exitstatus
w.write "x"; p IO.select([r], nil, nil, 1).first.size, r.read_nonblock(1)
p Thread.new { IO.popen(["cat"], "r+") { |io| io.write "through cat"; io.close_write; io.read } }.value
begin; File.open("/no/such/file"); rescue => e; puts e.message; end
exit 9
"""
SHELL = r"""
echo one | cat | tr a-z A-Z
exec 7</etc/passwd; read -r line <&7; echo "${line%%:*}"; exec 7<&-
ls /proc/self/fd | wc -l
(exit 5); echo $?
trap 'echo trapped' USR1; kill -USR1 $$; { sh -c 'kill -KILL $$'; } 2>/dev/null; echo $?
coproc_out=$(printf '%s ' {1..5} | { read -r all; echo "$all"; }); echo "$coproc_out"
diff <(echo a) <(echo b); echo $?
sleep 0.05 & wait $!; echo $?
no-such-command; echo $?
exit 11
"""


class Scripts(Case):
    def script(self, program, *arguments, status):
        path = shutil.which(program)
        if path is None:
            self.skipTest(f"no {program}")
        self.twins(path, *arguments, status=status)

    def test_python(self):
        self.twins(sys.executable, "-S", "-E", "-c", PYTHON, status=7)

    def test_perl(self):
        self.script("perl", "-e", PERL, status=9)

    def test_ruby(self):
        self.script("ruby", "-e", RUBY, status=9)

    def test_bash(self):
        self.script("bash", "-c", SHELL, status=11)


if __name__ == "__main__":
    # No core files of the victims that are meant to die.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    unittest.main(verbosity=2)
