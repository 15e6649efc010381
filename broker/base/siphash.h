// SipHash-2-4 (Aumasson and Bernstein, 2012) with a key of this process: hash tables that a client fills cannot be
// flooded, and values derived from it cannot be guessed.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace berth {

struct SipKey {
  uint64_t low = 0;
  uint64_t high = 0;
};
// Random, drawn once at start.
const SipKey& process_key();

inline uint64_t siphash(const SipKey& key, std::string_view bytes) {
  uint64_t v0 = key.low ^ 0x736f6d6570736575u, v1 = key.high ^ 0x646f72616e646f6du;
  uint64_t v2 = key.low ^ 0x6c7967656e657261u, v3 = key.high ^ 0x7465646279746573u;
  const auto rotate = [](uint64_t x, int by) { return (x << by) | (x >> (64 - by)); };
  const auto round = [&] {
    v0 += v1, v1 = rotate(v1, 13) ^ v0, v0 = rotate(v0, 32);
    v2 += v3, v3 = rotate(v3, 16) ^ v2;
    v0 += v3, v3 = rotate(v3, 21) ^ v0;
    v2 += v1, v1 = rotate(v1, 17) ^ v2, v2 = rotate(v2, 32);
  };
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
  uint64_t last = static_cast<uint64_t>(bytes.size()) << 56;
  if (at < bytes.size()) std::memcpy(&last, bytes.data() + at, bytes.size() - at);
  if (at < bytes.size()) last = (last & 0x00ffffffffffffffu) | static_cast<uint64_t>(bytes.size()) << 56;
  v3 ^= last;
  round();
  round();
  v0 ^= last;
  v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace berth
