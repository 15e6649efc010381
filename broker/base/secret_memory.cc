// Secret memory: size classes with free lists, carved from regions that are mapped as they are needed. A region:
//
//     | Region | piece | piece | ...        small pieces, all classes mixed, never unmapped
//     | Region | one large piece            unmapped when it is freed
#include "base/secret_memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <mutex>

#include "base/assert.h"
#include "base/sanitizers.h"

namespace berth {
namespace {

constexpr size_t kSmallest = 32;
constexpr size_t kLargest = 4096;  // of a class; what is larger has a region to itself
constexpr size_t kClasses = 8;
static_assert(kSmallest << (kClasses - 1) == kLargest);
constexpr size_t kRegionSize = 256 * 1024;
constexpr size_t kStackWiped = 16 * 1024;
constexpr size_t kDeepStackWiped = 256 * 1024;

struct alignas(kSmallest) Region {
  Region* next;
  size_t size;
};
struct Piece {
  Piece* next;
};

size_t class_of(size_t size) {
  return static_cast<size_t>(std::countr_zero(std::bit_ceil(std::max(size, kSmallest)) / kSmallest));
}

class Arena {
 public:
  void* allocate(size_t size) {
    const std::lock_guard<std::mutex> guard(mutex_);
    facts_.used += size;
    if (size > kLargest) return map(sizeof(Region) + size) + 1;
    const size_t at = class_of(size);
    if (Piece* piece = free_[at]) {
      free_[at] = piece->next;
      return piece;
    }
    const size_t piece = kSmallest << at;
    if (room_ < piece) {
      Region* region = map(kRegionSize);
      next_ = reinterpret_cast<char*>(region + 1);
      room_ = kRegionSize - sizeof(Region);
    }
    room_ -= piece;
    return std::exchange(next_, next_ + piece);
  }

  void free(void* memory, size_t size) {
    const std::lock_guard<std::mutex> guard(mutex_);
    ASSERT(facts_.used >= size);
    facts_.used -= size;
    wipe(memory, size);
    if (size > kLargest) return unmap(static_cast<Region*>(memory) - 1);
    Piece*& first = free_[class_of(size)];
    first = new (memory) Piece{first};
  }

  void settle() {
    const std::lock_guard<std::mutex> guard(mutex_);
    settled_ = true;
    for (Region* region = regions_; region; region = region->next) settle(region);
  }

  SecretMemory facts() const {
    const std::lock_guard<std::mutex> guard(mutex_);
    return facts_;
  }

 private:
  Region* map(size_t size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t whole = (size + page - 1) / page * page;
    void* memory = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(memory != MAP_FAILED);  // out of memory: nothing sensible can follow
    // Before anything is written. Old kernels that do not know a word of advice leave a secret where it always was.
    madvise(memory, whole, MADV_DONTDUMP);
    Region* region = new (memory) Region{regions_, whole};
    regions_ = region;
    facts_.bytes += whole;
    if (settled_) settle(region);
    return region;
  }

  void settle(Region* region) {
    madvise(region, region->size, MADV_WIPEONFORK);
    if (lock_limit_reached_) return;
    lock_limit_reached_ = mlock(region, region->size) != 0;
    if (!lock_limit_reached_) facts_.locked += region->size;
  }

  void unmap(Region* gone) {
    Region** at = &regions_;
    while (*at != gone) at = &(*at)->next;
    *at = gone->next;
    facts_.bytes -= gone->size;
    munmap(gone, gone->size);
  }

  mutable std::mutex mutex_;
  std::array<Piece*, kClasses> free_{};
  Region* regions_ = nullptr;
  char* next_ = nullptr;  // where the newest region of small pieces goes on
  size_t room_ = 0;
  bool settled_ = false;
  bool lock_limit_reached_ = false;
  SecretMemory facts_;
};

// Never destroyed: objects that the end of the process destroys may still free secrets.
Arena& arena() {
  static Arena* const the = new Arena;
  return *the;
}

}  // namespace

void wipe(void* memory, size_t size) {
  if (size > 0) explicit_bzero(memory, size);
}

[[gnu::noinline]] void wipe_stack() {
  char room[kStackWiped];
  explicit_bzero(room, sizeof room);
}

[[gnu::noinline]] void wipe_deep_stack() {
  char room[kDeepStackWiped];
  explicit_bzero(room, sizeof room);
}

void* secret_allocate(size_t size) {
  return arena().allocate(size);
}

void secret_free(void* memory, size_t size) {
  if (memory) arena().free(memory, size);
}

void settle_secret_memory() {
  arena().settle();
}

SecretMemory secret_memory() {
  return arena().facts();
}

static void keep_stack_out_of_dumps() {
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void* bottom = nullptr;
  size_t size = 0;
  if (pthread_attr_getstack(&attributes, &bottom, &size) == 0) madvise(bottom, size, MADV_DONTDUMP);
  pthread_attr_destroy(&attributes);
}

bool keep_thread_out_of_dumps() {
  keep_stack_out_of_dumps();
#ifdef BERTH_SANITIZED
  return false;
#else
  // glibc's heap of a thread lies in an aligned stretch of address space, of which the part in use grows: the advice
  // is given for all of it. A piece too large for the cache of freed ones comes from that heap for sure, and a bit of
  // the size in front of it says that this is not the first thread's, which has no such stretch.
  constexpr uintptr_t kHeapSize = 2 * 4 * 1024 * 1024 * sizeof(long);
  constexpr size_t kUncached = 2000;
  constexpr size_t kOfThread = 4;
  void* const sample = malloc(kUncached);
  if (!sample) return false;
  const auto at = reinterpret_cast<uintptr_t>(sample);
  const bool of_thread = (*reinterpret_cast<volatile const size_t*>(at - sizeof(size_t)) & kOfThread) != 0;
  const uintptr_t heap = at & ~(kHeapSize - 1);
  free(sample);
  return of_thread && madvise(reinterpret_cast<void*>(heap), kHeapSize, MADV_DONTDUMP) == 0;
#endif
}

SecretString& SecretString::operator=(std::string_view text) {
  if (text.size() != size_) {
    char* fresh = nullptr;
    const size_t size = text.size();
    if (size > 0) {  // before the old one goes: `text` may be part of it
      fresh = static_cast<char*>(secret_allocate(size + 1));
      memcpy(fresh, text.data(), size);
      fresh[size] = '\0';
    }
    clear();
    data_ = fresh;
    size_ = size;
  } else if (size_ > 0) {
    memmove(data_, text.data(), size_);
  }
  return *this;
}

void SecretString::clear() {
  secret_free(data_, size_ + 1);
  data_ = nullptr;
  size_ = 0;
}

bool operator==(const SecretString& a, const SecretString& b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char different = 0;
  for (size_t i = 0; i < a.size(); ++i) different = different | static_cast<unsigned char>(a.view()[i] ^ b.view()[i]);
  return different == 0;
}

}  // namespace berth
