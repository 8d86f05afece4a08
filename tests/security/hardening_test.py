#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The files that users get are built so that a memory fault in them stays a crash: cmake/Hardening.cmake.

  hardening_test.py                       the build tree in $BUILD_DIR (ctest)
  hardening_test.py --installed PREFIX    what is installed there (tests/consumer/run.sh)

Read from the files themselves, by readelf: what a flag was for is either in there or it is not."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

OURS = ("cli/", "examples/", "instrumentation/", "loop/", "testing/", "webui/")
PROBE = "libloopscope-probe.so"
IS_X86_64 = os.uname().machine == "x86_64"


def readelf(*arguments):
    return subprocess.run(["readelf", "--wide", *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def keeps_to_cet(properties):
    return "IBT" in properties and "SHSTK" in properties


def faults_of(path, installed=False):
    """What is wrong with an executable or shared library: a list of words, empty if nothing is."""
    faults = []
    name = os.path.basename(path)
    header, segments, dynamic = readelf("-h", path), readelf("-l", path), readelf("-d", path)
    notes, symbols = readelf("-n", path), readelf("--dyn-syms", path)
    flags = " ".join(re.findall(r"\(FLAGS(?:_1)?\)(.*)", dynamic))
    rows = re.findall(r"^\s+(LOAD|GNU_STACK|GNU_RELRO)\s+(?:0x\S+\s+){5}([RWE ]+?)\s+0x", segments, re.M)
    if "DYN" not in re.search(r"Type:\s*(.*)", header).group(1):
        faults.append("not position independent")
    if "INTERP" in segments and not re.search(r"\bPIE\b", flags):
        faults.append("not a PIE")
    if not any(kind == "GNU_RELRO" for kind, _ in rows):
        faults.append("no RELRO")
    if not re.search(r"\b(BIND_NOW|NOW)\b", flags):
        faults.append("bound lazily")
    stacks = [access for kind, access in rows if kind == "GNU_STACK"]
    if not stacks or "E" in stacks[0]:
        faults.append("executable stack")
    if any("W" in access and "E" in access for kind, access in rows if kind == "LOAD"):
        faults.append("a segment to write and to execute")
    if "TEXTREL" in dynamic:
        faults.append("text relocations")
    if "__stack_chk_fail" not in symbols:
        faults.append("no stack protector")
    # Where a library is looked for first must not be a directory that somebody else may make.
    if installed and re.search(r"\((RPATH|RUNPATH)\)", dynamic):
        faults.append("a run path")
    undefined = re.findall(r"\bUND (__\w+_chk)\b", symbols)
    if name == PROBE:
        # It stands in front of these. One that it called would come back to it, or to another preload's.
        if undefined:
            faults.append("calls " + ", ".join(undefined))
        # Of the files that are linked it alone brings no start files of the distribution's, which may lack the mark.
        if IS_X86_64 and not keeps_to_cet(notes):
            faults.append("not marked for CET")
    return faults


def is_elf(path):
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


class BuildTree(unittest.TestCase):
    """ctest: what has been built, and how every source of it was compiled."""

    @classmethod
    def setUpClass(cls):
        cls.build = os.environ["BUILD_DIR"]
        cls.optimised = os.environ["BUILD_TYPE"] in ("Release", "RelWithDebInfo", "MinSizeRel")
        with open(os.path.join(cls.build, "compile_commands.json"), encoding="utf-8") as file:
            commands = json.load(file)
        source = os.environ["SOURCE_DIR"]
        cls.compiled = []  # (object, command)
        for entry in commands:
            output = re.search(r" -o (\S+)", entry["command"]).group(1)
            if output.startswith(OURS):
                cls.compiled.append((output, entry["command"]))
        assert source and len(cls.compiled) > 100, f"{len(cls.compiled)} sources"

    def test_files(self):
        files = os.environ["HARDENED_FILES"].split(",")
        self.assertGreaterEqual(len(files), 4)
        for path in files:
            with self.subTest(file=path):
                self.assertEqual(faults_of(path), [])

    def test_every_source_is_compiled_with_the_flags(self):
        for output, command in self.compiled:
            words = command.split()
            is_assembly = output.endswith(".S.o")
            is_probe = "/loopscope_probe.dir/" in output
            wanted = ["-fcf-protection=full"] if IS_X86_64 else []
            if not is_assembly:
                wanted += ["-fstack-protector-strong", "-fstack-clash-protection", "-fPI"]
            with self.subTest(object=output):
                for flag in wanted:
                    self.assertTrue(any(word.startswith(flag) for word in words), f"{flag} is missing: {command}")
                level = [word for word in words if re.match("-[DU]_FORTIFY_SOURCE", word)]
                fortified = bool(level) and level[-1] in ("-D_FORTIFY_SOURCE=2", "-D_FORTIFY_SOURCE=3")
                self.assertEqual(fortified, self.optimised and not is_assembly and not is_probe, level)

    @unittest.skipUnless(IS_X86_64, "CET is of x86")
    def test_every_object_is_marked_for_cet(self):
        """Assembly that forgets the mark takes it from all that it is linked with."""
        looked_at = 0
        for output, _ in self.compiled:
            path = os.path.join(self.build, output)
            if not os.path.exists(path):
                continue  # a target that nothing needed
            looked_at += 1
            with self.subTest(object=output):
                self.assertTrue(keeps_to_cet(readelf("-n", path)))
        self.assertGreater(looked_at, 50)

    def test_the_command_is_fortified(self):
        if not self.optimised:
            self.skipTest("without an optimiser there is no _FORTIFY_SOURCE")
        command, = [path for path in os.environ["HARDENED_FILES"].split(",") if os.path.basename(path) == "loopscope"]
        self.assertRegex(readelf("--dyn-syms", command), r"\bUND __\w+_chk\b")


class TheTestItself(unittest.TestCase):
    """A file that has every fault is said to have every fault."""

    SOURCE = "#include <string.h>\nint main(int c, char** v) { char b[64]; strcpy(b, v[c - 1]); return b[0]; }\n"

    def built(self, directory, name, *flags):
        source = os.path.join(directory, "weak.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write(self.SOURCE)
        path = os.path.join(directory, name)
        subprocess.run([os.environ["CC"], "-O1", "-w", *flags, "-o", path, source], check=True, timeout=120)
        return path

    def test_weak_files(self):
        with tempfile.TemporaryDirectory() as directory:
            weak = self.built(directory, "weak", "-no-pie", "-fno-pie", "-fno-stack-protector", "-Wl,-z,norelro", "-Wl,-z,lazy",
                              "-Wl,-z,execstack", "-Wl,-rpath,/tmp/there")
            self.assertEqual(faults_of(weak, installed=True),
                             ["not position independent", "not a PIE", "no RELRO", "bound lazily", "executable stack",
                              "no stack protector", "a run path"])
            writable = self.built(directory, "writable", "-shared", "-fPIC", "-nostdlib", "-fstack-protector-all", "-Wl,--omagic")
            self.assertIn("a segment to write and to execute", faults_of(writable))
            probe = self.built(directory, PROBE, "-shared", "-fPIC", "-fstack-protector-all", "-U_FORTIFY_SOURCE",
                               "-D_FORTIFY_SOURCE=2", "-fcf-protection=none", "-Wl,-z,relro", "-Wl,-z,now")
            wanted = ["calls __strcpy_chk"] + (["not marked for CET"] if IS_X86_64 else [])
            self.assertEqual(faults_of(probe), wanted)


def look_at_installed(prefix):
    """Every ELF file and archive below `prefix`; the exit status."""
    looked_at, failed = [], False
    for directory, _, names in os.walk(prefix):
        for name in sorted(names):
            path = os.path.join(directory, name)
            faults = []
            if is_elf(path):
                faults = faults_of(path, installed=True)
            elif name.endswith(".a"):
                if IS_X86_64:
                    members = re.split(r"^File: ", readelf("-n", path), flags=re.M)[1:]
                    faults = [f"{member.splitlines()[0]} is not marked for CET" for member in members if not keeps_to_cet(member)]
                    if not members:
                        faults = ["no members"]
            else:
                continue
            looked_at.append(name)
            for fault in faults:
                failed = True
                print(f"hardening: {path}: {fault}", file=sys.stderr)
    for wanted in ("loopscope", PROBE):
        if wanted not in looked_at:
            failed = True
            print(f"hardening: no {wanted} below {prefix}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--installed"]:
        sys.exit(look_at_installed(sys.argv[2]))
    unittest.main(verbosity=2)
