#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""valgrind's --track-fds=all and `loopscope check` over every victim in C and C++ and its healthy twin.

        valgrind_compare.py [-o FILE.md] [NAME ...]

Prints a table in Markdown; -o also puts it into FILE, between the lines <!-- victims --> and <!-- /victims -->. Ends with 1 if
valgrind found a descriptor open at a process' end, opened by it, that check did not list: as a leak, as kept, or as suppressed.

What is compared: descriptors that valgrind names with a stack (without one they are inherited), in all processes, by the line
of the victim's source that opened them. Valgrind runs with --tool=none, the cheapest. Times are of one run each, the whole
command's; valgrind's of a run without what makes its stacks better (inlined functions, more than 12 frames): that doubles them.

Environment: LOOPSCOPE_BIN, VICTIMS_BIN.
"""

import argparse
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # no __pycache__ in the source tree
import victims  # noqa: E402  pylint: disable=wrong-import-position
import victims_test  # noqa: E402  pylint: disable=wrong-import-position

LISTING = ("fd-leak", "fd-kept", "fd-growth", "fd-lost-by-thread", "close-wait")

# Where the two differ and neither is to blame for it: (victim, what valgrind lists more than check, why). The number is that of
# both twins.
FORKED = "valgrind: what the parent had open at fork is the child's own"
QUIRKS = {
    "fork_child": (1, FORKED),
    "sigterm": (2, FORKED),
    "growth": (2, FORKED),
}

# Where valgrind finds less: the reason for the table. Asserted by nobody.
REMARKS = {
    "kinds_terminal_pair": "valgrind does not see ioctl(TIOCGPTPEER) open one",
    "kinds_pidfd": "3.19 does not follow pidfd_open",
    "exec_lost": "valgrind reports at exit only, not at exec, and the next program's are inherited",
    "double_close": "not looked for in 3.19",
    "fclose_close": "not looked for in 3.19",
    "copied_owner": "not looked for in 3.19",
    "close_never_opened": "not looked for in 3.19",
    "use_after_close": "not looked for in 3.19",
    "event_after_close": "not looked for",
    "inherited_by_exec": "not told from any other inherited one",
    "stall": "not looked for",
    "timer_lag": "not looked for",
    "busy_p99": "not looked for",
}

VALGRIND = ["valgrind", "--tool=none", "--track-fds=all", "--trace-children=yes"]
REPORT = re.compile(r"^==\d+== Open (?:file descriptor|\S+ socket) (\d+):", re.MULTILINE)
FRAME = re.compile(r"^==\d+==    (?:at|by) 0x[0-9A-F]+: .* \(([^()]+):(\d+)\)$", re.MULTILINE)

Found = collections.namedtuple("Found", "lines seconds faults")  # Counter of source lines, 0: unknown; rules of other faults


def timed(command, **options):
    """Runs it and everything it leaves behind: (seconds, its status)."""
    reader, writer = os.pipe()  # its end is that of the last process that has the other end
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          pass_fds=(writer,), cwd=victims_test.ROOT, **options) as process:
        os.close(writer)
        status = process.wait(timeout=120)
        seconds = time.monotonic() - start
        while os.read(reader, 1):
            pass
    os.close(reader)
    return seconds, status


def bare(victim, healthy):
    """(seconds, its status) of the program alone."""
    return timed(victim.command(healthy))


def valgrind(victim, healthy):
    with tempfile.TemporaryDirectory(prefix="lsv-") as directory:
        log = f"--log-file={directory}/%p"
        seconds, _ = timed([*VALGRIND, "--log-file=/dev/null", *victim.command(healthy)])
        timed([*VALGRIND, "--num-callers=40", "--read-inline-info=yes", "--fullpath-after=", log, *victim.command(healthy)])
        lines = collections.Counter()
        for path in glob.glob(os.path.join(directory, "*")):
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            for block in re.split(r"^==\d+== *$", text, flags=re.MULTILINE):
                opened = REPORT.search(block)
                if not opened or "<inherited from parent>" in block or int(opened.group(1)) <= 2:
                    continue
                own = [int(line) for source, line in FRAME.findall(block) if os.path.realpath(source) == victim.path]
                lines[own[0] if own else 0] += 1
    return Found(lines, seconds, [])


def check(victim, healthy):
    with tempfile.TemporaryDirectory(prefix="lsv-") as directory:
        start = time.monotonic()
        run = victims_test.check(victim, healthy, directory)
        seconds = time.monotonic() - start
    if run.report is None:
        raise SystemExit(run.output)
    lines, faults = collections.Counter(), []
    for finding in run.report["findings"]:
        if finding["rule"] not in LISTING:
            faults.append(finding["rule"])
            continue
        location = finding["location"]
        own = victims_test.source_of(location["file"]) == victim.path
        lines[location["line"] if own else 0] += finding["count"]
    return Found(lines, seconds, faults)


Row = collections.namedtuple("Row", "victim bare theirs ours their_twin our_twin missed")


def compare(victim):
    """None: this machine does not allow the fault."""
    seconds, status = bare(victim, False)
    if status == victims_test.IMPOSSIBLE:
        return None
    theirs, ours = valgrind(victim, False), check(victim, False)
    their_twin, our_twin = valgrind(victim, True), check(victim, True)
    missed = []
    for name, valgrinds, checks in (("victim", theirs, ours), ("twin", their_twin, our_twin)):
        more = valgrinds.lines - checks.lines  # lines of which valgrind has more
        unknown = more.pop(0, 0)  # check may know their line
        total = sum(valgrinds.lines.values()) - sum(checks.lines.values())
        quirk, _ = QUIRKS.get(victim.name, (0, ""))
        if sum(more.values()) > quirk or (unknown and total > quirk):
            missed.append(f"{name}: valgrind has {dict(valgrinds.lines)}, check has {dict(checks.lines)} (line: how many)")
    return Row(victim, seconds, theirs, ours, their_twin, our_twin, missed)


def _named(found, victim):
    """How many, and whether the line that leaks is named."""
    leaks = victim.markers().get(victim.places.get("opened"))
    count = sum(found.lines.values())
    if count == 0:
        return (", ".join(found.faults) or "nothing"), ("yes" if found.faults and victim.places else "")
    with_line = found.lines.get(leaks, 0)
    return (f"{count}" if with_line == count else f"{with_line} and {count - with_line} more"), "yes" if with_line else "no"


def render(rows):
    """The table, with sums of the times."""
    lines = [
        "| victim | fault | valgrind | line | check | line | twin: valgrind | twin: check | bare | valgrind | check | remark |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --: | --: | --: | --- |",
    ]
    for row in rows:
        victim = row.victim
        theirs, their_line = _named(row.theirs, victim)
        ours, our_line = _named(row.ours, victim)
        remark = "**missed**" if row.missed else REMARKS.get(victim.name, QUIRKS.get(victim.name, (0, ""))[1])
        lines.append(
            f"| {victims.language(victim)}/{victim.name} | {victim.rule} | {theirs} | {their_line} | {ours} | {our_line} "
            f"| {sum(row.their_twin.lines.values()) or 'nothing'} | {_twin(row.our_twin)} "
            f"| {row.bare * 1e3:.0f} ms | {row.theirs.seconds * 1e3:.0f} ms | {row.ours.seconds * 1e3:.0f} ms | {remark} |")
    total = [sum(row.bare for row in rows), sum(row.theirs.seconds for row in rows), sum(row.ours.seconds for row in rows)]
    lines.append(f"| **all {len(rows)}** | | | | | | | | {total[0]:.1f} s | {total[1]:.1f} s | {total[2]:.1f} s | |")
    return "\n".join(lines) + "\n"


def _twin(found):
    kept = sum(found.lines.values())
    return ", ".join(([f"{kept} kept"] if kept else []) + found.faults) or "nothing"


def put_into(path, table):
    """Replaces what is between the two marks."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    begin, end = "<!-- victims -->\n", "<!-- /victims -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{path} has no lines {begin.strip()} and {end} for the table to go between")
    before, rest = text.split(begin, 1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + begin + "\n" + table + "\n" + end + rest.split(end, 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", metavar="FILE.md", help="put the table into this file too")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of victims; all of them, if none is given")
    options = parser.parse_args()
    chosen = [victim for victim in victims.VICTIMS if victims.language(victim) in ("c", "cpp")
              and (not options.names or victim.name in options.names)]
    rows = []
    for victim in chosen:
        row = compare(victim)
        if row is None:
            print(f"{victim.name}: this machine does not allow it", file=sys.stderr)
            continue
        rows.append(row)
        for missed in row.missed:
            print(f"{victim.name}: missed, {missed}", file=sys.stderr)
    table = render(rows)
    print(table)
    if options.o:
        put_into(options.o, table)
    return 1 if any(row.missed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
