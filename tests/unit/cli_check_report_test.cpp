// SPDX-License-Identifier: Apache-2.0
//
// The reports of `loopscope check` on results made by hand. JUnit XML is read back by Python's
// parser (samples/check/junit_shape.py), the JSON forms by nlohmann's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/check_report.h"
#include "cli/check_report_parts.h"
#include "instrumentation/findings/check_rules.h"

namespace loopscope::cli {
namespace {

using findings::Severity;
using nlohmann::json;
using recording::StackFrame;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using Status = CheckedFinding::Status;

constexpr std::uint64_t kStart = 1'772'368'496'000'000'000;  // 2026-03-01T12:34:56Z
constexpr std::uint64_t kMs = 1'000'000;
const std::string kTests = "/home/me/app/build/tests";
const std::string kLibc = "/lib/x86_64-linux-gnu/libc.so.6";
const std::string kLibev = "/lib/x86_64-linux-gnu/libev.so.4";

StackFrame frame(std::string function, std::string file, int line, std::string module = kTests) {
  StackFrame made;
  made.function = std::move(function);
  made.file = std::move(file);
  made.line = line;
  made.module = std::move(module);
  made.offset = 0x1234;
  return made;
}

StackFrame nameless_lines(std::string function, std::string module) {
  return frame(std::move(function), "", 0, std::move(module));
}

findings::Place place(std::string role, std::vector<StackFrame> stack,
                      std::optional<std::size_t> first_look) {
  return {std::move(role), std::make_shared<const std::vector<StackFrame>>(std::move(stack)),
          first_look};
}

CheckedProcess process(std::int32_t pid, const std::string& command) {
  CheckedProcess made;
  made.pid = pid;
  made.parent_pid = 1;
  made.command = command;
  made.argv = {"./" + command};
  made.started_ns = kStart + kMs;
  made.ended_ns = kStart + 3000 * kMs;
  made.status = 0;
  made.opened = 40;
  made.closed = 37;
  made.inherited = 3;
  made.open_at_end = 3;
  made.census = true;
  return made;
}

/// One process that did everything right.
CheckResult clean() {
  CheckResult result;
  result.version = "1.2.3";
  result.argv = {"./tests", "--filter=Pool*"};
  result.pid = 4242;
  result.started_ns = kStart;
  result.duration_ns = 3210 * kMs;
  result.root = "/home/me/app";
  result.processes = {process(4242, "tests")};
  return result;
}

CheckedFinding finding(const std::string& rule, Severity severity, const std::string& title) {
  CheckedFinding made;
  made.finding.rule = rule;
  made.finding.severity = severity;
  made.finding.title = title;
  made.fails = severity == Severity::kError;
  made.fingerprint = "0123456789abcdef";
  return made;
}

CheckedFinding leak() {
  CheckedFinding made = finding("fd-leak", Severity::kError,
                                "3 TCP sockets opened at Client::connect (client.cpp:42) were "
                                "never closed; the first 812 ms after start, to 127.0.0.1:5432");
  made.finding.detail = "This site opened 3, 0 of them were closed.";
  made.finding.advice = "Close it on every path.";
  made.finding.count = 6;
  made.finding.kind = "tcp";
  made.finding.places = {
      place("opened",
            {frame("Client::connect(std::string const&)", "/home/me/app/src/client.cpp", 42),
             frame("main", "/home/me/app/src/main.cpp", 7),
             nameless_lines("__libc_start_call_main", kLibc), frame("_start", "", 0)},
            0)};
  for (int i = 0; i < 5; ++i) {
    findings::FoundDescriptor descriptor;
    descriptor.fd = 5 + i;
    descriptor.kind = "tcp";
    descriptor.local = "127.0.0.1:4011" + std::to_string(i);
    descriptor.peer = "127.0.0.1:5432";
    descriptor.opened_ns = kStart + kMs + 812 * kMs;
    descriptor.thread_id = i == 0 ? 4242 : 4250;
    made.finding.descriptors.push_back(descriptor);
  }
  made.file = "src/client.cpp";
  made.line = 42;
  made.function = "Client::connect(std::string const&)";
  made.module = kTests;
  made.offset = 0x1234;
  return made;
}

CheckResult with(std::vector<CheckedFinding> findings) {
  CheckResult result = clean();
  result.findings = std::move(findings);
  return result;
}

template <typename Write>
std::string written(Write write, const CheckResult& result) {
  std::ostringstream out;
  write(out, result);
  return out.str();
}
std::string text(const CheckResult& result, const TextStyle& style = {}) {
  std::ostringstream out;
  write_check_text(out, result, style);
  return out.str();
}
json as_json(const CheckResult& result) { return json::parse(written(write_check_json, result)); }
json as_sarif(const CheckResult& result) {
  const json log = json::parse(written(write_check_sarif, result));
  EXPECT_EQ(log["version"], "2.1.0");
  EXPECT_EQ(log["runs"].size(), 1u);
  return log["runs"][0];
}
std::string github(const CheckResult& result) { return written(write_check_github, result); }

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::size_t columns(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

/// The report as Python's XML parser reads it.
json as_junit(const CheckResult& result) {
  const std::string path = testing::TempDir() + "/check-" + std::to_string(getpid()) + ".xml";
  std::ofstream(path) << written(write_check_junit, result);
  const std::string command =
      std::string(LOOPSCOPE_PYTHON " " LOOPSCOPE_SAMPLES "/check/junit_shape.py ") + path + " 2>&1";
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe != nullptr) {
    char part[4096];
    while (const std::size_t size = fread(part, 1, sizeof part, pipe)) output.append(part, size);
    EXPECT_EQ(pclose(pipe), 0) << output;
  }
  std::remove(path.c_str());
  const json parsed = json::parse(output, nullptr, false);
  EXPECT_TRUE(parsed.is_object()) << output;
  return parsed.is_object() ? parsed : json{{"cases", json::array()}};
}

/// Of that class and name; null if there is none.
json junit_case(const json& suite, const std::string& classname, const std::string& name) {
  for (const json& test : suite["cases"]) {
    if (test["classname"] == classname && test["name"] == name) return test;
  }
  return {};
}

/// Everything that a program can put into a name.
const std::string kHostile =
    "a\x1b[31mb\nloopscope check: no findings\r\t]]><x attr=\"'&\xff\xc0\x80\xe2\x80\xae"
    "\xef\xbf\xbf\x7f\xc2\x9b{0}::,%0A\x01";

CheckResult hostile() {
  CheckResult result = clean();
  CheckedFinding made = leak();
  made.finding.rule = kHostile;
  made.finding.title = made.finding.detail = made.finding.advice = made.finding.kind = kHostile;
  made.finding.places = {
      place(kHostile, {frame(kHostile, kHostile, 3, kHostile), frame(kHostile, "", 0, kHostile)},
            0),
      place(kHostile, {frame(kHostile, "/" + kHostile, 3, kHostile)}, 0)};
  made.finding.descriptors[0].kind = made.finding.descriptors[0].target = kHostile;
  made.finding.descriptors[0].local = made.finding.descriptors[0].peer = kHostile;
  made.fingerprint = made.file = made.function = made.module = kHostile;
  CheckedFinding kept = finding("fd-kept", Severity::kInfo, kHostile);
  CheckedFinding suppressed = leak();
  suppressed.status = Status::kSuppressed;
  suppressed.fails = false;
  suppressed.suppressed_by = kHostile;
  CheckedFinding nowhere = finding("fd-leak", Severity::kError, kHostile);
  nowhere.module = kHostile;
  result.findings = {made, nowhere, kept, suppressed};
  result.version = result.root = kHostile;
  result.argv = {kHostile, kHostile};
  result.processes[0].command = kHostile;
  result.processes[0].argv = {kHostile};
  result.processes.push_back(process(7, "other"));
  result.processes[1].unjudged = kHostile;
  result.suppressions = {{kHostile, kHostile, kHostile, 1, 6}};
  result.unused_suppressions = {kHostile};
  result.notes = {kHostile};
  return result;
}

// --- the result

TEST(CheckResult, ExitStatus) {
  EXPECT_EQ(clean().exit_status(), 0);
  EXPECT_EQ(with({leak()}).exit_status(), 1);
  CheckedFinding quiet = leak();
  quiet.fails = false;
  EXPECT_EQ(with({quiet}).exit_status(), 0);
  CheckResult unseen = with({leak()});
  unseen.unseen = "it is static";
  EXPECT_EQ(unseen.exit_status(), 3) << "saw nothing is not no leak";
  unseen.end = {false, 7};
  EXPECT_EQ(unseen.exit_status(), 7);
  CheckResult killed = clean();
  killed.end = {true, 11};
  EXPECT_EQ(killed.exit_status(), 139);
  CheckResult late = clean();
  late.timed_out = true;
  EXPECT_EQ(late.exit_status(), 124) << "it may exit with 0 when it is told to end";
  late.end = {true, 15};
  EXPECT_EQ(late.exit_status(), 143);
}

TEST(CheckResult, Counts) {
  std::vector<CheckedFinding> all = {
      finding("a", Severity::kError, ""), finding("a", Severity::kError, ""),
      finding("b", Severity::kWarning, ""), finding("c", Severity::kInfo, "")};
  for (const Status status :
       {Status::kSuppressed, Status::kSuppressed, Status::kSuppressed, Status::kSuppressed,
        Status::kBaseline, Status::kBaseline, Status::kBaseline, Status::kBaseline,
        Status::kBaseline, Status::kFewer}) {
    all.push_back(finding("a", Severity::kError, ""));
    all.back().status = status;
  }
  const CheckCounts counts = count(with(all));
  EXPECT_EQ(counts.errors, 2u);
  EXPECT_EQ(counts.warnings, 1u);
  EXPECT_EQ(counts.infos, 1u);
  EXPECT_EQ(counts.suppressed, 4u);
  EXPECT_EQ(counts.baseline, 5u);
  EXPECT_EQ(counts.fewer, 1u);
}

// --- names and targets

TEST(CheckReport, FormatNames) {
  for (const ReportFormat format : {ReportFormat::kText, ReportFormat::kJson, ReportFormat::kJunit,
                                    ReportFormat::kSarif, ReportFormat::kGithub}) {
    EXPECT_EQ(report_format(report_format_name(format)), format);
  }
  EXPECT_EQ(report_format("sarif"), ReportFormat::kSarif);
  EXPECT_EQ(report_format(""), std::nullopt);
  EXPECT_EQ(report_format("JSON"), std::nullopt);
  EXPECT_EQ(report_format("xml"), std::nullopt);
}

TEST(CheckReport, Targets) {
  const auto target = [](std::string_view text) {
    const auto found = report_target(text);
    return found ? std::string(report_format_name(found->format)) + " " + found->path : "none";
  };
  EXPECT_EQ(target("leaks.sarif"), "sarif leaks.sarif");
  EXPECT_EQ(target("leaks.sarif.json"), "sarif leaks.sarif.json");
  EXPECT_EQ(target("out/r.json"), "json out/r.json");
  EXPECT_EQ(target("R.XML"), "junit R.XML");
  EXPECT_EQ(target("a.txt"), "text a.txt");
  EXPECT_EQ(target("a.log"), "text a.log");
  EXPECT_EQ(target("github:-"), "github -");
  EXPECT_EQ(target("json:x.xml"), "json x.xml") << "what is said holds, not the extension";
  EXPECT_EQ(target("text:a:b"), "text a:b");
  EXPECT_EQ(target("ab:c.json"), "json ab:c.json") << "a colon in a path";
  EXPECT_EQ(target("json:"), "none");
  EXPECT_EQ(target("-"), "none");
  EXPECT_EQ(target(""), "none");
  EXPECT_EQ(target("report"), "none");
  EXPECT_EQ(target("json"), "none");
}

TEST(CheckReport, Dispatch) {
  const CheckResult result = with({leak()});
  const auto through = [&](ReportFormat format) {
    std::ostringstream out;
    write_check_report(out, result, format);
    return out.str();
  };
  EXPECT_EQ(through(ReportFormat::kText), text(result));
  EXPECT_EQ(through(ReportFormat::kJson), written(write_check_json, result));
  EXPECT_EQ(through(ReportFormat::kJunit), written(write_check_junit, result));
  EXPECT_EQ(through(ReportFormat::kSarif), written(write_check_sarif, result));
  EXPECT_EQ(through(ReportFormat::kGithub), github(result));
}

TEST(CheckReport, FilesBelowTheRootAreRelative) {
  CheckResult result = clean();
  EXPECT_EQ(shown_file(result, "/home/me/app/src/a.c"), "src/a.c");
  EXPECT_EQ(shown_file(result, "/home/me/app/build/../src/./a.c"), "src/a.c");
  EXPECT_EQ(shown_file(result, "/home/me/application/a.c"), "/home/me/application/a.c");
  EXPECT_EQ(shown_file(result, "/usr/src/a.c"), "/usr/src/a.c");
  EXPECT_EQ(shown_file(result, "./a.c"), "a.c");
  EXPECT_EQ(shown_file(result, "node:fs"), "node:fs");
  EXPECT_EQ(shown_file(result, "file:///x/a.mjs"), "file:///x/a.mjs");
  result.root.clear();
  EXPECT_EQ(shown_file(result, "/home/me/app/src/a.c"), "/home/me/app/src/a.c");
}

// --- stacks

std::vector<std::string> frames_of(const findings::Place& place, std::size_t most = 12) {
  std::vector<std::string> lines;
  for (const ShownFrame& shown : shown_frames(clean(), place, most)) {
    lines.push_back((shown.first_look ? "> " : "") + shown.text +
                    (shown.where.empty() ? "" : " @ " + shown.where));
  }
  return lines;
}

TEST(CheckReport, StacksShowTheProgramAndWhatItCalled) {
  const findings::Place mixed = place(
      "opened",
      {nameless_lines("__socket", kLibc), nameless_lines("getaddrinfo_inner", kLibc),
       nameless_lines("getaddrinfo", kLibc), frame("Client::connect(int)", "/home/me/app/c.cpp", 4),
       nameless_lines("ev_a", kLibev), nameless_lines("b", kLibc), nameless_lines("ev_run", kLibev),
       frame("run", "", 0), nameless_lines("start_thread", kLibc), nameless_lines("clone3", kLibc)},
      3);
  EXPECT_THAT(frames_of(mixed),
              ElementsAre("… 2 frames of libc.so.6", "getaddrinfo @ libc.so.6+0x1234",
                          "> Client::connect @ c.cpp:4", "… 2 frames of libev.so.4, libc.so.6",
                          "ev_run @ libev.so.4+0x1234", "run @ tests+0x1234"));
}

TEST(CheckReport, ASingleFrameIsNotFolded) {
  EXPECT_THAT(frames_of(place("opened",
                              {nameless_lines("fopen_inner", kLibc), nameless_lines("fopen", kLibc),
                               frame("main", "/x/m.c", 1)},
                              2)),
              ElementsAre("fopen_inner @ libc.so.6+0x1234", "fopen @ libc.so.6+0x1234",
                          "> main @ /x/m.c:1"));
}

TEST(CheckReport, StacksOfTheSystemAlone) {
  std::vector<StackFrame> stack;
  for (int i = 0; i < 9; ++i) {
    stack.push_back(nameless_lines("f" + std::to_string(i), "/usr/bin/git"));
  }
  EXPECT_THAT(
      frames_of(place("opened", stack, std::nullopt), 3),
      ElementsAre("f0 @ git+0x1234", "f1 @ git+0x1234", "f2 @ git+0x1234", "… 6 callers more"));
}

TEST(CheckReport, LinesOfScripts) {
  StackFrame line = frame("", "/home/me/app/tools/run.py", 12, "");
  line.script = true;
  std::vector<StackFrame> stack = {line};
  for (int i = 0; i < 5; ++i) stack.push_back(nameless_lines("eval", "/usr/bin/python3.11"));
  EXPECT_THAT(frames_of(place("opened", stack, 0)),
              ElementsAre("> (top level) @ tools/run.py:12", "… 5 frames of python3.11"));
}

TEST(CheckReport, StacksThatAreNotThere) {
  EXPECT_THAT(frames_of({}), IsEmpty());
  EXPECT_THAT(frames_of(place("opened", {}, 0)), IsEmpty());
  // An index that is not there is nobody's frame.
  EXPECT_THAT(frames_of(place("opened", {frame("main", "/x/m.c", 1)}, 9)),
              ElementsAre("main @ /x/m.c:1"));
}

// --- text

TEST(CheckText, ACleanRunIsOneLine) {
  EXPECT_EQ(text(clean()), "loopscope check: no findings in 1 process (40 descriptors opened)\n");
  CheckResult two = clean();
  two.processes.push_back(process(5, "sh"));
  two.processes.back().ending = CheckedProcess::Ending::kExec;
  two.processes.back().unjudged = "it only became another program";
  EXPECT_EQ(text(two), text(clean())) << "a beginning of a process is no news";
}

TEST(CheckText, ALeak) {
  EXPECT_EQ(
      text(with({leak()})),
      R"(error[fd-leak]: 3 TCP sockets opened at Client::connect (client.cpp:42) were never closed; the first
    812 ms after start, to 127.0.0.1:5432
  --> src/client.cpp:42

  opened at
    > Client::connect  src/client.cpp:42
      main  src/main.cpp:7

  fd  kind  what                               opened              thread
   5  tcp   127.0.0.1:40110 -> 127.0.0.1:5432  812 ms after start  main
   6  tcp   127.0.0.1:40111 -> 127.0.0.1:5432  812 ms after start  4250
   7  tcp   127.0.0.1:40112 -> 127.0.0.1:5432  812 ms after start  4250
   8  tcp   127.0.0.1:40113 -> 127.0.0.1:5432  812 ms after start  4250
  … 2 more

  This site opened 3, 0 of them were closed.
  help: Close it on every path.

loopscope check: 1 error in 1 process; ./tests exited with 0 -> exit 1
next: what is meant to be so goes to a suppression file; this writes its entries:
      loopscope check --gen-suppressions FILE -- ./tests '--filter=Pool*'
      and from then on: loopscope check --suppressions FILE -- ...
)");
}

TEST(CheckText, Verdicts) {
  const auto verdict = [](const CheckResult& result) {
    for (const std::string& line : lines_of(text(result))) {
      if (line.starts_with("loopscope check: ")) return line.substr(17);
    }
    return std::string("none");
  };
  CheckResult failed = clean();
  failed.end = {false, 3};
  EXPECT_EQ(verdict(failed), "no findings in 1 process; ./tests exited with 3 -> exit 3");
  failed.end = {true, 11};
  EXPECT_EQ(verdict(failed), "no findings in 1 process; ./tests was killed by SIGSEGV -> exit 139");
  failed.timed_out = true;
  failed.end = {true, 9};
  EXPECT_EQ(verdict(failed),
            "no findings in 1 process; ./tests was ended after 3.21 s (--timeout) -> exit 137");

  CheckResult unseen;
  unseen.argv = {"./busybox"};
  unseen.unseen = "it is static";
  EXPECT_EQ(text(unseen),
            "loopscope check: ./busybox could not be observed: it is static; it exited with 0 -> "
            "exit 3\n");
  unseen.findings = {leak()};
  EXPECT_EQ(verdict(unseen),
            "1 error; ./busybox could not be observed: it is static; it exited with 0 -> exit 3");

  CheckResult mixed = with({leak(), leak(), finding("close-wait", Severity::kWarning, "w"),
                            finding("fd-kept", Severity::kInfo, "k")});
  mixed.processes.push_back(process(4243, "worker"));
  mixed.processes.push_back(process(4244, "git"));
  mixed.processes.back().unjudged = "ignored";
  EXPECT_EQ(verdict(mixed),
            "2 errors, 1 warning, 1 info in 2 processes; ./tests exited with 0 -> exit 1");
  EXPECT_EQ(verdict(with({finding("close-wait", Severity::kWarning, "w")})),
            "1 warning in 1 process; ./tests exited with 0 -> exit 0");
}

TEST(CheckText, WhatIsKeptIsALineEach) {
  CheckedFinding kept = finding("fd-kept", Severity::kInfo, "1 file opened at open_log (log.c:12)");
  kept.finding.detail = "DETAIL";
  kept.finding.advice = "ADVICE";
  kept.finding.places = {place("opened", {frame("open_log", "/home/me/app/src/log.c", 12)}, 0)};
  kept.file = "src/log.c";
  kept.line = 12;
  CheckedFinding unsaid = kept;
  unsaid.finding.title = "2 pipes";
  EXPECT_EQ(text(with({kept, unsaid})),
            "info[fd-kept]: 1 file opened at open_log (log.c:12)\n"
            "info[fd-kept]: 2 pipes --> src/log.c:12\n"
            "\n"
            "loopscope check: 2 infos in 1 process; ./tests exited with 0 -> exit 0\n");
  // With --strict it has to be acted on.
  kept.fails = true;
  CheckResult strict = with({kept});
  strict.strict = true;
  EXPECT_THAT(text(strict), HasSubstr("    > open_log  src/log.c:12\n"));
  EXPECT_THAT(text(strict), HasSubstr("  DETAIL\n  help: ADVICE\n"));
}

TEST(CheckText, AdviceIsGivenOnceARule) {
  CheckedFinding other = leak();
  other.finding.rule = "close-wait";
  const std::string shown = text(with({leak(), leak(), other}));
  std::size_t times = 0;
  for (std::size_t at = 0; (at = shown.find("help: Close it", at)) != std::string::npos; ++at) {
    ++times;
  }
  EXPECT_EQ(times, 2u);
}

TEST(CheckText, ManyFindings) {
  CheckResult many = with(std::vector<CheckedFinding>(60, leak()));
  const std::vector<std::string> lines = lines_of(text(many));
  const auto number_of = [&](auto matches) {
    return std::count_if(lines.begin(), lines.end(), matches);
  };
  EXPECT_EQ(number_of([](const std::string& line) { return line.starts_with("error[fd-leak]"); }),
            40);
  EXPECT_EQ(number_of([](const std::string& line) { return line == "  opened at"; }), 20);
  EXPECT_THAT(lines, testing::Contains("and 20 findings more: -o json:FILE has all"));
  EXPECT_THAT(lines, testing::Contains(StartsWith("loopscope check: 60 errors in 1 process;")));
}

TEST(CheckText, WhatIsNotAmongTheFindings) {
  CheckResult result = clean();
  CheckedFinding known = leak();
  known.fails = false;
  known.status = Status::kBaseline;
  CheckedFinding suppressed = known;
  suppressed.status = Status::kSuppressed;
  CheckedFinding fewer = known;
  fewer.status = Status::kFewer;
  result.findings = {known, known, suppressed, fewer};
  result.baseline_gone = 1;
  result.suppressions = {{"node-signal-pipe", "r", "shipped with loopscope", 1, 8},
                         {"ruby-vm-timer", "r", "a.supp:3", 1, 4}};
  result.unused_suppressions = {"a.supp:12 old-one"};
  result.notes = {"3 sites could not be recorded"};
  for (int i = 0; i < 3; ++i) {
    result.processes.push_back(process(5000 + i, "git"));
    result.processes.back().unjudged = i == 2 ? "no ledger" : "ignored: --ignore-process git";
  }
  EXPECT_EQ(text(result),
            "12 descriptors suppressed: 2 entries (node-signal-pipe 8, ruby-vm-timer 4)\n"
            "2 findings were in the baseline already\n"
            "1 finding of fewer than --min-count\n"
            "1 finding of the baseline did not come up any more: --update-baseline drops it\n"
            "matched nothing: suppression a.supp:12 old-one\n"
            "3 processes were not judged: ignored: --ignore-process git (2), no ledger (1)\n"
            "note: 3 sites could not be recorded\n"
            "loopscope check: no findings in 1 process (40 descriptors opened)\n");
  result.suppressions = {{"close-twice", "r", "s", 2, 0}};
  EXPECT_THAT(text(result), StartsWith("2 findings suppressed: 1 entry (close-twice 2)\n"));
}

TEST(CheckText, HowToGetLines) {
  CheckedFinding own = leak();
  own.file.clear();
  own.line = 0;
  CheckedFinding of_system = own;
  of_system.module = kLibev;
  const std::string shown = text(with({own, of_system}), {false, 200});
  EXPECT_THAT(shown,
              HasSubstr("  --> Client::connect(std::string const&) in build/tests+0x1234\n"));
  EXPECT_THAT(shown, HasSubstr("next: to see lines of build/tests: compile with -g"));
  EXPECT_THAT(shown, HasSubstr("next: to see lines of " + kLibev + ": install the package"));
  EXPECT_THAT(text(with({leak()})), Not(HasSubstr("to see lines"))) << "the line is known";
  own.fails = false;
  EXPECT_THAT(text(with({own})), Not(HasSubstr("next:"))) << "nothing has to be done";
}

TEST(CheckText, OfSeveralProcesses) {
  CheckResult result = with({leak()});
  result.processes.push_back(process(4243, "worker"));
  EXPECT_THAT(text(result), HasSubstr("\n  in tests (pid 4242)\n"));
  result.findings[0].process = 1;
  result.findings[0].processes = 3;
  const std::string shown = text(result);
  EXPECT_THAT(shown, HasSubstr("\n  in worker (pid 4243) and 2 processes more\n"));
  // Whose start? The descriptors are of all three.
  EXPECT_THAT(shown, HasSubstr("813 ms into the run"));
  EXPECT_THAT(shown, Not(HasSubstr("812 ms after start  ")));
}

TEST(CheckText, Colour) {
  const std::string plain = text(with({leak()}));
  const std::string coloured = text(with({leak()}), {true, 100});
  EXPECT_THAT(plain, Not(HasSubstr("\x1b")));
  EXPECT_THAT(coloured, HasSubstr("\x1b[1;31merror[fd-leak]\x1b[0m"));
  EXPECT_EQ(std::regex_replace(coloured, std::regex("\x1b\\[[0-9;]*m"), ""), plain);
}

TEST(CheckText, LinesFitTheWidth) {
  CheckedFinding wordy = leak();
  for (int i = 0; i < 30; ++i) wordy.finding.detail += " wörds änd möre";
  wordy.finding.advice = wordy.finding.detail;
  wordy.finding.places = {
      place("opened", {frame("a_function_" + std::string(200, 'x'), "/home/me/app/a.c", 1)}, 0)};
  wordy.finding.descriptors[0].local = wordy.finding.descriptors[0].peer = "";
  wordy.finding.descriptors[0].target = "/" + std::string(300, 'd') + "/data.bin";
  for (const int width : {50, 72, 100, 160}) {
    std::ostringstream out;
    write_finding_text(out, with({wordy}), wordy, {false, width}, true);
    std::size_t widest = 0;
    for (const std::string& line : lines_of(out.str())) {
      widest = std::max(widest, columns(line));
      EXPECT_LE(columns(line), static_cast<std::size_t>(std::max(width, 60))) << line;
    }
    EXPECT_GT(widest, static_cast<std::size_t>(width) - 12) << "the width is used";
    EXPECT_THAT(out.str(), HasSubstr("d/data.bin")) << "a path's end says most";
    EXPECT_THAT(out.str(), HasSubstr("-> 127.0.0.1:5432")) << "the other side says more than ours";
  }
}

TEST(CheckText, PathsAreNotBroken) {
  const std::string path = "/very" + std::string(150, 'x') + "/long";
  CheckedFinding made = leak();
  made.finding.detail = "see " + path + " there";
  EXPECT_THAT(text(with({made}), {false, 60}), HasSubstr("\n  " + path + "\n  there\n"));
}

bool has_control_characters(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f;
  });
}

TEST(CheckText, HostileStrings) {
  ASSERT_TRUE(has_control_characters(kHostile));
  const std::string shown = text(hostile());
  EXPECT_FALSE(has_control_characters(shown));
  EXPECT_THAT(shown, Not(HasSubstr("\xff")));
  EXPECT_THAT(shown, Not(HasSubstr("\xe2\x80\xae"))) << "turns the reading direction";
  EXPECT_THAT(shown, Not(HasSubstr("\xc2\x9b"))) << "CSI in one character";
  const std::vector<std::string> lines = lines_of(shown);
  EXPECT_EQ(
      std::count_if(lines.begin(), lines.end(),
                    [](const std::string& line) { return line.starts_with("loopscope check:"); }),
      1)
      << shown;
}

// --- JSON

TEST(CheckJson, Members) {
  CheckResult result = with({leak()});
  result.suppressions = {{"name", "reason", "a.supp:3", 1, 4}};
  result.unused_suppressions = {"a.supp:12 old"};
  result.notes = {"note"};
  result.baseline_gone = 2;
  const json report = as_json(result);
  const auto members = [](const json& object) {
    std::set<std::string> names;
    for (const auto& [name, value] : object.items()) names.insert(name);
    return names;
  };
  EXPECT_THAT(members(report),
              testing::UnorderedElementsAre("schema", "version", "program", "pid", "started_at",
                                            "duration_seconds", "program_status", "program_signal",
                                            "timed_out", "exit_status", "unseen", "strict",
                                            "counts", "processes", "findings", "suppressions",
                                            "unused_suppressions", "baseline_gone", "notes"));
  EXPECT_THAT(
      members(report["processes"][0]),
      testing::UnorderedElementsAre("pid", "parent_pid", "command", "argv", "started_at",
                                    "ended_at", "ending", "status", "signal", "opened", "closed",
                                    "inherited", "open_at_end", "census", "unjudged"));
  const json& found = report["findings"][0];
  EXPECT_THAT(members(found), testing::UnorderedElementsAre(
                                  "rule", "severity", "status", "fails", "suppressed_by",
                                  "fingerprint", "process", "processes", "title", "detail",
                                  "advice", "count", "kind", "location", "places", "descriptors"));
  EXPECT_EQ(report["schema"], "loopscope.check/1");
  EXPECT_EQ(report["version"], "1.2.3");
  EXPECT_EQ(report["program"], json({"./tests", "--filter=Pool*"}));
  EXPECT_EQ(report["started_at"], "2026-03-01T12:34:56.000000Z");
  EXPECT_DOUBLE_EQ(report["duration_seconds"], 3.21);
  EXPECT_EQ(report["program_status"], 0);
  EXPECT_TRUE(report["program_signal"].is_null());
  EXPECT_EQ(report["exit_status"], 1);
  EXPECT_TRUE(report["unseen"].is_null());
  EXPECT_EQ(report["counts"]["errors"], 1);
  EXPECT_EQ(report["processes"][0]["ended_at"], "2026-03-01T12:34:59.000000Z");
  EXPECT_EQ(report["processes"][0]["open_at_end"], 3);
  EXPECT_EQ(found["status"], "new");
  EXPECT_EQ(found["fails"], true);
  EXPECT_EQ(found["count"], 6);
  EXPECT_EQ(found["location"], json({{"function", "Client::connect(std::string const&)"},
                                     {"file", "src/client.cpp"},
                                     {"line", 42},
                                     {"module", kTests},
                                     {"offset", 0x1234}}));
  const json& opened = found["places"][0];
  EXPECT_EQ(opened["role"], "opened");
  EXPECT_EQ(opened["frame"], 0);
  ASSERT_EQ(opened["stack"].size(), 4u) << "all frames, also those that are not shown to people";
  EXPECT_EQ(opened["stack"][1], json({{"function", "main"},
                                      {"file", "src/main.cpp"},
                                      {"line", 7},
                                      {"module", kTests},
                                      {"offset", 0x1234},
                                      {"inlined", false},
                                      {"script", false}}));
  EXPECT_TRUE(opened["stack"][2]["file"].is_null());
  EXPECT_TRUE(opened["stack"][2]["line"].is_null());
  EXPECT_EQ(found["descriptors"][0], json({{"fd", 5},
                                           {"kind", "tcp"},
                                           {"target", nullptr},
                                           {"local", "127.0.0.1:40110"},
                                           {"peer", "127.0.0.1:5432"},
                                           {"opened_at", "2026-03-01T12:34:56.813000Z"},
                                           {"thread_id", 4242}}));
  EXPECT_EQ(report["suppressions"][0], json({{"name", "name"},
                                             {"reason", "reason"},
                                             {"source", "a.supp:3"},
                                             {"findings", 1},
                                             {"descriptors", 4}}));
  EXPECT_EQ(report["unused_suppressions"], json({"a.supp:12 old"}));
  EXPECT_EQ(report["baseline_gone"], 2);
  EXPECT_EQ(report["notes"], json({"note"}));
}

TEST(CheckJson, WhatIsNotKnownIsNull) {
  CheckResult result = with({finding("fd-leak", Severity::kWarning, "t")});
  result.findings[0].status = Status::kSuppressed;
  result.findings[0].suppressed_by = "entry";
  result.findings[0].finding.descriptors.resize(1);
  result.end = {true, 9};
  result.unseen = "why";
  CheckedProcess& process = result.processes[0];
  process.started_ns = process.ended_ns = 0;
  process.ending = CheckedProcess::Ending::kKilled;
  process.signal = 9;
  process.unjudged = "reason";
  const json report = as_json(result);
  EXPECT_TRUE(report["program_status"].is_null());
  EXPECT_EQ(report["program_signal"], 9);
  EXPECT_EQ(report["unseen"], "why");
  EXPECT_EQ(report["counts"]["suppressed"], 1);
  EXPECT_EQ(report["counts"]["warnings"], 0);
  EXPECT_TRUE(report["processes"][0]["started_at"].is_null());
  EXPECT_TRUE(report["processes"][0]["ended_at"].is_null());
  EXPECT_TRUE(report["processes"][0]["status"].is_null());
  EXPECT_EQ(report["processes"][0]["signal"], 9);
  EXPECT_EQ(report["processes"][0]["ending"], "killed");
  EXPECT_EQ(report["processes"][0]["unjudged"], "reason");
  const json& found = report["findings"][0];
  EXPECT_EQ(found["severity"], "warning");
  EXPECT_EQ(found["status"], "suppressed");
  EXPECT_EQ(found["suppressed_by"], "entry");
  EXPECT_TRUE(found["kind"].is_null());
  for (const auto& [name, value] : found["location"].items()) EXPECT_TRUE(value.is_null()) << name;
  for (const auto& [name, value] : found["descriptors"][0].items()) {
    EXPECT_TRUE(value.is_null()) << name;
  }
}

TEST(CheckJson, EmptyAndHostile) {
  const json empty = as_json({});
  EXPECT_EQ(empty["findings"], json::array());
  EXPECT_EQ(empty["processes"], json::array());
  EXPECT_EQ(empty["unused_suppressions"], json::array());
  EXPECT_TRUE(empty["started_at"].is_null());
  const std::string shown = written(write_check_json, hostile());
  EXPECT_EQ(lines_of(shown).size(), 1u) << "one document a line";
  const json report = json::parse(shown);  // throws on what is not UTF-8
  EXPECT_THAT(report["findings"][0]["title"].get<std::string>(), HasSubstr("\xef\xbf\xbd"));
  EXPECT_THAT(report["findings"][0]["title"].get<std::string>(), StartsWith("a\x1b[31mb\n"));
}

// --- JUnit

TEST(CheckJunit, RulesThatFoundNothingAreThere) {
  const json suite = as_junit(clean());
  EXPECT_EQ(suite["name"], "loopscope check");
  EXPECT_EQ(suite["timestamp"], "2026-03-01T12:34:56");
  std::vector<std::string> names;
  for (const json& test : suite["cases"]) {
    names.push_back(test["name"]);
    EXPECT_EQ(test["classname"], "tests");
    EXPECT_EQ(test["outcome"], "passed") << test;
  }
  EXPECT_THAT(
      names, ElementsAre("program", "fd-leak", "fd-growth", "fd-lost-by-thread", "double-close",
                         "close-never-opened", "use-after-close", "event-after-close", "close-wait",
                         "fd-inherited-by-exec", "fd-kept"));
}

TEST(CheckJunit, BudgetsThatWereNotSetWereNotJudged) {
  CheckResult result = clean();
  result.budgets = {"timer-lag-budget"};
  const json suite = as_junit(result);
  EXPECT_EQ(junit_case(suite, "tests", "timer-lag-budget")["outcome"], "passed");
  EXPECT_TRUE(junit_case(suite, "tests", "stall-budget").is_null());
}

TEST(CheckJunit, Failures) {
  CheckedFinding second = leak();
  second.finding.title = "another";
  CheckedFinding warning = finding("close-wait", Severity::kWarning, "late");
  CheckedFinding suppressed = leak();
  suppressed.fails = false;
  suppressed.status = Status::kSuppressed;
  suppressed.suppressed_by = "my-entry";
  const json suite =
      as_junit(with({leak(), second, warning, suppressed,
                     finding("a-new-rule", Severity::kError, "of a later version")}));
  const json failed = junit_case(suite, "tests", "fd-leak");
  EXPECT_EQ(failed["outcome"], "failure");
  EXPECT_EQ(failed["type"], "fd-leak");
  EXPECT_EQ(failed["message"], leak().finding.title + " (and 1 more)");
  EXPECT_THAT(failed["body"].get<std::string>(), HasSubstr("    > Client::connect  src/client"));
  EXPECT_THAT(failed["body"].get<std::string>(), HasSubstr("error[fd-leak]: another\n"));
  EXPECT_THAT(failed["output"].get<std::string>(), HasSubstr("suppressed by my-entry"));
  const json passed = junit_case(suite, "tests", "close-wait");
  EXPECT_EQ(passed["outcome"], "passed") << "it does not fail the run";
  EXPECT_EQ(passed["output"], "warning: late\n");
  EXPECT_EQ(junit_case(suite, "tests", "a-new-rule")["outcome"], "failure");
  EXPECT_EQ(junit_case(suite, "tests", "program")["outcome"], "passed");
}

TEST(CheckJunit, ProcessesOfOneCommand) {
  CheckResult result = with({leak()});
  result.processes.push_back(process(9001, "worker"));
  result.processes.push_back(process(9002, "worker"));
  result.processes.push_back(process(9003, "worker"));
  result.findings[0].process = 1;
  result.findings[0].processes = 2;
  result.findings[0].also_in = {3};
  const std::string xml = written(write_check_junit, result);
  const json suite = as_junit(result);
  EXPECT_EQ(junit_case(suite, "tests", "fd-leak")["outcome"], "passed");
  EXPECT_EQ(junit_case(suite, "worker", "fd-leak")["outcome"], "failure");
  EXPECT_EQ(junit_case(suite, "worker (2)", "fd-leak")["outcome"], "passed");
  const json again = junit_case(suite, "worker (3)", "fd-leak");
  EXPECT_EQ(again["outcome"], "failure");
  EXPECT_EQ(again["message"], leak().finding.title);
  EXPECT_THAT(again["body"].get<std::string>(),
              HasSubstr("as in worker (pid 9001) and 1 process more"));
  EXPECT_THAT(xml, Not(HasSubstr("name=\"worker 900"))) << "pids are new in every run";
}

TEST(CheckJunit, NotJudgedAndNotObserved) {
  CheckResult result = clean();
  for (int i = 0; i < 3; ++i) {
    result.processes.push_back(process(7 + i, "git"));
    result.processes.back().unjudged = i == 2 ? "another reason" : "ignored";
  }
  // Two of one command and reason are one case, and so two reasons would be two of one name.
  result.processes.back().command = "ssh";
  const json suite = as_junit(result);
  EXPECT_EQ(junit_case(suite, "git", "judged")["outcome"], "skipped");
  EXPECT_EQ(junit_case(suite, "git", "judged")["message"], "ignored");
  EXPECT_EQ(junit_case(suite, "ssh", "judged")["message"], "another reason");
  EXPECT_TRUE(junit_case(suite, "git", "fd-leak").is_null());

  CheckResult unseen;
  unseen.argv = {"./busybox"};
  unseen.unseen = "it is static";
  const json missed = as_junit(unseen);
  ASSERT_EQ(missed["cases"].size(), 1u) << "rules that nobody looked at have not passed";
  EXPECT_EQ(missed["cases"][0]["outcome"], "error");
  EXPECT_EQ(missed["cases"][0]["classname"], "busybox");
  EXPECT_EQ(missed["cases"][0]["type"], "not-observed");
  EXPECT_THAT(missed["cases"][0]["message"].get<std::string>(), EndsWith("it is static"));
}

TEST(CheckJunit, SkippedForSeveralReasons) {
  CheckResult result = clean();
  for (const char* reason : {"one", "two"}) {
    result.processes.push_back(process(7, "git"));
    result.processes.back().unjudged = reason;
  }
  const json suite = as_junit(result);
  const json skipped = junit_case(suite, "git", "judged");
  EXPECT_EQ(skipped["message"], "one; two");
}

TEST(CheckJunit, HowTheProgramEnded) {
  CheckResult result = clean();
  result.end = {false, 2};
  EXPECT_EQ(junit_case(as_junit(result), "tests", "program")["outcome"], "failure");
  EXPECT_EQ(junit_case(as_junit(result), "tests", "program")["message"], "exited with 2");
  result.timed_out = true;
  EXPECT_EQ(junit_case(as_junit(result), "tests", "program")["outcome"], "error");
  EXPECT_EQ(junit_case(as_junit(result), "tests", "program")["type"], "timeout");
}

TEST(CheckJunit, ThousandsOfProcesses) {
  CheckResult result = clean();
  for (int i = 0; i < 3000; ++i) result.processes.push_back(process(5000 + i, "cc1"));
  result.findings = {leak()};
  result.findings[0].process = 2900;
  const json suite = as_junit(result);
  EXPECT_LT(suite["cases"].size(), 3000u);
  EXPECT_EQ(junit_case(suite, "cc1 (2900)", "fd-leak")["outcome"], "failure")
      << "what was found is never left out";
  EXPECT_THAT(junit_case(suite, "tests", "program")["output"].get<std::string>(),
              HasSubstr("2800 more processes in which nothing was found"));
}

TEST(CheckJunit, HostileStrings) {
  const CheckResult result = hostile();
  const std::string xml = written(write_check_junit, result);
  EXPECT_FALSE(has_control_characters(xml));
  EXPECT_THAT(xml, Not(HasSubstr("]]>")));
  EXPECT_THAT(xml, Not(HasSubstr("\xef\xbf\xbf"))) << "not a character of XML";
  const json suite = as_junit(result);
  bool failed = false;
  for (const json& test : suite["cases"]) {
    if (test["outcome"] != "failure") continue;
    failed = true;
    EXPECT_THAT(test["message"].get<std::string>(), HasSubstr("<x attr=\"'&"));
  }
  EXPECT_TRUE(failed);
}

// --- SARIF

TEST(CheckSarif, RunAndRules) {
  CheckResult result = with({leak(), finding("a-new-rule", Severity::kWarning, "t")});
  result.notes = {"a note"};
  const json run = as_sarif(result);
  const json& driver = run["tool"]["driver"];
  EXPECT_EQ(driver["name"], "loopscope");
  EXPECT_EQ(driver["version"], "1.2.3");
  EXPECT_EQ(driver["rules"].size(), findings::check_rules().size() + 1);
  std::set<std::string> ids;
  for (const json& rule : driver["rules"]) {
    EXPECT_TRUE(ids.insert(rule["id"]).second) << rule["id"];
    if (rule["id"] == "a-new-rule") continue;
    for (const char* member : {"shortDescription", "fullDescription", "help"}) {
      EXPECT_FALSE(rule[member]["text"].get<std::string>().empty()) << rule["id"] << member;
    }
    EXPECT_THAT(rule["defaultConfiguration"]["level"], testing::AnyOf("error", "warning", "note"));
  }
  const json& invocation = run["invocations"][0];
  EXPECT_EQ(invocation["executionSuccessful"], true);
  EXPECT_EQ(invocation["exitCode"], 1);
  EXPECT_EQ(invocation["startTimeUtc"], "2026-03-01T12:34:56.000000Z");
  EXPECT_EQ(invocation["endTimeUtc"], "2026-03-01T12:34:59.210000Z");
  EXPECT_EQ(invocation["toolExecutionNotifications"],
            json::array({{{"level", "note"}, {"message", {{"text", "a note"}}}}}));
  EXPECT_EQ(run["originalUriBaseIds"]["SRCROOT"]["uri"], "file:///home/me/app/");
  for (const json& found : run["results"]) {
    EXPECT_EQ(driver["rules"][found["ruleIndex"].get<std::size_t>()]["id"], found["ruleId"]);
  }
}

TEST(CheckSarif, AResult) {
  CheckedFinding twice = leak();
  twice.finding.rule = "double-close";
  twice.finding.places.push_back(place(
      "closed", {nameless_lines("fclose", kLibc), frame("Log::~Log()", "/srv/log.cpp", 9)}, 1));
  const json run = as_sarif(with({twice}));
  const json& found = run["results"][0];
  EXPECT_EQ(found["ruleId"], "double-close");
  EXPECT_EQ(found["level"], "error");
  EXPECT_THAT(found["message"]["text"].get<std::string>(),
              StartsWith(leak().finding.title + ".\n"));
  const json here = {
      {"physicalLocation",
       {{"artifactLocation", {{"uri", "src/client.cpp"}, {"uriBaseId", "SRCROOT"}}},
        {"region", {{"startLine", 42}}}}},
      {"logicalLocations",
       {{{"fullyQualifiedName", "Client::connect(std::string const&)"}, {"kind", "function"}}}}};
  EXPECT_EQ(found["locations"], json::array({here}));
  EXPECT_EQ(found["partialFingerprints"]["loopscope/v1"], "0123456789abcdef");
  EXPECT_EQ(found["suppressions"], json::array());
  EXPECT_FALSE(found.contains("baselineState"));

  ASSERT_EQ(found["relatedLocations"].size(), 1u);
  const json& related = found["relatedLocations"][0];
  EXPECT_EQ(related["id"], 1);
  EXPECT_EQ(related["message"]["text"], "closed");
  EXPECT_EQ(related["physicalLocation"]["artifactLocation"],
            json({{"uri", "file:///srv/log.cpp"}}));
  ASSERT_EQ(found["stacks"].size(), 2u);
  EXPECT_EQ(found["stacks"][0]["frames"].size(), 4u);
  EXPECT_EQ(found["stacks"][0]["frames"][0]["location"], here);
  EXPECT_EQ(found["stacks"][1]["frames"][0]["location"]["physicalLocation"],
            json({{"artifactLocation", {{"uri", "file://" + kLibc}}},
                  {"address", {{"relativeAddress", 0x1234}, {"kind", "instruction"}}}}));
  ASSERT_EQ(found["codeFlows"].size(), 2u);
  const json& steps = found["codeFlows"][0]["threadFlows"][0]["locations"];
  ASSERT_EQ(steps.size(), 2u) << "only frames with a line";
  EXPECT_EQ(steps[0]["location"]["message"]["text"], "main") << "callers first";
  EXPECT_EQ(steps[1]["location"]["physicalLocation"]["region"]["startLine"], 42);
}

TEST(CheckSarif, EveryResultNamesAFile) {
  CheckedFinding of_module = leak();
  of_module.file.clear();
  of_module.line = 0;
  CheckedFinding of_nothing = finding("busy-p99-budget", Severity::kError, "slow");
  CheckedFinding of_no_file = leak();
  of_no_file.file = "<string>";
  const json run = as_sarif(with({of_module, of_nothing, of_no_file}));
  const auto artifact = [&](std::size_t i) {
    return run["results"][i]["locations"][0]["physicalLocation"]["artifactLocation"];
  };
  EXPECT_EQ(artifact(0), json({{"uri", "build/tests"}, {"uriBaseId", "SRCROOT"}}));
  EXPECT_EQ(artifact(1), json({{"uri", "tests"}, {"uriBaseId", "SRCROOT"}}));
  EXPECT_EQ(artifact(2), json({{"uri", "tests"}, {"uriBaseId", "SRCROOT"}}));
  EXPECT_FALSE(run["results"][0]["locations"][0]["physicalLocation"].contains("region"));
}

TEST(CheckSarif, UrisAreEncoded) {
  CheckedFinding made = leak();
  made.file = "src/a b/ä%#?:[x].cpp";
  CheckResult result = with({made});
  result.root = "/home/m e";
  const json run = as_sarif(result);
  EXPECT_EQ(run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            "src/a%20b/%C3%A4%25%23%3F%3A%5Bx%5D.cpp");
  EXPECT_EQ(run["originalUriBaseIds"]["SRCROOT"]["uri"], "file:///home/m%20e/");
  result.root.clear();
  EXPECT_FALSE(as_sarif(result)["originalUriBaseIds"]["SRCROOT"].contains("uri"));
}

TEST(CheckSarif, BracesAreNoArguments) {
  CheckedFinding made = leak();
  made.finding.title = "in main::{lambda(int)#1}";
  EXPECT_THAT(as_sarif(with({made}))["results"][0]["message"]["text"].get<std::string>(),
              StartsWith("in main::{{lambda(int)#1}}."));
}

TEST(CheckSarif, SuppressionsAndBaseline) {
  CheckedFinding suppressed = leak();
  suppressed.status = Status::kSuppressed;
  suppressed.suppressed_by = "ruby-vm";
  CheckedFinding fewer = leak();
  fewer.status = Status::kFewer;
  CheckedFinding known = leak();
  known.status = Status::kBaseline;
  CheckedFinding info = finding("fd-kept", Severity::kInfo, "k");
  CheckResult result = with({leak(), suppressed, fewer, known, info});
  result.suppressions = {{"other", "o", "o", 1, 1}, {"ruby-vm", "two eventfds", "a.supp:3", 1, 2}};
  result.baseline = true;
  const json results = as_sarif(result)["results"];
  EXPECT_EQ(results[0]["suppressions"], json::array());
  EXPECT_EQ(results[1]["suppressions"],
            json::array({{{"kind", "external"},
                          {"status", "accepted"},
                          {"justification", "ruby-vm: two eventfds (a.supp:3)"}}}));
  EXPECT_EQ(results[2]["suppressions"][0]["justification"], "fewer than --min-count");
  EXPECT_EQ(results[3]["suppressions"], json::array());
  EXPECT_EQ(results[0]["baselineState"], "new");
  EXPECT_EQ(results[3]["baselineState"], "unchanged");
  EXPECT_EQ(results[4]["level"], "note");
}

TEST(CheckSarif, NotObserved) {
  CheckResult unseen;
  unseen.argv = {"./busybox"};
  unseen.unseen = "it is static";
  const json run = as_sarif(unseen);
  EXPECT_EQ(run["invocations"][0]["executionSuccessful"], false);
  EXPECT_EQ(run["invocations"][0]["exitCode"], 3);
  EXPECT_EQ(run["invocations"][0]["toolExecutionNotifications"][0]["level"], "error");
  EXPECT_EQ(run["results"], json::array()) << "an empty list, which a viewer needs";
}

TEST(CheckSarif, HostileStrings) {
  const json run = as_sarif(hostile());  // throws on what is not UTF-8
  const std::regex uri("[A-Za-z0-9._~/%:-]*");
  std::size_t uris = 0;
  const std::function<void(const json&)> visit = [&](const json& value) {
    if (value.is_object() && value.contains("uri")) {
      ++uris;
      EXPECT_TRUE(std::regex_match(value["uri"].get<std::string>(), uri)) << value["uri"];
    }
    for (const json& inner : value) {
      if (inner.is_structured()) visit(inner);
    }
  };
  visit(run);
  EXPECT_GT(uris, 6u);
}

// --- GitHub

TEST(CheckGithub, Commands) {
  CheckedFinding warning = finding("close-wait", Severity::kWarning, "late");
  CheckedFinding known = leak();
  known.status = Status::kBaseline;
  CheckedFinding suppressed = leak();
  suppressed.status = Status::kSuppressed;
  CheckedFinding info = finding("fd-kept", Severity::kInfo, "kept");
  CheckResult result = with({leak(), warning, known, suppressed, info});
  const std::string two =
      "::error file=src/client.cpp,line=42,title=loopscope%3A fd-leak::" + leak().finding.title +
      "%0AThis site opened 3, 0 of them were closed.%0AClose it on every path.\n"
      "::warning title=loopscope%3A close-wait::late\n";
  EXPECT_EQ(github(result), two);
  result.strict = true;
  EXPECT_EQ(github(result), two + "::notice title=loopscope%3A fd-kept::kept\n");
  EXPECT_EQ(github(clean()), "");
}

TEST(CheckGithub, Escapes) {
  CheckedFinding made = finding("fd-leak", Severity::kError, "100% of a,b:c\nd\re");
  made.file = "a,b:c%\n.cpp";
  EXPECT_EQ(github(with({made})),
            "::error file=a%2Cb%3Ac%25%0A.cpp,title=loopscope%3A fd-leak::100%25 of "
            "a,b:c%0Ad%0De\n");
  const std::string shown = github(hostile());
  EXPECT_FALSE(has_control_characters(shown));
  for (const std::string& line : lines_of(shown)) EXPECT_THAT(line, StartsWith("::error "));
}

TEST(CheckGithub, NotObserved) {
  CheckResult unseen = clean();
  unseen.unseen = "it is static";
  EXPECT_EQ(github(unseen),
            "::error title=loopscope check::./tests could not be observed: it is static\n");
  CheckResult late = clean();
  late.timed_out = true;
  EXPECT_EQ(github(late),
            "::error title=loopscope check::./tests was ended after 3.21 s (--timeout)\n");
}

// --- nothing at all

TEST(CheckReport, AnEmptyResult) {
  const CheckResult empty;
  EXPECT_EQ(text(empty), "loopscope check: no findings in 0 processes (0 descriptors opened)\n");
  EXPECT_EQ(as_junit(empty)["cases"].size(), 1u);
  EXPECT_EQ(as_sarif(empty)["results"], json::array());
  EXPECT_EQ(github(empty), "");
}

// --- the table of rules

TEST(CheckRules, Table) {
  std::set<std::string> names;
  for (const findings::CheckRule& rule : findings::check_rules()) {
    EXPECT_TRUE(names.insert(rule.name).second) << rule.name;
    EXPECT_EQ(findings::find_check_rule(rule.name), &rule);
    EXPECT_THAT(rule.summary, Not(EndsWith("."))) << rule.name;
    EXPECT_THAT(rule.meaning, EndsWith(".")) << rule.name;
    EXPECT_THAT(rule.advice, EndsWith(".")) << rule.name;
    EXPECT_EQ(rule.budget, std::string(rule.name).ends_with("-budget")) << rule.name;
  }
  EXPECT_EQ(names.size(), 13u);
  EXPECT_EQ(findings::find_check_rule("fd"), nullptr);
  EXPECT_EQ(findings::find_check_rule(""), nullptr);
}

}  // namespace
}  // namespace loopscope::cli
