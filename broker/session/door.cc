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

Door::Answer Door::enter(const AddressKey& who, int worker, bool owing) {
  const int64_t limit = newcomers_.limit.load(std::memory_order_relaxed);
  if (!newcomers_.try_acquire(owing ? extra_of(limit) : 0)) return Answer::kFull;
  if (!enter_address(who, owing)) {
    newcomers_.release();
    return Answer::kAddressFull;
  }
  of_worker_[static_cast<size_t>(worker)].fetch_add(1, std::memory_order_relaxed);
  return Answer::kIn;
}

bool Door::enter_address(const AddressKey& who, bool owing) {
  if (!who.counts()) return true;
  const int64_t most = newcomers_per_address_.load(std::memory_order_relaxed);
  Shard& shard = shard_of(who);
  const std::lock_guard<std::mutex> guard(shard.mutex);
  Counts& counts = shard.counts[who];
  if (most > 0 && counts.newcomers >= most + (owing ? extra_of(most) : 0)) return false;
  ++counts.newcomers;
  return true;
}

int Door::fullest(int worker) const {
  const auto of = [this](int index) {
    return of_worker_[static_cast<size_t>(index)].load(std::memory_order_relaxed);
  };
  int best = worker;
  for (int other = 0; other < pool::kWorkersMax; ++other) {
    if (of(other) > of(best)) best = other;
  }
  return of(best) > 2 * of(worker) ? best : worker;
}

void Door::take(const AddressKey& who, int64_t Counts::*what) {
  Shard& shard = shard_of(who);
  const std::lock_guard<std::mutex> guard(shard.mutex);
  const auto at = shard.counts.find(who);
  ASSERT(at != shard.counts.end() && at->second.*what > 0);
  --(at->second.*what);
  if (at->second == Counts{}) shard.counts.erase(at);
}

void Door::leave(const AddressKey& who, int worker) {
  newcomers_.release();
  of_worker_[static_cast<size_t>(worker)].fetch_sub(1, std::memory_order_relaxed);
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
