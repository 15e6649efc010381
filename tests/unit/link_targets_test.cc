// Which databases get a link and as whom, and which console address a database is told.
#include "link/targets.h"

#include <gtest/gtest.h>

#include "link/console_address.h"
#include "net/address.h"

namespace berth::link {
namespace {

config::DatabaseEntry entry(const std::string& name, std::vector<std::string> hosts = {"10.0.0.1"}) {
  config::DatabaseEntry out;
  out.name = name;
  out.is_fallback = name == "*";
  out.dbname = out.is_fallback ? "" : name;
  out.hosts = std::move(hosts);
  return out;
}

config::Config with(std::vector<config::DatabaseEntry> entries) {
  config::Config config;
  config.databases = std::move(entries);
  config.index();
  return config;
}

TEST(LinkTargets, EachEntryWithItsUserAndPassword) {
  config::DatabaseEntry own = entry("own"), asked = entry("asked"), bare = entry("bare");
  own.user = "app";
  own.password = "entry's";
  asked.auth_user = "asker";
  config::Config config = with({own, asked, bare});
  config.secrets["asker"] = "clear";
  std::vector<Target> targets = targets_of(config, {});
  ASSERT_EQ(targets.size(), 3u);
  EXPECT_EQ(targets[0].user + ":" + std::string(targets[0].password.view()), "app:entry's");
  EXPECT_EQ(targets[1].user + ":" + std::string(targets[1].password.view()), "asker:clear");
  EXPECT_EQ(targets[2].user, "");
  config.options.auth_user = "everywhere";
  EXPECT_EQ(targets_of(config, {})[2].user, "everywhere");
  config.options.link_user = "linker";
  config.secrets["linker"] =
      "SCRAM-SHA-256$4096:c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  targets = targets_of(config, {});
  for (const Target& target : targets)
    EXPECT_EQ(target.user + ":" + std::string(target.password.view()), "linker:");  // no hash, no other's
}

TEST(LinkConsole, ANameIsLookedUp) {
  EXPECT_EQ(host_to_look_up("host=broker.example port=1 dbname=pgberth"), "broker.example");
  for (const char* known :
       {"host=10.0.0.5 port=1", "host=::1", "host=/run/pgberth port=1", "host=broker.example hostaddr=10.0.0.5", ""})
    EXPECT_EQ(host_to_look_up(known), "") << known;
}

TEST(LinkTargets, OneLinkForOneDatabase) {
  config::DatabaseEntry alias = entry("alias"), pair = entry("pair", {"10.0.0.1", "10.0.0.2"});
  alias.dbname = "shop";
  config::Config config = with({entry("shop"), alias, pair});
  const std::vector<Target> targets = targets_of(config, {});
  ASSERT_EQ(targets.size(), 3u);
  EXPECT_EQ(targets[0].names, (std::vector<std::string>{"shop", "alias"}));
  EXPECT_EQ(targets[1].host + targets[2].host, "10.0.0.110.0.0.2");  // each host is a server of its own
}

TEST(LinkTargets, OfTheFallbackOnlyWhatIsInUse) {
  config::DatabaseEntry fallback = entry("*", {});
  fallback.user = "app";
  config::Config config = with({entry("shop"), fallback});
  config.options.unix_socket_dir = "/run/pg";
  EXPECT_EQ(targets_of(config, {}).size(), 1u);
  const std::vector<Target> targets = targets_of(config, {"shop", "pgbouncer", "pgberth", "extra"});
  ASSERT_EQ(targets.size(), 2u);
  EXPECT_EQ(targets[1].dbname, "extra");
  EXPECT_EQ(targets[1].host, "/run/pg");
  EXPECT_EQ(targets[1].user, "app");
}

TEST(LinkTargets, OffAndExplicit) {
  config::Config config = with({entry("shop")});
  config.options.link = "off";
  EXPECT_TRUE(targets_of(config, {}).empty());
  config.options.link = "host=db port=5433 dbname=ops user=watch passfile='/etc/pg pass'";
  config.secrets["watch"] = "pw";
  const std::vector<Target> targets = targets_of(config, {"shop"});
  ASSERT_EQ(targets.size(), 1u);
  EXPECT_EQ(targets[0].host + " " + std::to_string(targets[0].port) + " " + targets[0].dbname, "db 5433 ops");
  EXPECT_EQ(targets[0].user + ":" + std::string(targets[0].password.view()), "watch:pw");
  ASSERT_EQ(targets[0].more.size(), 1u);
  EXPECT_EQ(targets[0].more[0].value, "/etc/pg pass");
  config.options.link = "host=db";
  config.options.link_user = "watch";
  EXPECT_EQ(targets_of(config, {})[0].dbname, "watch");  // as libpq has it
}

net::Address at(const std::string& host, int port) {
  return host.starts_with('/') ? net::unix_address(host, port).value() : net::parse_ip(host, port).value();
}

std::string told(const std::vector<net::Address>& listeners, const net::Address& own, const net::Address& server,
                 const config::Config& config = with({})) {
  std::string directory;
  for (const net::Address& listener : listeners) {
    if (listener.is_unix()) directory = "/run/broker";
  }
  std::string text = console_address(config, {listeners, own, server, directory});
  const size_t tail = text.find(" dbname=pgberth user=pgberth_link");
  return tail == std::string::npos ? text : text.substr(0, tail);
}

TEST(ConsoleAddress, TheSocketOnOneMachine) {
  const net::Address pg = at("/run/pg", 5432), socket = at("/run/broker", 6432), any = at("0.0.0.0", 6432);
  EXPECT_EQ(told({any, socket}, pg, pg), "host=/run/broker port=6432");
  EXPECT_EQ(told({any, socket}, at("127.0.0.1", 40000), at("127.0.0.1", 5432)), "host=/run/broker port=6432");
  EXPECT_EQ(told({any, socket}, at("10.0.0.7", 40000), at("10.0.0.7", 5432)), "host=/run/broker port=6432");
  EXPECT_EQ(told({any}, pg, pg), "host=127.0.0.1 port=6432");
  EXPECT_EQ(told({at("::", 6432)}, pg, pg), "host=::1 port=6432");
  EXPECT_EQ(told({at("127.0.0.1", 6432)}, pg, pg), "host=127.0.0.1 port=6432");
}

TEST(ConsoleAddress, OurAddressOnAnother) {
  const net::Address own = at("10.0.0.7", 40000), server = at("10.0.0.1", 5432), socket = at("/run/broker", 6432);
  EXPECT_EQ(told({at("0.0.0.0", 6432), socket}, own, server), "host=10.0.0.7 port=6432");
  EXPECT_EQ(told({at("127.0.0.1", 6431), at("10.0.0.7", 6432)}, own, server), "host=10.0.0.7 port=6432");
  EXPECT_EQ(told({at("::", 6432), at("10.0.0.8", 6432)}, own, server), "host=10.0.0.8 port=6432");
  EXPECT_EQ(told({at("fe80::1", 6432)}, at("fe80::1", 1), at("fe80::2", 5432)), "host=fe80::1 port=6432");
  EXPECT_EQ(told({at("127.0.0.1", 6432), socket}, own, server), "");  // nothing that it could reach
  EXPECT_EQ(told({socket}, own, server), "");
}

TEST(ConsoleAddress, TheSettingGoesFirstAndTheNameIsTheConsoles) {
  config::Config config = with({});
  config.options.link_console = "host=broker.example port=5000";
  const net::Address own = at("10.0.0.7", 40000), server = at("10.0.0.1", 5432);
  EXPECT_EQ(told({}, own, server, config), "host=broker.example port=5000");
  EXPECT_EQ(told({at("0.0.0.0", 6432)}, own, server, with({entry("pgberth")})),
            "host=10.0.0.7 port=6432 dbname=pgbouncer user=pgberth_link");
}

TEST(ConsoleAddress, QuotesAsLibpqReads) {
  EXPECT_EQ(quoted("/run/pg"), "/run/pg");
  EXPECT_EQ(quoted("/a b's\\"), "'/a b\\'s\\\\'");
  EXPECT_EQ(quoted(""), "''");
}

}  // namespace
}  // namespace berth::link
