// Goal: what counts as a guess, and what forgets guesses. Method: logins step by step, by TCP; the throttle's own
// rules are in unit/session_throttle_test.cc.
#include <gtest/gtest.h>

#include "auth/password_check.h"
#include "auth/scram.h"
#include "sim/bench.h"

namespace berth::sim {
namespace {

std::string password_message(std::string_view password) {
  std::string out;
  {
    wire::Message message(out, wire::kPassword);
    wire::put_cstring(out, password);
  }
  return out;
}

// Clients come from one address and are asked for a clear password.
struct GuessBench : Bench {
  GuessBench() {
    peer.kind = net::ShortAddress::Kind::kIpv4;
    peer.bytes = {10, 0, 0, 1};
    config.options.auth_type = config::AuthType::kPlain;
    config.options.failed_login_threshold = 5;
    config::DatabaseEntry second = config.databases[0];
    second.name = second.dbname = "d1";
    config.databases.push_back(second);
  }
  void by_query() {
    config.secrets.clear();
    config.options.auth_user = "asker";
  }
  // One login; a question of auth_query is answered with `secret`.
  LinkPtr login(const std::string& of, std::string_view password, std::string_view secret = "secret") {
    database = of;
    LinkPtr link = client(password_message(password));
    for (int i = 0; i < 5; ++i) turn();
    for (auto& [question, done] : std::exchange(questions, {})) {
      session::SecretAnswer answer;
      answer.kind = session::SecretAnswer::Kind::kFound;
      answer.secret = auth::parse_secret(secret);
      done(answer);
    }
    for (int i = 0; i < 20; ++i) turn();
    return link;
  }
  // What is left of the failures of u0 at the address, whatever its database; 0: nothing.
  double failures(session::Throttle::Kind kind = session::Throttle::Kind::kPair) {
    double most = 0;
    for (const session::Throttle::Row& row : globals.throttle.worst(100, network.now)) {
      EXPECT_TRUE(row.user == "u0" || row.kind == session::Throttle::Kind::kAddress) << row.user;
      if (row.kind == kind) most = std::max(most, row.failures);
    }
    return most;
  }
};

TEST(Guess, ASuccessForgets) {
  GuessBench bench;
  bench.apply();
  for (int i = 0; i < 4; ++i) bench.login("d0", "wrong");
  EXPECT_GT(bench.failures(), 3);
  bench.login("d1", "secret");
  EXPECT_EQ(bench.failures(), 0) << "auth_file has one secret for all databases";
}

// The owner of a database can have a role of any name there, and log in as it.
TEST(Guess, ANamesakeInAnotherDatabaseForgetsNothing) {
  GuessBench bench;
  bench.by_query();
  bench.apply();
  for (int i = 0; i < 4; ++i) bench.login("d0", "wrong");
  bench.login("d1", "own", "own");
  EXPECT_GT(bench.failures(), 3);
  EXPECT_GT(bench.failures(session::Throttle::Kind::kUser), 3) << "the user as such has one entry";
  bench.login("d0", "secret");
  EXPECT_EQ(bench.failures(), 0);
}

// With auth_dbname both databases ask the same one.
TEST(Guess, DatabasesThatAskInOnePlaceShareTheirUsers) {
  GuessBench bench;
  bench.by_query();
  bench.config.options.auth_dbname = "d0";
  bench.apply();
  for (int i = 0; i < 4; ++i) bench.login("d0", "wrong");
  bench.login("d1", "secret");
  EXPECT_EQ(bench.failures(), 0);
}

TEST(Guess, WhoIsTrustedHasProvedNothing) {
  GuessBench bench;
  bench.apply();
  for (int i = 0; i < 4; ++i) bench.login("d0", "wrong");
  bench.config.options.auth_type = config::AuthType::kTrust;
  bench.apply();
  bench.login("d0", "");
  EXPECT_GT(bench.failures(), 3);
}

// PAM and LDAP may be out of order: that says nothing about the password, and the client reads the same.
TEST(Guess, WhatNobodyCanSayIsNoFailure) {
  for (const bool broken : {true, false}) {
    GuessBench bench;
    bench.config.options.auth_type = config::AuthType::kPam;
    bench.apply();
    const LinkPtr link = bench.login("d0", "pw");
    ASSERT_EQ(bench.asides.size(), 1u);
    for (auto& [work, done] : std::exchange(bench.asides, {})) {
      static_cast<auth::PasswordCheck&>(*work).broken = broken;
      done(*work);
    }
    bench.turns(100 * kMillisecond);
    EXPECT_NE(link->to_peer.bytes.find("PAM authentication failed for user \"u0\""), std::string::npos);
    EXPECT_TRUE(link->to_peer.fin);
    EXPECT_EQ(bench.failures() > 0, !broken);
  }
}

// With a SCRAM secret the password is looked at by a helper thread. Who does not wait for that has guessed as well,
// and what nobody waits for is not worth a thread.
TEST(Guess, WhoHangsUpBeforeTheVerdictHasGuessed) {
  for (const bool reset : {false, true}) {
    GuessBench bench;
    bench.config.secrets["u0"] = auth::to_text(auth::make_scram_secret("pw", "salt", 2));
    bench.apply();
    LinkPtr links[4];
    for (LinkPtr& link : links) link = bench.login("d0", "wrong");
    ASSERT_EQ(bench.asides.size(), 4u);
    for (const auto& [work, done] : bench.asides) EXPECT_FALSE(work->unwanted->load());
    EXPECT_EQ(bench.failures(), 0);
    for (LinkPtr& link : links) (reset ? link->reset : link->to_broker.fin) = true;
    bench.turns(100 * kMillisecond);
    EXPECT_GT(bench.failures(), 3) << reset;
    for (const auto& [work, done] : bench.asides) EXPECT_TRUE(work->unwanted->load());
    bench.run_aside();
    EXPECT_LT(bench.failures(), 4.01) << "once each";
  }
}

}  // namespace
}  // namespace berth::sim
