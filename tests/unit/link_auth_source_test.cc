// Where auth_query runs, as whom, and what it says.
#include "link/auth_source.h"

#include <gtest/gtest.h>

namespace berth::link {
namespace {

config::DatabaseEntry entry(const std::string& name) {
  config::DatabaseEntry out;
  out.name = name;
  out.is_fallback = name == "*";
  out.dbname = out.is_fallback ? "" : "server_" + name;
  out.hosts = {"10.0.0.1", "10.0.0.2"};
  return out;
}

config::Config with(std::vector<config::DatabaseEntry> entries) {
  config::Config config;
  config.databases = std::move(entries);
  config.options.auth_user = "looker";
  config.secrets["looker"] = "clear";
  config.index();
  return config;
}

TEST(AuthSource, TheDatabaseItself) {
  const config::Config config = with({entry("shop")});
  const AuthSource source = auth_source(config, "shop", false).value();
  EXPECT_EQ(source.database, "shop");
  EXPECT_TRUE(source.standard);
  ASSERT_EQ(source.targets.size(), 2u);  // one host after the other
  EXPECT_EQ(source.targets[0].host, "10.0.0.1");
  EXPECT_EQ(source.targets[1].host, "10.0.0.2");
  EXPECT_EQ(source.targets[0].dbname, "server_shop");
  EXPECT_EQ(source.targets[0].user, "looker");
  EXPECT_TRUE(source.targets[0].password == "clear");
}

TEST(AuthSource, TheEntrysOwnWordsGoFirst) {
  config::DatabaseEntry shop = entry("shop");
  shop.auth_user = "other";
  shop.auth_query = "select 1";
  shop.auth_dbname = "users";
  config::Config config = with({shop, entry("users"), entry("more")});
  config.options.auth_dbname = "more";
  const AuthSource source = auth_source(config, "shop", false).value();
  EXPECT_EQ(source.database, "users");
  EXPECT_EQ(source.targets[0].dbname, "server_users");
  EXPECT_EQ(source.targets[0].user, "other");
  EXPECT_TRUE(source.targets[0].password.empty());
  EXPECT_EQ(source.query, "select 1");
  EXPECT_FALSE(source.standard);
  EXPECT_EQ(auth_source(config, "users", false).value().database, "more");
}

TEST(AuthSource, TheFallbackByItsNames) {
  const config::Config config = with({entry("*")});
  EXPECT_EQ(auth_source(config, "one", false).value().targets[0].dbname, "one");
  EXPECT_FALSE(auth_source(config, "one", false).value() == auth_source(config, "two", false).value());
}

TEST(AuthSource, TheConsolesUsersAreInAuthDbname) {
  config::Config config = with({entry("shop")});
  EXPECT_FALSE(auth_source(config, "pgbouncer", true));
  config.options.auth_dbname = "shop";
  EXPECT_EQ(auth_source(config, "pgbouncer", true).value().database, "shop");
  EXPECT_EQ(auth_source(config, "no_such_database", false).value().database, "shop");
}

TEST(AuthSource, WhatIsNotConfigured) {
  config::Config config = with({entry("shop")});
  config.options.auth_dbname = "missing";
  EXPECT_EQ(auth_source(config, "shop", false).error().text, "auth_dbname: database \"missing\" is not configured");
  EXPECT_FALSE(auth_source(config, "missing", false));
  config = with({entry("*")});
  config.options.auth_dbname = "pgbouncer";
  EXPECT_FALSE(auth_source(config, "shop", false));
}

TEST(AuthSource, APasswordOfTheEntryIsThatOfItsUser) {
  config::DatabaseEntry shop = entry("shop");
  shop.user = "looker";
  shop.password = "entry's";
  EXPECT_TRUE(auth_source(with({shop}), "shop", false).value().targets[0].password == "entry's");
  shop.user = "somebody";
  EXPECT_TRUE(auth_source(with({shop}), "shop", false).value().targets[0].password == "clear");
}

}  // namespace
}  // namespace berth::link
