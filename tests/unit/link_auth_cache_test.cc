// What auth_query remembers, and when it no longer holds: by the extension's checks, by VALID UNTIL, by time, after a
// reload. Method: as link_auth_machine_test.cc.
#include "unit/auth_desk.h"

namespace berth::link {
namespace {

TEST(AuthCache, NothingIsRememberedWithoutTheExtension) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.found("a");
  EXPECT_EQ(desk.machine.cached(), 0u);
  desk.next();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "query 0 bob");
}

TEST(AuthCache, NorWithAnotherQuery) {
  AuthSettings settings = usual();
  settings.standard = false;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.next();
  desk.on([](AuthMachine& m) { m.on_connected(kFirst, kStart); });
  desk.next();
  desk.on([](AuthMachine& m) { m.on_probed(kFirst, true, {auth::SecretKind::kScram, 4096}, kStart); });
  EXPECT_EQ(desk.next(), "query 0 bob");  // no check went before
  desk.found("a");
  EXPECT_EQ(desk.machine.cached(), 0u);
}

TEST(AuthCache, ACheckProvesWhatIsRemembered) {
  Desk desk = remembered();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  EXPECT_EQ(desk.secret(2), "nothing");
  desk.checked(7);
  EXPECT_EQ(desk.secret(2), "a cached");
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.machine.queries(), 1u);
}

TEST(AuthCache, AChangedRoleIsAskedForAgain) {
  Desk desk = remembered("old");
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(8);
  EXPECT_EQ(desk.secret(2), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("new");
  EXPECT_EQ(desk.secret(2), "new");
  desk.ask(3, "bob");  // and that is remembered in its place
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(8);
  EXPECT_EQ(desk.secret(3), "new cached");
}

TEST(AuthCache, OneCheckServesAllWhoCameBeforeIt) {
  Desk desk = remembered();
  desk.ask(2, "amy");
  EXPECT_EQ(desk.next(), "query 0 amy");
  desk.found("b");
  desk.ask(3, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  for (uint64_t ticket = 4; ticket < 100; ++ticket) desk.ask(ticket, ticket % 2 ? "amy" : "bob");
  desk.checked(7);
  EXPECT_EQ(desk.secret(3), "a cached");
  EXPECT_EQ(desk.secret(4), "nothing");  // they came after it: the next one is theirs
  EXPECT_EQ(desk.next(), "check 0");
  EXPECT_EQ(desk.next(), "");
  desk.checked(7);
  for (uint64_t ticket = 4; ticket < 100; ++ticket)
    EXPECT_EQ(desk.secret(ticket), ticket % 2 ? "b cached" : "a cached");
}

TEST(AuthCache, ValidUntilEndsByTheServersClock) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(true);
  desk.next();
  desk.on([](AuthMachine& m) {
    AuthRow valid = row("a");
    valid.valid_until = kStart + 10;
    m.on_row(kFirst, valid, kStart);
  });
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(7, kStart + 10);
  EXPECT_EQ(desk.secret(2), "a cached");
  desk.ask(3, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(7, kStart + 11);
  EXPECT_EQ(desk.next(), "query 0 bob");
  AuthRow expired = row("");
  desk.on([&](AuthMachine& m) { m.on_row(kFirst, expired, kStart); });
  EXPECT_EQ(desk.secret(3), "");
  EXPECT_TRUE(desk.answers[3].secret.empty());
  EXPECT_EQ(desk.machine.cached(), 0u);
}

TEST(AuthCache, AnotherConnectionProvesOnlyWhatIsYoungerThanItself) {
  Desk desk = remembered();
  desk.ask(2, "x");  // two things to do at once: another connection
  EXPECT_EQ(desk.next(), "query 0 x");
  desk.ask(3, "y");
  desk.ask(4, "z");
  desk.up(true, kOther);
  EXPECT_EQ(desk.next(), "query 1 y");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "gone", false, kStart); });  // who could prove the first secret
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_EQ(desk.next(), "connect 0");
  desk.found("y", kOther);
  EXPECT_EQ(desk.next(), "query 1 x");
  desk.found("x", kOther);
  EXPECT_EQ(desk.next(), "query 1 z");
  desk.found("z", kOther);
  desk.ask(5, "bob");
  EXPECT_EQ(desk.next(), "query 1 bob");
  desk.found("b", kOther);
  desk.ask(6, "y");
  EXPECT_EQ(desk.next(), "check 1");
}

// Two connections, the second one perhaps to another server: what the first has read and what the second has.
Desk remembered_by_both() {
  Desk desk = remembered();
  desk.ask(2, "x");
  EXPECT_EQ(desk.next(), "query 0 x");
  desk.ask(3, "y");
  desk.ask(4, "z");
  desk.up(true, kOther);
  EXPECT_EQ(desk.next(), "query 1 y");
  desk.found("y", kOther);
  EXPECT_EQ(desk.next(), "query 1 z");
  desk.found("x");
  desk.ask(5, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(8);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("b");  // younger than both connections
  desk.found("z", kOther);
  EXPECT_EQ(desk.next(), "");
  return desk;
}

TEST(AuthCache, OnlyTheConnectionThatHasReadASecretProvesIt) {
  Desk desk = remembered_by_both();
  desk.ask(6, "slow");
  EXPECT_EQ(desk.next(), "query 0 slow");
  desk.ask(7, "bob");
  EXPECT_EQ(desk.next(), "") << "the other one is idle, and knows nothing of this server's roles";
  desk.ask(8, "y");
  EXPECT_EQ(desk.next(), "check 1");
  desk.checked(7, kStart, kOther);
  EXPECT_EQ(desk.secret(8), "y cached");
  desk.found("s");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(9);
  EXPECT_EQ(desk.secret(7), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("new");
  EXPECT_EQ(desk.secret(7), "new");
  desk.ask(9, "y");  // what changes on one server is nothing to the other
  EXPECT_EQ(desk.next(), "check 1");
}

TEST(AuthCache, WhoWaitsForACheckIsAskedForWhenItsConnectionGoes) {
  Desk desk = remembered_by_both();
  desk.ask(6, "slow");
  EXPECT_EQ(desk.next(), "query 0 slow");
  desk.ask(7, "bob");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "gone", false, kStart); });
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_EQ(desk.next(), "query 1 slow");
  desk.found("s", kOther);
  desk.todo.clear();
  desk.found("b", kOther);
  EXPECT_EQ(desk.secret(7), "b");
}

TEST(AuthCache, TheCacheIsBounded) {
  Desk desk = remembered();
  desk.ask(2, "second");
  desk.found("b");
  desk.ask(3, "bob");  // used again
  desk.checked(7);
  for (uint64_t ticket = 10; ticket < 10 + kAuthCacheMax - 1; ++ticket) {
    desk.ask(ticket, "u" + std::to_string(ticket));
    desk.found("c");
  }
  EXPECT_EQ(desk.machine.cached(), kAuthCacheMax);
  desk.todo.clear();
  desk.ask(4, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(7);
  desk.ask(5, "second");
  EXPECT_EQ(desk.next(), "query 0 second");
}

TEST(AuthCache, ACheckThatFailsMakesQueries) {
  Desk desk = remembered();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.on([](AuthMachine& m) { m.on_refused(kFirst, "function does not exist", kStart); });
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("b");
  EXPECT_EQ(desk.secret(2), "b");
  desk.ask(3, "bob");
  EXPECT_EQ(desk.next(), "query 0 bob");
}

TEST(AuthCache, IdleConnectionsAreClosed) {
  Desk desk = remembered();
  EXPECT_EQ(desk.machine.wake_at(), kStart + 600 * kSecond);
  desk.on([](AuthMachine& m) { m.on_time(kStart + 600 * kSecond); });
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_EQ(desk.machine.cached(), 0u) << "nobody can prove it any more";
  EXPECT_TRUE(desk.machine.idle(kStart + 600 * kSecond));
  desk.ask(2, "bob", kStart + 601 * kSecond);
  desk.up(true, kFirst, kStart + 601 * kSecond);
  EXPECT_EQ(desk.next(), "query 0 bob");
}

TEST(AuthCache, AReloadForgets) {
  Desk desk = remembered();
  desk.on([](AuthMachine& m) { m.reset(usual(), kStart); });
  EXPECT_EQ(desk.machine.cached(), 0u);
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_TRUE(desk.machine.idle(kStart));
  desk.ask(2, "bob");
  desk.up(true);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) { m.reset(usual(), kStart); });
  desk.found("a");  // was under way: answered, and not remembered
  EXPECT_EQ(desk.secret(2), "a");
  EXPECT_EQ(desk.machine.cached(), 0u);
  EXPECT_EQ(desk.next(), "close 0");
}

TEST(AuthCache, ASecretThatWasRefutedIsNotUsedAgain) {
  Desk desk = remembered();
  const uint64_t stamp = desk.answers[1].stamp;
  desk.machine.refuted("bob", stamp + 1);  // of another answer
  EXPECT_EQ(desk.machine.cached(), 1u);
  desk.machine.refuted("bob", stamp);
  EXPECT_EQ(desk.machine.cached(), 0u);
}

// Without the extension: bob's secret, asked for at kStart, holds for 5 seconds.
Desk remembered_by_age() {
  AuthSettings settings = usual();
  settings.cache_ttl = 5 * kSecond;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.up(false);
  desk.next();
  desk.found("a", kFirst, kStart + kSecond);
  return desk;
}

TEST(AuthCache, WhatIsTooOldKeepsNoDatabaseInMind) {
  Desk desk = remembered_by_age();
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "gone", false, kStart + kSecond); });
  EXPECT_EQ(desk.machine.cached(), 1u);
  EXPECT_FALSE(desk.machine.idle(kStart + 5 * kSecond - 1));
  EXPECT_TRUE(desk.machine.idle(kStart + 5 * kSecond));
}

TEST(AuthCache, TimeToLiveIsForThoseWithoutTheExtension) {
  Desk desk = remembered_by_age();
  desk.ask(2, "bob", kStart + 5 * kSecond - 1);
  EXPECT_EQ(desk.secret(2), "a cached");
  desk.ask(3, "bob", kStart + 5 * kSecond);  // since it was asked, not since it was answered
  EXPECT_EQ(desk.secret(3), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) {
    AuthRow valid = row("b");
    valid.valid_until = kStart + kSecond;  // a second after its own clock
    m.on_row(kFirst, valid, kStart + 5 * kSecond);
  });
  desk.ask(4, "bob", kStart + 6 * kSecond - 1);
  EXPECT_EQ(desk.secret(4), "b cached");
  desk.ask(5, "bob", kStart + 6 * kSecond);
  EXPECT_EQ(desk.secret(5), "nothing");
}

TEST(AuthCache, NorDoesItServeWhatACheckHasProvedOld) {
  AuthSettings settings = usual();
  settings.cache_ttl = 60 * kSecond;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.up(true);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("old");
  desk.ask(2, "ann");
  EXPECT_EQ(desk.next(), "query 0 ann");
  desk.found("hers");
  desk.ask(3, "ann");  // a role has changed: whose, is not said
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(8);
  EXPECT_EQ(desk.next(), "query 0 ann");
  desk.found("hers");
  desk.ask(4, "bob");
  EXPECT_EQ(desk.secret(4), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("new");
  EXPECT_EQ(desk.secret(4), "new");
}

}  // namespace
}  // namespace berth::link
