// See openssl_memory.h.
#include "net/openssl_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/assert.h"
#include "base/hidden_heap.h"
#include "base/sanitizers.h"
#include "base/secret_memory.h"

namespace berth::net {
namespace {

thread_local int wiping = 0;

size_t usable(void* memory) {
  return is_hidden(memory) ? hidden_size(memory) : malloc_usable_size(memory);
}

void* take(size_t size, const char*, int) {
  void* const hidden = hidden_allocate(size);
  return hidden ? hidden : std::malloc(size);
}

void give(void* memory, const char*, int) {
  if (!memory) return;
  if (wiping > 0) wipe(memory, usable(memory));
  is_hidden(memory) ? hidden_free(memory) : std::free(memory);
}

void* retake(void* memory, size_t size, const char* file, int line) {
  if (!memory) return take(size, file, line);
  if (size > 0 && !is_hidden(memory) && size > kHiddenMost && wiping == 0) return std::realloc(memory, size);
  void* more = size > 0 ? take(size, file, line) : nullptr;
  if (size > 0 && !more) return nullptr;
  if (more) std::memcpy(more, memory, std::min(size, usable(memory)));
  give(memory, file, line);
  return more;
}

}  // namespace

std::string watch_openssl_memory() {
  if (CRYPTO_set_mem_functions(take, retake, give) != 1) {
    return "another library has started OpenSSL: keys of TLS connections, and copies of private keys in freed "
           "memory, "
           "are in core dumps";
  }
#ifndef BERTH_SANITIZED  // whose allocator sees more
  if (!hidden_reserve()) {
    return "the address space is limited (ulimit -v, LimitAS): keys of TLS connections are in core dumps";
  }
#endif
  return {};
}

WipeFreed::WipeFreed() {
  ++wiping;
}

WipeFreed::~WipeFreed() {
  ASSERT(wiping > 0);
  --wiping;
}

}  // namespace berth::net
