// The last clients that a server was linked to: who held this backend, and when? A ring that is part of its server.
// Linking happens once per transaction, so it copies what stands in the client already, and a client that comes back
// without another in between goes on with its entry.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"
#include "net/address.h"
#include "pool/params.h"
#include "stats/recording.h"

namespace berth::session {

inline constexpr size_t kOwnersKept = 16;

struct Owner {
  uint64_t client = 0;     // its serial; 0: nobody yet
  Micros linked_at = 0;    // for the first time, if it came back
  Micros released_at = 0;  // for the last time; 0: it is linked now
  int64_t transactions = 0;
  int64_t queries = 0;
  pool::Params params;  // for its application_name, which outlives the client here
  net::ShortAddress peer;
};

class Owners {
 public:
  void link(uint64_t client, const net::ShortAddress& peer, const pool::Params& params, Micros now) {
    if (!stats::kRecording) return;
    Owner* owner = &ring_[at_];
    if (owner->client != client) {
      at_ = (at_ + 1) % kOwnersKept;
      owner = &ring_[at_];
      owner->client = client;
      owner->linked_at = now;
      owner->transactions = owner->queries = 0;
      owner->peer = peer;
    }
    // Where all have the same settings, nothing is written: their count of holds is shared by all workers.
    if (!(owner->params == params)) owner->params = params;
    owner->released_at = 0;
  }
  void release(Micros now) {
    if (stats::kRecording) ring_[at_].released_at = now;
  }
  // The one that is linked has had a query answered, and finished a transaction.
  void count_query() {
    if (stats::kRecording) ring_[at_].queries++;
  }
  void count_transaction() {
    if (stats::kRecording) ring_[at_].transactions++;
  }
  const Owner& latest() const { return ring_[at_]; }

  // From the oldest to the latest.
  template <typename F>
  void each(F&& f) const {
    for (size_t i = 1; i <= kOwnersKept; ++i) {
      const Owner& owner = ring_[(at_ + i) % kOwnersKept];
      if (owner.client != 0) f(owner);
    }
  }

 private:
  std::array<Owner, kOwnersKept> ring_;
  size_t at_ = 0;  // of the latest
};

}  // namespace berth::session
