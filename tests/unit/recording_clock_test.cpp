// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "instrumentation/recording/clock.h"

namespace loopscope::recording {
namespace {

class ClockOf : public testing::TestWithParam<ClockKind> {};

INSTANTIATE_TEST_SUITE_P(Kinds, ClockOf, testing::Values(ClockKind::kMonotonic, ClockKind::kTsc),
                         [](const auto& test) {
                           return test.param == ClockKind::kTsc ? "Tsc" : "Monotonic";
                         });

// Long enough to pass the warm-up and two renewals of the anchor.
TEST_P(ClockOf, NeverRunsBackwardsAndStaysWithTheKernel) {
  if (GetParam() == ClockKind::kTsc && choose_clock() != ClockKind::kTsc)
    GTEST_SKIP() << "no invariant TSC here";
  Clock clock(GetParam());
  const std::uint64_t start = monotonic_ns();
  std::uint64_t last = 0;
  std::uint64_t worst_ahead = 0;
  std::uint64_t worst_behind = 0;
  while (last < start + 700'000'000) {
    const std::uint64_t before = monotonic_ns();
    const std::uint64_t now = clock.now();
    const std::uint64_t after = monotonic_ns();
    ASSERT_GE(now, last);
    last = now;
    if (now > after) worst_ahead = std::max(worst_ahead, now - after);
    if (now < before) worst_behind = std::max(worst_behind, before - now);
  }
  // The calibration is good to a few ppm after 10 ms and an anchor lasts 250 ms. A machine that is
  // interrupted between the two reads of a pair gets worse than the 1 µs of the header's promise;
  // 50 µs would be a broken calibration.
  EXPECT_LT(worst_ahead, 50'000u);
  EXPECT_LT(worst_behind, 50'000u);
}

// After a suspend the TSC has gone on and CLOCK_MONOTONIC has not: the rate measured across it is
// nonsense.
TEST(Clock, ARateAcrossASuspendIsNotBelieved) {
  const std::uint64_t rate = (1ull << 32) / 3;  // a TSC of 3 GHz
  EXPECT_TRUE(same_rate(rate, rate));
  EXPECT_TRUE(same_rate(rate + rate / 2000, rate)) << "NTP may slew by 500 ppm";
  EXPECT_FALSE(same_rate(rate / 12'000, rate)) << "0.3 s of an hour";
  EXPECT_FALSE(same_rate(rate + rate / 100, rate)) << "another host";
}

TEST(Clock, EnvironmentForbidsTheTsc) {
  setenv("LOOPSCOPE_CLOCK", "monotonic", 1);
  EXPECT_EQ(choose_clock(), ClockKind::kMonotonic);
  unsetenv("LOOPSCOPE_CLOCK");
}

}  // namespace
}  // namespace loopscope::recording
