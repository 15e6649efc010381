// Who is at the door: how many connections have not proved who they are (newcomers), in all and from each address,
// and how many clients each address has. Pure: it knows addresses and limits, no sockets and no time. One for the
// process, shared by its workers; touched when a connection comes, when it logs in, and when it goes.
//
// The exact counts of an address are kept while it has any, so that their memory is bounded by the number of open
// connections.
#pragma once

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
  // A connection has come. kIn: leave() must follow, once.
  Answer enter(const AddressKey& who);
  // It has proved who it is, or it is gone.
  void leave(const AddressKey& who);
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
  void take(const AddressKey& who, int64_t Counts::*what);

  pool::Gate newcomers_;
  // Relaxed: a worker that reads the old limit for a moment admits by the old limit.
  std::atomic<int64_t> newcomers_per_address_{0}, clients_per_address_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace berth::session
