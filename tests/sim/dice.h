// What decides in a world: a seed, or, as long as there are any, the choices that a fuzzer has written down. All dice
// of one world take theirs from the same row of bytes, in the order in which they are thrown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/random.h"

namespace berth::sim {

class Choices {
 public:
  Choices(const uint8_t* bytes, size_t size) : at_(bytes), end_(bytes + size) {}
  bool left() const { return at_ != end_; }
  // Whether they decide now; else the seeds do.
  bool decide() const { return decide_ && left(); }
  void let_decide(bool on) { decide_ = on; }
  // A number in [0, bound), from as few bytes as can hold it. Missing bytes are 0.
  uint64_t below(uint64_t bound) {
    uint64_t value = 0;
    for (uint64_t rest = bound - 1; rest > 0; rest >>= 8) value = value << 8 | byte();
    return value % bound;
  }
  // An event has come in a state. The fuzzer is told of each two that follow one another: a new order is a new thing.
  void saw(int state, std::string_view event) {
    const size_t now = std::hash<std::string_view>()(event) * 31 + static_cast<size_t>(state);
    if (!seen.empty()) seen[(now * 17 + before_) % seen.size()] = 1;
    before_ = now;
  }
  std::span<uint8_t> seen;
  // What the whole program is of: anything, messages about statements with names and values of any bytes, or cancel
  // requests of any bytes.
  enum class Subject { kAnything, kStatements, kCancels };
  Subject subject = Subject::kAnything;
  std::string text(size_t most) {
    std::string out;
    for (size_t size = below(most + 1); size > 0 && left(); --size) out += static_cast<char>(byte());
    return out;
  }

 private:
  uint8_t byte() { return left() ? *at_++ : uint8_t{0}; }
  const uint8_t* at_;
  const uint8_t* end_;
  size_t before_ = 0;
  bool decide_ = true;
};

class Dice {
 public:
  explicit Dice(uint64_t seed, Choices* choices = nullptr) : random_(seed), choices_(choices) {}
  uint64_t below(uint64_t bound) {
    return choices_ && choices_->decide() ? choices_->below(bound) : random_.below(bound);
  }
  // A seed for other dice.
  uint64_t next() { return random_.next(); }

 private:
  Random random_;
  Choices* choices_;
};

// What fill_secure gives begins anew: the next world gets the same as the last one.
void restart_secure();

}  // namespace berth::sim
