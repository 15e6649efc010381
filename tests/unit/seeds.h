// For unit tests that throw dice: one seed for all, printed by every failure, another one by UNIT_SEED=n.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/random.h"

namespace berth {

inline uint64_t unit_seed() {
  const char* text = std::getenv("UNIT_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}

// To be declared first in a test: SEEDED(dice).
#define SEEDED(dice)                                               \
  SCOPED_TRACE("UNIT_SEED=" + std::to_string(berth::unit_seed())); \
  berth::Random dice(berth::unit_seed())

// Bytes of which many mean something to the code under test.
inline std::string random_bytes(Random& dice, size_t most, std::string_view alphabet) {
  std::string out;
  for (size_t size = dice.below(most + 1); out.size() < size;) {
    out += dice.below(8) ? alphabet[dice.below(alphabet.size())] : static_cast<char>(dice.below(256));
  }
  return out;
}

}  // namespace berth
