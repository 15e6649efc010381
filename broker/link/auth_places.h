// Which databases auth_query keeps connections to and secrets of, when there are more than it has places for. With
// the entry `*` whoever connects may make names up, before any proof: so a database that has never answered never
// takes the place of one that has, and of those that have not there are few. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "base/time.h"

namespace berth::link {

inline constexpr size_t kAuthReachedMax = 64;    // databases that have answered, those that logins wait for on top
inline constexpr size_t kAuthUnreachedMax = 32;  // those that have not, yet
inline constexpr size_t kAuthPlacesMax = kAuthReachedMax + kAuthUnreachedMax;

struct AuthPlace {
  bool reached = false;  // its server has answered
  bool wanted = false;   // logins wait for it: it does not go
  Micros asked_at = 0;   // of several the one goes that was asked longest ago
};

struct AuthRoom {
  bool found = false;
  std::optional<size_t> displaced;  // who goes for it
};

// For one more, which has not been reached.
AuthRoom room_for_another(std::span<const AuthPlace> places);
// One that goes because more have been reached than are kept; none: it is all right, or logins wait for all.
std::optional<size_t> one_too_many(std::span<const AuthPlace> places);

}  // namespace berth::link
