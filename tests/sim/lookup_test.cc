// Users whose secrets auth_query finds, step by step: who is asked for, what the client is told when nobody can be,
// and that what a login has taught is kept while somebody needs it. The finder is the test.
#include <gtest/gtest.h>

#include "sim/bench.h"

namespace berth::sim {
namespace {

using AnswerKind = session::SecretAnswer::Kind;

struct LookupBench : Bench {
  LookupBench() {
    config.options.auth_type = config::AuthType::kPlain;
    config.secrets.clear();
    config.options.auth_user = "asker";
    config::DatabaseEntry second = config.databases[0];
    second.name = second.dbname = "d1";
    config.databases.push_back(second);
  }
  // One login; every question is answered like that. Gives what the client was told.
  std::string login(AnswerKind kind = AnswerKind::kFound) {
    std::string bytes;
    {
      wire::Message message(bytes, wire::kPassword);
      wire::put_cstring(bytes, "secret");
    }
    last = client(bytes);
    for (int i = 0; i < 5; ++i) turn();
    asked = questions.size();
    for (auto& [question, done] : std::exchange(questions, {})) {
      session::SecretAnswer answer;
      answer.kind = kind;
      answer.secret = auth::parse_secret("secret");
      answer.stamp = ++stamps;
      done(answer);
    }
    for (int i = 0; i < 20; ++i) turn();
    return last->to_peer.bytes;
  }
  void disable(const char* name, bool yes) { globals.registry.database(name)->disabled = yes; }
  bool knows(const std::string& name) {
    return globals.learned.use({name}, network.now - 3600 * kSecond, [](const session::Learned&) {});
  }
  // So many others log in that somebody has to be forgotten.
  void crowd() {
    for (size_t i = 0; i <= session::kLearnedMax; ++i) {
      globals.learned.teach("other" + std::to_string(i), network.now - session::kLearnedKept,
                            [](session::Learned&) {});
    }
    session::bound_learned(context);
  }
  LinkPtr last;
  size_t asked = 0;
  uint64_t stamps = 0;
};

bool is_greeted(const std::string& told) {
  return told.find("server_version") != std::string::npos;
}

TEST(Lookup, ADatabaseThatIsDisabledIsNotAsked) {
  for (const bool elsewhere : {true, false}) {
    LookupBench bench;
    const char* where = elsewhere ? "d1" : "d0";
    if (elsewhere) bench.config.options.auth_dbname = where;
    bench.apply();
    EXPECT_TRUE(is_greeted(bench.login()));
    bench.disable(where, true);
    const std::string told = bench.login();
    EXPECT_EQ(bench.asked, 0u);
    EXPECT_NE(told.find("57P03"), std::string::npos) << told;
    EXPECT_NE(told.find("authentication database is disabled"), std::string::npos) << told;
    bench.disable(where, false);
    EXPECT_TRUE(is_greeted(bench.login()));
  }
}

TEST(Lookup, UsersOfAuthFileNeedNoLookup) {
  LookupBench bench;
  bench.config.options.auth_dbname = "d1";
  bench.config.secrets["u0"] = "secret";
  bench.apply();
  bench.disable("d1", true);
  EXPECT_TRUE(is_greeted(bench.login()));
  EXPECT_EQ(bench.asked, 0u);
}

TEST(Lookup, TooManyOfAKindIsTold) {
  for (const auto& [kind, text] : {std::pair{AnswerKind::kBusy, "too many logins wait"},
                                   std::pair{AnswerKind::kCrowded, "waits for too many other databases"}}) {
    LookupBench bench;
    bench.apply();
    const std::string told = bench.login(kind);
    EXPECT_NE(told.find("53300"), std::string::npos) << told;
    EXPECT_NE(told.find(text), std::string::npos) << told;
  }
}

// Servers of a pool may have to be opened at any time.
TEST(Lookup, WhatAPoolInUseNeedsIsNotForgotten) {
  LookupBench bench;
  bench.config.options.server_idle_timeout = 10 * kSecond;
  bench.config.secrets["asker"] = "of auth_file";
  bench.apply();
  bench.globals.learned.teach("asker", bench.network.now, [](session::Learned&) {});
  EXPECT_TRUE(is_greeted(bench.login()));
  const std::string user = session::learned_name("d0", "u0");
  bench.turns(2 * session::kLearnedKept);  // the client does nothing, the servers are closed
  EXPECT_TRUE(bench.pool().server_count() == 0);
  bench.crowd();
  EXPECT_TRUE(bench.knows(user));
  bench.last->to_broker.fin = true;
  bench.turns(2 * session::kLearnedKept);
  bench.crowd();
  EXPECT_FALSE(bench.knows(user));
  EXPECT_TRUE(bench.knows("asker"));
  EXPECT_TRUE(is_greeted(bench.login()));
  EXPECT_TRUE(bench.knows(user));
}

}  // namespace
}  // namespace berth::sim
