// For the fuzz targets of auth: one input as several messages.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "fuzz/input.h"

namespace berth::auth {

// Its messages stand apart by a mark that no message of a login needs, and that a fuzzer finds easily in a corpus of
// texts.
class FuzzInput : public fuzz::Input {
 public:
  using Input::Input;
  std::string_view message() { return until("\n~\n"); }
  bool empty() const { return !left(); }
};

// Ends the process when a law that the target is about does not hold.
inline void must(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (!holds) assert_failed("a law of the target", file, line);
}

}  // namespace berth::auth
