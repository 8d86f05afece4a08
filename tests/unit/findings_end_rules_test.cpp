// SPDX-License-Identifier: Apache-2.0
//
// The rules over processes that have ended, each with a healthy twin that gives nothing that
// counts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "instrumentation/findings/end_evidence.h"
#include "instrumentation/findings/end_rules.h"
#include "instrumentation/findings/incidents.h"

namespace loopscope::findings {
namespace {

using recording::DescriptorKind;
using recording::FdOrigin;
using recording::FdRecord;
using recording::IncidentKind;
using recording::StackFrame;
using testing::HasSubstr;

constexpr std::uint64_t kStart = 1'700'000'000'000'000'000;
constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1000 * kMs;
constexpr char kOwnProgram[] = "/home/me/build/server";

StackFrame frame(const char* function, const char* file, int line, const char* module) {
  StackFrame frame;
  frame.function = function;
  frame.file = file;
  frame.line = line;
  frame.module = module;
  return frame;
}

/// A process with sites to open descriptors at, and what is known of its end.
class Process {
 public:
  Process() {
    recording_.pid = 100;
    recording_.command = "server";
    recording_.argv = {"server"};
    recording_.started_ns = kStart;
    recording_.ended_ns = recording_.taken_ns = kStart + 10 * kSecond;
    recording_.ledger.emplace().end_census = true;
  }

  std::size_t site(std::vector<StackFrame> stack, DescriptorKind kind = DescriptorKind::kTcp) {
    recording::SiteRecord site;
    site.kind = kind;
    recording_.ledger->sites.push_back(site);
    stacks_.push_back(std::make_shared<const std::vector<StackFrame>>(std::move(stack)));
    return stacks_.size() - 1;
  }
  std::size_t own_site(int line = 42) {
    return site({frame("Client::connect", "/home/me/src/client.cpp", line, kOwnProgram),
                 frame("main", "/home/me/src/main.cpp", 7, kOwnProgram)});
  }
  std::size_t system_site() {
    return site({frame("uv_pipe", "", 0, "/usr/lib/x86_64-linux-gnu/libuv.so.1")});
  }

  /// A descriptor that `site` opened, `after_ns` after the start.
  FdRecord& open(int fd, std::size_t site, std::uint64_t after_ns = kSecond) {
    FdRecord record;
    record.fd = fd;
    record.generation = 1;
    record.kind = recording_.ledger->sites[site].kind;
    record.origin = FdOrigin::kOpened;
    record.opened_ns = kStart + after_ns;
    record.site = site;
    ++recording_.ledger->sites[site].opened;
    recording_.ledger->fds.push_back(record);
    return recording_.ledger->fds.back();
  }

  recording::IncidentRecord& incident(IncidentKind kind, int fd) {
    recording::IncidentRecord record;
    record.kind = kind;
    record.call = "close";
    record.count = 1;
    record.fd = record.last_fd = fd;
    record.thread_id = record.close_thread_id = 100;
    record.descriptor_kind = DescriptorKind::kFile;
    record.opened_ns = kStart + kMs;
    record.closed_ns = kStart + 2 * kMs;
    record.first_ns = record.last_ns = kStart + 3 * kMs;
    recording_.ledger->incidents.push_back(record);
    return recording_.ledger->incidents.back();
  }

  recording::LoopSnapshot& loop() {
    recording::LoopSnapshot& loop = recording_.loops.emplace_back();
    loop.name = "main";
    loop.epoll_fd = 3;
    return loop;
  }

  Image image() {
    return {recording_, [this](std::size_t site) { return stacks_.at(site); }, executable, ending};
  }

  std::vector<Finding> judge(const Budgets& budgets = {}, std::span<const std::string> own = {}) {
    const Image it = image();
    return evaluate_end({it, budgets, own});
  }

  recording::RecordingSnapshot recording_;
  std::string executable = kOwnProgram;
  Ending ending = Ending::kExited;

 private:
  std::vector<recording::Stack> stacks_;
};

/// Nothing that fails a run, even a strict one.
void expect_silence(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    ADD_FAILURE() << finding.rule << ": " << finding.title << " " << finding.detail;
  }
}

const Finding* only(const std::vector<Finding>& findings, const char* rule, Severity severity) {
  EXPECT_EQ(findings.size(), 1u);
  if (findings.size() != 1) return nullptr;
  EXPECT_EQ(findings[0].rule, rule);
  EXPECT_EQ(findings[0].severity, severity);
  return &findings[0];
}

TEST(OpenAtEnd, SaysWhatWhereWhenAndTo) {
  Process process;
  const std::size_t site = process.own_site();
  for (const int fd : {5, 6, 7}) {
    process.open(fd, site, 800 * kMs + static_cast<std::uint64_t>(fd) * kMs).peer =
        "127.0.0.1:5432";
  }
  const auto findings = process.judge();
  const Finding* leak = only(findings, "fd-leak", Severity::kError);
  ASSERT_NE(leak, nullptr);
  EXPECT_EQ(leak->title,
            "3 TCP sockets opened at Client::connect (client.cpp:42) were never closed; the first "
            "805 ms after start, to 127.0.0.1:5432");
  EXPECT_EQ(leak->count, 3u);
  EXPECT_EQ(leak->kind, "tcp");
  ASSERT_EQ(leak->descriptors.size(), 3u);
  EXPECT_EQ(leak->descriptors[0].fd, 5);
  ASSERT_EQ(leak->places.size(), 1u);
  EXPECT_EQ(leak->places[0].frame, 0u);
}

TEST(OpenAtEnd, StandardAndInheritedDescriptorsAreNoLeaks) {
  Process process;
  const std::size_t site = process.own_site();
  for (const int fd : {0, 1, 2}) process.open(fd, site);
  process.open(9, site).origin = FdOrigin::kInherited;
  expect_silence(process.judge());
}

TEST(OpenAtEnd, TwoCallsOfOneLineAreOnePlace) {
  Process process;
  process.open(5, process.own_site(42));
  process.open(6, process.own_site(42));
  const auto findings = process.judge();
  const Finding* leak = only(findings, "fd-leak", Severity::kError);
  ASSERT_NE(leak, nullptr);
  EXPECT_EQ(leak->count, 2u);
}

TEST(OpenAtEnd, TwoLinesAreTwo) {
  Process process;
  process.open(5, process.own_site(42));
  process.open(6, process.own_site(43));
  EXPECT_EQ(process.judge().size(), 2u);
}

TEST(OpenAtEnd, WhatARuntimeKeepsIsInformation) {
  Process process;
  process.open(5, process.system_site());
  only(process.judge(), "fd-kept", Severity::kInfo);
}

TEST(OpenAtEnd, UnlessItIsSaidToBeOnesOwn) {
  Process process;
  process.open(5, process.system_site());
  const std::vector<std::string> own = {"*/libuv.so*"};
  only(process.judge({}, own), "fd-leak", Severity::kError);
}

TEST(OpenAtEnd, AProgramOfTheSystemIsNobodysToMend) {
  Process process;
  process.executable = "/usr/sbin/nginx";
  process.open(5, process.site({frame("ngx_open", "", 0, "/usr/sbin/nginx")}));
  only(process.judge(), "fd-kept", Severity::kInfo);
}

TEST(OpenAtEnd, ALineOfAScriptIsTheProgramsOwn) {
  Process process;
  process.executable = "/usr/bin/python3.11";
  StackFrame line = frame("leak", "/home/me/test_it.py", 3, "");
  line.script = true;
  process.open(5, process.site({line, frame("", "", 0, "/usr/bin/python3.11")}));
  const auto findings = process.judge();
  const Finding* leak = only(findings, "fd-leak", Severity::kError);
  ASSERT_NE(leak, nullptr);
  EXPECT_THAT(leak->title, HasSubstr("line 3 of test_it.py (leak)"));
}

TEST(OpenAtEnd, RegisteredOnesAreInService) {
  Process process;
  const std::size_t site = process.own_site();
  process.open(5, site).registered_epoll_fd = 3;
  only(process.judge(), "fd-kept", Severity::kInfo);
}

TEST(OpenAtEnd, AListenerThatAcceptsIsInServiceAndOneThatNeverDidIsNot) {
  Process process;
  FdRecord& fd = process.open(5, process.own_site());
  fd.listening = true;
  fd.io_calls = 1;
  only(process.judge(), "fd-kept", Severity::kInfo);
  fd.io_calls = 0;
  only(process.judge(), "fd-leak", Severity::kError);
}

TEST(OpenAtEnd, AListenerIsInServiceWhereChildrenAcceptOnIt) {
  Process process;
  process.open(5, process.own_site()).listening = true;
  process.recording_.reaped.emplace_back(101, 0);
  only(process.judge(), "fd-kept", Severity::kInfo);
}

TEST(OpenAtEnd, LogsAndLocksAreHeldToTheEnd) {
  Process process;
  const std::size_t site =
      process.site({frame("f", "/a.c", 1, kOwnProgram)}, DescriptorKind::kFile);
  FdRecord& fd = process.open(5, site);
  only(process.judge(), "fd-leak", Severity::kError);
  fd.append = true;
  only(process.judge(), "fd-kept", Severity::kInfo);
  fd.append = false;
  fd.locked = true;
  only(process.judge(), "fd-kept", Severity::kInfo);
}

TEST(OpenAtEnd, AnEpollSetIsInServiceWhileALoopTurnsOnIt) {
  Process process;
  FdRecord& fd =
      process.open(3, process.site({frame("f", "/a.c", 1, kOwnProgram)}, DescriptorKind::kEpoll));
  fd.kind = DescriptorKind::kEpoll;
  only(process.judge(), "fd-leak", Severity::kError);
  process.loop().iterations = 12;
  only(process.judge(), "fd-kept", Severity::kInfo);
}

TEST(OpenAtEnd, OfAThreadThatIsGone) {
  Process process;
  process.open(5, process.own_site()).thread_ended = true;
  only(process.judge(), "fd-lost-by-thread", Severity::kError);
}

TEST(OpenAtEnd, WhatAThreadHasJustOpenedIsInItsHand) {
  Process process;
  const std::size_t site = process.own_site();
  process.recording_.ledger->sites[site].closed = 1000;
  FdRecord& fd = process.open(5, site, 10 * kSecond - kMs);
  fd.thread_id = 101;
  only(process.judge(), "fd-kept", Severity::kInfo);
  fd.thread_id = 100;  // the main one: it is the one that ended
  only(process.judge(), "fd-leak", Severity::kError);
  fd.thread_id = 101;
  fd.opened_ns = kStart + 9 * kSecond;
  only(process.judge(), "fd-leak", Severity::kError);
  fd.opened_ns = kStart + 10 * kSecond - kMs;
  process.executable = "/usr/bin/node";  // its pool's threads open for scripts
  process.recording_.ledger->sites[site].closed = 1000;
  for (const Finding& finding : process.judge()) EXPECT_EQ(finding.rule, "fd-leak");
  process.executable = kOwnProgram;
  // Two at a time are not one after the other.
  FdRecord second = process.recording_.ledger->fds.front();
  second.fd = 6;
  process.recording_.ledger->fds.push_back(second);
  const auto findings = process.judge();
  const Finding* leak = only(findings, "fd-leak", Severity::kError);
  ASSERT_NE(leak, nullptr);
  EXPECT_EQ(leak->count, 2u);
}

TEST(OpenAtEnd, APeerThatHasLongGoneIsNoService) {
  Process process;
  FdRecord& fd = process.open(5, process.own_site());
  fd.registered_epoll_fd = 3;
  fd.peer_closed_ns = kPeerClosedNs - 1;
  only(process.judge(), "fd-kept", Severity::kInfo);
  fd.peer_closed_ns = kPeerClosedNs;
  only(process.judge(), "close-wait", Severity::kError);
}

TEST(OpenAtEnd, GrowthInAServerThatWasKilled) {
  Process process;
  process.ending = Ending::kKilled;
  const std::size_t site = process.own_site();
  process.open(5, site);
  only(process.judge(), "fd-kept", Severity::kInfo);
  for (std::uint64_t i = 1; i < kGrowthLive; ++i) {
    process.open(static_cast<int>(5 + i), site, kSecond + i * kSecond / 2);
  }
  only(process.judge(), "fd-growth", Severity::kError);
}

TEST(OpenAtEnd, BeforeExecNothingIsJudged) {
  Process process;
  process.ending = Ending::kExec;
  process.open(5, process.own_site());
  expect_silence(process.judge());
}

/// `before` became `after` by exec.
struct Exec {
  Process before, after;
  Exec() {
    before.ending = Ending::kExec;
    before.open(5, before.own_site());
    after.recording_.argv = {"worker"};
    FdRecord inherited;
    inherited.fd = 5;
    inherited.origin = FdOrigin::kInherited;
    after.recording_.ledger->fds.push_back(inherited);
  }
  std::vector<Finding> judge() {
    const Image first = before.image();
    Image second = after.image();
    second.before = &first;
    return evaluate_end({second, {}, {}});
  }
  FdRecord& inherited() { return after.recording_.ledger->fds.front(); }
};

TEST(OpenAtEnd, WhatExecHandedOverAndNobodyTouchedIsLost) {
  Exec exec;
  const auto findings = exec.judge();
  const Finding* leak = only(findings, "fd-leak", Severity::kError);
  ASSERT_NE(leak, nullptr);
  EXPECT_THAT(leak->title, HasSubstr("Client::connect (client.cpp:42) before exec"));
}

TEST(OpenAtEnd, WhatTheNextProgramUsesIsItsOwn) {
  Exec exec;
  exec.inherited().io_calls = 1;
  expect_silence(exec.judge());
}

TEST(OpenAtEnd, CloseOnExecClosed) {
  Exec exec;
  exec.before.recording_.ledger->fds.front().close_on_exec = true;
  expect_silence(exec.judge());
}

/// A parent with a descriptor, and a child that runs another program and has it too.
struct Child {
  Process parent, child;
  Child() {
    parent.recording_.ended_ns = kStart + 20 * kSecond;
    parent.open(5, parent.own_site());
    child.recording_.argv = {"sleep", "5"};
    child.recording_.command = "sleep";
    child.recording_.started_ns = kStart + 2 * kSecond;
    FdRecord inherited;
    inherited.fd = 5;
    inherited.origin = FdOrigin::kInherited;
    child.recording_.ledger->fds.push_back(inherited);
  }
  std::vector<Finding> judge() {
    const Image of_parent = parent.image();
    Image of_child = child.image();
    of_child.parent = &of_parent;
    return evaluate_end({of_child, {}, {}});
  }
  /// Instead of having it open to its end.
  void parent_closes(std::uint64_t at_ns) {
    recording::ClosedFd closed;
    closed.fd = parent.recording_.ledger->fds.back();
    closed.closed_ns = at_ns;
    parent.recording_.ledger->fds.clear();
    parent.recording_.ledger->closed_fds.push_back(closed);
  }
};

TEST(InheritedByExec, IsAWarningWhileTheOwnerHasItToo) {
  Child child;
  only(child.judge(), "fd-inherited-by-exec", Severity::kWarning);
}

TEST(InheritedByExec, IsAnErrorWhereTheChildOutlivesTheOwnersClose) {
  Child child;
  child.parent_closes(kStart + 3 * kSecond);
  const auto findings = child.judge();
  const Finding* found = only(findings, "fd-inherited-by-exec", Severity::kError);
  ASSERT_NE(found, nullptr);
  EXPECT_THAT(found->detail, HasSubstr("7 s more"));
}

TEST(InheritedByExec, ClosedBeforeTheChildBeganIsAnother) {
  Child child;
  child.parent_closes(kStart + kSecond + 1);
  expect_silence(child.judge());
}

TEST(InheritedByExec, CloseOnExecUseAndForkAloneAreFine) {
  Child with_flag;
  with_flag.parent.recording_.ledger->fds.front().close_on_exec = true;
  expect_silence(with_flag.judge());
  Child uses_it;
  uses_it.child.recording_.ledger->fds.front().io_calls = 1;
  expect_silence(uses_it.judge());
  Child forked;
  forked.child.recording_.forked = true;
  expect_silence(forked.judge());
  Child opened_later;
  opened_later.parent.recording_.ledger->fds.front().opened_ns = kStart + 3 * kSecond;
  expect_silence(opened_later.judge());
}

TEST(DoubleClose, NamesAllThreePlaces) {
  Process process;
  const std::size_t again = process.own_site(50), first = process.own_site(40),
                    opened = process.own_site(30);
  auto& incident = process.incident(IncidentKind::kDoubleClose, 7);
  incident.site = again;
  incident.close_site = first;
  incident.open_site = opened;
  incident.close_thread_id = 101;
  const auto findings = process.judge();
  const Finding* found = only(findings, "double-close", Severity::kError);
  ASSERT_NE(found, nullptr);
  ASSERT_EQ(found->places.size(), 3u);
  EXPECT_EQ(found->places[0].role, "closed again");
  EXPECT_EQ(found->places[1].role, "closed");
  EXPECT_EQ(found->places[2].role, "opened");
  EXPECT_THAT(found->title, HasSubstr("client.cpp:50"));
  EXPECT_THAT(found->detail, HasSubstr("client.cpp:40"));
  EXPECT_THAT(found->detail, HasSubstr("client.cpp:30"));
  EXPECT_THAT(found->detail, HasSubstr("by thread 101"));
}

TEST(DoubleClose, ALoopOverAllNumbersIsMeant) {
  Process process;
  auto& incident = process.incident(IncidentKind::kDoubleClose, 7);
  incident.site = process.own_site();
  incident.count = 1000;
  incident.consecutive = 990;
  expect_silence(process.judge());
  incident.consecutive = 400;
  only(process.judge(), "double-close", Severity::kError);
}

TEST(DoubleClose, WhatASweepMeetsIsMeantToo) {
  Process process;
  const std::size_t site = process.own_site();
  auto& sweep = process.incident(IncidentKind::kCloseNeverOpened, 20);
  sweep.site = site;
  sweep.count = sweep.consecutive = 1000;
  process.incident(IncidentKind::kDoubleClose, 7).site = site;
  expect_silence(process.judge());
  process.recording_.ledger->incidents.back().site = process.own_site(99);
  only(process.judge(), "double-close", Severity::kError);
}

TEST(DoubleClose, OfASystemsProgramIsInformation) {
  Process process;
  process.incident(IncidentKind::kDoubleClose, 7).site = process.system_site();
  only(process.judge(), "double-close", Severity::kInfo);
}

TEST(CloseNeverOpened, IsAWarningAndMinusOneHarmless) {
  Process process;
  auto& incident = process.incident(IncidentKind::kCloseNeverOpened, 77);
  incident.site = process.own_site();
  incident.opened_ns = incident.closed_ns = 0;
  only(process.judge(), "close-never-opened", Severity::kWarning);
  incident.fd = incident.last_fd = -1;
  only(process.judge(), "close-never-opened", Severity::kInfo);
}

TEST(UseAfterClose, IsAnErrorAndAskingForANumberIsNot) {
  Process process;
  auto& incident = process.incident(IncidentKind::kUseAfterClose, 7);
  incident.call = "write";
  incident.site = process.own_site();
  const auto findings = process.judge();
  const Finding* found = only(findings, "use-after-close", Severity::kError);
  ASSERT_NE(found, nullptr);
  EXPECT_THAT(found->title, HasSubstr("write(7)"));
  incident.kind = IncidentKind::kUseNeverOpened;
  only(process.judge(), "use-after-close", Severity::kInfo);
}

TEST(EventAfterClose, PointsAtTheClose) {
  Process process;
  auto& incident = process.incident(IncidentKind::kEventAfterClose, 7);
  incident.count = 123;
  incident.site = process.own_site(50);
  incident.close_site = process.own_site(40);
  incident.open_site = process.own_site(30);
  const auto findings = process.judge();
  const Finding* found = only(findings, "event-after-close", Severity::kError);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->places[0].role, "closed");
  EXPECT_THAT(found->title, HasSubstr("123 events"));
  EXPECT_THAT(found->title, HasSubstr("client.cpp:40"));
}

TEST(Budgets, AreKeptOrNot) {
  Process process;
  auto& loop = process.loop();
  for (int i = 0; i < 200; ++i) loop.busy.add(kMs);
  loop.busy.add(80 * kMs);
  loop.timer_lag.add(30 * kMs);
  recording::WorstTurn& worst = loop.worst_turn.emplace();
  worst.turn = 17;
  worst.busy_ns = 80 * kMs;
  worst.at_ns = kStart + kSecond;
  worst.ready = 2;
  worst.served_fd = 9;
  worst.served_ns = 79 * kMs;
  worst.served_site = process.own_site(12);
  expect_silence(process.judge());
  expect_silence(process.judge({80 * kMs, 30 * kMs, 2 * kMs}));
  {
    const auto findings = process.judge({.stall_ns = 80 * kMs - 1});
    const Finding* stall = only(findings, "stall-budget", Severity::kError);
    ASSERT_NE(stall, nullptr);
    EXPECT_THAT(stall->detail, HasSubstr("turn 17"));
    EXPECT_THAT(stall->detail, HasSubstr("serving descriptor 9"));
    ASSERT_EQ(stall->places.size(), 1u);
    EXPECT_EQ(stall->places[0].frame, 0u);
  }
  only(process.judge({.timer_lag_ns = 30 * kMs - 1}), "timer-lag-budget", Severity::kError);
  only(process.judge({.busy_p99_ns = kMs / 2}), "busy-p99-budget", Severity::kError);
}

TEST(Budgets, AFewTurnsHaveNoP99) {
  Process process;
  auto& loop = process.loop();
  for (int i = 0; i < 99; ++i) loop.busy.add(kSecond);
  expect_silence(process.judge({.busy_p99_ns = kMs}));
  loop.busy.add(kSecond);
  only(process.judge({.busy_p99_ns = kMs}), "busy-p99-budget", Severity::kError);
}

TEST(NothingToJudge, AsLongAsThereIsNothing) {
  Process process;
  const Image image = process.image();
  EXPECT_TRUE(nothing_to_judge({image, {}, {}}));
  process.loop();
  EXPECT_TRUE(nothing_to_judge({image, {}, {}}));
  EXPECT_FALSE(nothing_to_judge({image, {.stall_ns = 1}, {}}));
  process.open(2, process.own_site());
  EXPECT_TRUE(nothing_to_judge({image, {}, {}}));
  process.open(3, process.own_site());
  EXPECT_FALSE(nothing_to_judge({image, {}, {}}));
  Process other;
  other.incident(IncidentKind::kDoubleClose, 3);
  const Image of_other = other.image();
  EXPECT_FALSE(nothing_to_judge({of_other, {}, {}}));
}

TEST(DescriptorsText, CountsAndNames) {
  EXPECT_EQ(descriptors_text(1, DescriptorKind::kEventfd), "an eventfd");
  EXPECT_EQ(descriptors_text(2, DescriptorKind::kDirectory), "2 directories");
  for (std::size_t kind = 0; kind < recording::kDescriptorKinds; ++kind) {
    EXPECT_NE(descriptors_text(2, static_cast<DescriptorKind>(kind)), "") << kind;
  }
}

}  // namespace
}  // namespace loopscope::findings
