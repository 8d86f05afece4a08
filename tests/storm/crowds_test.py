#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many of everything: processes, threads, loops, descriptors. All of them are accounted for, to the last one; what has no room is
counted as dropped; the command's own memory and descriptors and the directory of recordings stay bounded. SLOW=1: more."""
import json
import os
import resource
import signal
import subprocess
import sys
import unittest

import storm_support as support
from storm_support import CROWD, LIBRARY_CROWD, SLOW, Case, Command, counters, grouped, row

MOST_MEMORY_MIB = 512  # of the command; measured: below 150
MAX_LOOPS = 1024


def totals(summary):
    folded, processes = summary["folded"], summary["processes"]
    return {
        "opened": folded["fds_opened"] + sum(process["fds"]["opened"] for process in processes),
        "closed": folded["fds_closed"] + sum(process["fds"]["closed"] for process in processes),
        "images": folded["processes"] + len(processes),
        "killed": folded["killed"] + sum(process["state"] == "killed" for process in processes),
    }


class Processes(Case):
    def bounded(self, command, images):
        self.assertLess(command.most_memory_kib, MOST_MEMORY_MIB * 1024)
        # Each recording is open until its process' end is noticed, within a second or so.
        self.assertLess(command.most_descriptors, images + 64)

    def test_a_tree_of_forks(self):
        depth, breadth = (3, 12) if SLOW else (3, 9)
        command = Command(self, CROWD, "tree", str(depth), str(breadth), "60")
        summary, said = command.finish()
        processes = json.loads(said)["processes"]
        self.assertEqual(processes, sum(breadth**level for level in range(depth + 1)))
        found = totals(summary)
        self.assertEqual(found["images"], processes)
        self.assertEqual((found["opened"], found["closed"], found["killed"]), (3 * processes, 2 * processes, 0))
        self.assertEqual(summary["unreadable"], [])
        self.bounded(command, processes)
        row("fork-tree", f"{grouped(processes)} processes, about 60 at once: all in the summary, {grouped(found['opened'])} opens and "
            f"{grouped(found['closed'])} closes exact; the command took {command.most_memory_kib // 1024} MiB and "
            f"{command.most_descriptors} descriptors")

    def test_short_processes(self):
        count = 20000 if SLOW else 1000
        command = Command(self, CROWD, "short", str(count), options=("--linger", "forever"))
        most_files = 0
        while "goes on showing it" not in command.said():
            self.assertIsNone(command.process.poll(), command.said())
            command.look()
            most_files = max(most_files, len(self.files()))
        # Given back while it still serves.
        self.eventually("recordings removed", lambda: len(self.files()) <= support.KEPT + 1)
        host = json.loads(command.get("/api/v1/snapshot"))
        folded = host["processes_folded"]
        self.assertEqual(folded["fds"]["opened"] + sum(process["fds"]["opened"] for process in host["processes"]), 3 * count)
        support.parse_metrics(command.get("/metrics"))
        descriptors_left = len(os.listdir(f"/proc/{command.process.pid}/fd"))
        self.assertLess(descriptors_left, 64)
        command.process.send_signal(signal.SIGINT)
        summary, said = command.finish()
        self.assertEqual(json.loads(said)["processes"], count + 1)
        found = totals(summary)
        # Each second one is an image of its own; a forked child that only calls exec may leave a recording or none.
        self.assertGreaterEqual(found["images"], count + 1)
        self.assertLessEqual(found["images"], count + count // 2 + 1)
        self.assertEqual((found["opened"], found["closed"], found["killed"]), (3 * count, 2 * count, 0))
        self.bounded(command, found["images"])
        self.assertLessEqual(len(self.files()), support.KEPT + 1)
        row("short-processes", f"{grouped(count)} one after the other, half of them exec: {grouped(found['opened'])} opens and "
            f"{grouped(found['closed'])} closes exact; at most {most_files} recordings at once, {len(self.files())} in the end; the "
            f"command took {command.most_memory_kib // 1024} MiB and {command.most_descriptors} descriptors")

    def test_short_processes_checked(self):
        count = 2000 if SLOW else 500
        report = os.path.join(self.place, "check.json")
        self.loopscope("check", "--format", "json", "-o", report, "--", CROWD, "short", str(count), statuses=(0, 1))
        with open(report, encoding="utf-8") as file:
            result = json.load(file)
        processes = result["processes"]
        self.assertEqual(sum(process["opened"] for process in processes), 3 * count)
        self.assertEqual(sum(process["closed"] for process in processes), 2 * count)
        self.assertEqual(len({process["pid"] for process in processes}), count + 1)
        # One place, one finding, however many processes it was in.
        kept = [finding for finding in result["findings"] if finding["rule"].startswith("fd-") and finding["count"]]
        self.assertTrue(kept)
        self.assertLess(len(result["findings"]), 10)
        self.assertEqual(self.files(), [])

    def test_how_they_ended_is_known(self):
        count = 3000 if SLOW else 300  # more than are shown one by one
        command = Command(self, CROWD, "signals", str(count))
        summary, _ = command.finish()
        self.assertEqual(summary["processes"][0]["pid"], summary["pid"])
        self.assertNotIn("nothing is seen", command.said())
        names = {"SIGKILL", "SIGABRT", "SIGSEGV", "SIGTERM", "SIGBUS", "SIGFPE", "SIGUSR1"}
        killed = [process for process in summary["processes"] if process["state"] == "killed"]
        self.assertEqual(totals(summary)["killed"], count)
        known = [process["signal"] for process in killed if process["signal"] is not None]
        # The parent notes the newest 32 of them.
        self.assertGreaterEqual(len(known), min(count, 32))
        self.assertLessEqual(set(known), names)


class Loops(Case):
    def loops_of(self, host):
        return [loop for process in host["processes"] for loop in process["loops"]]

    def test_200_threads_under_the_probe(self):
        turns = 20000 if SLOW else 2000
        summary, said = Command(self, CROWD, "threads", "200", str(turns)).finish()
        self.assertEqual(json.loads(said)["turns"], 200 * turns)
        recording = summary["processes"][0]["recording"]
        host = json.loads(self.loopscope("report", "--format", "json", recording).stdout)
        loops = self.loops_of(host)
        self.assertEqual(len(loops), 200)
        self.assertEqual(len({loop["thread_id"] for loop in loops}), 200)
        for loop in loops:
            self.assertEqual((loop["iterations"], loop["ready_events"], loop["polls"]["events"]), (turns, turns, turns))
            self.assertEqual(loop["poll_wait_seconds"]["count"], turns)
            self.assertEqual(loop["skew_turns"], 0)
        self.assertEqual(set(host["processes"][0]["dropped"].values()), {0})

    def test_200_threads_with_the_library(self):
        turns = 20000 if SLOW else 2000
        program = subprocess.Popen([LIBRARY_CROWD, "threads", "200", str(turns)], env=self.environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        self.addCleanup(self.kill_quietly, program)
        self.assertEqual(json.loads(program.stdout.readline())["turns"], 200 * turns)
        host = json.loads(self.loopscope("report", "--format", "json", str(program.pid)).stdout)
        loops = self.loops_of(host)
        self.assertEqual(len(loops), 200)
        self.assertEqual([loop["iterations"] for loop in loops], [turns] * 200)
        self.assertEqual([loop["ready_events"] for loop in loops], [turns] * 200)
        self.assertEqual(len({loop["thread_id"] for loop in loops}), 200)
        row("threads", f"200 with a loop each, {grouped(200 * turns)} turns under the probe and as many with the library: each loop's "
            "count exact")

    def never_backwards(self, command, turns):
        """Scrapes while the loops come and go: how often, how many series at most, and the counters in the end."""
        last, scrapes, most_series = {}, 0, 0
        done = False
        while not done:
            ready = support.select_readable(command.process.stdout)
            now = counters(command.get("/metrics"))
            done = ready
            scrapes += 1
            most_series = max(most_series, len(now))
            for series, value in now.items():
                before = last.get(series, 0)
                self.assertGreaterEqual(value, before, f"{series} went backwards")
            last.update(now)
        self.assertEqual(command.line()["turns"], turns)
        final = counters(command.get("/metrics"))
        self.assertGreater(scrapes, 2)
        return scrapes, most_series, final

    def loops_come_and_go(self, program, name):
        count = 100000
        command = Command(self, program, "loops", str(count))
        scrapes, most_series, final = self.never_backwards(command, 3 * count)
        iterations = {labels: value for (series, labels), value in final.items() if series == "loopscope_iterations_total"}
        self.assertLess(most_series, 20000)
        # What came and went unseen between two scrapes may be missing; nothing is counted twice.
        self.assertLessEqual(sum(iterations.values()), 3 * count)
        self.assertGreater(sum(iterations.values()), 0)
        command.look()
        command.finish()
        self.assertLess(command.most_memory_kib, MOST_MEMORY_MIB * 1024)
        return (f"{grouped(count)} one after the other {name}, {scrapes} scrapes meanwhile: no counter went backwards, "
                f"{grouped(int(sum(iterations.values())))} of {grouped(3 * count)} turns in metrics")

    def test_loops_come_and_go(self):
        probe = self.loops_come_and_go(CROWD, "under the probe")
        library = self.loops_come_and_go(LIBRARY_CROWD, "with the library")
        row("loops", f"{probe}; {library}")

    def test_more_loops_than_there_is_room_for(self):
        program = subprocess.Popen([LIBRARY_CROWD, "many", "1500"], env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.kill_quietly, program)
        self.assertEqual(json.loads(program.stdout.readline())["turns"], 1500)
        host = json.loads(self.loopscope("report", "--format", "json", str(program.pid)).stdout)
        process = host["processes"][0]
        self.assertEqual(len(process["loops"]), MAX_LOOPS)
        self.assertEqual({loop["iterations"] for loop in process["loops"]}, {1})
        self.assertEqual(process["dropped"]["loops"], 1500 - MAX_LOOPS)
        self.assertIn("records-dropped", {finding["rule"] for finding in process["findings"]})
        self.assertIn(b"476", self.loopscope("report", str(program.pid)).stdout)


class Descriptors(Case):
    COUNT = 100000

    def room(self):
        """How many can be had here (beyond the hard limit only with CAP_SYS_RESOURCE), and what makes the limit so."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = self.COUNT + 1000
        raises = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({wanted}, {max(hard, wanted)}))"
        if hard < wanted and subprocess.run([sys.executable, "-c", raises], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            return hard - 1000, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return self.COUNT, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))

    def test_100_000_at_once(self):
        count, preexec = self.room()
        command = Command(self, CROWD, "descriptors", str(count), preexec=preexec)
        self.assertEqual(command.line()["opened"], count)
        process = json.loads(command.get("/api/v1/snapshot"))["processes"][0]
        self.assertEqual(process["fds"]["opened"], count)
        self.assertEqual(process["fds"]["by_kind"]["eventfd"], count)
        self.assertEqual(process["fds"]["sites"][0]["live"], count)
        # Pages that neither overlap nor miss one.
        seen, at = [], 0
        while True:
            page = json.loads(command.get(f"/api/v1/descriptors?process={process['id']}&kind=eventfd&limit=10000&offset={at}"))
            self.assertEqual(page["matched"], count)
            if not page["rows"]:
                break
            seen += [entry["fd"] for entry in page["rows"]]
            at += len(page["rows"])
        self.assertEqual(len(seen), count)
        self.assertEqual(len(set(seen)), count)
        metrics = counters(command.get("/metrics"))
        self.assertEqual([value for (name, labels), value in metrics.items()
                          if name == "loopscope_fd_opens_total" and ("kind", "eventfd") in labels], [count])
        pid = process["pid"]
        text = self.loopscope("report", str(pid)).stdout
        self.assertIn(str(count).encode(), text.replace(b" ", b"").replace(b",", b""))
        listed = json.loads(self.loopscope("report", "--format", "json", "--descriptors", str(pid)).stdout)["processes"][0]["fds"]
        self.assertEqual(len(listed["list"]) + listed["list_left_out"], listed["open"])
        command.look()
        summary, _ = command.finish()
        self.assertEqual(summary["processes"][0]["fds"]["open"] >= count, True)
        self.assertLess(command.most_memory_kib, MOST_MEMORY_MIB * 1024)

        report = os.path.join(self.place, "check.json")
        checked = subprocess.run([support.BIN, "check", "--format", "json", "-o", report, "--", CROWD, "descriptors", str(count)],
                                 env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 preexec_fn=preexec, timeout=support.DEADLINE, check=False)
        with open(report, encoding="utf-8") as file:
            result = json.load(file)
        leaks = [finding for finding in result["findings"] if finding["count"] == count]
        self.assertEqual(len(leaks), 1, [(finding["rule"], finding["count"]) for finding in result["findings"]])
        self.assertEqual(len(result["findings"]), 1)
        self.assertEqual(checked.returncode, 1 if leaks[0]["fails"] else 0)
        row("descriptors", f"{grouped(count)} open at once: all in the snapshot, on the pages of the table and in metrics, one finding of "
            f"check ({leaks[0]['rule']}); the command took {command.most_memory_kib // 1024} MiB")


if __name__ == "__main__":
    unittest.main()
