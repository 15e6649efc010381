// Time as numbers. Monotonic microseconds rule every timeout; wall-clock microseconds (since 1970) are only shown.
// Code that decides takes `now` as an argument; only the engine and the log read a clock.
#pragma once

#include <cstdint>

namespace berth {

using Micros = int64_t;
inline constexpr Micros kMillisecond = 1000;
inline constexpr Micros kSecond = 1'000'000;
inline constexpr Micros kNever = INT64_MAX;  // as a time: it does not come

Micros monotonic_now();
Micros wall_now();

}  // namespace berth
