#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every victim and its healthy twin under `loopscope check`: the exact rule, number, kind and lines; and silence.

        victims_test.py [C Cpp Python Node Ruby Table | C.test_dup C.test_dup_healthy ...]

README.md says how to add one. Environment: LOOPSCOPE_BIN the command, VICTIMS_BIN the directory of the compiled victims.
LOOPSCOPE_TEST_KEEP=1 keeps the reports and prints where they are.
"""

import concurrent.futures
import dataclasses
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import victims  # noqa: E402  pylint: disable=wrong-import-position

BIN = os.environ.get("LOOPSCOPE_BIN", "loopscope")
ROOT = os.path.dirname(os.path.dirname(victims.HERE))
IMPOSSIBLE = 77  # victim.h
MOST_DESCRIPTORS = 8  # that a finding lists, finding.h


@dataclasses.dataclass
class Run:
    """What `loopscope check` did."""
    status: int
    report: dict  # None: it wrote none
    output: str


def check(victim, healthy, directory):
    """Runs one victim, or its twin."""
    path = os.path.join(directory, f"{victims.language(victim)}_{victim.name}{'_healthy' if healthy else ''}.json")
    command = [BIN, "check", "-o", f"json:{path}", *victim.options, "--", *victim.command(healthy)]
    with open(path + ".output", "w+b") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, timeout=60,
                              check=False)
        output.seek(0)
        text = output.read().decode(errors="replace")
    report = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    return Run(done.returncode, report, f"$ {' '.join(command)}\n{text}")


def told(report):
    """The findings in a few lines, for messages."""
    lines = []
    for finding in report["findings"]:
        lines.append(f"  {'FAILS ' if finding['fails'] else ''}{finding['status']} {finding['severity']} {finding['rule']} "
                     f"count={finding['count']} kind={finding['kind']} process={finding['process']}: {finding['title']}")
        for place in finding["places"]:
            line = "?"
            if place["frame"] is not None:
                frame = place["stack"][place["frame"]]
                line = f"{frame['function']} {frame['file']}:{frame['line']} {frame['module']}"
            lines.append(f"      {place['role']}: {line}")
    return "\n".join(lines) or "  no findings"


def source_of(file):
    """The absolute path of a file as reports name it: relative to the repository, or absolute."""
    return os.path.realpath(os.path.join(ROOT, file)) if file else None


class VictimTest(unittest.TestCase):
    """One victim or its twin; the test methods are made from the table."""

    maxDiff = None
    directory = ""  # of the reports
    pending = {}  # (victim's source, arguments, healthy) -> Future of its run: main() starts them ahead

    def observe(self, victim, healthy):
        future = self.pending.get((victim.source, victim.arguments, healthy))
        run = future.result() if future else check(victim, healthy, self.directory)
        if run.report is None:
            self.fail(f"no report, status {run.status}\n{run.output}")
        if run.report["program_status"] == IMPOSSIBLE:
            self.skipTest("this machine does not allow it")
        self.assertEqual(run.report["schema"], "loopscope.check/1")
        self.assertIsNone(run.report["unseen"], run.output)
        self.assertEqual(run.report["exit_status"], run.status, run.output)
        return run

    def assert_place(self, victim, place, marker, context):
        """The frame to look at first is the marker's line."""
        self.assertIsNotNone(place["frame"], context)
        frame = place["stack"][place["frame"]]
        if marker is None:
            self.assertNotEqual(source_of(frame["file"]), victim.path, context)
            return
        self.assertEqual((source_of(frame["file"]), frame["line"]), (victim.path, victim.markers()[marker]), context)

    def assert_fault(self, victim):
        run = self.observe(victim, healthy=False)
        context = f"{run.output}\n{told(run.report)}"
        failing = [finding for finding in run.report["findings"] if finding["fails"]]
        self.assertEqual([finding["rule"] for finding in failing], [victim.rule], context)
        finding = failing[0]
        self.assertEqual(run.status, victim.status or 1, context)
        self.assertEqual(finding["status"], "new", context)
        self.assertEqual(finding["kind"], victim.kind, context)
        self.assertEqual(finding["count"], victim.count, context)
        process = run.report["processes"][finding["process"]]
        if victim.process == "main":
            self.assertEqual(process["pid"], run.report["pid"], context)
        else:
            self.assertNotEqual(process["pid"], run.report["pid"], context)

        places = {place["role"]: place for place in finding["places"]}
        for role, marker in victim.places.items():
            self.assertIn(role, places, context)
            self.assert_place(victim, places[role], marker, f"{role}: {context}")
        if victim.places:  # and the line that a report puts first is that of its first place
            first = finding["places"][0]
            self.assertIn(first["role"], victim.places, context)
            frame = first["stack"][first["frame"]]
            location = finding["location"]
            self.assertEqual((source_of(location["file"]), location["line"]), (source_of(frame["file"]), frame["line"]),
                             context)
        if "opened" in victim.places and victim.rule.startswith("fd-"):
            listed = finding["descriptors"]
            self.assertEqual(len(listed), min(victim.count, MOST_DESCRIPTORS), context)
            self.assertEqual({found["kind"] for found in listed}, {victim.kind}, context)
            self.assertEqual(len({found["fd"] for found in listed}), len(listed), context)
            self.assertGreater(min(found["fd"] for found in listed), 2, context)

    def assert_healthy(self, victim):
        run = self.observe(victim, healthy=True)
        context = f"{run.output}\n{told(run.report)}"
        loud = [finding["rule"] for finding in run.report["findings"]
                if finding["status"] == "new" and finding["severity"] in ("error", "warning")]
        self.assertEqual(loud, [], context)
        self.assertEqual(run.status, 0, context)
        # Silence of somebody who saw it.
        self.assertGreater(sum(process["opened"] for process in run.report["processes"]), 0, context)


def _add(language):
    methods = {}
    for victim in victims.VICTIMS:
        if victims.language(victim) != language:
            continue

        def fault(self, victim=victim):
            self.assert_fault(victim)

        def healthy(self, victim=victim):
            self.assert_healthy(victim)
        fault.needs, healthy.needs = (victim, False), (victim, True)
        methods[f"test_{victim.name}"], methods[f"test_{victim.name}_healthy"] = fault, healthy
    return type(language.capitalize(), (VictimTest,), methods)


C, Cpp, Python, Node, Ruby = map(_add, ("c", "cpp", "python", "node", "ruby"))


class Table(unittest.TestCase):
    """The table and the folders say the same."""

    def test_every_source_is_in_the_table(self):
        sources = {os.path.relpath(path, victims.HERE) for folder in ("c", "cpp", "python", "node", "ruby")
                   for path in glob.glob(os.path.join(victims.HERE, folder, "*.*"))}
        self.assertEqual(sources, {victim.source for victim in victims.VICTIMS})

    def test_every_marker_is_asserted(self):
        for source in {victim.source for victim in victims.VICTIMS}:
            asserted = {marker for victim in victims.VICTIMS if victim.source == source for marker in victim.places.values()}
            path = os.path.join(victims.HERE, source)
            with self.subTest(source):
                if asserted - {None}:
                    self.assertEqual(set(victims.Victim(source).markers()), asserted - {None}, path)

    def test_names_are_unique(self):
        names = [(victims.language(victim), victim.name) for victim in victims.VICTIMS]
        self.assertEqual(len(names), len(set(names)))


class Program(unittest.TestProgram):
    """Starts the runs of all chosen tests ahead, one a processor."""

    def runTests(self):
        directory = tempfile.mkdtemp(prefix="lsv-")
        VictimTest.directory = directory
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for case in _cases(self.test):
                needs = getattr(getattr(case, case._testMethodName, None), "needs", None)  # pylint: disable=protected-access
                if needs:
                    victim, healthy = needs
                    key = (victim.source, victim.arguments, healthy)
                    VictimTest.pending[key] = pool.submit(check, victim, healthy, directory)
            try:
                super().runTests()
            finally:
                pool.shutdown(cancel_futures=True)
                if os.environ.get("LOOPSCOPE_TEST_KEEP"):
                    print(f"kept: {directory}", file=sys.stderr)
                else:
                    shutil.rmtree(directory)


def _cases(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _cases(test)
        else:
            yield test


if __name__ == "__main__":
    Program()
