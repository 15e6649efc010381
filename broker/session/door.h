// Who is at the door: how many connections have not proved who they are (newcomers), in all and from each address,
// and how many clients each address has. Pure: it knows addresses and limits, no sockets and no time. One for the
// process, shared by its workers; touched when a connection comes, when it logs in, and when it goes.
//
// The exact counts of an address are kept while it has any, so that their memory is bounded by the number of open
// connections.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "pool/shared.h"
#include "session/address_key.h"

namespace berth::session {

class Door {
 public:
  // 0: without limit. Written by every worker at a reload, all the same values.
  void set_limits(int64_t newcomers, int64_t newcomers_per_address, int64_t clients_per_address);

  enum class Answer { kIn, kFull, kAddressFull };
  // A connection has come to `worker`. kIn: leave() must follow, once. With `owing` the limits are a little higher:
  // for a worker that has nobody to make room, and asks another one.
  Answer enter(const AddressKey& who, int worker = 0, bool owing = false);
  // It has proved who it is, or it is gone.
  void leave(const AddressKey& who, int worker = 0);
  // How far `owing` goes beyond a limit.
  static int64_t extra_of(int64_t limit) { return std::min(kExtraMax, limit / 8 + 1); }
  static constexpr int64_t kExtraMax = 64;
  // Which worker has most newcomers, if those are more than twice as many as this one has; else this one.
  int fullest(int worker) const;
  // A client has logged in. True: discharge() must follow, once. False: the address has as many as it may have.
  bool admit(const AddressKey& who);
  void discharge(const AddressKey& who);

  // ---- for SHOW and tests
  int64_t newcomers() const { return newcomers_.used.load(std::memory_order_relaxed); }
  struct Counts {
    int64_t newcomers = 0, clients = 0;
    bool operator==(const Counts&) const = default;
  };
  Counts of(const AddressKey& who);
  Counts most();       // of any one address: each number for itself
  size_t addresses();  // that have any

 private:
  struct Hash {
    size_t operator()(const AddressKey& key) const { return hash_of(key); }
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<AddressKey, Counts, Hash> counts;
  };
  static constexpr size_t kShards = 64;
  Shard& shard_of(const AddressKey& who) { return shards_[hash_of(who) % kShards]; }
  bool enter_address(const AddressKey& who, bool owing);
  void take(const AddressKey& who, int64_t Counts::*what);

  pool::Gate newcomers_;
  // Each is written by its worker, and read by those who look for room; relaxed, since an old number does.
  std::array<std::atomic<int64_t>, pool::kWorkersMax> of_worker_{};
  // Relaxed: a worker that reads the old limit for a moment admits by the old limit.
  std::atomic<int64_t> newcomers_per_address_{0}, clients_per_address_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace berth::session
