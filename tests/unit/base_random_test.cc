// Goal: the generator of the simulation replays and is even, the hash of tables is SipHash-2-4. Method: the vectors
// of its authors, counts.
#include <array>
#include <set>
#include <string>

#include "base/random.h"
#include "base/siphash.h"
#include "base/time.h"
#include "unit/seeds.h"

namespace berth {
namespace {

// Aumasson and Bernstein, vectors.h: key 00 01 .. 0f, message 00 01 .. of each length.
TEST(SipHash, VectorsOfItsAuthors) {
  const SipKey key{0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  static constexpr std::array<uint64_t, 16> kExpected = {
      0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au, 0x85676696d7fb7e2du,
      0xcf2794e0277187b7u, 0x18765564cd99a68du, 0xcbc9466e58fee3ceu, 0xab0200f58b01d137u,
      0x93f5f5799a932462u, 0x9e0082df0ba9e4b0u, 0x7a5dbbc594ddb9f3u, 0xf4b32f46226bada7u,
      0x751e8fbc860ee5fbu, 0x14ea5627c0843d90u, 0xf723ca908e7af2eeu, 0xa129ca6149be45e5u};
  std::string message;
  for (uint64_t expected : kExpected) {
    EXPECT_EQ(siphash(key, message), expected) << message.size();
    message += static_cast<char>(message.size());
  }
}

TEST(SipHash, TheKeyOfTheProcess) {
  EXPECT_EQ(&process_key(), &process_key());
  EXPECT_TRUE(process_key().low != 0 || process_key().high != 0);
  EXPECT_NE(siphash(process_key(), "a"), siphash(process_key(), "b"));
}

TEST(RandomTest, ASeedReplaysAndAnotherDoesNot) {
  Random one(7), again(7), other(8);
  int same = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = one.next();
    EXPECT_EQ(value, again.next());
    same += value == other.next();
  }
  EXPECT_EQ(same, 0);
}

TEST(RandomTest, InBoundsAndEven) {
  SEEDED(dice);
  std::array<int, 10> counts{};
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    ++counts.at(dice.below(10));
    const double fraction = dice.fraction();
    ASSERT_GE(fraction, 0.0);
    ASSERT_LT(fraction, 1.0);
    sum += fraction;
  }
  for (int count : counts) EXPECT_NEAR(count, 10000, 600);
  EXPECT_NEAR(sum, 50000, 600);
  EXPECT_EQ(dice.below(1), 0u);
}

TEST(RandomTest, OfTheOperatingSystem) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    std::string key(32, '\0');
    fill_secure(key.data(), key.size());
    EXPECT_TRUE(seen.insert(key).second);
  }
  fill_secure(nullptr, 0);
}

}  // namespace
}  // namespace berth
