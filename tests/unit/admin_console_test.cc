// The console as a client sees it: login, simple queries, rights, and commands that take their time. The sessions and
// the login are the production ones.
#include <gtest/gtest.h>

#include "admin/parser.h"
#include "admin_support.h"

namespace berth::admin {
namespace {

std::string tag_of(const std::vector<Answer>& answers) {
  for (const Answer& answer : answers) {
    if (answer.tag == 'C') return answer.body.substr(0, answer.body.size() - 1);
  }
  return {};
}

TEST(AdminConsole, GreetsAsPgBouncerDoes) {
  Bench bench;
  Client* client = bench.connect("boss");
  ASSERT_EQ(client->state, pool::ClientState::kConsole);
  const std::vector<Answer> greeting = Bench::answers(client->conn);
  EXPECT_EQ(tags(greeting), "RSSSSSSSSKZ");
  EXPECT_EQ(greeting[1].body, std::string("server_version\0001.26.1/bouncer\0", 30));
  EXPECT_EQ(greeting.back().body, "I");
  EXPECT_TRUE(client->admin);
  EXPECT_FALSE(bench.connect("reader")->admin);
  Client* nobody = bench.connect("nobody");
  EXPECT_TRUE(nobody->closing());
  EXPECT_EQ(field(Bench::answers(nobody->conn), 'C'), "28000");
}

// It has the secrets of everybody, and a session may last for weeks.
TEST(AdminConsole, ASessionKeepsNoConfiguration) {
  Bench bench;
  Client* client = bench.connect("boss");
  ASSERT_EQ(client->state, pool::ClientState::kConsole);
  const std::weak_ptr<const config::Config> before = bench.contexts[0]->config;
  EXPECT_EQ(tag_of(bench.query(client, "SET verbose = 1")), "SET verbose=1");
  EXPECT_TRUE(before.expired());
  EXPECT_EQ(client->user_name(), "boss");
  EXPECT_EQ(client->database_name(), "pgbouncer");
}

TEST(AdminConsole, EveryShowAnswersWithItsColumns) {
  Bench bench;
  Client* client = bench.connect("reader");
  for (const ShowInfo& show : all_shows()) {
    const auto answers = bench.query(client, "SHOW " + std::string(show.name) + ";");
    EXPECT_EQ(tag_of(answers), "SHOW") << show.name;
    EXPECT_EQ(answers.back().tag, 'Z');
    EXPECT_EQ(answers.front().tag, show.kind == ShowKind::kHelp ? 'N' : 'T') << show.name;
    if (answers.front().tag != 'T') continue;
    const size_t columns = wire::read16(answers.front().body.data());
    for (const auto& row : rows(answers)) EXPECT_EQ(row.size(), columns) << show.name;
  }
  EXPECT_EQ(rows(bench.query(client, "SHOW VERSION")), (std::vector<std::vector<std::string>>{{"PgBouncer 1.26.1"}}));
}

// T10: what each role may run, for every command of the list.
TEST(AdminConsole, T10RoleByCommand) {
  for (const VerbInfo& verb : all_verbs()) {
    std::string sql(verb.name);
    switch (verb.argument) {
      case Argument::kDatabaseFor:
      case Argument::kDatabaseOptional:
      case Argument::kDatabase: sql += " shop"; break;
      case Argument::kClient: sql += " 4711"; break;
      case Argument::kSetting: sql += " verbose = 1"; break;
      case Argument::kTable: sql += " POOLS"; break;
      case Argument::kShutdownMode:
      case Argument::kNone: break;
    }
    for (const bool extended : {false, true}) {
      Bench bench;
      bench.globals.registry.database("shop")->paused = verb.verb == Verb::kResume;
      Client* reader = bench.connect("reader");
      std::string bytes;
      if (extended) {
        wire::put_parse(bytes, "", sql, std::string_view("\0\0", 2));
        bytes += std::string("B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04", 28);
      } else {
        wire::put_query(bytes, sql);
      }
      const auto refused = bench.send(reader, bytes);
      if (verb.role == Role::kAdmin) {
        EXPECT_EQ(field(refused, 'C'), "42501") << sql;
        EXPECT_EQ(field(refused, 'M'), "admin access needed") << sql;
        EXPECT_EQ(bench.dispatcher.shutdown, session::Shutdown::kNo);
        EXPECT_FALSE(bench.globals.paused.load());
      } else {
        EXPECT_EQ(field(refused, 'C'), "") << sql;
      }
      const auto allowed = bench.send(bench.connect("boss"), bytes);
      EXPECT_NE(field(allowed, 'C'), "42501") << sql;
    }
  }
  for (const ShowInfo& show : all_shows()) EXPECT_EQ(show.role, Role::kStats) << show.name;
}

TEST(AdminConsole, SeveralStatementsOneMistakeAndNothing) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(tags(bench.query(client, "SHOW VERSION; SHOW STATE; SELECT 1")), "TDCTDDDCTDCZ");
  EXPECT_EQ(tags(bench.query(client, "")), "IZ");
  EXPECT_EQ(tags(bench.query(client, "SHOW VERSION; nonsense")), "EZ");
  // The second one fails: the first has run, the third does not.
  const auto answers = bench.query(client, "SHOW VERSION; KILL_CLIENT x; SHOW VERSION");
  EXPECT_EQ(tags(answers), "TDCEZ");
  const auto unknown = bench.query(client, "SHOW nothing");
  EXPECT_EQ(field(unknown, 'C'), "08P01");
  EXPECT_EQ(field(unknown, 'M'), "invalid command 'SHOW nothing', use SHOW HELP;");
  EXPECT_EQ(tags(bench.query(client, "SHOW VERSION")), "TDCZ");  // and the session lives on
}

TEST(AdminConsole, MessagesInPiecesAndTogether) {
  Bench bench;
  Client* client = bench.connect("boss");
  std::string bytes;
  wire::put_query(bytes, "SHOW VERSION");
  wire::put_query(bytes, "SHOW STATE");
  const std::string whole = tags(bench.send(client, bytes));
  EXPECT_EQ(whole, "TDCZTDDDCZ");
  std::string pieces;
  for (const char byte : bytes) pieces += tags(bench.send(client, std::string_view(&byte, 1)));
  EXPECT_EQ(pieces, whole);
}

TEST(AdminConsole, BadMessagesEndTheSessionOnly) {
  for (const std::string& bytes :
       {std::string("Q\0\0\0\0", 5), std::string("Q\xff\xff\xff\xff", 5), std::string("Q\0\0\0\x06xx", 7),
        std::string("d\0\0\0\x04", 5), std::string("p\0\0\0\x05x", 6), std::string("Q\0\1\0\1", 5)}) {
    Bench bench;
    Client* client = bench.connect("boss");
    Client* other = bench.connect("boss");
    EXPECT_EQ(field(bench.send(client, bytes), 'C'), "08P01");
    EXPECT_TRUE(client->closing());
    EXPECT_EQ(tags(bench.query(other, "SHOW VERSION")), "TDCZ");
  }
}

TEST(AdminConsole, WhileACommandIsUnderWayNothingIsRead) {
  Bench bench;
  bench.dispatcher.at_once = false;
  Client* client = bench.connect("boss");
  std::string bytes;
  wire::put_query(bytes, "SHOW POOLS");
  wire::put_query(bytes, "SHOW VERSION");
  EXPECT_EQ(tags(bench.send(client, bytes)), "");
  EXPECT_NE(client->conn->paused & net::kPauseHeld, 0);
  bench.dispatcher.run();
  EXPECT_EQ(client->conn->paused, 0);
  EXPECT_EQ(tags(Bench::answers(client->conn)), "TDDCZ");  // pgbouncer's pool and shop's
  EXPECT_EQ(tags(bench.send(client, "")), "TDCZ");
}

TEST(AdminConsole, AClientMayCloseWhileItsCommandIsUnderWay) {
  for (const char* sql : {"SHOW POOLS", "PAUSE", "RELOAD; SHOW STATS", "KILL shop", "WAIT_CLOSE"}) {
    Bench bench;
    bench.dispatcher.at_once = false;
    Client* client = bench.connect("boss");
    bench.query(client, sql);
    client->close(session::ClientEnd::kRequest);
    bench.engine.reap();
    bench.tick();
    bench.dispatcher.run();
    bench.tick();
    EXPECT_EQ(bench.contexts[0]->console_clients.size(), 0u);
  }
}

TEST(AdminConsole, SlowReadersAreNotReadEither) {
  Bench bench;
  Client* client = bench.connect("boss");
  bench.engine.unsent_now = 1;
  EXPECT_EQ(tags(bench.query(client, "SHOW VERSION")), "");
  EXPECT_NE(client->conn->paused & net::kPauseBackpressure, 0);
  bench.engine.unsent_now = 0;
  client->on_drained();
  EXPECT_EQ(tags(bench.send(client, "")), "TDCZ");
}

TEST(AdminConsole, PoolsAreSummedOverTheWorkers) {
  Bench bench;
  Client* client = bench.connect("boss", "pgbouncer", 1);
  bench.connect("app", "shop", 0);
  bench.connect("app", "shop", 1);
  bench.engine.time += 1'500'000;
  const auto pools = rows(bench.query(client, "SHOW POOLS"));
  ASSERT_EQ(pools.size(), 2u);
  EXPECT_EQ(pools[0][0], "pgbouncer");
  EXPECT_EQ(pools[0][2], "1");  // cl_active: who asks
  EXPECT_EQ(pools[1][0], "shop");
  EXPECT_EQ(pools[1][1], "app");
  EXPECT_EQ(pools[1][3], "2");        // cl_waiting: both wait for a first server
  EXPECT_EQ(pools[1][13], "1");       // maxwait
  EXPECT_EQ(pools[1][14], "500000");  // maxwait_us
  EXPECT_EQ(rows(bench.query(client, "SHOW CLIENTS")).size(), 3u);
}

TEST(AdminConsole, StatsAreSummedAndAveraged) {
  Bench bench;
  Client* client = bench.connect("reader");
  bench.tick();
  for (auto& context : bench.contexts) context->slices.begin()->second->counters.xact_count = 300;
  const auto cell = [&](size_t column) {
    for (const auto& row : rows(bench.query(client, "SHOW STATS"))) {
      if (row[0] == "shop") return row[column];
    }
    return std::string();
  };
  EXPECT_EQ(cell(2), "600");
  bench.engine.time += 60 * kSecond;
  bench.tick();
  EXPECT_EQ(cell(14), "9");  // 600 in 60.1 s
  bench.engine.time += 60 * kSecond;
  bench.tick();
  EXPECT_EQ(cell(14), "0");  // nothing in the last period
  EXPECT_EQ(cell(2), "600");
}

TEST(AdminConsole, NoSecretInAnyTable) {  // T18
  Bench bench;
  auto config = std::make_shared<config::Config>(*bench.contexts[0]->config);
  config->secrets["app"] = "s3cret-of-the-user";
  config->databases[0].password = "s3cret-of-the-entry";
  config->index();
  for (auto& context : bench.contexts) session::reconfigure(*context, config);
  Client* client = bench.connect("boss");
  for (const ShowInfo& show : all_shows()) {
    for (const Answer& answer : bench.query(client, "SHOW " + std::string(show.name))) {
      EXPECT_EQ(answer.body.find("s3cret"), std::string::npos) << show.name;
    }
  }
}

}  // namespace
}  // namespace berth::admin
