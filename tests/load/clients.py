#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients of one loopscope server, in one thread: those that read all they get, and those that a server has to bear.

    with Crowd("http://127.0.0.1:9464") as crowd:
        streams = crowd.streams(50)            # each checks every event: JSON, no turn unaccounted for, nothing counts backwards
        scrapes = crowd.scrapes(100)           # 100 times GET /metrics a second, whether or not earlier ones were answered
        slow = crowd.slow(5)                   # ask for the stream and read a byte a second of it
        idle = crowd.idle(1000)                # connect and say nothing, again when they are hung up on
        half = crowd.idle(20, said=HALF_A_REQUEST)
        ...                                    # any thread may look at the counts meanwhile
    assert not crowd.errors()

All connections are served by one asyncio loop in a thread of its own ("crowd"), so a crowd costs little beside what it reads. What it is told
costs it time: events of equal bytes, which is what a server sends to streams that keep up, are looked into once for all streams.

What is wrong with an *answer* is in `errors`, as text: not JSON, a turn too few, a counter that went backwards, a status other than 200. That a server
hangs up, refuses or makes one wait is not wrong by itself: it is counted, and the test judges.

As a program: makes one crowd, prints a JSON object with all counts at the end (and every --report seconds), with the time on the monotonic clock in "at";
status 1 if there were errors.

    clients.py URL --streams 50 --scrapes 100 --slow 4 --idle 1000 --half 20 --seconds 30

Only the standard library; Python 3.9.
"""
import argparse
import asyncio
import collections
import contextlib
import errno
import hashlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.parse

HALF_A_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
KEPT_ERRORS = 20  # of each client; further ones are counted
REMEMBERED_EVENTS = 64  # streams that keep up are a few events apart at most
OWN_DESCRIPTORS = 64

_HEAD_END = b"\r\n\r\n"
_EVENT_END = b"\n\n"
_EVENT_BEGIN = b"event: snapshot\ndata: "
# The samples that may only grow: counters, and the parts of a histogram.
_GROWS = re.compile(r"^([a-z_]+(?:_total|_count|_bucket|_sum)(?:\{.*\})?) (\S+)$", re.MULTILINE)


def enough_descriptors(wanted):
    """Raises this process's soft limit if it must and may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += OWN_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
            raise OSError(errno.EMFILE, f"{wanted} descriptors are needed, the hard limit is {hard}")


class Errors:
    """The first few, and how many there were."""

    def __init__(self):
        self.total = 0
        self.kept = []

    def add(self, text):
        self.total += 1
        if len(self.kept) < KEPT_ERRORS:
            self.kept.append(text)


class Looked:
    """What matters of one event: for each loop the newest turn and how many there are, and all that may only grow."""

    def __init__(self, data):
        event = json.loads(data)
        self.taken_at = event["taken_at"]
        self.turns = {}  # (process, recording, loop, name) -> (first turn, last turn, turns, lost)
        self.growing = {}
        self.wrong = []
        for process in event["processes"]:
            who = (process["id"], process["recording"]["path"])
            for name in ("opened", "closed"):
                if process["fds"][name] is not None:
                    self.growing[(*who, name)] = process["fds"][name]
            for loop in process["loops"]:
                loop_id = (*who, loop["id"], loop["name"])
                recent = [turn["turn"] for turn in loop["recent"]]
                if any(b <= a for a, b in zip(recent, recent[1:])):
                    self.wrong.append(f"turns of {loop_id} are not in order")
                if recent:
                    self.turns[loop_id] = (recent[0], recent[-1], len(recent), loop["recent_lost"])
                self.growing[(*loop_id, "iterations")] = loop["iterations"]
                self.growing[(*loop_id, "ready_events")] = loop["ready_events"]
                for name in ("poll_wait_seconds", "busy_turn_seconds"):
                    self.growing[(*loop_id, name)] = loop[name]["count"]


class Stream(asyncio.Protocol):
    """One reader of /api/v1/stream, as a page is. It does not come back when it is hung up on."""

    def __init__(self, crowd):
        self._crowd = crowd
        self._pieces = []  # of the event that is not complete
        self._head = b""
        self._newest = {}  # loop -> the newest turn that was given
        self._growing = {}
        self._transport = None
        self.errors = Errors()
        self.status = None  # None: no answer yet
        self.connected = False
        self.ended = False  # hung up on, or never connected
        self.events = 0
        self.bytes = 0
        self.turns = 0  # that were given
        self.lost = 0  # that were said to be left out
        self.began = time.monotonic()
        self.first_after = None  # seconds from the beginning to the first event
        self.last_at = None
        self.longest_gap = 0.0  # seconds between two events
        self.bytes_of_newest = 0

    def connection_made(self, transport):
        self._transport = transport
        self.connected = True
        transport.write(self._crowd.request("/api/v1/stream"))

    def connection_lost(self, exc):
        self.ended = True

    def data_received(self, data):
        self.bytes += len(data)
        if self.status is None:
            self._head += data
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            self.status = int(self._head.split(b" ", 2)[1])
            data, self._head = self._head[end + len(_HEAD_END) :], b""
            if self.status != 200:
                self.errors.add(f"status {self.status}: {data[:200]!r}")
                self._transport.abort()
                return
        while data:
            # The end of an event may be in two pieces.
            if self._pieces and self._pieces[-1].endswith(b"\n") and data.startswith(b"\n"):
                end = 1
            else:
                end = data.find(_EVENT_END)
                if end < 0:
                    self._pieces.append(data)
                    return
                end += len(_EVENT_END)
            self._pieces.append(data[:end])
            data = data[end:]
            self._event(b"".join(self._pieces))
            self._pieces = []

    def _event(self, event):
        now = time.monotonic()
        if self.last_at is None:
            self.first_after = now - self.began
        else:
            self.longest_gap = max(self.longest_gap, now - self.last_at)
        self.last_at = now
        self.events += 1
        self.bytes_of_newest = len(event)
        looked = self._crowd.look_into(event)
        if isinstance(looked, str):
            self.errors.add(f"event {self.events}: {looked}")
            return
        for text in looked.wrong:
            self.errors.add(f"event {self.events}: {text}")
        for loop, (first, last, count, lost) in looked.turns.items():
            before = self._newest.get(loop)
            self._newest[loop] = last
            self.turns += count
            self.lost += lost
            if before is None:
                continue  # what was before the stream's beginning was promised to nobody
            if first <= before:
                self.errors.add(f"event {self.events}: turn {first} of {loop} again, after {before}")
            if last - before != count + lost:
                self.errors.add(f"event {self.events}: {loop}: {count} turns and {lost} lost between {before} and {last}")
        for what, value in looked.growing.items():
            if value < self._growing.get(what, 0):
                self.errors.add(f"event {self.events}: {what} went from {self._growing[what]} to {value}")
        self._growing = looked.growing

    def close(self):
        if self._transport is not None:
            self._transport.abort()

    def counts(self):
        return {name: getattr(self, name) for name in ("status", "connected", "ended", "events", "bytes", "turns", "lost",
                                                       "first_after", "longest_gap", "bytes_of_newest")}


class Scrapes:
    """GET /metrics (or another path) at a steady rate: the next one begins when it is time, not when the last was answered."""

    def __init__(self, crowd, rate, path, timeout, most_at_once):
        self._crowd = crowd
        self._rate = rate
        self._path = path
        self._timeout = timeout
        self._most_at_once = most_at_once
        self._floor = {}  # sample -> the most that an answer had; replaced, not changed
        self.errors = Errors()
        self.begun = 0
        self.answered = 0  # with 200 and a body as long as it was said to be
        self.refused = 0  # 503
        self.failed = 0  # no connection, hung up, half an answer
        self.timed_out = 0
        self.left_out = 0  # not begun because too many were under way
        self.under_way = 0
        self.bytes_of_newest = 0
        self.newest = ""  # the body of the last answer
        self.seconds = collections.deque(maxlen=100_000)  # that answers took

    async def run(self):
        tasks = set()
        begin = time.monotonic()
        number = 0
        try:
            while True:
                number += 1
                await asyncio.sleep(max(0.0, begin + number / self._rate - time.monotonic()))
                if self.under_way >= self._most_at_once:
                    self.left_out += 1
                    continue
                task = asyncio.ensure_future(self._one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self):
        self.begun += 1
        self.under_way += 1
        floor = self._floor
        begin = time.monotonic()
        try:
            status, body = await asyncio.wait_for(self._crowd.ask(self._path), self._timeout)
            self.seconds.append(time.monotonic() - begin)
            if status == 503:
                self.refused += 1
            elif status != 200:
                self.errors.add(f"status {status}: {body[:200]!r}")
            else:
                self.answered += 1
                self.bytes_of_newest = len(body)
                self.newest = body.decode()
                if self._path.startswith("/metrics"):
                    self._look_into(self.newest, floor)
        except asyncio.TimeoutError:
            self.timed_out += 1
        except (OSError, EOFError):
            self.failed += 1
        finally:
            self.under_way -= 1

    def _look_into(self, text, floor):
        if not text.endswith("\n"):
            self.errors.add("the exposition does not end with a newline")
        values = {name: float(value) for name, value in _GROWS.findall(text)}
        if not values:
            self.errors.add(f"no counter in {text[:200]!r}")
        for name, value in values.items():
            # Against answers that were complete before this question was asked. Sums are of floating point.
            least = floor.get(name, 0)
            if value < least * (1 - 1e-12):
                self.errors.add(f"{name} went from {least} to {value}")
        merged = dict(self._floor)
        for name, value in values.items():
            if value > merged.get(name, -1):
                merged[name] = value
        self._floor = merged

    def quantile(self, share):
        taken = sorted(self.seconds)
        return taken[min(len(taken) - 1, int(share * len(taken)))] if taken else None

    def counts(self):
        named = ("begun", "answered", "refused", "failed", "timed_out", "left_out", "under_way", "bytes_of_newest")
        return {**{name: getattr(self, name) for name in named},
                "p50_seconds": self.quantile(0.5), "p99_seconds": self.quantile(0.99), "max_seconds": self.quantile(1)}


class Slow:
    """Asks for `path` and reads a byte a second; its kernel buffer is small, so that the server notices."""

    def __init__(self, crowd, path, bytes_per_second):
        self._crowd = crowd
        self._path = path
        self._rate = bytes_per_second
        self.errors = Errors()
        self.connected = False
        self.bytes = 0
        self.ended = False  # hung up on, or never connected

    async def run(self):
        try:
            with self._crowd.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, self._crowd.address)
                self.connected = True
                await loop.sock_sendall(sock, self._crowd.request(self._path))
                while data := await loop.sock_recv(sock, 1):
                    self.bytes += len(data)
                    await asyncio.sleep(1 / self._rate)
        except OSError:
            pass
        finally:
            self.ended = True

    def counts(self):
        return {"connected": self.connected, "bytes": self.bytes, "ended": self.ended}


class Idle:
    """`number` connections that send `said` and nothing after it. Those that are hung up on come back, after `pause` seconds."""

    class _One(asyncio.Protocol):
        def __init__(self, idle):
            self._idle = idle
            self._transport = None
            self._received = False
            self.gone = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self._transport = transport
            self._idle.connected += 1
            self._idle.open += 1
            if self._idle.said:
                transport.write(self._idle.said)

        def data_received(self, data):
            if not self._received:  # as a rule the head of a 408
                match = re.match(rb"HTTP/1\.[01] ([0-9]{3})", data)
                self._idle.answers[int(match.group(1)) if match else 0] += 1
            self._received = True

        def connection_lost(self, exc):
            self._idle.open -= 1
            if not self.gone.done():
                self.gone.set_result(None)

        def close(self):
            self._transport.abort()

    def __init__(self, crowd, number, said, come_back, pause):
        self._crowd = crowd
        self._number = number
        self._come_back = come_back
        self._pause = pause
        self.said = said
        self.errors = Errors()
        self.connected = 0  # ever; the kernel does that, the server need not know of it
        self.open = 0  # now
        self.hung_up = 0  # ever
        self.refused = 0  # attempts that came to nothing
        self.answers = collections.Counter()  # status -> how often, before it was hung up

    async def run(self):
        tasks = [asyncio.ensure_future(self._one()) for _ in range(self._number)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self):
        loop = asyncio.get_running_loop()
        while True:
            one = None
            try:
                _, one = await loop.create_connection(lambda: Idle._One(self), *self._crowd.address)
                await one.gone
                self.hung_up += 1
            except OSError:
                self.refused += 1
            finally:
                if one is not None:
                    one.close()
            if not self._come_back:
                return
            await asyncio.sleep(self._pause)

    def counts(self):
        return {"connected": self.connected, "open": self.open, "hung_up": self.hung_up, "refused": self.refused,
                "answers": dict(self.answers)}


class Crowd:
    """See the top. Made and used by any thread; close() ends all connections (and is what `with` does)."""

    def __init__(self, url, token=None, tls=None):
        """`tls`: an ssl.SSLContext, for https; slow clients and idle ones do not speak TLS."""
        parts = urllib.parse.urlsplit(url)
        self.address = (parts.hostname, parts.port)
        self.authority = parts.netloc
        self._token = token
        self._tls = tls or (ssl.create_default_context() if parts.scheme == "https" else None)
        self._looked = collections.OrderedDict()
        self._clients = []
        self._tasks = []
        self._descriptors = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        self._thread.start()

    # --- what there is ---

    def streams(self, number):
        """`number` Streams, all at once."""
        return [self._add(Stream(self), 1, self._stream) for _ in range(number)]

    def scrapes(self, rate, path="/metrics", timeout=30.0, most_at_once=500):
        """Scrapes, `rate` a second."""
        scrapes = Scrapes(self, rate, path, timeout, most_at_once)
        return self._add(scrapes, most_at_once, lambda each: each.run())

    def slow(self, number, path="/api/v1/stream", bytes_per_second=1.0):
        return [self._add(Slow(self, path, bytes_per_second), 1, lambda each: each.run()) for _ in range(number)]

    def idle(self, number, said=b"", come_back=True, pause=0.05):
        return self._add(Idle(self, number, said, come_back, pause), number, lambda each: each.run())

    def errors(self):
        """Of all clients that ever were, as text."""
        found = []
        for client in self._clients:
            found += [f"{type(client).__name__}: {text}" for text in client.errors.kept]
            if client.errors.total > len(client.errors.kept):
                found.append(f"{type(client).__name__}: and {client.errors.total - len(client.errors.kept)} more")
        return found

    def counts(self):
        """Everything, as plain values."""
        result = collections.defaultdict(list)
        for client in self._clients:
            result[type(client).__name__.lower()].append(client.counts())
        return {**result, "errors": self.errors()}

    def end(self, *clients):
        """Hangs up for these, and waits until that is done."""
        gone = [(client, task) for client, task in self._tasks if client in clients]
        asyncio.run_coroutine_threadsafe(self._end(gone), self._loop).result(60)

    def close(self):
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(list(self._tasks)), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- for its clients ---

    def request(self, path):
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.authority}"]
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def socket(self):
        sock = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    def look_into(self, event):
        """A Looked, or what is wrong with it."""
        key = hashlib.blake2b(event, digest_size=16).digest()
        known = self._looked.get(key)
        if known is None:
            if not event.startswith(_EVENT_BEGIN):
                known = f"begins with {event[:60]!r}"
            else:
                try:
                    known = Looked(event[len(_EVENT_BEGIN) :])
                except (ValueError, KeyError, TypeError) as error:
                    known = f"{type(error).__name__}: {error} in {len(event)} bytes, {event[:200]!r}"
            self._looked[key] = known
            if len(self._looked) > REMEMBERED_EVENTS:
                self._looked.popitem(last=False)
        return known

    async def ask(self, path):
        """(status, body) of one GET. EOFError: the answer is not complete."""
        reader, writer = await asyncio.open_connection(*self.address, ssl=self._tls)
        try:
            writer.write(self.request(path))
            try:
                head = await reader.readuntil(_HEAD_END)
                length = re.search(rb"\r\nContent-Length: ([0-9]+)\r\n", head)
                body = await reader.readexactly(int(length.group(1)))
            except asyncio.IncompleteReadError as error:
                raise EOFError(str(error)) from error
            return int(head.split(b" ", 2)[1]), body
        finally:
            writer.close()

    # --- the thread ---

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _add(self, client, descriptors, start):
        self._descriptors += descriptors
        enough_descriptors(self._descriptors)
        self._clients.append(client)

        async def begin():
            self._tasks.append((client, asyncio.ensure_future(start(client))))

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(60)
        return client

    async def _stream(self, stream):
        try:
            await asyncio.get_running_loop().create_connection(lambda: stream, *self.address, ssl=self._tls)
        except OSError:
            stream.ended = True

    async def _end(self, some):
        for client, task in some:
            task.cancel()
            self._tasks.remove((client, task))
        await asyncio.gather(*(task for _, task in some), return_exceptions=True)
        for client, _ in some:
            if isinstance(client, Stream):
                client.close()
        await asyncio.sleep(0)  # abort() closes in the next turn
        await asyncio.sleep(0)


def get(url, path="/api/v1/snapshot", timeout=60.0, token=None):
    """(status, body, seconds) of one question outside of any crowd, in the caller's thread."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    begin = time.monotonic()
    with contextlib.closing(kind(parts.hostname, parts.port, timeout=timeout)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, body, time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description="Many clients of one loopscope server.")
    parser.add_argument("url")
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--scrapes", type=float, default=0, help="a second")
    parser.add_argument("--slow", type=int, default=0, help="read a byte a second of the stream")
    parser.add_argument("--idle", type=int, default=0, help="connect and say nothing")
    parser.add_argument("--half", type=int, default=0, help="say half a request")
    parser.add_argument("--seconds", type=float, default=0, help="0: until SIGTERM or SIGINT")
    parser.add_argument("--report", type=float, default=0, help="print the counts every so many seconds")
    given = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    with Crowd(given.url) as crowd:
        if given.idle:
            crowd.idle(given.idle)
        if given.half:
            crowd.idle(given.half, said=HALF_A_REQUEST)
        crowd.slow(given.slow)
        crowd.streams(given.streams)
        if given.scrapes:
            crowd.scrapes(given.scrapes)
        end = time.monotonic() + given.seconds if given.seconds else None
        while not stop.is_set() and (end is None or time.monotonic() < end):
            left = 3600 if end is None else end - time.monotonic()
            if not stop.wait(max(0.0, min(given.report or left, left))) and given.report:
                print(json.dumps({"at": time.monotonic(), **crowd.counts()}), flush=True)
        ended, counts = time.monotonic(), crowd.counts()
    print(json.dumps({"at": ended, "cpu_seconds": sum(os.times()[:2]), **counts}), flush=True)
    return 1 if counts["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
