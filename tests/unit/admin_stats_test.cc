// Averages as PgBouncer defines them, and the page that is generated from the console's lists.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "admin/docs.h"
#include "admin/stats_history.h"

namespace berth::admin {
namespace {

TEST(AdminStats, AveragesPerSecondAndPerEvent) {
  stats::Counters then, now;
  then.xact_count = 100;
  then.xact_time = 5000;
  now.xact_count = 400;
  now.xact_time = 5000 + 300 * 70;
  now.query_count = 10;
  now.query_time = 1234;
  now.received = 3'000'000'000'000;
  now.server_assignment_count = 4;
  now.wait_time = 4001;
  const stats::Counters average = averages(now, then, 10 * kSecond);
  EXPECT_EQ(average.xact_count, 30);
  EXPECT_EQ(average.xact_time, 70);  // per transaction
  EXPECT_EQ(average.query_count, 1);
  EXPECT_EQ(average.query_time, 123);  // per query
  EXPECT_EQ(average.wait_time, 1000);  // per assignment
  EXPECT_EQ(average.received, 300'000'000'000);
  EXPECT_EQ(average.sent, 0);
  EXPECT_EQ(averages(now, then, 0).xact_count, 0);  // no time has passed: nothing to divide by
}

TEST(AdminStats, LastCompletedPeriodOrSinceTheStart) {
  StatsHistory history;
  history.newer.at = 100 * kSecond;
  stats::Counters live;
  live.xact_count = 50;
  EXPECT_EQ(averages_of(history, "shop", live, 105 * kSecond).xact_count, 10);
  history.push({160 * kSecond, {{"shop", live}}});
  live.xact_count = 50'000;  // of the period that runs: not looked at
  EXPECT_EQ(averages_of(history, "shop", live, 161 * kSecond).xact_count, 0);
  stats::Counters later;
  later.xact_count = 50 + 120;
  history.push({220 * kSecond, {{"shop", later}}});
  EXPECT_EQ(averages_of(history, "shop", live, 221 * kSecond).xact_count, 2);
  EXPECT_EQ(averages_of(history, "unknown", live, 221 * kSecond).xact_count, 0);
}

TEST(AdminStats, TheLogLine) {
  stats::Counters average;
  average.xact_count = 1;
  average.query_count = 2;
  average.received = 3;
  average.sent = 4;
  EXPECT_EQ(stats_line(average),
            "stats: 1 xacts/s, 2 queries/s, 0 client parses/s, 0 server parses/s, 0 binds/s, in 3 B/s, out 4 B/s, "
            "xact 0 us, "
            "query 0 us, wait 0 us");
}

TEST(AdminDocs, ThePageIsTheGeneratedOne) {
  const std::string here = __FILE__;
  const std::string path = here.substr(0, here.find("tests/unit/")) + "docs/admin.md";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str() == admin_markdown()) << "run: pgberth --docs admin > docs/admin.md";
}

}  // namespace
}  // namespace berth::admin
