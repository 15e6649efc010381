#include "pool/shared.h"

namespace berth::pool {

template <typename Map>
static auto* named_entry(Map& map, std::string_view name) {
  auto at = map.find(name);
  if (at == map.end()) {
    using Entry = typename Map::mapped_type::element_type;
    at = map.emplace(std::string(name), std::make_unique<Entry>()).first;
    at->second->name = at->first;
  }
  return at->second.get();
}

SharedDatabase* SharedRegistry::database(std::string_view name) {
  const std::lock_guard<std::mutex> guard(mutex_);
  return named_entry(databases_, name);
}

bool SharedRegistry::disabled(std::string_view name) {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto at = databases_.find(name);
  return at != databases_.end() && at->second->disabled.load(std::memory_order_relaxed);
}

SharedUser* SharedRegistry::user(std::string_view name) {
  const std::lock_guard<std::mutex> guard(mutex_);
  return named_entry(users_, name);
}

SharedPool* SharedRegistry::pool(std::string_view database, std::string_view user, std::string_view replication) {
  const std::lock_guard<std::mutex> guard(mutex_);
  auto& entry = pools_[PoolKey(database, user, replication)];
  if (!entry) {
    entry = std::make_unique<SharedPool>();
    entry->database = database;
    entry->user = user;
    entry->replication = replication;
    entry->of_database = named_entry(databases_, database);
    entry->of_user = named_entry(users_, user);
  }
  ++entry->members;
  return entry.get();
}

void SharedRegistry::leave(SharedPool* pool) {
  const std::lock_guard<std::mutex> guard(mutex_);
  if (--pool->members > 0 || pool->servers.used.load(std::memory_order_relaxed) > 0) return;
  pools_.erase(PoolKey(pool->database, pool->user, pool->replication));
}

}  // namespace berth::pool
