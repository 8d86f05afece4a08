// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "instrumentation/recording/histogram.h"
#include "instrumentation/recording/own_calls.h"

#if defined(__x86_64__)
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
#include <sys/platform/x86.h>
#else
#include <cpuid.h>
#endif
#endif

namespace loopscope::recording {
namespace {

constexpr std::uint64_t kWarmUp = 10'000'000;  // ns: 25 ns of read-out error over 10 ms is 2.5 ppm
constexpr std::uint64_t kRenewal = 250'000'000;  // ns: 2.5 ppm over it is 0.6 µs

std::uint64_t read_clock(clockid_t id) noexcept {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

#if defined(__x86_64__)
/// Intel SDM vol. 3, 18.17.1: "Invariant TSC". The dynamic linker has asked the CPU already: in a
/// virtual machine CPUID leaves the guest, which takes 2 to 20 µs each time.
bool tsc_is_invariant() noexcept {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  return CPU_FEATURE_PRESENT(INVARIANT_TSC);
#else
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(0x80000007u, &a, &b, &c, &d) == 0) return false;
  return (d & (1u << 8)) != 0;
#endif
}

bool kernel_trusts_tsc() noexcept {
  const int fd = open_to_ask("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  if (fd < 0) return false;
  char text[32] = {};
  const ssize_t size = own_call(OwnCall::kRead, [&] { return read(fd, text, sizeof text - 1); });
  close_own(fd);
  if (size <= 0) return false;
  return strncmp(text, "tsc", 3) == 0 || strncmp(text, "kvm-clock", 9) == 0;
}

/// A matching pair. The clock is read between two TSC reads and the tightest of three tries is
/// kept, so that an interrupt between the reads does not become a calibration error.
void read_pair(std::uint64_t& ticks, std::uint64_t& ns) noexcept {
  std::uint64_t best = ~0ull;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const std::uint64_t before = __builtin_ia32_rdtsc();
    const std::uint64_t time = read_clock(CLOCK_MONOTONIC);
    const std::uint64_t after = __builtin_ia32_rdtsc();
    if (after - before < best) {
      best = after - before;
      ticks = before + (after - before) / 2;
      ns = time;
    }
  }
}
#endif

}  // namespace

std::uint64_t monotonic_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }
std::uint64_t realtime_ns() noexcept { return read_clock(CLOCK_REALTIME); }

ClockKind choose_clock() noexcept {
  const char* wish = getenv("LOOPSCOPE_CLOCK");
  if (wish != nullptr && strcmp(wish, "monotonic") == 0) return ClockKind::kMonotonic;
#if defined(__x86_64__)
  if (tsc_is_invariant() && kernel_trusts_tsc()) return ClockKind::kTsc;
#endif
  return ClockKind::kMonotonic;
}

Clock::Clock(ClockKind kind) noexcept : kind_(kind) {
#if defined(__x86_64__)
  if (kind_ == ClockKind::kTsc) read_pair(sync_ticks_, sync_ns_);
#else
  kind_ = ClockKind::kMonotonic;
#endif
}

std::uint64_t Clock::renew() noexcept {
#if defined(__x86_64__)
  if (kind_ == ClockKind::kTsc) {
    std::uint64_t ns = read_clock(CLOCK_MONOTONIC);
    if (ns - sync_ns_ < kWarmUp) return last_ns_ = ns > last_ns_ ? ns : last_ns_;

    std::uint64_t ticks = 0;
    read_pair(ticks, ns);
    const std::uint64_t span_ticks = ticks - sync_ticks_;
    const std::uint64_t span_ns = ns - sync_ns_;
    auto rate = static_cast<std::uint64_t>((static_cast<Wide>(span_ns) << 32) / (span_ticks | 1));
    sync_ticks_ = ticks;
    sync_ns_ = ns;
    const bool confirmed = same_rate(rate, reference_);
    reference_ = rate;
    if (!confirmed) {
      // The first measurement, or the two clocks parted: what an anchor says is worthless until the
      // next one agrees.
      valid_ticks_ = 0;
      return last_ns_ = ns > last_ns_ ? ns : last_ns_;
    }
    anchor_ticks_ = ticks;
    anchor_ns_ = ns;
    if (last_ns_ > ns) {
      // Ahead of the real time: go on from there, a little slower, so that both meet at the next
      // renewal. The bound keeps time moving if the gap is large (a TSC that jumped ahead, but not
      // beyond its anchor).
      const std::uint64_t ahead = last_ns_ - ns;
      const std::uint64_t slowdown =
          static_cast<std::uint64_t>((static_cast<Wide>(rate) * ahead) / kRenewal);
      rate -= slowdown < rate / 2 ? slowdown : rate / 2;
      anchor_ns_ = last_ns_;
    }
    ns_per_tick_ = rate;
    valid_ticks_ = static_cast<std::uint64_t>((static_cast<Wide>(kRenewal) << 32) / (rate | 1));
    return last_ns_ = anchor_ns_;
  }
#endif
  const std::uint64_t ns = read_clock(CLOCK_MONOTONIC);
  return last_ns_ = ns > last_ns_ ? ns : last_ns_;
}

}  // namespace loopscope::recording
