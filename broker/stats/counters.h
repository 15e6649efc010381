// Counters of one pool slice: plain numbers, since only the worker that owns the slice writes and reads them.
#pragma once

#include <cstdint>

namespace berth::stats {

struct Counters {
#define COUNTER(name, meaning) int64_t name = 0;
#include "stats/counters.def"
#undef COUNTER

  void add(const Counters& other) {
#define COUNTER(name, meaning) name += other.name;
#include "stats/counters.def"
#undef COUNTER
  }
};

}  // namespace berth::stats
