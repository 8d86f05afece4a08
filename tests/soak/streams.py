# SPDX-License-Identifier: Apache-2.0
"""Readers of /api/v1/stream that check every event and count what the events bring, turn by turn.

    python3 streams.py COUNT URL...

COUNT readers on each URL. On SIGTERM: one line of JSON, a list with one object for each reader:

    {"url", "events", "streams", "loops": {"process loop": {"first", "last", "brought"}}, "error": null|"..."}

`first` is the number of the last turn that the first event had; `brought` how many turns the later ones brought, listed or said to
be lost; so that first + brought is `last`, the iterations of the last event, once the loop has nothing more to do. A reader that got
no time from its machine for 10 s is hung up on, rightly, and begins a stream anew (`streams`: how many it has had), and counts from there.
"""

import ctypes
import http.client
import json
import signal
import sys
import threading
import time
import urllib.parse

PR_SET_PDEATHSIG = 1
PATIENCE = 60


class Reader(threading.Thread):
    def __init__(self, url):
        super().__init__(daemon=True)
        self.state = {"url": url, "events": 0, "streams": 0, "loops": {}, "error": None}
        self.lock = threading.Lock()
        self.start()

    def run(self):
        try:
            while True:
                with self.lock:
                    self.state["streams"] += 1
                    self.state["loops"] = {}
                try:
                    self.read()
                except (ConnectionError, http.client.IncompleteRead):
                    pass
                time.sleep(1)
        except Exception as error:  # pylint: disable=broad-except
            with self.lock:
                self.state["error"] = f"{type(error).__name__}: {error}"

    def read(self):
        """Until it is hung up on."""
        address = urllib.parse.urlsplit(self.state["url"])
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        connection.request("GET", "/api/v1/stream")
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        data = b""
        for line in answer:
            if line.startswith(b"data: "):
                data += line[6:]
            elif line == b"\n" and data:
                event = json.loads(data)
                data = b""
                with self.lock:
                    self.take(event)

    def take(self, event):
        self.state["events"] += 1
        for process in event["processes"]:
            lost = {kind: count for kind, count in process["dropped"].items() if count}
            assert not lost, f"dropped by {process['command']}: {lost}"
            for loop in process["loops"]:
                self.take_loop(process, loop)

    def take_loop(self, process, loop):
        key = f"{process['id']} {loop['name']}"
        iterations = loop["iterations"]
        polls = loop["polls"]
        results = sum(polls[result] for result in ("events", "timeout", "interrupted", "error", "unknown"))
        assert results == iterations, f"{key}: {iterations} iterations, {results} results"
        seen = self.state["loops"].get(key)
        numbers = [turn["turn"] for turn in loop["recent"]]
        if seen is None:
            first = numbers[-1] if numbers else 0
            self.state["loops"][key] = {"first": first, "last": iterations, "brought": 0, "newest": first}
            return
        assert iterations >= seen["last"], f"{key}: {seen['last']} iterations, then {iterations}"
        assert numbers == sorted(set(numbers)), f"{key}: turns out of order: {numbers}"
        assert not numbers or numbers[0] > seen["newest"], f"{key}: turn {numbers[0]} after {seen['newest']}"
        seen["last"] = iterations
        seen["brought"] += len(numbers) + loop["recent_lost"]
        seen["newest"] = numbers[-1] if numbers else seen["newest"]


def main():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # ends with the test, however that ends
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    readers = [Reader(url) for url in sys.argv[2:] for _ in range(int(sys.argv[1]))]
    while signal.sigtimedwait([signal.SIGTERM], 0.5) is None:
        pass
    # One may be on its way, one being written: the third was taken after the signal.
    wanted = [reader.state["events"] + 3 for reader in readers]
    deadline = time.monotonic() + PATIENCE
    while any(r.state["events"] < n and r.is_alive() for r, n in zip(readers, wanted)) and time.monotonic() < deadline:
        time.sleep(0.1)
    states = []
    for reader in readers:
        with reader.lock:
            states.append(json.loads(json.dumps(reader.state)))
    print(json.dumps(states), flush=True)


if __name__ == "__main__":
    main()
