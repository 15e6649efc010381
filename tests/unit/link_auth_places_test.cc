// Which database's lookups go when there are too many: never one that logins wait for, and never one that has
// answered for one that has not.
#include "link/auth_places.h"

#include <gtest/gtest.h>

#include <vector>

namespace berth::link {
namespace {

// `reached` places that have answered, then `unreached` ones; the later ones were asked later.
std::vector<AuthPlace> places(size_t reached, size_t unreached) {
  std::vector<AuthPlace> out;
  for (size_t i = 0; i < reached + unreached; ++i) out.push_back({i < reached, false, static_cast<Micros>(i)});
  return out;
}

void want(std::vector<AuthPlace>& all, bool reached) {
  for (AuthPlace& place : all) place.wanted |= place.reached == reached;
}

TEST(AuthPlaces, ThereIsRoomForSome) {
  const AuthRoom room = room_for_another(places(kAuthReachedMax, kAuthUnreachedMax - 1));
  EXPECT_TRUE(room.found);
  EXPECT_FALSE(room.displaced);
}

TEST(AuthPlaces, OfThoseThatNeverAnsweredTheOldestGoes) {
  auto all = places(1, kAuthUnreachedMax);
  EXPECT_EQ(room_for_another(all).displaced, 1u);
  all[1].wanted = true;
  EXPECT_EQ(room_for_another(all).displaced, 2u);
  all[7].asked_at = -1;
  EXPECT_EQ(room_for_another(all).displaced, 7u);
}

TEST(AuthPlaces, NobodyGoesForOneThatHasNotAnswered) {
  auto all = places(kAuthReachedMax, kAuthUnreachedMax);
  want(all, false);
  EXPECT_FALSE(room_for_another(all).found);
  all = places(0, kAuthUnreachedMax);
  want(all, false);
  EXPECT_FALSE(room_for_another(all).found);
}

TEST(AuthPlaces, OneThatAnswersTakesTheOldestsPlace) {
  EXPECT_FALSE(one_too_many(places(kAuthReachedMax, kAuthUnreachedMax)));
  auto all = places(kAuthReachedMax + 1, 3);
  EXPECT_EQ(one_too_many(all), 0u);
  all[0].wanted = true;
  EXPECT_EQ(one_too_many(all), 1u);
  want(all, true);
  EXPECT_FALSE(one_too_many(all));
}

// Logins wait for more than are kept: they all stay, within a bound.
TEST(AuthPlaces, AllTogetherAreBounded) {
  auto all = places(kAuthPlacesMax - 1, 0);
  want(all, true);
  EXPECT_TRUE(room_for_another(all).found);
  all = places(kAuthPlacesMax, 0);
  EXPECT_EQ(room_for_another(all).displaced, 0u);
  want(all, true);
  EXPECT_FALSE(room_for_another(all).found);
}

}  // namespace
}  // namespace berth::link
