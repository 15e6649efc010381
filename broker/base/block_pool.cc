// The block pool: two free lists in front of malloc. Under the address sanitizer a block on a free list is poisoned,
// so that a read of somebody's old bytes is reported.
#include "base/block_pool.h"

#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define BERTH_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BERTH_POISON 1
#endif
#endif
#ifdef BERTH_POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace berth {

BlockPool::~BlockPool() {
  drop_all(small_);
  drop_all(large_);
}

void BlockPool::drop_all(FreeList& list) {
  while (Block* block = list.first) {
    list.first = block->next;
    ASAN_UNPOISON_MEMORY_REGION(block->data(), block->capacity);
    std::free(block);
  }
  list.count = 0;
}

Block* BlockPool::take(size_t size) {
  ASSERT(size <= kMax);
  const size_t capacity = size <= kSmall ? kSmall : size <= kLarge ? kLarge : size;
  FreeList* list = capacity == kSmall ? &small_ : capacity == kLarge ? &large_ : nullptr;
  ++blocks_in_use_;
  bytes_in_use_ += capacity;
  if (list && list->first) {
    Block* block = list->first;
    list->first = block->next;
    --list->count;
    ASAN_UNPOISON_MEMORY_REGION(block->data(), block->capacity);
    block->next = nullptr;
    block->begin = block->end = 0;
    return block;
  }
  ++allocations_;
  void* memory = std::malloc(sizeof(Block) + capacity);
  ASSERT(memory);  // out of memory: nothing sensible can follow
  Block* block = new (memory) Block;
  block->capacity = static_cast<uint32_t>(capacity);
  return block;
}

void BlockPool::give(Block* block) {
  ASSERT(block && blocks_in_use_ > 0 && bytes_in_use_ >= block->capacity);
  --blocks_in_use_;
  bytes_in_use_ -= block->capacity;
  FreeList* list = nullptr;
  if (block->capacity == kSmall && small_.count < kSmallKept) list = &small_;
  if (block->capacity == kLarge && large_.count < kLargeKept) list = &large_;
  if (!list) {
    std::free(block);
    return;
  }
  block->begin = block->end = 0;
  block->next = list->first;
  list->first = block;
  ++list->count;
  ASAN_POISON_MEMORY_REGION(block->data(), block->capacity);
}

}  // namespace berth
