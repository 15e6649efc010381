// For the fuzz targets of wire: ends the process when a law is broken, and says which.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/assert.h"
#include "unit/wire_laws.h"

namespace berth::wire {

// `broken` is null or the law's text.
inline void must(const char* broken) {
  if (broken) assert_failed(broken, "unit/wire_laws.h", 0);
}

inline std::string_view view_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace berth::wire
