// SPDX-License-Identifier: Apache-2.0
//
// Reader::stalled(): which loops are busy with one turn, and for how long.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;

/// That loop, if it is said to be stalled.
std::optional<StalledLoop> find(const Reader& reader, std::uint32_t id, std::uint64_t at_least_ns) {
  for (const StalledLoop& loop : reader.stalled(at_least_ns)) {
    if (loop.loop_id == id) return loop;
  }
  return std::nullopt;
}

void turn(LoopRecorder& recorder) {
  recorder.poll_begin();
  recorder.poll_end({1, WaitResult::kEvents, false, 1'000'000});
}

LoopSnapshot snapshot_of(Reader& reader, const std::string& name) {
  const auto recording = reader.read();
  if (recording) {
    for (const LoopSnapshot& loop : recording->loops) {
      if (loop.name == name && !loop.ended) return loop;
    }
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(Stalled, IsALoopThatIsBusyForLong) {
  LoopRecorder recorder({.name = "stalls", .backend = "epoll"});
  recorder.enter(4321);
  for (int i = 0; i < 3; ++i) turn(recorder);
  const std::uint64_t began = monotonic_ns();
  auto attached = read_own_process();
  ASSERT_TRUE(attached);
  auto file = Reader::open(attached->path());
  ASSERT_TRUE(file) << file.error().message;
  const std::uint32_t id = snapshot_of(*file, "stalls").id;

  usleep(20'000);
  for (Reader* reader : {&*attached, &*file}) {
    const std::uint64_t passed = monotonic_ns() - began;
    const auto loop = find(*reader, id, 20 * kMillisecond);
    ASSERT_TRUE(loop);
    EXPECT_EQ(loop->thread_id, 4321);
    EXPECT_EQ(loop->turn, 3u);
    EXPECT_EQ(loop->generation % 2, 1u);
    EXPECT_GE(loop->age_ns, passed);
    EXPECT_FALSE(find(*reader, id, 3'600'000 * kMillisecond));
  }

  // Its longest turn is known once it is over; the next is another stall.
  turn(recorder);
  usleep(5'000);
  const auto next = find(*file, id, 5 * kMillisecond);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->turn, 4u);
  EXPECT_GE(next->longest_ns, 20 * kMillisecond);
  const LoopSnapshot now = snapshot_of(*file, "stalls");
  ASSERT_TRUE(now.worst_turn);
  EXPECT_EQ(next->longest_ns, now.worst_turn->busy_ns);
}

TEST(Stalled, IsNotALoopThatWaitsOrIsLeft) {
  LoopRecorder recorder({.name = "waits", .backend = "epoll"});
  auto reader = read_own_process();
  ASSERT_TRUE(reader);
  recorder.enter(4321);
  turn(recorder);
  const std::uint32_t id = snapshot_of(*reader, "waits").id;
  EXPECT_TRUE(find(*reader, id, 0));
  recorder.poll_begin();
  EXPECT_FALSE(find(*reader, id, 0));
  recorder.poll_end({1, WaitResult::kEvents, false, 1'000'000});
  EXPECT_TRUE(find(*reader, id, 0));
  recorder.leave();
  EXPECT_FALSE(find(*reader, id, 0));
}

TEST(Stalled, IsNotALoopThatHasEnded) {
  auto reader = read_own_process();
  ASSERT_TRUE(reader);
  std::uint32_t id = 0;
  {
    LoopRecorder recorder({.name = "ends", .backend = "epoll"});
    recorder.enter(4321);
    turn(recorder);
    id = snapshot_of(*reader, "ends").id;
    EXPECT_TRUE(find(*reader, id, 0));
  }
  EXPECT_FALSE(find(*reader, id, 0));
}

}  // namespace
}  // namespace loopscope::recording
