// SPDX-License-Identifier: Apache-2.0
//
// CLOCK_REALTIME is set while a loop with periodic timers runs. The machine's clock stays as it is:
// clock_gettime(2) of this program, libev's calls too, adds what the test says.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>

#include "tests/unit/loop_test_support.h"

namespace {
long g_ahead_seconds = 0;
}  // namespace

extern "C" int clock_gettime(clockid_t id, timespec* to) noexcept {
  const long result = syscall(SYS_clock_gettime, id, to);
  if (result == 0 && id == CLOCK_REALTIME) to->tv_sec += g_ahead_seconds;
  return static_cast<int>(result);
}

namespace loopscope {
namespace {

using namespace std::chrono_literals;
using test::recorded;

constexpr std::uint64_t kMinute = 60'000'000'000;

TEST(RealtimeJumps, MakeNoPeriodicTimerHoursLate) {
  Loop loop("set clock");
  int calls = 0, jumps = 0;
  Periodic periodic(loop, "tick", 0s, 20ms, [&] { ++calls; });
  Timer beat(loop, "beat", 30ms, 30ms, [&] {
    // Ahead by up to half a day, and back: libev finds out in its next turn.
    constexpr long kAhead[] = {3'600, 0, 43'200, -7'200, 0, 86'400, -86'400, 0};
    if (jumps == 8) return loop.stop();
    g_ahead_seconds = kAhead[jumps++];
  });
  loop.run();
  EXPECT_GE(calls, 3);
  const recording::LoopSnapshot record = recorded("set clock");
  EXPECT_LT(record.timer_lag.max, kMinute);
  EXPECT_LT(record.busy.max, kMinute);
  EXPECT_LT(record.poll_wait.max, kMinute);
  EXPECT_EQ(record.iterations, record.poll_wait.count);
  if (HasFailure()) return;
  std::printf(
      "reliability: realtime-jumps: CLOCK_REALTIME set ahead and back %d times, by an hour to a "
      "day, in a loop with periodic timers: no lag, no turn and no wait of a minute\n",
      jumps);
}

// libev has computed when it is due next before it calls: by the clock as it was.
TEST(RealtimeJumps, InItsOwnCallbackMakeNoPeriodicTimerLate) {
  g_ahead_seconds = 0;
  Loop loop("sets clock");
  int calls = 0;
  Periodic periodic(loop, "tick", 0s, 20ms, [&] {
    constexpr long kAhead[] = {43'200, 0, 86'400, -86'400, 3'600, 0};
    if (calls == 6) return loop.stop();
    g_ahead_seconds = kAhead[calls++];
  });
  // libev looks for jumps when a wait ends.
  Timer beat(loop, "beat", 7ms, 7ms, [] {});
  loop.run();
  EXPECT_EQ(calls, 6);
  EXPECT_LT(recorded("sets clock").timer_lag.max, kMinute);
  g_ahead_seconds = 0;
}

// The twin: a periodic that really is late says so.
TEST(RealtimeJumps, ALatePeriodicTimerIsStillLate) {
  g_ahead_seconds = 0;
  Loop loop("late");
  Periodic periodic(loop, "tick", 0s, 50ms, [] {});
  int beats = 0;
  Timer beat(loop, "beat", 60ms, 60ms, [&] {
    usleep(170'000);
    if (++beats == 2) loop.stop();
  });
  loop.run();
  const auto tick = test::watcher(recorded("late"), "tick");
  ASSERT_GE(tick.lag->count, 1u);
  EXPECT_GE(tick.lag->max, 50'000'000u);
}

}  // namespace
}  // namespace loopscope
