// operator delete for the whole process: what is freed is overwritten first. A secret's own memory is
// base/secret_memory.h; but texts that pass by (a line of the user list, a message with a password, what base64 was
// made of) have many temporary copies, and so none of them stays behind in freed memory. The path of a query frees
// nothing, so it does not pay.
//
// The sanitizers have operators of their own, which tell more.
#include <malloc.h>
#include <string.h>

#include <cstdlib>
#include <new>

#include "base/sanitizers.h"

#ifndef BERTH_SANITIZED

namespace {

void wipe_and_free(void* memory) {
  if (!memory) return;
  explicit_bzero(memory, malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// libstdc++'s operator new takes from malloc (and aligned_alloc), which is why free() fits all of them.
void operator delete(void* memory) noexcept {
  wipe_and_free(memory);
}
void operator delete[](void* memory) noexcept {
  wipe_and_free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  wipe_and_free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  wipe_and_free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  wipe_and_free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  wipe_and_free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  wipe_and_free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  wipe_and_free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  wipe_and_free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  wipe_and_free(memory);
}

#endif
