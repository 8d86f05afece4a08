// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

WaitOutcome events(std::int32_t ready, std::int64_t timeout_ns = kTimeoutInfinite) {
  return {ready, WaitResult::kEvents, false, timeout_ns};
}
WaitOutcome timed_out(std::int64_t timeout_ns) {
  return {0, WaitResult::kTimeout, false, timeout_ns};
}

void turn(LoopRecorder& recorder, const WaitOutcome& outcome) {
  recorder.poll_begin();
  recorder.poll_end(outcome);
}

RecordingSnapshot snapshot(const ReadOptions& options = {}) {
  auto reader = read_own_process();
  EXPECT_TRUE(reader) << (reader ? "" : reader.error().message);
  auto taken = reader->read(options);
  EXPECT_TRUE(taken) << (taken ? "" : taken.error().message);
  return *std::move(taken);
}

const LoopSnapshot& find(const RecordingSnapshot& from, const std::string& name) {
  for (const LoopSnapshot& loop : from.loops) {
    if (loop.name == name && !loop.ended) return loop;
  }
  ADD_FAILURE() << "no loop " << name;
  static const LoopSnapshot none;
  return none;
}

const WatcherSnapshot& find(const LoopSnapshot& loop, const std::string& name) {
  for (const WatcherSnapshot& watcher : loop.watchers) {
    if (watcher.name == name) return watcher;
  }
  ADD_FAILURE() << "no watcher " << name;
  static const WatcherSnapshot none;
  return none;
}

/// A turn that began at `at` and was busy for `busy`, and the wait after it.
void busy_turn(LoopRecorder& recorder, std::uint64_t at, std::uint64_t busy, int ready = 1) {
  recorder.poll_began_at(at - 10);
  recorder.poll_ended_at(events(ready), at);
  recorder.poll_began_at(at + busy);
  recorder.poll_ended_at(timed_out(1), at + busy + 1);
}

TEST(Recorder, RemembersTheLongestTurnForEver) {
  LoopRecorder recorder({.name = "worst", .backend = "epoll", .ring_turns = 64});
  recorder.enter();
  const std::uint64_t start = monotonic_ns();
  EXPECT_FALSE(find(snapshot(), "worst").worst_turn);
  std::uint64_t at = start + 1'000;
  // Beyond the stall threshold, and below it; long gone from the ring.
  for (const std::uint64_t busy : {5'000u, 300'000'000u, 120'000'000u, 200u}) {
    busy_turn(recorder, at, busy, busy == 300'000'000u ? 7 : 1);
    at += busy + 1'000;
  }
  for (int i = 0; i < 200; ++i, at += 1'000) busy_turn(recorder, at, 100);
  const LoopSnapshot loop = find(snapshot(), "worst");
  ASSERT_TRUE(loop.worst_turn);
  EXPECT_EQ(loop.worst_turn->turn, 3u);  // each has a short one after it
  EXPECT_EQ(loop.worst_turn->busy_ns, 300'000'000u);
  EXPECT_EQ(loop.worst_turn->ready, 7);
  EXPECT_EQ(loop.worst_turn->watcher, 0u);
  EXPECT_EQ(loop.worst_turn->served_fd, -1);
  EXPECT_EQ(loop.stalls, 2u);
  EXPECT_FALSE(loop.worst_lag);
}

TEST(Recorder, TheLongestTurnNamesItsWatcherAndItsDescriptor) {
  LoopRecorder recorder({.name = "blamed", .backend = "epoll"});
  recorder.enter();
  const WatcherRef slow = recorder.watcher("slow", 4, WatcherKind::kIo);
  recorder.poll_begin();
  recorder.poll_end(events(1));
  EXPECT_FALSE(recorder.worst_is_new());
  const auto frame = recorder.callback_begin(slow, true);
  while (monotonic_ns() < recorder.turn_started_ns() + 2'000'000) {
  }
  recorder.callback_end(frame, slow);
  recorder.poll_begin();
  ASSERT_TRUE(recorder.worst_is_new());
  recorder.worst_served(12, 3, 1'500'000, 0);
  EXPECT_FALSE(recorder.worst_is_new());
  recorder.poll_end(events(1));
  recorder.poll_begin();  // a short one: nothing changes
  EXPECT_FALSE(recorder.worst_is_new());
  recorder.poll_end(events(1));
  const LoopSnapshot loop = find(snapshot(), "blamed");
  ASSERT_TRUE(loop.worst_turn);
  EXPECT_EQ(loop.worst_turn->turn, 1u);
  ASSERT_NE(loop.worst_turn->watcher, 0u);
  EXPECT_EQ(loop.watchers[loop.worst_turn->watcher - 1].name, "slow");
  EXPECT_GE(loop.worst_turn->watcher_ns, 1'900'000u);
  EXPECT_GE(loop.worst_turn->busy_ns, loop.worst_turn->watcher_ns);
  EXPECT_EQ(loop.worst_turn->served_fd, 12);
  EXPECT_EQ(loop.worst_turn->served_ns, 1'500'000u);
}

TEST(Recorder, RemembersTheLatestTimer) {
  LoopRecorder recorder({.name = "late", .backend = "epoll"});
  recorder.enter();
  const WatcherRef timer = recorder.watcher("tick", 4, WatcherKind::kTimer);
  const std::uint64_t due = monotonic_ns();
  recorder.timer_lag(timer, due, due);  // in time
  EXPECT_FALSE(find(snapshot(), "late").worst_lag);
  recorder.timer_lag(0, due, due + 3'000);
  recorder.timer_lag(timer, due, due + 9'000);
  recorder.timer_lag(0, due, due + 4'000);
  const LoopSnapshot loop = find(snapshot(), "late");
  ASSERT_TRUE(loop.worst_lag);
  EXPECT_EQ(loop.worst_lag->lag_ns, 9'000u);
  ASSERT_NE(loop.worst_lag->watcher, 0u);
  EXPECT_EQ(loop.watchers[loop.worst_lag->watcher - 1].name, "tick");
}

TEST(Recorder, ABlockThatIsGivenToAnotherLoopForgetsTheWorst) {
  for (int i = 0; i < 20; ++i) {  // more than ended loops are kept
    LoopRecorder recorder({.name = "again", .backend = "epoll", .ring_turns = 64});
    recorder.enter();
    EXPECT_FALSE(find(snapshot(), "again").worst_turn) << i;
    busy_turn(recorder, monotonic_ns(), 1'000);
    recorder.timer_lag(0, 1'000, 2'000);
    EXPECT_EQ(find(snapshot(), "again").worst_turn->busy_ns, 1'000u);
  }
}

TEST(Recorder, CountsEachWaitByHowItEnded) {
  LoopRecorder recorder({.name = "counts", .backend = "epoll"});
  recorder.enter();
  for (int i = 0; i < 5; ++i) turn(recorder, events(3));
  turn(recorder, timed_out(1));
  turn(recorder, timed_out(0));
  turn(recorder, {0, WaitResult::kInterrupted, false, kTimeoutInfinite});
  turn(recorder, {0, WaitResult::kError, false, kTimeoutInfinite});
  turn(recorder, {64, WaitResult::kEvents, true, kTimeoutInfinite});
  turn(recorder, WaitOutcome{});
  recorder.leave();

  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "counts");
  EXPECT_EQ(loop.backend, "epoll");
  EXPECT_EQ(loop.iterations, 11u);
  EXPECT_EQ(loop.ready_events, 5u * 3 + 64);
  EXPECT_EQ(loop.timeouts, 2u);
  EXPECT_EQ(loop.interrupted, 1u);
  EXPECT_EQ(loop.errors, 1u);
  EXPECT_EQ(loop.saturated, 1u);
  EXPECT_EQ(loop.nonblocking, 1u);
  EXPECT_EQ(loop.spins, 1u);
  EXPECT_EQ(loop.ready_unknown, 1u);
  EXPECT_EQ(loop.poll_wait.count, 11u);
  EXPECT_EQ(loop.busy.count, 11u) << "the last turn ends with leave()";
  EXPECT_EQ(loop.ready.count, 10u);
  EXPECT_EQ(loop.poll_delay.count, 1u) << "only waits with a timeout that ran out";
  EXPECT_EQ(loop.phase, Phase::kOutside);
  EXPECT_EQ(loop.skew_turns, 0u);
  EXPECT_EQ(loop.thread_id, gettid());
}

// A wait that has returned is counted at once, not when its busy part ends: after a kill the counts
// equal the kernel's.
TEST(Recorder, CountsTheTurnInProgress) {
  LoopRecorder recorder({.name = "progress"});
  recorder.enter();
  turn(recorder, events(1));
  turn(recorder, events(7));
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "progress");
  EXPECT_EQ(loop.iterations, 2u);
  EXPECT_EQ(loop.ready_events, 8u);
  EXPECT_EQ(loop.poll_wait.count, 2u);
  EXPECT_EQ(loop.busy.count, 1u);
  EXPECT_EQ(loop.phase, Phase::kDispatching);
  EXPECT_EQ(loop.current_ready, 7);
  recorder.leave();
}

TEST(Recorder, PollDelayIsWhatTheWaitTookBeyondItsTimeout) {
  LoopRecorder recorder({.name = "delay"});
  recorder.enter();
  recorder.poll_begin();
  usleep(3000);
  recorder.poll_end(timed_out(1'000'000));
  recorder.leave();
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "delay");
  ASSERT_EQ(loop.poll_delay.count, 1u);
  EXPECT_GE(loop.poll_delay.min, 2'000'000u);
  EXPECT_EQ(loop.poll_delay.sum, loop.poll_wait.sum - 1'000'000);
}

TEST(Recorder, ABusyPartOverTheThresholdIsAStall) {
  LoopRecorder recorder({.name = "stall", .stall_threshold_ns = 2'000'000});
  recorder.enter();
  turn(recorder, events(1));
  turn(recorder, events(1));
  usleep(4000);
  {
    const auto taken = snapshot();
    const LoopSnapshot& loop = find(taken, "stall");
    EXPECT_EQ(loop.stalls, 1u) << "seen while it lasts";
    EXPECT_GE(loop.stalled_ns, 4'000'000u);
  }
  turn(recorder, events(1));
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "stall");
  EXPECT_EQ(loop.stalls, 1u) << "and counted once";
  EXPECT_EQ(loop.stalled_ns, 0u);
  recorder.leave();
}

TEST(Recorder, TimeOutsideTheLoopBelongsToNoTurn) {
  LoopRecorder recorder({.name = "outside", .stall_threshold_ns = 2'000'000});
  for (int i = 0; i < 3; ++i) {
    recorder.enter();
    turn(recorder, events(1));
    recorder.leave();
    usleep(4000);
  }
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "outside");
  EXPECT_EQ(loop.stalls, 0u);
  EXPECT_EQ(loop.busy.count, 3u);
  EXPECT_LT(loop.busy.sum, 4'000'000u);
  EXPECT_GE(loop.outside_ns, 8'000'000u);
}

TEST(Recorder, WhereLeavingCannotBeSeenAPauseIsNotBusy) {
  LoopRecorder recorder({.name = "maybe", .stall_threshold_ns = 2'000'000});
  for (int i = 0; i < 3; ++i) {
    turn(recorder, events(1));
    recorder.maybe_leaving();
    usleep(4000);
    // What ev_run begins with, before it waits.
    recorder.maybe_entering();
    recorder.maybe_leaving();
  }
  turn(recorder, events(1));
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "maybe");
  EXPECT_EQ(loop.stalls, 0u);
  EXPECT_LT(loop.busy.sum, 4'000'000u);
}

TEST(Recorder, CallbackTimesAreTheirOwn) {
  LoopRecorder recorder({.name = "nested"});
  const WatcherRef outer = recorder.watcher("outer", 5, WatcherKind::kIo);
  const WatcherRef inner = recorder.watcher("inner", 5, WatcherKind::kTimer);
  ASSERT_NE(outer, 0u);
  ASSERT_NE(inner, 0u);
  recorder.enter();
  turn(recorder, events(1));
  const auto outer_frame = recorder.callback_begin(outer, true);
  usleep(2000);
  // A nested run inside the callback: its wait and its callbacks are not the outer one's time.
  recorder.poll_begin();
  usleep(5000);
  recorder.poll_end(events(1));
  const auto inner_frame = recorder.callback_begin(inner, true);
  usleep(5000);
  recorder.callback_end(inner_frame, inner);
  recorder.callback_end(outer_frame, outer);
  recorder.leave();

  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "nested");
  const Histogram& outer_time = find(loop, "outer").callback;
  const Histogram& inner_time = find(loop, "inner").callback;
  EXPECT_GE(outer_time.sum, 2'000'000u);
  EXPECT_GE(inner_time.sum, 5'000'000u);
  EXPECT_LE(outer_time.sum + inner_time.sum, loop.busy.sum)
      << "no time is counted twice, and waiting is nobody's";
}

TEST(Recorder, ATurnNamesItsLongestCallback) {
  LoopRecorder recorder({.name = "longest"});
  const WatcherRef quick = recorder.watcher("quick", 5, WatcherKind::kIo);
  const WatcherRef slow = recorder.watcher("slow", 4, WatcherKind::kIo);
  recorder.enter();
  turn(recorder, events(3));
  for (const WatcherRef watcher : {quick, slow, quick}) {
    const auto frame = recorder.callback_begin(watcher, true);
    if (watcher == slow) usleep(3000);
    recorder.callback_end(frame, watcher);
  }
  turn(recorder, events(1));
  recorder.leave();
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "longest");
  ASSERT_EQ(loop.recent.size(), 2u);
  ASSERT_NE(loop.recent[0].watcher, 0u);
  EXPECT_EQ(loop.watchers[loop.recent[0].watcher - 1].name, "slow");
  EXPECT_GE(loop.recent[0].watcher_ns, 3'000'000u);
  EXPECT_EQ(loop.recent[1].watcher, 0u) << "a turn without named callbacks names none";
}

TEST(Recorder, TimerLagIsRecordedForLoopAndWatcher) {
  LoopRecorder recorder({.name = "lag"});
  const WatcherRef timer = recorder.watcher("beat", 4, WatcherKind::kTimer);
  recorder.timer_lag(timer, 1'000'000, 3'500'000);
  recorder.timer_lag(timer, 5'000'000, 4'999'999);
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "lag");
  EXPECT_EQ(loop.timer_lag.count, 2u);
  EXPECT_EQ(loop.timer_lag.max, 2'500'000u);
  EXPECT_EQ(loop.timer_lag.min, 0u) << "early is not late";
  ASSERT_TRUE(find(loop, "beat").lag);
  EXPECT_EQ(find(loop, "beat").lag->sum, 2'500'000u);
}

TEST(Recorder, WatchersOfOneNameAndKindAreOne) {
  LoopRecorder recorder({.name = "names"});
  const WatcherRef io = recorder.watcher("client", 6, WatcherKind::kIo);
  EXPECT_EQ(recorder.watcher("client", 6, WatcherKind::kIo), io);
  EXPECT_NE(recorder.watcher("client", 6, WatcherKind::kTimer), io);
  recorder.watcher_active(io, 1, 7);
  recorder.watcher_active(io, 1, 9);
  const auto taken = snapshot();
  EXPECT_EQ(find(find(taken, "names"), "client").active, 2);
}

TEST(Recorder, LongNamesAreCutBetweenCharacters) {
  LoopRecorder recorder({.name = "long names"});
  std::string name;
  for (int i = 0; i < 40; ++i) name += "\u00e9";  // two bytes each
  recorder.watcher(name.data(), name.size(), WatcherKind::kIo);
  const auto taken = snapshot();
  const std::string kept = find(taken, "long names").watchers.at(0).name;
  EXPECT_EQ(kept, name.substr(0, 62));
}

TEST(Recorder, TooManyWatchersAreDroppedAndCounted) {
  const std::uint64_t before = snapshot().dropped[static_cast<std::size_t>(DropKind::kWatchers)];
  LoopRecorder recorder({.name = "crowd"});
  for (unsigned i = 0; i < kMaxWatchers; ++i) {
    const std::string name = "w" + std::to_string(i);
    ASSERT_NE(recorder.watcher(name.data(), name.size(), WatcherKind::kIo), 0u) << i;
  }
  const WatcherRef none = recorder.watcher("one more", 8, WatcherKind::kIo);
  EXPECT_EQ(none, 0u);
  recorder.enter();
  turn(recorder, events(1));
  recorder.callback_end(recorder.callback_begin(none, true), none);  // harmless
  recorder.leave();
  const auto taken = snapshot();
  EXPECT_EQ(find(taken, "crowd").watchers.size(), kMaxWatchers);
  EXPECT_EQ(taken.dropped[static_cast<std::size_t>(DropKind::kWatchers)], before + 1);
}

TEST(Recorder, PausedTurnsAreNotRecorded) {
  LoopRecorder recorder({.name = "paused"});
  recorder.enter();
  turn(recorder, events(1));
  recorder.pause(true);
  for (int i = 0; i < 10; ++i) turn(recorder, events(1));
  recorder.pause(false);
  turn(recorder, events(1));
  turn(recorder, events(1));
  recorder.leave();
  const auto taken = snapshot();
  const LoopSnapshot& loop = find(taken, "paused");
  EXPECT_EQ(loop.iterations, 2u)
      << "the turn in which recording was switched off is not counted either";
  EXPECT_EQ(loop.ready_events, 2u);
}

TEST(Recorder, PausedInsideACallbackForgetsIt) {
  LoopRecorder recorder({.name = "paused inside"});
  const WatcherRef toggle = recorder.watcher("toggle", 6, WatcherKind::kIo);
  recorder.enter();
  turn(recorder, events(1));
  const auto frame = recorder.callback_begin(toggle, true);
  recorder.pause(true);
  recorder.callback_end(frame, toggle);
  recorder.pause(false);
  turn(recorder, events(1));
  const auto taken = snapshot();
  EXPECT_EQ(find(taken, "paused inside").running_watcher, 0u);
  for (const Turn& each : find(taken, "paused inside").recent) EXPECT_EQ(each.watcher, 0u);
  EXPECT_EQ(find(find(taken, "paused inside"), "toggle").callback.count, 0u);
  recorder.leave();
}

TEST(Recorder, KeepsTheNewestTurnsAndSaysHowManyAreLost) {
  LoopRecorder recorder({.name = "ring", .ring_turns = 64});
  TurnCursors cursors;
  recorder.enter();
  for (int i = 1; i <= 10; ++i) turn(recorder, events(i));
  recorder.leave();
  auto taken = snapshot({.recent = 4096, .cursors = &cursors});
  {
    const LoopSnapshot& loop = find(taken, "ring");
    EXPECT_EQ(loop.recent.size(), 10u);
    EXPECT_EQ(loop.recent_lost, 0u);
    for (std::size_t i = 0; i < loop.recent.size(); ++i)
      EXPECT_EQ(loop.recent[i].ready, static_cast<int>(i + 1));
  }
  recorder.enter();
  for (int i = 0; i < 300; ++i) turn(recorder, events(i));
  recorder.leave();
  taken = snapshot({.recent = 4096, .cursors = &cursors});
  const LoopSnapshot& loop = find(taken, "ring");
  EXPECT_LE(loop.recent.size(), 64u);
  EXPECT_EQ(loop.recent.size() + loop.recent_lost, 300u) << "a gap is never silent";
  EXPECT_EQ(loop.recent.back().ready, 299);
  taken = snapshot({.recent = 4096, .cursors = &cursors});
  EXPECT_TRUE(find(taken, "ring").recent.empty());
  EXPECT_EQ(find(taken, "ring").recent_lost, 0u);
}

TEST(Recorder, FollowerSeesEveryTurnOrIsToldOfTheGap) {
  LoopRecorder recorder({.name = "follow", .ring_turns = 64});
  auto reader = read_own_process();
  ASSERT_TRUE(reader);
  std::uint64_t cursor = 0;
  std::uint64_t lost = 0;
  Turn seen;
  EXPECT_EQ(reader->next(recorder.id(), cursor, seen, lost), Follow::kEnd);
  recorder.enter();
  for (int i = 1; i <= 5; ++i) turn(recorder, events(i));
  recorder.leave();
  for (int i = 1; i <= 5; ++i) {
    ASSERT_EQ(reader->next(recorder.id(), cursor, seen, lost), Follow::kTurn);
    EXPECT_EQ(seen.turn, static_cast<std::uint64_t>(i));
    EXPECT_EQ(seen.ready, i);
  }
  EXPECT_EQ(reader->next(recorder.id(), cursor, seen, lost), Follow::kEnd);
  recorder.enter();
  for (int i = 0; i < 200; ++i) turn(recorder, events(i));
  recorder.leave();
  ASSERT_EQ(reader->next(recorder.id(), cursor, seen, lost), Follow::kOverrun);
  std::uint64_t total = lost;
  while (reader->next(recorder.id(), cursor, seen, lost) == Follow::kTurn) ++total;
  EXPECT_EQ(total, 200u);
}

TEST(Recorder, HistogramsAreExactAfterEveryTurn) {
  // Short turns wait in the ring to be counted, long ones are counted at once: a reader sees
  // neither.
  LoopRecorder recorder({.name = "fold", .ring_turns = 64});
  recorder.enter();
  std::uint64_t now = monotonic_ns();
  std::uint64_t waited = 0, worked = 0;
  for (std::uint64_t turns = 1; turns <= 150; ++turns) {
    const std::uint64_t poll = turns % 41 == 0 ? 3'000'000'007 : 1000 + turns;
    const std::uint64_t busy = turns % 47 == 0 ? 200'000'003 : 50 + turns;
    recorder.poll_began_at(now);
    recorder.poll_ended_at(events(static_cast<int>(turns)), now += poll);
    recorder.poll_began_at(now += busy);  // ends the turn
    waited += poll;
    worked += busy;
    const auto taken = snapshot();
    const LoopSnapshot& loop = find(taken, "fold");
    ASSERT_EQ(loop.iterations, turns);
    ASSERT_EQ(loop.poll_wait.count, turns);
    ASSERT_EQ(loop.poll_wait.sum, waited);
    ASSERT_EQ(loop.busy.count, turns);
    ASSERT_EQ(loop.busy.sum, worked);
    ASSERT_EQ(loop.ready.count, turns);
    ASSERT_EQ(loop.ready.sum, turns * (turns + 1) / 2);
    ASSERT_EQ(loop.poll_wait.max, turns >= 41 ? 3'000'000'007 : 1000 + turns);
  }
  recorder.leave();
}

TEST(Recorder, LoopsThatCameAndWentAreKeptForAWhileThenReused) {
  std::uint64_t used = 0;
  for (int i = 0; i < 2000; ++i) {
    LoopRecorder recorder({.name = "short-lived", .ring_turns = 64});
    ASSERT_TRUE(recorder.active()) << i;
    recorder.watcher("timer", 5, WatcherKind::kTimer);
    recorder.enter();
    turn(recorder, events(1));
    recorder.leave();
    const std::uint64_t now = ProcessRecorder::instance().region().header()->heap_used.load();
    if (i == 50) used = now;
    if (i > 50) {
      ASSERT_EQ(now, used) << "memory does not grow with the number of loops that ever were";
    }
  }
  const auto taken = snapshot();
  EXPECT_GE(std::count_if(
                taken.loops.begin(), taken.loops.end(),
                [](const LoopSnapshot& loop) { return loop.ended && loop.name == "short-lived"; }),
            4);
}

TEST(Recorder, ManyThreadsManyLoops) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([t] {
      const std::string name = "thread-" + std::to_string(t);
      LoopRecorder recorder({.name = name.c_str(), .ring_turns = 64});
      recorder.enter();
      for (int i = 0; i < 1000 * (t + 1); ++i) turn(recorder, events(1));
      recorder.leave();
      const auto taken = snapshot();
      EXPECT_EQ(find(taken, name).iterations, 1000u * static_cast<unsigned>(t + 1));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Recorder, RegisteredDescriptors) {
  LoopRecorder recorder({.name = "epoll"});
  recorder.set_epoll_fd(50);
  ProcessRecorder& process = ProcessRecorder::instance();
  process.register_fd(60, 50, 1);
  process.register_fd(5000, 50, 1);
  process.register_fd(61, 50, 1);
  process.unregister_fd(61, 50);
  process.unregister_fd(60, 51);  // taken out of another set
  const auto taken = snapshot();
  EXPECT_THAT(taken.registered, testing::Contains(std::pair(60, 50)));
  EXPECT_THAT(taken.registered, testing::Contains(std::pair(5000, 50)));
  EXPECT_THAT(taken.registered, testing::Not(testing::Contains(std::pair(61, 50))));
  process.unregister_fd(60, 50);
  process.unregister_fd(5000, 50);
}

// What a forked child does: counted in the child's own recording, none of it in the parent's.
TEST(Recorder, AForkedChildRecordsAsItself) {
  LoopRecorder recorder({.name = "forking", .backend = "epoll"});
  const WatcherRef timer = recorder.watcher("beat", 4, WatcherKind::kTimer);
  recorder.watcher_active(timer, 1, -1);
  recorder.enter();
  turn(recorder, events(1));
  const auto frame = recorder.callback_begin(timer, true);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // Exit codes say what went wrong: a child has no gtest to report to.
    recorder.callback_end(frame, timer);
    for (int i = 0; i < 7; ++i) turn(recorder, events(2));
    const auto frame2 = recorder.callback_begin(timer, true);
    recorder.callback_end(frame2, timer);
    recorder.poll_begin();
    auto reader = read_own_process();
    if (!reader) _exit(2);
    const auto taken = reader->read();
    if (!taken) _exit(3);
    if (taken->pid != getpid() || taken->parent_pid != getppid()) _exit(4);
    if (taken->loops.size() != 1 || taken->loops[0].name != "forking") _exit(5);
    if (taken->loops[0].iterations != 7 || taken->loops[0].ready_events != 14) _exit(6);
    if (taken->loops[0].watchers.size() != 1 || taken->loops[0].watchers[0].callback.count != 1)
      _exit(7);
    if (taken->loops[0].watchers[0].active != 1) _exit(8);
    if (taken->path.empty() || unlink(taken->path.c_str()) != 0) _exit(9);
    _exit(0);
  }
  recorder.callback_end(frame, timer);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  recorder.leave();
  const auto taken = snapshot();
  EXPECT_EQ(find(taken, "forking").iterations, 1u);
  EXPECT_EQ(find(find(taken, "forking"), "beat").callback.count, 1u);
}

TEST(Recorder, LeavesNoDescriptorOpen) {
  ProcessRecorder::instance();
  for (int fd = 0; fd < 64; ++fd) {
    char path[64];
    char target[256];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(path, target, sizeof target);
    const std::string open_file(target, size > 0 ? static_cast<std::size_t>(size) : 0);
    EXPECT_EQ(open_file.find(".loopscope"), std::string::npos);
  }
}

}  // namespace
}  // namespace loopscope::recording
