// Goal: a quantile is the one of the sorted values, within the error that the histogram states; slices add up; a
// table of errors counts every one, if not by its name. Method: every bucket's borders, and dice against sorted
// values.
#include "stats/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "unit/seeds.h"

namespace berth::stats {
namespace {

constexpr uint64_t kPerMilles[] = {1, 250, 500, 900, 950, 990, 999, 1000};

uint64_t distance(uint64_t a, uint64_t b) {
  return a > b ? a - b : b - a;
}

// The definition: the smallest value that so many of 1000 do not exceed.
uint64_t quantile_of(std::vector<int64_t> values, uint64_t per_mille) {
  std::sort(values.begin(), values.end());
  const size_t rank = std::max<size_t>((values.size() * per_mille + 999) / 1000, 1);
  return static_cast<uint64_t>(values[rank - 1]);
}

void expect_quantiles(const Histogram& histogram, const std::vector<int64_t>& values) {
  ASSERT_EQ(histogram.count(), values.size());
  EXPECT_EQ(histogram.max(), static_cast<uint64_t>(*std::max_element(values.begin(), values.end())));
  for (const uint64_t per_mille : kPerMilles) {
    const uint64_t right = quantile_of(values, per_mille);
    const uint64_t read = histogram.quantile(per_mille);
    EXPECT_LE(distance(read, right), right / Histogram::kErrorDivisor) << per_mille << ": " << read << " " << right;
    if (right < Histogram::kExactBelow) {
      EXPECT_EQ(read, right);
    }
  }
}

TEST(HistogramTest, BucketsFollowOneAnotherWithoutAGap) {
  for (size_t i = 0; i + 1 < Histogram::kBuckets; ++i) {
    const uint64_t low = Histogram::lowest_of(i), next = Histogram::lowest_of(i + 1);
    ASSERT_LT(low, next);
    ASSERT_EQ(Histogram::index_of(low), i);
    ASSERT_EQ(Histogram::index_of(next - 1), i);
    ASSERT_EQ(Histogram::index_of(Histogram::middle_of(i)), i);
    // The law of the error, for both ends of the bucket.
    ASSERT_LE(Histogram::middle_of(i) - low, low / Histogram::kErrorDivisor);
    ASSERT_LE(next - 1 - Histogram::middle_of(i), low / Histogram::kErrorDivisor);
  }
  EXPECT_EQ(Histogram::lowest_of(0), 0u);
  EXPECT_EQ(Histogram::index_of(Histogram::kLongest), Histogram::kBuckets - 1);
}

TEST(HistogramTest, NothingHasNoQuantiles) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.quantile(500), 0u);
  EXPECT_EQ(histogram.max(), 0u);
}

TEST(HistogramTest, OneValueIsAllQuantiles) {
  Histogram histogram;
  histogram.record(1000);
  for (const uint64_t per_mille : kPerMilles) EXPECT_LE(distance(histogram.quantile(per_mille), 1000), 1000u / 32);
  EXPECT_EQ(histogram.max(), 1000u);
}

TEST(HistogramTest, OutOfRangeIsCountedAtTheEnds) {
  Histogram histogram;
  histogram.record(-5);  // a clock that goes back
  EXPECT_EQ(histogram.quantile(1000), 0u);
  histogram.record(INT64_MAX);
  EXPECT_EQ(histogram.count(), 2u);
  EXPECT_EQ(histogram.max(), static_cast<uint64_t>(INT64_MAX));
  EXPECT_GE(histogram.quantile(1000), Histogram::kLongest - Histogram::kLongest / Histogram::kErrorDivisor);
}

TEST(HistogramTest, LikeSortedValues) {
  SEEDED(dice);
  for (int run = 0; run < 50; ++run) {
    Histogram histogram;
    std::vector<int64_t> values;
    const uint64_t bits = 1 + dice.below(Histogram::kValueBits);  // each order of magnitude alike
    for (uint64_t i = 0, size = 1 + dice.below(3000); i < size; ++i) {
      values.push_back(static_cast<int64_t>(dice.below(uint64_t{1} << (1 + dice.below(bits)))));
      histogram.record(values.back());
    }
    expect_quantiles(histogram, values);
  }
}

TEST(HistogramTest, SlicesAddUpAndZerosAreValues) {
  SEEDED(dice);
  Histogram one, other;
  std::vector<int64_t> values;
  for (int i = 0; i < 2000; ++i) {
    values.push_back(static_cast<int64_t>(dice.below(1'000'000)));
    (i % 3 ? one : other).record(values.back());
  }
  one.add(other);
  expect_quantiles(one, values);
  one.add_zeros(1000);
  values.insert(values.end(), 1000, 0);
  expect_quantiles(one, values);
}

}  // namespace
}  // namespace berth::stats
