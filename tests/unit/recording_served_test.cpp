// SPDX-License-Identifier: Apache-2.0
//
// What was served in a turn: written by the recorder, read back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

using testing::ElementsAre;

constexpr std::size_t kAll = ~std::size_t{0};

RecordingSnapshot snapshot(bool served = true) {
  auto reader = read_own_process();
  EXPECT_TRUE(reader) << (reader ? "" : reader.error().message);
  auto taken = reader->read({.recent = kAll, .served = served});
  EXPECT_TRUE(taken) << (taken ? "" : taken.error().message);
  return *std::move(taken);
}

LoopSnapshot loop_of(const LoopRecorder& recorder, bool served = true) {
  for (LoopSnapshot& loop : snapshot(served).loops) {
    if (loop.id == recorder.id()) return std::move(loop);
  }
  ADD_FAILURE() << "the loop is not there";
  return {};
}

std::vector<Served> served_in(const LoopSnapshot& loop, const Turn& turn) {
  if (!loop.served || turn.served_first == Turn::kNoServed) {
    ADD_FAILURE() << "nothing is said of turn " << turn.turn;
    return {};
  }
  const auto first = loop.served->begin() + static_cast<std::ptrdiff_t>(turn.served_first);
  return {first, first + static_cast<std::ptrdiff_t>(turn.served_count)};
}

/// "name" of each, "" for one without.
std::vector<std::string> names_in(const LoopSnapshot& loop, const Turn& turn) {
  std::vector<std::string> names;
  for (const Served& served : served_in(loop, turn)) {
    names.push_back(served.watcher != 0 ? loop.watchers.at(served.watcher - 1).name : "");
  }
  return names;
}

/// They follow each other, and none is outside of the turn.
void expect_in_order(const LoopSnapshot& loop, const Turn& turn) {
  std::uint64_t end = 0;
  for (const Served& served : served_in(loop, turn)) {
    EXPECT_GE(served.start_ns, end);
    end = served.start_ns + served.ns;
  }
  EXPECT_LE(end, turn.busy_ns);
}

void wait_once(LoopRecorder& recorder, std::int32_t ready = 1) {
  recorder.poll_begin();
  recorder.poll_end({ready, WaitResult::kEvents, false, kTimeoutInfinite});
}

void callback(LoopRecorder& recorder, WatcherRef watcher) {
  recorder.callback_end(recorder.callback_begin(watcher, true), watcher);
}

void spin_for(std::uint64_t ns) {
  for (const std::uint64_t end = monotonic_ns() + ns; monotonic_ns() < end;) {
  }
}

constexpr std::uint32_t descriptor(std::uint32_t fd, DescriptorKind kind = DescriptorKind::kTcp,
                                   std::uint32_t generation = 0) {
  return pack_descriptor(fd, kind, generation);
}

TEST(Served, CallbacksOfATurnInTheirOrder) {
  LoopRecorder recorder({.name = "served", .ring_turns = 64});
  const WatcherRef first = recorder.watcher("first", 5, WatcherKind::kIo);
  const WatcherRef second = recorder.watcher("second", 6, WatcherKind::kTimer);
  recorder.enter();
  wait_once(recorder, 3);
  callback(recorder, second);
  spin_for(200'000);
  {
    const auto frame = recorder.callback_begin(first, true);
    spin_for(2'000'000);
    recorder.callback_end(frame, first);
  }
  callback(recorder, second);
  wait_once(recorder, 0);
  wait_once(recorder, 1);
  callback(recorder, first);
  recorder.leave();

  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 3u);
  EXPECT_THAT(names_in(loop, loop.recent[0]), ElementsAre("second", "first", "second"));
  EXPECT_THAT(names_in(loop, loop.recent[1]), ElementsAre());
  EXPECT_THAT(names_in(loop, loop.recent[2]), ElementsAre("first"));
  for (const Turn& turn : loop.recent) {
    EXPECT_EQ(turn.served_lost, 0u);
    expect_in_order(loop, turn);
  }
  const Served slow = served_in(loop, loop.recent[0])[1];
  EXPECT_GE(slow.start_ns, 200'000u);
  EXPECT_GE(slow.ns, 2'000'000u);
  EXPECT_EQ(slow.fd, -1);
  EXPECT_FALSE(slow.gone);
  EXPECT_EQ(loop.recent[0].watcher, first) << "and the longest is still told apart";
}

TEST(Served, OnlyForThoseWhoAsk) {
  LoopRecorder recorder({.name = "unasked", .ring_turns = 64});
  const WatcherRef watcher = recorder.watcher("w", 1, WatcherKind::kIo);
  recorder.enter();
  wait_once(recorder);
  callback(recorder, watcher);
  recorder.leave();
  const LoopSnapshot loop = loop_of(recorder, false);
  EXPECT_FALSE(loop.served);
  ASSERT_EQ(loop.recent.size(), 1u);
  EXPECT_EQ(loop.recent[0].served_first, Turn::kNoServed);
}

TEST(Served, ACallbackNestedInAnotherSplitsIt) {
  LoopRecorder recorder({.name = "nested", .ring_turns = 64});
  const WatcherRef outer = recorder.watcher("outer", 5, WatcherKind::kIo);
  const WatcherRef inner = recorder.watcher("inner", 5, WatcherKind::kIo);
  recorder.enter();
  wait_once(recorder);
  const auto frame = recorder.callback_begin(outer, true);
  spin_for(1'000'000);
  {
    // Its start is read, however much the caller would like to save that.
    const auto nested = recorder.callback_begin(inner, false);
    spin_for(3'000'000);
    recorder.callback_end(nested, inner);
  }
  spin_for(2'000'000);
  recorder.callback_end(frame, outer);
  recorder.leave();

  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 1u);
  const Turn& turn = loop.recent[0];
  EXPECT_THAT(names_in(loop, turn), ElementsAre("outer", "inner", "outer"));
  expect_in_order(loop, turn);
  const std::vector<Served> served = served_in(loop, turn);
  EXPECT_GE(served[0].ns, 1'000'000u);
  EXPECT_GE(served[1].ns, 3'000'000u);
  EXPECT_GE(served[2].ns, 2'000'000u);
  // What the histograms say is the same time.
  EXPECT_NEAR(static_cast<double>(loop.watchers[outer - 1].callback.sum),
              static_cast<double>(served[0].ns + served[2].ns), 2.);
  EXPECT_EQ(loop.watchers[inner - 1].callback.sum, served[1].ns);
}

TEST(Served, ACallbackThatRunsTheLoopIsInEachTurnThatItSpans) {
  LoopRecorder recorder({.name = "nested run", .ring_turns = 64});
  const WatcherRef outer = recorder.watcher("outer", 5, WatcherKind::kIo);
  const WatcherRef inner = recorder.watcher("inner", 5, WatcherKind::kIo);
  recorder.enter();
  wait_once(recorder);
  const auto frame = recorder.callback_begin(outer, true);
  spin_for(1'000'000);
  wait_once(recorder);  // ev_run in the callback
  callback(recorder, inner);
  wait_once(recorder);
  callback(recorder, inner);
  spin_for(1'000'000);
  recorder.callback_end(frame, outer);
  wait_once(recorder);
  recorder.leave();

  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 4u);
  EXPECT_THAT(names_in(loop, loop.recent[0]), ElementsAre("outer"));
  EXPECT_GE(served_in(loop, loop.recent[0])[0].ns, 1'000'000u);
  // Up to the first nested callback, and between it and the next wait.
  EXPECT_THAT(names_in(loop, loop.recent[1]), ElementsAre("outer", "inner", "outer"));
  EXPECT_THAT(names_in(loop, loop.recent[2]), ElementsAre("outer", "inner", "outer"));
  EXPECT_GE(served_in(loop, loop.recent[2])[2].ns, 1'000'000u);
  EXPECT_THAT(names_in(loop, loop.recent[3]), ElementsAre());
  for (const Turn& turn : loop.recent) expect_in_order(loop, turn);
}

TEST(Served, WithoutATurnNothingIsServed) {
  LoopRecorder recorder({.name = "before", .ring_turns = 64});
  const WatcherRef watcher = recorder.watcher("w", 1, WatcherKind::kPrepare);
  recorder.enter();
  callback(recorder, watcher);  // prepare, before the first wait
  wait_once(recorder);
  callback(recorder, watcher);
  recorder.leave();
  callback(recorder, watcher);  // by hand
  recorder.enter();
  wait_once(recorder);
  recorder.leave();
  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 2u);
  EXPECT_EQ(loop.recent[0].served_count, 1u);
  EXPECT_EQ(loop.recent[1].served_count, 0u);
  EXPECT_EQ(loop.watchers[0].callback.count, 3u);
}

TEST(Served, DescriptorsWithKindAndTimes) {
  LoopRecorder recorder(
      {.name = "descriptors", .ring_turns = 64, .served = ServedKind::kDescriptors});
  const std::uint64_t at = monotonic_ns();
  recorder.poll_began_at(at - 10);
  recorder.poll_ended_at({2, WaitResult::kEvents, false, 0}, at);
  recorder.served(descriptor(1'048'575, DescriptorKind::kPipe, 255), at + 100, at + 400);
  recorder.served(descriptor(0, DescriptorKind::kTimerfd), at + 400, at + 400);
  recorder.served(descriptor(7), at + 900, at + 300'000'900);
  recorder.served(descriptor(8), at - 5, at - 3);  // a clock that is behind
  recorder.poll_began_at(at + 400'000'000);

  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 1u);
  const std::vector<Served> served = served_in(loop, loop.recent[0]);
  ASSERT_EQ(served.size(), 4u);
  EXPECT_EQ(served[0].fd, 1'048'575);
  EXPECT_EQ(served[0].kind, DescriptorKind::kPipe);
  EXPECT_EQ(served[0].generation, 255 & kServedGenerationMask);
  EXPECT_EQ(served[0].watcher, 0u);
  EXPECT_EQ(served[0].start_ns, 100u);
  EXPECT_EQ(served[0].ns, 300u);
  EXPECT_EQ(served[1].fd, 0);
  EXPECT_EQ(served[1].kind, DescriptorKind::kTimerfd);
  EXPECT_EQ(served[1].ns, 0u);
  EXPECT_EQ(served[2].start_ns, 900u);
  EXPECT_NEAR(static_cast<double>(served[2].ns), 3e8, 3e8 * 1.5e-8);
  EXPECT_EQ(served[3].start_ns, 0u);
  EXPECT_EQ(served[3].ns, 0u);
}

TEST(Served, WhatTheRingNoLongerHoldsIsCounted) {
  // 64 turns in the ring: one chunk of 256 records.
  LoopRecorder recorder({.name = "overflow", .ring_turns = 64, .served = ServedKind::kDescriptors});
  std::uint64_t at = monotonic_ns();
  const auto turn_with = [&](std::uint32_t records) {
    recorder.poll_began_at(at);
    recorder.poll_ended_at({1, WaitResult::kEvents, false, 0}, at += 10);
    for (std::uint32_t i = 0; i < records; ++i) {
      recorder.served(descriptor(i), at, at + 1);
      ++at;
    }
  };
  turn_with(100);
  turn_with(100);
  turn_with(100);
  turn_with(5);
  recorder.poll_began_at(at + 10);
  LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 4u);
  // 305 were written, 255 can be read (the place of the oldest may be being written to).
  EXPECT_EQ(loop.recent[0].served_count, 50u);
  EXPECT_EQ(loop.recent[0].served_lost, 50u);
  const std::vector<Served> left = served_in(loop, loop.recent[0]);
  EXPECT_EQ(left.front().fd, 50) << "the last of them are there";
  EXPECT_EQ(left.back().fd, 99);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(loop.recent[i].served_lost, 0u);
  EXPECT_EQ(loop.recent[1].served_count, 100u);
  EXPECT_EQ(served_in(loop, loop.recent[3]).back().fd, 4);

  // More than the ring holds in one turn, and more than a turn can say.
  turn_with(1000);
  turn_with(70'000);
  turn_with(0);
  recorder.poll_began_at(at + 10);
  loop = loop_of(recorder);
  const std::size_t last = loop.recent.size() - 1;
  EXPECT_EQ(loop.recent[last].served_count, 0u);
  EXPECT_EQ(loop.recent[last].served_lost, 0u);
  EXPECT_EQ(loop.recent[last - 1].served_count, 255u);
  EXPECT_EQ(loop.recent[last - 1].served_lost, kFactsMostServed - 255);
  EXPECT_EQ(served_in(loop, loop.recent[last - 1]).back().fd, 69'999);
  EXPECT_EQ(loop.recent[last - 2].served_count, 0u);
  EXPECT_EQ(loop.recent[last - 2].served_lost, 1000u);
  EXPECT_EQ(loop.recent[0].served_lost, 100u);
}

TEST(Served, TheRingGrowsWithUse) {
  LoopRecorder recorder({.name = "grows", .ring_turns = 4096, .served = ServedKind::kDescriptors});
  const Header& header = *ProcessRecorder::instance().region().header();
  const std::uint64_t before = header.heap_used.load();
  std::uint64_t at = monotonic_ns();
  constexpr std::uint32_t kTurns = 4000;
  constexpr std::uint32_t kMost = kServedChunks * kServedPerChunk;
  for (std::uint32_t turn = 0; turn < kTurns; ++turn) {
    recorder.poll_began_at(at);
    recorder.poll_ended_at({1, WaitResult::kEvents, false, 0}, at += 10);
    for (std::uint32_t i = 0; i < 3; ++i, at += 2) recorder.served(descriptor(turn), at, at + 1);
  }
  recorder.poll_began_at(at);
  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), kTurns);
  std::uint64_t found = 0;
  std::uint64_t lost = 0;
  for (const Turn& turn : loop.recent) {
    EXPECT_EQ(turn.served_count + turn.served_lost, 3u);
    for (const Served& served : served_in(loop, turn)) {
      ASSERT_EQ(served.fd, static_cast<std::int32_t>(turn.turn - 1));
    }
    found += turn.served_count;
    lost += turn.served_lost;
  }
  EXPECT_EQ(found, kMost - 1);
  EXPECT_EQ(lost, 3 * kTurns - found);
  EXPECT_EQ(header.heap_used.load() - before, (kServedChunks - 1) * kServedChunkBytes);
}

TEST(Served, ATurnThatIsGivenUpLeavesNothingBehind) {
  LoopRecorder recorder({.name = "paused", .ring_turns = 64});
  const WatcherRef kept = recorder.watcher("kept", 4, WatcherKind::kIo);
  const WatcherRef lost = recorder.watcher("given up", 8, WatcherKind::kIo);
  recorder.enter();
  wait_once(recorder);
  callback(recorder, kept);
  wait_once(recorder);
  callback(recorder, lost);
  const auto frame = recorder.callback_begin(lost, true);
  recorder.pause(true);
  callback(recorder, lost);
  recorder.pause(false);
  recorder.callback_end(frame, lost);
  wait_once(recorder);
  callback(recorder, kept);
  callback(recorder, kept);
  recorder.leave();
  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 2u);
  EXPECT_THAT(names_in(loop, loop.recent[0]), ElementsAre("kept"));
  EXPECT_THAT(names_in(loop, loop.recent[1]), ElementsAre("kept", "kept"));
  EXPECT_EQ(loop.recent[1].served_lost, 0u);
}

TEST(Served, ALoopThatDoesNotKeepItSaysNothing) {
  LoopRecorder recorder({.name = "poll", .ring_turns = 64, .served = ServedKind::kNone});
  recorder.poll_begin();
  recorder.poll_end({1, WaitResult::kEvents, false, 0});
  recorder.served(descriptor(3), recorder.turn_started_ns(), recorder.turn_started_ns() + 5);
  recorder.poll_begin();
  const LoopSnapshot loop = loop_of(recorder);
  EXPECT_FALSE(loop.served);
  ASSERT_EQ(loop.recent.size(), 1u);
  EXPECT_EQ(loop.recent[0].served_first, Turn::kNoServed);
}

TEST(Served, ABlockThatChangesHandsBeginsAnew) {
  // Ended loops' blocks are given to new ones after a while; of a kind that is known, and not.
  for (int i = 0; i < 40; ++i) {
    const ServedKind kind = i % 3 == 0   ? ServedKind::kNone
                            : i % 3 == 1 ? ServedKind::kDescriptors
                                         : ServedKind::kWatchers;
    LoopRecorder recorder({.name = "again", .ring_turns = 128, .served = kind});
    const WatcherRef watcher = recorder.watcher("w", 1, WatcherKind::kIo);
    for (int turn = 0; turn < i; ++turn) {
      wait_once(recorder);
      if (kind == ServedKind::kWatchers) callback(recorder, watcher);
      recorder.served(descriptor(static_cast<std::uint32_t>(i)), recorder.turn_started_ns(),
                      recorder.turn_started_ns() + 1);
    }
    recorder.poll_begin();
    const LoopSnapshot loop = loop_of(recorder);
    ASSERT_EQ(loop.recent.size(), static_cast<std::size_t>(i));
    ASSERT_EQ(loop.served != nullptr, kind != ServedKind::kNone);
    for (const Turn& turn : loop.recent) {
      if (kind == ServedKind::kNone) continue;
      ASSERT_EQ(turn.served_count, kind == ServedKind::kWatchers ? 2u : 1u);
      if (kind == ServedKind::kDescriptors) {
        ASSERT_EQ(served_in(loop, turn)[0].fd, i);
      }
    }
  }
}

TEST(Served, AForkedChildBeginsAnewAndTheParentGoesOn) {
  LoopRecorder recorder({.name = "forks", .ring_turns = 64});
  const WatcherRef watcher = recorder.watcher("w", 1, WatcherKind::kIo);
  recorder.enter();
  wait_once(recorder);
  callback(recorder, watcher);
  const auto frame = recorder.callback_begin(watcher, true);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    recorder.callback_end(frame, watcher);  // the parent's, as is the turn
    wait_once(recorder);
    callback(recorder, watcher);
    callback(recorder, watcher);
    wait_once(recorder);
    const LoopSnapshot loop = loop_of(recorder);
    const bool right = loop.recent.size() == 1 && loop.served && loop.served->size() == 2 &&
                       loop.recent[0].served_count == 2 && loop.recent[0].served_lost == 0;
    unlink(ProcessRecorder::instance().region().path);
    _exit(right && !testing::Test::HasFailure() ? 0 : 1);
  }
  recorder.callback_end(frame, watcher);
  recorder.leave();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const LoopSnapshot loop = loop_of(recorder);
  ASSERT_EQ(loop.recent.size(), 1u);
  EXPECT_EQ(loop.recent[0].served_count, 2u);
}

}  // namespace
}  // namespace loopscope::recording
