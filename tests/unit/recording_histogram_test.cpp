// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "instrumentation/recording/histogram.h"
#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::recording {
namespace {

TEST(LogLinear, IndexRisesByOneAtEveryBoundary) {
  std::uint32_t index = 0;
  for (std::uint64_t unit = 0; unit < (1u << 20); ++unit) {
    const std::uint32_t here = log_linear_index(unit);
    ASSERT_TRUE(here == index || here == index + 1) << "unit " << unit;
    index = here;
    ASSERT_GE(unit, log_linear_begin(here)) << "unit " << unit;
    ASSERT_LT(unit, log_linear_end(here)) << "unit " << unit;
  }
}

TEST(TimeHistogram, EveryTimeHasABucket) {
  EXPECT_EQ(time_index(0), 0u);
  EXPECT_EQ(time_index(~0ull), kTimeBuckets - 1);
  EXPECT_LT(time_index(1'000'000'000'000ull), kTimeBuckets - 1)
      << "1000 s still have a bucket of their own";
  EXPECT_NE(time_index(1), time_index(2));
}

TEST(TimeHistogram, OfAHostileRecordingStaysBelowWhatAnIntegerHolds) {
  Histogram histogram;
  histogram.count = ~0ull;
  histogram.min = ~0ull;  // and more than max
  histogram.max = 1000;
  histogram.buckets = {{0, ~0ull}};
  for (const double p : {0.0, 0.5, 0.99, 1.0}) EXPECT_LE(histogram.quantile(p), 1000) << p;
  histogram.max = ~0ull;
  for (const double p : {0.0, 0.5, 0.99, 1.0}) EXPECT_LT(histogram.quantile(p), 9.2234e18) << p;
}

TEST(TimeHistogram, MiddleOfABucketIsWithinThreePercent) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 200'000; ++i) {
    const auto ns =
        static_cast<std::uint64_t>(std::exp(std::uniform_real_distribution<>(3.5, 27.6)(random)));
    Histogram histogram;
    histogram.add(ns);
    const std::uint32_t index = time_index(ns);
    const double middle =
        (time_bucket_begin_seconds(index) + time_bucket_end_seconds(index)) / 2 * 1e9;
    ASSERT_NEAR(middle / static_cast<double>(ns), 1, 0.03) << ns << " ns";
  }
}

// Prometheus counts a value equal to a bound as below it.
TEST(TimeHistogram, PowersOfTwoMicrosecondsAreInclusiveBounds) {
  for (unsigned k = 0; k <= 24; ++k) {
    const std::uint64_t bound = 1000ull << k;
    Histogram histogram;
    histogram.add(bound - 1);
    histogram.add(bound);
    histogram.add(bound + 5);  // 1/1024 µs is 0.98 ns; the constant's rounding is below 4 ns
    EXPECT_EQ(histogram.count_up_to_power(k), 2u) << "2^" << k << " us";
  }
}

TEST(CountHistogram, PowersOfTwoAreInclusiveBounds) {
  for (unsigned k = 0; k <= 16; ++k) {
    Histogram histogram;
    histogram.scale = Histogram::Scale::kCount;
    histogram.add(0);
    histogram.add((1ull << k) - 1);
    histogram.add(1ull << k);
    histogram.add((1ull << k) + 1);
    EXPECT_EQ(histogram.count_up_to_power(k), 3u) << "2^" << k;
  }
}

TEST(CountHistogram, EveryCountLiesInItsBucket) {
  for (std::uint64_t count = 0; count <= kMaxCount; ++count) {
    const std::uint32_t index = count_index(count);
    ASSERT_LT(index, kCountBuckets);
    ASSERT_GE(count, count_bucket_first(index)) << count;
    ASSERT_LE(count, count_bucket_last(index)) << count;
  }
  EXPECT_EQ(count_index(~0ull), kCountBuckets - 1);
}

// What a turn's record keeps in 32 bits.
TEST(PackedDuration, IsExactToWhereItSays) {
  for (const std::uint64_t ns : {0ull, 1ull, 999ull, 134'217'727ull}) {
    EXPECT_EQ(unpack_duration(pack_duration(ns)), ns);
  }
  std::mt19937_64 random(3);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t ns = random() >> (8 + random() % 50);
    const std::uint64_t kept = unpack_duration(pack_duration(ns));
    ASSERT_LE(kept, ns);
    ASSERT_LE(ns - kept, ns >> 26) << ns;
  }
  EXPECT_GT(unpack_duration(pack_duration(~0ull)), 1ull << 55) << "the longest, not a wrapped one";
}

TEST(PackedTimeout, KeepsMillisecondsAndWhatIsNoTime) {
  for (const std::int64_t ns : {std::int64_t{0}, std::int64_t{1'500}, std::int64_t{8'591'000'000},
                                std::int64_t{59'743'000'000}, kTimeoutInfinite, kTimeoutUnknown}) {
    EXPECT_EQ(unpack_timeout(pack_timeout(ns)), ns);
  }
  EXPECT_NEAR(static_cast<double>(unpack_timeout(pack_timeout(12'345'678'901))), 12'345'678'901.,
              128.);
}

TEST(Quantile, OfAnEmptyHistogramIsZero) { EXPECT_EQ(Histogram{}.quantile(0.99), 0); }

TEST(Quantile, IsTheValueAtItsRank) {
  Histogram histogram;
  for (std::uint64_t i = 1; i <= 1000; ++i) histogram.add(i * 1000);
  EXPECT_NEAR(histogram.quantile(0.5), 500'000, 500'000 * 0.016);
  EXPECT_NEAR(histogram.quantile(0.99), 990'000, 990'000 * 0.016);
  EXPECT_EQ(histogram.quantile(1), 1'000'000) << "the maximum is exact";
  EXPECT_EQ(histogram.quantile(0), 1'000) << "never below the minimum";
}

TEST(Quantile, OfOneValueIsThatValue) {
  Histogram histogram;
  histogram.add(123'456);
  for (const double p : {0.0, 0.5, 0.99, 0.999, 1.0}) EXPECT_EQ(histogram.quantile(p), 123'456);
}

}  // namespace
}  // namespace loopscope::recording
