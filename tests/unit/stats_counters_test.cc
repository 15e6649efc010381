// Goal: the slices of a pool add up, each counter to itself; each reason for an end is counted as itself. Method:
// every entry of the lists by its name.
#include "stats/counters.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "stats/disconnects.h"

namespace berth::stats {
namespace {

TEST(CountersTest, EachBeginsAtZeroAndAddsToItself) {
  Counters one, other;
  int64_t next = 0;
#define COUNTER(name, meaning) \
  EXPECT_EQ(one.name, 0);      \
  one.name = ++next;           \
  other.name = 1000 * next;
#include "stats/counters.def"
#undef COUNTER
  ASSERT_GT(next, 0);
  one.add(other);
  int64_t number = 0;
#define COUNTER(name, meaning) \
  ++number;                    \
  EXPECT_EQ(one.name, 1001 * number) << #name;
#include "stats/counters.def"
#undef COUNTER
  EXPECT_EQ(sizeof(Counters), sizeof(int64_t) * static_cast<size_t>(next)) << "a number that is not in the list";
}

TEST(CountersTest, EachHasANameAndAMeaningOfItsOwn) {
  std::set<std::string> names, meanings;
#define COUNTER(name, meaning)             \
  EXPECT_TRUE(names.insert(#name).second); \
  EXPECT_TRUE(meanings.insert(meaning).second) << #name;
#include "stats/counters.def"
#undef COUNTER
}

template <typename End, size_t N>
void each_end_counts_as_itself(const std::array<EndInfo, N>& infos, std::array<int64_t, N> Disconnects::*numbers) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < N; ++i) {
    EXPECT_TRUE(names.insert(infos[i].name).second) << infos[i].name;
    EXPECT_FALSE(infos[i].words.empty()) << infos[i].name;
    EXPECT_EQ(words_of(static_cast<End>(i)), infos[i].words);
    Disconnects one, sum;
    one.count(static_cast<End>(i));
    sum.add(one);
    sum.add(one);
    for (size_t j = 0; j < N; ++j) EXPECT_EQ((sum.*numbers)[j], i == j ? 2 : 0);
  }
}

TEST(DisconnectsTest, EachReasonCountsAsItself) {
  each_end_counts_as_itself<ClientEnd>(kClientEnds, &Disconnects::clients);
  each_end_counts_as_itself<ServerEnd>(kServerEnds, &Disconnects::servers);
}

}  // namespace
}  // namespace berth::stats
