// SPDX-License-Identifier: Apache-2.0
//
// Baselines: fingerprints that stay the same while nothing moves, files that can be read, and what
// is said of those that cannot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "cli/baseline.h"

namespace loopscope::cli {
namespace {

namespace fs = std::filesystem;
using findings::Finding;
using findings::Severity;
using recording::Error;
using recording::StackFrame;
using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::SizeIs;

StackFrame frame(const char* function, const char* file, int line,
                 const char* module = "/home/u/build/server") {
  StackFrame result;
  result.function = function;
  result.file = file;
  result.line = line;
  result.module = module;
  result.offset = 0x1000U + static_cast<unsigned>(line);
  return result;
}

Finding with_stack(std::vector<StackFrame> stack, std::size_t blamed = 0) {
  Finding finding;
  finding.rule = "fd-leak";
  finding.severity = Severity::kError;
  finding.kind = "tcp";
  finding.places.push_back(
      {"opened", std::make_shared<const std::vector<StackFrame>>(std::move(stack)), blamed});
  return finding;
}

std::vector<StackFrame> usual_stack() {
  return {frame("curl_connect", "", 0, "/usr/lib/libcurl.so.4.8"),
          frame("Client::connect(int)", "/home/u/src/client.cpp", 42),
          frame("serve()", "/home/u/src/server.cpp", 10),
          frame("run()", "/home/u/src/server.cpp", 20),
          frame("main", "/home/u/src/main.cpp", 5),
          frame("__libc_start_call_main", "", 0, "/usr/lib/libc.so.6")};
}

std::string print_of(std::vector<StackFrame> stack, std::size_t blamed = 1) {
  return fingerprint(with_stack(std::move(stack), blamed), "server");
}

CheckedFinding checked(const char* fingerprint, std::uint64_t count = 1,
                       CheckedFinding::Status status = CheckedFinding::Status::kNew) {
  CheckedFinding result;
  result.finding = with_stack(usual_stack(), 1);
  result.finding.count = count;
  result.fingerprint = fingerprint;
  result.status = status;
  return result;
}

constexpr const char* kA = "aaaaaaaaaaaaaaaa";
constexpr const char* kB = "bbbbbbbbbbbbbbbb";
constexpr const char* kC = "cccccccccccccccc";

class BaselineFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "loopscope-baseline-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    fs::permissions(directory_, fs::perms::owner_all);
    fs::remove_all(directory_);
  }

  std::string path(const std::string& name = "known.json") const { return directory_ / name; }
  void put(const std::string& text) const { std::ofstream(path(), std::ios::binary) << text; }
  std::string text(const std::string& name = "known.json") const {
    std::ostringstream all;
    all << std::ifstream(path(name), std::ios::binary).rdbuf();
    return all.str();
  }
  /// The message that a file of this text is refused with.
  std::string refusal(const std::string& content) const {
    put(content);
    const auto read = read_baseline(path());
    EXPECT_FALSE(read) << content.substr(0, 100);
    return read ? "" : read.error().message;
  }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  fs::path directory_;
};

// --- fingerprints ---

TEST(Fingerprint, IsWrittenDown) {
  // FNV-1a over "fd-leak", "tcp", "Client::connect", "client.cpp", "serve", "server.cpp", "run",
  // "server.cpp", each with a NUL after it. Another value here makes every baseline worthless.
  EXPECT_EQ(print_of(usual_stack()), "7651f75902222f61");
}

TEST(Fingerprint, StaysWhileLinesDirectoriesAndLibrariesChange) {
  const std::string before = print_of(usual_stack());
  auto moved = usual_stack();
  for (StackFrame& each : moved) {
    each.line += 7;
    each.offset += 0x100;
    if (each.file.starts_with("/home/u")) each.file.replace(0, 7, "/builds/ci");
    if (each.module.starts_with("/home/u")) each.module.replace(0, 7, "/builds/ci");
  }
  moved[1].function = "Client::connect(int) [clone .constprop.0]";
  EXPECT_EQ(print_of(moved), before);

  auto upgraded = usual_stack();
  upgraded.insert(upgraded.begin(), frame("", "", 0, "/usr/lib/libcurl.so.5"));
  EXPECT_EQ(print_of(upgraded, 2), before);

  auto farther = usual_stack();
  farther.insert(farther.begin() + 4, frame("retry", "/home/u/src/retry.cpp", 3));
  EXPECT_EQ(print_of(farther), before) << "a fourth frame counts";
}

TEST(Fingerprint, DiffersByRuleKindFunctionFileAndCaller) {
  const Finding finding = with_stack(usual_stack(), 1);
  std::vector<std::string> prints{fingerprint(finding, "server")};
  Finding other = finding;
  other.rule = "fd-kept";
  prints.push_back(fingerprint(other, "server"));
  other = finding;
  other.kind = "udp";
  prints.push_back(fingerprint(other, "server"));
  auto stack = usual_stack();
  stack[1].function = "Client::reconnect(int)";
  prints.push_back(print_of(stack));
  stack = usual_stack();
  stack[1].file = "/home/u/src/client2.cpp";
  prints.push_back(print_of(stack));
  stack = usual_stack();
  stack[2].function = "warm_up()";
  prints.push_back(print_of(stack));
  for (std::size_t a = 0; a < prints.size(); ++a) {
    EXPECT_THAT(prints[a], MatchesRegex("[0-9a-f]{16}"));
    for (std::size_t b = 0; b < a; ++b) EXPECT_NE(prints[a], prints[b]) << a << ' ' << b;
  }
}

TEST(Fingerprint, WithNamesIsTheSameInEveryProgram) {
  const Finding finding = with_stack(usual_stack(), 1);
  EXPECT_EQ(fingerprint(finding, "test_a"), fingerprint(finding, "test_b"));
}

TEST(Fingerprint, WithoutNamesGoesByModuleAndCommand) {
  Finding finding = with_stack({frame("", "", 1, "/opt/x/libfoo.so.1.2")});
  const std::string before = fingerprint(finding, "a");
  EXPECT_EQ(fingerprint(with_stack({frame("", "", 9, "/opt/y/libfoo.so.1.3")}), "a"), before);
  EXPECT_NE(fingerprint(with_stack({frame("", "", 1, "/opt/x/libbar.so.1.2")}), "a"), before);
  EXPECT_NE(fingerprint(finding, "b"), before);
  finding.places.clear();
  EXPECT_NE(fingerprint(finding, "a"), fingerprint(finding, "b"));
}

TEST(Fingerprint, OfABudgetGoesByTheLoop) {
  Finding stall = with_stack(usual_stack(), 1);
  stall.rule = "stall-budget";
  stall.kind.clear();
  stall.subject = "main";
  const std::string before = fingerprint(stall, "server");
  Finding other = stall;
  other.places.clear();  // nothing was seen of this one
  EXPECT_EQ(fingerprint(other, "server"), before);
  other.subject = "worker";
  EXPECT_NE(fingerprint(other, "server"), before);
  EXPECT_NE(fingerprint(stall, "client"), before);
}

TEST(Fingerprint, TakesAnyFrameNumber) {
  EXPECT_THAT(fingerprint(with_stack(usual_stack(), 600), "server"), MatchesRegex("[0-9a-f]{16}"));
  EXPECT_THAT(fingerprint(with_stack({}, 0), "server"), MatchesRegex("[0-9a-f]{16}"));
}

TEST(Fingerprint, OfScriptsGoesByTheirLines) {
  StackFrame inner = frame("connect", "/usr/lib/python3.11/socket.py", 833, "");
  StackFrame outer = frame("fetch", "/home/u/leak.py", 3, "");
  inner.script = outer.script = true;
  const StackFrame native = frame("sock_new", "", 0, "/usr/bin/python3.11");
  const std::string print = print_of({inner, outer, native}, 1);
  StackFrame newer = native;
  newer.module = "/usr/bin/python3.12";
  newer.function = "sock_initobj_impl";
  EXPECT_EQ(print_of({inner, outer, newer}, 1), print);
  outer.function = "push";
  EXPECT_NE(print_of({inner, outer, native}, 1), print);
}

// --- what is in it ---

TEST(BaselineOf, HoldsWhatFailsTheRun) {
  using Status = CheckedFinding::Status;
  CheckResult result;
  result.findings = {checked(kA, 3), checked(kB, 2, Status::kBaseline),
                     checked(kC, 1, Status::kSuppressed),
                     checked("dddddddddddddddd", 1, Status::kFewer)};
  result.findings.push_back(checked("eeeeeeeeeeeeeeee"));
  result.findings.back().finding.severity = Severity::kWarning;
  const Baseline baseline = baseline_of(result);
  ASSERT_THAT(baseline.findings, SizeIs(2));
  ASSERT_NE(baseline.find(kA), nullptr);
  EXPECT_EQ(baseline.find(kA)->count, 3U);
  EXPECT_EQ(baseline.find(kA)->rule, "fd-leak");
  EXPECT_EQ(baseline.find(kA)->where, "Client::connect (client.cpp)");
  EXPECT_NE(baseline.find(kB), nullptr);
  EXPECT_EQ(baseline.find(kC), nullptr);

  result.strict = true;
  EXPECT_THAT(baseline_of(result).findings, SizeIs(3));
}

TEST(BaselineOf, AddsUpOneFingerprint) {
  CheckResult result;
  result.findings = {checked(kA, 3), checked(kA, 4)};
  ASSERT_THAT(baseline_of(result).findings, SizeIs(1));
  EXPECT_EQ(baseline_of(result).findings[0].count, 7U);
}

TEST(BaselineGone, CountsWhatWasNotFoundHoweverItIsJudgedNow) {
  CheckResult before;
  before.findings = {checked(kA), checked(kB), checked(kC)};
  const Baseline baseline = baseline_of(before);
  CheckResult now;
  now.findings = {checked(kB, 1, CheckedFinding::Status::kSuppressed)};
  now.findings[0].finding.severity = Severity::kInfo;
  EXPECT_EQ(gone(baseline, now), 2U);
  EXPECT_EQ(gone(baseline, before), 0U);
  EXPECT_EQ(gone({}, now), 0U);
}

// --- files ---

TEST_F(BaselineFile, IsReadAsItWasWritten) {
  CheckResult result;
  result.findings = {checked(kB, 2), checked(kA, 3)};
  result.findings[0].finding.rule = "close-wait";
  const Baseline baseline = baseline_of(result);
  ASSERT_TRUE(write_baseline(path(), baseline));
  EXPECT_EQ(text(),
            "{\"schema\":\"loopscope.baseline/1\",\"findings\":[\n"
            "{\"fingerprint\":\"bbbbbbbbbbbbbbbb\",\"rule\":\"close-wait\","
            "\"where\":\"Client::connect (client.cpp)\",\"count\":2},\n"
            "{\"fingerprint\":\"aaaaaaaaaaaaaaaa\",\"rule\":\"fd-leak\","
            "\"where\":\"Client::connect (client.cpp)\",\"count\":3}\n"
            "]}\n");
  const auto read = read_baseline(path());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(baseline_text(*read), text());
  EXPECT_EQ(files(), 1U);
}

TEST_F(BaselineFile, EmptyBaselineIsAFileToo) {
  ASSERT_TRUE(write_baseline(path(), {}));
  const auto read = read_baseline(path());
  ASSERT_TRUE(read);
  EXPECT_THAT(read->findings, SizeIs(0));
}

TEST_F(BaselineFile, HoldsAnyName) {
  CheckResult result;
  result.findings = {checked(kA)};
  result.findings[0].finding = with_stack({frame("f\xff\n\"", "/x/\x01.c", 1)});
  ASSERT_TRUE(write_baseline(path(), baseline_of(result)));
  const auto read = read_baseline(path());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_NE(read->find(kA), nullptr);
}

TEST_F(BaselineFile, MissingIsSaidWithWhatMakesOne) {
  const auto read = read_baseline(path());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Error::Code::kNotFound);
  EXPECT_EQ(read.error().message, "cannot read the baseline " + path() +
                                      ": No such file or directory; --update-baseline makes one");
  EXPECT_THAT(read_baseline(directory_).error().message, HasSubstr("Is a directory"));
}

TEST_F(BaselineFile, OtherFilesAreRefusedWithTheReason) {
  const std::string head = "{\"schema\":\"loopscope.baseline/1\",\"findings\":[\n";
  EXPECT_THAT(refusal(""), AllOf(HasSubstr(path()), HasSubstr("is not JSON (line 1)"),
                                 HasSubstr("--update-baseline")));
  EXPECT_THAT(refusal(head + "{\"fingerprint\":oops}\n]}"), HasSubstr("is not JSON (line 2)"));
  EXPECT_THAT(refusal(head + "{\"count\":1e999}]}"), HasSubstr("a number that is too large"));
  EXPECT_THAT(refusal("[]"), HasSubstr("is not a JSON object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("has no \"schema\""));
  EXPECT_THAT(refusal("{\"schema\":\"loopscope.baseline/2\",\"findings\":[]}"),
              HasSubstr("has the schema \"loopscope.baseline/2\", this version reads "
                        "\"loopscope.baseline/1\""));
  EXPECT_THAT(refusal("{\"schema\":\"loopscope.baseline/1\"}"), HasSubstr("no list \"findings\""));
  EXPECT_THAT(refusal(head + "1]}"), HasSubstr("finding 1 is not an object"));
  EXPECT_THAT(refusal(head + "{\"fingerprint\":\"aaaaaaaaaaaaaaaa\"},{\"fingerprint\":7}]}"),
              HasSubstr("finding 2 has no \"fingerprint\" of 16 hex digits"));
  EXPECT_THAT(refusal(head + "{\"fingerprint\":\"aaaaaaaaaaaaaaaa\",\"count\":-1}]}"),
              HasSubstr("finding 1 has a \"count\" that is no whole number"));
  EXPECT_THAT(refusal(head + "<<<<<<< HEAD\n=======\n>>>>>>> b\n]}"),
              HasSubstr("marks of a merge that was not resolved"));
  EXPECT_THAT(refusal(std::string("\0\1\2", 3)), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal(std::string(1'000'000, '[')), HasSubstr("is not JSON"));
}

TEST_F(BaselineFile, UnknownMembersAreAllowed) {
  put("{\"schema\":\"loopscope.baseline/1\",\"by\":\"us\",\"findings\":[{\"fingerprint\":"
      "\"aaaaaaaaaaaaaaaa\",\"note\":\"ticket\"}]}");
  const auto read = read_baseline(path());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_NE(read->find(kA), nullptr);
}

TEST_F(BaselineFile, KeepsItsPermissionsAndItsLink) {
  put("old");
  fs::permissions(path(), fs::perms(0604));
  fs::create_symlink("known.json", path("link.json"));
  ASSERT_TRUE(write_baseline(path("link.json"), {}));
  EXPECT_TRUE(fs::is_symlink(path("link.json")));
  EXPECT_THAT(text(), HasSubstr("loopscope.baseline/1"));
  EXPECT_EQ(fs::status(path()).permissions(), fs::perms(0604));
  EXPECT_EQ(files(), 2U);
}

TEST_F(BaselineFile, LinkThatLeadsNowhereYetIsFilled) {
  fs::create_symlink("known.json", path("link.json"));
  ASSERT_TRUE(write_baseline(path("link.json"), {}));
  EXPECT_TRUE(fs::is_symlink(path("link.json")));
  EXPECT_TRUE(fs::is_regular_file(path()));
  fs::create_symlink("b", path("a"));
  fs::create_symlink("a", path("b"));
  EXPECT_THAT(write_baseline(path("a"), {}).error().message, HasSubstr("symbolic links"));
}

TEST_F(BaselineFile, NewOneIsReadableForOthersAsUsual) {
  const mode_t before = ::umask(022);
  ASSERT_TRUE(write_baseline(path(), {}));
  ::umask(before);
  EXPECT_EQ(fs::status(path()).permissions(), fs::perms(0644));
}

TEST_F(BaselineFile, DirectoryThatIsNotThereIsSaid) {
  const auto wrote = write_baseline(path("none/known.json"), {});
  ASSERT_FALSE(wrote);
  EXPECT_THAT(wrote.error().message,
              AllOf(HasSubstr(path("none/known.json")), HasSubstr("No such file or directory")));
  EXPECT_THAT(write_baseline(directory_, {}).error().message, HasSubstr("Is a directory"));
  EXPECT_THAT(write_baseline("/dev/null", {}).error().message, HasSubstr("not a regular file"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(BaselineFile, NoPermissionIsSaid) {
  fs::permissions(directory_, fs::perms(0555));
  const bool root = ::geteuid() == 0;  // who may write anywhere
  ASSERT_EQ(root ? ::seteuid(65534) : 0, 0);
  const auto wrote = write_baseline(path(), {});
  ASSERT_EQ(root ? ::seteuid(0) : 0, 0);
  ASSERT_FALSE(wrote);
  EXPECT_EQ(wrote.error().code, Error::Code::kPermission);
  EXPECT_THAT(wrote.error().message, HasSubstr("Permission denied"));
}

/// A limit on file sizes stands for a full disk: write(2) fails half-way.
TEST_F(BaselineFile, StaysAsItWasIfWritingFails) {
  put("old");
  CheckResult result;
  result.findings = {checked(kA)};
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 40;
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto wrote = write_baseline(path(), baseline_of(result));
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  ASSERT_FALSE(wrote);
  EXPECT_THAT(wrote.error().message,
              AllOf(HasSubstr("writing"), HasSubstr("File too large"), HasSubstr("as it was")));
  EXPECT_EQ(text(), "old");
  EXPECT_EQ(files(), 1U) << "the temporary file is left behind";
}

}  // namespace
}  // namespace loopscope::cli
