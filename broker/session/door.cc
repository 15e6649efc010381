#include "session/door.h"

#include <algorithm>

#include "base/assert.h"
#include "base/fault.h"

namespace berth::session {

void Door::set_limits(int64_t newcomers, int64_t newcomers_per_address, int64_t clients_per_address) {
  newcomers_.limit.store(newcomers, std::memory_order_relaxed);
  newcomers_per_address_.store(newcomers_per_address, std::memory_order_relaxed);
  clients_per_address_.store(clients_per_address, std::memory_order_relaxed);
}

Door::Answer Door::enter(const AddressKey& who) {
  if (!newcomers_.try_acquire()) return Answer::kFull;
  if (!who.counts()) return Answer::kIn;
  const int64_t most = newcomers_per_address_.load(std::memory_order_relaxed);
  Shard& shard = shard_of(who);
  {
    const std::lock_guard<std::mutex> guard(shard.mutex);
    Counts& counts = shard.counts[who];
    if (most <= 0 || counts.newcomers < most) {
      ++counts.newcomers;
      return Answer::kIn;
    }
  }
  newcomers_.release();
  return Answer::kAddressFull;
}

void Door::take(const AddressKey& who, int64_t Counts::*what) {
  Shard& shard = shard_of(who);
  const std::lock_guard<std::mutex> guard(shard.mutex);
  const auto at = shard.counts.find(who);
  ASSERT(at != shard.counts.end() && at->second.*what > 0);
  --(at->second.*what);
  if (at->second == Counts{}) shard.counts.erase(at);
}

void Door::leave(const AddressKey& who) {
  newcomers_.release();
  if (who.counts() && !FAULT(newcomer_stays_counted)) take(who, &Counts::newcomers);
}

bool Door::admit(const AddressKey& who) {
  if (!who.counts()) return true;
  const int64_t most = clients_per_address_.load(std::memory_order_relaxed);
  Shard& shard = shard_of(who);
  const std::lock_guard<std::mutex> guard(shard.mutex);
  const auto at = shard.counts.find(who);
  if (most > 0 && at != shard.counts.end() && at->second.clients >= most) return false;
  ++shard.counts[who].clients;
  return true;
}

void Door::discharge(const AddressKey& who) {
  if (who.counts()) take(who, &Counts::clients);
}

Door::Counts Door::of(const AddressKey& who) {
  Shard& shard = shard_of(who);
  const std::lock_guard<std::mutex> guard(shard.mutex);
  const auto at = shard.counts.find(who);
  return at == shard.counts.end() ? Counts{} : at->second;
}

Door::Counts Door::most() {
  Counts most;
  for (Shard& shard : shards_) {
    const std::lock_guard<std::mutex> guard(shard.mutex);
    for (const auto& [who, counts] : shard.counts) {
      most.newcomers = std::max(most.newcomers, counts.newcomers);
      most.clients = std::max(most.clients, counts.clients);
    }
  }
  return most;
}

size_t Door::addresses() {
  size_t all = 0;
  for (Shard& shard : shards_) {
    const std::lock_guard<std::mutex> guard(shard.mutex);
    all += shard.counts.size();
  }
  return all;
}

}  // namespace berth::session
