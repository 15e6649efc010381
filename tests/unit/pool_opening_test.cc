// Goal: servers are opened and closed at the pace and within the limits that are promised: back-off, overload, token
// bucket, reserve, limits of database and user with eviction, filling, lifetimes. Method: one or two pools, time as a
// number, each decision compared.
#include <deque>
#include <thread>
#include <vector>

#include "pool/pool.h"
#include "unit/seeds.h"

namespace berth::pool {
namespace {

using Kind = Decision::Kind;

// A pool whose servers become ready at once, and with as many clients as are asked for.
struct Bench {
  explicit Bench(SharedPool* shared, int worker = 0, int workers = 1) : pool(shared, worker, workers, unit_seed()) {
    limits.check_delay = 1'000'000 * kSecond;
    limits.idle_timeout = 0;
    pool.set_limits(limits);
  }
  void set(const Limits& to) {
    limits = to;
    pool.set_limits(to);
  }
  ClientNode* waiter(Micros now, ClientState state = ClientState::kWaiting, bool session = false) {
    clients.emplace_back();
    clients.back().session_mode = session;
    pool.add_client(&clients.back(), state == ClientState::kWaiting ? ClientState::kIdle : state);
    if (state == ClientState::kWaiting) pool.move(&clients.back(), state, now);
    return &clients.back();
  }
  // Carries one kOpen out.
  ServerNode* opening(Micros now) {
    servers.emplace_back();
    servers.back().in_reserve = pool.opening_reserve();
    servers.back().generation = pool.generation();
    pool.add_server(&servers.back(), ServerState::kConnecting, now);
    pool.move(&servers.back(), ServerState::kLogin, now);
    return &servers.back();
  }
  void ready(ServerNode* server, Micros now) {
    pool.opened(now);
    pool.checkin(server, now);
  }
  void close(ServerNode* server, Micros now) {
    pool.move(server, ServerState::kClosing, now);
    pool.remove_server(server);
  }
  ServerNode* idle(Micros now) {
    ClientNode* client = waiter(now, ClientState::kLoginWait);
    EXPECT_EQ(pool.next(now).kind, Kind::kOpen);
    ServerNode* server = opening(now);
    pool.remove_client(client);
    ready(server, now);
    return server;
  }
  Limits limits;
  Pool pool;
  std::deque<ClientNode> clients;
  std::deque<ServerNode> servers;
};

struct Opening : testing::Test {
  SharedRegistry registry;
  SharedPool* shared = registry.pool("db", "user");
  Micros now = 1000 * kSecond;

  // The first moment at which the pool opens a server, looked for in steps of a millisecond.
  Micros opens_after(Bench& bench) {
    for (const Micros start = now; now < start + 100 * kSecond; now += kMillisecond) {
      if (bench.pool.next(now).kind == Kind::kOpen) return now - start;
    }
    return kNever;
  }
  void expect_between(Micros value, Micros most) {
    EXPECT_GE(value, most * 3 / 4);
    EXPECT_LE(value, most + kMillisecond);
  }
};

TEST_F(Opening, FailuresBackOff) {
  Bench bench(shared);
  bench.waiter(now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kOpen);
  for (const int seconds : {1, 2, 4, 8, 8, 8}) {
    ServerNode* server = bench.opening(now);
    bench.pool.open_failed(now);
    bench.close(server, now);
    EXPECT_TRUE(bench.pool.failing(now));
    expect_between(opens_after(bench), seconds * kSecond);
  }
  bench.ready(bench.opening(now), now);
  EXPECT_FALSE(bench.pool.failing(now));
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kAssign);
}

TEST_F(Opening, LoginRetryCapsTheBackOff) {
  Bench bench(shared);
  bench.limits.login_retry = 3 * kSecond;
  bench.set(bench.limits);
  bench.waiter(now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kOpen);
  for (const int seconds : {1, 2, 3, 3}) {
    ServerNode* server = bench.opening(now);
    bench.pool.open_failed(now);
    bench.close(server, now);
    expect_between(opens_after(bench), seconds * kSecond);
  }
}

// A success forgets the failures before it.
TEST_F(Opening, SuccessStartsAnew) {
  Bench bench(shared);
  bench.waiter(now);
  bench.waiter(now);
  for (int i = 0; i < 5; ++i) bench.pool.open_failed(now);
  for (int i = 0; i < 5; ++i) bench.pool.overloaded(now);
  bench.pool.opened(now);
  EXPECT_EQ(opens_after(bench), 0);
  bench.opening(now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kOpen) << "and several at a time";
  bench.opening(now);
  bench.pool.open_failed(now);
  for (ServerNode& server : bench.servers) bench.close(&server, now);
  expect_between(opens_after(bench), kSecond);
  bench.close(bench.opening(now), now);
  bench.pool.overloaded(now);
  expect_between(opens_after(bench), kSecond);
}

// SQLSTATE 53300: no connects for a growing while, and what is open goes on.
TEST_F(Opening, OverloadIsNotFailure) {
  Bench bench(shared);
  ServerNode* server = bench.idle(now);
  bench.pool.overloaded(now);
  EXPECT_FALSE(bench.pool.failing(now));
  ClientNode* first = bench.waiter(now);
  const Decision decision = bench.pool.next(now);
  EXPECT_EQ(decision.kind, Kind::kAssign);
  EXPECT_EQ(decision.client, first);
  bench.pool.link(first, server, now);
  bench.waiter(now);
  for (const int seconds : {1, 2, 4, 8, 16, 32, 60, 60}) {
    expect_between(opens_after(bench), seconds * kSecond);
    bench.close(bench.opening(now), now);
    bench.pool.overloaded(now);
  }
}

TEST_F(Opening, OneKnocksWhileItFails) {
  Bench bench(shared);
  for (int i = 0; i < 10; ++i) bench.waiter(now);
  for (int i = 0; i < kParallelConnects; ++i) {
    EXPECT_EQ(bench.pool.next(now).kind, Kind::kOpen);
    bench.opening(now);
  }
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kNone) << "no more at once";
  for (ServerNode& server : bench.servers) {
    bench.pool.open_failed(now);
    bench.close(&server, now);
  }
  opens_after(bench);
  bench.opening(now);
  now += 100 * kSecond;
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kNone) << "one at a time after a failure";
}

TEST_F(Opening, NoMoreThanAreWanted) {
  Bench bench(shared);
  bench.waiter(now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kOpen);
  bench.opening(now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kNone);
  bench.waiter(now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kOpen);
}

// A burst, then one each 10 ms.
TEST_F(Opening, TokenBucket) {
  Bench bench(shared);
  bench.limits.pool_size = 1000;
  bench.set(bench.limits);
  for (int i = 0; i < 200; ++i) bench.waiter(now);
  const auto opened_now = [&] {
    int count = 0;
    for (;;) {
      const Decision decision = bench.pool.next(now);
      if (decision.kind == Kind::kNone) return count;
      if (decision.kind == Kind::kAssign) {
        bench.pool.link(decision.client, decision.server, now);
      } else {
        EXPECT_EQ(decision.kind, Kind::kOpen);
        bench.ready(bench.opening(now), now);
        ++count;
      }
    }
  };
  EXPECT_EQ(opened_now(), kOpenBurst);
  now += kOpenEvery - 1;
  EXPECT_EQ(opened_now(), 0);
  now += 1;
  EXPECT_EQ(opened_now(), 1);
  now += 5 * kOpenEvery;
  EXPECT_EQ(opened_now(), 5);
  now += 1000 * kSecond;
  EXPECT_EQ(opened_now(), kOpenBurst) << "tokens are not saved up";
}

TEST_F(Opening, ALoginWaitsForOneServerOnly) {
  Bench bench(shared);
  for (int i = 0; i < 5; ++i) bench.waiter(now, ClientState::kLoginWait);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kOpen);
  bench.opening(now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kNone);
}

// ---- limits

TEST_F(Opening, ReserveOpensAfterAWhileAndIsClosedWhenNobodyWaits) {
  Bench bench(shared);
  bench.limits.pool_size = 1;
  bench.limits.reserve_pool_size = 1;
  bench.set(bench.limits);
  ServerNode* first = bench.idle(now);
  EXPECT_FALSE(first->in_reserve);
  bench.pool.link(bench.waiter(now), first, now);
  for (int i = 0; i < 3; ++i) bench.waiter(now);
  EXPECT_EQ(opens_after(bench), bench.limits.reserve_pool_timeout);
  ServerNode* second = bench.opening(now);
  EXPECT_TRUE(second->in_reserve);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kNone) << "no more than the reserve";
  bench.ready(second, now);
  while (ClientNode* client = bench.pool.clients(ClientState::kWaiting).front()) bench.pool.remove_client(client);
  EXPECT_EQ(bench.pool.tick(now).kind, Kind::kNone);
  now += bench.limits.reserve_pool_timeout;
  const Decision decision = bench.pool.tick(now);
  EXPECT_EQ(decision.kind, Kind::kClose);
  EXPECT_EQ(decision.server, second);
  EXPECT_EQ(decision.why, CloseReason::kReserve);
}

TEST_F(Opening, OnlyServersOfTheReserveAreItsToClose) {
  Bench bench(shared);
  bench.limits.pool_size = 1;
  bench.limits.reserve_pool_size = 1;
  bench.limits.reserve_pool_timeout = kSecond;
  bench.set(bench.limits);
  ServerNode* first = bench.idle(now);
  bench.pool.link(bench.waiter(now), first, now);
  bench.waiter(now);
  opens_after(bench);
  ServerNode* second = bench.opening(now);
  bench.ready(second, now);
  bench.pool.link(bench.pool.clients(ClientState::kWaiting).front(), second, now);
  bench.pool.checkin(first, now);
  now += 10 * kSecond;
  EXPECT_EQ(bench.pool.tick(now).kind, Kind::kNone);
}

// Two pools of one database (and of one user): who is refused has an idle server of the other closed.
TEST_F(Opening, LimitsOfDatabaseAndUserEvict) {
  for (const bool by_user : {false, true}) {
    SharedRegistry own;
    SharedPool* a = own.pool("db", "one");
    SharedPool* b = by_user ? own.pool("other", "one") : own.pool("db", "two");
    (by_user ? a->of_user->servers : a->of_database->servers).limit = 1;
    Bench rich(a), poor(b);
    ServerNode* rested = rich.idle(now);
    poor.waiter(now);
    EXPECT_EQ(poor.pool.next(now).kind, Kind::kNone);
    EXPECT_EQ(b->servers.used, 0) << "a refusal takes nothing";
    EXPECT_EQ(b->of_database->servers.used, by_user ? 0 : 1);
    EXPECT_EQ(b->of_user->servers.used, by_user ? 1 : 0);
    // One who has a use for it keeps it.
    ClientNode* busy = rich.waiter(now);
    rich.pool.link(busy, rested, now);
    EXPECT_EQ(rich.pool.tick(now).kind, Kind::kNone);
    rich.pool.move(busy, ClientState::kIdle, now);
    rich.pool.checkin(rested, now);
    const Decision decision = rich.pool.tick(now);
    EXPECT_EQ(decision.kind, Kind::kClose);
    EXPECT_EQ(decision.why, by_user ? CloseReason::kEvictedUser : CloseReason::kEvictedDatabase);
    rich.close(rested, now);
    EXPECT_EQ(poor.pool.next(now).kind, Kind::kOpen);
  }
}

// The waiter has been served otherwise, and only min_pool_size would like to have the place.
TEST_F(Opening, NobodyIsEvictedForAWishOfThePast) {
  shared->of_database->servers.limit = 2;
  Bench rich(shared), poor(registry.pool("db", "two"));
  ServerNode* rested = rich.idle(now);
  ServerNode* other = poor.idle(now);
  ClientNode* first = poor.waiter(now);
  poor.pool.link(first, other, now);
  ClientNode* second = poor.waiter(now);
  EXPECT_EQ(poor.pool.next(now).kind, Kind::kNone);
  poor.pool.move(first, ClientState::kIdle, now);
  poor.pool.checkin(other, now);
  poor.pool.link(second, other, now);
  poor.limits.min_pool_size = 2;
  poor.limits.fill = true;
  poor.set(poor.limits);
  for (int tick = 0; tick < 10; ++tick) {
    now += 100 * kMillisecond;
    EXPECT_EQ(poor.pool.tick(now).kind, Kind::kNone);
    if (tick > 0) {
      EXPECT_EQ(rich.pool.tick(now).kind, Kind::kNone);
    }
  }
  EXPECT_EQ(rested->state, ServerState::kIdle);
}

TEST_F(Opening, WhoEvictedDoesNotFillAtOnce) {
  shared->of_database->servers.limit = 1;
  Bench bench(shared), other(registry.pool("db", "two"));
  bench.limits.min_pool_size = 1;
  bench.limits.fill = true;
  bench.set(bench.limits);
  ASSERT_EQ(bench.pool.tick(now).kind, Kind::kOpen);
  ServerNode* server = bench.opening(now);
  bench.ready(server, now);
  other.waiter(now);
  EXPECT_EQ(other.pool.next(now).kind, Kind::kNone);
  EXPECT_EQ(bench.pool.tick(now).why, CloseReason::kEvictedDatabase);
  bench.close(server, now);
  EXPECT_EQ(bench.pool.tick(now).kind, Kind::kNone) << "it would take the place back";
  EXPECT_EQ(bench.pool.tick(now + kFillPause).kind, Kind::kOpen);
}

TEST_F(Opening, FillsToTheMinimumAcrossWorkers) {
  Bench one(shared, 0, 2), two(shared, 1, 2);
  int opened[2] = {0, 0};
  for (Bench* bench : {&one, &two}) {
    bench->limits.min_pool_size = 5;
    bench->limits.fill = true;
    bench->set(bench->limits);
  }
  for (int round = 0; round < 20; ++round) {
    now += 100 * kMillisecond;
    for (int worker = 0; worker < 2; ++worker) {
      Bench& bench = worker ? two : one;
      while (bench.pool.tick(now).kind == Kind::kOpen) {
        bench.ready(bench.opening(now), now);
        ++opened[worker];
      }
    }
  }
  EXPECT_EQ(opened[0], 3);
  EXPECT_EQ(opened[1], 2);
  one.limits.min_pool_size = 8;
  one.set(one.limits);
  one.pool.set_paused(true);
  EXPECT_EQ(one.pool.tick(now).kind, Kind::kNone) << "not during PAUSE";
  one.pool.set_paused(false);
  EXPECT_EQ(one.pool.tick(now).kind, Kind::kOpen);
}

TEST_F(Opening, FillStopsAtTheMinimumOfTheProcess) {
  Bench one(shared, 0, 2), two(shared, 1, 2);
  one.limits.min_pool_size = 2;
  one.limits.fill = true;
  one.set(one.limits);
  // Both are open at the other worker already.
  two.idle(now);
  two.pool.link(two.waiter(now), two.pool.servers(ServerState::kIdle).front(), now);
  two.idle(now);
  EXPECT_NE(one.pool.tick(now).kind, Kind::kOpen);
}

// ---- closing

TEST_F(Opening, LifetimeIdleTimeoutAndSize) {
  Bench bench(shared);
  ServerNode* old = bench.idle(now);
  old->expires_at = now + 5 * kSecond;
  EXPECT_EQ(bench.pool.tick(now + 5 * kSecond - 1).kind, Kind::kNone);
  EXPECT_EQ(bench.pool.tick(now + 5 * kSecond).why, CloseReason::kLifetime);
  old->expires_at = 0;

  bench.limits.idle_timeout = 7 * kSecond;
  bench.set(bench.limits);
  EXPECT_EQ(bench.pool.tick(now + 7 * kSecond - 1).kind, Kind::kNone);
  EXPECT_EQ(bench.pool.tick(now + 7 * kSecond).why, CloseReason::kIdleTimeout);
  bench.limits.min_pool_size = 1;
  bench.set(bench.limits);
  EXPECT_EQ(bench.pool.tick(now + 7 * kSecond).kind, Kind::kNone) << "min_pool_size stays open";

  bench.pool.link(bench.waiter(now), old, now);
  bench.idle(now);
  bench.limits.min_pool_size = 0;
  bench.limits.pool_size = 1;
  bench.set(bench.limits);
  EXPECT_EQ(bench.pool.tick(now).why, CloseReason::kPoolSize) << "the limit was lowered";
  bench.pool.reconnect();
  EXPECT_EQ(bench.pool.tick(now).why, CloseReason::kReconnect);
}

// ---- which one

TEST_F(Opening, TheOneUsedLastOrTheOneThatRestedLongest) {
  for (const bool round_robin : {false, true}) {
    SharedRegistry own;
    Bench bench(own.pool("db", "user"));
    bench.limits.round_robin = round_robin;
    bench.set(bench.limits);
    std::vector<ServerNode*> servers;
    for (int i = 0; i < 3; ++i) {
      for (int w = 0; w < i; ++w) bench.pool.link(bench.waiter(now), servers[static_cast<size_t>(w)], now);
      servers.push_back(bench.idle(now));
      while (ClientNode* client = bench.pool.clients(ClientState::kLinked).front()) {
        bench.pool.move(client, ClientState::kIdle, now);
      }
      while (ServerNode* server = bench.pool.servers(ServerState::kLinked).front()) bench.pool.checkin(server, now);
    }
    for (ServerNode* server : servers) {  // the last one was used last
      bench.pool.move(server, ServerState::kChecking, now);
      bench.pool.checkin(server, now);
    }
    ClientNode* client = bench.waiter(now, ClientState::kIdle);
    EXPECT_EQ(bench.pool.take_idle(client, now), round_robin ? servers.front() : servers.back());
    bench.waiter(now);
    EXPECT_EQ(bench.pool.next(now).server, round_robin ? servers.front() : servers.back());
  }
}

TEST_F(Opening, ALongRestIsFollowedByACheck) {
  Bench bench(shared);
  bench.limits.check_delay = 30 * kSecond;
  bench.set(bench.limits);
  ServerNode* server = bench.idle(now);
  now += 30 * kSecond;
  ClientNode* client = bench.waiter(now, ClientState::kIdle);
  EXPECT_EQ(bench.pool.take_idle(client, now), server);
  now += 1;
  EXPECT_EQ(bench.pool.take_idle(client, now), nullptr);
  bench.pool.move(client, ClientState::kWaiting, now);
  const Decision decision = bench.pool.next(now);
  EXPECT_EQ(decision.kind, Kind::kCheck);
  bench.pool.move(decision.server, ServerState::kChecking, now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kNone) << "that one may still be good: no other is opened";
  bench.pool.checkin(decision.server, now);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kAssign);
}

// One server is lent for one waiter, not every idle one.
TEST_F(Opening, LendsNoMoreThanAreWanted) {
  Bench one(shared, 0, 2), two(shared, 1, 2);
  ServerNode* first = one.idle(now);
  one.pool.link(one.waiter(now), first, now);
  one.idle(now);
  one.pool.move(one.pool.clients(ClientState::kLinked).front(), ClientState::kIdle, now);
  one.pool.checkin(first, now);
  two.waiter(now);
  EXPECT_EQ(two.pool.next(now).kind, Kind::kAsk);
  const Decision decision = one.pool.next(now);
  EXPECT_EQ(decision.kind, Kind::kLend);
  EXPECT_EQ(decision.to, 1);
  one.pool.move(decision.server, ServerState::kTravelling, now);
  one.pool.depart(decision.server);
  EXPECT_EQ(one.pool.next(now).kind, Kind::kNone);
}

TEST_F(Opening, SessionClientsLeaveTheTransactionReserve) {
  Bench bench(shared);
  bench.limits.pool_size = 2;
  bench.limits.transaction_reserve = 1;
  bench.set(bench.limits);
  ServerNode* first = bench.idle(now);
  ClientNode* holder = bench.waiter(now, ClientState::kWaiting, true);
  EXPECT_EQ(bench.pool.next(now).client, holder);
  bench.pool.link(holder, first, now);
  ClientNode* session = bench.waiter(now, ClientState::kWaiting, true);
  EXPECT_EQ(bench.pool.next(now).kind, Kind::kNone) << "not even opened for it";
  ServerNode* second = bench.idle(now);
  ClientNode* later = bench.waiter(now, ClientState::kIdle, true);
  EXPECT_EQ(bench.pool.take_idle(later, now), nullptr);
  ClientNode* transaction = bench.waiter(now, ClientState::kIdle);
  EXPECT_EQ(bench.pool.take_idle(transaction, now), second) << "who is set back does not hold up others";
  // The holder leaves, and the oldest session client follows.
  bench.pool.move(holder, ClientState::kIdle, now);
  bench.pool.move(first, ServerState::kCleaning, now);
  EXPECT_EQ(bench.pool.next(now).client, session);
}

// ---- the parts

TEST(Gates, NeverMoreThanTheLimit) {
  Gate gate;
  gate.limit = 100;
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 200; ++turn) taken += gate.try_acquire();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 100);
  EXPECT_EQ(gate.used, 100);
  EXPECT_TRUE(gate.try_acquire(1)) << "one beyond, of a reserve";
  EXPECT_FALSE(gate.try_acquire(1));
  gate.limit = 0;
  EXPECT_TRUE(gate.try_acquire()) << "0 is no limit";
}

TEST(Gates, APoolGoesWithItsLastMember) {
  SharedRegistry registry;
  registry.pool("db", "user")->generation = 7;
  SharedPool* pool = registry.pool("db", "user");
  registry.leave(pool);
  EXPECT_EQ(registry.pool("db", "user")->generation, 7u) << "it had another member";
  pool->servers.used = 1;
  registry.leave(pool);
  registry.leave(pool);
  EXPECT_EQ(registry.pool("db", "user")->generation, 7u) << "one of its servers is on its way";
  pool->servers.used = 0;
  registry.leave(pool);
  EXPECT_EQ(registry.pool("db", "user")->generation, 0u) << "made anew";
}

TEST(Gates, ARegistryKeepsWhatItHasMade) {
  SharedRegistry registry;
  SharedPool* pool = registry.pool("db", "user");
  EXPECT_EQ(registry.pool("db", "user"), pool);
  EXPECT_NE(registry.pool("db", "other"), pool);
  EXPECT_NE(registry.pool("user", "db"), pool);
  SharedPool* replication = registry.pool("db", "user", "true");
  EXPECT_NE(replication, pool);
  EXPECT_EQ(replication->user, "user");
  EXPECT_EQ(replication->replication, "true");
  EXPECT_NE(registry.pool("db", "user", "database"), replication);
  EXPECT_EQ(replication->of_user, pool->of_user) << "one user, one limit";
  EXPECT_EQ(replication->of_database, registry.database("db"));
  EXPECT_EQ(pool->of_user, registry.user("user"));
}

TEST(StateTables, AWrongStepEndsTheProcess) {
  SharedRegistry registry;
  Pool pool(registry.pool("db", "user"), 0, 1, 1);
  ClientNode client;
  pool.add_client(&client, ClientState::kIdle);
  EXPECT_DEATH(pool.move(&client, ClientState::kStartup, 0), "may_move");
  ServerNode server;
  pool.add_server(&server, ServerState::kConnecting, 0);
  EXPECT_DEATH(pool.move(&server, ServerState::kLinked, 0), "may_move");
}

}  // namespace
}  // namespace berth::pool
