// Size classes in slabs, an eighth of their size apart:
//
//     | Slab | piece | piece | ...     kSlab bytes at an address that is a multiple of them, all of one class
//
// A thread keeps a few free pieces of each class for itself, and exchanges them in lots under the lock.
#include "base/hidden_heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>
#include <utility>

#include "base/assert.h"

namespace berth {
namespace {

constexpr size_t kSlab = 64 * 1024;
constexpr size_t kGrowth = 1024 * 1024;  // the address space becomes memory in such steps
constexpr size_t kPage = 4096;
constexpr size_t kStep = 16;
constexpr size_t kFine = 8;  // classes a step apart, then as many for each doubling
constexpr size_t kClasses = 56;
// A thread keeps so many bytes of a class, but at least and at most so many pieces.
constexpr size_t kKept = 4096, kKeptLeast = 2, kKeptMost = 64;

constexpr size_t class_of(size_t size) {
  if (size <= kStep * kFine) return size == 0 ? 0 : (size - 1) / kStep;
  const auto doubling = static_cast<size_t>(std::bit_width(size - 1)) - 8;
  const size_t base = kStep * kFine << doubling;
  return kFine * (doubling + 1) + (size - 1 - base) / (base / kFine);
}
constexpr size_t size_of(size_t index) {
  if (index < kFine) return kStep * (index + 1);
  const size_t base = kStep * kFine << (index / kFine - 1);
  return base + base / kFine * (index % kFine + 1);
}
static_assert(class_of(kHiddenMost) == kClasses - 1 && size_of(kClasses - 1) == kHiddenMost);
static_assert(class_of(129) == kFine && size_of(class_of(129)) == 144 && size_of(class_of(7624)) == 7680);

constexpr size_t kept_of(size_t index) {
  return std::clamp(kKept / size_of(index), kKeptLeast, kKeptMost);
}

struct Piece {
  Piece* next;
};

struct alignas(64) Slab {
  Slab* next = nullptr;  // of those of its class that have room, or of the empty ones
  Slab** at = nullptr;   // where this one hangs; null: it is full
  Piece* free = nullptr;
  uint32_t given = 0;
  uint32_t carved = sizeof(Slab);
  size_t index = 0;

  static Slab* of(const void* piece) {
    return reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(piece) & ~(kSlab - 1));
  }
  bool has_room() const { return free || carved + size_of(index) <= kSlab; }
};

class Heap {
 public:
  bool reserve() {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (base_.load() != 0) return true;
    // More than needed, to find an aligned stretch in it.
    void* const memory =
        mmap(nullptr, kHiddenReserved + kSlab, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    grown_ = next_ = (reinterpret_cast<uintptr_t>(memory) + kSlab - 1) & ~(kSlab - 1);
    madvise(reinterpret_cast<void*>(next_), kHiddenReserved, MADV_DONTDUMP);
    base_.store(next_);
    return true;
  }

  bool ready() const { return base_.load(std::memory_order_relaxed) != 0; }
  bool owns(const void* memory) const {
    const uintptr_t base = base_.load(std::memory_order_relaxed);
    return base != 0 && reinterpret_cast<uintptr_t>(memory) - base < kHiddenReserved;
  }

  // Up to `count` pieces, as a list; null: there is no room.
  Piece* take(size_t index, size_t count, size_t& taken) {
    const std::lock_guard<std::mutex> guard(mutex_);
    Piece* first = nullptr;
    for (taken = 0; taken < count; ++taken) {
      if (!room_[index] && !add_slab(index)) break;
      Slab* const slab = room_[index];
      Piece* piece = slab->free;
      if (piece) {
        slab->free = piece->next;
      } else {
        piece = reinterpret_cast<Piece*>(reinterpret_cast<char*>(slab) + slab->carved);
        slab->carved += static_cast<uint32_t>(size_of(index));
      }
      ++slab->given;
      ++facts_.given;
      if (!slab->has_room()) unhang(slab);
      first = new (piece) Piece{first};
    }
    return first;
  }

  void give(Piece* first) {
    const std::lock_guard<std::mutex> guard(mutex_);
    while (first) {
      Piece* const piece = first;
      first = piece->next;
      Slab* const slab = Slab::of(piece);
      piece->next = slab->free;
      slab->free = piece;
      ASSERT(slab->given > 0);
      --slab->given;
      --facts_.given;
      if (!slab->at) hang(slab, &room_[slab->index]);
      if (slab->given == 0 && (room_[slab->index] != slab || slab->next)) drop(slab);
    }
  }

  HiddenHeap facts() const {
    const std::lock_guard<std::mutex> guard(mutex_);
    return facts_;
  }

 private:
  static void hang(Slab* slab, Slab** at) {
    slab->next = *at;
    if (slab->next) slab->next->at = &slab->next;
    slab->at = at;
    *at = slab;
  }
  static void unhang(Slab* slab) {
    *slab->at = slab->next;
    if (slab->next) slab->next->at = slab->at;
    slab->next = nullptr;
    slab->at = nullptr;
  }

  bool add_slab(size_t index) {
    Slab* slab = empty_;
    if (slab) {
      unhang(slab);
      --facts_.empty;
    } else if (!(slab = fresh_slab())) {
      return false;
    }
    slab = new (slab) Slab;
    slab->index = index;
    hang(slab, &room_[index]);
    ++facts_.slabs;
    return true;
  }

  Slab* fresh_slab() {
    if (next_ == grown_) {
      if (next_ + kGrowth > base_.load() + kHiddenReserved) return nullptr;
      if (mprotect(reinterpret_cast<void*>(next_), kGrowth, PROT_READ | PROT_WRITE) != 0) return nullptr;
      grown_ += kGrowth;
    }
    return reinterpret_cast<Slab*>(std::exchange(next_, next_ + kSlab));
  }

  // Nothing of it is given out, and its class has another one: all but the first page goes back to the system.
  void drop(Slab* slab) {
    unhang(slab);
    madvise(reinterpret_cast<char*>(slab) + kPage, kSlab - kPage, MADV_DONTNEED);
    hang(slab, &empty_);
    --facts_.slabs;
    ++facts_.empty;
  }

  mutable std::mutex mutex_;
  std::atomic<uintptr_t> base_ = 0;  // set once
  uintptr_t next_ = 0, grown_ = 0;
  std::array<Slab*, kClasses> room_{};
  Slab* empty_ = nullptr;
  HiddenHeap facts_;
};

// Never destroyed: libraries free at the very end.
Heap& heap() {
  static Heap* const the = new Heap;
  return *the;
}

// What a thread keeps. Plain data, since libraries free after the thread's destructors have run.
struct Kept {
  std::array<Piece*, kClasses> first{};
  std::array<uint16_t, kClasses> count{};
  bool over = false;  // the thread ends: nothing is kept any more
};
thread_local Kept kept;

struct Leaving {
  bool needed = false;
  ~Leaving() {
    kept.over = true;
    for (Piece*& first : kept.first) heap().give(std::exchange(first, nullptr));
    kept.count = {};
  }
};
thread_local Leaving leaving;

[[gnu::noinline]] void* take_lot(size_t index) {
  if (!heap().ready()) return nullptr;
  const size_t wanted = kept.over ? 1 : kept_of(index) / 2;
  size_t taken = 0;
  Piece* const piece = heap().take(index, wanted, taken);
  if (!piece) return nullptr;
  kept.first[index] = piece->next;
  kept.count[index] = static_cast<uint16_t>(taken - 1);
  leaving.needed = true;  // the first use of it in a thread has its destructor run at the thread's end
  return piece;
}

// Half of them, behind those that came last.
[[gnu::noinline]] void give_lot(size_t index) {
  const size_t stay = kept.over ? 0 : kept_of(index) / 2;
  Piece** at = &kept.first[index];
  for (size_t i = 0; i < stay; ++i) at = &(*at)->next;
  heap().give(std::exchange(*at, nullptr));
  kept.count[index] = static_cast<uint16_t>(stay);
}

}  // namespace

bool hidden_reserve() {
  return heap().reserve();
}

bool is_hidden(const void* memory) {
  return heap().owns(memory);
}

void* hidden_allocate(size_t size) {
  if (size > kHiddenMost) return nullptr;
  const size_t index = class_of(size);
  Piece* const piece = kept.first[index];
  if (!piece) return take_lot(index);
  kept.first[index] = piece->next;
  --kept.count[index];
  return piece;
}

void hidden_free(void* memory) {
  const size_t index = Slab::of(memory)->index;
  kept.first[index] = new (memory) Piece{kept.first[index]};
  if (++kept.count[index] > kept_of(index) || kept.over) give_lot(index);
}

size_t hidden_size(const void* memory) {
  return size_of(Slab::of(memory)->index);
}

HiddenHeap hidden_heap() {
  return heap().facts();
}

}  // namespace berth
