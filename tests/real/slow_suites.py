#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Test suites of real libraries, without the probe and with it: test by test the same outcome.

    LOOPSCOPE_PROBE_LIB=.../libloopscope-probe.so python3 slow_suites.py [--record] [--only SUITE]... [--bare]

Every suite runs twice, bare and under the probe, one after the other. A test whose outcomes differ is run again by itself, three
times each way, so that one that fails now and then by itself is told from one that the probe makes fail: it counts as different
when no outcome without the probe was also one with it, or when a whole run left it out. What came out is compared with
slow_suites.json, the recorded result: how many tests passed, which did not, which are known to waver, and why (write the reason
there in place of "?"). --record writes it.

    --bare      both runs without the probe: what wavers by itself here
    status      0 all the same; 1 not, or far fewer tests passed than are recorded; 2 usage. The table is on stdout. What failed or
                wavered without being recorded so is said, and is no failure: it is the machine's.

Debian's /usr/bin/python3 (python3.11), libpython3.11-testsuite, python3-tornado. About 10 minutes.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

PYTHON = "/usr/bin/python3"
PROBE = os.environ.get("LOOPSCOPE_PROBE_LIB", "")
HERE = os.path.dirname(os.path.abspath(__file__))
RECORDED = os.path.join(HERE, "slow_suites.json")
AGAIN = 3  # how often a test that differs is run by itself, each way

# CPython's: resources that need the network or much of the disk or the CPU stay off, as is regrtest's default.
CPYTHON = ("test_epoll", "test_selectors", "test_asyncio", "test_socket", "test_subprocess", "test_posix", "test_io")
SUITES = CPYTHON + ("tornado",)
# Left out everywhere, with the reason; regrtest's --ignore takes these patterns.
LEFT_OUT = {
    "ThreadedVSOCKSocketStreamTest": "waits for ever in accept() in a virtual machine whose host does not loop vsock back",
}


class Sweeper:
    """Thousands of processes leave a recording each: those that have ended are removed while the suite runs."""

    def __init__(self, directory):
        self.directory, self.removed, self.most_bytes = directory, 0, 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def sweep(self):
        kept = 0
        for name in os.listdir(self.directory):
            path = os.path.join(self.directory, name)
            pid = re.match(r"(\d+)-", name)
            try:
                kept += os.stat(path).st_blocks * 512
                if pid and not os.path.exists(f"/proc/{pid.group(1)}"):
                    os.unlink(path)
                    self.removed += 1
            except OSError:
                pass
        self.most_bytes = max(self.most_bytes, kept)

    def run(self):
        while not self.stopping.wait(1):
            self.sweep()

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.sweep()


def environment(home, recordings):
    """Nothing of the caller's: suites look at it."""
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home,
                 "PYTHONDONTWRITEBYTECODE": "1"}
    if recordings:
        variables["LD_PRELOAD"] = PROBE
        variables["LOOPSCOPE_DIR"] = recordings
    return variables


def junit_outcomes(path):
    outcomes = {}
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        tags = {child.tag for child in case}
        if tags & {"failure", "error"} or case.get("result") in ("unexpected-success",):
            outcome = "failed"
        elif "skipped" in tags or case.get("result") == "skipped":
            outcome = "skipped"
        else:
            outcome = "passed"
        name = case.get("name")
        if outcomes.get(name) != "failed":
            outcomes[name] = outcome
    return outcomes


def run(suite, probed, tests=None):
    """{test: outcome} of one run; `tests`: only these. The log's end goes to stderr when the suite gave no outcomes at all."""
    home = tempfile.mkdtemp(prefix="lss-")
    recordings = os.path.join(home, "recordings") if probed else None
    results = os.path.join(home, "results")
    work = os.path.join(home, "work")
    os.mkdir(work, 0o755)
    os.chmod(home, 0o755)
    sweeper = None
    if recordings:
        os.mkdir(recordings, 0o700)
        sweeper = Sweeper(recordings)
    if suite in CPYTHON:
        command = [PYTHON, "-m", "test", "--junit-xml", results, "--tempdir", work, "--timeout", "120"]
        for pattern in LEFT_OUT:
            command += ["--ignore", pattern]
        for test in tests or ():
            command += ["--match", test]  # a name with dots is a whole one
        command.append(suite)
    else:
        # It also fails if anything but the runner wrote to stderr.
        command = [PYTHON, os.path.join(HERE, "scripts", "tornado_suite.py"), results, *(tests or ())]
    began = time.monotonic()
    log = os.path.join(home, "log")
    try:
        with open(log, "wb") as out:
            done = subprocess.run(command, cwd=work, env=environment(home, recordings), stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.STDOUT, timeout=900, check=False)
        seconds = time.monotonic() - began
        if not os.path.exists(results):
            with open(log, encoding="utf-8", errors="replace") as text:
                sys.stderr.write(text.read()[-4000:])
            raise SystemExit(f"slow_suites: {' '.join(command)} ended with {done.returncode} and no results")
        if suite in CPYTHON:
            outcomes = junit_outcomes(results)
        else:
            with open(results, encoding="utf-8") as file:
                outcomes = json.load(file)
    finally:
        if sweeper:
            sweeper.stop()
        if os.environ.get("LOOPSCOPE_TEST_KEEP"):
            print(f"kept: {home}", file=sys.stderr)
        else:
            shutil.rmtree(home, ignore_errors=True)
    processes = sweeper.removed if sweeper else 0
    if probed and PROBE and processes == 0:
        raise SystemExit(f"slow_suites: {suite} left no recording: the probe ({PROBE}) was not there")
    return outcomes, done.returncode, seconds, processes


def by_itself(suite, test, probed):
    outcomes, _, _, _ = run(suite, probed, [test])
    return outcomes.get(test, "did not run")


def compare(suite, probed):
    """One suite both ways: the numbers, and what differs."""
    bare, bare_status, bare_seconds, _ = run(suite, False)
    other, other_status, other_seconds, processes = run(suite, probed)
    wavering, different = {}, {}
    for test in sorted(set(bare) | set(other)):
        outcomes = (bare.get(test, "did not run"), other.get(test, "did not run"))
        if outcomes[0] == outcomes[1]:
            continue
        alone = [[by_itself(suite, test, way) for _ in range(AGAIN)] for way in (False, probed)]
        seen = {"bare": [outcomes[0]] + alone[0], "probed": [outcomes[1]] + alone[1]}
        # One that cannot be run by itself gives no evidence then; one that a whole run left out is different.
        came_out = [set(seen[way]) - {"did not run"} for way in ("bare", "probed")]
        same = came_out[0] & came_out[1] and "did not run" not in outcomes
        (wavering if same else different)[test] = seen
    if bare_status != other_status and not wavering and not different:
        different["(exit status)"] = {"bare": [str(bare_status)], "probed": [str(other_status)]}
    count = lambda outcome: sum(1 for value in bare.values() if value == outcome)  # noqa: E731
    return {
        "passed": count("passed"), "skipped": count("skipped"),
        "failed": sorted(test for test, outcome in bare.items() if outcome == "failed"),
        "wavering": wavering, "different": different, "processes": processes,
        "seconds": [round(bare_seconds, 1), round(other_seconds, 1)],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write slow_suites.json")
    parser.add_argument("--only", action="append", choices=SUITES, help="this suite (may be repeated)")
    parser.add_argument("--bare", action="store_true", help="both runs without the probe")
    arguments = parser.parse_args()
    if not PROBE and not arguments.bare:
        parser.error("LOOPSCOPE_PROBE_LIB says where libloopscope-probe.so is; --bare runs without it")
    recorded = {}
    if os.path.exists(RECORDED):
        with open(RECORDED, encoding="utf-8") as file:
            recorded = json.load(file)
    bad = False
    print(f"{'suite':16} {'passed':>7} {'skipped':>8} {'failed':>7} {'bare s':>7} {'probe s':>8} {'processes':>10}  outcome", flush=True)
    for suite in arguments.only or SUITES:
        result = compare(suite, not arguments.bare)
        said = []
        known = recorded.get(suite, {})
        if result["different"]:
            bad = True
            said.append(f"{len(result['different'])} different")
        if not arguments.record and result["passed"] < 0.9 * known.get("passed", 0):
            bad = True
            said.append(f"only {result['passed']} passed, recorded are {known['passed']}: the suite did not run as it should")
        unknown = [test for test in result["wavering"] if test not in known.get("wavering", {})]
        if unknown and not arguments.record:
            said.append(f"{len(unknown)} wavering that are not recorded as such")
        failing = [test for test in result["failed"] if test not in known.get("failed", {}) and test not in known.get("wavering", {})]
        if failing and not arguments.record:
            said.append(f"{len(failing)} failed without the probe too, not recorded")
        print(f"{suite:16} {result['passed']:7} {result['skipped']:8} {len(result['failed']):7} {result['seconds'][0]:7} "
              f"{result['seconds'][1]:8} {result['processes']:10}  {', '.join(said) or 'the same'}", flush=True)
        for kind in ("different", "wavering"):
            for test, seen in result[kind].items():
                print(f"    {kind}: {test}: bare {' '.join(seen['bare'])}; probed {' '.join(seen['probed'])}", flush=True)
        for test in failing:
            print(f"    failed bare: {test}", flush=True)
        if arguments.record:
            recorded[suite] = {
                "passed": result["passed"], "skipped": result["skipped"],
                "failed": {test: known.get("failed", {}).get(test, "?") for test in result["failed"]},
                "wavering": {**{test: "?" for test in result["wavering"]}, **known.get("wavering", {})},
            }
    if arguments.record:
        with open(RECORDED, "w", encoding="utf-8") as file:
            json.dump(recorded, file, indent=1, sort_keys=True)
            file.write("\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
