// Counters of one pool slice, and of one client: plain numbers, since only the worker that owns it writes and reads
// them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stats/recording.h"

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

// What one client has done, while it is there. Times are microseconds.
struct ClientCounters {
  int64_t transactions = 0;
  int64_t queries = 0;
  int64_t received = 0;  // bytes from it
  int64_t sent = 0;      // bytes to it
  int64_t wait_time = 0;
  int64_t query_time = 0;
  int64_t xact_time = 0;

  void add_received(size_t bytes) {
    if (kRecording) received += static_cast<int64_t>(bytes);
  }
  void add_sent(size_t bytes) {
    if (kRecording) sent += static_cast<int64_t>(bytes);
  }
  void add_wait(int64_t micros) {
    if (kRecording) wait_time += micros;
  }
  void add_query(int64_t micros) {
    if (!kRecording) return;
    queries++;
    query_time += micros;
  }
  void add_transaction(int64_t micros) {
    if (!kRecording) return;
    transactions++;
    xact_time += micros;
  }
};

}  // namespace berth::stats
