// Connection strings: quoting, every parameter of both sections, every kind of mistake.
#include "config/entries.h"

#include <gtest/gtest.h>

#include "unit/config_support.h"

namespace berth::config {
namespace {

std::string pairs(std::string_view text) {
  const Result<std::vector<Pair>> parsed = parse_pairs(text);
  if (!parsed) return "error: " + parsed.error().text;
  std::string out;
  for (const Pair& pair : parsed.value()) out += "<" + pair.key + "|" + pair.value + ">";
  return out;
}

TEST(Pairs, Quoting) {
  EXPECT_EQ(pairs(""), "");
  EXPECT_EQ(pairs("   "), "");
  EXPECT_EQ(pairs("host=a port=1"), "<host|a><port|1>");
  EXPECT_EQ(pairs("host = a\tport\t=\t1"), "<host|a><port|1>");
  EXPECT_EQ(pairs("q='it''s' p=''"), "<q|it's><p|>");
  EXPECT_EQ(pairs("q='a=b c' z=1"), "<q|a=b c><z|1>");
  EXPECT_EQ(pairs("q=''''"), "<q|'>");
  EXPECT_EQ(pairs("q=a'b"), "<q|a'b>");  // a quote counts only at the start of a value
  EXPECT_EQ(pairs("q=a=b"), "<q|a=b>");
  EXPECT_EQ(pairs("q=\\'"), "<q|\\'>");  // a backslash means nothing
}

TEST(Pairs, Mistakes) {
  EXPECT_EQ(pairs("host"), "error: expected key=value pairs, pair 1 is not one");
  EXPECT_EQ(pairs("a=1 host b=2"), "error: expected key=value pairs, pair 2 is not one");
  EXPECT_EQ(pairs("=1"), "error: expected key=value pairs, pair 1 is not one");
  EXPECT_EQ(pairs("a="), "error: a has no value (write a='' for an empty one)");
  EXPECT_EQ(pairs("password='secret"), "error: the quotes of password do not match (a quote inside is written '')");
  EXPECT_EQ(pairs("password='secret'x"), "error: the quotes of password do not match (a quote inside is written '')");
}

ParsedEntry<DatabaseEntry> database(const std::string& name, const std::string& value) {
  return parse_database({"databases", name, value, "a.ini", 3});
}
ParsedEntry<UserEntry> user(const std::string& value) {
  return parse_user({"users", "u", value, "a.ini", 3});
}

TEST(Database, Defaults) {
  const auto parsed = database("shop", "");
  EXPECT_TRUE(parsed.mistakes.empty());
  DatabaseEntry expected;
  expected.name = expected.dbname = "shop";
  EXPECT_EQ(parsed.entry, expected);
  EXPECT_TRUE(parsed.entry.hosts.empty());
  EXPECT_EQ(parsed.entry.port, 5432);
  EXPECT_EQ(parsed.entry.pool_size, -1);
}

TEST(Database, EveryParameter) {
  const auto parsed = database(
      "shop",
      "dbname=d host=h1,/tmp,::1 port=5433 user=u password='p w' pool_size=1 min_pool_size=2 reserve_pool_size=3 "
      "connect_query='select ''x''' pool_mode=statement max_db_connections=4 max_db_client_connections=5 "
      "server_lifetime=6.5 query_wait_timeout=7 client_encoding=UTF8 datestyle=ISO timezone=UTC "
      "load_balance_hosts=disable");
  EXPECT_EQ(formatted(parsed.mistakes), std::vector<std::string>{});
  EXPECT_TRUE(parsed.warnings.empty());
  const DatabaseEntry& entry = parsed.entry;
  EXPECT_EQ(entry.dbname, "d");
  EXPECT_EQ(entry.hosts, (std::vector<std::string>{"h1", "/tmp", "::1"}));
  EXPECT_EQ(entry.port, 5433);
  EXPECT_EQ(entry.user, "u");
  EXPECT_EQ(entry.password, "p w");
  EXPECT_EQ(entry.pool_size, 1);
  EXPECT_EQ(entry.min_pool_size, 2);
  EXPECT_EQ(entry.reserve_pool_size, 3);
  EXPECT_EQ(entry.connect_query, "select 'x'");
  EXPECT_EQ(entry.pool_mode, PoolMode::kStatement);
  EXPECT_EQ(entry.max_db_connections, 4);
  EXPECT_EQ(entry.max_db_client_connections, 5);
  EXPECT_EQ(entry.server_lifetime, 6'500'000);
  EXPECT_EQ(entry.query_wait_timeout, 7 * kSecond);
  EXPECT_EQ(entry.client_encoding, "UTF8");
  EXPECT_EQ(entry.datestyle, "ISO");
  EXPECT_EQ(entry.timezone, "UTC");
  EXPECT_EQ(entry.load_balance_hosts, LoadBalance::kDisable);
  EXPECT_FALSE(entry.is_fallback);
  EXPECT_EQ(database("a", "reserve_pool=9").entry.reserve_pool_size, 9);
}

TEST(Database, FallbackKeepsTheClientsName) {
  const auto parsed = database("*", "host=a");
  EXPECT_TRUE(parsed.entry.is_fallback);
  EXPECT_EQ(parsed.entry.dbname, "");
  EXPECT_EQ(database("*", "dbname=one").entry.dbname, "one");
}

TEST(Database, MistakesNameTheParameterAndNoSecret) {
  const auto parsed = database("shop", "port=0 pool_size=-2 pool_mode=x password=topsecret server_lifetime=1h");
  EXPECT_EQ(formatted(parsed.mistakes),
            (std::vector<std::string>{
                "a.ini:3: shop: port: 0 is out of range, allowed is 1 to 65535",
                "a.ini:3: shop: pool_size: -2 is out of range, allowed is 0 to 1000000",
                "a.ini:3: shop: pool_mode: \"x\" is not one of session, transaction, statement",
                "a.ini:3: shop: server_lifetime: \"1h\" is not a time in seconds (a number without a unit)"}));
  EXPECT_EQ(formatted(database("pgbouncer", "").mistakes),
            (std::vector<std::string>{"a.ini:3: pgbouncer: this name is reserved for the console"}));
  EXPECT_TRUE(database("pgberth", "").mistakes.empty());
}

TEST(Database, MinusOneIsNotSet) {
  const auto parsed = database("shop", "pool_size=-1 query_wait_timeout=-1");
  EXPECT_TRUE(parsed.mistakes.empty());
  EXPECT_EQ(parsed.entry.pool_size, -1);
  EXPECT_FALSE(parsed.entry.query_wait_timeout.has_value());
}

TEST(Database, Warnings) {
  const auto parsed = database("shop", "colour=red");
  EXPECT_TRUE(parsed.mistakes.empty());
  EXPECT_EQ(formatted(parsed.warnings), (std::vector<std::string>{"a.ini:3: shop: colour: unknown, it is ignored"}));
}

TEST(User, EveryParameter) {
  const auto parsed = user(
      "pool_size=1 reserve_pool_size=2 pool_mode=transaction max_user_connections=3 max_user_client_connections=4 "
      "query_timeout=5 idle_transaction_timeout=6 transaction_timeout=7 client_idle_timeout=8 "
      "query_wait_timeout=0.5");
  EXPECT_TRUE(parsed.mistakes.empty());
  EXPECT_TRUE(parsed.warnings.empty());
  const UserEntry& entry = parsed.entry;
  EXPECT_EQ(entry.name, "u");
  EXPECT_EQ(entry.pool_size, 1);
  EXPECT_EQ(entry.reserve_pool_size, 2);
  EXPECT_EQ(entry.pool_mode, PoolMode::kTransaction);
  EXPECT_EQ(entry.max_user_connections, 3);
  EXPECT_EQ(entry.max_user_client_connections, 4);
  EXPECT_EQ(entry.query_timeout, 5 * kSecond);
  EXPECT_EQ(entry.idle_transaction_timeout, 6 * kSecond);
  EXPECT_EQ(entry.transaction_timeout, 7 * kSecond);
  EXPECT_EQ(entry.client_idle_timeout, 8 * kSecond);
  EXPECT_EQ(entry.query_wait_timeout, kSecond / 2);
  EXPECT_FALSE(user("pool_size=-1").entry.pool_size.has_value());
  EXPECT_EQ(user("host=a").warnings.size(), 1u);
}

}  // namespace
}  // namespace berth::config
