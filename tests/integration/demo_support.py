# SPDX-License-Identifier: Apache-2.0
"""What tests with running programs share: the programs, questions over HTTP, and waiting with a deadline."""

import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
DEMO = os.environ.get("LOOPSCOPE_DEMO", "demo")
DIRECTORY = os.environ.get("LOOPSCOPE_DIR")

DEADLINE = 40


def http(url, method="GET"):
    request = urllib.request.Request(url, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
        return response.read().decode()


def eventually(what, attempt, deadline=DEADLINE, pause=0.05):
    """The first true result of attempt(); an AssertionError in it means: not yet."""
    end = time.monotonic() + deadline
    while True:
        try:
            result, reason = attempt(), ""
        except (AssertionError, OSError) as error:
            result, reason = None, f": {error}"
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}{reason}")
        time.sleep(pause)


class Program:
    """A running program, with its output in a file. Ends by `at_end` (a test's addCleanup or the like), however that ends."""

    def __init__(self, arguments, environment, directory, at_end):
        self.log = tempfile.TemporaryFile("w+", dir=directory)  # pylint: disable=consider-using-with
        self.popen = subprocess.Popen(  # pylint: disable=consider-using-with
            arguments, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT
        )
        self.pid = self.popen.pid
        at_end(self.kill)

    def output(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def running(self):
        if self.popen.poll() is not None:
            raise RuntimeError(f"{self.popen.args[0]} ended with {self.popen.returncode}: {self.output()}")
        return True

    def wait_for(self, pattern):
        """The match in the output, once there is one."""
        return eventually(pattern, lambda: self.running() and re.search(pattern, self.output(), re.MULTILINE))

    def end(self, how=signal.SIGTERM):
        self.popen.send_signal(how)
        return self.popen.wait(DEADLINE)

    def kill(self):
        self.popen.kill()
        self.popen.wait()
        self.log.close()
