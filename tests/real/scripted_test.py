#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Event loops of interpreters, unchanged, under the probe: what their recordings say is equal to the kernel's account.

    LOOPSCOPE_PROBE_LIB=.../libloopscope-probe.so LOOPSCOPE_BIN=.../loopscope TOOLS=build/tools/usr/bin \
        python3 scripted_test.py [Node.test_http ...]

Each test starts a server of scripts/, drives a bounded load, lets its timers run for a while, sends it signals that it handles,
and ends it in order. Then every process, every thread, every epoll descriptor is compared: waits that returned, ready events,
timeouts, non-blocking, interrupted and saturated waits, descriptors opened and closed.
"""

import glob
import os
import sys
import time
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import load  # noqa: E402  pylint: disable=wrong-import-position
import observed  # noqa: E402  pylint: disable=wrong-import-position
from scripted_support import (  # noqa: E402  pylint: disable=wrong-import-position
    PYTHON, ScriptedTest, http_burst, lines_burst)


def lines(port, texts):
    """Requests of the line protocol on one connection, one after the other."""
    client = load.connect(port)
    answers = []
    for text in texts:
        client.sendall(text + b"\n")
        answers.append(load.read_until(client, b"\n"))
    load.hung_up(client)
    return answers


class Node(ScriptedTest):
    """libuv: epoll_pwait, close by syscall(SYS_close), a loop on the main thread and one in each worker, one more in the thread of
    node's platform that keeps delayed tasks, and one on the main thread that turns once before node's own. Files are read in a
    pool of threads without loops."""

    FILES = 3 * (10 * 4 + 8)  # requests for /file

    def serve(self, environment=None):
        run = self.observe_script(["node", "node_http.js"], environment)
        run.ready()
        for port in run.ports:
            load.http(port, ["/", "/file"], connections=10, requests=8)
            load.http(port, ["/", "/file"], connections=8, requests=2, keep_alive=False)
        load.http(run.ports[0], ["/name", "/child"], connections=2, requests=2)
        http_burst(run.ports[0], connections=60)
        run.shake()
        both = run.end()
        self.assert_ended_well(run)
        node = next(image for image in both.account.images if image.parent is None)
        self.assertEqual(node.accepts, 3 * (10 + 16) + 2 + 60)
        self.assertEqual(len({tid for tid, _, _ in node.loops}), 4, node)
        self.assert_some(max(self.waits_of(node), key=lambda waits: waits.ready), "ready", "timeouts", "nonblocking", "interrupted")
        self.assert_equal_and_only_epoll(both)
        with open(run.trace.log, encoding="utf-8", errors="replace") as log:
            reads = sum('node_http.js"' in line and "openat(" in line for line in log)
        return both, node, reads

    def test_http(self):
        both, node, reads = self.serve()
        self.assertNotIn("io_uring_setup", node.opened_by_call)  # node 20 leaves it off
        self.assertGreaterEqual(reads, self.FILES)
        children = [image for image in both.account.images if image.path == "/bin/true"]
        self.assertEqual(len(children), 2)
        self.assertEqual(both.of(node)["dropped"]["events"], 0)
        for child in children:
            both.of(child)  # each has a recording

    def test_io_uring(self):
        """UV_USE_IO_URING=1: libuv opens, reads and closes files and registers descriptors with epoll through a ring.

        Seen: waits and what they return, accepts, every other open and close (they stay system calls). Not seen, as no function and
        no system call is called for them: the files of the ring, their opens and their closes; and which descriptor an event is for
        where the ring registered it: such events are counted as dropped.
        """
        both, node, reads = self.serve({"UV_USE_IO_URING": "1"})
        self.assertGreater(node.opened_by_call["io_uring_setup"], 0, "this kernel or node has no io_uring")
        self.assertLess(reads, 10, "the files' opens are system calls after all")  # its own three loads of the script
        process = both.of(node)
        self.assertEqual(process["fds"]["opened_by_kind"]["io_uring"], node.opened_by_call["io_uring_setup"])
        self.assertGreater(process["dropped"]["events"], 0)


class EventMachine(ScriptedTest):
    """With epoll it sleeps in ppoll on the epoll descriptor, then asks epoll_wait with timeout 0: one turn."""

    def serve(self, backend):
        run = self.observe_script(["ruby", "em_echo.rb", backend])
        port = run.ready()
        load.echo(port, clients=20, messages=10)
        lines_burst(port, connections=60)
        run.shake()
        time.sleep(0.1)
        both = run.end()
        self.assert_ended_well(run)
        return both

    def test_epoll(self):
        both = self.serve("epoll")
        image = self.only(both, "ruby")
        (waits,) = self.waits_of(image, turns=True)
        self.assert_some(waits, "ready", "timeouts", "interrupted")
        self.assertEqual(image.accepts, 80)
        self.assert_equal_and_only_epoll(both, turns=True)

    def test_select(self):
        both = self.serve("select")
        image = self.only(both, "ruby")
        self.assertEqual(image.accepts, 80)
        self.assert_equal_to_the_kernels(both)
        self.assert_equal_poll_loops(image, both.of(image), "select", ("select", "pselect6"))


class Thin(ScriptedTest):
    """A Rack application on EventMachine, started by its own command."""

    def test_http(self):
        where = "lib/x86_64-linux-gnu/rubygems-integration/3.1.0"
        found = [path for root in (os.path.dirname(observed.TOOLS), "/usr") for path in glob.glob(f"{root}/{where}/gems/thin-*")]
        self.assertTrue(found, f"Debian's package thin is neither installed nor unpacked below {observed.TOOLS}/..")
        thin = found[0]
        libraries = [f"{thin}/lib", thin.replace("/gems/", "/extensions/x86_64-linux/3.1.0/")]
        port = observed.free_port()
        run = self.observe_script(
            ["ruby", *(f"-I{path}" for path in libraries), f"{thin}/bin/thin",
             "-R", "thin.ru", "-a", "127.0.0.1", "-p", str(port), "start"])
        run.wait_for_port(port, 30)
        load.http(port, ["/"], connections=10, requests=10)
        load.http(port, ["/", "/busy/5"], connections=10, requests=2, keep_alive=False)
        http_burst(port, connections=50)
        run.shake()
        time.sleep(0.1)
        both = run.end()
        self.assertEqual(run.status, 0, run.output())
        image = self.only(both, "ruby")
        (waits,) = self.waits_of(image, turns=True)
        self.assert_some(waits, "ready", "timeouts", "interrupted")
        self.assertEqual(image.accepts, 10 + 20 + 50)
        self.assert_equal_and_only_epoll(both, turns=True)


class LibevInside(ScriptedTest):
    """Libraries with a copy of libev in them. Linked into a shared object, so its calls go through that object's PLT."""

    def serve(self, command, environment=None, file=False):
        run = self.observe_script(command, environment)
        port = run.ready()
        load.echo(port, clients=20, messages=10)
        lines_burst(port, connections=100)  # libev takes 64 events at first
        if file:
            lines(port, [b"file"] * 5)
        run.shake()
        time.sleep(0.1)
        both = run.end()
        self.assert_ended_well(run)
        return both

    def check_epoll(self, command, program, environment=None, *some, **options):
        both = self.serve(command, environment, **options)
        image = self.only(both, program)
        waits = max(self.waits_of(image), key=lambda one: one.returns)
        self.assert_some(waits, "ready", "timeouts", "interrupted", "saturated", *some)
        self.assertEqual(image.accepts, 120 + bool(options.get("file")))
        self.assert_equal_and_only_epoll(both)

    def check_poll(self, command, program, environment, backend, calls, **options):
        both = self.serve(command, environment, **options)
        image = self.only(both, program)
        self.assertEqual(image.accepts, 120 + bool(options.get("file")))
        self.assertEqual(self.waits_of(image), [])
        self.assert_equal_to_the_kernels(both)
        self.assert_equal_poll_loops(image, both.of(image), backend, calls)


class CoolIo(LibevInside):
    def test_epoll(self):
        self.check_epoll(["ruby", "coolio_echo.rb"], "ruby")

    def test_poll(self):
        self.check_poll(["ruby", "coolio_echo.rb"], "ruby", {"LIBEV_FLAGS": "2"}, "poll", ("poll",))

    def test_select(self):
        self.check_poll(["ruby", "coolio_echo.rb"], "ruby", {"LIBEV_FLAGS": "1"}, "select", ("select", "pselect6"))


class Async(LibevInside):
    """ruby-async: a fiber scheduler over nio4r's libev."""

    def test_epoll(self):
        self.check_epoll(["ruby", "async_echo.rb"], "ruby", None, "nonblocking")

    def test_poll(self):
        self.check_poll(["ruby", "async_echo.rb"], "ruby", {"LIBEV_FLAGS": "2"}, "poll", ("poll",))

    def test_select(self):
        self.check_poll(["ruby", "async_echo.rb"], "ruby", {"LIBEV_FLAGS": "1"}, "select", ("select", "pselect6"))


class AnyEventEV(LibevInside):
    def test_epoll(self):
        self.check_epoll(["perl", "ev_echo.pl"], "perl", None, "nonblocking")

    def test_poll(self):
        self.check_poll(["perl", "ev_echo.pl"], "perl", {"LIBEV_FLAGS": "2"}, "poll", ("poll",))

    def test_select(self):
        self.check_poll(["perl", "ev_echo.pl"], "perl", {"LIBEV_FLAGS": "1"}, "select", ("select", "pselect6"))


class Gevent(LibevInside):
    def test_epoll(self):
        self.check_epoll([PYTHON, "gevent_echo.py", "epoll"], "python3", None, "nonblocking", file=True)

    def test_poll(self):
        self.check_poll([PYTHON, "gevent_echo.py", "poll"], "python3", None, "poll", ("poll",), file=True)

    def test_select(self):
        self.check_poll([PYTHON, "gevent_echo.py", "select"], "python3", None, "select", ("select", "pselect6"), file=True)


class Asyncio(LibevInside):
    """Many waits with timeout 0, as every ready callback makes one; and as many events asked for as descriptors registered."""

    def test_epoll(self):
        self.check_epoll([PYTHON, "asyncio_echo.py", "epoll"], "python3", None, "nonblocking", file=True)

    def test_poll(self):
        self.check_poll([PYTHON, "asyncio_echo.py", "poll"], "python3", None, "poll", ("poll",), file=True)

    def test_select(self):
        self.check_poll([PYTHON, "asyncio_echo.py", "select"], "python3", None, "select", ("select", "pselect6"), file=True)


class Tornado(ScriptedTest):
    def test_http(self):
        run = self.observe_script([PYTHON, "tornado_http.py"])
        port = run.ready()
        load.http(port, ["/"], connections=10, requests=10)
        load.http(port, ["/", "/busy/5"], connections=10, requests=2, keep_alive=False)
        http_burst(port, connections=50)
        run.shake()
        time.sleep(0.1)
        both = run.end()
        self.assert_ended_well(run)
        image = self.only(both, "python3")
        (waits,) = self.waits_of(image)
        self.assert_some(waits, "ready", "timeouts", "nonblocking", "interrupted")
        self.assertEqual(image.accepts, 10 + 20 + 50)
        self.assert_equal_and_only_epoll(both)


if __name__ == "__main__":
    unittest.main(verbosity=2)
