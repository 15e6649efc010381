// When a full queue is looked through for those who wait in it no more: not with each newcomer, since a queue that is
// full of others would be walked again and again just when there is most to do. Pure: time is an argument.
#pragma once

#include "base/time.h"

namespace berth {

inline constexpr Micros kSweepEvery = 100 * kMillisecond;

class Sweep {
 public:
  bool due(Micros now) {
    if (swept_at_ >= 0 && now - swept_at_ < kSweepEvery) return false;
    swept_at_ = now;
    return true;
  }

 private:
  Micros swept_at_ = -1;  // never
};

}  // namespace berth
