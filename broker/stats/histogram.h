// A log-linear histogram of durations in microseconds. Each power of two is cut into 16 steps of equal width, so that
// a value read back (the middle of its step) is off by at most 1/32 of itself; below 32 it is exact. Fixed size, no
// allocation, some ten instructions to record. One writer, the worker that owns it, who also reads it for SHOW;
// slices are merged there.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "stats/recording.h"

namespace berth::stats {

class Histogram {
 public:
  static constexpr unsigned kStepBits = 4;       // 16 steps for each power of two
  static constexpr unsigned kValueBits = 32;     // what is longer (71 minutes) counts as the longest that fits
  static constexpr uint64_t kErrorDivisor = 32;  // a quantile is off by at most value / kErrorDivisor
  static constexpr uint64_t kExactBelow = 2u << kStepBits;
  static constexpr uint64_t kLongest = (uint64_t{1} << kValueBits) - 1;
  static constexpr size_t kBuckets = (kValueBits - kStepBits + 1) << kStepBits;

  void record(int64_t micros) {
    if (!kRecording) return;
    const uint64_t value = static_cast<uint64_t>(std::max<int64_t>(micros, 0));
    buckets_[index_of(std::min(value, kLongest))]++;
    max_ = std::max(max_, value);
  }
  // As many values of nothing: who was served at once need not be recorded one by one.
  void add_zeros(uint64_t count) { buckets_[0] += count; }
  void add(const Histogram& other) {
    for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
    max_ = std::max(max_, other.max_);
  }

  uint64_t count() const {
    uint64_t sum = 0;
    for (const uint64_t bucket : buckets_) sum += bucket;
    return sum;
  }
  uint64_t max() const { return max_; }
  // The smallest value that at least `per_mille` of 1000 do not exceed, within the error above; 0 of nothing.
  uint64_t quantile(uint64_t per_mille) const {
    const uint64_t rank = std::max<uint64_t>((count() * per_mille + 999) / 1000, 1);
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += buckets_[i];
      if (seen >= rank) return std::min(middle_of(i), max_);
    }
    return 0;
  }

  // Steps are as wide as 2^shift, and begin at 16 of their own widths: with the first 32 values of width 1, the
  // indexes follow one another without a gap.
  static constexpr size_t index_of(uint64_t value) {
    const auto shift = static_cast<unsigned>(std::bit_width(value | (kExactBelow - 1))) - (kStepBits + 1);
    return (size_t{shift} << kStepBits) + static_cast<size_t>(value >> shift);
  }
  static constexpr uint64_t lowest_of(size_t index) {
    if (index < kExactBelow) return index;
    const size_t shift = (index >> kStepBits) - 1;
    return uint64_t{index - (shift << kStepBits)} << shift;
  }
  static constexpr uint64_t middle_of(size_t index) {
    const uint64_t low = lowest_of(index);
    return low + (lowest_of(index + 1) - low) / 2;
  }

 private:
  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t max_ = 0;
};

// The three of a pool's slice.
struct Latency {
  Histogram wait;         // of clients that had to wait for a server, until they got one
  Histogram query;        // from the first message to ReadyForQuery
  Histogram transaction;  // from the first message of a transaction to the ReadyForQuery that ends it
};

}  // namespace berth::stats
