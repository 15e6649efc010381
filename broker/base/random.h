// Randomness. Random is a seeded generator (xoshiro256**) for jitter and the simulator: never for secrets.
// fill_secure is the operating system's, for keys, salts and nonces.
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth {

class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) {  // splitmix64
      seed += 0x9e3779b97f4a7c15u;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      word = z ^ (z >> 31);
    }
  }
  uint64_t next() {
    const uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }
  // A number in [0, bound); bound must not be 0.
  uint64_t below(uint64_t bound) { return next() % bound; }
  // A number in [0, 1).
  double fraction() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  static uint64_t rotate(uint64_t value, int by) { return (value << by) | (value >> (64 - by)); }
  uint64_t state_[4];
};

// Fills `out` from getrandom(2). Never fails: without randomness the process must not go on.
void fill_secure(void* out, size_t size);

}  // namespace berth
