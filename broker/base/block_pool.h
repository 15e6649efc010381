// Blocks of bytes for what could not be sent yet and for messages that have not arrived whole. Two sizes are recycled
// through bounded free lists, larger ones come from malloc and go back at once: the largest message ever seen is
// never kept (failure class 60). One thread owns a pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/assert.h"

namespace berth {

// The bytes [begin, end) are valid, everything else in the block is left over from an earlier user and is never shown
// (failure class 3); bytes() is the only way to read it.
//
//     data()   begin        end      capacity
//     | consumed | bytes()   | room   |
struct Block {
  Block* next = nullptr;
  uint32_t capacity = 0;
  uint32_t begin = 0;
  uint32_t end = 0;

  char* data() { return reinterpret_cast<char*>(this + 1); }
  size_t size() const { return end - begin; }
  size_t room() const { return capacity - end; }
  std::string_view bytes() { return {data() + begin, size()}; }
  void append(std::string_view more) {
    ASSERT(more.size() <= room());
    std::memcpy(data() + end, more.data(), more.size());
    end += static_cast<uint32_t>(more.size());
  }
  // Moves the valid bytes to the front, so that room() is all that is left.
  void compact() {
    if (begin == 0) return;
    std::memmove(data(), data() + begin, size());
    end -= begin;
    begin = 0;
  }
};

class BlockPool {
 public:
  static constexpr size_t kSmall = 4096;
  static constexpr size_t kLarge = 65536;
  static constexpr size_t kMessageMax = size_t{1} << 30;
  static constexpr size_t kMax = kMessageMax + kLarge;  // a message, and what may come behind it
  static constexpr size_t kSmallKept = 64;              // 256 KiB
  static constexpr size_t kLargeKept = 32;              // 2 MiB

  BlockPool() = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // An empty block with room for at least `size` bytes (at most kMax).
  Block* take(size_t size);
  void give(Block* block);

  size_t blocks_in_use() const { return blocks_in_use_; }
  size_t bytes_in_use() const { return bytes_in_use_; }
  // How often malloc was called: stands still in a steady state.
  size_t allocations() const { return allocations_; }
  size_t blocks_pooled() const { return small_.count + large_.count; }
  size_t bytes_pooled() const { return small_.count * kSmall + large_.count * kLarge; }

 private:
  struct FreeList {
    Block* first = nullptr;
    size_t count = 0;
  };
  static void drop_all(FreeList& list);
  FreeList small_;
  FreeList large_;
  size_t blocks_in_use_ = 0;
  size_t bytes_in_use_ = 0;
  size_t allocations_ = 0;
};

}  // namespace berth
