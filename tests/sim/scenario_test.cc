// Goal: bugs that worlds have shown stay away, whatever the seeds come to mean.
// Method: the shortest way to each, step by step, without dice.
#include <gtest/gtest.h>

#include "session/session_features.h"
#include "sim/bench.h"

namespace berth::sim {

// A server was connecting when a reload removed its database: it has no entry to log in by.
TEST(Scenario, ReloadRemovesTheDatabaseOfAServerThatConnects) {
  Bench bench;
  bench.apply();
  const LinkPtr client = bench.client();
  while (bench.places.empty()) bench.turn();
  ASSERT_EQ(bench.pool().servers(pool::ServerState::kConnecting).size(), 1u);
  bench.config.databases.clear();
  bench.apply();
  for (int i = 0; i < 5; ++i) bench.turn();
  EXPECT_NE(client->to_peer.bytes.find("database is no longer configured"), std::string::npos);
  EXPECT_TRUE(client->to_peer.fin);
  EXPECT_EQ(bench.pool().server_count(), 0u);
}

// A connect_query that fails: as after any failed connect, the next attempt waits, longer each time.
TEST(Scenario, AFailingConnectQueryIsNotTriedAllTheTime) {
  Bench bench;
  bench.config.databases[0].connect_query = "error setup";
  bench.apply();
  bench.client();
  bench.turns(8 * kSecond);
  EXPECT_GE(bench.places.size(), 3u);  // at 0, 1 and 3 seconds, or a little earlier
  EXPECT_LE(bench.places.size(), 5u);
}

// So does one that breaks the connection.
TEST(Scenario, AConnectQueryThatEndsTheServerIsNotTriedAllTheTime) {
  Bench bench;
  bench.config.databases[0].connect_query = "sleep setup";
  bench.postgres.sleep_most = 1'000'000 * kSecond;
  bench.apply();
  bench.client();
  for (int i = 0; i < 400; ++i) {
    bench.turn(20 * kMillisecond);
    for (Bench::Place& place : bench.places) {
      if (place.backend->sleeping()) place.backend->terminate("", "");
    }
  }
  EXPECT_GE(bench.places.size(), 3u);
  EXPECT_LE(bench.places.size(), 5u);
}

// A connect_query that does not end: server_connect_timeout counts for it, too, or its place were lost for ever.
TEST(Scenario, AConnectQueryThatHangsIsGivenUp) {
  Bench bench;
  bench.config.databases[0].connect_query = "sleep setup";
  bench.config.options.server_connect_timeout = 5 * kSecond;
  bench.postgres.sleep_most = 1'000'000 * kSecond;
  bench.apply();
  bench.client();
  bench.turns(4 * kSecond);
  ASSERT_EQ(bench.places.size(), 1u);
  EXPECT_TRUE(bench.places[0].backend->sleeping());
  bench.postgres.sleep_most = 0;  // for the next one
  bench.turns(2 * kSecond);
  EXPECT_TRUE(bench.places[0].backend->gone);
  bench.turns(5 * kSecond);
  EXPECT_EQ(bench.pool().servers(pool::ServerState::kIdle).size(), 1u);
}

// RECONNECT on its way while the broker ends: nothing is opened any more.
TEST(Scenario, NothingIsOpenedOnceTheBrokerEnds) {
  Bench bench;
  bench.config.options.min_pool_size = 2;
  bench.apply();
  const LinkPtr client = bench.client();
  bench.turns(kSecond);
  session::close_everything(bench.context);
  for (auto& [key, slice] : bench.context.slices) {
    slice->pool.reconnect();
    session::tick_slice(bench.context, *slice);
  }
  for (int i = 0; i < 100; ++i) bench.turn(1);
  EXPECT_FALSE(session::anything_open(bench.context));
}

// A database from the entry `*` that nobody uses any more: its slice goes, what it has counted stays in the sums, and
// the next client begins anew.
TEST(Scenario, AnUnusedDatabaseOfTheFallbackIsForgotten) {
  Bench bench;
  config::DatabaseEntry& entry = bench.config.databases[0];
  entry.name = "*";
  entry.dbname.clear();
  entry.is_fallback = true;
  bench.config.options.server_idle_timeout = kSecond;
  bench.config.options.autodb_idle_timeout = 5 * kSecond;
  bench.apply();
  const LinkPtr first = bench.client();
  bench.turns(kSecond);
  first->to_broker.fin = true;
  bench.turns(4 * kSecond);
  EXPECT_EQ(bench.context.slices.size(), 1u);
  EXPECT_EQ(bench.pool().server_count(), 0u);
  bench.turns(4 * kSecond);
  EXPECT_TRUE(bench.context.slices.empty());
  EXPECT_EQ(bench.context.forgotten.query_count, 1);
  const LinkPtr second = bench.client();
  bench.turns(kSecond);
  EXPECT_NE(second->to_peer.bytes.find("c1.1"), std::string::npos);
  EXPECT_EQ(bench.context.slices.begin()->second->counters.query_count, 1);
  bench.turns(60 * kSecond);
  EXPECT_EQ(bench.context.slices.size(), 1u) << "its client is there";
}

// A slice that has had no query holds no histograms, one without an error no table of them.
TEST(Scenario, WhatIsCountedHasItsPlaceFromTheFirstTime) {
  Bench bench;
  bench.config.options.min_pool_size = 1;
  bench.config.databases[0].user = "u0";
  bench.apply();
  bench.turns(kSecond);
  const session::Slice& slice = *bench.context.slices.begin()->second;
  EXPECT_TRUE(!slice.latency && !slice.errors);
  const LinkPtr client = bench.client();
  bench.turns(kSecond);
  EXPECT_TRUE(slice.latency && slice.latency->query.count() == 1 && !slice.errors);
}

// A server that differs in nothing but what cannot be set, as after a promotion: the client hears of it.
TEST(Scenario, AClientHearsOfWhatCannotBeSet) {
  Bench bench;
  bench.postgres.defaults["in_hot_standby"] = "on";
  bench.apply();
  const LinkPtr client = bench.client();
  bench.turns(kSecond);
  bench.postgres.defaults["in_hot_standby"] = "off";
  bench.places[0].backend->terminate("57P01", "terminating connection due to administrator command");
  bench.turns(kSecond);
  const std::string on("in_hot_standby\0on", 17), off("in_hot_standby\0off", 18);
  for (const char* sql : {"select c1.2", "discard all", "select c1.3"}) {
    client->to_peer.bytes.clear();
    wire::put_query(client->to_broker.bytes, sql);
    bench.turns(kSecond);
    EXPECT_EQ(client->to_peer.bytes.find(off) != std::string::npos, std::string(sql) == "select c1.2") << sql;
    EXPECT_EQ(client->to_peer.bytes.find(on), std::string::npos) << sql;
  }
}

// A SET of what PostgreSQL does not report is told of when it has been done, not when it has been said.
class UntrackedSet : public testing::Test {
 protected:
  void SetUp() override {
    bench_.apply();
    link_ = bench_.client();
    bench_.turns(kSecond);
  }
  void query(std::string_view sql) {
    wire::put_query(link_->to_broker.bytes, sql);
    bench_.turns(kSecond);
  }
  void parse(std::string_view name, std::string_view sql) {
    wire::put_parse(link_->to_broker.bytes, name, sql, std::string_view("\0\0", 2));
  }
  void run(const std::string& name) {
    {
      wire::Message bind(link_->to_broker.bytes, wire::kBind);
      link_->to_broker.bytes += std::string(1, '\0') + name + std::string(7, '\0');
    }
    wire::Message execute(link_->to_broker.bytes, wire::kExecute);
    link_->to_broker.bytes.append(5, '\0');
  }
  void sync() {
    wire::put_empty(link_->to_broker.bytes, wire::kSync);
    bench_.turns(kSecond);
  }
  bool told() const {
    for (const session::Client* client : bench_.context.client_by_index) {
      if (client) return client->told_features & session::kFeatureSet;
    }
    return false;
  }
  static constexpr std::string_view kUnreported = "set extra_float_digits to '2'", kReported = "set TimeZone to 'x'",
                                    kFailing = "set no_such to '1'";
  Bench bench_;
  LinkPtr link_;
};

TEST_F(UntrackedSet, DoneIsTold) {
  query(kReported);
  EXPECT_FALSE(told());
  query(kUnreported);
  EXPECT_TRUE(told());
}

TEST_F(UntrackedSet, DoneByAStatementIsTold) {
  parse("a", kUnreported);
  parse("b", kReported);
  run("b");
  sync();
  EXPECT_FALSE(told());
  run("a");
  sync();
  EXPECT_TRUE(told());
}

TEST_F(UntrackedSet, RefusedIsNotTold) {
  query(kFailing);
  query(kReported);
  EXPECT_FALSE(told());
}

TEST_F(UntrackedSet, OnlyParsedIsNotTold) {
  parse("", kUnreported);
  sync();
  query(kReported);
  EXPECT_FALSE(told());
}

TEST_F(UntrackedSet, RolledBackIsNotTold) {
  query(std::string(kUnreported) + "; error c1.2");
  EXPECT_FALSE(told());
  parse("", kUnreported);
  run("");
  parse("", "error c1.3");
  run("");
  sync();
  EXPECT_FALSE(told());
  query("begin");
  query(kUnreported);
  query("error c1.4");
  query("rollback");
  query(kReported);
  EXPECT_FALSE(told());
}

// Two COPYs in one Query, the first one's end sent ahead: the second one reads what comes next, a Sync too.
class TwoCopies : public testing::Test {
 protected:
  void SetUp() override {
    bench_.apply();
    link_ = bench_.client();
    bench_.turns(kSecond);
    wire::put_query(link_->to_broker.bytes, "copyin c1.2; copyin c1.3");
    link_->to_broker.bytes += kLine + kDone + kLine;
    bench_.turns(kSecond);
    link_->to_peer.bytes.clear();
  }

  const std::string kLine = std::string("d\0\0\0\x9line\n", 10), kDone = std::string("c\0\0\0\4", 5),
                    kSync = std::string("S\0\0\0\4", 5);
  Bench bench_;
  LinkPtr link_;
};

TEST_F(TwoCopies, ASyncInTheSecondIsSwallowed) {
  link_->to_broker.bytes += kSync + kLine + kDone;
  bench_.turns(kSecond);
  EXPECT_EQ(bench_.pool().servers(pool::ServerState::kIdle).size(), 1u) << "the Sync is not owed an answer";
  wire::put_query(link_->to_broker.bytes, "select c1.4");
  bench_.turns(kSecond);
  EXPECT_NE(link_->to_peer.bytes.find("c1.4"), std::string::npos);
}

TEST_F(TwoCopies, ALeaverInTheSecondEndsIt) {
  link_->to_broker.fin = true;
  bench_.turns(kSecond);  // less than kDrainTime
  EXPECT_FALSE(bench_.places[0].backend->gone);
  EXPECT_EQ(bench_.pool().servers(pool::ServerState::kIdle).size(), 1u);
}

// The data behind a COPY that has failed: PostgreSQL reads it slowly. Its sender is read on meanwhile, and nobody
// gets the server before it has taken all.
TEST(Scenario, DataBehindAFailedCopy) {
  Bench bench;
  bench.apply();
  const LinkPtr client = bench.client();
  bench.turns(kSecond);
  bench.places[0].link->window = 100;
  std::string& out = client->to_broker.bytes;
  wire::put_query(out, "copyin c1.2");
  out += std::string("f\0\0\0\5\0", 6);
  for (int i = 0; i < 150; ++i) out += std::string("d\0\0\0\x9line\n", 10);
  bench.turns(5 * kSecond);
  EXPECT_EQ(bench.pool().servers(pool::ServerState::kIdle).size(), 1u) << "the rest of a message that nobody answers";
  wire::put_query(out, "select c1.3");
  bench.turns(5 * kSecond);
  EXPECT_NE(client->to_peer.bytes.find("c1.3"), std::string::npos);
}

// A Sync ahead of a simple Query's COPY is swallowed, and none is owed: its ReadyForQuery has ended all.
TEST(Scenario, ASyncInACopyKeepsNoServer) {
  Bench bench;
  bench.apply();
  const LinkPtr client = bench.client();
  bench.turns(kSecond);
  wire::put_query(client->to_broker.bytes, "copyin c1.2");
  client->to_broker.bytes += std::string("S\0\0\0\4c\0\0\0\4", 10);
  bench.turns(kSecond);
  EXPECT_EQ(bench.pool().servers(pool::ServerState::kIdle).size(), 1u);
}

// A server that is wanted on another worker at once, and says more behind the end of its login: words that belong to
// nobody, or those of one that an administrator ends just then. That goes along.
TEST(Scenario, ANewServerThatSpeaksTravels) {
  std::string farewell;
  wire::put_error(farewell, wire::Severity::kFatal, "57P01", "terminating connection due to administrator command");
  for (const std::string& more : {std::string("\x01\0\0\0\4", 5), farewell}) {
    Bench bench(2);
    bench.apply();
    bench.client();
    while (bench.places.empty()) bench.turn();
    std::string& said = bench.places[0].link->to_broker.bytes;
    for (int i = 0; i < 100 && !said.ends_with('I'); ++i) bench.turn();
    ASSERT_TRUE(said.ends_with(std::string("Z\0\0\0\5I", 6)));
    said += more;
    pool::SliceSignal& other = bench.pool().shared()->slices[1];
    other.oldest_wait = other.waiting = 1;
    bench.turn();
    EXPECT_EQ(bench.pool().servers(pool::ServerState::kTravelling).size(), 1u);
    other.oldest_wait = kNever;
    other.waiting = 0;
    bench.turns(kSecond);
    EXPECT_FALSE(bench.places[0].link->broker_open) << "it has spoken while it was idle";
  }
}

}  // namespace berth::sim
