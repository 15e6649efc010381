// The values of settings as text: what a file may say for a truth value, a number, a time, a mode. Pure functions;
// the Error's text says what is wrong and what is allowed, without naming the setting.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "config/config.h"

namespace berth::config {

// 0 1 true false t f yes no y n on off, in any case; any other whole number is true, as in PgBouncer.
Result<bool> parse_bool(std::string_view text);
// Decimal, 0x hexadecimal, or octal after a leading 0 (as in PgBouncer, which is what unix_socket_mode relies on).
Result<int64_t> parse_number(std::string_view text, int64_t min, int64_t max);
// Seconds, fractions and exponents allowed ("0.5", "1e3"), up to kLongestTime.
Result<Micros> parse_time(std::string_view text);
Result<PoolMode> parse_pool_mode(std::string_view text);
Result<AuthType> parse_auth_type(std::string_view text);
Result<LoadBalance> parse_load_balance(std::string_view text);

// Seconds as PgBouncer prints them: 3600, 0.5, 1e+06.
std::string format_time(Micros time);

inline constexpr int64_t kLongestTimeSeconds = 1'000'000'000;  // about 31 years

std::string_view trim(std::string_view text);
bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace berth::config
