// SPDX-License-Identifier: Apache-2.0
//
// Suppression files: what is read, what is refused and in which words, what matches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "instrumentation/findings/shipped_text.h"
#include "instrumentation/findings/suppressions.h"

namespace loopscope::findings {
namespace {

using recording::StackFrame;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::SizeIs;

constexpr const char* kGood =
    "# what we know of\n"
    "\n"
    "suppress: pool\n"
    "  reason: the pool lives as long as the process\n"
    "  rule: fd-leak\n"
    "\tkind: tcp\n"
    "  # and only there\n"
    "  function: Pool::*\n"
    "suppress: log\n"
    "  reason: closed by nobody\n"
    "  target: /var/log/*\n";

ParsedSuppressions parse(std::string_view text) { return parse_suppressions(text, "team.supp"); }

/// The only error: "WHERE: MESSAGE".
std::string error_of(std::string_view text) {
  const ParsedSuppressions parsed = parse(text);
  EXPECT_THAT(parsed.errors, SizeIs(1)) << text;
  EXPECT_THAT(parsed.entries, IsEmpty()) << text;
  if (parsed.errors.empty()) return {};
  return parsed.errors.front().where + ": " + parsed.errors.front().message;
}

std::string entry(const std::string& lines) {
  return "suppress: x\n  reason: known\n" + lines + "\n";
}

Finding leak() {
  Finding finding;
  finding.rule = "fd-leak";
  finding.kind = "tcp";
  StackFrame wrapper;
  wrapper.function = "connect_to(char const*, int)";
  wrapper.file = "/home/u/src/net/connect.cpp";
  wrapper.line = 7;
  wrapper.module = "/home/u/build/libclient.so.2.1";
  StackFrame pool = wrapper;
  pool.function = "Pool::grow(unsigned long)";
  pool.file = "/home/u/src/pool.cpp";
  StackFrame main = wrapper;
  main.function = "main";
  main.file = "/home/u/src/main.cpp";
  main.module = "/home/u/build/server";
  const std::vector<StackFrame> stack{wrapper, pool, main};
  finding.places.push_back({"opened", std::make_shared<const std::vector<StackFrame>>(stack), 1});
  FoundDescriptor found;
  found.fd = 5;
  found.kind = "tcp";
  found.local = "127.0.0.1:40000";
  found.peer = "127.0.0.1:5432";
  finding.descriptors.push_back(found);
  return finding;
}

bool suppressed(const std::string& lines, const Finding& finding = leak(),
                std::string_view command = "server") {
  const ParsedSuppressions parsed = parse(entry(lines));
  EXPECT_THAT(parsed.errors, IsEmpty()) << lines;
  return find_suppression(parsed.entries, finding, command) != nullptr;
}

// --- reading ---

TEST(Suppressions, AreRead) {
  const ParsedSuppressions parsed = parse(kGood);
  EXPECT_THAT(parsed.errors, IsEmpty());
  ASSERT_THAT(parsed.entries, SizeIs(2));
  EXPECT_EQ(parsed.entries[0].name, "pool");
  EXPECT_EQ(parsed.entries[0].reason, "the pool lives as long as the process");
  EXPECT_EQ(parsed.entries[0].source, "team.supp:3");
  EXPECT_THAT(
      parsed.entries[0].conditions,
      ElementsAre(Pair("rule", "fd-leak"), Pair("kind", "tcp"), Pair("function", "Pool::*")));
  EXPECT_EQ(parsed.entries[1].source, "team.supp:9");
}

TEST(Suppressions, AreReadFromWindowsAndWithoutANewlineAtTheEnd) {
  std::string text = "\xef\xbb\xbf" + std::string(kGood);
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
    text.insert(at, 1, '\r');
  }
  text.resize(text.size() - 2);
  const ParsedSuppressions parsed = parse(text);
  EXPECT_THAT(parsed.errors, IsEmpty());
  ASSERT_THAT(parsed.entries, SizeIs(2));
  EXPECT_THAT(parsed.entries[1].conditions, ElementsAre(Pair("target", "/var/log/*")));
}

TEST(Suppressions, PatternsMayHoldColonsAndSpacesAndHashes) {
  const ParsedSuppressions parsed =
      parse(entry("  function:   a::b(int, char) #1  \n  target: 10.0.0.1:80"));
  ASSERT_THAT(parsed.entries, SizeIs(1));
  EXPECT_THAT(parsed.entries[0].conditions,
              ElementsAre(Pair("function", "a::b(int, char) #1"), Pair("target", "10.0.0.1:80")));
}

TEST(Suppressions, ReasonMayHaveLines) {
  const ParsedSuppressions parsed = parse(entry("  reason: to us\n  kind: tcp"));
  ASSERT_THAT(parsed.entries, SizeIs(1));
  EXPECT_EQ(parsed.entries[0].reason, "known to us");
}

TEST(Suppressions, EmptyFileIsGood) {
  EXPECT_THAT(parse("").errors, IsEmpty());
  EXPECT_THAT(parse("# nothing\n\n").errors, IsEmpty());
  EXPECT_THAT(parse("").entries, IsEmpty());
}

// --- refusing ---

TEST(SuppressionErrors, NameTheKeyThatWasMeant) {
  EXPECT_EQ(error_of(entry("  fnction: main")),
            "team.supp:3: unknown key `fnction`; did you mean `function`?");
  EXPECT_EQ(error_of(entry("  Kind: tcp")),
            "team.supp:3: unknown key `Kind`; did you mean `kind`?");
  EXPECT_EQ(error_of(entry("  traget: /tmp/*")),
            "team.supp:3: unknown key `traget`; did you mean `target`?");
  EXPECT_EQ(error_of("supress: x\n  reason: y\n  kind: tcp\n"),
            "team.supp:1: unknown key `supress`; did you mean `suppress`?");
}

TEST(SuppressionErrors, ListTheKeysWhereNoneIsNear) {
  EXPECT_EQ(error_of(entry("  stacktrace-depth: 3")),
            "team.supp:3: unknown key `stacktrace-depth`; known are reason, rule, process, kind, "
            "target, function, file, module, opener, script");
}

TEST(SuppressionErrors, SayWhatAnEntryNeeds) {
  EXPECT_EQ(error_of("suppress: pool\n  kind: tcp\n"),
            "team.supp:1: the entry `pool` has no reason; add an indented line `reason: WHY`");
  EXPECT_EQ(error_of("suppress: all\n  reason: noisy\n  rule: *\n  process: *\n"),
            "team.supp:1: the entry `all` would silence whole programs; add a line with kind, "
            "target, function, file, module, opener or script");
  EXPECT_EQ(error_of("suppress:\n  reason: y\n  kind: tcp\n"),
            "team.supp:1: the entry has no name; write `suppress: NAME`");
  EXPECT_THAT(error_of(entry("  kind:")), HasSubstr("team.supp:3: `kind` has no pattern"));
  EXPECT_THAT(error_of("suppress: x\n  reason:\n  kind: tcp\n"),
              HasSubstr(":2: `reason` is empty"));
}

TEST(SuppressionErrors, SayWhatIsNoKey) {
  EXPECT_THAT(error_of("suppress: x\n  reason: y\n  kind tcp\n"),
              AllOf(HasSubstr("team.supp:3: `kind tcp` is not"), HasSubstr("`function: NAME`")));
  EXPECT_THAT(error_of("  kind: tcp\n"), HasSubstr("belongs to no entry"));
  EXPECT_THAT(error_of("suppress: x\nkind: tcp\n  reason: y\n"),
              HasSubstr("team.supp:2: `kind` must be indented"));
  EXPECT_THAT(error_of("  suppress: x\n"), HasSubstr("`suppress` must not be indented"));
  // valgrind's form
  EXPECT_THAT(parse("{\n   name\n   CoreError:FdNotClosed\n}\n").errors.front().message,
              HasSubstr("`{` is not a \"key: pattern\" line"));
}

TEST(SuppressionErrors, SayWhatIsWrongWithAPattern) {
  EXPECT_THAT(error_of(entry("  function: operator[")), HasSubstr("`function` has a `[` without"));
  EXPECT_THAT(error_of(entry("  function: a\\")), HasSubstr("ends with a `\\`"));
  EXPECT_THAT(error_of(entry("  function: " + std::string(17, '*'))),
              HasSubstr("more than 16 `*`"));
  EXPECT_THAT(parse(entry("  function: operator\\[\\]\n  file: []ab].c\n  kind: [!]]*")).errors,
              IsEmpty());
}

TEST(SuppressionErrors, OneBadEntryLeavesTheOthers) {
  const ParsedSuppressions parsed = parse(
      std::string(kGood) + "suppress: bad\n  reason: y\n  knd: tcp\n" + entry("  kind: pipe"));
  EXPECT_THAT(parsed.errors, SizeIs(1));
  EXPECT_EQ(parsed.errors.front().where, "team.supp:14");
  ASSERT_THAT(parsed.entries, SizeIs(3));
  EXPECT_EQ(parsed.entries[2].name, "x");
}

TEST(SuppressionErrors, BinaryFilesAreTold) {
  EXPECT_THAT(error_of(std::string("\x7f"
                                   "ELF\0\1\2",
                                   7)),
              HasSubstr("holds a NUL byte"));
  EXPECT_THAT(error_of(entry("  kind: t" + std::string(1, '\0') + "cp")),
              HasSubstr("team.supp:3: the line holds a NUL byte"));
  EXPECT_THAT(error_of(std::string(10'000'000, 'x')), HasSubstr("longer than 16384 bytes"));
}

TEST(SuppressionErrors, AreNotWithoutEnd) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "junk\n";
  const ParsedSuppressions parsed = parse(text);
  ASSERT_THAT(parsed.errors, SizeIs(kMostSuppressionErrors));
  EXPECT_THAT(parsed.errors.back().message, HasSubstr("too many errors"));
  EXPECT_THAT(parsed.errors.front().message, Not(HasSubstr("too many errors")));
}

TEST(SuppressionErrors, HoldNothingThatATerminalWouldObey) {
  EXPECT_THAT(error_of("\x1b[2J\x07\n"), AllOf(HasSubstr("`?[2J?`"), Not(HasSubstr("\x1b"))));
}

TEST(Suppressions, AnyBytesAreReadToTheEnd) {
  std::uint32_t state = 1;
  const auto random = [&state] { return (state = state * 1664525 + 1013904223) >> 16; };
  constexpr std::string_view kParts[] = {"suppress",
                                         "reason",
                                         "function",
                                         "kind",
                                         ":",
                                         " ",
                                         "\n",
                                         "\r\n",
                                         "\t",
                                         "*",
                                         "[",
                                         "]",
                                         "\\",
                                         "#",
                                         "x",
                                         "\xff",
                                         std::string_view("\0", 1)};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int part = 0; part < 60; ++part) text += kParts[random() % std::size(kParts)];
    const ParsedSuppressions parsed = parse(text);
    for (const Suppression& each : parsed.entries) {
      EXPECT_FALSE(each.reason.empty());
      EXPECT_FALSE(each.conditions.empty());
    }
    find_suppression(parsed.entries, leak(), "server");
  }
}

// --- matching ---

TEST(Suppressions, MatchEachKey) {
  EXPECT_TRUE(suppressed("  kind: tcp"));
  EXPECT_FALSE(suppressed("  kind: udp"));
  EXPECT_TRUE(suppressed("  kind: t*\n  rule: fd-*"));
  EXPECT_FALSE(suppressed("  kind: tcp\n  rule: double-close"));
  EXPECT_TRUE(suppressed("  kind: tcp\n  process: serv?r"));
  EXPECT_FALSE(suppressed("  kind: tcp\n  process: client"));
  EXPECT_TRUE(suppressed("  target: 127.0.0.1:5432"));
  EXPECT_TRUE(suppressed("  target: *:40000"));
  EXPECT_FALSE(suppressed("  target: /*"));
}

TEST(Suppressions, MatchFramesByFunctionFileAndModule) {
  EXPECT_TRUE(suppressed("  function: connect_to"));
  EXPECT_TRUE(suppressed("  function: connect_to(char const*, int)"));
  EXPECT_TRUE(suppressed("  function: Pool::*"));
  EXPECT_TRUE(suppressed("  function: main"));
  EXPECT_FALSE(suppressed("  function: connect"));
  EXPECT_TRUE(suppressed("  file: pool.cpp"));
  EXPECT_TRUE(suppressed("  file: */net/*.cpp"));
  EXPECT_FALSE(suppressed("  file: net/connect.cpp"));
  EXPECT_TRUE(suppressed("  module: libclient.so*"));
  EXPECT_TRUE(suppressed("  module: /home/*/server"));
  EXPECT_FALSE(suppressed("  module: libserver*"));
  EXPECT_TRUE(suppressed("  opener: libclient.so*"));
  EXPECT_FALSE(suppressed("  opener: server")) << "a caller of the opener";
}

TEST(Suppressions, OpenerIsTheInnermostThatIsNoScript) {
  Finding finding = leak();
  StackFrame line;
  line.script = true;
  line.file = "/home/u/leak.rb";
  StackFrame runtime;
  runtime.module = "/usr/lib/libruby-3.1.so.3.1";
  std::vector<StackFrame> stack{line, runtime};
  finding.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(stack), 0}};
  EXPECT_TRUE(suppressed("  opener: libruby-*", finding));
  runtime.module = "/usr/lib/ruby/rubyeventmachine.so";
  stack.insert(stack.begin() + 1, runtime);
  finding.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(stack), 0}};
  EXPECT_FALSE(suppressed("  opener: libruby-*", finding));
  finding.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(1, line), 0}};
  EXPECT_FALSE(suppressed("  opener: *", finding));
}

TEST(Suppressions, ScriptIsTheInnermostLine) {
  StackFrame worker, parent, runtime;
  worker.script = parent.script = true;
  worker.file = "/home/u/work.py";
  parent.file = "/usr/lib/python3.11/multiprocessing/popen_fork.py";
  parent.function = "Popen._launch";
  runtime.module = "/usr/bin/python3.11";
  Finding finding = leak();
  const auto opened_by = [&](std::vector<StackFrame> stack) {
    finding.places = {
        {"opened", std::make_shared<const std::vector<StackFrame>>(std::move(stack)), 0}};
  };
  opened_by({runtime, parent, worker});
  EXPECT_TRUE(suppressed("  script: */multiprocessing/popen_*.py", finding));
  EXPECT_TRUE(suppressed("  script: popen_fork.py", finding));
  opened_by({worker, parent, runtime});
  EXPECT_FALSE(suppressed("  script: */multiprocessing/popen_*.py", finding)) << "a caller";
  EXPECT_TRUE(suppressed("  file: */multiprocessing/popen_*.py", finding));
  opened_by({runtime});
  EXPECT_FALSE(suppressed("  script: *", finding));
}

TEST(Suppressions, AWorkersOwnPipeIsNotMultiprocessings) {
  const auto line = [](const char* file, const char* function) {
    StackFrame frame;
    frame.script = true;
    frame.file = file;
    frame.function = function;
    return frame;
  };
  Finding finding = leak();
  finding.kind = "pipe";
  const auto found = [&](std::vector<StackFrame> stack) {
    finding.places = {
        {"opened", std::make_shared<const std::vector<StackFrame>>(std::move(stack)), 0}};
    return find_suppression(shipped_suppressions(), finding, "python3") != nullptr;
  };
  const std::string lib = "/usr/lib/python3.11/multiprocessing/";
  for (const auto& [file, function] :
       {std::pair{"popen_fork.py", "Popen._launch"}, std::pair{"spawn.py", "spawn_main"},
        std::pair{"forkserver.py", "main"}, std::pair{"forkserver.py", "_serve_one"},
        std::pair{"resource_tracker.py", "ResourceTracker.ensure_running"},
        std::pair{"forkserver.py", "ForkServer.ensure_running"}}) {
    const StackFrame own = line((lib + file).c_str(), function);
    EXPECT_TRUE(found({own, line("/home/u/app.py", "<module>")})) << file << " " << function;
    EXPECT_FALSE(found({line("/home/u/app.py", "work"), own})) << file << " " << function;
  }
}

TEST(Suppressions, AllConditionsMustHold) {
  EXPECT_TRUE(suppressed("  function: connect_to\n  function: main\n  kind: tcp"));
  EXPECT_FALSE(suppressed("  function: connect_to\n  function: other\n  kind: tcp"));
}

TEST(Suppressions, MatchNothingThatIsNotThere) {
  Finding bare;
  bare.rule = "fd-leak";
  for (const char* key : {"kind", "target", "function", "file", "module", "opener", "script"}) {
    EXPECT_FALSE(suppressed(std::string("  ") + key + ": *", bare)) << key;
  }
  bare.places.push_back({"opened", nullptr, {}});
  EXPECT_FALSE(suppressed("  function: *", bare));
  StackFrame unnamed;
  unnamed.module = "/opt/x";
  bare.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(1, unnamed), 0}};
  EXPECT_FALSE(suppressed("  function: *", bare));
  EXPECT_TRUE(suppressed("  module: *", bare));
}

TEST(Suppressions, KindOfSeveralIsThatOfAny) {
  Finding several = leak();
  several.kind.clear();
  several.descriptors.push_back(several.descriptors.front());
  several.descriptors.back().kind = "pipe";
  EXPECT_TRUE(suppressed("  kind: pipe", several));
  EXPECT_FALSE(suppressed("  kind: udp", several));
}

TEST(Suppressions, OnlyTheFirstPlaceCounts) {
  Finding twice = leak();
  StackFrame other;
  other.function = "closer";
  twice.places.push_back({"closed", std::make_shared<const std::vector<StackFrame>>(1, other), 0});
  EXPECT_FALSE(suppressed("  function: closer", twice));
}

TEST(Suppressions, TheFirstThatMatchesIsNamed) {
  const ParsedSuppressions parsed =
      parse(entry("  kind: udp") + "suppress: second\n  reason: y\n  kind: tcp\n" +
            "suppress: third\n  reason: y\n  kind: tcp\n");
  ASSERT_THAT(parsed.entries, SizeIs(3));
  EXPECT_EQ(find_suppression(parsed.entries, leak(), "server"), &parsed.entries[1]);
}

TEST(Suppressions, HostilePatternsDoNotHang) {
  Finding finding = leak();
  StackFrame frame;
  frame.function = std::string(4000, 'a');
  finding.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(1, frame), 0}};
  std::string stars;
  for (int i = 0; i < 16; ++i) stars += "*a";
  EXPECT_FALSE(suppressed("  function: " + stars + "b", finding));
}

// --- what ships, what is made ---

TEST(ShippedSuppressions, AreGood) {
  std::set<std::string> names;
  for (const Suppression& each : shipped_suppressions()) {
    EXPECT_EQ(each.source, kShipped);
    EXPECT_TRUE(names.insert(each.name).second) << each.name << " is there twice";
  }
  const ParsedSuppressions parsed = parse_suppressions(shipped_text(), "shipped.supp");
  for (const SuppressionError& error : parsed.errors) {
    ADD_FAILURE() << error.where << ": " << error.message;
  }
  EXPECT_EQ(parsed.entries.size(), shipped_suppressions().size());
}

TEST(GeneratedSuppressions, MatchWhatTheyWereMadeFor) {
  const std::string made = suppression_for(leak(), "server");
  EXPECT_EQ(made,
            "suppress: fd-leak-Pool-grow\n"
            "  reason: (say here why this is meant)\n"
            "  rule: fd-leak\n"
            "  kind: tcp\n"
            "  function: Pool::grow\n"
            "  file: pool.cpp\n");
  const ParsedSuppressions parsed = parse(made);
  EXPECT_THAT(parsed.errors, IsEmpty());
  EXPECT_NE(find_suppression(parsed.entries, leak(), "server"), nullptr);
  EXPECT_NE(find_suppression(parsed.entries, leak(), "other"), nullptr);
  Finding other = leak();
  other.rule = "double-close";
  EXPECT_EQ(find_suppression(parsed.entries, other, "server"), nullptr);
}

TEST(GeneratedSuppressions, GoByModuleWithoutNames) {
  Finding finding = leak();
  StackFrame frame;
  frame.module = "/opt/lib/libfoo.so.1.2.3";
  frame.offset = 0x1234;
  finding.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(1, frame), 0}};
  const std::string made = suppression_for(finding, "server");
  EXPECT_THAT(made, AllOf(HasSubstr("  process: server\n"), HasSubstr("  module: libfoo.so*\n")));
  const ParsedSuppressions parsed = parse(made);
  EXPECT_NE(find_suppression(parsed.entries, finding, "server"), nullptr);
  EXPECT_EQ(find_suppression(parsed.entries, finding, "other"), nullptr);
}

TEST(GeneratedSuppressions, GoByTargetWithoutAStack) {
  Finding finding = leak();
  finding.places.clear();
  finding.kind.clear();
  const std::string made = suppression_for(finding, "server");
  EXPECT_THAT(made, HasSubstr("  target: 127.0.0.1:5432\n"));
  EXPECT_NE(find_suppression(parse(made).entries, finding, "server"), nullptr);
}

TEST(GeneratedSuppressions, NamesAreTakenLiterally) {
  Finding finding = leak();
  StackFrame frame;
  frame.function = "Map<int*>::operator[](int) const";
  frame.file = "/src/a*\n[b].cpp ";
  finding.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(1, frame), 0}};
  const std::string made = suppression_for(finding, "server");
  const ParsedSuppressions parsed = parse(made);
  EXPECT_THAT(parsed.errors, IsEmpty()) << made;
  EXPECT_NE(find_suppression(parsed.entries, finding, "server"), nullptr) << made;
  frame.function = "Map<int>::operator[]";
  Finding other = finding;
  other.places = {{"opened", std::make_shared<const std::vector<StackFrame>>(1, frame), 0}};
  EXPECT_EQ(find_suppression(parsed.entries, other, "server"), nullptr);
}

TEST(GeneratedSuppressions, MatchNamesThatAreOddOnes) {
  for (const char* function : {"(anonymous namespace)::open_it(int)", "open_it [clone .isra.0]",
                               "open(char**, char**, char**, char**, char**, char**, char**, "
                               "char**, char**)::{lambda()#1}",
                               ".lto_priv.0"}) {
    for (const char* file : {"", "src/", "src/open.cpp"}) {
      Finding finding = leak();
      StackFrame frame;
      frame.function = function;
      frame.file = file;
      frame.module = "/usr/bin/server";
      finding.places.front().stack = std::make_shared<const std::vector<StackFrame>>(1, frame);
      finding.places.front().frame = 0;
      const std::string made = suppression_for(finding, "server");
      const ParsedSuppressions parsed = parse_suppressions(made, "made");
      EXPECT_TRUE(parsed.errors.empty()) << made;
      EXPECT_NE(find_suppression(parsed.entries, finding, "server"), nullptr) << made;
    }
  }
}

TEST(GeneratedSuppressions, AreACommentWhereThereIsNothingToGoBy) {
  Finding stall;
  stall.rule = "stall-budget";
  const std::string made = suppression_for(stall, "server");
  EXPECT_THAT(made, HasSubstr("# stall-budget of server"));
  EXPECT_THAT(parse(made).errors, IsEmpty());
  EXPECT_THAT(parse(made).entries, IsEmpty());
}

}  // namespace
}  // namespace loopscope::findings
