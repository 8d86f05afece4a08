#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every system call that the server's threads make fails, one after the other: in `serve`, in `run --listen`, and in a program that has
the server in it. The next request is answered; what was refused is counted and shown; the observed program and the host's own loop
go on as if nothing were, and end as they would.

strace is attached to the threads of the server alone (they are named "loopscope-..."); the host's own are not touched."""
import glob
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import faults_support as faults
from faults_support import LOOPSCOPE, OBSERVED

HOST = os.environ.get("HOST", "")
SNAPSHOT = "/api/v1/snapshot?descriptors=1"
ROUTES = ("/healthz", "/", "/metrics", SNAPSHOT, "/sd", "/api/v1/stream")


# What the server counts, and as what (loopscope_server_failures_total, /healthz). `write` wakes it, and is made once more: only if both fail.
COUNTED = {("accept4", "EMFILE"): "accept", ("accept4", "ENFILE"): "accept", ("accept4", "ENOMEM"): "accept", ("recvfrom", "ENOMEM"): "connection",
           ("recvfrom", "ENOSPC"): "connection", ("sendmsg", "ENOMEM"): "connection", ("sendmsg", "ENOSPC"): "connection", ("poll", "ENOMEM"): "wait"}
ALSO = {"recvfrom": ("ENOMEM",), "poll": ("ENOMEM",)}  # tried in the short form as well


class Server:
    """A process with a server in it. `end()` gives its status and output."""

    def __init__(self, argv, place, port_of):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                                        env=faults.environment(place), cwd=place)
        self.pid, self.said = self.process.pid, {"stdout": b"", "stderr": b""}
        self.readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in self.said]
        for reader in self.readers:
            reader.start()
        until = time.monotonic() + faults.DEADLINE
        while not (found := port_of(self.text())):
            if time.monotonic() > until or self.process.poll() is not None:
                raise AssertionError(f"no server: {self.text()}")
            time.sleep(0.02)
        self.port = int(found.group(1))
        self.found = found

    def _read(self, name):
        while piece := os.read(getattr(self.process, name).fileno(), 4096):
            self.said[name] += piece

    def text(self):
        return (self.said["stdout"] + self.said["stderr"]).decode(errors="replace")

    def threads(self):
        """Of the server."""
        found = []
        for path in glob.glob(f"/proc/{self.pid}/task/*/comm"):
            try:
                with open(path, encoding="utf-8") as file:
                    if file.read().startswith("loopscope-"):
                        found.append(path.split("/")[4])
            except OSError:
                pass
        return found

    def get(self, route, timeout):
        """(status, body); status 0: no answer. Of a stream the first line."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{route}", timeout=timeout) as answer:
                body = answer.readline() if route.endswith("stream") else answer.read()
                return answer.status, body.decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, repr(error)
        except Exception as error:  # http.client's: half an answer
            return 0, repr(error)

    def failures(self):
        """What it counts, by kind."""
        status, text = self.get("/metrics", faults.DEADLINE)
        if status != 200:
            raise AssertionError(f"/metrics: {status} {text}")
        return {kind: int(count) for kind, count in re.findall(r'^loopscope_server_failures_total\{kind="(\w+)"\} (\d+)$', text, re.M)}

    def end(self, signal=None):
        if signal:
            self.process.send_signal(signal)
        self.process.stdin.close()
        status = self.process.wait(faults.DEADLINE)
        for reader in self.readers:
            reader.join(faults.DEADLINE)
        return status

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.pid, 9)
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


class Injection(unittest.TestCase):
    counted = {}

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name

    def server(self, argv, port_of):
        server = Server(argv, self.root, port_of)
        self.addCleanup(server.kill)
        return server

    def ask_all(self, server, timeout):
        return {route: server.get(route, timeout) for route in ROUTES}

    @staticmethod
    def served(server, route):
        """As get(). A stream that was left is free again when its next event cannot be sent: of too many at once one waits for that."""
        until = time.monotonic() + faults.DEADLINE
        while True:
            status, body = server.get(route, faults.DEADLINE)
            if status != 503 or "too_many_streams" not in body or time.monotonic() > until:
                return status, body
            time.sleep(0.1)

    def besiege(self, name, server):
        with faults.Attached(server.threads(), self.root) as bare:
            for route in ROUTES:
                status, body = self.served(server, route)
                self.assertEqual(status, 200, f"{route}: {body[:500]}")
        calls = list(dict.fromkeys(bare.calls))
        self.assertIn("accept4", calls)
        tried = injected = refused = 0
        for call in calls:
            for error in dict.fromkeys(faults.errors_of(call) + ALSO.get(call, ())):
                # Interrupted each time, for ever, is no failure that there is.
                for when in ("1", "2", *(() if error == "EINTR" else ("1+",))) if faults.SLOW else ("1",):
                    inject = f"{call}:error={error}:when={when}"
                    before = server.failures()
                    with faults.Attached(server.threads(), self.root, inject) as attached:
                        answers = self.ask_all(server, 2)
                    what = f"{name} with {inject}: {server.text()[-2000:]}"
                    self.assertIsNone(server.process.poll(), what)
                    for route, (status, body) in answers.items():
                        # Half an answer is seen as such; an error says what it is.
                        self.assertIn(status, (0, 200, 404, 500, 503), f"{what}: {route} {body}")
                        if status >= 500:
                            self.assertIn('"error"', body, f"{what}: {route}")
                            refused += 1
                    for route in ROUTES:
                        status, body = self.served(server, route)
                        self.assertEqual(status, 200, f"{what}: afterwards {route} {body}")
                    kind = "wait" if call == "write" and when == "1+" and error != "EAGAIN" else COUNTED.get((call, error))
                    if attached.injected and kind:
                        self.assertGreater(server.failures()[kind], before[kind], what)
                        self.assertRegex(server.get("/healthz", faults.DEADLINE)[1], rf"failures: .*\b{kind}\b")
                    # A recording that cannot be read is not left out without a word.
                    status, body = answers[SNAPSHOT]
                    if status == 200:
                        shown = json.loads(body)
                        self.assertTrue(shown["processes"] or shown["unreadable"], what)
                    tried += 1
                    injected += attached.injected
        self.assertGreater(injected, tried // 2, "hardly any call was made to fail")
        self.__class__.counted[name] = (len(calls), injected, refused)

    def test_serve(self):
        done = faults.run([LOOPSCOPE, "run", "--no-http", "--", OBSERVED, "leak", "0"], env=faults.environment(self.root), cwd=self.root)
        self.assertEqual(done.status, 0, done)
        server = self.server([LOOPSCOPE, "serve", "--listen", "127.0.0.1:0"], lambda text: re.search(r"http://127\.0\.0\.1:(\d+)/", text))
        self.besiege("serve", server)
        self.assertEqual(server.end(15), 0, server.text())
        self.assertNotIn("terminate", server.text())

    def test_run(self):
        server = self.server([LOOPSCOPE, "run", "--listen", "127.0.0.1:0", "--", OBSERVED, "wait", "7"],
                             lambda text: re.search(r"http://127\.0\.0\.1:(\d+)/[^$]*\nerr\n", text) or
                             re.search(r"err\n[^$]*http://127\.0\.0\.1:(\d+)/", text))
        self.besiege("run", server)
        self.assertEqual(server.end(), 7, server.text())
        self.assertEqual(server.said["stdout"], b"out\nend\n")
        self.assertIn("exited with status 7", server.text())

    def test_in_process(self):
        server = self.server([HOST], lambda text: re.match(r"(\d+) (\d+)\n", text))
        turns = self.turns(server)
        self.besiege("in the program", server)
        self.assertGreater(self.turns(server), turns, "the host's loop stood still")
        self.assertEqual(self.hello(server), b"hello\n")
        self.assertEqual(server.end(), 7, server.text())
        self.assertTrue(server.said["stdout"].endswith(b"\nended\n"), server.text())

    @staticmethod
    def turns(server):
        return int(re.search(r"^loopscope_iterations_total\S* (\d+)", server.get("/metrics", faults.DEADLINE)[1], re.M).group(1))

    @staticmethod
    def hello(server):
        with socket.create_connection(("127.0.0.1", int(server.found.group(2))), timeout=faults.DEADLINE) as client:
            return client.recv(100)

    def test_out_of_descriptors(self):
        """Somebody waits for the page, and there is no descriptor for them: the server does not spin, the host accepts with the next one
        that is free, and the page comes when there are descriptors again."""
        server = self.server([HOST], lambda text: re.match(r"(\d+) (\d+)\n", text))
        self.assertEqual(server.get("/healthz", faults.DEADLINE), (200, "ok\n"))
        turns = self.turns(server)
        until = time.monotonic() + faults.DEADLINE
        while (there := len(os.listdir(f"/proc/{server.pid}/fd"))) > 0 and time.monotonic() < until:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (there, 4096))
            time.sleep(0.2)
            if len(os.listdir(f"/proc/{server.pid}/fd")) == there:
                break
        waiting = [socket.create_connection(("127.0.0.1", server.port), timeout=faults.DEADLINE) for _ in range(3)]
        for client in waiting:
            self.addCleanup(client.close)
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        with faults.Attached(server.threads(), self.root) as attached:
            time.sleep(2)
        accepts = attached.calls.count("accept4")
        self.assertGreater(accepts, 0, "nobody tried to accept")
        self.assertLess(accepts, 100, "the server spins")
        # One descriptor more: it is the host's.
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (there + 1, 4096))
        self.assertEqual(self.hello(server), b"hello\n")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1024, 4096))
        for client in waiting:
            answer = b""
            while piece := client.recv(4096):
                answer += piece
            # Who waited for longest may have been hung up on: the others are served.
            self.assertTrue(answer == b"" or b" 200 " in answer.partition(b"\r\n")[0], answer)
        status, text = server.get("/healthz", faults.DEADLINE)
        self.assertEqual(status, 200)
        self.assertRegex(text, r"^ok\nfailures: \d+ accept")
        self.assertGreater(server.failures()["accept"], 0)
        self.assertGreater(self.turns(server), turns)
        self.assertEqual(server.end(), 7, server.text())


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=2).result
    left = faults.survivors()
    if left:
        print(f"still there: {left}", file=sys.stderr)
    good = result.wasSuccessful() and not left
    if good and len(Injection.counted) == 3:
        calls = sum(count for count, _, _ in Injection.counted.values())
        injected = sum(count for _, count, _ in Injection.counted.values())
        print(f"reliability: injected-server: {calls} kinds of call in 3 servers, {injected} failures injected, every next request answered, "
              "no host or program changed")
    sys.exit(0 if good else 1)
