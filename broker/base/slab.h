// A typed slab: objects of one type in chunks that never move, with a free list threaded through the unused places.
// One thread owns it. Chunks are kept until the slab ends, so a burst of clients costs the memory of its peak once.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace berth {

template <typename T, size_t kPerChunk = 64>
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // A new T, at an address that stays its own until destroy().
  template <typename... Args>
  T* make(Args&&... args) {
    if (!free_) grow();
    Place* place = free_;
    free_ = place->next;
    ++in_use_;
    return new (place->storage) T(std::forward<Args>(args)...);
  }

  void destroy(T* item) {
    ASSERT(item && in_use_ > 0);
    item->~T();
    Place* place = reinterpret_cast<Place*>(item);
    place->next = free_;
    free_ = place;
    --in_use_;
  }

  bool empty() const { return in_use_ == 0; }
  size_t in_use() const { return in_use_; }
  // Memory held, used or not.
  size_t bytes() const { return chunks_.size() * kPerChunk * sizeof(Place); }

 private:
  union Place {
    Place() {}
    Place* next;
    alignas(T) unsigned char storage[sizeof(T)];
  };

  void grow() {
    chunks_.push_back(std::make_unique<Place[]>(kPerChunk));
    Place* chunk = chunks_.back().get();
    for (size_t i = kPerChunk; i > 0; --i) {  // backwards, so that the lowest address is used first
      chunk[i - 1].next = free_;
      free_ = &chunk[i - 1];
    }
  }

  Place* free_ = nullptr;
  size_t in_use_ = 0;
  std::vector<std::unique_ptr<Place[]>> chunks_;
};

}  // namespace berth
