// How many lines a flood may write: so many at once, then one a second; the rest is counted. Pure: time is an
// argument.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace berth {

class LogBudget {
 public:
  static constexpr int64_t kLinesAtOnce = 50;
  static constexpr Micros kLineEvery = kSecond;

  // May a line be written now? If not, it is one of those left out.
  bool take(Micros now) {
    full_at_ = std::max(full_at_, now);
    if (full_at_ - now > (kLinesAtOnce - 1) * kLineEvery) {
      ++left_out_;
      return false;
    }
    full_at_ += kLineEvery;
    return true;
  }
  // How many have been left out since this was asked last.
  uint64_t take_left_out() {
    const uint64_t count = left_out_;
    left_out_ = 0;
    return count;
  }

 private:
  Micros full_at_ = 0;  // when all lines may be written at once again
  uint64_t left_out_ = 0;
};

}  // namespace berth
