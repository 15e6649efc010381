// When a turn may give the processor away before it waits (sched_yield), and when it had better not.
//
// On a machine that PostgreSQL or the clients share, peers that our sends have made runnable run first then, and
// their answers are handled in one turn instead of each in one of its own: fewer sleeps and wake-ups for all. Nobody
// else being runnable, it costs a fraction of a microsecond. But where somebody computes without a rest, the
// scheduler lets him finish his slice of several milliseconds, while a thread that sleeps would be let in at its
// first event. So yields are timed, and when long ones are more than rare, they stop for a while, which grows up to a
// minute.
//
// Pure: the engine passes the times. One for each engine, used by its thread.
#pragma once

#include <algorithm>

#include "base/time.h"

namespace berth::net {

class Courtesy {
 public:
  static constexpr Micros kLong = 500;             // a yield that takes longer did not pay
  static constexpr int kLongCost = 64;             // one long one is forgotten after so many short ones
  static constexpr int kPatience = 2 * kLongCost;  // so two within 64 end it
  static constexpr Micros kPauseFirst = kSecond;
  static constexpr Micros kPauseMost = 64 * kSecond;
  static constexpr int kForgiven = 4096;  // yields in a row without a pause: the next pause is a short one again

  bool allowed(Micros now) const { return now >= resume_at_; }

  // A yield has ended at `now` and took so long.
  void took(Micros duration, Micros now) {
    if (duration <= kLong) {
      score_ = std::max(score_ - 1, 0);
      if (++good_ >= kForgiven) pause_ = kPauseFirst;
      return;
    }
    score_ += kLongCost;
    if (score_ < kPatience) return;
    resume_at_ = now + pause_;
    pause_ = std::min(pause_ * 2, kPauseMost);
    score_ = 0;
    good_ = 0;
  }

 private:
  Micros resume_at_ = 0;
  Micros pause_ = kPauseFirst;
  int score_ = 0;
  int good_ = 0;
};

}  // namespace berth::net
