// auth_query's decisions, with time and answers as arguments: who shares a query, how many are asked at once, what
// happens to those who wait when a connection is lost or nobody answers. What is remembered: link_auth_cache_test.cc.
#include "unit/auth_desk.h"

namespace berth::link {
namespace {

TEST(AuthMachine, ConnectsWhenSomebodyAsks) {
  Desk desk;
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.machine.connections(), 0u);
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("a");
  EXPECT_EQ(desk.secret(1), "a");
  EXPECT_EQ(desk.next(), "");
}

TEST(AuthMachine, UnknownUsersLookLikeMostOthers) {
  Desk desk;
  desk.ask(1, "nobody");
  desk.up(false);
  desk.on([](AuthMachine& m) { m.on_row(kFirst, {}, kStart); });
  EXPECT_EQ(desk.secret(1), "unknown");
  EXPECT_EQ(desk.answers[1].profile.kind, auth::SecretKind::kScram);  // as PostgreSQL makes them
  desk.ask(2, "bob");
  desk.found("md5" + std::string(32, '0'));
  desk.ask(3, "nobody");
  desk.on([](AuthMachine& m) { m.on_row(kFirst, {}, kStart); });
  EXPECT_EQ(desk.answers[3].profile.kind, auth::SecretKind::kMd5);
}

TEST(AuthMachine, SharesAQueryThatHasNotBeenSent) {
  Desk desk;
  for (uint64_t ticket = 1; ticket <= 200; ++ticket) desk.ask(ticket, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  EXPECT_EQ(desk.next(), "");
  desk.found("a");
  for (uint64_t ticket = 1; ticket <= 200; ++ticket) EXPECT_EQ(desk.secret(ticket), "a");
  EXPECT_EQ(desk.machine.queries(), 1u);
}

TEST(AuthMachine, WhoComesLaterThanAQuerySharesTheNextOne) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.ask(2, "bob");
  desk.ask(3, "bob");
  desk.found("old");
  EXPECT_EQ(desk.secret(1), "old");
  EXPECT_EQ(desk.secret(2), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("new");
  EXPECT_EQ(desk.secret(2), "new");
  EXPECT_EQ(desk.secret(3), "new");
}

TEST(AuthMachine, ConnectionsAreBounded) {
  Desk desk;
  for (uint64_t ticket = 1; ticket <= 50; ++ticket) desk.ask(ticket, "u" + std::to_string(ticket));
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 u1");
  desk.up(false, kOther);
  EXPECT_EQ(desk.next(), "query 1 u2");
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.machine.connections(), kAuthConnectionsMax);
  for (int n = 3; n <= 50; ++n) {  // in the order in which they came
    desk.found("a", static_cast<size_t>(n % 2));
    EXPECT_EQ(desk.next(), "query " + std::to_string(n % 2) + " u" + std::to_string(n));
  }
}

TEST(AuthMachine, SoAreThoseWhoWait) {
  Desk desk;
  for (uint64_t ticket = 1; ticket <= kAuthQueueMax; ++ticket) desk.ask(ticket, "bob");
  desk.ask(kAuthQueueMax + 1, "bob");
  EXPECT_EQ(desk.secret(kAuthQueueMax + 1), "busy");
  EXPECT_EQ(desk.machine.refused(), 1u);
  desk.up(false);
  desk.found("a");
  EXPECT_EQ(desk.secret(kAuthQueueMax), "a");
  EXPECT_EQ(desk.machine.waiting(), 0u);
}

// One address that connects, makes a name up and leaves, again and again.
TEST(AuthMachine, NothingIsAskedForThoseWhoHaveGone) {
  Desk desk;
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  for (uint64_t ticket = 1; ticket <= kAuthQueueMax; ++ticket) {
    desk.ask(ticket, "made up " + std::to_string(ticket), kStart, gone);
  }
  *gone = true;
  desk.ask(kAuthQueueMax + 1, "bob");
  EXPECT_EQ(desk.forgotten, kAuthQueueMax);
  EXPECT_EQ(desk.machine.waiting(), 1u);
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("a");
  EXPECT_EQ(desk.secret(kAuthQueueMax + 1), "a");
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.machine.queries(), 1u);
  EXPECT_EQ(desk.machine.refused(), 0u);
}

TEST(AuthMachine, TheirPlacesInTheQueueAreSkipped) {
  Desk desk;
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  desk.ask(1, "first");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 first");
  for (uint64_t ticket = 2; ticket <= 1000; ++ticket) {
    desk.ask(ticket, "made up " + std::to_string(ticket), kStart, gone);
  }
  desk.ask(1001, "shared", kStart, gone);
  desk.ask(1002, "shared");
  EXPECT_EQ(desk.next(), "connect 1");
  *gone = true;
  desk.found("a");
  EXPECT_EQ(desk.next(), "query 0 shared");
  EXPECT_EQ(desk.forgotten, 1000u);
  desk.found("b");
  EXPECT_EQ(desk.secret(1002), "b");
  EXPECT_EQ(desk.machine.waiting(), 0u);
}

// Who has gone is no reason to connect, and does not stay in mind.
TEST(AuthMachine, NobodyIsLeftOfThem) {
  Desk desk;
  desk.ask(1, "bob", kStart, std::make_shared<std::atomic<bool>>(true));
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.forgotten, 1u);
  EXPECT_TRUE(desk.machine.idle(kStart));
}

// Where all of a full queue are there, it is not looked through for each who comes.
TEST(AuthMachine, AFullQueueIsLookedThroughNowAndThen) {
  Desk desk;
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  for (uint64_t ticket = 1; ticket <= kAuthQueueMax; ++ticket) desk.ask(ticket, "bob", kStart, gone);
  desk.ask(kAuthQueueMax + 1, "ann");
  EXPECT_EQ(desk.secret(kAuthQueueMax + 1), "busy");
  *gone = true;
  desk.ask(kAuthQueueMax + 2, "ann", kStart + kSweepEvery - 1);
  EXPECT_EQ(desk.secret(kAuthQueueMax + 2), "busy");
  desk.ask(kAuthQueueMax + 3, "ann", kStart + kSweepEvery);
  EXPECT_EQ(desk.secret(kAuthQueueMax + 3), "nothing") << "it waits";
  EXPECT_EQ(desk.machine.waiting(), 1u);
}

TEST(AuthMachine, AFailedConnectTellsWhoWaitsAndRests) {
  Desk desk;
  desk.ask(1, "bob");
  EXPECT_EQ(desk.next(), "connect 0");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "refused", false, kStart); });
  EXPECT_EQ(desk.secret(1), "failed: refused");
  EXPECT_EQ(desk.next(), "close 0");
  desk.ask(2, "bob", kStart + 1);
  EXPECT_EQ(desk.next(), "");
  const Micros retry = desk.machine.wake_at();
  EXPECT_GE(retry, kStart + kAuthBackoffFirst);
  EXPECT_LE(retry, kStart + kAuthBackoffFirst * 5 / 4);
  desk.on([&](AuthMachine& m) { m.on_time(retry); });
  desk.up(false, kFirst, retry);
  EXPECT_EQ(desk.next(), "query 0 bob");
}

AuthSettings two_hosts() {
  AuthSettings settings = usual();
  settings.hosts = 2;
  return settings;
}

TEST(AuthMachine, TheNextHostIsTriedAtOnceAndNobodyIsToldBefore) {
  Desk desk(two_hosts());
  desk.ask(1, "bob");
  EXPECT_EQ(desk.next(), "connect 0");
  desk.on([](AuthMachine& m) { EXPECT_TRUE(m.on_lost(kFirst, "refused", false, kStart)); });
  EXPECT_EQ(desk.secret(1), "nothing");
  EXPECT_EQ(desk.next(), "close 0");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("a");
  EXPECT_EQ(desk.secret(1), "a");
}

TEST(AuthMachine, WhoWaitsIsToldWhenAllHostsAndAddressesHaveFailed) {
  Desk desk(two_hosts());
  desk.ask(1, "bob");
  Micros now = kStart;
  for (int attempt = 0; attempt < 4; ++attempt) {
    EXPECT_EQ(desk.secret(1), "nothing");
    EXPECT_EQ(desk.next(), "connect 0");
    now += 15 * kSecond;
    desk.on([&](AuthMachine& m) {
      m.on_found(2);
      EXPECT_TRUE(attempt % 2 ? m.on_time(now) : m.on_lost(kFirst, "refused", false, now));
    });
    EXPECT_EQ(desk.next(), "close 0");
  }
  EXPECT_EQ(desk.secret(1), "failed: connect timed out");
  EXPECT_EQ(desk.next(), "");
  desk.ask(2, "bob", now + 1);
  EXPECT_EQ(desk.next(), "") << "after all of them comes a pause";
}

// A host whose first check ends the connection is none that works.
TEST(AuthMachine, ARoundEndsAlsoWhereLoginsSucceed) {
  Desk desk(two_hosts());
  desk.ask(1, "bob");
  for (int attempt = 0; attempt < 2; ++attempt) {
    EXPECT_EQ(desk.next(), "connect 0");
    desk.on([](AuthMachine& m) { m.on_connected(kFirst, kStart); });
    EXPECT_EQ(desk.next(), "probe 0");
    desk.on([](AuthMachine& m) { m.on_probed(kFirst, true, {auth::SecretKind::kScram, 4096}, kStart); });
    EXPECT_EQ(desk.next(), "check 0");
    desk.on([](AuthMachine& m) { m.on_lost(kFirst, "gone", false, kStart); });
    EXPECT_EQ(desk.next(), "close 0");
  }
  EXPECT_EQ(desk.secret(1), "failed: gone");
  EXPECT_EQ(desk.next(), "");
}

// A firewall that has forgotten it, a server whose power is off: nobody says so.
// What the one connection answers says nothing about the other one.
TEST(AuthMachine, OneThatCannotBeMadeIsPausedForWhileAnotherOneWorks) {
  Desk desk(two_hosts());
  uint64_t asked = 0;
  const auto ask = [&](Micros now) {
    asked++;
    desk.ask(asked, "u" + std::to_string(asked), now);
  };
  ask(kStart);
  desk.up(false);
  for (int i = 0; i < 10; ++i) ask(kStart);
  size_t connects = 0;
  for (Micros now = kStart; now < kStart + kSecond; now += kMillisecond) {
    for (const AuthStep& step : std::exchange(desk.todo, {})) {
      if (step.kind == Kind::kConnect) {
        connects++;
        desk.on([&](AuthMachine& m) { m.on_lost(step.connection, "too many connections for role", false, now); });
      } else if (step.kind == Kind::kQuery) {
        desk.found("a", step.connection, now);
        ask(now);
      }
    }
  }
  EXPECT_EQ(connects, 2u);
}

TEST(AuthMachine, APauseGrowsWhereTheFirstCheckEndsTheConnection) {
  Desk desk;
  Micros now = kStart, waited = 0;
  for (uint64_t login = 1; login <= 3; ++login) {
    desk.ask(login, "bob", now);
    EXPECT_EQ(desk.next(), "connect 0");
    desk.on([&](AuthMachine& m) { m.on_connected(kFirst, now); });
    desk.on([&](AuthMachine& m) { m.on_probed(kFirst, true, {auth::SecretKind::kScram, 4096}, now); });
    desk.on([&](AuthMachine& m) { m.on_lost(kFirst, "gone", false, now); });
    desk.todo.clear();
    EXPECT_EQ(desk.secret(login), "failed: gone");
    desk.ask(login + 100, "bob", now);
    EXPECT_GT(desk.machine.wake_at() - now, waited + waited / 2);
    waited = desk.machine.wake_at() - now;
    now += waited;
  }
}

TEST(AuthMachine, ARoundEndsWhenNobodyWantsIt) {
  Desk desk(two_hosts());
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  desk.ask(1, "bob", kStart, gone);
  EXPECT_EQ(desk.next(), "connect 0");
  *gone = true;
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "refused", false, kStart); });
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_EQ(desk.next(), "");
  const Micros later = kStart + 3600 * kSecond;
  desk.ask(2, "bob", later);
  EXPECT_EQ(desk.next(), "connect 0");
  desk.on([&](AuthMachine& m) { m.on_lost(kFirst, "refused", false, later); });
  EXPECT_EQ(desk.secret(2), "nothing") << "there is another host";
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_EQ(desk.next(), "connect 0");
}

TEST(AuthMachine, AConnectionThatDiedWhileItRestedIsMadeAgain) {
  Desk desk;
  desk.ask(1, "bob");
  desk.ask(2, "ann");
  desk.ask(9, "eve");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.up(false, kOther);
  EXPECT_EQ(desk.next(), "query 1 ann");
  desk.found("a");
  EXPECT_EQ(desk.next(), "query 0 eve");
  desk.found("c");
  desk.found("b", kOther);
  const Micros later = kStart + kAuthRestsAfter;
  desk.ask(3, "bob", later);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([&](AuthMachine& m) { EXPECT_FALSE(m.on_time(later + kAuthRestedWithin - 1)); });
  EXPECT_EQ(desk.next(), "");
  desk.on([&](AuthMachine& m) { EXPECT_FALSE(m.on_time(later + kAuthRestedWithin)) << "its host may be well"; });
  EXPECT_EQ(desk.secret(3), "nothing");
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_EQ(desk.next(), "close 1") << "that rested, too";
  desk.up(false, kFirst, later + kAuthRestedWithin);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([&](AuthMachine& m) { EXPECT_TRUE(m.on_time(later + kAuthRestedWithin + kAuthAnswerWithin)); });
  EXPECT_EQ(desk.secret(3), "failed: no answer in time");
}

// Silence means less where answers are known to take long.
TEST(AuthMachine, ASlowQueryIsGivenItsTime) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.next();
  const Micros slow = kStart + kAuthRestedWithin + 1;
  desk.found("a", kFirst, slow);
  desk.ask(2, "bob", slow + kAuthRestsAfter);
  EXPECT_EQ(desk.next(), "query 0 bob");
  EXPECT_EQ(desk.machine.wake_at(), slow + kAuthRestsAfter + kAuthAnswerWithin);
}

TEST(AuthMachine, TheLossOfAnIdleConnectionIsNoOutage) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.next();
  desk.found("a");
  desk.on([](AuthMachine& m) { EXPECT_FALSE(m.on_lost(kFirst, "terminated", false, kStart)); });
  EXPECT_EQ(desk.machine.failures(), 0u);
  desk.next();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "connect 0");
}

TEST(AuthMachine, AReloadConnectsAnew) {
  Desk desk;
  desk.ask(1, "bob");
  EXPECT_EQ(desk.next(), "connect 0");
  desk.on([](AuthMachine& m) { m.reset(usual(), kStart); });
  EXPECT_EQ(desk.next(), "close 0");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
}

// Also who was with a connection when others gave up.
TEST(AuthMachine, WhoIsPutBackGivesUpInTime) {
  AuthSettings settings = usual();
  settings.wait_within = 2 * kSecond;
  settings.connect_within = 0;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.ask(2, "ann");
  desk.on([](AuthMachine& m) { m.on_time(kStart + 2 * kSecond); });
  EXPECT_EQ(desk.secret(2), "failed: no connection in time");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "terminated", false, kStart + 2 * kSecond); });
  EXPECT_EQ(desk.secret(1), "nothing");
  EXPECT_EQ(desk.machine.wake_at(), kStart + 2 * kSecond);
  desk.on([](AuthMachine& m) { m.on_time(kStart + 2 * kSecond); });
  EXPECT_EQ(desk.secret(1), "failed: no connection in time");
}

TEST(AuthMachine, ADatabaseThatIsNotThereHasNoUsers) {
  Desk desk;
  desk.ask(1, "bob");
  desk.next();
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "database does not exist", true, kStart); });
  EXPECT_EQ(desk.secret(1), "unknown");
}

TEST(AuthMachine, AQueryThatFailsIsNoAnswer) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.on([](AuthMachine& m) { m.on_refused(kFirst, "permission denied", kStart); });
  EXPECT_EQ(desk.secret(1), "failed: permission denied");
  desk.next();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "query 0 bob");  // over the same connection
}

TEST(AuthMachine, ALostConnectionIsMadeAgainOnce) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "terminated", false, kStart); });
  EXPECT_EQ(desk.secret(1), "nothing");
  EXPECT_EQ(desk.next(), "close 0");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "terminated", false, kStart); });
  EXPECT_EQ(desk.secret(1), "failed: terminated");
}

TEST(AuthMachine, NoAnswerInTimeIsAFailure) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.next();
  desk.on([](AuthMachine& m) { EXPECT_FALSE(m.on_time(kStart + kAuthAnswerWithin - 1)); });
  EXPECT_EQ(desk.secret(1), "nothing");
  desk.on([](AuthMachine& m) { EXPECT_TRUE(m.on_time(kStart + kAuthAnswerWithin)); });
  EXPECT_EQ(desk.secret(1), "failed: no answer in time");
  EXPECT_EQ(desk.next(), "close 0");
}

TEST(AuthMachine, WhoWaitsTooLongIsTold) {
  AuthSettings settings = usual();
  settings.wait_within = 2 * kSecond;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.ask(2, "amy");
  desk.ask(3, "eve", kStart + kSecond);
  EXPECT_EQ(desk.next(), "connect 1");
  EXPECT_LE(desk.machine.wake_at(), kStart + 2 * kSecond);
  desk.on([](AuthMachine& m) { m.on_time(kStart + 2 * kSecond); });
  EXPECT_EQ(desk.secret(2), "failed: no connection in time");
  EXPECT_EQ(desk.secret(3), "nothing");
  desk.found("a");
  EXPECT_EQ(desk.secret(1), "a");
  EXPECT_EQ(desk.next(), "query 0 eve");
}

}  // namespace
}  // namespace berth::link
