#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What was served in a turn, of a program that knows nothing of loopscope, whose sleeps are known.

    LOOPSCOPE_BIN=path/to/loopscope python3 served_test.py

Needs the probe beside the command, and cc."""
import glob
import json
import os
import subprocess
import tempfile
import unittest

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")

PROGRAM = r"""
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static int set;
static void add(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0) _exit(1);
}
static int ready(int timeout) {
  struct epoll_event events[8];
  return epoll_wait(set, events, 8, timeout);
}

int main(void) {
  int a[2], b[2];
  char byte;
  set = epoll_create1(0);
  if (set < 0 || pipe(a) != 0 || pipe(b) != 0) return 2;
  add(a[0]);
  add(b[0]);
  /* Turn 1: both, one of them twice. */
  if (write(a[1], "xx", 2) != 2 || write(b[1], "x", 1) != 1 || ready(-1) != 2) return 3;
  if (read(a[0], &byte, 1) != 1) return 4;
  usleep(30000);
  if (read(b[0], &byte, 1) != 1) return 5;
  usleep(60000);
  if (read(a[0], &byte, 1) != 1) return 6;
  usleep(10000);
  /* Turn 2: nothing. */
  if (ready(0) != 0) return 7;
  /* Turn 3: one of them, which is not even read. */
  if (write(b[1], "x", 1) != 1 || ready(-1) != 1) return 8;
  usleep(20000);
  /* Turn 4: two again, of which one is closed while it is served; what comes after is the other's. */
  if (write(a[1], "x", 1) != 1 || ready(-1) != 2) return 9;
  if (read(a[0], &byte, 1) != 1) return 10;
  usleep(10000);
  close(a[0]);
  usleep(15000);
  if (read(b[0], &byte, 1) != 1) return 11;
  ready(0);
  /* Its number goes to somebody else. */
  if (open("/dev/null", O_RDONLY) != a[0]) return 12;
  printf("{\"a\":%d,\"b\":%d}\n", a[0], b[0]);
  return 0;
}
"""

# A number that has had so many lives that the bits of its generation in the record are there again.
LIVES = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>
int main(void) {
  int epoll = epoll_create1(0), ends[2];
  char byte;
  struct epoll_event event = {.events = EPOLLIN};
  if (pipe(ends) != 0 || write(ends[1], "x", 1) != 1) return 1;
  event.data.fd = ends[0];
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0) return 2;
  if (epoll_wait(epoll, &event, 1, -1) != 1 || read(ends[0], &byte, 1) != 1) return 3;
  epoll_wait(epoll, &event, 1, 0);
  for (int i = 0; i < %d; ++i) {
    close(ends[0]);
    if (open("/dev/null", O_RDONLY) != ends[0]) return 4;
  }
  return 0;
}
"""

# A loop of polls: which descriptors were ready is not known.
POLLS = r"""
#include <poll.h>
#include <unistd.h>
int main(void) {
  int ends[2];
  if (pipe(ends) != 0 || write(ends[1], "x", 1) != 1) return 1;
  struct pollfd waits = {.fd = ends[0], .events = POLLIN};
  for (int i = 0; i < 10; ++i) if (poll(&waits, 1, -1) != 1) return 2;
  return 0;
}
"""


class Served(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="loopscope-served-")
        self.addCleanup(self.directory.cleanup)
        self.recordings = os.path.join(self.directory.name, "recordings")
        self.environment = dict(os.environ, LOOPSCOPE_DIR=self.recordings)

    def recorded(self, source):
        """What the program printed, and the path of its recording."""
        program = os.path.join(self.directory.name, "program")
        with open(program + ".c", "w", encoding="utf-8") as file:
            file.write(source)
        subprocess.run(["cc", "-O1", "-o", program, program + ".c"], check=True)
        run = subprocess.run([BIN, "run", "--no-http", "--summary", "none", "--", program], env=self.environment,
                             stdout=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(run.returncode, 0)
        paths = glob.glob(os.path.join(self.recordings, "*.loopscope"))
        self.assertEqual(len(paths), 1, paths)
        return run.stdout, paths[0]

    def report(self, path, output_format):
        return subprocess.run([BIN, "report", path, "--format", output_format], env=self.environment,
                              stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout

    def test_each_has_its_share_of_the_turn(self):
        printed, path = self.recorded(PROGRAM)
        numbers = json.loads(printed)
        a, b = numbers["a"], numbers["b"]
        loop, = json.loads(self.report(path, "json"))["processes"][0]["loops"]
        turns = loop["recent"]
        self.assertGreaterEqual(len(turns), 4)
        for turn in turns:
            self.assertEqual(turn["served_lost"], 0)
            end = 0
            for part in turn["served"]:
                self.assertIsNone(part["watcher"])
                self.assertEqual(part["kind"], "pipe")
                self.assertGreaterEqual(part["start"], end - 1e-6, turn)
                end = part["start"] + part["seconds"]
            # Two clocks that are set by the same one: they differ by less than this.
            self.assertLessEqual(end, turn["busy"] + 1e-4, turn)

        both, nothing, one, closed = turns[:4]
        self.assertEqual([part["fd"] for part in both["served"]], [a, b, a])
        first, second, third = both["served"]
        self.assertEqual(first["start"], 0, "the first has the time from the wait's return")
        self.assertGreaterEqual(first["seconds"], 0.03 - 1e-4)
        self.assertGreaterEqual(second["start"], 0.03 - 1e-4)
        self.assertGreaterEqual(second["seconds"], 0.06 - 1e-4)
        self.assertGreaterEqual(third["start"], 0.09 - 1e-4)
        self.assertGreaterEqual(third["seconds"], 0.01 - 1e-4)
        # Nothing is counted for both: all that is not one's is another's.
        self.assertAlmostEqual(sum(part["seconds"] for part in both["served"]), both["busy"], delta=1e-3)
        self.assertEqual((first["gone"], second["gone"]), (True, False), "the number of the first is another's now")

        self.assertEqual(nothing["served"], [])
        self.assertEqual([part["fd"] for part in one["served"]], [b], "the whole turn, though nothing was called")
        self.assertAlmostEqual(one["served"][0]["seconds"], one["busy"], delta=1e-3)
        self.assertEqual([part["fd"] for part in closed["served"]], [a, b])
        self.assertGreaterEqual(closed["served"][0]["seconds"], 0.01 - 1e-4)
        self.assertGreaterEqual(closed["served"][1]["seconds"], 0.015 - 1e-4, "the time after the close too")

        text = self.report(path, "text")
        self.assertRegex(text, rf"pipe {b} \d+.*s, pipe {a} \(closed since\) \d")

    def test_what_is_gone_stays_so(self):
        for lives in (0, 1, 64, 128):
            for path in glob.glob(os.path.join(self.recordings, "*.loopscope")):
                os.unlink(path)
            _, path = self.recorded(LIVES % lives)
            loop, = json.loads(self.report(path, "json"))["processes"][0]["loops"]
            part, = loop["recent"][0]["served"]
            self.assertEqual(part["gone"], lives > 0, lives)

    def test_of_a_poll_nothing_is_said(self):
        _, path = self.recorded(POLLS)
        loop, = json.loads(self.report(path, "json"))["processes"][0]["loops"]
        self.assertEqual(loop["backend"], "poll")
        self.assertTrue(loop["recent"])
        for turn in loop["recent"]:
            self.assertNotIn("served", turn)
            self.assertNotIn("served_lost", turn)


if __name__ == "__main__":
    unittest.main()
