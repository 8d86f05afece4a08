#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""loopscope_check_fds() and loopscope::testing as a stranger's project meets them: installed, configured, built, tested."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

from running import HERE, line_of

BUILD = pathlib.Path(os.environ["BUILD"])
PROJECT = HERE / "cmake_project"
#: Test -> whether it passes once it is wrapped; all but failing ones pass unwrapped.
WRAPPED = {"leaking": False, "healthy": True, "failing": False, "failing_and_leaking": False, "arguments": True,
           "named/like.this": False, "Units.Leaks": False, "Units.Healthy": True, "late.Units.Leaks": False,
           "late.Units.Healthy": True, "sub_leaking": False, "listened_and_checked": False}
OTHERS = {"not_named": True, "sub_not_named": True, "listened": False}


def command(*arguments, cwd=None, status=0):
    ran = subprocess.run([str(each) for each in arguments], cwd=cwd, text=True, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    if status is not None and ran.returncode != status:
        raise AssertionError("%s: status %d\n%s" % (" ".join(map(str, arguments)), ran.returncode, ran.stdout))
    return ran.stdout


class Project(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="loopscope-cmake-"))
        cls.addClassCleanup(shutil.rmtree, cls.work)
        cls.prefix = cls.work / "prefix"
        cls.build = cls.work / "build"
        command("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.configure(cls.build)
        command("cmake", "--build", cls.build)

    @classmethod
    def configure(cls, build, *arguments, status=0):
        return command("cmake", "-S", PROJECT, "-B", build, "-G", "Ninja", "-DCMAKE_PREFIX_PATH=%s" % cls.prefix,
                       "-DCMAKE_BUILD_TYPE=Debug", *arguments, status=status)

    def commands(self, build):
        """Test -> its command, as CTest will run it."""
        shown = json.loads(command("ctest", "--test-dir", build, "--show-only=json-v1"))
        return {test["name"]: test["command"] for test in shown["tests"]}

    def test_ctest_says_which_tests_leak(self):
        report = self.work / "junit.xml"
        printed = command("ctest", "--test-dir", self.build, "--output-junit", report, "--output-on-failure", status=8)
        statuses = {case.get("name"): case.get("status")
                    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase")}
        self.assertEqual(statuses.pop("skipping"), "notrun", printed)  # the status 77 comes through
        self.assertEqual({name: status == "run" for name, status in statuses.items()}, {**WRAPPED, **OTHERS}, printed)
        # The line to fix is in the test's output, and in its report.
        place = "opens.cpp:%d" % line_of("database", "cmake_project/opens.cpp")
        self.assertIn(place, printed)
        finding, = json.loads((self.build / "reports" / "leaking.json").read_text())["findings"]
        self.assertEqual((finding["rule"], finding["count"]), ("fd-leak", 3))
        self.assertEqual(finding["location"]["line"], line_of("database", "cmake_project/opens.cpp"))
        self.assertTrue((self.build / "reports" / "named_like.this.json").exists())
        # A test that fails by itself keeps its own status.
        failed = json.loads((self.build / "reports" / "failing_and_leaking.json").read_text())
        self.assertEqual((failed["program_status"], failed["exit_status"]), (7, 7))
        # The listener's text, twice; its line where the test ran under the command.
        self.assertEqual(printed.count("opened in this test is still open"), 2, printed)
        place = "  opened at Listened_Leaks_Test::TestBody (listened.cpp:%d)\n" % line_of("listened", "cmake_project/listened.cpp")
        self.assertEqual(printed.count(place), 1, printed)

    def test_commands_are_wrapped_and_otherwise_as_they_were(self):
        commands = self.commands(self.build)
        self.assertEqual(set(commands), set(WRAPPED) | set(OTHERS) | {"skipping"})
        opens = str(self.build / "opens")
        loopscope = str(self.prefix / "bin" / "loopscope")
        self.assertEqual(commands["arguments"],
                         [loopscope, "check", "--output", "json:%s/reports/arguments.json" % self.build, "--", opens,
                          "arguments", "", "a;b", "c d", "[x]", "e", "\"f\\"])
        self.assertEqual(commands["sub_leaking"], [loopscope, "check", "--", opens, "leak"])
        self.assertEqual(commands["late.Units.Leaks"][:6],
                         [loopscope, "check", "--strict", "--suppressions", str(PROJECT / "none.supp"), "--"])
        for name in OTHERS:
            self.assertNotIn(loopscope, commands[name])

    def test_it_can_be_switched_off(self):
        build = self.work / "off"
        self.configure(build, "-DLOOPSCOPE_CHECK_FDS=OFF")
        command("cmake", "--build", build)
        for name, words in self.commands(build).items():
            self.assertNotIn("check", words, name)

    def test_with_several_configurations(self):
        build = self.work / "multi"
        command("cmake", "-S", PROJECT, "-B", build, "-G", "Ninja Multi-Config", "-DCMAKE_PREFIX_PATH=%s" % self.prefix,
                "-DCMAKE_CONFIGURATION_TYPES=Debug;Release")
        command("cmake", "--build", build, "--config", "Release", "--target", "opens")
        shown = json.loads(command("ctest", "--test-dir", build, "-C", "Release", "--show-only=json-v1"))
        commands = {test["name"]: test.get("command") for test in shown["tests"]}
        self.assertEqual(commands["sub_leaking"][1:], ["check", "--", str(build / "Release" / "opens"), "leak"])

    def test_a_name_that_is_nothing_is_an_error(self):
        for call, message in (("loopscope_check_fds(nothing)", '"nothing" is neither a test'),
                              ("loopscope_check_fds()", "name the tests"),
                              ("loopscope_check_fds(one SUPPRESSIONS missing.supp)", "there is no file")):
            source = pathlib.Path(tempfile.mkdtemp(dir=self.work))
            (source / "CMakeLists.txt").write_text(
                "cmake_minimum_required(VERSION 3.25)\nproject(wrong LANGUAGES CXX)\nenable_testing()\n"
                "find_package(loopscope REQUIRED COMPONENTS testing)\nadd_test(NAME one COMMAND true)\n%s\n" % call)
            printed = command("cmake", "-S", source, "-B", source / "build", "-DCMAKE_PREFIX_PATH=%s" % self.prefix,
                              status=1)
            self.assertIn(message, re.sub(r"\s+", " ", printed))

    def test_pkg_config(self):
        libdir = next(self.prefix.rglob("loopscope-testing.pc")).parent.parent
        flags = subprocess.run(["pkg-config", "--define-variable=libdir=%s" % libdir, "--cflags", "--libs",
                                "--define-variable=includedir=%s" % (self.prefix / "include"), "loopscope-testing"],
                               env={**os.environ, "PKG_CONFIG_PATH": str(libdir / "pkgconfig")}, check=True, text=True,
                               stdout=subprocess.PIPE).stdout.split()
        program = self.work / "by-pkg-config"
        command("c++", "-std=c++20", PROJECT / "listened.cpp", "-o", program, *flags, "-lgtest_main", "-lgtest")
        self.assertIn("opened in this test is still open", command(program, status=1))


if __name__ == "__main__":
    unittest.main()
