// Goal: what helper threads do is done once and handed on once, lanes do not hold up one another, a full queue
// refuses, and nothing is handed on after stop(), which does not wait for what hangs. Method: work that the test
// holds back; the real threads, under the thread sanitizer, too.
#include "worker/helpers.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

namespace berth::worker {
namespace {

using auth::Lane;

// A gate that work waits at; it outlives what hangs.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int inside = 0;
  void pass() {
    std::unique_lock<std::mutex> lock(mutex);
    ++inside;
    changed.notify_all();
    changed.wait(lock, [this] { return open; });
  }
  void wait_inside(int count) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return inside >= count; });
  }
  void let_go() {
    const std::lock_guard<std::mutex> guard(mutex);
    open = true;
    changed.notify_all();
  }
};

class Held final : public auth::Work {
 public:
  Held(Lane lane_, std::shared_ptr<Gate> gate, int number_ = 0)
      : Work(lane_), number(number_), gate_(std::move(gate)) {}
  void run() override {
    if (gate_) gate_->pass();
    ran = true;
  }
  const int number;
  bool ran = false;

 private:
  std::shared_ptr<Gate> gate_;
};

// Where finished work arrives.
struct Inbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::multiset<int> numbers;
  Helpers::Done take() {
    return [this](std::unique_ptr<auth::Work> work) {
      const std::lock_guard<std::mutex> guard(mutex);
      EXPECT_TRUE(static_cast<Held&>(*work).ran);
      numbers.insert(static_cast<Held&>(*work).number);
      changed.notify_all();
    };
  }
  void wait_for(size_t count) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return numbers.size() >= count; });
  }
};

constexpr std::array<LaneLimits, auth::kLanes> kSmall = [] {
  std::array<LaneLimits, auth::kLanes> limits{};
  for (LaneLimits& lane : limits) lane = {2, 3};
  return limits;
}();

// Numbers 0 and 1, in both threads of a lane of kSmall.
void hold_threads(Helpers& helpers, Lane lane, const std::shared_ptr<Gate>& gate, Inbox& inbox) {
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(helpers.take(std::make_unique<Held>(lane, gate, i), inbox.take()));
    gate->wait_inside(i + 1);
  }
}

// Numbers 2 to 4, behind them: whoever sets `unwanted` takes back all but `wanted`.
void fill_queue(Helpers& helpers, const std::shared_ptr<Gate>& gate, Inbox& inbox,
                const std::shared_ptr<std::atomic<bool>>& unwanted, int wanted) {
  for (int i = 2; i < 5; ++i) {
    auto work = std::make_unique<Held>(Lane::kPam, gate, i);
    if (i != wanted) work->unwanted = unwanted;
    ASSERT_TRUE(helpers.take(std::move(work), inbox.take()));
  }
}

TEST(Helpers, EachWorkIsDoneAndHandedOnOnce) {
  Inbox inbox;
  Helpers helpers;
  for (int i = 0; i < 200; ++i) {
    const Lane lane = i % 2 ? Lane::kClientKeys : Lane::kUsers;
    ASSERT_TRUE(helpers.take(std::make_unique<Held>(lane, nullptr, i), inbox.take()));
  }
  inbox.wait_for(200);
  helpers.stop();
  EXPECT_EQ(200u, std::set<int>(inbox.numbers.begin(), inbox.numbers.end()).size());
  EXPECT_EQ(200u, inbox.numbers.size());
  EXPECT_EQ(100u, helpers.load(Lane::kClientKeys).done);
}

TEST(Helpers, AFullQueueRefusesAndCounts) {
  const auto gate = std::make_shared<Gate>();
  Inbox inbox;
  Helpers helpers(kSmall);
  hold_threads(helpers, Lane::kClientKeys, gate, inbox);
  for (int i = 2; i < 5; ++i)
    ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kClientKeys, gate, i), inbox.take()));
  EXPECT_FALSE(helpers.take(std::make_unique<Held>(Lane::kClientKeys, gate, 5), inbox.take()));
  const auth::LaneLoad load = helpers.load(Lane::kClientKeys);
  EXPECT_EQ(2, load.threads);
  EXPECT_EQ(2, load.threads_max);
  EXPECT_EQ(2u, load.running);
  EXPECT_EQ(3u, load.queue);
  EXPECT_EQ(3u, load.queue_max);
  EXPECT_EQ(1u, load.refused);
  gate->let_go();
  inbox.wait_for(5);
  EXPECT_EQ(0u, inbox.numbers.count(5));
}

// A wait is told while it lasts, and afterwards the longest one.
TEST(Helpers, WaitsAreMeasured) {
  const auto gate = std::make_shared<Gate>();
  Inbox inbox;
  Helpers helpers(kSmall);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kPam, gate, i), inbox.take()));
    gate->wait_inside(std::min(i + 1, 2));
  }
  const Micros since = monotonic_now();
  while (helpers.load(Lane::kPam).waiting < 2 * kMillisecond) std::this_thread::yield();
  EXPECT_GE(helpers.load(Lane::kPam).longest_wait, 2 * kMillisecond);
  EXPECT_EQ(0, helpers.load(Lane::kLdap).longest_wait);
  gate->let_go();
  inbox.wait_for(3);
  const auth::LaneLoad load = helpers.load(Lane::kPam);
  EXPECT_EQ(0, load.waiting);
  EXPECT_GE(load.longest_wait, 2 * kMillisecond);
  EXPECT_LE(load.longest_wait, monotonic_now() - since + kSecond);
}

TEST(Helpers, WhatNobodyWantsAnyMoreIsNotDone) {
  const auto gate = std::make_shared<Gate>();
  const auto unwanted = std::make_shared<std::atomic<bool>>(false);
  Inbox inbox;
  Helpers helpers(kSmall);
  hold_threads(helpers, Lane::kPam, gate, inbox);
  fill_queue(helpers, gate, inbox, unwanted, 4);
  unwanted->store(true);
  gate->let_go();
  inbox.wait_for(3);
  helpers.stop();
  EXPECT_EQ(inbox.numbers, (std::multiset<int>{0, 1, 4}));
  EXPECT_EQ(3u, helpers.load(Lane::kPam).done);
}

// Whoever leaves makes room at once, not only when his turn comes.
TEST(Helpers, WhatNobodyWantsAnyMoreTakesNoPlaceInAFullQueue) {
  const auto gate = std::make_shared<Gate>();
  const auto unwanted = std::make_shared<std::atomic<bool>>(false);
  Inbox inbox;
  Helpers helpers(kSmall);
  hold_threads(helpers, Lane::kPam, gate, inbox);
  fill_queue(helpers, gate, inbox, unwanted, 3);
  unwanted->store(true);
  ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kPam, gate, 6), inbox.take()));
  ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kPam, gate, 7), inbox.take()));
  EXPECT_FALSE(helpers.take(std::make_unique<Held>(Lane::kPam, gate, 8), inbox.take()));
  EXPECT_EQ(3u, helpers.load(Lane::kPam).queue);
  EXPECT_EQ(1u, helpers.load(Lane::kPam).refused);
  gate->let_go();
  inbox.wait_for(5);
  EXPECT_EQ(inbox.numbers, (std::multiset<int>{0, 1, 3, 6, 7}));
}

// T12: what a hostile server costs, others do not pay.
TEST(Helpers, ALaneThatHangsHoldsUpNoOther) {
  const auto gate = std::make_shared<Gate>();
  Inbox hung, others;
  Helpers helpers(kSmall);
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kServerKeys, gate, i), hung.take()));
  gate->wait_inside(2);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kClientKeys, nullptr, i), others.take()));
    others.wait_for(static_cast<size_t>(i) + 1);
  }
  EXPECT_TRUE(hung.numbers.empty());
  gate->let_go();
  hung.wait_for(2);
}

TEST(Helpers, StopDropsWhatWaitsAndOutlivesWhatHangs) {
  const auto gate = std::make_shared<Gate>();
  Inbox inbox;
  {
    Helpers helpers(kSmall);
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kUsers, gate, i), inbox.take()));
      gate->wait_inside(std::min(i + 1, 2));
    }
    helpers.stop();
    EXPECT_FALSE(helpers.take(std::make_unique<Held>(Lane::kUsers, nullptr, 9), inbox.take()));
  }
  gate->let_go();  // the two that hung end on their own, and nobody hears of them
  EXPECT_TRUE(inbox.numbers.empty());
}

// While it lives no thread can be made: the system has no room for its stack.
class NoThreads {
 public:
  NoThreads() {
    EXPECT_EQ(0, pthread_getattr_default_np(&usual_));
    pthread_attr_t huge = usual_;
    EXPECT_EQ(0, pthread_attr_setstacksize(&huge, size_t{1} << 52));
    EXPECT_EQ(0, pthread_setattr_default_np(&huge));
  }
  ~NoThreads() { pthread_setattr_default_np(&usual_); }

 private:
  pthread_attr_t usual_;
};

TEST(Helpers, WithoutThreadsWorkIsRefusedOrWaitsForThoseThatAreThere) {
  const auto gate = std::make_shared<Gate>();
  Inbox inbox;
  Helpers helpers(kSmall);
  ASSERT_TRUE(helpers.take(std::make_unique<Held>(Lane::kUsers, gate, 0), inbox.take()));
  gate->wait_inside(1);
  {
    const NoThreads none;
    EXPECT_FALSE(helpers.take(std::make_unique<Held>(Lane::kClientKeys, nullptr, 9), inbox.take()));
    EXPECT_TRUE(helpers.take(std::make_unique<Held>(Lane::kUsers, nullptr, 1), inbox.take()));
  }
  EXPECT_EQ(1u, helpers.load(Lane::kClientKeys).refused);
  EXPECT_EQ(0u, helpers.load(Lane::kClientKeys).queue);
  EXPECT_EQ(1u, helpers.load(Lane::kUsers).queue);
  EXPECT_EQ(0u, helpers.load(Lane::kUsers).refused);
  gate->let_go();
  inbox.wait_for(2);
  EXPECT_TRUE(helpers.take(std::make_unique<Held>(Lane::kClientKeys, nullptr, 2), inbox.take()));
  inbox.wait_for(3);
}

TEST(Helpers, ManyAskersAtOnce) {
  Inbox inbox;
  std::atomic<size_t> taken{0};
  {
    Helpers helpers(kSmall);
    std::vector<std::thread> askers;
    for (int asker = 0; asker < 4; ++asker) {
      askers.emplace_back([&, asker] {
        for (int i = 0; i < 200; ++i) {
          taken += helpers.take(std::make_unique<Held>(Lane::kServerKeys, nullptr, asker * 1000 + i), inbox.take());
        }
      });
    }
    for (std::thread& asker : askers) asker.join();
    inbox.wait_for(taken);
  }
  EXPECT_EQ(taken, inbox.numbers.size());
}

}  // namespace
}  // namespace berth::worker
