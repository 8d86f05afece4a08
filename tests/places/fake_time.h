// SPDX-License-Identifier: Apache-2.0
//
// A machine whose clocks a test turns. Included before everything else (-include) in all that is
// linked into the test, so that recording/ reads these clocks: the TSC and clock_gettime(2).
#pragma once

#include <time.h>

#include <cstdint>

namespace loopscope::test {

/// Nanoseconds, but for `ticks`.
struct Machine {
  std::uint64_t ticks;
  std::uint64_t monotonic;
  std::uint64_t realtime;
};
extern Machine g_machine;

inline constexpr std::uint64_t kTicksPerNs = 3;  // a TSC of 3 GHz

}  // namespace loopscope::test

inline unsigned long long loopscope_fake_ticks() noexcept {
  return loopscope::test::g_machine.ticks;
}
inline int loopscope_fake_clock(clockid_t id, timespec* to) noexcept {
  const auto& machine = loopscope::test::g_machine;
  const std::uint64_t ns = id == CLOCK_REALTIME ? machine.realtime : machine.monotonic;
  to->tv_sec = static_cast<time_t>(ns / 1'000'000'000);
  to->tv_nsec = static_cast<long>(ns % 1'000'000'000);
  return 0;
}

#define __builtin_ia32_rdtsc loopscope_fake_ticks  // NOLINT: what recording/clock.h reads
#define clock_gettime loopscope_fake_clock
