// Goal: a login that waits for a helper thread holds up nobody, and may end in any way before its work is done.
// Method: logins step by step; work is done when the test says so, and the order of what happens is what counts.
#include <gtest/gtest.h>

#include "auth/scram.h"
#include "sim/bench.h"

namespace berth::sim {
namespace {

// No two tests know each other's keys.
std::string new_salt() {
  static int number = 0;
  return "salt number " + std::to_string(++number);
}

auth::Secret scram_of(std::string_view password) {
  return auth::parse_secret(auth::to_text(auth::make_scram_secret(password, new_salt(), 2)));
}

std::string password_message(std::string_view password) {
  std::string out;
  {
    wire::Message message(out, wire::kPassword);
    wire::put_cstring(out, password);
  }
  return out;
}

std::string query(std::string_view sql) {
  std::string out;
  wire::put_query(out, sql);
  return out;
}

bool told(const LinkPtr& link, std::string_view text) {
  return link->to_peer.bytes.find(text) != std::string::npos;
}

// Clients are asked for a clear password, and auth_file has a SCRAM secret.
struct AskingBench : Bench {
  AskingBench() {
    config.options.auth_type = config::AuthType::kPlain;
    config.secrets["u0"] = auth::to_text(scram_of("pw").scram);
  }
  LinkPtr parked(std::string_view password = "pw", std::string_view then = {}) {
    LinkPtr link = client(password_message(password) + std::string(then));
    for (int i = 0; i < 5; ++i) turn();
    EXPECT_EQ(asides.size(), 1u);
    EXPECT_EQ(context.startup_clients.size(), 1u);
    return link;
  }
  int64_t ended(session::ClientEnd why) const { return context.disconnects.clients[static_cast<size_t>(why)]; }
};

// PostgreSQL asks for SCRAM, with another salt for each test.
struct ScramBench : Bench {
  ScramBench() {
    config.databases[0].password = "pw";
    config.options.default_pool_size = 2;
    postgres.method = auth::Method::kScramSha256;
    postgres.secret = scram_of("pw");
  }
};

// T12: a server that asks for however much holds up its own login and nothing else.
TEST(Aside, AServersKeyHoldsUpNobodyElse) {
  ScramBench bench;
  bench.apply();
  const LinkPtr first = bench.client(query("begin"));
  for (int i = 0; i < 5; ++i) bench.turn();
  ASSERT_EQ(bench.asides.size(), 1u);
  bench.run_aside();
  bench.turns(100 * kMillisecond);
  ASSERT_TRUE(told(first, "BEGIN"));
  bench.postgres.secret = scram_of("pw");  // the next login needs another key
  const LinkPtr second = bench.client(query("select c2.1"));
  bench.turns(kSecond);
  ASSERT_EQ(bench.asides.size(), 1u);
  ASSERT_EQ(bench.pool().servers(pool::ServerState::kLogin).size(), 1u);
  for (int i = 1; i <= 20; ++i) {  // the work is not done, and the other client is served all the while
    const std::string tag = "c1." + std::to_string(100 + i);
    first->to_broker.bytes += query("select " + tag);
    bench.turns(200 * kMillisecond);
    EXPECT_TRUE(told(first, tag)) << i;
  }
  EXPECT_FALSE(told(second, "c2.1"));
  bench.run_aside();
  bench.turns(kSecond);
  EXPECT_TRUE(told(second, "c2.1"));
}

TEST(Aside, AServerThatWaitsForItsKeyIsGivenUpInTime) {
  ScramBench bench;
  bench.config.options.server_connect_timeout = 5 * kSecond;
  bench.apply();
  const LinkPtr client = bench.client();
  bench.turns(4 * kSecond);
  ASSERT_EQ(bench.asides.size(), 1u);
  ASSERT_EQ(bench.pool().servers(pool::ServerState::kLogin).size(), 1u);
  bench.turns(2 * kSecond);
  EXPECT_TRUE(bench.places[0].backend->gone);
  EXPECT_EQ(bench.context.asking.size(), bench.pool().servers(pool::ServerState::kLogin).size());
  bench.run_aside();  // too late for that server
  bench.turns(5 * kSecond);
  EXPECT_TRUE(told(client, "c1.1"));
}

TEST(Aside, AServerThatHangsUpWhileItWaits) {
  ScramBench bench;
  bench.apply();
  bench.client();
  for (int i = 0; i < 5; ++i) bench.turn();
  ASSERT_EQ(bench.asides.size(), 1u);
  bench.places[0].link->reset = true;
  bench.turns(100 * kMillisecond);
  EXPECT_EQ(bench.pool().server_count(), 0u);
  bench.run_aside();
}

TEST(Aside, NoThreadForAServersKeyIsAFailedConnect) {
  ScramBench bench;
  bench.aside_full = true;
  bench.apply();
  const LinkPtr client = bench.client();
  bench.turns(500 * kMillisecond);
  bench.asides.clear();
  EXPECT_EQ(bench.pool().server_count(), 0u);
  EXPECT_EQ(bench.context.slices.begin()->second->last_error, "too many logins to servers wait for their keys");
  EXPECT_FALSE(client->to_peer.fin) << "it waits: the next attempt may find a thread";
  bench.aside_full = false;
  bench.turns(2 * kSecond);
  bench.run_aside();
  bench.turns(kSecond);
  EXPECT_TRUE(told(client, "c1.1"));
}

// What it sent ahead stays where it is, and is read when it has been let in.
TEST(Aside, AParkedClientGoesOnWhereItsBytesStopped) {
  AskingBench bench;
  bench.apply();
  const LinkPtr link = bench.parked("pw", query("select c1.7"));
  bench.turns(kSecond);
  EXPECT_FALSE(told(link, "c1.7"));
  bench.run_aside();
  bench.turns(kSecond);
  EXPECT_TRUE(told(link, "c1.7"));
}

TEST(Aside, AWrongPasswordIsRefusedAfterTheWork) {
  AskingBench bench;
  bench.apply();
  const LinkPtr link = bench.parked("wrong", query("select c1.7"));
  bench.run_aside();
  bench.turns(kSecond);
  EXPECT_TRUE(told(link, "password authentication failed") && link->to_peer.fin);
  EXPECT_FALSE(told(link, "c1.7"));
}

// Its place is somebody else's when the answer comes.
TEST(Aside, AnAnswerForAClientThatHasLeftReachesNobody) {
  AskingBench bench;
  bench.apply();
  const LinkPtr first = bench.parked();
  first->to_broker.fin = true;
  bench.turns(100 * kMillisecond);
  ASSERT_TRUE(bench.context.startup_clients.empty());
  auto answers = std::exchange(bench.asides, {});
  const LinkPtr second = bench.parked("wrong");
  for (auto& [work, done] : answers) {
    work->run();
    done(*work);
  }
  bench.turns(kSecond);
  EXPECT_FALSE(told(second, "failed")) << "it still waits for its own";
  bench.run_aside();
  bench.turns(kSecond);
  EXPECT_TRUE(told(second, "password authentication failed"));
}

TEST(Aside, AParkedClientTimesOut) {
  AskingBench bench;
  bench.config.options.client_login_timeout = 2 * kSecond;
  bench.apply();
  const LinkPtr link = bench.parked();
  bench.turns(3 * kSecond);
  EXPECT_TRUE(told(link, "client_login_timeout") && link->to_peer.fin);
  bench.run_aside();
  EXPECT_EQ(bench.ended(session::ClientEnd::kLoginTimeout), 1);
}

// The exchange is that of the configuration under which it began.
TEST(Aside, AReloadWhileItIsParked) {
  AskingBench bench;
  bench.apply();
  const LinkPtr link = bench.parked("pw", query("select c1.7"));
  bench.config.options.auth_type = config::AuthType::kScramSha256;
  bench.config.secrets.clear();
  bench.apply();
  bench.run_aside();
  bench.turns(kSecond);
  EXPECT_TRUE(told(link, "c1.7"));
}

TEST(Aside, WhenTooManyWaitTheNextIsTold) {
  AskingBench bench;
  bench.aside_full = true;
  bench.apply();
  const LinkPtr link = bench.client(password_message("pw"));
  bench.turns(kSecond);
  EXPECT_TRUE(told(link, "too many logins wait to be checked") && told(link, "53300") && link->to_peer.fin);
  EXPECT_EQ(bench.ended(session::ClientEnd::kTooManyWait), 1);
  bench.asides.clear();
}

TEST(Aside, TheBrokerEndsWhileClientsAndServersAreParked) {
  AskingBench clients;
  clients.apply();
  const LinkPtr link = clients.parked();
  session::close_everything(clients.context);
  clients.turns(kSecond);
  EXPECT_FALSE(session::anything_open(clients.context));
  EXPECT_TRUE(told(link, "pgberth is shutting down"));
  clients.run_aside();
  ScramBench servers;
  servers.apply();
  servers.client();
  for (int i = 0; i < 5; ++i) servers.turn();
  session::close_everything(servers.context);
  servers.turns(kSecond);
  EXPECT_FALSE(session::anything_open(servers.context));
  servers.run_aside();
}

}  // namespace
}  // namespace berth::sim
