# SPDX-License-Identifier: Apache-2.0
"""What the scripted servers need beyond observed.py: how they are started, loaded and ended, and how their logs are read.

    class ScriptedTest(RealProgramTest): observe_script(command, ...) -> ScriptedRun
        assert_equal_and_only_epoll(both), assert_equal_poll_loops(image, process, backend, calls)
    ScriptedRun: .ready() waits for its "READY PORT..." line, .ports; .shake() signals that it handles;
        .end() -> Both, after SIGTERM
    Line protocol (scripts/*_echo.*): what comes is sent back line by line; "busy N" blocks the loop for N ms first; "file" reads
        a file
    lines_burst(port), http_burst(port): more connections than the loop takes at once, all ready at once (-> saturated)

strace's log is told apart before kernel_account reads it, where path or socket alone don't say who called (tell_apart()).
"""

import os
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import load  # noqa: E402  pylint: disable=wrong-import-position
import observed  # noqa: E402  pylint: disable=wrong-import-position

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")
PYTHON = "/usr/bin/python3"  # Debian's: its modules are, and so is the libc

# What glibc opens by itself in these programs, beside kernel_account.INSIDE. A preload sees none of it.
INSIDE = (
    ("stack limits", r"/proc/self/maps$"),  # pthread_getattr_np, in the first thread
    ("memory", r"/proc/sys/vm/overcommit_memory$"),  # malloc gives an arena's memory back
    ("locale", r"/etc/locale\.alias$"),
)
OUTSIDE = (
    r"/proc/meminfo$",  # libuv asks how much there is
)

_RUBY_READS_OBJECT = re.compile(r'(openat\([^"]*"[^"]*\.so)(", [^,)]*O_NONBLOCK)')
_MAPS_OF_PROGRAM = re.compile(r'(openat\([^"]*"/proc/self/maps)(", O_RDONLY(?:\)| <unf))')
_PPOLL = re.compile(
    r"^(\d+ +)ppoll\(\[\{fd=(\d+), events=POLLIN\|POLLPRI\}, \{fd=(\d+), events=POLLIN\}\], 2, (.*), NULL, 8\) += (-?\d+|\?)(.*)$")


def tell_apart(log):
    """Rewrites strace's log:

    - Ruby opens each shared object by itself (O_NONBLOCK), to see whether it is one, before ld.so opens it again: the former is
      the program's, the latter is ld.so's, and the path is the same.
    - V8 reads the process' own maps as glibc does, and differs in O_CLOEXEC.
    - Ruby waits for *one* descriptor with ppoll on two: that one and the eventfd by which its signal handlers wake it up. Where
      the first is an epoll descriptor, this is the wait of that loop. When only the eventfd is ready it was a signal's doing:
      interrupted. (Not met in these runs: Ruby empties the eventfd before it sleeps again.)
    """
    with open(log, encoding="utf-8", errors="replace") as lines:
        text = lines.readlines()
    epolls = set()
    with open(log, "w", encoding="utf-8") as out:
        for line in text:
            made = re.search(r"epoll_create1?\(.*\) += (\d+)$", line)
            if made:
                epolls.add(made.group(1))
            line = _RUBY_READS_OBJECT.sub(r"\1 (read by Ruby)\2", line)
            line = _MAPS_OF_PROGRAM.sub(r"\1 (read by the program)\2", line)
            wait = _PPOLL.match(line)
            if wait and wait.group(2) in epolls:
                start, epoll, _, timeout, result, rest = wait.groups()
                if result.isdigit() and int(result) > 0:
                    result, rest = ("1", "") if f"fd={epoll}, revents" in rest else ("-1", " EINTR (by Ruby's eventfd)")
                line = f"{start}ppoll([{{fd={epoll}, events=POLLIN|POLLPRI}}], 1, {timeout}, NULL, 8) = {result}{rest}\n"
            out.write(line)


class ScriptedRun(observed.Run):
    def ready(self):
        self.ports = [int(port) for port in self.wait_for(r"^READY( \d+)+$", 30).group(0).split()[1:]]
        return self.ports[0]

    def shake(self, times=3, between=0.03):
        """Signals that end a wait early. Apart from each other: two at once are one."""
        for _ in range(times):
            time.sleep(between)
            self.signal(signal.SIGUSR2)
        time.sleep(between)

    def end(self, deadline=40):
        """It ends by itself, in order; then both accounts."""
        self.signal(signal.SIGTERM)
        self.trace.wait(deadline)
        tell_apart(self.trace.log)
        return self.finish(deadline)


class ScriptedTest(observed.RealProgramTest):
    inside = INSIDE
    outside = OUTSIDE

    def observe_script(self, command, environment=None, options=""):
        if os.path.sep not in command[0]:
            command = [observed.tool(command[0])] + command[1:]
        return ScriptedRun(self, command, environment, SCRIPTS, options, subprocess.DEVNULL)

    def waits_of(self, image, turns=False):
        """The kernel's waits on epoll descriptors, one object per loop that has any."""
        return [waits for waits in (image.turns if turns else image.loops).values() if waits.returns]

    def assert_some(self, waits, *names):
        """The run had some of each: else equality would say little."""
        for name in names:
            self.assertGreater(getattr(waits, name), 0, f"{name}: {waits}")

    def assert_ended_well(self, run):
        self.assertEqual(run.status, 0, run.output())
        self.assertRegex(run.output(), r"(?m)^DONE ")

    def assert_equal_poll_loops(self, image, process, backend, calls):
        """A loop on poll or select: everything that the thread waited for by these system calls is one loop."""
        kernels = {}
        for (tid, call, _), waits in image.polls.items():
            if call in calls:
                sums = kernels.setdefault(tid, dict.fromkeys(observed.LOOP_FIELDS, 0))
                for name, value in observed.kernels_loop(waits).items():
                    sums[name] += value
        ours = {loop["thread_id"]: observed.our_loop(loop) for loop in process["loops"] if loop["backend"] == backend}
        self.assertTrue(kernels, image)

        def flat(loops):
            return {f"thread {tid} {backend} {name}": value for tid, loop in loops.items() for name, value in loop.items()}
        self.assert_same("waits", flat(ours), flat(kernels), image)

    def assert_equal_and_only_epoll(self, both, turns=False):
        """The kernel's numbers, and no loop of another backend: what else a loop's thread polls for is no loop."""
        self.assert_equal_to_the_kernels(both, turns)
        for process in both.processes.values():
            others = [(loop["backend"], loop["thread_id"], loop["iterations"]) for loop in process["loops"]
                      if loop["backend"] != "epoll"]
            self.assertEqual(others, [], process["command"])

    def only(self, both, command):
        (image,) = [image for image in both.account.images if os.path.basename(image.path).startswith(command)]
        return image


def lines_burst(port, connections=100, milliseconds=150):
    """While the loop is held up, every connection becomes ready: the next wait returns as many as it has room for."""
    crowd = [load.connect(port) for _ in range(connections)]
    for client in crowd:  # all are accepted
        client.sendall(b"here\n")
        load.read_exactly(client, 5)
    holder = crowd.pop()
    hold = b"busy %d\n" % milliseconds
    holder.sendall(hold)
    time.sleep(milliseconds / 3000)
    for client in crowd:
        client.sendall(b"burst\n")
    for client in crowd:
        load.read_exactly(client, 6)
    load.read_exactly(holder, len(hold))
    for client in crowd + [holder]:
        load.hung_up(client)


def http_get(client, path, keep_alive=True):
    how = "keep-alive" if keep_alive else "close"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {how}\r\n\r\n".encode())


def http_answer(client):
    head, body = load.read_until(client, b"\r\n\r\n").split(b"\r\n\r\n", 1)
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(head.decode(errors="replace"))
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    return body + load.read_exactly(client, length - len(body))


def http_burst(port, connections=100, milliseconds=150):
    crowd = [load.connect(port) for _ in range(connections)]
    for client in crowd:
        http_get(client, "/")
        http_answer(client)
    holder = crowd.pop()
    http_get(holder, f"/busy/{milliseconds}")
    time.sleep(milliseconds / 3000)
    for client in crowd:
        http_get(client, "/")
    for client in crowd + [holder]:
        http_answer(client)
    for client in crowd + [holder]:
        load.hung_up(client)
