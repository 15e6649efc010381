// When an engine gives way, and when it stops to: net/courtesy.h.
#include <gtest/gtest.h>

#include "net/courtesy.h"

namespace berth::net {
namespace {

constexpr Micros kShort = 2;
constexpr Micros kTooLong = Courtesy::kLong + 1;

// Yields of this duration, one after the other, as long as they are allowed; how many there were.
int yields(Courtesy& courtesy, Micros duration, int most, Micros& now) {
  int count = 0;
  while (count < most && courtesy.allowed(now)) {
    now += duration;
    courtesy.took(duration, now);
    ++count;
  }
  return count;
}

TEST(Courtesy, ShortOnesGoOn) {
  Courtesy courtesy;
  Micros now = 0;
  EXPECT_EQ(yields(courtesy, Courtesy::kLong, 100'000, now), 100'000);
}

TEST(Courtesy, RareLongOnesAreBorne) {
  Courtesy courtesy;
  Micros now = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(yields(courtesy, kTooLong, 1, now), 1) << i;
    ASSERT_EQ(yields(courtesy, kShort, Courtesy::kLongCost, now), Courtesy::kLongCost) << i;
  }
}

TEST(Courtesy, TwoLongOnesCloseTogetherEndIt) {
  Courtesy courtesy;
  Micros now = 0;
  yields(courtesy, kTooLong, 1, now);
  yields(courtesy, kShort, Courtesy::kLongCost - 1, now);
  yields(courtesy, kTooLong, 1, now);
  EXPECT_TRUE(courtesy.allowed(now)) << "one less than its patience";
  yields(courtesy, kTooLong, 1, now);
  EXPECT_FALSE(courtesy.allowed(now));
  EXPECT_FALSE(courtesy.allowed(now + Courtesy::kPauseFirst - 1));
  EXPECT_TRUE(courtesy.allowed(now + Courtesy::kPauseFirst));
}

// Where somebody computes all the time, two yields are made in each pause, and the pauses grow.
TEST(Courtesy, PausesGrowUpToAMinute) {
  Courtesy courtesy;
  Micros now = 0;
  for (Micros pause = Courtesy::kPauseFirst; pause <= Courtesy::kPauseMost; pause *= 2) {
    EXPECT_EQ(yields(courtesy, kTooLong, 100, now), 2);
    EXPECT_FALSE(courtesy.allowed(now + pause - 1));
    now += pause;
    EXPECT_TRUE(courtesy.allowed(now));
  }
  EXPECT_EQ(yields(courtesy, kTooLong, 100, now), 2);
  EXPECT_FALSE(courtesy.allowed(now + Courtesy::kPauseMost - 1));
  EXPECT_TRUE(courtesy.allowed(now + Courtesy::kPauseMost));
}

TEST(Courtesy, GoodTimesAreRemembered) {
  Courtesy courtesy;
  Micros now = 0;
  for (int i = 0; i < 4; ++i) {
    yields(courtesy, kTooLong, 100, now);
    now += Courtesy::kPauseMost;
  }
  EXPECT_EQ(yields(courtesy, kShort, Courtesy::kForgiven, now), Courtesy::kForgiven);
  yields(courtesy, kTooLong, 100, now);
  EXPECT_TRUE(courtesy.allowed(now + Courtesy::kPauseFirst));
}

}  // namespace
}  // namespace berth::net
