#include "link/auth_places.h"

#include <algorithm>

namespace berth::link {

namespace {

size_t count(std::span<const AuthPlace> places, bool reached) {
  return static_cast<size_t>(
      std::count_if(places.begin(), places.end(), [&](const AuthPlace& place) { return place.reached == reached; }));
}

std::optional<size_t> oldest(std::span<const AuthPlace> places, bool reached) {
  std::optional<size_t> found;
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].reached != reached || places[i].wanted) continue;
    if (!found || places[i].asked_at < places[*found].asked_at) found = i;
  }
  return found;
}

}  // namespace

AuthRoom room_for_another(std::span<const AuthPlace> places) {
  const bool crowded = count(places, false) >= kAuthUnreachedMax;
  if (!crowded && places.size() < kAuthPlacesMax) return {true, {}};
  const std::optional<size_t> who = oldest(places, !crowded);  // not crowded, and full: too many have been reached
  return {who.has_value(), who};
}

std::optional<size_t> one_too_many(std::span<const AuthPlace> places) {
  if (count(places, true) <= kAuthReachedMax) return {};
  return oldest(places, true);
}

}  // namespace berth::link
