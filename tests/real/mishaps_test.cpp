// SPDX-License-Identifier: Apache-2.0
//
// What the probe notes of closes and uses of wrong numbers, of events that outlive a number, and of
// what is open when a process ends: tests/programs/mishaps.c does each once, and this looks into
// its recording. Each has its healthy twin, of which nothing may be noted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr char kAll[] = "stacks=full,closes,census";

/// One run of the program: what it printed, how it ended, what its processes recorded.
struct Outcome {
  std::map<std::string, int> said;
  int status = -1;                            // as wait(2) gives it
  std::vector<RecordingSnapshot> recordings;  // the program's own first

  const Ledger& ledger() const { return *recordings.at(0).ledger; }
};

class Mishaps : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/dev/shm/loopscope-mishaps-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    place_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(place_); }

  Outcome run(const std::string& what, const std::string& how = "",
              const std::string& options = kAll) {
    Outcome done;
    int out[2];
    EXPECT_EQ(::pipe(out), 0);
    const std::string probe = "LOOPSCOPE_PROBE=" + options + ",dir=" + place_;
    std::string preload = std::string("LD_PRELOAD=") + LOOPSCOPE_PROBE_FILE;
    std::string environment[] = {probe, preload, "PATH=/usr/bin:/bin"};
    char* environ_of[] = {environment[0].data(), environment[1].data(), environment[2].data(),
                          nullptr};
    std::string arguments[] = {LOOPSCOPE_MISHAPS, what, how};
    char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    pid_t pid = -1;
    EXPECT_EQ(::posix_spawn(&pid, LOOPSCOPE_MISHAPS, &actions, nullptr, argv, environ_of), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    std::string text;
    char buffer[512];
    for (ssize_t got = 0; (got = ::read(out[0], buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<std::size_t>(got));
    }
    ::close(out[0]);
    EXPECT_EQ(::waitpid(pid, &done.status, 0), pid);
    std::istringstream lines(text);
    std::string name;
    for (int value = 0; lines >> name >> value;) done.said[name] = value;

    for (const auto& file : std::filesystem::directory_iterator(place_)) {
      auto reader = Reader::open(file.path());
      EXPECT_TRUE(reader) << file.path();
      if (!reader) continue;
      ReadOptions wanted;
      wanted.details = true;
      auto taken = reader->read(wanted);
      EXPECT_TRUE(taken) << file.path();
      if (taken) done.recordings.push_back(*std::move(taken));
      std::filesystem::remove(file.path());
    }
    std::sort(done.recordings.begin(), done.recordings.end(),
              [](const RecordingSnapshot& a, const RecordingSnapshot& b) {
                return std::tuple(a.started_ns, a.pid) < std::tuple(b.started_ns, b.pid);
              });
    EXPECT_FALSE(done.recordings.empty()) << what;
    for (const RecordingSnapshot& one : done.recordings) {
      EXPECT_THAT(one.dropped, testing::Each(0u));
    }
    return done;
  }

  /// The functions of the program itself on a site's stack, innermost first.
  static std::vector<std::string> functions(const Ledger& ledger,
                                            const std::optional<std::size_t>& site) {
    std::vector<std::string> names;
    if (!site || *site >= ledger.sites.size()) return names;
    for (const SiteFrame& frame : ledger.sites[*site].frames) {
      if (!frame.module || !ledger.modules[*frame.module].path.ends_with("/mishaps")) continue;
      char command[512];
      std::snprintf(command, sizeof command, "addr2line -f -e %s 0x%llx", LOOPSCOPE_MISHAPS,
                    static_cast<unsigned long long>(frame.offset - 1));
      FILE* tool = ::popen(command, "r");
      char name[128] = "";
      if (tool != nullptr && std::fgets(name, sizeof name, tool) != nullptr) {
        name[std::strcspn(name, "\n")] = '\0';
        if (std::strcmp(name, "_start") != 0) names.emplace_back(name);
      }
      if (tool != nullptr) ::pclose(tool);
    }
    return names;
  }

  static std::vector<std::string> calls(const Ledger& ledger, IncidentKind kind) {
    std::vector<std::string> found;
    for (const IncidentRecord& one : ledger.incidents) {
      if (one.kind == kind) found.push_back(one.call);
    }
    return found;
  }

  static const FdRecord* find(const Ledger& ledger, int fd) {
    for (const FdRecord& one : ledger.fds) {
      if (one.fd == fd) return &one;
    }
    return nullptr;
  }

  std::string place_;
};

TEST_F(Mishaps, DoubleCloseHasAllThreePlaces) {
  const Outcome done = run("double_close");
  EXPECT_EQ(done.status, 0);
  const Ledger& ledger = done.ledger();
  ASSERT_EQ(ledger.incidents.size(), 1u);
  const IncidentRecord& one = ledger.incidents[0];
  EXPECT_EQ(one.kind, IncidentKind::kDoubleClose);
  EXPECT_EQ(one.descriptor_kind, DescriptorKind::kDevice);
  EXPECT_EQ(one.call, "close");
  EXPECT_EQ(one.count, 1u);
  EXPECT_EQ(one.consecutive, 0u);
  EXPECT_EQ(one.fd, done.said.at("fd"));
  EXPECT_EQ(one.thread_id, done.recordings[0].pid);
  EXPECT_EQ(one.close_thread_id, done.recordings[0].pid);
  EXPECT_LT(one.opened_ns, one.closed_ns);
  EXPECT_LT(one.closed_ns, one.first_ns);
  EXPECT_THAT(functions(ledger, one.open_site),
              ElementsAre("opener", "open_and_close", "double_close", "main"));
  EXPECT_THAT(functions(ledger, one.close_site),
              ElementsAre("wrapped_close", "twice_wrapped_close", "first_close", "open_and_close",
                          "double_close", "main"));
  EXPECT_THAT(functions(ledger, one.site),
              ElementsAre("wrapped_close", "second_close", "double_close", "main"));
  EXPECT_EQ(ledger.sites[*one.site].role, SiteRole::kCall);
  EXPECT_EQ(ledger.sites[*one.close_site].role, SiteRole::kCall);
  EXPECT_EQ(ledger.sites[*one.open_site].role, SiteRole::kOpen);
  EXPECT_EQ(ledger.sites[*one.site].opened, 0u);
  EXPECT_EQ(ledger.bad_closes, 1u);
}

TEST_F(Mishaps, ASingleCloseIsNoneAndIsKnown) {
  const Outcome done = run("single_close");
  EXPECT_THAT(done.ledger().incidents, IsEmpty());
  ASSERT_EQ(done.ledger().closed_fds.size(), 1u);
  const ClosedFd& closed = done.ledger().closed_fds[0];
  EXPECT_EQ(closed.fd.fd, done.said.at("fd"));
  EXPECT_EQ(closed.close_thread_id, done.recordings[0].pid);
  EXPECT_THAT(functions(done.ledger(), closed.close_site), Contains("first_close"));
}

TEST_F(Mishaps, WithoutClosesTheFirstCloseIsNotKnown) {
  const Outcome done = run("double_close", "", "stacks=full");
  ASSERT_EQ(done.ledger().incidents.size(), 1u);
  const IncidentRecord& one = done.ledger().incidents[0];
  EXPECT_FALSE(one.close_site);
  EXPECT_EQ(one.closed_ns, 0u);
  EXPECT_THAT(functions(done.ledger(), one.site), Contains("second_close"));
  EXPECT_FALSE(done.ledger().end_census);
  EXPECT_THAT(done.ledger().closed_fds, IsEmpty());
}

TEST_F(Mishaps, NumbersThatWereNeverOpen) {
  const Outcome done = run("never_opened");
  ASSERT_EQ(done.ledger().incidents.size(), 2u);
  for (const IncidentRecord& one : done.ledger().incidents) {
    EXPECT_EQ(one.kind, IncidentKind::kCloseNeverOpened);
    EXPECT_EQ(one.count, 1u);
    EXPECT_FALSE(one.close_site || one.open_site);
  }
  EXPECT_EQ(done.ledger().incidents[0].fd, 77);
  EXPECT_EQ(done.ledger().incidents[1].fd, -1);
}

TEST_F(Mishaps, ASweepIsOneAndIsSeenToBeOne) {
  const Outcome done = run("sweep");
  ASSERT_EQ(done.ledger().incidents.size(), 1u);
  const IncidentRecord& one = done.ledger().incidents[0];
  EXPECT_EQ(one.kind, IncidentKind::kCloseNeverOpened);
  EXPECT_EQ(one.count, 997u);
  EXPECT_EQ(one.consecutive, 996u);
  EXPECT_EQ(one.fd, 3);
  EXPECT_EQ(one.last_fd, 999);
  EXPECT_EQ(done.ledger().bad_closes, 997u);
}

TEST_F(Mishaps, EveryWayToCloseIsAPlace) {
  const Outcome done = run("closes_of_all_kinds");
  const Ledger& ledger = done.ledger();
  EXPECT_THAT(calls(ledger, IncidentKind::kDoubleClose),
              ElementsAre("close", "close", "close", "close", "close"));
  EXPECT_EQ(ledger.incidents.size(), 5u);
  for (const IncidentRecord& one : ledger.incidents) {
    EXPECT_TRUE(one.close_site && one.open_site) << one.fd;
    EXPECT_THAT(functions(ledger, one.close_site), Contains("closes_of_all_kinds"));
  }
}

TEST_F(Mishaps, AFileWhoseDescriptorIsGone) {
  const Outcome done = run("closed_below_a_file");
  ASSERT_EQ(done.ledger().incidents.size(), 1u);
  const IncidentRecord& one = done.ledger().incidents[0];
  EXPECT_EQ(one.kind, IncidentKind::kDoubleClose);
  EXPECT_EQ(one.call, "fclose");
  EXPECT_THAT(functions(done.ledger(), one.close_site), Contains("first_close"));
  EXPECT_EQ(done.ledger().met, 0u);
}

TEST_F(Mishaps, UseAfterClose) {
  const Outcome done = run("use_after_close");
  EXPECT_EQ(done.status, 0);
  const Ledger& ledger = done.ledger();
  EXPECT_THAT(calls(ledger, IncidentKind::kUseAfterClose),
              ElementsAre("read", "write", "writev", "send", "recv", "accept", "connect", "listen",
                          "shutdown", "ioctl", "fcntl", "epoll_ctl", "epoll_wait", "write"));
  EXPECT_THAT(calls(ledger, IncidentKind::kUseNeverOpened), ElementsAre("write"));
  EXPECT_EQ(ledger.incidents.size(), 15u);
  for (const IncidentRecord& one : ledger.incidents) {
    if (one.kind != IncidentKind::kUseAfterClose) continue;
    EXPECT_EQ(one.fd, done.said.at("fd"));
    EXPECT_THAT(functions(ledger, one.close_site), Contains("first_close")) << one.call;
    EXPECT_THAT(functions(ledger, one.open_site), Contains("opener")) << one.call;
    EXPECT_THAT(functions(ledger, one.site), Contains("use_after_close")) << one.call;
  }
}

TEST_F(Mishaps, WrongWaysAndQuestionsAreNone) {
  const Outcome done = run("wrong_ways");
  EXPECT_EQ(done.status, 0);
  EXPECT_THAT(done.ledger().incidents, IsEmpty());
}

TEST_F(Mishaps, EventsThatOutliveTheirNumber) {
  for (const char* how : {"number", "pointer", "again"}) {
    SCOPED_TRACE(how);
    const Outcome done = run("event_after_close", how);
    EXPECT_EQ(done.status, 0);
    ASSERT_EQ(done.ledger().incidents.size(), 1u);
    const IncidentRecord& one = done.ledger().incidents[0];
    EXPECT_EQ(one.kind, IncidentKind::kEventAfterClose);
    EXPECT_EQ(one.fd, done.said.at("fd"));
    EXPECT_EQ(one.count, 2u);
    EXPECT_EQ(one.call, "epoll_wait");
    EXPECT_THAT(functions(done.ledger(), one.close_site), Contains("first_close"));
    EXPECT_THAT(functions(done.ledger(), one.site), Contains("wait_once"));
  }
  for (const char* how : {"removed", "whole"}) {
    SCOPED_TRACE(how);
    const Outcome done = run("event_after_close", how);
    EXPECT_EQ(done.status, 0);
    EXPECT_THAT(done.ledger().incidents, IsEmpty());
  }
  EXPECT_THAT(run("closed_by_a_thread").ledger().incidents, IsEmpty());
}

TEST_F(Mishaps, EventsOfOneAmongSeveralWithTheSameData) {
  EXPECT_THAT(run("same_data", "object").ledger().incidents, IsEmpty());
  EXPECT_THAT(run("same_data", "number").ledger().incidents, IsEmpty());
}

TEST_F(Mishaps, AChildWhoseOtherThreadIsMetFirst) {
  const Outcome done = run("child_of_threads");
  ASSERT_EQ(done.recordings.size(), 2u);
  const Ledger& child = *done.recordings[1].ledger;
  ASSERT_EQ(done.ledger().incidents.size(), 1u);
  EXPECT_EQ(done.ledger().incidents[0].count, 1u);
  ASSERT_EQ(child.incidents.size(), 1u);
  EXPECT_EQ(child.incidents[0].fd, 901);
  EXPECT_EQ(child.incidents[0].thread_id, done.recordings[1].pid);
  const FdRecord* one = find(child, done.said.at("main"));
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->thread_id, done.recordings[1].pid);
  EXPECT_FALSE(one->thread_ended);
}

TEST_F(Mishaps, ChildrenHaveTheirOwn) {
  const Outcome forked = run("child_closes", "fork");
  ASSERT_EQ(forked.recordings.size(), 2u);
  EXPECT_THAT(forked.ledger().incidents, IsEmpty());
  const Ledger& child = *forked.recordings[1].ledger;
  ASSERT_EQ(child.incidents.size(), 1u);
  EXPECT_EQ(child.incidents[0].kind, IncidentKind::kCloseNeverOpened);
  EXPECT_EQ(child.incidents[0].fd, forked.said.at("fd"));
  EXPECT_TRUE(child.end_census);

  const Outcome vforked = run("child_closes", "vfork");
  ASSERT_EQ(vforked.recordings.size(), 1u);
  EXPECT_THAT(vforked.ledger().incidents, IsEmpty());
  EXPECT_EQ(vforked.ledger().bad_closes, 0u);
}

TEST_F(Mishaps, TheCensusFindsWhatHappenedOutOfSight) {
  for (const char* how : {"return", "exit", "_exit", "_Exit", "quick_exit", "exit_group",
                          "exit_call", "exec", "exec_call"}) {
    SCOPED_TRACE(how);
    const Outcome done = run("behind", how);
    EXPECT_EQ(done.status, 0);
    const Ledger& ledger = done.ledger();
    EXPECT_TRUE(ledger.end_census);
    const FdRecord* hidden = find(ledger, done.said.at("hidden"));
    ASSERT_NE(hidden, nullptr);
    EXPECT_EQ(hidden->origin, FdOrigin::kMet);
    EXPECT_EQ(hidden->kind, DescriptorKind::kFile);
    EXPECT_EQ(hidden->target, "/etc/passwd");
    EXPECT_TRUE(hidden->close_on_exec);
    EXPECT_FALSE(hidden->site);
    const FdRecord* event = find(ledger, done.said.at("event"));
    ASSERT_NE(event, nullptr);
    EXPECT_EQ(event->origin, FdOrigin::kMet);
    EXPECT_EQ(event->kind, DescriptorKind::kEventfd);
    EXPECT_FALSE(event->close_on_exec);
    EXPECT_EQ(find(ledger, done.said.at("closed")), nullptr);
    EXPECT_EQ(ledger.met, 2u);
    EXPECT_EQ(ledger.lost, 1u);
    EXPECT_EQ(ledger.open, 5u);  // and 0, 1, 2
    EXPECT_THAT(ledger.incidents, IsEmpty());
  }
}

TEST_F(Mishaps, TheCensusIsNotDeceivedByEqualNumbers) {
  const Outcome done = run("exchanged");
  EXPECT_TRUE(done.ledger().end_census);
  EXPECT_EQ(find(done.ledger(), done.said.at("closed")), nullptr);
  const FdRecord* hidden = find(done.ledger(), done.said.at("hidden"));
  ASSERT_NE(hidden, nullptr);
  EXPECT_EQ(hidden->target, "/etc/passwd");
}

TEST_F(Mishaps, WhatCameInAMessageIsCountedByWhatItIs) {
  const Outcome done = run("receives_a_socket");
  const FdRecord* received = find(done.ledger(), done.said.at("fd"));
  ASSERT_NE(received, nullptr);
  EXPECT_EQ(received->kind, DescriptorKind::kTcp);
  const auto tcp = static_cast<std::size_t>(DescriptorKind::kTcp);
  const auto other = static_cast<std::size_t>(DescriptorKind::kOther);
  EXPECT_EQ(done.ledger().opened[tcp], done.ledger().closed[tcp] + 1);
  EXPECT_EQ(done.ledger().opened[other], done.ledger().closed[other]);
}

TEST_F(Mishaps, WhoDiesIsNotCounted) {
  for (const char* how : {"abort", "kill"}) {
    SCOPED_TRACE(how);
    const Outcome done = run("behind", how);
    EXPECT_TRUE(WIFSIGNALED(done.status));
    EXPECT_FALSE(done.ledger().end_census);
    EXPECT_EQ(done.ledger().met, 0u);
    EXPECT_NE(find(done.ledger(), done.said.at("closed")), nullptr);
  }
}

TEST_F(Mishaps, TheCensusOfAHealthyProgramChangesNothing) {
  const Outcome done = run("single_close", "exit");
  EXPECT_TRUE(done.ledger().end_census);
  EXPECT_EQ(done.ledger().met, 0u);
  EXPECT_EQ(done.ledger().lost, 0u);
  EXPECT_EQ(done.ledger().open, 3u);
  EXPECT_EQ(done.ledger().fds.size(), 3u);
}

TEST_F(Mishaps, AFailedExecIsNoEnd) {
  const Outcome killed = run("exec_that_fails", "kill");
  EXPECT_FALSE(killed.ledger().end_census);
  EXPECT_EQ(killed.recordings[0].life, Life::kKilled);
  const Outcome exited = run("exec_that_fails", "exit");
  EXPECT_TRUE(exited.ledger().end_census);
  EXPECT_EQ(exited.recordings[0].life, Life::kExited);
}

TEST_F(Mishaps, WithoutAFreeNumberWhatAgreesIsStillCounted) {
  const Outcome done = run("no_more_numbers");
  EXPECT_EQ(done.status, 0);
  EXPECT_TRUE(done.ledger().end_census);
  EXPECT_EQ(done.ledger().open, 32u);
}

TEST_F(Mishaps, DescriptorsOfAThreadThatEnded) {
  const Outcome done = run("lost_by_a_thread");
  const FdRecord* lost = find(done.ledger(), done.said.at("fd"));
  const FdRecord* own = find(done.ledger(), done.said.at("own"));
  ASSERT_TRUE(lost != nullptr && own != nullptr);
  EXPECT_TRUE(lost->thread_ended);
  EXPECT_FALSE(own->thread_ended);
}

TEST_F(Mishaps, APeerThatHasClosed) {
  const Outcome closed = run("peer_closes", "yes");
  const FdRecord* socket = find(closed.ledger(), closed.said.at("fd"));
  ASSERT_NE(socket, nullptr);
  EXPECT_GE(socket->peer_closed_ns, 190'000'000u);
  const Outcome open = run("peer_closes", "no");
  socket = find(open.ledger(), open.said.at("fd"));
  ASSERT_NE(socket, nullptr);
  EXPECT_EQ(socket->peer_closed_ns, 0u);
  EXPECT_TRUE(open.ledger().end_census);
}

TEST_F(Mishaps, TheLongestTurnNamesItsDescriptor) {
  const Outcome done = run("slow_turn", "", "stacks=full,stall=30000000");
  EXPECT_EQ(done.status, 0);
  ASSERT_EQ(done.recordings[0].loops.size(), 1u);
  const LoopSnapshot& loop = done.recordings[0].loops[0];
  EXPECT_EQ(loop.stall_threshold_ns, 30'000'000u);
  EXPECT_GE(loop.stalls, 1u);
  ASSERT_TRUE(loop.worst_turn);
  EXPECT_EQ(loop.worst_turn->turn, 4u);
  EXPECT_EQ(loop.worst_turn->ready, 2);
  EXPECT_GE(loop.worst_turn->busy_ns, 41'000'000u);
  EXPECT_EQ(loop.worst_turn->served_fd, done.said.at("fd"));
  EXPECT_GE(loop.worst_turn->served_ns, 40'000'000u);
  EXPECT_LE(loop.worst_turn->served_ns, loop.worst_turn->busy_ns);
  EXPECT_THAT(functions(done.ledger(), loop.worst_turn->served_site), Contains("slow_one"));
}

}  // namespace
}  // namespace loopscope::recording
