// Goal: whatever happens in whatever order, a pool loses no client, no server and no wake-up, keeps its limit and its
// queue. Method: the model of pool_world.h; small pools through all orders of events up to a depth, larger ones by
// long runs of dice. After each event: each client and server on exactly one list, open and opening ones within the
// limit, no waiter while a fitting server is idle, nobody overtaken in its slice; at the end of each order: whoever
// waits is served when time goes on.
#include "unit/pool_world.h"
#include "unit/seeds.h"

namespace berth::pool {
namespace {

using Shape = PoolWorld::Shape;
using Step = PoolWorld::Step;

Shape shape_of(std::vector<bool> session, int64_t pool_size, int workers = 1) {
  Shape shape;
  shape.session = std::move(session);
  shape.workers = workers;
  shape.limits.pool_size = pool_size;
  shape.limits.check_delay = 1'000'000 * kSecond;
  shape.limits.idle_timeout = 0;
  shape.servers_most = static_cast<int>(pool_size);
  return shape;
}

// Every order of `depth` steps, each from the beginning: a world cannot be copied, and it is cheap.
struct Orders {
  explicit Orders(const Shape& shape) : shape(shape) {}

  void explore(int depth) {
    PoolWorld world(shape);
    for (const Step& step : steps) world.step(step);
    if (depth == 0) {
      ++ends;
      world.settle();
    }
    ASSERT_EQ(world.complaint, "") << text_of(steps);
    if (depth == 0) return;
    for (const Step& step : world.enabled()) {
      steps.push_back(step);
      explore(depth - 1);
      steps.pop_back();
      if (testing::Test::HasFatalFailure()) return;
    }
  }

  Shape shape;
  std::vector<Step> steps;
  int ends = 0;
};

void every_order(const Shape& shape, int depth) {
  Orders orders(shape);
  orders.explore(depth);
  EXPECT_GT(orders.ends, 1000) << "too small to prove anything";
}

TEST(EveryOrder, TwoClientsOneServer) {
  every_order(shape_of({false, false}, 1), 8);
}

TEST(EveryOrder, ThreeClientsTwoServers) {
  every_order(shape_of({false, false, false}, 2), 6);
}

// Longer orders of fewer kinds: the queue itself.
TEST(EveryOrder, ThreeClientsTwoServersInPeace) {
  Shape shape = shape_of({false, false, false}, 2);
  shape.failures = shape.deaths = shape.leaving = false;
  every_order(shape, 9);
}

TEST(EveryOrder, SessionAndTransactionClients) {
  Shape shape = shape_of({true, false, true}, 2);
  shape.limits.transaction_reserve = 1;
  shape.failures = false;
  every_order(shape, 6);
}

TEST(EveryOrder, TimeAndCommands) {
  Shape shape = shape_of({false, true}, 2);
  shape.limits.check_delay = 30 * kSecond;
  shape.time = shape.commands = true;
  shape.deaths = shape.leaving = false;
  every_order(shape, 6);
}

TEST(EveryOrder, Reserve) {
  Shape shape = shape_of({false, false, false}, 1);
  shape.limits.reserve_pool_size = 1;
  shape.limits.reserve_pool_timeout = 10 * kMillisecond;
  shape.servers_most = 2;
  shape.time = true;
  shape.failures = shape.deaths = shape.leaving = false;
  every_order(shape, 7);
}

TEST(EveryOrder, TwoWorkersOneServer) {
  every_order(shape_of({false, false}, 1, 2), 8);
}

TEST(EveryOrder, TwoWorkersTwoServers) {
  Shape shape = shape_of({false, false, false}, 2, 2);
  shape.failures = shape.deaths = false;
  every_order(shape, 6);
}

void long_runs(const Shape& shape, Random& dice) {
  for (int run = 0; run < 150; ++run) {
    PoolWorld world(shape);
    std::vector<Step> steps;
    for (int i = 0; i < 300 && world.complaint.empty(); ++i) {
      const std::vector<Step> enabled = world.enabled();
      ASSERT_FALSE(enabled.empty());
      steps.push_back(enabled[dice.below(enabled.size())]);
      world.step(steps.back());
    }
    world.settle();
    ASSERT_EQ(world.complaint, "") << "after " << steps.size() << " steps: " << text_of(steps);
  }
}

TEST(LongRuns, EightClientsThreeServers) {
  SEEDED(dice);
  for (const int workers : {1, 2}) {
    for (const bool sessions : {false, true}) {
      for (const bool commands : {false, true}) {
        Shape shape = shape_of(std::vector<bool>(8, false), 3, workers);
        if (sessions) shape.session = {true, false, true, false, false, false, true, false};
        shape.limits.transaction_reserve = sessions ? 1 : 0;
        shape.limits.reserve_pool_size = 1;
        shape.limits.reserve_pool_timeout = 30 * kSecond;
        shape.limits.check_delay = commands ? 30 * kSecond : 1'000'000 * kSecond;
        shape.servers_most = 4;
        shape.time = shape.commands = commands;
        SCOPED_TRACE(testing::Message() << workers << " workers, sessions " << sessions << ", commands " << commands);
        long_runs(shape, dice);
      }
    }
  }
}

}  // namespace
}  // namespace berth::pool
