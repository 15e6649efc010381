// Goal: a flood writes a bounded number of lines, and every line that is left out is counted. Method: a clock of our
// own.
#include "base/log_budget.h"

#include <gtest/gtest.h>

#include "unit/seeds.h"

namespace berth {
namespace {

constexpr Micros kStart = 1000 * kSecond;

int taken(LogBudget& budget, int times, Micros now) {
  int lines = 0;
  for (int i = 0; i < times; ++i) lines += budget.take(now);
  return lines;
}

TEST(LogBudgetTest, SoManyAtOnceThenOneASecond) {
  LogBudget budget;
  EXPECT_EQ(taken(budget, 1000, kStart), LogBudget::kLinesAtOnce);
  EXPECT_EQ(budget.take_left_out(), 1000u - LogBudget::kLinesAtOnce);
  EXPECT_EQ(budget.take_left_out(), 0u);
  EXPECT_EQ(taken(budget, 1000, kStart + kSecond - 1), 0);
  EXPECT_EQ(taken(budget, 1000, kStart + kSecond), 1);
  EXPECT_EQ(taken(budget, 1000, kStart + 4 * kSecond), 3);
  EXPECT_EQ(taken(budget, 1000, kStart + 1000 * kSecond), LogBudget::kLinesAtOnce);
}

TEST(LogBudgetTest, Dice) {
  SEEDED(dice);
  LogBudget budget;
  Micros now = kStart;
  int64_t asked = 0, lines = 0;
  for (int i = 0; i < 100000; ++i) {
    now += static_cast<Micros>(dice.below(dice.below(100) ? 1000 : 100 * kSecond));
    ++asked;
    lines += budget.take(now);
    ASSERT_LE(lines, LogBudget::kLinesAtOnce + (now - kStart) / LogBudget::kLineEvery);
  }
  EXPECT_EQ(static_cast<int64_t>(budget.take_left_out()), asked - lines);
}

}  // namespace
}  // namespace berth
