// Commands that change something: PAUSE and its ends, KILL, RECONNECT, DISABLE, SET, RELOAD, SHUTDOWN.
#include <gtest/gtest.h>

#include "admin_support.h"
#include "session/server.h"

namespace berth::admin {
namespace {

using S = pool::ServerState;

// A server of worker `worker` that is in use as far as the pool knows.
session::Server* busy_server(Bench& bench, int worker) {
  Context& context = *bench.contexts[static_cast<size_t>(worker)];
  session::Slice& slice = *context.slices.begin()->second;
  auto* server = new session::Server(context, slice);
  slice.pool.shared()->servers.try_acquire();
  slice.pool.shared()->of_database->servers.try_acquire();
  slice.pool.shared()->of_user->servers.try_acquire();
  slice.pool.add_server(server, S::kLinked, bench.engine.time);
  server->conn = bench.engine.attach(-1, server);
  return server;
}

void free_server(Bench& bench, session::Server* server) {
  server->slice->pool.checkin(server, bench.engine.time);
}

std::string last_tag(const std::vector<Answer>& answers) {
  for (auto at = answers.rbegin(); at != answers.rend(); ++at) {
    if (at->tag == 'C') return at->body.substr(0, at->body.size() - 1);
  }
  return {};
}

TEST(AdminControl, PauseAnswersWhenTheServersAreFree) {
  for (const char* sql : {"PAUSE", "PAUSE shop"}) {
    Bench bench;
    Client* client = bench.connect("boss");
    session::Server* server = busy_server(bench, 1);
    EXPECT_EQ(tags(bench.query(client, sql)), "") << sql;
    bench.tick();
    EXPECT_EQ(tags(Bench::answers(client->conn)), "");
    free_server(bench, server);
    bench.tick();
    EXPECT_EQ(last_tag(Bench::answers(client->conn)), "PAUSE");
    EXPECT_TRUE(server->closing());  // what is free is closed
    bench.engine.reap();
  }
}

TEST(AdminControl, ResumeEndsAWaitingPause) {  // PgBouncer's #715
  for (const std::string database : {"", " shop"}) {
    Bench bench;
    Client* pausing = bench.connect("boss", "pgbouncer", 0);
    Client* resuming = bench.connect("boss", "pgbouncer", 1);
    session::Server* server = busy_server(bench, 0);
    bench.query(pausing, "PAUSE" + database);
    EXPECT_EQ(last_tag(bench.query(resuming, "RESUME" + database)), "RESUME");
    const auto ended = Bench::answers(pausing->conn);
    EXPECT_EQ(tags(ended), "EZ");
    EXPECT_EQ(field(ended, 'C'), "57014");
    EXPECT_EQ(tags(bench.query(pausing, "SHOW VERSION")), "TDCZ");
    EXPECT_FALSE(bench.globals.paused.load());
    EXPECT_FALSE(bench.globals.registry.database("shop")->paused.load());
    EXPECT_FALSE(server->slice->pool.paused());
    server->close(session::ServerEnd::kShutdown);
    bench.engine.reap();
  }
}

TEST(AdminControl, CancelOfAWaitingPauseResumes) {
  Bench bench;
  Client* client = bench.connect("boss");
  session::Server* server = busy_server(bench, 0);
  bench.query(client, "PAUSE shop; SHOW VERSION");
  bench.consoles[0]->on_cancel(client);
  EXPECT_EQ(tags(Bench::answers(client->conn)), "EZ");
  EXPECT_FALSE(bench.globals.registry.database("shop")->paused.load());
  bench.consoles[0]->on_cancel(client);  // nothing waits: nothing happens
  EXPECT_EQ(tags(Bench::answers(client->conn)), "");
  server->close(session::ServerEnd::kShutdown);
  bench.engine.reap();
}

TEST(AdminControl, PauseAndResumeInTheWrongOrder) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(field(bench.query(client, "RESUME"), 'M'), "pooler is not paused/suspended");
  EXPECT_EQ(field(bench.query(client, "RESUME shop"), 'M'), "database shop is not paused");
  EXPECT_EQ(last_tag(bench.query(client, "PAUSE")), "PAUSE");
  EXPECT_EQ(field(bench.query(client, "PAUSE"), 'M'), "already suspended/paused");
  EXPECT_EQ(rows(bench.query(client, "SHOW STATE"))[1][1], "yes");
  EXPECT_EQ(last_tag(bench.query(client, "RESUME")), "RESUME");
  EXPECT_EQ(rows(bench.query(client, "SHOW STATE"))[1][1], "no");
}

TEST(AdminControl, DatabasesThatAreNotThere) {
  Bench bench;
  Client* client = bench.connect("boss");
  for (const std::string verb : {"PAUSE", "RESUME", "DISABLE", "ENABLE", "RECONNECT", "KILL", "WAIT_CLOSE"}) {
    EXPECT_EQ(field(bench.query(client, verb + " nowhere"), 'M'), "no such database: nowhere");
    EXPECT_NE(field(bench.query(client, verb + " pgbouncer"), 'M').find("admin db: pgbouncer"), std::string::npos);
  }
}

TEST(AdminControl, ArgumentsThatAreNeeded) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(field(bench.query(client, "DISABLE"), 'M'), "a database is required");
  EXPECT_EQ(field(bench.query(client, "ENABLE;"), 'M'), "a database is required");
  EXPECT_EQ(field(bench.query(client, "KILL_CLIENT"), 'M'), "a client id is required");
  EXPECT_EQ(field(bench.query(bench.connect("reader"), "DISABLE"), 'M'), "admin access needed");
}

TEST(AdminControl, DisableRefusesNewClients) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(last_tag(bench.query(client, "DISABLE shop")), "DISABLE");
  Client* refused = bench.connect("app", "shop");
  EXPECT_TRUE(refused->closing());
  EXPECT_EQ(rows(bench.query(client, "SHOW DATABASES"))[1][16], "1");
  EXPECT_EQ(last_tag(bench.query(client, "ENABLE shop")), "ENABLE");
  EXPECT_FALSE(bench.connect("app", "shop")->closing());
}

TEST(AdminControl, KillClosesAllAndPauses) {
  Bench bench;
  Client* client = bench.connect("boss");
  Client* first = bench.connect("app", "shop", 0);
  Client* second = bench.connect("app", "shop", 1);
  session::Server* server = busy_server(bench, 1);
  free_server(bench, server);
  EXPECT_EQ(last_tag(bench.query(client, "KILL shop")), "KILL");
  for (Client* killed : {first, second}) {
    EXPECT_TRUE(killed->closing());
    EXPECT_EQ(field(Bench::answers(killed->conn), 'C'), "57P01");
  }
  EXPECT_TRUE(server->closing());
  EXPECT_TRUE(bench.globals.registry.database("shop")->paused.load());
  EXPECT_FALSE(bench.connect("app", "shop")->closing());  // waits until RESUME
  bench.engine.reap();
}

TEST(AdminControl, KillClientByItsNumber) {
  Bench bench;
  Client* client = bench.connect("boss");
  Client* other = bench.connect("app", "shop", 1);
  EXPECT_EQ(field(bench.query(client, "KILL_CLIENT abc"), 'M'), "invalid client id supplied");
  EXPECT_EQ(field(bench.query(client, "KILL_CLIENT 999999"), 'M'), "client not found");
  EXPECT_EQ(last_tag(bench.query(client, fmt::format("KILL_CLIENT {}", other->serial))), "KILL_CLIENT");
  EXPECT_TRUE(other->closing());
  EXPECT_EQ(field(Bench::answers(other->conn), 'M'), "admin forced disconnect");
  const auto own = bench.query(client, fmt::format("KILL_CLIENT {}; SHOW VERSION", client->serial));
  EXPECT_EQ(tags(own), "E");
  EXPECT_TRUE(client->closing());
}

TEST(AdminControl, ReconnectThenWaitClose) {
  Bench bench;
  Client* client = bench.connect("boss");
  session::Server* used = busy_server(bench, 0);
  session::Server* idle = busy_server(bench, 1);
  free_server(bench, idle);
  EXPECT_EQ(last_tag(bench.query(client, "WAIT_CLOSE")), "WAIT_CLOSE");  // nothing is given up yet
  EXPECT_EQ(last_tag(bench.query(client, "RECONNECT shop")), "RECONNECT");
  EXPECT_TRUE(idle->closing());
  EXPECT_EQ(tags(bench.query(client, "WAIT_CLOSE shop")), "");
  bench.engine.reap();
  bench.tick();
  EXPECT_EQ(tags(Bench::answers(client->conn)), "");
  used->close(session::ServerEnd::kNotUsable);
  bench.engine.reap();
  bench.tick();
  EXPECT_EQ(last_tag(Bench::answers(client->conn)), "WAIT_CLOSE");
}

TEST(AdminControl, SetAndReload) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(last_tag(bench.query(client, "SET query_wait_timeout = 7")), "SET query_wait_timeout=7");
  EXPECT_EQ(bench.contexts[1]->options().query_wait_timeout, 7 * kSecond);
  EXPECT_EQ(field(bench.query(client, "SET nonsense = 7"), 'M'), "SET failed");
  EXPECT_EQ(field(bench.query(client, "SET query_wait_timeout = x"), 'M'), "SET failed");
  EXPECT_NE(field(bench.query(client, "SET listen_port = 7"), 'D').find("restart"), std::string::npos);
  const auto idle = bench.query(client, "SET suspend_timeout = 7");
  EXPECT_EQ(last_tag(idle), "SET suspend_timeout=7");
  EXPECT_NE(field(idle, 'M').find("has no effect here: there is no SUSPEND"), std::string::npos);
  EXPECT_EQ(field(bench.query(client, "SET client_encoding = 'UTF8'"), 'M'), "SET ignored");
  EXPECT_EQ(last_tag(bench.query(client, "RELOAD")), "RELOAD");
  bench.dispatcher.reload_error = "line 3: what?";
  const auto failed = bench.query(client, "RELOAD");
  EXPECT_EQ(field(failed, 'C'), "F0000");
  EXPECT_EQ(field(failed, 'D'), "line 3: what?");
}

// One row for each lane, and its numbers in their columns.
TEST(AdminControl, HelpersAreShown) {
  Bench bench;
  bench.fleet.loads[3] = {.threads = 1,
                          .threads_max = 2,
                          .queue = 3,
                          .queue_max = 4,
                          .running = 5,
                          .done = 6,
                          .refused = 7,
                          .waiting = 8,
                          .longest_wait = 9};
  const auto lanes = rows(bench.query(bench.connect("boss"), "SHOW HELPERS"));
  ASSERT_EQ(lanes.size(), auth::kLanes);
  EXPECT_EQ(lanes[0], (std::vector<std::string>{"client_keys", "0", "0", "0", "0", "0", "0", "0", "0", "0"}));
  EXPECT_EQ(lanes[3], (std::vector<std::string>{"pam", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
}

// No slice remembers a name for longer than the resolver does: each connect asks it.
TEST(AdminControl, NamesAreResolvedForEachConnect) {
  Bench bench;
  auto config = std::make_shared<config::Config>(*bench.contexts[0]->config);
  config->databases[0].hosts = {"db.example"};
  config->index();
  session::reconfigure(*bench.contexts[0], config);
  session::Slice& slice = *bench.contexts[0]->slices.begin()->second;
  bench.fleet.known = {{"db.example", {net::parse_ip("10.0.0.1", 5432).value()}, bench.engine.time + 9 * kSecond}};
  for (size_t count = 1; count <= 2; ++count) {
    auto* server = new session::Server(*bench.contexts[0], slice);
    slice.pool.shared()->servers.try_acquire();
    slice.pool.shared()->of_database->servers.try_acquire();
    slice.pool.shared()->of_user->servers.try_acquire();
    slice.pool.add_server(server, S::kConnecting, bench.engine.time);
    server->open();
    ASSERT_EQ(bench.fleet.asked.size(), count);
    bench.fleet.asked.back()(bench.fleet.known[0].addresses);
    EXPECT_EQ(server->address.text(), "10.0.0.1:5432");
  }
  Client* client = bench.connect("boss");
  const auto names = rows(bench.query(client, "SHOW DNS_HOSTS"));
  ASSERT_EQ(names.size(), 1u);
  EXPECT_EQ(names[0], (std::vector<std::string>{"db.example", "9", "10.0.0.1"}));
  for (const auto& list : rows(bench.query(client, "SHOW LISTS"))) {
    EXPECT_TRUE(list[0] != "dns_names" || list[1] == "1");
  }
}

// ARCHITECTURE: every disconnect has a reason that reaches a counter. Summed over the workers; all reasons have a
// row.
TEST(AdminControl, DisconnectsAreCountedByReason) {
  Bench bench;
  Client* client = bench.connect("boss");
  const auto counted = [&] {
    std::map<std::string, std::string> out;
    for (const auto& row : rows(bench.query(client, "SHOW DISCONNECTS"))) {
      EXPECT_TRUE(out.emplace(row[0] + " " + row[1], row[3]).second) << "twice: " << row[1];
      EXPECT_FALSE(row[2].empty());
    }
    return out;
  };
  EXPECT_EQ(counted().size(), stats::kClientEnds.size() + stats::kServerEnds.size());
  for (const auto& [reason, count] : counted()) EXPECT_EQ(count, "0") << reason;
  bench.connect("stranger", "shop", 0);
  bench.connect("app", "nowhere", 1);
  for (const int worker : {0, 1}) {
    bench.connect("app", "shop", worker)->on_eof(0);
    bench.connect("app", "shop", worker)->on_eof(ECONNRESET);
    busy_server(bench, worker)->on_eof(0);
  }
  session::Server* server = busy_server(bench, 0);
  free_server(bench, server);
  bench.query(client, "KILL shop");
  const std::map<std::string, std::string> expected = {{"client authentication_failed", "1"},
                                                       {"client no_such_database", "1"},
                                                       {"client client_unexpected_eof", "2"},
                                                       {"client client_connection_lost", "2"},
                                                       {"server crashed", "2"},
                                                       {"server database_killed", "3"}};  // two were connecting
  for (const auto& [reason, count] : counted()) {
    const auto at = expected.find(reason);
    EXPECT_EQ(count, at == expected.end() ? "0" : at->second) << reason;
  }
  bench.engine.reap();
}

TEST(AdminControl, Shutdown) {
  Bench bench;
  Client* client = bench.connect("boss");
  EXPECT_EQ(last_tag(bench.query(client, "SHUTDOWN WAIT_FOR_CLIENTS")), "SHUTDOWN");
  EXPECT_EQ(bench.dispatcher.shutdown, session::Shutdown::kWaitForClients);
  EXPECT_EQ(last_tag(bench.query(client, "shutdown wait_for_servers")), "SHUTDOWN");
  EXPECT_EQ(bench.dispatcher.shutdown, session::Shutdown::kWaitForServers);
  EXPECT_EQ(field(bench.query(client, "SUSPEND"), 'C'), "0A000");
  EXPECT_EQ(tags(bench.query(client, "SHUTDOWN")), "");  // no answer, as in PgBouncer
  EXPECT_EQ(bench.dispatcher.shutdown, session::Shutdown::kNow);
}

}  // namespace
}  // namespace berth::admin
