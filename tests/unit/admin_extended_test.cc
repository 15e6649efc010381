// The extended protocol on the console: what psycopg 3, asyncpg and lib/pq send.
#include <gtest/gtest.h>

#include "admin_support.h"

namespace berth::admin {
namespace {

std::string parse(std::string_view name, std::string_view sql) {
  std::string out;
  wire::put_parse(out, name, sql, std::string_view("\0\0", 2));
  return out;
}

std::string bind_to(std::string_view portal, std::string_view statement, std::vector<std::string> values = {},
                    std::vector<int16_t> formats = {}) {
  std::string out;
  wire::Message message(out, 'B');
  wire::put_cstring(out, portal);
  wire::put_cstring(out, statement);
  wire::put16(out, 0);
  wire::put16(out, static_cast<uint16_t>(values.size()));
  for (const std::string& value : values) {
    wire::put32(out, static_cast<uint32_t>(value.size()));
    out += value;
  }
  wire::put16(out, static_cast<uint16_t>(formats.size()));
  for (const int16_t format : formats) wire::put16(out, static_cast<uint16_t>(format));
  return out;
}

std::string target(char tag, char kind, std::string_view name) {
  std::string out;
  wire::Message message(out, tag);
  out += kind;
  wire::put_cstring(out, name);
  return out;
}

std::string execute(std::string_view portal, uint32_t most = 0) {
  std::string out;
  wire::Message message(out, 'E');
  wire::put_cstring(out, portal);
  wire::put32(out, most);
  return out;
}

std::string sync() {
  return std::string("S\0\0\0\4", 5);
}

TEST(AdminExtended, ParseDescribeBindExecute) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(tags(bench.send(client, parse("a", "SHOW STATE") + target('D', 'S', "a") + sync())), "1tTZ");
  const auto answers = bench.send(client, bind_to("", "a") + target('D', 'P', "") + execute("") + sync());
  EXPECT_EQ(tags(answers), "2TDDDCZ");
  EXPECT_EQ(rows(answers)[0][0], "active");
  EXPECT_EQ(tags(bench.send(client, target('C', 'S', "a") + sync())), "3Z");
  EXPECT_EQ(field(bench.send(client, bind_to("", "a") + execute("") + sync()), 'C'), "26000");
}

TEST(AdminExtended, ACommandWithoutRows) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(tags(bench.send(client,
                            parse("", "PAUSE shop") + bind_to("", "") + target('D', 'P', "") + execute("") + sync())),
            "12nCZ");
  EXPECT_TRUE(bench.globals.registry.database("shop")->paused.load());
  EXPECT_EQ(tags(bench.send(client, parse("", "") + bind_to("", "") + target('D', 'P', "") + execute("") + sync())),
            "12nIZ");
}

TEST(AdminExtended, WaitsInTheMiddleOfABatch) {
  Bench bench;
  bench.dispatcher.at_once = false;
  Client* client = bench.connect("boss");
  const std::string one = parse("", "SHOW POOLS") + bind_to("", "") + execute("");
  EXPECT_EQ(tags(bench.send(client, one + one + sync())), "12");
  bench.dispatcher.run();
  EXPECT_EQ(tags(Bench::answers(client->conn)), "DDC");
  EXPECT_EQ(tags(bench.send(client, "")), "12");
  bench.dispatcher.run();
  EXPECT_EQ(tags(Bench::answers(client->conn)), "DDC");
  EXPECT_EQ(tags(bench.send(client, "")), "Z");
}

TEST(AdminExtended, RowLimitsSuspendThePortal) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(tags(bench.send(client,
                            parse("", "SHOW STATE") + bind_to("p", "") + execute("p", 2) + execute("p", 2) + sync())),
            "12DDsDCZ");
  EXPECT_EQ(field(bench.send(client, execute("p") + sync()), 'C'), "34000");  // gone with the Sync
}

TEST(AdminExtended, BinaryRows) {
  Bench bench;
  Client* client = bench.connect("boss");
  const auto answers = bench.send(
      client, parse("", "SHOW LISTS") + bind_to("", "", {}, {1}) + target('D', 'P', "") + execute("") + sync());
  EXPECT_EQ(answers[2].body.substr(answers[2].body.size() - 2), std::string("\0\1", 2));
  EXPECT_EQ(rows(answers)[0][0], "databases");
  EXPECT_EQ(rows(answers)[0][1], std::string("\0\0\0\2", 4));  // shop and the console's own
}

TEST(AdminExtended, ParametersAreTexts) {
  Bench bench;
  Client* client = bench.connect("boss");
  const auto described = bench.send(client, parse("a", "DISABLE $1") + target('D', 'S', "a") + sync());
  EXPECT_EQ(tags(described), "1tnZ");
  EXPECT_EQ(described[1].body, std::string("\0\1\0\0\0\x19", 6));
  EXPECT_EQ(tags(bench.send(client, bind_to("", "a", {"shop"}) + execute("") + sync())), "2CZ");
  EXPECT_TRUE(bench.globals.registry.database("shop")->disabled.load());
  EXPECT_EQ(field(bench.send(client, bind_to("", "a", {"nowhere"}) + execute("") + sync()), 'M'),
            "no such database: nowhere");
  EXPECT_EQ(field(bench.send(client, bind_to("", "a") + sync()), 'C'), "08P01");
  EXPECT_EQ(field(bench.send(client, bind_to("", "a", {std::string(64, 'x')}) + sync()), 'C'), "22023");
  EXPECT_EQ(tags(bench.send(client, parse("", "SET verbose = $1") + bind_to("", "", {"1"}) + execute("") + sync())),
            "12CZ");
  const std::string slip = parse("", "SHUTDOWN $1") + bind_to("", "", {"wait_for_client"}) + execute("") + sync();
  EXPECT_EQ(field(bench.send(client, slip), 'C'), "22023");
  EXPECT_EQ(bench.dispatcher.shutdown, session::Shutdown::kNo);
}

TEST(AdminExtended, AfterAnErrorEverythingIsSkippedUpToSync) {
  Bench bench;
  Client* client = bench.connect("boss");
  const std::string rest = parse("", "SHOW VERSION") + bind_to("", "") + execute("");
  EXPECT_EQ(tags(bench.send(client, parse("", "nonsense") + rest + sync() + rest + sync())), "EZ12DCZ");
  EXPECT_EQ(tags(bench.send(client, parse("", "SHOW VERSION; SHOW STATE") + rest + sync())), "EZ");
  EXPECT_EQ(tags(bench.send(client, parse("x", "SHOW STATE") + parse("x", "SHOW STATE") + sync())), "1EZ");
  EXPECT_EQ(field(bench.send(client, execute("none") + sync()), 'C'), "34000");
  EXPECT_EQ(field(bench.send(client, target('D', 'S', "none") + sync()), 'C'), "26000");
  EXPECT_EQ(tags(bench.send(client, parse("", "KILL_CLIENT 1x") + bind_to("", "") + execute("") + rest + sync())),
            "12EZ");
  std::string queried = parse("", "nonsense");
  wire::put_query(queried, "SHOW VERSION");
  EXPECT_EQ(tags(bench.send(client, queried + sync())), "EZ") << "as PostgreSQL";
}

TEST(AdminExtended, MalformedMessagesAreErrorsOfTheBatch) {
  Bench bench;
  Client* client = bench.connect("boss");
  for (const std::string& body :
       {std::string(), std::string("x"), std::string("\0", 1), std::string("\0\0\0\1", 4),
        std::string("\0\0\0\0\0\1\0\0\0\xff", 10), std::string("\0\0\0\1\0\7\0\0\0\0", 10)}) {
    for (const char tag : {'P', 'B', 'D', 'E', 'C'}) {
      std::string message;
      {
        wire::Message whole(message, tag);
        message += body;
      }
      const auto answers = bench.send(client, message + sync());
      EXPECT_EQ(tags(answers), "EZ") << tag << body.size();
    }
  }
  EXPECT_FALSE(client->closing());
}

TEST(AdminExtended, StatementsAndPortalsHaveALimit) {
  Bench bench;
  Client* client = bench.connect("boss");
  for (size_t i = 0; i < kPreparedMax; ++i)
    ASSERT_EQ(tags(bench.send(client, parse(std::to_string(i), "SHOW STATE"))), "1");
  EXPECT_EQ(field(bench.send(client, parse("more", "SHOW STATE") + sync()), 'C'), "54000");
  for (size_t i = 0; i < kPortalsMax; ++i) ASSERT_EQ(tags(bench.send(client, bind_to(std::to_string(i), "0"))), "2");
  EXPECT_EQ(field(bench.send(client, bind_to("more", "0") + sync()), 'C'), "54000");
}

TEST(AdminExtended, TransactionBlocksForDriversThatWantThem) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(bench.query(client, "BEGIN").back().body, "T");
  EXPECT_EQ(bench.query(client, "SHOW VERSION").back().body, "T");
  EXPECT_EQ(bench.send(client, sync()).back().body, "T");
  EXPECT_EQ(bench.query(client, "COMMIT").back().body, "I");
}

}  // namespace
}  // namespace berth::admin
