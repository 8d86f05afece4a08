#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renews the last column of the table in docs/reliability.md from what the tests say they tried.

    scripts/reliability.py BUILD [ROW...]     runs the commands of all rows, or of these, and renews their figures
    scripts/reliability.py --from LOG...      takes the figures from what `make soak`, `make fuzz` ... printed
    scripts/reliability.py --check BUILD      changes nothing: is every row's command there?

A row is `| name | promise | command | figure |`. Its command is `ctest -R 'PATTERN'` (run in BUILD) or `make TARGET`. A test
that has passed prints a line for each row it is for:

    reliability: NAME: FIGURE

SLOW=1 in the environment: the long form of the tests. A row by `make` runs for long and is run only when it is named.
A test that fails, a row that nothing prints, a line for a row that there is not: an error, and the table stays as it is.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "reliability.md"
ROW = re.compile(r"^\| (?P<name>[a-z][a-z0-9-]*) \| (?P<promise>.+) \| (?P<command>[^|]+) \| (?P<figure>[^|]*) \|$")
COMMAND = re.compile(r"`(?:ctest -R '(?P<pattern>[^']+)'|make (?P<target>[a-z-]+))[^`]*`")
# Anywhere in a line: unittest ends none before what a test prints.
FIGURE = re.compile(r"reliability: (?P<name>[a-z][a-z0-9-]*): (?P<figure>.+)$", re.MULTILINE)


def rows():
    """name -> (pattern of ctest or None, target of make or None, figure)"""
    found = {}
    for line in TABLE.read_text().splitlines():
        row = ROW.match(line)
        if not row or row["name"] == "row":
            continue
        command = COMMAND.search(row["command"])
        if not command:
            sys.exit(f"{TABLE}: {row['name']}: no `ctest -R 'PATTERN'` and no `make TARGET` in: {row['command']}")
        if row["name"] in found:
            sys.exit(f"{TABLE}: {row['name']} is there twice")
        found[row["name"]] = (command["pattern"], command["target"], row["figure"].strip())
    if not found:
        sys.exit(f"{TABLE}: no rows")
    return found


def figures_of(text, known):
    figures = {}
    for line in FIGURE.finditer(text):
        if line["name"] not in known:
            sys.exit(f"a test prints figures for {line['name']}, which is no row of {TABLE}")
        figures[line["name"]] = line["figure"].strip().replace("|", "/")
    return figures


def run(command, environment):
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env={**os.environ, **environment})
    if done.returncode != 0:
        print(done.stdout[-8000:])
        sys.exit(f"failed with status {done.returncode}: {' '.join(command)}")
    return done.stdout


def renew(figures):
    lines = []
    for line in TABLE.read_text().splitlines():
        row = ROW.match(line)
        if row and row["name"] in figures:
            line = f"| {row['name']} | {row['promise']} | {row['command']} | {figures[row['name']]} |"
        lines.append(line)
    TABLE.write_text("\n".join(lines) + "\n")
    for name, figure in figures.items():
        print(f"{name}: {figure}")


def check(build):
    listed = run(["ctest", "--test-dir", build, "-N"], {})
    tests = re.findall(r"^\s*Test\s+#\d+: (\S+)", listed, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for name, (pattern, target, _) in rows().items():
        if pattern and not any(re.search(pattern, test) for test in tests):
            wrong.append(f"{name}: no test matches {pattern}")
        if target and target not in targets:
            wrong.append(f"{name}: the Makefile has no {target}")
    if wrong:
        sys.exit(f"{TABLE}:\n  " + "\n  ".join(wrong))
    print(f"{len(rows())} rows, each with a command that is there")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="logs", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("first", metavar="BUILD|LOG")
    parser.add_argument("rest", nargs="*", metavar="ROW|LOG")
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.first)
    known = rows()
    if arguments.logs:
        text = "\n".join(pathlib.Path(log).read_text(errors="replace") for log in [arguments.first, *arguments.rest])
        figures = figures_of(text, known)
        if not figures:
            sys.exit("no figures in it")
        return renew(figures)

    wanted = arguments.rest or [name for name, (pattern, _, _) in known.items() if pattern]
    if unknown := set(wanted) - set(known):
        sys.exit(f"no such row: {', '.join(sorted(unknown))}")
    figures = {}
    done = set()
    for name in wanted:
        pattern, target, _ = known[name]
        if (pattern, target) not in done:
            done.add((pattern, target))
            command = ["ctest", "--test-dir", arguments.first, "-V", "--no-tests=error", "-R", pattern] if pattern \
                else ["make", "--no-print-directory", target]
            figures.update(figures_of(run(command, {}), known))
        if name not in figures:
            sys.exit(f"{name}: what was run for it printed no figure")
    renew(figures)


if __name__ == "__main__":
    main()
