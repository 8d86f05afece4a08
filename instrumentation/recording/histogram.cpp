// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/histogram.h"

#include <algorithm>
#include <cmath>

#include "instrumentation/recording/snapshot.h"

namespace loopscope::recording {
namespace {

/// Middle of a bucket: ns for times (1024 units = 1000 ns), events for counts.
double middle(Histogram::Scale scale, std::uint32_t index) {
  if (scale == Histogram::Scale::kCount) {
    return static_cast<double>(count_bucket_first(index) + count_bucket_last(index)) / 2;
  }
  return static_cast<double>(log_linear_begin(index) + log_linear_end(index)) / 2 * 1000.0 / 1024.0;
}

std::uint32_t index_of(Histogram::Scale scale, std::uint64_t value) {
  return scale == Histogram::Scale::kTime ? time_index(value) : count_index(value);
}

}  // namespace

double Histogram::quantile(double p) const {
  // A hostile recording may hold anything, and what is returned here is made an integer by many:
  // the largest double below 2^63.
  constexpr double kMost = 9223372036854774784.0;
  if (count == 0) return 0;
  // The smallest value such that at least p of all are no larger: rank 1 … count.
  const double wanted = std::ceil(std::clamp(p, 0.0, 1.0) * static_cast<double>(count));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::min(wanted, kMost)));
  const double largest = std::min(static_cast<double>(max), kMost);
  if (rank >= count) return largest;
  std::uint64_t seen = 0;
  for (const auto& [index, in_bucket] : buckets) {
    seen += in_bucket;
    if (seen >= rank) {
      // Not std::clamp: min may be said to be more than max.
      return std::min(std::max(middle(scale, index), static_cast<double>(min)), largest);
    }
  }
  return largest;
}

std::uint64_t Histogram::count_up_to_power(unsigned k) const {
  // 2^k µs is 1000·2^k ns, whose own bucket ends exactly there; 2^k events likewise.
  const std::uint64_t bound =
      scale == Scale::kTime ? std::uint64_t{1000} << k : std::uint64_t{1} << k;
  const std::uint32_t last = index_of(scale, bound);
  std::uint64_t total = 0;
  for (const auto& [index, in_bucket] : buckets) {
    if (index > last) break;
    total += in_bucket;
  }
  return total;
}

double Histogram::upper_bound(std::uint32_t index) const {
  return scale == Scale::kTime ? time_bucket_end_seconds(index)
                               : static_cast<double>(count_bucket_last(index));
}

void Histogram::add(std::uint64_t value) {
  const std::uint32_t index = index_of(scale, value);
  const auto at = std::lower_bound(
      buckets.begin(), buckets.end(), index,
      [](const auto& bucket, std::uint32_t wanted) { return bucket.first < wanted; });
  if (at != buckets.end() && at->first == index) {
    ++at->second;
  } else {
    buckets.insert(at, {index, 1});
  }
  min = count == 0 ? value : std::min(min, value);
  max = count == 0 ? value : std::max(max, value);
  sum += value;
  ++count;
}

}  // namespace loopscope::recording
