// Message framing: one type byte, then a length that counts itself. Pure functions over lent bytes; lengths are
// checked before any arithmetic and never exceed 32 bits, so sums are done in 64 (failure classes T7, T11, T29).
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/fault.h"
#include "wire/tags.h"

namespace berth::wire {

inline uint16_t read16(const char* at) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(at);
  return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]);
}
inline uint32_t read32(const char* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return __builtin_bswap32(value);
}
inline void store32(char* at, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(at, &value, sizeof value);
}

// The head of a message. `size` counts all of it, type byte included; it is at least kHeaderSize when valid.
struct Head {
  char tag;
  uint64_t size;
  bool valid;
};

// Reads the head of the message at `at`, which must have kHeaderSize bytes. Invalid: a length below 4 or above `max`.
inline Head read_head(const char* at, uint64_t max) {
  const uint32_t length = read32(at + 1);
  return {at[0], uint64_t{length} + 1, length >= (FAULT(frame_length_three) ? 3 : 4) && uint64_t{length} + 1 <= max};
}

// The bytes up to the next NUL, and moves `rest` behind it. False: there is no NUL (T24).
inline bool take_cstring(std::string_view& rest, std::string_view& out) {
  const size_t end = rest.find('\0');
  if (end == std::string_view::npos) return false;
  out = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return true;
}

}  // namespace berth::wire
