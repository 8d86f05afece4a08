// SPDX-License-Identifier: Apache-2.0
//
// Log-linear histograms: 32 equal buckets to every power of two, so a value and the middle of its
// bucket differ by at most 1.6 %. One piece of arithmetic for the writer (which bucket?) and the
// reader (what does a bucket stand for?).
//
// Times are recorded in nanoseconds but bucketed in units of 1/1024 µs. That puts bucket boundaries
// exactly on every 2^k µs, which are the bounds Prometheus is told: no recorded value is ever
// counted on the wrong side of a bound. (For values beyond 2^24 µs = 16 s, the last bound, the
// fixed-point constant is off by up to 4 ns.)
//
//   unit       0 … 63            one bucket each
//   unit      64 … 127           buckets of 2
//   unit     128 … 255           buckets of 4          and so on: bucket = 32·shift + (unit >>
//   shift)
#pragma once

#include <bit>
#include <cstdint>

namespace loopscope::recording {

inline constexpr unsigned kSubBucketBits = 5;
inline constexpr std::uint64_t kSubBuckets = 1u << kSubBucketBits;

/// The bucket of `unit`, for units below 2^(kSubBucketBits + 1 + largest shift).
constexpr std::uint32_t log_linear_index(std::uint64_t unit) noexcept {
  const auto exponent = static_cast<unsigned>(std::bit_width(unit | kSubBuckets)) - 1;
  const unsigned shift = exponent - kSubBucketBits;
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(shift) << kSubBucketBits) +
                                    (unit >> shift));
}

/// First unit above bucket `index`.
constexpr std::uint64_t log_linear_end(std::uint32_t index) noexcept {
  if (index < 2 * kSubBuckets) return index + 1ull;
  const unsigned shift = (index >> kSubBucketBits) - 1;
  return ((index & (kSubBuckets - 1)) + kSubBuckets + 1) << shift;
}

/// First unit in bucket `index`.
constexpr std::uint64_t log_linear_begin(std::uint32_t index) noexcept {
  return index == 0 ? 0 : log_linear_end(index - 1);
}

// --- times
// -----------------------------------------------------------------------------------------------------------

/// 64×64-bit products; __extension__ keeps -Wpedantic quiet about a type GCC and Clang have had
/// since 2011.
__extension__ typedef unsigned __int128 Wide;

inline constexpr std::uint64_t kMaxTimeUnit =
    (1ull << 40) - 1;  // 1073 s; longer times count in the last bucket
inline constexpr std::uint32_t kTimeBuckets = log_linear_index(kMaxTimeUnit) + 1;
static_assert(kTimeBuckets == 1152);

/// 1.024 in 32.32 fixed point, rounded down: 1000·2^k ns then lands just below unit 1024·2^k, which
/// makes the boundary inclusive from below, as Prometheus' `le` is.
inline constexpr std::uint64_t kUnitsPerNanosecond = 4398046511ull;

/// Nanoseconds to bucket; anything from 0 to 2^64-1.
constexpr std::uint32_t time_index(std::uint64_t ns) noexcept {
  // Below 2 s the product fits in 64 bits, which saves a nanosecond in every turn.
  if (ns < (1ull << 31)) [[likely]]
    return log_linear_index((ns * kUnitsPerNanosecond) >> 32);
  constexpr std::uint64_t kLongest = 1'073'741'823'000ull;
  const auto unit = static_cast<std::uint64_t>(
      (static_cast<Wide>(ns < kLongest ? ns : kLongest) * kUnitsPerNanosecond) >> 32);
  return log_linear_index(unit < kMaxTimeUnit ? unit : kMaxTimeUnit);
}

/// Upper bound of a time bucket, in seconds.
constexpr double time_bucket_end_seconds(std::uint32_t index) noexcept {
  return static_cast<double>(log_linear_end(index)) / 1024.0 * 1e-6;
}
constexpr double time_bucket_begin_seconds(std::uint32_t index) noexcept {
  return static_cast<double>(log_linear_begin(index)) / 1024.0 * 1e-6;
}

// --- counts
// ----------------------------------------------------------------------------------------------------------

inline constexpr std::uint64_t kMaxCount = 1ull << 20;  // larger counts count in the last bucket

/// Zero has a bucket of its own; every other bucket includes its upper bound (2^k falls at or below
/// bound 2^k).
constexpr std::uint32_t count_index(std::uint64_t count) noexcept {
  if (count == 0) return 0;
  return log_linear_index((count < kMaxCount ? count : kMaxCount) - 1) + 1;
}
inline constexpr std::uint32_t kCountBuckets = count_index(kMaxCount) + 1;

/// Largest count in bucket `index`.
constexpr std::uint64_t count_bucket_last(std::uint32_t index) noexcept {
  return index == 0 ? 0 : log_linear_end(index - 1);
}
constexpr std::uint64_t count_bucket_first(std::uint32_t index) noexcept {
  return index == 0 ? 0 : log_linear_begin(index - 1) + 1;
}

}  // namespace loopscope::recording
