// For fuzz targets whose inputs are decisions: takes them from the front of the input, byte for byte.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace berth::fuzz {

// Without bytes every number is 0 and every text is empty.
class Input {
 public:
  Input() = default;
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  bool left() const { return !rest_.empty(); }
  uint8_t byte() {
    const std::string_view one = take(1);
    return one.empty() ? uint8_t{0} : static_cast<uint8_t>(one[0]);
  }
  // In [0, count), of one byte.
  size_t below(size_t count) { return byte() % count; }
  size_t number() {
    const size_t high = byte();
    return high << 8 | byte();
  }
  // As many bytes as there are, at most `size`.
  std::string_view take(size_t size) {
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(out.size());
    return out;
  }
  // A byte says how long it is.
  std::string text(size_t most) { return std::string(take(below(most + 1))); }
  // What stands before the next mark, which is taken off too.
  std::string_view until(std::string_view mark) {
    const std::string_view out = take(rest_.find(mark));
    take(mark.size());
    return out;
  }

 private:
  std::string_view rest_;
};

// `text` as SQL and ini files quote it.
inline std::string in_quotes(std::string_view text, char quote) {
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote) out += c;
    out += c;
  }
  return out + quote;
}

}  // namespace berth::fuzz
