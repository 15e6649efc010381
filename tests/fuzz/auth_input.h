// For the fuzz targets of auth: one input as several messages.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/assert.h"

namespace berth::auth {

// Takes parts from the front of the input: one byte, or what stands before the next "\n~\n" (a mark that no message
// of a login needs, and that a fuzzer finds easily in a corpus of texts).
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return value;
  }
  std::string_view message() {
    constexpr std::string_view kMark = "\n~\n";
    const size_t at = rest_.find(kMark);
    const std::string_view out = rest_.substr(0, at);
    rest_.remove_prefix(at == std::string_view::npos ? rest_.size() : at + kMark.size());
    return out;
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// Ends the process when a law that the target is about does not hold.
inline void must(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (!holds) assert_failed("a law of the target", file, line);
}

}  // namespace berth::auth
