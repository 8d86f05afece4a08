// SPDX-License-Identifier: Apache-2.0
//
// Clocks that jump, on a machine whose clocks the test turns (fake_time.h): suspend with a TSC that
// goes on, stands still or begins anew, a guest that moved to a host with another TSC, and a
// CLOCK_REALTIME that is set. What a recording says of turns meanwhile is what CLOCK_MONOTONIC
// says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::test {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kHour = 3'600 * kSecond;
constexpr std::uint64_t kNoon = 1'772'366'400 * kSecond;

Machine g_machine{1'000 * kSecond, 300 * kSecond, kNoon};

namespace {

using recording::Clock;
using recording::ClockKind;
using recording::LoopRecorder;
using recording::LoopSnapshot;

/// Time passes, for everybody alike.
void pass(std::uint64_t ns) {
  g_machine.ticks += ns * kTicksPerNs;
  g_machine.monotonic += ns;
  g_machine.realtime += ns;
}

enum class Suspend {
  kTscGoesOn,
  kTscStandsStill,
  kTscBeginsAnew,
  kTscJumpsBack,
  kTscOfAnotherHost
};
constexpr Suspend kSuspends[] = {Suspend::kTscGoesOn, Suspend::kTscStandsStill,
                                 Suspend::kTscBeginsAnew, Suspend::kTscJumpsBack,
                                 Suspend::kTscOfAnotherHost};

/// CLOCK_MONOTONIC stands still, CLOCK_REALTIME goes on, and the TSC does something.
void suspend(Suspend how, std::uint64_t ns) {
  g_machine.realtime += ns;
  switch (how) {
    case Suspend::kTscGoesOn:
      g_machine.ticks += ns * kTicksPerNs;
      break;
    case Suspend::kTscStandsStill:
      break;
    case Suspend::kTscBeginsAnew:
      g_machine.ticks = 5'000'000;
      break;
    case Suspend::kTscJumpsBack:
      g_machine.ticks -= 100 * kMillisecond * kTicksPerNs;
      break;
    case Suspend::kTscOfAnotherHost:
      g_machine.ticks += 77 * kHour * kTicksPerNs;
      break;
  }
}

/// A clock past its warm-up, whose anchor is in use.
Clock warm_clock() {
  Clock clock(ClockKind::kTsc);
  for (int i = 0; i < 50; ++i) {
    pass(5 * kMillisecond);
    (void)clock.now();
  }
  return clock;
}

std::uint64_t seed() {
  const char* wish = std::getenv("SEED");
  const std::uint64_t value =
      wish != nullptr ? std::strtoull(wish, nullptr, 10) : std::random_device{}();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(value));
  return value;
}

bool slow() { return std::getenv("SLOW") != nullptr; }

/// What the clock is ahead of CLOCK_MONOTONIC, ns; behind: negative.
std::int64_t error_of(Clock& clock) {
  return static_cast<std::int64_t>(clock.now() - g_machine.monotonic);
}

TEST(ClockJumps, WithoutAnyTheClockIsTheKernels) {
  Clock clock(ClockKind::kTsc);
  for (int i = 0; i < 10'000; ++i) {
    pass(kMillisecond);
    // A rate of 32 bits over 250 ms: some nanoseconds.
    ASSERT_LE(std::abs(error_of(clock)), 100) << "after " << i << " ms";
  }
}

TEST(ClockJumps, ASuspendTakesNoTimeAndWhatFollowsTakesItsOwn) {
  for (const Suspend how : kSuspends) {
    for (const std::uint64_t asleep : {kSecond, kHour, 24 * 30 * kHour}) {
      SCOPED_TRACE("suspend " + std::to_string(static_cast<int>(how)) + " for " +
                   std::to_string(asleep / kSecond) + " s");
      Clock clock = warm_clock();
      const std::uint64_t before = clock.now();
      suspend(how, asleep);
      EXPECT_LE(clock.now() - before, 100u) << "the suspend itself";
      // A TSC that is back to where it was some time ago makes the clock stand still until the
      // anchor ends; else it is right at once.
      const std::int64_t allowed =
          how == Suspend::kTscJumpsBack ? static_cast<std::int64_t>(101 * kMillisecond) : 1'000;
      for (int ms = 1; ms <= 2'000; ++ms) {
        pass(kMillisecond);
        ASSERT_LE(std::abs(error_of(clock)), allowed) << ms << " ms after it";
      }
      EXPECT_LE(std::abs(error_of(clock)), 1'000) << "in the end";
    }
  }
}

// The first rate is measured from the clock's birth to whenever it is asked again: a loop that is
// made, waits for an hour and sleeps through the night.
TEST(ClockJumps, ASuspendBeforeTheFirstRateIsKnownIsNotBelieved) {
  for (const Suspend how : kSuspends) {
    for (const std::uint64_t waited : {15 * kMillisecond, 5 * kSecond, kHour}) {
      SCOPED_TRACE("suspend " + std::to_string(static_cast<int>(how)) + ", first asked after " +
                   std::to_string(waited / kMillisecond) + " ms");
      Clock clock(ClockKind::kTsc);
      pass(waited / 2);
      suspend(how, 8 * kHour);
      pass(waited / 2);
      for (int i = 0; i < 3'000; ++i) {
        ASSERT_LE(std::abs(error_of(clock)), 1'000) << i << " ms later";
        pass(kMillisecond);
      }
    }
  }
}

TEST(ClockJumps, NeverRunsBackwardsNorAwayWhateverHappens) {
  std::mt19937_64 random(seed());
  const int clocks = slow() ? 3'000 : 100;
  int suspends = 0;
  for (int i = 0; i < clocks; ++i) {
    Clock clock(ClockKind::kTsc);
    std::uint64_t last = clock.now();
    std::uint64_t suspended = g_machine.monotonic;
    for (int step = 0; step < 2'000; ++step) {
      // Mostly turns; now and then a long wait.
      pass(random() % 50 == 0 ? random() % (10 * kSecond) : random() % (2 * kMillisecond));
      if (step % 1'000 < 400 && random() % 50 == 0) {
        suspend(kSuspends[random() % 5],
                random() % 3 == 0 ? random() % (300 * kMillisecond) : random() % (10 * kHour));
        ++suspends;
        suspended = g_machine.monotonic;
      }
      const std::uint64_t now = clock.now();
      ASSERT_GE(now, last);
      last = now;
      // A suspend that the TSC hides inside one anchor may be worth that anchor; such ones add up
      // only while they follow each other that fast. Or the clock seems to have stood still, in a
      // wait of at most 10 s, until the anchor ends.
      const auto error = static_cast<std::int64_t>(now - g_machine.monotonic);
      ASSERT_LE(error, static_cast<std::int64_t>(2 * kSecond));
      ASSERT_GE(error, -static_cast<std::int64_t>(11 * kSecond));
      // A suspend shorter than 1/512 of the wait it fell into is not noticed: 0.5 ms in an anchor.
      if (g_machine.monotonic - suspended > 20 * kSecond) {
        ASSERT_LE(std::abs(error), 600'000);
      }
    }
  }
  std::printf("%d clocks, %d suspends\n", clocks, suspends);
}

/// Whatever the machine that the test runs on has.
void record_by_the_tsc() {
  (void)recording::ProcessRecorder::instance({.clock = ClockKind::kTsc, .clock_known = true});
}

LoopSnapshot loop_named(const std::string& name) {
  auto reader = recording::read_own_process();
  if (!reader) throw std::runtime_error(reader.error().message);
  auto taken = reader->read({.recent = 4096});
  if (!taken) throw std::runtime_error(taken.error().message);
  for (LoopSnapshot& loop : taken->loops) {
    if (loop.name == name) return std::move(loop);
  }
  throw std::runtime_error("no loop " + name);
}

// The machine sleeps wherever a loop can be: in a wait, in a callback, between them. Nothing of it
// is a long turn, a stall, a late timer or a delayed wait.
TEST(Suspend, IsNoStallNoLagAndNoDelay) {
  record_by_the_tsc();
  for (const Suspend how : kSuspends) {
    if (how == Suspend::kTscJumpsBack) continue;  // the clock stands still: too short, never long
    const std::string name = "sleeper " + std::to_string(static_cast<int>(how));
    SCOPED_TRACE(name);
    LoopRecorder recorder({.name = name.c_str(), .backend = "epoll"});
    const recording::WatcherRef timer = recorder.watcher("beat", 4, recording::WatcherKind::kTimer);
    recorder.enter();
    std::uint64_t waited = 0, busy = 0;
    for (int turn = 0; turn < 400; ++turn) {
      const int asleep = turn % 40 == 20 ? turn / 40 % 4 : -1;
      recorder.poll_begin();
      const std::uint64_t due = g_machine.monotonic + 10 * kMillisecond;
      pass(4 * kMillisecond);
      if (asleep == 0) suspend(how, 9 * kHour);
      pass(6 * kMillisecond);
      recorder.poll_end({0, recording::WaitResult::kTimeout, false, 10 * kMillisecond});
      if (asleep == 1) suspend(how, 9 * kHour);
      const auto frame = recorder.callback_begin(timer, true);
      recorder.timer_lag(timer, due, frame.start_ns);
      pass(kMillisecond / 2);
      if (asleep == 2) suspend(how, 9 * kHour);
      pass(kMillisecond / 2);
      recorder.callback_end(frame, timer);
      if (asleep == 3) suspend(how, 9 * kHour);
      waited += 10 * kMillisecond;
      busy += kMillisecond;
      const LoopSnapshot now = loop_named(name);
      ASSERT_LT(now.phase_ns, 2 * kMillisecond);
      ASSERT_EQ(now.stalled_ns, 0u);
    }
    recorder.leave();
    const LoopSnapshot loop = loop_named(name);
    EXPECT_EQ(loop.iterations, 400u);
    EXPECT_EQ(loop.stalls, 0u);
    EXPECT_LT(loop.busy.max, 2 * kMillisecond);
    EXPECT_LT(loop.poll_wait.max, 11 * kMillisecond);
    EXPECT_LT(loop.poll_delay.max, kMillisecond);
    EXPECT_LT(loop.timer_lag.max, kMillisecond);
    EXPECT_NEAR(static_cast<double>(loop.busy.sum), static_cast<double>(busy), 1e-3 * kSecond);
    EXPECT_NEAR(static_cast<double>(loop.poll_wait.sum), static_cast<double>(waited),
                1e-3 * kSecond);
    for (const recording::Turn& turn : loop.recent) ASSERT_LT(turn.busy_ns, 2 * kMillisecond);
  }
  std::printf(
      "reliability: suspend: 80 suspends of a loop in its wait, its callback and between, the TSC "
      "going on, standing still, beginning anew or another host's: no stall, no lag, no delay\n");
}

// Set back or ahead by a day between every two looks: ages, durations and counters stay, only
// instants move.
TEST(RealtimeJumps, MoveInstantsAndNothingElse) {
  record_by_the_tsc();
  LoopRecorder recorder({.name = "set back", .backend = "epoll"});
  recorder.enter();
  std::uint64_t turns = 0;
  for (const std::int64_t jump : {-86'400ll, 86'400ll, -86'400ll * 400, 86'400ll * 800, -1ll}) {
    for (int i = 0; i < 50; ++i, ++turns) {
      recorder.poll_begin();
      pass(3 * kMillisecond);
      recorder.poll_end({1, recording::WaitResult::kEvents, false, -1});
      pass(kMillisecond);
    }
    g_machine.realtime += static_cast<std::uint64_t>(jump) * kSecond;
    const LoopSnapshot loop = loop_named("set back");
    EXPECT_EQ(loop.iterations, turns);
    EXPECT_EQ(loop.busy.count, turns - 1);
    EXPECT_LT(loop.busy.max, 2 * kMillisecond);
    EXPECT_NEAR(static_cast<double>(loop.phase_ns), 1.0 * kMillisecond, 1'000);
    // Instants are those of the clock as it is now: the newest turn began a moment ago.
    ASSERT_FALSE(loop.recent.empty());
    EXPECT_LT(g_machine.realtime - loop.recent.back().at_ns, kSecond);
    EXPECT_LT(g_machine.realtime - loop.started_ns, 10 * kSecond);
  }
}

}  // namespace
}  // namespace loopscope::test
