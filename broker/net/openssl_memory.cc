// See openssl_memory.h.
#include "net/openssl_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/assert.h"
#include "base/secret_memory.h"

namespace berth::net {
namespace {

thread_local int wiping = 0;

void* take(size_t size, const char*, int) {
  return std::malloc(size);
}

void give(void* memory, const char*, int) {
  if (memory && wiping > 0) wipe(memory, malloc_usable_size(memory));
  std::free(memory);
}

void* retake(void* memory, size_t size, const char* file, int line) {
  if (!memory || wiping == 0) return std::realloc(memory, size);
  void* more = size > 0 ? std::malloc(size) : nullptr;
  if (size > 0 && !more) return nullptr;
  if (more) std::memcpy(more, memory, std::min(size, malloc_usable_size(memory)));
  give(memory, file, line);
  return more;
}

}  // namespace

bool watch_openssl_memory() {
  return CRYPTO_set_mem_functions(take, retake, give) == 1;
}

WipeFreed::WipeFreed() {
  ++wiping;
}

WipeFreed::~WipeFreed() {
  ASSERT(wiping > 0);
  --wiping;
}

}  // namespace berth::net
