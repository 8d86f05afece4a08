// SPDX-License-Identifier: Apache-2.0
//
// The time of a loop: nanoseconds of CLOCK_MONOTONIC, read through the TSC where that is sound.
//
// Each `Clock` belongs to one thread at a time and keeps its own anchor, a pair (TSC,
// CLOCK_MONOTONIC). It is renewed four times a second, so that neither a coarse first calibration
// nor NTP slewing (up to 500 ppm) can build up: between two anchors the error stays below 1 µs in
// the first seconds and below 100 ns later. For the first 20 ms of its life, and always where the
// TSC is not invariant, a Clock reads clock_gettime(2): a short process never pays for a
// calibration.
//
// A rate is used once a second measurement says the same: a suspend, a paused guest or another host
// (see same_rate) spoils one of them, never two alike. What such a jump of the TSC can pass for is
// an anchor's 250 ms, if the TSC lands inside them; a longer one, or one to the past, counts as no
// time at all.
//
// Cost: TSC 8–10 ns, clock_gettime 18–25 ns. `now()` never runs backwards for one Clock, whatever
// the TSC does.
#pragma once

#include <cstdint>

namespace loopscope::recording {

enum class ClockKind : std::uint32_t { kMonotonic = 0, kTsc = 1 };

/// What this machine allows: the TSC if the CPU says it is invariant and the kernel itself keeps
/// time by it (its clocksource is tsc or kvm-clock). `LOOPSCOPE_CLOCK=monotonic` forbids it.
ClockKind choose_clock() noexcept;

/// CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds.
std::uint64_t monotonic_ns() noexcept;
std::uint64_t realtime_ns() noexcept;

/// Whether two rates of one TSC (32.32 ns a tick) can both be right: 10 ms are enough to measure it
/// to some ppm, NTP slews by at most 500. They differ by more when CLOCK_MONOTONIC stood still
/// while the TSC went on (suspend, a paused guest), or when the machine moved to another host.
constexpr bool same_rate(std::uint64_t a, std::uint64_t b) noexcept {
  const std::uint64_t difference = a > b ? a - b : b - a;
  return difference < b / 512;
}

class Clock {
 public:
  explicit Clock(ClockKind kind) noexcept;

  /// Nanoseconds of CLOCK_MONOTONIC.
  std::uint64_t now() noexcept {
#if defined(__x86_64__)
    if (valid_ticks_ == 0) return renew();
    const std::uint64_t elapsed = __builtin_ia32_rdtsc() - anchor_ticks_;
    // An anchor in use is at most kRenewal old, so the product below stays under 2^64.
    if (elapsed < valid_ticks_) [[likely]] {
      const std::uint64_t ns = anchor_ns_ + ((elapsed * ns_per_tick_) >> 32);
      return last_ns_ = ns > last_ns_ ? ns : last_ns_;
    }
#endif
    return renew();
  }

  ClockKind kind() const noexcept { return kind_; }

 private:
  std::uint64_t renew() noexcept;

  std::uint64_t anchor_ticks_ = 0;
  std::uint64_t anchor_ns_ = 0;
  std::uint64_t ns_per_tick_ = 0;  // 32.32 fixed point
  std::uint64_t valid_ticks_ = 0;  // 0: no usable anchor, every call goes to renew()
  std::uint64_t reference_ = 0;    // the rate measured last; 0: none
  std::uint64_t sync_ticks_ = 0;   // the pair the next rate is measured from
  std::uint64_t sync_ns_ = 0;
  std::uint64_t last_ns_ = 0;  // what now() said last
  ClockKind kind_;
};

}  // namespace loopscope::recording
