// Goal: a server that is wanted is found, wherever in a list of hosts and in their addresses it is. Method: step by
// step, one place after the other refuses or says nothing; the test reads which ones were tried.
#include <gtest/gtest.h>

#include "sim/bench.h"

namespace berth::sim {
namespace {

struct Case {
  const char* name;
  bool refuses;  // else it takes what comes and says nothing, or not even that
  std::vector<std::string> hosts;
  int addresses;
  std::string good;  // the only one that serves
};

constexpr const char* kPort = "/.s.PGSQL.5432";

std::string text(const std::string& place) {
  return "unix:" + place + kPort;
}

std::vector<std::string> all_of(const Case& one) {
  std::vector<std::string> all;
  for (const std::string& host : one.hosts) {
    for (int i = 1; i <= one.addresses; ++i) {
      all.push_back(text(one.addresses > 1 ? host + "." + std::to_string(i) : host));
    }
  }
  return all;
}

const Case kCases[] = {
    {"addresses that say nothing", false, {"/a"}, 3, "/a.3"},
    {"addresses that refuse", true, {"/a"}, 3, "/a.3"},
    {"hosts that say nothing", false, {"/a", "/b", "/c"}, 1, "/c"},
    {"hosts that refuse", true, {"/a", "/b", "/c"}, 1, "/c"},
    {"two hosts, the first one refuses", true, {"/a", "/b"}, 1, "/b"},
    {"addresses of hosts that say nothing", false, {"/a", "/b"}, 2, "/a.2"},
    {"addresses of hosts that refuse", true, {"/a", "/b"}, 2, "/a.2"},
    {"and of the last one", true, {"/a", "/b"}, 2, "/b.2"},
};

void find_the_good_one(const Case& one, config::LoadBalance balance) {
  SCOPED_TRACE(one.name);
  Bench bench;
  bench.config.databases[0].hosts = one.hosts;
  bench.config.databases[0].load_balance_hosts = balance;
  bench.config.options.server_connect_timeout = kSecond;
  bench.config.options.server_login_retry = kSecond;
  bench.config.options.query_wait_timeout = 0;
  bench.host_addresses = one.addresses;
  const std::vector<std::string> all = all_of(one);
  for (const std::string& place : all) {
    if (place != text(one.good)) (one.refuses ? bench.closed : bench.deaf).insert(place);
  }
  bench.apply();
  bench.client();
  const size_t tries = all.size();
  for (int i = 0; i < 1000 && bench.places.empty(); ++i) bench.turn(20 * kMillisecond);
  EXPECT_EQ(bench.places.size(), 1u) << "nobody has found it";
  EXPECT_LE(bench.dialled.size(), tries);
  EXPECT_EQ(bench.dialled.back(), text(one.good));
}

TEST(Hosts, InTurn) {
  for (const Case& one : kCases) find_the_good_one(one, config::LoadBalance::kRoundRobin);
}

TEST(Hosts, TheNextOneWhenOneFails) {
  for (const Case& one : kCases) find_the_good_one(one, config::LoadBalance::kDisable);
}

// It takes connections and lets nobody in.
TEST(Hosts, ASilentLoginIsLeft) {
  Bench bench;
  bench.config.databases[0].load_balance_hosts = config::LoadBalance::kDisable;
  bench.config.databases[0].hosts = {"/a", "/b"};
  bench.config.options.server_connect_timeout = kSecond;
  bench.config.options.server_login_retry = kSecond;
  bench.apply();
  bench.client();
  while (bench.places.empty()) bench.turn();
  const LinkPtr silent = bench.places[0].link;
  bench.places[0].link = std::make_shared<Link>();  // nobody reads what it is sent
  bench.turns(4 * kSecond);
  EXPECT_EQ(bench.dialled, (std::vector<std::string>{text("/a"), text("/b")}));
  EXPECT_FALSE(silent->broker_open);
  EXPECT_EQ(bench.pool().servers(pool::ServerState::kIdle).size(), 1u);
}

// load_balance_hosts = disable: one that lets nobody in, for whatever reason, is left.
TEST(Hosts, ARefusedLoginIsLeft) {
  for (const bool full : {true, false}) {
    Bench bench;
    bench.config.databases[0].load_balance_hosts = config::LoadBalance::kDisable;
    bench.config.databases[0].hosts = {"/a", "/b"};
    bench.config.options.server_login_retry = kSecond;
    if (full) {
      bench.postgres.connections_max = 0;  // 53300
    } else {
      bench.config.databases[0].dbname = "missing";  // 3D000
    }
    bench.apply();
    bench.client();
    while (bench.places.empty() || !bench.places[0].backend->gone) bench.turn();
    bench.turns(100 * kMillisecond);
    bench.client();
    bench.turns(4 * kSecond);
    ASSERT_GE(bench.dialled.size(), 2u);
    EXPECT_EQ(bench.dialled[0], text("/a"));
    EXPECT_EQ(bench.dialled[1], text("/b")) << (full ? "full" : "no such database");
  }
}

TEST(Hosts, SoIsOneWhereConnectQueryFails) {
  Bench bench;
  bench.config.databases[0].load_balance_hosts = config::LoadBalance::kDisable;
  bench.config.databases[0].hosts = {"/a", "/b"};
  bench.config.databases[0].connect_query = "nonsense";
  bench.config.options.server_login_retry = kSecond;
  bench.apply();
  bench.client();
  bench.turns(4 * kSecond);
  ASSERT_GE(bench.dialled.size(), 2u);
  EXPECT_EQ(bench.dialled[1], text("/b"));
}

// load_balance_hosts = disable: one that works stays the one.
TEST(Hosts, NoOtherOneWhileOneWorks) {
  Bench bench;
  bench.config.databases[0].load_balance_hosts = config::LoadBalance::kDisable;
  bench.config.databases[0].hosts = {"/a", "/b"};
  bench.config.options.min_pool_size = 3;
  bench.apply();
  bench.client();
  bench.turns(2 * kSecond);
  EXPECT_EQ(bench.dialled, std::vector<std::string>(3, text("/a")));
}

}  // namespace
}  // namespace berth::sim
