// SPDX-License-Identifier: Apache-2.0
//
// What a turn of a libev loop served: its callbacks, as libev runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "instrumentation/recording/reader.h"
#include "loopscope/loop.h"

namespace loopscope {
namespace {

using recording::LoopSnapshot;
using recording::Turn;
using ::testing::ElementsAre;

LoopSnapshot loop_named(const std::string& name) {
  auto reader = recording::read_own_process();
  EXPECT_TRUE(reader);
  auto taken = reader->read({.recent = 4096, .served = true});
  EXPECT_TRUE(taken);
  for (LoopSnapshot& loop : taken->loops) {
    if (loop.name == name) return std::move(loop);
  }
  ADD_FAILURE() << "no loop " << name;
  return {};
}

std::vector<std::string> names_in(const LoopSnapshot& loop, const Turn& turn) {
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < turn.served_count; ++i) {
    const recording::Served& served = (*loop.served)[turn.served_first + i];
    names.push_back(served.watcher != 0 ? loop.watchers.at(served.watcher - 1).name : "");
  }
  return names;
}

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() { EXPECT_EQ(pipe(ends), 0); }
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }
  void write_one() { EXPECT_EQ(write(ends[1], "x", 1), 1); }
  void read_one() {
    char byte = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
  }
};

TEST(LoopServed, TwoCallbacksOfOneTurn) {
  Loop loop("two callbacks");
  Pipe quick;
  Pipe slow;
  Io first(loop, "quick", quick.ends[0], kRead, [&](int) { quick.read_one(); });
  Io second(loop, "slow", slow.ends[0], kRead, [&](int) {
    slow.read_one();
    usleep(30'000);
  });
  quick.write_one();
  slow.write_one();
  loop.run_once();
  quick.write_one();
  loop.run_once();

  const LoopSnapshot seen = loop_named("two callbacks");
  ASSERT_NE(seen.served, nullptr);
  ASSERT_EQ(seen.recent.size(), 2u);
  const Turn& both = seen.recent[0];
  EXPECT_THAT(names_in(seen, both), ::testing::UnorderedElementsAre("quick", "slow"));
  std::uint64_t end = 0;
  for (std::uint32_t i = 0; i < both.served_count; ++i) {
    const recording::Served& served = (*seen.served)[both.served_first + i];
    EXPECT_GE(served.start_ns, end) << "one after the other";
    end = served.start_ns + served.ns;
    if (seen.watchers.at(served.watcher - 1).name == "slow") {
      EXPECT_GE(served.ns, 30'000'000u);
    }
  }
  EXPECT_LE(end, both.busy_ns);
  EXPECT_THAT(names_in(seen, seen.recent[1]), ElementsAre("quick"));
}

TEST(LoopServed, ACallbackThatRunsTheLoopIsInBothTurns) {
  Loop loop("runs itself");
  Pipe outside;
  Pipe inside;
  Io inner(loop, "inner", inside.ends[0], kRead, [&](int) { inside.read_one(); });
  Io outer(loop, "outer", outside.ends[0], kRead, [&](int) {
    outside.read_one();
    usleep(10'000);
    inside.write_one();
    loop.run_once();
    usleep(20'000);
  });
  outside.write_one();
  loop.run_once();

  const LoopSnapshot seen = loop_named("runs itself");
  ASSERT_NE(seen.served, nullptr);
  ASSERT_EQ(seen.recent.size(), 2u);
  EXPECT_THAT(names_in(seen, seen.recent[0]), ElementsAre("outer"));
  EXPECT_GE((*seen.served)[seen.recent[0].served_first].ns, 10'000'000u);
  const Turn& second = seen.recent[1];
  EXPECT_THAT(names_in(seen, second), ElementsAre("outer", "inner", "outer"));
  EXPECT_GE((*seen.served)[second.served_first + 2].ns, 20'000'000u);
}

}  // namespace
}  // namespace loopscope
