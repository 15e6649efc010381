// A heap that no core dump has: for a library that keeps keys in ordinary memory and cannot be told which pieces
// those are (OpenSSL: a dump would open what was recorded of every living TLS connection). As fast as malloc, since a
// handshake takes hundreds of pieces. Unlike secret memory it is neither locked nor overwritten when freed.
#pragma once

#include <cstddef>

namespace berth {

// The largest piece; larger ones are for malloc.
inline constexpr size_t kHiddenMost = 8192;
// Address space, not memory: when it is used up, malloc has to do.
inline constexpr size_t kHiddenReserved = size_t{4} << 30;

// Sets the address space aside. Before there are threads; false where it is limited (RLIMIT_AS): then every
// hidden_allocate gives null.
bool hidden_reserve();

// Any thread, for all that follows. Aligned to 16 bytes. Null: too large, or no room.
void* hidden_allocate(size_t size);
void hidden_free(void* memory);
// Is it of this heap? Any address may be asked for.
bool is_hidden(const void* memory);
// What may be used of a piece, at least what was asked for.
size_t hidden_size(const void* memory);

// For tests. What the threads keep for themselves counts as given out.
struct HiddenHeap {
  size_t slabs = 0;  // in use
  size_t empty = 0;  // slabs that were in use: their memory was given back
  size_t given = 0;  // pieces
};
HiddenHeap hidden_heap();

}  // namespace berth
