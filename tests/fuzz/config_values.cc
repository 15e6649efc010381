// Fuzzes the values of settings: numbers, times and truth values. What was understood is in its limits and, written
// down again, understood as the same.
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/assert.h"
#include "config/values.h"

namespace berth::config {

// As PgBouncer reads numbers.
static void try_number(const std::string& text, int64_t min, int64_t max) {
  const Result<int64_t> number = parse_number(text, min, max);
  char* end = nullptr;
  errno = 0;
  const long long reference = std::strtoll(text.c_str(), &end, 0);
  const bool whole = !text.empty() && end == text.c_str() + text.size() && errno == 0;
  if (number.ok()) {
    ASSERT(number.value() >= min && number.value() <= max);
    ASSERT(whole && number.value() == reference);
    ASSERT(parse_number(std::to_string(number.value()), min, max).value() == number.value());
    return;
  }
  ASSERT(!number.error().text.empty());
  // strtoll takes white space in front, and 0x without a digit is its 0 followed by an x.
  if (whole && trim(text) == text) ASSERT(reference < min || reference > max);
}

static void try_time(const std::string& text) {
  const Result<Micros> time = parse_time(text);
  if (!time.ok()) return ASSERT(!time.error().text.empty());
  ASSERT(time.value() >= 0 && time.value() <= kLongestTimeSeconds * kSecond);
  const std::string shown = format_time(time.value());
  const Result<Micros> again = parse_time(shown);
  ASSERT(again.ok() && format_time(again.value()) == shown);
}

static void try_input(const std::string& text) {
  try_number(text, INT64_MIN, INT64_MAX);
  try_number(text, 0, 65535);
  try_time(text);
  const Result<bool> truth = parse_bool(text);
  if (const Result<int64_t> number = parse_number(text, INT64_MIN, INT64_MAX); number.ok())
    ASSERT(truth.ok() && truth.value() == (number.value() != 0));
  if (const Result<PoolMode> mode = parse_pool_mode(text); mode.ok())
    ASSERT(equal_ignoring_case(to_string(mode.value()), text));
  if (const Result<AuthType> type = parse_auth_type(text); type.ok())
    ASSERT(equal_ignoring_case(to_string(type.value()), text));
  const std::string_view trimmed = trim(text);
  ASSERT(trim(trimmed) == trimmed);
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
