// The extension's login: pgberth_link at the console, with the secret of this process and no other, and what it may
// do.
#include <gtest/gtest.h>

#include "admin_support.h"
#include "auth/exchange.h"
#include "unit/auth_steps.h"

namespace berth::admin {
namespace {

// Logs in as libpq does. The last message types: "RRSS...Z" when it is in, "...E" when not.
std::string log_in(Bench& bench, Client* client, const std::string& password) {
  auth::Proof proof;
  proof.secret = auth::parse_secret(password);
  const auto login = auth::make_server_login(config::kLinkUser, proof);
  net::Conn* conn = client->conn;
  for (int step = 0; step < 10; ++step) {
    const std::vector<Answer> answers = Bench::answers(conn);
    if (answers.empty() || answers.back().tag == 'E' || answers.back().tag == 'Z') return tags(answers);
    std::string out;
    for (const Answer& answer : answers) out += auth::feed_through(*login, answer.body).bytes;
    bench.engine.deliver(conn, out);
    bench.fleet.run_aside();
  }
  return "endless";
}

struct Extension : testing::Test {
  Extension() { session::make_identity(bench.globals.identity, "0.2.0", 6432); }
  std::string password() const { return std::string(bench.globals.identity.password.view()); }
  Bench bench;
};

TEST_F(Extension, LogsInWithTheSecretOfThisProcess) {
  EXPECT_EQ(password().size(), 64u);  // 32 bytes
  for (const std::string database : {"pgbouncer", "pgberth"}) {
    Client* client = bench.connect(config::kLinkUser, database);
    const std::string tags = log_in(bench, client, password());
    EXPECT_TRUE(tags.ends_with('Z')) << tags;
    EXPECT_EQ(client->state, pool::ClientState::kConsole);
  }
}

TEST_F(Extension, NothingElseLetsItIn) {  // whatever auth_type says: the bench's is trust
  auto config = std::make_shared<config::Config>(*bench.contexts[0]->config);
  config->secrets[std::string(config::kLinkUser)] = "listed";  // auth_file does not count for this name
  config->options.admin_users = "boss, pgberth_link";
  config->index();
  for (auto& context : bench.contexts) context->config = config;
  for (const std::string& wrong : {std::string("listed"), password() + "0", password().substr(1), std::string("x")}) {
    Client* client = bench.connect(config::kLinkUser);
    EXPECT_TRUE(log_in(bench, client, wrong).ends_with('E')) << wrong;
    bench.engine.reap();
  }
  Client* client = bench.connect(config::kLinkUser);
  EXPECT_TRUE(log_in(bench, client, password()).ends_with('Z'));
  EXPECT_FALSE(client->admin);  // nor does a list make it more than it is
}

TEST_F(Extension, WithoutASecretNobodyComesIn) {
  bench.globals.identity.secret = {};
  Client* client = bench.connect(config::kLinkUser);
  EXPECT_TRUE(log_in(bench, client, password()).ends_with('E'));
}

TEST_F(Extension, MayShowAndRunWhatItsFunctionsDo) {
  Client* client = bench.connect(config::kLinkUser);
  log_in(bench, client, password());
  for (const char* sql : {"SHOW POOLS", "SHOW LINKS", "PAUSE shop", "RESUME shop", "RECONNECT", "RELOAD"}) {
    EXPECT_FALSE(tags(bench.query(client, sql)).starts_with('E')) << sql;
  }
  // It may, and there is no such client.
  EXPECT_NE(bench.query(client, "KILL_CLIENT 4711").front().body.find("08P01"), std::string::npos);
  for (const char* sql :
       {"KILL", "SHUTDOWN", "SET verbose = 1", "DISABLE shop", "ENABLE shop", "SUSPEND", "WAIT_CLOSE"}) {
    EXPECT_NE(bench.query(client, sql).front().body.find("42501"), std::string::npos) << sql;
  }
}

TEST_F(Extension, StandsInNoListButThatOfConnections) {
  Client* boss = bench.connect("boss");
  Client* client = bench.connect(config::kLinkUser);
  log_in(bench, client, password());
  const auto count = [&](const char* sql) {
    size_t rows = 0;
    for (const Answer& answer : bench.query(boss, sql)) {
      rows += answer.tag == 'D' && answer.body.find(config::kLinkUser) != std::string::npos;
      EXPECT_EQ(answer.body.find(password()), std::string::npos);
    }
    return rows;
  };
  bench.answers(boss->conn);
  EXPECT_EQ(count("SHOW USERS"), 0u);
  EXPECT_EQ(count("SHOW POOLS"), 0u);
  EXPECT_EQ(count("SHOW CLIENTS"), 1u);  // its own connection, like any other's
  EXPECT_EQ(count("SHOW CONFIG"), 0u);
}

TEST_F(Extension, TwoProcessesHaveNothingInCommon) {
  session::Identity other;
  session::make_identity(other, "0.2.0", 6432);
  EXPECT_NE(other.id, bench.globals.identity.id);
  EXPECT_NE(other.password.view(), password());
  EXPECT_EQ(other.name, bench.globals.identity.name);
  EXPECT_TRUE(other.name.ends_with(":6432"));
}

TEST(LinkBoard, SaysWhatIsUp) {
  session::LinkBoard board;
  EXPECT_EQ(board.summary(), "off");
  board.publish({}, false);
  EXPECT_EQ(board.summary(), "none");
  board.publish(
      {{.database = "a", .state = "up"}, {.database = "b", .state = "absent"}, {.database = "c", .state = "up"}},
      false);
  EXPECT_EQ(board.summary(), "up: a, c");
  EXPECT_EQ(board.rows().size(), 3u);
}

}  // namespace
}  // namespace berth::admin
