// Goal: failed logins get slow and then are not looked at, whoever knows the password is let in, memory is bounded,
// and nobody can make the table forget him. Method: examples with a clock of our own, a guesser of each kind, dice.
#include "session/throttle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "session/context.h"
#include "unit/seeds.h"

namespace berth::session {
namespace {

constexpr Micros kStart = 1000 * kSecond;

AddressKey address(uint32_t number) {
  AddressKey key;
  key.prefix = number;
  key.kind = AddressKey::Kind::kIpv4;
  return key;
}

std::string user(uint64_t number) {
  return "u" + std::to_string(number);
}

class ThrottleTest : public testing::Test {
 protected:
  ThrottleTest() { throttle.configure(5, 5 * kSecond); }
  // So many failures at one moment; returns how long the last answer waits.
  Micros fail(int times, const AddressKey& who, std::string_view name, Micros now = kStart) {
    Micros delay = 0;
    for (int i = 0; i < times; ++i) delay = throttle.failed(who, name, now);
    return delay;
  }
  Throttle throttle;
};

TEST_F(ThrottleTest, AnswersWaitLongerAndLonger) {
  EXPECT_EQ(fail(5, address(1), "joe"), 0);
  for (const Micros expected : {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000}) {
    EXPECT_EQ(fail(1, address(1), "joe"), expected * kMillisecond);
  }
  EXPECT_EQ(fail(1, address(1), "ann"), 0);
  EXPECT_EQ(fail(1, address(2), "joe"), 0);
}

TEST_F(ThrottleTest, OneFailureIsForgottenEveryTenSeconds) {
  fail(7, address(1), "joe");
  EXPECT_EQ(fail(1, address(1), "joe", kStart + 2 * kForgetEvery), 100 * kMillisecond);
  EXPECT_EQ(fail(1, address(1), "joe", kStart + 3 * kForgetEvery), 100 * kMillisecond);
  EXPECT_EQ(fail(1, address(1), "joe", kStart + 100 * kForgetEvery), 0);
}

// However many they were, minutes later it is over.
TEST_F(ThrottleTest, TheScoreIsBounded) {
  fail(100000, address(1), "joe");
  EXPECT_EQ(fail(1, address(1), "joe", kStart + 26 * kForgetEvery), 0);
}

// Of two databases' users of one name, neither answers for the other; the user as such is one.
TEST_F(ThrottleTest, NamesakesInOtherDatabasesAreApart) {
  fail(7, address(1), learned_name("one", "joe"));
  throttle.succeeded(address(1), learned_name("two", "joe"), kStart);
  throttle.succeeded(address(1), "joe", kStart);
  EXPECT_EQ(fail(1, address(1), learned_name("one", "joe")), 400 * kMillisecond);
  EXPECT_EQ(fail(1, address(1), learned_name("two", "joe")), 0);
  const auto worst = throttle.worst(4, kStart);  // the address and the user have as many as the pair: no order
  EXPECT_TRUE(std::any_of(worst.begin(), worst.end(), [](const auto& entry) { return entry.user == "joe"; }));
  fail(100, address(2), learned_name("three", "joe"));
  EXPECT_GT(fail(1, address(3), "joe"), 0);
  throttle.succeeded(address(1), learned_name("one", "joe"), kStart);
  EXPECT_GT(fail(1, address(4), learned_name(std::string(10000, 'd'), "joe")), 0) << "names of any size";
}

TEST_F(ThrottleTest, ASuccessForgetsItsUsersFailures) {
  fail(300, address(1), "joe");
  EXPECT_FALSE(throttle.may_try(address(1), "joe", kStart));
  throttle.succeeded(address(1), "joe", kStart);
  EXPECT_TRUE(throttle.may_try(address(1), "joe", kStart));
  EXPECT_EQ(fail(1, address(1), "joe"), 5 * kSecond) << "the address's failures are not forgotten";
}

// A guesser who does not wait for answers: so many proofs at once, then so many in a second.
TEST_F(ThrottleTest, ProofsThatAreLookedAt) {
  int looked_at = 0;
  for (int i = 0; i < 10000; ++i) {
    if (!throttle.may_try(address(1), "joe", kStart)) continue;
    ++looked_at;
    throttle.failed(address(1), "joe", kStart);
  }
  EXPECT_EQ(looked_at, kPairBurst);
  for (int ms = 0; ms < 10000; ++ms) {
    const Micros now = kStart + ms * kMillisecond;
    if (!throttle.may_try(address(1), "joe", now)) continue;
    ++looked_at;
    throttle.failed(address(1), "joe", now);
  }
  EXPECT_NEAR(looked_at, kPairBurst + 10 * kPairRefill, 2);
  EXPECT_TRUE(throttle.may_try(address(2), "joe", kStart)) << "the user's other addresses";
  EXPECT_TRUE(throttle.may_try(address(1), "ann", kStart)) << "the address's other users";
}

// One password for many users: the address is refused, but for those who are known there.
TEST_F(ThrottleTest, ManyUsersOfOneAddress) {
  throttle.succeeded(address(1), "ann", kStart);
  int looked_at = 0;
  for (int i = 0; i < 20000; ++i) {
    if (!throttle.may_try(address(1), user(static_cast<uint64_t>(i)), kStart)) continue;
    ++looked_at;
    throttle.failed(address(1), user(static_cast<uint64_t>(i)), kStart);
  }
  EXPECT_EQ(looked_at, kAddressBurst);
  EXPECT_FALSE(throttle.may_try(address(1), "joe", kStart));
  EXPECT_TRUE(throttle.may_try(address(1), "ann", kStart));
  EXPECT_TRUE(throttle.may_try(address(2), "joe", kStart));
  EXPECT_TRUE(throttle.may_try(address(1), "joe", kStart + 10 * kSecond));
}

// Many addresses, one user: the answers get slow, and nobody is refused.
TEST_F(ThrottleTest, ManyAddressesOfOneUser) {
  Micros delay = 0;
  for (uint32_t i = 0; i < 200; ++i) {
    EXPECT_TRUE(throttle.may_try(address(i), "joe", kStart));
    delay = throttle.failed(address(i), "joe", kStart);
  }
  EXPECT_EQ(delay, 5 * kSecond);
  EXPECT_TRUE(throttle.may_try(address(1000), "joe", kStart)) << "from an address that nobody has seen";
  EXPECT_EQ(fail(1, address(1000), "ann"), 0);
}

// A password is rotated: most of an address's processes still have the old one. Those with the new one log in.
TEST_F(ThrottleTest, RotationBehindOneAddress) {
  Random random(7);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const Micros now = kStart + i * 10 * kMillisecond;  // 100 attempts a second, one of twenty is right
    const bool right = random.below(20) == 0;
    if (!throttle.may_try(address(1), "joe", now)) {
      refused += right;
    } else if (right) {
      throttle.succeeded(address(1), "joe", now);
    } else {
      throttle.failed(address(1), "joe", now);
    }
  }
  EXPECT_EQ(refused, 0);
}

TEST_F(ThrottleTest, UnixSocketsAndThresholdZero) {
  fail(100000, AddressKey{}, "joe");
  EXPECT_TRUE(throttle.may_try(AddressKey{}, "joe", kStart));
  EXPECT_EQ(fail(1, AddressKey{}, "joe"), 0);
  fail(1000, address(1), "joe");
  throttle.configure(0, 5 * kSecond);
  EXPECT_TRUE(throttle.may_try(address(1), "joe", kStart));
  EXPECT_EQ(fail(100, address(1), "joe"), 0);
}

// Whom the table has to forget: a guesser who brings as many entries of one failure each as he likes does not get rid
// of his own.
TEST_F(ThrottleTest, ManySmallEntriesDoNotDisplaceAGreatOne) {
  fail(300, address(1), "joe");
  for (uint32_t i = 0; i < 10 * kThrottleEntriesMax; ++i) throttle.failed(address(2 + i), user(i), kStart);
  EXPECT_FALSE(throttle.may_try(address(1), "joe", kStart));
  EXPECT_EQ(fail(1, address(1), "joe"), 5 * kSecond);
  EXPECT_LE(throttle.worst(1 << 30, kStart).size(), kThrottleEntriesMax);
  throttle.forget();
  EXPECT_TRUE(throttle.may_try(address(1), "joe", kStart));
  EXPECT_EQ(throttle.worst(10, kStart).size(), 0u);
}

TEST_F(ThrottleTest, TheWorstComeFirst) {
  fail(9, address(1), "joe");
  fail(300, address(2), "ann");
  const std::vector<Throttle::Row> rows = throttle.worst(3, kStart);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].kind, Throttle::Kind::kUser);  // its score may grow higher
  EXPECT_EQ(rows[0].user, "ann");
  EXPECT_EQ(rows[0].address, "");
  EXPECT_FALSE(rows[0].refused);
  EXPECT_EQ(rows[1].kind, Throttle::Kind::kAddress);
  EXPECT_EQ(rows[1].user, "");
  EXPECT_EQ(rows[2].kind, Throttle::Kind::kPair);
  EXPECT_EQ(rows[2].delay, 5 * kSecond);
  EXPECT_TRUE(rows[2].refused);
  EXPECT_EQ(throttle.worst(100, kStart).size(), 6u);
  EXPECT_EQ(throttle.worst(100, kStart + 10000 * kSecond).size(), 0u) << "all is forgotten";
}

// Names of any length and bytes are told apart by their first 63 bytes, as PostgreSQL does (T1).
TEST_F(ThrottleTest, LongNamesT1) {
  const std::string longest(63, 'x');
  fail(9, address(1), longest + "a");
  EXPECT_GT(fail(1, address(1), longest + "b"), 0);
  EXPECT_EQ(fail(1, address(1), std::string(62, 'x')), 0);
  EXPECT_EQ(fail(1, address(1), std::string_view("\0\0", 2)), 0);
  EXPECT_EQ(fail(1, address(1), ""), 0);
}

TEST_F(ThrottleTest, Dice) {
  SEEDED(random);
  Micros now = kStart;
  for (int i = 0; i < 200000; ++i) {
    now += static_cast<Micros>(random.below(20)) * kMillisecond;
    const AddressKey who = address(static_cast<uint32_t>(random.below(random.below(10) ? 3 : 100000)));
    const std::string name = user(random.below(random.below(10) ? 3 : 100000));
    switch (random.below(8)) {
      case 0:
        throttle.succeeded(who, name, now);
        ASSERT_TRUE(throttle.may_try(who, name, now));
        break;
      case 1: throttle.may_try(who, name, now); break;
      default: {
        const Micros delay = throttle.failed(who, name, now);
        ASSERT_TRUE(delay == 0 || (delay >= kDelayFirst && delay <= 5 * kSecond));
      }
    }
  }
  EXPECT_LE(throttle.worst(1 << 30, now).size(), kThrottleEntriesMax);
}

}  // namespace
}  // namespace berth::session
