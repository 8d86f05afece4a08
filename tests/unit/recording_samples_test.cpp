// SPDX-License-Identifier: Apache-2.0
//
// Recordings of formats that were landed are read for ever: samples/ has one of each, of two
// programs whose doings are known (samples/make.py). Format 1: ledger_copy_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "instrumentation/recording/reader.h"
#include "tests/unit/ledger_region.h"

namespace loopscope::recording {
namespace {

class Sample : public testing::Test {
 protected:
  RecordingSnapshot read(const std::string& name) {
    const std::string path = place_.path() + "/" + name + ".loopscope";
    const std::string command = "xz -dc '" LOOPSCOPE_SAMPLES "/" + name +
                                ".loopscope.xz' | dd of='" + path +
                                "' bs=64k conv=sparse status=none";
    EXPECT_EQ(std::system(command.c_str()), 0) << "needs xz (Debian: xz-utils)";
    auto reader = Reader::open(path);
    if (!reader) {
      ADD_FAILURE() << reader.error().message;
      return {};
    }
    ReadOptions options;
    options.details = true;
    options.served = true;
    auto taken = reader->read(options);
    if (!taken) {
      ADD_FAILURE() << taken.error().message;
      return {};
    }
    for (const std::uint64_t dropped : taken->dropped) EXPECT_EQ(dropped, 0u);
    return *std::move(taken);
  }
  fixtures::RecordingPlace place_;
};

/// Since format 2 the same two programs.
class SampleSince2 : public Sample, public testing::WithParamInterface<unsigned> {
 protected:
  RecordingSnapshot read_of(const std::string& who) {
    RecordingSnapshot taken = read("format-" + std::to_string(GetParam()) + "-" + who);
    EXPECT_EQ(taken.version, GetParam());
    EXPECT_TRUE(taken.own_failures.empty());
    return taken;
  }
};
INSTANTIATE_TEST_SUITE_P(Formats, SampleSince2, testing::Values(2u, 3u));

TEST_P(SampleSince2, OfTheLibrary) {
  const RecordingSnapshot taken = read_of("library");
  EXPECT_EQ(taken.source, SourceKind::kLibrary);
  EXPECT_EQ(taken.command, "existing");
  EXPECT_EQ(taken.life, Life::kKilled);
  EXPECT_FALSE(taken.ledger);
  ASSERT_EQ(taken.loops.size(), 1u);
  const LoopSnapshot& loop = taken.loops[0];
  EXPECT_EQ(loop.name, "existing");
  EXPECT_EQ(loop.backend, "epoll");
  EXPECT_EQ(loop.epoll_fd, 3);
  EXPECT_EQ(loop.iterations, 23u);
  EXPECT_EQ(loop.ready_events, 23u);
  EXPECT_EQ(loop.phase, Phase::kPolling);
  EXPECT_EQ(loop.busy.count, 23u);
  EXPECT_EQ(loop.poll_wait.count, 23u);
  EXPECT_EQ(loop.skew_turns, 0u);
  ASSERT_EQ(loop.watchers.size(), 3u);
  EXPECT_EQ(loop.watchers[0].name, "accept");
  EXPECT_EQ(loop.watchers[0].callback.count, 2u);
  EXPECT_EQ(loop.watchers[1].name, "client");
  EXPECT_EQ(loop.watchers[1].callback.count, 21u);
  EXPECT_EQ(loop.watchers[2].name, "idle-timeout");
  EXPECT_EQ(loop.watchers[2].kind, WatcherKind::kTimer);
  EXPECT_EQ(loop.watchers[2].callback.count, 0u);
  ASSERT_EQ(loop.recent.size(), 23u);
  ASSERT_TRUE(loop.served);
  for (const Turn& turn : loop.recent) {
    ASSERT_NE(turn.served_first, Turn::kNoServed);
    ASSERT_EQ(turn.served_count, 1u) << turn.turn;
    EXPECT_EQ(turn.served_lost, 0u);
    const Served& served = (*loop.served)[turn.served_first];
    EXPECT_EQ(served.watcher, turn.turn == 1 || turn.turn == 12 ? 1u : 2u) << turn.turn;
    EXPECT_LE(served.start_ns + served.ns, turn.busy_ns);
  }
}

TEST_P(SampleSince2, OfTheProbe) {
  const RecordingSnapshot taken = read_of("probe");
  EXPECT_EQ(taken.source, SourceKind::kProbe);
  EXPECT_EQ(taken.command, "python3");
  EXPECT_THAT(taken.argv, testing::ElementsAre("python3", "server.py"));
  EXPECT_EQ(taken.life, Life::kKilled);
  ASSERT_EQ(taken.reaped.size(), 1u);
  EXPECT_EQ(taken.reaped[0].second, 7 << 8);

  ASSERT_EQ(taken.loops.size(), 1u);
  const LoopSnapshot& loop = taken.loops[0];
  EXPECT_EQ(loop.epoll_fd, 15);
  EXPECT_EQ(loop.iterations, 51u);
  EXPECT_EQ(loop.ready_events, 111u);
  EXPECT_EQ(loop.timeouts, 14u);
  EXPECT_EQ(loop.nonblocking, 14u);
  EXPECT_EQ(loop.stall_threshold_ns, 50'000'000u);
  EXPECT_EQ(loop.stalls, 1u);
  EXPECT_EQ(loop.phase, Phase::kDispatching);
  ASSERT_TRUE(loop.worst_turn);
  EXPECT_EQ(loop.worst_turn->turn, 50u);
  EXPECT_GE(loop.worst_turn->busy_ns, 60'000'000u);
  ASSERT_EQ(loop.recent.size(), 50u);
  ASSERT_TRUE(loop.served);
  for (const Turn& turn : loop.recent)
    EXPECT_EQ(turn.served_count, turn.turn % 4 == 0 || turn.turn == 50 ? 0u : 3u) << turn.turn;

  ASSERT_TRUE(taken.ledger);
  const Ledger& ledger = *taken.ledger;
  EXPECT_EQ(ledger.open, 16u);
  EXPECT_EQ(ledger.peak, 16u);
  EXPECT_EQ(ledger.inherited, 3u);
  EXPECT_EQ(ledger.accepts, 1u);
  EXPECT_EQ(ledger.bad_closes, 3u);
  EXPECT_FALSE(ledger.end_census);
  std::uint64_t opened = 0, closed = 0;
  for (const std::uint64_t of_kind : ledger.opened) opened += of_kind;
  for (const std::uint64_t of_kind : ledger.closed) closed += of_kind;
  EXPECT_EQ(opened, 63u);
  EXPECT_EQ(closed, 50u);
  ASSERT_EQ(ledger.fds.size(), 16u);
  EXPECT_EQ(std::count_if(ledger.fds.begin(), ledger.fds.end(),
                          [](const FdRecord& fd) { return fd.target == "/etc/hostname"; }),
            5);
  EXPECT_THAT(taken.registered,
              testing::UnorderedElementsAre(testing::Pair(10, 15), testing::Pair(11, 15),
                                            testing::Pair(13, 15)));

  const auto leak = std::find_if(ledger.sites.begin(), ledger.sites.end(), [](const SiteRecord& s) {
    return !s.scripts.empty() && s.scripts[0].function == "leak";
  });
  ASSERT_NE(leak, ledger.sites.end());
  EXPECT_EQ(leak->opened, 5u);
  EXPECT_EQ(leak->closed, 0u);
  EXPECT_EQ(leak->scripts[0].line, 22u);
  EXPECT_FALSE(leak->frames.empty());
  EXPECT_THAT(ledger.modules, testing::Contains(testing::Field(&ModuleRecord::path,
                                                               testing::HasSubstr("python3"))));

  // Each mishap closed its number twice, and used it afterwards.
  const auto count_of = [&](IncidentKind kind) {
    std::uint64_t count = 0;
    for (const IncidentRecord& one : ledger.incidents) count += one.kind == kind ? one.count : 0;
    return count;
  };
  EXPECT_EQ(count_of(IncidentKind::kDoubleClose), 3u);
  EXPECT_EQ(count_of(IncidentKind::kUseAfterClose), 3u);
}

/// A new format fails here until it has its samples.
TEST_F(Sample, OfEveryFormat) {
  unsigned samples = 0;
  for (std::uint32_t version = 1; version <= kVersion; ++version) {
    const std::string name = "format-" + std::to_string(version);
    const std::vector<std::string> who = version == 1
                                             ? std::vector<std::string>{""}
                                             : std::vector<std::string>{"-library", "-probe"};
    for (const std::string& one : who) {
      EXPECT_EQ(read(name + one).version, version) << name << one;
      ++samples;
    }
  }
  if (!HasFailure()) {
    std::cout << "reliability: formats: " << samples << " samples of formats 1 to " << kVersion
              << std::endl;
  }
}

}  // namespace
}  // namespace loopscope::recording
