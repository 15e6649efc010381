// Our tables of statistics over several workers, and PAUSE FOR by a clock that the test turns. What the numbers mean
// is tested end to end (tests/e2e/test_statistics.py).
#include <gtest/gtest.h>

#include "admin_support.h"
#include "session/server.h"

namespace berth::admin {
namespace {

using Rows = std::vector<std::vector<std::string>>;

session::Slice& slice_of(Bench& bench, int worker) {
  return *bench.contexts[static_cast<size_t>(worker)]->slices.begin()->second;
}

std::string last_tag(const std::vector<Answer>& answers) {
  for (auto at = answers.rbegin(); at != answers.rend(); ++at) {
    if (at->tag == 'C') return at->body.substr(0, at->body.size() - 1);
  }
  return {};
}

bool paused(Bench& bench, const std::string& database) {
  return database.empty() ? bench.globals.paused.load() : bench.globals.registry.database(database)->paused.load();
}

// Time passes in ticks.
void pass(Bench& bench, Micros time) {
  const Micros end = bench.engine.time + time;
  while (bench.engine.time < end) bench.tick();
}

TEST(AdminStatistics, LatencyIsMergedOverTheWorkers) {
  Bench bench;
  for (int worker = 0; worker < 2; ++worker) {
    session::Slice& slice = slice_of(bench, worker);
    slice.counters.server_assignment_count = 10;
    slice.counters.wait_time = 20;
    slice.counters.query_time = 300;
    slice.recorded().wait.record(20);
    for (int i = 0; i < 3; ++i) slice.recorded().query.record(worker == 0 ? 1 : 30);
  }
  const Rows shown = rows(bench.query(bench.connect("reader"), "SHOW LATENCY"));
  EXPECT_EQ(shown, (Rows{{"shop", "app", "wait", "20", "40", "0", "20", "20", "20", "20"},
                         {"shop", "app", "query", "6", "600", "1", "30", "30", "30", "30"},
                         {"shop", "app", "transaction", "0", "0", "0", "0", "0", "0", "0"}}));
}

TEST(AdminStatistics, ErrorsAreMergedOverTheWorkers) {
  Bench bench;
  for (int worker = 0; worker < 2; ++worker) {
    slice_of(bench, worker).count_error(stats::ErrorSource::kServer, "42P01");
    bench.contexts[static_cast<size_t>(worker)]->errors.count(stats::ErrorSource::kBroker, "3D000");
  }
  slice_of(bench, 1).count_error(stats::ErrorSource::kBroker, "42P01");
  const Rows shown = rows(bench.query(bench.connect("reader"), "SHOW ERRORS"));
  EXPECT_EQ(shown, (Rows{{"(null)", "(null)", "broker", "3D000", "2"},
                         {"shop", "app", "server", "42P01", "2"},
                         {"shop", "app", "broker", "42P01", "1"}}));
}

TEST(AdminStatistics, QueueIsOneOverTheWorkers) {
  Bench bench;
  std::vector<std::string> serials;
  for (const int worker : {1, 0, 1}) {
    serials.push_back(std::to_string(bench.connect("app", "shop", worker)->serial));
    bench.engine.time += 1000;
  }
  const Rows shown = rows(bench.query(bench.connect("reader"), "SHOW QUEUE"));
  ASSERT_EQ(shown.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(shown[i][0], serials[i]);
    EXPECT_EQ(shown[i][1], "shop");
    EXPECT_EQ(shown[i][5], std::to_string(3000 - 1000 * i));
    EXPECT_EQ(shown[i][6], std::to_string(i + 1));
  }
}

TEST(AdminStatistics, PauseForResumesAllWorkers) {
  for (const std::string database : {"", "shop"}) {
    Bench bench;
    Client* client = bench.connect("boss", "pgbouncer", 1);
    EXPECT_EQ(last_tag(bench.query(client, "PAUSE " + database + " FOR 5000")), "PAUSE");
    pass(bench, 4900 * kMillisecond);
    EXPECT_TRUE(paused(bench, database));
    EXPECT_TRUE(slice_of(bench, 0).pool.paused());
    pass(bench, 200 * kMillisecond);
    EXPECT_FALSE(paused(bench, database));
    EXPECT_FALSE(slice_of(bench, 0).pool.paused());
    EXPECT_FALSE(slice_of(bench, 1).pool.paused());
    EXPECT_EQ(last_tag(bench.query(client, "PAUSE " + database)), "PAUSE");  // for ever
    pass(bench, 10 * kSecond);
    EXPECT_TRUE(paused(bench, database));
  }
}

// Whoever paused or resumed last is right; an older deadline counts for nothing, whichever worker it stands on.
TEST(AdminStatistics, AnOldDeadlineEndsNoOtherPause) {
  for (const std::string database : {"", "shop"}) {
    for (const std::string& then : {"PAUSE " + database, "PAUSE " + database + " FOR 60000", "KILL " + database}) {
      Bench bench;
      Client* first = bench.connect("boss", "pgbouncer", 0);
      Client* second = bench.connect("boss", "pgbouncer", 1);
      EXPECT_EQ(last_tag(bench.query(first, "PAUSE " + database + " FOR 5000")), "PAUSE");
      EXPECT_EQ(last_tag(bench.query(second, "RESUME " + database)), "RESUME");
      EXPECT_NE(last_tag(bench.query(second, then)), "");
      pass(bench, 10 * kSecond);
      EXPECT_TRUE(paused(bench, database)) << then;
    }
  }
}

TEST(AdminStatistics, PauseOfADatabaseTakesANewDeadline) {
  Bench bench;
  Client* client = bench.connect("boss");
  for (const char* sql : {"PAUSE shop FOR 1000", "PAUSE shop FOR 9000"}) {
    EXPECT_EQ(last_tag(bench.query(client, sql)), "PAUSE");
  }
  pass(bench, 5 * kSecond);
  EXPECT_TRUE(paused(bench, "shop"));
  pass(bench, 5 * kSecond);
  EXPECT_FALSE(paused(bench, "shop"));
}

TEST(AdminStatistics, ASignalsPauseHasNoEnd) {
  Bench bench;
  bench.query(bench.connect("boss"), "PAUSE FOR 1000");
  pause_all(bench.dispatcher, bench.globals);
  pass(bench, 5 * kSecond);
  EXPECT_TRUE(paused(bench, ""));
}

TEST(AdminStatistics, AShutdownStaysPaused) {
  Bench bench;
  bench.query(bench.connect("boss"), "PAUSE FOR 1000");
  bench.globals.shutdown = session::Shutdown::kWaitForServers;
  pass(bench, 5 * kSecond);
  EXPECT_TRUE(paused(bench, ""));
}

TEST(AdminStatistics, TimesThatAreNone) {
  Bench bench;
  Client* client = bench.connect("boss");
  for (const char* sql : {"PAUSE FOR 0", "PAUSE shop FOR 0", "PAUSE shop FOR 000"}) {
    EXPECT_EQ(field(bench.query(client, sql), 'C'), "22023") << sql;
  }
  EXPECT_FALSE(paused(bench, ""));
  EXPECT_FALSE(paused(bench, "shop"));
  EXPECT_EQ(last_tag(bench.query(client, "PAUSE shop FOR 999999999")), "PAUSE");
}

}  // namespace
}  // namespace berth::admin
