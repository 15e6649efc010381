// A value that many hold and that is never changed: interned once in a table of the whole process, so that equal
// values have equal addresses, on whichever worker. Holding one costs an atomic increment; only making one and
// dropping the last hold take the table's lock, and neither is on the path of a query.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/assert.h"

namespace berth {

// T must have `bool same(const T&) const` and `uint64_t hash`, and be movable.
template <typename T>
class SharedTable {
 public:
  struct Entry : T {
    explicit Entry(T&& value, SharedTable* home) : T(std::move(value)), table(home) {}
    SharedTable* table;
    // Written by every thread that holds or drops. Relaxed is enough to add, since whoever adds holds one already or
    // the lock; dropping releases, and the one that frees has acquired.
    std::atomic<uint32_t> holds{1};
  };

  // A hold on the equal value in the table, made if it is not there.
  Entry* intern(T&& value) {
    const std::lock_guard<std::mutex> guard(mutex_);
    auto [at, end] = entries_.equal_range(value.hash);
    for (; at != end; ++at) {
      if (at->second->same(value)) {
        at->second->holds.fetch_add(1, std::memory_order_relaxed);
        return at->second;
      }
    }
    auto* entry = new Entry(std::move(value), this);
    entries_.emplace(entry->hash, entry);
    return entry;
  }

  static void hold(Entry* entry) { entry->holds.fetch_add(1, std::memory_order_relaxed); }

  static void drop(Entry* entry) {
    // The last hold is dropped only under the lock: else intern() could hand out what is about to be freed.
    uint32_t holds = entry->holds.load(std::memory_order_relaxed);
    while (holds > 1) {
      if (entry->holds.compare_exchange_weak(holds, holds - 1, std::memory_order_acq_rel)) return;
    }
    entry->table->drop_last(entry);
  }

  size_t size() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return entries_.size();
  }

 private:
  void drop_last(Entry* entry) {
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      if (entry->holds.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      auto [at, end] = entries_.equal_range(entry->hash);
      while (at != end && at->second != entry) ++at;
      ASSERT(at != end);
      entries_.erase(at);
    }
    delete entry;  // without the lock: a value may hold another of the same table
  }

  std::mutex mutex_;
  std::unordered_multimap<uint64_t, Entry*> entries_;
};

// A hold with a lifetime. Comparing two compares values, since equal values have one address.
template <typename T>
class Held {
 public:
  using Entry = typename SharedTable<T>::Entry;
  Held() = default;
  explicit Held(Entry* taken) : entry_(taken) {}  // takes over the hold that intern() gave
  Held(const Held& other) : entry_(other.entry_) {
    if (entry_) SharedTable<T>::hold(entry_);
  }
  Held(Held&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  Held& operator=(Held other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~Held() {
    if (entry_) SharedTable<T>::drop(entry_);
  }
  const T* get() const { return entry_; }
  const T* operator->() const { return entry_; }
  const T& operator*() const { return *entry_; }
  explicit operator bool() const { return entry_ != nullptr; }
  bool operator==(const Held& other) const { return entry_ == other.entry_; }
  void reset() { *this = Held(); }

 private:
  Entry* entry_ = nullptr;
};

}  // namespace berth
