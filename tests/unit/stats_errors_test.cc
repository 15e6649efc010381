// Goal: each SQLSTATE is counted under its own name and source, and nothing is lost when there are too many or when
// it is none. Method: counts against a map; every length and letter at the border.
#include "stats/errors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "unit/seeds.h"

namespace berth::stats {
namespace {

using Source = ErrorSource;
using Counts = std::map<std::pair<Source, std::string>, int64_t>;

Counts counts_of(const Errors& errors) {
  Counts out;
  errors.each([&](Source source, const std::string& state, int64_t count) {
    EXPECT_TRUE(out.emplace(std::pair{source, state}, count).second) << state << " has two rows";
  });
  return out;
}

TEST(ErrorsTest, ByStateAndSource) {
  Errors errors;
  EXPECT_TRUE(counts_of(errors).empty());
  errors.count(Source::kServer, "42P01");
  errors.count(Source::kServer, "42P01");
  errors.count(Source::kBroker, "42P01");
  errors.count(Source::kBroker, "00000");
  errors.count(Source::kServer, "ZZZZZ");
  EXPECT_EQ(counts_of(errors), (Counts{{{Source::kServer, "42P01"}, 2},
                                       {{Source::kBroker, "42P01"}, 1},
                                       {{Source::kBroker, "00000"}, 1},
                                       {{Source::kServer, "ZZZZZ"}, 1}}));
}

TEST(ErrorsTest, WhatIsNoSqlstateIsOther) {
  Errors errors;
  const std::string_view odd[] = {"",      "4",     "42P0",   "42P011",
                                  "42p01", "42 01", "42\n01", std::string_view("\0\0\0\0\0", 5)};
  for (const std::string_view state : odd) errors.count(Source::kServer, state);
  EXPECT_EQ(counts_of(errors), (Counts{{{Source::kServer, "other"}, static_cast<int64_t>(std::size(odd))}}));
}

TEST(ErrorsTest, AFullTableKeepsItsRowsAndCountsTheRest) {
  Errors errors;
  for (size_t i = 0; i < kErrorStatesMax + 10; ++i) errors.count(Source::kServer, fmt::format("X{:04}", i));
  errors.count(Source::kServer, "X0000");
  errors.count(Source::kBroker, "X0000");
  const Counts counts = counts_of(errors);
  EXPECT_EQ(counts.size(), kErrorStatesMax + 2);
  EXPECT_EQ(counts.at({Source::kServer, "X0000"}), 2);
  EXPECT_EQ(counts.at({Source::kServer, fmt::format("X{:04}", kErrorStatesMax - 1)}), 1);
  EXPECT_EQ(counts.at({Source::kServer, "other"}), 10);
  EXPECT_EQ(counts.at({Source::kBroker, "other"}), 1);
}

TEST(ErrorsTest, SlicesAddUp) {
  SEEDED(dice);
  Errors one, other;
  Counts model;
  for (int i = 0; i < 1000; ++i) {
    const auto source = static_cast<Source>(dice.below(2));
    const std::string state = dice.below(10) == 0 ? "bad" : fmt::format("S00{:02}", dice.below(20));
    (dice.below(2) ? one : other).count(source, state);
    ++model[{source, state == "bad" ? "other" : state}];
  }
  one.add(other);
  EXPECT_EQ(counts_of(one), model);
}

}  // namespace
}  // namespace berth::stats
